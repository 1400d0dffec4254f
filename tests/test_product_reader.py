"""Reading the product: a box and a point give the very pixels that were published."""

from datetime import date

import numpy as np
import pytest
from fields import SMALL, image, new_catalog, put

from stac_sm import open_product, point_series
from stac_sm.catalog import open_catalog
from stac_sm.errors import CatalogError, InputError
from stac_sm.grid import to_lonlat
from stac_sm.period import DAY, Period
from stac_sm.quality import Quality

FIRST = date(2018, 7, 1)
PERIOD = Period(FIRST, FIRST + 3 * DAY)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """Two neighbouring tiles on two days; the third day is missing."""
    catalog = new_catalog(tmp_path_factory.mktemp("product"))
    for column, tile in enumerate(("h00v01", "h01v01")):
        geobox = SMALL.geobox(tile)
        for i in range(2):
            sm = image(geobox, 0.1 + 0.2 * column, 0.3 + 0.2 * column, angle=0.3 + i)
            sm[3, 4] = np.nan
            qa = np.where(np.isnan(sm), np.uint8(Quality.FROZEN), np.uint8(0))
            put(catalog, "sm-1km-daily", f"SM.{i}.{tile}", geobox, {"sm": sm, "qa": qa}, FIRST + i * DAY)
    return open_catalog(catalog.root)


def lonlat(tile, row, column):
    x, y = SMALL.geobox(tile).affine @ (column + 0.5, row + 0.5)
    return to_lonlat(SMALL.crs).transform(x, y)


@pytest.mark.parametrize("reader", ["stackstac", "odc"])
def test_a_point_gives_its_pixel_day_by_day(catalog, reader):
    series = point_series(catalog, *lonlat("h01v01", 7, 9), PERIOD, reader=reader)
    wanted = [image(SMALL.geobox("h01v01"), 0.3, 0.5, angle=0.3 + i)[7, 9] for i in range(2)]
    assert series.sm.to_list()[:2] == pytest.approx(wanted, abs=0)
    assert np.isnan(series.sm.iloc[2])
    assert series.qa.to_list() == [0, 0, Quality.INPUT_MISSING]
    assert list(series.index) == [np.datetime64(day) for day in PERIOD.days]


def test_a_period_may_be_a_text(catalog):
    place = lonlat("h01v01", 7, 9)
    assert point_series(catalog, *place, str(PERIOD)).equals(point_series(catalog, *place, PERIOD))


def test_a_flagged_pixel_is_nan_with_its_flag(catalog):
    series = point_series(catalog, *lonlat("h00v01", 3, 4), PERIOD)
    assert series.sm.isna().all()
    assert series.qa.to_list() == [Quality.FROZEN, Quality.FROZEN, Quality.INPUT_MISSING]


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


def test_nothing_published_there_or_then_is_an_error_that_says_so(catalog):
    with pytest.raises(CatalogError, match="no product found"):
        point_series(catalog, 150.0, -30.0, PERIOD)
    with pytest.raises(CatalogError, match="no product found"):
        point_series(catalog, *lonlat("h01v01", 7, 9), Period.parse("2001"))


@pytest.mark.parametrize("box", [(5, 0, 4, 1), (0, 2, 1, 1), (0, 0, 190, 1), (0, -91, 1, 0)])
def test_a_box_that_is_none_is_refused(catalog, box):
    with pytest.raises(InputError, match="west, south, east, north"):
        open_product(catalog, box, PERIOD)
