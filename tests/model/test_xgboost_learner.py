"""Normal scores and the linear boosters on them: a line that is followed no further than it was drawn."""

from __future__ import annotations

import json
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stac_sm.core.errors import ModelError
from stac_sm.model.booster import WeightedBooster
from stac_sm.model.learner import FitSettings
from stac_sm.model.model import Model
from stac_sm.model.normal_scores import NormalScores, penalty_scales
from stac_sm.model.xgboost_learner import XGBoostLearner

COLUMNS = arrays.arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e6, 1e6, width=32))


def scores_of(column):
    values = column[:, None]
    return NormalScores.of(values, np.ones(len(values)))


@given(COLUMNS)
def test_scores_follow_the_order_and_stay_within_bounds(column):
    found = scores_of(column).of_rows(column[:, None])[:, 0]
    order = np.argsort(column, kind="stable")
    assert (np.diff(found[order]) >= -1e-6).all()
    assert np.abs(found).max() <= 2.06  # 2 % of the rows


def test_they_are_those_of_the_ranks():
    column = np.random.default_rng(0).gamma(1.0, size=2000).astype(np.float32)
    found = scores_of(column).of_rows(column[:, None])[:, 0]
    below = np.clip((pd.Series(column).rank() - 0.5) / len(column), 0.02, 0.98)
    wanted = below.map(NormalDist().inv_cdf)
    assert np.abs(found - wanted).max() < 0.2  # 33 knots: coarse at the ends
    assert np.abs(found - wanted).mean() < 0.02
    assert abs(found.mean()) < 0.02
    assert 0.85 < found.std() < 1


def test_beyond_the_training_rows_nothing_goes_on():
    scores = scores_of(np.arange(100, dtype=np.float32))
    ends = scores.of_rows(np.array([[-1e9], [0], [99], [1e9]], np.float32))[:, 0]
    assert ends[0] == ends[1]
    assert ends[2] == ends[3]


def test_weights_say_where_the_middle_is():
    values = np.array([[0.0], [1.0], [2.0]], np.float32)
    found = NormalScores.of(values, np.array([8.0, 1.0, 1.0]))
    assert found.of_rows(values)[0, 0] == pytest.approx(-0.2533, abs=1e-3)  # the middle of the lower 80 %


def test_missing_stays_missing_and_an_empty_feature_too():
    values = np.array([[np.nan, np.nan], [1.0, np.nan], [3.0, np.nan]], np.float32)
    scores = NormalScores.of(values, np.ones(3))
    assert np.isnan(scores.of_rows(values)).sum() == 4
    assert NormalScores.from_list(json.loads(json.dumps(scores.to_list()))) == scores


def columns(values, names="abc"):
    return dict(zip(names, values.T, strict=True))


def line_of(rows=400, gaps=0.1, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((rows, 3)).astype(np.float32)
    target = (1 + values[:, 0] - 2 * values[:, 1]).astype(np.float32)
    values[rng.random(values.shape) < gaps] = np.nan
    settings = FitSettings({"booster": "gblinear", "reg_lambda": 1e-3}, 60, start=float(target.mean()))
    return values, target, XGBoostLearner.fit(columns(values), target, np.ones(rows, np.float32), settings)


def test_a_missing_value_counts_as_the_median():
    values, _, line = line_of()
    middle = np.nanmedian(values, axis=0)
    row = values[~np.isnan(values).any(axis=1)][:1]
    for i in range(3):
        absent, filled = row.copy(), row.copy()
        absent[0, i], filled[0, i] = np.nan, middle[i]
        assert line.predict(columns(absent))[0] == pytest.approx(line.predict(columns(filled))[0], abs=0.03)
    np.testing.assert_allclose(line.predict(columns(np.full((2, 3), np.nan, np.float32))), 1, atol=0.2)


def test_it_is_xgboosts_line_and_blocks_do_not_matter():
    import xgboost as xgb

    values, target, line = line_of(gaps=0.0)
    found = line.predict(columns(values))
    assert np.corrcoef(found, target)[0, 1] > 0.97
    assert np.array_equal(np.concatenate([line.predict(columns(part)) for part in np.split(values, 8)]), found)
    scores = NormalScores.of(values, np.ones(len(values))).of_rows(values)
    judge = line.booster.predict(xgb.DMatrix(scores, feature_names=list("abc")))
    assert np.array_equal(judge, found)
    assert line.predict(columns(values[:0])).shape == (0,)


def test_a_line_says_what_its_features_are_worth():
    _, _, line = line_of(gaps=0.0)
    model = Model((WeightedBooster.of(line),))
    worth = model.importance()
    assert worth["b"] == pytest.approx(0.8, abs=0.05)
    assert worth["c"] < 0.01
    assert line.is_linear


def test_normal_scores_that_were_lost_are_refused():
    _, _, line = line_of()
    booster = line.booster
    for attribute in ("{}", "x", json.dumps({"scores": [[[0, 0]]], "weight": 1})):
        booster.set_attr(**{"stac_sm:line": attribute})
        broken = WeightedBooster(1.0, line.features, bytes(booster.save_raw("ubj")))
        with pytest.raises(ModelError, match="normal scores"):
            broken.predict(columns(np.zeros((1, 3), np.float32)))


def test_a_line_that_was_trained_elsewhere_takes_its_features_as_they_are():
    import xgboost as xgb

    values, target, _ = line_of(gaps=0.0)
    data = xgb.DMatrix(values, target, feature_names=list("abc"))
    booster = xgb.train({"booster": "gblinear", "eta": 1.0}, data, num_boost_round=50)
    model = Model.plain(booster, list("abc"))
    found = model.predict(pd.DataFrame(values, columns=list("abc")))
    np.testing.assert_array_equal(found, booster.predict(data))
    assert np.corrcoef(found, target)[0, 1] > 0.97
    worth = model.importance()
    assert worth["b"] > worth["a"] > 10 * worth["c"]


def days_and_sites(sites=12, days=80, seed=3):
    """Rows of one feature that is of the day, one that is of the site, and one that is half and half."""
    rng = np.random.default_rng(seed)
    site = np.repeat(np.arange(sites), days)
    of_day = np.tile(rng.standard_normal(days), sites)
    of_site = rng.standard_normal(sites)[site]
    return np.column_stack([of_day, of_site, of_day + of_site]).astype(np.float32), site


def test_the_penalty_falls_on_what_few_sites_say():
    values, site = days_and_sites()
    of_day, of_site, both = penalty_scales(values, site, np.ones(len(site)), 0.1)
    assert (of_day, of_site) == (3.16, 1.0)  # 1 / sqrt(0.1): all sites have the same days
    assert 1.1 < both < 1.7
    assert penalty_scales(values, site, np.ones(len(site)), 1.0) == (1.0, 1.0, 1.0)
    gaps = np.full_like(values, np.nan)
    assert penalty_scales(gaps, site, np.ones(len(site)), 0.1) == (1.0, 1.0, 1.0)


def test_a_slope_that_days_decide_is_shrunk_less_and_is_worth_the_same():
    values, site = days_and_sites()
    target = (values[:, 0] + values[:, 1]).astype(np.float32)
    names, weight = ("day", "site", "both"), np.ones(len(site), np.float32)

    def line_with(groups, **more):
        parameters = {"booster": "gblinear", "reg_lambda": 0.5, **more}
        settings = FitSettings(parameters, 100, start=float(target.mean()))
        return XGBoostLearner.fit(columns(values, names), target, weight, settings, groups=groups)

    alike, apart = line_with(None), line_with(site, least_penalty=0.1)
    assert line_with(site).to_bytes() == line_with(None, least_penalty=0.1).to_bytes() == alike.to_bytes()

    def slopes(line):
        steps = np.array([[0, 0, 0], [1, 0, 1], [0, 1, 1]], np.float32)  # a step of the day, or of the site
        start, *ends = line.predict(columns(steps, names))
        return np.array(ends) - start

    assert slopes(apart)[0] > slopes(alike)[0] + 0.05
    assert abs(slopes(apart)[1] - slopes(alike)[1]) < 0.1
    assert sum(apart.importance().values()) < 2 * np.square(target - target.mean()).sum()
    assert apart.importance()["day"] > alike.importance()["day"]
    assert apart.to_bytes() == line_with(site, least_penalty=0.1).to_bytes()
