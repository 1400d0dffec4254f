"""ERA5-Land: UTC daily means as a plain reading gives them, in the layouts of the Climate Data Store."""

from __future__ import annotations

import functools
import gc
import http.server
import itertools
import json
import tarfile
import tempfile
import threading
import warnings
import zipfile

import jsonschema
import netCDF4
import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.core.errors import GranuleError, InputError
from stac_sm.ingest.formats.grib import check_messages
from stac_sm.ingest.formats.netcdf import ClassicHeader
from stac_sm.ingest.pipeline import ingest
from stac_sm.ingest.providers.era5_land import Era5Land
from stac_sm.ingest.sorting import sort_files
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.links import skeleton_folder
from stac_sm.storage.http.documents import FileUrl
from tests.support import rival_files as rivals
from tests.support.examples import examples
from tests.support.source_files import DATA, ERA5_LAND, asset_href, content, ingested, new_catalog, positions, real_data

GRIB = DATA / "era5" / "ERA5_AN_20100101_0000.grb"


def write_hours(path, hours, *, time="valid_time", values=None, expver=None, lon=None, units="hours since 1900-01-01"):
    """Hourly swvl1 (time, lat, lon) on a few cells; hours since 2018-01-01."""
    lat, lon = np.array([46.1, 46.0, 45.9]), np.array([10.9, 11.0]) if lon is None else lon
    shift = int((np.datetime64("2018-01-01", "h") - np.datetime64("1900-01-01", "h")).astype(int))
    dims = (time, *(["expver"] if expver is not None else []), "latitude", "longitude")
    with netCDF4.Dataset(path, "w") as file:
        for name, axis in ((time, np.array(hours) + shift), ("latitude", lat), ("longitude", lon)):
            file.createDimension(name, len(axis))
            file.createVariable(name, "f8", (name,))[:] = axis
        file[time].units = units
        if expver is not None:
            file.createDimension("expver", len(expver))
            file.createVariable("expver", "i4", ("expver",))[:] = expver
        variable = file.createVariable("swvl1", "f4", dims, fill_value=np.nan)
        variable[:] = values
    return path


def means(path, **settings):
    """Daily means by the day in the item's id."""
    found = Era5Land(**settings).scan(path)
    return {g.item["id"].split(".")[1]: g.layers["swvl1"].values() for g in found.granules}, found.notes


@real_data
def test_a_real_file_gives_the_means_of_a_plain_reading(tmp_path):
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "era5-land", [ERA5_LAND])
    items = ingested(catalog, "era5-land")
    assert result.items == {"new": 7}
    assert [item.id[:14] for item in items] == [f"ERA5L.A2020{day}" for day in range(153, 160)]
    with netCDF4.Dataset(ERA5_LAND) as raw:
        stamps = netCDF4.num2date(raw["valid_time"][:], raw["valid_time"].units)
        days = np.array([stamp.timetuple().tm_yday for stamp in stamps])
        for item, day in zip(items, range(153, 160), strict=True):
            hours = np.ma.filled(raw["swvl1"][days == day].astype(np.float64), np.nan)
            assert len(hours) == item.properties["stac_sm:hours"] == 24
            wanted = np.maximum(hours.mean(0), 0).astype(np.float32)
            with rasterio.open(asset_href(item, "swvl1")) as cog:
                rows, columns = positions(wanted.shape)
                x, y = rasterio.transform.xy(cog.transform, rows, columns)
                raw_rows = np.abs(raw["latitude"][:][:, np.newaxis] - y).argmin(0)
                raw_columns = np.abs(raw["longitude"][:][:, np.newaxis] - x).argmin(0)
                found = cog.read(1, masked=True).filled(np.nan)[rows, columns]
                np.testing.assert_allclose(found, wanted[raw_rows, raw_columns], rtol=1e-6)


@real_data
def test_real_global_file_from_0_to_360_degrees_lands_on_both_hemispheres(tmp_path):
    path = DATA / "era5" / "ERA5_AN_20100101_0000.nc"
    found, _ = means(path, min_hours=1)
    (values,) = found.values()
    (granule,) = Era5Land(min_hours=1).scan(path).granules
    geobox = granule.layers["swvl1"].geobox
    with netCDF4.Dataset(path) as raw:
        plain = np.ma.filled(raw["swvl1"][:].squeeze().astype(np.float64), np.nan)
        for lon, lat in [(-100.0, 40.0), (100.0, 30.0), (25.0, -15.0)]:
            column, row = (int(v) for v in ~geobox.affine * (lon, lat))
            i, j = np.abs(raw["latitude"][:] - lat).argmin(), np.abs(raw["longitude"][:] - lon % 360).argmin()
            assert values[row, column] == pytest.approx(max(plain[i, j], 0), rel=1e-6)
    assert np.nanmin(values) == 0  # packing leaves negative values in this file


def test_a_day_with_a_missing_hour_is_left_out_and_counted(tmp_path):
    path = write_hours(tmp_path / "a.nc", range(47), values=np.full((47, 3, 2), 0.25))
    found, notes = means(path)
    assert list(found) == ["A2018001"]
    assert notes == ("1 days left out: fewer than 24 hours",)
    assert list(means(path, min_hours=23)[0]) == ["A2018001", "A2018002"]
    with pytest.raises(GranuleError, match=r"at most 24 hours a day found, 25 required.*min_hours = 24"):
        means(path, min_hours=25)


def test_a_gap_in_one_hour_is_a_gap_in_the_mean(tmp_path):
    values = np.random.default_rng(1).uniform(0.1, 0.4, (24, 3, 2))
    values[7, 1, 0] = np.nan
    found, _ = means(write_hours(tmp_path / "a.nc", range(24), values=values))
    wanted = values.astype(np.float32).astype(np.float64).mean(0)
    np.testing.assert_allclose(found["A2018001"], wanted, rtol=1e-6)
    assert np.isnan(found["A2018001"]).sum() == 1


def test_the_old_layout_with_final_and_preliminary_data(tmp_path):
    values = np.full((24, 2, 3, 2), np.nan)
    values[:12, 0], values[12:, 1] = 0.2, 0.4
    path = write_hours(tmp_path / "a.nc", range(24), time="time", values=values, expver=[1, 5])
    np.testing.assert_allclose(means(path)[0]["A2018001"], 0.3, rtol=1e-6)


@pytest.mark.parametrize("order", [[1, 5], [5, 1]])
def test_final_data_go_before_preliminary_ones(tmp_path, order):
    values = np.full((24, 2, 3, 2), 0.4)
    values[:, order.index(1)] = 0.2
    path = write_hours(tmp_path / "a.nc", range(24), time="time", values=values, expver=order)
    np.testing.assert_allclose(means(path)[0]["A2018001"], 0.2, rtol=1e-6)


def test_an_hour_that_occurs_twice_counts_once_and_must_be_the_same(tmp_path):
    hours = [*range(24), 23]
    values = np.broadcast_to(np.array(hours, float)[:, None, None] / 100, (25, 3, 2)).copy()
    path = write_hours(tmp_path / "a.nc", hours, values=values)
    np.testing.assert_allclose(means(path)[0]["A2018001"], np.arange(24).mean() / 100, rtol=1e-6)
    values[24] = 0.95
    write_hours(path, hours, values=values)
    (result,) = ingest(new_catalog(tmp_path / "catalog"), "era5-land", [path])
    assert "a.nc has different values of swvl1 at 2018-01-01T23:00:00" in result.error


@pytest.mark.parametrize(("lon", "message"), [([10.0, 10.3, 11.0], "not regular"), ([10.0], "at least 2")])
def test_a_grid_that_is_none_is_named(tmp_path, lon, message):
    path = write_hours(tmp_path / "a.nc", range(24), values=np.zeros((24, 3, len(lon))), lon=lon)
    with pytest.raises(GranuleError, match=message):
        means(path)


def test_other_files_are_named(tmp_path):
    path = tmp_path / "a.nc"
    path.write_text("<html>404</html>")
    with pytest.raises(GranuleError, match="16 bytes found that are no readable NetCDF"):
        means(path)
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("x", 1)
        file.createVariable("t2m", "f4", ("x",))
    with pytest.raises(GranuleError, match=r"found \['t2m'\], expected the variable swvl1"):
        means(path)


# --- layouts of NetCDF -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def week():
    """The real file as plain arrays."""
    with netCDF4.Dataset(ERA5_LAND) as raw:
        return {
            "hours": raw["valid_time"][:].astype(np.int64) // 3600,
            "latitude": raw["latitude"][:].filled(),
            "longitude": raw["longitude"][:].filled(),
            "swvl1": np.ma.filled(raw["swvl1"][:], np.nan),
        }


def write_old(path, week, *, expver=False, form="NETCDF3_64BIT_OFFSET"):
    """As the store made it until 2024: classic, hours since 1900, packed, final and preliminary data side by side."""
    step, offset = 2e-5, 0.3
    packed = np.where(np.isnan(week["swvl1"]), -32767, np.round((week["swvl1"] - offset) / step)).astype(np.int16)
    with netCDF4.Dataset(path, "w", format=form) as file:
        file.createDimension("time", None)
        for name in ("latitude", "longitude"):
            file.createDimension(name, week[name].size)
            file.createVariable(name, "f4", (name,))[:] = week[name]
        file.createVariable("time", "i4", ("time",))[:] = week["hours"] + 613608
        file["time"].units = "hours since 1900-01-01 00:00:00.0"
        file["time"].calendar = "gregorian"
        dims = ("time", *(("expver",) if expver else ()), "latitude", "longitude")
        if expver:
            file.createDimension("expver", 2)
            file.createVariable("expver", "i4", ("expver",))[:] = [1, 5]
            both = np.full((len(packed), 2, *packed.shape[1:]), -32767, np.int16)
            both[:50, 0], both[50:, 1] = packed[:50], packed[50:]
            packed = both
        variable = file.createVariable("swvl1", "i2", dims, fill_value=-32767)
        variable.set_auto_maskandscale(False)
        variable.scale_factor, variable.add_offset, variable.units = step, offset, "m**3 m**-3"
        variable.missing_value = np.int16(-32767)
        variable[:] = packed
    return path


def write_new(path, week, *, number="scalar", south_up=False, chunks=(11, 20, 30)):
    """As the store makes it now: valid_time, number and expver beside it."""
    flip = slice(None, None, -1 if south_up else 1)
    with netCDF4.Dataset(path, "w") as file:
        for name, axis in (("valid_time", week["hours"] * 3600), ("latitude", week["latitude"][flip])):
            file.createDimension(name, axis.size)
            file.createVariable(name, axis.dtype, (name,))[:] = axis
        file.createDimension("longitude", week["longitude"].size)
        file.createVariable("longitude", "f8", ("longitude",))[:] = week["longitude"]
        file["valid_time"].units = "seconds since 1970-01-01"
        file.createVariable("expver", str, ("valid_time",))[:] = np.array(["0001"] * week["hours"].size, object)
        dims = ("valid_time", "latitude", "longitude")
        values = week["swvl1"][:, flip]
        if number == "dimension":
            file.createDimension("number", 1)
            dims, values, chunks = ("number", *dims), values[np.newaxis], (1, *chunks)
        else:
            file.createVariable("number", "i8", ())[:] = 0
        file.createVariable("swvl1", "f4", dims, fill_value=np.nan, zlib=True, chunksizes=chunks)[:] = values
        file["swvl1"].units = "m**3 m**-3"
    return path


LAYOUTS = {
    "old": write_old,
    "old, CDF-1": functools.partial(write_old, form="NETCDF3_CLASSIC"),
    "old, CDF-5": functools.partial(write_old, form="NETCDF3_64BIT_DATA"),
    "old, final and preliminary": functools.partial(write_old, expver=True),
    "new": write_new,
    "new, number as dimension": functools.partial(write_new, number="dimension"),
    "new, south up": functools.partial(write_new, south_up=True),
}


@real_data
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_the_store_gives_the_same_week(tmp_path, week, layout):
    found, notes = means(LAYOUTS[layout](tmp_path / "a.nc", week))
    wanted, _ = means(ERA5_LAND)
    assert (list(found), notes) == (list(wanted), ())
    for day, values in wanted.items():
        np.testing.assert_allclose(found[day], values, atol=1e-5 if "old" in layout else 0)


@real_data
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_cut_off_anywhere_is_named_and_leaves_no_trace(tmp_path, week, layout):
    whole = LAYOUTS[layout](tmp_path / "a.nc", week).read_bytes()
    catalog = new_catalog(tmp_path / "catalog")
    before = content(tmp_path / "catalog")
    for end in (0, 3, 200, len(whole) // 3, len(whole) - 4):
        (tmp_path / "a.nc").write_bytes(whole[:end])
        (result,) = ingest(catalog, "era5-land", [tmp_path / "a.nc"])
        assert f"{tmp_path / 'a.nc'}: {end} bytes" in str(result.error)
    assert content(tmp_path / "catalog") == before


@pytest.mark.parametrize("form", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"])
@pytest.mark.parametrize("variables", [1, 2])
@pytest.mark.parametrize("records", [0, 5])
def test_the_size_of_a_classic_file_follows_from_its_header(tmp_path, form, variables, records):
    path = tmp_path / "a.nc"
    with netCDF4.Dataset(path, "w", format=form) as file:
        file.createDimension("t", None)
        file.createDimension("x", 7)
        file.title = "odd"
        file.createVariable("fixed", "f8", ("x",))[:] = 1
        for index in range(variables):
            variable = file.createVariable(f"v{index}", "i2", ("t", "x"))
            variable.valid = np.array([1, 2, 3], np.int16)
            variable[:records] = 2
    with path.open("rb") as file:
        file.seek(3)
        assert 0 <= path.stat().st_size - ClassicHeader(file).size < 4  # padding at the end may be missing


def test_snow_and_temperature_stand_beside_soil_water(tmp_path, validate):
    path = write_hours(tmp_path / "a.nc", range(24), values=np.full((24, 3, 2), 0.25))
    with netCDF4.Dataset(path, "a") as file:
        for name, unit, value in (("stl1", "K", 280.0), ("sd", "m of water equivalent", -1e-9)):
            file.createVariable(name, "f4", ("valid_time", "latitude", "longitude"))[:] = value
            file[name].units = unit
    catalog = new_catalog(tmp_path / "catalog")
    assert ingest(catalog, "era5-land", [path])[0].items == {"new": 1}
    (item,) = ingested(catalog, "era5-land")
    validate(item)
    values = {key: rasterio.open(asset_href(item, key)).read(1) for key in item.assets}
    assert {key: (v.min(), v.max()) for key, v in values.items()} == {
        "swvl1": (0.25, 0.25), "stl1": (280, 280), "sd": (0, 0),
    }  # fmt: skip
    assert item.assets["sd"].extra_fields["bands"][0]["unit"] == "m"


def global_hours(path, values):
    """A day on the grid of the whole Earth: centres on whole degrees, longitudes from 0 to 359."""
    with netCDF4.Dataset(path, "w") as file:
        axes = {"valid_time": np.arange(24.0), "latitude": np.arange(90.0, -91, -1), "longitude": np.arange(360.0)}
        for name, axis in axes.items():
            file.createDimension(name, axis.size)
            file.createVariable(name, "f8", (name,))[:] = axis
        file["valid_time"].units = "hours since 2018-01-01"
        file.createVariable("swvl1", "f4", tuple(axes), zlib=True)[:] = values
    return path


def test_a_global_day_reads_right_at_greenwich_and_at_the_antimeridian(tmp_path, validate):
    lat, lon = np.meshgrid(np.arange(90.0, -91, -1), np.arange(360.0), indexing="ij")
    plain = (0.3 + 0.2 * np.cos(np.radians(lon - 33)) * np.cos(np.radians(lat))).astype(np.float32)
    catalog = new_catalog(tmp_path / "catalog")
    ingest(catalog, "era5-land", [global_hours(tmp_path / "a.nc", plain)])
    (item,) = ingested(catalog, "era5-land")
    validate(item)
    assert item.bbox == [-180, -90, 180, 90]
    assert item.id == "ERA5L.A2018001.global"
    with rasterio.open(asset_href(item, "swvl1")) as cog:
        for x in (-180, -179.8, -179.2, -90, -0.7, -0.3, 0, 0.3, 0.7, 90, 179.2, 179.8, 180):
            for y in (90, 45.2, 0, -60.4, -90):
                (found,) = next(cog.sample([(x, y)]))
                assert found == pytest.approx(plain[round(90 - y), round(x) % 360], rel=1e-6), (x, y)


# --- GRIB --------------------------------------------------------------------------------------------------------


def write_grib(
    path,
    edition=1,
    packing=None,
    *,
    hours=range(24),
    names=("swvl1", "stl1", "sd"),
    lon0=358.0,
    south_up=0,
    version=None,
):
    """Hourly messages by ecCodes on 20 x 30 cells across Greenwich; returns path and values by name and hour."""
    import eccodes as ec

    shape, step, made = (20, 30), 0.1, {}
    parameter = {"swvl1": 39, "stl1": 139, "sd": 141, "swvl2": 40}
    with path.open("wb") as file:
        for hour in hours:
            for name in names:
                seed = hour + (1000 if version == "0005" else 0)
                values = np.random.default_rng(seed).uniform(0, 0.5, shape) + (280 if name == "stl1" else 0)
                message = ec.codes_grib_new_from_samples(f"regular_ll_sfc_grib{edition}")
                keys = {
                    "centre": "ecmf", "Ni": shape[1], "Nj": shape[0], "jScansPositively": south_up,
                    "latitudeOfFirstGridPointInDegrees": 44.1 if south_up else 46.0,
                    "latitudeOfLastGridPointInDegrees": 46.0 if south_up else 44.1,
                    "longitudeOfFirstGridPointInDegrees": lon0,
                    "longitudeOfLastGridPointInDegrees": (lon0 + step * (shape[1] - 1)) % 360,
                    "iDirectionIncrementInDegrees": step, "jDirectionIncrementInDegrees": step,
                    "dataDate": 20180101 + hour // 24, "dataTime": hour % 24 * 100, "paramId": parameter[name],
                    "bitmapPresent": 1, "missingValue": 9999.0, "bitsPerValue": 16,
                }  # fmt: skip
                if version:
                    keys |= {"setLocalDefinition": 1, "localDefinitionNumber": 1, "expver": version}
                for key, value in keys.items():
                    ec.codes_set(message, key, value)
                stored = values[:: -1 if south_up else 1].copy()
                stored.ravel()[5:9] = 9999
                ec.codes_set_values(message, stored.ravel())
                if packing:
                    ec.codes_set(message, "packingType", packing)
                decoded = ec.codes_get_values(message).reshape(shape)
                made[name, hour] = np.where(decoded == 9999, np.nan, decoded)[:: -1 if south_up else 1]
                ec.codes_write(message, file)
                ec.codes_release(message)
    return path, made


@pytest.mark.parametrize(
    ("edition", "packing", "south_up"),
    [(1, None, 0), (1, None, 1), (2, "grid_simple", 0), (2, "grid_complex", 0), (2, "grid_ccsds", 0), (2, None, 1)],
)
def test_grib_gives_what_eccodes_decodes(tmp_path, edition, packing, south_up):
    path, made = write_grib(tmp_path / "a.grib", edition, packing, hours=range(25), south_up=south_up)
    found = Era5Land().scan(path)
    (granule,) = found.granules
    assert found.notes == ("1 days left out: fewer than 24 hours",)
    assert granule.item["id"] == "ERA5L.A2018001.w2.05n46.05-30x20"
    for name in ("swvl1", "stl1", "sd"):
        wanted = np.mean([made[name, hour] for hour in range(24)], axis=0)
        np.testing.assert_allclose(granule.layers[name].values(), wanted, rtol=1e-6)
        assert np.isnan(wanted).sum() == 4


@real_data
def test_a_real_grib_file_is_what_eccodes_decodes_and_near_its_netcdf_twin(tmp_path):
    import eccodes as ec

    (found,), (twin,) = (means(path, min_hours=1)[0].values() for path in (GRIB, GRIB.with_suffix(".nc")))
    with GRIB.open("rb") as file:
        message = ec.codes_grib_new_from_file(file)
        assert ec.codes_get(message, "shortName") == "swvl1"
        plain = ec.codes_get_values(message).reshape(721, 1440)
        ec.codes_release(message)
    wanted = np.maximum(np.roll(plain, 720, axis=1), 0).astype(np.float32)  # from 0..360 to -180..180
    assert np.array_equal(found[:, :-1], wanted)
    assert np.array_equal(found[:, -1], wanted[:, 0])  # the antimeridian is there at both ends
    assert plain.min() < -0.005
    np.testing.assert_allclose(found, twin, atol=2.5e-5)  # the twin is packed anew, in steps of this size


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_grib_file_cut_off_is_named(tmp_path, share):
    path, _ = write_grib(tmp_path / "a.grib", hours=range(2))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(GranuleError, match=r"a\.grib: \d+ bytes that are not a complete GRIB file"):
        means(path, min_hours=1)


@pytest.mark.parametrize("edition", [1, 2])
def test_a_damaged_message_in_the_middle_is_named(tmp_path, edition):
    path, _ = write_grib(tmp_path / "a.grib", edition, hours=range(3))
    one = path.stat().st_size // 9
    whole = path.read_bytes()
    path.write_bytes(whole[: 4 * one] + whole[4 * one + 100 :])
    with pytest.raises(GranuleError, match="does not end with 7777|GRIB of edition 1 or 2 expected"):
        means(path, min_hours=1)


def test_a_packing_that_gdal_decodes_to_wrong_numbers_is_refused(tmp_path):
    path, _ = write_grib(tmp_path / "a.grib", 1, "grid_second_order", hours=range(1))
    with pytest.raises(GranuleError, match="second-order packing found"):
        means(path, min_hours=1)


def test_messages_of_more_than_8_and_16_mb_are_measured(tmp_path):
    import eccodes as ec

    path = tmp_path / "a.grib"
    for rows in (1000, 1900, 1901, 1907):  # from 16 MB in units of 120 bytes
        message = ec.codes_grib_new_from_samples("regular_ll_sfc_grib1")
        ec.codes_set(message, "Ni", 4601)
        ec.codes_set(message, "Nj", rows)
        ec.codes_set(message, "bitsPerValue", 16)
        ec.codes_set_values(message, np.linspace(0, 1, 4601 * rows))
        path.write_bytes(ec.codes_get_message(message) * 2)
        ec.codes_release(message)
        assert path.stat().st_size > 18_000_000
        check_messages(path)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(GranuleError, match="not a complete GRIB file"):
            check_messages(path)


def test_grib_of_other_fields_or_uneven_hours_is_named(tmp_path):
    path, _ = write_grib(tmp_path / "a.grib", names=("swvl2",), hours=range(1))
    with pytest.raises(GranuleError, match="1 fields of SWVL2 found, swvl1 expected"):
        means(path)
    full, short = (
        write_grib(tmp_path / f"{n}.grib", names=(n,), hours=h)[0] for n, h in (("swvl1", range(3)), ("sd", range(2)))
    )
    path.write_bytes(full.read_bytes() + short.read_bytes())
    with pytest.raises(GranuleError, match="for the same hours or not at all"):
        means(path, min_hours=1)


# --- Zarr --------------------------------------------------------------------------------------------------------


def write_zarr(path, *, version=2, days=4, daily=False, time="valid_time", consolidated=True, chunk=36):
    """A global store of 1 degree, hourly or daily, as the Earth Data Hub lays it out; returns path and dataset."""
    hours = np.datetime64("2018-01-01", "ns") + np.arange(days * (1 if daily else 24)) * np.timedelta64(
        24 if daily else 1, "h"
    )
    lat, lon = np.arange(90.0, -91, -1), np.arange(360.0)
    rng = np.random.default_rng(2)
    shape = (hours.size, lat.size, lon.size)
    fields = {
        n: rng.uniform(0, 0.5, shape).astype(np.float32) + np.float32(280 * (n == "stl1"))
        for n in ("swvl1", "stl1", "sd")
    }
    data = xr.Dataset(
        {name: ((time, "latitude", "longitude"), values) for name, values in fields.items()} | {"t2m": 5.0},
        {time: hours, "latitude": lat, "longitude": lon},
    )
    data["stl1"].attrs["units"] = "K"
    data["swvl1"].values[:, 40, 10] = np.nan
    chunks = (min(chunk, hours.size), 60, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about consolidated metadata of version 3
        data.to_zarr(
            path,
            mode="w",
            zarr_format=version,
            consolidated=consolidated,
            encoding={n: {"chunks": chunks} for n in fields} | {time: {"chunks": (1,)}},
        )
    return path, data


def wanted_mean(data, name, day, rows, columns):
    hours = data.sel({next(iter(data.sizes)): day})[name].values.astype(np.float64)
    return (hours.mean(0) if hours.ndim == 3 else hours)[np.ix_(rows, columns)]


@pytest.fixture
def server(tmp_path):
    """A folder on the web; answers with an error where ``broken`` says so."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        broken: tuple[str, ...] = ()

        def do_GET(self):
            if any(part in self.path for part in self.broken):
                self.send_error(503)
            else:
                super().do_GET()

        def log_message(self, *_):
            pass

    folder = tmp_path / "web"
    folder.mkdir()
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=web.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{web.server_port}", Handler
    web.shutdown()
    thread.join()
    web.server_close()


ALPS = {"period": "2018-01-02/2018-01-03", "bbox": [-3.0, 44.0, 12.0, 47.0]}


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("time", ["valid_time", "time"])
def test_a_store_here_and_on_the_web_gives_the_same_items(tmp_path, server, version, time):
    folder, address, _ = server
    store, data = write_zarr(folder / "era5-land-v0.zarr", version=version, time=time)
    results, items = {}, {}
    for where in (store, f"{address}/{store.name}"):
        catalog = new_catalog(tmp_path / f"catalog{len(results)}")
        (results[where],) = ingest(catalog, "era5-land", [where], settings=ALPS)
        items[where] = ingested(catalog, "era5-land")
    assert [(r.error, r.items) for r in results.values()] == [(None, {"new": 2})] * 2
    assert {item.properties["stac_sm:source"] for found in items.values() for item in found} == {store.name}
    for found in items.values():
        assert [item.id for item in found] == [f"ERA5L.A201800{n}.w3.50n47.50-16x4" for n in (2, 3)]
        for item, day in zip(found, ("2018-01-02", "2018-01-03"), strict=True):
            for name in ("swvl1", "stl1", "sd"):
                with rasterio.open(asset_href(item, name)) as cog:
                    wanted = wanted_mean(data, name, day, range(43, 47), [*range(357, 360), *range(13)])
                    np.testing.assert_allclose(cog.read(1, masked=True).filled(np.nan), wanted, rtol=1e-6)
                    assert cog.bounds == (-3.5, 43.5, 12.5, 47.5)


def test_a_store_that_grows_leaves_the_days_that_are_there_alone(tmp_path, server):
    folder, address, _ = server
    catalog, statuses = new_catalog(tmp_path / "catalog"), []
    for days, period in ((3, "2018-01-01/2018-01-02"), (5, "2018-01-01/2018-01-03")):
        store, _ = write_zarr(folder / "a.zarr", days=days, chunk=24)
        (result,) = ingest(
            open_catalog(catalog.root), "era5-land", [f"{address}/a.zarr"], settings=ALPS | {"period": period}
        )
        statuses.append(result.items)
    assert statuses == [{"new": 2}, {"done": 2, "new": 1}]


def test_a_store_of_daily_means(tmp_path):
    store, data = write_zarr(tmp_path / "a.zarr", daily=True)
    (first, *_) = Era5Land(min_hours=1, bbox=(100, -10, 110, 0)).scan(store).granules
    assert first.item["properties"]["stac_sm:hours"] == 1
    wanted = wanted_mean(data, "swvl1", "2018-01-01", range(90, 101), range(100, 111))
    np.testing.assert_allclose(first.layers["swvl1"].values(), wanted, rtol=1e-6)


def test_a_folder_with_a_store_in_it_is_found(tmp_path):
    write_zarr(tmp_path / "data" / "a.zarr", daily=True, days=1)
    (result,) = ingest(new_catalog(tmp_path / "c"), "era5-land", [tmp_path / "data"], settings={"min_hours": 1})
    assert (result.error, result.items) == (None, {"new": 1})
    assert result.file == str(tmp_path / "data" / "a.zarr")


@pytest.mark.parametrize("where", ["swvl1/1", "swvl1/c/1", ".zmetadata"])
def test_a_read_that_fails_is_never_nodata(tmp_path, server, where):
    folder, address, handler = server
    write_zarr(folder / "a.zarr", version=3 if "/c/" in where else 2)
    handler.broken = (where,)
    catalog = new_catalog(tmp_path / "catalog")
    before = content(tmp_path / "catalog")
    (result,) = ingest(catalog, "era5-land", [f"{address}/a.zarr"], settings=ALPS)
    assert "503" in result.error
    assert f"{address}/a.zarr" in result.error
    assert content(tmp_path / "catalog") == before


def test_what_is_no_store_or_too_much_is_named(tmp_path, server):
    _, address, _ = server
    with pytest.raises(GranuleError, match=r"none\.zarr"):
        Era5Land().scan_url(FileUrl(f"{address}/none.zarr"))
    with pytest.raises(GranuleError, match=r"no \.zmetadata and no zarr\.json found"):
        Era5Land().url_checksum(FileUrl(f"{address}/none.zarr"))
    empty = tmp_path / "empty.zarr"
    empty.mkdir()
    with pytest.raises(GranuleError, match="no readable Zarr store"):
        Era5Land().scan(empty)
    store, _ = write_zarr(tmp_path / "a.zarr")
    with pytest.raises(GranuleError, match="0 times x 181 rows x 360 columns found in 2018-01-01/2018-01-04"):
        Era5Land(period="2019").scan(store)
    with pytest.raises(InputError, match="west, south, east, north in degrees expected"):
        Era5Land(bbox=(10, 0, 5, 3)).scan(store)
    blosc = next(file for file in (store / "swvl1").iterdir() if file.name.startswith("0"))
    blosc.write_bytes(blosc.read_bytes()[:200])
    with pytest.raises(GranuleError, match="a.zarr"):
        [layer.values() for granule in Era5Land().scan(store).granules for layer in granule.layers.values()]


# --- bad files ---------------------------------------------------------------------------------------------------


def spoiled(path, kind):
    """A file of a whole day with one thing wrong."""
    import h5py

    values = {"values": np.full((24, 3, 2), 0.25)}
    if kind == "all fill":
        values = {"values": np.nan}
    if kind == "percent":
        values = {"values": 25.0}
    write_hours(path, range(24), **values)
    with netCDF4.Dataset(path, "a") as file:
        if kind == "degrees Celsius, said":
            file["swvl1"].units = "degC"
        if kind == "degrees Celsius, not said":
            file.createVariable("stl1", "f4", ("valid_time", "latitude", "longitude"))[:] = 12.0
        if kind == "no time units":
            file["valid_time"].delncattr("units")
        if kind == "gap in time":
            file["valid_time"][3] = np.nan
        if kind == "latitude of 95":
            file["latitude"][:] = [95.0, 94.9, 94.8]
        if kind == "longitude of metres":
            file["longitude"][:] = [500000.0, 501000.0]
        if kind == "coordinates with gaps":
            file["latitude"][1] = np.nan
        if kind == "members":
            file.createDimension("number", 2)
            file.createVariable("stl1", "f4", ("number", "valid_time", "latitude", "longitude"))
        if kind == "no time axis":
            file.renameVariable("valid_time", "step")
            file.renameDimension("valid_time", "step")
        if kind == "no latitude":
            file.renameDimension("latitude", "y")
    if kind == "absurd size":
        with h5py.File(path, "w") as file:
            for name, size in (("valid_time", 1), ("latitude", 1 << 20), ("longitude", 1 << 20)):
                file.create_dataset(name, (size,), "f4", chunks=True, fillvalue=1.0).make_scale(name)
            data = file.create_dataset("swvl1", (1, 1 << 20, 1 << 20), "f4", chunks=(1, 64, 64))
            file["valid_time"].attrs["units"] = "hours since 2018-01-01"
            for axis, name in enumerate(("valid_time", "latitude", "longitude")):
                data.dims[axis].attach_scale(file[name])
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("all fill", "swvl1 has no value on a day"),
        ("percent", "swvl1 from 25 to 25 found, 0 to 1 m3 m-3 expected"),
        ("degrees Celsius, said", "swvl1 in 'degC' found, 'm3 m-3' expected"),
        ("degrees Celsius, not said", "stl1 from 12 to 12 found, 180 to 350 K expected"),
        ("no time units", "valid_time has the units '', CF time expected"),
        ("gap in time", "valid_time has gaps"),
        ("latitude of 95", "latitude from 94.8 to 95 found, -90 to 90 degrees expected"),
        ("longitude of metres", "longitude from 500000 to 501000 found"),
        ("coordinates with gaps", "latitude from nan to nan found"),
        ("members", "stl1 has the dimensions number 2, valid_time 24"),
        ("no time axis", "expected the variable swvl1 on a time axis"),
        ("no latitude", "expected one like 'lat'"),
        ("absurd size", "1048576 x 1048576 cells found"),
    ],
)
def test_a_bad_file_is_named_and_leaves_no_trace(tmp_path, kind, message):
    path = spoiled(tmp_path / "a.nc", kind)
    catalog = new_catalog(tmp_path / "catalog")
    before = content(tmp_path / "catalog")
    (result,) = ingest(catalog, "era5-land", [path], settings={"min_hours": 1})
    assert str(path) in str(result.error)
    assert message in result.error
    assert content(tmp_path / "catalog") == before


@real_data
@pytest.mark.parametrize("name", ["a.nc", "a.grib", "a.zarr"])
def test_another_format_under_the_suffix_is_named(tmp_path, name):
    other = {"a.nc": GRIB, "a.grib": ERA5_LAND, "a.zarr": ERA5_LAND}[name]
    (tmp_path / name).write_bytes(other.read_bytes()[:100_000])
    with pytest.raises(GranuleError, match="no readable NetCDF|not a complete GRIB"):
        means(tmp_path / name)


def test_hours_in_any_order_are_one_day(tmp_path):
    values = np.random.default_rng(3).uniform(0.1, 0.4, (24, 3, 2))
    sorted_day, _ = means(write_hours(tmp_path / "a.nc", range(24), values=values))
    order = np.random.default_rng(4).permutation(24)
    shuffled, _ = means(write_hours(tmp_path / "b.nc", order, values=values[order]))
    np.testing.assert_allclose(shuffled["A2018001"], sorted_day["A2018001"], rtol=1e-6)


# --- hours in several files ---------------------------------------------------------------------------------------


def the_item(catalog):
    (item,) = ingested(catalog, "era5-land")
    with rasterio.open(asset_href(item, "swvl1")) as cog:
        return item, cog.read(1)


FIELD = np.random.default_rng(8).uniform(0.1, 0.4, 24).round(3)
"""A value for each hour of a day; the files of `rival_files.write_hours` add a little for each cell."""


def expected_mean(hours=range(24), values=FIELD):
    """The mean of hours as the files hold them, in float64, cell by cell."""
    cells = np.arange(6).reshape(3, 2) / 1000
    fields = np.float32(values[list(hours)][:, None, None] + cells).astype(np.float64)
    return fields.mean(axis=0)


@given(data=st.data())
@settings(max_examples=examples(32))
def test_a_day_that_is_spread_over_files_is_the_mean_of_all_its_hours(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("hours")
    holders = data.draw(st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=24, max_size=24))
    files = []
    for number in sorted(set().union(*holders)):
        hours = [hour for hour in range(24) if number in holders[hour]]
        hours = data.draw(st.permutations(hours))
        (folder / str(number)).mkdir()
        name = data.draw(st.sampled_from(["a.nc", "b.nc", f"{number}.nc"]))
        files.append(rivals.write_hours(folder / str(number) / name, hours, FIELD[hours]))
    found = []
    for number in range(2):
        catalog = new_catalog(folder / f"catalog{number}")
        results = ingest(catalog, "era5-land", data.draw(st.permutations(files)))
        assert [result.error for result in results if result.error] == []
        item, mean = the_item(catalog)
        np.testing.assert_allclose(mean, expected_mean(), rtol=1e-6)
        given_hours = [source["hours"] for source in item.properties["stac_sm:sources"]]
        assert sorted(hour for hours in given_hours for hour in hours) == list(range(24))
        assert item.properties["stac_sm:hours"] == 24
        found.append(content(folder / f"catalog{number}"))
        assert {result.status for result in ingest(catalog, "era5-land", files)} == {"done"}
    assert found[0] == found[1]


def test_halves_of_a_day_are_refused_one_by_one_and_joined_when_they_come_together(tmp_path, validate):
    halves = [rivals.write_hours(tmp_path / f"{h}.nc", range(h, h + 12), FIELD[h : h + 12]) for h in (0, 12)]
    catalog = new_catalog(tmp_path / "catalog")
    for half in halves:
        (result,) = ingest(catalog, "era5-land", [half])
        assert "at most 12 hours a day found" in result.error
        assert "pass all files of a day together" in result.error
    for workers in (1, 2):
        catalog = new_catalog(tmp_path / f"catalog{workers}")
        first, second = ingest(catalog, "era5-land", halves[::-1], workers=workers)
        assert [(first.status, first.items), (second.status, second.items)] == [("new", {"new": 1}), ("done", {})]
        assert second.notes == (f"1 item(s) made together with {halves[0]}: ERA5L.A2018001.e10.85n46.15-2x3",)
        item, mean = the_item(catalog)
        validate(item)
        np.testing.assert_allclose(mean, expected_mean(), rtol=1e-6)
        assert [(source["name"], source["hours"]) for source in item.properties["stac_sm:sources"]] == [
            ("0.nc", [*range(12)]), ("12.nc", [*range(12, 24)]),
        ]  # fmt: skip


def test_means_are_never_averaged_and_a_part_never_replaces_the_whole(tmp_path):
    halves = [rivals.write_hours(tmp_path / f"{h}.nc", range(h, h + 12), FIELD[h : h + 12]) for h in (0, 12)]
    catalog = new_catalog(tmp_path / "catalog")
    half_a_day = {"min_hours": 12}
    assert ingest(catalog, "era5-land", halves[:1], settings=half_a_day)[0].status == "new"
    before = content(tmp_path / "catalog")
    for _ in range(2):
        (result,) = ingest(catalog, "era5-land", halves[1:], settings=half_a_day)
        assert (result.status, result.items) == ("failed", {})
        assert "in the catalogue it is from 0.nc, here from 12.nc: each has hours that the other lacks" in result.error
        assert "pass both files together" in result.error
    assert content(tmp_path / "catalog") == before
    results = ingest(catalog, "era5-land", halves, settings=half_a_day)
    assert [result.status for result in results] == ["replaced", "done"]
    assert "more hours or variables, or final ones" in results[0].notes[0]
    np.testing.assert_allclose(the_item(catalog)[1], expected_mean(), rtol=1e-6)
    for half in halves:
        (result,) = ingest(catalog, "era5-land", [half], settings=half_a_day)
        assert (result.status, result.items) == ("done", {"done": 1})
        assert "left as made from 0.nc and 12.nc: more hours or variables" in result.notes[0]
    np.testing.assert_allclose(the_item(catalog)[1], expected_mean(), rtol=1e-6)


def test_final_hours_take_the_place_of_preliminary_ones_hour_by_hour(tmp_path):
    preliminary = rivals.write_hours(tmp_path / "t.nc", range(24), FIELD + 0.1, expver="0005")
    final = rivals.write_hours(tmp_path / "f.nc", range(10), FIELD[:10], expver="0001")
    mixed = np.r_[FIELD[:10], FIELD[10:] + 0.1]
    catalog = new_catalog(tmp_path / "catalog")
    assert [result.error for result in ingest(catalog, "era5-land", [preliminary, final])] == [None, None]
    item, mean = the_item(catalog)
    np.testing.assert_allclose(mean, expected_mean(values=mixed), rtol=1e-6)
    assert [
        {key: source.get(key) for key in ("name", "hours", "final", "preliminary")}
        for source in item.properties["stac_sm:sources"]
    ] == [
        {"name": "f.nc", "hours": [*range(10)], "final": [*range(10)], "preliminary": None},
        {"name": "t.nc", "hours": [*range(10, 24)], "final": None, "preliminary": [*range(10, 24)]},
    ]
    assert {result.status for path in (preliminary, final) for result in ingest(catalog, "era5-land", [path])} == {
        "done", "failed",
    }  # fmt: skip # ten hours alone are no day
    whole = rivals.write_hours(tmp_path / "w.nc", range(24), FIELD, expver="0001")
    for paths in ([whole], [preliminary], [whole, preliminary, final]):
        assert [result.error for result in ingest(catalog, "era5-land", paths) if result.error] == []
        np.testing.assert_allclose(the_item(catalog)[1], expected_mean(), rtol=1e-6)


@real_data
@pytest.mark.parametrize("expver", [False, True])
def test_the_old_layout_says_which_hours_are_final_only_where_it_has_both(tmp_path, week, expver):
    path = write_old(tmp_path / "a.nc", week, expver=expver)
    sources = [granule.sources[0].facts for granule in Era5Land().scan(path).granules]
    assert [facts["hours"] for facts in sources] == [[*range(24)]] * 7
    final = [(facts.get("final"), facts.get("preliminary")) for facts in sources]
    both = [([*range(24)], None)] * 2 + [([0, 1], [*range(2, 24)])] + [(None, [*range(24)])] * 4
    assert final == (both if expver else [(None, None)] * 7)


@pytest.mark.parametrize("edition", [1, 2])
@pytest.mark.parametrize("joined", [False, True])
def test_grib_says_which_messages_are_final(tmp_path, edition, joined):
    files, made = {}, {}
    for version in ("0005", "0001"):
        files[version], made[version] = write_grib(tmp_path / f"{version}.grib", edition, version=version)
    if joined:  # as `cat` does
        path = tmp_path / "both.grib"
        path.write_bytes(b"".join(file.read_bytes() for file in files.values()))
        paths = [path]
    else:
        paths = list(files.values())
    assert [message.version for message in check_messages(files["0005"])] == ["0005"] * 72
    catalog = new_catalog(tmp_path / "catalog")
    assert [result.error for result in ingest(catalog, "era5-land", paths)] == [None] * len(paths)
    item, _ = the_item(catalog)
    (source,) = item.properties["stac_sm:sources"]
    assert source["final"] == [*range(24)]
    for name in ("swvl1", "stl1", "sd"):
        with rasterio.open(asset_href(item, name)) as cog:
            plain = np.mean([made["0001"][name, hour] for hour in range(24)], axis=0)
            np.testing.assert_allclose(cog.read(1, masked=True).filled(np.nan), plain, rtol=1e-5)


def test_another_grid_of_the_same_name_is_refused(tmp_path):
    path = global_hours(tmp_path / "a.nc", 0.2)
    catalog = new_catalog(tmp_path / "catalog")
    ingest(catalog, "era5-land", [path])
    with netCDF4.Dataset(tmp_path / "b.nc", "w") as file:
        axes = {
            "valid_time": np.arange(24.0),
            "latitude": np.arange(90.0, -91, -2),
            "longitude": np.arange(0, 360, 2.0),
        }
        for name, axis in axes.items():
            file.createDimension(name, axis.size)
            file.createVariable(name, "f8", (name,))[:] = axis
        file["valid_time"].units = "hours since 2018-01-01"
        file.createVariable("swvl1", "f4", tuple(axes), zlib=True)[:] = 0.3
    (result,) = ingest(catalog, "era5-land", [tmp_path / "b.nc"])
    assert "they lie on different grids" in result.error
    for result in ingest(new_catalog(tmp_path / "other"), "era5-land", [path, tmp_path / "b.nc"]):
        assert "they lie on several grids, all called global" in result.error


def write_era5(path, *, step, west=10.0, shape=(5, 9)):
    """A day on a grid of so many degrees."""
    lat, lon = 46.0 - step * np.arange(shape[0]), west + step * np.arange(shape[1])
    with netCDF4.Dataset(path, "w") as file:
        for name, axis in (("valid_time", np.arange(24.0)), ("latitude", lat), ("longitude", lon)):
            file.createDimension(name, axis.size)
            file.createVariable(name, "f8", (name,))[:] = axis
        file["valid_time"].units = "hours since 2018-01-01"
        file.createVariable("swvl1", "f4", ("valid_time", "latitude", "longitude"), zlib=True)[:] = step
    return path


@pytest.mark.parametrize(("step", "dataset"), [(0.1, None), (0.25, "ERA5"), (0.5, "regridded to 0.5 degrees")])
def test_what_is_not_era5_land_is_said_in_the_item_and_at_ingest(tmp_path, validate, step, dataset):
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "era5-land", [write_era5(tmp_path / "a.nc", step=step)])
    (item,) = ingested(catalog, "era5-land")
    validate(item)
    if dataset is None:
        assert "stac_sm:dataset" not in item.properties
        assert result.notes == ()
    else:
        assert dataset in item.properties["stac_sm:dataset"]
        assert f"of {step:g} degrees found, not ERA5-Land of 0.1 degrees" in "".join(result.notes)


def test_global_era5_is_no_rival_of_global_era5_land(tmp_path):
    era5 = tmp_path / "a.nc"
    with netCDF4.Dataset(era5, "w") as file:
        axes = {"valid_time": [0.0], "latitude": 90 - 0.25 * np.arange(721), "longitude": 0.25 * np.arange(1440)}
        for name, axis in axes.items():
            file.createDimension(name, len(axis))
            file.createVariable(name, "f8", (name,))[:] = axis
        file["valid_time"].units = "hours since 2018-01-01"
        file.createVariable("swvl1", "f4", tuple(axes), zlib=True)
    assert Era5Land().claims(era5) == ["ERA5L.A2018001.global-1441x721"]
    assert Era5Land().claims(global_hours(tmp_path / "b.nc", 0.2)) == ["ERA5L.A2018001.global"]


def zarr_versions(path, hours, value, version, *, along_expver=False):
    """A Zarr store of some hours of 2018-01-01; version 1 is final, 5 preliminary, and a list is one of each hour."""
    times = np.datetime64("2018-01-01", "ns") + np.array(hours) * np.timedelta64(1, "h")
    lat, lon = 46 - 0.1 * np.arange(3), 11 + 0.1 * np.arange(2)
    versions = np.broadcast_to(version, len(hours))
    values = np.full((len(hours), 3, 2), value, np.float32)
    dims, coordinates = ("valid_time", "latitude", "longitude"), {"latitude": lat, "longitude": lon}
    if along_expver:
        both = np.full((2, *values.shape), np.nan, np.float32)
        for at, number in enumerate((5, 1)):
            both[at, versions == number] = value + (0.1 if number == 5 else 0)
        both[0] = np.where(np.isnan(both[0]), value + 0.1, both[0])  # preliminary data of all hours
        data = xr.Dataset({"swvl1": (("expver", *dims), both)}, {"expver": [5, 1], "valid_time": times, **coordinates})
    else:
        text = np.array([f"{number:04}" for number in versions])
        data = xr.Dataset(
            {"swvl1": (dims, values)}, {"valid_time": times, "expver": ("valid_time", text), **coordinates}
        )
    data.to_zarr(path, zarr_format=2)
    return path


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("together", [True, False])
def test_final_hours_of_a_store_go_before_preliminary_ones(tmp_path, order, together):
    stores = [
        zarr_versions(tmp_path / "preliminary.zarr", range(24), 0.35, 5),
        zarr_versions(tmp_path / "final.zarr", range(24), 0.2, 1),
    ]
    catalog = new_catalog(tmp_path / "catalog")
    for call in [[stores[i] for i in order]] if together else [[stores[i]] for i in order]:
        assert [result.error for result in ingest(catalog, "era5-land", call)] == [None] * len(call)
    item, values = the_item(catalog)
    np.testing.assert_allclose(values, 0.2, rtol=1e-6)
    (source,) = item.properties["stac_sm:sources"]
    assert (source["name"], source["final"]) == ("final.zarr", [*range(24)])


def test_a_store_with_final_and_preliminary_hours_says_which_are_which(tmp_path):
    versions = [1] * 6 + [5] * 18
    mixed = zarr_versions(tmp_path / "mixed.zarr", range(24), 0.2, versions)
    beside = zarr_versions(tmp_path / "beside.zarr", range(24), 0.2, versions, along_expver=True)
    for store, mean in ((mixed, 0.2), (beside, 0.2 + 0.1 * 18 / 24)):
        (granule,) = Era5Land().scan(store).granules
        np.testing.assert_allclose(granule.layers["swvl1"].values(), mean, rtol=1e-5)
        facts = granule.sources[0].facts
        assert (facts["final"], facts["preliminary"]) == ([*range(6)], [*range(6, 24)])


def test_a_variable_that_lacks_hours_is_left_out_and_said(tmp_path):
    path = rivals.write_hours(tmp_path / "a.nc", range(24), FIELD)
    with netCDF4.Dataset(path, "a") as file:
        file.createVariable("stl1", "f4", ("valid_time", "latitude", "longitude"))[:] = 290.0
        file["stl1"].units = "K"
    more = rivals.write_hours(tmp_path / "b.nc", range(24, 48), FIELD)
    both = rivals.write_hours(tmp_path / "c.nc", range(12, 36), np.r_[FIELD[12:], FIELD[:12]])
    catalog = new_catalog(tmp_path / "catalog")
    results = ingest(catalog, "era5-land", [path, more, both])
    assert [result.error for result in results] == [None, None, None]
    assert [sorted(item.assets) for item in ingested(catalog, "era5-land")] == [["stl1", "swvl1"], ["swvl1"]]
    half = rivals.write_hours(tmp_path / "d.nc", range(36, 48), FIELD[12:])
    with netCDF4.Dataset(half, "a") as file:
        file.createVariable("stl1", "f4", ("valid_time", "latitude", "longitude"))[:] = 290.0
    results = ingest(new_catalog(tmp_path / "other"), "era5-land", [more, half])
    assert [result.notes for result in results] == [("stl1 of 1 days left out: it lacks hours that swvl1 has",)] * 2


BAD_UNITS = {
    "stl1 in degrees": ("stl1", {"units": "degC"}, "stl1 in 'degC' found, 'K' expected"),
    "sd in inches": ("sd", {"units": "inch"}, "sd in 'inch' found, 'm' expected"),
    "scale of sd": ("sd", {"scale_factor": "ten"}, "sd has scale_factor ten, a number expected"),
    "offset of stl1": ("stl1", {"add_offset": np.inf}, "stl1 has add_offset inf, a number expected"),
}


def with_variables(path, hours=range(24)):
    write_hours(path, hours, values=np.full((len(hours), 3, 2), 0.25))
    with netCDF4.Dataset(path, "a") as file:
        for name, unit, value in (("stl1", "K", 280.0), ("sd", "m of water equivalent", 0.125)):
            variable = file.createVariable(name, "f4", ("valid_time", "latitude", "longitude"))
            variable[:] = value
            variable.units = unit
    return path


@pytest.mark.filterwarnings("ignore:invalid scale_factor")  # the library says so and returns stored numbers
@pytest.mark.parametrize("kind", BAD_UNITS)
def test_a_bad_unit_or_scale_costs_one_variable(tmp_path, kind):
    name, attributes, message = BAD_UNITS[kind]
    path = with_variables(tmp_path / "a.nc")
    with netCDF4.Dataset(path, "a") as file:
        file[name].setncatts(attributes)
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "era5-land", [path])
    (item,) = ingested(catalog, "era5-land")
    assert set(item.assets) == {"swvl1", "stl1", "sd"} - {name}
    for key, value in {"swvl1": 0.25, "stl1": 280.0, "sd": 0.125}.items():
        if key != name:
            with rasterio.open(asset_href(item, key)) as cog:
                assert (cog.read(1) == value).all()
    why = item.properties["stac_sm:left_out"][name]
    assert message in why
    assert result.left_out == {item.id: {name: why}}
    assert f"{item.id} without its asset {name}: {why}" in result.error
    assert (result.items, str(tmp_path) in why) == ({"new": 1}, False)
    (result,) = ingest(catalog, "era5-land", [with_variables(path)])
    assert (result.error, result.items) == (None, {"replaced": 1})


def test_only_the_file_with_the_bad_unit_is_named(tmp_path):
    files = [with_variables(tmp_path / f"{first}.nc", range(first, first + 12)) for first in (0, 12)]
    with netCDF4.Dataset(files[1], "a") as file:
        file["sd"].units = "inch"
    catalog = new_catalog(tmp_path / "catalog")
    good, bad = ingest(catalog, "era5-land", files)
    assert (good.error, good.left_out) == (None, {})
    assert "without its asset sd: 12.nc: sd in 'inch' found" in bad.error
    (item,) = ingested(catalog, "era5-land")
    assert (item.properties["stac_sm:hours"], sorted(item.assets)) == (24, ["stl1", "swvl1"])


# --- archives, and one variable a file ----------------------------------------------------------------------------

UNIT = {"swvl1": ("m**3 m**-3", 0.0), "stl1": ("K", 280.0), "sd": ("m of water equivalent", 0.0)}


def write_variables(path, names, hours=range(24), *, version=None, late=0.0):
    """Fields of some variables at some hours: those of `FIELD`, and a little more for preliminary data."""
    values = FIELD[list(hours)] + (0.1 if version == "0005" else 0.0) + late
    rivals.write_hours(path, hours, values, **({"expver": version} if version else {}))
    with netCDF4.Dataset(path, "a") as file:
        stored = file["swvl1"][:]
        file.renameVariable("swvl1", "spare")
        for name in names:
            variable = file.createVariable(name, "f4", file["spare"].dimensions)
            variable[:] = stored + UNIT[name][1]
            variable.units = UNIT[name][0]
    return path


def zipped(path, *files, names=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, name in itertools.zip_longest(files, names[: len(files)]):
            archive.write(file, name or file.name)
    return path


def assets(item):
    found = {}
    for key in item.assets:
        with rasterio.open(asset_href(item, key)) as cog:
            found[key] = cog.read(1, masked=True).filled(np.nan)
    return found


@pytest.mark.parametrize("name", ["era5.nc", "era5.zip", "download", "adaptor.mars.internal-1699", "3f9c2ab0d1"])
@pytest.mark.parametrize("given_as", ["file", "folder"])
def test_an_archive_of_any_name_is_read(tmp_path, name, given_as):
    plain = write_variables(tmp_path / "plain.nc", UNIT)
    (tmp_path / "d").mkdir()
    members = ("data_stream-oper_stepType-instant.nc", "data_stream-oper_stepType-accum.nc")
    other = rivals.write_hours(tmp_path / "tp.nc", range(24), FIELD)
    with netCDF4.Dataset(other, "a") as file:
        file.renameVariable("swvl1", "tp")
    path = zipped(tmp_path / "d" / name, plain, other, names=members)
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "era5-land", [path if given_as == "file" else tmp_path / "d"])
    assert (result.error, result.items) == (None, {"new": 1})
    assert result.notes == (f"member {members[1]} left out: swvl1, stl1, sd not found in it",)
    item, _ = the_item(catalog)
    found = assets(item)
    assert set(found) == set(UNIT)
    for key, values in found.items():
        np.testing.assert_allclose(values, expected_mean() + UNIT[key][1], rtol=1e-6)
    (row,) = sort_files([path])
    assert (row.source, row.product, row.by_name) == ("era5-land", "ERA5-Land (swvl1, stl1, sd) in an archive", False)


def test_a_tar_is_read_and_unpacked_files_go_with_what_was_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    plain = write_variables(tmp_path / "plain.nc", UNIT)
    with tarfile.open(tmp_path / "download.tar.gz", "w:gz") as archive:
        archive.add(plain, "../data_0.nc")
    (granule,) = Era5Land().scan(tmp_path / "download.tar.gz").granules
    np.testing.assert_allclose(granule.layers["stl1"].values(), expected_mean() + 280, rtol=1e-6)
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    del granule
    gc.collect()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_damaged_member_is_an_error_and_the_others_are_ingested(tmp_path):
    days = [write_variables(tmp_path / f"{n}.nc", ["swvl1"], range(n, n + 12)) for n in (0, 12)]
    whole = write_variables(tmp_path / "whole.nc", UNIT)
    cut = tmp_path / "cut.nc"
    cut.write_bytes(whole.read_bytes()[:2000])
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "era5-land", [zipped(tmp_path / "a.zip", whole, cut)])
    assert (result.status, result.items) == ("failed", {"new": 1})
    assert f"{tmp_path / 'a.zip'}, member cut.nc: 2000 bytes found that are no readable NetCDF" in result.error
    (result,) = ingest(new_catalog(tmp_path / "b"), "era5-land", [zipped(tmp_path / "b.zip", *days)])
    assert (result.status, result.items) == ("new", {"new": 1})  # hours in two members
    (result,) = ingest(catalog, "era5-land", [zipped(tmp_path / "c.zip", cut)])
    assert "an archive without a file of ERA5-Land that can be used found" in result.error
    archive = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "d.zip").write_bytes(archive[: len(archive) // 2])
    (result,) = ingest(catalog, "era5-land", [tmp_path / "d.zip"])
    assert "fetch it again" in result.error
    other = zipped(tmp_path / "e.zip", write_table(tmp_path / "t.csv"))
    (result,) = ingest(catalog, "era5-land", [other])
    assert "no member is NetCDF or GRIB" in result.error


def write_table(path):
    path.write_text("a,b\n1,2\n")
    return path


@given(data=st.data())
@settings(max_examples=examples(25), deadline=None)
def test_a_day_of_files_of_any_variables_hours_and_finality_is_one_item(tmp_path_factory, data):
    """Every field once, from the final file where there is one: compared with a mean over a table of hours."""
    folder = tmp_path_factory.mktemp("mixed")
    groups = data.draw(st.sampled_from([[["swvl1"], ["stl1"], ["sd"]], [["swvl1", "sd"], ["stl1"]], [list(UNIT)]]))
    files, table = [], {}
    for at, names in enumerate(groups):
        holders = data.draw(st.lists(st.sets(st.sampled_from(["0001", "0005"]), min_size=1), min_size=24, max_size=24))
        for version in ("0001", "0005"):
            hours = [hour for hour in range(24) if version in holders[hour]]
            if hours:
                files.append(write_variables(folder / f"{at}{version}.nc", names, hours, version=version))
        for name in names:
            table[name] = np.array([FIELD[h] + (0.0 if "0001" in holders[h] else 0.1) for h in range(24)])
    packed = data.draw(st.sets(st.sampled_from(files)))
    paths = [file for file in files if file not in packed]
    paths += [zipped(folder / "download", *sorted(packed))] if packed else []
    found = []
    for number in range(2):
        catalog = new_catalog(folder / f"catalog{number}")
        results = ingest(catalog, "era5-land", data.draw(st.permutations(paths)))
        assert [result.error for result in results if result.error] == []
        item, _ = the_item(catalog)
        means_found = assets(item)
        assert set(means_found) == set(UNIT)
        for name, values in table.items():
            np.testing.assert_allclose(means_found[name], expected_mean(values=values) + UNIT[name][1], rtol=1e-6)
        found.append(content(folder / f"catalog{number}"))
        assert {result.status for result in ingest(catalog, "era5-land", paths)} == {"done"}
    assert found[0] == found[1]


def test_files_of_one_variable_each_are_one_item_which_says_what_each_gave(tmp_path, validate):
    files = [write_variables(tmp_path / f"{name}_201801.nc", [name]) for name in UNIT]
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "era5-land", files[1:2])
    assert "stl1 found without swvl1 of the same days on the same grid" in result.error
    assert "in one command" in result.error
    (result,) = ingest(catalog, "era5-land", files[:1])
    assert result.items == {"new": 1}
    results = ingest(catalog, "era5-land", files, workers=2)
    assert sorted(result.status for result in results) == ["done", "done", "replaced"]
    item, _ = the_item(catalog)
    validate(item)
    assert set(item.assets) == set(UNIT)
    own = jsonschema.Draft7Validator(json.loads((skeleton_folder() / "schema.json").read_text()))
    own.validate(item.to_dict())
    given_by = {source["name"]: source.get("variables") for source in item.properties["stac_sm:sources"]}
    assert given_by == {f"{name}_201801.nc": {name: {"hours": [*range(24)]}} for name in UNIT}
    for file in files[::2]:
        (result,) = ingest(catalog, "era5-land", [file])
        assert set(the_item(catalog)[0].assets) == set(UNIT)  # a part never replaces the whole


def test_finality_counts_variable_by_variable(tmp_path):
    water = write_variables(tmp_path / "swvl1.nc", ["swvl1"], version="0001")
    early = write_variables(tmp_path / "stl1_t.nc", ["stl1"], version="0005")
    late = write_variables(tmp_path / "stl1.nc", ["stl1"], version="0001")
    catalog = new_catalog(tmp_path / "catalog")
    ingest(catalog, "era5-land", [water, early])
    item, _ = the_item(catalog)
    np.testing.assert_allclose(assets(item)["stl1"], expected_mean() + 280.1, rtol=1e-6)
    results = ingest(catalog, "era5-land", [water, late])
    assert {result.status for result in results} == {"replaced", "done"}
    for paths in ([water, early], [water, early, late]):
        assert [result.error for result in ingest(catalog, "era5-land", paths) if result.error] == []
        np.testing.assert_allclose(assets(the_item(catalog)[0])["stl1"], expected_mean() + 280, rtol=1e-6)


def test_grib_of_one_variable_a_file_is_joined_with_netcdf(tmp_path):
    files, made = [], {}
    for name in ("stl1", "sd"):
        path, values = write_grib(tmp_path / f"{name}.download", names=(name,))
        files.append(path)
        made |= values
    water, values = write_grib(tmp_path / "w.grib", names=("swvl1",))
    with netCDF4.Dataset(tmp_path / "w.nc", "w") as file:
        axes = {
            "valid_time": np.arange(24),
            "latitude": 46 - np.arange(20) / 10,
            "longitude": (358 + np.arange(30) / 10) % 360,
        }
        for key, axis in axes.items():
            file.createDimension(key, len(axis))
            file.createVariable(key, "f8", (key,))[:] = axis
        file["valid_time"].units = "hours since 2018-01-01"
        variable = file.createVariable("swvl1", "f4", tuple(axes), fill_value=np.nan)
        variable[:] = np.stack([values["swvl1", hour] for hour in range(24)])
    for number, main in enumerate((water, tmp_path / "w.nc")):
        catalog = new_catalog(tmp_path / str(number))
        assert [result.error for result in ingest(catalog, "era5-land", [*files, main])] == [None] * 3
        found = assets(the_item(catalog)[0])
        for name in ("stl1", "sd"):
            plain = np.mean([made[name, hour] for hour in range(24)], axis=0)
            np.testing.assert_allclose(found[name], plain, rtol=1e-5)
