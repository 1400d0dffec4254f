"""The best honest model of a bare table: a line through the means of sites, and boosters of what it leaves over.

At a site that a model has not seen, the error of the mean of the site dominates, and tens of sites teach few things
well. So the first line has only what the columns that are always there say of a site; what may be missing comes second
and corrects it: a site without those columns keeps the first line's answer, where one line on all would take its gaps
for typical values. Days are departures from the mean of the site. A booster of the values themselves, on the first line
too, errs otherwise than those, and the sum errs less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from stac_sm.site_parts import Learns, Part, SiteRows
from stac_sm.site_statistics import DAY_OF_YEAR
from stac_sm.table_features import TableFeatures, names_of, numbers

SHARES = (0.7, 0.4, 0.9)
"""Shares of level + departure in what stands on the first line, among which tuning chooses, the most trusted first;
the rest is the booster of the values."""

_FIRST = "level: what is always there"
_SLOPE = 1.2  # votes for a slope of nil, times the features: what is known beforehand does not grow with their number
_DAY_TREES = {"eta": 0.05, "subsample": 0.7, "reg_lambda": 5.0, "colsample_bytree": 0.2}


def parts_of(made: TableFeatures) -> tuple[Part, ...]:
    """Parts of the model of a table: one booster if it is plain, else those of the best one."""
    return plain_parts(made) if made.plain else best_parts(made)


def best_parts(made: TableFeatures) -> tuple[Part, ...]:
    """Parts of the best model; all but the departures stand on the first line."""
    first, anomalies = made.of_a_site_complete, names_of([DAY_OF_YEAR, made.departures])
    rest = tuple(name for name in made.of_a_site_robust if name not in first)
    lines = (_line(_FIRST, first), *([replace(_line("level: the rest", rest), beyond=_FIRST)] if rest else []))
    return (
        *lines,
        Part(
            "departure", Learns.DEPARTURE, names_of([anomalies, made.trails]), 300,
            {**_DAY_TREES, "max_depth": 4, "min_child_weight": 10.0},
        ),
        Part(
            "value", Learns.WHOLE,
            names_of([anomalies, made.of_a_site, made.of_a_site_robust, made.swings]), 300,
            {**_DAY_TREES, "max_depth": 2}, beyond=_FIRST,
        ),
    )  # fmt: skip


def _line(name: str, features: tuple[str, ...]) -> Part:
    """A line through the means of sites."""
    return Part(name, Learns.LEVEL, features, 60, {"booster": "gblinear"}, prior=_SLOPE * len(features))


def plain_parts(made: TableFeatures) -> tuple[Part, ...]:
    """The paper's one booster on the columns as they are; each row has one vote."""
    settings = {"max_depth": 6, "eta": 0.05, "subsample": 0.8, "colsample_bytree": 0.8}
    return (Part("plain", Learns.ROWS, (*made.given, *DAY_OF_YEAR), 400, settings),)


def sums_of(parts: Sequence[Part]) -> dict[str, dict[str, float]]:
    """Sums that tuning chooses among, by the share of level and departure."""
    if not any(part.beyond for part in parts):
        return {"all": {part.name: 1.0 for part in parts}}
    return {f"{share:g}": weights_of(parts, share) for share in SHARES}


def weights_of(parts: Sequence[Part], share: float) -> dict[str, float]:
    """Weight of each part: 1 of the one that others stand on, ``share`` for level and departure, the rest for the
    values."""
    stood_on = {part.beyond for part in parts}
    weights = {part.name: 1 - share if part.learns is Learns.WHOLE else share for part in parts}
    return {name: 1.0 if name in stood_on else weight for name, weight in weights.items()}


def rows_of(table: pd.DataFrame, made: TableFeatures) -> SiteRows:
    """Rows of a table that have a target; features come from all its rows."""
    target = numbers(table, made.columns.target)
    return SiteRows.of(table, made.build(table), target, made.columns, made.given)
