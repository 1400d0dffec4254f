"""The product: its names, its picture, its files."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pytest
import rasterio

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.variables import QualityFlag
from stac_sm.product.item import (
    OUTPUT_PROFILE,
    PRODUCT_COLLECTION,
    ProductDay,
    colours,
    encode_png,
    links_to_inputs,
    product_item,
    write_product_assets,
)
from stac_sm.stac.links import skeleton_folder
from tests.support.fields import SMALL, TILE, image

MADE = ProductDay("h18v04", date(2018, 7, 1), "001", "ab" * 32)


def fields():
    sm = image(SMALL.geobox(TILE), 0.05, 0.45)
    sm[3:9, 4:11] = np.nan
    qa = np.where(np.isnan(sm), np.uint8(QualityFlag.FROZEN), np.uint8(0))
    qa[20, 20] = QualityFlag.CLIPPED
    return sm, qa


def test_an_item_of_one_utc_day():
    item = product_item(MADE, MODIS_SINUSOIDAL_1KM, model_id="m", recipe_checksum="r", properties={"title": "t"})
    assert item["id"] == "SM1KM.A2018182.h18v04.v001"
    properties = item["properties"]
    assert (properties["start_datetime"], properties["datetime"], properties["end_datetime"]) == (
        "2018-07-01T00:00:00Z", "2018-07-01T12:00:00Z", "2018-07-01T23:59:59Z"
    )  # fmt: skip
    assert properties["grid:code"] == "MSIN-1804"
    assert properties["proj:code"] is None
    assert properties["proj:wkt2"].startswith("PROJCRS")
    assert (properties["version"], properties["stac_sm:model"], properties["stac_sm:recipe"]) == ("001", "m", "r")
    assert properties["stac_sm:fingerprint"] == MADE.fingerprint
    assert properties["title"] == "t"


def test_files_hold_rounded_values_and_flags(tmp_path):
    sm, qa = fields()
    assets = write_product_assets(sm, qa, SMALL.geobox(TILE), tmp_path)
    assert sorted(assets) == ["qa", "sm", "thumbnail"]
    with rasterio.open(assets["sm"].file) as file:
        assert (file.dtypes[0], file.nodata, file.compression.name) == ("float32", -9999, "deflate")
        np.testing.assert_array_equal(file.read(1, masked=True).filled(np.nan), np.round(sm * 2**13) / 2**13)
        assert file.transform == SMALL.geobox(TILE).affine
    with rasterio.open(assets["qa"].file) as file:
        assert (file.dtypes[0], file.nodata) == ("uint8", None)
        np.testing.assert_array_equal(file.read(1), qa)
    assert assets["sm"].fields["bands"][0]["nodata"] == -9999
    flags = {one["name"]: 1 << one["offset"] for one in assets["qa"].fields["classification:bitfields"]}
    assert flags == {flag.name.lower(): flag.value for flag in QualityFlag if flag != QualityFlag.RESERVED_64}
    collection = json.loads((skeleton_folder() / PRODUCT_COLLECTION / "collection.json").read_text())
    described = collection["item_assets"]["qa"]["classification:bitfields"]
    assert described == assets["qa"].fields["classification:bitfields"]


def test_an_interrupted_writer_left_the_same_values_or_others(tmp_path):
    sm, qa = fields()
    for name, values in (("one", sm), ("two", sm + 0.1)):
        (tmp_path / name).mkdir()
        assets = write_product_assets(values, qa, SMALL.geobox(TILE), tmp_path / name)
    assert assets["sm"].same(str(tmp_path / "two" / "sm.tif"))
    assert not assets["sm"].same(str(tmp_path / "one" / "sm.tif"))
    assert not assets["sm"].same(str(tmp_path / "none.tif"))


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")  # a picture has no place
def test_the_picture_is_a_png_with_clear_gaps(tmp_path):
    sm, qa = fields()
    file = write_product_assets(sm, qa, SMALL.geobox(TILE), tmp_path)["thumbnail"].file
    with rasterio.open(file) as picture:
        assert picture.driver == "PNG"
        bands = picture.read()
    assert bands.shape == (4, 40, 50)
    np.testing.assert_array_equal(bands[3] == 0, np.isnan(sm))
    np.testing.assert_array_equal(np.moveaxis(bands, 0, 2), colours(sm))
    dry, wet = bands[:3, 0, 0].astype(int), bands[:3, 39, 49].astype(int)
    assert dry[0] > dry[2]  # brown
    assert wet[2] > wet[0]  # blue
    assert encode_png(colours(sm)) == file.read_bytes()


def test_a_large_picture_is_thinned_to_256_pixels():
    picture = colours(np.full((1200, 700), 0.3, np.float32))
    assert picture.shape[:2] == (240, 140)
    assert colours(np.full((3, 2), np.nan, np.float32)).max(initial=0) <= 255


def test_links_and_profile():
    links = links_to_inputs([("../x.json", "x", "application/geo+json")])
    assert links == [{"rel": "derived_from", "href": "../x.json", "type": "application/geo+json", "title": "x"}]
    assert OUTPUT_PROFILE["sm"]["step"] == 2.0**-13
