"""CF grids and times: what xarray, rioxarray and pyproj find in the same files, in any order of rows and columns."""

from __future__ import annotations

import pyproj
import pytest
import rioxarray  # noqa: F401
import xarray as xr

from stac_sm.core.errors import GranuleError
from stac_sm.core.period import Period
from stac_sm.ingest.formats.cf_grid import cf_series
from stac_sm.ingest.formats.netcdf import describe_variables, open_netcdf
from tests.support.source_files import write_cf


def series(path, name="sm", **options):
    with open_netcdf(path) as data:
        return cf_series(describe_variables(data, path), name, path, **options)


@pytest.mark.parametrize("crs", ["EPSG:6933", "EPSG:32632", "EPSG:3035", "+proj=sinu +R=6371007.181 +units=m"])
@pytest.mark.parametrize(("south_up", "unit"), [(False, "m"), (True, "m"), (False, "km")])
def test_a_projected_grid_lies_where_rioxarray_has_it(tmp_path, crs, south_up, unit):
    path = write_cf(tmp_path / "a.nc", crs=crs, south_up=south_up, unit=unit)
    found = series(path)
    expected = write_cf(tmp_path / "b.nc", crs=crs)
    with xr.open_dataset(expected, decode_coords="all") as data:
        transform = data.sm.rio.transform()
    assert found.grid.geobox.affine[:6] == pytest.approx(transform[:6], rel=1e-9)
    there = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(610_000, 5_190_000)
    same = pyproj.Transformer.from_crs(str(found.grid.geobox.crs), "OGC:CRS84", always_xy=True)
    assert same.transform(610_000, 5_190_000) == pytest.approx(there, abs=1e-9)
    assert list(found.grid.rows[:2]) == ([19, 18] if south_up else [0, 1])


@pytest.mark.parametrize("from_zero", [False, True])
def test_degrees_need_no_grid_mapping(tmp_path, from_zero):
    found = series(write_cf(tmp_path / "a.nc", crs="", west=-10, from_zero=from_zero)).grid
    assert str(found.geobox.crs) == "EPSG:4326"
    assert found.geobox.boundingbox.left == pytest.approx(-10)


def test_projected_coordinates_without_a_grid_mapping_need_a_crs(tmp_path):
    path = write_cf(tmp_path / "a.nc", crs="EPSG:6933", mapped=False)
    with pytest.raises(GranuleError, match="no grid mapping found.*--crs"):
        series(path)
    mapped = series(write_cf(tmp_path / "b.nc", crs="EPSG:6933")).grid.geobox
    assert series(path, crs="EPSG:6933").grid.geobox.affine == mapped.affine


@pytest.mark.parametrize(
    ("times", "options", "periods"),
    [
        (["2018-07-01", "2018-07-02"], {}, ["2018-07-01", "2018-07-02"]),
        (["2018-07-01T12", "2018-07-04T12"], {}, ["2018-07-01", "2018-07-04"]),
        (["2018-01-16", "2018-02-15", "2018-03-16"], {}, ["2018-01", "2018-02", "2018-03"]),
        (["2018-07-01", "2019-07-01"], {}, ["2018", "2019"]),
        (["2018-07-01", "2018-07-09"], {"days": 8}, ["2018-07-01/2018-07-08", "2018-07-09/2018-07-16"]),
        (["2018-07-01"], {}, ["2018-07-01"]),
    ],
)
def test_fields_count_as_far_apart_as_they_are(tmp_path, times, options, periods):
    found = series(write_cf(tmp_path / "a.nc", times=times), **options)
    assert list(found.periods) == [Period.parse(one) for one in periods]


def test_bounds_say_which_days_a_field_stands_for(tmp_path):
    """Labelled with the end of the day, as some means are."""
    bounds = [["2018-07-01", "2018-07-02"], ["2018-07-02", "2018-07-03"]]
    found = series(write_cf(tmp_path / "a.nc", times=["2018-07-02", "2018-07-03"], bounds=bounds))
    assert list(found.periods) == [Period.parse("2018-07-01"), Period.parse("2018-07-02")]
    year = series(write_cf(tmp_path / "b.nc", times=["2018-07-02"], bounds=[["2018-01-01", "2019-01-01"]]))
    assert list(year.periods) == [Period.parse("2018")]


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ({"times": ["2018-07-01T00", "2018-07-01T12"]}, "several fields of 2018-07-01.*daily means"),
        ({"times": ["2018-01-01"], "bounds": [["2017-12-01", "2018-03-01"]]}, "at most 31 days"),
        ({"layers": 3}, "3 values along layer"),
        ({"stretched": True}, "not regular"),
        ({"name": "swvl"}, "variables swvl found, sm expected: name it by --variable"),
        ({"turned": True}, "transpose it"),
    ],
)
def test_what_is_no_series_of_regular_fields_is_refused(tmp_path, file, says):
    with pytest.raises(GranuleError, match=says):
        series(write_cf(tmp_path / "a.nc", **({"crs": "EPSG:6933"} | file)))
