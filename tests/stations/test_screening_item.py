"""Verdicts on the items of stations, beside the ingest that makes and replaces these items."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from stac_sm.core.errors import CatalogError
from stac_sm.ingest.pipeline import ingest
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, INGEST_FINGERPRINT_PROPERTY
from stac_sm.stations.records import read_stations
from stac_sm.stations.screening_item import (
    LEFT_OUT_STATUS,
    NO_DATA_STATUS,
    NO_SITE_STATUS,
    SCREENING_SCORES_PROPERTY,
    SCREENING_STATUS_PROPERTY,
    screening_properties,
    write_screening_results,
)
from tests.support.source_files import content, ingested, new_catalog, write_stm

ABOUT = {"second": "era5-land", "third": "esa-cci-sm", "period": "2018", "confidence": 0.9, "rules": {"min_days": 100}}


def judged(correlation=0.8, status="kept"):
    row = {"site": "NET.Hill-1", "n": 200, "status": status, "correlation": correlation, "error_std": 0.03,
           "snr_db": np.nan, "correlation_low": 0.7, "correlation_high": 0.9, "error_std_low": 0.02,
           "error_std_high": 0.04, "resamples": 190, "failed_resamples": 10}  # fmt: skip
    return pd.DataFrame([row])


def sites(*members):
    return pd.DataFrame({"site": [members[0]], "stations": [list(members)]})


def write(catalog, said):
    stations = read_stations(catalog)
    return dict(write_screening_results(catalog, [(one.id, one.href, one.checksum) for one in stations], said))


@pytest.fixture
def catalog(tmp_path):
    """A station with a verdict."""
    write_stm(tmp_path / "in")
    made = new_catalog(tmp_path / "catalog")
    ingest(made, "ismn", [tmp_path / "in"])
    assert write(made, screening_properties(sites("NET.Hill-1"), judged(), ABOUT)) == {"replaced": 1}
    return made


def only(catalog):
    (item,) = ingested(catalog, "ismn-stations")
    return item


def test_a_verdict_is_what_screening_says(catalog, validate):
    item = only(catalog)
    assert item.properties[SCREENING_STATUS_PROPERTY] == "kept"
    assert item.properties[SCREENING_SCORES_PROPERTY] == {
        "n": 200, "resamples": 190, "failed_resamples": 10, "correlation": 0.8, "correlation_low": 0.7,
        "correlation_high": 0.9, "error_std": 0.03, "error_std_low": 0.02, "error_std_high": 0.04,
        "site": "NET.Hill-1", **ABOUT,
    }  # fmt: skip
    validate(item)


def test_ingesting_the_same_file_again_keeps_it(catalog, tmp_path):
    before = content(tmp_path / "catalog")
    (result,) = ingest(catalog, "ismn", [tmp_path / "in"])
    assert (result.status, result.items) == ("done", {"done": 1})
    assert content(tmp_path / "catalog") == before


def test_a_changed_series_takes_it_away_since_it_is_not_about_that(catalog, tmp_path):
    old = only(catalog)
    write_stm(tmp_path / "in", values=np.full(48, 0.3))
    (result,) = ingest(catalog, "ismn", [tmp_path / "in"], replace=True)
    assert result.status == "replaced"
    new = only(catalog)
    assert not {SCREENING_STATUS_PROPERTY, SCREENING_SCORES_PROPERTY, INGEST_FINGERPRINT_PROPERTY} & set(new.properties)
    assert new.properties[FINGERPRINT_PROPERTY] != old.properties[INGEST_FINGERPRINT_PROPERTY]


def test_the_fingerprint_covers_it_and_knows_the_way_back(catalog):
    first = only(catalog)
    assert write(catalog, screening_properties(sites("NET.Hill-1"), judged(0.7), ABOUT)) == {"replaced": 1}
    second = only(catalog)
    assert second.properties[FINGERPRINT_PROPERTY] != first.properties[FINGERPRINT_PROPERTY]
    assert second.properties[INGEST_FINGERPRINT_PROPERTY] == first.properties[INGEST_FINGERPRINT_PROPERTY]
    assert write(catalog, screening_properties(sites("NET.Hill-1"), judged(), ABOUT)) == {"replaced": 1}
    assert only(catalog).to_dict() == first.to_dict()


def test_the_sentence_of_a_result_is_no_part_of_its_identity_but_the_decision_is(catalog):
    first = only(catalog)
    rejected = screening_properties(sites("NET.Hill-1"), judged(status="rejected: one reason"), ABOUT)
    assert write(catalog, rejected) == {"replaced": 1}
    assert only(catalog).properties[FINGERPRINT_PROPERTY] != first.properties[FINGERPRINT_PROPERTY]
    reworded = screening_properties(sites("NET.Hill-1"), judged(status="rejected: the same in other words"), ABOUT)
    assert write(catalog, reworded) == {"done": 1}
    undetermined = screening_properties(sites("NET.Hill-1"), judged(status="undetermined: one reason"), ABOUT)
    assert write(catalog, undetermined) == {"replaced": 1}
    statuses = [NO_DATA_STATUS, NO_SITE_STATUS, LEFT_OUT_STATUS]
    assert [write(catalog, {"NET.Hill-1": {SCREENING_STATUS_PROPERTY: one}}) for one in statuses] == [
        {"replaced": 1}
    ] * 3


def test_every_station_of_a_site_gets_the_verdict_and_others_are_told_why_not():
    said = screening_properties(sites("A", "B"), judged().assign(site="A"), ABOUT)
    assert said["A"] == said["B"]
    assert said["B"][SCREENING_SCORES_PROPERTY]["site"] == "A"
    assert screening_properties(sites("C"), judged(), ABOUT) == {"C": {SCREENING_STATUS_PROPERTY: NO_DATA_STATUS}}


def test_a_station_of_no_site_is_told_so(catalog):
    assert write(catalog, {}) == {"replaced": 1}
    assert only(catalog).properties[SCREENING_STATUS_PROPERTY] == NO_SITE_STATUS
    assert SCREENING_SCORES_PROPERTY not in only(catalog).properties


def test_items_of_other_catalogues_are_left_alone(catalog):
    with pytest.raises(CatalogError, match="lies outside of the catalogue"):
        write_screening_results(catalog, [("A", "https://elsewhere.org/A.json", "")], {})
