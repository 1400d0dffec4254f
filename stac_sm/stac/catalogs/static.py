"""Static catalogues: documents that lead to one another by links, wherever they lie and however they are laid out.

`StaticCatalog` walks such documents, which it reads through `Documents`: from a store (`stac_sm.stac.catalogs.catalog`)
or from the web (`stac_sm.storage.http.documents`). How deep and how far it walks is bounded.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, datetime
from typing import Any, Protocol

import pystac

from stac_sm.core.errors import CatalogError, InputError
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.core.text import unknown_name_message
from stac_sm.stac.catalogs.catalog_interface import ReadableCatalog
from stac_sm.stac.catalogs.search import (
    BBox,
    FoundItems,
    is_matching_item,
    item_from_document,
    leave_out,
    parse_document,
    sort_by_id,
    too_many_items_error,
)
from stac_sm.stac.items import may_hold
from stac_sm.stac.simulated import SIMULATED_FIELD
from stac_sm.storage.address import address_path
from stac_sm.storage.signing import public_address

MAX_DEPTH = 32
"""Catalogues between the root and an item."""
MAX_DOCUMENTS = 200_000
"""Documents that one question may lead to."""
MAX_ITEMS_KEPT = 4096
"""Items kept in memory, about 30 kB each."""

_LONGEST = 31  # days: how far before a day an item may begin that still covers it
_LONGEST_HREF = 4096  # characters
_LARGE = 1 << 18  # bytes of an item that is not kept
_LARGEST_HEAD = 1000  # characters
_MOST_NAMES = 40  # names in a message
_TIMES = ("datetime", "start_datetime", "end_datetime")

_Keeps = Callable[[str], bool]
"""Whether to look into a sub-catalogue of a title."""


class Documents(Protocol):
    """Place where the documents of a static catalogue are; a key names one of them."""

    @property
    def workers(self) -> int:
        """How many may be read at once."""

    @property
    def omitted_link_relations(self) -> Collection[str]:
        """Relations of the links that items come without."""

    def read(self, key: str) -> bytes:
        """Read a document."""

    def key(self, base: str, href: str) -> str:
        """Return the key of a link in a document."""

    def href(self, key: str) -> str:
        """Return where others find a document."""


class StaticCatalog:
    """Static STAC catalogue.

    Items are read when they are first asked for, and some of them kept: open the catalogue again to see later changes.
    """

    def __init__(self, root: str, documents: Documents, start: str) -> None:
        self._root, self._documents, self._start = public_address(root), documents, start
        self._items: OrderedDict[str, pystac.Item] = OrderedDict()
        self._heads: OrderedDict[str, dict[str, Any]] = OrderedDict()

    @property
    def root(self) -> str:
        """Where the catalogue is, without secrets."""
        return self._root

    @property
    def simulated(self) -> bool:
        """Whether the root says that the catalogue holds a simulated Earth."""
        return bool(self._document(self._start).get(SIMULATED_FIELD))

    @property
    def collections(self) -> list[str]:
        """Ids of the collections, in order; those inside other collections are left out."""
        return sorted(str(document.get("id")) for _, document in self._top_collections())

    def collection(self, id: str) -> dict[str, Any]:
        """Return the JSON of a collection, wherever it lies in the catalogue.

        Parameters
        ----------
        id
            Of the collection.

        Returns
        -------
        dict
            As it is stored.

        Raises
        ------
        CatalogError
            If it is not in the catalogue.
        """
        return self._find(id)[1]

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
            If there is no such collection, a document cannot be read or is malformed, or the answer is too long.
        """
        key, document = self._find(collection)
        answer = FoundItems(self.root)

        def matches(found: str, head: Mapping[str, Any]) -> bool:
            try:
                return is_matching_item(head, collection, period, bbox, self._documents.href(found))
            except CatalogError as error:
                leave_out(left_out, head.get("id"), error, self.root)
                return False

        def to_be_read() -> Iterator[str]:
            for found, _ in self._walk(key, document, _keeps(document, period)):
                if found not in self._heads:
                    yield found
                elif matches(found, self._heads[found]):
                    if found in self._items:
                        answer.add(self._items[found])
                    else:
                        yield found

        for found, content in _read_ahead(self._documents.read, to_be_read(), self._documents.workers):
            try:
                read = parse_document(content, public_address(self._documents.href(found)))
                self._remember(found, read)
                item = self._keep(found, read, len(content)) if matches(found, read) else None
            except CatalogError as error:
                leave_out(left_out, _stem(found), error, self.root)
                continue
            if item is not None:
                answer.add(item, len(content))
        return sort_by_id(answer.items, collection)

    def item(self, collection: str, id: str) -> pystac.Item:
        """Return the item of an id.

        It is looked for by the name of its link first; where its id names a day, on that day.

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
        key, document = self._find(collection)
        dated = [_keeps(document, Period.of_day(day), 0) for day in _days_in(id)] if _by_time(document) else []
        for keeps in (*dated, lambda _: True):
            for found, title in self._walk(key, document, _holding(id, keeps) if _is_ours(document) else keeps):
                if id in {title, _stem(found)}:
                    item = self._item(found)
                    if item.id == id:
                        return item
        return self._slowly(key, document, collection, id)

    def _slowly(self, key: str, document: dict[str, Any], collection: str, id: str) -> pystac.Item:
        """Return the item of an id in a layout that does not name its items: each is read."""
        if not _is_ours(document):
            for found, _ in self._walk(key, document, lambda _: True):
                item = self._item(found)
                if item.id == id:
                    return item
        raise CatalogError(f"item {id!r} is not in collection {collection!r} of {self.root}: check the id")

    def _find(self, id: str) -> tuple[str, dict[str, Any]]:
        """Return key and JSON of a collection: first where its id is in a link, then anywhere."""
        known = []
        for key, document in self._collections(id):
            if document.get("id") == id:
                return key, document
            known.append(str(document.get("id")))
        message = unknown_name_message("collection", id, sorted(set(known))[:_MOST_NAMES])
        raise CatalogError(f"{self.root}: {message}")

    def _collections(self, id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        root = self._document(self._start)
        for key, title in self._links(self._start, root, "child"):
            if id in {title, _stem(key), _folder(key)}:
                document = self._document(key)
                if document.get("type") == "Collection":
                    yield key, document
        outer = []
        for key, document in self._top_collections():
            yield key, document
            if not _is_ours(document):  # ours hold no others
                outer.append(key)
        for key in outer:
            for below, document in self._catalogs(key, into_collections=True):
                if below != key and document.get("type") == "Collection":
                    yield below, document

    def _top_collections(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for key, document in self._catalogs(self._start):
            if document.get("type") == "Collection":
                yield key, document

    def _walk(self, key: str, document: dict[str, Any], keeps: _Keeps) -> Iterator[tuple[str, str]]:
        """Yield keys and titles of the items below a collection, each once; collections inside are left out."""
        seen: set[str] = set()
        for folder, found in self._catalogs(key, keeps, document):
            for item, title in self._links(folder, found, "item"):
                if item not in seen:
                    seen.add(item)
                    self._bound(len(seen))
                    yield item, title

    def _catalogs(
        self,
        start: str,
        keeps: _Keeps = lambda _: True,
        collection: dict[str, Any] | None = None,
        *,
        into_collections: bool = False,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield a catalogue and those below it, by depth, each once: so links in a circle do no harm.

        Given a collection, other collections below it are left out; else the children of collections are.
        """
        seen, level = {start}, [start]
        for _ in range(MAX_DEPTH):
            below: list[str] = []
            first = [(start, collection, 0)] if collection and level == [start] else self._read(level)
            for key, document, _size in first:
                is_collection = document.get("type") == "Collection"
                if collection and is_collection and document.get("id") != collection.get("id"):
                    continue
                yield key, document
                if collection or into_collections or not is_collection:
                    below += self._children(key, document, keeps, seen)
            if not below:
                return
            level = below
        raise CatalogError(
            f"{self.root}: catalogues lie more than {MAX_DEPTH} deep in one another: open one of those further below"
        )

    def _children(self, parent: str, document: dict[str, Any], keeps: _Keeps, seen: set[str]) -> Iterator[str]:
        for child, title in self._links(parent, document, "child"):
            if child not in seen and keeps(title):
                seen.add(child)
                self._bound(len(seen))
                yield child

    def _bound(self, number: int) -> None:
        if number > MAX_DOCUMENTS:
            raise too_many_items_error(self.root, f"{MAX_DOCUMENTS} documents to read")

    def _links(self, key: str, document: Mapping[str, Any], rel: str) -> Iterator[tuple[str, str]]:
        links = document.get("links")
        for link in links if isinstance(links, list) else []:
            if isinstance(link, dict) and link.get("rel") == rel:
                href = str(link.get("href", ""))
                if not 0 < len(href) <= _LONGEST_HREF:
                    raise CatalogError(
                        f"{public_address(self._documents.href(key))}: link {rel!r} has an href of {len(href)} "
                        f"characters, 1 to {_LONGEST_HREF} required: fix it"
                    )
                yield self._documents.key(key, href), str(link.get("title", ""))

    def _document(self, key: str) -> dict[str, Any]:
        return parse_document(self._documents.read(key), public_address(self._documents.href(key)))

    def _read(self, keys: Iterable[str]) -> Iterator[tuple[str, dict[str, Any], int]]:
        """Yield documents and their sizes, in the order of their keys.

        Several are read at once, but they are parsed one by one, so that few are in memory.
        """
        for key, content in _read_ahead(self._documents.read, keys, self._documents.workers):
            yield key, parse_document(content, public_address(self._documents.href(key))), len(content)

    def _item(self, key: str) -> pystac.Item:
        if key not in self._items:
            content = self._documents.read(key)
            return self._keep(key, parse_document(content, public_address(self._documents.href(key))), len(content))
        return self._items[key]

    def _keep(self, key: str, document: Mapping[str, Any], size: int) -> pystac.Item:
        item = item_from_document(document, self._documents.href(key), without=self._documents.omitted_link_relations)
        if size <= _LARGE:
            self._items[key] = item
            while len(self._items) > MAX_ITEMS_KEPT:
                self._items.popitem(last=False)
        return item

    def _remember(self, key: str, document: Mapping[str, Any]) -> None:
        """Keep what decides whether an item is chosen, so that it need not be read to be left out."""
        properties = document.get("properties")
        known = properties if isinstance(properties, dict) else {}
        head = {name: document.get(name) for name in ("type", "id", "collection", "bbox")}
        head |= {"properties": {name: known[name] for name in _TIMES if known.get(name)}}
        if len(repr(head)) <= _LARGEST_HEAD:
            self._heads[key] = head
            while len(self._heads) > MAX_DOCUMENTS:
                self._heads.popitem(last=False)


_READABLE: type[ReadableCatalog] = StaticCatalog


def _read_ahead(read: Callable[[str], bytes], keys: Iterable[str], workers: int) -> Iterator[tuple[str, bytes]]:
    """Yield contents in the order of their keys, the next few being read meanwhile."""
    if workers == 1:
        yield from ((key, read(key)) for key in keys)
        return
    waiting: deque[tuple[str, Future[bytes]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for key in keys:
            waiting.append((key, pool.submit(read, key)))
            if len(waiting) > workers:
                first, content = waiting.popleft()
                yield first, content.result()
        for key, content in waiting:
            yield key, content.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _is_ours(collection: Mapping[str, Any]) -> bool:
    """Return whether a collection says that its items are named and placed as we do."""
    return "stac_sm:layout" in collection


def _holding(id: str, keeps: _Keeps) -> _Keeps:
    """Return whether a sub-catalogue of a title can also hold an item: of the parts of a large folder, one does."""
    return lambda title: may_hold(title, id) and keeps(title)


def _by_time(collection: Mapping[str, Any]) -> bool:
    """Return whether the sub-catalogues of a collection are its years, months and days: it says so itself, if ours."""
    return str(collection.get("stac_sm:layout", "")).startswith("year")


def _keeps(collection: Mapping[str, Any], period: Period | None, reach: int = _LONGEST) -> _Keeps:
    """Return whether a sub-catalogue of a title can hold items of a period.

    An item lies under the day it starts on: look back far enough for an 8-day or monthly composite.
    """
    if period is None or not _by_time(collection):
        return lambda _: True
    wide = Period(period.start - reach * ONE_DAY, period.end)

    def keeps(title: str) -> bool:
        try:
            return not re.fullmatch(r"[0-9]{4}(-[0-9]{2}){0,2}", title) or Period.parse(title).overlaps(wide)
        except InputError:
            return True  # no day at all

    return keeps


def _days_in(id: str) -> list[date]:
    """Return the days that an id may name: as ``2018182``, ``20180701`` or ``2018-07-01``."""
    days = []
    for text in re.findall(r"(?<!\d)(?:\d{8}|\d{7}|\d{4}-\d{2}-\d{2})(?!\d)", id):
        form = {7: "%Y%j", 8: "%Y%m%d", 10: "%Y-%m-%d"}[len(text)]
        try:
            days.append(datetime.strptime(text, form).date())
        except ValueError:
            continue
    return days


def _stem(key: str) -> str:
    return address_path(key).stem


def _folder(key: str) -> str:
    return address_path(key).parent.name
