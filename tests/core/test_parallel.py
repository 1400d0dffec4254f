"""Worker processes: they work, and they start without importing everything again."""

import os
import sys

from stac_sm.core.parallel import process_pool


def _who(number):
    return os.getpid(), number * number, "xarray" in sys.modules


def test_workers_are_other_processes_with_the_heavy_imports_made():
    with process_pool(2) as pool:
        found = list(pool.map(_who, range(8)))
    assert [square for _, square, _ in found] == [n * n for n in range(8)]
    assert os.getpid() not in {pid for pid, _, _ in found}
    assert all(loaded for _, _, loaded in found)
