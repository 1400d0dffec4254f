"""Statistics of columns at sites: mean, spread, yearly wave, trailing means; each site by its own rows alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.indexers import BaseIndexer

Wide = NDArray[np.float64]

TRAILING_DAYS = (30, 90)
"""Lengths of the trailing means."""

DAY_OF_YEAR = ("doy_sin", "doy_cos")
"""Features that say which time of the year it is."""

_YEAR = 365.25


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
        """First and last row of each window, as pandas asks for them."""
        return self._ends


class SiteStatistics:
    """What can be said of columns at the sites of rows, which are in the order of site and day."""

    def __init__(self, sites: NDArray[Any], when: NDArray[np.datetime64]) -> None:
        self._names, self._site = np.unique(sites, return_inverse=True)
        self._when = when
        self._day = when.astype("datetime64[D]").astype(np.int64)

    def day_of_year(self) -> dict[str, Wide]:
        """Sine and cosine of the day of the year."""
        angle = pd.DatetimeIndex(self._when).dayofyear.to_numpy() * (2 * np.pi / _YEAR)
        return dict(zip(DAY_OF_YEAR, (np.sin(angle), np.cos(angle)), strict=True))

    def of(self, column: Wide) -> dict[str, Wide]:
        """Statistics of each row's site, and differences from them."""
        by_site = pd.Series(column).groupby(self._site)
        found = {
            "mean": by_site.mean(),
            "median": by_site.median(),
            "std": by_site.std(),
            "skew": by_site.skew(),
        }
        made = {kind: value.to_numpy(float)[self._site] for kind, value in found.items()}
        made |= {kind: value[self._site] for kind, value in self._swing(column).items()}
        made["anomaly"] = column - made["mean"]
        for length in TRAILING_DAYS:
            made[f"trailing{length}_anomaly"] = self._trailing(column, length) - made["mean"]
        return made

    def _swing(self, column: Wide) -> dict[str, Wide]:
        """Amplitudes of the yearly sine and cosine of each site, by least squares beside a mean; dims (site,)."""
        waves = np.stack([np.ones(len(column)), *self.day_of_year().values()], axis=1)
        waves[np.isnan(column)] = 0
        products, sums = (np.zeros((len(self._names), 3, n)) for n in (3, 1))
        np.add.at(products, self._site, waves[:, :, None] * waves[:, None, :])
        np.add.at(sums, self._site, (waves * np.nan_to_num(column)[:, None])[:, :, None])
        sound = np.linalg.cond(products) < 1e6  # else too few rows for the three
        found = np.full((len(self._names), 3), np.nan)
        found[sound] = np.linalg.solve(products[sound], sums[sound])[:, :, 0]
        return {"yearly_sin": found[:, 1], "yearly_cos": found[:, 2]}

    def _trailing(self, column: Wide, length: int) -> Wide:
        """Mean of the ``length`` days that end with a row's day, at its site; NaN where there is no value."""
        span = int(np.ptp(self._day)) + length + 1 if len(self._day) else 1
        key = self._site * span + self._day - self._day.min(initial=0)  # sites lie further apart than a window
        first, last = (np.searchsorted(key, ends, side="right") for ends in (key - length, key))
        trailing = pd.Series(column).rolling(_Windows(first, last), min_periods=1).mean()
        return trailing.to_numpy(float)
