"""The best honest model of a bare table: a sum of unlike boosters, in which each neighbourhood of sites has one vote.

At a site that a model has not seen, the error of the mean of the site dominates. So one half of the sum is put together
from lines and trees of the means of sites (on what their features are like over the years) and a booster of the
departures from them; the other half are boosters of the values themselves. They err differently, and their sum errs
less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from stac_sm.site_statistics import DAY_OF_YEAR
from stac_sm.table_features import TableFeatures, names_of, numbers
from stac_sm.train import Learns, Part, SiteRows

SHARES = (0.6, 0.4, 0.8)
"""Shares of level + departure in the sum among which tuning chooses, the most trusted first; the rest is the boosters
of the values."""

_WITHIN: Mapping[str, float] = {"level: line": 2.0, "level: long line": 2.0}
"""Weights of parts among those that learn the same, where they are not 1."""

_SITE_LINE = {"booster": "gblinear"}
_SITE_TREES = {"reg_lambda": 5.0, "min_child_weight": 3.0}
_DAY_TREES = {"eta": 0.05, "subsample": 0.7, "reg_lambda": 5.0, "colsample_bytree": 0.2}


def parts_of(made: TableFeatures) -> tuple[Part, ...]:
    """Parts of the model of a table: one booster if it is plain, else those of the best one."""
    return plain_parts(made) if made.plain else best_parts(made)


def best_parts(made: TableFeatures) -> tuple[Part, ...]:
    """Parts of the best model."""
    robust, anomalies = made.of_a_site_robust, names_of([DAY_OF_YEAR, made.departures])
    return (
        Part("level: line", Learns.LEVEL, robust, 60, {**_SITE_LINE, "reg_lambda": 0.6}),
        Part(
            "level: long line", Learns.LEVEL, names_of([robust, made.of_a_site, made.swings]), 60,
            {**_SITE_LINE, "reg_lambda": 2.0},
        ),
        Part(
            "level: stumps", Learns.LEVEL, robust, 250,
            {**_SITE_TREES, "max_depth": 1, "eta": 0.03, "subsample": 0.6, "colsample_bytree": 0.4},
        ),
        Part(
            "level: forest", Learns.LEVEL, robust, 1,
            {"max_depth": 5, "eta": 1.0, "subsample": 0.63, "colsample_bynode": 0.3, "min_child_weight": 3.0,
             "reg_lambda": 0.0, "num_parallel_tree": 150},
        ),
        Part(
            "departure", Learns.DEPARTURE, names_of([anomalies, made.trails]), 300,
            {**_DAY_TREES, "max_depth": 4, "min_child_weight": 10.0},
        ),
        Part(
            "value: days and sites", Learns.WHOLE, names_of([made.of_a_day, made.departures, made.of_a_site]), 200,
            {**_DAY_TREES, "max_depth": 3},
        ),
        Part(
            "value: departures and sites", Learns.WHOLE,
            names_of([anomalies, made.of_a_site, robust, made.swings]), 300, {**_DAY_TREES, "max_depth": 2},
        ),
    )  # fmt: skip


def plain_parts(made: TableFeatures) -> tuple[Part, ...]:
    """The paper's one booster on the columns as they are; each row has one vote."""
    settings = {"max_depth": 6, "eta": 0.05, "subsample": 0.8, "colsample_bytree": 0.8}
    return (Part("plain", Learns.ROWS, (*made.given, *DAY_OF_YEAR), 400, settings),)


def sums_of(parts: Sequence[Part]) -> dict[str, dict[str, float]]:
    """Sums that tuning chooses among, by the share of level and departure."""
    if not any(part.learns in (Learns.LEVEL, Learns.DEPARTURE) for part in parts):
        return {"all": weights_of(parts, 0.0)}
    return {f"{share:g}": weights_of(parts, share) for share in SHARES}


def weights_of(parts: Sequence[Part], share: float) -> dict[str, float]:
    """Weight of each part: ``share`` for level and departure, the rest for the values; of each, the weights of its
    parts add up to that."""
    whole = {Learns.LEVEL: share, Learns.DEPARTURE: share, Learns.WHOLE: 1 - share, Learns.ROWS: 1 - share}
    own = {part.name: _WITHIN.get(part.name, 1.0) for part in parts}
    sums: dict[Any, float] = {kind: sum(own[part.name] for part in parts if part.learns is kind) for kind in Learns}
    return {part.name: whole[part.learns] * own[part.name] / sums[part.learns] for part in parts}


def rows_of(table: pd.DataFrame, made: TableFeatures) -> SiteRows:
    """Rows of a table that have a target; features come from all its rows."""
    target = numbers(table, made.columns.target)
    return SiteRows.of(table, made.build(table), target, made.columns, made.given)
