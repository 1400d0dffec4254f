"""What is made of a simulated Earth says so wherever it is read; what is not has no word of it."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import jsonschema
import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from click.testing import CliRunner
from matplotlib.image import imread

from stac_sm.cli.main import main
from stac_sm.core.errors import InputError
from stac_sm.core.fingerprint import digest
from stac_sm.core.metrics import Scores
from stac_sm.core.period import Period
from stac_sm.core.projections import transformer_to_lonlat
from stac_sm.demo.flow import DemoReport
from stac_sm.model.model import Model
from stac_sm.product import pictures
from stac_sm.product.aggregates.means import MONTHLY, make_means
from stac_sm.product.aggregates.mosaic import DAILY_GLOBAL, make_mosaics
from stac_sm.product.export.export import ExportRequest, export_product
from stac_sm.product.item import OUTPUT_PROFILE, describe_output_change, tile_fingerprints
from stac_sm.product.quicklook import quicklook_assets
from stac_sm.product.read import open_product, point_series
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.items import item_json
from stac_sm.stac.links import add_collection, skeleton_folder
from stac_sm.stac.simulated import SIMULATED_FIELD, SIMULATED_NOTE, is_simulated, mark_simulated, simulated_title
from stac_sm.workflows.fetch import plan_fetch
from stac_sm.workflows.project import create_project, read_project
from stac_sm.workflows.project_template import TEMPLATES
from stac_sm.workflows.validation.validate import validate_product
from tests.support.fields import DAYS, SMALL, TILE, copied_project, project_text, small_model
from tests.support.product_days import FIRST, put_days

OWN = jsonschema.Draft7Validator(json.loads((skeleton_folder() / "schema.json").read_text()))
DAY = FIRST.isoformat()


def simulated_text() -> str:
    return project_text(SMALL).replace("[project]\n", "[project]\nsimulated = true\n", 1)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    made = create_project(tmp_path_factory.mktemp("simulated") / "p", simulated_text())
    put_days(made.catalog, tiles=("h01v01",), days=range(2), uncertainty=True)
    return made


@pytest.fixture(scope="module")
def point():
    return transformer_to_lonlat(SMALL.crs).transform(*(SMALL.geobox("h01v01").affine @ (30.5, 30.5)))


@pytest.fixture
def titles(monkeypatch):
    found = []
    for name in ("plot_map", "plot_series"):
        monkeypatch.setattr(pictures, name, lambda *args, title, **told: found.append(title))
    return found


def test_root_and_collections_say_so_and_stay_valid(project):
    root = json.loads(Path(project.folder, "catalog.json").read_text())
    assert root["title"].endswith(", simulated")
    assert root[SIMULATED_FIELD] is True
    children = [link for link in root["links"] if link["rel"] == "child"]
    assert len(children) > 10
    for link in children:
        document = json.loads(Path(project.folder, link["href"]).read_text())
        assert document["title"].endswith("simulated")
        assert document["title"] == link["title"]
        assert document["description"].endswith(SIMULATED_NOTE)
        assert "simulated" in document["keywords"]
        OWN.validate(document)
        pystac.Collection.from_dict(document)
    assert is_simulated(open_catalog(project.folder))


def test_a_project_that_is_not_simulated_has_the_bytes_of_the_skeleton(tmp_path):
    made = create_project(tmp_path, project_text(SMALL))
    for file in skeleton_folder().glob("*/collection.json"):
        assert (tmp_path / file.relative_to(skeleton_folder())).read_bytes() == file.read_bytes()
    assert not is_simulated(made.catalog)
    assert b"imulated" not in (tmp_path / "catalog.json").read_bytes()


def test_a_catalogue_that_exists_is_marked_once_and_gets_marked_collections(tmp_path):
    made = create_project(tmp_path, project_text(SMALL))
    file = tmp_path / "stac-sm.toml"
    file.write_text(simulated_text())
    (tmp_path / "smap" / "collection.json").unlink()
    root = tmp_path / "catalog.json"
    document = json.loads(root.read_text())
    document["links"] = [link for link in document["links"] if link["href"] != "./smap/collection.json"]
    root.write_bytes(item_json(document))
    mark_simulated(made.catalog.store)
    before = root.read_bytes()
    mark_simulated(made.catalog.store)
    assert root.read_bytes() == before
    add_collection(made.catalog.store, "smap")
    assert json.loads((tmp_path / "smap" / "collection.json").read_text())[SIMULATED_FIELD] is True


def test_the_demo_is_simulated_and_a_new_project_is_not(tmp_path):
    from stac_sm.demo.flow import demo_project_file
    from stac_sm.simulate.earth import Earth

    assert create_project(tmp_path / "demo", demo_project_file(Earth())).about.simulated
    assert not create_project(tmp_path / "new", TEMPLATES["memory"]).about.simulated


def test_items_say_so_and_are_valid(project, validate):
    for item in project.catalog.items("sm-1km-daily"):
        assert item.properties[SIMULATED_FIELD] is True
        assert item.properties["title"].startswith("Simulated soil moisture, h01v01")
        document = item.to_dict(include_self_link=False, transform_hrefs=False)
        validate(document)
        OWN.validate(document)


def test_files_say_so_to_gdal(project):
    item = project.catalog.items("sm-1km-daily")[0]
    for asset in ("sm", "qa", "uncertainty", "visual"):
        with rasterio.open(item.assets[asset].get_absolute_href()) as file:
            assert file.tags()["TIFFTAG_IMAGEDESCRIPTION"].startswith("Simulated ")
            assert file.tags()["SIMULATED"] == SIMULATED_NOTE
            assert asset == "visual" or file.descriptions[0].startswith("Simulated ")


def test_maps_and_series_say_so_for_readers_of_the_catalogue_alone(project, point, titles, tmp_path):
    catalog = open_catalog(project.folder)
    geobox = SMALL.geobox("h01v01")
    pictures.draw(catalog, pictures.Picture(DAY, geobox=geobox, place="h01v01"), tmp_path / "a.png")
    pictures.draw(catalog, pictures.Picture(DAY, minus="2018-07-02", geobox=geobox, place="h01v01"), tmp_path / "b.png")
    pictures.draw(catalog, pictures.Picture(f"{DAY}/2018-07-02", point=point), tmp_path / "c.png")
    assert len(titles) == 3
    assert all(title.startswith("Simulated soil moisture, ") for title in titles)


def test_readers_know_it_from_items_where_the_root_does_not_say_it(project, point):
    class Items:
        root = project.catalog.root

        def items(self, *args, **kwargs):
            return project.catalog.items(*args, **kwargs)

    lon, lat = point
    assert point_series(Items(), lon, lat, DAY).attrs["simulated"] == SIMULATED_NOTE
    cube = open_product(Items(), (lon, lat, lon, lat), DAY, mask=("clipped",))
    assert cube.attrs["simulated"] == SIMULATED_NOTE
    assert cube.sm.attrs["long_name"].startswith("Simulated ")


@pytest.mark.parametrize("name", ["point.nc", "point.zarr"])
def test_exports_say_so(project, point, tmp_path, name):
    request = ExportRequest(Period.parse(DAY), tmp_path / name, at=point)
    made = export_product(open_catalog(project.folder), request)
    attrs = (xr.open_zarr(made.path, consolidated=False) if name.endswith("zarr") else xr.open_dataset(made.path)).attrs
    assert attrs["title"].startswith("Simulated surface soil moisture")
    assert "simulated Earth" in attrs["source"]
    assert "satellite" not in attrs["source"]
    assert attrs["comment"].startswith(SIMULATED_NOTE)
    assert "simulated" in attrs["keywords"]
    item = json.loads(made.item.read_text())
    assert item["properties"][SIMULATED_FIELD] is True
    assert item["properties"]["title"].startswith("Simulated ")


def test_a_global_day_says_so(project, titles, tmp_path):
    made = make_mosaics(project.catalog, SMALL, Period.parse(DAY), "001")
    assert [one.outcome for one in made] == ["new"]
    catalog = open_catalog(project.folder)
    item = catalog.items(DAILY_GLOBAL)[0]
    assert item.properties["title"].startswith("Simulated soil moisture")
    assert item.properties[SIMULATED_FIELD] is True
    with rasterio.open(item.assets["overview"].get_absolute_href()) as file:
        assert file.descriptions[0] == "Simulated soil moisture (m3 m-3)"
    pictures.draw(catalog, pictures.Picture(DAY), tmp_path / "a.png")
    assert titles[0].startswith("Simulated soil moisture, globe")


@pytest.mark.parametrize("width", [20, 256])
def test_a_thumbnail_is_marked(tmp_path, width):
    geobox = SMALL.geobox("h01v01").zoom_to((width, width))
    sm = np.full((width, width), 0.2, np.float32)
    sizes = []
    for simulated in (False, True):
        file = quicklook_assets(sm, geobox, tmp_path, None, simulated=simulated)["thumbnail"].file
        picture = np.round(imread(file) * 255)
        sizes.append((picture[..., :3] == 40).all(axis=2).sum())
        assert picture.shape[1] == (max(width, 61) if simulated else width)
    assert sizes[1] >= sizes[0] + 100  # dark pixels of nine letters


def test_the_fingerprint_has_the_field_only_where_it_is_true():
    model = small_model()
    names = {"recipe": model.cube_recipe(), "model": model.checksum}
    plain = tile_fingerprints(SMALL, "h01v01", **names)
    told = tile_fingerprints(SMALL, "h01v01", simulated=False, **names)
    simulated = tile_fingerprints(SMALL, "h01v01", simulated=True, **names)
    assert plain.of(DAY, []) == told.of(DAY, []) != simulated.of(DAY, [])
    before, after = plain.parts([]), simulated.parts([])
    assert {name for name in before if before[name] != after[name]} == {"output"}
    assert before["output"] == digest(OUTPUT_PROFILE)[:8]
    assert describe_output_change(before["output"], simulated=True) == "output does not say that it is simulated"


def test_fetch_refuses(tmp_path):
    text = TEMPLATES["glass"].replace("# simulated = false ", "simulated = true ")
    project = create_project(tmp_path, text)
    with pytest.raises(InputError, match=r"simulated project.*another project by `stac-sm init DIR`"):
        plan_fetch(project, "era5-land", period=Period.parse(DAY), bbox=(11, 46, 11.2, 46.2), today=date(2018, 7, 20))
    done = CliRunner().invoke(main, ["fetch", "era5-land", "--project", str(tmp_path), "--bbox", "11,46,11.2,46.2"])
    assert done.exit_code == 1
    assert read_project(tmp_path).about.simulated


def test_means_say_so(project):
    (made,) = make_means(project.catalog, SMALL, [Period.parse("2018-07")], "001", collection=MONTHLY)
    assert made.outcome == "new"
    item = open_catalog(project.folder).items(MONTHLY)[0]
    assert item.properties[SIMULATED_FIELD] is True
    assert item.properties["title"].startswith("Simulated ")
    with rasterio.open(item.assets["sm"].get_absolute_href()) as file:
        assert file.tags()["SIMULATED"] == SIMULATED_NOTE


def test_the_page_and_the_numbers_of_a_validation_say_so(project):
    made = validate_product(project, Period.parse(DAY))
    assert made.item["properties"][SIMULATED_FIELD] is True
    assert made.item["properties"]["title"].startswith("Validation of simulated soil moisture")
    assert made.notes[0] == SIMULATED_NOTE
    page = Path(project.folder, made.report)
    assert page.read_text().count("simulated soil moisture") >= 2, "title and heading"
    assert SIMULATED_NOTE in page.read_text()
    metrics = json.loads((page.parent / made.item["assets"]["metrics"]["href"]).read_text())
    assert metrics["notes"][0] == SIMULATED_NOTE
    call = ["validate", "--project", str(project.folder), "--period", DAY]
    assert SIMULATED_NOTE in CliRunner().invoke(main, call).stderr
    assert json.loads(CliRunner().invoke(main, [*call, "--json"]).stdout)["notes"][0] == SIMULATED_NOTE


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A project with inputs and a model whose file says that it is simulated; its folder, and the model's id."""
    folder = tmp_path_factory.mktemp("whole") / "p"
    made, model, _ = copied_project(folder)
    file = folder / "stac-sm.toml"
    file.write_text(file.read_text().replace("[project]\n", "[project]\nsimulated = true\n", 1))
    mark_simulated(made.catalog.store)
    return folder, model


def test_a_plan_and_a_picture_of_features_say_so(whole, tmp_path, monkeypatch):
    folder, found = whole[0], []
    call = ["plan", "--project", str(folder), "--tiles", TILE, "--period", str(DAYS.start)]
    done = CliRunner().invoke(main, [*call, "--out", str(tmp_path / "a.parquet")])
    assert f"{SIMULATED_NOTE}\n" in done.stderr, done.output
    done = CliRunner().invoke(main, [*call, "--out", str(tmp_path / "b.parquet"), "--json"])
    assert json.loads(done.stdout)["simulated"] is True
    monkeypatch.setattr("stac_sm.raster.plots.plot_cube", lambda cube, file, title: found.append(title))
    call = ["features", TILE, str(DAYS.start), "--project", str(folder), "--plot", str(tmp_path / "a.png")]
    assert CliRunner().invoke(main, call).exit_code == 0
    assert found[0].startswith(f"Simulated Earth, {TILE} (west ")


@pytest.mark.parametrize("command", ["evaluate", "predict-table"])
def test_scores_and_predictions_of_a_simulated_model_say_so(whole, tmp_path, command):
    folder, model = whole
    found = open_catalog(folder).item("sm-models", model)
    features = Model.from_item(found.self_href).features
    table, out = tmp_path / "t.csv", tmp_path / "p.csv"
    rows = [f"s{i % 2},2018-07-{i + 1:02},{0.2 + i / 100}," + ",".join(["1"] * len(features)) for i in range(12)]
    table.write_text("\n".join([f"site,date,sm,{','.join(features)}", *rows]) + "\n")
    call = [command, model, str(table), "--project", str(folder), "--json", "--out", str(out)]
    assert not any("simulated" in note for note in json.loads(CliRunner().invoke(main, call).stdout)["notes"])
    file = Path(found.self_href)
    before = file.read_text()
    document = json.loads(before)
    document["properties"][SIMULATED_FIELD] = True
    file.write_text(json.dumps(document))
    out.unlink()
    notes = json.loads(CliRunner().invoke(main, call).stdout)["notes"]
    file.write_text(before)
    assert notes[0].startswith("The model is simulated: ")


def test_the_demo_says_so_beside_each_score():
    report = DemoReport("demo/catalog.json", "xgb-1", "screened", (), Scores(9, 1, 0, 0, 0), (), 3, 0, 1.0, ("a", "b"))
    assert "validation of the model at simulated stations" in report.text
    assert "product against the simulated truth" in report.text
    assert report.to_dict()["simulated"] is True


def test_titles():
    assert simulated_title("Soil moisture, h18v04", True) == "Simulated soil moisture, h18v04"
    assert simulated_title("XGBoost on lst", True) == "Simulated XGBoost on lst"
    assert simulated_title("Simulated soil", True) == "Simulated soil"
    assert simulated_title("Soil moisture", False) == "Soil moisture"
