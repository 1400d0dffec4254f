"""The interface of learners, which grow the regressions that a model is the weighted sum of.

Training calls `Learner.fit`, and the bytes of `Learner.to_bytes` are what a model item holds. A module with a class
that satisfies `Learner` is made known in `learner_registry`. Bytes that are read back must be data: never pickle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from stac_sm.core.arrays import Float32Array

if TYPE_CHECKING:
    import pandas as pd

    from stac_sm.model.forest.trees import FlatTrees

LearnerColumns: TypeAlias = "Mapping[str, NDArray[Any]] | pd.DataFrame"
"""1-D columns of one length by name; NaN = missing."""


@dataclass(frozen=True)
class FitSettings:
    """How a booster is trained."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    """As the learner names them."""

    rounds: int = 100
    """Number of trees, or of passes over the rows."""

    start: float | None = None
    """What is predicted before anything is learned, in the unit of the target, such as its mean; None leaves it to the
    learner, and one that has no such thing ignores it."""

    seed: int = 0
    """Of the draws of rows and features."""

    nthread: int = 1
    """Threads. Must not change what is learned."""

    device: str = "cpu"
    """Where it is trained, ``cpu`` or ``cuda``; a learner that knows one only ignores it."""


class Learner(Protocol):
    """A trained regression, and how one is trained and read back."""

    name: ClassVar[str]
    """What stands for the learner in model items and fingerprints, whatever its class is called."""

    media_type: ClassVar[str]
    """Media type of its bytes."""

    suffix: ClassVar[str]
    """Suffix of its files, e.g. ``.ubj``."""

    format_name: ClassVar[str]
    """What its bytes are, in words."""

    artifact_type: ClassVar[str]
    """``mlm:artifact_type`` of its files."""

    framework: ClassVar[str]
    """``mlm:framework`` of its models."""

    distribution: ClassVar[str]
    """Python distribution whose version is the ``mlm:framework_version``."""

    architecture: ClassVar[str]
    """``mlm:architecture`` of its models."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of its features, in order."""

    @classmethod
    def fit(
        cls,
        columns: LearnerColumns,
        target: Float32Array,
        sample_weight: Float32Array | None,
        settings: FitSettings,
        *,
        groups: NDArray[np.intp] | None = None,
    ) -> Learner:
        """Train on rows in the order given; the same rows and settings give the same bytes on any number of threads.

        Parameters
        ----------
        columns
            The features, in the order of the columns.
        target
            float32, shape (row,), no NaN.
        sample_weight
            float32, shape (row,), >= 0; None: all rows count the same.
        settings
            How it is trained.
        groups
            Number of the site of each row, from 0; a learner may ignore it.
        """

    @classmethod
    def from_bytes(cls, content: bytes, features: Sequence[str]) -> Learner:
        """Read what `to_bytes` gave.

        Raises
        ------
        ModelError
            If the bytes are damaged, or were trained on other features.
        """

    def predict(self, columns: LearnerColumns) -> Float32Array:
        """Return one value a row: float32, shape (row,), in the unit of the target.

        Raises
        ------
        ModelError
            If a feature is missing, or columns differ in length.
        """

    def to_bytes(self) -> bytes:
        """Return the regression as bytes; the same regression gives the same bytes.

        What `from_bytes` reads of them predicts the same bits: training predicts by what `fit` returned.
        """

    def importance(self) -> dict[str, float]:
        """Return what each feature has added to the fit, >= 0; features that were never used may be left out.

        The unit is that of a sum of squares of the target, so that boosters of one model can be added up.
        """


@runtime_checkable
class TreeLearner(Protocol):
    """A learner whose prediction is a sum of leaves, so that the compiled forest can evaluate it."""

    @property
    def tree_count(self) -> int:
        """Number of trees."""

    def flat_trees(self) -> FlatTrees:
        """Return the trees as flat arrays.

        Raises
        ------
        UnsuitableError
            If the forest cannot evaluate them: then `Learner.predict` is used.
        """


@runtime_checkable
class StagedLearner(Protocol):
    """A learner that can predict with the first of its rounds only, so that their number can be chosen."""

    def predict_stages(self, columns: LearnerColumns, rounds: Sequence[int]) -> Float32Array:
        """Return the prediction after each number of rounds.

        Parameters
        ----------
        columns
            As of `Learner.predict`.
        rounds
            Ascending numbers of rounds.

        Returns
        -------
        numpy.ndarray
            float32, dims (stage, row), in the unit of the target.
        """
