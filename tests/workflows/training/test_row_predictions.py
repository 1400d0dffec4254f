"""Predictions of the rows of a table: each line is what the model says of that row, in either kind of file."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.columns import Columns
from stac_sm.model.model import Model
from stac_sm.workflows.training.row_predictions import predict_rows
from tests.support.checkout import ROOT

PROJECT = ROOT / "tests/support/project_4977fae/project"
(FOLDER,) = PROJECT.glob("sm-models/xgb-*")
ITEM = FOLDER / f"{FOLDER.name}.json"
(MATCHUPS,) = PROJECT.glob("matchups/*/*table.parquet")
MODEL = Model.from_item(str(ITEM))


def run(*arguments, code=0):
    done = CliRunner().invoke(main, [*map(str, arguments), "--project", str(PROJECT)])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def table():
    """Match-ups of the project in another order, some without a target."""
    rows = pd.read_parquet(MATCHUPS).sample(60, random_state=1).reset_index(drop=True)
    return rows.assign(sm=rows["sm"].mask(rows.index % 7 == 0))


def read(file):
    return pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file, float_precision="round_trip")


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_evaluate_writes_a_line_a_row_that_its_scores_come_from(table, suffix, tmp_path):
    table.to_parquet(tmp_path / "t.parquet")
    out = tmp_path / f"rows.{suffix}"
    told = json.loads(run("evaluate", ITEM.stem, tmp_path / "t.parquet", "--out", out, "--json").stdout)
    rows = read(out)
    assert list(rows) == ["site", "date", "sm", "predicted", "low", "high", "dissimilarity", "applicable"]
    assert list(rows["site"]) == list(table["site"])
    assert list(pd.to_datetime(rows["date"])) == list(table["date"])
    np.testing.assert_array_equal(rows["sm"], table["sm"])
    predicted, half_width = MODEL.predict_with_half_width(table)
    np.testing.assert_allclose(rows["predicted"], predicted, rtol=1e-6)
    np.testing.assert_allclose(rows["high"] - rows["low"], 2 * half_width, atol=1e-6)
    np.testing.assert_array_equal(rows["applicable"], ~MODEL.applicability.outside(table))
    assert told["predictions"] == {
        "out": str(out), "rows": 60, "columns": list(rows), "interval": 0.9,
        "rows_outside_the_area_of_applicability": int((~rows["applicable"]).sum()),
    }  # fmt: skip
    known = rows.dropna(subset="sm")
    assert told["n"] == len(known) < 60
    assert told["rmse"] == pytest.approx(np.sqrt(np.mean((known["predicted"] - known["sm"]) ** 2)), rel=1e-5)
    inside = (known["sm"] >= known["low"]) & (known["sm"] <= known["high"])
    assert told["coverage90"] == pytest.approx(inside.mean())
    plain = json.loads(run("evaluate", ITEM.stem, tmp_path / "t.parquet", "--json").stdout)
    assert {name: value for name, value in told.items() if name != "predictions"} == plain


def test_predict_table_needs_no_target_and_says_the_same(table, tmp_path):
    table.to_parquet(tmp_path / "with.parquet")
    table.drop(columns="sm").to_parquet(tmp_path / "without.parquet")
    run("evaluate", ITEM.stem, tmp_path / "with.parquet", "--out", tmp_path / "evaluated.parquet")
    told = json.loads(
        run("predict-table", ITEM, tmp_path / "without.parquet", "--out", tmp_path / "p.parquet", "--json").stdout
    )
    found = pd.read_parquet(tmp_path / "p.parquet")
    evaluated = pd.read_parquet(tmp_path / "evaluated.parquet").drop(columns="sm")
    pd.testing.assert_frame_equal(found, evaluated)
    assert (told["rows"], told["cleaned"], told["notes"]) == (60, {}, [])
    assert "sm" not in told["columns"]
    wrong = table.assign(sm=99.0)  # of another unit: evaluation refuses it, prediction does not look at it
    wrong.to_parquet(tmp_path / "with.parquet")
    assert "99" in run("evaluate", ITEM.stem, tmp_path / "with.parquet", code=1).output
    run("predict-table", ITEM.stem, tmp_path / "with.parquet", "--out", tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "p.parquet"), found)


def test_a_file_that_cannot_be_written_is_refused_before_the_work(table, tmp_path):
    table.to_parquet(tmp_path / "t.parquet")
    refused = [
        (tmp_path / "p.xlsx", ".xlsx suffix found; .csv or .parquet is required"),
        (tmp_path / "no/p.csv", "there is no folder"),
        (tmp_path / "t.parquet", "the table that is read; name another file"),
    ]
    for out, message in refused:
        for command in ("predict-table", "evaluate"):
            assert message in run(command, "no-model.json", tmp_path / "t.parquet", "--out", out, code=1).stderr
    assert "Missing option '--out'" in run("predict-table", ITEM.stem, tmp_path / "t.parquet", code=2).stderr
    assert [file.name for file in tmp_path.iterdir()] == ["t.parquet"]


class PlainTable:
    """Features that are columns of a table with names of its own."""

    columns = Columns(target="theta", site="station", time="predicted")

    def build(self, table):
        return table


def test_what_a_model_lacks_is_left_out_and_said(table):
    from dataclasses import replace

    bare = replace(MODEL, intervals=None, applicability=None)
    own = table.rename(columns={"sm": "theta", "site": "station", "date": "predicted"})
    found = predict_rows(bare, PlainTable(), own, with_target=True)
    assert list(found.table) == ["station", "predicted of the table", "theta", "predicted"]
    np.testing.assert_array_equal(found.table["predicted"], MODEL.predict(table))
    assert [note.partition(":")[0] for note in found.notes] == [
        "the model has no prediction intervals", "the model has no area of applicability",
    ]  # fmt: skip
