"""Run: what a plan wants is there afterwards, exactly as predicted, and what fails fails alone."""

from __future__ import annotations

import json
import posixpath
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.errors import ConflictError, InputError
from stac_sm.core.period import Period
from stac_sm.core.variables import QualityFlag
from stac_sm.features.cube import feature_cube
from stac_sm.features.inputs import resolve_inputs
from stac_sm.model.predict import predict
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac import publish as publishing
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.index.manifest import index_months, read_shard
from stac_sm.stac.items import item_json
from stac_sm.stac.publish import FINGERPRINT_PROPERTY
from stac_sm.storage.log_lines import start_logging, stop_logging
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.plan.plan_file import write_plan
from stac_sm.workflows.run import run as runs
from stac_sm.workflows.run import task as tasks
from stac_sm.workflows.run.run import RunReport, run_plan
from stac_sm.workflows.run.run_log import ItemFailure, TaskRecord
from stac_sm.workflows.run.task import run_task
from stac_sm.workflows.run.workers import SchedulerWorkers, _signals_afterwards, task_records
from tests.support.fields import (
    DAYS,
    EASE,
    RECIPE,
    SMALL,
    TILE,
    WIDE,
    copied_project,
    edit,
    read_model,
    shared_project,
    small_project,
)


def plan_of(project, model_id, period=DAYS, version="001", tiles=(TILE,)):
    catalog = open_catalog(project.folder)
    return make_plan(catalog, read_model(catalog, model_id), tiles, period, grid=project.grid, version=version)


def run_here(project, plan, monkeypatch):
    """`run_plan` with its tasks in this process."""
    monkeypatch.setattr(runs, "task_records", lambda _, work: (run_task(work.folder, task) for task in work.tasks))
    return run_plan(project, plan).records


def products(project):
    return open_catalog(project.folder).items(PRODUCT_COLLECTION)


REPORTED: list[str] = []
"""Ids of items that the worker of `made` has reported while its tasks were at work."""

COUNTED: list[int] = []
"""What `progress` of the run of `made` was called with."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project whose product was made on a local cluster of one worker; and what came of it."""
    project, model_id, _ = copied_project(tmp_path_factory.mktemp("run") / "p")
    plan = plan_of(project, model_id)

    def watched(workers, work):
        def day_done(id):
            REPORTED.append(id)
            work.day_done(id)

        return task_records(workers, replace(work, day_done=day_done))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "task_records", watched)
        return project, model_id, run_plan(project, plan, workers=1, progress=COUNTED.append).records


def test_a_run_of_some_tiles_makes_those_only(tmp_path, monkeypatch):
    """By their ids, or by a point or a box in degrees; what it says names the tiles and where they are."""
    project, model_id, _ = copied_project(tmp_path / "p")
    plan = plan_of(project, model_id, tiles=["h00v00", TILE])
    monkeypatch.setattr(runs, "task_records", lambda _, work: (run_task(work.folder, task) for task in work.tasks))
    both, one = plan.counts, plan.of_tiles([TILE])
    assert plan.tiles == ["h00v00", TILE]
    assert (one.tiles, len(one.days)) == ([TILE], len(DAYS))
    assert sum(one.counts.values()) + sum(plan.of_tiles(["h00v00"]).counts.values()) == sum(both.values())
    with pytest.raises(InputError, match=r"has no tile-day on h01v00 \(west .* its tiles are h00v00 \(west"):
        run_plan(project, plan, tiles=["h01v00"])
    assert not products(project)
    report = run_plan(project, plan, tiles=[TILE])
    assert {record.task.split()[0] for record in report.records} == {TILE}
    assert {item.id.split(".")[2] for item in products(project)} == {TILE}
    assert report.blocked == one.counts["blocked"]
    written = json.loads(open_catalog(project.folder).store.read(posixpath.relpath(report.href, project.folder)))
    assert written["tiles"] == [TILE]
    rest = run_plan(project, plan)
    assert rest.blocked == both["blocked"] > one.counts["blocked"]


def test_the_command_runs_the_tile_of_a_point_and_says_how_to_go_on(tmp_path, monkeypatch):
    project, model_id, _ = copied_project(tmp_path / "p")
    plan = plan_of(project, model_id, Period.of_day(DAYS.start), tiles=["h00v00", TILE])
    write_plan(plan, tmp_path / "plan.parquet", project.grid)
    asked = []

    def recorded(*args, tiles, **options):
        asked.append(tiles)
        failure = ItemFailure("SM1KM.A2018179.h01v01.v001", "ReadError", "no file")
        return RunReport("r", 1.0, [TaskRecord(f"{TILE} 2018-06", failures=(failure,))])

    monkeypatch.setattr(runs, "run_plan", recorded)
    west, south, east, north = project.grid.bbox(TILE)
    point = f"{(west + east) / 2},{(south + north) / 2}"
    for options in (("--at", point), ("--tiles", TILE), ("--bbox", f"{point},{point}")):
        where = ("--project", str(project.folder), "--metrics", str(tmp_path / "run.prom"))
        done = CliRunner().invoke(main, ["run", str(tmp_path / "plan.parquet"), *where, *options])
        assert done.exit_code == 1
        assert 'stac_sm_run_tile_days{outcome="failed"} 1.0' in (tmp_path / "run.prom").read_text()
        assert project.grid.describe(TILE) in done.stderr, done.stderr
        assert f"stac-sm run {tmp_path / 'plan.parquet'} --tiles {TILE} --project" in done.stderr
    assert asked == [[TILE]] * 3


def test_a_cluster_makes_all_that_was_planned(made):
    project, _, results = made
    assert [(result.task, dict(result.outcomes), result.failures) for result in results] == [
        ("h01v01 2018-06", {"new": 3}, ()),
        ("h01v01 2018-07", {"new": 3}, ()),
    ]
    assert all(record.succeeded for record in results)
    assert [item.id for item in products(project)] == [f"SM1KM.A2018{179 + i}.h01v01.v001" for i in range(6)]


def test_a_worker_reports_each_day_as_it_is_published(made):
    """So that a run of few long tasks shows that it goes on; each day is counted once."""
    assert sorted(REPORTED) == [item.id for item in products(made[0])]
    assert COUNTED == [6] * 6


def test_a_day_that_was_there_or_failed_counts_as_done_too(made, monkeypatch):
    project, model_id, _ = made
    counted = []
    plan = plan_of(project, model_id, version="002")
    failed = [TaskRecord(task.name, failures=(ItemFailure("x", "E", "no"),)) for task in plan.tasks()]
    monkeypatch.setattr(runs, "task_records", lambda _, work: failed)
    run_plan(project, plan, progress=counted.append)
    assert counted == [6] * 6


def test_a_long_run_indexes_what_it_has_made_so_far(tmp_path, monkeypatch):
    """`serve` finds by the index what lies on S3: days of a run of hours are found before it ends."""
    project, model_id, _ = copied_project(tmp_path / "p")
    monkeypatch.setattr(runs, "INDEX_SECONDS", 0.0)
    indexed = []

    def with_looks(workers, work):
        for task in work.tasks:
            yield run_task(work.folder, task)
            months = index_months(project.catalog.store, PRODUCT_COLLECTION)
            shards = [read_shard(project.catalog.store, PRODUCT_COLLECTION, month) for month in months]
            indexed.append(sum(len(shard[0]) for shard in shards))

    monkeypatch.setattr(runs, "task_records", with_looks)
    plan = plan_of(project, model_id)
    run_plan(project, plan)
    assert indexed == [3, 6]  # while the run goes on


def test_lines_of_a_run_name_its_task_and_each_item(tmp_path, monkeypatch, capsys):
    project, model_id, _ = copied_project(tmp_path / "p")
    for name in ("LEVEL", "FORMAT", "STAGE"):
        monkeypatch.setenv(f"STAC_SM_LOG_{name}", "")
    start_logging("info", "json", "update")
    try:
        [first, _] = run_here(project, plan_of(project, model_id), monkeypatch)
    finally:
        stop_logging()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    items = [line for line in lines if "item" in line]
    assert {line["stage"] for line in lines} == {"run"}
    assert sorted(line["item"] for line in items) == [item.id for item in products(project)]
    assert [line["task"] for line in items].count(first.task) == 3


def test_files_hold_exactly_what_was_predicted(made):
    project, model_id, _ = made
    cube = feature_cube(project.catalog, RECIPE, TILE, DAYS, grid=SMALL)
    wanted = predict(read_model(project.catalog, model_id), cube).compute()
    for i, item in enumerate(products(project)):
        with rasterio.open(item.assets["sm"].get_absolute_href()) as file:
            sm = file.read(1, masked=True).filled(np.nan)
        with rasterio.open(item.assets["qa"].get_absolute_href()) as file:
            qa = file.read(1)
        np.testing.assert_array_equal(sm, np.round(wanted.sm.values[i] * 2**13) / 2**13)
        np.testing.assert_array_equal(qa, wanted.qa.values[i])
        assert item.properties["stac_sm:pixels"] == {
            "valid": int((~np.isnan(sm)).sum()),
            "frozen": int(((qa & QualityFlag.FROZEN) > 0).sum()),
            "input_missing": int(((qa & QualityFlag.INPUT_MISSING) > 0).sum()),
        }


def test_items_are_valid(made, validate):
    for item in products(made[0])[:2]:
        validate(item)


def test_links_lead_to_the_inputs_of_the_day_and_the_model(made):
    project, model_id, _ = made
    for item in products(project):
        folder = posixpath.dirname(item.self_href)
        links = json.loads(Path(item.self_href).read_text())["links"]
        found = {}
        for link in (link for link in links if link["rel"] == "derived_from"):
            document = json.loads(Path(posixpath.join(folder, link["href"])).read_text())
            found[link["title"]] = document["collection"]
            assert document["id"] == link["title"]
        doy = item.id[7:14]
        assert found.pop("DEM") == "cop-dem"
        assert found.pop(model_id) == "sm-models"
        assert found.pop(f"ERA5.{doy}") == "era5-land"
        assert found.pop(f"LST.{doy}") == "glass-lst"
        assert set(found.values()) == {"glass-lai"}
        assert len(found) <= 2


def test_assets_have_size_and_checksum_and_the_preview_is_a_picture(made):
    import hashlib

    for item in products(made[0]):
        for asset in item.assets.values():
            content = Path(asset.get_absolute_href()).read_bytes()
            assert asset.extra_fields["file:size"] == len(content)
            assert asset.extra_fields["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
        picture = Path(item.assets["thumbnail"].get_absolute_href()).read_bytes()
        assert picture[:8] == b"\x89PNG\r\n\x1a\n"
        assert (int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")) == (50, 40)


def content(project):
    return {file: file.read_bytes() for file in Path(project.folder, PRODUCT_COLLECTION).rglob("*") if file.is_file()}


def test_a_second_run_does_nothing(made, monkeypatch):
    project, model_id, _ = made
    before = content(project)
    plan = plan_of(project, model_id)
    assert plan.counts == {"new": 0, "done": 6, "stale": 0, "blocked": 0, "retracted": 0}
    assert run_here(project, plan, monkeypatch) == []
    assert content(project) == before


def test_an_old_plan_finds_all_done(made, monkeypatch):
    """A plan from before, handed in once more."""
    project, model_id, _ = made
    before, plan = content(project), plan_of(project, model_id)
    old = replace(plan, days=tuple(replace(day, state="new") for day in plan.days))
    assert [dict(result.outcomes) for result in run_here(project, old, monkeypatch)] == [{"done": 3}, {"done": 3}]
    assert content(project) == before


def test_items_that_a_killed_run_has_left_are_linked_by_the_next(made, monkeypatch, tmp_path):
    project, model_id, _ = made
    collection = Path(project.folder, PRODUCT_COLLECTION, "collection.json")
    linked = collection.read_bytes()
    document = json.loads(linked)
    document["links"] = [link for link in document["links"] if link["rel"] not in {"child", "item"}]
    collection.write_text(json.dumps(document))
    assert not products(project)
    run_here(project, plan_of(project, model_id), monkeypatch)
    assert len(products(project)) == 6
    assert collection.read_bytes() == linked


def test_a_run_that_is_interrupted_links_what_it_has_made(tmp_path, monkeypatch):
    project, model_id, _ = copied_project(tmp_path / "p")

    def interrupted(workers, work):
        yield run_task(work.folder, work.tasks[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "task_records", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_plan(project, plan_of(project, model_id))
    assert [item.id for item in products(project)] == [f"SM1KM.A2018{179 + i}.h01v01.v001" for i in range(3)]


@pytest.mark.parametrize("asset", ["LST.2018182", "LAI.2"])
def test_a_corrupt_input_costs_its_own_days_only(tmp_path, monkeypatch, asset):
    project, model_id, _ = copied_project(tmp_path / "p")
    key = asset[:3].lower()
    file = Path(project.catalog.item(f"glass-{key}", asset).assets[key].get_absolute_href())
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    results = run_here(project, plan_of(project, model_id), monkeypatch)
    failures = {failure[0]: failure[1:] for result in results for failure in result.failures}
    layers = resolve_inputs(project.catalog, RECIPE, SMALL.geobox(TILE), DAYS)
    assert set(failures) == {
        f"SM1KM.A{day:%Y%j}.h01v01.v001" for day in DAYS.days if any(id == asset for id, _ in layers.items(day))
    }
    assert 0 < len(failures) < 6
    for kind, message in failures.values():
        assert kind == "ReadError"
        for part in (f"item '{asset}'", f"asset '{key}'", str(file)):
            assert part in message
    assert len(products(project)) == 6 - len(failures)
    assert sum(not result.succeeded for result in results) >= 1
    file.write_bytes(whole)  # repaired: the same command again makes only what is missing
    again = plan_of(project, model_id)
    assert again.counts == {"new": len(failures), "done": 6 - len(failures), "stale": 0, "blocked": 0, "retracted": 0}
    assert all(record.succeeded for record in run_here(project, again, monkeypatch))
    assert len(products(project)) == 6


def test_a_day_that_was_published_before_another_failed_counts_as_made(tmp_path, monkeypatch):
    """The second to be published of the first graph fails, and the first ends only when that is known."""
    project, model_id, _ = copied_project(tmp_path / "p")
    publish, calls, known = tasks.make_and_publish, [], Event()
    shutdown = ThreadPoolExecutor.shutdown

    def ended(pool, *args, **options):
        known.set()
        shutdown(pool, *args, **options)

    def second_fails(catalog, item, write, **options):
        calls.append(item["id"])
        number = len(calls)
        if number == 2:
            raise OSError("a moment without the store")
        outcome = publish(catalog, item, write, **options)
        assert number > 1 or known.wait(60)
        return outcome

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", ended)
    monkeypatch.setattr(tasks, "make_and_publish", second_fails)
    results = run_here(project, plan_of(project, model_id), monkeypatch)
    assert [dict(result.outcomes) for result in results] == [{"new": 3}, {"new": 3}]
    assert sorted(set(calls)) == [item.id for item in products(project)]
    assert len(calls) == 6 + 1


def test_a_day_that_another_run_publishes_meanwhile_is_left_to_it(tmp_path, monkeypatch):
    """Trying again would find the other's item, and take its place: the refusal would have done nothing."""
    project, model_id, _ = copied_project(tmp_path / "p")
    plan, others = plan_of(project, model_id, Period.parse("2018-07-01/2018-07-02")), []
    write = publishing.write_if_unchanged

    def other_is_faster(store, path, content, current):
        if not others:
            item = json.loads(content)
            item["properties"][FINGERPRINT_PROPERTY] = "0" * 64
            others.append((path, item_json(item)))
            assert store.create(*others[0])
        return write(store, path, content, current)

    monkeypatch.setattr(publishing, "write_if_unchanged", other_is_faster)
    (result,) = run_here(project, plan, monkeypatch)
    ((path, content),) = others
    ((id, kind, message),) = result.failures
    assert (posixpath.basename(path), kind) == (f"{id}.json", "ConflictError")
    assert "published by another writer" in message
    assert dict(result.outcomes) == {"new": 1}
    assert project.catalog.store.read(path) == content


def test_a_day_that_another_run_publishes_before_the_second_attempt_fails_by_name(tmp_path, monkeypatch):
    """The first attempt fails for another reason: each day of a task is made, done, or named as failed."""
    project, model_id, _ = copied_project(tmp_path / "p")
    plan, calls = plan_of(project, model_id, Period.parse("2018-07-01")), []

    def fails(catalog, item, write, **options):
        calls.append(item["id"])
        raise OSError("a moment without the store") if len(calls) == 1 else ConflictError("published by another writer")

    monkeypatch.setattr(tasks, "make_and_publish", fails)
    (result,) = run_here(project, plan, monkeypatch)
    assert calls == ["SM1KM.A2018182.h01v01.v001"] * 2
    assert dict(result.outcomes) == {}
    assert [failure[:2] for failure in result.failures] == [("SM1KM.A2018182.h01v01.v001", "ConflictError")]


def test_a_predecessor_that_could_not_be_marked_is_marked_later(tmp_path, monkeypatch):
    """At the second attempt, the day counts as made; where none succeeds, it fails, and the next run marks it."""
    project, model_id, _ = copied_project(tmp_path / "p")
    period = Period.parse("2018-07-01")
    run_here(project, plan_of(project, model_id, period), monkeypatch)
    mark, failing = tasks.mark_superseded, ["once"]

    def fails(*args):
        if failing:
            failing[:] = failing[1:]
            raise ConflictError("keeps changing")
        mark(*args)

    monkeypatch.setattr(tasks, "mark_superseded", fails)
    newer = plan_of(project, model_id, period, version="002")
    (result,) = run_here(project, newer, monkeypatch)
    assert (dict(result.outcomes), result.failures) == ({"new": 1}, ())
    newest = plan_of(project, model_id, period, version="003")
    failing += ["twice", "twice"]
    (result,) = run_here(project, newest, monkeypatch)
    assert dict(result.outcomes) == {}
    assert [failure[1] for failure in result.failures] == ["ConflictError"]
    assert [item.properties.get("deprecated") for item in products(project)] == [True, None, None]
    (result,) = run_here(project, newest, monkeypatch)
    assert (dict(result.outcomes), result.failures) == ({"done": 1}, ())
    assert [item.properties.get("deprecated") for item in products(project)] == [True, True, None]


def test_inputs_that_changed_after_the_plan_are_refused(tmp_path, monkeypatch):
    project, model_id, _ = copied_project(tmp_path / "p")
    plan = plan_of(project, model_id, Period.parse("2018-07-01/2018-07-02"))
    edit(
        project.catalog, "glass-lst", "LST.2018182",
        lambda item: item["assets"]["lst"]["bands"][0].update({"raster:scale": 0.02}),
    )  # fmt: skip
    (result,) = run_here(project, plan, monkeypatch)
    ((id, kind, message),) = result.failures
    assert (id, kind) == ("SM1KM.A2018182.h01v01.v001", "StacSmError")
    assert "the inputs are no longer those of the plan" in message
    assert "plan again" in message
    assert [item.id for item in products(project)] == ["SM1KM.A2018183.h01v01.v001"]


def test_a_stale_item_is_replaced(tmp_path, monkeypatch):
    project, model_id, _ = copied_project(tmp_path / "p")
    period = Period.parse("2018-07-01")
    run_here(project, plan_of(project, model_id, period), monkeypatch)
    before = products(project)[0]
    edit(
        project.catalog, "glass-lst", "LST.2018182",
        lambda item: item["assets"]["lst"]["bands"][0].update({"raster:scale": 0.0101}),
    )  # fmt: skip
    plan = plan_of(project, model_id, period)
    assert plan.counts["stale"] == 1
    assert [dict(result.outcomes) for result in run_here(project, plan, monkeypatch)] == [{"replaced": 1}]
    (after,) = products(project)
    assert after.id == before.id
    assert after.properties["stac_sm:fingerprint"] != before.properties["stac_sm:fingerprint"]
    assert plan_of(project, model_id, period).counts["done"] == 1


def test_a_task_that_cannot_even_begin_is_a_result(tmp_path):
    project, model_id, _ = shared_project()
    (task, *_) = plan_of(project, model_id).tasks()
    result = run_task(str(tmp_path), task)
    assert not result.succeeded
    assert [failure[:2] for failure in result.failures] == [(made.id, "ProjectError") for made in task.days]
    unknown = run_task(str(project.folder), replace(task, model="xgb-none"))
    assert {failure[1] for failure in unknown.failures} == {"CatalogError"}


def test_a_plan_of_another_project_is_refused_before_its_days_fail(monkeypatch):
    project, model_id, _ = shared_project()
    plan = replace(plan_of(project, model_id), model="xgb-none")
    monkeypatch.setattr(runs, "task_records", lambda workers, work: pytest.fail("workers were started"))
    with pytest.raises(InputError, match=f"plan {plan.id}: its model cannot be had .*xgb-none.* another project"):
        run_plan(project, plan)


@pytest.mark.parametrize("grid", [WIDE, EASE], ids=lambda grid: grid.crs)
def test_another_grid_from_the_project_file(tmp_path, grid, monkeypatch, validate):
    days = Period.parse("2018-07-01")
    project, model_id, _ = small_project(tmp_path / "p", grid, "h02v03", days)
    assert project.grid == grid
    plan = plan_of(project, model_id, days, tiles=["h02v03"])
    assert plan.counts["new"] == 1
    assert all(record.succeeded for record in run_here(project, plan, monkeypatch))
    (item,) = products(project)
    validate(item)
    assert item.properties["proj:code"] == grid.crs
    assert item.properties["grid:code"] == f"{grid.code}-0203"
    geobox = grid.geobox("h02v03")
    cube = feature_cube(project.catalog, RECIPE, "h02v03", days, grid=grid)
    wanted = predict(read_model(project.catalog, model_id), cube)
    with rasterio.open(item.assets["sm"].get_absolute_href()) as file:
        assert file.crs.to_epsg() == int(grid.crs[5:])
        assert file.transform.almost_equals(geobox.affine)
        sm = file.read(1, masked=True).filled(np.nan)
    np.testing.assert_array_equal(sm, np.round(wanted.sm.values[0] * 2**13) / 2**13)
    assert np.isfinite(sm).mean() > 0.3


def test_a_task_reads_every_file_once_however_many_days_need_it(tmp_path, monkeypatch):
    """Static and 8-day layers serve all days of a task: dask must not optimise each day alone."""
    from stac_sm.features import daily_fields

    read, plain = [], daily_fields.read_window

    def counted(source, window, reader_name):
        read.append((source.item_id, source.asset))
        return plain(source, window, reader_name)

    monkeypatch.setattr(daily_fields, "read_window", counted)
    project, model_id, _ = copied_project(tmp_path / "p")
    plan = plan_of(project, model_id, Period.parse("2018-07-01/2018-07-03"))
    (task,) = plan.tasks()
    assert len(task.days) == 3
    assert run_task(str(project.folder), task).succeeded
    assert len(read) == len(set(read)) > 3


def test_static_layers_are_regridded_once_a_task(tmp_path, monkeypatch):
    from stac_sm.features import daily_fields

    made, plain, static = [], daily_fields.regrid, {}
    plain_read = daily_fields.read_window

    def counted(target, windows, *others):
        made.append([static.get(id(window), "") for window in windows])
        return plain(target, windows, *others)

    def told(source, window, reader_name):
        found = plain_read(source, window, reader_name)
        static[id(found)] = source.item_id
        kept.append(found)  # so that no other array gets its id
        return found

    kept = []
    monkeypatch.setattr(daily_fields, "regrid", counted)
    monkeypatch.setattr(daily_fields, "read_window", told)
    project, model_id, _ = copied_project(tmp_path / "p")
    (task,) = plan_of(project, model_id, Period.parse("2018-07-01/2018-07-03")).tasks()
    assert run_task(str(project.folder), task).succeeded
    assert made.count(["DEM"]) == 1
    assert sum(bool(names[0].startswith("LST")) for names in made) == 3


def test_other_days_are_read_while_one_is_encoded(tmp_path, monkeypatch):
    """The first day that is encoded waits until another day is read: without overlap, that never comes."""
    import threading

    from stac_sm.features import daily_fields
    from stac_sm.raster import cog

    encoding, overlapped, waited = threading.Event(), threading.Event(), []
    plain_write, plain_read = cog.write_cog, daily_fields.read_window

    def write(*args, **options):
        if not encoding.is_set():
            encoding.set()
            waited.append(overlapped.wait(10))
        plain_write(*args, **options)

    def read(*args):
        if encoding.is_set():
            overlapped.set()
        return plain_read(*args)

    monkeypatch.setattr(cog, "write_cog", write)
    monkeypatch.setattr(daily_fields, "read_window", read)
    project, model_id, _ = copied_project(tmp_path / "p")
    (task,) = plan_of(project, model_id, Period.parse("2018-07-01/2018-07-03")).tasks()
    assert run_task(str(project.folder), task).succeeded
    assert waited == [True]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_a_cluster_has_started(number):
    """One that is half-way started cannot be closed: distributed would end in tracebacks."""
    seen, before = [], signal.signal(number, lambda *_: seen.append("told"))
    try:
        with _signals_afterwards():
            signal.raise_signal(number)
            signal.raise_signal(number)
            seen.append("started")
        assert seen == ["started", "told"]
        signal.raise_signal(number)
        assert seen == ["started", "told", "told"]
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("address", ["foo", "tcp://", "tcp://host", "host:port", ":8786", ""])
def test_what_is_no_address_of_a_scheduler_is_said_at_once(address):
    """distributed says so, too, and then never ends."""
    with pytest.raises(InputError, match="write its address as it prints it"), SchedulerWorkers(address).client(1):
        pass


def test_what_answers_but_is_no_scheduler_is_said():
    """distributed takes the first bytes for the length of a message, and has not so much memory."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            with suppress(OSError):
                while True:
                    with server.accept()[0] as there:
                        there.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" * 4)

        Thread(target=answer, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(InputError, match="no Dask scheduler answers"), SchedulerWorkers(address).client(1):
            pass


def test_a_run_of_a_plan_with_blocked_days_makes_the_others_and_exits_with_1(tmp_path):
    project, _, _ = copied_project(tmp_path / "p")
    where = ["--project", str(project.folder)]
    days = ["--tiles", f"{TILE},h00v02", "--period", "2018-07-02", "--out", str(tmp_path / "plan.parquet")]
    assert CliRunner().invoke(main, ["plan", *days, *where]).exit_code == 0
    done = CliRunner().invoke(main, ["run", str(tmp_path / "plan.parquet"), "--workers", "1", "--json", *where])
    assert done.exit_code == 1, done.output
    found = json.loads(done.stdout)
    assert (found["blocked"], found["new"], found["failed"]) == (1, 1, 0)
    assert "1 tile-days of the plan are blocked, since there is no input for " in done.stderr
    assert "lst (1 tile-days)" in done.stderr
    (report,) = (path for path in Path(project.folder).rglob("*.json") if '"blocked_by"' in path.read_text())
    content = json.loads(report.read_text())
    assert content["blocked"] == 1
    assert set(content["blocked_by"]) == {"lst", "lai"}
    again = CliRunner().invoke(
        main, ["run", str(tmp_path / "plan.parquet"), "--workers", "1", "--slice", "1/2", *where]
    )
    assert again.exit_code == 0, again.output  # the first slice says it
