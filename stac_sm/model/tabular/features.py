"""Compute the features of a bare match-up table: site mean and spread, anomalies, and exponential means of columns.

They come from the feature columns of the table at hand, site by site, and never from the target: for a table of unseen
sites by the same code, from that table's own rows, those without a target included. The arithmetic is that of
`stac_sm.features.temporal`, which the feature cube calls on pixels. Neither the order of rows nor other columns matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.core.arrays import Float32Array, Float64Array
from stac_sm.core.columns import Columns, day_column, label_column, numeric_column, require_columns
from stac_sm.core.errors import ModelError
from stac_sm.features.temporal import ExponentialMean, Moments, anomaly, exponential_mean_of_rows
from stac_sm.model.user_table import DAY_OF_YEAR

TABLE_FEATURES_FORMAT = 4
"""Version of what `TableFeatures.to_dict` writes; others are refused: their models had other features."""

TIME_SCALES = (3, 10, 30, 120)
"""Time scales of the exponential means in days, of which those shorter than the sampling are left out."""

_RESTLESS = 0.9  # share of the training sites at which a column moves: where it does not, it is a fill value
_FEWEST_ROWS = 10  # of a site, before a column that has one value there is taken for a fill value
_SAMPLED_SITES = 200  # at which the sampling is looked at
_YEAR = 365.25

_RATIOS = {
    "ndvi": ("B8", "B4"),  # green leaves
    "ndmi": ("B8A", "B11"),  # water in leaves
    "ndti": ("B11", "B12"),  # dry matter and bare soil
    "ndre": ("B8A", "B5"),  # chlorophyll
}
"""Normalised differences of Sentinel-2 bands, made where a table has both under these names."""

_DIFFERENCES = {"vh_minus_vv": ("s1_vh_db", "s1_vv_db")}
"""Ratios of Sentinel-1 polarisations: both are in decibels."""


@dataclass(frozen=True)
class TableFeatures:
    """How features come from the columns of a table; goes with a model, so that any table can be predicted."""

    columns: Columns
    """Names of the columns that are no features."""

    given: tuple[str, ...]
    """Columns of the table that are features."""

    still: tuple[str, ...] = ()
    """Those of ``given`` that have one value at each training site, e.g. soil."""

    plain: bool = False
    """Only the columns as they are, and the day of the year."""

    restless: tuple[str, ...] = ()
    """Those of ``given`` that change from day to day at nearly all training sites. At a site where one has a single
    value, that is no measurement (a satellite over the sea says "full"): there it counts as missing."""

    sampling: int = 1
    """Days from one row of a site to the next, as a rule."""

    period: tuple[str, str] = ("0001-01-01", "9999-12-31")
    """First and last day of the rows from which site mean and spread are computed: those of the training table. A site
    without a row in it has those of all its rows."""

    @classmethod
    def of(cls, table: pd.DataFrame, columns: Columns, given: Sequence[str], *, plain: bool = False) -> TableFeatures:
        """Find how features are computed, from a training table.

        Parameters
        ----------
        table
            Training table; its rows without a target count, too.
        columns
            Names of the columns that are no features.
        given
            Feature columns, as `stac_sm.model.user_table.choose_features` takes them.
        plain
            Whether to take only the columns as they are, and the day of the year.

        Returns
        -------
        TableFeatures
            For `build`, on this table and on any other.
        """
        site, values, _ = _sites_and_values(table, columns, given)
        spans, restless = {}, []
        for name, value in values.items():
            by_site = pd.Series(value).groupby(site)
            span, known = by_site.max() - by_site.min(), by_site.count() >= _FEWEST_ROWS  # missing values are left out
            spans[name] = span.max()
            if known.any() and (span > 0)[known].mean() >= _RESTLESS:
                restless.append(name)
        still = tuple(name for name in given if not spans[name] > 0)
        if plain:
            return cls(columns, tuple(given), still, plain)
        day = day_column(table, columns.time)
        period = (f"{day.min():%Y-%m-%d}", f"{day.max():%Y-%m-%d}")
        return cls(columns, tuple(given), still, plain, tuple(restless), _sampling(site, _numbers(day)), period)

    @property
    def varying_columns(self) -> tuple[str, ...]:
        """Columns, and what follows from two of them, that change from day to day."""
        return (*(name for name in self.given if name not in self.still), *(() if self.plain else self._pairs))

    @property
    def _pairs(self) -> dict[str, tuple[str, str]]:
        """What follows from two columns that move, by name."""
        there = set(self.given) - set(self.still)
        pairs = _RATIOS | _DIFFERENCES
        return {name: pair for name, pair in pairs.items() if set(pair) <= there and name not in self.given}

    @property
    def scales(self) -> tuple[int, ...]:
        """Time scales of the exponential means, days: none shorter than the sampling."""
        return () if self.plain else tuple(scale for scale in TIME_SCALES if scale >= self.sampling)

    @property
    def names(self) -> tuple[str, ...]:
        """All features, in the order in which `build` makes them."""
        if self.plain:
            return (*self.given, *DAY_OF_YEAR)
        means = [f"exponential{scale}" for scale in self.scales]
        kinds = ("mean", "spread", "anomaly", *means)
        derived = (f"{name}:{kind}" for name in self.varying_columns for kind in kinds)
        return (*self.given, *(name for name in self.varying_columns if name not in self.given), *DAY_OF_YEAR, *derived)

    def build(self, table: pd.DataFrame, *, normal_rows: NDArray[np.bool_] | None = None) -> pd.DataFrame:
        """Compute the features of each row.

        Parameters
        ----------
        table
            Its columns ``given``, site and time are read; NaN = missing. The target is not, and need not be there.
        normal_rows
            Whether site mean and spread may be computed from a row, shape (row,); None: those in ``period``. A site
            without such a row has those of all its rows.

        Returns
        -------
        pandas.DataFrame
            float32, one row per row of ``table``, in its order; NaN = missing.

        Raises
        ------
        InputError
            If a column is missing or holds no numbers, or a row has no site or no day.
        """
        require_columns(table, self.given, "the model")
        site, values, sites = _sites_and_values(table, self.columns, self.given)
        when = day_column(table, self.columns.time)
        made = {name: value.astype(np.float32) for name, value in values.items()} | _day_of_year(when)
        if not self.plain:
            made |= self._derived(values, site, sites, when, normal_rows)
        return pd.DataFrame({name: made[name] for name in self.names}, index=table.index, copy=False)

    def _derived(
        self,
        values: dict[str, Float64Array],
        site: NDArray[np.intp],
        sites: int,
        when: pd.Series[pd.Timestamp],
        normal_rows: NDArray[np.bool_] | None,
    ) -> dict[str, Float32Array]:
        """Return the features that follow from the rows of a site."""
        made: dict[str, Float32Array] = {}
        for name in self.restless:
            values[name] = np.where(_constant_at_site(values[name], site), np.nan, values[name])
            made[name] = values[name].astype(np.float32)
        for name in self._pairs:
            values[name] = _combination(name, values)
            made[name] = values[name].astype(np.float32)
        day, names = _numbers(when), self.varying_columns
        normal = when.between(*self.period).to_numpy() if normal_rows is None else normal_rows
        normal = normal | (np.bincount(site, normal, minlength=sites) == 0)[site]
        for name in names:
            column = values[name].astype(np.float32)
            moments = Moments.of_rows(column[normal], site[normal], day[normal], sites)
            made[f"{name}:mean"], made[f"{name}:spread"] = moments.mean()[site], moments.spread()[site]
            made[f"{name}:anomaly"] = anomaly(column, made[f"{name}:mean"])
        if names and self.scales:
            columns = np.stack([values[name] for name in names], axis=1).astype(np.float32)
            for scale in self.scales:
                mean = ExponentialMean(scale, least_share=0)
                found = exponential_mean_of_rows(columns, site, day, mean, sampling=self.sampling)
                for name, column in zip(names, found.T, strict=True):
                    made[f"{name}:exponential{scale}"] = column
        return made

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return what identifies the features.

        Returns
        -------
        dict
            Name to value. The keys are spelled out, so that renaming a field makes no result stale.
        """
        return {
            "format": TABLE_FEATURES_FORMAT,
            "columns": self.columns.fingerprint_fields(),
            "given": self.given,
            "still": self.still,
            "plain": self.plain,
            "restless": self.restless,
            "sampling": self.sampling,
            "period": list(self.period),
            "scales": list(self.scales),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return all of it.

        Returns
        -------
        dict
            JSON-able, as `from_dict` reads it.
        """
        return self.fingerprint_fields()

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TableFeatures:
        """Read what `to_dict` gave.

        Parameters
        ----------
        content
            Content of the asset ``features`` of a model of a table.

        Returns
        -------
        TableFeatures
            The same features.

        Raises
        ------
        ModelError
            If a field is missing, or the format is another.
        """
        if content.get("format") != TABLE_FEATURES_FORMAT:
            older = content.get("format") in range(1, TABLE_FEATURES_FORMAT)
            advice = "train the model again" if older else "use the stac_sm of the model"
            raise ModelError(
                f"features of a table: found format {content.get('format')!r}; format {TABLE_FEATURES_FORMAT} is "
                f"required: {advice}"
            )
        try:
            named = [tuple(content[name]) for name in ("given", "still", "restless")]
            first, last = content["period"]
            made = cls(Columns(**content["columns"]), named[0], named[1], bool(content["plain"]), named[2],
                       int(content["sampling"]), (str(first), str(last)))  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"features of a table: not complete ({error!r}): train the model again") from error
        if list(made.scales) != content.get("scales"):
            raise ModelError(
                f"features of a table: found exponential means of {content.get('scales')!r} days, "
                f"{list(made.scales)} required: train the model again"
            )
        return made


def _sites_and_values(
    table: pd.DataFrame, columns: Columns, given: Sequence[str]
) -> tuple[NDArray[np.intp], dict[str, Float64Array], int]:
    """Return the number of the site of each row, the columns, and the number of sites."""
    site, names = pd.factorize(label_column(table, columns.site))
    return site.astype(np.intp), {name: numeric_column(table, name) for name in given}, len(names)


def _numbers(day: pd.Series[pd.Timestamp]) -> NDArray[np.int64]:
    """Return days since 1970."""
    return day.to_numpy().astype("datetime64[D]").astype(np.int64)


def _sampling(site: NDArray[np.intp], day: NDArray[np.int64]) -> int:
    """Return the median over sites of the median number of days from one row to the next."""
    order = np.lexsort((day, site))
    order = order[site[order] < _SAMPLED_SITES]
    steps, same = np.diff(day[order]), np.diff(site[order]) == 0
    steps, at = steps[same & (steps > 0)], site[order][1:][same & (steps > 0)]
    return max(1, round(float(pd.Series(steps).groupby(at).median().median()))) if len(steps) else 1


def _day_of_year(when: pd.Series[pd.Timestamp]) -> dict[str, Float32Array]:
    """Return sine and cosine of the day of the year."""
    angle = when.dt.dayofyear.to_numpy() * (2 * np.pi / _YEAR)
    return {name: wave(angle).astype(np.float32) for name, wave in zip(DAY_OF_YEAR, (np.sin, np.cos), strict=True)}


def _constant_at_site(column: Float64Array, site: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return whether each row is of a site at which a column has one value and no other, in ten rows or more."""
    by_site = pd.Series(column).groupby(site)
    constant = (by_site.max() == by_site.min()) & (by_site.count() >= _FEWEST_ROWS)
    return np.asarray(constant.to_numpy(bool)[site])


def _combination(name: str, values: Mapping[str, Float64Array]) -> Float64Array:
    """Compute the normalised difference or difference of two columns; NaN where a sum is 0."""
    if name in _DIFFERENCES:
        first, second = (values[one] for one in _DIFFERENCES[name])
        return first - second
    first, second = (values[one] for one in _RATIOS[name])
    total = first + second
    ratio: Float64Array = np.divide(first - second, total, out=np.full(len(total), np.nan), where=total != 0)
    return ratio
