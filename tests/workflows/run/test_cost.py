"""What a plan costs: from metadata, and from what earlier runs measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.project import Rates
from stac_sm.workflows.run.cost import Speed, default_speed, estimate_run, measured_speed, speed_of
from stac_sm.workflows.run.run_log import ItemFailure, TaskRecord, write_task_record
from tests.support.fields import DAYS, RECIPE, SMALL, TILE, copied_project, read_model

FREE = Rates(0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    project, model_id, _ = copied_project(tmp_path_factory.mktemp("cost") / "p")
    model = read_model(project.catalog, model_id)
    return project, make_plan(project.catalog, model, [TILE], DAYS, grid=SMALL, version="001")


def sizes(project, plan):
    """Bytes of the files that each task reads, from the files themselves."""
    files = set()
    for day in plan.days:
        for id, _ in day.inputs:
            item, key = id.rsplit("/", 1)
            (path,) = (path for path in Path(project.folder).rglob(f"{item}.json") if path.parent.name == item)
            files.add((day.made.day.month, path.parent / json.loads(path.read_text())["assets"][key]["href"]))
    return [file.stat().st_size for _, file in files]


def test_bytes_and_files_are_those_of_the_inputs(made):
    project, plan = made
    found = estimate_run(plan, rates=FREE, speed=Speed(3600.0), grid=SMALL)
    wanted = sizes(project, plan)
    assert (found.reads.files, found.reads.bytes, found.reads.unknown) == (len(wanted), sum(wanted), 0)
    assert (found.items, found.core_hours, found.cost, found.cost_a_month) == (6, 6.0, 0.0, 0.0)


@pytest.mark.parametrize("rate", ["core_hour", "gb_read", "get_1000", "put_1000", "gb_month"])
def test_each_rate_counts(made, rate):
    found = estimate_run(made[1], rates=replace(FREE, **{rate: 1000.0}), speed=Speed(3600.0), grid=SMALL)
    requests = {"get_1000": found.gets, "put_1000": found.puts + found.lists}
    wanted = {"core_hour": 6000.0, "gb_read": found.reads.bytes / 1e6, "gb_month": 0.0} | requests
    assert found.cost == pytest.approx(wanted[rate])
    assert found.cost_a_month == (pytest.approx(found.bytes_written / 1e6) if rate == "gb_month" else 0.0)


def test_nothing_to_do_costs_nothing(made):
    project, plan = made
    none = replace(plan, days=[replace(day, state="done") for day in plan.days], reads=None)
    found = estimate_run(none, rates=Rates(), speed=Speed(1.0), grid=SMALL)
    assert (found.items, found.gets, found.puts, found.cost) == (0, 0, 0, 0.0)


def test_runs_so_far_tell_the_speed(tmp_path):
    project, _, _ = copied_project(tmp_path / "p")
    store = project.catalog.store
    assert measured_speed(store) is None
    assert speed_of(project.catalog, SMALL, 4) == default_speed(SMALL, 4)
    failure = ItemFailure("x", "ReadError", "broken")
    for run, seconds, outcomes, failures in (
        ("a", 40.0, {"new": 3, "replaced": 1}, ()),
        ("b", 20.0, {"new": 2}, ()),
        ("c", 900.0, {"new": 1}, (failure,)),  # what has failed tells nothing
        ("d", 100.0, {"done": 30}, ()),
    ):
        task = f"{TILE} 2018-07"
        write_task_record(store, TaskRecord(task, "p", run, seconds=seconds, outcomes=outcomes, failures=failures))
    assert speed_of(project.catalog, SMALL, 4) == Speed(10.0, 6)


def test_the_default_grows_with_pixels_and_features():
    few, many = default_speed(SMALL, 1).seconds, default_speed(SMALL, 19).seconds
    assert few < many < 20 * few
    wide = replace(SMALL, tile_shape=(80, 100))
    assert default_speed(wide, 1).seconds == pytest.approx(4 * few)


def run(*arguments, code=0):
    done = CliRunner().invoke(main, [str(one) for one in arguments])
    assert done.exit_code == code, done.output
    return done


def test_the_command_tells_what_it_costs_and_refuses(tmp_path):
    project, _, _ = copied_project(tmp_path / "p")
    given = ["plan", "--tiles", f"{TILE},h00v02", "--period", "2018-06-28/2018-07-03", "--project", project.folder]
    done = run(*given, "--json", "--max-cost", "5")
    told = json.loads(done.stdout)
    assert (told["new"], told["blocked"]) == (6, 6)
    assert told["files_to_read"] > 0
    assert {"gb_to_read", "gb_to_write", "GET", "PUT", "LIST", "core-hours", "cost_usd"} < set(told)
    assert "blocked: 6 tile-days lack lst (collection glass-lst, asset lst) on 2018-06-28/2018-07-03" in done.stderr
    missing = {row["input"]: row for row in told["missing_inputs"]}
    lst = {"input": "lst", "collection": "glass-lst", "asset": "lst", "climatology": None, "tile_days": 6}
    lst["days"] = ["2018-06-28/2018-07-03"]
    assert missing["lst"] == lst
    assert set(missing) == {"lst", "lai"}  # all of them, not the first
    assert told["left_out"] == {}
    text = run(*given)
    lines = dict(line.split(": ", 1) for line in text.stdout.splitlines())
    assert lines["tile-days"] == "12 (6 new, 6 blocked)"
    assert lines["missing inputs"] == "lst (6 tile-days), lai (6 tile-days)"
    assert lines["to make them"].startswith("24 files (")
    assert "a default: no run has measured it" in done.stderr
    for plan in (Path(project.folder) / "plans").iterdir():
        plan.unlink()
    refused = run(*given, "--max-cost", "0", code=1)
    assert "at most 0 are allowed: plan fewer tiles or days, or raise --max-cost; nothing was written" in refused.stderr
    assert not list((Path(project.folder) / "plans").iterdir())
    assert RECIPE.names
