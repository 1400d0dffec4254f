"""Normal scores: each feature by its rank among the training rows, so that a linear booster can take any of them.

Soil, albedo and backscatter are skewed, and their outliers would tilt a straight line. Here the median becomes 0, the
share of rows below a value decides the rest, and what lies beyond the training rows stays at their ends: a line does
not extrapolate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stac_sm.core.arrays import Float32Array, Float64Array

_MOST = 33  # knots of a feature
_LEAST = 0.02  # share of the rows below the lowest knot: what is rarer is as far away


@dataclass(frozen=True)
class NormalScores:
    """Piecewise linear ways from values to scores, one of each feature."""

    knots: tuple[tuple[tuple[float, float], ...], ...]
    """Value and score of the knots of each feature, ascending; none for a feature that has no value in training."""

    @classmethod
    def of(cls, values: Float32Array, weight: Float64Array) -> NormalScores:
        """Compute the scores of training rows.

        Parameters
        ----------
        values
            Dims (row, feature); NaN = missing, which has no say.
        weight
            Of each row, >= 0.
        """
        return cls(tuple(_knots(column.astype(float), weight) for column in values.T))

    def of_rows(self, values: Float32Array) -> Float32Array:
        """Return the scores of rows: dims (row, feature) to the same; NaN stays NaN, which a line takes as 0, the
        median."""
        scores = np.full(values.shape, np.nan, dtype=np.float32)
        for i, knots in enumerate(self.knots):
            if knots:
                at, score = np.array(knots).T
                known = ~np.isnan(values[:, i])
                scores[known, i] = np.interp(values[known, i], at, score)
        return scores

    def scaled(self, factors: Sequence[float]) -> NormalScores:
        """Return scores times a factor of each feature: a penalised line pays less for a feature that is stretched."""
        pairs = zip(self.knots, factors, strict=True)
        return NormalScores(tuple(tuple((at, score * factor) for at, score in knots) for knots, factor in pairs))

    def to_list(self) -> list[Any]:
        """Return all of it, JSON-able."""
        return [[list(knot) for knot in knots] for knots in self.knots]

    @classmethod
    def from_list(cls, content: Sequence[Any]) -> NormalScores:
        """Read what `to_list` gave.

        Raises
        ------
        ValueError, TypeError
            If it is anything else.
        """
        return cls(tuple(tuple((float(value), float(score)) for value, score in knots) for knots in content))


def penalty_scales(
    scores: Float32Array, sites: NDArray[np.intp], weight: Float64Array, least: float
) -> tuple[float, ...]:
    """Return factors by which the penalty of a line falls on what few sites have to say, and not on what many days say.

    A feature that stands still at a site is known from as many places as there are sites; one that changes from day to
    day, from as many as there are rows. So the penalty of the slope is the share of the variance that lies between
    sites: all of it, down to ``least``.

    Parameters
    ----------
    scores
        Dims (row, feature); NaN = missing, which is the median.
    sites
        Number of the site of each row, from 0.
    weight
        Of each row, >= 0; some site has more than 0.
    least
        Penalty of a feature whose site means are all the same, as a share of that of one which stands still.

    Returns
    -------
    tuple of float
        At least 1 each; with two decimals, so that they do not depend on the order of sums.
    """
    whole = np.bincount(sites, weight)
    found = []
    for column in np.nan_to_num(scores.astype(float)).T:
        means = np.bincount(sites, weight * column) / np.maximum(whole, np.finfo(float).tiny)
        centre = float(means @ whole / whole.sum())
        total = float(weight @ (column - centre) ** 2)
        share = float(whole @ (means - centre) ** 2) / total if total > 0 else 1.0
        found.append(round((least + (1 - least) * min(share, 1.0)) ** -0.5, 2))
    return tuple(found)


def _knots(values: Float64Array, weight: Float64Array) -> tuple[tuple[float, float], ...]:
    """Return the knots of one feature: values at even steps of the share of rows below them, half of the equal ones
    counted."""
    known = ~np.isnan(values) & (weight > 0)
    different, place = np.unique(values[known], return_inverse=True)
    if not len(different):
        return ()
    share = np.bincount(place, weights=weight[known])
    below = (np.cumsum(share) - share / 2) / share.sum()
    chosen = np.unique(np.searchsorted(below, np.linspace(below[0], below[-1], min(_MOST, len(below)))))
    normal = NormalDist()
    return tuple((float(different[i]), normal.inv_cdf(float(np.clip(below[i], _LEAST, 1 - _LEAST)))) for i in chosen)
