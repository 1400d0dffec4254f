"""Models of folds beside the rows that they have not seen, and the diagnostics that work on them.

Permutation importance is the increase of RMSE when a feature is shuffled among the rows held out. The learning curve
scores models of more and more sites at sites that none of them has seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stac_sm.core.arrays import Float64Array
from stac_sm.core.columns import Columns, day_column, label_column
from stac_sm.core.errors import StacSmError
from stac_sm.core.metrics import agreement_scores, rmse
from stac_sm.model.diagnostics.results import CurvePoint, DiagnosticsBudget, PermutationImportance, StrategyGap
from stac_sm.model.evaluate import Fitter, Predictor
from stac_sm.model.holdout import hold_out


@dataclass(frozen=True, eq=False)
class FoldModels:
    """Models of the folds of one strategy, with the rows that each has not seen."""

    strategy: str
    """What was held out."""

    models: list[Predictor]
    """One per fold."""

    trains: list[pd.DataFrame]
    """Rows that each was trained on."""

    tests: list[pd.DataFrame]
    """Rows that each has not seen."""

    target: str
    """Column of the observations."""

    def predicted(self) -> list[Float64Array]:
        """Return predictions of the rows held out, by fold; unit of the target."""
        return [model.predict(test).astype(float) for model, test in zip(self.models, self.tests, strict=True)]

    def observed(self) -> list[Float64Array]:
        """Return observations of the same rows."""
        return [test[self.target].to_numpy(dtype=float) for test in self.tests]

    def error(self) -> float:
        """Return the RMSE over all folds."""
        return rmse(np.concatenate(self.predicted()), np.concatenate(self.observed()))


def thin_rows(table: pd.DataFrame, columns: Columns, most: int, notes: list[str]) -> pd.DataFrame:
    """Return the rows with a target, in order of site and day; every k-th of each site if there are too many."""
    rows = table[table[columns.target].notna()]
    order = pd.DataFrame({"site": label_column(rows, columns.site), "date": day_column(rows, columns.time)})
    order = order.reset_index(drop=True).sort_values(["site", "date"], kind="stable")
    step = max(1, -(-len(rows) // most))
    if step > 1:
        order = order[order.groupby("site").cumcount() % step == 0]
        share = f"on {len(order)} of {len(rows)} rows (one in {step} of each site), with fewer rounds"
        what = "learning curve, permutation importance and check of predictors train models of their own"
        notes.append(f"{what} {share}: their errors are larger than the model's")
    return rows.iloc[order.index.to_numpy()].reset_index(drop=True)


def train_folds(
    rows: pd.DataFrame,
    strategy: str,
    fitter: Fitter,
    seed: int,
    columns: Columns,
    budget: DiagnosticsBudget,
    notes: list[str],
) -> FoldModels | None:
    """Train a model for each fold; None and a note where the table does not allow it."""
    try:
        cut = hold_out(rows, strategy, folds=budget.folds, seed=seed, columns=columns)
        trains, tests = ([rows.iloc[getattr(fold, part)] for fold in cut] for part in ("train", "test"))
        return FoldModels(strategy, [fitter(train) for train in trains], trains, tests, columns.target)
    except StacSmError as error:
        notes.append(f"no diagnostics by {strategy}: {error}")
        return None


def strategy_gap(cuts: dict[str, FoldModels]) -> StrategyGap | None:
    """Return the gap between the strategies; None where one of them was not possible."""
    return StrategyGap(cuts["random"].error(), cuts["site"].error()) if len(cuts) > 1 else None


def diagnostics_rng(seed: int, *purpose: object) -> np.random.Generator:
    """Return random numbers that belong to one purpose."""
    text = "\0".join(map(str, (seed, *purpose)))
    return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))


def importance_features(features: Sequence[str] | None, cut: FoldModels, rows: pd.DataFrame) -> list[str]:
    """Return the features to judge: those named, or those of the models that are columns."""
    if features is not None:
        return list(dict.fromkeys(features))
    return [name for name in dict.fromkeys(n for model in cut.models for n in model.features) if name in rows]


def permutation_importance(
    cut: FoldModels, names: Sequence[str], seed: int, repeats: int
) -> Iterator[PermutationImportance]:
    """Compute the permutation importance of each feature under one strategy."""
    observed, base = cut.observed(), cut.predicted()
    whole = rmse(np.concatenate(base), np.concatenate(observed))
    alone = [rmse(p, o) for p, o in zip(base, observed, strict=True)]
    for name in names:
        drawn = [_shuffled(cut, name, seed, repeat) for repeat in range(repeats)]
        pooled = [rmse(np.concatenate(one), np.concatenate(observed)) for one in drawn]
        each = [np.mean([rmse(one[i], observed[i]) for one in drawn]) - alone[i] for i in range(len(alone))]
        yield PermutationImportance(
            name, cut.strategy, float(np.mean(pooled)) - whole, tuple(float(value) for value in each)
        )


def _shuffled(cut: FoldModels, name: str, seed: int, repeat: int) -> list[Float64Array]:
    """Return predictions of every fold with one column shuffled among its rows."""
    found = []
    for i, (model, test) in enumerate(zip(cut.models, cut.tests, strict=True)):
        order = diagnostics_rng(seed, "permutation", cut.strategy, name, i, repeat).permutation(len(test))
        found.append(model.predict(test.assign(**{name: test[name].to_numpy()[order]})).astype(float))
    return found


def rank_importance(importance: Sequence[PermutationImportance]) -> tuple[PermutationImportance, ...]:
    """Sort features, the most important at unseen sites first."""
    rank = {one.feature: one.increase for one in importance if one.strategy == "site"}
    return tuple(sorted(importance, key=lambda one: (-rank[one.feature], one.feature, one.strategy != "site")))


_FEWEST_SITES = 3


def learning_curve(
    cut: FoldModels, fitter: Fitter, seed: int, columns: Columns, budget: DiagnosticsBudget, notes: list[str]
) -> Iterator[CurvePoint]:
    """Compute site-independent scores of models of more and more sites."""
    observed = np.concatenate(cut.observed())
    sites = [sorted(label_column(train, columns.site).unique()) for train in cut.trains]
    largest = min(map(len, sites))
    sizes = sorted({largest >> k for k in range(1, budget.points + 1) if largest >> k >= _FEWEST_SITES})
    for size in sizes:
        try:
            drawn = [_drawn(cut, fitter, sites, size, draw, seed, columns) for draw in range(budget.draws)]
        except StacSmError as error:
            notes.append(f"no learning curve at {size} sites: {error}")
            continue
        yield CurvePoint(size, tuple(agreement_scores(one, observed) for one in drawn))
    yield CurvePoint(largest, (agreement_scores(np.concatenate(cut.predicted()), observed),))


def _drawn(
    cut: FoldModels,
    fitter: Fitter,
    sites: Sequence[Sequence[str]],
    size: int,
    draw: int,
    seed: int,
    columns: Columns,
) -> Float64Array:
    """Return predictions of all folds by models of so many sites; a larger draw holds the smaller one."""
    parts = []
    for i, (train, test) in enumerate(zip(cut.trains, cut.tests, strict=True)):
        chosen = diagnostics_rng(seed, "sites", draw, i).permutation(np.array(sites[i]))[:size]
        parts.append(fitter(train[label_column(train, columns.site).isin(chosen)]).predict(test).astype(float))
    return np.concatenate(parts)
