"""Item against file: what the header says completes the item, and must not contradict it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyproj

from stac_sm.errors import CatalogError
from stac_sm.readers.source import RasterSource

_SAME = 1e-6  # of a pixel: how far the grids of item and file may be apart
_LARGEST_BLOCK = 1 << 28  # bytes that one block may decode to


def with_header(source: RasterSource, file_name: str = "") -> RasterSource:
    """The source, completed by the header of its file where the item says nothing about nodata, scale and offset.

    Where both state a scale or offset, the item's counts: an item can be mended, a published file cannot.

    Parameters
    ----------
    source
        What the item says.
    file_name
        Local copy of the file; without one, the href names a local file. Opened as TIFF or not at all.

    Raises
    ------
    CatalogError
        If item and file disagree on anything that a reader would pass over in silence: names both. If a block is so
        large that decoding it would exhaust memory.
    """
    import rasterio
    from rasterio.enums import MaskFlags

    name = file_name or source.href
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(name, driver="GTiff") as file:
        found = {
            "number of bands": (source.bands, file.count),
            "shape": (tuple(source.geobox.shape), file.shape),
            "data type": (source.dtype, file.dtypes[0]),
            "nodata": (source.nodata, file.nodata),
            "EPSG code": (_epsg(str(source.geobox.crs)), file.crs.to_epsg() if file.crs else None),
            "projection": (_meaning(str(source.geobox.crs)), _meaning(file.crs.to_wkt()) if file.crs else None),
            "mask band": (False, MaskFlags.per_dataset in file.mask_flag_enums[0]),
        }
        transform, nodata = file.transform, file.nodata
        scale, offset = file.scales[source.band - 1], file.offsets[source.band - 1]
        dtype = file.dtypes[0]
        block = math.prod(file.block_shapes[0]) * np.dtype(dtype).itemsize * file.count
    for what, (said, there) in found.items():
        if None not in (said, there) and said != there and str(said) != str(there):  # as text, NaN is NaN
            raise _contradiction(source, what, said, there)
    if not transform.almost_equals(source.geobox.affine, _SAME * abs(source.geobox.affine.a)):
        raise _contradiction(source, "transform", list(source.geobox.affine)[:6], list(transform)[:6])
    if block > _LARGEST_BLOCK:
        raise CatalogError(
            f"item {source.item_id!r}, asset {source.asset!r}: blocks of {block} bytes in {source.href}, at most "
            f"{_LARGEST_BLOCK} wanted: write the file anew with blocks of 512 x 512 pixels"
        )
    return replace(
        source,
        dtype=dtype if source.dtype is None else source.dtype,
        nodata=nodata if source.nodata is None else source.nodata,
        scale=scale if source.scale is None else source.scale,
        offset=offset if source.offset is None else source.offset,
    )


def _contradiction(source: RasterSource, what: str, said: Any, there: Any) -> CatalogError:
    return CatalogError(
        f"item {source.item_id!r}, asset {source.asset!r}: {what} {said} in the item, {there} in {source.href}: "
        "mend the item, or ingest the file again"
    )


def _epsg(crs: str) -> int | None:
    code = pyproj.CRS.from_user_input(crs).to_epsg()
    return None if code is None else int(code)


def _meaning(crs: str) -> str | None:
    """What makes the numbers of a CRS without EPSG code, names apart: two codes are compared as codes."""
    known = pyproj.CRS.from_user_input(crs)
    if known.to_epsg() is not None or known.ellipsoid is None:
        return None
    operation = known.coordinate_operation
    parameters = operation.params if operation else []
    numbers = {p.name: round(float(p.value) * p.unit_conversion_factor, 9) for p in parameters}
    used = ", ".join(f"{name} {number:g}" for name, number in sorted(numbers.items()) if number)
    method = operation.method_name if operation else "degrees"
    return f"{method} on a semi-major axis of {known.ellipsoid.semi_major_metre:.3f} m ({used})"
