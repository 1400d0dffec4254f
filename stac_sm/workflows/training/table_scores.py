"""Score models on tables of other rows, and predict the rows of a table.

`evaluate_model` is what ``stac-sm evaluate`` calls, and `predict_table_file` what ``stac-sm predict-table`` calls. Both
take models of projects and of tables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pystac

from stac_sm.core.columns import Columns, instant_column, label_column, numeric_column, require_columns
from stac_sm.core.errors import InputError
from stac_sm.core.metrics import Scores, agreement_scores
from stac_sm.model.model import Model, read_item
from stac_sm.model.tabular.features import TableFeatures
from stac_sm.model.user_table import (
    FRACTION,
    OTHER,
    CleanTable,
    TableCleaning,
    check_table_file,
    clean_table,
    read_table,
)
from stac_sm.stac.simulated import SIMULATED_FIELD
from stac_sm.workflows.reporting.findings import ScoreInterval, mean_interval
from stac_sm.workflows.training.row_predictions import predict_rows, write_row_predictions
from stac_sm.workflows.training.table_folder import CLEANED_PROPERTY, read_features
from stac_sm.workflows.training.training_rows import TrainedOn, read_training_rows, rows_by_training

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

    cleaning: TableCleaning = field(default_factory=TableCleaning)
    """What was found in the table and taken as missing."""

    written: Mapping[str, Any] = field(default_factory=dict)
    """File of the lines a row, and what is in it; empty if none was asked for."""

    model_notes: tuple[str, ...] = ()
    """What a reader must know of the model, a sentence each."""

    written_notes: tuple[str, ...] = ()
    """What the lines a row do not have, a sentence each."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that a reader of the scores must know."""
        unscored = (f"{self.without_target} rows without a target are not scored",) if self.without_target else ()
        return (*self.model_notes, *self.trained_on.notes, *self.cleaning.notes, *unscored, *self.written_notes)

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
    scores = evaluate_table(model, features, clean.table, trained_on)
    scores = replace(scores, cleaning=clean.found, model_notes=_notes_on_model(item))
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
    notes = [*_notes_on_model(item), *rows.notes, *clean.found.notes]
    return {**write_row_predictions(rows, out), "cleaned": clean.found.to_dict(), "notes": notes}


def _notes_on_model(item: pystac.Item) -> tuple[str, ...]:
    """Return that a model is of a simulated Earth, where it is."""
    if not item.properties.get(SIMULATED_FIELD):
        return ()
    return ("The model is simulated: it was trained on inputs and stations of a simulated Earth, on no measurements.",)


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
    before = item.properties.get(CLEANED_PROPERTY, {})
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


def _known_fill_values(cleaned: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the fill values that the training table had, by column."""
    return {name: [float(value) for value in found] for name, found in cleaned.get("fill_values", {}).items()}


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
