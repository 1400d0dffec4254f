"""Prediction: never a number where an input is missing, and the same numbers in any chunks."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import xarray as xr
from dask.base import tokenize

from stac_sm.core.errors import ModelError
from stac_sm.core.variables import QualityFlag
from stac_sm.features.cube import feature_cube
from stac_sm.features.recipe import Feature, Mask, Recipe
from stac_sm.model.model import Model
from stac_sm.model.predict import predict
from tests.support.fields import DAYS, RECIPE, SMALL, TILE, shared_project, small_model

SHAPE = (3, 7, 9)
FROZEN = Mask("frozen", Feature("frozen", "c", "s"), below=0)
PLAIN = Recipe((Feature("a", "c", "a"), Feature("b", "c", "b", missing="nan")), masks=(FROZEN,))


class Linear:
    """A model that can be checked by hand: a + 10 b, b = 0 where it is missing."""

    features = ("a", "b")
    recipe = PLAIN
    intervals = applicability = None

    def __init__(self):
        self.calls = 0

    def predict(self, columns):
        self.calls += 1
        assert not np.isnan(columns["a"]).any()
        return (columns["a"] + 10 * np.nan_to_num(columns["b"])).astype(np.float32)


def a_cube(**fields):
    rng = np.random.default_rng(4)
    values = {"a": rng.uniform(0.1, 0.2, SHAPE), "b": rng.uniform(0.01, 0.02, SHAPE)}
    values = {name: value.astype(np.float32) for name, value in values.items()} | {"frozen": np.zeros(SHAPE, bool)}
    data = xr.Dataset({name: (("time", "y", "x"), value) for name, value in (values | fields).items()})
    return data.chunk({"time": 1})


def test_values_by_hand():
    cube = a_cube()
    found = predict(Linear(), cube)
    assert (found.sm.dtype, found.qa.dtype) == (np.float32, np.uint8)
    assert found.sm.dims == ("time", "y", "x")
    assert found.sm.attrs["units"] == "m3 m-3"
    np.testing.assert_allclose(found.sm, cube.a + 10 * cube.b, rtol=1e-6)
    assert not found.qa.any()


def test_a_graph_names_a_model_by_its_checksum():
    """Else Dask writes out every point of its area before anything is computed: 0.2 s before each run."""
    model = small_model(RECIPE)
    again, other = replace(model), replace(model, members=model.members * 2)
    assert tokenize(model) == tokenize(again) != tokenize(other)
    with patch.object(Model, "__dask_tokenize__", lambda self: "one name"):
        assert tokenize(model) == tokenize(other)  # nothing else is looked at


def test_every_flag_by_hand():
    cube = a_cube().compute()
    cube.a[0, 0, 0] = np.nan  # required: no value
    cube.b[0, 0, 1] = np.nan  # left to the model
    cube.frozen[0, 0, 2] = True
    cube.a[0, 0, 3] = 0.9  # above 0.6
    cube.a[0, 0, 4] = -0.9  # below 0
    cube.a[0, 0, 5], cube.frozen[0, 0, 5] = np.nan, True
    found = predict(Linear(), cube.chunk({"time": 1})).compute()
    sm, qa = found.sm.values[0, 0], found.qa.values[0, 0]
    missing, frozen, clipped = QualityFlag.INPUT_MISSING, QualityFlag.FROZEN, QualityFlag.CLIPPED
    assert list(qa[:7]) == [missing, 0, frozen, clipped, clipped, missing | frozen, 0]
    assert list(np.isnan(sm[:7])) == [True, False, True, False, False, True, False]
    assert sm[1] == cube.a.values[0, 0, 1]
    assert (sm[3], sm[4]) == (np.float32(0.6), 0)
    assert np.count_nonzero(found.qa) == 5


def test_a_derived_feature_without_value_gives_no_number():
    """A latitude off the Earth."""
    model = small_model(Recipe((Feature("lai", "c", "b", missing="nan"),), derived=("latitude",)))
    latitude = np.full(SHAPE, 47, np.float32)
    latitude[1, 2, 3] = np.nan
    cube = a_cube(latitude=latitude).rename(b="lai").chunk({"time": 1})
    found = predict(model, cube).compute()
    assert np.isnan(found.sm.values[1, 2, 3])
    assert found.qa.values[1, 2, 3] == QualityFlag.INPUT_MISSING
    assert np.isnan(found.sm).sum() == 1


def test_all_missing_gives_nothing():
    found = predict(Linear(), a_cube(a=np.full(SHAPE, np.nan, np.float32))).compute()
    assert np.isnan(found.sm).all()
    assert (found.qa == QualityFlag.INPUT_MISSING).all()


def test_both_outputs_come_from_one_pass():
    """xarray's apply_ufunc must not predict once for sm and once more for qa."""
    model = Linear()
    predict(model, a_cube()).compute(scheduler="synchronous")
    assert model.calls == 3


@pytest.fixture(scope="module")
def cube():
    project = shared_project()[0]
    return feature_cube(project.catalog, RECIPE, TILE, DAYS, grid=SMALL).compute()


@pytest.mark.parametrize(
    "chunks", [{"time": 1}, {"time": 4, "y": 7}, {"y": 1}, {"time": -1, "x": 13, "y": 11}], ids=str
)
def test_chunks_do_not_matter(cube, chunks):
    model = small_model()
    whole = predict(model, cube)
    xr.testing.assert_identical(predict(model, cube.chunk(chunks)).compute(), whole)
    flags = {int(flag) for flag in np.unique(whole.qa)}
    assert {0, int(QualityFlag.FROZEN), int(QualityFlag.INPUT_MISSING)} <= flags


def test_each_pixel_is_what_xgboost_says(cube):
    import xgboost as xgb

    model = small_model()
    found = predict(model, cube)
    booster = xgb.Booster(model_file=bytearray(model.members[0].content))
    columns = np.stack([cube[name].values.ravel() for name in model.features], axis=1)
    wanted = booster.predict(xgb.DMatrix(columns, feature_names=list(model.features)))
    sm = found.sm.values.ravel()
    valid = ~np.isnan(sm)
    np.testing.assert_array_equal(sm[valid], np.clip(wanted, 0, 0.6)[valid])
    required = ["lst", "lai", "swvl1", "doy_sin", "latitude"]
    np.testing.assert_array_equal(
        valid, ~(np.any([np.isnan(cube[n].values) for n in required], axis=0) | cube.frozen.values).ravel()
    )
    assert np.isnan(cube.elevation.values.ravel()[valid]).any()  # missing = "nan" goes to the model


def test_columns_go_by_name(cube):
    model = small_model()
    turned = cube[list(cube.data_vars)[::-1]]
    xr.testing.assert_identical(predict(model, turned), predict(model, cube))


def test_a_missing_feature_is_named(cube):
    with pytest.raises(ModelError, match="the cube has no feature lai, swvl1; it has lst, elevation, frozen"):
        predict(small_model(), cube.drop_vars(["lai", "swvl1"]))
