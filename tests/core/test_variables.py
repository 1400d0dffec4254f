"""The table of variables."""

from __future__ import annotations

import pytest

from stac_sm.core.errors import InputError
from stac_sm.core.variables import PUBLISHED_FLAGS, VARIABLES, QualityFlag, get_variable
from stac_sm.stac.items import raster_asset


def test_table_is_whole():
    for name, entry in VARIABLES.items():
        assert get_variable(name) is entry
        assert entry.name == name
        assert entry.unit
        assert entry.description
        assert entry.valid[0] < entry.valid[1]


def test_unknown_variable_names_the_known():
    with pytest.raises(InputError, match=r"'albedo_x' is unknown: known are .*swvl1"):
        get_variable("albedo_x")


def test_asset_of_a_variable():
    band = raster_asset(get_variable("lst"), dtype="uint16", nodata=0, scale=0.01)["bands"][0]
    both = {"name": "lst", "data_type": "uint16", "unit": "K", "raster:sampling": "area", "nodata": 0}
    assert band == {**both, "raster:scale": 0.01, "raster:offset": 0.0}
    assert raster_asset(get_variable("lst"), dtype="uint16", nodata=0)["bands"] == [both]
    assert "nodata" not in raster_asset(get_variable("lst"), dtype="uint16", nodata=None)["bands"][0]


def test_every_bit_of_the_band_has_a_name_and_the_reserved_one_is_not_published():
    assert [flag.value for flag in QualityFlag] == [1 << bit for bit in range(8)]
    assert {flag.value for flag in PUBLISHED_FLAGS} == {1, 2, 4, 8, 16, 32, 128}


def test_the_name_that_older_items_give_the_reserved_bit_is_still_read():
    assert QualityFlag["READ_TOLERATED"] is QualityFlag(64) is QualityFlag.RESERVED_64
