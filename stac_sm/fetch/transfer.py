"""Move the bytes of one file: resumed after a break, checked, and under its name only when it is whole.

Bytes go into ``.NAME.part`` beside the file. A further attempt, of this command or a later one, goes on behind them by
a byte range, if the server states the same version of the file as before; else it starts again. The part gets its name
by one rename, after its size, its checksum and its content are right. Nobody else writes it at the same time (`flock`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from stac_sm.core.errors import InputError, StacSmError
from stac_sm.fetch.request import AccountError
from stac_sm.storage.disk_lock import take_lock
from stac_sm.storage.http.client import Answer, Visitor, chunks, exchange, refused
from stac_sm.storage.retry import REQUEST_COUNTS, AttemptError, FaultKind, GaveUpError, RetryPolicy, retry

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Stream:
    """The content of a file from some byte on."""

    start: int
    """First byte that comes."""

    total: int | None
    """Size of the whole file; None where the server does not say it, but says where the content ends."""

    version: str
    """Changes with the content; empty where the server does not say it."""

    parts: Iterator[bytes]
    """The bytes. A break raises `AttemptError`."""


Opener = Callable[[int], AbstractContextManager[Stream]]
"""Opens a file from a byte on; the server may begin at 0 all the same."""


def save(
    file: Path,
    opener: Opener,
    *,
    size: int | None = None,
    checksum: str = "",
    check: Callable[[Path], None] | None = None,
    advice: Mapping[FaultKind, str] | None = None,
    account: Collection[FaultKind] = (),
) -> None:
    """Write a file as a server gives it, whole or not at all.

    Parameters
    ----------
    file
        Where it goes; its folder is made.
    opener
        Opens it at the server.
    size
        Bytes that are required; None if nobody states them.
    checksum
        ``md5:`` or ``sha256:`` and the digest in hex; empty if nobody states one.
    check
        Raises `StacSmError` if the content is none; called once, before the file gets its name.
    advice
        What to do, by fault.
    account
        Faults that mean that the server refuses the account.

    Raises
    ------
    AccountError
        If the server refuses the account.
    InputError
        If the file cannot be had: what has come stays in its part, and the next call goes on with it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    policy, before = RetryPolicy.from_environment(), _state(file)
    with _alone(part) as content:
        now = _state(file)
        if now not in (None, before) and size == file.stat().st_size:  # by whoever held the part before
            part.unlink(missing_ok=True)
            return
        try:
            retry(lambda _: _attempt(content, part, opener, size, checksum), policy, restarts=True)
        except GaveUpError as error:
            what = (advice or {}).get(error.fault, "run the same command again, it goes on where it stopped")
            kind = AccountError if error.fault in account else InputError
            raise kind(f"{file.name}: cannot be fetched ({error}): {what}") from None
        os.fsync(content.fileno())
        if check is not None:
            try:
                check(part)
            except StacSmError:
                _discard(content, part)
                part.unlink(missing_ok=True)
                raise
        part.replace(file)
        _note(part).unlink(missing_ok=True)


def _state(file: Path) -> tuple[int, int] | None:
    """Return what changes when a file is replaced; None if it is not there."""
    try:
        state = file.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_mtime_ns


@contextlib.contextmanager
def _alone(part: Path) -> Iterator[IO[bytes]]:
    """Open a part for this process alone, waiting for another that has it; its file is the one under the name."""
    while True:
        content = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            take_lock(content.fileno(), wait=True)  # without locks two at once may fail, and say so by size or checksum
        except OSError:
            content.close()
            raise
        with contextlib.suppress(FileNotFoundError):
            if part.stat().st_ino == os.fstat(content.fileno()).st_ino:  # not one that was renamed while we waited
                break
        content.close()
    try:
        yield content
    finally:
        content.close()


def _attempt(content: IO[bytes], part: Path, opener: Opener, size: int | None, checksum: str) -> None:
    have, version = _have(content, part, size, checksum)
    if size is None or have < size or not have:
        try:
            required = _continue(content, part, opener, have, version, size)
        except AttemptError as error:
            if error.fault is FaultKind.CHANGED:
                _discard(content, part)
            raise
        have = content.seek(0, os.SEEK_END)
        if required is not None and have != required:
            if have > required:
                _discard(content, part)
            raise AttemptError(FaultKind.BYTES, f"{have} of {required} bytes came")
    if checksum and not _has(content, checksum):
        _discard(content, part)
        raise AttemptError(FaultKind.BYTES, f"another checksum than {checksum}")


def _continue(content: IO[bytes], part: Path, opener: Opener, have: int, version: str, size: int | None) -> int | None:
    """Write what comes behind the bytes that are there; return how many there must be in all."""
    with opener(have) as stream:
        if stream.start not in (0, have) or (have and stream.start and version and stream.version != version):
            raise AttemptError(FaultKind.CHANGED, "the file was replaced at the server")
        if stream.total is not None and size not in (None, stream.total):
            raise AttemptError(FaultKind.CHANGED, f"{stream.total} bytes announced, {size} required")
        content.seek(stream.start)
        content.truncate()
        _note(part).write_text(stream.version)
        _append(content, stream.parts)
        return stream.total if size is None else size


def _have(content: IO[bytes], part: Path, size: int | None, checksum: str) -> tuple[int, str]:
    """Return how many bytes can stay, and the version that they are of."""
    have = content.seek(0, os.SEEK_END)
    note = _note(part)
    version = note.read_text() if note.is_file() else ""
    if have and ((not version and not checksum) or (size is not None and have > size)):
        _discard(content, part)
        have = 0
    return have, version


def _append(content: IO[bytes], parts: Iterator[bytes]) -> None:
    for piece in parts:
        try:
            content.write(piece)
        except OSError as error:
            detail = f"the file cannot be written: {os.strerror(error.errno or 0)}"
        else:
            REQUEST_COUNTS.receive(len(piece))
            continue
        raise AttemptError(FaultKind.DAMAGED, detail)
    content.flush()


def _has(content: IO[bytes], checksum: str) -> bool:
    kind, _, required = checksum.partition(":")
    found = hashlib.new(kind, usedforsecurity=False)
    content.seek(0)
    while piece := content.read(_CHUNK):
        found.update(piece)
    return found.hexdigest() == required.lower()


def _discard(content: IO[bytes], part: Path) -> None:
    content.seek(0)
    content.truncate()
    _note(part).unlink(missing_ok=True)


def _note(part: Path) -> Path:
    return part.with_suffix(".version")


def http_opener(url: str, *, root: str | None, visitor: Visitor | None = None) -> Opener:
    """Return what opens a file by http or https.

    Parameters
    ----------
    url
        Its address; may hold a token.
    root
        Service that led there, which bounds where it may lead; None: the user's own settings.
    visitor
        Whose account and cookies go along.

    Returns
    -------
    Opener
        Refuses a web page in place of a file, a content encoding, and an answer whose end cannot be seen.
    """
    policy = RetryPolicy.from_environment()

    @contextlib.contextmanager
    def opened(start: int) -> Iterator[Stream]:
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        with exchange("GET", url, root=root, policy=policy, headers=headers, visitor=visitor) as response:
            if response.status == 416:
                raise AttemptError(FaultKind.CHANGED, "the file is shorter than what has come of it")
            if response.status not in {200, 206}:
                raise refused(response)
            yield _stream(response, policy)

    return opened


def _stream(response: Answer, policy: RetryPolicy) -> Stream:
    headers = response.headers
    if "text/html" in headers.get("Content-Type", ""):
        raise AttemptError(FaultKind.REFUSED, "a web page came in place of a file")
    if headers.get("Content-Encoding") is not None:
        raise AttemptError(FaultKind.BYTES, "a content encoding, none asked for")
    etag = headers.get("ETag") or ""
    version = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified") or ""
    length = headers.get("Content-Length")
    start, total = 0, int(length) if length is not None and length.isdecimal() else None
    if response.status == 206:
        first, _, of = (headers.get("Content-Range") or "").removeprefix("bytes ").partition("/")
        begin, _, last = first.partition("-")
        if not (begin.isdecimal() and last.isdecimal() and of.isdecimal() and int(last) + 1 == int(of)):
            raise AttemptError(FaultKind.BYTES, "a part without a Content-Range to its end")
        start, total = int(begin), int(of)
    elif total is None and "chunked" not in headers.get("Transfer-Encoding", ""):
        raise AttemptError(FaultKind.BYTES, "an answer without Content-Length")
    return Stream(start, total, version, chunks(response, policy, unpack=False))


def s3_opener(client: Any, bucket: str, key: str) -> Opener:
    """Return what opens an object of S3 by a boto3 client.

    Parameters
    ----------
    client
        As `stac_sm.storage.s3.session.public_client` makes it.
    bucket, key
        The object.

    Returns
    -------
    Opener
        A break of the connection is a failed attempt.
    """

    @contextlib.contextmanager
    def opened(start: int) -> Iterator[Stream]:
        span = {"Range": f"bytes={start}-"} if start else {}
        with s3_errors():
            answer = client.get_object(Bucket=bucket, Key=key, **span)
        with contextlib.closing(answer["Body"]) as body:
            total = start + int(answer["ContentLength"])
            yield Stream(start, total, str(answer.get("ETag", "")), _pieces(body))

    return opened


def _pieces(body: Any) -> Iterator[bytes]:
    while True:
        with s3_errors():
            piece = body.read(_CHUNK)
        if not piece:
            return
        yield piece


@contextlib.contextmanager
def s3_errors() -> Iterator[None]:
    """Turn errors of boto3 into failed attempts, whose words hold no address and no key."""
    try:
        yield
    except AttemptError:
        raise
    except Exception as error:
        meta = (getattr(error, "response", None) or {}).get("ResponseMetadata", {})
        status = int(meta.get("HTTPStatusCode", 0))
        kind = (
            FaultKind.MISSING
            if status == 404
            else FaultKind.CHANGED
            if status == 416
            else FaultKind.REFUSED
            if 400 <= status < 500 and status != 429
            else FaultKind.CONNECTION
        )
        failure = AttemptError(kind, f"S3 answers {type(error).__name__}" + (f" ({status})" if status else ""))
    else:
        return
    raise failure
