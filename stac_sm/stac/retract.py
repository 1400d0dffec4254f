"""Withdrawal of a bad item from the catalogue, with a reason. Only the command ``retract`` calls it, no worker.

A withdrawal notice takes the place of the item JSON, by compare and swap: the id stays taken, readers find no data and
the reason. The assets become unreferenced files, which `audit --repair` removes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from stac_sm.core.errors import ConflictError, InputError
from stac_sm.core.fingerprint import digest
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.items import EXTENSIONS, ItemDict, item_json
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, RETRACTED_PROPERTY, retraction_reason
from stac_sm.storage.update import update

_OF_ASSETS = ("classification", "file", "raster")  # extensions that an item without assets must not claim


@dataclass(frozen=True)
class Retraction:
    """What came of taking one item out."""

    id: str
    """Item id."""

    outcome: str
    """``retracted``, or ``done`` if it was withdrawn already."""


def retract(
    catalog: WritableCatalog,
    collection: str,
    ids: Iterable[str],
    reason: str,
    *,
    path: Callable[[str], str],
) -> list[Retraction]:
    """Put withdrawal notices in the place of items.

    Parameters
    ----------
    catalog
        In a folder or on S3.
    collection
        Id, for messages.
    ids
        Item ids, each of which must be there.
    reason
        Why, in words for those who used the data.
    path
        Returns the path of an item's JSON, below the root, by its id.

    Returns
    -------
    list of Retraction
        One for each id, in the order given.

    Raises
    ------
    InputError
        If an item is not there, or no reason is given: nothing is changed then.
    ConflictError
        If an item is being changed by another writer.
    """
    named = list(dict.fromkeys(ids))
    if not reason.strip():
        raise InputError("retract: found no reason; say why, for those who used the data: --reason TEXT")
    absent = [id for id in named if not catalog.store.exists(path(id))]
    if absent:
        raise InputError(
            f"retract: {len(absent)} of {len(named)} items are not in {collection}: {', '.join(absent[:5])}; "
            "nothing was changed: check the ids"
        )
    return [_retract(catalog, id, path(id), reason.strip()) for id in named]


def _retract(catalog: WritableCatalog, id: str, path: str, reason: str) -> Retraction:
    seen: list[object] = []

    def withdrawn(content: bytes | None) -> bytes | None:
        item = json.loads(content or b"{}")
        seen.append(item["properties"].get(FINGERPRINT_PROPERTY))
        if retraction_reason(content or b"{}") is not None:
            return None
        if seen[-1] != seen[0]:  # the reason was given for the data that were there; a link may be added meanwhile
            raise ConflictError(
                f"item {path} was changed by another writer meanwhile: look at it, and retract it again"
            )
        return item_json(_withdrawal_notice(item, reason))

    return Retraction(id, "retracted" if update(catalog.store, path, withdrawn, must_exist=True) else "done")


def _withdrawal_notice(item: ItemDict, reason: str) -> ItemDict:
    """Return an item without its data: when and where stay, and what it was made from."""
    old = item["properties"]
    kept = {key: value for key, value in old.items() if not key.startswith("stac_sm:pixels")}
    stated = {
        "description": f"Retracted: {reason}",
        "deprecated": True,
        RETRACTED_PROPERTY: reason,
        FINGERPRINT_PROPERTY: digest({"retracted": old[FINGERPRINT_PROPERTY], "reason": reason}),
    }
    links = [link for link in item["links"] if link["rel"] != "derived_from"]
    extensions = sorted({*item["stac_extensions"], EXTENSIONS["version"]} - {EXTENSIONS[name] for name in _OF_ASSETS})
    changed = {"stac_extensions": extensions, "assets": {}, "links": links, "properties": {**kept, **stated}}
    return {**item, **changed}
