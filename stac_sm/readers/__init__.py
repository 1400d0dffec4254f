"""Readers: windows of native pixels, by stackstac or odc-stac.

A reader delivers stored values on the grid of the file and nothing else: no warping, no scaling, no masking. What a
value means (scale, offset, nodata) and where it goes (``stac_sm.regrid``) is decided by us, in one place, so that
both readers give the same cube, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyproj
import pystac
from affine import Affine
from odc.geo.geobox import GeoBox

from stac_sm.errors import CatalogError, InputError
from stac_sm.grid import crs_wkt

Window = tuple[slice, slice]


@dataclass(frozen=True)
class RasterSource:
    """One band of one asset of one item, as its metadata say it is."""

    item_id: str
    """Id of the item."""

    asset: str
    """Asset key."""

    href: str
    """Where the file is."""

    geobox: GeoBox
    """Shape, affine and CRS of the file."""

    dtype: str
    """Data type of the stored values."""

    nodata: float | None
    """Stored value of pixels without data."""

    scale: float
    """Physical value = stored value x scale + offset."""

    offset: float
    """See ``scale``."""

    checksum: str
    """``file:checksum``, else time of update, else empty."""

    item_href: str = ""
    """Where the item is."""

    def physical(self, stored: np.ndarray) -> np.ndarray:
        """Physical values of stored ones: float32, NaN where there is no data."""
        values = stored.astype(np.float64) * self.scale + self.offset
        if self.nodata is not None:
            values[stored == np.asarray(self.nodata).astype(stored.dtype)] = np.nan
        return values.astype(np.float32)


class Reader(Protocol):
    """Reads windows of native pixels.

    A read that fails raises; it never gives nodata.
    """

    def __call__(self, source: RasterSource, window: Window) -> Any:
        """Lazy dask array (y, x) of the stored values in a window that lies inside the file."""


def reader(name: str) -> Reader:
    """Reader of a name: ``stackstac`` or ``odc``.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in READERS:
        raise InputError(f"reader {name!r} is unknown: known are {', '.join(READERS)}")
    return READERS[name]()


def raster_source(item: pystac.Item, key: str) -> RasterSource:
    """What an item says about one of its one-band assets.

    Raises
    ------
    CatalogError
        If the asset or a field that is needed is missing: names it.
    """
    if key not in item.assets:
        raise CatalogError(f"item {item.id!r} has no asset {key!r}: it has {', '.join(item.assets) or 'none'}")
    asset = item.assets[key]
    fields = {**item.properties, **asset.extra_fields}
    band = _band(item, key, asset)
    return RasterSource(
        item_id=item.id,
        asset=key,
        href=asset.get_absolute_href() or asset.href,
        geobox=_geobox(item, key, fields),
        dtype=_data_type(item, key, band),
        nodata=_number(band.get("nodata")),
        scale=float(band.get("raster:scale", band.get("scale", 1.0))),
        offset=float(band.get("raster:offset", band.get("offset", 0.0))),
        checksum=str(fields.get("file:checksum") or item.properties.get("updated") or ""),
        item_href=item.get_self_href() or "",
    )


def _band(item: pystac.Item, key: str, asset: pystac.Asset) -> dict[str, Any]:
    """The one band: STAC 1.1 ``bands``, STAC 1.0 ``raster:bands``, or fields of the asset itself."""
    bands = asset.extra_fields.get("bands") or asset.extra_fields.get("raster:bands") or [{}]
    if len(bands) != 1:
        raise CatalogError(f"item {item.id!r}, asset {key!r}: {len(bands)} bands found, one wanted")
    return {**asset.extra_fields, **bands[0]}


def _geobox(item: pystac.Item, key: str, fields: dict[str, Any]) -> GeoBox:
    crs, shape, transform = _crs(fields), fields.get("proj:shape"), fields.get("proj:transform")
    if crs is None or shape is None or transform is None:
        raise _missing(item, key, "proj:code or proj:wkt2, proj:shape and proj:transform")
    return GeoBox((int(shape[0]), int(shape[1])), Affine(*transform[:6]), crs)


def _crs(fields: dict[str, Any]) -> str | None:
    """``EPSG:…`` or WKT2 from whichever of the projection extension's fields is filled."""
    code, projjson = fields.get("proj:code"), fields.get("proj:projjson")
    if code is None and fields.get("proj:epsg") is not None:
        code = f"EPSG:{fields['proj:epsg']}"
    if code is not None:
        return str(code) if str(code).upper().startswith("EPSG:") else crs_wkt(str(code))
    if fields.get("proj:wkt2"):
        return crs_wkt(fields["proj:wkt2"])
    return crs_wkt(str(pyproj.CRS.from_json_dict(projjson).to_wkt())) if projjson else None


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _data_type(item: pystac.Item, key: str, band: dict[str, Any]) -> str:
    if not band.get("data_type"):
        raise _missing(item, key, "data_type")
    return str(band["data_type"])


def _missing(item: pystac.Item, key: str, what: str) -> CatalogError:
    return CatalogError(
        f"item {item.id!r}, asset {key!r}: {what} missing: add it to the item, or ingest the file again"
    )


def _stackstac() -> Reader:
    from stac_sm.readers.stackstac import read

    return read


def _odc() -> Reader:
    from stac_sm.readers.odc import read

    return read


READERS: dict[str, Callable[[], Reader]] = {"stackstac": _stackstac, "odc": _odc}
