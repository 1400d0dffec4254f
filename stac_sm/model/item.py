"""Write models as STAC items (MLM extension) that hold all that prediction needs.

Training publishes the item with the assets that are written here, and links it with the model before it.
`model.Model.from_item` reads it back.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shapely.geometry import box, mapping

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.variables import VARIABLES
from stac_sm.features.recipe import Recipe
from stac_sm.model.learner_registry import find_learner
from stac_sm.model.model import MODEL_FORMAT, Model
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.items import ItemDict, build_item, item_folder, item_json, relative_href
from stac_sm.stac.links import item_paths
from stac_sm.stac.publish import FINGERPRINT_PROPERTY
from stac_sm.storage.update import update

MODELS_COLLECTION = "sm-models"
ITEM_FILE = "item.json"
"""File of the item in the folder of a model that belongs to no project."""

_EARTH = (-180.0, -90.0, 180.0, 90.0)


def model_item_href(model: str) -> str:
    """Return the href of the item of a model.

    Parameters
    ----------
    model
        Folder that training on a table has written, or anything else that names a model.

    Returns
    -------
    str
        Of the item in the folder; other names as they are.
    """
    folder = Path(model)
    return str(folder / ITEM_FILE) if folder.is_dir() else model


def model_item(
    model: Model,
    *,
    fingerprint: str,
    bbox: Sequence[float] | None,
    period: Period,
    hyperparameters: Mapping[str, Any],
    properties: Mapping[str, Any],
    previous: ItemDict | None = None,
) -> ItemDict:
    """Build the item of a model, without assets; its only link is the one to its predecessor.

    Parameters
    ----------
    model
        One without a recipe was trained on a bare table: the item then has no recipe, and ``mlm:input`` describes
        the table's columns.
    fingerprint
        SHA-256, hex, of all that the model is made from; its first 12 digits are in the id.
    bbox, period
        Where (west, south, east, north, degrees) and when the training rows lie. None for the bbox: the table does not
        say, so the item covers the Earth.
    hyperparameters
        Settings of the training.
    properties
        Scores, screening, whatever else a reader should know; keys ``stac_sm:…``.
    previous
        Item of the model that this one follows, as `latest_model` finds it: the item gets the next ``version`` and a
        link ``predecessor-version``. After publishing, `link_successor` adds the way back.

    Returns
    -------
    dict
        A STAC item of the collection ``sm-models`` (MLM and version extensions).
    """
    place = list(bbox or _EARTH)
    stub = item_stub(fingerprint)
    item = build_item(
        id=stub["id"],
        collection=stub["collection"],
        geometry=mapping(box(place[0], place[1], place[2], place[3])),
        bbox=place,
        start=utc_instant(period.start),
        end=utc_instant(period.end),
        properties={
            **_mlm(model, hyperparameters),
            **_parts(model),
            FINGERPRINT_PROPERTY: fingerprint,
            "version": str(_version(previous) + 1 if previous else 1),
            **properties,
        },
        extensions=["mlm", "version"],
    )
    if previous:
        item["links"] = [_version_link("predecessor-version", item, previous)]
    return item


def item_stub(fingerprint: str) -> ItemDict:
    """Return what is known of a model's item before the training: enough to see whether it is published."""
    return {
        "id": f"xgb-{fingerprint[:12]}",
        "collection": MODELS_COLLECTION,
        "properties": {FINGERPRINT_PROPERTY: fingerprint},
    }


def latest_model(catalog: WritableCatalog) -> ItemDict | None:
    """Return the item of the newest model: of those that no other follows, the one of the highest version; None without
    models."""
    items = [json.loads(catalog.store.read(path)) for path in item_paths(catalog.store, MODELS_COLLECTION)]
    free = [item for item in items if not _linked(item, "successor-version")]
    return max(free or items, key=lambda item: (_version(item), item["id"]), default=None)


def link_successor(catalog: WritableCatalog, item: ItemDict) -> None:
    """Add to the predecessor of a published model a link to it; done once, however often it is called.

    Parameters
    ----------
    item
        With its own links; without a predecessor nothing is done.

    Raises
    ------
    ConflictError
        If the predecessor keeps changing.
    """
    folder = item_folder(catalog.layout(MODELS_COLLECTION), item)
    for link in _linked(item, "predecessor-version"):
        path = posixpath.normpath(posixpath.join(folder, link["href"]))
        update(catalog.store, path, lambda before: _with_successor(before or b"", item), must_exist=True)


def write_model_assets(model: Model, folder: Path) -> dict[str, AssetFile]:
    """Write the assets of a model: one file a booster, and what it has of recipe, intervals, applicability.

    Parameters
    ----------
    model
        The model; the same model gives the same bytes.
    folder
        An existing local folder for the files.

    Returns
    -------
    dict
        Asset key to an `AssetFile` for publishing.
    """
    contents = {}
    for number, (key, member) in enumerate(zip(_member_keys(model), model.members, strict=True)):
        learner = find_learner(member.learner)
        fields = {"title": _title(model, number), "type": learner.media_type, "roles": ["mlm:model"]}
        contents[key] = (member.content, learner.suffix, fields | {"mlm:artifact_type": learner.artifact_type})
    if model.intervals is not None:
        spread = model.intervals.spread
        learner = find_learner(spread.learner)
        fields = {"title": f"Booster of the spread of the errors, in {learner.format_name}"}
        fields |= {"type": learner.media_type, "roles": ["metadata"]}
        contents["intervals"] = (spread.content, learner.suffix, fields)
    if model.applicability is not None:
        contents["applicability"] = (model.applicability.to_json(), ".json", _APPLICABILITY)
    if model.recipe is not None:
        contents["recipe"] = (json.dumps(model.recipe.to_dict(), indent=2).encode() + b"\n", ".json", _RECIPE)
    assets = {}
    for key, (content, suffix, fields) in contents.items():
        file = folder / f"{key}{suffix}"
        file.write_bytes(content)
        assets[key] = AssetFile(file, suffix, fields)
    return assets


def _title(model: Model, number: int) -> str:
    """Return what tells one booster of a model from the others."""
    member = model.members[number]
    form = find_learner(member.learner).format_name
    if len(model.members) == 1:
        return f"Booster in {form}"
    return f"Booster {number + 1} of {len(model.members)}, weight {member.weight:g}, in {form}"


_APPLICABILITY = {
    "title": "Training rows that stand for all: the area of applicability",
    "type": "application/json",
    "roles": ["metadata"],
}
_RECIPE = {"title": "Recipe of the features", "type": "application/json", "roles": ["metadata"]}


def _mlm(model: Model, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    from importlib.metadata import version

    learners = [find_learner(name) for name in dict.fromkeys(member.learner for member in model.members)]
    return {
        "mlm:name": "stac_sm",
        "mlm:architecture": ", ".join(dict.fromkeys(learner.architecture for learner in learners)),
        "mlm:tasks": ["regression"],
        "mlm:framework": learners[0].framework,  # the extension has room for one; each member names its own
        "mlm:framework_version": version(learners[0].distribution),
        "mlm:hyperparameters": dict(hyperparameters),
        "mlm:input": [_mlm_input(name, model.recipe) for name in model.features],
        "mlm:output": [_mlm_output("sm", f"{VARIABLES['sm'].description}, {VARIABLES['sm'].unit}")]
        + ([_mlm_output("uncertainty", model.intervals.description)] if model.intervals else []),
    }


def _parts(model: Model) -> dict[str, Any]:
    """Return what `Model.from_item` needs beside the assets."""
    parts: dict[str, Any] = {
        "stac_sm:format": MODEL_FORMAT,
        "stac_sm:members": [
            {"asset": key, "weight": member.weight, "features": list(member.features), **member.learner_fields()}
            for key, member in zip(_member_keys(model), model.members, strict=True)
        ],
    }
    if model.recipe is not None:
        parts["stac_sm:recipe"] = model.recipe.checksum
    if model.intervals is not None:
        parts["stac_sm:intervals"] = model.intervals.to_dict()
    if model.applicability is not None:
        parts["stac_sm:applicability"] = model.applicability.summary()
    return parts


def _member_keys(model: Model) -> list[str]:
    return ["model"] if len(model.members) == 1 else [f"model-{i}" for i in range(len(model.members))]


def _mlm_input(name: str, recipe: Recipe | None) -> dict[str, Any]:
    features = recipe.features if recipe else ()
    sources = {feature.name: f"{name} from {feature.collection}, asset {feature.asset}" for feature in features}
    other = f"{name}, derived from place and day" if recipe else f"Column {name} of the training table"
    return {
        "name": name,
        "description": sources.get(name, other),
        "bands": [],
        "input": {"shape": [-1], "dim_order": ["batch"], "data_type": "float32"},
    }


def _mlm_output(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": description,
        "tasks": ["regression"],
        "bands": [],
        "result": {"shape": [-1], "dim_order": ["batch"], "data_type": "float32"},
    }


def _version(item: ItemDict) -> int:
    """Number of a model among those of its project; 1 for items from before there were any."""
    text = str(item["properties"].get("version", "1"))
    return int(text) if text.isdecimal() else 1


def _linked(item: ItemDict, rel: str) -> list[dict[str, str]]:
    return [link for link in item["links"] if link["rel"] == rel]


def _version_link(rel: str, source: ItemDict, target: ItemDict) -> dict[str, str]:
    """Return the link between two model items, which lie in flat folders side by side."""
    href = relative_href(item_folder("flat", source), f"{item_folder('flat', target)}/{target['id']}.json")
    return {"rel": rel, "href": href, "type": "application/geo+json", "title": target["id"]}


def _with_successor(before: bytes, item: ItemDict) -> bytes | None:
    """Add a link to a newer model to an item; None if it is there."""
    previous = json.loads(before)
    link = _version_link("successor-version", previous, item)
    return None if link in previous["links"] else item_json({**previous, "links": [*previous["links"], link]})
