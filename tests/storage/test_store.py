"""Stores: a name is taken once, and a file is there whole or not at all."""

from __future__ import annotations

import os
import pickle
import secrets
import time
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.core.errors import CatalogError, ConflictError, InputError
from stac_sm.storage import local_store as store_module
from stac_sm.storage.local_store import LocalStore
from stac_sm.storage.object_meta import TEMPORARY
from stac_sm.storage.store import multihash, open_store, sha256
from tests.support.examples import examples
from tests.support.object_stores import environment_of, moto_server, new_bucket
from tests.support.racing import killed_after, killed_at, race

BIG = os.urandom(1 << 20) * 4


@pytest.fixture(scope="module")
def bucket():
    """A bucket of moto's server, which boto3 asks as long as the module's tests run."""
    with environment_of(moto_server()):
        yield new_bucket(moto_server(), "store-tests")


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path)


@pytest.fixture(params=["folder", "bucket"])
def any_store(request, tmp_path):
    """An empty store of each kind: what holds for one holds for the other."""
    return open_store(tmp_path if request.param == "folder" else s3_root(request.getfixturevalue("bucket")))


def s3_root(bucket):
    return f"s3://{bucket}/{secrets.token_hex(4)}"


def create(root, path, content):
    return open_store(root).create(path, content)


def swap(root, path, content, expected):
    return open_store(root).compare_and_swap(path, content, expected)


def replace(root, path, content):
    return open_store(root).replace(path, content)


def paths(store, prefix=""):
    return [entry.path for entry in store.list_objects(prefix)]


def test_create_read_list(any_store, tmp_path):
    store = any_store
    made = tmp_path.with_name("made")
    made.write_bytes(b"123")
    assert paths(store) == []
    assert store.create("b/c.json", b"{}")
    assert store.create("b/a.tif", made)
    assert not store.create("b/c.json", b"other")
    assert not store.create("b/c.json", made)
    assert store.read("b/c.json") == b"{}"
    assert store.read("b/a.tif") == b"123"
    assert store.exists("b/c.json")
    assert not store.exists("b")
    assert not store.exists("b/none")
    assert [(entry.path, entry.size) for entry in store.list_objects("b")] == [("b/a.tif", 3), ("b/c.json", 2)]
    assert store.href("b/c.json") == f"{store.root}/b/c.json"


def test_swap_and_replace(any_store):
    store = any_store
    assert not store.compare_and_swap("a/x", b"new", b"")
    store.create("a/x", b"old")
    assert not store.compare_and_swap("a/x", b"new", b"other")
    assert store.read("a/x") == b"old"
    assert store.compare_and_swap("a/x", b"new", b"old")
    assert store.read("a/x") == b"new"
    store.replace("a/x", b"newer")
    store.replace("b/y", b"first")
    assert (store.read("a/x"), store.read("b/y")) == (b"newer", b"first")


@pytest.mark.parametrize("times", [1, 3])
def test_a_folder_that_is_removed_while_a_file_is_made_in_it_is_made_again(store, monkeypatch, times):
    """`remove` takes away folders that are empty, also one in which another process is about to write."""
    mkdir, left = Path.mkdir, [0]

    def removed_then(folder, *args, **options):
        mkdir(folder, *args, **options)
        if left[0] and folder.name == "a":
            left[0] -= 1
            folder.rmdir()

    monkeypatch.setattr(Path, "mkdir", removed_then)
    left[0] = times
    assert store.create("a/x", b"1")
    store.remove("a/x")
    left[0] = times
    store.replace("a/x", b"2")
    assert (store.read("a/x"), left) == (b"2", [0])


def test_a_file_that_is_removed_while_its_lock_is_taken_is_not_written(store, monkeypatch):
    store.create("a/x", b"old")
    take = store_module._Lock.take

    def removed_first(lock):
        store.remove("a/x")
        return take(lock)

    monkeypatch.setattr(store_module._Lock, "take", removed_first)
    assert not store.compare_and_swap("a/x", b"new", b"old")
    assert paths(store) == []


def test_what_is_removed_as_soon_as_it_is_there_was_created(store, monkeypatch):
    sync = store_module._sync_folder

    def removed_first(folder):
        store.remove("a/x")
        sync(folder)

    monkeypatch.setattr(store_module, "_sync_folder", removed_first)
    assert store.create("a/x", b"1")
    assert paths(store) == []


def test_a_lock_without_its_token_does_not_stay(store, monkeypatch):
    """As where the disk is full: everybody would wait until it expires."""
    store.create("x", b"old")
    opened = store_module._opened_new

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, content):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module, "_opened_new", lambda file: Full(opened(file)))
    with pytest.raises(OSError, match="No space left"):
        store.compare_and_swap("x", b"new", b"old")
    assert [file.name for file in Path(store.root).iterdir()] == ["x"]


def test_nothing_temporary_is_left(store):
    store.create("a/x", b"old")
    store.compare_and_swap("a/x", b"new", b"old")
    store.replace("a/x", b"newer")
    assert [name for _, _, names in os.walk(store.root) for name in names if name.startswith(TEMPORARY)] == []


FOLDERS = st.sampled_from(["", "f/", "f.g/", "f-h/", "f/i/", "f ü/"])
NAMES = st.sampled_from(["a", "a.b", "a b", "ä", "a+b", "%41", "x#y?z", "a-b", "~", "€"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "compare_and_swap", "replace"]),
        st.builds("{}{}".format, FOLDERS, NAMES),
        st.sampled_from([b"", b"1", b"22"]),
        st.sampled_from([b"", b"1", b"22"]),
    ),
    max_size=12,
)


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_a_store_does_as_a_dictionary_would(kind, bucket, tmp_path):
    @settings(max_examples=examples(25))
    @given(STEPS)
    def law(steps):
        store = open_store(tmp_path / secrets.token_hex(4) if kind == "folder" else s3_root(bucket))
        model = {}
        for act, path, content, expected in steps:
            wins = {"create": path not in model, "compare_and_swap": model.get(path) == expected, "replace": True}[act]
            done = getattr(store, act)(path, content, *([expected] if act == "compare_and_swap" else []))
            assert done in (None, wins)
            model |= {path: content} if wins else {}
            assert store.exists(path) == (path in model)
        assert {path: store.read(path) for path in model} == model
        assert [(entry.path, entry.size) for entry in store.list_objects()] == [
            (path, len(model[path])) for path in sorted(model)
        ]
        assert paths(store, "f") == sorted(path for path in model if path.startswith("f/"))

    law()


def test_a_version_changes_with_the_content(any_store):
    any_store.create("a/x", b"old")
    [before] = any_store.list_objects("a")
    assert [before] == list(any_store.list_objects("a"))
    any_store.compare_and_swap("a/x", b"new", b"old")
    [after] = any_store.list_objects("a")
    assert after.size == before.size
    assert after.version != before.version


def test_a_store_can_be_sent_to_a_worker(any_store):
    sent = pickle.dumps(any_store)
    assert len(sent) < 300
    assert pickle.loads(sent) == any_store


@pytest.mark.parametrize("hostile", ["../x", "a/../../x", "/etc/passwd", "..", "", ".", "a/..", "a\0b", "//x"])
def test_hostile_paths_are_refused(tmp_path, bucket, hostile):
    for root in (tmp_path / "root", s3_root(bucket)):
        refuses(open_store(root), hostile)
    assert not list(tmp_path.rglob("*"))


def refuses(store, hostile):
    for act in (
        lambda: store.read(hostile),
        lambda: store.exists(hostile),
        lambda: store.create(hostile, b""),
        lambda: store.replace(hostile, b""),
        lambda: store.compare_and_swap(hostile, b"", b""),
        lambda: store.href(hostile),
    ):
        with pytest.raises(InputError, match="only paths below the root are allowed"):
            act()
    if hostile:
        with pytest.raises(InputError):
            list(store.list_objects(hostile))


@pytest.mark.parametrize("hostile", ["../outside", "a/../../outside", "{root}/../outside"])
def test_asking_for_files_by_their_paths_finds_none_outside(tmp_path, hostile):
    (tmp_path / "outside").write_bytes(b"not of this store")
    store = open_store(tmp_path / "root")
    store.create("a/in..side", b"1")
    with pytest.raises(InputError, match="only paths below the root are allowed"):
        list(store.list_objects_at("a", [hostile.format(root=tmp_path / "root")]))
    assert [found.path for found in store.list_objects_at("a", ["a/in..side", "a/none"])] == ["a/in..side"]


@given(st.text(max_size=12))
def test_an_allowed_path_stays_below_the_root(path):
    for store in (LocalStore(Path("/some/root")), open_store("s3://bucket/some/root")):
        try:
            href = store.href(path)
        except InputError:
            continue
        assert os.path.normpath(href.removeprefix("s3://bucket")).startswith("/some/root/")


@pytest.mark.parametrize("path", ["none.json", "none/none.json", "file/below", "folder"])
def test_reading_what_is_no_file(any_store, path):
    any_store.create("file", b"")
    any_store.create("folder/file", b"")
    with pytest.raises(CatalogError, match=rf"{path} is no file: check the path"):
        any_store.read(path)


def test_other_stores_are_refused(tmp_path):
    with pytest.raises(InputError, match="'gs://bucket/x' cannot be opened: give a folder, or s3://BUCKET/PREFIX"):
        open_store("gs://bucket/x")
    assert open_store(f"file://{tmp_path}") == open_store(tmp_path) == open_store(f"{tmp_path}/")


def test_checksums(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(b"abc") == sha256(tmp_path / "x") == known
    assert multihash(known) == "1220" + known


def test_one_of_eight_creates(any_store):
    store = any_store
    contents = [bytes([65 + i]) * (1 << 20) for i in range(8)]
    won = race(create, [(store.root, "a/b/x.tif", content) for content in contents])
    assert sorted(won) == [False] * 7 + [True]
    assert store.read("a/b/x.tif") == contents[won.index(True)]
    assert paths(store) == ["a/b/x.tif"]


def test_one_of_eight_swaps(any_store):
    store = any_store
    store.create("x.json", b"old")
    contents = [str(i).encode() * 1000 for i in range(8)]
    won = race(swap, [(store.root, "x.json", content, b"old") for content in contents])
    assert sorted(won) == [False] * 7 + [True]
    assert store.read("x.json") == contents[won.index(True)]
    assert paths(store) == ["x.json"]
    if isinstance(store, LocalStore):
        assert list(Path(store.root).iterdir()) == [Path(store.root, "x.json")]  # no lock, no temporary file


def increment(root, times):
    store = open_store(root)
    for _ in range(times):
        while True:
            old = store.read("counter")
            if store.compare_and_swap("counter", str(int(old) + 1).encode(), old):
                break


def test_no_swap_is_lost(any_store):
    store = any_store
    store.create("counter", b"0")
    race(increment, [(store.root, 5)] * 4)
    assert store.read("counter") == b"20"


@pytest.mark.parametrize(
    ("task", "arguments"),
    [(create, (BIG,)), (replace, (BIG,)), (swap, (BIG, b"old"))],
)
def test_killed_at_every_step_a_file_is_whole_or_absent(tmp_path, monkeypatch, task, arguments):
    monkeypatch.setattr(store_module, "LOCK_SECONDS", 0.05)
    for step in count(1):
        store = open_store(tmp_path / str(step))
        if task is not create:
            store.create("a/x.tif", b"old")
        died = killed_at(step, tmp_path / str(step), task, store.root, "a/x.tif", *arguments)
        before = {create: []}.get(task, [b"old"])
        assert [store.read(path) for path in paths(store)] in ([BIG], before)
        if not died:
            break
        time.sleep(0.06)
        task(store.root, "a/x.tif", *arguments)  # again, over what the dead one left
        assert store.read("a/x.tif") == BIG
    assert step > {create: 4, replace: 3, swap: 5}[task]


def test_killed_at_any_moment_a_file_is_whole_or_absent(tmp_path):
    died = 0
    for i in range(8):
        store = open_store(tmp_path / str(i))
        died += killed_after(0.002 * i, create, store.root, "x.tif", BIG)
        assert [store.read(path) for path in paths(store)] in ([BIG], [])
        assert store.create("x.tif", BIG) or store.read("x.tif") == BIG
    assert died


def test_the_lock_of_a_dead_writer_expires(store, monkeypatch):
    store.create("x.json", b"old")
    lock = Path(store.root, f"{TEMPORARY}lock-x.json")
    lock.touch()
    os.utime(lock, (0, time.time() - store_module.LOCK_SECONDS - 1))
    assert store.compare_and_swap("x.json", b"new", b"old")
    assert not lock.exists()


def test_the_lock_of_a_living_writer_is_waited_for(store, monkeypatch):
    store.create("x.json", b"old")
    lock = Path(store.root, f"{TEMPORARY}lock-x.json")
    lock.touch()
    os.utime(lock, (0, time.time() + 3600))
    monkeypatch.setattr(store_module, "LOCK_SECONDS", 0.1)
    with pytest.raises(ConflictError, match=r"x.json is locked by another writer.*try again"):
        store.compare_and_swap("x.json", b"new", b"old")
    assert lock.exists()
    assert store.read("x.json") == b"old"


def test_a_writer_that_overslept_its_lock_does_not_write(store, monkeypatch):
    """While it slept, another broke its lock and swapped: the late one must lose, and leave the lock of a third."""
    store.create("x.json", b"old")
    lock = Path(store.root, f"{TEMPORARY}lock-x.json")
    write = store_module._write_temporary

    def overslept(target, content):
        lock.unlink()
        target.write_bytes(b"other")
        lock.write_text("the lock of a third writer")
        return write(target, content)

    monkeypatch.setattr(store_module, "_write_temporary", overslept)
    assert not store.compare_and_swap("x.json", b"new", b"old")
    assert store.read("x.json") == b"other"
    assert lock.read_text() == "the lock of a third writer"
    assert len(list(Path(store.root).iterdir())) == 2


def test_a_new_lock_is_not_taken_for_the_old_one(store, monkeypatch):
    """Two waiters see one old lock: the slower must not remove what the faster has put there since."""
    lock = Path(store.root, f"{TEMPORARY}lock-x.json")
    lock.write_text("new")
    ages = iter([1e6])
    age = store_module._age
    monkeypatch.setattr(store_module, "_age", lambda file: next(ages, None) or age(file))
    store_module._expire(lock)
    assert lock.read_text() == "new"
    assert list(Path(store.root).iterdir()) == [lock]


def test_eight_waiters_break_one_old_lock_once(store):
    store.create("x.json", b"old")
    lock = Path(store.root, f"{TEMPORARY}lock-x.json")
    lock.touch()
    os.utime(lock, (0, 0))
    won = race(swap, [(store.root, "x.json", str(i).encode(), b"old") for i in range(8)])
    assert sorted(won) == [False] * 7 + [True]
    assert store.read("x.json") == str(won.index(True)).encode()


def test_files_in_the_making_are_not_listed(store):
    store.create("a/x", b"")
    Path(store.root, "a", f"{TEMPORARY}1-2").touch()
    assert paths(store) == ["a/x"]


def test_a_full_disk_leaves_nothing(store, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.create("a/x", b"123")
    assert [path for path in Path(store.root).rglob("*") if path.is_file()] == []


def test_a_file_is_removed_for_good(store):
    store.create("a/b/c.json", b"1")
    store.create("a/d.json", b"2")
    store.remove("a/b/c.json")
    store.remove("a/b/c.json")
    assert [entry.path for entry in store.list_objects()] == ["a/d.json"]
    assert store.create("a/b/c.json", b"3")
    (first, second) = store.list_objects()
    assert abs(first.modified - time.time()) < 120
    assert first.modified >= second.modified - 1


def test_a_file_that_is_gone_when_it_is_looked_at_is_not_listed(store):
    """As a link to nothing is: another writer may have renamed it since the folder was read."""
    store.replace("a/b.json", b"{}")
    Path(store.root, "a", "gone.json").symlink_to("nowhere")
    assert [entry.path for entry in store.list_objects()] == ["a/b.json"]
