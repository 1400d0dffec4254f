"""Prediction intervals: how far the truth may lie from a prediction, calibrated so that each site has one vote.

The half width is ``factor x spread(features)``. The spread is a small booster that has learned how large the error of
a model is where it has seen no station; the factor is the conformal quantile of error over spread, both taken at sites
that neither the model nor the booster has seen. It is the quantile of hierarchical conformal prediction (Lee, Barber
and Willett 2023, arXiv:2306.06342): with K sites of n_k rows each, every row has the weight ``1 / ((K + 1) n_k)``, and
the site that is still to come has the weight ``1 / (K + 1)`` at infinity. If sites are exchangeable, a row of a new
site is covered with at least the wanted probability.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.booster import Member, grow, matrix
from stac_sm.errors import InputError, ModelError, ScreeningError
from stac_sm.holdout import hold_out
from stac_sm.table import labels, require
from stac_sm.variables import VARIABLES

Floats = NDArray[np.float32]
Wide = NDArray[np.float64]

_MOST_ROWS = 200_000  # more teach a small booster nothing


@dataclass(frozen=True)
class SpreadSettings:
    """How the booster of the spread grows; names as in XGBoost. Errors are noisy and sites few: it learns little."""

    n_estimators: tuple[int, ...] = (0, 10, 20, 40, 80, 120)
    """Numbers of trees to choose from, by the interval score at sites that the booster has not seen; 0 is a constant
    half width."""

    max_depth: int = 3
    """Largest depth of a tree."""

    eta: float = 0.05
    """Learning rate."""

    subsample: float = 0.7
    """Share of the rows that each tree sees."""

    colsample_bytree: float = 0.5
    """Share of the features that each tree sees."""

    leaf: float = 0.1
    """Least share of the rows in a leaf."""

    reg_lambda: float = 100.0
    """L2 penalty on the value of a leaf."""

    folds: int = 5
    """Folds of sites, for errors over a spread that has not seen them."""

    floor: float = 0.3
    """Least spread, as a share of the mean absolute error."""

    sites_per_constant: int = 20
    """Sites for each feature that does not vary within a site; of more features, the first are used. Each is known at
    as many places as there are sites, however many rows there are: many of them name the site, and its error."""


@dataclass(frozen=True)
class Intervals:
    """Half widths of the prediction intervals of a model."""

    spread: Member
    """Booster of the mean absolute error, m3 m-3."""

    factor: float
    """Half width over spread."""

    floor: float
    """Least spread, m3 m-3."""

    coverage: float
    """Share of the truth that the intervals are to hold."""

    sites: int
    """Sites that it was calibrated on."""

    @property
    def features(self) -> tuple[str, ...]:
        """Its features, in order."""
        return self.spread.features

    @property
    def description(self) -> str:
        """What its figures are, in one line."""
        return f"Half width of the {self.coverage:.0%} prediction interval, {VARIABLES['sm'].unit}"

    def half_width(self, columns: Mapping[str, NDArray[Any]] | pd.DataFrame) -> Floats:
        """Half width of the interval of each row.

        Parameters
        ----------
        columns
            1-D columns of one length, matched by name; NaN = missing.

        Returns
        -------
        numpy.ndarray
            float32, shape (n,), in the unit of the target; > 0, never NaN.

        Raises
        ------
        ModelError
            If a feature is missing, or columns differ in length.
        """
        spread = np.maximum(self.spread.predict(matrix(columns, self.features)), np.float32(self.floor))
        return spread * np.float32(self.factor)

    def to_dict(self) -> dict[str, Any]:
        """All but the booster, JSON-able."""
        return {**asdict(self), "spread": {"features": list(self.features)}}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], ubjson: bytes) -> Intervals:
        """What `to_dict` gave, with the bytes of the booster.

        Raises
        ------
        ModelError
            If a field is missing, or a figure is none that an interval can have.
        """
        try:
            spread = Member(1.0, tuple(content["spread"]["features"]), ubjson)
            figures = {name: float(content[name]) for name in ("factor", "floor", "coverage")}
            made = cls(spread, sites=int(content["sites"]), **figures)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"intervals: {error!r} in {json.dumps(content)[:200]}: publish the model again") from error
        if not (0 < made.factor < math.inf and 0 < made.floor < math.inf and 0 < made.coverage < 1):
            raise ModelError(f"intervals: found {figures}; positive figures wanted: publish the model again")
        return made

    @cached_property
    def checksum(self) -> str:
        """SHA-256 over figures and booster, in hex."""
        head = json.dumps(self.to_dict(), sort_keys=True).encode()
        return hashlib.sha256(head + b"\0" + self.spread.ubjson).hexdigest()


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
    """Learn and calibrate intervals from predictions for sites that the model had not seen.

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
        How the booster of the spread grows.
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
    settings = settings or SpreadSettings()
    sites, error, values = _rows(table, features, out_of_fold)
    count = len(set(sites))
    _require_sites(count, min_sites, coverage)
    used = _used(values, sites, count // settings.sites_per_constant)
    learning = _Learning(values[:, used], error, sites, tuple(features[int(i)] for i in used), settings, seed)
    if not learning.floor > 0:
        raise InputError("intervals: found no error in any out-of-fold prediction: the model has seen these rows")
    spreads = learning.unseen()
    factors = [hierarchical_quantile(error / spread, sites, coverage) for spread in spreads]
    scores = [
        _interval_score(error, factor * spread, learning.weight, coverage)
        for factor, spread in zip(factors, spreads, strict=True)
    ]
    best = int(np.argmin(scores))
    whole = learning.grown(np.ones(len(error), dtype=bool), settings.n_estimators[best])
    return Intervals(whole, factors[best], learning.floor, coverage, count)


@dataclass(frozen=True)
class _Learning:
    """Rows from which the spread is learned."""

    values: Floats
    error: Floats
    sites: NDArray[Any]
    features: tuple[str, ...]
    settings: SpreadSettings
    seed: int

    @cached_property
    def weight(self) -> Floats:
        return _votes(self.sites)

    @cached_property
    def floor(self) -> float:
        return self.settings.floor * self._mean(np.ones(len(self.error), dtype=bool))

    def unseen(self) -> list[Wide]:
        """Spread of each row by a booster that has not seen its site, for each number of trees."""
        numbers = self.settings.n_estimators
        spreads = [np.empty(len(self.error)) for _ in numbers]
        for fold in hold_out(pd.DataFrame({"site": self.sites}), "site", folds=self.settings.folds, seed=self.seed):
            rows = np.zeros(len(self.error), dtype=bool)
            rows[fold.train] = True
            member = self.grown(rows, max(numbers))
            for spread, trees in zip(spreads, numbers, strict=True):
                spread[fold.test] = member.predict(self.values[fold.test], trees=trees) if trees else self._mean(rows)
        return [np.maximum(spread, np.float32(self.floor)) for spread in spreads]

    def grown(self, rows: NDArray[np.bool_], trees: int) -> Member:
        """Booster of so many trees on some rows."""
        names = ("max_depth", "eta", "subsample", "colsample_bytree", "reg_lambda")
        parameters = {name: getattr(self.settings, name) for name in names}
        parameters |= {"min_child_weight": self.settings.leaf * float(self.weight[rows].sum())}
        parameters |= {"objective": "reg:squarederror", "base_score": self._mean(rows), "seed": self.seed}
        return grow(self.values[rows], self.error[rows], self.weight[rows], self.features, parameters, trees)

    def _mean(self, rows: NDArray[np.bool_]) -> float:
        """Mean error of some rows, one vote a site; exact, on any machine."""
        weight = self.weight[rows].astype(float)
        return math.fsum(self.error[rows] * weight) / math.fsum(weight)


def _interval_score(error: Floats, half_width: Wide, weight: Floats, coverage: float) -> float:
    """Mean interval score (Gneiting and Raftery 2007): width, and what lies outside, over (1 - coverage) / 2."""
    outside = np.maximum(error - half_width, 0) * (2 / (1 - coverage))
    return float(np.average(2 * half_width + outside, weights=weight)) if np.isfinite(half_width).all() else math.inf


def _used(values: Floats, sites: NDArray[Any], most: int) -> NDArray[np.intp]:
    """Positions of the features that vary within sites, and of the first few of the others."""
    groups = pd.DataFrame(values).groupby(sites)
    varies = ((groups.max() - groups.min()) > 1e-6 * np.nanstd(values, axis=0)).any().to_numpy()
    constants = np.flatnonzero(~varies)[:most]
    used = np.sort(np.concatenate([np.flatnonzero(varies), constants]))
    return used if used.size else np.arange(min(1, values.shape[1]))


def hierarchical_quantile(scores: Wide, sites: NDArray[Any], coverage: float) -> float:
    """Quantile of scores in which each site has one vote, and one more site lies at infinity.

    Returns
    -------
    float
        Infinity where there are too few sites for the coverage: fewer than ``coverage / (1 - coverage)``.
    """
    weight = _votes(sites)
    count = len(set(sites))
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weight[order]) / weight.sum() * (count / (count + 1))
    at = int(np.searchsorted(reached, coverage - 1e-12))
    return float(scores[order][at]) if at < len(scores) else math.inf


def _rows(
    table: pd.DataFrame, features: Sequence[str], out_of_fold: pd.DataFrame
) -> tuple[NDArray[Any], Floats, Floats]:
    """Site, absolute error and features of each scored row, in an order that only the rows decide."""
    require(out_of_fold, ["site", "observed", "predicted", "row"], "the calibration of intervals")
    require(table, features, "the calibration of intervals")
    difference = out_of_fold["observed"].to_numpy(float) - out_of_fold["predicted"].to_numpy(float)
    known = np.isfinite(difference)
    at = out_of_fold["row"].to_numpy()[known].astype(int)
    if at.size and not 0 <= at.min() <= at.max() < len(table):
        raise InputError(f"intervals: rows {at.min()} to {at.max()} found; positions in a table of {len(table)} wanted")
    sites = labels(out_of_fold[known], "site").to_numpy()
    error = np.abs(difference[known]).astype(np.float32)
    values = matrix(table.iloc[at], features) + np.float32(0)  # adding 0 makes one of 0.0 and -0.0
    order = np.lexsort([error, *values.T[::-1], sites])
    order = order[:: max(1, -(-len(order) // _MOST_ROWS))]  # by site: what is left out is like what is left
    return sites[order], error[order], values[order]


def _require_sites(found: int, least: int, coverage: float) -> None:
    if not 0 < coverage < 1:
        raise InputError(f"intervals: coverage {coverage} found; a share between 0 and 1 wanted, e.g. 0.9")
    wanted = max(least, math.ceil(coverage / (1 - coverage) - 1e-9), 2)
    if found < wanted:
        raise ScreeningError(
            f"intervals not issued: {found} {'site' if found == 1 else 'sites'} found, {wanted} wanted for intervals "
            f"of {coverage:.0%}: match up more stations, or lower [screening] min_sites_for_intervals"
        )


def _votes(sites: NDArray[Any]) -> Floats:
    """Weight of each row, so that all sites weigh the same and the mean weight is 1."""
    _, where, counts = np.unique(sites, return_inverse=True, return_counts=True)
    weight: Floats = (len(sites) / len(counts) / counts[where]).astype(np.float32)
    return weight
