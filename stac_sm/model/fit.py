"""Learn a model from a table of finished feature columns: what `train` calls for projects and for users' tables.

The model is the mean of two ways to predict soil moisture, each a sum of XGBoost's trees: (i) boosters of the values;
(ii) a site-mean model, trained on one row a site, plus boosters of the anomaly from the site mean. Each way is the mean
of two settings, one of shallow trees and one of deep trees with fewer features a split. Their errors differ, so that
the mean was never worse than the better of them; with the stations that there are, cross-validation cannot rank
settings, so it chooses the number of rounds only.

Site-constant features are found from the table itself: columns with one value at each site, such as soil, or the
climatology of a feature. Sites that lie side by side share one weight (`base_learners.site_sample_weights`), and every
row of a site weighs the same. Where a table has very many rows, they are thinned evenly at each site; `Learned` says
how many were used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.core.arrays import Float64Array
from stac_sm.core.columns import Columns, require_columns
from stac_sm.core.errors import InputError, ScreeningError
from stac_sm.core.metrics import Scores, agreement_scores
from stac_sm.model.base_learners import BoosterSpec, TrainingRows, TrainingTarget, fit_boosters
from stac_sm.model.booster import WeightedBooster
from stac_sm.model.holdout import hold_out
from stac_sm.model.interval_calibration import fit_intervals
from stac_sm.model.intervals import Intervals
from stac_sm.model.learner import StagedLearner
from stac_sm.model.model import Model
from stac_sm.model.train_settings import TrainSettings
from stac_sm.model.user_table import find_fill_values
from stac_sm.model.xgboost_learner import require_device

ROUNDS = (25, 50, 100, 200, 300, 450, 600)
"""Numbers of rounds among which the site-grouped cross-validation chooses."""

FIRST_ROUNDS = 100
"""Rounds of the first cross-validation; there is a second, with all, only where their last is better than fewer."""

SELECTION_ROWS = 15_000
"""Most rows on which the number of rounds is chosen, shared alike among the sites."""

FIT_ROWS = 100_000
"""Most rows on which the model is trained, shared alike among the sites: days of a site say nearly the same."""

DEFAULT_ROUNDS = "have the default numbers of rounds, so that no held-out target has a part in a choice"
"""End of the note on hold-outs whose models have `Rounds()`: a choice in each of their folds would take long."""

DIAGNOSTIC_ROUNDS = 100
"""Most rounds of a model that is trained for diagnostics, which train often."""

_FOLDS = 5
_DRAWS = 1_000  # of sites, for the interval of an error
_SHARED = {"eta": 0.1, "reg_lambda": 10.0, "max_bin": 64}
_SETTINGS = {"shallow": (4, 0.2), "deep": (7, 0.1)}  # depth, and share of the features that a split may choose from
_FEWEST_FEATURES = 3  # that a split may choose from, where there are so many
_LEAF = 0.2  # fewest rows in a leaf, as a share of the rows of a site
_SITE_FOREST = {"num_parallel_tree": 300, "eta": 1.0, "max_depth": 12, "min_child_weight": 3.0, "reg_lambda": 0.0,
                "subsample": 0.632, "colsample_bynode": 0.33, "max_bin": 64}  # fmt: skip
_SITE_TREES = {"eta": 0.05, "max_depth": 3, "min_child_weight": 3.0, "reg_lambda": 1.0, "subsample": 0.7,
               "colsample_bynode": 0.2, "max_bin": 64}  # fmt: skip
_SITE_ROUNDS = 200
_FEWEST_SITES = 5  # for a site-mean model
_AS_GOOD = 1.0  # ratio of RMSE up to which fewer rounds are taken: the seed of the folds moves it more than that

ProgressOfFits = Callable[[int, int], None]
"""Takes the number of boosters that are trained, and of all."""


@dataclass(frozen=True)
class Rounds:
    """Numbers of rounds of the boosters of values and of anomalies; by default, those of models of other hold-outs."""

    values: int = 200
    """Of the boosters of the values."""

    anomalies: int = 100
    """Of the boosters of the anomalies."""

    def at_most(self, rounds: int) -> Rounds:
        """Return fewer rounds, for diagnostics, which train often.

        Parameters
        ----------
        rounds
            Most rounds.

        Returns
        -------
        Rounds
            Neither number is above ``rounds``.
        """
        return Rounds(min(self.values, rounds), min(self.anomalies, rounds))


@dataclass(frozen=True, eq=False)
class Learned:
    """A model, and what is known of it from sites that it had not seen."""

    model: Model
    """The weighted sum of boosters, with intervals where there are sites enough."""

    parts: tuple[BoosterSpec, ...]
    """What its boosters are, in their order."""

    rounds: Rounds
    """What was chosen, or given."""

    out_of_fold: Float64Array
    """Prediction of each row of the table by models that had not seen its site, shape (row,); NaN where there is none:
    rows without a target, or that were left out of the selection. Their rounds were chosen on the other folds."""

    rows: int
    """Rows with a target."""

    fitted_rows: int
    """Rows on which the model was trained."""

    sites: int
    """Sites with a target."""

    errors: Mapping[str, float] = field(default_factory=dict)
    """RMSE at unseen sites of each number of rounds (of both ways at once), unit of the target; empty where nothing was
    chosen."""

    scores: Scores | None = None
    """Scores of the out-of-fold predictions; None where there are none."""

    rmse_interval: tuple[float, float] = (math.nan, math.nan)
    """90 % interval of their RMSE, by resampling sites."""

    intervals_refused: str = ""
    """Why there are no prediction intervals; empty where there are."""

    selection_rows: int = 0
    """Rows on which the rounds were chosen."""

    @property
    def facts(self) -> dict[str, str]:
        """Boosters and rounds, as reports state them."""
        if len(self.parts) == 1:
            return {"boosters": self.parts[0].name, "rounds": str(self.parts[0].rounds)}
        return {
            "boosters": "; ".join(part.name for part in self.parts),
            "rounds": f"{self.rounds.values} of values, {self.rounds.anomalies} of anomalies",
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the rows that were used."""
        notes = []
        if self.fitted_rows < self.rows:
            notes.append(
                f"trained on {self.fitted_rows} of {self.rows} rows ({self.fitted_rows / self.rows:.0%}), spread "
                "evenly over the rows of each site"
            )
        if 0 < self.selection_rows < self.rows:
            notes.append(
                f"rounds, scores at unseen sites and intervals are from {self.selection_rows} of {self.rows} rows "
                f"({self.selection_rows / self.rows:.0%}), spread evenly over the rows of each site"
            )
        return tuple(notes)


def fit(
    table: pd.DataFrame,
    features: Sequence[str],
    *,
    settings: TrainSettings | None = None,
    columns: Columns | None = None,
) -> Model:
    """Train a model on a match-up table.

    Parameters
    ----------
    table
        One row per site and day. Rows without a target (NaN) are left out; NaN in a feature = missing, for which
        XGBoost learns a branch. Neither the order of rows nor other columns matter.
    features
        Columns to learn from, in the order in which the model will list them.
    settings
        How it is trained; with ``tune=False``, as one booster.
    columns
        Names of the columns that are no features.

    Returns
    -------
    Model
        As `learn` trains it; its prediction has the unit of the target.

    Raises
    ------
    InputError
        If a column is missing, holds no numbers or infinities, no row has a target, or targets are a fill value.
    """
    known = Rounds() if settings and not settings.tune else None  # nothing to choose
    return learn(table, features, settings=settings, columns=columns, rounds=known).model


def learn(
    table: pd.DataFrame,
    features: Sequence[str],
    *,
    settings: TrainSettings | None = None,
    columns: Columns | None = None,
    rounds: Rounds | None = None,
    min_sites: int = 10,
    progress: ProgressOfFits = lambda done, total: None,
) -> Learned:
    """Train a model on a table of finished feature columns, and predict each site by models that have not seen it.

    Parameters
    ----------
    table
        One row per site and time, with the features, target and site; its time and place are used where it has them.
        Rows without a target (NaN) are left out.
    features
        Columns to learn from, in the order in which the model will list them.
    settings
        How it is trained; with ``tune=False``, as one booster.
    columns
        Names of the columns that are no features.
    rounds
        Numbers of rounds that were chosen before: then nothing is chosen, and there are neither out-of-fold predictions
        nor intervals.
    min_sites
        Fewest sites from which prediction intervals are issued.
    progress
        Called after each booster.

    Returns
    -------
    Learned
        The same rows in any order, settings and seed give the same bytes.

    Raises
    ------
    InputError
        If a column is missing, holds no numbers or infinities, no row has a target, targets are a fill value, or the
        installed XGBoost cannot use the device.
    """
    settings, columns = settings or TrainSettings(), columns or Columns()
    require_device(settings.device)
    fitted = training_rows(table, features, columns, FIT_ROWS if settings.tune else None)
    chooses = rounds is None and len(fitted.names) > 1
    tried = fitted.thinned(SELECTION_ROWS if settings.tune else FIT_ROWS)
    sum_of = _Sum.of(fitted, features, settings)
    steps = _Steps(progress, len(sum_of.parts(Rounds(), 1)) * (_fold_count(fitted) * chooses + 1))
    selection = _select(tried, sum_of, settings, steps) if chooses else None
    chosen = rounds or (selection.rounds if selection else Rounds())
    parts = sum_of.parts(chosen, len(fitted.target) / len(fitted.names))
    boosters = fit_boosters(
        fitted, parts, settings.seed, nthread=settings.nthread, device=settings.device, progress=steps.step
    )
    model = Model(tuple(one.weighing(weight) for one, weight in zip(boosters, sum_of.weights, strict=True)))
    with_target = int(table[columns.target].notna().sum())
    learned = Learned(
        model, parts, chosen, np.full(len(table), np.nan), with_target, len(fitted.target), len(fitted.names)
    )
    if selection is None:
        why = "" if rounds else "intervals not issued: 1 site found, more required: match up more stations"
        return replace(learned, intervals_refused=why)
    learned.out_of_fold[tried.position] = selection.predicted
    intervals, refused = _intervals(tried, model, selection.predicted, settings.seed, min_sites)
    return replace(
        learned,
        model=replace(model, intervals=intervals),
        errors=selection.errors,
        scores=agreement_scores(selection.predicted, tried.target),
        rmse_interval=_rmse_interval(selection.predicted - tried.target, tried.site, settings.seed),
        intervals_refused=refused,
        selection_rows=len(tried.target),
    )


def training_rows(
    table: pd.DataFrame, features: Sequence[str], columns: Columns, most: int | None = None
) -> TrainingRows:
    """Take the rows of a table whose features are its columns.

    Parameters
    ----------
    table
        Match-ups.
    features
        Columns to learn from.
    columns
        Names of the columns that are no features. Without a column of the site, all rows are of one.
    most
        Most rows, shared alike among the sites and spread evenly over the rows of each; None: all.

    Returns
    -------
    TrainingRows
        The rows with a target, in canonical order.

    Raises
    ------
    InputError
        As `learn`; or if a row has no site or no day.
    """
    _check_names(table, features, columns.target)
    target = _floats(table, [columns.target], slice(None))[:, 0]
    if np.isnan(target).all():
        raise InputError(
            f"training: found no row with a target {columns.target!r} among {len(table)}; at least one is required"
        )
    _refuse_fill_values(target, columns.target)
    if columns.site not in table:
        table = table.assign(**{columns.site: "all"})

    def at(positions: NDArray[np.intp]) -> pd.DataFrame:
        return pd.DataFrame(_floats(table, features, positions), columns=list(features))

    return TrainingRows.of(table, at, target.astype(float), columns, most)


@dataclass(frozen=True)
class _Sum:
    """The boosters of the sum, but for their numbers of rounds and rows."""

    features: tuple[str, ...]
    site_features: tuple[str, ...]
    """Features with one value at each site."""

    settings: TrainSettings

    @classmethod
    def of(cls, rows: TrainingRows, features: Sequence[str], settings: TrainSettings) -> _Sum:
        """Find the site-constant features of the rows: without any, or with few sites, there is no site-mean model."""
        constant: tuple[str, ...] = ()
        if settings.tune and len(rows.names) >= _FEWEST_SITES:
            by_site = rows.features.groupby(rows.site)
            moves = ((by_site.max() - by_site.min()).max() > 0) | rows.features.isna().all()
            constant = tuple(name for name in features if not moves[name])
        return cls(tuple(features), constant, settings)

    @property
    def weights(self) -> tuple[float, ...]:
        """Weight of each part, in their order: each way of predicting is a half, each of its settings a half of it."""
        if not self.settings.tune:
            return (1.0,)
        return (0.25,) * 6 if self.site_features else (0.5, 0.5)

    @property
    def stages(self) -> tuple[int, ...]:
        """Numbers of rounds to choose from."""
        return ROUNDS if self.settings.tune else (self.settings.n_estimators,)

    def parts(self, rounds: Rounds, rows_a_site: float) -> tuple[BoosterSpec, ...]:
        """Return what is trained: on values, and where there are site features, on site means and anomalies."""
        if not self.settings.tune:
            one = self.settings
            parameters = tree_parameters(one)
            return (BoosterSpec("plain", TrainingTarget.ROWS, self.features, one.n_estimators, parameters),)
        leaf = {"min_child_weight": max(1.0, round(_LEAF * rows_a_site, 2))}
        values = _pair("values", TrainingTarget.WHOLE, self.features, rounds.values, leaf)
        if not self.site_features:
            return values
        return (
            *values,
            BoosterSpec("site means, forest", TrainingTarget.LEVEL, self.site_features, 1, _SITE_FOREST),
            BoosterSpec("site means, boosted", TrainingTarget.LEVEL, self.site_features, _SITE_ROUNDS, _SITE_TREES),
            *_pair("anomalies", TrainingTarget.DEPARTURE, self.features, rounds.anomalies, leaf),
        )


def _pair(
    name: str, trained_on: TrainingTarget, features: tuple[str, ...], rounds: int, leaf: Mapping[str, float]
) -> tuple[BoosterSpec, ...]:
    """Return a booster of shallow trees and one of deep trees, which choose from fewer features at each split."""
    return tuple(
        BoosterSpec(
            f"{name}, {setting}", trained_on, features, rounds,
            {**_SHARED, **leaf, "max_depth": depth,
             "colsample_bynode": round(max(share, min(1.0, _FEWEST_FEATURES / len(features))), 4)},
        )
        for setting, (depth, share) in _SETTINGS.items()
    )  # fmt: skip


def tree_parameters(settings: TrainSettings) -> dict[str, Any]:
    """Return how the trees of one booster grow, as XGBoost names it."""
    names = ("max_depth", "eta", "subsample", "min_child_weight", "reg_lambda")
    return {**{name: getattr(settings, name) for name in names}, "colsample_bytree": settings.colsample}


class _Steps:
    """Count the boosters that are trained; called from several threads."""

    def __init__(self, progress: ProgressOfFits, total: int) -> None:
        self._progress, self._total, self._done, self._lock = progress, total, 0, Lock()

    def repeat(self) -> None:
        """Count all folds once more."""
        self._total += self._done

    def step(self) -> None:
        """Count one more."""
        with self._lock:
            self._done += 1
            self._progress(self._done, self._total)


@dataclass(frozen=True, eq=False)
class _Selection:
    """The rounds that were chosen, and predictions of sites by models that had not seen them."""

    rounds: Rounds
    errors: dict[str, float]
    predicted: Float64Array


def _fold_count(rows: TrainingRows) -> int:
    return min(_FOLDS, len(rows.names))


def _select(rows: TrainingRows, sum_of: _Sum, settings: TrainSettings, steps: _Steps) -> _Selection:
    """Find the numbers of rounds by the errors at sites that the boosters have not seen.

    What counts is the error of the mean of both ways, since that is what is predicted. The prediction of a fold has the
    rounds that the other folds chose, so that no score is of rows that had a part in
    the choice.
    """
    first = tuple(number for number in sum_of.stages if number <= FIRST_ROUNDS)
    if first and len(first) < len(sum_of.stages):
        found = _select_among(first, rows, sum_of, settings, steps)
        if max(found.rounds.values, found.rounds.anomalies) < first[-1]:
            return found
        steps.repeat()
    return _select_among(sum_of.stages, rows, sum_of, settings, steps)


def _select_among(
    stages: tuple[int, ...], rows: TrainingRows, sum_of: _Sum, settings: TrainSettings, steps: _Steps
) -> _Selection:
    """Find the best of some numbers of rounds."""
    most = Rounds(stages[-1], stages[-1])
    values, departures = (np.zeros((len(stages), len(rows.target))) for _ in range(2))
    fold_of = np.zeros(len(rows.target), dtype=int)
    names = pd.DataFrame({"site": rows.names[rows.site]})
    folds = hold_out(names, "site", folds=_FOLDS, seed=settings.seed)
    for number, fold in enumerate(folds):
        fold_of[fold.test] = number
        learned = rows.at(fold.train)
        parts = sum_of.parts(most, len(fold.train) / len(np.unique(learned.site)))
        boosters = fit_boosters(
            learned, parts, settings.seed, nthread=settings.nthread, device=settings.device, progress=steps.step
        )
        values[:, fold.test], departures[:, fold.test] = _by_stage(
            rows.features.iloc[fold.test], parts, boosters, stages
        )
    both = np.stack([values, departures])[: 2 if sum_of.site_features else 1].mean(axis=0)
    by_fold = np.array([np.bincount(fold_of, np.square(stage - rows.target)) for stage in both])  # dims (stage, fold)
    predicted = np.zeros(len(rows.target))
    for number in range(len(folds)):
        test = fold_of == number
        predicted[test] = both[_best_stage(np.delete(by_fold, number, axis=1).sum(axis=1)), test]
    best = stages[_best_stage(by_fold.sum(axis=1))]
    together = np.sqrt(by_fold.sum(axis=1) / len(rows.target))
    errors = {str(number): float(error) for number, error in zip(stages, together, strict=True)}
    return _Selection(Rounds(best, best), errors if len(stages) > 1 else {}, predicted)


def _best_stage(squares: Float64Array) -> int:
    """Return the first number of rounds whose RMSE is as good as the best, from the sum of squares of each."""
    return int(np.argmax(squares <= squares.min() * _AS_GOOD**2))


def _by_stage(
    columns: pd.DataFrame, parts: Sequence[BoosterSpec], boosters: Sequence[WeightedBooster], stages: Sequence[int]
) -> tuple[Float64Array, Float64Array]:
    """Return what boosters of the values say after each number of rounds, and what site means and anomalies say."""
    found: dict[TrainingTarget, list[Float64Array]] = {}
    for part, booster in zip(parts, boosters, strict=True):
        trained = booster.trained
        if part.trained_on is TrainingTarget.LEVEL:
            one = np.tile(trained.predict(columns).astype(float), (len(stages), 1))
        elif isinstance(trained, StagedLearner):
            one = trained.predict_stages(columns, stages).astype(float)
        found.setdefault(part.trained_on, []).append(one)
    means = {kind: np.mean(some, axis=0) for kind, some in found.items()}
    nothing = np.zeros((len(stages), len(columns)))
    values = means.get(TrainingTarget.WHOLE, means.get(TrainingTarget.ROWS, nothing))
    return values, means.get(TrainingTarget.LEVEL, nothing) + means.get(TrainingTarget.DEPARTURE, nothing)


def _intervals(
    rows: TrainingRows, model: Model, predicted: Float64Array, seed: int, min_sites: int
) -> tuple[Intervals | None, str]:
    """Return prediction intervals, or why there are none."""
    sites = rows.names[rows.site]
    table = {"site": sites, "observed": rows.target, "predicted": predicted, "row": np.arange(len(predicted))}
    try:
        return fit_intervals(rows.features, model.features, pd.DataFrame(table), min_sites=min_sites, seed=seed), ""
    except ScreeningError as error:
        return None, str(error)


def _rmse_interval(error: Float64Array, site: NDArray[np.intp], seed: int) -> tuple[float, float]:
    """Return the 90 % interval of the RMSE over rows, by resampling sites."""
    counts, squares = np.bincount(site), np.bincount(site, np.square(error))
    there = counts > 0
    n = int(there.sum())
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), _DRAWS)
    low, high = np.sqrt(np.quantile((draws @ squares[there]) / (draws @ counts[there]), [0.05, 0.95]))
    return float(low), float(high)


def _refuse_fill_values(target: NDArray[np.float32], name: str) -> None:
    """Refuse targets such as -9999, which would be learned as values."""
    known = target[~np.isnan(target)].astype(float)
    fills = find_fill_values(known, np.arange(len(known)))
    if fills:
        found = ", ".join(f"{value:.7g} in {n} rows" for value, n in fills.items())
        raise InputError(
            f"training: target {name!r} has {found}, far outside the rest; NaN is required where it is missing"
        )


def _check_names(table: pd.DataFrame, features: Sequence[str], target: str) -> None:
    """Refuse a list of features that no model can learn from."""
    require_columns(table, [*features, target], "training")
    if not features:
        raise InputError("training: found no feature; at least one is required")
    bad = [name for name in features if features.count(name) > 1 or name == target or set(name) & set("[]<")]
    if bad:
        raise InputError(
            f"training: found {', '.join(sorted(set(bad)))} among the features; "
            f"each one once, none of them the target {target!r} or with any of [ ] < in its name, are required"
        )


def _floats(table: pd.DataFrame, names: Sequence[str], at: NDArray[np.intp] | slice) -> NDArray[np.float32]:
    """Return columns side by side at some rows, float32, dims (row, column); no infinities in any row."""
    parts = []
    for name in names:
        try:
            part = table[name].to_numpy(dtype=np.float32, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise InputError(f"training: column {name!r} holds no numbers ({error}); floats are required") from error
        if np.isinf(part).any():
            raise InputError(
                f"training: column {name!r} is infinite in {int(np.isinf(part).sum())} rows; "
                "NaN is required where it is missing"
            )
        parts.append(part[at])
    return np.stack(parts, axis=1)
