"""Update: what is new is fetched, ingested, planned, made and indexed, once, whoever else is at it."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import subprocess
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.period import Period, utc_instant
from stac_sm.model.skill import SKILL_PROPERTY, Skill
from stac_sm.product.item import PRELIMINARY_PROPERTY, PRODUCT_COLLECTION
from stac_sm.stac.links import refresh, skeleton_folder
from stac_sm.workflows.audit import audit_project
from stac_sm.workflows.fetch import fetch_folder
from stac_sm.workflows.plan.project_plan import only_model
from stac_sm.workflows.project import create_project, read_project
from stac_sm.workflows.run.task import run_task
from stac_sm.workflows.update import LOCK, update_project
from tests.support.faulty_server import FaultyServer
from tests.support.fetched_files import era5_land_result
from tests.support.fields import DAYS, RECIPE, TILE, copied_project, edit, project_text, put_model, shared_project
from tests.support.readme_blocks import ROOT, blocks_of
from tests.support.services import TOKEN, ClimateDataStore
from tests.support.warm_start import warm_python

LACKING = (date(2018, 7, 1), date(2018, 7, 2))
"""Days whose ERA5-Land is new: it is not in the catalogue, and the service has it."""

TODAY = date(2018, 7, 20)
OWN = jsonschema.Draft7Validator(json.loads((skeleton_folder() / "schema.json").read_text()))


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setenv("STAC_SM_RETRY_FIRST_WAIT", "0.01")
    monkeypatch.setenv("STAC_SM_RETRY_LONGEST_WAIT", "0.02")
    monkeypatch.setenv("STAC_SM_COP_DEM_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("stac_sm.storage.s3.session.ATTEMPTS", 1)
    with ClimateDataStore(make=era5_land_result, looks=0) as service:
        monkeypatch.setenv("CDSAPI_URL", f"{service.address}/api")
        monkeypatch.setenv("CDSAPI_KEY", TOKEN)
        yield service


@pytest.fixture
def project(tmp_path, store, monkeypatch):
    """The small project without ERA5-Land of two days; its elevation is in the catalogue under another name."""
    project, _, _ = copied_project(tmp_path / "p")
    monkeypatch.setattr("stac_sm.fetch.cop_dem._state", lambda client, name: (0, ""))  # sea: its own test has a bucket
    return lacking(project)


def lacking(project, collection="era5-land", days=LACKING):
    for item in project.catalog.items(collection):
        if item.common_metadata.start_datetime.date() in days:
            for asset in item.assets.values():
                os.remove(asset.get_absolute_href())
            os.remove(item.self_href)
    refresh(project.catalog.store, collection)
    return read_project(project.folder)


def updated(project, **more):
    return update_project(project, DAYS, tiles=[TILE], workers=1, today=TODAY, **more)


def test_what_is_new_is_made_and_a_second_update_does_nothing(project, store):
    lines = []
    report = updated(project, say=lines.append)
    assert report.failures == []
    assert report.cannot_fetch == {}
    assert report.fetched == {"cop-dem": {}, "era5-land": {"fetched": len(report_months(store))}}
    assert report.ingested == {"new": len(report_months(store))}
    assert report.planned["blocked"] == 0
    assert report.made == {"new": len(DAYS), "replaced": 0, "done": 0}
    assert report.indexed[PRODUCT_COLLECTION] == len(DAYS)
    assert any(line.startswith("run ") for line in lines)
    assert audit_project(project, [PRODUCT_COLLECTION]) == []
    again = updated(read_project(project.folder))
    assert again.made == {}
    assert again.planned["done"] == len(DAYS)
    assert again.succeeded


def report_months(store):
    return {job["inputs"]["month"] for job in store.jobs.values()}


def test_the_report_of_the_command_and_its_exit_code(project, store, monkeypatch):
    """One request fails: it is named, the days that have their inputs are made, and the exit code is 1."""
    store.outcomes = ["failed"] * 9
    monkeypatch.setattr("stac_sm.workflows.run.run.task_records", in_this_process)
    call = ["update", "--project", str(project.folder), "--tiles", TILE, "--period", str(DAYS), "--workers", "1"]
    done = CliRunner().invoke(main, [*call, "--json"])
    assert done.exit_code == 1, done.output
    document = json.loads(done.stdout)
    assert document["succeeded"] is False
    assert document["made"]["new"] == len(DAYS) - len(LACKING)
    assert document["blocked_by"]["swvl1"] == len(LACKING)
    assert set(document) >= {"fetched", "ingested", "planned", "made", "indexed", "not_yet", "outdated", "failures"}
    assert [what for what in document["cannot_fetch"] if what.startswith("era5-land: ")]
    assert "cannot be fetched: era5-land" in done.stderr
    assert (
        "inputs or steps failed, the rest is done: do what is said of each, then run the same command again"
        in done.stderr
    )
    text = CliRunner().invoke(main, call)
    assert text.exit_code == 1
    assert f"blocked: {len(LACKING)} by swvl1" in text.stdout
    assert "left out: 1 cannot be fetched" in text.stdout, text.output
    assert TOKEN not in done.output
    store.outcomes = []
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 0, done.output
    facts = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert facts["made"] == f"{len(LACKING)} new"
    assert facts["left out"] == "nothing"
    assert list(facts)[:2] == ["period", "tiles"]


def in_this_process(_, work):
    return (run_task(work.folder, task, plan=work.plan, run=work.run) for task in work.tasks)


def test_a_source_of_a_person_is_named_with_its_page(project, monkeypatch):
    monkeypatch.setattr("stac_sm.workflows.run.run.task_records", in_this_process)
    report = updated(lacking(project, "glass-lst"))
    assert not report.succeeded
    (what,) = report.cannot_fetch
    assert what == f"lst (collection glass-lst, {len(LACKING)} tile-days)"
    assert "`stac-sm fetch glass` says what to select at https://glass.hku.hk/archive/" in report.cannot_fetch[what]
    assert report.made["new"] == len(DAYS) - len(LACKING)


def test_days_that_are_not_published_are_no_failure(project, monkeypatch):
    monkeypatch.setattr("stac_sm.workflows.run.run.task_records", in_this_process)
    report = update_project(project, DAYS, tiles=[TILE], workers=1, today=date(2018, 7, 6))
    assert report.succeeded
    assert [what for what in report.not_yet if what.startswith("swvl1 ")]
    assert report.made["new"] == len(DAYS) - len(LACKING)


def test_products_of_preliminary_values_are_made_again_of_final_ones(project, store, monkeypatch):
    """By the usual rule: other inputs, another fingerprint. An update of later days names the days."""
    monkeypatch.setattr("stac_sm.workflows.run.run.task_records", in_this_process)
    store.make = partial(era5_land_result, final=False)
    first = updated(project)
    assert first.made["new"] == len(DAYS)
    products = read_project(project.folder).catalog.items(PRODUCT_COLLECTION)
    inputs = {start_day(item): [item.id] for item in read_project(project.folder).catalog.items("era5-land")}
    stated = {start_day(item): item.properties.get(PRELIMINARY_PROPERTY) for item in products}
    assert stated == {day: inputs[day] if day in LACKING else None for day in DAYS.days}
    for item in products:
        OWN.validate(item.to_dict())
    for file in (fetch_folder(project) / "era5-land").glob("*.zip"):
        os.utime(file, (utc_instant(TODAY).timestamp(),) * 2)
    store.make = partial(era5_land_result, shift=0.02)
    later = update_project(project, Period.parse("2018-09"), tiles=[TILE], workers=1, today=date(2018, 10, 10))
    assert later.outdated == {"era5-land": "2018-07-01/2018-07-02"}
    again = update_project(project, DAYS, tiles=[TILE], workers=1, today=date(2018, 10, 10))
    assert again.fetched["era5-land"] == {"fetched": 1}
    assert again.ingested == {"replaced": 1}
    assert (again.planned["stale"], again.planned["done"]) == (len(LACKING), len(DAYS) - len(LACKING))
    assert again.made == {"new": 0, "replaced": len(LACKING), "done": 0}
    assert again.outdated == {}
    products = read_project(project.folder).catalog.items(PRODUCT_COLLECTION)
    assert not any(PRELIMINARY_PROPERTY in item.properties for item in products)
    found = audit_project(read_project(project.folder), [PRODUCT_COLLECTION])
    assert {one.kind for one in found} == {"orphan"}, "files of before, which audit --repair removes"


def start_day(item):
    return item.common_metadata.start_datetime.date()


def test_a_model_that_is_worse_than_its_own_input_is_said_in_the_report_and_refused_on_request(project, monkeypatch):
    """Refused, as `plan` does: inputs are fetched and ingested, nothing is made, and the exit code is 1."""
    monkeypatch.setattr("stac_sm.workflows.run.run.task_records", in_this_process)
    id = only_model(project)
    worse = Skill("site", "input", "swvl1", 100, 9, 0.06, 0.05, 0.2, -0.1, 0.4)
    edit(project.catalog, "sm-models", id, lambda item: item["properties"].update({SKILL_PROPERTY: [worse.to_dict()]}))
    call = ["update", "--project", str(project.folder), "--tiles", TILE, "--period", str(DAYS), "--workers", "1"]
    done = CliRunner().invoke(main, [*call, "--refuse-unskilled"])
    assert done.exit_code == 1, done.output
    assert f"failed: model {id}: WORSE THAN ITS OWN INPUT" in done.stderr
    assert "--accept-unskilled" in done.stderr
    assert "era5-land" in done.stdout
    assert project.catalog.items(PRODUCT_COLLECTION) == []
    done = CliRunner().invoke(main, [*call, "--json"])
    assert done.exit_code == 0, done.output
    assert f"model {id}: WORSE THAN ITS OWN INPUT" in done.stderr
    assert json.loads(done.stdout)["made"]["new"] == len(DAYS)
    assert "WORSE THAN ITS OWN INPUT" in json.loads(done.stdout)["skill"][0]
    product = read_project(project.folder).catalog.items(PRODUCT_COLLECTION)[0]
    assert product.properties[SKILL_PROPERTY] == [worse.to_dict()]


def test_a_second_update_on_the_same_disk_ends_at_once(project, monkeypatch):
    folder = fetch_folder(project)
    folder.mkdir(parents=True)
    with (folder / LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        report = updated(project)
    assert report.busy
    assert report.fetched == {}
    done_words = "another update of this project is at work"
    with (folder / LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        call = ["update", "--project", str(project.folder), "--tiles", TILE, "--period", str(DAYS)]
        done = CliRunner().invoke(main, call)
    assert (done.exit_code, done_words in done.stderr) == (0, True), done.output


AT_ONCE = """
import json, sys
from dataclasses import replace
from datetime import date
from stac_sm.fetch import cop_dem
from stac_sm.workflows.project import FetchSettings, read_project
from stac_sm.workflows.run import run
from stac_sm.workflows.run.task import run_task
from stac_sm.workflows.update import update_project
from stac_sm.core.period import Period
cop_dem._state = lambda client, name: (0, "")
run.task_records = lambda _, work: (run_task(work.folder, task, plan=work.plan, run=work.run) for task in work.tasks)
project = replace(read_project(sys.argv[1]), fetch=FetchSettings(folder=sys.argv[2]))
report = update_project(project, Period.parse(sys.argv[3]), tiles=[sys.argv[4]], workers=1, today=date(2018, 7, 20))
print(json.dumps(report.to_dict()))
"""


def test_two_updates_at_once_publish_nothing_twice(project, tmp_path, store):
    """As on two machines: each has a folder of fetched files of its own, so no lock is between them."""
    commands = [
        [*warm_python(), "-c", AT_ONCE, project.folder, tmp_path / f"granules{i}", str(DAYS), TILE] for i in range(2)
    ]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    found = [json.loads(one.communicate(timeout=200)[0]) for one in both]
    assert [report["failures"] for report in found] == [[], []]
    assert [report["busy"] for report in found] == [False, False]
    project = read_project(project.folder)
    assert len(project.catalog.items(PRODUCT_COLLECTION)) == len(DAYS)
    assert sum(report["made"].get("new", 0) for report in found) == len(DAYS)
    assert audit_project(project, [PRODUCT_COLLECTION, "era5-land"]) == []


def test_the_lines_of_the_readme_and_of_the_cron_job_run(project, monkeypatch):
    """The block of infra/README.md as it stands, on a day of 2018; the others are the same command with --json."""
    monkeypatch.setattr("stac_sm.workflows.fetch.today_utc", lambda: TODAY)
    monkeypatch.setattr("stac_sm.workflows.run.run.task_records", in_this_process)
    monkeypatch.chdir(project.folder)
    file = project.folder / "stac-sm.toml"
    file.write_text(file.read_text().replace("[recipe]", f'[product]\ntiles = ["{TILE}"]\n\n[recipe]', 1))
    typed, cron, _ = (one.text for one in blocks_of("infra/README.md") if one.heading == "Keep it up to date")
    program, *words = shlex.split(typed)
    done = CliRunner().invoke(main, words)
    assert program == "stac-sm"
    assert done.exit_code == 1, "the small project has LST of six days only"
    assert "cannot be fetched: lst" in done.stderr
    assert f"{len(DAYS)} new" in done.stdout
    assert f"stac-sm {shlex.join(words)} --json" in cron
    job = yaml.safe_load((ROOT / "infra/kubernetes/cronjob.yaml").read_text())
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    _, name, *arguments = container["command"]
    assert main.commands[name].make_context(name, arguments).params["folder"].startswith("s3://")


def test_what_public_catalogues_have_is_read_in_place_and_era5_land_alone_is_fetched(tmp_path, store, monkeypatch):
    """As with the recipe `public`: from an empty catalogue and a model to the product, by one command."""
    monkeypatch.setattr("stac_sm.workflows.run.run.task_records", in_this_process)
    public, _, _ = shared_project()
    with FaultyServer(Path(public.folder)) as server:
        there = f"{server.address}/catalog.json"
        features = [one if one.collection == "era5-land" else replace(one, catalog=there) for one in RECIPE.features]
        recipe = replace(RECIPE, features=tuple(features))
        project = create_project(tmp_path / "p", project_text(recipe=recipe))
        put_model(project.catalog, tmp_path / "model", recipe)
        report = updated(project)
    assert report.succeeded, report
    assert report.fetched == {"era5-land": {"fetched": 2}}
    assert {name for job in store.jobs.values() for name in job["inputs"]["variable"]} == {
        "volumetric_soil_water_layer_1", "soil_temperature_level_1",
    }  # fmt: skip
    assert report.made["new"] == len(DAYS)
    assert report.indexed == {"era5-land": len(DAYS), PRODUCT_COLLECTION: len(DAYS)}
    assert audit_project(read_project(project.folder), [PRODUCT_COLLECTION]) == []


def test_tiles_are_required(project):
    done = CliRunner().invoke(main, ["update", "--project", str(project.folder), "--period", "2018-07"])
    assert done.exit_code == 1
    assert "no tiles found: --tiles is required" in done.stderr


def test_the_default_period_ends_today():
    assert len(Period.parse_recent("last-30-days", date(2026, 3, 1))) == 30
