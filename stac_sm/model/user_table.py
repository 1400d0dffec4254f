"""Read a match-up table that a user brings, and clean it before anything is computed from it.

`train TABLE` and `evaluate` read every table here. Text cells in a column of numbers, fill values such as -9999 and
targets that no soil can have become missing values; `TableCleaning` counts them, so that the model item, the report
and the printed result can say what was found. A table in which rows are not one a site and time, or whose target has
another unit, is refused. What comes back is trained on (`tabular`) or predicted; nothing here knows a learner.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.core.arrays import Float64Array
from stac_sm.core.columns import Columns, instant_column, label_column, numeric_column, require_columns
from stac_sm.core.errors import InputError
from stac_sm.core.text import unknown_name_message

FRACTION, PERCENT, OTHER = "m3 m-3", "percent", "other"
TARGET_UNITS = (FRACTION, PERCENT, OTHER)
"""Units in which a table may hold its target. Everything is stored in m3 m-3; ``other`` is a quantity that is no soil
moisture: it is neither converted nor compared with a range."""

DAY_OF_YEAR = ("doy_sin", "doy_cos")
"""Features that say which time of the year it is. They are computed from the time: a column of that name is none."""

_CSV, _PARQUET = (".csv", ".csv.gz", ".txt"), (".parquet", ".pq", ".geoparquet")
_ENDS = {"end", "end_date", "end_time", "end_datetime", "stop"}
_PLACES = {"lat": "lat", "latitude": "lat", "lon": "lon", "longitude": "lon", "lng": "lon"}
_LARGEST_PLACE = {"lat": 90.0, "lon": 360.0}  # degrees; what exceeds it is no coordinate

_OUTSIDE_SHARE = 0.01  # of the targets, that may lie outside their range
_TEXT_SHARE = 0.1  # of the cells of a column of numbers, that may be any text
_MARKER_SHARE, _MARKERS = 0.5, 3  # of the cells, if so few different texts stand for a missing value
_ROWS_A_DAY = 12  # of one site: an hourly table, or a column that is not the site's
_SHOWN = 3  # examples in a message
_FEWEST = 10  # different values of a column, before one that looks as they do is taken for a fill value
_FAR = 10.0  # widths of the rest, that a value which is not written as fill values are must lie away from it


@dataclass(frozen=True)
class FeatureChoice:
    """Which columns of a table are features."""

    taken: tuple[str, ...]
    """Feature columns, in the order of the table, or in the order in which they were asked for."""

    left: Mapping[str, str]
    """Columns that are none, and why."""


@dataclass(frozen=True)
class TableCleaning:
    """What was found in a table and taken as missing; all counts are rows."""

    target: str = ""
    """Column of the target."""

    target_unit: str = FRACTION
    """Unit of the target in the file, one of `TARGET_UNITS`."""

    rows: int = 0
    """Rows of the table."""

    fill_values: Mapping[str, Mapping[float, int]] = field(default_factory=dict)
    """Column to each fill value in it, in the unit of the file, and its number of rows."""

    not_numbers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Column to each text in it that is no number, and its number of rows."""

    impossible_places: Mapping[str, int] = field(default_factory=dict)
    """Column of a coordinate to the number of rows whose value lies outside the globe."""

    outside_range: int = 0
    """Targets outside 0 to 1 m3 m-3 that were left out."""

    def __bool__(self) -> bool:
        """Return whether anything was found or converted."""
        return bool(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return what was found.

        Returns
        -------
        dict
            JSON-able; only the kinds that were found, so it is empty for a table in which nothing was.
        """
        fills = {name: {f"{value:.7g}": n for value, n in found.items()} for name, found in self.fill_values.items()}
        found: dict[str, Any] = {
            "target_unit": self.target_unit if self.target_unit != FRACTION else "",
            "fill_values": fills,
            "not_numbers": {name: dict(texts) for name, texts in self.not_numbers.items()},
            "impossible_coordinates": dict(self.impossible_places),
            "targets_outside_0_to_1": self.outside_range,
        }
        return {kind: what for kind, what in found.items() if what}

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each thing that was found, for people."""
        return tuple(self._sentences())

    def _sentences(self) -> Iterator[str]:
        if self.target_unit == PERCENT:
            yield f"the target {self.target!r} is in percent in the table, and is stored in m3 m-3"
        for name, found in self.fill_values.items():
            for value, n in found.items():
                what = f"the target {name!r}" if name == self.target else f"column {name!r}"
                yield (
                    f"{n} of {self.rows} rows have the value {value:.7g} in {what}, far outside the rest: "
                    "taken as missing"
                )
        for name, texts in self.not_numbers.items():
            n = sum(texts.values())
            yield f"{n} of {self.rows} cells of column {name!r} are no numbers ({_some(texts)}): taken as missing"
        for name, n in self.impossible_places.items():
            yield f"{n} of {self.rows} rows have a {name!r} outside the globe: taken as missing"
        if self.outside_range:
            yield (
                f"{self.outside_range} of {self.rows} rows have a target {self.target!r} outside 0 to 1 m3 m-3: "
                "their targets are left out"
            )


@dataclass(frozen=True, eq=False)
class CleanTable:
    """A table that can be computed with, and what was found in it."""

    table: pd.DataFrame
    """The rows of the file; the target in m3 m-3 (unless its unit is `OTHER`), NaN = missing."""

    columns: Columns
    """Names of its columns, with the names of latitude and longitude that it has."""

    found: TableCleaning
    """What was taken as missing."""


def read_table(file: Path, site: str) -> pd.DataFrame:
    """Read a match-up table from a file, as it is.

    Parameters
    ----------
    file
        CSV (``.csv``, ``.csv.gz``, ``.txt``) or Parquet (``.parquet``, ``.pq``, ``.geoparquet``); the numbers of a CSV
        are read exactly.
    site
        Column of the site, which is read as text, so that 007 stays 007.

    Returns
    -------
    pandas.DataFrame
        One row a row of the file; call `clean_table` before computing with it.

    Raises
    ------
    InputError
        If there is no such file, it cannot be read, or has no rows.
    """
    name = file.name.lower()
    if not file.is_file():
        raise InputError(f"table {file}: there is no such file; give a CSV or Parquet file")
    if not name.endswith((*_CSV, *_PARQUET)):
        raise InputError(f"table {file}: {file.suffix or 'no'} suffix found; .csv or .parquet is required")
    try:
        if name.endswith(_PARQUET):
            table = pd.read_parquet(file)
        else:
            table = pd.read_csv(file, float_precision="round_trip", low_memory=False, converters={site: _label})
    except (OSError, ValueError, pd.errors.ParserError) as error:  # pyarrow's errors are ValueErrors
        raise InputError(f"table {file} cannot be read ({error}): write it again as CSV or Parquet") from error
    if table.empty:
        raise InputError(f"table {file}: no rows found; at least one is required")
    return table


def check_table_file(file: Path, table: Path | None = None) -> None:
    """Check that a table may be written to a file, before the work that makes it.

    Parameters
    ----------
    file
        New, or an older table, which is replaced.
    table
        File that is read, and must not be overwritten.

    Raises
    ------
    InputError
        If the suffix is none of CSV or Parquet, the folder does not exist, or both are the same file.
    """
    if not file.name.lower().endswith((*_CSV, *_PARQUET)):
        raise InputError(f"--out {file}: {file.suffix or 'no'} suffix found; .csv or .parquet is required")
    if not file.parent.is_dir():
        raise InputError(f"--out {file}: there is no folder {file.parent}; make it first")
    if table is not None and file.exists() and file.samefile(table):
        raise InputError(f"--out {file}: the table that is read; name another file")


def write_table(table: pd.DataFrame, file: Path) -> None:
    """Write a table into a file, complete or not at all.

    Parameters
    ----------
    table
        One row a row of the file; its index is not written.
    file
        As of `check_table_file`; floats of a CSV are written so that they read back exactly.

    Raises
    ------
    InputError
        As of `check_table_file`.
    """
    check_table_file(file)
    scratch = file.with_name(f".{os.getpid()}.{file.name}")
    try:
        if file.name.lower().endswith(_PARQUET):
            table.to_parquet(scratch, index=False)
        else:
            table.to_csv(scratch, index=False)  # .gz is compressed, by the end of the name
        scratch.replace(file)
    finally:
        scratch.unlink(missing_ok=True)


def clean_table(
    table: pd.DataFrame,
    columns: Columns,
    *,
    features: Sequence[str] | None = None,
    target_unit: str = FRACTION,
    known_fill_values: Mapping[str, Collection[float]] | None = None,
    required_by: str = "training",
) -> CleanTable:
    """Check a match-up table, and turn what is no value into missing values.

    Cells that are no numbers, fill values (a repeated value far outside the rest) and up to 1 % of targets outside
    0 to 1 m3 m-3 become missing. A table in which nothing is found comes back with the values that it had.

    Parameters
    ----------
    table
        As `read_table` gives it; not changed.
    columns
        Names of target, site and time; coordinates are found by their names too.
    features
        Feature columns; None: all columns that `choose_features` takes by default. Others are left as they are.
    target_unit
        One of `TARGET_UNITS`.
    known_fill_values
        Column to values that are known to be fill values, e.g. those of the training table: in a table of few sites
        they cannot be distinguished from the rest. In the unit of the file.
    required_by
        What needs the columns, for the message about one that is missing.

    Returns
    -------
    CleanTable
        The table and what was found.

    Raises
    ------
    InputError
        If a column is missing, the unit is unknown, a column that is required holds no numbers, two rows have the same
        site and time, a site has dozens of rows a day, or more than 1 % of the targets lie outside their range.
    """
    if target_unit not in TARGET_UNITS:
        raise InputError(unknown_name_message("target unit", target_unit, TARGET_UNITS))
    require_columns(table, [columns.target, columns.site, columns.time], required_by)
    columns = replace(columns, **place_columns(table, columns))
    require_one_row_a_site_and_time(table, columns)
    required = {columns.target, *(features or ())}
    table, texts = _with_numbers(table, columns, required)
    used = choose_features(table, columns).taken if features is None else [name for name in features if name in table]
    limits = {name: _LARGEST_PLACE[role] for role in _LARGEST_PLACE if (name := getattr(columns, role)) in table}
    sites, known = pd.factorize(label_column(table, columns.site))[0], known_fill_values or {}
    fills: dict[str, dict[float, int]] = {}
    impossible: dict[str, int] = {}
    changed: dict[str, Float64Array] = {}  # an untouched column keeps its type and its bytes
    outside = 0
    for name in dict.fromkeys([*used, columns.target, *limits]):
        values = numeric_column(table, name, infinite=True)
        missing = np.isinf(values)
        if missing.any():
            texts[name] = {**texts.get(name, {}), "inf": int(missing.sum())}
        if name in limits:
            wrong = np.abs(values) > limits[name]
            impossible |= {name: int((wrong & ~missing).sum())} if (wrong & ~missing).any() else {}
            missing |= wrong
        elif found := find_fill_values(values, sites, known.get(name, ())):
            fills[name] = found
            missing |= np.isin(values, list(found))
        values[missing] = np.nan
        if name == columns.target and target_unit != OTHER:
            values, outside = _soil_moisture(values, name, target_unit)
        if missing.any() or (name == columns.target and (outside or target_unit == PERCENT)):
            changed[name] = values
    seen = (*used, columns.target, *limits)
    return CleanTable(
        table=table.assign(**changed),
        columns=columns,
        found=TableCleaning(
            target=columns.target,
            target_unit=target_unit,
            rows=len(table),
            fill_values=fills,
            not_numbers={name: dict(found) for name, found in texts.items() if found and name in seen},
            impossible_places=impossible,
            outside_range=outside,
        ),
    )


def require_one_row_a_site_and_time(table: pd.DataFrame, columns: Columns) -> None:
    """Check that a site has one row a time, and no more than a few rows a day.

    Parameters
    ----------
    table
        Match-ups; only the columns of site and time are read.
    columns
        Their names.

    Raises
    ------
    InputError
        If two rows have the same site and time, or a site has a dozen rows or more a day: the column is then not that
        of the site, or the table is hourly.
    """
    rows = pd.DataFrame(
        {"site": label_column(table, columns.site).to_numpy(), "time": instant_column(table, columns.time).to_numpy()}
    )
    by_site = rows.assign(day=rows["time"].dt.normalize()).groupby("site")
    daily = by_site.size() / by_site["day"].nunique()
    repeated = rows.duplicated(keep=False).to_numpy()
    if (daily >= _ROWS_A_DAY).any():
        most = str(daily.idxmax())
        reason = (
            "name the column that tells stations apart by --site (a network has many)"
            if repeated.any()
            else "make daily means of an hourly table first"
        )
        raise InputError(
            f"table: {columns.site!r} {most!r} has {daily[most]:.0f} rows a day of {columns.time!r}; "
            f"one row a site and time is required: {reason}"
        )
    if repeated.any():
        first = rows[repeated].iloc[0]
        same = np.flatnonzero((rows["site"] == first["site"]) & (rows["time"] == first["time"]))
        when = f"{first['time']:%Y-%m-%d %H:%M}".removesuffix(" 00:00")
        more = int(rows.duplicated().sum())
        raise InputError(
            f"table: rows {same[0] + 1} and {same[1] + 1} (the first row of values is 1) are both of {columns.site!r} "
            f"{first['site']!r} at {columns.time!r} {when}; {more} rows repeat a site and time; one row a site and "
            "time is required: drop or average the others, or name the column that tells the stations apart by --site"
        )


def choose_features(table: pd.DataFrame, columns: Columns, required: Sequence[str] | None = None) -> FeatureChoice:
    """Find the feature columns of a table: those asked for, or all numbers that can be one.

    By default left out: target, site, time and end, coordinates, counts (``n_…``), columns of row numbers that were
    saved without a name, text, and columns without any value.

    Parameters
    ----------
    table
        Match-ups; its columns of numbers are numeric already, as `clean_table` makes them.
    columns
        Names of target, site, time and coordinates.
    required
        Columns that the user asks for; None: choose by default.

    Returns
    -------
    FeatureChoice
        What was taken, and why the others were left.

    Raises
    ------
    InputError
        If a column is missing, asked for twice, the target, no numbers, or none is left.
    """
    require_columns(table, [columns.target, columns.site, columns.time], "training")
    names = [str(name) for name in table.columns]
    if required is not None:
        _check_required(table, columns, required)
        return FeatureChoice(tuple(required), {name: "not asked for" for name in names if name not in required})
    reasons = {name: _reason(table, name, columns) for name in names}
    taken = tuple(name for name, reason in reasons.items() if not reason)
    if not taken:
        found = ", ".join(f"{name} ({reason})" for name, reason in reasons.items())
        raise InputError(f"table: found no column that can be a feature: {found}; add columns of numbers")
    return FeatureChoice(taken, {name: reason for name, reason in reasons.items() if reason})


def place_columns(table: pd.DataFrame, columns: Columns) -> dict[str, str]:
    """Find the columns of latitude and longitude by their names.

    Parameters
    ----------
    table
        Match-ups.
    columns
        Names that are taken first, if the table has them.

    Returns
    -------
    dict
        Fields ``lat`` and ``lon`` of `Columns` to the names in the table; empty unless both are there.
    """
    named = {_PLACES[str(name).lower()]: str(name) for name in table.columns if str(name).lower() in _PLACES}
    named |= {role: getattr(columns, role) for role in ("lat", "lon") if getattr(columns, role) in table}
    return named if {"lat", "lon"} <= set(named) else {}


def find_fill_values(values: Float64Array, sites: NDArray[Any], known: Collection[float] = ()) -> dict[float, int]:
    """Find the values of a column that stand for a missing value: repeated, and far outside the rest.

    A value that is written as missing values usually are (-9999, -99.9, 9999, -32768, 1e20, 9.97e36, …) must lie
    further from the rest than the rest is wide; any other value ten times as far, and be repeated in rows of a column
    that varies, since the constants of one odd site are repeated too.

    Parameters
    ----------
    values
        Column of numbers, shape (row,); NaN = missing already.
    sites
        Site of each row, shape (row,); of any type.
    known
        Values that are fill values wherever they stand.

    Returns
    -------
    dict
        Each fill value, as it stands in the column, and its number of rows; empty where there is none.
    """
    distinct, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    if not len(distinct):
        return {}
    sure = np.array([any(math.isclose(v, one, rel_tol=1e-6) for one in known) for v in distinct]) if known else None
    may = np.flatnonzero((counts > 1) | np.isin(np.arange(len(distinct)), [0, len(distinct) - 1]))
    shapes = {int(i): shape for i in may if (shape := _Shape.of(float(distinct[i])))}
    shaped = np.isin(np.arange(len(distinct)), list(shapes)) | (False if sure is None else sure)
    rest = _Rest.of(distinct[~shaped], counts[~shaped])
    is_fill = np.zeros(len(distinct), dtype=bool) if sure is None else sure
    for i, shape in shapes.items():
        value, count = float(distinct[i]), int(counts[i])
        if shape == _Shape.SHORT and value > 0:
            count = _repeats(values, sites, value)
        is_fill[i] |= rest.excludes(value, shape, count)
    for at in (0, -1):
        inside, n = distinct[~is_fill], counts[~is_fill]
        if len(inside) <= _FEWEST or n[at] < 2:
            continue
        others = np.delete(inside, at)
        far = abs(inside[at] - others[at]) > _FAR * (others[-1] - others[0])
        if far and _repeats(values, sites, inside[at]) > 1:
            is_fill |= distinct == inside[at]
    return {float(distinct[i]): int(counts[i]) for i in np.flatnonzero(is_fill)}


class _Shape:
    """How a value is written that may be a fill value."""

    NONE = 0
    STRONG = 1
    """Hardly anything else: -999 and longer, -32768, 1e15 and beyond."""

    LONG = 2
    """9999 and longer, 65535: a large number that may be one."""

    SHORT = 3
    """99, -99.9, 255: a number as others are."""

    _LIMITS = frozenset({-32768.0, -32767.0, -2147483648.0, -2147483647.0})
    _UPPER = frozenset({32767.0, 65535.0, 2147483647.0, 4294967295.0})

    @classmethod
    def of(cls, value: float) -> int:
        """Return the shape of a value."""
        size = abs(value)
        if size >= 1e15 or value in cls._LIMITS:
            return cls.STRONG
        nines = re.fullmatch(r"(9+)\.?(9*)", f"{size:.6g}")
        if nines and len(nines[1] + nines[2]) >= 2:
            long = len(nines[1]) >= 3
            if value < 0:
                return cls.STRONG if long else cls.SHORT
            return cls.LONG if long and size > 999 else cls.SHORT
        return cls.LONG if value in cls._UPPER else cls.SHORT if value == 255 else cls.NONE


@dataclass(frozen=True)
class _Rest:
    """The values of a column that are no fill value by their shape."""

    distinct: Float64Array
    """Ascending."""

    low: float
    """Almost all of them lie between this and ``high``: a spike must not hide a fill value."""

    high: float

    @classmethod
    def of(cls, distinct: Float64Array, counts: NDArray[np.int64]) -> _Rest:
        """Describe distinct values and how often each stands there."""
        if not len(distinct):
            return cls(distinct, math.nan, math.nan)
        share = np.cumsum(counts) / counts.sum()
        ends = np.searchsorted(share, [0.02, 0.98]).clip(max=len(distinct) - 1)
        return cls(distinct, float(distinct[ends[0]]), float(distinct[ends[1]]))

    def excludes(self, value: float, shape: int, count: int) -> bool:
        """Return whether a value that stands in a number of rows lies so far away that it is no value."""
        if not len(self.distinct):
            return shape == _Shape.STRONG
        gap, width = max(self.low - value, value - self.high), self.high - self.low
        if shape == _Shape.STRONG:
            return gap > width
        if shape == _Shape.LONG:
            return count > 1 and gap > width
        least, most = self.distinct[0], self.distinct[-1]
        gap = max(least - value, value - most)
        if value < 0 and self.low >= 0:
            return bool(gap > 0 and value < 3 * min(least, 0.0))
        steps = float(np.diff(self.distinct).max()) if len(self.distinct) >= _FEWEST else math.inf
        return bool(count > 1 and gap > 5 * steps and gap > (2 if value > 0 else 0.5) * (most - least))


def _repeats(values: Float64Array, sites: NDArray[Any], value: float) -> int:
    """Return how often a value stands in a column, where a site at which nothing else stands counts once."""
    at_value = pd.Series(values == value)[np.isfinite(values)].groupby(sites[np.isfinite(values)])
    rows, alone = at_value.sum(), at_value.all()
    return int(np.where(alone, 1, rows).sum())


def _soil_moisture(values: Float64Array, target: str, unit: str) -> tuple[Float64Array, int]:
    """Return the target in m3 m-3, what lies outside 0 to 1 missing, and how many those are."""
    known = values[np.isfinite(values)]
    largest = 100.0 if unit == PERCENT else 1.0
    outside = (values < 0) | (values > largest)  # NaN is neither
    count = int(outside.sum())
    if count > _OUTSIDE_SHARE * len(known):
        raise InputError(_outside_message(known, values[outside], target, unit))
    if unit == PERCENT and len(known) and known.max() <= 1:
        raise InputError(
            f"table: the target {target!r} lies between {known.min():.4g} and {known.max():.4g}, which looks like "
            f"m3 m-3, not percent: leave out `--target-unit {PERCENT}`"
        )
    values = np.where(outside, np.nan, values) if count else values
    return (values / 100 if unit == PERCENT else values), count


def _outside_message(known: Float64Array, outside: Float64Array, target: str, unit: str) -> str:
    often, n = Counter(outside.tolist()).most_common(1)[0]
    found = (
        f"table: the target {target!r} lies outside {'0 to 100 percent' if unit == PERCENT else '0 to 1 m3 m-3'} in "
        f"{len(outside)} of {len(known)} rows ({len(outside) / len(known):.1%}), up to {_OUTSIDE_SHARE:.0%} may; "
        f"found {known.min():.4g} to {known.max():.4g}, median {np.median(known):.4g}"
    )
    if n > 1:
        found += f", {often:.7g} in {n} rows"
    if unit != PERCENT and np.median(known) > 1 and np.quantile(known, 0.99) <= 100:
        return f"{found}. This looks like percent: give `--target-unit {PERCENT}`"
    percent = "" if unit == PERCENT else f" If the column is in percent, give `--target-unit {PERCENT}`;"
    return (
        f"{found}. Leave the cells empty that are no measurement.{percent} if it is no soil moisture, "
        f"`--target-unit {OTHER}`"
    )


def _with_numbers(
    table: pd.DataFrame, columns: Columns, required: Collection[str]
) -> tuple[pd.DataFrame, dict[str, dict[str, int]]]:
    """Return the table with the numbers of its text columns, and the texts among them that are none."""
    numbers, texts = {}, {}
    for name in map(str, table.columns):
        column = table[name]
        if name in (columns.site, columns.time) or name.lower() in _ENDS or not _is_text(column):
            continue
        codes, cells = pd.factorize(column)
        values = np.array([*map(_number, cells), math.nan])  # the last is that of an empty cell: code -1
        counts = np.bincount(codes[codes >= 0], minlength=len(cells))
        bad = {str(cell): int(n) for cell, n, v in zip(cells, counts, values, strict=False) if math.isnan(v)}
        share = sum(bad.values()) / max(counts.sum(), 1)
        if share <= _TEXT_SHARE or (share <= _MARKER_SHARE and len(bad) <= _MARKERS):
            numbers[name], texts[name] = values[codes], bad
        elif name in required:
            raise InputError(
                f"table: column {name!r} holds no numbers in {sum(bad.values())} of {counts.sum()} cells that are not "
                f"empty ({_some(bad)}); numbers are required, with a point: correct them or leave the cells empty"
            )
    return table.assign(**numbers), texts


def _is_text(column: pd.Series) -> bool:
    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        kind = kind.categories.dtype
    return pd.api.types.is_object_dtype(kind) or isinstance(kind, pd.StringDtype)


def _number(cell: object) -> float:
    """Return the number that a cell holds, exactly; NaN for any other text."""
    text = str(cell).strip()
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _some(texts: Mapping[str, int]) -> str:
    """Return the most frequent texts, for a message."""
    shown = [f"{text!r} in {n}" for text, n in Counter(texts).most_common(_SHOWN)]
    return ", ".join(shown) + (", …" if len(texts) > _SHOWN else "")


def _label(cell: str) -> str | None:
    """Return a cell of the column of sites as it is written, so that 007 stays 007."""
    return cell.strip() or None


def _check_required(table: pd.DataFrame, columns: Columns, required: Sequence[str]) -> None:
    require_columns(table, required, "--features")
    bad = sorted({name for name in required if required.count(name) > 1 or name in (columns.target, columns.site)})
    if bad or not required:
        raise InputError(
            f"--features: found {', '.join(bad) or 'nothing'}; columns are required, each one once, "
            f"neither the target {columns.target!r} nor the site {columns.site!r} among them"
        )
    for name in required:
        numeric_column(table, name)


def _reason(table: pd.DataFrame, name: str, columns: Columns) -> str:
    """Return why a column is no feature by default; empty if it is one."""
    numeric = pd.api.types.is_numeric_dtype(table[name]) and not pd.api.types.is_complex_dtype(table[name])
    reasons = {
        "the target": name == columns.target,
        "the site": name == columns.site,
        "the time": name == columns.time,
        "the end of the time": name.lower() in _ENDS,
        "a coordinate": name.lower() in _PLACES or name in (columns.lat, columns.lon),
        "a count": name.startswith("n_"),
        "row numbers without a name": name.startswith("Unnamed:"),
        "any of [ ] < : in its name": bool(set(name) & set("[]<:")),
        "computed from the time": name in DAY_OF_YEAR,
        "no numbers": not numeric,
        "no value": not table[name].notna().any(),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")
