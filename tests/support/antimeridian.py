"""A product on both sides of the antimeridian, and what PROJ says of a place there."""

from __future__ import annotations

import numpy as np
import pyproj

from stac_sm.core.grid import TileGrid
from stac_sm.core.projections import SINUSOIDAL, SPHERE_RADIUS
from tests.support.product_days import known, new_project, put_days

BOX = (170.0, -19.0, -170.0, -11.0)
"""West above east."""

HALVES = ((170.0, -19.0, 180.0, -11.0), (-180.0, -19.0, -170.0, -11.0))

_HALF = np.pi * SPHERE_RADIUS
_SIZE = float(_HALF / 360)
GRIDS = {
    "degrees": TileGrid("earth", "EPSG:4326", (-180.0, 90.0), (0.5, 0.5), (40, 40), (18, 9), "EART"),
    "sinusoidal": TileGrid("sinus", SINUSOIDAL, (-_HALF, _HALF / 2), (_SIZE, _SIZE), (40, 40), (18, 9), "SINU"),
}
"""Coarse grids of the whole Earth."""

TILES = ("h00v05", "h17v05")


def product(folder, name: str, tiles=TILES):
    """A catalogue with one day of the tiles on one or both sides."""
    project = new_project(folder, GRIDS[name])
    put_days(project.catalog, tiles=tiles, days=range(1), grid=GRIDS[name])
    return project.catalog


def true_value(name: str, lon: float, lat: float, tiles=TILES) -> float:
    """Soil moisture of the pixel that holds a point; NaN where no tile was published."""
    grid = GRIDS[name]
    x, y = pyproj.Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True).transform((lon + 180) % 360 - 180, lat)
    column, row = int((x - grid.origin[0]) // grid.pixel[0]), int((grid.origin[1] - y) // grid.pixel[1])
    tile = grid.tile_id(column // 40, row // 40)
    return float(known(grid, tile, 0)[0][row % 40, column % 40]) if tile in tiles else float("nan")
