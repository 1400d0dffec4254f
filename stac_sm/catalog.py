"""Catalogues: static STAC on a store, found by following links; and the derived JSON that holds the links.

Items are the truth. Sub-catalogues, links and extents are derived from a listing of the item folders and can be
rebuilt at any time (`refresh`).
"""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import pystac

from stac_sm.errors import CatalogError, ConflictError
from stac_sm.items import ItemDict, item_json
from stac_sm.period import Period
from stac_sm.stac_api import ApiCatalog
from stac_sm.store import Store, open_store

BBox = tuple[float, float, float, float]
_SWAP_TRIES = 50


class ItemSearch(Protocol):
    """What a cube asks of a catalogue, be it a folder or a STAC API."""

    def items(self, collection: str, *, period: Period | None = None, bbox: BBox | None = None) -> list[pystac.Item]:
        """Items of a collection that meet a period and a box in degrees, in the order of their ids."""


def open_items(href: str) -> ItemSearch:
    """Items of a STAC API (http, https) or of a catalogue in a folder."""
    return ApiCatalog(href) if href.startswith(("http://", "https://")) else open_catalog(href)


def open_catalog(href: str | os.PathLike[str]) -> Catalog:
    """Catalogue at a folder, or at the ``catalog.json`` in it.

    Raises
    ------
    CatalogError
        If there is no STAC catalogue.
    """
    text = str(href)
    root = "." if text == "catalog.json" else text.removesuffix("/catalog.json")
    catalog = Catalog(open_store(root))
    if catalog.document("catalog.json").get("type") != "Catalog":
        raise CatalogError(f"{root}/catalog.json is no STAC catalogue: `stac-sm init DIR` makes one")
    return catalog


class Catalog:
    """A static STAC catalogue in a store.

    Items are read when they are first asked for and kept: open the catalogue again to see later changes.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._items: dict[str, pystac.Item] = {}

    @property
    def root(self) -> str:
        """Folder or URL of ``catalog.json``."""
        return self.store.root

    @property
    def collections(self) -> list[str]:
        """Ids of all collections, in order."""
        hrefs = _links(self.document("catalog.json"), "child")
        return sorted(str(PurePosixPath(posixpath.normpath(href)).parent) for href, _ in hrefs)

    def collection(self, id: str) -> dict[str, Any]:
        """The JSON of a collection.

        Raises
        ------
        CatalogError
            If it is not in the catalogue.
        """
        if id not in self.collections:
            known = ", ".join(self.collections) or "none"
            raise CatalogError(f"collection {id!r} is not in {self.root}: it has {known}; ingest it first")
        return self.document(f"{id}/collection.json")

    def layout(self, id: str) -> str:
        """How the items of a collection are placed (see ``items.item_folder``)."""
        return str(self.collection(id).get("stac_sm:layout", "flat"))

    def items(self, collection: str, *, period: Period | None = None, bbox: BBox | None = None) -> list[pystac.Item]:
        """Items of a collection that meet a period and a box in degrees, in the order of their ids."""
        self.collection(collection)
        found = (self._item(path) for path in self._walk(f"{collection}/collection.json", period))
        return sorted((item for item in found if _meets(item, period, bbox)), key=lambda item: item.id)

    def item(self, collection: str, id: str) -> pystac.Item:
        """Item of an id.

        Raises
        ------
        CatalogError
            If there is none.
        """
        for path in self._walk(f"{collection}/collection.json", None):
            if PurePosixPath(path).stem == id:
                return self._item(path)
        raise CatalogError(f"item {id!r} is not in collection {collection!r} of {self.root}: check the id")

    def document(self, path: str) -> dict[str, Any]:
        """A JSON file of the catalogue."""
        try:
            return dict(json.loads(self.store.read(path)))
        except ValueError as error:
            raise CatalogError(f"{self.store.href(path)} is no JSON: {error}; `stac-sm index` rebuilds it") from error

    def _item(self, path: str) -> pystac.Item:
        if path not in self._items:
            item = pystac.Item.from_dict(self.document(path), preserve_dict=False)
            item.set_self_href(self.store.href(path))
            self._items[path] = item
        return self._items[path]

    def _walk(self, path: str, period: Period | None) -> Iterator[str]:
        """Paths of the items below a document; each document is read once, so links in a circle do no harm."""
        waiting, seen = [path], {path}
        while waiting:
            path = waiting.pop()
            document, folder = self.document(path), posixpath.dirname(path)
            for href, _ in _links(document, "item"):
                yield posixpath.normpath(posixpath.join(folder, href))
            for href, title in _links(document, "child"):
                child = posixpath.normpath(posixpath.join(folder, href))
                if child not in seen and (period is None or _may_hold(title, period)):
                    seen.add(child)
                    waiting.append(child)


def item_period(item: pystac.Item) -> Period:
    """Days that an item covers.

    Raises
    ------
    CatalogError
        If the item has no time at all.
    """
    start = item.common_metadata.start_datetime or item.datetime
    end = item.common_metadata.end_datetime or item.datetime
    if start is None or end is None:
        raise CatalogError(f"item {item.id!r} has neither datetime nor an interval: it cannot be placed in time")
    return Period(start.date(), Period.of_day(end.date()).end)


def create_skeleton(store: Store, *, title: str) -> None:
    """Write the catalogue's own JSON, from the skeleton that ships with the package; what exists is left alone."""
    skeleton = skeleton_folder()
    for file in sorted(skeleton.glob("*/collection.json")):
        store.create(file.relative_to(skeleton).as_posix(), file)
    document = json.loads((skeleton / "catalog.json").read_text())
    store.create("catalog.json", item_json(document | {"title": title}))


def skeleton_folder() -> Path:
    """The static STAC skeleton: ``catalog/`` of the repository, or its copy inside the installed package."""
    installed = Path(__file__).with_name("_catalog")
    return installed if installed.is_dir() else Path(__file__).parent.parent / "catalog"


def refresh(store: Store, collection: str) -> None:
    """Rebuild sub-catalogues, links and extent of a collection from the items that are there.

    Safe beside other writers: JSON is compared and swapped, and the items are listed again after the swap.
    """
    for _ in range(_SWAP_TRIES):
        paths = item_paths(store, collection)
        written = all(_write_derived(store, path, document) for path, document in _derived(store, collection, paths))
        if written and item_paths(store, collection) == paths:
            return
    raise ConflictError(f"collection {collection!r} of {store.root} keeps changing: `stac-sm index` when it is quiet")


def item_paths(store: Store, collection: str) -> list[str]:
    """Paths of all item JSON of a collection, from a listing of the store."""
    paths = (PurePosixPath(entry.path) for entry in store.entries(collection))
    return [str(path) for path in paths if path.suffix == ".json" and path.stem == path.parent.name]


def _derived(store: Store, collection: str, paths: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Every derived document of a collection, innermost first."""
    folders: dict[str, set[str]] = {collection: set()}
    for path in paths:
        child = str(PurePosixPath(path).parent)
        while child != collection:
            parent = str(PurePosixPath(child).parent)
            folders.setdefault(parent, set()).add(child)
            child = parent
    items = {str(PurePosixPath(path).parent): path for path in paths}
    inner = sorted((folder for folder in folders if folder != collection), key=lambda folder: -folder.count("/"))
    documents = [(f"{folder}/catalog.json", _sub_catalog(folder, folders[folder], items)) for folder in inner]
    return [*documents, (f"{collection}/collection.json", _collection(store, collection, folders[collection], items))]


def _sub_catalog(folder: str, children: set[str], items: dict[str, str]) -> dict[str, Any]:
    parts = PurePosixPath(folder).parts
    title = "-".join(parts[1:])
    up = "../collection.json" if len(parts) == 2 else "../catalog.json"
    structure = [
        {"rel": "root", "href": "../" * len(parts) + "catalog.json", "type": "application/json", "title": "Project"},
        {"rel": "parent", "href": up, "type": "application/json", "title": "-".join(parts[1:-1]) or parts[0]},
    ]
    return {
        "type": "Catalog",
        "stac_version": "1.1.0",
        "id": "-".join(parts),
        "title": title,
        "description": f"{parts[0]}, {title}",
        "links": structure + _child_links(folder, children, items),
    }


def _collection(store: Store, collection: str, children: set[str], items: dict[str, str]) -> dict[str, Any]:
    document = dict(json.loads(store.read(f"{collection}/collection.json")))
    own = [link for link in document["links"] if link["rel"] not in {"child", "item"}]
    document["links"] = own + _child_links(collection, children, items)
    if items:
        document["extent"] = _extent([json.loads(store.read(path)) for path in items.values()])
    return document


def _child_links(folder: str, children: set[str], items: dict[str, str]) -> list[dict[str, str]]:
    links = []
    for child in sorted(children):
        name = PurePosixPath(child).name
        if child in items:
            href = f"./{name}/{name}.json"
            links.append({"rel": "item", "href": href, "type": "application/geo+json", "title": name})
        else:
            title = "-".join(PurePosixPath(child).parts[1:])
            link = {"rel": "child", "href": f"./{name}/catalog.json", "type": "application/json", "title": title}
            links.append(link)
    return links


def _extent(items: Sequence[ItemDict]) -> dict[str, Any]:
    west, south, east, north = zip(*(item["bbox"] for item in items), strict=True)
    times = [item["properties"] for item in items]
    start = min(time.get("start_datetime") or time["datetime"] for time in times)
    end = max(time.get("end_datetime") or time["datetime"] for time in times)
    bbox = [min(west), min(south), max(east), max(north)]
    return {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [[start, end]]}}


def _write_derived(store: Store, path: str, document: dict[str, Any]) -> bool:
    content = item_json(document)
    if not store.exists(path):
        return store.create(path, content)
    current = store.read(path)
    return current == content or store.swap(path, content, current)


def _links(document: dict[str, Any], rel: str) -> list[tuple[str, str]]:
    return [(link["href"], link.get("title", "")) for link in document.get("links", []) if link.get("rel") == rel]


def _may_hold(title: str, period: Period) -> bool:
    """Whether a sub-catalogue named by a year, month or day can hold items of a period.

    An item stands under the day it starts on: look back far enough for an 8-day or monthly composite.
    """
    if not re.fullmatch(r"\d{4}(-\d{2}){0,2}", title):
        return True
    return Period.parse(title).overlaps(period.widened(31))


def _meets(item: pystac.Item, period: Period | None, bbox: BBox | None) -> bool:
    if period is not None and not item_period(item).overlaps(period):
        return False
    if bbox is None or item.bbox is None:
        return True
    west, south, east, north = box_2d(item.bbox)
    if south > bbox[3] or north < bbox[1]:
        return False
    if west > east:  # the item lies across the antimeridian
        return west <= bbox[2] or east >= bbox[0]
    return west <= bbox[2] and east >= bbox[0]


def box_2d(bbox: Sequence[float]) -> BBox:
    """West, south, east, north of a STAC bbox, which may have heights in it."""
    half = len(bbox) // 2
    return (bbox[0], bbox[1], bbox[half], bbox[half + 1])
