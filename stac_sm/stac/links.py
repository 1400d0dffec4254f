"""Derived documents: sub-catalogues, links and extents, which follow from the items.

Items are the truth. What is here is derived from a listing of the item folders and can be rebuilt at any time
(`refresh`); after a few items were published, `link_items` brings it up to date in the time that these few take.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from stac_sm.core.errors import CatalogError
from stac_sm.core.packaged import packaged_folder
from stac_sm.core.period import parse_instant, readable_time
from stac_sm.stac.items import ItemDict, item_json, part_digits
from stac_sm.stac.simulated import root_is_simulated, with_simulated
from stac_sm.stac.sub_catalogs import (
    child_link,
    document_path,
    inner_first,
    linked_ids,
    linked_parts,
    links_of,
    part_catalog,
    part_tree,
    parts_below,
    sort_links,
    sub_catalog,
)
from stac_sm.storage.store import Store
from stac_sm.storage.update import read_if_there, tries, update, write_if_unchanged


def skeleton_folder() -> Path:
    """Return the folder of the static STAC skeleton, which new catalogues are copies of.

    Returns
    -------
    pathlib.Path
        The folder, read-only.
    """
    return packaged_folder("catalog")


def skeleton_root() -> dict[str, Any]:
    """Return the root document of a new catalogue: it links every collection of the skeleton, in order of their ids."""
    document = json.loads((skeleton_folder() / "catalog.json").read_text())
    return {**document, "links": [*document["links"], *map(_skeleton_link, skeleton_collections())]}


def skeleton_collections() -> list[str]:
    """Return the ids of the collections of the skeleton.

    Returns
    -------
    list of str
        In order.
    """
    return sorted(file.parent.name for file in skeleton_folder().glob("*/collection.json"))


def _skeleton_link(collection: str) -> dict[str, Any]:
    return _child_link(json.loads((skeleton_folder() / collection / "collection.json").read_text()))


def _child_link(document: Mapping[str, Any]) -> dict[str, Any]:
    href = f"./{document['id']}/collection.json"
    return {"rel": "child", "href": href, "type": "application/json", "title": document["title"]}


def add_collection(store: Store, collection: str) -> None:
    """Add a collection of the skeleton to a catalogue that is older than it; one that is there is left alone.

    Parameters
    ----------
    store
        Of the catalogue.
    collection
        Id of a collection of the skeleton.

    Raises
    ------
    ConflictError
        If another writer keeps changing the root.
    """
    file = skeleton_folder() / collection / "collection.json"
    if root_is_simulated(store):
        document = with_simulated(json.loads(file.read_text()))
        store.create(f"{collection}/collection.json", item_json(document))
        _link_collection(store, _child_link(document))
        return
    store.create(f"{collection}/collection.json", file)
    _link_collection(store, _skeleton_link(collection))


def add_own_collection(store: Store, document: Mapping[str, Any]) -> dict[str, Any]:
    """Add a collection that is not of the skeleton to a catalogue; one that has items is left alone.

    Parameters
    ----------
    store
        Of the catalogue.
    document
        JSON of the collection.

    Returns
    -------
    dict
        The collection as it is in the catalogue.

    Raises
    ------
    ConflictError
        If another writer keeps changing the root.
    """
    path = f"{document['id']}/collection.json"
    if root_is_simulated(store):
        document = with_simulated(document)

    def empty_replaced(current: bytes | None) -> bytes | None:
        links = json.loads(current)["links"] if current else []
        return None if any(link["rel"] in {"child", "item"} for link in links) else item_json(document)

    update(store, path, empty_replaced)
    _link_collection(store, _child_link(document))
    held: dict[str, Any] = json.loads(store.read(path))
    return held


def _link_collection(store: Store, added: dict[str, Any]) -> None:
    """Add the link of a collection to the root of its catalogue, once."""

    def linked(current: bytes | None) -> bytes | None:
        root = json.loads(current or b"{}")
        if any(link["href"] == added["href"] for link in root["links"]):
            return None
        return item_json({**root, "links": [*root["links"], added]})

    update(store, "catalog.json", linked, must_exist=True)


def refresh(store: Store, collection: str) -> None:
    """Rebuild sub-catalogues, links and extent of a collection from the items that are there.

    Safe beside other writers: JSON is compared and swapped, and the items are listed again after the swap.

    Parameters
    ----------
    store
        Of the catalogue.
    collection
        Id of a collection that is in it.

    Raises
    ------
    ConflictError
        If other writers keep changing the collection.
    """
    for _ in tries(store.href(collection)):
        paths = item_paths(store, collection)
        documents = derived_documents(store, collection, paths)
        written = all(_write_derived(store, path, document) for path, document in documents)
        if written and item_paths(store, collection) == paths:
            return


def link_items(store: Store, collection: str, paths: Iterable[str]) -> None:
    """Bring links and extent up to date after some items were published; as `refresh`, but without reading the others.

    Safe beside other writers: links are only added, extents only widened, each by compare and swap of what was read
    before the items were listed; an item is linked after the extent holds it, so that a writer who dies in between
    leaves it to the next one.

    Parameters
    ----------
    store
        Of the catalogue.
    collection
        Id of a collection that is in it.
    paths
        Of item JSON below the store's root; those that are not there are left out.

    Raises
    ------
    ConflictError
        If other writers keep changing the collection.
    """
    ids: dict[str, set[str]] = {}
    for path in map(PurePosixPath, paths):
        ids.setdefault(str(path.parents[1]), set()).add(path.stem)
    widened = set[str]()
    linked = [leaf for leaf in sorted(ids) if _link_items_once(store, collection, leaf, ids[leaf], widened)]
    for folder, children in _above(collection, linked):
        _until_written(store, folder, children)


def link_newer_items(store: Store, collection: str) -> None:
    """Bring links in line with the items that are newer than the document of their folder, from one listing.

    They are what a publisher has left who was ended before it linked them. Where there are none, nothing else is read.

    Parameters
    ----------
    store
        Of the catalogue.
    collection
        Id of a collection that is in it.

    Raises
    ------
    ConflictError
        If other writers keep changing the collection.
    """
    written = {entry.path: entry.modified for entry in store.list_objects(collection)}
    documents = {path: document_path(str(PurePosixPath(path).parents[1])) for path in written if is_item_path(path)}
    newer = [path for path, document in documents.items() if written[path] >= written.get(document, 0.0)]
    if newer:
        link_items(store, collection, newer)


def item_paths(store: Store, collection: str) -> list[str]:
    """List the paths of all item JSON of a collection, or of a folder in it.

    Parameters
    ----------
    store
        Of the catalogue.
    collection
        Id, or a folder in the collection, below the root.

    Returns
    -------
    list of str
        Below the root, in the order of the listing.
    """
    return [entry.path for entry in store.list_objects(collection) if is_item_path(entry.path)]


def is_item_path(path: str) -> bool:
    """Return whether a path is that of an item's JSON, which lies in a folder of its id.

    Parameters
    ----------
    path
        Below the root of a catalogue.

    Returns
    -------
    bool
        By its name alone.
    """
    folder, _, name = path.rpartition("/")
    return name.endswith(".json") and folder.rpartition("/")[2] == name.removesuffix(".json") != ""


def derived_documents(
    store: Store, collection: str, paths: Sequence[str], items: Mapping[str, ItemDict] | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """Build every derived document of a collection.

    Parameters
    ----------
    store
        Of the catalogue; the collection's JSON and its items are read.
    collection
        Its id.
    paths
        Of all item JSON of the collection, below the root.
    items
        By path: properties and bbox of all of them; None: they are read.

    Returns
    -------
    list of tuple
        Path below the root, and JSON; innermost first, the collection last.

    Raises
    ------
    CatalogError
        If the collection's JSON cannot be read.
    """
    folders: dict[str, set[str]] = {collection: set()}
    ids: dict[str, list[str]] = {}
    for path in map(PurePosixPath, paths):
        child = str(path.parents[1])
        ids.setdefault(child, []).append(path.stem)
        while child != collection:
            parent = str(PurePosixPath(child).parent)
            folders.setdefault(child, set())
            folders.setdefault(parent, set()).add(child)
            child = parent
    documents = []
    for folder in sorted(folders, key=lambda folder: -folder.count("/")):
        tree = part_tree(ids.get(folder, ()))
        documents += [
            (document_path(folder, part), part_catalog(folder, part, tree)) for part in inner_first(tree) if part
        ]
        links = sort_links([*map(child_link, folders[folder]), *links_of("", tree, folder)])
        document = sub_catalog(folder, links) if "/" in folder else _collection(store, folder, links, paths, items)
        documents.append((document_path(folder), document))
    return documents


def _collection(
    store: Store,
    collection: str,
    links: list[dict[str, str]],
    paths: Sequence[str],
    known: Mapping[str, ItemDict] | None,
) -> dict[str, Any]:
    document = _with_links(_document(store, f"{collection}/collection.json"), links)
    read = (_item(store, path) if known is None else known[path] for path in paths)
    items = [item for item in read if item is not None and _has_span(item)]
    if items:
        document["extent"] = _extent(items)
    return document


def _document(store: Store, path: str) -> dict[str, Any]:
    try:
        return dict(json.loads(store.read(path)))
    except (ValueError, TypeError) as error:
        raise CatalogError(
            f"{store.href(path)} is no STAC object ({error}): take it away, then `stac-sm init` writes it again and "
            "`stac-sm index` its links"
        ) from error


_ENDS = ("start_datetime", "end_datetime")


def _item(store: Store, path: str) -> ItemDict | None:
    """Return an item, or None where it is none: `index` and `audit` name it, and the extent follows from the others."""
    try:
        return _document(store, path)
    except CatalogError:
        return None


def _has_span(item: ItemDict) -> bool:
    """Return whether an item says where and when it is."""
    try:
        times = [item["properties"].get(name) or item["properties"]["datetime"] for name in _ENDS]
        return "bbox" in item and all(map(parse_instant, times))
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def _with_links(document: dict[str, Any], links: list[dict[str, str]]) -> dict[str, Any]:
    """Return a collection with these links to items and sub-catalogues."""
    own = [link for link in document["links"] if link["rel"] not in {"child", "item"}]
    return {**document, "links": own + links}


def _extent(items: Sequence[ItemDict]) -> dict[str, Any]:
    west, south, east, north = zip(*(item["bbox"] for item in items), strict=True)
    times = [item["properties"] for item in items]
    start = min((time.get("start_datetime") or time["datetime"] for time in times), key=parse_instant)
    end = max((time.get("end_datetime") or time["datetime"] for time in times), key=partial(parse_instant, end=True))
    bbox = [min(west), min(south), max(east), max(north)]
    return {
        "spatial": {"bbox": [bbox]},
        "temporal": {"interval": [[readable_time(start), readable_time(end, end=True)]]},
    }


def _write_derived(store: Store, path: str, document: dict[str, Any]) -> bool:
    return write_if_unchanged(store, path, item_json(document), read_if_there(store, path))


def _link_items_once(store: Store, collection: str, folder: str, own: set[str], widened: set[str]) -> bool:
    """Write the documents of a folder that lead to some of its items; return False if there is no item in it."""
    met = {""}
    for _ in tries(store.href(folder)):
        known = _read_parts(store, folder, own, met)  # before the listing, so that later changes are noticed
        paths = {PurePosixPath(path).stem: path for path in item_paths(store, folder)}
        if not paths:
            return False
        tree = part_tree(paths)
        if (folder == collection and len(tree) == 1) or _deeper(folder, paths.values()):
            refresh(store, collection)
            return True
        changed = _changed_parts(tree, own & paths.keys(), known)
        again = own if folder == collection else ()  # they may be replaced ones, which reach further
        new = sorted({paths[id] for id in _unlinked(tree, changed, known, again)} - widened)
        _widen(store, collection, new)
        widened.update(new)
        if new and folder == collection:
            continue  # its document has just changed
        met.update(changed)
        if all(_swap_part(store, folder, part, tree, known.get(part)) for part in inner_first(changed)):
            return True
    raise AssertionError("tries() ends with a ConflictError")


def _deeper(folder: str, paths: Iterable[str]) -> bool:
    """Return whether some items lie in folders within a folder, as where a layout was changed."""
    return any(path.count("/") > folder.count("/") + 2 for path in paths)


def _current(store: Store, path: str) -> bytes | None:
    """Return the content of a derived document; None if it is not there, which a collection must be."""
    return store.read(path) if path.endswith("/collection.json") else read_if_there(store, path)


def _read_parts(store: Store, folder: str, own: set[str], met: set[str]) -> dict[str, bytes | None]:
    """Return the contents of a folder, of its parts on the way to some ids, and of some more; None where missing."""
    digits = [part_digits(id) for id in own]
    known: dict[str, bytes | None] = {}
    waiting = sorted(met)
    for part in waiting:
        if part not in known:
            known[part] = _current(store, document_path(folder, part))
            waiting += [one for one in linked_parts(known[part]) if any(digit.startswith(one) for digit in digits)]
    return known


def _changed_parts(tree: Mapping[str, list[str]], own: set[str], known: Mapping[str, bytes | None]) -> set[str]:
    """Return a folder (``""``), its parts on the way to some ids, and those that are not linked yet."""
    digits = [part_digits(id) for id in own]
    waiting = [""]
    for part in waiting:
        linked = linked_parts(known.get(part))
        waiting += [
            one
            for one in parts_below(part, tree)
            if one not in linked or any(digit.startswith(one) for digit in digits)
        ]
    return set(waiting)


def _unlinked(
    tree: Mapping[str, list[str]], parts: set[str], known: Mapping[str, bytes | None], own: Iterable[str]
) -> set[str]:
    """Return the ids that some parts are to link to and that no document links to yet; and some of one's own."""
    linked = {id for content in known.values() for id in linked_ids(content)}
    held = {id for part in parts if not parts_below(part, tree) for id in tree[part]}
    return (held - linked) | held.intersection(own)


def _swap_part(store: Store, folder: str, part: str, tree: Mapping[str, list[str]], current: bytes | None) -> bool:
    """Write the document of a folder (``""``) or of a part; False if another writer was faster."""
    if part:
        document = part_catalog(folder, part, tree)
    elif "/" in folder:
        document = sub_catalog(folder, links_of("", tree, folder))
    else:
        document = _with_links(json.loads(current or b"{}"), links_of("", tree, folder))
    return write_if_unchanged(store, document_path(folder, part), item_json(document), current)


def _widen(store: Store, collection: str, paths: Sequence[str]) -> None:
    """Make the extent of a collection hold some items."""
    if not paths:
        return
    added = _extent([json.loads(store.read(path)) for path in paths])
    path = f"{collection}/collection.json"

    def widened(current: bytes | None) -> bytes:
        document = json.loads(current or b"{}")
        extents = [added] if _untouched(collection, document) else [document["extent"], added]
        return item_json({**document, "extent": _union(extents)})

    update(store, path, widened, must_exist=True)


def _untouched(collection: str, document: dict[str, Any]) -> bool:
    """Return whether the extent is still that of the skeleton, which says what may come and not what there is."""
    if any(link["rel"] in {"child", "item"} for link in document["links"]):
        return False
    file = skeleton_folder() / collection / "collection.json"
    return not file.is_file() or json.loads(file.read_text())["extent"] == document["extent"]


def _above(collection: str, leaves: Sequence[str]) -> list[tuple[str, set[str]]]:
    """Return folders above some, innermost first, with the folders in them that are to be linked."""
    children: dict[str, set[str]] = {}
    for leaf in leaves:
        folder = leaf
        while folder != collection:
            parent = str(PurePosixPath(folder).parent)
            children.setdefault(parent, set()).add(folder)
            folder = parent
    return sorted(children.items(), key=lambda pair: (-pair[0].count("/"), pair[0]))


def _until_written(store: Store, folder: str, children: set[str]) -> None:
    """Add links to sub-catalogues to the links that a folder has."""

    def linked(current: bytes | None) -> bytes:
        before = json.loads(current)["links"] if current else []
        found = {link["href"]: link for link in before if link["rel"] in {"child", "item"}}
        links = sort_links((found | {link["href"]: link for link in map(child_link, children)}).values())
        return item_json(
            sub_catalog(folder, links) if "/" in folder else _with_links(json.loads(current or b"{}"), links)
        )

    update(store, document_path(folder), linked, must_exist="/" not in folder)


def _union(extents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    west, south, east, north = zip(*(extent["spatial"]["bbox"][0] for extent in extents), strict=True)
    starts, ends = zip(*(extent["temporal"]["interval"][0] for extent in extents), strict=True)
    bbox = [min(west), min(south), max(east), max(north)]
    return {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [[min(starts), max(ends)]]}}
