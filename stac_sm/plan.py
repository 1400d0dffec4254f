"""Plan: the items that are wanted, less those that are proven. Reads metadata only.

It is worked out tile by tile and kept in columns, since a whole product has millions of tile-days: first what the items
of each collection say (`input_rows`), then the days of each tile (`tile_days`).
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shapely import to_wkb

from stac_sm.catalog import Catalog
from stac_sm.errors import CatalogError, InputError
from stac_sm.fingerprint import digest, fingerprint, fingerprint_parts
from stac_sm.grid import TileGrid
from stac_sm.model import Model
from stac_sm.period import Period
from stac_sm.planned import STATES, Days, Part, PlannedDay, Task, days_schema, inputs_type
from stac_sm.planning import PlannedTile, Progress, planned_tiles
from stac_sm.products import OUTPUT_PROFILE, ProductDay
from stac_sm.resolution import Resolution
from stac_sm.store import Store, open_store
from stac_sm.tile_days import Reads, Wanted

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "STATES", "Plan", "PlannedDay", "Reads", "Task", "make_plan", "parts_of", "read_plan", "wanted_day", "write_plan",
]  # fmt: skip


_REPEATED = [
    "tile", "version", "state", "predecessor", "geometry", "blocked_by.list.element", "changed.list.element",
    "inputs.list.element.id",
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
    found = list(planned_tiles(catalog, wanted, names, workers=workers, progress=progress))
    return Plan(model.id, _joined(found), sum((one.reads for one in found), Reads()))


def wanted_day(
    resolution: Resolution, model: Model, tile: str, day: date, *, grid: TileGrid, version: str
) -> PlannedDay:
    """The tile-day that the catalogue's inputs and a model make, with its fingerprint; state ``new`` or ``blocked``.

    For a few days; `make_plan` gives the same for many.
    """
    inputs = resolution.inputs(day)
    number = fingerprint(tile=tile, day=day.isoformat(), inputs=inputs, **_shared(model, grid))
    missing = tuple(resolution.blocked_by(day))
    made = ProductDay(tile, day, version, number)
    return PlannedDay(made, "blocked" if missing else "new", missing, tuple(inputs))


def parts_of(model: Model, grid: TileGrid, planned: PlannedDay) -> dict[str, str]:
    """8 hex digits of each part of the fingerprint of a day from `wanted_day`: what ``stac_sm:parts`` holds."""
    return fingerprint_parts(tile=planned.made.tile, inputs=planned.inputs, **_shared(model, grid))


def write_plan(plan: Plan, href: Path | str, grid: TileGrid) -> str:
    """Write a plan as GeoParquet: one row a tile-day with the tile's outline, so that a map can show it.

    Returns
    -------
    str
        Where it lies; a file of this name is replaced.
    """
    import pyarrow.parquet as pq

    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Polygon"]}},
    }
    about = {"geo": json.dumps(geo), "stac_sm:plan": json.dumps({"model": plan.model})}
    store, path = _placed(href)
    with tempfile.TemporaryDirectory(prefix="stac-sm-plan-") as scratch:
        file = Path(scratch, "plan.parquet")
        schema = _file_schema().with_metadata(about)
        with pq.ParquetWriter(
            file, schema, compression="zstd", compression_level=1, use_dictionary=_REPEATED
        ) as writer:
            for table in _row_groups(plan.columns, grid):
                writer.write_table(table.replace_schema_metadata(about))
        store.replace(path, file.read_bytes())
    return store.href(path)


def read_plan(href: Path | str) -> Plan:
    """Read a plan from a folder or from S3; its inputs are read when they are asked for.

    Raises
    ------
    InputError
        If the file is missing or no plan.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    store, path = _placed(href)
    try:
        file = pq.ParquetFile(pa.BufferReader(store.read(path)), read_dictionary=["tile", "version", "state"])
        about = json.loads((file.schema_arrow.metadata or {})[b"stac_sm:plan"])
        known = [name for name in days_schema().names if name in file.schema_arrow.names]
        table = _filled(file.read(columns=known))
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        parts = [Part(rows, _from_file(store, path, group)) for group, rows in enumerate(sizes)]
        return Plan(about["model"], Days(table, parts))
    except (OSError, KeyError, ValueError, CatalogError, pa.ArrowException) as error:
        raise InputError(f"{href} is no plan ({error}): `stac-sm plan` writes one") from error


def _shared(model: Model, grid: TileGrid) -> dict[str, Any]:
    """What the days of all tiles have in common."""
    return {
        "grid": digest(asdict(grid)),  # its name alone would let another grid of this name pass for it
        "recipe": model.cube_recipe().to_dict(),
        "model": model.checksum,
        "output": OUTPUT_PROFILE,
    }


def _joined(found: Sequence[PlannedTile]) -> Days:
    import pyarrow as pa

    table = pa.concat_tables([one.days for one in found]).unify_dictionaries()
    return Days(table, [one.part for one in found])


def _counted(lists: pa.ChunkedArray) -> dict[str, int]:
    found = Counter(name for names in lists.to_pylist() for name in names)
    return dict(found.most_common())


def _placed(href: Path | str) -> tuple[Store, str]:
    """Store and name of a file."""
    text = str(href)
    folder, _, name = text.rpartition("/")
    if not name:
        raise InputError(f"plan {text!r}: name a file, e.g. plan.parquet")
    return open_store(folder or ("/" if text.startswith("/") else ".")), name


def _row_groups(days: Days, grid: TileGrid) -> Iterator[pa.Table]:
    """Rows of the file, one part after another, so that few inputs are in memory."""
    import pyarrow as pa

    first = 0
    for part in days.parts:
        rows = days.table.slice(first, part.rows)
        ids = list(chain.from_iterable(Days(rows).ids()))
        shapes = {tile: to_wkb(grid.footprint(tile)) for tile in rows["tile"].unique().to_pylist()}
        geometry = map(shapes.__getitem__, rows["tile"].to_pylist())
        columns = {"id": pa.array(ids, pa.string()), "inputs": part.load(), "geometry": pa.array(geometry, pa.binary())}
        columns |= {name: rows[name] for name in rows.column_names}
        yield pa.table({field.name: _as(columns[field.name], field.type) for field in _file_schema()})
        first += part.rows


def _as(column: Any, kind: Any) -> Any:
    return column if column.type == kind else column.cast(kind)


def _file_schema() -> pa.Schema:
    import pyarrow as pa

    text = pa.string()
    own = [field.with_type(text) if pa.types.is_dictionary(field.type) else field for field in days_schema()]
    ends = [pa.field("inputs", inputs_type()), pa.field("geometry", pa.binary())]
    return pa.schema([pa.field("id", text), *own, *ends])


def _filled(table: pa.Table) -> pa.Table:
    """A table as `planned.days_schema` wants it; plans of older versions do not say what has changed."""
    import pyarrow as pa

    if "changed" not in table.column_names:
        table = table.append_column("changed", pa.array([[]] * len(table), pa.list_(pa.string())))
    return table.select(days_schema().names).cast(days_schema()).unify_dictionaries()


def _from_file(store: Store, path: str, group: int) -> Any:
    """Reads the inputs of one row group."""

    def load() -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = pq.ParquetFile(pa.BufferReader(store.read(path)))
        return file.read_row_group(group, columns=["inputs"])["inputs"].combine_chunks()

    return load
