"""Retries: one policy for everything that is asked of a server or a network file system.

A failed attempt has a `FaultKind`. Its kind decides: try again after a wait (``connection``, ``timeout``, ``busy``,
``bytes``, ``storage``), read the whole file again from its start (``changed``), renew the token and try once more
(``credentials``), or give up at once (all others). Attempts and waits are counted, for the report of a run.
"""

from __future__ import annotations

import errno
import logging
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TypeVar

from stac_sm.core.errors import InputError

T = TypeVar("T")

_LOGGER = logging.getLogger("stac_sm")  # that of `log_lines`, which needs this module


class FaultKind(StrEnum):
    """Why an attempt failed."""

    CONNECTION = "connection"
    """No connection, or one that broke."""

    TIMEOUT = "timeout"
    """Nothing, or too little, came in time."""

    BUSY = "busy"
    """The server asks to come back: 408, 425, 429 and 5xx."""

    BYTES = "bytes"
    """Other bytes than asked for: too few, too many, from another place, with another checksum, or no raster."""

    STORAGE = "storage"
    """A file system that fails for a while (EIO, ESTALE, EAGAIN)."""

    CHANGED = "changed"
    """The file was replaced between two requests."""

    CREDENTIALS = "credentials"
    """401, 403, or an expired token."""

    MISSING = "missing"
    """There is no such file."""

    REFUSED = "refused"
    """The server will not do what was asked."""

    UNTRUSTED = "untrusted"
    """The way leads where the catalogue may not send us."""

    TOO_LARGE = "too large"
    """More bytes than we are ready to take."""

    DAMAGED = "damaged"
    """The file is what its item says, but no raster that can be read; or the local disk fails."""


RETRIED_FAULTS = {FaultKind.CONNECTION, FaultKind.TIMEOUT, FaultKind.BUSY, FaultKind.BYTES, FaultKind.STORAGE}
"""Kinds of faults after which the same request is sent again."""

_FOR_EVER = {
    errno.ENOENT: FaultKind.MISSING, errno.ENOTDIR: FaultKind.MISSING, errno.EISDIR: FaultKind.MISSING,
    errno.EACCES: FaultKind.REFUSED, errno.EPERM: FaultKind.REFUSED, errno.ENAMETOOLONG: FaultKind.REFUSED,
    errno.ENOSPC: FaultKind.DAMAGED, errno.EDQUOT: FaultKind.DAMAGED,
    errno.EFBIG: FaultKind.DAMAGED, errno.EROFS: FaultKind.DAMAGED,
}  # fmt: skip


class AttemptError(Exception):
    """Failure of one attempt. The detail is shown to the user: it must hold no URL and no token."""

    def __init__(self, fault: FaultKind, detail: str, retry_after: float = 0.0) -> None:
        super().__init__(f"{fault}: {detail}")
        self.fault, self.detail, self.retry_after = fault, detail, retry_after


class GaveUpError(Exception):
    """Failure of the last attempt, or of one after which another would not help."""

    def __init__(self, fault: FaultKind, detail: str, attempts: int) -> None:
        super().__init__(f"{fault}: {detail} (attempts: {attempts})")
        self.fault, self.detail, self.attempts = fault, detail, attempts


@dataclass(frozen=True)
class RetryPolicy:
    """How often, how long, how fast. Each field can be set by ``STAC_SM_RETRY_<FIELD>``."""

    attempts: int = 6
    """Attempts at one request."""

    total: float = 300.0
    """Seconds after which no further attempt is begun."""

    first_wait: float = 0.5
    """Seconds: bound of the first wait; it doubles with every attempt. The wait is random below it (full jitter)."""

    longest_wait: float = 30.0
    """Seconds: bound of every wait."""

    longest_retry_after: float = 120.0
    """Seconds that a server's ``Retry-After`` is obeyed at most."""

    timeout: float = 30.0
    """Seconds without a connection, or without a byte."""

    slowest: float = 4096.0
    """Bytes a second: a slower answer is a stall."""

    @classmethod
    def from_environment(cls) -> RetryPolicy:
        """Read the policy of this process from its environment.

        Returns
        -------
        RetryPolicy
            Fields whose variable is not set have their defaults.

        Raises
        ------
        InputError
            If a variable of the environment is no positive number.
        """
        stated = {f.name: _from_environment(f.name) for f in fields(cls) if _variable(f.name)}
        return cls(attempts=int(stated.pop("attempts", cls.attempts)), **stated)

    def wait(self, attempt: int, retry_after: float = 0.0) -> float:
        """Return how long to wait after a failed attempt. Random, as "full jitter" of the AWS Architecture Blog.

        Parameters
        ----------
        attempt
            Number of the attempt, from 1.
        retry_after
            Seconds that the server asks for; 0 if it does not.

        Returns
        -------
        float
            Seconds.
        """
        jittered = random.uniform(0.0, min(self.longest_wait, self.first_wait * 2.0 ** (attempt - 1)))
        return max(jittered, min(retry_after, self.longest_retry_after))


def _variable(name: str) -> str:
    return os.environ.get(f"STAC_SM_RETRY_{name.upper()}", "")


def _from_environment(name: str) -> float:
    text = _variable(name)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf") or (name == "attempts" and not value.is_integer()):
        raise InputError(f"STAC_SM_RETRY_{name.upper()} is {text!r}: a positive number is required")
    return value


@dataclass
class RequestCounts:
    """What was asked of servers, and how often again; safe in threads."""

    requests: int = 0
    """Requests sent, redirects included."""

    received: int = 0
    """Bytes of content received."""

    retries: Counter[str] = field(default_factory=Counter)
    """Further attempts, by fault."""

    waited: dict[str, float] = field(default_factory=dict)
    """Seconds waited, by fault."""

    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def request(self) -> None:
        """Count a request."""
        with self._lock:
            self.requests += 1

    def receive(self, count: int) -> None:
        """Count bytes of content."""
        with self._lock:
            self.received += count

    def retry(self, fault: FaultKind, waited: float) -> None:
        """Count a further attempt and the wait before it."""
        with self._lock:
            self.retries[fault.value] += 1
            self.waited[fault.value] = self.waited.get(fault.value, 0.0) + waited

    def snapshot(self) -> dict[str, object]:
        """Return requests, bytes, retries and seconds waited so far, ready for JSON."""
        with self._lock:
            waited = {name: round(seconds, 3) for name, seconds in self.waited.items()}
            return {
                "requests": self.requests, "received": self.received, "retries": dict(self.retries), "waited": waited
            }  # fmt: skip


REQUEST_COUNTS = RequestCounts()
"""Of this process."""


def retry(attempt: Callable[[bool], T], policy: RetryPolicy, *, restarts: bool = False) -> T:
    """Call a function until it succeeds, or trying again would not help.

    Parameters
    ----------
    attempt
        One attempt; its argument says whether to use new credentials. Raises `AttemptError`.
    policy
        How often and how long.
    restarts
        Whether an attempt reads the file from its start: then a changed file is tried again here. Otherwise the caller
        has to start again.

    Returns
    -------
    object
        What the attempt returns that succeeds.

    Raises
    ------
    GaveUpError
        When attempts or time are used up, or the fault is for ever.
    AttemptError
        If the file has changed, and an attempt does not read it from its start.
    """
    end, renewed, tries = time.monotonic() + policy.total, False, 0
    while True:
        tries += 1
        try:
            return attempt(renewed)
        except AttemptError as error:
            fault, detail, after = error.fault, error.detail, error.retry_after
        # outside of the handler: what is raised here must not hold the attempt's frames, where tokens are
        if fault is FaultKind.CHANGED and not restarts:
            raise AttemptError(fault, detail)
        again = (
            fault in RETRIED_FAULTS or fault is FaultKind.CHANGED or (fault is FaultKind.CREDENTIALS and not renewed)
        )
        wait = 0.0 if fault is FaultKind.CREDENTIALS else policy.wait(tries, after)
        if not again or tries >= policy.attempts or time.monotonic() + wait > end:
            raise GaveUpError(fault, detail, tries)
        renewed = renewed or fault is FaultKind.CREDENTIALS
        REQUEST_COUNTS.retry(fault, wait)
        facts = {"fault": fault.value, "attempt": tries + 1}
        _LOGGER.info("%s: %s: attempt %d in %.1f s", fault, detail, tries + 1, wait, extra={"facts": facts})
        time.sleep(wait)


def fault_of_status(status: int, code: str = "") -> FaultKind:
    """Return the fault of an HTTP status, and of the error code that an object store gives with it."""
    if code in {"ExpiredToken", "RequestExpired", "TokenRefreshRequired", "AuthenticationFailed"}:
        return FaultKind.CREDENTIALS
    if code in {"RequestTimeout", "SlowDown"} or status in {408, 425, 429} or status >= 500:
        return FaultKind.BUSY
    if status in {401, 403}:
        return FaultKind.CREDENTIALS
    return FaultKind.MISSING if status in {404, 410} else FaultKind.REFUSED


def seconds_of_retry_after(text: str | None) -> float:
    """Return the seconds that a ``Retry-After`` header asks to wait: a number, or a date; 0 if it is neither."""
    if not text:
        return 0.0
    try:
        number = text.strip().isdecimal()
        return max(0.0, float(text) if number else parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def fault_of(error: BaseException) -> FaultKind:
    """Return the fault of an error of the operating system: of a file, a socket or a name.

    Parameters
    ----------
    error
        Anything that reading raised.

    Returns
    -------
    FaultKind
        ``connection`` where nothing more is known.
    """
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return FaultKind.UNTRUSTED
    if isinstance(error, TimeoutError):
        return FaultKind.TIMEOUT
    if isinstance(error, ConnectionError | ssl.SSLError) or not isinstance(error, OSError):
        return FaultKind.CONNECTION
    local = {errno.EIO, errno.EAGAIN, getattr(errno, "ESTALE", errno.EIO), errno.EINTR, errno.ENOLCK, errno.EREMOTEIO}
    return _FOR_EVER.get(error.errno or 0, FaultKind.STORAGE if error.errno in local else FaultKind.CONNECTION)
