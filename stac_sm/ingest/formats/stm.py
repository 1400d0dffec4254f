"""Read ISMN ``.stm`` files: their names, and their values in both layouts, header_values and ceop_sep.

The provider `ismn` finds the files of a station, parses them here and joins its instruments. A damaged file is an
error, or still a series with finite values in order of time; no content makes `parse_stm` hang.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from stac_sm.core.errors import GranuleError
from stac_sm.ingest.formats.name_dates import named_day

if TYPE_CHECKING:
    import pandas as pd

MISSING = -9999.0
"""Value of a missing reading."""

_NAME = re.compile(
    r"(?P<prefix>(?:(?P<network>.+)_(?P=network)|[^_]+_(?P<other>[^_]+))_(?P<station>.+))"
    r"_sm_(?P<depth_from>-?\d{1,4}\.\d{1,9})_(?P<depth_to>-?\d{1,4}\.\d{1,9})_(?P<sensor>.+)"
    r"_(?P<first>\d{8})_(?P<last>\d{8})\.stm"
)
_PLACE = re.compile(  # a station's name may hold blanks; latitude and longitude always have decimals
    rb"\s*\S+\s+\S+\s+(?P<station>\S.*?)\s+(?P<lat>-?\d+\.\d+)\s+(?P<lon>-?\d+\.\d+)"
    rb"\s+(?P<elevation>\S+)\s+[-\d.]+\s+[-\d.]+"
)
_TWO_TIMES = re.compile(rb"\s*\d{4}/\d\d/\d\d \d\d:\d\d\s+\d{4}/\d\d/\d\d \d\d:\d\d\s+")
_LINE_END = re.compile(rb"[\r\n]+")  # \n, \r\n, \n\r and \r alone all occur
_FLAG = r"[A-Za-z0-9,_.*-]{1,80}"  # G, M, U or D01,C03 and the like
_LONGEST_NAME = 255  # limit of file systems; members of an archive may have longer names
_HIGHEST = 9000  # m
_LONGEST_LINE = 1000  # real ones have up to 138 bytes


@dataclass(frozen=True, order=True)
class SensorFile:
    """A file of soil moisture, as its name describes it; ordered by station, depth and sensor."""

    network: str
    """Network, as in the name (``_`` of the header is ``-`` there)."""

    station: str
    """Station."""

    depth_from: float
    """Upper end, m; exact only in the name (0.0508 is 0.05 in old headers)."""

    depth_to: float
    """Lower end, m."""

    sensor: str
    """Instrument."""

    first: date
    """First day of the download, not of the values."""

    last: date
    """Last day of the download."""

    path: str
    """Path of the file or of the member of an archive."""

    @classmethod
    def of(cls, path: str) -> SensorFile | None:
        """Parse the path of a file; return None if it is no file of soil moisture."""
        match = _match(path)
        if match is None or misdated(path):
            return None
        first, last = (named_day(path, match[key]) for key in ("first", "last"))
        depths = float(match["depth_from"]), float(match["depth_to"])
        return cls(match["network"] or match["other"], match["station"], *depths, match["sensor"], first, last, path)

    @property
    def folder(self) -> str:
        """Folder of the file, with a separator at the end; empty at the top of an archive."""
        return self.path[: -len(_name(self.path))]

    @property
    def prefix(self) -> str:
        """Start of the names of all files of the station, e.g. ``NETWORK_NETWORK_STATION``."""
        match = _match(self.path)
        return "" if match is None else match["prefix"]

    def readings(self, content: bytes) -> Readings:
        """Parse the content of the file.

        Parameters
        ----------
        content
            All bytes of the file.

        Returns
        -------
        Readings
            Place and readings.

        Raises
        ------
        GranuleError
            If it cannot be read, or has readings of other days than its name says.
        """
        found = parse_stm(content, self.path)
        days = [time.date() for time in found.frame["time"].iloc[[0, -1]]] if len(found.frame) else []
        if any(not self.first <= day <= self.last for day in days):
            between = " to ".join(str(day) for day in days)
            raise GranuleError(
                f"{self.path}: found readings of {between}, outside the days of its name: fetch it again"
            )
        return found


def _name(path: str) -> str:
    """Return the last part of a path; Windows packs archives with backslashes."""
    return PurePosixPath(path.replace("\\", "/")).name


def misdated(path: str) -> str:
    """Return what is wrong with the days in the name of a file of soil moisture; empty where nothing is."""
    match = _match(path)
    if match is None:
        return ""
    try:
        first, last = (named_day(path, match[key]) for key in ("first", "last"))
    except GranuleError as error:
        return str(error)
    if first > last:
        return f"{path}: its name has the days {first} to {last}, the first one first expected: give it back its name"
    return ""


def _match(path: str) -> re.Match[str] | None:
    name = _name(path)
    return _NAME.fullmatch(name) if len(name) <= _LONGEST_NAME else None


@dataclass(frozen=True, eq=False)
class Readings:
    """Content of one file."""

    lon: float
    """Degrees east."""

    lat: float
    """Degrees north."""

    elevation: float | None
    """Metres; None where the provider gives none."""

    frame: pd.DataFrame
    """Columns time (datetime64[ns], UTC), sm (m3 m-3; NaN = missing), flag; in order of time, each time once."""

    bad_elevation: str = ""
    """What is wrong with the elevation, where the file states one that cannot be right."""


Pairs = list[tuple[SensorFile, Readings]]
"""Instruments of a station, each with its readings."""


def parse_stm(content: bytes, name: str) -> Readings:
    """Parse the content of a file in either layout.

    Parameters
    ----------
    content
        All bytes of the file.
    name
        Path of the file, for messages.

    Returns
    -------
    Readings
        Place and readings; a reading of -9999 is missing.

    Raises
    ------
    GranuleError
        If it is in neither layout, or a line of it cannot be read.
    """
    start = _LINE_END.search(content)
    first = content[: start.start()] if start else content
    times = _TWO_TIMES.match(first)
    place = _PLACE.match(first, times.end() if times else 0) if len(first) <= _LONGEST_LINE else None
    if place is None:
        found = first[:80].decode("latin-1")
        raise GranuleError(f"{name}: found the first line {found!r}, expected one of header_values or ceop_sep")
    _check_text(content, name)
    if times is None:
        body, value_column = content[start.end() if start else len(content) :], 2
    else:
        body, value_column = content, 11 + len(place["station"].split())
    lon, lat = float(place["lon"]), float(place["lat"])
    if abs(lon) > 180 or abs(lat) > 90:
        raise GranuleError(f"{name}: found longitude {lon} and latitude {lat}, expected degrees: leave the station out")
    elevation, wrong = _elevation(place["elevation"])
    return Readings(lon, lat, elevation, _frame(body, value_column, name), wrong)


def is_stm(content: bytes) -> bool:
    """Return whether a file begins as one in either layout does: with a place, then date, time and value."""
    first, _, rest = _LINE_END.sub(b"\n", content).partition(b"\n")
    times = _TWO_TIMES.match(first)
    if _PLACE.match(first, times.end() if times else 0) is None or len(first) > _LONGEST_LINE:
        return False
    return times is not None or not rest or re.match(rb"\s*\d{4}/\d\d/\d\d \d\d:\d\d\s", rest) is not None


def _check_text(content: bytes, name: str) -> None:
    """Refuse content that pandas would accept silently, or with much memory."""
    import numpy as np

    if b"\0" in content:
        raise GranuleError(f"{name}: found a NUL at byte {content.index(0)}, expected text: fetch it again")
    characters = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero((characters == ord("\n")) | (characters == ord("\r")))
    longest = int(np.diff(ends, prepend=-1, append=characters.size).max()) - 1
    if longest > _LONGEST_LINE:
        raise GranuleError(f"{name}: found a line of {longest} bytes, expected at most {_LONGEST_LINE}: fetch it again")


def _elevation(text: bytes) -> tuple[float | None, str]:
    """Return metres, None where there are none, and what is wrong with them; NaN and -9999 stand for none."""
    try:
        value = float(text)
    except ValueError:
        return None, f"found the elevation {text[:40].decode('latin-1')!r}, expected metres"
    known = math.isfinite(value) and value > -999
    if known and value > _HIGHEST:
        return None, f"found an elevation of {value:g} m, expected at most {_HIGHEST}"
    return (value if known else None), ""


def _frame(body: bytes, value_column: int, name: str) -> pd.DataFrame:
    """Return times, values and flags of lines whose first two columns are date and time."""
    import pandas as pd

    columns = [0, 1, value_column, value_column + 1]
    types: dict[int, type] = {0: str, 1: str, value_column: float, value_column + 1: str}
    absent = {value_column: ["NaN", "nan", "NA", "None", ""], value_column + 1: [""]}
    if not body.strip():
        return pd.DataFrame({"time": pd.to_datetime([]), "sm": pd.Series(dtype=float), "flag": pd.Series(dtype=str)})
    try:
        lines = pd.read_csv(  # type: ignore[call-overload] # pandas-stubs know no numbers as names in na_values
            io.BytesIO(body), sep=r"\s+", header=None, usecols=columns, engine="c", encoding="latin-1", quoting=3,
            dtype=types, keep_default_na=False, na_values=absent, float_precision="round_trip",
        )[columns].set_axis(["date", "time", "sm", "flag"], axis=1)  # fmt: skip
        time = pd.to_datetime(lines["date"] + " " + lines["time"], format="%Y/%m/%d %H:%M")
    except (ValueError, TypeError, OverflowError) as error:
        why = str(error)[:200]
        raise GranuleError(f"{name}: a line is not date, time, value, flag ({why}): is the file complete?") from error
    if lines["flag"].isna().any() or time.isna().any():
        line = int((lines["flag"].isna() | time.isna()).to_numpy().argmax()) + 1
        raise GranuleError(f"{name}: value {line} has no time or no quality flag: is the file complete?")
    frame = pd.DataFrame({"time": time.astype("datetime64[ns]"), "sm": lines["sm"], "flag": lines["flag"]})
    _check_values(frame, name)
    frame["sm"] = frame["sm"].where(frame["sm"] > MISSING)
    return _in_order(frame)


def _check_values(frame: pd.DataFrame, name: str) -> None:
    infinite = frame["sm"].abs() == math.inf
    if infinite.any():
        raise GranuleError(f"{name}: value {int(infinite.to_numpy().argmax()) + 1} is infinite: fetch it again")
    for flag in frame["flag"].unique():
        if not re.fullmatch(_FLAG, flag):
            raise GranuleError(
                f"{name}: found the quality flag {flag[:40]!r}, expected G, M, C01 or the like: fetch it again"
            )


def _in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows in order of time; of rows with one time the last is kept."""
    if not frame["time"].is_monotonic_increasing:
        frame = frame.sort_values("time", kind="stable")
    return frame if frame["time"].is_unique else frame.drop_duplicates("time", keep="last")


def check_files(file: Path, sensors: Sequence[SensorFile]) -> None:
    """Check that the files of a station, found in one archive or folder, lie in one place, each once.

    Parameters
    ----------
    file
        The archive or folder, for messages.
    sensors
        Files of one station, sorted.

    Raises
    ------
    GranuleError
        If they do not.
    """
    for one, two in pairwise(sensors):
        if one.path == two.path:
            raise GranuleError(f"{file}: holds {one.path} twice: leave one of them out")
        if one.folder != two.folder:
            raise GranuleError(f"{file}: {one.path} and {two.path} are one station in two folders: leave one out")


def instruments(sensors: Sequence[SensorFile], readings: Sequence[Readings]) -> Pairs:
    """Join the files of several downloads in time, for each instrument and depth.

    Parameters
    ----------
    sensors
        Files of one station.
    readings
        The readings of each file.

    Returns
    -------
    list of tuple
        A pair an instrument and depth.

    Raises
    ------
    GranuleError
        If two files of one instrument have different readings at one time.
    """
    pairs: dict[tuple[float, float, str], tuple[SensorFile, Readings]] = {}
    for sensor, reading in zip(sensors, readings, strict=True):
        key = sensor.depth_from, sensor.depth_to, sensor.sensor
        pairs[key] = _joined(pairs[key], (sensor, reading)) if key in pairs else (sensor, reading)
    return list(pairs.values())


def _joined(one: tuple[SensorFile, Readings], two: tuple[SensorFile, Readings]) -> tuple[SensorFile, Readings]:
    import pandas as pd

    frames = [reading.frame for _, reading in (one, two) if len(reading.frame)] or [one[1].frame]
    frame = pd.concat(frames).drop_duplicates().sort_values(["time", "sm"], kind="stable", ignore_index=True)
    twice = frame[frame["sm"].notna() & frame["time"].duplicated()]
    if len(twice):
        paths = f"{one[0].path} and {two[0].path}"
        raise GranuleError(f"{paths} have different readings at {twice['time'].iloc[0]}: leave the older one out")
    sensor = replace(one[0], first=min(one[0].first, two[0].first), last=max(one[0].last, two[0].last))
    return sensor, replace(one[1], frame=frame.drop_duplicates("time", ignore_index=True))


def missing_readings(table: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Return readings of a table that another lacks, by depth and time; instruments are renamed between downloads."""
    by = ["depth_from", "depth_to", "time"]
    ours, theirs = (part[by].assign(nth=part.groupby(by).cumcount()) for part in (table, other))
    merged = ours.merge(theirs, how="left", indicator="found")
    return merged[merged["found"] == "left_only"]


def same_readings(table: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Return whether tables with the same depths and times have the same values and flags."""
    by = ["depth_from", "depth_to", "time", "sm", "flag"]
    one, two = (part[by].sort_values(by, ignore_index=True) for part in (table, other))
    return bool((one == two).all(axis=None))
