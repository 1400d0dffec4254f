"""Keep the run log: what came of the tasks of runs, written beside the catalogue, for people.

What is done follows from the items alone, never from these files.

``runs/{YYYY}-{MM}/{tile}.{plan}.{run}.json`` is the record of one task, written once, by its worker;
``runs/{plan}.{run}.json`` is the report of a run. The record of a task of several months lies in the folder of the
first one, and its name ends on the last one: ``{tile}.{plan}.{run}.to-{YYYY}-{MM}.json``; they are of one year. So the
log of an item's task is found from its tile and month.
"""

from __future__ import annotations

import json
import logging
import secrets
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from stac_sm.core.grid import TileGrid
from stac_sm.product.product_id import tile_of
from stac_sm.stac.items import check_id, item_json
from stac_sm.storage.log_lines import LOGGER
from stac_sm.storage.signing import without_secrets
from stac_sm.storage.store import Store

RUN_LOG_FOLDER = "runs"
_TO = "to-"  # before the last month, in the name of a record of several
_MOST_LINES = 1000  # in a record: a task that retries for hours must not fill the store


class ItemFailure(NamedTuple):
    """Reason for which an item was not made."""

    id: str
    """Item id."""

    kind: str
    """Class of the error, e.g. ``ReadError``."""

    message: str
    """Which thing, what was found, what is required, what to do."""

    def place(self, grid: TileGrid) -> str:
        """Return where the item is: its tile, with its box in degrees.

        Parameters
        ----------
        grid
            The grid of the tile.

        Returns
        -------
        str
            As `TileGrid.describe` gives.
        """
        return grid.describe(tile_of(self.id))


@dataclass(frozen=True)
class TaskRecord:
    """Result of the task of one tile and month, or of months with few days."""

    task: str
    """Name of the task, e.g. ``h18v04 2019-07``, or ``h18v04 2019-03_2019-09`` of several months."""

    plan: str = ""
    """Id of the plan."""

    run: str = ""
    """Id of the run; empty for a task that is run for itself, which leaves no record."""

    worker: str = ""
    """Host and process."""

    started: str = ""
    """UTC, RFC 3339."""

    seconds: float = 0.0
    """Wall time, s."""

    outcomes: Mapping[str, int] = field(default_factory=dict)
    """Number of items by outcome: new, replaced, done."""

    failures: tuple[ItemFailure, ...] = ()
    """Items that were not made."""

    log: tuple[str, ...] = ()
    """Lines that were logged meanwhile, the first ones if there were very many."""

    @property
    def succeeded(self) -> bool:
        """Whether every item was made, or was there already."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form, with the fields of failures by name.

        Returns
        -------
        dict
            Fields by name.
        """
        return asdict(self) | {"failures": [failure._asdict() for failure in self.failures]}

    @property
    def made(self) -> int:
        """Number of items that it made; those that were there already do not count."""
        return self.outcomes.get("new", 0) + self.outcomes.get("replaced", 0)

    @property
    def ended(self) -> datetime:
        """When it ended, UTC, by the clock of its worker."""
        return datetime.fromisoformat(self.started) + timedelta(seconds=self.seconds)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TaskRecord:
        """Return the record from what `to_dict` returned.

        Parameters
        ----------
        content
            Fields by name.

        Returns
        -------
        TaskRecord
            Equal to the one before.
        """
        failures = tuple(ItemFailure(**one) for one in content["failures"])
        return cls(**{**content, "failures": failures, "log": tuple(content["log"])})


def new_run_id() -> str:
    """Return a new id of a run: when it began, and a token, so that two that begin at once differ.

    Returns
    -------
    str
        Ids sort by the time at which runs began.
    """
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def write_task_record(store: Store, record: TaskRecord) -> str:
    """Write the record of a task.

    Parameters
    ----------
    store
        Store of the catalogue.
    record
        What came of the task.

    Returns
    -------
    str
        Path below the root of the store.
    """
    tile, months = record.task.split()
    month, _, last = months.partition("_")
    name = f"{check_id(tile)}.{check_id(record.plan)}.{check_id(record.run)}{f'.{_TO}{last}' if last else ''}.json"
    path = f"{RUN_LOG_FOLDER}/{month}/{name}"
    store.create(path, item_json(record.to_dict()))
    return path


def read_task_records(store: Store, month: str, *, tile: str = "", plan: str = "") -> Iterator[TaskRecord]:
    """Read the records of tasks that have days in a month.

    Parameters
    ----------
    store
        Store of the catalogue.
    month
        Such as ``2019-07``.
    tile
        Tile id; empty for all.
    plan
        Id of a plan; empty for all.

    Yields
    ------
    TaskRecord
        In the order of tiles, plans and runs; those of tasks that began in an earlier month come first.
    """
    year, number = month.split("-")
    for folder in [f"{year}-{one:02d}" for one in range(1, int(number) + 1)]:
        for entry in store.list_objects(f"{RUN_LOG_FOLDER}/{folder}"):
            parts = entry.path.rpartition("/")[2].split(".")
            last = parts[3].removeprefix(_TO) if len(parts) == 5 else folder
            if len(parts) in {4, 5} and last >= month and tile in {"", parts[0]} and plan in {"", parts[1]}:
                yield TaskRecord.from_dict(json.loads(store.read(entry.path)))


def newest_task_records(store: Store, *, plan: str = "", most: int = 200) -> list[TaskRecord]:
    """Read the newest records, of all months.

    Parameters
    ----------
    store
        Store of the catalogue.
    plan
        Id of a plan; empty for all.
    most
        Number of records at most.

    Returns
    -------
    list of TaskRecord
        In the order in which they were written.
    """
    entries = [entry for entry in store.list_objects(RUN_LOG_FOLDER) if entry.path.count("/") == 2]
    chosen = [entry for entry in entries if not plan or f".{plan}." in entry.path]
    newest = sorted(chosen, key=lambda entry: entry.modified)[-most:]
    return [TaskRecord.from_dict(json.loads(store.read(entry.path))) for entry in newest]


def write_run_report(store: Store, plan: str, run: str, report: Mapping[str, Any]) -> str:
    """Write the report of a run.

    Parameters
    ----------
    store
        Store of the catalogue.
    plan
        Id of the plan.
    run
        Id of the run.
    report
        JSON-able.

    Returns
    -------
    str
        Path below the root of the store.
    """
    path = f"{RUN_LOG_FOLDER}/{check_id(plan)}.{check_id(run)}.json"
    store.create(path, item_json(dict(report)))
    return path


@contextmanager
def capture_log_lines() -> Iterator[list[str]]:
    """Keep the lines that are logged in this process meanwhile, with their time; secrets are cut out.

    Yields
    ------
    list of str
        Grows while the context is open.
    """
    heard = _Heard()
    LOGGER.addHandler(heard)
    level = LOGGER.level
    LOGGER.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield heard.lines
    finally:
        LOGGER.setLevel(level)
        LOGGER.removeHandler(heard)


class _Heard(logging.Handler):
    """Handler of logging that keeps lines."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.lines) < _MOST_LINES:
            trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
            when = datetime.fromtimestamp(record.created, UTC)
            text = f"{when:%H:%M:%S} {record.levelname.lower()} {record.getMessage()}"
            self.lines.append(without_secrets(f"{text}\n{trace}".strip()))
