"""Reading windows: by http and s3 as from a folder, bit for bit; what fails says what and where, and never a token."""

from __future__ import annotations

import errno
import hashlib
import itertools
import logging
import os
import pickle
import time
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import CatalogError, ReadError
from stac_sm.core.projections import crs_wkt
from stac_sm.raster import fetch
from stac_sm.raster import read as reading
from stac_sm.raster import source as header
from stac_sm.raster.fetch import merge_spans
from stac_sm.raster.read import read_window
from stac_sm.raster.readers import READERS
from stac_sm.raster.source import RasterSource
from stac_sm.storage import signing
from stac_sm.storage.retry import REQUEST_COUNTS
from tests.support.faulty_server import FaultyServer
from tests.support.fields import SMALL, TILE

GEOBOX = SMALL.geobox(TILE).zoom_out(0.25)  # 160 x 200
WINDOW = (slice(37, 83), slice(61, 140))
CANARY = "cAnArY"
QUICK = {"ATTEMPTS": "3", "FIRST_WAIT": "0.001", "LONGEST_WAIT": "0.002", "TIMEOUT": "2", "SLOWEST": "1e5"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    for name, value in QUICK.items():
        monkeypatch.setenv(f"STAC_SM_RETRY_{name}", value)


@pytest.fixture
def server(tmp_path):
    with FaultyServer(tmp_path) as started:
        yield started


def noise(dtype="float32", shape=GEOBOX.shape, seed=1):
    """Stored values that do not compress; none of them is nodata."""
    rng = np.random.default_rng(seed)
    return rng.uniform(1, 200, shape).astype(dtype)


def written(file: Path, values=None, **profile) -> np.ndarray:
    values = noise() if values is None else values
    bands = values if values.ndim == 3 else values[None]
    profile = {"driver": "GTiff", "tiled": True, "blockxsize": 32, "blockysize": 48, "compress": "deflate"} | profile
    with rasterio.open(
        file, "w", count=len(bands), dtype=bands.dtype, height=bands.shape[1], width=bands.shape[2],
        crs=crs_wkt(str(GEOBOX.crs)), transform=GEOBOX.affine, nodata=-1, **profile
    ) as opened:  # fmt: skip
        opened.write(bands)
    return values


def source_of(file: Path, href: str | None = None, *, proven: bool = False, **changes) -> RasterSource:
    checksum = "1220" + hashlib.sha256(file.read_bytes()).hexdigest() if proven else ""
    source = RasterSource("IT", "a", href or str(file), GEOBOX, "float32", -1.0, None, None, checksum)
    return replace(source, **changes)


LAYOUTS = {
    "tiles": {},
    "strips": {"tiled": False, "blockxsize": None, "blockysize": 7},
    "one strip": {"tiled": False, "blockxsize": None, "blockysize": 160},
    "BigTIFF": {"BIGTIFF": "YES"},
    "big-endian": {"ENDIANNESS": "BIG"},
    "big-endian BigTIFF": {"ENDIANNESS": "BIG", "BIGTIFF": "YES"},
    "uncompressed": {"compress": None},
    "LZW": {"compress": "lzw", "predictor": 3},
    "ZSTD": {"compress": "zstd"},
    "COG": {"driver": "COG", "tiled": None, "blockxsize": None, "blockysize": None, "BLOCKSIZE": 128},
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_parts_of_every_layout_of_tiff_are_what_the_file_holds(tmp_path, server, monkeypatch, layout, name):
    monkeypatch.setattr(fetch, "_HEADER", 64)  # so that no byte comes by chance
    monkeypatch.setattr(fetch, "_GAP", 0)
    file = tmp_path / "a.tif"
    values = written(file, **LAYOUTS[layout])
    read = read_window(source_of(file, f"{server.address}/a.tif"), WINDOW, name)
    np.testing.assert_array_equal(read, values[WINDOW])
    assert server.sent < file.stat().st_size or layout == "one strip"


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_parts_of_one_band_of_several(tmp_path, server, name, interleave):
    values = np.stack([noise(seed=seed) for seed in range(3)])
    written(tmp_path / "a.tif", values, interleave=interleave)
    source = source_of(tmp_path / "a.tif", f"{server.address}/a.tif", band=2, bands=3)
    np.testing.assert_array_equal(read_window(source, WINDOW, name), values[1][WINDOW])


@pytest.mark.parametrize("name", READERS)
def test_blocks_that_a_file_leaves_out_are_no_data(tmp_path, server, name):
    values = noise()
    values[:96, :96] = -1
    written(tmp_path / "a.tif", values, SPARSE_OK=True)
    read = read_window(source_of(tmp_path / "a.tif", f"{server.address}/a.tif"), WINDOW, name)
    np.testing.assert_array_equal(read, np.where(values == -1, np.nan, values)[WINDOW])


def test_a_large_file_is_read_in_few_small_parts(tmp_path, server):
    """20 MB, one 46 x 79 window: two requests, for the header and for the blocks."""
    geobox = SMALL.geobox(TILE).zoom_out(1 / 50)
    values = noise(shape=geobox.shape)
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="COG", count=1, dtype="float32", height=geobox.shape[0],
        width=geobox.shape[1], crs=crs_wkt(str(geobox.crs)), transform=geobox.affine, nodata=-1, blocksize=256,
    ) as opened:  # fmt: skip
        opened.write(values, 1)
    source = source_of(tmp_path / "a.tif", f"{server.address}/a.tif", proven=True, geobox=geobox)
    np.testing.assert_array_equal(read_window(source, WINDOW, "odc"), values[WINDOW])
    assert server.gets() == {"/a.tif": 2}
    assert server.sent < 600_000 < 8_000_000 < (tmp_path / "a.tif").stat().st_size


def test_a_small_file_with_a_checksum_is_one_request(tmp_path, server):
    values = written(tmp_path / "a.tif")
    source = source_of(tmp_path / "a.tif", f"{server.address}/a.tif", proven=True)
    np.testing.assert_array_equal(read_window(source, WINDOW, "stackstac"), values[WINDOW])
    assert server.gets() == {"/a.tif": 1}


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=12), st.integers(0, 5))
def test_merged_spans_hold_all_bytes_and_none_twice(starts, gap):
    spans = [(start, start + length) for start, length in starts]
    found = merge_spans(spans, gap)
    assert {b for s in spans for b in range(*s)} <= {b for s in found for b in range(*s)}
    assert all(one[1] + gap < other[0] for one, other in itertools.pairwise(found))


HASHES = {"sha1": "1114", "sha256": "1220", "sha512": "1340", "md5": "d50110", "sha3_256": "1620"}


@pytest.mark.parametrize("name", HASHES)
def test_wrong_bytes_are_found_by_every_hash(tmp_path, server, name):
    values = written(tmp_path / "a.tif", compress=None)
    checksum = HASHES[name] + hashlib.new(name, (tmp_path / "a.tif").read_bytes()).hexdigest()
    source = source_of(tmp_path / "a.tif", f"{server.address}/a.tif", checksum=checksum.upper())
    server.faults["/a.tif"] = ["wrong bytes"]
    np.testing.assert_array_equal(read_window(source, WINDOW, "odc"), values[WINDOW])
    server.faults["/a.tif"] = ["wrong bytes"] * 3
    with pytest.raises(ReadError, match=r"bytes: its checksum is not that of the item, after 3 attempts"):
        read_window(source, WINDOW, "odc")


@pytest.mark.parametrize("checksum", ["", "2026-01-01T00:00:00Z", "1220", "1220zz", "9999" + "0" * 64])
def test_what_is_no_known_hash_is_no_checksum(tmp_path, checksum):
    values = written(tmp_path / "a.tif")
    np.testing.assert_array_equal(
        read_window(source_of(tmp_path / "a.tif", checksum=checksum), WINDOW, "odc"), values[WINDOW]
    )


def test_a_file_that_changes_between_two_requests_is_read_anew(tmp_path, server, monkeypatch):
    monkeypatch.setattr(fetch, "_HEADER", 4096)
    file = tmp_path / "a.tif"
    written(file, noise(seed=1), compress=None)
    old = file.read_bytes()
    values = written(file, noise(seed=2), compress=None)
    assert len(old) == file.stat().st_size
    new = file.read_bytes()
    file.write_bytes(old)
    count = server.take

    def replaced(method, path):
        if server.asked["GET", path] == 1:
            file.write_bytes(new)
        return count(method, path)

    server.take = replaced
    read = read_window(source_of(file, f"{server.address}/a.tif"), WINDOW, "odc")
    np.testing.assert_array_equal(read, values[WINDOW])
    assert server.gets()["/a.tif"] > 2


@pytest.mark.parametrize("proven", [True, False])
def test_a_token_that_expired_is_had_anew_once(tmp_path, server, monkeypatch, proven):
    monkeypatch.setattr(fetch, "_HEADER", 4096)
    monkeypatch.setitem(signing._BY_NAME, "faulty", server.sign)
    values = written(tmp_path / "a.tif")
    server.token, server.uses = CANARY, 1
    source = source_of(tmp_path / "a.tif", f"{server.address}/a.tif", proven=proven, sign="faulty")
    for _ in range(2):
        np.testing.assert_array_equal(read_window(source, WINDOW, "odc"), values[WINDOW])
    assert server.renewals >= 2


TELLING = {
    "403": "credentials: HTTP 403", "404": "missing: HTTP 404", "503": "busy: HTTP 503 E503, after 3 attempts",
    "reset": "connection: ", "reset at once": "connection: ", "truncated": "bytes: ", "stall": "timeout: ",
    "wrong bytes": "bytes: its checksum", "400": "refused: HTTP 400", "no length": "bytes: an answer without",
}  # fmt: skip


@pytest.mark.parametrize("fault", TELLING)
def test_no_token_is_told_whatever_fails(tmp_path, server, monkeypatch, caplog, fault):
    caplog.set_level(0)
    monkeypatch.setitem(signing._BY_NAME, "faulty", server.sign)
    written(tmp_path / "a.tif")
    server.token = CANARY
    monkeypatch.setenv("STAC_SM_RETRY_TIMEOUT", "0.2" if fault == "stall" else "2")
    server.faults["/a.tif"] = [fault] * 20
    href = f"{server.address}/a.tif?secret={CANARY}"
    source = source_of(tmp_path / "a.tif", href, proven=True)
    signed = replace(source, href=f"{server.address}/a.tif", sign="faulty") if fault != "403" else source
    with pytest.raises(ReadError) as failure:
        read_window(signed, WINDOW, "stackstac")
    error = failure.value
    for part in ("'IT'", "'a'", f"{server.address}/a.tif", TELLING[fault]):
        assert part in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None
    told = [str(error), repr(error), "".join(traceback.format_exception(error)), str(pickle.loads(pickle.dumps(error)))]
    told += [record.getMessage() for record in caplog.records]
    assert not [text for text in told if CANARY in text]
    assert all(isinstance(one, logging.NullHandler) for one in logging.getLogger("stac_sm").handlers)


def test_no_secret_in_a_text():
    for text in (
        f"https://u:{CANARY}@h/x", f"s3://b/k?X-Amz-Signature={CANARY}&a=1", f"'X-Amz-Security-Token': '{CANARY}'",
        f"Authorization: Bearer {CANARY}", f"authorization=Basic {CANARY}", f"sig={CANARY}", f"token: {CANARY}",
        f"access_token={CANARY}, more",
    ):  # fmt: skip
        assert CANARY not in signing.without_secrets(text), text
    assert signing.without_secrets("block 3, 5 of /data/a.tif: signal 7") == "block 3, 5 of /data/a.tif: signal 7"


def test_a_redirect_is_followed_within_the_same_bounds(tmp_path, server):
    values = written(tmp_path / "a.tif")
    source = source_of(tmp_path / "a.tif", f"{server.address}/old.tif", proven=True)
    server.redirects["/old.tif"] = "/a.tif"
    np.testing.assert_array_equal(read_window(source, WINDOW, "odc"), values[WINDOW])
    for target in ("file:///etc/passwd", "http://169.254.169.254/x", "/vsicurl/x", "ftp://a/b", "gopher://a", ""):
        server.redirects["/old.tif"] = f"http://u:p@127.0.0.1{target}" if target.startswith("/vsi") else target
        with pytest.raises(ReadError, match=r"untrusted: a redirect|more than 5 redirects"):
            read_window(source, WINDOW, "odc")
    server.redirects["/old.tif"] = "/old.tif"
    with pytest.raises(ReadError, match="more than 5 redirects"):
        read_window(source, WINDOW, "odc")


@pytest.mark.parametrize("name", ["localhost.example.com", "127.0.0.1"])
def test_a_public_catalogue_cannot_send_us_to_this_machine(tmp_path, server, monkeypatch, name):
    """Neither by number nor by a name that resolves to it: nothing is asked."""
    import socket

    looked_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: looked_up("127.0.0.1" if "example.com" in host else host, *rest, **more),
    )
    written(tmp_path / "a.tif")
    port = server.address.rpartition(":")[2]
    source = source_of(tmp_path / "a.tif", f"http://{name}:{port}/a.tif")
    source = replace(source, root="https://8.8.8.8/api")
    with pytest.raises((ReadError, CatalogError), match="a loopback address found"):
        read_window(source, WINDOW, "odc")
    assert not server.gets()


@pytest.mark.parametrize("href", ["/etc/passwd", "file:///etc/passwd", "/vsimem/a", "s3://bucket/a.tif", "vrt:///a"])
def test_a_catalogue_on_the_network_reads_no_local_file(tmp_path, href):
    written(tmp_path / "a.tif")
    with pytest.raises(CatalogError, match="is not followed"):
        read_window(replace(source_of(tmp_path / "a.tif", href), root="https://stac.example.com/api"), WINDOW, "odc")


@pytest.mark.parametrize("name", READERS)
def test_a_reader_that_makes_up_nodata_is_found_out(tmp_path, monkeypatch, name):
    """odc-stac 0.5.3 was seen to give nothing but nodata, without an error, where the file has values."""
    file, shape = tmp_path / "a.tif", tuple(side.stop - side.start for side in WINDOW)
    written(file)
    monkeypatch.setitem(READERS, name, lambda source, window: np.full(shape, np.float32(-1)))
    with pytest.raises(ReadError, match=f"{name} gave nodata only, the file has values"):
        read_window(source_of(file, str(file)), WINDOW, name)
    written(file, np.full(GEOBOX.shape, -1, np.float32))
    assert np.isnan(read_window(source_of(file, str(file)), WINDOW, name)).all()


VRT = """<VRTDataset rasterXSize="200" rasterYSize="160"><VRTRasterBand dataType="Float32" band="1"><SimpleSource>
<SourceFilename>{}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""


@pytest.mark.parametrize("remote", [True, False])
@pytest.mark.parametrize("proven", [True, False])
def test_only_tiffs_are_opened(tmp_path, server, remote, proven):
    """A VRT that is called .tif would read any file of this machine."""
    written(tmp_path / "secret.tif")
    file = tmp_path / "a.tif"
    file.write_text(VRT.format(tmp_path / "secret.tif"))
    source = source_of(file, f"{server.address}/a.tif" if remote else None, proven=proven)
    for name in READERS:
        with pytest.raises(ReadError, match="no TIFF"):
            read_window(source, WINDOW, name)


@pytest.mark.parametrize("magic", [b"II*\0", b"II+\0", b"MM\0*", b"MM\0+"])
def test_a_vrt_behind_the_magic_of_a_tiff_stays_a_tiff(tmp_path, magic):
    written(tmp_path / "secret.tif")
    file = tmp_path / "a.tif"
    file.write_bytes(magic + b"\0\0\0\x08" + VRT.format(tmp_path / "secret.tif").encode())
    for name in READERS:
        with pytest.raises(ReadError):
            read_window(source_of(file), WINDOW, name)
    with pytest.raises(rasterio.errors.RasterioIOError), rasterio.open(file):
        pass


@pytest.mark.alone
def test_a_huge_window_is_refused_before_anything_is_asked(tmp_path, server):
    written(tmp_path / "a.tif")
    geobox = replace_shape(GEOBOX, (10**6, 10**6))
    source = source_of(tmp_path / "a.tif", f"{server.address}/a.tif", geobox=geobox)
    start = time.monotonic()
    with pytest.raises(CatalogError, match="a window of 1000000000000 pixels of .* is too large, at most 268435456"):
        read_window(source, (slice(0, 10**6), slice(0, 10**6)), "odc")
    assert time.monotonic() - start < 1
    assert not server.gets()


def replace_shape(geobox, shape):
    from odc.geo.geobox import GeoBox

    return GeoBox(shape, geobox.affine, geobox.crs)


@pytest.mark.parametrize("remote", [True, False])
def test_a_block_that_explodes_is_refused(tmp_path, server, remote):
    """A file of 10 kB whose one block holds 1.6 GB."""
    file = tmp_path / "a.tif"
    geobox = replace_shape(GEOBOX, (20_000, 20_000))
    with rasterio.open(
        file, "w", driver="GTiff", count=1, dtype="float32", height=20_000, width=20_000, nodata=-1, compress="deflate",
        crs=crs_wkt(str(geobox.crs)), transform=geobox.affine, tiled=True, blockxsize=20_000 // 16 * 16,
        blockysize=20_000 // 16 * 16, SPARSE_OK=True,
    ):  # fmt: skip
        pass
    source = source_of(file, f"{server.address}/a.tif" if remote else None, geobox=geobox)
    for name in READERS:
        with pytest.raises(CatalogError, match="blocks of 1600000000 bytes"):
            read_window(source, (slice(0, 10), slice(0, 10)), name)


def test_a_header_in_a_circle_or_out_of_bounds_is_refused(tmp_path, server):
    for content in (
        b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0" + bytes(100),  # the next directory is this one
        b"II*\0\xf0\xff\xff\x7f" + bytes(100),
        b"II*\0\x08\0\0\0" + b"\xff\xff" + bytes(100_000),
        b"II*\0\x08\0\0\0\x01\0" + b"\x11\x01\x04\0\xff\xff\xff\xff\x08\0\0\0" + bytes(100),
        b"II*\0",
        b"",
    ):
        file = tmp_path / "a.tif"
        file.write_bytes(content)
        with pytest.raises(ReadError):
            read_window(source_of(file, f"{server.address}/a.tif"), WINDOW, "odc")


def test_item_and_file_are_compared_once_for_all_windows(tmp_path, server, monkeypatch):
    asked = []
    compared = header.complete_from_header
    monkeypatch.setattr(reading, "complete_from_header", lambda *args: asked.append(args) or compared(*args))
    file = tmp_path / "a.tif"
    written(file)
    for source in (source_of(file, f"{server.address}/a.tif"), source_of(file)):
        asked.clear()
        for window in (WINDOW, (slice(0, 5), slice(0, 5)), (slice(100, 120), slice(3, 9))):
            read_window(source, window, "odc")
        assert len(asked) == 1
    before = file.stat().st_mtime_ns
    written(file, noise(seed=3))
    os.utime(file, ns=(before + 1, before + 1))
    read_window(source_of(file), WINDOW, "odc")
    assert len(asked) == 2


def test_item_and_header_of_a_projection_without_a_code_must_agree(tmp_path):
    values = noise()
    file = tmp_path / "a.tif"
    with rasterio.open(
        file, "w", driver="GTiff", count=1, dtype="float32", height=160, width=200, transform=GEOBOX.affine,
        crs="+proj=sinu +R=6370997 +lon_0=0", nodata=-1,
    ) as opened:  # fmt: skip
        opened.write(values, 1)
    with pytest.raises(CatalogError, match="projection Sinusoidal on a semi-major axis of 6371007.181 m"):
        read_window(source_of(file), WINDOW, "odc")


class Flickering:
    """A file system that fails twice, as NFS does."""

    def __init__(self, number):
        self.number, self.left, self.open = number, 2, Path.open

    def __call__(self, path, *args, **options):
        if self.left and path.suffix == ".tif":
            self.left -= 1
            raise OSError(self.number, "canary")
        return self.open(path, *args, **options)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EAGAIN])
def test_a_file_system_that_fails_for_a_while_is_asked_again(tmp_path, monkeypatch, number):
    values = written(tmp_path / "a.tif")
    source = source_of(tmp_path / "a.tif")
    before = REQUEST_COUNTS.snapshot()["retries"].get("storage", 0)
    flickering = Flickering(number)
    monkeypatch.setattr(Path, "open", lambda path, *args, **options: flickering(path, *args, **options))
    np.testing.assert_array_equal(read_window(source, WINDOW, "odc"), values[WINDOW])
    assert REQUEST_COUNTS.snapshot()["retries"]["storage"] == before + 2


def test_a_local_file_that_is_missing_or_damaged_is_not_tried_again(tmp_path):
    written(tmp_path / "a.tif")
    source = source_of(tmp_path / "a.tif", proven=True)
    before = sum(REQUEST_COUNTS.retries.values())
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:-9])
    with pytest.raises(ReadError, match="damaged: its checksum is not that of the item"):
        read_window(source, WINDOW, "odc")
    (tmp_path / "a.tif").unlink()
    with pytest.raises(ReadError, match="missing: No such file or directory"):
        read_window(source, WINDOW, "odc")
    assert sum(REQUEST_COUNTS.retries.values()) == before


def test_no_temporary_file_stays(tmp_path, server, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    written(tmp_path / "a.tif")
    for proven in (True, False):
        read_window(source_of(tmp_path / "a.tif", f"{server.address}/a.tif", proven=proven), WINDOW, "odc")
        with pytest.raises(ReadError):
            read_window(source_of(tmp_path / "a.tif", f"{server.address}/b.tif", proven=proven), WINDOW, "odc")
    assert not list((tmp_path / "temporary").iterdir())
