"""Part catalogues: no document links to more than 400 items, whatever lies in one folder, and all of them are found."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from datetime import date

import pystac
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.stac import sub_catalogs
from stac_sm.stac.catalogs.catalog import create_skeleton, open_catalog
from stac_sm.stac.index.update import update_index
from stac_sm.stac.links import item_paths, link_items, refresh
from stac_sm.storage.local_store import LocalStore
from stac_sm.storage.store import open_store
from stac_sm.workflows.audit import audit, repair
from stac_sm.workflows.plan.item_rows import ScanJob, read_input_rows
from tests.support.bare_items import contents, put
from tests.support.examples import examples
from tests.support.faulty_server import FaultyServer
from tests.support.racing import killed_at, race

FLAT, STATIONS, DAYS = "cop-dem", "ismn-stations", "glass-lst"
LARGE = 430


def put_at(root, collection, n):
    """Item number n, each at a place and a time of its own."""
    where = {"stac_sm:network": f"N{n % 2}"} if collection == STATIONS else {}
    west = -170 + n % 300
    put(root, collection, f"i{n}", start=date(2018, 7, 1 + n % 2), days=1 + n, bbox=(west, 0, west + 1, 1), **where)


def links_in(root, rel="item"):
    """Number of links of a kind in each document that is no item."""
    files = (file for name in ("catalog", "collection") for file in root.rglob(f"{name}.json"))
    return {file: sum(one["rel"] == rel for one in json.loads(file.read_text())["links"]) for file in files}


def link_new(root, collection, numbers):
    """Publish some items and link them, as a writer does."""
    for n in numbers:
        put_at(root, collection, n)
    names = {f"i{n}" for n in numbers}
    paths = [path for path in item_paths(open_store(root), collection) if path.split("/")[-2] in names]
    link_items(open_store(root), collection, paths)


def as_refreshed(root, collection):
    """Whether the store is as `refresh` leaves it; it is afterwards."""
    before = contents(root)
    refresh(open_store(root), collection)
    return contents(root) == before


@pytest.fixture
def few(monkeypatch):
    """Three links are as many as there may be."""
    monkeypatch.setattr(sub_catalogs, "MAX_LINKS", 3)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A flat collection and a network, each with more items than one document links to."""
    root = tmp_path_factory.mktemp("large")
    create_skeleton(open_store(root), title="Test")
    for n in range(LARGE):
        put(root, FLAT, f"dem{n}")
    for n in range(401):
        put(root, STATIONS, f"station{n}", **{"stac_sm:network": "LARGE"})
    put(root, STATIONS, "alone", **{"stac_sm:network": "SMALL"})
    for collection in (FLAT, STATIONS):
        refresh(open_store(root), collection)
    return root


@pytest.fixture
def copy(large, tmp_path):
    shutil.copytree(large, tmp_path / "large")
    return tmp_path / "large"


@settings(max_examples=examples(12), deadline=None)
@given(
    st.sampled_from([FLAT, STATIONS, DAYS]),
    st.integers(1, 6),
    st.permutations(range(14)),
    st.lists(st.integers(1, 13), max_size=4),
)
def test_linking_in_any_order_and_parts_is_the_same_as_refresh(tmp_path_factory, collection, most, order, cuts):
    root = tmp_path_factory.mktemp("parts")
    create_skeleton(open_store(root), title="Test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sub_catalogs, "MAX_LINKS", most)
        for start, end in itertools.pairwise([0, *sorted(set(cuts)), 14]):
            link_new(root, collection, order[start:end])
        assert max(links_in(root).values()) <= most
        assert as_refreshed(root, collection)
        assert len(open_catalog(root).items(collection)) == 14


def test_no_document_has_more_links_than_400(large):
    assert max(links_in(large).values()) <= 400
    assert max(links_in(large, "child").values()) <= 400
    assert sum(links_in(large).values()) == LARGE + 402
    assert {path.parent.name for path in (large / FLAT / "parts").rglob("catalog.json")} == set("0123456789abcdef")


def test_up_to_400_are_linked_as_ever(project_root, monkeypatch):
    monkeypatch.setattr(sub_catalogs, "MAX_LINKS", 5)
    link_new(project_root, FLAT, range(5))
    assert not (project_root / FLAT / "parts").exists()
    link_new(project_root, FLAT, [5])
    assert links_in(project_root)[project_root / FLAT / "collection.json"] == 0


def test_pystac_opens_every_item_from_the_root(large, validate):
    root = pystac.Catalog.from_file(str(large / "catalog.json"))
    found = [item.id for item in root.get_items(recursive=True)]
    wanted = [f"dem{n}" for n in range(LARGE)] + [f"station{n}" for n in range(401)] + ["alone"]
    assert sorted(found) == sorted(wanted)
    for file in large.rglob("parts/*/catalog.json"):
        validate(json.loads(file.read_text()))
        part = pystac.Catalog.from_file(str(file))
        assert part.get_root().id == "stac_sm"
        assert part.id in {child.id for child in part.get_parent().get_children()}


def test_catalogue_index_and_planning_see_every_item(copy):
    catalog = open_catalog(copy)
    for collection, count in ((FLAT, LARGE), (STATIONS, 402)):
        assert len(catalog.items(collection)) == count
        update_index(catalog.store, collection, layout=catalog.layout(collection))
        assert read_input_rows(catalog.store, ScanJob(collection, (collection,), ("all",), ())).table.num_rows == count
        assert audit(catalog, collections=[collection]) == []


def test_an_item_is_found_with_few_documents(large):
    with FaultyServer(large) as server:
        found = open_catalog(f"{server.address}/catalog.json")
        assert found.item(FLAT, "dem7").id == "dem7"
        assert sum(server.gets().values()) == 4  # root, collection, part, item
        server.asked.clear()
        assert found.item(STATIONS, "alone").id == "alone"
        assert sum(server.gets().values()) < 7
    with pytest.raises(Exception, match="item 'none' is not in collection"):
        open_catalog(large).item(FLAT, "none")


def test_only_what_changed_is_read_and_written(copy, monkeypatch):
    put(copy, FLAT, "new", bbox=(0, 0, 1, 1))
    seen = []
    plain = LocalStore.read
    monkeypatch.setattr(LocalStore, "read", lambda self, path: seen.append(path) or plain(self, path))
    link_items(open_store(copy), FLAT, [f"{FLAT}/new/new.json"])
    (part,) = set(seen) - {f"{FLAT}/collection.json", f"{FLAT}/new/new.json"}
    assert part.startswith(f"{FLAT}/parts/")
    monkeypatch.undo()
    assert as_refreshed(copy, FLAT)


@pytest.mark.parametrize("mend", ["refresh", "link"])
@pytest.mark.parametrize("collection", [FLAT, STATIONS])
def test_an_old_store_with_too_many_links_is_read_and_mended(copy, monkeypatch, collection, mend):
    wanted = contents(copy)
    monkeypatch.setattr(sub_catalogs, "MAX_LINKS", 10_000)
    for file in copy.rglob("parts"):
        shutil.rmtree(file)
    refresh(open_store(copy), collection)
    monkeypatch.undo()
    count = LARGE if collection == FLAT else 402
    assert max(links_in(copy).values()) > 400
    assert len(open_catalog(copy).items(collection)) == count
    assert {one.kind for one in audit(open_catalog(copy), collections=[collection])} == {"link"}
    if mend == "refresh":
        refresh(open_store(copy), collection)
    else:
        link_items(
            open_store(copy), collection, [item_paths(open_store(copy), collection)[-1 if collection == FLAT else 1]]
        )
    found = contents(copy)
    assert [path for path in wanted if path.startswith(collection) and wanted[path] != found.get(path)] == []


PART = "cop-dem/parts/3/catalog.json"
FAULTS = {
    "link lost": (lambda file: file.write_text(file.read_text().replace('"rel": "item"', '"rel": "lost"', 1)), "link"),
    "part gone": (lambda file: file.unlink(), "link"),
    "part of nothing": (lambda file: shutil.copytree(file.parent, file.parent.parent / "3ff"), "orphan"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_audit_finds_and_mends_what_is_wrong_with_a_part(copy, fault):
    plant, kind = FAULTS[fault]
    wanted = contents(copy)
    plant(copy / PART)
    old = time.time() - 25 * 3600
    for file in copy.rglob("catalog.json"):
        os.utime(file, (old, old))
    catalog = open_catalog(copy)
    findings = audit(catalog, collections=[FLAT])
    assert {one.kind for one in findings} == {kind}
    assert repair(catalog, findings) == []
    assert contents(copy) == wanted


@pytest.mark.parametrize("collection", [FLAT, STATIONS])
def test_parts_that_are_no_longer_wanted_are_orphans_and_no_harm_later(project_root, few, collection):
    link_new(project_root, collection, range(0, 10, 2))
    assert list(project_root.rglob("parts"))
    for file in [*project_root.rglob("i8"), *project_root.rglob("i6")]:
        shutil.rmtree(file)
    refresh(open_store(project_root), collection)
    assert {one.kind for one in audit(open_catalog(project_root), collections=[collection])} == {"orphan"}
    link_new(project_root, collection, range(8, 20, 2))
    assert as_refreshed(project_root, collection)
    assert {one.kind for one in audit(open_catalog(project_root), collections=[collection])} <= {"orphan"}


@pytest.mark.parametrize("collection", [FLAT, STATIONS])
def test_eight_writers_at_once_leave_what_one_leaves(project_root, few, collection):
    jobs = [(project_root, collection, [2 * n, 2 * n + 16]) for n in range(8)]
    assert race(link_new, jobs) == [None] * 8
    assert as_refreshed(project_root, collection)
    assert len(open_catalog(project_root).items(collection)) == 16


@pytest.mark.parametrize("step", range(1, 60, 5))
@pytest.mark.parametrize("collection", [FLAT, STATIONS])
def test_what_a_killed_writer_has_left_is_mended_by_the_next(project_root, few, monkeypatch, collection, step):
    monkeypatch.setattr("stac_sm.storage.local_store.LOCK_SECONDS", 0.2)
    link_new(project_root, collection, [0, 2])
    for n in (4, 6, 8):
        put_at(project_root, collection, n)
    paths = [path for path in item_paths(open_store(project_root), collection) if "/i0/" not in path]
    killed_at(step, project_root, link_items, open_store(project_root), collection, paths)
    link_items(open_store(project_root), collection, paths)
    assert as_refreshed(project_root, collection)


def test_a_replaced_item_that_reaches_further_is_in_the_extent(copy):
    path = copy / FLAT / "dem7" / "dem7.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "bbox": [-5, 40, 2, 44]}, indent=2, ensure_ascii=False) + "\n")
    link_items(open_store(copy), FLAT, [f"{FLAT}/dem7/dem7.json"])
    assert as_refreshed(copy, FLAT)


def test_items_in_folders_of_another_layout_stay_linked(project_root, few):
    for n in range(5):
        put_at(project_root, FLAT, n)
    file = project_root / FLAT / "collection.json"
    file.write_text(file.read_text().replace('"flat"', '"year/month"'))
    link_new(project_root, FLAT, [7, 8])
    link_items(open_store(project_root), FLAT, [f"{FLAT}/i1/i1.json"])
    link_new(project_root, FLAT, [9])
    assert as_refreshed(project_root, FLAT)
