"""Plan: the items that are wanted, less those that are proven. Reads metadata only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

from shapely import to_wkb

from stac_sm.catalog import Catalog
from stac_sm.errors import CatalogError, InputError
from stac_sm.fingerprint import digest, fingerprint
from stac_sm.grid import TileGrid
from stac_sm.model import Model
from stac_sm.period import Period
from stac_sm.products import OUTPUT_PROFILE, ProductDay
from stac_sm.resolution import Resolution, resolve
from stac_sm.standing import Standing
from stac_sm.store import Store, open_store

STATES = ("new", "done", "stale", "blocked", "retracted")


@dataclass(frozen=True)
class PlannedDay:
    """One tile-day: what is wanted, and what there is."""

    made: ProductDay
    """Tile, day, version and the fingerprint wanted."""

    state: str
    """``new``, ``done``, ``stale`` (there, but made from something else), ``blocked`` (an input is missing) or
    ``retracted`` (taken out by hand: counts as proven)."""

    blocked_by: tuple[str, ...] = ()
    """Features without input."""

    inputs: tuple[tuple[str, str], ...] = ()
    """Id and checksum of every input file, frozen."""

    redo: bool = False
    """Whether it takes the place of a tombstone."""

    predecessor: str = ""
    """Id of the same tile-day in an older version of the product; empty if there is none."""


@dataclass(frozen=True)
class Plan:
    """What is wanted from one model, and what there is of it."""

    model: str
    """Id of the model item."""

    days: tuple[PlannedDay, ...]
    """In the order of tiles and days."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of tile-days by state."""
        found = Counter(day.state for day in self.days)
        return {state: found.get(state, 0) for state in STATES}

    @property
    def id(self) -> str:
        """What names the plan: it follows from what is wanted, and not from what is done."""
        return digest([self.model, *((day.made.id, day.made.fingerprint) for day in self.days)])[:12]

    @property
    def done(self) -> list[ProductDay]:
        """The tile-days that were done when it was planned."""
        return [day.made for day in self.days if day.state == "done"]

    @property
    def to_do(self) -> list[PlannedDay]:
        """The tile-days to make."""
        return [day for day in self.days if day.state in {"new", "stale"}]

    def tasks(self) -> Iterator[Task]:
        """What is to do, in units of one tile and one month."""
        for (tile, _), days in groupby(self.to_do, key=lambda d: (d.made.tile, d.made.day.strftime("%Y-%m"))):
            yield Task(self.model, tile, tuple(replace(day, inputs=()) for day in days))


@dataclass(frozen=True)
class Task:
    """One tile and month: what a worker needs, by name."""

    model: str
    """Id of the model item."""

    tile: str
    """Tile id."""

    planned: tuple[PlannedDay, ...]
    """The days to make, in order, without their inputs: a worker finds these itself, and checks the fingerprint."""

    @property
    def days(self) -> tuple[ProductDay, ...]:
        """The days to make, in order."""
        return tuple(one.made for one in self.planned)

    @property
    def name(self) -> str:
        """Short name, e.g. ``h18v04 2019-07``."""
        return f"{self.tile} {self.planned[0].made.day:%Y-%m}"


def make_plan(
    catalog: Catalog,
    model: Model,
    tiles: Iterable[str],
    period: Period,
    *,
    grid: TileGrid,
    version: str,
    redo_retracted: bool = False,
) -> Plan:
    """Compare what is wanted with what is in the catalogue.

    Parameters
    ----------
    redo_retracted
        Whether what was retracted is to be made again.

    Raises
    ------
    InputError
        If no tile is wanted, or a tile is not in the grid.
    CatalogError
        If a collection of the recipe is missing.
    """
    wanted = sorted(set(tiles))
    if not wanted:
        raise InputError("plan: no tile wanted: name tiles (h18v04) or a box in degrees that meets some")
    standing = Standing.of(catalog, period)
    days = (_wanted_days(catalog, model, tile, period, grid, version) for tile in wanted)
    judged = (day for tile_days in days for day in _judged(tile_days, standing, redo_retracted))
    return Plan(model.id, tuple(judged))


def wanted_day(
    resolution: Resolution, model: Model, tile: str, day: date, *, grid: TileGrid, version: str
) -> PlannedDay:
    """The tile-day that the catalogue's inputs and a model make, with its fingerprint; state ``new`` or ``blocked``."""
    inputs = resolution.inputs(day)
    number = fingerprint(
        grid=digest(asdict(grid)),  # its name alone would let another grid of this name pass for it
        tile=tile,
        day=day.isoformat(),
        recipe=model.cube_recipe().to_dict(),
        inputs=inputs,
        model=model.checksum,
        output=OUTPUT_PROFILE,
    )
    missing = tuple(resolution.blocked_by(day))
    made = ProductDay(tile, day, version, number)
    return PlannedDay(made, "blocked" if missing else "new", missing, tuple(inputs))


def write_plan(plan: Plan, href: Path | str, grid: TileGrid) -> str:
    """Write a plan as GeoParquet: one row a tile-day with the tile's outline, so that a map can show it.

    Returns
    -------
    str
        Where it lies; a file of this name is replaced.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [_row(day, grid) for day in plan.days]
    table = pa.Table.from_pylist(rows, schema=_schema())
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Polygon"]}},
    }
    about = {"geo": json.dumps(geo), "stac_sm:plan": json.dumps({"model": plan.model})}
    buffer = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(about), buffer)
    store, path = _placed(href)
    store.replace(path, buffer.getvalue().to_pybytes())
    return store.href(path)


def read_plan(href: Path | str) -> Plan:
    """Read a plan from a folder or from S3.

    Raises
    ------
    InputError
        If the file is missing or no plan.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    store, path = _placed(href)
    try:
        table = pq.read_table(pa.BufferReader(store.read(path)))
        about = json.loads((table.schema.metadata or {})[b"stac_sm:plan"])
        return Plan(about["model"], tuple(_planned(row) for row in table.to_pylist()))
    except (OSError, KeyError, ValueError, CatalogError, pa.ArrowException) as error:
        raise InputError(f"{href} is no plan ({error}): `stac-sm plan` writes one") from error


def _placed(href: Path | str) -> tuple[Store, str]:
    """Store and name of a file."""
    text = str(href)
    folder, _, name = text.rpartition("/")
    if not name:
        raise InputError(f"plan {text!r}: name a file, e.g. plan.parquet")
    return open_store(folder or ("/" if text.startswith("/") else ".")), name


def _wanted_days(
    catalog: Catalog, model: Model, tile: str, period: Period, grid: TileGrid, version: str
) -> list[PlannedDay]:
    resolution = resolve(catalog, model.cube_recipe(), grid.geobox(tile), period)
    return [wanted_day(resolution, model, tile, day, grid=grid, version=version) for day in period.days]


def _judged(days: Sequence[PlannedDay], standing: Standing, redo_retracted: bool) -> Iterator[PlannedDay]:
    """What is wanted, beside what there is."""
    for day, found in zip(days, standing.judge([day.made for day in days]), strict=True):
        day = replace(day, predecessor=standing.predecessor(day.made))
        if found is None or day.state == "blocked":
            yield day
        elif found.retracted:
            yield replace(day, redo=True) if redo_retracted else replace(day, state="retracted")
        else:
            yield replace(day, state="done" if found.fingerprint == day.made.fingerprint else "stale")


def _row(day: PlannedDay, grid: TileGrid) -> dict[str, Any]:
    made = day.made
    return {
        "id": made.id,
        "tile": made.tile,
        "day": made.day,
        "version": made.version,
        "state": day.state,
        "blocked_by": list(day.blocked_by),
        "redo": day.redo,
        "predecessor": day.predecessor,
        "fingerprint": made.fingerprint,
        "inputs": [{"id": name, "checksum": checksum} for name, checksum in day.inputs],
        "geometry": to_wkb(grid.footprint(made.tile)),
    }


def _planned(row: Mapping[str, Any]) -> PlannedDay:
    inputs: Sequence[Mapping[str, str]] = row["inputs"]
    return PlannedDay(
        ProductDay(row["tile"], row["day"], row["version"], row["fingerprint"]),
        row["state"],
        tuple(row["blocked_by"]),
        tuple((one["id"], one["checksum"]) for one in inputs),
        row["redo"],
        row["predecessor"],
    )


def _schema() -> Any:
    import pyarrow as pa

    text = pa.string()
    pair = pa.struct([("id", text), ("checksum", text)])
    columns = [("id", text), ("tile", text), ("day", pa.date32()), ("version", text), ("state", text)]
    columns += [("redo", pa.bool_()), ("predecessor", text), ("blocked_by", pa.list_(text))]
    columns += [("fingerprint", text), ("inputs", pa.list_(pair))]
    return pa.schema([*columns, ("geometry", pa.binary())])
