"""Items as stac-geoparquet: a pure function from the JSON of items to the bytes of a file."""

from __future__ import annotations

import io
import json
import posixpath
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from stac_sm.errors import CatalogError
from stac_sm.index.document import Document, instant

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_A_GROUP = 20_000
_DICTIONARY_BYTES = 16 << 20  # footprints repeat from day to day: 300 of them take 2 MB
_STRUCTURAL = {"self", "root", "parent", "collection"}
_TIMES = ("datetime", "start_datetime", "end_datetime", "created", "updated", "expires", "published", "unpublished")
_HEAD = ("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection")


def in_order(documents: Iterable[Document]) -> list[Document]:
    """Documents in the order of a shard's rows: by time, then id, then path."""

    def key(one: Document) -> tuple[str, str, str]:
        properties = one.item["properties"]
        return str(properties.get("datetime") or properties.get("start_datetime") or ""), one.item["id"], one.path

    return sorted(documents, key=key)


def shard_bytes(documents: Sequence[Document]) -> bytes:
    """The stac-geoparquet file of some items.

    Parameters
    ----------
    documents
        Items in the order of the rows.

    Returns
    -------
    bytes
        Hrefs in it are relative to the folder of the shard, so that it may move with the store; a link ``self`` leads
        to the item's own JSON. What has another type in each item is text in JSON.

    Raises
    ------
    CatalogError
        If something is no item.
    """
    import pyarrow.parquet as pq

    table = shard_table(documents)
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


def shard_table(documents: Sequence[Document]) -> pa.Table:
    """The rows of `shard_bytes`."""
    import pyarrow as pa

    rows = [_row(one) for one in documents]
    names = sorted({name for row in rows for name in row} - set(_HEAD))
    columns: dict[str, Any] = {}
    for name in (*_HEAD, *names):
        values = [row.get(name) for row in rows]
        columns[name] = _times(name, values, documents) if name in _TIMES else _column(name, values)
    kept = {name: column for name, column in columns.items() if not _is_empty_struct(column.type)}
    metadata = {"geo": _geo_metadata(columns["bbox"].type), "stac-geoparquet": json.dumps({"version": "1.0.0"})}
    return pa.table(kept).replace_schema_metadata(metadata)


def _row(one: Document) -> dict[str, Any]:
    """One row: properties beside the rest, hrefs as seen from the shard."""
    path, item = one.path, one.item
    folder, collection = posixpath.dirname(path), PurePosixPath(path).parts[0]
    try:
        own = [{**link, "href": _from_shard(link["href"], folder, collection)} for link in item["links"]
               if link["rel"] not in _STRUCTURAL]  # fmt: skip
        link_self = {"rel": "self", "href": _from_shard(path, "", collection), "type": "application/geo+json"}
        assets = {
            key: {**asset, "href": _from_shard(asset["href"], folder, collection)}
            for key, asset in sorted(item["assets"].items())
        }
        known = {name: value for name, value in item["properties"].items() if name not in _HEAD}
        head = {name: item.get(name) for name in _HEAD}
        made = {"geometry": one.footprint, "links": [link_self, *own], "assets": assets, "bbox": _box(item.get("bbox"))}
        return known | head | made
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CatalogError(f"{path} is no item ({error!r}): remove it, and make or ingest it again") from error


def _from_shard(href: str, folder: str, collection: str) -> str:
    """A relative href of a document in a folder, as it is seen from ``{collection}/index``; others as they are."""
    if "://" in href or href.startswith("/"):
        return href
    path = posixpath.normpath(posixpath.join(folder, href))
    return f"../{path.removeprefix(f'{collection}/')}" if path.startswith(f"{collection}/") else f"../../{path}"


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
        column = pa.array(_alike(list(values)))
    return pa.array(_alike(list(values))) if _holds_empty_struct(column.type) else column


def _times(name: str, values: Sequence[Any], documents: Sequence[Document]) -> Any:
    import pyarrow as pa

    times = []
    for value, one in zip(values, documents, strict=True):
        try:
            times.append(None if value is None else instant(value))
        except (TypeError, ValueError) as error:
            raise CatalogError(
                f"{one.path}: {name} {value!r} found, a time as 2019-06-01T12:00:00Z wanted: mend it"
            ) from error
    return pa.array(times, pa.timestamp("us", "UTC"))


def _alike(values: list[Any]) -> list[Any]:
    """Values that share a type: structs field by field, lists element by element; else text in JSON.

    An object that is empty everywhere has no type: null stands for it.
    """
    some = [value for value in values if value is not None]
    if all(isinstance(value, dict) for value in some):
        names = sorted({name for value in some for name in value})
        fields = {name: _alike([value.get(name) for value in some]) for name in names}
        rows = iter([dict(zip(names, row, strict=True)) for row in zip(*fields.values(), strict=True)])
        return [None if value is None or not names else next(rows) for value in values]
    if all(isinstance(value, list) for value in some):
        flat = iter(_alike([inner for value in some for inner in value]))
        return [None if value is None else [next(flat) for _ in value] for value in values]
    kinds = {bool if isinstance(value, bool) else float if _is_number(value) else type(value) for value in some}
    if len(kinds) < 2 and kinds != {int}:  # an int that is not taken for a number has more than 64 bits
        return values
    return [None if value is None else json.dumps(value, sort_keys=True) for value in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)


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
