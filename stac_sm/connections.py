"""Connections of http and https: kept and used again, through the user's proxy if there is one."""

from __future__ import annotations

import atexit
import base64
import contextlib
import http.client
import ipaddress
import os
import ssl
import threading
import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from stac_sm.trust import Reach

_IDLE = 4  # connections that are kept for a host
PORTS = {"http": 80, "https": 443}
"""Ports that need not be said."""


@dataclass(frozen=True)
class Place:
    """Whom to connect to, and how near he may be."""

    scheme: str
    """``http`` or ``https``."""

    host: str
    """Name or address."""

    port: int
    """Port."""

    reach: Reach
    """How near its address may be."""

    @property
    def netloc(self) -> str:
        """Host and port as they stand in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def new_connection(place: Place, timeout: float) -> Any:
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
    return urlsplit(address if "://" in address else f"http://{address}")


def proxy_headers(place: Place) -> dict[str, str]:
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
        self._idle: dict[Place, list[Any]] = {}
        self._process = os.getpid()
        atexit.register(self.close)

    def take(self, place: Place) -> Any:
        with self._lock:
            if self._process != os.getpid():  # a fork shares its parent's sockets: leave them to it
                self._idle, self._process = {}, os.getpid()
            waiting = self._idle.get(place)
            return waiting.pop() if waiting else None

    def put(self, place: Place, connection: Any) -> None:
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
