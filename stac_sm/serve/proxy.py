"""The address that clients see: behind a reverse proxy, that of the proxy; all links of the API begin with it.

A proxy says by headers which scheme, host and path its client asked for. Anybody can send such headers, so only those
of proxies that the operator names are used; of others they are ignored, and the operator reads so once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from stac_sm.core.errors import InputError
from stac_sm.serve.errors import BadRequestError

FORWARDED_HEADERS = ("forwarded", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix")
"""Headers of proxies that are used."""

_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
_PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?")
_ELEMENT = re.compile(r'(?:[^",]|"(?:\\.|[^"\\])*")+')
_PAIR = re.compile(r'([A-Za-z-]+)\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^;,\s"]+))')


@dataclass(frozen=True)
class PublicAddress:
    """How clients reach the server.

    Raises
    ------
    InputError
        If a path, a proxy or a host name is none.
    """

    root_path: str = ""
    """Path below which clients find the API, such as ``/soil``, whatever X-Forwarded-Prefix says; a proxy may remove it
    from requests, or leave it."""

    proxies: Sequence[str] = ()
    """IP addresses and networks of proxies whose headers are used."""

    hosts: Sequence[str] = ()
    """Host names that requests may be for, ``*.DOMAIN`` for all below a domain; none are all."""

    def __post_init__(self) -> None:
        if _PREFIX.fullmatch(self.root_path) is None:
            raise InputError(f"--root-path {self.root_path!r}: a path of letters, digits and -._~ required, as /soil")
        for host in self.hosts:
            found = _HOST.fullmatch(host.removeprefix("*."))
            if found is None or found[2]:
                raise InputError(f"--trusted-host {host!r}: a host name without a port required, as host.org")
        object.__setattr__(self, "root_path", self.root_path.rstrip("/"))
        _ = self._networks

    @cached_property
    def _networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        try:
            return tuple(ip_network(proxy, strict=False) for proxy in self.proxies)
        except ValueError as error:
            raise InputError(f"--proxy: {error}: an IP address or network required, as 10.0.0.0/8") from None

    def trusts(self, address: str) -> bool:
        """Return whether the headers of a sender are used.

        Parameters
        ----------
        address
            IP address of the sender, with or without a port.

        Returns
        -------
        bool
            True for a proxy that the operator has named.
        """
        bare = address[1:].partition("]")[0] if address.startswith("[") else address
        try:
            found = ip_address(bare.partition(":")[0] if bare.count(":") == 1 else bare)
        except ValueError:
            return False
        mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
        return any((mapped or found) in network for network in self._networks)

    def allows(self, host: str) -> bool:
        """Return whether requests may be for a host.

        Parameters
        ----------
        host
            Name or IP address as in the header Host, with or without a port.

        Returns
        -------
        bool
            True if a trusted host is named so, or none is named at all.
        """
        name = re.sub(r":\d+$", "", host.lower())
        patterns = [pattern.lower() for pattern in self.hosts]
        return not patterns or any(
            name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern for pattern in patterns
        )


@dataclass(frozen=True)
class ClientView:
    """What of its own request a client sees."""

    scheme: str
    """``http`` or ``https``."""

    host: str
    """Host and port."""

    prefix: str
    """Path below which the API lies, without a slash at its end."""


def client_view(address: PublicAddress, peer: str, scheme: str, headers: Headers) -> ClientView:
    """Return the address by which the client of a request knows the API.

    Parameters
    ----------
    address
        What the operator says of proxies and hosts.
    peer
        Address of the machine that sent the request here.
    scheme
        Scheme of the request as it came.
    headers
        Headers of the request.

    Returns
    -------
    ClientView
        Scheme, host and prefix: of trusted proxies' headers where there are such, else of the request itself.

    Raises
    ------
    BadRequestError
        If a header is none of its kind, two of them contradict each other, or requests may not be for that host.
    """
    found = {"proto": scheme, "host": headers.get("host", ""), "prefix": ""}
    if address.trusts(peer):
        said = [_forwarded(address, headers), _x_forwarded(address, headers)]
        for name in ("proto", "host", "prefix"):
            values = {one[name] for one in said if one.get(name)}
            if len(values) > 1:
                raise BadRequestError(f"Forwarded and X-Forwarded-{name.title()} contradict each other: {values}")
            found[name] = values.pop() if values else found[name]
    if found["proto"].lower() not in {"http", "https"}:
        raise BadRequestError(f"scheme {found['proto']!r:.40} of the proxy: http or https required")
    if found["host"] and _HOST.fullmatch(found["host"]) is None:
        raise BadRequestError(f"host {found['host']!r:.80}: a host name with or without a port required")
    if _PREFIX.fullmatch(found["prefix"]) is None:
        raise BadRequestError(f"X-Forwarded-Prefix {found['prefix']!r:.80}: a path required, as /soil")
    if not address.allows(found["host"]):
        raise BadRequestError(f"host {found['host']!r:.80} is none of those that this server answers for")
    prefix = address.root_path or found["prefix"].rstrip("/")  # many proxies pass on what a client says of a prefix
    return ClientView(found["proto"].lower(), found["host"], prefix)


def _forwarded(address: PublicAddress, headers: Headers) -> dict[str, str]:
    """Return what Forwarded (RFC 7239) says, by the furthest proxy of those trusted in a row."""
    elements = [
        {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain for name, quoted, plain in _PAIR.findall(element)}
        for element in _ELEMENT.findall(",".join(headers.getlist("forwarded")))
    ]
    if not elements:
        return {}
    return elements[-1 - _hops(address, [element.get("for", "") for element in elements])]


def _x_forwarded(address: PublicAddress, headers: Headers) -> dict[str, str]:
    """Return the same of X-Forwarded-*, each of which may be a list to which every proxy in a row appends."""
    hops = _hops(address, _values(headers, "for"))
    lists = {name: _values(headers, name) for name in ("proto", "host", "prefix")}
    return {name: values[max(-len(values), -1 - hops)] for name, values in lists.items() if values}


def _values(headers: Headers, name: str) -> list[str]:
    joined = ",".join(headers.getlist(f"x-forwarded-{name}"))
    return [value.strip() for value in joined.split(",")] if joined.strip() else []


def _hops(address: PublicAddress, senders: Sequence[str]) -> int:
    """Count the proxies in a row, back from the nearest, that had the request from a trusted proxy."""
    count = 0
    while count < len(senders) - 1 and address.trusts(senders[-1 - count]):
        count += 1
    return count


class ProxyHeaders:
    """Middleware that gives the application each request as its client sees it.

    Parameters
    ----------
    app
        The application.
    address
        What the operator says of proxies and hosts.
    routes
        First parts of the paths of the application's own routes, which a prefix may be named like.
    log
        Called once, with a message for the operator, where headers are ignored.
    """

    def __init__(
        self, app: Any, address: PublicAddress, routes: frozenset[str], log: Callable[[str], None] | None = None
    ) -> None:
        self.app, self._address, self._routes, self._log = app, address, routes, log

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Call the application with a request as its client sees it, or answer with 400."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, peer = Headers(scope=scope), (scope.get("client") or ("",))[0]
        self._note(headers, peer)
        try:
            view = client_view(self._address, peer, scope["scheme"], headers)
        except BadRequestError as error:
            await JSONResponse({"code": "400", "description": str(error)}, 400)(scope, receive, send)
            return
        others = [(name, value) for name, value in scope["headers"] if name != b"host"]
        host = [(b"host", view.host.encode())] if view.host else []
        seen = {**scope, "scheme": view.scheme, "headers": host + others, "root_path": view.prefix}
        if not self._has_prefix(scope["path"], view.prefix):
            seen["path"] = view.prefix + scope["path"]
            seen["raw_path"] = view.prefix.encode() + (scope.get("raw_path") or b"")
        await self.app(seen, receive, send)

    def _has_prefix(self, path: str, prefix: str) -> bool:
        """Return whether a path begins with the prefix; one that is named like a route is taken for the route."""
        inside = path == prefix or path.startswith(f"{prefix}/")
        return not prefix or (inside and prefix.split("/")[1] not in self._routes)

    def _note(self, headers: Headers, peer: str) -> None:
        if self._log is None or self._address.trusts(peer):
            return
        if ignored := [name for name in FORWARDED_HEADERS if name in headers]:
            self._log(f"{', '.join(ignored)} from {peer} ignored: if that is your proxy, give --proxy {peer}")
            self._log = None
