"""Derived documents: sub-catalogues, links and extents, which follow from the items.

Items are the truth. What is here is derived from a listing of the item folders and can be rebuilt at any time
(`refresh`); after a few items were published, `link` brings it up to date in the time that these few take.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from stac_sm.errors import ConflictError
from stac_sm.items import ItemDict, item_json
from stac_sm.store import Store

_SWAP_TRIES = 50


def skeleton_folder() -> Path:
    """The static STAC skeleton: ``catalog/`` of the repository, or its copy inside the installed package."""
    installed = Path(__file__).with_name("_catalog")
    return installed if installed.is_dir() else Path(__file__).parent.parent / "catalog"


def add_collection(store: Store, collection: str) -> None:
    """Give a catalogue a collection of the skeleton that is newer than it; one that is there is left alone.

    Raises
    ------
    ConflictError
        If another writer keeps changing the root.
    """
    file = skeleton_folder() / collection / "collection.json"
    store.create(f"{collection}/collection.json", file)
    document = json.loads(file.read_text())
    href = f"./{collection}/collection.json"
    added = {"rel": "child", "href": href, "type": "application/json", "title": document["title"]}
    for _ in range(_SWAP_TRIES):
        current = store.read("catalog.json")
        root = json.loads(current)
        if any(link["href"] == href for link in root["links"]):
            return
        if _swapped(store, "catalog.json", item_json({**root, "links": [*root["links"], added]}), current):
            return
    raise _busy(store, "catalog.json")


def refresh(store: Store, collection: str) -> None:
    """Rebuild sub-catalogues, links and extent of a collection from the items that are there.

    Safe beside other writers: JSON is compared and swapped, and the items are listed again after the swap.
    """
    for _ in range(_SWAP_TRIES):
        paths = item_paths(store, collection)
        documents = derived_documents(store, collection, paths)
        written = all(_write_derived(store, path, document) for path, document in documents)
        if written and item_paths(store, collection) == paths:
            return
    raise _busy(store, collection)


def link(store: Store, collection: str, paths: Iterable[str]) -> None:
    """Bring links and extent up to date after some items were published; the same as `refresh`, without a look at the
    others.

    Safe beside other writers: links are only added, extents only widened, each by compare and swap; an item is linked
    after the extent holds it, so that a writer who dies in between leaves it to the next one.

    Parameters
    ----------
    paths
        Of item JSON below the store's root; those that are not there are left out.
    """
    leaves = sorted({str(PurePosixPath(path).parents[1]) for path in paths})
    if collection in leaves:  # no sub-catalogues: the one list is that of all items
        refresh(store, collection)
        return
    widened = set[str]()
    linked = [leaf for leaf in leaves if _link_items(store, collection, leaf, widened)]
    for folder, children in _above(collection, linked):
        _until_written(store, folder, children)


def item_paths(store: Store, collection: str) -> list[str]:
    """Paths of all item JSON of a collection, or of a folder in it, from a listing of the store."""
    paths = (PurePosixPath(entry.path) for entry in store.entries(collection))
    return [str(path) for path in paths if path.suffix == ".json" and path.stem == path.parent.name]


def derived_documents(store: Store, collection: str, paths: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Path and content of every derived document of a collection, innermost first."""
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
    return _swapped(store, path, item_json(document), store.read(path) if store.exists(path) else None)


def _link_items(store: Store, collection: str, leaf: str, widened: set[str]) -> bool:
    """Sub-catalogue of a folder, from a listing of this folder; False if there is no item in it."""
    path = f"{leaf}/catalog.json"
    for _ in range(_SWAP_TRIES):
        paths = item_paths(store, leaf)
        if not paths:
            return False
        current = store.read(path) if store.exists(path) else None
        new = sorted(set(paths) - _linked(leaf, current) - widened)
        _widen(store, collection, new)
        widened.update(new)
        items = {str(PurePosixPath(one).parent): one for one in paths}
        content = item_json(_sub_catalog(leaf, set(items), items))
        if _swapped(store, path, content, current) and item_paths(store, leaf) == paths:
            return True
    raise _busy(store, leaf)


def _linked(folder: str, content: bytes | None) -> set[str]:
    """Paths of the items that a sub-catalogue links to."""
    links = json.loads(content)["links"] if content else []
    return {f"{folder}/{link['href'].removeprefix('./')}" for link in links if link["rel"] == "item"}


def _widen(store: Store, collection: str, paths: Sequence[str]) -> None:
    """Make the extent of a collection hold some items."""
    if not paths:
        return
    wanted = _extent([json.loads(store.read(path)) for path in paths])
    path = f"{collection}/collection.json"
    for _ in range(_SWAP_TRIES):
        current = store.read(path)
        document = json.loads(current)
        extents = [wanted] if _untouched(collection, document) else [document["extent"], wanted]
        document["extent"] = _union(extents)
        if _swapped(store, path, item_json(document), current):
            return
    raise _busy(store, collection)


def _untouched(collection: str, document: dict[str, Any]) -> bool:
    """Whether the extent is still that of the skeleton, which says what may come and not what there is."""
    if any(link["rel"] in {"child", "item"} for link in document["links"]):
        return False
    file = skeleton_folder() / collection / "collection.json"
    return not file.is_file() or json.loads(file.read_text())["extent"] == document["extent"]


def _above(collection: str, leaves: Sequence[str]) -> list[tuple[str, set[str]]]:
    """Folders above some, innermost first, with the folders in them that are to be linked."""
    children: dict[str, set[str]] = {}
    for leaf in leaves:
        folder = leaf
        while folder != collection:
            parent = str(PurePosixPath(folder).parent)
            children.setdefault(parent, set()).add(folder)
            folder = parent
    return sorted(children.items(), key=lambda pair: (-pair[0].count("/"), pair[0]))


def _until_written(store: Store, folder: str, children: set[str]) -> None:
    """Add links to sub-catalogues to those that a folder has."""
    top = "/" not in folder
    path = f"{folder}/collection.json" if top else f"{folder}/catalog.json"
    for _ in range(_SWAP_TRIES):
        current = store.read(path) if store.exists(path) else None
        links = json.loads(current)["links"] if current else []
        there = {f"{folder}/{link['href'].split('/')[1]}" for link in links if link["rel"] == "child"}
        if top and current:
            own = [link for link in links if link["rel"] not in {"child", "item"}]
            document = {**json.loads(current), "links": own + _child_links(folder, there | children, {})}
        else:
            document = _sub_catalog(folder, there | children, {})
        if _swapped(store, path, item_json(document), current):
            return
    raise _busy(store, folder)


def _union(extents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    west, south, east, north = zip(*(extent["spatial"]["bbox"][0] for extent in extents), strict=True)
    starts, ends = zip(*(extent["temporal"]["interval"][0] for extent in extents), strict=True)
    bbox = [min(west), min(south), max(east), max(north)]
    return {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [[min(starts), max(ends)]]}}


def _swapped(store: Store, path: str, content: bytes, current: bytes | None) -> bool:
    """Write a derived document in the place of what was read; False if another writer was faster."""
    if current is None:
        return store.create(path, content)
    return current == content or store.swap(path, content, current)


def _busy(store: Store, folder: str) -> ConflictError:
    return ConflictError(f"{folder} of {store.root} keeps changing: `stac-sm index` when it is quiet")
