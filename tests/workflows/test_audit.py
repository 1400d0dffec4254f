"""Audit: a clean catalogue has no finding, and each of many planted faults is found, under its name."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from shapely import segmentize
from shapely.geometry import mapping, shape

from stac_sm.cli.main import main
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.storage.local_store import LocalStore
from stac_sm.workflows.audit import audit, repair, stale_products, young_files
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.project import read_project
from stac_sm.workflows.run import run as runs
from stac_sm.workflows.run.run import run_plan
from stac_sm.workflows.run.task import run_task
from tests.support.fields import DAYS, TILE, copied_project, read_model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with inputs, a model and six products."""
    project, model_id, _ = copied_project(tmp_path_factory.mktemp("audit") / "p")
    catalog = open_catalog(project.folder)
    plan = make_plan(catalog, read_model(catalog, model_id), [TILE], DAYS, grid=project.grid, version="001")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "task_records", lambda _, work: (run_task(work.folder, task) for task in work.tasks))
        assert not run_plan(project, plan).failures
    shutil.rmtree(project.folder / ".scratch", ignore_errors=True)
    return project.folder


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made, tmp_path / "p")
    return tmp_path / "p"


def found(folder: Path, **options):
    catalog = open_catalog(folder)
    return audit(catalog, **options) + stale_products(catalog, read_project(folder).grid)


def product(folder: Path, day: int = 0) -> Path:
    return sorted(folder.glob("sm-1km-daily/2018/*/*/*/SM1KM*.json"))[day]


def asset(folder: Path, pattern: str = "*.sm.tif") -> Path:
    return next(product(folder).parent.glob(pattern))


def edit(file: Path, change: Callable[[dict], object]) -> None:
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def flip(file: Path, at: float) -> None:
    content = bytearray(file.read_bytes())
    content[int(at * len(content))] ^= 0xFF
    file.write_bytes(content)


def reencode(folder: Path) -> None:
    """An asset that is no raster, with the size and checksum in its item mended to fit."""
    from stac_sm.storage.store import multihash, sha256

    file = asset(folder)
    file.write_bytes(b"II*\0" + bytes(4000))
    proof = {"file:size": file.stat().st_size, "file:checksum": multihash(sha256(file.read_bytes()))}
    edit(product(folder), lambda item: item["assets"]["sm"].update(proof))


def _unlink(document: dict, part: str) -> None:
    document["links"] = [link for link in document["links"] if part not in link["href"]]


MONTH = "sm-1km-daily/2018/06/catalog.json"
FAULTS: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "asset gone": (lambda f: asset(f).unlink(), {"missing"}),
    "thumbnail gone": (lambda f: asset(f, "*.thumbnail.png").unlink(), {"missing"}),
    "asset empty": (lambda f: asset(f).write_bytes(b""), {"corrupt"}),
    "asset cut off": (lambda f: asset(f).write_bytes(asset(f).read_bytes()[:-9]), {"corrupt"}),
    "one byte in the middle": (lambda f: flip(asset(f), 0.5), {"corrupt"}),
    "one byte at the end": (lambda f: flip(asset(f, "*.qa.tif"), 0.999), {"corrupt"}),
    "no raster, but proven": (reencode, {"corrupt"}),
    "input changed": (lambda f: flip(next(f.glob("glass-lst/*/*/*/*/*.tif")), 0.6), {"corrupt"}),
    "model changed": (lambda f: flip(next(f.glob("sm-models/*/*.ubj")), 0.6), {"corrupt", "stale"}),
    "item is no JSON": (lambda f: product(f).write_text("{"), {"item"}),
    "item empty": (lambda f: product(f).write_text(""), {"item"}),
    "item of another id": (lambda f: edit(product(f), lambda i: i.update(id="x")), {"item"}),
    "item without fingerprint": (
        lambda f: edit(product(f), lambda i: i["properties"].pop("stac_sm:fingerprint")),
        {"item"},
    ),
    "item gone": (lambda f: product(f).unlink(), {"orphan", "link", "extent"}),
    "orphan asset": (lambda f: (product(f).parent / "SM1KM.x.sm.tif").write_bytes(b"x"), {"orphan"}),
    "orphan in another place": (lambda f: (f / "cop-dem" / "notes.txt").write_text("x"), {"orphan"}),
    "orphan sub-catalogue": (
        lambda f: [(f / "sm-1km-daily/1999").mkdir(), shutil.copy(f / MONTH, f / "sm-1km-daily/1999/catalog.json")],
        {"orphan"},
    ),
    "wrong extent": (
        lambda f: edit(f / "glass-lst/collection.json", lambda c: c["extent"]["spatial"].update(bbox=[[0, 0, 1, 1]])),
        {"extent"},
    ),
    "link lost": (lambda f: edit(f / MONTH, lambda c: c["links"].pop()), {"link"}),
    "link to nothing": (
        lambda f: edit(f / MONTH, lambda c: c["links"].append({"rel": "child", "href": "./40/catalog.json"})),
        {"link"},
    ),
    "sub-catalogue gone": (lambda f: (f / MONTH).unlink(), {"link"}),
    "input item gone": (
        lambda f: shutil.rmtree(next(f.glob("glass-lst/2018/06/28/LST*"))),
        {"link", "stale", "orphan", "extent"},
    ),
    "collection gone": (lambda f: shutil.rmtree(f / "merit-dem"), {"link"}),
    "collection not linked": (
        lambda f: edit(f / "catalog.json", lambda c: _unlink(c, "/smap/")),
        {"link"},
    ),
    "outline clockwise": (
        lambda f: edit(product(f), lambda i: i["geometry"]["coordinates"][0].reverse()),
        {"geometry"},
    ),
    "outline with vertices to spare": (
        lambda f: edit(product(f), lambda i: i.update(geometry=mapping(segmentize(shape(i["geometry"]), 0.001)))),
        {"geometry"},
    ),
    "input of another version": (
        lambda f: edit(f / "cop-dem/DEM/DEM.json", lambda i: i["assets"]["elevation"]["bands"][0].update(nodata=-1)),
        {"stale"},
    ),
}  # fmt: skip


def test_a_clean_catalogue_has_no_finding(made):
    assert found(made) == []
    assert found(made, workers=2) == []


def test_no_asset_is_held_in_memory(made, monkeypatch):
    """The asset of a global day has half a gigabyte."""
    plain = LocalStore.read

    def read(self, path):
        assert not path.endswith(".tif"), path
        return plain(self, path)

    monkeypatch.setattr(LocalStore, "read", read)
    assert found(made, workers=1) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(copy, fault):
    plant, kinds = FAULTS[fault]
    plant(copy)
    findings = found(copy)
    assert {finding.kind for finding in findings} == kinds, findings
    assert all(finding.detail and finding.path for finding in findings)


def test_a_stale_item_names_what_has_changed(copy):
    plant, _ = FAULTS["input of another version"]
    plant(copy)
    expected = "changed since it was made: inputs; `stac-sm plan` and `run` replace it"
    assert {finding.detail for finding in found(copy)} == {expected}


@pytest.mark.parametrize(
    "fault", [name for name, (_, kinds) in FAULTS.items() if kinds <= {"link", "extent", "orphan", "geometry"}]
)
def test_what_is_derived_is_repaired(copy, fault):
    plant, _ = FAULTS[fault]
    if fault in {"collection gone", "collection not linked"}:
        return  # the catalogue's own JSON is derived from nothing
    plant(copy)
    old = time.time() - 25 * 3600
    for file in copy.rglob("*"):
        os.utime(file, (old, old))
    catalog = open_catalog(copy)
    assert repair(catalog, audit(catalog)) == []
    assert audit(open_catalog(copy)) == []


def test_a_file_that_an_item_names_since_it_was_audited_is_left(copy):
    """A run has taken the files that an earlier one left, while the audit read the rest of the catalogue."""
    catalog, file = open_catalog(copy), product(copy)
    content = file.read_bytes()
    file.unlink()
    found = audit(catalog)
    orphans = [one for one in found if one.kind == "orphan"]
    assert orphans
    file.write_bytes(content)
    assert repair(catalog, found, grace_hours=0) == []
    assert all((copy / one.path).is_file() for one in orphans)
    assert audit(catalog) == []


def test_a_young_orphan_may_belong_to_an_item_that_is_about_to_come(copy):
    FAULTS["orphan asset"][0](copy)
    catalog = open_catalog(copy)
    (left,) = repair(catalog, audit(catalog))
    assert left.kind == "orphan"
    assert (copy / left.path).exists()
    assert repair(catalog, [left], grace_hours=0) == []
    assert not (copy / left.path).exists()


def test_the_catalogue_is_listed_once_whatever_is_found(copy, monkeypatch):
    """Ages of unreferenced files are those of the listing that found them."""
    FAULTS["orphan asset"][0](copy)
    listed, plain = [], LocalStore.list_objects
    monkeypatch.setattr(LocalStore, "list_objects", lambda self, at="": listed.append(at) or plain(self, at))
    catalog = open_catalog(copy)
    (left,) = repair(catalog, audit(catalog))
    assert young_files([left]) == {left}
    assert young_files([left], grace_hours=0) == set()
    assert listed == [""]


def test_a_sample_is_the_same_every_time_and_sees_its_share(copy):
    for file in copy.glob("sm-1km-daily/2018/*/*/*/*.sm.tif"):
        flip(file, 0.5)
    catalog = open_catalog(copy)
    some = audit(catalog, sample=0.5)
    assert some == audit(catalog, sample=0.5)
    assert 0 < len(some) < len(audit(catalog)) == 6
    assert audit(catalog, collections=["glass-lst"]) == []


def run_audit(folder, *arguments, code):
    done = CliRunner().invoke(main, ["audit", *arguments, "--project", str(folder), "--workers", "1"])
    assert done.exit_code == code, done.output
    return done


def test_a_file_of_an_item_that_was_replaced_lately_is_named_and_is_no_failure(copy):
    """It is a failure from --grace on, beside whatever else is one."""
    older = asset(copy).with_name("older.tif")
    older.write_bytes(b"replaced")
    young = run_audit(copy, "--json", code=0)
    assert [(one["kind"], Path(one["path"]).name) for one in json.loads(young.stdout)] == [("orphan", "older.tif")]
    assert "1 unreferenced files are younger than 24 hours, which is no failure" in young.stderr
    run_audit(copy, "--grace", "0", code=1)
    assert run_audit(copy, "--repair", code=0)
    assert older.exists()
    two_days_ago = time.time() - 48 * 3600
    os.utime(older, (two_days_ago, two_days_ago))
    assert "1 findings" in run_audit(copy, code=1).stderr
    run_audit(copy, "--repair", code=0)
    assert not older.exists()


def test_the_command_names_findings_and_exits_with_1(copy):
    run = partial(run_audit, copy)
    assert "no finding" in run(code=0).stderr
    asset(copy).unlink()
    edit(copy / MONTH, lambda c: c["links"].pop())
    told = json.loads(run("--json", code=1).stdout)
    assert {one["kind"] for one in told} == {"link", "missing"}
    left = run("--repair", code=1)
    assert "1 of 2 findings repaired" in left.stderr
    assert "missing" in left.stdout
