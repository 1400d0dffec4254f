"""Turn the JSON of the store into documents of the API, with links to itself and hrefs that a client can open.

`app` and `responses` pass every catalogue, collection and item through here before it leaves.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from stac_sm.stac.index.manifest import is_item
from stac_sm.stac.items import ItemDict
from stac_sm.storage.address import is_absolute, resolve_href

GEOJSON_MEDIA_TYPE = "application/geo+json"
JSON_MEDIA_TYPE = "application/json"
SCHEMA_MEDIA_TYPE = "application/schema+json"
OPENAPI_MEDIA_TYPE = "application/vnd.oai.openapi+json;version=3.1"
QUERYABLES_RELATION = "http://www.opengis.net/def/rel/ogc/1.0/queryables"
_STRUCTURAL = {"self", "root", "parent", "collection", "child", "item", "items", "data", "search"}

CONFORMANCE = (
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "https://api.stacspec.org/v1.0.0/ogcapi-features#fields",
    "https://api.stacspec.org/v1.0.0/ogcapi-features#sort",
    "https://api.stacspec.org/v1.0.0-rc.1/collection-search",
    "https://api.stacspec.org/v1.0.0-rc.1/collection-search#free-text",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#fields",
    "https://api.stacspec.org/v1.0.0/item-search#sort",
    "https://api.stacspec.org/v1.0.0/item-search#query",
    "https://api.stacspec.org/v1.0.0/item-search#filter",
    "https://api.stacspec.org/v1.0.0-rc.1/item-search#filter",
    "https://api.stacspec.org/v0.3.0/aggregation",
    "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf/simple-query",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/oas30",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/filter",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/features-filter",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-text",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-cql2",
    "http://www.opengis.net/spec/cql2/1.0/conf/advanced-comparison-operators",
    "http://www.opengis.net/spec/cql2/1.0/conf/case-insensitive-comparison",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-spatial-functions",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-spatial-functions-plus",
    "http://www.opengis.net/spec/cql2/1.0/conf/spatial-functions",
    "http://www.opengis.net/spec/cql2/1.0/conf/temporal-functions",
    # names of drafts of CQL2, by which older clients and stac-api-validator look for the same
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-spatial-operators",
    "http://www.opengis.net/spec/cql2/1.0/conf/temporal-operators",
)
"""What the API promises; `stac-api-validator` holds it to that."""


def make_link(rel: str, href: str, type: str = JSON_MEDIA_TYPE, **more: Any) -> dict[str, Any]:
    """Return a STAC link.

    Parameters
    ----------
    rel
        Relation, e.g. ``self``.
    href
        Address that it leads to.
    type
        Media type of what is there.
    **more
        More fields, e.g. ``title`` and ``method``.

    Returns
    -------
    dict
        JSON of the link.
    """
    return {"rel": rel, "type": type, "href": href} | more


def landing_page(
    root: Mapping[str, Any], collections: Sequence[Mapping[str, Any]], base: str, browser: bool
) -> dict[str, Any]:
    """Return the landing page of the API, from the root of the catalogue.

    Parameters
    ----------
    root
        ``catalog.json`` of the store.
    collections
        Collections that are given out, in order.
    base
        Address of the API, without a slash at its end.
    browser
        Whether STAC Browser is served at ``/browser``.

    Returns
    -------
    dict
        JSON, with conformance classes and links.
    """
    own = [
        make_link("self", f"{base}/"),
        make_link("root", f"{base}/"),
        make_link("conformance", f"{base}/conformance"),
        make_link("data", f"{base}/collections"),
        make_link("search", f"{base}/search", GEOJSON_MEDIA_TYPE, method="GET"),
        make_link("search", f"{base}/search", GEOJSON_MEDIA_TYPE, method="POST"),
        make_link(QUERYABLES_RELATION, f"{base}/queryables", SCHEMA_MEDIA_TYPE),
        make_link("aggregate", f"{base}/aggregate", title="Aggregations of the items of a search"),
        make_link("aggregations", f"{base}/aggregations", title="What items can be counted by"),
        make_link("service-desc", f"{base}/api", OPENAPI_MEDIA_TYPE, title="This API, as OpenAPI"),
        make_link("service-doc", f"{base}/api.html", "text/html", title="This API, to read and try"),
    ]
    if browser:
        own.append(make_link("alternate", f"{base}/browser", "text/html", title="STAC Browser"))
    children = [
        make_link("child", f"{base}/collections/{quote(one['id'])}", title=one.get("title", one["id"]))
        for one in collections
    ]
    head = {name: value for name, value in root.items() if name not in {"links", "conformsTo"}}
    return head | {"conformsTo": list(CONFORMANCE), "links": own + children}


def collection_document(collection: Mapping[str, Any], base: str) -> dict[str, Any]:
    """Return a collection of the store as the API gives it.

    Parameters
    ----------
    collection
        JSON in the store.
    base
        Address of the API, without a slash at its end.

    Returns
    -------
    dict
        JSON, with links of the API.
    """
    place = f"{base}/collections/{quote(collection['id'])}"
    own = [
        make_link("self", place),
        make_link("root", f"{base}/"),
        make_link("parent", f"{base}/"),
        make_link("items", f"{place}/items", GEOJSON_MEDIA_TYPE),
        make_link(QUERYABLES_RELATION, f"{place}/queryables", SCHEMA_MEDIA_TYPE),
        make_link("aggregate", f"{place}/aggregate", title="Aggregations of the items of this collection"),
        make_link("aggregations", f"{place}/aggregations", title="What items can be counted by"),
    ]
    return {**collection, "links": own + _other_links(collection, str(collection["id"]), base)} | _assets(
        collection, str(collection["id"]), base
    )


def catalog_document(catalog: Mapping[str, Any], path: str, base: str) -> dict[str, Any]:
    """Return a sub-catalogue of the store as the API gives it, its links to what is in it leading through the API."""
    folder = posixpath.dirname(path)
    own = [make_link("self", f"{base}/assets/{quote(path)}"), make_link("root", f"{base}/")]
    inner = (link for link in catalog.get("links", []) if link.get("rel") not in {"self", "root"})
    return {**catalog, "links": own + [{**one, "href": api_href(str(one["href"]), folder, base)} for one in inner]}


def item_document(item: ItemDict, path: str, base: str) -> ItemDict:
    """Return an item of the store as the API gives it.

    Parameters
    ----------
    item
        JSON in the store.
    path
        Path of the item below the root of the store.
    base
        Address of the API, without a slash at its end.

    Returns
    -------
    ItemDict
        JSON, with links of the API and hrefs of assets that a client can open.
    """
    above = f"{base}/collections/{quote(item['collection'])}"
    own = [
        make_link("self", f"{above}/items/{quote(item['id'])}", GEOJSON_MEDIA_TYPE),
        make_link("root", f"{base}/"),
        make_link("parent", above),
        make_link("collection", above),
    ]
    folder = posixpath.dirname(path)
    return {**item, "links": own + _other_links(item, folder, base)} | _assets(item, folder, base)


def api_href(href: str, folder: str, base: str) -> str:
    """Return where a client finds what a document in a folder links to.

    Parameters
    ----------
    href
        Relative to the document, or absolute.
    folder
        Folder of the document below the root of the store.
    base
        Address of the API, without a slash at its end.

    Returns
    -------
    str
        Absolute address.
    """
    if is_absolute(href):
        return resolve_href(href, "")
    path = posixpath.normpath(posixpath.join(folder, href))
    parts = path.split("/")
    if is_item(path):
        return f"{base}/collections/{quote(parts[0])}/items/{quote(parts[-2])}"
    if len(parts) == 2 and parts[1] == "collection.json":
        return f"{base}/collections/{quote(parts[0])}"
    return f"{base}/assets/{quote(path)}"


def chosen_fields(item: ItemDict, include: Sequence[str], exclude: Sequence[str]) -> ItemDict:
    """Return an item with the fields that were asked for, and with those that identify it.

    Parameters
    ----------
    item
        JSON of the item.
    include
        Fields to give, with dots between levels; none of them: all.
    exclude
        Fields to leave out.

    Returns
    -------
    ItemDict
        JSON; id, collection and the other fields without which it is no item are always there.
    """
    if not include and not exclude:
        return item
    made = _only(item, [*include, "type", "stac_version", "id", "collection"]) if include else item
    for name in exclude:  # what is named to be given is given, and what it lies in
        included = any(one == name or one.startswith(f"{name}.") for one in include)
        made = made if included else _without(made, name.split("."), item)
    return made


def _only(item: ItemDict, names: Sequence[str]) -> ItemDict:
    made: ItemDict = {}
    for name in names:
        known = name if name.split(".")[0] in item else f"properties.{name}"
        _copy(item, made, known.split("."))
    return made


def _copy(source: Any, target: dict[str, Any], path: Sequence[str]) -> None:
    """Copy one field, and the objects that it lies in; a name with dots in it counts as one."""
    name, rest = path[0], path[1:]
    if not isinstance(source, Mapping):
        return
    if name not in source and rest:
        name, rest = ".".join(path), ()
    if name not in source:
        return
    if not rest:
        target[name] = source[name]
    else:
        inner = target.get(name)
        fresh = dict(inner) if isinstance(inner, Mapping) else {}
        _copy(source[name], fresh, rest)
        target[name] = fresh


def _without(item: ItemDict, path: Sequence[str], whole: ItemDict) -> ItemDict:
    name, rest = path[0], path[1:]
    if not rest:
        properties = item.get("properties")
        if name not in whole and isinstance(properties, Mapping):
            return {**item, "properties": {key: value for key, value in properties.items() if key != name}}
        return {key: value for key, value in item.items() if key != name}
    inner = item.get(name)
    if not isinstance(inner, Mapping):
        return item
    return {**item, name: _without(dict(inner), rest, dict(inner))}


def _other_links(document: Mapping[str, Any], folder: str, base: str) -> list[dict[str, Any]]:
    others = (one for one in document.get("links", []) if one.get("rel") not in _STRUCTURAL)
    return [{**one, "href": api_href(str(one.get("href", "")), folder, base)} for one in others]


def _assets(document: Mapping[str, Any], folder: str, base: str) -> dict[str, Any]:
    if "assets" not in document:
        return {}
    assets = document["assets"].items()
    return {"assets": {key: {**one, "href": api_href(str(one.get("href", "")), folder, base)} for key, one in assets}}
