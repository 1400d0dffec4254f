"""Prediction intervals: how far the truth may lie from a prediction, calibrated so that each site has the same weight.

Training fits them on predictions for sites that the model has not seen; prediction writes their half width beside soil
moisture. The half width is ``factor x spread(features) x level(prediction)``. Spread and level are constant, unless
the interval score at held-out sites is certainly better with ones that are learned: then the level is a parabola, how
much larger or smaller errors are at a predicted value than on the mean, since the truth has bounds and dry soil varies
less, and the spread is a small booster of what is left of the errors, on the few features that the predictions follow
most.

The factor is conformal, by site: it is taken at sites that neither the model nor spread and level have seen, so that
each site is covered as required by the quantile of the others, all with the same weight (leave one site out, after the
jackknife+ of Barber and others 2021, doi:10.1214/20-AOS1965). Unlike a site at infinity (hierarchical conformal
prediction, Lee and others 2023, arXiv:2306.06342) it is not too wide with few sites whose rows differ, nor too narrow
where they do not.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stac_sm.core.arrays import Float32Array, Float64Array
from stac_sm.core.errors import ModelError
from stac_sm.core.variables import VARIABLES
from stac_sm.model.booster import WeightedBooster
from stac_sm.model.learner_registry import DEFAULT_LEARNER

if TYPE_CHECKING:
    import pandas as pd

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


CONSTANT = SpreadSettings(n_estimators=0, ridge=math.inf)
"""The same width everywhere."""


@dataclass(frozen=True)
class ErrorLevel:
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
    def of(
        cls, predicted: Float64Array, error: Float32Array, weight: Float32Array, settings: SpreadSettings
    ) -> ErrorLevel:
        """Compute the parabola through the errors, by ridge regression."""
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
    def from_dict(cls, content: Mapping[str, Any] | None) -> ErrorLevel:
        """Return the level of its `fingerprint_fields`; intervals from before there was one (None) have it at 1."""
        if content is None:
            return cls(0.0, 1.0, (1.0, 0.0, 0.0), 1.0)
        constant, slope, bend = map(float, content["terms"])
        return cls(float(content["centre"]), float(content["scale"]), (constant, slope, bend), float(content["floor"]))

    def basis(self, predicted: Float64Array) -> Float64Array:
        """Return the prediction in standard deviations, and its square, dims (2, n); what is far away counts as less
        far."""
        places = np.clip((predicted - self.centre) / self.scale, -_FARTHEST, _FARTHEST)
        return np.stack([places, places**2])

    def at(self, predicted: NDArray[Any]) -> Float32Array:
        """Return the level of each prediction, about 1; float32."""
        constant, *terms = self.terms
        curve = constant + np.tensordot(terms, self.basis(np.asarray(predicted, dtype=float)), axes=1)
        level: Float32Array = np.maximum(curve, self.floor).astype(np.float32)
        return level


@dataclass(frozen=True)
class Intervals:
    """Half widths of the prediction intervals of a model."""

    fingerprint_name: ClassVar[str] = "Intervals"
    """What stands for this part in the checksum of a model, whatever the class is called."""

    spread: WeightedBooster
    """Booster of the mean absolute error over the level, m3 m-3."""

    level: ErrorLevel
    """What the prediction itself says of the error."""

    factor: float
    """Half width over spread and level."""

    floor: float
    """Least spread, m3 m-3."""

    coverage: float
    """Share of the truth that the intervals are to hold."""

    sites: int
    """Sites that it was calibrated on."""

    @property
    def features(self) -> tuple[str, ...]:
        """Its features, in order."""
        return self.spread.features

    @property
    def description(self) -> str:
        """What its figures are, in one line."""
        return f"Half width of the {self.coverage:.0%} prediction interval, {VARIABLES['sm'].unit}"

    def half_width(
        self, columns: Mapping[str, NDArray[Any]] | pd.DataFrame, predicted: NDArray[Any] | None = None
    ) -> Float32Array:
        """Return the half width of the interval of each row.

        Parameters
        ----------
        columns
            1-D columns of one length, matched by name; NaN = missing.
        predicted
            What the model predicts for each row, m3 m-3, no NaN; without it, each row is taken for one with an average
            prediction, and the intervals are a little worse.

        Returns
        -------
        numpy.ndarray
            float32, shape (n,), in the unit of the target; > 0, never NaN.

        Raises
        ------
        ModelError
            If a feature is missing, or columns differ in length.
        """
        return self.of_spread(self.spread.predict(columns), predicted)

    def of_spread(self, spread: Float32Array, predicted: NDArray[Any] | None = None) -> Float32Array:
        """Return the half width of the interval of each row, from the spread that was predicted for it.

        Parameters
        ----------
        spread
            What the booster of the spread predicts, m3 m-3, float32, shape (row,).
        predicted
            What the model predicts for each row, m3 m-3, no NaN; None: as in `half_width`.

        Returns
        -------
        numpy.ndarray
            float32, shape (row,), m3 m-3; > 0, never NaN.
        """
        width = np.maximum(spread, np.float32(self.floor)) * np.float32(self.factor)
        return width if predicted is None else width * self.level.at(predicted)

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return what identifies the intervals beside the bytes of the booster.

        Returns
        -------
        dict
            Name to value. The keys are spelled out, so that renaming a field makes no result stale.
        """
        return {
            "spread": {"features": list(self.features), **self.spread.learner_fields()},
            "level": self.level.fingerprint_fields(),
            "factor": self.factor,
            "floor": self.floor,
            "coverage": self.coverage,
            "sites": self.sites,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return all but the booster.

        Returns
        -------
        dict
            JSON-able, as `from_dict` reads it.
        """
        return self.fingerprint_fields()

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], booster: bytes) -> Intervals:
        """Read what `to_dict` gave.

        Parameters
        ----------
        content
            The figures.
        booster
            Bytes of the booster of the spread, as its learner wrote them.

        Returns
        -------
        Intervals
            The same intervals.

        Raises
        ------
        ModelError
            If a field is missing, or a figure is none that an interval can have.
        """
        try:
            known = content["spread"]
            learner = str(known.get("learner", DEFAULT_LEARNER))
            spread = WeightedBooster(1.0, tuple(known["features"]), booster, learner)
            level = ErrorLevel.from_dict(content.get("level"))
            figures = {name: float(content[name]) for name in ("factor", "floor", "coverage")}
            made = cls(spread, level, sites=int(content["sites"]), **figures)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"intervals: {error!r} in {json.dumps(content)[:200]}: publish the model again") from error
        sound = [made.factor, made.floor, level.scale, level.floor]
        if not (all(0 < value < math.inf for value in sound) and 0 < made.coverage < 1):
            raise ModelError(f"intervals: found {figures}, {level}; they must be positive: publish the model again")
        return made

    @cached_property
    def checksum(self) -> str:
        """SHA-256 over figures and booster, in hex."""
        head = json.dumps(self.fingerprint_fields(), sort_keys=True).encode()
        return hashlib.sha256(head + b"\0" + self.spread.content).hexdigest()
