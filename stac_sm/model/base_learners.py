"""Train the parts of a sum of boosters by site: on site means, on anomalies from them, or on the values.

`tuning` and `tabular` describe the parts (`BoosterSpec`) and add up what is trained here. The same rows, settings and
seed give the same bytes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.core.arrays import Float64Array
from stac_sm.core.columns import Columns, day_column, label_column
from stac_sm.model.booster import WeightedBooster
from stac_sm.model.holdout import hold_out
from stac_sm.model.learner import FitSettings
from stac_sm.model.learner_registry import DEFAULT_LEARNER, find_learner

SiteIndices = NDArray[np.intp]

NEIGHBOURHOOD_KM = 50.0
"""Sites much nearer than this share one weight."""

_EARTH_KM = 6371.0
_FEWEST_SITES = 2  # for folds
_ROWS_PER_THREAD = 50_000  # below, a second thread gains little, and on a busy machine it costs tenfold (spinning)


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
    """Number of trees, or of forests; of a line, passes over the features."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    """As the learner names them; to XGBoost, ``booster="gblinear"`` is a line on normal scores."""

    least_penalty: float = 1.0
    """Of a line, the least penalty of a slope; see `normal_scores.penalty_scales`."""

    residual_of: str = ""
    """Name of an earlier part of weight 1: this one is trained on what that leaves over."""

    prior_weight: float = 0.0
    """Of a line, the weight of a prior of zero slopes (ridge): it counts the more, the less the sites weigh."""

    learner: str = DEFAULT_LEARNER
    """Name of the learner that trains it; see `stac_sm.model.learner`."""

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return what identifies the settings of the part, by name."""
        settings = {"name": self.name, "learns": _LEARNS[self.trained_on], "rounds": self.rounds, **self.parameters}
        settings |= {} if self.least_penalty == 1 else {"least": self.least_penalty}
        settings |= {} if self.prior_weight == 0 else {"prior": self.prior_weight}
        settings |= {} if self.learner == DEFAULT_LEARNER else {"learner": self.learner}
        return settings | ({"beyond": self.residual_of} if self.residual_of else {})

    def describe(self) -> dict[str, Any]:
        """Return the settings, JSON-able."""
        return self.fingerprint_fields()


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Rows to learn from, in an order that only their values decide: by site, then by day."""

    features: pd.DataFrame
    """float32; NaN = missing."""

    target: Float64Array
    """m3 m-3, no gaps."""

    sites: NDArray[Any]
    """Site of each row."""

    places: NDArray[np.float64] | None
    """Latitude and longitude of each row, degrees; None where the table does not say."""

    @classmethod
    def of(
        cls, table: pd.DataFrame, features: pd.DataFrame, target: Float64Array, columns: Columns, keys: Sequence[str]
    ) -> TrainingRows:
        """Take the rows of a table that have a target.

        Parameters
        ----------
        features
            Of each row of the table.
        keys
            Those of the features that tell rows of one site and day apart.
        """
        sites, when = label_column(table, columns.site).to_numpy(), day_column(table, columns.time).to_numpy()
        at_place = [columns.lat, columns.lon]
        places = table[at_place].to_numpy(float) if set(at_place) <= set(table.columns) else None
        known = np.flatnonzero(~np.isnan(target))
        order = [*features[list(keys)].to_numpy()[known].T, target[known], when[known], sites[known]]
        at = known[np.lexsort(order)]
        inside = features.iloc[at].reset_index(drop=True) + np.float32(0)  # adding 0 makes one of 0.0 and -0.0
        return cls(inside, target[at], sites[at], None if places is None else places[at])

    def at(self, rows: NDArray[np.intp]) -> TrainingRows:
        """Return some of the rows, in the same order."""
        places = None if self.places is None else self.places[rows]
        return TrainingRows(
            self.features.iloc[rows].reset_index(drop=True), self.target[rows], self.sites[rows], places
        )

    def folds(self, count: int, seed: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Return rows to train on and rows held out, sites never split; none where there are too few sites."""
        if len(set(self.sites)) < _FEWEST_SITES:
            return []
        cut = hold_out(pd.DataFrame({"site": self.sites}), "site", folds=count, seed=seed)
        return [(fold.train, fold.test) for fold in cut]


def fit_boosters(
    rows: TrainingRows, parts: Sequence[BoosterSpec], seed: int, *, nthread: int = 0
) -> list[WeightedBooster]:
    """Train each part on its own, or on what an earlier one leaves over, with the weight 1; same rows and seed, same
    bytes on any number of threads."""
    taught, members = _lessons(rows), dict[str, WeightedBooster]()
    for part in parts:
        lesson = taught[part.trained_on]
        target, threads = lesson.target, nthread or threads_of(len(lesson.target))
        if part.residual_of:
            before = members[part.residual_of]
            target = target - before.predict(lesson.features)
        members[part.name] = _grown(part, lesson, target, seed, threads)
    return list(members.values())


@dataclass(frozen=True, eq=False)
class _Lesson:
    """What a part is trained on."""

    features: pd.DataFrame
    sites: SiteIndices
    target: Float64Array
    weight: Float64Array


def _lessons(rows: TrainingRows) -> dict[TrainingTarget, _Lesson]:
    """Return the rows as each kind of part is trained on them."""
    _, site, counts = np.unique(rows.sites, return_inverse=True, return_counts=True)
    level = np.array([math.fsum(one) / len(one) for one in _by_site(rows.target, site)])
    votes, firsts = site_sample_weights(rows, site), np.searchsorted(site, np.arange(len(counts)))
    return {
        TrainingTarget.LEVEL: _Lesson(rows.features.iloc[firsts], np.arange(len(counts)), level, votes),
        # sites side by side share a level, but not what a day does to them: there each has a weight of its own
        TrainingTarget.DEPARTURE: _Lesson(rows.features, site, rows.target - level[site], (1 / counts)[site]),
        TrainingTarget.WHOLE: _Lesson(rows.features, site, rows.target, (votes / counts)[site]),
        TrainingTarget.ROWS: _Lesson(rows.features, site, rows.target, np.ones(len(site))),
    }


def site_sample_weights(rows: TrainingRows, site: SiteIndices) -> Float64Array:
    """Return the weight of each site: 1, shared with the sites around it where the table says where they are.

    Parameters
    ----------
    site
        Number of the site of each row, from 0.
    """
    count = int(site.max()) + 1
    if rows.places is None or np.isnan(rows.places).any():
        return np.ones(count)
    lat, lon = np.radians([np.median(one, axis=0) for one in _by_site(rows.places, site)]).T
    points = _EARTH_KM * np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    around = np.zeros(count)
    for i, point in enumerate(points):
        around[i] = np.exp(-np.square(points - point).sum(axis=1) / NEIGHBOURHOOD_KM**2).sum()
    return 1 / around


def _by_site(values: Float64Array, site: SiteIndices) -> list[Float64Array]:
    """Yield the values of each site, of rows in the order of their sites."""
    return np.split(values, np.flatnonzero(np.diff(site)) + 1)


def _grown(part: BoosterSpec, lesson: _Lesson, target: Float64Array, seed: int, nthread: int) -> WeightedBooster:
    votes = math.fsum(lesson.weight)
    weight = lesson.weight * (len(lesson.weight) / votes)  # a mean of 1, as the least weight of a leaf supposes
    start = math.fsum(target * weight) / len(weight)
    parameters = dict(part.parameters)
    parameters |= {"reg_lambda": part.prior_weight / votes} if part.prior_weight else {}
    parameters |= {"least_penalty": part.least_penalty} if part.least_penalty != 1 else {}
    trained = find_learner(part.learner).fit(
        lesson.features[list(part.features)],
        target.astype(np.float32),
        weight.astype(np.float32),
        FitSettings(parameters, part.rounds, start=start, seed=seed, nthread=nthread),
        groups=lesson.sites,
    )
    return WeightedBooster.of(trained)


def threads_of(rows: int) -> int:
    """Return the number of threads that pay for so many rows."""
    return min(os.cpu_count() or 1, 1 + rows // _ROWS_PER_THREAD)
