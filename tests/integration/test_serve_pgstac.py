"""Our API beside stac-fastapi-pgstac on PostgreSQL with PostGIS, and rustac's: the same items, the same answers."""

from __future__ import annotations

import contextlib
import json
import os
import random
from datetime import timedelta

import pystac_client
import pytest
import rustac
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.period import Period
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.catalogs.catalog import open_items
from stac_sm.stac.index.manifest import is_item
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
            told = server.environment
            to = f"postgresql://{told['PGUSER']}@{told['PGHOST']}:{told['PGPORT']}/{told['PGDATABASE']}"
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("PGPASSWORD", told["PGPASSWORD"])
                done = CliRunner().invoke(
                    main, ["index", PRODUCT_COLLECTION, "--to", to, "--project", str(project.folder)]
                )
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
            "ours": [one.id for one in open_items(address).items(PRODUCT_COLLECTION, period=Period.parse(day))],
        }
        assert {who: sorted(ids) for who, ids in found.items()} == dict.fromkeys(found, wanted)
