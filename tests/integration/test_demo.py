"""The demo as a user runs it, and what strangers' tools make of what it leaves behind."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import odc.stac
import pystac
import pystac_client
import pytest
import rasterio
import rioxarray
import stackstac
from rio_cogeo import cog_validate
from shapely import get_exterior_ring, get_parts
from shapely.geometry import shape

from stac_sm import open_product, point_series
from stac_sm.core.period import Period
from stac_sm.demo.flow import SOURCES
from stac_sm.features.cube import feature_cube
from stac_sm.model.model import Model
from stac_sm.model.predict import predict
from stac_sm.product.item import SM_PROFILE
from stac_sm.raster.cog import rounded
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.workflows.project import read_project
from tests.support.demo_project import demo_project, run
from tests.support.served import running
from tests.support.stac_check_findings import stac_check_findings

pytestmark = pytest.mark.xdist_group("demo")

ROOT = Path(__file__).parents[2]
BENCHMARKS = (ROOT / "tests/benchmarks/README.md").read_text()
PRODUCT = "sm-1km-daily"


@pytest.fixture(scope="module")
def demo():
    """Folder in which `stac-sm demo` has run, and what it printed."""
    return demo_project()


def days_of(project):
    return [item.properties["start_datetime"][:10] for item in project.items(PRODUCT)]


def test_the_report_has_what_was_promised(demo):
    folder, report = demo
    assert Path(report["catalog"]) == folder / "catalog.json"
    assert {one["strategy"] for one in report["scores"]} == {"random", "site", "network", "year"}
    assert report["products"] == 3
    assert report["seconds"] < 540  # 75 s is the promise on a machine of its own; two other processes test beside it
    assert report["truth"]["n"] > 3 * 100_000


def test_every_source_that_is_simulated_is_used(demo):
    assert sorted(SOURCES) == sorted(folder.name for folder in (demo[0] / "earth" / "granules").iterdir())


def test_stages_that_do_not_need_each_other_overlap(demo):
    """Files are ingested while others are simulated; what no model learns from, while stations are matched and one is
    trained."""
    folder, _ = demo

    def written(pattern):
        return [file.stat().st_mtime_ns for file in folder.glob(pattern)]

    assert min(written("glass-lst/**/*.tif")) < max(written("earth/granules/esa-cci-sm/*/*.nc"))
    assert min(written("merit-dem/**/*.tif")) > max(written("era5-land/**/*.tif"))
    assert min(written("merit-dem/**/*.tif")) < min(written("sm-models/*/*.html"))


def test_honest_scores_are_ordered_as_they_must_be(demo):
    _, report = demo
    found = {(one["strategy"], one["method"]): one["pooled"] for one in report["scores"] if one["scored_on"] == "all"}
    assert found["random", "unscreened"]["r"] > 0.7 > found["site", "unscreened"]["r"]
    assert found["random", "unscreened"]["rmse"] < found["site", "unscreened"]["rmse"]
    assert found["site", "screened"]["rmse"] < found["site", "swvl1"]["rmse"]
    assert report["tc_status"].startswith("screened: ")
    assert report["truth"]["rmse"] < found["site", "screened"]["rmse"]


def test_the_product_is_compared_with_other_products(demo):
    """They see the same truth with biases and errors of their own: neither nothing is common to them, nor all."""
    _, report = demo
    found = {one["collection"]: one["scores"] for one in report["others"]}
    assert set(found) == {"esa-cci-sm", "smap", "smap-s1"}
    assert all(one["n"] > 80 and 0.2 < one["r"] < 0.95 for one in found.values())
    assert found["smap"]["bias"] > 0  # SMAP is dry
    assert found["smap"]["ubrmse"] < found["smap-s1"]["ubrmse"]


def test_stand_ins_are_catalogued(demo):
    folder, _ = demo
    catalog = open_catalog(folder)
    counts = {name: len(catalog.items(name)) for name in ("modis-11A1-061", "modis-15A2H-061", "mcd43a3-061")}
    assert counts == {"modis-11A1-061": 3, "modis-15A2H-061": 2, "mcd43a3-061": 1}
    (item,) = catalog.items("merit-dem")
    with (
        rasterio.open(folder / "earth" / "granules" / "merit-dem" / "n45e005_dem.tif") as raw,
        rasterio.open(item.assets["elevation"].get_absolute_href()) as cog,
    ):
        rows, columns = np.random.default_rng(1).integers(0, 6000, (2, 200))
        points = list(zip(*raw.xy(rows, columns), strict=True))
        assert np.array_equal(list(raw.sample(points)), list(cog.sample(points)))
    recipe = {"features": [{"name": "elevation", "collection": "merit-dem", "asset": "elevation", "time": "static"}]}
    cube = feature_cube(catalog, recipe, "h18v04", Period.parse(days_of(catalog)[0]))
    assert 30_000 < np.count_nonzero(np.isfinite(cube.elevation.values)) < 110_000  # of 129,000: one tile of four


@pytest.fixture(scope="module")
def second_run(demo):
    """Files before and after the demo ran again, and what it said."""
    folder, _ = demo

    def files():
        return {file: (file.stat().st_mtime_ns, file.stat().st_ino) for file in folder.rglob("*") if file.is_file()}

    before = files()
    text = run("demo", folder=folder.parent).stdout
    return before, files(), text


def test_a_second_run_makes_nothing_and_says_so(second_run):
    before, after, said = second_run
    changed = {file.name for file in after if before.get(file) != after[file]}
    assert changed <= {"earth.txt", ".demo.lock"}, "the lock names the process that holds it"
    assert set(before) == set(after)
    assert "nothing was left to do" in said
    assert "catalogue: " in said
    assert "against the simulated truth" in said
    assert len(re.findall(r"^  stac-sm .*--project", said, re.MULTILINE)) == 2


def test_the_next_commands_run(demo, second_run):
    folder, _ = demo
    for line in re.findall(r"^  stac-sm (.*)$", second_run[2], re.MULTILINE):
        assert run(*line.split(), folder=folder.parent).stdout


def test_commands_find_the_project_from_inside(demo):
    folder, _ = demo
    plan = json.loads(
        run("plan", "--json", folder=folder).stdout  # what the project file says under [product]
    )
    assert (plan["done"], plan["new"], plan["stale"]) == (3, 0, 0)
    assert json.loads(run("status", "--json", folder=folder).stdout)["done"] == 3
    sites = json.loads(run("screen", "--json", folder=folder / PRODUCT).stdout)
    assert (
        {"kept", "rejected"} <= {site["status"].split(":")[0] for site in sites} <= {"kept", "rejected", "undetermined"}
    )


def test_all_that_a_stranger_opens_says_that_it_is_simulated(demo):
    catalog = open_catalog(demo[0])
    for item in [*catalog.items(PRODUCT), *catalog.items("sm-models")]:
        assert item.properties["stac_sm:simulated"] is True
        assert item.properties["title"].startswith("Simulated ")
        for name in {"report", "series"} & set(item.assets):
            page = Path(item.assets[name].get_absolute_href()).read_text()
            assert "<title>Simulated model" in page
            assert "<h1>Simulated model" in page
    for name in catalog.collections:
        assert catalog.collection(name)["title"].endswith("simulated")


def test_every_item_and_collection_is_valid(demo, validate):
    """All collections, products, models, stations and DEM tiles; of the long daily series, every 40th day.

    By pystac with all schemas, and by stac-check; rings of all items.
    """
    folder, _ = demo
    catalog = open_catalog(folder)
    for name in catalog.collections:
        validate(catalog.collection(name))
        items = catalog.items(name)
        areas = [shape(item.geometry) for item in items if item.geometry["type"].endswith("Polygon")]
        assert all(ring.is_ccw for ring in get_exterior_ring(get_parts(areas))), name
        sources = [link.target for item in items for link in item.links if link.rel == "derived_from"]
        assert all(Path(str(one)).name not in {"collection.json", "catalog.json"} for one in sources), name
        for item in items[:: 40 if len(items) > 400 else 1]:
            validate(item)
            assert stac_check_findings(Path(item.self_href)) == []


def test_a_moved_catalogue_walks_from_its_root_to_every_asset(demo, tmp_path):
    folder, _ = demo
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved, ignore=shutil.ignore_patterns("earth", "*.tif"))
    for file in folder.rglob("*.tif"):
        if "earth" not in file.parts:
            (moved / file.relative_to(folder)).symlink_to(file)
    root = pystac.Catalog.from_file(str(moved / "catalog.json"))
    hrefs = [asset.get_absolute_href() for item in root.get_items(recursive=True) for asset in item.assets.values()]
    assert len(hrefs) > 2000
    assert all(Path(href).is_relative_to(moved) and Path(href).exists() for href in hrefs)


def test_every_product_cog_is_one(demo):
    folder, _ = demo
    files = list((folder / PRODUCT).rglob("*.tif")) + list(folder.glob("cop-dem/**/*.tif"))[:4]
    files += list(folder.glob("era5-land/**/*.tif"))[:2] + list(folder.glob("glass-l*/**/*.tif"))[::20]
    for file in files:
        valid, errors, warnings = cog_validate(file, strict=True)
        assert valid, (file, errors, warnings)


def test_strangers_read_the_values_that_were_predicted(demo):
    """odc-stac, rioxarray and stackstac each give what model and cube give, on the exact grid."""
    folder, report = demo
    project, catalog = read_project(folder), open_catalog(folder)
    day = days_of(catalog)[0]
    model = Model.from_item(catalog.item("sm-models", report["model"]).self_href)
    cube = feature_cube(catalog, model.recipe, "h18v04", Period.parse(day), reader="odc").compute(scheduler="threads")
    wanted = rounded(predict(model, cube).sm.values[0], SM_PROFILE.step)
    assert 100_000 < np.count_nonzero(~np.isnan(wanted)) < 1_000_000
    item, geobox = catalog.items(PRODUCT)[0], project.grid.geobox("h18v04")
    by_odc = odc.stac.load([item], bands=["sm"])
    assert by_odc.odc.geobox.affine == geobox.affine
    assert np.array_equal(np.where(by_odc.sm.values[0] == -9999, np.nan, by_odc.sm.values[0]), wanted, equal_nan=True)
    by_rio = rioxarray.open_rasterio(item.assets["sm"].get_absolute_href(), masked=True)
    assert by_rio.rio.transform() == geobox.affine
    assert np.array_equal(by_rio.values[0], wanted, equal_nan=True)
    assert np.array_equal(_by_stackstac(item, geobox), wanted, equal_nan=True)


def _by_stackstac(item, geobox):
    from stackstac.prepare import ASSET_TABLE_DT
    from stackstac.raster_spec import RasterSpec
    from stackstac.to_dask import items_to_dask

    table = np.full((1, 1), None, dtype=ASSET_TABLE_DT)
    box = geobox.boundingbox
    bounds = (box.left, box.bottom, box.right, box.top)
    table["url"], table["bounds"] = item.assets["sm"].get_absolute_href(), bounds
    spec = RasterSpec(None, bounds, (geobox.affine.a, -geobox.affine.e))
    stack = items_to_dask(table, spec, 512, dtype=np.dtype("float32"), fill_value=np.float32("nan"), rescale=False)
    return stack[0, 0].compute(scheduler="synchronous")


def test_sea_costs_nothing_and_says_why(demo):
    folder, _ = demo
    item = open_catalog(folder).items(PRODUCT)[0]
    with rasterio.open(item.assets["qa"].get_absolute_href()) as file:
        qa = file.read(1)
    with rasterio.open(item.assets["sm"].get_absolute_href()) as file:
        sm = file.read(1)
    assert (qa[sm == -9999] != 0).all()
    assert ((qa & 32) != 0).mean() > 0.5
    assert sm[sm != -9999].min() >= 0
    assert sm.max() <= 0.6


def test_items_name_their_inputs_and_their_model(demo):
    folder, report = demo
    item = open_catalog(folder).items(PRODUCT)[0]
    links = {link.title: Path(link.get_absolute_href()) for link in item.links if link.rel == "derived_from"}
    assert report["model"] in links
    assert all(path.exists() for path in links.values())
    collections = {path.relative_to(folder).parts[0] for path in links.values()}
    granules = {"glass-albedo", "glass-lst", "glass-lai", "era5-land", "cop-dem", "soilgrids"}
    assert collections == {"sm-models", "climatology"} | granules
    assert "time" not in json.dumps(item.properties["processing:software"])


@pytest.fixture(scope="module")
def api(demo):
    """Address of its server."""
    with running(demo[0]) as address:
        yield address


def test_the_ways_of_the_readme_give_what_our_own_readers_give(demo, api):
    """By the API: odc.stac the same pixels; stackstac in degrees nearly so; GDAL's virtual path the same value."""
    folder, _ = demo
    box, days = (7.0, 44.0, 7.5, 44.5), "2019-06-08/2019-06-10"
    ours = open_product(open_catalog(folder), box, days).sm.values
    search = pystac_client.Client.open(api).search(collections=[PRODUCT], bbox=box, datetime=days)
    by_odc = odc.stac.load(search.items(), bands=["sm"], bbox=box).sm
    by_odc = by_odc.where(by_odc != -9999).values
    assert by_odc.shape == ours.shape
    assert np.isfinite(ours).sum() > 1000
    assert np.array_equal(by_odc, ours, equal_nan=True)
    grid = {"epsg": 4326, "resolution": 0.01, "bounds_latlon": box, "xy_coords": "center", "rescale": False}
    degrees = stackstac.stack(list(search.items_as_dicts()), assets=["sm"], **grid).compute(scheduler="synchronous")
    assert degrees.mean().item() == pytest.approx(np.nanmean(ours), abs=0.003)
    series = point_series(open_catalog(api), 7.12, 44.12, days).sm
    for item, value in zip(sorted(search.items(), key=lambda one: one.id), series, strict=True):
        with rasterio.open(f"/vsicurl/{item.assets['sm'].get_absolute_href()}") as file:
            x, y = rasterio.warp.transform("OGC:CRS84", file.crs, [7.12], [44.12])
            assert next(file.sample(zip(x, y, strict=True)))[0] == np.float32(value)


def test_the_scores_in_the_documentation_are_those_of_the_demo(demo):
    """To a hundredth or two: another release of XGBoost grows other trees."""
    _, report = demo
    methods = {
        "all stations": "unscreened",
        "screened stations": "screened",
        "ERA5-Land": "swvl1",
        "ERA5-Land, bias-corrected": "swvl1 bias-corrected",
    }
    strategies = {"random rows": "random", "sites": "site", "networks": "network", "years": "year"}
    found = {(one["strategy"], one["method"]): one for one in report["scores"] if one["scored_on"] == "all"}
    rows = re.findall(r"^\| (random rows|sites|networks|years) \| ([^|]+) \| ([\d. |]+) \|$", BENCHMARKS, re.MULTILINE)
    assert len(rows) == len(found) == 16
    for strategy, method, numbers in rows:
        one = found[strategies[strategy], methods[method]]
        wanted = [one["pooled"]["r"], one["pooled"]["rmse"], one["pooled"]["ubrmse"], one["median"]["r"]]
        told = [float(number) for number in numbers.split("|")]
        assert told == pytest.approx(wanted, abs=0.03)
    told = re.search(r"pixels and days: R ([\d.]+), RMSE ([\d.]+)", BENCHMARKS)
    assert [float(told[1]), float(told[2])] == pytest.approx([report["truth"]["r"], report["truth"]["rmse"]], abs=0.03)
