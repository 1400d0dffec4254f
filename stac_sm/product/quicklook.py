"""Draw the small pictures of a tile-day or a mean: what a map draws, and a thumbnail with date and legend.

`product.item` and `product.aggregates` publish them beside the values, as the assets ``visual`` and ``thumbnail``. Both
have the colours of `core.colours`. A map draws ``visual``, a picture in degrees: the tiles themselves lie in the
sinusoidal projection, which no map in a web browser draws.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deflate
import numpy as np
from affine import Affine

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.colours import SOIL_MOISTURE_COLOURS, SOIL_MOISTURE_RANGE, soil_moisture_picture
from stac_sm.core.errors import InputError
from stac_sm.core.footprints import footprint
from stac_sm.core.grid import make_geobox
from stac_sm.core.projections import ground_sample_distance, projection_properties, transform_points
from stac_sm.product.file_text import COLOURS, file_text
from stac_sm.product.product_id import ProductId
from stac_sm.raster.cog import verified_asset, write_picture_cog
from stac_sm.stac.items import COG_MEDIA_TYPE
from stac_sm.stac.simulated import simulated_title

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

SIDE = 512
"""Pixels of ``visual`` along its longer side, at most."""

_RANGE = "{:g} to {:g} m3 m-3".format(*SOIL_MOISTURE_RANGE)
_THUMBNAIL = 256  # pixels, longest side of its map
_LEAST_WIDTH = 220  # pixels: a narrower thumbnail has no room for the legend
_SIMULATED = "SIMULATED"
_STRIP = 24  # pixels: height of date and legend
_GLYPHS = {
    "0": "0e11131519110e", "1": "040c040404040e", "2": "0e11010204081f", "3": "1f02040201110e", "4": "02060a121f0202",
    "5": "1f101e0101110e", "6": "0608101e11110e", "7": "1f010204080808", "8": "0e11110e11110e", "9": "0e11110f01020c",
    "-": "0000001f000000", ".": "00000000000c0c", "/": "00010204081000", "m": "00001a15151515", " ": "00000000000000",
    "S": "0f10100e01011e", "I": "0e04040404040e", "M": "111b1515111111", "U": "1111111111110e", "L": "1010101010101f",
    "A": "0e11111f111111", "T": "1f040404040404", "E": "1f10101e10101f", "D": "1e11111111111e",
}  # fmt: skip


def quicklook_assets(
    sm: np.ndarray, geobox: GeoBox, folder: Path, id: ProductId | None, *, simulated: bool = False
) -> dict[str, AssetFile]:
    """Write the assets ``visual`` and ``thumbnail`` of a soil moisture field.

    Parameters
    ----------
    sm
        (y, x) float32, m3 m-3, NaN where there is no value.
    geobox
        Its pixels.
    folder
        Existing folder for the files.
    id
        Span, tile and version, which the file of ``visual`` states; the thumbnail has the days. None: they have none.
    simulated
        Whether both say that they are simulated.

    Returns
    -------
    dict of str to AssetFile
        Asset key -> local file and the fields of the asset in the item.
    """
    thumbnail = folder / "thumbnail.png"
    picture = _with_legend(thinned_picture(sm), str(id.span) if id else "", _SIMULATED if simulated else "")
    thumbnail.write_bytes(encode_png(picture))
    preview = {"title": simulated_title(f"Preview, {_RANGE}", simulated), "type": "image/png", "roles": ["thumbnail"]}
    return {
        "visual": visual_asset(sm, geobox, folder, id, simulated=simulated),
        "thumbnail": AssetFile(thumbnail, ".png", preview),
    }


def visual_asset(
    sm: np.ndarray, geobox: GeoBox, folder: Path, id: ProductId | None, *, simulated: bool = False
) -> AssetFile:
    """Write the asset ``visual`` of a soil moisture field: its colours in degrees, for maps.

    Parameters
    ----------
    sm
        (y, x) float32, m3 m-3, NaN where there is no value.
    geobox
        Its pixels.
    folder
        Existing folder for the file.
    id
        Span, tile and version, which the file states; None: it does not.
    simulated
        Whether the file says that it is simulated.

    Returns
    -------
    AssetFile
        A COG of red, green, blue and alpha, at most `SIDE` pixels a side, EPSG:4326.
    """
    cells, file = cells_in_degrees(geobox), folder / "visual.tif"
    write_picture_cog(_in_degrees(sm, geobox), file, geobox=cells, text=file_text("visual", id, simulated=simulated))
    return verified_asset(file, _visual_fields(cells, simulated))


def _visual_fields(cells: GeoBox, simulated: bool) -> Mapping[str, Any]:
    """Return the fields of the asset in its item; its place is its own."""
    place = projection_properties(cells) | {"proj:wkt2": None, "proj:projjson": None}
    return {
        "title": simulated_title(f"Soil moisture in colours, {_RANGE}", simulated),
        "type": COG_MEDIA_TYPE,
        "roles": ["visual", "overview"],
        "bands": [{"name": name, "data_type": "uint8"} for name in COLOURS],
        "gsd": ground_sample_distance(cells),
        **place,
        "proj:bbox": list(cells.boundingbox.bbox),
    }


@lru_cache(maxsize=16)
def cells_in_degrees(geobox: GeoBox) -> GeoBox:
    """Return square cells in degrees that hold a GeoBox, as large as its pixels or larger: at most `SIDE` a side.

    Parameters
    ----------
    geobox
        Pixels in any CRS.

    Returns
    -------
    GeoBox
        EPSG:4326, north up.

    Raises
    ------
    InputError
        If it lies off the Earth.
    """
    outline = footprint(geobox)
    if outline is None:
        raise InputError(f"the box {geobox.boundingbox} lies off the Earth: choose another tile")
    west, south, east, north = outline.bounds
    cell = max((north - south) / geobox.shape[0], (north - south) / SIDE, (east - west) / SIDE)
    shape = (max(1, math.ceil((north - south) / cell - 1e-6)), max(1, math.ceil((east - west) / cell - 1e-6)))
    return make_geobox(shape, Affine(cell, 0, west, 0, -cell, north), "EPSG:4326")


def thinned_picture(sm: np.ndarray) -> np.ndarray:
    """Return a picture of a soil moisture field on its own pixels.

    Parameters
    ----------
    sm
        (y, x) float32, m3 m-3, NaN where there is no value.

    Returns
    -------
    numpy.ndarray
        (y, x, 4) uint8, red, green, blue, alpha; at most 256 pixels a side, transparent where NaN.
    """
    step = max(1, -(-max(sm.shape) // _THUMBNAIL))
    return soil_moisture_picture(sm[step // 2 :: step, step // 2 :: step])


def encode_png(picture: np.ndarray) -> bytes:
    """Encode a picture as PNG; the same picture gives the same bytes with the same version of libdeflate.

    Parameters
    ----------
    picture
        (y, x, 4) uint8, red, green, blue, alpha.

    Returns
    -------
    bytes
        Content of the file.
    """
    height, width = picture.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, -1)], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", bytes(deflate.zlib_compress(rows, 6))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in parts)


def _in_degrees(sm: np.ndarray, geobox: GeoBox) -> np.ndarray:
    """Return the picture on the cells of `cells_in_degrees`: each takes the pixel at its centre."""
    pixels = _pixels_of_cells(geobox)
    sampled = np.where(pixels >= 0, sm.ravel()[pixels], np.float32(np.nan))
    return soil_moisture_picture(sampled)


@lru_cache(maxsize=4)  # days of a tile follow one another
def _pixels_of_cells(geobox: GeoBox) -> np.ndarray:
    """Return the pixel, counted row by row, at the centre of each cell of `cells_in_degrees`; -1 if there is none."""
    cells = cells_in_degrees(geobox)
    (rows, columns), affine = cells.shape, cells.affine
    east, north = affine.c + affine.a * (np.arange(columns) + 0.5), affine.f + affine.e * (np.arange(rows) + 0.5)
    lon, lat = np.meshgrid(east, north)
    x, y = transform_points("OGC:CRS84", str(geobox.crs), lon, lat)
    place = ~geobox.affine
    with np.errstate(invalid="ignore"):
        column, row = np.floor(place.a * x + place.c), np.floor(place.e * y + place.f)
        inside = (column >= 0) & (column < geobox.shape[1]) & (row >= 0) & (row < geobox.shape[0])
    return np.where(inside, row * geobox.shape[1] + column, -1).astype(np.int32)


def _with_legend(picture: np.ndarray, days: str, mark: str) -> np.ndarray:
    """Return a thumbnail with a strip below: days, mark, colours and their range; a narrow one has the mark alone."""
    width = picture.shape[1]
    if width < _LEAST_WIDTH:
        return _marked(picture, mark) if mark else picture
    strip = np.full((_STRIP, width, 4), 255, np.uint8)
    low, high = (f"{end:.2f}" for end in SOIL_MOISTURE_RANGE)
    unit = " m3 m-3"
    left, right = 4 + 6 * len(low) + 2, width - 4 - 6 * len(high + unit) - 2
    _write(strip, 3, 4, days)
    _write(strip, 3, width - 4 - 6 * len(mark), mark)
    _write(strip, 14, 4, low)
    _write(strip, 14, right + 2, high + unit)
    strip[13:22, left:right, :3] = SOIL_MOISTURE_COLOURS[np.linspace(0, 255, right - left).round().astype(int)]
    return np.concatenate([picture, strip])


def _marked(picture: np.ndarray, mark: str) -> np.ndarray:
    """Return a narrow picture with a strip below that holds a mark, and is as wide as it needs."""
    missing = max(0, 6 * len(mark) + 7 - picture.shape[1])
    wide = np.pad(picture, ((0, 0), (0, missing), (0, 0)))  # transparent
    strip = np.full((13, wide.shape[1], 4), 255, np.uint8)
    _write(strip, 3, 4, mark)
    return np.concatenate([wide, strip])


def _write(strip: np.ndarray, row: int, column: int, text: str) -> None:
    for i, letter in enumerate(text):
        lines = np.frombuffer(bytes.fromhex(_GLYPHS[letter]), np.uint8)
        dark = (lines[:, None] >> np.arange(4, -1, -1)) & 1 == 1
        part = strip[row : row + 7, column + 6 * i : column + 6 * i + 5]
        part[dark[:, : part.shape[1]], :3] = 40


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
