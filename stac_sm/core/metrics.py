"""Scores of soil moisture series: bias, RMSE, ubRMSE, Pearson R, and triple collocation.

Screening of stations, evaluation of models, validation of products and reports all use these functions, so that one
name always stands for one formula. They compute on arrays in memory and do no input or output.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stac_sm.core.arrays import Float64Array
from stac_sm.core.errors import InputError

Triple = tuple[float, float, float]

_NAMES = ("x", "y", "z")  # of series whose caller gives no names
_PAIRS = ((0, 1), (0, 2), (1, 2))
_ROUNDING = 64 * np.finfo(float).eps  # a variance below this share of the whole is rounding, not error
_NOTHING: Triple = (math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Scores:
    """Agreement of a prediction with observations; NaN where there are too few rows."""

    n: int
    """Rows in which both are finite."""

    r: float
    """Pearson correlation."""

    rmse: float
    """Root mean square difference, m3 m-3."""

    ubrmse: float
    """Unbiased RMSE, m3 m-3: ``ubrmse**2 == rmse**2 - bias**2``."""

    bias: float
    """Mean of prediction minus observation, m3 m-3."""


@dataclass(frozen=True)
class TripleCollocation:
    """Errors of three collocated series of one quantity, without knowing which one is right.

    Each figure is a tuple in the order of the three series, x, y, z; all are NaN unless ``status`` is ``"ok"``.
    """

    n: int
    """Rows in which all three are finite."""

    snr_db: Triple
    """Signal-to-noise ratio, dB: 0 where the variance of the truth equals that of the error."""

    error_std: Triple
    """Standard deviation of the random error, scaled to the units of x."""

    beta: Triple
    """Factor that scales a series to x; 1 for x itself."""

    correlation: Triple
    """Correlation with the unknown truth (extended triple collocation)."""

    status: str
    """``"ok"``, or why the triplet was refused."""

    @property
    def ok(self) -> bool:
        """Whether triple collocation was possible, so that the figures are finite."""
        return self.status == "ok"


def bias(p: ArrayLike, o: ArrayLike) -> float:
    """Return the mean of prediction minus observation.

    Parameters
    ----------
    p, o
        Prediction and observation in one unit, arrays of one shape. Pairs with a NaN or an infinity are left out.

    Returns
    -------
    float
        In the unit of the arrays; NaN if no pair is left.

    Raises
    ------
    InputError
        If the two differ in shape or are not numbers.
    """
    p, o = _pairs(p, o)
    return float(np.mean(p - o)) if p.size else math.nan


def rmse(p: ArrayLike, o: ArrayLike) -> float:
    """Return the root mean square difference of prediction and observation.

    Parameters
    ----------
    p, o
        Prediction and observation in one unit, arrays of one shape. Pairs with a NaN or an infinity are left out.

    Returns
    -------
    float
        In the unit of the arrays; NaN if no pair is left.

    Raises
    ------
    InputError
        If the two differ in shape or are not numbers.
    """
    p, o = _pairs(p, o)
    return math.sqrt(np.mean((p - o) ** 2)) if p.size else math.nan


def ubrmse(p: ArrayLike, o: ArrayLike) -> float:
    """Return the unbiased RMSE: ``ubrmse**2 == rmse**2 - bias**2``.

    It is computed as the standard deviation (ddof 0) of the differences: the same figure, but it cannot become negative
    by rounding.

    Parameters
    ----------
    p, o
        Prediction and observation in one unit, arrays of one shape. Pairs with a NaN or an infinity are left out.

    Returns
    -------
    float
        In the unit of the arrays; NaN if fewer than two pairs are left.

    Raises
    ------
    InputError
        If the two differ in shape or are not numbers.
    """
    p, o = _pairs(p, o)
    return float(np.std(p - o)) if p.size > 1 else math.nan


def pearson_r(p: ArrayLike, o: ArrayLike) -> float:
    """Return the Pearson correlation of prediction and observation.

    Parameters
    ----------
    p, o
        Prediction and observation, arrays of one shape. Pairs with a NaN or an infinity are left out.

    Returns
    -------
    float
        From -1 to 1; NaN if fewer than two pairs are left or one side is constant.

    Raises
    ------
    InputError
        If the two differ in shape or are not numbers.
    """
    a, b = _pairs(p, o)
    if a.size < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return min(1.0, max(-1.0, float(a @ b) / norm)) if norm > 0 else math.nan


def agreement_scores(p: ArrayLike, o: ArrayLike) -> Scores:
    """Compute all scores of a prediction against an observation.

    Parameters
    ----------
    p, o
        Prediction and observation, m3 m-3, arrays of one shape. Pairs with a NaN or an infinity are left out.

    Returns
    -------
    Scores
        Number of pairs, R, RMSE, ubRMSE and bias.

    Raises
    ------
    InputError
        If the two differ in shape or are not numbers.
    """
    p, o = _pairs(p, o)
    return Scores(n=p.size, r=pearson_r(p, o), rmse=rmse(p, o), ubrmse=ubrmse(p, o), bias=bias(p, o))


def triple_collocation(
    x: ArrayLike, y: ArrayLike, z: ArrayLike, *, min_n: int = 100, names: tuple[str, str, str] = _NAMES
) -> TripleCollocation:
    """Estimate error, scale and correlation with the truth of three collocated series, ``x`` being the reference.

    The errors of the three must be independent of each other and of the truth. With the sample covariances Q (ddof 1):
    error variance of x ``Q_xx - Q_xy Q_xz / Q_yz`` and cyclic, ``beta_y = Q_xz / Q_yz``, ``beta_z = Q_xy / Q_yz``,
    ``snr = -10 log10(Q_xx Q_yz / (Q_xy Q_xz) - 1)``, ``correlation = sqrt(Q_xy Q_xz / (Q_xx Q_yz))``.

    Parameters
    ----------
    x, y, z
        1-D arrays of one length, row by row of the same place and day. Rows with a NaN or an infinity in any of them
        are left out.
    min_n
        Least number of rows left.
    names
        Names of the three in the reason of a refusal.

    Returns
    -------
    TripleCollocation
        Its ``status`` is ``"ok"`` if and only if there are ``min_n`` rows, and all covariances between the series and
        all error variances are positive. Otherwise it gives the reason, and the figures are NaN: no absolute value is
        taken and nothing is clipped.

    Raises
    ------
    InputError
        If the three are not 1-D or not of one length.

    References
    ----------
    Gruber et al. (2016), doi:10.1016/j.jag.2015.09.002, as ``pytesmo.metrics.tcol_metrics(x, y, z, ref_ind=0)``;
    McColl et al. (2014), doi:10.1002/2014GL061322, for the correlation; Gruber et al. (2020),
    doi:10.1016/j.rse.2020.111806, for the practice.
    """
    rows = common_rows(x, y, z)
    n = rows.shape[1]
    if n < max(min_n, 2):
        listed = f"{names[0]}, {names[1]} and {names[2]}"
        return _refused(n, f"{_count(n, 'common row')} of {listed}, at least {max(min_n, 2)} required")
    with np.errstate(all="ignore"):
        q = covariance(rows)
        fault = _fault(q, names)
        return _refused(n, fault) if fault else _figures(n, q)


def common_rows(x: ArrayLike, y: ArrayLike, z: ArrayLike) -> Float64Array:
    """Return the rows in which all three series are finite.

    Parameters
    ----------
    x, y, z
        1-D arrays of one length.

    Returns
    -------
    numpy.ndarray
        float64, dims (series, row), in the order x, y, z.

    Raises
    ------
    InputError
        If the three are not 1-D or not of one length.
    """
    series = [_floats(name, values) for name, values in zip(_NAMES, (x, y, z), strict=True)]
    shapes = {one.shape for one in series}
    if len(shapes) > 1 or series[0].ndim != 1:
        found = ", ".join(f"{name} {one.shape}" for name, one in zip(_NAMES, series, strict=True))
        raise InputError(
            f"triple collocation: found shapes {found}; required are three 1-D arrays of one length; "
            "join the series by day first and put NaN where one has no value"
        )
    rows = np.stack(series)
    return rows[:, np.isfinite(rows).all(axis=0)]


def covariance(rows: Float64Array) -> Float64Array:
    """Return the sample covariance (ddof 1) of series.

    Parameters
    ----------
    rows
        float64, dims (series, row), finite.

    Returns
    -------
    numpy.ndarray
        float64, dims (series, series); exactly 0 for a constant series.
    """
    centred = rows - rows.mean(axis=1, keepdims=True)
    centred[np.ptp(rows, axis=1) == 0] = 0.0  # the rounded mean of a constant is not always that constant
    return np.asarray(centred @ centred.T / (rows.shape[1] - 1), dtype=float)


def collocation_figures(q: Float64Array) -> dict[str, Float64Array]:
    """Compute the figures of triple collocation of many covariances at once.

    Parameters
    ----------
    q
        Covariances of x, y, z: float64, dims (..., series, series).

    Returns
    -------
    dict
        ``snr_db``, ``error_std`` (in the units of x), ``beta`` and ``correlation``: float64, dims (..., series), as
        `triple_collocation` has them; NaN where it would refuse the covariances.
    """
    with np.errstate(all="ignore"):
        sound = _sound(q)[..., None]
        beta = np.stack([np.ones(q.shape[:-2]), q[..., 0, 2] / q[..., 1, 2], q[..., 0, 1] / q[..., 1, 2]], axis=-1)
        errors = np.stack([_error_variance(q, i) for i in range(3)], axis=-1)
        whole = np.diagonal(q, axis1=-2, axis2=-1)
        signal = whole - errors
        found = {
            "snr_db": 10 * np.log10(signal / errors),
            "error_std": np.sqrt(errors) * beta,
            "beta": beta,
            "correlation": np.sqrt(signal / whole),
        }
        return {name: np.where(sound, values, np.nan) for name, values in found.items()}


def truth_correlation(q: Float64Array) -> Float64Array:
    """Return the correlation of x with the unknown truth for many covariances at once.

    Parameters
    ----------
    q
        Covariances of x, y, z: float64, dims (..., series, series).

    Returns
    -------
    numpy.ndarray
        float64, dims (...); NaN where `triple_collocation` would refuse the covariances.
    """
    with np.errstate(all="ignore"):
        squared = q[..., 0, 1] * q[..., 0, 2] / (q[..., 0, 0] * q[..., 1, 2])
        return np.where(_sound(q), np.sqrt(squared), np.nan)


def _sound(q: Float64Array) -> NDArray[np.bool_]:
    """Return whether covariances allow triple collocation, dims (...); ``q`` has dims (..., series, series)."""
    sound = np.ones(q.shape[:-2], dtype=bool)
    for i, j in _PAIRS:
        sound &= ~_nil(q[..., i, j], np.sqrt(q[..., i, i] * q[..., j, j]))
    for i in range(3):
        sound &= ~_nil(_error_variance(q, i), q[..., i, i])
    return sound


def _nil(value: Float64Array, whole: Float64Array) -> NDArray[np.bool_]:
    """Return whether a variance or covariance is not positive, but for rounding; true for NaN."""
    return np.asarray(~(value > _ROUNDING * whole) | ~np.isfinite(value))


def _error_variance(q: Float64Array, i: int) -> Float64Array:
    """Return the error variance of series ``i``, its unit squared, dims (...); ``q`` has dims (..., series, series)."""
    j, k = (other for other in range(3) if other != i)
    return np.asarray(q[..., i, i] - q[..., i, j] * q[..., i, k] / q[..., j, k])


def _fault(q: Float64Array, names: tuple[str, str, str]) -> str:
    """Return why covariances allow no triple collocation of three data sets; empty if they do."""
    pairs = [(i, j) for i, j in _PAIRS if _nil(q[i, j], np.sqrt(q[i, i] * q[j, j]))]
    if pairs:
        mark = "-" if names == _NAMES else " with "
        found = " and ".join(f"{names[i]}{mark}{names[j]} is {q[i, j]:.3g}" for i, j in pairs)
        return f"covariance {found}, positive required: the series do not vary together"
    alone = [i for i in range(3) if _nil(_error_variance(q, i), q[i, i])]
    found = " and ".join(f"of {names[i]} is {_error_variance(q, i):.3g}" for i in alone)
    return found and f"error variance {found}, positive required: the errors are not independent, or too few"


def _figures(n: int, q: Float64Array) -> TripleCollocation:
    """Return the figures of covariances that allow triple collocation."""
    beta = (1.0, float(q[0, 2] / q[1, 2]), float(q[0, 1] / q[1, 2]))
    variances = [float(_error_variance(q, i)) for i in range(3)]
    signals = [float(q[i, i]) - variance for i, variance in enumerate(variances)]
    return TripleCollocation(
        n=n,
        snr_db=_triple(10 * math.log10(s / e) for s, e in zip(signals, variances, strict=True)),
        error_std=_triple(math.sqrt(e) * b for e, b in zip(variances, beta, strict=True)),
        beta=beta,
        correlation=_triple(math.sqrt(s / float(q[i, i])) for i, s in enumerate(signals)),
        status="ok",
    )


def _triple(values: Iterable[float]) -> Triple:
    x, y, z = values
    return x, y, z


def _refused(n: int, reason: str) -> TripleCollocation:
    return TripleCollocation(n, _NOTHING, _NOTHING, _NOTHING, _NOTHING, reason)


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def _pairs(p: ArrayLike, o: ArrayLike) -> tuple[Float64Array, Float64Array]:
    """Return flat float64 values of the pairs in which both are finite."""
    first, second = _floats("prediction", p), _floats("observation", o)
    if first.shape != second.shape:
        raise InputError(
            f"scores: found a prediction of shape {first.shape} and an observation of shape {second.shape}; "
            "one shape is required; join the two by site and day first"
        )
    both = np.isfinite(first) & np.isfinite(second)
    return first[both], second[both]


def _floats(name: str, values: ArrayLike) -> Float64Array:
    """Return values as float64; masked ones become NaN."""
    try:
        if isinstance(values, np.ma.MaskedArray):
            return np.asarray(np.ma.filled(values.astype(float), np.nan))
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name}: found values that are not numbers ({error}); an array of floats is required"
        ) from error
