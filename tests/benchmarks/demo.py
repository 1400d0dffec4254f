"""What each stage of the demo takes: `python tests/benchmarks/demo.py --json`.

The demo runs as a user runs it. At each line that begins a stage, wall time and the CPU seconds of all its processes
are read, so that a stage has its wall, its CPU seconds and the cores that it had in use. CPU seconds hardly depend on
what else runs on the machine; wall does. Files that no model learns from are ingested while the next stages run, and
count for these.

Beside each stage stands a floor: the CPU seconds of a minimal script on the files of this demo. For simulate it
compresses the values of all assets into GeoTIFFs; for ingest it reads and compresses them; for match-ups it opens each
asset of a feature once and reads the pixels of the stations; for training it fits XGBoost once for each fold; for
prediction it reads an asset of each collection, predicts and compresses, three times; for the comparison it reads the
product and the truth and correlates them.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import xgboost
from rasterio.io import MemoryFile

from stac_sm.core.projections import transform_points
from stac_sm.product.item import PRODUCT_COLLECTION

COLLECTIONS = ("glass-albedo", "glass-lai", "glass-lst", "era5-land", "cop-dem", "soilgrids", "esa-cci-sm")
"""Those of the features and of the triplet."""

_NO_FEATURES = {"lon", "lat", "row", "col", "sm", "n"}

_FITS = 16
"""Folds of the strategies of the demo."""

_PR_SET_CHILD_SUBREAPER = 36  # of prctl(2): processes whose parent ended become children of this one
_TICKS = os.sysconf("SC_CLK_TCK")
_STEP = re.compile(r"\d .*?: \d+ of \d+")  # a line of progress; others that begin with a number begin a stage


@dataclass
class Stage:
    """Wall and CPU seconds between two lines of the demo."""

    name: str
    wall: float
    cpu: float

    def fields(self) -> dict[str, Any]:
        """Return the row of the table."""
        cores = self.cpu / self.wall if self.wall else 0.0
        seconds = {"wall_s": round(self.wall, 1), "cpu_s": round(self.cpu, 1)}
        return {"stage": self.name, **seconds, "cores": round(cores, 2)}


def cpu_seconds() -> float:
    """Return the CPU seconds of all descendants of this process, those that have ended among them."""
    children, used = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(folder.name))
            used[int(folder.name)] = sum(map(int, fields[11:15])) / _TICKS
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total, todo = ended.ru_utime + ended.ru_stime, list(children.get(os.getpid(), []))
    while todo:
        process = todo.pop()
        total += used[process]
        todo += children.get(process, [])
    return total


def measure(command: Sequence[str]) -> tuple[list[Stage], dict[str, Any]]:
    """Run the demo, and return its stages and its report."""
    adopt_orphans()
    taken: list[Stage] = []
    at, used, name = time.perf_counter(), cpu_seconds(), "0 start"
    with tempfile.TemporaryFile("w+") as printed:
        demo = subprocess.Popen(command, stdout=printed, stderr=subprocess.PIPE, text=True)
        for line in chain(demo.stderr, ["end"]):
            if line == "end":
                demo.wait()
                reap()
            if line != "end" and (not line[0].isdigit() or _STEP.match(line)):
                continue
            now, cpu = time.perf_counter(), cpu_seconds()
            taken.append(Stage(name, now - at, cpu - used))
            at, used, name = now, cpu, line.partition(":")[0].partition(" in /")[0].strip()
        printed.seek(0)
        text = printed.read()
    if demo.returncode:
        raise SystemExit(text)
    return taken, json.loads(text)


def adopt_orphans() -> None:
    """Let processes whose parent has ended become children of this one, so that their seconds are counted."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap() -> None:
    """Wait for processes that outlived the demo, such as the server that its workers are forked from."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def floors(folder: Path) -> dict[str, float]:
    """Return the CPU seconds of a minimal script for each stage, by the number that the names of stages begin with."""
    apart = {"earth", PRODUCT_COLLECTION}
    assets = [file for file in folder.rglob("*.tif") if apart.isdisjoint(file.parts)]
    known = {name: [one for one in assets if name in one.parts] for name in COLLECTIONS}
    (table,) = (folder / "matchups").rglob("*.table.parquet")
    rows = pd.read_parquet(table)
    given = [name for name in rows.select_dtypes("number") if name not in _NO_FEATURES]
    read = _cpu(lambda: [_read(file) for file in assets])
    both = _cpu(lambda: [_write(*_read(file)) for file in assets])
    train = _cpu(lambda: [_fit(rows[rows["site"] != site], given) for site in rows["site"].unique()[:_FITS]])
    booster = _fit(rows, given)
    products = sorted((folder / PRODUCT_COLLECTION).rglob("*.sm.tif"))
    day = [files[0] for files in known.values() if files]
    return {
        "1": both - read,
        "2": both,
        "3": _cpu(lambda: [_sample(file, rows) for files in known.values() for file in files]),
        "4": train,
        "5": _cpu(lambda: [_predicted(day, booster, len(given)) for _ in products]),
        "6": _cpu(lambda: [np.corrcoef(_read(file)[0].ravel(), _read(truth)[0].ravel()) for file, truth in
                           zip(products, sorted((folder / "earth" / "truth").glob("*.tif")), strict=True)]),
    }  # fmt: skip


def _cpu(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def _read(file: Path) -> tuple[np.ndarray, dict[str, Any]]:
    with rasterio.open(file) as source:
        return source.read(1), source.profile


def _write(values: np.ndarray, profile: dict[str, Any]) -> None:
    changed = {**profile, "driver": "GTiff", "count": 1, "compress": "deflate"}
    with MemoryFile() as memory, memory.open(**changed) as out:
        out.write(values, 1)


def _sample(file: Path, rows: pd.DataFrame) -> None:
    with rasterio.open(file) as source:
        places = rows[["lon", "lat"]].drop_duplicates()
        x, y = transform_points("OGC:CRS84", source.crs.to_wkt(), places["lon"].to_numpy(), places["lat"].to_numpy())
        list(source.sample(zip(x, y, strict=True)))


def _fit(rows: pd.DataFrame, given: list[str]) -> xgboost.Booster:
    parameters = {"max_depth": 6, "eta": 0.1, "nthread": 1}
    return xgboost.train(parameters, xgboost.DMatrix(rows[given].to_numpy(), rows["sm"]), 100)


def _predicted(files: Sequence[Path], booster: xgboost.Booster, features: int) -> None:
    values, profile = _read(files[0])
    for file in files[1:]:
        _read(file)
    land = values.ravel()[: values.size // 7, None].astype(np.float32)
    made = np.zeros(values.size, np.float32)
    made[: len(land)] = booster.inplace_predict(np.repeat(land, features, axis=1))
    _write(made.reshape(values.shape), {**profile, "dtype": "float32", "nodata": None})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder in which the demo is left; a temporary one by default")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch, "sm-demo")
        command = [sys.executable, "-m", "stac_sm", "demo", str(folder), "--workers", str(asked.workers), "--json"]
        stages, report = measure(command)
        print("\n".join(str(one) for one in stages), file=sys.stderr, flush=True)
        minimal = floors(folder)
    stages.append(Stage("whole", sum(one.wall for one in stages), sum(one.cpu for one in stages)))
    truth = {key: round(report["truth"][key], 4) for key in ("r", "rmse", "bias")}
    rows = [one.fields() | {"floor_cpu_s": None} for one in stages]
    for number, seconds in minimal.items():
        last = [row for row in rows if row["stage"].startswith(number)][-1]
        last["floor_cpu_s"] = round(seconds, 1)
    rows[-1]["floor_cpu_s"] = round(sum(minimal.values()), 1)
    found = {"load": round(os.getloadavg()[1], 1), "truth": truth, "stages": rows}
    if asked.json:
        print(json.dumps(found))
        return
    for row in found["stages"]:
        seconds = f"{row['wall_s']:>8.1f} s {row['cpu_s']:>8.1f} CPU-s {row['cores']:>6.2f} cores"
        print(f"{row['stage']:<60}{seconds}, floor {row['floor_cpu_s']} CPU-s")
    print(truth)


if __name__ == "__main__":
    main()
