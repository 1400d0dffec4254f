"""Manifest of a shard: which version of which item JSON each row was made from.

`stac_sm.stac.index.update` writes it beside each shard. Plans and `audit` compare it with a listing of the store by
`check_manifest`, and read only the JSON of items that are not listed with the same version.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stac_sm.core.errors import CatalogError
from stac_sm.core.period import parse_instant
from stac_sm.stac.index.shard import IndexedItem
from stac_sm.storage.object_meta import ObjectMeta
from stac_sm.storage.store import Store, sha256

if TYPE_CHECKING:
    import pyarrow as pa


FINGERPRINT_PROPERTY = "stac_sm:fingerprint"
_SHARD = b"stac_sm:shard"  # metadata: SHA-256 of the shard that the shard's checksums go with
_TEXTS = ("path", "version", "id", FINGERPRINT_PROPERTY, "grid:code")
_TIMES = ("datetime", "start_datetime", "end_datetime")

ListedVersion = tuple[str, int]
"""Version and size of an item JSON, as the store lists it."""


def shard_path(collection: str, month: str) -> str:
    """Return the path of the shard of a month, below the root."""
    return f"{collection}/index/{month}.parquet"


def manifest_path(collection: str, month: str) -> str:
    """Return the path of the manifest of a month, below the root."""
    return f"{collection}/index/proof/{month}.parquet"


def is_item(path: str) -> bool:
    """Return whether a path is that of an item JSON.

    Parameters
    ----------
    path
        Below the root of a store.

    Returns
    -------
    bool
        True of ``…/{id}/{id}.json``.
    """
    folder, _, name = path.rpartition("/")
    return name.endswith(".json") and folder.rpartition("/")[2] == name[:-5] and "/" in folder


def index_months(store: Store, collection: str) -> list[str]:
    """List the months that have a shard or a manifest.

    Parameters
    ----------
    store
        Of the catalogue.
    collection
        Id.

    Returns
    -------
    list of str
        Such as ``2019-06``, or ``all``; in order.
    """
    folder = f"{collection}/index"
    names = (entry.path.rpartition("/")[2] for entry in store.list_objects(folder))
    return sorted({name.removesuffix(".parquet") for name in names if name.endswith(".parquet")})


def empty_manifest() -> pa.Table:
    """Return a manifest of no items.

    Returns
    -------
    pyarrow.Table
        No rows, with the columns of `read_manifest`.
    """
    return _schema().empty_table()


def read_manifest(store: Store, collection: str, month: str) -> pa.Table:
    """Read what the index says of the items of a month: nothing in it counts before `check_manifest`.

    Parameters
    ----------
    store
        Of the catalogue.
    collection
        Id.
    month
        Such as ``2019-06``, or ``all``.

    Returns
    -------
    pyarrow.Table
        A row an item, in the order of the shard: ``path``, ``version``, ``size``, ``id``, ``stac_sm:fingerprint``,
        ``grid:code``, ``datetime``, ``start_datetime``, ``end_datetime`` (timestamps in UTC). No rows where there is
        no manifest, or none that can be read.
    """
    return _read_manifest_file(store, collection, month)[0]


def read_shard(store: Store, collection: str, month: str) -> tuple[pa.Table, bytes] | None:
    """Read a shard and its manifest.

    Parameters
    ----------
    store
        Of the catalogue.
    collection
        Id.
    month
        Such as ``2019-06``, or ``all``.

    Returns
    -------
    tuple of pyarrow.Table and bytes, or None
        Rows as of `read_manifest`, and the bytes of the shard; None unless the two were made together.
    """
    table, expected = _read_manifest_file(store, collection, month)
    try:
        content = store.read(shard_path(collection, month))
    except CatalogError:
        return None
    return (table, content) if expected == sha256(content) else None


def _read_manifest_file(store: Store, collection: str, month: str) -> tuple[pa.Table, str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = pa.BufferReader(store.read(manifest_path(collection, month)))
        table = pq.read_table(content, page_checksum_verification=True)
        expected = (table.schema.metadata or {})[_SHARD].decode()
        return table.select(_schema().names).cast(_schema()), expected
    except (CatalogError, OSError, KeyError, ValueError):  # pyarrow's errors are among them: no checksums
        return empty_manifest(), ""


@dataclass(frozen=True)
class ManifestCheck:
    """What a listing makes of the index of a month."""

    unchanged: pa.Table
    """Rows whose item is listed with the same version and size, in their order."""

    out_of_date: Sequence[str]
    """Paths of items that are listed, but not so in the index: they are read from their JSON. In order."""

    gone: Sequence[str]
    """Paths in the index that are not listed any more. In order."""


def check_manifest(table: pa.Table, entries: Iterable[ObjectMeta]) -> ManifestCheck:
    """Compare the rows of `read_manifest` with a listing of the same items.

    Parameters
    ----------
    table
        From `read_manifest`, of one month or of several together.
    entries
        From ``Store.list_objects``, of all files or of the item JSON alone. Where the files beside an item are listed
        too, a fingerprint counts only if one of them bears its first 12 digits in its name, as all assets do: a forged
        fingerprint beside a true version does not count.

    Returns
    -------
    ManifestCheck
        A wrong, missing or forged index puts more items out of date; it confirms none that is not there as listed.
    """
    import pyarrow as pa

    listed, marks = _sorted_out(entries)
    rows = zip(
        *(table.column(name).to_pylist() for name in ("path", "version", "size", FINGERPRINT_PROPERTY)), strict=True
    )
    kept, seen = [], set()
    for path, version, size, fingerprint in rows:
        sound = path not in seen and listed.get(path) == (version, size)
        sound = sound and (not marks or _borne_out(path, fingerprint, marks))
        kept.append(sound)
        if sound:
            seen.add(path)
    gone = sorted({path for path in table.column("path").to_pylist() if path not in listed})
    unproven = sorted(path for path in listed if path not in seen)
    return ManifestCheck(table.filter(pa.array(kept, pa.bool_())), unproven, gone)


def _sorted_out(entries: Iterable[ObjectMeta]) -> tuple[dict[str, ListedVersion], dict[str, set[str]]]:
    """Return item JSON by path; and by folder of an item, what its other files have between dots in their names."""
    listed: dict[str, ListedVersion] = {}
    marks: dict[str, set[str]] = {}
    for path, size, version, _ in entries:
        folder, _, name = path.rpartition("/")
        if name.endswith(".json"):
            if folder.endswith(f"/{name[:-5]}"):  # as `is_item`
                listed[path] = (version, size)
        else:
            marks.setdefault(folder, set()).update(name.split("."))
    return listed, marks


def _borne_out(path: str, fingerprint: str | None, marks: Mapping[str, set[str]]) -> bool:
    beside = marks.get(path.rpartition("/")[0])
    return not beside or (fingerprint is not None and fingerprint[:12] in beside)


def manifest_bytes(documents: Sequence[IndexedItem], listed: Mapping[str, ListedVersion], shard: bytes) -> bytes:
    """Build the manifest of a shard of these items, in the order of its rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [_row(one, listed[one.path]) for one in documents]
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in _schema()]
    schema = _schema().with_metadata({_SHARD: sha256(shard)})
    output = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), output, compression="zstd", write_page_checksum=True)
    return output.getvalue()


def _row(one: IndexedItem, listed: ListedVersion) -> dict[str, Any]:
    properties = one.item["properties"]
    times = {
        name: None if properties.get(name) is None else parse_instant(properties[name], end=name == "end_datetime")
        for name in _TIMES
    }
    own = {name: properties.get(name) for name in (FINGERPRINT_PROPERTY, "grid:code")}
    return {"path": one.path, "version": listed[0], "size": listed[1], "id": one.item["id"], **own, **times}


def _schema() -> pa.Schema:
    import pyarrow as pa

    texts = {name: pa.string() for name in _TEXTS}
    fields = [("path", texts["path"]), ("version", texts["version"]), ("size", pa.int64()), ("id", texts["id"])]
    fields += [(FINGERPRINT_PROPERTY, pa.string()), ("grid:code", pa.string())]
    return pa.schema([*fields, *((name, pa.timestamp("us", "UTC")) for name in _TIMES)])
