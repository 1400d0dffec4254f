"""Tile grids: where the pixels of a product lie.

Every stage that places pixels asks this module: ingest for footprints and ``proj:*`` fields, stations for the pixel of
a station, planning for the tiles of a region, prediction for the GeoBox of a tile. The default is the MODIS sinusoidal
grid at 1 km: a sphere of 6371007.181 m, 36 x 18 tiles of 1200 x 1200 pixels of 926.625433138... m. It has no EPSG code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
from affine import Affine
from shapely import get_coordinates, segmentize
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

from stac_sm.core.errors import InputError
from stac_sm.core.footprints import footprint, projected_footprint
from stac_sm.core.places import SIDES, BBox, check_box, check_point
from stac_sm.core.projections import (
    SINUSOIDAL,
    SNAP,
    SPHERE_RADIUS,
    crs_wkt,
    snap_to_pixel_edges,
    transformer_from_lonlat,
)

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

_THIN = 1e-5  # degrees, a metre: a box that is thinner counts as a point or a line, which has no area to share
_CHORD = 0.05  # degrees: largest distance between the curved edge of a tile and its outline


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
        return make_geobox(self.tile_shape, self.affine(tile), crs_wkt(self.crs))

    def affine(self, tile: str) -> Affine:
        """Return the transform of a tile, from column and row to x and y in the unit of the CRS.

        Parameters
        ----------
        tile
            Tile id, e.g. ``"h10v05"``.

        Returns
        -------
        Affine
            North up.

        Raises
        ------
        InputError
            If the grid has no such tile.
        """
        column, row = self.column_row(tile)
        (height, width), (dx, dy) = self.tile_shape, self.pixel
        x, y = self.origin[0] + column * width * dx, self.origin[1] - row * height * dy
        return Affine(dx, 0, x, 0, -dy, y)

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
            millionth of a pixel) belongs to the pixel east or south of it; on the last edge of the grid, to the last
            pixel.

        Raises
        ------
        InputError
            If the degrees are none, or the point lies outside the grid.
        """
        check_point(lon, lat)
        x, y = transformer_from_lonlat(self.crs).transform(lon, lat)
        at = np.array([(self.origin[1] - y) / self.pixel[1], (x - self.origin[0]) / self.pixel[0]])
        if np.isfinite(at).all():
            size = np.multiply(self.tile_shape, self.tiles[::-1])
            snapped = snap_to_pixel_edges(at)
            pixel = np.where(snapped == size, size - 1, np.floor(snapped)).astype(
                int
            )  # the last edge has no other side
            if ((pixel >= 0) & (pixel < size)).all():
                (row, py), (column, px) = (
                    divmod(int(number), side) for number, side in zip(pixel, self.tile_shape, strict=True)
                )
                return self.tile_id(column, row), py, px
        raise InputError(
            f"point ({lon:g}, {lat:g}) lies outside grid {self.name}: required are degrees east, then degrees north"
        )

    def tiles_in(self, bbox: BBox) -> Iterator[str]:
        """Find the tiles that share an area with a box, or hold a point or a part of a line.

        In grids in degrees, of cylindrical projections and in the sinusoidal one of a sphere this is exact. In others
        tiles are included whose curved edge comes near the box, at most a twentieth of a degree.

        Parameters
        ----------
        bbox
            West, south, east, north in degrees; west is greater than east across the antimeridian. A tile that only
            touches the box (to a millionth of a pixel) is not included. A point or a line, and any box that is thinner
            than a metre, may be touched.

        Yields
        ------
        str
            Tile ids, row by row from the north.

        Raises
        ------
        InputError
            If the box is upside down, or its degrees are none.
        """
        west, south, east, north = check_box(bbox)
        parts, margin = [(west, south, east, north)], -SNAP
        if min((east - west) % 360 or 360 * (west < east), north - south) < _THIN:
            margin = SNAP
        if west > east:
            parts = [(west, south, 180.0, north), (-180.0, south, east, north)]
        for row in range(self.tiles[1]):
            for column in range(self.tiles[0]):
                if any(self._meets(column, row, part, margin) for part in parts):
                    tile = self.tile_id(column, row)
                    if self.footprint(tile) is not None:  # else a corner of it touches the outline of the Earth
                        yield tile

    def _meets(self, column: int, row: int, bbox: BBox, margin: float) -> bool:
        """Return whether a tile that is wider by a part of a pixel meets a box that does not cross the antimeridian."""
        edges = self._edges(column, row, margin)
        kind = _kind_of_projection(self.crs)
        if kind == "sinusoidal":
            return _meets_in_sinusoidal(edges, bbox)
        if kind:
            west, south, east, north = bbox
            left, right = transformer_from_lonlat(self.crs).transform([west, east], [0.0, 0.0])[0]
            bottom, top = transformer_from_lonlat(self.crs).transform([0.0, 0.0], [south, north])[1]
            return bool(left <= edges[2] and right >= edges[0] and bottom <= edges[3] and top >= edges[1])
        tile, area = self.tile_id(column, row), box(*bbox).envelope  # a point or a line has no width or height
        outline = self.footprint(tile)
        if outline is None:
            return False
        common = outline.intersection(area)
        return (not common.is_empty if margin > 0 else common.area > 0) or self._reaches(edges, outline, area)

    def _edges(self, column: int, row: int, margin: float) -> BBox:
        """Return left, bottom, right and top of a tile in units of the CRS, a part of a pixel outside of it."""
        (height, width), (dx, dy) = self.tile_shape, self.pixel
        left, top = self.origin[0] + column * width * dx, self.origin[1] - row * height * dy
        across, up = margin * dx, margin * dy
        return left - across, top - height * dy - up, left + width * dx + across, top + up

    def bbox(self, tile: str) -> BBox | None:
        """Return the box of a tile in degrees.

        Parameters
        ----------
        tile
            Tile id, e.g. ``"h10v05"``.

        Returns
        -------
        tuple of float or None
            West, south, east, north of its outline, degrees; None where the tile lies off the Earth.

        Raises
        ------
        InputError
            If the grid has no such tile.
        """
        outline = self.footprint(tile)
        if outline is None:
            return None
        west, south, east, north = (float(degrees) + 0.0 for degrees in outline.bounds)  # -0 is 0
        return west, south, east, north

    def describe(self, tile: str) -> str:
        """Return the words by which every message names a tile: its id, and where on the Earth it is.

        Parameters
        ----------
        tile
            Tile id, e.g. ``"h18v04"``.

        Returns
        -------
        str
            ``h18v04 (west 0.00, south 40.00, east 15.56, north 50.00)``, degrees; the id alone of a tile that the grid
            does not have.
        """
        try:
            found = self.bbox(tile)
        except InputError:
            return tile
        if found is None:
            return f"{tile} (off the Earth)"
        sides = zip(SIDES, found, strict=True)
        return f"{tile} ({', '.join(f'{side} {round(degrees, 2) + 0.0:.2f}' for side, degrees in sides)})"

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

    def _reaches(self, edges: BBox, footprint: Polygon, area: BaseGeometry) -> bool:
        """Return whether the strip between a tile's curved edge and its straight outline meets an area."""
        if footprint.distance(area) > _CHORD:
            return False
        strip = area.intersection(footprint.buffer(_CHORD))
        x, y = transformer_from_lonlat(self.crs).transform(*get_coordinates(segmentize(strip, _CHORD / 10)).T)
        left, bottom, right, top = edges
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


def make_geobox(shape: tuple[int, int], affine: Affine, crs: Any) -> GeoBox:
    """Return the GeoBox of some pixels.

    odc-geo is imported here, since it loads dask: a command that makes no GeoBox needs neither.

    Parameters
    ----------
    shape
        Rows, columns.
    affine
        From column and row to x and y, in the unit of the CRS.
    crs
        Anything that odc-geo understands: a WKT, an authority code, a CRS; None where it is not known.

    Returns
    -------
    GeoBox
        Of this shape, affine and CRS.
    """
    from odc.geo.geobox import GeoBox

    return GeoBox(shape, affine, crs)


@lru_cache(maxsize=64)
def _kind_of_projection(crs: str) -> str:
    """Return ``sinusoidal`` (of a sphere), ``cylindrical`` or ``degrees``, all about Greenwich; empty for others."""
    known = pyproj.CRS.from_user_input(crs)
    if known.is_geographic:
        return "degrees"
    operation = known.coordinate_operation
    if operation is None or known.ellipsoid is None:
        return ""
    shifts = [p.value for p in operation.params if p.name == "Longitude of natural origin" or "False" in p.name]
    if any(shifts):
        return ""
    if operation.method_name == "Sinusoidal" and known.ellipsoid.semi_major_metre == SPHERE_RADIUS:
        return "sinusoidal" if known.ellipsoid.semi_minor_metre == SPHERE_RADIUS else ""
    return "cylindrical" if operation.method_name in _CYLINDRICAL else ""


_CYLINDRICAL = {
    "Equidistant Cylindrical",
    "Equidistant Cylindrical (Spherical)",
    "Lambert Cylindrical Equal Area",
    "Lambert Cylindrical Equal Area (Spherical)",
    "Mercator (variant A)",
    "Mercator (variant B)",
    "Popular Visualisation Pseudo Mercator",
}


def _meets_in_sinusoidal(edges: BBox, bbox: BBox) -> bool:
    """Return whether a rectangle of the sinusoidal projection, metres, meets a box in degrees.

    On the parallel of latitude y the box spans x = R west cos(y) to R east cos(y). They meet if there is a cosine
    between those of the parallels in common at which west lies left of the right edge, and east right of the left edge:
    both are linear in the cosine.
    """
    left, bottom, right, top = (metres / SPHERE_RADIUS for metres in edges)
    west, south, east, north = (math.radians(degrees) for degrees in bbox)
    first, last = max(bottom, south), min(top, north)
    if first > last:
        return False
    least = max(0.0, min(math.cos(first), math.cos(last)))
    most = 1.0 if first <= 0 <= last else max(math.cos(first), math.cos(last))
    for factor, bound in ((west, right), (-east, -left)):  # factor * cosine <= bound
        if factor > 0:
            most = min(most, bound / factor)
        elif factor < 0:
            least = max(least, bound / factor)
        elif bound < 0:
            return False
    return least <= most


@lru_cache(maxsize=4096)
def _tile_footprint(grid: TileGrid, tile: str) -> Polygon | None:
    if pyproj.CRS.from_user_input(grid.crs).is_geographic:
        return footprint(grid.geobox(tile))
    return projected_footprint(grid.tile_shape, grid.affine(tile), crs_wkt(grid.crs))  # odc-geo is not loaded for it
