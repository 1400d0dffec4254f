"""Answer requests: pages of items, queryables and aggregations.

`app` calls it with an `ItemQuery`; `search` finds the rows, and `documents` writes the items as the API gives them.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import orjson

from stac_sm.serve import documents
from stac_sm.serve.assets import is_plain_path
from stac_sm.serve.errors import BadRequestError
from stac_sm.serve.item_columns import ItemColumns
from stac_sm.serve.query import (
    ALL_TIME,
    ItemQuery,
    check_known,
    parse_bbox_geometry,
    parse_instants,
    query_from_parameters,
)
from stac_sm.serve.search import check_names, find_page, matching_rows, token_of
from stac_sm.serve.service import CatalogService
from stac_sm.stac.index.manifest import is_item
from stac_sm.stac.items import ItemDict

_AGGREGATIONS = ("total_count", "datetime_min", "datetime_max", "collection_frequency", "grid_code_frequency")
_FREQUENCIES = {"collection_frequency": "collection", "grid_code_frequency": "grid:code"}


def find_item_documents(service: CatalogService, asked: ItemQuery, base: str) -> list[bytes]:
    """Return one page of the items that match a query, ready to be sent.

    Parameters
    ----------
    service
        Service whose items are searched.
    asked
        The query, of whole items.
    base
        Address of the API, without a slash at its end.

    Returns
    -------
    list of bytes
        JSON of items as the API gives them.
    """
    rows = service.snapshot.rows
    page = find_page(rows, asked)
    return service.item_documents(rows.column("path").take(page.rows).to_pylist() if len(page.rows) else [], base)


def find_item_paths(service: CatalogService, asked: ItemQuery) -> list[tuple[str, ItemDict]]:
    """Return one page of the items that match a query, with the hrefs of the store.

    Parameters
    ----------
    service
        Service whose items are searched.
    asked
        The query.

    Returns
    -------
    list of tuple
        Path below the root of the store, and JSON of the item as it is given out, with the hrefs of the store.
    """
    rows = service.snapshot.rows
    return service.items(rows.column("path").take(find_page(rows, asked).rows).to_pylist())


def stored_document(service: CatalogService, path: str, base: str) -> dict[str, Any] | None:
    """Return the STAC document at a path of the store as the API gives it; None if there is none that it gives.

    Links to catalogues inside a collection lead here. A document never leaves as it is stored: it may name what is not
    given out.
    """
    collection, _, name = path.partition("/")
    known = service.snapshot.collections.get(collection) if is_plain_path(path) else None
    if known is None:
        return None
    if name == "collection.json":
        return documents.collection_document(known, base)
    if is_item(path):
        return next((documents.item_document(item, at, base) for at, item in service.items([path])), None)
    found = service.stored_catalog(path) if posixpath.basename(path) == "catalog.json" else None
    return None if found is None else documents.catalog_document(found, path, base)


def items_page(
    service: CatalogService,
    asked: ItemQuery,
    base: str,
    place: str,
    query: Mapping[str, str],
    body: Mapping[str, Any] | None,
    collection: str | None = None,
) -> dict[str, Any]:
    """Return a page of items; its link ``next`` repeats the query, or the body if there was one.

    Parameters
    ----------
    service
        Service whose items are searched.
    asked
        The query.
    base
        Address of the API, without a slash at its end.
    place
        Address of the route, for the links.
    query
        Parameters of the request.
    body
        JSON of the request; None for a GET.
    collection
        Id of the only collection that is searched; None for all.

    Returns
    -------
    dict
        GeoJSON FeatureCollection with ``numberMatched``, where it is known, and links; for orjson, since whole items
        are JSON already.
    """
    rows = service.snapshot.rows
    check_names(rows, asked, collection)
    page = find_page(rows, asked)
    items: list[Any]
    if asked.include or asked.exclude:
        items = _items(service, rows, page.rows, asked, base)
    else:  # as they are: JSON that is ready
        paths = rows.column("path").take(page.rows).to_pylist() if len(page.rows) else []
        items = [orjson.Fragment(text) for text in service.item_documents(paths, base)]
    links = [
        documents.make_link("root", f"{base}/"),
        documents.make_link("self", _address(place, query), documents.GEOJSON_MEDIA_TYPE),
    ]
    if page.more:
        token = token_of(rows, int(page.rows[-1]))
        links.append(_next(place, {**query, "token": token}, None if body is None else {**body, "token": token}))
    found = {"type": "FeatureCollection", "features": items, "links": links, "numberReturned": len(items)}
    return found if page.matched is None else found | {"numberMatched": page.matched}


def collections_page(collections: Sequence[Mapping[str, Any]], query: Mapping[str, str], base: str) -> dict[str, Any]:
    """Return the collections that a search of collections finds, in the order of their ids.

    A collection is found where its extent, as it states it, meets the box and the time, and one of the texts of ``q``
    is in its id, title, description or keywords, whatever the case of its letters.

    Parameters
    ----------
    collections
        JSON of those that are given out, in the order of their ids.
    query
        Parameters of the request: ``bbox``, ``datetime``, ``q``, ``limit``, ``token``.
    base
        Address of the API, without a slash at its end.

    Returns
    -------
    dict
        JSON with ``numberMatched``, ``numberReturned`` and links; without ``limit`` there is one page.

    Raises
    ------
    BadRequestError
        If a parameter makes no sense.
    """
    asked = query_from_parameters({name: value for name, value in query.items() if name != "q"})
    texts = [text.strip().lower() for text in query.get("q", "").split(",") if text.strip()]
    if "q" in query and not texts:
        raise BadRequestError("q: it is empty: give it a text, or leave it out")
    found = [one for one in collections if _extent_meets(one, asked) and _has_text(one, texts)]
    rest = [one for one in found if not asked.token or str(one["id"]) > asked.token]
    page = rest[: asked.limit] if "limit" in query else rest
    place = f"{base}/collections"
    links = [documents.make_link("self", _address(place, query)), documents.make_link("root", f"{base}/")]
    if len(page) < len(rest):
        links.append(
            documents.make_link("next", _address(place, {**query, "token": str(page[-1]["id"])}), method="GET")
        )
    shown = [documents.collection_document(one, base) for one in page]
    return {"collections": shown, "links": links, "numberMatched": len(found), "numberReturned": len(page)}


def _extent_meets(collection: Mapping[str, Any], asked: ItemQuery) -> bool:
    extent = collection["extent"]
    if asked.geometry is not None:
        boxes = [[float(number) for number in box] for box in extent["spatial"]["bbox"][:1]]  # the first is that of all
        if not any(asked.geometry.intersects(parse_bbox_geometry(box, "extent")) for box in boxes):
            return False
    if asked.period is None:
        return True
    first, last = extent["temporal"]["interval"][0]
    begins = ALL_TIME[0] if first is None else parse_instants(first, "extent")[0]
    ends = ALL_TIME[1] if last is None else parse_instants(last, "extent")[1]
    return begins <= asked.period[1] and ends >= asked.period[0]


def _has_text(collection: Mapping[str, Any], texts: Sequence[str]) -> bool:
    parts = [collection["id"], collection.get("title"), collection.get("description"), *collection.get("keywords", [])]
    whole = "\n".join(str(part) for part in parts if part).lower()
    return not texts or any(text in whole for text in texts)


def queryables(rows: ItemColumns, collection: str | None, place: str) -> dict[str, Any]:
    """Return the JSON Schema of the properties that a filter can name.

    Parameters
    ----------
    rows
        Items of the catalogue.
    collection
        Id of a collection; None for all.
    place
        Address of this document.

    Returns
    -------
    dict
        JSON Schema.
    """
    kinds = rows.properties
    properties: dict[str, Any] = {"geometry": {"$ref": "https://geojson.org/schema/Geometry.json"}}
    properties |= {name: _schema_of(name, kinds.get(name)) for name in rows.queryable_names(collection)}
    empty = not (len(rows) if collection is None else rows.rows_with("collection", (collection,)).any())
    return {
        "$schema": "https://json-schema.org/draft/2019-09/schema",
        "$id": place,
        "type": "object",
        "title": f"Queryables of {collection or 'all collections'}",
        "properties": properties,
        "additionalProperties": empty,  # nothing is found by any name, so none is refused
    }


def aggregations(base: str, below: str) -> dict[str, Any]:
    """Return names and types of the aggregations.

    Parameters
    ----------
    base
        Address of the API, without a slash at its end.
    below
        Path of the collection, or empty.

    Returns
    -------
    dict
        JSON of the STAC Aggregation extension.
    """
    kinds = {"total_count": "integer", "datetime_min": "datetime", "datetime_max": "datetime"}
    found = [
        {"name": name, "data_type": kinds.get(name, "frequency_distribution")}
        | ({"frequency_distribution_data_type": "string"} if name in _FREQUENCIES else {})
        for name in _AGGREGATIONS
    ]
    links = [documents.make_link("root", f"{base}/"), documents.make_link("self", f"{base}{below}/aggregations")]
    return {"aggregations": found, "links": links}


def count_aggregations(
    rows: ItemColumns, query: Mapping[str, str], collection: str | None, base: str
) -> dict[str, Any]:
    """Return aggregations over the items that match a query.

    Parameters
    ----------
    rows
        Items of the catalogue.
    query
        Parameters of the request: those of a search, and ``aggregations``.
    collection
        Id of a collection; None for all.
    base
        Address of the API, without a slash at its end.

    Returns
    -------
    dict
        JSON of the STAC Aggregation extension.

    Raises
    ------
    BadRequestError
        If the search makes no sense, or another aggregation is asked for.
    """
    names = query.get("aggregations", _AGGREGATIONS[0]).split(",")
    check_known("aggregation", names, _AGGREGATIONS)
    asked = query_from_parameters(query)
    if collection is not None:
        asked = replace(asked, collections=(collection,))
    check_names(rows, asked, collection)
    chosen = matching_rows(rows, asked)
    place = f"{base}/aggregate" if collection is None else f"{base}/collections/{quote(collection)}/aggregate"
    links = [documents.make_link("root", f"{base}/"), documents.make_link("self", _address(place, query))]
    return {"aggregations": [_aggregation(rows, chosen, name) for name in names], "links": links}


def _aggregation(rows: ItemColumns, chosen: np.ndarray[Any, Any], name: str) -> dict[str, Any]:
    if name == "total_count":
        return {"name": name, "data_type": "integer", "value": len(chosen)}
    if name in _FREQUENCIES:
        counts = _counts(rows, chosen, _FREQUENCIES[name])
        buckets = [{"key": key, "data_type": "string", "frequency": count} for key, count in counts]
        over = sum(count for _, count in counts)
        return {
            "name": name,
            "data_type": "frequency_distribution",
            "buckets": buckets,
            "overflow": len(chosen) - over,
        }
    instants = rows.start[chosen] if name == "datetime_min" else rows.end[chosen]
    extreme = None if not len(chosen) else instants.min() if name == "datetime_min" else instants.max()
    text = None if extreme is None else f"{np.datetime64(int(extreme), 'us')}".rstrip("0").rstrip(".") + "Z"
    return {"name": name, "data_type": "datetime", "value": text}


def _counts(rows: ItemColumns, chosen: np.ndarray[Any, Any], name: str) -> list[tuple[str, int]]:
    values = rows.column(name)
    if values is None:
        return []
    found = values.take(chosen)
    codes = found.indices.drop_null().to_numpy(zero_copy_only=False)
    counts = np.bincount(codes, minlength=len(found.dictionary))
    names = found.dictionary.to_pylist()
    return sorted((names[code], int(counts[code])) for code in np.flatnonzero(counts))


def _items(
    service: CatalogService, rows: ItemColumns, found: np.ndarray[Any, Any], asked: ItemQuery, base: str
) -> list[ItemDict]:
    if not len(found):
        return []
    paths = rows.column("path").take(found).to_pylist()
    items = (documents.item_document(item, path, base) for path, item in service.items(paths))
    return [documents.chosen_fields(item, asked.include, asked.exclude) for item in items]


def _address(place: str, query: Mapping[str, str]) -> str:
    return f"{place}?{urlencode(query)}" if query else place


def _next(place: str, query: Mapping[str, str], body: Mapping[str, Any] | None) -> dict[str, Any]:
    if body is None:
        return documents.make_link("next", _address(place, query), documents.GEOJSON_MEDIA_TYPE, method="GET")
    return documents.make_link("next", place, documents.GEOJSON_MEDIA_TYPE, method="POST", body=body)


def _schema_of(name: str, kind: Any) -> dict[str, Any]:
    import pyarrow.types as pt

    if name in {"datetime", "start_datetime", "end_datetime", "created", "updated"} or (
        kind is not None and pt.is_timestamp(kind)
    ):
        return {"title": name, "type": "string", "format": "date-time"}
    if kind is None or pt.is_dictionary(kind) or pt.is_string(kind):
        return {"title": name, "type": "string"}
    return {"title": name, "type": "boolean" if pt.is_boolean(kind) else "integer" if pt.is_integer(kind) else "number"}
