"""Stores: where a catalogue and its assets are kept, and how a name is taken exactly once.

Paths are relative to the root of a store, with forward slashes. Three ways to write, for three kinds of things:
``create`` for what is written once (assets, items), ``swap`` for what may be replaced by one writer at a time,
``replace`` for what is derived and can always be made again.
"""

from __future__ import annotations

import contextlib
import hashlib
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
from stac_sm.storage.address import LOCAL, S3, AddressKind, address_kind, bucket_and_key, local_path
from stac_sm.storage.object_meta import TEMPORARY, ObjectMeta, checked_path

LOCK_SECONDS = 30.0


class Store(Protocol):
    """Where a catalogue and its assets are kept."""

    @property
    def root(self) -> str:
        """Folder or URL without a slash at its end."""

    def href(self, path: str) -> str:
        """Where GDAL, pandas and others find a path."""

    def exists(self, path: str) -> bool:
        """Whether there is a file."""

    def read(self, path: str) -> bytes:
        """Content of a file; CatalogError where there is none."""

    def local_file(self, path: str) -> AbstractContextManager[Path]:
        """A file on this machine with the content of a file as it reads back; CatalogError where there is none."""

    def list_objects(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """All files below a folder, in the order of their paths as text; those still being written are left out."""

    def list_objects_at(self, folder: str, paths: Iterable[str]) -> Iterator[ObjectMeta]:
        """Those of some files below a folder that there are, whatever else lies there; in any order."""

    def create(self, path: str, content: bytes | Path) -> bool:
        """Write a new file, all of it or nothing; False if the name is taken."""

    def compare_and_swap(self, path: str, content: bytes, expected: bytes) -> bool:
        """Replace a file that still holds ``expected``; False if it holds something else."""

    def replace(self, path: str, content: bytes) -> None:
        """Write a derived file, whether it exists or not."""

    def remove(self, path: str) -> None:
        """Remove a file, if it is there. For operators: no worker ever removes anything."""

    @property
    def lacks(self) -> str:
        """What keeps more than one process at a time from writing; empty if nothing does."""


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
    """Open the store of a root: a folder, or ``s3://BUCKET/PREFIX``. Nothing is read.

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


def sha256(content: bytes | Path) -> str:
    """SHA-256 of bytes or of a file, in hex."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def multihash(hexdigest: str) -> str:
    """Value of ``file:checksum``: a SHA-256 as multihash in hex."""
    return "1220" + hexdigest


@dataclass(frozen=True)
class LocalStore:
    """A folder, possibly shared by several machines.

    A name is taken by link(2) of a complete, fsynced temporary file: it fails if the name exists, on network
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
        """Absolute file name."""
        return str(self._file(path))

    def exists(self, path: str) -> bool:
        """Whether there is a file."""
        return self._file(path).is_file()

    def read(self, path: str) -> bytes:
        """Content of a file."""
        try:
            return self._file(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise CatalogError(f"{self.href(path)} is no file: check the path of the catalogue") from error

    @contextlib.contextmanager
    def local_file(self, path: str) -> Iterator[Path]:
        """The file itself."""
        file = self._file(path)
        if not file.is_file():
            raise CatalogError(f"{file} is no file: check the path of the catalogue")
        yield file

    def list_objects(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """All files below a folder, in the order of their paths as text."""
        waiting = _inside(str(self._file(prefix) if prefix else self.folder))
        below = len(self.root.rstrip("/")) + 1
        while waiting:
            found = waiting.pop()
            if found.is_dir(follow_symlinks=False):
                waiting += _inside(found.path)
            elif (entry := _object_meta(found, below)) is not None:
                yield entry

    def list_objects_at(self, folder: str, paths: Iterable[str]) -> Iterator[ObjectMeta]:
        """Asks for each: a listing would open the folder of each item."""
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
        """Write a new file, all of it or nothing; False if the name is taken."""
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
        """Replace a file that still holds ``expected``, under a lock that expires."""
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
        """Write a derived file by renaming a complete one over it."""
        target = self._file(path)
        _write_temporary(target, content).replace(target)

    def remove(self, path: str) -> None:
        """Remove a file, and the folders that are empty then."""
        file = self._file(path)
        file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another file is in it
            for folder in file.parents:
                if folder == self.folder:
                    break
                folder.rmdir()

    def _file(self, path: str) -> Path:
        return self.folder / checked_path(path, self.root)


def _inside(folder: str) -> list[os.DirEntry[str]]:
    """Folders and files of a folder, against the order of the paths of all files below it as text."""
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
    """What is listed of a file; None of what is no file, is being written, or is gone meanwhile."""
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
