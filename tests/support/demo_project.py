"""The demo as a user runs it, made once for all tests that look at it."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.warm_start import warm_python


def run(
    *arguments: object, folder: Path, code: int = 0, python: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the program in a folder."""
    command = [*(python or warm_python()), "-m", "stac_sm", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@cache
def demo_project() -> tuple[Path, dict[str, Any]]:
    """Folder ``sm-demo`` in which `stac-sm demo` has run, and what it printed. It is not to be changed.

    While one writes on the README, STAC_SM_DEMO names a folder ``sm-demo`` that is there already: enough for
    test_readme.py.
    """
    if made := os.environ.get("STAC_SM_DEMO"):
        return Path(made), {}
    folder = Path(tempfile.mkdtemp(prefix="stac-sm-demo-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "sm-demo", json.loads(run("demo", "--json", folder=folder, python=[sys.executable]).stdout)
