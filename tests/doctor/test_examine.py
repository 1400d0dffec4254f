"""`stac-sm doctor`: what a healthy project looks like, and each ailment that it must find by name."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.period import ONE_DAY
from stac_sm.doctor.check import FAILED, NOTE, OK
from stac_sm.doctor.examine import examine
from stac_sm.doctor.project_checks import _store
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.storage.s3 import objects
from stac_sm.storage.store import open_store
from stac_sm.workflows.project import FILE_NAME
from tests.support.fields import copied_project, put_model
from tests.support.object_stores import FaultyProxy, environment_of, moto_server, new_bucket

machine = importlib.import_module("stac_sm.doctor.machine_checks")  # beside a function of that name


@pytest.fixture(scope="module", autouse=True)
def machine_looked_at():
    """The checks of the machine start a process and a compiler: once is enough for the tests of projects."""
    found = list(examine(None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stac_sm.doctor.examine.check_machine", lambda: iter(()))
        yield found


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    copied_project(folder)
    return folder


def found_in(folder):
    return {check.name: check for check in examine(str(folder))}


def state_of(folder):
    """Every path and its bytes."""
    return {str(file): file.read_bytes() for file in Path(folder).rglob("*") if file.is_file()}


def test_this_machine_is_ready_and_says_with_what(machine_looked_at):
    states = {check.name: check.state for check in machine_looked_at if check.part == "machine"}
    assert states["versions"] == states["projections"] == states["processes"] == states["forest"] == OK
    assert f"{len(os.sched_getaffinity(0))} cores" in next(c.found for c in machine_looked_at if "cores" in c.name)
    assert next(c for c in machine_looked_at if c.name == "versions").found.startswith("Python 3.")


def test_a_project_with_all_inputs_has_no_failure_and_is_left_as_it_was(project):
    before = state_of(project)
    found = found_in(project)
    assert not [check for check in found.values() if check.state == FAILED]
    assert found["write"].state == found["read"].state == found["pixels"].state == OK
    assert state_of(project) == before
    assert found["index"].state == NOTE
    assert "stac-sm index" in found["index"].advice


def test_an_index_is_found(project):
    CliRunner().invoke(main, ["index", "--project", str(project)], catch_exceptions=False)
    assert found_in(project)["index"].state == OK


def test_an_input_without_items_fails_and_names_the_features_and_the_command(project):
    catalog = open_catalog(project)
    id = next(feature.collection for feature in _recipe(project).features)
    names = [feature.name for feature in _recipe(project).sources if feature.collection == id]
    document = json.loads((project / id / "collection.json").read_text())
    document["links"] = [link for link in document["links"] if link["rel"] not in {"item", "child"}]
    (project / id / "collection.json").write_text(json.dumps(document))
    check = found_in(catalog.root)[id]
    assert check.state == FAILED
    assert "no items" in check.found
    assert "stac-sm ingest" in check.advice
    assert all(name in check.found for name in names)


def test_the_third_data_set_of_screening_without_items_is_a_note_with_the_command(project):
    file = project / FILE_NAME
    file.write_text(file.read_text() + '\n[screening]\nthird = "c3s-sm"\n')
    found = found_in(project)
    check = found["c3s-sm"]
    assert (check.state, check.found) == (NOTE, "no items yet, the third data set of [screening]")
    assert check.advice.startswith("stac-sm fetch esa-cci-sm, or stac-sm ingest esa-cci-sm FILES")
    assert "esa-cci-sm" not in found


def test_an_asset_that_no_item_has_fails_and_names_its_features(project):
    """A collection may have items of one variable, and none of the others that the recipe reads."""
    feature = next(one for one in _recipe(project).sources if one.collection in open_catalog(project).collections)
    for file in (project / feature.collection).rglob("*.json"):
        document = json.loads(file.read_text())
        if document.get("type") == "Feature":
            document["assets"]["other"] = document["assets"].pop(feature.asset)
            file.write_text(json.dumps(document))
    check = found_in(project)[feature.collection]
    assert check.state == FAILED
    assert f"the asset {feature.asset} for" in check.found
    assert feature.name in check.found
    assert "stac-sm ingest" in check.advice


def test_a_composite_that_ends_in_a_month_in_which_none_begins_is_found(project):
    """By its extent the newest items of a collection would lie in a folder that is not there."""
    for id in {one.collection for one in _recipe(project).sources}:
        file = project / id / "collection.json"
        document = json.loads(file.read_text())
        document["extent"]["temporal"]["interval"][0][1] = "2031-02-03T00:00:00Z"
        file.write_text(json.dumps(document))
    assert [check.found for check in found_in(project).values() if check.state == FAILED] == []


def test_inputs_of_another_time_are_a_note(project):
    text = (project / "stac-sm.toml").read_text()
    assert "[product]" not in text
    (project / "stac-sm.toml").write_text(f'{text}\n[product]\nperiod = "1999"\n')
    notes = [check for check in found_in(project).values() if "1999-01-01/1999-12-31 required" in check.found]
    assert notes
    assert all(check.state == NOTE for check in notes)


def test_days_of_product_match_ups_and_means_that_are_not_there_are_named_each(project):
    """What is there is of some weeks of 2019: some days of match-ups may be missing, days of the product may not."""
    file = project / "stac-sm.toml"
    text, (first, last) = file.read_text(), found_in(project)["era5-land"].found[9:33].split(" to ")
    before, after = date.fromisoformat(first) - ONE_DAY, date.fromisoformat(last) + ONE_DAY
    old = '[[recipe.features]]\nname = "swvl1"\n'
    assert old in text
    text = text.replace(old, old + 'statistic = "anomaly"\nclimatology = { period = "2001/2010" }\n')
    file.write_text(text + f'\n[product]\nperiod = "{last}/2018-12-31"\n')
    check = found_in(project)["era5-land"]
    assert check.state == NOTE
    assert f"; {after}/2018-12-31 required for the product; 2000-01-01/{before}, {after}/2020-12-31 " in check.found
    assert "required for match-ups; 2001-01-01/2010-12-31 required for the climatology" in check.found
    assert check.advice.startswith("stac-sm fetch era5-land --climatology, then ingest days of these periods")
    lst, lai = (found_in(project)[id].found for id in ("glass-lst", "glass-lai"))
    assert "climatology" not in lst + lai
    assert "2018-12-31 required for the product" in lst


def test_a_wrong_field_is_told_as_every_command_tells_it(project):
    text = (project / "stac-sm.toml").read_text()
    (project / "stac-sm.toml").write_text(text.replace("[recipe]", "[recipee]", 1))
    check = found_in(project)["file"]
    assert check.state == FAILED
    assert "did you mean 'recipe'?" in check.found


def test_a_project_that_was_named_must_be_there_one_that_was_not_need_not(tmp_path, monkeypatch):
    assert found_in(tmp_path / "none")["file"].state == FAILED
    monkeypatch.chdir(tmp_path)
    (nearest,) = examine(None)
    assert nearest.state == NOTE
    assert "stac-sm init DIR" in nearest.advice


def test_a_store_that_takes_no_writes_fails_there_and_is_still_read(project):
    code = (
        "import sys\nfrom stac_sm.doctor.project_checks import _store\nfrom stac_sm.storage.store import open_store\n"
    )
    code += "for check in _store(open_store(sys.argv[1])): print(check.name, check.state, check.found, check.advice)"
    project.chmod(0o555)
    done = subprocess.run([*PLAIN, sys.executable, "-c", code, project], capture_output=True, text=True, check=True)
    project.chmod(0o755)
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert " ok " in lines["read"]
    assert " failed " in lines["write"]
    assert "Permission denied" in lines["write"]
    assert "rights" in lines["write"]


PLAIN = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"] if os.getuid() == 0 else []
"""Root may write everywhere, unless it is told that it may not."""


def test_little_room_and_little_memory_are_notes(project, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**6))
    assert found_in(project)["room"].state == NOTE
    monkeypatch.setattr(machine, "machine_memory", lambda: 2**30)
    found = {check.name: check for check in machine.check_machine()}
    assert found["scratch"].state == found["cores, memory"].state == NOTE
    assert "TMPDIR" in found["scratch"].advice
    assert "--workers 1" in found["cores, memory"].advice


def test_where_the_kernel_cannot_be_built_xgboost_predicts_and_the_reason_is_told():
    code = "import sys; sys.modules['numba'] = None; from stac_sm.doctor.machine_checks import _forest\n"
    code += "check = _forest(); print(check.state, check.found, check.advice)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.startswith("note Numba cannot be imported")
    assert "XGBoost predicts instead" in told


def test_a_file_of_the_store_that_is_gone_is_told(project):
    (project / "catalog.json").unlink()
    found = found_in(project)
    assert found["read"].state == FAILED
    assert found["catalog.json"].state == FAILED


def test_another_catalogue_is_asked_for_its_collections(project, tmp_path):
    other = tmp_path / "other"
    copied_project(other)
    text = (project / "stac-sm.toml").read_text()
    feature = _recipe(project).features[0]
    assert f'collection = "{feature.collection}"' in text
    for id, state in ((feature.collection, OK), ("elsewhere", FAILED)):
        new = f'collection = "{id}"\ncatalog = "{other}"'
        (project / "stac-sm.toml").write_text(text.replace(f'collection = "{feature.collection}"', new, 1))
        check = found_in(project)[str(other)]
        assert check.state == state
        assert id in check.found


def test_what_the_flow_makes_is_a_note_until_it_is_there(project, tmp_path):
    found = found_in(project)
    assert found["sm-1km-daily"].state == NOTE
    assert "stac-sm plan" in found["sm-1km-daily"].advice
    if found["sm-models"].state == NOTE:
        put_model(open_catalog(project), tmp_path)
        assert found_in(project)["sm-models"].state == OK


SECRET = "canary-of-the-doctor"


@pytest.fixture
def bucket_project():
    with environment_of(moto_server()):
        new_bucket(moto_server(), "doctor")
        CliRunner().invoke(main, ["init", "s3://doctor/project"], catch_exceptions=False)
        yield "s3://doctor/project"


def test_on_s3_credentials_are_named_by_where_they_come_from(bucket_project, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    done = CliRunner().invoke(main, ["doctor", "--project", bucket_project])
    assert "ok      store: credentials: credentials by env for http://127.0.0.1" in done.output
    assert "ok      store: write" in done.output
    assert "ok      store: pixels" in done.output
    assert SECRET not in done.output
    assert done.exit_code == 1
    assert "failed  catalogue: era5-land" in done.output


@pytest.mark.parametrize("encoding", ["aws-chunked", "gzip"])
def test_what_is_written_to_s3_is_read_back_by_the_readers(bucket_project, encoding):
    """All is written and nothing can be read where a store sends headers that readers refuse."""
    with FaultyProxy(moto_server(), encoding=encoding) as proxy, environment_of(proxy):
        found = {check.name: check for check in _store(open_store(bucket_project))}
        assert list(objects.pages("doctor", "project/.tmp-")) == [[]]
    assert found["write"].state == found["read"].state == OK
    check = found["pixels"]
    assert check.state == (FAILED if encoding == "gzip" else OK)
    assert ("content encoding gzip" if encoding == "gzip" else "read by stackstac, odc and GDAL") in check.found


def test_a_store_without_conditional_writes_is_for_one_process(bucket_project):
    with FaultyProxy(moto_server(), without=("if-none-match", "if-match")) as proxy, environment_of(proxy):
        found = {check.name: check for check in _store(open_store(bucket_project))}
    assert (found["write"].state, found["pixels"].state) == (NOTE, OK)  # nothing is called ok that another note denies
    assert "is this process's doing, since the store lacks exclusive creation" in found["write"].found
    assert "many writers" in found["write"].advice
    assert found["many writers"].state == NOTE
    assert "one that was started elsewhere cannot be seen" in found["many writers"].found
    assert "--workers 1" in found["many writers"].advice


def test_on_s3_without_credentials_what_to_set_is_told(bucket_project, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    check = found_in(bucket_project)["file"]
    assert check.state == FAILED
    assert "AWS_PROFILE" in check.found
    assert "no usable credentials" in check.found


def test_json_holds_every_finding_and_the_exit_code_says_whether_one_failed(project, tmp_path):
    done = CliRunner().invoke(main, ["doctor", "--project", str(project), "--json"])
    told = json.loads(done.stdout)
    assert done.exit_code == 0
    assert {"part", "name", "state", "found", "advice"} == set(told[0])
    assert all(one["advice"] for one in told if one["state"] != OK)
    assert all(not one["advice"] for one in told if one["state"] == OK)
    assert CliRunner().invoke(main, ["doctor", "--project", str(tmp_path / "none"), "--json"]).exit_code == 1


def _recipe(folder):
    from stac_sm.workflows.project import read_project

    return read_project(folder).recipe
