"""Publishing: assets first, each checked; then the item, created exactly once. An item that exists is complete.

Stages call `make_once`: it asks whether the item is there with its fingerprint, and makes and publishes it otherwise.
Links (`stac_sm.stac.links`) and the index (`stac_sm.stac.index.update`) follow afterwards.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.errors import ConflictError, ReadError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS, Stage
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.items import ItemDict, item_folder, item_json, with_location, with_structural_links
from stac_sm.storage.log_lines import LOGGER
from stac_sm.storage.store import Store, sha256
from stac_sm.storage.update import read_if_there, update, write_if_unchanged

FINGERPRINT_PROPERTY = "stac_sm:fingerprint"
RETRACTED_PROPERTY = "stac_sm:retracted"
"""Reason for which an item was withdrawn: a withdrawal notice, without assets, is in the place of the item."""

ALGORITHM_PROPERTY = "stac_sm:algorithm"
"""Version of the algorithm that made an item, where it is later than `UNSTATED_ALGORITHM`: see `stated_algorithm`."""

UNSTATED_ALGORITHM = "2"
"""Version of its stage of an item that states none."""

INGEST_FINGERPRINT_PROPERTY = "stac_sm:ingested"
"""Fingerprint that an item had before something else than its ingest wrote into it, such as a screening result."""


def stated_algorithm(stage: Stage) -> dict[str, str]:
    """Return the property that states the version of a stage, for `stac-sm doctor`: fingerprints cannot be read back.

    Parameters
    ----------
    stage
        Stage that makes an item.

    Returns
    -------
    dict
        Of an item; empty for version 2, so that items of before are those of today.
    """
    version = ALGORITHM_VERSIONS[stage]
    return {} if version == UNSTATED_ALGORITHM else {ALGORITHM_PROPERTY: version}


class PublishOutcome(StrEnum):
    """What came of publishing an item."""

    NEW = "new"
    """It was created."""

    REPLACED = "replaced"
    """It took the place of an older item of the same id."""

    DONE = "done"
    """It was there already, with the same fingerprint."""


MakeAssets = Callable[[Path], Mapping[str, AssetFile]]
"""Writes the assets of an item into a folder and returns them by key."""


def make_once(catalog: WritableCatalog, item: ItemDict, make: MakeAssets | None) -> PublishOutcome:
    """Make and publish an item, unless it is there with its fingerprint.

    Parameters
    ----------
    catalog
        In a folder or on S3.
    item
        Without assets. Its id, collection and fingerprint are enough to know whether it is there; ``make`` may add
        what is known only afterwards.
    make
        Called if the item is not there, with an empty folder that is removed afterwards. None: nothing is made, and
        the outcome is the one that making it would have.

    Returns
    -------
    PublishOutcome
        ``done`` where nothing had to be made; otherwise ``new`` or ``replaced``.

    Raises
    ------
    ConflictError, ReadError
        As `publish`. What ``make`` raises is passed on, and nothing is published.
    """
    if is_published(catalog, item):
        return PublishOutcome.DONE
    if make is None:
        there = catalog.store.exists(f"{item_folder(catalog.layout(item['collection']), item)}/{item['id']}.json")
        return PublishOutcome.REPLACED if there else PublishOutcome.NEW
    return make_and_publish(catalog, item, make)


def make_and_publish(
    catalog: WritableCatalog, item: ItemDict, make: MakeAssets, *, redo: bool = False
) -> PublishOutcome:
    """Make the assets of an item in a scratch folder, and publish it; for callers that know that it is not there.

    Parameters
    ----------
    catalog, item, redo
        As of `publish`.
    make
        Called with an empty folder that is removed afterwards; it may add to the item.

    Returns
    -------
    PublishOutcome
        As of `publish`.

    Raises
    ------
    ConflictError, ReadError
        As `publish`. What ``make`` raises is passed on, and nothing is published.
    """
    with tempfile.TemporaryDirectory(prefix="stac-sm-") as scratch:
        assets = make(Path(scratch))
        return publish(catalog, item, assets, redo=redo)


def publish(
    catalog: WritableCatalog, item: ItemDict, assets: Mapping[str, AssetFile], *, redo: bool = False
) -> PublishOutcome:
    """Put an item and its assets into a catalogue's store.

    Asset names hold the item's fingerprint; they are written once and never overwritten. The item JSON comes
    last: a writer killed at any point leaves no item without its complete assets.

    Parameters
    ----------
    catalog
        In a folder or on S3.
    item
        Without assets; its collection is in the catalogue, and its properties hold the fingerprint.
    assets
        Local files by key.
    redo
        Whether it may take the place of a withdrawal notice.

    Returns
    -------
    PublishOutcome
        ``new``, ``replaced``, or ``done`` where the item is there already: nothing was written.

    Raises
    ------
    ConflictError
        If another writer publishes another version of the item at the same time, an asset's name is taken by
        other content, or the item was withdrawn.
    ReadError
        If an asset reads back differently than it was written.
    """
    folder = item_folder(catalog.layout(item["collection"]), item)
    current = read_if_there(catalog.store, f"{folder}/{item['id']}.json")
    if current is not None and not redo and (reason := retraction_reason(current)) is not None:
        raise ConflictError(f"{item['id']} was retracted ({reason}): `stac-sm plan --redo-retracted` makes it again")
    return publish_if_unchanged(catalog, item, assets, current)


def publish_if_unchanged(
    catalog: WritableCatalog, item: ItemDict, assets: Mapping[str, AssetFile], expected: bytes | None
) -> PublishOutcome:
    """Publish an item, but only in the place of the item JSON that its maker has seen.

    Parameters
    ----------
    catalog, item, assets
        As of `publish`.
    expected
        Item JSON as it was read; None: there was none.

    Returns
    -------
    PublishOutcome
        As of `publish`.

    Raises
    ------
    ConflictError
        If another item JSON is there now, with another fingerprint, or an asset's name is taken by other content.
    ReadError
        If an asset reads back differently than it was written.
    """
    folder = item_folder(catalog.layout(item["collection"]), item)
    path = f"{folder}/{item['id']}.json"
    if expected is not None and _fingerprint(expected) == item["properties"][FINGERPRINT_PROPERTY]:
        return PublishOutcome.DONE
    placed = {key: _place(catalog.store, folder, item, key, asset) for key, asset in assets.items()}
    content = item_json(with_structural_links({**item, "assets": {**item["assets"], **placed}}, folder))
    # once, not by `update`: what the item was made beside must still be there
    if write_if_unchanged(catalog.store, path, content, expected):
        outcome = PublishOutcome.NEW if expected is None else PublishOutcome.REPLACED
        facts = {"item": item["id"], "collection": item["collection"]}
        LOGGER.info("%s: %s", item["id"], outcome, extra={"facts": facts})
        return outcome
    winner = read_if_there(catalog.store, path)
    if winner is not None and _fingerprint(winner) == _fingerprint(content):
        return PublishOutcome.DONE
    raise ConflictError(
        f"item {path} was published by another writer with another fingerprint while this one was made: "
        "run one plan at a time, or raise the product version to keep both"
    )


def is_published(catalog: WritableCatalog, item: ItemDict, *, redo: bool = False) -> bool:
    """Return whether an item is there with its fingerprint.

    Parameters
    ----------
    catalog
        In a folder or on S3.
    item
        With id, collection, fingerprint, and what its folder follows from.
    redo
        Whether a withdrawal notice in its place counts as missing.

    Returns
    -------
    bool
        True also where the item was withdrawn, unless ``redo`` is set.
    """
    folder = item_folder(catalog.layout(item["collection"]), item)
    content = read_if_there(catalog.store, f"{folder}/{item['id']}.json")
    if content is None:
        return False
    return _fingerprint(content) == item["properties"][FINGERPRINT_PROPERTY] or (
        not redo and retraction_reason(content) is not None
    )


def retraction_reason(content: bytes) -> str | None:
    """Return the reason of a withdrawal notice.

    Parameters
    ----------
    content
        Item JSON.

    Returns
    -------
    str or None
        None of an item that is not withdrawn.
    """
    reason = json.loads(content).get("properties", {}).get(RETRACTED_PROPERTY)
    return None if reason is None else str(reason)


def mark_superseded(catalog: WritableCatalog, item: ItemDict, predecessor: str) -> None:
    """Mark the item that a newer version takes the place of: deprecated, with a link to its successor beside it.

    Its fingerprint stays: it is what it was.

    Parameters
    ----------
    catalog
        In a folder or on S3.
    item
        The successor, in the same folder.
    predecessor
        Id of the older item; nothing is done where it is not there.
    """
    folder = item_folder(catalog.layout(item["collection"]), item)
    path = f"{folder.rpartition('/')[0]}/{predecessor}/{predecessor}.json"
    update(catalog.store, path, lambda content: None if content is None else _superseded(content, item["id"]))


def _superseded(content: bytes, id: str) -> bytes:
    old = json.loads(content)
    href = {"href": f"../{id}/{id}.json", "type": "application/geo+json", "title": id}
    links = [one for one in old["links"] if one["rel"] != "successor-version"]
    return item_json(
        {
            **old,
            "properties": {**old["properties"], "deprecated": True},
            "links": [*links, {"rel": "successor-version", **href}],
        }
    )


def _place(store: Store, folder: str, item: ItemDict, key: str, asset: AssetFile) -> dict[str, Any]:
    """Write one asset under its final name, or take the one that an interrupted writer has left; read it back."""
    name = f"{item['id']}.{item['properties'][FINGERPRINT_PROPERTY][:12]}.{key}{asset.suffix}"
    path, made = f"{folder}/{name}", sha256(asset.file)
    created = store.create(path, asset.file)
    with store.local_file(path) as copy:
        found, size = sha256(copy), copy.stat().st_size
        same = found == made or (not created and asset.same is not None and asset.same(str(copy)))
    if not same and created:
        raise ReadError(f"{store.href(path)} was written but reads back differently: check the disk and run again")
    if not same:
        raise ConflictError(
            f"{store.href(path)} exists with other content than was made now, and no item refers to it: "
            "`stac-sm audit --repair` removes such unreferenced files, then run again"
        )
    return with_location(asset.fields, f"./{name}", size=size, sha256=found)


def _fingerprint(content: bytes) -> str | None:
    value = json.loads(content).get("properties", {}).get(FINGERPRINT_PROPERTY)
    return None if value is None else str(value)
