"""A small project with stations and two coarse products that follow one truth: ready to match up, screen and train."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.fingerprint import digest
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.projections import transformer_to_lonlat
from stac_sm.features.recipe import Feature, Recipe
from stac_sm.stac.items import PARQUET_MEDIA_TYPE, build_item
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, publish
from stac_sm.workflows.project import create_project
from tests.support.fields import SMALL, TILE, around, image, project_text, put

PERIOD = Period.parse("2018-06-01/2018-06-14")
RECIPE = Recipe(
    (Feature("swvl1", "era5-land", "swvl1", "bilinear"), Feature("cci", "esa-cci-sm", "cci_sm")), ("doy_sin",)
)
SETTINGS = f"""
[matchups]
period = "{PERIOD}"
[screening]
min_days = 5
min_sites = 2
min_correlation = 0.3
decide_by = "estimate"
max_failed_resamples = 0.9
[training]
tune = false
n_estimators = 5
[validation]
strategies = ["random", "site"]
folds = 2
"""
PIXELS = {"S1": (3, 4), "S2": (20, 30), "S3": (35, 10), "S4": (10, 45), "S5": (30, 40), "S6": (8, 20)}
BAD = "S6"
"""A station that measures something else."""


def put_station(catalog, folder, name, row, column, sm, depth=0.05, network="NET"):
    """A station at the centre of a pixel; soil moisture by day, 24 readings each."""
    x, y = SMALL.geobox(TILE).affine * (column + 0.5, row + 0.5)
    lon, lat = transformer_to_lonlat(SMALL.crs).transform(x, y)
    times = pd.date_range(str(PERIOD.start), periods=24 * len(sm), freq="h")
    series = pd.DataFrame(
        {"time": times, "sensor": "A", "depth_from": 0.0, "depth_to": depth, "sm": np.repeat(sm, 24), "flag": "G"}
    )
    sensors = [{"name": "A", "depth_from": 0.0, "depth_to": depth, "n": len(series)}]
    item = build_item(
        id=f"{network}.{name}", collection="ismn-stations", geometry={"type": "Point", "coordinates": [lon, lat]},
        bbox=[lon, lat, lon, lat], start=utc_instant(PERIOD.start), end=utc_instant(PERIOD.end), extensions=[],
        properties={
            "stac_sm:network": network, "stac_sm:station": name, "stac_sm:sensors": sensors,
            FINGERPRINT_PROPERTY: digest([name, depth, *map(float, sm)]),
        },
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    series.to_parquet(folder / f"{name}.parquet")
    asset = AssetFile(folder / f"{name}.parquet", ".parquet", {"type": PARQUET_MEDIA_TYPE, "roles": ["data"]})
    publish(catalog, item, {"series": asset})
    refresh(catalog.store, "ismn-stations")


def a_project(folder, extra=SETTINGS):
    """ERA5-Land and CCI that follow one truth, and stations that do so, too, but for one."""
    project = create_project(folder, project_text(SMALL, RECIPE, extra=extra))
    catalog, rng = project.catalog, np.random.default_rng(2)
    coarse = around(SMALL.geobox(TILE), "EPSG:4326", 0.25)
    truth = 0.25 + 0.1 * np.sin(np.arange(len(PERIOD)))
    for i, day in enumerate(PERIOD.days):
        for collection, key, bias in (("era5-land", "swvl1", 0.05), ("esa-cci-sm", "cci_sm", 0)):
            field = truth[i] + bias + 0.02 * image(coarse) + np.float32(rng.normal(0, 0.01))
            put(catalog, collection, f"{key}.{day:%Y%j}", coarse, {key: field.astype(np.float32)}, day, linked=False)
    for collection in ("era5-land", "esa-cci-sm"):
        refresh(catalog.store, collection)
    for name, pixel in PIXELS.items():
        sm = rng.uniform(0.1, 0.4, len(truth)) if name == BAD else truth + rng.normal(0, 0.01, len(truth))
        put_station(catalog, folder / ".scratch", name, *pixel, sm)
    return project
