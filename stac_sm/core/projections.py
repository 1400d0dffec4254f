"""Coordinate reference systems: their spelling in items and files, and the way between them and degrees.

The sinusoidal grid of MODIS has no EPSG code; it lies on a sphere of 6371007.181 m, whose degrees are used as they are.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

SPHERE_RADIUS = 6371007.181
"""Of the sphere of MODIS, metres."""

SINUSOIDAL_NAME = "MODIS Sinusoidal"
"""Name of the sinusoidal CRS of MODIS in files and items."""

SINUSOIDAL = f"+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R={SPHERE_RADIUS} +units=m +no_defs"
"""The sinusoidal CRS of MODIS, which has no EPSG code."""

_EQUATOR_RADIUS = 6378137.0  # metres, WGS 84
SNAP = 1e-6
"""Pixels: rounding must not move a point of a grid that nests exactly into the next pixel."""


@lru_cache(maxsize=64)
def crs_wkt(crs: str) -> str:
    """Return a CRS as WKT2:2019.

    Parameters
    ----------
    crs
        Anything that pyproj understands: a PROJ string, an authority code, a WKT.

    Returns
    -------
    str
        One spelling for each CRS, so that two spellings of a user can be compared. That of `named_wkt` is spelled as
        without its name: provenance does not depend on names.
    """
    known = pyproj.CRS.from_user_input(crs)
    if known.name == SINUSOIDAL_NAME and known == pyproj.CRS.from_user_input(SINUSOIDAL):
        known = pyproj.CRS.from_user_input(SINUSOIDAL)
    return str(known.to_wkt("WKT2_2019"))


@lru_cache(maxsize=64)
def named_wkt(crs: str) -> str:
    """Return a CRS as WKT2:2019 as files and items state it: the sinusoidal grid of MODIS, which has no code, by name.

    Parameters
    ----------
    crs
        Anything that pyproj understands.

    Returns
    -------
    str
        As `crs_wkt`; the CRS `SINUSOIDAL` is called `SINUSOIDAL_NAME`.
    """
    spelled = crs_wkt(crs)
    return spelled.replace('"unknown"', f'"{SINUSOIDAL_NAME}"', 1) if spelled == crs_wkt(SINUSOIDAL) else spelled


@lru_cache(maxsize=64)
def transformer_from_lonlat(crs: str) -> pyproj.Transformer:
    """Return a transformer from degrees east and north to a CRS.

    Parameters
    ----------
    crs
        Anything that pyproj understands.

    Returns
    -------
    pyproj.Transformer
        Takes lon, lat; gives x, y.
    """
    return _transformer("OGC:CRS84", crs)


@lru_cache(maxsize=64)
def transformer_to_lonlat(crs: str) -> pyproj.Transformer:
    """Return a transformer from a CRS to degrees east and north.

    Parameters
    ----------
    crs
        Anything that pyproj understands.

    Returns
    -------
    pyproj.Transformer
        Takes x, y; gives lon, lat.
    """
    return _transformer(crs, "OGC:CRS84")


def transform_points(source: str, target: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Transform points from one CRS to another.

    Parameters
    ----------
    source, target
        CRS of the points and CRS of the result: anything that pyproj understands.
    x, y
        Coordinates in units of ``source`` (degrees east and north for a geographic one), arrays of one shape.

    Returns
    -------
    tuple of numpy.ndarray
        x and y in units of ``target``; NaN where a point of a projected ``source`` lies off the Earth.
    """
    if crs_wkt(source) == crs_wkt(target):
        return x, y
    target_x, target_y = _transformer(source, target).transform(x, y)
    if pyproj.CRS.from_user_input(source).is_geographic:
        return target_x, target_y
    back_x, back_y = _transformer(target, source).transform(target_x, target_y)
    scale = max(float(np.ptp(x)), float(np.ptp(y)), 1.0)
    near = (np.abs(back_x - x) < 1e-6 * scale) & (np.abs(back_y - y) < 1e-6 * scale)
    return np.where(near, target_x, np.nan), np.where(near, target_y, np.nan)


@lru_cache(maxsize=64)
def _transformer(source: str, target: str) -> pyproj.Transformer:
    """Return a transformer that ignores the datum of a sphere: MODIS degrees are used as they are by everyone."""
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def snap_to_pixel_edges(at: np.ndarray) -> np.ndarray:
    """Move pixel coordinates that lie within a millionth of a pixel of an edge onto it.

    Rounding must not decide which pixel holds a point of a grid that nests exactly in another.

    Parameters
    ----------
    at
        Pixel coordinates, float, any shape; whole numbers are edges.

    Returns
    -------
    numpy.ndarray
        Coordinates of the same shape.
    """
    whole = np.round(at)
    return np.where(np.abs(at - whole) < SNAP, whole, at)


def projection_properties(geobox: GeoBox) -> dict[str, Any]:
    """Return the ``proj:*`` fields (STAC projection extension v2) of a GeoBox.

    Parameters
    ----------
    geobox
        Shape, affine and CRS of a raster.

    Returns
    -------
    dict
        ``proj:code`` (null for a CRS without one), ``proj:wkt2``, ``proj:projjson``, ``proj:shape`` (rows, columns) and
        ``proj:transform`` (six numbers, row-major).
    """
    affine = geobox.affine
    code, wkt, projjson = _crs_fields(str(geobox.crs))
    return {
        "proj:code": code,
        "proj:wkt2": wkt,
        "proj:projjson": json.loads(projjson),
        "proj:shape": [int(n) for n in geobox.shape],
        "proj:transform": [float(v) for v in (affine.a, affine.b, affine.c, affine.d, affine.e, affine.f)],
    }


@lru_cache(maxsize=64)
def _crs_fields(crs: str) -> tuple[str | None, str, str]:
    """Return code, WKT2:2019 and PROJJSON of a CRS.

    Kept, since the search for a code takes milliseconds, and 70 of them where a CRS has a name and no code: it is made
    by the spelling without a name.
    """
    authority = pyproj.CRS.from_user_input(crs_wkt(crs)).to_authority(min_confidence=100)
    named = pyproj.CRS.from_user_input(named_wkt(crs))
    return ":".join(authority) if authority else None, named.to_wkt("WKT2_2019"), named.to_json()


def ground_sample_distance(geobox: GeoBox) -> float:
    """Return the nominal size of a pixel, ``gsd`` of an item.

    Parameters
    ----------
    geobox
        Affine and CRS of a raster.

    Returns
    -------
    float
        Metres, to the millimetre: the longer side; of a grid in degrees at the equator.
    """
    longer = max(abs(geobox.affine.a), abs(geobox.affine.e))
    crs = pyproj.CRS.from_user_input(str(geobox.crs))
    metres = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
    return round(longer * (metres * _EQUATOR_RADIUS if crs.is_geographic else metres), 3)
