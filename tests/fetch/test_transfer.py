"""Downloads: whatever interrupts them, the file is there with the right bytes, or it is not there and is explained."""

from __future__ import annotations

import hashlib
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import InputError
from stac_sm.fetch.transfer import http_opener, save
from tests.support.services import FileService

CONTENT = bytes(range(256)) * 20


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("STAC_SM_RETRY_FIRST_WAIT", "0.001")
    monkeypatch.setenv("STAC_SM_RETRY_LONGEST_WAIT", "0.002")


@pytest.fixture(scope="module")
def server():
    with FileService(files={"/f": CONTENT}) as service:
        yield service


@pytest.fixture
def fresh(server):
    server.faults, server.version = [], None
    server.asked.clear()
    server.headers.clear()
    server.files = {"/f": CONTENT}
    return server


def fetched(server, file, **more):
    save(file, http_opener(f"{server.address}/f", root=None), **more)
    return file.read_bytes()


FAULT = st.one_of(st.sampled_from(["429", "503", "500", ""]), st.integers(0, len(CONTENT)).map(lambda n: f"cut {n}"))


@given(
    st.lists(FAULT, max_size=9),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, ""]),
)
def test_an_interrupted_download_ends_with_the_same_bytes_or_none(server, tmp_path_factory, faults, size, sum, version):
    """The law: cut at any byte, refused any number of times: the whole file, or an error and nothing under its name."""
    server.faults, server.version = list(faults), version
    file = tmp_path_factory.mktemp("law") / "f.bin"
    stated = {"size": len(CONTENT)} if size else {}
    stated |= {"checksum": f"md5:{hashlib.md5(CONTENT).hexdigest()}"} if sum else {}
    failures = []
    for _ in range(3):  # the command, and the same command again
        try:
            assert fetched(server, file, **stated) == CONTENT
            break
        except InputError as error:
            failures.append(str(error))
        assert not file.exists()
    assert file.read_bytes() == CONTENT
    assert os.listdir(file.parent) == ["f.bin"]
    assert all("again" in words for words in failures)
    good = next((n for n, fault in enumerate(faults) if fault in {"", f"cut {len(CONTENT)}"}), len(faults))
    assert not failures or good >= 6, "fewer faults than attempts were not survived"


def test_a_cut_download_goes_on_behind_what_has_come(fresh, tmp_path):
    fresh.faults = ["cut 1000", "cut 2000"]
    assert fetched(fresh, tmp_path / "f") == CONTENT
    ranges = [headers.get("Range") for _, _, headers in fresh.headers]
    assert ranges == [None, "bytes=1000-", "bytes=3000-"]


def test_a_later_command_goes_on_too(fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("STAC_SM_RETRY_ATTEMPTS", "1")
    fresh.faults = ["cut 1000"]
    with pytest.raises(InputError, match="goes on where it stopped"):
        fetched(fresh, tmp_path / "f")
    assert not (tmp_path / "f").exists()
    assert fetched(fresh, tmp_path / "f") == CONTENT
    assert fresh.headers[-1][2]["Range"] == "bytes=1000-"


def test_a_file_that_was_replaced_meanwhile_is_not_mixed(fresh, tmp_path):
    fresh.faults = ["cut 1000"]
    other = CONTENT[::-1]
    original = fresh.respond

    def replacing(to, path, query, body, fault):
        original(to, path, query, body, fault)
        fresh.files["/f"] = other

    fresh.respond = replacing
    try:
        assert fetched(fresh, tmp_path / "f") == other
    finally:
        del fresh.respond


def test_without_a_version_or_checksum_it_begins_again(fresh, tmp_path):
    fresh.faults, fresh.version = ["cut 1000"], ""
    assert fetched(fresh, tmp_path / "f") == CONTENT
    assert [headers.get("Range") for _, _, headers in fresh.headers] == [None, None]


def test_another_size_or_checksum_leaves_nothing(fresh, tmp_path):
    for stated in ({"size": 7}, {"checksum": "sha256:" + "0" * 64}):
        with pytest.raises(InputError, match="f: cannot be fetched"):
            fetched(fresh, tmp_path / "f", **stated)
        assert not (tmp_path / "f").exists()


def test_content_that_is_refused_gets_no_name(fresh, tmp_path):
    def no(file):
        raise InputError(f"{file.name} is nothing")

    with pytest.raises(InputError, match="is nothing"):
        fetched(fresh, tmp_path / "f", check=no)
    assert os.listdir(tmp_path) == []


def test_a_file_of_the_same_size_is_replaced_on_request(fresh, tmp_path):
    """Preliminary values that became final have the size of those of before."""
    (tmp_path / "f").write_bytes(bytes(len(CONTENT)))
    fetched(fresh, tmp_path / "f", size=len(CONTENT))
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_two_at_once_fetch_it_once(fresh, tmp_path):
    failures = []

    def one():
        try:
            fetched(fresh, tmp_path / "f", size=len(CONTENT))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert fresh.asked["GET", "/f"] == 1
    assert os.listdir(tmp_path) == ["f"]
