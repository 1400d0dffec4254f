"""Models in the catalogue: a STAC item (MLM extension) that is enough to predict with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shapely.geometry import box, mapping

from stac_sm.items import ItemDict, build_item
from stac_sm.model import FORMAT, Model
from stac_sm.period import Period, utc
from stac_sm.publishing import FINGERPRINT, AssetFile
from stac_sm.recipe import Recipe
from stac_sm.variables import VARIABLES

if TYPE_CHECKING:
    pass

COLLECTION = "sm-models"


def model_item(
    model: Model,
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

    recipe = model.cube_recipe()
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


def write_assets(model: Model, folder: Path) -> dict[str, AssetFile]:
    """Write the assets of a model: one UBJSON file a booster, and the recipe."""
    assets = {}
    for key, member in zip(_member_keys(model), model.members, strict=True):
        file = folder / f"{key}.ubj"
        file.write_bytes(member.ubjson)
        fields = {"title": "Booster in XGBoost's UBJSON", "type": "application/ubjson", "roles": ["mlm:model"]}
        assets[key] = AssetFile(file, ".ubj", fields | {"mlm:artifact_type": "xgboost.Booster.save_raw"})
    file = folder / "recipe.json"
    file.write_text(json.dumps(model.cube_recipe().to_dict(), indent=2) + "\n")
    fields = {"title": "Recipe of the features", "type": "application/json", "roles": ["metadata"]}
    return {**assets, "recipe": AssetFile(file, ".json", fields)}


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
