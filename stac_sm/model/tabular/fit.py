"""Train a model on a bare match-up table; it knows how its features come from the columns.

`features` derives them, `stac_sm.model.fit` learns: the same learner as that of a project. What is here keeps both
together, with what a user should know of the training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from stac_sm.core.columns import Columns, instant_column, label_column, numeric_column
from stac_sm.core.errors import InputError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS, digest
from stac_sm.model.fit import Learned, ProgressOfFits, Rounds, learn
from stac_sm.model.tabular.features import TableFeatures
from stac_sm.model.train_settings import TrainSettings
from stac_sm.model.user_table import FeatureChoice, choose_features, place_columns

_PLAIN = TrainSettings(n_estimators=400, max_depth=6, eta=0.05, subsample=0.8, colsample=0.8, min_child_weight=1.0,
                       tune=False)  # fmt: skip
"""The paper's one booster on the columns as they are; each row has the same weight."""


@dataclass(frozen=True, eq=False)
class TableModel:
    """A model of a bare table, and how it came about."""

    learned: Learned
    """The sum of boosters with its intervals, what was chosen, and its scores at unseen sites."""

    features: TableFeatures
    """How its features come from the columns of a table."""

    choice: FeatureChoice
    """Which columns were taken, and which were left."""

    settings: TrainSettings
    """How it was trained."""

    built: pd.DataFrame
    """Features of each row of the table."""

    without_target: int
    """Rows without a target: their features still tell what a site is like."""

    fingerprint: str
    """SHA-256 over rows, features, settings and seed, in hex."""

    @property
    def model(self) -> Any:
        """The sum of boosters."""
        return self.learned.model


def table_settings(*, plain: bool = False, seed: int = 0, device: str = "cpu") -> TrainSettings:
    """Return how the model of a table is trained.

    Parameters
    ----------
    plain
        Whether it is the paper's one booster.
    seed
        Seed of folds and draws.
    device
        ``cpu`` or ``cuda``.

    Returns
    -------
    TrainSettings
        For `learn`.
    """
    return replace(_PLAIN if plain else TrainSettings(), seed=seed, device=device)


def train_table(
    table: pd.DataFrame,
    columns: Columns,
    *,
    features: Sequence[str] | None = None,
    plain: bool = False,
    seed: int = 0,
    device: str = "cpu",
    progress: ProgressOfFits = lambda done, total: None,
) -> TableModel:
    """Train a model on a match-up table: the sum of boosters for unseen sites, or the paper's XGBoost.

    What is chosen is chosen on folds of the table that never split a site. The same rows in any order, settings and
    seed give the same bytes.

    Parameters
    ----------
    table
        One row a site and time, cleaned (`stac_sm.model.user_table.clean_table`); other columns are features or left
        alone. Rows without a target (NaN) are not trained on, but their features count in what is derived from a site.
    columns
        Names of target, site and time; coordinates are found by their names too.
    features
        Feature columns; None: all numbers that can be one, see `stac_sm.model.user_table.choose_features`.
    plain
        Whether to train one booster on the columns as they are, with the settings of the paper.
    seed
        Seed of folds and draws.
    device
        ``cpu`` or ``cuda``, where the installed XGBoost can use it.
    progress
        Called after each booster.

    Returns
    -------
    TableModel
        The model, and how it was chosen.

    Raises
    ------
    InputError
        If a column is missing or does not hold what it should, or no row has a target.
    """
    columns = replace(columns, **place_columns(table, columns))
    choice = choose_features(table, columns, features)
    target = numeric_column(table, columns.target)
    if np.isnan(target).all():
        raise InputError(f"training: found no row with a target {columns.target!r} among {len(table)}; one is required")
    made = TableFeatures.of(table, columns, choice.taken, plain=plain)
    settings, built = table_settings(plain=plain, seed=seed, device=device), made.build(table)
    learned = learn_table(with_features(table, built, columns), made, settings, progress=progress)
    return TableModel(
        learned=learned,
        features=made,
        choice=choice,
        settings=settings,
        built=built,
        without_target=len(table) - learned.rows,
        fingerprint=_fingerprint(table, made, learned, settings),
    )


def learn_table(
    finished: pd.DataFrame,
    made: TableFeatures,
    settings: TrainSettings,
    *,
    rounds: Rounds | None = None,
    progress: ProgressOfFits = lambda done, total: None,
) -> Learned:
    """Train on a table whose features are finished.

    Parameters
    ----------
    finished
        As `with_features` gives it.
    made
        How its features were derived.
    settings
        As `table_settings` gives them.
    rounds
        Numbers of rounds that were chosen before; None: the best are chosen.
    progress
        Called after each booster.

    Returns
    -------
    Learned
        As `stac_sm.model.fit.learn` gives it.
    """
    return learn(finished, made.names, settings=settings, columns=made.columns, rounds=rounds, progress=progress)


def with_features(table: pd.DataFrame, built: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return the features of rows beside their target, site, time and place, as `learn` takes them.

    Parameters
    ----------
    table
        Match-ups.
    built
        Their features, as `TableFeatures.build` gives them, of the same rows.
    columns
        Names of the columns that are no features.

    Returns
    -------
    pandas.DataFrame
        One row a row of the table.
    """
    names = (columns.target, columns.site, columns.time, columns.lat, columns.lon)
    parts: dict[Any, Any] = dict(built.items())
    parts |= {name: table[name] for name in names if name in table and name not in built}
    return pd.DataFrame(parts, copy=False)  # the features of a long table are gigabytes


def _fingerprint(table: pd.DataFrame, made: TableFeatures, learned: Learned, settings: TrainSettings) -> str:
    """Return what the model was made of; not the order of rows, nor columns that have no part in it."""
    columns = made.columns
    content: list[Any] = [numeric_column(table, name) for name in (*made.given, columns.target)]
    if {columns.lat, columns.lon} <= set(table.columns):
        content += [numeric_column(table, name) for name in (columns.lat, columns.lon)]
    site, when = label_column(table, columns.site).to_numpy(), instant_column(table, columns.time).to_numpy()
    code, names = pd.factorize(site, sort=True)
    order = np.lexsort((when, code))  # a table has one row a site and time
    rows = hashlib.sha256("\0".join(names).encode())
    for column in (code, when.astype("datetime64[ns]").astype(np.int64), *content):
        rows.update(np.ascontiguousarray(column[order] + 0).tobytes())
    return digest(
        {
            "rows": rows.hexdigest(),
            "features": made.fingerprint_fields(),
            "parts": [part.fingerprint_fields() for part in learned.parts],
            "settings": settings.fingerprint_fields(),
            "algorithm": ALGORITHM_VERSIONS["model"],
        }
    )
