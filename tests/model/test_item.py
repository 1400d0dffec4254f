"""Models in the catalogue: what is read is what was published, bit for bit, or an error."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stac_sm.core.errors import CatalogError, ModelError
from stac_sm.core.fingerprint import digest
from stac_sm.core.period import Period
from stac_sm.model.booster import WeightedBooster
from stac_sm.model.item import MODELS_COLLECTION, model_item, write_model_assets
from stac_sm.model.model import Model
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import publish
from tests.support.fields import RECIPE, edit, new_catalog, put_model, read_model, small_model, table


@pytest.fixture
def root(tmp_path):
    put_model(new_catalog(tmp_path / "p"), tmp_path / "scratch")
    return tmp_path / "p"


@pytest.fixture
def id(root):
    return open_catalog(root).items(MODELS_COLLECTION)[0].id


def test_read_is_what_was_published(root, id):
    read, model = read_model(open_catalog(root), id), small_model()
    assert (read.members, read.recipe, read.checksum, read.id) == (model.members, RECIPE, model.checksum, id)
    rows = table(rows=500, seed=9)
    np.testing.assert_array_equal(read.predict(rows), model.predict(rows))
    assert np.ptp(model.predict(rows)) > 0.1


def test_a_sum_of_boosters_comes_back_in_order(tmp_path):
    one, two = small_model().members[0], small_model(seed=5).members[0]
    model = Model((replace(one, weight=0.25), replace(two, weight=0.75), replace(one, weight=-0.5)), RECIPE)
    catalog = new_catalog(tmp_path / "p")
    item = model_item(
        model, fingerprint=digest("sum"), bbox=[8, 45, 12, 48], period=Period.parse("2018"), hyperparameters={},
        properties={},
    )  # fmt: skip
    publish(catalog, item, write_model_assets(model, tmp_path))
    refresh(catalog.store, MODELS_COLLECTION)
    assert sorted(item["assets"] or open_catalog(tmp_path / "p").item(MODELS_COLLECTION, item["id"]).assets) == [
        "model-0", "model-1", "model-2", "recipe"
    ]  # fmt: skip
    assert read_model(open_catalog(tmp_path / "p"), item["id"]).members == model.members


def test_the_item_is_valid_and_names_its_inputs(root, id, validate):
    item = open_catalog(root).item(MODELS_COLLECTION, id)
    validate(item)
    assert [one["name"] for one in item.properties["mlm:input"]] == list(RECIPE.names)
    assert item.properties["stac_sm:recipe"] == RECIPE.checksum
    assert any("mlm" in uri for uri in item.stac_extensions)


def asset_file(root, id, key):
    return Path(open_catalog(root).item(MODELS_COLLECTION, id).assets[key].get_absolute_href())


@pytest.mark.parametrize("key", ["model", "recipe"])
def test_a_changed_file(root, id, key):
    file = asset_file(root, id, key)
    file.write_bytes(file.read_bytes().replace(b"a", b"b", 1))
    with pytest.raises(ModelError, match=f"model '{id}': .*{file.name} was changed after it was published"):
        read_model(open_catalog(root), id)


@pytest.mark.parametrize("key", ["model", "recipe"])
def test_a_missing_file(root, id, key):
    asset_file(root, id, key).unlink()
    with pytest.raises(ModelError, match=f"model '{id}': asset '{key}' .* is missing"):
        read_model(open_catalog(root), id)


def test_a_recipe_changed_together_with_its_checksum(root, id):
    """The hash in the properties is that of the recipe that the model was trained with."""
    file = asset_file(root, id, "recipe")
    changed = json.loads(file.read_text())
    changed["features"][0]["resampling"] = "bilinear"
    file.write_text(json.dumps(changed))
    import hashlib

    checksum = "1220" + hashlib.sha256(file.read_bytes()).hexdigest()
    edit(
        open_catalog(root),
        MODELS_COLLECTION,
        id,
        lambda item: item["assets"]["recipe"].update({"file:checksum": checksum}),
    )
    with pytest.raises(ModelError, match="its recipe is not the one that it was trained with"):
        read_model(open_catalog(root), id)


EDITS = {
    "reordered inputs": (lambda p: p["mlm:input"].reverse(), "mlm:input lists latitude, doy_sin"),
    "a format from the future": (lambda p: p.update({"stac_sm:format": 3}), "format 3 found, 2 or older required"),
    "no format": (lambda p: p.pop("stac_sm:format"), "format None found, 2 or older required"),
    "no members": (lambda p: p.pop("stac_sm:members"), "not complete"),
    "no inputs": (lambda p: p.pop("mlm:input"), "not complete"),
    "no hash of the recipe": (lambda p: p.pop("stac_sm:recipe"), "not complete"),
    "odd weight": (lambda p: p["stac_sm:members"][0].update(weight="much"), "not complete"),
    "other features": (lambda p: p["stac_sm:members"][0]["features"].reverse(), "the boosters take latitude"),
}


@pytest.mark.parametrize(("change", "told"), EDITS.values(), ids=EDITS)
def test_an_item_that_was_changed(root, id, change, told):
    edit(open_catalog(root), MODELS_COLLECTION, id, lambda item: change(item["properties"]))
    with pytest.raises(ModelError, match=told) as failure:
        read_model(open_catalog(root), id)
    assert id in str(failure.value)


def test_an_unknown_model(root):
    with pytest.raises(CatalogError, match="item 'xgb-none' is not in collection 'sm-models'"):
        read_model(open_catalog(root), "xgb-none")


def test_features_put_together_wrongly_are_refused_at_the_first_prediction():
    member = small_model().members[0]
    with pytest.raises(ModelError, match="in this order"):
        Model((WeightedBooster(1.0, member.features[::-1], member.content),)).predict(table())
