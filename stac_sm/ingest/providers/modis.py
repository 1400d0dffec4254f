"""MODIS land products in HDF4-EOS, versions 006 and 061: temperature, leaf area index, albedo.

Asset keys are those of the Planetary Computer, so that a recipe fits files of one's own and the public catalogue.
Versions differ in calibration: each has its own collections, and a recipe never mixes them. Terra (MOD) and Aqua
(MYD) share a collection; the id of an item says which one it is, and where both have a pixel, Terra comes first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from stac_sm.core.errors import GranuleError
from stac_sm.ingest.file_content import GEOTIFF, HDF4, FileContent, metadata_value
from stac_sm.ingest.formats.hdf4eos import read_attributes
from stac_sm.ingest.formats.sinusoidal_tile import (
    Band,
    TileName,
    bit_field,
    claimed_stems,
    production_rank,
    recognise_tile,
    stated_name,
    tile_granule,
)
from stac_sm.ingest.provider_interface import Download, Recognition, ScannedFile
from stac_sm.ingest.rank import Rank

VERSIONS = ("006", "061")
_LOGIN = "Earthdata Login"
_NAME = (
    r"(?P<stem>(?P<product>M[OYC]D[0-9A-Z]+)\.A(?P<day>\d{7})\.(?P<tile>h\d\dv\d\d)\.(?P<version>\d{3}))"
    r"\.(?P<made>\d{13})\.hdf"
)
_EXAMPLE = "MOD11A1.A2019305.h14v09.061.2019306084028.hdf"
_PLATFORM = {"MOD": "terra", "MYD": "aqua", "MCD": "terra,aqua"}

_ERRORS_K = {0: ("up-to-1", "1 K or less"), 1: ("up-to-2", "2 K or less"), 2: ("up-to-3", "3 K or less"),
             3: ("over-3", "more than 3 K")}  # fmt: skip
_ERRORS_EMISSIVITY = {0: ("up-to-001", "0.01 or less"), 1: ("up-to-002", "0.02 or less"),
                      2: ("up-to-004", "0.04 or less"), 3: ("over-004", "more than 0.04")}  # fmt: skip
_LST_FLAGS = [
    bit_field("mandatory", "whether there is a value", 0, 2, {
        0: ("good", "good, look no further"), 1: ("other", "of other quality"),
        2: ("cloud", "not produced because of cloud"), 3: ("not-produced", "not produced for another reason"),
    }),
    bit_field("data", "quality of the input", 2, 2, {
        0: ("good", "good"), 1: ("other", "other"), 2: ("tbd-2", "to be defined"), 3: ("tbd-3", "to be defined"),
    }),
    bit_field("emissivity", "mean error of emissivity", 4, 2, _ERRORS_EMISSIVITY),
    bit_field("lst", "mean error of temperature", 6, 2, _ERRORS_K),
]  # fmt: skip
_LAI_FLAGS = [
    bit_field("modland", "quality", 0, 1, {
        0: ("good", "main algorithm"), 1: ("other", "back-up algorithm or fill"),
    }),
    bit_field("sensor", "which satellite", 1, 1, {0: ("terra", "Terra"), 1: ("aqua", "Aqua")}),
    bit_field("dead-detector", "detectors", 2, 1, {
        0: ("fine", "fine for up to half of channels 1 and 2"), 1: ("dead", "dead ones made adjacent ones be used"),
    }),
    bit_field("cloud", "clouds", 3, 2, {
        0: ("clear", "clear"), 1: ("cloudy", "cloudy"), 2: ("mixed", "mixed"), 3: ("unknown", "assumed clear"),
    }),
    bit_field("method", "how the value was found", 5, 3, {
        0: ("main", "main algorithm, best"), 1: ("main-saturated", "main algorithm with saturation"),
        2: ("empirical-geometry", "empirical, bad geometry"), 3: ("empirical-other", "empirical, other problems"),
        4: ("none", "not produced"),
    }),
]  # fmt: skip
_ALBEDO_CLASSES = [
    {"value": 0, "name": "full", "description": "full inversion, best"},
    {"value": 1, "name": "magnitude", "description": "magnitude inversion"},
    {"value": 255, "name": "none", "description": "no value", "nodata": True},
]


def _lst(time: str) -> tuple[Band, Band]:
    return (
        Band(f"LST_{time}_1km", f"LST_{time}_1km", f"lst_{time.lower()}", ("uint16",), sides=(1200,)),
        Band(
            f"QC_{time}", f"QC_{time}", f"qc_{time.lower()}", ("uint8",), required=(), sides=(1200,), quality=True,
            asset={"classification:bitfields": _LST_FLAGS},
        ),
    )  # fmt: skip


def _albedo(sky: str, spectrum: str) -> Band:
    name = f"Albedo_{sky}_{spectrum}"
    return Band(name, name, name.lower(), ("int16",), sides=(2400,))


_LST = (*_lst("Day"), *_lst("Night"))
_LAI = (
    # above 100 there are codes: 249 to 255 for what is no vegetation, or has no value
    Band("Lai_500m", "Lai_500m", "lai", ("uint8",), nodata=255, valid=(0, 100), sides=(2400,),
         asset={"title": "Leaf area index"}),
    Band("FparLai_QC", "FparLai_QC", "lai_qc", ("uint8",), nodata=255, required=(), sides=(2400,), quality=True,
         asset={"classification:bitfields": _LAI_FLAGS}),
)  # fmt: skip
_QUALITY = "BRDF_Albedo_Band_Mandatory_Quality_shortwave"
_ALBEDO = (
    *(_albedo(sky, spectrum) for sky in ("BSA", "WSA") for spectrum in ("vis", "nir", "shortwave")),
    Band(_QUALITY, _QUALITY, "albedo_qa", ("uint8",), nodata=255, required=(), sides=(2400,), quality=True,
         asset={"classification:classes": _ALBEDO_CLASSES}),
)  # fmt: skip


@dataclass(frozen=True)
class _Product:
    """What the files of a product have in common."""

    collection: str
    """Id of its collection without the version."""

    days: int
    """Length of a composite."""

    bands: tuple[Band, ...]
    """Fields that are kept."""


_LAI_8_DAY = _Product("modis-15A2H", 8, _LAI)
_LST_DAILY = _Product("modis-11A1", 1, _LST)
_PRODUCTS = {
    "MOD11A1": _LST_DAILY,
    "MYD11A1": _LST_DAILY,
    "MOD15A2H": _LAI_8_DAY,
    "MYD15A2H": _LAI_8_DAY,
    "MCD15A2H": _LAI_8_DAY,
    "MCD15A3H": _Product("modis-15A3H", 4, _LAI),
    "MCD43A3": _Product("mcd43a3", 1, _ALBEDO),
}


@dataclass(frozen=True)
class Modis:
    """MOD11A1, MYD11A1, MOD15A2H, MYD15A2H, MCD15A2H, MCD15A3H and MCD43A3, as NASA's archives have them."""

    patterns: tuple[str, ...] = tuple(f"{product}.A*.hdf" for product in _PRODUCTS)
    """Names of its files."""

    downloads: ClassVar[tuple[Download, ...]] = tuple(
        Download(product, f"{id}-061", tuple(band.name for band in bands), _LOGIN, "006, 061", pixels, size, times)
        for product, id, bands, pixels, size, times in (
            ("MOD11A1, MYD11A1, daily, 1 km", "modis-11A1", _LST, 1200**2, 6, 30),
            ("MOD15A2H, MYD15A2H, MCD15A2H, 8 days, 500 m", "modis-15A2H", _LAI, 2400**2, 2, 4),
            ("MCD15A3H, 4 days, 500 m", "modis-15A3H", _LAI, 2400**2, 2, 8),
            ("MCD43A3, daily, 500 m", "mcd43a3", _ALBEDO, 2400**2, 13, 30),
        )
    )
    """What to download."""

    @property
    def collections(self) -> list[str]:
        """Ids of the STAC collections of its items."""
        ids = dict.fromkeys(product.collection for product in _PRODUCTS.values())
        return [f"{id}-{version}" for id in ids for version in VERSIONS]

    def scan(self, file: Path) -> ScannedFile:
        """Return one item: a tile of a day or of a composite; the last composite of a year ends with the year.

        A tile without a single value is an item too: under clouds, or in the polar night, MODIS saw nothing.
        """
        name = TileName.of(file, _NAME, _EXAMPLE)
        product = _PRODUCTS.get(name.product)
        if product is None or name.version not in VERSIONS:
            raise GranuleError(
                f"{file}: found {name.product} of version {name.version}, "
                f"expected one of {', '.join(_PRODUCTS)} of version {' or '.join(VERSIONS)}"
            )
        granule = tile_granule(
            file,
            name,
            end=name.end(product.days),
            collection=f"{product.collection}-{name.version}",
            bands=product.bands,
            properties={"platform": _PLATFORM[name.product[:3]], "instruments": ["modis"]},
        )
        stated = stated_name(read_attributes(file)[1], _NAME)
        if stated and not stated.startswith(f"{name.stem}."):
            raise GranuleError(f"{file}: {_two_names(stated)}")
        return ScannedFile([granule])

    def claims(self, file: Path) -> list[str]:
        """Return the id of the item of a file, by its published name."""
        return claimed_stems(file, _NAME)

    def recognises(self, content: FileContent) -> Recognition | None:
        """Return whether a file has the fields of one of the products; another product of MODIS is refused."""
        named = re.match(r"M[OYC]D\d\w+\.A\d{7}\.", content.name)
        if named and content.kind == GEOTIFF:
            product = named[0].partition(".")[0]
            why = f"a GeoTIFF of {product} found, the granule of one of {', '.join(_PRODUCTS)} in HDF is required"
            return Recognition("MODIS", by_name=True, refusal=why, left_out=product not in _PRODUCTS)
        fields = [band.name for product in _PRODUCTS.values() for band in product.bands]
        found = recognise_tile(content, fields, _NAME, "MODIS", _EXAMPLE)
        core = content.attributes.get("CoreMetadata.0", "")
        stated = metadata_value(core, "SHORTNAME") if content.kind == HDF4 else ""
        product = stated or content.name.partition(".")[0]
        if found is not None and product in _PRODUCTS:
            return _checked(found, content)
        if found is not None or re.match(r"M[OYC]D\d", stated):
            known = ", ".join(_PRODUCTS)
            return (
                found
                if found is not None and found.refusal
                else Recognition(
                    "MODIS",
                    by_name=not stated,
                    refusal=f"the product {product} found, one of {known} is required",
                    left_out=True,
                )
            )
        return None

    def rank_of(self, name: str) -> Rank:
        """Return the rank of a file: of two productions the later one stays."""
        return production_rank(name, _NAME)


def _checked(found: Recognition, content: FileContent) -> Recognition:
    """Refuse a granule whose name and metadata state two granules."""
    stated, match = stated_name(content.attributes, _NAME), re.fullmatch(_NAME, content.name)
    if found.refusal or not stated or match is None or stated.startswith(f"{match['stem']}."):
        return found
    return replace(found, refusal=_two_names(stated))


def _two_names(stated: str) -> str:
    return f"its metadata say that it is {stated}, its name says another granule: one of the two is wrong, rename it"
