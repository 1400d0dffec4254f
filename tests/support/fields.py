"""Small fields on small grids: images that hold their own place, items around them, a project to predict with."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from affine import Affine
from odc.geo.geobox import GeoBox

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.fingerprint import digest
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM, TileGrid
from stac_sm.core.period import ONE_DAY, Period, utc_instant
from stac_sm.core.projections import SINUSOIDAL, crs_wkt
from stac_sm.features.recipe import Feature, Mask, Recipe
from stac_sm.model.fit import fit
from stac_sm.model.item import MODELS_COLLECTION as MODELS
from stac_sm.model.item import model_item, write_model_assets
from stac_sm.model.model import Model
from stac_sm.model.train_settings import TrainSettings
from stac_sm.raster.cog import CogProfile, write_cog
from stac_sm.raster.resample import TargetPixels, pixel_lookup, regrid, source_window
from stac_sm.stac.catalogs.catalog import Catalog, create_skeleton, open_catalog
from stac_sm.stac.items import COG_MEDIA_TYPE, raster_item
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, publish
from stac_sm.storage.store import open_store
from stac_sm.workflows.project import create_project, read_project

PIXEL = MODIS_SINUSOIDAL_1KM.pixel[0]
SMALL = TileGrid("small", SINUSOIDAL, (780_000.0, 5_300_000.0), (PIXEL, PIXEL), (40, 50), (3, 3), "SMAL")
TILE = "h01v01"
WIDE = TileGrid("wide", "EPSG:4326", (9.0, 48.0), (0.01, 0.01), (40, 50), (4, 4), "WIDE")
EASE = TileGrid("ease", "EPSG:6933", (900_000.0, 5_500_000.0), (1000.0, 1000.0), (40, 50), (4, 4), "EASE")
UTM = TileGrid("utm", "EPSG:32632", (600_000.0, 5_300_000.0), (1000.0, 1000.0), (40, 50), (4, 4), "UTMZ")


def box(crs, left, top, pixel, shape, height=None):
    """GeoBox of an upper left corner and a pixel size."""
    return GeoBox(shape, Affine(pixel, 0, left, 0, -(height or pixel), top), crs_wkt(crs))


def around(geobox, crs, pixel, margin=3):
    """GeoBox in another CRS that covers a GeoBox, its corner on a whole multiple of its pixel."""
    part = geobox.to_crs(crs_wkt(crs), resolution=pixel).boundingbox
    left, top = (np.floor(part.left / pixel) - margin) * pixel, (np.ceil(part.top / pixel) + margin) * pixel
    shape = int((top - part.bottom) / pixel) + margin, int((part.right - left) / pixel) + margin
    return box(crs, left, top, pixel, shape)


def image(geobox, low=0.0, high=1.0, angle=0.3):
    """Pixels that hold their own place along a rotated axis: a flip or a shift shows. float32, all different."""
    rows, columns = np.mgrid[: geobox.shape[0], : geobox.shape[1]]
    along = np.cos(angle) * columns + np.sin(angle) * rows
    return (low + (high - low) * along / along.max()).astype(np.float32)


def regridded(source, values, target, resampling):
    """One field through window, lookup and regrid."""
    window = source_window(source, target)
    if window is None:
        return np.full(target.shape, np.nan, np.float32)
    where = pixel_lookup(source, window, target, resampling)
    return regrid(target.shape, [values[window]], [where], resampling)


def whole(source, values, geobox, resampling):
    return regridded(source, values, TargetPixels(geobox), resampling)


def new_catalog(folder: Path) -> Catalog:
    create_skeleton(open_store(folder), title="Fields")
    return open_catalog(folder)


def put(catalog, collection, id, geobox, assets, start, days=1, *, linked=True, items=None, **changes):
    """Publish an item of stored arrays; `assets`: key -> array, or (array, band fields). Returns its path.

    `changes` go into the band of every asset; `items` is a function of the item dict.
    """
    start = utc_instant(start)
    item = raster_item(
        id=id, collection=collection, geobox=geobox, start=start, end=start + days * ONE_DAY,
        properties={FINGERPRINT_PROPERTY: "", "grid:code": "SMAL-0101"}, extensions=[],
    )  # fmt: skip
    folder = Path(catalog.root, ".scratch")
    folder.mkdir(exist_ok=True)
    files = {}
    for key, values in assets.items():
        values, band = values if isinstance(values, tuple) else (values, {})
        band = {"name": key, "data_type": str(values.dtype), "nodata": -9999.0 if values.dtype.kind == "f" else None}
        band |= changes | (assets[key][1] if isinstance(assets[key], tuple) else {})
        file = folder / f"{collection}-{id}-{key}.tif"
        nodata = band["nodata"]
        write_cog(values, file, geobox=geobox, profile=CogProfile(nodata=nodata, block=128, overviews="nearest"))
        band = {name: value for name, value in band.items() if value is not None}
        files[key] = AssetFile(file, ".tif", {"type": COG_MEDIA_TYPE, "roles": ["data"], "bands": [band]})
    content = [(key, file.file.read_bytes().hex(), dict(file.fields)) for key, file in files.items()]
    item["properties"][FINGERPRINT_PROPERTY] = digest([id, str(start), days, content])
    publish(catalog, items(item) if items else item, files)
    if linked:
        refresh(catalog.store, collection)
    return id


def read_model(catalog: Catalog, id: str) -> Model:
    """Model of an item, opened anew."""
    return Model.from_item(open_catalog(catalog.root).item(MODELS, id).self_href)


def edit(catalog, collection, id, change):
    """Change the JSON of one item in the store by hand."""
    file = Path(catalog.item(collection, id).self_href)
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


RECIPE = Recipe(
    (
        Feature("lst", "glass-lst", "lst", "nearest"),
        Feature("lai", "glass-lai", "lai", "average", "composite", 16),
        Feature("swvl1", "era5-land", "swvl1", "bilinear"),
        Feature("elevation", "cop-dem", "elevation", "average", "static", missing="nan"),
    ),
    derived=("doy_sin", "latitude"),
    masks=(Mask("frozen", Feature("frozen", "era5-land", "stl1", "bilinear"), below=273.15),),
)
DAYS = Period.parse("2018-06-28/2018-07-03")


def fill(catalog: Catalog, grid: TileGrid = SMALL, tile: str = TILE, days: Period = DAYS) -> dict:
    """Inputs of RECIPE on and around a tile, with gaps and frost. Returns the fields by collection and day.

    LST: uint16 x 0.01, nodata 0. LAI: uint8 x 0.1 at half the pixel, 8-day. ERA5-Land: 0.1 degrees. DEM: float32.
    """
    geobox = grid.geobox(tile)
    half = geobox.zoom_out(0.5)
    coarse = around(geobox, "EPSG:4326", 0.1)
    fine = around(geobox, "EPSG:4326", 0.004)
    known: dict = {"lst": {}, "lai": {}, "era5": {}, "geoboxes": (geobox, half, coarse, fine)}
    for i, day in enumerate(days.days):
        lst = np.round(28000 + 500 * image(geobox, angle=0.3 + 0.2 * i)).astype(np.uint16)
        lst[25:28, 30:40] = 0
        known["lst"][day] = lst
        scaled = {"nodata": 0, "raster:scale": 0.01}
        put(catalog, "glass-lst", f"LST.{day:%Y%j}", geobox, {"lst": (lst, scaled)}, day, linked=False)
        swvl1, stl1 = image(coarse, 0.1, 0.4, 1 + 0.1 * i), image(coarse, 264, 283, 0.7)
        known["era5"][day] = {"swvl1": swvl1, "stl1": stl1}
        put(catalog, "era5-land", f"ERA5.{day:%Y%j}", coarse, known["era5"][day], day, linked=False)
    first = days.start - 9 * ONE_DAY
    for i in range(4):
        lai = np.round(60 * image(half, angle=0.1 + 0.3 * i)).astype(np.uint8)
        lai[20:30, 30:50] = 255
        known["lai"][first + i * 8 * ONE_DAY] = lai
        scaled = {"nodata": 255, "raster:scale": 0.1}
        put(catalog, "glass-lai", f"LAI.{i}", half, {"lai": (lai, scaled)}, first + i * 8 * ONE_DAY, 8, linked=False)
    known["elevation"] = image(fine, 0, 2000)
    known["elevation"][-40:, -40:] = np.nan
    put(catalog, "cop-dem", "DEM", fine, {"elevation": known["elevation"]}, date(2010, 1, 1), 365, linked=False)
    for collection in ("glass-lst", "era5-land", "glass-lai", "cop-dem"):
        refresh(catalog.store, collection)
    return known


def table(recipe: Recipe = RECIPE, rows: int = 400, seed: int = 3) -> pd.DataFrame:
    """Match-ups without a catalogue: soil moisture is a smooth function of the features."""
    rng = np.random.default_rng(seed)
    ranges = {
        "lst": (280, 285), "lai": (0, 6), "swvl1": (0.1, 0.4), "elevation": (0, 2000), "doy_sin": (-1, 1),
        "doy_cos": (-1, 1), "latitude": (44, 49),
    }  # fmt: skip
    columns = {name: rng.uniform(*ranges[name], rows).astype(np.float32) for name in recipe.names}
    frame = pd.DataFrame(columns)
    frame.insert(0, "sm", 0.05 + 0.8 * frame.get("swvl1", 0.1) + 0.01 * frame["lai"])
    if "elevation" in frame:
        frame.loc[:20, "elevation"] = np.nan
    return frame


def small_model(recipe: Recipe = RECIPE, seed: int = 3):
    settings = TrainSettings(tune=False, n_estimators=12, max_depth=4, eta=0.3)
    return replace(fit(table(recipe, seed=seed), recipe.names, settings=settings), recipe=recipe)


def put_model(catalog: Catalog, folder: Path, recipe: Recipe = RECIPE, seed: int = 3) -> str:
    """Publish a small model; returns its id."""
    return publish_model(catalog, small_model(recipe, seed), folder, ["model", seed, recipe.to_dict()])


def publish_model(catalog: Catalog, model: Model, folder: Path, made_of) -> str:
    """Publish a model as made of something; returns its id."""
    folder.mkdir(parents=True, exist_ok=True)
    item = model_item(
        model, fingerprint=digest(made_of), bbox=[8, 45, 12, 48],
        period=Period.parse("2018"), hyperparameters={"eta": 0.3}, properties={"title": "small"},
    )  # fmt: skip
    publish(catalog, item, write_model_assets(model, folder))
    refresh(catalog.store, MODELS)
    return item["id"]


def project_text(grid: TileGrid = SMALL, recipe: Recipe = RECIPE, version: str = "001", extra: str = "") -> str:
    """A project file of a grid and a recipe."""
    lines = [f'[project]\ntitle = "Small"\nversion = "{version}"', f'[grid]\nname = "{grid.name}"']
    lines += [f"crs = {json.dumps(grid.crs)}", f"origin = {list(grid.origin)}", f"pixel = {list(grid.pixel)}"]
    lines += [f"tile_shape = {list(grid.tile_shape)}", f"tiles = {list(grid.tiles)}", f'code = "{grid.code}"', extra]
    lines += ["[recipe]", f"derived = {json.dumps(list(recipe.derived))}"]
    content = recipe.to_dict()
    for name in ("features", "masks"):
        for one in content[name]:
            lines += [
                f"[[recipe.{name}]]",
                *(f"{key} = {json.dumps(value)}" for key, value in one.items() if value is not None),
            ]
    return "\n".join(lines) + "\n"


@cache
def shared_project():
    """One project for all tests that only read it: (project, model id, known fields)."""
    folder = Path(tempfile.mkdtemp(prefix="stac-sm-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return small_project(folder)


def copied_project(folder: Path):
    """A copy of the shared project, to be changed."""
    project, model, known = shared_project()
    shutil.copytree(project.folder, folder)
    return read_project(folder), model, known


def small_project(folder: Path, grid: TileGrid = SMALL, tile: str = TILE, days: Period = DAYS, extra: str = ""):
    """A project with inputs and a model; returns project, model id and the known fields."""
    project = create_project(folder, project_text(grid, extra=extra))
    known = fill(project.catalog, grid, tile, days)
    return project, put_model(project.catalog, folder / ".scratch" / "model"), known
