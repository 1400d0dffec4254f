"""Folders as stores: how a name is created exactly once on a disk, and a file is replaced by one writer at a time."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stac_sm.core.errors import CatalogError, ConflictError
from stac_sm.storage.object_meta import TEMPORARY, ObjectMeta, checked_path

LOCK_SECONDS = 30.0
"""Age at which the lock file of a folder counts as left behind by a writer that died."""

_FOLDER_TRIES = 20  # how often a folder may be removed while a file is made in it


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
            try:
                found = target.read_bytes()
            except FileNotFoundError:  # removed while we waited
                return False
            if found != expected:
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
    temporary = target.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(6)}")
    file = _opened_new(temporary)
    try:
        with file:
            if isinstance(content, Path):
                with content.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 20)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(NotADirectoryError):  # a file lies where a folder is required: that is what to say
            temporary.unlink(missing_ok=True)
        raise
    return temporary


def _opened_new(file: Path) -> IO[bytes]:
    """Open a new file; its folder is made, again where another process removes it meanwhile because it is empty."""
    for left in reversed(range(_FOLDER_TRIES)):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            return file.open("xb")
        except FileNotFoundError:
            if not left:
                raise
    raise AssertionError("the last try returns or raises")


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:  # the file was removed since, and the folder with it
        return
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
            file = _opened_new(self.file)
        except FileExistsError:
            return False
        try:
            with file:
                file.write(self.token.encode())
        except BaseException:  # without its token it would keep everybody out until it expires
            self.file.unlink(missing_ok=True)
            raise
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
