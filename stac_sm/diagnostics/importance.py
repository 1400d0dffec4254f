"""Permutation importance: what each feature is worth for rows that were held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from stac_sm.diagnostics.heldout import HeldOut, Values, generator
from stac_sm.diagnostics.records import Importance
from stac_sm.metrics import rmse


def judged(features: Sequence[str] | None, cut: HeldOut, rows: pd.DataFrame) -> list[str]:
    """Features to judge: those named, or those of the models that are columns."""
    if features is not None:
        return list(dict.fromkeys(features))
    return [name for name in dict.fromkeys(n for model in cut.models for n in model.features) if name in rows]


def permutation_importance(cut: HeldOut, names: Sequence[str], seed: int, repeats: int) -> Iterator[Importance]:
    """What each feature is worth under one strategy."""
    observed, base = cut.observed(), cut.predicted()
    whole = rmse(np.concatenate(base), np.concatenate(observed))
    alone = [rmse(p, o) for p, o in zip(base, observed, strict=True)]
    for name in names:
        drawn = [_shuffled(cut, name, seed, repeat) for repeat in range(repeats)]
        pooled = [rmse(np.concatenate(one), np.concatenate(observed)) for one in drawn]
        each = [np.mean([rmse(one[i], observed[i]) for one in drawn]) - alone[i] for i in range(len(alone))]
        yield Importance(name, cut.strategy, float(np.mean(pooled)) - whole, tuple(float(value) for value in each))


def _shuffled(cut: HeldOut, name: str, seed: int, repeat: int) -> list[Values]:
    """Predictions of every fold with one column shuffled among its rows."""
    found = []
    for i, (model, test) in enumerate(zip(cut.models, cut.tests, strict=True)):
        order = generator(seed, "permutation", cut.strategy, name, i, repeat).permutation(len(test))
        found.append(model.predict(test.assign(**{name: test[name].to_numpy()[order]})).astype(float))
    return found


def ranked(importance: Sequence[Importance]) -> tuple[Importance, ...]:
    """The most important at unseen sites first."""
    rank = {one.feature: one.increase for one in importance if one.strategy == "site"}
    return tuple(sorted(importance, key=lambda one: (-rank[one.feature], one.feature, one.strategy != "site")))
