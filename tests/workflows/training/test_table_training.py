"""`train TABLE` and `evaluate MODEL TABLE`: a table in, a model in a folder, honest scores on other stations."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pystac
import pytest
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.columns import Columns
from stac_sm.core.errors import InputError, ModelError
from stac_sm.model.diagnostics.results import DiagnosticsBudget
from stac_sm.model.fit import Rounds
from stac_sm.model.holdout import hold_out
from stac_sm.model.item import model_item_href
from stac_sm.model.model import Model
from stac_sm.model.tabular.fit import train_table
from stac_sm.model.user_table import clean_table
from stac_sm.workflows.training.table_folder import read_features, write_folder
from stac_sm.workflows.training.table_holdouts import _HoldOuts, evaluate_training
from stac_sm.workflows.training.table_scores import evaluate_table

COLUMNS = Columns(target="theta", site="station", time="start")
ROLES = ["--target", "theta", "--site", "station", "--time", "start"]


def table_of(sites=14, rows=24, seed=0):
    """Sites whose mean follows their mean wetness, days that follow the day's."""
    rng = np.random.default_rng(seed)
    when = pd.date_range("2019-01-01", periods=rows, freq="15D").strftime("%Y-%m-%d")
    parts = []
    for i in range(sites):
        level, sand = rng.uniform(0, 1), rng.uniform(0, 90)
        wet, green = level + 0.2 * rng.standard_normal(rows), level * rng.random(rows)
        theta = (0.05 + 0.3 * level + 0.15 * (wet - level) + 0.01 * rng.standard_normal(rows)).clip(0.001)
        part = pd.DataFrame({"theta": theta, "wet": wet, "green": green, "sand": sand}).round(5)
        place = {"station": f"{i:03d}", "start": when, "lat": 40.0 + i % 5, "lon": 9.0 + i, "n_days": 9}
        parts.append(part.assign(**place, note="x"))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(
        theta=table["theta"].mask(table.index % 11 == 0), green=table["green"].mask(table.index % 7 == 0)
    )


TABLE, OTHERS = table_of(), table_of(sites=6, seed=5)


@pytest.fixture(scope="module", autouse=True)
def few_rounds():
    """Enough for these tables, which are easy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stac_sm.model.fit.ROUNDS", (15, 30))
        patch.setattr("stac_sm.model.fit._SITE_ROUNDS", 30)
        patch.setattr("stac_sm.workflows.training.table_holdouts.DIAGNOSTIC_ROUNDS", 15)
        yield


@pytest.fixture(scope="module")
def made(few_rounds):
    return train_table(TABLE, COLUMNS)


def run(*arguments, code=0):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == code, (done.output, done.stderr)
    return done


def predictions(made, table):
    return made.model.predict(made.features.build(table))


def test_the_same_rows_give_the_same_bytes(made, tmp_path):
    again = train_table(TABLE.sample(frac=1, random_state=3)[TABLE.columns[::-1]], COLUMNS, features=made.choice.taken)
    assert again.model.checksum == made.model.checksum
    assert again.fingerprint == made.fingerprint
    for name, model in {"a": made, "b": again}.items():
        write_folder(model, TABLE, tmp_path / name)
    files = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert "item.json" in files
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


def test_the_seed_a_row_and_a_target_matter(made):
    changed = TABLE.assign(theta=TABLE["theta"].where(TABLE.index != 1, 0.5))
    others = [train_table(TABLE, COLUMNS, plain=True, seed=1), train_table(changed, COLUMNS, plain=True)]
    models = [made, train_table(TABLE, COLUMNS, plain=True), *others]
    assert len({one.model.checksum for one in models}) == len({one.fingerprint for one in models}) == 4


def test_changing_held_out_targets_changes_no_training_row_and_no_prediction(made):
    changed = OTHERS.assign(theta=9.0)
    assert np.array_equal(predictions(made, changed), predictions(made, OTHERS))
    assert np.array_equal(predictions(made, OTHERS.drop(columns="theta")), predictions(made, OTHERS))


def test_it_says_what_it_took_and_how_it_did(made):
    learned = made.learned
    assert made.choice.taken == ("wet", "green", "sand")
    assert (learned.rows, made.without_target, learned.sites) == (TABLE["theta"].notna().sum(), 31, 14)
    assert (learned.fitted_rows, learned.selection_rows, learned.notes) == (learned.rows, learned.rows, ())
    assert learned.scores.rmse < 0.08
    low, high = learned.rmse_interval
    assert low < learned.scores.rmse < high
    assert [member.weight for member in made.model.members] == [0.25] * 6


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_command_line_from_either_kind_of_file(suffix, tmp_path, made, validate):
    files = {}
    for name, table in {"train": TABLE, "test": OTHERS}.items():
        files[name] = tmp_path / f"{name}.{suffix}"
        table.to_csv(files[name], index=False) if suffix == "csv" else table.to_parquet(files[name])
    done = run("train", files["train"], *ROLES, "--baseline", "wet", "--out", tmp_path / "m", "--json")
    told = json.loads(done.stdout)
    assert told["features"]["taken"] == ["wet", "green", "sand"]
    assert told["features"]["left"]["n_days"] == "a count"
    assert told["rows_without_target"] == 31
    item = pystac.Item.from_file(str(tmp_path / "m/item.json"))
    validate(item)
    assert {(one["reference"], one.get("name")) for one in told["skill"] if one["strategy"] == "site"} == {
        ("input", "wet"), ("bias-corrected input", "wet"), ("seasonal climatology", None)
    }  # fmt: skip
    metrics = json.loads((tmp_path / "m/metrics.json").read_text())
    assert told["skill"] == item.properties["stac_sm:skill"] == metrics["skill"]
    first = told["skill"][0]
    assert (first["strategy"], first["rmse"]) == (
        "site",
        pytest.approx(metrics["headline"]["pooled"]["rmse"], abs=1e-6),
    )
    assert f"{first['rmse']:.4f}" in (tmp_path / "m/report.html").read_text().partition('id="skill"')[2]
    assert f"RMSE in m3 m-3, {first['rmse']:.4f}, " in done.stderr
    model = Model.from_item(str(tmp_path / "m/item.json"))
    assert replace(model, applicability=None).checksum == made.model.checksum
    done = run("evaluate", tmp_path / "m", files["test"], "--json")
    training_rows = pd.read_parquet(tmp_path / "m/training_rows.parquet")
    assert json.loads(done.stdout) == evaluate_table(made.model, made.features, OTHERS, training_rows).to_dict()
    out = tmp_path / f"rows.{suffix}"
    run("evaluate", tmp_path / "m", files["test"], "--out", out, "--json")
    rows = pd.read_csv(out) if suffix == "csv" else pd.read_parquet(out)
    assert list(rows) == ["station", "start", "theta", "predicted", "low", "high", "dissimilarity", "applicable"]
    assert list(rows["applicable"]) == list(~model.applicability.outside(made.features.build(OTHERS)))
    assert rows["applicable"].mean() > 0.5
    far = OTHERS.assign(wet=OTHERS["wet"] + 9)
    assert model.applicability.outside(made.features.build(far)).all()
    assert "14 rows without a target are not scored" in json.loads(done.stdout)["notes"]
    assert json.loads(run("evaluate", tmp_path / "m/item.json", files["test"], "--json").stdout) == json.loads(
        done.stdout
    )


def test_evaluation_is_what_numpy_says(made):
    found = evaluate_table(made.model, made.features, OTHERS).to_dict()
    assert list(found) == [
        "n", "r", "rmse", "ubrmse", "bias", "per_station", "coverage90", "coverage90_interval", "rows_trained_on",
        "stations_trained_on", "by_training", "rows_without_target", "cleaned", "notes",
    ]  # fmt: skip
    values = made.features.build(OTHERS)
    said = made.model.predict(values)
    rows = OTHERS.assign(p=said, half=made.model.intervals.half_width(values, said)).dropna(subset="theta")
    error = rows["p"] - rows["theta"]
    assert found["n"] == len(rows)
    assert found["r"] == pytest.approx(np.corrcoef(rows["p"], rows["theta"])[0, 1], abs=1e-6)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)
    assert found["bias"] == pytest.approx(error.mean(), rel=1e-4)
    assert found["coverage90"] == pytest.approx((error.abs() <= rows["half"]).mean())
    by_site = (error.abs() <= rows["half"]).groupby(rows["station"]).agg(["sum", "size"]).to_numpy()
    drawn = by_site[np.random.default_rng(1).integers(len(by_site), size=(4000, len(by_site)))].sum(axis=1)
    ends = np.quantile(drawn[:, 0] / drawn[:, 1], [0.05, 0.95])
    np.testing.assert_allclose(found["coverage90_interval"], ends, atol=0.02)  # other draws of the sites
    assert found["per_station"]["ubrmse_median"] == pytest.approx(
        error.groupby(rows["station"]).std(ddof=0).median(), rel=1e-4
    )


def test_stations_with_few_rows_have_no_scores_of_their_own(made):
    few = OTHERS.groupby("station").head(9)
    found = evaluate_table(made.model, made.features, few).to_dict()
    assert np.isnan(found["per_station"]["r_median"])
    assert found["n"] > 0


def test_too_few_sites_for_intervals_or_folds():
    few = train_table(table_of(sites=5), COLUMNS)
    assert few.model.intervals is None
    assert "5 sites found" in few.learned.intervals_refused
    scored = evaluate_table(few.model, few.features, OTHERS)
    assert np.isnan([scored.coverage, *scored.coverage_interval]).all()
    lone = train_table(table_of(sites=1), COLUMNS)
    assert (lone.learned.scores, lone.learned.errors) == (None, {})
    assert np.isfinite(predictions(lone, OTHERS)).all()


def test_plain_is_one_booster_on_the_columns(tmp_path):
    file = tmp_path / "t.csv"
    TABLE.to_csv(file, index=False)
    told = json.loads(
        run("train", file, *ROLES, "--plain", "--features", "wet,sand", "--out", tmp_path / "m", "--json").stdout
    )
    assert told["features"]["taken"] == ["wet", "sand"]
    model = Model.from_item(str(tmp_path / "m/item.json"))
    assert model.features == ("wet", "sand", "doy_sin", "doy_cos")
    assert [member.weight for member in model.members] == [1]
    trees = json.loads(model.members[0].trained.booster.save_raw("json"))["learner"]["gradient_booster"]["model"]
    assert trees["gbtree_model_param"]["num_trees"] == "400"


@pytest.fixture
def folder(made, tmp_path):
    write_folder(made, TABLE, tmp_path / "m")
    return tmp_path / "m"


def test_a_folder_comes_back(made, folder):
    model = Model.from_item(str(folder / "item.json"))
    assert model.checksum == made.model.checksum
    assert read_features(str(folder / "item.json")) == made.features
    with pytest.raises(ModelError, match="trained on a bare table"):
        model.cube_recipe()


@pytest.mark.parametrize("name", ["#02 m", "why?", "100%25 höhe"])
def test_a_relative_folder_of_any_name_comes_back(name, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(made, TABLE, Path(name))
    assert Model.from_item(model_item_href(name)).checksum == made.model.checksum
    assert read_features(model_item_href(name)) == made.features


@pytest.mark.parametrize("name", ["features.json", "model-0.ubj", "model-2.ubj", "intervals.ubj"])
def test_a_changed_file_is_refused(folder, name, tmp_path):
    file = folder / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    TABLE.to_csv(tmp_path / "t.csv", index=False)
    assert f"{name} was changed" in run("evaluate", folder, tmp_path / "t.csv", code=1).stderr
    file.unlink()
    assert "is missing" in run("evaluate", folder, tmp_path / "t.csv", code=1).stderr


def test_an_older_model_is_replaced_and_nothing_else(made, folder, tmp_path):
    plain = train_table(TABLE, COLUMNS, plain=True)
    write_folder(plain, TABLE, folder)
    assert sorted(file.name for file in folder.iterdir()) == [
        "features.json",
        "intervals.ubj",
        "item.json",
        "model.ubj",
        "training_rows.parquet",
    ]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/thesis.txt").write_text("years")
    with pytest.raises(InputError, match=r"thesis.txt found; a new or empty folder is required"):
        write_folder(plain, TABLE, tmp_path / "docs")
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("arguments", "told", "code"),
    [
        (["--plain"], "--plain goes with a TABLE", 1),
        (["--out", "m"], "--out goes with a TABLE", 1),
        (["t.csv", "--target", "theta"], "--site, --time, --out required", 1),
        (["t.csv", *ROLES[:-1], "begin", "--out", "m"], "no column 'begin'", 1),
        (["t.csv", *ROLES, "--features", "wte", "--out", "m"], "no column 'wte' (nearest: wet,", 1),
    ],
)
def test_what_is_wrong_is_said(arguments, told, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    TABLE.to_csv("t.csv", index=False)
    assert told in run("train", *arguments, code=code).stderr
    assert not Path("m").exists()


def test_tables_without_targets(made):
    with pytest.raises(InputError, match="no row with a target 'theta' among 144"):
        evaluate_table(made.model, made.features, OTHERS.assign(theta=np.nan))
    with pytest.raises(InputError, match="no row with a target"):
        train_table(TABLE.assign(theta=np.nan), COLUMNS)
    with pytest.raises(InputError, match="no column 'wet'"):
        evaluate_table(made.model, made.features, OTHERS.drop(columns="wet"))


def test_year_folds_learn_nothing_from_the_year_that_they_are_judged_on():
    """Neither its targets nor its columns: features of the training rows and of the site are the same without it."""
    table = table_of(sites=12, rows=60)
    year = pd.to_datetime(table["start"]).dt.year
    changed = table.assign(wet=table["wet"].where(year != 2020, 9.0), theta=table["theta"].where(year != 2020, 0.5))
    made = train_table(table, COLUMNS, plain=False)
    seen = []
    for one in (table, changed):
        by = _HoldOuts(replace(made, built=made.features.build(one)), one)
        train = one[(year != 2020) & one["theta"].notna()]
        predictor = by.other_years(train)
        seen.append(predictor.predict(one[(year == 2019) & one["theta"].notna()]))
    np.testing.assert_array_equal(*seen)


def test_held_out_targets_have_no_part_in_a_choice(monkeypatch):
    """The predictions of a fold are the same with other targets there, and with other rounds chosen on all rows."""
    monkeypatch.setattr("stac_sm.workflows.training.table_holdouts.diagnose", lambda *_, **__: None)
    table = table_of(rows=40)
    table["network"] = [f"n{int(one) % 2}" for one in table["station"]]
    known, made = table[table["theta"].notna()], train_table(table, COLUMNS)
    other = replace(made, learned=replace(made.learned, rounds=Rounds(1, 1)))
    once = evaluate_training(made, table).evaluation.predictions
    for strategy in ("random", "year", "network"):
        held = known.index[hold_out(known, strategy, columns=COLUMNS)[0].test]
        changed = table.assign(theta=table["theta"].where(~table.index.isin(held), 0.9))
        found = [once, evaluate_training(other, changed).evaluation.predictions]
        rows = [one[(one["strategy"] == strategy) & one["row"].isin(held)].sort_values("row") for one in found]
        assert len(rows[0]) == len(held)
        np.testing.assert_array_equal(rows[0]["unscreened"], rows[1]["unscreened"])


def test_the_strategy_of_sites_is_that_of_the_training(made):
    found = evaluate_training(made, TABLE, budget=DiagnosticsBudget(points=1, draws=1, folds=2, repeats=1, rows=100))
    rows = found.evaluation.predictions
    by_site = rows[rows["strategy"] == "site"]
    np.testing.assert_allclose(by_site["unscreened"], made.learned.out_of_fold[by_site["row"]], rtol=1e-6)
    assert set(by_site["row"]) == set(np.flatnonzero(TABLE["theta"].notna()))
    scores = found.evaluation.result("site", "unscreened").pooled
    assert scores.rmse == pytest.approx(made.learned.scores.rmse, rel=1e-5)


def test_progress_says_stage_share_and_time_left_from_the_start(tmp_path):
    TABLE.to_csv(tmp_path / "t.csv", index=False)
    done = run("train", tmp_path / "t.csv", *ROLES, "--plain", "--out", tmp_path / "m")
    lines = [line for line in done.stderr.splitlines() if line.startswith("train t.csv: ")]
    assert re.fullmatch(r"train t.csv: reading, 0% done, about \d+ s left", lines[0])
    assert [line.split(": ")[1].split(",")[0] for line in lines] == [
        "reading", "training", "scoring on hold-outs", "writing the report"
    ]  # fmt: skip


def test_a_device_that_is_not_there_is_refused_before_any_work(tmp_path):
    TABLE.to_csv(tmp_path / "t.csv", index=False)
    done = run("train", tmp_path / "t.csv", *ROLES, "--device", "cuda", "--out", tmp_path / "m", code=1)
    assert "xgboost-cpu" in done.stderr
    assert not (tmp_path / "m").exists()


def test_training_leaves_a_report_and_says_which_columns_leak(tmp_path):
    """A number of the site: it helps under random rows, and nowhere else."""
    rng = np.random.default_rng(0)
    site = TABLE["station"].astype(int)
    own = rng.permutation(14) * 1.0
    theta = (0.1 + 0.02 * site.map(dict(enumerate(own))) + 0.02 * rng.standard_normal(len(TABLE))).where(
        TABLE["theta"].notna()
    )
    TABLE.assign(theta=theta, number=site * 10).to_csv(tmp_path / "t.csv", index=False)
    done = run("train", tmp_path / "t.csv", *ROLES, "--plain", "--out", tmp_path / "m", "--json")
    found = json.loads(done.stdout)
    assert "number" in found["flagged"]
    numbers = json.loads(Path(found["metrics"]).read_text())
    assert {one["strategy"] for one in numbers["results"]} == {"random", "site"}  # one year only
    page = Path(found["report"]).read_text()
    assert "Leak check: " in page
    item = json.loads(Path(found["item"]).read_text())
    assert {name: item["assets"][name]["stac_sm:visibility"] for name in ("report", "metrics", "series")} == {
        "report": "public",
        "metrics": "public",
        "series": "restricted",
    }
    assert Path(found["series"]).is_file()
    refused = run("train", tmp_path / "t.csv", *ROLES, "--plain", "--out", tmp_path / "m", code=1)
    assert "a model is there: give --overwrite to replace it, or another folder" in refused.stderr
    again = run("train", tmp_path / "t.csv", *ROLES, "--plain", "--out", tmp_path / "m", "--overwrite")
    assert "report" in again.stdout
    assert Path(found["report"]).read_text() == page


def test_what_was_found_in_a_table_stands_in_every_result(tmp_path):
    """A missing target that is written -9999, dashes in a column, and a target in percent."""
    dashes = TABLE["wet"].astype(object).mask(TABLE.index % 100 == 3, "-")
    TABLE.assign(theta=TABLE["theta"].mul(100).fillna(-9999), wet=dashes).to_csv(tmp_path / "fill.csv", index=False)
    refused = run("train", tmp_path / "fill.csv", *ROLES, "--plain", "--out", tmp_path / "m", code=1)
    assert "looks like percent: give `--target-unit percent`" in refused.stderr
    percent = ["--target-unit", "percent"]
    said = json.loads(
        run("train", tmp_path / "fill.csv", *ROLES, *percent, "--plain", "--out", tmp_path / "m", "--json").stdout
    )
    found = {
        "target_unit": "percent",
        "fill_values": {"theta": {"-9999": 31}},
        "not_numbers": {"wet": {"-": 4}},
    }
    item = json.loads((tmp_path / "m/item.json").read_text())
    numbers, page = (Path(said[name]).read_text() for name in ("metrics", "report"))
    page = page.replace("m\u00b3\u00a0m\u207b\u00b3", "m3 m-3")  # units have exponents there
    assert said["cleaned"] == item["properties"]["stac_sm:cleaned"] == found
    assert said["rows_without_target"] == 31
    assert len(said["notes"]) == 3
    for note in said["notes"]:
        assert note in item["properties"]["stac_sm:notes"]
        assert note in json.loads(numbers)["report_notes"]
        for part in note.split(": ", 1):  # the page says once why, after all that it holds for
            assert html.escape(part, quote=False) in page
    missing = TABLE.assign(theta=TABLE["theta"].mul(100) / 100, wet=TABLE["wet"].mask(TABLE.index % 100 == 3))
    plain = train_table(missing, COLUMNS, plain=True)
    assert replace(Model.from_item(said["item"]), applicability=None).checksum == plain.model.checksum
    assert item["properties"]["stac_sm:fingerprint"] == plain.fingerprint
    scored = json.loads(run("evaluate", tmp_path / "m", tmp_path / "fill.csv", *percent, "--json").stdout)
    assert scored["cleaned"] == found
    assert (scored["rows_trained_on"], scored["stations_trained_on"]) == (305, 14)
    assert list(scored["by_training"]) == ["trained_rows"]
    assert "looks like percent" in run("evaluate", tmp_path / "m", tmp_path / "fill.csv", code=1).stderr


def test_stations_that_were_trained_on_are_scored_apart(made, folder, tmp_path):
    later = TABLE[TABLE["station"] == "003"].assign(start=pd.date_range("2021-01-01", periods=24).strftime("%Y-%m-%d"))
    both = pd.concat([OTHERS.assign(station="x" + OTHERS["station"]), TABLE[TABLE["station"] == "002"], later])
    both.to_parquet(tmp_path / "t.parquet")
    scored = json.loads(run("evaluate", folder, tmp_path / "t.parquet", "--json").stdout)
    parts = scored["by_training"]
    assert {kind: part["stations"] for kind, part in parts.items()} == {
        "unseen_stations": 6, "trained_stations_other_times": 1, "trained_rows": 1
    }  # fmt: skip
    assert scored["stations_trained_on"] == 2
    assert sum(part["n"] for part in parts.values()) == scored["n"]
    alone = evaluate_table(made.model, made.features, OTHERS).to_dict()
    assert parts["unseen_stations"] == {
        "stations": 6,
        **{name: alone[name] for name in ("n", "r", "rmse", "ubrmse", "bias")},
    }
    assert "under 'unseen_stations'" in scored["notes"][0]
    assert parts["unseen_stations"]["rmse"] == pytest.approx(alone["rmse"])


def test_a_target_that_is_no_soil_moisture(tmp_path):
    table = TABLE.assign(theta=TABLE["theta"] * 900)
    table.to_csv(tmp_path / "t.csv", index=False)
    clean = clean_table(table, COLUMNS, target_unit="other")
    write_folder(train_table(clean.table, COLUMNS, plain=True), clean.table, tmp_path / "m", cleaning=clean.found)
    item = json.loads((tmp_path / "m/item.json").read_text())
    assert item["properties"]["mlm:output"][0]["description"] == "Column theta of the table, in its unit"
    assert json.loads(run("evaluate", tmp_path / "m", tmp_path / "t.csv", "--json").stdout)["n"] == 305
