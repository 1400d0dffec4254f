"""Item JSON as the index reads it: the footprint, most of the text, is cut out, and made into WKB once for all."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stac_sm.errors import CatalogError
from stac_sm.items import ItemDict

ALL = "all"
"""Name of the only shard of a collection that is not laid out by time."""

_BEGIN, _END = b'\n  "geometry": {\n', b"\n  },\n"  # as `items.item_json` writes it
_CUT = {"cut": True}
_FOOTPRINTS = 4096  # kept in memory


@dataclass(frozen=True)
class Document:
    """One item on its way into a shard."""

    path: str
    """Of its JSON, below the root of the store."""

    item: ItemDict
    """The item; its ``geometry`` is not to be used."""

    footprint: bytes | None
    """Its geometry as ISO WKB."""


def document(path: str, content: bytes) -> Document:
    """The item in a JSON file.

    Raises
    ------
    CatalogError
        If there is none, or another than the path says.
    """
    try:
        item, footprint = _parsed(content)
        place = path.split("/")
        found, wanted = (item["type"], item["id"], item["collection"]), ("Feature", place[-2], place[0])
        if found != wanted:
            raise ValueError(f"{found} found, {wanted} wanted")
        month_of(item, "year")
        return Document(path, item, footprint)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CatalogError(f"{path} is no item ({error!r}): remove it, and make or ingest it again") from error


def month_of(item: Mapping[str, Any], layout: str) -> str:
    """Name of the shard that an item belongs to: ``2019-06``, or ``all`` in a collection not laid out by time.

    It is the UTC month of ``datetime``; where that is null, of ``start_datetime``.
    """
    if not layout.startswith("year"):
        return ALL
    properties = item["properties"]
    return f"{instant(properties.get('datetime') or properties['start_datetime']):%Y-%m}"


def instant(text: str) -> datetime:
    """UTC instant of RFC 3339 text."""
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


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
    """ISO WKB of GeoJSON; the same footprint is not made twice."""
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
