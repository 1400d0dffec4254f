"""A month of a real tile: our task beside what others would write, its stages, and the floor below it.

Run: ``python tests/benchmarks/tile_month.py [--recipes memory glass-sm] [--days 4] [--trials 1] [--kinds whole sm]
[--s3 LATENCY_MS] [--no-floor] [--only ours xgboost free plain odc stackstac odc-stats] [--json] [--save]
[--inputs DIR]``.

Both recipes are measured, one after another: ``memory``, which ``init`` writes, and ``glass-sm``.
All ways read the same files and write the same profile, in turns, in one process, with two threads. ``whole`` is sm,
uncertainty, qa with the area of applicability, picture, re-opened and checksummed; ``sm`` is the first alone (ours
writes qa and picture even so); ``xgboost`` is ours with XGBoost's own prediction, ``free`` ours with one that costs
nothing. Their sm is compared with ours. The floor is decoding every file once, the kernel and the encoding alone, each
on two threads, in the same run. ``--s3`` serves the inputs by ranged GET over HTTP from another process with so many
milliseconds for each request, and counts them. Fewer days than a month share their static layers less, which counts
against us.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM as GRID
from stac_sm.features.cube import build
from stac_sm.features.inputs import ResolvedInputs, resolve_inputs
from stac_sm.model.applicability import Applicability
from stac_sm.model.item import MODELS_COLLECTION as MODELS
from stac_sm.model.model import Model
from stac_sm.model.predict import predict_block
from stac_sm.product.item import PRODUCT_COLLECTION, write_product_assets
from stac_sm.raster.resample import TargetPixels
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.run.task import run_task
from tests.benchmarks.costs import MEASURED
from tests.benchmarks.guard import beside
from tests.benchmarks.inputs import TILE
from tests.benchmarks.month import INPUTS, RECIPES, forget_product, make_project, month
from tests.benchmarks.rivals import scripts

NEAREST_99, SAME_MASK = 0.02, 0.98
"""Required of a rival: 99 % of its sm this near ours, m3 m-3, and this share of pixels with or without a value."""

RIVALS = ("plain", "odc", "stackstac", "odc-stats")
STAGES = {
    "decode": [("stac_sm.features.daily_fields", "read_window")],
    "resample": [("stac_sm.features.daily_fields", "regrid"), ("stac_sm.features.daily_fields", "pixel_lookup")],
    "predict": [("stac_sm.model.predict", "predict_block")],  # with the area of applicability
    "applicability": [("stac_sm.model.applicability", "Applicability.outside")],
    "encode": [("stac_sm.raster.cog", "write_cog")],
    "prove": [("stac_sm.raster.cog", "verify_cog")],
    "publish": [("stac_sm.stac.publish", "publish")],
}


def main() -> None:
    given = arguments()
    found = {recipe: one_recipe(recipe, given) for recipe in given.recipes}
    print(json.dumps(found, indent=1) if given.json else "\n".join(told(*one) for one in found.items()))


def one_recipe(recipe: str, given: argparse.Namespace) -> dict[str, Any]:
    """Figures of a recipe by kind, and its ratios beside those of the last committed run."""
    days = month(given.days)
    folder = given.inputs or str(Path(tempfile.gettempdir(), f"stac-sm-tile-month-{given.days}"))
    folder = Path(folder if recipe == "glass-sm" else f"{folder}-{recipe}")
    _, ids = make_project(folder, days, recipe, given.trees, given.depth)
    with served(folder, given.s3) as (project, counts):
        bench = Bench(project, given.days, ids, counts)
        found = {kind: bench.kind(kind, given) for kind in given.kinds}
    ratios = {f"{kind} {key}": value for kind, one in found.items() for key, value in one["ratios"].items()}
    name = " ".join(["tile_month", *([] if recipe == "glass-sm" else [recipe])])
    name += "" if given.s3 is None else f" s3 {given.s3} ms"
    settings = {key: getattr(given, key) for key in ("days", "trials", "trees", "depth")}
    if given.save and given.s3 is None:
        measured = json.loads(MEASURED.read_text())
        MEASURED.write_text(json.dumps(measured | {recipe: measured.get(recipe, {}) | found}, indent=1) + "\n")
    return found | {"beside_the_last": beside(name, ratios, settings, keep=given.save)}


class Bench:
    """One project, and its month by any way."""

    def __init__(self, folder: Path, days: int, ids: dict[str, str], counts: Callable[[], int]) -> None:
        self.folder, self.days, self.ids, self.counts = folder, month(days), ids, counts
        self.geobox = GRID.geobox(TILE)
        self.scratch = Path(tempfile.mkdtemp(prefix="stac-sm-tile-month-"))

    def kind(self, kind: str, given: argparse.Namespace) -> dict[str, Any]:
        """Medians of interleaved runs of one kind."""
        catalog = open_catalog(self.folder)
        model = Model.from_item(catalog.item(MODELS, self.ids[kind]).self_href)
        resolution = resolve_inputs(catalog, model.cube_recipe(), self.geobox, self.days)
        others, absent = scripts(model, self.folder, [name for name in RIVALS if name in given.only])
        ways: dict[str, Callable[[], None]] = {"ours": lambda: self.ours(kind)} if "ours" in given.only else {}
        if "xgboost" in given.only:
            ways["xgboost"] = lambda: self.by_xgboost(kind)
        if "free" in given.only:
            ways["free"] = lambda: self.free_of_kernels(kind)
        for name, script in others.items():
            ways[name] = lambda script=script, name=name: script.month(
                resolution, model, self.geobox, self._out(name), whole=kind == "whole"
            )
        self.ours(kind, 1)  # imports, compiles
        seconds, gets = self._in_turns(ways, given.trials)
        for name, one in seconds.items():
            print(f"{model.id} {kind} {name}: {median(one):.2f} s, {gets[name]} GETs", file=sys.stderr)
        stages = self.stages(kind) if "ours" in given.only else {}
        floor = {} if given.no_floor else self.floor(model, resolution)
        took = {name: median(times) for name, times in seconds.items()}
        return {
            "days": len(self.days),
            "seconds": {name: round(value, 2) for name, value in took.items()},
            "gets": gets,
            "left_out": absent,
            "equality": {name: self.equality(name) for name in others if "ours" in ways},
            "stages": stages,
            "floor": floor,
            "peak_mb": _peak(),
            "ratios": _ratios(took, gets, floor),
        }

    def _in_turns(self, ways: dict[str, Callable[[], None]], trials: int) -> tuple[dict[str, list[float]], Any]:
        seconds: dict[str, list[float]] = defaultdict(list)
        gets = {}
        for _ in range(trials):
            for name, way in ways.items():
                before, start = self.counts(), time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - start)
                gets[name] = self.counts() - before
        return seconds, gets

    def ours(self, kind: str, days: int | None = None) -> None:
        """Our task, from nothing, on one worker that has made no task of this tile before."""
        forget_product(self.folder)
        forget_kept()
        catalog = open_catalog(self.folder)
        model = Model.from_item(catalog.item(MODELS, self.ids[kind]).self_href)
        wanted = month(days) if days else self.days
        plan = make_plan(catalog, model, [TILE], wanted, grid=GRID, version="001")
        for task in plan.tasks():
            record = run_task(str(self.folder), task)
            assert not record.failures, record.failures[0]

    def by_xgboost(self, kind: str) -> None:
        """The same with XGBoost's own prediction."""
        from stac_sm.model.forest import ensemble
        from stac_sm.workflows.run import task

        plain, ensemble._WORTH_IT = ensemble._WORTH_IT, 1 << 62
        task._model.cache_clear()  # it may hold a forest that is built
        try:
            self.ours(kind)
        finally:
            ensemble._WORTH_IT = plain
            task._model.cache_clear()

    def free_of_kernels(self, kind: str) -> None:
        """The same with a prediction and an area of applicability that cost nothing: no kernel could be faster."""
        from unittest.mock import patch

        def half(model: Model, columns: dict[str, np.ndarray]) -> Any:
            first = columns[model.features[0]]  # as rough as a field is, since constants are written in no time
            return 0.2 + 0.1 * first, None if model.intervals is None else 0.05 + 0.1 * first

        with (
            patch.object(Model, "predict", lambda model, columns: half(model, columns)[0]),
            patch.object(Model, "predict_with_half_width", half),
            patch.object(Applicability, "outside", lambda area, columns: columns[area.features[0]] > 0.3),
        ):
            self.ours(kind)

    def _out(self, name: str) -> Path:
        shutil.rmtree(self.scratch / name, ignore_errors=True)
        return self.scratch / name

    def equality(self, name: str) -> dict[str, float]:
        """Differences of a rival's sm from ours, m3 m-3, over all days."""
        import rasterio

        parts = []
        for made in sorted(
            (self.folder / PRODUCT_COLLECTION).rglob("*.sm.tif")
        ):  # nothing links to them: no run has ended
            with rasterio.open(made) as file:
                ours = file.read(1)
            with rasterio.open(self.scratch / name / made.name[7:14] / "sm.tif") as file:
                theirs = file.read(1)
            both = (ours != -9999) & (theirs != -9999)
            parts.append((np.abs(ours - theirs)[both], np.mean((ours == -9999) != (theirs == -9999))))
        apart = np.concatenate([part for part, _ in parts])
        figures = {"median": np.median(apart), "99 %": np.quantile(apart, 0.99), "most": apart.max()}
        figures |= {"same": np.mean(apart == 0), "other mask": np.mean([share for _, share in parts])}
        assert figures["99 %"] < NEAREST_99, (name, figures)
        assert figures["other mask"] < 1 - SAME_MASK, (name, figures)
        return {key: round(float(value), 6) for key, value in figures.items()}

    def stages(self, kind: str) -> dict[str, Any]:
        """Seconds and CPU seconds of threads, calls and bytes of each stage of our task, in a run of its own."""
        before = self.counts()
        with timed() as clocks:
            start = time.perf_counter()
            self.ours(kind)
            whole = time.perf_counter() - start
        found = {
            name: {"seconds": round(one[0], 2), "cpu": round(one[2], 2), "calls": one[1]}
            for name, one in clocks.items()
        }
        product = sum(file.stat().st_size for file in (self.folder / PRODUCT_COLLECTION).rglob("*.tif"))
        read = sum(f.stat().st_size for name in INPUTS for f in (self.folder / name).rglob("*.tif"))
        found["decode"] |= {"bytes": read, "requests": self.counts() - before}
        found["publish"] |= {"bytes": product}
        return found | {"wall": {"seconds": round(whole, 2), "calls": 1}}

    def floor(self, model: Model, resolution: ResolvedInputs) -> dict[str, float]:
        """Seconds of decoding, kernel and encoding alone, on two threads."""
        import rasterio

        sources = {s for made in resolution.by_feature.values() for one in made.values() for s in _files(one)}
        target = TargetPixels(self.geobox)
        day = resolution.only([resolution.days[0]])
        cube = build(day, target).compute(scheduler="threads", num_workers=2)
        recipe = model.recipe
        masks = [mask.name for mask in recipe.masks]
        fields = {name: cube[name].values[0] for name in [*model.features, *masks]}

        def decode(source: Any) -> None:
            with rasterio.open(source.href) as file:
                file.read(1)

        def kernel(_: int) -> Any:
            return predict_block(model, list(fields), model.features, masks, *fields.values())

        sm, qa, *width = kernel(0)

        def encode(_: int) -> None:
            with tempfile.TemporaryDirectory() as scratch:
                write_product_assets(sm, qa, self.geobox, Path(scratch), uncertainty=width[0] if width else None)

        with without_proof(), ThreadPoolExecutor(2) as pool:
            parts = {
                "decode": _seconds(lambda: list(pool.map(decode, sources))),
                "kernel": _seconds(lambda: list(pool.map(kernel, range(len(resolution.days))))),
                "encode": _seconds(lambda: list(pool.map(encode, range(len(resolution.days))))),
            }
        return {name: round(value, 2) for name, value in parts.items()}


def _files(made: Any) -> Iterator[Any]:
    return (source for layer in made.fields for source in layer.sources)


def _ratios(took: dict[str, float], gets: dict[str, int], floor: dict[str, float]) -> dict[str, float]:
    """Gains of ours: times the rivals, times fewer requests, and the share of our time that is floor."""
    ours = took.get("ours")
    if not ours:
        return {}
    found = {f"times {name}": value / ours for name, value in took.items() if name != "ours"}
    found |= {
        f"fewer GETs than {name}": n / gets["ours"] for name, n in gets.items() if name != "ours" and gets["ours"]
    }
    if floor:
        found["floor / ours"] = sum(floor.values()) / ours
    return {name: round(value, 2) for name, value in found.items()}


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _peak() -> int:
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024


def forget_kept() -> None:
    """Release what a worker keeps for its next task."""
    from stac_sm.workflows.run import task

    if kept := getattr(task, "_KEPT", None):
        kept.resize(0)


@contextlib.contextmanager
def timed() -> Iterator[dict[str, list[float]]]:
    """Wall-clock seconds, calls and CPU seconds inside each stage, over all threads."""
    import importlib

    clocks: dict[str, list[float]] = {name: [0.0, 0, 0.0] for name in STAGES}
    lock, before = threading.Lock(), []
    for name, places in STAGES.items():
        for module, function in places:
            *inside, function = function.split(".")
            home: Any = functools.reduce(getattr, inside, importlib.import_module(module))
            plain = getattr(home, function)
            before.append((home, function, plain))

            def clocked(*args: Any, _plain: Any = plain, _name: str = name, **options: Any) -> Any:
                start, used = time.perf_counter(), time.thread_time()
                try:
                    return _plain(*args, **options)
                finally:
                    with lock:
                        clocks[_name][0] += time.perf_counter() - start
                        clocks[_name][1] += 1
                        clocks[_name][2] += time.thread_time() - used

            setattr(home, function, clocked)
    try:
        yield clocks
    finally:
        for home, function, plain in before:
            setattr(home, function, plain)


@contextlib.contextmanager
def without_proof() -> Iterator[None]:
    """The floor encodes; it does not read back."""
    from stac_sm.raster import cog

    plain = cog.verify_cog
    cog.verify_cog = lambda *args, **options: None
    try:
        yield
    finally:
        cog.verify_cog = plain


@contextlib.contextmanager
def served(folder: Path, latency: int | None) -> Iterator[tuple[Path, Callable[[], int]]]:
    """The project, its inputs on this disk or behind a server with a latency; and the GETs of pixels so far."""
    if latency is None:
        yield folder, lambda: 0
        return
    command = [sys.executable, str(Path(__file__).with_name("far_store.py")), str(folder), str(latency)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        address = server.stdout.readline().strip()
        far = Path(tempfile.mkdtemp(prefix="stac-sm-far-"))
        try:
            shutil.copytree(
                folder, far, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".scratch", PRODUCT_COLLECTION)
            )
            _send_afar(far, address)

            def counts() -> int:
                server.stdin.write("\n")
                server.stdin.flush()
                return int(server.stdout.readline())

            yield far, counts
        finally:
            server.stdin.close()
            server.wait(10)
            shutil.rmtree(far, ignore_errors=True)


def _send_afar(folder: Path, address: str) -> None:
    for file in (file for name in INPUTS for file in (folder / name).rglob("*.json")):
        document = json.loads(file.read_text())
        for asset in document.get("assets", {}).values():
            path = (file.parent / asset["href"]).resolve().relative_to(folder.resolve())
            asset["href"] = f"{address}/{path}"
            (folder / path).unlink(missing_ok=True)
        file.write_text(json.dumps(document))


def told(recipe: str, found: dict[str, Any]) -> str:
    """Figures for a person."""
    text, lines = [], found.pop("beside_the_last")
    for kind, one in found.items():
        text += [
            f"-- {recipe}, {kind}, seconds: {one['seconds']}; GETs of pixels: {one['gets']}; peak {one['peak_mb']} MB"
        ]
        text += [f"   left out: {name} ({why})" for name, why in one["left_out"].items()]
        text += [f"   sm of {name} beside ours: {figures}" for name, figures in one["equality"].items()]
        text += [f"   {name:9} {figures}" for name, figures in one["stages"].items()]
        text += [f"   floor, two threads: {one['floor']}, sum {sum(one['floor'].values()):.2f}"] if one["floor"] else []
    return "\n".join([*text, *lines])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--days", type=int, default=4)
    parser.add_argument("--trials", type=int, default=1)
    parser.add_argument("--trees", type=int, default=500)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--only", nargs="+", choices=["ours", "xgboost", "free", *RIVALS], default=["ours", *RIVALS])
    parser.add_argument("--kinds", nargs="+", choices=["whole", "sm"], default=["whole", "sm"])
    parser.add_argument("--s3", type=int, metavar="LATENCY_MS")
    parser.add_argument("--no-floor", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--save", action="store_true", help="write the ratios to results.json, the figures to tile_month.json"
    )
    parser.add_argument("--inputs", help="folder of glass-sm, made if it is not there; that of memory is DIR-memory")
    return parser.parse_args()


if __name__ == "__main__":
    main()
