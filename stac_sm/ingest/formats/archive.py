"""Unpack members of zip and tar archives to temporary files that live as long as what was opened from them.

Services deliver archives under any name: the Climate Data Store sends a zip as ``era5.nc`` or ``download``. Paths in an
archive are not trusted: each member is written into a folder of its own, under the last part of its name.
"""

from __future__ import annotations

import lzma
import shutil
import struct
import tarfile
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from stac_sm.core.errors import GranuleError

UNREADABLE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, OSError,
    ValueError, OverflowError,
)  # fmt: skip
"""All that zipfile, tarfile and their decompressors raise on damaged archives."""

_FIRST_BYTES = 8
_LONGEST = 200  # characters of a name


@dataclass(frozen=True)
class Member:
    """A member of an archive, unpacked to a temporary file."""

    archive: Path
    """The archive."""

    name: str
    """Its path in the archive."""

    file: Path
    """The temporary file, in a folder of its own."""

    @property
    def shown(self) -> str:
        """Name of archive and member, for messages."""
        return f"{self.archive}, member {self.name}"

    def remove(self) -> None:
        """Remove the temporary file."""
        shutil.rmtree(self.file.parent, ignore_errors=True)

    def keep_for(self, owner: Any) -> None:
        """Keep the temporary file until an object is gone, and remove it then."""
        weakref.finalize(owner, shutil.rmtree, str(self.file.parent), True)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Name the member, not the temporary file, in an error that is raised inside."""
        try:
            yield
        except GranuleError as error:
            raise GranuleError(str(error).replace(str(self.file), self.shown)) from error


def is_archive(file: Path) -> bool:
    """Return whether a file is a zip or tar archive, by its first bytes."""
    with file.open("rb") as content:
        head = content.read(512)
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06")) or head[257:262] == b"ustar" or _is_packed_tar(file, head)


def begins_as_data(first: bytes) -> bool:
    """Return whether the first bytes of a file are those of NetCDF, HDF, GRIB or GeoTIFF."""
    starts = (b"CDF", b"\x89HDF", b"GRIB", b"\x0e\x03\x13\x01", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    return first.startswith(starts)


def unpack_members(file: Path, takes: Callable[[bytes], bool]) -> Iterator[Member]:
    """Yield the members of an archive that begin as asked for, unpacked one after another.

    Parameters
    ----------
    file
        A zip or tar archive.
    takes
        Whether a member is unpacked, by its first eight bytes.

    Yields
    ------
    Member
        To be kept or removed by the caller; in order of the names.

    Raises
    ------
    GranuleError
        If the archive is damaged, encrypted, or larger than what is free for temporary files.
    """
    try:
        for name, size, stream in _members(file):
            with stream() as content:
                first = content.read(_FIRST_BYTES)
            if not takes(first):
                continue
            _check_room(file, name, size)
            folder = Path(tempfile.mkdtemp(prefix="stac-sm-"))
            member = Member(file, name, folder / PurePosixPath(name.replace("\\", "/")).name[-_LONGEST:])
            try:
                with stream() as content, member.file.open("wb") as unpacked:
                    shutil.copyfileobj(content, unpacked, 1 << 20)
            except BaseException:
                member.remove()
                raise
            yield member
    except UNREADABLE as error:
        raise GranuleError(f"{file}: cannot be unpacked ({error!s:.200}): fetch it again") from error


def _members(file: Path) -> Iterator[tuple[str, int, Callable[[], IO[bytes]]]]:
    """Yield name, size and opener of each file in an archive, but for those that macOS adds."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for info in sorted(archive.infolist(), key=lambda one: one.filename):
                if not info.is_dir() and _is_shown(info.filename):
                    yield info.filename, info.file_size, lambda info=info: archive.open(info)  # type: ignore[misc]
        return
    with tarfile.open(file) as packed:
        for entry in sorted(packed.getmembers(), key=lambda one: one.name):
            if entry.isreg() and _is_shown(entry.name):
                yield entry.name, entry.size, lambda entry=entry: packed.extractfile(entry)  # type: ignore[misc]


def _is_shown(name: str) -> bool:
    return not PurePosixPath(name).name.startswith(".") and "__MACOSX" not in name


def _check_room(file: Path, name: str, size: int) -> None:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if size > free:
        raise GranuleError(
            f"{file}: its member {name} has {size} bytes, {free} are free in {tempfile.gettempdir()}: unpack it "
            "elsewhere and ingest the files, or set TMPDIR"
        )


def _is_packed_tar(file: Path, head: bytes) -> bool:
    return head[:2] in (b"\x1f\x8b", b"BZ", b"\xfd7") and tarfile.is_tarfile(file)
