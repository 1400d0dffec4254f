"""Models of folds beside the rows that they have not seen: what all diagnostics work on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.diagnostics.records import Budget, Gap
from stac_sm.errors import StacSmError
from stac_sm.evaluate import Fitter, Predictor
from stac_sm.holdout import hold_out
from stac_sm.metrics import rmse
from stac_sm.table import Columns, days, labels

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HeldOut:
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

    def predicted(self) -> list[Values]:
        """Predictions of the rows held out, by fold; unit of the target."""
        return [model.predict(test).astype(float) for model, test in zip(self.models, self.tests, strict=True)]

    def observed(self) -> list[Values]:
        """Observations of the same rows."""
        return [test[self.target].to_numpy(dtype=float) for test in self.tests]

    def error(self) -> float:
        """RMSE over all folds."""
        return rmse(np.concatenate(self.predicted()), np.concatenate(self.observed()))


def thinned(table: pd.DataFrame, columns: Columns, most: int, notes: list[str]) -> pd.DataFrame:
    """Rows with a target, in order of site and day; every k-th of each site if there are too many."""
    rows = table[table[columns.target].notna()]
    order = pd.DataFrame({"site": labels(rows, columns.site), "date": days(rows, columns.time)})
    order = order.reset_index(drop=True).sort_values(["site", "date"], kind="stable")
    step = max(1, -(-len(rows) // most))
    if step > 1:
        order = order[order.groupby("site").cumcount() % step == 0]
        notes.append(f"diagnostics use {len(order)} of {len(rows)} rows: one in {step} of each site")
    return rows.iloc[order.index.to_numpy()].reset_index(drop=True)


def trained(
    rows: pd.DataFrame,
    strategy: str,
    fitter: Fitter,
    seed: int,
    columns: Columns,
    budget: Budget,
    notes: list[str],
) -> HeldOut | None:
    """A model per fold; None and a note where the table does not allow it."""
    try:
        cut = hold_out(rows, strategy, folds=budget.folds, seed=seed, columns=columns)
        trains, tests = ([rows.iloc[getattr(fold, part)] for fold in cut] for part in ("train", "test"))
        return HeldOut(strategy, [fitter(train) for train in trains], trains, tests, columns.target)
    except StacSmError as error:
        notes.append(f"no diagnostics by {strategy}: {error}")
        return None


def gap_of(cuts: dict[str, HeldOut]) -> Gap | None:
    """The gap between the strategies; None where one of them was not possible."""
    return Gap(cuts["random"].error(), cuts["site"].error()) if len(cuts) > 1 else None


def generator(seed: int, *purpose: object) -> np.random.Generator:
    """Random numbers that belong to one purpose."""
    text = "\0".join(map(str, (seed, *purpose)))
    return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))
