"""Compute the features of a bare match-up table: statistics of a site, anomalies of a day, and trailing means.

They come from the feature columns of the table at hand, site by site, and never from the target: for a table of unseen
sites by the same code, from that table's own rows. Neither the order of rows nor other columns matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stac_sm.core.arrays import Float64Array
from stac_sm.core.columns import Columns, day_column, label_column, numeric_column, require_columns
from stac_sm.core.errors import ModelError
from stac_sm.model.tabular.site_statistics import SEASONAL_HARMONICS, TRAILING_DAYS, SiteStatistics

TABLE_FEATURES_FORMAT = 2
"""Version of what `TableFeatures.to_dict` writes; one from the future is refused. In the first none is restless."""

_RESTLESS = 0.9  # share of the training sites at which a column moves: where it does not, it is a fill value
_COMPLETE = 0.95  # share of the training rows in which a column has a value

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

    complete: tuple[str, ...] = ()
    """Those of ``given`` that have a value in nearly all training rows."""

    @classmethod
    def of(cls, table: pd.DataFrame, columns: Columns, given: Sequence[str], *, plain: bool = False) -> TableFeatures:
        """Find how features are computed, from a training table.

        Parameters
        ----------
        table
            Training table.
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
        values, sites = (
            {name: numeric_column(table, name) for name in given},
            label_column(table, columns.site).to_numpy(),
        )
        by_site = pd.DataFrame(values).groupby(sites)
        spread = (by_site.max() - by_site.min()).max()  # values that are missing are left out
        still = tuple(name for name in given if not spread[name] > 0)
        if plain:
            return cls(columns, tuple(given), still, plain)
        rows = SiteStatistics(sites, day_column(table, columns.time).to_numpy())
        restless = tuple(name for name in given if rows.share_moving(values[name]) >= _RESTLESS)
        known = {name: ~np.isnan(value) for name, value in values.items()}
        known |= {name: known[name] & ~rows.constant_at_site(values[name]) for name in restless}
        complete = tuple(name for name in given if known[name].mean() >= _COMPLETE)
        return cls(columns, tuple(given), still, plain, restless, complete)

    @property
    def varying_columns(self) -> tuple[str, ...]:
        """Columns, and what follows from two of them, that change from day to day."""
        return (*(name for name in self.given if name not in self.still), *self._combined)

    @property
    def _combined(self) -> tuple[str, ...]:
        return () if self.plain else tuple(self._pairs)

    @property
    def _pairs(self) -> dict[str, tuple[str, str]]:
        """What follows from two columns that move, by name."""
        there = set(self.given) - set(self.still)
        pairs = _RATIOS | _DIFFERENCES
        return {name: pair for name, pair in pairs.items() if set(pair) <= there and name not in self.given}

    @property
    def site_features(self) -> tuple[str, ...]:
        """Features that have one value at a site: mean, spread and skewness of what moves, and what stands still."""
        return self._of_sites("mean", "std", "skew")

    @property
    def robust_site_features(self) -> tuple[str, ...]:
        """As `site_features`, with median and interquartile range: a few clouds or days of snow do not move them."""
        return self._of_sites("median", "iqr", "skew")

    @property
    def complete_site_features(self) -> tuple[str, ...]:
        """Of `robust_site_features`, those of complete columns, and the waves of these; all columns where none is."""
        names = (*self.varying_columns, *self.still)
        complete = [name for name in names if set(self._pairs.get(name, (name,))) <= set(self.complete)] or names
        taken = [*self._of_sites("median", "iqr", "skew"), *self.seasonal_cycle_features]
        return tuple(name for name in taken if name.rpartition(":")[0] in complete or name in complete)

    @property
    def seasonal_cycle_features(self) -> tuple[str, ...]:
        """Sines and cosines of what moves at a site, once and twice a year."""
        return tuple(
            f"{name}:{wave}_{one}"
            for name in self.varying_columns
            for wave in SEASONAL_HARMONICS
            for one in ("sin", "cos")
        )

    @property
    def anomaly_features(self) -> tuple[str, ...]:
        """Differences of a day from the mean of its site."""
        return tuple(f"{name}:anomaly" for name in self.varying_columns)

    @property
    def trailing_anomaly_features(self) -> tuple[str, ...]:
        """Differences of trailing means, of a day and those before, from the mean of the site."""
        return tuple(f"{name}:trailing{length}_anomaly" for name in self.varying_columns for length in TRAILING_DAYS)

    def _of_sites(self, *kinds: str) -> tuple[str, ...]:
        return (*(f"{name}:{kind}" for kind in kinds for name in self.varying_columns), *self.still)

    def build(self, table: pd.DataFrame) -> pd.DataFrame:
        """Compute the features of each row.

        Parameters
        ----------
        table
            Its columns ``given``, site and time are read; NaN = missing. The target is not, and need not be there.

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
        sites, when = label_column(table, self.columns.site), day_column(table, self.columns.time)
        values = {name: numeric_column(table, name) for name in self.given}
        order = np.lexsort([*(values[name] for name in self.given[::-1]), when.to_numpy(), sites.to_numpy()])
        rows = SiteStatistics(sites.to_numpy()[order], when.to_numpy()[order])
        found = self._made({name: value[order] for name, value in values.items()}, rows)
        back = np.argsort(order, kind="stable")
        return pd.DataFrame({name: value[back].astype(np.float32) for name, value in found.items()}, index=table.index)

    def _made(self, values: dict[str, Float64Array], rows: SiteStatistics) -> dict[str, Float64Array]:
        """Return the features of rows in canonical order."""
        made = {**values, **rows.day_of_year()}
        if self.plain:
            return made
        made |= {name: np.where(rows.constant_at_site(values[name]), np.nan, values[name]) for name in self.restless}
        for name in self._combined:
            made[name] = _combination(name, made)
        for name in self.varying_columns:
            made |= {f"{name}:{kind}": value for kind, value in rows.of(made[name]).items()}
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
            "complete": self.complete,
            "trailing_days": list(TRAILING_DAYS),
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
            If a field is missing, or the format is from the future.
        """
        if content.get("format") not in range(1, TABLE_FEATURES_FORMAT + 1) or content.get("trailing_days") != list(
            TRAILING_DAYS
        ):
            found = f"format {content.get('format')!r}, trailing means of {content.get('trailing_days')!r} days"
            raise ModelError(
                f"features of a table: found {found}; format {TABLE_FEATURES_FORMAT} or older required: "
                "use the stac_sm of the model"
            )
        try:
            columns = Columns(**content["columns"])
            later = [tuple(content[name]) if content["format"] > 1 else () for name in ("restless", "complete")]
            return cls(columns, tuple(content["given"]), tuple(content["still"]), bool(content["plain"]), *later)
        except (KeyError, TypeError) as error:
            raise ModelError(f"features of a table: not complete ({error!r}): train the model again") from error


def _combination(name: str, values: Mapping[str, Float64Array]) -> Float64Array:
    """Compute the normalised difference or difference of two columns; NaN where a sum is 0."""
    if name in _DIFFERENCES:
        first, second = (values[one] for one in _DIFFERENCES[name])
        return first - second
    first, second = (values[one] for one in _RATIOS[name])
    total = first + second
    ratio: Float64Array = np.divide(first - second, total, out=np.full(len(total), np.nan), where=total != 0)
    return ratio


def names_of(features: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Return the names of several lists, each once, in order."""
    return tuple(dict.fromkeys(name for some in features for name in some))
