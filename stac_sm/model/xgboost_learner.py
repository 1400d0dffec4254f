"""XGBoost as a learner of trees. No other module uses the library.

The library is imported inside functions, since that takes half a second and most commands need no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stac_sm.core.arrays import Float32Array
from stac_sm.core.errors import InputError, ModelError
from stac_sm.model.feature_matrix import feature_matrix
from stac_sm.model.forest.trees import FlatTrees, flatten_trees
from stac_sm.model.learner import FitSettings

if TYPE_CHECKING:
    import pandas as pd
    import xgboost as xgb

_LINE = "stac_sm:line"  # attribute of a linear booster: its normal scores
_OBJECTIVE = {"objective": "reg:squarederror"}


class XGBoostLearner:
    """A booster of XGBoost, matched to its features by name."""

    name: ClassVar[str] = "xgboost"
    media_type: ClassVar[str] = "application/ubjson"
    suffix: ClassVar[str] = ".ubj"
    format_name: ClassVar[str] = "XGBoost's UBJSON"
    artifact_type: ClassVar[str] = "xgboost.Booster.save_raw"
    framework: ClassVar[str] = "XGBoost"
    distribution: ClassVar[str] = "xgboost-cpu"
    architecture: ClassVar[str] = "gradient boosted trees"

    def __init__(self, booster: xgb.Booster, features: Sequence[str]) -> None:
        self.booster = booster
        """The library's own object."""

        self._features = tuple(features)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of its features, in order."""
        return self._features

    @classmethod
    def fit(
        cls,
        columns: Mapping[str, NDArray[Any]] | pd.DataFrame,
        target: Float32Array,
        sample_weight: Float32Array | None,
        settings: FitSettings,
        *,
        groups: NDArray[np.intp] | None = None,
    ) -> XGBoostLearner:
        """Train a booster; see `Learner.fit`.

        Parameters
        ----------
        columns, target, sample_weight
            As of `Learner.fit`; NaN in a feature = missing, for which trees learn a branch.
        settings
            Parameters as XGBoost names them.
        groups
            Ignored.
        """
        import xgboost as xgb

        features = tuple(map(str, columns))
        values = feature_matrix(columns, features)
        start = {} if settings.start is None else {"base_score": settings.start}
        drawn = {"seed": settings.seed, "nthread": settings.nthread, "verbosity": 0, "device": settings.device}
        parameters = {"tree_method": "hist", **_OBJECTIVE, **settings.parameters, **start, **drawn}
        bins = {"max_bin": parameters["max_bin"]} if "max_bin" in parameters else {}
        data = xgb.QuantileDMatrix(
            values, target, weight=sample_weight, feature_names=list(features), nthread=settings.nthread, **bins
        )
        booster = xgb.train(parameters, data, num_boost_round=settings.rounds)
        return cls(booster, features)

    @classmethod
    def from_bytes(cls, content: bytes, features: Sequence[str]) -> XGBoostLearner:
        """Read a booster in UBJSON.

        Raises
        ------
        ModelError
            If the bytes are no booster, or it was not trained on ``features`` in this order.
        """
        import xgboost as xgb

        try:
            booster = xgb.Booster(model_file=bytearray(content))
        except (xgb.core.XGBoostError, ValueError) as error:
            found = f"booster: found {len(content)} bytes that XGBoost {xgb.__version__} does not read as UBJSON"
            linear = b"gblinear" in content
            hint = ": it is a linear one, as stac_sm trained them until November 2026: train again" if linear else ""
            raise ModelError(f"{found}{hint}") from error
        inside = booster.feature_names or [f"f{i}" for i in range(booster.num_features())]
        if len(inside) != len(features) or (booster.feature_names and tuple(inside) != tuple(features)):
            raise ModelError(
                f"booster: found {', '.join(inside)} inside; {', '.join(features)} required, in this order; "
                "the model was put together wrongly: publish it again"
            )
        booster.set_param({"nthread": 1})  # who predicts in blocks has the cores busy already
        return cls(booster, features)

    def to_bytes(self) -> bytes:
        """Return the booster in UBJSON."""
        return bytes(self.booster.save_raw("ubj"))

    def predict(self, columns: Mapping[str, NDArray[Any]] | pd.DataFrame) -> Float32Array:
        """Return one value a row: float32, shape (row,).

        Raises
        ------
        ModelError
            If a feature is missing, or columns differ in length.
        """
        values = feature_matrix(columns, self.features)
        if not len(values):
            return np.zeros(0, dtype=np.float32)
        if self._is_linear:
            return self._on_the_line(values)
        predicted: Float32Array = self.booster.inplace_predict(values)
        return predicted

    def predict_stages(self, columns: Mapping[str, NDArray[Any]] | pd.DataFrame, rounds: Sequence[int]) -> Float32Array:
        """Return the prediction after each number of rounds; see `StagedLearner`."""
        values = feature_matrix(columns, self.features)
        found, total, before = [], np.zeros(len(values), dtype=np.float64), 0
        start = float(
            json.loads(self.booster.save_config())["learner"]["learner_model_param"]["base_score"].strip("[]")
        )
        for number in rounds:
            total += self.booster.inplace_predict(values, iteration_range=(before, number)).astype(float) - start
            found.append((total + start).astype(np.float32))
            before = number
        return np.stack(found)

    def importance(self) -> dict[str, float]:
        """Return the total gain of the splits on each feature that has any; nothing of a linear booster."""
        if self._is_linear:
            return {}
        found = self.booster.get_score(importance_type="total_gain")
        names = self.booster.feature_names or [f"f{i}" for i in range(len(self.features))]
        own = dict(zip(names, self.features, strict=True))
        return {own[key]: float(np.sum(value)) for key, value in found.items()}

    @property
    def tree_count(self) -> int:
        """Number of rounds."""
        return int(self.booster.num_boosted_rounds())

    def flat_trees(self) -> FlatTrees:
        """Return the trees as flat arrays.

        Raises
        ------
        UnsuitableError
            If it is no sum of trees with numeric splits and one value in each leaf.
        """
        return flatten_trees(self.to_bytes())

    @property
    def outdated(self) -> str:
        """What later versions of XGBoost will not read: linear boosters; empty of trees."""
        return "linear boosters (gblinear), which XGBoost has deprecated" if self._is_linear else ""

    @cached_property
    def _is_linear(self) -> bool:
        """Whether it is a line, as stac_sm trained them until November 2026: it is still read, and trained no more."""
        return bool(json.loads(self.booster.save_config())["learner"]["gradient_booster"]["name"] == "gblinear")

    def _on_the_line(self, values: Float32Array) -> Float32Array:
        """Return the prediction of a line, which takes each feature by a piecewise linear function that it holds; one
        that was trained elsewhere takes the features as they are."""
        import xgboost as xgb

        attribute = self.booster.attr(_LINE)
        if attribute is not None:
            try:
                knots = [np.array(one, dtype=float).reshape(-1, 2).T for one in json.loads(attribute)["scores"]]
                pairs = zip(values.T, knots, strict=True)
                values = np.stack([_scores(column, *way) for column, way in pairs], axis=1)
            except (KeyError, TypeError, ValueError) as error:
                raise ModelError(f"booster: its normal scores cannot be read ({error!r}): train again") from error
        data = xgb.DMatrix(values, feature_names=self.booster.feature_names, nthread=1)  # no other way is supported
        predicted: Float32Array = self.booster.predict(data)
        return predicted


def _scores(column: Float32Array, at: NDArray[np.float64], score: NDArray[np.float64]) -> Float32Array:
    """Return the normal scores of a feature; NaN where it is missing."""
    found = np.full(len(column), np.nan, dtype=np.float32)
    if len(at):
        known = ~np.isnan(column)
        found[known] = np.interp(column[known], at, score)
    return found


def require_device(device: str) -> None:
    """Check that the installed XGBoost can train on a device.

    Parameters
    ----------
    device
        ``cpu`` or ``cuda``.

    Raises
    ------
    InputError
        If it cannot: names the package.
    """
    if device == "cpu":
        return
    import xgboost as xgb

    if not xgb.build_info().get("USE_CUDA"):
        raise InputError(
            f"device cuda: the package {XGBoostLearner.distribution} {xgb.__version__} is installed, which has no "
            f"CUDA; xgboost is required: pip uninstall {XGBoostLearner.distribution} && pip install xgboost"
        )
