"""Wanted: an aggregate by name, and how it is published once its files are there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.errors import StacSmError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS, digest
from stac_sm.core.grid import TileGrid
from stac_sm.core.period import Period, utc_instant
from stac_sm.product.aggregates.source_items import AggregateResult, SourceItem, links_to, source_items_json
from stac_sm.product.product_id import GLOBAL, ProductId
from stac_sm.stac.catalogs.catalog import Catalog
from stac_sm.stac.items import ItemDict, item_folder, raster_item
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, is_published, publish
from stac_sm.storage.signing import without_secrets

WrittenAssets = tuple[dict[str, AssetFile], int]
"""Assets in local files, and the number of pixels with a value."""


@dataclass(frozen=True)
class Aggregate:
    """One aggregate, by all that makes it."""

    collection: str
    """Where it goes."""

    span: Period
    """Days that it stands for."""

    tile: str
    """Tile id, or ``global``."""

    version: str
    """Product version."""

    members: tuple[SourceItem, ...]
    """What it is made from."""

    output: Mapping[str, Any]
    """Profile of its files, and settings that change values."""

    @property
    def id(self) -> str:
        """Item id, e.g. ``SM1KM.A2018182.global.v001``; ``Y2018`` or ``M201807`` for the mean of a year or month."""
        return str(ProductId(self.span, self.tile, self.version))

    def fingerprint(self, grid: TileGrid) -> str:
        """Return the SHA-256 of all that makes it."""
        return digest(self.fingerprint_fields(grid))

    def fingerprint_fields(self, grid: TileGrid) -> dict[str, Any]:
        """Return what identifies the aggregate on a grid, by name."""
        return {
            "collection": self.collection,
            "grid": digest(grid.fingerprint_fields()),
            "tile": self.tile,
            "span": str(self.span),
            "members": sorted([member.id, member.fingerprint] for member in self.members),
            "output": self.output,
            "algorithm": ALGORITHM_VERSIONS["aggregates"],
        }

    def item(self, grid: TileGrid, geobox: GeoBox, lineage: str) -> ItemDict:
        """Its item, without assets and links."""
        code = {} if self.tile == GLOBAL else {"grid:code": grid.grid_code(self.tile)}
        kind = "Mean soil moisture" if len(self.span) > 1 else "Soil moisture"
        where = "" if self.tile == GLOBAL else f", {self.tile}"
        own = {"title": f"{kind}, {self.span}{where}"}  # STAC Browser cuts ids at their last dot
        own |= {"version": self.version, "processing:lineage": lineage, FINGERPRINT_PROPERTY: self.fingerprint(grid)}
        return raster_item(
            id=self.id,
            collection=self.collection,
            geobox=geobox,
            start=utc_instant(self.span.start),
            end=utc_instant(self.span.end),
            properties={**code, **own},
            extensions=["version", *(["grid"] if code else [])],
        )


def publish_aggregate(
    catalog: Catalog, wanted: Aggregate, item: ItemDict, write: Callable[[Path], WrittenAssets] | None
) -> AggregateResult:
    """Publish an aggregate unless it is there; ``write`` makes its files in a folder. A failure is told.

    Without ``write`` nothing is made: the outcome is what would come of it.
    """
    folder = item_folder(catalog.layout(wanted.collection), item)
    path, number = f"{folder}/{wanted.id}.json", str(item["properties"][FINGERPRINT_PROPERTY])
    outcome, error = "done", ""
    try:
        if not is_published(catalog, item):
            there = "replaced" if catalog.store.exists(path) else "new"
            outcome = _published(catalog, wanted.members, item, folder, write) if write else there
    except (StacSmError, OSError) as failure:
        outcome, error = "failed", without_secrets(str(failure))
    return AggregateResult(wanted.id, outcome, len(wanted.members), path, number, error)


def _published(
    catalog: Catalog, members: Sequence[SourceItem], item: ItemDict, folder: str, write: Callable[[Path], WrittenAssets]
) -> str:
    with tempfile.TemporaryDirectory(prefix="stac-sm-") as scratch:
        assets, valid = write(Path(scratch))
        listed = Path(scratch, "members.json")
        listed.write_bytes(source_items_json(members, folder))
        fields = {"title": "Items that it is made from", "type": "application/json", "roles": ["metadata"]}
        own = {"stac_sm:pixels": {"valid": valid}}
        complete = {**item, "properties": {**item["properties"], **own}, "links": links_to(members, folder)}
        return str(publish(catalog, complete, {**assets, "members": AssetFile(listed, ".json", fields)}))
