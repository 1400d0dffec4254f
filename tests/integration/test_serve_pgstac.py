"""Our API beside stac-fastapi-pgstac on PostgreSQL with PostGIS: the same items, the same answers."""

from __future__ import annotations

import os
import random

import pytest
from pgstac import pgstac_server, why_no_pgstac
from served import COLLECTIONS, made_catalog, made_collection, made_items, random_search, running, searched

TRIALS = int(os.environ.get("STAC_SM_QUERY_TRIALS", "100"))
ITEMS = 10_000


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Items, and the addresses of both servers."""
    if why := why_no_pgstac():
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
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
