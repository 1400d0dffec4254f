"""Which of many rows have one of some points within a distance: exact, and quick where neighbours are alike.

Neighbouring rows are taken in runs. Where they are alike, what the distance from their middle to the points says of
each (triangle inequality) settles them; where they are not, the points near the row before, or near the middle, hold
most rows, and only the others are compared with the groups whose box is near enough.
Coordinates are whole numbers whose squares float32 adds up without rounding, so neither runs nor the order of sums
matter. Compiled by numba when first imported, and cached: whoever needs it imports it inside a function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LARGEST = 2000
"""Largest norm of a row or point: squares of distances are then below 2^24."""

_RUN = 16  # neighbouring rows; of 4 to 48, as quick as any on fields with and without noise from pixel to pixel
_GROUP = 32  # points whose distances are worked out at once
_FAR = np.float32(2 * LARGEST)
_SLACK = np.float32(0.01)  # more than the rounding of two square roots
_ROUNDED = {"reassoc", "contract", "nsz"}  # whole numbers: sums do not depend on their order

F = TypeVar("F", bound=Callable[..., Any])


class Frame(NamedTuple):
    """How a row of features becomes a place, in steps."""

    centre: Floats
    steps: Floats
    missing: Floats
    """Distance of a missing value from all others."""

    axis: NDArray[np.int64]
    """Coordinate on which a feature says that it is missing; -1 for features that no point has missing."""


class Groups(NamedTuple):
    """Points that lie together, and the box around each group."""

    points: Floats
    """Dims (group, coordinate, point)."""

    low: Floats
    """Dims (coordinate, group)."""

    high: Floats
    """Dims (coordinate, group)."""


class _Run(NamedTuple):
    """Rows side by side."""

    places: Floats
    """Dims (row, coordinate)."""

    limit: Floats
    """Square of the distance that is within; negative where no point can be."""

    apart: Floats
    """Distance from the anchor."""

    outside: NDArray[np.bool_]


class _Found(NamedTuple):
    """What is known of the anchor of a run, a place amid its rows, or of a row."""

    anchor: Floats
    bound: Floats
    """Square of the distance to each box."""

    squares: Floats
    """Square of the distance to each point of a group."""


def grouped(points: Floats) -> Groups:
    """Points in groups of neighbours: halved across their longest side until few are left."""
    parts, done = [np.arange(len(points))], []
    while parts:
        part = parts.pop()
        if len(part) <= _GROUP:
            done.append(points[np.resize(part, _GROUP)].T)  # a short group is filled up with points of its own
            continue
        values = points[part]
        order = part[np.argsort(values[:, np.ptp(values, axis=0).argmax()], kind="stable")]
        half = -(-len(order) // (2 * _GROUP)) * _GROUP
        parts += [order[:half], order[half:]]
    groups = np.ascontiguousarray(np.stack(done), dtype=np.float32)
    return Groups(groups, np.ascontiguousarray(groups.min(axis=2).T), np.ascontiguousarray(groups.max(axis=2).T))


def _compiled(fast: bool | set[str]) -> Callable[[F], F]:
    return cast(Callable[[F], F], njit(cache=True, nogil=True, fastmath=fast, error_model="numpy"))


@_compiled(_ROUNDED)
def outside(values: Floats, frame: Frame, groups: Groups, radius: float) -> NDArray[np.bool_]:
    """Whether no point lies within a distance of a row.

    Parameters
    ----------
    values
        Features, dims (row, feature); NaN = missing.
    frame, groups
        Where rows and points lie.
    radius
        Square of the distance, a whole number.
    """
    found = np.ones(len(values), np.bool_)
    size = groups.points.shape[1]
    places, limit, apart = np.empty((_RUN, size), np.float32), np.empty(_RUN, np.float32), np.empty(_RUN, np.float32)
    count = groups.points.shape[0]
    known = _Found(
        np.empty(size, np.float32), np.empty(count, np.float32), np.empty(groups.points.shape[2], np.float32)
    )
    last = 0
    for start in range(0, len(values), _RUN):
        stop = min(start + _RUN, len(values))
        run = _Run(places[: stop - start], limit, apart, found[start:stop])
        _place(values[start:stop], frame, np.float32(radius), run)
        last = _decide(run, groups, known, last)
    return found


@_compiled(_ROUNDED)
def _place(values: Floats, frame: Frame, radius: np.float32, run: _Run) -> None:
    """Where the rows of a run lie, and how near a point must be; NaN and infinities are what they are, here."""
    count = len(frame.centre)
    for i in range(len(values)):
        square, gaps = np.float32(0), 0
        for f in range(count):
            step = np.rint((values[i, f] - frame.centre[f]) * frame.steps[f])
            gaps += np.isnan(step)
            step = min(max(step, -_FAR), _FAR)
            run.places[i, f] = step
            square += step * step
        run.places[i, count:] = 0
        limit = radius
        if gaps:
            limit, square = _mark(values[i], frame, radius, run.places[i])
        run.limit[i] = limit if square <= LARGEST * LARGEST else np.float32(-1)


@_compiled(_ROUNDED)
def _mark(values: Floats, frame: Frame, radius: np.float32, place: Floats) -> tuple[np.float32, np.float32]:
    """Place a row with gaps: each has a coordinate of its own, or is as far from all points."""
    limit, square = radius, np.float32(0)
    for f in range(len(frame.centre)):
        if np.isnan(values[f]):
            place[f], mark, axis = 0, frame.missing[f], frame.axis[f]
            if axis >= 0:
                place[axis] = mark
            else:
                limit -= mark * mark
            square += mark * mark
        else:
            square += place[f] * place[f]
    return limit, square


@_compiled(_ROUNDED)
def _decide(run: _Run, groups: Groups, known: _Found, last: int) -> int:
    """Which rows of a run are outside; returns the group that held the last row, which is asked first for the next."""
    if not _anchor(run, known.anchor):
        return last
    sure, reach = _apart(run, known.anchor)
    if np.sqrt(_least(known.anchor, groups.points[last], known.squares)) <= sure:
        return _all_inside(run, last)
    _to_boxes(known.anchor, groups.low, groups.high, known.bound)
    near = int(np.argmin(known.bound))
    if known.bound[near] > reach * reach:
        return last
    if np.sqrt(_least(known.anchor, groups.points[near], known.squares)) <= sure:
        return _all_inside(run, near)
    return _one_by_one(run, groups, known, last, near)


@_compiled(_ROUNDED)
def _all_inside(run: _Run, group: int) -> int:
    for i in range(len(run.places)):
        run.outside[i] = run.limit[i] < 0
    return group


@_compiled(_ROUNDED)
def _anchor(run: _Run, anchor: Floats) -> int:
    """Mean of the rows of a run that may be inside, in whole steps; returns their number."""
    anchor[:] = 0
    count = 0
    for i in range(len(run.places)):
        if run.limit[i] >= 0:
            count += 1
            for d in range(len(anchor)):
                anchor[d] += run.places[i, d]
    for d in range(len(anchor)):
        anchor[d] = np.rint(anchor[d] / max(count, 1))
    return count


@_compiled(_ROUNDED)
def _apart(run: _Run, anchor: Floats) -> tuple[np.float32, np.float32]:
    """Distance of a point from the anchor at which all rows are inside, and at which none is."""
    sure, reach = np.float32(np.inf), np.float32(0)
    for i in range(len(run.places)):
        if run.limit[i] >= 0:
            square = np.float32(0)
            for d in range(len(anchor)):
                square += (run.places[i, d] - anchor[d]) ** 2
            run.apart[i] = np.sqrt(square)
            within = np.sqrt(run.limit[i])
            sure, reach = min(sure, within - run.apart[i]), max(reach, within + run.apart[i])
    return sure - _SLACK, reach + _SLACK


@_compiled(_ROUNDED)
def _one_by_one(run: _Run, groups: Groups, known: _Found, last: int, near: int) -> int:
    """Rows that the anchor says nothing of: beside what held the row before, what is near the anchor, and all."""
    for i in range(len(run.places)):
        place, limit = run.places[i], run.limit[i]
        if limit < 0:
            continue
        if _least(place, groups.points[last], known.squares) <= limit:
            run.outside[i] = False
        elif near != last and _least(place, groups.points[near], known.squares) <= limit:
            run.outside[i], last = False, near
        else:
            at = _holder(place, limit, groups, known)
            run.outside[i], last = at < 0, (at if at >= 0 else last)
    return last


@_compiled(_ROUNDED)
def _holder(place: Floats, limit: float, groups: Groups, known: _Found) -> int:
    """A group with a point within the limit of a row, that of the nearest box asked first; -1 if there is none."""
    _to_boxes(place, groups.low, groups.high, known.bound)
    near = int(np.argmin(known.bound))
    if known.bound[near] > limit:
        return -1
    if _least(place, groups.points[near], known.squares) <= limit:
        return near
    for k in range(len(known.bound)):
        if known.bound[k] <= limit and k != near and _least(place, groups.points[k], known.squares) <= limit:
            return k
    return -1


@_compiled(True)
def _least(place: Floats, points: Floats, squares: Floats) -> np.float32:
    """Square of the distance to the nearest point of a group."""
    squares[:] = 0
    for d in range(len(place)):
        for j in range(len(squares)):
            squares[j] += (place[d] - points[d, j]) ** 2
    least = np.float32(squares[0])
    for j in range(1, len(squares)):
        least = min(least, squares[j])
    return least


@_compiled(True)
def _to_boxes(place: Floats, low: Floats, high: Floats, bound: Floats) -> None:
    """Square of the distance to each box."""
    bound[:] = 0
    for d in range(len(place)):
        for k in range(len(bound)):
            bound[k] += max(max(low[d, k] - place[d], place[d] - high[d, k]), np.float32(0)) ** 2
