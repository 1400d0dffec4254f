"""Sub-catalogues: what they hold and link to, as a pure function of the ids of the items.

A folder of items has a document; where it holds more than `MAX_LINKS` items, this links to part catalogues, which link
to the items or to further parts. The items stay where they are. `stac_sm.stac.links` writes these documents.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from stac_sm.stac.items import part_digits, part_title

MAX_LINKS = 400
"""Items that one document links to; where a folder holds more, ``parts/{digits}/catalog.json`` in it do.

Digits are the first of the SHA-256 of the item's id, so many that no part holds more.
"""

_DIGITS = "0123456789abcdef"


def part_tree(ids: Iterable[str]) -> dict[str, list[str]]:
    """Return the ids, in order, below a folder (``""``) and below each of its part catalogues, by the part's digits.

    What holds more than `MAX_LINKS` has parts by one digit more: so the tree follows from the ids alone, whatever the
    order in which they came, and a new id changes only what is on the way to it.
    """
    tree = {"": sorted(ids)}
    waiting = [""]
    for part in waiting:
        if len(tree[part]) > MAX_LINKS:
            below: dict[str, list[str]] = {}
            for id in tree[part]:
                below.setdefault(part_digits(id)[: len(part) + 1], []).append(id)
            tree |= dict(sorted(below.items()))
            waiting += sorted(below)
    return tree


def inner_first(parts: Iterable[str]) -> list[str]:
    """Return parts in the order in which they are written: what is linked to comes first, the folder (``""``) last."""
    return sorted(parts, key=lambda part: (-len(part), part))


def parts_below(part: str, tree: Mapping[str, list[str]]) -> list[str]:
    """Return the parts that a folder, or a part of it, links to; none where it links to items."""
    return [one for one in (f"{part}{digit}" for digit in _DIGITS) if one in tree]


def document_path(folder: str, part: str = "") -> str:
    """Return the path of the document of a folder or of a part of it, below the root."""
    if part:
        return f"{folder}/parts/{part}/catalog.json"
    return f"{folder}/catalog.json" if "/" in folder else f"{folder}/collection.json"


def sub_catalog(folder: str, links: list[dict[str, str]]) -> dict[str, Any]:
    """Build the sub-catalogue of a folder, with these links to what is in it."""
    parts = PurePosixPath(folder).parts
    up = "../collection.json" if len(parts) == 2 else "../catalog.json"
    return _catalog(folder, _title(folder), up, _title(str(PurePosixPath(folder).parent)), links)


def part_catalog(folder: str, part: str, tree: Mapping[str, list[str]]) -> dict[str, Any]:
    """Build a part catalogue of a folder."""
    above = f"../{part[:-1]}/catalog.json" if part[:-1] else f"../../{PurePosixPath(document_path(folder)).name}"
    title = _part_title(folder, part[:-1]) if part[:-1] else _title(folder)
    return _catalog(f"{folder}/parts/{part}", _part_title(folder, part), above, title, links_of(part, tree, folder))


def _catalog(folder: str, title: str, up: str, above: str, links: list[dict[str, str]]) -> dict[str, Any]:
    parts = PurePosixPath(folder).parts
    structure = [
        {"rel": "root", "href": "../" * len(parts) + "catalog.json", "type": "application/json", "title": "Project"},
        {"rel": "parent", "href": up, "type": "application/json", "title": above},
    ]
    return {
        "type": "Catalog",
        "stac_version": "1.1.0",
        "id": "-".join(parts),
        "title": title,
        "description": f"{parts[0]}, {title}",
        "links": structure + links,
    }


def _title(folder: str) -> str:
    """Return the title of a sub-catalogue; the collection's id for the collection."""
    return "-".join(PurePosixPath(folder).parts[1:]) or folder


def _part_title(folder: str, part: str) -> str:
    return f"{_title(folder)}, {part_title(part)}" if "/" in folder else part_title(part)


def child_link(folder: str) -> dict[str, str]:
    """Return the link to a sub-catalogue from the folder that it is in."""
    href = f"./{PurePosixPath(folder).name}/catalog.json"
    return {"rel": "child", "href": href, "type": "application/json", "title": _title(folder)}


def links_of(part: str, tree: Mapping[str, list[str]], folder: str) -> list[dict[str, str]]:
    """Return the links of a folder, or of a part of it, to its items or to the next parts."""
    if below := parts_below(part, tree):
        start = ".." if part else "./parts"
        return [
            {"rel": "child", "href": f"{start}/{one}/catalog.json", "type": "application/json"}
            | {"title": _part_title(folder, one)}
            for one in below
        ]
    start = "../.." if part else "."
    return [
        {"rel": "item", "href": f"{start}/{id}/{id}.json", "type": "application/geo+json", "title": id}
        for id in tree[part]
    ]


def sort_links(links: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Return the links of a folder in the order of the names of what they lead to."""
    return sorted(links, key=lambda link: link["href"].split("/")[1:-1])


def linked_ids(content: bytes | None) -> set[str]:
    """Return the ids of the items that a document links to."""
    links = json.loads(content)["links"] if content else []
    return {PurePosixPath(link["href"]).stem for link in links if link["rel"] == "item"}


def linked_parts(content: bytes | None) -> set[str]:
    """Return the parts that a document links to."""
    links = json.loads(content)["links"] if content else []
    return {link["href"].split("/")[-2] for link in links if link["rel"] == "child"}
