"""A model: an ordered sum of boosters, matched to their features by name, and read from a STAC item.

Training makes one, `item` writes it, `predict` applies it to a feature cube.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stac_sm.core.errors import CatalogError, InputError, ModelError
from stac_sm.features.recipe import Recipe
from stac_sm.model.applicability import Applicability
from stac_sm.model.booster import WeightedBooster
from stac_sm.model.forest.ensemble import Ensemble
from stac_sm.model.intervals import Intervals
from stac_sm.model.learner_registry import DEFAULT_LEARNER
from stac_sm.model.skill import Skill, read_skill
from stac_sm.model.xgboost_learner import XGBoostLearner
from stac_sm.storage.address import absolute_address, asset_address
from stac_sm.storage.store import multihash, read_address, sha256

if TYPE_CHECKING:
    import pandas as pd
    import pystac


MODEL_FORMAT = 2
"""Version of the layout of a model item: 2 has room for intervals and the area of applicability, and for a model
without a recipe."""

READABLE = (1, MODEL_FORMAT)
"""Layouts that are read; one from the future is refused."""


@dataclass(frozen=True)
class Model:
    """Weighted sum of boosters; the plain model is one booster of weight 1."""

    members: tuple[WeightedBooster, ...]
    """Boosters, in the order in which they are added up."""

    recipe: Recipe | None = None
    """How its features are built from items; None for a model of a bare table, which cannot predict a cube."""

    id: str = ""
    """Id of its item; empty until it is published."""

    intervals: Intervals | None = None
    """Half widths of its prediction intervals; None where there were too few sites."""

    applicability: Applicability | None = None
    """Where it may be used: what its training rows are like; None where nobody knows."""

    skill: tuple[Skill, ...] | None = field(default=None, compare=False)
    """Its skill at other places; no part of its checksum. None for a model whose item does not say."""

    @classmethod
    def from_item(cls, href: str) -> Model:
        """Read a model from a STAC item that stac_sm has published; every file is checked against the item.

        Parameters
        ----------
        href
            Address of the item: a path, ``https://`` or ``s3://``.

        Returns
        -------
        Model
            With recipe, intervals and area of applicability, as far as the item has them.

        Raises
        ------
        CatalogError
            If there is no such item.
        ModelError
            If a file is missing or changed, features are in another order, or the layout is from the future.
        """
        item = read_item(href)
        found = item.properties.get("stac_sm:format")
        if found not in READABLE:
            raise ModelError(
                f"model {item.id!r}: format {found!r} found, {MODEL_FORMAT} or older required: "
                "use the stac_sm that wrote it"
            )
        try:
            skill = read_skill(item.properties)
            model = cls(_members(item), _recipe(item), item.id, _intervals(item), _applicability(item), skill)
            _check_order(item, model)
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"model {item.id!r}: its item or recipe is not complete ({error!r}): publish it again"
            ) from error
        return model

    @classmethod
    def plain(cls, booster: Any, features: Iterable[str]) -> Model:
        """Return the model of one ``xgboost.Booster`` of weight 1.

        Parameters
        ----------
        booster
            A trained ``xgboost.Booster``.
        features
            Its features, in the order of its columns.

        Returns
        -------
        Model
            Without recipe, intervals and area of applicability.
        """
        return cls.of_boosters([(1.0, features, booster)])

    @classmethod
    def of_boosters(cls, boosters: Iterable[tuple[float, Iterable[str], Any]]) -> Model:
        """Return the model that is the weighted sum of some ``xgboost.Booster``.

        Boosters of any learner become a model by ``Model(tuple(WeightedBooster.of(trained, weight) …))``.

        Parameters
        ----------
        boosters
            Triples of weight, features in the order of the columns, and ``xgboost.Booster``, in the order of the sum.

        Returns
        -------
        Model
            Without recipe, intervals and area of applicability.
        """
        return cls(
            tuple(
                WeightedBooster.of(XGBoostLearner(booster, tuple(features)), weight)
                for weight, features, booster in boosters
            )
        )

    @property
    def features(self) -> tuple[str, ...]:
        """Names of all features, each once, in the order of the members."""
        return tuple(dict.fromkeys(name for member in self.members for name in member.features))

    def cube_recipe(self) -> Recipe:
        """Return the recipe, by which a feature cube is made for the model.

        Returns
        -------
        Recipe
            The recipe that it was trained with.

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

    @cached_property
    def checksum(self) -> str:
        """SHA-256 over weights, features, boosters, intervals and area of applicability, in hex."""
        digest = hashlib.sha256()
        for member in self.members:
            head = "\0".join((repr(member.weight), *member.features, str(len(member.content))))
            digest.update(f"{len(head)}\0{head}".encode() + member.content)
            for key, name in member.learner_fields().items():  # none for XGBoost: its models keep their checksums
                digest.update(f"\0{key}\0{name}".encode())
        for part in (self.intervals, self.applicability):
            if part is not None:  # a model without them keeps the checksum that it had before there were any
                digest.update(f"\0{part.fingerprint_name}\0{part.checksum}".encode())
        return digest.hexdigest()

    @property
    def outdated(self) -> str:
        """What of its boosters later versions of a library will not read; empty if nothing is known."""
        found = (getattr(member.trained, "outdated", "") for member in self.members)
        return ", ".join(dict.fromkeys(filter(None, found)))

    def importance(self) -> dict[str, float]:
        """Return the share of each feature in the fit, over all members by weight; of trees, by gain of splits.

        Returns
        -------
        dict
            All features, in order; figures >= 0 that sum up to 1, or all 0 if no tree has a split.
        """
        total = dict.fromkeys(self.features, 0.0)
        for member in self.members:
            for name, gain in member.importance().items():
                total[name] += abs(member.weight) * gain
        whole = sum(total.values())
        return {name: gain / whole if whole else 0.0 for name, gain in total.items()}

    def predict(self, columns: Mapping[str, NDArray[Any]] | pd.DataFrame) -> NDArray[np.float32]:
        """Return one predicted value a row.

        Parameters
        ----------
        columns
            1-D columns of one length, matched by name; others are left alone. NaN = missing, which each learner
            takes as it has learned: whether such a row is used is for the caller to say.

        Returns
        -------
        numpy.ndarray
            float32, shape (n,), in the unit of the target. Members are added up in float32, in order, so that one
            member of weight 1 gives the very bits of its learner. Rows that are alike should be neighbours: their order
            decides how fast it is, never what comes out.

        Raises
        ------
        ModelError
            If a feature is missing, or columns differ in length.
        """
        return self._sum(self._ensemble.predict(columns, len(self.members)))

    def predict_with_half_width(
        self, columns: Mapping[str, NDArray[Any]] | pd.DataFrame
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the prediction and the half width of the interval of each row, in one pass.

        Parameters
        ----------
        columns
            As in `predict`.

        Returns
        -------
        tuple of numpy.ndarray
            Predictions and half widths, float32, shape (row,), in the unit of the target; None for the half widths of a
            model without intervals.

        Raises
        ------
        ModelError
            If a feature is missing, or columns differ in length.
        """
        if self.intervals is None:
            return self.predict(columns), None
        *parts, spread = self._ensemble.predict(columns, len(self.members) + 1)
        total = self._sum(parts)
        return total, self.intervals.of_spread(spread, total)

    def prepare(self, rows: int) -> None:
        """Start in a thread what it takes to predict many rows, while their features are being read.

        Parameters
        ----------
        rows
            Rows that will be predicted at most; for few, nothing is done.
        """
        self._ensemble.build_meanwhile(rows)

    def __dask_tokenize__(self) -> str:
        """Return what stands for the model in a graph: else Dask writes out every field of it, and every point of its
        area, before a run may begin."""
        return self.checksum

    @cached_property
    def _ensemble(self) -> Ensemble:
        """The members, and last the spread of the intervals."""
        spread = () if self.intervals is None else (self.intervals.spread,)
        return Ensemble((*self.members, *spread))

    def _sum(self, parts: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the weighted sum of the members' predictions, in order."""
        weighted = [np.float32(member.weight) * part for member, part in zip(self.members, parts, strict=True)]
        total = np.zeros(len(weighted[0]), dtype=np.float32)
        for part in weighted:
            total += part
        return total


def read_item(href: str) -> pystac.Item:
    """Read the STAC item of a model.

    Parameters
    ----------
    href
        Of its JSON, in a folder or on S3.

    Returns
    -------
    pystac.Item
        Its self href is absolute.

    Raises
    ------
    CatalogError
        If there is no such item.
    """
    import pystac

    try:
        return pystac.Item.from_dict(json.loads(read_address(href)), href=absolute_address(href))
    except (OSError, ValueError, KeyError, TypeError, CatalogError, pystac.STACError, pystac.STACTypeError) as error:
        raise CatalogError(
            f"{href} is no STAC item of a model ({error}): give the href of an item in sm-models"
        ) from error


def _members(item: pystac.Item) -> tuple[WeightedBooster, ...]:
    return tuple(
        WeightedBooster(
            float(one["weight"]),
            tuple(one["features"]),
            read_asset(item, one["asset"]),
            str(one.get("learner", DEFAULT_LEARNER)),
        )
        for one in item.properties["stac_sm:members"]
    )


def _recipe(item: pystac.Item) -> Recipe | None:
    """Return the recipe, which must be the one that the properties name; None if they name none."""
    wanted = item.properties.get("stac_sm:recipe")
    if wanted is None and "recipe" not in item.assets and item.properties["stac_sm:format"] > 1:
        return None
    recipe = Recipe.from_dict(json.loads(read_asset(item, "recipe")))
    if recipe.checksum != item.properties["stac_sm:recipe"]:
        raise ModelError(f"model {item.id!r}: its recipe is not the one that it was trained with: publish it again")
    return recipe


def _intervals(item: pystac.Item) -> Intervals | None:
    figures = _part(item, "intervals")
    return Intervals.from_dict(figures, read_asset(item, "intervals")) if figures else None


def _applicability(item: pystac.Item) -> Applicability | None:
    figures = _part(item, "applicability")
    return Applicability.from_json(read_asset(item, "applicability")) if figures else None


def _part(item: pystac.Item, name: str) -> Mapping[str, Any] | None:
    """Return the properties of an optional part; an asset without them, or they without it, is a model that was
    changed."""
    figures: Mapping[str, Any] | None = item.properties.get(f"stac_sm:{name}")
    if (figures is None) != (name not in item.assets):
        there, absent = ("asset", "property") if figures is None else ("property", "asset")
        raise ModelError(f"model {item.id!r}: {there} of its {name} found without the {absent}: publish it again")
    return figures


def _check_order(item: pystac.Item, model: Model) -> None:
    """Check that the item's list of inputs, the boosters and the recipe name the same features."""
    listed = [one["name"] for one in item.properties["mlm:input"]]
    made = listed if model.recipe is None else model.recipe.names
    parts = [part.features for part in (model.intervals, model.applicability) if part is not None]
    beside = {name for features in parts for name in features} - set(listed)
    if listed != list(model.features) or not set(listed) <= set(made) or beside:
        raise ModelError(
            f"model {item.id!r}: mlm:input lists {', '.join(listed)}, the boosters take {', '.join(model.features)}, "
            f"the recipe makes {', '.join(made)}{', intervals or applicability require ' * bool(beside)}"
            f"{', '.join(sorted(beside))}: the item was changed; publish the model again"
        )


def read_asset(item: pystac.Item, key: str) -> bytes:
    """Read an asset of a model's item, and check it.

    Parameters
    ----------
    item
        As of `read_item`.
    key
        Of the asset.

    Returns
    -------
    bytes
        Content whose checksum is the one in the item.

    Raises
    ------
    ModelError
        If the file is missing or changed.
    """
    asset = item.assets.get(key)
    file = "" if asset is None else asset_address(item, key)
    try:
        content = read_address(file)
    except (CatalogError, OSError) as error:
        raise ModelError(f"model {item.id!r}: asset {key!r} ({file}) is missing: publish the model again") from error
    if asset is None or multihash(sha256(content)) != asset.extra_fields.get("file:checksum"):
        raise ModelError(f"model {item.id!r}: {file} was changed after it was published: publish the model again")
    return content
