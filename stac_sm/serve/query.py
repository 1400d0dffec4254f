"""Parse and check what a client asks of item search; a mistake is named, and never more than a bad request.

The query string and the body of a POST become one `ItemQuery`, which `search` answers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from stac_sm.core.period import parse_instant
from stac_sm.core.text import unknown_name_message
from stac_sm.serve.cql2_text import parse_text
from stac_sm.serve.errors import BadRequestError

DEFAULT_LIMIT = 10
MAX_LIMIT = 1000
"""Most items on a page; a larger limit counts as this one."""
DEFAULT_FIELDS = (
    "type", "stac_version", "id", "geometry", "bbox", "links", "assets", "collection", "properties.datetime",
    "properties.start_datetime", "properties.end_datetime",
)  # fmt: skip
"""Fields of an item that are returned where the list of fields to include is empty."""
BODY_MEMBERS = (
    "collections", "ids", "bbox", "intersects", "datetime", "limit", "token", "sortby", "fields", "filter",
    "filter-lang", "filter-crs", "query",
)  # fmt: skip
"""Members that the body of a search may have."""
MAX_VERTICES = 10_000
"""Most vertices of a geometry to search in."""
MAX_IDS = 10_000
MAX_TEXT = 100_000
"""Most characters of a filter or geometry in a query."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})")
_GEOMETRIES = {
    "Point": 1, "MultiPoint": 2, "LineString": 2, "MultiLineString": 3, "Polygon": 3, "MultiPolygon": 4,
}  # fmt: skip
_QUERY_COMPARISONS = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_QUERY_PATTERNS = {"startsWith": "{}%", "endsWith": "%{}", "contains": "%{}%"}
QUERY_OPERATORS = (*_QUERY_COMPARISONS, *_QUERY_PATTERNS, "in")
"""Operators of the Query extension of STAC API."""

_CRS84 = (
    "http://www.opengis.net/def/crs/OGC/1.3/CRS84", "https://www.opengis.net/def/crs/OGC/1.3/CRS84",
    "urn:ogc:def:crs:OGC:1.3:CRS84", "OGC:CRS84",
)  # fmt: skip
_KINDS = {
    str: "a text", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object",
    type(None): "null",
}  # fmt: skip

ALL_TIME = (-(2**62), 2**62)


@dataclass(frozen=True)
class ItemQuery:
    """One search; what is None or empty does not restrict it."""

    ids: tuple[str, ...] | None = None
    """Ids of items; None for any."""

    collections: tuple[str, ...] | None = None
    """Ids of collections; None for any."""

    period: tuple[int, int] | None = None
    """First and last instant, microseconds since 1970; both count; None for any time."""

    geometry: Any = None
    """Geometry of shapely that footprints must intersect, in degrees; None for anywhere."""

    filter: Any = None
    """CQL2 as JSON; None for no filter."""

    sortby: tuple[tuple[str, bool], ...] = ()
    """Names of properties, and whether their order is descending."""

    include: tuple[str, ...] = ()
    """Fields of the items to return; none of them: all."""

    exclude: tuple[str, ...] = ()
    """Fields to leave out."""

    limit: int = DEFAULT_LIMIT
    """Items on a page, at most."""

    token: str = ""
    """Token of the link ``next``: begin after the item that it names; empty for the first page."""


def query_from_parameters(query: Mapping[str, str]) -> ItemQuery:
    """Return the search that a query string asks for.

    Parameters
    ----------
    query
        Parameters of the request, each once.

    Returns
    -------
    ItemQuery
        Checked.

    Raises
    ------
    BadRequestError
        If a parameter makes no sense.
    """
    for name, value in query.items():
        if not value and name != "fields":  # which may be empty by its specification
            raise BadRequestError(f"{name}: it is empty: give it a value, or leave it out")
    body: dict[str, Any] = {}
    for name in ("ids", "collections"):
        if query.get(name):
            body[name] = [part for part in query[name].split(",") if part]
    if query.get("bbox"):
        body["bbox"] = [_number(part, "bbox") for part in query["bbox"].split(",")]
    if query.get("intersects"):
        body["intersects"] = parse_json(query["intersects"], "intersects")
    if query.get("limit"):
        body["limit"] = _number(query["limit"], "limit")
    if query.get("sortby"):
        body["sortby"] = [_sort_of(part) for part in query["sortby"].split(",")]
    if query.get("fields"):
        body["fields"] = _fields_of(query["fields"])
    if query.get("filter"):
        is_json = query.get("filter-lang") == "cql2-json"
        body["filter"] = parse_json(query["filter"], "filter") if is_json else query["filter"]
    if query.get("query"):
        body["query"] = parse_json(query["query"], "query")
    known = {name: query[name] for name in ("datetime", "token", "filter-lang", "filter-crs") if query.get(name)}
    return query_from_body(body | known)


def query_from_body(body: Any) -> ItemQuery:
    """Return the search that the JSON of a POST asks for.

    Parameters
    ----------
    body
        JSON, any.

    Returns
    -------
    ItemQuery
        Checked.

    Raises
    ------
    BadRequestError
        If a field makes no sense.
    """
    if not isinstance(body, Mapping):
        raise BadRequestError(f"a JSON object required, {type(body).__name__} found")
    check_known("member of the search", body, BODY_MEMBERS)
    if body.get("bbox") is not None and body.get("intersects") is not None:
        raise BadRequestError("bbox and intersects cannot both be given: leave one of them out")
    crs = body.get("filter-crs")
    if crs is not None and crs not in _CRS84:
        raise BadRequestError(f"filter-crs: {crs!r:.60} found, {_CRS84[0]} is the only one")
    fields = body.get("fields", {})
    if not isinstance(fields, Mapping):
        raise BadRequestError(
            f'fields: an object is required, as {{"include": ["id"], "exclude": ["geometry"]}}; {_kind(fields)} found'
        )
    check_known("member of fields", fields, ("include", "exclude"))
    include, exclude = _names(fields, "include") or (), _names(fields, "exclude") or ()
    if "include" in fields and exclude and not include:
        include = tuple(name for name in DEFAULT_FIELDS if name not in exclude)
    return ItemQuery(
        ids=_names(body, "ids"),
        collections=_names(body, "collections"),
        period=parse_datetime(body["datetime"]) if body.get("datetime") is not None else None,
        geometry=_where(body),
        filter=_both(_filter(body), _query(body.get("query"))),
        sortby=tuple(map(_sort, _list(body, "sortby"))),
        include=include,
        exclude=exclude,
        limit=_limit(body.get("limit")),
        token=_token(body.get("token")),
    )


def check_known(what: str, found: Iterable[str], known: Collection[str]) -> None:
    """Refuse a name that the server does not know: what it stands for would not be done.

    Parameters
    ----------
    what
        What the names stand for.
    found
        Names that a client sent.
    known
        Names that the server knows here.

    Raises
    ------
    BadRequestError
        If a name is not known: says the name and the most similar one.
    """
    for name in found:
        if name not in known:
            raise BadRequestError(unknown_name_message(what, name[:60], known))


def parse_json(text: str | bytes, what: str) -> Any:
    """Return the value that a JSON text holds.

    Parameters
    ----------
    text
        The JSON.
    what
        What it is, for the message.

    Returns
    -------
    object
        The value.

    Raises
    ------
    BadRequestError
        If it is no JSON, or an object in it has a member twice, of which only one could be regarded.
    """
    try:
        return json.loads(text, object_pairs_hook=_members)
    except (ValueError, RecursionError):
        raise BadRequestError(f"{what}: it is no JSON") from None


def _members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name in found if sum(name == one for one, _ in pairs) > 1)
        raise BadRequestError(f"member {twice!r:.60} is given twice: give it once")
    return found


def parse_datetime(text: Any) -> tuple[int, int]:
    """Return the instants of ``datetime``: one, or an interval of two, one of which may be open.

    Parameters
    ----------
    text
        RFC 3339 instant, or FIRST/LAST with ``..`` for an open end.

    Returns
    -------
    tuple of int
        First and last microsecond since 1970; both count.

    Raises
    ------
    BadRequestError
        If it is neither.
    """
    parts = _text(text, "datetime").split("/")
    if len(parts) > 2 or set(parts) <= {"", ".."}:
        raise BadRequestError(f"datetime {text!r}: an instant or FIRST/LAST required, one of the two may be '..'")
    first, last = _ends(parts[0], text)[0], _ends(parts[-1], text)[1]
    if first > last:
        raise BadRequestError(f"datetime {text!r}: it ends before it begins")
    return first, last


def _ends(part: str, text: Any) -> tuple[int, int]:
    if part in {"", ".."}:
        return ALL_TIME
    return parse_instants(part, f"datetime {text!r}", days=False)


def parse_instants(part: Any, what: str, *, days: bool = True) -> tuple[int, int]:
    """Return first and last microsecond of an instant or, in filters, of a day.

    Parameters
    ----------
    part
        RFC 3339 instant, or a day such as ``2019-06-01``.
    what
        Name of the parameter, for the message.
    days
        Whether a day is allowed.

    Returns
    -------
    tuple of int
        Microseconds since 1970; equal for an instant.

    Raises
    ------
    BadRequestError
        If it is neither.
    """
    text = _text(part, what)
    try:
        if days and _DAY.fullmatch(text):
            first = micros(datetime.fromisoformat(text).replace(tzinfo=UTC))
            return first, first + 86_400_000_000 - 1
        if _INSTANT.fullmatch(text):
            at = micros(parse_instant(text.upper()))
            return at, at
    except (ValueError, OverflowError):
        pass
    raise BadRequestError(f"{what:.120}: RFC 3339 required, as 2019-06-01T12:00:00Z{' or 2019-06-01' if days else ''}")


def micros(instant: datetime) -> int:
    """Return microseconds since 1970.

    Parameters
    ----------
    instant
        With its time zone.

    Returns
    -------
    int
        Negative before 1970.
    """
    return (instant - _EPOCH) // timedelta(microseconds=1)


def parse_geometry(found: Any, what: str) -> Any:
    """Return a geometry of shapely from GeoJSON.

    Parameters
    ----------
    found
        GeoJSON geometry in degrees.
    what
        Name of the parameter, for the message.

    Returns
    -------
    shapely.Geometry
        Valid, or made valid.

    Raises
    ------
    BadRequestError
        If it is no GeoJSON geometry, or has too many vertices.
    """
    import shapely
    from shapely.geometry import GeometryCollection

    if not isinstance(found, Mapping):
        raise BadRequestError(f"{what}: a GeoJSON geometry required")
    if "CRS84" not in json.dumps(found.get("crs", "CRS84")):
        raise BadRequestError(f"{what}: member 'crs' found, but degrees of CRS84 are the only ones: leave it out")
    kind = found.get("type")
    if kind == "GeometryCollection":
        parts = found.get("geometries")
        if not isinstance(parts, list) or not 0 < len(parts) <= 100 or any("geometries" in one for one in parts):
            raise BadRequestError(f"{what}: geometries of a GeometryCollection required, 1 to 100 of them")
        return GeometryCollection([parse_geometry(part, what) for part in parts])
    if kind not in _GEOMETRIES:
        raise BadRequestError(f"{what}: type {kind!r} found, one of {', '.join(_GEOMETRIES)} required")
    count = _vertices(found.get("coordinates"), _GEOMETRIES[kind], what)
    if count > MAX_VERTICES:
        raise BadRequestError(f"{what}: {count} vertices found, at most {MAX_VERTICES} allowed: simplify it")
    try:
        made = shapely.from_geojson(json.dumps({"type": kind, "coordinates": found["coordinates"]}))
    except shapely.errors.ShapelyError as error:
        raise BadRequestError(f"{what}: {error}") from error
    if made is None or made.is_empty:
        raise BadRequestError(f"{what}: it has no coordinates")
    return made if made.is_valid else shapely.make_valid(made)


def _vertices(coordinates: Any, depth: int, what: str) -> int:
    """Return the number of positions; check that each is two or three finite numbers."""
    if not isinstance(coordinates, list):
        raise BadRequestError(f"{what}: coordinates are no list of positions")
    if depth > 1:
        return sum(_vertices(inner, depth - 1, what) for inner in coordinates)
    if not 2 <= len(coordinates) <= 3 or not all(map(_is_finite, coordinates)):
        raise BadRequestError(f"{what}: {coordinates!r:.80} is no position of two or three numbers")
    return 1


def parse_bbox_geometry(found: Any, what: str = "bbox") -> Any:
    """Return a geometry of shapely from a bbox; one whose west is greater than its east lies across the antimeridian.

    Parameters
    ----------
    found
        4 or 6 numbers: west, south, east, north in degrees, the third and sixth being heights.
    what
        Name of the parameter, for the message.

    Returns
    -------
    shapely.Geometry
        One box, or two across the antimeridian.

    Raises
    ------
    BadRequestError
        If the numbers are no box.
    """
    from shapely.geometry import MultiPolygon, box

    if not isinstance(found, list) or len(found) not in {4, 6} or not all(map(_is_finite, found)):
        raise BadRequestError(f"{what} {found!r:.80}: 4 or 6 numbers required, west,south,east,north in degrees")
    half = len(found) // 2
    west, south, east, north = found[0], found[1], found[half], found[half + 1]
    if south > north or (half == 3 and found[2] > found[5]):
        raise BadRequestError(f"{what} {found}: its south is north of its north, or its bottom above its top")
    if not (south >= -90 and north <= 90 and -180 <= west <= 180 and -180 <= east <= 180):
        raise BadRequestError(f"{what} {found}: degrees within -180,-90,180,90 required")
    if west > east:
        return MultiPolygon([box(west, south, 180, north), box(-180, south, east, north)])
    if west == east or south == north:
        return _flat(west, south, east, north)
    return box(west, south, east, north)


def _flat(west: float, south: float, east: float, north: float) -> Any:
    from shapely.geometry import LineString, Point

    return Point(west, south) if (west, south) == (east, north) else LineString([(west, south), (east, north)])


def _where(body: Mapping[str, Any]) -> Any:
    if body.get("bbox") is not None:
        return parse_bbox_geometry(body["bbox"])
    return None if body.get("intersects") is None else parse_geometry(body["intersects"], "intersects")


def _filter(body: Mapping[str, Any]) -> Any:
    found = body.get("filter")
    language = body.get("filter-lang")
    if language is None:
        language = "cql2-text" if isinstance(found, str) else "cql2-json"
    if language not in ("cql2-text", "cql2-json"):
        raise BadRequestError(f"filter-lang {language!r:.40}: cql2-text or cql2-json required")
    if found is None:
        return None
    if language == "cql2-json":
        if not isinstance(found, Mapping):
            raise BadRequestError("filter: an object of CQL2 JSON required")
        return found
    return parse_text(_text(found, "filter"))


def _both(one: Any, other: Any) -> Any:
    return {"op": "and", "args": [one, other]} if None not in (one, other) else other if one is None else one


def _query(found: Any) -> Any:
    """Return the CQL2 JSON of a search by the Query extension: operators and values by property."""
    if not found and (found is None or isinstance(found, Mapping)):
        return None
    if not isinstance(found, Mapping):
        raise BadRequestError('query: an object of properties is required, as {"version": {"eq": "1"}}')
    tests = []
    for name, operators in found.items():
        if not isinstance(operators, Mapping) or not operators:
            raise BadRequestError(f'query: {name!r:.60}: an object of operators is required, as {{"eq": "1"}}')
        check_known("operator of query", operators, QUERY_OPERATORS)
        tests += [_query_test(name, operator, value) for operator, value in operators.items()]
    return {"op": "and", "args": tests}


def _query_test(name: str, operator: str, value: Any) -> dict[str, Any]:
    values = value if isinstance(value, list) else [value]
    fits = isinstance(value, list) == (operator == "in")
    if not fits or not values or not all(isinstance(one, str | int | float) for one in values):
        kind = "a list of texts, numbers or booleans" if operator == "in" else "a text, number or boolean"
        raise BadRequestError(f"query: {name!r:.60}: {operator} wants {kind}")
    subject = {"property": name}
    if operator == "in":
        return {"op": "in", "args": [subject, values]}
    if operator in _QUERY_COMPARISONS:
        return {"op": _QUERY_COMPARISONS[operator], "args": [subject, value]}
    if not isinstance(value, str):
        raise BadRequestError(f"query: {name!r:.60}: {operator} wants a text")
    pattern = _QUERY_PATTERNS[operator].format(re.sub(r"([\\%_])", r"\\\1", value))
    return {"op": "like", "args": [subject, pattern]}


def _token(found: Any) -> str:
    if found is None:
        return ""
    if not _text(found, "token"):
        raise BadRequestError("token: it is empty; one of a link `next` is required, or none")
    return str(found)


def _limit(found: Any) -> int:
    if found is None:
        return DEFAULT_LIMIT
    if not _is_finite(found) or int(found) != found or not found >= 1:
        told = f"{found:g}" if _is_finite(found) else f"{found!r:.40}"
        raise BadRequestError(f"limit {told}: a whole number of at least 1 required")
    return int(min(found, MAX_LIMIT))


def _sort_of(part: str) -> dict[str, str]:
    text = part.strip()
    return {"field": text.lstrip("+-").strip(), "direction": "desc" if text.startswith("-") else "asc"}


def _sort(found: Any) -> tuple[str, bool]:
    if not isinstance(found, Mapping) or not isinstance(found.get("field"), str) or not found["field"]:
        raise BadRequestError(
            f'sortby: {_kind(found)} found; required are objects, as {{"field": "datetime", "direction": "desc"}}, or '
            "in the address NAME, -NAME"
        )
    check_known("member of sortby", found, ("field", "direction"))
    direction = found.get("direction", "asc")
    if direction not in {"asc", "desc"}:
        raise BadRequestError(f"sortby: direction {direction!r:.40} found, asc or desc required")
    return found["field"].removeprefix("properties."), direction == "desc"


def _fields_of(text: str) -> dict[str, list[str]]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    chosen = [part.lstrip("+").strip() for part in parts if not part.startswith("-")]
    return {"include": chosen, "exclude": [part[1:].strip() for part in parts if part.startswith("-")]}


def _names(body: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    if body.get(name) is None:
        return None
    found = _list(body, name)
    for one in found:
        if not isinstance(one, str):
            raise BadRequestError(f"{name}: {_kind(one)} found in the list; a list of texts is required")
    return tuple(found)


def _list(body: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = body.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        example = f', as ["{found:.60}"]' if isinstance(found, str) and name != "sortby" else ""
        raise BadRequestError(f"{name}: {_kind(found)} found; a list is required{example}")
    if len(found) > MAX_IDS:
        raise BadRequestError(f"{name}: {len(found)} found; a list of at most {MAX_IDS} is required")
    return found


def _kind(found: Any) -> str:
    """Return which kind of JSON was found, for people."""
    return _KINDS.get(type(found), "something else")


def _text(found: Any, what: str) -> str:
    if not isinstance(found, str) or len(found) > MAX_TEXT:
        raise BadRequestError(f"{what}: text of at most {MAX_TEXT} characters required")
    return found


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadRequestError(f"{what}: {text!r:.40} found, a number required") from None


def _is_finite(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and abs(found) < 1e15 and math.isfinite(found)
