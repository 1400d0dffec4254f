"""Land tiles: places that everybody knows are in, seas and Antarctica are out."""

import pytest

from stac_sm.core.errors import InputError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM as GRID
from stac_sm.core.land import land_tiles
from tests.support.fields import SMALL

TILES = land_tiles(GRID)

LAND = {
    "Hawaii": (-155.5, 19.6), "Vienna": (16.4, 48.2), "Alice Springs": (133.9, -23.7), "Cape Town": (18.5, -33.9),
    "Fiji, Vanua Levu": (179.2, -16.6), "Chukotka": (-175.0, 66.5), "Ushuaia": (-68.3, -54.8), "Svalbard": (16.0, 78.5),
    "Point Barrow": (-156.6, 71.2), "Kerguelen": (69.5, -49.3), "Azores": (-25.5, 37.8),
}  # fmt: skip
SEA = {
    "South Pacific": (-125.0, -45.0), "North Pacific": (-150.0, 40.0), "Indian Ocean": (95.0, -45.0),
    "Weddell Sea": (-40.0, -70.0), "Antarctica": (0.0, -80.0), "South Atlantic": (-25.0, -45.0),
}  # fmt: skip


@pytest.mark.parametrize("place", LAND)
def test_land_is_in(place):
    assert GRID.tile_at(*LAND[place])[0] in TILES


@pytest.mark.parametrize("place", SEA)
def test_sea_and_antarctica_are_out(place):
    assert GRID.tile_at(*SEA[place])[0] not in TILES


def test_tiles_are_real_sorted_and_about_as_many_as_modis_has():
    assert len(TILES) == len(set(TILES)) == 292
    assert all(GRID.footprint(tile) is not None for tile in TILES)
    assert sorted(TILES, key=lambda tile: (tile[4:], tile[:3])) == TILES


def test_another_grid_has_no_list():
    with pytest.raises(InputError, match="not for small: name --tiles"):
        land_tiles(SMALL)
