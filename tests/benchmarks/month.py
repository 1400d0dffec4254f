"""Inputs, model and project of a tile-month for `tile_month.py`: power-law fields as in 1 km products, sea, gaps.

Everything is made once and kept in a folder. Fields have the sizes, types and steps of GLASS, ERA5-Land, Copernicus DEM
and SoilGrids; about three pixels of four are land. The recipe ``memory`` has ERA5-Land of 90 days before, too, and its
means over these days and the month in place of means of many years.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.fingerprint import digest
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM as GRID
from stac_sm.core.period import ONE_DAY, Period, utc_instant
from stac_sm.features.climatology import features_needing_climatology, make_climatology
from stac_sm.features.cube import feature_cube
from stac_sm.features.recipe import Recipe
from stac_sm.model.applicability import fit_applicability
from stac_sm.model.booster import WeightedBooster
from stac_sm.model.intervals import ErrorLevel, Intervals
from stac_sm.model.item import MODELS_COLLECTION as MODELS
from stac_sm.model.item import model_item, write_model_assets
from stac_sm.model.learner import FitSettings
from stac_sm.model.learner_registry import DEFAULT_LEARNER, find_learner
from stac_sm.model.model import Model
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.raster.cog import CogProfile, write_cog
from stac_sm.stac.catalogs.catalog import Catalog, create_skeleton, open_catalog
from stac_sm.stac.items import COG_MEDIA_TYPE, raster_item
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, publish
from stac_sm.storage.store import open_store
from stac_sm.workflows.project import Project, create_project, read_project
from stac_sm.workflows.project_template import TEMPLATES
from tests.benchmarks.inputs import ALBEDO, MONTH, RECIPE, SOIL, TILE
from tests.support.fields import around, new_catalog, project_text

INPUTS = ("glass-lst", "era5-land", "glass-lai", "glass-albedo", "cop-dem", "soilgrids")
RECIPES = ("memory", "glass-sm")
HISTORY = 90
"""Days of ERA5-Land before the first day: the longest exponential mean of ``memory`` looks at so many."""


def texture(seed: int, shape: tuple[int, int], slope: float, noise: float = 0.01) -> np.ndarray:
    """Random field with a power spectrum of this slope and a little white noise; mean 0, deviation 1; float32."""
    rng = np.random.default_rng(seed)
    waves = np.fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    length = np.hypot(np.fft.fftfreq(shape[0]) * shape[0] / shape[1], np.fft.rfftfreq(shape[1])[:, None]).T
    length[0, 0] = np.inf
    field = np.fft.irfft2(waves * length ** (-slope / 2), shape)
    field /= field.std()
    return (field + noise * rng.standard_normal(shape, dtype=np.float32)).astype(np.float32)


def make_month(folder: Path, days: Period, history: int = 0) -> Catalog:
    """Catalogue of the inputs of a tile for some days, with weather of days before; kept if it is there."""
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        catalog = new_catalog(folder)
        put_static(catalog)
        for i, day in enumerate(days.days):
            put_temperature(catalog, i, day)
            put_weather(catalog, i, day)
        for i in range(history):
            put_weather(catalog, 1000 + i, days.start - (i + 1) * ONE_DAY)
        first = days.start - 12 * ONE_DAY
        put_composites(catalog, [first + 8 * i * ONE_DAY for i in range(len(days) // 8 + 4)])
        for collection in INPUTS:
            refresh(catalog.store, collection)
        (folder / "made").touch()
    return open_catalog(folder)


def put_static(catalog: Catalog) -> None:
    """DEM and soil at some 280 m; soil is not known at sea."""
    fine = around(GRID.geobox(TILE), "EPSG:4326", 0.0025)
    shape, when = tuple(fine.shape), date(2010, 1, 1)
    height, sea = 700 + 500 * texture(1, shape, 2.8, 0), texture(2, shape, 3.2, 0) < -0.65
    slope = np.round(10 + 6 * texture(3, shape, 2.2)).clip(0, 60)
    _put(catalog, "cop-dem", "DEM", fine, {"elevation": (np.round(height, 1), {}), "slope": (slope, {})}, when, 365)
    soil = {name: np.round(350 + 80 * texture(4 + i, shape, 2.6)).clip(0, 1000) for i, name in enumerate(SOIL)}
    stored = {name: (np.where(sea, -1, field).astype(np.int16), _scaled(0.1, -1)) for name, field in soil.items()}
    _put(catalog, "soilgrids", "SOIL", fine, stored, when, 365)


def put_temperature(catalog: Catalog, i: int, day: date) -> None:
    """Land surface temperature of a day, with gaps."""
    tile = GRID.geobox(TILE)
    lst = np.round((295 + 6 * texture(100 + i, tuple(tile.shape), 2.6)) / 0.02)
    gap = texture(200 + i, tuple(tile.shape), 2.8, 0) > 1.6
    lst = np.where(gap, 0, lst).astype(np.uint16)
    _put(catalog, "glass-lst", f"LST.{day:%Y%j}", tile, {"lst": (lst, _scaled(0.02, 0))}, day)


def put_weather(catalog: Catalog, i: int, day: date) -> None:
    """ERA5-Land of a day."""
    coarse = around(GRID.geobox(TILE), "EPSG:4326", 0.1, margin=30)
    known = {"swvl1": (0.25, 0.06), "stl1": (288, 4), "sd": (0.0, 0.001)}
    fields = {
        name: (mean + spread * texture(300 + 10 * i + j, tuple(coarse.shape), 2.4), {"nodata": -9999.0})
        for j, (name, (mean, spread)) in enumerate(known.items())
    }
    _put(catalog, "era5-land", f"ERA5.{day:%Y%j}", coarse, fields, day)


def put_composites(catalog: Catalog, firsts: Sequence[date]) -> None:
    """Leaf area and albedo of eight days from each of some days on."""
    tile = GRID.geobox(TILE)
    half = tile.zoom_out(0.5)
    for i, first in enumerate(firsts):
        lai = np.round(25 + 9 * texture(1000 + i, tuple(half.shape), 2.4)).clip(0, 80).astype(np.uint8)
        _put(catalog, "glass-lai", f"LAI.{i}", half, {"lai": (lai, _scaled(0.1, 255))}, first, 8)
        bands = {
            name: np.round(2000 + 400 * texture(1100 + 10 * i + j, tuple(tile.shape), 2.5)).clip(1, 9999)
            for j, name in enumerate(ALBEDO)
        }
        stored = {name: (field.astype(np.int16), _scaled(1e-4, -1)) for name, field in bands.items()}
        _put(catalog, "glass-albedo", f"ALB.{i}", tile, stored, first, 8)


def _scaled(scale: float, nodata: float) -> dict[str, float]:
    return {"raster:scale": scale, "nodata": float(nodata)}


def _put(catalog: Catalog, collection: str, id: str, geobox, assets, start: date, days: int = 1) -> None:
    """Publish an item of stored arrays as `ingest` writes them: blocks of 512, deflate."""
    first = utc_instant(start)
    item = raster_item(
        id=id, collection=collection, geobox=geobox, start=first, end=first + days * ONE_DAY,
        properties={FINGERPRINT_PROPERTY: digest([id, collection]), "grid:code": GRID.grid_code(TILE)}, extensions=[],
    )  # fmt: skip
    folder, files = Path(catalog.root, ".scratch"), {}
    folder.mkdir(exist_ok=True)
    for key, (values, band) in assets.items():
        told = {"name": key, "data_type": str(values.dtype), "nodata": -9999.0} | band
        write_cog(values, folder / f"{key}.tif", geobox=geobox, profile=CogProfile(nodata=told["nodata"]))
        files[key] = AssetFile(
            folder / f"{key}.tif", ".tif", {"type": COG_MEDIA_TYPE, "roles": ["data"], "bands": [told]}
        )
    publish(catalog, item, files)


def make_project(folder: Path, days: Period, name: str, trees: int, depth: int) -> tuple[Project, dict[str, str]]:
    """Inputs, project file and two models, kept; model ids: ``whole`` (intervals, area of applicability), ``sm``."""
    catalog = make_month(folder, days, HISTORY if name == "memory" else 0)
    text, recipe = project_text(GRID, RECIPE), RECIPE
    if name == "memory":
        text = memory_text(Period(days.start - HISTORY * ONE_DAY, days.end))
        recipe = Recipe.from_dict(tomllib.loads(text)["recipe"])
    if not (folder / "stac-sm.toml").exists():
        create_project(folder, text)
        for feature in features_needing_climatology(recipe):
            make_climatology(catalog, feature)
    ids = {}
    for kind in ("whole", "sm"):
        mark = folder / f"model-{trees}-{depth}-{kind}"
        if not mark.exists():
            mark.write_text(put_model(catalog, fit_model(catalog, recipe, days.start, trees, depth, kind)))
        ids[kind] = mark.read_text()
    return read_project(folder), ids


def memory_text(period: Period) -> str:
    """Project file with the recipe ``memory``, whose means of many years are those of a period."""
    return TEMPLATES["memory"].replace('period = "2001/2020"', f'period = "{period}"')


def fit_model(catalog: Catalog, recipe: Recipe, day: date, trees: int, depth: int, kind: str) -> Model:
    """Model of pixels of one day: ``whole`` has intervals and an area of applicability, ``sm`` neither."""
    table = _rows(catalog, recipe, day)
    parameters = {"max_depth": depth, "eta": 0.05, "subsample": 0.8, "max_bin": 256}
    ones, learner = np.ones(len(table), np.float32), find_learner(DEFAULT_LEARNER)
    values, observed = table[list(recipe.names)], table["sm"].to_numpy(np.float32)
    trained = learner.fit(values, observed, ones, FitSettings(parameters, trees, nthread=2))
    member = WeightedBooster.of(trained)
    model = Model((member,), recipe)
    if kind == "sm":
        return model
    error = np.abs(member.predict(values) - observed)
    settings = FitSettings(parameters | {"max_depth": 2}, 20, nthread=2)
    spread = WeightedBooster.of(learner.fit(values, error, ones, settings))
    level = ErrorLevel(float(table["sm"].mean()), float(table["sm"].std()), (1.0, 0.1, -0.05), 0.3)
    few = table.sample(12_000, random_state=1)
    area = fit_applicability(few, recipe.names, model.importance(), few["site"])
    return replace(model, intervals=Intervals(spread, level, 2.0, 0.005, 0.9, 200), applicability=area)


def _rows(catalog: Catalog, recipe: Recipe, day: date) -> pd.DataFrame:
    """Pixels of one day, with a target that depends on all features, and noise."""
    cube = feature_cube(catalog, recipe, TILE, Period.of_day(day)).compute()
    rng = np.random.default_rng(3)
    columns = {name: cube[name].values.ravel() for name in recipe.names}
    whole = np.flatnonzero(np.all([np.isfinite(column) for column in columns.values()], axis=0))
    chosen = rng.choice(whole, 120_000, replace=False)
    table = pd.DataFrame({name: column[chosen] for name, column in columns.items()})
    z = ((table - table.mean()) / table.std()).replace([np.inf, -np.inf], np.nan).fillna(0)  # one day: one season
    wave = np.tanh(z["lst"] + z["lai"] * z["swvl1"]) + np.sin(z["elevation"]) + 0.3 * z["sand"] * z["clay"]
    table["sm"] = (0.25 + 0.04 * wave + 0.01 * z.sum(axis=1) + 0.02 * rng.normal(size=len(z))).clip(0.02, 0.6)
    return table.assign(site=rng.integers(200, size=len(table)))


def put_model(catalog: Catalog, model: Model) -> str:
    """Publish a model, and return its id."""
    item = model_item(
        model, fingerprint=model.checksum, bbox=[8, 45, 12, 48], period=Period.parse("2018"),
        hyperparameters={"eta": 0.05}, properties={"title": "benchmark"},
    )  # fmt: skip
    folder = Path(catalog.root, ".scratch", "model")
    folder.mkdir(parents=True, exist_ok=True)
    publish(catalog, item, write_model_assets(model, folder))
    refresh(catalog.store, MODELS)
    return str(item["id"])


def forget_product(folder: Path) -> None:
    """Take the product out, so that it is made again."""
    shutil.rmtree(folder / PRODUCT_COLLECTION, ignore_errors=True)
    create_skeleton(open_store(folder), title="Fields")


def month(days: int) -> Period:
    return Period(MONTH.start, MONTH.start + days * ONE_DAY)
