"""ERA5-Land: which requests a project takes, and what comes of them, to the items."""

from __future__ import annotations

import os
import re
from datetime import date
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import InputError
from stac_sm.core.period import ONE_DAY, Period, utc_instant
from stac_sm.fetch.era5_land import areas, by_month, days_name
from stac_sm.workflows.fetch import today_utc
from stac_sm.workflows.project import FILE_NAME, read_project
from tests.support.fetched_files import era5_land_result
from tests.support.fetching import fetched, listed, project_with, taken_in
from tests.support.services import TOKEN, ClimateDataStore

SWVL1 = ("era5-land", "swvl1", "daily")


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setenv("STAC_SM_RETRY_FIRST_WAIT", "0.01")
    monkeypatch.setenv("STAC_SM_RETRY_LONGEST_WAIT", "0.02")
    with ClimateDataStore(make=era5_land_result, looks=0) as service:
        monkeypatch.setenv("CDSAPI_URL", f"{service.address}/api")
        monkeypatch.setenv("CDSAPI_KEY", TOKEN)
        yield service


def test_from_a_request_to_items_and_not_again(store, tmp_path):
    project = project_with(tmp_path / "p", SWVL1, ("era5-land", "stl1", "daily"))
    results = fetched(project, "era5-land", "2018-05-30/2018-06-02")
    assert [one.status for one in results] == ["fetched", "fetched"]
    first, second = (job["inputs"] for job in sorted(store.jobs.values(), key=lambda job: job["inputs"]["month"]))
    assert first == {
        "variable": ["volumetric_soil_water_layer_1", "soil_temperature_level_1"],
        "year": "2018",
        "month": "05",
        "day": ["30", "31"],
        "time": [f"{hour:02d}:00" for hour in range(24)],
        "area": [46.4, 10.8, 45.8, 11.4],
        "data_format": "netcdf",
        "download_format": "zip",
    }
    assert second["day"] == ["01", "02"]
    assert [one.status for one in fetched(project, "era5-land", "2018-05-30/2018-06-02")] == ["there", "there"]
    assert taken_in(project, results) == ["new", "new"]
    assert len(project.catalog.items("era5-land")) == 4
    again = listed(project, "era5-land", "2018-05-30/2018-06-04")
    assert again.listing.held == 4
    assert [one.what for one in again.listing.requests] == ["swvl1, stl1 of 2 days, 2018-06-03/2018-06-04"]
    wider = listed(project, "era5-land", "2018-06-01", bbox=(11.0, 46.0, 13.0, 46.2))
    assert wider.listing.held == 0, "an item of a part of the box is not enough"
    (why,) = wider.listing.why_again
    assert re.fullmatch(
        r"the catalogue has a part of the area only on 1 of the days \(1[\d.,]+ on 2018-06-01, 11,46,13,46.2 is "
        r"required\): "
        "the whole area is asked for",
        why,
    )
    assert why in wider.to_dict()["notes"]
    inside = listed(project, "era5-land", "2018-06-01", bbox=(11.05, 46.05, 11.15, 46.15)).listing
    assert (inside.held, list(inside.requests), inside.why_again) == (1, [], ()), "an item that holds the box is enough"
    file = project.folder / FILE_NAME
    file.write_text(file.read_text().replace('"stl1"', '"sd"'))
    without = listed(read_project(project.folder), "era5-land", "2018-06-01").listing
    assert without.why_again == ("the catalogue lacks sd on 1 of the days: all variables are asked for",)
    assert (without.held, len(without.requests)) == (0, 1)


def test_days_before_are_those_of_lags_and_means(tmp_path):
    more = """
[[recipe.features]]
name = "slow"
collection = "era5-land"
asset = "swvl1"
resampling = "bilinear"
exponential = 10
lag = 2

[[recipe.masks]]
name = "frozen"
collection = "era5-land"
asset = "stl1"
below = 273.15
"""
    made = listed(project_with(tmp_path / "p", SWVL1, more=more), "era5-land", "2018-06-10")
    words = [one.what for one in made.listing.requests]
    assert words == [
        "swvl1, stl1 of 22 days, 2018-05-10/2018-05-31",
        "swvl1, stl1 of 10 days, 2018-06-01/2018-06-10",
    ]
    assert all(one.size is None and one.estimate > 0 for one in made.listing.requests)


def test_days_that_are_not_published_are_left_for_later(tmp_path):
    project = project_with(tmp_path / "p", SWVL1)
    made = listed(project, "era5-land", "2018-07-10/2018-07-20")
    assert [one.what for one in made.listing.requests] == ["swvl1 of 5 days, 2018-07-10/2018-07-14"]
    assert "days after 2018-07-14 are not published yet: fetch them later" in made.listing.notes
    assert listed(project, "era5-land", "2018-07-19/2018-07-20").listing.requests == []


def test_a_file_that_came_too_early_is_fetched_again_on_another_day(store, tmp_path):
    project, today = project_with(tmp_path / "p", SWVL1), today_utc()
    day = str(today - 6 * ONE_DAY)
    fetched(project, "era5-land", day, today)
    assert [one.is_there(today) for one in listed(project, "era5-land", day, today).listing.requests] == [True]
    later = listed(project, "era5-land", day, today + ONE_DAY).listing.requests
    assert [one.is_there(today + ONE_DAY) for one in later] == [False]


def test_preliminary_days_are_asked_for_again_once_they_may_be_final(store, tmp_path):
    """Two months after the end of June, and each fortnight until the final ones are there; the file is replaced."""
    store.make = partial(era5_land_result, final=False)
    project, june = project_with(tmp_path / "p", SWVL1), "2018-06-29/2018-06-30"
    results = fetched(project, "era5-land", june)
    assert taken_in(project, results) == ["new"]
    before = results[0].request.file.read_bytes()
    aged(results, date(2018, 7, 8))
    early = listed(project, "era5-land", june, date(2018, 8, 31)).listing
    assert (early.held, list(early.requests)) == (2, [])
    listing = listed(project, "era5-land", june, date(2018, 9, 1)).listing
    (request,) = listing.requests
    assert request.what == "swvl1 of 2 days, 2018-06-29/2018-06-30, final"
    assert "2 days of the catalogue are preliminary" in listing.notes[-1]
    assert request.file == results[0].request.file
    assert not request.is_there(date(2018, 9, 1))
    other = listed(project, "era5-land", "2018-07-01", date(2018, 9, 1)).listing
    assert str(other.outdated) == june, "days of another period are named"
    assert listing.outdated is None

    again = fetched(project, "era5-land", june, date(2018, 9, 1))
    assert [one.status for one in again] == ["fetched"]
    aged(again, date(2018, 9, 1))
    for day, there in ((14, True), (16, False)):
        today = date(2018, 9, day)
        (request,) = listed(project, "era5-land", june, today).listing.requests
        assert request.is_there(today) is there, "the service was late"
    store.make = partial(era5_land_result, shift=0.01)
    final = fetched(project, "era5-land", june, date(2018, 9, 16))
    assert final[0].request.file.read_bytes() != before
    assert taken_in(project, final) == ["replaced"]
    done = listed(project, "era5-land", june, date(2019, 9, 16)).listing
    assert (done.held, list(done.requests), done.outdated) == (2, [], None)


def aged(results, day):
    """Files that were fetched on a day."""
    seconds = utc_instant(day).timestamp()
    for one in results:
        os.utime(one.request.file, (seconds, seconds))


def test_stores_without_a_queue_are_named(tmp_path):
    (note,) = listed(project_with(tmp_path / "p", SWVL1), "era5-land").listing.notes
    assert "era5-land-v0.zarr" in note
    assert "stac_sm[zarr]" in note


def test_a_request_that_fails_stops_no_other(store, tmp_path):
    store.outcomes = ["failed"]
    results = fetched(project_with(tmp_path / "p", SWVL1), "era5-land", "2018-05-31/2018-06-01")
    assert sorted(one.status for one in results) == ["failed", "fetched"]


LON, LAT = st.integers(-180, 180), st.integers(-90, 90)


@given(
    st.lists(st.tuples(LON, LAT, LON, LAT).map(lambda b: (b[0], min(b[1], b[3]), b[2], max(b[1], b[3]))), min_size=1)
)
def test_areas_hold_all_boxes(boxes):
    found = areas(boxes)
    assert len(found) <= 2
    for west, south, east, north in boxes:
        parts = [(west, east)] if west <= east else [(west, 180), (-180, east)]
        for left, right in parts:
            assert any(a[0] <= left and right <= a[2] and a[1] <= south and north <= a[3] for a in found) or (
                left < 0 <= right and len(found) == 2
            )


@given(st.sets(st.dates(date(2017, 11, 1), date(2018, 3, 1)), min_size=1))
def test_requests_of_months_hold_each_day_once_under_other_names(days):
    months = by_month(sorted(days))
    assert sorted(day for month in months for day in month) == sorted(days)
    names = [days_name(month) for month in months]
    assert len(set(names)) == len(names)
    for month in months:
        if len(month) > 1:
            assert days_name(month[:-1]) != days_name(month)


def test_a_period_of_the_future_is_no_request(tmp_path):
    project = project_with(tmp_path / "p", SWVL1)
    assert listed(project, "era5-land", str(Period.of_day(date(2030, 1, 1)))).listing.requests == []


def test_a_place_is_required(tmp_path):
    with pytest.raises(InputError, match="no place found"):
        listed(project_with(tmp_path / "p", SWVL1), "era5-land", tiles=())
