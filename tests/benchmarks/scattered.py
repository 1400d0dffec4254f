"""Days that lie scattered over many months: a run of this checkout beside one of another, in turns.

Run: ``python tests/benchmarks/scattered.py --json [--rival CHECKOUT] [--days 39] [--months 24] [--first 24]
[--workers 2] [--trials 2] [--inputs DIR]``; ``--first 10`` runs the first ten months of them only.

The project has one full tile of 1200 x 1200 pixels, the recipe ``memory`` (means of many years, exponential means of 90
days) and inputs of real sizes, made once and kept. Temperature and composites are there for the scattered days only,
ERA5-Land for each day, so ``plan --period`` over all months finds that many days to make. Each side plans and runs by
its own program; ``--rival`` is a checkout of another version with a ``.venv`` of its own. Printed are wall and CPU
seconds of ``stac-sm run``, all its processes together, and whether both sides wrote the same bytes. CPU seconds hardly
depend on what else runs on the machine; wall does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from stac_sm.core.period import ONE_DAY, Period
from stac_sm.features.climatology import features_needing_climatology, make_climatology
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.links import refresh
from stac_sm.workflows.project import create_project, read_project
from tests.benchmarks.demo import adopt_orphans, cpu_seconds, reap
from tests.benchmarks.guard import beside
from tests.benchmarks.inputs import TILE
from tests.benchmarks.month import (
    HISTORY,
    INPUTS,
    fit_model,
    forget_product,
    memory_text,
    put_composites,
    put_model,
    put_static,
    put_temperature,
    put_weather,
)
from tests.support.fields import new_catalog

FIRST_YEAR = 2018


def main() -> None:
    """Make the project if it is not there, run all sides in turns, and print."""
    given = arguments()
    adopt_orphans()
    days = scattered_days(given.days, given.months)
    folder = Path(given.inputs or Path(tempfile.gettempdir(), f"stac-sm-scattered-{given.days}-{given.months}"))
    make_project(folder, days, given.months, given.trees)
    sides = {"ours": Path(__file__).parents[2]} | ({"rival": given.rival.absolute()} if given.rival else {})
    trials: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    period = whole_period(min(given.first, given.months))
    number = sum(day in period for day in days)
    for checkout in () if given.warm else sides.values():
        one_run(folder, checkout, Period.of_day(days[0]), given.workers)  # compiles the kernels
    for _ in range(given.trials):
        for name, checkout in sides.items():
            done = one_run(folder, checkout, period, given.workers)
            assert done["items"] == number, (name, done)
            trials[name].append(done)
            print(f"{name}: {done}", file=sys.stderr, flush=True)
    found: dict[str, Any] = {
        name: {key: round(median(one[key] for one in runs), 1) for key in ("wall_s", "cpu_s")}
        for name, runs in trials.items()
    }
    found |= {"tile_days": number, "months": min(given.first, given.months), "load": round(os.getloadavg()[1], 1)}
    found["same_bytes"] = len({one["digest"] for runs in trials.values() for one in runs}) == 1
    ratios = {}
    if given.rival:
        ratios = {key: found["rival"][f"{key}_s"] / found["ours"][f"{key}_s"] for key in ("wall", "cpu")}
        ratios = {f"times the rival, {key}": round(value, 2) for key, value in ratios.items()}
    settings = {key: getattr(given, key) for key in ("days", "months", "first", "workers", "trials", "trees")}
    found |= {"ratios": ratios, "beside_the_last": beside("scattered", ratios, settings, keep=given.save)}
    print(json.dumps(found, indent=1) if given.json else "\n".join(f"{key}: {value}" for key, value in found.items()))
    sys.exit(0 if found["same_bytes"] else 1)


def scattered_days(number: int, months: int) -> list[date]:
    """Return so many days, spread evenly over all months."""
    period = whole_period(months)
    return [period.start + ((2 * i + 1) * len(period) // (2 * number)) * ONE_DAY for i in range(number)]


def whole_period(months: int) -> Period:
    """Return the months from the beginning of the first year on."""
    last = date(FIRST_YEAR + months // 12, months % 12 + 1, 1)
    return Period(date(FIRST_YEAR, 1, 1), last)


def make_project(folder: Path, days: list[date], months: int, trees: int) -> None:
    """Make inputs, means of many years, project and model in a folder; kept if they are there."""
    if (folder / "made").exists():
        return
    catalog, period = new_catalog(folder), whole_period(months)
    put_static(catalog)
    for i, day in enumerate(days):
        put_temperature(catalog, i, day)
    for i, day in enumerate(period.widened(HISTORY).days):
        if day < period.end:
            put_weather(catalog, i, day)
    put_composites(catalog, [day + after * ONE_DAY for day in days for after in (-7, 1)])
    for collection in INPUTS:
        refresh(catalog.store, collection)
    create_project(folder, memory_text(period).replace("# tiles = []       ", f'tiles = ["{TILE}"] '))
    project = read_project(folder)
    for feature in features_needing_climatology(project.recipe):
        make_climatology(project.catalog, feature)
    put_model(project.catalog, fit_model(project.catalog, project.recipe, days[0], trees, 6, "whole"))
    (folder / "made").touch()


def one_run(folder: Path, checkout: Path, period: Period, workers: int) -> dict[str, Any]:
    """Plan and run a period from nothing by the program of a checkout: seconds, items, digest of what was written."""
    forget_product(folder)
    plan = folder / "scattered.parquet"
    plan.unlink(missing_ok=True)
    program = [str(checkout / ".venv/bin/python"), "-P", "-m", "stac_sm"]
    whole = "/".join(map(str, (period.start, period.end - ONE_DAY)))
    asked = ["--period", whole, "--out", plan, "--accept-unskilled", "--project", folder, "--json"]
    command(program, "plan", *asked)
    at, used = time.perf_counter(), cpu_seconds()
    asked = [plan, "--workers", workers, "--project", folder, "--json"]
    done = command(program, "run", *asked, codes=(0, 1))  # 1: most days of the period have no input
    if json.loads(done)["failed"]:
        raise SystemExit(done)
    reap()
    wall, cpu = time.perf_counter() - at, cpu_seconds() - used
    files = sorted(file for file in (folder / PRODUCT_COLLECTION).rglob("SM1KM*") if file.is_file())
    content = hashlib.sha256()
    for file in files:
        content.update(f"{file.relative_to(folder)}\n".encode() + file.read_bytes())
    items = sum(file.name.endswith(".sm.tif") for file in files)
    return {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1), "items": items, "digest": content.hexdigest()[:16]}


def command(program: list[str], *words: object, codes: tuple[int, ...] = (0,)) -> str:
    """Run the program, and return what it printed; that is the message where it ends in another way."""
    done = subprocess.run([*program, *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode not in codes:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rival", type=Path, help="checkout of another version, with its .venv")
    parser.add_argument("--days", type=int, default=39)
    parser.add_argument("--months", type=int, default=24)
    parser.add_argument("--first", type=int, default=1200, help="months that are run")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--trials", type=int, default=1)
    parser.add_argument("--trees", type=int, default=300)
    parser.add_argument("--inputs", help="folder of the project, made if it is not there")
    parser.add_argument("--warm", action="store_true", help="both sides have compiled their kernels before")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write the ratios to results.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
