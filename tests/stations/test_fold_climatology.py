"""Climatologies of folds: those of the training years alone, as the cube would make them from these years."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from stac_sm.core.period import Period
from stac_sm.features.climatology import features_needing_climatology, make_climatology
from stac_sm.features.recipe import Climatology, Feature, Recipe
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.links import refresh
from stac_sm.stations.fold_climatology import plain_features, source_features, sums_of_days, without_years
from stac_sm.stations.matchups import match_up_recipes, resolve_sites
from tests.support.fields import SMALL, TILE, around, image, new_catalog, put

COARSE = around(SMALL.geobox(TILE), "EPSG:4326", 0.25)
YEARS = (2001, 2002, 2003)
DAYS = [date(year, month, day) for year in YEARS for month in (1, 2, 7, 8) for day in (9, 10, 11, 12)]
GAP = date(2001, 7, 11)
ROWS, COLUMNS = np.array([3, 20, 35]), np.array([4, 30, 10])
WHERE = pd.DataFrame(
    {"site": ["a", "b", "c"], "network": "N", "lon": 0.0, "lat": 0.0, "tile": TILE, "row": ROWS, "col": COLUMNS}
)
SERIES = pd.DataFrame(
    [(site, pd.Timestamp(day), 0.2, 24) for site in WHERE["site"] for day in DAYS], columns=["site", "date", "sm", "n"]
).astype({"date": "datetime64[ns]"})


def recipe(years: str) -> Recipe:
    """Every way in which a climatology comes into a feature, over some years."""
    by_year, by_month = Climatology(years, "year", 3), Climatology(years, "month", 3)
    swvl1 = Feature("w", "era5-land", "swvl1", "bilinear", missing="nan")
    return Recipe(
        (
            swvl1,
            replace(swvl1, name="w_mean", statistic="climatology", climatology=by_year),
            replace(swvl1, name="w_spread", statistic="spread", climatology=by_year),
            replace(swvl1, name="w_anomaly", statistic="anomaly", climatology=by_year),
            replace(swvl1, name="w_exp_anomaly", statistic="anomaly", climatology=by_year, exponential=2, window=3),
            replace(swvl1, name="w_season", statistic="climatology", climatology=by_month),
            replace(swvl1, name="w_lagged", statistic="anomaly", climatology=by_month, lag=1),
            replace(swvl1, name="w_filled", missing="climatology", climatology=by_month),
        )
    )


def catalogue(folder, changed: int = 0):
    """Daily fields; those of a year are other ones where it is asked for."""
    made = new_catalog(folder)
    for i, day in enumerate(DAYS):
        level = 0.1 * np.sin(2.3 * i) + (0.5 if day.year == changed else 0)
        field = (0.3 + level + 0.02 * (1 + i % 3) * image(COARSE)).astype(np.float32)
        if day != GAP:
            put(made, "era5-land", f"ERA5.{day:%Y%j}", COARSE, {"swvl1": field}, day, linked=False)
    refresh(made.store, "era5-land")
    return made.root


def matched(root, years: str):
    """Match-ups with the climatologies of some years, and what those of fewer years are made from."""
    of = recipe(years)
    for feature in features_needing_climatology(of):
        make_climatology(open_catalog(root), feature)
    daily = Recipe(tuple(replace(feature, name=name) for name, (feature, _) in source_features(of).items()))
    recipes = {"table": of, "plain": Recipe(plain_features(of)), "days": daily}
    period = Period.parse("2001/2003")
    resolved = {name: resolve_sites(open_catalog(root), one, WHERE, period, SMALL) for name, one in recipes.items()}
    made = match_up_recipes(WHERE, SERIES, resolved, SMALL, daily=["days"])
    plain = made["plain"].table[["site", "date", *(feature.name for feature in plain_features(of))]]
    return made["table"].table, plain, sums_of_days(made["days"].table, source_features(of))


@pytest.fixture(scope="module")
def three_years(tmp_path_factory):
    return matched(catalogue(tmp_path_factory.mktemp("years") / "c"), "2001/2003")


def test_without_a_year_they_are_the_features_that_the_cube_makes_from_the_others(three_years, tmp_path):
    table, plain, sums = three_years
    wanted = matched(catalogue(tmp_path / "c"), "2001/2002")[0]
    found = without_years(table, recipe("2001/2003"), plain, sums, {2003})
    spread = found.pop("w_spread"), wanted.pop("w_spread")  # of the pixel, not regridded from that of coarse pixels
    np.testing.assert_allclose(*spread, rtol=3e-4)
    pd.testing.assert_frame_equal(found, wanted, rtol=2e-5, atol=2e-6)
    assert not np.allclose(found["w_mean"], table["w_mean"], atol=1e-3)
    assert found["w_anomaly"].notna().any()
    same = without_years(table, recipe("2001/2003"), plain, sums, ())
    pd.testing.assert_frame_equal(same, table, rtol=3e-4, atol=2e-6)


def test_whatever_the_held_out_year_is_its_fold_does_not_see_it(three_years, tmp_path):
    """The features of all rows of other years are the same bits, and of its own rows those that are of many years."""
    other = matched(catalogue(tmp_path / "c", changed=2002), "2001/2003")
    one, two = (without_years(made[0], recipe("2001/2003"), *made[1:], {2002}) for made in (three_years, other))
    kept = one["date"].dt.year != 2002
    pd.testing.assert_frame_equal(one[kept], two[kept], check_exact=True)
    of_years = ["w_mean", "w_spread", "w_season"]
    pd.testing.assert_frame_equal(one[of_years], two[of_years], check_exact=True)
    seen = [made[0][made[0]["date"].dt.year != 2002] for made in (three_years, other)]
    assert not np.allclose(seen[0]["w_mean"], seen[1]["w_mean"], atol=1e-3)  # as the match-ups have them


def test_too_few_days_of_other_years_are_no_climatology(three_years):
    table, plain, sums = three_years
    found = without_years(table, recipe("2001/2003"), plain, sums, set(YEARS))
    assert found[["w_mean", "w_spread", "w_anomaly", "w_season"]].isna().all(axis=None)
    assert found["w"].equals(table["w"])
    gap = table["date"] == pd.Timestamp(GAP)
    assert found.loc[gap, "w_filled"].isna().all()
    assert found.loc[~gap, "w_filled"].equals(table.loc[~gap, "w_filled"])


def test_features_of_one_source_share_their_sums():
    of = recipe("2001/2003")
    assert list(source_features(of)) == ["w_mean", "w_season"]
    assert {feature.name for feature in plain_features(of)} == {
        "w_anomaly",
        "w_exp_anomaly",
        "w_lagged",
        "w_filled",
    }
    assert source_features(of.only(["w"])) == {}
