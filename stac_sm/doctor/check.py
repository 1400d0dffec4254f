"""A check: what was looked at, what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stac_sm.core.errors import StacSmError

OK, NOTE, FAILED = "ok", "note", "failed"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    part: str
    """``machine``, ``project``, ``store`` or ``catalogue``."""

    name: str
    """What of it."""

    state: str
    """``ok``; ``note``: it works, but better is possible; ``failed``: work will stop at it."""

    found: str
    """What there is, in words."""

    advice: str = ""
    """What to do; empty where it is ``ok``."""


def run_check(part: str, name: str, question: Callable[[], Check]) -> Check:
    """The answer to a question; one that ends in an error is a failed check, whose message says what to do."""
    try:
        return question()
    except StacSmError as error:
        found, _, advice = str(error).rpartition(": ")
        return Check(part, name, FAILED, found or str(error), advice if found else "")
    except OSError as error:
        return Check(part, name, FAILED, str(error), "mend the rights of the folder, or make room, then try again")
