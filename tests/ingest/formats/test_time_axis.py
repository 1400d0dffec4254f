"""Which day a field belongs to, in NetCDF, Zarr and GRIB, as xarray and ecCodes say; other steps are named."""

from __future__ import annotations

import warnings

import netCDF4
import numpy as np
import pytest
import xarray as xr

from stac_sm.core.errors import GranuleError
from stac_sm.ingest.formats.time_axis import TimeCoordinate, find_time_axis
from stac_sm.ingest.providers.era5_land import Era5Land
from stac_sm.ingest.providers.esa_cci import EsaCci
from tests.support.source_files import write_cci

PLACE = {"latitude": np.array([46.1, 46.0, 45.9]), "longitude": np.array([10.9, 11.0])}
REFERENCE = {"standard_name": "forecast_reference_time", "long_name": "initial time of forecast"}
STEP = {"standard_name": "forecast_period", "units": "hours"}
VALID = {"standard_name": "time"}


def forecasts():
    """Two forecasts of 24 steps of an hour each, as cfgrib lays them out: dims (time, step, latitude, longitude)."""
    starts = np.array(["2019-06-07", "2019-06-08"], "datetime64[ns]")
    steps = np.arange(1.0, 25)
    values = np.random.default_rng(1).uniform(0.1, 0.4, (2, 24, 3, 2)).astype(np.float32)
    valid = starts[:, None] + (steps * 3600).astype("timedelta64[s]")
    return xr.Dataset(
        {"swvl1": (("time", "step", *PLACE), values, {"units": "m**3 m**-3"})},
        {
            "time": ("time", starts, REFERENCE),
            "step": ("step", steps, STEP),
            "valid_time": (("time", "step"), valid, VALID),
            **PLACE,
        },
    )


def flat():
    """The same fields along their valid time."""
    stacked = forecasts().stack(instant=("time", "step"), create_index=False).transpose("instant", ...)
    return stacked.drop_vars(["time", "step"])


LAYOUTS = {
    "cfgrib": forecasts,
    "steps first": lambda: forecasts().transpose("step", "time", ...),
    "no valid_time": lambda: forecasts().drop_vars("valid_time"),
    "no valid_time, no standard names": lambda: without_names(forecasts().drop_vars("valid_time")),
    "valid_time without standard name": lambda: without_names(forecasts()),
    "valid_time alone": lambda: flat().swap_dims(instant="valid_time"),
    "CF names of our own": lambda: flat().rename(valid_time="t").swap_dims(instant="t"),
    "beside a reference time": lambda: (
        flat().rename(instant="time").assign_coords(time=("time", np.repeat(forecasts()["time"].values, 24), REFERENCE))
    ),
    "time is valid, a step stands beside it": lambda: (
        flat().rename(valid_time="time").swap_dims(instant="time").assign_coords(step=((), 24.0, STEP))
    ),
}


def without_names(data):
    for one in data.variables.values():
        one.attrs.pop("standard_name", None)
    return data


def write(data, folder, kind):
    path = folder / f"a.{kind}"
    if kind == "nc":
        data.to_netcdf(path)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about consolidated metadata
            data.to_zarr(path, zarr_format=2)
    return path


def found_means(path, **settings):
    granules = Era5Land(**settings).scan(path).granules
    return {one.item["properties"]["start_datetime"][:10]: one.layers["swvl1"].values() for one in granules}


@pytest.mark.parametrize("kind", ["nc", "zarr"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_day_is_that_of_the_valid_times(tmp_path, layout, kind):
    path = write(LAYOUTS[layout](), tmp_path, kind)
    (day,) = found_means(path)
    assert day == "2019-06-08"
    plain = forecasts()
    inside = (plain["valid_time"] >= np.datetime64("2019-06-08")) & (plain["valid_time"] < np.datetime64("2019-06-09"))
    judged = plain["swvl1"].astype(float).where(inside).mean(("time", "step"))
    np.testing.assert_allclose(found_means(path)[day], judged, rtol=1e-6)
    some = found_means(path, period="2019-06-09", min_hours=1)
    assert list(some) == ["2019-06-09"]
    np.testing.assert_allclose(some["2019-06-09"], plain["swvl1"][1, 23], rtol=1e-6)


@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_a_single_instant_is_valid_when_its_scalar_says(tmp_path, kind):
    one = forecasts().isel(time=0, step=23)
    assert list(found_means(write(one, tmp_path, kind), min_hours=1)) == ["2019-06-08"]


@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_a_reference_time_alone_says_no_day(tmp_path, kind):
    data = forecasts().isel(step=0).drop_vars(["step", "valid_time"])
    with pytest.raises(GranuleError, match="time is the time at which the forecast began .* no forecast_period"):
        found_means(write(data, tmp_path, kind), min_hours=1)


def hours(times, **attributes):
    times = np.asarray(times, "datetime64[ns]")
    values = np.full((times.size, 3, 2), 0.25, np.float32)
    return xr.Dataset(
        {"swvl1": (("valid_time", *PLACE), values, {"units": "m**3 m**-3", **attributes})},
        {"valid_time": ("valid_time", times, VALID), **PLACE},
    )


DAY = np.arange("2019-06-08", "2019-06-09", np.timedelta64(1, "h"), "datetime64[h]")
MONTHS = np.arange("2019-01", "2019-05", dtype="datetime64[M]")


def with_bounds(data, start, end):
    data["valid_time"].attrs["bounds"] = "valid_time_bnds"
    data["valid_time"].encoding["units"] = "hours since 1970-01-01"
    ends = np.array([start, end], "datetime64[ns]")
    return data.assign(valid_time_bnds=(("valid_time", "bnds"), ends.T.reshape(-1, 2)))


STATISTICS = {
    "accumulations": lambda: hours(DAY, GRIB_stepType="accum"),
    "monthly means": lambda: hours(DAY, GRIB_stepType="avgua"),
    "means over a period": lambda: hours(DAY, GRIB_stepType="avg"),
    "maxima": lambda: hours(DAY, cell_methods="time: maximum (interval: 1 hour)"),
    "accumulations ": lambda: hours(DAY, cell_methods="area: mean time: sum"),
    "monthly means ": lambda: hours(DAY, GRIB_stream="moda"),
    "means over months": lambda: hours(DAY[:1], cell_methods="time: mean (interval: 1 month)"),
    "means over several days": lambda: hours(DAY, cell_methods="time: mean within days time: mean over days"),
    "monthly means  ": lambda: hours(MONTHS),
    "monthly means   ": lambda: hours(MONTHS.astype("datetime64[D]") + 14),
    "monthly means    ": lambda: with_bounds(hours(MONTHS[:1]), MONTHS[:1], MONTHS[1:2]),
    "means over 8 days": lambda: with_bounds(hours(DAY[:1]), DAY[:1], DAY[:1] + 192),
    "fields 10 days apart": lambda: hours(np.arange("2019-06-01", "2019-07-01", 10, "datetime64[D]")),
    "either monthly means by hour of day": lambda: hours(
        (MONTHS.astype("datetime64[h]")[:, None] + np.arange(24)).ravel()
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["nc", "zarr"])
@pytest.mark.parametrize("min_hours", [1, 24])
@pytest.mark.parametrize("what", STATISTICS)
def test_what_is_no_field_of_an_hour_is_refused_by_what_it_is(tmp_path, what, min_hours, kind):
    path = write(STATISTICS[what](), tmp_path, kind)
    with pytest.raises(GranuleError, match=f"(swvl1|valid_time) found with {what.strip()}") as error:
        found_means(path, min_hours=min_hours)
    assert "fields of single hours required" in str(error.value)
    assert "min_hours" not in str(error.value)


@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_hours_and_daily_means_are_taken(tmp_path, kind):
    first_days = hours((MONTHS.astype("datetime64[h]")[:, None] + np.arange(24)).ravel(), GRIB_stepType="instant")
    assert len(found_means(write(first_days, tmp_path, kind))) == 4
    days = np.arange("2019-06-01", "2019-06-05", dtype="datetime64[D]")
    folder = tmp_path / "daily"
    folder.mkdir()
    daily = hours(days, cell_methods="time: mean (interval: 1 hour)")
    assert list(found_means(write(daily, folder, kind), min_hours=1)) == [str(day) for day in days]


@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_a_daily_mean_labelled_with_the_end_of_its_day_is_of_that_day(tmp_path, kind):
    ends = np.array(["2019-06-09", "2019-06-10"], "datetime64[D]")
    data = with_bounds(hours(ends), ends - 1, ends)
    assert list(found_means(write(data, tmp_path, kind), min_hours=1)) == ["2019-06-08", "2019-06-09"]


def test_one_time_a_day_is_no_daily_mean_by_advice(tmp_path):
    path = write(hours(["2019-06-01"]), tmp_path, "nc")
    with pytest.raises(GranuleError, match="at most 1 hours a day found, 24 required") as error:
        found_means(path)
    assert "min_hours = 1" not in str(error.value)


def test_a_time_that_is_no_time_is_none():
    here = TimeCoordinate("number", (), {}, lambda: np.array(0))
    assert find_time_axis([here], ("valid_time",), "a.nc") is None


def test_cci_is_of_the_day_of_its_valid_time(tmp_path):
    path, *_ = write_cci(tmp_path, lat=np.arange(46.875, 42, -0.25), lon=np.arange(3.125, 9, 0.25), time="2018-05-31")
    with pytest.raises(GranuleError, match="found the days 2018-05-31 inside, expected 2018-06-01"):
        EsaCci().scan(path)
    with netCDF4.Dataset(path, "a") as file:
        file["time"].standard_name = "forecast_reference_time"
        valid = file.createVariable("valid_time", "f8", ("time",))
        valid.units, valid.standard_name = file["time"].units, "time"
        valid[:] = file["time"][:] + 1
    assert [one.item["properties"]["start_datetime"][:10] for one in EsaCci().scan(path).granules] == ["2018-06-01"]


def write_message(path, edition, **keys):
    """One field of swvl1 by ecCodes; returns the day on which it is valid."""
    import eccodes as ec

    message = ec.codes_grib_new_from_samples(f"regular_ll_sfc_grib{edition}")
    grid = {
        "centre": "ecmf", "Ni": 30, "Nj": 20, "latitudeOfFirstGridPointInDegrees": 46.0,
        "latitudeOfLastGridPointInDegrees": 44.1, "longitudeOfFirstGridPointInDegrees": 5.0,
        "longitudeOfLastGridPointInDegrees": 7.9, "iDirectionIncrementInDegrees": 0.1,
        "jDirectionIncrementInDegrees": 0.1, "dataDate": 20190607, "dataTime": 0, "paramId": 39, "bitsPerValue": 16,
    }  # fmt: skip
    for key, value in {**grid, **keys}.items():
        ec.codes_set(message, key, value)
    ec.codes_set_values(message, np.linspace(0.1, 0.4, 600))
    with path.open("ab") as file:
        ec.codes_write(message, file)
    day = str(ec.codes_get(message, "validityDate"))
    ec.codes_release(message)
    return f"{day[:4]}-{day[4:6]}-{day[6:]}"


@pytest.mark.parametrize("edition", [1, 2])
@pytest.mark.parametrize("step", [0, 23, 24, 120, 300])
def test_grib_adds_the_step_as_eccodes_does(tmp_path, edition, step):
    day = write_message(tmp_path / "a.grib", edition, stepRange=str(step))
    assert list(found_means(tmp_path / "a.grib", min_hours=1)) == [day]


LOCAL = {"setLocalDefinition": 1, "localDefinitionNumber": 1}


@pytest.mark.parametrize("edition", [1, 2])
@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"stepType": "accum", "stepRange": "0-24"}, "accumulations"),
        ({"stepType": "avg", "stepRange": "0-24"}, "means over a period"),
        ({"stepType": "max", "stepRange": "0-24"}, "maxima"),
        ({**LOCAL, "stream": "moda"}, "monthly means"),
        ({**LOCAL, "stream": "mnth"}, "monthly means"),
    ],
)
def test_grib_of_statistics_is_refused_by_what_it_is(tmp_path, edition, keys, what):
    write_message(tmp_path / "a.grib", edition, **keys)
    with pytest.raises(GranuleError, match=f"swvl1 found with {what} .by the heads of its messages.") as error:
        found_means(tmp_path / "a.grib", min_hours=1)
    assert "min_hours" not in str(error.value)


@pytest.mark.parametrize("edition", [1, 2])
def test_a_statistic_of_another_variable_costs_that_variable(tmp_path, edition):
    for keys in ({}, {"paramId": 141, "stepType": "accum", "stepRange": "0-24", "dataDate": 20190606}):
        write_message(tmp_path / "a.grib", edition, **keys)
    beside = hours(DAY).assign(sd=hours(DAY, GRIB_stepType="accum")["swvl1"].assign_attrs(units="m"))
    for path in (tmp_path / "a.grib", write(beside, tmp_path, "nc")):
        (granule,) = Era5Land(min_hours=1).scan(path).granules
        assert list(granule.layers) == ["swvl1"]
        assert "sd found with accumulations" in granule.lost["sd"]


@pytest.mark.parametrize("edition", [1, 2])
def test_grib_of_first_days_of_months_is_refused(tmp_path, edition):
    for month in (1, 2, 3):
        write_message(tmp_path / "a.grib", edition, dataDate=20190001 + 100 * month)
    with pytest.raises(GranuleError, match="monthly means .by the distance of its times."):
        found_means(tmp_path / "a.grib", min_hours=1)
