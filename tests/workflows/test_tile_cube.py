"""The feature cube of a tile by the recipe of a project: what ``stac-sm features`` prints and saves."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
import xarray as xr

from stac_sm.core.errors import CatalogError
from stac_sm.core.period import Period
from stac_sm.core.text import cube_rows
from stac_sm.features.cube import feature_cube
from stac_sm.features.recipe import Recipe
from stac_sm.workflows.tile_cube import build_tile_cube
from tests.support.fields import DAYS, TILE, shared_project


@pytest.fixture(scope="module")
def project():
    return shared_project()[0]


def test_values_are_those_of_the_feature_cube_and_are_in_memory(project):
    made = build_tile_cube(project, TILE, DAYS)
    expected = feature_cube(project.catalog, project.recipe, TILE, DAYS, grid=project.grid)
    xr.testing.assert_identical(made.cube, expected.compute())
    assert all(values.chunks is None for values in made.cube.data_vars.values())
    assert not made.blocked


def test_days_without_an_input_are_named_with_what_they_lack(project):
    after = DAYS.end + timedelta(days=30)
    made = build_tile_cube(project, TILE, Period(DAYS.end - timedelta(days=1), after))
    required = {feature.name for feature in project.recipe.sources}
    assert made.blocked
    assert DAYS.end - timedelta(days=1) not in made.blocked
    assert all(names and set(names) <= required for names in made.blocked.values())
    daily = replace(project, recipe=Recipe((project.recipe.feature("lst"),)))
    with pytest.raises(
        CatalogError, match=rf"features of tile {TILE} \(west .*\), 1999-01-01 to 1999-01-01: no item found for lst"
    ):
        build_tile_cube(daily, TILE, Period.of_day(date(1999, 1, 1)))


def test_a_saved_cube_is_the_cube(project, tmp_path):
    made = build_tile_cube(project, TILE, Period.of_day(DAYS.start))
    made.save(tmp_path / "cube.nc")
    with xr.open_dataset(tmp_path / "cube.nc") as saved:
        xr.testing.assert_equal(saved.drop_vars("spatial_ref"), made.cube.drop_vars("spatial_ref"))


def test_a_mask_without_an_item_says_so_in_the_rows_and_in_the_saved_cube(project, tmp_path):
    after = DAYS.end + timedelta(days=1)
    made = build_tile_cube(project, TILE, Period(DAYS.start, after + timedelta(days=1)))
    absent = [day for day in made.cube.time.dt.strftime("%Y-%m-%d").values if day >= str(DAYS.end)]
    assert made.cube["frozen"].attrs["days_without_input"] == absent
    made.save(tmp_path / "cube.nc")
    with xr.open_dataset(tmp_path / "cube.nc") as saved:
        assert saved["frozen"].attrs["days_without_input"] == "; ".join(absent)
    late = build_tile_cube(project, TILE, Period.parse("2018-07-04"))
    row = next(row for row in cube_rows(late.cube) if row["feature"] == "frozen")
    assert (row["mean"], row["missing"], row["items"]) == (None, "no input", 0)
