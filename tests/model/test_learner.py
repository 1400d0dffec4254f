"""Learners: models of any kind of learner are trained, published, read and evaluated the same way."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stac_sm.core.columns import Columns
from stac_sm.core.errors import ModelError
from stac_sm.core.fingerprint import digest
from stac_sm.core.period import Period
from stac_sm.model import learner as learners
from stac_sm.model.base_learners import BoosterSpec, TrainingTarget, fit_boosters
from stac_sm.model.booster import WeightedBooster
from stac_sm.model.feature_matrix import feature_columns
from stac_sm.model.fit import fit, training_rows
from stac_sm.model.forest import ensemble
from stac_sm.model.forest.trees import FlatTrees
from stac_sm.model.intervals import ErrorLevel, Intervals
from stac_sm.model.item import MODELS_COLLECTION, model_item, write_model_assets
from stac_sm.model.learner import FitSettings, TreeLearner
from stac_sm.model.learner_registry import DEFAULT_LEARNER, LEARNERS, find_learner
from stac_sm.model.model import Model
from stac_sm.model.train_settings import TrainSettings
from stac_sm.model.xgboost_learner import XGBoostLearner
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import publish
from tests.support.fields import RECIPE, edit, new_catalog, read_model, small_model, table

TABLE = table(rows=400, seed=1)
TABLE = TABLE.assign(site=[f"s{i % 7}" for i in range(len(TABLE))], date=pd.Timestamp("2018-01-01"))
FEATURES = RECIPE.names
SMALL = TrainSettings(n_estimators=5, max_depth=3, tune=False)


class StumpLearner:
    """One split of the first feature at its mean, saved as JSON."""

    name, media_type, suffix, format_name = "stump", "application/json", ".json", "JSON of a split"
    artifact_type, framework, distribution, architecture = "stump", "NumPy", "numpy", "stump"

    def __init__(self, features, threshold, low, high):
        self.features, self.threshold, self.low, self.high = tuple(features), *map(np.float32, (threshold, low, high))

    @classmethod
    def fit(cls, columns, target, sample_weight, settings, *, groups=None):
        assert groups is None or len(groups) == len(target)
        features = tuple(columns)
        first, weight = feature_columns(columns, features)[0], np.ones(len(target))
        weight = weight if sample_weight is None else sample_weight
        threshold = np.nanmean(first)
        left = first < threshold
        means = [np.average(target[side], weights=weight[side]) for side in (left, ~left)]
        return cls(features, threshold, *(settings.parameters.get("shrink", 1.0) * mean for mean in means))

    @classmethod
    def from_bytes(cls, content, features):
        found = json.loads(content)
        return cls(features, found["threshold"], found["low"], found["high"])

    def predict(self, columns):
        first = feature_columns(columns, self.features)[0]
        return np.where(first < self.threshold, self.low, self.high).astype(np.float32)

    def to_bytes(self):
        return json.dumps({name: float(getattr(self, name)) for name in ("threshold", "low", "high")}).encode()

    def importance(self):
        return {self.features[0]: float((self.high - self.low) ** 2)}


class TreeStumpLearner(StumpLearner):
    """The same, and the compiled forest may evaluate it."""

    name = "tree-stump"
    tree_count = 1

    def flat_trees(self):
        return FlatTrees(
            np.array([0, -1, -1], np.int32),
            np.array([self.threshold, self.low, self.high], np.float32),
            np.array([True, False, False]),
            np.array([2, 0, 0], np.int32),
            np.zeros(1, np.int32),
            np.float32(0),
        )


@pytest.fixture(autouse=True)
def two_more(monkeypatch):
    for one in (StumpLearner, TreeStumpLearner):
        monkeypatch.setitem(LEARNERS, one.name, one)


def parts(learner):
    return [
        BoosterSpec("trees", TrainingTarget.ROWS, FEATURES, 5, {"max_depth": 2}),
        BoosterSpec("other", TrainingTarget.WHOLE, FEATURES[:2], 1, {"shrink": 0.5}, learner=learner),
    ]


def mixed(learner="stump"):
    rows = training_rows(TABLE, FEATURES, Columns())
    one, two = fit_boosters(rows, parts(learner), 0)
    spread = replace(two, weight=1.0)
    intervals = Intervals(spread, ErrorLevel.from_dict(None), 1.5, 0.01, 0.9, 20)
    return Model((replace(one, weight=0.5), two), RECIPE, intervals=intervals)


def published(root, model):
    catalog = new_catalog(root / "p")
    item = model_item(
        model, fingerprint=digest("mixed"), bbox=[8, 45, 12, 48], period=Period.parse("2018"),
        hyperparameters={"rounds": 5}, properties={},
    )  # fmt: skip
    publish(catalog, item, write_model_assets(model, root))
    refresh(catalog.store, MODELS_COLLECTION)
    return open_catalog(root / "p"), item["id"]


def test_a_sum_of_learners_comes_back_and_predicts_the_same(tmp_path, validate):
    model = mixed()
    catalog, id = published(tmp_path, model)
    read, item = read_model(catalog, id), catalog.item(MODELS_COLLECTION, id)
    assert (read.members, read.intervals, read.checksum) == (model.members, model.intervals, model.checksum)
    np.testing.assert_array_equal(read.predict(TABLE), model.predict(TABLE))
    one, two = model.members
    wanted = np.float32(0.5) * one.predict(TABLE) + two.predict(TABLE)
    np.testing.assert_array_equal(read.predict(TABLE), wanted)
    validate(item)
    assert [entry.get("learner") for entry in item.properties["stac_sm:members"]] == [None, "stump"]
    assert item.properties["stac_sm:intervals"]["spread"]["learner"] == "stump"
    assert item.properties["mlm:framework"] == "XGBoost"
    assert item.properties["mlm:architecture"] == "gradient boosted trees, stump"
    assert [item.assets[key].media_type for key in ("model-0", "model-1", "intervals")] == [
        "application/ubjson", "application/json", "application/json"
    ]  # fmt: skip
    assert json.loads(Path(item.assets["model-1"].get_absolute_href()).read_bytes())["threshold"]


def test_items_of_xgboost_alone_are_as_they_were(tmp_path):
    model = small_model()
    catalog, id = published(tmp_path, model)
    item = catalog.item(MODELS_COLLECTION, id)
    assert set(item.properties["stac_sm:members"][0]) == {"asset", "weight", "features"}
    fields = {"title": "Booster in XGBoost's UBJSON", "type": "application/ubjson", "roles": ["mlm:model"]}
    found = item.assets["model"].to_dict()
    assert {key: found[key] for key in fields} == fields
    assert found["mlm:artifact_type"] == "xgboost.Booster.save_raw"
    assert "learner" not in json.dumps(parts(DEFAULT_LEARNER)[0].fingerprint_fields())


def test_the_learner_is_part_of_what_a_model_is():
    (member,) = small_model().members
    assert Model((replace(member, learner="stump"),)).checksum != Model((member,)).checksum
    assert parts("stump")[1].fingerprint_fields()["learner"] == "stump"
    assert mixed("stump").intervals.checksum != mixed("tree-stump").intervals.checksum


def test_what_features_are_worth_is_summed_over_learners():
    model = mixed()
    one, two = (member.importance() for member in model.members)
    found = model.importance()
    total = 0.5 * sum(one.values()) + sum(two.values())
    first = FEATURES[0]
    assert found[first] == pytest.approx((0.5 * one.get(first, 0) + two[first]) / total)


@pytest.mark.parametrize("learner", ["stump", "tree-stump"])
def test_the_forest_evaluates_the_trees_of_any_learner(monkeypatch, learner):
    model = mixed(learner)
    slow = model.predict(TABLE)
    monkeypatch.setattr(ensemble, "_WORTH_IT", 0)
    quick = Model(model.members, model.recipe, intervals=model.intervals)
    np.testing.assert_array_equal(quick.predict(TABLE).view(np.uint32), slow.view(np.uint32))
    own = {i for i in (1, 2) if i in quick._ensemble.reasons}
    assert own == ({1, 2} if learner == "stump" else set())
    if own:
        assert quick._ensemble.reasons[1] == "learner stump"


def test_a_learner_that_is_not_here_is_named(tmp_path):
    catalog, id = published(tmp_path, mixed())
    edit(
        catalog, MODELS_COLLECTION, id, lambda item: item["properties"]["stac_sm:members"][1].update(learner="forest-x")
    )
    model = read_model(open_catalog(tmp_path / "p"), id)
    with pytest.raises(ModelError, match="learner 'forest-x': this version of stac_sm has xgboost, .*stump"):
        model.predict(TABLE)


def test_public_fit_trains_by_the_same_function(monkeypatch):
    seen = []
    plain = XGBoostLearner.fit
    monkeypatch.setattr(XGBoostLearner, "fit", lambda *given, **more: seen.append(given) or plain(*given, **more))
    model = fit(TABLE, FEATURES, settings=SMALL)
    ((columns, target, weight, settings),) = seen
    assert (tuple(columns), weight, settings.rounds) == (FEATURES, None, 5)
    assert settings.start == pytest.approx(target.mean(), abs=1e-6)
    assert model.members == (WeightedBooster.of(plain(columns, target, weight, settings)),)


def test_what_was_trained_predicts_the_bits_of_what_is_read_back(monkeypatch):
    """It is not read back: folds train hundreds of boosters. With another weight it still is not."""
    fresh = [one.weighing(0.25) for one in fit_boosters(training_rows(TABLE, FEATURES, Columns()), parts("stump"), 0)]
    back = [WeightedBooster(one.weight, one.features, one.content, one.learner) for one in fresh]
    assert fresh == back
    assert [one.importance() for one in fresh] == [one.importance() for one in back]
    assert all(np.array_equal(a.predict(TABLE), b.predict(TABLE)) for a, b in zip(fresh, back, strict=True))
    monkeypatch.setattr(XGBoostLearner, "from_bytes", None)
    assert all(len(one.predict(TABLE)) == len(TABLE) for one in fresh)


def test_every_learner_satisfies_the_protocol():
    for one in LEARNERS.values():
        trained = one.fit(
            {name: TABLE[name].to_numpy(np.float32) for name in FEATURES},
            TABLE["sm"].to_numpy(np.float32),
            None,
            FitSettings(rounds=3),
        )
        again = find_learner(one.name).from_bytes(trained.to_bytes(), trained.features)
        np.testing.assert_array_equal(again.predict(TABLE), trained.predict(TABLE))
        assert again.to_bytes() == trained.to_bytes()
        assert set(again.importance()) <= set(FEATURES)
        assert isinstance(trained, TreeLearner) is hasattr(one, "flat_trees")


def test_one_module_knows_xgboost():
    package = Path(learners.__file__).parents[1]
    users = {
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and any(
            name.split(".")[0] == "xgboost"
            for name in [getattr(node, "module", None) or "", *(a.name for a in node.names)]
        )
    }
    assert users == {"model/xgboost_learner.py"}
