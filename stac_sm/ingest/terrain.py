"""Compute slope and aspect from heights on a grid of degrees, band by band, for the providers of elevation models.

The gradient is that of Zevenbergen and Thorne (central differences), in float64 over the metric distance of pixel
centres on the WGS84 ellipsoid. At the edge of a tile and beside pixels without data the difference is one-sided: the
neighbouring tile is not looked at, so the outermost rows and columns are a little less sure than the others.

Aspect is kept as two components, since degrees cannot be averaged across north: the mean of 359 and 1 is not 180.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from stac_sm.core.variables import VARIABLES
from stac_sm.ingest.provider_interface import AssetLayer, RasterLayer
from stac_sm.raster.cog import CogProfile

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

Heights = Callable[[int, int], np.ndarray]
"""Reads heights of rows from a first one up to an end: (y, x), m, float32, NaN = no data."""

_EQUATOR_RADIUS, _ECCENTRICITY_2 = 6378137.0, 0.00669437999014  # WGS84, metres and squared eccentricity
# Rounded so, they compress to half the size: a twentieth of a degree.
_STEPS = {"aspect_sin": 2**-10, "aspect_cos": 2**-10}
_DERIVED = ("slope", "aspect_sin", "aspect_cos")
_BAND_ROWS = 512  # rows that are read at a time, to bound memory
_BLOCK_COLUMNS = 512  # columns of them that are computed at a time: what lies between stays in the cache


def terrain_layers(heights: Heights, geobox: GeoBox) -> dict[str, AssetLayer]:
    """Return the assets ``elevation``, ``slope``, ``aspect_sin`` and ``aspect_cos`` of a tile, read when written."""
    terrain = _Terrain(heights, geobox)
    read: dict[str, Callable[[], np.ndarray]] = {
        "elevation": lambda: heights(0, geobox.shape[0]),
        **{name: partial(terrain.take, name) for name in _DERIVED},
    }
    profiles = {name: CogProfile(step=_STEPS.get(name)) for name in read}
    return {name: RasterLayer(VARIABLES[name], values, geobox, profiles[name]) for name, values in read.items()}


def slope(heights: Heights, geobox: GeoBox) -> np.ndarray:
    """Compute the steepness of the terrain (y, x), degrees, float32.

    NaN where elevation is NaN or has no neighbour along an axis.

    Parameters
    ----------
    heights
        Reads rows of the tile.
    geobox
        Its grid in degrees, north up.
    """
    return _Terrain(heights, geobox).take("slope")


def aspect_sin(heights: Heights, geobox: GeoBox) -> np.ndarray:
    """Compute the sine of the direction that the terrain faces (downhill), clockwise from north, (y, x), float32.

    1 faces east, -1 west; 0 where it is flat; NaN as in `slope`.
    """
    return _Terrain(heights, geobox).take("aspect_sin")


def aspect_cos(heights: Heights, geobox: GeoBox) -> np.ndarray:
    """Compute the cosine of the direction that the terrain faces (downhill), clockwise from north, (y, x), float32.

    1 faces north, -1 south; 0 where it is flat; NaN as in `slope`.
    """
    return _Terrain(heights, geobox).take("aspect_cos")


def heights_in_memory(elevation: np.ndarray) -> Heights:
    """Return a reader of heights that are in memory."""
    return lambda first, end: elevation[first:end]


class _Terrain:
    """Slope and aspect of a tile, computed together when the first of them is taken."""

    def __init__(self, heights: Heights, geobox: GeoBox) -> None:
        self._heights, self._geobox = heights, geobox
        self._made: dict[str, np.ndarray] = {}

    def take(self, name: str) -> np.ndarray:
        """Return one of them (y, x), float32, and let go of it."""
        if name not in self._made:
            self._made = _derived(self._heights, self._geobox)
        return self._made.pop(name)


def _derived(heights: Heights, geobox: GeoBox) -> dict[str, np.ndarray]:
    """Compute slope and aspect block by block, with the pixels around each block."""
    rows, columns = geobox.shape
    made = {name: np.empty((rows, columns), np.float32) for name in _DERIVED}
    meridian, parallel = _radii(geobox.affine.f + geobox.affine.e * (np.arange(rows) + 0.5))
    dy, dx = meridian * np.radians(-geobox.affine.e), parallel * np.radians(geobox.affine.a)
    for start in range(0, rows, _BAND_ROWS):
        first, end = max(start - 1, 0), min(start + _BAND_ROWS, rows)
        band = heights(first, min(end + 1, rows))
        for left in range(0, columns, _BLOCK_COLUMNS):
            west, right = max(left - 1, 0), min(left + _BLOCK_COLUMNS, columns)
            block = band[:, west : min(right + 1, columns)]
            inside = slice(start - first, end - first), slice(left - west, right - west)
            found = _block(block, inside, dx[start:end, np.newaxis], dy[start:end, np.newaxis])
            for name, values in zip(_DERIVED, found, strict=True):
                made[name][start:end, left:right] = values
    return made


def _block(
    heights: np.ndarray, inside: tuple[slice, slice], dx: np.ndarray, dy: np.ndarray
) -> tuple[np.ndarray | float, np.ndarray | float, np.ndarray | float]:
    """Compute slope and the two components of aspect of the inner part of a block of heights."""
    one = heights.flat[0]
    if np.isnan(one) and np.isnan(heights).all():
        return np.nan, np.nan, np.nan
    if min(heights.shape) > 1 and np.isfinite(one) and (heights == one).all():  # the sea
        return 0.0, 0.0, 0.0
    heights, (rows, columns) = heights.astype(np.float64), inside
    north = -_difference(heights[:, columns], 0)[rows] / dy
    east = _difference(heights[rows], 1)[:, columns] / dx
    steep = np.hypot(east, north)
    flat = steep == 0
    length = np.where(flat, 1.0, steep)
    return np.degrees(np.arctan(steep)), np.where(flat, 0.0, -east / length), np.where(flat, 0.0, -north / length)


def _difference(values: np.ndarray, axis: int) -> np.ndarray:
    """Change from one pixel to the next along an axis: mean of the steps before and after, or the one that is known."""
    steps = np.moveaxis(np.diff(values, axis=axis), axis, 0)
    if not len(steps):
        return np.full_like(values, np.nan)
    mean = np.empty((len(steps) + 1, *steps.shape[1:]))
    np.add(steps[:-1], steps[1:], out=mean[1:-1])
    mean[1:-1] /= 2
    mean[0], mean[-1] = steps[0], steps[-1]
    holes = np.isnan(mean[1:-1])
    mean[1:-1][holes] = np.where(np.isnan(steps[:-1][holes]), steps[1:][holes], steps[:-1][holes])
    return np.moveaxis(mean, 0, axis)


def _radii(lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return radii of curvature at latitudes in degrees, m: along the meridian, and of the parallel."""
    sine, cosine = np.sin(np.radians(lat)), np.cos(np.radians(lat))
    root = np.sqrt(1 - _ECCENTRICITY_2 * sine**2)
    return _EQUATOR_RADIUS * (1 - _ECCENTRICITY_2) / root**3, _EQUATOR_RADIUS * cosine / root
