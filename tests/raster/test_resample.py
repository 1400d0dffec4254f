"""Regridding against slow loops over pixels, and against GDAL."""

from __future__ import annotations

import math

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.warp import Resampling, reproject

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.projections import SINUSOIDAL, crs_wkt
from stac_sm.raster.resample import TargetPixels, pixel_lookup, regrid, source_window
from tests.support.examples import examples
from tests.support.fields import EASE, PIXEL, SMALL, TILE, UTM, WIDE, around, box, image, regridded, whole

RULES = ("nearest", "bilinear", "average")
CRS = {
    SINUSOIDAL: (823_000, 5_250_000, 1000),
    "EPSG:4326": (11.0, 47.2, 0.01),
    "EPSG:6933": (1_058_000, 5_360_000, 1000),
    "EPSG:32632": (640_000, 5_240_000, 1000),
}
"""Some place in the Alps, and a pixel of about 1 km."""


@st.composite
def grids(draw, crs, shape=(6, 9), least=0.3, most=4.0):
    x, y, pixel = CRS[crs]
    size = pixel * draw(st.floats(least, most))
    left, top = (v + pixel * draw(st.floats(-6, 6)) for v in (x, y))
    rows, columns = draw(st.tuples(st.integers(1, shape[0]), st.integers(1, shape[1])))
    return box(crs, left, top, size, (rows, columns), size * draw(st.floats(0.7, 1.4)))


@st.composite
def cases(draw):
    """A source grid with values and gaps, and a target grid."""
    names = st.sampled_from(sorted(CRS))
    source, target = draw(grids(draw(names), (8, 12), 0.4, 5.0)), draw(grids(draw(names)))
    seed, gaps = draw(st.integers(0, 99)), draw(st.sampled_from([0, 0.1, 0.6, 1]))
    rng = np.random.default_rng(seed)
    values = rng.uniform(-5, 5, source.shape).astype(np.float32)
    values[rng.random(source.shape) < gaps] = np.nan
    return source, values, target


def places(source: GeoBox, target: GeoBox):
    """Row and column in the source of every pixel centre of the target, one by one."""
    there = pyproj.Transformer.from_crs(crs_wkt(str(target.crs)), crs_wkt(str(source.crs)), always_xy=True)
    for row in range(target.shape[0]):
        for column in range(target.shape[1]):
            x, y = target.affine * (column + 0.5, row + 0.5)
            at_x, at_y = ~source.affine * there.transform(x, y)
            # grids may nest: what lies on an edge, but for rounding, lies on the edge
            yield row, column, *(float(round(v)) if abs(v - round(v)) < 1e-6 else v for v in (at_y, at_x))


def slow_nearest(source, values, target):
    result = np.full(target.shape, np.nan)
    for row, column, y, x in places(source, target):
        if 0 <= y <= source.shape[0] and 0 <= x <= source.shape[1]:  # a centre on the far edge is in the last pixel
            last = source.shape[0] - 1, source.shape[1] - 1
            result[row, column] = values[min(math.floor(y), last[0]), min(math.floor(x), last[1])]
    return result


def slow_bilinear(source, values, target):
    result = np.full(target.shape, np.nan)
    height, width = source.shape
    for row, column, y, x in places(source, target):
        if not (0 <= y <= height and 0 <= x <= width):
            continue
        y, x = min(max(y - 0.5, 0), height - 1), min(max(x - 0.5, 0), width - 1)
        total = weights = 0.0
        for i in (math.floor(y), math.floor(y) + 1):
            for j in (math.floor(x), math.floor(x) + 1):
                weight = (1 - abs(y - i)) * (1 - abs(x - j))
                if weight > 0 and not math.isnan(values[i, j]):
                    total, weights = total + weight * values[i, j], weights + weight
        if weights > 0.01:
            result[row, column] = total / weights
        elif weights > 0:  # hardly any pixel with a value: such a quotient is not compared
            result[row, column] = np.inf
    return result


def slow_average(source, values, target):
    held: dict = {}
    for row, column, y, x in places(target, source):  # the other way round: pixels of the source in the target
        if 0 <= y < target.shape[0] and 0 <= x < target.shape[1] and not math.isnan(values[row, column]):
            held.setdefault((math.floor(y), math.floor(x)), []).append(float(values[row, column]))
    result = np.full(target.shape, np.nan)
    for place, found in held.items():
        result[place] = math.fsum(found) / len(found)
    return result


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=examples(60))
@given(case=cases())
def test_as_a_slow_loop_over_pixels(rule, case):
    source, values, target = case
    slow = {"nearest": slow_nearest, "bilinear": slow_bilinear, "average": slow_average}[rule]
    found, wanted = whole(source, values, target, rule), slow(source, values, target)
    assert found.dtype == np.float32
    found = np.where(np.isinf(wanted), wanted, found)
    np.testing.assert_allclose(found, wanted, rtol=0, atol={"nearest": 0, "average": 1e-6, "bilinear": 2e-4}[rule])


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=examples(40))
@given(case=cases(), data=st.data())
def test_some_pixels_are_those_of_the_whole(rule, case, data):
    source, values, target = case
    size = target.shape[0] * target.shape[1]
    chosen = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=5, unique=True)))
    rows, columns = np.unravel_index(chosen, target.shape)
    some = regridded(source, values, TargetPixels(target, rows, columns), rule)
    np.testing.assert_array_equal(some, whole(source, values, target, rule)[rows, columns])


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=examples(40))
@given(case=cases())
def test_any_larger_window_gives_the_same(rule, case):
    source, values, box_ = case
    target, full = TargetPixels(box_), (slice(0, source.shape[0]), slice(0, source.shape[1]))
    all_of_it = regrid(target.shape, [values], [pixel_lookup(source, full, target, rule)], rule)
    np.testing.assert_array_equal(all_of_it, regridded(source, values, target, rule))


@pytest.mark.parametrize("grid", [SMALL, WIDE, EASE, UTM], ids=lambda grid: grid.name)
@pytest.mark.parametrize("rule", RULES)
def test_a_field_on_the_grid_itself_comes_back(rule, grid):
    geobox = grid.geobox(TILE)
    values = image(geobox)
    values[3:5, 7:9] = np.nan
    np.testing.assert_allclose(whole(geobox, values, geobox, rule), values, rtol=0, atol=1e-7 * (rule == "bilinear"))


@pytest.mark.parametrize("crs", sorted(CRS))
def test_an_image_of_places_lands_in_its_places(crs):
    """Each source pixel holds a linear function of its own place: no half pixel may be lost, nothing flipped."""
    target = SMALL.geobox(TILE)
    source = around(target, crs, 0.02 if crs == "EPSG:4326" else 2000)
    rows, columns = np.mgrid[: source.shape[0], : source.shape[1]]
    x, y = source.affine * (columns + 0.5, rows + 0.5)
    there = pyproj.Transformer.from_crs(crs_wkt(SINUSOIDAL), crs_wkt(crs), always_xy=True)
    wanted = there.transform(*TargetPixels(target).centres)
    for held, meant in zip((x, y), wanted, strict=True):
        middle, pixel = held.mean(), source.affine.a
        found = whole(source, ((held - middle) / pixel).astype(np.float32), target, "bilinear")
        np.testing.assert_allclose(found, (meant - middle) / pixel, atol=1e-4)  # pixels


def test_four_pixels_of_500_m_are_one_of_1_km():
    tile = MODIS_SINUSOIDAL_1KM.geobox("h18v04")
    target = tile[400:440, 600:650]
    source = tile.zoom_out(0.5)
    values = np.random.default_rng(1).integers(0, 100, source.shape).astype(np.float32)
    values[860:870, 1250:1262] = np.nan
    values[876, 1280] = np.nan
    found = whole(source, values, target, "average")
    four = values[800:880, 1200:1300].reshape(40, 2, 50, 2).astype(float)
    four_last = values[800:880, 1200:1300]
    assert np.isnan(four_last).sum() == 121
    with np.errstate(invalid="ignore"):
        count = (~np.isnan(four)).sum(axis=(1, 3))
        wanted = np.where(count, np.nansum(four, axis=(1, 3)) / np.maximum(count, 1), np.nan)
    np.testing.assert_array_equal(found, wanted.astype(np.float32))
    assert np.isnan(found).sum() == 30


def test_bilinear_as_gdal_warps_the_whole_field():
    """A 0.1 degree field onto a sinusoidal tile; chunked warping differs by far more, so GDAL warps all at once."""
    target = MODIS_SINUSOIDAL_1KM.geobox("h18v04")[300:700, 200:800]
    source = around(target, "EPSG:4326", 0.1)
    rows, columns = np.mgrid[: source.shape[0], : source.shape[1]]
    values = (np.sin(rows / 2) * np.cos(columns / 3)).astype(np.float32)
    values[10:12, 15:19] = np.nan
    wanted = np.full(target.shape, np.nan, np.float32)
    reproject(
        values, wanted, src_transform=source.affine, src_crs=str(source.crs), dst_transform=target.affine,
        dst_crs=str(target.crs), src_nodata=np.nan, dst_nodata=np.nan, resampling=Resampling.bilinear,
        tolerance=0, warp_mem_limit=512,
    )  # fmt: skip
    found = whole(source, values, target, "bilinear")
    # GDAL gives nothing where the nearest pixel has no value
    np.testing.assert_array_equal(np.isnan(wanted), np.isnan(whole(source, values, target, "nearest")))
    assert np.isnan(wanted).mean() < 0.01
    assert not np.isnan(found[~np.isnan(wanted)]).any()
    assert np.nanmax(np.abs(found - wanted)) < 2e-6 * np.nanstd(values)


@pytest.mark.parametrize("rule", ["nearest", "bilinear"])
def test_off_the_earth_there_is_nothing(rule):
    """An edge tile of the sinusoidal grid: a global field fills the Earth and not a pixel more."""
    tile = MODIS_SINUSOIDAL_1KM.geobox("h11v02").zoom_out(40)
    source = box("EPSG:4326", -180, 90, 1, (180, 360))
    found = whole(source, np.ones(source.shape, np.float32), tile, rule)
    x, y = TargetPixels(tile).centres
    lat = y / 6371007.181
    on_earth = np.abs(x) <= np.pi * 6371007.181 * np.cos(lat)
    np.testing.assert_array_equal(~np.isnan(found), on_earth)
    assert 0 < on_earth.sum() < on_earth.size


def test_nothing_is_needed_from_a_grid_elsewhere():
    target = TargetPixels(SMALL.geobox(TILE))
    assert source_window(box("EPSG:4326", -60, -10, 0.1, (50, 50)), target) is None
    assert source_window(box("EPSG:32755", 500_000, 5_000_000, 1000, (50, 50)), target) is None
    assert source_window(SMALL.geobox(TILE), target) == (slice(0, 40), slice(0, 50))


@pytest.mark.parametrize("source", ["h00v01", "h02v01", "h01v00", "h01v02", "h00v00", "h02v02"])
def test_a_tile_that_only_touches_is_no_input(source):
    assert source_window(SMALL.geobox(source), TargetPixels(SMALL.geobox(TILE))) is None
    half = SMALL.geobox(source).zoom_out(0.5)
    assert source_window(half, TargetPixels(SMALL.geobox(TILE))) is None


def test_from_a_crs_without_such_a_place_comes_nothing():
    """pyproj answers with infinity: that is no place, and no crash."""
    target = box("EPSG:4326", 0, 50, 10, (14, 1))
    source = box("EPSG:2154", 0, 7_000_000, 10_000, (200, 100))  # France: the other pole is infinitely far
    for rule in RULES:
        found = whole(source, np.ones(source.shape, np.float32), target, rule)
        assert np.isfinite(found).sum() == 2


def test_a_seam_between_two_files_leaves_no_gap_and_no_mean_over_it():
    whole_box = SMALL.geobox(TILE)
    values = image(whole_box)
    left, right = whole_box[:, :23], whole_box[:, 23:]
    target = TargetPixels(whole_box)
    parts = [(left, values[:, :23]), (right, values[:, 23:])]
    for rule in RULES:
        windows = [source_window(part, target) for part, _ in parts]
        lookups = [pixel_lookup(part, window, target, rule) for (part, _), window in zip(parts, windows, strict=True)]
        arrays = [held[window] for (_, held), window in zip(parts, windows, strict=True)]
        np.testing.assert_allclose(regrid(target.shape, arrays, lookups, rule), values, rtol=0, atol=1e-7)


def test_average_over_a_seam_takes_the_pixels_of_both_files():
    target = box(SINUSOIDAL, 0, 4 * PIXEL, 2 * PIXEL, (2, 3))
    left, right = (box(SINUSOIDAL, x, 4 * PIXEL, PIXEL, (4, 3)) for x in (0, 3 * PIXEL))
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    at = TargetPixels(target)
    found = regrid(
        at.shape,
        [values[:, :3], values[:, 3:]],
        [pixel_lookup(part, (slice(0, 4), slice(0, 3)), at, "average") for part in (left, right)],
        "average",
    )
    np.testing.assert_array_equal(found, values.reshape(2, 2, 3, 2).mean(axis=(1, 3)))
