"""Items without assets in a catalogue, and the bytes of all files below one."""

from __future__ import annotations

from datetime import date

from stac_sm.core.period import ONE_DAY, utc_instant
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.items import build_item, item_folder, item_json, with_structural_links
from stac_sm.storage.store import open_store


def put(root, collection, id, *, start=date(2018, 7, 1), days=1, bbox=(10.0, 45.0, 11.0, 46.0), **properties):
    """Write an item without assets, as publish does."""
    west, south, east, north = bbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = build_item(
        id=id,
        collection=collection,
        geometry={"type": "Polygon", "coordinates": [ring]},
        bbox=bbox,
        start=utc_instant(start),
        end=utc_instant(start + days * ONE_DAY),
        properties={"stac_sm:fingerprint": "0" * 64, **properties},
        extensions=[],
    )
    store = open_store(root)
    folder = item_folder(open_catalog(root).layout(collection), item)
    store.create(f"{folder}/{id}.json", item_json(with_structural_links(item, folder)))
    return item


def contents(root):
    store = open_store(root)
    return {entry.path: store.read(entry.path) for entry in store.list_objects()}
