"""Load what a search looks at: items as rows, one column a property, in memory.

They come from the index of a catalogue, or from its items. Where the index of a small collection is not up to date,
its items are read; the index of a large one is taken as it is: what it finds is read from the items in any case.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.core.errors import CatalogError
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.index.manifest import check_manifest, index_months, is_item, read_shard
from stac_sm.stac.index.shard import parse_indexed_item, shard_table, sort_shard_items, without_bad_values
from stac_sm.storage.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

CHECKED_ITEMS = 20_000
"""Items up to which a collection is listed, and its index made good in memory."""

_DECODED_BYTES = 64 << 20  # footprints that are kept as geometries
_MASKS_REMEMBERED = 16
_OWN = ("path", "collection", "id", "datetime", "start_datetime", "end_datetime")
COMMON_FIELDS = ("id", "collection", "datetime", "start_datetime", "end_datetime", "created", "updated", "title")
"""Fields that clients may ask for whether or not an item has them."""

ITEM_MEMBERS = (
    "type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "properties", "links", "assets", "collection",
)  # fmt: skip
"""Members of a STAC item."""

_FIELDS = b"stac_sm fields"  # in the metadata of a table: names of all fields of the items, also of those left behind
_NO_PROPERTY = {"type", "stac_version", "geometry", "bbox", "footprint", "path", "start", "end"}
_NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True)
class ItemColumns:
    """Items of all collections, latest first; equal times in the order of collections and ids."""

    table: pa.Table
    """One chunk a column: ``path``, ``collection``, ``id`` and every property that is one value."""

    footprints: Sequence[bytes]
    """Different footprints, as WKB."""

    footprint: np.ndarray[Any, Any]
    """Position in ``footprints`` of each row's; -1 for none."""

    box: np.ndarray[Any, Any]
    """West, south, east, north of each row, degrees; NaN for none."""

    start: np.ndarray[Any, Any]
    """First instant, microseconds since 1970."""

    end: np.ndarray[Any, Any]
    """Last instant, microseconds since 1970."""

    fields: frozenset[str] = frozenset()
    """Names of properties that any item has, also of those that are lists or objects; of assets as ``assets.KEY``."""

    _ranks: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict, compare=False)
    _names: dict[str | None, tuple[str, ...]] = field(default_factory=dict, compare=False)
    _masks: dict[tuple[str, tuple[str, ...]], np.ndarray[Any, Any]] = field(default_factory=dict, compare=False)

    def __len__(self) -> int:
        return len(self.footprint)

    def column(self, name: str) -> Any:
        """Return the values of a property, or None if no item has it.

        Parameters
        ----------
        name
            Name of the property.

        Returns
        -------
        Any
            Arrow array, one value a row; or None.
        """
        return self.table.column(name).chunk(0) if name in self.table.column_names and len(self) else None

    @property
    def properties(self) -> dict[str, Any]:
        """Names and Arrow types of the properties that a filter can name."""
        return {one.name: one.type for one in self.table.schema if one.name not in _NO_PROPERTY}

    def queryable_names(self, collection: str | None = None) -> tuple[str, ...]:
        """Return the names that a filter or an order can ask for.

        Parameters
        ----------
        collection
            Id of a collection; None for all.

        Returns
        -------
        tuple of str
            Common fields, and properties that an item of the collection has, in alphabetical order.
        """
        if collection not in self._names:
            here = None if collection is None else self.rows_with("collection", (collection,))
            columns = ((name, self.column(name)) for name in self.properties)
            own = [
                name for name, values in columns
                if values is not None and (here is None or (values.is_valid().to_numpy(False) & here).any())
            ]  # fmt: skip
            self._names[collection] = tuple(sorted({*own, *COMMON_FIELDS}))
        return self._names[collection]

    def rows_with(self, name: str, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        """Return which rows have one of some texts as the value of a property, as booleans; not to be written to.

        Those of a few collections are remembered, since every page of a collection asks for them.
        """
        known = self._masks.get((name, tuple(texts)))
        return self._rows_with(name, tuple(texts)) if known is None else known

    def _rows_with(self, name: str, texts: tuple[str, ...]) -> np.ndarray[Any, Any]:
        import pyarrow as pa
        import pyarrow.compute as pc

        values = self.column(name)
        if values is None:
            return np.zeros(len(self), dtype=bool)
        codes = values.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        if len(texts) == 1:  # as of an item by its id: no set of all ids is made for it
            code = pc.index(values.dictionary, pa.scalar(texts[0], pa.string())).as_py()
            found = np.asarray(codes == code) if code >= 0 else np.zeros(len(self), dtype=bool)
        else:
            known = pc.is_in(values.dictionary, value_set=pa.array(texts, pa.string())).to_numpy(zero_copy_only=False)
            found = np.asarray(np.append(known, False)[codes])
        if name == "collection" and len(self._masks) < _MASKS_REMEMBERED:
            found.flags.writeable = False
            self._masks[name, texts] = found
        return found

    def rank(self, name: str) -> np.ndarray[Any, Any] | None:
        """Return the place of each row in the order of a property, nulls last; None if no item has it.

        Parameters
        ----------
        name
            Name of the property.

        Returns
        -------
        numpy.ndarray or None
            Integers, one a row; equal values have equal ranks.
        """
        values = self.column(name)
        if values is None:
            return None
        if name not in self._ranks:
            self._ranks[name] = _rank(values)
        return self._ranks[name]

    def geometries(self, codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return footprints as geometries of shapely.

        Parameters
        ----------
        codes
            Integers, positions in ``footprints``.

        Returns
        -------
        numpy.ndarray
            One geometry a code.
        """
        import shapely

        if self._decoded is not None:
            return np.asarray(self._decoded[codes])
        return np.asarray(shapely.from_wkb(np.array([self.footprints[code] for code in codes], dtype=object)))

    @cached_property
    def _decoded(self) -> np.ndarray[Any, Any] | None:
        import shapely

        if sum(map(len, self.footprints)) > _DECODED_BYTES:
            return None
        return np.asarray(shapely.from_wkb(np.array(list(self.footprints), dtype=object)))


def load_item_columns(catalog: WritableCatalog, collections: Sequence[str]) -> ItemColumns:
    """Load the rows of all items of some collections of a catalogue.

    Parameters
    ----------
    catalog
        Catalogue with an index.
    collections
        Ids of its collections.

    Returns
    -------
    ItemColumns
        Latest first.

    Raises
    ------
    CatalogError
        If a large collection has no index: says how to make one.
    """
    parts = [part for id in collections for part in _parts(catalog.store, id, catalog.layout(id))]
    return join_item_tables(parts)


def _parts(store: Store, collection: str, layout: str) -> Iterator[pa.Table]:
    """Yield tables with the columns of a shard and ``path``."""
    months = index_months(store, collection)
    found = [one for month in months if (one := read_shard(store, collection, month)) is not None]
    known = sum(len(proof) for proof, _ in found)
    complete = len(found) == len(months) > 0
    if complete and known > CHECKED_ITEMS:
        yield from (_with_paths(_read(content), proof) for proof, content in found)
        return
    yield from _made_good(store, collection, found)


def _made_good(store: Store, collection: str, found: Sequence[tuple[pa.Table, bytes]]) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.compute as pc

    entries = [entry for entry in store.list_objects(collection) if is_item(entry.path)]
    if len(entries) > CHECKED_ITEMS:
        raise CatalogError(
            f"collection {collection!r} of {store.root} has {len(entries)} items and no complete index: "
            f"`stac-sm index {collection}` makes it"
        )
    left = entries
    for proof, content in found:
        checked = check_manifest(proof, entries)
        sound = set(checked.unchanged.column("path").to_pylist())
        left = [entry for entry in left if entry.path not in sound]
        part = _with_paths(_read(content), proof)
        yield part.filter(pc.is_in(part.column("path"), pa.array(sorted(sound), pa.string())))
    documents = []
    for entry in left:
        try:
            documents.append(without_bad_values(parse_indexed_item(entry.path, store.read(entry.path)))[0])
        except CatalogError:
            continue  # no item, or gone: `audit` reports it
    documents = sort_shard_items(documents)
    if documents:
        paths = pa.array([one.path for one in documents])
        yield shard_table(documents).append_column("path", paths)


def _read(content: bytes) -> pa.Table:
    """Return the columns of a shard that a search looks at."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(pa.BufferReader(content))
    names = [one.name for one in schema if _is_value(one.type) or one.name in {"geometry", "bbox"}]
    texts = [one.name for one in schema if pa.types.is_string(one.type) or one.name == "geometry"]
    table = pq.read_table(pa.BufferReader(content), columns=names, read_dictionary=texts)
    return table.replace_schema_metadata({_FIELDS: json.dumps(_field_names(schema))})


def _is_value(kind: Any) -> bool:
    import pyarrow.types as pt

    return bool(
        pt.is_string(kind)
        or pt.is_integer(kind)
        or pt.is_floating(kind)
        or pt.is_boolean(kind)
        or pt.is_timestamp(kind)
    )


def _with_paths(shard: pa.Table, proof: pa.Table) -> pa.Table:
    return shard.append_column("path", proof.column("path"))


def join_item_tables(parts: Sequence[pa.Table]) -> ItemColumns:
    """Join tables with the columns of a shard and ``path`` to rows.

    Parameters
    ----------
    parts
        Tables; a column may be missing in some.

    Returns
    -------
    ItemColumns
        Latest first; equal times in the order of collections and ids.
    """
    import pyarrow as pa

    parts = [part for part in parts if len(part)]
    if not parts:
        none = np.empty(0, np.int64)
        return ItemColumns(
            pa.table({name: pa.array([], pa.string()) for name in _OWN}), (), none, np.empty((0, 4)), none, none
        )
    names = sorted({one.name for part in parts for one in part.schema if _is_plain(one.type)} - {"geometry", "bbox"})
    table = pa.table({name: _joined(name, parts) for name in names})
    codes, footprints = _footprints(parts)
    box = np.concatenate([_box(part) for part in parts])
    instants = {name: _instants(table, name) for name in ("datetime", "start_datetime", "end_datetime")}
    when = np.where(instants["datetime"] == _NEVER, instants["start_datetime"], instants["datetime"])
    interval = (instants["start_datetime"] != _NEVER) & (instants["end_datetime"] != _NEVER)
    start = np.where(interval, instants["start_datetime"], when)
    end = np.where(interval, instants["end_datetime"], when)
    order = np.lexsort((_rank(table.column("id").chunk(0)), _rank(table.column("collection").chunk(0)), -when))
    sorted_table = table.take(pa.array(order)).combine_chunks()
    fields = frozenset(name for part in parts for name in _field_names(part.schema)) - {"path"}
    return ItemColumns(sorted_table, footprints, codes[order], box[order], start[order], end[order], fields)


def _field_names(schema: pa.Schema) -> list[str]:
    """Return the names of properties and assets in the schema of a shard, or of what was read of it."""
    import pyarrow.types as pt

    if _FIELDS in (schema.metadata or {}):
        known: list[str] = json.loads(schema.metadata[_FIELDS])
        return known
    keys = [one.name for field in schema if field.name == "assets" and pt.is_struct(field.type) for one in field.type]
    return [*schema.names, *(f"assets.{key}" for key in keys)]


def _is_plain(kind: Any) -> bool:
    import pyarrow.types as pt

    return _is_value(kind.value_type if pt.is_dictionary(kind) else kind)


def _joined(name: str, parts: Sequence[pa.Table]) -> Any:
    """Return one column of all parts, as the type that holds them all; text where there is none."""
    import pyarrow as pa

    columns = [part.column(name) if name in part.column_names else pa.nulls(len(part)) for part in parts]
    plain = [_plain_type(column.type) for column in columns]
    kinds = {kind for kind in plain if not pa.types.is_null(kind)}
    kind = kinds.pop() if len(kinds) == 1 else pa.float64() if all(map(_is_numeric, kinds)) else pa.string()
    chunks = [chunk for column in columns for chunk in _chunks(column, kind)]
    joined = pa.chunked_array(chunks)
    if pa.types.is_dictionary(joined.type):
        joined = joined.unify_dictionaries()
    whole = joined.combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def _plain_type(kind: Any) -> Any:
    import pyarrow as pa

    found = kind.value_type if pa.types.is_dictionary(kind) else kind
    return found if _is_value(found) else pa.null()


def _is_numeric(kind: Any) -> bool:
    import pyarrow.types as pt

    return bool(pt.is_integer(kind) or pt.is_floating(kind))


def _chunks(column: Any, kind: Any) -> list[Any]:
    """Return the chunks of a column as a type; text is written once for each of its values."""
    import pyarrow as pa

    found = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    if not _is_value(_plain_type(found.type)):
        found = pa.chunked_array([pa.nulls(len(found), kind)])
    if pa.types.is_string(kind):
        encoded = found if pa.types.is_dictionary(found.type) else found.cast(kind).dictionary_encode()
        return [chunk.cast(pa.dictionary(pa.int32(), kind)) for chunk in encoded.chunks]
    return list(found.cast(kind).chunks)


def _footprints(parts: Sequence[pa.Table]) -> tuple[np.ndarray[Any, Any], list[bytes]]:
    known: dict[bytes, int] = {}
    codes = []
    for part in parts:
        for chunk in part.column("geometry").chunks:
            encoded = chunk if hasattr(chunk, "dictionary") else chunk.dictionary_encode()
            own = [known.setdefault(value, len(known)) for value in encoded.dictionary.to_pylist()]
            index = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            codes.append(np.array([*own, -1], dtype=np.int64)[index])
    return np.concatenate(codes), list(known)


def _box(part: pa.Table) -> np.ndarray[Any, Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_struct(part.schema.field("bbox").type):
        return np.full((len(part), 4), np.nan)
    sides = (pc.struct_field(part.column("bbox"), name) for name in ("xmin", "ymin", "xmax", "ymax"))
    return np.column_stack([np.asarray(side.to_numpy(), dtype=np.float64) for side in sides])


def _instants(table: pa.Table, name: str) -> np.ndarray[Any, Any]:
    import pyarrow as pa

    if name not in table.column_names:
        return np.full(len(table), _NEVER)
    values = table.column(name).cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    return np.asarray(values.fill_null(_NEVER).to_numpy())


def _rank(values: Any) -> np.ndarray[Any, Any]:
    """Return the dense rank of each value; nulls come last."""
    import pyarrow.compute as pc

    encoded = values if hasattr(values, "dictionary") else pc.dictionary_encode(values)
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    places = np.empty(len(order) + 1, dtype=np.int64)
    places[order] = np.arange(len(order))
    places[-1] = len(order)  # of null
    return np.asarray(places[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)])
