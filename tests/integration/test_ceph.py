"""Ceph's radosgw: an object store of another make, which neither swaps nor joins parts conditionally."""

from __future__ import annotations

import secrets

import pytest

from stac_sm.core.errors import InputError
from stac_sm.storage.s3 import objects
from stac_sm.storage.store import open_store
from tests.support.ceph import ceph_server, why_no_ceph
from tests.support.missing import need
from tests.support.object_stores import ObjectStore, environment_of, new_bucket

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("swift")]
BUCKET = "ceph-tests"


@pytest.fixture(scope="module")
def server():
    need("Ceph", why_no_ceph())
    new_bucket(ceph_server(), BUCKET)
    return ceph_server()


@pytest.fixture
def store(server):
    with environment_of(server):
        yield open_store(f"s3://{BUCKET}/{secrets.token_hex(4)}")


def test_probing_finds_what_it_lacks(store):
    probe = store.capabilities()
    assert (probe.creates_once, probe.swaps, probe.joins_once) == (True, False, False)
    assert store.lacks == "exclusive creation in parts, compare-and-swap"
    assert list(objects.pages(BUCKET, store.prefix)) == [[]]


def test_the_contract_holds_for_one_writer(store, tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "PART_BYTES", 5 << 20)
    big = bytes(range(256)) * 45_000
    (tmp_path / "big").write_bytes(big)
    assert store.create("b/c.json", b"{}")
    assert not store.create("b/c.json", b"other")
    assert store.create("b ü/big.tif", tmp_path / "big")
    assert not store.create("b ü/big.tif", tmp_path / "big")
    assert store.compare_and_swap("b/c.json", b"new", b"{}")
    assert not store.compare_and_swap("b/c.json", b"newer", b"{}")
    assert (store.read("b/c.json"), store.read("b ü/big.tif")) == (b"new", big)
    assert [(entry.path, entry.size) for entry in store.list_objects()] == [("b ü/big.tif", len(big)), ("b/c.json", 3)]
    store.remove("b/c.json")
    assert not store.exists("b/c.json")


def test_a_wrong_secret_is_refused(store, server):
    with environment_of(ObjectStore(server.endpoint, server.access_key, "canary-secret")):
        with pytest.raises(InputError, match=r"403") as caught:
            store.read("a")
        assert "canary" not in repr(caught.value)


def test_two_workers_are_refused_before_anything_is_read(store):
    from stac_sm.storage.single_writer import require_one_process

    with pytest.raises(InputError, match="lacks exclusive creation in parts, .* so only one process may write there"):
        require_one_process(store, 2)
    require_one_process(store, 1)
