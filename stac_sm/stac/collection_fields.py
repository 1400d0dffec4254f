"""Find what the collections of an older catalogue lack of those that this version ships, and add it.

A catalogue keeps the documents of its collections: a licence, a title or a colour scale may have been edited there. So
an upgrade adds members that are not there, and changes none that is. `workflows.audit` names what is missing and
`repair` adds it; ``stac-sm doctor`` counts it. Nothing becomes public by it: items of before may hold what an asset of
this name holds no more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stac_sm.stac.items import item_json
from stac_sm.stac.links import skeleton_folder
from stac_sm.stac.simulated import root_is_simulated, with_simulated
from stac_sm.stac.visibility import PUBLIC, VISIBILITY_FIELD
from stac_sm.storage.store import Store
from stac_sm.storage.update import update

_DERIVED = {"extent", "links", "stac_version"}
"""Members that follow from the items, or that links and extents are rebuilt with."""


def lacking_fields(store: Store, document: Mapping[str, Any]) -> list[str]:
    """Return what a collection lacks of the one of its id that this version ships.

    Parameters
    ----------
    store
        Of the catalogue: its root says whether it is simulated.
    document
        JSON of the collection, as it is in the catalogue.

    Returns
    -------
    list of str
        Names of members, such as ``renders`` or ``item_assets.visual``; empty for a collection of the user's own.
    """
    return _completed(document, _shipped(store, str(document.get("id"))))[1]


def add_lacking_fields(store: Store, collection: str) -> None:
    """Add to a collection what it lacks of the one that this version ships; nothing that is there is changed.

    Parameters
    ----------
    store
        Of the catalogue.
    collection
        Id of a collection that is in it.

    Raises
    ------
    ConflictError
        If another writer keeps changing the collection.
    """
    shipped = _shipped(store, collection)

    def completed(current: bytes | None) -> bytes | None:
        document, added = _completed(json.loads(current or b"{}"), shipped)
        return item_json(document) if added else None

    update(store, f"{collection}/collection.json", completed, must_exist=True)


def _shipped(store: Store, collection: str) -> dict[str, Any]:
    file = skeleton_folder() / collection / "collection.json"
    if not file.is_file():
        return {}
    document: dict[str, Any] = json.loads(file.read_text())
    return with_simulated(document) if root_is_simulated(store) else document


def _completed(document: Mapping[str, Any], shipped: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a collection with what it lacks, and the names of what was added.

    A member that is there, even if it is empty, is left alone, except that assets, providers and extensions are
    completed: each asset and each provider by its own members.
    """
    own = {key: value for key, value in _unopened(shipped).items() if key not in _DERIVED}
    if "item_assets" in own:
        own["item_assets"] = {key: _unopened(asset) for key, asset in own["item_assets"].items()}
    made, added = _with_missing(document, own, "")
    for key, asset in own.get("item_assets", {}).items():
        held = document.get("item_assets", {}).get(key)
        if "item_assets" in document and held is None:
            made["item_assets"] = {**made["item_assets"], key: asset}
            added.append(f"item_assets.{key}")
        elif isinstance(held, Mapping):
            more, names = _with_missing(held, asset, f"item_assets.{key}.")
            made["item_assets"] = {**made["item_assets"], key: more}
            added += names
    known = {one["name"]: one for one in own.get("providers", [])}
    for number, one in enumerate(document.get("providers", [])):
        more, names = _with_missing(one, known.get(one.get("name"), {}), f"providers.{one.get('name')}.")
        made["providers"] = [*made["providers"][:number], more, *made["providers"][number + 1 :]]
        added += names
    if "sci:doi" in added:  # its link comes before those to items, where links are rebuilt
        cited = [one for one in shipped["links"] if one["rel"] == "cite-as" and one not in document["links"]]
        below = [one for one in document["links"] if one["rel"] in {"child", "item"}]
        made["links"] = [*(one for one in document["links"] if one not in below), *cited, *below]
    if added and "stac_extensions" in document:  # those of the members that were added
        extensions = [*document["stac_extensions"], *own.get("stac_extensions", [])]
        made["stac_extensions"] = sorted(dict.fromkeys(extensions))
    return made, added


def _unopened(shipped: Mapping[str, Any]) -> dict[str, Any]:
    """Return a collection or an asset that does not say that it is public."""
    return {key: value for key, value in shipped.items() if (key, value) != (VISIBILITY_FIELD, PUBLIC)}


def _with_missing(held: Mapping[str, Any], shipped: Mapping[str, Any], prefix: str) -> tuple[dict[str, Any], list[str]]:
    missing = {key: value for key, value in shipped.items() if key not in held}
    return {**held, **missing}, [f"{prefix}{key}" for key in missing]
