"""Cloud-Optimized GeoTIFFs: write an array, read it back, and hand it over as an asset.

Every stage that makes a raster of an array calls `write_asset`; rasters of a whole grid, which never are one array, are
written by `raster.mosaic_cog` and become assets by `verified_asset`. Publishing adds href, size and checksum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.errors import InputError, ReadError
from stac_sm.core.projections import named_wkt
from stac_sm.raster.cog_encoder import Fields, can_encode, encode_cog, own_fields

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from rasterio import Env
    from rasterio.io import MemoryFile
    from rasterio.windows import Window

CACHE_BYTES = 1 << 28
"""GDAL's cache of blocks while rasters of a whole grid are written, and while files are compared."""

_CACHED = 1 << 17
"""Pixels that are worked on at a time: what is computed of them fits into the cache of a core."""


@dataclass(frozen=True)
class CogProfile:
    """Settings by which an array becomes bytes; part of the fingerprint of a product."""

    nodata: float | int | None = -9999.0
    """Value of pixels without data, in the file."""

    step: float | None = None
    """Values are rounded to multiples of this power of two; None leaves them alone."""

    overviews: str = "average"
    """Resampling of the overviews: ``average``, ``mode`` or ``nearest``."""

    scale: float = 1.0
    """Physical value = stored value x scale + offset."""

    offset: float = 0.0
    """See ``scale``."""

    block: int = 512
    """Side of a block in pixels."""

    level: int = 1
    """Deflate level. Inputs are written with 1: 6 would take twice the time and save one twentieth of the space."""

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return the profile as it enters fingerprints.

        Returns
        -------
        dict
            Name to value. The keys are spelled out, so that renaming a field makes no result stale.
        """
        return {
            "nodata": self.nodata,
            "step": self.step,
            "overviews": self.overviews,
            "scale": self.scale,
            "offset": self.offset,
            "block": self.block,
            "level": self.level,
        }


@dataclass(frozen=True)
class CogText:
    """What a COG says of itself, so that GDAL, QGIS and titiler show names instead of ``Band 1``."""

    band: str = ""
    """Description of the band, e.g. ``Soil moisture (m3 m-3)``."""

    unit: str = ""
    """Unit of the physical values, e.g. ``m3 m-3``."""

    of_band: Mapping[str, str] = field(default_factory=dict)
    """Metadata of the band: ``long_name``, ``valid_min``, ``valid_max``."""

    of_file: Mapping[str, str] = field(default_factory=dict)
    """Metadata of the file, e.g. ``PRODUCT``, ``VERSION``, ``TIME_START``."""

    bands: tuple[str, ...] = ()
    """Descriptions of the bands of a picture, in order."""

    def put_into(self, file: Any) -> None:
        """Write it into a file that GDAL holds open.

        Parameters
        ----------
        file
            A rasterio dataset in mode ``w`` or ``r+``.
        """
        file.update_tags(AREA_OR_POINT="Area", **self.of_file)
        for number, described in enumerate(self.bands or (self.band,), 1):
            if described:
                file.set_band_description(number, described)
        if self.unit:
            file.set_band_unit(1, self.unit)
        if self.of_band:
            file.update_tags(1, **self.of_band)


def write_asset(
    values: np.ndarray,
    file: Path,
    *,
    geobox: GeoBox,
    profile: CogProfile,
    fields: Mapping[str, Any],
    text: CogText = CogText(),
) -> AssetFile:
    """Write an array as COG, decode the file again, and return it as an asset to publish.

    Parameters
    ----------
    values
        (y, x), any type that GeoTIFF knows: the stored values. A profile's scale and offset are written into the file
        and not applied to the array. In float arrays NaN becomes the profile's nodata; integers hold it already.
    file
        A local file, replaced if it exists; its suffix becomes that of the asset.
    geobox
        Shape, affine and CRS of the array.
    profile
        Nodata, rounding, overviews, compression.
    fields
        STAC fields of the asset without href, size and checksum, such as ``stac.items.raster_asset`` gives.
    text
        Names, unit and metadata in the file.

    Returns
    -------
    AssetFile
        The file with its fields. Publishing computes size and checksum from the bytes that the store gives back.

    Raises
    ------
    InputError
        If the array has not the shape of the GeoBox.
    ReadError
        If the file cannot be decoded, or holds other values than the array.
    """
    stored, as_it_is = _stored(values, profile), replace(profile, step=None)  # rounded once for both
    write_cog(stored, file, geobox=geobox, profile=as_it_is, text=text)
    verify_cog(stored, file, profile=as_it_is)
    return verified_asset(file, fields)


def verified_asset(file: Path, fields: Mapping[str, Any]) -> AssetFile:
    """Return a COG that was verified as an asset to publish.

    A file that an interrupted writer has left in the store counts as the same if it holds the same values: another
    version of GDAL may compress them to other bytes.

    Parameters
    ----------
    file
        A local COG.
    fields
        STAC fields of the asset without href, size and checksum.

    Returns
    -------
    AssetFile
        The file with its fields. Publishing computes size and checksum from the bytes that the store gives back.
    """
    return AssetFile(file, file.suffix, fields, lambda href: same_raster_values(file, href))


def write_cog(
    values: np.ndarray,
    path: str | Path,
    *,
    geobox: GeoBox,
    profile: CogProfile = CogProfile(),
    text: CogText = CogText(),
) -> None:
    """Write a two-dimensional array as COG with overviews.

    Parameters
    ----------
    values
        (y, x), any type that GeoTIFF knows. In float arrays NaN becomes the profile's nodata.
    path
        A local file, replaced if it exists.
    geobox
        Shape, affine and CRS of the array.
    profile
        Nodata, rounding, overviews, compression.
    text
        Names, unit and metadata in the file.

    Raises
    ------
    InputError
        If the array has not the shape of the GeoBox.

    Notes
    -----
    The same values give the same bytes, for any number of threads, with the same versions of GDAL and ``deflate``.
    """
    import rasterio.shutil
    from rasterio.io import MemoryFile

    stored = _stored(values, profile)
    required = tuple(geobox.shape)
    if stored.shape != required:
        raise InputError(f"array of shape {stored.shape} does not fit the grid of shape {required} of {path}")
    block = min(profile.block, _least_block(stored.shape))
    if can_encode(stored, nodata=profile.nodata, overviews=profile.overviews, block=block):
        fields = _fields_of(stored.dtype.name, str(geobox.crs), geobox.affine, profile, _named(text))
        content = encode_cog(
            stored, fields, nodata=profile.nodata, overviews=profile.overviews, block=block, level=profile.level
        )
        Path(path).write_bytes(content)
        return
    # GDAL copies whole rasters to COGs. When rasterio does so at the end of writing it keeps Python's lock, and threads
    # wait for each other; in a copy that we ask for it lets go of it.
    with MemoryFile() as memory:
        _fill(memory, stored, str(geobox.crs), geobox.affine, profile, text)
        with memory.open() as file:
            rasterio.shutil.copy(file, path, driver="COG", **_creation(stored, profile, block))


def write_picture_cog(picture: np.ndarray, path: Path, *, geobox: GeoBox, text: CogText = CogText()) -> None:
    """Write a picture as COG, without overviews.

    Parameters
    ----------
    picture
        (y, x, 4) uint8: red, green, blue, alpha; at most 512 pixels a side.
    path
        A local file, replaced if it exists.
    geobox
        Shape, affine and CRS of the picture.
    text
        Metadata in the file.
    """
    profile = CogProfile(nodata=None)
    fields = _fields_of("uint8", str(geobox.crs), geobox.affine, profile, _named(text))
    block = _least_block(picture.shape[:2])
    path.write_bytes(encode_cog(picture, fields, nodata=None, overviews="nearest", block=block, level=profile.level))


_Named = tuple[str, str, tuple[tuple[str, str], ...], tuple[tuple[str, str], ...], tuple[str, ...]]
"""Fields of a `CogText`, as a cache can keep them."""


def _named(text: CogText) -> _Named:
    return text.band, text.unit, tuple(text.of_band.items()), tuple(text.of_file.items()), text.bands


@lru_cache(maxsize=64)
def _fields_of(dtype: str, crs: str, affine: Affine, profile: CogProfile, named: _Named) -> Fields:
    """Return the fields of a GeoTIFF that are not about the layout of its pixels: days of a series share them."""
    from rasterio.io import MemoryFile

    band, unit, of_band, of_file, bands = named
    text = CogText(band, unit, dict(of_band), dict(of_file), bands)
    with MemoryFile() as memory:
        _fill(memory, np.zeros((1, 1, max(1, len(bands))), dtype), crs, affine, profile, text)
        return own_fields(bytes(memory.getbuffer()))


def _fill(memory: MemoryFile, stored: np.ndarray, crs: str, affine: Affine, profile: CogProfile, text: CogText) -> None:
    """Put an array, (y, x) or (y, x, band), into memory as a plain GeoTIFF."""
    stored = np.moveaxis(np.atleast_3d(stored), 2, 0)
    count, height, width = stored.shape
    picture = {"photometric": "RGB", "alpha": "YES"} if count == 4 else {}
    with memory.open(
        driver="GTiff",
        width=width,
        height=height,
        count=count,
        dtype=stored.dtype,
        crs=_crs_in_file(crs),
        transform=affine,
        nodata=profile.nodata,
        endianness="little",
        **picture,
    ) as file:
        file.write(stored)
        file.scales, file.offsets = (profile.scale,) * count, (profile.offset,) * count
        text.put_into(file)


@lru_cache(maxsize=16)
def _crs_in_file(crs: str) -> Any:
    from rasterio.crs import CRS

    return CRS.from_wkt(named_wkt(crs))


def _creation(stored: np.ndarray, profile: CogProfile, block: int) -> dict[str, Any]:
    """Return the options of GDAL's COG driver."""
    return {
        "compress": "DEFLATE",
        "predictor": 3 if stored.dtype.kind == "f" else 2,
        "level": profile.level,
        "blocksize": block,
        "overview_resampling": profile.overviews,
    }


def verify_cog(values: np.ndarray, path: str | Path, *, profile: CogProfile = CogProfile()) -> None:
    """Open a COG again, decode every block of every level, and compare it with the array that was written.

    Parameters
    ----------
    values
        The array as it was passed to `write_cog`.
    path
        The local file.
    profile
        The profile that it was written with.

    Raises
    ------
    ReadError
        If anything cannot be decoded, or differs.
    """
    import rasterio

    with_nan = values.dtype.kind == "f" and profile.nodata is None
    dtype = "float32" if values.dtype.kind == "f" else values.dtype.name
    try:
        with rasterio.open(path) as file:
            head = (file.shape, file.dtypes, file.nodata, file.scales, file.offsets)
            expected = (values.shape, (dtype,), profile.nodata, (profile.scale,), (profile.offset,))
            levels, found = len(file.overviews(1)), file.read(1)
        same = head == expected and all(
            np.array_equal(found[rows], _stored_rows(values[rows], profile), equal_nan=with_nan)
            for rows in _some_rows(values)
        )
        _decode_levels(path, levels)
    except rasterio.errors.RasterioError as error:
        raise ReadError(f"{path} was written but cannot be decoded: {error}; check the disk and run again") from error
    if not same:
        raise ReadError(f"{path} was written but holds other values than the array: check the disk and run again")


def same_raster_values(file: str | Path, other: str | Path) -> bool:
    """Return whether two rasters have the same grid, scaling and stored values, and all blocks of the other decode.

    They are compared block by block, in bounded memory.

    Parameters
    ----------
    file, other
        Paths or addresses that GDAL opens.

    Returns
    -------
    bool
        False also if one of the two cannot be read.
    """
    import rasterio

    try:
        with bounded_gdal(), rasterio.open(file) as one, rasterio.open(other) as two:
            if _head(one) != _head(two):
                return False
            floating = one.dtypes[0].startswith("float")
            for window in _windows(one.shape):
                if not np.array_equal(one.read(1, window=window), two.read(1, window=window), equal_nan=floating):
                    return False
            decode_overviews(other)
    except rasterio.errors.RasterioError:
        return False
    return True


def decode_overviews(path: str | Path) -> None:
    """Decode every block of every overview of a raster.

    Parameters
    ----------
    path
        Path or address that GDAL opens.

    Raises
    ------
    rasterio.errors.RasterioError
        If a block cannot be decoded.
    """
    import rasterio

    with rasterio.open(path) as file:
        levels = len(file.overviews(1))
    _decode_levels(path, levels)


def _decode_levels(path: str | Path, levels: int) -> None:
    """Decode every block of so many overviews."""
    import rasterio

    for level in range(levels):
        with rasterio.open(path, overview_level=level) as overview:
            for window in _windows(overview.shape):
                overview.read(1, window=window)


def bounded_gdal() -> Env:
    """Return GDAL's settings for large rasters.

    Returns
    -------
    rasterio.Env
        A context manager: a cache of `CACHE_BYTES`, and no listing of the folder of a file.
    """
    import rasterio

    return rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR")


def _head(file: Any) -> tuple[Any, ...]:
    """Return what files with equal values share beside their blocks; nodata as text: NaN differs from itself."""
    return file.shape, file.transform, str(file.nodata), file.dtypes, file.scales, file.offsets


def _windows(shape: tuple[int, int], side: int = 2048) -> Iterator[Window]:
    from rasterio.windows import Window

    for row in range(0, shape[0], side):
        for column in range(0, shape[1], side):
            yield Window(column, row, min(side, shape[1] - column), min(side, shape[0] - row))


def rounded(values: np.ndarray, step: float) -> np.ndarray:
    """Round values to multiples of a power of two, which makes them compress like integers.

    Parameters
    ----------
    values
        Any shape, float.
    step
        A power of two, e.g. ``2**-12``, so that the multiples are exact in float32.

    Returns
    -------
    numpy.ndarray
        float32 of the same shape; NaN stays NaN.
    """
    return (np.round(values / np.float32(step)) * np.float32(step)).astype(np.float32, copy=False)


def _least_block(shape: tuple[int, ...]) -> int:
    """Return the smallest block that holds a raster: a small one padded to 512 pixels costs four times the time to
    read.

    GDAL warns below 128.
    """
    return max(128, 16 * -(-max(shape) // 16))


def _stored(values: np.ndarray, profile: CogProfile) -> np.ndarray:
    """Return what stands in the file for values (y, x)."""
    if values.dtype.kind != "f":
        return values
    stored = np.empty(values.shape, np.float32)
    for rows in _some_rows(values):
        stored[rows] = _stored_rows(values[rows], profile)
    return stored


def _some_rows(values: np.ndarray) -> Iterator[slice]:
    """Yield parts of the rows that are small enough to stay in the cache of a core."""
    step = max(1, _CACHED // max(math.prod(values.shape[1:]), 1))
    return (slice(top, top + step) for top in range(0, len(values), step))


def _stored_rows(values: np.ndarray, profile: CogProfile) -> np.ndarray:
    if values.dtype.kind != "f":
        return values
    stored = values.astype(np.float32, copy=False) if profile.step is None else rounded(values, profile.step)
    return stored if profile.nodata is None else np.where(np.isnan(stored), np.float32(profile.nodata), stored)
