"""Boosters: XGBoost's trees or lines as bytes, matched to their columns by name; the one place that loads them.

Normal scores: each feature by its rank among the training rows, so that a linear booster can take any of them.

Soil, albedo and backscatter are skewed, and their outliers would tilt a straight line. Here the median becomes 0, the
share of rows below a value decides the rest, and what lies beyond the training rows stays at their ends: a line that
is followed no further than it was drawn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.core.arrays import Float32Array, Float64Array
from stac_sm.core.columns import suggest_names
from stac_sm.core.errors import ModelError

if TYPE_CHECKING:
    import xgboost as xgb


_MOST = 33  # knots of a feature
_LEAST = 0.02  # share of the rows below the lowest knot: what is rarer is as far away


@dataclass(frozen=True)
class NormalScores:
    """Piecewise linear ways from values to scores, one of each feature."""

    knots: tuple[tuple[tuple[float, float], ...], ...]
    """Value and score of the knots of each feature, ascending; none for a feature that has no value in training."""

    @classmethod
    def of(cls, values: Float32Array, weight: Float64Array) -> NormalScores:
        """Scores of training rows.

        Parameters
        ----------
        values
            Dims (row, feature); NaN = missing, which has no say.
        weight
            Of each row, >= 0.
        """
        return cls(tuple(_knots(column.astype(float), weight) for column in values.T))

    def of_rows(self, values: Float32Array) -> Float32Array:
        """Scores of rows: dims (row, feature) to the same; NaN stays NaN, which is 0 (the median) to a line."""
        scores = np.full(values.shape, np.nan, dtype=np.float32)
        for i, knots in enumerate(self.knots):
            if knots:
                at, score = np.array(knots).T
                known = ~np.isnan(values[:, i])
                scores[known, i] = np.interp(values[known, i], at, score)
        return scores

    def scaled(self, factors: Sequence[float]) -> NormalScores:
        """Scores times a factor of each feature: a penalised line pays less for a feature that is stretched."""
        pairs = zip(self.knots, factors, strict=True)
        return NormalScores(tuple(tuple((at, score * factor) for at, score in knots) for knots, factor in pairs))

    def to_list(self) -> list[Any]:
        """All of it, JSON-able."""
        return [[list(knot) for knot in knots] for knots in self.knots]

    @classmethod
    def from_list(cls, content: Sequence[Any]) -> NormalScores:
        """What `to_list` gave.

        Raises
        ------
        ValueError, TypeError
            If it is anything else.
        """
        return cls(tuple(tuple((float(value), float(score)) for value, score in knots) for knots in content))


def penalty_scales(
    scores: Float32Array, sites: NDArray[np.intp], weight: Float64Array, least: float
) -> tuple[float, ...]:
    """Factors by which the penalty of a line falls on what few sites have to say, and not on what many days say.

    A feature that stands still at a site is known from as many places as there are sites; one that changes from day to
    day, from as many as there are rows. So the penalty of the slope is the share of the variance that lies between
    sites: all of it, down to ``least``.

    Parameters
    ----------
    scores
        Dims (row, feature); NaN = missing, which is the median.
    sites
        Number of the site of each row, from 0.
    weight
        Of each row, >= 0; some site has more than 0.
    least
        Penalty of a feature whose site means are all the same, as a share of that of one which stands still.

    Returns
    -------
    tuple of float
        At least 1 each; with two decimals, so that they do not depend on the order of sums.
    """
    whole = np.bincount(sites, weight)
    found = []
    for column in np.nan_to_num(scores.astype(float)).T:
        means = np.bincount(sites, weight * column) / np.maximum(whole, np.finfo(float).tiny)
        centre = float(means @ whole / whole.sum())
        total = float(weight @ (column - centre) ** 2)
        share = float(whole @ (means - centre) ** 2) / total if total > 0 else 1.0
        found.append(round((least + (1 - least) * min(share, 1.0)) ** -0.5, 2))
    return tuple(found)


def _knots(values: Float64Array, weight: Float64Array) -> tuple[tuple[float, float], ...]:
    """Knots of one feature: values at even steps of the share of rows below them, half of the equal ones counted."""
    known = ~np.isnan(values) & (weight > 0)
    different, place = np.unique(values[known], return_inverse=True)
    if not len(different):
        return ()
    share = np.bincount(place, weights=weight[known])
    below = (np.cumsum(share) - share / 2) / share.sum()
    chosen = np.unique(np.searchsorted(below, np.linspace(below[0], below[-1], min(_MOST, len(below)))))
    normal = NormalDist()
    return tuple((float(different[i]), normal.inv_cdf(float(np.clip(below[i], _LEAST, 1 - _LEAST)))) for i in chosen)


_LINE = "stac_sm:line"  # attribute of a linear booster: its normal scores, and the weight of its training rows
_LINEAR = {"booster": "gblinear", "updater": "coord_descent", "feature_selector": "cyclic", "eta": 1.0}


@dataclass(frozen=True)
class WeightedBooster:
    """One booster of an ordered sum."""

    weight: float
    """What its prediction is multiplied by."""

    features: tuple[str, ...]
    """Its features, in the order of its columns."""

    ubjson: bytes
    """The booster as XGBoost writes it (UBJSON)."""

    @cached_property
    def booster(self) -> xgb.Booster:
        """The booster, ready to predict.

        Raises
        ------
        ModelError
            If the bytes are no booster, or it was not trained on ``features``.
        """
        import xgboost as xgb  # here, since it takes half a second

        try:
            booster = xgb.Booster(model_file=bytearray(self.ubjson))
        except (xgb.core.XGBoostError, ValueError) as error:
            raise ModelError(f"booster: found {len(self.ubjson)} bytes that are no XGBoost model in UBJSON") from error
        inside = booster.feature_names or [f"f{i}" for i in range(booster.num_features())]
        if len(inside) != len(self.features) or (booster.feature_names and tuple(inside) != self.features):
            raise ModelError(
                f"booster: found {', '.join(inside)} inside; {', '.join(self.features)} wanted, in this order; "
                "the model was put together wrongly: publish it again"
            )
        booster.set_param({"nthread": 1})  # who predicts in blocks has the cores busy already
        return booster

    def predict(self, values: NDArray[np.float32], *, trees: int = 0) -> NDArray[np.float32]:
        """Prediction of the booster alone, without its weight: dims (row, feature) to (row,); 0 trees are all.

        A linear booster takes the normal scores of the features; where one is missing, it counts as its median in
        training. One that was trained elsewhere takes the features as they are.
        """
        if not len(values):
            return np.zeros(0, dtype=np.float32)
        if self._line is not None:
            return self._on_the_line(self._line[0].of_rows(values))
        if self._is_foreign_line:
            return self._on_the_line(values)
        predicted: NDArray[np.float32] = self.booster.inplace_predict(values, iteration_range=(0, trees))
        return predicted

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
        """Normal scores of a linear booster, the weight of its training rows, and the stretch of each feature (none in
        models from before there was any); None for trees."""
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
                f"booster: normal scores of {len(scores.knots)} features found, {len(self.features)} wanted: "
                "publish the model again"
            )
        return scores, weight, stretch

    def _on_the_line(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        import xgboost as xgb

        data = xgb.DMatrix(scores, feature_names=self.booster.feature_names, nthread=1)  # no other way is supported
        predicted: NDArray[np.float32] = self.booster.predict(data)
        return predicted

    def gain(self) -> dict[str, float]:
        """Total gain of the splits on each feature that has any; of a line, what each feature explains of the sum of
        squares, as if no other did (normal scores have a variance of about 1; those of another line are taken to)."""
        is_line = self._line is not None or self._is_foreign_line
        found = self.booster.get_score(importance_type="weight" if is_line else "total_gain")
        if is_line:
            _, rows, stretch = self._line or (None, 1.0, {})
            found = {key: rows * (float(np.sum(slope)) * stretch.get(key, 1.0)) ** 2 for key, slope in found.items()}
        names = self.booster.feature_names or [f"f{i}" for i in range(len(self.features))]
        own = dict(zip(names, self.features, strict=True))
        return {own[key]: float(np.sum(value)) for key, value in found.items()}


def train_tree_booster(
    values: NDArray[np.float32],
    target: NDArray[np.float32],
    weight: NDArray[np.float32],
    features: Sequence[str],
    parameters: Mapping[str, Any],
    rounds: int,
) -> WeightedBooster:
    """Train a booster of weight 1 on rows in the order given; the same rows give the same bytes.

    Parameters
    ----------
    values, target, weight
        Dims (row, feature), (row,) and (row,); NaN in a feature = missing.
    parameters
        As XGBoost names them.
    rounds
        Number of trees.
    """
    import xgboost as xgb

    settings = {"tree_method": "hist", "verbosity": 0, "nthread": 1, **parameters}
    data = xgb.QuantileDMatrix(values, target, weight=weight, feature_names=list(features), nthread=settings["nthread"])
    booster = xgb.train(settings, data, num_boost_round=rounds)
    return WeightedBooster(1.0, tuple(features), bytes(booster.save_raw("ubj")))


def train_linear_booster(
    values: NDArray[np.float32],
    target: NDArray[np.float32],
    weight: NDArray[np.float32],
    features: Sequence[str],
    parameters: Mapping[str, Any],
    rounds: int,
    *,
    sites: NDArray[np.intp] | None = None,
    least: float = 1.0,
) -> WeightedBooster:
    """Train a linear booster of weight 1 on the normal scores of rows; the same rows give the same bytes.

    Parameters
    ----------
    values, target, weight, parameters
        As in `train_tree_booster`; NaN in a feature counts as its median.
    rounds
        Passes over the features.
    sites, least
        As in `penalty_scales`; without sites, all slopes are penalised alike.
    """
    import xgboost as xgb

    scores, stretch = NormalScores.of(values, weight.astype(float)), (1.0,) * len(features)
    if sites is not None and least < 1:
        stretch = penalty_scales(scores.of_rows(values), sites, weight.astype(float), least)
        scores = scores.scaled(stretch)
    settings = {**_LINEAR, **parameters, "nthread": 1, "verbosity": 0}
    data = xgb.DMatrix(scores.of_rows(values), target, weight=weight, feature_names=list(features), nthread=1)
    booster = xgb.train(settings, data, num_boost_round=rounds)
    known = {"scores": scores.to_list(), "weight": float(weight.sum(dtype=float)), "stretch": stretch}
    booster.set_attr(**{_LINE: json.dumps(known)})
    return WeightedBooster(1.0, tuple(features), bytes(booster.save_raw("ubj")))


def feature_columns(
    columns: Mapping[str, NDArray[Any]] | pd.DataFrame, features: Sequence[str]
) -> list[NDArray[np.float32]]:
    """Columns of the features, float32, each of shape (row,); a column that is float32 already is not copied.

    Raises
    ------
    ModelError
        If a feature is missing, or columns differ in length.
    """
    missing = [name for name in features if name not in columns]
    if missing:
        there = [str(name) for name in columns]
        found = "; ".join(f"{name!r} ({suggest_names(name, there)})" for name in missing)
        raise ModelError(f"model: no feature {found}; wanted: {', '.join(features)}; add it under this name")
    parts = [np.asarray(columns[name], dtype=np.float32) for name in features]
    shapes = {part.shape for part in parts}
    if len(shapes) != 1 or parts[0].ndim != 1:
        found = ", ".join(f"{name} {part.shape}" for name, part in zip(features, parts, strict=True))
        raise ModelError(f"model: found columns of shapes {found}; wanted 1-D columns of one length")
    return parts


def feature_matrix(columns: Mapping[str, NDArray[Any]] | pd.DataFrame, features: Sequence[str]) -> NDArray[np.float32]:
    """Columns side by side, float32, dims (row, feature); errors are those of `feature_columns`."""
    return np.stack(feature_columns(columns, features), axis=1)
