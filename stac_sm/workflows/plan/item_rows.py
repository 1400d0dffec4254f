"""Read what the items of a collection state about their files, as columns.

It comes from the index where that is up to date, else from the items: a row of the index counts where the shard is the
one of its manifest, and the listing shows the same item JSON. Who can write a false shard together with a manifest that
fits it and the listing can write false items, too; and before a day is made, a worker reads its items again.

What many items state in common about their files (`RasterSource.meaning`) is worked out once.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from stac_sm.core.errors import CatalogError, InputError
from stac_sm.core.fingerprint import digest_of_list
from stac_sm.core.period import Period
from stac_sm.raster.precedence import stated_version
from stac_sm.raster.source import BadItemError, RasterSource, asset_key, raster_source
from stac_sm.stac.catalogs.catalog import StoreDocuments
from stac_sm.stac.catalogs.search import box_2d, item_from_document, item_period, leave_out, parse_document
from stac_sm.stac.index.manifest import check_manifest, empty_manifest, read_shard
from stac_sm.stac.index.row_codes import leaves, row_codes
from stac_sm.storage.address import is_absolute
from stac_sm.storage.store import Store
from stac_sm.storage.trust import check_href

if TYPE_CHECKING:
    import pyarrow as pa
    import pystac
    from odc.geo.geobox import GeoBox


@lru_cache(maxsize=20_000)
def source_meaning(fields: str, key: str, band: str, valid: tuple[float, float] | None) -> tuple[GeoBox, str] | None:
    """Return the grid and the `RasterSource.meaning` of any file with these fields; None if they are wrong."""
    asset, item_fields = json.loads(fields)
    document: dict[str, Any] = {"type": "Feature", "stac_version": "1.1.0", "id": "any", "geometry": None, "links": []}
    document |= {"properties": {"datetime": "2000-01-01T00:00:00Z", **item_fields}}
    document |= {"assets": {key: {"href": "./any", "file:checksum": "any", **asset}}}
    try:
        source = raster_source(item_from_document(document, "/any.json"), key, band)
    except CatalogError:
        return None
    source = source.with_feature(valid, "", "")
    return (source.geobox, source.meaning) if source.checksum == "any" else None


def without_nulls(value: Any) -> Any:
    """Return a value of an Arrow column as its JSON was: null stands for what is not there.

    Parameters
    ----------
    value
        Mappings, lists and scalars.

    Returns
    -------
    Any
        Without keys whose value is null.
    """
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


_NO_DIGEST = bytes(32)
NEVER, AFTER_ALL_DAYS = -(1 << 30), 1 << 30  # days: of folders that stand for no day
_DAY_US = 86_400_000_000
_PROJECTION = ("proj:code", "proj:epsg", "proj:wkt2", "proj:shape", "proj:transform")
_BESIDE = ("href", "title", "description", "type", "roles", "file:checksum", "file:size")  # no part of a meaning
_SAFE = r"^(\./|(\.\./){1,2})?([A-Za-z0-9_-][A-Za-z0-9_.-]*/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*$"


@dataclass(frozen=True)
class AssetRequest:
    """What features want of the items of a collection."""

    asset: str
    """Asset key."""

    band: str
    """Name or number of the band."""

    valid: tuple[float, float] | None
    """Least and largest stored value."""


@dataclass(frozen=True)
class ScanJob:
    """Items below some folders of a collection."""

    collection: str
    """Its id."""

    folders: tuple[str, ...]
    """Folders with items below them, each with its own JSON."""

    shards: tuple[str, ...]
    """Months of the index that may hold them."""

    requests: tuple[AssetRequest, ...]
    """What is asked of each item."""


@dataclass(frozen=True)
class Refusal:
    """Why a plan must stop at an item: its file may not be read, or the recipe asks for a band that it has not."""

    why: str
    """What is wrong, and what to do."""


Place: TypeAlias = "GeoBox | Refusal | str"
"""Grid of a file; or why a plan must stop at an item, or (as text) why the item is left out."""


@dataclass(frozen=True)
class InputRows:
    """What the items say."""

    table: pa.Table
    """``id``, ``version`` (of the item; empty or null without one), ``start`` and ``end`` (first day, and the day after
    the last), ``first`` and ``last`` (days that its folder stands for, half-open), ``west`` to ``north`` (null without
    a bbox), as days since 1970 and degrees; and for request number r ``place_r`` (number of its `places`; -1 without
    the asset), ``proof_r``, ``size_r``."""

    places: Sequence[Place]
    """Grids of files, or what is wrong with an item."""

    read: int = 0
    """Item JSON that had to be read."""

    left_out: Mapping[str, str] = field(default_factory=dict)
    """Ids of documents that are no item, and why."""


def read_input_rows(store: Store, job: ScanJob) -> InputRows:
    """Read what the items below some folders state.

    Parameters
    ----------
    store
        Store of the catalogue.
    job
        Folders, and what is asked of each item.

    Returns
    -------
    InputRows
        One row an item.

    Raises
    ------
    CatalogError
        If an item that is linked to is missing.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    places: dict[Place, int] = {}
    by_folder = {folder: set(_linked(StoreDocuments(store), folder)) for folder in job.folders}
    linked = set().union(*by_folder.values())
    entries = (entry for folder, paths in by_folder.items() for entry in store.list_objects_at(folder, paths))
    shards = {month: shard for month in job.shards if (shard := read_shard(store, job.collection, month))}
    index = [shard[0].append_column("shard", pa.array([month] * len(shard[0]))).append_column(
        "row", pa.array(np.arange(len(shard[0])))) for month, shard in shards.items()]  # fmt: skip
    unchanged = check_manifest(pa.concat_tables(index) if index else _no_index(), entries).unchanged
    tables = [
        _from_shard(unchanged.filter(pc.equal(unchanged["shard"], month)), content, store.root, job, places)
        for month, (_, content) in shards.items()
    ]
    known = {path for table in tables for path in table["path"].to_pylist()}
    unread = sorted(linked - known)
    rows, left_out = [], dict[str, str]()
    for path in unread:
        content = StoreDocuments(store).read(path)
        try:
            rows.append(_from_item(store, path, content, job, places))
        except CatalogError as error:
            leave_out(left_out, posixpath.basename(path).removesuffix(".json"), error, store.root)
    tables.append(_table(rows, job))
    return InputRows(pa.concat_tables(tables).drop_columns(["path"]), list(places), len(unread), left_out)


def _no_index() -> pa.Table:
    import pyarrow as pa

    return (
        empty_manifest()
        .append_column("shard", pa.array([], pa.string()))
        .append_column("row", pa.array([], pa.int64()))
    )


def _linked(documents: StoreDocuments, folder: str) -> Iterator[str]:
    """Yield the paths of the items that a folder's catalogue, and those below it, link to."""
    name = "catalog.json" if "/" in folder else "collection.json"
    key = f"{folder}/{name}"
    for link in parse_document(documents.read(key), documents.href(key)).get("links", ()):
        href, rel = str(link.get("href", "")), link.get("rel")
        if rel == "item":
            plain = href.startswith("./") and ".." not in href and "//" not in href
            yield f"{folder}{href[1:]}" if plain else documents.key(key, href)
        elif rel == "child":
            yield from _linked(documents, posixpath.dirname(documents.key(key, href)))


def _from_shard(rows: pa.Table, content: bytes, root: str, job: ScanJob, places: dict[Place, int]) -> pa.Table:
    """Return rows of those items of a shard that are up to date; items of which it lacks something are left out."""
    import pyarrow as pa

    table = _table([], job)
    if not len(rows):
        return table
    try:
        shard = _columns(content, job.requests)
        shard = shard if len(shard) == len(rows) else shard.take(rows["row"])
        sound = np.ones(len(shard), bool)
        columns = _head(rows, shard, sound, job.collection)
        for number, request in enumerate(job.requests):
            columns |= _request_columns(number, request, shard, sound, root, places)
        made = pa.table({name: pa.array(columns[name]).cast(kind) for name, kind in _schema(job)})
        return made.filter(pa.array(sound))
    except (ValueError, KeyError, TypeError, pa.ArrowException):
        return table  # not written as we write: its items are read


def _columns(content: bytes, requests: Sequence[AssetRequest]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(content))
    names = [name for name in ("collection", "bbox", "version", *_PROJECTION) if name in file.schema_arrow.names]
    keys = {field.name for field in file.schema_arrow.field("assets").type}
    return file.read(columns=[*names, *(f"assets.{one.asset}" for one in requests if one.asset in keys)])


def _head(rows: pa.Table, shard: pa.Table, sound: np.ndarray, collection: str) -> dict[str, Any]:
    """Return the columns of place and time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sound &= np.asarray(pc.fill_null(pc.equal(shard["collection"], collection), False))
    start, end = (pc.coalesce(rows[name], rows["datetime"]) for name in ("start_datetime", "end_datetime"))
    sound &= np.asarray(pc.and_(pc.is_valid(start), pc.is_valid(end)))
    first, last = (pc.fill_null(one.cast(pa.int64()), 0).to_numpy() for one in (start, end))
    last = np.where(last > first, last - 1, last)  # one that ends at midnight does not reach into the next day
    spans = [_span_of(path) for path in rows["path"].to_pylist()]
    columns: dict[str, Any] = {"path": rows["path"], "id": rows["id"]}
    columns |= {"version": shard["version"] if "version" in shard.column_names else [""] * len(shard)}
    columns |= {"start": first // _DAY_US, "end": last // _DAY_US + 1}
    columns |= {"first": [span[0] for span in spans], "last": [span[1] for span in spans]}
    box = shard["bbox"].combine_chunks()
    ends = zip(("west", "south", "east", "north"), ("xmin", "ymin", "xmax", "ymax"), strict=True)
    columns |= {name: pc.struct_field(box, end) for name, end in ends}
    return columns


def _request_columns(
    number: int, request: AssetRequest, shard: pa.Table, sound: np.ndarray, root: str, places: dict[Place, int]
) -> dict[str, Any]:
    """Return what one request finds in the rows of a shard."""
    import pyarrow as pa
    import pyarrow.compute as pc

    place, proofs, sizes = np.full(len(shard), -1), [_NO_DIGEST] * len(shard), [None] * len(shard)
    result = {f"place_{number}": place, f"proof_{number}": proofs, f"size_{number}": pa.array(sizes, pa.int64())}
    assets = shard["assets"].combine_chunks() if "assets" in shard.column_names else None
    if assets is None or assets.type.get_field_index(request.asset) < 0:
        return result
    asset = leaves(assets)[request.asset]
    known = leaves(asset)
    there = np.asarray(pc.is_valid(known["href"]))
    meaning = {name: shard[name].combine_chunks() for name in _PROJECTION if name in shard.column_names}
    own = {name: column for name, column in known.items() if name not in _BESIDE}
    codes = row_codes([*meaning.values(), *own.values()], len(shard))
    tails: dict[int, tuple[int, str] | None] = {}
    for code, at in zip(*np.unique(np.where(there, codes, -1), return_index=True), strict=True):
        if code >= 0:
            item_fields = {name: column[at].as_py() for name, column in meaning.items()}
            tails[int(code)] = _meaning(
                {name: column[at].as_py() for name, column in own.items()}, item_fields, request, places
            )
    checksums = known["file:checksum"].to_pylist()
    hrefs = known["href"]
    safe = np.asarray(pc.fill_null(pc.match_substring_regex(hrefs, _SAFE), False))
    texts = hrefs.to_pylist()
    for at in np.flatnonzero(there).tolist():
        found, checksum = tails[int(codes[at])], checksums[at]
        if found is None or not checksum or checksum[0] == '"' or not (safe[at] or _is_trusted(texts[at], root)):
            sound[at] = False
        else:
            place[at] = found[0]
            proofs[at] = digest_of_list(checksum, found[1])
    return result | {f"size_{number}": known.get("file:size", result[f"size_{number}"])}


def _is_trusted(href: str, root: str) -> bool:
    if not is_absolute(href):
        return False  # relative in a strange way
    try:
        check_href(href, root)
    except CatalogError:
        return False
    return True


def _meaning(
    asset: dict[str, Any], item_fields: dict[str, Any], request: AssetRequest, places: dict[Place, int]
) -> tuple[int, str] | None:
    """Return the number of the grid, and the meaning of the values; None if the shard does not state it."""
    fields = json.dumps([without_nulls(asset), without_nulls(item_fields)], sort_keys=True)
    found = source_meaning(fields, request.asset, request.band, request.valid)
    return None if found is None else (places.setdefault(found[0], len(places)), found[1])


def _from_item(store: Store, path: str, content: bytes, job: ScanJob, places: dict[Place, int]) -> dict[str, Any]:
    """Return the row of an item that is read."""
    documents = StoreDocuments(store)
    href = documents.href(path)
    document = parse_document(content, href)
    item = item_from_document(document, href, without=documents.omitted_link_relations)
    period, span = item_period(item), _span_of(path)
    own = document.get("collection") in (None, job.collection)
    box = _box(item.id, document.get("bbox"))
    row: dict[str, Any] = {"path": path, "id": item.id, "version": stated_version(item.properties)}
    row |= {"first": span[0], "last": span[1] if own else NEVER}
    row |= {"start": _number(period.start), "end": _number(period.end)}
    row |= dict(zip(("west", "south", "east", "north"), box, strict=True))
    for number, request in enumerate(job.requests):
        source = _source_of(item, request, store.root)
        place: Place = source.geobox if isinstance(source, RasterSource) else source
        row[f"place_{number}"] = places.setdefault(place, len(places)) if place else -1
        row[f"proof_{number}"] = (
            bytes.fromhex(source.provenance_digest) if isinstance(source, RasterSource) else _NO_DIGEST
        )
        row[f"size_{number}"] = source.size if isinstance(source, RasterSource) else None
    return row


def _box(id: str, bbox: Any) -> Sequence[float | None]:
    """Return west, south, east, north of an item's bbox; None of each where it has none."""
    if not bbox:
        return (None,) * 4
    try:
        return tuple(map(float, box_2d(bbox)))
    except (TypeError, ValueError, LookupError) as error:
        raise CatalogError(f"item {id!r}: bbox {bbox!r:.60} found, 4 or 6 numbers are required: correct it") from error


def _source_of(item: pystac.Item, request: AssetRequest, root: str) -> RasterSource | Refusal | str:
    """Return what an item says of an asset; empty without it, or what is wrong with it."""
    try:
        if asset_key(item, request.asset) is None:
            return ""
        source = raster_source(item, request.asset, request.band)
        check_href(source.href, root)
        return replace(source, valid=request.valid)
    except BadItemError as error:
        return str(error)
    except CatalogError as error:
        return Refusal(str(error))


def _table(rows: Iterable[dict[str, Any]], job: ScanJob) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=pa.schema(_schema(job)))


def _schema(job: ScanJob) -> list[tuple[str, pa.DataType]]:
    import pyarrow as pa

    text, day = pa.string(), pa.int32()
    fields = [
        ("path", text),
        ("id", text),
        ("version", text),
        ("start", day),
        ("end", day),
        ("first", day),
        ("last", day),
    ]
    fields += [(name, pa.float64()) for name in ("west", "south", "east", "north")]
    for number in range(len(job.requests)):
        fields += [
            (f"place_{number}", pa.int32()),
            (f"proof_{number}", pa.binary(len(_NO_DIGEST))),
            (f"size_{number}", pa.int64()),
        ]
    return fields


def _span_of(path: str) -> tuple[int, int]:
    return _folder_span(path.rsplit("/", 2)[0])


@lru_cache(maxsize=50_000)
def _folder_span(folder: str) -> tuple[int, int]:
    """Return the days that a folder's name stands for: ``2019-06-01`` of ``COLLECTION/2019/06/01``; all, if none."""
    title = "-".join(folder.split("/")[1:])
    try:
        if re.fullmatch(r"[0-9]{4}(-[0-9]{2}){0,2}", title):
            period = Period.parse(title)
            return _number(period.start), _number(period.end)
    except InputError:
        pass
    return NEVER, AFTER_ALL_DAYS


def _number(day: date) -> int:
    return (day - date(1970, 1, 1)).days
