"""Copernicus DEM GLO-30 and GLO-90: 1 degree tiles of elevation, and the slope and aspect derived from them.

The pipeline of ingest scans each GeoTIFF here. `terrain` derives slope and aspect when the assets are written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from stac_sm.core.errors import GranuleError
from stac_sm.core.grid import make_geobox
from stac_sm.core.period import Period, utc_instant
from stac_sm.ingest.file_content import FileContent, RasterContent, describe_file
from stac_sm.ingest.formats.geotiff import geotiff_rank, open_geotiff, read_heights
from stac_sm.ingest.provider_interface import Download, Granule, Recognition, ScannedFile
from stac_sm.ingest.terrain import terrain_layers
from stac_sm.stac.items import raster_item

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

ACQUIRED = Period(date(2010, 12, 1), date(2016, 1, 1))
"""Days on which TanDEM-X took the images that the DEM is made of."""


@dataclass(frozen=True)
class CopDem:
    """Tiles as they lie in the open buckets ``copernicus-dem-30m`` and ``copernicus-dem-90m``."""

    collection: str = "cop-dem"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("Copernicus_DSM_COG_*_DEM.tif",)
    """Names of its files."""

    downloads: ClassVar[tuple[Download, ...]] = (
        Download("Copernicus DEM GLO-90", "cop-dem", ("DEM",), "none", pixels=12000**2, bytes_a_pixel=4, times=1),
    )
    """What to download."""

    def scan(self, file: Path) -> ScannedFile:
        """Return one item: a tile with elevation, slope and aspect."""
        name = _published_name(file)
        south, west = _corner(file, name)
        geobox = _geobox(file)
        _check_place(file, geobox, south, west)
        item = raster_item(
            id=_item_id(name),
            collection=self.collection,
            geobox=geobox,
            start=utc_instant(ACQUIRED.start),
            end=utc_instant(ACQUIRED.end),
        )
        layers = terrain_layers(partial(read_heights, str(file)), geobox)
        return ScannedFile([Granule(item, layers, geotiff_rank(str(file)))])

    def claims(self, file: Path) -> list[str]:
        """Return the id of the item of a file, by its published name."""
        return [_item_id(_published_name(file))]

    def recognises(self, content: FileContent) -> Recognition | None:
        """Return whether a file is a tile, by its grid; the heights themselves do not say whose they are."""
        product = "Copernicus DEM"
        found = "" if content.raster is None or _OTHERS.search(content.name) else _name_of_grid(content.raster)
        if found:
            return Recognition(f"{product} ({found}, by its grid)")
        return Recognition(product, by_name=True) if _NAME.fullmatch(content.name) else None


_NAME = re.compile(r"Copernicus_DSM_COG_(?:10|30)_([NS])(\d\d)_00_([EW])(\d{3})_00_DEM\.tif")
_ROWS = {3600: "10", 1200: "30"}
"""Rows of a tile of GLO-30 and GLO-90, and what their names have for it: the pixel in tenths of arc seconds."""
_OTHERS = re.compile(r"fabdem|_(edm|flm|hem|wbm|slope|aspect|lulc)\b", re.IGNORECASE)
"""Names of other maps on the same grid, which nothing in the file tells apart."""


def _published_name(file: Path) -> str:
    """Return the name of a tile as published: its own, or the one that its grid stands for; else its own."""
    if _NAME.fullmatch(file.name) or _OTHERS.search(file.name):
        return file.name
    raster = describe_file(file).raster
    return (_name_of_grid(raster) if raster is not None else "") or file.name


def _name_of_grid(raster: RasterContent) -> str:
    """Return the name of the tile that has a grid; empty if none has.

    No other DEM has floating-point heights, 3600 or 1200 rows a degree, and centres on whole degrees.
    """
    affine, (rows, columns) = raster.affine, raster.shape
    if rows not in _ROWS or raster.epsg != 4326 or raster.dtypes != ("float32",) or affine.b or affine.d:
        return ""
    south, west = affine.f + affine.e * (rows + 0.5), affine.c + affine.a / 2
    off = (south - round(south), west - round(west), -affine.e * rows - 1, affine.a * columns - 1)
    if max(map(abs, off)) > 0.1 / rows:
        return ""
    south, west = round(south), round(west)
    place = f"{'N' if south >= 0 else 'S'}{abs(south):02d}_00_{'E' if west >= 0 else 'W'}{abs(west):03d}_00"
    return f"Copernicus_DSM_COG_{_ROWS[rows]}_{place}_DEM.tif"


def _item_id(name: str) -> str:
    return name.removesuffix(".tif").removesuffix("_DEM")


def _corner(file: Path, name: str) -> tuple[int, int]:
    """Return degrees north and east of the south-west corner in a published name."""
    match = _NAME.fullmatch(name)
    if match is None:
        example = "Copernicus_DSM_COG_30_N46_00_E011_00_DEM.tif"
        raise GranuleError(f"{file}: found the name {file.name}, expected one like {example}: is it another product?")
    south, west = int(match[2]), int(match[4])
    return (south if match[1] == "N" else -south), (west if match[3] == "E" else -west)


def _geobox(file: Path) -> GeoBox:
    with open_geotiff(str(file)) as data:
        crs, affine, shape, count = data.crs, data.transform, data.shape, data.count
    if crs is None or crs.to_epsg() != 4326 or count != 1 or affine.b or affine.d or affine.a <= 0 or affine.e >= 0:
        raise GranuleError(
            f"{file}: found {count} band(s) in {crs} with transform {tuple(affine)[:6]}, "
            "expected one band in EPSG:4326, north up: fetch the tile again"
        )
    return make_geobox(shape, affine, "EPSG:4326")


def _check_place(file: Path, geobox: GeoBox, south: int, west: int) -> None:
    """Compare the georeference with the name, to one pixel: centres lie on whole degrees, edges half a pixel off."""
    box, (dx, dy) = geobox.boundingbox, (geobox.affine.a, -geobox.affine.e)
    off_x = max(abs(box.left - west), abs(box.right - west - 1)) / dx
    off_y = max(abs(box.bottom - south), abs(box.top - south - 1)) / dy
    if max(off_x, off_y) > 1:
        found = ", ".join(f"{value:.4f}" for value in (box.left, box.bottom, box.right, box.top))
        raise GranuleError(
            f"{file}: its georeference says west, south, east, north {found}, its name {west}, {south}, {west + 1}, "
            f"{south + 1}: one of the two is wrong; fetch it again"
        )
