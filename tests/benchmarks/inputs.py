"""Inputs of one tile and month at full size, for the benchmarks: real grids, smooth fields, the files of every day."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.features.recipe import Feature, Mask, Recipe
from stac_sm.stac.catalogs.catalog import Catalog, open_catalog
from stac_sm.stac.links import refresh
from tests.support.fields import around, image, new_catalog, put

TILE = "h18v04"
MONTH = Period.parse("2018-07")
ALBEDO, SOIL = ("bsa_vis", "bsa_nir", "bsa_shortwave"), ("sand", "silt", "clay")
RECIPE = Recipe(
    (
        *(Feature(name, "glass-albedo", name, time="composite") for name in ALBEDO),
        Feature("lst", "glass-lst", "lst"),
        Feature("lai", "glass-lai", "lai", "average", "composite"),
        Feature("swvl1", "era5-land", "swvl1", "bilinear"),
        *(Feature(name, "cop-dem", name, "average", "static") for name in ("elevation", "slope")),
        *(Feature(name, "soilgrids", name, "average", "static") for name in SOIL),
    ),
    masks=(
        Mask("water", Feature("water", "soilgrids", "clay", "average", "static"), unknown=True),
        Mask("frozen", Feature("frozen", "era5-land", "stl1", "bilinear"), below=273.15),
        Mask("snow", Feature("snow", "era5-land", "sd", "bilinear"), above=0.01),
    ),
)


def make_inputs(folder: Path, *, zoom: int = 1, days: Period = MONTH) -> Catalog:
    """Catalogue of the inputs of GLASS SM's recipe for a tile and its days; kept if it is there.

    ``zoom`` thins the tile's pixels out, for a quick look.
    """
    if (folder / "done").exists():
        return open_catalog(folder)
    catalog = new_catalog(folder)
    tile = MODIS_SINUSOIDAL_1KM.geobox(TILE).zoom_out(zoom)
    coarse, fine = around(tile, "EPSG:4326", 0.1, margin=30), around(tile, "EPSG:4326", 0.0025 * zoom)
    for i, day in enumerate(days.days):
        lst = np.round(28000 + 2000 * image(tile, angle=0.3 + 0.02 * i)).astype(np.uint16)
        put(catalog, "glass-lst", f"LST.{day:%Y%j}", tile, {"lst": (lst, {"raster:scale": 0.01})}, day, linked=False)
        era5 = {"swvl1": (0.1, 0.4), "stl1": (270, 290), "sd": (0, 0.02)}
        fields = {name: image(coarse, *ends, angle=0.1 + 0.03 * i) for name, ends in era5.items()}
        put(catalog, "era5-land", f"ERA5.{day:%Y%j}", coarse, fields, day, linked=False)
    _put_composites(catalog, tile, days)
    static = date(2010, 1, 1)
    put(catalog, "cop-dem", "DEM", fine, {"elevation": image(fine, 0, 2000), "slope": image(fine, 0, 40)}, static, 365)
    put(catalog, "soilgrids", "SOIL", fine, {name: image(fine, 5, 60, 0.2 * i) for i, name in enumerate(SOIL)}, static)
    for collection in ("glass-lst", "era5-land", "glass-lai", "glass-albedo"):
        refresh(catalog.store, collection)
    (folder / "done").touch()
    return open_catalog(folder)


def _put_composites(catalog: Catalog, tile, days: Period) -> None:
    half, first = tile.zoom_out(0.5), days.start - 12 * ONE_DAY
    for i in range(len(days) // 8 + 4):
        start = first + 8 * i * ONE_DAY
        lai = np.round(60 * image(half, angle=0.1 + 0.1 * i)).astype(np.uint8)
        scaled = {"raster:scale": 0.1, "nodata": 255}
        put(catalog, "glass-lai", f"LAI.{i}", half, {"lai": (lai, scaled)}, start, 8, linked=False)
        bands = {name: image(tile, 0.05, 0.4, 0.1 * i + 0.3 * j) for j, name in enumerate(ALBEDO)}
        put(catalog, "glass-albedo", f"ALB.{i}", tile, bands, start, 8, linked=False)
