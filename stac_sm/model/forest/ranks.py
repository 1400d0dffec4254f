"""Ranks: a feature is replaced by its place among the thresholds that a forest compares it with.

A code is 0 for a missing value, else 1 + the number of thresholds that are not above the value. A row goes right at the
threshold of place j exactly if its code is above j + 1, so no comparison is lost. A table leads from a value straight
to the few thresholds near it: the range of the thresholds is cut into equal buckets, and as rounding never turns two
values round, all thresholds of lower buckets are below a value, all of higher ones above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BUCKETS = 4096
"""Buckets of a table: 8 kB, which stay in the nearest cache."""

MOST_THRESHOLDS = 65_000
"""Most thresholds of one feature: codes are uint16."""

LEAF = 0xFFFF
"""What a node asks for that asks for no feature, among all readings of features: 16 bits."""


@dataclass(frozen=True)
class RankTable:
    """How values of one feature become codes."""

    thresholds: NDArray[np.float32]
    """Ascending and distinct, then one NaN for each place that a search may look at beyond the end."""

    first: NDArray[np.uint16]
    """Number of thresholds below each bucket."""

    low: np.float32
    """Least threshold."""

    scale: np.float32
    """Buckets to the unit of the feature; 0 puts all values into one bucket."""

    steps: int
    """Halvings that find a place within the fullest bucket."""

    @property
    def count(self) -> int:
        """Number of thresholds."""
        return len(self.thresholds) - (1 << self.steps)

    @property
    def known(self) -> NDArray[np.float32]:
        """The thresholds without what follows them."""
        return self.thresholds[: self.count]

    @classmethod
    def of(cls, thresholds: NDArray[np.float32]) -> RankTable:
        """Build the table of distinct thresholds in ascending order."""
        low = thresholds[0] if len(thresholds) else np.float32(0)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            span = np.float32(thresholds[-1] - low) if len(thresholds) else np.float32(0)
            scale = np.float32(BUCKETS) / span
        scale = np.float32(scale if np.isfinite(scale) and np.isfinite(span) else 0)
        filled = np.bincount(bucket_of(thresholds, low, scale), minlength=BUCKETS)
        steps = int(filled.max()).bit_length()
        padded = np.concatenate([thresholds, np.full(1 << steps, np.nan, np.float32)])
        return cls(padded, (np.cumsum(filled) - filled).astype(np.uint16), np.float32(low), scale, steps)


def bucket_of(values: NDArray[np.float32], low: np.float32, scale: np.float32) -> NDArray[np.int64]:
    """Return the bucket of each value, in float32 throughout: the kernel takes the same steps."""
    with np.errstate(over="ignore", invalid="ignore"):
        place = (values - low) * scale
    place = np.where(place > 0, place, np.float32(0))
    return np.where(place < BUCKETS - 1, place, np.float32(BUCKETS - 1)).astype(np.int64)
