"""One writer at a time, for S3 stores that cannot create exclusively: a lease, an object that its writer renews.

Without atomic creation, the lease is safe by time: a process that finds it free writes its own token, waits, and
looks whether it still stands there. Who was slow between looking and writing gives up. Assumed: what is written is
read from then on (S3 and Swift on healthy nodes promise it). Ages are taken from the server's clock.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from stac_sm.core.errors import ConflictError, StacSmError
from stac_sm.storage.object_meta import TEMPORARY
from stac_sm.storage.s3 import objects
from stac_sm.storage.s3.session import RefusedError, endpoint_url, send_request

LEASE_SECONDS = 300.0
"""Age at which a lease counts as left behind; longer than a request with all its attempts."""

RENEW_SECONDS = 60.0
SETTLE_SECONDS = 2.0

LEASE = f"{TEMPORARY}writer.json"


@dataclass(frozen=True)
class _Holder:
    token: str
    age: float


@dataclass
class _Lease:
    """The lease of this process on a place."""

    bucket: str
    key: str
    lacks: str
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    lock: threading.Lock = field(default_factory=threading.Lock)
    renewed: float | None = None
    process: int = field(default_factory=os.getpid)

    def hold(self) -> None:
        """Take or renew the lease; ConflictError if another process has it."""
        start = time.monotonic()
        if self.renewed is not None and start - self.renewed < RENEW_SECONDS:
            return
        kept = self._stands() and self.renewed is not None and start - self.renewed < LEASE_SECONDS / 2
        self._write(start, LEASE_SECONDS / 4 if kept else SETTLE_SECONDS / 2)
        if not kept:
            time.sleep(SETTLE_SECONDS)
            if not self._stands():
                raise self._conflict("has just been taken by another process")
            atexit.register(self.release)
        self.renewed = start

    def release(self) -> None:
        """Leave the lease to others, if this process has it."""
        with contextlib.suppress(StacSmError):
            if os.getpid() == self.process and self.renewed is not None and self._stands():
                objects.delete(self.bucket, self.key)
        self.renewed = None

    def _stands(self) -> bool:
        """Return whether our token stands there; ConflictError if that of another living writer does."""
        holder = self._holder()
        if holder is None or holder.token == self.token:
            return holder is not None
        if holder.age < LEASE_SECONDS:
            left = f"it was renewed {holder.age:.0f} s ago, and is free {LEASE_SECONDS - holder.age:.0f} s from now"
            raise self._conflict(f"is held by another process ({left} if that one has died)")
        return False

    def _write(self, start: float, longest: float) -> None:
        objects.write(self.bucket, self.key, json.dumps({"token": self.token}).encode())
        if time.monotonic() - start > longest:
            self.renewed = None
            raise self._conflict("could not be written fast enough to be sure of it")

    def _holder(self) -> _Holder | None:
        try:
            answer = send_request("get_object", self.bucket, self.key, refusals={404})
        except RefusedError:
            return None
        return _Holder(str(json.loads(answer["Body"]).get("token")), _age(answer))

    def _conflict(self, what: str) -> ConflictError:
        return ConflictError(
            f"s3://{self.bucket}/{self.key} {what}: {endpoint_url()} lacks {self.lacks} (found by probing), so only "
            "one process may write at a time: run with one worker, and again when the other has ended"
        )


def _age(answer: dict[str, Any]) -> float:
    """Return the seconds since an object was written, by the clock of its server."""
    now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    return float((now - answer["LastModified"]).total_seconds())


_leases: dict[tuple[object, ...], _Lease] = {}


@contextlib.contextmanager
def exclusive_writer(bucket: str, prefix: str, lacks: str) -> Iterator[None]:
    """Hold the lease of this process on a prefix while something is written; its threads take turns.

    Raises
    ------
    ConflictError
        If another process holds it.
    """
    key = f"{prefix}{LEASE}"
    lease = _leases.setdefault((os.getpid(), endpoint_url(), bucket, key), _Lease(bucket, key, lacks))
    with lease.lock:
        lease.hold()
        yield
