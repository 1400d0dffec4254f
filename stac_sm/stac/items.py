"""STAC items: how ours are built, named and placed.

Items are built as plain dictionaries, ready to be written; they carry no wall-clock time and no host.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from odc.geo.geobox import GeoBox

from stac_sm.core.errors import InputError
from stac_sm.core.grid import footprint_geometry, projection_properties
from stac_sm.core.variables import Variable
from stac_sm.storage.store import multihash, sha256

ItemDict = dict[str, Any]

_SCHEMAS = "https://stac-extensions.github.io/"
EXTENSIONS = {
    "classification": _SCHEMAS + "classification/v2.0.0/schema.json",
    "file": _SCHEMAS + "file/v2.1.0/schema.json",
    "grid": _SCHEMAS + "grid/v1.1.0/schema.json",
    "mlm": _SCHEMAS + "mlm/v1.5.0/schema.json",
    "processing": _SCHEMAS + "processing/v1.2.0/schema.json",
    "proj": _SCHEMAS + "projection/v2.0.0/schema.json",
    "raster": _SCHEMAS + "raster/v2.0.0/schema.json",
    "sci": _SCHEMAS + "scientific/v1.0.0/schema.json",
    "table": _SCHEMAS + "table/v1.2.0/schema.json",
    "version": _SCHEMAS + "version/v1.2.0/schema.json",
}
COG_MEDIA_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
PARQUET_MEDIA_TYPE = "application/vnd.apache.parquet"
_RESERVED = ("catalog", "collection", "index")  # in a folder of this name, our own JSON would look like an item
_PART = re.compile(r"(?:^|, )part ([0-9a-f]+)$")
_SAFE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}")


def check_id(text: str) -> str:
    """The id itself, if it can be part of a path.

    Raises
    ------
    InputError
        If it holds anything but letters, digits, ``_``, ``-`` and dots (none in front), or is the name of one of
        our own files.
    """
    if not _SAFE_ID.fullmatch(text) or ".." in text or text in _RESERVED:
        raise InputError(f"id {text!r} cannot be part of a path: use letters, digits, '_', '-' and single dots")
    return text


def isoformat(instant: datetime) -> str:
    """RFC 3339 text of a UTC instant, to the second."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def interval_properties(start: datetime, end: datetime) -> dict[str, str]:
    """``datetime``, ``start_datetime``, ``end_datetime`` of a half-open interval.

    STAC intervals are closed: the end is the last second inside, and ``datetime`` is the middle.
    """
    return {
        "datetime": isoformat(start + (end - start) / 2),
        "start_datetime": isoformat(start),
        "end_datetime": isoformat(end - timedelta(seconds=1)),
    }


def build_item(
    *,
    id: str,
    collection: str,
    geometry: Mapping[str, Any],
    bbox: Sequence[float],
    start: datetime,
    end: datetime,
    properties: Mapping[str, Any],
    extensions: Sequence[str],
) -> ItemDict:
    """STAC 1.1 item without assets and links; start and end are a half-open interval."""
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": sorted(EXTENSIONS[name] for name in {*extensions, "processing", "file"}),
        "id": check_id(id),
        "geometry": dict(geometry),
        "bbox": list(bbox),
        "properties": {
            **interval_properties(start, end),
            "processing:software": {"stac_sm": software_version()},
            **properties,
        },
        "links": [],
        "assets": {},
        "collection": check_id(collection),
    }


def raster_item(
    *,
    id: str,
    collection: str,
    geobox: GeoBox,
    start: datetime,
    end: datetime,
    properties: Mapping[str, Any] | None = None,
    extensions: Sequence[str] = (),
) -> ItemDict:
    """Item of a raster on a GeoBox: geometry, bbox and ``proj:*`` follow from it.

    Where shape and transform differ between assets, each asset states its own.
    """
    geometry, bbox = footprint_geometry(geobox)
    return build_item(
        id=id,
        collection=collection,
        geometry=geometry,
        bbox=bbox,
        start=start,
        end=end,
        properties=projection_properties(geobox) | dict(properties or {}),
        extensions=[*extensions, "proj", "raster"],
    )


def raster_asset(
    variable: Variable,
    *,
    dtype: str,
    nodata: float | int | None,
    scale: float = 1.0,
    offset: float = 0.0,
    roles: Sequence[str] = ("data",),
    title: str | None = None,
) -> dict[str, Any]:
    """Asset of a one-band COG, without its href."""
    band: dict[str, Any] = {"name": variable.name, "data_type": dtype, "unit": variable.unit, "raster:sampling": "area"}
    if nodata is not None:
        band["nodata"] = nodata
    if (scale, offset) != (1.0, 0.0):
        band |= {"raster:scale": scale, "raster:offset": offset}
    return {"title": title or variable.description, "type": COG_MEDIA_TYPE, "roles": list(roles), "bands": [band]}


def with_location(asset: Mapping[str, Any], href: str, *, size: int, sha256: str) -> dict[str, Any]:
    """Asset with its href, ``file:size`` and ``file:checksum``."""
    return {"href": href, **asset, "file:size": size, "file:checksum": multihash(sha256)}


def item_folder(layout: str, item: ItemDict) -> str:
    """Folder of an item below the root: ``{collection}/…/{id}``.

    ``layout`` is ``flat`` or parts among ``year``, ``month``, ``day``, ``network``, ``row`` joined by ``/``.
    """
    start = item["properties"].get("start_datetime") or item["properties"].get("datetime") or ""
    parts = {
        "year": start[:4],
        "month": start[5:7],
        "day": start[8:10],
        "network": item["properties"].get("stac_sm:network", ""),
        "row": item["properties"].get("grid:code", "")[-2:],
    }
    folders = [] if layout == "flat" else [check_id(parts[name]) for name in layout.split("/")]
    return str(PurePosixPath(item["collection"], *folders, item["id"]))


def part_digits(id: str) -> str:
    """Digits by which the items of a large folder are told apart: a part catalogue is named by the first of them."""
    return sha256(id.encode())


def part_title(digits: str) -> str:
    """How the title of a part catalogue ends."""
    return f"part {digits}"


def may_hold(title: str, id: str) -> bool:
    """Whether a catalogue of ours can hold an item, by its title: a part catalogue does not hold those of others."""
    part = _PART.search(title)
    return part is None or part_digits(id).startswith(part[1])


def with_structural_links(item: ItemDict, folder: str) -> ItemDict:
    """Item with relative links to root, parent and collection, put before its own links."""
    depth = len(PurePosixPath(folder).parts)
    parent = "../catalog.json" if depth > 2 else "../collection.json"
    links = [
        {"rel": "root", "href": "../" * depth + "catalog.json", "type": "application/json"},
        {"rel": "parent", "href": parent, "type": "application/json"},
        {"rel": "collection", "href": "../" * (depth - 1) + "collection.json", "type": "application/json"},
    ]
    own = [link for link in item["links"] if link["rel"] not in {"root", "parent", "collection", "self"}]
    return {**item, "links": links + own}


def relative_href(from_folder: str, to_path: str) -> str:
    """Relative link between two places below one root."""
    source, target = PurePosixPath(from_folder).parts, PurePosixPath(to_path).parts
    shared = 0
    while shared < min(len(source), len(target) - 1) and source[shared] == target[shared]:
        shared += 1
    up = [".."] * (len(source) - shared) or ["."]
    return "/".join([*up, *target[shared:]])


def item_json(item: Mapping[str, Any]) -> bytes:
    """The bytes of a STAC JSON file: the same item gives the same bytes."""
    return (json.dumps(item, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


@lru_cache(maxsize=1)
def software_version() -> str:
    """Version of this package."""
    from importlib.metadata import version

    return version("stac_sm")
