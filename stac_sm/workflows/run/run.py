"""Run a plan: make its days here, on a Dask cluster, on Slurm, or as one slice of an array of jobs.

Workers (`workers`, `task`) write assets, items and the records of their tasks; links and extents are derived at the
end, by whoever drives the run. There is no other state: the same plan run again makes what is missing.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Lock

from stac_sm.core.errors import CatalogError, InputError, StacSmError
from stac_sm.core.grid import TileGrid
from stac_sm.core.progress import ProgressCallback
from stac_sm.model.item import MODELS_COLLECTION as MODELS
from stac_sm.product.collection_grid import require_grid
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.index.update import link_and_index, update_index
from stac_sm.workflows.plan.plan import Plan
from stac_sm.workflows.plan.planned_days import Task
from stac_sm.workflows.project import Project
from stac_sm.workflows.run.run_log import ItemFailure, TaskRecord, new_run_id, write_run_report
from stac_sm.workflows.run.task import estimate_work_share
from stac_sm.workflows.run.task_queue import in_slices
from stac_sm.workflows.run.workers import (
    Assignment,
    LocalWorkers,
    Workers,
    single_writer_workers,
    task_records,
)

INDICES = ("AWS_BATCH_JOB_ARRAY_INDEX", "SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX")
"""Variables in which array jobs of AWS Batch, Slurm and Kubernetes state the number of a slice."""

INDEX_SECONDS = 300.0
"""After so long, a run of a whole plan brings the index up to date: `serve` finds by it what lies on S3."""

_TILES_SHOWN = 10  # in a message
_RANGE = re.compile(r"(\d+)-(\d+)(?::(\d+))?(?:%\d+)?")


@dataclass(frozen=True)
class PlanSlice:
    """One part of a plan that is divided into slices."""

    index: int
    """Index of the slice, from 0."""

    count: int
    """Number of slices."""

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] = os.environ) -> PlanSlice:
        """Return the slice that a text names, in an array job together with the number that the job has.

        Parameters
        ----------
        text
            ``3/8``, counted from 0; in an array job also ``0-7``, the numbers of the whole array as they are given to
            ``sbatch --array`` (``1-8`` and ``0-14:2`` are such, too), or ``8`` in a whole array of so many jobs.
        environment
            Variables of the process.

        Returns
        -------
        PlanSlice
            The slice.

        Raises
        ------
        InputError
            If the text is none of these, there is no such slice, or the variables do not say which slice is meant: in
            an array of some jobs only, ``8`` leaves open what their numbers are counted from.
        """
        index, slash, count = text.rpartition("/")
        if slash and index.isdecimal() and count.isdecimal():
            made = cls(int(index), int(count))
            if made.index >= made.count:
                raise InputError(f"slice {text}: there are 0/{made.count} to {made.count - 1}/{made.count}")
            return made
        if spelled := _RANGE.fullmatch(text):
            first, last, step = int(spelled[1]), int(spelled[2]), int(spelled[3] or 1)
            numbers = range(first, last + 1, step or 1)
            name, own = _number(environment)
            if own not in numbers or not step:
                raise InputError(f"--slice {text}: {name} is {own}, which is none of these numbers")
            return cls(numbers.index(own), len(numbers))
        if not text.isdecimal():
            raise InputError(f"slice {text!r}: I/N required, from 0/N to N-1/N; in an array job 0-LAST, or N")
        return cls(_index_in_whole_array(int(text), environment), int(text))

    def of(self, tasks: Sequence[Task]) -> list[Task]:
        """Return the tasks of this slice: as many as any other has, those of a tile together, tiles of all kinds.

        Parameters
        ----------
        tasks
            All tasks of the plan, in order.

        Returns
        -------
        list of Task
            Each task is in one slice.
        """
        return in_slices(tasks, self.count)[self.index]

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


@dataclass(frozen=True)
class RunReport:
    """Result of a run."""

    run: str
    """Id of the run."""

    seconds: float
    """Wall time, s."""

    records: Sequence[TaskRecord] = field(default_factory=list)
    """Record of each task, in their order."""

    href: str = ""
    """Where its report file lies; empty if there was nothing to do."""

    blocked: int = 0
    """Tile-days of the plan that could not be made, since an input is missing; of slices, the first one has them."""

    @property
    def outcomes(self) -> dict[str, int]:
        """Number of items by outcome: new, replaced, done."""
        total = sum((Counter(record.outcomes) for record in self.records), Counter[str]())
        return {name: total[name] for name in ("new", "replaced", "done")}

    @property
    def failures(self) -> list[ItemFailure]:
        """Items that were not made."""
        return [failure for record in self.records for failure in record.failures]

    def by_class(self, grid: TileGrid) -> list[dict[str, object]]:
        """Return the failures by class of error.

        Parameters
        ----------
        grid
            The grid of the tiles.

        Returns
        -------
        list of dict
            Rows of a table: class of error, number of items, one example, and its tile with its box in degrees.
        """
        examples: dict[str, ItemFailure] = {}
        for failure in self.failures:
            examples.setdefault(failure.kind, failure)
        counts = Counter(failure.kind for failure in self.failures)
        return [
            {
                "error": kind,
                "items": n,
                "example": f"{examples[kind].id}: {examples[kind].message}",
                "tile": examples[kind].place(grid),
            }
            for kind, n in counts.most_common()
        ]


def run_plan(
    project: Project,
    plan: Plan,
    *,
    workers: Workers | int = 2,
    part: PlanSlice | None = None,
    tiles: Collection[str] | None = None,
    progress: ProgressCallback = lambda total: None,
    warn: Callable[[str], None] = lambda message: None,
) -> RunReport:
    """Make the new and stale tile-days of a plan.

    A task that fails does not stop the others. Two runs of one plan at the same time share the work by chance and
    publish nothing twice.

    Parameters
    ----------
    project
        The project that the plan was made in.
    plan
        From `make_plan` or `read_plan`.
    workers
        Where: a number of processes here, or `LocalWorkers`, `SchedulerWorkers`, `SlurmWorkers`.
    part
        One slice of the tasks; None: all.
    tiles
        Ids of the tiles whose tasks are to be run; None: all of the plan.
    progress
        Called with the number of all tile-days, whenever one of them is made, was there, or has failed: by workers
        while a task is at work, and from any thread, one call at a time.
    warn
        Called with a line of text before the run, if not even one day fits into a worker's memory.

    Returns
    -------
    RunReport
        Also written to the store, unless there was nothing to do.

    Raises
    ------
    RunError
        If the scheduler is lost.
    InputError
        If there is no scheduler, the plan was made in another project, the collection of products holds tiles of
        another grid, the plan has none of the tiles, or only one process may write to the store and there are several
        workers, a slice or a scheduler.
    """
    started, run = time.monotonic(), new_run_id()
    at = LocalWorkers(workers) if isinstance(workers, int) else workers
    store = project.catalog.store
    here = single_writer_workers(at, store, part) if store.lacks else at
    chosen = plan if tiles is None else _only_tiles(project, plan, tiles)
    tasks = list(chosen.tasks()) if part is None else part.of(list(chosen.tasks()))
    folder = str(project.folder)
    require_grid(project.catalog, project.grid)
    _check_model(project, plan, tasks)
    _warn_of_memory(project, tasks, here.share(len(tasks)), warn)
    made: list[TaskRecord] = []
    days = _DayCount(tasks, progress)
    index = _PeriodicIndex(project, tasks if part is None else ())
    try:
        for record in task_records(here, Assignment(folder, tasks, plan.id, run, warn, days.done)):
            made.append(record)
            days.task_done(record)
            index.task_done(record)
    finally:  # also without tasks: a run that was killed has left items that nothing links to
        _derive(project, plan, tasks, part)
    blocked = chosen.counts["blocked"] if part is None or part.index == 0 else 0
    report = RunReport(run, round(time.monotonic() - started, 3), _in_order(tasks, made), blocked=blocked)
    return _reported(project, plan, chosen, report, part) if tasks else report


class _DayCount:
    """Counts tile-days as done, each of them once: workers report a day, the record of a task those that are left."""

    def __init__(self, tasks: Sequence[Task], progress: ProgressCallback) -> None:
        self._tasks = {task.name: [made.id for made in task.days] for task in tasks}
        self._left = {id for ids in self._tasks.values() for id in ids}
        self._total, self._progress, self._lock = len(self._left), progress, Lock()

    def done(self, id: str) -> None:
        """Count a day; workers say so on a thread of their own."""
        self._count([id])

    def task_done(self, record: TaskRecord) -> None:
        """Count the days of a task that nobody has reported."""
        self._count(self._tasks.get(record.task, ()))

    def _count(self, ids: Iterable[str]) -> None:
        with self._lock:
            for id in ids:
                if id in self._left:
                    self._left.remove(id)
                    self._progress(self._total)


class _PeriodicIndex:
    """Brings the index in line with what a long run has published, every few minutes.

    Of a slice it does nothing: many slices would list the same months, each for itself.
    """

    def __init__(self, project: Project, tasks: Sequence[Task]) -> None:
        self._project = project
        self._months = {task.name: {f"{made.day:%Y-%m}" for made in task.days} for task in tasks}
        self._changed, self._last = set[str](), time.monotonic()

    def task_done(self, record: TaskRecord) -> None:
        """Update the months of the tasks that have ended since the last time, if it is time."""
        self._changed |= self._months.get(record.task, set())
        if self._changed and time.monotonic() - self._last >= INDEX_SECONDS:
            catalog = self._project.catalog
            with suppress(StacSmError):  # the store, or other writers: the end of the run does it, too, and says so
                layout = catalog.layout(PRODUCT_COLLECTION)
                update_index(catalog.store, PRODUCT_COLLECTION, layout=layout, months=self._changed)
                self._changed = set()
            self._last = time.monotonic()


def _only_tiles(project: Project, plan: Plan, tiles: Collection[str]) -> Plan:
    """Return the part of a plan that lies on some tiles; refuse tiles of which it has none."""
    chosen = plan.of_tiles(tiles)
    if not chosen.days:
        planned = [project.grid.describe(tile) for tile in plan.tiles]
        more = f" and {len(planned) - _TILES_SHOWN} more" if len(planned) > _TILES_SHOWN else ""
        raise InputError(
            f"plan {plan.id} has no tile-day on {', '.join(project.grid.describe(tile) for tile in tiles)}; its tiles "
            f"are {', '.join(planned[:_TILES_SHOWN])}{more}"
        )
    return chosen


def _check_model(project: Project, plan: Plan, tasks: Sequence[Task]) -> None:
    """Refuse a plan whose model is not here, before each of its days fails for that."""
    try:
        if tasks:
            project.catalog.item(MODELS, plan.model)
    except CatalogError as error:
        raise InputError(
            f"plan {plan.id}: its model cannot be had ({error}); if it was made in another project, run it there by "
            "--project, else plan again"
        ) from error


def _derive(project: Project, plan: Plan, tasks: Sequence[Task], part: PlanSlice | None) -> None:
    """Derive links, extents and index of what this run may have published, and of what an earlier one has left."""
    catalog = project.catalog
    days = [made for task in tasks for made in task.days]
    if part is None or part.index == 0:
        days += plan.done
    layout = catalog.layout(PRODUCT_COLLECTION)
    paths, months = sorted({made.path(layout) for made in days}), {f"{made.day:%Y-%m}" for made in days}
    link_and_index(catalog, PRODUCT_COLLECTION, paths, months=months)


def _in_order(tasks: Sequence[Task], made: Sequence[TaskRecord]) -> list[TaskRecord]:
    order = {task.name: i for i, task in enumerate(tasks)}
    return sorted(made, key=lambda record: order[record.task])


def _reported(project: Project, plan: Plan, chosen: Plan, report: RunReport, part: PlanSlice | None) -> RunReport:
    """Write the report of a run of the chosen part of a plan."""
    store = project.catalog.store
    content = {
        "plan": plan.id,
        "run": report.run,
        "slice": str(part) if part else None,
        "tiles": None if chosen is plan else chosen.tiles,
        "seconds": report.seconds,
        "tasks": len(report.records),
        "outcomes": report.outcomes,
        "blocked": report.blocked,
        "blocked_by": chosen.blocked_by if report.blocked else {},
        "errors": report.by_class(project.grid),
        "failures": [failure._asdict() for failure in report.failures],
    }
    path = write_run_report(store, plan.id, report.run, content)
    return replace(report, href=store.href(path))


def _warn_of_memory(project: Project, tasks: Sequence[Task], budget: int | None, warn: Callable[[str], None]) -> None:
    """Report before a run that a day of its first task may not fit; what is wrong with the task itself comes later."""
    try:
        share = estimate_work_share(str(project.folder), tasks[0], budget) if tasks and budget else None
    except StacSmError:
        return
    if share and budget and share.peak > budget:
        warn(
            f"{tasks[0].words(project.grid)}: one day at a time may take {share.peak / 2**30:.1f} GiB, a worker has "
            f"{budget / 2**30:.1f} GiB: it may be killed; take fewer --workers, or give more --memory"
        )


def _number(environment: Mapping[str, str]) -> tuple[str, int]:
    """Return the variable that holds the number of this job in its array, and the number."""
    known = [name for name in INDICES if name in environment]
    if len(known) != 1:
        what = (
            f"{' and '.join(known)} are set" if known else f"none of {', '.join(INDICES)} is set: this is no array job"
        )
        raise InputError(f"no slice number: {what}; give --slice I/N, from 0/N to N-1/N")
    if not environment[known[0]].isdecimal():
        raise InputError(f"no slice number: {known[0]} is {environment[known[0]]!r}; give --slice I/N")
    return known[0], int(environment[known[0]])


def _index_in_whole_array(count: int, environment: Mapping[str, str]) -> int:
    """Return the index of this job in a whole array of so many.

    Slurm's arrays may begin anywhere and have a step; others begin at 0.
    """
    name, own = _number(environment)
    numbers, jobs = range(count), count
    if name.startswith("SLURM"):
        facts = [environment.get(f"SLURM_ARRAY_TASK_{fact}", "") for fact in ("MIN", "MAX", "STEP", "COUNT")]
        first, last, step, jobs = (int(fact) if fact.isdecimal() else 0 for fact in facts)
        numbers = range(first, last + 1, step or 1)
    if not len(numbers) == jobs == count or own not in numbers:
        found = f"{name} is {own}, of {jobs or '?'} jobs from {numbers.start} to {numbers.stop - 1}"
        raise InputError(
            f"--slice {count}: {found}, which is no whole array of {count}; to send some jobs again, give the numbers "
            f"of the whole array: --slice 0-{count - 1} if they are counted from 0, --slice 1-{count} if from 1"
        )
    return numbers.index(own)
