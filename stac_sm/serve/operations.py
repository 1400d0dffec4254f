"""Report to an operator how the server fares: access log, health, readiness, and counts for Prometheus.

`ServerWatch` stands before the application. It answers ``/health``, ``/ready`` and ``/metrics`` itself, whatever host a
request is for, since probes ask by the address of a machine.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response

from stac_sm.serve.proxy import FORWARDED_HEADERS
from stac_sm.serve.service import CatalogService
from stac_sm.storage.log_lines import LOGGER, log_facts

ACCESS_LOGGER = LOGGER.getChild("access")
"""One line a request: method, path without its query (which may hold a token), status, seconds, bytes."""

OPERATOR_PATHS = ("/health", "/ready", "/metrics")
"""Paths that the server answers itself."""

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ROUTES = (
    ("collection items", re.compile(r"/collections/[^/]+/items/?")),
    ("item", re.compile(r"/collections/[^/]+/items/[^/]+/?")),
    ("collection", re.compile(r"/collections/[^/]+/?")),
    ("collections", re.compile(r"/collections/?")),
    ("search", re.compile(r"/search/?")),
    ("aggregate", re.compile(r"(/collections/[^/]+)?/aggregat(e|ions)/?")),
    ("asset", re.compile(r"/assets/.*")),
    ("tile", re.compile(r"/tiles/.*")),
    ("browser", re.compile(r"/browser(/.*)?")),
    ("landing page", re.compile(r"/?")),
)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class RequestMetrics:
    """Counts and times of requests, in the text format of Prometheus; those of all processes of a server together.

    Parameters
    ----------
    service
        Its items are counted when the metrics are asked for.
    """

    def __init__(self, service: CatalogService) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._service = service
        self._registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("stac_sm_requests", "Requests answered", labels, registry=self._registry)
        self._seconds = Histogram(
            "stac_sm_request_seconds", "Time to the last byte", ("route",), buckets=_SECONDS, registry=self._registry
        )
        self._bytes = Counter("stac_sm_response_bytes", "Bytes of bodies sent", ("route",), registry=self._registry)
        self._items = Gauge(
            "stac_sm_items", "Items that can be found", registry=self._registry, multiprocess_mode="mostrecent"
        )
        self._age = Gauge(
            "stac_sm_snapshot_age_seconds",
            "Time since the store was looked at",
            registry=self._registry,
            multiprocess_mode="mostrecent",
        )

    def count(self, method: str, route: str, status: int, seconds: float, size: int) -> None:
        """Count one request.

        Parameters
        ----------
        method
            Of HTTP.
        route
            Kind of the path.
        status
            Code of the answer.
        seconds
            From the request to the last byte of the answer.
        size
            Bytes of the body.
        """
        self._requests.labels(method if method in {"GET", "HEAD", "POST", "OPTIONS"} else "other", route, status).inc()
        self._seconds.labels(route).observe(seconds)
        self._bytes.labels(route).inc(size)

    def response(self) -> Response:
        """Return the answer to ``/metrics``."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        self._items.set(self._service.item_count)
        self._age.set(self._service.seconds_since_look)
        registry = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:  # several processes: each writes its counts into files there
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class ServerWatch:
    """Middleware that logs and counts requests, and answers those of operators.

    Parameters
    ----------
    app
        The application.
    service
        What is served.
    root_path
        Path at which a proxy shows the API.
    """

    def __init__(self, app: Any, service: CatalogService, root_path: str = "") -> None:
        self.app, self._service, self._root_path = app, service, root_path
        self._metrics = RequestMetrics(service)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send a request on, or report to an operator; then log and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, begun = Headers(scope=scope), time.perf_counter()
        given = headers.get("x-request-id", "")
        id = given if _SANE_ID.fullmatch(given) else secrets.token_hex(8)
        status, size = 500, 0

        async def sent(message: Any) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", id.encode())]}
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        path = scope["path"]
        watched = path in OPERATOR_PATHS
        try:
            with log_facts(stage="serve", request=id):
                if watched:
                    await self._operator_response(path, headers)(scope, receive, sent)
                else:
                    await self._answer(scope, receive, sent, id)
        finally:
            seconds = time.perf_counter() - begun
            if not watched:
                self._metrics.count(scope["method"], route_name(path, self._root_path), status, seconds, size)
            level = logging.DEBUG if watched else logging.INFO
            if ACCESS_LOGGER.isEnabledFor(level):
                peer = (scope.get("client") or ("",))[0]
                facts = {
                    "stage": "serve", "request": id, "method": scope["method"], "path": path, "status": status,
                    "seconds": round(seconds, 4), "bytes": size, "client": peer,
                }  # fmt: skip
                text, shown = "%s %s %s %.3f s %d B %s %s", quote(path)  # no path may look like a line of its own
                ACCESS_LOGGER.log(
                    level, text, scope["method"], shown, status, seconds, size, peer, id, extra={"facts": facts}
                )

    async def _answer(self, scope: Any, receive: Any, send: Any, id: str) -> None:
        """Send a request on; an error of the program is a line of the log with the id of the request, and a 500."""
        begun = False

        async def sent(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, sent)
        except Exception:
            what = "%s %s failed: an error in stac_sm; please report it"
            LOGGER.exception(what, scope["method"], quote(scope["path"]))
            if begun:  # only the end of the connection can say that the rest is missing
                raise
            content = {"code": "500", "description": f"an error in the server; its log has it as request {id}"}
            await JSONResponse(content, 500)(scope, receive, send)

    def _operator_response(self, path: str, headers: Headers) -> Response:
        if path == "/health":
            return PlainTextResponse("ok")
        if path == "/ready":
            why = self._service.why_not_ready()
            return JSONResponse({"ready": not why, "description": why or "the store answers"}, 503 if why else 200)
        if any(
            name in headers for name in (*FORWARDED_HEADERS, "x-forwarded-for")
        ):  # asked for from outside, through a proxy
            return JSONResponse({"code": "404", "description": "metrics are for requests without a proxy"}, 404)
        return self._metrics.response()


def route_name(path: str, root_path: str = "") -> str:
    """Return the kind of a path, of which there are few.

    Parameters
    ----------
    path
        Of a request.
    root_path
        Path at which a proxy shows the API.

    Returns
    -------
    str
        Such as ``search``; ``other`` for what is none of those that are counted apart.
    """
    own = path.removeprefix(root_path) if root_path else path
    return next((name for name, pattern in _ROUTES if pattern.fullmatch(own)), "other")
