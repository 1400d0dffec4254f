"""Run: make what a plan wants, on Dask workers. The only place that knows dask.distributed."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from stac_sm.catalog import Catalog
from stac_sm.config import Project, read_project
from stac_sm.cube import build
from stac_sm.derived import refresh
from stac_sm.errors import StacSmError
from stac_sm.items import ItemDict, item_folder, relative_href
from stac_sm.memory import Share, machine_memory, share_of
from stac_sm.model import Model
from stac_sm.model_item import COLLECTION as MODELS
from stac_sm.period import DAY, Period
from stac_sm.plan import Plan, Task, wanted_day
from stac_sm.pool import START_METHOD
from stac_sm.prediction import predict
from stac_sm.products import COLLECTION, ProductDay, links_to_inputs, product_item, write_assets
from stac_sm.publishing import is_published, publish
from stac_sm.quality import Quality
from stac_sm.regrid import Target
from stac_sm.resolution import Resolution, resolve

_THREADS = 2  # in a worker: one day is read while another is predicted and written
_ANY_PORT = "127.0.0.1:0"  # with None, distributed asks for port 8787, which a second run on a machine does not get


@dataclass(frozen=True)
class TaskResult:
    """What came of one tile and month."""

    task: str
    """Name of the task."""

    outcomes: Mapping[str, int] = field(default_factory=dict)
    """Number of items by outcome: new, replaced, done."""

    failures: tuple[tuple[str, str, str], ...] = ()
    """Item id, class of the error and message of each day that failed."""

    def __bool__(self) -> bool:
        return not self.failures


def run_plan(
    project: Project,
    plan: Plan,
    *,
    workers: int = 2,
    memory: int | None = None,
    progress: Callable[[TaskResult, int], None] = lambda result, total: None,
    warn: Callable[[str], None] = lambda message: None,
) -> list[TaskResult]:
    """Make the new and stale tile-days of a plan on a local Dask cluster.

    A task that fails does not stop the others. Workers are given names, open the project themselves, and write assets
    and items only; links and extents are derived at the end.

    ``memory`` are bytes for all workers together (default: what the machine or its container grants); a worker takes as
    many threads and days at a time as fit into its part. ``warn`` is told if not even one day does.
    """
    tasks = list(plan.tasks())
    results = []
    budget = (memory or machine_memory()) // max(1, min(workers, len(tasks)))
    _warn_of_memory(str(project.folder), tasks, budget, warn)
    try:
        for result in _results(str(project.folder), tasks, workers, budget):
            results.append(result)
            progress(result, len(tasks))
    finally:  # also without tasks: a run that was killed has left items that nothing links to
        refresh(project.catalog.store, COLLECTION)
    return sorted(results, key=lambda result: result.task)


def run_task(folder: str, task: Task, memory: int | None = None) -> TaskResult:
    """Predict and publish the days of one tile and month within some bytes of memory; runs on a worker."""
    try:
        job = _Job.open(folder, task)
        left = [made for made in task.days if not is_published(job.catalog, job.item(made, {}))]
        outcomes, failures = _made(job, left, memory or machine_memory())
        outcomes["done"] += len(task.days) - len(left)
        return TaskResult(task.name, {name: n for name, n in outcomes.items() if n}, tuple(failures))
    except Exception as error:  # a worker must report whatever happened, by item
        return _failed(task, error)


def _warn_of_memory(folder: str, tasks: Sequence[Task], budget: int, warn: Callable[[str], None]) -> None:
    """Say before a run that a day of its first task may not fit; what is wrong with the task itself comes later."""
    with contextlib.suppress(StacSmError):
        for task in tasks[:1]:
            share = _Job.open(folder, task).share(task.days, budget)
            if share.peak > budget:
                warn(
                    f"{task.name}: one day at a time may take {share.peak / 2**30:.1f} GiB, a worker has "
                    f"{budget / 2**30:.1f} GiB: it may be killed; take fewer --workers, or give more --memory"
                )


@dataclass(frozen=True)
class _Job:
    """What the days of a task share."""

    project: Project
    catalog: Catalog
    model: Model
    resolution: Resolution

    @classmethod
    def open(cls, folder: str, task: Task) -> _Job:
        project = read_project(Path(folder))
        catalog, model = project.catalog, _model(folder, task.model)
        period = Period(task.days[0].day, task.days[-1].day + DAY)
        geobox = project.grid.geobox(task.tile)
        return cls(project, catalog, model, resolve(catalog, model.cube_recipe(), geobox, period))

    def item(self, made: ProductDay, properties: Mapping[str, Any]) -> ItemDict:
        return product_item(
            made,
            self.project.grid,
            model_id=self.model.id,
            recipe_checksum=self.model.cube_recipe().checksum,
            properties=properties,
        )

    def share(self, days: Sequence[ProductDay], memory: int) -> Share:
        """How many of the days, and on how many threads, are made at a time within some bytes."""
        wanted = self.resolution.only([made.day for made in days])
        return share_of(wanted, Target(self.project.grid.geobox(days[0].tile)), memory, threads=_THREADS)

    def check(self, made: ProductDay) -> None:
        """Refuse a day whose inputs are no longer those of the plan."""
        wanted = wanted_day(
            self.resolution, self.model, made.tile, made.day, grid=self.project.grid, version=made.version
        )
        if wanted.made != made or wanted.state == "blocked":
            raise StacSmError(
                f"{made.id}: the inputs are no longer those of the plan (fingerprint {wanted.made.fingerprint[:12]} "
                f"found, {made.fingerprint[:12]} wanted): plan again"
            )


def _made(job: _Job, days: Sequence[ProductDay], memory: int) -> tuple[Counter[str], list[tuple[str, str, str]]]:
    """Make the days in as few graphs as memory allows."""
    outcomes, failures = Counter[str](), list[tuple[str, str, str]]()
    if days:
        share = job.share(days, memory)
        for start in range(0, len(days), share.days):
            made, failed = _made_at_once(job, days[start : start + share.days], share.threads)
            outcomes.update(made)
            failures += failed
    return outcomes, failures


def _made_at_once(
    job: _Job, days: Sequence[ProductDay], threads: int
) -> tuple[Counter[str], list[tuple[str, str, str]]]:
    """Make days in one graph; if that fails, day by day, so that one bad file costs only its own days."""
    try:
        return Counter(_compute(job, days, threads)), []
    except Exception:  # found again below, by day
        outcomes, failures = Counter[str](), []
        for made in days:
            try:
                outcomes.update(_compute(job, [made], threads))
            except Exception as error:
                failures.append((made.id, *_told(error)))
        return outcomes, failures


def _compute(job: _Job, days: Sequence[ProductDay], threads: int) -> list[str]:
    import dask
    from dask import delayed

    for made in days:
        job.check(made)
    target = Target(job.project.grid.geobox(days[0].tile))
    resolution = job.resolution.only([made.day for made in days])
    predicted = predict(job.model, build(resolution, target))
    place = {day: i for i, day in enumerate(resolution.days)}
    # Blocks of one graph, not slices: each slice would be optimised alone, and read every static layer again.
    whole_days = (field.data.rechunk({1: -1, 2: -1}) for field in predicted.data_vars.values())
    by_day = list(zip(*(blocks.to_delayed(optimize_graph=False).ravel() for blocks in whole_days), strict=True))
    jobs = [delayed(partial(_publish_day, job, made), pure=False)(*by_day[place[made.day]]) for made in days]
    with dask.config.set(scheduler="threads", num_workers=threads):
        return [str(outcome) for outcome in dask.compute(*jobs)]


def _publish_day(
    job: _Job, made: ProductDay, sm: np.ndarray, qa: np.ndarray, uncertainty: np.ndarray | None = None
) -> str:
    """Write, check and publish one day; sm, qa and uncertainty (None without intervals) are (1, y, x)."""
    sm, qa, half_width = sm[0], qa[0], None if uncertainty is None else uncertainty[0]
    intervals = job.model.intervals
    coverage = intervals.coverage if intervals else None
    item = job.item(made, {"stac_sm:pixels": _count(sm, qa), "stac_sm:coverage": coverage})
    folder = item_folder(job.catalog.layout(COLLECTION), item)
    item["links"] = links_to_inputs(list(_made_from(job, made, folder)))
    geobox = job.project.grid.geobox(made.tile)
    with tempfile.TemporaryDirectory(prefix="stac-sm-") as scratch:
        assets = write_assets(sm, qa, geobox, Path(scratch), uncertainty=half_width, coverage=coverage or 0.0)
        return str(publish(job.catalog, item, assets))


def _count(sm: np.ndarray, qa: np.ndarray) -> dict[str, int]:
    """Number of pixels with a value, and of those with each flag that occurs."""
    flags = {flag: int(np.count_nonzero(qa & flag)) for flag in Quality}
    found = {(flag.name or "").lower(): n for flag, n in flags.items() if n}
    return {"valid": int(np.count_nonzero(~np.isnan(sm))), **found}


def _made_from(job: _Job, made: ProductDay, folder: str) -> Iterator[tuple[str, str, str]]:
    """Href, title and media type of the model and of every input item."""
    model = job.catalog.item(MODELS, job.model.id)
    for id, href in [(model.id, model.self_href), *job.resolution.items(made.day)]:
        below = href.removeprefix(job.catalog.root + "/")
        yield (relative_href(folder, below) if below != href else href), id, "application/geo+json"


def _results(folder: str, tasks: Sequence[Task], workers: int, memory: int) -> Iterator[TaskResult]:
    if not tasks:
        return
    import dask
    from distributed import Client, LocalCluster, as_completed

    with (
        dask.config.set({"distributed.worker.multiprocessing-method": START_METHOD}),
        LocalCluster(
            n_workers=min(workers, len(tasks)), threads_per_worker=1, dashboard_address=_ANY_PORT, silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        named = {f"task {task.name}": task for task in tasks}
        futures = [client.submit(run_task, folder, task, memory, pure=False, key=name) for name, task in named.items()]
        for future in as_completed(futures):
            lost = future.exception()  # run_task raises nothing: its worker was killed, several times
            yield _failed(named[future.key], lost) if lost else future.result()


def _failed(task: Task, error: BaseException) -> TaskResult:
    return TaskResult(task.name, failures=tuple((made.id, *_told(error)) for made in task.days))


def _told(error: BaseException) -> tuple[str, str]:
    return type(error).__name__, str(error)


@lru_cache(maxsize=4)
def _model(folder: str, id: str) -> Model:
    """A model, once a worker: its id holds its fingerprint, so it cannot change."""
    return Model.from_item(read_project(Path(folder)).catalog.item(MODELS, id).self_href)
