"""Our API beside stac-fastapi-pgstac on PostgreSQL with PostGIS, and rustac's: the same items, the same answers."""

from __future__ import annotations

import contextlib
import json
import os
import random
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pystac_client
import pytest
import rustac
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.period import Period
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.index.manifest import is_item
from stac_sm.stations.records import read_stations
from stac_sm.workflows.training.steps import match_up_step, train_step
from tests.support.leaks import StationValues, walk
from tests.support.missing import need
from tests.support.pgstac import pgstac_server, why_no_pgstac
from tests.support.product_days import FIRST, new_project, put_days
from tests.support.served import (
    COLLECTIONS,
    made_catalog,
    made_collection,
    made_items,
    random_search,
    running,
    rustac_serving,
    searched,
)
from tests.support.station_project import a_project

pytestmark = pytest.mark.xdist_group("pgstac")

TRIALS = int(os.environ.get("STAC_SM_QUERY_TRIALS", "100"))
ITEMS = 10_000


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Items, and the addresses of both servers."""
    need("PostgreSQL with pgstac", why_no_pgstac())
    items, root = made_items(ITEMS), tmp_path_factory.mktemp("both") / "catalog"
    made_catalog(root, items)
    with pgstac_server() as other, running(root) as ours:
        other.load([made_collection(id) | {"links": []} for id in COLLECTIONS], items)
        yield items, ours, other.address


def test_answers_are_those_of_pgstac(servers):
    items, ours, other = servers
    rng, found = random.Random(f"{TRIALS} trials"), 0
    for trial in range(TRIALS):
        body = random_search(rng, items)
        answer = searched(ours, body)
        assert answer == searched(other, body), (trial, body)
        found += bool(answer)
    assert found > TRIALS // 3  # most searches find something


def test_a_search_for_one_day_finds_that_day_in_both(servers):
    items, ours, other = servers
    for day in ("2019-06-08", "2020-01-31"):
        period = f"{day}T00:00:00Z/{day}T23:59:59Z"
        body = {"collections": ["daily"], "datetime": period, "limit": 200, "sortby": [{"field": "id"}]}
        answer = searched(ours, body)
        assert answer == searched(other, body | {"sortby": [{"field": "id", "direction": "asc"}]})
        first, last = f"{day}T00:00:00Z", f"{day}T23:59:59Z"
        daily = {one["id"]: one["properties"] for one in items if one["collection"] == "daily"}
        assert set(answer) == {
            id for id, told in daily.items() if told["start_datetime"] <= last and told["end_datetime"] >= first
        }


DAYS = 4


@pytest.fixture(scope="module")
def stations(tmp_path_factory):
    """A project with stations, match-ups and a model."""
    made = a_project(tmp_path_factory.mktemp("stations") / "p")
    train_step(made, match_up_step(made))
    return made


def loaded(server, project, *collections):
    """What `index --to` prints, by collection, and how it ended."""
    told = server.environment
    to = f"postgresql://{told['PGUSER']}@{told['PGHOST']}:{told['PGPORT']}/{told['PGDATABASE']}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", told["PGPASSWORD"])
        arguments = ["index", *collections, "--to", to, "--project", str(project.folder), "--json"]
        done = CliRunner().invoke(main, arguments)
    return {one["collection"]: one for one in json.loads(done.stdout)}, done


def set_visibility(project, collection, value):
    file = Path(project.folder, collection, "collection.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"stac_sm:visibility": value}))


def test_the_database_gets_what_is_public_and_loses_what_is_public_no_more(stations):
    """A database that was filled before: stations with their series, a model with its report and links."""
    if why := why_no_pgstac():
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    catalog = stations.catalog
    values = StationValues.of(value for one in read_stations(catalog) for value in pd.read_parquet(one.series)["sm"])
    hidden = ("ismn-stations", "matchups")
    with pgstac_server() as server:
        for id in hidden:
            set_visibility(stations, id, "public")
        first, done = loaded(server, stations)
        assert done.exit_code == 0, done.output
        assert (first["ismn-stations"]["new"], first["matchups"]["new"]) == (6, 1)
        for id in hidden:
            set_visibility(stations, id, "restricted")
        again, done = loaded(server, stations, "sm-models")  # whatever is named: what is restricted goes
        assert done.exit_code == 0, done.output
        assert [again[id]["removed"] for id in hidden] == [6, 1]
        assert again["sm-models"]["replaced"] == 1  # its links led there
        assert "not in the database, since restricted: ismn-stations, matchups" in done.stderr
        third, done = loaded(server, stations)
        assert {name: one for name, one in third.items() if one["new"] or one["replaced"] or one["removed"]} == {}
        answers = walk(server.address, "/search?limit=1000")
        refused, done = loaded(server, stations, "matchups")
        assert done.exit_code == 1
        assert "matchups: restricted, so not loaded" in done.stderr
        assert refused["matchups"]["new"] == 0
    features = json.loads(answers["/search?limit=1000"].body)["features"]
    assert {"sm-models", "era5-land", "esa-cci-sm"} == {one["collection"] for one in features}
    for path, answer in answers.items():
        assert not values.found_in(answer.body), path
        for link in answer.links:
            assert not any(f"/{id}" in link for id in hidden), (path, link)
            assert ".series." not in link
    (model,) = (one for one in features if one["collection"] == "sm-models")
    assert {"report", "metrics", "model"} <= set(model["assets"])
    assert "series" not in model["assets"]
    assert all(one["assets"] == {} for one in features if one["collection"] == "esa-cci-sm")


@pytest.fixture(scope="module", params=["serve", "pgstac", "rustac"])
def product(request, tmp_path_factory):
    """The product of some days in a row, as it is published, behind a server of each kind; and its ids by day."""
    need("PostgreSQL with pgstac", why_no_pgstac() if request.param == "pgstac" else None)
    folder = tmp_path_factory.mktemp(request.param)
    project = new_project(folder / "p")
    put_days(project.catalog, days=range(DAYS))
    store = project.catalog.store
    items = [json.loads(store.read(one.path)) for one in store.list_objects(PRODUCT_COLLECTION) if is_item(one.path)]
    with contextlib.ExitStack() as stack:
        if request.param == "serve":
            address = stack.enter_context(running(project.folder))
        elif request.param == "rustac":
            collection = project.catalog.collection(PRODUCT_COLLECTION) | {"links": []}
            address = stack.enter_context(rustac_serving(folder, [collection], items))
        else:
            server = stack.enter_context(pgstac_server())
            _, done = loaded(server, project, PRODUCT_COLLECTION)
            assert done.exit_code == 0, done.output
            address = server.address
        yield address, {item["id"]: item["properties"]["start_datetime"][:10] for item in items}


def test_a_search_for_one_utc_day_of_the_product_finds_that_day_only(product):
    """Neither neighbour, whose interval ends a second before it or begins a second after; whoever asks, and however."""
    address, days = product
    client = pystac_client.Client.open(address)
    for number in range(DAYS):
        day = str(FIRST + timedelta(days=number))
        interval = f"{day}T00:00:00Z/{day}T23:59:59Z"
        wanted = sorted(id for id, of in days.items() if of == day)
        assert len(wanted) == 3
        found = {
            "pystac-client, a day": [
                one.id for one in client.search(collections=[PRODUCT_COLLECTION], datetime=day).items()
            ],
            "rustac": [
                one["id"] for one in rustac.search_sync(address, collections=PRODUCT_COLLECTION, datetime=interval)
            ],
            "noon": [one["id"] for one in rustac.search_sync(address, datetime=f"{day}T12:00:00Z")],
            "ours": [one.id for one in open_catalog(address).items(PRODUCT_COLLECTION, period=Period.parse(day))],
        }
        assert {who: sorted(ids) for who, ids in found.items()} == dict.fromkeys(found, wanted)
