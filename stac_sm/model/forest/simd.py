"""Steps of the kernel as vectors, which Numba alone does not find: LLVM makes of them what the machine has.

Comparisons and choices are vectors of any machine (AVX-512, AVX2, SSE, NEON). Only a look-up in a small table is an
instruction of its own, used where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from stac_sm.model.llvm_code import F32, I8, I32, I64, address, load, splat, store

_REGISTERS = 8  # vectors that are numbered at once: half of what a machine has


def _features() -> frozenset[str]:
    """Return the features of the machine that Numba compiles for."""
    if numba.config.CPU_FEATURES is not None:
        return frozenset(name[1:] for name in numba.config.CPU_FEATURES.split(",") if name.startswith("+"))
    if numba.config.CPU_NAME is not None:
        return frozenset()  # a machine that is not this one
    return frozenset(name for name, there in binding.get_host_cpu_features().items() if there)


_FOUND = _features()
VECTOR_BYTES = 64 if {"avx512bw", "avx512vl"} <= _FOUND else 32 if "avx2" in _FOUND else 16
"""Bytes in a vector."""

STRIDE = VECTOR_BYTES * _REGISTERS
"""Rows that `number_leaves` numbers: 512, 256 or 128."""

TABLE = 16 if VECTOR_BYTES == 64 else 8 if VECTOR_BYTES == 32 else 0
"""Values in a table that one instruction looks up, for as many rows; 0 where there is no such instruction."""

_LOOK_UP = {16: "llvm.x86.avx512.permvar.sf.512", 8: "llvm.x86.avx2.permps"}


@intrinsic
def number_leaves(typing: Any, planes: Any, split: Any, splits: Any, number: Any, start: Any) -> Any:
    """Number the leaves of the rows from ``start`` on: those at the number ``here`` and above a threshold go on."""

    def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
        planes_at, split_at, number_at = (address(context, builder, signature, args, i) for i in (0, 1, 3))
        vector = ir.VectorType(I8, VECTOR_BYTES)
        numbers = [cgutils.alloca_once(builder, vector) for _ in range(_REGISTERS)]
        for one in numbers:
            builder.store(ir.Constant(vector, None), one)
        with cgutils.for_range(builder, args[2]) as loop:
            row = builder.add(split_at, builder.mul(loop.index, I64(16)))
            fields = [load(builder, builder.add(row, I64(4 * i)), I32) for i in range(4)]
            threshold, here, there = (splat(builder, builder.trunc(field, I8), VECTOR_BYTES) for field in fields[1:])
            plane = builder.add(planes_at, builder.add(builder.sext(fields[0], I64), args[4]))
            for i, one in enumerate(numbers):
                codes, old = load(builder, builder.add(plane, I64(i * VECTOR_BYTES)), vector), builder.load(one)
                here_now, above = builder.icmp_unsigned("==", old, here), builder.icmp_unsigned(">", codes, threshold)
                builder.store(builder.select(builder.and_(here_now, above), there, old), one)
        to = builder.add(number_at, args[4])
        for i, one in enumerate(numbers):
            store(builder, builder.load(one), builder.add(to, I64(i * VECTOR_BYTES)))
        return context.get_dummy_value()

    return types.void(planes, split, splits, number, start), generate


@intrinsic
def store_bits(typing: Any, value: Any, at: Any, word: Any) -> Any:
    """Write the low 32 bits of a word as a float, as an array's `view` does, which compiles far longer."""

    def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
        place = builder.add(address(context, builder, signature, args, 0), builder.mul(args[1], I64(4)))
        store(builder, builder.trunc(args[2], I32), place)
        return context.get_dummy_value()

    return types.void(value, at, word), generate


def _adder(tables: int) -> Any:
    """Add the values of some rows' leaves to their sums, from a table of one, two, four or eight registers."""

    @intrinsic
    def add_values(typing: Any, number: Any, value: Any, total: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
            if not TABLE:  # never called
                return context.get_dummy_value()
            number_at, value_at, total_at = (address(context, builder, signature, args, i) for i in range(3))
            floats, wide = ir.VectorType(F32, TABLE), ir.VectorType(I32, TABLE)
            numbers = load(builder, builder.add(number_at, args[3]), ir.VectorType(I8, TABLE))
            numbers = builder.zext(numbers, wide)
            parts = [load(builder, builder.add(value_at, I64(4 * TABLE * i)), floats) for i in range(tables)]
            found = _looked_up(builder, parts, numbers)
            place = builder.add(total_at, builder.mul(args[3], I64(4)))
            store(builder, builder.fadd(load(builder, place, floats), found), place)
            return context.get_dummy_value()

        return types.void(number, value, total, at), generate

    return add_values


add_of_one, add_of_two, add_of_four, add_of_eight = (_adder(tables) for tables in (1, 2, 4, 8))


def _looked_up(builder: Any, parts: Sequence[Any], numbers: Any) -> Any:
    """Return the value of each number, in the table that its high bits choose; the instruction looks at the low bits
    only."""
    floats, wide = parts[0].type, numbers.type
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(floats, [floats, wide]), _LOOK_UP[TABLE])
    found = [builder.call(function, [part, numbers]) for part in parts]
    size = TABLE
    while len(found) > 1:
        bit = splat(builder, I32(size), TABLE)
        high = builder.icmp_unsigned("!=", builder.and_(numbers, bit), ir.Constant(wide, None))
        found = [builder.select(high, found[i + 1], found[i]) for i in range(0, len(found), 2)]
        size *= 2
    return found[0]
