"""Read the product: a box as a lazy Dataset, a point as a time series.

Users of Python, pictures and validation read through this module. Pixels come through the same readers as the
inputs of the product (`features.cube`, `raster.pixels`). In a static catalogue, a point's items are found by the
index.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine

from stac_sm.core.errors import CatalogError, InputError
from stac_sm.core.footprints import footprint
from stac_sm.core.grid import make_geobox
from stac_sm.core.period import ONE_DAY, Period, days_in_words
from stac_sm.core.places import check_box, sides_text, swapped_box
from stac_sm.core.projections import snap_to_pixel_edges, transform_points
from stac_sm.core.text import unknown_name_message
from stac_sm.core.variables import PUBLISHED_FLAGS, QualityFlag
from stac_sm.features.cube import build
from stac_sm.features.inputs import resolve_inputs
from stac_sm.features.recipe import Feature, Recipe
from stac_sm.product.item import PRODUCT_COLLECTION, ProductDay
from stac_sm.raster.pixels import read_pixels
from stac_sm.raster.readers import DEFAULT_READER
from stac_sm.raster.resample import TargetPixels
from stac_sm.raster.source import BadItemError, raster_source
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.catalogs.catalog_interface import is_writable
from stac_sm.stac.catalogs.search import BBox, ItemSearch, item_from_document, item_period
from stac_sm.stac.catalogs.static import StaticCatalog
from stac_sm.stac.simulated import SIMULATED_NOTE, is_simulated, simulated_title
from stac_sm.storage.http.documents import CONNECTIONS

if TYPE_CHECKING:
    import pandas as pd
    import pystac
    import xarray as xr
    from odc.geo.geobox import GeoBox

_ASSETS = ("sm", "uncertainty", "qa")
_EDGE_POINTS = 33  # along each side of a box in degrees, whose sides are curved in the product's CRS


def open_product(
    catalog: ItemSearch, bbox: BBox, period: Period | str, *, mask: Sequence[str] = (), reader: str = DEFAULT_READER
) -> xr.Dataset:
    """Open published soil moisture of a box, lazily, on the product's own pixels.

    Of a tile-day in several versions the highest counts; what was withdrawn is left out.

    Parameters
    ----------
    catalog
        A catalogue that holds the product.
    bbox
        West, south, east, north in degrees.
    period
        Days of the Dataset, each of them: a `Period`, or e.g. ``"2019-06-08/2019-06-10"``, the last day included.
    mask
        Flags whose pixels are left out of ``sm`` and ``uncertainty``: names of `QualityFlag` in small letters, such as
        ``("clipped", "not_applicable")``. Frozen soil, snow and water have no value in any case.
    reader
        ``stackstac`` or ``odc``: both give the same values, bit for bit.

    Returns
    -------
    xarray.Dataset
        Dims (time, y, x) in the product's CRS: ``sm`` float32, m3 m-3, NaN where there is no value; ``uncertainty``
        float32, half width of the prediction interval in m3 m-3, only if it was published; ``qa`` uint8, bits of
        `QualityFlag` (``INPUT_MISSING`` where nothing was published). Nothing is read before compute.
        ``attrs["left_out"]`` lists items that cannot be right, where there are any; ``attrs["simulated"]`` is there if
        the product is of a simulated Earth, and the name of ``sm`` says so.

    Raises
    ------
    CatalogError
        If nothing was published there and then.
    InputError
        If the box is none, or a flag is unknown.
    ReadError
        At compute, if pixels cannot be read: a failed read is never NaN.
    """
    days = Period.of(period)
    found = _product(catalog, _checked(bbox), days)
    geobox = _geobox(found, bbox)
    outline = footprint(geobox)
    if outline is not None and not _inside(outline.bounds, bbox):  # the box is curved on the product's pixels
        found = _product(catalog, outline.bounds, days)
    return _cube(found, geobox, days, _bits(mask), reader)


def open_product_on(
    catalog: ItemSearch, geobox: GeoBox, period: Period | str, *, mask: Sequence[str] = (), reader: str = DEFAULT_READER
) -> xr.Dataset:
    """Open published soil moisture on the pixels of any GeoBox, lazily.

    Each pixel takes the value of the product's pixel at its centre.

    Parameters
    ----------
    catalog
        A catalogue that holds the product.
    geobox
        Pixels of the Dataset, in any CRS.
    period
        Days of the Dataset, each of them: a `Period`, or e.g. ``"2019-06-08/2019-06-10"``, the last day included.
    mask
        Flags whose pixels are left out, as in `open_product`.
    reader
        ``stackstac`` or ``odc``: both give the same values, bit for bit.

    Returns
    -------
    xarray.Dataset
        As in `open_product`, dims (time, y, x) of the GeoBox.

    Raises
    ------
    CatalogError
        If nothing was published there and then.
    InputError
        If the GeoBox lies off the Earth, or a flag is unknown.
    ReadError
        At compute, if pixels cannot be read.
    """
    days, outline = Period.of(period), footprint(geobox)
    if outline is None:
        raise InputError(f"the box {geobox.boundingbox} lies off the Earth: choose another tile")
    return _cube(_product(catalog, outline.bounds, days), geobox, days, _bits(mask), reader)


def point_series(
    catalog: ItemSearch,
    lon: float,
    lat: float,
    period: Period | str,
    *,
    mask: Sequence[str] = (),
    reader: str = DEFAULT_READER,
) -> pd.DataFrame:
    """Read published soil moisture of the pixel that holds a point, at once from many files.

    In a static catalogue, the items are found by its index (`stac-sm index`), and days that are not in it by the
    catalogue itself. Of a tile-day in several versions the highest counts; what was withdrawn is left out.

    Parameters
    ----------
    catalog
        A catalogue that holds the product.
    lon, lat
        Degrees east and north.
    period
        Days of the series: a `Period`, or e.g. ``"2019-06-08/2019-06-10"``, the last day included.
    mask
        Flags whose days have no ``sm`` and ``uncertainty``, as in `open_product`.
    reader
        ``stackstac`` or ``odc``: both give the same values, bit for bit.

    Returns
    -------
    pandas.DataFrame
        Index ``time`` (UTC days of the period); ``sm`` m3 m-3, NaN where there is no value; ``uncertainty`` m3 m-3,
        half width of the prediction interval, only if it was published; ``qa`` uint8, bits of `QualityFlag`
        (``INPUT_MISSING`` where nothing was published). ``attrs["left_out"]`` names items that cannot be right, where
        there are any; ``attrs["simulated"]`` is there if the product is of a simulated Earth; ``attrs["coverage"]`` is
        the share of the truth that all intervals are to hold, 0 to 1, where the items state it.

    Raises
    ------
    CatalogError
        If nothing was published there and then.
    InputError
        If the point is none, or a flag is unknown.
    ReadError
        If a file cannot be read.
    """
    days, bits = Period.of(period), _bits(mask)
    left_out: dict[str, str] = {}
    holding = _holding(catalog, lon, lat, days, left_out)
    if not holding and left_out:
        raise CatalogError(next(iter(left_out.values())))
    if not holding:
        raise _nothing(catalog, (lon, lat, lon, lat), days)
    reads = []
    for day, one in holding.items():
        for name in (name for name in _ASSETS if name in one.item.assets):
            try:
                source = raster_source(one.item, name).with_feature(None, "", catalog.root)
            except BadItemError as error:
                left_out[f"{one.item.id}/{name}"] = str(error)
                continue
            reads.append((day, source, one.pixel))
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        values = pool.map(lambda read: float(read_pixels(read[1], [read[2]], reader=reader)[0]), reads)
        known = {(day, source.asset): value for (day, source, _), value in zip(reads, values, strict=True)}
    series = _series(days, known, bits)
    if left_out:
        series.attrs["left_out"] = dict(sorted(left_out.items()))
    items = [one.item for one in holding.values()]
    if is_simulated(catalog, items):
        series.attrs["simulated"] = SIMULATED_NOTE
    if (coverage := interval_coverage(items)) is not None:
        series.attrs["coverage"] = coverage
    return series


def interval_coverage(items: Iterable[pystac.Item]) -> float | None:
    """Return the share of the truth that the prediction intervals of tile-days are to hold.

    Parameters
    ----------
    items
        Tile-days.

    Returns
    -------
    float or None
        0 to 1; None where an item does not state it, or two differ.
    """
    found = {item.properties.get("stac_sm:coverage") for item in items}
    coverage = next(iter(found)) if len(found) == 1 else None
    return float(coverage) if isinstance(coverage, int | float) else None


_DAYS_AROUND = (31, 366, None)  # of those that were asked for, in which days with values are looked for; None: all


@dataclass(frozen=True)
class _Found:
    """Items of the product that were found, as a catalogue that is read for each asset and was searched once."""

    root: str
    found: tuple[pystac.Item, ...]
    left_out: Mapping[str, str]
    simulated: bool

    def items(
        self,
        collection: str,
        *,
        period: Period | None = None,
        bbox: BBox | None = None,
        left_out: dict[str, str] | None = None,
    ) -> list[pystac.Item]:
        return list(self.found)


@dataclass(frozen=True)
class _Pixel:
    """An item, and the row and column of the pixel that holds a point."""

    item: pystac.Item
    pixel: tuple[int, int]


def _product(catalog: ItemSearch, bbox: BBox, days: Period) -> _Found:
    bad: dict[str, str] = {}
    found = newest_items(catalog.items(PRODUCT_COLLECTION, period=days, bbox=bbox, left_out=bad))
    if not found:
        raise CatalogError(next(iter(bad.values()))) if bad else _nothing(catalog, bbox, days)
    return _Found(catalog.root, tuple(found), bad, is_simulated(catalog, found))


def _cube(found: _Found, geobox: GeoBox, days: Period, bits: int, reader: str) -> xr.Dataset:
    resolution = resolve_inputs(found, _recipe(found.found), geobox, days)
    cube = build(resolution, TargetPixels(geobox), reader=reader).rename(soil_moisture="sm")
    unknown = np.float32(QualityFlag.INPUT_MISSING)
    cube = cube.assign(qa=cube.qa.fillna(unknown).astype(np.uint8).assign_attrs(cube.qa.attrs))
    if bad := {**found.left_out, **resolution.left_out_items}:
        cube = cube.assign_attrs(left_out=sorted(bad.values()))
    kept = (cube.qa & np.uint8(bits)) == 0
    cube = cube.assign({name: cube[name].where(kept) for name in ("sm", "uncertainty") if bits and name in cube})
    if found.simulated:
        cube = cube.assign_attrs(simulated=SIMULATED_NOTE)
        cube.sm.attrs["long_name"] = simulated_title(str(cube.sm.attrs.get("long_name", "soil moisture")), True)
    return cube


def _nothing(catalog: ItemSearch, bbox: BBox, days: Period) -> CatalogError:
    place = ", ".join(f"{end:g}" for end in bbox)
    found = f"{catalog.root}: no product found in {place} (degrees west, south, east, north) on {days}"
    swapped = swapped_box(bbox)
    if swapped is not None and any(
        True for _ in catalog.items(PRODUCT_COLLECTION, period=days, bbox=swapped, left_out={})
    ):
        numbers = ",".join(f"{end:g}" for end in (swapped[:2] if swapped[:2] == swapped[2:] else swapped))
        return CatalogError(f"{found}: there is some at {numbers}: the longitude comes first, then the latitude")
    return CatalogError(f"{found}: {days_there(catalog, bbox, days)}")


def days_there(catalog: ItemSearch, bbox: BBox | None, near: Period, collection: str = PRODUCT_COLLECTION) -> str:
    """Return text that names the days with values, for a message that there are none on others.

    Parameters
    ----------
    catalog
        Catalogue with the product.
    bbox
        West, south, east, north in degrees; None for anywhere.
    near
        The days that were asked for: those around them are looked for first.
    collection
        The product, or its global days.

    Returns
    -------
    str
        What to do, with ranges of days if there are any.
    """
    for margin in _DAYS_AROUND:
        around = None if margin is None or not 2 < near.start.year < near.end.year + 1 < 9999 else near.widened(margin)
        items = catalog.items(collection, period=around, bbox=bbox, left_out={})
        found = {
            day
            for item in items
            if item.properties.get("stac_sm:pixels", {}).get("valid", 1)
            for day in item_period(item).days
        }
        if found:
            where = "" if margin is None else f" within {margin} days of them"
            return f"days with values there{where}: {days_in_words(found)}"
    return "no day has values there; `stac-sm plan` says what can be made"


def newest_items(items: Iterable[pystac.Item]) -> list[pystac.Item]:
    """Return of each place and day the item of the highest version, unless it was withdrawn.

    Parameters
    ----------
    items
        Items of the product.

    Returns
    -------
    list of pystac.Item
        Those with soil moisture, in the order of their ids.
    """
    newest: dict[tuple[Any, ...], pystac.Item] = {}
    for item in sorted(items, key=lambda item: (str(item.properties.get("version", "")), item.id)):
        place = str(item.properties.get("grid:code")), _numbers(item.properties.get("proj:transform"))
        newest[place, item_period(item)] = item
    return sorted((item for item in newest.values() if "sm" in item.assets), key=lambda item: item.id)


def _numbers(values: Any) -> tuple[Any, ...]:
    """Return numbers as floats; something else as text, which tells it from others."""
    try:
        return tuple(float(value) for value in values or ())
    except (TypeError, ValueError):
        return (str(values),)


def items_of_version(items: Iterable[pystac.Item], version: str) -> list[pystac.Item]:
    """Return the items of one version of the product, without those that were withdrawn.

    Parameters
    ----------
    items
        Items of the product, of any versions.
    version
        Product version, e.g. ``001``.

    Returns
    -------
    list of pystac.Item
        Those with soil moisture, in the order of their ids.
    """
    return newest_items(item for item in items if str(item.properties.get("version", "")) == version)


def _recipe(items: Sequence[pystac.Item]) -> Recipe:
    features = [Feature("soil_moisture", PRODUCT_COLLECTION, "sm"), Feature("qa", PRODUCT_COLLECTION, "qa")]
    if any("uncertainty" in item.assets for item in items):
        features.append(Feature("uncertainty", PRODUCT_COLLECTION, "uncertainty"))
    return Recipe(tuple(features))


def _bits(mask: Sequence[str]) -> int:
    """Return flags as one number, from their names."""
    known = {name.lower(): flag for name, flag in QualityFlag.__members__.items()}  # with the names of older items
    names = (mask,) if isinstance(mask, str) else tuple(mask)
    for name in names:
        if name not in known:
            published = [str(flag.name).lower() for flag in PUBLISHED_FLAGS]
            raise InputError(unknown_name_message("mask: flag", name, published))
    return int(sum(known[name] for name in set(names)))


def _holding(catalog: ItemSearch, lon: float, lat: float, days: Period, left_out: dict[str, str]) -> dict[date, _Pixel]:
    """Return the items that hold a point, by day."""
    bbox = _checked((lon, lat, lon, lat))
    found = _by_day(_indexed(catalog, bbox, days), bbox, days, left_out)
    for gap in _gaps(found, days):
        items = catalog.items(PRODUCT_COLLECTION, period=gap, bbox=bbox, left_out=left_out)
        found |= _by_day(items, bbox, days, left_out)
    return dict(sorted(found.items()))


def _by_day(items: Iterable[pystac.Item], bbox: BBox, days: Period, left_out: dict[str, str]) -> dict[date, _Pixel]:
    pixels: dict[GeoBox, tuple[int, int] | None] = {}
    found = dict[date, _Pixel]()
    for item in newest_items(items):
        try:
            geobox = raster_source(item, "sm").geobox
        except BadItemError as error:
            left_out[f"{item.id}/sm"] = str(error)
            continue
        if geobox not in pixels:
            pixels[geobox] = _pixel(geobox, bbox)
        pixel = pixels[geobox]
        if pixel is not None:
            found |= {day: _Pixel(item, pixel) for day in item_period(item).days if day in days}
    return found


def _pixel(geobox: GeoBox, point: BBox) -> tuple[int, int] | None:
    """Return the row and column of the pixel that holds a point; None if it lies outside."""
    try:
        (column, _), (row, _) = _pixels(geobox, point)
    except ValueError:  # a point that the CRS cannot show
        return None
    row -= point[1] == -90 and row == geobox.shape[0]  # the last edge has no other side, as `TileGrid.tile_at` has it
    column -= point[0] == 180 and column == geobox.shape[1]
    inside = 0 <= row < geobox.shape[0] and 0 <= column < geobox.shape[1]
    return (row, column) if inside else None


def _indexed(catalog: ItemSearch, bbox: BBox, days: Period) -> Iterator[pystac.Item]:
    """Yield what the index of a static catalogue knows; in a store, the items themselves are read, which are newer."""
    if not isinstance(catalog, StaticCatalog):
        return
    found: list[pystac.Item] = []
    folder = catalog.root.removesuffix("/catalog.json")
    hrefs = [f"{folder}/{PRODUCT_COLLECTION}/index/{month.start:%Y-%m}.parquet" for month in days.months()]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for items in pool.map(lambda href: _of_shard(href, bbox, days), hrefs):
            found += items
        yield from pool.map(lambda item: _fresh(catalog, item), found)


def _of_shard(href: str, bbox: BBox, days: Period) -> list[pystac.Item]:
    try:
        return open_catalog(href).items(PRODUCT_COLLECTION, period=days, bbox=bbox)
    except CatalogError:  # no index: the catalogue itself is asked
        return []


def _fresh(catalog: StaticCatalog, item: pystac.Item) -> pystac.Item:
    """Return the item as it is in a store now; one that is on the web, or not named as ours, as the index has it."""
    try:
        if not is_writable(catalog):
            return item
        path = ProductDay.of_id(item.id).path(catalog.layout(PRODUCT_COLLECTION))
        return item_from_document(json.loads(catalog.store.read(path)), catalog.store.href(path))
    except InputError:
        return item


def _gaps(found: Mapping[date, Any], days: Period) -> list[Period]:
    """Return the parts of a period without a day that was found."""
    marks = [days.start - ONE_DAY, *sorted(found), days.end]
    return [Period(before + ONE_DAY, after) for before, after in pairwise(marks) if after - before > ONE_DAY]


def _series(days: Period, known: Mapping[tuple[date, str], float], bits: int) -> pd.DataFrame:
    import pandas as pd

    names = [name for name in _ASSETS if name != "uncertainty" or any(asset == name for _, asset in known)]
    index = pd.DatetimeIndex(np.array(days.days, dtype="datetime64[ns]"), name="time")
    columns = {name: np.array([known.get((day, name), np.nan) for day in days.days], np.float32) for name in names}
    qa = np.nan_to_num(columns["qa"], nan=QualityFlag.INPUT_MISSING).astype(np.uint8)
    out = (qa & np.uint8(bits)) != 0
    values = {name: np.where(out, np.float32(np.nan), column) for name, column in columns.items() if name != "qa"}
    return pd.DataFrame({**values, "qa": qa}, index=index)


def _checked(bbox: BBox) -> BBox:
    west, south, east, north = check_box(bbox)
    if west > east:
        raise InputError(
            f"box {sides_text(bbox)} found: it lies across the antimeridian, and pixels of the product do not; the "
            f"boxes {west:g},{south:g},180,{north:g} and -180,{south:g},{east:g},{north:g} are required, one at a time"
        )
    return west, south, east, north


def _inside(inner: Sequence[float], outer: BBox) -> bool:
    return inner[0] >= outer[0] and inner[1] >= outer[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def _geobox(found: _Found, bbox: BBox) -> GeoBox:
    """Return the product's pixels that overlap a box in degrees."""
    native = _first_grid(found)
    columns, rows = _pixels(native, bbox)
    affine = native.affine @ Affine.translation(columns[0], rows[0])
    return make_geobox((rows[1] - rows[0], columns[1] - columns[0]), affine, native.crs)


def _first_grid(found: _Found) -> GeoBox:
    """Return the grid of the first item whose metadata can be right."""
    for item in found.found:
        try:
            return raster_source(item, "sm").geobox
        except BadItemError as error:
            if item is found.found[-1]:
                raise CatalogError(str(error)) from error
    raise AssertionError("nothing found is an error before")


def _pixels(native: GeoBox, bbox: BBox) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return first and last-plus-one column and row of a box in degrees, counted from the corner of a GeoBox."""
    west, south, east, north = bbox
    lon, lat = np.meshgrid(np.linspace(west, east, _EDGE_POINTS), np.linspace(south, north, _EDGE_POINTS))
    x, y = transform_points("OGC:CRS84", str(native.crs), lon, lat)
    inverse = ~native.affine
    columns, rows = inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f
    return _span(columns), _span(rows)


def _span(at: np.ndarray) -> tuple[int, int]:
    at = snap_to_pixel_edges(at)  # as `tile_at` does: a point on an edge belongs to one pixel, the same for both
    first = math.floor(float(np.nanmin(at)))
    return first, max(first + 1, math.ceil(float(np.nanmax(at))))
