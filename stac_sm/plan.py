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
from stac_sm.errors import InputError
from stac_sm.fingerprint import digest, fingerprint
from stac_sm.grid import TileGrid
from stac_sm.items import item_folder
from stac_sm.model import Model
from stac_sm.period import Period
from stac_sm.products import COLLECTION, OUTPUT_PROFILE, ProductDay, product_item
from stac_sm.publishing import FINGERPRINT, published
from stac_sm.resolution import Resolution, resolve

STATES = ("new", "done", "stale", "blocked")


@dataclass(frozen=True)
class PlannedDay:
    """One tile-day: what is wanted, and what there is."""

    made: ProductDay
    """Tile, day, version and the fingerprint wanted."""

    state: str
    """``new``, ``done``, ``stale`` (there, but made from something else) or ``blocked`` (an input is missing)."""

    blocked_by: tuple[str, ...] = ()
    """Features without input."""

    inputs: tuple[tuple[str, str], ...] = ()
    """Id and checksum of every input file, frozen."""


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
    def to_do(self) -> list[PlannedDay]:
        """The tile-days to make."""
        return [day for day in self.days if day.state in {"new", "stale"}]

    def tasks(self) -> Iterator[Task]:
        """What is to do, in units of one tile and one month."""
        for (tile, _), days in groupby(self.to_do, key=lambda d: (d.made.tile, d.made.day.strftime("%Y-%m"))):
            yield Task(self.model, tile, tuple(day.made for day in days))


@dataclass(frozen=True)
class Task:
    """One tile and month: what a worker needs, by name."""

    model: str
    """Id of the model item."""

    tile: str
    """Tile id."""

    days: tuple[ProductDay, ...]
    """The days to make, in order."""

    @property
    def name(self) -> str:
        """Short name, e.g. ``h18v04 2019-07``."""
        return f"{self.tile} {self.days[0].day:%Y-%m}"


def make_plan(
    catalog: Catalog, model: Model, tiles: Iterable[str], period: Period, *, grid: TileGrid, version: str
) -> Plan:
    """Compare what is wanted with what is in the catalogue.

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
    days = [day for tile in wanted for day in _plan_tile(catalog, model, tile, period, grid, version)]
    return Plan(model.id, tuple(days))


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


def write_plan(plan: Plan, file: Path, grid: TileGrid) -> None:
    """Write a plan as GeoParquet: one row a tile-day with the tile's outline, so that a map can show it."""
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
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(about), file)


def read_plan(file: Path) -> Plan:
    """Read a plan.

    Raises
    ------
    InputError
        If the file is missing or no plan.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
        about = json.loads((table.schema.metadata or {})[b"stac_sm:plan"])
        return Plan(about["model"], tuple(_planned(row) for row in table.to_pylist()))
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{file} is no plan ({error}): `stac-sm plan --out FILE` writes one") from error


def _plan_tile(
    catalog: Catalog, model: Model, tile: str, period: Period, grid: TileGrid, version: str
) -> Iterator[PlannedDay]:
    resolution = resolve(catalog, model.cube_recipe(), grid.geobox(tile), period)
    for day in period.days:
        wanted = wanted_day(resolution, model, tile, day, grid=grid, version=version)
        yield replace(wanted, state=_state(catalog, wanted, grid))


def _state(catalog: Catalog, wanted: PlannedDay, grid: TileGrid) -> str:
    item = product_item(wanted.made, grid, model_id="", recipe_checksum="", properties={})
    folder = item_folder(catalog.layout(COLLECTION), item)
    content = published(catalog.store, f"{folder}/{wanted.made.id}.json")
    if content is None or wanted.state == "blocked":
        return wanted.state
    return "done" if json.loads(content)["properties"].get(FINGERPRINT) == wanted.made.fingerprint else "stale"


def _row(day: PlannedDay, grid: TileGrid) -> dict[str, Any]:
    made = day.made
    return {
        "id": made.id,
        "tile": made.tile,
        "day": made.day,
        "version": made.version,
        "state": day.state,
        "blocked_by": list(day.blocked_by),
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
    )


def _schema() -> Any:
    import pyarrow as pa

    text = pa.string()
    pair = pa.struct([("id", text), ("checksum", text)])
    columns = [("id", text), ("tile", text), ("day", pa.date32()), ("version", text), ("state", text)]
    columns += [("blocked_by", pa.list_(text)), ("fingerprint", text), ("inputs", pa.list_(pair))]
    return pa.schema([*columns, ("geometry", pa.binary())])
