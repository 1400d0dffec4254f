"""Requests to the Climate Data Store by cdsapi, as it is: submit, wait in the queue, take the result.

The client reads its own settings (``~/.cdsapirc``, ``CDSAPI_RC``, ``CDSAPI_URL``, ``CDSAPI_KEY``). The id of a request
is kept beside its file, so that a fetch that was stopped goes on with the same request, whatever place it has in the
queue by then. The result is moved by `transfer`, and every member of its zip is checked. The key is in no message.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stac_sm.core.errors import InputError, StacSmError, raised_by
from stac_sm.fetch.request import AccountError, EmptyAnswerError, Say, StillQueuedError
from stac_sm.fetch.transfer import http_opener, save
from stac_sm.storage.retry import FaultKind, RetryPolicy

PAGE = "https://cds.climate.copernicus.eu"
LONGEST_QUEUE_S = 24 * 3600.0
"""Seconds that a fetch waits for one request; the next one goes on with it."""

_NOTHING = re.compile(r"none of the data|no data (is |was )?(found|available)|returned no data|not available yet", re.I)
_SECRET = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.I)


@dataclass(frozen=True)
class CdsRequest:
    """One request to a data set."""

    dataset: str
    """Id of the data set."""

    inputs: Mapping[str, Any]
    """The request as the web page of the data set shows it; the result is a zip."""

    longest_queue_s: float = LONGEST_QUEUE_S
    """Seconds after which the request is left in the queue."""

    def carry_out(self, file: Path, say: Say) -> None:
        """Write the result of the request to a file.

        Parameters
        ----------
        file
            A zip; the id of the request lies beside it until it is whole.
        say
            Takes the state of the request in the queue, whenever that changes.

        Raises
        ------
        AccountError
            If there is no account, or the service refuses it.
        InputError
            If the service refuses the request, or the request fails there.
        EmptyAnswerError
            If there are no such data.
        StillQueuedError
            If the request is not finished in time.
        """
        ticket = file.with_name(f".{file.name}.request")
        ticket.parent.mkdir(parents=True, exist_ok=True)
        client, key = _client()
        with _readable_errors(self.dataset, key, ticket):
            remote = self._remote(client, ticket, say)
            self._wait(remote, say)
            results = remote.get_results()
            address, size = results.location, results.content_length
        save(
            file,
            http_opener(address, root=None),
            size=size,
            check=_check_zip,
            advice={
                FaultKind.MISSING: "the result is no longer kept there: run the same command again, it asks again",
                FaultKind.CREDENTIALS: "the address of the result has expired: run the same command again",
            },
        )
        ticket.unlink(missing_ok=True)

    def _remote(self, client: Any, ticket: Path, say: Say) -> Any:
        """Return the request at the service: the one of an earlier fetch, or else a new one."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(ticket.read_text())
            if kept["inputs"] == json.loads(json.dumps(dict(self.inputs))):
                remote = _known(client, kept["id"])
                if remote is not None:
                    say(f"goes on with request {kept['id']}")
                    return remote
        remote = client.submit(self.dataset, dict(self.inputs))
        ticket.write_text(json.dumps({"id": remote.request_id, "dataset": self.dataset, "inputs": dict(self.inputs)}))
        say(f"request {remote.request_id} submitted")
        return remote

    def _wait(self, remote: Any, say: Say) -> None:
        policy = RetryPolicy.from_environment()
        pause, end, last = policy.first_wait, time.monotonic() + self.longest_queue_s, ""
        while True:
            ready = remote.results_ready
            if remote.last_status != last:
                last = remote.last_status
                say(f"{last} ({_STATES.get(last, 'state of the Climate Data Store')})")
            if ready:
                return
            if time.monotonic() + pause > end:
                raise StillQueuedError(
                    f"request {remote.request_id} is {last} after {self.longest_queue_s / 3600:g} h: run the same "
                    "command again, it goes on with this request"
                )
            time.sleep(pause)
            pause = min(policy.longest_wait, pause * 1.5)


_STATES = {"accepted": "waits in the queue", "running": "is at work", "successful": "is ready"}


def _known(client: Any, id: str) -> Any | None:
    """Return a request of an earlier fetch; None if the service has forgotten it, or it came to nothing."""
    try:
        remote = client.get_remote(id)
        return remote if remote.status in {"accepted", "running", "successful"} else None
    except Exception as error:
        if _status(error) == 404:
            return None
        raise


def _client() -> tuple[Any, str]:
    """Return cdsapi's client for the API of today, and its key."""
    try:
        import cdsapi
    except ImportError as error:
        raise AccountError(
            "the Climate Data Store is asked by cdsapi, which is not installed: pip install 'stac_sm[fetch]'"
        ) from error
    policy = RetryPolicy.from_environment()
    try:
        with warnings.catch_warnings():  # of messages that the service could not give
            warnings.simplefilter("ignore")
            made = cdsapi.Client(
                quiet=True, progress=False, retry_max=policy.attempts, sleep_max=policy.longest_wait
            )  # its longest wait is also the one after 429 and 5xx
    except Exception as error:
        if "onfiguration" not in str(error):
            raise InputError(f"the Climate Data Store cannot be reached ({type(error).__name__}): try later") from None
        raise AccountError(
            "no account of the Climate Data Store found: put url and key of your profile into ~/.cdsapirc, as "
            f"{PAGE}/how-to-api shows, or set CDSAPI_URL and CDSAPI_KEY"
        ) from None
    if not hasattr(made, "client"):
        raise AccountError(
            "the key of the Climate Data Store is one of the service of before September 2024 (UID:KEY): take the new "
            f"one from {PAGE}/profile"
        )
    return made.client, str(made.key)


@contextlib.contextmanager
def _readable_errors(dataset: str, key: str, ticket: Path) -> Iterator[None]:
    """Turn what cdsapi raises into errors that a user can act on, without the key."""
    try:
        yield
    except Exception as error:
        if isinstance(error, StacSmError) or not raised_by(error, "cdsapi", "ecmwf", "requests"):
            raise
        failure = _explained(dataset, error, key)
        if type(error).__name__ == "ProcessingFailedError":  # a new request is needed
            ticket.unlink(missing_ok=True)
    else:
        return
    raise failure


def _explained(dataset: str, error: Exception, key: str) -> StacSmError:
    said = " ".join(str(error).split())
    said = _SECRET.sub("…", said.replace(key, "…") if key else said)[:400]
    status = _status(error)
    if _NOTHING.search(said):
        return EmptyAnswerError(f"{dataset}: nothing there: {said}")
    if status == 401:
        return AccountError(
            f"{dataset}: the Climate Data Store refuses the key (401): it may have expired; take the one that "
            f"{PAGE}/profile shows into ~/.cdsapirc, or CDSAPI_KEY"
        )
    if status == 403:
        return AccountError(
            f"{dataset}: the Climate Data Store says: {said}: accept the licence at {PAGE}/datasets/{dataset}"
            "?tab=download#manage-licences, then run the same command again"
        )
    if status == 429 or (status or 0) >= 500:
        return InputError(f"{dataset}: the Climate Data Store is busy ({status}): run the same command again later")
    if status == 400 or type(error).__name__ == "ProcessingFailedError":
        return InputError(f"{dataset}: the request failed at the Climate Data Store: {said}: run the command again")
    return InputError(f"{dataset}: {type(error).__name__}: {said}: run the same command again later")


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _check_zip(file: Path) -> None:
    """Refuse what is no zip, has no member, or a member whose checksum is not its own."""
    try:
        with zipfile.ZipFile(file) as archive:
            bad = archive.testzip() if archive.namelist() else "no member"
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        bad = str(error)
    if bad:
        raise InputError(f"the result is no zip that can be read ({bad}): run the same command again")
