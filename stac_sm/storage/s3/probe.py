"""What an S3 store can do about writing, found by trying: not every server keeps the conditions it is given."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

from stac_sm.core.errors import StacSmError
from stac_sm.storage.object_meta import TEMPORARY
from stac_sm.storage.s3 import objects
from stac_sm.storage.s3.session import RefusedError, endpoint_url, is_amazon_s3

WRITERS, ROUNDS = 8, 3


@dataclass(frozen=True)
class StoreCapabilities:
    """Which conditions a store keeps."""

    creates_once: bool
    """A second ``If-None-Match: *`` is refused."""

    joins_once: bool
    """So is joining the parts of a large upload over an object that exists."""

    swaps: bool
    """``If-Match`` with another ETag is refused, with the right one it is not."""

    wins_once: bool
    """Of eight creates at the same time exactly one wins, in each of three rounds."""

    @property
    def exclusive(self) -> bool:
        """Whether many may write at the same time."""
        return all(getattr(self, field.name) for field in fields(self))

    @property
    def lacks(self) -> str:
        """What it does not keep, in words."""
        words = {
            "creates_once": "exclusive creation",
            "joins_once": "exclusive creation in parts",
            "swaps": "compare-and-swap",
            "wins_once": "creation that is atomic among writers",
        }
        return ", ".join(words[field.name] for field in fields(self) if not getattr(self, field.name))


_found: dict[tuple[str, str], StoreCapabilities] = {}
_locks: dict[int, threading.Lock] = {}


def known_capabilities(bucket: str, prefix: str) -> StoreCapabilities:
    """Return what is known of a bucket: Amazon's documents, or else a probe, made once in a process."""
    if is_amazon_s3():
        return StoreCapabilities(True, True, True, True)
    key = (endpoint_url(), bucket)
    with _locks.setdefault(os.getpid(), threading.Lock()):
        if key not in _found:
            _found[key] = probe_capabilities(bucket, prefix)
        return _found[key]


def probe_capabilities(bucket: str, prefix: str) -> StoreCapabilities:
    """Find out by trying, with about 40 requests on unlisted objects below the prefix, which are removed again."""
    stem = f"{prefix}{TEMPORARY}probe-{secrets.token_hex(8)}"
    with _removed(bucket, [stem, *(f"{stem}-{n}" for n in range(ROUNDS))]) as (one, *rounds):
        return StoreCapabilities(
            creates_once=_kept(lambda: objects.create(bucket, one, b"1") and not objects.create(bucket, one, b"2")),
            joins_once=_kept(lambda: not _joined(bucket, one)),
            swaps=_kept(lambda: _swaps(bucket, one)),
            wins_once=all(_kept(lambda key=key: _winners(bucket, key) == 1) for key in rounds),
        )


@contextlib.contextmanager
def _removed(bucket: str, keys: list[str]) -> Iterator[list[str]]:
    try:
        yield keys
    finally:
        for key in keys:
            with contextlib.suppress(StacSmError):  # a worker may not be allowed to remove
                objects.delete(bucket, key)


def _kept(holds: Any) -> bool:
    """Return whether something holds; a store that cannot do it (501) does not keep it."""
    try:
        return bool(holds())
    except objects.UnsupportedError:
        return False


def _swaps(bucket: str, key: str) -> bool:
    found = objects.get(bucket, key)
    if found is None or objects.swap(bucket, key, b"3", '"0123456789abcdef0123456789abcdef"'):
        return False
    return objects.swap(bucket, key, b"4", found[1])


def _joined(bucket: str, key: str) -> bool:
    """Return whether a large upload went over an object that exists."""
    try:
        objects.upload_parts(bucket, key, [b"5"], {}, {"IfNoneMatch": "*"})
    except RefusedError as refused:
        return refused.status != 412
    return True


def _winners(bucket: str, key: str) -> int:
    gate = threading.Barrier(WRITERS)

    def create(number: int) -> bool:
        gate.wait()
        return objects.create(bucket, key, b"%d" % number)

    with ThreadPoolExecutor(WRITERS) as pool:
        return sum(pool.map(create, range(WRITERS)))
