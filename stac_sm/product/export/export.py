"""Export the product of a box or a point to one file: CF NetCDF, Zarr or Icechunk, with a STAC item beside it.

``stac-sm export`` calls `export_product`. Pixels come lazily through `product.read`, a few days at a time. Days can be
added to a file later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import pystac
from affine import Affine

from stac_sm.core.errors import InputError
from stac_sm.core.footprints import footprint_geometry
from stac_sm.core.grid import make_geobox
from stac_sm.core.parallel import own_threads
from stac_sm.core.period import ONE_DAY, Period, utc_instant
from stac_sm.product.export.cf import (
    COMMENT,
    EPOCH,
    MAPPING,
    day_bounds,
    day_numbers,
    empty_map,
    empty_series,
    global_attributes,
)
from stac_sm.product.export.files import DAYS_A_CHUNK, PIXELS_A_CHUNK, DayBlock, Days, ExportFile, export_file
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.product.read import interval_coverage, newest_items, open_product, open_product_on, point_series
from stac_sm.raster.readers import DEFAULT_READER
from stac_sm.stac.catalogs.search import BBox, ItemSearch
from stac_sm.stac.items import build_item, item_json, software_version
from stac_sm.stac.simulated import SIMULATED_FIELD, SIMULATED_NOTE, is_simulated, simulated_title
from stac_sm.storage.disk_lock import lock_file
from stac_sm.storage.signing import public_address

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

COLLECTION_ATTRIBUTE = "stac_collection"
"""Global attribute by which an export is known."""

MASK_ATTRIBUTE = "masked_flags"
"""Global attribute with the flags whose pixels are left out, with blanks between."""

_INPUTS = {False: "satellite and reanalysis data", True: "data of a simulated Earth"}
_MOST_BYTES = 1 << 28  # of the days that are in memory at once
_BYTES_A_PIXEL = 9  # two float32 and a byte
_MOST_CELLS = 200_000  # along a side of a grid: more is a mistyped step


@dataclass(frozen=True)
class ExportRequest:
    """What is exported, and to where."""

    period: Period
    """Days, each of them."""

    to: Path
    """File or folder to write."""

    bbox: BBox | None = None
    """West, south, east, north in degrees; or None for a point."""

    at: tuple[float, float] | None = None
    """Longitude and latitude of a point in degrees; None for a box."""

    step: float | None = None
    """Size of the cells of a grid in degrees, on multiples of it; None: the pixels of the product."""

    format: str = ""
    """``netcdf``, ``zarr`` or ``icechunk``; empty: by the suffix of ``to``."""

    mask: tuple[str, ...] = ()
    """Flags whose pixels are left out, as in `open_product`."""

    append: bool = False
    """Whether to add days to a file that is there."""


@dataclass(frozen=True)
class ExportResult:
    """What was written."""

    path: Path
    """The file or folder."""

    item: Path
    """JSON of the STAC item that describes it."""

    days: int
    """Days that were added now."""

    with_product: int
    """Of these, days of which the catalogue has the product."""

    period: Period
    """Days that the file has now."""

    left_out: tuple[str, ...]
    """Items that cannot be right, and why."""


@dataclass(frozen=True)
class _Source:
    """Where the values come from, without any of them."""

    empty: xr.Dataset
    names: tuple[str, ...]
    read: Callable[[Sequence[date], slice], Days]
    """Values of some days that follow one another, in some rows of a map."""

    block: int
    """Days to read at once."""

    rows: tuple[slice, ...]
    """Rows of a map to read at once, one after the other; one that holds all for a point."""

    geometry: dict[str, Any]
    bbox: list[float]
    left_out: tuple[str, ...]


def export_product(
    catalog: ItemSearch,
    request: ExportRequest,
    *,
    reader: str = DEFAULT_READER,
    progress: Callable[[int], None] = lambda total: None,
) -> ExportResult:
    """Export published soil moisture to one file, or add days to it.

    Parameters
    ----------
    catalog
        A catalogue that holds the product.
    request
        What to export, and to where.
    reader
        ``stackstac`` or ``odc``: both give the same values, bit for bit.
    progress
        Called with the number of blocks of days as each is written.

    Returns
    -------
    ExportResult
        Paths and counts. Values are float32, m3 m-3, NaN where there is none, and ``qa`` as published.

    Raises
    ------
    CatalogError
        If nothing was published there and then.
    InputError
        If the file is there and days are not to be added, or they do not follow those that it has on the same pixels;
        another file has the name of the item; or another process of this machine is exporting to the same file.
    ReadError
        If pixels cannot be read; the file stays as it was.
    """
    file = export_file(request.to, request.format)
    with lock_file(request.to.with_name(f".{request.to.name}.lock"), remove=True) as holder:
        if holder is not None:
            raise InputError(
                f"{request.to}: found another export at work on it{f', process {holder}' if holder else ''}; "
                "wait until it has ended, or give another name in --to"
            )
        return _export(catalog, request, file, reader, progress)


def _export(
    catalog: ItemSearch, request: ExportRequest, file: ExportFile, reader: str, progress: Callable[[int], None]
) -> ExportResult:
    """Export to a file whose lock is held, see `export_product`."""
    before = _days_there(file, request)
    _require_own_item(request)
    days = [day for day in request.period.days if not before or day > before[-1]]
    if not days:
        raise InputError(
            f"{request.to}: found {before[0]} to {before[-1]} in it; a period that ends later is required to add days"
        )
    _require_no_hole(request, before, days)
    added = Period(days[0], days[-1] + ONE_DAY)
    items = _items(catalog, request, added)
    source = _map_source(catalog, request, added, items, reader) if request.at is None else _point_source(
        catalog, request, added, items, reader
    )  # fmt: skip
    if before:
        _require_same_mask(file, request)
        _require_same_pixels(file, source.empty)
    whole = Period(before[0] if before else days[0], days[-1] + ONE_DAY)
    facts = _facts(catalog, request, items)
    empty = None if before else source.empty.assign_attrs(global_attributes(facts, source.bbox) | source.empty.attrs)
    file.write(empty, _blocks(source, days, progress), _changing(file, request, whole, items, before))
    item = _write_item(file, request, source, whole, facts, items, is_simulated(catalog, items))
    covered = {one.properties["start_datetime"][:10] for one in items}
    return ExportResult(
        request.to, item, len(days), sum(day.isoformat() in covered for day in days), whole, source.left_out
    )


def _days_there(file: ExportFile, request: ExportRequest) -> list[date]:
    """Return the days of the file that is there; none if it is to be made."""
    if not file.exists():
        return []
    if not request.append:
        raise InputError(f"{request.to}: it is there already; give --append to add days, or another name in --to")
    try:
        if file.attributes().get(COLLECTION_ATTRIBUTE) != PRODUCT_COLLECTION:
            raise ValueError(f"no attribute {COLLECTION_ATTRIBUTE} of {PRODUCT_COLLECTION}")
        file.drop_unfinished()
        with file.open() as there:
            numbers = [int(number) for number in there["time"].values]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{request.to}: no export of stac-sm found there ({error}); give another name in --to"
        ) from error
    return [EPOCH + timedelta(days=number) for number in numbers]


def _item_path(request: ExportRequest) -> Path:
    """Return where the item of ``june.nc`` lies: ``june.json``, or ``june.nc.json`` where that is of ``june.zarr``."""
    short, long = (request.to.with_name(f"{name}.json") for name in (request.to.stem, request.to.name))
    of_other = _described(short) not in (None, "", request.to.name)
    return long if of_other or _described(long) == request.to.name else short


def _described(item: Path) -> str | None:
    """Return the file name of the export that an item describes; empty where there is no file, None of other files."""
    if not item.exists():
        return ""
    try:
        name = Path(str(json.loads(item.read_text())["assets"]["data"]["href"])).name
    except (ValueError, KeyError, TypeError):
        return None
    return name if item.name in (f"{Path(name).stem}.json", f"{name}.json") else None


def _require_own_item(request: ExportRequest) -> None:
    """Refuse to write the item over a file that is not the item of this export, such as ``catalog.json``."""
    path = _item_path(request)
    if _described(path) not in ("", request.to.name):
        raise InputError(
            f"{path}: found another file where the STAC item of {request.to.name} is to be; give another name in --to"
        )


def _require_no_hole(request: ExportRequest, before: Sequence[date], days: Sequence[date]) -> None:
    if before and days[0] != before[-1] + ONE_DAY:
        raise InputError(
            f"{request.to}: found {before[0]} to {before[-1]} in it, and {days[0]} to be added; "
            f"a period from {before[-1] + ONE_DAY} on is required, so that no day is missing"
        )


def _require_same_mask(file: ExportFile, request: ExportRequest) -> None:
    """Refuse days of which other pixels are left out than of those that the file has."""
    found, asked = set(str(file.attributes().get(MASK_ATTRIBUTE, "")).split()), set(request.mask)
    if found != asked:
        there, new = (", ".join(sorted(flags)) or "no flag" for flags in (found, asked))
        raise InputError(
            f"{file.path}: found days without pixels of {there} in it, and days without those of {new} to be added; "
            "the --mask of the first export is required"
        )


def _require_same_pixels(file: ExportFile, empty: xr.Dataset) -> None:
    """Refuse days on other pixels, or with other variables, than the file has."""
    with file.open() as there:
        fixed = [str(name) for name, one in empty.variables.items() if "time" not in one.dims and one.dtype.kind == "f"]
        timed = {str(name) for name, one in empty.variables.items() if "time" in one.dims}
        other = {str(name) for name, one in there.variables.items() if "time" in one.dims} ^ timed
        other |= {
            name for name in fixed
            if name not in there or not np.array_equal(there[name].values, empty[name].values)
        }  # fmt: skip
    if other:
        raise InputError(
            f"{file.path}: found other pixels or variables in it ({', '.join(sorted(other))}); "
            "the box or point, --grid and product of the first export are required to add days"
        )


def _items(catalog: ItemSearch, request: ExportRequest, days: Period) -> list[pystac.Item]:
    """Return the items that the values come from."""
    bbox = request.bbox if request.at is None else (*request.at, *request.at)
    return newest_items(catalog.items(PRODUCT_COLLECTION, period=days, bbox=bbox, left_out={}))


def _map_source(
    catalog: ItemSearch, request: ExportRequest, days: Period, items: Sequence[pystac.Item], reader: str
) -> _Source:
    assert request.bbox is not None
    if request.step is None:
        cube = open_product(catalog, request.bbox, days, mask=request.mask, reader=reader)
    else:
        cube = open_product_on(catalog, _grid(request.bbox, request.step), days, mask=request.mask, reader=reader)
    geobox = cube.odc.geobox
    names = tuple(name for name in ("sm", "uncertainty", "qa") if name in cube)
    geometry, bbox = footprint_geometry(geobox)

    vertical = cube.sm.dims[1]

    def read(block: Sequence[date], rows: slice) -> Days:
        part = cube[list(names)].sel(time=[np.datetime64(day) for day in block]).isel({vertical: rows})
        with own_threads() as here:
            part = part.compute(**here)
        return {name: part[name].values for name in names}

    block, rows = _parts(*geobox.shape)
    left_out = tuple(cube.attrs.get("left_out", ()))
    empty = empty_map(geobox, names, interval_coverage(items))
    return _Source(empty, names, read, block, rows, geometry, bbox, left_out)


def _parts(height: int, width: int) -> tuple[int, tuple[slice, ...]]:
    """Return how many days, and which rows, of a map are in memory at once: whole chunks of the file where possible."""
    most = _MOST_BYTES // (_BYTES_A_PIXEL * width)  # rows of a day
    block = max(1, min(DAYS_A_CHUNK, most // min(height, PIXELS_A_CHUNK)))
    rows = most // block
    step = max(1, rows // PIXELS_A_CHUNK * PIXELS_A_CHUNK or rows)
    return block, tuple(slice(top, min(top + step, height)) for top in range(0, height, step))


def _point_source(
    catalog: ItemSearch, request: ExportRequest, days: Period, items: Sequence[pystac.Item], reader: str
) -> _Source:
    assert request.at is not None
    lon, lat = request.at
    series = point_series(catalog, lon, lat, days, mask=request.mask, reader=reader)
    names = tuple(name for name in ("sm", "uncertainty", "qa") if name in series)

    def read(block: Sequence[date], rows: slice) -> Days:
        part = series.loc[[np.datetime64(day) for day in block]]
        return {name: part[name].to_numpy(np.uint8 if name == "qa" else np.float32) for name in names}

    geometry = {"type": "Point", "coordinates": [lon, lat]}
    left_out = tuple(dict(series.attrs.get("left_out", {})).values())
    empty = empty_series(lon, lat, names, interval_coverage(items))
    return _Source(empty, names, read, len(days), (slice(None),), geometry, [lon, lat, lon, lat], left_out)


def _grid(bbox: BBox, step: float) -> GeoBox:
    """Return cells in degrees whose edges are multiples of a step, and that hold the box."""
    west, south, east, north = bbox
    if not 0 < step <= 10:
        raise InputError(f"--grid {step:g}: a size above 0 and up to 10 degrees is required, e.g. 0.01")
    if east <= west:
        raise InputError(
            f"--grid with the box {west:g},{south:g},{east:g},{north:g}: west of east is required; "
            "export the two sides of the antimeridian apart"
        )
    first, last = (
        np.floor([west / step + 1e-9, south / step + 1e-9]),
        np.ceil([east / step - 1e-9, north / step - 1e-9]),
    )
    columns, rows = (int(number) for number in last - first)
    if max(columns, rows) > _MOST_CELLS:
        raise InputError(
            f"--grid {step:g}: found {columns} x {rows} cells; up to {_MOST_CELLS} on a side can be written"
        )
    return make_geobox((rows, columns), Affine(step, 0, first[0] * step, 0, -step, last[1] * step), "EPSG:4326")


def _blocks(source: _Source, days: Sequence[date], progress: Callable[[int], None]) -> Iterator[DayBlock]:
    starts = range(0, len(days), source.block)
    for start in starts:
        block = days[start : start + source.block]
        yield DayBlock(
            {"time": day_numbers(block), "time_bnds": day_bounds(block)},
            ((rows, source.read(block, rows)) for rows in source.rows),
        )
        progress(len(starts))


def _facts(catalog: ItemSearch, request: ExportRequest, items: Sequence[pystac.Item]) -> dict[str, str]:
    """Return global attributes that say what the values come from."""

    def named(key: str) -> str:
        return ", ".join(sorted({str(item.properties[key]) for item in items if key in item.properties}))

    simulated = is_simulated(catalog, items)
    place = "{:g}, {:g}".format(*request.at) if request.at else "{:g}, {:g} to {:g}, {:g}".format(*(request.bbox or ()))
    return {
        "title": simulated_title(f"Surface soil moisture, {place}", simulated),
        "source": f"models of boosted trees, applied to {_INPUTS[simulated]}: see model and the STAC items",
        "stac_catalog": public_address(catalog.root),
        COLLECTION_ATTRIBUTE: PRODUCT_COLLECTION,
        "product_version": named("version"),
        "model": named("stac_sm:model"),
        **({MASK_ATTRIBUTE: " ".join(request.mask)} if request.mask else {}),
        **({"comment": f"{SIMULATED_NOTE} {COMMENT}", "keywords": "soil moisture, simulated"} if simulated else {}),
    }


def _changing(
    file: ExportFile, request: ExportRequest, whole: Period, items: Sequence[pystac.Item], before: Sequence[date]
) -> dict[str, str]:
    """Return the global attributes that each added day changes."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    line = f"{now} stac_sm {software_version()} export: {request.period}, {len(items)} STAC items"
    if before:
        with file.open() as there:
            line = f"{there.attrs.get('history', '')}\n{line}"
    return {
        "time_coverage_start": whole.start.isoformat(),
        "time_coverage_end": whole.days[-1].isoformat(),
        "history": line,
        "date_modified": now,
    }


def _write_item(
    file: ExportFile,
    request: ExportRequest,
    source: _Source,
    whole: Period,
    facts: dict[str, str],
    items: Sequence[pystac.Item],
    simulated: bool,
) -> Path:
    """Write the STAC item that describes the file, with the datacube extension, beside it."""
    path = _item_path(request)
    id = re.sub(r"[^A-Za-z0-9_.-]", "-", request.to.stem).lstrip(".-") or "export"
    item = build_item(
        id=id,
        collection=PRODUCT_COLLECTION,
        geometry=source.geometry,
        bbox=source.bbox,
        start=utc_instant(whole.start),
        end=utc_instant(whole.end),
        properties={
            "title": facts["title"],
            "version": facts["product_version"],
            **({SIMULATED_FIELD: True} if simulated else {}),
            **_datacube(source.empty, whole),
        },
        extensions=["version", "datacube"],
    )
    del item["collection"]  # it lies in no catalogue yet
    data = {"href": f"./{request.to.name}", "type": file.media_type, "roles": ["data"], "title": facts["title"]}
    item["assets"] = {"data": data}
    hrefs = {*_hrefs_before(path, request), *filter(None, (one.get_self_href() for one in items))}
    item["links"] = [{"rel": "derived_from", "href": href, "type": "application/geo+json"} for href in sorted(hrefs)]
    path.write_bytes(item_json(item))
    return path


def _hrefs_before(path: Path, request: ExportRequest) -> list[str]:
    """Return the items that the days before were made from."""
    if not (request.append and path.exists()):
        return []
    return [link["href"] for link in json.loads(path.read_text())["links"] if link["rel"] == "derived_from"]


def _datacube(empty: xr.Dataset, whole: Period) -> dict[str, Any]:
    """Return the properties of the datacube extension."""
    axes = {"X": "x", "Y": "y"}
    dimensions: dict[str, Any] = {
        "time": {
            "type": "temporal",
            "extent": [f"{whole.start}T00:00:00Z", f"{whole.days[-1]}T00:00:00Z"],
            "step": "P1D",
        }
    }
    reference = empty[MAPPING].attrs["crs_wkt"]
    for name, one in empty.variables.items():
        if one.attrs.get("axis") in axes and one.ndim == 1:
            dimensions[str(name)] = {
                "type": "spatial",
                "axis": axes[one.attrs["axis"]],
                "extent": [float(one.values.min()), float(one.values.max())],
                "step": float(one.values[1] - one.values[0]) if one.size > 1 else None,
                "reference_system": 4326 if name in {"lat", "lon"} else pyproj.CRS(reference).to_json_dict(),
            }
    data = [str(name) for name, one in empty.variables.items() if "grid_mapping" in one.attrs]
    variables = {
        name: {
            "dimensions": list(map(str, empty[name].dims)),
            "type": "data",
            "description": empty[name].attrs["long_name"],
            **({"unit": empty[name].attrs["units"]} if "units" in empty[name].attrs else {}),
        }
        for name in data
    }
    return {"cube:dimensions": dimensions, "cube:variables": variables}
