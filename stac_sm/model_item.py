"""Models in the catalogue: a STAC item (MLM extension) that is enough to predict with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shapely.geometry import box, mapping

from stac_sm.catalog import Catalog
from stac_sm.errors import InputError, ModelError
from stac_sm.items import ItemDict, build_item
from stac_sm.model import Member, Model
from stac_sm.period import Period, utc
from stac_sm.publish import FINGERPRINT, AssetFile
from stac_sm.recipe import Recipe
from stac_sm.store import multihash, sha256
from stac_sm.variables import VARIABLES

if TYPE_CHECKING:
    import pystac

COLLECTION = "sm-models"
FORMAT = 1
"""Version of the layout of a model item; one from the future is refused."""


@dataclass(frozen=True)
class PublishedModel:
    """A model with the recipe of its features, as its item holds them."""

    id: str
    """Id of the item."""

    model: Model
    """The boosters."""

    recipe: Recipe
    """How its features are built."""

    @property
    def checksum(self) -> str:
        """SHA-256 of the boosters, their weights and features."""
        return self.model.checksum


def model_item(
    model: Model,
    recipe: Recipe,
    *,
    fingerprint: str,
    bbox: Sequence[float],
    period: Period,
    hyperparameters: Mapping[str, Any],
    properties: Mapping[str, Any],
) -> ItemDict:
    """Item of a model, without assets and links.

    Parameters
    ----------
    bbox, period
        Where and when the training rows lie.
    hyperparameters
        Settings of the training.
    properties
        Scores, screening, whatever else a reader should know; keys ``stac_sm:…``.
    """
    from importlib.metadata import version

    own = {
        "mlm:name": "stac_sm",
        "mlm:architecture": "gradient boosted trees",
        "mlm:tasks": ["regression"],
        "mlm:framework": "XGBoost",
        "mlm:framework_version": version("xgboost-cpu"),
        "mlm:hyperparameters": dict(hyperparameters),
        "mlm:input": [_mlm_input(name, recipe) for name in model.features],
        "mlm:output": [_mlm_output()],
        "stac_sm:format": FORMAT,
        "stac_sm:recipe": recipe.checksum,
        "stac_sm:members": [
            {"asset": key, "weight": member.weight, "features": list(member.features)}
            for key, member in zip(_member_keys(model), model.members, strict=True)
        ],
        FINGERPRINT: fingerprint,
    }
    return build_item(
        id=f"xgb-{fingerprint[:12]}",
        collection=COLLECTION,
        geometry=mapping(box(bbox[0], bbox[1], bbox[2], bbox[3])),
        bbox=bbox,
        start=utc(period.start),
        end=utc(period.end),
        properties={**own, **properties},
        extensions=["mlm"],
    )


def write_assets(model: Model, recipe: Recipe, folder: Path) -> dict[str, AssetFile]:
    """Write the assets of a model: one UBJSON file a booster, and the recipe."""
    assets = {}
    for key, member in zip(_member_keys(model), model.members, strict=True):
        file = folder / f"{key}.ubj"
        file.write_bytes(member.ubjson)
        fields = {"title": "Booster in XGBoost's UBJSON", "type": "application/ubjson", "roles": ["mlm:model"]}
        assets[key] = AssetFile(file, ".ubj", fields | {"mlm:artifact_type": "xgboost.Booster.save_raw"})
    file = folder / "recipe.json"
    file.write_text(json.dumps(recipe.to_dict(), indent=2) + "\n")
    fields = {"title": "Recipe of the features", "type": "application/json", "roles": ["metadata"]}
    return {**assets, "recipe": AssetFile(file, ".json", fields)}


def read_model(catalog: Catalog, id: str) -> PublishedModel:
    """Model and recipe of an item in a catalogue; every file is checked against the item.

    Raises
    ------
    CatalogError
        If there is no such item.
    ModelError
        If a file is missing or changed, or the item has a layout from the future.
    """
    item = catalog.item(COLLECTION, id)
    found = item.properties.get("stac_sm:format")
    if found != FORMAT:
        raise ModelError(f"model {id!r}: format {found!r} found, {FORMAT} wanted: use the stac_sm that wrote it")
    try:
        recipe = Recipe.from_dict(json.loads(_asset(item, "recipe")))
        members = tuple(
            Member(float(one["weight"]), tuple(one["features"]), _asset(item, one["asset"]))
            for one in item.properties["stac_sm:members"]
        )
        model = Model(members)
        _check_order(item, model, recipe)
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"model {id!r}: its item or recipe is not complete ({error!r}): publish it again") from error
    return PublishedModel(id, model, recipe)


def _check_order(item: pystac.Item, model: Model, recipe: Recipe) -> None:
    """The item's list of inputs, the boosters and the recipe must name the same features."""
    if recipe.checksum != item.properties["stac_sm:recipe"]:
        raise ModelError(f"model {item.id!r}: its recipe is not the one that it was trained with: publish it again")
    listed = [one["name"] for one in item.properties["mlm:input"]]
    if listed != list(model.features) or not set(listed) <= set(recipe.names):
        raise ModelError(
            f"model {item.id!r}: mlm:input lists {', '.join(listed)}, the boosters take {', '.join(model.features)}, "
            f"the recipe makes {', '.join(recipe.names)}: the item was changed; publish the model again"
        )


def _asset(item: pystac.Item, key: str) -> bytes:
    """Content of an asset whose checksum is the item's."""
    asset = item.assets.get(key)
    file = Path((asset and asset.get_absolute_href()) or "")
    if asset is None or not file.is_file():
        raise ModelError(f"model {item.id!r}: asset {key!r} ({file}) is missing: publish the model again")
    content = file.read_bytes()
    if multihash(sha256(content)) != asset.extra_fields.get("file:checksum"):
        raise ModelError(f"model {item.id!r}: {file} was changed after it was published: publish the model again")
    return content


def _member_keys(model: Model) -> list[str]:
    return ["model"] if len(model.members) == 1 else [f"model-{i}" for i in range(len(model.members))]


def _mlm_input(name: str, recipe: Recipe) -> dict[str, Any]:
    sources = {feature.name: f"{feature.collection}, asset {feature.asset}" for feature in recipe.features}
    return {
        "name": name,
        "description": f"{name} from {sources[name]}" if name in sources else f"{name}, derived from place and day",
        "bands": [],
        "input": {"shape": [-1], "dim_order": ["batch"], "data_type": "float32"},
    }


def _mlm_output() -> dict[str, Any]:
    return {
        "name": "sm",
        "description": f"{VARIABLES['sm'].description}, {VARIABLES['sm'].unit}",
        "tasks": ["regression"],
        "bands": [],
        "result": {"shape": [-1], "dim_order": ["batch"], "data_type": "float32"},
    }
