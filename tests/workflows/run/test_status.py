"""Status, retraction, versions: what a store alone tells about a plan, and what an operator may take out of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pystac
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pystac.errors import DeprecatedWarning

from stac_sm.core.errors import ConflictError, InputError
from stac_sm.product.item import PRODUCT_COLLECTION, ProductDay
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.items import isoformat, item_json
from stac_sm.stac.retract import retract
from stac_sm.workflows.audit import audit, repair
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.run import run_log
from stac_sm.workflows.run.run_log import TaskRecord
from stac_sm.workflows.run.status import Pace, item_records, plan_status
from tests.support.bare_items import contents
from tests.support.fields import DAYS, SMALL, TILE, copied_project, read_model
from tests.support.plan_runs import run_here

FIRST = "SM1KM.A2018179.h01v01.v001"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project whose product was made, with one broken input: its plan, and what came of the run."""
    project, model_id, _ = copied_project(tmp_path_factory.mktemp("status") / "p")
    file = Path(project.catalog.item("glass-lst", "LST.2018182").assets["lst"].get_absolute_href())
    file.write_bytes(file.read_bytes()[:100])
    plan = plan_of(project, model_id)
    return project, model_id, plan, run_here(project, plan)


def copied(made, tmp_path):
    """A copy of it, to be changed."""
    shutil.copytree(made[0].folder, tmp_path / "p")
    return replace(made[0], folder=tmp_path / "p"), made[1]


def plan_of(project, model_id, **options):
    catalog = open_catalog(project.folder)
    options = {"grid": SMALL, "version": "001", **options}
    return make_plan(catalog, read_model(catalog, model_id), [TILE], DAYS, **options)


def take_out(project, *ids, reason="the sensor was wet"):
    catalog = open_catalog(project.folder)
    layout = catalog.layout(PRODUCT_COLLECTION)
    return retract(catalog, PRODUCT_COLLECTION, ids, reason, path=lambda id: ProductDay.of_id(id).path(layout))


def document(project, id):
    (path,) = Path(project.folder, PRODUCT_COLLECTION).rglob(f"{id}.json")
    return json.loads(path.read_text())


def test_status_counts_what_the_store_holds(made):
    project, _, plan, report = made
    found = plan_status(open_catalog(project.folder), plan)
    assert (found.plan, found.done, found.missing, found.blocked, found.retracted) == (plan.id, 5, 1, 0, 0)
    assert found.failed == {"ReadError": 1}
    assert [failure.id for failure in found.examples] == ["SM1KM.A2018182.h01v01.v001"]
    assert found.examples == tuple(report.failures)
    assert found.workers == 1
    seconds, items = (sum(getattr(one, name) for one in report.records) for name in ("seconds", "made"))
    assert found.rate == pytest.approx(items * 3600 / seconds)
    assert found.quiet is not None
    assert found.hours_left == pytest.approx(1 / found.rate)


def ended(worker, minutes, seconds, made=30):
    """The record of a task that ended so many minutes after noon."""
    started = datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(minutes=minutes, seconds=-seconds)
    return TaskRecord("h18v04 2019-07", "p", "r", worker, isoformat(started), seconds, {"new": made})


def test_bursts_of_publication_say_nothing_about_the_rate():
    """Two workers take 30 min for 30 days each, and publish them within a second at the end."""
    records = [ended(worker, 30 * n, 1800) for n in (1, 2) for worker in ("a:1", "a:2")]
    pace = Pace.of(records)
    assert (pace.workers, pace.rate) == (2, pytest.approx(120))
    assert Pace.of([]) == Pace(0, None, 0.0)


def test_workers_of_a_run_before_are_not_counted():
    records = [ended(worker, 30, 1800) for worker in ("a:1", "a:2", "a:3")] + [
        ended("b:1", 30 * n, 1800) for n in (5, 6)
    ]
    assert (Pace.of(records).workers, Pace.of(records).rate) == (1, pytest.approx(60))
    nothing_made = replace(ended("c:1", 190, 5), outcomes={"done": 30})
    assert Pace.of([*records, nothing_made]) == Pace.of(records)


@given(workers=st.integers(1, 5), each=st.integers(60, 7200), days=st.integers(1, 31), months=st.integers(1, 8))
def test_law_equal_workers_finish_what_is_left_in_the_time_that_is_said(workers, each, days, months):
    """The oracle lets the workers go on, month by month, and looks at its clock."""
    records = [ended(f"host:{w}", n * each / 60, each, days) for n in range(1, months + 1) for w in range(workers)]
    rate = Pace.of(records).rate
    assert rate is not None
    rounds = 7
    clock = rounds * each
    assert rounds * workers * days / rate * 3600 == pytest.approx(clock)


def test_nothing_is_expected_of_a_run_that_is_quiet(made):
    import time

    project, _, plan, _ = made
    later = plan_status(open_catalog(project.folder), plan, now=time.time() + 86400)
    assert later.hours_left is None
    assert later.quiet == pytest.approx(86400, abs=600)


def test_a_failure_that_was_mended_is_no_failure(made, tmp_path):
    project, _ = copied(made, tmp_path)
    shutil.copytree(made[0].folder / "glass-lst", project.folder / "glass-lst", dirs_exist_ok=True)
    fresh, _, _ = copied_project(tmp_path / "fresh")
    shutil.copytree(fresh.folder / "glass-lst", project.folder / "glass-lst", dirs_exist_ok=True)
    assert not run_here(project, made[2]).failures
    found = plan_status(open_catalog(project.folder), made[2])
    assert (found.done, found.missing, found.failed, found.hours_left) == (6, 0, {}, 0.0)


def test_before_a_run_all_is_missing(tmp_path):
    project, model_id, _ = copied_project(tmp_path / "p")
    found = plan_status(project.catalog, plan_of(project, model_id))
    assert (found.done, found.missing, found.rate, found.quiet, found.hours_left) == (0, 6, None, None, None)


def test_the_log_of_a_task_is_found_from_its_item(made):
    (record,) = item_records(open_catalog(made[0].folder), "SM1KM.A2018182.h01v01.v001")
    assert record.task == "h01v01 2018-07"
    assert record.plan == made[2].id
    assert any("SM1KM.A2018183.h01v01.v001: new" in line for line in record.log)
    assert any("SM1KM.A2018182.h01v01.v001 failed: " in line for line in record.log)
    assert item_records(open_catalog(made[0].folder), "SM1KM.A2018182.h02v01.v001") == []


def test_the_report_of_a_run_tells_errors_by_class(made):
    report = made[3]
    told = json.loads(Path(report.href).read_text())
    assert sum(told["outcomes"].values()) == 5  # some may be done before the whole month fails, and is tried by day
    assert [(row["error"], row["items"]) for row in told["errors"]] == [("ReadError", 1)]
    assert told["errors"][0]["tile"] == SMALL.describe("h01v01")
    assert told["failures"][0]["id"] == "SM1KM.A2018182.h01v01.v001"
    assert [record.succeeded for record in report.records] == [True, False]


def test_lines_hold_no_secrets():
    with run_log.capture_log_lines() as lines:
        run_log.LOGGER.info("read https://user:hunter2@example.com/a.tif?X-Amz-Signature=abcdef")
    run_log.LOGGER.info("nobody listens")
    assert len(lines) == 1
    assert "hunter2" not in lines[0]
    assert "abcdef" not in lines[0]


def test_a_tombstone_takes_the_place_of_an_item(made, tmp_path, validate):
    project, model_id = copied(made, tmp_path)
    before = document(project, FIRST)
    assert [(one.id, one.outcome) for one in take_out(project, FIRST)] == [(FIRST, "retracted")]
    after = document(project, FIRST)
    validate(after)
    assert after["assets"] == {}
    assert after["properties"]["deprecated"] is True
    assert after["properties"]["stac_sm:retracted"] == "the sensor was wet"
    assert after["properties"]["stac_sm:fingerprint"] != before["properties"]["stac_sm:fingerprint"]
    assert after["bbox"] == before["bbox"]
    assert [one.outcome for one in take_out(project, FIRST)] == ["done"]
    assert plan_of(project, model_id).counts == {"new": 1, "done": 4, "stale": 0, "blocked": 0, "retracted": 1}
    found = plan_status(open_catalog(project.folder), made[2])
    assert (found.done, found.missing, found.retracted) == (4, 1, 1)


def test_no_old_plan_brings_a_retracted_item_back(made, tmp_path):
    project, model_id = copied(made, tmp_path)
    take_out(project, FIRST)
    tombstone = document(project, FIRST)
    old = replace(made[2], days=tuple(replace(day, state="new") for day in made[2].days))
    run_here(project, old)
    assert document(project, FIRST) == tombstone
    again = plan_of(project, model_id, redo_retracted=True)
    assert [(day.made.id, day.redo) for day in again.to_do if day.redo] == [(FIRST, True)]
    report = run_here(project, again)
    assert report.outcomes["replaced"] == 1
    assert document(project, FIRST)["assets"]


def test_files_of_a_retracted_item_are_orphans(made, tmp_path):
    project, _ = copied(made, tmp_path)
    take_out(project, FIRST)
    catalog = open_catalog(project.folder)
    findings = audit(catalog, collections=[PRODUCT_COLLECTION])
    assert {(one.kind, Path(one.path).suffix) for one in findings} == {("orphan", ".tif"), ("orphan", ".png")}
    assert not repair(catalog, findings, grace_hours=0)
    assert audit(open_catalog(project.folder), collections=[PRODUCT_COLLECTION]) == []


@pytest.mark.parametrize(
    ("ids", "reason", "told"),
    [
        ([FIRST, "SM1KM.A2018001.h01v01.v001"], "bad", "1 of 2 items are not in sm-1km-daily: SM1KM.A2018001"),
        ([FIRST], "  ", "no reason"),
        (["DEM"], "bad", "item 'DEM': an id such as"),
        (["SM1KM.A2018999.h01v01.v001"], "bad", "an id such as"),
    ],
)
def test_what_cannot_be_retracted_changes_nothing(made, ids, reason, told):
    before = contents(made[0].folder)
    with pytest.raises(InputError, match=told):
        take_out(made[0], *ids, reason=reason)
    assert contents(made[0].folder) == before


def test_an_item_that_changes_meanwhile_is_not_retracted(made, tmp_path, monkeypatch):
    from stac_sm.storage.local_store import LocalStore

    project, _ = copied(made, tmp_path)
    before = contents(project.folder)

    def faster(change):
        """Another writer who changes the item between reading and writing, once."""
        plain = LocalStore.compare_and_swap

        def swap(store, path, content, expected):
            monkeypatch.setattr(LocalStore, "compare_and_swap", plain)
            item = json.loads(expected)
            change(item)
            assert store.compare_and_swap(path, item_json(item), expected)
            return store.compare_and_swap(path, content, expected)

        monkeypatch.setattr(LocalStore, "compare_and_swap", swap)

    faster(lambda item: item["properties"].update({"stac_sm:fingerprint": "0" * 64}))
    with pytest.raises(ConflictError, match="changed by another writer"):
        take_out(project, FIRST)
    assert len([path for path, content in contents(project.folder).items() if before[path] != content]) == 1
    faster(lambda item: item["links"].append({"rel": "successor-version", "href": "../x/x.json"}))
    (result,) = take_out(project, FIRST)
    assert result.outcome == "retracted"
    item = project.catalog.item("sm-1km-daily", FIRST)
    assert "deprecated" in item.properties
    assert any(link.rel == "successor-version" for link in item.links)


def test_versions_live_side_by_side(made, tmp_path, validate):
    project, model_id = copied(made, tmp_path)
    plan = plan_of(project, model_id, version="002")
    assert plan.counts["new"] == 6
    assert {day.predecessor for day in plan.days} == {
        *(f"SM1KM.A2018{n}.h01v01.v001" for n in (179, 180, 181, 183, 184)),
        "",
    }
    report = run_here(project, plan)
    assert sum(report.outcomes.values()) == 5
    old, new = document(project, FIRST), document(project, FIRST.replace("v001", "v002"))
    for one in (old, new):
        validate(one)
    assert old["properties"]["deprecated"] is True
    assert old["assets"]
    assert "deprecated" not in new["properties"]
    folder = next(Path(project.folder, PRODUCT_COLLECTION).rglob(f"{old['id']}.json")).parent
    (successor,) = [link for link in old["links"] if link["rel"] == "successor-version"]
    assert pystac.Item.from_file(str(folder / successor["href"])).id == new["id"]
    (predecessor,) = [link for link in new["links"] if link["rel"] == "predecessor-version"]
    with pytest.warns(DeprecatedWarning):
        assert pystac.Item.from_file(str(folder.parent / new["id"] / predecessor["href"])).id == old["id"]
    assert plan_of(project, model_id).counts["done"] == 5  # what it was made from has not changed
    assert [one.kind for one in audit(open_catalog(project.folder), collections=[PRODUCT_COLLECTION])] == []
