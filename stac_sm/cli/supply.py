"""Commands that keep a project supplied: fetch, update.

Each parses its arguments, calls one function and prints what it returned.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING

import click

from stac_sm.cli.options import (
    exit_if_failed,
    json_option,
    open_project,
    parsed_tiles,
    print_message,
    print_result,
    project_option,
    select_box,
    workers_option,
)
from stac_sm.core.errors import InputError

if TYPE_CHECKING:
    from stac_sm.core.period import Period
    from stac_sm.workflows.fetch import FetchPlan, FetchResult, LeftOutYears
    from stac_sm.workflows.project import Project
    from stac_sm.workflows.update import UpdateReport

_DO_AND_REPEAT = "do what is said of each, then run the same command again"


class _Fetch(click.Command):
    """Command whose help names every source; their table is imported only for that, since it imports much."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from stac_sm.workflows.fetch import source_names

        fetched, by_hand = source_names()
        self.help = (self.help or "").replace("{FETCHED}", ", ".join(fetched)).replace("{BY_HAND}", ", ".join(by_hand))
        super().format_help_text(ctx, formatter)


@click.command(cls=_Fetch)
@click.argument("source", metavar="SOURCE")
@project_option
@click.option("--tiles", help="Tile ids with commas between, e.g. h18v04.  [default: the project file's]")
@click.option("--bbox", metavar="W,S,E,N", help="Box in degrees; W is above E across the antimeridian.")
@click.option("--period", help="2019, 2019-06, FIRST/LAST or last-30-days.  [default: the project file's]")
@click.option("--climatology", is_flag=True, help="With the years that the recipe averages: much.")
@click.option("--dry-run", is_flag=True, help="Print each request and its size, and fetch nothing.")
@json_option
def fetch(
    source: str,
    folder: str,
    tiles: str | None,
    bbox: str | None,
    period: str | None,
    climatology: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Fetch the files of a SOURCE that the project lacks, from the service that provides them.

    SOURCE is one of {FETCHED}. Of {BY_HAND}, which have no interface for programs, it prints the page, and what to
    select there for this project. `fetch all --dry-run` adds up the sizes of all inputs of the recipe for a place and a
    period, match-ups and averaged years included, and asks no service.

    The recipe says which variables, and which days before the period; what the catalogue has is not fetched again, but
    for preliminary data of which there are final ones by now. The years that `stac-sm climatology` averages are left
    out, and named with their size: --climatology takes them, too.
    Files go to the folder of [fetch] in the project file. What was interrupted goes on where it stopped: run the same
    command again. Accounts are those of the services' own files (~/.cdsapirc, ~/.netrc) or the environment.
    """
    from stac_sm.core.period import Period
    from stac_sm.core.progress import ProgressBar
    from stac_sm.workflows.fetch import ALL, carry_out, default_period, left_out_years, plan_fetch, today_utc

    if tiles is not None and bbox is not None:
        raise InputError("give one of --tiles and --bbox")
    project = open_project(folder)
    box = select_box(project, bbox)
    days = Period.parse_recent(period, today_utc()) if period else None
    chosen = parsed_tiles(project, tiles)
    if source == ALL:
        if not dry_run:
            raise InputError("fetch all: one SOURCE at a time is fetched; --dry-run adds up the sizes of all")
        _print_sizes(project, days or project.product_period, chosen, box, as_json)
        return
    made = plan_fetch(project, source, period=days, tiles=chosen, bbox=box, climatology=climatology)
    for note in made.notes:
        print_message(f"{source}: {note}")
    if made.page:
        _print_by_hand(made, folder, as_json)
        return
    asked, other = default_period(project, source), Period.parse(project.matchups.period)
    if days is None and not {*other.days} <= {*asked.days}:
        print_message(f"{source}: days of [product], {asked}; those of the match-ups come with --period {other}")
    left_out = None if climatology else left_out_years(project, made, period=days, tiles=chosen, bbox=box)
    for note in (*made.listing.notes, *made.listing.why_again, *([left_out.text] if left_out else [])):
        print_message(f"{source}: {note}")
    if made.listing.outdated is not None:
        print_message(
            f"{source}: other days of the catalogue are preliminary, and may be final by now: "
            f"--period {made.listing.outdated} asks for them again"
        )
    if dry_run:
        _print_plan(made, left_out, as_json)
        return
    with ProgressBar(f"fetch {source}", "files", print_message) as progress:
        results = carry_out(made, say=print_message, progress=progress.step)
    _print_results(made, results, folder, as_json)


def _print_sizes(
    project: Project, period: Period, tiles: Sequence[str], box: tuple[float, float, float, float] | None, as_json: bool
) -> None:
    """Print the size of each input of the recipe, and in one line what all of them take."""
    from stac_sm.workflows.fetch import place_of
    from stac_sm.workflows.input_sizes import input_sizes

    sizes, where = input_sizes(project, period, tiles=tiles, bbox=box), place_of(project, tiles, box)
    known = [one for one in sizes if one.total is not None]
    sums = {name: sum(getattr(one, name) for one in known) for name in ("product", "climatology", "matchups", "total")}
    if as_json:
        inputs = [{**asdict(one), "total": one.total} for one in sizes]
        found = {"tiles": list(where.modis_tiles), "period": str(period), "matchups": project.matchups.period}
        click.echo(json.dumps({**found, "inputs": inputs, "known_bytes": sums}, indent=2))
        return

    def words(size: int | None) -> str:
        return "not known" if size is None else f"{size / 1e9:,.2f} GB"

    rows = [
        {
            "source": one.source,
            "collection": one.collection,
            **{name: words(getattr(one, name)) for name in ("product", "climatology", "matchups", "total")},
        }
        for one in sizes
    ]
    print_result(rows, False)
    print_message(
        f"in all at most {words(sums['total'])} before compression: {words(sums['product'])} for {period}, "
        f"{words(sums['climatology'])} more for the years that the recipe averages, {words(sums['matchups'])} more for "
        f"match-ups of {project.matchups.period}; counted by whole tiles ({', '.join(where.modis_tiles[:10])}"
        f"{', …' if len(where.modis_tiles) > 10 else ''}), with the stations in them; stations elsewhere need the same "
        "of their tiles. What services hold: stac-sm fetch SOURCE --dry-run"
    )


def _print_by_hand(made: FetchPlan, folder: str, as_json: bool) -> None:
    """Print the page of a source without an interface, what to select there, and how it is ingested."""
    command = f"stac-sm ingest {quote(str(made.folder))}{_where(folder)}"
    if as_json:
        click.echo(json.dumps({**made.to_dict(), "ingest": command}, indent=2))
        return
    click.echo(f"{made.source} cannot be fetched by a program: {made.why}\npage: {made.page}")
    for number, step in enumerate(made.steps, 1):
        click.echo(f"{number}. {step}")
    click.echo(f"{len(made.steps) + 1}. put the files into {made.folder}, then:")
    click.echo(command)


def _print_plan(made: FetchPlan, left_out: LeftOutYears | None, as_json: bool) -> None:
    if as_json:
        years = asdict(left_out) if left_out else None
        click.echo(json.dumps({**made.to_dict(), "left_out_years": years}, indent=2))
        return
    rows = [
        {
            "request": one.what,
            "size": size_words(one.size, one.estimate),
            "file": one.file.name + (" (there)" if one.is_there(made.today) else ""),
        }
        for one in made.listing.requests
    ]
    if rows:
        print_result(rows, False)
    left = [one for one in made.listing.requests if not one.is_there(made.today)]
    total = sum(one.size if one.size is not None else one.estimate or 0 for one in left)
    print_message(
        f"{len(left)} requests, {total / 1e6:,.1f} MB, into {made.folder}; {made.listing.held} tiles or days are in "
        "the catalogue already"
    )


def size_words(size: int | None, estimate: int | None) -> str:
    """Return a size for people.

    Parameters
    ----------
    size
        Bytes, as a service states them; None if it does not.
    estimate
        Bytes before compression.

    Returns
    -------
    str
        ``1.2 MB``, ``at most 1.2 MB``, or ``not known``.
    """
    if size is not None:
        return f"{size / 1e6:,.1f} MB"
    return f"at most {estimate / 1e6:,.1f} MB" if estimate is not None else "not known"


def _print_results(made: FetchPlan, results: Sequence[FetchResult], folder: str, as_json: bool) -> None:
    from stac_sm.workflows.fetch import reasons

    counts = Counter(one.status for one in results)
    if as_json:
        click.echo(json.dumps({**made.to_dict(), "requests": [one.to_dict() for one in results]}, indent=2))
    else:
        facts = {status: counts[status] for status in ("fetched", "there", "empty", "queued", "failed")}
        print_result({**facts, "in the catalogue": made.listing.held}, False)
    for status, what, why in reasons(results):
        print_message(f"{status}: {what}: {why}")
    if any(one.has_file for one in results):
        print_message(f"next: stac-sm ingest {quote(str(made.folder))}{_where(folder)}")
    bad = [one for one in results if one.status in {"queued", "failed"}]
    exit_if_failed(
        bad,
        f"{len(bad)} of {len(results)} requests have no file yet: {_DO_AND_REPEAT}",
    )


def _where(folder: str) -> str:
    return "" if folder == "." else f" --project {quote(folder)}"


@click.command()
@project_option
@click.option("--period", default="last-30-days", show_default=True, help="last-30-days, 2019, 2019-06 or FIRST/LAST.")
@click.option("--tiles", help="Tile ids with commas between, e.g. h18v04.  [default: the project file's]")
@click.option("--model", help="Id of the model item.  [default: the only one]")
@click.option(
    "--accept-unskilled/--refuse-unskilled",
    default=True,
    show_default=True,
    help="Whether products are made with a model that is worse than its own input, too; the report says it.",
)
@workers_option
@json_option
def update(
    folder: str,
    period: str,
    tiles: str | None,
    model: str | None,
    accept_unskilled: bool,
    workers: int,
    as_json: bool,
) -> None:
    """Bring the product up to date: fetch what is new, ingest it, plan, run, index. For a scheduler.

    Prints one report. Inputs that cannot be fetched are named, and the rest is done: then, and if anything failed, the
    exit code is 1. What the services have not published yet is no failure. An update of this project that is at work on
    the same disk is left alone; elsewhere two at once publish nothing twice. Where the model is worse than its own
    input at unseen stations, the report says so.
    """
    from stac_sm.core.period import Period
    from stac_sm.workflows.fetch import today_utc
    from stac_sm.workflows.update import update_project

    project = open_project(folder)
    report = update_project(
        project,
        Period.parse_recent(period, today_utc()),
        tiles=parsed_tiles(project, tiles),
        model=model,
        accept_unskilled=accept_unskilled,
        workers=workers,
        say=print_message,
    )
    if report.busy:
        print_message("another update of this project is at work: nothing was done")
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        print_result(_update_facts(report), False)
    for source, reasons in report.asked_again.items():
        print_message(f"asked again: {source}: {'; '.join(reasons)}")
    for source, days in report.outdated.items():
        print_message(f"preliminary: {source} of {days} may be final by now: stac-sm update --period {days}")
    for what, why in report.not_yet.items():
        print_message(f"not yet: {what}: {why}")
    for what, why in report.cannot_fetch.items():
        print_message(f"cannot be fetched: {what}: {why}")
    for why in report.failures:
        print_message(f"failed: {why}")
    bad = [*report.cannot_fetch, *report.failures]
    exit_if_failed(
        bad,
        f"{len(bad)} inputs or steps failed, the rest is done: {_DO_AND_REPEAT}",
    )


def _update_facts(report: UpdateReport) -> dict[str, object]:
    """Return the report as facts for people."""

    def words(counts: Mapping[str, int]) -> str:
        return ", ".join(f"{number} {name}" for name, number in counts.items() if number) or "nothing"

    return {
        "period": report.period,
        "tiles": ", ".join(report.tiles),
        **{f"fetched {name}": words(counts) for name, counts in report.fetched.items()},
        "ingested": words(report.ingested),
        "planned": words(report.planned),
        **(
            {"blocked": ", ".join(f"{days} by {name}" for name, days in report.blocked_by.items())}
            if report.blocked_by
            else {}
        ),
        **({"skill": report.skill[0]} if report.skill else {}),
        "made": words(report.made),
        "indexed": words(report.indexed),
        "left out": words(
            {
                "cannot be fetched": len(report.cannot_fetch),
                "not published yet": len(report.not_yet),
                "preliminary that may be final": len(report.outdated),
                "failed": len(report.failures),
            }
        ),
        "seconds": round(report.seconds, 1),
    }
