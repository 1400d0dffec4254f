"""Read bytes of a URL by http or https: one attempt, over connections that are kept.

Readers of pixels and of stac-geoparquet come here for the ranges of a file (`download_bytes`), and repeat attempts by
`stac_sm.storage.retry`. An answer must be what was asked for: status, ``Content-Range``, ``Content-Length`` and the
number of bytes that came must agree. Each hop of a redirect is checked as the first address was, by the address that is
really connected to. Nothing is logged, since a URL may hold a token. Documents are read by `documents`; GDAL reads the
web only where a user ingests an address (`ingest.formats.geotiff`).
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import http.client
import ipaddress
import os
import re
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from stac_sm.core.errors import CatalogError
from stac_sm.storage.address import scheme_of
from stac_sm.storage.retry import REQUEST_COUNTS, AttemptError, FaultKind, RetryPolicy, fault_of, fault_of_status
from stac_sm.storage.trust import AddressScope, catalog_scope, check_address, check_href

_IDLE = 4  # connections that are kept for a host
PORTS = {"http": 80, "https": 443}
"""Ports that need not be said."""


@dataclass(frozen=True)
class ConnectionTarget:
    """Whom to connect to, and how near he may be."""

    scheme: str
    """``http`` or ``https``."""

    host: str
    """Name or address."""

    port: int
    """Port."""

    reach: AddressScope
    """How near its address may be."""

    @property
    def netloc(self) -> str:
        """Host and port as they stand in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def new_connection(place: ConnectionTarget, timeout: float) -> Any:
    """A connection of ``http.client``, not yet made, to a place or to the proxy before it."""
    proxy = proxy_of(place.scheme, place.host)
    host, port = (place.host, place.port) if proxy is None else (proxy.hostname or "", proxy.port or 80)
    if place.scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=timeout)
    connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=_tls())
    if proxy is not None:
        connection.set_tunnel(place.host, place.port, headers=proxy_headers(place))
    return connection


def proxy_of(scheme: str, host: str) -> SplitResult | None:
    """The proxy of the user's environment (``https_proxy``, ``no_proxy``); never for this machine itself."""
    address = urllib.request.getproxies().get(scheme)
    if not address or host == "localhost" or urllib.request.proxy_bypass(host):
        return None
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return None
    return urlsplit(address if scheme_of(address) else f"http://{address}")


def proxy_headers(place: ConnectionTarget) -> dict[str, str]:
    """What a proxy wants to know of its user."""
    proxy = proxy_of(place.scheme, place.host)
    if proxy is None or proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=os.environ.get("CURL_CA_BUNDLE") or None)


class _Pool:
    """Connections that wait for another request, of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[ConnectionTarget, list[Any]] = {}
        self._process = os.getpid()
        atexit.register(self.close)

    def take(self, place: ConnectionTarget) -> Any:
        with self._lock:
            if self._process != os.getpid():  # a fork shares its parent's sockets: leave them to it
                self._idle, self._process = {}, os.getpid()
            waiting = self._idle.get(place)
            return waiting.pop() if waiting else None

    def put(self, place: ConnectionTarget, connection: Any) -> None:
        with self._lock:
            waiting = self._idle.setdefault(place, [])
            if len(waiting) < _IDLE and self._process == os.getpid():
                waiting.append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            for waiting in self._idle.values():
                for connection in waiting:
                    connection.close()
            self._idle.clear()


POOL = _Pool()
"""Of this process."""


_HOPS = 5  # redirects that are followed
_CHUNK = 1 << 18
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_CODE = re.compile(rb"<Code>(\w+)</Code>")

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


def download_bytes(
    url: str, into: IO[bytes], *, span: Span | None, at_most: int, root: str | None, policy: RetryPolicy
) -> ReceivedBytes:
    """Get a file, or a span of it, and write it to the same place in a local file.

    Parameters
    ----------
    url
        Where; may hold a token.
    into
        Local file, open for writing.
    span
        Bytes wanted; None: all. The end may lie behind the end of the file.
    at_most
        Bytes that are taken. A server that gives all where a span was asked for is obeyed up to this size.
    root
        Where the catalogue came from that sent us here; None: the address was given by the user's own settings.
    policy
        Time limits.

    Raises
    ------
    AttemptError
        Whatever goes wrong; without any part of the URL.
    """
    headers = {"Accept-Encoding": "identity", "User-Agent": "stac_sm"}
    if span is not None:
        headers["Range"] = f"bytes={span[0]}-{span[1] - 1}"
    reach = AddressScope.LOOPBACK if root is None else min(catalog_scope(root), AddressScope.LOOPBACK)
    for _ in range(_HOPS + 1):
        with _exchange(url, headers, reach, policy) as response:
            if response.status not in {301, 302, 303, 307, 308}:
                return _received(response, into, span, at_most, policy)
            target = urljoin(url, response.getheader("Location") or "")
        url = _next_hop(url, target, root)
    raise AttemptError(FaultKind.REFUSED, f"more than {_HOPS} redirects")


def _next_hop(url: str, target: str, root: str | None) -> str:
    """Where a redirect leads, judged as an href of the catalogue; never from https to http."""
    down = urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https"
    if not down and urlsplit(target).scheme in {"http", "https"}:
        with contextlib.suppress(CatalogError):
            return check_href(target, root or "")
    raise AttemptError(FaultKind.UNTRUSTED, "a redirect to a place where this catalogue may not send us")


def _received(
    response: http.client.HTTPResponse, into: IO[bytes], span: Span | None, at_most: int, policy: RetryPolicy
) -> ReceivedBytes:
    """Check an answer and store its bytes."""
    if response.status not in {200, 206}:
        raise _refused(response)
    if response.getheader("Content-Encoding", "identity") != "identity":
        raise AttemptError(
            FaultKind.BYTES, f"content encoding {response.getheader('Content-Encoding')}, none asked for"
        )
    if response.status == 206:
        start, stop, total = _range(response, span)
    else:
        start, stop = 0, _length(response)
        total = stop
    if stop - start > at_most:
        raise AttemptError(FaultKind.TOO_LARGE, f"{stop - start} bytes found, at most {at_most} wanted at once")
    count = _store(response, into, start, stop - start, policy)
    if count != stop - start:
        raise AttemptError(FaultKind.BYTES, f"{count} of {stop - start} bytes came")
    return ReceivedBytes((start, stop), total, _version(response))


def _refused(response: http.client.HTTPResponse) -> AttemptError:
    code = _CODE.search(response.read(4096))
    name = code[1].decode() if code else ""
    if response.status == 416:
        return AttemptError(FaultKind.BYTES, "HTTP 416: the file is shorter than its header says")
    after = response.getheader("Retry-After") or ""
    told = f"HTTP {response.status}" + (f" {name}" if name else "")
    return AttemptError(fault_of_status(response.status, name), told, _seconds(after))


def _seconds(retry_after: str) -> float:
    """Seconds of a Retry-After, which is a number or a date."""
    from email.utils import parsedate_to_datetime

    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return 0.0


def _range(response: http.client.HTTPResponse, span: Span | None) -> tuple[int, int, int]:
    said = response.getheader("Content-Range") or ""
    found = _RANGE.fullmatch(said.strip())
    if found is None or span is None:
        raise AttemptError(FaultKind.BYTES, "a part without a Content-Range, or where the whole was asked for")
    start, stop, total = int(found[1]), int(found[2]) + 1, int(found[3])
    if start != span[0] or stop != min(span[1], total):
        raise AttemptError(
            FaultKind.BYTES, f"bytes {start}-{stop - 1} of {total} came, {span[0]}-{span[1] - 1} asked for"
        )
    length = response.getheader("Content-Length")
    if length is not None and length != str(stop - start):
        raise AttemptError(
            FaultKind.BYTES, f"Content-Length {length[:20]} and Content-Range {start}-{stop - 1} disagree"
        )
    return start, stop, total


def _length(response: http.client.HTTPResponse) -> int:
    length = response.getheader("Content-Length") or ""
    if not length.isdecimal():  # without it, a file that is cut off looks like a whole one
        raise AttemptError(FaultKind.BYTES, "an answer without Content-Length")
    return int(length)


def _version(response: http.client.HTTPResponse) -> str:
    etag = response.getheader("ETag") or ""
    return etag if etag and not etag.startswith("W/") else response.getheader("Last-Modified") or ""


def _store(response: http.client.HTTPResponse, into: IO[bytes], start: int, length: int, policy: RetryPolicy) -> int:
    """Write the content as it comes; the number of bytes. A trickle is a stall."""
    end, count = time.monotonic() + policy.timeout + length / policy.slowest, 0
    into.seek(start)
    while count < length:
        with _network():
            chunk = response.read1(min(_CHUNK, length - count))
        if not chunk:
            break
        try:
            into.write(chunk)
        except OSError as error:  # of the local disk
            fault, told = FaultKind.DAMAGED, f"no temporary file: {os.strerror(error.errno or 0)}"
        else:
            count += len(chunk)
            REQUEST_COUNTS.receive(len(chunk))
            if time.monotonic() <= end:
                continue
            fault, told = FaultKind.TIMEOUT, f"less than {policy.slowest:g} bytes a second"
        raise AttemptError(fault, told)
    if count == length:
        with _network():
            response.read(1)  # http.client sees the end only when asked for more
    return count


@contextlib.contextmanager
def _network() -> Iterator[None]:
    """What breaks on the way is a failed attempt."""
    try:
        yield
    except CatalogError as error:
        failure = AttemptError(FaultKind.UNTRUSTED, str(error))
    except http.client.IncompleteRead:
        failure = AttemptError(FaultKind.BYTES, "the answer broke off")
    except http.client.InvalidURL:
        failure = AttemptError(FaultKind.REFUSED, "no URL that can be asked for")
    except http.client.HTTPException as error:
        failure = AttemptError(FaultKind.CONNECTION, type(error).__name__)
    except OSError as error:
        failure = AttemptError(fault_of(error), f"{type(error).__name__} {error.strerror or ''}".strip())
    else:
        return
    raise failure  # outside of the handlers: no cause, which may hold the URL


@contextlib.contextmanager
def _exchange(
    url: str, headers: Mapping[str, str], reach: AddressScope, policy: RetryPolicy
) -> Iterator[http.client.HTTPResponse]:
    """Send a request; afterwards the connection is kept, if its answer was read to the end."""
    parts = urlsplit(url)
    place = ConnectionTarget(parts.scheme, parts.hostname or "", parts.port or PORTS[parts.scheme], reach)
    connection, response = _asked(place, _target(parts), headers, policy)
    try:
        yield response
    finally:
        if response.isclosed() and not response.will_close:
            POOL.put(place, connection)
        else:
            response.close()
            connection.close()


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _asked(
    place: ConnectionTarget, target: str, headers: Mapping[str, str], policy: RetryPolicy
) -> tuple[Any, http.client.HTTPResponse]:
    """Connection and answer. A kept connection may have been closed by the server meanwhile: then a new one."""
    kept = POOL.take(place)
    if kept is not None:
        with contextlib.suppress(AttemptError), _network():
            return kept, _sent(kept, place, target, headers, policy)
        kept.close()
    connection = new_connection(place, policy.timeout)
    done = False
    try:
        with _network():
            response = _sent(connection, place, target, headers, policy)
        done = True
    finally:
        if not done:
            connection.close()
    return connection, response


def _sent(
    connection: Any, place: ConnectionTarget, target: str, headers: Mapping[str, str], policy: RetryPolicy
) -> http.client.HTTPResponse:
    connection.timeout = policy.timeout
    if not connection.sock:
        connection.connect()
        if proxy_of(place.scheme, place.host) is None:  # a proxy is the user's own choice
            check_address(connection.sock.getpeername()[0], place.reach)
    connection.sock.settimeout(policy.timeout)
    if place.scheme == "http" and proxy_of(place.scheme, place.host) is not None:
        target = f"http://{place.netloc}{target}"
        headers = {**headers, **proxy_headers(place)}
    REQUEST_COUNTS.request()
    connection.request("GET", target, headers={"Host": place.netloc, **headers})
    response: http.client.HTTPResponse = connection.getresponse()
    return response
