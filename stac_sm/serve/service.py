"""Decide what of a catalogue may be given out, and keep that up to date while the server runs.

Collections that are restricted (see `stac_sm.stac.visibility`) are left out here, before any route looks for anything:
their items are in no snapshot, and documents and assets leave the service without what leads to them.
"""

from __future__ import annotations

import json
import posixpath
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from stac_sm.core.errors import CatalogError, InputError, StacSmError
from stac_sm.core.text import unknown_name_message
from stac_sm.serve.documents import item_document
from stac_sm.serve.item_columns import CHECKED_ITEMS, ItemColumns, load_item_columns
from stac_sm.stac.catalogs.catalog import open_writable_catalog
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.index.manifest import index_months, is_item
from stac_sm.stac.items import ItemDict
from stac_sm.stac.visibility import PublicView, public_view
from stac_sm.storage.address import is_remote
from stac_sm.storage.local_store import LocalStore
from stac_sm.storage.store import Store

REFRESH_SECONDS = 10.0
"""After so long, the next answer waits until it was looked whether something was published."""

_LONGEST_WAIT = 10.0  # s that an answer waits for that look: a store that does not answer must not stop the server
_CONNECTIONS = 16
_READY_SECONDS = 5.0  # for which one answer of the store is taken as a sign that it answers


_DOCUMENTS_REMEMBERED = 4096  # JSON of items, some kB each
_ITEMS_REMEMBERED = 10_000  # whose assets are known without a look at the store


@dataclass(frozen=True)
class CatalogSnapshot:
    """The part of the catalogue that was given out at one time."""

    root: Mapping[str, Any]
    """``catalog.json``."""

    view: PublicView
    """Which collections and assets are given out."""

    collections: Mapping[str, Mapping[str, Any]]
    """JSON of the collections that are given out, by id, in the order of the ids."""

    rows: ItemColumns
    """Items of these collections."""

    state: object
    """Changes when the store does."""


class CatalogService:
    """Read access to the part of a catalogue that may be given out, in a folder or on S3.

    Parameters
    ----------
    href
        A folder, or ``s3://BUCKET/PREFIX``.
    opened
        Ids of restricted collections that an operator opens by name.

    Raises
    ------
    CatalogError
        If there is no catalogue.
    InputError
        If a collection that is to be opened is not in it.
    """

    def __init__(self, href: str, opened: Sequence[str] = ()) -> None:
        self._href, self._opened = href, tuple(opened)
        catalog = open_writable_catalog(href)
        for id in self._opened:
            if id not in catalog.collections:
                raise InputError(f"--collections: {unknown_name_message('collection', id, catalog.collections)}")
        self.store: Store = catalog.store
        self._snapshot = _snapshot(catalog, self._opened)
        self._looked = self._answered = time.monotonic()
        self._refreshing = threading.Lock()
        self._pool = ThreadPoolExecutor(_CONNECTIONS)
        self._documents: dict[tuple[str, str], tuple[PublicView, str, bytes]] = {}
        self._files: dict[str, tuple[PublicView, str, frozenset[str]]] = {}

    @property
    def snapshot(self) -> CatalogSnapshot:
        """Latest snapshot, at most `REFRESH_SECONDS` old; an old one only while the store does not answer."""
        if time.monotonic() - self._looked > REFRESH_SECONDS and self._refreshing.acquire(timeout=_LONGEST_WAIT):
            try:
                if time.monotonic() - self._looked > REFRESH_SECONDS:  # nobody else has looked meanwhile
                    self._refresh()
            finally:
                self._refreshing.release()
        return self._snapshot

    @property
    def item_count(self) -> int:
        """Number of items that can be found, as last seen."""
        return len(self._snapshot.rows)

    @property
    def seconds_since_look(self) -> float:
        """Seconds since it was looked whether something was published."""
        return time.monotonic() - self._looked

    def why_not_ready(self) -> str:
        """Return why the service cannot answer now; empty if it can.

        Returns
        -------
        str
            What the store says instead of giving ``catalog.json``; asked again after some seconds.
        """
        if time.monotonic() - self._answered > _READY_SECONDS:
            try:
                self.store.read("catalog.json")
            except (StacSmError, OSError) as error:
                return str(error)
            self._answered = time.monotonic()
        return ""

    def items(self, paths: Sequence[str]) -> list[tuple[str, ItemDict]]:
        """Return the items of some paths as they are given out now; what is gone, hidden or not ours is left out.

        Parameters
        ----------
        paths
            Below the root of the store.

        Returns
        -------
        list of tuple
            Path and JSON of each item, in the same order.
        """
        view = self._snapshot.view
        shown = [path for path in paths if path.partition("/")[0] in view.shown]
        contents: Iterable[bytes | None]
        contents = self._pool.map(self._read, shown) if is_remote(self.store.root) else map(self._read, shown)
        found = ((path, _item(path, content)) for path, content in zip(shown, contents, strict=True))
        return [(path, view.item(item, posixpath.dirname(path))) for path, item in found if item is not None]

    def item_documents(self, paths: Sequence[str], base: str) -> list[bytes]:
        """Return JSON of items as the API gives them, ready to be sent.

        In a folder it is remembered as long as the file is the same, so that an item that is retracted or replaced is
        so in the next answer. An item on S3 is read each time.

        Parameters
        ----------
        paths
            Below the root of the store.
        base
            Address of the API, without a slash at its end.

        Returns
        -------
        list of bytes
            In the same order; what is gone, hidden or not ours is left out.
        """
        view, store = self._snapshot.view, self.store
        versions = {path: store.version(path) for path in paths} if isinstance(store, LocalStore) else {}
        found: dict[str, bytes] = {}
        for path in paths:
            known = self._documents.get((path, base))
            if known is not None and known[0] is view and known[1] == versions.get(path):
                found[path] = known[2]
        for path, item in self.items([path for path in paths if path not in found]):
            found[path] = orjson.dumps(item_document(item, path, base))
            if (version := versions.get(path)) is not None:
                if len(self._documents) >= _DOCUMENTS_REMEMBERED:
                    self._documents.clear()
                self._documents[path, base] = (view, version, found[path])
        return [found[path] for path in paths if path in found]

    def stored_catalog(self, path: str) -> dict[str, Any] | None:
        """Return a sub-catalogue of a collection as it is given out; None if there is none at this path.

        Parameters
        ----------
        path
            Below the root of the store.

        Returns
        -------
        dict or None
            JSON with the links of the store.
        """
        view = self._snapshot.view
        content = self._read(path) if path.partition("/")[0] in view.shown else None
        document = _document(content)
        return view.catalog(document, posixpath.dirname(path)) if document.get("type") == "Catalog" else None

    def gives_file(self, path: str) -> bool:
        """Return whether a file is an asset, of an item or of a collection, that is given out.

        What no document names is not given out: indices, files of items that were replaced or withdrawn.

        Parameters
        ----------
        path
            Below the root of the store.

        Returns
        -------
        bool
            False for everything else, whether it is there or not.
        """
        snapshot, collection = self.snapshot, path.partition("/")[0]
        if collection not in snapshot.view.shown:
            return False
        if path in snapshot.view.asset_paths(snapshot.collections[collection], collection):
            return True
        folder = posixpath.dirname(path)
        while "/" in folder:
            item = f"{folder}/{posixpath.basename(folder)}.json"
            if path in self._files_of(item, snapshot.view):
                return True
            folder = posixpath.dirname(folder)
        return False

    def _files_of(self, item: str, view: PublicView) -> frozenset[str]:
        """Return the files that an item gives out now.

        In a folder they are remembered as long as the file of the item is the same, since a raster is read by many
        requests. An item on S3 is read each time: what is retracted is so for its files, too.
        """
        version = self.store.version(item) if isinstance(self.store, LocalStore) else None
        known = self._files.get(item)
        if known is not None and known[0] is view and known[1] == version:
            return known[2]
        found = self.items([item])
        files = view.asset_paths(found[0][1], posixpath.dirname(item)) if found else frozenset[str]()
        if files and version is not None:
            if len(self._files) >= _ITEMS_REMEMBERED:
                self._files.clear()
            self._files[item] = (view, version, files)
        return files

    def _read(self, path: str) -> bytes | None:
        try:
            return self.store.read(path)
        except CatalogError:
            if self.store.exists(path):
                raise
            return None

    def _refresh(self) -> None:
        try:
            catalog = open_writable_catalog(self._href)
            if _state(catalog, _view(catalog, self._opened)) != self._snapshot.state:
                self._snapshot = _snapshot(catalog, self._opened)
        except StacSmError:
            pass  # the store does not answer, or is being written: what is known stays until the next look
        finally:
            self._looked = time.monotonic()


def _document(content: bytes | None) -> dict[str, Any]:
    """Return a JSON object; an empty one of what is none."""
    try:
        found = json.loads(content or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _item(path: str, content: bytes | None) -> ItemDict | None:
    """Return an item whose id and collection are those of its path, which decides what is given out; else None."""
    found = _document(content)
    named = (found.get("collection"), found.get("id"))
    sound = isinstance(found.get("assets"), dict) and isinstance(found.get("links"), list)
    return found if sound and named == (path.partition("/")[0], posixpath.basename(path)[: -len(".json")]) else None


def _view(catalog: WritableCatalog, opened: Sequence[str]) -> PublicView:
    return public_view(catalog.store.root, [catalog.collection(id) for id in catalog.collections], opened)


def _snapshot(catalog: WritableCatalog, opened: Sequence[str]) -> CatalogSnapshot:
    view = _view(catalog, opened)
    state = _state(catalog, view)
    shown = sorted(view.shown)
    collections = {id: view.collection(id) for id in shown}
    return CatalogSnapshot(
        catalog.document("catalog.json"), view, collections, load_item_columns(catalog, shown), state
    )


def _state(catalog: WritableCatalog, view: PublicView) -> object:
    """Return what changes with the items that are given out: documents of collections, and their items or index."""
    return view.collections, [(id, _listing(catalog.store, id)) for id in sorted(view.shown)]


def _listing(store: Store, collection: str) -> list[tuple[str, str]]:
    """Return paths and versions of the items where a look at each is cheap, since the index follows them later only.

    On S3 a thousand objects are a request, and a large collection is found by its index in any case.
    """
    index: list[tuple[str, str]] = []
    if index_months(store, collection):
        index = [(entry.path, entry.version) for entry in store.list_objects(f"{collection}/index")]
    if index and is_remote(store.root):
        return index
    listed = ((entry.path, entry.version) for entry in store.list_objects(collection) if is_item(entry.path))
    items = list(islice(listed, CHECKED_ITEMS + 1))
    return index if index and len(items) > CHECKED_ITEMS else items
