"""Moments: what scores of many cells need to know, gathered one day at a time. No input or output."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stac_sm.metrics import Scores, truth_correlation

if TYPE_CHECKING:
    from numpy.typing import NDArray

Floats = "NDArray[np.float64]"

_MIDDLE = 0.25  # m3 m-3: sums are of what is above it, so that little is lost when their squares are subtracted
_CONSTANT = 1e-14  # (m3 m-3)**2: a variance below it is rounding, since files hold steps of 1e-4


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over the days on which all of some series have a value, in every cell."""

    n: NDArray[np.int64]
    """Days, (cell)."""

    first: NDArray[np.float64]
    """Sums of values, (series, cell)."""

    second: NDArray[np.float64]
    """Sums of products of two values, (series, series, cell)."""

    @classmethod
    def nothing(cls, series: int, cells: int) -> Moments:
        """No day yet."""
        return cls(np.zeros(cells, np.int64), np.zeros((series, cells)), np.zeros((series, series, cells)))

    def add(self, values: NDArray[np.float32]) -> None:
        """Add a day: dims (series, cell), m3 m-3, NaN where there is no value."""
        common = np.isfinite(values).all(axis=0)
        above = np.where(common, values.astype(np.float64) - _MIDDLE, 0.0)
        self.n[...] += common
        self.first[...] += above
        self.second[...] += above[:, None] * above[None]

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean of each series, (series, cell), NaN without a day."""
        with np.errstate(all="ignore"):
            return np.where(self.n > 0, self.first / self.n + _MIDDLE, np.nan)

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Covariances (ddof 0), (cell, series, series), NaN without a day."""
        with np.errstate(all="ignore"):
            mean = np.where(self.n > 0, self.first / self.n, np.nan)
            q = np.where(self.n > 0, self.second / self.n, np.nan) - mean[:, None] * mean[None]
        return np.moveaxis(q, -1, 0)

    @property
    def scores(self) -> dict[str, NDArray[np.float64]]:
        """``r``, ``rmse``, ``ubrmse``, ``bias`` of the first series against the second in every cell, as
        `stac_sm.metrics.scores` has them; NaN where there are too few days.
        """
        q, (prediction, observation) = self.covariance, self.means[:2]
        bias = prediction - observation
        with np.errstate(all="ignore"):
            spread = q[:, 0, 0] + q[:, 1, 1] - 2 * q[:, 0, 1]
            ubrmse = np.where(self.n > 1, np.sqrt(np.maximum(spread, 0)), np.nan)
            varied = (self.n > 1) & (q[:, 0, 0] > _CONSTANT) & (q[:, 1, 1] > _CONSTANT)
            r = np.where(varied, np.clip(q[:, 0, 1] / np.sqrt(q[:, 0, 0] * q[:, 1, 1]), -1, 1), np.nan)
            rmse = np.sqrt(np.maximum(spread, 0) + bias**2)
        return {"r": r, "rmse": rmse, "ubrmse": ubrmse, "bias": bias}

    @property
    def pooled(self) -> Scores:
        """Scores of all cells and days at once."""
        whole = Moments(self.n.sum(keepdims=True), self.first.sum(1, keepdims=True), self.second.sum(2, keepdims=True))
        found = whole.scores
        return Scores(n=int(whole.n[0]), **{name: float(found[name][0]) for name in ("r", "rmse", "ubrmse", "bias")})

    def errors(self, least_days: int) -> NDArray[np.float64]:
        """Standard deviation of the random error of each of three series by triple collocation, (series, cell), in the
        units of the first: of `stac_sm.metrics.triple_collocation`, ``error_std``. NaN where it is refused.
        """
        q = self.covariance
        found = np.full((3, len(self.n)), np.nan)
        with np.errstate(all="ignore"):
            scale = (1.0, q[:, 0, 2] / q[:, 1, 2], q[:, 0, 1] / q[:, 1, 2])
            for i in range(3):
                order = [i, (i + 1) % 3, (i + 2) % 3]
                known = truth_correlation(q[:, order][:, :, order])
                found[i] = np.sqrt(self._sample * q[:, i, i] * (1 - known**2)) * scale[i]
        return np.where((self.n >= max(least_days, 2)) & np.isfinite(found).all(axis=0), found, np.nan)

    @property
    def _sample(self) -> NDArray[np.float64]:
        """From the variance of these days to that of all (ddof 1)."""
        return self.n / np.maximum(self.n - 1, 1)


def joined(parts: Iterable[Moments]) -> Moments:
    """Cells of several moments, one after another."""
    found = list(parts)
    return Moments(
        np.concatenate([one.n for one in found]),
        np.concatenate([one.first for one in found], axis=-1),
        np.concatenate([one.second for one in found], axis=-1),
    )


def finite(value: float) -> float | None:
    """A number for JSON."""
    return float(value) if math.isfinite(value) else None
