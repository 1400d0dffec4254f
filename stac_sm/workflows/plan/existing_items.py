"""Find which tile-days exist, from a listing of the store, and what each item states about itself.

Planning compares them with what is to be made. The index only saves time: a row of it counts where the listing shows
the same item JSON (etag, or time and inode) and an asset that bears the row's fingerprint; whatever else is listed is
read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from stac_sm.core.period import Period
from stac_sm.product.item import PRODUCT_COLLECTION, ProductDay
from stac_sm.product.product_id import split_version, tile_of
from stac_sm.stac.catalogs.catalog import StoreDocuments
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.index.manifest import check_manifest, is_item, read_manifest
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, RETRACTED_PROPERTY
from stac_sm.storage.object_meta import ObjectMeta
from stac_sm.storage.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

FINGERPRINT_PARTS_PROPERTY = "stac_sm:parts"
"""Property of a product: 8 hex digits of each part of its fingerprint."""


@dataclass(frozen=True)
class ExistingItem:
    """What an item states about itself."""

    path: str
    """Path of its JSON, below the store's root."""

    fingerprint: str
    """Fingerprint of what it was made from."""

    retracted: bool = False
    """Whether it is a withdrawal notice."""

    parts: Mapping[str, str] = field(default_factory=dict)
    """8 hex digits of each part of the fingerprint; empty where it does not state them."""

    made_from: frozenset[str] = frozenset()
    """Ids of the input items, by its ``derived_from`` links."""


@dataclass
class ExistingItems:
    """Tile-days of a period that have an item."""

    store: Store
    """Where they lie."""

    listed: Mapping[str, ObjectMeta]
    """Item id -> metadata of its JSON."""

    confirmed: Mapping[str, str]
    """Item id -> fingerprint, where the index is up to date about it."""

    _read: dict[str, ExistingItem] = field(default_factory=dict)

    @classmethod
    def of(cls, catalog: WritableCatalog, period: Period) -> ExistingItems:
        """List the tile-days in the months of a period: one listing each, and no item is read yet.

        Parameters
        ----------
        catalog
            Catalogue with the product.
        period
            UTC days; whole months are listed.

        Returns
        -------
        ExistingItems
            Those with an item.
        """
        listed, confirmed = dict[str, ObjectMeta](), dict[str, str]()
        for month in period.months():
            found, known = _of_month(catalog.store, month)
            listed.update(found)
            confirmed.update(known)
        return cls(catalog.store, listed, confirmed)

    @classmethod
    def of_rows(cls, store: Store, rows: pa.Table) -> ExistingItems:
        """Return the tile-days of some rows of `existing_item_rows`.

        Parameters
        ----------
        store
            Store that the rows are of.
        rows
            Columns ``id``, ``tile``, ``path``, ``fingerprint``.

        Returns
        -------
        ExistingItems
            Those of the rows.
        """
        ids, paths, fingerprints = (rows[name].to_pylist() for name in ("id", "path", "fingerprint"))
        listed = {id: ObjectMeta(path, 0) for id, path in zip(ids, paths, strict=True)}
        return cls(store, listed, {id: one for id, one in zip(ids, fingerprints, strict=True) if one is not None})

    def look_up(self, expected: Sequence[ProductDay], ids: Sequence[str] = ()) -> list[ExistingItem | None]:
        """Return what exists of each of some tile-days.

        Items for which the index does not confirm the expected fingerprint are read.

        Parameters
        ----------
        expected
            Tile-days with the fingerprints that they should have.
        ids
            Ids of these tile-days, where they are known already; they are computed if there are none.

        Returns
        -------
        list of ExistingItem or None
            One a tile-day, in their order; None where there is no item.
        """
        ids = ids or [made.id for made in expected]
        unread = [
            id
            for id, made in zip(ids, expected, strict=True)
            if id in self.listed and self.confirmed.get(id) != made.fingerprint and id not in self._read
        ]
        if unread:
            with ThreadPoolExecutor(StoreDocuments(self.store).workers) as pool:
                self._read.update(zip(unread, pool.map(self._item, unread), strict=True))
        return [self._found(id, made) for id, made in zip(ids, expected, strict=True)]

    def predecessor(self, id: str) -> str:
        """Return the id of the same tile-day in the version before that of an id; empty if there is none.

        Parameters
        ----------
        id
            Id of a tile-day.

        Returns
        -------
        str
            Of the next older version that has an item.
        """
        if self._every_version <= {split_version(id)[1]}:  # mostly; and shorter, for millions
            return ""
        return max((one for one in self._versions.get(split_version(id)[0], ()) if one < id), default="")

    @cached_property
    def _every_version(self) -> set[str]:
        return {split_version(id)[1] for id in self.listed}

    @cached_property
    def _versions(self) -> dict[str, list[str]]:
        """Ids of each tile-day, of all versions."""
        found: dict[str, list[str]] = {}
        for id in self.listed:
            found.setdefault(split_version(id)[0], []).append(id)
        return found

    def _found(self, id: str, made: ProductDay) -> ExistingItem | None:
        if id not in self.listed:
            return None
        return self._read.get(id) or ExistingItem(self.listed[id].path, made.fingerprint)

    def _item(self, id: str) -> ExistingItem:
        path = self.listed[id].path
        item = json.loads(self.store.read(path))
        properties, links = item["properties"], item.get("links", ())
        titles = frozenset(str(link.get("title", "")) for link in links if link.get("rel") == "derived_from")
        made_from = titles - {properties.get("stac_sm:model")}
        return ExistingItem(
            path,
            str(properties.get(FINGERPRINT_PROPERTY)),
            RETRACTED_PROPERTY in properties,
            properties.get(FINGERPRINT_PARTS_PROPERTY) or {},
            made_from,
        )


def existing_item_rows(store: Store, month: Period) -> pa.Table:
    """List the items of the product in a month.

    Parameters
    ----------
    store
        Store of the catalogue.
    month
        A whole month.

    Returns
    -------
    pyarrow.Table
        ``id``, ``tile``, ``path``, and ``fingerprint`` where the index is up to date about the item; else null.
    """
    import pyarrow as pa

    listed, confirmed = _of_month(store, month)
    columns = {
        "id": list(listed),
        "tile": [tile_of(id) for id in listed],
        "path": [entry.path for entry in listed.values()],
        "fingerprint": [confirmed.get(id) for id in listed],
    }
    return pa.table({name: pa.array(column, pa.string()) for name, column in columns.items()})


def _of_month(store: Store, month: Period) -> tuple[dict[str, ObjectMeta], dict[str, str]]:
    """Return item id -> metadata of its JSON, and -> fingerprint where the index is up to date about it."""
    entries = list(store.list_objects(f"{PRODUCT_COLLECTION}/{month.start:%Y/%m}"))
    listed = {_id(entry.path): entry for entry in entries if is_item(entry.path)}
    rows = check_manifest(read_manifest(store, PRODUCT_COLLECTION, f"{month.start:%Y-%m}"), entries).unchanged
    paths, fingerprints = rows["path"].to_pylist(), rows[FINGERPRINT_PROPERTY].to_pylist()
    return listed, {_id(path): one for path, one in zip(paths, fingerprints, strict=True) if one is not None}


def _id(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".json")
