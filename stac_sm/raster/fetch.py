"""Bring what a read needs to a local file: GDAL reads local files only.

`read` and `pixels` call `local_copy` for each file. What lies on the network is brought by the HTTP client and the S3
session of `storage`, in one of two ways:

Whole
    A file with a checksum that is small, or of which the window is a large part, comes in one request and is compared
    with its checksum: wrong bytes, a truncated file and a mix of two versions are found.
In parts
    Of all others, the header and the blocks of the window come by ranges into a sparse file. Each answer must hold
    exactly the bytes that were asked for, of one version (ETag, else time of change) and one size, so truncation
    and mixed versions are found. Wrong bytes of the right length are found only if they cannot be decoded
    (deflate has a checksum of its own; LZW, ZSTD and uncompressed blocks have none), and mixed versions not if the
    server gives neither ETag nor time of change.

So GDAL's drivers, caches, retries and redirects never meet the network when assets of a catalogue are read, and one
policy holds for every byte of them. Only the ingest of SoilGrids from the web reads tiles by GDAL itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np

from stac_sm.raster.source import RasterSource, Window
from stac_sm.raster.tiff_header import MAGIC, MARGIN, read_header, spans_of_window
from stac_sm.storage.address import WEB, address_kind, is_remote
from stac_sm.storage.http.client import ReceivedBytes, Span, download_bytes
from stac_sm.storage.retry import AttemptError, FaultKind, GaveUpError, RetryPolicy, fault_of, retry
from stac_sm.storage.signing import sign_href

WHOLE_FILE_BYTES = 1 << 26
"""Bytes up to which a file is brought whole, if the window is at least an eighth of it."""

SMALL_FILE_BYTES = 1 << 20
"""Bytes up to which a file is brought whole in any case."""

_LARGE_PART = 1 / 8  # of the pixels of a file
_HEADER = 1 << 16  # bytes that the first request brings
_GAP = 1 << 17  # reading so many bytes more is faster than another request
_PIECE = 1 << 24  # bytes that one request asks for at most
_LARGEST = 1 << 44
_HASHES = {
    "1114": "sha1", "1220": "sha256", "2030": "sha384", "1340": "sha512", "1620": "sha3_256", "1440": "sha3_512",
    "d50110": "md5",
}  # fmt: skip


@dataclass(frozen=True)
class LocalCopy:
    """A local file that holds what is needed of an asset."""

    name: str
    """Path of the file."""

    state: str
    """Version of its content (size and time of change, checksum or ETag): decides its header; empty if unknown."""

    checksum_verified: bool
    """Whether its bytes have the checksum that the item states."""

    remote: bool
    """Whether it was brought here, so that bringing it again may help."""


@contextlib.contextmanager
def local_copy(source: RasterSource, window: Window, root: str, policy: RetryPolicy) -> Iterator[LocalCopy]:
    """Provide what a window needs in a local file, which is deleted afterwards if it was brought here.

    Parameters
    ----------
    source
        The band; its href was checked (`storage.trust`).
    window
        Rows and columns inside the file.
    root
        Root of the catalogue that names the href; empty if it is the user's own.
    policy
        How often and how long requests are repeated.

    Yields
    ------
    LocalCopy
        Valid inside the context.

    Raises
    ------
    AttemptError
        If the bytes are damaged, changed or missing; repeating the whole read may help.
    GaveUpError
        If the policy allows no more requests.
    """
    if not is_remote(source.href):
        yield _own(source)
        return
    with tempfile.NamedTemporaryFile(prefix="stac-sm-", suffix=".tif") as file:
        yield _brought(source, window, root, policy, file)


def _own(source: RasterSource) -> LocalCopy:
    """Return a file of this machine, after comparing it with its checksum once a process for each of its states."""
    file, verified = Path(source.href), False
    try:
        found = file.stat()
        with file.open("rb") as opened:
            magic = opened.read(4)
        if hash_of(source.checksum):
            checksum = _checksum_of(str(file), source.checksum, found.st_size, found.st_mtime_ns)
            verified = checksum == source.checksum.lower()
    except OSError as error:
        fault, what = fault_of(error), error.strerror or type(error).__name__
    else:
        if hash_of(source.checksum) and not verified:
            raise AttemptError(
                FaultKind.DAMAGED, "its checksum is not that of the item, so it was damaged or changed: ingest it again"
            )
        if magic not in MAGIC:
            raise AttemptError(FaultKind.DAMAGED, "it is no TIFF")
        return LocalCopy(str(file), f"{found.st_size} {found.st_mtime_ns}", verified, remote=False)
    raise AttemptError(FaultKind.MISSING if fault is FaultKind.CONNECTION else fault, what)


def content_state(source: RasterSource) -> str:
    """Return what the content of a file follows from, without reading it.

    Parameters
    ----------
    source
        The band, as its item describes it.

    Returns
    -------
    str
        Checksum that the item states, and of a file of this machine its size and time of change; empty where the item
        states none, or the file cannot be found: then it must be read.
    """
    if not hash_of(source.checksum):
        return ""
    if is_remote(source.href):
        return source.checksum
    try:
        found = Path(source.href).stat()
    except OSError:
        return ""
    return f"{source.checksum} {found.st_size} {found.st_mtime_ns}"


def _brought(source: RasterSource, window: Window, root: str, policy: RetryPolicy, file: IO[bytes]) -> LocalCopy:
    if hash_of(source.checksum) and _comes_whole(source, window):
        try:
            return _whole(source, root, policy, file)
        except GaveUpError as end:
            if end.fault is not FaultKind.TOO_LARGE:  # larger than the item says
                raise
    return _in_parts(source, window, root, policy, file)


def _comes_whole(source: RasterSource, window: Window) -> bool:
    """Return whether to bring the whole file, by its (largest possible) size and the part that is needed."""
    pixels = math.prod(source.geobox.shape)
    size = source.size or pixels * np.dtype(source.dtype or "float32").itemsize * source.bands
    part = math.prod(side.stop - side.start for side in window) / pixels
    return size <= SMALL_FILE_BYTES or (size <= WHOLE_FILE_BYTES and part >= _LARGE_PART)


def _whole(source: RasterSource, root: str, policy: RetryPolicy, file: IO[bytes]) -> LocalCopy:
    def attempt(renewed: bool) -> None:
        file.seek(0)
        file.truncate(0)
        received = _get(source, file, None, root, policy, renewed)
        file.flush()
        if source.size is not None and received.total != source.size:
            raise AttemptError(FaultKind.BYTES, f"{received.total} bytes found, {source.size} in the item")
        file.seek(0)
        if hashlib.file_digest(file, hash_of(source.checksum)).hexdigest() != _digest(source.checksum):  # type: ignore[arg-type, unused-ignore]
            raise AttemptError(FaultKind.BYTES, "its checksum is not that of the item")
        file.seek(0)
        if file.read(4) not in MAGIC:
            raise AttemptError(FaultKind.DAMAGED, "it is no TIFF")

    retry(attempt, policy)
    return LocalCopy(file.name, source.checksum, checksum_verified=True, remote=True)


def _get(
    source: RasterSource, file: IO[bytes], span: Span | None, root: str, policy: RetryPolicy, renewed: bool
) -> ReceivedBytes:
    url = sign_href(source.href, source.sign, renewed=renewed)
    by_settings = address_kind(source.href) is not WEB  # the endpoint of a store is the user's own choice
    return download_bytes(
        url, file, span=span, at_most=WHOLE_FILE_BYTES, root=None if by_settings else root, policy=policy
    )


class _Parts:
    """A sparse file that is filled by ranges, all of one version."""

    def __init__(self, source: RasterSource, root: str, policy: RetryPolicy, file: IO[bytes]) -> None:
        self._source, self._root, self._policy, self._file = source, root, policy, file
        self._spans: list[Span] = []
        self.total, self.version = 0, ""

    def begin(self) -> None:
        """Bring the beginning, which shows the size of the file and its version."""
        first = self._bring((0, _HEADER))
        self.total, self.version = first.total, first.version
        if self.total > _LARGEST:
            raise AttemptError(FaultKind.TOO_LARGE, f"a file of {self.total} bytes")
        self._file.truncate(self.total)
        self._spans = [first.span]

    def read(self, span: Span) -> bytes:
        """Return the bytes of a span, after bringing those that are missing."""
        if not 0 <= span[0] < span[1] <= self.total:
            raise AttemptError(FaultKind.BYTES, f"its header points behind its end at {self.total} bytes")
        self.need([span])
        self._file.seek(span[0])
        return self._file.read(span[1] - span[0])

    def need(self, spans: Sequence[Span]) -> None:
        """Bring the missing bytes of some spans, in few requests."""
        if any(start >= self.total for start, _ in spans):
            raise AttemptError(FaultKind.BYTES, f"its header points behind its end at {self.total} bytes")
        for start, stop in merge_spans(spans, _GAP):
            for at in range(start, min(stop, self.total), _PIECE):
                span = (at, min(at + _PIECE, stop, self.total))
                if not any(have[0] <= span[0] and span[1] <= have[1] for have in self._spans):
                    self._add(span)
        self._file.flush()

    def _add(self, span: Span) -> None:
        whole = (span[0], min(self.total, max(span[1], span[0] + _HEADER)))
        received = self._bring(whole)
        if (received.total, received.version) != (self.total, self.version):
            raise AttemptError(FaultKind.CHANGED, "the file changed while it was read")
        self._spans = merge_spans([*self._spans, received.span], 0)

    def _bring(self, span: Span) -> ReceivedBytes:
        return retry(
            lambda renewed: _get(self._source, self._file, span, self._root, self._policy, renewed), self._policy
        )


def _in_parts(source: RasterSource, window: Window, root: str, policy: RetryPolicy, file: IO[bytes]) -> LocalCopy:
    import rasterio

    file.truncate(0)
    parts = _Parts(source, root, policy, file)
    parts.begin()
    if source.size is not None and parts.total != source.size:
        raise AttemptError(FaultKind.BYTES, f"{parts.total} bytes found, {source.size} in the item")
    read_header(parts.read)
    file.flush()
    try:
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(file.name, driver="GTiff") as opened:
            inside = (opened.count == source.bands) and opened.shape == tuple(source.geobox.shape)
            spans = spans_of_window(opened, source.band, window) if inside else []  # else the header check reports it
            largest = 2 * math.prod(opened.block_shapes[0]) * 16 * opened.count + 65536
    except rasterio.errors.RasterioError as error:
        reason = str(error).replace(file.name, "it")
    else:
        if any(stop - start > largest for start, stop in spans):
            raise AttemptError(FaultKind.DAMAGED, "a block is larger compressed than not")
        if any(stop - MARGIN > parts.total for _, stop in spans):
            raise AttemptError(FaultKind.BYTES, "it ends before its last block")
        parts.need(spans)
        state = f"{parts.total} {parts.version}" if parts.version else ""
        return LocalCopy(file.name, state, checksum_verified=False, remote=True)
    raise AttemptError(FaultKind.BYTES, reason)


def merge_spans(spans: Sequence[Span], gap: int) -> list[Span]:
    """Return spans in order, merging those that overlap or are no farther apart than a gap (bytes)."""
    found: list[Span] = []
    for start, stop in sorted(spans):
        if found and start <= found[-1][1] + gap:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        else:
            found.append((start, stop))
    return found


def hash_of(checksum: str) -> str:
    """Return the name of the hash of a multihash in hex; empty if it is none, or one that Python does not know."""
    text = checksum.lower()
    for prefix, name in _HASHES.items():
        length = 2 * hashlib.new(name, usedforsecurity=False).digest_size
        if text.startswith(prefix) and len(text) == len(prefix) + length and set(text) <= set("0123456789abcdef"):
            return name
    return ""


def _digest(checksum: str) -> str:
    name = hash_of(checksum)
    return checksum.lower()[-2 * hashlib.new(name, usedforsecurity=False).digest_size :]


@lru_cache(maxsize=65536)
def _checksum_of(file: str, checksum: str, size: int, changed: int) -> str:
    """Return the multihash of a file, of the kind of another one."""
    with Path(file).open("rb") as opened:
        digest = hashlib.file_digest(opened, hash_of(checksum)).hexdigest()
    return checksum.lower()[: -len(digest)] + digest
