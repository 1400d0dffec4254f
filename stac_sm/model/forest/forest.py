"""A forest: the trees of one or more boosters over shared ranks, packed for the kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stac_sm.model.booster import WeightedBooster
from stac_sm.model.forest.kernel_loader import load_kernel
from stac_sm.model.forest.ranks import LEAF, MOST_THRESHOLDS, RankTable
from stac_sm.model.forest.trees import FlatTrees, UnsuitableError

SLAB = 65_536
"""Rows that are ranked before they are evaluated: four large blocks, whose codes stay in a cache."""

_PLANE = 254  # codes in a plane of the kernel


@dataclass(frozen=True)
class Forest:
    """Boosters whose predictions of the same rows are asked for."""

    features: tuple[str, ...]
    """Names of all features, each once."""

    tables: tuple[RankTable, ...]
    """How each feature becomes codes."""

    nodes: NDArray[np.uint64]
    """What a node asks for, its threshold as a code, its right child or value: as the kernel takes them."""

    roots: NDArray[np.int32]
    """Root of each tree of all boosters."""

    ends: NDArray[np.int32]
    """Number of trees up to the end of each booster."""

    reach: tuple[int, ...]
    """Number of features, from the first, that the boosters up to each one take."""

    splits_below: NDArray[np.int32]
    """Number of splits at thresholds below each code, dims (feature, code)."""

    base: NDArray[np.float32]
    """What the leaves of each booster are added to."""

    @classmethod
    def of(cls, members: Sequence[WeightedBooster], trees: Sequence[FlatTrees]) -> Forest:
        """Build the forest of boosters and their trees.

        Raises
        ------
        UnsuitableError
            If a feature has too many thresholds, or there are too many features.
        """
        features = tuple(dict.fromkeys(name for member in members for name in member.features))
        if 2 * len(features) >= LEAF:
            raise UnsuitableError(f"{len(features)} features")
        parts = [_named(part, member, features) for part, member in zip(trees, members, strict=True)]
        thresholds = [_thresholds(parts, feature) for feature in range(len(features))]
        sizes = [len(part.feature) for part in parts]
        starts = np.cumsum([0, *sizes])[:-1].astype(np.int32)
        coded = [_coded(part, thresholds) for part in parts]
        last = np.maximum.accumulate([max(map(features.index, member.features), default=-1) for member in members])
        return cls(
            features,
            tuple(RankTable.of(one) for one in thresholds),
            np.concatenate(coded),
            np.concatenate([part.roots + start for part, start in zip(parts, starts, strict=True)]),
            np.cumsum([len(part.roots) for part in parts]).astype(np.int32),
            tuple(int(place) + 1 for place in last),
            _splits_below(parts, thresholds),
            np.array([part.base for part in parts], np.float32),
        )

    def predict(self, columns: Mapping[str, NDArray[Any]], boosters: int | None = None) -> NDArray[np.float32]:
        """Return the prediction of the first boosters (default: of all) for each row: float32, dims (booster, row)."""
        count = len(self.ends) if boosters is None else boosters
        names, ends, kernel = self.features[: self.reach[count - 1]], self.ends[:count], load_kernel()
        parts = [np.ascontiguousarray(columns[name], np.float32) for name in names]
        rows = len(parts[0])
        found = np.empty((count, rows), np.float32)
        for start in range(0, rows, SLAB):
            slab = slice(start, min(start + SLAB, rows))
            size = slab.stop - start
            codes = np.zeros((len(self.features), size), np.uint16)
            for part, table, out in zip(parts, self.tables, codes, strict=False):  # later features are not asked for
                kernel.rank(part[slab], table.thresholds, table.first, table.low, table.scale, table.steps, out)
            order = np.empty(size, np.int32)
            arranged = bool(kernel.arrange(codes, self.splits_below, order))
            if arranged:
                in_order = np.empty_like(codes)
                kernel.take(codes, order, in_order)
                codes = in_order
            sums = np.repeat(self.base[:count, None], size, axis=1)
            kernel.evaluate(self.nodes, self.roots[: ends[-1]], ends, self._most_nodes, self._most_planes, codes, sums)
            found[:, start + order if arranged else slab] = sums
        return found

    @property
    def _most_nodes(self) -> int:
        """Nodes of the largest tree."""
        return int(np.diff(self.roots, append=len(self.nodes)).max()) if len(self.roots) else 1

    @property
    def _most_planes(self) -> int:
        """Planes that a block may need: for both readings of each feature."""
        return sum(2 * ((table.count + 1) // _PLANE + 1) for table in self.tables)


def _named(trees: FlatTrees, member: WeightedBooster, features: tuple[str, ...]) -> FlatTrees:
    """Return trees that ask for features by their place among all features."""
    place = np.array([*map(features.index, member.features), -1], np.int32)  # -1, a leaf, stays -1
    return FlatTrees(place[trees.feature], trees.threshold, trees.default_right, trees.right, trees.roots, trees.base)


def _thresholds(parts: Sequence[FlatTrees], feature: int) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.unique(np.concatenate([part.threshold[part.feature == feature] for part in parts]))
    if len(found) > MOST_THRESHOLDS:
        raise UnsuitableError(f"{len(found)} thresholds of one feature")
    return found


def _splits_below(parts: Sequence[FlatTrees], thresholds: Sequence[NDArray[np.float32]]) -> NDArray[np.int32]:
    """Number of splits at thresholds below each code of each feature."""
    below = np.zeros((len(thresholds), max(map(len, thresholds), default=0) + 2), np.int32)
    for feature, known in enumerate(thresholds):
        places = [np.searchsorted(known, part.threshold[part.feature == feature]) for part in parts]
        below[feature, 2:] = np.bincount(np.concatenate(places), minlength=below.shape[1] - 2)
    return np.cumsum(below, axis=1, dtype=np.int32)


def _coded(trees: FlatTrees, thresholds: Sequence[NDArray[np.float32]]) -> NDArray[np.uint64]:
    """Return nodes as the kernel takes them."""
    inner = trees.feature >= 0
    asks = np.where(inner, np.where(trees.default_right, trees.feature + len(thresholds), trees.feature), LEAF)
    code = np.zeros(len(inner), np.uint64)
    for feature, known in enumerate(thresholds):
        here = trees.feature == feature
        code[here] = np.searchsorted(known, trees.threshold[here]) + 1
    distance = (trees.right - np.arange(len(inner))).astype(np.uint64)
    rest = np.where(inner, code << np.uint64(32) | distance, trees.threshold.view(np.uint32).astype(np.uint64))
    nodes: NDArray[np.uint64] = asks.astype(np.uint64) << np.uint64(48) | rest
    return nodes
