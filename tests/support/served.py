"""A server of our own, as `stac-sm serve` starts it; items to be found, and searches for them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from stac_sm.core.fingerprint import digest
from stac_sm.stac.items import interval_properties, isoformat, item_folder, item_json, with_structural_links
from stac_sm.storage.store import open_store
from tests.support.warm_start import warm_python


class Address(str):
    """URL of a server, without a slash at its end."""

    pid: int
    """Its process."""

    said: list[str]
    """What it wrote to stderr, whole when it has ended."""


@contextlib.contextmanager
def running(catalog: str | Path, *arguments: str, python: Sequence[str] = (), **environment: str) -> Iterator[Address]:
    """Address of `stac-sm serve` over a catalogue, on a free port; it ends with the block."""
    command = [
        *(python or warm_python()),
        "-m",
        "stac_sm",
        "serve",
        "--catalog",
        str(catalog),
        "--port",
        "0",
        *arguments,
    ]
    known = os.environ | {"STAC_SM_BROWSER": "/none"} | environment  # whatever Browser this machine has built
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=known) as process:
        try:
            address, reader = _address(process)
            yield address
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        reader.join(20)


def _address(process: subprocess.Popen[str]) -> tuple[Address, threading.Thread]:
    """Address of a server, and the thread that reads what it says, since the pipe must not fill up."""
    errors = process.stderr
    assert errors is not None
    said = list[str]()
    for line in errors:
        said.append(line)
        if found := re.search(r" at (http://\S+) \(", line):
            address = Address(found[1])
            address.pid, address.said = process.pid, said
            reader = threading.Thread(target=lambda: said.append(errors.read()), daemon=True)
            reader.start()
            return address, reader
    raise AssertionError("".join(said))


@contextlib.contextmanager
def rustac_serving(
    folder: Path, collections: Iterable[dict[str, Any]], items: Iterable[dict[str, Any]]
) -> Iterator[str]:
    """Address of a STAC API by rustac, which nobody here wrote, on a free port; it ends with the block."""
    files = [folder / "items.json"]
    files[0].write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    for collection in collections:
        files.append(folder / f"{collection['id']}.json")
        files[-1].write_text(json.dumps(collection))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("rustac"), "serve", *files, "--addr", f"127.0.0.1:{port}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as process:
        try:
            yield _answering(f"http://127.0.0.1:{port}", process)
        finally:
            process.terminate()


def _answering(address: str, process: subprocess.Popen[bytes]) -> str:
    for _ in range(100):
        with contextlib.suppress(requests.ConnectionError):
            requests.get(address, timeout=5)
            return address
        assert process.poll() is None, "rustac serve ended"
        time.sleep(0.1)
    raise AssertionError("rustac serve did not answer")


COLLECTIONS = ("daily", "instants", "stations")
"""Of the items that are made here: intervals on tiles, instants on random boxes, points over years."""

_PLATFORMS = ("Aqua", "Terra", "aqua_2", "S-1%", "Sentinel-1")
_START = datetime(2019, 1, 1, tzinfo=UTC)


def made_items(number: int, seed: int = 0) -> list[dict[str, Any]]:
    """Items of all kinds that can be told from one another, the same for the same seed."""
    rng = random.Random(seed)
    tiles = [_footprint(rng) for _ in range(40)]
    return [_item(i, rng, tiles) for i in range(number)]


def _item(i: int, rng: random.Random, tiles: list[Any]) -> dict[str, Any]:
    collection = COLLECTIONS[min(i % 5, 2)] if i % 50 else "stations"
    properties: dict[str, Any] = {"platform": rng.choice(_PLATFORMS), "stac_sm:count": rng.randrange(100)}
    if rng.random() < 0.8:
        properties["value"] = round(rng.uniform(-5, 5), 3)
    tile = rng.randrange(len(tiles))
    if collection == "daily":
        geometry = tiles[tile]
        properties["grid:code"] = f"MSIN-{tile:04}"
        day = _START + timedelta(days=rng.randrange(700))
        properties |= interval_properties(day, day + timedelta(days=rng.choice((1, 1, 8))))
    elif collection == "instants":
        geometry = _footprint(rng)
        properties["datetime"] = isoformat(_START + timedelta(seconds=rng.randrange(700 * 86400)))
    else:
        geometry = {"type": "Point", "coordinates": [round(rng.uniform(-180, 180), 4), round(rng.uniform(-90, 90), 4)]}
        properties |= interval_properties(_START, _START + timedelta(days=rng.randrange(1, 700)))
    points = geometry["coordinates"][0] if geometry["type"] == "Polygon" else [geometry["coordinates"]]
    longitudes, latitudes = zip(*points, strict=True)
    id = f"{collection}.{i:07}"
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": id,
        "geometry": geometry,
        "bbox": [min(longitudes), min(latitudes), max(longitudes), max(latitudes)],
        "properties": properties | {"stac_sm:fingerprint": digest([id])},
        "links": [],
        "assets": {"sm": {"href": f"./{id}.{digest([id])[:12]}.sm.tif", "type": "image/tiff", "roles": ["data"]}},
        "collection": collection,
    }


def _footprint(rng: random.Random) -> dict[str, Any]:
    """A slanted quadrangle of some degrees."""
    west, south, width, height = rng.uniform(-170, 150), rng.uniform(-80, 70), rng.uniform(1, 12), rng.uniform(1, 9)
    lean = rng.uniform(-3, 3)
    ring = [(west, south), (west + width, south), (west + width + lean, south + height), (west + lean, south + height)]
    rounded = [[round(x, 5), round(y, 5)] for x, y in [*ring, ring[0]]]
    return {"type": "Polygon", "coordinates": [rounded]}


def made_catalog(root: Path, items: Iterable[dict[str, Any]]) -> None:
    """A catalogue of these items, without an index; an asset beside each item is a few bytes."""
    store = open_store(root)
    root.mkdir(parents=True, exist_ok=True)
    links = [{"rel": "child", "href": f"./{id}/collection.json", "type": "application/json"} for id in COLLECTIONS]
    document = {"type": "Catalog", "stac_version": "1.1.0", "id": "made", "description": "Made", "links": links}
    (root / "catalog.json").write_bytes(item_json(document))
    for id in COLLECTIONS:
        (root / id).mkdir(exist_ok=True)
        (root / id / "collection.json").write_bytes(item_json(made_collection(id)))
    for item in items:
        place_item(root, item)
    assert store.exists("catalog.json")


def place_item(root: Path, item: dict[str, Any]) -> Path:
    """Write an item where its collection's layout wants it."""
    folder = item_folder(LAYOUTS[item["collection"]], item)
    file = root / folder / f"{item['id']}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(".tmp-new")
    temporary.write_bytes(item_json(with_structural_links(item, folder)))
    temporary.replace(file)
    return file


LAYOUTS = {"daily": "year/month/day", "instants": "year/month", "stations": "flat"}


def made_collection(id: str) -> dict[str, Any]:
    """JSON of a collection."""
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2019-01-01T00:00:00Z", None]]}}
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": id,
        "description": f"Items of kind {id}",
        "license": "CC-BY-4.0",
        "extent": extent,
        "links": [{"rel": "root", "href": "../catalog.json", "type": "application/json"}],
        "stac_sm:layout": LAYOUTS[id],
    }


def random_search(rng: random.Random, items: list[dict[str, Any]]) -> dict[str, Any]:
    """The body of a search that every server must answer alike."""
    body: dict[str, Any] = {}
    if rng.random() < 0.4:
        body["collections"] = rng.sample(COLLECTIONS, rng.randint(1, 2))
    kind = rng.random()
    if kind < 0.35:
        body["bbox"] = list(_random_box(rng))
    elif kind < 0.6:
        body["intersects"] = _footprint(rng) if rng.random() < 0.7 else {"type": "Point", "coordinates": [0.5, 40.25]}
    if rng.random() < 0.4:
        first = _START + timedelta(seconds=rng.randrange(650 * 86400))
        last = first + timedelta(seconds=rng.randrange(60 * 86400))
        body["datetime"] = rng.choice((f"{isoformat(first)}/{isoformat(last)}", f"{isoformat(first)}/..",
                                       f"../{isoformat(last)}", isoformat(first)))  # fmt: skip
    if rng.random() < 0.1:
        body["ids"] = [rng.choice(items)["id"] for _ in range(5)] + ["none"]
    if rng.random() < 0.5:
        body["filter"], body["filter-lang"] = random_filter(rng), "cql2-json"
    elif rng.random() < 0.4:  # pgstac has one or the other
        body["query"] = _random_query(rng)
    fields = rng.choice((["id"], ["-id"], ["platform", "id"], ["-platform", "-id"]))
    body["sortby"] = [{"field": one.lstrip("-"), "direction": "desc" if one[0] == "-" else "asc"} for one in fields]
    for sort in body["sortby"]:
        sort["field"] = sort["field"] if sort["field"] == "id" else f"properties.{sort['field']}"
    return body | {"limit": rng.choice((1, 7, 50, 200))}


def random_filter(rng: random.Random, depth: int = 2) -> dict[str, Any]:
    """CQL2 JSON over the properties of the items that are made here."""
    if depth and rng.random() < 0.5:
        op = rng.choice(("and", "or", "not"))
        return {"op": op, "args": [random_filter(rng, depth - 1) for _ in range(1 if op == "not" else 2)]}
    number, text = {"property": "value"}, {"property": rng.choice(("platform", "grid:code"))}
    limit = round(rng.uniform(-5, 5), 2)
    return rng.choice(
        [
            {"op": rng.choice(("<", "<=", ">", ">=", "=", "<>")), "args": [number, limit]},
            {"op": rng.choice(("=", "<>")), "args": [{"property": "stac_sm:count"}, rng.randrange(100)]},
            {"op": "between", "args": [number, limit, limit + 2]},
            {"op": rng.choice(("=", "<>", "<", ">=")), "args": [text, rng.choice((*_PLATFORMS, "MSIN-0007"))]},
            {"op": "in", "args": [{"property": "platform"}, rng.sample(_PLATFORMS, 2)]},
            {"op": "like", "args": [{"property": "platform"}, rng.choice(("A%", "%a", "Sentinel__", "%q%"))]},
            {"op": "isNull", "args": [rng.choice((number, text))]},
            {"op": "s_intersects", "args": [{"property": "geometry"}, _footprint(rng)]},
            {"op": "=", "args": [{"property": "collection"}, rng.choice(COLLECTIONS)]},
        ]
    )


def _random_query(rng: random.Random) -> dict[str, Any]:
    """What the Query extension asks, by the operators that stac-fastapi-pgstac has, too."""
    limit, count = round(rng.uniform(-5, 5), 2), rng.randrange(100)
    return rng.choice(
        [
            {"value": {"gte": limit, "lt": limit + 4}},
            {"value": {"lte": limit}, "stac_sm:count": {"gt": count // 2}},
            {"stac_sm:count": {"neq": count}},
            {"platform": {"eq": rng.choice(_PLATFORMS)}},
            {"platform": {"neq": rng.choice(_PLATFORMS)}, "grid:code": {"gt": "MSIN-0007"}},
        ]
    )


def _random_box(rng: random.Random) -> tuple[float, float, float, float]:
    west, south = round(rng.uniform(-170, 100), 2), round(rng.uniform(-80, 40), 2)
    return west, south, round(west + rng.uniform(0.1, 70), 2), round(south + rng.uniform(0.1, 40), 2)


def searched(address: str, body: dict[str, Any], pages: int = 3) -> list[str]:
    """Ids that a STAC API finds, in order, over some pages."""
    found, request = [], {"method": "POST", "href": f"{address}/search", "body": body}
    for _ in range(pages):
        answer = requests.post(request["href"], json=request["body"], timeout=60)
        assert answer.status_code == 200, (answer.status_code, answer.text[:500], body)
        page = answer.json()
        found += [one["id"] for one in page["features"]]
        following = [link for link in page["links"] if link["rel"] == "next"]
        if not following:
            break
        request = following[0]
    return found
