"""Train on a table of the user's own, write the model into a folder, and score models on other tables.

`train_table_folder` is what ``stac-sm train TABLE`` calls, and `evaluate_model` what ``evaluate`` calls. The folder
holds a STAC item, the model, and how its features come from columns; its report has scores on hold-outs and a search
for leaks, as that of a project's model.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.columns import Columns, day_column, instant_column, label_column, numeric_column, require_columns
from stac_sm.core.errors import InputError
from stac_sm.core.metrics import Scores, agreement_scores
from stac_sm.core.period import Period
from stac_sm.core.progress import LogFunction, StageProgress
from stac_sm.model.diagnostics.diagnose import diagnose
from stac_sm.model.diagnostics.results import Diagnostics, DiagnosticsBudget
from stac_sm.model.evaluate import UNSCREENED, Evaluation, Fitter, evaluate
from stac_sm.model.fit import DEFAULT_ROUNDS, DIAGNOSTIC_ROUNDS, Rounds
from stac_sm.model.holdout import hold_outs
from stac_sm.model.item import ITEM_FILE, model_item, write_model_assets
from stac_sm.model.model import Model, read_asset, read_item
from stac_sm.model.skill import SKILL_PROPERTY, Skill
from stac_sm.model.skill_scores import skill_of, with_baselines
from stac_sm.model.tabular.features import TableFeatures
from stac_sm.model.tabular.fit import TableModel, learn_table, train_table, with_features
from stac_sm.model.user_table import (
    FRACTION,
    OTHER,
    CleanTable,
    TableCleaning,
    check_table_file,
    clean_table,
    read_table,
)
from stac_sm.model.xgboost_learner import require_device
from stac_sm.stac.items import ItemDict, item_json, with_location
from stac_sm.storage.store import sha256
from stac_sm.workflows.reporting.findings import ReportInputs, ScoreInterval, mean_interval
from stac_sm.workflows.reporting.page import report_asset_fields, write_model_report
from stac_sm.workflows.training.row_predictions import predict_rows, write_row_predictions
from stac_sm.workflows.training.training_rows import (
    TRAINING_ROWS,
    TrainedOn,
    read_training_rows,
    rows_by_training,
    training_rows_asset,
)

_TOGETHER = ("random", "network")  # strategies in which features of all rows may be used
_BUDGET = DiagnosticsBudget(points=2, draws=3, folds=2, repeats=1, rows=4_000)
_FOLDS = 5
_STRATEGY_ROWS = 7_500  # most rows for the strategies that train models of their own
_READ, _TRAIN, _SCORE, _WRITE = "reading", "training", "scoring on hold-outs", "writing the report"
_SECONDS = {_READ: 2.0, _TRAIN: 35.0, _SCORE: 25.0, _WRITE: 3.0}  # of a table of 90,000 rows and 20 columns
_NOTHING_FOUND = TableCleaning()


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


@dataclass(frozen=True, eq=False)
class TrainedFolder:
    """A model of a table that was trained, scored and written to a folder."""

    made: TableModel
    """The model, and how it was chosen."""

    found: TableEvaluation
    """Its scores on hold-outs, and leaks."""

    item: Path
    """Its STAC item; ``report.html`` and ``metrics.json`` lie beside it."""

    cleaning: TableCleaning
    """What was found in the table and taken as missing."""

    def summary(self) -> dict[str, Any]:
        """Return what a user should know of the training.

        Returns
        -------
        dict
            JSON-able: what `training_summary` says, what was found in the table, and a note on each of that.
        """
        return {
            **training_summary(self.made),
            "skill": [one.to_dict() for one in self.found.skill],
            "cleaned": self.cleaning.to_dict(),
            "notes": [*self.cleaning.notes, *self.made.learned.notes],
        }


def train_table_folder(
    file: Path,
    columns: Columns,
    folder: Path,
    *,
    features: Sequence[str] | None = None,
    plain: bool,
    seed: int = 0,
    target_unit: str = FRACTION,
    device: str = "cpu",
    baselines: Sequence[str] = (),
    overwrite: bool = False,
    log: LogFunction = lambda line: None,
) -> TrainedFolder:
    """Train a model on a match-up table, score it on hold-outs, and write both to a folder.

    Parameters
    ----------
    file
        CSV or Parquet, a row per site and time.
    columns
        Which columns play which part.
    folder
        New or empty: looked at before the training, which takes minutes.
    features
        Feature columns; all numbers that can be one if it is None.
    plain
        Whether to train one booster on the columns as they are.
    seed
        Of folds and draws.
    target_unit
        Unit of the target in the file, one of `stac_sm.model.user_table.TARGET_UNITS`; the model is in m3 m-3.
    device
        ``cpu`` or ``cuda``, where the installed XGBoost can use it.
    baselines
        Columns in the unit of the target that the model is compared with, e.g. the satellite product that it improves.
    overwrite
        Whether a model that is in the folder is replaced.
    log
        Takes a line with the stage, the share that is done and the time left.

    Returns
    -------
    TrainedFolder
        The model, its scores and its item.

    Raises
    ------
    InputError
        If the folder is not empty, or the table is not what it should be.
    """
    check_model_folder(folder, overwrite=overwrite)
    require_device(device)
    progress = StageProgress(f"train {file.name}", _SECONDS, log)
    progress.stage(_READ)
    clean = clean_table(read_table(file, columns.site), columns, features=features, target_unit=target_unit)
    table = clean.table
    require_columns(table, baselines, "--baseline")
    progress.stage(_TRAIN)
    made = train_table(table, columns, features=features, plain=plain, seed=seed, device=device, progress=progress.step)
    progress.stage(_SCORE)
    found = evaluate_training(made, table, baselines=baselines, progress=progress.step)
    progress.stage(_WRITE)
    item = write_folder(made, table, folder, found, clean.found)
    return TrainedFolder(made, found, item, clean.found)


def evaluate_model(href: str, file: Path, *, target_unit: str | None = None, out: Path | None = None) -> TableScores:
    """Score a model on a table of other rows.

    Parameters
    ----------
    href
        Item of the model, of a project or of a folder.
    file
        CSV or Parquet with the columns that the model was trained on.
    target_unit
        Unit of the target in the file, one of `stac_sm.model.user_table.TARGET_UNITS`; scores are in m3 m-3. None:
        m3 m-3, or ``other`` for a model that was trained on a target that is no soil moisture.
    out
        ``.csv`` or ``.parquet`` for a line a row of the table: target, prediction, interval, applicability.

    Returns
    -------
    TableScores
        Over all rows, over sites, apart for what the model was trained on, and of the prediction intervals.

    Raises
    ------
    CatalogError, ModelError, InputError
        If there is no such model, it is not complete, or the table lacks a column.
    """
    if out is not None:
        check_table_file(out, file)
    model, features, item = Model.from_item(href), read_features(href), read_item(href)
    clean = _cleaned(model, features, item, file, target_unit)
    trained_on = read_training_rows(item)
    scores = replace(evaluate_table(model, features, clean.table, trained_on), cleaning=clean.found)
    if out is None:
        return scores
    rows = predict_rows(model, features, clean.table, with_target=True)
    return replace(scores, written=write_row_predictions(rows, out), written_notes=rows.notes)


def predict_table_file(href: str, file: Path, out: Path) -> dict[str, Any]:
    """Predict every row of a table, which needs no target, and write a line a row.

    Parameters
    ----------
    href
        Item of the model, of a project or of a folder.
    file
        CSV or Parquet with site, time and the feature columns that the model was trained on. A column of the target is
        left alone.
    out
        ``.csv`` or ``.parquet``: site, time, ``predicted``, ``low`` and ``high``, ``dissimilarity`` and ``applicable``.

    Returns
    -------
    dict
        JSON-able: the file, its rows and columns, what was found in the table, and notes.

    Raises
    ------
    CatalogError, ModelError, InputError
        If there is no such model, it is not complete, the table lacks a column, or ``out`` cannot be written.
    """
    check_table_file(out, file)
    model, features, item = Model.from_item(href), read_features(href), read_item(href)
    clean = _cleaned(model, features, item, file, None, with_target=False)
    rows = predict_rows(model, features, clean.table, with_target=False)
    notes = [*rows.notes, *clean.found.notes]
    return {**write_row_predictions(rows, out), "cleaned": clean.found.to_dict(), "notes": notes}


def _cleaned(
    model: Model,
    features: TableFeatures | None,
    item: Any,
    file: Path,
    target_unit: str | None,
    *,
    with_target: bool = True,
) -> CleanTable:
    """Return a table of other rows as the model needs it; without a target, a column without values stands for it."""
    columns = features.columns if features else Columns()
    before = item.properties.get(_CLEANED, {})
    table = read_table(file, columns.site)
    if not with_target:
        table = table.assign(**{columns.target: np.nan})
    return clean_table(
        table,
        columns,
        features=features.given if features else model.features,
        target_unit=target_unit or (OTHER if before.get("target_unit") == OTHER else FRACTION),
        known_fill_values=_known_fill_values(before),
        required_by="the evaluation" if with_target else "the prediction",
    )


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


def write_table_report(
    made: TableModel,
    table: pd.DataFrame,
    found: TableEvaluation,
    folder: Path,
    cleaning: TableCleaning = _NOTHING_FOUND,
) -> dict[str, Path]:
    """Write the files of `write_model_report` into a folder that exists; where they lie, by their names."""
    facts: dict[str, Any] = {
        "columns": ", ".join(made.choice.taken),
        "rows": made.learned.rows,
        "rows without target": made.without_target,
        "sites": made.learned.sites,
        "boosters": ", ".join(part.name for part in made.learned.parts),
        "rounds": f"{made.learned.rounds.values} of values, {made.learned.rounds.anomalies} of anomalies",
    }
    report = ReportInputs(
        title="Model of a table",
        evaluation=found.evaluation,
        table=table,
        diagnostics=found.diagnostics,
        skill=found.skill,
        trained=UNSCREENED,
        facts=facts,
        notes=(*cleaning.notes, *made.learned.notes, *_refusals(made)),
        columns=made.features.columns,
    )
    return write_model_report(folder, report)


_FEATURES = "features"
_SUFFIXES = (".ubj", ".json", ".html", ".parquet")  # of all files that a model has
_CLEANED = "stac_sm:cleaned"
_LEAST_ROWS = 10  # of a station, for scores of its own


@dataclass(frozen=True)
class TableScores:
    """Scores of a model on a table."""

    pooled: Scores
    """Over all rows at once."""

    median_r: float
    """Median over stations of their R; NaN without a station that has one."""

    median_ubrmse: float
    """Median over stations of their ubRMSE, m3 m-3."""

    coverage: float
    """Share of the rows inside their 90 % interval; NaN for a model without intervals."""

    coverage_interval: ScoreInterval
    """5 and 95 % of that share, by resampling sites; NaN with a single site, or without intervals."""

    without_target: int
    """Rows that were not scored."""

    trained_on: TrainedOn
    """How many of the rows the model was trained on, and the scores of those and of the others."""

    cleaning: TableCleaning = _NOTHING_FOUND
    """What was found in the table and taken as missing."""

    written: Mapping[str, Any] = field(default_factory=dict)
    """File of the lines a row, and what is in it; empty if none was asked for."""

    written_notes: tuple[str, ...] = ()
    """What the lines a row do not have, a sentence each."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that a reader of the scores must know."""
        unscored = (f"{self.without_target} rows without a target are not scored",) if self.without_target else ()
        return (*self.trained_on.notes, *self.cleaning.notes, *unscored, *self.written_notes)

    def to_dict(self) -> dict[str, Any]:
        """Return what `stac-sm evaluate --json` prints.

        Returns
        -------
        dict
            Scores in m3 m-3 (but for R and counts), NaN where there is none.
        """
        return {
            **asdict(self.pooled),
            "per_station": {"r_median": self.median_r, "ubrmse_median": self.median_ubrmse},
            "coverage90": self.coverage,
            "coverage90_interval": list(self.coverage_interval),
            **self.trained_on.to_dict(),
            "rows_without_target": self.without_target,
            "cleaned": self.cleaning.to_dict(),
            "notes": list(self.notes),
            **({"predictions": dict(self.written)} if self.written else {}),
        }


def write_folder(
    made: TableModel,
    table: pd.DataFrame,
    folder: Path,
    found: TableEvaluation | None = None,
    cleaning: TableCleaning = _NOTHING_FOUND,
) -> Path:
    """Write a model into a folder of its own, complete or not at all; the same model gives the same bytes.

    Parameters
    ----------
    table
        What it was trained on: where and when its rows lie is said in the item.
    folder
        New, empty, or with an older model, which is replaced.
    found
        For the report, which is left out without it.
    cleaning
        What was found in the table: the item and the report say it.

    Returns
    -------
    pathlib.Path
        The item.

    Raises
    ------
    InputError
        If the folder holds anything else.
    """
    check_model_folder(folder, overwrite=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        assets = {**write_model_assets(made.model, scratch), _FEATURES: _features_asset(made.features, scratch)}
        assets[TRAINING_ROWS] = training_rows_asset(table, made.features.columns, scratch)
        if found is not None:
            files, fields = write_table_report(made, table, found, scratch, cleaning), report_asset_fields()
            assets |= {key: AssetFile(file, file.suffix, fields[key]) for key, file in files.items()}
        item = _item(made, table, cleaning, found.skill if found is not None else ())
        item["assets"] = {key: _located(asset) for key, asset in assets.items()}
        (scratch / ITEM_FILE).write_bytes(item_json(item))
        scratch.chmod(0o755)  # mkdtemp's is for its owner only
        _swap(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder / ITEM_FILE


def check_model_folder(folder: Path, *, overwrite: bool) -> None:
    """Check that a model may be written into a folder.

    Parameters
    ----------
    folder
        May exist.
    overwrite
        Whether a model that is there may be replaced.

    Raises
    ------
    InputError
        If it holds a model that may not be replaced, or anything but a model that `write_folder` has written.
    """
    found = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder}: a file found; a folder is required, new or with an older model")
    known = {f"{_FEATURES}.json", ITEM_FILE}
    if found and not (known <= set(found) and all(name.endswith(_SUFFIXES) for name in found)):
        raise InputError(
            f"--out {folder}: {', '.join(sorted(found)[:5])} found; a new or empty folder is required, or one with an "
            "older model and --overwrite"
        )
    if found and not overwrite:
        raise InputError(f"--out {folder}: a model is there: give --overwrite to replace it, or another folder")


def read_features(href: str) -> TableFeatures | None:
    """Read how the features of a model come from the columns of a table.

    Parameters
    ----------
    href
        Item of the model.

    Returns
    -------
    TableFeatures or None
        None for a model of a recipe.

    Raises
    ------
    CatalogError
        If there is no such item.
    ModelError
        If the file is missing or changed, or from the future.
    """
    item = read_item(href)
    if _FEATURES not in item.assets:
        return None
    return TableFeatures.from_dict(json.loads(read_asset(item, _FEATURES)))


def evaluate_table(
    model: Model, features: TableFeatures | None, table: pd.DataFrame, training_rows: pd.DataFrame | None = None
) -> TableScores:
    """Score a model on a table, e.g. of stations that it has not seen.

    Parameters
    ----------
    features
        How features come from the table's columns, with the names of target, site and time. None: the features are
        columns of the table, which has the columns of a match-up table of a project.
    table
        Rows without a target are not scored, but their features show what a site is like.
    training_rows
        ``site, time`` of the rows that the model was trained on; None where that is not known.

    Raises
    ------
    InputError
        If a column is missing or does not hold what it should, or no row has a target.
    ModelError
        If a feature of a model of a recipe is no column.
    """
    columns = features.columns if features else Columns()
    require_columns(table, [columns.target, columns.site], "the evaluation")
    observed = numeric_column(table, columns.target)
    known = ~np.isnan(observed)
    if not known.any():
        raise InputError(
            f"evaluation: found no row with a target {columns.target!r} among {len(table)}; one is required"
        )
    values = (features.build(table) if features else table)[known]
    rows = pd.DataFrame({"site": label_column(table, columns.site)[known], "observed": observed[known]})
    rows["time"] = instant_column(table, columns.time).to_numpy()[known]
    rows["predicted"] = model.predict(values).astype(float)
    covered, sure = _coverage(rows, model, values)
    stations = [agreement_scores(one["predicted"], one["observed"]) for one in _stations(rows)]
    return TableScores(
        pooled=agreement_scores(rows["predicted"], rows["observed"]),
        median_r=_median([one.r for one in stations]),
        median_ubrmse=_median([one.ubrmse for one in stations]),
        coverage=covered,
        coverage_interval=sure,
        without_target=int((~known).sum()),
        trained_on=rows_by_training(rows, training_rows),
    )


def training_summary(made: TableModel) -> dict[str, Any]:
    """Return what a user should know of a training.

    Parameters
    ----------
    made
        The model and how it was chosen.

    Returns
    -------
    dict
        JSON-able: features, rows, sites, boosters, tuning, scores at unseen sites, intervals.
    """
    learned, intervals = made.learned, made.model.intervals
    return {
        "features": {"taken": list(made.choice.taken), "left": dict(made.choice.left)},
        "derived_features": len(made.features.names),
        "rows": learned.rows,
        "rows_without_target": made.without_target,
        "rows_trained_on": learned.fitted_rows,
        "rows_selected_on": learned.selection_rows,
        "sites": learned.sites,
        "boosters": {part.name: member.weight for part, member in zip(learned.parts, made.model.members, strict=True)},
        "rounds": asdict(learned.rounds),
        "tuning": dict(learned.errors),
        "at_unseen_sites": _unseen(made),
        "intervals": intervals.description if intervals else learned.intervals_refused,
    }


def _unseen(made: TableModel) -> dict[str, Any] | None:
    """Return the scores at unseen sites, with the 90 % interval of the RMSE; None where there are none."""
    learned = made.learned
    return None if learned.scores is None else {**asdict(learned.scores), "rmse_interval90": learned.rmse_interval}


def _refusals(made: TableModel) -> list[str]:
    return [made.learned.intervals_refused] if made.learned.intervals_refused else []


def _places(table: pd.DataFrame, columns: Columns) -> list[str]:
    return [name for name in (columns.lat, columns.lon) if name in table]


def _swap(scratch: Path, folder: Path) -> None:
    """Put a finished folder in the place of an older one."""
    older = scratch.with_name(f"{scratch.name}.older")
    if folder.exists():
        folder.rename(older)
    scratch.rename(folder)
    shutil.rmtree(older, ignore_errors=True)


def _item(made: TableModel, table: pd.DataFrame, cleaning: TableCleaning, skill: Sequence[Skill]) -> ItemDict:
    columns = made.features.columns
    when = day_column(table, columns.time)
    item = model_item(
        made.model,
        fingerprint=made.fingerprint,
        bbox=_bbox(table, columns),
        period=Period(when.min().date(), when.max().date() + timedelta(days=1)),
        hyperparameters={"boosters": [part.fingerprint_fields() for part in made.learned.parts]},
        properties=_properties(made, cleaning) | ({SKILL_PROPERTY: [one.to_dict() for one in skill]} if skill else {}),
    )
    if cleaning.target_unit == OTHER:
        item["properties"]["mlm:output"][0]["description"] = f"Column {columns.target} of the table, in its unit"
    for one in item["properties"]["mlm:input"]:
        one["description"] = _description(one["name"], made.features)
    del item["collection"]  # the folder is no catalogue
    return item


def _properties(made: TableModel, cleaning: TableCleaning) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "title": "XGBoost on a table" if made.features.plain else "Sum of XGBoost boosters on a table",
        "stac_sm:rows": made.learned.rows,
        "stac_sm:sites": made.learned.sites,
        "stac_sm:dropped": {"rows": {"without target": made.without_target}},
    }
    if unseen := _unseen(made):
        properties["stac_sm:scores"] = {"at_unseen_sites": unseen}
    if made.learned.intervals_refused:
        properties["stac_sm:intervals_refused"] = made.learned.intervals_refused
    if notes := [*cleaning.notes, *made.learned.notes]:
        properties["stac_sm:notes"] = notes
    if cleaning:
        properties[_CLEANED] = cleaning.to_dict()
    return properties


def _known_fill_values(cleaned: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the fill values that the training table had, by column."""
    return {name: [float(value) for value in found] for name, found in cleaned.get("fill_values", {}).items()}


def _description(name: str, features: TableFeatures) -> str:
    column, colon, kind = name.partition(":")
    what = f"{column} of the table" if column in features.given else f"{column}, worked out from columns of the table"
    return f"{what}: {kind.replace('_', ' ')} at the site" if colon else what


def _bbox(table: pd.DataFrame, columns: Columns) -> list[float] | None:
    """Return the box around the rows; None where the table does not state places."""
    if not {columns.lat, columns.lon} <= set(table.columns):
        return None
    lon, lat = numeric_column(table, columns.lon), numeric_column(table, columns.lat)
    known = np.isfinite(lon) & np.isfinite(lat)
    if not known.any():
        return None
    return [float(edge(of[known])) for edge in (np.min, np.max) for of in (lon, lat)]


def _features_asset(features: TableFeatures, folder: Path) -> AssetFile:
    file = folder / f"{_FEATURES}.json"
    file.write_text(json.dumps(features.to_dict(), indent=2) + "\n")
    title = "How features come from the columns of a table"
    return AssetFile(file, ".json", {"title": title, "type": "application/json", "roles": ["metadata"]})


def _located(asset: AssetFile) -> dict[str, Any]:
    return with_location(
        asset.fields, f"./{asset.file.name}", size=asset.file.stat().st_size, sha256=sha256(asset.file)
    )


def _stations(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows of each station that has enough."""
    return [part for _, part in rows.groupby("site") if len(part) >= _LEAST_ROWS]


def _coverage(rows: pd.DataFrame, model: Model, values: pd.DataFrame) -> tuple[float, ScoreInterval]:
    """Return the share of the rows inside their interval and its 90 % interval; NaN without intervals."""
    if model.intervals is None:
        return math.nan, (math.nan, math.nan)
    error = (rows["predicted"] - rows["observed"]).abs().to_numpy()
    inside = error <= model.intervals.half_width(values, rows["predicted"].to_numpy())
    return float(np.mean(inside)), mean_interval(inside, rows["site"].to_numpy())


def _median(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.median(finite)) if finite else float("nan")
