"""Trust: where a catalogue may lead. A catalogue on the network is written by others.

From a catalogue on the network, only addresses on the network are followed, by its own scheme, and never to a place
nearer to us than the catalogue itself: one on the public internet cannot reach a private or loopback address. From a
folder of the user's own, local files are read, too. No href names one of GDAL's drivers or virtual file systems,
holds a password, or leads to a cloud's metadata service. Names of hosts are judged by the address that they are
connected to (`check_address`), so a name that resolves to a forbidden place is found, and so is each redirect.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from stac_sm.core.errors import CatalogError
from stac_sm.storage.address import (
    ADDRESS_KINDS,
    LOCAL,
    UNKNOWN,
    WEB,
    AddressKind,
    address_kind,
    bucket_and_key,
    file_url_parts,
    scheme_of,
)

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_METADATA_NAMES = {"metadata.google.internal", "metadata", "instance-data", "instance-data.ec2.internal"}
_METADATA = {ipaddress.ip_address(text) for text in ("100.100.100.200", "168.63.129.16", "fd00:ec2::254")}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressScope(IntEnum):
    """How near to this machine an address is, or may be."""

    PUBLIC = 0
    """The public internet."""

    PRIVATE = 1
    """A private network."""

    LOOPBACK = 2
    """This machine."""

    FORBIDDEN = 3
    """Link-local, multicast, or a cloud's metadata service: never allowed."""


def check_href(href: str, root: str) -> str:
    """Return an href, if a catalogue may lead there; a ``file:`` URL as a path.

    No file is touched, and no name but the catalogue's own is looked up.

    Parameters
    ----------
    href
        Absolute href of an asset, an item or a catalogue.
    root
        Where the catalogue was opened: a URL, or a local folder.

    Returns
    -------
    str
        The href as it is, or the path of a ``file:`` URL, percent-decoded.

    Raises
    ------
    CatalogError
        If it may not: says why.
    """
    scheme = _scheme(href)
    if scheme in {"http", "https"} and re.search(r"[\x00-\x20\x7f<>\\]", href):
        raise _untrusted(href, root, "characters that no URL has")
    if not href or re.search(r"[\x00-\x1f\x7f]", href) or href.lstrip().startswith("<"):
        raise _untrusted(href, root, "no name of a file")
    kind = address_kind(root)
    if not any(scheme in allowed.schemes for allowed in _kinds_within_reach(kind)):
        found = f"the scheme {scheme}:" if scheme else "a local path"
        raise _untrusted(href, root, f"{found} from a catalogue {'in a folder' if kind is LOCAL else 'of its kind'}")
    if scheme in LOCAL.schemes:
        return _local_path(href, root)
    _check_url(href, root)
    return href


def _kinds_within_reach(kind: AddressKind) -> tuple[AddressKind, ...]:
    """Return the kinds of addresses that a catalogue of a kind may lead to: the web, and its own; from a folder all."""
    if kind is UNKNOWN:
        return ()
    return ADDRESS_KINDS if kind is LOCAL else (WEB, kind)


def catalog_scope(root: str) -> AddressScope:
    """Return how near a catalogue may lead: no nearer than it is itself. Looks its name up."""
    kind = address_kind(root)
    if kind is LOCAL:
        return AddressScope.LOOPBACK
    return _reach_of_host(urlsplit(root).hostname or "") if kind is WEB else AddressScope.PUBLIC


def check_address(address: str, allowed: AddressScope) -> None:
    """Refuse an address that is nearer than allowed.

    Parameters
    ----------
    address
        IP address that a connection has reached.
    allowed
        The nearest that is allowed.

    Raises
    ------
    CatalogError
        If it is nearer, or a forbidden one.
    """
    found = address_scope(address)
    if found > allowed:
        raise CatalogError(f"a {found.name.lower()} address found, at most a {allowed.name.lower()} one allowed")


def address_scope(address: str) -> AddressScope:
    """Return how near an IP address is."""
    ip = _unwrapped(ipaddress.ip_address(address.partition("%")[0]))
    if ip.is_link_local or ip.is_multicast or ip in _METADATA:
        return AddressScope.FORBIDDEN
    if ip.is_loopback or ip.is_unspecified:
        return AddressScope.LOOPBACK
    return AddressScope.PUBLIC if ip.is_global else AddressScope.PRIVATE


def _unwrapped(ip: Address) -> Address:
    """Return the IPv4 address inside an IPv6 one (mapped, 6to4, NAT64)."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip.packed[:12] in (bytes(12), bytes.fromhex("0064ff9b") + bytes(8)) and int(ip) > 1:
        return ipaddress.IPv4Address(ip.packed[12:])
    return ip.ipv4_mapped or ip.sixtofour or ip


def _scheme(href: str) -> str:
    found = _SCHEME.match(href)
    return found[1].lower() if found else ""


def _local_path(href: str, root: str) -> str:
    host, path = file_url_parts(href) if _scheme(href) else ("", href)
    if host not in {"", "localhost"}:
        raise _untrusted(href, root, "a file on another host")
    if "\0" in path or re.match(r"/+vsi", str(Path(path)).lower()):
        raise _untrusted(href, root, "one of GDAL's virtual file systems")
    return path


def _check_url(href: str, root: str) -> None:
    if scheme_of(href) != _scheme(href):  # a scheme without the slashes that make it a URL
        raise _untrusted(href, root, "no URL")
    if address_kind(href) is not WEB:
        _check_bucket(href, root)
        return
    try:
        parts: SplitResult = urlsplit(href)
        _ = parts.port
    except ValueError:
        raise _untrusted(href, root, "no URL") from None
    if "@" in parts.netloc:
        raise _untrusted(href, root, "a user name or password")
    host = (parts.hostname or "").rstrip(".")
    if not host or "%" in host or host in _METADATA_NAMES:
        raise _untrusted(href, root, "a host that is none, or a cloud's metadata service")
    literal = _literal(host)
    if literal is not None and address_scope(literal) > min(catalog_scope(root), AddressScope.LOOPBACK):
        raise _untrusted(href, root, f"a {address_scope(literal).name.lower()} address")


def _check_bucket(href: str, root: str) -> None:
    bucket, key = bucket_and_key(href)
    if "@" in bucket:
        raise _untrusted(href, root, "a user name or password")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]+", bucket) or not key:
        raise _untrusted(href, root, "no bucket and key")


def _literal(host: str) -> str | None:
    """Return the IP address that a host is, in any spelling that the C library takes (decimal, hex, octal, short)."""
    if ":" in host:
        return host
    if host == "localhost" or host.endswith(".localhost"):
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(socket.inet_aton(host)))
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=1024)
def _reach_of_host(host: str) -> AddressScope:
    """Return the farthest of the scopes of a host's addresses; public if it cannot be looked up."""
    literal = _literal(host.rstrip("."))
    if literal is not None:
        return address_scope(literal)
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)}
    except (OSError, UnicodeError):
        return AddressScope.PUBLIC
    return min((address_scope(address) for address in found), default=AddressScope.PUBLIC)


def _untrusted(href: str, root: str, what: str) -> CatalogError:
    shown = href.partition("?")[0].rpartition("@")[2][:200]
    return CatalogError(
        f"{shown!r} is not followed: {what} found, not allowed from the catalogue {root or 'at hand'}: "
        "copy the files into a folder of your own, or correct the item"
    )
