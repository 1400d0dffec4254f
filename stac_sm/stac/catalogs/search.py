"""Item search: the one question that a cube asks of a catalogue of any kind, and the one filter that answers it.

Every kind of catalogue in this folder reads documents by `parse_document`, keeps those that meet `matches_search` and
returns them by `sort_by_id`, so that all kinds give the same answer. Answers are bounded.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pystac

from stac_sm.core.errors import CatalogError
from stac_sm.core.period import Period, parse_instant, readable_time
from stac_sm.storage.signing import public_address

BBox = tuple[float, float, float, float]

MAX_ITEMS = 50_000
"""Items in one answer, about 30 kB of memory each."""
MAX_ANSWER_BYTES = 400 << 20
"""Of the JSON of the items in one answer."""
MAX_ITEM_NESTING = 64
"""Objects and arrays within one another in an item."""

_INSTANT = timedelta(microseconds=1)
_DEPRECATED = "deprecated"  # property of what was retracted or superseded
_MALFORMED = (
    AttributeError, KeyError, IndexError, OverflowError, RecursionError, TypeError, ValueError, pystac.STACError,
)  # fmt: skip
_TIMES = ("datetime", "start_datetime", "end_datetime")


class ItemSearch(Protocol):
    """Question that a cube asks of a catalogue of any kind."""

    @property
    def root(self) -> str:
        """Where the catalogue is, without secrets: for messages."""

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
            In the order of their ids; may be kept by the catalogue, so they are not to be changed.

        Raises
        ------
        CatalogError
            If there is no such collection, it cannot be read, or the answer is too long.
        """


def item_period(item: pystac.Item) -> Period:
    """Return the days that an item covers.

    Parameters
    ----------
    item
        With ``datetime`` or an interval, which is closed.

    Returns
    -------
    Period
        Whole UTC days; the day of an end at midnight sharp is not among them.

    Raises
    ------
    CatalogError
        If the item has no time at all, or one that is none.
    """
    try:
        start = item.common_metadata.start_datetime or item.datetime
        end = item.common_metadata.end_datetime or item.datetime
        return _days(item.id, start, end)
    except (OverflowError, TypeError, ValueError) as error:
        raise CatalogError(
            f"item {item.id!r}: its times cannot be read ({error!s:.200}), such as 2019-06-01T12:00:00Z are required: "
            "correct the item"
        ) from error


def matches_search(
    id: str, properties: Mapping[str, Any], extent: Sequence[float] | None, period: Period | None, bbox: BBox | None
) -> bool:
    """Return whether an item meets a period and a box.

    Days are whole: an item that only touches midnight of another day does not meet that day. Boxes that only touch
    do meet, and a box whose west is greater than its east lies across the antimeridian.

    Parameters
    ----------
    id
        Of the item, for messages.
    properties
        With ``datetime`` or an interval.
    extent
        The item's bbox, which may have heights; None or empty: the item may be anywhere.
    period
        Whole UTC days, half-open; None: at any time.
    bbox
        West, south, east, north in degrees; None: anywhere.

    Returns
    -------
    bool
        True if it meets both.

    Raises
    ------
    CatalogError
        If a period is given and the item has no time.
    """
    if period is not None and not _period_of(id, properties).overlaps(period):
        return False
    if bbox is None or not extent:
        return True
    own = box_2d(extent)
    if own[1] > bbox[3] or own[3] < bbox[1]:
        return False
    return any(a <= d and c <= b for a, b in _longitudes(own) for c, d in _longitudes(bbox))


def box_2d(bbox: Sequence[float]) -> BBox:
    """Return a STAC bbox without heights.

    Parameters
    ----------
    bbox
        Four numbers, or six with the lowest and the greatest height in third and sixth place.

    Returns
    -------
    tuple of float
        West, south, east, north in degrees.
    """
    half = len(bbox) // 2
    west, south, east, north = (float(bbox[at]) for at in (0, 1, half, half + 1))  # text is refused, wherever it stands
    return (west, south, east, north)


def is_matching_item(
    document: Mapping[str, Any], collection: str, period: Period | None, bbox: BBox | None, where: str
) -> bool:
    """Return whether a document is an item of a collection that meets a period and a box; raise if it is malformed."""
    try:
        if document.get("collection") not in (None, collection):
            return False
        return matches_search(document["id"], document["properties"], document.get("bbox"), period, bbox)
    except _MALFORMED as error:
        raise no_item_error(where, error) from error


def item_from_document(document: Mapping[str, Any], href: str, *, without: Collection[str] = ("self",)) -> pystac.Item:
    """Build the item of a document.

    Parameters
    ----------
    document
        JSON of an item.
    href
        Where it was found: relative hrefs of its assets and links are taken from there.
    without
        Relations of the links that are left out: what is not in the item, pystac cannot follow.

    Returns
    -------
    pystac.Item
        With ``href`` as its self href.

    Raises
    ------
    CatalogError
        If it is no STAC item, or nested too deep.
    """
    try:
        if document.get("type") != "Feature":
            raise ValueError(f"type {document.get('type')!r} found, 'Feature' required")
        if _nested(document):
            raise ValueError(f"objects are nested in one another more than {MAX_ITEM_NESTING} times")
        links = [link for link in document.get("links") or [] if link["rel"] not in without]
        properties = document["properties"]
        quiet = {name: value for name, value in properties.items() if name != _DEPRECATED}
        times = {name: quiet[name] for name in _TIMES if quiet.get(name) is not None}
        quiet |= {name: readable_time(value, end=name == "end_datetime") for name, value in times.items()}
        item = pystac.Item.from_dict({**document, "properties": quiet, "links": links}, preserve_dict=False)
    except _MALFORMED as error:
        raise no_item_error(href, error) from error
    if _DEPRECATED in properties:  # put back afterwards: pystac warns of each, but reading a withdrawn one is no misuse
        item.properties[_DEPRECATED] = properties[_DEPRECATED]
    item.set_self_href(href)
    return item


def parse_document(content: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object in a document.

    Parameters
    ----------
    content
        Bytes of the document.
    where
        Its address, for messages, without secrets.

    Returns
    -------
    dict
        The object.

    Raises
    ------
    CatalogError
        If there is none.
    """
    try:
        document = json.loads(content)
    except RecursionError as error:
        raise CatalogError(f"{where}: JSON nested too deep: no STAC document is, check the address") from error
    except ValueError as error:
        raise CatalogError(
            f"{where} is no JSON ({error}): check the address; of ours, take it away: `stac-sm init` writes a "
            "catalogue or collection again, `stac-sm index` its links, and an item the command that made it"
        ) from error
    if not isinstance(document, dict):
        raise CatalogError(f"{where}: JSON {type(document).__name__} found, a STAC object required: check the address")
    return document


def leave_out(left_out: dict[str, str] | None, id: object, error: CatalogError, root: str) -> None:
    """Add a document that is no item to those that are left out, or raise the error where nobody asks for those.

    Parameters
    ----------
    left_out
        Gets it, and why, without the folder of the catalogue; None raises.
    id
        Of the document.
    error
        What is wrong.
    root
        Root of the catalogue.

    Raises
    ------
    CatalogError
        The error, if ``left_out`` is None.
    """
    if left_out is None:
        raise error
    left_out[str(id)] = str(error).replace(root.removesuffix("catalog.json").rstrip("/") + "/", "")


class FoundItems:
    """Items found so far, as many as one answer may hold."""

    def __init__(self, where: str) -> None:
        self.items: list[pystac.Item] = []
        self._where, self._size = where, 0

    def add(self, item: pystac.Item, size: int = 0) -> None:
        """Add an item.

        Parameters
        ----------
        item
            One more of the answer.
        size
            Bytes of its JSON.

        Raises
        ------
        CatalogError
            If there are too many now: says what to ask instead.
        """
        self.items.append(item)
        self._size += size
        if len(self.items) > MAX_ITEMS or self._size > MAX_ANSWER_BYTES:
            raise too_many_items_error(self._where, f"{MAX_ITEMS} items or {MAX_ANSWER_BYTES >> 20} MiB")


def sort_by_id(items: Iterable[pystac.Item], collection: str) -> list[pystac.Item]:
    """Return items in the order of their ids.

    Raises
    ------
    CatalogError
        If two have one id: which of them is meant is not known.
    """
    found = sorted(items, key=lambda item: item.id)
    for one, other in itertools.pairwise(found):
        if one.id == other.id:
            hrefs = " and ".join(public_address(str(item.get_self_href())) for item in (one, other))
            raise CatalogError(f"item {one.id!r} is twice in collection {collection!r}: {hrefs}; take one of them out")
    return found


def too_many_items_error(where: str, what: str) -> CatalogError:
    """Return the error of a question with too long an answer."""
    return CatalogError(f"{where}: more than {what} for one question: ask for a shorter period or a smaller bbox")


def no_item_error(where: str, error: Exception) -> CatalogError:
    """Return the error of a document that is no item."""
    text = f"{type(error).__name__}: {error}"[:300]
    return CatalogError(f"{public_address(where)} holds no STAC item: {text}; fix it, or take its link out")


def _period_of(id: str, properties: Mapping[str, Any]) -> Period:
    start = properties.get("start_datetime") or properties.get("datetime")
    end = properties.get("end_datetime") or properties.get("datetime")
    first, last = None if start is None else parse_instant(start), None if end is None else parse_instant(end, end=True)
    return _days(id, first, last)


def _days(id: str, start: datetime | None, end: datetime | None) -> Period:
    """Return the whole UTC days of a closed interval; an end at midnight sharp does not reach into the next day."""
    if start is None or end is None:
        raise CatalogError(f"item {id!r} has neither datetime nor an interval: it cannot be placed in time")
    first, last = _utc(start), _utc(end)
    if last < first:
        raise CatalogError(f"item {id!r} ends at {end}, before it begins at {start}: correct its times")
    if last > first:
        last = max(first, last - _INSTANT)
    return Period(first.date(), Period.of_day(last.date()).end)


def _utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)


def _longitudes(bbox: BBox) -> tuple[tuple[float, float], ...]:
    """Return intervals of longitude; across the antimeridian there are two."""
    west, _, east, _ = bbox
    return ((west, east),) if west <= east else ((west, 180.0), (-180.0, east))


def _nested(document: Mapping[str, Any]) -> bool:
    level: list[Any] = [document]
    for _ in range(MAX_ITEM_NESTING):
        inside = (child for node in level for child in (node.values() if isinstance(node, dict) else node))
        level = [child for child in inside if isinstance(child, (dict, list))]
        if not level:
            return False
    return True
