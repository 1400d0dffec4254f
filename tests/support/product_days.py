"""Published tile-days without a model: known fields, written and published as a run does."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path

import numpy as np

from stac_sm.core.fingerprint import digest
from stac_sm.core.period import ONE_DAY
from stac_sm.core.variables import QualityFlag
from stac_sm.product.item import PRODUCT_COLLECTION, ProductDay, product_item, write_product_assets
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import publish
from stac_sm.stac.simulated import is_simulated
from stac_sm.workflows.project import create_project
from tests.support.fields import SMALL, image, project_text

FIRST = date(2018, 7, 1)
TILES = ("h00v00", "h01v01", "h02v01")


def new_project(folder: Path, grid=SMALL):
    """A project without inputs."""
    return create_project(folder, project_text(grid))


def known(grid, tile: str, day: int, change: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Soil moisture as the product stores it, and flags; with gaps that move from day to day."""
    day %= 8
    sm = image(grid.geobox(tile), 0.05, 0.45, 0.3 + 0.1 * day) + np.float32(change)
    sm = (np.round(sm * 2**13) / 2**13).astype(np.float32)
    sm[3 : 9 + day, 4:11] = np.nan
    qa = np.where(np.isnan(sm), np.uint8(QualityFlag.FROZEN), np.uint8(0))
    qa[20, 20:25] = QualityFlag.CLIPPED
    return sm, qa


def put_day(catalog, tile: str, day: int, *, grid=SMALL, change=0.0, version="001", uncertainty=False, linked=False):
    """Publish a tile-day; returns its path."""
    sm, qa = known(grid, tile, day, change)
    made = ProductDay(tile, FIRST + day * ONE_DAY, version, digest([tile, day, change, version, uncertainty]))
    told = {"simulated": is_simulated(catalog)}
    item = product_item(made, grid, model_id="m", recipe_checksum="r", properties={}, **told)
    half = np.where(np.isnan(sm), np.nan, np.float32(0.0625) + 0 * sm).astype(np.float32) if uncertainty else None
    with tempfile.TemporaryDirectory() as scratch:
        assets = write_product_assets(sm, qa, grid.geobox(tile), Path(scratch), made=made, uncertainty=half, **told)
        publish(catalog, item, assets)
    if linked:
        refresh(catalog.store, PRODUCT_COLLECTION)
    return made.path(catalog.layout(PRODUCT_COLLECTION))


def put_days(catalog, tiles=TILES, days=range(3), **settings) -> None:
    """Publish and link some tile-days."""
    for tile in tiles:
        for day in days:
            put_day(catalog, tile, day, **settings)
    refresh(catalog.store, PRODUCT_COLLECTION)
