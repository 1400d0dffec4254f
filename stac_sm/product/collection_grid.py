"""Check the grid of a collection of products: all its items lie on one, since tile ids repeat from grid to grid.

MODIS has an ``h04v01``, and so has any other grid of five columns: products of two grids in one collection would take
each other's place. Planning, runs and aggregates ask here before they write anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pyproj

from stac_sm.core.errors import InputError
from stac_sm.core.grid import TileGrid
from stac_sm.core.projections import projection_properties
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.product.product_id import tile_of
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.index.manifest import is_item


def require_grid(catalog: WritableCatalog, grid: TileGrid, collection: str = PRODUCT_COLLECTION) -> None:
    """Refuse to add tiles of a grid to a collection that holds tiles of another one.

    Looks at one item, which stands for all: nothing of another grid has come in before.

    Parameters
    ----------
    catalog
        Catalogue with the collection.
    grid
        Grid of the tiles that are to be added.
    collection
        Id of the collection.

    Raises
    ------
    InputError
        If the collection holds items of another grid: names one, and says what to do.
    """
    for item in _items(catalog, collection):
        if not lies_on(item, grid):
            found = item["properties"]
            raise InputError(
                f"collection {collection} holds tiles of another grid: its item {item['id']} lies on "
                f"{found.get('grid:code')}, transform {found['proj:transform']}; [grid] of the project is "
                f"{grid.name!r}, {_place(grid, item['id'])}. Tile ids repeat from grid to grid: restore [grid], or "
                "make the products of this grid in a project of their own (`stac-sm init DIR`)"
            )
        return


def lies_on(item: Mapping[str, Any], grid: TileGrid) -> bool:
    """Return whether an item of a tile lies where a grid has the tile of its id.

    Parameters
    ----------
    item
        STAC item of a tile, as JSON, with its ``proj:*`` properties.
    grid
        Tile grid to compare with.

    Returns
    -------
    bool
        Whether grid code, shape, transform and CRS are those of the grid; its name does not count.
    """
    found = item["properties"]
    try:
        expected = _expected(grid, tile_of(item["id"]))
    except InputError:  # the grid has no such tile
        return False
    same_place = found.get("grid:code") == expected["grid:code"] and found["proj:shape"] == expected["proj:shape"]
    same_transform = np.allclose(found["proj:transform"], expected["proj:transform"], rtol=1e-12, atol=1e-9)
    return same_place and same_transform and _same_crs(str(found.get("proj:wkt2")), expected["proj:wkt2"])


def _items(catalog: WritableCatalog, collection: str) -> Iterator[Mapping[str, Any]]:
    """Yield the items of a collection that say where they lie, in the order of their paths; withdrawn ones may not."""
    for entry in catalog.store.list_objects(collection):
        if is_item(entry.path):
            item = json.loads(catalog.store.read(entry.path))
            if "proj:transform" in item["properties"]:
                yield item


@lru_cache(maxsize=1000)
def _expected(grid: TileGrid, tile: str) -> dict[str, Any]:
    return {**projection_properties(grid.geobox(tile)), "grid:code": grid.grid_code(tile)}


def _place(grid: TileGrid, id: str) -> str:
    try:
        expected = _expected(grid, tile_of(id))
    except InputError:
        return f"which has no tile {tile_of(id)}"
    return f"which has {grid.describe(tile_of(id))} on {expected['grid:code']}, transform {expected['proj:transform']}"


@lru_cache(maxsize=100)
def _same_crs(one: str, two: str) -> bool:
    if one == two:
        return True
    try:
        return bool(pyproj.CRS.from_user_input(one) == pyproj.CRS.from_user_input(two))
    except pyproj.exceptions.CRSError:
        return False
