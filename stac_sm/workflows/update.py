"""Bring a project up to date in one call: fetch what is new, ingest it, plan, run, index.

Made for a scheduler: what cannot be fetched is named in the report, and the rest is done. There is no state but the
catalogue and the fetched files, so that an update that was stopped is simply run again. Two at once publish nothing
twice, by the commit rule; on a local disk the second one ends at once, since a lock in the folder of fetched files says
that the first is at work.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from stac_sm.core.errors import InputError, StacSmError
from stac_sm.core.period import Period
from stac_sm.core.progress import ProgressBar
from stac_sm.fetch.registry import fetch_sources
from stac_sm.fetch.request import ByHand
from stac_sm.ingest.pipeline import ingest_sorted
from stac_sm.ingest.results import FileResult
from stac_sm.model.skill import skill_sentences, unskilled
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.index.update import refresh_and_index
from stac_sm.storage.disk_lock import lock_file
from stac_sm.workflows.fetch import carry_out, fetch_folder, own_features, plan_fetch, reasons
from stac_sm.workflows.plan.plan_file import read_plan
from stac_sm.workflows.plan.project_plan import plan_project
from stac_sm.workflows.project import Project
from stac_sm.workflows.run.run import run_plan

LOCK = ".update.lock"
"""File in the folder of fetched files that an update holds."""


@dataclass
class UpdateReport:
    """What an update did."""

    period: str
    """Days that were brought up to date."""

    tiles: Sequence[str]
    """Ids of the tiles."""

    fetched: dict[str, dict[str, int]] = field(default_factory=dict)
    """Number of requests by source and status."""

    cannot_fetch: dict[str, str] = field(default_factory=dict)
    """Inputs that could not be fetched, and what to do."""

    not_yet: dict[str, str] = field(default_factory=dict)
    """What services have not published yet, or have not: no failure."""

    asked_again: dict[str, list[str]] = field(default_factory=dict)
    """Why values are asked for of which the catalogue has something, by source: no failure."""

    outdated: dict[str, str] = field(default_factory=dict)
    """Days before the period whose values in the catalogue are preliminary and may be final by now, by source: no
    failure, an update of these days asks for them again."""

    ingested: dict[str, int] = field(default_factory=dict)
    """Number of files by outcome of ingest."""

    planned: dict[str, int] = field(default_factory=dict)
    """Number of tile-days by state."""

    blocked_by: dict[str, int] = field(default_factory=dict)
    """Number of blocked tile-days by input that is missing."""

    made: dict[str, int] = field(default_factory=dict)
    """Number of tile-days by outcome of the run."""

    indexed: dict[str, int] = field(default_factory=dict)
    """Number of items in the index, by collection that was brought up to date."""

    skill: list[str] = field(default_factory=list)
    """Skill of the model at unseen sites, where it is worse than its own input."""

    failures: list[str] = field(default_factory=list)
    """What failed, and why."""

    seconds: float = 0.0
    """Wall time, s."""

    busy: bool = False
    """Whether another update of this project was at work, so that this one did nothing."""

    @property
    def succeeded(self) -> bool:
        """Whether everything that the period needs was fetched and made, but for what is not published yet."""
        return not self.failures and not self.cannot_fetch

    def to_dict(self) -> dict[str, Any]:
        """Return the report, ready for JSON.

        Returns
        -------
        dict
            Its fields by their names, and ``succeeded``.
        """
        return {**vars(self), "tiles": list(self.tiles), "seconds": round(self.seconds, 1), "succeeded": self.succeeded}


def update_project(
    project: Project,
    period: Period,
    *,
    tiles: Sequence[str] = (),
    model: str | None = None,
    accept_unskilled: bool = True,
    workers: int = 2,
    say: Callable[[str], None] = lambda line: None,
    today: date | None = None,
) -> UpdateReport:
    """Fetch, ingest, plan, run and index what is new in a period.

    Parameters
    ----------
    project
        Its recipe says which sources are asked.
    period
        Days of the product.
    tiles
        Tile ids; none: those of the project file.
    model
        Id of the model item; None: the only one.
    accept_unskilled
        Whether products are made with a model that is worse than its own input at unseen sites, which the report says
        then; else that is a failure, as `plan` has it.
    workers
        Processes of ingest and of the run.
    say
        Called with one line about each step.
    today
        Current day, UTC; None: the machine's.

    Returns
    -------
    UpdateReport
        What was done, and what could not be.

    Raises
    ------
    InputError
        If no tiles are given, there or in the project file.
    """
    chosen = tuple(tiles) or project.product.tiles
    if not chosen:
        raise InputError("no tiles found: --tiles is required, or tiles under [product] in the project file")
    report, began = UpdateReport(str(period), chosen), time.monotonic()
    with lock_file(fetch_folder(project) / LOCK) as holder:
        if holder is None:
            _update(project, period, model, accept_unskilled, workers, say, today, report)
        else:
            report.busy = True
    report.seconds = time.monotonic() - began
    return report


def _update(
    project: Project,
    period: Period,
    model: str | None,
    accept_unskilled: bool,
    workers: int,
    say: Callable[[str], None],
    today: date | None,
    report: UpdateReport,
) -> None:
    files = _fetch(project, period, say, today, report)
    changed = _ingest(project, files, workers, say, report)
    try:
        _make(project, period, model, accept_unskilled, workers, say, report)
    except StacSmError as error:
        report.failures.append(str(error))
    for collection in sorted({*changed, PRODUCT_COLLECTION}):
        try:
            made = refresh_and_index(project.catalog, collection, workers=1)
        except StacSmError as error:
            report.failures.append(f"index of {collection}: {error}")
            continue
        report.indexed[collection] = sum(month.items for month in made.months)
        report.failures += [f"index of {collection}: {why}" for why in made.failures.values()]


def _fetch(
    project: Project, period: Period, say: Callable[[str], None], today: date | None, report: UpdateReport
) -> list[Path]:
    """Fetch from every source of the recipe that can be; return the files that the catalogue lacks."""
    files: list[Path] = []
    needed = {one.collection for one in own_features(project)}
    for name, source in fetch_sources().items():
        if isinstance(source, ByHand) or not needed & {*source.collections}:
            continue
        try:
            plan = plan_fetch(project, name, period=period, tiles=report.tiles, today=today)
        except StacSmError as error:
            report.cannot_fetch[name] = str(error)
            continue
        say(f"fetch {name}: {len(plan.listing.requests)} requests, {plan.listing.held} in the catalogue")
        if plan.listing.why_again:
            report.asked_again[name] = list(plan.listing.why_again)
        results = carry_out(plan, say=say)
        report.fetched[name] = dict(Counter(one.status for one in results))
        files += [one.request.file for one in results if one.has_file]
        if plan.listing.outdated is not None:
            report.outdated[name] = str(plan.listing.outdated)
        for status, what, why in reasons(results):
            (report.not_yet if status == "empty" else report.cannot_fetch)[f"{name}: {what}"] = why
    return files


def _ingest(
    project: Project, files: Sequence[Path], workers: int, say: Callable[[str], None], report: UpdateReport
) -> set[str]:
    """Ingest files; return the collections that have new items."""
    if not files:
        return set()
    say(f"ingest {len(files)} files")
    try:
        results: list[FileResult] = ingest_sorted(
            project.catalog, list(files), settings=project.sources, workers=min(workers, len(files))
        )
    except StacSmError as error:
        report.failures.append(f"ingest: {error}")
        return set()
    report.ingested = dict(Counter(one.status for one in results))
    report.failures += [f"ingest: {one.error}" for one in results if one.error is not None]
    return {id for one in results if one.changed for id in one.collections}


def _make(
    project: Project,
    period: Period,
    model: str | None,
    accept_unskilled: bool,
    workers: int,
    say: Callable[[str], None],
    report: UpdateReport,
) -> None:
    """Plan and run."""
    found = plan_project(project, report.tiles, period, model=model, accept_unskilled=accept_unskilled, workers=workers)
    if unskilled(found.model.skill or ()):
        report.skill = skill_sentences(found.model.skill or ())
        say(f"model {found.model.id}: {report.skill[0]}")
    report.planned, report.blocked_by = dict(found.plan.counts), dict(found.plan.blocked_by)
    _name_sources(found.missing_inputs, report)
    if not found.plan.to_do:
        return
    say(f"run {found.plan.id}: {len(found.plan.to_do)} tile-days")
    with ProgressBar("run", "tile-days", say) as progress:
        run = run_plan(project, read_plan(found.href), workers=workers, progress=progress.step, warn=say)
    report.made = dict(run.outcomes)
    report.failures += [f"run: {one.id}: {one.message}" for one in run.failures]


def _name_sources(missing: Sequence[Mapping[str, Any]], report: UpdateReport) -> None:
    """Name the inputs without which days are blocked, and who gives them: a person, or nobody that is known."""
    by_collection = {id: (name, one) for name, one in fetch_sources().items() for id in one.collections}
    for one in missing:
        collection, days = one["collection"], one["tile_days"]
        name, source = by_collection.get(collection, ("", None))
        what = f"{one['input']} (collection {collection}, {days} tile-days)"
        if one["climatology"]:
            by_hand = f"`stac-sm fetch {name}` says what to select"
            fetched = by_hand if isinstance(source, ByHand) else f"`stac-sm fetch {name} --climatology` fetches them"
            report.cannot_fetch[what] = (
                f"the mean of {one['climatology']} is not there: `stac-sm climatology` makes it of the ingested days"
                + (f"; {fetched}" if source is not None else "")
            )
        elif isinstance(source, ByHand):
            report.cannot_fetch[what] = f"{source.why}: `stac-sm fetch {name}` says what to select at {source.page}"
        elif source is None:
            report.cannot_fetch[what] = "no service is known for it: ingest its files"
        elif not any(key == name or key.startswith(f"{name}: ") for key in report.cannot_fetch):
            report.not_yet[what] = f"{name} has nothing of these days yet"
