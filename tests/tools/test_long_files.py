"""A whole run at home leaves out the longest files of tests and says so; CI and ``--all`` leave out nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tests.support.checkout import ROOT
from tests.support.long_files import DURATIONS, SECONDS_A_PROCESS, longest_files

SECONDS = json.loads(DURATIONS.read_text())
OTHERS = [one.name for one in (ROOT / "tests").iterdir() if one.is_dir() and one.name not in {"integration", "support"}]


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=4), st.floats(0, 1000).map(float), max_size=12),
    st.integers(1, 4),
)
def test_the_rest_fits_and_one_file_more_would_not(seconds, processes):
    out = longest_files(seconds, processes)
    rest = [value for file, value in seconds.items() if file not in out]
    room = SECONDS_A_PROCESS * processes
    assert sum(rest) <= room + 1e-6
    assert all(seconds[file] >= max(rest, default=0) for file in out)
    assert not out or sum(rest) + seconds[out[-1]] > room - 1e-6


@pytest.mark.parametrize(
    ("arguments", "environment", "left_out"), [([], {}, True), (["--all"], {}, False), ([], {"CI": "1"}, False)]
)
def test_a_whole_run_at_home_leaves_the_longest_out_and_says_so(arguments, environment, left_out):
    ours = {"CI", "STAC_SM_DURATIONS"}  # a run that writes the seconds anew would have them written by this one, too
    kept = {name: value for name, value in os.environ.items() if name not in ours and "XDIST" not in name}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", *arguments]
    command += [f"--ignore=tests/{name}" for name in OTHERS]  # takes half a minute else
    done = subprocess.run(command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    longest = max(SECONDS, key=SECONDS.__getitem__)
    assert (longest in done.stdout) != left_out
    said = [line for line in done.stdout.splitlines() if line.startswith("left out: ")]
    assert [("uv run pytest --all" in line) for line in said] == ([True] if left_out else [])
