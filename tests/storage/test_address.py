"""Addresses: one function says which kind a path or URL is, and no file name is ever taken for a URL."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import InputError
from stac_sm.storage.address import (
    LOCAL,
    S3,
    UNKNOWN,
    WEB,
    absolute_address,
    address_kind,
    address_path,
    bucket_and_key,
    is_absolute,
    is_remote,
    join_address,
    local_path,
    resolve_href,
    scheme_of,
    split_address,
    web_uri,
    without_query,
)

ROOT = Path(__file__).parents[2] / "stac_sm"

KINDS = [
    ("", LOCAL, False),
    (".", LOCAL, False),
    ("data/x.tif", LOCAL, False),
    ("/data/x.tif", LOCAL, True),
    ("/data/a#b?c%20d e/ä€.tif", LOCAL, True),
    ("a#b?c%20d e/ä€.tif", LOCAL, False),
    ("12:00.tif", LOCAL, False),
    ("a:b", LOCAL, False),
    ("/data/s3://bucket/x", LOCAL, True),
    ("see http://host/x", LOCAL, False),
    ("file:///data/x.tif", LOCAL, True),
    ("FILE:/data/x.tif", LOCAL, True),
    ("http://host/x", WEB, True),
    ("HTTPS://host/x?sig=1#2", WEB, True),
    ("s3://bucket/a#b?c%20", S3, True),
    ("S3://bucket", S3, True),
    ("gs://bucket/x", UNKNOWN, True),
    ("ftp://host/x", UNKNOWN, True),
    ("git+ssh://host/x", UNKNOWN, True),
]


@pytest.mark.parametrize(("address", "kind", "absolute"), KINDS)
def test_the_table_of_kinds(address, kind, absolute):
    assert address_kind(address) is kind
    assert is_remote(address) == (kind is not LOCAL)
    assert is_absolute(address) == absolute


NAMES = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: name not in {".", ".."}
)


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_law_any_absolute_path_is_a_path_and_comes_back_as_it_is(names):
    path = "/" + "/".join(names)
    assert address_kind(path) is LOCAL
    assert str(local_path(path)) == path == absolute_address(path)
    assert address_path(path) == PurePosixPath(path)
    assert split_address(path) == ("/" + "/".join(names[:-1]), names[-1])
    assert join_address("/", path[1:]) == path
    assert str(local_path(f"file://{quote(path)}")) == path == str(local_path(Path(path).as_uri()))


@given(st.lists(NAMES, min_size=1, max_size=4), st.sampled_from(["x.json", "../x.json", "a/../../x.json"]))
def test_law_keys_of_a_store_are_taken_as_they_are(names, beside):
    key = "/".join(names)
    address = f"s3://bucket/{key}"
    assert bucket_and_key(address) == ("bucket", key)
    assert without_query(address) == address
    assert split_address(address)[1] == names[-1]
    assert join_address(address, beside).startswith("s3://bucket")


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("https://host/a%20b/x.parquet?sig=a.json#y", "/a b/x.parquet"),
        ("s3://bucket/a%20b/x#y.json", "bucket/a%20b/x#y.json"),
        ("/a%20b/x#y.json?z", "/a%20b/x#y.json?z"),
        ("file:///a%20b/x%23y.json", "/a b/x#y.json"),
        ("file:///a b/x#y.json?z", "/a b/x#y.json?z"),
    ],
)
def test_the_path_inside_an_address(address, path):
    assert address_path(address) == PurePosixPath(path)


@pytest.mark.parametrize(
    ("root", "path", "joined"),
    [
        ("/data/p", "../other", "/data/other"),
        ("/data/a#b", "x y", "/data/a#b/x y"),
        ("s3://bucket/p", "../other", "s3://bucket/other"),
        ("file:///data/p", "x", "/data/p/x"),
        ("https://host/a", "../b/c", "https://host/b/c"),
    ],
)
def test_a_path_beside_a_root(root, path, joined):
    assert join_address(root, path) == joined


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("x.json", (".", "x.json")),
        ("/x.json", ("/", "x.json")),
        ("a/b/x.json", ("a/b", "x.json")),
        ("s3://bucket/x.json", ("s3://bucket", "x.json")),
        ("s3://bucket", ("s3://bucket", "")),
        ("a/", ("a", "")),
    ],
)
def test_folder_and_name(address, parts):
    assert split_address(address) == parts


@pytest.mark.parametrize("address", ["http://host/x", "s3://bucket/x", "ftp://host/x"])
def test_what_is_no_path_of_this_machine_is_refused(address):
    assert absolute_address(address) == address
    with pytest.raises(InputError, match="a path of this machine is required"):
        local_path(address)


def test_a_file_of_another_host_is_refused():
    assert local_path("file://localhost/x") == Path("/x")
    with pytest.raises(InputError, match="on the host 'nas'"):
        local_path("file://nas/x")


def test_the_scheme_is_in_lower_case():
    assert [scheme_of(text) for text in ("HTTP://x", "File:/x", "/x", "x:y")] == ["http", "file", "", ""]


def test_no_other_module_parses_addresses():
    """The kind of an address is decided here only: no other module looks for ``://`` or compares beginnings."""
    found = re.compile(r"""["'][a-z0-9]*://["'] (?:not )?in\b|startswith\(\(?["'](?:s3|https?|file):""")
    guilty = [
        str(file.relative_to(ROOT))
        for file in ROOT.rglob("*.py")
        if file.name != "address.py" and found.search(file.read_text())
    ]
    assert guilty == []


RESOLVED = [
    ("./a.tif", "/p/#02 D/i/i.json", "/p/#02 D/i/a.tif"),
    ("../a#1?b%20c é.tif", "/p/why?/i/i.json", "/p/why?/a#1?b%20c é.tif"),
    ("a:b.tif", "/p/i.json", "/p/a:b.tif"),
    ("a.tif", "file:///p/a%23b/i.json", "/p/a#b/a.tif"),
    ("/q/a?.tif", "/p/i.json", "/q/a?.tif"),
    ("file:///q/a%3F.tif", "/p/i.json", "file:///q/a%3F.tif"),
    ("a.tif", "", "a.tif"),
    ("a#1.tif", "p/i.json", "p/a#1.tif"),
    ("./a#1?b%20c é.tif", "s3://b/#p/why?/i.json", "s3://b/#p/why?/a#1?b%20c é.tif"),
    ("../../../../a.tif", "s3://b/p/i.json", "s3://b/a.tif"),
    ("/q/a.tif", "s3://b/p/i.json", "s3://b/q/a.tif"),
    ("s3://c/a#1", "s3://b/p/i.json", "s3://c/a#1"),
    ("./höhe 1.tif", "http://h/mal%C3%A9/i.json", "http://h/mal%C3%A9/h%C3%B6he%201.tif"),
    ("./a.tif?sig=a%2Bb&c=ü#top", "http://h/p/i.json", "http://h/p/a.tif?sig=a%2Bb&c=%C3%BC"),
    ("100%.tif", "http://h/p/i.json", "http://h/p/100%25.tif"),
    ("/q/a.tif", "http://h/p/i.json?token=1", "http://h/q/a.tif"),
    ("../a.tif", "http://h/p/q/i.json", "http://h/p/a.tif"),
    ("//k/a.tif", "https://h/p/i.json", "https://k/a.tif"),
    ("http://h/malé/a b.tif#x", "/p/i.json", "http://h/mal%C3%A9/a%20b.tif"),
    ("http://[h/a.tif", "http://h/i.json", "http://[h/a.tif"),
    ("file:///etc/passwd", "http://h/i.json", "file:///etc/passwd"),
    ("", "/p/i.json", "/p/i.json"),
]
"""Href, address of the document that holds it, place."""


@pytest.mark.parametrize(("href", "base", "place"), RESOLVED)
def test_the_table_of_hrefs(href, base, place):
    assert resolve_href(href, base) == place


@given(st.lists(NAMES, min_size=1, max_size=3), NAMES)
def test_law_a_relative_href_names_the_file_of_its_name(names, name):
    folder = "/" + "/".join(names)
    assert resolve_href(f"./{name}", f"{folder}/item.json") == f"{folder}/{name}"
    assert resolve_href(f"../{name}", f"s3://bucket{folder}/x/item.json") == f"s3://bucket{folder}/{name}"
    uri = resolve_href(f"./{quote(name)}", f"http://host{quote(folder)}/item.json")
    assert uri == f"http://host{quote(folder)}/{quote(name)}"
    assert web_uri(uri) == uri


@given(st.text(st.characters(exclude_characters="#?%/\\", exclude_categories=["C"]), min_size=1))
def test_law_an_iri_becomes_the_uri_that_requests_makes_of_it(name):
    """Requests is the client that pystac-client reads with; it encodes some characters more, which URIs may hold."""
    by_requests = requests.Request("GET", f"http://host/{name}x").prepare().url
    assert unquote(by_requests) == unquote(web_uri(f"http://host/{name}x"))
    assert web_uri(f"http://host/{name}x").isascii()
