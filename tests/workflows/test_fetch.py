"""The command fetch: what it prints before and after, and what a second one does."""

from __future__ import annotations

import json
import shlex

import pytest
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.period import Period
from stac_sm.features.recipe import Feature
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.workflows.fetch import needed_period, source_names
from tests.support.fetched_files import era5_land_result
from tests.support.fetching import project_with
from tests.support.readme_blocks import blocks_of
from tests.support.services import TOKEN, ClimateDataStore, nasa


@pytest.fixture
def project(tmp_path):
    return project_with(tmp_path / "p", ("era5-land", "swvl1", "daily"))


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setenv("STAC_SM_RETRY_FIRST_WAIT", "0.01")
    monkeypatch.setenv("STAC_SM_RETRY_LONGEST_WAIT", "0.02")
    with ClimateDataStore(make=era5_land_result, looks=1) as service:
        monkeypatch.setenv("CDSAPI_URL", f"{service.address}/api")
        monkeypatch.setenv("CDSAPI_KEY", TOKEN)
        yield service


def called(*arguments, code=0):
    done = CliRunner().invoke(main, list(map(str, arguments)))
    assert done.exit_code == code, done.output
    return done


PLACE = ("--bbox", "11,46,11.2,46.2", "--period", "2018-06-01/2018-06-02")


def as_json(source, project, *more):
    return json.loads(called("fetch", source, "--project", project.folder, *PLACE, *more, "--json").stdout)


def test_a_dry_run_prints_requests_and_sizes_and_asks_for_no_account(project):
    done = called("fetch", "era5-land", "--project", project.folder, *PLACE, "--dry-run")
    assert "swvl1 of 2 days, 2018-06-01/2018-06-02" in done.stdout
    assert "at most" in done.stdout
    assert "1 requests" in done.stderr
    assert not (project.folder / "granules").exists()
    document = json.loads(
        called("fetch", "era5-land", "--project", project.folder, *PLACE, "--dry-run", "--json").stdout
    )
    (request,) = document["requests"]
    assert request["estimated_bytes"] > 1000
    assert request["there"] is False


def test_it_fetches_says_the_state_of_the_queue_and_what_is_next(project, store):
    done = called("fetch", "era5-land", "--project", project.folder, *PLACE)
    assert "waits in the queue" in done.stderr
    assert f"next: stac-sm ingest {project.folder}/granules/era5-land --project {project.folder}" in done.stderr
    (request,) = json.loads(called("fetch", "era5-land", "--project", project.folder, *PLACE, "--json").stdout)[
        "requests"
    ]
    assert request["status"] == "there"
    assert TOKEN not in done.output
    called("ingest", f"{project.folder}/granules/era5-land", "--project", project.folder)
    assert len(project.catalog.items("era5-land")) == 2


def test_the_block_of_the_readme_runs(tmp_path, store, monkeypatch):
    """It stands beside the table of inputs in catalog/README.md; `~` and accounts are those of this test."""
    (block,) = (one for one in blocks_of("catalog/README.md") if one.heading == "Fetch the inputs")
    project_with(tmp_path / "p", ("era5-land", "swvl1", "daily"), ("soilgrids", "clay", "static"))
    monkeypatch.chdir(tmp_path / "p")
    for line in block.text.splitlines():
        program, *words = shlex.split(line)
        assert program == "stac-sm"
        called(*words)
    assert len(open_catalog(tmp_path / "p").items("era5-land")) == 30


def test_what_fails_is_named_and_the_exit_code_is_1(project, store):
    store.outcomes = ["failed"]
    done = called("fetch", "era5-land", "--project", project.folder, *PLACE, code=1)
    assert "failed: swvl1 of 2 days" in done.stderr
    assert "1 of 1 requests have no file yet: do what is said of each, then run the same command again" in done.stderr


@pytest.mark.parametrize("source", source_names()[1])
def test_by_hand_prints_page_selection_and_the_line_that_ingests(project, source):
    done = called("fetch", source, "--project", project.folder, *PLACE)
    assert "page: https://" in done.stdout
    assert f"stac-sm ingest {project.folder}/granules/{source} --project {project.folder}" in done.stdout
    assert as_json(source, project)["steps"]


CLIMATOLOGY = """
[[recipe.features]]
name = "mean"
collection = "{collection}"
asset = "{asset}"
statistic = "climatology"
climatology = {{ period = "2017/2018" }}
"""


def test_years_of_a_climatology_are_left_out_with_their_size_and_come_with_an_option(tmp_path):
    """Days that the period has anyway are asked for once, with all variables; the years with those of the mean."""
    more = CLIMATOLOGY.format(collection="era5-land", asset="swvl1")
    features = ("era5-land", "swvl1", "daily"), ("era5-land", "stl1", "daily")
    project = project_with(tmp_path / "p", *features, more=more)
    call = ("fetch", "era5-land", "--project", project.folder, *PLACE, "--dry-run")
    done = called(*call)
    assert "left out: the years 2017-01-01/2018-12-31 that the recipe averages, 24 more requests" in done.stderr
    assert "--climatology lists and fetches them" in done.stderr
    assert done.stdout.count("swvl1, stl1 of") == 1
    short, whole = (json.loads(called(*call, *more, "--json").stdout) for more in ([], ["--climatology"]))
    assert whole["left_out_years"] is None
    sizes = [sum(one["estimated_bytes"] for one in made["requests"]) for made in (short, whole)]
    left = short["left_out_years"]
    assert (left["years"], left["requests"]) == (["2017-01-01/2018-12-31"], 24)
    assert left["estimated_bytes"] == sizes[1] - sizes[0]
    names = [one["what"] for one in whole["requests"]]
    assert names[0] == "swvl1, stl1 of 2 days, 2018-06-01/2018-06-02"
    assert "swvl1 of 28 days, 2018-06-03/2018-06-30" in names
    assert len(names) == 25
    assert "left out" not in called(*call, "--climatology").stderr


def test_the_years_come_and_the_mean_is_made_of_them(tmp_path, store):
    more = CLIMATOLOGY.format(collection="era5-land", asset="swvl1").replace("2017/2018", "2018-05-29/2018-06-02")
    project = project_with(tmp_path / "p", ("era5-land", "swvl1", "daily"), more=more)
    place = ("--project", project.folder)
    called("fetch", "era5-land", *place, *PLACE, "--climatology")
    called("ingest", project.folder / "granules", *place, "--workers", 1)
    assert len(project.catalog.items("era5-land")) == 5
    called("climatology", *place, "--workers", 1)
    assert len(project.catalog.items("climatology")) == 2, "May and June"
    done = called("fetch", "era5-land", *place, *PLACE, "--dry-run")
    assert "left out" not in done.stderr, "what is there is not left out"


def test_a_person_sees_the_years_of_a_climatology_among_the_days_to_select(tmp_path):
    more = CLIMATOLOGY.format(collection="glass-lst", asset="lst")
    project = project_with(tmp_path / "p", ("glass-lst", "lst", "daily"), more=more)
    done = called("fetch", "glass", "--project", project.folder, *PLACE)
    assert "YYYY/DDD from 2017/001 to 2018/365, each day" in done.stdout


@pytest.mark.parametrize(
    ("source", "feature", "words"),
    [
        ("era5-land", ("era5-land", "swvl1", "daily"), "put url and key of your profile into ~/.cdsapirc"),
        ("modis", ("modis-11A1-061", "LST_Day_1km", "daily"), "set EARTHDATA_TOKEN to a token of"),
    ],
)
def test_without_an_account_the_error_is_said_once_and_no_service_is_asked(
    tmp_path, monkeypatch, source, feature, words
):
    for name in ("CDSAPI_URL", "CDSAPI_KEY", "EARTHDATA_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CDSAPI_RC", str(tmp_path / "none"))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    granules = {f"MOD11A1.A201815{day}.h18v04.061.2021001143512.hdf": b"HDF" for day in range(2, 6)}
    with nasa(granules) as (archive, _):
        monkeypatch.setenv("STAC_SM_CMR_URL", archive.address)
        place = ("--tiles", "h18v04", "--period", "2018-03/2018-06")
        project = project_with(tmp_path / "p", feature)
        done = called("fetch", source, "--project", project.folder, *place, code=1)
        assert not [path for _, path in archive.asked if path.startswith("/data/")]
    assert done.stderr.count(words) == 1
    assert "failed: 4 requests: no account of" in done.stderr


def test_a_key_that_is_refused_is_sent_to_no_further_request(project, store):
    store.token = "renewed"
    done = called("fetch", "era5-land", "--project", project.folder, *PLACE[:2], "--period", "2016/2017", code=1)
    assert done.stderr.count("refuses the key (401)") == 1
    assert "failed: 24 requests: reanalysis-era5-land: the Climate Data Store refuses" in done.stderr
    assert sum(number for (_, path), number in store.asked.items() if path.endswith("/execution")) <= 4


def test_the_folder_of_the_project_file_is_taken(tmp_path):
    project = project_with(tmp_path / "p", ("era5-land", "swvl1", "daily"), more='\n[fetch]\nfolder = "/data/in"\n')
    done = called("fetch", "ismn", "--project", project.folder, *PLACE)
    assert "put the files into /data/in/ismn" in done.stdout


def test_days_of_the_match_ups_are_named_where_those_of_the_product_are_listed(tmp_path):
    more = '\n[product]\nperiod = "2018-06-01/2018-06-02"\n[matchups]\nperiod = "2017"\n'
    project = project_with(tmp_path / "p", ("era5-land", "swvl1", "daily"), more=more)
    done = called("fetch", "era5-land", "--project", project.folder, *PLACE[:2], "--dry-run")
    assert "of [product], 2018-06-01/2018-06-02; those of the match-ups come with --period 2017-01-01/2017-12-31" in (
        done.stderr
    )
    assert "match-ups" not in called("fetch", "era5-land", "--project", project.folder, *PLACE, "--dry-run").stderr
    stations = called("fetch", "ismn", "--project", project.folder, *PLACE[:2])
    assert "period: 2017-01-01 to 2017-12-31" in stations.stdout, "only the match-ups need them"
    assert "match-ups" not in stations.stderr


@pytest.mark.parametrize("source", ["era5-land", "ismn"])
def test_a_box_is_repeated_in_words_and_one_that_was_swapped_is_named(tmp_path, source):
    """The land tells where one of both is in the sea; where both are on land, the tiles of the project do."""
    more = '\n[product]\ntiles = ["h18v04"]\n'
    project = project_with(tmp_path / "p", ("era5-land", "swvl1", "daily"), more=more)
    call = ("fetch", source, "--project", project.folder, "--period", "2018-06-01/2018-06-02", "--dry-run")
    done = called(*call, "--bbox", "11,46,11.2,46.2")
    assert "box: west 11, south 46, east 11.2, north 46.2; tile: h18v04 (west 0.00, " in done.stderr
    assert "no tile of [product]" not in done.stderr
    done = called(*call, "--bbox", "46,11,46.2,11.2")
    assert "box: west 46, south 11, east 46.2, north 11.2; tile: h22v07 (west " in done.stderr
    note = "no tile of [product], h18v04, meets the box west 46, south 11, east 46.2, north 11.2; "
    assert f"{source}: {note}11,46,11.2,46.2 would be in them: the longitude comes first" in done.stderr
    document = json.loads(called(*call, "--bbox", "46,11,46.2,11.2", "--json").stdout)
    assert document["place"] == {"bbox": [46, 11, 46.2, 11.2]}
    assert any(one.startswith(note) for one in document["notes"])
    done = called(*call, "--bbox", "-32,25,-31.9,25.1", code=1)
    assert "--bbox -32,25,-31.9,25.1: no land found in h15v06" in done.stderr
    assert "; 25,-32,25.1,-31.9 would be in h20v12 (west 23.09" in done.stderr
    assert called(*call, "--bbox", "46,100,46.2,101", code=1).stderr.count("if latitude came first, give 100,46,101,")


def test_wrong_words_are_explained(project):
    assert "did you mean 'era5-land'" in called("fetch", "era5land", "--project", project.folder, *PLACE, code=1).output
    assert "no place found" in called("fetch", "era5-land", "--project", project.folder, code=1).output
    both = called("fetch", "era5-land", "--project", project.folder, *PLACE, "--tiles", "h18v04", code=1)
    assert "give one of --tiles and --bbox" in both.output


@pytest.mark.parametrize(
    ("feature", "first", "last"),
    [
        (Feature("a", "c", "x"), "2018-06-10", "2018-06-12"),
        (Feature("a", "c", "x", lag=3, trailing=5), "2018-06-03", "2018-06-12"),
        (Feature("a", "c", "x", time="composite", max_gap=0, trailing=2), "2018-05-09", "2018-07-13"),
        (Feature("a", "c", "x", time="previous", max_gap=0), "2018-05-10", "2018-06-12"),
    ],
)
def test_days_that_a_feature_looks_at(feature, first, last):
    found = needed_period(feature, Period.parse("2018-06-10/2018-06-12"))
    assert found is not None
    assert found.start <= Period.parse(first).start
    assert found.end >= Period.parse(last).end
    if feature.time == "daily":
        assert str(found) == f"{first}/{last}"
    if feature.time == "previous":
        assert found.end == Period.parse(last).end
    assert needed_period(Feature("a", "c", "x", time="static"), Period.parse("2018")) is None
