"""The service: a catalogue as the API sees it, kept up to date while it runs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from stac_sm.core.errors import CatalogError, StacSmError
from stac_sm.serve.item_columns import ItemColumns, load_item_columns
from stac_sm.stac.catalogs.catalog import Catalog, open_catalog
from stac_sm.stac.index.manifest import index_months
from stac_sm.stac.items import ItemDict
from stac_sm.storage.store import Store

REFRESH_SECONDS = 60.0
"""How often it is looked whether something was published."""

_CONNECTIONS = 16


@dataclass(frozen=True)
class CatalogSnapshot:
    """What was in the catalogue at one time."""

    root: Mapping[str, Any]
    """``catalog.json``."""

    collections: Mapping[str, Mapping[str, Any]]
    """JSON by id, in the order of the ids."""

    rows: ItemColumns
    """Items."""

    state: object
    """Changes when the store does."""


class CatalogService:
    """A catalogue in a folder or on S3, for reading."""

    def __init__(self, href: str) -> None:
        self._href = href
        catalog = open_catalog(href)
        if not isinstance(catalog, Catalog):
            raise CatalogError(f"{href} is no folder and no s3://BUCKET/PREFIX: only such catalogues are served")
        self.store: Store = catalog.store
        self._snapshot = _snapshot(catalog)
        self._looked = time.monotonic()
        self._refreshing = threading.Lock()
        self._pool = ThreadPoolExecutor(_CONNECTIONS)

    @property
    def snapshot(self) -> CatalogSnapshot:
        """The latest; a new one is made in the background when the store has changed."""
        if time.monotonic() - self._looked > REFRESH_SECONDS and self._refreshing.acquire(blocking=False):
            self._looked = time.monotonic()
            threading.Thread(target=self._refresh, daemon=True).start()
        return self._snapshot

    def items(self, paths: Sequence[str]) -> list[tuple[str, ItemDict]]:
        """Items of these paths as they are now; one that is gone is left out."""
        contents: Iterable[bytes | None]
        contents = self._pool.map(self._read, paths) if "://" in self.store.root else map(self._read, paths)
        return [(path, json.loads(content)) for path, content in zip(paths, contents, strict=True) if content]

    def _read(self, path: str) -> bytes | None:
        try:
            return self.store.read(path)
        except CatalogError:
            if self.store.exists(path):
                raise
            return None

    def _refresh(self) -> None:
        try:
            catalog = open_catalog(self._href)
            if _state(catalog) != self._snapshot.state:
                self._snapshot = _snapshot(catalog)
        except StacSmError:
            pass  # the store does not answer, or is being written: what is known stays until the next look
        finally:
            self._refreshing.release()


def _snapshot(catalog: Catalog) -> CatalogSnapshot:
    state = _state(catalog)
    collections = {id: catalog.collection(id) for id in catalog.collections}
    return CatalogSnapshot(catalog.document("catalog.json"), collections, load_item_columns(catalog), state)


def _state(catalog: Catalog) -> object:
    """The index of each collection; of one without, all that is in it."""
    return [(id, _listing(catalog.store, id)) for id in catalog.collections]


def _listing(store: Store, collection: str) -> list[tuple[str, str]]:
    indexed = index_months(store, collection)
    document = [(entry.path, entry.version) for entry in store.list_objects(f"{collection}/index")] if indexed else []
    return document or [
        (entry.path, entry.version) for entry in store.list_objects(collection) if ".json" in entry.path
    ]
