"""stac-geoparquet: what rustac writes is read back, from a file and by ranges; and what is none is named."""

from __future__ import annotations

import json
import secrets
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rustac
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.core.errors import CatalogError
from stac_sm.core.period import ONE_DAY, Period, utc_instant
from stac_sm.raster.source import raster_source
from stac_sm.stac.catalogs import geoparquet
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.catalogs.search import matches_search
from stac_sm.stac.items import raster_item
from tests.support.examples import examples
from tests.support.faulty_server import FaultyServer
from tests.support.fields import EASE, SMALL, TILE, WIDE


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setenv("STAC_SM_RETRY_FIRST_WAIT", "0.01")
    monkeypatch.setenv("STAC_SM_RETRY_ATTEMPTS", "3")


def item(id, grid=WIDE, tile=TILE, start=date(2018, 7, 1), days=1, collection="c", **fields):
    made = raster_item(
        id=id, collection=collection, geobox=grid.geobox(tile), start=utc_instant(start),
        end=utc_instant(start + days * ONE_DAY),
        properties={"grid:code": "X-1"}, extensions=["grid"],
    )  # fmt: skip
    band = {"name": "a", "data_type": "uint8", "nodata": 255, "raster:scale": 0.5, "unit": "K"}
    asset = {"href": f"https://host/{id}.tif", "roles": ["data"], "bands": [band], "file:checksum": "1220ab"}
    return made | {"assets": {"a": asset}} | fields


def write(path, items):
    rustac.write_sync(str(path), items)
    return str(path)


@pytest.fixture
def mixed(tmp_path):
    items = [item("ease", EASE), item("sinu", SMALL, days=8), item("wide"), item("wide", collection="d")]
    items[0]["assets"]["b"] = {"href": "https://host/b.tif", "roles": ["thumbnail"], "title": "B"}
    return items, write(tmp_path / "mixed.parquet", items)


def test_items_come_back_as_they_were(mixed):
    written, href = mixed
    found = open_catalog(href).items("c")
    assert [one.id for one in found] == ["ease", "sinu", "wide"]
    for one, document in zip(found, written, strict=False):
        source, wanted = raster_source(one, "a"), raster_source(geoparquet.item_from_document(document, "/x"), "a")
        assert source.provenance_digest == wanted.provenance_digest
        assert (source.geobox, source.unit, source.href) == (wanted.geobox, wanted.unit, wanted.href)
        assert set(one.assets) == set(document["assets"])
        assert one.datetime.isoformat() == document["properties"]["datetime"].replace("Z", "+00:00")
        assert one.properties["grid:code"] == "X-1"
        assert np.allclose(one.bbox, document["bbox"])
        assert one.to_dict()["properties"]["end_datetime"] == document["properties"]["end_datetime"]
    assert "proj:code" not in found[1].properties  # null there


def test_one_item_collections_and_what_is_missing(mixed):
    catalog = open_catalog(mixed[1])
    assert catalog.collections == ["c", "d"]
    assert catalog.item("d", "wide").collection_id == "d"
    assert catalog.root == mixed[1]
    with pytest.raises(CatalogError, match="item 'sinu' is not in collection 'd' of"):
        catalog.item("d", "sinu")
    with pytest.raises(CatalogError, match="mixed.parquet: collection 'e' is unknown: known are c, d"):
        catalog.items("e")
    assert catalog.items("d", period=Period.parse("2019")) == []


boxes = st.tuples(st.integers(-180, 170), st.integers(-85, 80), st.integers(1, 9), st.integers(1, 9)).map(
    lambda b: [b[0], b[1], b[0] + b[2] if b[0] + b[2] <= 180 else b[0] + b[2] - 360, b[1] + b[3]]
)
things = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 31), boxes), min_size=1, max_size=12)


@settings(max_examples=examples(25))
@given(things, st.none() | st.tuples(st.integers(0, 40), st.integers(1, 9)), st.none() | boxes)
def test_it_finds_what_the_one_filter_finds(tmp_path_factory, things, when, where):
    first = date(2017, 12, 1)
    items = [
        item(f"i{i:02}", start=first + n * ONE_DAY, days=days, bbox=bbox) for i, (n, days, bbox) in enumerate(things)
    ]
    period = when and Period(first + when[0] * ONE_DAY, first + sum(when) * ONE_DAY)
    wanted = [one["id"] for one in items if matches_search(one["id"], one["properties"], one["bbox"], period, where)]
    href = write(tmp_path_factory.mktemp("found") / "x.parquet", items)
    assert [one.id for one in open_catalog(href).items("c", period=period, bbox=where)] == wanted


def test_by_http_only_the_rows_wanted_are_read(tmp_path):
    first = date(2000, 1, 1)
    items = [item("x", start=first + i * ONE_DAY) for i in range(1200)]
    items = [one | {"id": f"i{i:04}", "collection": f"c{i // 200}"} for i, one in enumerate(items)]
    for one in items:
        one["properties"]["title"] = secrets.token_hex(200)
    table = pq.read_table(write(tmp_path / "all.parquet", items))
    pq.write_table(table, tmp_path / "grouped.parquet", row_group_size=200)
    with FaultyServer(tmp_path) as server:
        found = open_catalog(f"{server.address}/grouped.parquet?sig=s3cr3t")
        day = first + 534 * ONE_DAY
        assert [one.id for one in found.items("c2", period=Period.of_day(day))] == ["i0534"]
        assert server.sent < (tmp_path / "grouped.parquet").stat().st_size / 2
        assert sum(server.gets().values()) < 8
        assert "s3cr3t" not in found.root
        server.faults["/grouped.parquet"] = ["503", "truncated"]
        assert found.item("c3", "i0789").id == "i0789"
        server.faults["/grouped.parquet"] = ["404"] * 9
        with pytest.raises(CatalogError, match=r"grouped.parquet\?… gave no answer: missing") as error:
            found.items("c1")
        assert "s3cr3t" not in str(error.value)


@pytest.mark.parametrize(
    ("fault", "said"), [("other version", "has changed while it was read"), ("200 for 206", "gives no ranges")]
)
def test_a_server_that_changes_or_gives_no_ranges(tmp_path, fault, said):
    write(tmp_path / "x.parquet", [item("x")])
    with FaultyServer(tmp_path) as server:
        server.faults["/x.parquet"] = ["", *[fault] * 9]
        with pytest.raises(CatalogError, match=said):
            open_catalog(f"{server.address}/x.parquet").items("c")


@pytest.mark.parametrize(
    "href", ["file:///etc/passwd", "/etc/passwd", "http://169.254.169.254/x", "s3://bucket/key", "relative.json"]
)
def test_self_links_do_not_lead_to_other_places(tmp_path, href):
    hostile = item("x", links=[{"rel": "self", "href": href}, {"rel": "root", "href": "/etc/passwd"}])
    hostile["assets"]["a"]["href"] = "./a.tif"
    write(tmp_path / "x.parquet", [hostile])
    with FaultyServer(tmp_path) as server:
        (found,) = open_catalog(f"{server.address}/x.parquet").items("c")
        assert found.assets["a"].get_absolute_href() == f"{server.address}/a.tif"
        assert found.get_root() is None


def test_relative_assets_are_beside_the_file_or_beside_the_item(tmp_path):
    beside = item("x")
    beside["assets"]["a"]["href"] = "./a.tif"
    (found,) = open_catalog(write(tmp_path / "x.parquet", [beside])).items("c")
    assert found.assets["a"].get_absolute_href() == str(tmp_path / "a.tif")
    placed = beside | {"links": [{"rel": "self", "href": str(tmp_path / "items" / "x.json")}]}
    (found,) = open_catalog(write(tmp_path / "y.parquet", [placed])).items("c")
    assert found.assets["a"].get_absolute_href() == str(tmp_path / "items" / "a.tif")


def test_what_is_no_stac_geoparquet(tmp_path):
    pq.write_table(pa.table({"id": ["x"]}), tmp_path / "table.parquet")
    (tmp_path / "text.parquet").write_text(json.dumps(item("x")))
    wanted = {"table": "no column assets, geometry found", "text": "cannot be read", "none": "cannot be read"}
    for name, said in wanted.items():
        with pytest.raises(CatalogError, match=f"{name}.parquet.*{said}"):
            open_catalog(str(tmp_path / f"{name}.parquet")).items("c")
    with pytest.raises(CatalogError, match="scheme 'ftp' found"):
        open_catalog("ftp://host/x.parquet").items("c")


def test_bounds(mixed, monkeypatch):
    limits = (("MAX_ROWS", 3, "4 items found, at most 3 allowed"), ("MAX_GROUP_BYTES", 99, "fewer rows"))
    for name, value, said in limits:
        with monkeypatch.context() as patch:
            patch.setattr(geoparquet, name, value)
            with pytest.raises(CatalogError, match=said):
                open_catalog(mixed[1]).items("c")
    monkeypatch.setattr("stac_sm.stac.catalogs.search.MAX_ITEMS", 2)
    with pytest.raises(CatalogError, match="more than 2 items .*: ask for a shorter period or a smaller bbox"):
        open_catalog(mixed[1]).items("c")


@settings(max_examples=examples(60))
@given(st.integers(0, 10**9), st.integers(0, 255))
def test_damage_is_an_error_of_ours_or_nothing(tmp_path_factory, at, value):
    """Of data, not of the footer: over a column chunk that says it is of another type, pyarrow aborts the process."""
    folder = tmp_path_factory.mktemp("damage")
    href = write(folder / "x.parquet", [item(f"i{i}") for i in range(4)])
    content = bytearray((folder / "x.parquet").read_bytes())
    content[at % (len(content) - 8 - int.from_bytes(content[-8:-4], "little"))] = value
    (folder / "x.parquet").write_bytes(content)
    try:
        found = open_catalog(href).items("c")
    except CatalogError:
        return
    assert len(found) <= 4
