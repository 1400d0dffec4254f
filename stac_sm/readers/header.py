"""Item against file: what the header says completes the item, and must not contradict it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyproj

from stac_sm.errors import CatalogError
from stac_sm.readers.source import RasterSource

_SAME = 1e-6  # of a pixel: how far the grids of item and file may be apart


def with_header(source: RasterSource) -> RasterSource:
    """The source, completed by the header of its file where the item says nothing about nodata, scale and offset.

    Where both state a scale or offset, the item's counts: an item can be mended, a published file cannot.

    Raises
    ------
    CatalogError
        If item and file disagree on anything that a reader would pass over in silence: names both.
    """
    import rasterio
    from rasterio.enums import MaskFlags

    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(source.href) as file:
        found = {
            "number of bands": (1, file.count),
            "shape": (tuple(source.geobox.shape), file.shape),
            "data type": (source.dtype, file.dtypes[0]),
            "nodata": (source.nodata, file.nodata),
            "EPSG code": (_epsg(str(source.geobox.crs)), file.crs.to_epsg() if file.crs else None),
            "mask band": (False, MaskFlags.per_dataset in file.mask_flag_enums[0]),
        }
        transform, nodata, scale, offset = file.transform, file.nodata, file.scales[0], file.offsets[0]
        dtype = file.dtypes[0]
    for what, (said, there) in found.items():
        if None not in (said, there) and said != there and str(said) != str(there):  # as text, NaN is NaN
            raise _contradiction(source, what, said, there)
    if not transform.almost_equals(source.geobox.affine, _SAME * abs(source.geobox.affine.a)):
        raise _contradiction(source, "transform", list(source.geobox.affine)[:6], list(transform)[:6])
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
