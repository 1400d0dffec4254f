"""Mosaics of GeoTIFF tiles, as a VRT describes them; one GeoTIFF is a mosaic of itself.

The provider of SoilGrids reads through here. A VRT is untrusted: of all that GDAL would do for it, only tiles at
relative paths beside it are understood, and `open_geotiff` opens them as GeoTIFF. So a VRT can name no other machine,
no ``file:``, no ``/vsi…``, and no other driver.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine

from stac_sm.core.errors import GranuleError
from stac_sm.ingest.formats.geotiff import displayed_href, open_geotiff, rank_of_tags
from stac_sm.ingest.rank import NO_RANK, Rank

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

Box = tuple[int, int, int, int]
"""First row, first column, end of rows, end of columns."""

_READS = 8  # tiles that are read at once, since most of a read from the web is waiting
_PARTS = {"SourceFilename", "SourceBand", "SourceProperties", "SrcRect", "DstRect", "NODATA", "OpenOptions"}
_OFF = 0.1  # pixels: largest distance between a tile and its place in the mosaic


@dataclass(frozen=True)
class MosaicTile:
    """A file, and its place in the mosaic."""

    href: str
    """Path or GDAL address of the file."""

    source: Box
    """Its pixels that are used."""

    target: Box
    """The pixels of the mosaic that they fill; where they are fewer, each is repeated."""

    @property
    def coarse(self) -> bool:
        """Whether its pixels are larger than the mosaic's."""
        return _size(self.source) != _size(self.target)


@dataclass(frozen=True)
class TileMosaic:
    """Tiles of one grid; nothing is read before `read`."""

    name: str
    """Path or address, for messages."""

    crs: str
    """CRS as WKT; empty if it has none."""

    affine: Affine
    """Affine of the pixels."""

    shape: tuple[int, int]
    """Rows and columns."""

    dtype: str
    """Data type of the stored values."""

    nodata: float | None
    """Stored value of pixels without data; None if the VRT states none."""

    tiles: tuple[MosaicTile, ...]
    """Files and their places."""

    rank: Rank = NO_RANK
    """What its header states about its production."""

    band: int = 1
    """Band of the files that is read."""

    bands: int = 1
    """Bands that the files have."""

    description: str = ""
    """Description of the band; empty if it has none."""

    def tiles_in(self, box: Box) -> list[MosaicTile]:
        """Return the tiles that have pixels in a part of the mosaic."""
        return [tile for tile in self.tiles if _common(tile.target, box) is not None]

    def read(self, box: Box, nodata: float) -> np.ndarray:
        """Read the stored values of a part of the mosaic.

        Coarse tiles fill only pixels that no other tile covers, whatever the order of the tiles.

        Parameters
        ----------
        box
            Pixels of the mosaic.
        nodata
            Value of pixels without data in the result; tiles may have no other.

        Returns
        -------
        numpy.ndarray
            (y, x), data type of the mosaic.

        Raises
        ------
        GranuleError
            If a tile cannot be read, or is not as the mosaic says.
        """
        result = np.full(_size(box), nodata, self.dtype)
        tiles = self.tiles_in(box)
        with ThreadPoolExecutor(_READS) as pool:
            read = dict(zip(tiles, pool.map(lambda tile: self._read(tile, box, nodata), tiles), strict=True))
        for coarse in (True, False):
            layer = [(_inside(tile.target, box), part) for tile, part in read.items() if tile.coarse is coarse]
            for where, _ in layer:
                result[where] = nodata
            for where, part in layer:
                result[where] = np.where(_same(part, nodata), result[where], part)
        return result

    def _read(self, tile: MosaicTile, box: Box, nodata: float) -> np.ndarray:
        """Read the pixels of a tile that lie in a box, on the mosaic's grid."""
        part_of_box = _common(tile.target, box) or tile.target
        rows = _nearest(part_of_box[0], part_of_box[2], tile.target[0::2], tile.source[0::2])
        columns = _nearest(part_of_box[1], part_of_box[3], tile.target[1::2], tile.source[1::2])
        with open_geotiff(tile.href) as data:
            self._check(tile, data, nodata)
            window = ((int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1))
            part = data.read(self.band, window=window)
        return np.asarray(part[np.ix_(rows - rows[0], columns - columns[0])])

    def _check(self, tile: MosaicTile, data: Any, nodata: float) -> None:
        """Compare a tile's header with the mosaic."""
        found = (data.count, data.dtypes[0], data.nodata)
        if found[:2] != (self.bands, self.dtype) or not (found[2] is None or _same(found[2], nodata)):
            raise GranuleError(
                f"{displayed_href(tile.href)}: found {found[0]} band(s) of {found[1]} with nodata {found[2]}, "
                f"expected {'one' if self.bands == 1 else self.bands} of {self.dtype} with nodata {nodata}: fetch it "
                "again"
            )
        x, y = self.affine @ (tile.target[1], tile.target[0])
        column, row = ~data.transform @ (x, y)
        slack = 1 if tile.coarse else _OFF  # the corner of a coarse tile is not on the mosaic's grid
        off = max(abs(column - tile.source[1]), abs(row - tile.source[0]))
        if off > slack or data.height < tile.source[2] or data.width < tile.source[3]:
            raise GranuleError(
                f"{displayed_href(tile.href)}: {data.height} x {data.width} pixels with transform "
                f"{tuple(data.transform)[:6]} "
                f"found, another place and size in {self.name}: one of the two is wrong; fetch both again"
            )


def geotiff_mosaics(href: str) -> list[TileMosaic]:
    """Return the mosaic of a single GeoTIFF for each of its bands.

    Parameters
    ----------
    href
        Path or GDAL address.

    Returns
    -------
    list of TileMosaic
        In the order of the bands.

    Raises
    ------
    GranuleError
        If it cannot be opened.
    """
    with open_geotiff(href) as data:
        box = (0, 0, data.height, data.width)
        head = (displayed_href(href), data.crs.to_wkt() if data.crs else "", data.transform, data.shape)
        tile, rank = (MosaicTile(href, box, box),), rank_of_tags(data.tags())
        bands = zip(data.indexes, data.dtypes, data.nodatavals, data.descriptions, strict=True)
        return [
            TileMosaic(*head, str(dtype), nodata, tile, rank, band, data.count, description or "")
            for band, dtype, nodata, description in bands
        ]


def vrt_mosaic(name: str, content: bytes, folder: str) -> TileMosaic:
    """Parse the mosaic of a VRT.

    Parameters
    ----------
    name
        Path or address of the VRT, for messages.
    content
        Its bytes.
    folder
        Folder of its tiles as GDAL finds it; their paths are relative to it.

    Returns
    -------
    TileMosaic
        The mosaic; no tile is opened.

    Raises
    ------
    GranuleError
        If it is anything else than a plain mosaic of one band.
    """
    from xml.etree import ElementTree

    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise GranuleError(f"{name}: found an XML document type, a plain VRT expected: fetch it again")
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise GranuleError(f"{name}: {len(content)} bytes found, no readable VRT ({error}): fetch it again") from error
    bands = root.findall("VRTRasterBand")
    if root.tag != "VRTDataset" or len(bands) != 1 or root.get("subClass") or bands[0].get("subClass"):
        raise GranuleError(
            f"{name}: found <{root.tag}> of {len(bands)} band(s), a VRT mosaic of one band expected: write it as a "
            "GeoTIFF (gdal_translate)"
        )
    try:
        return TileMosaic(
            name,
            (root.findtext("SRS") or "").strip(),
            Affine.from_gdal(*map(float, (root.findtext("GeoTransform") or "").split(","))),
            (int(root.get("rasterYSize", "")), int(root.get("rasterXSize", ""))),
            bands[0].get("dataType", "Byte").lower(),
            None if bands[0].findtext("NoDataValue") is None else float(bands[0].findtext("NoDataValue") or ""),
            tuple(_tiles(name, bands[0], folder)),
        )
    except (TypeError, ValueError) as error:
        raise GranuleError(f"{name}: its sizes or its transform are not numbers ({error}): fetch it again") from error


def _tiles(name: str, band: Element, folder: str) -> Iterator[MosaicTile]:
    for element in band:
        if not element.tag.endswith("Source"):
            continue
        extra = {child.tag for child in element} - _PARTS
        if element.tag not in {"SimpleSource", "ComplexSource"} or extra or element.findtext("SourceBand", "1") != "1":
            raise GranuleError(f"{name}: found <{element.tag}> {' '.join(sorted(extra))}, plain tiles expected")
        source, target = (_rectangle(element.find(key)) for key in ("SrcRect", "DstRect"))
        if min(*_size(source), *_size(target), *source, *target) < 0 or 0 in (*_size(source), *_size(target)):
            raise GranuleError(f"{name}: found a tile at {source} for {target}, pixels inside expected: fetch it again")
        yield MosaicTile(f"{folder}/{_relative(name, element)}", source, target)


def _relative(name: str, element: Element) -> str:
    """Return the path of a tile below the folder of the VRT."""
    found = element.find("SourceFilename")
    path, relative = ("", False) if found is None else ((found.text or "").strip(), found.get("relativeToVRT") == "1")
    path = path.removeprefix("./")
    if not relative or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*\.tiff?", path, re.ASCII) or ".." in path.split("/"):
        raise GranuleError(
            f"{name}: found a tile at {path!r}, a GeoTIFF at a path relative to the VRT expected: give the address of "
            "the provider's VRT with bbox = [west, south, east, north], build one beside the tiles, or write it as a "
            "GeoTIFF (gdal_translate)"
        )
    return path


def _rectangle(element: Element | None) -> Box:
    if element is None:
        raise ValueError("SrcRect or DstRect missing")
    left, top, width, height = (round(float(element.get(key, ""))) for key in ("xOff", "yOff", "xSize", "ySize"))
    return (top, left, top + height, left + width)


def _nearest(first: int, end: int, target: tuple[int, ...], source: tuple[int, ...]) -> np.ndarray:
    """Return the source pixel of each target pixel along an axis."""
    along = (np.arange(first, end) + 0.5 - target[0]) / (target[1] - target[0])
    return np.floor(source[0] + along * (source[1] - source[0])).astype(np.intp)


def _common(one: Box, other: Box) -> Box | None:
    top, left, bottom, right = (*map(max, one[:2], other[:2]), *map(min, one[2:], other[2:]))
    return (top, left, bottom, right) if top < bottom and left < right else None


def _inside(target: Box, box: Box) -> tuple[slice, slice]:
    """Return the place of the common part of a tile and a box, in the box."""
    top, left, bottom, right = _common(target, box) or (box[0], box[1], box[0], box[1])
    return slice(top - box[0], bottom - box[0]), slice(left - box[1], right - box[1])


def _same(values: Any, nodata: float) -> Any:
    """Return whether values are those without data, which may be marked by NaN."""
    return np.isnan(values) if np.isnan(nodata) else values == nodata


def _size(box: Box) -> tuple[int, int]:
    return box[2] - box[0], box[3] - box[1]
