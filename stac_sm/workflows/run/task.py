"""Make the days of one tile and month: predict and publish them.

`workers` runs a task in a worker process. A task does not depend on what else is planned, and can be repeated: what is
there already is left alone.
"""

from __future__ import annotations

import errno
import math
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

import numpy as np

from stac_sm.core.errors import ConflictError, StacSmError
from stac_sm.core.parallel import keep_freed_memory, own_threads
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.core.variables import QualityFlag
from stac_sm.features.cube import build
from stac_sm.features.inputs import ResolvedInputs, resolve_inputs
from stac_sm.features.kept_arrays import KeptArrays
from stac_sm.model.item import MODELS_COLLECTION as MODELS
from stac_sm.model.model import Model
from stac_sm.model.predict import predict
from stac_sm.model.skill import SKILL_PROPERTY
from stac_sm.product.item import (
    PRELIMINARY_PROPERTY,
    PRODUCT_COLLECTION,
    ProductDay,
    links_to_inputs,
    product_item,
    write_product_assets,
)
from stac_sm.raster.resample import TargetPixels
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.items import ItemDict, isoformat, item_folder, relative_href
from stac_sm.stac.publish import is_published, make_and_publish, mark_superseded
from stac_sm.stac.simulated import is_simulated
from stac_sm.storage.log_lines import LOGGER, follow_logging, log_facts
from stac_sm.storage.signing import without_secrets
from stac_sm.workflows.plan.plan import day_fingerprint_parts, planned_day
from stac_sm.workflows.plan.planned_days import PlannedDay, Task
from stac_sm.workflows.project import Project, read_project
from stac_sm.workflows.run.memory import WorkShare, largest_share, machine_memory
from stac_sm.workflows.run.run_log import ItemFailure, TaskRecord, capture_log_lines, write_task_record

_KEPT = KeptArrays()  # of this process: the next task is one of the same tile as a rule
_THREADS = 2  # in a worker: one day is read while another is predicted and written
LESS_MEMORY = (
    "give it more by --memory (it is shared by all workers), or take fewer --workers; with less memory than an "
    "estimate says, fewer days are made at a time"
)


def run_task(
    folder: str,
    task: Task,
    memory: int | None = None,
    plan: str = "",
    run: str = "",
    day_done: Callable[[str], None] = lambda id: None,
) -> TaskRecord:
    """Predict and publish the days of one tile and month within some bytes of memory; runs on a worker.

    Whatever happens is in the record that it returns; it is written to the store, too, if the run has an id.

    Parameters
    ----------
    folder
        Root of the project, a folder or ``s3://`` address.
    task
        Tile and days, with their fingerprints.
    memory
        Bytes; None: what the machine grants.
    plan
        Id of the plan.
    run
        Id of the run; empty: no record is written.
    day_done
        Called with the id of each item as soon as it is published, from any thread.

    Returns
    -------
    TaskRecord
        Outcomes and failures.
    """
    follow_logging()
    keep_freed_memory()
    with log_facts(stage="run", task=task.name):
        return _run_task(folder, task, memory, plan, run, day_done)


def _run_task(
    folder: str, task: Task, memory: int | None, plan: str, run: str, day_done: Callable[[str], None]
) -> TaskRecord:
    started, clock = datetime.now(UTC), time.monotonic()
    outcomes, failures = Counter[str](), list[ItemFailure]()
    with capture_log_lines() as lines:
        try:
            job = _Job.open(folder, task)
            left = [day for day in task.planned if not is_published(job.catalog, job.item(day.made, {}), redo=day.redo)]
            what = "%s: %d of %d days to make"
            LOGGER.info(what, task.words(job.project.grid), len(left), len(task.days))
            if left:
                outcomes, failures = _make_days(job, left, memory or machine_memory(), day_done)
            outcomes["done"] += len(task.days) - len(left)
            for day in task.planned:  # what a run that was ended between the two steps has left
                if day.predecessor and day not in left:
                    mark_superseded(job.catalog, job.item(day.made, {}), day.predecessor)
        except Exception as error:  # a worker must report whatever happened, by item
            LOGGER.exception("%s failed", task.name)
            outcomes, failures = Counter(), list(failed_task_record(task, error))
    record = TaskRecord(
        task.name,
        plan,
        run,
        worker=f"{socket.gethostname()}:{os.getpid()}",
        started=isoformat(started),
        seconds=round(time.monotonic() - clock, 3),
        outcomes={name: n for name, n in outcomes.items() if n},
        failures=tuple(failures),
        log=tuple(lines),
    )
    if run:
        try:
            write_task_record(read_project(folder).catalog.store, record)
        except (StacSmError, OSError) as error:  # a log is no reason for a task to fail
            LOGGER.error("%s: its record could not be written: %s", record.task, error)
    return record


def estimate_work_share(folder: str, task: Task, budget: int) -> WorkShare:
    """Return how a worker with so many bytes would share a task out.

    Parameters
    ----------
    folder
        Root of the project, a folder or ``s3://`` address.
    task
        Tile and days.
    budget
        Bytes.

    Returns
    -------
    WorkShare
        Threads, days in a graph, and bytes that they take at most.
    """
    return _Job.open(folder, task).share(task.days, budget)


def failed_task_record(task: Task, error: BaseException) -> tuple[ItemFailure, ...]:
    """Return all days of a task as failed for one reason.

    Parameters
    ----------
    task
        Tile and days.
    error
        The reason.

    Returns
    -------
    tuple of ItemFailure
        One a day.
    """
    return tuple(ItemFailure(made.id, *describe_error(error)) for made in task.days)


def describe_error(error: BaseException) -> tuple[str, str]:
    """Return class and message of an error, in plain words where the machine is to blame.

    Parameters
    ----------
    error
        Any error.

    Returns
    -------
    tuple of str
        Class and message, without secrets.
    """
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, MemoryError):
        return "OutOfMemory", f"a worker had too little memory ({error or 'no more was granted'}): {LESS_MEMORY}"
    if number in {errno.ENOSPC, errno.EDQUOT}:
        return "DiskFull", f"{error}: make room, then run the same command again"
    if number in {errno.EROFS, errno.EACCES, errno.EPERM}:
        return "ReadOnly", f"{error}: the store or TMPDIR cannot be written to: make it writable, then run it again"
    return type(error).__name__, without_secrets(str(error))


@dataclass(frozen=True)
class _Job:
    """Project, catalogue, model and inputs that the days of a task share."""

    project: Project
    catalog: WritableCatalog
    model: Model
    resolved: ResolvedInputs
    simulated: bool
    task: str

    @classmethod
    def open(cls, folder: str, task: Task) -> _Job:
        project = read_project(folder)
        catalog, model = project.catalog, _model(folder, task.model)
        days = [made.day for made in task.days]
        period, geobox = Period(days[0], days[-1] + ONE_DAY), project.grid.geobox(task.tile)
        resolved = resolve_inputs(catalog, model.cube_recipe(), geobox, period, days=days)
        return cls(project, catalog, model, resolved, is_simulated(catalog), task.name)

    def item(self, made: ProductDay, properties: Mapping[str, Any]) -> ItemDict:
        skill = [one.to_dict() for one in self.model.skill or () if one.strategy == "site"]
        properties = {**properties, **({SKILL_PROPERTY: skill} if skill else {})}
        return product_item(
            made,
            self.project.grid,
            model_id=self.model.id,
            recipe_checksum=self.model.cube_recipe().checksum,
            properties=properties,
            simulated=self.simulated,
        )

    def share(self, days: Sequence[ProductDay], memory: int) -> WorkShare:
        """Return how many of the days, and on how many threads, are made at a time within some bytes."""
        some = self.resolved.only([made.day for made in days])
        return largest_share(some, TargetPixels(self.project.grid.geobox(days[0].tile)), memory, threads=_THREADS)

    def check(self, made: ProductDay) -> PlannedDay:
        """Return what makes a day now; refuse it if its inputs are no longer those of the plan."""
        planned = planned_day(
            self.resolved,
            self.model,
            made.tile,
            made.day,
            grid=self.project.grid,
            version=made.version,
            simulated=self.simulated,
        )
        if planned.made != made or planned.state == "blocked":
            raise StacSmError(
                f"{made.id}: the inputs are no longer those of the plan (fingerprint {planned.made.fingerprint[:12]} "
                f"found, {made.fingerprint[:12]} is required): plan again"
            )
        return planned


def _make_days(
    job: _Job, days: Sequence[PlannedDay], memory: int, day_done: Callable[[str], None]
) -> tuple[Counter[str], list[ItemFailure]]:
    """Make days in as few graphs as memory allows; a graph that fails is made day by day, so that one bad file costs
    only its own days.
    """
    outcomes, failures = Counter[str](), list[ItemFailure]()
    share = job.share([day.made for day in days], memory)
    _KEPT.resize(share.keeps(memory))
    for start in range(0, len(days), share.days):
        together = days[start : start + share.days]
        published = _Published(day_done)
        try:
            _compute(job, together, share.threads, published)
        except Exception as error:  # found again below, by day
            LOGGER.warning("%d days at once failed (%s): now day by day", len(together), error)
        for day in together:
            try:
                if day.made.id not in {*published.complete, *published.conflicts}:
                    _compute(job, [day], 1, published)
                if day.made.id in published.conflicts:
                    raise published.conflicts[day.made.id]
            except Exception as error:
                LOGGER.warning("%s failed: %s", day.made.id, error, extra={"facts": {"item": day.made.id}})
                failures.append(ItemFailure(day.made.id, *describe_error(error)))
        failed = {failure.id for failure in failures}
        outcomes.update(outcome for id, outcome in published.outcomes.items() if id not in failed)
    return outcomes, failures


@dataclass(frozen=True)
class _Published:
    """What came of days of one graph, by the ids of their items; also of those before another day failed."""

    report: Callable[[str], None]
    """Called with the id of each that is complete."""

    outcomes: dict[str, str] = field(default_factory=dict)
    """Of what was published: by the first attempt, since a second one finds it done."""

    complete: set[str] = field(default_factory=set)
    """Published, and their predecessors marked."""

    conflicts: dict[str, ConflictError] = field(default_factory=dict)
    """Refused in favour of another writer: a second attempt would take the place of what that one has published."""


def _compute(job: _Job, days: Sequence[PlannedDay], threads: int, published: _Published) -> None:
    """Make days in one graph; `published` takes what comes of each."""
    import dask
    from dask import delayed

    parts = [
        day_fingerprint_parts(job.model, job.project.grid, job.check(day.made), simulated=job.simulated) for day in days
    ]
    target = TargetPixels(job.project.grid.geobox(days[0].made.tile))
    resolved = job.resolved.only([day.made.day for day in days])
    predicted = predict(job.model, build(resolved, target, kept=_KEPT))
    place = {day: i for i, day in enumerate(resolved.days)}
    # Blocks of one graph, not slices: each slice would be optimised alone, and read every static layer again.
    whole_days = (field.data.rechunk({1: -1, 2: -1}) for field in predicted.data_vars.values())
    by_day = list(zip(*(blocks.to_delayed(optimize_graph=False).ravel() for blocks in whole_days), strict=True))
    jobs = [
        delayed(partial(_publish_day, job, one, part, published), pure=False)(*by_day[place[one.made.day]])
        for one, part in zip(days, parts, strict=True)
    ]
    job.model.prepare(len(days) * math.prod(target.shape))
    with own_threads(threads) as here:  # they are waited for: some days may be published when another one fails
        dask.compute(*jobs, **here)


def _publish_day(
    job: _Job,
    planned: PlannedDay,
    parts: Mapping[str, str],
    published: _Published,
    sm: np.ndarray,
    qa: np.ndarray,
    uncertainty: np.ndarray | None = None,
) -> None:
    """Write, check and publish one day; sm, qa and uncertainty (None without intervals) are (1, y, x)."""
    made = planned.made
    sm, qa, half_width = sm[0], qa[0], None if uncertainty is None else uncertainty[0]
    intervals = job.model.intervals
    coverage = intervals.coverage if intervals else None
    facts: dict[str, Any] = {
        "stac_sm:pixels": _count(sm, qa),
        "stac_sm:coverage": coverage,
        "stac_sm:parts": dict(parts),
    }
    if preliminary := job.resolved.preliminary_items(made.day):
        facts[PRELIMINARY_PROPERTY] = preliminary
    item = job.item(made, facts)
    folder = item_folder(job.catalog.layout(PRODUCT_COLLECTION), item)
    item["links"] = links_to_inputs(list(_made_from(job, made, folder))) + _version_links(planned)
    geobox = job.project.grid.geobox(made.tile)
    write = partial(
        write_product_assets,
        sm,
        qa,
        geobox,
        made=made,
        uncertainty=half_width,
        coverage=coverage or 0.0,
        simulated=job.simulated,
    )
    # Not `make_once`: whether days are there is asked before several of them are computed in one graph.
    try:
        with log_facts(stage="run", task=job.task, item=made.id):  # this thread is one of Dask's
            outcome = str(make_and_publish(job.catalog, item, write, redo=planned.redo))
    except ConflictError as error:
        published.conflicts[made.id] = error
        return
    published.outcomes.setdefault(made.id, outcome)
    if planned.predecessor:
        mark_superseded(job.catalog, item, planned.predecessor)
    published.complete.add(made.id)
    published.report(made.id)


def _version_links(planned: PlannedDay) -> list[dict[str, str]]:
    """Return a link to the same tile-day in the version before, which lies beside it."""
    old = planned.predecessor
    href = {"href": f"../{old}/{old}.json", "type": "application/geo+json", "title": old}
    return [{"rel": "predecessor-version", **href}] if old else []


def _count(sm: np.ndarray, qa: np.ndarray) -> dict[str, int]:
    """Number of pixels with a value, and of those with each flag that occurs."""
    flags = {flag: int(np.count_nonzero(qa & flag)) for flag in QualityFlag}
    found = {(flag.name or "").lower(): n for flag, n in flags.items() if n}
    return {"valid": int(np.count_nonzero(~np.isnan(sm))), **found}


def _made_from(job: _Job, made: ProductDay, folder: str) -> Iterator[tuple[str, str, str]]:
    """Yield href, title and media type of the model and of every input item."""
    model = job.catalog.item(MODELS, job.model.id)
    for id, href in [(model.id, model.self_href), *job.resolved.items(made.day)]:
        below = href.removeprefix(job.catalog.root + "/")
        yield (relative_href(folder, below) if below != href else href), id, "application/geo+json"


@lru_cache(maxsize=4)
def _model(folder: str, id: str) -> Model:
    """Return a model, read once a worker: its id holds its fingerprint, so it cannot change."""
    return Model.from_item(read_project(folder).catalog.item(MODELS, id).self_href)
