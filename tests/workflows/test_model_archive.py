"""A model moves between projects as one file: the same predictions, a clean audit, nothing that is restricted."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pystac
import pytest
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.model.model import Model
from stac_sm.stac.items import item_json
from stac_sm.storage.store import multihash, sha256
from tests.support.checkout import ROOT

FIXTURE = ROOT / "tests/support/project_4977fae/project"
(FOLDER,) = FIXTURE.glob("sm-models/xgb-*")
ID = FOLDER.name


def run(project, *arguments, code=0):
    done = CliRunner().invoke(main, [*map(str, arguments), "--project", str(project)])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def source(tmp_path):
    """The project, whose model has station time series that may not be passed on."""
    project = Path(shutil.copytree(FIXTURE, tmp_path / "source"))
    item = json.loads((project / "sm-models" / ID / f"{ID}.json").read_text())
    content = b"<p>series</p>"
    (project / "sm-models" / ID / "series.html").write_bytes(content)
    item["assets"]["series"] = {
        "href": "./series.html", "type": "text/html", "roles": ["metadata"], "stac_sm:visibility": "restricted",
        "file:size": len(content), "file:checksum": multihash(sha256(content)),
    }  # fmt: skip
    (project / "sm-models" / ID / f"{ID}.json").write_bytes(item_json(item))
    return project


@pytest.fixture
def archive(source, tmp_path):
    told = json.loads(run(source, "model", "export", ID, "--out", tmp_path / "m.zip", "--json").stdout)
    assert (told["model"], told["left_behind"]) == (ID, ["series"])
    return tmp_path / "m.zip"


@pytest.fixture
def target(tmp_path):
    """A new project with the same grid and recipe."""
    CliRunner().invoke(main, ["init", str(tmp_path / "target")])
    shutil.copy(FIXTURE / "stac-sm.toml", tmp_path / "target/stac-sm.toml")
    return tmp_path / "target"


def test_a_model_predicts_the_same_in_another_project_whose_audit_is_clean(archive, target, validate):
    told = json.loads(run(target, "model", "import", archive, "--json").stdout)
    assert told == {"model": ID, "new": True, "notes": []}
    assert json.loads(run(target, "audit", "--json", "--workers", 1).stdout) == []
    item = pystac.Catalog.from_file(str(target / "catalog.json")).get_child("sm-models").get_item(ID)
    validate(item)
    assert "series" not in item.assets
    assert [link.rel for link in item.links if link.rel == "derived_from"] == []
    ours, theirs = Model.from_item(item.self_href), Model.from_item(str(FOLDER / f"{ID}.json"))
    assert ours.checksum == theirs.checksum
    rows = pd.read_parquet(next(FIXTURE.glob("matchups/*/*table.parquet")))
    np.testing.assert_array_equal(ours.predict(rows), theirs.predict(rows))
    before = {file: file.read_bytes() for file in target.rglob("*") if file.is_file()}
    assert json.loads(run(target, "model", "import", archive, "--json").stdout)["new"] is False
    assert {file: file.read_bytes() for file in target.rglob("*") if file.is_file()} == before


def test_the_project_that_it_comes_from_has_it_already(archive, source):
    before = {file: file.read_bytes() for file in source.rglob("*") if file.is_file()}
    assert json.loads(run(source, "model", "import", archive, "--json").stdout)["new"] is False
    assert {file: file.read_bytes() for file in source.rglob("*") if file.is_file()} == before


def test_the_same_model_gives_the_same_bytes_and_no_file_is_overwritten(archive, source, tmp_path):
    run(source, "model", "export", ID, "--out", tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()
    assert "there is a file already" in run(source, "model", "export", ID, "--out", archive, code=1).stderr
    assert ".zip is required" in run(source, "model", "export", ID, "--out", tmp_path / "m.tar", code=1).stderr


def test_another_recipe_in_the_project_is_said(archive, tmp_path):
    CliRunner().invoke(main, ["init", str(tmp_path / "other")])
    (note,) = json.loads(run(tmp_path / "other", "model", "import", archive, "--json").stdout)["notes"]
    assert note.startswith("the recipe of the model is not [recipe] of the project")


def changed(archive, edit):
    """Rewrite an archive after an edit of its files."""
    with zipfile.ZipFile(archive) as file:
        files = {name: file.read(name) for name in file.namelist()}
    edit(files)
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)


def with_item(change):
    def edit(files):
        document = json.loads(files["item.json"])
        change(document)
        files["item.json"] = json.dumps(document).encode()

    return edit


def flip(files):
    files["model-0.ubj"] = files["model-0.ubj"][:-1] + b"?"


WRONG = {
    "a changed file": (flip, "model-0.ubj was changed after the export"),
    "a shorter file": (lambda files: files.update({"model-0.ubj": b"x"}), "model-0.ubj has 1 bytes"),
    "a missing file": (lambda files: files.pop("model-1.ubj"), "is no archive of a model"),
    "no item": (lambda files: files.pop("item.json"), "is no archive of a model"),
    "a path out of the folder": (
        with_item(lambda item: item["assets"]["model-0"].update(href="../../x.ubj")), "./model-0.ubj is required",
    ),
    "another item": (with_item(lambda item: item.update(collection="sm-1km-daily")), "no model of a project"),
    "another fingerprint": (with_item(lambda item: item.update(id="xgb-000000000000")), "no model of a project"),
    "a format of the future": (
        with_item(lambda item: item["properties"].update({"stac_sm:format": 99})), "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_an_archive_that_is_not_as_it_was_written_is_refused_and_nothing_is_published(what, archive, target):
    edit, message = WRONG[what]
    changed(archive, edit)
    before = sorted(target.rglob("*"))
    assert message in run(target, "model", "import", archive, code=1).stderr
    assert sorted(target.rglob("*")) == before


def test_a_file_that_is_no_archive_is_refused(target, tmp_path):
    (tmp_path / "x.zip").write_bytes(b"no zip")
    assert (
        "`stac-sm model export` wrote is required" in run(target, "model", "import", tmp_path / "x.zip", code=1).stderr
    )


def test_a_clash_is_refused(archive, source, target):
    """The same id with other content: an asset here, the fingerprint there."""
    run(target, "model", "import", archive)
    path = target / "sm-models" / ID / f"{ID}.json"
    item = json.loads(path.read_text())
    item["assets"]["recipe"]["file:checksum"] = item["assets"]["metrics"]["file:checksum"]
    path.write_bytes(item_json(item))
    assert "differs in recipe" in run(target, "model", "import", archive, code=1).stderr
    item["properties"]["stac_sm:fingerprint"] = "0" * 64
    path.write_bytes(item_json(item))
    before = path.read_bytes()
    run(target, "model", "import", archive, code=1)
    assert path.read_bytes() == before
