"""How long a feature cube of a tile and month takes, by both readers and by plain odc.stac.load; and its memory.

Run: ``python tests/benchmarks/cube.py [--json] [--zoom 1] [--days 31] [--trials 3] [--only speed|memory|globe]``.
Speeds are interleaved on one machine and given as ratios; absolute seconds do not hold elsewhere.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM as GRID
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.features.cube import build, feature_cube
from stac_sm.features.inputs import resolve_inputs
from stac_sm.raster.resample import TargetPixels
from stac_sm.workflows.run.memory import estimate_peak_memory
from tests.benchmarks.guard import beside
from tests.benchmarks.inputs import MONTH, RECIPE, TILE, make_inputs


def main() -> None:
    given = arguments()
    folder = Path(given.inputs or Path(tempfile.gettempdir()) / f"stac-sm-bench-{given.zoom}-{given.days}")
    days = Period(MONTH.start, MONTH.start + given.days * ONE_DAY)
    catalog, geobox = make_inputs(folder, zoom=given.zoom, days=days), GRID.geobox(TILE).zoom_out(given.zoom)
    if given.peak:
        print(json.dumps(one_peak(catalog, geobox, days, given.peak)))
        return
    parts: dict[str, Callable[[], object]] = {
        "speed": lambda: speed(catalog, geobox, days, given.trials),
        "memory": lambda: [in_a_process(folder, given, threads) for threads in (1, 2)],
        "globe": lambda: globe(catalog, days),
    }
    found = {name: part() for name, part in parts.items() if given.only in {None, name}}
    if "speed" in found:
        settings = {key: getattr(given, key) for key in ("zoom", "days", "trials")}
        ratios = {name: one for name, one in found["speed"]["ratio_to_stackstac"].items() if name != "stackstac"}
        found["beside_the_last"] = beside("cube", ratios, settings, keep=given.save)
    print(json.dumps(found, indent=2) if given.json else "\n".join(f"{name}: {value}" for name, value in found.items()))


def speed(catalog, geobox: GeoBox, days: Period, trials: int) -> dict[str, object]:
    """Median seconds of the whole cube, interleaved, and ratios to ours by stackstac."""
    ways = {
        "stackstac": lambda: ours(catalog, geobox, days, "stackstac"),
        "odc": lambda: ours(catalog, geobox, days, "odc"),
        "plain odc.stac.load, day by day": lambda: plain(catalog, geobox, days),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(trials):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - start)
    seconds = {name: median(times) for name, times in taken.items()}
    ratios = {name: round(value / seconds["stackstac"], 2) for name, value in seconds.items()}
    return {"seconds": {name: round(value, 2) for name, value in seconds.items()}, "ratio_to_stackstac": ratios}


def ours(catalog, geobox: GeoBox, days: Period, reader: str) -> None:
    import dask

    cube = feature_cube(catalog, RECIPE, geobox, days, reader=reader)
    with dask.config.set(scheduler="threads", num_workers=2):
        dask.compute(*_uses(cube, len(days)))


def plain(catalog, geobox: GeoBox, days: Period) -> None:
    """What a user would write: every collection of every day loaded onto the grid, composites by the nearest item."""
    from odc.stac import load

    resampling = {"nearest": "nearest", "bilinear": "bilinear", "average": "average"}
    for day in days.days:
        for feature in RECIPE.sources:
            reach = 0 if feature.time == "daily" else 8
            period = None if feature.time == "static" else Period.of_day(day).widened(reach)
            items = catalog.items(feature.collection, period=period)
            here = min(items, key=lambda item: abs(item.datetime.date() - day))
            load(
                [here], bands=[feature.asset], geobox=geobox, resampling=resampling[feature.resampling],
                chunks={"x": -1, "y": -1},
            ).compute(scheduler="threads", num_workers=2)  # fmt: skip


def one_peak(catalog, geobox: GeoBox, days: Period, threads: int) -> dict[str, object]:
    """Peak memory of this process after the whole cube was computed, and the estimate of `workflows.run.memory`."""
    import dask

    resolution, target = resolve_inputs(catalog, RECIPE, geobox, days), TargetPixels(geobox)
    with dask.config.set(scheduler="threads", num_workers=threads):
        dask.compute(*_uses(build(resolution, target), len(days)))
    estimate = estimate_peak_memory(resolution, target, threads=threads, days=len(days))
    status = Path("/proc/self/status").read_text()  # getrusage would count what the parent process had at the fork
    used = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
    return {"threads": threads, "days": len(days), "peak_mb": round(used), "estimate_mb": round(estimate / 2**20)}


def in_a_process(folder: Path, given: argparse.Namespace, threads: int) -> dict[str, object]:
    same = ["--inputs", folder, "--zoom", given.zoom, "--days", given.days, "--peak", threads]
    command = [sys.executable, __file__, *map(str, same)]
    return dict(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def globe(catalog, days: Period) -> dict[str, object]:
    """Seconds to make the graph of a day of 43,200 x 21,600 pixels."""
    pixel = GRID.pixel[0]
    whole = GeoBox((21600, 43200), Affine(pixel, 0, -21600 * pixel, 0, -pixel, 10800 * pixel), GRID.crs)
    resolution = resolve_inputs(catalog, RECIPE, whole, Period.of_day(days.start))
    build(
        resolve_inputs(catalog, RECIPE, GRID.geobox(TILE), Period.of_day(days.start)), TargetPixels(GRID.geobox(TILE))
    )  # imports
    start = time.perf_counter()
    cube = build(resolution, TargetPixels(whole))
    return {"graph_s": round(time.perf_counter() - start, 2), "tasks": len(cube.__dask_graph__())}


def _uses(cube, days: int) -> list[object]:
    """Each day used once and let go, as `run` does."""
    from dask import delayed

    blocks = {name: variable.data.to_delayed(optimize_graph=False).ravel() for name, variable in cube.data_vars.items()}
    return [delayed(_use)(*[column[i] for column in blocks.values()]) for i in range(days)]


def _use(*columns: np.ndarray) -> float:
    return float(sum(np.nansum(column) for column in columns))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write the ratios to results.json")
    parser.add_argument("--zoom", type=int, default=1, help="thin the tile's pixels out")
    parser.add_argument("--days", type=int, default=31)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--only", choices=["speed", "memory", "globe"])
    parser.add_argument("--inputs", help="folder of the inputs, made if it is not there")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
