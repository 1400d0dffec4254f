"""The HTTP client: checked addresses, whole answers, one policy; and no other client in the package."""

from __future__ import annotations

import ast
import contextlib
import gzip
import io
import ssl
import threading
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stac_sm.core.errors import CatalogError, GranuleError
from stac_sm.storage.http import client
from stac_sm.storage.http.client import download_bytes, exchange
from stac_sm.storage.http.documents import FileUrl, Web, fetch_file, validators
from stac_sm.storage.retry import AttemptError, FaultKind, RetryPolicy, seconds_of_retry_after
from stac_sm.storage.trust import AddressScope
from tests.support.object_stores import local_certificate

PACKAGE = Path(__file__).parents[3] / "stac_sm"
POLICY = RetryPolicy(attempts=3, first_wait=0.01, timeout=2.0)
CONTENT = bytes(range(256)) * 8


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setenv("STAC_SM_RETRY_FIRST_WAIT", "0.01")
    monkeypatch.setenv("STAC_SM_RETRY_ATTEMPTS", "3")


@contextlib.contextmanager
def serving(answer):
    """A server whose answers (status, headers, body) are given by a function of the request; and its requests."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            length = int(self.headers.get("Content-Length", 0))
            seen.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
            status, headers, body = answer(self.command, self.path, self.headers)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        def do_HEAD(self):
            self.do_GET()

        def do_POST(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()


def download(url, span=None, root=None, at_most=1 << 20):
    into = io.BytesIO()
    return download_bytes(url, into, span=span, at_most=at_most, root=root, policy=POLICY), into.getvalue()


def failed(url, **options):
    with pytest.raises(AttemptError) as error:
        download(url, **options)
    return error.value


def test_a_file_and_a_span_of_it():
    def answer(_, path, headers):
        if "Range" not in headers:
            return 200, {"ETag": '"1"'}, CONTENT
        return (
            206,
            {"Content-Range": f"bytes 10-19/{len(CONTENT)}", "ETag": 'W/"1"', "Last-Modified": "then"},
            CONTENT[10:20],
        )

    with serving(answer) as (address, seen):
        got, content = download(f"{address}/a?sig=%2Fx%3D")
        assert (got.span, got.total, got.version, content) == ((0, 2048), 2048, '"1"', CONTENT)
        got, content = download(f"{address}/a", span=(10, 20))
        assert (got.span, got.version, content[10:]) == ((10, 20), "then", CONTENT[10:20])
        assert seen[0][1] == "/a?sig=%2Fx%3D"
        assert [headers["Accept-Encoding"] for *_, headers, _ in seen] == ["identity"] * 2


@pytest.mark.parametrize(
    ("status", "headers", "fault"),
    [
        (200, {"Content-Length": "4000"}, FaultKind.BYTES),
        (200, {"Content-Encoding": "gzip"}, FaultKind.BYTES),
        (206, {}, FaultKind.BYTES),
        (206, {"Content-Range": "bytes 0-2047/2048"}, FaultKind.BYTES),
        (206, {"Content-Range": "bytes 10-19/2048"}, FaultKind.BYTES),
        (416, {}, FaultKind.BYTES),
        (404, {}, FaultKind.MISSING),
        (403, {}, FaultKind.CREDENTIALS),
        (503, {"Retry-After": "7"}, FaultKind.BUSY),
        (302, {"Location": "file:///etc/passwd"}, FaultKind.UNTRUSTED),
        (302, {"Location": "http://169.254.169.254/x"}, FaultKind.UNTRUSTED),
        (302, {"Location": "/again"}, FaultKind.REFUSED),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for(status, headers, fault):
    def answer(*_):
        body = CONTENT[:100] if status == 206 else CONTENT
        return status, {**headers, "Connection": "close"}, body

    with serving(answer) as (address, _):
        error = failed(f"{address}/a?sig=s3cr3t", span=(10, 20) if status in {206, 416} else None)
        assert error.fault is fault
        assert error.retry_after == (7.0 if status == 503 else 0.0)
        assert "s3cr3t" not in str(error)
        assert address not in str(error)
        assert error.__cause__ is None


@pytest.mark.parametrize("encoding", ["aws-chunked", "", "AWS-Chunked, identity", "aws-chunked,aws-chunked", ", "])
def test_an_encoding_that_changes_nothing_is_no_encoding(encoding):
    """Of NooBaa, versitygw, S3Mock and Ceph: how an object was sent when it was written, given to each reader."""

    def answer(_, path, headers):
        if "Range" in headers:
            return 206, {"Content-Range": f"bytes 10-19/{len(CONTENT)}", "Content-Encoding": encoding}, CONTENT[10:20]
        return 200, {"Content-Encoding": encoding}, CONTENT

    with serving(answer) as (address, _):
        assert download(f"{address}/a")[1] == CONTENT
        assert download(f"{address}/a", span=(10, 20))[1][10:] == CONTENT[10:20]
        assert Web(address).document(f"{address}/a") == CONTENT


@pytest.mark.parametrize("encoding", ["gzip", "aws-chunked,gzip", "gzip, aws-chunked", ",gzip", "GZIP"])
def test_an_encoding_beside_one_that_changes_nothing_is_undone(encoding):
    with serving(lambda *_: (200, {"Content-Encoding": encoding}, gzip.compress(CONTENT))) as (address, _):
        assert Web(address).document(f"{address}/a") == CONTENT
        assert str(failed(f"{address}/a")).lower().endswith("content encoding gzip, none asked for")


@pytest.mark.parametrize("location", ["höhe 1%.tif", "höhe 1%.tif".encode().decode("latin-1"), "h%C3%B6he%201%25.tif"])
def test_a_redirect_to_an_iri(location):
    """By the standard it is a URI; servers send UTF-8 as it is, which http.client reads as Latin-1."""

    def answer(method, path, *_):
        found = path == "/h%C3%B6he%201%25.tif"
        return (200, {}, CONTENT) if found else (302, {"Location": location}, b"")

    with serving(answer) as (address, _):
        assert download(f"{address}/a")[1] == CONTENT


def test_a_file_larger_than_allowed():
    with serving(lambda *_: (200, {}, CONTENT)) as (address, _):
        assert failed(address, at_most=100).fault is FaultKind.TOO_LARGE


def test_nothing_is_sent_to_an_address_that_is_too_near(monkeypatch):
    """The name of the catalogue is public; the connected socket is not."""
    monkeypatch.setattr(client, "catalog_scope", lambda root: AddressScope.PUBLIC)
    with serving(lambda *_: (200, {}, CONTENT)) as (address, seen):
        error = failed(address.replace("127.0.0.1", "localhost"), root="https://stac.example.com")
        assert error.fault is FaultKind.UNTRUSTED
        assert "a loopback address found, at most a public one allowed" in str(error)
        assert seen == []


def test_never_from_https_to_http():
    with pytest.raises(AttemptError, match="a redirect to a place"):
        client._next_hop("https://host.example/a", "http://host.example/b", None)
    assert client._next_hop("https://host.example/a/b", "../c", None) == "https://host.example/c"


def test_no_server():
    with serving(lambda *_: (200, {}, b"")) as (address, _):
        pass
    assert failed(f"{address}/a").fault is FaultKind.CONNECTION
    assert failed("http://no-such-host.invalid/a").fault is FaultKind.CONNECTION


def test_a_certificate_of_nobody(tmp_path):
    certificate = local_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, pytest.MonkeyPatch.context() as patch:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"https://localhost:{server.server_port}/a"
        for name in client._CA_VARIABLES:
            patch.delenv(name, raising=False)
        assert failed(url).fault is FaultKind.UNTRUSTED
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            with pytest.MonkeyPatch.context() as named:
                named.setenv(name, str(certificate))
                assert download(url)[1] == b"ok"
        server.shutdown()


def test_connections_are_used_again():
    with serving(lambda *_: (200, {}, CONTENT)) as (address, seen):
        for _ in range(5):
            with exchange("GET", address, root=None, policy=POLICY) as response:
                assert b"".join(client.chunks(response, POLICY, unpack=False)) == CONTENT
        pool = client._manager(address, AddressScope.LOOPBACK).connection_from_url(address)
        assert (pool.num_connections, pool.num_requests) == (1, 5)
        assert len(seen) == 5


def test_a_trickle_is_a_stall(monkeypatch):
    slow = replace(POLICY, timeout=0.05, slowest=1e9)
    with (
        serving(lambda *_: (200, {}, CONTENT)) as (address, _),
        exchange("GET", address, root=None, policy=POLICY) as got,
    ):
        parts = client.chunks(got, slow, unpack=False)
        next(parts)
        clock = client.time.monotonic
        monkeypatch.setattr(client.time, "monotonic", lambda: clock() + 10)
        with pytest.raises(AttemptError, match="less than 1e\\+09 bytes a second"):
            next(parts)


def test_documents_are_unpacked_bounded_and_sent_with_the_account_of_their_host(tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password word\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    packed = gzip.compress(b'{"a": "' + b"x" * 10_000 + b'"}')

    def answer(command, path, headers):
        if path == "/moved":
            return 302, {"Location": "/document"}, b""
        return 200, {"Content-Encoding": "gzip"}, packed

    with serving(answer) as (address, seen):
        web = Web(address)
        assert len(web.request(f"{address}/moved").body) > 10_000
        assert {headers["Authorization"] for *_, headers, _ in seen} == {"Basic bWU6d29yZA=="}
        assert web.request(f"{address}/search", json={"limit": 1}).status == 200
        assert (seen[-1][0], seen[-1][3], seen[-1][2]["Content-Type"]) == ("POST", b'{"limit": 1}', "application/json")
        with pytest.raises(CatalogError, match="too large"):
            web.request(f"{address}/document", limit=1000)


def test_files_that_the_user_names_are_asked_for_again():
    calls = []

    def answer(command, path, headers):
        calls.append(command)
        if len(calls) < 3:
            return 503, {"Retry-After": "0"}, b""
        return 200, {"ETag": '"7"', "Last-Modified": "then"}, b"content"

    with serving(answer) as (address, _):
        assert fetch_file(FileUrl(f"{address}/a.vrt")) == b"content"
        assert calls == ["GET"] * 3
        assert validators(FileUrl(f"{address}/a.vrt")) == {"ETag": '"7"', "Content-Length": "7"}
        calls.clear()
    with pytest.raises(GranuleError, match="cannot be had"):
        fetch_file(FileUrl(f"{address}/a.vrt"))


def test_retry_after_is_a_number_or_a_date():
    assert [seconds_of_retry_after(text) for text in (None, "", "7", "soon", "-1")] == [0, 0, 7, 0, 0]
    assert 50 < seconds_of_retry_after(formatdate(client.time.time() + 60)) <= 60
    assert seconds_of_retry_after(formatdate(0)) == 0


def test_there_is_no_other_client():
    """The import contract cannot tell ``urllib.request`` from ``urllib.parse``: this can."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            found |= {
                (str(file.relative_to(PACKAGE)), name.split(".")[0])
                for name in names
                if name.split(".")[0] in {"requests", "urllib3", "httpx", "aiohttp", "obstore"}
                or name.startswith(("http.client", "urllib.request"))
            }
    assert found == {("storage/http/client.py", "urllib3"), ("ingest/providers/era5_zarr.py", "obstore")}


def test_the_log_of_urllib3_holds_no_token(caplog):
    with serving(lambda *_: (200, {}, CONTENT)) as (address, _), caplog.at_level("DEBUG"):
        download(f"{address}/a?sig=s3cr3t")
    assert "/a?…" in caplog.text
    assert "s3cr3t" not in caplog.text
