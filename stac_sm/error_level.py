"""How large the errors of a model are where it predicts so much: a parabola, learned from few sites."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Wide = NDArray[np.float64]

_FARTHEST = 2.5  # standard deviations, for predictions; few are farther, and a parabola is steep there


@dataclass(frozen=True)
class SpreadSettings:
    """How level and spread are learned; names as in XGBoost. Errors are noisy and sites few: they learn little."""

    n_estimators: int = 20
    """Number of trees; 0 is a spread that is the same everywhere."""

    max_depth: int = 2
    """Largest depth of a tree."""

    eta: float = 0.05
    """Learning rate."""

    subsample: float = 0.7
    """Share of the rows that each tree sees."""

    colsample_bytree: float = 0.5
    """Share of the features that each tree sees."""

    leaf: float = 0.1
    """Least share of the rows in a leaf."""

    reg_lambda: float = 100.0
    """L2 penalty on the value of a leaf."""

    features: int = 8
    """Features that trees may use: those that the predictions follow most, among those that vary within sites. The
    others say which site it is, and so its error, but not that of another site."""

    ridge: float = 0.1
    """Penalty on slope and bend of the level, as a share of the rows; infinity makes it 1 everywhere."""

    folds: int = 5
    """Folds of sites, for errors over a spread that has not seen them."""

    repeats: int = 3
    """Ways of cutting the folds; the factor is the mean over them."""

    floor: float = 0.4
    """Least spread and least level, as a share of the mean."""


@dataclass(frozen=True)
class Level:
    """Size of the errors where a model predicts so much, over their mean."""

    centre: float
    """Mean prediction, m3 m-3."""

    scale: float
    """Standard deviation of the predictions, m3 m-3."""

    terms: tuple[float, float, float]
    """Of the parabola in standard deviations: constant, slope, bend."""

    floor: float
    """Least level."""

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return what identifies the level: explicit names, so that renaming a field makes no result stale."""
        return {
            "centre": self.centre,
            "scale": self.scale,
            "terms": self.terms,
            "floor": self.floor,
        }

    @classmethod
    def of(cls, predicted: Wide, error: Floats, weight: Floats, settings: SpreadSettings) -> Level:
        """Parabola through the errors, by ridge regression."""
        share = weight.astype(float) / math.fsum(weight)
        centre = math.fsum(predicted * share)
        scale = math.sqrt(math.fsum((predicted - centre) ** 2 * share))
        plain = cls(centre, scale or 1.0, (1.0, 0.0, 0.0), settings.floor)
        if not scale or math.isinf(settings.ridge):
            return plain
        relative = error / math.fsum(error * share) - 1
        basis = plain.basis(predicted)
        means = [math.fsum(column * share) for column in basis]
        columns = basis - np.array(means)[:, None]
        products = [[math.fsum(one * other * share) for other in columns] for one in columns]
        right = [math.fsum(column * relative * share) for column in columns]
        slope, bend = np.linalg.solve(np.array(products) + settings.ridge * np.eye(2), right).tolist()
        return replace(plain, terms=(1 - slope * means[0] - bend * means[1], slope, bend))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any] | None) -> Level:
        """Level of its `fingerprint_fields`; intervals from before there was one (None) have it at 1."""
        if content is None:
            return cls(0.0, 1.0, (1.0, 0.0, 0.0), 1.0)
        constant, slope, bend = map(float, content["terms"])
        return cls(float(content["centre"]), float(content["scale"]), (constant, slope, bend), float(content["floor"]))

    def basis(self, predicted: Wide) -> Wide:
        """Prediction in standard deviations, and its square, dims (2, n); what is far away counts as less far."""
        places = np.clip((predicted - self.centre) / self.scale, -_FARTHEST, _FARTHEST)
        return np.stack([places, places**2])

    def at(self, predicted: NDArray[Any]) -> Floats:
        """Level of each prediction, about 1; float32."""
        constant, *terms = self.terms
        curve = constant + np.tensordot(terms, self.basis(np.asarray(predicted, dtype=float)), axes=1)
        level: Floats = np.maximum(curve, self.floor).astype(np.float32)
        return level
