"""How fast item search is, beside stac-fastapi-pgstac on the same machine with the same items, in one run.

python tests/benchmarks/search.py --items 1000000 --json

Items are those of tests/support/served.py: 3 collections over 700 days. Searches are of the kinds that clients ask,
one page of 10 with the default order; both servers are asked in turn, after 20 searches to warm up. The index of many
items is made from memory, and of their JSON only what these searches find lies in the store, so that a million fits
on a disk. Of few items all lie there, since `serve` lists small collections to check their index."""

from __future__ import annotations

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import requests

from stac_sm.serve.item_columns import CHECKED_ITEMS, load_item_columns
from stac_sm.serve.query import query_from_body
from stac_sm.serve.search import find_page
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.index.manifest import manifest_bytes, manifest_path, shard_path
from stac_sm.stac.index.shard import IndexedItem, month_of, parse_indexed_item, shard_bytes, sort_shard_items
from stac_sm.stac.items import item_folder
from stac_sm.storage.store import open_store
from tests.benchmarks.guard import beside
from tests.support.pgstac import POSTGRES, Pgstac, pgstac_server
from tests.support.served import COLLECTIONS, LAYOUTS, made_catalog, made_collection, made_items, place_item, running

_LOADED_AT_ONCE = 50_000
_WARM = 20
_MANY = 6 * CHECKED_ITEMS  # a fifth of the items and more belong to each collection


def main() -> None:
    """Make items, load both servers, ask them in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--without-pgstac", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write the ratio to results.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stac-sm-search-") as folder:
        found = measure(Path(folder) / "catalog", given.items, given.searches, not given.without_pgstac)
    ratios = {"p95 of pgstac": found["pgstac_p95_ms"] / found["serve_p95_ms"]} if "pgstac_p95_ms" in found else {}
    settings = {"items": given.items, "searches": given.searches}
    found["beside_the_last"] = beside("search", ratios, settings, keep=given.save)
    lines = (f"{name}: {value}" for name, value in found.items())
    print(json.dumps(found, indent=2) if given.json else "\n".join(lines))


def measure(root: Path, number: int, searches: int, beside_pgstac: bool) -> dict[str, Any]:
    """Seconds of each part, and milliseconds of a search on both servers."""
    found: dict[str, Any] = {"items": number, "searches": searches}
    items = made_items(number)
    made_catalog(root, [])
    with timed(found, "index_s"):
        index(root, items)
    asked = list(itertools.islice(typical(items), searches + _WARM))
    for item in wanted(root, items, asked) if number > _MANY else items:
        place_item(root, item)
    begin = time.monotonic()
    with running(root) as ours:
        found["start_s"] = round(time.monotonic() - begin, 1)
        if not beside_pgstac:
            return found | compared({"serve": ours}, asked)
        with pgstac_server() as other:
            with timed(found, "pgstac_load_s"):
                load(other, items)
            return found | compared({"serve": ours, "pgstac": other.address}, asked)


class timed:  # noqa: N801
    """Adds the seconds of a block to a dictionary."""

    def __init__(self, found: dict[str, Any], name: str) -> None:
        self._found, self._name = found, name

    def __enter__(self) -> None:
        self._begin = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._found[self._name] = round(time.monotonic() - self._begin, 1)


def load(server: Pgstac, items: list[dict[str, Any]]) -> None:
    """Load pgstac in parts, then let PostgreSQL look at its tables, as its own upkeep would.

    Each collection in the order of time, as it grows in use; but what begins or ends first and last comes before all,
    since pgstac checks a whole partition again whenever its range of time has grown.
    """
    collections = [made_collection(id) | {"links": []} for id in COLLECTIONS]
    ends = {id for name in COLLECTIONS for id in outermost([one for one in items if one["collection"] == name])}
    in_time = iter(sorted(items, key=lambda item: (item["collection"], item["id"] not in ends, times(item))))
    done, begin = 0, time.monotonic()
    while part := list(itertools.islice(in_time, _LOADED_AT_ONCE)):
        server.load(collections, part)
        done += len(part)
        print(f"pgstac: {done} of {len(items)} loaded, {time.monotonic() - begin:.0f} s", file=sys.stderr)
    subprocess.run([POSTGRES / "psql", "-qc", "analyze"], env=dict(server.environment), check=True)


def times(item: dict[str, Any]) -> tuple[str, str]:
    """When an item begins and ends."""
    told = item["properties"]
    return told.get("start_datetime") or told["datetime"], told.get("end_datetime") or told["datetime"]


def outermost(items: list[dict[str, Any]]) -> set[str]:
    """Ids of the items that begin first and last, and end first and last."""
    return {pick(items, key=lambda one: times(one)[i])["id"] for pick in (min, max) for i in (0, 1)} if items else set()


def index(root: Path, items: list[dict[str, Any]]) -> None:
    """Shards and proofs of items that are in memory."""
    store = open_store(root)
    shards: dict[tuple[str, str], list[IndexedItem]] = defaultdict(list)
    for item in items:
        layout = LAYOUTS[item["collection"]]
        path = f"{item_folder(layout, item)}/{item['id']}.json"
        shards[item["collection"], month_of(item, layout)].append(parse_indexed_item(path, json.dumps(item).encode()))
    for (collection, month), documents in shards.items():
        content = shard_bytes(ordered := sort_shard_items(documents))
        proof = manifest_bytes(ordered, {one.path: ("none", 0) for one in ordered}, content)
        store.replace(shard_path(collection, month), content)
        store.replace(manifest_path(collection, month), proof)


def wanted(root: Path, items: list[dict[str, Any]], asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items that the searches find."""
    rows, ids = load_item_columns(open_catalog(root)), set()
    for body in asked:
        ids |= set(rows.column("id").take(find_page(rows, query_from_body(body)).rows).to_pylist())
    return [item for item in items if item["id"] in ids]


def compared(servers: dict[str, str], asked: list[dict[str, Any]]) -> dict[str, Any]:
    """Milliseconds of each server, asked in turn; that both find as much is asserted."""
    took: dict[str, list[float]] = {name: [] for name in servers}
    sessions = {name: requests.Session() for name in servers}
    for n, body in enumerate(asked):
        counts = {}
        for name, address in servers.items():
            begin = time.perf_counter()
            answer = sessions[name].post(f"{address}/search", json=body, timeout=120)
            if n >= _WARM:
                took[name].append(1000 * (time.perf_counter() - begin))
            assert answer.status_code == 200, answer.text[:300]
            counts[name] = len(answer.json()["features"])
        assert len(set(counts.values())) == 1, (counts, body)
    found: dict[str, Any] = {}
    for name, each in took.items():
        found |= {f"{name}_p{p}_ms": round(float(np.percentile(each, p)), 1) for p in (50, 95, 99)}
    if len(servers) == 2:
        found["p95_ratio"] = round(found["serve_p95_ms"] / found["pgstac_p95_ms"], 2)
    return found


def typical(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Searches of the kinds that clients ask."""
    rng = random.Random(1)
    while True:
        day = f"20{rng.choice((19, 20))}-{rng.randrange(1, 12):02}-{rng.randrange(1, 28):02}"
        one, month = f"{day}T00:00:00Z/{day}T23:59:59Z", f"{day[:7]}-01T00:00:00Z/{day[:7]}-28T23:59:59Z"
        west, south = rng.uniform(-170, 140), rng.uniform(-70, 60)
        box = [west, south, west + rng.uniform(1, 20), south + rng.uniform(1, 15)]
        corners = [[box[0], box[1]], [box[2], box[1]], [box[0], box[3]], [box[0], box[1]]]
        tile = {"op": "=", "args": [{"property": "grid:code"}, f"MSIN-{rng.randrange(40):04}"]}
        yield {"collections": ["daily"], "datetime": one}
        yield {"collections": ["daily"], "datetime": month, "bbox": box}
        yield {"collections": ["instants"], "intersects": {"type": "Polygon", "coordinates": [corners]}}
        yield {"collections": ["daily"], "datetime": month, "filter": tile, "filter-lang": "cql2-json"}
        yield {"ids": [rng.choice(items)["id"] for _ in range(3)]}
        yield {"bbox": box, "datetime": month}


if __name__ == "__main__":
    main()
