"""Another order of rows whose neighbours are not alike, compiled by Numba: what decides most splits comes together.

Rows are halved again and again, each time at the median of the feature that leaves most splits open, until they fit a
small block. Every decision is taken on a sample: it changes how fast a forest is, never what it gives.
"""

from __future__ import annotations

from functools import partial

import numba
import numpy as np

from stac_sm.core.compiled import compiled

LANES = 1024
"""Rows of a small block."""

_SAMPLE = 8  # one row in so many tells the range of all
_COHERENT = 0.55  # share of open splits below which rows are left as they are

inner = partial(numba.njit, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Compile a function that only compiled ones call: without what Python would call it by, and once with its caller."""

_u2, _i4, _i8, _b1 = numba.uint16, numba.int32, numba.int64, numba.boolean


@inner
def _widest(codes, asked, order, start, stop):
    """Return the feature that leaves most splits open in some rows, and the number of splits that all features leave
    open."""
    widest, most, total = 0, -1, 0
    for feature in range(len(codes)):
        part = codes[feature]
        low = high = part[order[start]]
        for i in range(start, stop, _SAMPLE):
            low, high = min(low, part[order[i]]), max(high, part[order[i]])
        left_open = asked[feature, high] - asked[feature, low]
        total += left_open
        if left_open > most:
            widest, most = feature, left_open
    return widest, total


@inner
def _halve(code, order, start, middle, stop, count, other):
    """Bring the rows with the least codes of a feature before the middle; equal ones in the order in which they are."""
    count[:] = 0
    for i in range(start, stop):
        count[code[order[i]]] += 1
    median, below = 0, 0
    while below + count[median] <= middle - start:
        below += count[median]
        median += 1
    left, right, equal = start, middle, middle - start - below
    for i in range(start, stop):
        here = code[order[i]]
        goes_left = here < median or (here == median and equal > 0)
        equal -= np.int64(here == median)
        other[left if goes_left else right] = order[i]
        left += np.int64(goes_left)
        right += np.int64(not goes_left)
    for i in range(start, stop):  # a copy of slices compiles five times as long: its error message does
        order[i] = other[i]


@inner
def _open_share(codes, asked, order):
    """Return the share of the splits that the ranges of a small block leave open, on the mean over blocks."""
    rows, total, blocks, splits = codes.shape[1], 0, 0, 0
    for feature in range(len(asked)):
        splits += asked[feature, asked.shape[1] - 1]
    for start in range(0, rows, LANES):
        total += _widest(codes, asked, order, start, min(start + LANES, rows))[1]
        blocks += 1
    return total / max(blocks * splits, 1)


@compiled([_b1(_u2[:, ::1], _i4[:, ::1], _i4[::1])])
def arrange(codes, asked, order):
    """Write the order in which to take the rows; False if it is the one in which they are.

    ``asked`` is the number of splits below each code of each feature.
    """
    rows = codes.shape[1]
    for i in range(rows):
        order[i] = i
    before = _open_share(codes, asked, order)
    if before < _COHERENT:
        return False
    other, count = np.empty(rows, np.int32), np.empty(asked.shape[1], np.int32)
    ends = [rows]  # of the parts still to be halved
    start = np.int64(0)  # of a literal 0, Numba compiles what is called once more
    while len(ends) > 0:
        stop = ends[-1]
        if stop - start <= LANES:
            start = ends.pop()
            continue
        middle = start + max(LANES, (stop - start) // 2 // LANES * LANES)
        feature = _widest(codes, asked, order, start, stop)[0]
        _halve(codes[feature], order, start, middle, stop, count, other)
        ends.append(middle)
    return _open_share(codes, asked, order) < before


@compiled([_i8(_u2[:, ::1], _i4[::1], _u2[:, ::1])])
def take(codes, order, arranged):
    """Copy codes into another order of rows."""
    for feature in range(len(codes)):
        part, to = codes[feature], arranged[feature]
        for i in range(len(order)):
            to[i] = part[order[i]]
    return len(order)
