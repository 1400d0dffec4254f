"""Train a model of one booster on a match-up table: the public `fit`.

The same rows in any order, settings and seed give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.core.columns import Columns, require_columns
from stac_sm.core.errors import InputError
from stac_sm.model.base_learners import TrainingRows, threads_of
from stac_sm.model.booster import WeightedBooster
from stac_sm.model.learner import FitSettings
from stac_sm.model.learner_registry import DEFAULT_LEARNER, find_learner
from stac_sm.model.model import Model
from stac_sm.model.user_table import find_fill_values

SiteIndices = NDArray[np.intp]


@dataclass(frozen=True)
class TrainSettings:
    """How the trees grow; names as in XGBoost, where they differ the comment says so."""

    n_estimators: int = 300
    """Number of trees."""

    max_depth: int = 6
    """Largest depth of a tree."""

    eta: float = 0.05
    """Learning rate."""

    subsample: float = 0.8
    """Share of the rows that each tree sees."""

    colsample: float = 0.8
    """Share of the features that each tree sees (``colsample_bytree``)."""

    min_child_weight: float = 5.0
    """Fewest rows in a leaf."""

    reg_lambda: float = 1.0
    """L2 penalty on the value of a leaf."""

    tune: bool = True
    """Whether a line, and shallower trees, take the place of these trees where they do as well at sites that they have
    not seen; if not, the model is one booster of these trees, in which each row has the same weight."""

    seed: int = 0
    """Of the draws of rows and features, and of the folds of tuning."""

    nthread: int = 0
    """Threads; 0 = one for each 50 000 rows, as many as there are cores. Does not change the model."""

    def __post_init__(self) -> None:
        for name in ("n_estimators", "max_depth"):
            if getattr(self, name) < 1:
                raise InputError(f"[training] {name}: found {getattr(self, name)}, 1 or more is required")
        for name in ("eta", "subsample", "colsample"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"[training] {name}: found {getattr(self, name)}, above 0 and up to 1 is required")

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return the settings that change what is trained.

        Returns
        -------
        dict
            Name to value. The keys are spelled out, so that renaming a field makes no result stale.
        """
        return {
            "n_estimators": self.n_estimators,
            "max_depth": self.max_depth,
            "eta": self.eta,
            "subsample": self.subsample,
            "colsample": self.colsample,
            "min_child_weight": self.min_child_weight,
            "reg_lambda": self.reg_lambda,
            "tune": self.tune,
            "seed": self.seed,
        }


def fit(
    table: pd.DataFrame,
    features: Sequence[str],
    *,
    settings: TrainSettings | None = None,
    columns: Columns | None = None,
) -> Model:
    """Train one booster on a match-up table.

    Parameters
    ----------
    table
        One row per site and day. Rows without a target (NaN) are left out; NaN in a feature = missing, for which
        XGBoost learns a branch. Neither the order of rows nor other columns matter.
    features
        Columns to learn from, in the order in which the model will list them.
    settings
        How the trees grow.
    columns
        Names of the columns that are no features.

    Returns
    -------
    Model
        Of one member; its prediction has the unit of the target.

    Raises
    ------
    InputError
        If a column is missing, holds no numbers or infinities, no row has a target, or targets are a fill value.
    """
    settings, target = settings or TrainSettings(), (columns or Columns()).target
    _check_names(table, features, target)
    values = _canonical(_floats(table, [*features, target]))
    if not len(values):
        raise InputError(_no_row(target, len(table)))
    _refuse_fill_values(values[:, -1], target)
    fit_settings = FitSettings(
        tree_parameters(settings),
        settings.n_estimators,
        start=math.fsum(values[:, -1]) / len(values),  # exact, whatever the machine adds up at once
        seed=settings.seed,
        nthread=settings.nthread or threads_of(len(values)),
    )
    columns_of_features = dict(zip(features, values.T[:-1], strict=True))
    trained = find_learner(DEFAULT_LEARNER).fit(columns_of_features, values[:, -1], None, fit_settings)
    return Model((WeightedBooster.of(trained),))


def training_rows(table: pd.DataFrame, features: Sequence[str], columns: Columns) -> TrainingRows:
    """Take the rows of a table whose features are its columns.

    Raises
    ------
    InputError
        As `fit`; or if a row has no site or no day.
    """
    _check_names(table, features, columns.target)
    values = _floats(table, [*features, columns.target])
    target = values[:, -1].astype(float)
    if np.isnan(target).all():
        raise InputError(_no_row(columns.target, len(table)))
    made = pd.DataFrame(values[:, :-1], columns=list(features), index=table.index)
    return TrainingRows.of(table, made, target, columns, features)


def _no_row(target: str, rows: int) -> str:
    return f"training: found no row with a target {target!r} among {rows}; at least one is required"


def _refuse_fill_values(target: NDArray[np.float32], name: str) -> None:
    """Refuse targets such as -9999, which would be learned as values."""
    fills = find_fill_values(target.astype(float), np.arange(len(target)))
    if fills:
        found = ", ".join(f"{value:.7g} in {n} rows" for value, n in fills.items())
        raise InputError(
            f"training: target {name!r} has {found}, far outside the rest; NaN is required where it is missing"
        )


def _check_names(table: pd.DataFrame, features: Sequence[str], target: str) -> None:
    """Refuse a list of features that no model can learn from."""
    require_columns(table, [*features, target], "training")
    if not features:
        raise InputError("training: found no feature; at least one is required")
    bad = [name for name in features if features.count(name) > 1 or name == target or set(name) & set("[]<")]
    if bad:
        raise InputError(
            f"training: found {', '.join(sorted(set(bad)))} among the features; "
            f"each one once, none of them the target {target!r} or with any of [ ] < in its name, are required"
        )


def _floats(table: pd.DataFrame, names: Sequence[str]) -> NDArray[np.float32]:
    """Return columns side by side, float32, dims (row, column); no infinities."""
    parts = []
    for name in names:
        try:
            part = table[name].to_numpy(dtype=np.float32, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise InputError(f"training: column {name!r} holds no numbers ({error}); floats are required") from error
        if np.isinf(part).any():
            raise InputError(
                f"training: column {name!r} is infinite in {int(np.isinf(part).sum())} rows; "
                "NaN is required where it is missing"
            )
        parts.append(part)
    return np.stack(parts, axis=1)


def _canonical(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows with a target (the last column), in an order that only their values decide."""
    values = values[~np.isnan(values[:, -1])] + np.float32(0)  # adding 0 makes one of 0.0 and -0.0
    return values[np.lexsort(values.T)]


def tree_parameters(settings: TrainSettings) -> dict[str, Any]:
    """Return how trees grow, as XGBoost names it."""
    names = ("max_depth", "eta", "subsample", "min_child_weight", "reg_lambda")
    return {**{name: getattr(settings, name) for name in names}, "colsample_bytree": settings.colsample}
