"""Describe tables of match-ups: which column plays which part, and how rows are split into hold-outs.

A table of match-ups is what `stations` makes and what `model` trains on and is evaluated with; a user may also bring
one of their own (`stac-sm train --table`). The checks here report a missing column, a misspelt name or an empty cell
before any stage computes with the table.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stac_sm.core.arrays import Float64Array
from stac_sm.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are not features. One row is one site and one day."""

    target: str = "sm"
    """Soil moisture to predict, m3 m-3; NaN where it was not measured."""

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
        """Return the names of the columns as they enter the fingerprint of a model.

        Returns
        -------
        dict
            Role to column name. The keys are spelled out, so that renaming a field makes no result stale.
        """
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
    """One split of a table into rows to train on and rows held out."""

    name: str
    """What is held out, e.g. ``"year 2018"`` or ``"site 1/5"``."""

    train: NDArray[np.intp]
    """Positions of the rows to train on, ascending."""

    test: NDArray[np.intp]
    """Positions of the rows held out, ascending; with ``train`` all rows of the table, each once."""


def require_columns(table: pd.DataFrame, names: Iterable[str], required_by: str) -> None:
    """Check that a table has all required columns.

    Parameters
    ----------
    table
        Table of match-ups or of a user.
    names
        Columns that must exist.
    required_by
        What needs them, for the message, e.g. ``"training"``.

    Raises
    ------
    InputError
        If one is missing. The message names it, the nearest existing names, and what requires it.
    """
    missing = [name for name in names if name not in table.columns]
    if missing:
        present = [str(name) for name in table.columns]
        found = "; ".join(f"{name!r} ({suggest_names(name, present)})" for name in missing)
        raise InputError(f"table: no column {found}; required by {required_by}; rename a column, or leave it out")


def suggest_names(name: str, names: Collection[str]) -> str:
    """Return a hint that leads from a misspelt name to the existing ones.

    Parameters
    ----------
    name
        What the user wrote.
    names
        The names that exist, in any order.

    Returns
    -------
    str
        ``"nearest: a, b"`` with up to three similar names, else ``"found: "`` and up to 20 of the existing names.
    """
    close = difflib.get_close_matches(name, sorted(names), n=3, cutoff=0.5)
    if close:
        return "nearest: " + ", ".join(close)
    return f"found: {', '.join(sorted(names)[:20]) or 'none'}{', ...' if len(names) > 20 else ''}"


def day_column(table: pd.DataFrame, column: str) -> pd.Series[pd.Timestamp]:
    """Return the day of each row of a table.

    Parameters
    ----------
    table
        Table of match-ups or of a user.
    column
        Column with the days: datetime64 (without a zone: UTC), ISO 8601 text, or integers such as 20180701.

    Returns
    -------
    pandas.Series
        datetime64[ns] without a zone, midnight UTC; index as in the table.

    Raises
    ------
    InputError
        If the column is missing, a row has no day, or a value is not a date.
    """
    return instant_column(table, column).dt.normalize()


def instant_column(table: pd.DataFrame, column: str) -> pd.Series[pd.Timestamp]:
    """Return the time of each row of a table, with its hour where the column has one.

    Parameters
    ----------
    table
        Table of match-ups or of a user.
    column
        Column with days or times, as for `day_column`.

    Returns
    -------
    pandas.Series
        datetime64[ns] without a zone, UTC; index as in the table.

    Raises
    ------
    InputError
        If the column is missing, a row has no time, or a value is not a date.
    """
    import pandas as pd

    require_columns(table, [column], "the day of a row")
    try:
        parsed = pd.to_datetime(_written_out(table[column]), utc=True, format="ISO8601")  # 01.07.2018 is not guessed
    except (TypeError, ValueError) as error:
        raise InputError(
            f"table: column {column!r} holds no dates: found {_first_that_is_no_date(table[column])}; days as "
            "2018-07-01 are required, the year first, or times as 2018-07-01T12:00:00Z"
        ) from error
    _no_gaps(parsed, column)
    return parsed.dt.tz_convert(None)


def _first_that_is_no_date(values: pd.Series) -> str:
    """Return the first value that is no date and the row that it stands in, from 1 below the head."""
    import pandas as pd

    parsed = pd.to_datetime(values.astype(str), utc=True, format="ISO8601", errors="coerce")
    bad = np.flatnonzero((parsed.isna() & values.notna()).to_numpy())
    return f"{str(values.iloc[bad[0]])!r:.60} in row {bad[0] + 1}" if len(bad) else "numbers"


def _written_out(values: pd.Series) -> pd.Series:
    """Return dates that are numbers such as 20180701 as dates: pandas takes a number for nanoseconds since 1970."""
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(values) or values.isna().any():
        return values
    return pd.to_datetime(values.astype("int64").astype(str), format="%Y%m%d")


def label_column(table: pd.DataFrame, column: str) -> pd.Series[str]:
    """Return a column of labels as text, e.g. the site of each row.

    Parameters
    ----------
    table
        Table of match-ups or of a user.
    column
        Column with a label in each row, of any type.

    Returns
    -------
    pandas.Series
        The labels as str; index as in the table.

    Raises
    ------
    InputError
        If the column is missing or a row has no value in it.
    """
    require_columns(table, [column], "the grouping of rows")
    _no_gaps(table[column], column)
    return table[column].astype(str)


def numeric_column(table: pd.DataFrame, name: str, *, infinite: bool = False) -> Float64Array:
    """Return a column of numbers.

    Parameters
    ----------
    table
        Table of match-ups or of a user.
    name
        A column of the table, of any type of numbers.
    infinite
        Whether infinities are allowed.

    Returns
    -------
    numpy.ndarray
        The values as float64, shape (row,), a copy; NaN = missing.

    Raises
    ------
    InputError
        If it holds anything but numbers, or infinities that are not allowed.
    """
    try:
        values: Float64Array = np.array(_floats(table[name]))
    except (TypeError, ValueError) as error:
        raise InputError(f"table: column {name!r} holds no numbers ({error}); floats are required") from error
    count = 0 if infinite else int(np.isinf(values).sum())
    if count:
        raise InputError(f"table: column {name!r} is infinite in {count} rows; leave it empty where it is missing")
    return values


def _floats(column: pd.Series) -> Float64Array:
    """Return numbers of any type as float64, where pandas' NA is NaN."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f":
        return column.to_numpy(dtype=float)
    return np.asarray(column.astype("Float64").to_numpy(dtype=float, na_value=np.nan))


def _no_gaps(values: pd.Series, column: str) -> None:
    """Refuse a column in which a row has no value."""
    empty = int(values.isna().sum())
    if empty:
        raise InputError(
            f"table: column {column!r} is empty in {empty} of {len(values)} rows; "
            "a value is required in each row; drop the others"
        )
