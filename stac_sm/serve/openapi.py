"""Describe the API in OpenAPI: what routes take, beyond what their signatures say."""

from __future__ import annotations

from typing import Any

from stac_sm.serve.query import DEFAULT_LIMIT, MAX_LIMIT, QUERY_OPERATORS


def _text(name: str, description: str, example: str | None = None) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"} | ({"examples": [example]} if example else {})
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


_CHOICE = [
    _text("bbox", "west,south,east,north in degrees", "6,43,9,46"),
    _text("datetime", "An instant, or FIRST/LAST; '..' is open", "2019-06-01T00:00:00Z/.."),
    _text("filter", "CQL2", "\"grid:code\" = 'MSIN-1804'"),
    {
        "name": "filter-lang",
        "in": "query",
        "required": False,
        "schema": {"type": "string", "enum": ["cql2-text", "cql2-json"], "default": "cql2-text"},
    },
    _text("filter-crs", "http://www.opengis.net/def/crs/OGC/1.3/CRS84"),
    _text("query", f"JSON of the Query extension: {', '.join(QUERY_OPERATORS)}", '{"version": {"eq": "1"}}'),
]
_COUNT = {"type": "integer", "minimum": 1}
_PAGE = [
    {
        "name": "limit",
        "in": "query",
        "required": False,
        "description": f"Items on a page, at most {MAX_LIMIT} are given",
        "schema": {**_COUNT, "default": DEFAULT_LIMIT},
    },
    _text("token", "Where to go on: from a link `next`"),
    _text("sortby", "Properties with commas between, '-' for downwards", "-properties.datetime,id"),
    _text("fields", "Fields with commas between, '-' to leave one out", "id,properties,-geometry"),
]
_WHICH = [
    _text("collections", "Ids with commas between"),
    _text("ids", "Ids with commas between"),
    _text("intersects", "GeoJSON geometry"),
]
GET_COLLECTIONS: dict[str, Any] = {
    "parameters": [
        *_CHOICE[:2],
        _text("q", "Text in id, title, description or keywords; several with commas between, one of which fits"),
        {**_PAGE[0], "description": "Collections on a page; all of them without it", "schema": _COUNT},
        _PAGE[1],
    ],
    "responses": {"400": {"description": "What was asked makes no sense; the description says why"}},
}
"""Parameters of the list of collections."""

_AGGREGATIONS = _text("aggregations", "What to count, with commas between", "grid_code_frequency")
_BAD = {"400": {"description": "What was asked makes no sense; the description says why"}}
_OK = {"200": {"description": "GeoJSON", "content": {"application/geo+json": {"schema": {"type": "object"}}}}}
_MISSING = {"404": {"description": "There is no such collection"}}

GET_ITEMS: dict[str, Any] = {"parameters": [*_CHOICE, *_PAGE], "responses": {**_OK, **_BAD, **_MISSING}}
"""Parameters of the items of a collection."""

GET_SEARCH: dict[str, Any] = {
    "parameters": [*_WHICH, *_CHOICE, *_PAGE],
    "responses": {**_OK, **_BAD, **_MISSING},
}
"""Parameters of a search."""

_COUNTS = {"200": {"description": "Counts", "content": {"application/json": {"schema": {"type": "object"}}}}}

GET_AGGREGATE: dict[str, Any] = {
    "parameters": [_AGGREGATIONS, *_WHICH, *_CHOICE],
    "responses": {**_COUNTS, **_BAD},
}
"""Parameters of counts."""

GET_COLLECTION_AGGREGATE: dict[str, Any] = {
    "parameters": [_AGGREGATIONS, *_WHICH[1:], *_CHOICE],
    "responses": {**_COUNTS, **_BAD, **_MISSING},
}
"""Parameters of counts in a collection."""

_NAMES = {"type": "array", "items": {"type": "string"}}
_BODY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "collections": _NAMES,
        "ids": _NAMES,
        "bbox": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 6},
        "intersects": {"type": "object"},
        "datetime": {"type": "string"},
        "limit": {"type": "integer", "minimum": 1},
        "token": {"type": "string"},
        "sortby": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "direction": {"enum": ["asc", "desc"]}},
                "required": ["field"],
            },
        },
        "fields": {"type": "object", "properties": {"include": _NAMES, "exclude": _NAMES}},
        "filter": {"type": "object"},
        "filter-lang": {"enum": ["cql2-json", "cql2-text"]},
        "filter-crs": {"type": "string"},
        "query": {"type": "object"},
    },
}
POST_SEARCH: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": _BODY}}},
    "responses": {**_OK, **_BAD, "413": {"description": "The body is too large"}},
}
"""Body of a search."""


def openapi_document(app: Any) -> dict[str, Any]:
    """Return the OpenAPI description of an application.

    Parameters
    ----------
    app
        The FastAPI application of `create_app`.

    Returns
    -------
    dict
        JSON of OpenAPI 3.
    """
    from stac_sm.stac.items import software_version

    found: dict[str, Any] = app.openapi()
    return found | {"info": {**found["info"], "version": software_version()}}
