"""ISMN static variables: what the csv beside a station's series says of its ground, as properties of its item.

The file (``NETWORK_NETWORK_STATION_static_variables.csv``) is a table with ``;`` between its fields, without quoting
(the resolution ``30"`` is in it), one quantity of one provider and depth a line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

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

CsvRow = dict[str, str]


def static_properties(content: bytes, name: str) -> dict[str, Any]:
    """Properties of a station's item from its file of static variables; a quantity without a value is left out.

    Returns
    -------
    dict
        ``stac_sm:climate`` (Koeppen-Geiger code of 2007, where that has none of 2017), ``stac_sm:land_cover`` (code of
        the newest ESA CCI map) and ``stac_sm:land_cover_name``; ``stac_sm:climate_insitu``,
        ``stac_sm:land_cover_insitu`` (text, as the network saw it); ``stac_sm:soil``, one record a provider and depth
        (depth_from, depth_to in m; fractions and organic carbon in % weight, saturation in m3 m-3).

    Raises
    ------
    GranuleError
        If a line is not what it should be.
    """
    rows = _rows(content, name)
    cover = {row["quantity_source_name"]: row for row in _of(rows, "land cover classification")}
    climate = {row["quantity_source_name"]: row["value"] for row in _of(rows, "climate classification")}
    newest = next(
        (cover[key] for key in _LAND_COVER if key in cover and cover[key]["value"] != "0"), None
    )  # 0: no data
    found = {
        "stac_sm:climate": next((_koeppen(climate[key], name) for key in _CLIMATE if key in climate), None),
        "stac_sm:climate_insitu": climate.get("insitu"),
        "stac_sm:land_cover": newest and _land_cover(newest["value"], name),
        "stac_sm:land_cover_name": newest and newest["description"],
        "stac_sm:land_cover_insitu": cover["insitu"]["value"] if "insitu" in cover else None,
        "stac_sm:soil": _soil(rows, name),
    }
    return {key: value for key, value in found.items() if value}


def _rows(content: bytes, name: str) -> list[CsvRow]:
    """Lines by the names of their columns, without those that have no value."""
    lines = [line.split(";") for line in re.split(r"[\r\n]+", _text(content, name)) if line.strip()]
    if not lines:
        raise GranuleError(f"{name}: found an empty file, wanted a table with ; between its fields")
    headed = lines[0][0] == _COLUMNS[0]
    columns = [field.strip() for field in lines[0]] if headed else list(_COLUMNS)
    missing = [column for column in _COLUMNS if column not in columns]
    if missing:
        raise GranuleError(f"{name}: found no column {missing[0]!r}, wanted {';'.join(_COLUMNS)}")
    for number, line in enumerate(lines, 1):
        if len(line) != len(lines[0]) or len(line) < len(_COLUMNS):
            raise GranuleError(f"{name}: found {len(line)} fields in line {number}, wanted {len(lines[0])}")
    rows = [dict(zip(columns, map(str.strip, line), strict=False)) for line in lines[headed:]]
    return [row for row in rows if row["value"].lower() not in _NO_VALUE]


def _text(content: bytes, name: str) -> str:
    if len(content) > MAX_SIZE:
        raise GranuleError(f"{name}: found more than {MAX_SIZE} bytes, wanted a small table")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _of(rows: Iterable[CsvRow], quantity: str) -> list[CsvRow]:
    return [row for row in rows if row["quantity_name"] == quantity]


def _koeppen(text: str, name: str) -> str:
    if not _KOEPPEN.fullmatch(text):
        raise GranuleError(f"{name}: found the climate {text[:40]!r}, wanted a Koeppen-Geiger code such as Cfa")
    return text


def _land_cover(text: str, name: str) -> int:
    code = _number(text, "land cover", name)
    if code != int(code) or not 0 <= code <= 255:
        raise GranuleError(f"{name}: found the land cover {text[:40]!r}, wanted a code of ESA CCI, 0 to 255")
    return int(code)


def _soil(rows: Iterable[CsvRow], name: str) -> list[dict[str, Any]]:
    """One record a provider and depth, in the order of the file; of a quantity given twice the first counts."""
    layers: dict[tuple[float | None, float | None, str], dict[str, Any]] = {}
    for row in rows:
        if row["quantity_name"] not in _SOIL:
            continue
        value = _soil_value(row, name)
        if value is None:
            continue
        start, end = _depth(row["depth_from[m]"], name), _depth(row["depth_to[m]"], name)
        layer = layers.setdefault((start, end, row["quantity_source_name"]), {})
        layer.setdefault(_SOIL[row["quantity_name"]][0], value)
    return [
        {key: value for key, value in (("depth_from", start), ("depth_to", end)) if value is not None}
        | layer
        | {"source": source}
        for (start, end, source), layer in layers.items()
    ]


def _soil_value(row: CsvRow, name: str) -> float | None:
    quantity = row["quantity_name"]
    _, unit, largest = _SOIL[quantity]
    value = _number(row["value"], quantity, name)
    if value < _UNKNOWN:
        return None
    if row["unit"] != unit or not 0 <= value <= largest:
        found = f"{row['value']} {row['unit']}"[:40]
        raise GranuleError(f"{name}: found {quantity} of {found!r}, wanted 0 to {largest:g} {unit}")
    return value


def _depth(text: str, name: str) -> float | None:
    """Metres; None where it is not known."""
    if text.lower() in _NO_VALUE:
        return None
    value = _number(text, "depth", name)
    return value if value >= _UNKNOWN else None


def _number(text: str, what: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise GranuleError(f"{name}: found {what} {text[:40]!r}, wanted a number")
    return value
