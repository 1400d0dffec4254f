"""Commands around the product: submit, index, serve, doctor.

`submit` sends a plan to a batch system, `index` and `serve` make the catalogue found and read, and `doctor` checks
whether a machine and a project are ready.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stac_sm.cli.options import (
    LocalPath,
    exit_if_failed,
    json_option,
    open_project,
    optional_project_option,
    print_message,
    print_result,
    project_option,
    workers_option,
)
from stac_sm.core.errors import InputError

if TYPE_CHECKING:
    from stac_sm.doctor.check import Check
    from stac_sm.workflows.submit.job import SubmittedJob

TARGETS = ("aws-batch", "slurm", "kubernetes", "dask")


@click.command()
@click.argument("plan")
@click.argument("options", nargs=-1, metavar="[-- SBATCH_OPTION...]")
@click.option("--to", "target", type=click.Choice(TARGETS), required=True, help="Batch system.")
@project_option
@click.option("--slices", type=click.IntRange(1), help="Size of the array.  [default: one for each task]")
@click.option("--cpus", type=click.IntRange(1), default=2, show_default=True, help="Of a slice.")
@click.option("--memory", help="Of a slice, e.g. 4G.  [default: what its largest task takes]")
@click.option("--parallel", type=click.IntRange(1), help="Slices at a time (slurm, kubernetes).")
@click.option(
    "--infra",
    type=LocalPath(dir_okay=False),
    help="aws-batch: what `terraform -chdir=infra/aws output -json` has printed.",
)
@click.option("--image", help="kubernetes: image of infra/container, with its digest or the tag of a version.")
@click.option("--namespace", default="default", show_default=True, help="kubernetes: where the pods run.")
@click.option("--endpoint", default="", help="kubernetes: URL of the S3 endpoint as pods reach it.  [default: yours]")
@click.option("--pull-secret", "pull_secrets", multiple=True, help="kubernetes: secret for a private registry.")
@click.option("--node-selector", "selectors", multiple=True, help="kubernetes: KEY=VALUE, a label of the nodes to use.")
@click.option("--toleration", "tolerations", multiple=True, help="kubernetes: KEY=VALUE:EFFECT, a taint of them.")
@click.option("--deadline", type=click.IntRange(1), help="kubernetes: hours, then the job is ended.  [default: 168]")
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
    endpoint: str,
    pull_secrets: tuple[str, ...],
    selectors: tuple[str, ...],
    tolerations: tuple[str, ...],
    deadline: int | None,
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
    from stac_sm.workflows.run.memory import parse_bytes
    from stac_sm.workflows.submit.kubernetes import DEADLINE_HOURS, PARALLEL, Cluster
    from stac_sm.workflows.submit.submit import (
        AwsBatchTarget,
        BatchTarget,
        DaskTarget,
        KubernetesTarget,
        SlurmTarget,
        submit_plan,
    )

    of_pods = {
        "endpoint": endpoint, "pull-secret": pull_secrets, "node-selector": selectors, "toleration": tolerations,
        "deadline": deadline, "dask-cluster": dask_cluster,
    }  # fmt: skip
    _check_options(target, {"infra": infra, "image": image, "scheduler": scheduler}, options, of_pods)
    chosen: BatchTarget
    match target:
        case "aws-batch":
            chosen = AwsBatchTarget(infra or Path())
        case "slurm":
            chosen = SlurmTarget(parallel, options)
        case "kubernetes":
            cluster = Cluster(
                image=str(image),
                namespace=namespace,
                parallel=parallel or PARALLEL,
                endpoint=endpoint,
                pull_secrets=pull_secrets,
                node_selectors=selectors,
                tolerations=tolerations,
                deadline_hours=deadline or DEADLINE_HOURS,
            )
            chosen = KubernetesTarget(cluster, dask_cluster)
        case _:
            chosen = DaskTarget(str(scheduler))
    sent = submit_plan(
        open_project(folder),
        plan,
        chosen,
        slices=slices,
        cpus=cpus,
        memory=parse_bytes(memory) if memory else None,
        dry_run=dry_run,
    )
    _print_submission(sent, dry_run, as_json)


_REQUIRED_OPTIONS = {"aws-batch": "infra", "kubernetes": "image", "dask": "scheduler"}


def _check_options(
    target: str, given: Mapping[str, object], options: tuple[str, ...], of_pods: Mapping[str, object]
) -> None:
    required = _REQUIRED_OPTIONS.get(target)
    if required and given[required] is None:
        raise InputError(f"--to {target} requires --{required}")
    needless = [f"--{name}" for name, value in given.items() if value is not None and name != required]
    needless += [f"--{name}" for name, value in of_pods.items() if value and target != "kubernetes"]
    needless += list(options) if target != "slurm" else []
    if options and not options[0].startswith("-"):
        raise InputError(f"options of sbatch begin with -, as --qos=low: found {options[0]!r}")
    if needless:
        raise InputError(f"{needless[0]} does not go with --to {target}")


def _print_submission(sent: SubmittedJob, dry_run: bool, as_json: bool) -> None:
    """Print what was sent and how to watch it; of a dry run the request itself, as its batch system reads it."""
    from stac_sm.workflows.submit.job import facts_of

    if sent.note:
        print_message(f"before it can be sent: {sent.note}")
    if dry_run and "kind" in sent.request and not as_json:
        from stac_sm.workflows.submit.kubernetes import manifest_text

        click.echo(manifest_text(dict(sent.request)), nl=False)
        return
    if dry_run:
        noted = {"note": sent.note} if sent.note and "kind" not in sent.request else {}  # a manifest has an annotation
        print_result({**sent.request, **noted}, as_json or "command" not in sent.request)
        return
    print_result({**facts_of(sent), "watch": list(sent.watch)} if as_json else facts_of(sent), as_json)
    print_message("sent" if sent.new else "a job of this plan is waiting or at work already: nothing was sent")
    for command in sent.watch:
        print_message(f"watch: {command}")


@click.command()
@click.argument("collections", metavar="[COLLECTION]...", nargs=-1)
@project_option
@click.option("--to", "database", help="Load pgstac instead: postgresql://USER@HOST/DATABASE.")
@workers_option
@json_option
def index(collections: tuple[str, ...], folder: Path, database: str | None, workers: int, as_json: bool) -> None:
    """Bring the stac-geoparquet index, links and extents in line with the items; what is right is left alone.

    Run it after the project was moved or copied, too: the self links of the index are absolute.

    Without COLLECTION, all of them. Exit code 1 if something is no item: it is named and left out. A database gets
    what is public: restricted collections, assets and links are left out, and removed where they are there.
    """
    if database is not None:
        _load(collections, folder, database, as_json)
        return
    from stac_sm.core.progress import ProgressBar
    from stac_sm.stac.index.update import refresh_and_index

    catalog = open_project(folder).catalog
    rows: list[dict[str, object]] = []
    failures: dict[str, str] = {}
    left_out: dict[str, Mapping[str, str]] = {}
    for id in collections or catalog.collections:
        with ProgressBar(f"index {id}", "months", print_message) as progress:
            made = refresh_and_index(catalog, id, workers=workers, progress=progress.step)
        failures.update(made.failures)
        left_out.update(made.left_out)
        counts = {outcome: sum(month.outcome == outcome for month in made.months) for outcome in _OUTCOMES}
        if not as_json:  # the shards of the index hold a month each
            counts = {f"months {outcome}": number for outcome, number in counts.items()}
        row = {"collection": id, "items": sum(month.items for month in made.months), **counts}
        bad = {path: dict(reasons) for path, reasons in made.left_out.items()}
        named: dict[str, Mapping[str, object]] = {"failed": dict(made.failures), "left out": bad}
        rows.append(row | (named if as_json else {key: len(value) for key, value in named.items()}))
    print_result(rows, as_json)
    for path, reasons in left_out.items():
        print_message(f"{path}: left out: {'; '.join(reasons.values())}")
    for message in failures.values():
        print_message(f"left out: {message}")
    exit_if_failed(list(failures), f"{len(failures)} files are no items")


def _load(collections: tuple[str, ...], folder: Path, database: str, as_json: bool) -> None:
    from stac_sm.core.progress import ProgressBar
    from stac_sm.stac.pgstac import load_pgstac

    with ProgressBar("load", "batches of items", print_message) as progress:
        loaded = load_pgstac(open_project(folder).catalog, database, collections=collections, progress=progress.step)
    outcomes = ("new", "replaced", "done", "failed", "removed")
    print_result(
        [
            {"collection": one.collection, **{name: one.counts.get(name, 0) for name in outcomes}}
            | {"only in the database": one.only_in_database}
            for one in loaded
        ],
        as_json,
    )
    if withheld := [one.collection for one in loaded if one.restricted]:
        print_message(f"not in the database, since restricted: {', '.join(withheld)}")
    failures = {path: why for one in loaded for path, why in one.failures.items()}
    for why in failures.values():
        print_message(f"failed: {why}")
    exit_if_failed(list(failures), f"{len(failures)} items failed; fix them and run the same command again")
    refused = [id for id in collections if id in withheld]
    exit_if_failed(
        refused, f"{', '.join(refused)}: restricted, so not loaded: see stac_sm:visibility of the collection"
    )


_OUTCOMES = ("new", "replaced", "done", "removed")


@click.command()
@project_option
@click.option("--catalog", help="Folder or s3://BUCKET/PREFIX to serve.  [default: the project's]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option(
    "--collections",
    "opened",
    metavar="ID",
    multiple=True,
    help="Give out this collection with all its assets, though restricted; repeatable. Only if its licence allows.",
)
@click.option("--root-path", default="", metavar="PATH", help="Path at which a proxy shows the API, such as /soil.")
@click.option(
    "--proxy",
    "proxies",
    metavar="ADDRESS",
    multiple=True,
    help="IP address or network of a proxy whose headers (Forwarded, X-Forwarded-Proto, -Host, -Prefix) links follow; "
    "repeatable. Those of others are ignored.",
)
@click.option(
    "--trusted-host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="Host that requests may be for, *.DOMAIN for all below it; repeatable.  [default: all]",
)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that answer.")
@json_option
def serve(
    folder: Path,
    catalog: str | None,
    host: str,
    port: int,
    opened: tuple[str, ...],
    root_path: str,
    proxies: tuple[str, ...],
    hosts: tuple[str, ...],
    workers: int,
    as_json: bool,
) -> None:
    """Serve the catalogue as a read-only STAC API, with STAC Browser at /browser if it is built.

    Collections that are restricted, such as ISMN stations and match-ups, are not given out, nor are assets that hold
    station series. `stac_sm:visibility` of a collection says what it is.

    What is published, on S3 what is indexed, is found after at most 10 seconds; what is retracted is gone at once.
    /health, /ready and /metrics are for operators: see infra/README.md.

    With --json, the address is printed as soon as the server listens.
    """
    from stac_sm.serve.proxy import PublicAddress

    address = PublicAddress(root_path, proxies, hosts)
    root = catalog or str(open_project(folder).catalog.root)
    from stac_sm.serve.server import serve as listen

    listen(
        root,
        host=host,
        port=port,
        log=print_message,
        collections=opened,
        address=address,
        workers=workers,
        listening=lambda facts: print_result(facts, True) if as_json else None,
    )


@click.command()
@optional_project_option
@json_option
def doctor(folder: str | None, as_json: bool) -> None:
    """Check whether this machine, the project, its store and its catalogue are ready for work.

    A finding is ok, a note (it works, but better is possible) or failed (work will stop at it), with what to do.
    Nothing is changed. Exit code 1 if anything failed.
    """
    from stac_sm.doctor.check import FAILED
    from stac_sm.doctor.examine import examine

    found = []
    for check in examine(folder):
        found.append(check)
        if not as_json:
            click.echo(_line(check))
    if as_json:
        print_result([asdict(check) for check in found], as_json)
    failed = [check for check in found if check.state == FAILED]
    print_message(f"{len(found)} looked at, {len(failed)} failed")
    exit_if_failed(failed, "do what each line `do:` says, then run stac-sm doctor again")


def _line(check: Check) -> str:
    said = f"{check.state:6}  {check.part}: {check.name}: {check.found}"
    return f"{said}\n        do: {check.advice}" if check.advice else said
