"""Files that make one item: any order, number of runs and workers, and any folders end in one result, or a refusal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import hypothesis.strategies as st
import jsonschema
import pytest
from hypothesis import given, settings

from stac_sm.ingest.pipeline import ingest
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.links import skeleton_folder
from tests.support.examples import examples
from tests.support.rival_files import MERIT_SIDE, RIVALS, versioned_cci, write_hours
from tests.support.source_files import content, ingested, new_catalog

EVERY = pytest.mark.parametrize("rivals", RIVALS, ids=lambda rivals: rivals.source)


@pytest.fixture(autouse=True)
def _thin(monkeypatch):
    monkeypatch.setattr("stac_sm.ingest.providers.merit_dem._SIDE", MERIT_SIDE)


def published(folder: Path) -> dict[str, bytes]:
    """All documents of a catalogue, and the assets that items refer to; not those of items that were replaced."""
    files = content(folder)
    used = {}
    for name, text in files.items():
        if name.endswith(".json"):
            used[name] = text
            for asset in json.loads(text).get("assets", {}).values():
                path = str(Path(name).parent / asset["href"])
                used[path] = files[path]
    return used


def made_from(catalog, collection):
    """Names of the files that the items of a collection are made from."""
    return [[one["name"] for one in item.properties["stac_sm:sources"]] for item in ingested(catalog, collection)]


@EVERY
def test_of_two_ranked_files_the_newer_one_stays(tmp_path, rivals, validate):
    old, new = (rivals.write(folder(tmp_path, which), which) for which in ("old", "new"))
    results = {}
    for name, calls in {
        "together": [[old, new]],
        "together, the other way, by folder": [[new.parent, old.parent]],
        "newer last": [[old], [new]],
        "newer first": [[new], [old], [old]],
        "many runs": [[old], [old, new], [old], [new], [new, old]],
    }.items():
        catalog = new_catalog(tmp_path / name)
        for paths in calls:
            found = ingest(open_catalog(catalog.root), rivals.source, paths)
            assert [result.error for result in found if result.error] == []
        for result in ingest(catalog, rivals.source, [new.parent, old.parent]):
            assert (result.status, result.error) == ("done", None)
        results[name] = published(tmp_path / name)
    assert {made[0] for made in made_from(catalog, rivals.id)} == {new.name}
    assert len({json.dumps(sorted((k, v.hex()) for k, v in result.items())) for result in results.values()}) == 1
    own = jsonschema.Draft7Validator(json.loads((skeleton_folder() / "schema.json").read_text()))
    for item in ingested(catalog, rivals.id):
        validate(item)
        own.validate({"properties": item.properties})


@EVERY
def test_of_two_files_that_nothing_ranks_neither_is_ingested(tmp_path, rivals):
    new, other = (rivals.write(folder(tmp_path, which), which) for which in ("new", "other"))
    assert new.name == other.name
    catalog = new_catalog(tmp_path / "catalog")
    before = content(tmp_path / "catalog")
    for _ in range(2):
        for result in ingest(catalog, rivals.source, [new, other]):
            assert (result.status, result.items) == ("failed", {})
            assert str(new) in result.error
            assert str(other) in result.error
    assert content(tmp_path / "catalog") == before


@EVERY
def test_the_item_of_the_catalogue_stays_where_nothing_ranks_another_file(tmp_path, rivals):
    new, other = (rivals.write(folder(tmp_path, which), which) for which in ("new", "other"))
    catalog = new_catalog(tmp_path / "catalog")
    (first,) = ingest(catalog, rivals.source, [new])
    assert first.status == "new"
    before = content(tmp_path / "catalog")
    for _ in range(2):
        (result,) = ingest(catalog, rivals.source, [other])
        assert result.status == "failed"
        assert f"in the catalogue it is from {new.name} (SHA-256 " in result.error
        assert f"here from {other.name} (SHA-256 " in result.error
        assert result.error.endswith("or let the new one take its place with --replace")
    (_, theirs) = ingest(catalog, rivals.source, [new, other])
    assert theirs.status == "failed"
    assert content(tmp_path / "catalog") == before
    (result,) = ingest(catalog, rivals.source, [other], replace=True)
    assert result.status == "replaced"
    assert ingest(catalog, rivals.source, [other])[0].status == "done"


@EVERY
def test_a_file_at_two_places_is_one_file(tmp_path, rivals):
    new = rivals.write(folder(tmp_path, "new"), "new")
    copy = folder(tmp_path, "copy") / new.name
    shutil.copy(new, copy)
    catalog = new_catalog(tmp_path / "catalog")
    assert [result.status for result in ingest(catalog, rivals.source, [copy, new])] == ["new", "done"]
    before = content(tmp_path / "catalog")
    assert [result.status for result in ingest(catalog, rivals.source, [new, copy])] == ["done", "done"]
    assert content(tmp_path / "catalog") == before


def folder(root: Path, name: str) -> Path:
    made = root / "files" / name
    made.mkdir(parents=True, exist_ok=True)
    return made


# --- laws ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Files of one day of ESA CCI in several folders: versions, productions, a copy, the same values in other bytes."""
    root = tmp_path_factory.mktemp("pool")
    files = [
        versioned_cci(folder(root, "a"), "06.2", seed=1),
        versioned_cci(folder(root, "b"), "07.1", seed=2, created="2021-01-01"),
        versioned_cci(folder(root, "c"), "08.1", seed=3, created="2022-01-01"),
        versioned_cci(folder(root, "d"), "08.1", seed=4, created="20220301T101112Z"),
    ]
    shutil.copy(files[3], folder(root, "e"))
    return [*files, root / "files" / "e" / files[3].name]


def check_any_way(tmp_path, source, collection, files, calls, workers):
    """Ingest files by some calls, then all at once, and compare with a catalogue that got them all at once."""
    reference, catalog = new_catalog(tmp_path / "reference"), new_catalog(tmp_path / "catalog")
    ingest(reference, source, files)
    for paths in calls:
        results = ingest(open_catalog(catalog.root), source, paths, workers=workers)
        assert [result.error for result in results if result.error] == []
    missing = [file for file in files if not any(file in paths for paths in calls)]
    if missing:
        ingest(catalog, source, missing, workers=workers)
    assert published(tmp_path / "catalog") == published(tmp_path / "reference")
    again = ingest(catalog, source, files)
    assert {result.status for result in again} == {"done"}
    assert published(tmp_path / "catalog") == published(tmp_path / "reference")


@settings(max_examples=examples(32))
@given(data=st.data())
def test_any_calls_end_in_one_result(tmp_path_factory, pool, data):
    calls = data.draw(st.lists(st.lists(st.sampled_from(pool), min_size=1, max_size=5, unique=True), max_size=4))
    check_any_way(tmp_path_factory.mktemp("case"), "esa-cci-sm", "esa-cci-sm", pool, calls, 1)


def test_two_workers_end_in_the_same_result(tmp_path, pool):
    check_any_way(tmp_path, "esa-cci-sm", "esa-cci-sm", pool, [[pool[2], pool[0]], pool[::-1]], 2)


# --- an item of an earlier release ------------------------------------------------------------------------------


def test_an_item_without_facts_is_compared_by_the_name_of_its_file(tmp_path):
    (rivals,) = (rivals for rivals in RIVALS if rivals.source == "glass-lst")
    old, new, other = (rivals.write(folder(tmp_path, which), which) for which in ("old", "new", "other"))
    for first, second, status in ((old, new, "replaced"), (new, old, "done"), (new, other, "replaced")):
        catalog = new_catalog(tmp_path / f"{first.parent.name}-{second.parent.name}")
        ingest(catalog, "glass-lst", [first])
        (path,) = Path(catalog.root).rglob("GLASS06A01*.json")
        item = json.loads(path.read_text())
        for key in ("stac_sm:sources", "stac_sm:rank"):
            del item["properties"][key]
        path.write_text(json.dumps(item))
        assert ingest(catalog, "glass-lst", [first])[0].status == "done"
        assert ingest(catalog, "glass-lst", [second])[0].status == status


def test_other_settings_of_the_same_file_replace_its_item(tmp_path):
    path = write_hours(folder(tmp_path, "a") / "a.nc", range(24), 0.2)
    copy = shutil.copy(path, folder(tmp_path, "a") / "b.nc")
    catalog = new_catalog(tmp_path / "catalog")
    for hours, file, status in ((24, path, "new"), (12, path, "replaced"), (12, copy, "done"), (6, copy, "replaced")):
        (result,) = ingest(catalog, "era5-land", [file], settings={"min_hours": hours})
        assert result.status == status
