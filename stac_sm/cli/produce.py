"""Commands that make the product: plan, run, status, retract, audit.

They come after training. The work is in `workflows`; what is printed of it is here.
"""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

import click

from stac_sm.cli.options import (
    at_option,
    bbox_option,
    exit_if_failed,
    json_option,
    open_project,
    print_message,
    print_result,
    project_option,
    select_tiles,
    workers_option,
)

if TYPE_CHECKING:
    from stac_sm.workflows.plan.project_plan import ProjectPlan
    from stac_sm.workflows.project import Project
    from stac_sm.workflows.run.cost import Estimate
    from stac_sm.workflows.run.workers import Workers

_MOST_PRINTED = 10
_NO_SKILL = "its item has no skill beside its input: `stac-sm train` makes one that has it"


@click.command()
@project_option
@click.option("--model", help="Id of the model item.  [default: the only one]")
@click.option("--tiles", help="Tile ids with commas between, e.g. h18v04,h18v05.  [default: the project file's]")
@at_option
@bbox_option
@click.option("--land", is_flag=True, help="All tiles with land (MODIS sinusoidal grid).")
@click.option("--period", help="2019, 2019-06, 2019-06-01 or FIRST/LAST.  [default: the project file's]")
@click.option("--redo-retracted", is_flag=True, help="Make again what was retracted.")
@click.option(
    "--accept-unskilled", is_flag=True, help="Plan with a model that is worse than its own input at unseen sites."
)
@click.option("--max-cost", type=click.FloatRange(0), metavar="USD", help="Refuse a plan that costs more to make.")
@workers_option
@click.option("--out", help="Write the plan to this Parquet file, here or s3://….  [default: plans/ID.parquet]")
@json_option
def plan(
    folder: str,
    model: str | None,
    tiles: str | None,
    at: str | None,
    bbox: str | None,
    land: bool,
    period: str | None,
    redo_retracted: bool,
    accept_unskilled: bool,
    max_cost: float | None,
    workers: int,
    out: str | None,
    as_json: bool,
) -> None:
    """Compare what is to be made with what is in the catalogue: new, done, stale, blocked, retracted.

    Prints what making it reads, writes and costs (table [costs] of the project file); by a default before the first
    run.
    """
    from stac_sm.core.period import Period
    from stac_sm.core.progress import ProgressBar
    from stac_sm.model.skill import skill_sentences
    from stac_sm.stac.simulated import SIMULATED_NOTE
    from stac_sm.workflows.plan.project_plan import plan_project

    project = open_project(folder)
    selected = select_tiles(project, tiles=tiles, at=at, bbox=bbox, land=land)
    with ProgressBar("plan", "tiles", print_message) as progress:
        found = plan_project(
            project,
            selected,
            Period.parse(period) if period else None,
            model=model,
            redo_retracted=redo_retracted,
            accept_unskilled=accept_unskilled,
            max_cost=max_cost,
            workers=workers,
            out=out,
            progress=progress.step,
        )
    made, cost = found.plan, found.cost
    known = found.model.skill
    if found.simulated:
        print_message(f"project {project.about.title}: {SIMULATED_NOTE}")
    for sentence in skill_sentences(known) if known is not None else [_NO_SKILL]:
        print_message(f"model {made.model}: {sentence}")
    facts = {"model": made.model, "tile-days": len(made.days), **made.counts, **_costs(cost), "plan": found.href}
    facts |= {"simulated": True} if found.simulated else {}
    facts["skill"] = None if known is None else [one.to_dict() for one in known]
    facts |= {"missing inputs": found.missing_inputs, "left out": dict(made.left_out)}
    states = ", ".join(f"{days} {state}" for state, days in made.counts.items() if days)
    lines: dict[str, object] = {"model": made.model, "tile-days": f"{len(made.days)} ({states or 'none'})"}
    if made.to_do:
        lines["to make them"] = _cost_words(cost)
    if found.missing_inputs:
        lines["missing inputs"] = ", ".join(
            f"{one['input']} ({one['tile_days']} tile-days)" for one in found.missing_inputs
        )
    if made.left_out:
        lines["left out"] = f"{len(made.left_out)} items"
    if found.simulated:
        lines["simulated"] = "yes: inputs and stations are those of a simulated Earth"
    lines["plan"] = found.href
    print_result(facts if as_json else lines, as_json)
    _print_reasons(found)
    left = f"; {made.counts['blocked']} tile-days are blocked: ingest what is named" if made.counts["blocked"] else ""
    nothing = f"nothing to do: all that can be made is there{left}"
    print_message(f"next: stac-sm run {quote(found.href)}{_where(folder)}" if made.to_do else nothing)


def _costs(cost: Estimate) -> dict[str, object]:
    """Return what making a plan takes, as facts."""
    return {
        "files to read": cost.reads.files,
        "GB to read": round(cost.reads.bytes / 1e9, 3),
        "GB to write": round(cost.bytes_written / 1e9, 3),
        "GET": cost.gets,
        "PUT": cost.puts,
        "LIST": cost.lists,
        "core-hours": round(cost.core_hours, 3),
        "cost USD": round(cost.cost, 2),
        "USD a month to keep": round(cost.cost_a_month, 2),
    }


def _cost_words(cost: Estimate) -> str:
    """Return what making a plan takes, in one line; money only where it costs any."""
    volumes = f"{cost.reads.files} files ({_size(cost.reads.bytes)}) to read, {_size(cost.bytes_written)} to write"
    money = f", {cost.cost:.2f} USD" if round(cost.cost, 2) else ""
    keep = f", {cost.cost_a_month:.2f} USD a month to keep" if round(cost.cost_a_month, 2) else ""
    return f"{volumes}, {cost.core_hours:.3g} core-hours{money}{keep}"


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _print_reasons(found: ProjectPlan) -> None:
    """Print what days are blocked or stale for, and what the cost is based on."""
    from stac_sm.core.period import days_in_words

    made, cost = found.plan, found.cost
    for one in found.missing_inputs:
        made_by = f", climatology {one['climatology']}: `stac-sm climatology` makes it" if one["climatology"] else ""
        place = f"collection {one['collection']}, asset {one['asset']}{made_by}"
        there = f"; there is {', '.join(one['other_depths'])}, of another depth" if "other_depths" in one else ""
        history = f": {one['history']}" if "history" in one else ""
        when = days_in_words(made.blocked_days[one["input"]])
        print_message(f"blocked: {one['tile_days']} tile-days lack {one['input']} ({place}{there}) on {when}{history}")
    for why in made.left_out.values():
        print_message(f"left out: {why}")
    for name, days in list(made.changed.items())[:_MOST_PRINTED]:
        print_message(f"stale: {days} tile-days, changed: {name}")
    if cost.reads.unknown:
        print_message(
            f"{cost.reads.unknown} of {cost.reads.files} files to read are of unknown size, and not in the bytes"
        )
    by = f"measured on {cost.speed.items} tile-days" if cost.speed.items else "a default: no run has measured it"
    print_message(f"core-hours by {cost.speed.seconds:.2f} s a tile-day, {by}")


@click.command()
@click.argument("plan", metavar="PLAN")
@project_option
@workers_option
@click.option("--memory", help="For all workers together, e.g. 8G.  [default: what the machine grants]")
@click.option("--scheduler", metavar="ADDRESS", help="Workers of a Dask scheduler (tcp://HOST:8786), or slurm.")
@click.option(
    "--slice",
    "part",
    metavar="I/N",
    help="One slice of the tasks, from 0/N to N-1/N. In an array job, which knows I: the numbers of the whole array, "
    "as 0-7 or 1-8, also where some jobs are sent again; or N, if the whole array of N is sent.",
)
@click.option("--tiles", help="Of the plan, these tiles only: ids with commas between.")
@at_option
@bbox_option
@json_option
@click.option(
    "--metrics", metavar="TARGET", help="Write counts for Prometheus: a file NAME.prom, or http://GATEWAY:9091."
)
def run(
    plan: str,
    folder: str,
    metrics: str | None,
    workers: int,
    memory: str | None,
    scheduler: str | None,
    part: str | None,
    tiles: str | None,
    at: str | None,
    bbox: str | None,
    as_json: bool,
) -> None:
    """Make the days of a PLAN file: predict, write COGs, publish items. Run it again to make what is missing.

    Exit code 1 if a tile-day failed, or is blocked in the plan (of slices, the first one says so). With --tiles, --at
    or --bbox only the tile-days of these tiles count; slices are slices of them.

    --scheduler slurm starts --workers jobs with the settings of the table [slurm] of the project file.
    """
    from stac_sm.core.progress import ProgressBar
    from stac_sm.workflows.plan.plan_file import read_plan
    from stac_sm.workflows.run.run import PlanSlice, run_plan

    project, chosen = open_project(folder), PlanSlice.parse(part) if part else None
    loaded = read_plan(plan, project.catalog.store)
    selected = select_tiles(project, tiles=tiles, at=at, bbox=bbox)
    with ProgressBar("run", "tile-days", print_message) as progress:
        report = run_plan(
            project,
            loaded,
            workers=_workers(project, workers, memory, scheduler),
            part=chosen,
            tiles=selected,
            progress=progress.step,
            warn=print_message,
        )
    facts = {"tasks": len(report.records), **report.outcomes, "failed": len(report.failures), "blocked": report.blocked}
    print_result(facts, as_json)
    if report.href:
        print_message(f"report: {report.href}")
    if metrics:
        from stac_sm.workflows.run.run_metrics import write_run_metrics

        write_run_metrics(report, metrics, chosen)
    if report.failures:
        from stac_sm.core.text import format_table

        print_message(format_table(report.by_class(project.grid)))
    parts = {"--slice": chosen, "--tiles": ",".join(selected) if selected else None}
    options = [f"{name} {value}" for name, value in parts.items() if value is not None]
    again = " ".join(["stac-sm run", quote(plan), *options]) + _where(folder)
    if report.blocked:
        counts = loaded.of_tiles(selected).blocked_by if selected else loaded.blocked_by
        names = ", ".join(f"{name} ({days} tile-days)" for name, days in counts.items())
        print_message(
            f"{report.blocked} tile-days of the plan are blocked, since there is no input for {names}: ingest it, then "
            "plan again"
        )
    exit_if_failed(
        report.failures, f"{len(report.failures)} tile-days failed; fix the cause, then make what is missing:\n{again}"
    )
    exit_if_failed([report] if report.blocked else [], "what was not blocked is made")


@click.command()
@click.argument("what", metavar="[PLAN|ITEM]", required=False)
@project_option
@json_option
def status(what: str | None, folder: str, as_json: bool) -> None:
    """Report the progress of a PLAN, from the store alone: done, missing, failed by class, rate and time left.

    Without PLAN, the newest of the project. With the id of an ITEM, the log of the tasks that tried to make it.
    """
    from stac_sm.product.product_id import is_product_id
    from stac_sm.workflows.plan.plan_file import newest_plan, read_plan
    from stac_sm.workflows.run.status import item_records, plan_status

    project = open_project(folder)
    if what is not None and is_product_id(what):
        tried = [record.to_dict() for record in item_records(project.catalog, what)]
        print_result(tried, True)
        exit_if_failed([what] if not tried else [], f"{what}: no task has tried to make it; `stac-sm plan` says why")
        return
    store = project.catalog.store
    found = plan_status(project.catalog, read_plan(what or newest_plan(store), store))
    facts = {"plan": found.plan, "done": found.done, "missing": found.missing, "blocked": found.blocked}
    facts |= {"retracted": found.retracted, "failed": dict(found.failed) if as_json else sum(found.failed.values())}
    rate, quiet = ("rate", "quiet") if as_json else ("tile-days an hour", "seconds since the last")
    facts |= {"workers": found.workers or None, rate: _rounded(found.rate), "hours left": _rounded(found.hours_left)}
    facts[quiet] = None if found.quiet is None else round(found.quiet, 1)
    if not as_json:  # what is not known yet has no line
        facts = {name: value for name, value in facts.items() if value is not None}
    print_result(facts, as_json)
    if found.missing and found.rate is None and found.runs:
        print_message("rate and hours left are known once a task (a tile and month) of the plan has ended")
    for failure in found.examples:
        example = f"{failure.id} in {failure.place(project.grid)}: {failure.message}"
        print_message(f"{found.failed[failure.kind]} x {failure.kind}, e.g. {example}")


def _rounded(value: float | None) -> float | None:
    """Return three digits that count, so that a short time is not printed as none."""
    return None if value is None else float(f"{value:.3g}")


@click.command()
@click.argument("ids", metavar="ITEM...", nargs=-1, required=True)
@project_option
@click.option("--reason", required=True, help="Why, for those who used the data.")
@json_option
def retract(ids: tuple[str, ...], folder: str, reason: str, as_json: bool) -> None:
    """Withdraw items from the product, with a reason: withdrawal notices take their place. For operators.

    They count as done until `plan --redo-retracted`; nothing refers to their files, and `audit --repair` removes them.
    """
    from stac_sm.workflows.retract import retract_products

    found = retract_products(open_project(folder).catalog, ids, reason)
    print_result([vars(one) for one in found], as_json)


def _workers(project: Project, number: int, memory: str | None, scheduler: str | None) -> Workers:
    """Return the workers that make the tasks."""
    from stac_sm.workflows.run.memory import machine_memory, parse_bytes
    from stac_sm.workflows.run.workers import LocalWorkers, SchedulerWorkers, SlurmWorkers

    if scheduler == "slurm":
        return SlurmWorkers(number, project.slurm)
    if scheduler is not None:
        return SchedulerWorkers(scheduler)
    return LocalWorkers(number, parse_bytes(memory) if memory else machine_memory())


def _where(folder: str) -> str:
    return "" if folder == "." else f" --project {quote(folder)}"


@click.command()
@click.argument("collections", metavar="[COLLECTION]...", nargs=-1)
@project_option
@click.option(
    "--sample", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="Share of the items to read."
)
@click.option(
    "--repair",
    "repairs",
    is_flag=True,
    help="Rebuild links, extents and outlines, add what collections lack of this version; remove unreferenced files "
    "older than --grace.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=24.0,
    show_default=True,
    help="Hours before an unreferenced file is a failure, and is removed.",
)
@workers_option
@json_option
def audit(
    collections: tuple[str, ...], folder: str, sample: float, repairs: bool, grace: float, workers: int, as_json: bool
) -> None:
    """Verify the catalogue: items, assets, collections, links, and what is stale. Exit code 1 on any finding.

    Without COLLECTION, all of them. An unreferenced file that is younger than --grace is named and is no failure: its
    item was replaced lately, or is being made.
    """
    from stac_sm.core.progress import ProgressBar
    from stac_sm.workflows.audit import audit_project, repair, young_files

    project = open_project(folder)
    with ProgressBar("audit", "batches of items", print_message) as progress:
        findings = audit_project(
            project, collections, sample=sample, workers=workers, progress=progress.step, note=print_message
        )
    left = repair(project.catalog, findings, grace_hours=grace) if repairs else findings
    if len(left) < len(findings):
        print_message(f"{len(findings) - len(left)} of {len(findings)} findings repaired")
    if left or as_json:
        print_result([{"kind": one.kind, "path": one.path, "detail": one.detail} for one in left], as_json)
    else:
        print_message("no finding: every item is verified" if sample == 1 else f"no finding in a sample of {sample:g}")
    young = young_files(left, grace_hours=grace)
    if young:
        print_message(f"{len(young)} unreferenced files are younger than {grace:g} hours, which is no failure")
    failed = [one for one in left if one not in young]
    exit_if_failed(
        failed,
        f"{len(failed)} findings; --repair repairs collections, links, extents, outlines and old unreferenced files",
    )
