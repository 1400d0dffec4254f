"""What the line at the end of a run says of what was left out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.support.checkout import SHARED
from tests.support.missing import MISSING, REAL_DATA
from tests.support.skips import INSTALL, pytest_terminal_summary


def test_the_script_is_said_to_install_programs_and_not_real_data():
    reasons = [f"{REAL_DATA}: none at {SHARED}: put the folder `shared` beside the checkout", "Slurm: no sbatch"]
    skipped = [SimpleNamespace(longrepr=("f", 1, f"Skipped: {MISSING}{reason}")) for reason in reasons]
    lines: list[str] = []
    pytest_terminal_summary(SimpleNamespace(stats={"skipped": skipped}, write_line=lines.append))
    (line,) = lines
    assert f"1 tests on real data (none at {SHARED}: put the folder `shared` beside the checkout)" in line
    assert f"1 tests that need Slurm (`{INSTALL}` installs them)" in line


@pytest.mark.parametrize("reasons", [[], ["no reason of a machine"]])
def test_nothing_is_said_of_other_skips(reasons):
    skipped = [SimpleNamespace(longrepr=("f", 1, f"Skipped: {reason}")) for reason in reasons]
    lines: list[str] = []
    pytest_terminal_summary(SimpleNamespace(stats={"skipped": skipped}, write_line=lines.append))
    assert not any("tests" in line and "files of tests" not in line for line in lines)
