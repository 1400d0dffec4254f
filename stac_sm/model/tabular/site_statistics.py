"""Compute statistics of columns at sites: mean, spread, seasonal cycle, trailing means; each site from its own rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.indexers import BaseIndexer

from stac_sm.core.arrays import Float64Array
from stac_sm.model.user_table import DAY_OF_YEAR

TRAILING_DAYS = (30, 90)
"""Lengths of the trailing means."""

SEASONAL_HARMONICS = {"yearly": 1, "half_yearly": 2}
"""Waves of the year, by how many there are in one: rain in winter, rain in summer, rain twice."""

_YEAR = 365.25
_FEWEST_ROWS = 10  # of a site, before a column that has one value there is taken for a fill value


class _Windows(BaseIndexer):
    """Windows of rows, each from a first one up to, and without, a last one."""

    def __init__(self, first: NDArray[np.intp], last: NDArray[np.intp]) -> None:
        super().__init__()
        self._ends = first.astype(np.int64), last.astype(np.int64)

    def get_window_bounds(  # the arguments are those that pandas insists on
        self,
        num_values: int = 0,
        min_periods: int | None = None,
        center: bool | None = None,
        closed: str | None = None,
        step: int | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first and last row of each window, as pandas asks for them."""
        return self._ends


class SiteStatistics:
    """What can be said of columns at the sites of rows, which are in the order of site and day."""

    def __init__(self, sites: NDArray[Any], when: NDArray[np.datetime64]) -> None:
        self._names, self._site = np.unique(sites, return_inverse=True)
        self._when = when
        self._day = when.astype("datetime64[D]").astype(np.int64)

    def day_of_year(self) -> dict[str, Float64Array]:
        """Return sine and cosine of the day of the year."""
        return dict(zip(DAY_OF_YEAR, self._wave(1), strict=True))

    def constant_at_site(self, column: Float64Array) -> NDArray[np.bool_]:
        """Return whether each row is of a site at which a column has one value and no other, in ten rows or more."""
        by_site = pd.Series(column).groupby(self._site)
        stuck = (by_site.max() == by_site.min()) & (by_site.count() >= _FEWEST_ROWS)
        return np.asarray(stuck.to_numpy(bool)[self._site])

    def share_moving(self, column: Float64Array) -> float:
        """Return the share of the sites with ten values or more at which they differ; 0 if there is no such site."""
        by_site = pd.Series(column).groupby(self._site)
        known = by_site.count() >= _FEWEST_ROWS
        return float((by_site.max() > by_site.min())[known].mean()) if known.any() else 0.0

    def of(self, column: Float64Array) -> dict[str, Float64Array]:
        """Compute statistics of each row's site, and differences from them."""
        by_site = pd.Series(column).groupby(self._site)
        found = {
            "mean": by_site.mean(),
            "median": by_site.median(),
            "std": by_site.std(),
            "iqr": by_site.quantile(0.75) - by_site.quantile(0.25),
            "skew": by_site.skew(),
        }
        made = {kind: value.to_numpy(float)[self._site] for kind, value in found.items()}
        for wave, times in SEASONAL_HARMONICS.items():
            made |= {f"{wave}_{kind}": value[self._site] for kind, value in self._swing(column, times).items()}
        made["anomaly"] = column - made["mean"]
        for length in TRAILING_DAYS:
            made[f"trailing{length}_anomaly"] = self._trailing(column, length) - made["mean"]
        return made

    def _wave(self, times: int) -> tuple[Float64Array, Float64Array]:
        """Return sine and cosine that come so many times a year."""
        angle = pd.DatetimeIndex(self._when).dayofyear.to_numpy() * (times * 2 * np.pi / _YEAR)
        return np.sin(angle), np.cos(angle)

    def _swing(self, column: Float64Array, times: int) -> dict[str, Float64Array]:
        """Return the amplitudes of the sine and cosine of each site, by least squares beside a mean; dims (site,)."""
        waves = np.stack([np.ones(len(column)), *self._wave(times)], axis=1)
        waves[np.isnan(column)] = 0
        products, sums = (np.zeros((len(self._names), 3, n)) for n in (3, 1))
        np.add.at(products, self._site, waves[:, :, None] * waves[:, None, :])
        np.add.at(sums, self._site, (waves * np.nan_to_num(column)[:, None])[:, :, None])
        sound = np.linalg.cond(products) < 1e6  # else too few rows for the three
        found = np.full((len(self._names), 3), np.nan)
        found[sound] = np.linalg.solve(products[sound], sums[sound])[:, :, 0]
        return {"sin": found[:, 1], "cos": found[:, 2]}

    def _trailing(self, column: Float64Array, length: int) -> Float64Array:
        """Return the mean of the ``length`` days that end with a row's day, at its site; NaN without a value."""
        span = int(np.ptp(self._day)) + length + 1 if len(self._day) else 1
        key = self._site * span + self._day - self._day.min(initial=0)  # sites lie further apart than a window
        first, last = (np.searchsorted(key, ends, side="right") for ends in (key - length, key))
        trailing = pd.Series(column).rolling(_Windows(first, last), min_periods=1).mean()
        return trailing.to_numpy(float)
