"""Cloud-Optimized GeoTIFF: write one array, and prove that it reads back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from odc.geo.geobox import GeoBox

from stac_sm.core.errors import InputError, ReadError
from stac_sm.core.grid import crs_wkt

if TYPE_CHECKING:
    from rasterio.io import MemoryFile


@dataclass(frozen=True)
class CogProfile:
    """How an array becomes bytes; part of the fingerprint of a product."""

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
        """Return what identifies the profile: explicit names, so that renaming a field makes no result stale."""
        return {
            "nodata": self.nodata,
            "step": self.step,
            "overviews": self.overviews,
            "scale": self.scale,
            "offset": self.offset,
            "block": self.block,
            "level": self.level,
        }


def write_cog(values: np.ndarray, path: str | Path, *, geobox: GeoBox, profile: CogProfile = CogProfile()) -> None:
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

    Notes
    -----
    The same values give the same bytes, for any number of threads.

    Raises
    ------
    InputError
        If the array has not the shape of the GeoBox.
    """
    import rasterio.shutil
    from rasterio.io import MemoryFile

    stored = _stored(values, profile)
    wanted = tuple(geobox.shape)
    if stored.shape != wanted:
        raise InputError(f"array of shape {stored.shape} does not fit the grid of shape {wanted} of {path}")
    # GDAL copies whole rasters to COGs. When rasterio does so at the end of writing it keeps Python's lock, and threads
    # wait for each other; in a copy that we ask for it lets go of it.
    with MemoryFile() as memory:
        _fill(memory, stored, geobox, profile)
        with memory.open() as file:
            rasterio.shutil.copy(file, path, driver="COG", **_creation(stored, profile))


def _fill(memory: MemoryFile, stored: np.ndarray, geobox: GeoBox, profile: CogProfile) -> None:
    """Put an array into memory as a plain GeoTIFF."""
    from rasterio.crs import CRS

    height, width = stored.shape
    with memory.open(
        driver="GTiff",
        width=width,
        height=height,
        count=1,
        dtype=stored.dtype,
        crs=CRS.from_wkt(crs_wkt(str(geobox.crs))),
        transform=geobox.affine,
        nodata=profile.nodata,
    ) as file:
        file.write(stored, 1)
        file.scales, file.offsets = (profile.scale,), (profile.offset,)


def _creation(stored: np.ndarray, profile: CogProfile) -> dict[str, Any]:
    """Options of GDAL's COG driver."""
    return {
        "compress": "DEFLATE",
        "predictor": 3 if stored.dtype.kind == "f" else 2,
        "level": profile.level,
        "blocksize": min(profile.block, _least_block(stored.shape)),
        "overview_resampling": profile.overviews,
    }


def verify_cog(values: np.ndarray, path: str | Path, *, profile: CogProfile = CogProfile()) -> None:
    """Open a COG again, decode every block of every level, and compare it with what was written.

    Raises
    ------
    ReadError
        If anything cannot be decoded, or differs.
    """
    import rasterio

    stored = _stored(values, profile)
    with_nan = stored.dtype.kind == "f" and profile.nodata is None
    try:
        with rasterio.open(path) as file:
            head = (file.shape, file.dtypes, file.nodata, file.scales, file.offsets)
            meant = (stored.shape, (stored.dtype.name,), profile.nodata, (profile.scale,), (profile.offset,))
            same = head == meant and np.array_equal(file.read(1), stored, equal_nan=with_nan)
            levels = file.overviews(1)
        for index in range(len(levels)):
            with rasterio.open(path, overview_level=index) as overview:
                overview.read(1)
    except rasterio.errors.RasterioError as error:
        raise ReadError(f"{path} was written but cannot be decoded: {error}; check the disk and run again") from error
    if not same:
        raise ReadError(f"{path} was written but holds other values than were meant: check the disk and run again")


def rounded(values: np.ndarray, step: float) -> np.ndarray:
    """Float32 values rounded to multiples of a power of two, which makes them compress like integers."""
    return (np.round(values / np.float32(step)) * np.float32(step)).astype(np.float32)


def _least_block(shape: tuple[int, ...]) -> int:
    """Smallest block that holds a raster: a small one padded to 512 pixels costs four times the time to read.

    GDAL warns below 128.
    """
    return max(128, 16 * -(-max(shape) // 16))


def _stored(values: np.ndarray, profile: CogProfile) -> np.ndarray:
    if values.dtype.kind != "f":
        return values
    stored = values.astype(np.float32) if profile.step is None else rounded(values, profile.step)
    return stored if profile.nodata is None else np.where(np.isnan(stored), np.float32(profile.nodata), stored)
