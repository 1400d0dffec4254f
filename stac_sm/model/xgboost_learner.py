"""XGBoost as a learner: trees, or lines on normal scores. No other module uses the library.

The library is imported inside functions, since that takes half a second and most commands need no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.core.arrays import Float32Array
from stac_sm.core.errors import ModelError
from stac_sm.model.feature_matrix import feature_matrix
from stac_sm.model.forest.trees import FlatTrees, flatten_trees
from stac_sm.model.learner import FitSettings
from stac_sm.model.normal_scores import NormalScores, penalty_scales

if TYPE_CHECKING:
    import xgboost as xgb

_LINE = "stac_sm:line"  # attribute of a linear booster: its normal scores, and the weight of its training rows
_LINEAR = {"booster": "gblinear", "updater": "coord_descent", "feature_selector": "cyclic", "eta": 1.0}
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
            As of `Learner.fit`; NaN in a feature = missing. Trees learn a branch for it; to a line it is the median.
        settings
            Parameters as XGBoost names them. With ``booster="gblinear"`` it is a line on normal scores, which has one
            more parameter: ``least_penalty`` (1 by default), see `penalty_scales`; it draws nothing and needs no seed.
        groups
            Site of each row, for ``least_penalty``; without it all slopes are penalised alike.
        """
        features = tuple(map(str, columns))
        values = feature_matrix(columns, features)
        parameters = dict(settings.parameters)
        least = float(parameters.pop("least_penalty", 1.0))
        start = {} if settings.start is None else {"base_score": settings.start}
        if parameters.get("booster") == "gblinear":
            weight = np.ones(len(values), np.float32) if sample_weight is None else sample_weight
            sites = groups if least < 1 else None
            return cls._fit_line(values, target, weight, features, parameters | start, settings.rounds, sites, least)
        import xgboost as xgb

        drawn = {"seed": settings.seed, "nthread": settings.nthread, "verbosity": 0}
        data = xgb.QuantileDMatrix(
            values, target, weight=sample_weight, feature_names=list(features), nthread=settings.nthread
        )
        booster = xgb.train(
            {"tree_method": "hist", **_OBJECTIVE, **parameters, **start, **drawn}, data, num_boost_round=settings.rounds
        )
        return cls(booster, features)

    @classmethod
    def _fit_line(
        cls,
        values: Float32Array,
        target: Float32Array,
        weight: Float32Array,
        features: tuple[str, ...],
        parameters: Mapping[str, Any],
        rounds: int,
        sites: NDArray[np.intp] | None,
        least: float,
    ) -> XGBoostLearner:
        import xgboost as xgb

        scores, stretch = NormalScores.of(values, weight.astype(float)), (1.0,) * len(features)
        if sites is not None:
            stretch = penalty_scales(scores.of_rows(values), sites, weight.astype(float), least)
            scores = scores.scaled(stretch)
        settings = {**_LINEAR, **_OBJECTIVE, **parameters, "nthread": 1, "verbosity": 0}
        data = xgb.DMatrix(scores.of_rows(values), target, weight=weight, feature_names=list(features), nthread=1)
        booster = xgb.train(settings, data, num_boost_round=rounds)
        known = {"scores": scores.to_list(), "weight": float(weight.sum(dtype=float)), "stretch": stretch}
        booster.set_attr(**{_LINE: json.dumps(known)})
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
            raise ModelError(f"booster: found {len(content)} bytes that are no XGBoost model in UBJSON") from error
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

        A line takes the normal scores of the features; where one is missing, it counts as its median in training. One
        that was trained elsewhere takes the features as they are.

        Raises
        ------
        ModelError
            If a feature is missing, or columns differ in length.
        """
        values = feature_matrix(columns, self.features)
        if not len(values):
            return np.zeros(0, dtype=np.float32)
        if self._line is not None:
            return self._on_the_line(self._line[0].of_rows(values))
        if self._is_foreign_line:
            return self._on_the_line(values)
        predicted: Float32Array = self.booster.inplace_predict(values)
        return predicted

    def importance(self) -> dict[str, float]:
        """Return the total gain of the splits on each feature that has any.

        Of a line: what each feature explains of the sum of squares, as if no other did (normal scores have a variance
        of about 1; the features of another line are taken to).
        """
        is_line = self._line is not None or self._is_foreign_line
        found = self.booster.get_score(importance_type="weight" if is_line else "total_gain")
        if is_line:
            _, rows, stretch = self._line or (None, 1.0, {})
            found = {key: rows * (float(np.sum(slope)) * stretch.get(key, 1.0)) ** 2 for key, slope in found.items()}
        names = self.booster.feature_names or [f"f{i}" for i in range(len(self.features))]
        own = dict(zip(names, self.features, strict=True))
        return {own[key]: float(np.sum(value)) for key, value in found.items()}

    @property
    def tree_count(self) -> int:
        """Number of trees; of a line, passes."""
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
    def is_linear(self) -> bool:
        """Whether it is a line on normal scores, and no sum of trees."""
        return self._line is not None

    @cached_property
    def _is_foreign_line(self) -> bool:
        """Whether it is a line that was trained elsewhere, on features as they are."""
        booster = json.loads(self.booster.save_config())["learner"]["gradient_booster"]["name"]
        return self._line is None and bool(booster == "gblinear")

    @cached_property
    def _line(self) -> tuple[NormalScores, float, dict[str, float]] | None:
        """Normal scores of a linear booster, the weight of its training rows, and the penalty scale of each feature
        (none in models from before there was any); None for trees."""
        attribute = self.booster.attr(_LINE)
        if attribute is None:
            return None
        try:
            content = json.loads(attribute)
            scores, weight = NormalScores.from_list(content["scores"]), float(content["weight"])
            stretch = dict(zip(self.features, map(float, content.get("stretch", ())), strict=False))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"booster: its normal scores cannot be read ({error!r}): publish the model again"
            ) from error
        if len(scores.knots) != len(self.features):
            raise ModelError(
                f"booster: normal scores of {len(scores.knots)} features found, {len(self.features)} required: "
                "publish the model again"
            )
        return scores, weight, stretch

    def _on_the_line(self, scores: Float32Array) -> Float32Array:
        import xgboost as xgb

        data = xgb.DMatrix(scores, feature_names=self.booster.feature_names, nthread=1)  # no other way is supported
        predicted: Float32Array = self.booster.predict(data)
        return predicted
