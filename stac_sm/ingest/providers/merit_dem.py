"""MERIT DEM: 5 degree tiles of elevation at 3 arc seconds, and the slope and aspect derived from them.

The provider's licence (CC BY-NC 4.0 or ODbL 1.0) is not open: it stands in the collection.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from stac_sm.core.errors import GranuleError
from stac_sm.core.grid import make_geobox
from stac_sm.core.period import Period, utc_instant
from stac_sm.ingest.file_content import TAR, FileContent, RasterContent, describe_file
from stac_sm.ingest.formats.geotiff import displayed_href, geotiff_rank, open_geotiff, read_heights
from stac_sm.ingest.provider_interface import Download, Granule, Recognition, ScannedFile, has_name_of
from stac_sm.ingest.terrain import terrain_layers
from stac_sm.stac.items import raster_item

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

ACQUIRED = Period(date(2000, 2, 11), date(2011, 5, 13))
"""Days on which its sources were taken: from the Shuttle mission (SRTM) to the end of ALOS (AW3D-30m)."""

_DEGREES = 5  # along one side of a tile
_SIDE = 6000  # pixels along it
_TILE = r"([ns])(\d\d)([ew])(\d{3})"
_OFF = 0.1  # of a pixel: how far georeference and name may be apart


@dataclass(frozen=True)
class MeritDem:
    """Tiles ``n30w120_dem.tif``, alone or in the packages ``dem_tif_n30w120.tar`` of 30 x 30 degrees."""

    collection: str = "merit-dem"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("[ns]??[ew]???_dem.tif", "dem_tif_[ns]??[ew]???.tar")
    """Names of its files."""

    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            "MERIT DEM", "merit-dem", ("dem",), "registration", "1.0.3", pixels=12000**2, bytes_a_pixel=4, times=1
        ),
    )
    """What to download."""

    def scan(self, file: Path) -> ScannedFile:
        """Return one item a tile, with elevation, slope and aspect; a package is read without unpacking."""
        if not _is_package(file):
            return ScannedFile([self._granule(_published_name(file), str(file))])
        names, others = _members(file)
        if not names:
            raise GranuleError(f"{file}: no tile like n30w120_dem.tif found among {len(others)} members, one expected")
        return ScannedFile(self._packed(file, names), tuple(f"member {name!r} is no tile: left out" for name in others))

    def claims(self, file: Path) -> list[str]:
        """Return the ids of the items of a file, by its published name or the names in a package."""
        names = _members(file)[0] if _is_package(file) else [_published_name(file)]
        return [_item_id(PurePosixPath(name).name) for name in names]

    def recognises(self, content: FileContent) -> Recognition | None:
        """Return whether a file is a tile, by its grid, or a package, by its members.

        MERIT Hydro has the same grid; only the names tell its maps from heights.
        """
        product = "MERIT DEM"
        if content.kind == TAR and any(_MEMBER.fullmatch(name) for name in content.members):
            return Recognition(f"{product}, a package")
        found = "" if content.raster is None else _name_of_grid(content.raster)
        if not found:
            return Recognition(product, by_name=True) if has_name_of(self, content.file) else None
        if _HYDRO.fullmatch(content.name):
            return Recognition("MERIT Hydro", refusal="a map of MERIT Hydro found by its name, MERIT DEM is required")
        return Recognition(f"{product} ({found}, by its grid)")

    def _packed(self, file: Path, names: list[str]) -> Iterator[Granule]:
        for name in names:
            yield self._granule(PurePosixPath(name).name, f"/vsitar/{_package_path(file)}/{name}")

    def _granule(self, name: str, href: str) -> Granule:
        south, west = _corner(name, href)
        geobox = _geobox(href, south, west)
        item = raster_item(
            id=_item_id(name),
            collection=self.collection,
            geobox=geobox,
            start=utc_instant(ACQUIRED.start),
            end=utc_instant(ACQUIRED.end),
        )
        return Granule(item, terrain_layers(partial(_read, href), geobox), geotiff_rank(href))


_MEMBER = re.compile(rf"(\./)?(dem_tif_{_TILE}/)?{_TILE}_dem\.tif")
_HYDRO = re.compile(rf"{_TILE}_(?!dem\.)\w+\.tiff?")


def _is_package(file: Path) -> bool:
    """Return whether a file is a package: by its name, or by its content."""
    return file.suffix == ".tar" or (file.suffix != ".tif" and describe_file(file).kind == TAR)


def _package_path(file: Path) -> str:
    """Return the path of a package as GDAL takes it: in braces where its name does not say that it is one."""
    return str(file.absolute()) if file.suffix == ".tar" else f"{{{file.absolute()}}}"


def _published_name(file: Path) -> str:
    """Return the name of a tile as published: its own, or the one that its grid stands for; else its own."""
    if re.fullmatch(_TILE + r"_dem\.tif", file.name) or _HYDRO.fullmatch(file.name):
        return file.name
    raster = describe_file(file).raster
    return (_name_of_grid(raster) if raster is not None else "") or file.name


def _name_of_grid(raster: RasterContent) -> str:
    """Return the name of the tile that has a grid; empty if none has. Corners lie half a pixel off whole degrees."""
    affine, pixel = raster.affine, _DEGREES / _SIDE
    if (raster.shape, raster.dtypes, raster.epsg) != ((_SIDE, _SIDE), ("float32",), 4326):
        return ""
    south, west = affine.f + affine.e * _SIDE + pixel / 2, affine.c + pixel / 2
    corner = round(south / _DEGREES) * _DEGREES, round(west / _DEGREES) * _DEGREES
    if max(abs(south - corner[0]), abs(west - corner[1])) > _OFF * pixel:
        return ""
    ns, ew = "n" if corner[0] >= 0 else "s", "e" if corner[1] >= 0 else "w"
    return f"{ns}{abs(corner[0]):02d}{ew}{abs(corner[1]):03d}_dem.tif"


def _item_id(name: str) -> str:
    return f"merit-dem-{name.removesuffix('_dem.tif')}"


def _read(href: str, first: int, end: int) -> np.ndarray:
    """Read heights of rows (y, x), m, float32, NaN = no data; a tile without any height is an error."""
    heights = read_heights(href, first, end)
    if (first, end) == (0, _SIDE) and np.isnan(heights).all():
        raise GranuleError(
            f"{displayed_href(href)}: not one height found, land expected (sea has no tiles): fetch it again"
        )
    return heights


def _members(file: Path) -> tuple[list[str], list[str]]:
    """List the tiles in a package, and its other files; names are not trusted, nothing is unpacked."""
    import tarfile

    try:
        with tarfile.open(file, "r:") as archive:
            names = sorted(member.name for member in archive if member.isreg())
    except (tarfile.TarError, OSError, EOFError) as error:
        size = file.stat().st_size if file.exists() else 0
        raise GranuleError(f"{file}: {size} bytes found, no whole tar archive ({error}): fetch it again") from error
    return [name for name in names if _MEMBER.fullmatch(name)], [name for name in names if not _MEMBER.fullmatch(name)]


def _corner(name: str, href: str) -> tuple[int, int]:
    """Return degrees north and east of the centre of the lower left pixel, which a tile's name states."""
    match = re.fullmatch(_TILE + r"_dem\.tif", name)
    south, west = (0, 0) if match is None else (int(match[2]), int(match[4]))
    if match is None or south % _DEGREES or west % _DEGREES:
        raise GranuleError(
            f"{displayed_href(href)}: found the name {name}, expected one like n30w120_dem.tif: is it another one?"
        )
    south, west = (south if match[1] == "n" else -south), (west if match[3] == "e" else -west)
    if not (-60 <= south <= 90 - _DEGREES and -180 <= west <= 180 - _DEGREES):
        raise GranuleError(
            f"{displayed_href(href)}: its name lies off the tiles from s60w180 to n85e175: check the name"
        )
    return south, west


def _geobox(href: str, south: int, west: int) -> GeoBox:
    """Return the grid of a tile, compared with its name and the provider's."""
    with open_geotiff(href) as data:
        crs, affine, shape, dtypes = data.crs, data.transform, data.shape, data.dtypes
    if crs is None or crs.to_epsg() != 4326:
        raise GranuleError(f"{displayed_href(href)}: found the CRS {crs}, expected EPSG:4326: fetch the tile again")
    if (shape, dtypes) != ((_SIDE, _SIDE), ("float32",)):
        found = f"{shape[0]} x {shape[1]} pixels of {', '.join(dtypes)}"
        raise GranuleError(
            f"{displayed_href(href)}: found {found}, expected {_SIDE} x {_SIDE} of float32: is it another product?"
        )
    pixel = _DEGREES / _SIDE
    named = (pixel, 0, west - pixel / 2, 0, -pixel, south + _DEGREES - pixel / 2)
    # a step that is a little off adds up along a side
    off = [abs(a - b) / pixel * factor for a, b, factor in zip(affine, named, (_SIDE, 1, 1, 1, _SIDE, 1), strict=False)]
    if max(off) > _OFF:
        raise GranuleError(
            f"{displayed_href(href)}: its transform is {tuple(affine)[:6]}, its name says {named}: "
            "one of the two is wrong; fetch it again"
        )
    return make_geobox(shape, affine, "EPSG:4326")
