"""Land tiles of the MODIS sinusoidal grid: the tiles that a global product covers.

Commands take this list where the user names neither tiles nor a box (``--land``). It holds every tile with at least one
1 km pixel of land north of 60 S (Antarctica has no soil to speak of), according to the GLOBE 30 arc-second elevation
model (NOAA, public domain) in the packing of global-land-mask 1.0.0 (MIT): 292 tiles with 157.4 million land pixels.
They were counted on 2026-11-23 at the pixel centres of the grid; small islands that GLOBE lacks are missing.
"""

from __future__ import annotations

from stac_sm.core.errors import InputError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM, TileGrid

# Row of tiles -> first and last column of each run of neighbouring land tiles.
_RUNS: dict[int, tuple[tuple[int, int], ...]] = {
    0: ((16, 19),),
    1: ((12, 23),),
    2: ((9, 26),),
    3: (
        (6, 15),
        (17, 29),
    ),
    4: (
        (8, 14),
        (17, 28),
    ),
    5: (
        (7, 12),
        (15, 30),
    ),
    6: (
        (2, 3),
        (7, 11),
        (16, 32),
    ),
    7: (
        (1, 1),
        (3, 3),
        (7, 12),
        (15, 34),
    ),
    8: (
        (0, 2),
        (8, 13),
        (16, 23),
        (25, 35),
    ),
    9: (
        (0, 4),
        (8, 14),
        (16, 16),
        (18, 23),
        (25, 25),
        (27, 35),
    ),
    10: (
        (0, 5),
        (10, 14),
        (17, 17),
        (19, 23),
        (27, 35),
    ),
    11: (
        (1, 6),
        (8, 8),
        (10, 15),
        (19, 23),
        (27, 33),
    ),
    12: (
        (2, 2),
        (11, 13),
        (16, 17),
        (19, 20),
        (24, 24),
        (27, 32),
    ),
    13: (
        (5, 5),
        (12, 13),
        (17, 17),
        (20, 22),
        (28, 31),
    ),
    14: (
        (13, 16),
        (18, 18),
        (22, 22),
        (27, 28),
    ),
}


def land_tiles(grid: TileGrid) -> list[str]:
    """Return the ids of the tiles with land.

    Parameters
    ----------
    grid
        Must be `MODIS_SINUSOIDAL_1KM`; the list is known for no other grid.

    Returns
    -------
    list of str
        292 tile ids, row by row from the north.

    Raises
    ------
    InputError
        If the grid is another one.
    """
    if grid != MODIS_SINUSOIDAL_1KM:
        raise InputError(
            f"land tiles are known for {MODIS_SINUSOIDAL_1KM.name} only, not for {grid.name}: name --tiles"
        )
    runs = ((row, first, last) for row, parts in sorted(_RUNS.items()) for first, last in parts)
    return [grid.tile_id(column, row) for row, first, last in runs for column in range(first, last + 1)]


def has_land(grid: TileGrid, tile: str) -> bool | None:
    """Return whether a tile has land.

    Parameters
    ----------
    grid
        Its land is known if it is `MODIS_SINUSOIDAL_1KM`.
    tile
        Tile id.

    Returns
    -------
    bool or None
        None where it is not known.
    """
    return tile in land_tiles(grid) if grid == MODIS_SINUSOIDAL_1KM else None
