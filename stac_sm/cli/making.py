"""Commands that make the product: plan, run."""

from __future__ import annotations

from pathlib import Path

import click

from stac_sm.cli.options import (
    end,
    json_option,
    only_model,
    open_project,
    project_option,
    say,
    show,
    wanted_tiles,
    workers_option,
)


@click.command()
@project_option
@click.option("--model", help="Id of the model item.  [default: the only one]")
@click.option("--tiles", help="Tile ids with commas between, e.g. h18v04,h18v05.")
@click.option("--bbox", help="West,south,east,north in degrees: all tiles that meet it.")
@click.option("--land", is_flag=True, help="All tiles with land (MODIS sinusoidal grid).")
@click.option("--period", required=True, help="2019, 2019-06, 2019-06-01 or FIRST/LAST.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the plan to this Parquet file.")
@json_option
def plan(
    folder: Path,
    model: str | None,
    tiles: str | None,
    bbox: str | None,
    land: bool,
    period: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Compare what is wanted with what is in the catalogue: new, done, stale, blocked."""
    from stac_sm.model import Model
    from stac_sm.period import Period
    from stac_sm.plan import make_plan, write_plan

    project = open_project(folder)
    wanted = wanted_tiles(project, tiles, bbox, land)
    chosen = Model.from_item(project.catalog.item("sm-models", model or only_model(project)).self_href)
    made = make_plan(
        project.catalog, chosen, wanted, Period.parse(period), grid=project.grid, version=project.about.version
    )
    show({"model": made.model, "tile-days": len(made.days), **made.counts}, as_json)
    for day in [day for day in made.days if day.state == "blocked"][:10]:
        say(f"blocked: {day.made.id}: no input for {', '.join(day.blocked_by)}")
    if out is not None:
        write_plan(made, out, project.grid)
        say(f"next: stac-sm run {out} --project {folder}")


@click.command()
@click.argument("plan", type=click.Path(path_type=Path, dir_okay=False))
@project_option
@workers_option
@click.option("--memory", help="For all workers together, e.g. 8G.  [default: what the machine grants]")
@json_option
def run(plan: Path, folder: Path, workers: int, memory: str | None, as_json: bool) -> None:
    """Make what a PLAN file wants: predict, write COGs, publish items. Run it again to make what is missing."""
    from stac_sm.memory import parse_bytes
    from stac_sm.plan import read_plan
    from stac_sm.progress import Progress
    from stac_sm.run import run_plan

    with Progress("run", say) as progress:
        results = run_plan(
            open_project(folder),
            read_plan(plan),
            workers=workers,
            memory=parse_bytes(memory) if memory else None,
            progress=lambda result, total: progress.step(total),
            warn=say,
        )
    failures = [failure for result in results for failure in result.failures]
    outcomes = {name: sum(result.outcomes.get(name, 0) for result in results) for name in ("new", "replaced", "done")}
    show({"tasks": len(results), **outcomes, "failed": len(failures)}, as_json)
    for id, kind, message in failures:
        say(f"failed: {id}: {kind}: {message}")
    end(failures, f"{len(failures)} tile-days failed; mend the cause and run the same command again")


@click.command()
@click.argument("collections", metavar="[COLLECTION]...", nargs=-1)
@project_option
@click.option(
    "--sample", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="Share of the items to read."
)
@click.option("--repair", "mend", is_flag=True, help="Rebuild links and extents; remove orphans older than --grace.")
@click.option("--grace", type=float, default=24.0, show_default=True, help="Hours before an orphan is removed.")
@workers_option
@json_option
def audit(
    collections: tuple[str, ...], folder: Path, sample: float, mend: bool, grace: float, workers: int, as_json: bool
) -> None:
    """Prove the catalogue again: items, assets, links, extents, and what is stale. Exit code 1 on any finding.

    Without COLLECTION, all of them.
    """
    from stac_sm.audit import audit as prove
    from stac_sm.audit import repair, stale_products
    from stac_sm.progress import Progress

    project = open_project(folder)
    with Progress("audit", say) as progress:
        findings = prove(
            project.catalog, collections=collections, sample=sample, workers=workers, progress=progress.step
        )
    if not collections or "sm-1km-daily" in collections:
        findings += stale_products(project.catalog, project.grid)
    left = repair(project.catalog, findings, grace_hours=grace) if mend else findings
    if len(left) < len(findings):
        say(f"{len(findings) - len(left)} of {len(findings)} findings mended")
    if left or as_json:
        show([vars(finding) for finding in left], as_json)
    else:
        say("no finding: every item is proven" if sample == 1 else f"no finding in a sample of {sample:g}")
    end(left, f"{len(left)} findings; --repair mends links, extents and old orphans")
