"""Predict the rows of a table with a model, and write one line a row: prediction, interval, applicability.

``stac-sm predict-table`` and ``stac-sm evaluate --out`` write the same lines; `table_scores` reads and cleans their
tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from stac_sm.core.columns import Columns, numeric_column
from stac_sm.model.model import Model
from stac_sm.model.user_table import write_table


class FeatureBuilder(Protocol):
    """How the features of a model come from the columns of a table."""

    @property
    def columns(self) -> Columns:
        """Names of target, site and time in the table."""

    def build(self, table: pd.DataFrame, /) -> pd.DataFrame:
        """Return one row of features a row of the table."""


@dataclass(frozen=True, eq=False)
class RowPredictions:
    """What a model says of each row of a table."""

    table: pd.DataFrame
    """One row a row of the table, in its order: site and time under the names that they have there, then the target
    (where it is known), ``predicted``, ``low`` and ``high`` (ends of the prediction interval), ``dissimilarity`` and
    ``applicable`` (Meyer and Pebesma 2021). Soil moisture in m3 m-3; NaN where there is none."""

    coverage: float
    """Share of the observations that the intervals are meant to contain; NaN without intervals."""

    notes: tuple[str, ...]
    """What the model cannot say, a sentence each."""

    def to_dict(self) -> dict[str, Any]:
        """Return how many rows there are, and how many of them the model is not applicable to.

        Returns
        -------
        dict
            JSON-able.
        """
        counts: dict[str, Any] = {"rows": len(self.table), "columns": list(self.table.columns)}
        if "applicable" in self.table:
            counts["rows_outside_the_area_of_applicability"] = int((~self.table["applicable"]).sum())
        if "low" in self.table:
            counts["interval"] = self.coverage
        return counts


def predict_rows(
    model: Model, features: FeatureBuilder | None, table: pd.DataFrame, *, with_target: bool
) -> RowPredictions:
    """Predict every row of a table.

    Parameters
    ----------
    model
        The model.
    features
        How its features come from the columns of the table; None: they are columns of the table, which has the columns
        of a match-up table of a project.
    table
        Rows as `stac_sm.model.user_table.clean_table` returns them; those without a target are predicted, too.
    with_target
        Whether the target of the table is copied to the result.

    Returns
    -------
    RowPredictions
        A line a row.

    Raises
    ------
    ModelError
        If a feature is missing.
    InputError
        If a column does not hold what it should.
    """
    columns = features.columns if features else Columns()
    values = features.build(table) if features else table
    predicted, half_width = model.predict_with_half_width(values)
    found: dict[str, Any] = {columns.site: table[columns.site], columns.time: table[columns.time]}
    if with_target:
        found[columns.target] = numeric_column(table, columns.target)
    given: dict[str, Any] = {"predicted": predicted}
    notes = []
    if half_width is None:
        notes.append("the model has no prediction intervals: the result has no columns low and high")
    else:
        given |= {"low": predicted - half_width, "high": predicted + half_width}
    if model.applicability is None:
        notes.append("the model has no area of applicability: the result has no columns dissimilarity and applicable")
    else:
        given["dissimilarity"] = model.applicability.dissimilarity(values)
        given["applicable"] = ~model.applicability.outside(values)
    taken = {f"{name} of the table" if name in given else name: value for name, value in found.items()}
    coverage = model.intervals.coverage if model.intervals else np.nan
    return RowPredictions(pd.DataFrame(taken | given, index=table.index), float(coverage), tuple(notes))


def write_row_predictions(rows: RowPredictions, out: Path) -> dict[str, Any]:
    """Write predictions of rows into a file, and return what a command prints of it.

    Parameters
    ----------
    rows
        The predictions.
    out
        ``.parquet`` or ``.csv``; an older file of that name is replaced once the new one is complete.

    Returns
    -------
    dict
        ``out`` and what `RowPredictions.to_dict` returns.

    Raises
    ------
    InputError
        If the file has another suffix.
    """
    write_table(rows.table, out)
    return {"out": str(out), **rows.to_dict()}
