"""Write and read plan files: a plan as GeoParquet, one row a tile-day, with the tile's outline for maps.

`project_plan` writes a plan while it is made; ``stac-sm run`` and ``submit`` read it.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from shapely import to_wkb

from stac_sm.core.errors import CatalogError, InputError, StacSmError
from stac_sm.core.grid import TileGrid
from stac_sm.storage.address import is_remote, local_path, split_address
from stac_sm.storage.store import Store, open_store
from stac_sm.workflows.plan.plan import Plan, PlannedTile
from stac_sm.workflows.plan.planned_days import InputsChunk, PlannedDays, days_schema, inputs_type
from stac_sm.workflows.plan.tile_planner import widest

if TYPE_CHECKING:
    import pyarrow as pa

PLANS_FOLDER = "plans"
"""Folder of a project's plan files, below the root of its store."""

PLAN_FORMAT = 1
"""Number of the format of plan files; those that state none have it. Raise it when older readers would misread them."""

_MOST_NAMED = 6  # plans in a message
_ELSEWHERE = ".href"  # ends the name of a file that holds the address of a plan that was written elsewhere
_DAYS_FOUND = "stac_sm:days_found"  # metadata: features with too little history, fewest and most days found
_LEFT_OUT = "stac_sm:left_out"  # metadata: items that the plan was made without, and why
_REPEATED = [
    "tile", "version", "state", "predecessor", "geometry", "blocked_by.list.element", "changed.list.element",
    "inputs.list.element.id",
]  # fmt: skip


class PlanWriter:
    """Writer of a plan that is being made, tile by tile; a context, at whose end the file is put in its place.

    Parameters
    ----------
    model
        Id of the model item.
    grid
        Tile grid of the plan.
    """

    def __init__(self, model: str, grid: TileGrid) -> None:
        self._grid, self._about = grid, _about(model)
        self._left_out: dict[str, str] = {}
        self._days_found: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> PlanWriter:
        import pyarrow.parquet as pq

        self._scratch = tempfile.TemporaryDirectory(prefix="stac-sm-plan-")
        self._file = Path(self._scratch.name, "plan.parquet")
        schema = _file_schema().with_metadata(self._about)
        self._writer = pq.ParquetWriter(
            self._file, schema, compression="zstd", compression_level=1, use_dictionary=_REPEATED
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        self._scratch.cleanup()

    def add(self, tile: PlannedTile) -> None:
        """Write the days of the next tile.

        Parameters
        ----------
        tile
            Days of the tile, and their inputs.
        """
        self.add_rows(tile.days, tile.part)
        self.leave_out(tile.left_out)
        self.find_days(tile.days_found)

    def leave_out(self, items: Mapping[str, str]) -> None:
        """Name items that the plan was made without, and why, as `Plan.left_out`; the file keeps them."""
        self._left_out |= items

    def find_days(self, days_found: Mapping[str, tuple[int, int]]) -> None:
        """Name features with too little history on some days, as `Plan.days_found`; the file keeps them."""
        self._days_found = widest(self._days_found, days_found)

    def add_rows(self, rows: pa.Table, part: InputsChunk) -> None:
        """Write some days, and their inputs.

        Parameters
        ----------
        rows
            Columns of `planned_days.days_schema`.
        part
            Inputs of these rows.
        """
        self._writer.write_table(_row_group(rows, part, self._grid).replace_schema_metadata(self._about))

    def place(self, href: Path | str) -> str:
        """Put the file in its place, where a file of this name is replaced; nothing can be added then.

        Parameters
        ----------
        href
            Path, or ``s3://`` address.

        Returns
        -------
        str
            Where it lies.
        """
        if self._left_out:
            self._writer.add_key_value_metadata({_LEFT_OUT: json.dumps(dict(sorted(self._left_out.items())))})
        if self._days_found:
            self._writer.add_key_value_metadata({_DAYS_FOUND: json.dumps(self._days_found)})
        self._writer.close()
        store, path = _placed(href)
        store.replace(path, self._file.read_bytes())
        return store.href(path)


def write_plan(plan: Plan, href: Path | str, grid: TileGrid) -> str:
    """Write a plan that is complete; see `PlanWriter` for one that is being made.

    Parameters
    ----------
    plan
        The days and their states.
    href
        Path, or ``s3://`` address; a file of this name is replaced.
    grid
        Tile grid of the plan.

    Returns
    -------
    str
        Where it lies.
    """
    days, first = plan.columns, 0
    with PlanWriter(plan.model, grid) as file:
        for part in days.parts:
            file.add_rows(days.table.slice(first, part.rows), part)
            first += part.rows
        file.leave_out(plan.left_out)
        file.find_days(plan.days_found)
        return file.place(href)


def newest_plan(store: Store) -> str:
    """Return where the newest plan file of a project lies.

    Parameters
    ----------
    store
        Of the project.

    Returns
    -------
    str
        Path or address.

    Raises
    ------
    InputError
        If there is none.
    """
    plans = sorted(store.list_objects(PLANS_FOLDER), key=lambda entry: entry.modified)
    if not plans:
        raise InputError(f"{store.root} has no plan: `stac-sm plan` writes one")
    newest = plans[-1].path
    return store.read(newest).decode().strip() if newest.endswith(_ELSEWHERE) else store.href(newest)


def note_place(store: Store, id: str, href: str) -> None:
    """Write into a project where a plan lies that was written elsewhere, so that `newest_plan` finds it.

    Parameters
    ----------
    store
        Of the project; nothing is noted where it cannot be written.
    id
        Of the plan.
    href
        Path or address of the plan file.
    """
    place = href if is_remote(href) else str(local_path(href).absolute())
    with contextlib.suppress(StacSmError, OSError):
        path = f"{PLANS_FOLDER}/{id}{_ELSEWHERE}"
        store.remove(path)  # so that it is the newest
        store.create(path, place.encode())


def read_plan(href: Path | str, beside: Store | None = None) -> Plan:
    """Read a plan from a folder or from S3; its inputs are read when they are asked for.

    Parameters
    ----------
    href
        Path, or ``s3://`` address.
    beside
        Store of the project, whose plans the message names if there is no such file; None: it names none.

    Returns
    -------
    Plan
        As it was written.

    Raises
    ------
    InputError
        If the file is missing or no plan.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    store, path = _placed(href)
    try:
        content = pa.BufferReader(store.read(path))
        about = json.loads((pq.read_schema(content).metadata or {}).get(b"stac_sm:plan", b"null"))
        if about is None:
            raise InputError(f"{href} is no plan (a Parquet file of something else): `stac-sm plan` writes one")
        if about.get("format", 1) != PLAN_FORMAT:
            raise InputError(
                f"{href}: a plan of format {about['format']!r} found, format {PLAN_FORMAT} is required: plan again"
            )
        file = pq.ParquetFile(content, read_dictionary=["tile", "version", "state"])
        known = [name for name in days_schema().names if name in file.schema_arrow.names]
        table = _filled(file.read(columns=known))
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        parts = [InputsChunk(rows, _from_file(store, path, group)) for group, rows in enumerate(sizes)]
        left_out, short = (
            json.loads((file.metadata.metadata or {}).get(name.encode(), b"{}")) for name in (_LEFT_OUT, _DAYS_FOUND)
        )
        days_found = {name: (int(fewest), int(most)) for name, (fewest, most) in short.items()}
        return Plan(about["model"], PlannedDays(table, parts), left_out=left_out, days_found=days_found)
    except (OSError, KeyError, ValueError, CatalogError, pa.ArrowException) as error:
        there = _plans_there(beside) if beside is not None else ""
        raise InputError(f"{href} is no plan ({_why_unread(href, error)}): `stac-sm plan` writes one{there}") from error


def _plans_there(store: Store) -> str:
    """Return the plans of a project, the newest first, for a message; empty if it has none."""
    plans = sorted(store.list_objects(PLANS_FOLDER), key=lambda entry: entry.modified, reverse=True)
    found = [entry.path for entry in plans if not entry.path.endswith(_ELSEWHERE)]
    more = f" and {len(found) - _MOST_NAMED} older ones" if len(found) > _MOST_NAMED else ""
    return f"; {store.root} has {', '.join(found[:_MOST_NAMED])}{more}" if found else ""


def _why_unread(href: Path | str, error: Exception) -> str:
    """Return why a plan cannot be read: the likely cause first, else what the reader says."""
    place = None if is_remote(str(href)) else Path(href)
    if place is not None and not place.exists():
        return "there is no such file"
    return "it is a folder, a file is required" if place is not None and place.is_dir() else str(error)


def _about(model: str) -> dict[str, str]:
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Polygon"]}},
    }
    return {"geo": json.dumps(geo), "stac_sm:plan": json.dumps({"model": model, "format": PLAN_FORMAT})}


def _placed(href: Path | str) -> tuple[Store, str]:
    """Return store and name of a file."""
    text = os.fspath(href)
    folder, name = split_address(text)
    if not name:
        raise InputError(f"plan {text!r}: name a file, e.g. plan.parquet")
    return open_store(folder), name


def _row_group(rows: pa.Table, part: InputsChunk, grid: TileGrid) -> pa.Table:
    import pyarrow as pa

    ids = list(chain.from_iterable(PlannedDays(rows).ids()))
    shapes = {tile: to_wkb(grid.footprint(tile)) for tile in rows["tile"].unique().to_pylist()}
    geometry = map(shapes.__getitem__, rows["tile"].to_pylist())
    columns = {"id": pa.array(ids, pa.string()), "inputs": part.load(), "geometry": pa.array(geometry, pa.binary())}
    columns |= {name: rows[name] for name in rows.column_names}
    return pa.table({field.name: _as(columns[field.name], field.type) for field in _file_schema()})


def _as(column: Any, kind: Any) -> Any:
    return column if column.type == kind else column.cast(kind)


def _file_schema() -> pa.Schema:
    import pyarrow as pa

    text = pa.string()
    own = [field.with_type(text) if pa.types.is_dictionary(field.type) else field for field in days_schema()]
    ends = [pa.field("inputs", inputs_type()), pa.field("geometry", pa.binary())]
    return pa.schema([pa.field("id", text), *own, *ends])


def _filled(table: pa.Table) -> pa.Table:
    """Complete a table to `planned_days.days_schema`; plans of older versions do not state what has changed."""
    import pyarrow as pa

    if "changed" not in table.column_names:
        table = table.append_column("changed", pa.array([[]] * len(table), pa.list_(pa.string())))
    return table.select(days_schema().names).cast(days_schema()).unify_dictionaries()


def _from_file(store: Store, path: str, group: int) -> Any:
    """Read the inputs of one row group."""

    def load() -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = pq.ParquetFile(pa.BufferReader(store.read(path)))
        return file.read_row_group(group, columns=["inputs"])["inputs"].combine_chunks()

    return load
