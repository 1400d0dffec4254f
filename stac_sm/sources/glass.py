"""GLASS: land surface temperature and leaf area index, HDF4-EOS in MODIS sinusoidal tiles.

Stored integers are kept; scale and fill are those of the file. pyhdf is not thread-safe: one file at a time in each
process.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path

from odc.geo.geobox import GeoBox

from stac_sm.cog import CogProfile
from stac_sm.errors import GranuleError, InputError
from stac_sm.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.items import raster_item
from stac_sm.period import utc
from stac_sm.sources import Granule, RasterLayer, Scan
from stac_sm.sources.hdf4eos import GridField, describe, read
from stac_sm.variables import VARIABLES

_TOLERANCE = 1.0  # metres: corners are written with six decimals, and some versions of the grid differ by millimetres


@dataclass(frozen=True)
class GlassLst:
    """GLASS06A01: all-weather daily mean land surface temperature, 1 km."""

    collection: str = "glass-lst"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("GLASS06A01.*.hdf",)
    """Names of its files."""

    def scan(self, file: Path) -> Scan:
        """One item: a tile of a day."""
        name = _Name.of(file, ("GLASS06A01",))
        return _scan(file, name, name.start + timedelta(days=1), self.collection, "LST", "lst")

    def parts(self, file: Path) -> list[Path]:
        """The latest production of the same tile and day in the folder."""
        return [_latest(file)]


@dataclass(frozen=True)
class GlassLai:
    """GLASS01E01 and GLASS01D01: leaf area index, 500 m and 250 m, composites of 8 days."""

    collection: str = "glass-lai"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("GLASS01E01.*.hdf", "GLASS01D01.*.hdf")
    """Names of its files."""

    def scan(self, file: Path) -> Scan:
        """One item: a tile of 8 days; the last composite of a year ends with the year."""
        name = _Name.of(file, ("GLASS01E01", "GLASS01D01"))
        end = min(name.start + timedelta(days=8), date(name.start.year + 1, 1, 1))
        return _scan(file, name, end, self.collection, "LAI", "lai")

    def parts(self, file: Path) -> list[Path]:
        """The latest production of the same tile and composite in the folder."""
        return [_latest(file)]


@dataclass(frozen=True)
class _Name:
    """What the name of a granule says."""

    stem: str
    """Name without production date and suffix, e.g. ``GLASS06A01.V01.A2018001.h18v04``."""

    start: date
    """First day."""

    tile: str
    """Tile, e.g. ``h18v04``."""

    @classmethod
    def of(cls, file: Path, products: tuple[str, ...]) -> _Name:
        match = re.fullmatch(r"((\w+)\.V\d+\.A(\d{7})\.(h\d\dv\d\d))\.\d{7}\.hdf", file.name)
        if match is None or match[2] not in products:
            wanted = f"{products[0]}.V01.A2018001.h18v04.2022021.hdf"
            raise GranuleError(f"{file}: found the name {file.name}, wanted one like {wanted}: is it another product?")
        try:
            MODIS_SINUSOIDAL_1KM.column_row(match[4])
            return cls(match[1], datetime.strptime(match[3], "%Y%j").date(), match[4])
        except (ValueError, InputError) as error:
            raise GranuleError(f"{file}: its name has no day or tile that exists ({error}): check the name") from error


def _scan(file: Path, name: _Name, end: date, collection: str, field_name: str, key: str) -> Scan:
    """Item and layer of a granule."""
    field = describe(file, field_name)
    geobox = _geobox(file, name.tile, field)
    item = raster_item(
        id=name.stem,
        collection=collection,
        geobox=geobox,
        start=utc(name.start),
        end=utc(end),
        properties={"grid:code": MODIS_SINUSOIDAL_1KM.grid_code(name.tile)},
        extensions=["grid"],
    )
    profile = CogProfile(nodata=field.fill, scale=field.scale)
    layer = RasterLayer(VARIABLES[key], partial(read, file, field_name), geobox, profile)
    return Scan([Granule(item, {key: layer})])


def _geobox(file: Path, tile: str, field: GridField) -> GeoBox:
    """The tile of the name at the file's resolution: 250 m and 500 m pixels nest exactly in those of 1 km."""
    from affine import Affine

    whole = MODIS_SINUSOIDAL_1KM.geobox(tile)
    factor = field.shape[0] // whole.shape[0]
    if factor < 1 or field.shape != tuple(n * factor for n in whole.shape):
        raise GranuleError(f"{file}: found {field.shape} pixels, wanted a multiple of {tuple(whole.shape)}")
    box = whole.boundingbox
    wanted = (box.left, box.top, box.right, box.bottom)
    if any(abs(a - b) > _TOLERANCE for a, b in zip(field.bounds, wanted, strict=True)):
        raise GranuleError(
            f"{file}: its StructMetadata.0 says left, top, right, bottom {_metres(field.bounds)}, "
            f"tile {tile} of its name is {_metres(wanted)}: one of the two is wrong; fetch it again"
        )
    return GeoBox(field.shape, whole.affine * Affine.scale(1 / factor), whole.crs)


def _metres(bounds: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.1f}" for value in bounds)


def _latest(file: Path) -> Path:
    """File with the latest production date among those that differ only in it."""
    match = re.fullmatch(r"(.+\.)\d{7}\.hdf", file.name)
    if match is None:
        return file
    return max(file.parent.glob(f"{match[1]}{'[0-9]' * 7}.hdf"), default=file)
