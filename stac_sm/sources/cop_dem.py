"""Copernicus DEM GLO-30 and GLO-90: 1 degree tiles of elevation, and the slope derived from them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from stac_sm.cog import CogProfile
from stac_sm.errors import GranuleError
from stac_sm.items import raster_item
from stac_sm.period import Period, utc
from stac_sm.sources import Granule, RasterLayer, Scan
from stac_sm.variables import VARIABLES

ACQUIRED = Period(date(2010, 12, 1), date(2016, 1, 1))
"""Days on which TanDEM-X took the images that the DEM is made of."""

_EQUATOR_RADIUS, _ECCENTRICITY_2 = 6378137.0, 0.00669437999014  # WGS84, metres and squared eccentricity
_BAND_ROWS = 512  # rows that slope is computed for at a time, to bound memory


@dataclass(frozen=True)
class CopDem:
    """Tiles as they lie in the open buckets ``copernicus-dem-30m`` and ``copernicus-dem-90m``."""

    collection: str = "cop-dem"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("Copernicus_DSM_COG_*_DEM.tif",)
    """Names of its files."""

    def scan(self, file: Path) -> Scan:
        """One item: a tile with elevation and slope."""
        south, west = _corner(file)
        geobox = _geobox(file)
        _check_place(file, geobox, south, west)
        item = raster_item(
            id=file.stem.removesuffix("_DEM"),
            collection=self.collection,
            geobox=geobox,
            start=utc(ACQUIRED.start),
            end=utc(ACQUIRED.end),
        )
        layers: dict[str, Any] = {
            "elevation": RasterLayer(VARIABLES["elevation"], partial(read_elevation, file), geobox, CogProfile()),
            "slope": RasterLayer(VARIABLES["slope"], partial(_read_slope, file, geobox), geobox, CogProfile()),
        }
        return Scan([Granule(item, layers)])


def read_elevation(file: Path) -> np.ndarray:
    """Heights above the geoid (y, x), m, float32; NaN where the file has no data.

    Raises
    ------
    GranuleError
        If they cannot be decoded.
    """
    import rasterio

    try:
        with rasterio.open(file, driver="GTiff") as data:
            return np.asarray(data.read(1, masked=True).astype(np.float32).filled(np.nan))
    except rasterio.errors.RasterioError as error:
        raise _unreadable(file, error) from error


def slope(elevation: np.ndarray, geobox: GeoBox) -> np.ndarray:
    """Steepness of the terrain (y, x), degrees, float32.

    Central differences in float64 over the metric distance of pixel centres on the WGS84 ellipsoid. At the edge of a
    tile and beside pixels without data the difference is one-sided; NaN where elevation is NaN or has no neighbour
    along an axis.

    Parameters
    ----------
    elevation
        (y, x), m; NaN = no data.
    geobox
        Its grid in degrees, north up.
    """
    rows = elevation.shape[0]
    result = np.empty(elevation.shape, np.float32)
    lat = geobox.affine.f + geobox.affine.e * (np.arange(rows) + 0.5)
    meridian, parallel = _radii(lat)
    dy, dx = meridian * np.radians(-geobox.affine.e), parallel * np.radians(geobox.affine.a)
    for start in range(0, rows, _BAND_ROWS):
        first, end = max(start - 1, 0), min(start + _BAND_ROWS, rows)
        band = elevation[first : end + 1].astype(np.float64)
        own = slice(start - first, end - first)
        south = _difference(band, 0)[own] / dy[start:end, np.newaxis]
        east = _difference(band[own], 1) / dx[start:end, np.newaxis]
        result[start:end] = np.degrees(np.arctan(np.hypot(south, east)))
    return result


def _difference(values: np.ndarray, axis: int) -> np.ndarray:
    """Change from one pixel to the next along an axis: mean of the steps before and after, or the one that is known."""
    gap = np.full_like(np.take(values, [0], axis), np.nan)
    steps = np.diff(values, axis=axis)
    before, after = np.concatenate([gap, steps], axis), np.concatenate([steps, gap], axis)
    both = (before + after) / 2
    return np.where(np.isnan(both), np.where(np.isnan(before), after, before), both)


def _radii(lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Radii of curvature at latitudes in degrees, m: along the meridian, and of the parallel."""
    sine, cosine = np.sin(np.radians(lat)), np.cos(np.radians(lat))
    root = np.sqrt(1 - _ECCENTRICITY_2 * sine**2)
    return _EQUATOR_RADIUS * (1 - _ECCENTRICITY_2) / root**3, _EQUATOR_RADIUS * cosine / root


def _read_slope(file: Path, geobox: GeoBox) -> np.ndarray:
    return slope(read_elevation(file), geobox)


def _corner(file: Path) -> tuple[int, int]:
    """Degrees north and east of the south-west corner in a file name."""
    match = re.fullmatch(r"Copernicus_DSM_COG_(?:10|30)_([NS])(\d\d)_00_([EW])(\d{3})_00_DEM\.tif", file.name)
    if match is None:
        wanted = "Copernicus_DSM_COG_30_N46_00_E011_00_DEM.tif"
        raise GranuleError(f"{file}: found the name {file.name}, wanted one like {wanted}: is it another product?")
    south, west = int(match[2]), int(match[4])
    return (south if match[1] == "N" else -south), (west if match[3] == "E" else -west)


def _geobox(file: Path) -> GeoBox:
    import rasterio

    try:
        with rasterio.open(file, driver="GTiff") as data:
            crs, affine, shape, count = data.crs, data.transform, data.shape, data.count
    except rasterio.errors.RasterioError as error:
        raise _unreadable(file, error) from error
    if crs is None or crs.to_epsg() != 4326 or count != 1 or affine.b or affine.d or affine.a <= 0 or affine.e >= 0:
        raise GranuleError(
            f"{file}: found {count} band(s) in {crs} with transform {tuple(affine)[:6]}, "
            "wanted one band in EPSG:4326, north up: fetch the tile again"
        )
    return GeoBox(shape, affine, "EPSG:4326")


def _check_place(file: Path, geobox: GeoBox, south: int, west: int) -> None:
    """Compare the georeference with the name, to one pixel: centres lie on whole degrees, edges half a pixel off."""
    box, (dx, dy) = geobox.boundingbox, (geobox.affine.a, -geobox.affine.e)
    off_x = max(abs(box.left - west), abs(box.right - west - 1)) / dx
    off_y = max(abs(box.bottom - south), abs(box.top - south - 1)) / dy
    if max(off_x, off_y) > 1:
        found = ", ".join(f"{value:.4f}" for value in (box.left, box.bottom, box.right, box.top))
        raise GranuleError(
            f"{file}: its georeference says west, south, east, north {found}, its name {west}, {south}, {west + 1}, "
            f"{south + 1}: one of the two is wrong; fetch it again"
        )


def _unreadable(file: Path, error: Exception) -> GranuleError:
    size = file.stat().st_size if file.exists() else 0
    return GranuleError(f"{file}: {size} bytes found that are no readable GeoTIFF ({error}): fetch it again")
