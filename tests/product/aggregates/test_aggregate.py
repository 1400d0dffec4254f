"""Global days and means: what all the tile-days give, exactly; replaced when these change; found by audit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from click.testing import CliRunner
from PIL import Image

from stac_sm.cli.main import main
from stac_sm.core.errors import InputError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.core.projections import transformer_to_lonlat
from stac_sm.product.aggregates.means import ANNUAL, MONTHLY, make_means
from stac_sm.product.aggregates.mosaic import DAILY_GLOBAL, make_mosaics
from stac_sm.product.aggregates.staleness import AGGREGATES, stale_aggregates
from stac_sm.product.item import PRODUCT_COLLECTION, ProductDay
from stac_sm.raster.mosaic_cog import overview_geobox, whole_grid_geobox
from stac_sm.raster.plots import legend_thumbnail
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.index.manifest import check_manifest, index_months, is_item, read_manifest
from stac_sm.stac.index.update import update_index
from stac_sm.stac.items import item_json
from stac_sm.stac.retract import retract
from stac_sm.workflows.audit import audit, audit_project
from tests.support.fields import SMALL, WIDE
from tests.support.product_days import FIRST, TILES, known, new_project, put_day, put_days

MONTH = Period.parse("2018-07")
YEAR = Period.parse("2018")


@pytest.fixture
def project(tmp_path):
    """Three tiles on three days."""
    made = new_project(tmp_path / "p")
    put_days(made.catalog)
    return made


def outcomes(made):
    return [one.outcome for one in made]


def read(project, path, asset):
    """Stored values and profile of an asset, by rasterio alone."""
    item = json.loads(project.catalog.store.read(path))
    file = Path(project.folder, path).parent / item["assets"][asset]["href"]
    with rasterio.open(file) as opened:
        return opened.read(1), opened.profile


def mosaic_of(arrays, grid=SMALL, fill=-9999.0):
    """The whole grid as one array: what a mosaic is to hold."""
    (height, width), (columns, rows) = grid.tile_shape, grid.tiles
    canvas = np.full((rows * height, columns * width), fill, np.float32)
    for tile, values in arrays.items():
        column, row = grid.column_row(tile)
        part = slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width)
        canvas[part] = np.where(np.isnan(values), fill, values)
    return canvas


def test_a_global_day_holds_the_pixels_of_its_tiles_and_nothing_else(project):
    made = make_mosaics(project.catalog, SMALL, MONTH, "001")
    assert outcomes(made) == ["new"] * 3
    assert [one.id for one in made] == [f"SM1KM.A2018{182 + day}.global.v001" for day in range(3)]
    for day, one in enumerate(made):
        values, profile = read(project, one.path, "sm")
        np.testing.assert_array_equal(values, mosaic_of({tile: known(SMALL, tile, day)[0] for tile in TILES}))
        assert (profile["nodata"], profile["dtype"], profile["crs"].to_epsg()) == (-9999, "float32", None)
        assert profile["transform"] == whole_grid_geobox(SMALL).affine


def test_the_overview_is_in_degrees_and_lies_where_the_pixels_do(project):
    made = make_mosaics(project.catalog, SMALL, MONTH, "001")[0]
    values, profile = read(project, made.path, "overview")
    assert (profile["crs"].to_epsg(), profile["nodata"]) == (4326, -9999)
    for tile in TILES:
        sm, geobox = known(SMALL, tile, 0)[0], SMALL.geobox(tile)
        for row, column in ((15, 10), (25, 40), (35, 25)):
            lon, lat = transformer_to_lonlat(SMALL.crs).transform(*(geobox.affine @ (column + 0.5, row + 0.5)))
            x, y = ~profile["transform"] * (lon, lat)
            assert values[int(y), int(x)] == pytest.approx(sm[row, column], abs=0.02)
    item = json.loads(project.catalog.store.read(made.path))
    asset = item["assets"]["overview"]
    assert (asset["proj:code"], asset["proj:shape"]) == ("EPSG:4326", list(values.shape))
    inside = values[values != -9999]
    assert asset["bands"][0]["statistics"]["maximum"] == pytest.approx(float(inside.max()), abs=1e-4)


def test_the_overview_of_the_globe_has_cells_of_a_tenth_of_a_degree():
    geobox = overview_geobox(MODIS_SINUSOIDAL_1KM)
    assert (tuple(geobox.shape), geobox.affine.a) == ((1800, 3600), 0.1)
    assert tuple(geobox.boundingbox) == pytest.approx((-180, -90, 180, 90))
    assert tuple(whole_grid_geobox(MODIS_SINUSOIDAL_1KM).shape) == (21600, 43200)


def test_the_thumbnail_has_a_map_and_a_legend(project):
    made = make_mosaics(project.catalog, SMALL, MONTH, "001")[0]
    item = json.loads(project.catalog.store.read(made.path))
    file = Path(project.folder, made.path).parent / item["assets"]["thumbnail"]["href"]
    picture = np.asarray(Image.open(file).convert("RGB")).astype(int)
    assert max(picture.shape) <= 600
    legend = picture[:, int(0.85 * picture.shape[1]) :]
    assert len({tuple(pixel) for row in legend for pixel in row}) > 100  # a ramp, and numbers beside it


def test_the_thumbnail_shows_the_coast_where_there_is_no_value(tmp_path):
    legend_thumbnail(np.full((90, 180), np.nan), (-180, -90, 180, 90), tmp_path / "none.png", title="2018-07-01")
    picture = np.asarray(Image.open(tmp_path / "none.png").convert("L"))
    inside = picture[30:-10, 20 : int(0.8 * picture.shape[1])]
    assert 0.01 < (inside < 200).mean() < 0.3


def check_visual(item):
    """A mean or a global day has one picture that maps draw, in degrees and colours; its bands name themselves."""
    assert [key for key, asset in item.assets.items() if "visual" in asset.roles] == ["visual"]
    assert item.assets["visual"].extra_fields["proj:code"] == "EPSG:4326"
    with rasterio.open(item.assets["visual"].get_absolute_href()) as file:
        assert file.crs.to_epsg() == 4326
        assert file.descriptions == ("red", "green", "blue", "alpha")
        assert (file.read(4) == 255).any()
        assert file.tags()["ITEM"] == item.id
    with rasterio.open(item.assets["sm"].get_absolute_href()) as file:
        assert (file.descriptions, file.units) == (("Soil moisture (m3 m-3)",), ("m3 m-3",))
        assert file.tags()["ITEM"] == item.id


def test_items_are_valid_and_clean_to_audit(project, validate):
    make_mosaics(project.catalog, SMALL, MONTH, "001")
    make_means(project.catalog, SMALL, [YEAR], "001", as_one=True)
    make_means(project.catalog, SMALL, [MONTH], "001", collection=MONTHLY)
    catalog = open_catalog(project.folder)
    assert audit(catalog) == []
    for collection, number in ((DAILY_GLOBAL, 3), (ANNUAL, 4), (MONTHLY, 3)):
        items = catalog.items(collection)
        assert len(items) == number
        for item in items:
            validate(item)
            members = json.loads(Path(item.assets["members"].get_absolute_href()).read_text())
            folder = Path(item.self_href).parent
            assert all(json.loads((folder / one["href"]).read_text())["id"] == one["id"] for one in members)
            sources = item.get_links("derived_from")
            assert {one.title for one in sources} <= {one["id"] for one in members}
            assert all(pystac.Item.from_file(one.get_absolute_href()).id == one.title for one in sources)
            listing = [one.get_absolute_href() for one in item.get_links("related")]
            assert len(members) == len(sources) or (not sources and 0 < len(listing) <= 31)
            assert all(json.loads(Path(one).read_text())["type"] in {"Catalog", "Collection"} for one in listing)
            check_visual(item)
        update_index(catalog.store, collection, layout=catalog.layout(collection))
    assert audit(catalog) == []


def test_summaries_of_collections_say_what_their_items_say(tmp_path):
    project = new_project(tmp_path / "p")
    put_days(project.catalog, days=range(1), uncertainty=True)
    make_mosaics(project.catalog, SMALL, MONTH, "001")
    make_means(project.catalog, SMALL, [YEAR], "001", as_one=True)
    make_means(project.catalog, SMALL, [MONTH], "001", collection=MONTHLY)
    catalog = open_catalog(project.folder)
    for id in (PRODUCT_COLLECTION, DAILY_GLOBAL, ANNUAL, MONTHLY):
        collection, items = catalog.collection(id), catalog.items(id)
        told = {one["name"]: one for one in collection["summaries"]["bands"]}
        assert items
        for item in items:
            assert set(told) == set(item.assets) & {"sm", "uncertainty", "qa", "count"}, (id, item.id)
            for name, wanted in told.items():
                fields = item.assets[name].to_dict()
                found = fields | fields["bands"][0]
                assert {key: found.get(key) for key in wanted if key != "name"} == {
                    key: value for key, value in wanted.items() if key != "name"
                }
        west, south, east, north = collection["extent"]["spatial"]["bbox"][0]
        boxes = np.array([item.bbox for item in items])
        assert [west, south, east, north] == [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)]


@pytest.mark.parametrize("damage", ["orphan", "corrupt", "missing"])
def test_audit_finds_what_is_wrong_with_an_aggregate(project, damage):
    make_mosaics(project.catalog, SMALL, MONTH, "001")
    file = next(Path(project.folder, DAILY_GLOBAL).rglob("*.sm.tif"))
    if damage == "orphan":
        file.with_name("left.tif").write_bytes(b"x")
    elif damage == "corrupt":
        file.write_bytes(file.read_bytes()[:-9] + b"123456789")
    else:
        file.unlink()
    assert {finding.kind for finding in audit(open_catalog(project.folder))} == {damage}


def test_a_second_time_does_nothing(project):
    make_mosaics(project.catalog, SMALL, MONTH, "001")
    make_means(project.catalog, SMALL, [YEAR], "001", as_one=True)
    before = {file: file.read_bytes() for file in Path(project.folder).rglob("*") if file.is_file()}
    assert outcomes(make_mosaics(project.catalog, SMALL, MONTH, "001")) == ["done"] * 3
    assert outcomes(make_means(project.catalog, SMALL, [YEAR], "001", as_one=True)) == ["done"] * 4
    assert {file: file.read_bytes() for file in Path(project.folder).rglob("*") if file.is_file()} == before


def test_a_tile_that_comes_later_makes_day_and_mean_stale(project):
    before = make_mosaics(project.catalog, SMALL, MONTH, "001")
    make_means(project.catalog, SMALL, [YEAR], "001", as_one=True)
    put_day(project.catalog, "h01v01", 3, linked=True)
    put_day(project.catalog, "h02v02", 1, linked=True)
    after = make_mosaics(project.catalog, SMALL, MONTH, "001")
    assert outcomes(after) == ["done", "replaced", "done", "new"]
    assert after[1].fingerprint != before[1].fingerprint
    tiles = (*TILES, "h02v02")
    values, _ = read(project, after[1].path, "sm")
    np.testing.assert_array_equal(values, mosaic_of({tile: known(SMALL, tile, 1)[0] for tile in tiles}))
    means = make_means(project.catalog, SMALL, [YEAR], "001", as_one=True)
    assert {one.id.split(".")[2]: one.outcome for one in means} == {
        "h00v00": "done", "h01v01": "replaced", "h02v01": "done", "h02v02": "new", "global": "replaced",
    }  # fmt: skip


@pytest.mark.parametrize("indexed", [False, True])
def test_what_was_retracted_is_left_out(project, indexed):
    catalog = project.catalog
    id = "SM1KM.A2018182.h01v01.v001"
    make_mosaics(catalog, SMALL, MONTH, "001")
    retract(
        catalog,
        PRODUCT_COLLECTION,
        [id],
        "bad",
        path=lambda id: ProductDay.of_id(id).path(catalog.layout(PRODUCT_COLLECTION)),
    )
    if indexed:
        for file in Path(project.folder).rglob(f"{id}.*.tif"):  # as audit --repair does
            file.unlink()
        update_index(catalog.store, PRODUCT_COLLECTION, layout=catalog.layout(PRODUCT_COLLECTION))
    made = make_mosaics(catalog, SMALL, MONTH, "001")
    assert outcomes(made) == ["replaced", "done", "done"]
    values, _ = read(project, made[0].path, "sm")
    rest = {tile: known(SMALL, tile, 0)[0] for tile in TILES if tile != "h01v01"}
    np.testing.assert_array_equal(values, mosaic_of(rest))


def test_with_an_index_no_item_is_read_to_see_that_all_is_done(project, monkeypatch):
    from stac_sm.product.aggregates import source_items

    made = make_mosaics(project.catalog, SMALL, MONTH, "001")
    update_index(project.catalog.store, PRODUCT_COLLECTION, layout=project.catalog.layout(PRODUCT_COLLECTION))
    monkeypatch.setattr(source_items, "_fingerprint_in_item", lambda *_: pytest.fail("an item was read"))
    again = make_mosaics(project.catalog, SMALL, MONTH, "001")
    assert [one.fingerprint for one in again] == [one.fingerprint for one in made]


def test_another_version_is_another_product(project):
    put_day(project.catalog, "h00v00", 0, version="002", change=0.01, linked=True)
    made = make_mosaics(project.catalog, SMALL, MONTH, "002")
    assert [one.id for one in made] == ["SM1KM.A2018182.global.v002"]
    values, _ = read(project, made[0].path, "sm")
    np.testing.assert_array_equal(values, mosaic_of({"h00v00": known(SMALL, "h00v00", 0, 0.01)[0]}))


def test_a_tile_that_cannot_be_read_fails_its_day_alone_and_is_no_nodata(project):
    file = next(Path(project.folder, PRODUCT_COLLECTION, "2018/07/02").rglob("*h01v01*.sm.tif"))
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    made = make_mosaics(project.catalog, SMALL, MONTH, "001")
    assert outcomes(made) == ["new", "failed", "new"]
    assert "SM1KM.A2018183.h01v01.v001" in made[1].error
    assert not project.catalog.store.exists(made[1].path)
    file.write_bytes(content)
    assert outcomes(make_mosaics(project.catalog, SMALL, MONTH, "001")) == ["done", "new", "done"]


@pytest.mark.parametrize(("least", "workers"), [(1, 1), (3, 1), (1, 2)])
def test_means_are_those_of_numpy_over_all_days(project, least, workers):
    made = make_means(project.catalog, SMALL, [YEAR], "001", least_days=least, workers=workers)
    assert [one.id for one in made] == [f"SM1KM.Y2018.{tile}.v001" for tile in TILES]
    for tile, one in zip(TILES, made, strict=True):
        stack = np.stack([known(SMALL, tile, day)[0] for day in range(3)]).astype(np.float64)
        days = (~np.isnan(stack)).sum(axis=0)
        wanted = np.full(days.shape, -9999.0, np.float32)
        enough = days >= least
        wanted[enough] = np.nanmean(stack[:, enough], axis=0).astype(np.float32)
        mean, profile = read(project, one.path, "sm")
        count, _ = read(project, one.path, "count")
        np.testing.assert_array_equal(mean, wanted)
        np.testing.assert_array_equal(count, days)
        assert (profile["nodata"], profile["dtype"]) == (-9999, "float32")
        item = json.loads(project.catalog.store.read(one.path))
        assert item["properties"]["start_datetime"] == "2018-01-01T00:00:00Z"
        assert item["properties"]["end_datetime"] == "2018-12-31T23:59:59Z"


def test_another_least_number_of_days_is_another_mean(project):
    make_means(project.catalog, SMALL, [YEAR], "001")
    assert outcomes(make_means(project.catalog, SMALL, [YEAR], "001", least_days=3)) == ["replaced"] * 3
    with pytest.raises(InputError, match="1 or more"):
        make_means(project.catalog, SMALL, [YEAR], "001", least_days=0)


def test_months_are_made_of_their_own_days(project):
    put_day(project.catalog, "h00v00", 31, linked=True)  # August 1
    made = make_means(project.catalog, SMALL, list(YEAR.months()), "001", collection=MONTHLY, tiles=["h00v00"])
    assert [one.id for one in made] == ["SM1KM.M201807.h00v00.v001", "SM1KM.M201808.h00v00.v001"]
    mean, _ = read(project, made[1].path, "sm")
    np.testing.assert_array_equal(mean, np.nan_to_num(known(SMALL, "h00v00", 31)[0], nan=-9999.0))


def test_a_global_mean_is_the_means_of_its_tiles(project):
    *tiles, whole_grid = make_means(project.catalog, SMALL, [YEAR], "001", as_one=True)
    for asset, fill in (("sm", -9999.0), ("count", 0.0)):
        parts = {one.id.split(".")[2]: read(project, one.path, asset)[0] for one in tiles}
        values, _ = read(project, whole_grid.path, asset)
        np.testing.assert_array_equal(values, mosaic_of(parts, fill=fill))


def test_a_grid_in_degrees_does_as_well(tmp_path):
    project = new_project(tmp_path / "p", WIDE)
    put_days(project.catalog, tiles=("h00v00", "h03v03"), days=range(1), grid=WIDE)
    made = make_mosaics(project.catalog, WIDE, MONTH, "001")
    values, profile = read(project, made[0].path, "sm")
    np.testing.assert_array_equal(
        values, mosaic_of({tile: known(WIDE, tile, 0)[0] for tile in ("h00v00", "h03v03")}, WIDE)
    )
    assert profile["crs"].to_epsg() == 4326


def test_where_there_is_no_tile_the_file_has_no_blocks(tmp_path):
    """And memory is bounded: the array would take 512 MiB, the cache takes 32 here."""
    done = subprocess.run(
        [sys.executable, "-c", _LARGE.format(folder=tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["valid"] == 20 * 512 * 512
    assert told["grown"] < 250 << 20, told
    with rasterio.open(tmp_path / "sm.tif") as file:
        offsets = [file.get_tag_item(f"BLOCK_OFFSET_{i}_0", "TIFF", bidx=1) for i in range(32)]
        assert sum(one is not None and int(one) > 0 for one in offsets) == 2
        assert len(file.overviews(1)) >= 4


_LARGE = """
import json, resource
from pathlib import Path
import numpy as np
from stac_sm.core.grid import TileGrid
from stac_sm.raster import cog, mosaic_cog
import rasterio, rasterio.warp, rasterio.shutil

cog.CACHE_BYTES = 1 << 25
grid = TileGrid("large", "EPSG:4326", (-180.0, 90.0), (360 / 16384, 180 / 8192), (512, 512), (32, 16), "LARG")
ramp = np.linspace(0, 0.5, 512 * 512, dtype=np.float32).reshape(512, 512)
tiles = {{name: lambda: ramp for name in ["h00v00", "h31v00", *(f"h{{i}}v07" for i in range(10, 28))]}}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
file = Path("{folder}") / "sm.tif"
valid = mosaic_cog.write_mosaic_cog(tiles, grid, file, cog.CogProfile(), "float32", progress=lambda: None)
mosaic_cog.degree_mean_overview(file, grid)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print(json.dumps({{"valid": valid, "grown": grown}}))
"""


def run(*arguments, code=0):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done


def test_the_commands(project):
    where = ("--project", project.folder)
    made = json.loads(run("mosaic", *where, "--period", "2018-07", "--json").stdout)
    assert [one["outcome"] for one in made] == ["new"] * 3
    assert "done" in run("mosaic", *where, "--period", "2018-07").stdout
    made = json.loads(run("annual", "2018", *where, "--global", "--workers", 1, "--json").stdout)
    assert [one["id"].split(".")[2] for one in made] == [*TILES, "global"]
    made = json.loads(run("annual", "2018", *where, "--monthly", "--tiles", "h01v01", "--json").stdout)
    assert [one["id"] for one in made] == ["SM1KM.M201807.h01v01.v001"]
    store = project.catalog.store
    for collection, number in ((DAILY_GLOBAL, 3), (ANNUAL, len(TILES) + 1), (MONTHLY, 1)):
        assert sum(len(read_manifest(store, collection, month)) for month in index_months(store, collection)) == number
    run("retract", f"SM1KM.A2018182.{TILES[1]}.v001", *where, "--reason", "the sensor was wet")
    entries = [one for one in store.list_objects(f"{PRODUCT_COLLECTION}/2018/07") if is_item(one.path)]
    assert not check_manifest(read_manifest(store, PRODUCT_COLLECTION, "2018-07"), entries).out_of_date
    assert "nothing to make" in run("mosaic", *where, "--period", "2001", code=1).stderr
    file = next(Path(project.folder, PRODUCT_COLLECTION, "2018/07/02").rglob("*h01v01*.sm.tif"))
    file.write_bytes(b"II*\0")
    put_day(project.catalog, "h02v02", 1, linked=True)
    assert "SM1KM.A2018183.h01v01.v001" in run("mosaic", *where, "--period", "2018-07", code=1).stderr


def files_of(project):
    return {file: file.read_bytes() for file in Path(project.folder).rglob("*") if file.is_file()}


def test_a_dry_run_tells_what_comes_next_and_makes_nothing(project):
    """The plan of aggregates: what is done, what would be made, and what would be replaced."""
    where = ("--project", project.folder, "--json")
    commands = ("mosaic", "--period", "2018-07", *where), ("annual", "2018", "--global", *where)
    commands = (*commands, ("annual", "2018", "--monthly", *where))

    def told(*options):
        found = [json.loads(run(command[0], *command[1:], *options).stdout) for command in commands]
        return [[(one["id"], one["fingerprint"], one["outcome"]) for one in part] for part in found]

    for change in (None, ("h01v01", 3), ("h02v02", 1)):
        if change:
            put_day(project.catalog, *change, linked=True)
        before = files_of(project)
        foreseen = told("--dry-run")
        assert files_of(project) == before
        assert told() == foreseen  # ids, fingerprints and outcomes alike
        assert {outcome for part in told("--dry-run") for *_, outcome in part} == {"done"}
    assert {outcome for part in foreseen for *_, outcome in part} == {"new", "replaced", "done"}


def test_links_and_index_are_brought_in_line_without_a_command(project):
    """Python callers get what the commands give; a dry run changes nothing."""
    make_mosaics(project.catalog, SMALL, MONTH, "001", dry_run=True)
    make_means(project.catalog, SMALL, [YEAR], "001", dry_run=True)
    assert not [file for file in files_of(project) if "index" in file.parts]
    made = make_mosaics(project.catalog, SMALL, MONTH, "001")
    made += make_means(project.catalog, SMALL, [YEAR], "001", as_one=True)
    made += make_means(project.catalog, SMALL, [MONTH], "001", collection=MONTHLY)
    held = set()
    for collection in (DAILY_GLOBAL, ANNUAL, MONTHLY):
        for month in index_months(project.catalog.store, collection):
            held |= set(read_manifest(project.catalog.store, collection, month)["path"].to_pylist())
    assert held == {one.path for one in made}
    assert {item.id for id in (DAILY_GLOBAL, ANNUAL, MONTHLY) for item in project.catalog.items(id)} == {
        one.id for one in made
    }


def test_a_month_is_listed_once_for_all_of_its_days(project, monkeypatch):
    from stac_sm.product.aggregates import staleness

    make_mosaics(project.catalog, SMALL, MONTH, "001")
    make_means(project.catalog, SMALL, [MONTH], "001", collection=MONTHLY)
    listed, plain = [], staleness.tile_days
    monkeypatch.setattr(staleness, "tile_days", lambda *told: listed.append(told[1]) or plain(*told))
    assert list(stale_aggregates(project.catalog, SMALL)) == []
    assert listed == [MONTH]


@pytest.mark.parametrize("change", ["replaced", "more", "gone"])
def test_audit_finds_what_is_made_from_other_items_than_there_are_now(project, change):
    catalog = project.catalog
    make_mosaics(catalog, SMALL, MONTH, "001")
    make_means(catalog, SMALL, [YEAR], "001", as_one=True)
    make_means(catalog, SMALL, [MONTH], "001", collection=MONTHLY)
    assert list(stale_aggregates(catalog, SMALL)) == []
    if change == "gone":
        id = "SM1KM.A2018182.h01v01.v001"
        retract(
            catalog,
            PRODUCT_COLLECTION,
            [id],
            "bad",
            path=lambda id: ProductDay.of_id(id).path(catalog.layout(PRODUCT_COLLECTION)),
        )
    else:
        put_day(catalog, "h01v01", 0 if change == "replaced" else 3, change=0.03, linked=True)
    found = {Path(one.path).stem: one.detail for one in stale_aggregates(catalog, SMALL)}
    day = set() if change == "more" else {"SM1KM.A2018182.global.v001"}
    assert found.keys() == {"SM1KM.Y2018.h01v01.v001", "SM1KM.M201807.h01v01.v001"} | day
    made_from = {"replaced": "3 now (1 replaced)", "more": "4 now (1 new)", "gone": "2 now (1 gone)"}[change]
    assert found["SM1KM.Y2018.h01v01.v001"].endswith(f"there are {made_from}: `stac-sm annual` makes it again")
    assert {Path(one.path).stem: one.detail for one in audit_project(project, AGGREGATES)} == found
    told = json.loads(run("audit", ANNUAL, "--project", project.folder, "--json", code=1).stdout)
    assert [(one["kind"], Path(one["path"]).stem) for one in told] == [("stale", "SM1KM.Y2018.h01v01.v001")]
    make_means(catalog, SMALL, [YEAR], "001")
    assert [Path(one.path).stem for one in stale_aggregates(catalog, SMALL) if ANNUAL in one.path] == [
        "SM1KM.Y2018.global.v001"  # made of the means of tiles, one of which is another now
    ]


def test_what_an_earlier_version_made_is_stale_with_the_change_and_the_command(project, monkeypatch):
    """The mosaic of means does not state its least number of days: its tiles do."""
    catalog = project.catalog
    make_mosaics(catalog, SMALL, Period.of_day(FIRST), "001")
    make_means(catalog, SMALL, [YEAR], "001", as_one=True, least_days=2)
    assert list(stale_aggregates(catalog, SMALL)) == []
    monkeypatch.setitem(ALGORITHM_VERSIONS, "aggregates", "2")
    found = {Path(one.path).stem: one.detail for one in stale_aggregates(catalog, SMALL)}
    told = "changed since it was made: algorithm 1, now 2: `stac-sm {}` makes it again"
    assert found == {
        "SM1KM.A2018182.global.v001": told.format("mosaic"),
        **{f"SM1KM.Y2018.{tile}.v001": told.format("annual --least-days 2") for tile in TILES},
        "SM1KM.Y2018.global.v001": told.format("annual --global --least-days 2"),
    }
    make_mosaics(catalog, SMALL, Period.of_day(FIRST), "001")
    make_means(catalog, SMALL, [YEAR], "001", as_one=True, least_days=2)
    assert list(stale_aggregates(catalog, SMALL)) == []


def test_an_item_that_another_has_put_there_is_done_or_a_conflict(project):
    """The commit rule: of two who make one mosaic, the second finds it done; a tombstone stays."""
    made = make_mosaics(project.catalog, SMALL, MONTH, "001")[0]
    store = project.catalog.store
    item = json.loads(store.read(made.path))
    item["properties"]["stac_sm:retracted"] = "bad"
    assert store.compare_and_swap(made.path, item_json({**item, "assets": {}}), store.read(made.path))
    assert outcomes(make_mosaics(project.catalog, SMALL, Period.of_day(FIRST), "001")) == ["done"]
    put_day(project.catalog, "h02v02", 0, linked=True)
    assert outcomes(make_mosaics(project.catalog, SMALL, Period.of_day(FIRST), "001")) == ["done"]
    assert outcomes(make_mosaics(project.catalog, SMALL, Period.of_day(FIRST + ONE_DAY), "001")) == ["done"]
