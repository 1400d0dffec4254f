"""Choose among sums of boosters by a search of fixed size, inside the training rows only, on folds of sites.

With tens of sites, a search that takes the smallest error takes what was lucky. So the sums stand in an order of
preference, and one further down is taken only where its error is less by more than two standard errors over sites.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.core.arrays import Float64Array
from stac_sm.core.columns import Columns
from stac_sm.model.base_learners import BoosterSpec, TrainingRows, TrainingTarget, fit_boosters
from stac_sm.model.booster import WeightedBooster
from stac_sm.model.fit import TrainSettings, fit, training_rows, tree_parameters
from stac_sm.model.model import Model

CandidateSums = Mapping[str, Mapping[str, float]]
"""Sums by name, the most trusted first: the weight of each part by its name, those of weight 0 left out."""

_FOLDS = 5
_SURE = 2.0  # standard errors; with 1, luck chose on simulated Earths, where the truth knew better
_MOST_ROWS = 50_000  # in a search: sites decide, and more rows of them say nothing new

_LINE = {"booster": "gblinear", "reg_lambda": 0.4}
_LEAST = 0.1  # penalty of a slope that days decide, where it is 1 for one that sites decide: those are few
_TREES = {"eta": 0.05, "subsample": 0.7, "colsample_bytree": 0.5, "reg_lambda": 5.0}
_LINE_AND_TREES, _TREES_AND_LINE, _AS_SET = "line and trees", "trees and line", "as set"


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search has found."""

    chosen: str
    """Name of the sum that is taken."""

    errors: Mapping[str, float]
    """RMSE of each sum at sites that it had not seen, each site with the same weight, m3 m-3; empty with too few sites,
    or where there was nothing to choose."""

    predicted: Float64Array | None
    """What the chosen sum says of each row, by parts that had not seen its site; None with too few sites, or where
    not all rows were tried."""


@dataclass(frozen=True, eq=False)
class TunedModel:
    """A model, and how it was chosen."""

    model: Model
    """The chosen sum."""

    chosen: str
    """What it is called."""

    errors: Mapping[str, float]
    """As in `SearchResult`."""


def tune(
    table: pd.DataFrame,
    features: Sequence[str],
    *,
    settings: TrainSettings | None = None,
    columns: Columns | None = None,
    chosen: str = "",
) -> TunedModel:
    """Train the sum of boosters that does best at sites that it has not seen.

    Parameters
    ----------
    table
        The training rows, and no others: held-out rows have no part in a choice. Rows without a target are left out.
    features
        As in `fit`.
    settings
        How the trees of the candidate ``as set`` grow; with ``tune=False`` that is the model, as `fit` makes it.
    columns
        Names of the columns that are no features.
    chosen
        Name of a sum that was chosen before: then nothing is searched.

    Returns
    -------
    Tuned
        The same rows in any order, settings and seed give the same bytes.

    Raises
    ------
    InputError
        If `fit` would refuse the table, or a row has no site or no day.
    """
    settings, columns = settings or TrainSettings(), columns or Columns()
    if not settings.tune:
        return TunedModel(fit(table, features, settings=settings, columns=columns), _AS_SET, {})
    rows, parts = training_rows(table, features, columns), recipe_booster_specs(features, settings)
    errors: Mapping[str, float] = {}
    if not chosen:
        found = search_sums(rows, parts, RECIPE_SUMS, settings.seed, most_rows=_MOST_ROWS)
        chosen, errors = found.chosen, found.errors
    return TunedModel(
        fit_sum(rows, parts, RECIPE_SUMS[chosen], settings.seed, nthread=settings.nthread), chosen, errors
    )


def recipe_booster_specs(features: Sequence[str], settings: TrainSettings) -> tuple[BoosterSpec, ...]:
    """Return boosters of the values of a recipe's features: a line, shallow trees, and trees as they are set."""
    names = tuple(features)
    return (
        BoosterSpec("line", TrainingTarget.WHOLE, names, 100, _LINE, _LEAST),
        BoosterSpec("stumps", TrainingTarget.WHOLE, names, 150, {**_TREES, "max_depth": 1}),
        BoosterSpec("pairs", TrainingTarget.WHOLE, names, 100, {**_TREES, "max_depth": 2, "min_child_weight": 20.0}),
        BoosterSpec("trees", TrainingTarget.ROWS, names, settings.n_estimators, tree_parameters(settings)),
    )


RECIPE_SUMS: CandidateSums = {
    _LINE_AND_TREES: {"line": 0.8, "stumps": 0.1, "pairs": 0.1},
    _TREES_AND_LINE: {"line": 0.3, "stumps": 0.35, "pairs": 0.35},
    _AS_SET: {"trees": 1.0},
}
"""What is tried for a recipe. A line goes on where there are no stations, and trees bend it."""


def search_sums(
    rows: TrainingRows, parts: Sequence[BoosterSpec], sums: CandidateSums, seed: int, *, most_rows: int | None = None
) -> SearchResult:
    """Find the best of some sums by their errors at sites that they have not seen.

    Parameters
    ----------
    rows
        To learn from.
    parts
        Of the sums; each is trained once in each of 5 folds.
    sums
        The most trusted first.
    seed
        Of the folds and of the draws of the boosters.
    most_rows
        Of more, every k-th is tried; None for all.
    """
    first, step = next(iter(sums)), max(1, -(-len(rows.target) // (most_rows or len(rows.target))))
    tried = rows if step == 1 else rows.at(np.arange(0, len(rows.target), step))
    held_out = _held_out(tried, parts, seed)
    if held_out is None:
        return SearchResult(first, {}, None)
    predicted = {name: weighted_sum(held_out, weights) for name, weights in sums.items()}
    errors = {name: site_mean_squared_errors(values - tried.target, tried.sites) for name, values in predicted.items()}
    chosen = choose_sum(errors)
    shown = {name: math.sqrt(math.fsum(one) / len(one)) for name, one in errors.items()} if len(sums) > 1 else {}
    return SearchResult(chosen, shown, predicted[chosen] if step == 1 else None)


def fit_sum(
    rows: TrainingRows, parts: Sequence[BoosterSpec], weights: Mapping[str, float], seed: int, *, nthread: int = 0
) -> Model:
    """Train the parts that have a weight on all rows, and return their sum.

    Parameters
    ----------
    rows
        Rows to train on.
    parts
        Boosters of the sum.
    weights
        Weight of each part by its name; one without a weight is not trained.
    seed
        Seed of the draws of the boosters.
    nthread
        Threads; 0: as many as pay for so many rows. Does not change the bytes.

    Returns
    -------
    Model
        The weighted sum, without recipe and intervals.
    """
    used = [part for part in parts if part.name in weights]
    return Model(_weighted(fit_boosters(rows, used, seed, nthread=nthread), [weights[part.name] for part in used]))


def weighted_sum(predicted: Mapping[str, Float64Array], weights: Mapping[str, float]) -> Float64Array:
    """Return the weighted sum of the predictions of parts, by name."""
    return np.asarray(np.sum([weight * predicted[name] for name, weight in weights.items()], axis=0))


def site_mean_squared_errors(difference: Float64Array, sites: NDArray[np.object_]) -> Float64Array:
    """Return the mean squared difference at each site, in the order of their names."""
    names, site = np.unique(sites, return_inverse=True)
    squares = np.square(difference)
    return np.array([math.fsum(squares[site == i]) / np.count_nonzero(site == i) for i in range(len(names))])


def choose_sum(errors: Mapping[str, Float64Array]) -> str:
    """Return the first, or the one that errs least where that is less by more than two standard errors over sites."""
    first, *_ = errors
    best = min(errors, key=lambda name: math.fsum(errors[name]))
    less = errors[first] - errors[best]
    return best if less.mean() > _SURE * less.std(ddof=1) / math.sqrt(len(less)) else first


def _held_out(rows: TrainingRows, parts: Sequence[BoosterSpec], seed: int) -> dict[str, Float64Array] | None:
    """Return the prediction of each part for sites that it has not seen; None with too few sites."""
    cut = rows.folds(_FOLDS, seed)
    if not cut:
        return None
    predicted = {part.name: np.full(len(rows.target), np.nan) for part in parts}
    for learned, unseen in cut:
        for part, member in zip(parts, fit_boosters(rows.at(learned), parts, seed), strict=True):
            predicted[part.name][unseen] = member.predict(rows.features.iloc[unseen])
    return predicted


def _weighted(members: Sequence[WeightedBooster], weights: Sequence[float]) -> tuple[WeightedBooster, ...]:
    return tuple(replace(member, weight=weight) for member, weight in zip(members, weights, strict=True))
