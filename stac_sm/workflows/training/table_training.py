"""Train on a table of the user's own: what ``stac-sm train TABLE`` calls.

The model is scored on hold-outs (`table_holdouts`), and is written into a folder with a STAC item and a report
(`table_folder`). `table_scores` scores it on other tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from stac_sm.core.columns import Columns, label_column, require_columns
from stac_sm.core.errors import InputError
from stac_sm.core.progress import LogFunction, StageProgress
from stac_sm.model.applicability import fit_applicability
from stac_sm.model.fit import training_rows
from stac_sm.model.tabular.fit import TableModel, train_table, with_features
from stac_sm.model.user_table import FRACTION, TableCleaning, clean_table, read_table
from stac_sm.model.xgboost_learner import require_device
from stac_sm.workflows.training.table_folder import check_model_folder, training_summary, write_folder
from stac_sm.workflows.training.table_holdouts import TableEvaluation, evaluate_training

_READ, _TRAIN, _SCORE, _WRITE = "reading", "training", "scoring on hold-outs", "writing the report"
_SECONDS = {_READ: 2.0, _TRAIN: 35.0, _SCORE: 25.0, _WRITE: 13.0}  # of a table of 90,000 rows and 20 columns

_AREA_ROWS = 30_000
"""Most rows that the area of applicability is made from, shared alike among the sites: days of a site say nearly the
same, and distances between all rows of a long table would take longer than training on them."""


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
        The model with its area of applicability, its scores and its item.

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
    made = _with_applicability(made, table)
    item = write_folder(made, table, folder, found, clean.found)
    return TrainedFolder(made, found, item, clean.found)


def _with_applicability(made: TableModel, table: pd.DataFrame) -> TableModel:
    """Return the model with its area of applicability; as it is where the table has one site, or nothing varies."""
    columns, model = made.features.columns, made.model
    finished = with_features(table, made.built, columns)
    rows = training_rows(finished, model.features, columns, _AREA_ROWS).position
    sites = label_column(table.iloc[rows], columns.site)
    try:
        area = fit_applicability(made.built.iloc[rows], model.features, model.importance(), sites)
    except InputError:  # predictions of rows say that there is none
        return made
    return replace(made, learned=replace(made.learned, model=replace(model, applicability=area)))
