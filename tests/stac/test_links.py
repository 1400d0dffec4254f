"""Derived documents: `link_items` leaves what `refresh` would have made of all items, whoever dies meanwhile."""

from __future__ import annotations

import itertools
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.stac.catalogs.catalog import create_skeleton
from stac_sm.stac.links import item_paths, link_items, refresh
from stac_sm.storage.store import open_store
from tests.support.bare_items import contents, put
from tests.support.examples import examples
from tests.support.racing import killed_at, race

LST, STATIONS = "glass-lst", "ismn-stations"


def put_at(root, n):
    """Item number n of a few days and places."""
    west = -170 + 7 * n
    put(root, LST, f"i{n}", start=date(2018, 12, 29 + n % 3), days=1 + n % 2 * 8, bbox=(west, n, west + 5, n + 5))


def path_of(root, n):
    (path,) = [path for path in item_paths(open_store(root), LST) if path.endswith(f"/i{n}.json")]
    return path


def link_new(root, numbers):
    """Publish some items and link them, as a writer does."""
    for n in numbers:
        put_at(root, n)
    link_items(open_store(root), LST, [path_of(root, n) for n in numbers])


@settings(max_examples=examples(15))
@given(st.permutations(range(6)), st.lists(st.integers(1, 5), max_size=3))
def test_linking_in_any_order_and_parts_is_the_same_as_refresh(tmp_path_factory, order, cuts):
    root = tmp_path_factory.mktemp("link")
    create_skeleton(open_store(root), title="Test")
    edges = [0, *sorted(set(cuts)), 6]
    for start, end in itertools.pairwise(edges):
        link_new(root, order[start:end])
    linked = contents(root)
    refresh(open_store(root), LST)
    assert contents(root) == linked


def test_only_what_changed_is_read_and_written(project_root, monkeypatch):
    from stac_sm.storage.local_store import LocalStore

    for n in (0, 1, 2, 3):
        put_at(project_root, n)
    refresh(open_store(project_root), LST)
    put_at(project_root, 4)
    seen = []
    plain_read, plain_entries = LocalStore.read, LocalStore.list_objects
    monkeypatch.setattr(LocalStore, "read", lambda self, path: seen.append(path) or plain_read(self, path))
    monkeypatch.setattr(
        LocalStore, "list_objects", lambda self, at="": seen.append(f"{at}/") or plain_entries(self, at)
    )
    link_items(open_store(project_root), LST, ["glass-lst/2018/12/30/i4/i4.json"])
    assert set(seen) == {
        "glass-lst/2018/12/30/",
        "glass-lst/2018/12/30/catalog.json",
        "glass-lst/2018/12/30/i4/i4.json",
        "glass-lst/2018/12/catalog.json",
        "glass-lst/2018/catalog.json",
        "glass-lst/collection.json",
    }


def test_eight_writers_at_once_leave_what_one_leaves(project_root):
    assert race(link_new, [(project_root, [n, n + 8]) for n in range(8)]) == [None] * 8
    together = contents(project_root)
    refresh(open_store(project_root), LST)
    assert contents(project_root) == together
    assert len(item_paths(open_store(project_root), LST)) == 16


@pytest.mark.parametrize("step", range(1, 40, 3))
def test_what_a_killed_writer_has_left_is_mended_by_the_next(project_root, monkeypatch, step):
    monkeypatch.setattr("stac_sm.storage.local_store.LOCK_SECONDS", 0.2)
    link_new(project_root, [0])
    for n in (1, 2, 4):
        put_at(project_root, n)
    paths = [path_of(project_root, n) for n in (1, 2, 4)]
    killed_at(step, project_root, link_items, open_store(project_root), LST, paths)
    link_items(open_store(project_root), LST, paths)
    linked = contents(project_root)
    refresh(open_store(project_root), LST)
    assert contents(project_root) == linked


def test_what_is_not_there_is_not_linked(project_root):
    before = contents(project_root)
    link_items(open_store(project_root), LST, ["glass-lst/2018/12/30/i4/i4.json"])
    assert contents(project_root) == before


def test_a_collection_without_folders_is_rebuilt(project_root):
    put(project_root, "cop-dem", "a")
    link_items(open_store(project_root), "cop-dem", ["cop-dem/a/a.json"])
    linked = contents(project_root)
    refresh(open_store(project_root), "cop-dem")
    assert contents(project_root) == linked
