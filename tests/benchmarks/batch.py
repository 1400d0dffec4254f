"""What a run costs beside the work itself, how two workers share it, and how much memory a worker takes.

Run: ``python tests/benchmarks/batch.py [--json] [--zoom 2] [--months 4] [--trees 300] [--depth 6] [--trials 2]``.

Tasks are one tile and month each, of the recipe of GLASS SM, with the tile's pixels thinned out by ``--zoom``. The work
itself is what the records of the tasks say; the overhead is the rest of the time between the first task's begin and the
last one's end. Plan and index over many items: ``tests/benchmarks/plan.py``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import pandas as pd
import psutil

from stac_sm.core.fingerprint import digest
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM as GRID
from stac_sm.core.period import Period
from stac_sm.model.fit import fit
from stac_sm.model.item import MODELS_COLLECTION as MODELS
from stac_sm.model.item import model_item, write_model_assets
from stac_sm.model.model import Model
from stac_sm.model.train_settings import TrainSettings
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import publish
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.project import Project, create_project
from stac_sm.workflows.run.run import RunReport, run_plan
from stac_sm.workflows.run.workers import LocalWorkers
from tests.benchmarks.guard import beside
from tests.benchmarks.inputs import RECIPE, TILE, make_inputs
from tests.support.fields import project_text

RANGES = {
    "bsa_vis": (0.05, 0.4), "bsa_nir": (0.05, 0.4), "bsa_shortwave": (0.05, 0.4), "lst": (280, 300), "lai": (0, 6),
    "swvl1": (0.1, 0.4), "elevation": (0, 2000), "slope": (0, 40), "sand": (5, 60), "silt": (5, 60), "clay": (5, 60),
}  # fmt: skip


def main() -> None:
    given = arguments()
    folder = Path(tempfile.mkdtemp(prefix="stac-sm-batch-"))
    try:
        project, model_id = bench_project(folder / "p", given)
        found = {
            "tasks": given.months,
            "trials": [one_trial(project, model_id, given) for _ in range(given.trials)],
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    found["median"] = {
        name: round(median(trial[name] for trial in found["trials"]), 3)
        for name in ("overhead_share", "efficiency_of_two", "worker_gib")
    }
    ratios = {"two workers over one": 2 * found["median"]["efficiency_of_two"]}
    settings = {key: getattr(given, key) for key in ("zoom", "months", "trials")}
    found["beside_the_last"] = beside("batch", ratios, settings, keep=given.save)
    lines = [*(f"{k}: {v}" for k, v in found["median"].items()), *found["beside_the_last"]]
    print(json.dumps(found, indent=2) if given.json else "\n".join(lines))


def one_trial(project: Project, model_id: str, given: argparse.Namespace) -> dict[str, float]:
    """One worker, then two, on the same tasks."""
    alone, alone_peak = timed(project, model_id, given, 1)
    two, _ = timed(project, model_id, given, 2)
    work, span = worked(alone), spanned(alone)
    return {
        "seconds_alone": round(span, 2),
        "seconds_two": round(spanned(two), 2),
        "overhead_share": round((span - work) / work, 4),
        "overhead_seconds_a_task": round((span - work) / given.months, 4),
        "efficiency_of_two": round(span / (2 * spanned(two)), 3),
        "start_and_end_seconds": round(alone.seconds - span, 2),
        "worker_gib": round(alone_peak / 2**30, 3),
    }


def timed(project: Project, model_id: str, given: argparse.Namespace, workers: int) -> tuple[RunReport, int]:
    """A run from nothing, and the largest memory of a worker."""
    shutil.rmtree(Path(project.folder, PRODUCT_COLLECTION))
    create_project_again(project)
    catalog = open_catalog(project.folder)
    model = Model.from_item(catalog.item(MODELS, model_id).self_href)
    plan = make_plan(catalog, model, [TILE], months(given), grid=project.grid, version="001")
    assert plan.counts["new"] == len(months(given)), plan.counts
    with Watch() as watch:
        report = run_plan(project, plan, workers=LocalWorkers(workers))
    assert not report.failures, report.failures[0]
    return report, watch.peak


def worked(report: RunReport) -> float:
    """Seconds inside tasks."""
    return sum(record.seconds for record in report.records)


def spanned(report: RunReport) -> float:
    """Seconds from the begin of the first task to the end of the last; begins are told to the second."""
    begins = [datetime.fromisoformat(record.started).timestamp() for record in report.records]
    return max(b + record.seconds for b, record in zip(begins, report.records, strict=True)) - min(begins)


class Watch:
    """Largest resident memory of any process below this one."""

    def __enter__(self) -> Watch:
        self.peak, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.1):
            for process in psutil.Process().children(recursive=True):
                try:
                    self.peak = max(self.peak, process.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue


def bench_project(folder: Path, given: argparse.Namespace) -> tuple[Project, str]:
    """Inputs, a project and a model of so many trees."""
    make_inputs(folder, zoom=given.zoom, days=months(given))
    zoomed = tuple(size * given.zoom for size in GRID.pixel)
    shape = tuple(size // given.zoom for size in GRID.tile_shape)
    grid = replace(GRID, name="bench", pixel=zoomed, tile_shape=shape)
    project = create_project(folder, project_text(grid, RECIPE))
    return project, put_model(folder, given)


def put_model(folder: Path, given: argparse.Namespace) -> str:
    rng = np.random.default_rng(1)
    table = pd.DataFrame({name: rng.uniform(*RANGES[name], 20_000).astype(np.float32) for name in RECIPE.names})
    table["sm"] = 0.05 + 0.5 * table["swvl1"] + 0.01 * table["lai"] + 0.02 * np.sin(table["elevation"] / 200)
    settings = TrainSettings(tune=False, n_estimators=given.trees, max_depth=given.depth)
    model = replace(fit(table, RECIPE.names, settings=settings), recipe=RECIPE)
    item = model_item(
        model, fingerprint=digest(["bench", given.trees, given.depth]), bbox=[8, 45, 12, 48],
        period=Period.parse("2018"), hyperparameters={"eta": 0.05}, properties={"title": "benchmark"},
    )  # fmt: skip
    catalog = open_catalog(folder)
    (folder / ".scratch" / "model").mkdir(parents=True, exist_ok=True)
    publish(catalog, item, write_model_assets(model, folder / ".scratch" / "model"))
    refresh(catalog.store, MODELS)
    return str(item["id"])


def create_project_again(project: Project) -> None:
    """The empty product collection, as a new project has it."""
    from stac_sm.stac.catalogs.catalog import create_skeleton
    from stac_sm.storage.store import open_store

    create_skeleton(open_store(project.folder), title=project.about.title)


def months(given: argparse.Namespace) -> Period:
    return Period.parse(f"2018-06/2018-{5 + given.months:02d}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoom", type=int, default=2)
    parser.add_argument("--months", type=int, default=4)
    parser.add_argument("--trees", type=int, default=300)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write the ratio to results.json")
    return parser.parse_args()


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s in all", file=sys.stderr)
