"""Compute features of a place from its days: mean, spread, anomaly, and exponentially weighted means.

The same arithmetic, in the same order, serves the rows of a site in a table (``…_of_rows``) and the daily fields of a
map (``…_of_fields``), so that a model that was trained on a table of features finds the same values at a pixel. Sums
are float64, over days in the order of time for mean and spread, from the newest day back for exponential means.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stac_sm.core.arrays import Float32Array, Float64Array
from stac_sm.core.errors import InputError

LEAST_SHARE = 0.25
"""Least share of the weight of a window that days with a value must have; below, an exponential mean is NaN."""

WINDOW_SCALES = 3
"""Default window of an exponential mean, in time scales: the days beyond have 5 % of an endless mean's weight."""

_ROWS_PER_THREAD = 50_000


@dataclass(frozen=True)
class ExponentialMean:
    """Weighted mean over the days that end with a day: a value of so many days ago weighs ``exp(-age / scale)``.

    As Wagner, Lemoine and Rott (1999, doi:10.1016/S0034-4257(99)00036-X) filter soil moisture, but cut at a window.
    """

    scale: float
    """Time scale in days."""

    window: int = 0
    """Days that are looked at, this one included; 0 stands for three time scales."""

    least_share: float = LEAST_SHARE
    """Least share of the weight of the window that days with a value must have; below, the mean is NaN."""

    weights: Float64Array = field(init=False, repr=False, compare=False)
    """Weight by age in days, from 0; shape (window,)."""

    def __post_init__(self) -> None:
        if not 0 < self.scale < math.inf or self.window < 0 or not 0 <= self.least_share <= 1:
            raise InputError(
                f"exponential mean: found a time scale of {self.scale} days, a window of {self.window} days and a "
                f"least share of {self.least_share}; a positive scale, a window of 1 day or more (0: three scales) "
                "and a share from 0 to 1 are required"
            )
        window = self.window or max(1, math.ceil(WINDOW_SCALES * self.scale))
        object.__setattr__(self, "window", window)
        weights = np.array([math.exp(-age / self.scale) for age in range(window)])
        object.__setattr__(self, "weights", weights)

    def least_weight(self, sampling: int = 1) -> float:
        """Return the least sum of weights of days with a value.

        Parameters
        ----------
        sampling
            Days from one value to the next where none is missing: 1 for daily values.

        Returns
        -------
        float
            The least share of the sum of the weights of ages 0, ``sampling``, 2 ``sampling``, …
        """
        return self.least_share * math.fsum(self.weights[:: max(1, sampling)])


def exponential_mean_of_fields(fields: Sequence[NDArray[np.floating] | None], mean: ExponentialMean) -> Float32Array:
    """Return the exponentially weighted mean of daily fields.

    Parameters
    ----------
    fields
        Arrays of one shape, by age in days from 0 (the newest first); NaN = missing; None for a day without a field.
        Those beyond the window have no weight.
    mean
        Time scale, window and least share.

    Returns
    -------
    numpy.ndarray
        float32, of the shape of a field; NaN where too little of the weight has a value.

    Raises
    ------
    InputError
        If no day has a field.
    """
    shapes = [days.shape for days in fields if days is not None]
    if not shapes:
        raise InputError("exponential mean: found no field in the window; one is required")
    sums, totals = np.zeros(shapes[0]), np.zeros(shapes[0])
    for weight, values in zip(mean.weights, fields, strict=False):
        if values is not None:
            known = ~np.isnan(values)
            sums += np.where(known, weight * values.astype(np.float32).astype(float), 0.0)
            totals += np.where(known, weight, 0.0)
    enough = (totals >= mean.least_weight()) & (totals > 0)
    found = np.where(enough, sums / np.where(enough, totals, 1), np.nan)
    return found.astype(np.float32)


def exponential_mean_of_rows(
    values: NDArray[np.floating],
    site: NDArray[np.integer],
    day: NDArray[np.integer],
    mean: ExponentialMean,
    *,
    sampling: int = 1,
) -> Float32Array:
    """Return the exponentially weighted means of columns at each row, from the rows of its site up to its day.

    Parameters
    ----------
    values
        Dims (row, column), in any order; NaN = missing. Rows of one site and day count as their mean.
    site
        Number of the site of each row, from 0.
    day
        Day of each row, in days since any date; they need not be regular.
    mean
        Time scale, window and least share.
    sampling
        Days from one row of a site to the next where none is missing.

    Returns
    -------
    numpy.ndarray
        float32, dims (row, column); NaN where too little of the weight has a value.
    """
    from stac_sm.features.temporal_kernel import exponential_means  # here, since it compiles

    site, day = np.asarray(site, np.int64), np.asarray(day, np.int64)
    order = np.lexsort((day, site))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(site[order]) != 0) | (np.diff(day[order]) != 0)
    group = np.cumsum(new) - 1
    days = _daily(np.asarray(values, np.float32)[order], group, new)
    at_site, at_day = site[order][new], day[order][new]
    out = np.empty(days.shape, dtype=np.float32)
    threads = min(os.cpu_count() or 1, 1 + len(days) // _ROWS_PER_THREAD)
    ends = np.linspace(0, len(days), 4 * threads + 1).astype(int)
    least = mean.least_weight(sampling)
    with ThreadPoolExecutor(threads) as pool:
        jobs = [
            pool.submit(exponential_means, days, at_site, at_day, mean.weights, least, int(first), int(last), out)
            for first, last in pairwise(ends)
        ]
        for job in jobs:
            job.result()
    found: Float32Array = np.empty(np.shape(values), dtype=np.float32)
    found[order] = out[group]
    return found


def _daily(values: Float32Array, group: NDArray[np.intp], new: NDArray[np.bool_]) -> Float32Array:
    """Return one row a site and day: the mean of those of the day that have a value, whatever their order."""
    if new.all():
        return np.ascontiguousarray(values)
    known = ~np.isnan(values)
    columns = []
    for column, there in zip(values.T.astype(float), known.T, strict=True):
        by_value = np.lexsort((column, group))  # sums that do not depend on the order of rows
        count = np.bincount(group, there)
        total = np.bincount(group[by_value], np.where(there, column, 0)[by_value])
        columns.append(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))
    return np.ascontiguousarray(np.stack(columns, axis=1).astype(np.float32))


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and spread of the values at places over a period; how many there are says whether they can be used."""

    count: Float64Array
    """Days with a value."""

    total: Float64Array
    """Sum of the values."""

    squares: Float64Array
    """Sum of the squares of the values."""

    @classmethod
    def of_fields(cls, fields: Iterable[tuple[float, NDArray[np.floating]]]) -> Moments:
        """Add up fields in the order of time.

        Parameters
        ----------
        fields
            Pairs of number of days that a field stands for, and values of one shape; NaN = missing.

        Returns
        -------
        Moments
            Of the shape of a field.

        Raises
        ------
        InputError
            If there is no field.
        """
        count = total = squares = None
        for days, values in fields:
            known, inside = ~np.isnan(values), np.nan_to_num(values.astype(np.float32).astype(float))
            one = (np.where(known, float(days), 0.0), inside * days, inside * inside * days)
            if count is None or total is None or squares is None:
                count, total, squares = (np.zeros(values.shape) for _ in range(3))
            count, total, squares = count + one[0], total + one[1], squares + one[2]
        if count is None or total is None or squares is None:
            raise InputError("mean and spread: found no field; one is required")
        return cls(count, total, squares)

    @classmethod
    def of_rows(
        cls, values: NDArray[np.floating], site: NDArray[np.integer], day: NDArray[np.integer], sites: int
    ) -> Moments:
        """Add up the rows of each site in the order of time.

        Parameters
        ----------
        values
            Shape (row,); NaN = missing.
        site
            Number of the site of each row, from 0.
        day
            Day of each row, in days since any date.
        sites
            Number of sites.

        Returns
        -------
        Moments
            Of shape (site,).
        """
        inside = np.asarray(values, np.float32).astype(float)
        order = np.lexsort((inside, day, site))
        inside, where = inside[order], np.asarray(site)[order]
        known = ~np.isnan(inside)
        inside = np.where(known, inside, 0.0)
        parts = (known, inside, inside * inside)
        return cls(*(np.bincount(where, of, minlength=sites).astype(float) for of in parts))

    def mean(self, least_days: float = 1) -> Float32Array:
        """Return the means.

        Parameters
        ----------
        least_days
            Fewest days with a value.

        Returns
        -------
        numpy.ndarray
            float32, of the shape of the sums; NaN with fewer days with a value.
        """
        mean = self.total / np.maximum(self.count, 1)
        return np.where(self.count >= max(least_days, 1), mean, np.nan).astype(np.float32)

    def spread(self, least_days: float = 1) -> Float32Array:
        """Return the standard deviations of the days themselves.

        Parameters
        ----------
        least_days
            Fewest days with a value.

        Returns
        -------
        numpy.ndarray
            float32, of the shape of the sums; NaN with fewer days with a value.
        """
        mean = self.total / np.maximum(self.count, 1)
        variance = np.maximum(self.squares / np.maximum(self.count, 1) - mean * mean, 0)
        return np.where(self.count >= max(least_days, 1), np.sqrt(variance), np.nan).astype(np.float32)


def anomaly(values: NDArray[np.floating], mean: NDArray[np.floating]) -> Float32Array:
    """Return the difference of values from the mean of their place.

    Parameters
    ----------
    values
        Values of days; NaN = missing.
    mean
        Mean of each place, of a shape that goes with it and in the same unit; NaN = missing.

    Returns
    -------
    numpy.ndarray
        float32, NaN where either is missing.
    """
    return np.asarray(values, np.float32) - np.asarray(mean, np.float32)
