"""The one client for http and https, on urllib3: documents, byte ranges and whole files are all read through it.

`exchange` sends one request and follows redirects. Each hop is checked twice: its address as an href of the catalogue
that led there (`stac_sm.storage.trust`), and the connected socket by the IP address that it has reached, before
anything is sent. Errors of the network, of TLS and of statuses become `AttemptError`, which `stac_sm.storage.retry`
decides on; no message holds a URL, which may hold a token.

Not read through it: S3 (boto3), Zarr stores (obstore, in the Zarr reader), GeoTIFF tiles of SoilGrids on the web
(GDAL, in ``stac_sm.ingest.formats.geotiff``), and the tokens of the Planetary Computer, whose package has a session of
its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from netrc import NetrcParseError, netrc
from typing import IO, Any, Protocol
from urllib.parse import unquote, urlsplit

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    DecodeError,
    HTTPError,
    IncompleteRead,
    InvalidChunkLength,
    LocationValueError,
    NewConnectionError,
    TimeoutError,
)
from urllib3.response import BaseHTTPResponse

from stac_sm.core.errors import CatalogError
from stac_sm.storage.address import resolve_href
from stac_sm.storage.http.proxy import proxy_of
from stac_sm.storage.retry import (
    REQUEST_COUNTS,
    AttemptError,
    FaultKind,
    RetryPolicy,
    fault_of,
    fault_of_status,
    seconds_of_retry_after,
)
from stac_sm.storage.signing import without_secrets
from stac_sm.storage.trust import AddressScope, catalog_scope, check_address, check_href

MAX_REDIRECTS = 5
"""Redirects that are followed."""

CONNECTIONS_KEPT = 32
"""Connections that are kept for a host."""

_MOVED = {301, 302, 303, 307, 308}
_IDENTITY = {"", "identity", "aws-chunked"}
_CHUNK = 1 << 18
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_CODE = re.compile(rb"<Code>(\w+)</Code>")

Answer = BaseHTTPResponse
"""An answer of a server whose body is read by `chunks`; its headers have names in any case."""

Span = tuple[int, int]
"""First byte, and the first byte after."""


@dataclass(frozen=True)
class ReceivedBytes:
    """What a request brought."""

    span: Span
    """Bytes of the file that came."""

    total: int
    """Size of the whole file."""

    version: str
    """Its ETag, if it is a strong one, else its time of change; empty if the server says neither."""


class Visitor(Protocol):
    """Who asks: the account and the cookies of a login that sends a request from host to host."""

    def headers(self, url: str) -> Mapping[str, str]:
        """Return the headers for one address, asked for before each hop: none may go to a host that it is not for.

        Parameters
        ----------
        url
            Of the next hop.

        Returns
        -------
        dict of str to str
            Name to value.
        """

    def remember(self, url: str, cookies: Sequence[str]) -> None:
        """Keep what an address has set by ``Set-Cookie``.

        Parameters
        ----------
        url
            Of the hop that answered.
        cookies
            Values of the headers.
        """


def scope_of(root: str | None) -> AddressScope:
    """Return how near to this machine an address may be that a catalogue leads to.

    Parameters
    ----------
    root
        Where the catalogue is; None stands for the user's own settings, which may name any address.

    Returns
    -------
    AddressScope
        The nearest that is allowed.
    """
    return AddressScope.LOOPBACK if root is None else min(catalog_scope(root), AddressScope.LOOPBACK)


@contextlib.contextmanager
def exchange(
    method: str,
    url: str,
    *,
    root: str | None,
    policy: RetryPolicy,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    with_account: bool = False,
    visitor: Visitor | None = None,
) -> Iterator[BaseHTTPResponse]:
    """Send a request, follow redirects, and yield the answer, whose body is not read yet.

    Parameters
    ----------
    method
        ``GET``, ``HEAD`` or ``POST``.
    url
        Of http or https; may hold a token.
    root
        Where the catalogue is that led here; None: the address was given by the user's own settings.
    policy
        Time limits.
    headers
        Further headers.
    body
        Content to send; it is not sent again after a redirect that turns a request into GET.
    with_account
        Whether to send the account that ``.netrc`` has for a host; looked up for each hop, so none goes elsewhere.
    visitor
        Whose headers go with each hop; None: nobody's.

    Yields
    ------
    urllib3.response.BaseHTTPResponse
        With any status but that of a redirect that was followed; closed when the context ends.

    Raises
    ------
    AttemptError
        Whatever goes wrong; without any part of the URL. Statuses other than redirects are the caller's.
    """
    scope = scope_of(root)
    for _ in range(MAX_REDIRECTS + 1):
        account = account_header(urlsplit(url).hostname or "") if with_account else {}
        if visitor is not None:
            account |= visitor.headers(url)
        response = _sent(method, url, {"User-Agent": "stac_sm", **(headers or {}), **account}, body, scope, policy)
        try:
            if visitor is not None:
                visitor.remember(url, response.headers.getlist("Set-Cookie"))
            target = response.headers.get("Location")
            if response.status not in _MOVED or target is None:
                _drop_identity(response)
                yield response
                return
            url = _next_hop(url, target, root)
            if response.status not in {307, 308} and method == "POST":
                method, body = "GET", None
        finally:
            response.close()  # goes back to the pool by itself where all was read
    raise AttemptError(FaultKind.REFUSED, f"more than {MAX_REDIRECTS} redirects")


def _sent(
    method: str, url: str, headers: Mapping[str, str], body: bytes | None, scope: AddressScope, policy: RetryPolicy
) -> BaseHTTPResponse:
    with network_errors():
        REQUEST_COUNTS.request()
        return _manager(url, scope).urlopen(
            method, url, headers=dict(headers), body=body, preload_content=False, decode_content=False, redirect=False,
            retries=False, timeout=urllib3.Timeout(connect=policy.timeout, read=policy.timeout),
        )  # fmt: skip


def _drop_identity(response: BaseHTTPResponse) -> None:
    """Leave in ``Content-Encoding`` only what changes the content.

    ``aws-chunked`` says how an object was sent when it was written. NooBaa, versitygw, S3Mock and some versions of Ceph
    keep it with the object and repeat it to each reader, alone or before other encodings; others send it empty.
    """
    found = response.headers.get("Content-Encoding")
    if found is None:
        return
    encodings = [one for one in (part.strip() for part in found.split(",")) if one.lower() not in _IDENTITY]
    del response.headers["Content-Encoding"]
    if encodings:
        response.headers["Content-Encoding"] = ", ".join(encodings)


def account_header(host: str) -> dict[str, str]:
    """Return the header that sends the account of ``.netrc``.

    Parameters
    ----------
    host
        Name of the host, without port.

    Returns
    -------
    dict of str to str
        ``Authorization`` for Basic authentication; empty where ``.netrc`` has no account for the host or
        cannot be read.
    """
    try:
        found = netrc(os.environ.get("NETRC") or None).authenticators(host)
    except (OSError, NetrcParseError):
        return {}
    if found is None:
        return {}
    return {"Authorization": f"Basic {b64encode(f'{found[0]}:{found[2]}'.encode()).decode()}"}


def _next_hop(url: str, target: str, root: str | None) -> str:
    """Return where a redirect leads, checked as an href of the catalogue; never from https to http."""
    detail = "a redirect to a place where this catalogue may not send us"
    try:
        target = check_href(resolve_href(_as_text(target), url), root or "")
        if urlsplit(target).scheme == "https" or urlsplit(url).scheme == urlsplit(target).scheme == "http":
            return target
    except CatalogError as error:
        detail = f"a redirect: {error}"  # the error shows no query and no user
    except ValueError:
        detail = "a redirect to what is no URL"
    raise AttemptError(FaultKind.UNTRUSTED, detail)


def _as_text(header: str) -> str:
    """Return a header whose UTF-8 was read as Latin-1, as http.client reads all headers."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def chunks(response: BaseHTTPResponse, policy: RetryPolicy, *, unpack: bool) -> Iterator[bytes]:
    """Yield the content of an answer as it comes. One that ends early, or comes too slowly, is a failed attempt.

    Parameters
    ----------
    response
        As `exchange` yields it.
    policy
        Least number of bytes a second, after its time limit.
    unpack
        Whether to undo the ``Content-Encoding`` of the answer.

    Yields
    ------
    bytes
        At most 256 KiB, never empty.

    Raises
    ------
    AttemptError
        If the connection breaks, less comes than was announced, or too little in time.
    """
    began, count = time.monotonic(), 0
    while True:
        with network_errors():
            chunk = response.read1(_CHUNK, decode_content=unpack)
        if not chunk:
            return
        count += len(chunk)
        yield chunk
        seconds = time.monotonic() - began
        if seconds > policy.timeout and count < seconds * policy.slowest:
            raise AttemptError(FaultKind.TIMEOUT, f"less than {policy.slowest:g} bytes a second")


def refused(response: BaseHTTPResponse) -> AttemptError:
    """Return the error of an answer whose status is no success, with the code of an object store if it gives one.

    Parameters
    ----------
    response
        As `exchange` yields it, unread.

    Returns
    -------
    AttemptError
        To be raised; without any part of the URL.
    """
    text = b""
    with contextlib.suppress(AttemptError), network_errors():
        text = response.read(4096, decode_content=False)
    code = _CODE.search(text)
    name = code[1].decode() if code else ""
    detail = f"HTTP {response.status}" + (f" {name}" if name else "")
    after = seconds_of_retry_after(response.headers.get("Retry-After"))
    return AttemptError(fault_of_status(response.status, name), detail, after)


def download_bytes(
    url: str, into: IO[bytes], *, span: Span | None, at_most: int, root: str | None, policy: RetryPolicy
) -> ReceivedBytes:
    """Read a file, or a span of it, and write it to the same place in a local file.

    Every answer must be what was asked for: status, ``Content-Range``, ``Content-Length`` and the number of bytes that
    came must agree.

    Parameters
    ----------
    url
        Of http or https; may hold a token.
    into
        Local file, open for writing.
    span
        Bytes that are required: the first one, and the one after the last, which may lie behind the end of the file.
        None: all.
    at_most
        Bytes that are taken. A server that gives all where a span was asked for is obeyed up to this size.
    root
        Where the catalogue came from that sent us here; None: the address was given by the user's own settings.
    policy
        Time limits.

    Returns
    -------
    ReceivedBytes
        The span that was written, which can be larger than what was asked for; size and version of the whole file.

    Raises
    ------
    AttemptError
        Whatever goes wrong; without any part of the URL.
    """
    headers = {"Accept-Encoding": "identity"}
    if span is not None:
        headers["Range"] = f"bytes={span[0]}-{span[1] - 1}"
    with exchange("GET", url, root=root, policy=policy, headers=headers) as response:
        if response.status == 416:
            raise AttemptError(FaultKind.BYTES, "HTTP 416: the file is shorter than its header says")
        if response.status not in {200, 206}:
            raise refused(response)
        encoding = response.headers.get("Content-Encoding")
        if encoding is not None:
            raise AttemptError(FaultKind.BYTES, f"content encoding {encoding}, none asked for")
        start, stop, total = _announced(response, span)
        if stop - start > at_most:
            raise AttemptError(FaultKind.TOO_LARGE, f"{stop - start} bytes found, at most {at_most} taken at once")
        count = _store(response, into, start, stop - start, policy)
        if count != stop - start:
            raise AttemptError(FaultKind.BYTES, f"{count} of {stop - start} bytes came")
        return ReceivedBytes((start, stop), total, _version(response))


def _announced(response: BaseHTTPResponse, span: Span | None) -> tuple[int, int, int]:
    """Return first byte, the one after the last, and the size of the file, as an answer announces them."""
    length = response.headers.get("Content-Length")
    if response.status == 200:
        if length is None or not length.isdecimal():  # without it, a file that is cut off looks like a whole one
            raise AttemptError(FaultKind.BYTES, "an answer without Content-Length")
        return 0, int(length), int(length)
    found = _RANGE.fullmatch((response.headers.get("Content-Range") or "").strip())
    if found is None or span is None:
        raise AttemptError(FaultKind.BYTES, "a part without a Content-Range, or where the whole was asked for")
    start, stop, total = int(found[1]), int(found[2]) + 1, int(found[3])
    if start != span[0] or stop != min(span[1], total):
        asked = f"{span[0]}-{span[1] - 1} asked for"
        raise AttemptError(FaultKind.BYTES, f"bytes {start}-{stop - 1} of {total} came, {asked}")
    if length is not None and length != str(stop - start):
        detail = f"Content-Length {length[:20]} and Content-Range {start}-{stop - 1} disagree"
        raise AttemptError(FaultKind.BYTES, detail)
    return start, stop, total


def _version(response: BaseHTTPResponse) -> str:
    etag = response.headers.get("ETag") or ""
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified") or ""


def _store(response: BaseHTTPResponse, into: IO[bytes], start: int, length: int, policy: RetryPolicy) -> int:
    """Write the content as it comes; return the number of bytes, which are no more than announced."""
    count = 0
    into.seek(start)
    for chunk in chunks(response, policy, unpack=False):
        chunk = chunk[: length - count]
        try:
            into.write(chunk)
        except OSError as error:  # of the local disk
            detail = f"no temporary file: {os.strerror(error.errno or 0)}"
        else:
            count += len(chunk)
            REQUEST_COUNTS.receive(len(chunk))
            continue
        raise AttemptError(FaultKind.DAMAGED, detail)
    return count


@contextlib.contextmanager
def network_errors() -> Iterator[None]:
    """Turn whatever breaks on the way into a failed attempt, without a cause, which may hold the URL."""
    try:
        yield
    except CatalogError as error:  # of the check of the connected address
        failure = AttemptError(FaultKind.UNTRUSTED, str(error))
    except (HTTPError, OSError, ValueError) as error:
        failure = _failure(error)
    else:
        return
    raise failure


def _failure(error: Exception) -> AttemptError:
    if isinstance(error, LocationValueError | ValueError) and not isinstance(error, OSError):
        return AttemptError(FaultKind.REFUSED, "no URL that can be asked for")
    found = _causes(error)
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in found):
        return AttemptError(FaultKind.UNTRUSTED, "SSLCertVerificationError")
    if any(isinstance(one, IncompleteRead | InvalidChunkLength) for one in found):
        return AttemptError(FaultKind.BYTES, "the answer broke off")
    if any(isinstance(one, DecodeError) for one in found):
        return AttemptError(FaultKind.BYTES, "content that cannot be unpacked")
    if any(isinstance(one, TimeoutError) and not isinstance(one, NewConnectionError) for one in found):
        return AttemptError(FaultKind.TIMEOUT, type(error).__name__)
    system = next((one for one in found if isinstance(one, OSError)), None)
    if system is None:
        return AttemptError(FaultKind.CONNECTION, type(error).__name__)
    return AttemptError(fault_of(system), f"{type(system).__name__} {system.strerror or ''}".strip())


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and what it was made from; urllib3 keeps that as a cause, or among the arguments."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    for one in waiting:
        if one is not None and one not in found:
            found.append(one)
            waiting += [one.__cause__, *(part for part in one.args if isinstance(part, BaseException))]
    return found


def _judged(scope: AddressScope) -> dict[str, type[HTTPConnectionPool]]:
    """Return pools whose connections are checked by the address they have reached, before anything is sent."""

    class Judged:
        def _new_conn(self) -> Any:
            sock = super()._new_conn()  # type: ignore[misc]
            try:
                check_address(sock.getpeername()[0], scope)
            except CatalogError:
                sock.close()
                raise
            return sock

    class Http(Judged, HTTPConnection):
        pass

    class Https(Judged, HTTPSConnection):
        pass

    class HttpPool(HTTPConnectionPool):
        ConnectionCls = Http

    class HttpsPool(HTTPSConnectionPool):
        ConnectionCls = Https

    return {"http": HttpPool, "https": HttpsPool}


class _WithoutSecrets(logging.Filter):
    """Takes tokens out of what urllib3 logs of each request: it writes the query of every address."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record, without secrets."""
        record.msg, record.args = without_secrets(record.getMessage()), None
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_WithoutSecrets())

_lock = threading.Lock()


def _manager(url: str, scope: AddressScope) -> urllib3.PoolManager:
    """Return the connections to where a URL leads; of this process, for a fork shares the sockets of its parent."""
    parts = urlsplit(url)
    authorities = tuple(os.environ.get(name, "") for name in _CA_VARIABLES)
    with _lock:
        return _pool(os.getpid(), scope, proxy_of(parts.scheme, parts.hostname or ""), authorities)


@lru_cache(maxsize=32)
def _pool(process: int, scope: AddressScope, proxy: str, authorities: tuple[str, ...]) -> urllib3.PoolManager:
    options: dict[str, Any] = {"num_pools": 64, "maxsize": CONNECTIONS_KEPT, "ssl_context": _tls(authorities)}
    if proxy:  # the user's own choice: its address is not checked, and it connects for us
        parts = urlsplit(proxy)
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username is not None else None
        address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        return urllib3.ProxyManager(address, proxy_headers=urllib3.make_headers(proxy_basic_auth=user), **options)
    manager = urllib3.PoolManager(**options)
    manager.pool_classes_by_scheme = _judged(scope)
    return manager


_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


@lru_cache(maxsize=4)
def _tls(authorities: tuple[str, ...]) -> ssl.SSLContext:
    """Return who may sign certificates: the bundle that the environment names, else the system and certifi."""
    bundle = authorities[0] or authorities[1]
    if bundle:
        folder = os.path.isdir(bundle)  # noqa: PTH112 - a text of the environment
        return ssl.create_default_context(cafile=None if folder else bundle, capath=bundle if folder else None)
    context = ssl.create_default_context()
    if not any(authorities[2:]):  # slim containers have no certificates of their own
        context.load_verify_locations(certifi.where())
    return context
