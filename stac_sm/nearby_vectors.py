"""Squares of distances from a row to many points or boxes at once, as vectors in functions that Numba compiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from stac_sm.vector_code import F32, I32, I64, address, load, splat, store

GROUP = 32
"""Points or boxes whose distances are worked out at once."""

_FAST = ("reassoc", "contract", "nnan", "ninf", "nsz")
_BYTES = 4  # of a coordinate
_VECTOR = ir.VectorType(F32, GROUP)
_ZERO = ir.Constant(_VECTOR, None)


@intrinsic
def least_square(typing: Any, place: Any, points: Any, squares: Any) -> Any:
    """Square of the distance to the nearest of `GROUP` points, dims (coordinate, point), and those to all of them."""

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
    """Square of the distance to each box, dims (coordinate, box), a multiple of `GROUP` of them; and the least."""

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
    """Sum of the squares, over coordinates, of how far a row is apart."""
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
    """Least of the values of a vector: halves are compared until one is left."""
    width = GROUP
    while width > 1:
        width //= 2
        halves = [
            builder.shuffle_vector(values, values, ir.Constant(ir.VectorType(I32, width), list(range(at, at + width))))
            for at in (0, width)
        ]
        values = builder.select(builder.fcmp_ordered("<", *halves, _FAST), *halves)
    return builder.extract_element(values, I32(0))
