"""The address that clients see: headers of trusted proxies, and of nobody else."""

from __future__ import annotations

import json

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from stac_sm.core.errors import InputError
from stac_sm.serve.errors import BadRequestError
from stac_sm.serve.proxy import FORWARDED_HEADERS, ClientView, PublicAddress, client_view
from tests.support.served import made_catalog, made_items, running

TRUSTED = PublicAddress(proxies=["10.0.0.0/8", "2001:db8::1"])


def seen(headers: list[tuple[str, str]], peer: str = "10.0.0.1", address: PublicAddress = TRUSTED) -> ClientView:
    raw = [(name.lower().encode(), value.encode()) for name, value in [("host", "inner:8000"), *headers]]
    return client_view(address, peer, "http", Headers(raw=raw))


X = "X-Forwarded-"
SEEN = {
    "nothing said": ([], ("http", "inner:8000", "")),
    "a scheme": ([(f"{X}Proto", "https")], ("https", "inner:8000", "")),
    "a prefix": ([(f"{X}Prefix", "/soil/")], ("http", "inner:8000", "/soil")),
    "an empty prefix": ([(f"{X}Prefix", "/")], ("http", "inner:8000", "")),
    "all": (
        [(f"{X}Proto", "HTTPS"), (f"{X}Host", "host.org"), (f"{X}Prefix", "/a/b")],
        ("https", "host.org", "/a/b"),
    ),
    "Forwarded": (
        [("Forwarded", 'For="[2001:db8::7]:4711";Proto=https;host="host.org:8443"')],
        ("https", "host.org:8443", ""),
    ),
    "both, which agree": (
        [("Forwarded", "proto=https;host=host.org"), (f"{X}Proto", "https")],
        ("https", "host.org", ""),
    ),
    "what a client put before the proxy's own": (
        [(f"{X}Host", "evil.org, host.org"), (f"{X}For", "1.2.3.4, 5.6.7.8"), (f"{X}Proto", "http,https")],
        ("https", "host.org", ""),
    ),
    "the same in Forwarded, in two lines": (
        [("Forwarded", "for=1.2.3.4;host=evil.org"), ("Forwarded", "for=5.6.7.8;host=host.org")],
        ("http", "host.org", ""),
    ),
    "two proxies in a row": (
        [(f"{X}For", "5.6.7.8, 10.0.0.2"), (f"{X}Proto", "https, http"), (f"{X}Host", "host.org, inner")],
        ("https", "host.org", ""),
    ),
    "three in Forwarded, and a client that lies": (
        [("Forwarded", 'host=evil.org, for=5.6.7.8;host=host.org;proto=https, for=10.0.0.3, for="[2001:db8::1]"')],
        ("https", "host.org", ""),
    ),
    "a list that only one of two has": (
        [(f"{X}For", "5.6.7.8, 10.0.0.2"), (f"{X}Proto", "https")],
        ("https", "inner:8000", ""),
    ),
    "a quoted comma": ([("Forwarded", 'for="a,b;host=evil.org";host=host.org')], ("http", "host.org", "")),
}


@pytest.mark.parametrize("case", SEEN)
def test_what_a_trusted_proxy_says_is_what_the_client_sees(case):
    headers, wanted = SEEN[case]
    assert seen(headers) == ClientView(*wanted)
    fixed = PublicAddress("/own", TRUSTED.proxies)
    assert seen(headers, address=fixed) == ClientView(*wanted[:2], "/own")
    assert seen(headers, "2001:db8::1") == seen(headers, "::ffff:10.1.2.3") == ClientView(*wanted)


@given(
    st.lists(st.tuples(st.sampled_from(FORWARDED_HEADERS), st.text(st.characters(codec="latin-1"), max_size=30))),
    st.sampled_from(["11.0.0.1", "127.0.0.1", "2001:db8::2", "", "unknown", "fe80::1%eth0"]),
)
def test_nobody_else_changes_anything(headers, peer):
    raw = [(b"host", b"inner:8000"), *((name.encode(), value.encode("latin-1")) for name, value in headers)]
    assert client_view(TRUSTED, peer, "http", Headers(raw=raw)) == ClientView("http", "inner:8000", "")


@given(st.lists(st.tuples(st.sampled_from(FORWARDED_HEADERS), st.text(st.characters(codec="latin-1"), max_size=40))))
def test_whatever_a_proxy_says_is_an_address_or_a_bad_request(headers):
    raw = [(b"host", b"h"), *((name.encode(), value.encode("latin-1")) for name, value in headers)]
    try:
        found = client_view(TRUSTED, "10.0.0.1", "http", Headers(raw=raw))
    except BadRequestError:
        return
    assert found.scheme in {"http", "https"}
    assert not set('/"<>\\@ ?#') & set(found.host)
    assert "//" not in found.prefix


BAD = [
    [(f"{X}Proto", "ftp")], [(f"{X}Host", "a/b")], [(f"{X}Host", "user@host")], [(f"{X}Prefix", "//evil.org")],
    [(f"{X}Prefix", "soil")], [(f"{X}Prefix", "/../soil")], [(f"{X}Prefix", "/a?b")], [("Forwarded", "host=a b")],
    [("Forwarded", "proto=https"), (f"{X}Proto", "http")], [("Forwarded", "host=evil.org"), (f"{X}Host", "host.org")],
]  # fmt: skip


@pytest.mark.parametrize("headers", BAD, ids=str)
def test_what_makes_no_sense_is_a_bad_request(headers):
    if headers == [("Forwarded", "host=a b")]:
        assert seen(headers).host == "a"  # as RFC 7239 reads it: a value ends at a blank
        return
    with pytest.raises(BadRequestError, match=r"contradict|required"):
        seen(headers)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [("host.org", True), ("HOST.org:8443", True), ("a.b.soil.org", True), ("soil.org", False), ("evilsoil.org", False),
     ("host.org.evil", False), ("", False), ("[::1]:80", True), ("[::2]", False)],
)  # fmt: skip
def test_only_trusted_hosts_are_answered(host, allowed):
    address = PublicAddress(hosts=["host.org", "*.soil.org", "[::1]"], proxies=["10.0.0.1"])
    assert address.allows(host) == allowed
    raw = [(b"host", host.encode())]
    if allowed:
        assert client_view(address, "1.2.3.4", "http", Headers(raw=raw)).host == host
        return
    with pytest.raises(BadRequestError, match="none of those that this server answers for"):
        client_view(address, "1.2.3.4", "http", Headers(raw=raw))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"root_path": "soil"}, "--root-path 'soil'"), ({"root_path": "/a//b"}, "--root-path"),
     ({"root_path": "/a/../b"}, "--root-path"), ({"root_path": "/b%20"}, "--root-path"),
     ({"proxies": ["nginx"]}, "--proxy: 'nginx'"), ({"proxies": ["10.0.0.0/99"]}, "--proxy"),
     ({"hosts": ["https://host.org"]}, "--trusted-host"), ({"hosts": ["host.org:443"]}, "--trusted-host"),
     ({"hosts": ["*"]}, "--trusted-host")],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        PublicAddress(**options)


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    root = tmp_path_factory.mktemp("proxied") / "catalog"
    made_catalog(root, made_items(20))
    with running(root, "--proxy", "127.0.0.1", "--trusted-host", "127.0.0.1", "--trusted-host", "host.org") as address:
        yield address


def test_a_prefix_named_like_a_route(api):
    """A proxy that removes the prefix: what is left is the route, whatever it is called."""
    headers = {"X-Forwarded-Host": "host.org", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/search"}
    found = requests.get(f"{api}/search", headers=headers, params={"limit": 1}, timeout=30).json()
    assert found["type"] == "FeatureCollection"
    assert {link["href"].partition("?")[0] for link in found["links"]} == {
        "https://host.org/search/", "https://host.org/search/search"}  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/collections", "/collections/daily/items?limit=1", "/queryables"])
def test_links_follow_the_headers(api, path):
    headers = {"X-Forwarded-Host": "host.org:8443", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/soil"}
    for place in (path, f"/soil{path}"):  # removed by the proxy, or left
        answer = requests.get(api + place, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        assert f"https://host.org:8443/soil/{path.lstrip('/').partition('?')[0]}".rstrip("/") in answer.text
        assert api not in answer.text


def test_a_slash_too_many_leads_to_the_public_address(api):
    headers = {"X-Forwarded-Host": "host.org", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/soil"}
    answer = requests.get(f"{api}/soil", headers=headers, allow_redirects=False, timeout=30)
    assert (answer.status_code, answer.headers["location"]) == (307, "https://host.org/soil/")


def test_a_host_that_is_not_trusted_is_refused(api):
    for headers in ({"Host": "evil.org"}, {"X-Forwarded-Host": "evil.org"}):
        answer = requests.get(f"{api}/search", headers=headers, timeout=30)
        assert answer.status_code == 400
        assert "'evil.org' is none of those" in answer.json()["description"]


def test_without_a_proxy_headers_are_ignored_and_the_operator_reads_so(tmp_path, monkeypatch):
    from starlette.testclient import TestClient

    from stac_sm.serve.app import create_app
    from stac_sm.serve.service import CatalogService

    made_catalog(tmp_path / "c", made_items(5))
    said: list[str] = []
    app = create_app(CatalogService(str(tmp_path / "c")), log=said.append)
    client = TestClient(app, client=("192.0.2.7", 50000))
    for _ in range(2):
        answer = client.get("/collections", headers={"X-Forwarded-Host": "evil.org", "X-Forwarded-Prefix": "/evil"})
        assert "evil" not in json.dumps(answer.json())
    assert said == ["x-forwarded-host, x-forwarded-prefix from 192.0.2.7 ignored: "
                    "if that is your proxy, give --proxy 192.0.2.7"]  # fmt: skip
