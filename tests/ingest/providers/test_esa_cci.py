"""ESA CCI: only what no flag speaks against, on the right pixels, on the right day."""

from __future__ import annotations

import netCDF4
import numpy as np
import pytest
import rasterio

from stac_sm.core.errors import GranuleError
from stac_sm.ingest.pipeline import ingest
from stac_sm.ingest.providers.esa_cci import EsaCci
from tests.support.source_files import asset_href, content, ingested, new_catalog, positions, write_cci


def wanted(sm, flag):
    return np.where(flag == 0, sm, np.float32(-9999))


def test_a_global_day(tmp_path):
    path, sm, flag = write_cci(tmp_path)
    catalog = new_catalog(tmp_path / "catalog")
    assert [result.status for result in ingest(catalog, "esa-cci-sm", [tmp_path])] == ["new"]
    (item,) = ingested(catalog, "esa-cci-sm")
    assert item.id == "CCISM.A2018152.global"
    assert item.bbox == [-180, -90, 180, 90]
    assert item.properties["datetime"] == "2018-06-01T12:00:00Z"
    with rasterio.open(asset_href(item, "cci_sm")) as cog:
        values = cog.read(1)
        assert np.array_equal(values, wanted(sm, flag))
        assert (cog.nodata, cog.dtypes, cog.bounds[:]) == (-9999, ("float32",), (-180, -90, 180, 90))
        with netCDF4.Dataset(path) as raw:
            rows, columns = positions(values.shape)
            x, y = rasterio.transform.xy(cog.transform, rows, columns)
            raw_rows = np.searchsorted(-raw["lat"][:], -np.array(y) - 1e-6)
            raw_columns = np.searchsorted(raw["lon"][:], np.array(x) - 1e-6)
            plain = np.ma.where(raw["flag"][0] == 0, raw["sm"][0], np.ma.masked).filled(-9999)
            assert np.array_equal(values[rows, columns], plain[raw_rows, raw_columns])


@pytest.mark.parametrize("south_up", [False, True])
def test_a_cut_out_in_any_order(tmp_path, south_up):
    lat = np.arange(46.875, 42, -0.25)[:: -1 if south_up else 1]
    path, sm, flag = write_cci(tmp_path, lat=lat, lon=np.arange(3.125, 9, 0.25))
    (granule,) = EsaCci().scan(path).granules
    values = granule.layers["cci_sm"].values()
    assert granule.item["id"] == "CCISM.A2018152.e3.00n47.00-24x20"
    ordered = wanted(sm, flag)[:: -1 if south_up else 1]
    assert np.array_equal(np.nan_to_num(values, nan=-9999), ordered)
    assert granule.layers["cci_sm"].geobox.boundingbox.bbox == (3, 42, 9, 47)


def test_the_day_of_the_name_and_of_the_file_must_agree(tmp_path):
    path, *_ = write_cci(tmp_path, time="2018-06-02")
    with pytest.raises(GranuleError, match="found the days 2018-06-02 inside, expected 2018-06-01"):
        EsaCci().scan(path)


def test_other_files_are_named(tmp_path):
    path, *_ = write_cci(tmp_path, lat=np.arange(3.0), lon=np.arange(3.0))
    with netCDF4.Dataset(path, "a") as file:
        file.renameVariable("flag", "flags")
    with pytest.raises(GranuleError, match=r"found the variables .*flags.*, expected sm and flag"):
        EsaCci().scan(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(GranuleError, match="300 bytes found that are no readable NetCDF"):
        EsaCci().scan(path)


def spoiled(folder, change):
    """A day on a cut-out with one thing wrong."""
    path, *_ = write_cci(folder, lat=np.arange(46.875, 44, -0.25), lon=np.arange(3.125, 9, 0.25))
    with netCDF4.Dataset(path, "a") as file:
        change(file)
    return path


SPOILS = {
    "unit": (lambda f: setattr(f["sm"], "units", "percent"), "sm in 'percent' found, 'm3 m-3' expected"),
    "values": (lambda f: f["sm"].__setitem__(np.s_[:], 30.0), "sm from 30 to 30 found, 0 to 1 m3 m-3 expected"),
    "latitude": (lambda f: f["lat"].__setitem__(np.s_[:], f["lat"][:] + 60), "-90 to 90 degrees expected"),
    "irregular": (lambda f: f["lon"].__setitem__(3, 3.9), "longitude is not regular"),
    "time": (lambda f: f["time"].delncattr("units"), "time has the units '', CF time expected"),
    "no time": (lambda f: f.renameVariable("time", "t"), "found the variables"),
}


@pytest.mark.parametrize("kind", SPOILS)
def test_a_bad_file_is_named_and_leaves_no_trace(tmp_path, kind):
    change, message = SPOILS[kind]
    path = spoiled(tmp_path, change)
    catalog = new_catalog(tmp_path / "catalog")
    before = content(tmp_path / "catalog")
    (result,) = ingest(catalog, "esa-cci-sm", [path])
    assert str(path) in str(result.error)
    assert message in result.error
    assert content(tmp_path / "catalog") == before


@pytest.mark.parametrize("change", ["sm", "flag"])
def test_a_day_without_any_value_is_left_out_and_said(tmp_path, change):
    path = spoiled(tmp_path, lambda f: f[change].__setitem__(np.s_[:], -9999.0 if change == "sm" else 1))
    catalog = new_catalog(tmp_path / "catalog")
    before = content(tmp_path / "catalog")
    (result,) = ingest(catalog, "esa-cci-sm", [path])
    assert (result.error, result.items) == (None, {})
    assert result.notes == ("left out 2018-06-01: no pixel has a value without a flag",)
    assert content(tmp_path / "catalog") == before


def test_of_two_versions_of_a_day_the_newest_is_taken(tmp_path, validate):
    cut = {"lat": np.arange(46.875, 44, -0.25), "lon": np.arange(3.125, 9, 0.25)}
    old, *_ = write_cci(tmp_path, name="ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-20180601000000-fv07.1.nc", **cut)
    older, *_ = write_cci(tmp_path, name="ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-20180601000000-fv06.2.nc", **cut)
    new, sm, flag = write_cci(tmp_path, **cut)
    with netCDF4.Dataset(new, "a") as file:
        file["sm"][0] = sm = np.where(sm > -1, sm / 2, sm)
    catalog = new_catalog(tmp_path / "catalog")
    for paths in ([older], [tmp_path], [old], [new, older]):
        assert not any(result.error for result in ingest(catalog, "esa-cci-sm", paths))
    (item,) = ingested(catalog, "esa-cci-sm")
    validate(item)
    assert item.properties["version"] == "8.1"
    with rasterio.open(asset_href(item, "cci_sm")) as cog:
        assert np.array_equal(cog.read(1), wanted(sm, flag))


def test_the_error_of_the_provider_stands_beside_the_value(tmp_path, validate):
    path, sm, flag = write_cci(tmp_path, lat=np.arange(46.875, 44, -0.25), lon=np.arange(3.125, 9, 0.25))
    error = np.where(flag == 127, -9999, 0.01 + sm / 10).astype(np.float32)
    with netCDF4.Dataset(path, "a") as file:
        file.createVariable("sm_uncertainty", "f4", ("time", "lat", "lon"), fill_value=-9999.0)[0] = error
    catalog = new_catalog(tmp_path / "catalog")
    ingest(catalog, "esa-cci-sm", [path])
    (item,) = ingested(catalog, "esa-cci-sm")
    validate(item)
    with rasterio.open(asset_href(item, "cci_sm_uncertainty")) as cog:
        assert np.array_equal(cog.read(1), wanted(error, flag))


def with_error_of(folder, change, dimensions=("time", "lat", "lon")):
    """A day with ``sm_uncertainty``, in which something is wrong."""
    path, sm, flag = write_cci(folder, lat=np.arange(46.875, 44, -0.25), lon=np.arange(3.125, 9, 0.25))
    with netCDF4.Dataset(path, "a") as file:
        variable = file.createVariable("sm_uncertainty", "f4", dimensions, fill_value=-9999.0)
        variable[:] = 0.05
        change(variable)
    return path, sm, flag


BAD_ERRORS = {
    "unit": (lambda v: setattr(v, "units", "percent"), "sm_uncertainty in 'percent' found, 'm3 m-3' expected"),
    "values": (lambda v: v.__setitem__(np.s_[:], 40.0), "sm_uncertainty from 40 to 40 found, 0 to 1 m3 m-3 expected"),
    "infinite": (lambda v: v.__setitem__(np.s_[:], np.inf), "sm_uncertainty from inf to inf found"),
    "scale": (lambda v: setattr(v, "scale_factor", "ten"), "sm_uncertainty has scale_factor ten, a number expected"),
    "offset": (lambda v: setattr(v, "add_offset", np.nan), "sm_uncertainty has add_offset nan, a number expected"),
    "axes": (lambda v: None, "sm_uncertainty has the dimensions ('lat', 'lon'), expected those of sm"),
}


@pytest.mark.filterwarnings("ignore:invalid scale_factor")  # the library says so and returns stored numbers
@pytest.mark.parametrize("kind", BAD_ERRORS)
def test_a_bad_error_of_the_provider_costs_no_soil_moisture(tmp_path, validate, kind):
    change, message = BAD_ERRORS[kind]
    path, sm, flag = with_error_of(tmp_path, change, ("lat", "lon") if kind == "axes" else ("time", "lat", "lon"))
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "esa-cci-sm", [path])
    (item,) = ingested(catalog, "esa-cci-sm")
    validate(item)
    assert list(item.assets) == ["cci_sm"]
    with rasterio.open(asset_href(item, "cci_sm")) as cog:
        assert np.array_equal(cog.read(1), wanted(sm, flag))
    ((name, why),) = item.properties["stac_sm:left_out"].items()
    assert name == "cci_sm_uncertainty"
    assert message in why
    assert str(tmp_path) not in why
    assert result.left_out == {item.id: {name: why}}
    assert result.items == {"new": 1}
    assert f"1 asset(s) left out, all others were ingested: {item.id} without its asset {name}: {why}" in result.error


def test_the_file_fetched_again_brings_what_was_left_out(tmp_path):
    path, *_ = with_error_of(tmp_path, BAD_ERRORS["unit"][0])
    catalog = new_catalog(tmp_path / "catalog")
    assert ingest(catalog, "esa-cci-sm", [path])[0].error
    with netCDF4.Dataset(path, "a") as file:
        file["sm_uncertainty"].units = "m3 m-3"
    (result,) = ingest(catalog, "esa-cci-sm", [path])
    assert (result.error, result.items) == (None, {"replaced": 1})
    (item,) = ingested(catalog, "esa-cci-sm")
    assert sorted(item.assets) == ["cci_sm", "cci_sm_uncertainty"]
    assert "stac_sm:left_out" not in item.properties
    assert ingest(catalog, "esa-cci-sm", [path])[0].items == {"done": 1}
