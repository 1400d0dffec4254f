"""Outlines of pixels in degrees: the footprint of a raster, also where a part of it lies off the Earth."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from shapely import get_coordinates, get_parts
from shapely.geometry import MultiPolygon, Polygon, box, mapping, shape
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from stac_sm.core.errors import InputError
from stac_sm.core.projections import transformer_from_lonlat, transformer_to_lonlat

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

OUTLINE_ERROR = 1e-4
"""Largest distance between the outline in an item and that of its pixels: part of the shorter side of its bounds."""

_FOOTPRINT_STEPS = 60  # points along one side
_OFF_EDGE = 1e-7  # of the height of a box: a decimetre from the edge of a tile, where points still come back


def footprint(geobox: GeoBox) -> Polygon | None:
    """Return the outline of a GeoBox in degrees, densified along curved edges.

    Where a part of the box lies off the Earth (edge tiles of the sinusoidal grid), the outline follows the part that is
    on it. Grids in degrees whose outer pixels reach half a pixel beyond the pole or the antimeridian are cut there.

    Parameters
    ----------
    geobox
        Shape, affine and CRS of a raster.

    Returns
    -------
    Polygon or None
        Longitude and latitude in degrees; None if no part of the box is on the Earth.
    """
    if geobox.crs is not None and geobox.crs.geographic:
        return _outline(box(*geobox.boundingbox).intersection(box(-180, -90, 180, 90)))
    rows, columns = geobox.shape
    return projected_footprint((rows, columns), geobox.affine, str(geobox.crs))


def footprint_geometry(geobox: GeoBox) -> tuple[dict[str, Any], list[float]]:
    """Return the geometry and the bbox of a GeoBox for a STAC item.

    Parameters
    ----------
    geobox
        Shape, affine and CRS of a raster.

    Returns
    -------
    tuple
        GeoJSON geometry, and west, south, east, north in degrees.

    Raises
    ------
    InputError
        If the box lies off the Earth.
    """
    polygon = footprint(geobox)
    if polygon is None:
        raise InputError(f"the box {geobox.boundingbox} lies off the Earth in its own CRS: check origin and pixel size")
    return dict(mapping(polygon)), [float(v) for v in polygon.bounds]


def item_geometry(geometry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a geometry as items hold it: exterior rings counter-clockwise (RFC 7946), without needless vertices.

    A vertex is left out where the outline without it is less than `OUTLINE_ERROR` away. What was returned once is
    returned as it is.

    Parameters
    ----------
    geometry
        GeoJSON in degrees.

    Returns
    -------
    dict
        GeoJSON. Polygons and MultiPolygons may differ from what was given, others do not.
    """
    if geometry.get("type") not in {"Polygon", "MultiPolygon"}:
        return dict(geometry)
    return dict(json.loads(_item_geometry(json.dumps(geometry))))


@lru_cache(maxsize=4096)
def _item_geometry(geometry: str) -> str:
    """Return the text of a geometry: the same footprint repeats from day to day."""
    found = shape(json.loads(geometry))
    if found.is_empty or not found.is_valid:
        return geometry
    parts = [orient(part) for part in get_parts(found)]
    found = parts[0] if isinstance(found, Polygon) else MultiPolygon(parts)
    west, south, east, north = found.bounds
    tolerance = OUTLINE_ERROR * min(east - west, north - south)
    while True:  # until nothing more is left out: the result of a second call is that of the first
        fewer = found.simplify(tolerance)
        if len(get_coordinates(fewer)) == len(get_coordinates(found)) or fewer.bounds != found.bounds:
            break
        found = fewer
    return json.dumps(mapping(found))


def projected_footprint(shape: tuple[int, int], affine: Affine, crs: str) -> Polygon | None:
    """Return the outline in degrees of pixels of a projected CRS, as `footprint` does, without odc-geo.

    Parameters
    ----------
    shape
        Rows, columns.
    affine
        From column and row to x and y, in units of the CRS.
    crs
        Anything that pyproj understands.

    Returns
    -------
    Polygon or None
        Longitude and latitude in degrees; None if no part of the pixels is on the Earth.
    """
    rows, columns = shape
    x = affine.c + affine.a * np.linspace(0, columns, _FOOTPRINT_STEPS + 1)
    y = affine.f + affine.e * np.linspace(0, rows, _FOOTPRINT_STEPS + 1)
    ring_x = np.concatenate([x, np.full_like(y, x[-1]), x[::-1], np.full_like(y, x[0])])
    ring_y = np.concatenate([np.full_like(x, y[0]), y, np.full_like(x, y[-1]), y[::-1]])
    lon, lat, valid = _on_earth(crs, ring_x, ring_y)
    if valid.all():
        return _polygon(lon, lat)
    return _clipped_outline(shape, affine, crs)


def _on_earth(crs: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the degrees of projected points, and whether each comes back to itself."""
    lon, lat = transformer_to_lonlat(crs).transform(x, y)
    back_x, back_y = transformer_from_lonlat(crs).transform(lon, lat)
    tolerance = 1e-9 * np.maximum(np.abs(x), np.abs(y)).max(initial=1.0)  # centimetres: poles are close to their mirror
    near = (np.abs(back_x - x) < tolerance) & (np.abs(back_y - y) < tolerance)
    return lon, lat, np.isfinite(lon) & np.isfinite(lat) & near


def _clipped_outline(shape: tuple[int, int], affine: Affine, crs: str) -> Polygon | None:
    """Return the outline through the westernmost and easternmost point on the Earth along lines through a box."""
    height, width = shape
    x = affine.c + affine.a * np.linspace(0, width, _FOOTPRINT_STEPS + 1)
    lines = np.linspace(_OFF_EDGE, 1 - _OFF_EDGE, 2 * _FOOTPRINT_STEPS + 1)  # on the pole, all x but one are off
    rows = affine.f + affine.e * height * lines

    def on_earth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return _on_earth(crs, x, y)[2]

    def any_on_earth(y: np.ndarray) -> np.ndarray:
        valid = on_earth(np.tile(x, y.size), np.repeat(y, x.size)).reshape(y.size, x.size)
        return np.asarray(valid.any(axis=1))

    meets = any_on_earth(rows)
    change = np.flatnonzero(meets[1:] != meets[:-1])
    inside, outside = np.where(meets[change], change, change + 1), np.where(meets[change], change + 1, change)
    y = np.sort(np.concatenate([rows[meets], _bisect(any_on_earth, rows[inside], rows[outside])]))
    if y.size < 2:
        return None
    grid_x, grid_y = np.meshgrid(x, y)
    valid = on_earth(grid_x.ravel(), grid_y.ravel()).reshape(grid_x.shape)
    first, last = valid.argmax(axis=1), x.size - 1 - valid[:, ::-1].argmax(axis=1)
    west, east = (
        _bisect(lambda x: on_earth(x, y), x[edge], x[np.clip(edge + step, 0, x.size - 1)])
        for edge, step in ((first, -1), (last, 1))
    )
    lon, lat, _ = _on_earth(crs, np.concatenate([west, east[::-1]]), np.concatenate([y, y[::-1]]))
    return _polygon(lon, lat)


def _bisect(holds: Callable[[np.ndarray], np.ndarray], inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Return the last places from ``inside`` towards ``outside`` where a condition holds; it holds at ``inside``."""
    step = outside - inside
    for _ in range(48):
        step = step / 2
        inside = np.where(holds(inside + step), inside + step, inside)
    return inside


def _polygon(lon: np.ndarray, lat: np.ndarray) -> Polygon | None:
    return _outline(Polygon(np.column_stack([lon, lat]).round(9)).buffer(0))


def _outline(shape: BaseGeometry) -> Polygon | None:
    return shape if isinstance(shape, Polygon) and not shape.is_empty else None
