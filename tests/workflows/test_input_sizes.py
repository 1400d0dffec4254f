"""Sizes of all inputs for a place and a period, against the table of inputs counted by hand."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.errors import InputError
from stac_sm.core.period import Period
from stac_sm.ingest.download_table import downloads
from stac_sm.workflows.input_sizes import input_sizes
from tests.support.fetching import project_with

JUNE = Period.parse("2018-06")
MEAN = """
[[recipe.features]]
name = "mean"
collection = "era5-land"
asset = "swvl1"
statistic = "climatology"
climatology = { period = "2016/2018" }
"""
MORE = MEAN + '[matchups]\nperiod = "2018-06-16/2019-01-04"\n'
A_MONTH = {one.collection: round(one.megabytes * 1e6) for _, one in downloads()}


@pytest.fixture
def project(tmp_path):
    features = [("era5-land", "swvl1", "daily"), ("glass-lst", "lst", "daily"), ("cop-dem", "elevation", "static")]
    return project_with(tmp_path / "p", *features, more=MORE)


def test_days_count_once_and_the_whole_earth_is_no_matter_of_tiles(project):
    """June has 30 days, the three years 1096, and 4 days of January are left for the match-ups."""
    found = {one.collection: one for one in input_sizes(project, JUNE, tiles=("h18v04", "h18v05"))}
    era5, lst, cci = (found[id] for id in ("era5-land", "glass-lst", "esa-cci-sm"))
    day = A_MONTH["era5-land"] / 30
    expected = [round(2 * days * day) for days in (30, 1096 - 30, 4)]
    assert [era5.product, era5.climatology, era5.matchups] == pytest.approx(expected, abs=2)
    assert era5.total == era5.product + era5.climatology + era5.matchups
    assert (lst.product, lst.climatology) == (2 * A_MONTH["glass-lst"], 0)
    assert lst.matchups == pytest.approx(2 * A_MONTH["glass-lst"] * (203 - 15) / 30, abs=2), "from 1 July on"
    assert found["cop-dem"].total == found["cop-dem"].product == 2 * A_MONTH["cop-dem"]
    assert (cci.product, cci.matchups) == (0, round(A_MONTH["esa-cci-sm"] * 203 / 30))
    assert found["ismn-stations"].total is None


def test_the_command_adds_up_and_asks_no_service(project):
    call = ["fetch", "all", "--project", str(project.folder), "--bbox", "6,43,9,46", "--period", "2018-06"]
    done = CliRunner().invoke(main, [*call, "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "in all at most " in done.stderr
    assert "for 2018-06-01/2018-06-30, " in done.stderr
    assert "counted by whole tiles (h18v04)" in done.stderr
    document = json.loads(CliRunner().invoke(main, [*call, "--dry-run", "--json"]).stdout)
    assert document["tiles"] == ["h18v04"]
    known = [one["total"] for one in document["inputs"] if one["total"] is not None]
    assert document["known_bytes"]["total"] == sum(known) > 1e9
    refused = CliRunner().invoke(main, call)
    assert (refused.exit_code, "--dry-run adds up the sizes of all" in refused.stderr) == (1, True)


def test_a_place_is_required(project):
    with pytest.raises(InputError, match="no place found"):
        input_sizes(project, JUNE)
