"""Tables of match-ups: which column plays which part, and how rows are parted for hold-outs."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.core.errors import InputError


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are no features. One row is one site and one day."""

    target: str = "sm"
    """What is learned: soil moisture, m3 m-3; NaN = not measured."""

    site: str = "site"
    """Id of the site: the stations in one pixel."""

    time: str = "date"
    """Day, datetime64 or anything that pandas reads as such; UTC."""

    network: str = "network"
    """Name of the network that runs the station."""

    lon: str = "lon"
    """Longitude of the site, degrees east."""

    lat: str = "lat"
    """Latitude of the site, degrees north."""

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return what identifies the columns: explicit names, so that renaming a field makes no result stale."""
        return {
            "target": self.target,
            "site": self.site,
            "time": self.time,
            "network": self.network,
            "lon": self.lon,
            "lat": self.lat,
        }


@dataclass(frozen=True, eq=False)
class Fold:
    """One cut of a table into rows to learn from and rows held out."""

    name: str
    """What is held out, e.g. ``"year 2018"`` or ``"site 1/5"``."""

    train: NDArray[np.intp]
    """Positions of the rows to learn from, ascending."""

    test: NDArray[np.intp]
    """Positions of the rows held out, ascending; with ``train`` all rows of the table, each once."""


def require_columns(table: pd.DataFrame, names: Iterable[str], wanted_by: str) -> None:
    """Check that a table has columns.

    Raises
    ------
    InputError
        If one is missing: names it, the nearest names that are there, and who wants it.
    """
    missing = [name for name in names if name not in table.columns]
    if missing:
        there = [str(name) for name in table.columns]
        found = "; ".join(f"{name!r} ({suggest_names(name, there)})" for name in missing)
        raise InputError(f"table: no column {found}; {wanted_by} wants it; rename a column, or leave it out")


def suggest_names(name: str, names: Collection[str]) -> str:
    """Words that lead from a misspelt name to the ones there are."""
    close = difflib.get_close_matches(name, sorted(names), n=3, cutoff=0.5)
    if close:
        return "nearest: " + ", ".join(close)
    return f"found: {', '.join(sorted(names)[:20]) or 'none'}{', ...' if len(names) > 20 else ''}"


def day_column(table: pd.DataFrame, column: str) -> pd.Series[pd.Timestamp]:
    """Days of the rows, datetime64 without a zone (UTC), midnight.

    Raises
    ------
    InputError
        If the column is missing, a row has no day, or a value is no date.
    """
    require_columns(table, [column], "the day of a row")
    try:
        parsed = pd.to_datetime(_written_out(table[column]), utc=True, format="ISO8601")  # 01.07.2018 is not guessed
    except (TypeError, ValueError) as error:
        raise InputError(f"table: column {column!r} holds no dates ({error}); write them as 2018-07-01") from error
    _no_gaps(parsed, column)
    return parsed.dt.tz_convert(None).dt.normalize()


def _written_out(values: pd.Series) -> pd.Series:
    """Dates that are numbers such as 20180701, as text: pandas takes a number for nanoseconds since 1970."""
    if not pd.api.types.is_numeric_dtype(values) or values.isna().any():
        return values
    return pd.to_datetime(values.astype("int64").astype(str), format="%Y%m%d")


def label_column(table: pd.DataFrame, column: str) -> pd.Series[str]:
    """Text of a column that names something, e.g. the site of each row.

    Raises
    ------
    InputError
        If the column is missing or a row has no value in it.
    """
    require_columns(table, [column], "the grouping of rows")
    _no_gaps(table[column], column)
    return table[column].astype(str)


def _no_gaps(values: pd.Series, column: str) -> None:
    """Refuse a column with a row without a value."""
    empty = int(values.isna().sum())
    if empty:
        raise InputError(
            f"table: column {column!r} is empty in {empty} of {len(values)} rows; a value is wanted in each; drop them"
        )
