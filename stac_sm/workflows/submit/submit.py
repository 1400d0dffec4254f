"""Submit a plan to a batch system: size the array job from the plan, then send it.

This is what ``stac-sm submit`` calls. `job` sizes the array; `aws_batch`, `slurm`, `kubernetes` and `dask_cluster`
each send it to one batch system.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stac_sm.core.errors import InputError
from stac_sm.storage.address import absolute_address, is_remote
from stac_sm.storage.s3.session import settings_to_pass_on
from stac_sm.storage.single_writer import one_process_message
from stac_sm.workflows.plan.plan_file import read_plan
from stac_sm.workflows.project import Project
from stac_sm.workflows.submit.aws_batch import AWS_ARRAY_LIMIT, Infrastructure, submit_to_aws_batch
from stac_sm.workflows.submit.dask_cluster import submit_to_dask
from stac_sm.workflows.submit.job import DEFAULT_CPUS, SubmittedJob, array_job, as_on_s3, with_shared_plan
from stac_sm.workflows.submit.kubernetes import (
    KUBERNETES_ARRAY_LIMIT,
    Cluster,
    dask_cluster_manifest,
    job_manifest,
    submit_to_kubernetes,
)
from stac_sm.workflows.submit.slurm import DEFAULT_LIMIT, array_limit, submit_to_slurm


@dataclass(frozen=True)
class AwsBatchTarget:
    """AWS Batch, on the infrastructure of ``infra/aws``."""

    infrastructure: Path
    """File with what ``terraform output -json`` printed."""


@dataclass(frozen=True)
class SlurmTarget:
    """The Slurm cluster of this login node; the table [slurm] of the project file says partition, account and time."""

    parallel: int | None = None
    """Slices that may run at the same time; None: as many as the cluster has room for."""

    options: tuple[str, ...] = ()
    """More options of sbatch, such as ``--partition=short``."""


@dataclass(frozen=True)
class KubernetesTarget:
    """A Kubernetes cluster, the one that kubectl is set up for."""

    cluster: Cluster
    """Place of the pods, and their image."""

    dask_cluster: bool = False
    """Whether to start a Dask cluster for the plan instead of an Indexed Job."""


@dataclass(frozen=True)
class DaskTarget:
    """A Dask cluster that is running."""

    scheduler: str
    """Address of its scheduler, ``tcp://HOST:8786``."""


_ANY_BUCKET = "s3://BUCKET/PREFIX"  # of a job that is shown before its project lies on S3

BatchTarget = AwsBatchTarget | SlurmTarget | KubernetesTarget | DaskTarget
"""Where a plan is sent."""


def submit_plan(
    project: Project,
    plan: str,
    target: BatchTarget,
    *,
    slices: int | None = None,
    cpus: int = DEFAULT_CPUS,
    memory: int | None = None,
    dry_run: bool = False,
) -> SubmittedJob:
    """Send a plan to a batch system as an array of slices, unless a job of this plan waits or runs there.

    Parameters
    ----------
    project
        The project that the plan is of, at a place that the workers see.
    plan
        Plan file: a path here, or an ``s3://`` address.
    target
        The batch system, and what only it has to know.
    slices
        Size of the array; None: one slice a task, at most as many as the batch system takes.
    cpus
        CPUs of a slice.
    memory
        Memory of a slice in bytes; None: estimated from the largest tasks.
    dry_run
        Whether only to return what would be sent; for a project on this machine, what would be sent once it is on S3.

    Returns
    -------
    SubmittedJob
        The job, its id in the batch system, and how to watch it.

    Raises
    ------
    InputError
        If only one process may write to the store, there is nothing left to do in the plan, so many slices are not
        possible, or the batch system is not there, cannot reach the project, or refuses the job.
    """
    store = project.catalog.store
    if store.lacks:
        raise InputError(one_process_message(store, "slices run beside one another: give `stac-sm run --workers 1`"))
    file = absolute_address(plan)
    loaded = read_plan(file, store)
    limit = _array_limit(target, dry_run)
    job = array_job(project, loaded, file, limit=limit, slices=slices, cpus=cpus, memory=memory)
    match target:
        case AwsBatchTarget():
            return submit_to_aws_batch(project, job, Infrastructure.read(target.infrastructure), dry_run=dry_run)
        case SlurmTarget():
            return submit_to_slurm(
                job, project.slurm, parallel=target.parallel, options=target.options, dry_run=dry_run
            )
        case DaskTarget():
            return submit_to_dask(project, loaded, job, target.scheduler, dry_run=dry_run)
        case KubernetesTarget():
            cluster = target.cluster.for_store(settings_to_pass_on() if is_remote(project.catalog.root) else {})
            shared = with_shared_plan(project, job, write=not dry_run)
            shared, note = as_on_s3(shared, _ANY_BUCKET) if dry_run else (shared, "")
            manifest = (dask_cluster_manifest if target.dask_cluster else job_manifest)(shared, cluster)
            return submit_to_kubernetes(shared, manifest, dry_run=dry_run, note=note)


def _array_limit(target: BatchTarget, dry_run: bool) -> int:
    """Return the largest array that a batch system takes; a dry run does not ask Slurm, which may not be there."""
    match target:
        case SlurmTarget():
            return DEFAULT_LIMIT if dry_run else array_limit()
        case AwsBatchTarget():
            return AWS_ARRAY_LIMIT
        case _:
            return KUBERNETES_ARRAY_LIMIT
