"""Soil moisture of C3S: requests by month, and items of what comes."""

from __future__ import annotations

from datetime import date

import pytest

from tests.support.fetched_files import c3s_result
from tests.support.fetching import fetched, listed, project_with, taken_in
from tests.support.services import TOKEN, ClimateDataStore

SWVL1 = ("era5-land", "swvl1", "daily")


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setenv("STAC_SM_RETRY_FIRST_WAIT", "0.01")
    monkeypatch.setenv("STAC_SM_RETRY_LONGEST_WAIT", "0.02")
    with ClimateDataStore(make=c3s_result, looks=0) as service:
        monkeypatch.setenv("CDSAPI_URL", f"{service.address}/api")
        monkeypatch.setenv("CDSAPI_KEY", TOKEN)
        yield service


def test_days_of_the_third_data_set_become_items(store, tmp_path):
    project = project_with(tmp_path / "p", SWVL1, more='\n[screening]\nthird = "c3s-sm-passive"\n')
    results = fetched(project, "esa-cci-sm", "2018-06-01/2018-06-02")
    assert [one.status for one in results] == ["fetched"]
    (job,) = store.jobs.values()
    assert job["inputs"] == {
        "variable": ["volumetric_surface_soil_moisture"],
        "type_of_sensor": ["passive"],
        "time_aggregation": ["day_average"],
        "year": ["2018"],
        "month": ["06"],
        "day": ["01", "02"],
        "type_of_record": ["cdr"],
        "version": ["v202312"],
    }
    taken_in(project, results)
    assert len(project.catalog.items("c3s-sm-passive")) == 2


def test_the_series_is_named_where_the_project_uses_another(tmp_path):
    made = listed(project_with(tmp_path / "p", SWVL1), "esa-cci-sm", "2024-06-01", today=date(2026, 1, 1))
    assert [one.what for one in made.listing.requests] == ["c3s-sm v202312 (icdr) of 1 days, 2024-06-01"]
    assert 'third = "c3s-sm"' in made.listing.notes[0]
