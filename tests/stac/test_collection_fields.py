"""Collections of an older catalogue get what they lack; nothing that is there changes, and nothing becomes public."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from stac_sm.stac.catalogs.catalog import create_skeleton
from stac_sm.stac.collection_fields import add_lacking_fields, lacking_fields
from stac_sm.stac.links import item_paths, refresh, skeleton_collections
from stac_sm.stac.visibility import VISIBILITY_FIELD, PublicView
from stac_sm.storage.store import open_store
from tests.support.checkout import ROOT

FIXTURE = ROOT / "tests/support/project_4977fae/project"


@pytest.fixture
def store(tmp_path):
    """Catalogue of commit 4977fae."""
    return open_store(shutil.copytree(FIXTURE, tmp_path / "old"))


def read(store, id):
    return json.loads(store.read(f"{id}/collection.json"))


def change(store, id, **members):
    path = Path(store.root, id, "collection.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


def is_kept(held, now):
    """Whether a value holds all that another one holds, as it is there; lists of text may have more."""
    if isinstance(held, dict):
        return all(key in now and is_kept(value, now[key]) for key, value in held.items())
    if isinstance(held, list) and all(isinstance(one, str) for one in held):
        return set(held) <= set(now)
    return len(held) == len(now) and all(map(is_kept, held, now)) if isinstance(held, list) else held == now


def test_collections_of_an_older_version_get_what_they_lack_and_stay_valid(store, validate):
    ids = sorted(file.parent.name for file in Path(store.root).glob("*/collection.json"))
    before = {id: read(store, id) for id in ids}
    assert {"renders", "item_assets.visual", "providers.stac_sm.url"} <= {
        *lacking_fields(store, before["sm-1km-daily"])
    }
    for id in ids:
        add_lacking_fields(store, id)
        now = read(store, id)
        assert lacking_fields(store, now) == []
        assert is_kept({**before[id], "links": []}, {**now, "links": []}), id
        assert now["extent"] == before[id]["extent"]
        assert [one for one in now["links"] if one["rel"] != "cite-as" or one in before[id]["links"]] == before[id][
            "links"
        ]
        validate(now)
    assert any("render/" in one for one in read(store, "sm-1km-daily")["stac_extensions"])


def test_a_doi_comes_with_its_link_and_nothing_is_left_to_repair(store):
    """Before the links to items, where `refresh` keeps it."""
    add_lacking_fields(store, "glass-lai")
    refresh(store, "glass-lai")
    added = read(store, "glass-lai")
    assert [one["href"] for one in added["links"] if one["rel"] == "cite-as"] == [f"https://doi.org/{added['sci:doi']}"]
    before = Path(store.root, "glass-lai/collection.json").read_bytes()
    add_lacking_fields(store, "glass-lai")
    refresh(store, "glass-lai")
    assert Path(store.root, "glass-lai/collection.json").read_bytes() == before


def test_what_a_user_has_written_stays(store):
    renders = {"mine": {"assets": ["sm"]}}
    written = {"license": "other", "renders": renders, "keywords": ["mine"], "sci:citation": "mine"}
    change(store, "sm-1km-daily", **written)
    add_lacking_fields(store, "sm-1km-daily")
    now = read(store, "sm-1km-daily")
    assert {key: now[key] for key in written} == written
    assert "visual" in now["item_assets"]


def given_out(store):
    """Return the collections that are given out, and the assets of their items, by path of the item."""
    ids = sorted(file.parent.name for file in Path(store.root).glob("*/collection.json"))
    view = PublicView(store.root, {id: read(store, id) for id in ids})
    paths = [path for id in view.shown for path in item_paths(store, id)]
    items = {path: view.item(json.loads(store.read(path)), path.rpartition("/")[0]) for path in paths}
    return view.shown, {path: set(item["assets"]) for path, item in items.items()}


def test_nothing_becomes_public(store):
    """Reports of old models may hold station series: those of today do not, and the shipped collection says so."""
    before = given_out(store)
    for file in Path(store.root).glob("*/collection.json"):
        add_lacking_fields(store, file.parent.name)
    assert given_out(store) == before
    (model,) = (path for path in before[1] if path.startswith("sm-models/"))
    assert "report" in json.loads(store.read(model))["assets"]
    assert "report" not in before[1][model]
    assert VISIBILITY_FIELD not in read(store, "sm-models")["item_assets"]["report"]


def test_catalogues_of_today_and_collections_of_a_user_lack_nothing(tmp_path, store):
    today = open_store(tmp_path / "today")
    create_skeleton(today, title="Test")
    for id in skeleton_collections():
        assert lacking_fields(today, read(today, id)) == []
        assert lacking_fields(today, {**read(today, id), "renders": {}}) == []
    assert lacking_fields(store, {"id": "my-series", "type": "Collection"}) == []
    add_lacking_fields(today, "sm-1km-daily")
