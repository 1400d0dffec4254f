"""Variables (quantities with a unit and a range of physically possible values) and the quality flags of the product.

Providers check values against the range where their format allows other ones, and describe assets with name, unit and
description; prediction clips soil moisture to its range. `QualityFlag` defines the bits that prediction writes and that
readers of the product decode.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntFlag

from stac_sm.core.errors import InputError

SURFACE_DEPTH = 0.05
"""Lower end of the layer that the product is of, m: sensors that end deeper do not count unless a project says so."""


@dataclass(frozen=True)
class Variable:
    """A quantity with a unit."""

    name: str
    """Name used in items, cubes and tables."""

    unit: str
    """Unit as in UDUNITS, e.g. ``"m3 m-3"``; ``"1"`` where there is none."""

    description: str
    """Meaning in one line, for people."""

    valid: tuple[float, float]
    """Least and largest value that is physically possible."""

    static: bool = False
    """Whether it is the same on every day."""


_TABLE = (
    Variable("sm", "m3 m-3", "Volumetric surface soil moisture, 0-5 cm", (0.0, 0.6)),
    Variable("swvl1", "m3 m-3", "Volumetric soil water of layer 1, 0-7 cm, daily mean", (0.0, 1.0)),
    Variable("sd", "m", "Snow depth as water, daily mean", (0.0, 1000.0)),
    Variable("stl1", "K", "Soil temperature of layer 1, 0-7 cm, daily mean", (180.0, 350.0)),
    Variable("cci_sm", "m3 m-3", "Soil moisture of ESA CCI, combined product", (0.0, 1.0)),
    Variable("cci_sm_uncertainty", "m3 m-3", "Standard error of the soil moisture of ESA CCI", (0.0, 1.0)),
    Variable("smap_sm", "m3 m-3", "Soil moisture of the SMAP radiometer, 0-5 cm", (0.0, 1.0)),
    Variable("smap_s1_sm", "m3 m-3", "Soil moisture of SMAP and Sentinel-1, 1 km", (0.0, 1.0)),
    Variable("smap_s1_sm_3km", "m3 m-3", "Soil moisture of SMAP and Sentinel-1, 3 km", (0.0, 1.0)),
    Variable("lst", "K", "Land surface temperature, all-weather daily mean", (180.0, 350.0)),
    Variable("lst_day", "K", "Land surface temperature by day, clear sky", (180.0, 350.0)),
    Variable("lst_night", "K", "Land surface temperature by night, clear sky", (180.0, 350.0)),
    Variable("qc_day", "1", "Quality flags of the land surface temperature by day", (0.0, 255.0)),
    Variable("qc_night", "1", "Quality flags of the land surface temperature by night", (0.0, 255.0)),
    Variable("lai", "m2 m-2", "Leaf area index, 8-day composite", (0.0, 10.0)),
    Variable("lai_qc", "1", "Quality flags of the leaf area index", (0.0, 255.0)),
    Variable("albedo_bsa_vis", "1", "Black-sky albedo, visible light", (0.0, 1.0)),
    Variable("albedo_wsa_vis", "1", "White-sky albedo, visible light", (0.0, 1.0)),
    Variable("albedo_bsa_nir", "1", "Black-sky albedo, near infrared", (0.0, 1.0)),
    Variable("albedo_wsa_nir", "1", "White-sky albedo, near infrared", (0.0, 1.0)),
    Variable("albedo_bsa_shortwave", "1", "Black-sky albedo, shortwave", (0.0, 1.0)),
    Variable("albedo_wsa_shortwave", "1", "White-sky albedo, shortwave", (0.0, 1.0)),
    Variable("albedo_qa", "1", "Quality flags of the shortwave albedo", (0.0, 65535.0)),
    Variable("elevation", "m", "Height above the geoid", (-500.0, 9000.0), static=True),
    Variable("slope", "degree", "Steepness of the terrain", (0.0, 90.0), static=True),
    Variable("aspect_sin", "1", "East component of the direction the terrain faces; 0 if flat", (-1, 1), static=True),
    Variable("aspect_cos", "1", "North component of the direction the terrain faces; 0 if flat", (-1, 1), static=True),
    Variable("sand", "%", "Sand in the fine earth, by mass, 0-5 cm", (0.0, 100.0), static=True),
    Variable("silt", "%", "Silt in the fine earth, by mass, 0-5 cm", (0.0, 100.0), static=True),
    Variable("clay", "%", "Clay in the fine earth, by mass, 0-5 cm", (0.0, 100.0), static=True),
    Variable("bdod", "kg dm-3", "Bulk density of the fine earth, 0-5 cm", (0.0, 2.65), static=True),
    Variable("soc", "g kg-1", "Organic carbon in the fine earth, 0-5 cm", (0.0, 1000.0), static=True),
    Variable("phh2o", "1", "pH of the soil in water, 0-5 cm", (0.0, 14.0), static=True),
    Variable("doy_sin", "1", "Sine of the day of the year", (-1.0, 1.0)),
    Variable("doy_cos", "1", "Cosine of the day of the year", (-1.0, 1.0)),
    Variable("latitude", "degree", "Latitude of the pixel centre", (-90.0, 90.0), static=True),
)
VARIABLES = {variable.name: variable for variable in _TABLE}


def get_variable(name: str) -> Variable:
    """Return the variable of a name.

    Parameters
    ----------
    name
        A key of `VARIABLES`, e.g. ``"lst"``.

    Returns
    -------
    Variable
        Unit, description and valid range.

    Raises
    ------
    InputError
        If no variable has this name.
    """
    if name not in VARIABLES:
        raise InputError(f"variable {name!r} is unknown: known are {', '.join(sorted(VARIABLES))}")
    return VARIABLES[name]


VOLUMETRIC = "m3 m-3"
"""Unit of soil moisture: volume of water by volume of soil."""

_VOLUMETRIC_SPELLINGS = re.compile(r"(c?m)(\^|\*\*)?3(\s*/\s*|\s+|\.|\*)(c?m)(\^|\*\*)?-?3", re.IGNORECASE)
_PERCENT = {"%", "percent", "pct", "vol%", "vol.%", "vol. %", "% vol", "vol %"}


def canonical_unit(text: str) -> str:
    """Return a unit in the one spelling that this package compares.

    Parameters
    ----------
    text
        As a provider or a user writes it: ``m3/m3``, ``cm^3 cm^-3``, ``percent``.

    Returns
    -------
    str
        `VOLUMETRIC` or ``%`` for their spellings; others as they are, without blanks around them.
    """
    found, unit = _VOLUMETRIC_SPELLINGS.fullmatch(text.strip()), text.strip()
    if found and found[1].lower() == found[4].lower():
        return VOLUMETRIC
    return "%" if unit.lower() in _PERCENT else unit


class QualityFlag(IntFlag):
    """Bits of the ``qa`` band."""

    GAP_FILLED = 1
    """An input was filled from other days."""

    FROZEN = 2
    """The soil is frozen: no value."""

    SNOW = 4
    """The soil is under snow: no value."""

    NOT_APPLICABLE = 8
    """The features lie outside the area of applicability of the model: the value stays, its error may be larger."""

    CLIPPED = 16
    """The prediction lay outside the physical range and was set to its end."""

    INPUT_MISSING = 32
    """A feature that the model needs has no value: no value."""

    RESERVED_64 = 64
    """Never set: a file that cannot be read ends its day, it is never passed over. The bit stays free."""

    READ_TOLERATED = 64
    """Former name of `RESERVED_64`, which older items list among their bit fields. An alias, so no flag of its own."""

    WATER = 128
    """Sea or lake: no value."""


FLAG_CLASSES: dict[QualityFlag, tuple[tuple[str, str], tuple[str, str]]] = {
    QualityFlag.GAP_FILLED: (
        ("complete", "all inputs are of the day itself"), ("gap_filled", "an input was filled from other days"),
    ),
    QualityFlag.FROZEN: (("thawed", "the soil is free of frost"), ("frozen", "the soil is frozen: no value")),
    QualityFlag.SNOW: (("snow_free", "the soil is free of snow"), ("snow", "the soil is under snow: no value")),
    QualityFlag.NOT_APPLICABLE: (
        ("applicable", "inside the area of applicability of the model"),
        ("not_applicable", "outside the area of applicability of the model: the error may be larger"),
    ),
    QualityFlag.CLIPPED: (
        ("in_range", "the prediction lies within the physical range"),
        ("clipped", "the prediction lay outside the physical range and was set to its end"),
    ),
    QualityFlag.INPUT_MISSING: (
        ("inputs_complete", "every feature that the model needs has a value"),
        ("input_missing", "a feature that the model needs has no value: no value"),
    ),
    QualityFlag.WATER: (("land", "land"), ("water", "sea or lake: no value")),
}  # fmt: skip
"""Name and description of a bit that is 0, and of one that is 1."""

PUBLISHED_FLAGS = tuple(flag for flag in QualityFlag if flag is not QualityFlag.RESERVED_64)
"""Flags that a pixel can have, as items and the collection describe them."""
