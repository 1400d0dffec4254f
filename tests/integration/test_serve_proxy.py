"""`stac-sm serve` behind nginx, with TLS, below a path: clients see the address of the proxy, and no other."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
from urllib.parse import urlsplit

import pystac_client
import pytest
import requests
from pystac_client.stac_api_io import StacApiIO

from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.index.update import update_index
from stac_sm.workflows.submit.job import infra_file
from tests.support.missing import need
from tests.support.object_stores import free_ports, running_command
from tests.support.product_days import new_project, put_days
from tests.support.served import made_catalog, made_items, running

_SITE = """daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    {stripped}
    location /wet/ {{
      proxy_pass http://{kept};
      proxy_set_header Host internal;
      proxy_set_header Forwarded 'for=$remote_addr;proto=$scheme;host="$http_host"';
    }}
  }}
}}
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def inner(tmp_path_factory):
    """A project behind two servers of ours: one that learns its path from the proxy, one that is given it."""
    need("nginx", None if shutil.which("nginx") else "no nginx here: tests/integration/install.sh installs it")
    root = tmp_path_factory.mktemp("inner")
    project = new_project(root / "p")
    put_days(project.catalog, days=range(4))
    update_index(project.catalog.store, PRODUCT_COLLECTION, layout="year/month/day")
    (root / "browser" / "js").mkdir(parents=True)
    (root / "browser" / "index.html").write_text('<script src="/browser/js/app.js"></script>')
    (root / "browser" / "js" / "app.js").write_text('a.p="/browser/"')
    options, browser = ["--proxy", "127.0.0.1", "--trusted-host", "localhost"], str(root / "browser")
    with contextlib.ExitStack() as stack:
        yield (
            stack.enter_context(running(project.folder, *options, STAC_SM_BROWSER=browser)),
            stack.enter_context(running(project.folder, *options, "--root-path", "/wet", STAC_SM_BROWSER=browser)),
        )


@pytest.fixture(scope="module")
def outside(inner, certificate):
    """Address of the proxy, without a path."""
    [port], folder = free_ports(1), certificate
    site = infra_file("proxy/nginx.conf").read_text().replace("http://127.0.0.1:8000", inner[0])
    kept = urlsplit(inner[1]).netloc
    (folder / "nginx.conf").write_text(_SITE.format(folder=folder, port=port, stripped=site, kept=kept))
    with running_command(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], folder / "nginx.log"):
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(requests.ConnectionError):
                requests.get(f"https://localhost:{port}/", verify=str(folder / "cert.pem"), timeout=5)
                break
            assert time.monotonic() < deadline, (folder / "nginx.log").read_text()
            time.sleep(0.1)
        yield f"https://localhost:{port}"


@pytest.fixture(params=["soil", "wet"])
def address(request, outside, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate / "cert.pem"))
    return f"{outside}/{request.param}"


def addresses(document):
    """All URLs in a document."""
    return set(re.findall(r'https?://[^"\s]+', document if isinstance(document, str) else json.dumps(document)))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pystac_client_goes_through_all_pages_and_reads_the_files(address, method):
    client = pystac_client.Client.open(f"{address}/", stac_io=StacApiIO())
    assert client.get_self_href() == f"{address}/"
    assert [one.id for one in client.get_collections()] == [PRODUCT_COLLECTION] or PRODUCT_COLLECTION in {
        one.id for one in client.get_collections()
    }
    search = client.search(method=method, collections=[PRODUCT_COLLECTION], limit=5, query=["version<>none"])
    items = list(search.items())
    assert len({item.id for item in items}) == search.matched() == 12
    for item in items[:2]:
        assert item.get_self_href() == f"{address}/collections/{PRODUCT_COLLECTION}/items/{item.id}"
        href = item.assets["sm"].href
        assert href.startswith(f"{address}/assets/")
        part = requests.get(href, headers={"Range": "bytes=0-3"}, timeout=30)
        assert (part.status_code, part.content[:2]) == (206, b"II")
        assert item.get_collection().id == PRODUCT_COLLECTION
        assert item.get_root().id == client.id


def test_every_link_leads_through_the_proxy(address, inner):
    seen, waiting = {}, [f"{address}/", f"{address}/collections/{PRODUCT_COLLECTION}/items?limit=5"]
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        answer = requests.get(place, timeout=30)
        assert answer.status_code == 200, (place, answer.text[:300])
        is_text = re.search("json|html", answer.headers["content-type"]) is not None
        seen[place] = addresses(answer.text) if is_text else set()
        waiting += [one for one in seen[place] if one.startswith(address) and "{" not in one and "aggregate" not in one]
    every = set().union(*seen.values())
    ours = {one for one in every if urlsplit(one).hostname in {"localhost", "127.0.0.1", "internal"}}
    assert {one for one in ours if not f"{one}/".startswith(f"{address}/")} == set()
    assert len([place for place in seen if "/items/" in place]) == 12
    assert {f"{address}/api", f"{address}/queryables", f"{address}/browser"} <= set(seen)
    description = requests.get(f"{address}/api", timeout=30).json()
    assert description["servers"] == [{"url": address}]


def test_tiles_pages_and_redirects_lie_below_the_path(address):
    item = requests.get(f"{address}/collections/{PRODUCT_COLLECTION}/items?limit=1", timeout=30).json()["features"][0]
    place = f"{address}/tiles/{PRODUCT_COLLECTION}/{item['id']}/sm"
    told = requests.get(f"{place}/WebMercatorQuad/tilejson.json?tile_format=png", timeout=60).json()
    assert told["tiles"][0].startswith(f"{place}/tiles/WebMercatorQuad/")
    assert requests.get(told["tiles"][0].format(z=0, x=0, y=0), timeout=60).status_code == 200
    path = urlsplit(address).path
    assert f'src="{path}/browser/js/app.js"' in requests.get(f"{address}/browser/collections/x", timeout=30).text
    assert f'a.p="{path}/browser/"' in requests.get(f"{address}/browser/js/app.js", timeout=30).text
    assert f'"catalogUrl": "{address}/"' in requests.get(f"{address}/browser/config.js", timeout=30).text
    moved = requests.get(f"{address}/collections/", allow_redirects=False, timeout=30)
    assert (moved.status_code, moved.headers["location"]) == (307, f"{address}/collections")
    page = requests.get(f"{address}/", headers={"Accept": "text/html"}, timeout=30).text
    assert addresses(page)
    assert all(one.startswith(address) for one in addresses(page))


def test_a_client_cannot_make_the_proxy_lie(address):
    """By headers that a proxy would send: nginx overwrites its own, and the server takes no other host."""
    for name, value in (("X-Forwarded-Prefix", "/evil"), ("X-Forwarded-Proto", "http"), ("Forwarded", "host=evil.org"),
                        ("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-Host", "evil.org")):  # fmt: skip
        answer = requests.get(f"{address}/collections", headers={name: value}, timeout=30)
        assert "evil" not in answer.headers.get("location", "")
        if answer.status_code == 200:
            assert {link["href"] for link in answer.json()["links"]} == {f"{address}/collections", f"{address}/"}, name
        else:
            assert (answer.status_code, "links" in answer.json()) == (400, False), name


_MEMBERS_SITE = """daemon off; pid {folder}/members.pid; error_log {folder}/members-error.log;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body2; proxy_temp_path {folder}/proxy2;
  fastcgi_temp_path {folder}/fastcgi2; uwsgi_temp_path {folder}/uwsgi2; scgi_temp_path {folder}/scgi2;
  {http}
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    {location}
  }}
}}
"""


@pytest.fixture
def for_members(tmp_path, certificate, monkeypatch):
    """Address of a proxy that knows one token, as infra/README.md describes it."""
    need("nginx", None if shutil.which("nginx") else "no nginx here: tests/integration/install.sh installs it")
    made_catalog(tmp_path / "c", made_items(30))
    for id, visibility in (("daily", "public"), ("instants", "public"), ("stations", "restricted")):
        file = tmp_path / "c" / id / "collection.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"stac_sm:visibility": visibility}))
    (certificate / "members.tokens").write_text('"Bearer s3cr3t" stac_sm_members;')
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate / "cert.pem"))
    options = ["--proxy", "127.0.0.1", "--trusted-host", "localhost"]
    [port] = free_ports(1)
    with (
        running(tmp_path / "c", *options) as public,
        running(tmp_path / "c", *options, "--collections", "stations") as members,
    ):
        http = infra_file("proxy/members.conf").read_text()
        http = http.replace("127.0.0.1:8000", urlsplit(public).netloc).replace(
            "127.0.0.1:8001", urlsplit(members).netloc
        )
        location = infra_file("proxy/members-location.conf").read_text()
        site = _MEMBERS_SITE.format(folder=certificate, port=port, http=http, location=location)
        (certificate / "members-site.conf").write_text(site)
        with running_command(
            ["nginx", "-p", str(certificate), "-c", str(certificate / "members-site.conf")], certificate / "members.log"
        ):
            deadline = time.monotonic() + 20
            while True:
                with contextlib.suppress(requests.ConnectionError):
                    requests.get(f"https://localhost:{port}/", timeout=5)
                    break
                assert time.monotonic() < deadline, (certificate / "members.log").read_text()
                time.sleep(0.1)
            yield f"https://localhost:{port}/soil"


def test_restricted_collections_are_for_members(for_members):
    member = {"Authorization": "Bearer s3cr3t"}
    seen = {
        name: {one.id for one in pystac_client.Client.open(f"{for_members}/", headers=headers).get_collections()}
        for name, headers in (("anybody", {}), ("member", member))
    }
    assert seen == {"anybody": {"daily", "instants"}, "member": {"daily", "instants", "stations"}}
    place = f"{for_members}/collections/stations/items?limit=1"
    assert requests.get(place, timeout=30).status_code == 404
    answer = requests.get(place, headers=member, timeout=30)
    [item] = answer.json()["features"]
    assert answer.headers["vary"].lower().count("authorization") == 1
    assert item["links"][0]["href"].startswith(f"{for_members}/collections/stations/items/")
    assert requests.get(item["links"][0]["href"], timeout=30).status_code == 404
    assert requests.get(item["links"][0]["href"], headers=member, timeout=30).json()["id"] == item["id"]


def test_a_token_that_is_not_known_is_refused(for_members):
    answer = requests.get(f"{for_members}/collections", headers={"Authorization": "Bearer other"}, timeout=30)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
