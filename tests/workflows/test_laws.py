"""Laws of the shared STYLE.md, section 8, that concern more than one module: prediction, model, match-ups, commit.

Those of one module stand beside it: periods, grids, items, cubes (time rules, regridding), hold-outs, COGs, metrics.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pystac
import pytest
import rioxarray
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.core.columns import day_column
from stac_sm.core.errors import ModelError
from stac_sm.core.variables import QualityFlag
from stac_sm.features.cube import feature_cube
from stac_sm.model.fit import fit
from stac_sm.model.predict import predict
from stac_sm.model.train_settings import TrainSettings
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.catalogs.catalog import create_skeleton, open_catalog
from stac_sm.stac.publish import PublishOutcome
from stac_sm.storage.store import open_store
from stac_sm.workflows.plan.plan import make_plan
from tests.support.examples import examples
from tests.support.fields import (
    DAYS,
    RECIPE,
    SMALL,
    TILE,
    copied_project,
    publish_model,
    read_model,
    shared_project,
    small_model,
)
from tests.support.plan_runs import run_here
from tests.support.rasters import known_raster
from tests.support.site_series import matched, series, sites

RANGES = {"lst": (270, 300), "lai": (0, 7), "swvl1": (-1.0, 2.0), "elevation": (0, 3000), "doy_sin": (-1, 1),
          "latitude": (40, 50)}  # fmt: skip
SHAPE = (2, 11, 13)
SEEDS = st.integers(0, 2**32 - 1)
READERS = st.sampled_from(["stackstac", "odc"])
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


@settings(max_examples=examples(25))
@given(SEEDS, st.tuples(st.integers(1, 2), st.integers(1, 11), st.integers(1, 13)))
def test_prediction_does_not_know_chunks(seed, chunks):
    cube = cube_of(seed)
    by_parts = predict(MODEL, cube.chunk(dict(zip(("time", "y", "x"), chunks, strict=True))))
    xr.testing.assert_equal(by_parts.compute(scheduler="synchronous"), predict(MODEL, cube))


@settings(max_examples=examples(25))
@given(SEEDS)
def test_a_gap_is_flagged_and_no_number_and_a_number_is_inside_or_flagged(seed):
    cube = cube_of(seed)
    found = predict(MODEL, cube)
    required = [name for name in MODEL.features if name != "elevation"]  # the one feature whose gaps the model takes
    gap = np.any([np.isnan(cube[name]) for name in required], axis=0)
    frozen = cube.frozen.values
    assert np.isnan(found.sm.values[gap | frozen]).all()
    assert np.isfinite(found.sm.values[~(gap | frozen)]).all()
    assert ((found.qa.values & QualityFlag.INPUT_MISSING != 0) == gap).all()
    assert ((found.qa.values & QualityFlag.FROZEN != 0) == frozen).all()
    numbers = found.sm.values[~(gap | frozen)]
    assert ((numbers >= 0) & (numbers <= np.float32(0.6))).all()


@cache
def saved():
    project, model_id, _ = shared_project()
    return read_model(project.catalog, model_id)


@settings(max_examples=examples(25))
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


@settings(max_examples=examples(6))
@given(st.sets(st.sampled_from("ABCDE"), min_size=1), st.randoms(use_true_random=False))
def test_neither_the_order_of_stations_and_readings_nor_other_stations_change_the_rows_of_one(names, random):
    order = random.sample(sorted(names), len(names))
    rows = series().query("site in @order").sample(frac=1, random_state=random.randrange(2**32))
    found = matched(shared_project()[0].catalog, order, series=rows, sites=sites(order)).table
    wanted = all_matched().query("site in @order").reset_index(drop=True)
    pd.testing.assert_frame_equal(found.reset_index(drop=True), wanted)


@settings(max_examples=examples(4))
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


@settings(max_examples=examples(8))
@given(st.tuples(st.integers(0, 38), st.integers(1, 40)), st.tuples(st.integers(0, 48), st.integers(1, 50)), READERS)
def test_a_cube_of_a_part_is_a_part_of_the_cube(rows, columns, reader):
    """Bit for bit, whichever pixels of the sources the part needs."""
    project, _, _ = shared_project()
    part = np.s_[rows[0] : min(sum(rows), 40), columns[0] : min(sum(columns), 50)]
    found = feature_cube(open_catalog(project.folder), RECIPE, SMALL.geobox(TILE)[part], DAYS, reader=reader).compute()
    for name, wanted in whole_cube().isel(y=part[0], x=part[1]).items():
        np.testing.assert_array_equal(found[name], wanted, err_msg=str(name))


@cache
def whole_cube() -> xr.Dataset:
    project, _, _ = shared_project()
    return feature_cube(open_catalog(project.folder), RECIPE, TILE, DAYS, grid=SMALL).compute(scheduler="synchronous")


@given(st.lists(st.tuples(st.datetimes(datetime(1980, 1, 1), datetime(2030, 1, 1)), st.timezones()), min_size=1))
def test_the_same_instants_in_other_zones_are_the_same_days(instants):
    """Of a table, as it is and as it was written to a file."""
    wanted = pd.Series([pd.Timestamp(when).normalize() for when, _ in instants])
    elsewhere = [when.replace(tzinfo=UTC).astimezone(zone).isoformat() for when, zone in instants]
    found = day_column(pd.DataFrame({"time": elsewhere}), "time")
    assert list(found) == list(wanted)


@cache
def items() -> tuple[pystac.Item, ...]:
    catalog = shared_project()[0].catalog
    return tuple(item for name in catalog.collections for item in catalog.items(name))


@given(st.data())
def test_an_item_survives_its_own_json(data):
    item = data.draw(st.sampled_from(items())).to_dict(include_self_link=False, transform_hrefs=False)
    read = pystac.Item.from_dict(json.loads(json.dumps(item)), preserve_dict=True)
    assert read.to_dict(include_self_link=False, transform_hrefs=False) == item


@settings(max_examples=examples(3))
@given(SEEDS)
def test_where_there_is_no_noise_the_published_files_hold_the_truth(tmp_path_factory, seed):
    """Truth is a function of the features, known where a model learns from it: nothing on the way loses it."""
    project, _, _ = copied_project(tmp_path_factory.mktemp("truth") / "p")
    slopes = np.random.default_rng(seed).uniform(-1, 1, 2)
    cube = whole_cube()
    lai, wet = (cube[name] / cube[name].max() for name in ("lai", "swvl1"))
    truth = (0.3 + 0.1 * slopes[0] * lai + 0.1 * slopes[1] * wet).where(~cube["frozen"])
    table = xr.merge([cube[list(RECIPE.names)], truth.rename("sm")], compat="override").to_dataframe().dropna()
    model = fit(table, RECIPE.names, settings=TrainSettings(tune=False, n_estimators=300, max_depth=6, eta=0.1))
    made = made_with(project, replace(model, recipe=RECIPE))
    assert len(made) == len(DAYS)
    for day, sm in zip(DAYS.days, made, strict=True):
        error = (sm - truth.sel(time=np.datetime64(day))).values
        assert np.isfinite(error).sum() > 100
        assert np.nanmax(np.abs(error)) < 0.01


def made_with(project, model) -> list[xr.DataArray]:
    """sm of each day, read back from the files that a run has published with a model."""
    catalog = open_catalog(project.folder)
    id = publish_model(catalog, model, Path(project.folder) / ".scratch" / "truth", "truth")
    plan = make_plan(open_catalog(project.folder), read_model(open_catalog(project.folder), id), [TILE], DAYS,
                     grid=SMALL, version="001")  # fmt: skip
    assert run_here(project, plan).failures == []
    found = sorted(open_catalog(project.folder).items(PRODUCT_COLLECTION), key=lambda item: item.datetime)
    return [rioxarray.open_rasterio(item.assets["sm"].get_absolute_href(), masked=True).squeeze() for item in found]


@settings(max_examples=examples(4))
@given(st.integers(1, 4), st.sampled_from([0.1, 0.7, 2.0]))
def test_publishing_many_times_is_publishing_once(tmp_path_factory, times, angle):
    """The files, byte by byte; all but the first say that it was there."""
    folder = tmp_path_factory.mktemp("publish")
    raster = known_raster(folder, angle=angle)
    create_skeleton(open_store(folder / "p"), title="Test")
    assert raster.publish(open_catalog(folder / "p")) == PublishOutcome.NEW
    shutil.copytree(folder / "p", folder / "once")
    assert {raster.publish(open_catalog(folder / "p")) for _ in range(times)} == {PublishOutcome.DONE}
    files = {file.relative_to(folder / "p"): file.read_bytes() for file in (folder / "p").rglob("*") if file.is_file()}
    assert files == {
        file.relative_to(folder / "once"): file.read_bytes() for file in (folder / "once").rglob("*") if file.is_file()
    }
