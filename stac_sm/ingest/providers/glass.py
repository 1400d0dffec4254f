"""GLASS: land surface temperature, leaf area index and albedo, HDF4-EOS in MODIS sinusoidal tiles.

The bands of each product are described here; `formats.sinusoidal_tile` builds items and layers from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from stac_sm.core.errors import InputError
from stac_sm.ingest.file_content import FileContent
from stac_sm.ingest.formats.hdf4eos import read_field
from stac_sm.ingest.formats.sinusoidal_tile import (
    Band,
    TileName,
    bit_field,
    claimed_stems,
    production_rank,
    recognise_tile,
    tile_granule,
)
from stac_sm.ingest.provider_interface import Download, Recognition, ScannedFile
from stac_sm.ingest.rank import Rank

_NAME = r"(?P<stem>(?P<product>{})\.V(?P<version>\d+)\.A(?P<day>\d{{7}})\.(?P<tile>h\d\dv\d\d))\.(?P<made>\d{{7}})\.hdf"
_LST_NAME, _LAI_NAME = _NAME.format("GLASS06A01"), _NAME.format("GLASS01E01|GLASS01D01")
_ALBEDO_NAME = _NAME.format("GLASS02A06|GLASS02E01")

_LST_EXAMPLE, _LAI_EXAMPLE, _ALBEDO_EXAMPLE = (
    "GLASS06A01.V01.A2018001.h18v04.2022021.hdf",
    "GLASS01E01.V60.A2018001.h18v04.2022012.hdf",
    "GLASS02A06.V40.A2018001.h18v04.2019021.hdf",
)

_LST = Band("lst", "LST", "lst", ("uint16", "int16"), gap_free=True)
_LAI = Band("lai", "LAI", "lai", ("uint8", "uint16", "int16"), gap_free=True)

ALBEDO_NODATA = -1
"""The files have several negative values for pixels without data; the COGs have this one."""

_ALBEDO_RANGE = (0, 10000)
_ALBEDO = tuple(
    Band(
        f"{sky}_{spectrum}".lower(),
        f"ABD_{sky}_{spectrum}",
        f"albedo_{sky}_{spectrum}".lower(),
        ("int16",),
        nodata=ALBEDO_NODATA,
        valid=_ALBEDO_RANGE,
        required=("scale_factor",),
        gap_free=True,
    )
    for sky in ("BSA", "WSA")
    for spectrum in ("VIS", "NIR", "shortwave")
)
_PERCENT = {0: ("none", "0 %"), 100: ("all", "100 %")}
_LEVELS = {0: ("best", "0"), 1: ("acceptable", "1"), 2: ("poor", "2"), 3: ("worst", "3; also pixels without data")}
_QA = Band(
    "qa_shortwave",
    "ABD_QA_shortwave",
    "albedo_qa",
    ("uint16",),
    nodata=65535,
    required=(),
    quality=True,
    asset={
        "title": "Quality of the shortwave albedo, as in the file",
        "classification:bitfields": [
            bit_field("overall", "overall quality", 0, 2, _LEVELS),
            bit_field("land", "share of land, percent", 2, 7, _PERCENT),
            bit_field("good", "share of good retrievals, percent", 9, 7, _PERCENT),
        ],
    },
)
_WORST = 3


@dataclass(frozen=True)
class GlassLst:
    """GLASS06A01: all-weather daily mean land surface temperature, 1 km."""

    collection: str = "glass-lst"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("GLASS06A01.*.hdf",)
    """Names of its files."""

    downloads: ClassVar[tuple[Download, ...]] = (
        Download("GLASS06A01, daily, 1 km", "glass-lst", (_LST.name,), "none", "V01", pixels=1200**2, bytes_a_pixel=2),
    )
    """What to download."""

    def scan(self, file: Path) -> ScannedFile:
        """Return one item: a tile of a day."""
        name = TileName.of(file, _LST_NAME, _LST_EXAMPLE)
        return ScannedFile([tile_granule(file, name, end=name.end(1), collection=self.collection, bands=[_LST])])

    def claims(self, file: Path) -> list[str]:
        """Return the id of the item of a file, by its published name."""
        return claimed_stems(file, _LST_NAME)

    def recognises(self, content: FileContent) -> Recognition | None:
        """Return whether a file has the fields of the product, or its name where it cannot be read."""
        return recognise_tile(content, [_LST.name], _LST_NAME, "GLASS land surface temperature", _LST_EXAMPLE)

    def rank_of(self, name: str) -> Rank:
        """Return the rank of a file: of two productions the later one stays."""
        return production_rank(name, _LST_NAME)


@dataclass(frozen=True)
class GlassLai:
    """GLASS01E01 and GLASS01D01: leaf area index, 500 m and 250 m, composites of 8 days."""

    collection: str = "glass-lai"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("GLASS01E01.*.hdf", "GLASS01D01.*.hdf")
    """Names of its files."""

    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            "GLASS01E01, 8 days, 500 m", "glass-lai", (_LAI.name,), "none", "V60", pixels=2400**2, bytes_a_pixel=1,
            times=4,
        ),
    )  # fmt: skip
    """What to download."""

    def scan(self, file: Path) -> ScannedFile:
        """Return one item: a tile of 8 days; the last composite of a year ends with the year."""
        name = TileName.of(file, _LAI_NAME, _LAI_EXAMPLE)
        return ScannedFile([tile_granule(file, name, end=name.end(8), collection=self.collection, bands=[_LAI])])

    def claims(self, file: Path) -> list[str]:
        """Return the id of the item of a file, by its published name."""
        return claimed_stems(file, _LAI_NAME)

    def recognises(self, content: FileContent) -> Recognition | None:
        """Return whether a file has the fields of the product, or its name where it cannot be read."""
        return recognise_tile(content, [_LAI.name], _LAI_NAME, "GLASS leaf area index", _LAI_EXAMPLE)

    def rank_of(self, name: str) -> Rank:
        """Return the rank of a file: of two productions the later one stays."""
        return production_rank(name, _LAI_NAME)


@dataclass(frozen=True)
class GlassAlbedo:
    """GLASS02A06 and GLASS02E01: black-sky and white-sky albedo, 1 km and 500 m, composites of 8 days.

    Every negative value, and what is above 1, becomes the one nodata of the COGs. The quality of GLASS02E01 is kept
    beside the albedo and masks nothing unless ``worst_quality`` says so: GLASS is a product without gaps, GLASS02A06
    holds the same retrievals without any flag, and a pixel that is masked here would be missing from every product.
    """

    worst_quality: int = _WORST
    """GLASS02E01: pixels of a worse overall quality become nodata. 0 is the best, 1 leaves out what is not good, 3
    keeps everything."""

    collection: str = "glass-albedo"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("GLASS02A06.*.hdf", "GLASS02E01.*.hdf")
    """Names of its files."""

    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            "GLASS02A06, 8 days, 1 km", "glass-albedo", tuple(band.name for band in _ALBEDO), "none", "V40",
            pixels=1200**2, bytes_a_pixel=12, times=4,
        ),
    )  # fmt: skip
    """What to download."""

    def __post_init__(self) -> None:
        if self.worst_quality not in range(_WORST + 1):
            raise InputError(f"glass-albedo: worst_quality {self.worst_quality} found, expected 0, 1, 2 or 3")

    def scan(self, file: Path) -> ScannedFile:
        """Return one item: a tile of 8 days with all bands; the last composite of a year ends with the year."""
        name = TileName.of(file, _ALBEDO_NAME, _ALBEDO_EXAMPLE)
        bands, mask = _ALBEDO, None
        if name.product == "GLASS02E01":
            bands = (*_ALBEDO, _QA)
            mask = partial(_worse, self.worst_quality) if self.worst_quality < _WORST else None
        return ScannedFile(
            [tile_granule(file, name, end=name.end(8), collection=self.collection, bands=bands, mask=mask)]
        )

    def claims(self, file: Path) -> list[str]:
        """Return the id of the item of a file, by its published name."""
        return claimed_stems(file, _ALBEDO_NAME)

    def recognises(self, content: FileContent) -> Recognition | None:
        """Return whether a file has the fields of the product, or its name where it cannot be read."""
        return recognise_tile(content, [band.name for band in _ALBEDO], _ALBEDO_NAME, "GLASS albedo", _ALBEDO_EXAMPLE)

    def rank_of(self, name: str) -> Rank:
        """Return the rank of a file: of two productions the later one stays."""
        return production_rank(name, _ALBEDO_NAME)


def _worse(worst: int, file: Path) -> np.ndarray:
    """Return the pixels (y, x) whose overall quality is worse than a limit."""
    return np.asarray((read_field(file, _QA.name) & 0b11) > worst)
