"""OpenStack Swift: a real object store with an S3 API. Signatures count, and creation is not atomic."""

from __future__ import annotations

import secrets
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest
import rasterio

from stac_sm.core.errors import CatalogError, InputError
from stac_sm.features.cube import feature_cube
from stac_sm.raster.readers import READERS
from stac_sm.stac.catalogs.catalog import create_skeleton, open_catalog
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import PublishOutcome
from stac_sm.storage.s3 import objects
from stac_sm.storage.s3.session import gdal_env, presign_href
from stac_sm.storage.store import open_store
from tests.support.fields import DAYS, RECIPE, SMALL, TILE, shared_project
from tests.support.missing import need
from tests.support.object_stores import ObjectStore, environment_of, new_bucket, swift_server, why_no_swift
from tests.support.rasters import known_raster

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("swift")]
BUCKET = "swift-tests"


@pytest.fixture(scope="module")
def server():
    need("OpenStack Swift", why_no_swift())
    new_bucket(swift_server(), BUCKET)
    return swift_server()


@pytest.fixture
def store(server):
    with environment_of(server):
        yield open_store(f"s3://{BUCKET}/{secrets.token_hex(4)}")


def paths(store):
    return [entry.path for entry in store.list_objects()]


def test_probing_finds_what_swift_lacks(store):
    probe = store.capabilities()
    assert probe.creates_once
    assert not probe.swaps
    assert "compare-and-swap" in probe.lacks
    assert list(objects.pages(BUCKET, store.prefix)) == [[]]


def test_the_contract_holds_for_one_writer(store, tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "PART_BYTES", 5 << 20)
    big = np.random.default_rng(1).bytes(11 << 20)
    (tmp_path / "big").write_bytes(big)
    assert store.create("b/c.json", b"{}")
    assert not store.create("b/c.json", b"other")
    assert store.create("b ü/big.tif", tmp_path / "big")
    assert not store.create("b ü/big.tif", tmp_path / "big")
    assert store.compare_and_swap("b/c.json", b"new", b"{}")
    assert not store.compare_and_swap("b/c.json", b"newer", b"{}")
    assert not store.compare_and_swap("none", b"newer", b"")
    store.replace("index", b"1")
    assert (store.read("b/c.json"), store.read("b ü/big.tif")) == (b"new", big)
    assert store.exists("b/c.json")
    assert not store.exists("b")
    sizes = [("b ü/big.tif", len(big)), ("b/c.json", 3), ("index", 1)]
    assert [(entry.path, entry.size) for entry in store.list_objects()] == sizes
    assert paths(open_store(f"{store.root}/b")) == ["c.json"]
    with pytest.raises(CatalogError, match="none is no file"):
        store.read("none")


def test_a_wrong_secret_is_refused_and_not_repeated(store, server):
    with environment_of(ObjectStore(server.endpoint, server.access_key, "canary-secret")):
        with pytest.raises(InputError, match=r"SignatureDoesNotMatch \(403\): it does not take these cred") as caught:
            store.read("a")
        assert "canary" not in repr(caught.value)
        with pytest.raises(InputError, match=r"403"):
            store.exists("a")


def test_a_presigned_url_is_read_by_anyone(store):
    store.create("ä b/c", b"content")
    url = presign_href(store.href("ä b/c"), seconds=60)
    with urlopen(url) as answer:
        assert answer.read() == b"content"
    with pytest.raises(HTTPError, match="403"):
        urlopen(url.replace("X-Amz-Expires=60", "X-Amz-Expires=61"))


def test_no_such_bucket(store):
    with pytest.raises(InputError, match="there is no bucket 'no-such-bucket'"):
        open_store("s3://no-such-bucket/x").read("y")


def test_a_catalogue_is_published_and_gdal_reads_it(store, tmp_path):
    raster = known_raster(tmp_path)
    create_skeleton(store, title="Test")
    assert raster.publish(open_catalog(store.root)) == PublishOutcome.NEW
    assert raster.publish(open_catalog(store.root)) == PublishOutcome.DONE
    refresh(store, "sm-1km-daily")
    [item] = open_catalog(store.root).items("sm-1km-daily")
    href = item.assets["sm"].get_absolute_href()
    for name in (href, href.replace("s3://", "/vsis3/")):
        with gdal_env(href), rasterio.open(name) as file:
            found = file.read(1, masked=True).filled(np.nan)
        np.testing.assert_array_equal(found, raster.values)


@pytest.mark.parametrize("reader", READERS)
def test_a_cube_from_swift_is_that_from_the_folder(store, reader):
    project, _, _ = shared_project()
    there = project.folder
    for file in sorted(there.rglob("*")):
        if file.is_file() and ".scratch" not in file.parts:
            store.create(file.relative_to(there).as_posix(), file)
    cube = feature_cube(open_catalog(store.root), RECIPE, TILE, DAYS, grid=SMALL, reader=reader)
    known = feature_cube(project.catalog, RECIPE, TILE, DAYS, grid=SMALL, reader=reader)
    for name in known.data_vars:
        np.testing.assert_array_equal(cube[name].values, known[name].values, err_msg=name)
