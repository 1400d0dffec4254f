"""Find which of many rows have one of some points within a distance: exact, and fast where neighbours are alike.

`applicability` calls it for every pixel. The point that held the row before holds most rows, one of those that held the
last rows holds many others; only the rest is compared with the groups of points whose box is near enough. Coordinates
are whole numbers whose squares float32 adds up without rounding, so neither the order of rows nor that of sums matters.
Squares of distances to many points or boxes are computed at once, as vectors in functions that Numba compiles when
this module is first imported: import it inside a function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from stac_sm.core.arrays import Float32Array
from stac_sm.core.compiled import compiled
from stac_sm.model.llvm_code import F32, I32, I64, address, load, splat, store

GROUP = 32
"""Points or boxes whose distances are worked out at once."""

_FAST = ("reassoc", "contract", "nnan", "ninf", "nsz")
_BYTES = 4  # of a coordinate
_VECTOR = ir.VectorType(F32, GROUP)
_ZERO = ir.Constant(_VECTOR, None)


@intrinsic
def least_square(typing: Any, place: Any, points: Any, squares: Any) -> Any:
    """Return the square of the distance to the nearest of `GROUP` points, dims (coordinate, point), and those to all of
    them."""

    def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
        place_at, points_at, squares_at = (address(context, builder, signature, args, i) for i in range(3))

        def apart(at: Any, here: Any) -> Any:
            return builder.fsub(here, load(builder, builder.add(points_at, at), _VECTOR), _FAST)

        size = _length(context, builder, signature, args, 0)
        found = _summed(builder, size, place_at, builder.mul(I64(_BYTES), I64(GROUP)), apart)
        store(builder, found, squares_at)
        return _reduced(builder, found)

    return types.float32(place, points, squares), generate


@intrinsic
def squares_to_boxes(typing: Any, place: Any, low: Any, high: Any, bound: Any) -> Any:
    """Return the square of the distance to each box, dims (coordinate, box), a multiple of `GROUP` of them; and the
    least."""

    def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
        place_at, low_at, high_at, bound_at = (address(context, builder, signature, args, i) for i in range(4))
        size, boxes = (_length(context, builder, signature, args, i) for i in (0, 3))
        least = cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [F32(3e38)] * GROUP))
        with cgutils.for_range(builder, builder.udiv(boxes, I64(GROUP))) as loop:
            first = builder.mul(loop.index, I64(_BYTES * GROUP))

            def apart(at: Any, here: Any) -> Any:
                below, above = (
                    load(builder, builder.add(builder.add(end, first), at), _VECTOR) for end in (low_at, high_at)
                )
                under, over = builder.fsub(below, here, _FAST), builder.fsub(here, above, _FAST)
                return _larger(builder, _larger(builder, under, over), _ZERO)

            found = _summed(builder, size, place_at, builder.mul(boxes, I64(_BYTES)), apart)
            store(builder, found, builder.add(bound_at, first))
            old = builder.load(least)
            builder.store(builder.select(builder.fcmp_ordered("<", found, old), found, old), least)
        return _reduced(builder, builder.load(least))

    return types.float32(place, low, high, bound), generate


def _summed(builder: Any, size: Any, place_at: Any, stride: Any, apart: Callable[[Any, Any], Any]) -> Any:
    """Return the sum of the squares, over coordinates, of how far a row is apart."""
    total = cgutils.alloca_once_value(builder, _ZERO)
    with cgutils.for_range(builder, size) as loop:
        here = load(builder, builder.add(place_at, builder.mul(loop.index, I64(_BYTES))), F32)
        one = apart(builder.mul(loop.index, stride), splat(builder, here, GROUP))
        builder.store(builder.fadd(builder.load(total), builder.fmul(one, one, _FAST), _FAST), total)
    return builder.load(total)


def _length(context: Any, builder: Any, signature: Any, args: Sequence[Any], i: int) -> Any:
    array = context.make_array(signature.args[i])(context, builder, args[i])
    return cgutils.unpack_tuple(builder, array.shape)[0]


def _larger(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", one, other, _FAST), one, other)


def _reduced(builder: Any, values: Any) -> Any:
    """Return the least of the values of a vector: halves are compared until one is left."""
    width = GROUP
    while width > 1:
        width //= 2
        halves = [
            builder.shuffle_vector(values, values, ir.Constant(ir.VectorType(I32, width), list(range(at, at + width))))
            for at in (0, width)
        ]
        values = builder.select(builder.fcmp_ordered("<", *halves, _FAST), *halves)
    return builder.extract_element(values, I32(0))


LARGEST = 2000
"""Largest norm of a row or point: squares of distances are then below 2^24."""

ROWS_AT_ONCE = 64
"""Rows that are placed, and compared with one point, at once."""

_SLAB = 16_384  # rows that are judged at once: their features stay in a cache
_FAR = np.float32(2 * LARGEST)
_NOWHERE = 1e6
_ROUNDED = {"reassoc", "contract", "nsz"}  # whole numbers: sums do not depend on their order

F = TypeVar("F", bound=Callable[..., Any])


class FeatureScaling(NamedTuple):
    """How a row of features becomes a place, in steps."""

    centre: Float32Array
    steps: Float32Array
    missing: Float32Array
    """Distance of a missing value from all others."""

    axis: NDArray[np.int64]
    """Coordinate on which a feature says that it is missing; -1 for features that no point has missing."""


class Groups(NamedTuple):
    """Points that lie together, and the box around each group."""

    points: Float32Array
    """Dims (group, coordinate, point); the last of a short group is there more than once."""

    low: Float32Array
    """Dims (coordinate, group), filled up to whole vectors."""

    high: Float32Array
    """Dims (coordinate, group), likewise."""


def grouped(points: Float32Array) -> Groups:
    """Return points in groups of neighbours: halved across their longest side until few are left."""
    parts, done = [np.arange(len(points))], []
    while parts:
        part = parts.pop()
        if len(part) <= GROUP:
            done.append(points[np.resize(part, GROUP)].T)  # a short group is filled up with points of its own
            continue
        values = points[part]
        order = part[np.argsort(values[:, np.ptp(values, axis=0).argmax()], kind="stable")]
        half = -(-len(order) // (2 * GROUP)) * GROUP
        parts += [order[:half], order[half:]]
    groups = np.ascontiguousarray(np.stack(done), dtype=np.float32)
    return Groups(groups, _by_coordinate(groups.min(axis=2)), _by_coordinate(groups.max(axis=2)))


def _by_coordinate(ends: Float32Array) -> Float32Array:
    """Return the ends of boxes, dims (coordinate, group); as many boxes beyond all rows as make whole vectors."""
    return np.ascontiguousarray(np.pad(ends.T, ((0, 0), (0, -len(ends) % GROUP)), constant_values=_NOWHERE))


def _compiled(fast: bool | set[str], *, inner: bool = True) -> Callable[[F], F]:
    """Return a decorator that compiles a function; an inner one is compiled and kept with the one that calls it."""
    how: dict[str, Any] = {"fastmath": fast, "error_model": "numpy"}
    if not inner:
        return compiled(**how)
    return cast(Callable[[F], F], njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **how))


def outside(columns: Sequence[Float32Array], frame: FeatureScaling, groups: Groups, radius: float) -> NDArray[np.bool_]:
    """Return whether no point lies within a distance of a row.

    Parameters
    ----------
    columns
        A feature each, dims (row,); NaN = missing.
    frame, groups
        Where rows and points lie.
    radius
        Square of the distance, a whole number.
    """
    found = np.empty(len(columns[0]), np.bool_)
    for start in range(0, len(found), _SLAB):
        rows = np.stack([column[start : start + _SLAB] for column in columns])
        found[start : start + _SLAB] = _outside(rows, frame, groups, radius)
    return found


@_compiled(_ROUNDED, inner=False)
def _outside(values: Float32Array, frame: FeatureScaling, groups: Groups, radius: float) -> NDArray[np.bool_]:
    """Return the same as `outside`, of features side by side, dims (feature, row)."""
    axes, rows = groups.points.shape[1], values.shape[1]
    found = np.zeros(rows, np.bool_)
    places, place = np.zeros((axes, ROWS_AT_ONCE), np.float32), np.empty(axes, np.float32)
    limits, apart = np.empty(ROWS_AT_ONCE, np.float32), np.empty(ROWS_AT_ONCE, np.float32)
    bound, squares = np.empty(groups.low.shape[1], np.float32), np.empty(GROUP, np.float32)
    recent, oldest = groups.points[0].copy(), 0
    holder: Any = np.int64(0)  # for a literal 0, Numba compiles what it is given to once more
    for start in range(0, rows, ROWS_AT_ONCE):
        n = min(ROWS_AT_ONCE, rows - start)
        _place(values[:, start : start + n], frame, np.float32(radius), places, limits, apart)
        _squares_to_point(places, recent, holder, apart)
        moved = False
        for i in range(n):
            if apart[i] <= limits[i]:
                continue
            for d in range(axes):  # a copy of slices compiles for longer than all else: its error message does
                place[d] = places[d, i]
            if moved and _square(place, recent, holder) <= limits[i]:
                continue
            least = least_square(place, recent, squares)
            if least <= limits[i]:
                holder, moved = _first_of(squares, least), True
                continue
            group, least = _holder(place, limits[i], groups, bound, squares)
            found[start + i] = group < 0
            if group >= 0:
                nearest = _first_of(squares, least)
                for d in range(axes):
                    recent[d, oldest] = groups.points[group, d, nearest]
                holder, oldest, moved = oldest, (oldest + 1) % GROUP, True
    return found


@_compiled(_ROUNDED)
def _place(
    values: Float32Array,
    frame: FeatureScaling,
    radius: np.float32,
    places: Float32Array,
    limits: Float32Array,
    square: Float32Array,
) -> None:
    """Return where some rows lie, dims (coordinate, row), and the square of the distance that is within: negative where
    no point can be. NaN and infinities are what they are, here."""
    count, n, gaps = len(frame.centre), values.shape[1], 0
    limits[:], square[:] = radius, 0
    places[count:] = 0
    for f in range(count):
        for i in range(n):
            step = np.rint((values[f, i] - frame.centre[f]) * frame.steps[f])
            absent = np.isnan(step)
            gaps += absent
            step = np.float32(0) if absent else min(max(step, -_FAR), _FAR)
            places[f, i] = step
            square[i] += step * step
    if gaps:
        _mark(values, frame, places, limits, square)
    for i in range(n):
        limits[i] = limits[i] if square[i] <= np.float32(LARGEST * LARGEST) else np.float32(-1)


@_compiled(_ROUNDED)
def _mark(
    values: Float32Array, frame: FeatureScaling, places: Float32Array, limits: Float32Array, square: Float32Array
) -> None:
    """Mark the place of rows with gaps: each gap has a coordinate of its own, or is as far from all points."""
    for f in range(len(frame.centre)):
        mark, axis = frame.missing[f], frame.axis[f]
        for i in range(values.shape[1]):
            if not np.isnan(values[f, i]):
                continue
            square[i] += mark * mark
            if axis >= 0:
                places[axis, i] = mark
            else:
                limits[i] -= mark * mark


@_compiled(_ROUNDED)
def _squares_to_point(places: Float32Array, points: Float32Array, point: int, squares: Float32Array) -> None:
    """Return the squares of the distances from places to one point of a group."""
    squares[:] = 0
    for d in range(len(places)):
        for i in range(ROWS_AT_ONCE):
            squares[i] += (places[d, i] - points[d, point]) ** 2


@_compiled(_ROUNDED)
def _holder(
    place: Float32Array, limit: np.float32, groups: Groups, bound: Float32Array, squares: Float32Array
) -> tuple[int, np.float32]:
    """Find a group with a point within the limit of a row, and the least square of a distance to its points: that of
    the nearest box first; -1 if there is none. ``squares`` are then those of its points."""
    nearest = squares_to_boxes(place, groups.low, groups.high, bound)
    if nearest > limit:
        return -1, nearest
    near = _first_of(bound, nearest)
    least = least_square(place, groups.points[near], squares)
    if least <= limit:
        return near, least
    for k in range(len(groups.points)):
        if bound[k] <= limit and k != near:
            least = least_square(place, groups.points[k], squares)
            if least <= limit:
                return k, least
    return -1, least


@_compiled(_ROUNDED)
def _first_of(values: Float32Array, wanted: np.float32) -> int:
    """Return the place of the first of some values that is this one."""
    place = 0
    while values[place] != wanted:
        place += 1
    return place


@_compiled(True)
def _square(place: Float32Array, points: Float32Array, point: int) -> np.float32:
    """Return the square of the distance to one point of a group."""
    square = np.float32(0)
    for d in range(len(place)):
        square += (place[d] - points[d, point]) ** 2
    return square
