"""Inputs of preliminary data are known by their items."""

from __future__ import annotations

import pytest

from stac_sm.core.preliminary import is_preliminary


@pytest.mark.parametrize(
    ("properties", "asset", "expected"),
    [
        ({}, "swvl1", False),
        ({"stac_sm:rank": None, "stac_sm:sources": None}, "swvl1", False),
        ({"stac_sm:rank": {"final": False}}, "", True),
        ({"stac_sm:rank": {"final": True}}, "", False),
        ({"stac_sm:rank": {"version": [1]}}, "", False),
        ({"stac_sm:sources": [{"hours": [0, 1], "final": [0, 1]}]}, "swvl1", False),
        ({"stac_sm:sources": [{"hours": [0, 1], "final": [0], "preliminary": [1]}]}, "swvl1", True),
        ({"stac_sm:sources": [{"preliminary": [1], "variables": {"sd": {"preliminary": [1]}}}]}, "swvl1", False),
        ({"stac_sm:sources": [{"preliminary": [1], "variables": {"sd": {"preliminary": [1]}}}]}, "sd", True),
        ({"stac_sm:sources": [{"preliminary": [1], "variables": {"sd": {"preliminary": [1]}}}]}, "", True),
    ],
)
def test_an_input_is_preliminary_where_its_item_says_so_of_the_asset(properties, asset, expected):
    assert is_preliminary(properties, asset) is expected
