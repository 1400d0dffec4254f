"""Laws of tile grids, on the sinusoidal grid, on degrees and on EASE-2."""

from __future__ import annotations

import math

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from stac_sm.core.errors import InputError
from stac_sm.core.footprints import OUTLINE_ERROR, footprint, footprint_geometry, item_geometry
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM as MODIS
from stac_sm.core.grid import TileGrid
from stac_sm.core.projections import (
    SINUSOIDAL,
    SINUSOIDAL_NAME,
    SPHERE_RADIUS,
    crs_wkt,
    ground_sample_distance,
    named_wkt,
    projection_properties,
    transform_points,
    transformer_from_lonlat,
    transformer_to_lonlat,
)
from tests.support.examples import examples

DEGREES = TileGrid("degrees-0.25", "EPSG:4326", (-180, 90), (0.25, 0.25), (60, 60), (24, 12), "D")
EASE = TileGrid(
    "ease2-9km", "EPSG:6933", (-17367530.445, 7314540.831), (9008.0552, 9008.0552), (203, 241), (16, 8), "E"
)
grids = st.sampled_from([MODIS, DEGREES, EASE])
EDGE_TILES = ["h17v00", "h18v00", "h14v00", "h01v11", "h35v09", "h00v08", "h03v06", "h21v17", "h17v17"]


@st.composite
def tiles(draw, grid=None):
    grid = grid or draw(grids)
    return grid, draw(st.integers(0, grid.tiles[0] - 1)), draw(st.integers(0, grid.tiles[1] - 1))


def centre(grid, tile, row, column):
    """Degrees of a pixel centre, by arithmetic of our own; None off the Earth."""
    affine = grid.geobox(tile).affine
    x, y = affine * (column + 0.5, row + 0.5)
    if grid is not MODIS:
        lon, lat = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform(x, y)
        return lon, lat
    lat = y / SPHERE_RADIUS
    lon = x / (SPHERE_RADIUS * math.cos(lat))
    return (math.degrees(lon), math.degrees(lat)) if abs(lon) < math.pi else None


def test_the_grid_is_modis():
    assert MODIS.pixel[0] == pytest.approx(926.625433138, abs=1e-9)
    assert MODIS.origin == pytest.approx((-20015109.354, 10007554.677), abs=0.01)
    assert MODIS.geobox("h10v05").shape == (1200, 1200)
    assert MODIS.geobox("h10v05").boundingbox[:] == pytest.approx(
        (-8895604.157, 3335851.559, -7783653.638, 4447802.079), abs=0.01
    )
    assert MODIS.grid_code("h10v05") == "MSIN-1005"
    assert MODIS.tile_at(0.001, 0.001) == ("h18v08", 1199, 0)


@given(tiles(), st.floats(0, 1), st.floats(0, 1))
def test_pixel_centre_and_back(where, down, along):
    grid, column, row = where
    tile = grid.tile_id(column, row)
    py, px = (min(int(f * n), n - 1) for f, n in zip((down, along), grid.tile_shape, strict=True))
    point = centre(grid, tile, py, px)
    assume(point is not None)
    assert grid.tile_at(*point) == (tile, py, px)


@given(tiles())
def test_neighbours_touch_and_do_not_overlap(where):
    grid, column, row = where
    (height, width), here = grid.tile_shape, grid.geobox(grid.tile_id(column, row))
    for across, down in ((1, 0), (0, 1)):
        if column + across < grid.tiles[0] and row + down < grid.tiles[1]:
            there = grid.geobox(grid.tile_id(column + across, row + down))
            corner = here.affine * (width * across, height * down)
            assert (there.affine.c, there.affine.f) == pytest.approx(corner, rel=0, abs=1e-7)
            assert there.shape == here.shape == grid.tile_shape


@given(tiles())
def test_ids_and_codes(where):
    grid, column, row = where
    assert grid.column_row(grid.tile_id(column, row)) == (column, row)
    assert grid.grid_code(grid.tile_id(column, row)) == f"{grid.code}-{column:02d}{row:02d}"


@pytest.mark.parametrize(
    "tile",
    [
        "h36v00",
        "h00v18",
        "h1v5",
        "h010v05",
        "h10v005",
        "H10V05",
        "",
        "h10v05\n",
        "h\u0661\u0660v\u0660\u0665",
        "../h10v05",
    ],
)
def test_no_such_tile(tile):
    with pytest.raises(InputError, match=r"is not in grid modis-sinusoidal-1km: its tiles are h00v00 to h35v17"):
        MODIS.geobox(tile)


def test_a_point_must_lie_in_the_grid():
    with pytest.raises(InputError):
        MODIS.tile_at(0, 91)
    with pytest.raises(InputError):
        EASE.tile_at(0, 89)


@settings(max_examples=examples(30))
@given(st.floats(-179.9, 179), st.floats(-89.9, 89), st.floats(0, 8), st.floats(0, 8), st.floats(0, 1), st.floats(0, 1))
def test_tiles_in_a_box_cover_it(west, south, wide, high, along, up):
    west, south = round(west, 9), round(south, 9)
    wide, high = (round(value, 9) if value > 0.01 else 0.0 for value in (wide, high))  # or its inside is on its edge
    east, north = min(west + wide, 179.9), min(south + high, 89.9)
    for grid in (MODIS, DEGREES):
        found = list(grid.tiles_in((west, south, east, north)))
        assert found == sorted(set(found), key=lambda tile: grid.column_row(tile)[::-1])
        inside = [min(max(share, 1e-3), 1 - 1e-3) for share in (along, up)]  # the tile beyond an edge is only touched
        tile, _, _ = grid.tile_at(west + inside[0] * (east - west), south + inside[1] * (north - south))
        assert tile in found


@pytest.mark.parametrize("tile", ["h18v04", "h14v01", "h03v06", "h29v13"])
def test_a_point_in_the_strip_beside_the_outline_finds_its_tile(tile):
    for k in range(0, 1200, 29):
        for row, column in ((k, 0), (k, 1199), (0, k), (1199, k)):
            point = centre(MODIS, tile, row, column)
            if point:
                assert tile in MODIS.tiles_in((*point, *point))


def test_tiles_of_a_point_are_few():
    assert list(MODIS.tiles_in((10.1, 45, 10.2, 45.1))) == ["h18v04"]
    assert len(list(MODIS.tiles_in((-180, -90, 180, 90)))) == 460  # of 648, as the MODIS land team counts them


def slow_tiles(grid, parts, slack):
    """Tiles that meet boxes which are wider by some degrees, found on many parallels by PROJ: each spans a line."""
    to_grid = pyproj.Transformer.from_crs("OGC:CRS84", grid.crs, always_xy=True)
    found = set()
    for west, south, east, north in parts:
        lat = np.unique(np.clip(np.concatenate([np.linspace(south - slack, north + slack, 4001), [0.0]]), -90, 90))
        lat = lat[(lat >= south - slack) & (lat <= north + slack)]
        left, y = to_grid.transform(np.full_like(lat, max(west - slack, -180)), lat)
        right, _ = to_grid.transform(np.full_like(lat, min(east + slack, 180)), lat)
        for row in range(grid.tiles[1]):
            for column in range(grid.tiles[0]):
                x0, y0, x1, y1 = grid.geobox(grid.tile_id(column, row)).boundingbox
                if ((y0 <= y) & (y <= y1) & (left <= x1) & (right >= x0)).any():
                    found.add(grid.tile_id(column, row))
    return found


@settings(max_examples=examples(25), deadline=None)
@given(
    grids,
    st.floats(-180, 180),
    st.floats(-84, 83),
    st.sampled_from([0.3, 4.0, 25.0]),
    st.sampled_from([0.3, 4.0]),
    st.booleans(),
)
def test_tiles_in_a_box_are_those_of_a_slow_search_on_parallels(grid, west, south, wide, high, on_edge):
    west, south = (10 * round(west / 10), 10 * round(south / 10)) if on_edge else (west, south)
    east, north = west + wide, min(south + high, 83.4)
    box = (west, south, east, north) if east <= 180 else (west, south, east - 360, north)
    parts = [box] if east <= 180 else [(west, south, 180, north), (-180, south, east - 360, north)]
    found = set(grid.tiles_in(box))
    slack = 2e-3  # the parallels are that far apart at most, and an edge that is only touched is no matter of this law
    assert found <= slow_tiles(grid, parts, slack)
    inner = [(w + slack, s + slack, e - slack, n - slack) for w, s, e, n in parts if e - w > 3 * slack]
    assert slow_tiles(grid, inner, 0) <= found


def overlap(grid, tile, box):
    """Largest overlap of a tile with a box on any parallel of both, pixels, found with PROJ's coordinates alone.

    Height, and the width on the best of many parallels: those of a corner's meridian among them, since the width is
    piecewise linear in the cosine of the latitude.
    """
    west, south, east, north = box
    to_grid = pyproj.Transformer.from_crs("OGC:CRS84", grid.crs, always_xy=True)
    x0, y0, x1, y1 = grid.geobox(tile).boundingbox
    _, (below, above) = to_grid.transform([0, 0], [south, north])
    low, high = max(y0, below), min(y1, above)
    if high <= low:
        return (high - low) / grid.pixel[1], 0.0
    _, lat = to_grid.transform(np.zeros(500), np.linspace(low, high, 500), direction="INVERSE")
    cosines = [x / np.radians(lon) / SPHERE_RADIUS for x in (x0, x1) for lon in (west, east) if lon]
    kinks = [np.degrees(np.arccos(cosine)) for cosine in cosines if 0 <= cosine <= 1]
    own = [k for kink in kinks for k in (kink, -kink, 0.0) if lat[0] <= k <= lat[-1]]
    lat = np.concatenate([lat, own])
    left, right = (to_grid.transform(np.full_like(lat, lon), lat)[0] for lon in (west, east))
    return (high - low) / grid.pixel[1], float((np.minimum(right, x1) - np.maximum(left, x0)).max() / grid.pixel[0])


@settings(max_examples=examples(15), deadline=None)
@given(grids, st.floats(-179, 140), st.floats(-83, 70), st.floats(0.01, 30), st.floats(0.01, 12), st.booleans())
def test_law_tiles_in_a_box_share_an_area_with_it(grid, west, south, wide, high, on_edge):
    """Boxes end on edges of tiles, or anywhere; a slow oracle looks at every tile that is near."""
    if on_edge:
        west, south, wide, high = (10 * round(value / 10) for value in (west, south, wide + 10, high + 10))
    west, south, wide, high = (round(value, 6) for value in (west, south, wide, high))
    box = (west, south, min(west + wide, 180.0), min(south + high, 83.0))
    found = set(grid.tiles_in(box))
    near = set(
        grid.tiles_in((box[0] - 0.5 if box[0] > -179 else -180, box[1] - 0.5, min(box[2] + 0.5, 180), box[3] + 0.5))
    )
    assert found <= near
    for tile in near:
        common = min(overlap(grid, tile, box))
        if common > 1e-5 or tile in found:  # a millionth of a pixel is no overlap, and rounding is less
            assert tile in found, (tile, common)
            assert common > 0, (tile, common)


@pytest.mark.parametrize("grid", [DEGREES, EASE])
def test_the_box_of_a_tile_has_no_neighbour_in_it(grid):
    """They touch at every edge."""
    tile = grid.tile_id(3, 5)
    assert list(grid.tiles_in(grid.bbox(tile))) == [tile]
    west, south, east, north = grid.bbox(tile)
    assert len(list(grid.tiles_in((west, south, west, south)))) == 4  # a point has no area: it may be touched
    assert len(list(grid.tiles_in((west, south, west, north)))) == 6


def test_the_rows_of_tiles_that_a_box_touches_are_not_in_it():
    assert list(MODIS.tiles_in((0, 40, 1, 50))) == ["h18v04"]
    assert list(MODIS.tiles_in((0, 40 - 1e-4, 1, 50))) == ["h18v04", "h18v05"]
    assert list(MODIS.tiles_in((-1, 41, 0, 42))) == ["h17v04"]


def test_a_box_across_the_antimeridian_has_the_tiles_of_both_sides():
    found = list(MODIS.tiles_in((170, -20, -170, -10)))
    assert found == sorted(found, key=lambda tile: MODIS.column_row(tile)[::-1])
    assert set(found) == {*MODIS.tiles_in((170, -20, 180, -10)), *MODIS.tiles_in((-180, -20, -170, -10))}
    assert len(found) == 6  # of 460


@pytest.mark.parametrize("grid", [MODIS, DEGREES, EASE])
def test_the_tiles_of_a_box_across_the_antimeridian_are_those_of_its_points(grid):
    """PROJ says where each point lies; a tile that only a corner reaches may lie between two points."""
    lon = np.concatenate([np.arange(170, 180, 0.05), np.arange(-180, -169.99, 0.05)])
    lat = np.arange(-20, -9.99, 0.05)
    to_grid = pyproj.Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True)
    x, y = to_grid.transform(*(part.ravel() for part in np.meshgrid(lon, lat)))
    width, height = np.multiply(grid.tile_shape[::-1], grid.pixel)
    columns, rows = np.floor((x - grid.origin[0]) / width), np.floor((grid.origin[1] - y) / height)
    there = {grid.tile_id(int(c), int(r)) for c, r in set(zip(columns, rows, strict=True)) if 0 <= c < grid.tiles[0]}
    found = set(grid.tiles_in((169.99, -20.01, -169.99, -9.99)))
    assert there <= found
    assert len(found) <= 3 * len(there)
    assert {0, grid.tiles[0] - 1} <= {grid.column_row(tile)[0] for tile in found}


POINTS = [
    ((115.86, -31.95), "h27v12"),  # Perth
    ((12.5, 41.9), "h18v04"),  # Rome
    ((180, 0), "h35v09"),  # the last edge of the grid, which belongs to the last pixel
    ((-180, 0), "h00v09"),
    ((0, -90), "h18v17"),
    ((0, 90), "h18v00"),
    ((180, -17), "h35v10"),  # Fiji
]


@pytest.mark.parametrize(("point", "tile"), POINTS)
def test_tiles_of_points_at_home_and_at_the_ends_of_the_earth(point, tile):
    assert MODIS.tile_at(*point)[0] == tile
    assert tile in MODIS.tiles_in((*point, *point))


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ((-31.95, 115.86), "longitude comes first.*if latitude came first, give 115.86,-31.95"),
        ((200, 10), "200 degrees east is -160"),
        ((10, 91), "longitude 10, latitude 91 found"),
        ((float("nan"), 10), "longitude nan"),
        ((float("inf"), 10), "longitude inf"),
    ],
)
def test_a_point_that_is_none_is_refused_with_what_is_meant(point, words):
    with pytest.raises(InputError, match=words):
        MODIS.tile_at(*point)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((-32, 115, -31, 116), "if latitude came first, give 115,-32,116,-31"),
        ((0, 10, 10, 0), "with south above north; the order is WEST,SOUTH,EAST,NORTH"),
        ((190, 10, 200, 20), "190 degrees east is -170"),
        ((0, float("nan"), 1, 1), "south nan"),
    ],
)
def test_a_box_that_is_none_is_refused_with_what_is_meant(box, words):
    with pytest.raises(InputError, match=words):
        list(MODIS.tiles_in(box))


def test_a_message_names_the_box_of_a_tile():
    assert MODIS.describe("h18v04") == "h18v04 (west 0.00, south 40.00, east 15.56, north 50.00)"
    assert MODIS.describe("h28v12") == "h28v12 (west 115.47, south -40.00, east 143.59, north -30.00)"
    assert MODIS.describe("h00v00") == "h00v00 (off the Earth)"
    assert MODIS.describe("h99v99") == "h99v99"  # of another grid
    assert MODIS.bbox("h00v00") is None


def test_a_tile_has_a_footprint_if_a_part_of_it_is_on_the_earth():
    for column in range(36):
        for row in range(18):
            near_x = min(abs(column - 18), abs(column - 17)) if column != 18 and column != 17 else 0
            near_y = min(abs(row - 9), abs(row - 8)) if row not in (8, 9) else 0
            on = near_x < 18 * math.cos(math.radians(10 * near_y)) - 1e-9
            assert (MODIS.footprint(MODIS.tile_id(column, row)) is not None) == on, (column, row)


@pytest.mark.parametrize("tile", [*EDGE_TILES, "h18v04", "h12v02", "h14v01"])
def test_footprint_holds_the_pixels_that_are_on_the_earth(tile):
    outline = MODIS.footprint(tile)
    assert outline.is_valid
    west, south, east, north = outline.bounds
    assert -180 <= west < east <= 180
    assert -90 <= south < north <= 90
    pixels = [(row, column) for row in (0, 599, 1199) for column in (0, 600, 1199)]
    rng = np.random.default_rng(1)
    pixels += [tuple(pixel) for pixel in rng.integers(0, 1200, (300, 2))]
    points = [point for pixel in pixels if (point := centre(MODIS, tile, *pixel))]
    assert points
    # a straight side of the outline leaves a curved strip of at most 0.05 degrees
    assert shapely.distance(shapely.points(points), outline).max() <= 0.05
    corners = [p for p in ((0, 0), (0, 1199), (1199, 0), (1199, 1199)) if centre(MODIS, tile, *p)]
    assert all(outline.buffer(0.002).covers(shapely.Point(centre(MODIS, tile, *p))) for p in corners)


@pytest.mark.parametrize("tile", [*EDGE_TILES, "h18v04", "h12v02"])
def test_footprint_holds_nothing_else(tile):
    left, bottom, right, top = MODIS.geobox(tile).boundingbox
    rng = np.random.default_rng(2)
    west, south, east, north = MODIS.footprint(tile).bounds
    lon, lat = rng.uniform(west, east, 2000), rng.uniform(south, north, 2000)
    inside = shapely.contains_xy(MODIS.footprint(tile).buffer(-0.05), lon, lat)
    x, y = transformer_from_lonlat(MODIS.crs).transform(lon[inside], lat[inside])
    assert ((left <= x) & (x <= right) & (bottom <= y) & (y <= top)).all()


def test_footprint_at_the_pole_reaches_the_antimeridian():
    assert MODIS.footprint("h17v00").bounds == pytest.approx((-180, 80, 0, 90), abs=1e-5)
    wide = np.minimum(180, 10 / np.cos(np.radians(np.linspace(80, 90, 100_001)[:-1])))  # degrees, by latitude
    assert MODIS.footprint("h17v00").area == pytest.approx(10 * wide.mean(), rel=1e-3)


@given(tiles())
@settings(max_examples=examples(40))
def test_footprint_geometry_is_valid(where):
    grid, column, row = where
    geobox = grid.geobox(grid.tile_id(column, row))
    if grid.footprint(grid.tile_id(column, row)) is None:
        with pytest.raises(InputError, match="lies off the Earth"):
            footprint_geometry(geobox)
        return
    geometry, bbox = footprint_geometry(geobox)
    assert shapely.geometry.shape(geometry).is_valid
    assert bbox == list(shapely.geometry.shape(geometry).bounds)
    assert -180 <= bbox[0] < bbox[2] <= 180
    assert -90 <= bbox[1] < bbox[3] <= 90


@given(tiles(), st.integers(0, 3))
@settings(max_examples=examples(40))
def test_item_geometry_runs_counter_clockwise_within_its_error(where, times):
    """Whatever is repeated, or was written by an earlier version, ends as the same ring."""
    grid, column, row = where
    outline = grid.footprint(grid.tile_id(column, row))
    if outline is None:
        return
    ring = item_geometry(shapely.geometry.mapping(outline))
    found = shapely.geometry.shape(ring)
    assert found.is_valid
    assert found.exterior.is_ccw
    assert found.bounds == outline.bounds
    west, south, east, north = outline.bounds
    assert found.hausdorff_distance(outline) <= 3 * OUTLINE_ERROR * min(east - west, north - south)
    for _ in range(times):
        assert item_geometry(ring) == ring
    assert item_geometry(shapely.geometry.mapping(shapely.reverse(outline)))["coordinates"][0][0]
    assert len(ring["coordinates"][0]) <= len(outline.exterior.coords)


def test_item_geometry_keeps_holes_parts_and_what_is_no_area():
    square = shapely.box(0, 0, 10, 10, ccw=False)
    holed = square.difference(shapely.box(4, 4, 6, 6))
    found = shapely.geometry.shape(item_geometry(shapely.geometry.mapping(holed)))
    assert found.equals(holed)
    assert (found.exterior.is_ccw, found.interiors[0].is_ccw) == (True, False)
    two = shapely.MultiPolygon([square, shapely.box(20, 0, 30, 10, ccw=False)])
    assert all(
        part.exterior.is_ccw for part in shapely.geometry.shape(item_geometry(shapely.geometry.mapping(two))).geoms
    )
    point = {"type": "Point", "coordinates": [1.0, 2.0]}
    assert item_geometry(point) == point
    dense = shapely.segmentize(square, 0.1)
    assert len(item_geometry(shapely.geometry.mapping(dense))["coordinates"][0]) == 5
    assert len(item_geometry(footprint_geometry(MODIS.geobox("h18v04"))[0])["coordinates"][0]) < 80  # of 241


def test_degrees_beyond_the_pole_are_cut_and_outside_is_nothing():
    half_over = GeoBox((181, 360), Affine(1, 0, -180.5, 0, -1, 90.5), "EPSG:4326")
    assert footprint(half_over).bounds == (-180, -90, 179.5, 90)
    assert footprint(GeoBox((10, 10), Affine(1, 0, 200, 0, -1, 10), "EPSG:4326")) is None


def test_ground_sample_distance_is_in_metres():
    assert ground_sample_distance(MODIS.geobox("h18v04")) == 926.625
    assert ground_sample_distance(GeoBox((10, 10), Affine(0.1, 0, 0, 0, -0.05, 10), "EPSG:4326")) == 11131.949
    feet = GeoBox((10, 10), Affine(1000, 0, 0, 0, -1000, 0), "EPSG:2263")  # US survey feet
    assert ground_sample_distance(feet) == pytest.approx(304.8, abs=0.01)


def test_the_sinusoidal_grid_has_a_name_outside_and_one_spelling_inside():
    """What files and items call it changes no provenance: by WKT, by PROJJSON, and as GDAL reads it from a file."""
    fields = projection_properties(MODIS.geobox("h18v04"))
    assert fields["proj:wkt2"].startswith(f'PROJCRS["{SINUSOIDAL_NAME}"')
    assert fields["proj:projjson"]["name"] == SINUSOIDAL_NAME
    read_by_gdal = rasterio.CRS.from_wkt(named_wkt(SINUSOIDAL)).to_wkt()
    of_json = pyproj.CRS.from_json_dict(fields["proj:projjson"]).to_wkt()
    for spelling in (SINUSOIDAL, named_wkt(SINUSOIDAL), read_by_gdal, of_json):
        assert crs_wkt(spelling) == crs_wkt(MODIS.crs)
    other = SINUSOIDAL.replace("lon_0=0", "lon_0=10")
    impostor = named_wkt(other).replace('"unknown"', f'"{SINUSOIDAL_NAME}"', 1)
    assert crs_wkt(impostor) != crs_wkt(MODIS.crs)
    assert named_wkt("EPSG:6933") == crs_wkt("EPSG:6933")


def test_projection_properties():
    fields = projection_properties(MODIS.geobox("h18v04"))
    assert fields["proj:code"] is None
    assert fields["proj:wkt2"].startswith("PROJCRS[")
    assert (
        pyproj.CRS.from_json_dict(fields["proj:projjson"]) == pyproj.CRS(fields["proj:wkt2"]) == pyproj.CRS(MODIS.crs)
    )
    assert fields["proj:shape"] == [1200, 1200]
    assert fields["proj:transform"] == list(MODIS.geobox("h18v04").affine[:6])
    assert projection_properties(EASE.geobox("h00v00"))["proj:code"] == "EPSG:6933"
    assert projection_properties(DEGREES.geobox("h00v00"))["proj:code"] == "EPSG:4326"
    assert crs_wkt(MODIS.crs).startswith("PROJCRS[")


@given(st.floats(-179, 179), st.floats(-89, 89))
def test_points_there_and_back(lon, lat):
    x, y = transformer_from_lonlat(MODIS.crs).transform(lon, lat)
    assert transformer_to_lonlat(MODIS.crs).transform(x, y) == pytest.approx((lon, lat), abs=1e-9)
    assert x == pytest.approx(SPHERE_RADIUS * math.radians(lon) * math.cos(math.radians(lat)), abs=1e-3)


def test_points_off_the_earth_are_nan():
    x, y = transform_points(MODIS.crs, "OGC:CRS84", np.array([0.0, -2e7]), np.array([5e6, 5e6]))
    assert np.isfinite([x[0], y[0]]).all()
    assert np.isnan([x[1], y[1]]).all()
