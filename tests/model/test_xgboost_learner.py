"""XGBoost as a learner: stages of its trees, the devices it may use, and linear boosters of older models."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from stac_sm.core.errors import InputError, ModelError
from stac_sm.model.booster import WeightedBooster
from stac_sm.model.learner import FitSettings, StagedLearner
from stac_sm.model.model import Model
from stac_sm.model.xgboost_learner import XGBoostLearner, require_device

RNG = np.random.default_rng(0)
VALUES = RNG.standard_normal((400, 3)).astype(np.float32)
TARGET = (1 + VALUES[:, 0] - 2 * VALUES[:, 1]).astype(np.float32)
COLUMNS = dict(zip("abc", VALUES.T, strict=True))


def line(scores=None):
    """A linear booster, with normal scores as older models hold them."""
    booster = xgb.train({"booster": "gblinear", "eta": 1.0}, xgb.DMatrix(VALUES, TARGET, feature_names=list("abc")), 50)
    if scores is not None:
        booster.set_attr(**{"stac_sm:line": json.dumps(scores)})
    return booster


def test_stages_are_what_fewer_rounds_would_have_learned():
    def trained(rounds):
        return XGBoostLearner.fit(COLUMNS, TARGET, None, FitSettings({"eta": 0.1, "max_depth": 3}, rounds, start=0.9))

    whole = trained(12)
    assert isinstance(whole, StagedLearner)
    found = whole.predict_stages(COLUMNS, (2, 5, 12))
    for stage, rounds in zip(found, (2, 5, 12), strict=True):
        np.testing.assert_allclose(stage, trained(rounds).predict(COLUMNS), atol=1e-6)


def test_a_device_that_the_installed_package_cannot_use_is_refused_by_name(monkeypatch):
    require_device("cpu")
    with pytest.raises(InputError, match="xgboost-cpu .* is installed, which has no CUDA; xgboost is required"):
        require_device("cuda")
    monkeypatch.setattr(xgb, "build_info", lambda: {"USE_CUDA": True})
    require_device("cuda")


def test_a_device_is_passed_on_to_xgboost(monkeypatch):
    seen, train = [], xgb.train
    monkeypatch.setattr(xgb, "train", lambda given, *rest, **more: seen.append(given) or train(given, *rest, **more))
    XGBoostLearner.fit(COLUMNS, TARGET, None, FitSettings(rounds=1))
    assert seen[0]["device"] == "cpu"


def test_a_line_that_was_trained_elsewhere_takes_its_features_as_they_are():
    booster = line()
    model = Model.plain(booster, list("abc"))
    found = model.predict(pd.DataFrame(VALUES, columns=list("abc")))
    np.testing.assert_array_equal(found, booster.predict(xgb.DMatrix(VALUES, feature_names=list("abc"))))
    assert set(model.importance().values()) == {0.0}


def test_a_line_of_an_older_model_takes_its_normal_scores():
    """Piecewise linear, flat beyond its knots; a missing value stays missing."""
    knots = [[[-1, -2], [0, 0], [1, 4]], [[0, 1]], []]
    booster = line({"scores": knots})
    rows = np.array([[-9, 0.5, 1], [0.5, np.nan, 1], [np.nan, 7, 1]], np.float32)
    scores = np.array([[-2, 1, np.nan], [2, np.nan, np.nan], [np.nan, 1, np.nan]], np.float32)
    found = XGBoostLearner(booster, tuple("abc")).predict(dict(zip("abc", rows.T, strict=True)))
    np.testing.assert_array_equal(found, booster.predict(xgb.DMatrix(scores, feature_names=list("abc"))))


@pytest.mark.parametrize("scores", [{}, 1, {"scores": [[[0, 0]]]}, {"scores": "abc"}])
def test_normal_scores_that_were_lost_are_refused(scores):
    broken = WeightedBooster(1.0, tuple("abc"), bytes(line(scores).save_raw("ubj")))
    with pytest.raises(ModelError, match="normal scores cannot be read .* train again"):
        broken.predict(COLUMNS)


def test_a_linear_booster_that_cannot_be_read_says_train_again():
    """As a later XGBoost will not read any; what is cut off is read by none today."""
    content = bytes(line().save_raw("ubj"))
    assert "gblinear" in XGBoostLearner.from_bytes(content, list("abc")).outdated
    assert XGBoostLearner.fit(COLUMNS, TARGET, None, FitSettings(rounds=1)).outdated == ""
    with pytest.raises(ModelError, match=r"XGBoost 3.* does not read .*: it is a linear one, .*: train again"):
        XGBoostLearner.from_bytes(content[:-40], list("abc"))
    with pytest.raises(ModelError, match="does not read as UBJSON$"):
        XGBoostLearner.from_bytes(b"none", list("abc"))
