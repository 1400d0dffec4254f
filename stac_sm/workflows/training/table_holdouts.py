"""Score the way of training on a table at rows, sites, networks and years that are held out, and search for leaks.

Features of held-out rows are derived without what the strategy holds out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.core.columns import Columns, day_column, numeric_column
from stac_sm.model.diagnostics.diagnose import diagnose
from stac_sm.model.diagnostics.results import Diagnostics, DiagnosticsBudget
from stac_sm.model.evaluate import UNSCREENED, Evaluation, Fitter, evaluate
from stac_sm.model.fit import DEFAULT_ROUNDS, DIAGNOSTIC_ROUNDS, Rounds
from stac_sm.model.holdout import hold_outs
from stac_sm.model.model import Model
from stac_sm.model.skill import Skill
from stac_sm.model.skill_scores import skill_of, with_baselines
from stac_sm.model.tabular.features import TableFeatures
from stac_sm.model.tabular.fit import TableModel, learn_table, with_features

_TOGETHER = ("random", "network")  # strategies in which features of all rows may be used
_BUDGET = DiagnosticsBudget(points=2, draws=3, folds=2, repeats=1, rows=4_000)
_FOLDS = 5
_STRATEGY_ROWS = 7_500  # most rows for the strategies that train models of their own


@dataclass(frozen=True, eq=False)
class TableFit:
    """Model, and how its features come from a table."""

    model: Model
    """The sum of boosters."""

    made: TableFeatures
    """Its features, from columns."""

    @property
    def features(self) -> tuple[str, ...]:
        """Columns of the table that it reads."""
        return self.made.given

    def predict(self, table: pd.DataFrame) -> NDArray[np.float32]:
        """Return one value a row of a table; what a site is like is worked out from the rows at hand.

        Parameters
        ----------
        table
            Rows with the columns of `features`.

        Returns
        -------
        numpy.ndarray
            float32, m3 m-3.
        """
        return self.model.predict(self.made.build(table))


@dataclass(frozen=True, eq=False)
class TableEvaluation:
    """Scores of a way of training on hold-outs of its table."""

    evaluation: Evaluation
    """Scores of all strategies that the table allows."""

    diagnostics: Diagnostics
    """Learning curve, importance of the columns, leaks."""

    skill: tuple[Skill, ...] = ()
    """Skill of the model at unseen sites and networks, beside the baselines and the seasonal climatology."""


def evaluate_training(
    made: TableModel,
    table: pd.DataFrame,
    *,
    budget: DiagnosticsBudget = _BUDGET,
    baselines: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TableEvaluation:
    """Score the way of training of a model on hold-outs of its table, and search its columns for leaks.

    Unseen sites are scored by the predictions of the training itself. The other strategies train on the same rows,
    which are some of each site where there are very many, with the default number of rounds: what is chosen for unseen
    sites is chosen on rows that these strategies hold out.

    Parameters
    ----------
    made
        The model and how it was chosen.
    table
        What it was trained on.
    budget
        Amount of work for the diagnostics.
    baselines
        Columns in the unit of the target, for the skill of the model.
    progress
        Called after each part with the number of parts that are done, and of all.

    Returns
    -------
    TableEvaluation
        Scores, learning curve, importance and leaks.
    """
    columns, table = made.features.columns, table.reset_index(drop=True)
    known = np.flatnonzero(np.isfinite(made.learned.out_of_fold))
    if not len(known):  # of a single site
        known = np.flatnonzero(~np.isnan(numeric_column(table, columns.target)))
    named = [name for name in (columns.target, columns.site, columns.time, columns.network) if name in table]
    rows, by = table.loc[known, [*named, *_places(table, columns)]], _HoldOuts(made, table)
    together = [name for name in _TOGETHER if name != "network" or columns.network in table]
    ways: list[tuple[Sequence[str], Fitter]] = [
        (["random"], by.other_rows), (["site"], by.unseen_sites), (["year"], by.other_years),
        ([name for name in together if name != "random"], by.other_rows),
    ]  # fmt: skip
    parts = []
    few = rows[rows.groupby(columns.site).cumcount() % max(1, -(-len(rows) // _STRATEGY_ROWS)) == 0]
    for number, (strategies, way) in enumerate(ways):
        judged = rows if "site" in strategies else few
        folds = hold_outs(judged, strategies, folds=_FOLDS, seed=made.settings.seed, columns=columns)
        parts.append((judged, evaluate(judged, folds, way, columns=columns)))
        progress(number + 1, len(ways) + 1)
    evaluation = _joined(parts)
    if made.settings.tune:
        note = f"models of random rows, years and networks {DEFAULT_ROUNDS}"
        evaluation = replace(evaluation, notes={**evaluation.notes, "rounds": note})
    if len(few) < made.learned.rows:
        note = f"scores of random rows, years and networks are from {len(few)} of {made.learned.rows} rows"
        evaluation = replace(evaluation, notes={**evaluation.notes, "rows": note})
    found = diagnose(
        table, table_fitter(made), features=made.features.given, seed=made.settings.seed, columns=columns, budget=budget
    )
    progress(len(ways) + 1, len(ways) + 1)
    compared = with_baselines(evaluation.predictions, table, baselines)
    return TableEvaluation(evaluation, found, skill_of(compared, UNSCREENED))


def table_fitter(made: TableModel) -> Fitter:
    """Return how a model was trained, but with few rounds: a function from rows of the table to a model.

    Parameters
    ----------
    made
        The model and how it was chosen.

    Returns
    -------
    callable
        Trains on the rows that it is given, for diagnostics: features are derived from those rows alone.
    """
    features, rounds = made.features, Rounds().at_most(DIAGNOSTIC_ROUNDS)
    settings = replace(made.settings, n_estimators=min(made.settings.n_estimators, DIAGNOSTIC_ROUNDS))

    def fitted(rows: pd.DataFrame) -> TableFit:
        again = TableFeatures.of(rows, features.columns, features.given, plain=features.plain)
        finished = with_features(rows, again.build(rows), features.columns)
        return TableFit(learn_table(finished, again, settings, rounds=rounds).model, again)

    return fitted


@dataclass(frozen=True, eq=False)
class _HoldOuts:
    """Ways to predict rows that are held out, by models of the others; rows are known by their labels, which are
    positions in the table."""

    made: TableModel
    table: pd.DataFrame

    def unseen_sites(self, train: pd.DataFrame) -> _Predictor:
        """Return the predictions of the training itself, whose folds are those of the strategy ``site``."""
        predicted = self.made.learned.out_of_fold
        return _Predictor(self.made.features.given, lambda test: predicted[test.index])

    def other_rows(self, train: pd.DataFrame) -> _Predictor:
        """Train on rows whose features are derived from all rows: no target has a part in them."""
        return self._trained(self.made.built, self.made.built, train)

    def other_years(self, train: pd.DataFrame) -> _Predictor:
        """Train on rows of some years: their features are derived from those years alone, and the site means and
        spreads of the held-out rows, too."""
        year = day_column(self.table, self.made.features.columns.time).dt.year
        known = year.isin(set(year[train.index])).to_numpy()
        features = self.made.features
        learned_from = features.build(self.table[known], normal_rows=np.ones(int(known.sum()), dtype=bool))
        learned_from = learned_from.loc[train.index]  # the features of all rows may be gigabytes: they are not kept
        return self._trained(learned_from, features.build(self.table, normal_rows=known), train)

    def _trained(self, learned_from: pd.DataFrame, features: pd.DataFrame, train: pd.DataFrame) -> _Predictor:
        made, columns = self.made, self.made.features.columns
        rows = with_features(train, learned_from.loc[train.index], columns)
        model = learn_table(rows, made.features, made.settings, rounds=Rounds()).model
        return _Predictor(made.features.given, lambda test: model.predict(features.loc[test.index]))


@dataclass(frozen=True)
class _Predictor:
    """Predicts rows of the table by their labels."""

    features: tuple[str, ...]
    of: Callable[[pd.DataFrame], NDArray[Any]]

    def predict(self, columns: pd.DataFrame, /) -> NDArray[np.float32]:
        """Return one value a row."""
        return self.of(columns).astype(np.float32)


def _joined(parts: Sequence[tuple[pd.DataFrame, Evaluation]]) -> Evaluation:
    """Return evaluations of several strategies as one, whose rows are positions in the table."""
    found = [
        part.predictions.assign(row=judged.index.to_numpy()[part.predictions["row"].to_numpy(int)])
        for judged, part in parts
        if len(part.predictions)
    ]
    predictions = pd.concat(found, ignore_index=True) if found else parts[0][1].predictions
    notes = {name: note for _, part in parts for name, note in part.notes.items()}
    return Evaluation(tuple(one for _, part in parts for one in part.results), notes, None, predictions)


def _places(table: pd.DataFrame, columns: Columns) -> list[str]:
    return [name for name in (columns.lat, columns.lon) if name in table]
