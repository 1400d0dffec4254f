"""CPU seconds to compile each kernel where nothing is compiled yet: `python tests/benchmarks/compiling.py --json`.

Each kernel is compiled in a process of its own with an empty cache of Numba, after a trivial function, so that what
Numba loads at its first one does not count. With ``--rival CHECKOUT`` another checkout of this repository takes turns;
the least of the rounds counts, since other work only adds. ``functions`` counts all that are compiled, Numba's own too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
KERNELS = {
    "forest": "import stac_sm.model.forest.kernel",
    "applicability": """
from stac_sm.model import radius_search as one
frame = one.FeatureScaling(*np.zeros((3, 3), np.float32), np.array([-1, 3, -1]))
one.outside([np.zeros(9, np.float32)] * 3, frame, one.grouped(np.zeros((5, 4), np.float32)), 1.0)""",
    "resampling": "import stac_sm.raster.resample_kernel",
}
PROGRAM = """
import json, sys, time
import numba, numpy as np
from numba.core import event
import stac_sm.model.forest.ranks, stac_sm.model.llvm_code
numba.njit("i8(i8)")(lambda number: number)
compiled = event.RecordingListener()
event.register("numba:compile", compiled)
began = time.process_time()
exec(sys.argv[1])
print(json.dumps({"cpu_s": time.process_time() - began, "functions": len(compiled.buffer) // 2}))
"""


def measure(kernel: str, checkout: Path = ROOT) -> dict[str, Any]:
    """Return the CPU seconds and the number of functions that a kernel takes to compile."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"PYTHONPATH": str(checkout), "NUMBA_CACHE_DIR": cache}
        command = [sys.executable, "-c", PROGRAM, KERNELS[kernel]]
        found = subprocess.run(command, env=environment, cwd=cache, check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(found.stdout)
    return answer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rival", type=Path, help="another checkout, which takes turns")
    given = parser.parse_args()
    checkouts = {"here": ROOT} | ({"rival": given.rival} if given.rival else {})
    best: dict[str, dict[str, Any]] = {}
    for _ in range(given.rounds):
        for kernel in KERNELS:
            for who, checkout in checkouts.items():
                one = measure(kernel, checkout.resolve())
                kept = best.setdefault(kernel, {}).setdefault(who, one)
                kept["cpu_s"] = round(min(kept["cpu_s"], one["cpu_s"]), 2)
    if given.json:
        print(json.dumps({"rounds": given.rounds, "load": round(os.getloadavg()[0], 1), "kernels": best}))
        return
    for kernel, found in best.items():
        print(kernel, *(f"{who} {one['cpu_s']} s, {one['functions']} functions" for who, one in found.items()))


if __name__ == "__main__":
    main()
