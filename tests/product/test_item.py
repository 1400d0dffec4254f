"""The product: its names, its picture, its files."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import date

import numpy as np
import pytest
import rasterio
from fastapi import FastAPI
from fastapi.testclient import TestClient
from rio_cogeo.cogeo import cog_validate
from rio_tiler.io import Reader
from titiler.core.factory import TilerFactory

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.variables import QualityFlag
from stac_sm.product.item import (
    OUTPUT_PROFILE,
    OUTPUT_PROFILE_NUMBER,
    PRODUCT_COLLECTION,
    ProductDay,
    describe_output_change,
    links_to_inputs,
    product_item,
    write_product_assets,
)
from stac_sm.stac.links import skeleton_folder
from tests.support.fields import SMALL, TILE, image
from tests.support.missing import need

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
    assert sorted(assets) == ["qa", "sm", "thumbnail", "visual"]
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


def test_links_and_profile():
    links = links_to_inputs([("../x.json", "x", "application/geo+json")])
    assert links == [{"rel": "derived_from", "href": "../x.json", "type": "application/geo+json", "title": "x"}]
    assert OUTPUT_PROFILE["sm"]["step"] == 2.0**-13


def test_a_former_output_profile_is_named():
    """`c61d82fc` stands in the items of every version before the second profile."""
    assert describe_output_change("c61d82fc") == f"output profile 1, now {OUTPUT_PROFILE_NUMBER}"
    assert describe_output_change("00000000") == "output"


@pytest.mark.parametrize("asset", ["sm", "qa", "uncertainty", "visual"])
def test_files_name_themselves(tmp_path, asset):
    """Without its item, GDAL and titiler show what a file holds: no "b1", no unknown CRS."""
    sm, qa = fields()
    half = np.float32(0.1) + 0 * sm
    made = ProductDay(TILE, date(2018, 7, 1), "001", "")
    file = write_product_assets(sm, qa, SMALL.geobox(TILE), tmp_path, made=made, uncertainty=half)[asset].file
    assert cog_validate(file, strict=True) == (True, [], [])
    with rasterio.open(file) as opened:
        tags, band = opened.tags(), opened.tags(1)
        names, units, name = opened.descriptions, opened.units, opened.crs.to_wkt().split('"')[1]
        assert opened.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        colours = [one.name for one in opened.colorinterp]
    assert (tags["PRODUCT"], tags["VERSION"], tags["TILE"], tags["AREA_OR_POINT"]) == ("SM1KM", "001", TILE, "Area")
    assert (tags["TIME_START"], tags["TIME_END"]) == ("2018-07-01T00:00:00Z", "2018-07-01T23:59:59Z")
    assert tags["ITEM"] == made.id
    assert f"{TILE}, 2018-07-01" in tags["TIFFTAG_IMAGEDESCRIPTION"]
    assert name == ("WGS 84" if asset == "visual" else "MODIS Sinusoidal")
    if asset == "visual":
        assert names == ("red", "green", "blue", "alpha")
        assert colours == list(names)
        return
    assert names[0] == {"sm": "Soil moisture (m3 m-3)", "uncertainty": "Uncertainty of soil moisture (m3 m-3)"}.get(
        asset, "Quality flags"
    )
    assert units == ((None,) if asset == "qa" else ("m3 m-3",))
    assert {"long_name", "valid_min", "valid_max"} <= band.keys()
    with Reader(str(file)) as reader:
        assert reader.info().band_descriptions == [("b1", names[0])]


def test_titiler_and_gdal_show_what_a_file_holds_with_its_unit(tmp_path):
    """Programs of others, as they are: the answers of titiler's own routes, and what gdalinfo prints."""
    need("gdalinfo", None if shutil.which("gdalinfo") else "it is not installed")
    made = ProductDay(TILE, date(2018, 7, 1), "001", "")
    file = write_product_assets(*fields(), SMALL.geobox(TILE), tmp_path, made=made)["sm"].file
    app = FastAPI()
    app.include_router(TilerFactory().router)
    titiler = TestClient(app)
    answers = {path: titiler.get(f"/{path}", params={"url": str(file)}).json() for path in ("info", "statistics")}
    assert answers["info"]["band_descriptions"] == [["b1", "Soil moisture (m3 m-3)"]]
    assert answers["info"]["band_metadata"][0][1]["long_name"].startswith("Volumetric surface soil moisture")
    assert answers["statistics"]["b1"]["description"] == "Soil moisture (m3 m-3)"
    printed = subprocess.run(["gdalinfo", file], capture_output=True, text=True, check=True).stdout
    for words in (
        "Description = Soil moisture (m3 m-3)",
        "Unit Type: m3 m-3",
        "AREA_OR_POINT=Area",
        'PROJCRS["MODIS Si',
    ):
        assert words in printed
