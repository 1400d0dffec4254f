"""Write the model of a table into a folder of its own, and read how its features come from columns.

The folder holds a STAC item, the model, its training rows, and a report as that of a project's model.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.columns import Columns, day_column, numeric_column
from stac_sm.core.errors import InputError
from stac_sm.core.period import Period
from stac_sm.model.evaluate import UNSCREENED
from stac_sm.model.item import ITEM_FILE, model_item, write_model_assets
from stac_sm.model.model import read_asset, read_item
from stac_sm.model.skill import SKILL_PROPERTY, Skill
from stac_sm.model.tabular.features import TableFeatures
from stac_sm.model.tabular.fit import TableModel
from stac_sm.model.user_table import OTHER, TableCleaning
from stac_sm.stac.items import ItemDict, item_json, with_location
from stac_sm.storage.store import sha256
from stac_sm.workflows.reporting.findings import ReportInputs
from stac_sm.workflows.reporting.page import report_asset_fields, write_model_report
from stac_sm.workflows.training.table_holdouts import TableEvaluation
from stac_sm.workflows.training.training_rows import TRAINING_ROWS, training_rows_asset

CLEANED_PROPERTY = "stac_sm:cleaned"
"""What was found in the training table and taken as missing, in the item of its model."""

_FEATURES = "features"
_SUFFIXES = (".ubj", ".json", ".html", ".parquet")  # of all files that a model has
_NOTHING_FOUND = TableCleaning()


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
        **made.learned.facts,
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
        properties[CLEANED_PROPERTY] = cleaning.to_dict()
    return properties


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
