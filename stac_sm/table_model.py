"""The best honest model of a bare table: a sum of unlike boosters, in which each neighbourhood of sites has one vote.

At a site that a model has not seen, the error of the mean of the site dominates. So one half of the sum is put together
from boosters of the means of sites (on what their features are like over the years) and a booster of the departures
from them; the other half are boosters of the values themselves. They err differently, and their sum errs less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.booster import Member, grow, matrix
from stac_sm.holdout import hold_out
from stac_sm.site_statistics import DAY_OF_YEAR
from stac_sm.table import days, labels
from stac_sm.table_features import TableFeatures, names_of, numbers

Floats = NDArray[np.float32]
Wide = NDArray[np.float64]
Sites = NDArray[np.intp]

NEIGHBOURHOOD_KM = 50.0
"""Sites much nearer than this share one vote."""

SHARES = (0.3, 0.5, 0.7)
"""Shares of level + departure in the sum among which tuning chooses; the rest is the boosters of the values."""

_EARTH_KM = 6371.0
_FEWEST_SITES = 2  # for folds


class Learns(StrEnum):
    """What a booster is trained on."""

    LEVEL = "mean of the site"
    DEPARTURE = "departure from the mean of the site"
    WHOLE = "value"


@dataclass(frozen=True)
class Part:
    """One booster of a sum."""

    name: str
    """What it is called in the account of a training."""

    learns: Learns
    """What it is trained on."""

    features: Callable[[TableFeatures], tuple[str, ...]]
    """Its features among those of a table."""

    rounds: int
    """Number of trees, or of forests."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    """As XGBoost names them."""

    def describe(self) -> dict[str, Any]:
        """Its settings, JSON-able."""
        return {"name": self.name, "learns": str(self.learns), "rounds": self.rounds, **self.parameters}


_SITE_TREES = {"reg_lambda": 5.0, "min_child_weight": 3.0}
_DAY_TREES = {"eta": 0.05, "subsample": 0.7, "reg_lambda": 5.0, "colsample_bytree": 0.2}

BEST = (
    Part(
        "level: stumps", Learns.LEVEL, lambda f: f.of_a_site_robust, 250,
        {**_SITE_TREES, "max_depth": 1, "eta": 0.03, "subsample": 0.6, "colsample_bytree": 0.4},
    ),
    Part(
        "level: forest", Learns.LEVEL, lambda f: f.of_a_site_robust, 1,
        {"max_depth": 5, "eta": 1.0, "subsample": 0.63, "colsample_bynode": 0.3, "min_child_weight": 3.0,
         "reg_lambda": 0.0, "num_parallel_tree": 150},
    ),
    Part(
        "departure", Learns.DEPARTURE, lambda f: names_of([DAY_OF_YEAR, f.departures, f.trails]), 300,
        {**_DAY_TREES, "max_depth": 4, "min_child_weight": 10.0},
    ),
    Part(
        "value: days and sites", Learns.WHOLE, lambda f: names_of([f.of_a_day, f.departures, f.of_a_site]), 200,
        {**_DAY_TREES, "max_depth": 3},
    ),
    Part(
        "value: departures and sites", Learns.WHOLE,
        lambda f: names_of([DAY_OF_YEAR, f.departures, f.of_a_site, f.of_a_site_robust, f.swings]), 300,
        {**_DAY_TREES, "max_depth": 2},
    ),
)  # fmt: skip
"""Parts of the best model."""

PLAIN = (
    Part(
        "plain", Learns.WHOLE, lambda f: (*f.given, *DAY_OF_YEAR), 400,
        {"max_depth": 6, "eta": 0.05, "subsample": 0.8, "colsample_bytree": 0.8},
    ),
)  # fmt: skip
"""The paper's one booster on the columns as they are; each row has one vote."""


@dataclass(frozen=True, eq=False)
class SiteRows:
    """Rows to learn from, in an order that only their values decide."""

    features: pd.DataFrame
    """float32; NaN = missing."""

    target: Wide
    """m3 m-3, no gaps."""

    sites: NDArray[Any]
    """Site of each row."""

    places: NDArray[np.float64] | None
    """Latitude and longitude of each row, degrees; None where the table does not say."""

    @classmethod
    def of(cls, table: pd.DataFrame, made: TableFeatures) -> SiteRows:
        """Rows of a table that have a target; features come from all its rows."""
        features, columns = made.build(table), made.columns
        target = numbers(table, columns.target)
        sites, when = labels(table, columns.site).to_numpy(), days(table, columns.time).to_numpy()
        at_place = [columns.lat, columns.lon]
        places = table[at_place].to_numpy(float) if set(at_place) <= set(table.columns) else None
        known = np.flatnonzero(~np.isnan(target))
        keys = [*features[list(made.given)].to_numpy()[known].T, target[known], when[known], sites[known]]
        at = known[np.lexsort(keys)]
        inside = features.iloc[at].reset_index(drop=True) + np.float32(0)  # adding 0 makes one of 0.0 and -0.0
        return cls(inside, target[at], sites[at], None if places is None else places[at])

    def at(self, rows: NDArray[np.intp]) -> SiteRows:
        """Some of the rows, in the same order."""
        places = None if self.places is None else self.places[rows]
        return SiteRows(self.features.iloc[rows].reset_index(drop=True), self.target[rows], self.sites[rows], places)

    def folds(self, count: int, seed: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Rows to learn from and rows held out, sites never parted; none where there are too few sites."""
        if len(set(self.sites)) < _FEWEST_SITES:
            return []
        cut = hold_out(pd.DataFrame({"site": self.sites}), "site", folds=count, seed=seed)
        return [(fold.train, fold.test) for fold in cut]


def fit_parts(rows: SiteRows, parts: Sequence[Part], made: TableFeatures, seed: int) -> list[Member]:
    """Train each part on its own, with the weight 1; same rows and seed, same bytes."""
    _, site, counts = np.unique(rows.sites, return_inverse=True, return_counts=True)
    level = np.array([math.fsum(one) / len(one) for one in _by_site(rows.target, site)])
    votes = site_votes(rows, site)
    taught = {
        Learns.LEVEL: (level, votes),
        # sites side by side share a level, but not what a day does to them: there each has a vote of its own
        Learns.DEPARTURE: (rows.target - level[site], (1 / counts)[site]),
        Learns.WHOLE: (rows.target, np.ones(len(site)) if made.plain else (votes / counts)[site]),
    }
    firsts = np.searchsorted(site, np.arange(len(counts)))
    members = []
    for part in parts:
        wanted, (target, weight) = part.features(made), taught[part.learns]
        features = rows.features.iloc[firsts] if part.learns is Learns.LEVEL else rows.features
        members.append(_grown(part, matrix(features, wanted), target, weight, wanted, seed))
    return members


def site_votes(rows: SiteRows, site: Sites) -> Wide:
    """Vote of each site: 1, shared with the sites around it where the table says where they are.

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


def shares(parts: Sequence[Part], share: float) -> list[float]:
    """Weight of each part: ``share`` for level and departure, the rest for the values; a lone part has all of it."""
    counts = {kind: sum(part.learns is kind for part in parts) for kind in Learns}
    if len(parts) == counts[Learns.WHOLE]:
        share = 0.0
    whole = {Learns.LEVEL: share, Learns.DEPARTURE: share, Learns.WHOLE: 1 - share}
    return [whole[part.learns] / counts[part.learns] for part in parts]


def weighted(members: Sequence[Member], weights: Sequence[float]) -> tuple[Member, ...]:
    """Members of a sum with these weights."""
    return tuple(replace(member, weight=weight) for member, weight in zip(members, weights, strict=True))


def _by_site(values: Wide, site: Sites) -> list[Wide]:
    """Values of each site, of rows in the order of their sites."""
    return np.split(values, np.flatnonzero(np.diff(site)) + 1)


def _grown(part: Part, values: Floats, target: Wide, weight: Wide, features: Sequence[str], seed: int) -> Member:
    weight = weight * (len(weight) / math.fsum(weight))  # a mean of 1, as the least weight of a leaf supposes
    start = math.fsum(target * weight) / len(weight)
    parameters = {"objective": "reg:squarederror", **part.parameters, "base_score": start, "seed": seed}
    return grow(values, target.astype(np.float32), weight.astype(np.float32), features, parameters, part.rounds)
