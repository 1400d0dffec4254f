"""The protocol of a validation: what it states, and in which words."""

from __future__ import annotations

import json
import re
from datetime import date

import numpy as np
import pandas as pd
import pytest

from stac_sm.core.period import Period
from stac_sm.core.scores.series import SCALINGS
from stac_sm.stations.records import Station, StationRules
from stac_sm.workflows.validation.protocol import (
    ISMN_CITATION,
    Reference,
    product_reference,
    station_reference,
    validation_protocol,
)
from tests.support.fields import SMALL, edit, put
from tests.support.product_days import new_project

ROWS = pd.DataFrame({"site": ["SCAN.a", "SCAN.a", "NEW.b"], "network": ["SCAN", "SCAN", "NEW"]})
RULES = StationRules(max_depth=0.1, flag="G", valid=(0.01, 0.55), min_hours=6)
REFERENCES = [Reference("ismn-stations", "2 series"), Reference("smap", "9")]


def protocol(scaling="none", rows=ROWS):
    return validation_protocol(Period.parse("2018"), RULES, scaling, rows, {"too deep": 7}, REFERENCES)


def test_it_states_the_rules_that_were_applied():
    found = protocol()
    assert "a sensor needs 6 of them" in found.temporal_window
    assert "end at 0.1 m or above" in found.depth
    assert found.flags == "readings flagged G, above 0.01 and below 0.55 m3 m-3"
    assert (found.period, found.compared, found.dropped) == ("2018-01-01/2018-12-31", 3, {"too deep": 7})
    assert "95 %" in found.intervals


def test_networks_are_cited_and_an_unknown_one_is_named_too():
    found = protocol().citations
    assert list(found) == ["ISMN", "NEW", "SCAN"]
    assert found["ISMN"] == ISMN_CITATION
    assert "Schaefer et al. (2007)" in found["SCAN"]
    assert "ismn.earth" in found["NEW"]
    assert protocol(rows=ROWS.iloc[:0]).citations == {}


def test_citations_are_those_of_the_readme_of_the_ismn(shared):
    readme = (shared / "data/ismn_conus/folder/Readme.txt").read_text(encoding="utf-8", errors="replace")
    about = re.split(r"\n\t(?=\S+\n\t\tAbstract:)", readme)[1:]
    listed = {part.split("\n")[0].strip(): part for part in about}
    rows = pd.DataFrame({"site": sorted(listed), "network": sorted(listed)})
    cited = protocol(rows=rows).citations
    known = [name for name in listed if "doi:" in cited[name]]
    assert {"PBO_H2O", "USCRN"} <= set(known)
    for name in known:
        assert cited[name].partition("doi:")[2].lower() in listed[name].lower()


@pytest.mark.parametrize("scaling", SCALINGS)
def test_page_and_json_have_every_part(scaling):
    found = protocol(scaling)
    lines = dict(found.lines)
    assert lines["scaling"] == "none" or "of each station" in lines["scaling"]
    assert (lines["reference smap"], lines["not compared: too deep"]) == ("9", "7")
    record = json.loads(json.dumps(found.to_dict()))
    assert record["scaling"] == scaling
    assert record["references"] == [{"collection": one.collection, "version": one.version} for one in REFERENCES]


def station(id, checksum):
    return Station(id, "N", id, 0.0, 0.0, (), Period.parse("2018"), "", "", checksum)


def test_readings_are_identified_by_their_content_whatever_the_order():
    first, second = station("N.a", "1"), station("N.b", "2")
    found = station_reference([first, second], "ismn-stations")
    assert found == station_reference([second, first], "ismn-stations")
    assert found.version.startswith("2 series, readings up to 2018-12-31, digest ")
    assert found != station_reference([first, station("N.b", "3")], "ismn-stations")


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"version": "8.1"}, "8.1"),
        ({"stac_sm:rank": {"version": [19240], "produced": "001"}}, "release 19240"),
        ({"version": "202212", "stac_sm:rank": {"version": [202212], "final": False}}, "202212 preliminary"),
        ({"stac_sm:sources": [{"name": "a.nc", "hours": [0, 6], "final": [0, 6]}]}, "final"),
        ({"stac_sm:sources": [{"variables": {"swvl1": {"final": [0], "preliminary": [6]}}}]}, "preliminary"),
        ({}, "not stated"),
    ],
)
def test_the_version_of_a_product_is_what_its_items_state(properties, said, tmp_path):
    """ERA5-Land has no version, but final and preliminary hours; SMAP has the release in the names of its files."""
    catalog = new_project(tmp_path / "p", SMALL).catalog
    field = np.zeros(tuple(SMALL.geobox("h00v00").shape), np.float32)
    put(catalog, "smap", "one", SMALL.geobox("h00v00"), {"smap_sm": field}, date(2018, 7, 1))
    edit(catalog, "smap", "one", lambda item: item["properties"].update(properties))
    assert product_reference(catalog, "smap", Period.parse("2018")).version == said


def test_a_product_without_a_version_says_so(tmp_path):
    catalog = new_project(tmp_path / "p", SMALL).catalog
    assert product_reference(catalog, "esa-cci-sm", Period.parse("2018")).version == "not stated"
    assert product_reference(catalog, "no-such", Period.parse("2018")).version == "not stated"
