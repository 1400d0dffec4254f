"""Text for people and for programs: tables, facts, JSON.

Names that nothing has: the message about one, with the right name nearest to it.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

TableRow = Mapping[str, Any]


def format_table(rows: Sequence[TableRow]) -> str:
    """Rows of the same columns, aligned under their names; floats with four digits, ``-`` where there is none."""
    if not rows:
        return ""
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (zip(line, widths, strict=True) for line in lines)
    return "\n".join("  ".join(cell.ljust(width) for cell, width in line).rstrip() for line in padded)


def format_facts(named: TableRow) -> str:
    """One line a fact."""
    shown = {
        name: to_json(value, indent=None) if isinstance(value, dict | list) else value for name, value in named.items()
    }
    return "\n".join(f"{name}: {value}" for name, value in shown.items())


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """JSON that every reader takes: what is not finite becomes null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def cube_rows(cube: xr.Dataset) -> list[dict[str, Any]]:
    """What is in a cube that was read: a row a variable with its range, gaps and sources."""
    return [_variable_row(str(name), values) for name, values in cube.data_vars.items()]


def score_rows(scores: Sequence[TableRow]) -> list[dict[str, Any]]:
    """Scores of strategies and methods: pooled, then medians over stations."""
    return [
        {
            "strategy": one["strategy"],
            "method": one["method"],
            "scored on": one["scored_on"],
            "n": one["pooled"]["n"],
            "R": one["pooled"]["r"],
            "RMSE": one["pooled"]["rmse"],
            "ubRMSE": one["pooled"]["ubrmse"],
            "bias": one["pooled"]["bias"],
            "median R": one["median"]["r"],
            "median ubRMSE": one["median"]["ubrmse"],
        }
        for one in scores
    ]


def _variable_row(name: str, values: xr.DataArray) -> dict[str, Any]:
    numbers = values.astype(float)
    return {
        "feature": name,
        "units": values.attrs.get("units", ""),
        "min": float(numbers.min()),
        "mean": float(numbers.mean()),
        "max": float(numbers.max()),
        "missing": f"{float(numbers.isnull().mean()):.1%}",
        "items": len(values.attrs.get("items", [])),
        "collection": values.attrs.get("collection", "derived"),
    }


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def unknown_name_message(what: str, found: object, known: Collection[str]) -> str:
    """``source 'era5' is unknown: known are …; did you mean 'era5-land'?``, in the order in which they are given."""
    near = difflib.get_close_matches(str(found).lower(), known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{what} {found!r} is unknown: known are {', '.join(known) or 'none'}{hint}"
