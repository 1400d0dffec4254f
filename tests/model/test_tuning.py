"""Tuning: a fixed budget, inside the rows given, on folds that never part a site; no luck but the seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.core.columns import Columns
from stac_sm.core.errors import InputError
from stac_sm.model import tuning
from stac_sm.model.base_learners import BoosterSpec, TrainingTarget, fit_boosters
from stac_sm.model.fit import TrainSettings, fit, training_rows
from stac_sm.model.normal_scores import NormalScores
from stac_sm.model.tuning import (
    RECIPE_SUMS,
    choose_sum,
    fit_sum,
    recipe_booster_specs,
    search_sums,
    site_mean_squared_errors,
    tune,
)
from tests.support.examples import examples

SMALL = TrainSettings(n_estimators=30, eta=0.2, max_depth=8, min_child_weight=1.0)
DEEP = BoosterSpec(
    "deep", TrainingTarget.ROWS, ("wet", "soil"), 30, {"eta": 0.2, "max_depth": 8, "min_child_weight": 1.0}
)
FLAT = replace(DEEP, name="flat", parameters={"eta": 0.2, "max_depth": 1, "min_child_weight": 100.0})
SUMS = {"deep": {"deep": 1.0}, "flat": {"flat": 1.0}}


def table_of(seed=0, sites=20, rows=20):
    """A site's level is its own: `soil` tells the sites apart, and nothing of their level; days follow `wet`."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(sites):
        wet = rng.random(rows)
        sm = 0.2 + 0.08 * rng.standard_normal() + 0.1 * wet
        parts.append(pd.DataFrame({"sm": sm, "wet": wet, "soil": rng.random(), "site": f"s{i:02d}"}))
    return pd.concat(parts, ignore_index=True).assign(date=pd.Timestamp("2018-01-01"))


TABLE = table_of()


def rows_of(table):
    return training_rows(table, ["wet", "soil"], Columns())


def test_what_only_memorises_sites_is_not_chosen():
    found = search_sums(rows_of(table_of(sites=60)), [DEEP, FLAT], SUMS, 0)
    assert found.chosen == "flat"
    assert found.errors["flat"] < found.errors["deep"]


def test_random_folds_would_have_chosen_it():
    """The planted trap is one: where a site is on both sides, the deep trees win by far."""
    half = TABLE.index % 2 == 0
    errors = []
    for part in (DEEP, FLAT):
        model = fit_sum(rows_of(TABLE[half]), [part], {part.name: 1.0}, 0)
        errors.append(np.sqrt(np.mean((model.predict(TABLE[~half]) - TABLE["sm"][~half]) ** 2)))
    assert errors[0] < 0.7 * errors[1]


@settings(max_examples=examples(30))
@given(st.integers(3, 60), st.floats(0.01, 20), st.integers(0, 2**32 - 1))
def test_a_prior_weighs_the_more_the_fewer_the_sites(count, prior, seed):
    """It is the ridge whose penalty is so many votes, of however many sites."""
    rng = np.random.default_rng(seed)
    soil = rng.standard_normal(count)
    table = pd.DataFrame({"soil": soil, "sm": 0.2 + 0.1 * soil + 0.02 * rng.standard_normal(count)})
    table = table.assign(wet=0.0, site=[f"s{i:02d}" for i in range(count)], date=pd.Timestamp("2018-01-01"))
    rows = rows_of(pd.concat([table] * 3))
    (line,) = fit_boosters(
        rows, [BoosterSpec("line", TrainingTarget.LEVEL, ("soil",), 60, {"booster": "gblinear"}, prior_weight=prior)], 0
    )
    values = table[["soil"]].to_numpy(np.float32)
    x, y = NormalScores.of(values, np.ones(count)).of_rows(values)[:, 0].astype(float), table["sm"].to_numpy()
    x -= x.mean()
    slope = x @ (y - y.mean()) / (x @ x + prior)
    np.testing.assert_allclose(line.predict(table), y.mean() + slope * x, atol=1e-4)


def test_the_budget_is_fixed_and_only_the_rows_given_have_a_say(monkeypatch):
    calls = []
    monkeypatch.setattr(
        tuning, "fit_boosters", lambda rows, *rest, **more: calls.append(rows) or fit_boosters(rows, *rest)
    )
    given = TABLE[TABLE["site"] < "s12"]
    search_sums(rows_of(given), [DEEP, FLAT], SUMS, 0)
    assert len(calls) == 5
    assert set.union(*(set(rows.sites) for rows in calls)) == set(given["site"])
    assert all(len(set(rows.sites)) < given["site"].nunique() for rows in calls)


def test_of_very_many_rows_some_are_tried(monkeypatch):
    calls = []
    monkeypatch.setattr(
        tuning, "fit_boosters", lambda rows, *rest, **more: calls.append(rows) or fit_boosters(rows, *rest)
    )
    found = search_sums(rows_of(TABLE), [FLAT], {"flat": {"flat": 1.0}}, 0, most_rows=100)
    assert found.predicted is None
    assert all(len(rows.target) <= 100 and len(set(rows.sites)) == 16 for rows in calls)


def test_a_sum_must_be_better_by_more_than_luck():
    close = {"first": np.array([1.0, 2.0, 3.0, 4.0]), "second": np.array([2.0, 1.0, 2.9, 4.0])}
    clear = {"first": np.array([1.0, 2.0, 3.0, 4.0]), "second": np.array([0.5, 1.4, 2.5, 3.4])}
    assert choose_sum(close) == "first"
    assert choose_sum(clear) == "second"
    assert close["second"].sum() < close["first"].sum()


def test_each_site_has_one_vote():
    found = site_mean_squared_errors(np.array([1.0, 1.0, 1.0, 3.0]), np.array(list("aaab")))
    np.testing.assert_allclose(found, [1, 9])


def linear_table(seed, sites):
    """Sites whose wetness is a straight line of two features, one of them skewed, with an error of their own."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(sites):
        sand, level = rng.random(), 0.04 * rng.standard_normal()
        wet = np.exp(rng.normal(0, 0.5, 30))
        sm = 0.2 - 0.15 * sand + 0.05 * np.log(wet) + level + 0.02 * rng.standard_normal(30)
        parts.append(pd.DataFrame({"sm": sm, "wet": wet, "soil": sand, "site": f"s{i:02d}"}))
    return pd.concat(parts, ignore_index=True).assign(date=pd.Timestamp("2018-01-01"))


def test_few_sites_learn_a_line_better_than_deep_trees():
    table, unseen = linear_table(1, 20), linear_table(2, 60)
    tuned = tune(table, ["wet", "soil"], settings=SMALL)
    assert tuned.chosen == "line and trees"
    assert tuned.model.members[0].trained.is_linear
    assert list(tuned.errors) == list(RECIPE_SUMS)
    plain = fit(table, ["wet", "soil"], settings=SMALL)
    errors = [np.sqrt(np.mean((model.predict(unseen) - unseen["sm"]) ** 2)) for model in (tuned.model, plain)]
    assert errors[0] < 0.9 * errors[1]


def test_trees_are_chosen_where_the_line_is_wrong():
    rng = np.random.default_rng(0)
    table = table_of(sites=40, rows=30).assign(soil=lambda t: rng.random(len(t)))
    table["sm"] = 0.1 + 0.2 * ((table["wet"] - 0.5).abs() < 0.25) + 0.01 * rng.standard_normal(len(table))
    settings = TrainSettings(n_estimators=60, max_depth=4, eta=0.2)
    assert tune(table, ["wet", "soil"], settings=settings).chosen == "as set"


@pytest.mark.parametrize("chosen", list(RECIPE_SUMS))
def test_order_and_threads_do_not_change_a_byte(chosen):
    table = TABLE.assign(wet=TABLE["wet"].mask(TABLE.index % 9 == 0))
    one = tune(table, ["wet", "soil"], settings=replace(SMALL, nthread=1), chosen=chosen)
    other = tune(
        table.sample(frac=1, random_state=1), ["wet", "soil"], settings=replace(SMALL, nthread=2), chosen=chosen
    )
    assert one.model.checksum == other.model.checksum
    assert (one.chosen, one.errors) == (chosen, {})


def test_the_choice_does_not_depend_on_the_order_of_rows():
    one, other = (tune(table, ["wet", "soil"], settings=SMALL) for table in (TABLE, TABLE.sample(frac=1)))
    assert one.model.checksum == other.model.checksum
    assert (one.chosen, one.errors) == (other.chosen, other.errors)


def test_without_tuning_it_is_the_booster_as_set():
    settings = replace(SMALL, tune=False)
    assert tune(TABLE, ["wet", "soil"], settings=settings).model == fit(TABLE, ["wet", "soil"], settings=settings)


def test_the_trees_as_set_have_the_settings():
    (trees,) = [part for part in recipe_booster_specs(["wet"], SMALL) if part.name == "trees"]
    assert (trees.rounds, trees.parameters["max_depth"], trees.trained_on) == (30, 8, TrainingTarget.ROWS)


def test_one_site_gets_the_most_trusted_and_other_names_and_gaps_do_no_harm():
    assert tune(TABLE[:20], ["wet", "soil"], settings=SMALL).chosen == next(iter(RECIPE_SUMS))
    table = TABLE.rename(columns={"sm": "theta", "site": "station"})
    table.loc[3, "theta"] = np.nan
    columns = Columns(target="theta", site="station")
    found = tune(table, ["wet"], settings=SMALL, columns=columns)
    assert np.isfinite(list(found.errors.values())).all()
    without = tune(table.drop(index=3), ["wet"], settings=SMALL, columns=columns)
    assert found.model.checksum == without.model.checksum


def test_what_cannot_be_tuned():
    with pytest.raises(InputError, match="no row with a target 'sm' among 400"):
        tune(TABLE.assign(sm=np.nan), ["wet"])
    with pytest.raises(InputError, match="no feature; at least one"):
        tune(TABLE, [])
