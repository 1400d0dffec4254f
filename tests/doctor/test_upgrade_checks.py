"""What an upgrade makes stale is said before anything is made: of the project that commit 4977fae wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.errors import ProjectError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS, VERSION_REASONS
from stac_sm.doctor.check import NOTE, OK
from stac_sm.doctor.upgrade_checks import check_upgrade
from stac_sm.workflows.project import read_project
from tests.support.checkout import ROOT

FIXTURE = ROOT / "tests/support/project_4977fae/project"


@pytest.fixture
def project(tmp_path):
    return Path(shutil.copytree(FIXTURE, tmp_path / "project"))


def found_in(folder):
    return {check.name: check for check in check_upgrade(read_project(folder))}


def state_of(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_what_this_version_makes_again_is_said_with_its_reason(project):
    """The same states as `plan` and `audit` find in tests/workflows/test_fixture_4977fae.py."""
    before = state_of(project)
    found = found_in(project)
    assert state_of(project) == before
    assert {name: check.state for name, check in found.items()} == {
        "inputs": OK, "climatology": OK, "ismn-stations": NOTE, "matchups": OK, "sm-models": NOTE, "sm-1km-daily": NOTE,
        "aggregates": NOTE, "validation": NOTE, "outlines": NOTE, "collections": NOTE,
    }  # fmt: skip
    assert all(check.advice for check in found.values() if check.state == NOTE)
    assert "did not state its rules" in found["ismn-stations"].found
    models = found["sm-models"].found
    assert f"version {ALGORITHM_VERSIONS['model']} of training" in models
    assert VERSION_REASONS["model"]["4"] in models
    assert "clockwise" in found["outlines"].found
    assert "(3: output profile 1, now 2); output profile 2: files name" in found["sm-1km-daily"].found
    assert "1 of sm-1km-annual: changed since it was made: output profile 1, now 2" in found["aggregates"].found
    assert VERSION_REASONS["validation"]["3"] in found["validation"].found
    assert "sm-1km-annual sci:citation, sci:publications …" in found["collections"].found


STAGES = {
    "ingest": "inputs", "climatology": "climatology", "matchups": "matchups", "model": "sm-models",
    "product": "sm-1km-daily", "aggregates": "aggregates", "validation": "validation",
}  # fmt: skip
"""Check that says what a raised version of a stage makes again."""


@pytest.mark.parametrize("stage", ALGORITHM_VERSIONS)
def test_a_raised_version_of_any_stage_is_said_with_its_reason(project, monkeypatch, stage):
    monkeypatch.setitem(ALGORITHM_VERSIONS, stage, str(int(ALGORITHM_VERSIONS[stage]) + 1))
    monkeypatch.setitem(VERSION_REASONS, stage, {ALGORITHM_VERSIONS[stage]: "water is nodata"})
    check = found_in(project)[STAGES[stage]]
    assert check.state == NOTE
    assert f"{ALGORITHM_VERSIONS[stage]}: water is nodata" in check.found
    assert "stac-sm " in check.advice


def test_a_raised_version_shows_in_the_newest_tile_days(project, monkeypatch):
    monkeypatch.setitem(ALGORITHM_VERSIONS, "product", "9")
    monkeypatch.setitem(VERSION_REASONS, "product", {"9": "water is nodata"})
    check = found_in(project)["sm-1km-daily"]
    assert check.state == NOTE
    assert check.found.startswith(
        "3 of 3 of the newest tile-days would be made again (3: algorithm, output profile 1, now 2)"
    )
    assert "9: water is nodata" in check.found
    assert "stac-sm plan" in check.advice


def test_the_command_prints_it(project):
    done = CliRunner().invoke(main, ["doctor", "--project", str(project), "--json"])
    told = [one for one in json.loads(done.stdout) if one["part"] == "upgrade"]
    assert {one["name"] for one in told} >= {"sm-models", "sm-1km-daily"}


def test_every_reason_is_of_a_version_that_is_or_was():
    for stage, reasons in VERSION_REASONS.items():
        assert all(1 < int(version) <= int(ALGORITHM_VERSIONS[stage]) for version in reasons), stage


def test_a_project_of_a_later_format_is_refused_by_its_number(project):
    file = project / "stac-sm.toml"
    file.write_text(file.read_text().replace("[project]\n", "[project]\nformat = 1\n", 1))
    assert read_project(project).about.format == 1
    file.write_text(file.read_text().replace("format = 1", "format = 2", 1))
    with pytest.raises(ProjectError, match="format: found 2, 1 or less is required: a later stac_sm wrote it"):
        read_project(project)
