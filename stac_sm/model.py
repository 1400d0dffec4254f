"""Models: an ordered sum of XGBoost boosters, matched to their features by name, and read from STAC items."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.errors import CatalogError, InputError, ModelError
from stac_sm.recipe import Recipe
from stac_sm.store import multihash, sha256
from stac_sm.table import nearest

if TYPE_CHECKING:
    import pystac
    import xgboost as xgb

FORMAT = 1
"""Version of the layout of a model item; one from the future is refused."""


@dataclass(frozen=True)
class Member:
    """One booster of the ordered sum."""

    weight: float
    """What its prediction is multiplied by."""

    features: tuple[str, ...]
    """Its features, in the order of its columns."""

    ubjson: bytes
    """The booster as XGBoost writes it (UBJSON)."""

    @cached_property
    def booster(self) -> xgb.Booster:
        """The booster, ready to predict.

        Raises
        ------
        ModelError
            If the bytes are no booster, or it was not trained on ``features``.
        """
        import xgboost as xgb  # here, since it takes half a second

        try:
            booster = xgb.Booster(model_file=bytearray(self.ubjson))
        except (xgb.core.XGBoostError, ValueError) as error:
            raise ModelError(f"booster: found {len(self.ubjson)} bytes that are no XGBoost model in UBJSON") from error
        inside = booster.feature_names or [f"f{i}" for i in range(booster.num_features())]
        if len(inside) != len(self.features) or (booster.feature_names and tuple(inside) != self.features):
            raise ModelError(
                f"booster: found {', '.join(inside)} inside; {', '.join(self.features)} wanted, in this order; "
                "the model was put together wrongly: publish it again"
            )
        booster.set_param({"nthread": 1})  # who predicts in blocks has the cores busy already
        return booster


@dataclass(frozen=True)
class Model:
    """Weighted sum of boosters; the plain model is one booster of weight 1."""

    members: tuple[Member, ...]
    """Boosters, in the order in which they are added up."""

    recipe: Recipe | None = None
    """How its features are built from items; None for a model of a bare table, which cannot predict a cube."""

    id: str = ""
    """Id of its item; empty until it is published."""

    @classmethod
    def from_item(cls, href: str) -> Model:
        """Model of a STAC item that stac_sm has published; every file is checked against the item.

        Raises
        ------
        CatalogError
            If there is no such item.
        ModelError
            If a file is missing or changed, features are in another order, or the layout is from the future.
        """
        item = _read_item(href)
        found = item.properties.get("stac_sm:format")
        if found != FORMAT:
            raise ModelError(
                f"model {item.id!r}: format {found!r} found, {FORMAT} wanted: use the stac_sm that wrote it"
            )
        try:
            recipe = Recipe.from_dict(json.loads(_asset(item, "recipe")))
            members = tuple(
                Member(float(one["weight"]), tuple(one["features"]), _asset(item, one["asset"]))
                for one in item.properties["stac_sm:members"]
            )
            model = cls(members, recipe, item.id)
            _check_order(item, model, recipe)
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"model {item.id!r}: its item or recipe is not complete ({error!r}): publish it again"
            ) from error
        return model

    @classmethod
    def plain(cls, booster: xgb.Booster, features: Iterable[str]) -> Model:
        """Model of one booster of weight 1, trained on ``features`` in this order."""
        return cls.of_boosters([(1.0, features, booster)])

    @classmethod
    def of_boosters(cls, boosters: Iterable[tuple[float, Iterable[str], xgb.Booster]]) -> Model:
        """Model of (weight, features, booster) triples, in order."""
        return cls(
            tuple(
                Member(float(weight), tuple(features), bytes(booster.save_raw("ubj")))
                for weight, features, booster in boosters
            )
        )

    @property
    def features(self) -> tuple[str, ...]:
        """Names of all features, each once, in the order of the members."""
        return tuple(dict.fromkeys(name for member in self.members for name in member.features))

    def cube_recipe(self) -> Recipe:
        """The recipe.

        Raises
        ------
        ModelError
            If the model has none: it was trained on a bare table, and its features name no collection.
        """
        if self.recipe is None:
            raise ModelError(
                f"model {self.id or self.checksum[:12]!r} was trained on a bare table: its features "
                f"({', '.join(self.features)}) name no collection, so it cannot predict a cube"
            )
        return self.recipe

    @property
    def checksum(self) -> str:
        """SHA-256 over weights, features and boosters, in hex."""
        digest = hashlib.sha256()
        for member in self.members:
            head = "\0".join((repr(member.weight), *member.features, str(len(member.ubjson))))
            digest.update(f"{len(head)}\0{head}".encode() + member.ubjson)
        return digest.hexdigest()

    def predict(self, columns: Mapping[str, NDArray[Any]] | pd.DataFrame) -> NDArray[np.float32]:
        """Predict one value per row.

        Parameters
        ----------
        columns
            1-D columns of one length, matched by name; others are left alone. NaN = missing, which XGBoost
            sends the way it learned: whether such a row is used is for the caller to say.

        Returns
        -------
        numpy.ndarray
            float32, shape (n,), in the unit of the target. Members are added up in float32, in order, so that one
            member of weight 1 gives the very bits of XGBoost.

        Raises
        ------
        ModelError
            If a feature is missing, or columns differ in length.
        """
        values = _matrix(columns, self.features)
        total = np.zeros(len(values), dtype=np.float32)
        if not len(values):
            return total
        place = {name: i for i, name in enumerate(self.features)}
        for member in self.members:
            part = values[:, [place[name] for name in member.features]]
            total += np.float32(member.weight) * member.booster.inplace_predict(part)
        return total


def _read_item(href: str) -> pystac.Item:
    import pystac

    try:
        return pystac.Item.from_file(href)
    except (OSError, ValueError, KeyError, pystac.STACError) as error:
        raise CatalogError(
            f"{href} is no STAC item of a model ({error}): give the href of an item in sm-models"
        ) from error


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


def _matrix(columns: Mapping[str, NDArray[Any]] | pd.DataFrame, features: tuple[str, ...]) -> NDArray[np.float32]:
    """Columns side by side, float32, dims (row, feature)."""
    missing = [name for name in features if name not in columns]
    if missing:
        there = [str(name) for name in columns]
        found = "; ".join(f"{name!r} ({nearest(name, there)})" for name in missing)
        raise ModelError(f"model: no feature {found}; wanted: {', '.join(features)}; add it under this name")
    parts = [np.asarray(columns[name], dtype=np.float32) for name in features]
    shapes = {part.shape for part in parts}
    if len(shapes) != 1 or parts[0].ndim != 1:
        found = ", ".join(f"{name} {part.shape}" for name, part in zip(features, parts, strict=True))
        raise ModelError(f"model: found columns of shapes {found}; wanted 1-D columns of one length")
    return np.stack(parts, axis=1)
