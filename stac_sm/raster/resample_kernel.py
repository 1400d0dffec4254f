"""Compiled loops of `resample`: the arithmetic of its array functions, bit for bit, in one pass over the pixels.

Numba compiles them once a machine, when this module is first imported: import it inside a function.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32, float64, int32, int64, void
from numba.core.types import Array

from stac_sm.core.compiled import compiled

_PLACES = Array(int32, 2, "C", readonly=True)  # what is kept for the next task is read-only
_PIXELS = Array(int32, 2, "A", readonly=True)
_VALUES = Array(float32, 2, "A", readonly=True)
_ZERO, _ONE = np.float32(0), np.float32(1)


@compiled(void(float32[::1], int64, _PLACES, float32, float32[::1]))
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


@compiled(void(_VALUES, _PIXELS, float64[::1], float64[::1]))
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


@compiled("i8(f8[::1], f8[::1], f8[::1], f8[::1], i8, i8, f8, i4[:, ::1])")
def place_lines(rows: Any, left: Any, right: Any, share: Any, height: int, width: int, near: float, out: Any) -> int:
    """Write the position in a grid of each pixel of lines that are straight and level in it.

    Parameters
    ----------
    rows
        float64, shape (line,): row of each line in the grid; whole numbers are edges.
    left, right
        float64, shape (line,): column in the grid of the first and the last pixel of each line.
    share
        float64, shape (pixel,): where the pixels of a line lie between the first and the last, 0 to 1.
    height, width
        Rows and columns of the grid.
    near
        Distance to an edge, in pixels of the grid, below which nothing is decided.
    out
        int32, dims (line, pixel): position in the flattened grid, -1 outside of it, -2 near an edge; written to.

    Returns
    -------
    int
        Number of pixels near an edge.
    """
    undecided = 0
    for line in range(out.shape[0]):
        row = rows[line]
        if abs(row - np.rint(row)) < near:
            for i in range(out.shape[1]):  # not a slice, which takes long to compile
                out[line, i] = -2
            undecided += out.shape[1]
            continue
        start, length, outside = left[line], right[line] - left[line], row < 0 or row >= height
        first = np.int64(np.floor(row)) * width
        for i in range(out.shape[1]):
            column = start + length * share[i]
            if abs(column - np.rint(column)) < near:
                out[line, i] = -2
                undecided += 1
            elif outside or column < 0 or column >= width:
                out[line, i] = -1
            else:
                out[line, i] = np.int32(first + np.int64(np.floor(column)))
    return undecided
