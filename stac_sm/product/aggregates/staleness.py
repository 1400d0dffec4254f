"""Find stale aggregates: those made from other items than are there today.

`workflows.audit` reports them. Only items and their lists of source items are read, no pixel.
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

from stac_sm.core.errors import CatalogError
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.product.aggregates.means import ANNUAL, MONTHLY
from stac_sm.product.aggregates.mosaic import DAILY_GLOBAL
from stac_sm.product.aggregates.source_items import SourceItem, tile_days
from stac_sm.product.product_id import GLOBAL, tile_of
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
    """One aggregate that would be made from other items today."""

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


def stale_aggregates(catalog: WritableCatalog) -> Iterator[StaleAggregate]:
    """Find aggregates whose source items were replaced, withdrawn, or have become more, since they were made.

    One that cannot be read is left out: the audit names it.

    Parameters
    ----------
    catalog
        Catalogue with the product and its aggregates.

    Yields
    ------
    StaleAggregate
        Its path, what has changed, and the command that makes it again.
    """
    month_of = lru_cache(_MONTHS)(lambda month, version: tile_days(catalog, month, version))
    for collection in AGGREGATES:
        if collection in catalog.collections:
            groups = defaultdict[tuple[Period, str], list[_PublishedAggregate]](list)
            for one in _there(catalog, collection):
                groups[one.span, one.version].append(one)
            for (span, version), group in groups.items():
                yield from _stale(collection, group, _by_tile(month_of, span, version))


def _stale(
    collection: str, group: list[_PublishedAggregate], days: Mapping[str, dict[str, str]]
) -> Iterator[StaleAggregate]:
    every = {id: number for one in days.values() for id, number in one.items()}
    means = {one.id: one.fingerprint for one in group if one.tile != GLOBAL}
    for one in group:
        of_all = every if collection == DAILY_GLOBAL else means
        now = of_all if one.tile == GLOBAL else days.get(one.tile, {})
        if now != one.members:
            yield StaleAggregate(
                one.path, f"{_change(one.members, now)}: `stac-sm {AGGREGATES[collection]}` makes it again"
            )


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


def _there(catalog: WritableCatalog, collection: str) -> Iterator[_PublishedAggregate]:
    with ThreadPoolExecutor(StoreDocuments(catalog.store).workers) as pool:
        found = pool.map(lambda path: _read(catalog, path), item_paths(catalog.store, collection))
        yield from (one for one in found if one is not None)


def _read(catalog: WritableCatalog, path: str) -> _PublishedAggregate | None:
    """Return an aggregate that is there; None of a withdrawal notice, and of what is no aggregate."""
    try:
        item = json.loads(catalog.store.read(path))
        return _of_item(catalog, path, item) if "members" in item["assets"] else None
    except (CatalogError, ValueError, KeyError, TypeError):
        return None


def _of_item(catalog: WritableCatalog, path: str, item: Mapping[str, Any]) -> _PublishedAggregate:
    told = item["properties"]
    first, last = (date.fromisoformat(told[f"{end}_datetime"][:10]) for end in ("start", "end"))
    listed = posixpath.join(posixpath.dirname(path), item["assets"]["members"]["href"])
    rows = json.loads(catalog.store.read(posixpath.normpath(listed)))
    members = {row["id"]: row[FINGERPRINT_PROPERTY] for row in rows}
    id, span = item["id"], Period(first, last + ONE_DAY)
    return _PublishedAggregate(path, id, span, tile_of(id), told["version"], told[FINGERPRINT_PROPERTY], members)
