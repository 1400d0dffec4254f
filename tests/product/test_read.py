"""Reading the product: a box and a point give the very pixels that were published."""

import shutil
from datetime import date

import numpy as np
import pytest

from stac_sm import open_product, point_series
from stac_sm.core.errors import CatalogError, InputError, ReadError
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.core.projections import transformer_to_lonlat
from stac_sm.core.variables import QualityFlag
from stac_sm.product.item import ProductDay
from stac_sm.stac.catalogs.catalog import Catalog, open_catalog
from stac_sm.stac.index.update import update_index
from stac_sm.stac.retract import retract
from stac_sm.storage.store import open_store
from tests.support.faulty_server import FaultyServer
from tests.support.fields import SMALL, edit, image, new_catalog, put
from tests.support.object_stores import environment_of, moto_server, new_bucket
from tests.support.product_days import known, new_project, put_day, put_days
from tests.support.served import running

pytestmark = pytest.mark.filterwarnings("ignore:The item .* is deprecated")  # by pystac, of what was retracted
FIRST = date(2018, 7, 1)
PERIOD = Period(FIRST, FIRST + 3 * ONE_DAY)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """Two neighbouring tiles on two days; the third day is missing."""
    catalog = new_catalog(tmp_path_factory.mktemp("product"))
    for column, tile in enumerate(("h00v01", "h01v01")):
        geobox = SMALL.geobox(tile)
        for i in range(2):
            sm = image(geobox, 0.1 + 0.2 * column, 0.3 + 0.2 * column, angle=0.3 + i)
            sm[3, 4] = np.nan
            qa = np.where(np.isnan(sm), np.uint8(QualityFlag.FROZEN), np.uint8(0))
            put(catalog, "sm-1km-daily", f"SM.{i}.{tile}", geobox, {"sm": sm, "qa": qa}, FIRST + i * ONE_DAY)
    return open_catalog(catalog.root)


def lonlat(tile, row, column):
    x, y = SMALL.geobox(tile).affine @ (column + 0.5, row + 0.5)
    return transformer_to_lonlat(SMALL.crs).transform(x, y)


@pytest.mark.parametrize("reader", ["stackstac", "odc"])
def test_a_point_gives_its_pixel_day_by_day(catalog, reader):
    series = point_series(catalog, *lonlat("h01v01", 7, 9), PERIOD, reader=reader)
    wanted = [image(SMALL.geobox("h01v01"), 0.3, 0.5, angle=0.3 + i)[7, 9] for i in range(2)]
    assert series.sm.to_list()[:2] == pytest.approx(wanted, abs=0)
    assert np.isnan(series.sm.iloc[2])
    assert series.qa.to_list() == [0, 0, QualityFlag.INPUT_MISSING]
    assert list(series.index) == [np.datetime64(day) for day in PERIOD.days]


def test_a_period_may_be_a_text(catalog):
    place = lonlat("h01v01", 7, 9)
    assert point_series(catalog, *place, str(PERIOD)).equals(point_series(catalog, *place, PERIOD))


def test_a_flagged_pixel_is_nan_with_its_flag(catalog):
    series = point_series(catalog, *lonlat("h00v01", 3, 4), PERIOD)
    assert series.sm.isna().all()
    assert series.qa.to_list() == [QualityFlag.FROZEN, QualityFlag.FROZEN, QualityFlag.INPUT_MISSING]


def test_a_box_across_two_tiles_is_seamless_and_on_the_products_pixels(catalog):
    west, north = lonlat("h00v01", 10, 45)
    east, south = lonlat("h01v01", 20, 5)
    box = (min(west, east), south, max(west, east), north)
    cube = open_product(catalog, box, PERIOD)
    assert cube.sm.dims == ("time", "y", "x")
    assert cube.sm.chunks is not None
    values = cube.compute()
    whole = np.hstack(
        [image(SMALL.geobox(tile), 0.1 + 0.2 * i, 0.3 + 0.2 * i) for i, tile in enumerate(("h00v01", "h01v01"))]
    )
    origin = SMALL.geobox("h00v01").affine
    columns = np.round((values.x.values - origin.c) / origin.a - 0.5).astype(int)
    rows = np.round((values.y.values - origin.f) / origin.e - 0.5).astype(int)
    assert np.abs((values.x.values - origin.c) / origin.a - 0.5 - columns).max() < 1e-6
    assert rows[0] <= 10
    assert rows[-1] >= 20
    assert columns[0] <= 45
    assert columns[-1] >= 55
    expected = whole[np.ix_(rows, columns)]
    expected[np.isin(rows, 3)[:, None] & np.isin(columns % 50, 4)[None, :]] = np.nan
    assert np.array_equal(values.sm.values[0], expected, equal_nan=True)
    assert values.qa.dtype == np.uint8
    assert np.isnan(values.sm.values[2]).all()


@pytest.mark.parametrize(
    ("key", "value"),
    [("proj:shape", "40x50"), ("proj:transform", [[1], 2]), ("proj:code", "EPSG:none"), ("end_datetime", "x")],
)
def test_one_bad_item_costs_one_day_and_is_named(catalog, tmp_path, key, value):
    folder = shutil.copytree(catalog.root, tmp_path / "p")
    edit(open_catalog(folder), "sm-1km-daily", "SM.0.h01v01", lambda item: item["properties"].update({key: value}))
    place = lonlat("h01v01", 7, 9)
    sound, series = (point_series(one, *place, PERIOD) for one in (catalog, open_catalog(folder)))
    assert np.isnan(series.sm.iloc[0])
    assert series.sm.iloc[1:].equals(sound.sm.iloc[1:])
    (name,) = series.attrs["left_out"]
    assert name.startswith("SM.0.h01v01")
    box = (*place, *place)
    cubes = [open_product(one, box, PERIOD) for one in (catalog, open_catalog(folder))]
    np.testing.assert_array_equal(cubes[0].sm.values[1:], cubes[1].sm.values[1:])
    assert np.isnan(cubes[1].sm.values[0]).all()
    assert "SM.0.h01v01" in cubes[1].attrs["left_out"][0]
    assert "left_out" not in cubes[0].attrs


def test_nothing_published_there_or_then_is_an_error_that_says_so(catalog):
    with pytest.raises(CatalogError, match="no product found"):
        point_series(catalog, 150.0, -30.0, PERIOD)
    with pytest.raises(CatalogError, match="no product found"):
        point_series(catalog, *lonlat("h01v01", 7, 9), Period.parse("2001"))


def test_latitude_before_longitude_is_named_where_the_product_is_there(catalog):
    lon, lat = lonlat("h01v01", 7, 9)
    with pytest.raises(CatalogError, match=f"there is some at {lon:g},{lat:g}: the longitude comes first"):
        point_series(catalog, lat, lon, PERIOD)
    with pytest.raises(CatalogError, match="the longitude comes first, then the latitude"):
        open_product(catalog, (lat, lon, lat + 0.01, lon + 0.01), PERIOD)


@pytest.mark.parametrize(("box", "words"), [
    ((5, 0, 4, 1), "across the antimeridian"), ((0, 2, 1, 1), "south above north"), ((0, 0, 190, 1), "190 .* is -170"),
    ((0, -91, 1, 0), "WEST,SOUTH,EAST,NORTH are required in degrees"),
])  # fmt: skip
def test_a_box_that_is_none_is_refused(catalog, box, words):
    with pytest.raises(InputError, match=words):
        open_product(catalog, box, PERIOD)


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """A project of three tiles on three days, with half widths; a day in two versions, a day retracted, one to come."""
    made = new_project(tmp_path_factory.mktemp("versions") / "p")
    put_days(made.catalog, uncertainty=True)
    store = made.catalog
    put_day(store, "h01v01", 1, version="002", change=0.0625, linked=True)
    id = "SM1KM.A2018184.h01v01.v001"
    retract(store, "sm-1km-daily", [id], "bad", path=lambda id: ProductDay.of_id(id).path("year/month/day"))
    return made


PLACE = lonlat("h01v01", 20, 21)  # clipped
DAYS = Period.parse("2018-07-01/2018-07-04")


def wanted_series():
    first, second = known(SMALL, "h01v01", 0)[0][20, 21], known(SMALL, "h01v01", 1, 0.0625)[0][20, 21]
    return [first, second, np.nan, np.nan], [QualityFlag.CLIPPED, QualityFlag.CLIPPED, 32, 32]


def check(series):
    sm, qa = wanted_series()
    np.testing.assert_array_equal(series.sm, np.array(sm, np.float32))
    assert series.qa.to_list() == qa
    np.testing.assert_array_equal(series.uncertainty, np.array([0.0625, np.nan, np.nan, np.nan], np.float32))


def check_both(href):
    """Series and box, from anywhere."""
    check(point_series(open_catalog(href), *PLACE, DAYS))
    box = open_product(open_catalog(href), (*PLACE, *PLACE), DAYS).compute()
    np.testing.assert_array_equal(box.sm.values[:, 0, 0], np.array(wanted_series()[0], np.float32))
    assert box.uncertainty.values[0, 0, 0] == 0.0625
    assert box.qa.values[:, 0, 0].tolist() == wanted_series()[1]


def test_the_highest_version_counts_and_what_was_retracted_does_not(versions):
    check_both(versions.folder)


def test_a_flag_masks_soil_moisture_and_its_half_width(versions):
    catalog = open_catalog(versions.folder)
    series = point_series(catalog, *PLACE, DAYS, mask=("clipped",))
    assert series.sm.isna().all()
    assert series.uncertainty.isna().all()
    assert series.qa.to_list() == wanted_series()[1]
    former = "read_tolerated"  # the name of the reserved bit in older items
    check(point_series(catalog, *PLACE, DAYS, mask=("snow", "gap_filled", former)))
    west, south = lonlat("h01v01", 30, 10)
    east, north = lonlat("h01v01", 15, 40)
    cube = open_product(catalog, (west, south, east, north), "2018-07-01", mask=["clipped"]).compute()
    clipped = (cube.qa & QualityFlag.CLIPPED) > 0
    assert clipped.any()
    assert cube.sm.where(clipped).isnull().all()
    assert cube.uncertainty.where(clipped).isnull().all()
    assert cube.sm.notnull().any()
    with pytest.raises(InputError, match="'wet' is unknown: known are gap_filled"):
        open_product(catalog, (west, south, east, north), "2018-07-01", mask=["wet"])


def test_the_index_finds_the_items_and_the_catalogue_what_is_not_in_it(versions, monkeypatch, tmp_path):
    shutil.copytree(versions.folder, tmp_path / "p")
    catalog = open_catalog(tmp_path / "p")
    update_index(catalog.store, "sm-1km-daily", layout="year/month/day")
    asked = []
    walk = Catalog.items
    monkeypatch.setattr(Catalog, "items", lambda self, *a, **k: asked.append(k["period"]) or walk(self, *a, **k))
    check(point_series(open_catalog(tmp_path / "p"), *PLACE, DAYS))
    assert asked == [Period.parse("2018-07-03/2018-07-04")]
    put_day(catalog, "h01v01", 3, linked=True)  # not in the index
    series = point_series(open_catalog(tmp_path / "p"), *PLACE, DAYS)
    assert series.sm.iloc[3] == known(SMALL, "h01v01", 3)[0][20, 21]


def test_a_point_by_http_takes_few_requests(versions, tmp_path):
    shutil.copytree(versions.folder, tmp_path / "p")
    catalog = open_catalog(tmp_path / "p")
    with FaultyServer(tmp_path / "p") as server:
        check(point_series(open_catalog(f"{server.address}/catalog.json"), *PLACE, DAYS))
        before = sum(server.gets().values())
        update_index(catalog.store, "sm-1km-daily", layout="year/month/day")
        series = point_series(open_catalog(f"{server.address}/catalog.json"), *PLACE, "2018-07-01/2018-07-02")
        np.testing.assert_array_equal(series.sm, np.array(wanted_series()[0][:2], np.float32))
        with_index = sum(server.gets().values()) - before
        tiffs = sum(count for path, count in server.gets().items() if path.endswith(".tif"))
    assert tiffs == 2 * 5  # three assets on one day, two on the other, one request each
    assert with_index < 5 + 12 < before


def test_from_s3_the_same(versions):
    server = moto_server()
    with environment_of(server):
        store = open_store(f"s3://{new_bucket(server, 'product')}/p")
        for entry in versions.catalog.store.list_objects():
            if ".scratch" not in entry.path:
                store.create(entry.path, versions.catalog.store.read(entry.path))
        check_both(store.root)


def test_a_file_that_cannot_be_read_is_an_error_and_no_gap(versions, tmp_path):
    shutil.copytree(versions.folder, tmp_path / "p")
    next((tmp_path / "p" / "sm-1km-daily/2018/07/01").rglob("*h01v01*.sm.tif")).write_bytes(b"II*\0")
    with pytest.raises(ReadError, match="SM1KM.A2018182.h01v01.v001"):
        point_series(open_catalog(tmp_path / "p"), *PLACE, DAYS)


def test_from_a_stac_api_the_same(versions, tmp_path):
    shutil.copytree(versions.folder, tmp_path / "p")
    store = open_catalog(tmp_path / "p").store
    update_index(store, "sm-1km-daily", layout="year/month/day")
    with running(tmp_path / "p") as address:
        check_both(address)


def test_from_a_static_catalogue_on_the_web_the_same(versions):
    with FaultyServer(versions.folder) as server:
        check_both(f"{server.address}/catalog.json")
