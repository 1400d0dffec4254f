"""Conformal quantiles for rows that come from sites: each site has the same weight, however many rows it has.

`intervals` calibrates the prediction intervals with them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stac_sm.core.arrays import Float32Array, Float64Array


def equal_site_weights(sites: NDArray[Any]) -> Float32Array:
    """Return the weight of each row, so that all sites weigh the same and the mean weight is 1."""
    _, where, counts = np.unique(sites, return_inverse=True, return_counts=True)
    weight: Float32Array = (len(sites) / len(counts) / counts[where]).astype(np.float32)
    return weight


def site_weighted_quantile(scores: Float64Array, sites: NDArray[Any], coverage: float) -> float:
    """Return the quantile of scores that covers a new site as often as required, each site with the same weight.

    The level is the least at which the sites, one by one, are covered by the quantile of the other sites, in the mean;
    what comes out is the mean of those quantiles.

    Returns
    -------
    float
        Infinity where there are too few sites for the coverage.
    """
    _, site, rows = np.unique(sites, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    site, ranked = site[order], scores[order]
    vote = 1 / rows[site]
    total = np.cumsum(vote)
    inside = np.arange(len(site)) <= np.flatnonzero(site != site[-1]).max(initial=-1)  # another site's row follows
    reached = np.full(len(site), np.inf)
    reached[inside] = (total - _of_own_site(site, rows))[inside]
    by_level = np.argsort(reached, kind="stable")
    at = int(np.searchsorted(np.cumsum(vote[by_level]) / len(rows), coverage - 1e-9))
    level = reached[by_level][at] if at < len(reached) else math.inf
    return _mean_quantile(ranked, site, vote, level) if math.isfinite(level) else math.inf


def _of_own_site(site: NDArray[np.intp], rows: NDArray[np.intp]) -> Float64Array:
    """Return the share of the rows of its own site that come no later than a row."""
    by_site = np.argsort(site, kind="stable")
    rank = np.empty(len(site))
    rank[by_site] = np.arange(len(site)) - np.repeat(np.cumsum(rows) - rows, rows) + 1
    return rank / rows[site]


def _mean_quantile(ranked: Float64Array, site: NDArray[np.intp], vote: Float64Array, votes: float) -> float:
    """Return the mean, over the sites that may be left out, of the first score at which the others have more weight."""
    found = []
    for left_out in range(int(site.max()) + 1):
        at = int(np.searchsorted(np.cumsum(np.where(site == left_out, 0, vote)), votes + 1e-9))
        found.append(float(ranked[min(at, len(ranked) - 1)]))
    return math.fsum(found) / len(found)
