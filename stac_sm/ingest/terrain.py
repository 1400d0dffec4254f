"""Compute slope and aspect from heights on a grid of degrees, band by band, for the providers of elevation models.

The gradient is that of Zevenbergen and Thorne (central differences), in float64 over the metric distance of pixel
centres on the WGS84 ellipsoid. At the edge of a tile and beside pixels without data the difference is one-sided: the
neighbouring tile is not looked at, so the outermost rows and columns are a little less sure than the others.

Aspect is kept as two components, since degrees cannot be averaged across north: the mean of 359 and 1 is not 180.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from odc.geo.geobox import GeoBox

from stac_sm.core.variables import VARIABLES
from stac_sm.ingest.provider_interface import AssetLayer, RasterLayer
from stac_sm.raster.cog import CogProfile

Heights = Callable[[int, int], np.ndarray]
"""Reads heights of rows from a first one up to an end: (y, x), m, float32, NaN = no data."""

_EQUATOR_RADIUS, _ECCENTRICITY_2 = 6378137.0, 0.00669437999014  # WGS84, metres and squared eccentricity
# Rounded so, they compress to half the size: a twentieth of a degree.
_STEPS = {"aspect_sin": 2**-10, "aspect_cos": 2**-10}
_BAND_ROWS = 512  # rows that are computed at a time, to bound memory


def terrain_layers(heights: Heights, geobox: GeoBox) -> dict[str, AssetLayer]:
    """Return the assets ``elevation``, ``slope``, ``aspect_sin`` and ``aspect_cos`` of a tile, read when written."""
    read: dict[str, Callable[[], np.ndarray]] = {
        "elevation": lambda: heights(0, geobox.shape[0]),
        "slope": partial(slope, heights, geobox),
        "aspect_sin": partial(aspect_sin, heights, geobox),
        "aspect_cos": partial(aspect_cos, heights, geobox),
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
    return _by_bands(heights, geobox, lambda east, north: np.degrees(np.arctan(np.hypot(east, north))))


def aspect_sin(heights: Heights, geobox: GeoBox) -> np.ndarray:
    """Compute the sine of the direction that the terrain faces (downhill), clockwise from north, (y, x), float32.

    1 faces east, -1 west; 0 where it is flat; NaN as in `slope`.
    """
    return _by_bands(heights, geobox, lambda east, north: _component(east, north, east))


def aspect_cos(heights: Heights, geobox: GeoBox) -> np.ndarray:
    """Compute the cosine of the direction that the terrain faces (downhill), clockwise from north, (y, x), float32.

    1 faces north, -1 south; 0 where it is flat; NaN as in `slope`.
    """
    return _by_bands(heights, geobox, lambda east, north: _component(east, north, north))


def heights_in_memory(elevation: np.ndarray) -> Heights:
    """Return a reader of heights that are in memory."""
    return lambda first, end: elevation[first:end]


def _component(east: np.ndarray, north: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return one component of the unit vector downhill; 0 where there is no hill."""
    steep = np.hypot(east, north)
    return np.where(steep == 0, 0.0, -part / np.where(steep == 0, 1.0, steep))


def _by_bands(heights: Heights, geobox: GeoBox, of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply a function of the rise to the east and to the north (both m per m) to bands of rows that overlap by one."""
    rows = geobox.shape[0]
    result = np.empty(tuple(geobox.shape), np.float32)
    meridian, parallel = _radii(geobox.affine.f + geobox.affine.e * (np.arange(rows) + 0.5))
    dy, dx = meridian * np.radians(-geobox.affine.e), parallel * np.radians(geobox.affine.a)
    for start in range(0, rows, _BAND_ROWS):
        first, end = max(start - 1, 0), min(start + _BAND_ROWS, rows)
        band = heights(first, min(end + 1, rows)).astype(np.float64)
        own = slice(start - first, end - first)
        north = -_difference(band, 0)[own] / dy[start:end, np.newaxis]
        east = _difference(band[own], 1) / dx[start:end, np.newaxis]
        result[start:end] = of(east, north)
    return result


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
