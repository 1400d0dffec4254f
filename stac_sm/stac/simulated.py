"""Say of a catalogue, and of what comes from it, that it holds a simulated Earth and no measurements.

The project file says so once (``[project] simulated = true``), and `mark_simulated` writes it into the catalogue: into
its root and every collection. Each product item states it, too. Pictures, exports and reports ask the catalogue or the
items, so that they say it for any reader.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import pystac

from stac_sm.core.errors import CatalogError
from stac_sm.stac.catalogs.search import ItemSearch
from stac_sm.stac.items import item_json
from stac_sm.storage.store import Store
from stac_sm.storage.update import update

SIMULATED_FIELD = "stac_sm:simulated"
"""True in the root, in collections and in items of a simulated Earth; left out elsewhere."""

SIMULATED_NOTE = "Simulated: inputs and stations are those of a simulated Earth, no measurements."
"""Sentence for people: the end of descriptions, and the comment of exports."""


def is_simulated(catalog: ItemSearch, items: Iterable[pystac.Item] = ()) -> bool:
    """Return whether a catalogue, or one of its items, holds a simulated Earth.

    Parameters
    ----------
    catalog
        Of any kind. A folder or a static catalogue says it in its root; of an API or a table, the items do.
    items
        Items of it that were found.

    Returns
    -------
    bool
        True if the root or any of the items says so.
    """
    return bool(getattr(catalog, "simulated", False)) or any(item.properties.get(SIMULATED_FIELD) for item in items)


def simulated_title(title: str, simulated: bool) -> str:
    """Return a title that says first whether what it names is simulated.

    Parameters
    ----------
    title
        Such as ``Soil moisture, h18v04, 2019-06-09``.
    simulated
        Whether it is.

    Returns
    -------
    str
        Such as ``Simulated soil moisture, h18v04, 2019-06-09``; the title itself if it is not, or says so.
    """
    if not simulated or title.startswith("Simulated"):
        return title
    acronym = title[1:2].isupper()
    return f"Simulated {title if acronym else title[:1].lower() + title[1:]}"


def with_simulated(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the root or a collection of a catalogue as it says that it is simulated.

    Parameters
    ----------
    document
        JSON of a STAC catalogue or collection.

    Returns
    -------
    dict
        Its title and description end with it, it has the field ``stac_sm:simulated`` and, of a collection, the
        keyword ``simulated``. One that says so already stays as it is.
    """
    if document.get(SIMULATED_FIELD):
        return dict(document)
    marked = dict(document)
    if "title" in marked:
        marked["title"] = _ending_in_simulated(str(marked["title"]))
    marked["description"] = f"{marked.get('description', '')} {SIMULATED_NOTE}".strip()
    if marked.get("type") == "Collection":
        marked["keywords"] = [*marked.get("keywords", []), "simulated"]
    return marked | {SIMULATED_FIELD: True}


def mark_simulated(store: Store) -> None:
    """Write into the root of a catalogue and its collections that they are simulated; done once, it does nothing.

    Parameters
    ----------
    store
        Of the catalogue.

    Raises
    ------
    ConflictError
        If another writer keeps changing a document.
    """
    if root_is_simulated(store):
        return
    for link in json.loads(store.read("catalog.json"))["links"]:
        if link["rel"] == "child":
            update(store, link["href"].removeprefix("./"), _marked, must_exist=True)
    update(store, "catalog.json", partial(_marked, children=True), must_exist=True)  # last: it says that all are


def root_is_simulated(store: Store) -> bool:
    """Return whether the root of a catalogue says that it is simulated.

    Parameters
    ----------
    store
        Of the catalogue.

    Returns
    -------
    bool
        False, too, where there is no root.
    """
    try:
        return bool(json.loads(store.read("catalog.json")).get(SIMULATED_FIELD))
    except CatalogError:
        return False


def _marked(current: bytes | None, children: bool = False) -> bytes | None:
    document = json.loads(current or b"{}")
    if document.get(SIMULATED_FIELD):
        return None
    marked = with_simulated(document)
    if children:
        for link in marked["links"]:
            if link["rel"] == "child" and "title" in link:
                link["title"] = _ending_in_simulated(link["title"])
    return item_json(marked)


def _ending_in_simulated(title: str) -> str:
    return title if "simulated" in title.lower() else f"{title}, simulated"
