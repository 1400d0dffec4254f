"""Documents on the web: bounded in size and time, asked for again by the one policy, kept for a while, and only from
where their catalogue may lead (``stac_sm.storage.trust``): this holds for links, redirects and the addresses of names.

Files on the web: addresses that may be named, what lies there, and how to tell that it has changed.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

from stac_sm.core.errors import CatalogError, GranuleError, InputError
from stac_sm.storage.retry import (
    REQUEST_COUNTS,
    AttemptError,
    FaultKind,
    GaveUpError,
    RetryPolicy,
    fault_of_status,
    retry,
)
from stac_sm.storage.signing import without_secrets
from stac_sm.storage.trust import catalog_scope, check_address, check_href

STRUCTURE = ("self", "root", "parent", "collection")
"""Relations of the links that hold a catalogue together; pystac may follow them behind our back."""

CONNECTIONS = 16
"""Requests to a catalogue at once for items, and as many for what leads to them."""
MAX_DOCUMENT_BYTES = 16 << 20
"""Of one JSON document, unpacked: some 100,000 links."""
MAX_REDIRECTS = 5
MAX_KEPT_BYTES = 64 << 20
"""Of documents kept in memory, by catalogue."""

_CHUNK = 1 << 16
_JSON = {"Accept": "application/geo+json, application/json;q=0.9, */*;q=0.1"}
_MOVED = {301, 302, 303, 307, 308}


class NotThereError(CatalogError):
    """The server has no such document."""


@dataclass(frozen=True)
class HttpResponse:
    """What a server sent."""

    status: int
    """HTTP status, 2xx."""

    headers: Mapping[str, str]
    """Headers; names in any case."""

    body: bytes
    """Content, unpacked."""


class Web:
    """The web as one catalogue may see it; safe in threads."""

    def __init__(self, root: str) -> None:
        self.root = without_secrets(root)
        """Where the catalogue is, without secrets."""
        self._session: Any = None
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def document(self, href: str) -> bytes:
        """A document, from memory where it was read before.

        Raises
        ------
        CatalogError
            If it cannot be had, is too large, or the catalogue may not lead there; `NotThereError` if there is none.
        """
        with self._lock:
            if href in self._kept:
                self._kept.move_to_end(href)
                return self._kept[href]
        content = self.request(href).body
        with self._lock:
            self._kept[href] = content
            while sum(map(len, self._kept.values())) > MAX_KEPT_BYTES:
                self._kept.popitem(last=False)
        return content

    def request(
        self,
        href: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        limit: int = MAX_DOCUMENT_BYTES,
    ) -> HttpResponse:
        """What a server answers: to GET, or to POST where there is ``json`` to send.

        Raises
        ------
        CatalogError
            If there is no good answer after all attempts, or one larger than ``limit`` bytes, or the catalogue may
            not lead there; `NotThereError` if the server has nothing of that name.
        """
        policy, sent = RetryPolicy.from_environment(), _JSON | dict(headers or {})
        try:
            return retry(lambda _: self._attempt(href, sent, json, limit, policy), policy)
        except GaveUpError as error:
            kind = NotThereError if error.fault is FaultKind.MISSING else CatalogError
            advice = _ADVICE.get(error.fault, "check the address, try again")
            raise kind(f"{without_secrets(href)} gave no answer: {error}; {advice}") from None

    def _attempt(
        self, href: str, headers: Mapping[str, str], json: Any, limit: int, policy: RetryPolicy
    ) -> HttpResponse:
        import requests  # type: ignore[import-untyped,unused-ignore]

        for _ in range(MAX_REDIRECTS + 1):
            try:
                with self._sent(check_href(href, self.root), headers, json, policy) as answer:
                    REQUEST_COUNTS.request()
                    if answer.status_code not in _MOVED or "Location" not in answer.headers:
                        return _read(answer, limit, policy)
                    href = urljoin(href, answer.headers["Location"])
                    json = json if answer.status_code in {307, 308} else None
            except (requests.RequestException, OSError) as error:
                raise AttemptError(_fault(error), type(error).__name__) from None
        raise AttemptError(FaultKind.REFUSED, f"more than {MAX_REDIRECTS} redirects")

    def _sent(self, href: str, headers: Mapping[str, str], json: Any, policy: RetryPolicy) -> Any:
        return self._opened().request(
            "GET" if json is None else "POST", href, headers=headers, json=json, stream=True, allow_redirects=False,
            timeout=(policy.timeout, policy.timeout),
        )  # fmt: skip

    def _opened(self) -> Any:
        with self._lock:
            if self._session is None:
                self._session = _session(self.root)
            return self._session


@dataclass(frozen=True)
class WebDocuments:
    """Documents by http and https; keys are their URLs."""

    web: Web
    """The web as the catalogue may see it."""

    workers: int = CONNECTIONS
    """How many are read at once."""

    omitted_link_relations: tuple[str, ...] = STRUCTURE
    """Relations of the links that items come without."""

    def read(self, key: str) -> bytes:
        """Content of a document."""
        return self.web.document(key)

    def key(self, base: str, href: str) -> str:
        """URL of a link; whether the catalogue may lead there is asked when it is read."""
        try:
            return urldefrag(urljoin(base, href)).url
        except ValueError:
            return href  # no URL: reading says so

    def href(self, key: str) -> str:
        """The URL."""
        return key


_ADVICE = {
    FaultKind.TOO_LARGE: "no STAC document is that large, or it should be split",
    FaultKind.CREDENTIALS: "it may be asked for by others only",
    FaultKind.UNTRUSTED: "its certificate is not to be trusted",
}


def _session(root: str) -> Any:
    """A session whose connections are judged by the address they reach, before anything is sent."""
    import requests
    from requests.adapters import HTTPAdapter  # type: ignore[import-untyped,unused-ignore]
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    reach = catalog_scope(root)

    class Judged:
        def _new_conn(self) -> Any:
            sock = super()._new_conn()  # type: ignore[misc]
            try:
                check_address(sock.getpeername()[0], reach)
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

    class Adapter(HTTPAdapter):  # type: ignore[misc,unused-ignore]
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options)
            self.poolmanager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}

    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter(pool_connections=CONNECTIONS, pool_maxsize=2 * CONNECTIONS))
    return session


def _read(answer: Any, limit: int, policy: RetryPolicy) -> HttpResponse:
    """The body, if the status is good and the body not too long and not too slow."""
    if not 200 <= answer.status_code < 300:
        fault = fault_of_status(answer.status_code)
        fault = (
            FaultKind.REFUSED if fault is FaultKind.CREDENTIALS else fault
        )  # no token to renew: asking again is no use
        raise AttemptError(fault, f"HTTP {answer.status_code}", _retry_after(answer.headers.get("Retry-After")))
    body, began = bytearray(), time.monotonic()
    for chunk in answer.iter_content(_CHUNK):
        body += chunk
        if len(body) > limit:
            raise AttemptError(FaultKind.TOO_LARGE, f"more than {limit >> 20} MiB")
        seconds = time.monotonic() - began
        if seconds > policy.timeout and len(body) < seconds * policy.slowest:
            raise AttemptError(FaultKind.TIMEOUT, f"{len(body)} bytes in {seconds:.0f} s")
    return HttpResponse(answer.status_code, answer.headers, bytes(body))


def _fault(error: Exception) -> FaultKind:
    import requests

    if isinstance(error, requests.exceptions.SSLError):
        return FaultKind.UNTRUSTED
    if isinstance(error, requests.Timeout | TimeoutError):
        return FaultKind.TIMEOUT
    if isinstance(error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError):
        return FaultKind.BYTES
    return FaultKind.REFUSED if isinstance(error, ValueError) else FaultKind.CONNECTION  # a URL that is none


def _retry_after(text: str | None) -> float:
    """Seconds of a ``Retry-After``: a number, or a date."""
    if not text:
        return 0.0
    try:
        return max(0.0, float(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


_LARGEST = 1 << 28  # bytes of a document that is read as a whole
_SECONDS = 60


@dataclass(frozen=True)
class FileUrl:
    """Address of a file: http or https, without user, password or query, so that it holds no secret."""

    text: str
    """The address."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.text)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InputError(f"address of scheme {parts.scheme!r} found, one like https://host/folder/file wanted")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise InputError(f"address at {parts.hostname}: a user, query or fragment found, a plain address wanted")
        if not re.fullmatch(r"[A-Za-z0-9_.~/-]*", parts.path) or ".." in parts.path.split("/"):
            raise InputError(
                f"address at {parts.hostname}: path {parts.path!r} found, letters, digits and -_.~/ wanted"
            )

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.text.rpartition("/")[2]

    @property
    def href(self) -> str:
        """Where GDAL finds it."""
        return f"/vsicurl/{self.text}"

    def __str__(self) -> str:
        return self.text


def fetch_file(url: FileUrl) -> bytes:
    """What lies at an address.

    Raises
    ------
    GranuleError
        If it cannot be had, or is no document but something huge.
    """
    with _request(url, "GET") as answer:
        content = bytes(answer.read(_LARGEST + 1))
    if len(content) > _LARGEST:
        raise GranuleError(f"{url}: more than {_LARGEST >> 20} MiB found, a smaller document wanted: check the address")
    return content


def validators(url: FileUrl) -> dict[str, str]:
    """What a server says about the state of a file: ETag, else time of change, and size.

    Raises
    ------
    GranuleError
        If it cannot be had.
    """
    with _request(url, "HEAD") as answer:
        found = {key: str(answer.headers.get(key, "")) for key in ("ETag", "Last-Modified", "Content-Length")}
    return {key: value for key, value in found.items() if value and not (key == "Last-Modified" and found["ETag"])}


@contextmanager
def _request(url: FileUrl, method: str) -> Iterator[Any]:
    """An answer of a server; redirections are followed to http and https only."""
    from http.client import HTTPException
    from urllib import request
    from urllib.error import HTTPError

    handlers: tuple[type[request.BaseHandler], ...] = (
        request.ProxyHandler, request.HTTPHandler, request.HTTPSHandler, request.HTTPRedirectHandler,
        request.HTTPDefaultErrorHandler, request.HTTPErrorProcessor,
    )  # fmt: skip
    opener = request.OpenerDirector()  # without the handlers of file: and ftp:
    for handler in handlers:
        opener.add_handler(handler())
    try:
        with opener.open(request.Request(url.text, method=method), timeout=_SECONDS) as answer:
            yield answer
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        raise GranuleError(f"{url}: cannot be had ({error}): check the address, and try again later") from error
