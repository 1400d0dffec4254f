"""How sure a score is: sites are resampled, since the rows of one site are no independent witnesses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Interval = tuple[float, float]

_RESAMPLES = 1000
_LEVELS = (0.05, 0.95)


def site_intervals(rows: pd.DataFrame, *, seed: int = 0) -> dict[str, Interval]:
    """90 % bootstrap intervals of pooled scores over sites.

    Parameters
    ----------
    rows
        Columns ``site, observed, predicted``, m3 m-3, finite.
    seed
        Of the resamples.

    Returns
    -------
    dict
        Lower and upper end of ``r``, ``rmse``, ``ubrmse`` and ``bias``; NaN with fewer than two sites.
    """
    p, o = rows["predicted"].to_numpy(dtype=float), rows["observed"].to_numpy(dtype=float)
    centre = o.mean() if len(o) else 0.0  # sums of squares of centred values do not cancel
    p, o = p - centre, o - centre
    sums = pd.DataFrame({"n": 1.0, "p": p, "o": o, "pp": p * p, "oo": o * o, "po": p * o})
    by_site = sums.groupby(rows["site"].to_numpy()).sum().to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = _scores(_resampled(by_site, seed))
    return {name: _ends(one) for name, one in zip(("r", "rmse", "ubrmse", "bias"), drawn, strict=True)}


def mean_interval(values: NDArray[Any], sites: NDArray[Any], *, seed: int = 0) -> Interval:
    """90 % bootstrap interval over sites of a mean over rows; NaN with fewer than two sites."""
    by_site = pd.DataFrame({"n": 1.0, "sum": values.astype(float)}).groupby(sites).sum().to_numpy()
    n, total = _resampled(by_site, seed).T
    return _ends(total / n)


def _resampled(by_site: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Sums over as many sites as there are, drawn with replacement; dims (resample, moment), none of a single site."""
    count = len(by_site)
    if count < 2:
        return np.empty((0, by_site.shape[1]))
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), _RESAMPLES)
    return np.asarray(draws @ by_site)


def _ends(drawn: NDArray[np.float64]) -> Interval:
    """5 and 95 % of the resamples that have the score."""
    sound = drawn[np.isfinite(drawn)]
    low, high = np.quantile(sound, _LEVELS) if sound.size else (math.nan, math.nan)
    return float(low), float(high)


def _scores(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """R, RMSE, ubRMSE and bias, dims (score, resample), of sums with dims (resample, moment)."""
    n, p, o, pp, oo, po = sums.T
    bias = (p - o) / n
    squared = np.maximum((pp - 2 * po + oo) / n, 0)
    r = (po - p * o / n) / np.sqrt((pp - p * p / n) * (oo - o * o / n))
    return np.stack([r, np.sqrt(squared), np.sqrt(np.maximum(squared - bias**2, 0)), bias])
