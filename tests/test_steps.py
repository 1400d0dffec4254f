"""Match-up and training steps: made once, made again only when what they are made from changes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fields import SMALL, TILE, around, edit, image, project_text, put, read_model

from stac_sm.catalog import refresh
from stac_sm.config import create_project
from stac_sm.errors import CatalogError
from stac_sm.fingerprint import digest
from stac_sm.grid import to_lonlat
from stac_sm.items import PARQUET, build_item
from stac_sm.model_item import COLLECTION as MODELS
from stac_sm.period import DAY, Period, utc
from stac_sm.publishing import FINGERPRINT, AssetFile, publish
from stac_sm.recipe import Feature, Recipe
from stac_sm.steps import MATCHUPS, match_up_step, train_step
from stac_sm.train import TrainSettings, fit

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
[training]
n_estimators = 5
[validation]
strategies = ["random", "site"]
folds = 2
"""
PIXELS = {"S1": (3, 4), "S2": (20, 30), "S3": (35, 10), "S4": (10, 45), "S5": (30, 40), "S6": (8, 20)}
BAD = "S6"
"""A station that measures something else."""


def put_station(catalog, folder, name, row, column, sm, depth=0.05):
    """A station at the centre of a pixel; soil moisture by day, 24 readings each."""
    x, y = SMALL.geobox(TILE).affine * (column + 0.5, row + 0.5)
    lon, lat = to_lonlat(SMALL.crs).transform(x, y)
    times = pd.date_range(str(PERIOD.start), periods=24 * len(sm), freq="h")
    series = pd.DataFrame(
        {"time": times, "sensor": "A", "depth_from": 0.0, "depth_to": depth, "sm": np.repeat(sm, 24), "flag": "G"}
    )
    sensors = [{"name": "A", "depth_from": 0.0, "depth_to": depth, "n": len(series)}]
    item = build_item(
        id=f"NET.{name}", collection="ismn-stations", geometry={"type": "Point", "coordinates": [lon, lat]},
        bbox=[lon, lat, lon, lat], start=utc(PERIOD.start), end=utc(PERIOD.end), extensions=[],
        properties={
            "stac_sm:network": "NET", "stac_sm:station": name, "stac_sm:sensors": sensors,
            FINGERPRINT: digest([name, depth, *map(float, sm)]),
        },
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    series.to_parquet(folder / f"{name}.parquet")
    asset = AssetFile(folder / f"{name}.parquet", ".parquet", {"type": PARQUET, "roles": ["data"]})
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


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return a_project(tmp_path_factory.mktemp("steps") / "p")


@pytest.fixture(scope="module")
def matchups(project):
    return match_up_step(project)


@pytest.fixture(scope="module")
def model(project, matchups):
    return train_step(project, matchups)


@pytest.fixture
def copied(project, matchups, model, tmp_path):
    import shutil

    shutil.copytree(project.folder, tmp_path / "p")
    return replace(project, folder=tmp_path / "p")


def files(project, collection):
    return {file: file.read_bytes() for file in Path(project.folder, collection).rglob("*") if file.is_file()}


def test_match_ups_and_triplets(matchups):
    assert matchups.new
    assert len(matchups.table) == len(matchups.triplets) == len(PIXELS) * len(PERIOD)
    assert list(matchups.triplets) == ["site", "date", "insitu", "era5land", "third"]
    assert set(matchups.table["site"]) == {f"NET.{name}" for name in PIXELS}
    assert [
        (row, column) for row, column in matchups.table[["row", "col"]].drop_duplicates().itertuples(index=False)
    ] == list(PIXELS.values())
    properties = matchups.item["properties"]
    assert (properties["stac_sm:rows"], properties["stac_sm:sites"]) == (len(matchups.table), len(PIXELS))


def test_they_are_made_once(project, matchups):
    before = files(project, MATCHUPS)
    again = match_up_step(project)
    assert not again.new
    assert again.item["id"] == matchups.item["id"]
    pd.testing.assert_frame_equal(again.table, matchups.table)
    pd.testing.assert_frame_equal(again.triplets, matchups.triplets)
    assert files(project, MATCHUPS) == before


def test_one_scale_in_one_item_makes_them_again(copied, matchups):
    """One feature path: what an item says reaches the training, too."""
    day = date(2018, 6, 7)
    edit(
        copied.catalog, "era5-land", f"swvl1.{day:%Y%j}",
        lambda item: item["assets"]["swvl1"]["bands"][0].update({"raster:scale": 0.5}),
    )  # fmt: skip
    again = match_up_step(copied)
    assert again.new
    assert again.item["id"] != matchups.item["id"]
    halved = np.where(again.table["date"] == str(day), 0.5, 1)
    np.testing.assert_allclose(again.table["swvl1"], matchups.table["swvl1"] * halved, rtol=1e-6)
    assert train_step(copied, again).new


@pytest.mark.parametrize("change", ["station", "rules", "period", "recipe"])
def test_whatever_they_are_made_from_makes_them_again(copied, matchups, change):
    if change == "station":
        put_station(copied.catalog, copied.folder / ".scratch", "S7", 1, 1, np.full(len(PERIOD), 0.2))
    if change == "rules":
        copied = replace(copied, stations=replace(copied.stations, min_hours=13))
    if change == "period":
        copied = replace(copied, matchups=replace(copied.matchups, period="2018-06-02/2018-06-14"))
    if change == "recipe":
        copied = replace(copied, recipe=replace(RECIPE, derived=()))
    again = match_up_step(copied)
    assert again.new
    assert again.item["id"] != matchups.item["id"]


def test_stations_reach_as_deep_as_the_project_says(copied, matchups):
    put_station(copied.catalog, copied.folder / ".scratch", "DEEP", 1, 1, np.full(len(PERIOD), 0.2), depth=0.1)
    assert "NET.DEEP" not in set(match_up_step(copied).table["site"])
    deeper = replace(copied, stations=replace(copied.stations, max_depth=0.1))
    assert "NET.DEEP" in set(match_up_step(deeper).table["site"])


def test_a_screened_model(project, matchups, model):
    assert model.new
    properties = model.item["properties"]
    assert properties["stac_sm:tc_status"] == "screened: 5 of 6 sites kept"
    judged = {one["site"]: one["status"] for one in properties["stac_sm:screening"]}
    assert judged.pop(f"NET.{BAD}").startswith("rejected: ")
    assert set(judged.values()) == {"kept"}
    kept = matchups.table[matchups.table["site"] != f"NET.{BAD}"]
    wanted = fit(kept, RECIPE.names, settings=TrainSettings(n_estimators=5))
    read = read_model(project.catalog, model.id)
    assert read.members == wanted.members
    assert read.recipe == RECIPE
    assert {(one["strategy"], one["scored_on"]) for one in model.scores} >= {("random", "all"), ("site", "all")}


def test_a_model_is_trained_once(project, matchups, model):
    before = files(project, MODELS)
    again = train_step(project, matchups)
    assert (again.new, again.id, again.scores) == (False, model.id, model.scores)
    assert files(project, MODELS) == before


def test_other_settings_make_another_model_but_threads_do_not(copied, matchups, model):
    threads = replace(copied, training=replace(copied.training, nthread=1))
    assert not train_step(threads, matchups).new
    other = train_step(replace(copied, training=replace(copied.training, eta=0.5)), matchups)
    assert other.new
    assert other.id != model.id


def test_with_too_few_sites_a_model_is_unscreened_and_says_so(copied, matchups):
    strict = replace(copied, screening=replace(copied.screening, min_sites=6))
    step = train_step(strict, matchups)
    status = step.item["properties"]["stac_sm:tc_status"]
    assert status.startswith("unscreened: ")
    assert "5" in status
    assert "6" in status
    wanted = fit(matchups.table, RECIPE.names, settings=TrainSettings(n_estimators=5))
    assert read_model(copied.catalog, step.id).members == wanted.members


def test_items_are_valid_and_linked(project, matchups, model, validate):
    for collection, id in ((MATCHUPS, matchups.item["id"]), (MODELS, model.id)):
        item = project.catalog.item(collection, id)
        validate(item)
        document = json.loads(Path(item.self_href).read_text())
        for link in document["links"]:
            if link["rel"] == "derived_from":
                assert json.loads((Path(item.self_href).parent / link["href"]).read_text())["id"] == link["title"]
    assert [link["title"] for link in document["links"] if link["rel"] == "derived_from"] == [matchups.item["id"]]


def test_no_station(tmp_path):
    project = create_project(tmp_path / "p", project_text(SMALL, RECIPE))
    with pytest.raises(CatalogError, match=r"no station found, at least one wanted: `stac-sm ingest ismn"):
        match_up_step(project)


def test_no_station_in_the_grid(copied):
    elsewhere = replace(copied, grid=replace(SMALL, origin=(0.0, 0.0)))
    with pytest.raises(CatalogError, match="6 stations found, none in grid small with a sensor that ends at 0.05 m"):
        match_up_step(elsewhere)


def test_no_day_with_all_features(copied):
    early = replace(copied, matchups=replace(copied.matchups, period=str(Period(PERIOD.start - 9 * DAY, PERIOD.start))))
    with pytest.raises(CatalogError, match=r"0 measured site-days found.*check \[matchups\] period"):
        match_up_step(early)
