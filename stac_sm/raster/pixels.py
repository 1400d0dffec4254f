"""Read single pixels of a file, without a graph: the short way for points, which skips no check.

`product.read` reads series of points here. Where anything is not as expected (a fault, a contradiction between item and
file), the pixel is read by `read_window`, which tries again, or reports what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.core.errors import StacSmError
from stac_sm.raster.fetch import local_copy
from stac_sm.raster.read import read_window
from stac_sm.raster.readers import DEFAULT_READER
from stac_sm.raster.source import RasterSource, Window
from stac_sm.storage.address import is_remote
from stac_sm.storage.retry import AttemptError, GaveUpError, RetryPolicy
from stac_sm.storage.trust import check_href

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pixel = tuple[int, int]
"""Row and column."""

_LARGEST_BLOCK = (
    1 << 22
)  # pixels; files with larger blocks are read the long way, which refuses what would exhaust memory


def read_pixels(source: RasterSource, pixels: Sequence[Pixel], *, reader: str = DEFAULT_READER) -> NDArray[np.float32]:
    """Read the physical values of some pixels of a file.

    A file of this machine is opened once for all of them. It is not compared with its checksum: that would read all of
    it.

    Parameters
    ----------
    source
        The band. Its ``root`` is the catalogue that the item came from.
    pixels
        Rows and columns inside the file.
    reader
        Reader of the long way: ``stackstac`` or ``odc``.

    Returns
    -------
    numpy.ndarray
        float32, in the order of ``pixels``, in the unit of the source; NaN where there is no data.

    Raises
    ------
    CatalogError
        If the href may not be followed, or item and file disagree.
    ReadError
        If a pixel cannot be read.
    """
    source = replace(source, href=check_href(source.href, source.root))
    remote = is_remote(source.href)
    source = source if remote else replace(source, checksum="")
    found = np.empty(len(pixels), np.float32)
    for group in [[at] for at in range(len(pixels))] if remote else [list(range(len(pixels)))]:
        values = _quick(source, [pixels[at] for at in group]) if group else None
        for place, at in enumerate(group):
            found[at] = read_window(source, _window(pixels[at]), reader)[0, 0] if values is None else values[place]
    return found


def _quick(source: RasterSource, pixels: Sequence[Pixel]) -> NDArray[np.float32] | None:
    """Return values by the short way; None if anything is not as expected."""
    import rasterio

    try:
        with (
            local_copy(source, _window(pixels[0]), source.root, RetryPolicy.from_environment()) as copy,
            rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
            rasterio.open(copy.name, driver="GTiff") as file,
        ):
            if not _agree(source, file):
                return None
            stored = np.array([[file.read(source.band, window=_window(pixel))[0, 0]] for pixel in pixels])
    except (StacSmError, AttemptError, GaveUpError, OSError, rasterio.errors.RasterioError):
        return None
    return source.physical(stored)[:, 0]


def _agree(source: RasterSource, file: Any) -> bool:
    """Return whether a file is as the item says in all that its values and their places depend on."""
    from rasterio.enums import MaskFlags

    stated = (source.bands, tuple(source.geobox.shape), source.dtype, str(source.nodata))
    found = (file.count, file.shape, file.dtypes[0], str(file.nodata))
    scaled = (file.scales[source.band - 1], file.offsets[source.band - 1])
    return (
        stated == found
        and file.transform.almost_equals(source.geobox.affine, 1e-6 * abs(source.geobox.affine.a))
        and scaled == (source.scale or 1.0, source.offset or 0.0)
        and MaskFlags.per_dataset not in file.mask_flag_enums[0]
        and math.prod(file.block_shapes[0]) <= _LARGEST_BLOCK
        and file.crs is not None
        and _same_crs(str(source.geobox.crs), file.crs.to_wkt())
    )


@lru_cache(maxsize=64)
def _same_crs(one: str, other: str) -> bool:
    """Return whether two CRS place the same numbers at the same point, whatever they are called."""
    import pyproj

    first, second = (pyproj.CRS.from_user_input(crs) for crs in (one, other))
    if first == second:
        return True
    operations = [crs.coordinate_operation for crs in (first, second)]
    if None in operations or first.ellipsoid is None or second.ellipsoid is None:
        return False
    axes = [(crs.ellipsoid.semi_major_metre, crs.ellipsoid.inverse_flattening) for crs in (first, second)]  # type: ignore[union-attr]
    return axes[0] == axes[1] and _numbers(operations[0]) == _numbers(operations[1])


def _numbers(operation: Any) -> tuple[str, dict[str, float]]:
    numbers = {one.name: round(float(one.value) * one.unit_conversion_factor, 9) for one in operation.params}
    return operation.method_name, {name: number for name, number in numbers.items() if number}


def _window(pixel: Pixel) -> Window:
    row, column = pixel
    return slice(row, row + 1), slice(column, column + 1)
