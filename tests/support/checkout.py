"""Where this checkout and the real data beside it lie, and whether this is CI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
"""The repository; programs that import ``tests`` run here."""

SHARED = ROOT.parent / "shared"
"""Real data and schemas beside the checkout."""

IN_CI = bool(os.environ.get("CI"))


def need_shared() -> Path:
    """The folder of real data and schemas, or the end of the test that asks for it."""
    if not (SHARED / "schemas").is_dir():
        message = f"no real data and schemas at {SHARED}: put the folder `shared` beside the checkout"
        pytest.fail(message) if IN_CI else pytest.skip(message)
    return SHARED
