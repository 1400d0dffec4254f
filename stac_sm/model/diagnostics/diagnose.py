"""Run the diagnostics of a way of training: learning curve, permutation importance, leakage check.

Training calls it after the model is scored, and the report shows what it finds. All is judged by held-out rows. A
`DiagnosticsBudget` bounds the number of trainings; nothing is random but the seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from stac_sm.core.columns import Columns, require_columns
from stac_sm.model.diagnostics.fold_diagnostics import (
    importance_features,
    learning_curve,
    permutation_importance,
    rank_importance,
    strategy_gap,
    thin_rows,
    train_folds,
)
from stac_sm.model.diagnostics.leakage import check_leakage, strategy_gap_without
from stac_sm.model.diagnostics.results import (
    FLAGGED,
    Diagnostics,
    DiagnosticsBudget,
)
from stac_sm.model.evaluate import Fitter


def diagnose(
    table: pd.DataFrame,
    fitter: Fitter,
    *,
    features: Sequence[str] | None = None,
    seed: int = 0,
    columns: Columns | None = None,
    budget: DiagnosticsBudget | None = None,
) -> Diagnostics:
    """Compute the learning curve over sites, the permutation importance, and a check for features that identify the
    site.

    Parameters
    ----------
    table
        One row per site and day; rows without a target are left out.
    fitter
        Trains on rows of the table. It is called often: freeze its tuning.
    features
        Columns to judge; those of the model that are in the table if left out.
    seed
        Of the folds, the draws of sites and the permutations.
    columns
        Names of the columns that are no features.
    budget
        How much work it may be.

    Returns
    -------
    Diagnostics
        Where a table is too small for a part, that part is empty, and a note says why.

    Raises
    ------
    InputError
        If a column is missing, or a site or day is empty.
    """
    columns, budget = columns or Columns(), budget or DiagnosticsBudget()
    require_columns(table, [columns.target, columns.site, columns.time, *(features or ())], "diagnostics")
    notes: list[str] = []
    rows = thin_rows(table, columns, budget.rows, notes)
    cuts = {
        strategy: cut
        for strategy in ("site", "random")
        if (cut := train_folds(rows, strategy, fitter, seed, columns, budget, notes))
    }
    if "site" not in cuts:
        return Diagnostics((), (), (), None, None, tuple(notes))
    names = importance_features(features, cuts["site"], rows)
    importance = tuple(one for cut in cuts.values() for one in permutation_importance(cut, names, seed, budget.repeats))
    leaks = tuple(check_leakage(rows, importance, cuts, columns))
    flagged = [leak.feature for leak in leaks if leak.status == FLAGGED]
    return Diagnostics(
        curve=tuple(learning_curve(cuts["site"], fitter, seed, columns, budget, notes)),
        importance=rank_importance(importance),
        leaks=leaks,
        gap=strategy_gap(cuts),
        gap_without=strategy_gap_without(rows, flagged, fitter, seed, columns, budget) if flagged else None,
        notes=tuple(notes),
    )
