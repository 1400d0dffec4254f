"""Know inputs that their provider made from preliminary data, by what `stac_sm.ingest` wrote into their items.

The reader of items (`raster.source`), the fetching of final data and the ingest of both use the same properties.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SOURCES_PROPERTY = "stac_sm:sources"
"""Property of ingested items: the files that each is made from, with what each gives to it."""

RANK_PROPERTY = "stac_sm:rank"
"""Property of ingested items: what the provider states about the file, among it whether it is final."""


def is_preliminary(properties: Mapping[str, Any], asset: str = "") -> bool:
    """Return whether an input was made from preliminary data of its provider, such as ERA5-Land-T or C3S ICDR.

    Parameters
    ----------
    properties
        Properties of an input item, as `stac_sm.ingest` writes them.
    asset
        Asset key that counts, where the item says it of each variable; empty: any of them.

    Returns
    -------
    bool
        False also where the item does not say so.
    """
    if (properties.get(RANK_PROPERTY) or {}).get("final") is False:
        return True
    for source in properties.get(SOURCES_PROPERTY) or ():
        by_asset = source.get("variables") or {}
        facts = [by_asset.get(asset) or {}] if asset and by_asset else [source, *by_asset.values()]
        if any(one.get("preliminary") for one in facts):
            return True
    return False
