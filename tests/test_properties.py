"""Laws of the shared STYLE.md, section 8, that concern more than one module: prediction, model, match-ups, commit.

Those of one module stand beside it: periods, grids, items, cubes (time rules, regridding), hold-outs, COGs, metrics.
"""

from __future__ import annotations

import shutil
from functools import cache

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import known_raster
from fields import DAYS, RECIPE, copied_project, read_model, shared_project, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from test_matchups import matched, series, sites

from stac_sm.catalog import create_skeleton, open_catalog
from stac_sm.cube import feature_cube
from stac_sm.errors import ModelError
from stac_sm.prediction import predict
from stac_sm.publishing import Outcome
from stac_sm.quality import Quality
from stac_sm.store import open_store

RANGES = {"lst": (270, 300), "lai": (0, 7), "swvl1": (-1.0, 2.0), "elevation": (0, 3000), "doy_sin": (-1, 1),
          "latitude": (40, 50)}  # fmt: skip
SHAPE = (2, 11, 13)
SEEDS = st.integers(0, 2**32 - 1)
MODEL = small_model()


def cube_of(seed: int) -> xr.Dataset:
    """Features beyond what the model has seen, with gaps, and a mask."""
    rng = np.random.default_rng(seed)
    fields = {}
    for name, (low, high) in RANGES.items():
        values = rng.uniform(low, high, SHAPE).astype(np.float32)
        values[rng.random(SHAPE) < 0.1] = np.nan
        fields[name] = (("time", "y", "x"), values)
    fields["frozen"] = (("time", "y", "x"), rng.random(SHAPE) < 0.1)
    return xr.Dataset(fields)


@settings(max_examples=25)
@given(SEEDS, st.tuples(st.integers(1, 2), st.integers(1, 11), st.integers(1, 13)))
def test_prediction_does_not_know_chunks(seed, chunks):
    cube = cube_of(seed)
    by_parts = predict(MODEL, cube.chunk(dict(zip(("time", "y", "x"), chunks, strict=True))))
    xr.testing.assert_equal(by_parts.compute(scheduler="synchronous"), predict(MODEL, cube))


@settings(max_examples=25)
@given(SEEDS)
def test_a_gap_is_flagged_and_no_number_and_a_number_is_inside_or_flagged(seed):
    cube = cube_of(seed)
    found = predict(MODEL, cube)
    required = [name for name in MODEL.features if name != "elevation"]  # the one feature whose gaps the model takes
    gap = np.any([np.isnan(cube[name]) for name in required], axis=0)
    frozen = cube.frozen.values
    assert np.isnan(found.sm.values[gap | frozen]).all()
    assert np.isfinite(found.sm.values[~(gap | frozen)]).all()
    assert ((found.qa.values & Quality.INPUT_MISSING != 0) == gap).all()
    assert ((found.qa.values & Quality.FROZEN != 0) == frozen).all()
    numbers = found.sm.values[~(gap | frozen)]
    assert ((numbers >= 0) & (numbers <= np.float32(0.6))).all()


@cache
def saved():
    project, model_id, _ = shared_project()
    return read_model(project.catalog, model_id)


@settings(max_examples=25)
@given(SEEDS, st.permutations(sorted(RANGES)))
def test_a_model_that_was_saved_and_read_predicts_the_same_by_name(seed, order):
    rows = {name: values.values.ravel() for name, values in cube_of(seed).items() if name != "frozen"}
    wanted = MODEL.predict(rows)
    assert np.array_equal(saved().predict({name: rows[name] for name in order}), wanted)


@given(st.sampled_from(sorted(RANGES)))
def test_a_missing_feature_is_an_error_that_names_it(name):
    with pytest.raises(ModelError, match=name):
        predict(MODEL, cube_of(1).drop_vars(name))


@cache
def all_matched() -> pd.DataFrame:
    return matched(shared_project()[0].catalog).table


@settings(max_examples=6)
@given(st.sets(st.sampled_from("ABCDE"), min_size=1), st.randoms(use_true_random=False))
def test_neither_the_order_of_stations_and_readings_nor_other_stations_change_the_rows_of_one(names, random):
    order = random.sample(sorted(names), len(names))
    rows = series().query("site in @order").sample(frac=1, random_state=random.randrange(2**32))
    found = matched(shared_project()[0].catalog, order, series=rows, sites=sites(order)).table
    wanted = all_matched().query("site in @order").reset_index(drop=True)
    pd.testing.assert_frame_equal(found.reset_index(drop=True), wanted)


@settings(max_examples=4)
@given(st.sampled_from(["glass-lst", "era5-land", "glass-lai"]), st.booleans())
def test_a_cube_does_not_know_the_order_of_its_items(tmp_path_factory, collection, dask):
    """Links the other way round, read lazily or at once."""
    project, _, _ = copied_project(tmp_path_factory.mktemp("order") / "p")
    catalog = open_catalog(project.folder)
    wanted = feature_cube(catalog, RECIPE, "h01v01", DAYS, grid=project.grid).compute(scheduler="synchronous")
    items = list(catalog.items(collection))
    catalog_items = type(catalog).items

    def turned(self, name, *arguments, **options):
        found = catalog_items(self, name, *arguments, **options)
        return list(reversed(found)) if name == collection else found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(catalog), "items", turned)
        assert [item.id for item in catalog.items(collection)] == [item.id for item in reversed(items)]
        found = feature_cube(open_catalog(project.folder), RECIPE, "h01v01", DAYS, grid=project.grid)
        found = found.compute(scheduler="threads" if dask else "synchronous")
    xr.testing.assert_equal(found, wanted)


@settings(max_examples=4)
@given(st.integers(1, 4), st.sampled_from([0.1, 0.7, 2.0]))
def test_publishing_many_times_is_publishing_once(tmp_path_factory, times, angle):
    """The files, byte by byte; all but the first say that it was there."""
    folder = tmp_path_factory.mktemp("publish")
    raster = known_raster(folder, angle=angle)
    create_skeleton(open_store(folder / "p"), title="Test")
    assert raster.publish(open_catalog(folder / "p")) == Outcome.NEW
    shutil.copytree(folder / "p", folder / "once")
    assert {raster.publish(open_catalog(folder / "p")) for _ in range(times)} == {Outcome.DONE}
    files = {file.relative_to(folder / "p"): file.read_bytes() for file in (folder / "p").rglob("*") if file.is_file()}
    assert files == {
        file.relative_to(folder / "once"): file.read_bytes() for file in (folder / "once").rglob("*") if file.is_file()
    }
