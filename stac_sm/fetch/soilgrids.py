"""SoilGrids by the Web Coverage Service of ISRIC (WCS 2.0.1): windows of the global mosaic, on its own pixels.

Windows are blocks of 2048 x 2048 pixels of the mosaic, so that the same place is the same request whatever box asked
for it, and no answer is larger than 8 MB.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from affine import Affine

from stac_sm.core.errors import InputError
from stac_sm.core.grid import make_geobox
from stac_sm.core.homolosine import HOMOLOSINE, NORTH, PIXEL, SHAPE, WEST, degrees_grid, split_at_lobes
from stac_sm.core.places import BBox
from stac_sm.core.projections import crs_wkt
from stac_sm.fetch.era5_land import areas
from stac_sm.fetch.request import EmptyAnswerError, Listing, Request, Say, Selection
from stac_sm.fetch.transfer import http_opener, save
from stac_sm.raster.resample import TargetPixels, source_window

SERVICE = "https://maps.isric.org/mapserv"
SERVICE_VARIABLE = "STAC_SM_SOILGRIDS_URL"
"""Variable of the environment: another address of the service."""

BLOCK = 2048
"""Rows and columns of a window."""

_CRS = "http://www.opengis.net/def/crs/EPSG/0/152160"  # how the service calls the Homolosine
_DEPTH = "0-5cm"
_TEXTURE = ("sand", "silt", "clay")
_COLLECTION = "soilgrids"

Block = tuple[int, int]
"""First row and column in the global mosaic."""


@dataclass(frozen=True)
class SoilGridsSource:
    """Means of soil properties, GeoTIFF."""

    collections: tuple[str, ...] = (_COLLECTION,)
    """Where its files go."""

    def listing(self, selection: Selection) -> Listing:
        """Return one request for each property, depth and block. The service states no size before it sends."""
        assets = list(selection.assets.get(_COLLECTION, ()))
        # gaps of texture are 0 there, and sand, silt and clay together say which 0 is one
        assets = list(dict.fromkeys([*assets, *(_TEXTURE if {*assets} & {*_TEXTURE} else ())]))
        if not assets:
            raise InputError("soilgrids: the recipe takes nothing of the collection soilgrids: nothing to fetch")
        boxes = areas(selection.boxes)
        windows = blocks(boxes)
        requests, held = list[Request](), 0
        for asset in assets:
            there = self._held(selection, asset, boxes, windows)
            held += len(there)
            requests += [_request(selection, asset, block) for block in windows if block not in there]
        return Listing(requests, held)

    def _held(self, selection: Selection, asset: str, boxes: list[BBox], windows: list[Block]) -> set[Block]:
        """Return the blocks that items of the catalogue cover."""
        found = set[Block]()
        for item in selection.catalog.items(_COLLECTION):
            west, south, east, north = item.bbox or (0, 0, 0, 0)
            place, shape = item.properties.get("proj:transform"), item.properties.get("proj:shape")
            if asset not in item.assets or not place or not shape:
                continue
            if abs(place[0]) < 1:  # in degrees
                if all(west <= b[0] and south <= b[1] and east >= b[2] and north >= b[3] for b in boxes):
                    return set(windows)
                continue
            row, column = round((NORTH - place[5]) / PIXEL), round((place[2] - WEST) / PIXEL)
            found |= {
                block
                for block in windows
                if row <= block[0]
                and column <= block[1]
                and row + shape[0] >= min(block[0] + BLOCK, SHAPE[0])
                and column + shape[1] >= min(block[1] + BLOCK, SHAPE[1])
            }
        return found


def blocks(boxes: Iterable[BBox]) -> list[Block]:
    """Return the blocks of the global mosaic that meet boxes.

    Parameters
    ----------
    boxes
        West, south, east, north in degrees, west below east.

    Returns
    -------
    list of tuple
        First row and column of each, in order.
    """
    mosaic = make_geobox(SHAPE, Affine(PIXEL, 0, WEST, 0, -PIXEL, NORTH), crs_wkt(HOMOLOSINE))
    found = set[Block]()
    for box in boxes:
        for piece in split_at_lobes(*box):
            window = source_window(mosaic, TargetPixels(degrees_grid(piece)))
            if window is None:
                continue
            rows, columns = ((one.start // BLOCK, (one.stop - 1) // BLOCK) for one in window)
            found |= {
                (row * BLOCK, column * BLOCK)
                for row in range(rows[0], rows[1] + 1)
                for column in range(columns[0], columns[1] + 1)
            }
    return sorted(found)


def _request(selection: Selection, asset: str, block: Block) -> Request:
    name, _, depth = asset.partition("_")
    coverage = f"{name}_{depth or _DEPTH}_mean"
    rows, columns = min(BLOCK, SHAPE[0] - block[0]), min(BLOCK, SHAPE[1] - block[1])
    file = selection.folder / f"{coverage}_r{block[0]}c{block[1]}.tif"
    return Request(
        "soilgrids",
        f"{coverage}, rows {block[0]} to {block[0] + rows}, columns {block[1]} to {block[1] + columns}",
        file,
        partial(_carry_out, coverage, block, (rows, columns)),
        estimate=2 * rows * columns,
    )


def _carry_out(coverage: str, block: Block, shape: tuple[int, int], file: Path, say: Say) -> None:
    west, north = WEST + block[1] * PIXEL, NORTH - block[0] * PIXEL
    east, south = west + shape[1] * PIXEL, north - shape[0] * PIXEL
    query = [
        ("map", f"/map/{coverage.partition('_')[0]}.map"),
        ("SERVICE", "WCS"),
        ("VERSION", "2.0.1"),
        ("REQUEST", "GetCoverage"),
        ("COVERAGEID", coverage),
        ("FORMAT", "image/tiff"),
        ("SUBSET", f"X({west:.0f},{east:.0f})"),
        ("SUBSET", f"Y({south:.0f},{north:.0f})"),
        ("SUBSETTINGCRS", _CRS),
        ("OUTPUTCRS", _CRS),
    ]
    service = os.environ.get(SERVICE_VARIABLE) or SERVICE
    asked = "&".join(f"{key}={quote(value, safe='/:,()')}" for key, value in query)
    save(file, http_opener(f"{service}?{asked}", root=None), check=partial(_check, coverage, shape))


def _check(coverage: str, shape: tuple[int, int], file: Path) -> None:
    """Refuse what is no whole window of integers; one without a single value is the sea."""
    import rasterio
    from rasterio.errors import RasterioError

    with file.open("rb") as content:
        start = content.read(4096)
    if start.lstrip()[:1] == b"<":
        said = re.search(rb"<(?:\w+:)?ExceptionText>(.*?)</", start, re.DOTALL)
        detail = said[1].decode(errors="replace").strip()[:200] if said else "an XML document"
        raise InputError(f"{coverage}: the service sent no map but: {detail}: run the same command again later")
    try:
        with rasterio.open(file, driver="GTiff") as data:
            found, nodata = (data.shape, data.count), data.nodata
            values = data.read(1)
    except RasterioError as error:
        raise InputError(f"{coverage}: a GeoTIFF that cannot be read came ({error}): run the command again") from error
    if found != (shape, 1):
        raise InputError(f"{coverage}: {found[0]} pixels in {found[1]} bands came, {shape} in 1 required")
    if not ((values != 0) & (values != -32768) & (values != (0 if nodata is None else nodata))).any():
        raise EmptyAnswerError(f"{coverage}: no value there: sea, ice or bare rock")
