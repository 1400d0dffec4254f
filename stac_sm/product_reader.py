"""Reading the product: a box as a lazy Dataset, a point as a series. Through the same cube as everything else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from stac_sm.catalog import BBox, ItemSearch
from stac_sm.cube import DEFAULT_READER, build
from stac_sm.errors import CatalogError, InputError
from stac_sm.grid import snapped, transform_points
from stac_sm.period import Period
from stac_sm.products import COLLECTION
from stac_sm.quality import Quality
from stac_sm.readers.source import raster_source
from stac_sm.recipe import Feature, Recipe
from stac_sm.regrid import Target
from stac_sm.resolution import resolve

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_RECIPE = Recipe((Feature("soil_moisture", COLLECTION, "sm"), Feature("qa", COLLECTION, "qa")))
_EDGE_POINTS = 33  # along each side of a box in degrees, whose sides are curved in the product's CRS


def open_product(catalog: ItemSearch, bbox: BBox, period: Period | str, *, reader: str = DEFAULT_READER) -> xr.Dataset:
    """Published soil moisture of a box, lazily, on the product's own pixels.

    Parameters
    ----------
    catalog
        A catalogue that holds the product.
    bbox
        West, south, east, north in degrees.
    period
        Days wanted, each of them: a `Period`, or e.g. ``"2019-06-08/2019-06-10"``.
    reader
        ``stackstac`` or ``odc``.

    Returns
    -------
    xarray.Dataset
        Dims (time, y, x) in the product's CRS: ``sm`` float32, m3 m-3, NaN where there is no value; ``qa`` uint8, bits
        of `Quality` (``INPUT_MISSING`` where nothing was published). Nothing is read before compute.

    Raises
    ------
    CatalogError
        If nothing was published there and then.
    """
    days = Period.of(period)
    geobox = _geobox(catalog, bbox, days)
    resolution = resolve(catalog, _RECIPE, geobox, days)
    cube = build(resolution, Target(geobox), reader=reader).rename(soil_moisture="sm")
    unknown = np.float32(Quality.INPUT_MISSING)
    return cube.assign(qa=cube.qa.fillna(unknown).astype(np.uint8).assign_attrs(cube.qa.attrs))


def point_series(
    catalog: ItemSearch, lon: float, lat: float, period: Period | str, *, reader: str = DEFAULT_READER
) -> pd.DataFrame:
    """Published soil moisture of the pixel that holds a point.

    Returns
    -------
    pandas.DataFrame
        Index ``time`` (UTC days of the period); ``sm`` m3 m-3, NaN where there is no value; ``qa`` uint8.

    Raises
    ------
    CatalogError
        If nothing was published there and then.
    ReadError
        If a file cannot be read.
    """
    cube = open_product(catalog, (lon, lat, lon, lat), period, reader=reader).compute(scheduler="threads")
    return cube[["sm", "qa"]].isel(y=0, x=0, drop=True).drop_vars("spatial_ref").to_dataframe()


def _geobox(catalog: ItemSearch, bbox: BBox, period: Period) -> GeoBox:
    """The product's pixels that a box in degrees meets."""
    west, south, east, north = bbox
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise InputError(f"box {bbox}: west, south, east, north in degrees wanted, west <= east and south <= north")
    items = catalog.items(COLLECTION, period=period, bbox=bbox)
    if not items:
        raise CatalogError(f"{catalog.root}: no product found in {bbox} on {period}: `stac-sm plan` says what is there")
    native = raster_source(items[0], "sm").geobox
    columns, rows = _pixels(native, bbox)
    affine = native.affine @ Affine.translation(columns[0], rows[0])
    return GeoBox((rows[1] - rows[0], columns[1] - columns[0]), affine, native.crs)


def _pixels(native: GeoBox, bbox: BBox) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last-plus-one column and row of a box in degrees, counted from the corner of a GeoBox."""
    west, south, east, north = bbox
    lon, lat = np.meshgrid(np.linspace(west, east, _EDGE_POINTS), np.linspace(south, north, _EDGE_POINTS))
    x, y = transform_points("OGC:CRS84", str(native.crs), lon, lat)
    inverse = ~native.affine
    columns, rows = inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f
    return _span(columns), _span(rows)


def _span(at: np.ndarray) -> tuple[int, int]:
    at = snapped(at)  # as `tile_at` does: a point on an edge belongs to one pixel, the same for both
    first = math.floor(float(np.nanmin(at)))
    return first, max(first + 1, math.ceil(float(np.nanmax(at))))
