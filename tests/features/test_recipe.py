"""Recipes: data that is checked, and comes back the same."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import InputError
from stac_sm.features.recipe import DERIVED, MASKS, RESAMPLINGS, SEASONS, TIME_RULES, Climatology, Feature, Mask, Recipe
from tests.support.fields import RECIPE

FEATURE = {"name": "lst", "collection": "glass-lst", "asset": "lst"}
MASK = {"name": "frozen", "collection": "era5-land", "asset": "stl1", "below": 273.15}
names = st.text("abcdefghijk_", min_size=2, max_size=6)
periods = st.sampled_from(["2001/2010", "2003"])
climatologies = st.builds(Climatology, periods, st.sampled_from(SEASONS), st.integers(1, 9))
plain = st.builds(
    Feature, names, names, names, st.sampled_from(RESAMPLINGS), st.sampled_from(TIME_RULES), st.integers(0, 99),
    st.sampled_from(["nodata", "nan"]), st.none() | st.tuples(st.floats(0, 1), st.floats(2, 3)), band=names,
)  # fmt: skip
against_years = st.builds(
    Feature, names, names, names, time=st.sampled_from(["daily", "composite", "previous"]), lag=st.integers(0, 3),
    trailing=st.integers(1, 3), statistic=st.sampled_from(["value", "anomaly"]), missing=st.just("climatology"),
    climatology=climatologies,
)  # fmt: skip
of_windows = st.builds(
    Feature, names, names, names, exponential=st.sampled_from([0.5, 10.0]), window=st.sampled_from([0, 1, 45]),
    lag=st.integers(0, 2), missing=st.sampled_from(["nodata", "nan"]),
)  # fmt: skip
spreads = st.builds(Feature, names, names, names, statistic=st.just("spread"), climatology=climatologies)
features = plain | against_years | of_windows | spreads
masks = st.builds(
    lambda name, limit, side, unknown: Mask(name, Feature(name, "c", "a"), **{side: limit}, unknown=unknown),
    st.sampled_from(MASKS), st.floats(-9, 400), st.sampled_from(["below", "above"]), st.booleans(),
)  # fmt: skip
recipes = st.builds(
    Recipe,
    st.lists(features, min_size=1, max_size=4, unique_by=lambda one: one.name).map(tuple),
    st.lists(st.sampled_from(DERIVED), unique=True).map(tuple),
    st.lists(masks, unique_by=lambda one: one.name, max_size=2).map(tuple),
)


@given(recipe=recipes)
def test_a_recipe_comes_back_from_json(recipe):
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert Recipe.from_dict(recipe.to_dict()).checksum == recipe.checksum


@given(one=recipes, two=recipes)
def test_the_checksum_tells_recipes_apart(one, two):
    assert (one.checksum == two.checksum) == (one == two)


def test_columns_are_in_order_and_masks_are_none():
    assert RECIPE.names == ("lst", "lai", "swvl1", "elevation", "doy_sin", "latitude")
    assert [feature.name for feature in RECIPE.sources] == ["lst", "lai", "swvl1", "elevation", "frozen"]
    assert RECIPE.feature("lai").time == "composite"
    assert RECIPE.only(["swvl1"]).names == ("swvl1",)


def test_one_table_stands_for_the_features_of_a_source():
    years = Climatology("2001/2010", "year")
    table = FEATURE | {"resampling": "bilinear", "climatology": {"period": "2001/2010", "season": "year"}, "lag": 1}
    table |= {"statistics": ["value", "climatology", "spread", "anomaly"], "exponentials": [5, 20], "missing": "nan"}
    source = Feature("lst", "glass-lst", "lst", "bilinear", missing="nan")
    lagged = replace(source, lag=1)
    wanted = (
        lagged,
        replace(source, name="lst_mean", statistic="climatology", climatology=years),
        replace(source, name="lst_spread", statistic="spread", climatology=years),
        replace(lagged, name="lst_anomaly", statistic="anomaly", climatology=years),
        replace(lagged, name="lst_exp5", exponential=5, window=15),
        replace(lagged, name="lst_exp5_anomaly", exponential=5, window=15, statistic="anomaly", climatology=years),
        replace(lagged, name="lst_exp20", exponential=20, window=60),
        replace(lagged, name="lst_exp20_anomaly", exponential=20, window=60, statistic="anomaly", climatology=years),
    )
    made = Recipe.from_dict({"features": [table]})
    assert made.features == wanted
    assert Recipe.from_dict(made.to_dict()) == made
    assert [one.days_back for one in wanted] == [1, 0, 0, 1, 15, 15, 60, 60]
    filled = Recipe.from_dict({"features": [table | {"missing": "climatology", "window": 30}]})
    assert [one.missing for one in filled.features] == ["climatology", "nodata", "nodata", *["climatology"] * 5]
    assert [one.window for one in filled.features] == [0, 0, 0, 0, 30, 30, 30, 30]
    plain = Recipe.from_dict({"features": [FEATURE | {"exponentials": [5]}]})
    assert plain.names == ("lst_exp5",)


def test_the_order_of_features_counts():
    assert Recipe(RECIPE.features[::-1]).checksum != Recipe(RECIPE.features).checksum


def one(**changes):
    """A recipe of one feature."""
    return {"features": [FEATURE | changes]}


WRONG = {
    "no feature": ({}, "no feature found"),
    "misspelt list": ({"feature": [FEATURE]}, "field 'feature' is unknown.*did you mean 'features'"),
    "misspelt field": (one(resampl="nearest"), "feature 'lst': field 'resampl' .*'resampling'"),
    "no asset": ({"features": [{"name": "lst", "collection": "c"}]}, "feature 'lst': asset missing: write"),
    "nothing in it": ({"features": [{}]}, "name, collection, asset missing"),
    "resampling": (one(resampling="cubic"), "'cubic' is unknown: known are nearest, bilinear, average"),
    "time": ({"features": [FEATURE | {"time": "dayly"}]}, "time 'dayly' is unknown.*did you mean 'daily'"),
    "missing": ({"features": [FEATURE | {"missing": "nodatta"}]}, "did you mean 'nodata'"),
    "gap as text": (one(max_gap="long"), "feature 'lst'.max_gap: found 'long', .*valid integer"),
    "gap below 0": ({"features": [FEATURE | {"max_gap": -1}]}, "max_gap -1 found; .* 0 or more"),
    "name of a number": ({"features": [FEATURE | {"name": 5}]}, "name: found 5, .*valid string"),
    "empty name": ({"features": [FEATURE | {"name": ""}]}, "a name"),
    "twice": ({"features": [FEATURE, FEATURE]}, "lst occurs twice"),
    "a mask of a feature's name": (one(name="snow") | {"masks": [MASK | {"name": "snow"}]}, "snow occurs"),
    "a column of the table": ({"features": [FEATURE | {"name": "site"}]}, "site cannot be the name of a feature"),
    "a coordinate": ({"features": [FEATURE | {"name": "x"}]}, "x cannot be the name of a feature"),
    "the place of a station": (one(name="geometry"), "geometry cannot be the name of a feature"),
    "derived": ({"features": [FEATURE], "derived": ["doy_sinus"]}, "did you mean 'doy_sin'"),
    "derived as text": ({"features": [FEATURE], "derived": "latitude"}, "recipe.derived: found 'latitude'"),
    "features as table": ({"features": FEATURE}, "recipe.features: found .* list"),
    "mask": (one() | {"masks": [MASK | {"name": "frosty"}]}, "mask 'frosty' is unknown: known are frozen, snow, water"),
    "mask without limit": ({"features": [FEATURE], "masks": [{**MASK, "below": None}]}, "give one of below"),
    "mask with two": ({"features": [FEATURE], "masks": [MASK | {"above": 1}]}, "give one of below"),
    "misspelt limit": ({"features": [FEATURE], "masks": [{**MASK, "belo": 1}]}, "'belo' is unknown.*'below'"),
    "limit as text": (one() | {"masks": [MASK | {"below": "cold"}]}, "mask 'frozen'.below: found 'cold'"),
    "text": ("features", "recipe: found 'features'"),
    "time scale": (one(exponential=-1), "exponential -1, window 0 found"),
    "endless time scale": (one(exponential=float("inf")), "exponential inf"),
    "window alone": (one(window=5), "window 5 found without exponential"),
    "two averages": (one(exponential=5, trailing=3), "exponential and trailing found"),
    "spread without years": (one(statistic="spread"), "climatology missing"),
    "spread that is averaged": (
        one(statistic="spread", climatology={"period": "2001"}, exponential=3), "no trailing or exponential mean"),
    "static that is averaged": (one(time="static", exponential=3), "no trailing or exponential mean"),
    "list of statistics": (one(statistics=["mean"]), "statistics 'mean' is unknown: known are value"),
    "empty lists": (one(statistics=[]), "statistics and exponentials are empty"),
    "a list and one": (one(statistics=["value"], statistic="value"), "statistic found beside a list"),
    "list without years": (one(statistics=["anomaly"]), "feature 'lst_anomaly': climatology missing"),
    "years without use": (one(statistics=["value"], climatology={"period": "2001"}), "climatology found, and none"),
    "scales as text": (one(exponentials="5"), "feature 'lst'.exponentials"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(content, told):
    with pytest.raises(InputError, match=told):
        Recipe.from_dict(content)


def test_an_unknown_feature():
    with pytest.raises(
        InputError, match="feature 'lts' is unknown: known are lst, lai, swvl1, elevation; did you mean 'lst'"
    ):
        RECIPE.feature("lts")
