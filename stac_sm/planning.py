"""Planning: the days of many tiles, worked out in several processes; the same in one.

First the items of each collection are listed, by parts of a year; then each tile takes what meets it.
"""

from __future__ import annotations

import pickle
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stac_sm.catalog import Catalog, open_catalog
from stac_sm.input_rows import InputRows, Job, read_rows
from stac_sm.item_tables import ItemTable, is_ours, jobs_of
from stac_sm.period import Period
from stac_sm.planned import Part
from stac_sm.pool import process_pool
from stac_sm.recipe import Feature
from stac_sm.standing import Standing, month_rows
from stac_sm.store import Store, open_store
from stac_sm.tile_days import Reads, TileDays, TilePlanner, Wanted

if TYPE_CHECKING:
    import pyarrow as pa

Progress = Callable[[int], None]
"""Told the number of tiles, whenever one is planned."""


@dataclass(frozen=True)
class PlannedTile:
    """The days of one tile, and where their inputs lie."""

    days: pa.Table
    """Columns of `planned.days_schema`."""

    part: Part
    """Their inputs."""

    reads: Reads
    """What its tasks read."""


def planned_tiles(
    catalog: Catalog, wanted: Wanted, tiles: Sequence[str], *, workers: int, progress: Progress
) -> Iterator[PlannedTile]:
    """Planned days of each tile, in their order.

    Parameters
    ----------
    workers
        Processes; with one, all is done in this one, by the catalogue's own store.

    Raises
    ------
    CatalogError
        If a collection is missing, or an item that is needed makes no sense.
    """
    own = [feature for feature in wanted.recipe.sources if is_ours(catalog, feature)]
    one_by_one = _here(catalog, wanted, own, tiles)
    for one in one_by_one if workers < 2 else _in_processes(catalog, wanted, own, tiles, workers):
        progress(len(tiles))
        yield one


def _here(catalog: Catalog, wanted: Wanted, own: Sequence[Feature], tiles: Sequence[str]) -> Iterator[PlannedTile]:
    store = catalog.store
    jobs = _jobs(catalog, wanted, own)
    tables = _tables(jobs, {name: [read_rows(store, job) for job in jobs[name]] for name in jobs}, "")
    planner = TilePlanner(wanted, catalog, tables)
    standing = Standing.of(catalog, wanted.period)
    for tile in tiles:
        found = planner.tile(tile, standing)
        yield PlannedTile(found.days, Part(len(found.days), _given(found.inputs)), found.reads)


def _given(inputs: pa.Array) -> Callable[[], pa.Array]:
    return lambda: inputs


def _jobs(catalog: Catalog, wanted: Wanted, own: Sequence[Feature]) -> dict[str, list[Job]]:
    """Jobs by collection."""
    features: dict[str, list[Feature]] = {}
    for feature in own:
        features.setdefault(feature.collection, []).append(feature)
    return {name: jobs_of(catalog, name, of, wanted.period) for name, of in features.items()}


def _tables(
    jobs: Mapping[str, Sequence[Job]], found: Mapping[str, Sequence[InputRows]], folder: str
) -> dict[str, ItemTable]:
    return {name: ItemTable.of(name, jobs[name][0].requests, found[name], folder) for name in jobs if jobs[name]}


@dataclass(frozen=True)
class _Shared:
    """What the processes that plan tiles share: a file in a folder of its own."""

    root: str
    wanted: Wanted
    tables: Mapping[str, ItemTable]
    rows: Mapping[str, tuple[int, int]]  # of a tile in the table of what there is


class _Scratch:
    """A folder that goes when nobody needs it any more."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="stac-sm-plan-")
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)


def _in_processes(
    catalog: Catalog, wanted: Wanted, own: Sequence[Feature], tiles: Sequence[str], workers: int
) -> Iterator[PlannedTile]:
    scratch, root = _Scratch(), catalog.store.root
    with _pool(workers) as pool:
        jobs = _jobs(catalog, wanted, own)
        found = {name: pool.map(_rows, [(root, job) for job in jobs[name]]) for name in jobs}
        months = pool.map(_month, [(root, month) for month in wanted.period.months()])  # while tables are joined here
        tables = _tables(jobs, found, scratch.folder)  # type: ignore[arg-type]
        rows = _by_tile(list(months), scratch.folder)
        Path(scratch.folder, "shared").write_bytes(pickle.dumps(_Shared(root, wanted, tables, rows)))
        for tile, (days, reads) in zip(tiles, pool.map(_tile, [(scratch.folder, tile) for tile in tiles]), strict=True):
            yield PlannedTile(days, Part(len(days), _saved(scratch, tile)), reads)


@contextmanager
def _pool(workers: int) -> Iterator[Executor]:
    pool = process_pool(workers, short=True)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _month(job: tuple[str, Period]) -> pa.Table:
    """Items of the product in a month; runs in a process."""
    return month_rows(open_store(job[0]), job[1])


def _rows(job: tuple[str, Job]) -> InputRows:
    """Items of a collection; runs in a process."""
    return read_rows(open_store(job[0]), job[1])


def _tile(job: tuple[str, str]) -> tuple[pa.Table, Reads]:
    """Days of a tile, whose inputs are left in a file; runs in a process."""
    folder, tile = job
    planner, rows, store = _planner(folder)
    first, last = rows.get(tile, (0, 0))
    found = planner.tile(tile, Standing.of_rows(store, _there(folder).slice(first, last - first)))
    _save(found, Path(folder, f"{tile}.inputs"))
    return found.days, found.reads


@lru_cache(maxsize=1)
def _planner(folder: str) -> tuple[TilePlanner, Mapping[str, tuple[int, int]], Store]:
    shared: _Shared = pickle.loads(Path(folder, "shared").read_bytes())
    catalog = open_catalog(shared.root)
    return TilePlanner(shared.wanted, catalog, shared.tables), shared.rows, catalog.store


@lru_cache(maxsize=1)
def _there(folder: str) -> pa.Table:
    import pyarrow as pa

    return pa.ipc.open_file(pa.memory_map(str(Path(folder, "products.arrow")))).read_all()


def _by_tile(months: Sequence[pa.Table], folder: str) -> dict[str, tuple[int, int]]:
    """Keep what there is of the product in the order of tiles; the rows of each."""
    import pyarrow as pa

    table = pa.concat_tables(months).sort_by([("tile", "ascending"), ("id", "ascending")]).combine_chunks()
    with pa.OSFile(str(Path(folder, "products.arrow")), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    counts = table["tile"].value_counts().to_pylist()
    ends = [0]
    for one in counts:
        ends.append(ends[-1] + one["counts"])
    return {one["values"]: span for one, span in zip(counts, pairwise(ends), strict=True)}


def _save(found: TileDays, file: Path) -> None:
    import pyarrow as pa

    batch = pa.record_batch([found.inputs], names=["inputs"])
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)


def _saved(scratch: _Scratch, tile: str) -> Callable[[], Any]:
    """Reads the inputs of a tile again; as long as somebody may, the folder stays."""

    def load() -> Any:
        import pyarrow as pa

        with pa.OSFile(str(Path(scratch.folder, f"{tile}.inputs"))) as file:
            return pa.ipc.open_file(file).read_all()["inputs"].combine_chunks()

    return load
