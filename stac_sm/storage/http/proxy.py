"""The proxy of the user's environment: ``http_proxy``, ``https_proxy``, ``all_proxy`` and ``no_proxy``.

The client for http and https asks here before it connects.
"""

from __future__ import annotations

import ipaddress
import os

from stac_sm.storage.address import scheme_of


def proxy_of(scheme: str, host: str) -> str:
    """Return the URL of the proxy for a host. This machine itself is never reached through a proxy.

    Parameters
    ----------
    scheme
        ``http`` or ``https``, of the address that is asked for.
    host
        Name or IP address.

    Returns
    -------
    str
        Of the proxy; empty without one.
    """
    address = _variable(f"{scheme}_proxy") or _variable("all_proxy")
    if not address or host == "localhost" or _is_loopback(host) or _is_exempt(host):
        return ""
    return address if scheme_of(address) else f"http://{address}"


def _variable(name: str) -> str:
    if name == "http_proxy" and "REQUEST_METHOD" in os.environ:  # a CGI script: HTTP_PROXY is a header of its client
        return os.environ.get(name, "")
    return os.environ.get(name) or os.environ.get(name.upper(), "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_exempt(host: str) -> bool:
    """Return whether ``no_proxy`` names a host, a domain above it, or a network that it is in."""
    for entry in (one.strip().lower() for one in _variable("no_proxy").split(",")):
        name = entry.lstrip(".")
        if entry == "*" or (name and (host.lower() == name or host.lower().endswith(f".{name}"))):
            return True
        try:
            if "/" in entry and ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False
