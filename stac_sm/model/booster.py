"""The members of a model: boosters with their weights, as bytes that name the learner which wrote them.

`model.Model` is the ordered sum of them; a model item holds their bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from stac_sm.core.arrays import Float32Array
from stac_sm.model.learner import Learner
from stac_sm.model.learner_registry import DEFAULT_LEARNER, find_learner

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class WeightedBooster:
    """One booster of an ordered sum."""

    weight: float
    """What its prediction is multiplied by."""

    features: tuple[str, ...]
    """Its features, in the order of its columns."""

    content: bytes
    """The booster as its learner writes it."""

    learner: str = DEFAULT_LEARNER
    """Name of the learner that wrote the bytes."""

    @classmethod
    def of(cls, trained: Learner, weight: float = 1.0) -> WeightedBooster:
        """Return a trained regression as a term of a sum.

        Parameters
        ----------
        trained
            What `Learner.fit` returned.
        weight
            What its prediction is multiplied by.

        Returns
        -------
        WeightedBooster
            With the bytes and the name of its learner.
        """
        return cls(float(weight), trained.features, trained.to_bytes(), trained.name)

    @classmethod
    def fresh(cls, trained: Learner) -> WeightedBooster:
        """Return what `Learner.fit` has just returned, with the weight 1: it predicts without being read back.

        To read a booster back takes a tenth of a training of few rows, and folds train hundreds.

        Parameters
        ----------
        trained
            It predicts the same bits as what `Learner.from_bytes` makes of its bytes.

        Returns
        -------
        WeightedBooster
            As of `of`.
        """
        found = cls.of(trained)
        vars(found)["trained"] = trained
        return found

    def weighing(self, weight: float) -> WeightedBooster:
        """Return the same booster with another weight; what was read of it is kept.

        Parameters
        ----------
        weight
            What its prediction is multiplied by.

        Returns
        -------
        WeightedBooster
            It shares bytes and learner with this one.
        """
        found = replace(self, weight=weight)
        if "trained" in vars(self):
            vars(found)["trained"] = self.trained
        return found

    @cached_property
    def trained(self) -> Learner:
        """The booster, ready to predict.

        Raises
        ------
        ModelError
            If there is no such learner, the bytes are none of its own, or it was not trained on ``features``.
        """
        return find_learner(self.learner).from_bytes(self.content, self.features)

    def predict(self, columns: Mapping[str, NDArray[Any]] | pd.DataFrame) -> Float32Array:
        """Return the prediction of this booster alone, without its weight.

        Parameters
        ----------
        columns
            1-D columns of one length, matched by name; NaN = missing.

        Returns
        -------
        numpy.ndarray
            float32, shape (row,), in the unit of the target.

        Raises
        ------
        ModelError
            If a feature is missing, or columns differ in length; or as `trained`.
        """
        return self.trained.predict(columns)

    def importance(self) -> dict[str, float]:
        """Return what each feature has added to the fit, without the weight.

        Returns
        -------
        dict
            As `Learner.importance` returns it.
        """
        return self.trained.importance()

    def learner_fields(self) -> dict[str, str]:
        """Return the name of the learner for items and fingerprints.

        Returns
        -------
        dict
            ``learner`` and its name; empty for XGBoost, which was the only one at first and is named in no item.
        """
        return {} if self.learner == DEFAULT_LEARNER else {"learner": self.learner}
