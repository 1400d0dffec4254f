"""ESA CCI: only what no flag speaks against, on the right pixels, on the right day."""

from __future__ import annotations

import shutil
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import rasterio

from stac_sm.core.errors import GranuleError
from stac_sm.ingest.pipeline import ingest
from stac_sm.ingest.providers.esa_cci import EsaCci
from stac_sm.stac.catalogs.catalog import open_writable_catalog
from stac_sm.stac.items import item_json
from tests.support.source_files import asset_href, content, ingested, new_catalog, positions, write_cci

CUT = {"lat": np.arange(46.875, 44, -0.25), "lon": np.arange(3.125, 9, 0.25)}
REAL = Path(__file__).parents[4] / "shared" / "data" / "esa_cci_passive"
PASSIVE = "ESACCI-SOILMOISTURE-L3S-SSMV-PASSIVE-20161227000000-fv04.2.nc"


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


# --- series and products ------------------------------------------------------------------------------------------


def attributed(path, **attributes):
    with netCDF4.Dataset(path, "a") as file:
        file.setncatts(attributes)
    return path


def a_c3s_day(folder, product="COMBINED", record="TCDR", version="v202012.0.0", every="DAILY", **attributes):
    """A day as C3S lays it out: variables as those of ESA CCI, other names and attributes."""
    unit = "S" if product == "ACTIVE" else "V"
    name = f"C3S-SOILMOISTURE-L3S-SSM{unit}-{product}-{every}-20180601000000-{record}-{version}.nc"
    path, sm, flag = write_cci(folder, name=name, **CUT)
    given = {
        "title": f"C3S Surface Soil Moisture merged {product} Product", "id": name, "product_version": version,
        "project": "Copernicus Climate Change Service (C3S).",
    }  # fmt: skip
    return attributed(path, **(given | attributes)), sm, flag


@pytest.mark.skipif(not REAL.is_dir(), reason="real files are not there")
@pytest.mark.parametrize("name", [PASSIVE, PASSIVE.replace("PASSIVE", "COMBINED"), "20161227.nc"])
def test_a_real_passive_day_is_passive_under_any_name(tmp_path, validate, name):
    path = shutil.copy(REAL / PASSIVE, tmp_path / name)
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "esa-cci-sm", [path])
    assert (result.status, result.collections, bool(result.notes)) == ("new", ("esa-cci-sm-passive",), "COMB" in name)
    assert ingested(catalog, "esa-cci-sm") == []
    (item,) = ingested(catalog, "esa-cci-sm-passive")
    validate(item)
    validate(catalog.document("esa-cci-sm-passive/collection.json"))
    assert (item.id, item.properties["version"]) == ("CCIPASSIVE.A2016362.global", "4.2")
    assert sorted(item.assets) == ["cci_sm", "cci_sm_uncertainty"]
    with netCDF4.Dataset(path) as raw, rasterio.open(asset_href(item, "cci_sm")) as cog:
        assert np.array_equal(cog.read(1), np.ma.where(raw["flag"][0] == 0, raw["sm"][0], -9999).filled(-9999))


@pytest.mark.parametrize(("product", "home"), [("COMBINED", "c3s-sm"), ("PASSIVE", "c3s-sm-passive")])
def test_c3s_has_collections_of_its_own(tmp_path, validate, product, home):
    path, sm, flag = a_c3s_day(tmp_path, product)
    path = path.rename(tmp_path / "download.nc")
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "esa-cci-sm", [path])
    assert (result.error, result.notes, result.collections) == (None, (), (home,))
    (item,) = ingested(catalog, home)
    validate(item)
    validate(catalog.document(f"{home}/collection.json"))
    assert (item.properties["version"], item.properties["stac_sm:rank"]["final"]) == ("202012.0.0", True)
    with rasterio.open(asset_href(item, "c3s_sm")) as cog:
        assert np.array_equal(cog.read(1), wanted(sm, flag))


def test_final_data_of_c3s_take_the_place_of_preliminary_ones(tmp_path):
    early, *_ = a_c3s_day(tmp_path, record="ICDR")
    late, sm, flag = a_c3s_day(tmp_path)
    with netCDF4.Dataset(late, "a") as file:
        file["sm"][0] = sm = np.where(sm > -1, sm / 2, sm)
    catalog = new_catalog(tmp_path / "catalog")
    assert [ingest(catalog, "esa-cci-sm", [path])[0].status for path in (early, late, early)] == [
        "new", "replaced", "done"
    ]  # fmt: skip
    with rasterio.open(asset_href(ingested(catalog, "c3s-sm")[0], "c3s_sm")) as cog:
        assert np.array_equal(cog.read(1), wanted(sm, flag))


def test_what_is_no_daily_soil_moisture_in_m3_is_refused_with_the_reason(tmp_path):
    active = "ESACCI-SOILMOISTURE-L3S-SSMS-ACTIVE-20180601000000-fv08.1.nc"
    adjusted = "ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED_ADJUSTED-20180601000000-fv08.1.nc"
    files = {
        write_cci(tmp_path, name=active, **CUT)[0]: "found ACTIVE, which is in percent of saturation",
        a_c3s_day(tmp_path, "ACTIVE")[0]: "found ACTIVE, which is in percent of saturation",
        a_c3s_day(tmp_path, every="MONTHLY")[0]: "found monthly means, expected daily images",
        write_cci(tmp_path, name=adjusted, **CUT)[0]: "found the product COMBINED_ADJUSTED, expected daily images",
    }
    catalog = new_catalog(tmp_path / "catalog")
    results = ingest(catalog, "esa-cci-sm", [tmp_path])
    assert {result.file: result.items for result in results} == {str(path): {} for path in files}
    for result in results:
        assert files[Path(result.file)] in result.error
    with pytest.raises(GranuleError, match="found neither series and product in its title, id and name"):
        EsaCci().scan(write_cci(tmp_path, name="day.nc", **CUT)[0])


def test_a_catalogue_older_than_a_collection_gets_it(tmp_path, validate):
    path, *_ = a_c3s_day(tmp_path)
    catalog = new_catalog(tmp_path / "catalog")
    shutil.rmtree(tmp_path / "catalog" / "c3s-sm")
    root = tmp_path / "catalog" / "catalog.json"
    document = catalog.document("catalog.json")
    document["links"] = [link for link in document["links"] if "c3s-sm/" not in link["href"]]
    root.write_bytes(item_json(document))
    (result,) = ingest(open_writable_catalog(catalog.root), "esa-cci-sm", [path])
    assert (result.error, result.status) == (None, "new")
    (item,) = ingested(open_writable_catalog(catalog.root), "c3s-sm")
    validate(item)
