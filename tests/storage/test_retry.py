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
    REQUEST_COUNTS,
    RETRIED_FAULTS,
    AttemptError,
    FaultKind,
    GaveUpError,
    RequestCounts,
    RetryPolicy,
    fault_of,
    fault_of_status,
    retry,
)

QUICK = RetryPolicy(attempts=5, first_wait=1e-4, longest_wait=1e-3, longest_retry_after=0.02)


class Failing:
    """Fails by a list, then works; remembers how it was called."""

    def __init__(self, *faults, after=0.0):
        self.faults, self.after, self.calls = list(faults), after, []

    def __call__(self, renewed):
        self.calls.append(renewed)
        if self.faults:
            raise AttemptError(self.faults.pop(0), "canary detail", self.after)
        return "done"


@pytest.mark.parametrize("fault", sorted(RETRIED_FAULTS))
def test_what_may_pass_is_tried_again(fault):
    attempt = Failing(*[fault] * 4)
    assert retry(attempt, QUICK) == "done"
    assert len(attempt.calls) == 5
    with pytest.raises(GaveUpError) as end:
        retry(Failing(*[fault] * 5), QUICK)
    assert (end.value.fault, end.value.attempts) == (fault, 5)


@pytest.mark.parametrize("fault", sorted(set(FaultKind) - RETRIED_FAULTS - {FaultKind.CREDENTIALS, FaultKind.CHANGED}))
def test_what_stays_is_not_tried_again(fault):
    attempt = Failing(fault)
    with pytest.raises(GaveUpError):
        retry(attempt, QUICK)
    assert len(attempt.calls) == 1


def test_credentials_are_had_anew_once():
    attempt = Failing(FaultKind.CREDENTIALS)
    assert retry(attempt, QUICK) == "done"
    assert attempt.calls == [False, True]
    attempt = Failing(FaultKind.CREDENTIALS, FaultKind.BUSY, FaultKind.CREDENTIALS)
    with pytest.raises(GaveUpError):
        retry(attempt, QUICK)
    assert attempt.calls == [False, True, True]


def test_a_changed_file_is_begun_anew_by_whom_can():
    with pytest.raises(AttemptError):
        retry(Failing(FaultKind.CHANGED), QUICK)
    assert retry(Failing(FaultKind.CHANGED), QUICK, restarts=True) == "done"


def test_the_end_of_a_retry_holds_nothing_of_the_attempts():
    def attempt(_):
        token = "canary"
        try:
            raise OSError(token)
        except OSError as error:
            raise AttemptError(FaultKind.BUSY, "HTTP 503") from error

    with pytest.raises(GaveUpError) as end:
        retry(attempt, QUICK)
    assert end.value.__cause__ is None
    assert end.value.__context__ is None


@pytest.mark.alone
def test_no_further_attempt_is_begun_after_the_total_time():
    attempt = Failing(*[FaultKind.BUSY] * 99, after=0.02)
    start = time.monotonic()
    with pytest.raises(GaveUpError):
        retry(attempt, RetryPolicy(attempts=99, total=0.1, first_wait=1e-4, longest_retry_after=0.02))
    assert time.monotonic() - start < 0.2
    assert 2 <= len(attempt.calls) <= 6


@given(st.integers(1, 400), st.floats(0, 1e9))
def test_a_wait_is_bounded(attempt, retry_after):
    policy = RetryPolicy()
    assert min(retry_after, policy.longest_retry_after) <= policy.wait(attempt, retry_after)
    assert policy.wait(attempt, retry_after) <= max(policy.longest_wait, policy.longest_retry_after)
    assert policy.wait(1) <= policy.first_wait


def test_waits_differ_between_workers():
    random.seed(1)
    waits = [RetryPolicy().wait(4) for _ in range(200)]
    assert min(waits) < 0.4
    assert max(waits) > 3.6


def test_each_further_attempt_is_a_line_of_the_log(caplog):
    caplog.set_level("INFO", "stac_sm")
    retry(Failing(FaultKind.BUSY, FaultKind.TIMEOUT), QUICK)
    assert [(one.facts["fault"], one.facts["attempt"]) for one in caplog.records] == [("busy", 2), ("timeout", 3)]
    assert caplog.messages[0].startswith("busy: canary detail: attempt 2 in ")


def test_all_is_counted():
    before = REQUEST_COUNTS.snapshot()["retries"].get("busy", 0)
    retry(Failing(FaultKind.BUSY, FaultKind.BUSY), QUICK)
    after = REQUEST_COUNTS.snapshot()
    assert after["retries"]["busy"] == before + 2
    assert after["waited"]["busy"] >= 0
    counts = RequestCounts()
    threads = [
        threading.Thread(target=lambda: [(counts.request(), counts.receive(3)) for _ in range(500)]) for _ in range(4)
    ]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert (counts.requests, counts.received) == (2000, 6000)


STATUSES = {
    408: FaultKind.BUSY, 425: FaultKind.BUSY, 429: FaultKind.BUSY,
    500: FaultKind.BUSY, 502: FaultKind.BUSY, 503: FaultKind.BUSY,
    504: FaultKind.BUSY, 401: FaultKind.CREDENTIALS,
    403: FaultKind.CREDENTIALS, 404: FaultKind.MISSING, 410: FaultKind.MISSING,
    400: FaultKind.REFUSED, 405: FaultKind.REFUSED, 451: FaultKind.REFUSED,
}  # fmt: skip


@pytest.mark.parametrize(("status", "fault"), STATUSES.items())
def test_the_fault_of_a_status(status, fault):
    assert fault_of_status(status) is fault


@pytest.mark.parametrize(
    ("status", "code", "fault"),
    [
        (400, "ExpiredToken", FaultKind.CREDENTIALS),
        (400, "RequestTimeout", FaultKind.BUSY),
        (503, "SlowDown", FaultKind.BUSY),
        (404, "NoSuchKey", FaultKind.MISSING),
    ],
)
def test_stores_say_more_than_a_status(status, code, fault):
    assert fault_of_status(status, code) is fault


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (OSError(errno.EIO, "x"), FaultKind.STORAGE),
        (OSError(errno.ESTALE, "x"), FaultKind.STORAGE),
        (OSError(errno.EAGAIN, "x"), FaultKind.STORAGE),
        (OSError(errno.ENOENT, "x"), FaultKind.MISSING),
        (OSError(errno.EACCES, "x"), FaultKind.REFUSED),
        (OSError(errno.ENOSPC, "x"), FaultKind.DAMAGED),
        (OSError(errno.ETIMEDOUT, "x"), FaultKind.TIMEOUT),
        (OSError(errno.ENETUNREACH, "x"), FaultKind.CONNECTION),
        (ConnectionResetError(errno.ECONNRESET, "x"), FaultKind.CONNECTION),
        (socket.gaierror(socket.EAI_AGAIN, "x"), FaultKind.CONNECTION),
        (TimeoutError(), FaultKind.TIMEOUT),
        (ssl.SSLError(1, "x"), FaultKind.CONNECTION),
        (ssl.SSLCertVerificationError(1, "x"), FaultKind.UNTRUSTED),
    ],
)
def test_the_fault_of_an_error(error, fault):
    assert fault_of(error) is fault


def test_the_policy_is_set_by_the_environment(monkeypatch):
    assert RetryPolicy.from_environment() == RetryPolicy()
    monkeypatch.setenv("STAC_SM_RETRY_ATTEMPTS", "2")
    monkeypatch.setenv("STAC_SM_RETRY_TIMEOUT", "0.5")
    assert RetryPolicy.from_environment() == RetryPolicy(attempts=2, timeout=0.5)


@pytest.mark.parametrize(("name", "value"), [("ATTEMPTS", "2.5"), ("ATTEMPTS", "0"), ("TOTAL", "x"), ("TOTAL", "inf")])
def test_a_wrong_environment(monkeypatch, name, value):
    monkeypatch.setenv(f"STAC_SM_RETRY_{name}", value)
    with pytest.raises(InputError, match=f"STAC_SM_RETRY_{name} is '{value}': a positive number"):
        RetryPolicy.from_environment()
