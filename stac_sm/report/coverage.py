"""Coverage of prediction intervals at unseen sites, beside intervals of one width."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.errors import InputError
from stac_sm.report.given import NOMINAL
from stac_sm.report.spread import Interval, mean_interval
from stac_sm.table import require


@dataclass(frozen=True)
class Coverage:
    """How often observations lie inside their intervals."""

    rows: int
    """Rows with an interval."""

    coverage: float
    """Share inside, a fraction."""

    thirds: tuple[float, float, float]
    """The same in the driest, middle and wettest third of the prediction."""

    sites: tuple[float, float, float]
    """5, 50 and 95 % of the coverage of single sites."""

    sure: Interval
    """90 % interval of the coverage, by resampling sites; NaN with a single site."""

    width: float
    """Mean width, m3 m-3."""

    score: float
    """Mean interval score, m3 m-3: width, and what an observation lies outside over half the share that may (20
    times that for 90 %). Less is better."""

    constant_width: float
    """Width of intervals of one width that cover as often, m3 m-3."""

    constant_score: float
    """Their interval score, m3 m-3."""


def coverage(rows: pd.DataFrame, intervals: pd.DataFrame, nominal: float = NOMINAL) -> Coverage:
    """Coverage of intervals.

    Parameters
    ----------
    rows
        ``row, site, observed, predicted``.
    intervals
        ``row, low, high``; rows without an interval, or with NaN in it, are left out.
    nominal
        Share of the observations that they are meant to hold.

    Raises
    ------
    InputError
        If a column is missing, or no row has an interval.
    """
    require(intervals, ["row", "low", "high"], "coverage")
    joined = rows.merge(intervals[["row", "low", "high"]].dropna(), on="row", validate="one_to_one")
    if joined.empty:
        raise InputError(f"intervals: found none for the {len(rows)} scored rows; `row` is a position in the table")
    predicted, observed, low, high = (joined[name].to_numpy(float) for name in ("predicted", "observed", "low", "high"))
    inside = (observed >= low) & (observed <= high)
    rank = predicted.argsort(kind="stable").argsort(kind="stable") * 3 // len(predicted)
    half = float(np.quantile(np.abs(observed - predicted), inside.mean()))
    by_site = pd.Series(inside).groupby(joined["site"].to_numpy()).mean()
    return Coverage(
        rows=len(joined),
        coverage=float(inside.mean()),
        thirds=_triple([inside[rank == third].mean() if (rank == third).any() else np.nan for third in range(3)]),
        sites=_triple(by_site.quantile([0.05, 0.5, 0.95])),
        sure=mean_interval(inside, joined["site"].to_numpy()),
        width=float((high - low).mean()),
        score=_interval_score(observed, low, high, nominal),
        constant_width=2 * half,
        constant_score=_interval_score(observed, predicted - half, predicted + half, nominal),
    )


def _interval_score(
    observed: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], nominal: float
) -> float:
    """Gneiting and Raftery (2007), doi:10.1198/016214506000001437."""
    outside = np.maximum(low - observed, 0) + np.maximum(observed - high, 0)
    return float((high - low + 2 / (1 - nominal) * outside).mean())


def _triple(values: object) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in np.asarray(values))
    return first, second, third
