"""Skill of a model: against inputs and the seasonal cycle, on the same rows, with the same number everywhere."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest

from stac_sm.core.columns import Columns
from stac_sm.core.errors import InputError
from stac_sm.model.evaluate import CLIMATOLOGY, evaluate, seasonal_climatology
from stac_sm.model.holdout import hold_outs
from stac_sm.model.skill import Skill, read_skill, skill_sentences, unskilled
from stac_sm.model.skill_scores import random_rows_sentence, skill_of, with_baselines


def table_of(sites=12, each=40, noise=0.03, seed=0):
    """Match-ups of two networks; the input is the truth with noise and a bias of its own."""
    rng = np.random.default_rng(seed)
    n, site = sites * each, np.repeat(np.arange(sites), each)
    date = np.tile(pd.date_range("2018-01-01", periods=each, freq="18D"), sites)
    season = 0.05 * np.cos(2 * np.pi * pd.DatetimeIndex(date).dayofyear / 365.25)
    truth = 0.25 + season + 0.03 * rng.standard_normal(n)
    return pd.DataFrame(
        {
            "site": [f"s{i:02d}" for i in site], "network": np.where(site % 2, "A", "B"), "date": date,
            "sm": truth, "swvl1": 0.1 + truth + noise * rng.standard_normal(n),
        }
    )  # fmt: skip


class Given:
    """A model that predicts a column."""

    features = ("guess",)

    def predict(self, columns):
        return columns["guess"].to_numpy(dtype=np.float32)


def predictions(table, error):
    rng = np.random.default_rng(1)
    table = table.assign(guess=table["sm"] + error * rng.standard_normal(len(table)))
    folds = hold_outs(table, ("random", "site", "network"), folds=3)
    return table, evaluate(table, folds, lambda rows: Given(), baselines=["swvl1"]).predictions


def rmse(error):
    return float(np.sqrt(np.mean(np.square(error))))


def test_the_figures_are_those_of_the_rows():
    table, found = predictions(table_of(), 0.01)
    skills = skill_of(found)
    assert [(one.strategy, one.reference) for one in skills] == [
        (strategy, reference)
        for strategy in ("site", "network")
        for reference in ("input", "bias-corrected input", "seasonal climatology")
    ]
    rows = found[found["strategy"] == "site"]
    for one, column in zip(skills, ("swvl1", "swvl1 bias-corrected", CLIMATOLOGY), strict=False):
        assert (one.rows, one.sites) == (len(table), 12)
        assert one.rmse == pytest.approx(rmse(rows["unscreened"] - rows["observed"]))
        assert one.reference_rmse == pytest.approx(rmse(rows[column] - rows["observed"]))
        assert one.change == pytest.approx(one.rmse / one.reference_rmse - 1)
        assert one.low < one.change < one.high < 0
    assert unskilled(skills) == ()
    for sentence in skill_sentences(skills):
        assert sentence.count(" % (90 % interval -") == 3, "each states its level"
    assert re.search(r" % \(90 % interval [-+]\d+ % to ", random_rows_sentence(found))
    assert [sentence.partition(" (")[0] for sentence in skill_sentences(skills)] == [
        "at unseen sites", "at unseen networks",
    ]  # fmt: skip


def test_a_model_that_is_worse_than_its_input_says_so_first():
    _, found = predictions(table_of(noise=0.01), 0.03)
    skills = skill_of(found)
    assert [one.reference for one in unskilled(skills)] == ["bias-corrected input"]  # the input as it is has a bias
    first = skill_sentences(skills)[0]
    assert first.startswith("WORSE THAN ITS OWN INPUT: at unseen sites RMSE 0.02")
    assert "of its own input swvl1, bias-corrected" in first
    only_season = [one for one in skills if one.reference == "seasonal climatology"]
    assert unskilled(only_season) == ()  # it is no input


def test_it_goes_into_an_item_and_comes_back():
    skills = skill_of(predictions(table_of(), 0.01)[1])
    again = read_skill({"stac_sm:skill": [one.to_dict() for one in skills]})
    assert skill_sentences(again) == skill_sentences(skills)
    assert [one.to_dict() for one in again] == [one.to_dict() for one in skills]
    assert read_skill({}) is None
    single = skill_of(predictions(table_of(sites=1), 0.01)[1])
    assert single == ()  # no site is unseen


def test_columns_of_a_table_are_compared_without_the_rows_held_out():
    table, found = predictions(table_of(), 0.01)
    other = table.assign(smap=table["swvl1"].where(table.index % 5 > 0))
    compared = with_baselines(found.drop(columns=["swvl1", "swvl1 bias-corrected"]), other, ["smap"])
    for (strategy, fold), rows in compared.groupby(["strategy", "fold"]):
        others = compared[(compared["strategy"] == strategy) & (compared["fold"] != fold)]
        shift = (others["smap"] - others["observed"]).mean()
        np.testing.assert_allclose(rows["smap bias-corrected"], rows["smap"] - shift)
    whole = [one for one in skill_of(found) if one.name]
    some = [one for one in skill_of(compared) if one.name]
    assert [one.rows for one in some] == [int(other["smap"].notna().sum())] * 4
    assert [one.reference_rmse for one in some] == pytest.approx([one.reference_rmse for one in whole], rel=0.1)
    with pytest.raises(InputError, match="smop"):
        with_baselines(found, other, ["smop"])


def test_the_seasonal_cycle_is_the_mean_of_sites_around_the_day():
    """Beside a slow count, round the end of the year; a site with many rows counts once."""
    train = table_of(sites=5, each=30).iloc[:-20]
    train.loc[3, "sm"] = np.nan
    test = pd.DataFrame({"date": pd.date_range("2020-12-20", periods=30, freq="D")})
    found = seasonal_climatology(train, test, Columns())
    for day, value in zip(test["date"], found, strict=True):
        means = []
        for _, rows in train.dropna(subset="sm").groupby("site"):
            apart = (rows["date"].dt.dayofyear - day.dayofyear) % 366
            near = rows["sm"][(apart <= 15) | (apart >= 351)]
            means += [near.mean()] if len(near) else []
        assert value == pytest.approx(np.mean(means))
    sparse = train[train["date"].dt.month == 7]
    level = sparse.groupby("site")["sm"].mean().mean()
    np.testing.assert_allclose(seasonal_climatology(sparse, test, Columns()), level)


def test_one_site_has_no_interval():
    one = Skill("site", "input", "swvl1", 10, 1, 0.05, 0.04, 0.25, math.nan, math.nan)
    assert "change_low" not in one.to_dict()
    assert "(" not in skill_sentences([one])[0].partition("RMSE")[2]


@pytest.mark.parametrize(
    ("random", "meaning"),
    [
        (0.5, "that is the gain from knowing the site"),
        (1.0, "the two do not differ"),
        (1.5, "worse than at unseen sites, which more training rows"),
    ],
)
def test_random_rows_are_explained_by_their_paired_difference(random, meaning):
    _, found = predictions(table_of(), 0.03)
    error = (found["unscreened"] - found["observed"]).where(found["strategy"] == "site").groupby(found["row"])
    at_sites = error.transform("max")
    noise = 0.002 * np.random.default_rng(2).standard_normal(len(found))
    found["unscreened"] = found["observed"] + np.where(
        found["strategy"] == "random", random * at_sites + noise, at_sites
    )
    said = random_rows_sentence(found)
    assert meaning in said
    assert f"on the same {int((found['strategy'] == 'site').sum()):,} rows" in said
    assert random_rows_sentence(found[found["strategy"] != "random"]) == ""
