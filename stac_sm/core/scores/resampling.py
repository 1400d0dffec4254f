"""Bootstrap intervals: blocks of days of one station, whole sites of a network.

Days follow each other and are not independent, so a resample of a station is drawn in circular blocks (Politis and
Romano 1992). Sites of a network are drawn whole. A resample is a weight a row: how often the row is in it.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from stac_sm.core.arrays import Float64Array

BLOCK_DAYS = 30
"""Longest block, in days with a value: longer than surface soil moisture remembers."""

CONFIDENCE = 0.95
"""Share that the intervals cover, as those of QA4SM."""

RESAMPLES = 200
"""Resamples of an interval."""

LEAST_SITES = 3
"""Fewest sites of an interval by resampling sites."""

MOST_DEGENERATE = 0.2
"""Largest share of resamples without a value that an interval may have."""


@dataclass(frozen=True)
class Interval:
    """Bootstrap interval of a figure; NaN where there is none."""

    low: float = math.nan
    """Lower end."""

    high: float = math.nan
    """Upper end."""

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


NO_INTERVAL = Interval()
"""Stands where no interval can be given."""


def block_weights(n: int, resamples: int, generator: np.random.Generator) -> Float64Array:
    """Draw resamples of a series in circular blocks of 30 rows, or a quarter of the series if that is less.

    Parameters
    ----------
    n
        Rows of the series, in the order of time.
    resamples
        Number of resamples.
    generator
        Draws the starts of blocks.

    Returns
    -------
    numpy.ndarray
        float64, dims (resample, row): how often each row is drawn; ``n`` rows or slightly more in all.
    """
    length = max(1, min(BLOCK_DAYS, n // 4))
    starts = generator.integers(n, size=(resamples, -(-n // length)))
    begun = np.zeros((resamples, n + length + 1))
    np.add.at(begun, (np.arange(resamples)[:, None], starts), 1.0)
    np.add.at(begun, (np.arange(resamples)[:, None], starts + length), -1.0)
    drawn = begun.cumsum(axis=1)[:, : n + length]
    weights = drawn[:, :n].copy()
    weights[:, :length] += drawn[:, n:]
    return weights


def site_weights(sites: int, resamples: int, generator: np.random.Generator) -> Float64Array:
    """Draw resamples of sites.

    Parameters
    ----------
    sites
        Number of sites.
    resamples
        Number of resamples.
    generator
        Draws the sites.

    Returns
    -------
    numpy.ndarray
        float64, dims (resample, site): how often each site is drawn.
    """
    draws = generator.integers(sites, size=(resamples, sites))
    weights = np.zeros((resamples, sites))
    np.add.at(weights, (np.arange(resamples)[:, None], draws), 1.0)
    return weights


def interval_of(draws: Float64Array, confidence: float) -> Interval:
    """Return the percentile interval of resampled figures.

    Parameters
    ----------
    draws
        The figure in each resample, dims (resample); NaN where it has no value.
    confidence
        Share that the interval covers.

    Returns
    -------
    Interval
        None known if more than a fifth of the resamples have no value, or there are no resamples.
    """
    known = draws[np.isfinite(draws)]
    if not known.size or known.size < (1 - MOST_DEGENERATE) * draws.size:
        return NO_INTERVAL
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def generator_of(seed: int, *names: str) -> np.random.Generator:
    """Return a random generator that depends on a seed and names only.

    Parameters
    ----------
    seed
        Any whole number.
    *names
        Of what is resampled, so that its resamples do not depend on what else is.

    Returns
    -------
    numpy.random.Generator
        Seeded by their digest.
    """
    return np.random.default_rng(list(hashlib.sha256("\0".join([str(seed), *names]).encode()).digest()))
