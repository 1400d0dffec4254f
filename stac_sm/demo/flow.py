"""Run the demo: the whole flow on a simulated Earth with known truth, each step done once.

Only the Earth is simulated. Formats, code, catalogue, cluster and scores are those of a real project. ``stac-sm demo``
calls `run_demo`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import asdict, dataclass
from importlib import import_module
from math import isnan
from pathlib import Path
from shlex import quote
from threading import Thread
from typing import Any

import numpy as np

from stac_sm.core.errors import InputError, StacSmError
from stac_sm.core.metrics import Scores, agreement_scores
from stac_sm.core.parallel import process_pool
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.core.progress import LogFunction, ProgressBar
from stac_sm.features.climatology import features_needing_climatology, make_climatology
from stac_sm.features.recipe import Feature
from stac_sm.ingest.pipeline import ingest
from stac_sm.model.applicability import Applicability
from stac_sm.model.diagnostics.results import DiagnosticsBudget
from stac_sm.model.forest.kernel_loader import KernelError, load_kernel
from stac_sm.model.item import MODELS_COLLECTION
from stac_sm.model.model import Model
from stac_sm.model.skill import Skill, read_skill, skill_sentences, unskilled
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.simulate.dataset import write_simulated_earth
from stac_sm.simulate.earth import Earth
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.publish import PublishOutcome
from stac_sm.storage.address import asset_address
from stac_sm.storage.disk_lock import lock_file
from stac_sm.workflows.plan.plan import Plan, make_plan
from stac_sm.workflows.plan.plan_file import PLANS_FOLDER, write_plan
from stac_sm.workflows.project import FILE_NAME, Project, create_project, read_project
from stac_sm.workflows.project_template import TEMPLATES
from stac_sm.workflows.run.run import run_plan
from stac_sm.workflows.training.steps import TrainingResult, match_up_step, train_step
from stac_sm.workflows.validation.products import VALIDATED_PRODUCTS, OtherProduct
from stac_sm.workflows.validation.validate import compare_with_other_products

_LOCK = ".demo.lock"
_TITLE = 'title = "A simulated Earth"'
_LEARNED_FROM = (
    "esa-cci-sm", "cop-dem", "glass-albedo", "glass-lai", "era5-land", "glass-lst", "ismn", "soilgrids",
)  # fmt: skip
"""The features of the recipe and the triplet, those that take longest first."""

_OTHERS = ("merit-dem", "modis", "smap-s1", "smap")
"""What may take their place, and what the product is compared with: ingested while stations are matched up and the
model is trained."""

SOURCES = (*_LEARNED_FROM, *_OTHERS)
"""Names of all sources that the demo ingests."""


@dataclass(frozen=True)
class DemoComparison:
    """Scores of the product against another one, over the days of the product and the cells of the other."""

    collection: str
    """Collection of the other product."""

    asset: str
    """Its asset."""

    grid: str
    """Size of its cells."""

    scores: Scores
    """Scores of the product, averaged over each cell, against the other; m3 m-3 but for R."""


@dataclass(frozen=True)
class DemoReport:
    """Result of the demo: what it made, and its scores."""

    catalog: str
    """The root of the catalogue."""

    model: str
    """Id of the model item."""

    tc_status: str
    """Whether the sites were screened, and how many were kept."""

    scores: tuple[Mapping[str, Any], ...]
    """Scores of all strategies."""

    truth: Scores
    """Product against the truth, at all pixels and days of the product."""

    others: tuple[DemoComparison, ...]
    """Product against other products, which have errors of their own."""

    products: int
    """Number of product items."""

    new: int
    """Number of things made now: files ingested, tables, models, products."""

    seconds: float
    """Wall time of the call, s."""

    next: tuple[str, str]
    """Arguments of ``stac-sm`` to type next."""

    skill: tuple[Skill, ...] = ()
    """Skill of the model at unseen sites and networks, as its item states it."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form.

        Returns
        -------
        dict
            Fields of the report by name, and that they are ``simulated``.
        """
        return {"simulated": True, **asdict(self), "skill": [one.to_dict() for one in self.skill]}

    @property
    def text(self) -> str:
        """Report for people, several lines."""
        folder = Path(self.catalog).parent
        lines = [
            *skill_sentences(self.skill),
            "",
            "validation of the model at simulated stations (m3 m-3), all stations:",
        ]
        lines += [_score_line(one) for one in self.scores if one["scored_on"] == "all"]
        truth = self.truth
        lines += [
            "",
            f"product against the simulated truth, {truth.n:,} pixels and days: "
            f"R {truth.r:.3f}, RMSE {truth.rmse:.4f}, ubRMSE {truth.ubrmse:.4f}, bias {truth.bias:+.4f} m3 m-3",
            "",
            "product against other products, averaged over their cells (they have biases and errors of their own):",
            *(_comparison_line(one) for one in self.others),
            "",
            f"model:     {self.model} ({self.tc_status})",
            f"products:  {self.products} items in {PRODUCT_COLLECTION}",
            f"catalogue: {self.catalog}",
            f"{'nothing was left to do' if self.new == 0 else f'{self.new} things made'}, {self.seconds:.0f} s",
            "",
            "next:",
            *(f"  stac-sm {command} --project {quote(str(folder))}" for command in self.next),
        ]
        return "\n".join(lines)


def run_demo(
    folder: Path, *, workers: int = 2, earth: Earth | None = None, log: LogFunction = lambda message: None
) -> DemoReport:
    """Simulate, ingest, match up, screen, train, predict, publish, and compare with the truth.

    A second call in the same folder makes nothing again.

    Parameters
    ----------
    folder
        Where the simulated files and the project are put; new, or of an earlier demo.
    workers
        Processes.
    earth
        The simulated Earth; None: the default one.
    log
        Called with a line of text as each step begins.

    Returns
    -------
    DemoReport
        What was made, and its scores.

    Raises
    ------
    InputError
        If the folder holds another project, or another demo is at work in it.
    StacSmError
        If simulated files cannot be ingested, or a tile-day fails.
    """
    _refuse_other_project(folder)
    with lock_file(folder / "earth" / _LOCK) as holder:
        if holder is not None:
            raise InputError(
                f"demo {folder}: another demo is at work in this folder{f' (process {holder})' if holder else ''}: "
                "wait until it has ended, or name another folder, `stac-sm demo DIR`; nothing was written"
            )
        return _run_alone(folder, workers, earth or Earth(), log)


def _run_alone(folder: Path, workers: int, earth: Earth, log: LogFunction) -> DemoReport:
    started = time.monotonic()
    Thread(target=_import_early, name="imports", daemon=True).start()
    with process_pool(workers) as pool, process_pool(1) as background:
        ingested: dict[str, Future[int]] = {}

        def begin(source: str) -> None:
            if source in _LEARNED_FROM and source not in ingested:
                create_project(folder, demo_project_file(earth))
                ingested[source] = pool.submit(_ingest, folder, source)

        log(f"1 simulate an Earth in {folder / 'earth'}, and ingest what is written")
        write_simulated_earth(
            folder / "earth", earth, workers=workers, complete=lambda kind: begin(kind.rpartition("/")[2])
        )
        log(f"2 ingest {len(_LEARNED_FROM)} of {len(SOURCES)} sources, {workers} at a time")
        for name in _LEARNED_FROM:
            begin(name)
        project = read_project(folder)
        to_average, averaged = features_needing_climatology(project.recipe), list[Future[int]]()
        names = {task: name for name, task in ingested.items()}
        with ProgressBar("2 ingest", "sources", log) as progress:
            for task in as_completed(names):
                task.result()
                progress.step(len(_LEARNED_FROM))
                averaged += [pool.submit(_average, folder, one) for one in to_average if one.collection == names[task]]
        made = sum(task.result() for task in averaged)
        log(f"3 match up stations and features; ingest {', '.join(_OTHERS)} meanwhile")
        background.submit(_give_way)
        compiled = background.submit(_compile_kernel)
        others = [background.submit(_ingest, folder, name) for name in _OTHERS]
        matchups = match_up_step(project, workers=workers)
        log("4 screen, validate, train")
        model = train_step(project, matchups, budget=DiagnosticsBudget.small())
        compiled.result()
        skill = read_skill(model.item["properties"]) or ()
        if unskilled(skill):  # `plan` would refuse it
            log(f"  {skill_sentences(skill)[0]}; the demo goes on")
        plan = _plan(project, model, earth)
        log(f"5 predict {len(plan.days)} tile-days on a local Dask cluster: {plan.counts}")
        made += matchups.new + model.new + _run(project, plan, workers, log)
        made += sum(task.result() for task in [*ingested.values(), *others])
        log("6 compare with the truth and with other products")
        product_days = [planned.made.day for planned in plan.days]
        period = Period(min(product_days), max(product_days) + ONE_DAY)
        tiles = sorted({planned.made.tile for planned in plan.days})
        compared = [pool.submit(compare_with_other, folder, period, tiles, one) for one in VALIDATED_PRODUCTS]
        return DemoReport(
            catalog=f"{project.folder}/catalog.json",
            model=model.id,
            tc_status=model.item["properties"]["stac_sm:tc_status"],
            scores=tuple(model.scores),
            truth=compare_with_truth(project.catalog, folder / "earth" / "truth", plan),
            others=tuple(one for task in compared for one in task.result()),
            products=len(project.catalog.items(PRODUCT_COLLECTION)),
            new=made,
            seconds=time.monotonic() - started,
            next=_next(earth),
            skill=skill,
        )


def _import_early() -> None:
    """Load what later stages import in this process, which has nothing else to do while files are simulated."""
    for name in ("xgboost", "matplotlib.figure", "distributed"):
        import_module(name)


def _refuse_other_project(folder: Path) -> None:
    file = folder / FILE_NAME
    if file.is_file() and _TITLE not in file.read_text():
        raise InputError(f"{folder} holds a project that is not the demo's: name another folder, `stac-sm demo DIR`")


def demo_project_file(earth: Earth) -> str:
    """Return the project file that ``init`` writes, for the simulated Earth's period, product and 6-hourly series.

    Parameters
    ----------
    earth
        The simulated Earth.

    Returns
    -------
    str
        TOML.
    """
    hours, days = 24 // earth.sample_hours, earth.product_days
    changes = {
        'title = "Soil moisture at 1 km" ': f"{_TITLE}     ",
        'period = "2000/2020" ': f'period = "{earth.period}" ',
        "min_hours = 24 ": f"min_hours = {hours} ",
        "# min_hours = 12 ": f"min_hours = {hours} ",
        "# tiles = []       ": f'tiles = ["{earth.tile}"] ',
        "# simulated = false ": "simulated = true    ",
        '# period = ""                    ': f'period = "{days[0]}/{days[-1]}" ',
        'climatology = { period = "2001/2020"': f'climatology = {{ period = "{earth.period}"',
    }
    text = TEMPLATES["memory"]
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


def compare_with_truth(catalog: WritableCatalog, truth: Path, plan: Plan) -> Scores:
    """Compare the published product with the true field, over all pixels and days that have both.

    Parameters
    ----------
    catalog
        Catalogue with the product.
    truth
        Folder with one GeoTIFF a day, ``sm_DAY.tif``, m3 m-3, on the pixels of the product.
    plan
        Days to compare.

    Returns
    -------
    Scores
        Pooled over pixels and days, m3 m-3 but for R.
    """
    import rasterio

    predicted, true = [], []
    for planned in plan.days:
        item = catalog.item(PRODUCT_COLLECTION, planned.made.id)
        with rasterio.open(asset_address(item, "sm")) as file:
            predicted.append(file.read(1, masked=True).filled(np.nan).ravel())
        with rasterio.open(truth / f"sm_{planned.made.day}.tif") as file:
            true.append(file.read(1, masked=True).filled(np.nan).ravel())
    return agreement_scores(np.concatenate(predicted), np.concatenate(true))


def compare_with_other(
    folder: Path, period: Period, tiles: Sequence[str], other: OtherProduct
) -> tuple[DemoComparison, ...]:
    """Compare the published product, averaged over the cells of another product, on some tiles and days.

    Parameters
    ----------
    folder
        Of the demo's project.
    period
        Days to compare.
    tiles
        Tiles to compare.
    other
        The other product.

    Returns
    -------
    tuple of DemoComparison
        One; none where the catalogue has no item of the other product on these days.
    """
    found = compare_with_other_products(read_project(folder), period, tiles, [other])
    return tuple(
        DemoComparison(one.other.collection, one.other.asset, one.other.cells, one.pair.pooled) for one in found
    )


def _give_way() -> None:
    """Make other processes come before this one: it uses what the stages, which do not wait for it, leave idle."""
    if sys.platform != "win32":
        os.nice(5)


def _ingest(folder: Path, name: str) -> int:
    """Ingest one source in this process, and return the number of files that were new or changed."""
    project = read_project(folder)
    files = [folder / "earth" / "granules" / name]
    results = ingest(project.catalog, name, files, settings=dict(project.sources.get(name, {})))
    failed = [result.error for result in results if result.error]
    if failed:
        raise StacSmError(f"{len(failed)} simulated files could not be ingested, the first: {failed[0]}")
    return sum(result.status != "done" for result in results)


def _average(folder: Path, feature: Feature) -> int:
    """Make the climatology of a feature in this process, and return the number of items that are new."""
    outcomes = make_climatology(read_project(folder).catalog, feature)
    return outcomes[PublishOutcome.NEW] + outcomes[PublishOutcome.REPLACED]


def _compile_kernel() -> None:
    """Load the kernels of prediction, so that the workers of the run find them compiled in Numba's cache."""
    try:
        load_kernel()
    except KernelError:  # XGBoost predicts instead; the run says so
        return
    anywhere = Applicability(("any",), (0.0,), (1.0,), (1,), ((0, 0),), (0,), 1, 1.0, 1.0, 1.0, 1)
    anywhere.outside({"any": np.zeros(1, np.float32)})  # its search is compiled at the first call


def _plan(project: Project, model: TrainingResult, earth: Earth) -> Plan:
    catalog, days = project.catalog, earth.product_days
    plan = make_plan(
        catalog,
        Model.from_item(catalog.item(MODELS_COLLECTION, model.id).self_href),
        [earth.tile],
        Period(days[0], days[-1] + ONE_DAY),
        grid=project.grid,
        version=project.about.version,
    )
    if plan.to_do:
        write_plan(plan, Path(project.folder, PLANS_FOLDER, f"{plan.id}.parquet"), project.grid)  # where `status` looks
    return plan


def _run(project: Project, plan: Plan, workers: int, log: LogFunction) -> int:
    with ProgressBar("5 predict", "tile-days", log) as progress:
        report = run_plan(project, plan, workers=workers, progress=progress.step)
    if report.failures:
        first = report.failures[0]
        raise StacSmError(f"{len(report.failures)} tile-days failed, the first: {first.id}: {first.message}")
    return report.outcomes["new"] + report.outcomes["replaced"]


def _next(earth: Earth) -> tuple[str, str]:
    first, last = earth.product_days[0], earth.product_days[-1]
    return f"features {earth.tile} {first}", f"plan --tiles {earth.tile} --period {first}/{last}"


def _score_line(one: Mapping[str, Any]) -> str:
    pooled, median = one["pooled"], one["median"]
    return (
        f"  {one['strategy']:<8}{one['method']:<22} R {_number(pooled['r'])}  RMSE {_number(pooled['rmse'])}  "
        f"ubRMSE {_number(pooled['ubrmse'])}  bias {_number(pooled['bias'], '+.3f')}   "
        f"median of {one['stations']} stations: R {_number(median['r'])}, ubRMSE {_number(median['ubrmse'])}"
    )


def _comparison_line(one: DemoComparison) -> str:
    found = one.scores
    return (
        f"  {one.collection:<12}{one.grid:<14}{found.n:>6} cells and days  R {_number(found.r)}  "
        f"RMSE {_number(found.rmse)}  ubRMSE {_number(found.ubrmse)}  bias {_number(found.bias, '+.3f')}"
    )


def _number(value: float | None, form: str = ".3f") -> str:
    return "  -  " if value is None or isnan(value) else format(value, form)
