"""Match-up and training steps: made once, made again only when what they are made from changes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.errors import CatalogError, InputError
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.features.recipe import Feature
from stac_sm.model.fit import fit
from stac_sm.model.item import MODELS_COLLECTION as MODELS
from stac_sm.model.train_settings import TrainSettings
from stac_sm.stac.items import item_json
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import FINGERPRINT_PROPERTY
from stac_sm.stations.matchup_item import MATCHUPS_COLLECTION
from stac_sm.stations.matchups import Matchups
from stac_sm.stations.records import read_stations
from stac_sm.stations.screening_item import LEFT_OUT_STATUS, SCREENING_STATUS_PROPERTY, write_screening_results
from stac_sm.workflows.project import create_project
from stac_sm.workflows.training.steps import (
    TRIPLET_RECIPE,
    _absent,
    _missing_counts,
    _model_title,
    _require_rows,
    match_up_step,
    screen_step,
    train_step,
    triplet_recipe,
)
from tests.support.fields import SMALL, TILE, around, edit, image, project_text, put, read_model
from tests.support.station_project import BAD, PERIOD, PIXELS, RECIPE, a_project, put_station
from tests.support.undrawn import leave_figures_undrawn


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """The model of this module is made before, with its figures."""
    leave_figures_undrawn(monkeypatch)


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
    before = files(project, MATCHUPS_COLLECTION)
    again = match_up_step(project)
    assert not again.new
    assert again.item["id"] == matchups.item["id"]
    pd.testing.assert_frame_equal(again.table, matchups.table)
    pd.testing.assert_frame_equal(again.triplets, matchups.triplets)
    assert files(project, MATCHUPS_COLLECTION) == before


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


@pytest.fixture
def two_networks(copied):
    """A station of another network in the pixel of S1, and one in a pixel of its own."""
    for name, pixel in (("S7", PIXELS["S1"]), ("S8", (2, 2))):
        sm = np.linspace(0.1, 0.3, len(PERIOD))
        put_station(copied.catalog, copied.folder / ".scratch", name, *pixel, sm, network="OTHER")
    return copied


def test_networks_left_out_are_seen_by_no_model(two_networks):
    """Nor is a pixel that one of their stations lies in, whose scores would not be those of something unseen."""
    project = replace(two_networks, matchups=replace(two_networks.matchups, leave_out=("OTHER",)))
    made, whole = match_up_step(project), match_up_step(two_networks)
    assert set(made.table["site"]) == set(made.triplets["site"]) == {f"NET.S{n}" for n in range(2, 7)}
    assert set(made.table["network"]) == {"NET"}
    assert set(whole.table["site"]) == {*(f"NET.{name}" for name in PIXELS), "OTHER.S8"}
    assert made.item["id"] != whole.item["id"]
    screen_step(project, made)
    ids = [*(f"NET.{name}" for name in PIXELS), "OTHER.S7", "OTHER.S8"]
    told = {id: project.catalog.item("ismn-stations", id).properties[SCREENING_STATUS_PROPERTY] for id in ids}
    assert {id for id, status in told.items() if status == LEFT_OUT_STATUS} == {"NET.S1", "OTHER.S7", "OTHER.S8"}
    assert told["NET.S4"] == "kept"


@pytest.mark.parametrize(
    ("networks", "said"),
    [(("NOT",), "found NOT, which no station is of; the networks are NET, OTHER"), (("NET", "OTHER"), "all networks")],
)
def test_a_network_that_cannot_be_left_out_is_refused(two_networks, networks, said):
    with pytest.raises(InputError, match=said):
        match_up_step(replace(two_networks, matchups=replace(two_networks.matchups, leave_out=networks)))


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
    wanted = fit(kept, RECIPE.names, settings=TrainSettings(tune=False, n_estimators=5))
    read = read_model(project.catalog, model.id)
    assert read.members == wanted.members
    assert read.recipe == RECIPE
    (booster,) = properties["mlm:hyperparameters"]["boosters"]  # of the model, not those that a setting names
    assert (booster["name"], booster["rounds"], len(read.members)) == ("plain", 5, 1)
    assert {(one["strategy"], one["scored_on"]) for one in model.scores} >= {("random", "all"), ("site", "all")}


def test_workers_of_the_command_line_change_no_byte(project, matchups, model, tmp_path):
    """In a process of its own: workers import its main module."""
    shutil.copytree(project.folder, tmp_path / "p")
    other = replace(project, folder=tmp_path / "p")
    for item in Path(other.folder, MATCHUPS_COLLECTION).glob("matchups-*"):
        shutil.rmtree(item)
    refresh(other.catalog.store, MATCHUPS_COLLECTION)
    for verb in ("matchup", "train"):
        done = subprocess.run(
            [sys.executable, "-m", "stac_sm", verb, "--workers", "2", "--project", str(other.folder), "--json"],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["new"] == (verb == "matchup")
        assert told.get("item", matchups.item["id"]) == matchups.item["id"]
        assert told.get("model", model.id) == model.id
    made, wanted = (
        {file.relative_to(one.folder): content for file, content in files(one, MATCHUPS_COLLECTION).items()}
        for one in (other, project)
    )
    assert made == wanted


def test_the_command_line_tells_what_training_begins(copied):
    for item in Path(copied.folder, MODELS).glob("xgb-*"):
        shutil.rmtree(item)
    refresh(copied.catalog.store, MODELS)
    done = CliRunner().invoke(main, ["train", "--project", str(copied.folder), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["new"]
    assert done.stderr.startswith("training on ")


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
    told: list[str] = []
    step = train_step(strict, matchups, log=told.append)
    assert [line.split(":")[0].split(" ")[0] for line in told] == ["training", "scoring", "for"]
    assert told[0].endswith("rows of 6 sites, unscreened")
    status = step.item["properties"]["stac_sm:tc_status"]
    assert status.startswith("unscreened: ")
    assert "5" in status
    assert "6" in status
    wanted = fit(matchups.table, RECIPE.names, settings=TrainSettings(tune=False, n_estimators=5))
    assert read_model(copied.catalog, step.id).members == wanted.members


def test_items_are_valid_and_linked(project, matchups, model, validate):
    for collection, id in ((MATCHUPS_COLLECTION, matchups.item["id"]), (MODELS, model.id)):
        item = project.catalog.item(collection, id)
        validate(item)
        document = json.loads(Path(item.self_href).read_text())
        for link in document["links"]:
            if link["rel"] in {"derived_from", "related"}:
                assert json.loads((Path(item.self_href).parent / link["href"]).read_text())["id"] == link["title"]
    sources = {link["rel"]: link["title"] for link in document["links"] if link["rel"] in {"derived_from", "related"}}
    assert sources == {"derived_from": matchups.item["id"], "related": "ismn-stations"}


def test_the_table_is_geoparquet_and_says_so(project, matchups):
    """Judged by pyarrow and shapely: points are WKB, and file and item name their column."""
    import pyarrow.parquet as pq
    import shapely

    item = project.catalog.item(MATCHUPS_COLLECTION, matchups.item["id"])
    asset = item.assets["table"]
    file = pq.ParquetFile(asset.get_absolute_href())
    geo = json.loads(file.schema_arrow.metadata[b"geo"])
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    column = geo["columns"]["geometry"]
    assert (column["encoding"], column["geometry_types"]) == ("WKB", ["Point"])
    assert "crs" not in column  # then it is OGC:CRS84
    table = file.read().to_pandas()
    points = shapely.from_wkb(table["geometry"].to_numpy())
    np.testing.assert_array_equal(shapely.get_coordinates(points), table[["lon", "lat"]])
    np.testing.assert_allclose(column["bbox"], shapely.total_bounds(points))
    for fields in (item.properties, asset.extra_fields):
        assert fields["table:row_count"] == len(table)
        assert fields["table:primary_geometry"] == "geometry"
        assert [one["name"] for one in fields["table:columns"]] == list(table)
    told = {one["name"]: one["description"] for one in item.properties["table:columns"]}
    assert told["swvl1"].endswith(", m3 m-3, from era5-land")
    assert len(told) == len(table.columns)
    triplets = item.assets["triplets"].extra_fields
    assert [one["name"] for one in triplets["table:columns"]] == list(matchups.triplets)
    assert item.assets["table"].extra_fields["file:checksum"].startswith("1220")


def verdicts(project):
    return {item.id: item.properties for item in project.catalog.items("ismn-stations")}


@pytest.mark.parametrize("by", ["screen", "train"])
def test_the_verdict_is_on_the_station(copied, matchups, validate, by):
    """Written by training already (the fixture), and by screening where it is not there."""
    if by == "screen":
        put_station(copied.catalog, copied.folder / ".scratch", "S7", 1, 1, np.full(len(PERIOD), 0.2))
        put_station(copied.catalog, copied.folder / ".scratch", "DEEP", 1, 2, np.full(len(PERIOD), 0.2), depth=0.1)
        assert dict(screen_step(copied, match_up_step(copied)).stations) == {"done": 6, "replaced": 2}
        found = verdicts(copied)
        assert found["NET.DEEP"]["stac_sm:tc_status"].startswith("not screened: outside the grid, or no sensor")
        assert found["NET.S7"]["stac_sm:tc_status"].startswith("rejected: covariance")
        assert found["NET.S7"]["stac_sm:tc"] == {
            "n": 14, "resamples": 0, "failed_resamples": 0, "site": "NET.S7", "second": "era5-land",
            "third": "esa-cci-sm", "period": str(PERIOD), "confidence": 0.9, "rules": copied.screening.rules(),
        }  # fmt: skip
    found, judged = verdicts(copied), screen_step(copied, matchups).screening.sites.set_index("site")
    for name in PIXELS:
        properties, row = found[f"NET.{name}"], judged.loc[f"NET.{name}"]
        assert properties["stac_sm:tc_status"] == row["status"]
        for figure in ("correlation", "correlation_low", "error_std", "error_std_high", "snr_db"):
            told = properties["stac_sm:tc"].get(figure, np.nan)  # a figure that is refused is left out
            assert told == pytest.approx(row[figure], abs=1e-6, nan_ok=True)
        for count in ("n", "resamples", "failed_resamples"):
            assert properties["stac_sm:tc"][count] == row[count]
    for item in copied.catalog.items("ismn-stations"):
        validate(item)
        assert Path(item.assets["series"].get_absolute_href()).exists()


def test_a_verdict_makes_nothing_stale_and_is_written_once(copied, matchups, model):
    before = files(copied, "ismn-stations")
    assert dict(screen_step(copied, matchups).stations) == {"done": 6}
    assert files(copied, "ismn-stations") == before
    for path in Path(copied.folder, "ismn-stations").rglob("NET.*.json"):
        document = json.loads(path.read_text())
        for name in ("stac_sm:tc", "stac_sm:tc_status"):
            del document["properties"][name]
        document["properties"][FINGERPRINT_PROPERTY] = document["properties"].pop("stac_sm:ingested")
        path.write_bytes(item_json(document))
    again = match_up_step(copied)
    assert (again.new, train_step(copied, again).new) == (False, False)
    assert dict(screen_step(copied, matchups).stations) == {"replaced": 6}
    assert files(copied, "ismn-stations") == before


def test_the_third_data_set_is_a_setting_of_the_project(copied, matchups):
    catalog = copied.catalog
    for item in catalog.items("esa-cci-sm"):
        coarse = around(SMALL.geobox(TILE), "EPSG:4326", 0.25)
        field = rasterio.open(item.assets["cci_sm"].get_absolute_href()).read(1) / 2
        put(catalog, "smap", f"smap.{item.id}", coarse, {"smap_sm": field}, item.datetime.date(), linked=False)
    refresh(catalog.store, "smap")
    other = replace(copied, screening=replace(copied.screening, third="smap"))
    made = match_up_step(other)
    assert made.new
    assert made.item["id"] != matchups.item["id"]
    np.testing.assert_allclose(made.triplets["third"], matchups.triplets["third"] / 2, atol=1e-6)
    pd.testing.assert_frame_equal(made.table, matchups.table)
    screen_step(other, made)
    assert verdicts(other)["NET.S1"]["stac_sm:tc"]["third"] == "smap"
    assert screen_step(copied, matchups).stations["replaced"] == 6
    assert not match_up_step(copied).new
    assert triplet_recipe(copied) == TRIPLET_RECIPE


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"third": "gleam"}, r"\[screening\] third: found 'gleam', which is no collection of .*; it has .*smap"),
        ({"third": "smap-s1"}, r"found 'smap-s1' with smap_s1_sm, smap_s1_sm_3km in m3 m-3, one is required"),
        ({"third": "cop-dem"}, r"found 'cop-dem' with no assets in m3 m-3.*its assets are elevation"),
        ({"third": "smap", "third_asset": "sm"}, r"third_asset of smap 'sm' is unknown.*smap_sm"),
    ],
)
def test_a_third_data_set_that_is_not_there_is_named(copied, settings, message):
    with pytest.raises(InputError, match=message):
        match_up_step(replace(copied, screening=replace(copied.screening, **settings)))


@pytest.mark.parametrize("third", ["era5-land", "sm-1km-daily"])
def test_a_dependent_third_data_set_is_refused(copied, third):
    with pytest.raises(InputError, match="a data set with errors of its own is required"):
        replace(copied.screening, third=third)


def test_other_thresholds_are_another_verdict(copied, matchups):
    ids = {id: properties[FINGERPRINT_PROPERTY] for id, properties in verdicts(copied).items()}
    strict = replace(copied, screening=replace(copied.screening, min_correlation=0.9999))
    assert dict(screen_step(strict, matchups).stations) == {"replaced": 6}
    found = verdicts(copied)
    assert found["NET.S1"]["stac_sm:tc_status"].startswith("rejected: TC R")
    assert found["NET.S1"][FINGERPRINT_PROPERTY] != ids["NET.S1"]
    assert not match_up_step(copied).new


def test_a_station_that_was_ingested_anew_gets_no_old_verdict(copied, matchups):
    """The match-ups were made of another series."""
    put_station(copied.catalog, copied.folder / ".scratch", "S1", *PIXELS["S1"], np.full(len(PERIOD), 0.3))
    assert "stac_sm:tc" not in verdicts(copied)["NET.S1"]
    assert match_up_step(copied).new
    stale = {one.id: one for one in read_stations(copied.catalog)}["NET.S1"]
    told = write_screening_results(copied.catalog, [(stale.id, stale.href, "1220old")], {})
    assert dict(told) == {"changed": 1}


def test_a_station_that_moved_makes_other_match_ups(copied, matchups):
    def elsewhere(item):
        item["geometry"]["coordinates"][0] += 0.05

    edit(copied.catalog, "ismn-stations", "NET.S1", elsewhere)
    assert match_up_step(copied).new


def test_steps_find_the_match_ups_themselves_and_name_the_report(copied, model):
    again = train_step(copied)
    assert (again.id, again.new, again.scores) == (model.id, False, model.scores)
    assert list(again.report_hrefs) == ["report", "metrics", "series"]
    numbers = json.loads(Path(again.report_hrefs["metrics"]).read_text())
    assert list(again.flagged) == numbers["diagnostics"]["flagged"]
    assert dict(screen_step(copied).stations) == {"done": 6}


def test_retraining_is_a_new_version(copied, matchups, model, validate):
    other = train_step(replace(copied, training=replace(copied.training, eta=0.5)), matchups)
    items = {id: copied.catalog.item(MODELS, id) for id in (model.id, other.id)}
    assert [items[id].properties["version"] for id in items] == ["1", "2"]
    links = {
        (id, link.rel): Path(link.get_absolute_href()).stem
        for id, item in items.items() for link in item.links if link.rel.endswith("-version")
    }  # fmt: skip
    assert links == {(model.id, "successor-version"): other.id, (other.id, "predecessor-version"): model.id}
    for item in items.values():
        validate(item)
    before = files(copied, MODELS)
    assert not train_step(copied, matchups).new
    assert files(copied, MODELS) == before


def test_no_station(tmp_path):
    project = create_project(tmp_path / "p", project_text(SMALL, RECIPE))
    with pytest.raises(CatalogError, match=r"no station found, at least one is required: `stac-sm ingest ismn"):
        match_up_step(project)


def test_no_station_in_the_grid(copied):
    elsewhere = replace(copied, grid=replace(SMALL, origin=(0.0, 0.0)))
    with pytest.raises(CatalogError, match="6 stations found, none in grid small with a sensor that ends at 0.05 m"):
        match_up_step(elsewhere)


def test_no_day_measured(copied):
    """The inputs are there, and each station is named with the days that it has."""
    for name in PIXELS:
        edit(copied.catalog, "ismn-stations", f"NET.{name}", series_ends_early)
    strict = replace(copied, stations=replace(copied.stations, min_hours=25))
    found = (
        r"no day found at which .* 25 hourly values.* min_hours of \[stations\].*; 6 stations lie outside the period"
    )
    with pytest.raises(CatalogError, match=rf"{found}: NET.S1 \(2017-01-01/2017-02-28\), NET.S2"):
        match_up_step(strict)


def test_stations_in_another_unit_are_not_lost_in_silence(copied):
    """Readings in percent are outside the range: the message counts them."""
    percent = replace(copied, stations=replace(copied.stations, valid=(0.0, 0.001)))
    with pytest.raises(CatalogError, match=r"readings not used: 2016 outside 0 to 0\.001 m3 m-3"):
        match_up_step(percent)


def series_ends_early(item):
    item["properties"] |= {"start_datetime": "2017-01-01T00:00:00Z", "end_datetime": "2017-02-28T23:59:59Z"}


def test_stations_outside_the_period_are_named_in_every_result(copied, monkeypatch):
    """Their series is not read for that: the item says which days it spans."""
    edit(copied.catalog, "ismn-stations", "NET.S5", series_ends_early)
    made = match_up_step(replace(copied, stations=replace(copied.stations, min_hours=13)))
    outside = {"NET.S5": "2017-01-01/2017-02-28"}
    assert made.item["properties"]["stac_sm:stations_outside_period"] == outside
    monkeypatch.chdir(copied.folder)
    settings = Path("stac-sm.toml").read_text()
    Path("stac-sm.toml").write_text(settings.replace("n_estimators = 5", "n_estimators = 6"))
    trained = json.loads(CliRunner().invoke(main, ["train", "--json"]).stdout)
    assert trained["stac_sm:stations_outside_period"] == outside
    note = f"1 of 6 stations have no reading in the period of the match-ups, {PERIOD}: NET.S5 (2017-01-01/2017-02-28)"
    assert trained["stac_sm:notes"] == [note]
    assert note in json.loads(Path(trained["metrics"]).read_text())["report_notes"]
    assert note in Path(trained["report"]).read_text()
    assert f"note: {note}" in CliRunner().invoke(main, ["train"]).stdout


def test_all_missing_features_are_named_at_once(copied):
    """Not the first: of features without an item, of collections that do not exist, and of days without a value."""
    early = replace(
        copied, matchups=replace(copied.matchups, period=str(Period(PERIOD.start - 9 * ONE_DAY, PERIOD.start)))
    )
    both = r"2 features: swvl1 \(collection era5-land, asset swvl1\), cci \(collection esa-cci-sm, asset cci_sm\)"
    with pytest.raises(CatalogError, match=f"no item found at any station for {both}; ingest them"):
        match_up_step(early)
    unknown = (Feature("a", "era5-land", "swvl9"), Feature("b", "esa-cci-sm", "sm_cci"))
    with pytest.raises(CatalogError, match=r"'swvl9' is unknown.*'sm_cci' is unknown"):
        match_up_step(replace(copied, recipe=replace(RECIPE, features=(*RECIPE.features, *unknown))))


def test_a_static_feature_at_another_depth_is_named(copied):
    coarse = around(SMALL.geobox(TILE), "EPSG:4326", 0.05)
    put(copied.catalog, "soilgrids", "SAND", coarse, {"sand_5-15cm": image(coarse)}, PERIOD.start)
    sand = Feature("sand", "soilgrids", "sand", "average", "static")
    with pytest.raises(
        CatalogError, match=r"sand \(collection soilgrids, asset sand\).*there is sand_5-15cm, of another"
    ):
        match_up_step(replace(copied, recipe=replace(RECIPE, features=(*RECIPE.features, sand))))


def test_days_without_a_value_are_counted_for_each_feature(copied):
    """A day on which two features are missing counts for both; it is dropped once."""
    for collection, key in (("era5-land", "swvl1"), ("esa-cci-sm", "cci_sm")):
        shutil.rmtree(next(Path(copied.folder, collection).rglob(f"{key}.{date(2018, 6, 7):%Y%j}")))
        refresh(copied.catalog.store, collection)
    properties = match_up_step(copied).item["properties"]
    assert properties["stac_sm:missing_features"] == {"swvl1": 6, "cci": 6}
    assert sum(properties["stac_sm:dropped"]["site-days"].values()) == 6


def test_the_title_of_a_model_is_a_line():
    assert _model_title(["lst", "swvl1"]) == "XGBoost on lst, swvl1"
    assert _model_title([f"feature_{i}" for i in range(33)]) == (
        "XGBoost on 33 features: feature_0, feature_1, feature_2, …"
    )


def test_no_day_with_all_features():
    lost = Matchups(pd.DataFrame({"site": []}), {"no lai": 3, "frozen": 2}, {"swvl1": 5, "cci": 4})
    told = (
        r"5 measured .* none with all features \(no lai: 3, frozen: 2\): check.*; without a value: "
        r"era5-land: swvl1 on 5; esa-cci-sm: cci on 4"
    )
    with pytest.raises(CatalogError, match=told):
        _require_rows(lost, 5, PERIOD, RECIPE)


def test_many_missing_features_are_a_line_a_collection(copied):
    """As with a recipe of 33 features of which none is ingested: what is to be ingested is seen at a glance."""
    many = [Feature(f"memory_{n}", collection, f"v{n}") for n in range(12) for collection in ("era5-land", "smap")]
    words = _absent(many)
    assert [line.partition(":")[0] for line in words.strip().splitlines()] == ["era5-land", "  smap"]
    assert all(words.count(f"memory_{n},") + words.count(f"memory_{n}\n") == 2 for n in range(12))
    missing = {f"m{n}": n + 1 for n in range(12)} | {"cci": 5}
    recipe = replace(RECIPE, features=(*(Feature(f"m{n}", "era5-land", "swvl1") for n in range(12)), *RECIPE.features))
    assert _missing_counts(missing, recipe) == "era5-land: 12 features on 1 to 12; esa-cci-sm: cci on 5"
