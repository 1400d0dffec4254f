"""The folder of a user for files that may be lost."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from stac_sm.core.scratch import scratch_folder


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_it_is_the_same_each_time_and_for_this_user_alone() -> None:
    folder = scratch_folder("numba")
    assert scratch_folder("numba") == folder
    assert folder.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["folder of another user", "link"])
def test_what_somebody_else_put_there_is_not_used(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba unpickles what it finds in its folder."""
    taken = scratch_folder("numba").parent
    if kind == "link":
        taken.rename(tmp_path / "elsewhere")
        taken.symlink_to(tmp_path / "elsewhere")
    else:
        monkeypatch.setattr(os, "getuid", lambda: taken.stat().st_uid + 1)
    assert taken not in scratch_folder("numba").parents
