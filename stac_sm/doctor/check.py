"""The result of one check, and the function that runs it.

`machine_checks` and `project_checks` make them, and the command line prints them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stac_sm.core.errors import StacSmError

OK, NOTE, FAILED = "ok", "note", "failed"


@dataclass(frozen=True)
class Check:
    """Result of one check: its subject, what was found, and what to do about it."""

    part: str
    """``machine``, ``project``, ``store``, ``catalogue`` or ``upgrade``."""

    name: str
    """Subject within the part, e.g. ``versions``."""

    state: str
    """``ok``; ``note``: it works, but better is possible; ``failed``: work will stop at it."""

    found: str
    """Description of what was found."""

    advice: str = ""
    """What to do; empty where it is ``ok``."""


def run_check(part: str, name: str, question: Callable[[], Check]) -> Check:
    """Run a check; an error becomes a failed check, whose message says what to do.

    Parameters
    ----------
    part
        ``machine``, ``project``, ``store``, ``catalogue`` or ``upgrade``.
    name
        Subject of the check.
    question
        The check itself.

    Returns
    -------
    Check
        What the function returned, or a failed check.
    """
    try:
        return question()
    except StacSmError as error:
        found, _, advice = str(error).rpartition(": ")
        return Check(part, name, FAILED, found or str(error), advice if found else "")
    except OSError as error:
        return Check(part, name, FAILED, str(error), "correct the rights of the folder, or make room, then try again")
