"""Report the progress of a plan, from the store alone: anybody can ask, from anywhere.

``stac-sm status`` calls it. Items say what is done; the run log says why something failed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stac_sm.core.period import ONE_DAY, Period
from stac_sm.product.item import ProductDay
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.workflows.plan.existing_items import ExistingItems
from stac_sm.workflows.plan.plan import Plan
from stac_sm.workflows.run.run_log import ItemFailure, TaskRecord, newest_task_records, read_task_records

_QUIET = 900.0
"""Seconds without a new item after which nothing seems to run, where tasks are short."""


@dataclass(frozen=True)
class Status:
    """Progress of a plan."""

    plan: str
    """Id of the plan."""

    done: int
    """Tile-days that are there and up to date."""

    missing: int
    """Tile-days that are to be there and are not."""

    blocked: int
    """Tile-days without input when it was planned."""

    retracted: int
    """Tile-days that were withdrawn by hand."""

    failed: Mapping[str, int] = field(default_factory=dict)
    """Missing tile-days whose last task failed, by class of error."""

    examples: tuple[ItemFailure, ...] = ()
    """One failure of each class."""

    rate: float | None = None
    """Tile-days an hour: what the workers of now make, by the times of the newest tasks; None if none has ended."""

    workers: int = 0
    """Processes that were at work when the newest task ended."""

    quiet: float | None = None
    """Seconds since the newest item was written; None if there is none."""

    runs: bool = False
    """Whether something seems to run: the newest item is not older than two of the longest tasks take, or a quarter of
    an hour.
    """

    @property
    def hours_left(self) -> float | None:
        """Hours until all is there at this rate; None if nothing seems to run."""
        if not self.missing:
            return 0.0
        return self.missing / self.rate if self.rate and self.runs else None


def plan_status(catalog: WritableCatalog, plan: Plan, *, now: float | None = None) -> Status:
    """Compare a plan with what the store holds now.

    Parameters
    ----------
    catalog
        Catalogue with the product and the run log.
    plan
        The days that are to be there.
    now
        Seconds since 1970 by the store's clock; None: by the clock of this machine.

    Returns
    -------
    Status
        Counts, failures by class of error, and rate.
    """
    expected = [day.made for day in plan.days if day.state not in {"blocked", "retracted"} or day.redo]
    if not expected:
        counts = plan.counts
        return Status(plan.id, 0, 0, counts["blocked"], counts["retracted"])
    period = Period(min(made.day for made in expected), max(made.day for made in expected) + ONE_DAY)
    existing = ExistingItems.of(catalog, period)
    found = dict(zip(expected, existing.look_up(expected), strict=True))
    gone = [made for made, one in found.items() if one and one.retracted]
    done = [made for made, one in found.items() if one and one.fingerprint == made.fingerprint]
    settled = {*done, *gone}
    missing = [made for made in expected if made not in settled]
    failures = list(_last_failures(catalog, plan, missing))
    written = max((existing.listed[made.id].modified for made in done), default=None)
    pace = Pace.of(newest_task_records(catalog.store, plan=plan.id))
    quiet = None if written is None else (time.time() if now is None else now) - written
    return Status(
        plan.id,
        len(done),
        len(missing),
        plan.counts["blocked"],
        plan.counts["retracted"] + len(gone),
        dict(Counter(failure.kind for failure in failures).most_common()),
        tuple({failure.kind: failure for failure in reversed(failures)}.values()),
        pace.rate,
        pace.workers,
        quiet,
        quiet is not None and quiet <= max(_QUIET, 2 * pace.longest),
    )


@dataclass(frozen=True)
class Pace:
    """Speed at which the workers of now make tile-days."""

    workers: int
    """Processes at work when the newest task ended."""

    rate: float | None
    """Tile-days an hour of all of them; None if no task has made any."""

    longest: float
    """Wall time of the longest task, s."""

    @classmethod
    def of(cls, records: Sequence[TaskRecord]) -> Pace:
        """Count workers and rate by the records of tasks.

        The times at which items appear say nothing: a task publishes its days in bursts. A worker counts as at work
        if it has ended a task not longer before the newest one than two of the longest tasks take.

        Parameters
        ----------
        records
            The newest ones of a plan.

        Returns
        -------
        Pace
            Of no worker where there is no record.
        """
        made = [record for record in records if record.made]
        longest = max((record.seconds for record in made), default=0.0)
        last = max((record.ended for record in made), default=None)
        workers = {one.worker for one in made if last and (last - one.ended).total_seconds() <= 2 * longest}
        seconds, items = sum(record.seconds for record in made), sum(record.made for record in made)
        return cls(len(workers), len(workers) * items * 3600 / max(seconds, 1e-3) if items else None, longest)


def item_records(catalog: WritableCatalog, id: str) -> list[TaskRecord]:
    """Return the records of the tasks that have tried to make a tile-day: its log.

    Parameters
    ----------
    catalog
        Catalogue with the run log.
    id
        Id of the tile-day.

    Returns
    -------
    list of TaskRecord
        Oldest first.
    """
    made = ProductDay.of_id(id)
    return sorted(
        read_task_records(catalog.store, f"{made.day:%Y-%m}", tile=made.tile), key=lambda record: record.started
    )


def _last_failures(catalog: WritableCatalog, plan: Plan, missing: list[ProductDay]) -> Iterator[ItemFailure]:
    """Yield what the last task reported about each missing tile-day."""
    ids = {made.id for made in missing}
    last: dict[str, tuple[str, ItemFailure | None]] = {}
    for month in sorted({f"{made.day:%Y-%m}" for made in missing}):
        for record in read_task_records(catalog.store, month, plan=plan.id):
            for failure in record.failures:
                if failure.id in ids and record.started >= last.get(failure.id, ("", None))[0]:
                    last[failure.id] = (record.started, failure)
    return (failure for _, failure in last.values() if failure)
