"""Compiled loops of `resample`: the arithmetic of its array functions, bit for bit, in one pass over the pixels.

Numba compiles them once a machine, when this module is first imported: import it inside a function.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_ZERO, _ONE = np.float32(0), np.float32(1)


@njit("void(f4[::1], i8, i4[:, ::1], f4, f4[::1])", cache=True, nogil=True)
def interpolate(padded: Any, step: int, where: Any, least: Any, out: Any) -> None:
    """Write bilinear values.

    Parameters
    ----------
    padded
        float32, a window that is one row and column larger, flattened; NaN where there is no value.
    step
        Length of a row of it.
    where
        int32, dims (3, pixel): what `resample.pixel_lookup` gives.
    least
        Sum of the weights of neighbours with a value up to which the result is missing.
    out
        float32, shape (pixel,); written to.
    """
    parts = where.view(np.float32)
    for i in range(out.size):
        first = np.int64(where[0, i])
        if first < 0:
            out[i] = np.nan
            continue
        down, right = parts[1, i], parts[2, i]
        total, weights = _ZERO, _ZERO
        for row in range(2):
            vertical = down if row else _ONE - down
            for column in range(2):
                value = padded[first + row * step + column]
                weight = vertical * (right if column else _ONE - right)
                if value == value:
                    total += value * weight
                    weights += weight
        out[i] = total / max(weights, least) if weights > least else np.nan


@njit("void(f4[:, :], i4[:, :], f8[::1], f8[::1])", cache=True, nogil=True)
def add_up(values: Any, place: Any, total: Any, count: Any) -> None:
    """Add the values of pixels to those of their place.

    Parameters
    ----------
    values
        float32 (y, x), NaN where there is no value.
    place
        int32 (y, x), position in the result; below 0 for none.
    total, count
        float64, flat: sums and numbers of values; added to.
    """
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            value, at = values[row, column], place[row, column]
            if at >= 0 and value == value:
                total[at] += np.float64(value)
                count[at] += 1.0
