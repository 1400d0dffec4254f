"""Items as stac-geoparquet: a pure function from the JSON of items to the bytes of a file.

`stac_sm.stac.index.update` reads the items and writes the file. Of item JSON, the footprint, most of the text, is cut
out and made into WKB once for all items that have it. A row is the item as other readers rebuild it: hrefs as in its
JSON, relative to its ``self`` link, which is absolute. The metadata of the file hold the collection, and the root that
the ``self`` links lead to.
"""

from __future__ import annotations

import contextlib
import io
import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from stac_sm.core.errors import CatalogError
from stac_sm.core.period import parse_instant
from stac_sm.stac.items import ItemDict, relative_href

if TYPE_CHECKING:
    import pyarrow as pa

ALL = "all"
"""Name of the only shard of a collection that is not laid out by time."""

_BEGIN, _END = b'\n  "geometry": {\n', b"\n  },\n"  # as `items.item_json` writes it
_CUT = {"cut": True}
_FOOTPRINTS = 4096  # kept in memory


@dataclass(frozen=True)
class IndexedItem:
    """Item on its way into a shard."""

    path: str
    """Of its JSON, below the root of the store."""

    item: ItemDict
    """The item; its ``geometry`` is not to be used."""

    footprint: bytes | None
    """Its geometry as ISO WKB."""


def parse_indexed_item(path: str, content: bytes) -> IndexedItem:
    """Read the item in a JSON file.

    Parameters
    ----------
    path
        Of the file below the root of the store; it ends with ``{id}/{id}.json``.
    content
        Its bytes.

    Returns
    -------
    IndexedItem
        The item, and its geometry as WKB.

    Raises
    ------
    CatalogError
        If there is none, or another than the path says.
    """
    try:
        item, footprint = _parsed(content)
        place = path.split("/")
        found, expected = (item["type"], item["id"], item["collection"]), ("Feature", place[-2], place[0])
        if found != expected:
            raise ValueError(f"{found} found, {expected} required")
        month_of(item, "year")
        for name in _PLACING:
            if item["properties"].get(name) is not None:
                parse_instant(item["properties"][name])
        return IndexedItem(path, item, footprint)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CatalogError(f"{path} is no item ({error!r}): remove it, and make or ingest it again") from error


def month_of(item: Mapping[str, Any], layout: str) -> str:
    """Return the name of the shard that an item belongs to.

    It is the UTC month of ``datetime``; where that is null, of ``start_datetime``: ``2019-06``. In a collection
    that is not laid out by time it is ``all``.
    """
    if not layout.startswith("year"):
        return ALL
    properties = item["properties"]
    return f"{parse_instant(properties.get('datetime') or properties['start_datetime']):%Y-%m}"


def _parsed(content: bytes) -> tuple[ItemDict, bytes | None]:
    at = content.find(_BEGIN)
    start, stop = at + len(_BEGIN) - 2, content.find(_END, at) + len(_END) - 2
    if 0 <= at < start < stop:
        with contextlib.suppress(ValueError):  # written by others, and not so
            item = dict(json.loads(content[:start] + json.dumps(_CUT).encode() + content[stop:]))
            if item.get("geometry") == _CUT:  # it was the item's own, not one of another object within
                return item, _wkb(content[start:stop])
    item = dict(json.loads(content))
    geometry = item.get("geometry")
    return item, None if geometry is None else _wkb(json.dumps(geometry).encode())


_known: dict[bytes, bytes] = {}


def _wkb(geometry: bytes) -> bytes:
    """Return the ISO WKB of GeoJSON; the same footprint is not made twice."""
    import shapely

    if geometry not in _known:
        while len(_known) >= _FOOTPRINTS:
            _known.pop(next(iter(_known)), None)
        try:
            made = shapely.to_wkb(shapely.from_geojson(geometry), flavor="iso", byte_order=1)
        except shapely.errors.ShapelyError as error:
            raise ValueError(f"geometry: {error}") from error
        _known[geometry] = made
    return _known[geometry]


_ROWS_A_GROUP = 20_000
_DICTIONARY_BYTES = 16 << 20  # footprints repeat from day to day: 300 of them take 2 MB
_STRUCTURAL = {"self", "root", "parent", "collection"}
_DERIVED_LINKS = {"self", "item", "child", "items"}  # of a collection: they change with its items, or its place
_VERSION = "1.1.0"  # of stac-geoparquet: the first with `collections` in the metadata
_STAC_GEOPARQUET, _ROOT = b"stac-geoparquet", b"stac_sm:root"
_PLACING = ("datetime", "start_datetime", "end_datetime")  # times that say where an item belongs
_TIMES = (*_PLACING, "created", "updated", "expires", "published", "unpublished")
_TEXTS = ("stac_sm:fingerprint", "grid:code")  # text in every item, or nothing
_HEAD = ("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection")


def sort_shard_items(documents: Iterable[IndexedItem]) -> list[IndexedItem]:
    """Sort items into the order of a shard's rows.

    Parameters
    ----------
    documents
        In any order.

    Returns
    -------
    list of IndexedItem
        By time, then id, then path.
    """

    def key(one: IndexedItem) -> tuple[str, str, str]:
        properties = one.item["properties"]
        return str(properties.get("datetime") or properties.get("start_datetime") or ""), one.item["id"], one.path

    return sorted(documents, key=key)


def without_bad_values(one: IndexedItem) -> tuple[IndexedItem, dict[str, str]]:
    """Return an item without optional values that the index cannot hold.

    Parameters
    ----------
    one
        The item.

    Returns
    -------
    IndexedItem
        The item as it was, or a copy without these properties.
    dict
        Property to what is wrong with it; empty where nothing is.
    """
    properties, reasons = one.item["properties"], {}
    for name in _TIMES[len(_PLACING) :]:
        try:
            if properties.get(name) is not None:
                parse_instant(properties[name])
        except (TypeError, ValueError, OverflowError):
            reasons[name] = f"{name} {properties[name]!r:.40} found, a time as 2019-06-01T12:00:00Z required: fix it"
    for name in _TEXTS:
        if not isinstance(properties.get(name), str | None):
            reasons[name] = f"{name} {properties[name]!r:.40} found, text required: fix it"
    if not reasons:
        return one, {}
    kept = {name: value for name, value in properties.items() if name not in reasons}
    return replace(one, item={**one.item, "properties": kept}), reasons


def indexed_collection(root: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a collection as the shards hold it in their metadata.

    Parameters
    ----------
    root
        Address of the store.
    document
        The collection's JSON.

    Returns
    -------
    dict
        The document without its links to items and sub-catalogues, which change with every item, and with an absolute
        ``self`` link, to which its other hrefs are relative.
    """
    href = _below(root, f"{document['id']}/collection.json")
    own = [link for link in document["links"] if link["rel"] not in _DERIVED_LINKS]
    return {**document, "links": [{"rel": "self", "href": href, "type": "application/json"}, *own]}


def shard_is_here(content: bytes, root: str, collection: Mapping[str, Any] | None) -> bool:
    """Return whether a shard's ``self`` links lead into a store, and its metadata hold the collection as it is now.

    Parameters
    ----------
    content
        Bytes of a shard that can be read.
    root
        Address of the store.
    collection
        From `indexed_collection`; its extent may have grown since. None where there is none.

    Returns
    -------
    bool
        False after the store was moved or copied, and for a shard of an earlier version, which has no root.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = pq.read_schema(pa.BufferReader(content)).metadata or {}
    held = json.loads(found.get(_STAC_GEOPARQUET, b"{}")).get("collections", {})
    expected = {} if collection is None else {collection["id"]: collection}
    bare = [{id: {**one, "extent": None} for id, one in some.items()} for some in (held, expected)]
    return found.get(_ROOT) == root.encode() and bare[0] == bare[1]


def shard_root(metadata: Mapping[bytes, bytes] | None) -> str | None:
    """Return the root that the ``self`` links of a shard lead to.

    Parameters
    ----------
    metadata
        Of the schema of a Parquet file.

    Returns
    -------
    str or None
        Address of the store when the shard was written; None of a file that is no shard, or of an earlier version.
    """
    root = (metadata or {}).get(_ROOT)
    return None if root is None else root.decode(errors="replace")


def shard_bytes(
    documents: Sequence[IndexedItem], *, root: str = "", collection: Mapping[str, Any] | None = None
) -> bytes:
    """Build the stac-geoparquet file of some items.

    Parameters
    ----------
    documents
        Items in the order of the rows.
    root
        Address of the store: a link ``self`` leads to each item's own JSON below it.
    collection
        For the metadata of the file, from `indexed_collection`; None: without.

    Returns
    -------
    bytes
        Hrefs in it are as in the items, relative to their ``self`` links. What has another type in each item is text
        in JSON.

    Raises
    ------
    CatalogError
        If something is no item.
    """
    import pyarrow.parquet as pq

    table = shard_table(documents, root=root, collection=collection)
    output = io.BytesIO()
    pq.write_table(
        table,
        output,
        compression="zstd",
        row_group_size=_ROWS_A_GROUP,
        dictionary_pagesize_limit=_DICTIONARY_BYTES,
        write_statistics=True,
    )
    return output.getvalue()


def shard_table(
    documents: Sequence[IndexedItem], *, root: str = "", collection: Mapping[str, Any] | None = None
) -> pa.Table:
    """Build the rows of `shard_bytes`.

    Parameters
    ----------
    documents
        Items in the order of the rows.
    root
        As of `shard_bytes`.
    collection
        As of `shard_bytes`.

    Returns
    -------
    pyarrow.Table
        A row an item, with the metadata of GeoParquet and stac-geoparquet.

    Raises
    ------
    CatalogError
        If something is no item.
    """
    import pyarrow as pa

    rows = [_row(one, root) for one in documents]
    names = sorted({name for row in rows for name in row} - set(_HEAD))
    columns: dict[str, Any] = {}
    for name in (*_HEAD, *names):
        values = [row.get(name) for row in rows]
        columns[name] = _times(name, values, documents) if name in _TIMES else _column(name, values)
    kept = {name: column for name, column in columns.items() if not _is_empty_struct(column.type)}
    about: dict[str, Any] = {"version": _VERSION}
    if collection is not None:
        about["collections"] = {collection["id"]: collection}
    metadata = {"geo": _geo_metadata(columns["bbox"].type), _STAC_GEOPARQUET: json.dumps(about), _ROOT: root}
    return pa.table(kept).replace_schema_metadata(metadata)


def _row(one: IndexedItem, root: str) -> dict[str, Any]:
    """Build one row: properties beside the rest, hrefs as in the item."""
    path, item = one.path, one.item
    try:
        own = [{**link, "href": _text(link["href"])} for link in item["links"] if link["rel"] not in _STRUCTURAL]
        structural = [_self_link(one, root), _collection_link(path)]  # with titles: a null would be no valid title
        assets = {key: {**asset, "href": _text(asset["href"])} for key, asset in sorted(item["assets"].items())}
        known = {name: value for name, value in item["properties"].items() if name not in _HEAD}
        head = {name: item.get(name) for name in _HEAD}
        made = {
            "geometry": one.footprint,
            "links": [*structural, *own],
            "assets": assets,
            "bbox": _box(item.get("bbox")),
        }
        return known | head | made
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CatalogError(f"{path} is no item ({error!r}): remove it, and make or ingest it again") from error


def _text(href: Any) -> str:
    if not isinstance(href, str):
        raise ValueError(f"href {href!r:.40} found, text required")
    return href


def _self_link(one: IndexedItem, root: str) -> dict[str, str]:
    href, id = _below(root, one.path), one.item["id"]
    return {"rel": "self", "href": href, "type": "application/geo+json", "title": id}


def _collection_link(path: str) -> dict[str, str]:
    folder, collection = posixpath.dirname(path), PurePosixPath(path).parts[0]
    href = relative_href(folder, f"{collection}/collection.json")
    return {"rel": "collection", "href": href, "type": "application/json", "title": collection}


def _below(root: str, path: str) -> str:
    """Return the address of a path of the store, as ``Store.href`` does: not percent-encoded."""
    return f"{root.rstrip('/')}/{path}" if root else path


def _box(bbox: Sequence[float] | None) -> dict[str, float] | None:
    if bbox is None:
        return None
    names = ("xmin", "ymin", "xmax", "ymax") if len(bbox) == 4 else ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax")
    return {name: float(value) for name, value in zip(names, bbox, strict=True)}


def _column(name: str, values: Sequence[Any]) -> Any:
    import pyarrow as pa

    if name == "geometry":
        return pa.array(values, pa.binary())
    try:
        column = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        column = pa.array(share_type(values))
    return pa.array(share_type(values)) if _holds_empty_struct(column.type) else column


def _times(name: str, values: Sequence[Any], documents: Sequence[IndexedItem]) -> Any:
    import pyarrow as pa

    times = []
    for value, one in zip(values, documents, strict=True):
        try:
            times.append(None if value is None else parse_instant(value, end=name == "end_datetime"))
        except (TypeError, ValueError) as error:
            raise CatalogError(
                f"{one.path}: {name} {value!r} found, a time as 2019-06-01T12:00:00Z required: fix it"
            ) from error
    return pa.array(times, pa.timestamp("us", "UTC"))


def share_type(values: Sequence[Any]) -> list[Any]:
    """Return JSON values in a form in which all of them have one Arrow type.

    Objects are aligned field by field: one without a field of another has null there. Lists are aligned element by
    element, over all lists together. Scalars of one kind stay as they are; integers and floats are of one kind. Values
    of several kinds become text in JSON, and so do integers that no type of numbers holds. An object that is empty
    everywhere has no type: null stands for it.

    Parameters
    ----------
    values
        What `json.loads` gives; None stays None.

    Returns
    -------
    list
        As many values, in the same order.

    Examples
    --------
    >>> share_type([1, 2.5, None])
    [1, 2.5, None]
    >>> share_type([1, "a", None])
    ['1', '"a"', None]
    >>> share_type([{"a": 1}, {"b": [2]}, {}])
    [{'a': 1, 'b': None}, {'a': None, 'b': [2]}, {'a': None, 'b': None}]
    >>> share_type([[1, "a"], [], [True]])
    [['1', '"a"'], [], ['true']]
    >>> share_type([{}, None])
    [None, None]
    """
    present = [value for value in values if value is not None]
    kinds = {_kind(value) for value in present}
    shared: Iterator[Any]
    if kinds == {"object"}:
        shared = iter(_share_fields(present))
    elif kinds == {"list"}:
        shared = iter(_share_elements(present))
    elif len(kinds) < 2 and kinds != {"huge"} and not _overflows(present):
        return list(values)
    else:
        shared = iter([json.dumps(value, sort_keys=True) for value in present])
    return [None if value is None else next(shared) for value in values]


def _kind(value: Any) -> str:
    """Return what a JSON value is: values of one kind fit one Arrow type, but for objects and lists."""
    if isinstance(value, bool):  # before numbers: True is an int, too
        return "boolean"
    if isinstance(value, int) and abs(value) >= 2**63:
        return "huge"
    names = {int: "number", float: "number", str: "text", list: "list", dict: "object"}
    return names[type(value)]


def _overflows(present: Sequence[Any]) -> bool:
    """Return whether integers beside floats are too large for a double to hold them exactly."""
    floats = any(isinstance(value, float) for value in present)
    return floats and any(isinstance(value, int) and abs(value) > 2**53 for value in present)


def _share_fields(objects: Sequence[dict[str, Any]]) -> list[dict[str, Any] | None]:
    """Return objects with the same fields, each of one type; null for each where none has a field."""
    names = sorted({name for one in objects for name in one})
    if not names:
        return [None] * len(objects)
    columns = [share_type([one.get(name) for one in objects]) for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _share_elements(lists: Sequence[list[Any]]) -> list[list[Any]]:
    """Return lists whose elements all have one type."""
    elements = iter(share_type([element for one in lists for element in one]))
    return [[next(elements) for _ in one] for one in lists]


def _is_empty_struct(kind: Any) -> bool:
    import pyarrow.types as pt

    return bool(pt.is_struct(kind)) and kind.num_fields == 0


def _holds_empty_struct(kind: Any) -> bool:
    import pyarrow.types as pt

    if _is_empty_struct(kind):
        return True
    if pt.is_list(kind):
        return _holds_empty_struct(kind.value_type)
    return bool(pt.is_struct(kind)) and any(_holds_empty_struct(kind.field(i).type) for i in range(kind.num_fields))


def _geo_metadata(box: Any) -> str:
    import pyarrow.types as pt

    column: dict[str, Any] = {"encoding": "WKB", "geometry_types": [], "edges": "planar"}  # no crs: OGC:CRS84
    if pt.is_struct(box):
        column["covering"] = {"bbox": {name: ["bbox", name] for name in ("xmin", "ymin", "xmax", "ymax")}}
    return json.dumps({"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}})
