"""Tile grids: where the pixels of a product lie.

Every stage that places pixels asks this module: ingest for footprints and ``proj:*`` fields, stations for the pixel of
a station, planning for the tiles of a region, prediction for the GeoBox of a tile. The default is the MODIS sinusoidal
grid at 1 km: a sphere of 6371007.181 m, 36 x 18 tiles of 1200 x 1200 pixels of 926.625433138... m. It has no EPSG code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyproj
from odc.geo.geobox import GeoBox
from shapely import get_coordinates, segmentize
from shapely.geometry import Polygon, box, mapping
from shapely.geometry.base import BaseGeometry

from stac_sm.core.errors import InputError

_SNAP = 1e-6  # pixels: rounding must not move a point of a grid that nests exactly into the next pixel
SPHERE_RADIUS = 6371007.181
SINUSOIDAL = f"+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R={SPHERE_RADIUS} +units=m +no_defs"
_FOOTPRINT_STEPS = 60  # points along one side
_CHORD = 0.05  # degrees: largest distance between the curved edge of a tile and its outline
_OFF_EDGE = 1e-7  # of the height of a box: a decimetre from the edge of a tile, where points still come back


@dataclass(frozen=True)
class TileGrid:
    """A regular grid that is cut into equal tiles, numbered from its upper left corner."""

    name: str
    """Name in items and project files, e.g. ``"modis-sinusoidal-1km"``."""

    crs: str
    """Anything that pyproj understands: a PROJ string, an authority code, a WKT."""

    origin: tuple[float, float]
    """x and y of the upper left corner of tile column 0, row 0, in units of the CRS."""

    pixel: tuple[float, float]
    """Width and height of a pixel, both positive, in units of the CRS."""

    tile_shape: tuple[int, int]
    """Rows and columns of pixels in a tile."""

    tiles: tuple[int, int]
    """Columns and rows of tiles."""

    code: str
    """Designation before the hyphen of ``grid:code``, e.g. ``"MSIN"``."""

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return the definition of the grid as it enters fingerprints.

        Returns
        -------
        dict
            Name to value. The keys are spelled out, so that renaming a field makes no result stale.
        """
        return {
            "name": self.name,
            "crs": self.crs,
            "origin": self.origin,
            "pixel": self.pixel,
            "tile_shape": self.tile_shape,
            "tiles": self.tiles,
            "code": self.code,
        }

    def tile_id(self, column: int, row: int) -> str:
        """Return the id of the tile in a column and row, e.g. ``h10v05``.

        Parameters
        ----------
        column
            Column of the tile, from 0 in the west.
        row
            Row of the tile, from 0 in the north.

        Returns
        -------
        str
            The id; it is not checked that the grid has the tile.
        """
        return f"h{column:02d}v{row:02d}"

    def grid_code(self, tile: str) -> str:
        """Return the value of ``grid:code`` (STAC grid extension) of a tile, e.g. ``MSIN-1005``.

        Parameters
        ----------
        tile
            Tile id, e.g. ``"h10v05"``.

        Returns
        -------
        str
            Designation of the grid, a hyphen, column and row.

        Raises
        ------
        InputError
            If the grid has no such tile.
        """
        column, row = self.column_row(tile)
        return f"{self.code}-{column:02d}{row:02d}"

    def column_row(self, tile: str) -> tuple[int, int]:
        """Return the column and the row of a tile.

        Parameters
        ----------
        tile
            Tile id, e.g. ``"h10v05"``.

        Returns
        -------
        tuple of int
            Column from 0 in the west, row from 0 in the north.

        Raises
        ------
        InputError
            If the grid has no such tile.
        """
        match = re.fullmatch(r"h([0-9]{2,})v([0-9]{2,})", tile)
        column, row = (int(match[1]), int(match[2])) if match else self.tiles
        if column >= self.tiles[0] or row >= self.tiles[1] or tile != self.tile_id(column, row):
            last = self.tile_id(self.tiles[0] - 1, self.tiles[1] - 1)
            raise InputError(f"tile {tile!r} is not in grid {self.name}: its tiles are h00v00 to {last}")
        return column, row

    def geobox(self, tile: str) -> GeoBox:
        """Return the GeoBox of a tile.

        Parameters
        ----------
        tile
            Tile id, e.g. ``"h10v05"``.

        Returns
        -------
        GeoBox
            Shape (rows, columns), affine and CRS; north up.

        Raises
        ------
        InputError
            If the grid has no such tile.
        """
        from affine import Affine

        column, row = self.column_row(tile)
        (height, width), (dx, dy) = self.tile_shape, self.pixel
        x, y = self.origin[0] + column * width * dx, self.origin[1] - row * height * dy
        return GeoBox(self.tile_shape, Affine(dx, 0, x, 0, -dy, y), crs_wkt(self.crs))

    def tile_at(self, lon: float, lat: float) -> tuple[str, int, int]:
        """Return the tile and the pixel that hold a point.

        Parameters
        ----------
        lon
            Degrees east.
        lat
            Degrees north.

        Returns
        -------
        tuple
            Tile id, pixel row and pixel column in the tile, from 0 at its upper left corner. A point on an edge (to a
            millionth of a pixel) belongs to the pixel east or south of it.

        Raises
        ------
        InputError
            If the point lies outside the grid.
        """
        x, y = transformer_from_lonlat(self.crs).transform(lon, lat)
        column, row = (x - self.origin[0]) / self.pixel[0], (self.origin[1] - y) / self.pixel[1]
        if not (math.isfinite(column) and math.isfinite(row)):
            raise InputError(
                f"point ({lon}, {lat}) lies outside grid {self.name}: required are degrees east, then degrees north"
            )
        (height, width), (py, px) = (
            self.tile_shape,
            np.floor(snap_to_pixel_edges(np.array([row, column]))).astype(int).tolist(),
        )
        tile = self.tile_id(px // width, py // height)
        self.column_row(tile)
        return tile, py % height, px % width

    def tiles_in(self, bbox: tuple[float, float, float, float]) -> Iterator[str]:
        """Find the tiles that meet a box.

        Parameters
        ----------
        bbox
            West, south, east, north in degrees; a point or a line is allowed. A tile that only touches the box is
            included.

        Yields
        ------
        str
            Tile ids, row by row from the north.

        Raises
        ------
        InputError
            If the box is upside down or crosses the antimeridian.
        """
        west, south, east, north = bbox
        if west > east or south > north:
            raise InputError(
                f"box {bbox} is not in the order west, south, east, north; split a box across the antimeridian into two"
            )
        area = box(*bbox).envelope  # a point or a line where the box has no width or height
        for row in range(self.tiles[1]):
            for column in range(self.tiles[0]):
                tile = self.tile_id(column, row)
                footprint = self.footprint(tile)
                if footprint is not None and (footprint.intersects(area) or self._reaches(tile, footprint, area)):
                    yield tile

    def footprint(self, tile: str) -> Polygon | None:
        """Return the outline of a tile in degrees.

        Parameters
        ----------
        tile
            Tile id, e.g. ``"h10v05"``.

        Returns
        -------
        Polygon or None
            Longitude and latitude in degrees, with 60 points a side; None where the tile lies off the Earth. Remembered
            for 4096 tiles.

        Raises
        ------
        InputError
            If the grid has no such tile.
        """
        return _tile_footprint(self, tile)

    def _reaches(self, tile: str, footprint: Polygon, area: BaseGeometry) -> bool:
        """Return whether the strip between a tile's curved edge and its straight outline meets an area."""
        if footprint.distance(area) > _CHORD:
            return False
        strip = area.intersection(footprint.buffer(_CHORD))
        x, y = transformer_from_lonlat(self.crs).transform(*get_coordinates(segmentize(strip, _CHORD / 10)).T)
        left, bottom, right, top = self.geobox(tile).boundingbox.buffered(1e-6 * self.pixel[0])
        return bool(((left <= x) & (x <= right) & (bottom <= y) & (y <= top)).any())


MODIS_SINUSOIDAL_1KM = TileGrid(
    name="modis-sinusoidal-1km",
    crs=SINUSOIDAL,
    origin=(-math.pi * SPHERE_RADIUS, math.pi * SPHERE_RADIUS / 2),
    pixel=(math.pi * SPHERE_RADIUS / 21600, math.pi * SPHERE_RADIUS / 21600),
    tile_shape=(1200, 1200),
    tiles=(36, 18),
    code="MSIN",
)


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
        One spelling for each CRS, so that two spellings of a user can be compared.
    """
    return str(pyproj.CRS.from_user_input(crs).to_wkt("WKT2_2019"))


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
    return np.where(np.abs(at - whole) < _SNAP, whole, at)


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
    crs = pyproj.CRS.from_user_input(str(geobox.crs))
    authority = crs.to_authority(min_confidence=100)
    affine = geobox.affine
    return {
        "proj:code": ":".join(authority) if authority else None,
        "proj:wkt2": crs.to_wkt("WKT2_2019"),
        "proj:projjson": crs.to_json_dict(),
        "proj:shape": [int(n) for n in geobox.shape],
        "proj:transform": [float(v) for v in (affine.a, affine.b, affine.c, affine.d, affine.e, affine.f)],
    }


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
    x = geobox.affine.c + geobox.affine.a * np.linspace(0, columns, _FOOTPRINT_STEPS + 1)
    y = geobox.affine.f + geobox.affine.e * np.linspace(0, rows, _FOOTPRINT_STEPS + 1)
    wkt = str(geobox.crs)
    ring_x = np.concatenate([x, np.full_like(y, x[-1]), x[::-1], np.full_like(y, x[0])])
    ring_y = np.concatenate([np.full_like(x, y[0]), y, np.full_like(x, y[-1]), y[::-1]])
    lon, lat, valid = _on_earth(wkt, ring_x, ring_y)
    if valid.all():
        return _polygon(lon, lat)
    return _clipped_outline(geobox)


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


@lru_cache(maxsize=4096)
def _tile_footprint(grid: TileGrid, tile: str) -> Polygon | None:
    return footprint(grid.geobox(tile))


@lru_cache(maxsize=64)
def _transformer(source: str, target: str) -> pyproj.Transformer:
    """Return a transformer that ignores the datum of a sphere: MODIS degrees are used as they are by everyone."""
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def _on_earth(crs: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the degrees of projected points, and whether each comes back to itself."""
    lon, lat = transformer_to_lonlat(crs).transform(x, y)
    back_x, back_y = transformer_from_lonlat(crs).transform(lon, lat)
    tolerance = 1e-9 * np.maximum(np.abs(x), np.abs(y)).max(initial=1.0)  # centimetres: poles are close to their mirror
    near = (np.abs(back_x - x) < tolerance) & (np.abs(back_y - y) < tolerance)
    return lon, lat, np.isfinite(lon) & np.isfinite(lat) & near


def _clipped_outline(geobox: GeoBox) -> Polygon | None:
    """Return the outline through the westernmost and easternmost point on the Earth along lines through a box."""
    crs, affine, (height, width) = str(geobox.crs), geobox.affine, geobox.shape
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
