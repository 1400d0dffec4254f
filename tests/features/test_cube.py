"""Feature cubes against plain loops: which items make a day, and what the pixels then hold."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.core.errors import CatalogError, InputError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.core.projections import SINUSOIDAL
from stac_sm.features import daily_fields
from stac_sm.features.cube import build, feature_cube
from stac_sm.features.inputs import require_inputs, resolve_inputs
from stac_sm.features.recipe import Feature, Recipe
from stac_sm.features.time_rules import Timeline, WeightedField, choose_fields
from stac_sm.raster import resample
from stac_sm.raster.readers import READERS
from stac_sm.raster.resample import TargetPixels
from stac_sm.raster.source import RasterSource
from stac_sm.stac.catalogs.catalog import open_catalog
from tests.support.examples import examples
from tests.support.fields import (
    DAYS,
    EASE,
    PIXEL,
    RECIPE,
    SMALL,
    TILE,
    UTM,
    box,
    copied_project,
    edit,
    image,
    new_catalog,
    put,
    shared_project,
    whole,
)

START = date(2018, 1, 1)


@pytest.fixture(scope="module")
def project():
    return shared_project()


@pytest.fixture(scope="module")
def cube(project):
    return feature_cube(project[0].catalog, RECIPE, TILE, DAYS, grid=SMALL)


@pytest.fixture(scope="module")
def values(cube):
    return cube.compute(scheduler="synchronous")


def oracle(known, name, day):
    """The value of a day by whole-field regridding and arithmetic in the open."""
    geobox, half, coarse, fine = known["geoboxes"]
    if name == "lst":
        stored = known["lst"][day]
        return np.where(stored == 0, np.nan, stored * 0.01)
    if name == "lai":
        fields = {start + 4 * ONE_DAY: np.where(lai == 255, np.nan, lai * 0.1) for start, lai in known["lai"].items()}
        before, after = max(m for m in fields if m <= day), min(m for m in fields if m >= day)
        share = (day - before).days / max((after - before).days, 1)
        means = [np.nanmean(fields[m].reshape(40, 2, 50, 2), axis=(1, 3)) for m in (before, after)]
        return (1 - share) * means[0] + share * means[1]
    if name == "elevation":
        return whole(fine, known["elevation"], geobox, "average")
    return whole(coarse, known["era5"][day][name], geobox, "bilinear")


@pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning")
@pytest.mark.parametrize("name", ["lst", "lai", "swvl1", "elevation"])
def test_values_are_those_of_a_plain_calculation(project, values, name):
    for i, day in enumerate(DAYS.days):
        np.testing.assert_allclose(values[name].values[i], oracle(project[2], name, day), rtol=2e-6, atol=1e-6)
    assert 0 < np.isnan(values[name]).mean() < 0.2 or name == "swvl1"


def test_the_mask_is_frost(project, values):
    frozen = np.stack([oracle(project[2], "stl1", day) < 273.15 for day in DAYS.days])
    assert 0.1 < frozen.mean() < 0.9
    np.testing.assert_array_equal(values["frozen"].values, frozen)


def test_derived_features(project, values):
    np.testing.assert_allclose(
        values.doy_sin.values[:, 3, 4],
        [np.sin(2 * np.pi * (int(f"{d:%j}") - 1) / 365.25) for d in DAYS.days],
        rtol=1e-6,
    )
    x, y = np.meshgrid(values.x, values.y)
    lat = pyproj.Transformer.from_crs(SINUSOIDAL, "OGC:CRS84", always_xy=True).transform(x, y)[1]
    np.testing.assert_allclose(values.latitude.values[2], lat, rtol=1e-6)


def test_a_cube_describes_itself(cube):
    assert list(cube.data_vars) == ["lst", "lai", "swvl1", "elevation", "frozen", "doy_sin", "latitude"]
    for name, variable in cube.data_vars.items():
        assert variable.dims == ("time", "y", "x")
        assert variable.dtype == (np.bool_ if name == "frozen" else np.float32), name
        assert variable.chunks == ((1,) * 6, (40,), (50,)), name
        assert variable.attrs["grid_mapping"] == "spatial_ref"
    assert cube.lst.attrs["units"] == "K"
    assert cube.lai.attrs["units"] == "m2 m-2"
    assert cube.frozen.attrs["units"] == "1"
    assert cube.lst.attrs["items"] == [f"LST.2018{179 + i}" for i in range(6)]
    assert cube.lai.attrs["items"] == ["LAI.0", "LAI.1", "LAI.2"]
    assert list(cube.time.values) == list(np.array(DAYS.days, dtype="datetime64[ns]"))
    geobox = SMALL.geobox(TILE)
    np.testing.assert_allclose(cube.x, [(geobox.affine * (i + 0.5, 0))[0] for i in range(50)])
    np.testing.assert_allclose(cube.y, [(geobox.affine * (0, i + 0.5))[1] for i in range(40)])
    assert pyproj.CRS(cube.spatial_ref.attrs["crs_wkt"]) == pyproj.CRS(str(geobox.crs))


def test_both_readers_give_one_cube(project, values):
    other = feature_cube(project[0].catalog, RECIPE, TILE, DAYS, grid=SMALL, reader="odc")
    xr.testing.assert_identical(other.compute(scheduler="threads"), values)


@pytest.mark.parametrize("period", ["2018-06-28", "2018-07-03", "2018-06-30/2018-07-02"])
def test_some_days_are_those_of_all_days(project, values, period):
    part = feature_cube(project[0].catalog, RECIPE, TILE, Period.parse(period), grid=SMALL).compute()
    xr.testing.assert_equal(part, values.sel(time=part.time))


def test_a_part_of_the_tile_is_a_part_of_the_cube(project, values):
    part = feature_cube(project[0].catalog, RECIPE, SMALL.geobox(TILE)[7:21, 11:], Period.parse("2018-06-29")).compute()
    cut = values.isel(time=slice(1, 2), y=slice(7, 21), x=slice(11, None))
    for name in values.data_vars:
        np.testing.assert_allclose(part[name], cut[name], rtol=1e-5, err_msg=name)


def test_chosen_pixels_are_those_of_the_cube(project, values):
    geobox = SMALL.geobox(TILE)
    rows, columns = np.array([39, 0, 7, 6, 0]), np.array([49, 0, 15, 3, 49])
    resolution = resolve_inputs(project[0].catalog, RECIPE, geobox, DAYS)
    some = build(resolution, TargetPixels(geobox, rows, columns)).compute()
    for name in values.data_vars:
        assert some[name].dims == ("time", "pixel")
        np.testing.assert_array_equal(some[name].values, values[name].values[:, rows, columns], err_msg=name)


@pytest.fixture
def opened(monkeypatch):
    """Number of reads by (item, asset)."""
    reads: Counter = Counter()
    read = daily_fields.read_window

    def counted(source, window, name):
        reads[source.item_id, source.asset] += 1
        return read(source, window, name)

    monkeypatch.setattr(daily_fields, "read_window", counted)
    return reads


def test_nothing_is_read_before_compute_and_then_each_file_once(project, monkeypatch, opened):
    files: Counter = Counter()
    real = rasterio.open

    def counting(path, *args, **kwargs):
        files[str(path)] += 1
        return real(path, *args, **kwargs)

    monkeypatch.setattr(rasterio, "open", counting)
    cube = feature_cube(project[0].catalog, RECIPE, TILE, DAYS, grid=SMALL)
    assert not files
    assert not opened
    cube.compute(scheduler="threads")
    assert opened == Counter(
        [(f"LST.2018{179 + i}", "lst") for i in range(6)]
        + [(f"ERA5.2018{179 + i}", key) for i in range(6) for key in ("swvl1", "stl1")]
        + [(f"LAI.{i}", "lai") for i in range(3)]
        + [("DEM", "elevation")]
    )
    assert set(files.values()) <= {1}  # headers: once a process


def source(id, period=None):
    return RasterSource(id, "a", f"/{id}.tif", SMALL.geobox(TILE), "float32", None, None, None, "")


def days_of(spans):
    """Fields as `resolve_inputs` groups them: (first day, number of days) -> period and its one file."""
    periods = sorted({Period(START + a * ONE_DAY, START + (a + n) * ONE_DAY) for a, n in spans})
    return [(period, (source(str(period)),)) for period in periods]


spans = st.lists(st.tuples(st.integers(-40, 40), st.sampled_from([1, 8, 8, 16])), max_size=7)


def slow_composite(fields, max_gap, day):
    """Weights by period: linear between the middles of the nearest two; alone, a composite serves its own days."""
    before = after = None
    for period, _ in fields:
        middle = period.start + timedelta(days=len(period) // 2)
        if middle <= day and (before is None or middle > before[0]):
            before = middle, period
        if middle >= day and (after is None or middle < after[0]):
            after = middle, period
    if before and after and (after[0] - before[0]).days <= max_gap:
        if before[0] == after[0]:
            return {before[1]: 1.0}
        share = (day - before[0]).days / (after[0] - before[0]).days
        return {before[1]: 1 - share, after[1]: share}
    return next(({period: 1.0} for period, _ in fields if day in period), {})


@settings(max_examples=examples(200))
@given(spans=spans, max_gap=st.integers(0, 30), offset=st.integers(-50, 50))
def test_time_rules_as_slow_loops(spans, max_gap, offset):
    fields, day = days_of(spans), START + offset * ONE_DAY
    feature = {
        rule: Feature("f", "c", "a", time=rule, max_gap=max_gap)
        for rule in ("daily", "previous", "composite", "static")
    }
    found = {
        rule: {layer.sources[0].item_id: layer.weight for layer in choose_fields(one, Timeline(fields), day)}
        for rule, one in feature.items()
    }
    covering = [str(period) for period, _ in fields if day in period]
    assert found["daily"] == dict.fromkeys(covering[:1], 1.0)
    begun = [period for period, _ in fields if period.start <= day and (day - period.start).days <= max_gap]
    assert found["previous"] == ({str(begun[-1]): 1.0} if begun else {})
    wanted = {str(period): weight for period, weight in slow_composite(fields, max_gap, day).items()}
    assert found["composite"] == pytest.approx(wanted)
    assert sum(found["composite"].values()) == pytest.approx(1 if wanted else 0)
    assert sum(len(layer.sources) for layer in choose_fields(feature["static"], Timeline(fields), day)) == len(fields)


def test_a_composite_by_example():
    """Two 8-day composites, middles on day 4 and 12: at a middle, between, beyond; and farther apart than allowed."""
    fields = days_of([(0, 8), (8, 8)])
    feature = Feature("f", "c", "a", time="composite", max_gap=8)
    weights = {
        n: [layer.weight for layer in choose_fields(feature, Timeline(fields), START + n * ONE_DAY)]
        for n in (-1, 0, 4, 5, 10, 12, 15, 16)
    }
    assert weights == {-1: [], 0: [1.0], 4: [1.0], 5: [0.875, 0.125], 10: [0.25, 0.75], 12: [1.0], 15: [1.0], 16: []}
    apart = Feature("f", "c", "a", time="composite", max_gap=7)
    for day, first in ((5, fields[0]), (7, fields[0]), (8, fields[1])):
        assert choose_fields(apart, Timeline(fields), START + day * ONE_DAY) == (WeightedField(1.0, first[1]),)


FIELDS = {"static": "cop-dem", "daily": "glass-lst", "previous": "esa-cci-sm", "composite": "glass-lai"}


@pytest.mark.parametrize("rule", FIELDS)
def test_the_rules_from_items_on_disk(tmp_path, rule):
    """Values, not weights: each item holds its own number; days without any are NaN."""
    catalog, geobox = new_catalog(tmp_path), SMALL.geobox(TILE)[:4, :5]
    for start, days, number in ((date(2018, 1, 20), 8, 1.0), (date(2018, 1, 28), 8, 3.0), (date(2018, 3, 1), 8, 10.0)):
        put(
            catalog,
            FIELDS[rule],
            f"I{number:g}",
            geobox,
            {"a": np.full((4, 5), number, np.float32)},
            start,
            days,
            linked=number == 10,
        )
    recipe = Recipe((Feature("f", FIELDS[rule], "a", time=rule, max_gap=9),))
    period = Period.parse("2018-01-18/2018-02-12")
    found = feature_cube(open_catalog(tmp_path), recipe, geobox, period).f.values
    assert (found == found[:, :1, :1]).sum() + np.isnan(found).sum() == found.size
    nothing = [np.nan]
    wanted = {
        "static": [1.0] * 26,
        "daily": nothing * 2 + [1.0] * 8 + [3.0] * 8 + nothing * 8,
        "previous": nothing * 2 + [1.0] * 8 + [3.0] * 10 + nothing * 6,
        "composite": nothing * 2 + [1.0] * 4 + [1 + i / 4 for i in range(9)] + [3.0] * 3 + nothing * 8,
    }
    np.testing.assert_allclose(found[:, 2, 2], wanted[rule])


def test_the_order_of_items_does_not_matter(tmp_path):
    geobox = SMALL.geobox(TILE)[:6, :8]
    halves = {"A": geobox[:, :4], "B": geobox[:, 4:], "C": geobox[:, 2:7]}
    cubes = []
    for order in ("ABC", "CBA", "BCA"):
        catalog = new_catalog(tmp_path / order)
        for i, id in enumerate(order):
            part = halves[id]
            put(catalog, "glass-lst", id, part, {"a": np.full(part.shape, ord(id), np.float32)}, START, linked=i == 2)
        recipe = Recipe((Feature("f", "glass-lst", "a"), Feature("g", "glass-lst", "a", "average")))
        cubes.append(feature_cube(open_catalog(tmp_path / order), recipe, geobox, Period.of_day(START)).compute())
    xr.testing.assert_identical(cubes[0], cubes[1])
    xr.testing.assert_identical(cubes[0], cubes[2])
    assert not np.isnan(cubes[0].f).any()


def test_two_items_of_different_areas_make_one_field_and_both_are_inputs(tmp_path):
    catalog, geobox = new_catalog(tmp_path), SMALL.geobox(TILE)
    field = image(geobox)
    for id, part in (("west", slice(0, 20)), ("east", slice(20, 50))):
        put(catalog, "glass-lst", id, geobox[:, part], {"a": field[:, part]}, START)
    put(catalog, "glass-lst", "beside", SMALL.geobox("h02v01"), {"a": field}, START)
    recipe = Recipe((Feature("f", "glass-lst", "a"),))
    resolution = resolve_inputs(open_catalog(tmp_path), recipe, geobox, Period.of_day(START))
    assert [id for id, _ in resolution.inputs(START)] == ["east/a", "west/a"]
    assert [id for id, _ in resolution.items(START)] == ["east", "west"]
    np.testing.assert_array_equal(build(resolution, TargetPixels(geobox)).f.values[0], field)


def test_items_of_one_id_in_two_collections_are_told_apart(tmp_path):
    catalog, geobox = new_catalog(tmp_path), SMALL.geobox(TILE)[:4, :5]
    for collection, number in (("glass-lst", 1), ("era5-land", 2)):
        put(catalog, collection, "SAME", geobox, {"a": np.full((4, 5), number, np.float32)}, START)
    recipe = Recipe((Feature("f", "glass-lst", "a"), Feature("g", "era5-land", "a")))
    cube = feature_cube(open_catalog(tmp_path), recipe, geobox, Period.of_day(START)).compute()
    assert (float(cube.f.mean()), float(cube.g.mean())) == (1, 2)


def test_a_day_without_input_is_nan_and_said_to_be_missing(project):
    period = Period.parse("2018-07-02/2018-07-05")
    resolution = resolve_inputs(project[0].catalog, RECIPE, SMALL.geobox(TILE), period)
    assert resolution.missing(date(2018, 7, 3)) == []
    assert resolution.missing(date(2018, 7, 4)) == ["lst", "swvl1", "frozen"]
    cube = build(resolution, TargetPixels(SMALL.geobox(TILE))).compute()
    assert np.isnan(cube.lst.values[2:]).all()
    assert not np.isnan(cube.lai.values[2:]).all()
    assert not cube.frozen.values[2:].any()


def test_inputs_change_with_the_meaning_of_the_values_and_nothing_else(tmp_path):
    project, _, _ = copied_project(tmp_path / "p")
    geobox, day = SMALL.geobox(TILE), date(2018, 7, 1)

    def inputs(period="2018-07-01"):
        return resolve_inputs(open_catalog(project.folder), RECIPE, geobox, Period.parse(period)).inputs(day)

    before = inputs()
    assert inputs("2018-06-29/2018-07-02") == before
    assert [id for id, _ in before] == [
        "DEM/elevation",
        "ERA5.2018182/stl1",
        "ERA5.2018182/swvl1",
        "LAI.1/lai",
        "LST.2018182/lst",
    ]
    edit(project.catalog, "glass-lst", "LST.2018182", lambda item: item["properties"].update(title="other"))
    assert inputs() == before
    edit(
        project.catalog,
        "glass-lst",
        "LST.2018182",
        lambda item: item["assets"]["lst"]["bands"][0].update({"raster:scale": 0.02}),
    )
    assert [a[0] for a, b in zip(before, inputs(), strict=True) if a != b] == ["LST.2018182/lst"]


def test_inputs_change_with_their_weights(tmp_path):
    """The same two composites, but the middle of one of them moves."""
    project, _, _ = copied_project(tmp_path / "p")
    day = Period.parse("2018-07-02")

    def inputs():
        return resolve_inputs(open_catalog(project.folder), RECIPE, SMALL.geobox(TILE), day).inputs(day.start)

    before = inputs()
    edit(
        project.catalog, "glass-lai", "LAI.2",
        lambda item: item["properties"].update(end_datetime="2018-07-14T23:59:59Z"),
    )  # fmt: skip
    assert [a[0] for a, b in zip(before, inputs(), strict=True) if a != b] == ["LAI.1/lai", "LAI.2/lai"]
    assert [a[0] for a in before] == [b[0] for b in inputs()]


@pytest.mark.parametrize("name", READERS)
def test_one_scale_in_one_item_changes_the_cube(tmp_path, name, values):
    project, _, _ = copied_project(tmp_path / "p")
    edit(
        project.catalog,
        "glass-lst",
        "LST.2018182",
        lambda item: item["assets"]["lst"]["bands"][0].update({"raster:scale": 0.02}),
    )
    found = feature_cube(open_catalog(project.folder), RECIPE, TILE, DAYS, grid=SMALL, reader=name).compute()
    np.testing.assert_allclose(found.lst.values[3], 2 * values.lst.values[3], rtol=1e-6)
    np.testing.assert_array_equal(found.lst.values[4], values.lst.values[4])


def test_errors_say_what_was_found_and_what_was_wanted(project):
    catalog, recipe = project[0].catalog, Recipe((Feature("f", "glass-lst", "lst"),))
    with pytest.raises(InputError, match="reader 'gdal' is unknown: known are stackstac, odc"):
        feature_cube(catalog, recipe, TILE, DAYS, grid=SMALL, reader="gdal")
    with pytest.raises(InputError, match="tile 'h09v09' is not in grid small: its tiles are h00v00 to h02v02"):
        feature_cube(catalog, recipe, "h09v09", DAYS, grid=SMALL)
    with pytest.raises(
        CatalogError,
        match="collection 'modis-lst' is unknown: known are .*glass-lst",
    ):
        feature_cube(catalog, Recipe((Feature("f", "modis-lst", "lst"),)), TILE, DAYS, grid=SMALL)
    with pytest.raises(CatalogError, match="asset of collection glass-lst 'lts' is unknown: .* did you mean 'lst'"):
        resolve_inputs(catalog, Recipe((Feature("f", "glass-lst", "lts"),)), SMALL.geobox(TILE), DAYS)
    absent = resolve_inputs(catalog, recipe, SMALL.geobox(TILE), Period.parse("1999-01-01"))
    with pytest.raises(CatalogError, match=r"here, 1999-01-01 to 1999-01-01: .* f \(collection glass-lst, asset lst\)"):
        require_inputs(absent, "here")
    with pytest.raises(InputError, match="lies off the Earth"):
        feature_cube(catalog, recipe, "h00v00", DAYS)


@pytest.mark.parametrize("reader", READERS)
def test_a_large_box_is_cut_into_blocks_with_the_same_values(project, values, monkeypatch, reader):
    """Blocks of 16 x 16 of a tile of 40 x 50, and all that is derived from them."""
    monkeypatch.setattr(resample, "BLOCK", 16)
    cube = feature_cube(project[0].catalog, RECIPE, TILE, DAYS, grid=SMALL, reader=reader)
    for name, variable in cube.data_vars.items():
        assert variable.chunks == ((1,) * 6, (16, 16, 8), (16, 16, 16, 2)), name
        np.testing.assert_allclose(variable.values, values[name].values, rtol=1e-6, err_msg=name)
    pixels = TargetPixels(SMALL.geobox(TILE), np.arange(40), np.arange(40))
    assert len(pixels.blocks()) == 1


GLOBES = {
    "degrees": box("EPSG:4326", -180, 90, 5, (36, 72)),
    "degrees from 0 to 360": box("EPSG:4326", 0, 90, 5, (36, 72)),
    "sinusoidal": MODIS_SINUSOIDAL_1KM.geobox("h18v09").zoom_out(10),
    "partly off the Earth": MODIS_SINUSOIDAL_1KM.geobox("h11v02").zoom_out(20),
    "beside the antimeridian": MODIS_SINUSOIDAL_1KM.geobox("h35v10").zoom_out(10),
    "UTM": UTM.geobox(TILE),
    "EASE-2": EASE.geobox(TILE),
    "a degree at the pole": box("EPSG:4326", 10, 90, 0.01, (100, 100)),
}


@pytest.mark.parametrize("target", ["globe", "degrees", "EASE-2 globe"])
def test_no_block_misses_a_source(target):
    """`meeting` may name too many, never too few: the exact window of every pair decides."""
    whole_grid = {
        "globe": box(SINUSOIDAL, -PIXEL * 21600, PIXEL * 10800, PIXEL * 40, (540, 1080)),
        "degrees": GLOBES["degrees"].zoom_out(0.1),
        "EASE-2 globe": box("EPSG:6933", -17367530, 7314540, 36032, (406, 964)),
    }[target]
    height, width = whole_grid.shape
    corners = [(i, j) for i in range(0, height, 90) for j in range(0, width, 90)]
    blocks = [TargetPixels(whole_grid[i : i + 90, j : j + 90]) for i, j in corners]
    sources = list(GLOBES.values())
    met = resample.overlapping_grids_by_block(sources, whole_grid, blocks)
    named = 0
    for block, near in zip(blocks, met, strict=True):
        windows = {i: resample.source_window(one, block) for i, one in enumerate(sources)}
        exact = {i: window for i, window in windows.items() if window is not None}
        needed = {i for i, w in exact.items() if (resample.pixel_lookup(sources[i], w, block, "nearest") >= 0).any()}
        assert needed <= set(near)
        named += len(near)
    assert named < 0.8 * len(blocks) * len(sources)


def test_a_global_day_is_lazy(tmp_path):
    """43,200 x 21,600 pixels: no array of that size is made, and no file is looked at."""
    catalog = new_catalog(tmp_path)
    coarse = box("EPSG:4326", -180, 90, 1, (180, 360))
    put(catalog, "era5-land", "ERA5", coarse, {"swvl1": image(coarse)}, START)
    for tile in ("h18v04", "h10v05"):
        geobox = MODIS_SINUSOIDAL_1KM.geobox(tile).zoom_out(20)
        put(catalog, "glass-lst", f"LST.{tile}", geobox, {"lst": image(geobox)}, START)
    features = Feature("lst", "glass-lst", "lst"), Feature("swvl1", "era5-land", "swvl1", "bilinear")
    recipe = Recipe(features, ("latitude", "doy_sin"))
    globe = box(SINUSOIDAL, -PIXEL * 21600, PIXEL * 10800, PIXEL, (21600, 43200))
    feature_cube(catalog, recipe, TILE, Period.of_day(START), grid=SMALL)  # imports
    tracemalloc.start()
    cube = feature_cube(open_catalog(catalog.root), recipe, globe, Period.of_day(START))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    assert cube.lst.shape == (1, 21600, 43200)
    assert len(cube.__dask_graph__()) < 10_000
    part = cube.isel(y=slice(4800, 6000), x=slice(18 * 1200, 19 * 1200)).compute(scheduler="threads")
    tile = feature_cube(catalog, recipe, "h18v04", Period.of_day(START)).compute(scheduler="threads")
    for name in cube.data_vars:
        np.testing.assert_allclose(part[name], tile[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("href", ["../a", "../a/catalog.json"])
def test_a_relative_catalogue_lies_beside_the_projects_own(tmp_path, monkeypatch, href):
    """Wherever the command is typed."""
    project, _, _ = copied_project(tmp_path / "a")
    own, other = open_catalog(project.folder), new_catalog(tmp_path / "b")
    there = replace(RECIPE, features=tuple(replace(one, catalog=href) for one in RECIPE.features))
    there = replace(there, masks=(), derived=())
    here = replace(there, features=tuple(replace(one, catalog="") for one in there.features))
    monkeypatch.chdir("/")
    found = feature_cube(other, there, TILE, DAYS, grid=SMALL).compute()
    wanted = feature_cube(own, here, TILE, DAYS, grid=SMALL).compute()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name])


def test_variables_say_what_was_made_of_which_field(tmp_path):
    """As titles of `features --plot`: that of the asset where no variable has its name; a mean is not called a day."""
    project, _, _ = copied_project(tmp_path / "p")
    edit(
        project.catalog,
        "glass-lst",
        "LST.2018182",
        lambda item: item["assets"].update(mine=item["assets"]["lst"] | {"title": "Skin of the Earth"}),
    )
    features = (
        Feature("a", "glass-lst", "mine"),
        Feature("b", "glass-lst", "lst", lag=2),
        Feature("c", "glass-lst", "lst", trailing=7),
        Feature("d", "glass-lst", "lst", exponential=10),
    )
    cube = feature_cube(open_catalog(project.folder), Recipe(features), TILE, "2018-07-01", grid=SMALL)
    plain = "Land surface temperature, all-weather daily mean"
    made = ("2 days before", "mean of 7 days", "exponential mean of 10 days")
    titles = [cube[name].attrs["long_name"] for name in "abcd"]
    assert titles == ["Skin of the Earth", *(f"{plain}, {words}" for words in made)]
