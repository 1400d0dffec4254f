"""stac-geoparquet: a file of items, one a row, on this machine, on S3 or on the web, read by ranges of bytes.

`GeoParquetCatalog` is what `open_catalog` returns for such a file. Times and places of all rows are read first, then
the rows that match.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from functools import cached_property
from typing import Any

import pystac

from stac_sm.core.errors import CatalogError
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.text import unknown_name_message
from stac_sm.stac.catalogs.catalog_interface import ReadableCatalog
from stac_sm.stac.catalogs.search import BBox, FoundItems, is_matching_item, item_from_document, leave_out, sort_by_id
from stac_sm.stac.index.shard import shard_root
from stac_sm.storage.address import (
    LOCAL,
    WEB,
    absolute_address,
    address_kind,
    is_absolute,
    join_address,
    local_path,
    scheme_of,
    split_address,
    without_query,
)
from stac_sm.storage.http.documents import STRUCTURE, Web
from stac_sm.storage.signing import public_address, without_secrets
from stac_sm.storage.store import STORE_KINDS
from stac_sm.storage.trust import check_href

MAX_ROWS = 5_000_000
"""Items in a file."""
MAX_GROUP_BYTES = 1 << 30
"""Of a row group, unpacked."""

_BATCH = 4096  # rows whose places and times are compared at once
_FULL_BATCH = 256  # rows that are read whole at once
_LARGEST_RANGE = 1 << 28
_HEAD = ("id", "collection", "bbox", "datetime", "start_datetime", "end_datetime")
_OUTSIDE = {
    "type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection",
}  # fmt: skip


class GeoParquetCatalog:
    """Catalogue of the items of a stac-geoparquet file. Open it again to see later changes."""

    def __init__(self, href: str) -> None:
        self._href = href

    @property
    def root(self) -> str:
        """Where the file is, without secrets."""
        return public_address(self._href)

    @property
    def collections(self) -> list[str]:
        """Ids of the collections that have items, in order."""
        found: set[str] = set()
        for batch in self._file.iter_batches(_BATCH, columns=["collection"]):
            found |= {str(id) for id in batch.column("collection").unique().to_pylist() if id is not None}
        return sorted(found)

    def items(
        self,
        collection: str,
        *,
        period: Period | None = None,
        bbox: BBox | None = None,
        left_out: dict[str, str] | None = None,
    ) -> list[pystac.Item]:
        """Find the items of a collection that meet a period and a box.

        Parameters
        ----------
        collection
            Id.
        period
            Whole UTC days, half-open; None: at any time.
        bbox
            West, south, east, north in degrees; west is greater than east across the antimeridian. None: anywhere.
        left_out
            Gets the documents that are no item, and why, by their id; the others are found. None: they are an error.

        Returns
        -------
        list of pystac.Item
            In the order of their ids; their hrefs are relative to their self href.

        Raises
        ------
        CatalogError
            If the file cannot be read, holds no such collection, or the answer is too long.
        """
        answer = FoundItems(self.root)

        def matches(head: Mapping[str, Any]) -> bool:
            try:
                return is_matching_item(head, collection, period, bbox, self.root)
            except CatalogError as error:
                leave_out(left_out, head.get("id"), error, self.root)
                return False

        for document, size in self._chosen(matches, collection):
            try:
                item = self._item(document)
            except CatalogError as error:
                leave_out(left_out, document.get("id"), error, self.root)
                continue
            answer.add(item, size)
        if not answer.items:
            self._require(collection)
        return sort_by_id(answer.items, collection)

    def item(self, collection: str, id: str) -> pystac.Item:
        """Return the item of an id.

        Parameters
        ----------
        collection
            Id of the collection.
        id
            Of the item.

        Returns
        -------
        pystac.Item
            Its hrefs are relative to its self href.

        Raises
        ------
        CatalogError
            If there is none.
        """
        for document, _ in self._chosen(lambda head: head["id"] == id, collection):
            if document.get("collection") in (None, collection):
                return self._item(document)
        raise CatalogError(f"item {id!r} is not in collection {collection!r} of {self.root}: check the id")

    def _require(self, collection: str) -> None:
        known = self.collections if "collection" in self._file.schema_arrow.names else []
        if known and collection not in known:
            raise CatalogError(f"{self.root}: {unknown_name_message('collection', collection, known)}")

    def _chosen(
        self, matches: Callable[[Mapping[str, Any]], bool], collection: str
    ) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield items that match by place and time, and their sizes: only the rows around them are read whole."""
        try:
            for group in range(self._file.num_row_groups):
                if self._may_hold(group, collection):
                    yield from self._chosen_in(group, matches)
        except (OSError, ValueError, OverflowError, TypeError, KeyError, NotImplementedError) as error:  # as of pyarrow
            raise self._unreadable(error) from None

    def _chosen_in(
        self, group: int, matches: Callable[[Mapping[str, Any]], bool]
    ) -> Iterator[tuple[dict[str, Any], int]]:
        columns = [name for name in _HEAD if name in self._file.schema_arrow.names]
        heads = self._file.iter_batches(_BATCH, row_groups=[group], columns=columns)
        rows = [matches(_document(row)) for batch in heads for row in batch.to_pylist()]
        if not any(rows):
            return
        first = 0
        for batch in self._file.iter_batches(_FULL_BATCH, row_groups=[group]):
            here = [i for i in range(len(batch)) if rows[first + i]]
            first += len(batch)
            for i in here:
                row = batch.slice(i, 1)
                yield _document(row.to_pylist()[0]), row.get_total_buffer_size() // max(1, len(batch))

    def _may_hold(self, group: int, collection: str) -> bool:
        """Return whether a row group can hold items of a collection, by its statistics."""
        metadata = self._file.metadata.row_group(group)
        if metadata.total_byte_size > MAX_GROUP_BYTES:
            raise CatalogError(
                f"{self.root}: a row group of {metadata.total_byte_size >> 20} MiB found, at most "
                f"{MAX_GROUP_BYTES >> 20} MiB allowed: write it with fewer rows a group"
            )
        for i in range(metadata.num_columns):
            column = metadata.column(i)
            if column.path_in_schema == "collection":
                return _may_lie_between(column, collection)
        return True

    @cached_property
    def _file(self) -> Any:
        import pyarrow.parquet as pq

        try:
            file = pq.ParquetFile(_source(self._href), pre_buffer=True)
        except (OSError, ValueError, NotImplementedError) as error:
            raise self._unreadable(error) from None
        absent = {"id", "geometry", "assets"} - set(file.schema_arrow.names)
        if absent:
            raise CatalogError(
                f"{self.root} is no stac-geoparquet: no column {', '.join(sorted(absent))} found; write items with "
                "rustac or stac-geoparquet"
            )
        if file.metadata.num_rows > MAX_ROWS:
            raise CatalogError(
                f"{self.root}: {file.metadata.num_rows} items found, at most {MAX_ROWS} allowed: split the file"
            )
        return file

    def _unreadable(self, error: Exception) -> CatalogError:
        said = without_secrets(str(error))[:300]
        return CatalogError(f"{self.root} cannot be read as stac-geoparquet: {said}; check the address and the file")

    def _item(self, document: dict[str, Any]) -> pystac.Item:
        own = next((link["href"] for link in document["links"] if link.get("rel") == "self"), "")
        own = self._moved_with_the_project(own, document.get("collection"))
        try:  # its own place, where the file may lead there; else what is relative is so to the file
            href = check_href(own, without_query(self._href)) if is_absolute(own) else self._place
        except CatalogError:
            href = self._place
        return item_from_document(document, href, without=STRUCTURE)

    def _moved_with_the_project(self, own: str, collection: str | None) -> str:
        """Return where an item's JSON is now: an index is read in place, too, after its project was moved or served."""
        then = shard_root(self._file.schema_arrow.metadata)
        folder, _ = split_address(without_query(self._place))
        now = folder.removesuffix(f"/{collection}/index")
        if then is None or now == folder or not own.startswith(f"{then.rstrip('/')}/"):
            return own
        path = own[len(then.rstrip("/")) + 1 :]
        return own if ".." in path.split("/") else join_address(now, path)

    @property
    def _place(self) -> str:
        return absolute_address(self._href)


_READABLE: type[ReadableCatalog] = GeoParquetCatalog


class RangeFile(io.RawIOBase):
    """File that is read by ranges of bytes."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self._size, self._fetch, self._at = size, fetch, 0

    def readable(self) -> bool:
        """Return True: it can be read."""
        return True

    def seekable(self) -> bool:
        """Return True: it can be read at any place."""
        return True

    def tell(self) -> int:
        """Return where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a byte, and return its place."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read the next bytes; all up to the end if the size is negative."""
        stop = self._size if size < 0 else min(self._at + size, self._size)
        if stop <= self._at:
            return b""
        if stop - self._at > _LARGEST_RANGE:
            raise OSError(f"{(stop - self._at) >> 20} MiB asked for at once, at most {_LARGEST_RANGE >> 20} allowed")
        content = self._fetch(self._at, stop)
        self._at = stop
        return content


def _source(href: str) -> Any:
    """Return what pyarrow reads a file from."""
    kind = address_kind(href)
    if kind is WEB:
        return _by_http(href)
    if kind is LOCAL:
        return str(local_path(href))
    store = STORE_KINDS.get(kind)
    if store is None or store.read_ranges is None:
        raise CatalogError(
            f"{without_secrets(href)}: scheme {scheme_of(href)!r} found, a path, s3, http or https is required"
        )
    return RangeFile(*store.read_ranges(href))


def _by_http(href: str) -> RangeFile:
    web = Web(href)
    known: dict[str, tuple[str | None, int]] = {}

    def fetch(start: int, stop: int) -> bytes:
        span = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        answer = web.request(href, headers=span, limit=stop - start)
        total = re.fullmatch(rf"bytes {start}-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
        if answer.status != 206 or total is None:
            raise CatalogError(f"{web.root}: its server gives no ranges of bytes: copy the file into a folder")
        version = (answer.headers.get("ETag"), int(total[2]))
        if known.setdefault("version", version) != version or len(answer.body) != min(stop, version[1]) - start:
            raise CatalogError(f"{web.root} has changed while it was read: try again")
        return answer.body

    fetch(0, 1)
    return RangeFile(known["version"][1], fetch)


def _document(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the item in a row: null stands for a field that the item does not have."""
    import shapely
    from shapely.geometry import mapping

    known = {name: _plain(value) for name, value in row.items() if value is not None and name != "geometry"}
    box = row.get("bbox")
    if isinstance(box, dict):
        axes = "xyz" if box.get("zmin") is not None else "xy"
        known["bbox"] = [_side(box, f"{axis}{end}") for end in ("min", "max") for axis in axes]
    assets = {key: asset for key, asset in known.get("assets", {}).items() if asset.get("href")}
    return {
        "type": "Feature",
        "stac_version": known.get("stac_version", "1.0.0"),
        "stac_extensions": known.get("stac_extensions", []),
        "id": known.get("id"),
        "geometry": None if row.get("geometry") is None else mapping(shapely.from_wkb(row["geometry"])),
        "properties": {"datetime": None} | {name: known[name] for name in known if name not in _OUTSIDE},
        "links": known.get("links", []),
        "assets": assets,
        **{name: known[name] for name in ("bbox", "collection") if name in known},
    }


def _may_lie_between(column: Any, text: str) -> bool:
    """Return whether a text may be in a column chunk, by its statistics."""
    if column.physical_type != "BYTE_ARRAY":  # damaged: pyarrow would abort the process over its statistics
        raise ValueError(f"column {column.path_in_schema} holds {column.physical_type}, BYTE_ARRAY required")
    known = column.statistics
    if not known or not known.has_min_max or not isinstance(known.min, str) or not isinstance(known.max, str):
        return True
    return bool(known.min <= text <= known.max)


def _side(box: Mapping[str, Any], name: str) -> Any:
    if name not in box:
        raise ValueError(f"bbox has {', '.join(box)} and no {name}")
    return box[name]


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, without fields that are null."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return utc_instant(value, time(0)).isoformat()
    return value
