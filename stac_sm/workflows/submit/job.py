"""Make an array job of a plan: what is sent to a batch system, whichever it is.

`submit` calls it before the batch system's own module. The files of ``infra/`` are found here, too: they are sent as
they are, or filled in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Any

from stac_sm.core.errors import InputError
from stac_sm.core.fingerprint import digest
from stac_sm.core.packaged import packaged_folder
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.features.inputs import resolve_inputs
from stac_sm.model.item import MODELS_COLLECTION as MODELS
from stac_sm.model.model import Model
from stac_sm.raster.resample import TargetPixels
from stac_sm.storage.address import is_remote
from stac_sm.workflows.plan.plan import Plan
from stac_sm.workflows.plan.planned_days import Task
from stac_sm.workflows.project import Project
from stac_sm.workflows.run.memory import largest_share

DEFAULT_CPUS = 2
"""CPUs of a slice: its worker reads and predicts in two threads, as `workflows.run.run` lets it if memory allows."""

_BESIDE = 400 << 20  # the process that hands out the tasks of a slice, beside its worker
_STEP = 512 << 20
_SAMPLE = 3  # tasks whose memory is looked at: the longest, and those at both ends of the plan
_UNBOUNDED = 1 << 60


@dataclass(frozen=True)
class ArrayJob:
    """A plan as an array of slices that do not know one another."""

    name: str
    """Follows from what the plan is to make: the same plan has the same name."""

    plan: str
    """File or href of the plan, as its workers find it."""

    plan_id: str
    """Id of the plan."""

    project: str
    """Root of the project, as its workers find it."""

    tasks: int
    """Tile-months in the plan."""

    slices: int
    """Size of the array."""

    cpus: int
    """CPUs of a slice."""

    memory: int
    """Bytes of a slice."""

    @property
    def command(self) -> tuple[str, ...]:
        """Command that a slice runs; in an array it reads its place from the batch system's variable."""
        place = f"0-{self.slices - 1}" if self.slices > 1 else "0/1"  # right for jobs sent again by hand, too
        given = ("--slice", place, "--project", self.project, "--workers", "1")
        return ("stac-sm", "run", self.plan, *given, "--memory", f"{self.worker_memory >> 20}M")

    @property
    def worker_memory(self) -> int:
        """Bytes of a slice for its worker; the rest is for the process beside it."""
        return self.memory - _BESIDE

    @property
    def status(self) -> str:
        """Command that reports the progress, from the store alone."""
        return f"stac-sm status {quote(self.plan)} --project {quote(str(self.project))}"

    @property
    def mebibytes(self) -> int:
        """Memory of a slice in MiB."""
        return self.memory >> 20


@dataclass(frozen=True)
class SubmittedJob:
    """Result of sending a job."""

    job: ArrayJob
    """What was sent."""

    id: str
    """Name that the batch system gave it; empty if it was only shown."""

    new: bool
    """False if a job of this plan was there already, waiting or at work: then nothing was sent."""

    watch: tuple[str, ...] = ()
    """Commands that show how it goes."""

    request: Mapping[str, Any] = field(default_factory=dict)
    """What was, or would be, sent."""

    note: str = ""
    """What is to be done before a job that was only shown can be sent; empty if nothing."""


def array_job(
    project: Project,
    plan: Plan,
    file: str,
    *,
    limit: int,
    slices: int | None = None,
    cpus: int = DEFAULT_CPUS,
    memory: int | None = None,
) -> ArrayJob:
    """Make the array job of a plan: as many slices as tasks, up to a limit, each with the memory that a task takes.

    Parameters
    ----------
    project
        The project that the plan is of.
    plan
        Its new and stale days are made.
    file
        Where the plan lies.
    limit
        Largest array that the batch system takes.
    slices
        Size of the array; None: as many as tasks, up to the limit.
    cpus
        CPUs of a slice: two read and predict beside each other.
    memory
        Bytes of a slice; None: what the largest of some tasks takes at most, by estimate.

    Returns
    -------
    ArrayJob
        Nothing is sent yet.

    Raises
    ------
    InputError
        If nothing is left to do, or so many slices are not possible.
    """
    tasks = list(plan.tasks())
    if not tasks:
        counts = ", ".join(f"{number} {state}" for state, number in plan.counts.items() if number)
        advice = (
            "ingest the inputs that `stac-sm plan` names, then plan again" if plan.counts["blocked"] else "all is there"
        )
        raise InputError(f"{file}: nothing to do ({counts}): {advice}")
    most = min(len(tasks), limit)
    if slices is not None and not 1 <= slices <= most:
        raise InputError(f"--slices {slices}: 1 to {most} are possible ({len(tasks)} tasks, arrays of {limit} at most)")
    taken = max(memory or slice_memory(project, tasks), 2 * _BESIDE)
    root, number = project.catalog.root, slices or most
    return ArrayJob(job_name(root, plan), file, plan.id, root, len(tasks), number, cpus, taken)


def job_name(root: str, plan: Plan) -> str:
    """Return the name of the job of a plan: it follows from what is to be there, and where.

    Parameters
    ----------
    root
        Root of the project.
    plan
        The plan.

    Returns
    -------
    str
        Such as ``stac-sm-0123456789ab``.
    """
    return f"stac-sm-{digest([root, plan.id])[:12]}"


def slice_memory(project: Project, tasks: Sequence[Task]) -> int:
    """Estimate what a slice takes at most: with two threads and a month in one graph.

    Parameters
    ----------
    project
        The project that the tasks are of.
    tasks
        Some of them are looked at: the longest, and those at both ends.

    Returns
    -------
    int
        Bytes.
    """
    catalog = project.catalog
    recipe = Model.from_item(catalog.item(MODELS, tasks[0].model).self_href).cube_recipe()
    peaks = []
    for task in _sampled(tasks):
        geobox = project.grid.geobox(task.tile)
        days = [made.day for made in task.days]
        resolution = resolve_inputs(catalog, recipe, geobox, Period(days[0], days[-1] + ONE_DAY), days=days)
        peaks.append(largest_share(resolution, TargetPixels(geobox), _UNBOUNDED, threads=DEFAULT_CPUS).peak)
    return -(-(max(peaks) + _BESIDE) // _STEP) * _STEP


def with_shared_plan(project: Project, job: ArrayJob, *, write: bool) -> ArrayJob:
    """Return the job with its plan where workers find it: beside products on S3; a plan on S3 stays there.

    Parameters
    ----------
    project
        The project that the plan is of.
    job
        With a plan on this machine, or on S3.
    write
        Whether to put the file there; otherwise only its address is filled in.

    Returns
    -------
    ArrayJob
        With the address of the plan.
    """
    store = project.catalog.store
    if is_remote(job.plan) or not is_remote(store.root):
        return job
    path = f"plans/{job.plan_id}.parquet"
    if write:
        store.create(path, Path(job.plan))
    return replace(job, plan=store.href(path))


def as_on_s3(job: ArrayJob, root: str) -> tuple[ArrayJob, str]:
    """Return a job as it would be with its project on S3, to be shown where it still lies on this machine.

    Parameters
    ----------
    job
        With project and plan on this machine, or on S3: then it stays as it is.
    root
        Where the project would lie, ``s3://…``.

    Returns
    -------
    tuple
        The job, and what is to be done before it can be sent; empty if nothing.
    """
    if is_remote(job.project):
        return job, ""
    note = f"the project lies in {job.project}, which workers do not see: put it on S3, then give --project {root}"
    plan = job.plan if is_remote(job.plan) else f"{root}/plans/{job.plan_id}.parquet"
    return replace(job, project=root, plan=plan), note


def facts_of(sent: SubmittedJob) -> dict[str, Any]:
    """Return what a user needs to know of a job that was sent.

    Parameters
    ----------
    sent
        The job, and its id.

    Returns
    -------
    dict
        JSON-able.
    """
    job = asdict(sent.job)
    shown = {key: job[key] for key in ("name", "tasks", "slices", "cpus")}
    return {"job": sent.id, "new": sent.new, **shown, "memory": f"{sent.job.mebibytes} MiB", "plan": sent.job.plan}


def _sampled(tasks: Sequence[Task]) -> Iterator[Task]:
    longest = max(tasks, key=lambda task: len(task.days))
    found = {task.name: task for task in (longest, tasks[0], tasks[-1])}
    yield from list(found.values())[:_SAMPLE]


def infra_file(path: str) -> Path:
    """Return a file of ``infra/``, which is sent as it is or filled in."""
    return packaged_folder("infra") / path
