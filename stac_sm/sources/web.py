"""Files on the web: addresses that may be named, what lies there, and how to tell that it has changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from stac_sm.errors import GranuleError, InputError

_LARGEST = 1 << 28  # bytes of a document that is read as a whole
_SECONDS = 60


@dataclass(frozen=True)
class Url:
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


def fetch(url: Url) -> bytes:
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


def validators(url: Url) -> dict[str, str]:
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
def _request(url: Url, method: str) -> Iterator[Any]:
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
