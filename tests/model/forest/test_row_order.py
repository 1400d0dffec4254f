"""Forests on fields: a block of a cube is predicted in another order than before, and nothing else has changed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from stac_sm.core.variables import QualityFlag
from stac_sm.model.booster import WeightedBooster
from stac_sm.model.feature_matrix import feature_matrix
from stac_sm.model.forest import ensemble
from stac_sm.model.intervals import ErrorLevel, Intervals
from stac_sm.model.model import Model
from stac_sm.model.predict import pixels_by_block, predict_block
from tests.support.fields import RECIPE, small_model
from tests.support.forests import bits, trained

MASKS = [mask.name for mask in RECIPE.masks]


@pytest.fixture(autouse=True)
def forests_at_once(monkeypatch):
    monkeypatch.setattr(ensemble, "_WORTH_IT", 0)


@pytest.fixture(scope="module")
def model() -> Model:
    one, two = small_model(seed=1), small_model(seed=2)
    spread = WeightedBooster(1.0, one.features[:4], trained(features=4, base_score=0.03, eta=0.003).content)
    members = (one.members[0], WeightedBooster(0.25, one.features, two.members[0].content))
    return Model(
        members,
        one.recipe,
        intervals=Intervals(
            spread, level=ErrorLevel(0.2, 0.1, (1.0, 0.2, -0.1), 0.4), factor=1.7, floor=0.02, coverage=0.9, sites=30
        ),
    )


def fields(model: Model, shape=(2, 70, 150), seed: int = 0) -> dict[str, np.ndarray]:
    """Smooth fields with gaps, and masks."""
    rng = np.random.default_rng(seed)
    t, y, x = (np.arange(n) for n in shape)
    found = {}
    for name in model.features:
        a, b, c = rng.uniform(0.01, 0.1, 3)
        field = np.sin(a * y)[:, None] * np.cos(b * x) + c * t[:, None, None] + 0.05 * rng.normal(size=shape)
        field[rng.random(shape) < 0.02] = np.nan
        found[name] = field.astype(np.float32)
    found["gap_filled"] = rng.random(shape) < 0.1
    return found | {name: found[model.features[i]] > 0.5 for i, name in enumerate(MASKS)}


def by_xgboost(model: Model, columns: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and half widths as they were before there were forests."""
    total = np.zeros(len(columns[model.features[0]]), np.float32)
    for member in model.members:
        values = np.stack([columns[name] for name in member.features], axis=1)
        total += np.float32(member.weight) * member.trained.booster.inplace_predict(values)
    return total, model.intervals.half_width(columns, total)


def predict_as_before(model: Model, columns: dict[str, np.ndarray], required: list[str], masks: list[str]):
    """`predict_block` as it was before there were forests."""
    shape = columns[model.features[0]].shape
    qa = np.zeros(shape, np.uint8)
    for name in masks:
        qa[columns[name]] |= np.uint8(QualityFlag[name.upper()])
    for name in required:
        qa[np.isnan(columns[name])] |= np.uint8(QualityFlag.INPUT_MISSING)
    wanted = qa == 0
    qa[columns["gap_filled"]] |= np.uint8(QualityFlag.GAP_FILLED)
    raw, half = by_xgboost(model, {name: columns[name][wanted] for name in model.features})
    sm, uncertainty = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    sm[wanted], uncertainty[wanted] = np.clip(raw, np.float32(0), np.float32(0.6)), half
    qa[wanted] |= np.where(sm[wanted] != raw, np.uint8(QualityFlag.CLIPPED), np.uint8(0))
    return sm, qa, uncertainty


def test_a_block_is_what_it_was(model):
    columns = fields(model)
    found = predict_block(model, list(columns), list(model.features[:2]), MASKS, *columns.values())
    wanted = predict_as_before(model, columns, list(model.features[:2]), MASKS)
    assert model._ensemble.reasons == {}
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one.view(np.uint8), other.view(np.uint8))
    assert np.isnan(found[0]).any()
    assert not np.isnan(found[0]).all()


def test_rows_and_half_widths_are_those_of_xgboost(model):
    columns = {name: field.ravel() for name, field in fields(model).items() if name in model.features}
    wanted = by_xgboost(model, columns)
    assert bits(model.predict(columns)) == bits(wanted[0])
    for one, other in zip(model.predict_with_half_width(columns), wanted, strict=True):
        assert bits(one) == bits(other)


def test_a_model_without_intervals_has_no_half_widths(model):
    plain = Model(model.members)
    columns = {name: field.ravel() for name, field in fields(model).items() if name in model.features}
    values, half_width = plain.predict_with_half_width(columns)
    assert half_width is None
    assert bits(values) == bits(model.predict(columns))


def test_pixels_that_nobody_wants_cost_nothing(model, monkeypatch):
    """Only wanted pixels are ever asked for; a block without any is not evaluated."""
    asked = []
    whole = model._ensemble.predict
    monkeypatch.setattr(
        model._ensemble,
        "predict",
        lambda columns, count: asked.append(len(columns[model.features[0]])) or whole(columns, count),
    )
    columns = fields(model)
    columns[MASKS[0]][:] = True
    columns[MASKS[0]][1, 40:44, 100:] = False
    columns[model.features[0]] = np.nan_to_num(columns[model.features[0]])
    predict_block(model, list(columns), [model.features[0]], MASKS[:1], *columns.values())
    assert asked == [4 * 50]
    columns[MASKS[0]][:] = True
    sm, *_ = predict_block(model, list(columns), [], MASKS[:1], *columns.values())
    assert np.isnan(sm).all()


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=4, max_side=9)))
def test_each_wanted_pixel_comes_once(wanted):
    pixels = pixels_by_block(wanted)
    np.testing.assert_array_equal(np.sort(pixels), np.flatnonzero(wanted))


def test_near_pixels_come_together():
    pixels = pixels_by_block(np.ones((2, 256, 300), bool))
    y, x = np.divmod(pixels % (256 * 300), 300)
    for side, start in ((32, 0), (32, 1024), (128, 0), (128, 16384), (32, 256 * 300)):
        block = slice(start, start + side**2)
        assert np.ptp(y[block]) == np.ptp(x[block]) == side - 1


def test_an_empty_table_gives_no_rows(model):
    none = {name: np.zeros(0, np.float32) for name in model.features}
    assert model.predict(none).shape == (0,)
    assert feature_matrix(none, model.features).shape == (0, len(model.features))
