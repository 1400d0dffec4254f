"""The command that sends a plan to a batch system."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stac_sm.cli.options import json_option, open_project, project_option, say, show

if TYPE_CHECKING:
    from stac_sm.config import Project
    from stac_sm.plan import Plan
    from stac_sm.submit.job import ArrayJob, Submitted

TARGETS = ("aws-batch", "slurm", "kubernetes", "dask")


@click.command()
@click.argument("plan")
@click.argument("options", nargs=-1, metavar="[-- SBATCH_OPTION...]")
@click.option("--to", "target", type=click.Choice(TARGETS), required=True, help="Batch system.")
@project_option
@click.option("--slices", type=click.IntRange(1), help="Size of the array.  [default: one for each tile-month]")
@click.option("--cpus", type=click.IntRange(1), default=2, show_default=True, help="Of a slice.")
@click.option("--memory", help="Of a slice, e.g. 4G.  [default: what its largest tile-month takes]")
@click.option("--parallel", type=click.IntRange(1), help="Slices at a time (slurm, kubernetes).")
@click.option(
    "--infra",
    type=click.Path(path_type=Path, dir_okay=False),
    help="aws-batch: what `terraform -chdir=infra/aws output -json` has printed.",
)
@click.option("--image", help="kubernetes: image of infra/container, best with its digest.")
@click.option("--namespace", default="default", show_default=True, help="kubernetes: where the pods run.")
@click.option("--dask-cluster", is_flag=True, help="kubernetes: a Dask cluster for the plan instead of an Indexed Job.")
@click.option("--scheduler", help="dask: its address, tcp://HOST:8786.")
@click.option("--dry-run", is_flag=True, help="Print what would be sent (kubernetes: the manifest), and send nothing.")
@json_option
def submit(
    plan: str,
    options: tuple[str, ...],
    target: str,
    folder: str,
    slices: int | None,
    cpus: int,
    memory: str | None,
    parallel: int | None,
    infra: Path | None,
    image: str | None,
    namespace: str,
    dask_cluster: bool,
    scheduler: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send PLAN to a batch system as an array of slices, sized from the plan; each runs `stac-sm run PLAN --slice`.

    The same plan again names the job that waits or is at work, and sends nothing. When some slices have failed, submit
    again: what is done stays done. On Slurm, the table [slurm] of the project file says partition, account and time;
    more options of sbatch go after `--`, such as `-- --qos=low`.
    """
    from stac_sm.memory import parse_bytes
    from stac_sm.plan_file import read_plan
    from stac_sm.submit.job import array_job, plan_file

    given = {"infra": infra, "image": image, "scheduler": scheduler}
    _check_options(target, given, options, dask_cluster)
    project, file = open_project(folder), plan_file(plan)
    wanted = read_plan(file)
    job = array_job(
        project,
        wanted,
        file,
        limit=_limit(target, dry_run),
        slices=slices,
        cpus=cpus,
        memory=parse_bytes(memory) if memory else None,
    )
    if target == "aws-batch":
        sent = _to_aws_batch(project, job, infra, dry_run)
    elif target == "slurm":
        sent = _to_slurm(project, job, parallel, options, dry_run)
    elif target == "kubernetes":
        sent = _to_kubernetes(project, job, str(image), namespace, parallel, dask_cluster, dry_run)
    else:
        sent = _to_dask(project, wanted, job, str(scheduler), dry_run)
    _tell(sent, dry_run, as_json)


_WANTED = {"aws-batch": "infra", "kubernetes": "image", "dask": "scheduler"}


def _check_options(target: str, given: Mapping[str, object], options: tuple[str, ...], dask_cluster: bool) -> None:
    wanted = _WANTED.get(target)
    if wanted and given[wanted] is None:
        raise click.UsageError(f"--to {target} wants --{wanted}")
    needless = [f"--{name}" for name, value in given.items() if value is not None and name != wanted]
    needless += ["--dask-cluster"] if dask_cluster and target != "kubernetes" else []
    needless += list(options) if target != "slurm" else []
    if needless:
        raise click.UsageError(f"{needless[0]} does not go with --to {target}")


def _limit(target: str, dry_run: bool) -> int:
    from stac_sm.submit import aws_batch, kubernetes, slurm

    if target == "slurm":
        return slurm.DEFAULT_LIMIT if dry_run else slurm.array_limit()
    return aws_batch.ARRAY_LIMIT if target == "aws-batch" else kubernetes.ARRAY_LIMIT


def _to_aws_batch(project: Project, job: ArrayJob, infra: Path | None, dry_run: bool) -> Submitted:
    from stac_sm.submit.aws_batch import Infrastructure, submit_to_aws_batch

    return submit_to_aws_batch(project, job, Infrastructure.read(infra or Path()), dry_run=dry_run)


def _to_slurm(
    project: Project, job: ArrayJob, parallel: int | None, options: tuple[str, ...], dry_run: bool
) -> Submitted:
    from stac_sm.submit.slurm import submit_to_slurm

    return submit_to_slurm(job, project.slurm, parallel=parallel, options=options, dry_run=dry_run)


def _to_kubernetes(
    project: Project,
    job: ArrayJob,
    image: str,
    namespace: str,
    parallel: int | None,
    dask_cluster: bool,
    dry_run: bool,
) -> Submitted:
    from stac_sm.submit.job import with_shared_plan
    from stac_sm.submit.kubernetes import PARALLEL, Cluster, dask_cluster_manifest, job_manifest, submit_to_kubernetes

    shared = with_shared_plan(project, job, write=not dry_run)
    cluster = Cluster(image, namespace, parallel or PARALLEL)
    manifest = (dask_cluster_manifest if dask_cluster else job_manifest)(shared, cluster)
    return submit_to_kubernetes(shared, manifest, dry_run=dry_run)


def _to_dask(project: Project, plan: Plan, job: ArrayJob, scheduler: str, dry_run: bool) -> Submitted:
    from stac_sm.submit.dask_cluster import submit_to_dask

    return submit_to_dask(project, plan, job, scheduler, dry_run=dry_run)


def _tell(sent: Submitted, dry_run: bool, as_json: bool) -> None:
    """What was sent and how to watch it; of a dry run the request itself, as its batch system reads it."""
    from stac_sm.submit.job import facts_of

    if dry_run and "kind" in sent.request and not as_json:
        from stac_sm.submit.kubernetes import manifest_text

        click.echo(manifest_text(dict(sent.request)), nl=False)
        return
    if dry_run:
        show(dict(sent.request), as_json or "command" not in sent.request)
        return
    show({**facts_of(sent), "watch": list(sent.watch)} if as_json else facts_of(sent), as_json)
    say("sent" if sent.new else "a job of this plan is waiting or at work already: nothing was sent")
    for command in sent.watch:
        say(f"watch: {command}")
