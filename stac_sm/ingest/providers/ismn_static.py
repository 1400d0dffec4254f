"""ISMN static variables: what the csv beside a station's series says of its ground, as properties of its item.

The file (``NETWORK_NETWORK_STATION_static_variables.csv``) is a table with ``;`` between its fields, without quoting
(the resolution ``30"`` is in it), one quantity of one provider and depth a line.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from stac_sm.core.errors import GranuleError

SUFFIX = "_static_variables.csv"
"""End of its name; before it comes what all files of the station begin with."""

MAX_SIZE = 1 << 18
"""Largest file, bytes; real ones have 3000."""

_COLUMNS = (
    "quantity_name", "unit", "depth_from[m]", "depth_to[m]", "value", "description", "quantity_source_name",
)  # fmt: skip
_FRACTION = "% weight", 100.0
_SOIL = {  # name in the file: name in the item, unit, largest value
    "clay fraction": ("clay_fraction", *_FRACTION),
    "sand fraction": ("sand_fraction", *_FRACTION),
    "silt fraction": ("silt_fraction", *_FRACTION),
    "organic carbon": ("organic_carbon", *_FRACTION),
    "saturation": ("saturation", "m^3*m^-3", 1.0),
}
_LAND_COVER = ("CCI_landcover_2010", "CCI_landcover_2005", "CCI_landcover_2000")
_CLIMATE = ("koeppen_geiger_2007", "koeppen_geiger_2017")  # the first is in all archives, and what others go by
_KOEPPEN = re.compile(r"[A-E][A-Za-z]{0,2}")
_NO_VALUE = {"", "nan", "none", "masked", "unknown"}
_UNKNOWN = -99.0  # depths and values below it (-99.9, -9999) stand for none

STATIC_PROPERTIES = (
    "stac_sm:climate", "stac_sm:climate_insitu", "stac_sm:land_cover", "stac_sm:land_cover_name",
    "stac_sm:land_cover_insitu", "stac_sm:soil",
)  # fmt: skip
"""Properties of a station's item that come from this file."""

_NAMED = 3  # reasons that are kept of one property

STATIC_VARIABLES = "static variables"
"""Name of the whole file in `stac_sm:left_out`."""

CsvRow = dict[str, str]
_Notes = dict[str, list[str]]
_T = TypeVar("_T")


def static_properties(content: bytes, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return properties of a station's item from its file of static variables, and what was left out.

    A quantity without a value is left out silently. A value or a line that cannot be right is left out and named, and
    costs nothing else.

    Parameters
    ----------
    content
        The file.
    name
        Its name, for messages.

    Returns
    -------
    dict
        ``stac_sm:climate`` (Koeppen-Geiger code of 2007, where that has none of 2017), ``stac_sm:land_cover`` (code of
        the newest ESA CCI map) and ``stac_sm:land_cover_name``; ``stac_sm:climate_insitu``,
        ``stac_sm:land_cover_insitu`` (text, as the network saw it); ``stac_sm:soil``, one record a provider and depth
        (depth_from, depth_to in m; fractions and organic carbon in % weight, saturation in m3 m-3).
    dict of str
        Why something was left out, by the property that it belongs to; lines that are none by ``static variables``.

    Raises
    ------
    GranuleError
        If it is no such table at all.
    """
    notes: dict[str, list[str]] = {}
    rows = _rows(content, name, notes)
    cover = {row["quantity_source_name"]: row for row in reversed(_of(rows, "land cover classification"))}
    climate = {row["quantity_source_name"]: row["value"] for row in reversed(_of(rows, "climate classification"))}
    codes = (_checked(_koeppen, notes, "stac_sm:climate", climate[key]) for key in _CLIMATE if key in climate)
    maps = [cover[key] for key in _LAND_COVER if key in cover and cover[key]["value"] != "0"]  # 0: no data
    covers = ((row, _checked(_land_cover, notes, "stac_sm:land_cover", row["value"])) for row in maps)
    newest, code = next(((row, code) for row, code in covers if code), (None, None))
    found = {
        "stac_sm:climate": next((code for code in codes if code), None),
        "stac_sm:climate_insitu": climate.get("insitu"),
        "stac_sm:land_cover": code,
        "stac_sm:land_cover_name": newest and newest["description"],
        "stac_sm:land_cover_insitu": cover["insitu"]["value"] if "insitu" in cover else None,
        "stac_sm:soil": _soil(rows, notes),
    }
    left_out = {key: _joined(list(dict.fromkeys(reasons))) for key, reasons in notes.items()}
    return {key: value for key, value in found.items() if value}, left_out


def _joined(reasons: list[str]) -> str:
    more = [f"and {len(reasons) - _NAMED} more"] if len(reasons) > _NAMED else []
    return "; ".join([*reasons[:_NAMED], *more])


def _checked(read: Callable[..., _T], notes: _Notes, key: str, *args: Any) -> _T | None:
    """Return what is read from a value; None and a note on the property if it cannot be right."""
    try:
        return read(*args)
    except ValueError as error:
        notes.setdefault(key, []).append(str(error))
        return None


def _rows(content: bytes, name: str, notes: _Notes) -> list[CsvRow]:
    """Return lines by the names of their columns, without those that have no value or are no line of the table."""
    lines = [line.split(";") for line in re.split(r"[\r\n]+", _text(content, name)) if line.strip()]
    if not lines:
        raise GranuleError(f"{name}: found an empty file, expected a table with ; between its fields")
    headed = lines[0][0] == _COLUMNS[0]
    columns = [field.strip() for field in lines[0]] if headed else list(_COLUMNS)
    missing = [column for column in _COLUMNS if column not in columns]
    if missing:
        raise GranuleError(f"{name}: found no column {missing[0]!r}, expected {';'.join(_COLUMNS)}")
    rows = []
    expected = len(lines[0]) if headed else max(len(_COLUMNS), Counter(map(len, lines)).most_common(1)[0][0])
    for number, line in enumerate(lines[headed:], 1 + headed):
        if len(line) == expected:
            rows.append(dict(zip(columns, map(str.strip, line), strict=False)))
        else:
            found = f"found {len(line)} fields in line {number}, expected {expected}"
            notes.setdefault(STATIC_VARIABLES, []).append(found)
    return [row for row in rows if row["value"].lower() not in _NO_VALUE]


def _text(content: bytes, name: str) -> str:
    if len(content) > MAX_SIZE:
        raise GranuleError(f"{name}: found more than {MAX_SIZE} bytes, expected a small table")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _of(rows: Iterable[CsvRow], quantity: str) -> list[CsvRow]:
    return [row for row in rows if row["quantity_name"] == quantity]


def _koeppen(text: str) -> str:
    if not _KOEPPEN.fullmatch(text):
        raise ValueError(f"found the climate {text[:40]!r}, expected a Koeppen-Geiger code such as Cfa")
    return text


def _land_cover(text: str) -> int:
    code = _number(text, "land cover")
    if code != int(code) or not 0 <= code <= 255:
        raise ValueError(f"found the land cover {text[:40]!r}, expected a code of ESA CCI, 0 to 255")
    return int(code)


def _soil(rows: Iterable[CsvRow], notes: _Notes) -> list[dict[str, Any]]:
    """Return one record a provider and depth, in the order of the file; of a quantity given twice the first counts."""
    layers: dict[tuple[float | None, float | None, str], dict[str, Any]] = {}
    for row in rows:
        if row["quantity_name"] not in _SOIL:
            continue
        found = _checked(_soil_value, notes, "stac_sm:soil", row)
        if found is None:
            continue
        start, end, value = found
        layer = layers.setdefault((start, end, row["quantity_source_name"]), {})
        layer.setdefault(_SOIL[row["quantity_name"]][0], value)
    return [
        {key: value for key, value in (("depth_from", start), ("depth_to", end)) if value is not None}
        | layer
        | {"source": source}
        for (start, end, source), layer in layers.items()
    ]


def _soil_value(row: CsvRow) -> tuple[float | None, float | None, float] | None:
    """Return upper and lower end in metres and the value; None where the value stands for none."""
    quantity = row["quantity_name"]
    _, unit, largest = _SOIL[quantity]
    value = _number(row["value"], quantity)
    if value < _UNKNOWN:
        return None
    if row["unit"] != unit or not 0 <= value <= largest:
        found = f"{row['value']} {row['unit']}"[:40]
        raise ValueError(f"found {quantity} of {found!r}, expected 0 to {largest:g} {unit}")
    return _depth(row["depth_from[m]"]), _depth(row["depth_to[m]"]), value


def _depth(text: str) -> float | None:
    """Return metres; None where it is not known."""
    if text.lower() in _NO_VALUE:
        return None
    value = _number(text, "depth")
    return value if value >= _UNKNOWN else None


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"found {what} {text[:40]!r}, expected a number")
    return value
