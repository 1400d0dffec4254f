"""The same lock file gives the same bytes; other versions of Python and of the libraries give the same decoded values.

The lock file holds other wheels for Python 3.12 and later than for 3.11: rasterio with another GDAL, pyproj with
another PROJ, another XGBoost.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.missing import need

OTHER = "3.13" if sys.version_info < (3, 12) else "3.11"
"""Python for which the lock file has other wheels than for this one."""


def interpreter(version: str) -> str | None:
    """Return the path of a Python of this version, if the machine has one, and uv."""
    if shutil.which("uv") is None:
        return None
    by_pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    if by_pyenv:
        return str(by_pyenv[-1])
    find = ["uv", "python", "find", "--no-python-downloads", "--no-project", version]
    found = subprocess.run(find, capture_output=True, text=True)
    return found.stdout.strip() or None if found.returncode == 0 else None


def made_by(python: str, **environment: str) -> dict[str, dict[str, str]]:
    """Return the digests that a Python prints."""
    script = [python, "-W", "ignore", str(ROOT / "tests/tools/product_digests.py")]
    done = subprocess.run(script, capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def here():
    return made_by(sys.executable)


def test_the_same_versions_give_the_same_bytes(here):
    """With another number of threads and another seed of hashes."""
    assert made_by(sys.executable, PYTHONHASHSEED="7", GDAL_NUM_THREADS="1", OMP_NUM_THREADS="1") == here


def test_other_versions_give_the_same_decoded_values(here, tmp_path):
    found = interpreter(OTHER)
    need(f"Python {OTHER}", None if found else f"neither uv nor a Python {OTHER} was found: install both")
    environment = os.environ | {"UV_PROJECT_ENVIRONMENT": str(tmp_path / "venv"), "UV_NO_PROGRESS": "1"}
    install = ["uv", "sync", "--locked", "--no-dev", "--python", str(found)]
    subprocess.run(install, cwd=ROOT, env=environment, check=True, capture_output=True)
    other = str(tmp_path / "venv/bin/python")
    there = made_by(other, PYTHONPATH=str(ROOT))
    assert there["decoded"] == here["decoded"]
    different = {name for name, value in there["software"].items() if here["software"].get(name) != value}
    assert {"Python", "GDAL", "XGBoost"} <= different
