"""Raster items whose pixels are known, ready to publish."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pystac
from odc.geo.geobox import GeoBox

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.fingerprint import digest
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.variables import VARIABLES
from stac_sm.raster.cog import CogProfile, verify_cog, write_cog
from stac_sm.stac.catalogs.catalog import Catalog, open_catalog
from stac_sm.stac.items import ItemDict, item_folder, raster_asset, raster_item
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, publish


@dataclass(frozen=True)
class KnownRaster:
    """A raster item that can be published, and what its pixels are."""

    item: ItemDict
    """The item, without assets."""

    assets: dict[str, AssetFile]
    """Its asset ``sm`` in a local file."""

    values: np.ndarray
    """What a reader must find; NaN where there is no data."""

    geobox: GeoBox
    """Where the pixels lie."""

    @property
    def folder(self) -> str:
        """Where the item goes below the root."""
        return item_folder("year/month/day", self.item)

    @property
    def path(self) -> str:
        """Where the item's JSON goes below the root."""
        return f"{self.folder}/{self.item['id']}.json"

    def publish(self, catalog: Catalog) -> str:
        """Publish it; what came of it."""
        return publish(catalog, self.item, self.assets)


def coordinate_image(geobox: GeoBox, angle: float = 0.3) -> np.ndarray:
    """Pixels that hold their own place along a rotated axis, so that a flip or a shift shows; a corner is NaN."""
    rows, columns = np.mgrid[: geobox.shape[0], : geobox.shape[1]]
    along = np.cos(angle) * columns + np.sin(angle) * rows
    image = np.round((0.05 + 0.5 * along / along.max()) * 2**13) / 2**13  # a step that float32 holds exactly
    image[:3, -5:] = np.nan
    return image.astype(np.float32)


def known_raster(
    folder: Path,
    *,
    tile: str = "h18v04",
    day: date = date(2018, 7, 1),
    shape: tuple[int, int] = (40, 60),
    version: str = "a",
    angle: float = 0.3,
) -> KnownRaster:
    """Raster item on the upper left part of a tile, its COG written below a folder."""
    geobox = MODIS_SINUSOIDAL_1KM.geobox(tile)[: shape[0], : shape[1]]
    values, profile = coordinate_image(geobox, angle), CogProfile(step=2**-13)
    item = raster_item(
        id=f"SM1KM.A{day:%Y%j}.{tile}.v001",
        collection="sm-1km-daily",
        geobox=geobox,
        start=utc_instant(day),
        end=utc_instant(Period.of_day(day).end),
        properties={
            "grid:code": MODIS_SINUSOIDAL_1KM.grid_code(tile),
            FINGERPRINT_PROPERTY: digest([tile, str(day), version]),
        },
        extensions=["grid"],
    )
    file = folder / f"{item['id']}.{version}.{angle}.tif"
    write_cog(values, file, geobox=geobox, profile=profile)
    verify_cog(values, file, profile=profile)
    fields = raster_asset(VARIABLES["sm"], dtype="float32", nodata=-9999.0)
    return KnownRaster(item, {"sm": AssetFile(file, ".tif", fields)}, values, geobox)


@dataclass(frozen=True)
class Published:
    """A catalogue with one known raster item."""

    root: Path
    """Folder of the catalogue."""

    raster: KnownRaster
    """What was published."""

    @property
    def item(self) -> pystac.Item:
        """The item as a reader finds it."""
        return open_catalog(self.root).item("sm-1km-daily", self.raster.item["id"])
