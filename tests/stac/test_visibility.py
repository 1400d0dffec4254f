"""Visibility: one table for code, skeleton and bucket policy; what a document keeps of its assets and links."""

from __future__ import annotations

import json
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.stac.links import skeleton_folder
from stac_sm.stac.visibility import (
    COLLECTION_TERMS,
    EVERY_ASSET,
    OPEN_LICENSES,
    PUBLIC,
    RESTRICTED,
    VISIBILITY_FIELD,
    PublicView,
    asset_visibility,
    collection_visibility,
    public_view,
    wholly_public_collections,
)

SKELETON = {file.parent.name: json.loads(file.read_text()) for file in skeleton_folder().glob("*/collection.json")}
ROOT = "/srv/project"


@pytest.mark.parametrize("id", sorted(COLLECTION_TERMS))
def test_the_skeleton_says_what_the_table_says(id):
    document, terms = SKELETON[id], COLLECTION_TERMS[id]
    assert (document["license"], document[VISIBILITY_FIELD]) == (terms.license, terms.visibility)
    assert terms.reason
    older = {name: value for name, value in document.items() if name not in {VISIBILITY_FIELD, "item_assets"}}
    assert collection_visibility(older) is collection_visibility(document)
    for key, asset in document["item_assets"].items():
        if key != "report":  # one of before, without the field, is restricted; a new one has it
            assert asset_visibility(document, key, {}) is asset_visibility(older, key, {}) or key == "series"
        if VISIBILITY_FIELD in asset and key != "series":
            assert terms.assets[EVERY_ASSET] == asset[VISIBILITY_FIELD]


def test_what_a_licence_forbids_is_restricted():
    for id in ("ismn-stations", "matchups", "merit-dem"):
        assert collection_visibility({"id": id}) is RESTRICTED
        assert collection_visibility({"id": id, "license": "CC-BY-4.0"}) is RESTRICTED  # the table before the licence
    for id in ("sm-1km-daily", "sm-models", "validation", "glass-lst", "era5-land"):
        assert collection_visibility({"id": id}) is PUBLIC
    for id in ("glass-lst", "esa-cci-sm"):
        assert asset_visibility({"id": id}, "any", {}) is RESTRICTED
    assert not set(wholly_public_collections()) & {"ismn-stations", "matchups", "merit-dem", "glass-lst", "sm-models"}
    assert {"sm-1km-daily", "sm-1km-annual", "era5-land"} <= set(wholly_public_collections())


@pytest.mark.parametrize(
    ("document", "visibility"),
    [
        ({"id": "mine", "license": "CC-BY-4.0"}, PUBLIC),
        ({"id": "mine", "license": "other"}, RESTRICTED),
        ({"id": "mine", "license": "CC-BY-NC-4.0"}, RESTRICTED),
        ({"id": "mine", "license": "proprietary"}, RESTRICTED),
        ({"id": "mine"}, RESTRICTED),
        ({"id": "mine", "license": "other", VISIBILITY_FIELD: "public"}, PUBLIC),
        ({"id": "mine", "license": "CC0-1.0", VISIBILITY_FIELD: "restricted"}, RESTRICTED),
        ({"id": "sm-1km-daily", VISIBILITY_FIELD: "restricted"}, RESTRICTED),
        ({"id": "sm-1km-daily", VISIBILITY_FIELD: "Public"}, RESTRICTED),
        ({"id": "sm-1km-daily", VISIBILITY_FIELD: None}, RESTRICTED),
        ({"id": "ismn-stations", VISIBILITY_FIELD: "public"}, PUBLIC),
    ],
)
def test_the_field_counts_first_then_the_table_then_the_licence(document, visibility):
    assert collection_visibility(document) is visibility


def test_an_asset_says_it_itself_or_its_collection_does():
    models = {"id": "sm-models"}
    assert asset_visibility(models, "report", {}) is RESTRICTED
    assert asset_visibility(models, "report", {VISIBILITY_FIELD: "public"}) is PUBLIC
    assert asset_visibility(models, "model", {}) is PUBLIC
    assert asset_visibility(models, "model", {VISIBILITY_FIELD: "x"}) is RESTRICTED
    own = {"id": "mine", "item_assets": {"raw": {VISIBILITY_FIELD: "restricted"}, "odd": None}}
    assert [asset_visibility(own, key, {}) for key in ("raw", "odd", "other")] == [RESTRICTED, PUBLIC, PUBLIC]
    assert all(one not in OPEN_LICENSES for one in ("other", "proprietary", "various", "CC-BY-NC-4.0"))


def view(*opened: str) -> PublicView:
    ids = ("ismn-stations", "sm-models", "sm-1km-daily", "glass-lst")
    return public_view(ROOT, [{"id": id} for id in ids], opened)


FOLDER = "sm-models/m"
LINKS = {
    "../../ismn-stations/collection.json": False,
    "../../ismn-stations/NET/S/S.json": False,
    f"{ROOT}/ismn-stations/collection.json": False,
    f"file://{ROOT}/ismn-stations/collection.json": False,
    "../x/../../ismn-stations/collection.json": False,
    "../../../elsewhere/sm-1km-daily/collection.json": False,
    "../../sm-1km-daily/collection.json": True,
    "../../sm-1km-daily/2018/07/catalog.json": True,
    f"{ROOT}/sm-1km-daily/collection.json": True,
    f"{ROOT}-other/sm-1km-daily/collection.json": False,
    "../../catalog.json": True,
    "../collection.json": True,
    "../n/n.json": True,
    "../../plans/p.parquet": False,
    "../../stac-sm.toml": False,
    "../../not-here/collection.json": False,
    "./m.0.model.ubj": True,
    "./m.0.series.html": False,
    "./m.0.unnamed.html": False,
    "/srv/inputs/glass-lst/collection.json": False,
    "https://example.org/ismn-stations/collection.json": True,
    "s3://inputs/sm/glass-lst/a/a.json": True,
    "s3://inputs/sm/ismn-stations/NET/S/S.json": False,
    "s3://inputs/sm/merit-dem/a/a.json": False,
    "": False,
}


@pytest.mark.parametrize("href", LINKS)
def test_a_link_stays_if_it_leads_to_what_is_given_out(href):
    assets = {
        "model": {"href": "./m.0.model.ubj"},
        "series": {"href": "./m.0.series.html", VISIBILITY_FIELD: "restricted"},
    }
    item = {"collection": "sm-models", "assets": assets, "links": [{"rel": "derived_from", "href": href}]}
    found = view().item(item, FOLDER)
    assert [link["href"] for link in found["links"]] == ([href] if LINKS[href] else [])
    assert set(found["assets"]) == {"model"}
    assert len(item["links"]) == 1  # what is stored stays as it is
    opened = view("ismn-stations", "sm-models").item(item, FOLDER)
    assert set(opened["assets"]) == {"model", "series"}
    assert bool(opened["links"]) is (LINKS[href] or "ismn" in href or ".series." in href)


def test_an_asset_in_a_hidden_folder_is_left_out():
    hrefs = {"own": "./a.tif", "hidden": "../../ismn-stations/s.parquet", "out": "https://example.org/a.tif",
             "local": "/srv/inputs/a.tif", "up": "../../../a.tif"}  # fmt: skip
    item = {"collection": "sm-1km-daily", "links": [], "assets": {key: {"href": href} for key, href in hrefs.items()}}
    found = view().item(item, "sm-1km-daily/a")
    assert set(found["assets"]) == {"own", "out"}
    assert view().asset_paths(found, "sm-1km-daily/a") == {"sm-1km-daily/a/a.tif"}


def test_a_collection_loses_what_is_restricted_in_it():
    stored = json.loads((skeleton_folder() / "sm-models" / "collection.json").read_text())
    stored["assets"] = {"raw": {"href": "./raw.csv", VISIBILITY_FIELD: "restricted"}, "icon": {"href": "./icon.png"}}
    stored["links"].append({"rel": "related", "href": "../ismn-stations/collection.json"})
    found = public_view(ROOT, [stored, {"id": "ismn-stations"}]).collection("sm-models")
    assert set(found["assets"]) == {"icon"}
    assert set(stored["item_assets"]) - set(found["item_assets"]) == {"series", "report"}
    assert "related" not in {link["rel"] for link in found["links"]}


NAMES = "sm-models ismn-stations sm-1km-daily m m.json catalog.json collection.json s.parquet srv project"
PARTS = st.sampled_from(["..", ".", "", *NAMES.split()])


@given(st.lists(PARTS, max_size=8).map("/".join), st.sampled_from(["", "/", f"{ROOT}/", f"file://{ROOT}/"]))
def test_no_href_within_the_root_leads_to_a_hidden_collection(rest, start):
    """However it is written: what is left resolves to a place in a collection that is given out."""
    href = start + rest
    item = {"collection": "sm-models", "links": [{"rel": "x", "href": href}], "assets": {"a": {"href": href}}}
    found = view().item(item, FOLDER)
    for left in [*found["links"], *found["assets"].values()]:
        path = left["href"].removeprefix("file://")
        place = posixpath.normpath(posixpath.join(ROOT, FOLDER, path))
        below = posixpath.relpath(place, ROOT)
        assert below == "catalog.json" or below.split("/")[0] in {"sm-models", "sm-1km-daily"}
