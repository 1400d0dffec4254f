"""Train the boosters of a weighted sum: on the values, on site means, or on anomalies from them.

`fit` describes the parts (`BoosterSpec`) and adds up what is trained here. The same rows, settings and seed give the
same bytes, in whatever order the rows come and on any number of threads.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.core.arrays import Float64Array
from stac_sm.core.columns import Columns, instant_column, label_column
from stac_sm.model.booster import WeightedBooster
from stac_sm.model.learner import FitSettings
from stac_sm.model.learner_registry import DEFAULT_LEARNER, find_learner

SiteIndices = NDArray[np.intp]

NEIGHBOURHOOD_KM = 50.0
"""Sites much nearer than this share one weight."""

_EARTH_KM = 6371.0


class TrainingTarget(StrEnum):
    """What a booster is trained on."""

    LEVEL = "mean of the site"
    DEPARTURE = "departure from the mean of the site"
    WHOLE = "value"
    ROWS = "value, each row with one vote"


_LEARNS = {
    TrainingTarget.LEVEL: "mean of the site",
    TrainingTarget.DEPARTURE: "departure from the mean of the site",
    TrainingTarget.WHOLE: "value",
    TrainingTarget.ROWS: "value, each row with one vote",
}
"""What stands for each in a fingerprint, however it is worded for people."""


@dataclass(frozen=True)
class BoosterSpec:
    """One booster of a sum."""

    name: str
    """What it is called in the account of a training."""

    trained_on: TrainingTarget
    """What it is trained on."""

    features: tuple[str, ...]
    """Its features, in order."""

    rounds: int
    """Number of trees, or of forests."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    """As the learner names them."""

    learner: str = DEFAULT_LEARNER
    """Name of the learner that trains it; see `stac_sm.model.learner`."""

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return what identifies the settings of the part.

        Returns
        -------
        dict
            Name to value, JSON-able.
        """
        settings = {"name": self.name, "learns": _LEARNS[self.trained_on], "rounds": self.rounds, **self.parameters}
        return settings | ({} if self.learner == DEFAULT_LEARNER else {"learner": self.learner})


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Rows to learn from, in an order that only their values decide: by site, then by time."""

    features: pd.DataFrame
    """float32; NaN = missing."""

    target: Float64Array
    """Shape (row,), in the unit of the model, no gaps."""

    site: SiteIndices
    """Number of the site of each row, in the order of the names of the sites."""

    names: NDArray[Any]
    """Names of the sites, shape (site,)."""

    weight: Float64Array
    """Weight of each site, shape (site,): 1, shared among sites that lie side by side."""

    level: Float64Array
    """Mean of the target at each site, shape (site,)."""

    position: NDArray[np.intp]
    """Position of each row in the table that it is from."""

    @classmethod
    def of(
        cls,
        table: pd.DataFrame,
        features: Callable[[NDArray[np.intp]], pd.DataFrame],
        target: Float64Array,
        columns: Columns,
        most: int | None = None,
    ) -> TrainingRows:
        """Take the rows of a table that have a target: all of them, or so many, as `thinned` does.

        Parameters
        ----------
        table
            With the site, and the time and place where it has them.
        features
            Returns those of some positions in the table: float32; NaN = missing. Of most rows of a very long table
            they are never asked for.
        target
            Of each row; NaN = missing.
        columns
            Names of the columns of site, time and place.
        most
            Most rows; None: all. Means and weights of sites are those of all rows.

        Returns
        -------
        TrainingRows
            In canonical order.
        """
        known = np.flatnonzero(~np.isnan(target))
        part = table.iloc[known]
        site, names = pd.factorize(label_column(part, columns.site), sort=True)
        when = instant_column(part, columns.time).to_numpy() if columns.time in part else np.zeros(len(part))
        order = np.lexsort([target[known], when, site])
        same = (np.diff(site[order]) == 0) & (when[order][1:] == when[order][:-1])
        if same.any():  # rows of one site and time: their values decide
            order = np.lexsort([*features(known).to_numpy().T + np.float32(0), target[known], when, site])
        at, site = known[order], site[order].astype(np.intp)
        level = np.bincount(site, target[at]) / np.maximum(np.bincount(site), 1)
        weight = _site_weights(part, site, order, columns, len(names))
        kept = slice(None) if most is None else _spread_evenly(site, most)
        at, site = at[kept], site[kept]
        inside = features(at) + np.float32(0)  # adding 0 makes one of 0.0 and -0.0
        return cls(inside, target[at], site, np.asarray(names), weight, level, at)

    def at(self, rows: NDArray[np.intp]) -> TrainingRows:
        """Return some of the rows, in the same order; sites keep their numbers, means and weights."""
        return TrainingRows(
            self.features.iloc[rows].reset_index(drop=True), self.target[rows], self.site[rows], self.names,
            self.weight, self.level, self.position[rows],
        )  # fmt: skip

    def thinned(self, most: int) -> TrainingRows:
        """Return at most so many rows, shared alike among the sites and spread evenly over the rows of each."""
        return self.at(_spread_evenly(self.site, most))


def _spread_evenly(site: SiteIndices, most: int) -> NDArray[np.intp]:
    """Return positions of at most so many rows, which come by site, shared alike among the sites."""
    counts = np.bincount(site)
    first = np.cumsum(counts) - counts
    limit = np.maximum(1, most // max(1, int(np.count_nonzero(counts))))
    share = np.minimum(limit / np.maximum(counts, 1), 1)[site]
    rank = np.arange(len(site)) - first[site]
    return np.flatnonzero(np.floor((rank + 1) * share + 1e-9) > np.floor(rank * share + 1e-9))


def _site_weights(
    part: pd.DataFrame, site: SiteIndices, order: NDArray[np.intp], columns: Columns, sites: int
) -> Float64Array:
    """Return the weight of each site; 1 where the table does not say where all of them are."""
    at_place = [columns.lat, columns.lon]
    if not set(at_place) <= set(part.columns) or not sites:
        return np.ones(sites)
    places = part[at_place].astype(float).iloc[order].groupby(site).median().to_numpy()
    return np.ones(sites) if np.isnan(places).any() else site_sample_weights(places)


def site_sample_weights(places: Float64Array) -> Float64Array:
    """Return the weight of each site: 1, shared with the sites around it.

    The weight is 1 over the sum of ``exp(-(distance / 50 km)²)`` over all sites, itself included: a dense network does
    not count for more than the few pixels that it lies in.

    Parameters
    ----------
    places
        Latitude and longitude of each site, degrees, dims (site, 2).

    Returns
    -------
    numpy.ndarray
        Shape (site,), above 0 and up to 1.
    """
    lat, lon = np.radians(places).T
    points = _EARTH_KM * np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    around = [np.exp(-np.square(points - point).sum(axis=1) / NEIGHBOURHOOD_KM**2).sum() for point in points]
    return 1 / np.array(around)


def fit_boosters(
    rows: TrainingRows,
    parts: Sequence[BoosterSpec],
    seed: int,
    *,
    nthread: int = 0,
    device: str = "cpu",
    progress: Callable[[], None] = lambda: None,
) -> list[WeightedBooster]:
    """Train each part, with the weight 1.

    Parameters
    ----------
    rows
        Rows to train on.
    parts
        What is trained.
    seed
        Seed of the draws.
    nthread
        Boosters that are trained at once, each on one thread; 0: as many as there are cores. Does not change the bytes.
    device
        ``cpu`` or ``cuda``.
    progress
        Called after each booster, from several threads.

    Returns
    -------
    list of WeightedBooster
        In the order of the parts.
    """
    lessons = {target: _lesson(rows, target) for target in dict.fromkeys(part.trained_on for part in parts)}

    def trained(part: BoosterSpec) -> WeightedBooster:
        found = WeightedBooster.fresh(_trained(part, lessons[part.trained_on], seed, device))
        progress()
        return found

    with ThreadPoolExecutor(1 if device == "cuda" else nthread or os.cpu_count() or 1) as pool:
        return list(pool.map(trained, parts))


@dataclass(frozen=True, eq=False)
class _Lesson:
    """What a part is trained on."""

    features: pd.DataFrame
    sites: SiteIndices
    target: Float64Array
    weight: Float64Array


def _lesson(rows: TrainingRows, trained_on: TrainingTarget) -> _Lesson:
    """Return the rows as one kind of part is trained on them."""
    here, firsts, site, counts = np.unique(rows.site, return_index=True, return_inverse=True, return_counts=True)
    if trained_on is TrainingTarget.LEVEL:
        return _Lesson(rows.features.iloc[firsts], here, rows.level[here], rows.weight[here])
    by_site = (rows.weight[here] / counts)[site]
    if trained_on is TrainingTarget.DEPARTURE:
        return _Lesson(rows.features, rows.site, rows.target - rows.level[rows.site], by_site)
    alike = trained_on is TrainingTarget.ROWS
    return _Lesson(rows.features, rows.site, rows.target, np.ones(len(site)) if alike else by_site)


def _trained(part: BoosterSpec, lesson: _Lesson, seed: int, device: str) -> Any:
    weight = lesson.weight * (len(lesson.weight) / math.fsum(lesson.weight))  # a mean of 1, for min_child_weight
    start = math.fsum(lesson.target * weight) / len(weight)  # exact, whatever the machine adds up at once
    return find_learner(part.learner).fit(
        lesson.features[list(part.features)],
        lesson.target.astype(np.float32),
        None if part.trained_on is TrainingTarget.ROWS else weight.astype(np.float32),
        FitSettings(dict(part.parameters), part.rounds, start=start, seed=seed, nthread=1, device=device),
        groups=lesson.sites,
    )
