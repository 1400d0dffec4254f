"""What a machine may lack for some tests: outside CI they are left out, in CI they fail."""

from __future__ import annotations

import os

import pytest

IN_CI = bool(os.environ.get("CI"))

MISSING = "missing: "
"""How the reason of a skip begins, if the machine lacks what a test needs."""

REAL_DATA = "real data"
"""What no script installs: the folder `shared` beside the checkout."""


def need(what: str, why: str | None) -> None:
    """End the test unless the machine has what it needs.

    Parameters
    ----------
    what
        Name for the line at the end of the run, such as ``Slurm``.
    why
        What is missing, and how to get it; None if all is there.
    """
    if why is None:
        return
    if IN_CI:
        pytest.fail(f"{what}: {why}")
    pytest.skip(f"{MISSING}{what}: {why}")
