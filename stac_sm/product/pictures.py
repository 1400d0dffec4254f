"""Draw pictures of the product: a day, the difference of two days, the time series of a point.

``stac-sm plot`` calls `draw`. It reads through `product.read`, and global days through their overview.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine

from stac_sm.core.errors import CatalogError, InputError
from stac_sm.core.footprints import footprint
from stac_sm.core.grid import make_geobox
from stac_sm.core.parallel import own_threads
from stac_sm.core.period import Period
from stac_sm.features.inputs import CLIMATOLOGY_COLLECTION
from stac_sm.product.aggregates.mosaic import DAILY_GLOBAL
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.product.read import days_there, newest_items, open_product, open_product_on, point_series
from stac_sm.raster.plots import check_suffix, plot_map, plot_series
from stac_sm.raster.read import read_window
from stac_sm.raster.readers import DEFAULT_READER
from stac_sm.raster.source import raster_source
from stac_sm.stac.catalogs.catalog_interface import ReadableCatalog
from stac_sm.stac.catalogs.search import BBox
from stac_sm.stac.simulated import is_simulated, simulated_title

if TYPE_CHECKING:
    import pandas as pd
    import pystac
    import xarray as xr
    from odc.geo.geobox import GeoBox

_LEAST_STEP = 0.01  # degrees
_COARSE_KILOMETRES = 4.0  # side of a cell of an input that can show among pixels of 1 km
_KILOMETRES_OF_A_DEGREE = 111.2
_MOST_PIXELS = 2000  # along a side of a map: of more, every second or third is read


@dataclass(frozen=True)
class Picture:
    """Description of a picture: without geobox, box or point, it is of the global day."""

    period: str
    """A day; for a time series, any period."""

    minus: str | None = None
    """Day that is subtracted; None draws the day itself."""

    geobox: GeoBox | None = None
    """Pixels of a map."""

    bbox: BBox | None = None
    """Or a box: west, south, east, north in degrees."""

    point: tuple[float, float] | None = None
    """Or the longitude and latitude of a time series, degrees east and north."""

    mask: tuple[str, ...] = ()
    """Flags whose pixels are left out."""

    place: str = ""
    """Name of the place, for title and file name."""

    degrees: bool = True
    """Whether a map is drawn in degrees, cut to the part with values; else on the pixels of the product."""

    @property
    def where(self) -> str:
        """Place as text, for the title."""
        if self.point is not None:
            return "{:g}, {:g}".format(*self.point)
        return self.place or ("globe" if self.bbox is None else "{:g}, {:g} to {:g}, {:g}".format(*self.bbox))

    @property
    def title(self) -> str:
        """Title above the picture."""
        days = str(Period.parse(self.period)) + (f" minus {Period.parse(self.minus)}" if self.minus else "")
        return f"Soil moisture, {self.where}, {days}"

    @property
    def name(self) -> str:
        """Name of its file, where none is given."""
        words = f"sm {self.where} {self.period}" + (f" minus {self.minus}" if self.minus else "")
        return words.replace(", ", "_").replace("/", "_").replace(" ", "-") + ".png"


def draw(
    catalog: ReadableCatalog, picture: Picture, out: Path | None = None, stations: pd.DataFrame | None = None
) -> Path:
    """Draw a picture into a file.

    Parameters
    ----------
    catalog
        Catalogue that holds the product.
    picture
        What to draw.
    out
        File whose name ends with ``.png``, ``.pdf`` or ``.svg``; None: a PNG in the current folder, named after place
        and period.
    stations
        Of a time series, what stations measured: ``site``, ``date``, ``sm`` (m3 m-3).

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    CatalogError
        If nothing was published at this place and time.
    InputError
        If a map of more than a day is asked for, or the file's name has another ending.
    """
    file = out or Path(picture.name)
    check_suffix(file)  # before anything is read
    if picture.point is not None:
        series = point_series(catalog, *picture.point, picture.period, mask=picture.mask)
        if not np.isfinite(series["sm"]).any():
            raise _no_values(catalog, picture, picture.period)
        title = simulated_title(picture.title, "simulated" in series.attrs)
        plot_series(series, file, title=title, stations=stations)
        return file
    field, simulated = _field(catalog, picture, picture.period)
    if picture.minus:
        other, _ = _field(catalog, picture, picture.minus)
        field = (field - other).assign_attrs(field.attrs).rename("difference")
        if not np.isfinite(field.values).any():
            raise CatalogError(f"{picture.title}: no pixel has a value on both days: choose other days, or fewer flags")
    if picture.degrees:
        field = _cropped(field)
    note = coarse_inputs_note(coarse_inputs(catalog, picture))
    title = simulated_title(picture.title, simulated)
    plot_map(field, file, title=title, difference=picture.minus is not None, note=note)
    return file


def _no_values(catalog: ReadableCatalog, picture: Picture, days: str) -> CatalogError:
    """Return the error for days without a value where a picture is to be drawn."""
    collection, bbox = (DAILY_GLOBAL, None) if _is_globe(picture) else (PRODUCT_COLLECTION, _bounds(picture))
    masked = f" without flags {', '.join(picture.mask)}: leave out --mask, or choose" if picture.mask else ": choose"
    there = days_there(catalog, bbox, Period.parse(days), collection)
    found = f"no value found in {picture.where} on {Period.parse(days)}"
    return CatalogError(f"{catalog.root}: {found}{masked} another day or place; {there}")


def _is_globe(picture: Picture) -> bool:
    return picture.geobox is None and picture.bbox is None and picture.point is None


def coarse_inputs(catalog: ReadableCatalog, picture: Picture) -> dict[str, str]:
    """Return the inputs of a map whose cells are so large that they can show in it.

    Parameters
    ----------
    catalog
        Catalogue with the product and its inputs.
    picture
        A map of a tile or a box.

    Returns
    -------
    dict of str to str
        Collection -> size of its cells, with its unit; of inputs that the items name and the catalogue holds.
    """
    bbox = picture.bbox or (None if picture.geobox is None else _bounds(picture))
    if bbox is None:
        return {}
    found = newest_items(catalog.items(PRODUCT_COLLECTION, period=Period.parse(picture.period), bbox=bbox, left_out={}))
    collections = [one for one in catalog.collections if one != CLIMATOLOGY_COLLECTION]  # has the cells of its input
    sizes: dict[str, str] = {}
    for item in found[:1]:
        for link in item.get_links("derived_from"):
            parts = str(link.get_absolute_href() or link.target).split("/")
            collection = next((one for one in collections if one in parts), "")
            if collection and collection not in sizes:
                sizes[collection] = _coarse_cells(catalog, collection, str(link.title))
    return {collection: size for collection, size in sizes.items() if size}


def coarse_inputs_note(sizes: Mapping[str, str]) -> str:
    """Return the line below a map that names inputs with large cells; empty where there are none."""
    named = ", ".join(f"{collection} ({size})" for collection, size in sizes.items())
    return f"cells that show are those of coarse inputs: {named}" if named else ""


def _coarse_cells(catalog: ReadableCatalog, collection: str, id: str) -> str:
    """Return the size of the cells of an input; empty if they are small, or not stated."""
    try:
        properties = catalog.item(collection, id).properties
    except CatalogError:
        return ""
    transform = properties.get("proj:transform")
    if not transform:
        return ""
    size = abs(float(transform[0]))
    degrees = str(properties.get("proj:code")) == "EPSG:4326"
    kilometres = size * _KILOMETRES_OF_A_DEGREE if degrees else size / 1000
    if kilometres < _COARSE_KILOMETRES:
        return ""
    return f"{size:.3g} degrees" if degrees else f"{size / 1000:.3g} km"


def _field(catalog: ReadableCatalog, picture: Picture, text: str) -> tuple[xr.DataArray, bool]:
    """Return soil moisture of a day, (y, x), m3 m-3, in memory, and whether it is simulated."""
    day = Period.parse(text)
    if len(day) != 1:
        raise InputError(f"period {text!r}: {len(day)} days found, one day is required for a map; --at draws a series")
    field, simulated = _day(catalog, picture, day)
    if not np.isfinite(field.values).any():
        raise _no_values(catalog, picture, text)
    return field, simulated


def _day(catalog: ReadableCatalog, picture: Picture, day: Period) -> tuple[xr.DataArray, bool]:
    if _is_globe(picture):
        return _globe(catalog, day)
    if picture.degrees:
        cells = _cells_in_degrees(_bounds(picture))
        there = [one for one in cells if len(cells) == 1 or _has_product(catalog, one, day)] or cells[:1]
        parts = [_in_degrees(catalog, one, day, picture.mask) for one in there]
        return _side_by_side(cells, there, [part for part, _ in parts]), any(simulated for _, simulated in parts)
    if picture.geobox is not None:
        cube = open_product_on(catalog, _thinned(picture.geobox), day, mask=picture.mask)
    elif picture.bbox is not None:
        cube = _of_box(catalog, picture.bbox, day, picture.mask)
    with own_threads() as here:
        field: xr.DataArray = cube.sm.isel(time=0).compute(**here)
    return field, "simulated" in cube.attrs


def _in_degrees(
    catalog: ReadableCatalog, cells: GeoBox, day: Period, mask: tuple[str, ...]
) -> tuple[xr.DataArray, bool]:
    cube = open_product_on(catalog, cells, day, mask=mask)
    cube = cube.rename({"latitude": "y", "longitude": "x"}) if "latitude" in cube.dims else cube
    with own_threads() as here:
        field: xr.DataArray = cube.sm.isel(time=0).compute(**here)
    return field, "simulated" in cube.attrs


def _has_product(catalog: ReadableCatalog, cells: GeoBox, day: Period) -> bool:
    """Return whether there is an item on some cells, be it one that cannot be right: reading says so."""
    bad: dict[str, str] = {}
    west, south, east, north = cells.boundingbox.bbox
    return bool(catalog.items(PRODUCT_COLLECTION, period=day, bbox=(west, south, east, north), left_out=bad) or bad)


def _side_by_side(cells: Sequence[GeoBox], there: Sequence[GeoBox], fields: Sequence[xr.DataArray]) -> xr.DataArray:
    """Return one map of the two sides of the antimeridian, degrees from west on; NaN on a side without a product."""
    if len(cells) == 1:
        return fields[0]
    import xarray as xr

    known = dict(zip(map(id, there), fields, strict=True))
    first, parts = fields[0], []
    for number, one in enumerate(cells):
        x = one.affine.c + one.affine.a * (np.arange(one.shape[1]) + 0.5) + 360.0 * number
        found = known.get(id(one))
        values = np.full(tuple(one.shape), np.nan, first.dtype) if found is None else found.values
        parts.append(xr.DataArray(values, {"y": first["y"].values, "x": x}, ("y", "x"), name=first.name))
    return xr.concat(parts, "x").assign_attrs(first.attrs)


def _bounds(picture: Picture) -> BBox:
    """Return the box of a map of a box or of a tile, or of a point, degrees."""
    if picture.bbox is not None:
        return picture.bbox
    if picture.point is not None:
        return (*picture.point, *picture.point)
    outline = None if picture.geobox is None else footprint(picture.geobox)
    if outline is None:
        raise InputError(f"tile {picture.place}: it lies off the Earth: choose another tile")
    west, south, east, north = outline.bounds
    return west, south, east, north


def _cells_in_degrees(bounds: BBox) -> list[GeoBox]:
    """Return cells of 0.01 degrees, or larger where they would be too many, that hold a box.

    Across the antimeridian there are two parts, which meet there: no file has pixels on both sides of it.
    """
    west, south, east, north = bounds
    whole = east + 360.0 * (east < west) - west
    step = max(_LEAST_STEP, whole / _MOST_PIXELS, (north - south) / _MOST_PIXELS)
    rows = max(1, math.ceil((north - south) / step))
    if west <= east:
        return [_cells(step, rows, west, math.ceil((east - west) / step), north)]
    before, behind = (math.ceil(round(one / step, 6)) for one in (180.0 - west, east + 180.0))
    sides = [(180.0 - before * step, before), (-180.0, behind)]
    return [_cells(step, rows, left, columns, north) for left, columns in sides if columns]


def _cells(step: float, rows: int, west: float, columns: int, north: float) -> GeoBox:
    return make_geobox((rows, max(1, columns)), Affine(step, 0, west, 0, -step, north), "EPSG:4326")


def _cropped(field: xr.DataArray) -> xr.DataArray:
    """Return the part of a map that has values, with a margin; all of it where none has."""
    known = np.isfinite(field.values)
    if not known.any():
        return field
    rows, columns = np.flatnonzero(known.any(axis=1)), np.flatnonzero(known.any(axis=0))
    margin = 2 + max(np.ptp(rows), np.ptp(columns)) // 30
    return field[
        max(0, rows[0] - margin) : rows[-1] + margin + 1, max(0, columns[0] - margin) : columns[-1] + margin + 1
    ]


def _of_box(catalog: ReadableCatalog, bbox: BBox, day: Period, mask: tuple[str, ...]) -> xr.Dataset:
    cube = open_product(catalog, bbox, day, mask=mask)
    geobox = cube.odc.geobox
    thinned = _thinned(geobox)
    return cube if thinned is geobox else open_product_on(catalog, thinned, day, mask=mask)


def _thinned(geobox: GeoBox) -> GeoBox:
    factor = -(-max(geobox.shape) // _MOST_PIXELS)
    return geobox.zoom_out(factor) if factor > 1 else geobox


def _globe(catalog: ReadableCatalog, day: Period) -> tuple[xr.DataArray, bool]:
    """Return the overview of a global day, of the highest version, and whether it is simulated."""
    import xarray as xr

    found = [item for item in catalog.items(DAILY_GLOBAL, period=day) if "overview" in item.assets]
    if not found:
        raise CatalogError(
            f"{catalog.root}: no global day {day}: `stac-sm mosaic --period {day}` makes it, or name --tile or --bbox; "
            f"{days_there(catalog, None, day, DAILY_GLOBAL)}"
        )
    newest = max(found, key=_version)
    source = raster_source(newest, "overview").with_feature(None, "", catalog.root)
    (height, width), affine = source.geobox.shape, source.geobox.affine
    values = read_window(source, (slice(0, height), slice(0, width)), DEFAULT_READER)
    x, y = affine.c + affine.a * (np.arange(width) + 0.5), affine.f + affine.e * (np.arange(height) + 0.5)
    field = xr.DataArray(values, {"y": y, "x": x}, ("y", "x"), attrs={"units": source.unit}, name="sm")
    return field, is_simulated(catalog, [newest])


def _version(item: pystac.Item) -> str:
    return str(item.properties.get("version", ""))
