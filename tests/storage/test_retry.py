"""The one policy of retries: what is tried again, how often, how long; and what is counted."""

import errno
import random
import socket
import ssl
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import InputError
from stac_sm.storage.retry import (
    COUNTS,
    RETRIED,
    AttemptError,
    Counts,
    Fault,
    GaveUpError,
    Policy,
    fault_of,
    fault_of_status,
    retried,
)

QUICK = Policy(attempts=5, first_wait=1e-4, longest_wait=1e-3, longest_retry_after=0.02)


class Failing:
    """Fails by a list, then works; remembers how it was called."""

    def __init__(self, *faults, after=0.0):
        self.faults, self.after, self.calls = list(faults), after, []

    def __call__(self, renewed):
        self.calls.append(renewed)
        if self.faults:
            raise AttemptError(self.faults.pop(0), "canary detail", self.after)
        return "done"


@pytest.mark.parametrize("fault", sorted(RETRIED))
def test_what_may_pass_is_tried_again(fault):
    attempt = Failing(*[fault] * 4)
    assert retried(attempt, QUICK) == "done"
    assert len(attempt.calls) == 5
    with pytest.raises(GaveUpError) as end:
        retried(Failing(*[fault] * 5), QUICK)
    assert (end.value.fault, end.value.attempts) == (fault, 5)


@pytest.mark.parametrize("fault", sorted(set(Fault) - RETRIED - {Fault.CREDENTIALS, Fault.CHANGED}))
def test_what_stays_is_not_tried_again(fault):
    attempt = Failing(fault)
    with pytest.raises(GaveUpError):
        retried(attempt, QUICK)
    assert len(attempt.calls) == 1


def test_credentials_are_had_anew_once():
    attempt = Failing(Fault.CREDENTIALS)
    assert retried(attempt, QUICK) == "done"
    assert attempt.calls == [False, True]
    attempt = Failing(Fault.CREDENTIALS, Fault.BUSY, Fault.CREDENTIALS)
    with pytest.raises(GaveUpError):
        retried(attempt, QUICK)
    assert attempt.calls == [False, True, True]


def test_a_changed_file_is_begun_anew_by_whom_can():
    with pytest.raises(AttemptError):
        retried(Failing(Fault.CHANGED), QUICK)
    assert retried(Failing(Fault.CHANGED), QUICK, restarts=True) == "done"


def test_the_end_of_a_retry_holds_nothing_of_the_attempts():
    def attempt(_):
        token = "canary"
        try:
            raise OSError(token)
        except OSError as error:
            raise AttemptError(Fault.BUSY, "HTTP 503") from error

    with pytest.raises(GaveUpError) as end:
        retried(attempt, QUICK)
    assert end.value.__cause__ is None
    assert end.value.__context__ is None


def test_no_further_attempt_is_begun_after_the_total_time():
    attempt = Failing(*[Fault.BUSY] * 99, after=0.02)
    start = time.monotonic()
    with pytest.raises(GaveUpError):
        retried(attempt, Policy(attempts=99, total=0.1, first_wait=1e-4, longest_retry_after=0.02))
    assert time.monotonic() - start < 0.2
    assert 2 <= len(attempt.calls) <= 6


@given(st.integers(1, 400), st.floats(0, 1e9))
def test_a_wait_is_bounded(attempt, retry_after):
    policy = Policy()
    assert min(retry_after, policy.longest_retry_after) <= policy.wait(attempt, retry_after)
    assert policy.wait(attempt, retry_after) <= max(policy.longest_wait, policy.longest_retry_after)
    assert policy.wait(1) <= policy.first_wait


def test_waits_differ_between_workers():
    random.seed(1)
    waits = [Policy().wait(4) for _ in range(200)]
    assert min(waits) < 0.4
    assert max(waits) > 3.6


def test_all_is_counted():
    before = COUNTS.snapshot()["retries"].get("busy", 0)
    retried(Failing(Fault.BUSY, Fault.BUSY), QUICK)
    after = COUNTS.snapshot()
    assert after["retries"]["busy"] == before + 2
    assert after["waited"]["busy"] >= 0
    counts = Counts()
    threads = [
        threading.Thread(target=lambda: [(counts.request(), counts.receive(3)) for _ in range(500)]) for _ in range(4)
    ]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert (counts.requests, counts.received) == (2000, 6000)


STATUSES = {
    408: Fault.BUSY, 425: Fault.BUSY, 429: Fault.BUSY, 500: Fault.BUSY, 502: Fault.BUSY, 503: Fault.BUSY,
    504: Fault.BUSY, 401: Fault.CREDENTIALS, 403: Fault.CREDENTIALS, 404: Fault.MISSING, 410: Fault.MISSING,
    400: Fault.REFUSED, 405: Fault.REFUSED, 451: Fault.REFUSED,
}  # fmt: skip


@pytest.mark.parametrize(("status", "fault"), STATUSES.items())
def test_the_fault_of_a_status(status, fault):
    assert fault_of_status(status) is fault


@pytest.mark.parametrize(
    ("status", "code", "fault"),
    [
        (400, "ExpiredToken", Fault.CREDENTIALS),
        (400, "RequestTimeout", Fault.BUSY),
        (503, "SlowDown", Fault.BUSY),
        (404, "NoSuchKey", Fault.MISSING),
    ],
)
def test_stores_say_more_than_a_status(status, code, fault):
    assert fault_of_status(status, code) is fault


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (OSError(errno.EIO, "x"), Fault.STORAGE),
        (OSError(errno.ESTALE, "x"), Fault.STORAGE),
        (OSError(errno.EAGAIN, "x"), Fault.STORAGE),
        (OSError(errno.ENOENT, "x"), Fault.MISSING),
        (OSError(errno.EACCES, "x"), Fault.REFUSED),
        (OSError(errno.ENOSPC, "x"), Fault.DAMAGED),
        (OSError(errno.ETIMEDOUT, "x"), Fault.TIMEOUT),
        (OSError(errno.ENETUNREACH, "x"), Fault.CONNECTION),
        (ConnectionResetError(errno.ECONNRESET, "x"), Fault.CONNECTION),
        (socket.gaierror(socket.EAI_AGAIN, "x"), Fault.CONNECTION),
        (TimeoutError(), Fault.TIMEOUT),
        (ssl.SSLError(1, "x"), Fault.CONNECTION),
        (ssl.SSLCertVerificationError(1, "x"), Fault.UNTRUSTED),
    ],
)
def test_the_fault_of_an_error(error, fault):
    assert fault_of(error) is fault


def test_the_policy_is_set_by_the_environment(monkeypatch):
    assert Policy.from_environment() == Policy()
    monkeypatch.setenv("STAC_SM_RETRY_ATTEMPTS", "2")
    monkeypatch.setenv("STAC_SM_RETRY_TIMEOUT", "0.5")
    assert Policy.from_environment() == Policy(attempts=2, timeout=0.5)


@pytest.mark.parametrize(("name", "value"), [("ATTEMPTS", "2.5"), ("ATTEMPTS", "0"), ("TOTAL", "x"), ("TOTAL", "inf")])
def test_a_wrong_environment(monkeypatch, name, value):
    monkeypatch.setenv(f"STAC_SM_RETRY_{name}", value)
    with pytest.raises(InputError, match=f"STAC_SM_RETRY_{name} is '{value}': a positive number"):
        Policy.from_environment()
