"""Evaluate a way of training by what it predicts for rows held out, beside baselines, screened and not.

Training calls it with the folds of `holdout`; the report shows the scores, and intervals are calibrated on the
predictions. No row is predicted by a model that was trained on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.core.arrays import Float64Array
from stac_sm.core.columns import Columns, Fold, day_column, label_column, require_columns
from stac_sm.core.errors import InputError, ScreeningError
from stac_sm.core.metrics import Scores, agreement_scores, bias


class Predictor(Protocol):
    """What can predict rows of the table: a `Model`, or one that works out its features first."""

    @property
    def features(self) -> tuple[str, ...]:
        """Columns of the table that it reads."""

    def predict(self, columns: pd.DataFrame, /) -> NDArray[np.float32]:
        """Return one value a row."""


Fitter = Callable[[pd.DataFrame], Predictor]
"""Trains a model on rows of the table."""

TableOfFold = Callable[[str, Fold], pd.DataFrame]
"""From a strategy and one of its folds to the same rows, with features that know nothing of the rows held out."""

Screener = Callable[[pd.DataFrame], Collection[str]]
"""From rows of the table to the sites that represent their pixel; raises `ScreeningError` if too few do."""

UNSCREENED, SCREENED = "unscreened", "screened"
CORRECTED = " bias-corrected"
CLIMATOLOGY = "seasonal climatology"
"""Column of the predictions: the mean seasonal cycle of the training sites, each counting once. Needs no input; the
skill of a model is stated against it, and it has no scores of its own."""

_SEASON_DAYS = 15  # either side of a day, that its climatology is taken over
LEAST_ROWS = 10
"""Of a station, for scores of its own."""

_Predictions = dict[str, Float64Array]


@dataclass(frozen=True)
class StrategyResult:
    """Scores of one method under one strategy, on one set of stations."""

    strategy: str
    """How rows were held out, e.g. ``site``."""

    method: str
    """``unscreened`` or ``screened`` training, or a baseline: a column, as it is or with its bias corrected."""

    scored_on: str
    """``all`` stations, or the ``kept`` ones."""

    pooled: Scores
    """Over all rows at once; R then has the differences between stations in it."""

    stations: int
    """Stations with at least 10 rows."""

    median: Scores
    """Median over those stations of each score of a station; ``n`` is the median number of rows."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores side by side, and the predictions that they come from."""

    results: tuple[StrategyResult, ...]
    """One per strategy, method and set of stations."""

    notes: Mapping[str, str]
    """What could not be done, and why: by strategy (``year``), by strategy and method (``site screened``), or
    ``screening`` of the whole table."""

    kept: tuple[str, ...] | None
    """Sites kept by screening the whole table; None where there was no screening, or it was refused."""

    predictions: pd.DataFrame
    """One row per strategy and scored row of the table: ``strategy, fold, row, site, date, observed`` and a column per
    method and `CLIMATOLOGY`, m3 m-3. ``row`` is a position in the table. Each model predicted what it had not seen."""

    @property
    def climatology_results(self) -> tuple[StrategyResult, ...]:
        """Scores of the seasonal climatology of the training sites on the same rows, one a strategy; on all stations.

        What any model must beat that knows the place or the year; empty where predictions are without it.
        """
        if CLIMATOLOGY not in self.predictions:
            return ()
        return tuple(
            _result(str(strategy), CLIMATOLOGY, "all", rows)
            for strategy, rows in self.predictions.groupby("strategy", sort=False)
            if rows[CLIMATOLOGY].notna().any()
        )

    @property
    def score_table(self) -> pd.DataFrame:
        """One line per result, for printing: pooled scores, then medians over stations."""
        return pd.DataFrame([_line(result) for result in self.results], columns=_SCORE_COLUMNS)

    def result(self, strategy: str, method: str, scored_on: str = "all") -> StrategyResult:
        """Return one of the results.

        Parameters
        ----------
        strategy
            How rows were held out, e.g. ``"site"``.
        method
            ``"unscreened"``, ``"screened"``, or a baseline.
        scored_on
            Stations that were scored: ``"all"`` or ``"kept"``.

        Returns
        -------
        StrategyResult
            The scores.

        Raises
        ------
        InputError
            If there is no such result; says why, where it is known.
        """
        for result in self.results:
            if (result.strategy, result.method, result.scored_on) == (strategy, method, scored_on):
                return result
        there = sorted({f"{result.strategy} {result.method} {result.scored_on}" for result in self.results})
        why = self.notes.get(strategy) or self.notes.get(f"{strategy} {method}") or f"found: {', '.join(there)}"
        raise InputError(f"evaluation: no result for {strategy} {method} {scored_on}: {why}")

    def to_dict(self) -> dict[str, Any]:
        """Return all but the predictions.

        Returns
        -------
        dict
            Ready for JSON; None where there is no value.
        """
        return {
            "results": [_without_nan(asdict(result)) for result in self.results],
            "notes": dict(self.notes),
            "kept": None if self.kept is None else list(self.kept),
        }


def evaluate(
    table: pd.DataFrame,
    folds: Mapping[str, Sequence[Fold] | InputError],
    fitter: Fitter,
    *,
    screener: Screener | None = None,
    baselines: Sequence[str] = (),
    columns: Columns | None = None,
    tables: TableOfFold | None = None,
) -> Evaluation:
    """Score a way of training by what it predicts for rows held out.

    For each strategy and fold, a model is trained on all training rows, and another on those of the sites that
    ``screener`` keeps *of these training rows*: held-out rows have no part in training, screening or the correction of
    a baseline. Test rows are always all of them. Which stations count as kept **in scoring** is decided once, on the
    whole table, so that all methods are scored on the same rows.

    Parameters
    ----------
    table
        One row per site and day. Rows without a target, or without a value in a baseline, are not scored.
    folds
        Folds of each strategy, or the error that says why there are none: it goes into the notes.
    fitter
        Trains on rows of the table.
    screener
        Finds the representative sites among rows. Where it refuses, be it in one fold, the reason goes into the
        notes, and the strategy has no screened training.
    baselines
        Columns in the unit of the target, e.g. ``["swvl1"]`` (ERA5-Land). Each is scored as it is and less its mean
        difference from the target on the training rows of the fold.
    columns
        Names of the columns that are no features.
    tables
        Gives the features of a fold, where they depend on what is held out: a climatology must not know the years that
        are. Rows, their order, sites, days and targets are those of ``table``. None: the table itself.

    Returns
    -------
    Evaluation
        With a result for each strategy, method, and set of stations (``all``, and ``kept`` if there are any).

    Raises
    ------
    InputError
        If a column is missing, or a site or day is empty.
    """
    columns = columns or Columns()
    require_columns(table, [columns.target, *baselines], "evaluation")
    notes: dict[str, str] = {}
    kept = _screened(screener, table, notes, "screening")
    parts = []
    for strategy, cut in folds.items():
        if isinstance(cut, InputError):
            notes[strategy] = str(cut)
            continue
        used = _usable(screener, table, cut, notes, f"{strategy} {SCREENED}")
        of_fold = partial(tables, strategy) if tables else lambda _: table
        parts.append(_held_out(of_fold, strategy, cut, fitter, used, baselines, columns))
    predictions = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(_KEYS))
    return Evaluation(
        results=tuple(_results(predictions, kept)),
        notes=notes,
        kept=None if kept is None else tuple(sorted(kept)),
        predictions=predictions,
    )


_KEYS = ("strategy", "fold", "row", "site", "date", "observed")
_SCORE_COLUMNS = ["strategy", "method", "scored_on", "n", "r", "rmse", "ubrmse", "bias", "stations", "median_r",
                  "median_rmse", "median_ubrmse", "median_bias"]  # fmt: skip


def _screened(screener: Screener | None, rows: pd.DataFrame, notes: dict[str, str], name: str) -> frozenset[str] | None:
    """Return the sites kept among rows; None, and a note, if screening was refused."""
    if screener is None:
        return None
    try:
        return frozenset(map(str, screener(rows)))
    except ScreeningError as error:
        notes[name] = str(error)
        return None


def _usable(
    screener: Screener | None, table: pd.DataFrame, cut: Sequence[Fold], notes: dict[str, str], name: str
) -> list[frozenset[str]] | None:
    """Return the sites kept in the training rows of each fold; None if screening was refused in any."""
    if screener is None:
        return None
    kept = []
    for fold in cut:
        sites = _screened(screener, table.iloc[fold.train], notes, name)
        if sites is None:
            notes[name] = f"fold {fold.name}: {notes[name]}"
            return None
        kept.append(sites)
    return kept


def _held_out(
    table_of: Callable[[Fold], pd.DataFrame],
    strategy: str,
    cut: Sequence[Fold],
    fitter: Fitter,
    kept: list[frozenset[str]] | None,
    baselines: Sequence[str],
    columns: Columns,
) -> pd.DataFrame:
    """Return out-of-fold predictions of every method, for the rows that all of them can be scored on."""
    parts = []
    for i, fold in enumerate(cut):
        table = table_of(fold)
        train, test = table.iloc[fold.train], table.iloc[fold.test]
        found = _fitted(train, test, fitter, kept[i] if kept else None, columns)
        found |= _corrected(train, test, baselines, columns.target)
        found[CLIMATOLOGY] = seasonal_climatology(train, test, columns)
        keys = {
            "strategy": strategy,
            "fold": fold.name,
            "row": fold.test,
            "site": label_column(test, columns.site).to_numpy(),
            "date": day_column(test, columns.time).to_numpy(),
            "observed": test[columns.target].to_numpy(dtype=float),
        }
        parts.append(pd.DataFrame(keys | found))
    whole = pd.concat(parts, ignore_index=True)
    finite = np.isfinite(whole.drop(columns=list(_KEYS[:-1])).to_numpy(dtype=float)).all(axis=1)
    scored: pd.DataFrame = whole[finite].sort_values("row", ignore_index=True)
    return scored


def _fitted(
    train: pd.DataFrame, test: pd.DataFrame, fitter: Fitter, kept: frozenset[str] | None, columns: Columns
) -> _Predictions:
    """Return predictions of the test rows by a model of all training rows and, if there are any, by one of the kept
    sites."""
    found = {UNSCREENED: fitter(train).predict(test).astype(float)}
    if kept is not None:
        chosen = label_column(train, columns.site).isin(kept)
        found[SCREENED] = found[UNSCREENED] if chosen.all() else fitter(train[chosen]).predict(test).astype(float)
    return found


def _corrected(train: pd.DataFrame, test: pd.DataFrame, baselines: Sequence[str], target: str) -> _Predictions:
    """Return baselines in the test rows, as they are and less their bias in the training rows."""
    found: _Predictions = {}
    for name in baselines:
        found[name] = test[name].to_numpy(dtype=float)
        found[name + CORRECTED] = found[name] - bias(train[name], train[target])
    return found


def seasonal_climatology(train: pd.DataFrame, test: pd.DataFrame, columns: Columns) -> Float64Array:
    """Predict rows by the seasonal cycle of other sites alone.

    Parameters
    ----------
    train
        Rows with the target; those without it are left out.
    test
        Rows to predict; only their days are read.
    columns
        Names of target, site and time.

    Returns
    -------
    numpy.ndarray
        float64, shape (row,), in the unit of the target: the mean over the training sites of their means within 15
        days of the day of the year, whatever the year; the mean of all sites where none has such a day. NaN without
        training rows.
    """
    known = train[train[columns.target].notna()]
    sites, count = pd.factorize(label_column(known, columns.site))[0], known[columns.site].nunique()
    days = day_column(known, columns.time).dt.dayofyear.to_numpy() - 1
    sums = np.zeros((2, count, 366))
    np.add.at(sums[0], (sites, days), known[columns.target].to_numpy(dtype=float))
    np.add.at(sums[1], (sites, days), 1.0)
    around = np.concatenate((sums[..., -_SEASON_DAYS:], sums, sums[..., :_SEASON_DAYS]), axis=-1).cumsum(axis=-1)
    around = np.concatenate((np.zeros((2, count, 1)), around), axis=-1)
    total, number = around[..., 2 * _SEASON_DAYS + 1 :] - around[..., : -2 * _SEASON_DAYS - 1]
    number = np.rint(number)
    with np.errstate(invalid="ignore", divide="ignore"):
        by_site = np.where(number > 0, total / number, np.nan)
        there = np.isfinite(by_site)
        cycle = np.where(there, by_site, 0.0).sum(axis=0) / there.sum(axis=0)
        level = np.mean(sums[0].sum(axis=1) / sums[1].sum(axis=1)) if count else np.nan
    cycle = np.where(np.isfinite(cycle), cycle, level)
    return np.asarray(cycle[day_column(test, columns.time).dt.dayofyear.to_numpy() - 1], dtype=float)


def _results(predictions: pd.DataFrame, kept: frozenset[str] | None) -> Iterator[StrategyResult]:
    """Yield the scores of every method under every strategy."""
    methods = [name for name in predictions.columns if name not in _KEYS and name != CLIMATOLOGY]
    for strategy, rows in predictions.groupby("strategy", sort=False):
        sets = {"all": rows} if kept is None else {"all": rows, "kept": rows[rows["site"].isin(kept)]}
        for method in methods:
            if rows[method].notna().any():  # else it was refused under this strategy
                for scored_on, part in sets.items():
                    yield _result(str(strategy), method, scored_on, part)


def _result(strategy: str, method: str, scored_on: str, rows: pd.DataFrame) -> StrategyResult:
    """Return pooled scores, and medians over stations."""
    stations = list(station_scores(rows, method).values())
    pooled = agreement_scores(rows[method], rows["observed"])
    return StrategyResult(strategy, method, scored_on, pooled, len(stations), _median(stations))


def station_scores(rows: pd.DataFrame, method: str) -> dict[str, Scores]:
    """Compute the scores of each station with at least 10 rows.

    Parameters
    ----------
    rows
        Rows of `Evaluation.predictions`, of one strategy.
    method
        One of its columns, m3 m-3.

    Returns
    -------
    dict
        Site to its scores, in the order of the names of the sites.
    """
    by_site = rows.groupby("site", sort=True)
    return {
        str(site): agreement_scores(part[method], part["observed"]) for site, part in by_site if len(part) >= LEAST_ROWS
    }


def _median(stations: Sequence[Scores]) -> Scores:
    """Return the median of each score; NaN without stations. Stations without the score (a constant has no R) are left
    out."""
    names = ("r", "rmse", "ubrmse", "bias")
    medians = {name: _nanmedian([getattr(one, name) for one in stations]) for name in names}
    return Scores(n=int(np.median([one.n for one in stations])) if stations else 0, **medians)


def _nanmedian(values: Sequence[float]) -> float:
    finite = [value for value in values if not math.isnan(value)]
    return float(np.median(finite)) if finite else math.nan


def _line(result: StrategyResult) -> dict[str, Any]:
    """Return a line of the table of scores."""
    medians = {f"median_{name}": value for name, value in asdict(result.median).items() if name != "n"}
    names = {"strategy": result.strategy, "method": result.method, "scored_on": result.scored_on}
    return names | asdict(result.pooled) | {"stations": result.stations} | medians


def _without_nan(value: Any) -> Any:
    """Return a value with None for NaN, at any depth of dicts."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
