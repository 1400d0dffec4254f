"""Classes of sites: from the first station of each, and the sensors of all stations in its pixel that count."""

from __future__ import annotations

import pandas as pd

from stac_sm.core.period import Period
from stac_sm.stations.records import Station, StationRules, stations_at_sites
from stac_sm.stations.site_classes import site_classes


def station(id, depths, **known):
    return Station(id, id.split(".")[0], id, 0.0, 0.0, depths, Period.parse("2018"), "", "", "", **known)


STATIONS = (
    station("A.1", ((0.0, 0.05), (0.1, 0.2)), climate="Dfb", elevation=1200.0, land_cover=11),
    station("A.2", ((0.05, 0.05),), climate="BWk"),
    station("B.1", ((0.05, 0.05), (0.05, 0.05))),
)
SITES = pd.DataFrame({"site": ["A.1", "B.1"], "stations": [["A.1", "A.2"], ["B.1"]]})


def test_a_site_has_its_first_station_and_the_sensors_of_all_that_count():
    found = stations_at_sites(SITES, STATIONS, StationRules())
    assert {site: (one.id, depths) for site, (one, depths) in found.items()} == {
        "A.1": ("A.1", ((0.0, 0.05), (0.05, 0.05))),
        "B.1": ("B.1", ((0.05, 0.05),)),
    }
    deeper = stations_at_sites(SITES, STATIONS, StationRules(max_depth=0.2))
    assert deeper["A.1"][1] == ((0.0, 0.05), (0.1, 0.2), (0.05, 0.05))


def test_classes_are_those_of_the_station_and_empty_where_nothing_is_known():
    found = site_classes(stations_at_sites(SITES, STATIONS, StationRules()))
    assert found.loc["A.1"].to_dict() == {
        "climate": "D cold", "land cover": "cropland", "elevation": "1000 to 2000 m", "sensing depth": "0 to 5 cm"
    }  # fmt: skip
    assert found.loc["B.1"].to_dict() == {"climate": "", "land cover": "", "elevation": "", "sensing depth": "5 cm"}
