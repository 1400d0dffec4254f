"""Answer HEAD on every route, and tell clients whether the JSON that they have is still right.

`app` puts it around all routes. Documents get a weak ETag of their content (they leave compressed or not). Caches may
keep them, and ask each time whether they are still right: a request that names the ETag is answered with 304.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders

Message = MutableMapping[str, Any]
_FILES = "/assets/"  # files answer HEAD and conditions themselves, without being read
_DOCUMENTS = ("json", "text/html", "text/plain", "image/svg+xml")


class ValidatedResponses:
    """ASGI middleware: HEAD, ETag, Cache-Control and 304.

    Parameters
    ----------
    app
        Application whose routes know GET and POST.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send the response to one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        answer = _Answer(send, scope["method"], Headers(scope=scope).get("if-none-match", ""))
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" and not path.startswith(_FILES) else scope
        await self._app(inner, receive, answer.send)


class _Answer:
    def __init__(self, send: Callable[[Message], Awaitable[None]], method: str, known: str) -> None:
        self._send, self._method, self._known = send, method, known
        self._start: Message | None = None  # of a document, until its content is known
        self._parts: list[bytes] = []

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if message["status"] >= 400:
                headers.setdefault("Cache-Control", "no-store")
            kind = headers.get("content-type", "")
            document = message["status"] == 200 and any(one in kind for one in _DOCUMENTS) and "etag" not in headers
            if document and self._method in {"GET", "HEAD"}:
                self._start = message
                return
            await self._send(message)
        elif self._start is None:
            await self._send({**message, "body": b""} if self._method == "HEAD" else message)
        else:
            self._parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._finish(self._start, b"".join(self._parts))

    async def _finish(self, start: Message, body: bytes) -> None:
        headers = MutableHeaders(scope=start)
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers["ETag"] = f"W/{tag}"
        headers.setdefault("Cache-Control", "public, no-cache")  # what is retracted is gone at once, from caches, too
        headers.add_vary_header("Accept")
        if {one.strip().removeprefix("W/") for one in self._known.split(",")} & {tag, "*"}:
            start = {**start, "status": 304}
            kept = MutableHeaders(raw=list(headers.raw))
            for name in ("content-length", "content-type"):
                del kept[name]
            start["headers"], body = kept.raw, b""
        await self._send(start)
        await self._send({"type": "http.response.body", "body": b"" if self._method == "HEAD" else body})
