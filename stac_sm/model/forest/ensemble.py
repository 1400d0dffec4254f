"""Evaluate several boosters over the same columns, each by the fastest way that gives the bits of its learner.

`model.Model` predicts through it. Trees are packed into one forest, which is compared with the learners on a sample
before it is used; a booster that cannot be in it is left to its learner.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stac_sm.model.booster import WeightedBooster
from stac_sm.model.feature_matrix import feature_columns
from stac_sm.model.forest.forest import Forest
from stac_sm.model.forest.kernel_loader import KernelError, load_kernel
from stac_sm.model.forest.trees import FlatTrees, UnsuitableError
from stac_sm.model.learner import TreeLearner

if TYPE_CHECKING:
    import pandas as pd

_WORTH_IT = 50_000_000
"""Rows x trees after which a forest is worth its start-up: about as long as XGBoost takes for them, half a second."""

_LOCK = threading.Lock()  # the threads of a worker build one forest, not one each

_SAMPLE = 512


class Ensemble:
    """Boosters whose predictions of the same rows are asked for.

    Trees of plain regressions go through a `Forest` once there is work enough to pay for its start-up; all other
    boosters, and all before that, through their learners. The values are the same, bit by bit.
    """

    def __init__(self, members: Sequence[WeightedBooster]) -> None:
        self.members = tuple(members)
        """The boosters, in order."""

        self.reasons: dict[int, str] = {}
        """Why a booster, by its position, is left to its learner; known once the forest is built."""

        self._forest: Forest | None = None
        self._place: dict[int, int] = {}  # of a member in the forest
        self._built = False
        self._work = 0

    @property
    def features(self) -> tuple[str, ...]:
        """Names of all features, each once."""
        return tuple(dict.fromkeys(name for member in self.members for name in member.features))

    def predict(self, columns: Mapping[str, NDArray[Any]] | pd.DataFrame, count: int) -> list[NDArray[np.float32]]:
        """Return the predictions of the first boosters, without their weights.

        Parameters
        ----------
        columns
            1-D columns of one length, matched by name; NaN = missing. Rows that are alike should be neighbours: the
            order decides how fast it is, never what comes out.
        count
            Number of boosters, in the order of ``members``.

        Returns
        -------
        list of numpy.ndarray
            float32, shape (row,), for each booster.

        Raises
        ------
        ModelError
            If a feature is missing, or columns differ in length.
        """
        features = tuple(dict.fromkeys(name for member in self.members[:count] for name in member.features))
        rows = dict(zip(features, feature_columns(columns, features), strict=True))
        forest = self._ready(len(rows[features[0]]))
        if forest is None:
            return [member.predict(rows) for member in self.members[:count]]
        last = max((place for i, place in self._place.items() if i < count), default=-1)
        summed = forest.predict(rows, boosters=last + 1)
        return [
            summed[self._place[i]] if i in self._place else member.predict(rows)
            for i, member in enumerate(self.members[:count])
        ]

    def build(self) -> Forest | None:
        """Build the forest of all boosters that can be in one, and compare it with their learners on a sample.

        Returns
        -------
        Forest or None
            The forest, built once; None if no booster can be in one (`reasons` says why).
        """
        with _LOCK:
            if not self._built:
                self._forest = self._verified()
                self._built = True
        return self._forest

    def build_meanwhile(self, rows: int) -> threading.Thread | None:
        """Start to build the forest, if so many rows are worth it: in a thread, while their columns are being read.

        On a machine that has not compiled the kernels yet, that takes some seconds.

        Parameters
        ----------
        rows
            Rows that will be predicted at most.

        Returns
        -------
        threading.Thread or None
            None if the forest is there, or too few rows will be predicted.
        """
        if self._built or rows * sum(_tree_count(member) for member in self.members) < _WORTH_IT:
            return None
        thread = threading.Thread(target=self._build_quietly, name="forest")
        thread.start()
        return thread

    def _build_quietly(self) -> None:
        with contextlib.suppress(Exception):  # `predict` builds it again and raises the same
            self.build()

    def _ready(self, rows: int) -> Forest | None:
        if not self._built:
            trees = sum(_tree_count(member) for member in self.members)
            self._work += rows * max(trees, 1)
            if self._work < _WORTH_IT:
                return None
        return self.build()

    def _verified(self) -> Forest | None:
        grown = {}
        for i, member in enumerate(self.members):
            try:
                grown[i] = _flat_trees(member)
            except UnsuitableError as error:
                self.reasons[i] = str(error)
        if not grown:
            return None
        chosen = [self.members[i] for i in grown]
        try:
            forest = Forest.of(chosen, list(grown.values()))
            load_kernel()
        except (UnsuitableError, KernelError) as error:
            self.reasons |= dict.fromkeys(grown, str(error))
            return None
        if not _agrees(forest, chosen):
            libraries = " and ".join(dict.fromkeys(type(member.trained).framework for member in chosen))
            self.reasons |= dict.fromkeys(grown, f"its forest differs from {libraries}")
            warnings.warn(
                f"stac_sm.model.forest: found another prediction than that of {libraries} on a sample of rows; "
                f"{libraries} predicts instead, which is right but slower: please report this model and the version "
                f"of {libraries}",
                stacklevel=2,
            )
            return None
        self._place = {i: place for place, i in enumerate(grown)}
        return forest


def _tree_count(member: WeightedBooster) -> int:
    trained = member.trained
    return trained.tree_count if isinstance(trained, TreeLearner) else 1


def _flat_trees(member: WeightedBooster) -> FlatTrees:
    trained = member.trained
    if not isinstance(trained, TreeLearner):
        raise UnsuitableError(f"learner {member.learner}")
    return trained.flat_trees()


def _agrees(forest: Forest, members: Sequence[WeightedBooster]) -> bool:
    """Return whether a forest gives the bits of the learners on rows at, beside and far from its thresholds."""
    rng = np.random.default_rng(0)
    rows = {name: _trying(table.known, rng) for name, table in zip(forest.features, forest.tables, strict=True)}
    found = forest.predict(rows)
    return all(
        np.array_equal(one.view(np.uint32), member.predict(rows).view(np.uint32))
        for one, member in zip(found, members, strict=True)
    )


def _trying(thresholds: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return values that try a feature: its thresholds, their neighbours, extremes and missing ones."""
    extremes = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, np.nan, np.nan], np.float32)
    if not len(thresholds):
        return rng.choice(extremes, _SAMPLE)
    near = rng.choice(thresholds, _SAMPLE)
    with np.errstate(over="ignore"):
        below = np.nextafter(near, np.float32(-np.inf))
    kind = rng.integers(0, 8, _SAMPLE)
    return np.where(kind < 3, near, np.where(kind < 6, below, rng.choice(extremes, _SAMPLE)))
