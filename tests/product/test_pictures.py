"""Pictures of the product: one without a value is refused, with the days that have some."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from stac_sm.core.errors import CatalogError
from stac_sm.core.projections import transformer_to_lonlat
from stac_sm.product import pictures
from stac_sm.product.pictures import Picture, draw
from stac_sm.stac.catalogs.catalog import open_catalog
from tests.support.antimeridian import BOX, GRIDS, TILES, product, true_value
from tests.support.fields import SMALL
from tests.support.product_days import FIRST, new_project, put_days

TILE = "h01v01"
GEOBOX = SMALL.geobox(TILE)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """Three days of a tile, from 1 July 2018 on."""
    project = new_project(tmp_path_factory.mktemp("pictures"))
    put_days(project.catalog, tiles=(TILE,))
    return open_catalog(project.catalog.root)


def lonlat(row, column):
    return transformer_to_lonlat(SMALL.crs).transform(*(GEOBOX.affine @ (column + 0.5, row + 0.5)))


HOLE = lonlat(5, 6)  # without a value on each day
THERE = "2018-07-01/2018-07-03"


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (Picture("2018-07-20", geobox=GEOBOX, place=TILE), "no product found"),
        (Picture("2018-07-20", geobox=GEOBOX, place=TILE, degrees=False), "no product found"),
        (Picture("2018-07-01", geobox=GEOBOX, place=TILE, minus="2018-07-20"), "no product found"),
        (Picture("2019-05-01", geobox=GEOBOX), "within 366 days"),
        (Picture("2001-01-01", geobox=GEOBOX), "no product found"),
        (Picture("2018-07-01", bbox=(*HOLE, *(degrees + 1e-4 for degrees in HOLE))), "no value found"),
        (Picture("2018-07", point=HOLE), "no value found in .* another day or place"),
        (Picture("2018-08", point=HOLE), "no product found"),
    ],
)
def test_a_place_or_day_without_data_is_refused_with_the_days_that_are_there(catalog, picture, words, tmp_path):
    with pytest.raises(CatalogError, match=words) as error:
        draw(catalog, picture, tmp_path / "x.png")
    assert f"days with values there{'' if picture.period[:4] == '2001' else ' within '}" in str(error.value)
    assert THERE in str(error.value)
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("tiles", [TILES, TILES[:1], TILES[1:]])
@pytest.mark.parametrize("name", GRIDS)
def test_a_map_across_the_antimeridian_has_both_sides(tmp_path, name, tiles):
    """PROJ says which pixel of which tile each cell of the map lies in."""
    found = product(tmp_path, name, tiles)
    picture = Picture(str(FIRST), bbox=BOX)
    field, _ = pictures._field(found, picture, picture.period)
    assert (field.x.values[0], field.x.values[-1]) == (pytest.approx(170.005), pytest.approx(189.995))
    assert np.diff(field.x.values) == pytest.approx(0.01)
    some = field[7::80, 7::50]
    true = [[true_value(name, lon, lat, tiles) for lon in some.x.values] for lat in some.y.values]
    np.testing.assert_array_equal(some.values, np.float32(true))
    assert np.isfinite(true).sum() > 100
    assert draw(found, picture, tmp_path / "x.png").stat().st_size


def test_a_box_across_the_antimeridian_without_a_product_is_refused(tmp_path):
    found = product(tmp_path, "degrees", ("h05v05",))
    with pytest.raises(CatalogError, match="no product found"):
        draw(found, Picture(str(FIRST), bbox=BOX), tmp_path / "x.png")


@pytest.mark.parametrize(("bbox", "widths"), [
    ((179.5, 0, -179.5, 1), (50, 50)), ((180, 0, -179, 1), (100,)), ((179, 0, -180, 1), (100,)),
])  # fmt: skip
def test_the_cells_of_two_sides_meet_at_the_antimeridian(bbox, widths):
    cells = pictures._cells_in_degrees(bbox)
    assert tuple(one.shape[1] for one in cells) == widths
    for one in cells:
        west, _, east, _ = one.boundingbox.bbox
        assert -180 <= west < east <= 180 + 1e-9


def test_where_no_day_has_values_the_plan_is_named(catalog, tmp_path):
    for picture in (Picture("2018-07-01", bbox=(100, -40, 101, -39)), Picture("2018-07-01")):
        with pytest.raises(CatalogError, match="no day has values there; `stac-sm plan` says what can be made"):
            draw(catalog, picture, tmp_path / "x.png")


def test_a_mask_that_leaves_nothing_is_named(catalog, tmp_path):
    clipped = lonlat(20, 22)
    with pytest.raises(CatalogError, match="without flags clipped: leave out --mask"):
        draw(catalog, Picture("2018-07", point=clipped, mask=("clipped",)), tmp_path / "x.png")
    assert draw(catalog, Picture("2018-07", point=clipped), tmp_path / "x.png").stat().st_size
    assert date(2018, 7, 1) == FIRST
