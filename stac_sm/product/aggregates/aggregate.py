"""Describe an aggregate of product items, and publish it once its files are written.

`mosaic` and `means` describe what they make as an `Aggregate`, and hand over a function that writes its files. The
source items are part of the fingerprint: an aggregate whose source items have changed is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.errors import StacSmError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS, digest
from stac_sm.core.grid import TileGrid
from stac_sm.core.period import Period, utc_instant
from stac_sm.product.aggregates.source_items import AggregateResult, SourceItem, links_to, source_items_json
from stac_sm.product.product_id import GLOBAL, ProductId
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.items import ItemDict, item_folder, raster_item
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, make_once
from stac_sm.stac.simulated import SIMULATED_FIELD, simulated_title
from stac_sm.storage.signing import without_secrets

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

WrittenAssets = tuple[dict[str, AssetFile], int]
"""Assets in local files, and the number of pixels with a value."""


@dataclass(frozen=True)
class Aggregate:
    """One aggregate, described by all that identifies it."""

    collection: str
    """Id of the collection that it is published in."""

    span: Period
    """Days that it stands for."""

    tile: str
    """Tile id, or ``global``."""

    version: str
    """Product version."""

    members: tuple[SourceItem, ...]
    """Source items that it is made from."""

    output: Mapping[str, Any]
    """Profile of its files, and settings that change values."""

    @property
    def id(self) -> str:
        """Item id, e.g. ``SM1KM.A2018182.global.v001``; ``Y2018`` or ``M201807`` for the mean of a year or month."""
        return str(ProductId(self.span, self.tile, self.version))

    def fingerprint(self, grid: TileGrid) -> str:
        """Return the SHA-256 of all that identifies it.

        Parameters
        ----------
        grid
            Tile grid of the source items.

        Returns
        -------
        str
            Hexadecimal digits.
        """
        return digest(self.fingerprint_fields(grid))

    def fingerprint_fields(self, grid: TileGrid) -> dict[str, Any]:
        """Return what identifies the aggregate on a grid, by name.

        Parameters
        ----------
        grid
            Tile grid of the source items.

        Returns
        -------
        dict
            JSON-able; a change of a value makes the aggregate stale.
        """
        return {
            "collection": self.collection,
            "grid": digest(grid.fingerprint_fields()),
            "tile": self.tile,
            "span": str(self.span),
            "members": sorted([member.id, member.fingerprint] for member in self.members),
            "output": self.output,
            "algorithm": ALGORITHM_VERSIONS["aggregates"],
        }

    def item(self, grid: TileGrid, geobox: GeoBox, lineage: str, *, simulated: bool = False) -> ItemDict:
        """Return its item, without assets and links.

        Parameters
        ----------
        grid
            Tile grid of the source items.
        geobox
            Pixels of its files.
        lineage
            How it was made, in a sentence, for people.
        simulated
            Whether it is of a simulated Earth: its title and ``stac_sm:simulated`` say so then.

        Returns
        -------
        ItemDict
            STAC item as JSON.
        """
        code = {} if self.tile == GLOBAL else {"grid:code": grid.grid_code(self.tile)}
        kind = "Mean soil moisture" if len(self.span) > 1 else "Soil moisture"
        where = "" if self.tile == GLOBAL else f", {self.tile}"
        title = simulated_title(f"{kind}, {self.span}{where}", simulated)
        own: dict[str, Any] = {"title": title}  # STAC Browser cuts ids at their last dot
        own |= {"version": self.version, "processing:lineage": lineage, FINGERPRINT_PROPERTY: self.fingerprint(grid)}
        own |= {SIMULATED_FIELD: True} if simulated else {}
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
    catalog: WritableCatalog, aggregate: Aggregate, item: ItemDict, write: Callable[[Path], WrittenAssets] | None
) -> AggregateResult:
    """Publish an aggregate unless it is there; a failure becomes part of the result.

    Parameters
    ----------
    catalog
        Catalogue that it is published in.
    aggregate
        What it is made from.
    item
        Its item, without assets and links.
    write
        Writes the files into a folder; None: nothing is made, and the outcome is what would come of it.

    Returns
    -------
    AggregateResult
        Outcome ``new``, ``replaced``, ``done`` or ``failed``; the last with its reason.
    """
    folder = item_folder(catalog.layout(aggregate.collection), item)
    make = None if write is None else partial(_make, aggregate, item, folder, write)
    try:
        outcome, error = str(make_once(catalog, item, make)), ""
    except (StacSmError, OSError) as failure:
        outcome, error = "failed", without_secrets(str(failure))
    fingerprint = str(item["properties"][FINGERPRINT_PROPERTY])
    return AggregateResult(
        aggregate.id, outcome, len(aggregate.members), f"{folder}/{aggregate.id}.json", fingerprint, error
    )


def _make(
    aggregate: Aggregate, item: ItemDict, folder: str, write: Callable[[Path], WrittenAssets], scratch: Path
) -> dict[str, AssetFile]:
    """Write the assets and the list of source items, and complete the item."""
    assets, valid = write(scratch)
    item["properties"]["stac_sm:pixels"] = {"valid": valid}
    item["links"] = links_to(aggregate.members, folder)
    listed = scratch / "members.json"
    listed.write_bytes(source_items_json(aggregate.members, folder))
    fields = {"title": "Items that it is made from", "type": "application/json", "roles": ["metadata"]}
    return {**assets, "members": AssetFile(listed, ".json", fields)}
