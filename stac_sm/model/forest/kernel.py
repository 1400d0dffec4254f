"""The kernel, compiled by Numba: ranks, pruning by the ranges of blocks, and what is left for 1,024 rows at once.

Imported (and compiled, or read from Numba's cache on disk) at the first use only. All functions let go of the GIL.
Nodes are in the order of a walk, so the left child is the next node. Each is one word of 64 bits: 16 for what it asks
for, 16 for its threshold, 32 for the distance to its right child; a leaf asks for `LEAF` and has the bits of its value.
What it asks for is a feature, plus the number of features where a missing value goes right: each feature has two
readings, with missing values below all codes and above all codes, and so a missing value takes part in comparisons like
any other. Places are unsigned: of signed ones Numba asks each time whether they count from the end.
"""

from __future__ import annotations

import numba
import numpy as np

from stac_sm.core.compiled import compiled
from stac_sm.model.forest.ranks import LEAF
from stac_sm.model.forest.row_order import LANES, arrange, inner, take
from stac_sm.model.forest.simd import (
    STRIDE,
    TABLE,
    add_of_eight,
    add_of_four,
    add_of_one,
    add_of_two,
    number_leaves,
    store_bits,
)

__all__ = ["arrange", "evaluate", "rank", "take"]

BLOCKS = 16
"""Small blocks of a large one: 128 x 128 pixels."""

_WIDTH = 254  # codes that fit between "below all" and "above all" in one byte
_MOST_LEAVES = 256  # what one byte can number

_f4, _u2, _i4, _i8, _u8 = numba.float32, numba.uint16, numba.int32, numba.int64, numba.uint64

_SIGNATURE = _i8(_u8[::1], _i4[::1], _i4[::1], _i8, _i8, _u2[:, ::1], _f4[:, ::1])

_ASKS, _THRESHOLD = np.uint64(48), np.uint64(32)  # first bits of what a node asks for, and of its threshold
_LEAF, _LOW, _ZERO, _ONE = np.uint64(LEAF), np.uint64(0xFFFFFFFF), np.uint64(0), np.uint64(1)
_HERE, _THERE, _PLANE, _CODE = np.uint64(2), np.uint64(3), np.uint64(0), np.uint64(1)  # fields of a split


@compiled([_i8(_f4[::1], _f4[::1], _u2[::1], _f4, _f4, _i8, _u2[::1])])
def rank(values, thresholds, first, low, scale, steps, codes):
    """Write the code of each value: 0 where it is missing."""
    top = np.float32(len(first) - 1)
    place = np.empty(LANES, np.int32)
    for start in range(0, len(values), LANES):
        part = values[start : start + LANES]
        out = codes[start : start + LANES]
        n = len(part)
        for i in range(n):
            x = (part[i] - low) * scale
            x = x if x > np.float32(0) else np.float32(0)
            x = x if x < top else top
            place[i] = first[np.int32(x)]
        half = 1 << steps >> 1
        while half > 0:
            for i in range(n):
                place[i] += half if thresholds[place[i] + half - 1] <= part[i] else 0
            half >>= 1
        for i in range(n):
            out[i] = np.uint16(place[i] + 1) if part[i] == part[i] else np.uint16(0)
    return len(values)


@inner
def _ranges(codes, start, stop, low, high):
    """Return the least and greatest code of each feature in some rows, in both readings; whether one is missing."""
    features = len(codes)
    for f in range(features):
        least, most, valid = np.uint16(65535), np.uint16(0), np.uint16(65535)
        part = codes[f, start:stop]
        for i in range(len(part)):
            code = part[i]
            least = min(least, code)
            most = max(most, code)
            valid = min(valid, np.uint16(code - np.uint16(1)))
        missing = least == 0
        low[f] = np.int32(least)
        high[f] = np.int32(most)
        low[features + f] = np.int32(valid) + 1  # 65536 where all are missing
        high[features + f] = 65536 if missing else np.int32(most)


@inner
def _prune_large(nodes, roots, low, high, to_nodes, to_roots, stack):
    """Copy what the ranges of a large block leave of each tree."""
    out = _ZERO
    for tree in range(len(roots)):
        to_roots[tree] = np.int32(out)
        node, depth = np.uint64(roots[tree]), _ZERO
        while True:
            word = nodes[node]
            ask = word >> _ASKS
            while ask != _LEAF:
                t = np.int32(word >> _THRESHOLD & _LEAF)
                if high[ask] <= t:
                    node += _ONE
                elif low[ask] > t:
                    node += word & _LOW
                else:
                    break
                word = nodes[node]
                ask = word >> _ASKS
            to_nodes[out] = word
            out += _ONE
            if ask != _LEAF:
                stack[depth] = node + (word & _LOW) | out - _ONE << _THRESHOLD
                depth += _ONE
                node += _ONE
            elif depth == _ZERO:
                break
            else:
                depth -= _ONE
                node, above = stack[depth] & _LOW, stack[depth] >> _THRESHOLD
                to_nodes[above] = to_nodes[above] & ~_LOW | out - above


@inner
def _prune_small(nodes, root, low, high, plane, shift, extent, split, value, stack):
    """Return what the ranges of a small block leave of a tree: its splits, and the values of its leaves from left to
    right.

    A split is (offset of its plane, its threshold there, its leftmost leaf, the leftmost leaf of its right subtree).
    """
    splits, leaves, depth = _ZERO, _ZERO, _ZERO
    node = np.uint64(root)
    while True:
        word = nodes[node]
        ask = word >> _ASKS
        if ask == _LEAF:
            store_bits(value, leaves, word)
            leaves += _ONE
            if depth == _ZERO:
                return np.int64(splits)
            depth -= _ONE
            node = stack[depth] & _LOW
            split[stack[depth] >> _THRESHOLD, _THERE] = np.int32(leaves)
            continue
        t = np.int32(word >> _THRESHOLD & _LEAF)
        right = node + (word & _LOW)
        if low[ask] > t:
            node = right
            continue
        above = np.uint32(min(max(t - shift[ask], np.int32(0)), extent[ask]))  # beyond them, only missing values differ
        number = above // np.uint32(_WIDTH)
        split[splits, _PLANE] = plane[ask] + np.int32(number * np.uint32(LANES))
        split[splits, _CODE] = np.int32(above - number * np.uint32(_WIDTH))
        split[splits, _HERE] = np.int32(leaves)
        stack[depth] = right | splits << _THRESHOLD
        undecided = np.uint64(high[ask] > t)  # written in any case: a branch would be guessed wrong too often
        depth += undecided
        splits += undecided
        node += _ONE


@inner
def _planes(codes, start, low, high, n, plane, shift, extent, planes):
    """Return codes of a small block in bytes, from 1 at the least one; as many planes as their range needs, for each
    reading.

    Missing values are 0 in the first reading, 255 in the second; without any, both are one.
    """
    features, used = len(codes), 0
    for f in range(features):
        missing, present = low[f] == 0, high[f] > 0
        shift[f] = shift[features + f] = low[features + f] - 1 if present else 0
        extent[f] = extent[features + f] = high[f] - shift[f]
        part = codes[f, start : start + n]
        for reading in range(2):
            if reading == 1 and not missing:
                plane[features + f] = plane[f]
                break
            plane[reading * features + f] = used * LANES
            for k in range(extent[f] // _WIDTH + 1):
                to = planes[used * LANES : used * LANES + n]
                least, absent = np.int32(shift[f] + k * _WIDTH), np.int32(reading * 255)
                for i in range(n):
                    code = np.int32(part[i])
                    local = min(max(code - least, np.int32(0)), np.int32(_WIDTH))
                    to[i] = np.uint8(local if code > 0 else absent)
                used += 1


@inner
def _add_by_number(planes, split, splits, value, number, total, n):
    """Number the leaf of each row, split by split, and add its value.

    A row at a node has the number of the leftmost leaf below; where it goes right, that of the right subtree.
    """
    if splits == 0:
        for i in range(n):
            total[i] += value[0]
        return
    for start in range(0, n, STRIDE):
        number_leaves(planes, split, splits, number, start)
    done = 0
    if splits < 8 * TABLE:
        done = n // TABLE * TABLE
        if splits < TABLE:
            for i in range(0, done, TABLE):
                add_of_one(number, value, total, i)
        elif splits < 2 * TABLE:
            for i in range(0, done, TABLE):
                add_of_two(number, value, total, i)
        elif splits < 4 * TABLE:
            for i in range(0, done, TABLE):
                add_of_four(number, value, total, i)
        else:
            for i in range(0, done, TABLE):
                add_of_eight(number, value, total, i)
    for i in range(done, n):
        total[i] += value[number[i]]


@inner
def _add_by_walk(planes, split, splits, value, look, child, first, at, total, n):
    """Move each row down, all rows one level at a time; a leaf is its own child."""
    leaves = splits + 1
    for leaf in range(leaves):
        first[leaf] = -1
        child[2 * (splits + leaf)] = child[2 * (splits + leaf) + 1] = splits + leaf
        look[splits + leaf, 0] = look[splits + leaf, 1] = 0
    for j in range(splits - 1, -1, -1):  # the last to write is the topmost node above a leaf
        look[j, 0], look[j, 1] = split[j, 0], split[j, 1]
        here, there = split[j, 2], split[j, 3]
        child[2 * j] = j + 1 if j + 1 < splits and split[j + 1, 2] == here else splits + here
        child[2 * j + 1] = first[there] if first[there] >= 0 else splits + there
        first[here] = j
    levels = _levels(child, splits, first)
    for i in range(n):
        at[i] = 0
    for _ in range(levels):
        for i in range(n):
            node = at[i]
            at[i] = child[2 * node + (planes[look[node, 0] + i] > look[node, 1])]
    for i in range(n):
        total[i] += value[at[i] - splits]


@inner
def _levels(child, splits, level):
    """Return the number of levels of splits; children come after their parents."""
    most = 0
    level[0] = 1
    for j in range(splits):
        most = max(most, level[j])
        for side in range(2):
            if child[2 * j + side] < splits:
                level[child[2 * j + side]] = level[j] + 1
    return most


@compiled([_SIGNATURE])
def evaluate(nodes, roots, ends, most_nodes, most_planes, codes, total):
    """Add the leaves of each row to ``total`` (member, row), in the order of the trees; codes are (feature, row)."""
    pruned, pruned_roots = np.empty(len(nodes), np.uint64), np.empty(len(roots), np.int32)
    readings = 2 * len(codes)
    low, high = np.empty(readings, np.int32), np.empty(readings, np.int32)
    plane, shift, extent = np.empty(readings, np.int32), np.empty(readings, np.int32), np.empty(readings, np.int32)
    planes = np.empty(most_planes * LANES, np.uint8)
    split, stack = np.empty((most_nodes, 4), np.int32), np.empty(most_nodes, np.uint64)
    value, first = np.empty(most_nodes + 8 * 16, np.float32), np.empty(most_nodes, np.int32)
    look, child = np.empty((2 * most_nodes, 2), np.int32), np.empty(4 * most_nodes, np.int32)
    number, at = np.empty(LANES, np.uint8), np.empty(LANES, np.int32)
    rows = codes.shape[1]
    for large in range(0, rows, LANES * BLOCKS):
        end = min(large + LANES * BLOCKS, rows)
        _ranges(codes, large, end, low, high)
        _prune_large(nodes, roots, low, high, pruned, pruned_roots, stack)
        for start in range(large, end, LANES):
            n = min(LANES, end - start)
            _ranges(codes, start, start + n, low, high)
            _planes(codes, start, low, high, n, plane, shift, extent, planes)
            member = 0
            for tree in range(len(roots)):
                while tree >= ends[member]:
                    member += 1
                splits = _prune_small(pruned, pruned_roots[tree], low, high, plane, shift, extent, split, value, stack)
                sums = total[member, start : start + n]
                if splits < _MOST_LEAVES:
                    _add_by_number(planes, split, splits, value, number, sums, n)
                else:
                    _add_by_walk(planes, split, splits, value, look, child, first, at, sums, n)
    return rows
