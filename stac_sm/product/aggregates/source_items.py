"""Find the source items of an aggregate: the published items that it is made from, and how its item refers to them.

`mosaic`, `means` and `staleness` list tile-days here. The index of the collection answers for what it covers, so that
few items are read.
"""

from __future__ import annotations

import json
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import Any

from stac_sm.core.errors import ConflictError, InputError
from stac_sm.core.period import Period
from stac_sm.product.item import PRODUCT_COLLECTION, ProductDay
from stac_sm.raster.source import RasterSource, raster_source
from stac_sm.stac.catalogs.catalog import StoreDocuments
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.catalogs.search import item_from_document
from stac_sm.stac.index.manifest import check_manifest, is_item, read_manifest
from stac_sm.stac.items import link_to_item, link_to_sources, relative_href
from stac_sm.stac.publish import FINGERPRINT_PROPERTY

_MOST_LINKS = 31  # of an item: the days of a month


@dataclass(frozen=True)
class SourceItem:
    """One published item that an aggregate is made from."""

    id: str
    """Item id."""

    tile: str
    """Tile id."""

    day: date
    """First day that it covers."""

    fingerprint: str
    """Fingerprint of what it was made from itself."""

    path: str
    """Path of its JSON, below the root of the catalogue."""


@dataclass(frozen=True)
class AggregateResult:
    """Outcome of one aggregate."""

    id: str
    """Item id."""

    outcome: str
    """``new``, ``replaced`` or ``done``; ``failed`` if it could not be made."""

    members: int
    """Number of items that it is made from."""

    path: str
    """Path of its JSON, below the root of the catalogue."""

    fingerprint: str
    """Fingerprint of what it was made from."""

    error: str = ""
    """Why it failed; empty if it did not."""


def tile_days(catalog: WritableCatalog, period: Period, version: str) -> list[SourceItem]:
    """Return the tile-days of a product version that have data; those that were withdrawn are left out.

    They come from one listing a month. An item is read only where the index is not up to date about it.

    Parameters
    ----------
    catalog
        Catalogue with the product.
    period
        UTC days.
    version
        Product version.

    Returns
    -------
    list of SourceItem
        In the order of days and tiles.
    """
    found = [member for month in period.months() for member in _of_month(catalog, month, version)]
    return sorted((one for one in found if one.day in period), key=lambda one: (one.day, one.tile))


def by_tile(members: Iterable[SourceItem]) -> dict[str, list[SourceItem]]:
    """Group source items by tile.

    Parameters
    ----------
    members
        In any order; within a tile it is kept.

    Returns
    -------
    dict of str to list of SourceItem
        In the order of tile ids.
    """
    groups: dict[str, list[SourceItem]] = defaultdict(list)
    for member in members:
        groups[member.tile].append(member)
    return dict(sorted(groups.items()))


def source_item_raster(catalog: WritableCatalog, member: SourceItem, asset: str) -> RasterSource:
    """Return what a source item says of an asset.

    Parameters
    ----------
    catalog
        Catalogue that holds it.
    member
        The source item.
    asset
        Key of the asset, e.g. ``sm``.

    Returns
    -------
    RasterSource
        Place, grid and scale of the file; no pixel is read.

    Raises
    ------
    ConflictError
        If the item was replaced since it was listed.
    """
    document = json.loads(catalog.store.read(member.path))
    if document["properties"].get(FINGERPRINT_PROPERTY) != member.fingerprint:
        raise ConflictError(f"item {member.path} was replaced while it was read: run the same command again")
    found = raster_source(item_from_document(document, catalog.store.href(member.path)), asset)
    return found.with_feature(None, "", catalog.root)


def source_items_json(members: Sequence[SourceItem], folder: str) -> bytes:
    """Return the content of the asset ``members``: id, fingerprint and href of each source item.

    Parameters
    ----------
    members
        The source items.
    folder
        Folder of the aggregate below the catalogue's root; hrefs are relative to it.

    Returns
    -------
    bytes
        JSON.
    """
    rows = [{"id": m.id, FINGERPRINT_PROPERTY: m.fingerprint, "href": relative_href(folder, m.path)} for m in members]
    return (json.dumps(rows, indent=1) + "\n").encode()


def links_to(members: Sequence[SourceItem], folder: str) -> list[dict[str, str]]:
    """Return the links to the source items, or to the catalogues that list them where they are many.

    Parameters
    ----------
    members
        The source items; all of them are listed in the asset ``members``.
    folder
        Folder of the aggregate below the catalogue's root; hrefs are relative to it.

    Returns
    -------
    list of dict
        STAC links: ``derived_from`` to up to 31 items; else ``related`` to up to 31 catalogues that list them, or to
        the catalogues one level higher.
    """
    if len(members) <= _MOST_LINKS:
        return [link_to_item(relative_href(folder, one.path), one.id) for one in members]
    listed = sorted({posixpath.dirname(posixpath.dirname(member.path)) for member in members})
    if len(listed) > _MOST_LINKS:
        listed = sorted({posixpath.dirname(one) for one in listed})
    return [link_to_sources(relative_href(folder, f"{one}/{_document(one)}"), one) for one in listed]


def _document(folder: str) -> str:
    return "catalog.json" if "/" in folder else "collection.json"


def _of_month(catalog: WritableCatalog, month: Period, version: str) -> Iterator[SourceItem]:
    entries = list(catalog.store.list_objects(f"{PRODUCT_COLLECTION}/{month.start:%Y/%m}"))
    listed = {entry.path for entry in entries}
    rows = check_manifest(read_manifest(catalog.store, PRODUCT_COLLECTION, f"{month.start:%Y-%m}"), entries).unchanged
    proven = dict(zip(rows["path"].to_pylist(), rows[FINGERPRINT_PROPERTY].to_pylist(), strict=True))
    wanted = {path: made for path in filter(is_item, sorted(listed)) if (made := _made(path, version)) is not None}
    unread = [path for path in wanted if not _has_data(path, proven.get(path), listed)]
    with ThreadPoolExecutor(StoreDocuments(catalog.store).workers) as pool:
        read = dict(zip(unread, pool.map(lambda path: _fingerprint_in_item(catalog, path), unread), strict=True))
    for path, made in wanted.items():
        number = read[path] if path in read else proven[path]
        if number is not None:
            yield SourceItem(made.id, made.tile, made.day, number, path)


def _has_data(path: str, fingerprint: str | None, listed: set[str]) -> bool:
    """Return whether the index covers an item and its soil moisture; a withdrawal notice has none."""
    return fingerprint is not None and f"{path.removesuffix('.json')}.{fingerprint[:12]}.sm.tif" in listed


def _fingerprint_in_item(catalog: WritableCatalog, path: str) -> str | None:
    """Return the fingerprint that an item states; None of one without data, such as a withdrawal notice."""
    item: Mapping[str, Any] = json.loads(catalog.store.read(path))
    return str(item["properties"].get(FINGERPRINT_PROPERTY)) if "sm" in item.get("assets", {}) else None


def _made(path: str, version: str) -> ProductDay | None:
    try:
        made = ProductDay.of_id(posixpath.basename(path).removesuffix(".json"))
    except InputError:
        return None
    return made if made.version == version else None
