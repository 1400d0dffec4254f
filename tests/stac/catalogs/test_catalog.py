"""Catalogues: derived from the items, found by links, valid, and whole after many writers."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import jsonschema
import pystac
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stac_sm
from stac_sm.core.errors import CatalogError, InputError
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.stac import links as derived_module
from stac_sm.stac.catalogs.catalog import create_skeleton, open_catalog
from stac_sm.stac.catalogs.search import box_2d, item_period
from stac_sm.stac.links import item_paths, refresh, skeleton_folder
from stac_sm.storage.store import open_store, sha256
from tests.support.bare_items import contents, put
from tests.support.examples import examples
from tests.support.racing import race
from tests.support.rasters import known_raster

COLLECTIONS = sorted(path.parent.name for path in skeleton_folder().glob("*/collection.json"))
OWN = jsonschema.Draft7Validator(json.loads((skeleton_folder() / "schema.json").read_text()))


def walk(path):
    """Every document below a catalogue, found by pystac through links alone."""
    root = pystac.Catalog.from_file(str(path))
    for folder, _, items in root.walk():
        yield folder
        yield from items


def test_skeleton_validates(project_root, validate):
    assert open_catalog(project_root).collections == COLLECTIONS
    for path in project_root.rglob("*.json"):
        document = json.loads(path.read_text())
        validate(document)
        if document["type"] == "Collection":
            OWN.validate(document)
    assert {thing.id for thing in walk(project_root / "catalog.json")} == {"stac_sm", *COLLECTIONS}


def test_skeleton_leaves_alone_what_is_there(project_root):
    (project_root / "glass-lst/collection.json").write_text("mine")
    before = contents(project_root)
    create_skeleton(open_store(project_root), title="Another")
    assert contents(project_root) == before
    assert json.loads(before["catalog.json"])["title"] == "Test"


def test_refresh_builds_links_and_extent(project_root, validate):
    put(project_root, "glass-lst", "a", start=date(2018, 7, 1), bbox=(10, 45, 11, 46))
    put(project_root, "glass-lst", "b", start=date(2018, 7, 1), bbox=(-5, 40, 2, 44))
    put(project_root, "glass-lst", "c", start=date(2019, 1, 31), days=8)
    refresh(open_store(project_root), "glass-lst")
    catalog = open_catalog(project_root)
    extent = catalog.collection("glass-lst")["extent"]
    assert extent["spatial"]["bbox"] == [[-5, 40, 11, 46]]
    assert extent["temporal"]["interval"] == [["2018-07-01T00:00:00Z", "2019-02-07T23:59:59Z"]]
    assert [item.id for item in catalog.items("glass-lst")] == ["a", "b", "c"]
    documents = list(walk(project_root / "catalog.json"))
    assert {thing.id for thing in documents} >= {
        "a",
        "b",
        "c",
        "glass-lst-2018",
        "glass-lst-2018-07-01",
        "glass-lst-2019-01",
    }
    for path in project_root.rglob("*.json"):
        validate(json.loads(path.read_text()))
    for thing in documents:  # every link inside leads back up
        if thing.get_parent() is not None:
            assert thing.get_root().id == "stac_sm"
            parent = pystac.read_file(thing.get_single_link("parent").get_absolute_href())
            assert thing.id in {child.id for child in itertools.chain(parent.get_children(), parent.get_items())}


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_every_layout_is_walked_by_pystac(project_root, validate, collection):
    put(project_root, collection, "x", **{"stac_sm:network": "NET", "grid:code": "MSIN-1805"})
    refresh(open_store(project_root), collection)
    found = [thing for thing in walk(project_root / "catalog.json") if isinstance(thing, pystac.Item)]
    assert [item.id for item in found] == ["x"]
    assert found[0].get_collection().id == collection
    assert open_catalog(project_root).item(collection, "x").id == "x"
    for path in project_root.rglob("*.json"):
        validate(json.loads(path.read_text()))


def test_refresh_twice_same_bytes_and_rebuildable(project_root):
    put(project_root, "glass-lst", "a")
    put(project_root, "glass-lst", "b", start=date(2018, 8, 1))
    store = open_store(project_root)
    refresh(store, "glass-lst")
    once = contents(project_root)
    refresh(store, "glass-lst")
    assert contents(project_root) == once
    for path in project_root.glob("glass-lst/**/catalog.json"):
        path.unlink()
    refresh(store, "glass-lst")
    assert contents(project_root) == once


def test_refresh_forgets_what_is_gone_and_keeps_what_is_not_derived(project_root):
    put(project_root, "glass-lst", "a")
    put(project_root, "glass-lst", "b", start=date(2018, 8, 1))
    store = open_store(project_root)
    before = open_catalog(project_root).collection("glass-lst")
    refresh(store, "glass-lst")
    shutil.rmtree(project_root / "glass-lst/2018/08/01/b")
    refresh(store, "glass-lst")
    after = open_catalog(project_root).collection("glass-lst")
    assert [item.id for item in open_catalog(project_root).items("glass-lst")] == ["a"]
    changed = {key for key in after if after[key] != before[key]}
    assert changed == {"links", "extent"}
    assert [link for link in after["links"] if link["rel"] not in ("child", "item")] == before["links"]


days = st.dates(date(2017, 11, 1), date(2018, 3, 1))
boxes = st.tuples(st.integers(-170, 160), st.integers(-80, 70), st.integers(1, 10), st.integers(1, 10)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@settings(max_examples=examples(6))
@given(
    st.lists(st.tuples(days, st.integers(1, 31), boxes), min_size=1, max_size=8),
    st.none() | st.tuples(days, st.integers(1, 40)),
    st.none() | boxes,
)
def test_items_are_what_a_plain_filter_finds(tmp_path_factory, things, when, where):
    root = tmp_path_factory.mktemp("items")
    create_skeleton(open_store(root), title="Test")
    for collection in ("glass-lst", "era5-land", "cop-dem"):
        for i, (start, n, bbox) in enumerate(things):
            put(root, collection, f"i{i}", start=start, days=n, bbox=bbox)
        refresh(open_store(root), collection)
        period = when and Period(when[0], when[0] + when[1] * ONE_DAY)
        wanted = [
            f"i{i}"
            for i, (start, n, (west, south, east, north)) in enumerate(things)
            if (period is None or set(period.days) & set(Period(start, start + n * ONE_DAY).days))
            and (
                where is None
                or (max(west, where[0]) <= min(east, where[2]) and max(south, where[1]) <= min(north, where[3]))
            )
        ]
        found = open_catalog(root).items(collection, period=period, bbox=where)
        assert [item.id for item in found] == wanted


@pytest.mark.parametrize(
    ("collection", "start", "days"), [("glass-lai", date(2017, 12, 27), 8), ("era5-land", date(2017, 12, 2), 31)]
)
def test_a_composite_is_found_on_its_last_day_in_the_next_year(project_root, collection, start, days):
    put(project_root, collection, "x", start=start, days=days)
    refresh(open_store(project_root), collection)
    last = start + (days - 1) * ONE_DAY
    found = [len(open_catalog(project_root).items(collection, period=Period.of_day(d))) for d in (last, last + ONE_DAY)]
    assert found == [1, 0]


def test_an_item_that_comes_while_links_are_written_is_linked(project_root, monkeypatch):
    put(project_root, "glass-lst", "a")
    write, late = derived_module._write_derived, iter(["b", "c"])

    def slow(store, path, document):
        done = write(store, path, document)
        if path == "glass-lst/collection.json" and (id := next(late, None)):
            put(project_root, "glass-lst", id, start=date(2019, 1, 1))
        return done

    monkeypatch.setattr(derived_module, "_write_derived", slow)
    refresh(open_store(project_root), "glass-lst")
    assert [item.id for item in open_catalog(project_root).items("glass-lst")] == ["a", "b", "c"]


def test_item_across_the_antimeridian_is_found_on_both_sides(project_root):
    put(project_root, "cop-dem", "x", bbox=(175, -20, -175, -10))
    refresh(open_store(project_root), "cop-dem")
    catalog = open_catalog(project_root)
    assert [len(catalog.items("cop-dem", bbox=(w, -15, w + 2, -14))) for w in (177, -179, 0)] == [1, 1, 0]
    touching = [(176, -10, 177, 0), (176, -30, 177, -20), (170, -15, 175, -14)]
    assert [len(catalog.items("cop-dem", bbox=bbox)) for bbox in touching] == [1, 1, 1]


def test_a_moved_folder_still_works(published, tmp_path):
    moved = tmp_path / "elsewhere" / "deep"
    shutil.copytree(published.root, moved)
    shutil.rmtree(published.root)
    items = [thing for thing in walk(moved / "catalog.json") if isinstance(thing, pystac.Item)]
    assert [item.id for item in items] == [published.raster.item["id"]]
    for item in items:
        for asset in item.assets.values():
            assert not asset.href.startswith("/")
            file = Path(asset.get_absolute_href())
            assert moved in file.parents
            assert asset.extra_fields["file:checksum"] == "1220" + sha256(file)
            assert asset.extra_fields["file:size"] == file.stat().st_size
    assert not any(str(published.root) in path.read_text() for path in moved.rglob("*.json"))
    assert open_catalog(moved / "catalog.json").item("sm-1km-daily", items[0].id).assets[
        "sm"
    ].get_absolute_href() == str(file)


def test_published_items_conform_to_our_own_schema(published, validate):
    path = published.root / published.raster.path
    document = json.loads(path.read_text())
    OWN.validate(document)
    validate(document)
    for field, wrong in (
        ("stac_sm:fingerprint", "12"),
        ("stac_sm:hours", 25),
        ("stac_sm:flags", {"G": -1}),
        ("stac_sm:new", 1),
    ):
        assert not OWN.is_valid({**document, "properties": document["properties"] | {field: wrong}})
    assert not OWN.is_valid({**document, "properties": {}})
    station = {"stac_sm:network": "N", "stac_sm:station": "S", "stac_sm:elevation": None, "stac_sm:flags": {"G": 3}}
    OWN.validate({**document, "properties": document["properties"] | station | {"stac_sm:sensors": [{"depth": 0.05}]}})


def test_the_schema_refuses_what_it_does_not_name():
    fields = OWN.schema["definitions"]["fields"]
    (pattern,) = fields["patternProperties"]
    assert [name for name in fields["properties"] if re.search(pattern, name)] == []
    assert all(re.search(pattern, name) for name in ("stac_sm:new", "stac_sm:rows2", "stac_sm:"))


def test_every_own_field_that_code_writes_is_described():
    """But for metadata of Parquet files and of a booster."""
    elsewhere = {"stac_sm:plan", "stac_sm:days_found", "stac_sm:shard", "stac_sm:root", "stac_sm:line"}
    package = Path(stac_sm.__file__).parent
    written = {name for file in package.rglob("*.py") for name in re.findall(r'"(stac_sm:[a-z_]+)"', file.read_text())}
    assert written - elsewhere - set(OWN.schema["definitions"]["fields"]["properties"]) == set()


def publish_and_refresh(root, raster):
    raster.publish(open_catalog(root))
    refresh(open_store(root), "sm-1km-daily")


def test_eight_writers_of_one_day_leave_all_links(project_root, tmp_path, validate):
    tiles = [f"h{h}v0{v}" for h in range(17, 21) for v in (4, 5)]
    rasters = [known_raster(tmp_path, tile=tile, shape=(8, 9)) for tile in tiles]
    assert race(publish_and_refresh, [(project_root, raster) for raster in rasters]) == [None] * 8
    wanted = sorted(raster.item["id"] for raster in rasters)
    assert [item.id for item in open_catalog(project_root).items("sm-1km-daily")] == wanted
    together = contents(project_root)
    refresh(open_store(project_root), "sm-1km-daily")
    assert contents(project_root) == together
    for path, content in together.items():
        if path.endswith(".json"):
            validate(json.loads(content))
    assert not list(project_root.rglob(".tmp-*"))


def test_what_is_missing_is_named(project_root, tmp_path):
    catalog = open_catalog(project_root)
    with pytest.raises(CatalogError, match=r"'none' is unknown: known are .*cop-dem, era5-land"):
        catalog.collection("none")
    with pytest.raises(CatalogError, match="item 'none' is not in collection 'cop-dem'"):
        catalog.item("cop-dem", "none")
    with pytest.raises(CatalogError, match=r"catalog\.json is no file"):
        open_catalog(tmp_path / "nothing")
    (tmp_path / "catalog.json").write_text("{")
    with pytest.raises(CatalogError, match=r"catalog\.json is no JSON"):
        open_catalog(tmp_path)
    (tmp_path / "catalog.json").write_text('{"type": "Feature"}')
    with pytest.raises(CatalogError, match=r"is no STAC catalogue: `stac-sm init DIR` makes one"):
        open_catalog(tmp_path)


@pytest.mark.parametrize(
    "href", ["../../../etc/passwd", "/etc/passwd", "https://example.com/x.json", "file:///etc/passwd", "./"]
)
@pytest.mark.parametrize("rel", ["item", "child"])
def test_hostile_links_lead_nowhere(project_root, href, rel):
    path = project_root / "cop-dem/collection.json"
    document = json.loads(path.read_text())
    document["links"].append({"rel": rel, "href": href})
    path.write_text(json.dumps(document))
    with pytest.raises((CatalogError, InputError)):
        open_catalog(project_root).items("cop-dem")


def test_links_in_a_circle_end(project_root):
    put(project_root, "cop-dem", "x")
    refresh(open_store(project_root), "cop-dem")
    path = project_root / "cop-dem/collection.json"
    document = json.loads(path.read_text())
    document["links"].append({"rel": "child", "href": "./collection.json"})
    path.write_text(json.dumps(document))
    assert [item.id for item in open_catalog(project_root).items("cop-dem")] == ["x"]


def test_period_of_an_item():
    def item(at, start=None, end=None):
        times = {"start_datetime": start, "end_datetime": end} if start else {}
        return pystac.Item("x", None, None, at, {k: f"{v}T12:00:00Z" for k, v in times.items()})

    assert item_period(item(datetime(2018, 7, 1, 23, tzinfo=UTC))) == Period.of_day(date(2018, 7, 1))
    composite = item(None, "2018-07-04", "2018-07-11")
    assert item_period(composite) == Period(date(2018, 7, 4), date(2018, 7, 12))
    assert item_period(composite).start == date(2018, 7, 4)
    assert timedelta(8) == item_period(composite).end - item_period(composite).start


def test_box_2d():
    assert box_2d([1, 2, 3, 4]) == (1, 2, 3, 4)
    assert box_2d([1, 2, -9, 3, 4, 99]) == (1, 2, 3, 4)


def test_item_paths_are_items_only(published):
    assert item_paths(open_store(published.root), "sm-1km-daily") == [published.raster.path]


def test_a_catalogue_is_named_by_its_folder_or_its_file(project_root, monkeypatch):
    monkeypatch.chdir(project_root)
    names = [".", "catalog.json", "./catalog.json", project_root, project_root / "catalog.json", f"{project_root}/"]
    assert {open_catalog(name).root for name in names} == {str(project_root)}
