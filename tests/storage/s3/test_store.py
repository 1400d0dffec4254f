"""What is particular to S3: lost answers, servers that keep no conditions, errors without secrets, GDAL's access."""

from __future__ import annotations

import os
import re
import secrets
import signal
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from multiprocessing import get_context
from operator import methodcaller
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

import boto3
import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
from pystac.stac_io import DefaultStacIO

from stac_sm.core.errors import CatalogError, InputError
from stac_sm.raster.read import read_window
from stac_sm.raster.readers import READERS
from stac_sm.raster.source import raster_source
from stac_sm.stac.catalogs.catalog import create_skeleton, open_catalog
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import PublishOutcome
from stac_sm.storage.s3 import objects, session
from stac_sm.storage.s3.session import gdal_env, gdal_options, presign_href, requests_made
from stac_sm.storage.store import open_store
from tests.support.object_stores import (
    FaultyProxy,
    ObjectStore,
    environment_of,
    local_certificate,
    moto_server,
    new_bucket,
    sometimes,
)  # fmt: skip
from tests.support.racing import killed_at
from tests.support.rasters import known_raster

BIG = os.urandom(1 << 20) * 12
BUCKET = "s3-store-tests"


@pytest.fixture(scope="module")
def server():
    new_bucket(moto_server(), BUCKET)
    return moto_server()


@pytest.fixture(autouse=True)
def _environment(server):
    with environment_of(server):
        yield


@pytest.fixture
def root():
    return f"s3://{BUCKET}/{secrets.token_hex(4)}"


@pytest.fixture
def store(root):
    store = open_store(root)
    assert store.capabilities().exclusive
    return store


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(objects, "PART_BYTES", 5 << 20)  # S3 takes no smaller ones


def paths(store):
    return [entry.path for entry in store.list_objects()]


def uploads():
    return boto3.session.Session().client("s3").list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])


class Script:
    """A rule that gives its faults to the first requests of a method on a key."""

    def __init__(self, method, key, *faults):
        self.method, self.key, self.faults = method, key, list(faults)

    def __call__(self, method, path):
        if method == self.method and self.key in path and self.faults:
            return self.faults.pop(0)
        return "ok"


def test_roots():
    assert open_store("s3://bucket/a/b/").root == "s3://bucket/a/b"
    assert open_store("s3://bucket").href("x/y") == open_store("s3://bucket/").href("x/y") == "s3://bucket/x/y"
    for wrong in ("s3://", "s3:///x", "s3://Upper/x", "s3://bu_cket", "s3://user:key@host/x", "s3://bucket/a/../b"):
        with pytest.raises(
            InputError, match=r"names no bucket: give s3://BUCKET/PREFIX|only paths below the root"
        ) as no:
            open_store(wrong)
        assert "key" not in str(no.value)


@pytest.mark.parametrize("path", ["a" * 1025, "\ud800"])
def test_what_is_no_key(store, path):
    with pytest.raises(InputError, match="no key of S3: at most 1024 bytes of UTF-8"):
        store.create(path, b"")


def test_opening_asks_for_nothing():
    with environment_of(ObjectStore("http://127.0.0.1:1")):
        before = requests_made()
        open_store(f"s3://{BUCKET}/x").href("y")
        assert requests_made() == before


def test_listing_asks_once_for_a_thousand(store):
    wanted = [f"a/{n:04}" for n in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: store.replace(path, path.encode()), reversed(wanted)))
    before = requests_made()["list_objects_v2"]
    assert paths(store) == wanted
    assert requests_made()["list_objects_v2"] - before == 2


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 2049, 10_000])
def test_a_local_copy_comes_in_parts(store, monkeypatch, size):
    monkeypatch.setattr(objects, "PART_BYTES", 1024)
    content = os.urandom(size)
    store.create("a/large.tif", content)
    before = requests_made()["get_object"]
    with store.local_file("a/large.tif") as file:
        assert file.read_bytes() == content
    assert requests_made()["get_object"] - before == max(1, -(-size // 2048))
    assert not file.exists()
    with pytest.raises(CatalogError, match=r"none\.tif is no file"), store.local_file("none.tif"):
        pass


def test_a_copy_is_of_one_content(store, monkeypatch):
    monkeypatch.setattr(objects, "PART_BYTES", 8)
    store.replace("a.tif", bytes(100))
    plain = objects.get_part

    def replaced_meanwhile(bucket, key, start, condition):
        if start == 32:
            store.replace("a.tif", b"x" * 100)
        return plain(bucket, key, start, condition)

    monkeypatch.setattr(objects, "get_part", replaced_meanwhile)
    with pytest.raises(CatalogError, match="was replaced while it was read"), store.local_file("a.tif"):
        pass


def test_folder_marks_and_what_is_in_the_making_are_not_listed(store):
    store.create("a/x", b"")
    for name in ("a/", "a/.tmp-probe-1", ".tmp-writer.json"):
        objects.write(BUCKET, f"{store.prefix}/{name}", b"")
    assert paths(store) == ["a/x"]


def test_the_probe_leaves_nothing(store):
    assert paths(store) == []
    assert list(objects.pages(BUCKET, store.prefix)) == [[]]
    assert uploads() == []


def test_threads_share_one_client(monkeypatch):
    made = []
    plain = boto3.session.Session
    monkeypatch.setattr(boto3.session, "Session", lambda *arguments: made.append(1) or plain(*arguments))
    monkeypatch.setenv("AWS_PROFILE_OF_THIS_TEST", secrets.token_hex(4))  # any change of AWS_* asks for a new client
    gate = threading.Barrier(8)
    with ThreadPoolExecutor(8) as pool:
        clients = list(pool.map(lambda _: (gate.wait(), session.s3_client())[1], range(8)))
    assert len(made) == 1
    assert len(set(map(id, clients))) == 1


def test_a_large_file_goes_up_in_parts(store, tmp_path, small_parts):
    (tmp_path / "big").write_bytes(BIG)
    (tmp_path / "other").write_bytes(BIG[::-1])
    before = requests_made()
    assert store.create("x.tif", tmp_path / "big")
    assert (requests_made() - before)["upload_part"] == 3
    assert not store.create("x.tif", tmp_path / "other")
    assert store.read("x.tif") == BIG
    assert uploads() == []


@pytest.mark.parametrize(
    ("method", "faults"),
    [("PUT", ["503", "lost"]), ("PUT", ["409"]), ("PUT", ["lost", "409"]), ("GET", ["cut", "503"])],
)
def test_a_lost_answer_to_ones_own_create_is_no_loss(server, store, method, faults):
    script = Script(method, "a.json", *faults)
    with FaultyProxy(server, script) as proxy, environment_of(proxy):
        assert store.create("a.json", b"mine")
        assert store.read("a.json") == b"mine"
        assert not store.create("a.json", b"mine")
    assert not script.faults


def test_a_lost_answer_does_not_make_a_loser_win(server, store):
    store.create("a.json", b"theirs")
    for content in (b"mine", b"theirs"):
        with FaultyProxy(server, Script("PUT", "a.json", "lost")) as proxy, environment_of(proxy):
            assert not store.create("a.json", content)
    assert store.read("a.json") == b"theirs"


@pytest.mark.parametrize("faults", [["409"], ["lost"]])
def test_a_lost_answer_to_ones_own_swap_is_no_loss(server, store, faults):
    store.create("a.json", b"old")
    with FaultyProxy(server, Script("PUT", "a.json", *faults)) as proxy, environment_of(proxy):
        assert store.compare_and_swap("a.json", b"new", b"old")
        assert not store.compare_and_swap("a.json", b"newer", b"old")
    assert store.read("a.json") == b"new"


@pytest.mark.parametrize("faults", [["ok", "409"], ["lost", "ok", "lost"]])
def test_a_lost_answer_to_ones_own_large_upload_is_no_loss(server, store, tmp_path, small_parts, faults):
    (tmp_path / "big").write_bytes(BIG)
    with FaultyProxy(server, Script("POST", "x.tif", *faults)) as proxy, environment_of(proxy):
        assert store.create("x.tif", tmp_path / "big")
    assert not store.create("x.tif", tmp_path / "big")
    assert store.read("x.tif") == BIG


def test_random_faults_change_nothing(server):
    """Twelve writers at once, each with faults of its own: what they see is what a dictionary would hold."""

    def write(seed):
        store = open_store(f"s3://{BUCKET}/random-{seed}")
        for n in range(2):
            assert store.create(f"{n}", b"1")
            assert not store.create(f"{n}", b"2")
            assert store.compare_and_swap(f"{n}", b"3", b"1")
            assert not store.compare_and_swap(f"{n}", b"4", b"1")
            assert store.read(f"{n}") == b"3"
        assert paths(store) == ["0", "1"]

    proxy = FaultyProxy(server, sometimes(7, ("503", "lost", "cut"), 0.15))
    with proxy as faulty, environment_of(faulty), ThreadPoolExecutor(12) as pool:
        open_store(f"s3://{BUCKET}/random").capabilities()
        list(pool.map(write, range(12)))
    assert {fault for _, _, fault in proxy.seen} == {"ok", "503", "lost", "cut"}


def create_killed_at(number, after, root, file):
    """Create a large file in a process that dies at its n-th request, just before or just after the server has it."""
    send, sent = session._send, count(1)

    def dying(*arguments):
        now = next(sent) == number
        if now and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = send(*arguments)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    session._send = dying
    open_store(root).create("a/x.tif", file)


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_request_an_object_is_whole_or_absent(store, tmp_path, small_parts, after):
    (tmp_path / "big").write_bytes(BIG)
    seen = set()
    for number in count(1):
        root = f"{store.root}/{number}"
        died = killed_at(0, "/none", create_killed_at, number, after, root, tmp_path / "big")
        found = [open_store(root).read(path) for path in paths(open_store(root))]
        assert found in ([], [BIG])
        seen.add(len(found))
        if not died:
            break
        assert open_store(root).create("a/x.tif", tmp_path / "big") == (not found)
        assert open_store(root).read("a/x.tif") == BIG
    assert seen == {0, 1}
    assert number == 6  # begin, three parts, join


CANARIES = ("AKIDCANARY00000000", "secret-canary-000000", "token-canary-00000000")


@pytest.fixture
def canaries(monkeypatch):
    for name, value in zip(("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"), CANARIES, strict=True):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr(session, "ATTEMPTS", 2)


def said_by(error):
    """All that a log could hold of an error; no secret is in it."""
    text = "".join(traceback.format_exception(error)) + repr(error)
    assert not [canary for canary in CANARIES if canary in text]
    return str(error)


@pytest.mark.parametrize(
    ("fault", "wanted", "message"),
    [
        ("denied", InputError, r"AccessDenied \(403\): access is denied: allow s3:GetObject"),
        ("expired", InputError, r"ExpiredToken \(400\): the credentials have expired: renew them and run again"),
        (
            "301",
            InputError,
            r"PermanentRedirect \(301\): bucket 's3-store-tests' is in region eu-central-1, not us-east-1: set",
        ),
        ("loop", InputError, r"redirects without an end: check AWS_ENDPOINT_URL_S3 and AWS_REGION"),
        ("501", InputError, r"NotImplemented \(501\): the request is not possible there"),
        ("503", CatalogError, r"SlowDown \(503\) after 2 attempts: try again later"),
        ("lost", CatalogError, r"cannot be reached or breaks off \(ConnectionClosedError\) after 2 attempts"),
        ("cut", CatalogError, r"cannot be reached or breaks off \(\w+\) after 2 attempts"),
    ],
)
def test_errors_name_the_object_and_no_secret(server, store, canaries, monkeypatch, fault, wanted, message):
    store.create("a.json", b"some content")
    with FaultyProxy(server, lambda *_: fault) as proxy, environment_of(proxy):
        for name, value in zip(("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"), CANARIES, strict=True):
            monkeypatch.setenv(f"AWS_{name}", value)
        with pytest.raises(wanted, match=message) as caught:
            store.read("a.json")
        assert said_by(caught.value).startswith(f"{store.root}/a.json: ")


def test_no_such_bucket(canaries):
    store = open_store("s3://no-such-bucket-here/x")
    for act in (lambda: store.read("y"), lambda: store.create("y", b""), lambda: list(store.list_objects())):
        with pytest.raises(InputError, match="there is no bucket 'no-such-bucket-here': create it, or check") as caught:
            act()
        assert said_by(caught.value).startswith("s3://no-such-bucket-here")


def test_no_credentials(store, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for act in (lambda: store.read("a"), lambda: gdal_options(store.href("a"))):
        with pytest.raises(
            InputError, match=r"/a: no usable credentials \(NoCredentialsError\): log in, set AWS_PROFILE"
        ):
            act()
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(InputError, match=r"no usable credentials \(ProfileNotFound\)"):
        store.read("a")


def test_unreachable(store, canaries, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://user:{CANARIES[1]}@127.0.0.1:1")
    with pytest.raises(
        CatalogError, match=r"http://127.0.0.1:1 cannot be reached .*check AWS_ENDPOINT_URL_S3"
    ) as caught:
        store.read("a")
    said_by(caught.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"nonsense {CANARIES[1]}")
    with pytest.raises(InputError, match=r"the endpoint for S3 is no URL: AWS_ENDPOINT_URL_S3") as caught:
        store.read("a")
    said_by(caught.value)


def test_expired_credentials_are_fetched_anew(server, store, tmp_path, monkeypatch):
    store.create("a", b"content")
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = OLD\naws_secret_access_key = x\n")

    def expired(method, path):
        if "OLD" not in file.read_text():
            return "ok"
        file.write_text("[default]\naws_access_key_id = NEW\naws_secret_access_key = x\n")
        return "expired"

    with FaultyProxy(server, expired) as proxy, environment_of(proxy):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
        assert gdal_options(store.href("a"))["AWS_ACCESS_KEY_ID"] == "OLD"
        assert store.read("a") == b"content"
        assert gdal_options(store.href("a"))["AWS_ACCESS_KEY_ID"] == "NEW"


def test_a_presigned_url_is_read_by_anyone(server, store, tmp_path, monkeypatch):
    store.create("ä b/c", b"content")
    url = presign_href(store.href("ä b/c"), seconds=60)
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in url
    with urlopen(url) as answer:
        assert answer.read() == b"content"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(InputError, match="no usable credentials"):
        presign_href(store.href("a"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name in ("FIRST", "SECOND"):
        (tmp_path / "credentials").write_text(f"[default]\naws_access_key_id = {name}\naws_secret_access_key = x\n")
        assert "FIRST" in presign_href(store.href("a"))
    assert "SECOND" in presign_href(store.href("a"), renewed=True)


def careless(server):
    """A server that ignores conditions, as rclone and s3rver do."""
    return FaultyProxy(server, without=("if-none-match", "if-match"))


def create(root, path, content):
    return open_store(root).create(path, content)


def test_a_careless_server_is_found_out(server, root):
    with careless(server) as proxy, environment_of(proxy):
        probe = open_store(root).capabilities()
    assert not probe.exclusive
    assert (probe.creates_once, probe.joins_once, probe.swaps, probe.wins_once) == (False,) * 4
    assert probe.lacks.startswith("exclusive creation, exclusive creation in parts, compare-and-swap, creation that is")


def test_a_server_without_conditions_is_found_out(server, root):
    def rule(method, path):
        return "501" if method == "PUT" and "uploadId" not in path else "ok"

    with FaultyProxy(server, rule) as proxy, environment_of(proxy):
        probe = open_store(root).capabilities()
    assert not probe.creates_once
    assert not probe.swaps


def test_amazon_is_not_probed(monkeypatch, root):
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    before = requests_made()
    assert open_store(root).capabilities().exclusive
    assert requests_made() == before


@pytest.fixture
def careless_store(server, root):
    with careless(server) as proxy, environment_of(proxy):
        yield open_store(root)


def test_on_a_careless_server_one_process_writes(careless_store):
    store = careless_store
    assert store.create("a", b"1")
    assert not store.create("a", b"2")
    assert store.compare_and_swap("a", b"3", b"1")
    assert not store.compare_and_swap("a", b"4", b"1")
    store.replace("b", b"5")
    assert [store.read(path) for path in paths(store)] == [b"3", b"5"]


def test_on_a_careless_server_threads_take_turns(careless_store):
    store = careless_store
    store.create("counter", b"0")

    def add(number):
        won = store.create("same", b"%d" % number)
        while not store.compare_and_swap("counter", b"%d" % (int(before := store.read("counter")) + 1), before):
            pass
        return won

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(add, range(8))).count(True) == 1
    assert store.read("counter") == b"8"


def test_on_a_careless_server_a_worker_process_reads_and_never_writes(careless_store):
    store = careless_store
    store.create("a", b"1")
    with get_context("spawn").Pool(1) as pool:
        assert pool.apply(methodcaller("read", "a"), (store,)) == b"1"
        for write in (
            methodcaller("create", "b", b"2"),
            methodcaller("compare_and_swap", "a", b"2", b"1"),
            methodcaller("replace", "a", b"2"),
        ):
            with pytest.raises(
                InputError, match=r"lacks exclusive creation.* so only one process may write there; this"
            ):
                pool.apply(write, (store,))
    assert [store.read(path) for path in paths(store)] == [b"1"]


@pytest.mark.parametrize("encoding", ["aws-chunked", "", "aws-chunked,aws-chunked", "aws-chunked, identity"])
@pytest.mark.parametrize("reader", READERS)
def test_pixels_from_a_store_that_keeps_how_they_were_sent(server, both, encoding, reader):
    """NooBaa, versitygw, S3Mock and some versions of Ceph keep ``Content-Encoding: aws-chunked`` with an object."""
    raster, bucket, _ = both
    with FaultyProxy(server, encoding=encoding) as proxy, environment_of(proxy):
        [item] = open_catalog(bucket.root).items("sm-1km-daily")
        values = read_window(raster_source(item, "sm"), WHOLE, reader)
        gdal = saved_by_gdal(item.assets["sm"].get_absolute_href())
    np.testing.assert_array_equal(values, raster.values)
    np.testing.assert_array_equal(gdal, raster.values)


WHOLE = (slice(0, 40), slice(0, 60))


def saved_by_gdal(href):
    """What GDAL reads from S3 by itself: as users of gdal_env do."""
    with gdal_env(href), rasterio.open(href) as file:
        return file.read(1, masked=True).filled(np.nan)


def test_by_https_nothing_is_sent_in_an_encoding_that_the_store_could_keep(server, root, tmp_path, small_parts):
    (tmp_path / "big").write_bytes(BIG)
    proxy = FaultyProxy(server, certificate=local_certificate(tmp_path))
    with proxy as store, environment_of(store), pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
        store = open_store(root)
        assert store.create("a.json", b"{}")
        assert store.create("big.tif", tmp_path / "big")
        assert store.compare_and_swap("a.json", b"[]", b"{}")
        store.replace("b.json", b"1")
        assert (store.read("a.json"), store.read("big.tif"), store.read("b.json")) == (b"[]", BIG, b"1")
    sent = [one for one in proxy.headers if int(one.get("content-length") or 0) > 0]
    assert len(sent) > 6
    assert not [one for one in proxy.headers if "content-encoding" in one or "x-amz-trailer" in one]
    for one in sent:  # the signature holds the bytes, so that the store sees damage on the way
        assert re.fullmatch("[0-9a-f]{64}", one["x-amz-content-sha256"])


def test_amazon_is_sent_checksums_behind_the_content(monkeypatch):
    """It needs one where objects are locked, and does not keep the encoding."""
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    assert session.s3_client().meta.config.request_checksum_calculation == "when_supported"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://store.example.org")
    assert session.s3_client().meta.config.request_checksum_calculation == "when_required"
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")  # the user's own word holds
    assert session.s3_client().meta.config.request_checksum_calculation == "when_supported"


GEOTIFF = "image/tiff; application=geotiff; profile=cloud-optimized"


def test_readers_are_sent_the_media_type_and_how_long_it_stays(store, tmp_path, small_parts):
    (tmp_path / "big").write_bytes(BIG)
    (tmp_path / "small").write_bytes(b"1")
    for path, content in (
        ("c/i/i.123.sm.tif", "big"), ("c/i/i.123.thumbnail.png", "small"), ("c/i/i.123.data.parquet", "small"),
        ("c/i/i.123.model.ubj", "small"), ("c/i/i.123.metrics.json", "small"), ("c/i/i.123.report.html", "small"),
    ):  # fmt: skip
        assert store.create(path, tmp_path / content)
    assert store.create("c/i/i.json", b"{}")
    assert store.compare_and_swap("c/i/i.json", b"[]", b"{}")
    assert store.create("c/collection.json", b"{}")
    store.replace("index/c/2020-01.parquet", b"1")
    year, short = "max-age=31536000, immutable", "max-age=60"
    assert {path: headers_of(store, path) for path in paths(store)} == {
        "c/collection.json": ("application/json", short),
        "c/i/i.123.data.parquet": ("application/vnd.apache.parquet", year),
        "c/i/i.123.metrics.json": ("application/json", short),
        "c/i/i.123.model.ubj": ("application/octet-stream", year),
        "c/i/i.123.report.html": ("text/html; charset=utf-8", year),
        "c/i/i.123.sm.tif": (GEOTIFF, year),
        "c/i/i.123.thumbnail.png": ("image/png", year),
        "c/i/i.json": ("application/geo+json", short),
        "index/c/2020-01.parquet": ("application/vnd.apache.parquet", short),
    }


def headers_of(store, path):
    """What anybody is sent with an object, by http."""
    with urlopen(presign_href(store.href(path))) as answer:
        return answer.headers["Content-Type"], answer.headers["Cache-Control"]


class BotoIO(DefaultStacIO):
    """How a stranger reads STAC from S3."""

    def read_text(self, source, *arguments, **keywords):
        bucket, _, key = str(source).removeprefix("s3://").partition("/")
        return boto3.session.Session().client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()


@pytest.fixture
def both(store, tmp_path):
    """One catalogue, in a bucket and in a folder."""
    raster = known_raster(tmp_path)
    catalogs = []
    for place in (store, open_store(tmp_path / "folder")):
        create_skeleton(place, title="Test")
        assert raster.publish(open_catalog(place.root)) == PublishOutcome.NEW
        assert raster.publish(open_catalog(place.root)) == PublishOutcome.DONE
        refresh(place, "sm-1km-daily")
        catalogs.append(open_catalog(place.root))
    return raster, *catalogs


def test_a_catalogue_is_the_same_on_s3_and_on_disk(both):
    raster, bucket, folder = both
    assert {path: bucket.store.read(path) for path in paths(bucket.store)} == {
        path: folder.store.read(path) for path in paths(folder.store)
    }
    found = [[item.to_dict(include_self_link=False) for item in one.items("sm-1km-daily")] for one in (bucket, folder)]
    assert found[0] == found[1]
    [item] = bucket.items("sm-1km-daily")
    assert item.assets["sm"].get_absolute_href().startswith(f"{bucket.root}/{raster.folder}/")


def test_pystac_and_odc_stac_read_it(both):
    raster, bucket, _ = both
    catalog = pystac.Catalog.from_file(f"{bucket.root}/catalog.json", stac_io=BotoIO())
    [item] = catalog.get_items(recursive=True)
    assert item.id == raster.item["id"]
    with gdal_env(bucket.root):
        data = odc.stac.load([item], bands=["sm"]).sm.squeeze().values
    np.testing.assert_array_equal(np.where(data == -9999, np.nan, data), raster.values)


def test_gdal_reads_a_window(both):
    raster, bucket, _ = both
    [item] = bucket.items("sm-1km-daily")
    href = item.assets["sm"].get_absolute_href()
    for name in (href, href.replace("s3://", "/vsis3/")):
        with gdal_env(href, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(name) as file:
            window = file.read(1, window=((3, 20), (5, 30)), masked=True)
            np.testing.assert_array_equal(window.filled(np.nan), raster.values[3:20, 5:30])


def test_gdal_options_of_amazon(monkeypatch):
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    keys = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
    assert set(gdal_options("s3://bucket/x")) == keys
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    found = gdal_options("s3://bucket/x")
    assert (found["AWS_REGION"], found["AWS_SESSION_TOKEN"]) == ("eu-central-1", "token")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    assert gdal_options("s3://bucket/x") == {"AWS_NO_SIGN_REQUEST": "YES", "AWS_REGION": "eu-central-1"}


def test_gdal_options_of_an_endpoint_of_ones_own(monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://store.example.org/s3")
    found = gdal_options("s3://bucket/x")
    assert found["AWS_S3_ENDPOINT"] == "store.example.org/s3"
    assert (found["AWS_HTTPS"], found["AWS_VIRTUAL_HOSTING"]) == ("YES", "FALSE")


@pytest.fixture(params=[403, 404])
def public_bucket(request, tmp_path, monkeypatch):
    """A bucket of which anybody may read objects; nobody may list it, and with 403 what is not there is denied, too."""
    create_skeleton(open_store(tmp_path / "public" / "sm"), title="Public")
    asked = []

    class Bucket(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            place = urlsplit(self.path)
            asked.append(self.path)
            file = tmp_path / unquote(place.path).lstrip("/")
            code = 403 if "list-type" in place.query else 200 if file.is_file() else request.param
            name = "AccessDenied" if code == 403 else "NoSuchKey"
            error = f"<?xml version='1.0'?><Error><Code>{name}</Code><Message>m</Message></Error>".encode()
            content = file.read_bytes() if code == 200 else error
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", '"e"')
            self.send_header("Last-Modified", formatdate(0, usegmt=True))
            self.end_headers()
            self.wfile.write(content if self.command == "GET" else b"")

        def do_HEAD(self):
            self.do_GET()

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    yield request.param, asked
    server.shutdown()
    server.server_close()


def test_a_public_bucket_is_read_without_the_right_to_list_it(public_bucket):
    code, asked = public_bucket
    catalog = open_catalog("s3://public/sm")
    assert "sm-1km-daily" in catalog.collections
    assert not any("list-type" in one for one in asked)
    kind, message = (
        (CatalogError, "is no file: check the path of the catalogue")
        if code == 404
        else (InputError, "s3:ListBucket, without which what is not there is denied")
    )
    with pytest.raises(kind, match=message):
        open_store("s3://public/sm").read("sm-1km-daily/none.json")
