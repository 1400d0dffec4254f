"""ISMN ``.stm`` files: what their names say, and their values in both layouts (header_values and ceop_sep)."""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from stac_sm.errors import GranuleError

if TYPE_CHECKING:
    import pandas as pd

MISSING = -9999.0
"""Value of a missing reading."""

_NAME = re.compile(
    r"(?:(?P<network>.+)_(?P=network)|[^_]+_(?P<other>[^_]+))_(?P<station>.+)"
    r"_sm_(?P<depth_from>-?\d+\.\d+)_(?P<depth_to>-?\d+\.\d+)_(?P<sensor>.+)_(?P<first>\d{8})_(?P<last>\d{8})\.stm"
)
_PLACE = re.compile(  # a station's name may hold blanks; latitude and longitude always have decimals
    r"\s*\S+\s+\S+\s+(?P<station>\S.*?)\s+(?P<lat>-?\d+\.\d+)\s+(?P<lon>-?\d+\.\d+)\s+(?P<elevation>\S+)\s+[-\d.]+\s+[-\d.]+"
)
_TWO_TIMES = re.compile(r"\s*\d{4}/\d\d/\d\d \d\d:\d\d\s+\d{4}/\d\d/\d\d \d\d:\d\d\s+")
_LINE_END = re.compile(rb"[\r\n]+")  # \n, \r\n, \n\r and \r alone all occur


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
        """What a path says; None if it is no file of soil moisture."""
        match = _NAME.fullmatch(PurePosixPath(path).name)
        if match is None:
            return None
        try:
            first, last = (datetime.strptime(match[key], "%Y%m%d").date() for key in ("first", "last"))
        except ValueError:
            return None
        depths = float(match["depth_from"]), float(match["depth_to"])
        return cls(match["network"] or match["other"], match["station"], *depths, match["sensor"], first, last, path)


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


def parse(content: bytes, name: str) -> Readings:
    """Content of a file in either layout.

    Raises
    ------
    GranuleError
        If it is in neither layout, or a line of it cannot be read.
    """
    start = _LINE_END.search(content)
    first = (content[: start.start()] if start else content).decode("latin-1")
    times = _TWO_TIMES.match(first)
    place = _PLACE.match(first, times.end() if times else 0)
    if place is None:
        raise GranuleError(f"{name}: found the first line {first[:80]!r}, wanted one of header_values or ceop_sep")
    if times is None:
        body, value_column = content[start.end() if start else len(content) :], 2
    else:
        body, value_column = content, 11 + len(place["station"].split())
    lon, lat = float(place["lon"]), float(place["lat"])
    if abs(lon) > 180 or abs(lat) > 90:
        raise GranuleError(f"{name}: found longitude {lon} and latitude {lat}, wanted degrees: leave the station out")
    return Readings(lon, lat, _elevation(place["elevation"]), _frame(body, value_column, name))


def _elevation(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value > -999 else None


def _frame(body: bytes, value_column: int, name: str) -> pd.DataFrame:
    """Times, values and flags of lines whose first two columns are date and time."""
    import pandas as pd

    columns = [0, 1, value_column, value_column + 1]
    types: dict[int, type] = {0: str, 1: str, value_column: float, value_column + 1: str}
    absent = {value_column: ["NaN", "nan", "NA", "None", ""], value_column + 1: [""]}
    if not body.strip():
        return pd.DataFrame({"time": pd.to_datetime([]), "sm": pd.Series(dtype=float), "flag": pd.Series(dtype=str)})
    try:
        lines = pd.read_csv(  # type: ignore[call-overload] # pandas-stubs know no numbers as names in na_values
            io.BytesIO(body), sep=r"\s+", header=None, usecols=columns, engine="c", encoding="latin-1", quoting=3,
            dtype=types, keep_default_na=False, na_values=absent,
        )[columns].set_axis(["date", "time", "sm", "flag"], axis=1)  # fmt: skip
        time = pd.to_datetime(lines["date"] + " " + lines["time"], format="%Y/%m/%d %H:%M")
    except (ValueError, TypeError) as error:
        raise GranuleError(f"{name}: a line is not date, time, value, flag ({error}): is the file complete?") from error
    if lines["flag"].isna().any() or time.isna().any():
        line = int((lines["flag"].isna() | time.isna()).to_numpy().argmax()) + 1
        raise GranuleError(f"{name}: value {line} has no time or no quality flag: is the file complete?")
    frame = pd.DataFrame({"time": time.astype("datetime64[ns]"), "sm": lines["sm"], "flag": lines["flag"]})
    frame["sm"] = frame["sm"].where(frame["sm"] > MISSING)
    return _in_order(frame)


def _in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows in order of time; of rows with one time the last is kept."""
    if not frame["time"].is_monotonic_increasing:
        frame = frame.sort_values("time", kind="stable")
    return frame if frame["time"].is_unique else frame.drop_duplicates("time", keep="last")
