"""Area of applicability: where the features of a pixel are near those of the training data.

Training fits it on the training rows; prediction sets a quality flag where a pixel is outside. It is the dissimilarity
index of Meyer and Pebesma (2021, doi:10.1111/2041-210X.13650): the distance to the nearest training row, in features
that are standardised and weighted by their importance, over the mean distance between training rows. A pixel is outside
where its index is larger than the upper whisker of the index that the training rows have among the rows of other sites.

Millions of pixels are compared with up to some thousands of centres of training rows (k-means from rows that are far
apart), within a radius that is chosen so that inside and outside are those of the exact index. Coordinates are whole
numbers small enough for float32 to add up their products without rounding: chunks, threads and machines do not matter.
The distances are computed here on one thread, since a caller works on several blocks at once; those of scipy
(`cKDTree`, `pdist`) differ in their last digits and would change the checksum of every area.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stac_sm.core.arrays import Float32Array, Float64Array
from stac_sm.core.columns import require_columns
from stac_sm.core.errors import InputError, ModelError
from stac_sm.model.feature_matrix import feature_columns, feature_matrix
from stac_sm.model.holdout import hold_out

if TYPE_CHECKING:
    import pandas as pd

    from stac_sm.model.radius_search import FeatureScaling, Groups


_POINTS = 64  # of a group
_BATCH = 4096  # rows whose distances to a group of points stay in the cache
_ONE_THREAD = 1 << 18  # multiplications that OpenBLAS (0.3) does not share out: on a busy machine, a product of two
# threads takes a hundred times as long, since each small one waits for all of them


def point_groups(points: NDArray[Any]) -> list[NDArray[Any]]:
    """Return points in groups for `scalar_products`, in their order."""
    return [points[start : start + _POINTS] for start in range(0, len(points), _POINTS)]


def batches(rows: int) -> Iterator[slice]:
    """Yield slices of rows, a batch each."""
    return (slice(start, start + _BATCH) for start in range(0, rows, _BATCH))


def scalar_products(rows: Float32Array, points: Float32Array) -> Float32Array:
    """Return the scalar products of each row and each of a group of points, dims (row, point)."""
    turned = np.ascontiguousarray(points.T)
    size = max(1, _ONE_THREAD // max(1, points.size))
    whole = len(rows) // size * size
    found = np.empty((len(rows), len(points)), dtype=np.float32)
    np.matmul(rows[:whole].reshape(-1, size, rows.shape[1]), turned, out=found[:whole].reshape(-1, size, len(points)))
    np.matmul(rows[whole:], turned, out=found[whole:])
    return found


def nearest_points(rows: Float32Array, points: Float32Array) -> tuple[Float64Array, NDArray[np.intp]]:
    """Return the distance from each row to the nearest point, and which one that is."""
    lengths = np.square(rows).sum(axis=1)
    least, which = np.full(len(rows), np.inf, dtype=np.float32), np.zeros(len(rows), dtype=np.intp)
    for start in range(0, len(points), _POINTS):
        group = points[start : start + _POINTS]
        square = np.square(group).sum(axis=1)
        for part in batches(len(rows)):
            found = square - 2 * scalar_products(rows[part], group)
            at = found.argmin(axis=1)
            value = found[np.arange(len(found)), at]
            better = value < least[part]
            least[part] = np.where(better, value, least[part])
            which[part] = np.where(better, at + start, which[part])
    return np.sqrt(np.maximum(least + lengths, 0)).astype(float), which


def mean_distance(rows: Float32Array) -> float:
    """Return the mean distance between two rows."""
    lengths, total = np.square(rows).sum(axis=1), 0.0
    for start in range(0, len(rows), _POINTS):
        part = slice(start, start + _POINTS)
        square = lengths[:, None] + lengths[part] - 2 * scalar_products(rows, rows[part])
        total += float(np.sqrt(np.maximum(square, 0)).sum(dtype=float))
    return total / max(1, len(rows) * (len(rows) - 1))


def upper_whisker(distances: Float64Array) -> float:
    """Return the upper whisker of a box plot: the largest value that is no further from the box than 1.5 times its
    length."""
    low, high = np.quantile(distances, [0.25, 0.75])
    return float(distances[distances <= high + 1.5 * (high - low)].max())


def farthest_points(rows: Float32Array) -> Iterator[int]:
    """Return positions of rows, each the farthest from those before (Gonzalez 1985), from the middle outwards."""
    lengths = np.square(rows).sum(axis=1)
    at, least = int(lengths.argmin()), np.full(len(rows), np.inf, np.float32)
    for _ in range(len(rows)):
        yield at
        least = np.minimum(least, lengths + lengths[at] - 2 * np.einsum("ij,j->i", rows, rows[at]))
        at = int(least.argmax())


def k_means_centres(rows: Float32Array, points: Float32Array, steps: int) -> tuple[Float32Array, NDArray[np.intp]]:
    """Run some steps of k-means from given points; return the centres, those with most rows first, and their numbers of
    rows."""
    for _ in range(steps):
        which = nearest_points(rows, points)[1]
        count = np.maximum(np.bincount(which, minlength=len(points)), 1)
        sums = [np.bincount(which, column, minlength=len(points)) for column in rows.T]
        points = (np.column_stack(sums) / count[:, None]).astype(np.float32)
    used = np.bincount(nearest_points(rows, points)[1], minlength=len(points))
    order = np.argsort(-used, kind="stable")
    return points[order], used[order]


_LARGEST = 2000  # norm in steps of a point whose products float32 adds up exactly: 2 x 2000^2 + 2000^2 < 2^24
_SIZES = (250, 500, 1000, 2000, 4000)  # numbers of points that are tried, until the index agrees
_STEPS = 2  # of k-means
_AGREEMENT = 0.99  # with the exact index, on rows made up for it
_POOL = 50_000  # training rows among which points are chosen
_SAMPLE = 2_000  # rows for the mean distance, the threshold and the agreement
_FOLDS = 5
_MISSING = 1.0  # a missing value lies so many standard deviations from the mean, on an axis of its own


@dataclass(frozen=True)
class Applicability:
    """What the training rows of a model are like."""

    fingerprint_name: ClassVar[str] = "Applicability"
    """What stands for this part in the checksum of a model, whatever the class is called."""

    features: tuple[str, ...]
    """Features with any weight, in order."""

    centre: tuple[float, ...]
    """Mean of each feature."""

    steps: tuple[float, ...]
    """Steps in one unit of each feature: weight over standard deviation and step."""

    missing: tuple[int, ...]
    """Steps between a missing value and the mean of each feature."""

    points: tuple[tuple[int, ...], ...]
    """Centres of training rows, in steps; those of most rows come first. The last coordinates are those of the features
    that have gaps in training: the steps of `missing` times the share of rows with a gap."""

    gaps: tuple[int, ...]
    """Positions of the features that have gaps in training."""

    radius: int
    """Square of the largest distance in steps to a point that is still inside."""

    mean_distance: float
    """Mean distance in steps between training rows."""

    threshold: float
    """Largest index inside, for the exact index."""

    agreement: float
    """Share of made-up rows on which inside and outside are those of the exact index."""

    rows: int
    """Training rows that the points stand for."""

    def outside(self, columns: Mapping[str, NDArray[Any]] | pd.DataFrame) -> NDArray[np.bool_]:
        """Return whether rows lie outside the area of applicability.

        Parameters
        ----------
        columns
            1-D columns of one length, matched by name; NaN = missing.

        Returns
        -------
        numpy.ndarray
            bool, shape (n,).

        Raises
        ------
        ModelError
            If a feature is missing, or columns differ in length.
        """
        from stac_sm.model import radius_search  # here, since it loads what numba has compiled

        return radius_search.outside(feature_columns(columns, self.features), *self._near, float(self.radius))

    def dissimilarity(self, columns: Mapping[str, NDArray[Any]] | pd.DataFrame) -> Float32Array:
        """Compute the dissimilarity index of rows, against the chosen points: close to the exact one where that is
        large.

        Parameters
        ----------
        columns
            1-D columns of one length, matched by name; NaN = missing.

        Returns
        -------
        numpy.ndarray
            float32, shape (n,); never NaN. Far outside it is rounded.
        """
        wanted, square = self._placed(feature_matrix(columns, self.features))
        index = np.empty(len(wanted), dtype=np.float32)
        for part in batches(len(wanted)):
            largest = np.max([scalar_products(wanted[part], points).max(axis=1) for points in self._groups], axis=0)
            index[part] = np.sqrt(np.maximum(square[part] - largest, 0)) / np.float32(self.mean_distance)
        return index

    @cached_property
    def _near(self) -> tuple[FeatureScaling, Groups]:
        from stac_sm.model import radius_search

        axis = np.full(len(self.features), -1, dtype=np.int64)
        axis[list(self.gaps)] = len(self.features) + np.arange(len(self.gaps))
        centre, steps, missing = (np.array(part, np.float32) for part in (self.centre, self.steps, self.missing))
        return radius_search.FeatureScaling(centre, steps, missing, axis), radius_search.grouped(
            np.array(self.points, np.float32)
        )

    @cached_property
    def _groups(self) -> list[Float32Array]:
        """Points for the products: doubled, with the square of their length as a last column."""
        points = np.array(self.points, dtype=np.float32)
        return point_groups(np.column_stack([2 * points, -np.square(points).sum(axis=1)]))

    def _placed(self, values: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Return rows in steps, with a last column of ones, and the square of their length."""
        centre, steps, missing = (np.array(part, np.float32) for part in (self.centre, self.steps, self.missing))
        absent = np.isnan(values)
        with np.errstate(over="ignore"):  # an infinite value is far away, too
            wanted = np.rint((values - centre) * steps)
        far = np.float32(2 * _LARGEST)  # so that the square of what is too far is no infinity
        wanted = np.where(absent, np.float32(0), np.clip(wanted, -far, far))
        marks = np.where(absent, missing, np.float32(0))
        square = np.square(wanted).sum(axis=1) + np.square(marks).sum(axis=1)
        return np.column_stack([wanted, marks[:, list(self.gaps)], np.ones(len(wanted), np.float32)]), square

    def summary(self) -> dict[str, Any]:
        """Return what a reader of the model item should know.

        Returns
        -------
        dict
            Features, number of points, threshold, agreement and rows by name.
        """
        shown = {name: round(getattr(self, name), 4) for name in ("threshold", "agreement", "rows")}
        return {"features": list(self.features), "points": len(self.points)} | shown

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return what identifies the area: explicit names, so that renaming a field makes no result stale.

        Returns
        -------
        dict
            Values by name.
        """
        return {
            "features": self.features,
            "centre": self.centre,
            "steps": self.steps,
            "missing": self.missing,
            "points": self.points,
            "gaps": self.gaps,
            "radius": self.radius,
            "mean_distance": self.mean_distance,
            "threshold": self.threshold,
            "agreement": self.agreement,
            "rows": self.rows,
        }

    def to_json(self) -> bytes:
        """Return all of it as JSON; the same rows give the same bytes.

        Returns
        -------
        bytes
            UTF-8 text of one line.
        """
        return (json.dumps(self.fingerprint_fields()) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> Applicability:
        """Read what `to_json` gave.

        Parameters
        ----------
        content
            Bytes of JSON.

        Returns
        -------
        Applicability
            The area that was written.

        Raises
        ------
        ModelError
            If a field is missing, or lengths do not fit together.
        """
        try:
            found = json.loads(content)
            rows = tuple(tuple(map(int, row)) for row in found.pop("points"))
            found |= {name: tuple(found[name]) for name in ("features", "centre", "steps", "missing", "gaps")}
            made = cls(points=rows, **found)
            lengths = {len(made.features), len(made.centre), len(made.steps), len(made.missing)}
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"area of applicability: not complete ({error!r}): publish the model again") from error
        if len(lengths) != 1 or {len(row) for row in rows} != {len(made.features) + len(made.gaps)}:
            raise ModelError(
                "area of applicability: features and points of other lengths found: publish the model again"
            )
        return made

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the JSON, in hex."""
        return hashlib.sha256(self.to_json()).hexdigest()


def fit_applicability(
    table: pd.DataFrame,
    features: Sequence[str],
    importance: Mapping[str, float],
    sites: pd.Series[Any] | NDArray[Any] | Sequence[Any],
    *,
    seed: int = 0,
) -> Applicability:
    """Compute the area of applicability of a model.

    Parameters
    ----------
    table
        The rows that the model was trained on; NaN = missing. Their order does not matter.
    features
        Columns of the model.
    importance
        How much each feature counts, >= 0, in any unit: `Model.importance`. Those of weight 0, and those that are the
        same in all rows, are left out; where all are 0, all count the same.
    sites
        Site of each row: a row is compared with rows of other folds of sites, for the threshold.
    seed
        Of the folds and of the samples.

    Returns
    -------
    Applicability
        The same rows and seed give the same bytes.

    Raises
    ------
    InputError
        If a column is missing, no feature varies, or there is one site only.
    """
    require_columns(table, features, "the area of applicability")
    labels = np.asarray(sites).astype(str)
    raw = feature_matrix(table, features) + np.float32(0)
    order = np.lexsort([*raw.T[::-1], labels])
    space = _Space.of(raw[order], features, importance)
    rng = np.random.default_rng(seed)
    rows, where = space.rows, labels[order]
    sample = rng.permutation(len(rows))[:_SAMPLE]
    mean = mean_distance(rows[sample])
    threshold = upper_whisker(_held_out(rows, where, sample, seed)) / mean
    made_up = _made_up(raw[order], 2 * _SAMPLE, rng)
    inside = nearest_points(space.located(made_up), rows)[0] <= threshold * mean
    pool = rows[np.sort(rng.permutation(len(rows))[:_POOL])]
    return _compressed(space, pool, made_up[:, space.kept], inside, mean, threshold)


@dataclass(frozen=True)
class _Space:
    """Features that are standardised and weighted: the space of the exact index."""

    features: tuple[str, ...]
    kept: NDArray[np.intp]
    """Their positions among all features."""

    centre: Float32Array
    scale: Float32Array
    """Weight over standard deviation."""

    missing: Float32Array
    gaps: NDArray[np.intp]
    rows: Float32Array
    """Training rows, dims (row, coordinate)."""

    @classmethod
    def of(cls, raw: Float32Array, features: Sequence[str], importance: Mapping[str, float]) -> _Space:
        weight = np.array([float(importance.get(name, 0.0)) for name in features])
        weight = weight / weight.max() if weight.max() > 0 else np.ones(len(features))
        known = np.isfinite(raw)
        count = np.maximum(known.sum(axis=0), 1)
        centre = np.where(known, raw, 0).sum(axis=0, dtype=float) / count
        deviation = np.sqrt(np.where(known, (raw - centre) ** 2, 0).sum(axis=0) / count)
        kept = np.flatnonzero((weight > 0) & (deviation > 1e-9 * (1 + np.abs(centre))))
        if not kept.size:
            raise InputError(
                f"area of applicability: found {len(raw)} rows in which no feature varies ({', '.join(features)}); "
                "at least one is required: match up more sites and days"
            )
        names = tuple(features[int(i)] for i in kept)
        gaps = np.flatnonzero(~known[:, kept].all(axis=0))
        scale, missing = weight[kept] / deviation[kept], _MISSING * weight[kept]
        narrow, marks = scale.astype(np.float32), missing.astype(np.float32)
        empty = cls(names, kept, centre[kept].astype(np.float32), narrow, marks, gaps, raw[:0])
        return replace(empty, rows=empty.located(raw))

    def located(self, raw: Float32Array) -> Float32Array:
        """Return rows in this space; every feature may have gaps."""
        values = raw[:, self.kept]
        absent = np.isnan(values)
        places = np.where(absent, np.float32(0), (values - self.centre) * self.scale)
        return np.concatenate([places, np.where(absent, self.missing, np.float32(0))], axis=1)


def _held_out(rows: Float32Array, sites: NDArray[Any], sample: NDArray[np.intp], seed: int) -> Float64Array:
    """Return the distance from sampled rows to the nearest row of another fold of sites."""
    import pandas as pd

    chosen = np.zeros(len(rows), bool)
    chosen[sample] = True
    cut = hold_out(pd.DataFrame({"site": sites}), "site", folds=_FOLDS, seed=seed)
    parts = [nearest_points(rows[fold.test[chosen[fold.test]]], rows[fold.train])[0] for fold in cut]
    return np.concatenate(parts)


def _made_up(raw: Float32Array, count: int, rng: np.random.Generator) -> Float32Array:
    """Make rows at all distances from the training rows: on the way from one to a mixture of many, and beyond."""
    start = raw[rng.integers(len(raw), size=count)]
    mixture = np.column_stack([column[rng.integers(len(raw), size=count)] for column in raw.T])
    return np.asarray(start + rng.uniform(0, 1.5, (count, 1)).astype(np.float32) * (mixture - start))


def _compressed(
    space: _Space, pool: Float32Array, made_up: Float32Array, inside: NDArray[np.bool_], mean: float, threshold: float
) -> Applicability:
    """Return the fewest points whose inside agrees with the exact one, on rows that the radius was not chosen with."""
    reach = float(np.sqrt(np.square(space.rows).sum(axis=1).max())) + 1.5 * threshold * mean
    step = np.float32(reach / _LARGEST)
    steps, missing = space.scale / step, np.rint(space.missing / step)
    columns = [*range(len(space.features)), *(len(space.features) + space.gaps)]
    rows = np.unique(np.ascontiguousarray(pool[:, columns]) / step, axis=0)
    base = Applicability(
        features=space.features,
        centre=tuple(map(float, space.centre)),
        steps=tuple(map(float, steps)),
        missing=tuple(map(int, missing)),
        points=(),
        gaps=tuple(map(int, space.gaps)),
        radius=1,
        mean_distance=float(mean / step),
        threshold=threshold,
        agreement=0.0,
        rows=len(space.rows),
    )
    order, chosen = farthest_points(rows), list[int]()
    for size in _SIZES:
        chosen += islice(order, size - len(chosen))
        points = np.rint(k_means_centres(rows, rows[chosen], _STEPS)[0]).astype(int)
        area = _with_radius(replace(base, points=tuple(map(tuple, points.tolist()))), made_up, inside)
        if area.agreement >= _AGREEMENT or len(chosen) < size:
            break
    return area


def _with_radius(area: Applicability, made_up: Float32Array, inside: NDArray[np.bool_]) -> Applicability:
    """Return the area with the radius by which most of the first half of some rows are on their right side; the others
    judge it."""
    columns = dict(zip(area.features, made_up.T, strict=True))
    steps = np.rint(np.square(area.dissimilarity(columns).astype(float) * np.float32(area.mean_distance)))
    half = len(inside) // 2
    order = np.argsort(steps[:half], kind="stable")
    right = np.cumsum(np.where(inside[:half][order], 1, -1))
    radius = int(max(1, steps[:half][order][right.argmax()])) if right.max() > 0 else 1
    return replace(area, radius=radius, agreement=float(((steps <= radius) == inside)[half:].mean()))
