"""Leave the tasks of a plan on a Dask cluster that is running, so that nobody needs to wait for them.

`submit` calls it. The last task derives links, extents and index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.index.update import update_index
from stac_sm.stac.links import refresh
from stac_sm.workflows.plan.plan import Plan
from stac_sm.workflows.project import Project, read_project
from stac_sm.workflows.run.run_log import TaskRecord, new_run_id
from stac_sm.workflows.run.task import run_task
from stac_sm.workflows.run.task_queue import places_by_tile
from stac_sm.workflows.run.workers import SchedulerWorkers, dashboard_address, preferred
from stac_sm.workflows.submit.job import ArrayJob, SubmittedJob


def submit_to_dask(
    project: Project, plan: Plan, job: ArrayJob, scheduler: str, *, dry_run: bool = False
) -> SubmittedJob:
    """Leave the tasks of a plan on a scheduler, unless some of them wait or are at work there already.

    Workers are given names, and open the project themselves: it lies where all of them see it. The last task derives
    links and extents.

    Parameters
    ----------
    project
        The project that the plan is of.
    plan
        Its new and stale days are made.
    job
        Name and memory of a worker.
    scheduler
        ``tcp://HOST:8786``.
    dry_run
        Whether only to return what would be sent.

    Returns
    -------
    SubmittedJob
        With the name of the job as its id.

    Raises
    ------
    InputError
        If the scheduler does not answer, or its workers have another version of stac_sm.
    """
    named = {f"{job.name} {task.name}": task for task in plan.tasks()}
    request = {"scheduler": scheduler, "tasks": list(named)}
    if dry_run:
        return SubmittedJob(job, "", False, request=request)
    with SchedulerWorkers(scheduler).client(len(named)) as client:
        watch = (job.status, *([f"dashboard {page}"] if (page := dashboard_address(client)) else []))
        if client.run_on_scheduler(_knows, job.name):
            return SubmittedJob(job, job.name, False, watch, request)
        given = (job.worker_memory, plan.id, new_run_id())
        threads = [address for address, number in client.nthreads().items() for _ in range(number)]
        made = [
            client.submit(run_task, job.project, task, *given, key=key, pure=False, **preferred(address))
            for (key, task), address in zip(named.items(), places_by_tile(list(named.values()), threads), strict=True)
        ]
        _leave(client.submit(finish, job.project, made, key=f"{job.name} links", pure=False))
    return SubmittedJob(job, job.name, True, watch, request)


def finish(root: str, records: Sequence[TaskRecord]) -> dict[str, int]:
    """Derive links, extents and index when all tasks have ended; runs on a worker.

    Parameters
    ----------
    root
        Root of the project.
    records
        Results of the tasks.

    Returns
    -------
    dict of str to int
        Number of ``tasks``, and of items that ``failed``.
    """
    catalog = read_project(root).catalog
    refresh(catalog.store, PRODUCT_COLLECTION)
    update_index(catalog.store, PRODUCT_COLLECTION, layout=catalog.layout(PRODUCT_COLLECTION))
    return {"tasks": len(records), "failed": sum(len(record.failures) for record in records)}


def _leave(last: Any) -> None:
    """Leave the tasks to the scheduler, which forgets them when the last one has ended."""
    from distributed import fire_and_forget

    fire_and_forget(last)


def _knows(name: str, dask_scheduler: Any) -> bool:
    """Return whether the scheduler holds tasks of a job."""
    return any(str(key).startswith(name) for key in dask_scheduler.tasks)
