"""Describe one band of one asset by its STAC item, and complete the description from the header of the file.

Items of every STAC version (1.0 and 1.1, with or without extensions of bands) become the same `RasterSource`. Feature
resolution and planning build it from metadata alone; `read` completes it from the header, which must not contradict the
item.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import pystac
from affine import Affine

from stac_sm.core.errors import CatalogError
from stac_sm.core.fingerprint import digest_of_list, elements_json
from stac_sm.core.grid import make_geobox
from stac_sm.core.preliminary import is_preliminary
from stac_sm.core.projections import SINUSOIDAL, crs_wkt
from stac_sm.raster.precedence import Precedence, precedence_of, stated_version
from stac_sm.storage.address import LOCAL, WEB, address_kind, asset_address, without_query

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

Window = tuple[slice, slice]
_LONGEST_TITLE = 120  # characters
_ROWS = 256  # of a window that are scaled at a time


@dataclass(frozen=True)
class RasterSource:
    """One band of one asset of one item, as its metadata describe it."""

    item_id: str
    """Id of the item."""

    asset: str
    """Asset key."""

    href: str
    """Address of the file."""

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
    """Address of the item."""

    valid: tuple[float, float] | None = None
    """Least and largest stored value; others are codes, no data."""

    sign: str = ""
    """Service that signs the href when it is read (`signing.sign_href`), or empty."""

    unit: str = ""
    """Unit of the physical values, where the item says it."""

    root: str = ""
    """Root of the catalogue that names the href; empty if it is the user's own."""

    band: int = 1
    """Number of the band in the file, from 1."""

    bands: int = 1
    """Number of bands that the item says the file has."""

    size: int | None = None
    """``file:size``, bytes."""

    version: str = ""
    """``version`` of the item; empty if it has none."""

    preliminary: bool = False
    """Whether the item says that it was made from preliminary data, which the provider replaces by final ones."""

    title: str = field(default="", compare=False)
    """Title of the asset, where it has one, for people."""

    def __hash__(self) -> int:
        """Return a hash of what tells two sources apart as a rule: that of all fields takes 30 times as long."""
        return hash((self.href, self.item_id, self.asset, self.band, self.checksum))

    @cached_property
    def precedence(self) -> Precedence:
        """Place among other files that cover the same pixels."""
        return precedence_of(self.geobox, self.version)

    @cached_property
    def provenance_digest(self) -> str:
        """SHA-256, hex, of the file's checksum and of all metadata about the meaning and place of its values.

        Kept: a file is in the windows of 90 days and several features, and each fingerprint asks for it.
        """
        return digest_of_list(self.checksum, self.meaning).hex()

    @property
    def meaning(self) -> str:
        """Metadata that decide the meaning and place of the values, as elements of canonical JSON.

        ``digest_of_list(checksum, meaning)`` is the provenance digest of every file with the same metadata.
        """
        grid = [str(self.geobox.crs), list(self.geobox.shape), list(self.geobox.affine)[:6]]
        # as text, since nodata may be NaN, which JSON has not
        numbers = [str(self.nodata), str(self.scale), str(self.offset), str(self.valid)]
        where = [grid] if self.bands == 1 else [grid, self.band]
        return elements_json([self.dtype, *numbers, *where])

    def with_feature(self, valid: tuple[float, float] | None, sign: str, root: str) -> RasterSource:
        """Return the source with the settings of a feature.

        Parameters
        ----------
        valid
            Least and largest stored value that is a value; None: all are.
        sign
            Service that signs the href when it is read, or empty.
        root
            Root of the catalogue that the item was found in; empty if it is the user's own.

        Returns
        -------
        RasterSource
            A copy.
        """
        return replace(self, valid=valid, sign=sign, root=root)

    def physical(self, stored: np.ndarray) -> np.ndarray:
        """Convert stored values to physical ones.

        Parameters
        ----------
        stored
            Values as the file holds them, rows first, any data type.

        Returns
        -------
        numpy.ndarray
            float32 of the same shape, ``stored * scale + offset``; NaN where the stored value is nodata or outside
            ``valid``.
        """
        physical = np.empty(stored.shape, dtype=np.float32)
        table, codes = None, np.dtype(f"u{stored.dtype.itemsize}")
        if stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2 and stored.size > 1 << 8 * stored.dtype.itemsize:
            every = np.arange(1 << 8 * stored.dtype.itemsize).astype(codes).view(stored.dtype)
            table = self._physical(every, np.empty(every.shape, np.float32))
        for start in range(0, len(stored), _ROWS):  # float64 of a whole window would take three times its memory
            part, out = stored[start : start + _ROWS], physical[start : start + _ROWS]
            if table is None:
                self._physical(part, out)
            else:
                np.take(table, part.view(codes), out=out, mode="clip")  # no code lies beyond the table
        return physical

    def _physical(self, stored: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Write physical values into an array, float32."""
        scale, offset = 1.0 if self.scale is None else self.scale, self.offset or 0.0
        if stored.dtype == np.float32 and (scale, offset) == (1.0, 0.0):
            np.add(stored, np.float32(0), out=values)  # -0 becomes 0, as by the sum below
        else:
            values[:] = stored.astype(np.float64) * scale + offset
        if self.nodata is not None:
            values[stored == np.asarray(self.nodata).astype(stored.dtype)] = np.nan
        if self.valid is not None:
            values[(stored < self.valid[0]) | (stored > self.valid[1])] = np.nan
        return values


def asset_key(item: pystac.Item, requested: str) -> str | None:
    """Return the key of the asset that a feature asks for.

    Parameters
    ----------
    item
        A STAC item.
    requested
        An asset key, or ``*.hdf`` for the asset with the role ``data`` whose file name ends so.

    Returns
    -------
    str or None
        None if the item has no such asset. Of several that fit an ending, one that is not on ``s3:`` counts.

    Raises
    ------
    CatalogError
        If several assets fit an ending: names them.
    """
    if not requested.startswith("*"):
        return requested if requested in item.assets else None
    ending = requested[1:]
    fitting = [
        key
        for key, asset in item.assets.items()
        if "data" in (asset.roles or []) and without_query(asset.href).endswith(ending)
    ]
    web = [key for key in fitting if address_kind(item.assets[key].href) in (LOCAL, WEB)] or fitting
    if len(web) > 1:
        raise CatalogError(
            f"item {item.id!r}: assets {', '.join(web)} end with {ending!r}, exactly one is required: name its key"
        )
    return web[0] if web else None


class BadItemError(CatalogError):
    """Metadata of one item cannot be right, or are missing: the other items of its collection may be sound."""


def raster_source(item: pystac.Item, key: str, requested_band: str = "") -> RasterSource:
    """Describe one band of one of an item's assets.

    Parameters
    ----------
    item
        A STAC item of any version.
    key
        Asset key.
    requested_band
        Name or number (from 1) of the band; empty for an asset of one band.

    Returns
    -------
    RasterSource
        The band, from metadata alone.

    Raises
    ------
    CatalogError
        If the asset is missing, or has no such band.
    BadItemError
        If a required field is missing, or has an impossible value: names it.
    """
    if key not in item.assets:
        raise CatalogError(f"item {item.id!r} has no asset {key!r}: it has {', '.join(item.assets) or 'none'}")
    try:
        return _described(item, key, requested_band)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, pyproj.exceptions.CRSError) as error:
        raise BadItemError(
            f"item {item.id!r}, asset {key!r}: its metadata cannot be right ({type(error).__name__}: {error!s:.200}): "
            "correct the item"
        ) from error


def _described(item: pystac.Item, key: str, requested_band: str) -> RasterSource:
    asset = item.assets[key]
    fields = {**item.properties, **asset.extra_fields}
    bands = _bands(asset)
    number = _number_of(item, key, bands, requested_band)
    band = asset.extra_fields | bands[number - 1]
    dtype = _data_type(item, key, band)
    scale, offset = (
        _finite_number(item, key, name, band.get(f"raster:{name}", band.get(name))) for name in ("scale", "offset")
    )
    if scale == 0:
        raise BadItemError(f"item {item.id!r}, asset {key!r}: scale 0 found, another one is required: correct the item")
    size = fields.get("file:size")
    return RasterSource(
        item_id=item.id,
        asset=key,
        href=asset_address(item, key),
        geobox=_geobox(item, key, asset),
        dtype=dtype,
        nodata=_nodata(item, key, band, dtype),
        scale=scale,
        offset=offset,
        checksum=str(fields.get("file:checksum") or item.properties.get("updated") or ""),
        item_href=item.get_self_href() or "",
        unit=str(band.get("unit") or ""),
        band=number,
        bands=len(bands),
        size=size if isinstance(size, int) and size >= 0 else None,
        version=stated_version(item.properties),
        preliminary=is_preliminary(item.properties, key),
        title=str(asset.title or "")[:_LONGEST_TITLE],
    )


def _bands(asset: pystac.Asset) -> list[dict[str, Any]]:
    """Return the metadata of each band: ``bands`` (STAC 1.1), ``eo:bands`` and ``raster:bands``, or of the asset."""
    lists = [asset.extra_fields.get(name) or [] for name in ("eo:bands", "raster:bands", "bands")]
    count = max(1, *map(len, lists))
    return [{k: v for known in lists if i < len(known) for k, v in known[i].items()} for i in range(count)]


def _number_of(item: pystac.Item, key: str, bands: list[dict[str, Any]], requested: str) -> int:
    """Return the number, from 1, of the band that is asked for."""
    names = [str(band.get("name", i + 1)) for i, band in enumerate(bands)]
    if not requested and len(bands) == 1:
        return 1
    if requested in names:
        return names.index(requested) + 1
    if requested.isdecimal() and 1 <= int(requested) <= len(bands):
        return int(requested)
    raise CatalogError(
        f"item {item.id!r}, asset {key!r}: bands {', '.join(names)} found, "
        + (f"{requested!r} required: correct the feature's band" if requested else 'name the required one: band = "…"')
    )


def _geobox(item: pystac.Item, key: str, asset: pystac.Asset) -> GeoBox:
    fields = {**item.properties, **asset.extra_fields}
    crs = _crs(asset.extra_fields) or _crs(fields)  # an asset's own WKT counts more than the item's code
    shape, transform = fields.get("proj:shape"), fields.get("proj:transform")
    if crs is None or shape is None or transform is None:
        raise _missing(item, key, "proj:code or proj:wkt2, proj:shape and proj:transform")
    affine = Affine(*(float(number) for number in transform[:6]))
    rows, columns = (int(number) for number in shape)
    if min(rows, columns) < 1 or not all(map(math.isfinite, affine[:6])):
        raise BadItemError(
            f"item {item.id!r}, asset {key!r}: proj:shape {list(shape)} and proj:transform {list(transform)} found, "
            "rows and columns above 0 and finite numbers are required: correct the item"
        )
    if affine.b or affine.d or affine.a <= 0 or affine.e >= 0:
        raise BadItemError(
            f"item {item.id!r}, asset {key!r}: proj:transform {list(transform)} found, rows from north to south and "
            "columns from west to east are required: warp the file to such a grid"
        )
    return make_geobox((rows, columns), affine, crs)


def _crs(fields: dict[str, Any]) -> str | None:
    """Return ``EPSG:…`` or WKT2 from whichever of the projection extension's fields is filled."""
    code, projjson = fields.get("proj:code"), fields.get("proj:projjson")
    if code is None and fields.get("proj:epsg") is not None:
        code = f"EPSG:{fields['proj:epsg']}"
    if code is not None:
        return str(code) if str(code).upper().startswith("EPSG:") else crs_wkt(str(code))
    if fields.get("proj:wkt2"):
        return crs_wkt(fields["proj:wkt2"])
    return crs_wkt(str(pyproj.CRS.from_json_dict(projjson).to_wkt())) if projjson else None


def _number(item: pystac.Item, key: str, name: str, value: Any) -> float | None:
    """Return a number; ``"nan"`` and ``"-inf"`` are numbers in STAC, true and false are none."""
    try:
        if isinstance(value, bool):
            raise ValueError(value)
        return None if value is None else float(value)
    except (TypeError, ValueError) as error:
        raise BadItemError(
            f"item {item.id!r}, asset {key!r}: {name} {value!r:.40} found, a number is required: correct the item"
        ) from error


def _finite_number(item: pystac.Item, key: str, name: str, value: Any) -> float | None:
    number = _number(item, key, name, value)
    if number is not None and not math.isfinite(number):
        raise BadItemError(
            f"item {item.id!r}, asset {key!r}: {name} {number} found, a finite number is required: correct the item"
        )
    return number


def _nodata(item: pystac.Item, key: str, band: dict[str, Any], dtype: str | None) -> float | None:
    """Return the stored value of pixels without data; refuse one that the data type cannot hold."""
    nodata = _number(item, key, "nodata", band.get("nodata"))
    if nodata is None or dtype is None or np.dtype(dtype).kind == "f":
        return nodata
    kind = np.dtype(dtype)
    if not (nodata.is_integer() and np.iinfo(kind).min <= nodata <= np.iinfo(kind).max):
        raise BadItemError(
            f"item {item.id!r}, asset {key!r}: nodata {nodata:g} found, a value of its data_type {dtype} is required: "
            "correct the item"
        )
    return nodata


def _data_type(item: pystac.Item, key: str, band: dict[str, Any]) -> str | None:
    """Return the data type of the stored values; None where the item does not state it."""
    name = band.get("data_type")
    if not name:
        return None
    if name not in _DATA_TYPES:
        raise BadItemError(
            f"item {item.id!r}, asset {key!r}: data_type {name!r} found, one of {', '.join(_DATA_TYPES)} is "
            "required: correct the item"
        )
    return str(name)


_DATA_TYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")


def _missing(item: pystac.Item, key: str, what: str) -> BadItemError:
    return BadItemError(
        f"item {item.id!r}, asset {key!r}: {what} missing: add it to the item, or ingest the file again"
    )


_SAME = 1e-6  # of a pixel: how far the grids of item and file may be apart
_LARGEST_BLOCK = 1 << 28  # bytes that one block may decode to


def complete_from_header(source: RasterSource, file_name: str = "") -> RasterSource:
    """Complete a source by the header of its file, where the item states no data type, nodata, scale or offset.

    Where both state a scale or offset, the item's counts: an item can be corrected, a published file cannot.

    Parameters
    ----------
    source
        The band as the item describes it.
    file_name
        Local copy of the file; without one, the href names a local file. Opened as TIFF or not at all.

    Returns
    -------
    RasterSource
        With data type, scale and offset; nodata where item or file state one.

    Raises
    ------
    CatalogError
        If item and file disagree on anything that a reader would silently ignore: names both. If a block is so
        large that decoding it would exhaust memory.
    """
    import rasterio
    from rasterio.enums import MaskFlags

    name = file_name or source.href
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(name, driver="GTiff") as file:
        crs = file.crs.to_wkt() if file.crs else ""
        found = {
            "number of bands": (source.bands, file.count),
            "shape": (tuple(source.geobox.shape), file.shape),
            "data type": (source.dtype, file.dtypes[0]),
            "nodata": (source.nodata, file.nodata),
            "EPSG code": (_epsg(str(source.geobox.crs)), _epsg_by_gdal(crs) if crs else None),
            "projection": (_meaning(str(source.geobox.crs)), _meaning(crs) if crs else None),
            "mask band": (False, MaskFlags.per_dataset in file.mask_flag_enums[0]),
        }
        transform, nodata = file.transform, file.nodata
        scale, offset = file.scales[source.band - 1], file.offsets[source.band - 1]
        dtype = file.dtypes[0]
        block = math.prod(file.block_shapes[0]) * np.dtype(dtype).itemsize * file.count
    for what, (stated, stored) in found.items():
        if None not in (stated, stored) and stated != stored and str(stated) != str(stored):  # as text, NaN is NaN
            raise _contradiction(source, what, stated, stored)
    if not transform.almost_equals(source.geobox.affine, _SAME * abs(source.geobox.affine.a)):
        raise _contradiction(source, "transform", list(source.geobox.affine)[:6], list(transform)[:6])
    if block > _LARGEST_BLOCK:
        raise CatalogError(
            f"item {source.item_id!r}, asset {source.asset!r}: blocks of {block} bytes in {source.href}, at most "
            f"{_LARGEST_BLOCK} are allowed: write the file again with blocks of 512 x 512 pixels"
        )
    return replace(
        source,
        dtype=dtype if source.dtype is None else source.dtype,
        nodata=nodata if source.nodata is None else source.nodata,
        scale=scale if source.scale is None else source.scale,
        offset=offset if source.offset is None else source.offset,
    )


def _contradiction(source: RasterSource, what: str, stated: Any, stored: Any) -> CatalogError:
    return CatalogError(
        f"item {source.item_id!r}, asset {source.asset!r}: {what} {stated} in the item, {stored} in {source.href}: "
        "correct the item, or ingest the file again"
    )


@lru_cache(maxsize=256)
def _epsg(crs: str) -> int | None:
    code = pyproj.CRS.from_user_input(crs).to_epsg()
    return None if code is None else int(code)


@lru_cache(maxsize=256)
def _epsg_by_gdal(wkt: str) -> int | None:
    """Return the EPSG code that GDAL finds for a CRS.

    The grid of MODIS has none; the search takes 40 ms where a CRS has a name and no code.
    """
    from rasterio.crs import CRS

    code = None if crs_wkt(wkt) == crs_wkt(SINUSOIDAL) else CRS.from_wkt(wkt).to_epsg()
    return None if code is None else int(code)


@lru_cache(maxsize=256)
def _meaning(crs: str) -> str | None:
    """Return the parameters of a CRS without EPSG code, but not its names: two codes are compared as codes."""
    known = pyproj.CRS.from_user_input(crs_wkt(crs))
    if known.to_epsg() is not None or known.ellipsoid is None:
        return None
    operation = known.coordinate_operation
    parameters = operation.params if operation else []
    numbers = {p.name: round(float(p.value) * p.unit_conversion_factor, 9) for p in parameters}
    used = ", ".join(f"{name} {number:g}" for name, number in sorted(numbers.items()) if number)
    method = operation.method_name if operation else "degrees"
    return f"{method} on a semi-major axis of {known.ellipsoid.semi_major_metre:.3f} m ({used})"
