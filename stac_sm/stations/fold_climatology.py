"""Climatologies of match-ups from some of the years: a fold that holds years out may not see them in a mean.

`matchups` reads the daily values of a climatology's source at the sites, and sums them up by year and month. With these
sums, and the values before a climatology came in, the features of a fold are computed from its training years alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stac_sm.core.arrays import Float32Array, Float64Array
from stac_sm.core.period import Period
from stac_sm.features.recipe import OF_MANY_YEARS, Climatology, Feature, Recipe
from stac_sm.features.temporal import Moments, anomaly
from stac_sm.features.time_rules import climatology_weights

if TYPE_CHECKING:
    import pandas as pd

SUMS = ("count", "total", "squares")
"""Columns of the sums of a site, source, year and month: days with a value, their sum and that of their squares."""


def source_features(recipe: Recipe) -> dict[str, tuple[Feature, Climatology]]:
    """Return the daily values that the climatologies of a recipe are means of.

    Parameters
    ----------
    recipe
        Recipe of match-ups.

    Returns
    -------
    dict
        Name of a feature with a climatology to the feature of its source as it is on a day, and the climatology.
        Features of one source, resampling and climatology share the name of the first of them.
    """
    found: dict[str, tuple[Feature, Climatology]] = {}
    for feature in recipe.features:
        if feature.climatology is not None:
            daily = replace(_plain(feature), lag=0, trailing=1, exponential=0.0, window=0)
            same = (name for name, one in found.items() if one == (replace(daily, name=name), feature.climatology))
            if next(same, None) is None:
                found[feature.name] = (daily, feature.climatology)
    return found


def source_name(recipe: Recipe, feature: Feature) -> str:
    """Return the name under which `source_features` has the source of a feature with a climatology."""
    daily = replace(_plain(feature), lag=0, trailing=1, exponential=0.0, window=0)
    sources = source_features(recipe)
    return next(n for n, one in sources.items() if one == (replace(daily, name=n), feature.climatology))


def plain_features(recipe: Recipe) -> tuple[Feature, ...]:
    """Return the features of a recipe from which a climatology is taken away, or whose gaps it fills, without it.

    Parameters
    ----------
    recipe
        Recipe of match-ups.

    Returns
    -------
    tuple of Feature
        Under their names, with lag and average; gaps are NaN.
    """
    return tuple(
        _plain(feature)
        for feature in recipe.features
        if feature.climatology is not None and feature.statistic not in OF_MANY_YEARS
    )


def _plain(feature: Feature) -> Feature:
    return replace(feature, statistic="value", missing="nan", climatology=None)


def sums_of_days(table: pd.DataFrame, sources: Mapping[str, tuple[Feature, Climatology]]) -> pd.DataFrame:
    """Compute the sums of daily values by site, year and month.

    Parameters
    ----------
    table
        ``site``, ``date`` and a column for each source, float32, NaN = missing; one row a site and day.
    sources
        As `source_features` gives them; only days in the period of the climatology count.

    Returns
    -------
    pandas.DataFrame
        ``site, source, year, month, count, total, squares``; one row each that has a day with a value.
    """
    import pandas as pd

    parts = []
    for name, (_, climatology) in sources.items():
        period = Period.parse(climatology.period)
        inside = table[(table["date"] >= str(period.start)) & (table["date"] < str(period.end))]
        inside = inside[inside[name].notna()]
        values = inside[name].to_numpy(np.float32).astype(float)
        keys = {"site": inside["site"], "year": inside["date"].dt.year, "month": inside["date"].dt.month}
        one = pd.DataFrame({**keys, "count": 1.0, "total": values, "squares": values * values})
        sums = one.groupby(["site", "year", "month"], as_index=False)[list(SUMS)].sum()
        parts.append(sums.assign(source=name))
    made = pd.concat(parts, ignore_index=True)
    whole = {name: made[name].astype(np.int16) for name in ("year", "month")}
    return made.assign(**whole)[["site", "source", "year", "month", *SUMS]]


def without_years(
    table: pd.DataFrame, recipe: Recipe, plain: pd.DataFrame, sums: pd.DataFrame, years: Collection[int]
) -> pd.DataFrame:
    """Return match-ups whose climatologies do not know some years.

    Parameters
    ----------
    table
        Match-ups.
    recipe
        Their recipe.
    plain
        ``site``, ``date`` and the columns of `plain_features`, for each row of the table.
    sums
        As `sums_of_days` gives them.
    years
        Years that are left out of all means.

    Returns
    -------
    pandas.DataFrame
        The same rows; the columns that a climatology is in are float32, NaN where too few days of the other years have
        a value.
    """
    import pandas as pd

    kept = sums[~sums["year"].isin(list(years))]
    sites, site = np.unique(table["site"].to_numpy(str), return_inverse=True)
    rows = table[["site", "date"]].merge(plain, on=["site", "date"], how="left", validate="one_to_one")
    days = pd.DatetimeIndex(table["date"])
    changed: dict[str, Float32Array] = {}
    for feature in recipe.features:
        if feature.climatology is None:
            continue
        own = kept[kept["source"] == source_name(recipe, feature)]
        normals = _Normals(own, sites, feature.climatology)
        normal = normals.of_days(site, days - pd.Timedelta(days=feature.lag), spread=feature.statistic == "spread")
        if feature.statistic in OF_MANY_YEARS:
            changed[feature.name] = normal
            continue
        value = rows[feature.name].to_numpy(np.float32)
        if feature.missing == "climatology":
            value = np.where(np.isnan(value), normal, value)
        changed[feature.name] = anomaly(value, normal) if feature.statistic == "anomaly" else value
    return table.assign(**changed)


class _Normals:
    """Climatology of a source at sites, from sums of days.

    Parameters
    ----------
    sums
        Rows of one source, of the years that count.
    sites
        Names of the sites, sorted.
    climatology
        Season, and least number of days.
    """

    def __init__(self, sums: pd.DataFrame, sites: NDArray[np.str_], climatology: Climatology) -> None:
        months: Sequence[int] = range(1, 13) if climatology.season == "month" else (0,)
        number = {str(name): at for at, name in enumerate(sites)}
        known = sums[sums["site"].isin(number)]
        at = known["site"].map(number).to_numpy(int)
        self._by_month: dict[int, tuple[Float64Array, Float64Array]] = {}
        for month in months:
            of_month = (known["month"] == month).to_numpy() | (month == 0)
            if of_month.any():
                count, total, squares = (
                    np.bincount(at[of_month], known[name].to_numpy(float)[of_month], len(sites)).astype(float)
                    for name in SUMS
                )
                moments = Moments(count, total, squares)
                least = climatology.least_days
                self._by_month[month] = (moments.mean(least).astype(float), moments.spread(least).astype(float))

    def of_days(self, site: NDArray[np.intp], days: pd.DatetimeIndex, *, spread: bool) -> Float32Array:
        """Return the climatology of each row: its mean, or its spread."""
        found = np.full(len(site), np.nan, dtype=np.float32)
        place, known = days.factorize()
        order = np.argsort(place, kind="stable")
        ends = np.searchsorted(place[order], np.arange(len(known) + 1))
        for number, day in enumerate(known):
            rows = order[ends[number] : ends[number + 1]]
            weights = climatology_weights(self._by_month, day.date())
            parts = [np.float32(w) * self._by_month[m][int(spread)].astype(np.float32)[site[rows]] for m, w in weights]
            if parts:
                found[rows] = np.sum(parts, axis=0, dtype=np.float32)
        return found
