"""Plan: the items that are wanted, less those that are proven. Reads metadata only.

It is worked out tile by tile and kept in columns, since a whole product has millions of tile-days: first what the items
of each collection say (`input_rows`), then the days of each tile (`tile_days`).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

from stac_sm.catalog import Catalog
from stac_sm.errors import InputError
from stac_sm.fingerprint import Fingerprints, input_texts
from stac_sm.grid import TileGrid
from stac_sm.model import Model
from stac_sm.period import Period
from stac_sm.planned import STATES, Days, PlannedDay, Task
from stac_sm.planning import PlannedTile, Progress, planned_tiles
from stac_sm.products import ProductDay, tile_fingerprints
from stac_sm.resolution import Resolution
from stac_sm.tile_days import Reads, Wanted

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "STATES", "Plan", "PlannedDay", "Reads", "Task", "make_plan", "parts_of", "wanted_day",
]  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What is wanted from one model, and what there is of it."""

    model: str
    """Id of the model item."""

    days: Sequence[PlannedDay]
    """In the order of tiles and days; kept in columns."""

    reads: Reads | None = field(default=None, compare=False)
    """What its tasks read; None of a plan that was read from a file."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "days", Days.of(self.days))

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of tile-days by state."""
        found = Counter(self.columns.table["state"].to_pylist())
        return {state: found.get(state, 0) for state in STATES}

    @cached_property
    def blocked_by(self) -> dict[str, int]:
        """Number of blocked tile-days by feature without input, most first."""
        return _counted(self.columns.only(["blocked"]).table["blocked_by"])

    @cached_property
    def changed(self) -> dict[str, int]:
        """Number of stale tile-days by part of the fingerprint that has changed, and by input that came (``+ID``) or
        went (``-ID``), most first; ``unknown`` where the item does not tell.
        """
        found = self.columns.only(["stale"]).table["changed"]
        unknown = sum(not one for one in found.to_pylist())
        return _counted(found) | ({"unknown": unknown} if unknown else {})

    @cached_property
    def id(self) -> str:
        """What names the plan: it follows from what is wanted, and not from what is done."""
        text = hashlib.sha256(f"[{json.dumps(self.model)}".encode())
        numbers = iter(self.columns.table["fingerprint"].to_pylist())
        for ids in self.columns.ids():
            text.update("".join(f',["{id}","{next(numbers)}"]' for id in ids).encode())
        text.update(b"]")
        return text.hexdigest()[:12]

    @property
    def done(self) -> list[ProductDay]:
        """The tile-days that were done when it was planned."""
        return list(self.columns.only(["done"]).made())

    @property
    def to_do(self) -> Sequence[PlannedDay]:
        """The tile-days to make, without their inputs."""
        return self.columns.only(["new", "stale"])

    @property
    def columns(self) -> Days:
        """The days as they are kept."""
        return Days.of(self.days)

    def tasks(self) -> Iterator[Task]:
        """What is to do, in units of one tile and one month."""
        return self.columns.only(["new", "stale"]).tasks(self.model)


def make_plan(
    catalog: Catalog,
    model: Model,
    tiles: Iterable[str],
    period: Period,
    *,
    grid: TileGrid,
    version: str,
    redo_retracted: bool = False,
    workers: int = 1,
    progress: Progress = lambda total: None,
    each: Callable[[PlannedTile], None] = lambda tile: None,
) -> Plan:
    """Compare what is wanted with what is in the catalogue.

    Parameters
    ----------
    redo_retracted
        Whether what was retracted is to be made again.
    workers
        Processes.
    progress
        Told the number of tiles, whenever one is planned.
    each
        Given each tile while others are still being planned, in their order: `PlanFile.add` writes them.

    Raises
    ------
    InputError
        If no tile is wanted, or a tile is not in the grid.
    CatalogError
        If a collection of the recipe is missing.
    """
    names = sorted(set(tiles))
    if not names:
        raise InputError("plan: no tile wanted: name tiles (h18v04) or a box in degrees that meets some")
    for name in names:
        grid.column_row(name)
    wanted = Wanted(model.cube_recipe(), model.checksum, grid, period, version, redo_retracted)
    found = []
    for tile in planned_tiles(catalog, wanted, names, workers=workers, progress=progress):
        each(tile)
        found.append(tile)
    return Plan(model.id, _joined(found), sum((one.reads for one in found), Reads()))


def wanted_day(
    resolution: Resolution, model: Model, tile: str, day: date, *, grid: TileGrid, version: str
) -> PlannedDay:
    """The tile-day that the catalogue's inputs and a model make, with its fingerprint; state ``new`` or ``blocked``.

    For a few days; `make_plan` gives the same for many.
    """
    inputs = resolution.inputs(day)
    number = _fingerprints(model, grid, tile).of(day.isoformat(), input_texts(inputs))
    missing = tuple(resolution.blocked_by(day))
    made = ProductDay(tile, day, version, number)
    return PlannedDay(made, "blocked" if missing else "new", missing, tuple(inputs))


def parts_of(model: Model, grid: TileGrid, planned: PlannedDay) -> dict[str, str]:
    """8 hex digits of each part of the fingerprint of a day from `wanted_day`: what ``stac_sm:parts`` holds."""
    return _fingerprints(model, grid, planned.made.tile).parts(input_texts(planned.inputs))


def _fingerprints(model: Model, grid: TileGrid, tile: str) -> Fingerprints:
    return tile_fingerprints(grid, tile, recipe=model.cube_recipe(), model=model.checksum)


def _joined(found: Sequence[PlannedTile]) -> Days:
    import pyarrow as pa

    table = pa.concat_tables([one.days for one in found]).unify_dictionaries()
    return Days(table, [one.part for one in found])


def _counted(lists: pa.ChunkedArray) -> dict[str, int]:
    found = Counter(name for names in lists.to_pylist() for name in names)
    return dict(found.most_common())
