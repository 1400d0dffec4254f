"""Where this checkout and the real data beside it lie."""

from __future__ import annotations

from pathlib import Path

from tests.support.missing import REAL_DATA, need

ROOT = Path(__file__).parents[2]
"""The repository; programs that import ``tests`` run here."""

SHARED = ROOT.parent / "shared"
"""Real data beside the checkout."""


def need_shared() -> Path:
    """The folder of real data, or the end of the test that asks for it."""
    there = (SHARED / "data").is_dir()
    need(REAL_DATA, None if there else f"none at {SHARED}: put the folder `shared` beside the checkout")
    return SHARED
