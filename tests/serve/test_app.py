"""The server as clients meet it: over HTTP, with pystac-client and rustac, and with what they should not ask."""

from __future__ import annotations

import http.client
import json
import random
import shutil
import subprocess
import sys
import time
import warnings
from urllib.parse import urlsplit

import boto3
import pystac_client
import pytest
import requests
import rustac
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.period import Period
from stac_sm.serve.query import BODY_MEMBERS
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.catalogs.search import item_period
from stac_sm.stac.index.update import update_index
from stac_sm.stac.items import item_folder
from stac_sm.storage.store import open_store
from tests.support.object_stores import environment_of, moto_server, new_bucket
from tests.support.served import (
    COLLECTIONS,
    LAYOUTS,
    made_catalog,
    made_items,
    place_item,
    random_search,
    running,
    searched,
)

ITEMS = made_items(300)
PIXELS = bytes(range(256)) * 8


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A catalogue with an index, and a secret beside it."""
    root = tmp_path_factory.mktemp("served") / "catalog"
    made_catalog(root, ITEMS)
    for id in COLLECTIONS:
        update_index(open_store(root), id, layout=LAYOUTS[id])
    for item in ITEMS[:20]:
        asset_file(root, item).write_bytes(PIXELS)
    (root.parent / "secret.txt").write_text("s3cr3t")
    (root / "stac-sm.toml").write_text("s3cr3t")
    (root / "daily" / ".hidden").write_text("s3cr3t")
    (root / "daily" / "out").symlink_to(root.parent)
    return root


def asset_file(root, item):
    return root / item_folder(LAYOUTS[item["collection"]], item) / item["assets"]["sm"]["href"]


@pytest.fixture(scope="module")
def api(root):
    """Address of its server."""
    with running(root) as address:
        yield address


def got(address, **options):
    answer = requests.get(address, timeout=30, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_landing_page_leads_everywhere(api):
    page = got(api)
    hrefs = [link["href"] for link in page["links"] if link.get("method", "GET") == "GET"]
    assert {f"{api}/collections/{id}" for id in COLLECTIONS} <= set(hrefs)
    for href in hrefs:
        if not href.endswith("/aggregate"):
            assert requests.get(href, timeout=30).status_code == 200, href
    html = requests.get(api, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, timeout=30)
    assert html.headers["content-type"].startswith("text/html")
    assert f"{api}/collections/daily" in html.text


def test_an_item_is_the_one_in_the_store_with_links_that_lead_to_it(api):
    for item in ITEMS[:12]:
        place = f"{api}/collections/{item['collection']}/items/{item['id']}"
        found = got(place)
        assert {**found, "links": [], "assets": {}} == {**item, "links": [], "assets": {}}
        assert next(link["href"] for link in found["links"] if link["rel"] == "self") == place
        answer = requests.get(found["assets"]["sm"]["href"], timeout=30)
        assert answer.content == PIXELS


MISSING = [
    "/collections/none", "/collections/none/items", "/collections/daily/items/none", "/none", "/assets/none",
    "/assets/daily/none", "/collections/none/queryables",
]  # fmt: skip


@pytest.mark.parametrize("path", MISSING)
def test_what_is_not_there_is_404(api, path):
    answer = requests.get(api + path, timeout=30)
    assert answer.status_code == 404
    assert answer.json()["description"]


def test_get_finds_what_post_finds(api):
    rng = random.Random(3)
    for _ in range(25):
        body = random_search(rng, ITEMS)
        query = {name: body[name] for name in ("datetime", "limit") if name in body}
        query |= {name: ",".join(map(str, body[name])) for name in ("ids", "collections", "bbox") if name in body}
        query |= {name: json.dumps(body[name]) for name in ("intersects", "filter", "query") if name in body}
        query |= {"filter-lang": "cql2-json"} if "filter" in body else {}
        query["sortby"] = ",".join(
            ("-" if one["direction"] == "desc" else "+") + one["field"] for one in body["sortby"]
        )
        found, page = [], got(f"{api}/search", params=query)
        for _ in range(3):
            found += [one["id"] for one in page["features"]]
            following = [link["href"] for link in page["links"] if link["rel"] == "next"]
            page = got(following[0]) if following else {"features": [], "links": []}
        assert found == searched(api, body)


def test_fields(api):
    one = {"collections": "daily", "limit": 1}
    (found,) = got(f"{api}/search", params=one | {"fields": "id,properties.grid:code,-links"})["features"]
    assert set(found) == {"type", "stac_version", "id", "collection", "properties"}
    assert set(found["properties"]) == {"grid:code"}
    (found,) = got(f"{api}/search", params=one | {"fields": "-geometry,-properties.platform"})["features"]
    assert {"geometry", "platform"} & {*found, *found["properties"]} == set()
    assert {"assets", "bbox", "links"} <= set(found)


def test_counts_by_grid_code(api):
    names = "total_count,grid_code_frequency,collection_frequency,datetime_max"
    found = got(f"{api}/collections/daily/aggregate", params={"aggregations": names})["aggregations"]
    total, codes, collections, latest = found
    daily = [item["properties"] for item in ITEMS if item["collection"] == "daily"]
    assert total["value"] == len(daily)
    assert {one["key"]: one["frequency"] for one in collections["buckets"]} == {"daily": len(daily)}
    counts = {code: sum(one["grid:code"] == code for one in daily) for code in {one["grid:code"] for one in daily}}
    assert {one["key"]: one["frequency"] for one in codes["buckets"]} == counts
    assert latest["value"] == max(one["end_datetime"] for one in daily)
    assert requests.get(f"{api}/aggregate?aggregations=sum", timeout=30).status_code == 400


def test_queryables_are_those_of_the_collection(api):
    every = got(f"{api}/queryables")["properties"]
    assert {"value", "platform", "grid:code", "datetime", "geometry"} <= set(every)
    assert every["value"]["type"] == "number"
    assert "grid:code" not in got(f"{api}/collections/stations/queryables")["properties"]


BAD = [
    "bbox=1,2", "bbox=a,b,c,d", "limit=0", "limit=x", "datetime=x", "intersects=%7B", "filter=(", "sortby=-",
    "token=zzz", "limit=1&limit=2", "bbox=nan,0,1,1", "filter=%00", "filter-lang=cql2-json&filter=5", "filter-crs=x",
    "ids=%ff&limit=-3", "bbox=", "datetime=", "bboxx=0,0,1,1", "sortby=platforms", "filter=platforms%3D1",
    'query={"platforms":{"eq":1}}', 'query={"value":{"eq":1},"value":{"eq":2}}', "query=x", "q=soil",
]  # fmt: skip


@pytest.mark.parametrize("query", BAD)
def test_bad_requests_say_why(api, query):
    for path in ("/search", "/collections/daily/items"):
        answer = requests.get(f"{api}{path}?{query}", timeout=30)
        assert answer.status_code == 400, answer.text
        assert len(answer.json()["description"]) > 10


UNKNOWN = {
    "/?f=json": "parameter of GET / 'f'",
    "/conformance?x=1": "'x'",
    "/api?f=json": "'f'",
    "/api.html?f=json": "'f'",
    "/queryables?limits=1": "'limits'",
    "/collections?limits=1": "did you mean 'limit'?",
    "/collections/daily?bbox=0,0,1,1": "'bbox'",
    "/collections/daily/queryables?x": "'x'",
    "/collections/daily/items?bboxx=0,0,1,1": "did you mean 'bbox'?",
    "/collections/daily/items?collections=stations": "'collections'",
    f"/collections/daily/items/{ITEMS[0]['id']}?fields=id": "'fields'",
    "/search?collection=daily": "did you mean 'collections'?",
    "/search?aggregations=total_count": "'aggregations'",
    "/search?fields=nosuch": "no item has field 'nosuch'",
    "/search?fields=-platforms": "did you mean 'platform'?",
    "/collections/daily/items?fields=id,properties.platforms": "did you mean 'platform'?",
    "/aggregations?x=1": "'x'",
    "/aggregate?sortby=id": "'sortby'",
    "/aggregate?aggregations=total": "did you mean 'total_count'?",
    "/collections/daily/aggregations?x=1": "'x'",
    "/collections/daily/aggregate?collections=stations": "'collections'",
    "/collections/daily/aggregate?filter=platforms='x'": "did you mean 'platform'?",
    "/collections/stations/items?sortby=grid:code": "sortby: 'grid:code' is no property",
    "/collections/stations/aggregate?query={%22grid:code%22:{%22eq%22:%22x%22}}": "filter: 'grid:code' is no property",
}


@pytest.mark.parametrize("path", UNKNOWN)
def test_what_would_be_ignored_is_refused_by_name(api, path):
    answer = requests.get(api + path, timeout=30)
    assert answer.status_code == 400, answer.text
    assert UNKNOWN[path] in answer.json()["description"]


def test_every_route_of_the_api_refuses_what_it_does_not_know(api):
    """Of those in the description; files may be asked for with parameters of caches."""
    for path, operations in got(f"{api}/api")["paths"].items():
        for method in operations:
            place = api + path.format(collection="daily", item=ITEMS[0]["id"], path="none")
            answer = requests.request(method, place, params={"unheard": "1"}, json={}, timeout=30)
            assert answer.status_code == (404 if path.startswith("/assets/") else 400), (method, path)
    known = {one["name"] for one in got(f"{api}/api")["paths"]["/search"]["get"]["parameters"]}
    assert known == set(BODY_MEMBERS)


def test_collections_come_in_pages(api):
    place, seen = f"{api}/collections?limit=1&q=a,e,i", []
    while place:
        page = got(place)
        assert page["numberReturned"] == len(page["collections"]) == 1
        seen += [one["id"] for one in page["collections"]]
        place = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
    assert seen == sorted(COLLECTIONS)
    for bad in ("q=", "q=,", "limit=0", "bbox=1,2", "datetime=x", "ids=a"):
        assert requests.get(f"{api}/collections?{bad}", timeout=30).status_code == 400, bad


def test_a_number_is_told_as_it_was_given(api):
    for given in ("0", "-3", "1.5"):
        assert f"limit {given}: " in requests.get(f"{api}/search?limit={given}", timeout=30).json()["description"]


def test_bad_bodies(api):
    answer = requests.post(f"{api}/search", json={"date_time": "1999-01-01T00:00:00Z"}, timeout=30)
    assert (answer.status_code, "did you mean 'datetime'?" in answer.text) == (400, True)
    twice = b'{"collections": ["daily"], "collections": ["stations"]}'
    assert "'collections' is given twice" in requests.post(f"{api}/search", data=twice, timeout=30).text
    assert requests.post(f"{api}/search?limit=1", json={}, timeout=30).status_code == 400
    answer = requests.post(f"{api}/search", json={"collections": "daily"}, timeout=30)
    assert (answer.status_code, 'a list is required, as ["daily"]' in answer.json()["description"]) == (400, True)
    for body in (b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"limit": ' + b"9" * 5000 + b"}", b"null"):
        assert requests.post(f"{api}/search", data=body, timeout=30).status_code == 400, body[:20]
    assert requests.post(f"{api}/search", data=b" " * (2 << 20), timeout=30).status_code == 413
    for method in ("put", "patch", "delete"):  # read-only
        assert getattr(requests, method)(f"{api}/collections/daily", timeout=30).status_code == 405


PATHS = [
    "/assets/../secret.txt", "/assets/daily/../../secret.txt", "/assets/daily/%2e%2e/%2e%2e/secret.txt",
    "/assets/daily/..%2f..%2fsecret.txt", "/assets/stac-sm.toml", "/assets/daily/../stac-sm.toml",
    "/assets/daily/.hidden", "/assets/daily/out/secret.txt", "/assets//etc/passwd", "/assets/daily//etc/passwd",
    "/assets/%2fetc%2fpasswd", "/assets/daily/%00", "/assets/daily", "/assets/daily/", "/assets/daily/2019",
    "/assets/daily/..%5c..%5csecret.txt", "/assets/daily/" + "a" * 5000, "/browser/../secret.txt",
    "/browser/%2e%2e/secret.txt",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:40])
def test_no_file_outside_of_the_collections_is_given(api, path):
    connection = http.client.HTTPConnection(urlsplit(api).netloc, timeout=30)
    connection.request("GET", path)  # as it is: other clients tidy up paths
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert answer.status == 404, content[:100]
    assert b"s3cr3t" not in content


def test_assets_have_ranges_an_etag_and_cors(api):
    href = got(f"{api}/collections/{ITEMS[0]['collection']}/items/{ITEMS[0]['id']}")["assets"]["sm"]["href"]
    asked = {"Range": "bytes=10-19", "Origin": "https://elsewhere.org", "Accept-Encoding": "gzip"}
    part = requests.get(href, headers=asked, timeout=30)
    assert (part.status_code, part.content) == (206, PIXELS[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(PIXELS)}"
    assert part.headers["access-control-allow-origin"] == "*"
    assert "Content-Range" in part.headers["access-control-expose-headers"]
    whole = requests.head(href, timeout=30)
    assert (whole.headers["content-length"], whole.headers["accept-ranges"]) == (str(len(PIXELS)), "bytes")
    assert whole.headers["etag"] == part.headers["etag"]
    for known, status in ((whole.headers["etag"], 304), (f'"x", W/{whole.headers["etag"]}', 304), ('"x"', 200)):
        again = requests.get(href, headers={"If-None-Match": known}, timeout=30)
        assert (again.status_code, again.content) == (status, b"" if status == 304 else PIXELS)
        assert again.headers["etag"] == whole.headers["etag"]
    preflight = {"Origin": "https://elsewhere.org", "Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": "content-type"}  # fmt: skip
    assert requests.options(f"{api}/search", headers=preflight, timeout=30).status_code == 200


def test_every_route_answers_head_as_get_without_content(api):
    places = [
        api + path.format(collection="daily", item=ITEMS[0]["id"], path="none")
        for path, operations in got(f"{api}/api")["paths"].items()
        if "get" in operations
    ]
    for place in [*places, f"{api}/favicon.ico", f"{api}/collections/none"]:
        plain = {"Accept-Encoding": "identity"}
        get, head = (requests.request(method, place, headers=plain, timeout=30) for method in ("GET", "HEAD"))
        assert (head.status_code, head.content) == (get.status_code, b""), place
        own = {"date", "server", "vary", "x-request-id"}  # content of some length varies by its compression
        assert {**head.headers} | dict.fromkeys(own, "") == {**get.headers} | dict.fromkeys(own, ""), place
        if get.status_code == 200:
            assert int(head.headers["content-length"]) == len(get.content), place


@pytest.mark.parametrize("path", ["/", "/collections", "/collections/daily", "/search?limit=3", "/queryables", "/api"])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_documents_have_an_etag_and_are_not_sent_again(api, path, encoding):
    first = requests.get(api + path, headers={"Accept-Encoding": encoding}, timeout=30)
    assert first.headers["cache-control"] == "public, no-cache"
    assert "Accept" in first.headers["vary"].split(", ")
    for known in (
        first.headers["etag"],
        first.headers["etag"].removeprefix("W/"),
        f'"x", {first.headers["etag"]}',
        "*",
    ):
        asked = {"Accept-Encoding": encoding, "If-None-Match": known}
        for method in ("GET", "HEAD"):
            again = requests.request(method, api + path, headers=asked, timeout=30)
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == first.headers["etag"]
    other = requests.get(api + path, headers={"If-None-Match": '"x"'}, timeout=30)
    assert (other.status_code, other.json()) == (200, first.json())
    assert requests.get(f"{api}/collections/none", timeout=30).headers["cache-control"] == "no-store"
    assert "etag" not in requests.post(f"{api}/search", json={}, timeout=30).headers


def test_html_and_json_of_the_landing_page_have_etags_of_their_own(api):
    page = requests.get(api, headers={"Accept": "text/html"}, timeout=30)
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["etag"] != requests.get(api, timeout=30).headers["etag"]


SEARCHES = {
    "everything": ({}, lambda one: True),
    "a box": ({"bbox": [0, 40, 1, 41]}, lambda one: one["extent"]["spatial"]["bbox"][0][0] <= 1),
    "far away": ({"bbox": [-179, -89, -178, -88]}, lambda one: one["extent"]["spatial"]["bbox"][0][0] <= -178),
    "long ago": ({"datetime": "1900-01-01T00:00:00Z/1901-01-01T00:00:00Z"},
                 lambda one: (one["extent"]["temporal"]["interval"][0][0] or "") < "1901"),
    "one text": ({"q": "STATIONS"}, lambda one: "stations" in json.dumps(one).lower()),
    "one of two texts": ({"q": "stations,daily"}, lambda one: one["id"] in {"stations", "daily"}),
    "no text": ({"q": "neither nor"}, lambda one: False),
}  # fmt: skip


@pytest.mark.parametrize("name", SEARCHES)
def test_pystac_client_searches_collections(api, name):
    """Its server is asked: were an extension not declared, pystac-client would warn and filter by itself."""
    asked, expected = SEARCHES[name]
    every = got(f"{api}/collections")
    assert every["numberMatched"] == every["numberReturned"] == len(every["collections"]) == len(COLLECTIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pystac_client.Client.open(api).collection_search(**asked, limit=1)
        ids = [one.id for one in found.collections()]
    assert ids == [one["id"] for one in every["collections"] if expected(one)]


def test_pystac_client(api):
    client = pystac_client.Client.open(api)
    assert [one.id for one in client.get_collections()] == sorted(COLLECTIONS)
    search = client.search(
        collections=["daily"], datetime="2019-06", bbox=[-180, -90, 180, 90], limit=2, sortby="-id",
        filter={"op": "isNull", "args": [{"property": "title"}]}, filter_lang="cql2-json",
    )  # fmt: skip
    found = [item.id for item in search.items()]
    daily = {item["id"]: item["properties"] for item in ITEMS if item["collection"] == "daily"}
    wanted = [
        id for id, told in daily.items() if told["start_datetime"] < "2019-07" and told["end_datetime"] >= "2019-06"
    ]
    assert found == sorted(wanted, reverse=True)
    assert search.matched() == len(wanted)
    text = client.search(filter="value > 4", fields=["id", "properties.value"])
    assert {one["id"] for one in text.items_as_dicts()} == {
        item["id"] for item in ITEMS if item["properties"].get("value", 0) > 4
    }


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_query_of_pystac_client(api, method):
    client = pystac_client.Client.open(api)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "Server does not conform to QUERY"
        asked = {"platform": {"in": ["Aqua", "Terra"]}, "value": {"gt": 1}}
        found = client.search(method=method, collections=["daily"], query=asked, limit=3)
        ids = sorted(item.id for item in found.items())
        text = client.search(method=method, query=["platform=Aqua", "value>1", "value<=4"])
        of_text = sorted(item.id for item in text.items())
    told = {item["id"]: item["properties"] for item in ITEMS}
    daily = [one["id"] for one in ITEMS if one["collection"] == "daily"]
    assert ids == sorted(
        id for id in daily if told[id]["platform"] in {"Aqua", "Terra"} and told[id].get("value", 0) > 1
    )
    assert ids
    assert of_text == sorted(id for id in told if told[id]["platform"] == "Aqua" and 1 < told[id].get("value", 0) <= 4)
    with pytest.raises(pystac_client.exceptions.APIError, match="'versions' is no property"):
        client.search(method=method, query={"versions": {"eq": "x"}}).matched()


def test_rustac_as_a_client(api):
    found = rustac.search_sync(api, collections=["daily"], bbox=[-180, -90, 180, 0], limit=50)
    everywhere = {"collections": ["daily"], "bbox": [-180, -90, 180, 0], "limit": 1000}
    assert sorted(one["id"] for one in found) == sorted(searched(api, everywhere))


def test_our_own_client(api, root):
    for day in ("2019-06-08", "2020-03-01"):
        period = Period.parse(day)
        ours = [item.id for item in open_catalog(api).items("daily", period=period)]
        assert ours == [item.id for item in items_of(root, period)]


def items_of(root, period):
    from stac_sm.stac.catalogs.search import matches_search

    found = [item for item in ITEMS if item["collection"] == "daily"]
    chosen = [one for one in found if matches_search(one["id"], one["properties"], one["bbox"], period, None)]
    return [type("Item", (), {"id": one["id"]}) for one in sorted(chosen, key=lambda one: one["id"])]


def test_one_utc_day_is_that_day_only(tmp_path):
    """Products of three days in a row, as the project makes them: neither neighbour is found."""
    day = ITEMS[5] | {"collection": "daily"}
    items = []
    for number in (7, 8, 9):
        times = {"datetime": "T12:00:00Z", "start_datetime": "T00:00:00Z", "end_datetime": "T23:59:59Z"}
        properties = {name: f"2019-06-{number:02}{time}" for name, time in times.items()}
        items.append(day | {"id": f"d{number}", "properties": properties})
    made_catalog(tmp_path / "c", items)
    with running(tmp_path / "c") as address:
        body = {"datetime": "2019-06-08T00:00:00Z/2019-06-08T23:59:59Z"}
        assert searched(address, body) == ["d8"]
        found = pystac_client.Client.open(address).search(datetime="2019-06-08").items()
        assert [item.id for item in found] == ["d8"]
        assert [
            one["id"] for one in rustac.search_sync(address, datetime="2019-06-08T00:00:00Z/2019-06-08T23:59:59Z")
        ] == ["d8"]


def test_without_an_index_or_with_a_wrong_one_the_answers_are_the_same(api, root, tmp_path):
    rng = random.Random(5)
    bodies = [random_search(rng, ITEMS) for _ in range(10)]
    wanted = [searched(api, body) for body in bodies]
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, symlinks=True)  # other inodes: no row of the proof holds
    shard = next((copy / "daily" / "index").glob("*.parquet"))
    shard.write_bytes(b"forged")
    with running(copy) as address:
        assert [searched(address, body) for body in bodies] == wanted
    for id in COLLECTIONS:
        shutil.rmtree(copy / id / "index")
    with running(copy) as address:
        assert [searched(address, body) for body in bodies] == wanted


def test_what_is_published_or_taken_out_meanwhile(tmp_path, monkeypatch):
    from stac_sm.serve import service
    from stac_sm.serve.query import ItemQuery
    from stac_sm.serve.responses import find_item_documents

    root = tmp_path / "c"
    made_catalog(root, ITEMS[:10])
    monkeypatch.setattr(service, "REFRESH_SECONDS", 0.0)
    served = service.CatalogService(str(root))
    place_item(root, ITEMS[11])
    asset = ITEMS[0] | {"properties": ITEMS[0]["properties"] | {"platform": "new"}}
    place_item(root, asset)
    gone = place_item(root, ITEMS[1])
    gone.unlink()
    first = [json.loads(one) for one in find_item_documents(served, ItemQuery(limit=100), "http://x")]
    assert ITEMS[1]["id"] not in {one["id"] for one in first}  # the index finds it, the store has it no more
    assert "new" in {one["properties"]["platform"] for one in first}
    deadline = time.monotonic() + 20
    while len(served.snapshot.rows) != 10 or ITEMS[11]["id"] not in served.snapshot.rows.column("id").to_pylist():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_on_s3_assets_are_presigned(tmp_path, root):
    server = moto_server()
    new_bucket(server, "served")
    with environment_of(server):
        client = boto3.session.Session().client("s3")
        for file in root.rglob("*"):
            if file.is_file() and "out" not in file.parts and ".hidden" not in file.parts:
                client.upload_file(str(file), "served", f"p/{file.relative_to(root)}")
        with running("s3://served/p") as address:
            assert searched(address, {"limit": 500}) == [
                one["id"] for one in sorted(ITEMS, key=lambda one: (
                    one["properties"]["datetime"], [-ord(c) for c in one["id"]]), reverse=True)
            ]  # fmt: skip
            item = got(f"{address}/collections/{ITEMS[0]['collection']}/items/{ITEMS[0]['id']}")
            href = item["assets"]["sm"]["href"]
            answer = requests.get(href, allow_redirects=False, timeout=30)
            assert answer.status_code == 307
            assert "X-Amz-Signature" in answer.headers["location"]
            part = requests.get(href, headers={"Range": "bytes=0-3"}, timeout=30)
            assert (part.status_code, part.content) == (206, PIXELS[:4])
            for path in ("/assets/stac-sm.toml", "/assets/daily/none", "/assets/../x"):
                assert requests.get(address + path, timeout=30).status_code == 404


def test_the_command_prints_where_it_listens_as_json(root):
    command = [sys.executable, "-m", "stac_sm", "serve", "--catalog", root, "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        text = ""
        while not text.endswith("}\n"):
            text += process.stdout.readline()
        told = json.loads(text)
        assert got(f"{told['address']}/search?limit=1")["numberMatched"] == told["items"] == len(ITEMS)
        process.terminate()


def test_mistakes_of_the_command_are_one_message(tmp_path, api):
    port = str(urlsplit(api).port)
    made_catalog(tmp_path / "c", [])
    for arguments, said in (
        (["--catalog", str(tmp_path / "none"), "--port", "0"], "is no file: check the path of the catalogue"),
        (["--catalog", str(tmp_path / "c"), "--port", port], "give another --port or --host"),
        (
            ["--catalog", api, "--port", "0"],
            "is no catalogue that can be written to: give a folder, or s3://BUCKET/PREFIX",
        ),
    ):
        done = CliRunner().invoke(main, ["serve", *arguments])
        assert done.exit_code == 1, done.output
        assert said in done.stderr


def test_stac_browser_is_served_where_it_is_built(root, tmp_path):
    built = tmp_path / "browser"
    (built / "js").mkdir(parents=True)
    (built / "index.html").write_text("<html>the Browser</html>")
    (built / "js" / "app.js").write_text("run()")
    with running(root, STAC_SM_BROWSER=str(built)) as address:
        assert "the Browser" in requests.get(f"{address}/browser", timeout=30).text
        assert requests.get(f"{address}/browser/js/app.js", timeout=30).text == "run()"
        assert "the Browser" in requests.get(f"{address}/browser/collections/daily", timeout=30).text
        assert f'"{address}/"' in requests.get(f"{address}/browser/config.js", timeout=30).text
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
        connection.request("GET", "/browser/../../secret.txt")
        assert b"s3cr3t" not in connection.getresponse().read()
        connection.close()
        assert any(link["href"].endswith("/browser") for link in got(address)["links"])


def test_index_command(root, tmp_path):
    copy = tmp_path / "project"
    assert CliRunner().invoke(main, ["init", str(copy)]).exit_code == 0
    done = CliRunner().invoke(main, ["index", "sm-1km-daily", "--project", str(copy), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == [
        {"collection": "sm-1km-daily", "items": 0, "new": 0, "replaced": 0, "done": 0, "removed": 0, "failed": {},
         "left_out": {}}
    ]  # fmt: skip
    broken = copy / "sm-1km-daily" / "2019" / "01" / "01" / "x" / "x.json"
    broken.parent.mkdir(parents=True)
    broken.write_text(
        json.dumps({"type": "Feature", "bbox": [0, 0, 1, 1], "properties": {"datetime": "2019-01-01T00:00:00Z"}})
    )
    done = CliRunner().invoke(main, ["index", "sm-1km-daily", "--project", str(copy)])
    assert done.exit_code == 1
    assert "left out: sm-1km-daily/2019/01/01/x/x.json is no item" in done.stderr


TIMES = {
    "2019-06-08T23:59:60Z": True, "2019-06-08T12:00:00.1234567Z": True, "2019-06-08T12:00:00": True,
    "2019-06-08": True, "2019-06-09T01:00:00+02:00": True, "yesterday": False, "2019-06-08T12:00:61Z": False,
    "0001-01-01T00:00:00+14:00": False,
}  # fmt: skip
"""Times that others write, of the day 2019-06-08, and whether they can be read."""


@pytest.mark.parametrize("name", ["datetime", "end_datetime"])
def test_times_of_others_are_read_alike_or_refused_by_name(tmp_path, name):
    """By the reader of files, by the index, by the server with it and without."""
    from stac_sm.core.errors import CatalogError
    from stac_sm.serve.query import ItemQuery, parse_datetime
    from stac_sm.serve.responses import find_item_documents
    from stac_sm.serve.service import CatalogService

    root, items = tmp_path / "c", []
    for number, text in enumerate(TIMES):
        times = {"datetime": text} if name == "datetime" else {
            "datetime": None, "start_datetime": "2019-06-07T00:00:00Z", "end_datetime": text}  # fmt: skip
        items.append(ITEMS[1] | {"collection": "stations", "id": f"i{number}", "properties": times})
    made_catalog(root, items)
    document = json.loads((root / "stations" / "collection.json").read_text())
    document["links"] += [{"rel": "item", "href": f"./{item['id']}/{item['id']}.json"} for item in items]
    (root / "stations" / "collection.json").write_text(json.dumps(document))
    read = sorted(item["id"] for item, is_time in zip(items, TIMES.values(), strict=True) if is_time)
    left_out: dict[str, str] = {}
    found = open_catalog(root).items("stations", period=Period.parse("2019-06-08"), left_out=left_out)
    assert [item.id for item in found] == read
    assert sorted(left_out) == sorted({item["id"] for item in items} - set(read))
    assert all("is no time" in why for why in left_out.values())
    for item in found:
        assert item_period(item).overlaps(Period.parse("2019-06-08"))
    with pytest.raises(CatalogError, match="is no time"):
        open_catalog(root).items("stations")
    day = ItemQuery(period=parse_datetime("2019-06-08T00:00:00Z/2019-06-08T23:59:60Z"), limit=100)
    for _ in range(2):
        page = map(json.loads, find_item_documents(CatalogService(str(root)), day, "http://x"))
        assert sorted(one["id"] for one in page) == read
        made = update_index(open_store(root), "stations", layout="flat")
    assert {path.split("/")[1] for path in made.failures} == set(left_out)
