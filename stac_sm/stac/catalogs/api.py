"""STAC APIs as catalogues: the same question as of any catalogue, asked by search through pystac-client.

All requests go through `stac_sm.storage.http.documents`, so that answers are bounded and links lead only where the API
may lead. Answers are filtered again by `is_matching_item`, since APIs differ in how they compare times and boxes.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode, urljoin

import pystac

from stac_sm.core.errors import CatalogError
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.stac.catalogs.catalog_interface import ReadableCatalog
from stac_sm.stac.catalogs.search import (  # fmt: skip
    MAX_ITEMS,
    BBox,
    FoundItems,
    is_matching_item,
    item_from_document,
    leave_out,
    parse_document,
    sort_by_id,
    too_many_items_error,
)
from stac_sm.storage.address import resolve_href
from stac_sm.storage.http.documents import STRUCTURE, NotThereError, Web
from stac_sm.storage.signing import without_secrets
from stac_sm.storage.trust import check_href

if TYPE_CHECKING:
    from pystac_client import Client

T = TypeVar("T")

MAX_PAGES = 2000
"""Requests for one question."""
MAX_PAGE_BYTES = 64 << 20

_PAGE = 250  # items in an answer
_ITEM_SEARCH = "/item-search"
_ALL_ROUND = 360.0


def is_api(document: Mapping[str, Any]) -> bool:
    """Return whether a document is the landing page of a STAC API that can be searched."""
    conforms = document.get("conformsTo")
    return isinstance(conforms, list) and any(_ITEM_SEARCH in str(one) for one in conforms)


class ApiCatalog:
    """STAC API, searched through pystac-client; some answers are kept."""

    def __init__(self, root: str, web: Web | None = None) -> None:
        self._href = root.rstrip("/")
        self._web = web or Web(root)
        self._client: Client | None = None
        self._answers: OrderedDict[Any, tuple[list[pystac.Item], dict[str, CatalogError]]] = OrderedDict()

    @property
    def root(self) -> str:
        """Its landing page, without secrets."""
        return without_secrets(self._href)

    @property
    def collections(self) -> list[str]:
        """Ids of the collections, in order."""
        return sorted(one.id for one in self._asked(lambda client: list(client.get_collections())))

    def collection(self, id: str) -> dict[str, Any]:
        """Return the JSON of a collection.

        Parameters
        ----------
        id
            Of the collection.

        Returns
        -------
        dict
            As the API gives it.

        Raises
        ------
        CatalogError
            If it is not in the API.
        """
        href = f"{self._href}/collections/{quote(id, safe='')}"
        try:
            return parse_document(self._web.request(href).body, without_secrets(href))
        except NotThereError:
            raise CatalogError(f"collection {id!r} is not in the STAC API {self.root}: check its name") from None

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
            If the API does not answer, has no such collection, or more items than one answer may hold.
        """
        question = (collection, period, bbox)
        if question not in self._answers:
            self._answers[question] = self._search(collection, period, bbox)
            while sum(len(items) for items, _ in self._answers.values()) > MAX_ITEMS:
                self._answers.popitem(last=False)
        else:
            self._answers.move_to_end(question)
        found, bad = self._answers[question]
        for id, error in bad.items():
            leave_out(left_out, id, error, self.root)
        return found

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
        for document in self._found(collections=[collection], ids=[id]):
            if document.get("id") == id and is_matching_item(document, collection, None, None, self.root):
                return self._item(document)
        raise CatalogError(f"item {id!r} is not in collection {collection!r} of {self.root}: check the id")

    def _search(
        self, collection: str, period: Period | None, bbox: BBox | None
    ) -> tuple[list[pystac.Item], dict[str, CatalogError]]:
        """Return the items, and the errors of documents that are none."""
        when = None if period is None else f"{period.start}T00:00:00Z/{period.end - ONE_DAY}T23:59:59.999999Z"
        answer, seen, bad = FoundItems(self.root), set(), dict[str, CatalogError]()
        for box in [None] if bbox is None else _boxes(bbox):
            for document in self._found(collections=[collection], datetime=when, bbox=box):
                try:
                    if not is_matching_item(document, collection, period, bbox, self.root) or document["id"] in seen:
                        continue
                    item = self._item(document)
                except CatalogError as error:
                    bad[str(document.get("id"))] = error
                    continue
                seen.add(document["id"])
                answer.add(item, _size(document))
        if not answer.items:
            self.collection(collection)
        return sort_by_id(answer.items, collection), bad

    def _found(self, **question: Any) -> Iterator[dict[str, Any]]:
        """Yield the documents of a search, page by page."""
        search = self._asked(lambda client: client.search(method=_method(client), limit=_PAGE, **question))
        pages = self._asked(lambda _: iter(search.pages_as_dicts()))
        for _ in range(MAX_PAGES):
            page = self._asked(lambda _: next(pages, None))
            if page is None:
                return
            yield from page.get("features", [])
        raise too_many_items_error(self.root, f"{MAX_PAGES} pages")

    def _item(self, document: dict[str, Any]) -> pystac.Item:
        own = next((link.get("href") for link in document.get("links", []) if link.get("rel") == "self"), "")
        below = f"{self._href}/collections/{quote(str(document.get('collection')))}/items/{quote(str(document['id']))}"
        try:
            href = check_href(resolve_href(str(own or below), below), self.root)
        except CatalogError:
            href = below  # it leads where the API may not: what is relative is so to where the item was found
        return item_from_document(document, href, without=STRUCTURE)

    def _asked(self, question: Callable[[Client], T]) -> T:
        from pystac_client import Client
        from pystac_client.exceptions import APIError

        try:
            if self._client is None:
                self._client = Client.open(self._href, stac_io=_bounded_io(self._web, self._href))
            return question(self._client)
        except (APIError, pystac.STACError, NotImplementedError, OSError, KeyError, TypeError, ValueError) as error:
            said = without_secrets(str(error))
            raise CatalogError(f"STAC API {self.root} gave no answer: {said}; check the address, try again") from None


_READABLE: type[ReadableCatalog] = ApiCatalog


def _bounded_io(web: Web, root: str) -> Any:
    """Return what pystac-client reads with: bounded, and never a file, whatever a link says."""
    from pystac_client.stac_api_io import StacApiIO

    class BoundedIO(StacApiIO):
        def read_text(self, source: Any, *arguments: Any, **options: Any) -> str:
            if isinstance(source, pystac.Link):
                return super().read_text(source, *arguments, **options)
            return self.request(str(source), *arguments, **options)

        def request(
            self,
            href: str,
            method: str | None = None,
            headers: dict[str, str] | None = None,
            parameters: dict[str, Any] | None = None,
        ) -> str:
            href = urljoin(f"{root}/", href)
            if (method or "GET").upper() == "POST":
                return web.request(href, json=parameters or {}, limit=MAX_PAGE_BYTES).body.decode()
            return web.request(_with_query(href, parameters or {}), limit=MAX_PAGE_BYTES).body.decode()

    return BoundedIO()


def _with_query(href: str, parameters: Mapping[str, Any]) -> str:
    """Add the parameters that have a value to the query of an address."""
    query = urlencode({name: value for name, value in parameters.items() if value is not None}, doseq=True)
    return f"{href}{'&' if '?' in href else '?'}{query}" if query else href


def _method(client: Client) -> str:
    """Return POST, unless the API says that it is searched by GET only."""
    methods = {str(link.extra_fields.get("method") or "GET") for link in client.get_links("search")}
    return "GET" if methods == {"GET"} else "POST"


def _boxes(bbox: BBox) -> list[BBox]:
    """Return boxes to ask for, wide enough for APIs that compare with geometries, and none across the antimeridian.

    Geometries have few corners, but the sides of a tile in another CRS are curved: the chord of a sinusoidal tile of
    10 degrees is up to 6 degrees off at 65 degrees north, and its pixels there would be missed without an error.
    """
    west, south, east, north = bbox
    farthest = min(max(abs(south), abs(north)), 89.0)
    margin = 1.2 / math.cos(math.radians(farthest)) ** 2
    south, north = max(south - 1.0, -90.0), min(north + 1.0, 90.0)
    width = (east - west) % _ALL_ROUND if west > east else east - west
    if width + 2 * margin >= _ALL_ROUND:
        return [(-180.0, south, 180.0, north)]
    left = (west - margin + 180.0) % _ALL_ROUND - 180.0
    right = left + width + 2 * margin
    if right <= 180.0:
        return [(left, south, right, north)]
    return [(left, south, 180.0, north), (-180.0, south, right - _ALL_ROUND, north)]


def _size(document: Mapping[str, Any]) -> int:
    """Return about how many bytes of JSON a document is."""
    return len(repr(document))
