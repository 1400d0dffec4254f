"""The report of a model of a bare table: scored on hold-outs and searched for leaks, as a model of a project is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.diagnostics import Budget, Diagnostics, diagnose
from stac_sm.evaluate import UNSCREENED, Evaluation, Fitter, evaluate
from stac_sm.holdout import hold_outs
from stac_sm.model import Model
from stac_sm.report import Report, write_report
from stac_sm.table_features import TableFeatures
from stac_sm.table_model import parts_of, rows_of, sums_of
from stac_sm.table_training import TableModel
from stac_sm.tuning import sum_of

_STRATEGIES = ("random", "site", "year", "network")
_BUDGET = Budget(points=2, draws=1, folds=2, repeats=1, rows=4_000)
_FOLDS = 5


@dataclass(frozen=True, eq=False)
class TableFit:
    """A model and how its features come from a table."""

    model: Model
    """The sum of boosters."""

    made: TableFeatures
    """Its features, from columns."""

    @property
    def features(self) -> tuple[str, ...]:
        """Columns of the table that it reads."""
        return self.made.given

    def predict(self, table: pd.DataFrame) -> NDArray[np.float32]:
        """One value a row of a table; what a site is like is worked out from the rows at hand."""
        return self.model.predict(self.made.build(table))


@dataclass(frozen=True, eq=False)
class TableFindings:
    """What is known of a way of training on a table."""

    evaluation: Evaluation
    """Scores of all strategies that the table allows."""

    diagnostics: Diagnostics
    """Learning curve, importance of the columns, leaks."""


def fitter(made: TableModel) -> Fitter:
    """How a model was trained, without another search: from rows of the table to a model."""
    features = made.features

    def fitted(rows: pd.DataFrame) -> TableFit:
        again = TableFeatures.of(rows, features.columns, features.given, plain=features.plain)
        parts = parts_of(again)
        return TableFit(sum_of(rows_of(rows, again), parts, sums_of(parts)[made.chosen], made.seed), again)

    return fitted


def judge(made: TableModel, table: pd.DataFrame, *, budget: Budget = _BUDGET) -> TableFindings:
    """Score the way of training of a model on hold-outs of its table, and search its columns for leaks.

    Parameters
    ----------
    table
        What it was trained on.
    budget
        How much work the diagnostics may be.
    """
    columns, train = made.features.columns, fitter(made)
    named = [one for one in _STRATEGIES if one != "network" or columns.network in table]
    folds = hold_outs(table, named, folds=_FOLDS, seed=made.seed, columns=columns)
    evaluation = evaluate(table, folds, train, columns=columns)
    found = diagnose(table, train, features=made.features.given, seed=made.seed, columns=columns, budget=budget)
    return TableFindings(evaluation, found)


def write_table_report(made: TableModel, table: pd.DataFrame, found: TableFindings, folder: Path) -> dict[str, Path]:
    """Write ``report.html`` and ``metrics.json`` into a folder that exists; where they lie, by these names."""
    facts: dict[str, Any] = {
        "columns": ", ".join(made.choice.taken),
        "rows": made.rows,
        "sites": made.sites,
        "boosters": ", ".join(part.name for part in made.parts),
    }
    report = Report(
        title="Model of a table",
        evaluation=found.evaluation,
        table=table,
        diagnostics=found.diagnostics,
        trained=UNSCREENED,
        facts=facts,
        notes=(made.intervals_refused,) if made.intervals_refused else (),
        columns=made.features.columns,
    )
    return write_report(folder, report)
