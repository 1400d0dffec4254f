"""Numbers for the rows of an index shard, equal where rows are equal, without a Python object for each.

Planning uses them to group the items of a month that have the same grid, assets and properties.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def leaves(struct: Any) -> dict[str, Any]:
    """Return the fields of an Arrow struct array by name.

    Parameters
    ----------
    struct
        ``pyarrow.StructArray`` or ``ChunkedArray`` of n rows.

    Returns
    -------
    dict of str to pyarrow.Array
        Of n rows each; null where the struct is null.
    """
    return dict(zip((field.name for field in struct.type), struct.flatten(), strict=True))


def row_codes(columns: Sequence[Any], rows: int) -> np.ndarray:
    """Number rows: two have the same number where all their columns are equal.

    Parameters
    ----------
    columns
        Arrow arrays of as many values each as there are rows; null equals null.
    rows
        Number of rows.

    Returns
    -------
    numpy.ndarray
        int64 of shape (rows,), 0 or more.

    Raises
    ------
    ValueError
        If a text looks like JSON: the index writes so what has several types.
    """
    return _together([_codes(column) for column in columns], rows)


def _codes(column: Any) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.types as pt

    if pt.is_struct(column.type):
        there = np.asarray(column.is_valid()).astype(np.int64)
        return _together([there, *map(_codes, column.flatten())], len(column))
    if pt.is_list(column.type) or pt.is_large_list(column.type):
        return _list_codes(column)
    encoded = column.dictionary_encode(null_encoding="encode")
    if pa.types.is_string(column.type) and any(text and text[0] in '"[{' for text in encoded.dictionary.to_pylist()):
        raise ValueError("text in JSON")
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False)).astype(np.int64)


def _list_codes(column: Any) -> np.ndarray:
    import pyarrow.compute as pc

    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), -1)).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(np.maximum(lengths, 0))[:-1]]) if len(lengths) else lengths
    inner = _codes(column.flatten())
    parts = []
    for place in range(int(lengths.max(initial=0))):
        at = np.minimum(first + place, max(0, len(inner) - 1))
        parts.append(np.where(lengths > place, inner[at] if len(inner) else 0, -1))
    return _together([lengths, *parts], len(lengths))


def _together(codes: Sequence[np.ndarray], rows: int) -> np.ndarray:
    """Return numbers of the rows of several columns of numbers."""
    made = np.zeros(rows, np.int64)
    for one in codes:
        if rows and one.min() != one.max():
            made = np.unique(made * (int(one.max() - one.min()) + 1) + one - one.min(), return_inverse=True)[1]
    return made
