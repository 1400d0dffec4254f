"""The pictures of a tile-day: on a map in degrees, and as a thumbnail with date and legend."""

from __future__ import annotations

import io
from datetime import date

import numpy as np
import pytest
import rasterio
from PIL import Image

from stac_sm.core.colours import soil_moisture_picture
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import Period
from stac_sm.core.projections import transformer_to_lonlat
from stac_sm.product.product_id import ProductId
from stac_sm.product.quicklook import SIDE, cells_in_degrees, encode_png, quicklook_assets, thinned_picture
from tests.support.fields import SMALL, TILE, image

DAY = ProductId(Period.of_day(date(2018, 7, 1)), TILE, "001")


@pytest.fixture(scope="module")
def sm():
    found = image(SMALL.geobox(TILE), 0.05, 0.45)
    found[3:9, 4:11] = np.nan
    return found


def read(file):
    with rasterio.open(file) as opened:
        return np.moveaxis(opened.read(), 0, 2), opened.transform


def test_visual_has_the_colour_of_each_pixel_at_its_place(sm, tmp_path):
    geobox = SMALL.geobox(TILE)
    asset = quicklook_assets(sm, geobox, tmp_path, DAY)["visual"]
    picture, transform = read(asset.file)
    expected = soil_moisture_picture(sm)
    for row, column in ((5, 6), (20, 30), (35, 7), (0, 0), (39, 49)):
        lon, lat = transformer_to_lonlat(SMALL.crs).transform(*(geobox.affine @ (column + 0.5, row + 0.5)))
        x, y = (int(place) for place in ~transform * (lon, lat))
        near = expected[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].reshape(-1, 4)
        assert picture[y, x].tolist() in near.tolist()
    assert (picture[..., 3] == 0).any()
    assert asset.fields["roles"] == ["visual", "overview"]
    assert asset.fields["proj:code"] == "EPSG:4326"
    assert asset.fields["proj:shape"] == list(picture.shape[:2])


@pytest.mark.parametrize("tile", ["h18v04", "h10v05", "h17v08", "h14v00", "h03v06"])
def test_visual_holds_the_whole_tile_in_few_pixels(tile):
    """At the pole and at the edge of the Earth, too."""
    cells = cells_in_degrees(MODIS_SINUSOIDAL_1KM.geobox(tile))
    assert max(cells.shape) <= SIDE
    west, south, east, north = MODIS_SINUSOIDAL_1KM.footprint(tile).bounds
    left, bottom, right, top = cells.boundingbox
    assert left <= west + 1e-6
    assert right >= east - 1e-6
    assert bottom <= south + 1e-6
    assert top >= north - 1e-6


def test_the_thumbnail_is_a_png_with_clear_gaps(sm, tmp_path):
    content = quicklook_assets(sm, SMALL.geobox(TILE), tmp_path, DAY)["thumbnail"].file.read_bytes()
    picture = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(picture, soil_moisture_picture(sm))
    np.testing.assert_array_equal(picture[..., 3] == 0, np.isnan(sm))
    assert content == encode_png(thinned_picture(sm))


def test_a_large_thumbnail_is_thinned_and_has_days_and_legend(tmp_path):
    sm = np.full((1200, 1200), 0.25, np.float32)
    geobox = MODIS_SINUSOIDAL_1KM.geobox("h18v04")
    pictures = []
    for span in (Period.parse("2018-07-01"), Period.parse("2018-07-02"), Period.parse("2018")):
        file = quicklook_assets(sm, geobox, tmp_path, ProductId(span, "h18v04", "001"))["thumbnail"].file
        pictures.append(np.asarray(Image.open(io.BytesIO(file.read_bytes()))))
    assert pictures[0].shape == (240 + 24, 240, 4)
    day, legend = pictures[0][240:252], pictures[0][252:]
    assert (day[..., 0] < 100).sum() > 50  # dark letters
    assert not np.array_equal(pictures[0], pictures[1])
    assert np.array_equal(pictures[0][252:], pictures[2][252:])
    assert len(np.unique(legend.reshape(-1, 4), axis=0)) > 90  # the ramp


def test_a_field_without_a_value_has_clear_pictures(tmp_path):
    assets = quicklook_assets(np.full((40, 50), np.nan, np.float32), SMALL.geobox(TILE), tmp_path, None)
    assert (read(assets["visual"].file)[0][..., 3] == 0).all()
