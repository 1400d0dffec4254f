"""STAC items: how ours are built, named and placed.

Stages build items here as plain dictionaries, ready to be written, and hand them to `stac_sm.stac.publish`. Items carry
no wall-clock time and no host.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj

from stac_sm.core.errors import InputError
from stac_sm.core.footprints import footprint_geometry, item_geometry
from stac_sm.core.projections import ground_sample_distance, projection_properties
from stac_sm.core.variables import Variable
from stac_sm.storage.object_meta import MEDIA_TYPES
from stac_sm.storage.store import multihash, sha256

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

ItemDict = dict[str, Any]

_SCHEMAS = "https://stac-extensions.github.io/"
EXTENSIONS = {
    "classification": _SCHEMAS + "classification/v2.0.0/schema.json",
    "datacube": _SCHEMAS + "datacube/v2.3.0/schema.json",
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
COG_MEDIA_TYPE = MEDIA_TYPES[".tif"]
PARQUET_MEDIA_TYPE = MEDIA_TYPES[".parquet"]
_RESERVED = ("catalog", "collection", "index")  # in a folder of this name, our own JSON would look like an item
_PART = re.compile(r"(?:^|, )part ([0-9a-f]+)$")
_SAFE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}")


def check_id(text: str) -> str:
    """Return an id, if it can be part of a path.

    Parameters
    ----------
    text
        Id of an item or a collection.

    Returns
    -------
    str
        The same id.

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
    """Return the RFC 3339 text of an instant, to the second.

    Parameters
    ----------
    instant
        With a time zone.

    Returns
    -------
    str
        In UTC, as ``2019-06-01T12:00:00Z``.
    """
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def interval_properties(start: datetime, end: datetime) -> dict[str, str]:
    """Return ``datetime``, ``start_datetime`` and ``end_datetime`` of a half-open interval.

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
    """Build a STAC 1.1 item without assets and links.

    Parameters
    ----------
    id
        Of the item; see `check_id`.
    collection
        Id of its collection.
    geometry
        GeoJSON in degrees (WGS 84); the item holds it as `item_geometry` returns it.
    bbox
        West, south, east, north in degrees.
    start, end
        Half-open interval, with time zones.
    properties
        Further properties, which stand over those of time and software.
    extensions
        Keys of `EXTENSIONS`; ``processing`` and ``file`` are added.

    Returns
    -------
    dict
        JSON of the item.

    Raises
    ------
    InputError
        If an id cannot be part of a path.
    """
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": sorted(EXTENSIONS[name] for name in {*extensions, "processing", "file"}),
        "id": check_id(id),
        "geometry": item_geometry(geometry),
        "bbox": list(bbox),
        "properties": {
            **interval_properties(start, end),
            "processing:software": dict(software_of_items()),
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
    """Build an item of a raster on a GeoBox: geometry, bbox, ``gsd`` and ``proj:*`` follow from it.

    Where shape and transform differ between assets, each asset states its own.

    Parameters
    ----------
    id, collection, start, end
        As of `build_item`.
    geobox
        Shape (y, x), affine transform and CRS of the raster.
    properties
        Further properties; they stand over ``gsd`` and ``proj:*``.
    extensions
        Keys of `EXTENSIONS`; ``proj`` and ``raster`` are added.

    Returns
    -------
    dict
        JSON of the item, without assets and links.

    Raises
    ------
    InputError
        If an id cannot be part of a path.
    """
    geometry, bbox = footprint_geometry(geobox)
    return build_item(
        id=id,
        collection=collection,
        geometry=geometry,
        bbox=bbox,
        start=start,
        end=end,
        properties={"gsd": ground_sample_distance(geobox), **projection_properties(geobox), **(properties or {})},
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
    """Build the asset of a one-band COG, without its href.

    Parameters
    ----------
    variable
        Names the band, its unit and, unless there is a title, the asset.
    dtype
        Data type of the stored values, as NumPy spells it.
    nodata
        Stored value of pixels without data; None: the band has none.
    scale, offset
        Physical value = stored value x scale + offset.
    roles
        STAC roles of the asset.
    title
        For people; None: the description of the variable.

    Returns
    -------
    dict
        JSON of the asset.
    """
    band: dict[str, Any] = {"name": variable.name, "data_type": dtype, "unit": variable.unit, "raster:sampling": "area"}
    if nodata is not None:
        band["nodata"] = nodata
    if (scale, offset) != (1.0, 0.0):
        band |= {"raster:scale": scale, "raster:offset": offset}
    return {"title": title or variable.description, "type": COG_MEDIA_TYPE, "roles": list(roles), "bands": [band]}


def value_range(values: np.ndarray, nodata: float | int | None) -> dict[str, Any]:
    """Return the range of a band as its field ``statistics``, by which maps choose their colours.

    Parameters
    ----------
    values
        Stored values, any dims; NaN where there is none.
    nodata
        Stored value of pixels without data; None: the band has none.

    Returns
    -------
    dict
        ``statistics`` with ``minimum`` and ``maximum``, of four digits after the point; empty where there is no value,
        or one value only.
    """
    known = values[np.isfinite(values) & (values != nodata)] if nodata is not None else values[np.isfinite(values)]
    if not known.size or known.min() == known.max():
        return {}
    return {"statistics": {"minimum": round(float(known.min()), 4), "maximum": round(float(known.max()), 4)}}


def link_to_item(href: str, id: str) -> dict[str, str]:
    """Return the ``derived_from`` link to an item that another one was made from.

    Parameters
    ----------
    href
        Of the JSON of the item, relative to that of the other one.
    id
        Of the item.

    Returns
    -------
    dict
        JSON of the link.
    """
    return {"rel": "derived_from", "href": href, "type": "application/geo+json", "title": id}


def link_to_sources(href: str, title: str) -> dict[str, str]:
    """Return the link to a catalogue or collection of items that another one was made from.

    ``derived_from`` leads to items only; where they are many, ``related`` leads to what lists them.

    Parameters
    ----------
    href
        Of the JSON of the catalogue, relative to that of the item.
    title
        Of the catalogue.

    Returns
    -------
    dict
        JSON of the link.
    """
    return {"rel": "related", "href": href, "type": "application/json", "title": title}


def with_location(asset: Mapping[str, Any], href: str, *, size: int, sha256: str) -> dict[str, Any]:
    """Return an asset with its href, ``file:size`` and ``file:checksum``.

    Parameters
    ----------
    asset
        JSON without these three.
    href
        Where the file is, relative to the item or absolute.
    size
        Bytes.
    sha256
        Of the file, 64 digits in hex.

    Returns
    -------
    dict
        JSON of the asset; an href of its own stands over the given one.
    """
    return {"href": href, **asset, "file:size": size, "file:checksum": multihash(sha256)}


def item_folder(layout: str, item: ItemDict) -> str:
    """Return the folder of an item below the root: ``{collection}/…/{id}``.

    Parameters
    ----------
    layout
        ``flat``, or parts among ``year``, ``month``, ``day``, ``network`` and ``row``, joined by ``/``.
    item
        With id, collection and the properties from which the parts follow.

    Returns
    -------
    str
        Path below the root of the store.

    Raises
    ------
    InputError
        If a part of the layout is not in the item, or cannot be part of a path.
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
    """Return the digits by which the items of a large folder are distributed: the first name a part catalogue."""
    return sha256(id.encode())


def part_title(digits: str) -> str:
    """Return how the title of a part catalogue ends."""
    return f"part {digits}"


def may_hold(title: str, id: str) -> bool:
    """Return whether a catalogue of ours can hold an item, by its title: a part catalogue holds only its own."""
    part = _PART.search(title)
    return part is None or part_digits(id).startswith(part[1])


def with_structural_links(item: ItemDict, folder: str) -> ItemDict:
    """Return an item with relative links to root, parent and collection, put before its own links."""
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
    """Return the relative link between two places below one root.

    Parameters
    ----------
    from_folder
        Folder of the document that holds the link, below the root; empty for the root.
    to_path
        What it leads to, below the root.

    Returns
    -------
    str
        Begins with ``./`` or ``../``.
    """
    source, target = PurePosixPath(from_folder).parts, PurePosixPath(to_path).parts
    shared = 0
    while shared < min(len(source), len(target) - 1) and source[shared] == target[shared]:
        shared += 1
    up = [".."] * (len(source) - shared) or ["."]
    return "/".join([*up, *target[shared:]])


def item_json(item: Mapping[str, Any]) -> bytes:
    """Return the bytes of a STAC JSON file: the same item gives the same bytes.

    Parameters
    ----------
    item
        JSON of an item, a collection or a catalogue, without NaN.

    Returns
    -------
    bytes
        UTF-8, indented by two blanks, with a newline at the end.

    Raises
    ------
    ValueError
        If a number is NaN or infinite: JSON has none.
    """
    return (json.dumps(item, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


@lru_cache(maxsize=1)
def software_of_items() -> Mapping[str, str]:
    """Return the versions that decide the bytes of files, for ``processing:software``.

    With the same versions the same inputs give the same bytes; with others, the same decoded values.

    Returns
    -------
    dict of str to str
        ``stac_sm``; ``GDAL`` of rasterio and ``PROJ`` of pyproj (CRS and metadata in files); ``deflate``
        (compression); ``XGBoost`` and ``Numba`` (models and predictions).
    """
    import rasterio

    return {
        "stac_sm": software_version(),
        "GDAL": str(rasterio.__gdal_version__),
        "PROJ": str(pyproj.proj_version_str),
        "deflate": version("deflate"),
        "XGBoost": _version_of("xgboost-cpu", "xgboost"),
        "Numba": version("numba"),
    }


def _version_of(*names: str) -> str:
    """Return the version of the first package that is installed."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


@lru_cache(maxsize=1)
def software_version() -> str:
    """Return the version of this package."""
    return version("stac_sm")
