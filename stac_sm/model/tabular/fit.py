"""Train a model on a bare match-up table; it knows how its features come from the columns.

The model is the sum of a site-mean model, which is two linear boosters on the means of sites, and of boosters on what
they leave over. At a site that a model has not seen, the error of the site mean dominates, and with tens of sites few
things can be learned well. So the first line has only the columns that nearly all rows have; columns that may be
missing come second and correct it: a site without those columns keeps the prediction of the first line, where one line
on all columns would take its gaps for typical values. Days are anomalies from the site mean. A booster of the values
themselves, on the residuals of the first line, makes other errors than those, and the sum has smaller ones.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from stac_sm.core.arrays import Float64Array
from stac_sm.core.columns import Columns, day_column, label_column, numeric_column
from stac_sm.core.errors import InputError, ScreeningError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS, digest
from stac_sm.core.metrics import Scores, agreement_scores
from stac_sm.model.base_learners import BoosterSpec, TrainingRows, TrainingTarget
from stac_sm.model.intervals import Intervals, SpreadSettings, fit_intervals
from stac_sm.model.model import Model
from stac_sm.model.tabular.features import TableFeatures, names_of
from stac_sm.model.tuning import CandidateSums, fit_sum, search_sums
from stac_sm.model.user_table import DAY_OF_YEAR, FeatureChoice, choose_features, place_columns

SHARES = (0.7, 0.4, 0.9)
"""Shares of site mean + anomaly in what is added to the first line, among which tuning chooses, the most trusted first;
the rest is the booster of the values."""

_FIRST = "level: what is always there"
_SLOPE = 1.2  # weight of the ridge prior a feature: what is known beforehand does not grow with their number
_DAY_TREES = {"eta": 0.05, "subsample": 0.7, "reg_lambda": 5.0, "colsample_bytree": 0.2}


def table_booster_specs(made: TableFeatures) -> tuple[BoosterSpec, ...]:
    """Return the parts of the model of a table.

    Parameters
    ----------
    made
        Features of the table.

    Returns
    -------
    tuple of BoosterSpec
        One booster if the features are plain, else the parts of the sum of site-mean model and anomaly model.
    """
    return single_booster_specs(made) if made.plain else site_and_anomaly_specs(made)


def site_and_anomaly_specs(made: TableFeatures) -> tuple[BoosterSpec, ...]:
    """Return the parts of the best model; all but the anomalies are trained on the residuals of the first line."""
    first, anomalies = made.complete_site_features, names_of([DAY_OF_YEAR, made.anomaly_features])
    rest = tuple(name for name in made.robust_site_features if name not in first)
    lines = (_line(_FIRST, first), *([replace(_line("level: the rest", rest), residual_of=_FIRST)] if rest else []))
    return (
        *lines,
        BoosterSpec(
            "departure", TrainingTarget.DEPARTURE, names_of([anomalies, made.trailing_anomaly_features]), 300,
            {**_DAY_TREES, "max_depth": 4, "min_child_weight": 10.0},
        ),
        BoosterSpec(
            "value", TrainingTarget.WHOLE,
            names_of([anomalies, made.site_features, made.robust_site_features, made.seasonal_cycle_features]), 300,
            {**_DAY_TREES, "max_depth": 2}, residual_of=_FIRST,
        ),
    )  # fmt: skip


def _line(name: str, features: tuple[str, ...]) -> BoosterSpec:
    """Return a line through the means of sites."""
    return BoosterSpec(
        name, TrainingTarget.LEVEL, features, 60, {"booster": "gblinear"}, prior_weight=_SLOPE * len(features)
    )


def single_booster_specs(made: TableFeatures) -> tuple[BoosterSpec, ...]:
    """Return the paper's one booster on the columns as they are; each row has the same weight."""
    settings = {"max_depth": 6, "eta": 0.05, "subsample": 0.8, "colsample_bytree": 0.8}
    return (BoosterSpec("plain", TrainingTarget.ROWS, (*made.given, *DAY_OF_YEAR), 400, settings),)


def candidate_sums(parts: Sequence[BoosterSpec]) -> dict[str, dict[str, float]]:
    """Return the sums of boosters that tuning chooses among.

    Parameters
    ----------
    parts
        As `table_booster_specs` returns them.

    Returns
    -------
    dict
        Name of the sum (the share of site mean and anomaly) to the weight of each part by its name.
    """
    if not any(part.residual_of for part in parts):
        return {"all": {part.name: 1.0 for part in parts}}
    return {f"{share:g}": booster_weights(parts, share) for share in SHARES}


def booster_weights(parts: Sequence[BoosterSpec], share: float) -> dict[str, float]:
    """Return the weight of each part: 1 of the one whose residuals others are trained on, ``share`` for site mean and
    anomaly, the rest for the values."""
    stood_on = {part.residual_of for part in parts}
    weights = {part.name: 1 - share if part.trained_on is TrainingTarget.WHOLE else share for part in parts}
    return {name: 1.0 if name in stood_on else weight for name, weight in weights.items()}


def table_training_rows(table: pd.DataFrame, made: TableFeatures) -> TrainingRows:
    """Take the rows of a table that have a target; features are computed from all its rows.

    Parameters
    ----------
    table
        Match-ups, cleaned.
    made
        How features are computed from its columns.

    Returns
    -------
    TrainingRows
        In an order that only their values decide.
    """
    target = numeric_column(table, made.columns.target)
    return TrainingRows.of(table, made.build(table), target, made.columns, made.given)


_PLAIN_SPREAD = SpreadSettings(n_estimators=40, leaf=0.2, ridge=math.inf)
"""How the spread of the plain model is learned: deep trees in which each row has the same weight err where a site is
unlike the others, and their prediction says little about that; so no level, and leaves that several sites must fill."""


@dataclass(frozen=True, eq=False)
class TableModel:
    """A model of a bare table, and how it came about."""

    model: Model
    """The sum of boosters, with intervals where there are sites enough."""

    features: TableFeatures
    """How its features come from the columns of a table."""

    choice: FeatureChoice
    """Which columns were taken, and which were left."""

    parts: tuple[BoosterSpec, ...]
    """What its boosters are."""

    tried: Mapping[str, float]
    """RMSE at unseen sites by share of site mean and anomaly in the sum (`SHARES`), m3 m-3, each site with
    the same weight; empty where there was nothing to choose."""

    chosen: str
    """The share that was taken."""

    seed: int
    """Of folds and draws."""

    unseen: Scores | None
    """Scores at sites that it had not seen in its own folds, over all rows; None with fewer than two sites. The share
    was chosen on them."""

    intervals_refused: str
    """Why there are no intervals; empty where there are."""

    rows: int
    """Rows with a target."""

    without_target: int
    """Rows without: their features still tell what a site is like."""

    sites: int
    """Sites with a target."""

    fingerprint: str
    """SHA-256 over rows, features, settings and seed, in hex."""


def train_table(
    table: pd.DataFrame,
    columns: Columns,
    *,
    features: Sequence[str] | None = None,
    plain: bool = False,
    seed: int = 0,
) -> TableModel:
    """Train a model on a match-up table: a site-mean model plus an anomaly model, or the paper's XGBoost.

    What is tuned is tuned on folds of the table that never split a site. The same rows in any order, settings and seed
    give the same bytes.

    Parameters
    ----------
    table
        One row a site and time, cleaned (`stac_sm.model.user_table.clean_table`); other columns are features or left
        alone. Rows without a target (NaN) are not trained on, but their features count in the statistics of sites.
    columns
        Names of target, site and time; coordinates are found by their names too.
    features
        Feature columns; None: all numbers that can be one, see `stac_sm.model.user_table.choose_features`.
    plain
        Whether to train one booster on the columns as they are, with the settings of the paper.
    seed
        Seed of folds and draws.

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
    made = TableFeatures.of(table, columns, choice.taken, plain=plain)
    rows, parts = table_training_rows(table, made), table_booster_specs(made)
    if not len(rows.target):
        raise InputError(f"training: found no row with a target {columns.target!r} among {len(table)}; one is required")
    sums = candidate_sums(parts)
    found = search_sums(rows, parts, sums, seed)
    model = fit_sum(rows, parts, sums[found.chosen], seed)
    intervals, refused = _intervals(rows, model, found.predicted, seed, _PLAIN_SPREAD if plain else SpreadSettings())
    return TableModel(
        model=replace(model, intervals=intervals),
        features=made,
        choice=choice,
        parts=parts,
        tried=found.errors,
        chosen=found.chosen,
        seed=seed,
        unseen=None if found.predicted is None else agreement_scores(found.predicted, rows.target),
        intervals_refused=refused,
        rows=len(rows.target),
        without_target=len(table) - len(rows.target),
        sites=len(set(rows.sites)),
        fingerprint=_fingerprint(table, made, parts, sums, seed),
    )


def _intervals(
    rows: TrainingRows, model: Model, predicted: Float64Array | None, seed: int, settings: SpreadSettings
) -> tuple[Intervals | None, str]:
    """Return prediction intervals, or why there are none."""
    if predicted is None:
        return None, f"intervals not issued: {len(set(rows.sites))} site found, more required: match up more stations"
    table = {"site": rows.sites, "observed": rows.target, "predicted": predicted, "row": np.arange(len(predicted))}
    try:
        return fit_intervals(rows.features, model.features, pd.DataFrame(table), settings=settings, seed=seed), ""
    except ScreeningError as error:
        return None, str(error)


def _fingerprint(
    table: pd.DataFrame, made: TableFeatures, parts: Sequence[BoosterSpec], sums: CandidateSums, seed: int
) -> str:
    """Return what the model was made of; not the order of rows, nor columns that have no part in it."""
    columns = made.columns
    content: list[Any] = [numeric_column(table, name) for name in (*made.given, columns.target)]
    if {columns.lat, columns.lon} <= set(table.columns):
        content += [numeric_column(table, name) for name in (columns.lat, columns.lon)]
    rows = hashlib.sha256()
    names = label_column(table, columns.site) + "\0" + day_column(table, columns.time).dt.strftime("%Y-%m-%d")
    values = np.stack(content, axis=1) + 0.0
    for line in sorted(name.encode() + b"\0" + value.tobytes() for name, value in zip(names, values, strict=True)):
        rows.update(line)
    settings = [part.fingerprint_fields() for part in parts]
    return digest(
        {
            "rows": rows.hexdigest(),
            "features": made.fingerprint_fields(),
            "parts": settings,
            "sums": dict(sums),
            "seed": seed,
            "algorithm": ALGORITHM_VERSIONS["model"],
        }
    )
