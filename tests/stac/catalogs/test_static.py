"""Static catalogues by http: whatever their layout, the items of a question; whatever their malice, an end."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import threading
import time
import tracemalloc
from collections import Counter
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pystac
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box, mapping

from stac_sm.core.errors import CatalogError, InputError
from stac_sm.core.period import ONE_DAY, Period, utc_instant
from stac_sm.stac.catalogs import api as stac_api
from stac_sm.stac.catalogs import static
from stac_sm.stac.catalogs.catalog import Catalog, create_skeleton, open_catalog
from stac_sm.stac.catalogs.search import matches_search
from stac_sm.stac.catalogs.static import StaticCatalog
from stac_sm.stac.items import build_item, item_folder, item_json, with_structural_links
from stac_sm.stac.links import refresh
from stac_sm.storage.http import client
from stac_sm.storage.http import documents as web
from stac_sm.storage.store import open_store
from stac_sm.storage.trust import AddressScope
from tests.support.examples import examples
from tests.support.faulty_server import FaultyServer

SECRET = "sig=s3cr3t"


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    """No long waits, few attempts."""
    monkeypatch.setenv("STAC_SM_RETRY_FIRST_WAIT", "0.01")
    monkeypatch.setenv("STAC_SM_RETRY_ATTEMPTS", "3")


@pytest.fixture
def served(tmp_path):
    with FaultyServer(tmp_path / "served") as server:
        yield server


class Made:
    """A server of documents that are made when asked for: path -> JSON, bytes, or (status, headers, bytes)."""

    def __init__(self, make):
        self.make, self.asked, self.most, self._now = make, Counter(), 0, 0
        self._lock = threading.Lock()

    def __enter__(self):
        made = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                with made._lock:
                    made.asked[self.path] += 1
                    made._now += 1
                    made.most = max(made.most, made._now)
                found = made.make(self.path)
                status, headers, content = found if isinstance(found, tuple) else (200, {}, found)
                content = content if isinstance(content, bytes) else json.dumps(content).encode()
                with made._lock:
                    made._now -= 1
                self.send_response(404 if found is None else status)
                self.send_header("Content-Length", str(len(content)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def catalog(*links, **more):
    return {"type": "Catalog", "stac_version": "1.1.0", "id": "a", "description": "a", "links": list(links), **more}


def collection(*links, id="c"):
    return catalog(*links, id=id, type="Collection", license="other")


def child(href, title=""):
    return {"rel": "child", "href": href, "title": title}


def member(href):
    return {"rel": "item", "href": href}


def item(id="x", **more):
    properties = {"datetime": "2018-07-01T12:00:00Z"}
    return {
        "type": "Feature", "stac_version": "1.1.0", "id": id, "collection": "c", "geometry": None, "bbox": [0, 0, 1, 1],
        "properties": properties, "links": [], "assets": {"a": {"href": "./a.tif"}}, **more,
    }  # fmt: skip


def ids(items):
    return [one.id for one in items]


def site(documents):
    return Made(lambda path: documents.get(path.partition("?")[0]))


def third_party(folder, catalog_type, strategy=None):
    """A catalogue that pystac wrote, in its own layout: collections two catalogues deep, items by year."""
    root = pystac.Catalog("third", "Third party")
    for name in ("north", "south"):
        part = pystac.Catalog(name, name)
        root.add_child(part)
        extent = pystac.Extent(pystac.SpatialExtent([[-180, -90, 180, 90]]), pystac.TemporalExtent([[None, None]]))
        one = pystac.Collection(f"{name}-lst", "LST", extent)
        part.add_child(one)
        for year in (2017, 2018):
            below = pystac.Catalog(f"y{year}", "a year")
            one.add_child(below)
            for month in (1, 7):
                shape = box(5, 45, 6, 46)
                made = pystac.Item(
                    f"{name}.{year}.{month}",
                    mapping(shape),
                    list(shape.bounds),
                    datetime(year, month, 3, tzinfo=UTC),
                    {},
                )
                made.add_asset("lst", pystac.Asset("./lst.tif"))
                below.add_item(made)
    root.normalize_and_save(str(folder), catalog_type=catalog_type, strategy=strategy)


@pytest.mark.parametrize("kind", ["relative", "absolute", "folder"])
def test_a_catalogue_of_pystac_is_read(served, kind):
    served.folder.mkdir()
    if kind == "absolute":
        third_party(served.folder, pystac.CatalogType.ABSOLUTE_PUBLISHED)
        for file in served.folder.rglob("*.json"):  # published there
            file.write_text(file.read_text().replace(str(served.folder), served.address))
    else:
        third_party(served.folder, pystac.CatalogType.SELF_CONTAINED)
    items = open_catalog(str(served.folder) if kind == "folder" else f"{served.address}/catalog.json")
    assert ids(items.items("south-lst")) == ["south.2017.1", "south.2017.7", "south.2018.1", "south.2018.7"]
    found = items.items("south-lst", period=Period.parse("2018"), bbox=(5.5, 45.5, 5.6, 45.6))
    assert ids(found) == ["south.2018.1", "south.2018.7"]
    root = str(served.folder) if kind == "folder" else served.address
    href = found[0].assets["lst"].get_absolute_href()
    assert href.startswith(root)
    assert href.endswith("south.2018.1/lst.tif")
    assert items.item("north-lst", "north.2017.7").id == "north.2017.7"
    assert items.collections == ["north-lst", "south-lst"]
    assert items.collection("north-lst")["description"] == "LST"
    with pytest.raises(CatalogError, match=r"collection 'lst' is unknown: known are north-lst, south-lst"):
        items.items("lst")


def test_names_of_files_and_titles_need_not_tell_anything():
    """Opaque names; the collection is known by its id, an item by its content; other collections inside are not it."""
    documents = {
        "/r": catalog(child("b/1"), child("b/2")),
        "/b/1": collection(child("/b/4"), member("/i/9"), id="other"),
        "/b/2": catalog(child("3?x=1")),
        "/b/3": collection(member("../i/1"), child("4", title="2018"), member("../i/1")),
        "/b/4": catalog(member("../i/2"), child("5")),
        "/b/5": collection(member("../i/3"), id="inner"),
        "/i/1": item("one"), "/i/2": item("two", collection=None), "/i/3": item("three", collection=None),
        "/i/9": item("nine", collection="other"),
    }  # fmt: skip
    with site(documents) as server:
        items = open_catalog(f"{server.address}/r")
        assert ids(items.items("c", period=Period.parse("2018-07-01"))) == ["one", "two"]
        assert items.item("c", "two").assets["a"].get_absolute_href() == f"{server.address}/i/a.tif"
        assert ids(items.items("inner")) == ["three"]
        assert open_catalog(f"{server.address}/b/3").collections == ["c"]
        with pytest.raises(CatalogError, match="item 'nine' is not in collection 'c'"):
            items.item("c", "nine")


def test_an_item_is_where_it_was_found_whatever_its_self_link_says():
    own = item(links=[{"rel": "self", "href": "file:///etc/x.json"}, {"rel": "root", "href": "/etc/passwd"}])
    own["assets"]["a"]["href"] = "passwd"
    with site({"/r": collection(member("/i/x")), "/i/x": own}) as server:
        found = open_catalog(f"{server.address}/r").item("c", "x")
        assert found.get_self_href() == f"{server.address}/i/x"
        assert found.assets["a"].get_absolute_href() == f"{server.address}/i/passwd"
        assert found.get_root() is None
        assert found.to_dict()["id"] == "x"


def test_one_id_twice_is_an_error_that_names_both():
    documents = {"/r": collection(member("/i/1"), member("/i/2")), "/i/1": item(), "/i/2": item()}
    said = r"item 'x' is twice in collection 'c': \S+/i/1 and \S+/i/2"
    with site(documents) as server, pytest.raises(CatalogError, match=said):
        open_catalog(f"{server.address}/r").items("c")


def ours(folder, items):
    """Our own layout, years, months and days."""
    create_skeleton(open_store(folder), title="Test")
    for id, day in items:
        made = build_item(
            id=id, collection="glass-lst", geometry=mapping(box(5, 45, 6, 46)), bbox=(5, 45, 6, 46),
            start=utc_instant(day),
            end=utc_instant(day + ONE_DAY), properties={}, extensions=[],
        )  # fmt: skip
        where = item_folder("year/month/day", made)
        open_store(folder).create(f"{where}/{id}.json", item_json(with_structural_links(made, where)))
    refresh(open_store(folder), "glass-lst")


def test_our_own_layout_needs_few_documents(served):
    first = date(2018, 1, 1)
    ours(served.folder, [(f"LST.A{first + i * ONE_DAY:%Y%j}", first + i * ONE_DAY) for i in range(0, 300, 3)])
    items = open_catalog(f"{served.address}/catalog.json")
    assert items.item("glass-lst", "LST.A2018151").id == "LST.A2018151"
    assert sum(served.gets().values()) == 6  # root, collection, year, month, day, item
    served.asked.clear()
    items = open_catalog(f"{served.address}/")
    assert ids(items.items("glass-lst", period=Period.parse("2018-05-30/2018-06-02"))) == ["LST.A2018151"]
    assert sum(served.gets().values()) < 40
    served.asked.clear()
    assert len(items.items("glass-lst", period=Period.parse("2018-05-30/2018-06-02"))) == 1
    assert sum(served.gets().values()) == 0  # what was read is kept
    assert items.collections == open_catalog(served.folder).collections


def test_an_id_may_name_a_day_that_it_does_not_stand_under(tmp_path):
    ours(tmp_path, [("LST.20180105.v20190101", date(2018, 2, 1)), ("no-day", date(2018, 3, 1))])
    found = open_catalog(tmp_path)
    assert found.item("glass-lst", "LST.20180105.v20190101").id == "LST.20180105.v20190101"
    assert found.item("glass-lst", "no-day").id == "no-day"


def test_a_network_called_2018_is_no_year(tmp_path):
    create_skeleton(open_store(tmp_path), title="Test")
    made = build_item(
        id="x", collection="ismn-stations", geometry=mapping(box(5, 45, 6, 46)), bbox=(5, 45, 6, 46),
        start=utc_instant(date(2010, 1, 1)), end=utc_instant(date(2011, 1, 1)),
        properties={"stac_sm:network": "2018"}, extensions=[],
    )  # fmt: skip
    where = item_folder("network", made)
    open_store(tmp_path).create(f"{where}/x.json", item_json(with_structural_links(made, where)))
    refresh(open_store(tmp_path), "ismn-stations")
    assert ids(open_catalog(tmp_path).items("ismn-stations", period=Period.parse("2010-06"))) == ["x"]


@pytest.mark.alone
def test_documents_are_fetched_together():
    def make(path):
        time.sleep(0.02)
        return item(path[3:]) if path.startswith("/i/") else collection(*(member(f"/i/{n:03}") for n in range(96)))

    with Made(make) as server:
        assert len(open_catalog(f"{server.address}/r").items("c")) == 96
        assert 4 < server.most <= 2 * web.CONNECTIONS  # one after the other, it would be 1


# What is found


times = st.integers(0, 3 * 24 * 4).map(lambda quarter: datetime(2018, 7, 1, tzinfo=UTC) + quarter * ONE_DAY / 96)


@settings(max_examples=examples(300))
@given(times, times, st.integers(0, 2), st.integers(1, 2))
def test_days_are_whole_and_half_open(one, other, first, length):
    """Minute by minute: an item meets the days in which it has an instant; a last one at midnight does not count."""
    start, end = sorted((one, other))
    properties = {"start_datetime": start.isoformat(), "end_datetime": end.isoformat(), "datetime": None}
    period = Period(date(2018, 7, 1) + first * ONE_DAY, date(2018, 7, 1) + (first + length) * ONE_DAY)
    inside = {(start + i * ONE_DAY / 96).date() for i in range(round((end - start) / (ONE_DAY / 96)))} or {start.date()}
    assert matches_search("x", properties, None, period, None) == bool(inside & set(period.days))


def test_instants_in_other_zones_are_utc():
    day = Period.parse("2018-07-02")
    assert matches_search("x", {"datetime": "2018-07-01T23:00:00-05:00"}, None, day, None)
    assert not matches_search("x", {"datetime": "2018-07-02T01:00:00+05:00"}, None, day, None)
    assert matches_search("x", {"datetime": "2018-07-02T01:00:00"}, None, day, None)


longitudes = st.integers(-18, 18).map(lambda tens: 10 * tens)


@settings(max_examples=examples(500))
@given(longitudes, longitudes, longitudes, longitudes)
def test_boxes_meet_round_the_globe(west, east, left, right):
    def covered(a, b):
        return set(range(a, b + 1)) if a <= b else set(range(a, 181)) | set(range(-180, b + 1))

    found = matches_search("x", {}, [west, 0, east, 1], None, (left, 0, right, 1))
    assert found == bool(covered(west, east) & covered(left, right))
    assert found == matches_search("x", {}, [west, 0, -5, east, 1, 5], None, (left, 0, right, 1))


# What a name opens


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>", "is no JSON"),
        ([1], "JSON list found, a STAC object required"),
        (item(), "is no STAC catalogue: type 'Feature' found"),
        ({"conformsTo": ["https://api.stacspec.org/v1.0.0/core"]}, "type None found"),
        ((404, {}, b""), "gave no answer: missing: HTTP 404"),
        ((403, {}, b""), r"gave no answer: refused: HTTP 403 \(attempts: 1\)"),
    ],
)
def test_what_is_no_catalogue_is_named(content, said):
    with site({"/r": content}) as server, pytest.raises(CatalogError, match=f"{server.address}/r.* {said}|{said}"):
        open_catalog(f"{server.address}/r")


def test_other_schemes_are_none(tmp_path):
    with pytest.raises(InputError, match=r"store 'ftp://host/x' cannot be opened"):
        open_catalog("ftp://host/x")
    with pytest.raises(CatalogError, match="catalog.json is no file"):
        open_catalog(str(tmp_path))


# Trust and bounds


@pytest.mark.parametrize(
    "href",
    [
        "file:///etc/passwd", "FILE:/etc/passwd", "ftp://127.0.0.1/x", "s3://bucket/x", "/vsicurl/x",
        "//169.254.169.254/x",
        "http://169.254.169.254/latest", "http://[fe80::1]/x", "http://user:word@127.0.0.1/x", "gopher://x", "data:,x",
        "http://metadata.google.internal/x", "",
    ],
)  # fmt: skip
@pytest.mark.parametrize("rel", ["item", "child"])
@pytest.mark.parametrize("by_redirect", [False, True])
def test_hostile_links_are_not_followed(href, rel, by_redirect):
    link = {"rel": rel, "href": "/moved" if by_redirect else href}
    documents = {"/r": collection(link), "/moved": (302, {"Location": href}, b"")}
    if by_redirect and href in {"", "/vsicurl/x"}:
        return  # no redirect at all, and a path of the same server
    with site(documents) as server, pytest.raises(CatalogError) as error:
        open_catalog(f"{server.address}/r").items("c")
    said = "answer: missing" if href == "/vsicurl/x" else "has an href of 0" if not href else "is not followed"
    assert said in str(error.value)
    assert "root:" not in str(error.value)


def test_a_name_is_judged_by_the_address_it_leads_to(monkeypatch):
    """A catalogue from the public internet does not reach this machine by a name that resolves to it."""
    with site({"/r": collection(member("/x"))}) as server:
        port = server.address.rpartition(":")[2]
        monkeypatch.setattr(client, "catalog_scope", lambda root: AddressScope.PUBLIC)
        with pytest.raises(CatalogError, match="a loopback address found, at most a public one allowed"):
            open_catalog(f"http://localhost:{port}/r")
        assert not server.asked


def test_links_in_circles_end():
    documents = {
        "/a": catalog(child("/a"), child("./b"), child("/a#x")),
        "/b": collection(child("/a"), child("b"), member("/b"), member("/i")),
        "/i": item(),
    }
    documents["/b"]["links"].pop(2)
    with site(documents) as server:
        assert ids(open_catalog(f"{server.address}/a").items("c")) == ["x"]
        assert max(server.asked.values()) == 1


def test_a_chain_of_catalogues_without_end():
    def make(path):
        number = int(path.rpartition("/")[2])
        return (collection if number == 1 else catalog)(child(f"/{number + 1}"))

    with Made(make) as server:
        with pytest.raises(CatalogError, match="catalogues lie more than 32 deep in one another: open one of those"):
            open_catalog(f"{server.address}/1").items("c")
        with pytest.raises(CatalogError, match="more than 32 deep"):
            open_catalog(f"{server.address}/2").items("c")
        assert sum(server.asked.values()) < 100


def test_catalogues_that_multiply(monkeypatch):
    monkeypatch.setattr(static, "MAX_DOCUMENTS", 300)

    def make(path):
        return (catalog if len(path) > 2 else collection)(*(child(f"{path}{letter}") for letter in "abcdefghij"))

    with Made(make) as server:
        with pytest.raises(
            CatalogError, match=r"more than 300 documents .* ask for a shorter period or a smaller bbox"
        ):
            open_catalog(f"{server.address}/r").items("c")
        assert sum(server.asked.values()) < 400


def test_too_many_items_in_one_answer(monkeypatch):
    monkeypatch.setattr("stac_sm.stac.catalogs.search.MAX_ITEMS", 50)
    with Made(
        lambda path: item(path[3:]) if "/i/" in path else collection(*(member(f"/i/{n}") for n in range(60)))
    ) as server:
        with pytest.raises(CatalogError, match="more than 50 items .* ask for a shorter period or a smaller bbox"):
            open_catalog(f"{server.address}/r").items("c")
        assert open_catalog(f"{server.address}/r").items("c", period=Period.parse("2019")) == []


def test_a_million_links_to_items_are_refused_before_they_are_followed():
    content = json.dumps(collection(*(member(f"/i/{n}") for n in range(1_000_000)))).encode()
    with site({"/r": content}) as server, pytest.raises(CatalogError, match="too large: more than 16 MiB"):
        open_catalog(f"{server.address}/r").items("c")


@pytest.mark.parametrize("local", [False, True])
def test_a_document_of_100_mb_is_refused(tmp_path, local):
    padded = (
        json.dumps(item(padding="")).encode().replace(b'"padding": ""', b'"padding": "' + b"x" * 100_000_000 + b'"')
    )
    (tmp_path / "catalog.json").write_text(json.dumps(collection(member("i.json"))))
    if local:
        (tmp_path / "i.json").write_bytes(padded)
        with pytest.raises(CatalogError, match="i.json: 95 MiB found, a STAC document of at most 16 MiB required"):
            open_catalog(str(tmp_path)).items("c")
        return
    with site({"/r": collection(member("/i")), "/i": padded}) as server:
        tracemalloc.start()
        size = len(padded)
        with pytest.raises(CatalogError, match="too large: more than 16 MiB"):
            open_catalog(f"{server.address}/r").items("c")
        assert tracemalloc.get_traced_memory()[1] < size
        tracemalloc.stop()


@pytest.mark.parametrize("depth", [100, 990, 200_000])
@pytest.mark.parametrize("what", ["item", "root"])
def test_deeply_nested_json(depth, what):
    hole = json.dumps(item(properties={"datetime": None, "deep": 0}))
    deep = hole.replace('"deep": 0', '"deep": ' + "[" * depth + "]" * depth).encode()
    documents = {"/r": deep} if what == "root" else {"/r": collection(member("/i")), "/i": deep}
    with site(documents) as server, pytest.raises(CatalogError, match=r"nested|is no STAC catalogue"):
        open_catalog(f"{server.address}/r").items("c")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=examples(150))
@given(
    st.sampled_from(
        [
            "type",
            "id",
            "collection",
            "bbox",
            "properties",
            "links",
            "assets",
            "geometry",
            "stac_version",
            "stac_extensions",
        ]
    ),
    values,
)
def test_an_item_of_nonsense_is_an_error_of_ours_or_none(tmp_path_factory, name, value):
    folder = tmp_path_factory.mktemp("nonsense")
    (folder / "catalog.json").write_text(json.dumps(collection(member("i.json"))))
    (folder / "i.json").write_text(json.dumps(item() | {name: value}))
    for question in ({}, {"period": Period.parse("2018")}, {"bbox": (0, 0, 1, 1)}):
        with contextlib.suppress(CatalogError):
            open_catalog(str(folder)).items("c", **question)


@pytest.mark.parametrize("fault", ["503", "500", "429", "reset", "reset at once", "truncated", "stall"])
def test_transient_faults_are_tried_again(served, monkeypatch, fault):
    monkeypatch.setenv("STAC_SM_RETRY_TIMEOUT", "0.3")
    ours(served.folder, [("a", date(2018, 7, 1)), ("b", date(2018, 7, 2))])
    for path in ("/catalog.json", "/glass-lst/2018/07/02/b/b.json"):
        served.faults[path] = [fault, fault]
    items = open_catalog(f"{served.address}/catalog.json")
    assert ids(items.items("glass-lst")) == ["a", "b"]
    assert served.gets()["/glass-lst/2018/07/02/b/b.json"] == 3


@pytest.mark.parametrize("fault", ["503", "truncated", "404"])
def test_a_document_that_cannot_be_had_is_an_error_never_a_missing_item(served, fault):
    ours(served.folder, [("a", date(2018, 7, 1)), ("b", date(2018, 7, 2))])
    served.faults["/glass-lst/2018/07/02/b/b.json"] = [fault] * 9
    with pytest.raises(CatalogError, match=r"/glass-lst/2018/07/02/b/b.json gave no answer: .*\(attempts: [13]\)"):
        open_catalog(f"{served.address}/catalog.json").items("glass-lst")


def test_retry_after_is_obeyed():
    answers = itertools.chain([(429, {"Retry-After": "1"}, b"")], itertools.repeat(collection()))
    with Made(lambda path: next(answers)) as server:
        began = time.monotonic()
        open_catalog(f"{server.address}/r")
        assert time.monotonic() - began >= 1


def test_no_token_in_any_message(served):
    ours(served.folder, [("a", date(2018, 7, 1))])
    href = f"{served.address}/catalog.json?{SECRET}"
    items = open_catalog(href)
    assert ids(items.items("glass-lst")) == ["a"]
    for ask in (lambda: items.items("none"), lambda: items.item("glass-lst", "none"), lambda: open_catalog(href)):
        served.faults["/catalog.json"] = ["404"] * 3
        with pytest.raises(CatalogError) as error:
            ask()
        assert "s3cr3t" not in str(error.value)
        assert error.value.__cause__ is None or "s3cr3t" not in str(error.value.__cause__)
    assert "s3cr3t" not in items.root


def test_the_web_is_read_only(served):
    ours(served.folder, [])
    found = open_catalog(f"{served.address}/catalog.json")
    assert isinstance(found, StaticCatalog)
    assert not isinstance(found, Catalog)
    assert not hasattr(found, "store")


# STAC APIs


LANDING = "https://api.stacspec.org/v1.0.0/"


def api(search, at="{}/search"):
    """A STAC API whose searches are answered by a function of their number."""
    calls = itertools.count()
    server = None

    def make(path):
        if path.startswith("/search"):
            return search(server.address, next(calls))
        links = [{"rel": "search", "href": at.format(server.address), "type": "application/geo+json", "method": "GET"}]
        found = {"/": catalog(*links, conformsTo=[f"{LANDING}{one}" for one in ("core", "item-search", "collections")])}
        found["/"]["links"] += [
            {"rel": "self", "href": server.address},
            {"rel": "data", "href": f"{server.address}/collections"},
        ]
        return (found | {"/collections/c": collection()}).get(path.partition("?")[0])

    server = Made(make)
    return server


def page(*items, more=None):
    links = [{"rel": "next", "href": more}] if more else []
    return {"type": "FeatureCollection", "features": list(items), "links": links}


def test_what_an_api_returns_is_filtered_once_more():
    """It ignores day, box and collection, and repeats an item on the next page."""
    june = {"datetime": None, "start_datetime": "2018-06-01T00:00:00Z", "end_datetime": "2018-07-01T00:00:00Z"}
    late = item("late", properties=june)
    all_of_them = [item("x"), item("far", bbox=[50, 50, 51, 51]), item("other", collection="d"), late]

    def search(address, call):
        return page(*all_of_them, more=f"{address}/search?page=2") if call == 0 else page(item("x"))

    with api(search) as server:
        items = open_catalog(server.address)
        assert ids(items.items("c", period=Period.parse("2018-07-01"), bbox=(0, 0, 1, 1))) == ["x"]
        asked = next(path for path in server.asked if path.startswith("/search?"))
        assert "2018-07-01T00%3A00%3A00Z%2F2018-07-01T23%3A59%3A59.999999Z" in asked


def test_a_box_across_the_antimeridian_is_asked_in_two_parts():
    with api(lambda address, call: page(item(f"i{call}", bbox=[179, 0, -179, 1]), item("x"))) as server:
        assert ids(open_catalog(server.address).items("c", bbox=(178, 0, -178, 1))) == ["i0", "i1"]
        boxes = [path for path in server.asked if path.startswith("/search")]
        assert len(boxes) == 2


@pytest.mark.parametrize(
    "next_page", ["/etc/passwd", "file:///etc/passwd", "http://169.254.169.254/latest", "s3://bucket/x", "ftp://x/y"]
)
def test_the_next_page_is_no_file_and_no_other_place(next_page):
    with api(lambda address, call: page(item(), more=next_page)) as server, pytest.raises(CatalogError) as error:
        open_catalog(server.address).items("c")
    assert re.search("is not followed|answer: missing", str(error.value))


@pytest.mark.parametrize("at", ["/etc/passwd", "file:///etc/passwd", "http://169.254.169.254/latest"])
def test_a_search_is_no_file_and_no_other_place(at):
    with api(lambda address, call: page(item()), at) as server, pytest.raises(CatalogError) as error:
        open_catalog(server.address).items("c")
    assert re.search("is not followed|answer: missing", str(error.value))


def test_pages_without_end(monkeypatch):
    monkeypatch.setattr(stac_api, "MAX_PAGES", 20)
    with api(lambda address, call: page(item(f"i{call}"), more=f"{address}/search?page={call}")) as server:
        with pytest.raises(CatalogError, match="more than 20 pages for one question: ask for a shorter period"):
            open_catalog(server.address).items("c")
        assert sum(server.asked.values()) < 30


def test_an_api_that_falters_is_asked_again():
    answers = [(503, {}, b""), (429, {"Retry-After": "0"}, b""), page(item())]
    with api(lambda address, call: answers[min(call, 2)]) as server:
        assert ids(open_catalog(server.address).items("c")) == ["x"]
    with api(lambda address, call: (503, {}, b"")) as server, pytest.raises(CatalogError, match="busy: HTTP 503"):
        open_catalog(f"{server.address}/?{SECRET}").items("c")


def test_self_links_of_an_api_lead_no_further_than_the_api():
    own = item(links=[{"rel": "self", "href": "file:///etc/x"}, {"rel": "root", "href": "/etc/passwd"}])
    with api(lambda address, call: page(own)) as server:
        found = open_catalog(server.address).item("c", "x")
        assert found.assets["a"].get_absolute_href() == f"{server.address}/collections/c/items/a.tif"
        assert found.get_root() is None
        with pytest.raises(CatalogError, match="collection 'none' is not in the STAC API"):
            open_catalog(server.address).items("none")


@given(st.integers(-179, 170), st.integers(1, 100), st.integers(-89, 80), st.integers(0, 9))
def test_boxes_that_are_asked_hold_the_box_and_its_margin(west, width, south, height):
    east = west + width if west + width <= 180 else west + width - 360
    boxes = stac_api._boxes((west, south, east, south + height))
    assert all(-180 <= w <= e <= 180 and -90 <= s <= n <= 90 for w, s, e, n in boxes)
    for lon in (west - 1, west, west + width / 2, east, east + 1):
        at = (lon + 180) % 360 - 180
        assert any(w - 1e-9 <= at <= e + 1e-9 for w, _, e, _ in boxes), lon
