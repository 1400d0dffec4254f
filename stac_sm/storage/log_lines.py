"""Write log lines to stderr, as text or as JSON, without secrets.

The library logs to `LOGGER` and never prints. A program that wants its lines calls `start_logging`; the processes that
it starts call `follow_logging`, which finds the same settings in the environment. What is known of all lines of a
block of code (the task, the item, the request) is stated once, by `log_facts`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from stac_sm.core.parallel import call_first_in_workers
from stac_sm.core.progress import LOG_FORMAT_VARIABLE
from stac_sm.storage.signing import without_secrets

LOGGER = logging.getLogger("stac_sm")
"""What is worth telling while work is done: retries, days made, failures, requests answered."""

_PYTHON_WARNINGS = logging.getLogger("py.warnings")  # what `logging.captureWarnings` writes to

LOGGER.addHandler(logging.NullHandler())  # the library never prints

LOG_LEVELS = ("debug", "info", "warning", "error")
"""Names of levels, from most lines to least."""

LOG_FORMATS = ("text", "json")
"""Forms of a line."""

LEVEL_VARIABLE = "STAC_SM_LOG_LEVEL"

STAGE_VARIABLE = "STAC_SM_LOG_STAGE"
"""Environment variable by which processes that a command starts know its name."""

_FACTS: ContextVar[Mapping[str, Any]] = ContextVar("facts of log lines")
_UVICORN = logging.getLogger("uvicorn")


@contextmanager
def log_facts(**facts: str) -> Iterator[None]:
    """Add facts to all lines that are logged meanwhile in this thread, or in this coroutine and threads it waits for.

    Parameters
    ----------
    **facts
        Such as ``stage``, ``task``, ``item`` or ``request``; they come before those of blocks around this one.

    Yields
    ------
    None
    """
    token = _FACTS.set({**_FACTS.get({}), **facts})
    try:
        yield
    finally:
        _FACTS.reset(token)


def start_logging(level: str, form: str, stage: str = "") -> None:
    """Write the lines of this process, and of those that it starts from now on, to stderr.

    Parameters
    ----------
    level
        One of `LOG_LEVELS`: lines of this level and above are written.
    form
        One of `LOG_FORMATS`.
    stage
        Name of the command, the fact ``stage`` of lines of which nothing else is known; empty for none.
    """
    os.environ |= {LEVEL_VARIABLE: level, LOG_FORMAT_VARIABLE: form, STAGE_VARIABLE: stage}
    call_first_in_workers(follow_logging)
    follow_logging()


def follow_logging() -> None:
    """Write lines as the environment says, which a process that started this one has set; else leave all as it is."""
    level = os.environ.get(LEVEL_VARIABLE, "")
    if level in LOG_LEVELS:
        stop_logging()
        handler = _StderrLines(level.upper())
        LOGGER.addHandler(handler)
        LOGGER.setLevel(handler.level)
        if logs_as_json():  # what Python and the server of HTTP say would be lines of text among them
            logging.captureWarnings(True)
            for other in (_PYTHON_WARNINGS, _UVICORN):
                other.addHandler(handler)
                other.propagate = False


def stop_logging() -> None:
    """Remove what `start_logging` or `follow_logging` has added in this process; the environment stays."""
    for handler in [one for one in LOGGER.handlers if isinstance(one, _StderrLines)]:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(logging.NOTSET)
    for other in (_PYTHON_WARNINGS, _UVICORN):
        for handler in [one for one in other.handlers if isinstance(one, _StderrLines)]:
            logging.captureWarnings(False)
            other.removeHandler(handler)
            other.propagate = True


def logs_as_json() -> bool:
    """Return whether all that goes to stderr is to be JSON, one object a line.

    Returns
    -------
    bool
        What ``STAC_SM_LOG_FORMAT`` says.
    """
    return os.environ.get(LOG_FORMAT_VARIABLE) == "json"


def json_line(level: str, message: str, facts: Mapping[str, Any] | None = None, *, trace: str = "", **more: Any) -> str:
    """Return one line of a log as JSON.

    Parameters
    ----------
    level
        One of `LOG_LEVELS`.
    message
        Text for people.
    facts
        Values for programs, such as ``request``, ``task``, ``item`` and ``stage``.
    trace
        Traceback of an error, several lines: the member ``error``.
    **more
        Further members.

    Returns
    -------
    str
        An object with ``time``, ``level``, ``message``, then facts, those of `log_facts` and the stage among them;
        secrets are cut out.
    """
    made = {"time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}", "level": level, "message": without_secrets(message)}
    made |= {"error": without_secrets(trace)} if trace else {}
    stage = os.environ.get(STAGE_VARIABLE, "")
    known = {**({"stage": stage} if stage else {}), **_FACTS.get({})}
    return json.dumps(made | more | known | dict(facts or {}), default=str, ensure_ascii=False)


class _StderrLines(logging.Handler):
    """Handler of logging that writes to the stderr of the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        level, facts = record.levelname.lower(), getattr(record, "facts", {})
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        if logs_as_json():
            line = json_line(level, record.getMessage(), facts, trace=trace, logger=record.name)
        else:
            when = datetime.fromtimestamp(record.created, UTC)
            line = without_secrets(f"{when:%Y-%m-%dT%H:%M:%SZ} {level} {record.getMessage()}\n{trace}".strip())
        sys.stderr.write(line + "\n")
