"""Format results as text for people and as JSON for programs.

The command line prints tables, facts and JSON with these functions. `unknown_name_message` is the one wording for a
name that does not exist (a source, a collection, an asset), with the most similar existing name.
"""

from __future__ import annotations

import difflib
import json
import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

TableRow = Mapping[str, Any]


def format_table(rows: Sequence[TableRow]) -> str:
    """Return rows as an aligned text table.

    Parameters
    ----------
    rows
        Mappings of column name to value, all with the same keys in the same order.

    Returns
    -------
    str
        A line of names and a line a row; floats with four significant digits, ``-`` for None and NaN. Empty without
        rows.
    """
    if not rows:
        return ""
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (zip(line, widths, strict=True) for line in lines)
    return "\n".join("  ".join(cell.ljust(width) for cell, width in line).rstrip() for line in padded)


def format_facts(named: TableRow) -> str:
    """Return a mapping as text, a line an element.

    Parameters
    ----------
    named
        Name to value; values may be lists and mappings, of plain values or again of such.

    Returns
    -------
    str
        Lines of the form ``name: value``; a list or mapping of plain values stands in one line with commas, a list of
        equal rows is a table, anything deeper is indented below its name.
    """
    return "\n".join(_fact(str(name), value) for name, value in named.items())


def _fact(name: str, value: Any) -> str:
    if isinstance(value, Mapping | list | tuple) and not value:
        return f"{name}: none"
    if isinstance(value, Mapping):
        if not any(isinstance(one, Mapping | list | tuple) for one in value.values()):
            return f"{name}: {', '.join(f'{key} {_cell(one)}' for key, one in value.items())}"
        return f"{name}:\n{textwrap.indent(format_facts(value), '  ')}"
    if isinstance(value, list | tuple):
        if not any(isinstance(one, Mapping | list | tuple) for one in value):
            return f"{name}: {', '.join(map(_cell, value))}"
        rows = [one for one in value if isinstance(one, Mapping)]
        if len(rows) == len(value) and len({tuple(row) for row in rows}) == 1:
            return f"{name}:\n{textwrap.indent(format_table(rows), '  ')}"
        return f"{name}:\n" + textwrap.indent("\n".join(_fact("-", one) for one in value), "  ")
    return f"{name}: {value}"


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Return a value as JSON that every reader accepts: NaN and infinities become null.

    Parameters
    ----------
    value
        Mappings, lists, tuples, text, numbers, booleans and None.
    indent
        Spaces a level; None writes it on one line.

    Returns
    -------
    str
        Without a newline at the end.
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def cube_rows(cube: xr.Dataset) -> list[dict[str, Any]]:
    """Describe each variable of a feature cube, for `format_table`.

    Parameters
    ----------
    cube
        A cube whose values are in memory, dims (time, y, x), as ``stac-sm cube`` reads it.

    Returns
    -------
    list of dict
        A row a variable: name, units, range, share of missing values, number of items and their collection, and the
        number of items left out where there are any in the cube. Days without an item have no value in it, not even
        in a mask; of a variable without any, ``missing`` is ``no input``.
    """
    rows = [_variable_row(str(name), values) for name, values in cube.data_vars.items()]
    bad = {str(name): list(values.attrs.get("left_out", ())) for name, values in cube.data_vars.items()}
    return [{**row, "left out": len(bad[row["feature"]])} for row in rows] if any(bad.values()) else rows


def score_rows(scores: Sequence[TableRow]) -> list[dict[str, Any]]:
    """Arrange the scores of a model report for `format_table`.

    Parameters
    ----------
    scores
        Scores of one strategy and method each, with ``pooled`` figures over all rows and ``median`` over stations.

    Returns
    -------
    list of dict
        A row a strategy and method: the pooled figures, then the medians over stations; m3 m-3 but for n and R.
    """
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
    absent = values.attrs.get("days_without_input", ())
    numbers = values.astype(float)
    if absent:
        days = numbers["time"].dt.strftime("%Y-%m-%d")
        numbers = numbers.sel(time=~days.isin(list(absent)))
    of_days = f" (no input on {len(absent)} of {values.sizes['time']} days)" if absent else ""
    figures: dict[str, Any] = {"min": None, "mean": None, "max": None, "missing": "no input"}
    if numbers.size:
        figures = {key: float(getattr(numbers, key)()) for key in ("min", "mean", "max")}
        figures["missing"] = f"{float(numbers.isnull().mean()):.1%}{of_days}"
    return {
        "feature": name,
        "units": values.attrs.get("units", ""),
        **figures,
        "items": len(values.attrs.get("items", [])),
        "collection": values.attrs.get("collection", "derived"),
    }


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_cell(one)}" for key, one in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value)) or "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def unknown_name_message(what: str, found: object, known: Collection[str]) -> str:
    """Return the message about a name that does not exist.

    ``source 'era5' is unknown: known are glass-lst, era5-land; did you mean 'era5-land'?``

    Parameters
    ----------
    what
        What the name stands for, e.g. ``"source"``.
    found
        The name that the user wrote.
    known
        The existing names, in the order in which they are printed.

    Returns
    -------
    str
        The message, with the most similar existing name if one is similar enough.
    """
    near = difflib.get_close_matches(str(found).lower(), known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{what} {found!r} is unknown: known are {', '.join(known) or 'none'}{hint}"
