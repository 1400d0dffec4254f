"""Addresses: which kind of place a path or URL names. The one table of kinds, and the only parser of addresses.

Everything that opens a catalogue, a store or a file asks here first, so that a local path is never taken for a URL:
`#`, `?`, `%`, blanks and letters beyond ASCII are ordinary characters of a file name. Only web addresses have a query
and a fragment, and only web addresses and ``file:`` URLs are percent-encoded; keys of an object store are taken as
they are. `resolve_href` turns the href of a link or an asset into such an address; nothing else joins or parses hrefs.

A new kind of store is one more `AddressKind` in `ADDRESS_KINDS`, and a line in ``stac_sm.storage.store.STORE_KINDS``.
"""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urljoin, urlsplit

from stac_sm.core.errors import InputError

if TYPE_CHECKING:
    import pystac

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://|(file):/", re.IGNORECASE)
_NO_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
_FILE_URL = re.compile(r"file:(?://([^/]*))?(/.*)?", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class AddressKind:
    """A kind of place that an address can name."""

    name: str
    """For messages."""

    schemes: frozenset[str]
    """Schemes of its URLs, in lower case; the empty one stands for a path without a scheme."""

    remote: bool = True
    """Whether it is reached over the network: then several requests are sent at once."""


LOCAL = AddressKind("a local path", frozenset({"", "file"}), remote=False)
"""A file or folder of this machine: a path, or a ``file:`` URL."""

WEB = AddressKind("a web address", frozenset({"http", "https"}))
"""An address of http or https: read only."""

S3 = AddressKind("an S3 address", frozenset({"s3"}))
"""An object or a prefix of a bucket: ``s3://BUCKET/KEY``."""

UNKNOWN = AddressKind("an address of a kind that is not supported", frozenset())
"""A URL of any other scheme: nothing opens it."""

ADDRESS_KINDS: tuple[AddressKind, ...] = (LOCAL, WEB, S3)
"""All kinds that can be opened."""


def scheme_of(address: str) -> str:
    """Return the scheme of a URL.

    A colon alone makes no URL: ``12:00.tif`` and ``a:b`` are names of files.

    Parameters
    ----------
    address
        A path or a URL.

    Returns
    -------
    str
        In lower case, such as ``https``; empty for a path, whatever characters it holds.
    """
    found = _URL.match(address)
    return (found[1] or found[2]).lower() if found else ""


def address_kind(address: str | os.PathLike[str]) -> AddressKind:
    """Return which kind of place an address names.

    Parameters
    ----------
    address
        A path, absolute or relative, or a URL.

    Returns
    -------
    AddressKind
        One of `ADDRESS_KINDS`, or `UNKNOWN` for a URL of another scheme.
    """
    scheme = scheme_of(os.fspath(address))
    return next((kind for kind in ADDRESS_KINDS if scheme in kind.schemes), UNKNOWN)


def is_remote(address: str | os.PathLike[str]) -> bool:
    """Return whether an address is reached over the network.

    Parameters
    ----------
    address
        A path or a URL of any kind.

    Returns
    -------
    bool
        False for paths and ``file:`` URLs only.
    """
    return address_kind(address).remote


def is_absolute(href: str) -> bool:
    """Return whether an href stands for itself.

    Parameters
    ----------
    href
        Of a link or an asset.

    Returns
    -------
    bool
        True for a URL and for an absolute path; False for a path that is relative to the document that holds it.
    """
    return href.startswith("/") or bool(scheme_of(href))


def resolve_href(href: str, base: str) -> str:
    """Return the place that an href in a document leads to.

    In a folder or a bucket, an href is a path: every character of it is part of a name. On the web it is an IRI
    reference: ``#`` begins a fragment, which is left out, ``?`` a query, and what no URI may hold (RFC 3987: blanks,
    letters beyond ASCII) is percent-encoded; what is percent-encoded already stays so.

    Parameters
    ----------
    href
        Of a link or an asset: relative to its document, or absolute.
    base
        Address of the document; empty where it is not known.

    Returns
    -------
    str
        An absolute path or a URL, if the base is one. A ``file:`` URL comes back as it is: `local_path` decodes it,
        and `check_href` of ``stac_sm.storage.trust`` says whether it may be followed.
    """
    if scheme_of(href):
        return web_uri(href) if address_kind(href) is WEB else href
    kind = address_kind(base)
    if kind is WEB:
        try:
            return web_uri(urljoin(base, href))
        except ValueError:
            return href  # no URL: reading it says so
    if not href or (kind is LOCAL and href.startswith("/")):
        return href or base
    if kind is LOCAL:
        folder = posixpath.dirname(str(local_path(base))) if base else ""
        return posixpath.normpath(posixpath.join(folder, href))
    scheme, mark, place = base.partition("://")
    bucket, _, key = place.partition("/")
    path = posixpath.normpath(posixpath.join("/", posixpath.dirname(key), href))  # as in URLs, none leads above it
    return f"{scheme}{mark}{bucket}/{path.lstrip('/')}"


def asset_address(item: pystac.Item, key: str) -> str:
    """Return the address of an item's asset. pystac's own method takes paths for URLs, and cuts them at ``#``.

    Parameters
    ----------
    item
        With a self href, unless the href of its asset is absolute.
    key
        Key of an asset that the item has.

    Returns
    -------
    str
        As `resolve_href`.

    Raises
    ------
    KeyError
        If the item has no such asset.
    """
    return resolve_href(item.assets[key].href, item.get_self_href() or "")


def web_uri(address: str) -> str:
    """Return a web address as a URI, without its fragment.

    Parameters
    ----------
    address
        Of http or https; may hold blanks and letters beyond ASCII.

    Returns
    -------
    str
        With these characters percent-encoded as UTF-8, and every ``%`` that begins no escape as ``%25``. A host is
        left as it is: the client encodes it. What cannot be encoded, such as a control character, stays, so that
        `check_href` of ``stac_sm.storage.trust`` refuses it.
    """
    scheme, mark, rest = address.partition("#")[0].partition("://")
    host, slash, path = rest.partition("/")
    path = _NO_ESCAPE.sub("%25", re.sub(r"[^\x00-\x1f\x21-\x7f\ud800-\udfff]+", lambda found: quote(found[0]), path))
    return f"{scheme}{mark}{host}{slash}{path}"


def local_path(address: str | os.PathLike[str]) -> Path:
    """Return the path of an address of this machine.

    Parameters
    ----------
    address
        A path, which is taken as it is, or a ``file:`` URL, which is percent-encoded.

    Returns
    -------
    pathlib.Path
        Absolute for a ``file:`` URL; relative where a relative path was given. It need not exist.

    Raises
    ------
    InputError
        If it is an address of another kind, or a file on another host.
    """
    text = os.fspath(address)
    if address_kind(text) is not LOCAL:
        raise InputError(f"{text.partition('?')[0]!r} is {address_kind(text).name}: a path of this machine is required")
    if not scheme_of(text):
        return Path(text)
    host, path = file_url_parts(text)
    if host not in {"", "localhost"}:
        raise InputError(f"{text!r} names a file on the host {host!r}: give file:///PATH, or the path itself")
    return Path(path)


def file_url_parts(url: str) -> tuple[str, str]:
    """Split a ``file:`` URL. Whatever follows the host is the path: such a URL has no query and no fragment.

    Parameters
    ----------
    url
        A ``file:`` URL; any other text comes back as the path.

    Returns
    -------
    tuple of str
        The host in lower case, empty without one; and the path, percent-decoded.
    """
    found = _FILE_URL.fullmatch(url)
    return ("", url) if found is None else ((found[1] or "").lower(), unquote(found[2] or ""))


def absolute_address(address: str | os.PathLike[str]) -> str:
    """Return an address that is the same from every working folder.

    Parameters
    ----------
    address
        A path or a URL.

    Returns
    -------
    str
        A URL of another machine as it is; a local path or ``file:`` URL as an absolute path.

    Raises
    ------
    InputError
        If it names a file on another host.
    """
    text = os.fspath(address)
    return text if address_kind(text) is not LOCAL else str(local_path(text).absolute())


def address_path(address: str) -> PurePosixPath:
    """Return the path inside an address, to look at its names and its suffix.

    Parameters
    ----------
    address
        A path or a URL.

    Returns
    -------
    pathlib.PurePosixPath
        Of a web address its path, percent-decoded and without query and fragment; of an object its bucket and key; of a
        file its path.

    Raises
    ------
    InputError
        If it names a file on another host.
    """
    kind = address_kind(address)
    if kind is WEB:
        return PurePosixPath(unquote(urlsplit(address).path))
    if kind is LOCAL:
        return PurePosixPath(local_path(address))
    return PurePosixPath(address[len(scheme_of(address)) + 3 :])


def without_query(address: str) -> str:
    """Return an address without its query and fragment.

    Parameters
    ----------
    address
        A path or a URL.

    Returns
    -------
    str
        A web address up to its first ``?`` or ``#``; an address of another kind, which has neither, as it is.
    """
    return re.split(r"[?#]", address, maxsplit=1)[0] if address_kind(address) is WEB else address


def join_address(root: str, path: str) -> str:
    """Return the address of a relative path that is taken from a folder.

    Parameters
    ----------
    root
        A folder, a prefix of a bucket, or a web address that is taken as a folder.
    path
        Relative; it may lead upwards.

    Returns
    -------
    str
        Of the kind of the root, without ``.`` and ``..``.

    Raises
    ------
    InputError
        If the root is a folder on another host.
    """
    if address_kind(root) is LOCAL:
        return posixpath.normpath(posixpath.join(str(local_path(root)), path))
    scheme, mark, place = root.partition("://")
    return scheme + mark + posixpath.normpath(posixpath.join(place, path))


def split_address(address: str) -> tuple[str, str]:
    """Split the address of a file into folder and name, whatever its kind.

    Parameters
    ----------
    address
        A path or a URL.

    Returns
    -------
    tuple of str
        The folder, which is ``.`` for a bare name; and the name, which is empty where the address ends with a slash or
        names a bucket or a host only.
    """
    folder, slash, name = address.rpartition("/")
    if folder.endswith(":/"):
        return address, ""
    return folder or ("/" if slash else "."), name


def bucket_and_key(address: str) -> tuple[str, str]:
    """Return bucket and key of an address of an object store, such as ``s3://BUCKET/KEY``; the key as it is."""
    bucket, _, key = address[len(scheme_of(address)) + 3 :].partition("/")
    return bucket, key
