"""Sum up weighted rows of sites over the days before each row: the compiled loop of `temporal`.

Numba compiles it once a machine, at the first call, in about a second; importing Numba takes as long: import this
module inside a function.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stac_sm.core.compiled import compiled


@compiled()
def exponential_means(
    values: Any, site: Any, day: Any, weights: Any, least: float, first: int, last: int, out: Any
) -> None:
    """Write the weighted means of some rows over the days that end with each row's day.

    Parameters
    ----------
    values
        float32, dims (row, column), in the order of site and day, one row a site and day; NaN = missing.
    site, day
        int64, shape (row,).
    weights
        float64, by age in days from 0; older rows have no weight.
    least
        Least sum of the weights of the days with a value; below, the mean is NaN.
    first, last
        Rows to work out: from ``first`` up to, and without, ``last``.
    out
        float32, dims (row, column); written to.
    """
    columns = values.shape[1]
    sums, totals = np.empty(columns), np.empty(columns)
    for row in range(first, last):
        sums[:] = 0.0
        totals[:] = 0.0
        at = row
        while at >= 0 and site[at] == site[row] and day[row] - day[at] < len(weights):
            weight = weights[day[row] - day[at]]
            for column in range(columns):
                value = values[at, column]
                known = value == value
                sums[column] += weight * np.float64(value) if known else 0.0
                totals[column] += weight if known else 0.0
            at -= 1
        for column in range(columns):
            enough = totals[column] >= least and totals[column] > 0
            out[row, column] = sums[column] / totals[column] if enough else np.nan
