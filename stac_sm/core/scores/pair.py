"""Scores of two series of soil moisture: a prediction or product, and what was observed.

`pair_scores` gives the figures that the QA4SM service gives for a pair of data sets. `groups` uses them per station,
network and class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from stac_sm.core.arrays import Float64Array
from stac_sm.core.metrics import Scores, agreement_scores, pearson_r, ubrmse
from stac_sm.core.scores.series import long_term_anomalies, short_term_anomalies

GCOS_UBRMSE = 0.04
"""Target for surface soil moisture, m3 m-3 (GCOS Implementation Plan 2022, GCOS-245): an ubRMSE below it."""

LEAST_YEARS = 2.0
"""Years that a series must span for long-term anomalies: in a shorter one the seasonal cycle is the weather itself."""

_DAYS_A_YEAR = 365.25


@dataclass(frozen=True)
class PairScores(Scores):
    """Agreement of a prediction with observations, as QA4SM states it; NaN where there are too few rows."""

    rho: float = math.nan
    """Spearman's rank correlation."""

    p_r: float = math.nan
    """Two-sided p-value of R, with days taken as independent."""

    p_rho: float = math.nan
    """Two-sided p-value of Spearman's rank correlation, with days taken as independent."""

    mse: float = math.nan
    """Mean square difference, (m3 m-3)2: the sum of the next three."""

    mse_corr: float = math.nan
    """Part of the mean square difference by lack of correlation."""

    mse_bias: float = math.nan
    """Part by different means."""

    mse_var: float = math.nan
    """Part by different standard deviations."""

    n_long: int = 0
    """Rows with long-term anomalies of both."""

    r_long: float = math.nan
    """Pearson correlation of the anomalies from the seasonal cycles."""

    ubrmse_long: float = math.nan
    """Unbiased RMSE of the anomalies from the seasonal cycles, m3 m-3."""

    n_short: int = 0
    """Rows with short-term anomalies of both."""

    r_short: float = math.nan
    """Pearson correlation of the anomalies from the moving averages over 35 days."""

    ubrmse_short: float = math.nan
    """Unbiased RMSE of the anomalies from the moving averages over 35 days, m3 m-3."""


FIGURES = (
    "r", "rho", "bias", "rmse", "ubrmse", "mse", "mse_corr", "mse_bias", "mse_var", "r_long", "ubrmse_long", "r_short",
    "ubrmse_short",
)  # fmt: skip
"""Figures of `PairScores` that have intervals, medians and quartiles."""


@dataclass(frozen=True, eq=False)
class PreparedPair:
    """Rows of one or many stations in which both have a value, with the anomalies of each station."""

    prediction: Float64Array
    """Dims (row), m3 m-3."""

    observation: Float64Array
    """Dims (row), m3 m-3."""

    long_term: tuple[Float64Array, Float64Array]
    """Anomalies of both from their seasonal cycles, dims (row); NaN where the station has none."""

    short_term: tuple[Float64Array, Float64Array]
    """Anomalies of both from their moving averages, dims (row)."""

    def rows(self, chosen: ArrayLike) -> PreparedPair:
        """Return some of the rows.

        Parameters
        ----------
        chosen
            Mask or positions of rows.

        Returns
        -------
        PreparedPair
            The anomalies stay those of the whole series.
        """
        at = np.asarray(chosen)
        (a, b), (c, d) = self.long_term, self.short_term
        return PreparedPair(self.prediction[at], self.observation[at], (a[at], b[at]), (c[at], d[at]))

    @property
    def scores(self) -> PairScores:
        """All scores of the rows at once."""
        p, o = self.prediction, self.observation
        first = agreement_scores(p, o)
        rho = spearman_rho(p, o)
        corr, bias, var = mse_parts(p, o)
        (long_n, long_r, long_u), (short_n, short_r, short_u) = map(_of_anomalies, (self.long_term, self.short_term))
        return PairScores(
            **vars(first),
            rho=rho,
            p_r=correlation_p_value(first.r, first.n),
            p_rho=correlation_p_value(rho, first.n),
            mse=first.rmse**2,
            mse_corr=corr,
            mse_bias=bias,
            mse_var=var,
            n_long=long_n,
            r_long=long_r,
            ubrmse_long=long_u,
            n_short=short_n,
            r_short=short_r,
            ubrmse_short=short_u,
        )


def prepare_pair(prediction: ArrayLike, observation: ArrayLike, dates: ArrayLike) -> PreparedPair:
    """Return the common rows of two series of one station, in the order of time, with their anomalies.

    Seasonal cycles and moving averages are those of the common rows, so that both series are sampled alike.

    Parameters
    ----------
    prediction, observation
        m3 m-3, dims (row); rows in which one is not finite are left out.
    dates
        datetime64, dims (row).

    Returns
    -------
    PreparedPair
        Long-term anomalies are NaN if the common rows span less than two years.
    """
    p, o, time = np.asarray(prediction, float), np.asarray(observation, float), np.asarray(dates)
    order = np.argsort(time, kind="stable")
    order = order[np.isfinite(p[order]) & np.isfinite(o[order])]
    p, o, time = p[order], o[order], time[order]
    days = (time[-1] - time[0]) / np.timedelta64(1, "D") + 1 if time.size else 0
    none = np.full(p.shape, np.nan)
    enough = days >= LEAST_YEARS * _DAYS_A_YEAR - 1
    long_term = (long_term_anomalies(p, time), long_term_anomalies(o, time)) if enough else (none, none)
    return PreparedPair(p, o, long_term, (short_term_anomalies(p, time), short_term_anomalies(o, time)))


def pair_scores(prediction: ArrayLike, observation: ArrayLike, dates: ArrayLike) -> PairScores:
    """Compute all scores of a prediction against an observation at one station.

    Parameters
    ----------
    prediction, observation
        m3 m-3, dims (row); rows in which one is not finite are left out.
    dates
        datetime64, dims (row).

    Returns
    -------
    PairScores
        The scores.
    """
    return prepare_pair(prediction, observation, dates).scores


def spearman_rho(p: ArrayLike, o: ArrayLike) -> float:
    """Return Spearman's rank correlation; equal values share the mean of their ranks.

    Parameters
    ----------
    p, o
        Arrays of one shape, dims (row). Pairs with a NaN or an infinity are left out.

    Returns
    -------
    float
        From -1 to 1; NaN if fewer than two pairs are left or one side is constant.
    """
    a, b = np.asarray(p, float), np.asarray(o, float)
    both = np.isfinite(a) & np.isfinite(b)
    return pearson_r(_ranks(a[both]), _ranks(b[both]))


def correlation_p_value(r: float, n: int) -> float:
    """Return the two-sided p-value of a correlation of independent rows.

    Parameters
    ----------
    r
        Pearson's or Spearman's correlation.
    n
        Number of rows.

    Returns
    -------
    float
        From Student's t with ``n - 2`` degrees of freedom, as ``scipy.stats.pearsonr`` and ``spearmanr`` have it; 1 for
        two rows, NaN if there is no correlation.
    """
    from scipy.special import betainc

    if not math.isfinite(r) or n < 2:
        return math.nan
    return 1.0 if n == 2 else float(betainc((n - 2) / 2, 0.5, max(0.0, 1.0 - r * r)))


def mse_parts(p: ArrayLike, o: ArrayLike) -> tuple[float, float, float]:
    """Return the parts of the mean square difference: by correlation, bias and variance.

    Parameters
    ----------
    p, o
        Arrays of one shape, m3 m-3, dims (row). Pairs with a NaN or an infinity are left out.

    Returns
    -------
    tuple of float
        ``2 s_p s_o (1 - R)``, ``(mean_p - mean_o)**2`` and ``(s_p - s_o)**2`` with standard deviations of ddof 0; their
        sum is the mean square difference. NaN if no pair is left.

    References
    ----------
    Gupta et al. (2009), doi:10.1016/j.jhydrol.2009.08.003; ``pytesmo.metrics.mse_decomposition``.
    """
    a, b = np.asarray(p, float), np.asarray(o, float)
    both = np.isfinite(a) & np.isfinite(b)
    if not both.any():
        return math.nan, math.nan, math.nan
    found = figures_of_sums(moment_sums(a[both], b[both]).sum(axis=0))
    return tuple(float(found[name]) for name in ("mse_corr", "mse_bias", "mse_var"))  # type: ignore[return-value]


_ORIGIN = 0.25  # m3 m-3: sums are of what is above it, so that little is lost when squares are subtracted


def moment_sums(p: Float64Array, o: Float64Array) -> Float64Array:
    """Return what each row adds to the sums that `figures_of_sums` takes.

    Parameters
    ----------
    p, o
        m3 m-3, dims (row).

    Returns
    -------
    numpy.ndarray
        float64, dims (row, 6); 0 where one is not finite.
    """
    known = np.isfinite(p) & np.isfinite(o)
    a, b = np.where(known, p - _ORIGIN, 0.0), np.where(known, o - _ORIGIN, 0.0)
    return np.stack([known.astype(float), a, b, a * a, b * b, a * b], axis=-1)


def figures_of_sums(sums: Float64Array) -> dict[str, Float64Array]:
    """Compute R, bias, RMSE, ubRMSE, MSE and its parts from sums over rows, for many sets of rows at once.

    Parameters
    ----------
    sums
        Weighted sums of the rows of `moment_sums`, dims (..., 6).

    Returns
    -------
    dict
        Name to values, dims (...); NaN where there is no row.
    """
    with np.errstate(all="ignore"):
        n, a, b, aa, bb, ab = np.moveaxis(np.asarray(sums, float), -1, 0)
        n = np.where(n > 0, n, np.nan)
        mean_a, mean_b = a / n, b / n
        var_a, var_b = np.maximum(aa / n - mean_a**2, 0.0), np.maximum(bb / n - mean_b**2, 0.0)
        cov = ab / n - mean_a * mean_b
        bias = mean_a - mean_b
        product = np.sqrt(var_a * var_b)
        spread = np.maximum(var_a + var_b - 2 * cov, 0.0)
        tiny = 1e-14 * (1 + mean_a**2 + mean_b**2)  # a variance below it is rounding
        r = np.where((var_a > tiny) & (var_b > tiny), np.clip(cov / product, -1.0, 1.0), np.nan)
        return {
            "r": r,
            "bias": bias,
            "rmse": np.sqrt(spread + bias**2),
            "ubrmse": np.where(n > 1, np.sqrt(spread), np.nan),
            "mse": spread + bias**2,
            "mse_corr": np.maximum(2 * product - 2 * cov, 0.0),
            "mse_bias": bias**2,
            "mse_var": (np.sqrt(var_a) - np.sqrt(var_b)) ** 2,
        }


def weighted_rho(p: Float64Array, o: Float64Array, weights: Float64Array) -> Float64Array:
    """Return Spearman's rank correlation of resamples, each ranked by itself.

    Parameters
    ----------
    p, o
        Finite, dims (row).
    weights
        How often each row is in each resample, dims (resample, row).

    Returns
    -------
    numpy.ndarray
        float64, dims (resample); NaN where one side is constant.
    """
    if not p.size:
        return np.full(len(weights), np.nan)
    a, b = _weighted_ranks(p, weights), _weighted_ranks(o, weights)
    with np.errstate(all="ignore"):
        n = weights.sum(axis=1)
        middle = ((n + 1) / 2)[:, None]  # the mean of ranks, whatever ties there are
        a, b = a - middle, b - middle
        norm = np.sqrt((weights * a * a).sum(axis=1) * (weights * b * b).sum(axis=1))
        return np.where(norm > 0, np.clip((weights * a * b).sum(axis=1) / norm, -1, 1), np.nan)


def resampled_figures(pair: PreparedPair, weights: Float64Array) -> dict[str, Float64Array]:
    """Compute all figures of resamples of the rows of one series.

    Parameters
    ----------
    pair
        The rows.
    weights
        How often each row is in each resample, dims (resample, row).

    Returns
    -------
    dict
        Each of `FIGURES` to its values, dims (resample). Anomalies are those of the whole series.
    """
    found = figures_of_sums(weights @ moment_sums(pair.prediction, pair.observation))
    found["rho"] = weighted_rho(pair.prediction, pair.observation, weights)
    for name, (p, o) in (("long", pair.long_term), ("short", pair.short_term)):
        of_anomalies = figures_of_sums(weights @ moment_sums(p + _ORIGIN, o + _ORIGIN))
        found |= {f"r_{name}": of_anomalies["r"], f"ubrmse_{name}": of_anomalies["ubrmse"]}
    return found


def _of_anomalies(pair: tuple[Float64Array, Float64Array]) -> tuple[int, float, float]:
    """Return rows, R and ubRMSE of anomalies."""
    return int(np.isfinite(pair[0] + pair[1]).sum()), pearson_r(*pair), ubrmse(*pair)


def _ranks(values: Float64Array) -> Float64Array:
    return _weighted_ranks(values, np.ones((1, values.size)))[0] if values.size else values


def _weighted_ranks(values: Float64Array, weights: Float64Array) -> Float64Array:
    """Return the rank of each row in each resample, dims (resample, row); equal values share the mean of theirs."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    group = np.cumsum(first) - 1
    ends = np.append(np.flatnonzero(first)[1:], values.size) - 1
    last = weights[:, order].cumsum(axis=1)[:, ends]  # rows up to and with each value
    before = np.concatenate([np.zeros((len(weights), 1)), last[:, :-1]], axis=1)
    ranks = np.empty(weights.shape)
    ranks[:, order] = ((before + last + 1) / 2)[:, group]
    return ranks
