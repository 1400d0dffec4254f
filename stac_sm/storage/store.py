"""Stores: where a catalogue and its assets are kept, and what every kind of them can do.

Paths are relative to the root of a store, with forward slashes. There are three ways to write, for three kinds of
things: ``create`` for what is written once (assets, items), ``compare_and_swap`` for what may be replaced by one writer
at a time, ``replace`` for what is derived and can be made again. Stages that publish, the index and `audit` work on a
`Store` and do not know which kind it is.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stac_sm.core.errors import InputError
from stac_sm.storage.address import (
    LOCAL,
    S3,
    AddressKind,
    absolute_address,
    address_kind,
    bucket_and_key,
    local_path,
    split_address,
)
from stac_sm.storage.local_store import LocalStore
from stac_sm.storage.object_meta import ObjectMeta


class Store(Protocol):
    """Where a catalogue and its assets are kept."""

    @property
    def root(self) -> str:
        """Folder or URL without a slash at its end."""

    def href(self, path: str) -> str:
        """Return where GDAL, pandas and others find a file.

        Parameters
        ----------
        path
            Path below the root; the file need not exist.

        Returns
        -------
        str
            A file name or a URL, as it is: not percent-encoded.
        """

    def exists(self, path: str) -> bool:
        """Return whether there is a file.

        Parameters
        ----------
        path
            Path below the root.

        Returns
        -------
        bool
            False for a folder, too.
        """

    def read(self, path: str) -> bytes:
        """Read a file.

        Parameters
        ----------
        path
            Path below the root.

        Returns
        -------
        bytes
            All of its content.

        Raises
        ------
        CatalogError
            If there is none.
        """

    def local_file(self, path: str) -> AbstractContextManager[Path]:
        """Provide a file of this machine with the content of a file as it reads back.

        Parameters
        ----------
        path
            Path below the root.

        Returns
        -------
        contextmanager of pathlib.Path
            Valid inside the ``with`` block.

        Raises
        ------
        CatalogError
            If there is none.
        """

    def list_objects(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """List all files below a folder.

        Parameters
        ----------
        prefix
            Folder below the root, as a whole name; empty for all files.

        Yields
        ------
        ObjectMeta
            In the order of the paths as text; files that are still being written are left out. Nothing where there
            is no folder.
        """

    def list_objects_at(self, folder: str, paths: Iterable[str]) -> Iterator[ObjectMeta]:
        """List some files below a folder, whatever else lies there.

        Parameters
        ----------
        folder
            Below the root: holds all of the paths.
        paths
            Below the root of the store.

        Yields
        ------
        ObjectMeta
            Of those that exist, in any order.
        """

    def create(self, path: str, content: bytes | Path) -> bool:
        """Write a new file, all of it or nothing.

        Parameters
        ----------
        path
            Path below the root; folders are made.
        content
            Bytes, or a file of this machine that holds them.

        Returns
        -------
        bool
            False if the name is taken: nothing was written.
        """

    def compare_and_swap(self, path: str, content: bytes, expected: bytes) -> bool:
        """Replace a file that still holds what was read.

        Parameters
        ----------
        path
            Path below the root.
        content
            What it is to hold.
        expected
            What it must hold now.

        Returns
        -------
        bool
            False if it holds something else, or does not exist: nothing was written.
        """

    def replace(self, path: str, content: bytes) -> None:
        """Write a derived file, whether it exists or not.

        Parameters
        ----------
        path
            Path below the root.
        content
            What it is to hold.
        """

    def remove(self, path: str) -> None:
        """Remove a file, if it exists. For operators: no worker ever removes anything.

        Parameters
        ----------
        path
            Path below the root.
        """

    @property
    def lacks(self) -> str:
        """What keeps more than one process from writing; empty if nothing does."""


@dataclass(frozen=True)
class StoreKind:
    """What must be known of a kind of store to write to it, and to read from it by its addresses."""

    open: Callable[[str], Store]
    """Opens the store of a root."""

    presign: Callable[[str, bool], str] | None = None
    """Returns an address of http(s) for an object, valid for an hour; renews the credentials first if asked to."""

    read_ranges: Callable[[str], tuple[int, RangeReader]] | None = None
    """Returns the size of an object, and a function that reads bytes from a first one to the one before another."""


RangeReader = Callable[[int, int], bytes]


def _open_folder(root: str) -> Store:
    return LocalStore(local_path(root).absolute())


def _open_s3(root: str) -> Store:
    from stac_sm.storage.s3.store import S3Store

    return S3Store.of(root)


def _presign_s3(address: str, renewed: bool) -> str:
    from stac_sm.storage.s3.session import presign_href

    return presign_href(address, renewed=renewed)


def _read_s3_ranges(address: str) -> tuple[int, RangeReader]:
    from stac_sm.storage.s3.objects import range_reader

    return range_reader(*bucket_and_key(address))


STORE_KINDS: dict[AddressKind, StoreKind] = {
    LOCAL: StoreKind(_open_folder),
    S3: StoreKind(_open_s3, _presign_s3, _read_s3_ranges),
}
"""Kinds of stores by the kind of their addresses. Boto3 is imported when the first S3 address is met."""


def open_store(root: str | os.PathLike[str]) -> Store:
    """Open the store of a root. Nothing is read.

    Parameters
    ----------
    root
        A folder, or ``s3://BUCKET/PREFIX``.

    Returns
    -------
    Store
        Of the kind that the address has.

    Raises
    ------
    InputError
        If there is no store of this kind.
    """
    text = os.fspath(root)
    kind = STORE_KINDS.get(address_kind(text))
    if kind is None:
        raise InputError(f"store {text!r} cannot be opened: give a folder, or s3://BUCKET/PREFIX")
    return kind.open(text)


def read_address(address: str | os.PathLike[str]) -> bytes:
    """Read a file by its address, in a folder or on S3.

    Parameters
    ----------
    address
        A path, a ``file:`` URL, or ``s3://BUCKET/KEY``.

    Returns
    -------
    bytes
        All of its content.

    Raises
    ------
    InputError
        If it is an address of another kind.
    CatalogError
        If there is no such file.
    """
    folder, name = split_address(absolute_address(address))
    return open_store(folder).read(name or ".")


def table_file(address: str) -> str | io.BytesIO:
    """Return what pandas and pyarrow read the table at an address from.

    They take an address for a URL and parse it, and find credentials for S3 in a way of their own. So they get the path
    of a file of this machine, and the content of an object.

    Parameters
    ----------
    address
        A path, a ``file:`` URL, ``s3://BUCKET/KEY``, or a web address, which is returned as it is.

    Returns
    -------
    str or io.BytesIO
        To be read once.

    Raises
    ------
    CatalogError
        If there is no such object.
    """
    kind = address_kind(address)
    if kind is LOCAL:
        return str(local_path(address))
    return io.BytesIO(read_address(address)) if kind in STORE_KINDS else address


def sha256(content: bytes | Path) -> str:
    """Compute the SHA-256 of some content.

    Parameters
    ----------
    content
        Bytes, or a file that holds them.

    Returns
    -------
    str
        64 digits in hex.
    """
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def multihash(hexdigest: str) -> str:
    """Return the value of ``file:checksum``: a SHA-256 as multihash.

    Parameters
    ----------
    hexdigest
        SHA-256, 64 digits in hex.

    Returns
    -------
    str
        In hex, with ``1220`` in front: the code and the length of SHA-256.
    """
    return "1220" + hexdigest
