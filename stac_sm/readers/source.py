"""What an item says about one band of one of its assets; the items of every STAC version come out alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyproj
import pystac
from affine import Affine
from odc.geo.geobox import GeoBox

from stac_sm.errors import CatalogError
from stac_sm.fingerprint import digest
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

    dtype: str | None
    """Data type of the stored values; None: the one in the file's header."""

    nodata: float | None
    """Stored value of pixels without data; None: the one in the file's header."""

    scale: float | None
    """Physical value = stored value x scale + offset; None: the one in the file's header."""

    offset: float | None
    """See ``scale``."""

    checksum: str
    """``file:checksum``, else time of update, else empty."""

    item_href: str = ""
    """Where the item is."""

    valid: tuple[float, float] | None = None
    """Least and largest stored value; others are codes, no data."""

    sign: str = ""
    """How the href gets a token when it is read (``signing.signed``)."""

    unit: str = ""
    """Unit of the physical values, where the item says it."""

    @property
    def proof(self) -> str:
        """SHA-256 of the file's checksum and of all that the item says about the meaning and place of its values."""
        grid = [str(self.geobox.crs), list(self.geobox.shape), list(self.geobox.affine)[:6]]
        # as text, since nodata may be NaN, which JSON has not
        meaning = (self.nodata, self.scale, self.offset, self.valid)
        return digest([self.checksum, self.dtype, *map(str, meaning), grid])

    def physical(self, stored: np.ndarray) -> np.ndarray:
        """Physical values of stored ones: float32, NaN where there is no data."""
        scale, offset = 1.0 if self.scale is None else self.scale, self.offset or 0.0
        values = stored.astype(np.float64) * scale + offset
        if self.nodata is not None:
            values[stored == np.asarray(self.nodata).astype(stored.dtype)] = np.nan
        if self.valid is not None:
            values[(stored < self.valid[0]) | (stored > self.valid[1])] = np.nan
        return values.astype(np.float32)


def asset_key(item: pystac.Item, wanted: str) -> str | None:
    """Key of the asset that a feature wants: its key, or ``*.hdf`` for the data asset whose file name ends so.

    Raises
    ------
    CatalogError
        If several assets fit an ending: names them.
    """
    if not wanted.startswith("*"):
        return wanted if wanted in item.assets else None
    ending = wanted[1:]
    fitting = [
        key
        for key, asset in item.assets.items()
        if "data" in (asset.roles or []) and asset.href.partition("?")[0].endswith(ending)
    ]
    web = [key for key in fitting if not item.assets[key].href.startswith("s3:")] or fitting
    if len(web) > 1:
        raise CatalogError(f"item {item.id!r}: assets {', '.join(web)} end with {ending!r}, one wanted: name its key")
    return web[0] if web else None


def raster_source(item: pystac.Item, key: str) -> RasterSource:
    """What an item says about one of its one-band assets.

    Raises
    ------
    CatalogError
        If the asset or a field that is needed is missing, or makes no sense: names it.
    """
    if key not in item.assets:
        raise CatalogError(f"item {item.id!r} has no asset {key!r}: it has {', '.join(item.assets) or 'none'}")
    asset = item.assets[key]
    fields = {**item.properties, **asset.extra_fields}
    band = _band(item, key, asset)
    dtype = _data_type(item, key, band)
    return RasterSource(
        item_id=item.id,
        asset=key,
        href=asset.get_absolute_href() or asset.href,
        geobox=_geobox(item, key, asset),
        dtype=dtype,
        nodata=_nodata(item, key, band, dtype),
        scale=_number(band.get("raster:scale", band.get("scale"))),
        offset=_number(band.get("raster:offset", band.get("offset"))),
        checksum=str(fields.get("file:checksum") or item.properties.get("updated") or ""),
        item_href=item.get_self_href() or "",
        unit=str(band.get("unit") or ""),
    )


def _band(item: pystac.Item, key: str, asset: pystac.Asset) -> dict[str, Any]:
    """The one band: STAC 1.1 ``bands``, STAC 1.0 ``raster:bands``, or fields of the asset itself."""
    merged = dict(asset.extra_fields)
    for name in ("raster:bands", "bands"):
        bands = asset.extra_fields.get(name) or [{}]
        if len(bands) != 1:
            raise CatalogError(f"item {item.id!r}, asset {key!r}: {len(bands)} bands found, one wanted")
        merged |= bands[0]
    return merged


def _geobox(item: pystac.Item, key: str, asset: pystac.Asset) -> GeoBox:
    fields = {**item.properties, **asset.extra_fields}
    crs = _crs(asset.extra_fields) or _crs(fields)  # an asset's own WKT counts more than the item's code
    shape, transform = fields.get("proj:shape"), fields.get("proj:transform")
    if crs is None or shape is None or transform is None:
        raise _missing(item, key, "proj:code or proj:wkt2, proj:shape and proj:transform")
    affine = Affine(*transform[:6])
    if affine.b or affine.d or affine.a <= 0 or affine.e >= 0:
        raise CatalogError(
            f"item {item.id!r}, asset {key!r}: proj:transform {list(transform)} found, rows from north to south and "
            "columns from west to east wanted: warp the file to such a grid"
        )
    return GeoBox((int(shape[0]), int(shape[1])), affine, crs)


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


def _nodata(item: pystac.Item, key: str, band: dict[str, Any], dtype: str | None) -> float | None:
    """Stored value of pixels without data; it must be one that the data type can hold."""
    nodata = _number(band.get("nodata"))
    if nodata is None or dtype is None or np.dtype(dtype).kind == "f":
        return nodata
    kind = np.dtype(dtype)
    if not (nodata.is_integer() and np.iinfo(kind).min <= nodata <= np.iinfo(kind).max):
        raise CatalogError(
            f"item {item.id!r}, asset {key!r}: nodata {nodata:g} found, a value of its data_type {dtype} wanted: "
            "mend the item"
        )
    return nodata


def _data_type(item: pystac.Item, key: str, band: dict[str, Any]) -> str | None:
    """Data type of the stored values; None where the item is silent."""
    name = band.get("data_type")
    if not name:
        return None
    if name not in _DATA_TYPES:
        raise CatalogError(
            f"item {item.id!r}, asset {key!r}: data_type {name!r} found, one of {', '.join(_DATA_TYPES)} wanted: "
            "mend the item"
        )
    return str(name)


_DATA_TYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")


def _missing(item: pystac.Item, key: str, what: str) -> CatalogError:
    return CatalogError(
        f"item {item.id!r}, asset {key!r}: {what} missing: add it to the item, or ingest the file again"
    )
