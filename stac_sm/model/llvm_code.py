"""Pieces of LLVM code for vectors, from which steps are built that Numba alone does not make vectors of.

A vector may be of any length: LLVM cuts it into what the machine has (AVX-512, AVX2, SSE, NEON).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

I8, I32, I64, F32 = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()


def address(context: Any, builder: Any, signature: Any, args: Sequence[Any], i: int) -> Any:
    """Return the address of the data of argument number i, an array."""
    array = context.make_array(signature.args[i])(context, builder, args[i])
    return builder.ptrtoint(array.data, I64)


def load(builder: Any, place: Any, kind: Any) -> Any:
    """Return code that reads what lies at an address."""
    return builder.load(builder.inttoptr(place, kind.as_pointer()), align=1)


def store(builder: Any, value: Any, place: Any) -> None:
    """Put a value at an address."""
    builder.store(value, builder.inttoptr(place, value.type.as_pointer()), align=1)


def splat(builder: Any, value: Any, width: int) -> Any:
    """Return a vector of so many times the same value."""
    vector = ir.VectorType(value.type, width)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, I32(0))
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(I32, width), None))
