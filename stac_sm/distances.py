"""Distances between many rows and few, on one thread: who asks works on several blocks at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Wide = NDArray[np.float64]

_POINTS = 64  # of a group
_BATCH = 4096  # rows whose distances to a group of points stay in the cache
_ONE_THREAD = 1 << 18  # multiplications that OpenBLAS (0.3) does not share out: on a busy machine, a product of two
# threads takes a hundred times as long, since each small one waits for all of them


def point_groups(points: NDArray[Any]) -> list[NDArray[Any]]:
    """Points in groups for `products`, in their order."""
    return [points[start : start + _POINTS] for start in range(0, len(points), _POINTS)]


def batches(rows: int) -> Iterator[slice]:
    """Slices of rows, a batch each."""
    return (slice(start, start + _BATCH) for start in range(0, rows, _BATCH))


def products(rows: Floats, points: Floats) -> Floats:
    """Scalar products of each row and each of a group of points, dims (row, point)."""
    turned = np.ascontiguousarray(points.T)
    size = max(1, _ONE_THREAD // max(1, points.size))
    whole = len(rows) // size * size
    found = np.empty((len(rows), len(points)), dtype=np.float32)
    np.matmul(rows[:whole].reshape(-1, size, rows.shape[1]), turned, out=found[:whole].reshape(-1, size, len(points)))
    np.matmul(rows[whole:], turned, out=found[whole:])
    return found


def nearest(rows: Floats, points: Floats) -> tuple[Wide, NDArray[np.intp]]:
    """Distance from each row to the nearest point, and which one that is."""
    lengths = np.square(rows).sum(axis=1)
    least, which = np.full(len(rows), np.inf, dtype=np.float32), np.zeros(len(rows), dtype=np.intp)
    for start in range(0, len(points), _POINTS):
        group = points[start : start + _POINTS]
        square = np.square(group).sum(axis=1)
        for part in batches(len(rows)):
            found = square - 2 * products(rows[part], group)
            at = found.argmin(axis=1)
            value = found[np.arange(len(found)), at]
            better = value < least[part]
            least[part] = np.where(better, value, least[part])
            which[part] = np.where(better, at + start, which[part])
    return np.sqrt(np.maximum(least + lengths, 0)).astype(float), which


def mean_distance(rows: Floats) -> float:
    """Mean distance between two rows."""
    lengths, total = np.square(rows).sum(axis=1), 0.0
    for start in range(0, len(rows), _POINTS):
        part = slice(start, start + _POINTS)
        square = lengths[:, None] + lengths[part] - 2 * products(rows, rows[part])
        total += float(np.sqrt(np.maximum(square, 0)).sum(dtype=float))
    return total / max(1, len(rows) * (len(rows) - 1))


def upper_whisker(distances: Wide) -> float:
    """Upper whisker of a box plot: the largest that is no further from the box than 1.5 times its length."""
    low, high = np.quantile(distances, [0.25, 0.75])
    return float(distances[distances <= high + 1.5 * (high - low)].max())


def far_apart(rows: Floats) -> Iterator[int]:
    """Positions of rows each of which is the farthest from those before (Gonzalez 1985), from the middle outwards."""
    lengths = np.square(rows).sum(axis=1)
    at, least = int(lengths.argmin()), np.full(len(rows), np.inf, np.float32)
    for _ in range(len(rows)):
        yield at
        least = np.minimum(least, lengths + lengths[at] - 2 * np.einsum("ij,j->i", rows, rows[at]))
        at = int(least.argmax())


def centres(rows: Floats, points: Floats, steps: int) -> tuple[Floats, NDArray[np.intp]]:
    """Some steps of k-means from given points; those with most rows come first, with their numbers of rows."""
    for _ in range(steps):
        which = nearest(rows, points)[1]
        count = np.maximum(np.bincount(which, minlength=len(points)), 1)
        sums = [np.bincount(which, column, minlength=len(points)) for column in rows.T]
        points = (np.column_stack(sums) / count[:, None]).astype(np.float32)
    used = np.bincount(nearest(rows, points)[1], minlength=len(points))
    order = np.argsort(-used, kind="stable")
    return points[order], used[order]
