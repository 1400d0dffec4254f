"""Tuning: a small search of fixed size, inside the training rows only, on folds that never part a site."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.errors import InputError
from stac_sm.holdout import hold_out
from stac_sm.table import Columns, labels
from stac_sm.train import TrainSettings, fit

Wide = NDArray[np.float64]


@dataclass(frozen=True)
class Tuned:
    """What a search has found."""

    settings: TrainSettings
    """The best of the candidates; the first of equals."""

    errors: tuple[float, ...]
    """RMSE of each candidate at sites that it had not seen, each site with one vote, m3 m-3."""


def candidates(settings: TrainSettings) -> tuple[TrainSettings, ...]:
    """Settings that are tried: those given, and ones whose trees are shallower and leaves larger."""
    return (
        settings,
        replace(settings, max_depth=min(settings.max_depth, 4), min_child_weight=20.0, reg_lambda=5.0),
        replace(settings, max_depth=min(settings.max_depth, 3), min_child_weight=50.0, colsample=0.5, reg_lambda=5.0),
        replace(settings, max_depth=min(settings.max_depth, 2), min_child_weight=50.0, colsample=0.5, reg_lambda=20.0),
    )


def tune(
    table: pd.DataFrame,
    features: Sequence[str],
    among: Sequence[TrainSettings],
    *,
    folds: int = 5,
    seed: int = 0,
    columns: Columns | None = None,
) -> Tuned:
    """Choose settings by how well models do at sites that they have not seen.

    Parameters
    ----------
    table
        The training rows, and no others: held-out rows have no part in a choice.
    features
        As in `fit`.
    among
        Candidates, e.g. ``candidates(TrainSettings())``; as many fits as there are candidates times folds.
    folds, seed
        Of the cut by site.
    columns
        Names of the columns that are no features.

    Returns
    -------
    Tuned
        The same rows in any order, candidates and seed give the same choice.

    Raises
    ------
    InputError
        If there are no candidates, fewer than two sites, or `fit` refuses the table.
    """
    if not among:
        raise InputError("tuning: found no candidate; at least one wanted")
    columns = columns or Columns()
    taught = table[table[columns.target].notna()]
    cut = hold_out(taught, "site", folds=folds, seed=seed, columns=columns)
    errors = []
    for settings in among:
        predicted = np.full(len(taught), np.nan)
        for fold in cut:
            model = fit(taught.iloc[fold.train], features, settings=settings, columns=columns)
            predicted[fold.test] = model.predict(taught.iloc[fold.test])
        difference = predicted - taught[columns.target].to_numpy(float)
        errors.append(site_rmse(difference, labels(taught, columns.site).to_numpy()))
    return Tuned(among[int(np.argmin(errors))], tuple(errors))


def site_rmse(difference: Wide, sites: NDArray[np.object_]) -> float:
    """RMSE in which each site has one vote; exact, so that the order of rows does not matter."""
    _, site = np.unique(sites, return_inverse=True)
    weight = 1 / np.bincount(site)[site]
    return math.sqrt(math.fsum(weight * np.square(difference)) / math.fsum(weight))


def errors_of_sums(
    predicted: Sequence[Wide], observed: Wide, sites: NDArray[np.object_], among: Mapping[float, Sequence[float]]
) -> dict[float, float]:
    """RMSE at unseen sites of weighted sums of predictions.

    Parameters
    ----------
    predicted
        Of each part of the sum, for rows of sites that it has not seen.
    among
        Weights of the parts, by what the sum is called.
    """
    errors = {}
    for name, weights in among.items():
        total = np.sum([w * p for w, p in zip(weights, predicted, strict=True)], axis=0)
        errors[name] = site_rmse(total - observed, sites)
    return errors
