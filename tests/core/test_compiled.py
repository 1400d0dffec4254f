"""Compiled loops where machine code can be kept, and where it cannot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import stac_sm

AS_ANY_USER = () if os.geteuid() else ("setpriv", "--bounding-set=-dac_override", "--")  # root minds permissions, too
LOOPS = """
import json
import os
import tempfile
import numpy as np
tempfile.tempdir = os.environ["TMPDIR"]
from numba.core.dispatcher import Dispatcher
from stac_sm.features import temporal_kernel
from stac_sm.model import radius_search
from stac_sm.model.forest import row_order
from stac_sm.raster import resample_kernel
modules = (temporal_kernel, radius_search, row_order, resample_kernel)
loops = [loop for module in modules for loop in vars(module).values()
         if isinstance(loop, Dispatcher) and not loop.targetoptions.get("no_cpython_wrapper")]
codes, order = np.arange(6, dtype=np.uint16).reshape(1, 6), np.arange(6, dtype=np.int32)[::-1].copy()
to = np.empty_like(codes)
row_order.take(codes, order, to)
kept = sum(bool(loop.stats.cache_path) for loop in loops)
print(json.dumps({"loops": len(loops), "kept": kept, "taken": to.tolist()}))
"""


@pytest.fixture
def package_of_somebody_else() -> Iterator[Path]:
    """A copy of the package in a folder that the user who runs it cannot write."""
    folder = Path(tempfile.mkdtemp(prefix="stac-sm-read-only-"))
    try:
        shutil.copytree(Path(stac_sm.__file__).parent, folder / "stac_sm", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "home").mkdir()
        for one in (*folder.rglob("*"), folder):
            one.chmod(0o555 if one.is_dir() else 0o444)
        yield folder
    finally:
        for one in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            one.chmod(0o755)
        shutil.rmtree(folder)


def _loops(package: Path, **environment: str) -> dict[str, object]:
    """What the compiled loops of a package say whose folders and home cannot be written."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA", "XDG"))}
    done = subprocess.run(
        [*AS_ANY_USER, sys.executable, "-B", "-c", LOOPS],
        env={**inherited, "HOME": str(package / "home"), "PYTHONPATH": str(package), **environment}, cwd="/",
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_loops_are_compiled_where_no_folder_can_be_written(package_of_somebody_else: Path) -> None:
    found = _loops(package_of_somebody_else, TMPDIR=str(package_of_somebody_else / "home"))
    assert found["kept"] == 0
    assert found["taken"] == [[5, 4, 3, 2, 1, 0]]


def test_machine_code_is_kept_with_temporary_files_where_home_and_package_are_read_only(
    package_of_somebody_else: Path, tmp_path: Path
) -> None:
    found = _loops(package_of_somebody_else, TMPDIR=str(tmp_path))
    assert found["kept"] == found["loops"]
    assert list(tmp_path.glob("stac-sm-*/numba/**/*.nbc"))


def test_every_loop_that_python_calls_is_kept_where_a_folder_can_be_written(package_of_somebody_else: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="stac-sm-numba-") as cache:
        found = _loops(package_of_somebody_else, NUMBA_CACHE_DIR=cache, TMPDIR=str(package_of_somebody_else / "home"))
        assert found["kept"] == found["loops"] >= 7
        assert list(Path(cache).rglob("*.nbc"))


def test_a_loop_without_types_is_compiled_at_its_first_call() -> None:
    from stac_sm.core.compiled import compiled

    @compiled(fastmath=False)
    def total(values: np.ndarray) -> float:
        found = 0.0
        for value in values:
            found += value
        return found

    assert total(np.arange(4.0)) == 6.0
