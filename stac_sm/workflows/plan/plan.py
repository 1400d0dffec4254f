"""Plan: compare the tile-days that are to be made with the items that are up to date. Only metadata are read.

First the items of each input collection are listed, by parts of a year (`item_rows`); then the days of each tile are
planned (`tile_planner`), in this process or in several, with the same result. Tiles come one after another and days
are kept in columns, since a whole product has millions of tile-days. `plan_file` writes the plan.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stac_sm.core.errors import CatalogError, InputError
from stac_sm.core.fingerprint import Fingerprints, input_texts
from stac_sm.core.grid import TileGrid
from stac_sm.core.parallel import process_pool
from stac_sm.core.period import Period
from stac_sm.core.progress import ProgressCallback
from stac_sm.features.inputs import ResolvedInputs
from stac_sm.features.recipe import Feature
from stac_sm.model.model import Model
from stac_sm.product.item import ProductDay, tile_fingerprints
from stac_sm.stac.catalogs.catalog import open_writable_catalog
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.simulated import is_simulated
from stac_sm.storage.store import Store, open_store
from stac_sm.workflows.plan.existing_items import ExistingItems, existing_item_rows
from stac_sm.workflows.plan.input_table import InputTable, has_own_layout, scan_jobs
from stac_sm.workflows.plan.item_rows import InputRows, ScanJob, read_input_rows
from stac_sm.workflows.plan.planned_days import STATES, InputsChunk, PlannedDay, PlannedDays, Task
from stac_sm.workflows.plan.tile_planner import PlannedTileDays, PlanSettings, ReadVolume, TilePlanner, widest

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class PlannedTile:
    """The days of one tile, and where their inputs lie."""

    days: pa.Table
    """Columns of `planned_days.days_schema`."""

    part: InputsChunk
    """Their inputs."""

    reads: ReadVolume
    """What its tasks read."""

    left_out: Mapping[str, str]
    """See `Plan.left_out`."""

    days_found: Mapping[str, tuple[int, int]]
    """See `Plan.days_found`."""


def plan_tiles(
    catalog: WritableCatalog, settings: PlanSettings, tiles: Sequence[str], *, workers: int, progress: ProgressCallback
) -> Iterator[PlannedTile]:
    """Plan the days of tiles, one tile after another.

    Parameters
    ----------
    catalog
        Catalogue with inputs and product.
    settings
        What is planned, for all tiles alike.
    tiles
        Tile ids.
    workers
        Processes; with one, all is done in this one, by the catalogue's own store.
    progress
        Called with the number of parts, whenever one is done.

    Yields
    ------
    PlannedTile
        Of each tile, in their order.

    Raises
    ------
    CatalogError
        If a collection is missing, or an item that is needed makes no sense.
    """
    own, missing = [], []
    for feature in settings.recipe.sources:
        try:
            own += [feature] if has_own_layout(catalog, feature) else []
        except CatalogError as error:
            missing.append(str(error))
    if missing:  # all of them, since each may take an ingest
        raise CatalogError("; ".join(dict.fromkeys(missing)))
    one_by_one = _here(catalog, settings, own, tiles)
    for one in one_by_one if workers < 2 else _in_processes(catalog, settings, own, tiles, workers):
        progress(len(tiles))
        yield one


def _here(
    catalog: WritableCatalog, settings: PlanSettings, own: Sequence[Feature], tiles: Sequence[str]
) -> Iterator[PlannedTile]:
    store = catalog.store
    jobs = _jobs(catalog, settings, own)
    tables = _tables(jobs, {name: [read_input_rows(store, job) for job in jobs[name]] for name in jobs}, "")
    planner = TilePlanner(settings, catalog, tables)
    existing = ExistingItems.of(catalog, settings.period)
    for tile in tiles:
        found = planner.tile(tile, existing)
        part = InputsChunk(len(found.days), _constant_loader(found.inputs))
        yield PlannedTile(found.days, part, found.reads, found.left_out, found.days_found)


def _constant_loader(inputs: pa.Array) -> Callable[[], pa.Array]:
    return lambda: inputs


def _jobs(catalog: WritableCatalog, settings: PlanSettings, own: Sequence[Feature]) -> dict[str, list[ScanJob]]:
    """Return the jobs by collection."""
    features: dict[str, list[Feature]] = {}
    for feature in own:
        features.setdefault(feature.collection, []).append(feature)
    return {name: scan_jobs(catalog, name, of, settings.period) for name, of in features.items()}


def _tables(
    jobs: Mapping[str, Sequence[ScanJob]], found: Mapping[str, Sequence[InputRows]], folder: str
) -> dict[str, InputTable]:
    return {name: InputTable.of(name, jobs[name][0].requests, found[name], folder) for name in jobs if jobs[name]}


@dataclass(frozen=True)
class _Shared:
    """What the processes that plan tiles share: a file in a folder of its own."""

    root: str
    settings: PlanSettings
    tables: Mapping[str, InputTable]
    rows: Mapping[str, tuple[int, int]]  # of a tile in the table of what there is


class _Scratch:
    """Folder that is removed when nothing refers to it any more."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="stac-sm-plan-")
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)


def _in_processes(
    catalog: WritableCatalog, settings: PlanSettings, own: Sequence[Feature], tiles: Sequence[str], workers: int
) -> Iterator[PlannedTile]:
    scratch, root = _Scratch(), catalog.store.root
    # Not `map_jobs`: three kinds of jobs overlap in one pool, and the planning of tiles needs what the others found.
    with process_pool(workers, short=True) as pool:
        jobs = _jobs(catalog, settings, own)
        found = {name: pool.map(_rows, [(root, job) for job in jobs[name]]) for name in jobs}
        months = pool.map(_month, [(root, month) for month in settings.period.months()])  # while tables are joined here
        tables = _tables(jobs, found, scratch.folder)  # type: ignore[arg-type]
        rows = _by_tile(list(months), scratch.folder)
        Path(scratch.folder, "shared").write_bytes(pickle.dumps(_Shared(root, settings, tables, rows)))
        made = pool.map(_tile, [(scratch.folder, tile) for tile in tiles])
        for tile, (days, reads, left_out, short) in zip(tiles, made, strict=True):
            yield PlannedTile(days, InputsChunk(len(days), _saved(scratch, tile)), reads, left_out, short)


def _month(job: tuple[str, Period]) -> pa.Table:
    """List the items of the product in a month; runs in a process."""
    return existing_item_rows(open_store(job[0]), job[1])


def _rows(job: tuple[str, ScanJob]) -> InputRows:
    """Read the items of a collection; runs in a process."""
    return read_input_rows(open_store(job[0]), job[1])


def _tile(job: tuple[str, str]) -> tuple[pa.Table, ReadVolume, Mapping[str, str], Mapping[str, tuple[int, int]]]:
    """Plan the days of a tile, and leave their inputs in a file; runs in a process."""
    folder, tile = job
    planner, rows, store = _planner(folder)
    first, last = rows.get(tile, (0, 0))
    found = planner.tile(tile, ExistingItems.of_rows(store, _listed_items(folder).slice(first, last - first)))
    _save(found, Path(folder, f"{tile}.inputs"))
    return found.days, found.reads, found.left_out, found.days_found


@lru_cache(maxsize=1)
def _planner(folder: str) -> tuple[TilePlanner, Mapping[str, tuple[int, int]], Store]:
    shared: _Shared = pickle.loads(Path(folder, "shared").read_bytes())
    catalog = open_writable_catalog(shared.root)
    return TilePlanner(shared.settings, catalog, shared.tables), shared.rows, catalog.store


@lru_cache(maxsize=1)
def _listed_items(folder: str) -> pa.Table:
    import pyarrow as pa

    return pa.ipc.open_file(pa.memory_map(str(Path(folder, "products.arrow")))).read_all()


def _by_tile(months: Sequence[pa.Table], folder: str) -> dict[str, tuple[int, int]]:
    """Keep the existing items of the product in the order of tiles; return the rows of each."""
    import pyarrow as pa

    table = pa.concat_tables(months).sort_by([("tile", "ascending"), ("id", "ascending")]).combine_chunks()
    with pa.OSFile(str(Path(folder, "products.arrow")), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    counts = table["tile"].value_counts().to_pylist()
    ends = [0]
    for one in counts:
        ends.append(ends[-1] + one["counts"])
    return {one["values"]: span for one, span in zip(counts, pairwise(ends), strict=True)}


def _save(found: PlannedTileDays, file: Path) -> None:
    import pyarrow as pa

    batch = pa.record_batch([found.inputs], names=["inputs"])
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)


def _saved(scratch: _Scratch, tile: str) -> Callable[[], Any]:
    """Return a function that reads the inputs of a tile again; the folder stays as long as the function does."""

    def load() -> Any:
        import pyarrow as pa

        with pa.OSFile(str(Path(scratch.folder, f"{tile}.inputs"))) as file:
            return pa.ipc.open_file(file).read_all()["inputs"].combine_chunks()

    return load


@dataclass(frozen=True)
class Plan:
    """The tile-days that are to be made with one model, and the state of each."""

    model: str
    """Id of the model item."""

    days: Sequence[PlannedDay]
    """In the order of tiles and days; kept in columns."""

    reads: ReadVolume | None = field(default=None, compare=False)
    """What its tasks read; None of a plan that was read from a file."""

    left_out: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Input items that would count, but for a value that cannot be right: id and asset key, as ``ID/KEY``, or the id
    of a document that is no item; and why. The days are planned without them."""

    days_found: Mapping[str, tuple[int, int]] = field(default_factory=dict, compare=False)
    """Features with too little history on some days: fewest and most days of their average that have input, on these
    days."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "days", PlannedDays.of(self.days))

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
    def blocked_days(self) -> dict[str, list[date]]:
        """Days on which any tile is blocked, in order, by the feature without input."""
        table = self.columns.only(["blocked"]).table
        found: dict[str, set[date]] = {}
        for names, day in zip(table["blocked_by"].to_pylist(), table["day"].to_pylist(), strict=True):
            for name in names:
                found.setdefault(name, set()).add(day)
        return {name: sorted(days) for name, days in found.items()}

    @cached_property
    def changed(self) -> dict[str, int]:
        """Number of stale tile-days by what has changed, most first.

        That is a part of the fingerprint, an input that came (``+ID``) or went (``-ID``), or ``unknown`` where the item
        does not state what it was made from.
        """
        found = self.columns.only(["stale"]).table["changed"]
        unknown = sum(not one for one in found.to_pylist())
        return _counted(found) | ({"unknown": unknown} if unknown else {})

    @cached_property
    def id(self) -> str:
        """Name of the plan: it follows from what is to be there, and not from what is done."""
        text = hashlib.sha256(f"[{json.dumps(self.model)}".encode())
        numbers = iter(self.columns.table["fingerprint"].to_pylist())
        for ids in self.columns.ids():
            text.update("".join(f',["{id}","{next(numbers)}"]' for id in ids).encode())
        text.update(b"]")
        return text.hexdigest()[:12]

    @property
    def done(self) -> list[ProductDay]:
        """Tile-days that were done when it was planned."""
        return list(self.columns.only(["done"]).made())

    @property
    def to_do(self) -> Sequence[PlannedDay]:
        """Tile-days to make, without their inputs."""
        return self.columns.only(["new", "stale"])

    @property
    def columns(self) -> PlannedDays:
        """Days as they are kept."""
        return PlannedDays.of(self.days)

    @cached_property
    def tiles(self) -> list[str]:
        """Ids of its tiles, in their order."""
        return sorted(set(self.columns.table["tile"].unique().to_pylist()))

    def of_tiles(self, tiles: Collection[str]) -> Plan:
        """Return the part of the plan that lies on some tiles.

        Parameters
        ----------
        tiles
            Tile ids; those that the plan does not have are passed over.

        Returns
        -------
        Plan
            Without days if it has none of them. Its id is another one.
        """
        return replace(self, days=self.columns.of_tiles(tiles), reads=None)

    def tasks(self) -> Iterator[Task]:
        """Return what is to do, in units of one tile and one month, or of months with few days.

        Returns
        -------
        iterator of Task
            In the order of tiles and months.
        """
        return self.columns.only(["new", "stale"]).tasks(self.model)


def make_plan(
    catalog: WritableCatalog,
    model: Model,
    tiles: Iterable[str],
    period: Period,
    *,
    grid: TileGrid,
    version: str,
    redo_retracted: bool = False,
    workers: int = 1,
    progress: ProgressCallback = lambda total: None,
    each: Callable[[PlannedTile], None] = lambda tile: None,
) -> Plan:
    """Compare the tile-days that are to be there with what is in the catalogue.

    Parameters
    ----------
    catalog
        Catalogue with inputs and product.
    model
        Model that makes the days.
    tiles
        Tile ids.
    period
        UTC days.
    grid
        Tile grid.
    version
        Product version, e.g. ``001``.
    redo_retracted
        Whether withdrawn tile-days are to be made again.
    workers
        Processes.
    progress
        Called with the number of tiles, whenever one is planned.
    each
        Called with each tile while others are still being planned, in their order: `PlanWriter.add` writes them.

    Returns
    -------
    Plan
        The days in the order of tiles and days.

    Raises
    ------
    InputError
        If there are no tiles, or a tile is not in the grid.
    CatalogError
        If a collection of the recipe is missing.
    """
    names = sorted(set(tiles))
    if not names:
        raise InputError("plan: no tile found: name tiles (h18v04) or a box in degrees that meets some")
    for name in names:
        grid.column_row(name)
    simulated = is_simulated(catalog)
    settings = PlanSettings(model.cube_recipe(), model.checksum, grid, period, version, redo_retracted, simulated)
    found = []
    for tile in plan_tiles(catalog, settings, names, workers=workers, progress=progress):
        each(tile)
        found.append(tile)
    left_out = {name: why for one in found for name, why in one.left_out.items()}
    return Plan(
        model.id,
        _joined(found),
        sum((one.reads for one in found), ReadVolume()),
        dict(sorted(left_out.items())),
        widest(*(one.days_found for one in found)),
    )


def planned_day(
    resolved: ResolvedInputs,
    model: Model,
    tile: str,
    day: date,
    *,
    grid: TileGrid,
    version: str,
    simulated: bool = False,
) -> PlannedDay:
    """Return the tile-day that resolved inputs and a model make, with its fingerprint; state ``new`` or ``blocked``.

    This is for a few days; `make_plan` gives the same for many.

    Parameters
    ----------
    resolved
        Items of each feature and day of the tile.
    model
        Model that makes the day.
    tile
        Tile id.
    day
        UTC day.
    grid
        Tile grid.
    version
        Product version.
    simulated
        Whether the catalogue holds a simulated Earth.

    Returns
    -------
    PlannedDay
        With its inputs.
    """
    inputs = resolved.inputs(day)
    number = _fingerprints(model, grid, tile, simulated).of(day.isoformat(), input_texts(inputs))
    missing = tuple(resolved.blocked_by(day))
    made = ProductDay(tile, day, version, number)
    return PlannedDay(made, "blocked" if missing else "new", missing, tuple(inputs))


def day_fingerprint_parts(
    model: Model, grid: TileGrid, planned: PlannedDay, *, simulated: bool = False
) -> dict[str, str]:
    """Return each part of the fingerprint of a day from `planned_day`: what ``stac_sm:parts`` holds.

    Parameters
    ----------
    model
        Model that makes the day.
    grid
        Tile grid.
    planned
        The day, with its inputs.
    simulated
        Whether the catalogue holds a simulated Earth.

    Returns
    -------
    dict of str to str
        Name of the part -> 8 hexadecimal digits.
    """
    return _fingerprints(model, grid, planned.made.tile, simulated).parts(input_texts(planned.inputs))


def _fingerprints(model: Model, grid: TileGrid, tile: str, simulated: bool) -> Fingerprints:
    return tile_fingerprints(grid, tile, recipe=model.cube_recipe(), model=model.checksum, simulated=simulated)


def _joined(found: Sequence[PlannedTile]) -> PlannedDays:
    import pyarrow as pa

    table = pa.concat_tables([one.days for one in found]).unify_dictionaries()
    return PlannedDays(table, [one.part for one in found])


def _counted(lists: pa.ChunkedArray) -> dict[str, int]:
    found = Counter(name for names in lists.to_pylist() for name in names)
    return dict(found.most_common())
