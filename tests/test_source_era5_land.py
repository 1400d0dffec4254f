"""ERA5-Land: UTC daily means as a plain reading gives them, in the layouts of the Climate Data Store."""

from __future__ import annotations

import netCDF4
import numpy as np
import pytest
import rasterio
from source_files import DATA, ERA5_LAND, asset_href, ingested, new_catalog, positions, real_data

from stac_sm.errors import GranuleError
from stac_sm.ingest import ingest
from stac_sm.sources.era5_land import Era5Land


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
    with pytest.raises(GranuleError, match=r"at most 24 hours a day found, 25 wanted.*min_hours = 24"):
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


def test_an_hour_that_occurs_twice_counts_once(tmp_path):
    hours = [*range(24), 23]
    values = np.broadcast_to(np.array(hours, float)[:, None, None] / 100, (25, 3, 2)).copy()
    values[24] = 0.95
    path = write_hours(tmp_path / "a.nc", hours, values=values)
    np.testing.assert_allclose(means(path)[0]["A2018001"], (np.arange(23).sum() / 100 + 0.95) / 24, rtol=1e-6)


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
    with pytest.raises(GranuleError, match=r"found \['t2m'\], wanted the variable swvl1"):
        means(path)
