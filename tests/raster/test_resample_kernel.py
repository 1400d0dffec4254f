"""Compiled loops, straight lines of pixels and tables of stored values give the bits of the plain arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.raster import resample
from stac_sm.raster.resample import TargetPixels, pixel_lookup, regrid, source_window
from stac_sm.raster.source import RasterSource
from tests.support.examples import examples
from tests.support.fields import EASE, SMALL, TILE, UTM, around, box


def values_of(shape, gaps: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 10 ** rng.uniform(-3, 3), shape).astype(np.float32)
    values[rng.random(shape) < gaps] = np.nan
    return values


@settings(max_examples=examples(60))
@given(
    rule=st.sampled_from(["bilinear", "average"]),
    pixel=st.floats(0.01, 0.2),
    gaps=st.sampled_from([0.0, 0.1, 0.9, 1.0]),
    seed=st.integers(0, 99),
    files=st.integers(1, 2),
    band=st.sampled_from([1 << 21, 500]),
)
def test_compiled_loops_give_the_bits_of_array_functions(rule, pixel, gaps, seed, files, band):
    target = TargetPixels(SMALL.geobox(TILE))
    grid = around(target.geobox, "EPSG:4326", pixel)
    window = source_window(grid, target)
    where = pixel_lookup(grid, window, target, rule)
    shape = tuple(side.stop - side.start for side in window)
    windows = [values_of(shape, gaps, seed + i) for i in range(files)]
    found = []
    for least in (0, 1 << 62):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resample, "_COMPILED", least)
            patch.setattr(resample, "_BAND", band)
            for kept in (where, *windows):  # arrays that serve the next task, too, are read-only
                kept.flags.writeable = False
            found.append(regrid(target.shape, windows, [where] * files, rule).tobytes())
    assert found[0] == found[1]


GRIDS = {
    "a tile, from degrees": (MODIS_SINUSOIDAL_1KM.geobox("h18v04"), "EPSG:4326", 0.03),
    "a small tile": (SMALL.geobox(TILE), "EPSG:4326", 0.0021),
    "EASE, from degrees": (EASE.geobox(TILE), "EPSG:4326", 0.0017),
    "UTM, whose lines are bent": (UTM.geobox(TILE), "EPSG:4326", 0.002),
    "from metres": (SMALL.geobox(TILE), "EPSG:6933", 150.0),
    "a tile at the antimeridian": (MODIS_SINUSOIDAL_1KM.geobox("h35v08"), "EPSG:4326", 0.03),
}


@pytest.mark.parametrize("name", GRIDS)
def test_pixels_between_projected_ones_land_where_projecting_each_puts_them(name, monkeypatch):
    geobox, crs, pixel = GRIDS[name]
    target, source = TargetPixels(geobox), around(geobox, crs, pixel)
    assert source.shape[1] >= 256
    window = (slice(0, min(source.shape[0], 300)), slice(0, source.shape[1]))
    found = []
    for least in (0, 1 << 62):  # by compiled loops, and by array functions
        monkeypatch.setattr(resample, "_COMPILED", least)
        found.append(pixel_lookup(source, window, target, "average"))
    monkeypatch.setattr(resample, "_positions_on_lines", lambda *_: None)
    found.append(pixel_lookup(source, window, target, "average"))
    assert np.array_equal(found[0], found[2])
    assert np.array_equal(found[1], found[2])


@pytest.mark.parametrize("rule", ["nearest", "bilinear", "average"])
def test_a_row_and_a_column_of_one_crs_give_the_pixels_of_each_point(rule, monkeypatch):
    """Where source and target share a CRS, coordinates are computed for the lines alone."""
    target = TargetPixels(SMALL.geobox(TILE))
    source = target.geobox.pad(3).zoom_out(0.7)
    window = source_window(source, target)
    fast = pixel_lookup(source, window, target, rule)
    each = lambda grid, crs, x, y: resample._pixel_coordinates(grid, crs, *np.meshgrid(x, y))  # noqa: E731
    monkeypatch.setattr(resample, "_pixel_coordinates_of_grid", each)
    assert np.array_equal(fast, pixel_lookup(source, window, target, rule))


def test_edges_of_nesting_grids_are_projected_one_by_one(monkeypatch):
    """A source whose pixel centres lie on edges of the target, where rounding decides."""
    pixel, metres = 0.01, 6378137 * np.pi / 180  # a degree of the plate carrée
    target = TargetPixels(box("EPSG:4087", 10.0 * metres, 50.0 * metres, pixel * metres, (40, 400)))
    source = box("EPSG:4326", 10.0 - pixel / 2, 50.0 + pixel / 2, pixel, (42, 402))
    window = (slice(0, 42), slice(0, 402))
    found = []
    for least in (0, 1 << 62):
        monkeypatch.setattr(resample, "_COMPILED", least)
        found.append(pixel_lookup(source, window, target, "average"))
    monkeypatch.setattr(resample, "_positions_on_lines", lambda *_: None)
    found.append(pixel_lookup(source, window, target, "average"))
    assert np.array_equal(found[0], found[2])
    assert np.array_equal(found[1], found[2])


@given(
    dtype=st.sampled_from(["uint8", "int8", "uint16", "int16", "int32", "float32"]),
    scale=st.sampled_from([None, 1.0, 0.02, 1e-4]),
    offset=st.sampled_from([None, 0.0, -3.3]),
    nodata=st.sampled_from([None, 0.0, 7.0]),
    valid=st.sampled_from([None, (3.0, 100.0)]),
)
def test_a_table_of_stored_values_gives_the_bits_of_each(dtype, scale, offset, nodata, valid):
    """The oracle scales in float64, one by one, as a small window is."""
    source = RasterSource("i", "a", "/f.tif", box("EPSG:4326", 0, 0, 1, (9, 9)), dtype, nodata, scale, offset, "")
    source = replace(source, valid=valid)
    if dtype == "float32":
        stored = np.array([-0.0, 0.0, 7.0, 1e-41, np.inf, -5.5, np.nan, 3.3e38], np.float32).repeat(3)
    else:
        ends = np.iinfo(dtype)
        stored = np.random.default_rng(1).integers(ends.min, ends.max, 70_000, endpoint=True, dtype=dtype)
    found = source.physical(stored.reshape(-1, 8))
    wanted = stored.astype(np.float64) * (1.0 if scale is None else scale) + (offset or 0.0)
    gone = np.zeros(stored.shape, bool) if nodata is None else stored == nodata
    gone |= np.zeros(stored.shape, bool) if valid is None else (stored < valid[0]) | (stored > valid[1])
    with np.errstate(over="ignore"):
        expected = np.where(gone, np.nan, wanted).astype(np.float32)
    assert np.array_equal(
        found.ravel().view(np.uint32)[~np.isnan(expected)], expected.view(np.uint32)[~np.isnan(expected)]
    )
    assert np.array_equal(np.isnan(found.ravel()), np.isnan(expected))
