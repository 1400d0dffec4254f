"""Plan the days of one tile in columns, from rows of items instead of the items themselves.

The rules are those of `features.inputs` and `features.time_rules`; what several features, days or tiles
share is worked out once. `plan` calls it tile by tile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property, lru_cache
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from stac_sm.core.errors import InputError
from stac_sm.core.fingerprint import DayInput, day_input
from stac_sm.core.footprints import footprint
from stac_sm.core.grid import TileGrid
from stac_sm.core.period import Period
from stac_sm.features.inputs import climatology_files, feature_timeline
from stac_sm.features.recipe import Feature, Recipe
from stac_sm.features.time_rules import DayFields, Timeline, choose_day_fields
from stac_sm.product.item import ProductDay, describe_output_change, tile_fingerprints
from stac_sm.product.product_id import product_ids
from stac_sm.raster.precedence import Precedence, precedence_of
from stac_sm.raster.resample import TargetPixels
from stac_sm.stac.catalogs.catalog import open_recipe_catalog
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.catalogs.search import BBox, ItemSearch
from stac_sm.workflows.plan.existing_items import ExistingItem, ExistingItems
from stac_sm.workflows.plan.input_table import GridOverlap, InputTable
from stac_sm.workflows.plan.planned_days import days_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from odc.geo.geobox import GeoBox

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class PlanSettings:
    """What is planned, for all tiles alike."""

    recipe: Recipe
    """Features and masks of the model."""

    model: str
    """Checksum of the model."""

    grid: TileGrid
    """Grid of the tiles."""

    period: Period
    """Days."""

    version: str
    """Version of the product."""

    redo_retracted: bool = False
    """Whether what was retracted is to be made again."""

    simulated: bool = False
    """Whether the catalogue holds a simulated Earth, so that items and files say so."""


class InputFile(NamedTuple):
    """What of a `RasterSource` a fingerprint needs."""

    item_id: str
    """Id of the item."""

    asset: str
    """Asset key."""

    provenance_digest: str
    """Provenance digest: covers the bytes and what the item states about them."""

    size: int | None
    """Bytes."""

    precedence: Precedence
    """Place among other files that cover the same pixels."""


@dataclass(frozen=True)
class ReadVolume:
    """What the tasks of some tiles read."""

    files: int = 0
    """Files, once a task."""

    bytes: int = 0
    """Of those whose size is known."""

    unknown: int = 0
    """Files whose items do not state their size."""

    def __add__(self, other: ReadVolume) -> ReadVolume:
        return ReadVolume(self.files + other.files, self.bytes + other.bytes, self.unknown + other.unknown)


@dataclass(frozen=True)
class PlannedTileDays:
    """The planned days of one tile."""

    days: pa.Table
    """Columns of `planned_days.days_schema`."""

    inputs: pa.Array
    """Of each day: a list of (id, checksum)."""

    reads: ReadVolume
    """What its tasks read."""

    left_out: Mapping[str, str]
    """Items with a value that cannot be right: id and asset key, as ``ID/KEY``, or the id of a document that is no
    item; and why."""

    days_found: Mapping[str, tuple[int, int]]
    """See `Plan.days_found`."""


@dataclass
class TilePlanner:
    """Planner of tiles, one after another."""

    settings: PlanSettings
    """What for."""

    catalog: WritableCatalog
    """Where inputs and products are."""

    tables: Mapping[str, InputTable]
    """Items by collection; those of other collections are searched for."""

    _same: dict[Feature, tuple[bytes, list[tuple[DayInput, ...]]]] = field(default_factory=dict)
    _sizes: dict[str, int | None] = field(default_factory=dict)
    _elsewhere: dict[str, ItemSearch] = field(default_factory=dict)
    _days_found: dict[str, tuple[int, int]] = field(default_factory=dict)  # of the newest tile, see `Plan.days_found`

    def tile(self, tile: str, existing: ExistingItems) -> PlannedTileDays:
        """Plan the days of a tile.

        Parameters
        ----------
        tile
            Tile id.
        existing
            Items of the product that are there.

        Returns
        -------
        PlannedTileDays
            Every day of the period, with its state, inputs and fingerprint.

        Raises
        ------
        InputError
            If it lies off the Earth.
        CatalogError
            If something is wrong with an item that it needs.
        """
        geobox = self.settings.grid.geobox(tile)
        outline = footprint(geobox)
        if outline is None:
            raise InputError(f"tile {self.settings.grid.describe(tile)}: choose another one")
        target, bbox = TargetPixels(geobox), outline.bounds
        meeting = GridOverlap(target)
        left_out = {path: why for table in self.tables.values() for path, why in table.left_out.items()}
        found = {
            feature.name: self._pairs(feature, target, bbox, meeting, left_out)
            for feature in self.settings.recipe.sources
        }
        return self._planned(tile, found, existing, left_out)

    def _pairs(
        self, feature: Feature, target: TargetPixels, bbox: BBox, meeting: GridOverlap, left_out: dict[str, str]
    ) -> list[tuple[DayInput, ...]]:
        """Return the inputs of a feature by day; none for a day without."""
        period = self.settings.period
        table = None if feature.catalog else self.tables.get(feature.collection)
        if table is None or feature.asset.startswith("*"):
            timeline = feature_timeline(self._where(feature), feature, period, target, bbox, left_out)
            return self._by_day(feature, timeline, target, bbox, left_out)
        positions = table.positions(feature, period, meeting, bbox, left_out)
        known = self._same.get(feature)
        if known and feature.climatology is None and known[0] == positions.tobytes():  # a global file: of all tiles
            return known[1]
        found = self._by_day(feature, _timeline(table, feature, positions), target, bbox, left_out)
        self._same[feature] = positions.tobytes(), found
        return found

    def _by_day(
        self, feature: Feature, timeline: Timeline, target: TargetPixels, bbox: BBox, left_out: dict[str, str]
    ) -> list[tuple[DayInput, ...]]:
        normals = climatology_files(self.catalog, feature, bbox, target, left_out)
        days = self._days
        if feature.time == "static":
            return [self._made_of(choose_day_fields(feature, timeline, normals, days[0]))] * len(days)
        chosen = [choose_day_fields(feature, timeline, normals, day) for day in days]
        few = [found.days_found for found in chosen if found.days_found is not None]
        self._days_found.pop(feature.name, None)
        if few:
            self._days_found[feature.name] = (min(few), max(few))
        return [self._made_of(found) for found in chosen]

    def _made_of(self, found: DayFields) -> tuple[DayInput, ...]:
        return tuple(self._pair(source, layer.weight, level, age) for layer, source, level, age in found.layers)

    def _pair(self, source: Any, weight: float, level: int, age: int) -> DayInput:
        found = day_input(source.item_id, source.asset, source.provenance_digest, weight, level, age)
        self._sizes[found.id] = source.size
        return found

    @cached_property
    def _days(self) -> list[date]:
        return self.settings.period.days

    def _where(self, feature: Feature) -> ItemSearch:
        if not feature.catalog:
            return cast(ItemSearch, self.catalog)
        if feature.catalog not in self._elsewhere:
            self._elsewhere[feature.catalog] = open_recipe_catalog(feature.catalog, self.catalog)
        return self._elsewhere[feature.catalog]

    def _planned(
        self,
        tile: str,
        found: Mapping[str, list[tuple[DayInput, ...]]],
        existing: ExistingItems,
        left_out: Mapping[str, str],
    ) -> PlannedTileDays:
        settings = self.settings
        numbers = tile_fingerprints(
            settings.grid, tile, recipe=settings.recipe, model=settings.model, simulated=settings.simulated
        )
        days = self._days
        inputs = [sorted(set(chain.from_iterable(parts))) for parts in zip(*found.values(), strict=True)]
        texts = [[pair.text for pair in pairs] for pairs in inputs]
        made = [
            ProductDay(tile, day, settings.version, numbers.of(day.isoformat(), text))
            for day, text in zip(days, texts, strict=True)
        ]
        blocked = self._blocked(found)
        free = [i for i, by in enumerate(blocked) if not by]
        ids = product_ids(tile, days, settings.version)
        there = dict(zip(free, existing.look_up([made[i] for i in free], [ids[i] for i in free]), strict=True))
        columns: dict[str, list[Any]] = {name: [] for name in ("state", "redo", "predecessor", "changed")}
        for i, one in enumerate(made):
            state, redo = _state(one, blocked[i], there.get(i), settings.redo_retracted)
            changed = (
                _changed(cast(ExistingItem, there[i]), inputs[i], numbers.parts(texts[i]), settings.simulated)
                if state == "stale"
                else ()
            )
            older = existing.predecessor(ids[i]) if existing.listed else ""
            for name, value in zip(columns, (state, redo, older, changed), strict=True):
                columns[name].append(value)
        reads = _reads(made, columns["state"], inputs, self._sizes)
        table, short = _table(made, blocked, columns), dict(self._days_found)
        return PlannedTileDays(table, _inputs_array(inputs), reads, left_out, short)

    def _blocked(self, found: Mapping[str, list[tuple[DayInput, ...]]]) -> list[tuple[str, ...]]:
        """Return the features that each day requires and has no input for."""
        recipe = self.settings.recipe
        optional = {feature.name for feature in recipe.features} - set(recipe.required)
        needed = [(name, days) for name, days in found.items() if name not in optional]
        number = len(self.settings.period)
        if all(all(days) for _, days in needed):
            return [()] * number
        return [tuple(name for name, days in needed if not days[i]) for i in range(number)]


def widest(*found: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Return the fewest and the most days of history of each feature over several tiles, as `Plan.days_found`."""
    joined: dict[str, tuple[int, int]] = {}
    for name, (fewest, most) in chain.from_iterable(one.items() for one in found):
        known = joined.get(name, (fewest, most))
        joined[name] = (min(fewest, known[0]), max(most, known[1]))
    return dict(sorted(joined.items()))


def _timeline(table: InputTable, feature: Feature, positions: np.ndarray) -> Timeline:
    """Return the fields of a feature from rows: files of the same days make one field."""
    own = [table.column(kind, feature) for kind in ("proof", "size", "place")]
    columns = [table.values(name, positions) for name in ("id", *own, "version", "start", "end")]
    fields: dict[Period, list[InputFile]] = {}
    for id, proof, size, place, version, start, end in zip(*columns, strict=True):
        precedence = precedence_of(cast("GeoBox", table.places[place]), version or "")
        file = InputFile(id, feature.asset, proof.hex(), size, precedence)
        fields.setdefault(_period(start, end), []).append(file)
    return Timeline.of(cast(Any, fields))


@lru_cache(maxsize=100_000)
def _period(start: int, end: int) -> Period:
    return Period(_EPOCH + timedelta(start), _EPOCH + timedelta(end))


def _state(made: ProductDay, blocked: tuple[str, ...], found: ExistingItem | None, redo: bool) -> tuple[str, bool]:
    """Return the state of a day, and whether it takes the place of a withdrawal notice."""
    if blocked:
        return "blocked", False
    if found is None:
        return "new", False
    if found.retracted:
        return ("new", True) if redo else ("retracted", False)
    return ("done" if found.fingerprint == made.fingerprint else "stale"), False


def _changed(
    found: ExistingItem, inputs: Sequence[DayInput], parts: Mapping[str, str], simulated: bool
) -> tuple[str, ...]:
    """Return what an item was made from that is no longer so, as far as it states it."""
    changed = [name for name, value in parts.items() if found.parts and found.parts.get(name) != value]
    if "output" in changed:
        before = str(found.parts.get("output", ""))
        changed[changed.index("output")] = describe_output_change(before, simulated=simulated)
    if not found.made_from or (changed and "inputs" not in changed):
        return tuple(changed)
    now = {pair.id.rpartition("/")[0] for pair in inputs}
    came, went = sorted(now - found.made_from), sorted(found.made_from - now)
    return (*changed, *(f"+{id}" for id in came), *(f"-{id}" for id in went))


def _reads(
    made: Sequence[ProductDay],
    states: Sequence[str],
    inputs: Sequence[Sequence[DayInput]],
    sizes: Mapping[str, int | None],
) -> ReadVolume:
    """Return what the days to make read: each file once a month."""
    total = ReadVolume()
    rows = zip(made, states, inputs, strict=True)
    for _, month in groupby(rows, key=lambda row: (row[0].day.year, row[0].day.month)):
        files = {pair.id for _, state, pairs in month if state in {"new", "stale"} for pair in pairs}
        known = [sizes[label] for label in files]
        total += ReadVolume(len(known), sum(size or 0 for size in known), sum(size is None for size in known))
    return total


def _table(made: Sequence[ProductDay], blocked: Sequence[tuple[str, ...]], columns: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    known: dict[str, Iterable[Any]] = {
        "tile": [one.tile for one in made],
        "day": [one.day for one in made],
        "version": [one.version for one in made],
        "blocked_by": blocked,
        "fingerprint": [one.fingerprint for one in made],
        **columns,
    }
    return pa.table({one.name: pa.array(known[one.name], _plain(one.type)).cast(one.type) for one in days_schema()})


def _plain(kind: Any) -> Any:
    import pyarrow.types as pt

    return kind.value_type if pt.is_dictionary(kind) else kind


def _inputs_array(inputs: Sequence[Sequence[DayInput]]) -> pa.Array:
    import pyarrow as pa

    offsets = np.concatenate([[0], np.cumsum([len(pairs) for pairs in inputs])])
    flat = list(chain.from_iterable(inputs))
    columns = [pa.array([pair[at] for pair in flat], pa.string()) for at in (0, 1)]
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.StructArray.from_arrays(columns, names=["id", "checksum"])
    )
