"""Raster series of one's own: GeoTIFF and CF NetCDF become valid items whose values other readers find unchanged."""

from __future__ import annotations

import json
import re

import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
import stackstac
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from rio_cogeo import cog_validate

from stac_sm.core.errors import InputError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.ingest.pipeline import ingest
from stac_sm.ingest.providers import raster
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.visibility import collection_visibility
from stac_sm.workflows.audit import audit
from tests.support.fields import box
from tests.support.source_files import asset_href, content, ingested, new_catalog, write_cf, write_geotiff

SINUSOIDAL = MODIS_SINUSOIDAL_1KM.geobox("h18v04")[0:40, 0:60]
UTM = box("EPSG:32632", 600_000, 5_300_000, 1000, (30, 50))
DEGREES = GeoBox((30, 50), Affine(0.01, 0, 5, 0, -0.01, 45), "EPSG:4326")
SM = {"source": "raster", "variable": "sm", "unit": "m3 m-3", "datetime": "%Y%j"}


def field(geobox, seed=0):
    values = np.random.default_rng(seed).uniform(0.05, 0.5, tuple(geobox.shape)).astype(np.float32)
    values[:3, :7] = -9999
    return values


def run(folder, *paths, id="my-sm", replace=False, **settings):
    catalog = open_catalog(folder) if (folder / "catalog.json").exists() else new_catalog(folder)
    return catalog, ingest(catalog, id, paths, settings=SM | settings, replace=replace)


def only(catalog, id="my-sm"):
    (item,) = ingested(catalog, id)
    return item


def stored(item, key="sm"):
    with rasterio.open(asset_href(item, key)) as file:
        return file.read(1, masked=True).filled(np.nan)


@pytest.mark.parametrize("geobox", [SINUSOIDAL, UTM, DEGREES], ids=["sinusoidal", "utm", "degrees"])
def test_a_geotiff_of_any_projection_becomes_an_item_that_others_read(tmp_path, validate, geobox):
    values = field(geobox)
    file = write_geotiff(tmp_path / "sm_2018182.tif", values, geobox)
    catalog, (result,) = run(tmp_path / "c", file)
    assert (result.error, result.items, result.collections) == (None, {"new": 1}, ("my-sm",))
    item = only(catalog)
    validate(item)
    assert (item.properties["start_datetime"], item.properties["end_datetime"]) == (
        "2018-07-01T00:00:00Z",
        "2018-07-01T23:59:59Z",
    )
    assert cog_validate(asset_href(item, "sm"), quiet=True)[0]
    expected = np.where(values == -9999, np.nan, values)
    np.testing.assert_array_equal(stored(item), expected)
    read = odc.stac.load([item], bands=["sm"], geobox=geobox).sm.squeeze().values  # on its own pixels
    np.testing.assert_array_equal(np.where(read == -9999, np.nan, read), expected)
    with rasterio.open(asset_href(item, "sm")) as one:
        assert (one.transform, one.crs.to_dict() != {}, one.nodata) == (geobox.affine, True, -9999)


def test_stackstac_reads_it(tmp_path):
    values = field(UTM)
    catalog, _ = run(tmp_path / "c", write_geotiff(tmp_path / "sm_2018182.tif", values, UTM))
    bounds = tuple(UTM.boundingbox)
    cube = stackstac.stack(
        [only(catalog).make_asset_hrefs_absolute()],
        assets=["sm"],
        epsg=32632,
        resolution=1000,
        bounds=bounds,
        rescale=False,
    )
    read = cube.squeeze().compute(scheduler="synchronous").values
    np.testing.assert_array_equal(read, np.where(values == -9999, np.nan, values))


def test_the_collection_is_valid_linked_and_restricted_unless_its_licence_is_open(tmp_path, validate):
    file = write_geotiff(tmp_path / "sm_2018182.tif", field(UTM), UTM)
    catalog, _ = run(tmp_path / "c", file, title="Soil moisture of mine")
    document = open_catalog(tmp_path / "c").collection("my-sm")
    validate(document)
    assert (document["title"], collection_visibility(document)) == ("Soil moisture of mine", "restricted")
    assert document["extent"]["temporal"]["interval"] == [["2018-07-01T00:00:00Z", "2018-07-01T23:59:59Z"]]
    children = pystac.Catalog.from_file(str(tmp_path / "c" / "catalog.json")).get_child("my-sm")
    assert [one.id for one in children.get_items(recursive=True)] == [only(catalog).id]
    assert audit(open_catalog(tmp_path / "c")) == []
    run(tmp_path / "d", file, license="CC-BY-4.0")
    assert collection_visibility(open_catalog(tmp_path / "d").collection("my-sm")) == "public"


def test_again_changes_nothing_and_strips_give_the_same_bytes(tmp_path, monkeypatch):
    file = write_geotiff(tmp_path / "sm_2018182.tif", field(SINUSOIDAL.zoom_out(0.04)), SINUSOIDAL.zoom_out(0.04))
    run(tmp_path / "c", file)
    first = content(tmp_path / "c")
    _, (again,) = run(tmp_path / "c", tmp_path / "c" / ".." / "sm_2018182.tif")
    assert (again.status, content(tmp_path / "c")) == ("done", first)
    monkeypatch.setattr(raster, "_STRIP", 1)  # 512 rows at a time, of 1000
    run(tmp_path / "d", file)
    assert content(tmp_path / "d") == first


def test_rows_from_south_to_north_are_turned(tmp_path):
    values = field(UTM)
    up = GeoBox(UTM.shape, Affine(1000, 0, 600_000, 0, 1000, 5_270_000), UTM.crs)
    catalog, _ = run(tmp_path / "c", write_geotiff(tmp_path / "sm_2018182.tif", values[::-1], up))
    np.testing.assert_array_equal(stored(only(catalog)), np.where(values == -9999, np.nan, values))
    assert only(catalog).properties["proj:transform"] == [1000, 0, 600_000, 0, -1000, 5_300_000]


def test_percent_is_converted_by_a_scale_and_codes_become_nodata(tmp_path):
    values = np.round(field(UTM) * 100).astype(np.int16)
    values[values < 0], values[10, :5], values[11, :5] = 255, 254, 200
    file = write_geotiff(tmp_path / "sm_2018182.tif", values, UTM, nodata=255)
    catalog, (result,) = run(tmp_path / "c", file, scale=0.01, nodata=[254, 200])
    assert result.error is None
    expected = np.where(values >= 200, np.nan, (values * 0.01).astype(np.float32))
    np.testing.assert_array_equal(stored(only(catalog)), expected)


def test_the_scale_of_the_file_counts_first_and_is_not_applied_twice(tmp_path):
    values = np.full(tuple(UTM.shape), 2500, np.int16)
    file = write_geotiff(tmp_path / "sm_2018182.tif", values, UTM, nodata=0, scale=0.0001)
    catalog, _ = run(tmp_path / "c", file)
    assert stored(only(catalog)) == pytest.approx(0.25)
    _, (twice,) = run(tmp_path / "d", file, scale=0.0001)
    assert "states the scale 0.0001 itself" in twice.error


@pytest.mark.parametrize("crs", ["EPSG:6933", "+proj=sinu +R=6371007.181 +units=m", ""])
@pytest.mark.parametrize("south_up", [False, True])
def test_a_netcdf_series_becomes_an_item_a_day(tmp_path, validate, crs, south_up):
    times = ["2018-07-01", "2018-07-02", "2018-07-03"]
    values = np.random.default_rng(2).uniform(0.05, 0.45, (3, 20, 30)).astype(np.float32)
    values[0, :2], values[1] = np.nan, np.nan
    path = write_cf(tmp_path / "series.nc", crs=crs, times=times, values=values, south_up=south_up, scale=0.001)
    catalog, (result,) = run(tmp_path / "c", path, datetime="")
    assert result.error is None
    assert result.items == {"new": 2}
    assert result.notes == ("left out 2018-07-02: no pixel has a value",)
    items = ingested(catalog, "my-sm")
    assert [one.datetime.day for one in items] == [1, 3]
    for item, expected in zip(items, values[[0, 2]], strict=True):
        validate(item)
        np.testing.assert_allclose(stored(item), expected, atol=0.00051)
    with xr.open_dataset(path) as data:  # what xarray unpacks is what is stored
        unpacked = data.sm.isel(time=0).sortby("y", ascending=False).values
    np.testing.assert_array_equal(stored(items[0]), unpacked.astype(np.float32))


def test_a_netcdf_field_without_time_takes_the_period_that_is_given(tmp_path):
    path = write_cf(tmp_path / "clay.nc", name="clay", units="%", values=np.full((1, 20, 30), 25, np.float32))
    with xr.open_dataset(path) as data:
        data.isel(time=0, drop=True).to_netcdf(tmp_path / "static.nc")
    settings = {"variable": "clay", "unit": "%", "datetime": "", "period": "static"}
    catalog, (result,) = run(tmp_path / "c", tmp_path / "static.nc", **settings)
    assert result.error is None
    assert only(catalog).properties["start_datetime"] == "1900-01-01T00:00:00Z"


def test_names_and_times_that_contradict_each_other_are_refused(tmp_path):
    path = write_cf(tmp_path / "sm_2018183.nc", times=["2018-07-01"])
    _, (result,) = run(tmp_path / "c", path)
    assert "its name says 2018-07-02, its time 2018-07-01" in result.error


def test_two_files_of_one_day_make_two_items_or_none(tmp_path):
    """Other places are other items; the same pixels with other values are refused, until --replace."""
    one = write_geotiff(tmp_path / "a_2018182.tif", field(UTM, 1), UTM)
    beside = write_geotiff(tmp_path / "b_2018182.tif", field(UTM, 2), UTM.translate_pix(50, 0))
    rival = write_geotiff(tmp_path / "c_2018182.tif", field(UTM, 3), UTM)
    catalog, results = run(tmp_path / "c", one, beside)
    assert [result.items for result in results] == [{"new": 1}, {"new": 1}]
    assert len(ingested(catalog, "my-sm")) == 2
    _, (refused,) = run(tmp_path / "c", rival)
    assert "they differ in sm, and nothing states which is newer" in refused.error
    _, (replaced,) = run(tmp_path / "c", rival, replace=True)
    assert replaced.items == {"replaced": 1}
    _, both = run(tmp_path / "d", one, rival)
    assert all("leave one of them out" in result.error for result in both)


def test_our_own_assets_below_a_folder_are_no_files_of_the_series(tmp_path):
    write_geotiff(tmp_path / "sm_2018182.tif", field(UTM), UTM)
    run(tmp_path / "c", tmp_path)
    _, results = run(tmp_path / "c", tmp_path)
    assert [result.file for result in results] == [str(tmp_path / "sm_2018182.tif")]


def bad(tmp_path, name="sm_2018182.tif", values=None, geobox=UTM, settings=None, **how):
    file = write_geotiff(tmp_path / name, field(geobox) if values is None else values, geobox, **how)
    _, (result,) = run(tmp_path / "c", file, **(settings or {}))
    return result.error


TURNED = GeoBox((30, 50), Affine(1000, 100, 600_000, 0, -1000, 5_300_000), UTM.crs)
EAST = GeoBox((30, 50), Affine(7.2, 0, 0, 0, -6, 90), "EPSG:4326")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"crs": False}, "no CRS found.*--crs"),
        ({"bands": 3}, "3 bands found, one expected: name one by --band"),
        ({"settings": {"band": 2}}, "1 bands found, band 2 expected"),
        ({"name": "sm.tif"}, "no date like '%Y%j' found"),
        ({"settings": {"datetime": ""}}, "its date is not known.*--datetime.*--period"),
        ({"values": 30 * np.ones(tuple(UTM.shape), np.float32)}, "from 30 to 30 found, 0 to 1 m3 m-3.*--scale 0.01"),
        ({"nodata": None}, "from -9999 to .*name codes for no data by --nodata"),
        ({"values": np.full(tuple(UTM.shape), -9999, np.float32)}, "no pixel with a value found"),
        ({"geobox": TURNED}, "rows along x and columns along y expected"),
        ({"geobox": EAST}, "longitudes from 0 to 360 found"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_to_do(tmp_path, how, says):
    assert re.search(says, bad(tmp_path, **how))


def test_a_crs_and_a_band_that_are_given_help(tmp_path):
    assert bad(tmp_path, crs=False, bands=3, settings={"crs": "EPSG:32632", "band": 2}) is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"unit": "%"}, r"sm in '%' found, m3 m-3 required: percent by volume is converted by --scale 0.01"),
        ({"unit": ""}, "a unit is required"),
        ({"variable": "s m"}, "letters, digits and _"),
        ({"period": "2018"}, "both datetime and period"),
        ({"scale": 0.0}, "scale not 0"),
        ({"days": 40}, "0 to 31 days"),
        ({"datetime": "%Y", "days": 8}, "without a day"),
        ({"datetime": "", "period": "2018-13"}, "2018-13"),
        ({"crs": "EPSG:0"}, "no CRS"),
        ({"id": "no good"}, "cannot be part of a path"),
        ({"colour": 1}, "colour"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, settings, says):
    with pytest.raises(InputError, match=says):
        run(tmp_path / "c", tmp_path / "x.tif", **settings)


def test_a_collection_with_items_keeps_its_unit(tmp_path):
    file = write_geotiff(tmp_path / "sm_2018182.tif", field(UTM), UTM)
    run(tmp_path / "c", file, variable="wet")
    with pytest.raises(InputError, match=r"wet in m3 m-3.*found; kg m-2 by year/month required"):
        run(tmp_path / "c", file, variable="wet", unit="kg m-2")
    with pytest.raises(InputError, match=r"other assets \(wet\), sm required"):
        run(tmp_path / "c", file)
    assert json.loads((tmp_path / "c" / "my-sm" / "collection.json").read_text())["item_assets"].keys() == {"wet"}
