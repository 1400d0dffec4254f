"""Prepare series for a comparison: anomalies from the seasonal cycle or from a moving average, and scaling.

The definitions are those of pytesmo (`calc_climatology`, `calc_anomaly`, `mean_std`, `cdf_match`), so that scores of
anomalies and of scaled series are those that the QA4SM service gives.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from stac_sm.core.arrays import Float64Array
from stac_sm.core.errors import InputError

Scaling = Literal["none", "mean-std", "cdf"]
"""How a series is scaled to the reference before it is compared: not at all, to its mean and standard deviation, or to
its distribution (CDF matching)."""

SCALINGS: tuple[Scaling, ...] = get_args(Scaling)
"""All ways of scaling, the default first."""

SHORT_WINDOW = 35
"""Days of the moving average that short-term anomalies are taken from."""

SEASONAL_WINDOW = 35
"""Days of the moving average that smooths a seasonal cycle."""

_WEATHER_WINDOW = 5  # days of the moving average of a series before its seasonal cycle is taken
_DAYS_OF_YEAR = 366
_BINS = 100  # of CDF matching
_LEAST_IN_BIN = 20


def moving_average(values: ArrayLike, days: ArrayLike, window: float, *, fill: bool = False) -> Float64Array:
    """Average the values within half a window before and after each day.

    Parameters
    ----------
    values
        Series, dims (row); NaN where there is no value.
    days
        Days since any epoch, dims (row), ascending.
    window
        Length of the window, days.
    fill
        Whether rows without a value get the average of their window, too.

    Returns
    -------
    numpy.ndarray
        float64, dims (row), in the unit of the values; NaN where the window is empty.

    References
    ----------
    ``pytesmo.time_series.filtering.moving_average``.
    """
    series, time = np.asarray(values, float), np.asarray(days, float)
    known = np.isfinite(series)
    middle = float(series[known].mean()) if known.any() else 0.0  # so that little is lost where sums are subtracted
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, series - middle, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    start = np.searchsorted(time, time - window / 2, side="left")
    end = np.searchsorted(time, time + window / 2, side="right")
    with np.errstate(all="ignore"):
        found = (sums[end] - sums[start]) / (counts[end] - counts[start]) + middle
    return np.where((known | fill) & (counts[end] > counts[start]), found, np.nan)


def seasonal_cycle(values: ArrayLike, dates: ArrayLike) -> Float64Array:
    """Return the mean seasonal cycle of a series.

    The series is smoothed over 5 days, averaged by day of the year, and smoothed over 35 days across the turn of the
    year.

    Parameters
    ----------
    values
        Series, dims (row); NaN where there is no value.
    dates
        datetime64, dims (row), ascending.

    Returns
    -------
    numpy.ndarray
        float64, dims (366): by day of a leap year, in the unit of the values; NaN where no value is near.

    References
    ----------
    ``pytesmo.time_series.anomaly.calc_climatology`` with its defaults.
    """
    days, of_year = _days(dates), _day_of_year(dates)
    smooth = moving_average(values, days, _WEATHER_WINDOW, fill=True)
    known = np.isfinite(smooth)
    total = np.bincount(of_year[known], smooth[known], _DAYS_OF_YEAR)
    count = np.bincount(of_year[known], minlength=_DAYS_OF_YEAR)
    with np.errstate(all="ignore"):
        mean = total / count
    edge = SEASONAL_WINDOW
    wrapped = np.concatenate([mean[-edge:], mean, mean[:edge]])
    return moving_average(wrapped, np.arange(len(wrapped)), SEASONAL_WINDOW, fill=True)[edge:-edge]


def long_term_anomalies(values: ArrayLike, dates: ArrayLike) -> Float64Array:
    """Return the anomalies of a series from its own seasonal cycle.

    Parameters
    ----------
    values, dates
        As in `seasonal_cycle`.

    Returns
    -------
    numpy.ndarray
        float64, dims (row), in the unit of the values; NaN where there is no value.
    """
    return np.asarray(np.asarray(values, float) - seasonal_cycle(values, dates)[_day_of_year(dates)])


def short_term_anomalies(values: ArrayLike, dates: ArrayLike) -> Float64Array:
    """Return the anomalies of a series from its moving average over 35 days.

    Parameters
    ----------
    values, dates
        As in `seasonal_cycle`.

    Returns
    -------
    numpy.ndarray
        float64, dims (row), in the unit of the values; NaN where there is no value.

    References
    ----------
    ``pytesmo.time_series.anomaly.calc_anomaly`` with its default window.
    """
    return np.asarray(values, float) - moving_average(values, _days(dates), SHORT_WINDOW)


def scale_series(values: ArrayLike, reference: ArrayLike, scaling: Scaling) -> Float64Array:
    """Return a series scaled to a reference, by the rows that both have.

    Parameters
    ----------
    values
        Series, dims (row); NaN where there is no value.
    reference
        Reference, dims (row).
    scaling
        One of `SCALINGS`.

    Returns
    -------
    numpy.ndarray
        float64, dims (row), in the unit of the reference; NaN where there is no value, and everywhere if the series is
        constant or has no row in common with the reference.

    Raises
    ------
    InputError
        If there is no such scaling.

    References
    ----------
    ``pytesmo.scaling.mean_std``; ``pytesmo.scaling.cdf_match`` with its defaults (100 bins of at least 20 values,
    linear scaling at the edges: Moesinger et al. 2020, doi:10.5194/essd-12-177-2020).
    """
    if scaling not in SCALINGS:
        raise InputError(f"scaling: found {scaling!r}; one of {', '.join(SCALINGS)} is required")
    series, other = np.asarray(values, float), np.asarray(reference, float)
    if scaling == "none":
        return series
    both = np.isfinite(series) & np.isfinite(other)
    if np.unique(series[both]).size < 2:
        return np.full(series.shape, np.nan)
    if scaling == "mean-std":
        spread = series[both].std()
        return np.asarray((series - series[both].mean()) / spread * other[both].std() + other[both].mean())
    return _matched(series, series[both], other[both])


def _matched(values: Float64Array, series: Float64Array, reference: Float64Array) -> Float64Array:
    """Return values mapped from the distribution of a series to that of a reference."""
    bins = int(min(max(series.size // _LEAST_IN_BIN, 1), _BINS))
    if bins == 1:  # too few for a distribution: a line
        centred = series - series.mean()
        slope = float(centred @ (reference - reference.mean()) / (centred @ centred))
        return np.asarray((values - series.mean()) * slope + reference.mean())
    share = np.linspace(0.0, 100.0, bins + 1)
    low_to_high, target = np.sort(series), np.sort(reference)
    x, y = _percentiles(low_to_high, share), _percentiles(target, share)
    y[0] = y[1] + _edge_slope(low_to_high, target, x[1], y[1], low=True) * (x[0] - x[1])
    y[-1] = y[-2] + _edge_slope(low_to_high, target, x[-2], y[-2], low=False) * (x[-1] - x[-2])
    if (np.diff(x) <= 0).any():
        return np.full(values.shape, np.nan)
    return _line(values, x, y)


def _percentiles(ordered: Float64Array, share: Float64Array) -> Float64Array:
    """Return percentiles of sorted values, pulled apart where several are equal."""
    found = _percentiles_with_ties(ordered, share)
    unique, first = np.unique(found, return_index=True)
    if unique.size == share.size or unique.size == 1:
        return found
    places = share[first]
    places[-1] = share[-1]
    return _line(share, places, unique)


def _percentiles_with_ties(ordered: Float64Array, share: Float64Array) -> Float64Array:
    rank = 100.0 * (np.arange(ordered.size) + 0.5) / ordered.size
    return np.interp(share, rank, ordered)


def _edge_slope(series: Float64Array, target: Float64Array, x: float, y: float, *, low: bool) -> float:
    """Return the slope of the line through a knot and the values beyond it."""
    beyond = (series[series <= x] if low else series[series >= x]) - x
    matched = (target[target <= y] if low else target[target >= y]) - y
    if beyond.size != matched.size:
        share = np.arange(matched.size, dtype=float) / max(matched.size - 1, 1) * 100.0
        beyond = _percentiles(beyond, share)
    norm = float(beyond @ beyond)
    return float(beyond @ matched) / norm if norm > 0 else 0.0


def _line(values: Float64Array, x: Float64Array, y: Float64Array) -> Float64Array:
    """Interpolate along straight lines, and beyond the ends along the first and the last one."""
    found = np.interp(values, x, y)
    below, above = values < x[0], values > x[-1]
    found[below] = y[0] + (values[below] - x[0]) * (y[1] - y[0]) / (x[1] - x[0])
    found[above] = y[-1] + (values[above] - x[-1]) * (y[-1] - y[-2]) / (x[-1] - x[-2])
    return np.where(np.isfinite(values), found, np.nan)


def _days(dates: ArrayLike) -> Float64Array:
    """Return days since 1970."""
    return np.asarray(dates).astype("datetime64[s]").astype(np.int64) / 86400.0


def _day_of_year(dates: ArrayLike) -> np.ndarray:
    """Return the day in a leap year, from 0: 1 March is 60 in every year."""
    day = np.asarray(dates).astype("datetime64[D]")
    month = day.astype("datetime64[M]")
    in_2020 = np.datetime64("2020-01", "M") + (month.astype(np.int64) % 12)
    first = (in_2020.astype("datetime64[D]") - np.datetime64("2020-01-01", "D")).astype(np.int64)
    return np.asarray(first + (day - month.astype("datetime64[D]")).astype(np.int64))
