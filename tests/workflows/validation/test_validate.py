"""Validation of the product: what slow plain sums over known fields give; who was held out; one item, made once."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stac_sm.cli.main import main
from stac_sm.core.errors import CatalogError
from stac_sm.core.fingerprint import digest
from stac_sm.core.metrics import agreement_scores, triple_collocation
from stac_sm.core.period import ONE_DAY, Period, utc_instant
from stac_sm.core.projections import transformer_to_lonlat
from stac_sm.product.item import PRODUCT_COLLECTION, ProductDay
from stac_sm.raster.mosaic_cog import whole_grid_geobox
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.index.manifest import check_manifest, index_months, read_manifest
from stac_sm.stac.items import build_item
from stac_sm.stac.links import add_collection, refresh
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, publish
from stac_sm.stac.retract import retract
from stac_sm.stations.matchup_item import matchup_item, write_tables
from stac_sm.workflows.audit import audit
from stac_sm.workflows.project import create_project
from stac_sm.workflows.validation.products import OTHER_PRODUCTS, Moments
from stac_sm.workflows.validation.validate import compare_with_other_products, validate_product
from tests.support.chromium import chromium
from tests.support.fields import RECIPE, SMALL, edit, project_text, put
from tests.support.missing import need
from tests.support.page_layout import layout_faults, said_twice
from tests.support.product_days import FIRST, known, new_project, put_day, put_days
from tests.support.station_items import put_station
from tests.support.undrawn import leave_figures_undrawn

NUMBER, FACTOR = 12, 5
DAYS = Period(FIRST, FIRST + NUMBER * ONE_DAY)
TILES = ("h00v00", "h01v01")
COARSE = whole_grid_geobox(SMALL).zoom_out(FACTOR)
PLACES = {"WET.A": (15, 8), "WET.B": (30, 40), "DRY.A": (20, 30)}
NAMES = ("r", "rmse", "ubrmse", "bias")


def cells_of(tile):
    """Cells of the other product in a tile, as slices of its whole grid."""
    column, row = SMALL.column_row(tile)
    height, width = (side // FACTOR for side in SMALL.tile_shape)
    return slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width)


def coarse_product(tile, day):
    """The product averaged over the cells of the other, by a plain mean of 5 x 5 pixels."""
    sm = known(SMALL, tile, day)[0]
    height, width = (side // FACTOR for side in sm.shape)
    blocks = sm.reshape(height, FACTOR, width, FACTOR).transpose(0, 2, 1, 3).reshape(height, width, -1)
    counts = np.isfinite(blocks).sum(-1)
    return np.where(counts > 0, np.nansum(blocks.astype(float), axis=-1) / np.maximum(counts, 1), np.nan)


def other_field(day, seed):
    """Another product: noise, with gaps that move."""
    rng = np.random.default_rng([day, seed])
    field = rng.uniform(0.05, 0.5, tuple(COARSE.shape)).astype(np.float32)
    field[rng.random(field.shape) < 0.2] = np.nan
    return field


def put_others(catalog):
    for collection, asset, seed in (("esa-cci-sm", "cci_sm", 1), ("smap", "smap_sm", 2)):
        for day in range(NUMBER):
            field = other_field(day, seed)
            stored = np.where(np.isnan(field), np.float32(-9999), field)
            put(catalog, collection, f"{asset}.{day:03}", COARSE, {asset: stored}, FIRST + day * ONE_DAY, linked=False)
        refresh(catalog.store, collection)


def put_station_in_pixel(catalog, folder, id, sm, tile="h01v01"):
    """A station at the centre of a pixel, 24 readings a day."""
    row, column = PLACES[id]
    lon, lat = transformer_to_lonlat(SMALL.crs).transform(*(SMALL.geobox(tile).affine @ (column + 0.5, row + 0.5)))
    put_station(catalog, folder, id, sm, lon, lat)


def put_model(catalog, folder, networks):
    """The model of the product, trained on sites of these networks."""
    table = pd.DataFrame({"site": [id for id in PLACES if id.split(".")[0] in networks]})
    table["network"] = [id.split(".")[0] for id in table["site"]]
    table = table.assign(lon=10.0, lat=46.0, date=pd.Timestamp("2018-07-01"), sm=0.2)
    item = matchup_item([9, 45, 11, 47], DAYS, fingerprint=digest(sorted(networks)))
    publish(catalog, item, write_tables(table, table, RECIPE, folder))
    model = build_item(
        id="m", collection="sm-models", geometry={"type": "Point", "coordinates": [10, 46]}, bbox=[10, 46, 10, 46],
        start=utc_instant(DAYS.start), end=utc_instant(DAYS.end), extensions=[],
        properties={FINGERPRINT_PROPERTY: digest(["m", item["id"]]), "stac_sm:matchups": item["id"]},
    )  # fmt: skip
    publish(catalog, model, {})
    for collection in ("matchups", "sm-models"):
        refresh(catalog.store, collection)


def station_values(id):
    rng = np.random.default_rng(len(id) + ord(id[-1]))
    return rng.uniform(0.1, 0.4, NUMBER)


def whole_project(folder: Path):
    project = new_project(folder / "p")
    catalog, scratch = project.catalog, folder / "scratch"
    scratch.mkdir()
    put_days(catalog, TILES, range(NUMBER))
    put_others(catalog)
    for id in PLACES:
        put_station_in_pixel(catalog, scratch, id, station_values(id))
    put_model(catalog, scratch, {"WET"})
    return project


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    return whole_project(tmp_path_factory.mktemp("validation"))


def copy_of(project, folder: Path):
    return replace(project, folder=shutil.copytree(project.folder, folder / "p"))


@pytest.fixture(scope="module")
def project(untouched, tmp_path_factory):
    return copy_of(untouched, tmp_path_factory.mktemp("validated"))


@pytest.fixture
def copied(untouched, tmp_path, monkeypatch):
    """A project without a validation, to be changed. Figures of its pages are those of `made`, and not drawn again."""
    leave_figures_undrawn(monkeypatch)
    return copy_of(untouched, tmp_path)


@pytest.fixture(scope="module")
def made(project):
    return validate_product(project, DAYS)


def plain_pairs():
    """Values of product and other in every cell, by loops: (tile, row, column) -> two lists."""
    pairs = {}
    for tile in TILES:
        for day in range(NUMBER):
            ours, theirs = coarse_product(tile, day), other_field(day, 1)[cells_of(tile)]
            for place in np.ndindex(ours.shape):
                one = pairs.setdefault((tile, *place), ([], []))
                one[0].append(ours[place])
                one[1].append(theirs[place])
    return {place: pair for place, pair in pairs.items() if agreement_scores(*pair).n}  # one cell is all gap


def test_every_cell_has_the_scores_of_plain_sums(project, made):
    cells = cells_in(project, made, "cells-cci_sm")
    pairs = plain_pairs()
    assert len(cells) == len(pairs)
    transform = transformer_to_lonlat(SMALL.crs)
    for (tile, row, column), (ours, theirs) in pairs.items():
        part = COARSE[cells_of(tile)]
        lon, lat = transform.transform(*(part.affine @ (column + 0.5, row + 0.5)))
        (found,) = cells[(abs(cells["lon"] - lon) < 1e-6) & (abs(cells["lat"] - lat) < 1e-6)].to_dict("records")
        wanted = agreement_scores(ours, theirs)
        assert found["days"] == wanted.n
        for name in NAMES:
            rounding = 1e-4 if name == "r" else 2e-6  # files hold float32, and some cells have few days
            assert found[name] == pytest.approx(getattr(wanted, name), abs=rounding, nan_ok=True)


def test_all_cells_and_days_at_once(made):
    pairs = plain_pairs().values()
    wanted = agreement_scores(np.concatenate([one for one, _ in pairs]), np.concatenate([one for _, one in pairs]))
    (found,) = (one for one in made.scores["others"] if one["collection"] == "esa-cci-sm")
    assert (found["n"], found["cells"]) == (wanted.n, len(pairs))
    for name in NAMES:
        assert found[name] == pytest.approx(getattr(wanted, name), abs=1e-6)


def test_the_demo_compares_by_the_same_sums(project, made):
    found = compare_with_other_products(project, DAYS, TILES, OTHER_PRODUCTS[:1])
    (told,) = (one for one in made.scores["others"] if one["collection"] == "esa-cci-sm")
    assert [one.other for one in found] == [OTHER_PRODUCTS[0]]
    assert found[0].pair.pooled.r == pytest.approx(told["r"], abs=1e-12)


def cells_in(project, made, key):
    item = open_catalog(project.folder).item("validation", made.id)
    return pq.read_table(item.assets[key].get_absolute_href()).to_pandas()


def test_networks_that_no_model_has_seen_are_told_from_the_others(project, made):
    found = {(one["network"], one["role"]): one for one in made.scores["stations"]}
    assert set(found) == {("all", "held out"), ("DRY", "held out"), ("all", "trained on"), ("WET", "trained on")}
    for network, role in (("DRY", "held out"), ("WET", "trained on")):
        ids = [id for id in PLACES if id.startswith(network)]
        ours = np.concatenate([[known(SMALL, "h01v01", day)[0][PLACES[id]] for day in range(NUMBER)] for id in ids])
        wanted = agreement_scores(ours, np.concatenate([station_values(id) for id in ids]))
        for name in ("n", *NAMES):
            assert found[network, role][name] == pytest.approx(getattr(wanted, name), abs=1e-6)
            assert found["all", role][name] == found[network, role][name]
    assert found["DRY", "held out"]["sites"] == 1


def test_a_product_whose_model_is_unknown_claims_nothing(copied):
    project = copied
    edit(project.catalog, "sm-models", "m", lambda item: item["properties"].pop("stac_sm:matchups"))
    made = validate_product(project, DAYS)
    assert {one["role"] for one in made.scores["stations"]} == {"not known"}
    assert "is not known" in Path(project.folder, made.report).read_text()


def test_the_page_stands_alone_and_the_item_is_sound(project, made, validate):
    catalog = open_catalog(project.folder)
    item = catalog.item("validation", made.id)
    validate(item)
    validate(catalog.collection("validation"))
    assert audit(catalog) == []
    assert {link.title for link in item.links if link.rel == "related"} >= {"esa-cci-sm", "smap", "ismn-stations"}
    for link in item.links:
        assert Path(link.get_absolute_href()).exists(), link
    page = Path(project.folder, made.report).read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert said_twice(page) == []
    boxes = page.count('alt="Boxes of R, ubRMSE and bias of sites by ')
    assert boxes >= 2  # by network, and by each kind of class
    assert (
        page.count("data:image/png;base64,") == 4 + boxes
    )  # a scatter, and maps of stations and of two other products
    assert "over time at" not in page
    visibility = {key: one.extra_fields.get("stac_sm:visibility") for key, one in item.assets.items()}
    assert (visibility["report"], visibility["metrics"], visibility["series"]) == ("public", "public", "restricted")
    series = Path(item.assets["series"].get_absolute_href()).read_text()
    assert series.count("data:image/png;base64,") == 1
    assert "DRY.A" in series
    assert Path(item.assets["series"].href).name not in page
    metrics = json.loads(Path(item.assets["metrics"].get_absolute_href()).read_text())
    assert {one["site"] for one in metrics["sites"]} == set(PLACES)
    assert made.notes == [f"SMAP/Sentinel-1 ({cells} km): no file on these tiles and days." for cells in (3, 1)]


def test_its_page_fits_screens_and_paper(project, made):
    need("Chromium", None if chromium() else "it is not installed")
    assert layout_faults([Path(project.folder, made.report)]) == []


def test_it_is_made_once_and_again_when_something_changes(copied):
    project = copied
    first = validate_product(project, DAYS)
    again = validate_product(project, DAYS)
    assert (first.outcome, again.outcome) == ("new", "done")
    assert again.item == first.item
    put_day(project.catalog, "h00v00", 3, change=0.0625, linked=True)
    changed = validate_product(project, DAYS)
    assert (changed.outcome, changed.id) == ("replaced", first.id)
    gone, layout = f"SM1KM.A{FIRST:%Y%j}.h00v00.v001", project.catalog.layout(PRODUCT_COLLECTION)
    retract(project.catalog, PRODUCT_COLLECTION, [gone], "wrong", path=lambda id: ProductDay.of_id(id).path(layout))
    without = validate_product(project, DAYS)
    assert without.outcome == "replaced"
    assert without.scores["others"][0]["n"] < changed.scores["others"][0]["n"]


def test_tiles_without_a_station_are_held_against_other_products_alone(project):
    alone = validate_product(project, Period(FIRST, FIRST + 3 * ONE_DAY), tiles=("h00v00",))
    assert alone.scores["stations"] == []
    assert alone.notes[0] == "No station lies in these tiles."
    (found,) = (one for one in alone.scores["others"] if one["collection"] == "esa-cci-sm")
    assert found["n"] > 0


def test_an_older_catalogue_is_given_the_collection(tmp_path):
    project = new_project(tmp_path / "p")
    root = Path(project.folder, "catalog.json")
    document = json.loads(root.read_text())
    document["links"] = [link for link in document["links"] if "validation" not in link["href"]]
    root.write_text(json.dumps(document))
    Path(project.folder, "validation/collection.json").unlink()
    add_collection(project.catalog.store, "validation")
    add_collection(project.catalog.store, "validation")
    assert "validation" in open_catalog(project.folder).collections
    assert sum("validation" in link["href"] for link in json.loads(root.read_text())["links"]) == 1


def test_nothing_published_is_said(tmp_path):
    project = new_project(tmp_path / "p")
    with pytest.raises(CatalogError, match="no product found on 2018-07-01"):
        validate_product(project, Period.of_day(date(2018, 7, 1)))


def test_the_command_prints_tables_and_json(project, made):
    arguments = ["validate", "--project", str(project.folder), "--period", str(DAYS)]
    told = CliRunner().invoke(main, arguments)
    assert told.exit_code == 0, told.output
    assert "DRY" in told.stdout
    assert f"{made.id}: done" in told.stdout
    report = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert (report["outcome"], report["stations"]) == ("done", made.scores["stations"])
    assert Path(report["report"]).is_file()


def indexed(project):
    """Ids in the index of the collection, which its items must bear out."""
    store = project.catalog.store
    tables = [read_manifest(store, "validation", month) for month in index_months(store, "validation")]
    entries = list(store.list_objects("validation"))
    assert not any(check_manifest(one, entries).out_of_date for one in tables)
    return [id for one in tables for id in one.column("id").to_pylist()]


def test_the_command_keeps_the_index_so_that_serve_finds_it_at_once(copied):
    project = copied
    period = Period(FIRST, FIRST + 3 * ONE_DAY)
    arguments = ["validate", "--project", str(project.folder), "--period", str(period), "--json"]
    outcomes, ids = [], set()
    for change in (None, 0.0625):
        if change:
            put_day(project.catalog, "h00v00", 1, change=change, linked=True)
        told = CliRunner().invoke(main, arguments)
        assert told.exit_code == 0, told.output
        outcomes.append(json.loads(told.stdout)["outcome"])
        ids.add(json.loads(told.stdout)["id"])
        assert indexed(project) == list(ids)
    assert outcomes == ["new", "replaced"]


def near_field(day, seed, scale, noise):
    """Another product that sees what ours sees, in a scale of its own and with errors of its own."""
    rng = np.random.default_rng([day, seed])
    field = np.full(tuple(COARSE.shape), np.nan, np.float32)
    for tile in TILES:
        field[cells_of(tile)] = scale * coarse_product(tile, day)
    return field + (noise * rng.standard_normal(field.shape)).astype(np.float32)


def test_where_three_products_meet_there_are_maps_of_their_errors(tmp_path):
    """In every cell the errors that triple collocation gives by plain loops; on the page a map of them, in the files a
    column each; and where too few days are in common, a sentence instead.
    """
    project = create_project(tmp_path / "p", project_text(SMALL, extra="[screening]\nmin_days = 10"))
    put_days(project.catalog, TILES, range(NUMBER))
    kinds = (("esa-cci-sm", "cci_sm", 1, 0.8, 0.01), ("smap", "smap_sm", 2, 1.2, 0.02))
    for collection, asset, *settings in kinds:
        for day in range(NUMBER):
            field = near_field(day, *settings)
            stored = np.where(np.isnan(field), np.float32(-9999), field)
            put(project.catalog, collection, f"{asset}.{day:03}", COARSE, {asset: stored}, FIRST + day * ONE_DAY)
    made = validate_product(project, DAYS)
    (told,) = (one for one in made.scores["others"] if one["collection"] == "esa-cci-sm")
    cells = cells_in(project, made, "cells-cci_sm")
    wanted = {}
    for tile in TILES:
        days = [
            [coarse_product(tile, day), *(near_field(day, *settings)[cells_of(tile)] for _, _, *settings in kinds)]
            for day in range(NUMBER)
        ]
        series = np.array(days)
        for place in np.ndindex(series.shape[2:]):
            found = triple_collocation(*series[:, :, place[0], place[1]].T.astype(np.float32), min_n=10)
            if found.ok:
                column, row = COARSE[cells_of(tile)].affine @ (place[1] + 0.5, place[0] + 0.5)
                wanted[transformer_to_lonlat(SMALL.crs).transform(column, row)] = found.error_std
    assert len(wanted) > 20
    assert told["triple_collocation"]["cells"] == len(wanted)
    errors = cells[[name for name in cells.columns if name.startswith("error")]].to_numpy()
    known = np.isfinite(errors).all(axis=1)
    assert known.sum() == len(wanted)
    for (lon, lat), each in zip(cells.loc[known, ["lon", "lat"]].to_numpy(), errors[known], strict=True):
        near = next(found for place, found in wanted.items() if np.allclose(place, (lon, lat), atol=1e-6))
        assert each == pytest.approx(near, rel=2e-3)
    medians = np.median(np.array(list(wanted.values())), axis=0)
    assert told["triple_collocation"]["median_error"] == pytest.approx(medians, rel=2e-3)
    page = Path(project.folder, made.report).read_text()
    assert "Maps of the random error of three products" in page
    assert told["triple_collocation"]["dependent"] == "ESA CCI (combined) is made with SMAP from 2015 on"
    assert "Triple collocation with SMAP (36 km), dependent errors" in page
    assert f"Their errors are dependent: {told['triple_collocation']['dependent']}." in page
    assert page.count("data:image/png;base64,") == 3
    few = validate_product(project, Period(FIRST, FIRST + 9 * ONE_DAY))
    assert "No map of random errors" in Path(project.folder, few.report).read_text()


VALUES = st.floats(0, 0.625, width=32) | st.just(float("nan"))


@given(arrays(np.float32, (2, 3, 40), elements=VALUES))
def test_moments_give_the_scores_of_each_cell(values):
    moments = Moments.nothing(2, 3)
    for day in range(values.shape[-1]):
        moments.add(values[:, :, day])
    for cell in range(3):
        wanted = agreement_scores(values[0, cell], values[1, cell])
        assert moments.n[cell] == wanted.n
        if wanted.n > 1 and min(np.nanvar(values[0, cell]), np.nanvar(values[1, cell])) > 1e-6:
            for name in ("rmse", "ubrmse", "bias"):
                assert moments.scores[name][cell] == pytest.approx(getattr(wanted, name), abs=1e-7)


def test_moments_give_the_errors_of_triple_collocation():
    rng = np.random.default_rng(4)
    truth = 0.25 + 0.08 * rng.standard_normal((6, 300))
    levels = ((1, 0.02), (0.6, 0.03), (1.4, 0.05))
    series = np.stack([scale * truth + noise * rng.standard_normal(truth.shape) for scale, noise in levels])
    series[0, 2] = rng.uniform(0, 1, 300)  # does not vary with the others
    series[:, 4, 50:] = np.nan  # too few days
    moments = Moments.nothing(3, 6)
    for day in range(300):
        moments.add(series[:, :, day].astype(np.float32))
    found = moments.errors(100)
    for cell in range(6):
        wanted = triple_collocation(*series[:, cell].astype(np.float32))
        assert np.isfinite(found[:, cell]).all() == wanted.ok
        if wanted.ok:
            assert found[:, cell] == pytest.approx(wanted.error_std, rel=1e-6)
    assert np.isnan(found[:, [2, 4]]).all()


def metrics_of(project, made):
    item = open_catalog(project.folder).item("validation", made.id)
    return item, json.loads(Path(item.assets["metrics"].get_absolute_href()).read_text())


def test_all_scores_of_qa4sm_stand_in_the_numbers_and_equal_those_of_the_tables(project, made):
    item, metrics = metrics_of(project, made)
    rows = {(one["network"], one["role"]): one for one in made.scores["stations"]}
    assert [one["role"] for one in metrics["scores"]] == ["held out", "trained on"]
    for table in metrics["scores"]:
        for one in (table["all"], *table["networks"]):
            told = rows[one["name"] or "all", table["role"]]
            assert (one["n"], one["sites"]) == (told["n"], told["sites"])
            for name in (*NAMES, "median_r", "median_ubrmse"):
                assert one[name] == pytest.approx(told[name], abs=1e-12)
        assert {one["kind"] for one in table["classes"]} == {"season", "sensing depth"}
        for one in table["stations"]:
            assert one["mse"] == pytest.approx(one["mse_corr"] + one["mse_bias"] + one["mse_var"])
            assert one["rho_low"] <= one["rho"] <= one["rho_high"]
            assert 0 <= one["p_r"] <= 1
            assert one["r_long"] is None  # twelve days have no seasonal cycle
    assert {one["data_set"] for one in metrics["reference_scores"]} == {"ESA CCI", "SMAP"}
    page = Path(project.folder, made.report).read_text()
    assert "GCOS target: ubRMSE 0.04" in page


def test_the_protocol_is_stated_in_item_numbers_and_page(project, made):
    item, metrics = metrics_of(project, made)
    protocol = item.properties["stac_sm:protocol"]
    assert metrics["protocol"] == protocol
    assert protocol["scaling"] == "none"
    assert (protocol["compared"], protocol["gcos_ubrmse"]) == (sum(one["all"]["n"] for one in metrics["scores"]), 0.04)
    assert protocol["compared"] + sum(protocol["dropped"].values()) == len(PLACES) * NUMBER
    assert protocol["references"][0]["collection"] == "ismn-stations"
    assert protocol["references"][0]["version"].startswith("3 series, readings up to 2018-07-12, digest ")
    assert [one["collection"] for one in protocol["references"][1:]] == ["esa-cci-sm", "smap"]
    assert set(protocol["citations"]) == {"ISMN", "DRY", "WET"}
    assert "doi:10.5194/hess-25-5749-2021" in protocol["citations"]["ISMN"]
    assert sum(protocol["dropped"].values()) == protocol["dropped"]["site-days on which the product has no value"]
    page = Path(project.folder, made.report).read_text()
    for text in ("temporal window", "sensors that end at 0.05 m or above", "readings flagged G", "to cite for ISMN"):
        assert text in page


def test_triplets_of_few_days_are_refused_and_dependent_ones_stand_apart(project, made):
    _, metrics = metrics_of(project, made)
    triplets = metrics["triplets"]
    assert triplets["least_days"] == 100
    assert {one["determined"] for one in triplets["sites"]} == {False}
    assert all("at least 100 required" in one["status"] for one in triplets["sites"])
    for one in triplets["sites"]:
        names = set(one["data_sets"])
        trained = {"station", "product"} <= names and one["site"].startswith("WET")
        assert bool(one["dependent"]) == (trained or {"ESA CCI", "SMAP"} <= names)
    page = Path(project.folder, made.report).read_text()
    assert page.index('id="triplets"') < page.index('id="dependent-triplets"')


def test_files_of_scores_are_public_and_hold_no_series(project, made):
    item, metrics = metrics_of(project, made)
    scores = pd.read_csv(item.assets["scores"].get_absolute_href())
    sites = scores[(scores["kind"] == "station") & (scores["data_set"] == "product")].set_index("name")
    assert set(sites.index) == set(PLACES)
    for table in metrics["scores"]:
        for one in table["stations"]:
            assert sites.loc[one["name"], "ubrmse"] == pytest.approx(one["ubrmse"])
    with xarray.open_dataset(item.assets["scores-qa4sm"].get_absolute_href()) as file:
        assert dict(file.sizes) == {"loc": len(PLACES)}  # a value a station, none a day
        assert list(file["station"].values) == ["A", "A", "B"]
        assert file.attrs["val_dc_dataset1"] == "SM1KM"
        ours = -file["BIAS_between_00-ISMN_and_01-SM1KM"].values
    assert ours == pytest.approx(sites.loc[sorted(PLACES), "bias"].to_numpy(), abs=1e-6)
    triplets = pd.read_csv(item.assets["triplets"].get_absolute_href())
    assert len(triplets) == 3 * len(metrics["triplets"]["sites"])
    assert set(triplets["data_set"]) == {"station", "product", "ESA CCI", "SMAP"}
    assert list(triplets["dependent"].notna()[::3]) == [bool(one["dependent"]) for one in metrics["triplets"]["sites"]]
    with_series = {
        key for key, one in item.assets.items() if one.extra_fields.get("stac_sm:visibility") == "restricted"
    }
    assert with_series == {"series"}


def test_a_scaled_validation_is_an_item_of_its_own_and_says_so(project, made):
    arguments = ["validate", "--project", str(project.folder), "--period", str(DAYS), "--json"]
    first = CliRunner().invoke(main, [*arguments, "--scaling", "mean-std"])
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)
    assert (told["outcome"], told["id"]) == ("new", made.id.replace("validation", "validation-mean-std"))
    assert [abs(one["bias"]) < 1e-9 for one in told["stations"]] == [True] * 4
    scaled = open_catalog(project.folder).item("validation", told["id"])
    assert scaled.properties["stac_sm:protocol"]["scaling"] == "mean-std"
    with xarray.open_dataset(scaled.assets["scores-qa4sm"].get_absolute_href()) as file:
        assert file.attrs["val_scaling_method"] == "mean_std"
        others = [name for name in file if name.startswith("BIAS_between_00-ISMN_and")]
        assert len(others) == 3, "the product, ESA CCI and SMAP: all are scaled"
        assert all(np.nanmax(np.abs(file[name].values)) < 1e-6 for name in others)
    assert (
        "product and other data sets to the mean and standard deviation of each station"
        in Path(told["report"]).read_text()
    )
    assert json.loads(CliRunner().invoke(main, arguments).stdout)["outcome"] == "done"
    wrong = CliRunner().invoke(main, [*arguments, "--scaling", "linear"])
    assert wrong.exit_code == 2
    assert "'none', 'mean-std', 'cdf'" in wrong.stderr
