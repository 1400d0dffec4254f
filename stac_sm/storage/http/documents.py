"""Documents and small files on the web, read through `stac_sm.storage.http.client`.

`Web` is the web as one catalogue may see it: its documents are bounded in size and time, asked for again by the one
retry policy, kept in memory for a while, and read only from where the catalogue may lead. `FileUrl`, `fetch_file` and
`validators` serve the ingest of files whose addresses the user names.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from json import dumps
from typing import Any, TypeVar
from urllib.parse import urlsplit

from stac_sm.core.errors import CatalogError, GranuleError, InputError
from stac_sm.storage.address import resolve_href
from stac_sm.storage.http.client import Answer, chunks, exchange, refused
from stac_sm.storage.retry import AttemptError, FaultKind, GaveUpError, RetryPolicy, retry
from stac_sm.storage.signing import without_secrets
from stac_sm.storage.trust import check_href

T = TypeVar("T")

STRUCTURE = ("self", "root", "parent", "collection")
"""Relations of the links that hold a catalogue together, and that pystac would follow by itself."""

CONNECTIONS = 16
"""Requests to a catalogue at once for items, and as many for what leads to them."""
MAX_DOCUMENT_BYTES = 16 << 20
"""Of one JSON document, unpacked: some 100,000 links."""
MAX_KEPT_BYTES = 64 << 20
"""Of documents kept in memory, by catalogue."""

_JSON = {
    "Accept": "application/geo+json, application/json;q=0.9, */*;q=0.1",
    "Accept-Encoding": "gzip, deflate",
}


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
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def document(self, href: str) -> bytes:
        """Return a document, from memory where it was read before.

        Parameters
        ----------
        href
            Its address, of http or https.

        Returns
        -------
        bytes
            Its content, unpacked; at most `MAX_DOCUMENT_BYTES`.

        Raises
        ------
        CatalogError
            If it cannot be read, is too large, or the catalogue may not lead there; `NotThereError` if there is none.
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
        """Send a request to a server, again where that can help, and return what it answers.

        Parameters
        ----------
        href
            Address of http or https.
        headers
            Further headers, which stand over our own.
        json
            What to send by POST, as JSON; None: the request is GET.
        limit
            Bytes of the body at most, unpacked.

        Returns
        -------
        HttpResponse
            With a status of 2xx.

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
        check_href(href, self.root)
        method, body = ("GET", None) if json is None else ("POST", dumps(json).encode())
        sent = headers if json is None else {**headers, "Content-Type": "application/json"}
        with exchange(
            method, href, root=self.root, policy=policy, headers=sent, body=body, with_account=True
        ) as response:
            return _read(response, limit, policy)


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
        """Read a document.

        Parameters
        ----------
        key
            Its URL.

        Returns
        -------
        bytes
            As `Web.document`.

        Raises
        ------
        CatalogError
            As `Web.document`.
        """
        return self.web.document(key)

    def key(self, base: str, href: str) -> str:
        """Return the URL of a link; whether the catalogue may lead there is checked when it is read.

        Parameters
        ----------
        base
            URL of the document that holds the link.
        href
            Of the link, absolute or relative.

        Returns
        -------
        str
            A URI without fragment; what is no URL comes back as it is, and reading it says so.
        """
        return resolve_href(href, base)

    def href(self, key: str) -> str:
        """Return where others find a document.

        Parameters
        ----------
        key
            Its URL.

        Returns
        -------
        str
            The same URL.
        """
        return key


_ADVICE = {
    FaultKind.TOO_LARGE: "no STAC document is that large, or it should be split",
    FaultKind.CREDENTIALS: "it may be asked for by others only",
    FaultKind.UNTRUSTED: "check where the address leads, and the certificate of the server",
}


def _read(response: Answer, limit: int, policy: RetryPolicy) -> HttpResponse:
    """Return the answer, if its status is good and its body neither too long nor too slow."""
    if not 200 <= response.status < 300:
        failure = refused(response)
        if failure.fault is FaultKind.CREDENTIALS:  # no token to renew: asking again is no use
            failure = AttemptError(FaultKind.REFUSED, failure.detail, failure.retry_after)
        raise failure
    body = bytearray()
    for chunk in chunks(response, policy, unpack=True):
        body += chunk
        if len(body) > limit:
            raise AttemptError(FaultKind.TOO_LARGE, f"more than {limit >> 20} MiB")
    return HttpResponse(response.status, response.headers, bytes(body))


_LARGEST = 1 << 28  # bytes of a document that is read as a whole


class FileMissingError(GranuleError):
    """There is no file at an address."""


@dataclass(frozen=True)
class FileUrl:
    """Address of a file: http or https, without user, password or query, so that it holds no secret."""

    text: str
    """The address."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.text)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InputError(f"address of scheme {parts.scheme!r} found, one like https://host/folder/file required")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise InputError(f"address at {parts.hostname}: a user, query or fragment found, a plain address required")
        if not re.fullmatch(r"[A-Za-z0-9_.~/-]*", parts.path) or ".." in parts.path.split("/"):
            raise InputError(
                f"address at {parts.hostname}: path {parts.path!r} found, letters, digits and -_.~/ required"
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
    """Read what lies at an address that the user has named.

    Parameters
    ----------
    url
        Of a document of at most 256 MiB.

    Returns
    -------
    bytes
        Its content, unpacked.

    Raises
    ------
    FileMissingError
        If there is none.
    GranuleError
        If it cannot be read, or is larger.
    """

    def attempt(policy: RetryPolicy) -> bytes:
        with exchange("GET", url.text, root=None, policy=policy) as response:
            return _read(response, _LARGEST, policy).body

    return _asked(url, attempt)


def validators(url: FileUrl) -> dict[str, str]:
    """Return what a server says about the state of a file.

    Parameters
    ----------
    url
        Of the file, which is not read.

    Returns
    -------
    dict of str to str
        Headers that the server sends: ``ETag``, else ``Last-Modified``; and ``Content-Length``.

    Raises
    ------
    FileMissingError
        If there is no such file.
    GranuleError
        If the server gives no answer.
    """

    def attempt(policy: RetryPolicy) -> dict[str, str]:
        with exchange("HEAD", url.text, root=None, policy=policy) as response:
            if not 200 <= response.status < 300:
                raise refused(response)
            return {key: response.headers.get(key, "") for key in ("ETag", "Last-Modified", "Content-Length")}

    found = _asked(url, attempt)
    return {key: value for key, value in found.items() if value and not (key == "Last-Modified" and found["ETag"])}


def _asked(url: FileUrl, attempt: Callable[[RetryPolicy], T]) -> T:
    policy = RetryPolicy.from_environment()
    try:
        return retry(lambda _: attempt(policy), policy)
    except GaveUpError as error:
        kind = FileMissingError if error.fault is FaultKind.MISSING else GranuleError
        raise kind(f"{url}: cannot be had ({error}): check the address, and try again later") from None
