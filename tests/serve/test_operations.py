"""What operators ask a server: health, readiness, metrics, its access log, and the probes of the manifest."""

from __future__ import annotations

import io
import json
import logging
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from stac_sm.cli.operate import serve as serve_command
from stac_sm.core.errors import CatalogError
from stac_sm.serve import responses
from stac_sm.serve import service as service_module
from stac_sm.serve.app import create_app
from stac_sm.serve.operations import ACCESS_LOGGER, OPERATOR_PATHS, route_name
from stac_sm.serve.proxy import PublicAddress
from stac_sm.serve.service import CatalogService
from stac_sm.stac.index.update import update_index
from stac_sm.stac.items import item_folder, item_json, with_structural_links
from stac_sm.storage.log_lines import start_logging, stop_logging
from stac_sm.storage.store import open_store
from tests.support.object_stores import environment_of, moto_server, new_bucket
from tests.support.served import COLLECTIONS, LAYOUTS, made_catalog, made_items, place_item, running

MANIFEST = Path(__file__).parents[2] / "infra" / "kubernetes" / "serve.yaml"
ITEMS = made_items(40)


@pytest.fixture
def root(tmp_path):
    made_catalog(tmp_path / "catalog", ITEMS)
    return tmp_path / "catalog"


def client_of(root, **options):
    return TestClient(create_app(CatalogService(str(root)), **options))


def samples(text):
    return {
        (one.name, *sorted(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_operators_are_answered_whatever_host_a_request_is_for(root):
    client = client_of(root, address=PublicAddress(hosts=("soil.example.org",)))
    assert client.get("/collections", headers={"Host": "10.0.0.7:8000"}).status_code == 400
    for path in OPERATOR_PATHS:
        assert client.get(path, headers={"Host": "10.0.0.7:8000"}).status_code == 200


def test_a_server_whose_store_is_gone_lives_but_is_not_ready(root, monkeypatch):
    monkeypatch.setattr(service_module, "_READY_SECONDS", 0.0)
    client = client_of(root)
    assert client.get("/ready").status_code == 200
    (root / "catalog.json").rename(root / "elsewhere.json")
    answer = client.get("/ready")
    assert answer.status_code == 503
    assert "catalog.json" in answer.json()["description"]
    assert client.get("/health").status_code == 200


def test_requests_are_counted_by_kind_and_status_as_prometheus_reads_them(root):
    client = client_of(root)
    for path in ("/collections/daily", "/collections/daily", "/collections/none", "/search?limit=1"):
        client.get(path)
    found = samples(client.get("/metrics").text)
    labels = (("method", "GET"), ("route", "collection"))
    assert found["stac_sm_requests_total", *labels, ("status", "200")] == 2
    assert found["stac_sm_requests_total", *labels, ("status", "404")] == 1
    assert found["stac_sm_request_seconds_count", ("route", "search")] == 1
    assert found["stac_sm_items",] == len(ITEMS)


def test_metrics_are_not_for_those_who_come_through_a_proxy(root):
    assert client_of(root).get("/metrics", headers={"X-Forwarded-For": "8.8.8.8"}).status_code == 404


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "landing page"), ("/collections", "collections"), ("/collections/a", "collection"),
        ("/collections/a/items", "collection items"), ("/collections/a/items/b", "item"), ("/search", "search"),
        ("/collections/a/aggregate", "aggregate"), ("/assets/a/b.tif", "asset"), ("/wp-login.php", "other"),
        ("/soil/search", "search"),
    ],
)  # fmt: skip
def test_paths_are_of_few_kinds(path, kind):
    assert route_name(path, "/soil") == kind


def test_the_access_log_has_an_id_that_the_answer_has_and_no_query(root, caplog):
    caplog.set_level(logging.INFO, ACCESS_LOGGER.name)
    client = client_of(root)
    given = client.get("/search?limit=1&token=s3cr3t", headers={"X-Request-ID": "abc-1"})
    assert given.headers["x-request-id"] == "abc-1"
    made = client.get("/", headers={"X-Request-ID": "two words\n"}).headers["x-request-id"]
    client.get("/health")
    first, second = (record.facts for record in caplog.records)  # no probe
    assert (first["request"], first["path"], first["method"]) == ("abc-1", "/search", "GET")
    assert second["request"] == made != "two words\n"
    assert "s3cr3t" not in caplog.text


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [(ZeroDivisionError("s"), 500, "GET /search failed: an error in stac_sm"), (CatalogError("gone"), 503, "gone")],
)
def test_what_fails_is_a_line_with_the_id_of_the_request(root, monkeypatch, error, status, said):
    def fails(*_):
        raise error

    monkeypatch.setattr(responses, "items_page", fails)
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    for name in ("LEVEL", "FORMAT", "STAGE"):
        monkeypatch.setenv(f"STAC_SM_LOG_{name}", "")
    start_logging("info", "json")
    try:
        answer = client_of(root).get("/search", headers={"X-Request-ID": "abc-2"})
    finally:
        stop_logging()
    assert (answer.status_code, answer.headers["x-request-id"]) == (status, "abc-2")
    assert answer.json()["code"] == str(status)
    failure, access = map(json.loads, written.getvalue().splitlines())
    assert said in failure["message"]
    assert {(line["level"], line["stage"], line["request"]) for line in (failure, access)} == {
        ("error", "serve", "abc-2"), ("info", "serve", "abc-2"),
    }  # fmt: skip
    assert ("error" in failure) == (status == 500)  # a traceback of what is our fault


def test_all_that_a_server_writes_is_json_where_it_is_asked_for(root):
    """Also what uvicorn says of bytes that are no HTTP."""
    with running(root, "--log-format", "json") as address:
        place = urlsplit(address)
        with socket.create_connection((place.hostname, place.port)) as connection:
            connection.sendall(b"nonsense\r\n\r\n")
            connection.recv(100)
        requests.get(f"{address}/collections", timeout=60)
    lines = [json.loads(line) for line in "".join(address.said).splitlines()]
    assert any(line["message"].startswith("Invalid HTTP request") for line in lines)
    assert {line["stage"] for line in lines} == {"serve"}


def test_no_path_looks_like_a_line_of_the_log(root, caplog):
    caplog.set_level(logging.INFO, ACCESS_LOGGER.name)
    client_of(root).get("/a%0aGET /b 200")
    [record] = caplog.records
    assert "\n" not in record.getMessage()
    assert record.facts["path"] == "/a\nGET /b 200"  # JSON quotes it


@pytest.mark.parametrize("indexed", [False, True])
def test_what_is_published_is_in_the_next_answer_after_the_stated_time(root, monkeypatch, indexed):
    """Also where there is an index, which follows the items later."""
    for collection in COLLECTIONS if indexed else ():
        update_index(open_store(root), collection, layout=LAYOUTS[collection])
    client = client_of(root)
    new = made_items(60)[-1]
    ids = lambda: {one["id"] for one in client.get("/search?limit=1000").json()["features"]}  # noqa: E731
    assert new["id"] not in ids()
    place_item(root, new)
    monkeypatch.setattr(service_module, "REFRESH_SECONDS", 0.05)
    time.sleep(0.1)
    assert new["id"] in ids()


def test_what_is_retracted_or_replaced_is_so_at_once(root):
    client = client_of(root)
    path = f"/collections/{ITEMS[0]['collection']}/items?limit=1000"
    pages = [client.get(path).json()["features"] for _ in range(2)]  # the second from what is remembered
    assert pages[0] == pages[1]
    file = place_item(root, ITEMS[0] | {"properties": ITEMS[0]["properties"] | {"platform": "new"}})
    assert "new" in {one["properties"].get("platform") for one in client.get(path).json()["features"]}
    file.unlink()
    assert ITEMS[0]["id"] not in {one["id"] for one in client.get(path).json()["features"]}


def test_what_lies_on_s3_is_found_as_soon_as_it_is_indexed(root, monkeypatch):
    """A listing of all objects is a request a thousand there: the index is looked at."""
    new, collection = made_items(60)[-1], made_items(60)[-1]["collection"]
    server = moto_server()
    bucket = new_bucket(server, "fresh")
    with environment_of(server):
        client = boto3.session.Session().client("s3")
        for id in COLLECTIONS:
            update_index(open_store(root), id, layout=LAYOUTS[id])
        for file in (one for one in root.rglob("*") if one.is_file()):
            client.upload_file(str(file), bucket, f"p/{file.relative_to(root)}")
        store = open_store(f"s3://{bucket}/p")
        served = TestClient(create_app(CatalogService(store.root)))
        monkeypatch.setattr(service_module, "REFRESH_SECONDS", 0.0)
        folder = item_folder(LAYOUTS[collection], new)
        store.create(f"{folder}/{new['id']}.json", item_json(with_structural_links(new, folder)))
        ids = lambda: {one["id"] for one in served.get("/search?limit=1000").json()["features"]}  # noqa: E731
        assert new["id"] not in ids()
        update_index(store, collection, layout=LAYOUTS[collection])
        assert new["id"] in ids()
        raster = f"{folder}/{new['assets']['sm']['href'][2:]}"
        store.create(raster, b"II*\0")
        gone = new | {"assets": {}}
        ask = lambda: served.get(f"/assets/{raster}", follow_redirects=False).status_code  # noqa: E731
        assert [ask(), ask()] == [307, 307]
        store.replace(f"{folder}/{new['id']}.json", item_json(with_structural_links(gone, folder)))
        assert ask() == 404


@pytest.mark.parametrize("change", ["gone", "withdrawn"])
def test_a_file_of_what_is_retracted_is_gone_at_once(root, change):
    client = client_of(root)
    file = place_item(root, ITEMS[0])
    raster = file.with_name(ITEMS[0]["assets"]["sm"]["href"][2:])
    raster.write_bytes(b"II*\0")
    path = f"/assets/{raster.relative_to(root)}"
    assert [client.get(path).status_code for _ in range(2)] == [200, 200]
    if change == "gone":
        file.unlink()
    else:
        place_item(root, ITEMS[0] | {"assets": {}})
    assert client.get(path).status_code == 404


def test_several_processes_answer_and_count_together(root):
    with running(root, "--workers", "2") as address:
        session = requests.Session()
        for _ in range(20):
            assert requests.get(f"{address}/collections", timeout=60).status_code == 200
        found = samples(session.get(f"{address}/metrics", timeout=60).text)
    labels = (("method", "GET"), ("route", "collections"), ("status", "200"))
    assert found["stac_sm_requests_total", *labels] == 20


def test_many_clients_at_once_get_no_5xx_and_take_bounded_memory():
    """The benchmark whose figures are in tests/benchmarks/README.md, for two seconds."""
    script = Path(__file__).parents[1] / "benchmarks" / "serve_load.py"
    options = ["--items", "500", "--clients", "64", "--seconds", "2", "--workers", "2", "--json"]
    done = subprocess.run([sys.executable, script, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr  # 1: a 5xx, twice the memory of the first seconds, or no server left
    found = json.loads(done.stdout)["this"]
    assert set(found["statuses"]) == {"200"}
    assert found["requests"] >= 64
    assert found["p50_ms"] <= found["p99_ms"]


def test_the_manifest_starts_a_server_that_answers_its_probes(root, tmp_path):
    deployment = next(yaml.safe_load_all(MANIFEST.read_text()))
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    command = container["command"]
    assert command[:2] == ["stac-sm", "serve"]
    shutil.copytree(root, tmp_path / "s3" / "sm")
    asked = [str(tmp_path / "s3" / "sm") if one.startswith("s3://") else one for one in command[2:]]
    with serve_command.make_context("serve", asked) as context:  # at its end, what it has set of the log is as before
        parsed = context.params
    assert (parsed["port"], parsed["host"]) == (container["ports"][0]["containerPort"], "0.0.0.0")
    client = client_of(parsed["catalog"], address=PublicAddress("", parsed["proxies"], parsed["hosts"]))
    probes = [container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")]
    for path in [*probes, deployment["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"]]:
        assert client.get(path, headers={"Host": "10.1.2.3:8000"}).status_code == 200
