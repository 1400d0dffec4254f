"""Stores: where a catalogue and its assets are kept, and how a name is created exactly once.

Paths are relative to the root of a store, with forward slashes. There are three ways to write, for three kinds of
things: ``create`` for what is written once (assets, items), ``compare_and_swap`` for what may be replaced by one writer
at a time, ``replace`` for what is derived and can be made again. Stages that publish, the index and `audit` work on a
`Store` and do not know which kind it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stac_sm.core.errors import CatalogError, ConflictError, InputError
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
from stac_sm.storage.object_meta import TEMPORARY, ObjectMeta, checked_path

LOCK_SECONDS = 30.0
"""Age at which the lock file of a folder counts as left behind by a writer that died."""


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


@dataclass(frozen=True)
class LocalStore:
    """Folder that holds a catalogue, possibly shared by several machines.

    A name is created by link(2) of a complete, fsynced temporary file: it fails if the name exists, on network
    file systems too.
    """

    folder: Path
    """The root."""

    @property
    def root(self) -> str:
        """The folder as text."""
        return str(self.folder)

    @property
    def lacks(self) -> str:
        """Nothing."""
        return ""

    def href(self, path: str) -> str:
        """Return where GDAL, pandas and others find a file.

        Parameters
        ----------
        path
            Path below the root; the file need not exist.

        Returns
        -------
        str
            Absolute file name.
        """
        return str(self._file(path))

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
        return self._file(path).is_file()

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
        try:
            return self._file(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise CatalogError(f"{self.href(path)} is no file: check the path of the catalogue") from error

    @contextlib.contextmanager
    def local_file(self, path: str) -> Iterator[Path]:
        """Provide a file of this machine with the content of a file as it reads back.

        Parameters
        ----------
        path
            Path below the root.

        Yields
        ------
        pathlib.Path
            The file itself.

        Raises
        ------
        CatalogError
            If there is none.
        """
        file = self._file(path)
        if not file.is_file():
            raise CatalogError(f"{file} is no file: check the path of the catalogue")
        yield file

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
        waiting = _inside(str(self._file(prefix) if prefix else self.folder))
        below = len(self.root.rstrip("/")) + 1
        while waiting:
            found = waiting.pop()
            if found.is_dir(follow_symlinks=False):
                waiting += _inside(found.path)
            elif (entry := _object_meta(found, below)) is not None:
                yield entry

    def list_objects_at(self, folder: str, paths: Iterable[str]) -> Iterator[ObjectMeta]:
        """List some files below a folder, whatever else lies there.

        Each is asked for: a listing would open the folder of each item.

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
        root = self.root.rstrip("/")
        for path in paths:
            if ".." in path or path.startswith("/"):
                checked_path(path, self.root)
            try:
                status = os.stat(f"{root}/{path}")  # noqa: PTH116 - a Path takes as long as the question
            except (FileNotFoundError, NotADirectoryError):
                continue
            if stat.S_ISREG(status.st_mode):
                yield ObjectMeta(path, status.st_size, _version(status), status.st_mtime)

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
        target = self._file(path)
        temporary = _write_temporary(target, content)
        try:
            os.link(temporary, target)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        _sync_folder(target.parent)
        return True

    def compare_and_swap(self, path: str, content: bytes, expected: bytes) -> bool:
        """Replace a file that still holds what was read.

        A lock file, which expires, keeps other writers out meanwhile.

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

        Raises
        ------
        ConflictError
            If another writer holds the lock for a minute.
        """
        target = self._file(path)
        if not target.is_file():
            return False
        with _locked(target) as lock:
            if not target.is_file() or target.read_bytes() != expected:
                return False
            temporary = _write_temporary(target, content)
            if not lock.held():  # we slept so long that another writer took the lock for abandoned
                temporary.unlink()
                return False
            temporary.replace(target)
        _sync_folder(target.parent)
        return True

    def replace(self, path: str, content: bytes) -> None:
        """Write a derived file, whether it exists or not.

        A complete file is renamed over it.

        Parameters
        ----------
        path
            Path below the root.
        content
            What it is to hold.
        """
        target = self._file(path)
        _write_temporary(target, content).replace(target)

    def remove(self, path: str) -> None:
        """Remove a file, and the folders that are empty then.

        Parameters
        ----------
        path
            Path below the root.
        """
        file = self._file(path)
        file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another file is in it
            for folder in file.parents:
                if folder == self.folder:
                    break
                folder.rmdir()

    def version(self, path: str) -> str | None:
        """Return what changes whenever a file is written again; None if there is no file.

        Parameters
        ----------
        path
            Path below the root.

        Returns
        -------
        str or None
            As in `list_objects`; one look at the folder, where reading the file costs ten times as much.
        """
        try:
            return _version(os.stat(f"{self.folder}/{path}"))  # noqa: PTH116 - a Path costs as much as the look
        except OSError:
            return None

    def _file(self, path: str) -> Path:
        return self.folder / checked_path(path, self.root)


def _inside(folder: str) -> list[os.DirEntry[str]]:
    """Return folders and files of a folder, against the order of the paths of all files below it as text."""
    try:
        with os.scandir(folder) as found:
            children = list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []
    if len(children) > 1:
        children.sort(key=_path_order, reverse=True)
    return children


def _path_order(child: os.DirEntry[str]) -> str:
    return f"{child.name}/" if child.is_dir(follow_symlinks=False) else child.name


def _object_meta(file: os.DirEntry[str], below: int) -> ObjectMeta | None:
    """Return what is listed of a file; None of what is no file, is being written, or is gone meanwhile."""
    if file.name.startswith(TEMPORARY):
        return None
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    path = file.path[below:]
    path = path if os.sep == "/" else path.replace(os.sep, "/")
    return ObjectMeta(path, status.st_size, _version(status), status.st_mtime)


def _version(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns}-{status.st_ino}"


def _write_temporary(target: Path, content: bytes | Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(6)}")
    try:
        with temporary.open("xb") as file:
            if isinstance(content, Path):
                with content.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 20)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class _Lock:
    file: Path
    token: str

    def take(self) -> bool:
        try:
            with self.file.open("x") as file:
                file.write(self.token)
        except FileExistsError:
            return False
        return True

    def held(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return self.file.read_text() == self.token
        return False


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[_Lock]:
    """Hold the lock file of a target; one left behind by a dead writer expires."""
    lock = _Lock(target.with_name(f"{TEMPORARY}lock-{target.name}"), secrets.token_hex(16))
    deadline = time.monotonic() + 2 * LOCK_SECONDS
    while not lock.take():
        _expire(lock.file)
        if time.monotonic() > deadline:
            raise ConflictError(f"{target} is locked by another writer: {lock.file} did not go away; try again")
        time.sleep(0.02)
    try:
        yield lock
    finally:
        if lock.held():
            lock.file.unlink(missing_ok=True)


def _expire(lock: Path) -> None:
    """Remove a lock that is too old; rename first, and put back what turns out to be another waiter's new one."""
    with contextlib.suppress(FileNotFoundError):
        if _age(lock) > LOCK_SECONDS:
            grave = lock.with_name(f"{lock.name}-{secrets.token_hex(6)}")
            lock.rename(grave)
            if _age(grave) <= LOCK_SECONDS:
                with contextlib.suppress(FileExistsError):
                    os.link(grave, lock)
            grave.unlink()


def _age(file: Path) -> float:
    return time.time() - file.stat().st_mtime
