"""Standing: which tile-days there are, from a listing of the store, and what each item says of itself.

The index only saves time. A row of it counts as proof where the listing shows the same item JSON (etag, or time and
inode) and an asset that bears the row's fingerprint; whatever else is listed is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

from stac_sm.catalog import Catalog, StoreDocuments
from stac_sm.entry import Entry
from stac_sm.index import check, read_index
from stac_sm.index.proof import is_item
from stac_sm.period import Period
from stac_sm.products import COLLECTION, ProductDay
from stac_sm.publishing import FINGERPRINT, RETRACTED
from stac_sm.store import Store


@dataclass(frozen=True)
class Found:
    """What an item says of itself."""

    path: str
    """Of its JSON, below the store's root."""

    fingerprint: str
    """What it was made from."""

    retracted: bool = False
    """Whether it is a tombstone."""


@dataclass
class Standing:
    """Tile-days of a period that have an item."""

    store: Store
    """Where they lie."""

    listed: Mapping[str, Entry]
    """Item id -> entry of its JSON."""

    proven: Mapping[str, str]
    """Item id -> fingerprint, where the index is proof of it."""

    _read: dict[str, Found] = field(default_factory=dict)

    @classmethod
    def of(cls, catalog: Catalog, period: Period) -> Standing:
        """What is there in the months of a period: one listing each, and no item is read yet."""
        listed, proven = dict[str, Entry](), dict[str, str]()
        for month in period.months():
            entries = list(catalog.store.entries(f"{COLLECTION}/{month.start:%Y/%m}"))
            found = {_id(entry.path): entry for entry in entries if is_item(entry.path)}
            listed.update(found)
            rows = check(read_index(catalog.store, COLLECTION, f"{month.start:%Y-%m}"), entries).proven
            proven.update(zip(rows["id"].to_pylist(), rows[FINGERPRINT].to_pylist(), strict=True))
        return cls(catalog.store, listed, proven)

    def judge(self, wanted: Sequence[ProductDay]) -> list[Found | None]:
        """What there is of each of some tile-days; items that the index does not prove to be as wanted are read."""
        unread = [
            made.id
            for made in wanted
            if made.id in self.listed and self.proven.get(made.id) != made.fingerprint and made.id not in self._read
        ]
        with ThreadPoolExecutor(StoreDocuments(self.store).workers) as pool:
            self._read.update(zip(unread, pool.map(self._item, unread), strict=True))
        return [self._found(made) for made in wanted]

    def predecessor(self, made: ProductDay) -> str:
        """Id of the same tile-day in the version before; empty if there is none."""
        return max((id for id in self._versions.get(_series(made.id), ()) if id < made.id), default="")

    @cached_property
    def _versions(self) -> dict[str, list[str]]:
        """Ids of each tile-day, of all versions."""
        found: dict[str, list[str]] = {}
        for id in self.listed:
            found.setdefault(_series(id), []).append(id)
        return found

    def _found(self, made: ProductDay) -> Found | None:
        if made.id not in self.listed:
            return None
        return self._read.get(made.id) or Found(self.listed[made.id].path, made.fingerprint)

    def _item(self, id: str) -> Found:
        path = self.listed[id].path
        properties = json.loads(self.store.read(path))["properties"]
        return Found(path, str(properties.get(FINGERPRINT)), RETRACTED in properties)


def _id(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".json")


def _series(id: str) -> str:
    """An id without its version."""
    return id.rpartition(".v")[0]
