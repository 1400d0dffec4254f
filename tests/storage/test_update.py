"""Updates: writers at the same time lose nothing, and a file that never rests is an error that names it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import CatalogError, ConflictError
from stac_sm.storage import local_store as store_module
from stac_sm.storage import update as module
from stac_sm.storage.local_store import LocalStore
from stac_sm.storage.object_meta import TEMPORARY
from stac_sm.storage.s3 import objects
from stac_sm.storage.store import open_store
from stac_sm.storage.update import TRIES, read_if_there, tries, update, write_if_unchanged
from tests.support.object_stores import environment_of, moto_server, new_bucket
from tests.support.racing import killed_at, race

PACKAGE = Path(__file__).parents[2] / "stac_sm"


def add(root, numbers):
    """Add numbers to a list in a file, one update each."""
    store = open_store(root)
    return [update(store, "a/list.json", lambda old, n=n: appended(old, n)) for n in numbers]


def appended(old, number):
    known = json.loads(old or b"[]")
    return None if number in known else json.dumps([*known, number]).encode()


def test_eight_processes_at_once_lose_nothing(tmp_path):
    assert race(add, [(tmp_path, list(range(n, 80, 8))) for n in range(8)]) == [[True] * 10] * 8
    assert sorted(json.loads((tmp_path / "a/list.json").read_text())) == list(range(80))
    assert add(tmp_path, [0, 79]) == [False, False]
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["list.json"]


def test_processes_at_once_in_a_bucket():
    server = moto_server()
    new_bucket(server, "update")
    with environment_of(server):
        assert race(add, [("s3://update/p", [n, n + 4]) for n in range(4)]) == [[True] * 2] * 4
        assert sorted(json.loads(open_store("s3://update/p").read("a/list.json"))) == list(range(8))


@pytest.fixture(params=["folder", "bucket"])
def any_store(request, tmp_path):
    if request.param == "folder":
        yield open_store(tmp_path)
        return
    server = moto_server()
    new_bucket(server, "update")
    with environment_of(server):
        yield open_store(f"s3://update/{tmp_path.name}")


@pytest.mark.parametrize("there", [True, False])
def test_what_another_writes_between_reading_and_writing_is_not_lost(any_store, there):
    """The race of two processes, at the one moment that counts; each of them succeeds once."""
    if there:
        add(any_store.root, [0])
    seen = []

    def slow(old):
        seen.append(old)
        if len(seen) < 3:
            assert add(any_store.root, [len(seen)]) == [True]
        return appended(old, 9)

    assert update(any_store, "a/list.json", slow)
    assert json.loads(any_store.read("a/list.json")) == [0] * there + [1, 2, 9]
    assert len(seen) == 3


@pytest.mark.parametrize("there", [True, False])
def test_a_write_that_came_too_late_changes_nothing(any_store, there):
    if there:
        any_store.create("x", b"read")
    read = read_if_there(any_store, "x")
    assert write_if_unchanged(any_store, "x", b"other", read)
    assert not write_if_unchanged(any_store, "x", b"late", read)
    assert any_store.read("x") == b"other"


def test_another_that_writes_while_the_content_is_compared_wins(monkeypatch, any_store):
    """On S3 the server compares, by ETag; in a folder the other finds the lock, and waits."""
    any_store.create("x", b"read")
    held, swap, write = [], objects.swap, store_module._write_temporary

    def late_swap(bucket, key, content, etag):
        objects.write(bucket, key, b"other")
        return swap(bucket, key, content, etag)

    def late_write(target, content):
        held.append(store_module._Lock(target.with_name(f"{TEMPORARY}lock-{target.name}"), "other").take())
        return write(target, content)

    monkeypatch.setattr(objects, "swap", late_swap)
    monkeypatch.setattr(store_module, "_write_temporary", late_write)
    local = isinstance(any_store, LocalStore)
    assert write_if_unchanged(any_store, "x", b"late", b"read") is local
    assert held == [False] * local
    assert any_store.read("x") == (b"late" if local else b"other")


def test_what_is_removed_between_asking_and_reading_is_not_there(any_store, monkeypatch):
    """The index removes the shards of empty months, `audit --repair` unreferenced files."""
    any_store.create("x", b"1")
    kind = type(any_store)
    exists = kind.exists

    def removed_then(store, path):
        there = exists(store, path)
        store.remove(path)
        return there

    monkeypatch.setattr(kind, "exists", removed_then)
    assert read_if_there(any_store, "x") is None
    any_store.create("x", b"1")
    assert update(any_store, "x", lambda old: b"2" if old is None else b"3")
    assert any_store.read("x") == b"2"


def test_nobody_else_asks_first_and_reads_then():
    asking = r"read\([^()]*\) if [^\n]*exists\("
    found = [file.name for file in PACKAGE.rglob("*.py") if re.search(asking, file.read_text())]
    assert found == []


@pytest.mark.parametrize("step", range(1, 9))
def test_a_writer_killed_at_any_step_leaves_the_old_or_the_new(tmp_path, monkeypatch, step):
    monkeypatch.setattr("stac_sm.storage.local_store.LOCK_SECONDS", 0.2)
    add(tmp_path, [1])
    killed_at(step, tmp_path, add, tmp_path, [2])
    assert json.loads((tmp_path / "a/list.json").read_text()) in ([1], [1, 2])
    add(tmp_path, [3])
    assert {1, 3} <= set(json.loads((tmp_path / "a/list.json").read_text()))


@given(st.lists(st.sampled_from([None, b"", b"1", b"2"]), max_size=6), st.sampled_from([None, b"", b"1"]))
def test_law_an_update_is_what_one_writer_does(tmp_path_factory, changes, first):
    store, content = open_store(tmp_path_factory.mktemp("law")), first
    if first is not None:
        store.create("x", first)
    for change in changes:
        seen = []
        written = update(store, "x", lambda old, change=change, seen=seen: seen.append(old) or change)
        assert seen == [content]
        assert written == (change is not None and change != content)
        content = content if change is None else change
        assert store.exists("x") == (content is not None)
        assert content is None or store.read("x") == content


def test_the_change_is_made_again_from_the_newer_content(tmp_path, monkeypatch):
    store, plain, seen = open_store(tmp_path), LocalStore.compare_and_swap, []
    store.create("x", b"0")

    def slow(store, path, content, expected):
        if len(seen) < 4:
            store.replace(path, str(len(seen)).encode())  # another writer
        return plain(store, path, content, expected)

    monkeypatch.setattr(LocalStore, "compare_and_swap", slow)
    assert update(store, "x", lambda old: seen.append(old) or old + b"+")
    assert seen == [b"0", b"1", b"2", b"3"]
    assert store.read("x") == b"3+"


def test_a_file_that_keeps_changing_is_named(tmp_path, monkeypatch):
    store, seen = open_store(tmp_path), []
    store.create("x", b"0")
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.0)
    monkeypatch.setattr(LocalStore, "compare_and_swap", lambda *_: False)
    with pytest.raises(ConflictError, match=rf"{tmp_path}/x keeps changing: .* {TRIES} tries; run the command again"):
        update(store, "x", lambda old: seen.append(old) or b"1")
    assert len(seen) == TRIES
    assert store.read("x") == b"0"


def test_what_must_exist(tmp_path):
    with pytest.raises(CatalogError, match="is no file"):
        update(open_store(tmp_path), "x", lambda old: b"1", must_exist=True)
    assert not (tmp_path / "x").exists()


def test_an_error_of_the_change_ends_it(tmp_path):
    with pytest.raises(ZeroDivisionError):
        update(open_store(tmp_path), "x", lambda old: b"" if 1 / 0 else None)


def test_content_that_is_right_is_not_written_again(tmp_path):
    store = open_store(tmp_path)
    assert write_if_unchanged(store, "x", b"1", None)
    assert not write_if_unchanged(store, "x", b"2", None)
    state = (tmp_path / "x").stat()
    assert write_if_unchanged(store, "x", b"1", b"1")
    assert (tmp_path / "x").stat().st_ino == state.st_ino
    assert not write_if_unchanged(store, "x", b"3", b"2")
    assert write_if_unchanged(store, "x", b"2", b"1")


def test_tries_end(monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.0)
    with pytest.raises(ConflictError, match="the thing keeps changing"):
        assert list(tries("the thing"))
    assert next(tries("x")) == 1


def test_nobody_else_compares_and_swaps():
    """One loop and one number of tries: only stores, `update`, and the doctor, who tries whether a store can do it."""
    found = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if re.search(r"compare_and_swap\(|_TRIES\b", file.read_text())
    }
    stores = {"storage/store.py", "storage/local_store.py", "storage/s3/store.py"}
    assert found == {*stores, "storage/update.py", "doctor/project_checks.py"}
