"""Tile grids: where the pixels of a product lie.

Every stage that places pixels asks this module: ingest for footprints and ``proj:*`` fields, stations for the pixel of
a station, planning for the tiles of a region, prediction for the GeoBox of a tile. The default is the MODIS sinusoidal
grid at 1 km: a sphere of 6371007.181 m, 36 x 18 tiles of 1200 x 1200 pixels of 926.625433138... m. It has no EPSG code.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
from affine import Affine
from shapely import get_coordinates, get_parts, segmentize
from shapely.geometry import MultiPolygon, Polygon, box, mapping, shape
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from stac_sm.core.errors import InputError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

BBox = tuple[float, float, float, float]
"""West, south, east, north in degrees."""

_SNAP = 1e-6  # pixels: rounding must not move a point of a grid that nests exactly into the next pixel
SPHERE_RADIUS = 6371007.181
SINUSOIDAL_NAME = "MODIS Sinusoidal"
SINUSOIDAL = f"+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R={SPHERE_RADIUS} +units=m +no_defs"
_EQUATOR_RADIUS = 6378137.0  # metres, WGS 84
_FOOTPRINT_STEPS = 60  # points along one side
_THIN = 1e-5  # degrees, a metre: a box that is thinner counts as a point or a line, which has no area to share
_CHORD = 0.05  # degrees: largest distance between the curved edge of a tile and its outline
OUTLINE_ERROR = 1e-4
"""Largest distance between the outline in an item and that of its pixels: part of the shorter side of its bounds."""

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
        parts, margin = [(west, south, east, north)], -_SNAP
        if min((east - west) % 360 or 360 * (west < east), north - south) < _THIN:
            margin = _SNAP
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
        sides = zip(_SIDES, found, strict=True)
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


def check_point(lon: float, lat: float) -> None:
    """Refuse a longitude or latitude that no place has; a swap of the two is named as such.

    Parameters
    ----------
    lon
        Degrees east.
    lat
        Degrees north.

    Raises
    ------
    InputError
        If the longitude is not within -180 and 180, or the latitude not within -90 and 90.
    """
    if not _on_globe(lon, lat):
        swapped = f"; if latitude came first, give {lat:g},{lon:g}" if _on_globe(lat, lon) else ""
        raise InputError(
            f"longitude {lon:g}, latitude {lat:g} found; the longitude comes first, -180 to 180 degrees east, then the "
            f"latitude, -90 to 90 degrees north{swapped or _within_half_turn(lon, lat)}"
        )


def check_box(bbox: Sequence[float]) -> BBox:
    """Refuse a box whose degrees no place has, or that is upside down; a swap of lon and lat is named as such.

    Parameters
    ----------
    bbox
        West, south, east, north in degrees; west is greater than east across the antimeridian.

    Returns
    -------
    tuple of float
        The four numbers.

    Raises
    ------
    InputError
        If a longitude is not within -180 and 180, a latitude not within -90 and 90, or south is greater than north.
    """
    west, south, east, north = (float(degrees) for degrees in bbox)
    found = f"box {sides_text((west, south, east, north))} found"
    if not (_on_globe(west, south) and _on_globe(east, north)):
        swapped = swapped_box((west, south, east, north))
        hint = f"; if latitude came first, give {','.join(f'{one:g}' for one in swapped)}" if swapped else ""
        raise InputError(
            f"{found}; WEST,SOUTH,EAST,NORTH are required in degrees, -180 to 180 east and -90 to 90 north"
            f"{hint or _within_half_turn(west, south) or _within_half_turn(east, north)}"
        )
    if south > north:
        raise InputError(f"{found}, with south above north; the order is WEST,SOUTH,EAST,NORTH")
    return west, south, east, north


def sides_text(bbox: Sequence[float]) -> str:
    """Return the words by which messages repeat a box that was typed.

    Parameters
    ----------
    bbox
        West, south, east, north in degrees.

    Returns
    -------
    str
        ``west 6, south 43, east 9, north 46``.
    """
    return ", ".join(f"{side} {degrees:g}" for side, degrees in zip(_SIDES, bbox, strict=True))


_SIDES = ("west", "south", "east", "north")


def swapped_box(bbox: BBox) -> BBox | None:
    """Return the box that was meant where somebody typed latitudes before longitudes.

    Parameters
    ----------
    bbox
        West, south, east, north in degrees, as typed.

    Returns
    -------
    tuple of float or None
        The same numbers, each pair the other way round; None where that is no box on the Earth.
    """
    west, south, east, north = bbox
    if west > east or not (_on_globe(south, west) and _on_globe(north, east)):
        return None
    return south, west, north, east


def _on_globe(lon: float, lat: float) -> bool:
    return abs(lon) <= 180 and abs(lat) <= 90  # false for NaN


def _within_half_turn(lon: float, lat: float) -> str:
    """Return which longitude is meant by one of 0 to 360 degrees."""
    return f"; {lon:g} degrees east is {lon - 360:g}" if 180 < lon <= 360 and abs(lat) <= 90 else ""


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
    return _projected_footprint((rows, columns), geobox.affine, str(geobox.crs))


def _projected_footprint(shape: tuple[int, int], affine: Affine, crs: str) -> Polygon | None:
    """Return the `footprint` of pixels of a projected CRS."""
    rows, columns = shape
    x = affine.c + affine.a * np.linspace(0, columns, _FOOTPRINT_STEPS + 1)
    y = affine.f + affine.e * np.linspace(0, rows, _FOOTPRINT_STEPS + 1)
    ring_x = np.concatenate([x, np.full_like(y, x[-1]), x[::-1], np.full_like(y, x[0])])
    ring_y = np.concatenate([np.full_like(x, y[0]), y, np.full_like(x, y[-1]), y[::-1]])
    lon, lat, valid = _on_earth(crs, ring_x, ring_y)
    if valid.all():
        return _polygon(lon, lat)
    return _clipped_outline(shape, affine, crs)


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


@lru_cache(maxsize=4096)
def _tile_footprint(grid: TileGrid, tile: str) -> Polygon | None:
    if pyproj.CRS.from_user_input(grid.crs).is_geographic:
        return footprint(grid.geobox(tile))
    return _projected_footprint(grid.tile_shape, grid.affine(tile), crs_wkt(grid.crs))  # odc-geo is not loaded for it


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
