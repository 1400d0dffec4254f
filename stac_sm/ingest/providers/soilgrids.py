"""SoilGrids 2.0: soil properties at 0-5 cm, 250 m, on the Interrupted Goode Homolosine.

Files hold one property each, in integers that are kept as they are; the scale makes % of g/kg, kg dm-3 of cg/cm3 and
g/kg of dg/kg. An item is one property on one window, and the asset's key is the property. `formats.vrt` reads
mosaics of tiles, here or on the web.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from stac_sm.core.errors import GranuleError, InputError
from stac_sm.core.fingerprint import digest
from stac_sm.core.grid import crs_wkt, transformer_from_lonlat
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.variables import VARIABLES
from stac_sm.ingest.file_content import FileContent
from stac_sm.ingest.formats.vrt import Box, MosaicTile, TileMosaic, geotiff_mosaic, vrt_mosaic
from stac_sm.ingest.provider_interface import Download, Granule, RasterLayer, Recognition, ScannedFile
from stac_sm.raster.cog import CogProfile
from stac_sm.raster.resample import TargetPixels, source_window
from stac_sm.stac.items import raster_item
from stac_sm.storage.http.documents import FileUrl, fetch_file, validators

BBox = tuple[float, float, float, float]
"""West, south, east, north in degrees."""

HOMOLOSINE = "+proj=igh +lat_0=0 +lon_0=0 +datum=WGS84 +units=m +no_defs"
PIXEL, WEST, NORTH, SHAPE = 250.0, -19949750.0, 8361000.0, (58034, 159246)
"""The global mosaic: pixel, upper left corner (m), rows and columns."""

SCALES = {"sand": 0.1, "silt": 0.1, "clay": 0.1, "bdod": 0.01, "soc": 0.1}
"""Physical value = stored value x scale, by property."""

NODATA, DTYPE = -32768, "int16"
SAMPLED = Period(date(1905, 4, 1), date(2016, 7, 6))
"""Days on which the soil profiles were described that the maps are made of."""

_LARGEST = 1 << 28  # pixels of one item: half a gigabyte, a box of about 37 degrees
_OFF = 0.01  # of a pixel: how far a grid may be from that of the global mosaic
_BBOX_STEP = 0.02  # degrees between the points of a bbox that are looked up in the mosaic
_SEAMS_NORTH, _SEAMS_SOUTH = (-40.0,), (-100.0, -20.0, 80.0)  # degrees east at which the lobes are cut
_BESIDE = 1e-6  # degrees: a seam belongs to the lobe west of it
_NAME = re.compile(r"([a-z0-9]+)_([0-9]+-[0-9]+cm)_(mean|uncertainty|Q0\.\d+)([_.-]\w[\w.-]*)?\.(tif|vrt)")
_NAMES = "sand_0-5cm_mean.tif or .vrt, or sand_0-5cm_mean/tileSG-…/tileSG-….tif"


@dataclass(frozen=True)
class SoilGrids:
    """Properties at 0-5 cm: GeoTIFFs and tiles as WebDAV and WCS deliver them, VRTs over tiles, here or on the web."""

    collection: str = "soilgrids"
    """Id of the STAC collection."""

    bbox: BBox | None = None
    """West, south, east, north in degrees of the part that is read; None for all, where that is not too much."""

    patterns: tuple[str, ...] = ("*_0-5cm_mean*.tif", "*_0-5cm_mean.vrt", "tileSG-*.tif")
    """Names of its files."""

    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            "SoilGrids, 0-5 cm, mean, 250 m", "soilgrids", ("sand", "silt", "clay"), "none", "2.0", pixels=4448**2,
            bytes_a_pixel=6, times=1,
        ),
    )  # fmt: skip
    """What to download."""

    def __post_init__(self) -> None:
        if self.bbox is None:
            return
        west, south, east, north = self.bbox if len(self.bbox) == 4 else (0, 0, 0, 0)
        if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
            found = list(self.bbox)
            raise InputError(f"[sources.soilgrids] bbox: found {found}, west, south, east, north in degrees expected")

    def scan(self, file: Path) -> ScannedFile:
        """Return a property on the part of the file in ``bbox``: one item, or one a lobe where it meets several."""
        name = _property(file, str(file))
        return self._scan(name, _local_mosaic(file))

    def scan_url(self, url: FileUrl) -> ScannedFile:
        """Return the items of a mosaic or GeoTIFF on the web."""
        name = _property(Path(url.text), str(url))
        return self._scan(name, _remote_mosaic(url))

    def recognises(self, content: FileContent) -> Recognition | None:
        """Return whether a file is a map of a property: the names say which one, the file says none."""
        product = "SoilGrids"
        named = _NAME.fullmatch(content.name) is not None or content.name.startswith("tileSG-")
        if content.raster is not None and content.raster.crs and _is_homolosine(content.raster.crs):
            if named:
                return Recognition(product)
            why = f"its name does not say which property it holds: give it back its published name, {_NAMES}"
            return Recognition(product, refusal=why)
        return Recognition(product, by_name=True) if named else None

    def parts(self, file: Path) -> Sequence[Path]:
        """Return a VRT with those of its tiles that are read; the VRT for a tile that has one."""
        vrt = _vrt_above(file)
        if vrt is not None or file.suffix != ".vrt":
            return [vrt or file]
        try:
            mosaic = _local_mosaic(file)
            tiles = sorted({Path(tile.href) for tile in self._tiles(mosaic)})
        except GranuleError:  # it is reported when the file is scanned
            return [file]
        return [file, *(tile for tile in tiles if tile.is_file())]

    def url_checksum(self, url: FileUrl) -> str:
        """Return a digest of a VRT and the state of the tiles that are read, by the server; or of a GeoTIFF's state."""
        from concurrent.futures import ThreadPoolExecutor

        if not url.name.endswith(".vrt"):
            return digest(validators(url))
        content = fetch_file(url)
        mosaic = vrt_mosaic(str(url), content, _folder(url))
        tiles = [FileUrl(tile.href.removeprefix("/vsicurl/")) for tile in self._tiles(mosaic)]
        with ThreadPoolExecutor(8) as pool:
            states = dict(zip(map(str, tiles), pool.map(validators, tiles), strict=True))
        return digest([content.decode(errors="replace"), states])

    def _scan(self, name: str, mosaic: TileMosaic) -> ScannedFile:
        boxes = self._boxes(mosaic)
        if not boxes:
            return ScannedFile([], (f"lies outside bbox = {list(self.bbox or ())}: left out",))
        return ScannedFile([self._granule(name, mosaic, box) for box in boxes])

    def _granule(self, name: str, mosaic: TileMosaic, box: Box) -> Granule:
        geobox, variable = _geobox(mosaic)[box[0] : box[2], box[1] : box[3]], VARIABLES[name]
        try:
            item = raster_item(
                id=f"soilgrids-{name}-{_window_name(geobox)}",
                collection=self.collection,
                geobox=geobox,
                start=utc_instant(SAMPLED.start),
                end=utc_instant(SAMPLED.end),
            )
        except InputError as error:
            raise GranuleError(f"{mosaic.name}: {error}") from error
        profile = CogProfile(nodata=NODATA, scale=SCALES[name])
        layer = RasterLayer(variable, partial(_values, mosaic, box, name), geobox, profile)
        return Granule(item, {name: layer}, mosaic.rank)

    def _tiles(self, mosaic: TileMosaic) -> list[MosaicTile]:
        """Return the tiles that are read."""
        return list(dict.fromkeys(tile for box in self._boxes(mosaic) for tile in mosaic.tiles_in(box)))

    def _boxes(self, mosaic: TileMosaic) -> list[Box]:
        """Return the parts of a mosaic that are read: one for each lobe of the projection."""
        geobox = _geobox(mosaic)
        whole = (slice(0, mosaic.shape[0]), slice(0, mosaic.shape[1]))
        pieces = [] if self.bbox is None else _pieces(*self.bbox)
        windows = [source_window(geobox, TargetPixels(_degrees(piece))) for piece in pieces] if pieces else [whole]
        boxes = [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in filter(None, windows)]
        for top, left, bottom, right in boxes:
            if (bottom - top) * (right - left) > _LARGEST:
                raise GranuleError(
                    f"{mosaic.name}: {bottom - top} x {right - left} pixels found, at most {_LARGEST} expected: "
                    "set a smaller bbox = [west, south, east, north] under [sources.soilgrids]"
                )
        return [box for box in boxes if mosaic.tiles_in(box)] or boxes  # a lobe without tiles is sea


def _values(mosaic: TileMosaic, box: Box, name: str) -> np.ndarray:
    """Read stored values (y, x), int16; they must be possible, and not all missing."""
    stored = mosaic.read(box, NODATA)
    known = stored[stored != NODATA]
    if not known.size:
        raise GranuleError(f"{mosaic.name}: not one pixel with a value found, land expected: choose another part")
    low, high = (round(value / SCALES[name]) for value in VARIABLES[name].valid)
    if known.min() < low or known.max() > high:
        raise GranuleError(
            f"{mosaic.name}: {name} from {known.min()} to {known.max()} found, {low} to {high} expected, "
            f"nodata {NODATA}: is it another property, or in other units?"
        )
    return stored


def _property(file: Path, named: str) -> str:
    """Return the property that a file holds, by its own name or that of the mosaic's folder around it."""
    names = [file.name, *(f"{folder}.tif" for folder in file.parent.parts[:-3:-1])]
    match = next((found for name in names if (found := _NAME.fullmatch(name))), None)
    if match is None or (file.name != match[0] and not re.fullmatch(r"tileSG-[\d-]+(_\d-\d)?\.tif", file.name)):
        raise GranuleError(f"{named}: found the name {file.name}, expected {_NAMES}: is it another product?")
    if match[1] not in SCALES:
        raise GranuleError(
            f"{named}: found the property {match[1]!r}, expected one of {', '.join(SCALES)}: leave it out"
        )
    if (match[2], match[3]) != ("0-5cm", "mean"):
        raise GranuleError(f"{named}: found {match[3]} of {match[2]}, expected the mean of 0-5cm: leave it out")
    return match[1]


def _local_mosaic(file: Path) -> TileMosaic:
    if file.suffix != ".vrt":
        return geotiff_mosaic(str(file))
    try:
        return vrt_mosaic(str(file), file.read_bytes(), str(file.parent.absolute()))
    except OSError as error:
        raise GranuleError(f"{file}: cannot be read ({error}): check the file") from error


def _remote_mosaic(url: FileUrl) -> TileMosaic:
    if not url.name.endswith(".vrt"):
        return replace(geotiff_mosaic(url.href), name=str(url))
    return vrt_mosaic(str(url), fetch_file(url), _folder(url))


def _folder(url: FileUrl) -> str:
    return url.href.rpartition("/")[0]


def _vrt_above(file: Path) -> Path | None:
    """Return the VRT beside the mosaic's folder that a tile lies in."""
    if not file.name.startswith("tileSG-"):
        return None
    beside = (folder.with_name(f"{folder.name}.vrt") for folder in list(file.parents)[:2] if folder.name)
    return next((vrt for vrt in beside if vrt.is_file()), None)


def _geobox(mosaic: TileMosaic) -> GeoBox:
    """Return the grid of a mosaic: pixels of the global one, so that windows of several files fit together."""
    if not _is_homolosine(mosaic.crs):
        raise GranuleError(
            f"{mosaic.name}: found the CRS {mosaic.crs[:60] or None!r}, expected {HOMOLOSINE}: ask the server for that"
        )
    if (mosaic.dtype, mosaic.nodata) not in ((DTYPE, NODATA), (DTYPE, None)):
        found = f"{mosaic.dtype} with nodata {mosaic.nodata}"
        raise GranuleError(f"{mosaic.name}: found {found}, expected {DTYPE} with nodata {NODATA}: fetch it again")
    affine = mosaic.affine
    column, row = (affine.c - WEST) / PIXEL, (NORTH - affine.f) / PIXEL
    off = [abs(affine.a / PIXEL - 1) * mosaic.shape[1], abs(affine.e / PIXEL + 1) * mosaic.shape[0], affine.b, affine.d]
    if max(*off, abs(column - round(column)), abs(row - round(row))) > _OFF:
        raise GranuleError(
            f"{mosaic.name}: found the transform {tuple(affine)[:6]}, expected pixels of {PIXEL:g} m whose edges are "
            "multiples of that, north up: ask the server for such a window"
        )
    column, row = round(column), round(row)
    if min(row, column) < 0 or row + mosaic.shape[0] > SHAPE[0] or column + mosaic.shape[1] > SHAPE[1]:
        raise GranuleError(
            f"{mosaic.name}: its rows {row} to {row + mosaic.shape[0]} and columns {column} to "
            f"{column + mosaic.shape[1]} lie off the {SHAPE[0]} x {SHAPE[1]} of the mosaic: fetch it again"
        )
    placed = Affine(PIXEL, 0, WEST + column * PIXEL, 0, -PIXEL, NORTH - row * PIXEL)
    return GeoBox(mosaic.shape, placed, crs_wkt(HOMOLOSINE))


def _is_homolosine(crs: str) -> bool:
    """Return whether a CRS puts places where the Homolosine does: its name and code differ from file to file."""
    import pyproj

    lon, lat = np.array([-150.0, -70.0, 20.0, 150.0, -60.0, 10.0]), np.array([-30.0, -50.0, -10.0, -45.0, 55.0, 30.0])
    try:
        found = transformer_from_lonlat(crs_wkt(crs)).transform(lon, lat)
    except pyproj.exceptions.ProjError:
        return False
    return bool(np.allclose(found, transformer_from_lonlat(crs_wkt(HOMOLOSINE)).transform(lon, lat), rtol=0, atol=1e-3))


def _window_name(geobox: GeoBox) -> str:
    """Name the place of a window in the global mosaic: ``r{row}c{column}-{rows}x{columns}``."""
    row, column = round((NORTH - geobox.affine.f) / PIXEL), round((geobox.affine.c - WEST) / PIXEL)
    return f"r{row}c{column}-{geobox.shape[0]}x{geobox.shape[1]}"


def _pieces(west: float, south: float, east: float, north: float) -> list[BBox]:
    """Cut a box in degrees where the projection is cut: a window across a gap would be mostly gap."""
    halves = [(max(south, 0.0), north, _SEAMS_NORTH), (south, min(north, 0.0), _SEAMS_SOUTH)]
    cut = [(low, high, [seam for seam in seams if west < seam < east]) for low, high, seams in halves if low < high]
    if not any(seams for _, _, seams in cut):
        cut = [(south, north, [])]
    edges = [(low, high, pairwise([west, *seams, east])) for low, high, seams in cut]
    return [(left + _BESIDE, low, right, high) for low, high, pairs in edges for left, right in pairs]


def _degrees(bbox: BBox) -> GeoBox:
    """Build a grid of degrees on a box, fine enough to find its outermost places in another projection."""
    west, south, east, north = bbox
    rows, columns = (math.ceil(size / _BBOX_STEP) for size in (north - south, east - west))
    affine = Affine((east - west) / columns, 0, west, 0, (south - north) / rows, north)
    return GeoBox((rows, columns), affine, "EPSG:4326")
