"""Evaluate CQL2 filters over rows of items: basic CQL2, more comparisons, spatial and temporal functions.

`search` calls it with the filter of a query. A property that an item does not have is null, and comparisons with null
are neither true nor false (three-valued logic).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from stac_sm.serve.errors import BadRequestError
from stac_sm.serve.item_columns import ItemColumns
from stac_sm.serve.query import parse_bbox_geometry, parse_geometry, parse_instants

MAX_NODES = 1000
"""Operators and operands of a filter."""
MAX_FILTER_NESTING = 32

_MEMBERS = ({"op", "args"}, {"property"}, {"timestamp"}, {"date"}, {"interval"}, {"bbox"})
"""Members of an object in a filter, by its kind; geometries are checked elsewhere."""

_COMPARISONS = {
    "=": "equal", "<>": "not_equal", "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal",
}  # fmt: skip
_MIRRORED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_SPATIAL = {
    "s_intersects": "intersects", "s_disjoint": "disjoint", "s_within": "within", "s_contains": "contains",
    "s_equals": "equals", "s_touches": "touches", "s_overlaps": "overlaps", "s_crosses": "crosses",
}  # fmt: skip
_TEMPORAL: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "t_after": lambda a, b, c, d: a > d,
    "t_before": lambda a, b, c, d: b < c,
    "t_contains": lambda a, b, c, d: (a < c) & (b > d),
    "t_disjoint": lambda a, b, c, d: (b < c) | (a > d),
    "t_during": lambda a, b, c, d: (a > c) & (b < d),
    "t_equals": lambda a, b, c, d: (a == c) & (b == d),
    "t_finishedby": lambda a, b, c, d: (a < c) & (b == d),
    "t_finishes": lambda a, b, c, d: (a > c) & (b == d),
    "t_intersects": lambda a, b, c, d: (a <= d) & (b >= c),
    "t_meets": lambda a, b, c, d: b == c,
    "t_metby": lambda a, b, c, d: a == d,
    "t_overlappedby": lambda a, b, c, d: (a > c) & (a < d) & (b > d),
    "t_overlaps": lambda a, b, c, d: (a < c) & (b > c) & (b < d),
    "t_startedby": lambda a, b, c, d: (a == c) & (b > d),
    "t_starts": lambda a, b, c, d: (a == c) & (b < d),
}


def matches(rows: ItemColumns, filter: Any) -> np.ndarray[Any, Any]:
    """Return of which rows a filter in CQL2 JSON is true.

    Parameters
    ----------
    rows
        Items of the catalogue.
    filter
        CQL2 JSON.

    Returns
    -------
    numpy.ndarray
        Booleans, one a row.

    Raises
    ------
    BadRequestError
        If the filter makes no sense, is too large, or has an operator that is not supported.
    """
    import pyarrow as pa

    _bound(filter)
    try:
        found = _Evaluation(rows).truth(filter)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise BadRequestError(f"filter: types do not fit: {str(error)[:200]}") from None
    return np.asarray(found.fill_null(False).to_numpy(zero_copy_only=False), dtype=bool)


def filter_properties(filter: Any) -> list[str]:
    """Return the names of the properties that a filter in CQL2 JSON asks for.

    Raises
    ------
    BadRequestError
        If the filter is too large, or an object in it has a member that would be ignored.
    """
    _bound(filter)
    found, left = [], [filter]
    while left:
        node = left.pop()
        if isinstance(node, Mapping):
            allowed = next((kind for kind in _MEMBERS if kind & set(node)), set(node))
            if not allowed >= set(node) and "coordinates" not in node:
                raise BadRequestError(
                    f"filter: {json.dumps(node)[:80]}: only {', '.join(sorted(allowed))} can be there"
                )
            if _is_property(node):
                found.append(_name(node))
        left += _operands(node)
    return found


def _bound(filter: Any) -> None:
    level, count = [filter], 0
    for _ in range(MAX_FILTER_NESTING * 2):
        count += len(level)
        parts = [_operands(node) for node in level]
        level = [inner for part in parts for inner in part]
        if not level:
            break
    if level or count > MAX_NODES:
        raise BadRequestError(f"filter: more than {MAX_NODES} operands, or nested more than {MAX_FILTER_NESTING} times")


def _operands(node: Any) -> Sequence[Any]:
    if isinstance(node, Mapping) and "coordinates" not in node and "geometries" not in node:
        return list(node.values())
    return node if isinstance(node, list) and not all(isinstance(one, str | int | float) for one in node) else []


class _Evaluation:
    def __init__(self, rows: ItemColumns) -> None:
        self._rows = rows

    def truth(self, node: Any) -> Any:
        """Return the boolean array of an expression, null where it is neither true nor false."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if isinstance(node, bool):
            return pa.array(np.full(len(self._rows), node))
        if not isinstance(node, Mapping) or not isinstance(node.get("op"), str):
            if isinstance(node, Mapping) and "property" in node:
                return self._flag(node)
            raise BadRequestError(f"filter: {json.dumps(node)[:80]} found, an object with op and args required")
        op, args = node["op"].lower(), node.get("args")
        if not isinstance(args, list):
            raise BadRequestError(f"filter: {op} wants a list of args")
        if op in {"and", "or"}:
            if not args:
                raise BadRequestError(f"filter: {op} wants operands")
            combine = pc.and_kleene if op == "and" else pc.or_kleene
            found = self.truth(args[0])
            for one in args[1:]:
                found = combine(found, self.truth(one))
            return found
        if op == "not":
            return pc.invert(self.truth(_exactly(op, args, 1)[0]))
        return self._predicate(op, args)

    def _predicate(self, op: str, args: Sequence[Any]) -> Any:
        import pyarrow.compute as pc

        if op in _COMPARISONS:
            return self._compared(op, *_exactly(op, args, 2))
        if op == "isnull":
            values = self._values(_exactly(op, args, 1)[0])
            return self._nothing(True) if values is None else _unary(values, pc.is_null)
        if op == "between":
            flat = [args[0], *args[1]] if len(args) == 2 and isinstance(args[1], list) else args  # as older drafts
            value, low, high = _exactly(op, flat, 3)
            return pc.and_kleene(self._compared(">=", value, low), self._compared("<=", value, high))
        if op == "in":
            return self._in(*_exactly(op, args, 2))
        if op == "like":
            return self._like(*_exactly(op, args, 2))
        if op in _SPATIAL:
            return self._spatial(op, *_exactly(op, args, 2))
        if op in _TEMPORAL:
            return self._temporal(op, *_exactly(op, args, 2))
        raise BadRequestError(f"filter: operator {op!r:.40} is not supported")

    def _flag(self, node: Mapping[str, Any]) -> Any:
        return self._compared("=", node, True)

    def _compared(self, op: str, left: Any, right: Any) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        if not _is_column(left) and _is_column(right):
            return self._compared(_MIRRORED[op], right, left)
        values = self._values(left)
        compare = getattr(pc, _COMPARISONS[op])
        if _is_column(right):
            other = self._values(right)
            if values is None or other is None:
                return self._nothing(None)
            try:
                return compare(_decoded(values), _decoded(other))
            except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
                raise BadRequestError("filter: properties of different types cannot be compared") from None
        literal = _folded(left, right)
        if literal is None:
            raise BadRequestError(f"filter: {op} with null is never true: isNull asks for what is not there")
        if values is None:
            return self._nothing(None)
        return _unary(values, lambda array: _with_literal(compare, array, literal, left))

    def _in(self, value: Any, choices: Any) -> Any:
        import pyarrow.compute as pc

        if not isinstance(choices, list) or not choices:
            raise BadRequestError("filter: in wants a value and a list of values")
        found = self._compared("=", value, choices[0])
        for one in choices[1:]:
            found = pc.or_kleene(found, self._compared("=", value, one))
        return found

    def _like(self, value: Any, pattern: Any) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        text = _folded(value, pattern)
        if not isinstance(text, str):
            raise BadRequestError("filter: like wants a property and a text with % and _")
        values = self._values(value)
        if values is None:
            return self._nothing(None)
        if not pa.types.is_string(getattr(values, "dictionary", values).type):
            raise BadRequestError(f"filter: like wants text, {_name(value)} is none")
        return _unary(values, lambda array: pc.match_like(array, text))

    def _spatial(self, op: str, left: Any, right: Any) -> Any:
        import pyarrow as pa
        import shapely

        if _is_property(right) and not _is_property(left):
            swapped = {"s_within": "s_contains", "s_contains": "s_within"}
            return self._spatial(swapped.get(op, op), right, left)
        if not _is_property(left) or left["property"] not in {"geometry", "properties.geometry"}:
            raise BadRequestError(f"filter: {op} wants the property geometry")
        geometry = _geometry(right)
        shapely.prepare(geometry)
        test = getattr(shapely, _SPATIAL[op])
        used = np.unique(self._rows.footprint[self._rows.footprint >= 0])
        truth = np.zeros(len(self._rows.footprints) + 1, dtype=bool)
        for part in np.array_split(used, max(1, len(used) // 4096)):
            truth[part] = test(self._rows.geometries(part), geometry)
        return pa.array(truth[self._rows.footprint], mask=self._rows.footprint < 0)

    def _temporal(self, op: str, left: Any, right: Any) -> Any:
        import pyarrow as pa

        (a, b, none), (c, d, other) = self._instants(left), self._instants(right)
        truth = np.broadcast_to(_TEMPORAL[op](a, b, c, d), len(self._rows))
        return pa.array(truth, mask=np.broadcast_to(none | other, len(self._rows)))

    def _instants(self, node: Any) -> tuple[Any, Any, Any]:
        """Return first and last microsecond, and where there is none."""
        if isinstance(node, Mapping) and isinstance(node.get("interval"), list) and len(node["interval"]) == 2:
            (first, _, none), (_, last, other) = (self._end(one, at) for at, one in enumerate(node["interval"]))
            return first, last, none | other
        return self._end(node, 0)

    def _end(self, node: Any, at: int) -> tuple[Any, Any, Any]:
        if node == "..":
            ever = np.int64(-(2**62) if at == 0 else 2**62)
            return ever, ever, np.False_
        if not _is_property(node):
            text = (
                next((node[name] for name in ("timestamp", "date") if name in node), None)
                if isinstance(node, Mapping)
                else node
            )
            first, last = parse_instants(text, f"filter: {json.dumps(node)[:60]}")
            return np.int64(first), np.int64(last), np.False_
        import pyarrow as pa

        values = self._values(node)
        if values is None:
            return np.int64(0), np.int64(0), np.True_
        if not pa.types.is_timestamp(values.type):
            raise BadRequestError(f"filter: {_name(node)} is no time")
        micros = values.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).fill_null(0).to_numpy()
        return micros, micros, values.is_null().to_numpy(zero_copy_only=False)

    def _values(self, node: Any) -> Any:
        """Return the array of a property or of a function of it; None if no item has it."""
        import pyarrow.compute as pc

        if _is_property(node):
            name = _name(node)
            if name == "geometry":
                raise BadRequestError("filter: geometry goes with spatial functions, as s_intersects")
            return self._rows.column(name) if name != "path" else None
        if isinstance(node, Mapping) and str(node.get("op")).lower() == "casei":
            values = self._values(_exactly("casei", node.get("args"), 1)[0])
            return None if values is None else _unary(values, pc.utf8_lower)
        raise BadRequestError(f"filter: {json.dumps(node)[:80]} found, a property required")

    def _nothing(self, value: bool | None) -> Any:
        import pyarrow as pa

        return pa.array([value], pa.bool_()).take(pa.array(np.zeros(len(self._rows), dtype=np.int64)))


def _unary(values: Any, function: Callable[[Any], Any]) -> Any:
    """Return a function of each value; of text it is computed once for each that is different."""
    import pyarrow.compute as pc

    if not hasattr(values, "dictionary"):
        return function(values)
    if function is pc.is_null:
        return values.indices.is_null()
    return function(values.dictionary).take(values.indices)


def _decoded(values: Any) -> Any:
    return values.dictionary_decode() if hasattr(values, "dictionary") else values


def _with_literal(compare: Callable[[Any, Any], Any], array: Any, literal: Any, node: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_timestamp(array.type):
        return _with_time(compare, array, literal, node)
    kind = bool if pa.types.is_boolean(array.type) else str if pa.types.is_string(array.type) else int | float
    if isinstance(literal, str) and kind is not str:  # as pystac-client's query=["value>1"] and addresses write it
        literal = _number_or_flag(literal)
    if not isinstance(literal, kind) or (isinstance(literal, bool) and kind is not bool):
        raise BadRequestError(f"filter: {_name(node)} is {array.type}: it cannot be compared with {literal!r:.40}")
    if kind is str or kind is bool:
        return compare(array, pa.scalar(literal, array.type))
    return compare(array.cast(pa.float64()), pa.scalar(float(literal)))


def _number_or_flag(text: str) -> Any:
    """Return the number or boolean that a text writes; text that is neither stays what it is."""
    try:
        found = float(text) if text not in {"true", "false"} else text == "true"
    except ValueError:
        return text
    return found if np.isfinite(found) else text


def _with_time(compare: Callable[[Any, Any], Any], array: Any, literal: Any, node: Any) -> Any:
    """Compare with a day as a whole: its end with what must not be later, its beginning with all else."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = (
        next((literal[name] for name in ("timestamp", "date") if name in literal), None)
        if isinstance(literal, Mapping)
        else literal
    )
    first, last = parse_instants(text, f"filter: {_name(node)} {json.dumps(literal)[:60]}")
    micros = array.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    if first != last and compare in {pc.equal, pc.not_equal}:
        inside = pc.and_kleene(pc.greater_equal(micros, pa.scalar(first)), pc.less_equal(micros, pa.scalar(last)))
        return inside if compare is pc.equal else pc.invert(inside)
    late = compare in {pc.less_equal, pc.greater}
    return compare(micros, pa.scalar(last if late else first))


def _folded(left: Any, literal: Any) -> Any:
    """Return a literal; under casei() on both sides, in small letters as the property is."""
    if isinstance(literal, Mapping) and str(literal.get("op")).lower() == "casei":
        (inner,) = _exactly("casei", literal.get("args"), 1)
        if not isinstance(inner, str):
            raise BadRequestError("filter: casei wants a property or a text")
        return inner.lower()
    if isinstance(literal, Mapping) and not {"timestamp", "date"} & set(literal):
        raise BadRequestError(f"filter: {json.dumps(literal)[:80]} found, a value required")
    return literal


def _geometry(node: Any) -> Any:
    if isinstance(node, Mapping) and "bbox" in node:
        return parse_bbox_geometry(node["bbox"], "filter: bbox")
    return parse_geometry(node, "filter")


def _is_property(node: Any) -> bool:
    return isinstance(node, Mapping) and isinstance(node.get("property"), str)


def _is_column(node: Any) -> bool:
    if isinstance(node, Mapping) and str(node.get("op")).lower() == "casei":
        args = node.get("args")
        return isinstance(args, list) and len(args) == 1 and _is_property(args[0])
    return _is_property(node)


def _name(node: Any) -> str:
    if not _is_property(node):
        return _name(node["args"][0])
    return str(node["property"]).removeprefix("properties.")


def _exactly(op: str, args: Any, number: int) -> Sequence[Any]:
    if not isinstance(args, list) or len(args) != number:
        raise BadRequestError(f"filter: {op} wants {number} operands")
    return args
