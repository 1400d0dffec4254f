"""Find stale aggregates: those made from other items than are there today, or otherwise than this version makes them.

`workflows.audit` and ``stac-sm doctor`` report them. Only items and their lists of source items are read, no pixel.
"""

from __future__ import annotations

import json
import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

import numpy as np

from stac_sm.core.errors import CatalogError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS, digest
from stac_sm.core.grid import TileGrid
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.product.aggregates.aggregate import Aggregate
from stac_sm.product.aggregates.means import ANNUAL, MONTHLY, define_mean, least_days_of
from stac_sm.product.aggregates.mosaic import DAILY_GLOBAL, define_daily_mosaic
from stac_sm.product.aggregates.source_items import SourceItem, tile_days
from stac_sm.product.collection_grid import lies_on
from stac_sm.product.item import OUTPUT_PROFILE_NUMBER
from stac_sm.product.product_id import GLOBAL, tile_of
from stac_sm.raster.mosaic_cog import whole_grid_geobox
from stac_sm.stac.catalogs.catalog import StoreDocuments
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.links import item_paths
from stac_sm.stac.publish import FINGERPRINT_PROPERTY

AGGREGATES = {DAILY_GLOBAL: "mosaic", ANNUAL: "annual", MONTHLY: "annual --monthly"}
"""Collections of aggregates, and the command that makes each."""

_MONTHS = 13  # that are kept in mind: of a year, and the next

FingerprintById = Mapping[str, str]
"""Item id -> fingerprint."""


@dataclass(frozen=True)
class StaleAggregate:
    """One aggregate that would be made from other items, or by another algorithm, today."""

    path: str
    """Path of its JSON, below the root of the catalogue."""

    detail: str
    """What has changed, and which command makes it again."""


@dataclass(frozen=True)
class _PublishedAggregate:
    """One aggregate that is there."""

    path: str
    id: str
    span: Period
    tile: str
    version: str
    fingerprint: str
    members: FingerprintById
    least_days: int
    on_grid: bool


def stale_aggregates(catalog: WritableCatalog, grid: TileGrid) -> Iterator[StaleAggregate]:
    """Find aggregates whose source items were replaced, withdrawn, or have become more, since they were made.

    And those that another version made, with other files or by another algorithm. One that cannot be read is left out:
    the audit names it.

    Parameters
    ----------
    catalog
        Catalogue with the product and its aggregates.
    grid
        Grid of the project. How one that lies on another grid was made is not judged.

    Yields
    ------
    StaleAggregate
        Its path, what has changed, and the command that makes it again.
    """
    month_of = lru_cache(_MONTHS)(lambda month, version: tile_days(catalog, month, version))
    for collection in AGGREGATES:
        if collection in catalog.collections:
            groups = defaultdict[tuple[Period, str], list[_PublishedAggregate]](list)
            for one in _there(catalog, collection, grid):
                groups[one.span, one.version].append(one)
            for (span, version), group in groups.items():
                yield from _stale(collection, grid, group, _by_tile(month_of, span, version))


def _stale(
    collection: str, grid: TileGrid, group: list[_PublishedAggregate], days: Mapping[str, dict[str, str]]
) -> Iterator[StaleAggregate]:
    every = {id: number for one in days.values() for id, number in one.items()}
    means = {one.id: one.fingerprint for one in group if one.tile != GLOBAL}
    least_days = max((one.least_days for one in group), default=1)  # the mosaic of means does not state it
    for one in group:
        of_all = every if collection == DAILY_GLOBAL else means
        now = of_all if one.tile == GLOBAL else days.get(one.tile, {})
        least = least_days if one.tile == GLOBAL else one.least_days
        changed = _change(one.members, now) if now != one.members else _made_otherwise(collection, grid, one, least)
        if changed:
            yield StaleAggregate(one.path, f"{changed}: `stac-sm {_command(collection, one, least)}` makes it again")


def _command(collection: str, one: _PublishedAggregate, least_days: int) -> str:
    of_all = " --global" if one.tile == GLOBAL and collection != DAILY_GLOBAL else ""
    return AGGREGATES[collection] + of_all + (f" --least-days {least_days}" if least_days > 1 else "")


def _made_otherwise(collection: str, grid: TileGrid, one: _PublishedAggregate, least_days: int) -> str:
    """Return how this version would make an aggregate of the same items otherwise; empty if it would not."""
    members = [SourceItem(id, "", one.span.start, number, "") for id, number in one.members.items()]
    today: Aggregate = (
        define_daily_mosaic(one.span, one.version, members)
        if collection == DAILY_GLOBAL
        else define_mean(collection, one.span, one.tile, one.version, members, least_days)
    )
    if not one.on_grid or today.fingerprint(grid) == one.fingerprint:
        return ""
    fields, version = today.fingerprint_fields(grid), ALGORITHM_VERSIONS["aggregates"]
    for algorithm in range(int(version), 0, -1):
        for profile in range(OUTPUT_PROFILE_NUMBER, 0, -1):
            output = {**today.output, "profile": profile}
            if profile == 1:  # its number was not written then
                del output["profile"]
            if digest({**fields, "algorithm": str(algorithm), "output": output}) == one.fingerprint:
                changes = [f"algorithm {algorithm}, now {version}"] if str(algorithm) != version else []
                changes += [f"output profile {profile}, now {OUTPUT_PROFILE_NUMBER}"] if output != today.output else []
                return f"changed since it was made: {', '.join(changes)}"
    return "changed since it was made: algorithm or output"


def _change(before: FingerprintById, now: FingerprintById) -> str:
    changed = sum(now[id] != before[id] for id in before.keys() & now.keys())
    counts = {"new": len(now.keys() - before.keys()), "replaced": changed, "gone": len(before.keys() - now.keys())}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"made from {len(before)} items, of which there are {len(now)} now ({told})"


def _by_tile(
    month_of: Callable[[Period, str], list[SourceItem]], span: Period, version: str
) -> dict[str, dict[str, str]]:
    """Return the fingerprints of the tile-days of a span, by tile; a month is listed once for all of its days."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for part in span.months():
        for member in month_of(Period.parse(f"{part.start:%Y-%m}"), version):
            if member.day in span:
                found[member.tile][member.id] = member.fingerprint
    return found


def _there(catalog: WritableCatalog, collection: str, grid: TileGrid) -> Iterator[_PublishedAggregate]:
    with ThreadPoolExecutor(StoreDocuments(catalog.store).workers) as pool:
        found = pool.map(lambda path: _read(catalog, path, grid), item_paths(catalog.store, collection))
        yield from (one for one in found if one is not None)


def _read(catalog: WritableCatalog, path: str, grid: TileGrid) -> _PublishedAggregate | None:
    """Return an aggregate that is there; None of a withdrawal notice, and of what is no aggregate."""
    try:
        item = json.loads(catalog.store.read(path))
        return _of_item(catalog, path, item, grid) if "members" in item["assets"] else None
    except (CatalogError, ValueError, KeyError, TypeError):
        return None


def _of_item(catalog: WritableCatalog, path: str, item: Mapping[str, Any], grid: TileGrid) -> _PublishedAggregate:
    properties = item["properties"]
    first, last = (date.fromisoformat(properties[f"{end}_datetime"][:10]) for end in ("start", "end"))
    listed = posixpath.join(posixpath.dirname(path), item["assets"]["members"]["href"])
    rows = json.loads(catalog.store.read(posixpath.normpath(listed)))
    members = {row["id"]: row[FINGERPRINT_PROPERTY] for row in rows}
    id, span = item["id"], Period(first, last + ONE_DAY)
    tile, least_days = tile_of(id), least_days_of(str(properties.get("processing:lineage", "")))
    on_grid = _covers(item, grid) if tile == GLOBAL else lies_on(item, grid)
    fingerprint = properties[FINGERPRINT_PROPERTY]
    return _PublishedAggregate(path, id, span, tile, properties["version"], fingerprint, members, least_days, on_grid)


def _covers(item: Mapping[str, Any], grid: TileGrid) -> bool:
    """Return whether an item lies where the whole grid does."""
    geobox, found = whole_grid_geobox(grid), item["properties"]
    same_shape = list(found["proj:shape"]) == list(geobox.shape)
    return same_shape and bool(np.allclose(found["proj:transform"], list(geobox.affine)[:6], rtol=1e-12, atol=1e-9))
