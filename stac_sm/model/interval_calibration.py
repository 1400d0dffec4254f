"""Train and calibrate the prediction intervals of a model, from predictions for sites that it had not seen.

`model.fit` calls `fit_intervals` after a cross-validation over sites; what comes out is the `Intervals` of
`model.intervals`, which says how they are built.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.core.arrays import Float32Array, Float64Array
from stac_sm.core.columns import Fold, label_column, require_columns
from stac_sm.core.errors import InputError, ScreeningError
from stac_sm.model.booster import WeightedBooster
from stac_sm.model.conformal import equal_site_weights, site_weighted_quantile
from stac_sm.model.feature_matrix import feature_matrix
from stac_sm.model.holdout import hold_out
from stac_sm.model.intervals import CONSTANT, ErrorLevel, Intervals, SpreadSettings
from stac_sm.model.learner import FitSettings
from stac_sm.model.learner_registry import DEFAULT_LEARNER, find_learner

_CERTAIN = 1.645  # standard errors of the mean difference of interval scores over sites: one side of 5 %
_MOST_ROWS = 200_000  # more teach a small booster nothing
_RANKED_ROWS = 20_000  # are enough to rank features


def fit_intervals(
    table: pd.DataFrame,
    features: Sequence[str],
    out_of_fold: pd.DataFrame,
    *,
    coverage: float = 0.9,
    settings: SpreadSettings | None = None,
    min_sites: int = 10,
    seed: int = 0,
) -> Intervals:
    """Train and calibrate intervals from predictions for sites that the model had not seen.

    Parameters
    ----------
    table
        Match-ups, with the features as columns; NaN = missing.
    features
        Columns that the half width may follow from: those of the model.
    out_of_fold
        ``site, observed, predicted, row``: predictions in folds that are grouped by site; ``row`` is a position in
        ``table``. Rows without ``observed`` or ``predicted`` are left out. Their order does not matter.
    coverage
        Share of the truth that the intervals are to hold.
    settings
        How the booster of the spread grows; None: a constant width, unless `SpreadSettings` are certainly better.
    min_sites
        Fewest sites from which intervals are issued.
    seed
        Of the folds and of the draws of the booster.

    Returns
    -------
    Intervals
        The same rows, settings and seed give the same bytes.

    Raises
    ------
    ScreeningError
        If there are fewer than ``min_sites`` sites, or too few for this coverage: the message is the reason.
    InputError
        If a column is missing, or ``row`` is no position in the table.
    """
    rows = _rows(table, features, out_of_fold)
    count = len(set(rows.sites))
    _require_sites(count, min_sites, coverage)
    if not rows.error.any():
        raise InputError("intervals: found no error in any out-of-fold prediction: the model has seen these rows")
    used = rows.of(_used(rows, (settings or SpreadSettings()).features))
    learning = _Learning(used, settings or CONSTANT, seed)
    if settings is None:
        adaptive = _Learning(used, SpreadSettings(), seed)
        gain = adaptive.scores(coverage) - learning.scores(coverage)
        if gain.mean() + _CERTAIN * gain.std(ddof=1) / math.sqrt(len(gain)) < 0:
            learning = adaptive
    factors = [site_weighted_quantile(rows.error / width, rows.sites, coverage) for width, _ in learning.unseen]
    level, spread, floor = learning.learned(np.ones(len(rows.error), dtype=bool))
    return Intervals(spread, level, math.fsum(factors) / len(factors), floor, coverage, count)


@dataclass(frozen=True)
class _Rows:
    """Scored rows, in an order that only they decide."""

    sites: NDArray[Any]
    error: Float32Array
    """Absolute error."""

    predicted: Float64Array
    values: Float32Array
    features: tuple[str, ...]

    def of(self, used: NDArray[np.intp]) -> _Rows:
        """Return the rows with some of the features."""
        return replace(self, values=self.values[:, used], features=tuple(self.features[int(i)] for i in used))


@dataclass(frozen=True)
class _Learning:
    """Rows from which level and spread are learned."""

    rows: _Rows
    settings: SpreadSettings
    seed: int

    @cached_property
    def weight(self) -> Float32Array:
        return equal_site_weights(self.rows.sites)

    @cached_property
    def unseen(self) -> list[tuple[Float64Array, list[Fold]]]:
        """Spread times level of each row by what has not seen its site, and the folds, for each way of cutting them."""
        table, found = pd.DataFrame({"site": self.rows.sites}), []
        for repeat in range(self.settings.repeats):
            width = np.empty(len(self.rows.error))
            folds = hold_out(table, "site", folds=self.settings.folds, seed=self.seed + repeat)
            for fold in folds:
                taught = np.zeros(len(width), dtype=bool)
                taught[fold.train] = True
                level, spread, floor = self.learned(taught)
                there = np.maximum(spread.predict(self._columns(fold.test)), np.float32(floor))
                width[fold.test] = there * level.at(self.rows.predicted[fold.test])
            found.append((width, folds))
        return found

    def scores(self, coverage: float) -> Float64Array:
        """Return the mean interval score (Gneiting and Raftery 2007) of each site; the factor is from other folds."""
        total = np.zeros(len(self.rows.error))
        for width, folds in self.unseen:
            for fold in folds:
                relative = self.rows.error[fold.train] / width[fold.train]
                order = np.argsort(relative)
                share = np.cumsum(self.weight[fold.train][order].astype(float))
                half = width[fold.test] * relative[order][np.searchsorted(share, coverage * share[-1])]
                beyond = np.maximum(self.rows.error[fold.test] - half, 0)
                total[fold.test] += 2 * half + 2 / (1 - coverage) * beyond
        _, site = np.unique(self.rows.sites, return_inverse=True)
        return np.asarray(np.bincount(site, total) / np.bincount(site))

    def learned(self, rows: NDArray[np.bool_]) -> tuple[ErrorLevel, WeightedBooster, float]:
        """Return level, booster of the spread and least spread from some rows."""
        predicted, error, weight = self.rows.predicted[rows], self.rows.error[rows], self.weight[rows]
        level = ErrorLevel.of(predicted, error, weight, self.settings)
        left = error / level.at(predicted)
        mean = math.fsum(left.astype(float) * weight) / math.fsum(weight)  # exact, on any machine
        names = ("max_depth", "eta", "subsample", "colsample_bytree", "reg_lambda")
        parameters = {name: getattr(self.settings, name) for name in names}
        parameters |= {"min_child_weight": self.settings.leaf * float(weight.sum())}
        fit_settings = FitSettings(parameters, self.settings.n_estimators, start=mean, seed=self.seed)
        spread = find_learner(DEFAULT_LEARNER).fit(self._columns(rows), left, weight, fit_settings)
        return level, WeightedBooster.of(spread), self.settings.floor * mean

    def _columns(self, rows: NDArray[Any]) -> dict[str, Float32Array]:
        return dict(zip(self.rows.features, self.rows.values[rows].T, strict=True))


def _used(rows: _Rows, most: int) -> NDArray[np.intp]:
    """Return positions of the features that vary within sites and that predictions follow most (rank correlation)."""
    groups = pd.DataFrame(rows.values).groupby(rows.sites)
    deviation = pd.DataFrame(rows.values).std().to_numpy()
    varies = ((groups.max() - groups.min()) > 1e-6 * deviation).any().to_numpy()
    among = np.flatnonzero(varies) if varies.any() else np.arange(min(1, rows.values.shape[1]))
    some = slice(None, None, max(1, len(rows.error) // _RANKED_ROWS))
    ranks = pd.DataFrame(rows.values[some][:, among]).rank()
    follows = ranks.corrwith(pd.Series(rows.predicted[some]).rank()).abs().fillna(0).round(9).to_numpy()
    return np.asarray(np.sort(among[np.argsort(-follows, kind="stable")[:most]]))


def _rows(table: pd.DataFrame, features: Sequence[str], out_of_fold: pd.DataFrame) -> _Rows:
    """Return the scored rows."""
    require_columns(out_of_fold, ["site", "observed", "predicted", "row"], "the calibration of intervals")
    require_columns(table, features, "the calibration of intervals")
    predicted = out_of_fold["predicted"].to_numpy(float)
    difference = out_of_fold["observed"].to_numpy(float) - predicted
    known = np.isfinite(difference)
    at = out_of_fold["row"].to_numpy()[known].astype(int)
    if at.size and not 0 <= at.min() <= at.max() < len(table):
        raise InputError(f"intervals: rows {at.min()} to {at.max()} found; a table of {len(table)} rows has no such")
    sites = label_column(out_of_fold[known], "site").to_numpy()
    error, predicted = np.abs(difference[known]).astype(np.float32), predicted[known]
    values = feature_matrix(table.iloc[at], features) + np.float32(0)  # adding 0 makes one of 0.0 and -0.0
    order = np.lexsort([predicted, error, *values.T[::-1], sites])
    order = order[:: max(1, -(-len(order) // _MOST_ROWS))]  # by site: what is left out is like what is left
    return _Rows(sites[order], error[order], predicted[order], values[order], tuple(features))


def _require_sites(found: int, least: int, coverage: float) -> None:
    if not 0 < coverage < 1:
        raise InputError(f"intervals: coverage {coverage} found; a share between 0 and 1 is required, e.g. 0.9")
    fewest = max(least, math.ceil(coverage / (1 - coverage) - 1e-9), 2)
    if found < fewest:
        raise ScreeningError(
            f"intervals not issued: {found} {'site' if found == 1 else 'sites'} found, {fewest} required for intervals "
            f"of {coverage:.0%}: match up more stations, or lower [screening] min_sites_for_intervals"
        )
