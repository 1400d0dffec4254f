"""Match-ups: the features of a site are those of its pixel and day in the cube that prediction reads."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from stac_sm.core.errors import InputError
from stac_sm.features.cube import feature_cube
from stac_sm.features.recipe import Feature, Recipe
from stac_sm.model.predict import predict
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stations.matchups import match_up, match_up_recipes, resolve_sites
from tests.support.fields import DAYS, RECIPE, SMALL, TILE, copied_project, edit, read_model, shared_project
from tests.support.site_series import PLACES, matched, series, sites


@pytest.fixture(scope="module")
def catalog():
    return shared_project()[0].catalog


@pytest.fixture(scope="module")
def found(catalog):
    return matched(catalog)


def test_features_are_those_of_the_cube(catalog, found):
    cube = feature_cube(catalog, RECIPE, TILE, DAYS, grid=SMALL).compute()
    assert len(found.table) > 5
    for row in found.table.itertuples():
        pixel = cube.sel(time=row.date).isel(y=row.row, x=row.col)
        assert not pixel.frozen
        for name in RECIPE.names:
            np.testing.assert_array_equal(np.float32(getattr(row, name)), pixel[name].values, err_msg=f"{name} {row}")


def test_every_site_day_is_in_the_table_or_counted(catalog, found):
    cube = feature_cube(catalog, RECIPE, TILE, DAYS, grid=SMALL).compute()
    frozen = sum(int(cube.frozen.values[:, row, column].sum()) for row, column in PLACES.values())
    assert found.dropped["frozen"] == frozen > 0
    assert found.dropped["no value of lst"] > 0
    assert len(found.table) + sum(found.dropped.values()) == len(PLACES) * len(DAYS)
    assert not found.table[["lst", "lai", "swvl1"]].isna().any(axis=None)
    assert found.table["elevation"].isna().any()  # missing = "nan": left to the model


def test_the_table_has_its_columns_and_order(found):
    first = ["site", "network", "lon", "lat", "tile", "row", "col", "date", "sm", "n"]
    assert list(found.table) == [*first, *RECIPE.names]
    keys = list(zip(found.table["site"], found.table["date"], strict=True))
    assert keys == sorted(keys)
    assert (found.table["sm"] == found.table["site"].map(lambda name: 0.2 + "ABCDE".index(name) / 100)).all()


def test_the_order_of_the_input_does_not_matter(catalog, found):
    turned = matched(catalog, sites=sites()[::-1], series=series().sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(turned.table, found.table)
    assert turned.dropped == found.dropped


def test_another_station_changes_no_row_of_the_others(catalog, found):
    fewer = matched(catalog, "AB")
    pd.testing.assert_frame_equal(fewer.table, found.table[found.table["site"].isin(["A", "B"])].reset_index(drop=True))


def test_both_readers_give_one_table(catalog, found):
    pd.testing.assert_frame_equal(matched(catalog, reader="odc").table, found.table)


def test_more_workers_give_the_same_table(catalog, found):
    again = matched(catalog, workers=3)
    pd.testing.assert_frame_equal(again.table, found.table, check_exact=True)
    assert again.dropped == found.dropped


def test_recipes_side_by_side_are_as_each_alone(catalog, found):
    """And the second one reads what the first has read already, even on days that the first cannot use."""
    other = Recipe((Feature("cell", "era5-land", "swvl1", "nearest", missing="nan"),))
    where = sites()
    resolutions = {
        "first": resolve_sites(catalog, RECIPE, where, DAYS, SMALL),
        "second": resolve_sites(catalog, other, where, DAYS, SMALL),
    }
    both = match_up_recipes(where, series(), resolutions, SMALL)
    pd.testing.assert_frame_equal(both["first"].table, found.table, check_exact=True)
    alone = match_up(where, series(), resolutions["second"], SMALL)
    pd.testing.assert_frame_equal(both["second"].table, alone.table, check_exact=True)
    assert len(alone.table) == len(series())
    assert both["first"].dropped == found.dropped


def test_days_outside_the_period_are_counted(catalog, found):
    early = pd.DataFrame({"site": ["A"], "date": [pd.Timestamp("2001-01-01")], "sm": [0.1], "n": [24]})
    more = pd.concat([series(), early])
    other = matched(catalog, series=more)
    assert other.dropped == {"outside the period": 1, **found.dropped}
    pd.testing.assert_frame_equal(other.table, found.table)


def test_no_site(catalog):
    with pytest.raises(InputError, match="no station found: ingest ISMN archives"):
        match_up(sites(""), series(""), {}, SMALL)


def test_one_scale_in_one_item_changes_the_match_ups_and_the_prediction(tmp_path, found):
    """One feature path: training and prediction build their features by the same code, from the same metadata."""
    project, model_id, _ = copied_project(tmp_path / "p")
    model, day = read_model(project.catalog, model_id), pd.Timestamp("2018-07-01")

    def predicted():
        cube = feature_cube(open_catalog(project.folder), RECIPE, TILE, DAYS, grid=SMALL)
        return predict(model, cube).sm.compute()

    before = predicted()
    edit(
        project.catalog, "era5-land", "ERA5.2018182",
        lambda item: item["assets"]["swvl1"]["bands"][0].update({"raster:scale": 0.5}),
    )  # fmt: skip
    after, rows = predicted(), matched(open_catalog(project.folder)).table
    changed = rows["date"] == day
    assert changed.any()
    np.testing.assert_allclose(rows["swvl1"], np.where(changed, 0.5, 1) * found.table["swvl1"], rtol=1e-6)
    both = ~np.isnan(before.sel(time=day))
    assert float((after.sel(time=day) != before.sel(time=day)).where(both).mean()) > 0.9
    np.testing.assert_array_equal(after.drop_sel(time=day), before.drop_sel(time=day))
