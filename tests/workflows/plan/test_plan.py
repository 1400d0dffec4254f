"""Plan: what is wanted, less what is proven."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from stac_sm.core.errors import CatalogError, InputError
from stac_sm.core.period import Period
from stac_sm.features.recipe import Feature, Recipe
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.workflows.plan.plan import Plan, make_plan
from stac_sm.workflows.plan.plan_file import PlanWriter, read_plan, write_plan
from stac_sm.workflows.plan.project_plan import plan_project
from stac_sm.workflows.run.task import run_task
from tests.support.fields import (
    DAYS,
    RECIPE,
    SMALL,
    TILE,
    copied_project,
    edit,
    image,
    publish_model,
    put,
    put_model,
    read_model,
)

ONE = Period.parse("2018-07-01")


def plan_of(project, model, period=DAYS, *, grid=SMALL, version="001", tiles=(TILE,)):
    return make_plan(open_catalog(project.folder), model, tiles, period, grid=grid, version=version)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with one product day, and the model that made it."""
    project, model_id, _ = copied_project(tmp_path_factory.mktemp("plan") / "p")
    model = read_model(project.catalog, model_id)
    (task,) = plan_of(project, model, ONE).tasks()
    assert run_task(str(project.folder), task).succeeded
    return project, model


def changed(made, tmp_path):
    """A copy of that project, to be changed."""
    import shutil

    shutil.copytree(made[0].folder, tmp_path / "p")
    return replace(made[0], folder=tmp_path / "p"), made[1]


def test_wanted_less_proven(made):
    plan = plan_of(*made)
    assert [day.state for day in plan.days] == ["new"] * 3 + ["done"] + ["new"] * 2
    assert plan.counts == {"new": 5, "done": 1, "stale": 0, "blocked": 0, "retracted": 0}
    assert [day.made.id for day in plan.to_do] == [f"SM1KM.A2018{n}.h01v01.v001" for n in (179, 180, 181, 183, 184)]
    assert [(task.name, len(task.days)) for task in plan.tasks()] == [("h01v01 2018-06", 3), ("h01v01 2018-07", 2)]


def test_a_fingerprint_does_not_depend_on_what_else_is_planned(made):
    whole = {day.made.day: day.made for day in plan_of(*made).days}
    for day in DAYS.days:
        assert plan_of(*made, Period.of_day(day)).days[0].made == whole[day]
    assert len({one.fingerprint for one in whole.values()}) == len(whole)


def test_nothing_but_the_json_is_read(made, monkeypatch):
    import rasterio

    def refuse(*args, **kwargs):
        raise AssertionError("pixels were opened")

    monkeypatch.setattr(rasterio, "open", refuse)
    assert plan_of(*made).days


def _scale(project):
    edit(
        project.catalog, "glass-lst", "LST.2018182",
        lambda item: item["assets"]["lst"]["bands"][0].update({"raster:scale": 0.02}),
    )  # fmt: skip


def _checksum(project):
    edit(
        project.catalog, "cop-dem", "DEM", lambda item: item["assets"]["elevation"].update({"file:checksum": "1220ff"})
    )


def _ingested_again(project):
    geobox = SMALL.geobox(TILE)
    lst = np.round(28000 + 300 * image(geobox)).astype(np.uint16)
    put(
        project.catalog,
        "glass-lst",
        "LST.2018182",
        geobox,
        {"lst": (lst, {"nodata": 0, "raster:scale": 0.01})},
        ONE.start,
    )


def _moved_composite(project):
    def later(item):
        item["properties"]["end_datetime"] = "2018-06-30T23:59:59Z"  # its middle moves, and so do the weights

    edit(project.catalog, "glass-lai", "LAI.1", later)


@pytest.mark.parametrize("change", [_scale, _checksum, _ingested_again, _moved_composite], ids=lambda f: f.__name__[1:])
def test_a_changed_input_makes_a_day_stale(made, tmp_path, change):
    project, model = changed(made, tmp_path)
    assert plan_of(project, model, ONE).days[0].state == "done"
    change(project)
    assert plan_of(project, model, ONE).days[0].state == "stale"


def test_what_is_no_input_changes_nothing(made, tmp_path):
    project, model = changed(made, tmp_path)
    edit(project.catalog, "glass-lst", "LST.2018182", lambda item: item["properties"].update(title="other"))
    put(project.catalog, "glass-lst", "NEXT", SMALL.geobox("h02v01"), {"lst": image(SMALL.geobox(TILE))}, ONE.start)
    assert plan_of(project, model, ONE).days[0].state == "done"


def test_another_model_recipe_grid_or_version(made, tmp_path):
    project, model = changed(made, tmp_path)
    other = read_model(project.catalog, put_model(project.catalog, tmp_path / "m", seed=8))
    assert plan_of(project, other, ONE).days[0].state == "stale"
    smooth = replace(RECIPE, features=(replace(RECIPE.features[0], resampling="bilinear"), *RECIPE.features[1:]))
    assert plan_of(project, replace(model, recipe=smooth), ONE).days[0].state == "stale"
    assert plan_of(project, model, ONE, version="002").days[0].state == "new"
    moved = replace(SMALL, origin=(SMALL.origin[0] + 100, SMALL.origin[1]))  # of the same name
    assert plan_of(project, model, ONE, grid=moved).days[0].state == "stale"


def test_a_missing_input_blocks_and_is_named(made):
    project, model = made
    later = plan_of(project, model, Period.parse("2018-07-03/2018-07-05"))
    assert later.days_found == {}
    assert [(day.state, day.blocked_by) for day in later.days] == [
        ("new", ()), ("blocked", ("lst", "swvl1", "frozen")), ("blocked", ("lst", "swvl1", "frozen"))
    ]  # fmt: skip
    assert not [day for day in later.to_do if day.state == "blocked"]


def test_too_little_history_blocks_and_the_days_found_and_required_are_named(made, tmp_path):
    project, model = changed(made, tmp_path)
    memory = Feature("memory", "era5-land", "swvl1", "bilinear", exponential=4, window=12)
    recipe = replace(RECIPE, features=(*RECIPE.features, memory))
    publish_model(project.catalog, replace(model, recipe=recipe), tmp_path / "m", ["memory"])
    period = Period.parse("2018-07-08/2018-07-11")  # inputs end on the 3rd
    project = replace(project, folder=project.folder)  # which reads its catalogue again
    model_id = next(one.id for one in project.catalog.items("sm-models") if one.id != model.id)
    found = plan_project(project, [TILE], period, model=model_id)
    (memory,) = (one for one in found.missing_inputs if one["input"] == "memory")
    required = "days with 25% of the weight are required, e.g. the newest 2"
    assert memory["history"] == f"4 to 6 of 12 days of history found; {required}"
    assert [one.get("history") for one in found.missing_inputs if one["input"] == "lst"] == [None]
    assert read_plan(found.href).days_found == found.plan.days_found == {"memory": (4, 6)}


def test_a_missing_input_that_is_left_to_the_model_does_not_block(made, tmp_path):
    project, model = changed(made, tmp_path)
    snow = Feature("elevation", "cop-dem", "elevation", "average", "previous", max_gap=1, missing="nan")
    optional = replace(RECIPE, features=(*RECIPE.features[:3], snow))
    assert plan_of(project, replace(model, recipe=optional), ONE).days[0].state == "stale"


def test_a_tile_without_any_item_is_blocked(made):
    plan = plan_of(*made, ONE, tiles=["h00v02"])
    assert [(day.state, "lst" in day.blocked_by) for day in plan.days] == [("blocked", True)]


def test_tiles_are_taken_once_and_in_order(made):
    plan = plan_of(*made, ONE, tiles=["h02v02", TILE, "h02v02"])
    assert [day.made.tile for day in plan.days] == [TILE, "h02v02"]


def test_errors(made):
    with pytest.raises(InputError, match="no tile found"):
        plan_of(*made, tiles=[])
    with pytest.raises(InputError, match="tile 'h99v99' is not in grid small"):
        plan_of(*made, tiles=["h99v99"])
    modis = Recipe((Feature("lst", "modis-lst", "lst"),))
    with pytest.raises(CatalogError, match="collection 'modis-lst' is unknown"):
        plan_of(made[0], replace(made[1], recipe=modis))
    both = Recipe((*modis.features, Feature("lai", "modis-lai", "lai")))
    with pytest.raises(CatalogError, match="'modis-lst' is unknown: .*; .*'modis-lai' is unknown"):
        plan_of(made[0], replace(made[1], recipe=both))


def test_a_plan_file_comes_back_the_same(made, tmp_path):
    plan = plan_of(*made, Period.parse("2018-06-30/2018-07-04"), tiles=[TILE, "h00v00"])
    file = tmp_path / "deep" / "plan.parquet"
    write_plan(plan, file, SMALL)
    assert read_plan(file) == plan
    assert {day.state for day in plan.days} == {"new", "done", "blocked"}
    assert any(day.inputs for day in plan.days)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_is_written_while_planning_is_the_same(made, tmp_path, workers):
    folder, model = made
    options = {"grid": SMALL, "version": "001", "workers": workers}
    tiles, period = [TILE, "h00v00"], Period.parse("2018-06-30/2018-07-04")
    with PlanWriter(model.id, SMALL) as file:
        plan = make_plan(open_catalog(folder.folder), model, tiles, period, each=file.add, **options)
        file.place(tmp_path / "while.parquet")
    write_plan(plan, tmp_path / "after.parquet", SMALL)
    assert (tmp_path / "while.parquet").read_bytes() == (tmp_path / "after.parquet").read_bytes()


def test_a_refused_plan_file_leaves_what_was_there(made, tmp_path):
    plan, place = plan_of(*made), tmp_path / "plan.parquet"
    write_plan(plan, place, SMALL)
    before = place.read_bytes()
    with pytest.raises(InputError), PlanWriter(plan.model, SMALL):
        raise InputError("too dear")
    assert place.read_bytes() == before
    assert os.listdir(tmp_path) == ["plan.parquet"]


def test_a_plan_file_is_geoparquet(made, tmp_path):
    """Any reader of GeoParquet shows the tiles on a map."""
    plan = plan_of(*made)
    write_plan(plan, tmp_path / "plan.parquet", SMALL)
    table = pq.read_table(tmp_path / "plan.parquet")
    geo = json.loads(table.schema.metadata[b"geo"])
    column = geo["columns"][geo["primary_column"]]
    assert (geo["version"], column["encoding"], column["geometry_types"]) == ("1.1.0", "WKB", ["Polygon"])
    shapes = shapely.from_wkb(table["geometry"].to_pylist())
    assert {shape.geom_type for shape in shapes} == {"Polygon"}
    assert shapes[0].equals(SMALL.footprint(TILE))
    assert table["day"].to_pylist() == DAYS.days
    assert table["id"].to_pylist()[0] == "SM1KM.A2018179.h01v01.v001"


def test_what_is_no_plan(tmp_path):
    import pyarrow as pa

    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)
    (tmp_path / "text").write_text("plan")
    for file in (other, tmp_path / "text"):
        with pytest.raises(InputError, match=rf"{file.name} is no plan .*`stac-sm plan` writes one"):
            read_plan(file)
    with pytest.raises(InputError, match=r"none is no plan \(there is no such file\): `stac-sm plan` writes one"):
        read_plan(tmp_path / "none")


def test_plans_have_a_format_and_one_of_another_is_refused(tmp_path):
    file = tmp_path / "plan.parquet"
    write_plan(Plan("m", ()), file, SMALL)
    table = pq.read_table(file)
    about = json.loads(table.schema.metadata[b"stac_sm:plan"])
    assert about["format"] == 1
    for stated, refused in ((None, False), (2, True)):
        changed = {key: value for key, value in (about | {"format": stated}).items() if value is not None}
        pq.write_table(
            table.replace_schema_metadata({**table.schema.metadata, b"stac_sm:plan": json.dumps(changed)}), file
        )
        if refused:
            with pytest.raises(InputError, match="a plan of format 2 found, format 1 is required: plan again"):
                read_plan(file)
        else:
            assert read_plan(file).model == "m"


def test_an_empty_plan_has_no_tasks():
    assert list(Plan("m", ()).tasks()) == []
    assert Plan("m", ()).counts == {"new": 0, "done": 0, "stale": 0, "blocked": 0, "retracted": 0}
