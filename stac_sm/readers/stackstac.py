"""Native windows by stackstac.

stackstac's public door takes a CRS by EPSG code only, and the sinusoidal grid has none. The layer below it,
``items_to_dask``, takes a table of assets and a grid. It is no public API: stackstac is pinned, and this module is
the only one that knows it. Given the file's own grid, stackstac reads the file as it is, without a warped VRT.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyproj

from stac_sm.readers.source import RasterSource, Window


def read(source: RasterSource, window: Window) -> Any:
    """Lazy dask array (y, x) of the stored values in a window of a file; a failed read raises."""
    from stackstac.prepare import ASSET_TABLE_DT
    from stackstac.raster_spec import RasterSpec
    from stackstac.to_dask import items_to_dask

    box, dtype = source.geobox.boundingbox, np.dtype(source.dtype)
    bounds = (box.left, box.bottom, box.right, box.top)
    table = np.full((1, 1), None, dtype=ASSET_TABLE_DT)
    table["url"], table["bounds"], table["scale_offset"] = _url(source), bounds, (1, 0)
    stack = items_to_dask(
        table,
        RasterSpec(_epsg(source), bounds, (source.geobox.affine.a, -source.geobox.affine.e)),
        chunksize=(1, 1, *(_around(part, size) for part, size in zip(window, source.geobox.shape, strict=True))),
        dtype=dtype,
        fill_value=dtype.type(0 if source.nodata is None else source.nodata),
        rescale=False,
    )
    return stack[0, 0, window[0], window[1]]


def _url(source: RasterSource) -> str:
    """stackstac reads files of one band only: of more, GDAL shows it one (a VRT of our own making)."""
    return source.href if source.bands == 1 else f"vrt://{source.href}?bands={source.band}"


def _epsg(source: RasterSource) -> int | None:
    """EPSG code as stackstac compares it with the file's; None on both sides reads the file as it is."""
    return pyproj.CRS.from_user_input(str(source.geobox.crs)).to_epsg()


def _around(part: slice, size: int) -> tuple[int, ...]:
    """Chunks that make a window one chunk: what lies before and after is never computed."""
    return tuple(n for n in (part.start, part.stop - part.start, size - part.stop) if n)
