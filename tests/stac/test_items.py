"""Items: names, places, links and what a validator says."""

from __future__ import annotations

import contextlib
import json
import posixpath
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pystac
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from stac_sm.core.errors import InputError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.stac.items import (
    EXTENSIONS,
    build_item,
    check_id,
    interval_properties,
    isoformat,
    item_folder,
    item_json,
    raster_item,
    relative_href,
    value_range,
    with_location,
    with_structural_links,
)
from tests.support.rasters import known_raster
from tests.support.schemas import SCHEMAS, local_schemas

names = st.text("abcXYZ019._-", min_size=1, max_size=6).filter(lambda name: name.strip("."))
folders = st.lists(names, max_size=5).map("/".join)
START = datetime(2018, 7, 1, tzinfo=UTC)


def an_item(**changes):
    fields = {
        "id": "an-item",
        "collection": "glass-lst",
        "geometry": {"type": "Point", "coordinates": [10.0, 45.0]},
        "bbox": [10.0, 45.0, 10.0, 45.0],
        "start": START,
        "end": START + timedelta(days=1),
        "properties": {"stac_sm:fingerprint": "0" * 64},
        "extensions": [],
    }
    return build_item(**(fields | changes))


@given(folders, folders, names)
def test_relative_href_leads_there(source, folder, name):
    target = posixpath.join(folder, name)
    href = relative_href(source, target)
    assert posixpath.normpath(posixpath.join("/root", source, href)) == posixpath.join("/root", target)
    assert href.startswith(("./", "../"))


def test_relative_href_is_short():
    assert relative_href("a/b/c", "a/b/d/e.json") == "../d/e.json"
    assert relative_href("a/b", "a/b/c.json") == "./c.json"
    assert relative_href("", "catalog.json") == "./catalog.json"
    assert relative_href("a", "a") == "../a"


@pytest.mark.parametrize(
    "hostile",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        ".hidden",
        "-rf",
        "a..b",
        "a b",
        "a\n",
        "a\0",
        "ä",
        "a:b",
        "%2e%2e",
        "~",
        "a*",
        "x" * 202,
    ],
)
def test_hostile_ids_are_refused(hostile):
    with pytest.raises(InputError, match="cannot be part of a path"):
        check_id(hostile)
    with pytest.raises(InputError):
        an_item(id=hostile)
    with pytest.raises(InputError):
        an_item(collection=hostile)


@pytest.mark.parametrize("reserved", ["catalog", "collection"])
def test_names_of_our_own_files_are_no_ids(reserved):
    with pytest.raises(InputError, match="cannot be part of a path"):
        check_id(reserved)


@given(st.text(max_size=10))
def test_an_id_that_passes_stays_in_its_folder(text):
    try:
        check_id(text)
    except InputError:
        return
    assert posixpath.normpath(posixpath.join("/root", text)) == f"/root/{text}"
    assert text.isascii()


@pytest.mark.parametrize("good", ["SM1KM.A2018182.h18v04.v001", "ERA5L.A2018182.w-10.00n50.00-30x20", "_x", "7"])
def test_good_ids(good):
    assert check_id(good) == good


@given(st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1)), st.integers(1, 400))
def test_interval_is_closed_and_its_middle_inside(start, n):
    start = start.replace(microsecond=0, tzinfo=UTC)
    fields = interval_properties(start, start + timedelta(days=n))
    first, middle, last = (
        pystac.utils.str_to_datetime(fields[k]) for k in ("start_datetime", "datetime", "end_datetime")
    )
    assert first == start
    assert last == start + timedelta(days=n) - timedelta(seconds=1)
    assert middle - first == timedelta(days=n) / 2


def test_a_day():
    assert interval_properties(START, START + timedelta(days=1)) == {
        "datetime": "2018-07-01T12:00:00Z",
        "start_datetime": "2018-07-01T00:00:00Z",
        "end_datetime": "2018-07-01T23:59:59Z",
    }
    assert isoformat(datetime.fromisoformat("2018-07-01T02:00:00+02:00")) == "2018-07-01T00:00:00Z"


def test_items_validate(validate, tmp_path):
    raster = known_raster(tmp_path)
    item = {
        **raster.item,
        "assets": {"sm": with_location(raster.assets["sm"].fields, "./sm.tif", size=1, sha256="0" * 64)},
    }
    validate(with_structural_links(item, raster.folder))
    validate(with_structural_links(an_item(), "glass-lst/an-item"))


def test_extension_schemas_are_local(validate):
    every = an_item(extensions=[*EXTENSIONS])
    for uri in EXTENSIONS.values():
        with contextlib.suppress(pystac.errors.STACValidationError):  # fields are missing; the schema must be there
            validate({**every, "stac_extensions": [uri]})


def test_the_schemas_are_in_every_clone_with_their_origin_and_licence():
    known, origin = local_schemas(SCHEMAS), (SCHEMAS / "ORIGIN.md").read_text()
    assert set(EXTENSIONS.values()) <= set(known)
    assert "Apache License" in (SCHEMAS / "LICENSE").read_text()
    for file in SCHEMAS.rglob("schema.json"):
        name, version = file.parts[-3], file.parts[-2].removeprefix("v")
        assert re.search(rf"^\| {name} \|.*\b{re.escape(version)}\b.*\| [0-9a-f]{{40}} \|$", origin, re.MULTILINE), file
        assert file.stat().st_size < 200_000


def test_the_validator_bites(validate, tmp_path):
    item = with_structural_links(known_raster(tmp_path).item, "a/b")
    item["stac_extensions"] = [uri for uri in item["stac_extensions"] if "raster" not in uri]
    validate(item)
    for field, wrong in (("grid:code", "h18v04"), ("proj:shape", "40"), ("proj:projjson", {"type": "x"})):
        with pytest.raises(pystac.errors.STACValidationError):
            validate({**item, "properties": item["properties"] | {field: wrong}})
    with pytest.raises(AssertionError, match="nothing is validated by a guess"):
        validate({**item, "stac_extensions": ["https://stac-extensions.github.io/none/v1.0.0/schema.json"]})


def test_item_survives_pystac(tmp_path):
    item = known_raster(tmp_path).item
    again = pystac.Item.from_dict(item).to_dict(include_self_link=False)
    assert json.loads(item_json(again)) == json.loads(item_json(item))
    assert item_json(item) == item_json(json.loads(item_json(item)))


@pytest.mark.parametrize(
    ("crs", "resolution", "metres"),
    [
        (MODIS_SINUSOIDAL_1KM.crs, 926.625433, 926.625),
        ("EPSG:32632", 30, 30.0),
        ("EPSG:4326", 0.1, 11131.949),  # 6378137 m * pi / 180 * 0.1: a degree of latitude or at the equator
    ],
)
def test_items_of_rasters_state_the_size_of_their_pixels_in_metres(crs, resolution, metres):
    geobox = GeoBox((10, 20), Affine(resolution, 0, 10, 0, -resolution, 45), crs)
    item = raster_item(id="a", collection="sm-1km-daily", geobox=geobox, start=START, end=START + timedelta(days=1))
    assert item["properties"]["gsd"] == pytest.approx(metres, abs=1e-3)
    own = raster_item(
        id="a", collection="c", geobox=geobox, start=START, end=START + timedelta(days=1), properties={"gsd": 36_000.0}
    )
    assert own["properties"]["gsd"] == 36_000.0


def test_items_hold_no_time_of_making_and_no_host(tmp_path):
    one, other = (known_raster(tmp_path).item for _ in range(2))
    assert item_json(one) == item_json(other)
    assert not {"created", "updated", "processing:datetime"} & set(one["properties"])


@pytest.mark.parametrize(
    ("layout", "folder"),
    [
        ("flat", "sm-1km-daily/{id}"),
        ("year/month", "sm-1km-daily/2018/07/{id}"),
        ("year/month/day", "sm-1km-daily/2018/07/01/{id}"),
        ("row", "sm-1km-daily/04/{id}"),
    ],
)
def test_folder_and_links_of_an_item(tmp_path, layout, folder):
    item = known_raster(tmp_path).item
    item["links"] = [{"rel": "derived_from", "href": "https://example.com/x"}, {"rel": "self", "href": "/tmp/x"}]
    place = item_folder(layout, item)
    assert place == folder.format(id=item["id"])
    links = {link["rel"]: link["href"] for link in with_structural_links(item, place)["links"]}
    assert set(links) == {"root", "parent", "collection", "derived_from"}
    targets = {rel: posixpath.normpath(posixpath.join(place, href)) for rel, href in links.items()}
    assert targets["root"] == "catalog.json"
    assert targets["collection"] == "sm-1km-daily/collection.json"
    parent = posixpath.dirname(place)
    assert targets["parent"] == f"{parent}/{'collection' if layout == 'flat' else 'catalog'}.json"


def test_a_network_is_a_folder():
    item = an_item(properties={"stac_sm:network": "TAHMO"})
    assert item_folder("network", item) == "glass-lst/TAHMO/an-item"
    for hostile in ("../x", "catalog", ""):
        with pytest.raises(InputError):
            item_folder("network", an_item(properties={"stac_sm:network": hostile}))


def test_located_states_size_and_checksum():
    asset = with_location({"title": "t"}, "./x.tif", size=3, sha256="ab" * 32)
    assert asset == {"href": "./x.tif", "title": "t", "file:size": 3, "file:checksum": "1220" + "ab" * 32}


def test_raster_item_off_the_earth_is_refused():
    with pytest.raises(InputError, match="lies off the Earth"):
        raster_item(
            id="x", collection="y", geobox=MODIS_SINUSOIDAL_1KM.geobox("h00v00"), start=START, end=START + timedelta(1)
        )


def test_the_range_of_a_band_leaves_out_what_is_no_value():
    values = np.array([[-9999, np.nan, 0.12345, 0.5]], np.float32)
    assert value_range(values, -9999) == {"statistics": {"minimum": 0.1235, "maximum": 0.5}}
    assert value_range(np.array([[0, 255, 7]], np.uint8), 255) == {"statistics": {"minimum": 0.0, "maximum": 7.0}}
    assert value_range(np.full((2, 2), np.nan), None) == {}
    assert value_range(np.full((2, 2), 3.0), None) == {}
