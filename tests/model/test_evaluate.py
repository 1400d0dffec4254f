"""Evaluation: right sums, no leak, nothing dropped silently; and the known scores of a real table."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stac_sm.core.errors import InputError, ScreeningError
from stac_sm.core.metrics import agreement_scores
from stac_sm.model.evaluate import LEAST_ROWS, evaluate, station_scores
from stac_sm.model.fit import fit
from stac_sm.model.holdout import hold_outs
from stac_sm.model.train_settings import TrainSettings
from stac_sm.stations.screening import training_screener
from stac_sm.stations.screening_thresholds import ScreeningThresholds

CONUS = Path(__file__).parents[3] / "shared/data/matchup_conus/matchup_conus_10day.csv"
SMALL = TrainSettings(tune=False, n_estimators=15, max_depth=3, eta=0.3)
FEATURES = ["lst", "swvl1"]
STRATEGIES = ("random", "site", "year")


def table_of(sites=12, each=100, bad=4, seed=0):
    """Match-ups over three years; the last ``bad`` sites measure something else than their pixel."""
    rng = np.random.default_rng(seed)
    n = sites * each
    site = np.repeat(np.arange(sites), each)
    truth = 0.25 + 0.06 * rng.standard_normal(n)
    noise = np.where(site >= sites - bad, 0.2, 0.02) * rng.standard_normal(n)
    return pd.DataFrame(
        {
            "site": [f"s{i:02d}" for i in site],
            "date": np.tile(pd.date_range("2018-01-01", periods=each, freq="10D"), sites),
            "sm": truth + noise,
            "lst": 300 - 50 * truth + rng.standard_normal(n),
            "swvl1": 0.05 + truth + 0.03 * rng.standard_normal(n),
            "third": truth + 0.04 * rng.standard_normal(n),
        }
    )


def fitter(rows):
    return fit(rows, FEATURES, settings=SMALL)


def screener(table, **thresholds):
    triplets = table.rename(columns={"sm": "insitu", "swvl1": "era5land"})
    return training_screener(
        triplets, ScreeningThresholds(min_days=40, max_failed_resamples=0.5, decide_by="estimate", **thresholds), table
    )


TABLE = table_of()
FOLDS = hold_outs(TABLE, STRATEGIES, folds=3)


@cache
def evaluated():
    """All strategies side by side."""
    return evaluate(TABLE, FOLDS, fitter, screener=screener(TABLE), baselines=["swvl1"])


def test_all_methods_stand_side_by_side():
    wanted = {
        (strategy, method, scored_on)
        for strategy in STRATEGIES
        for method in ("unscreened", "screened", "swvl1", "swvl1 bias-corrected")
        for scored_on in ("all", "kept")
    }
    assert {(one.strategy, one.method, one.scored_on) for one in evaluated().results} == wanted
    assert evaluated().kept == tuple(f"s{i:02d}" for i in range(8))
    assert {(one.scored_on, one.pooled.n, one.stations) for one in evaluated().results} == {
        ("all", 1200, 12),
        ("kept", 800, 8),
    }
    assert evaluated().notes == {}


def test_each_row_is_predicted_once_by_a_model_that_has_not_seen_it():
    for strategy, cut in FOLDS.items():
        rows = evaluated().predictions[evaluated().predictions["strategy"] == strategy]
        assert list(rows["row"]) == list(range(len(TABLE)))
        assert np.array_equal(rows["observed"], TABLE["sm"])
        assert list(rows["site"]) == list(TABLE["site"])
        fold = cut[1]
        wanted = fitter(TABLE.iloc[fold.train]).predict(TABLE.iloc[fold.test])
        assert np.array_equal(rows.loc[rows["fold"] == fold.name, "unscreened"], wanted.astype(float))


def test_a_fold_is_trained_and_predicted_on_its_own_features():
    """Those of other folds and strategies are the table's."""

    def tables(strategy, fold):
        return TABLE.assign(lst=TABLE["lst"] + fold.test[0] + 1) if strategy == "year" else TABLE

    found = evaluate(TABLE, FOLDS, fitter, tables=tables).predictions
    for strategy, cut in FOLDS.items():
        for fold in cut:
            own = tables(strategy, fold)
            wanted = fitter(own.iloc[fold.train]).predict(own.iloc[fold.test]).astype(float)
            of_fold = (found["strategy"] == strategy) & (found["fold"] == fold.name)
            assert np.array_equal(found.loc[of_fold, "unscreened"], wanted)


def test_screened_training_uses_rows_of_kept_sites_only():
    fold = FOLDS["random"][0]
    train = TABLE.iloc[fold.train]
    wanted = fitter(train[train["site"] < "s08"]).predict(TABLE.iloc[fold.test])
    rows = evaluated().predictions.query("strategy == 'random' and fold == @fold.name")
    assert np.array_equal(rows["screened"], wanted.astype(float))


def test_screening_helps_on_stations_that_represent_their_pixel():
    for strategy in STRATEGIES:
        screened, unscreened = (
            evaluated().result(strategy, name, "kept").pooled for name in ("screened", "unscreened")
        )
        assert screened.rmse < unscreened.rmse


def test_scores_are_those_of_the_predictions():
    rows = evaluated().predictions.query("strategy == 'site' and site in @evaluated().kept")
    result = evaluated().result("site", "screened", "kept")
    assert result.pooled == agreement_scores(rows["screened"], rows["observed"])
    single = [agreement_scores(part["screened"], part["observed"]) for _, part in rows.groupby("site")]
    assert result.median.r == np.median([one.r for one in single])
    assert result.median.n == 100


def test_a_baseline_is_corrected_by_training_rows_only():
    rows = evaluated().predictions.query("strategy == 'year'")
    assert np.array_equal(rows["swvl1"], TABLE["swvl1"])
    for fold in FOLDS["year"]:
        train = TABLE.iloc[fold.train]
        shift = (
            rows.loc[rows["fold"] == fold.name, "swvl1"] - rows.loc[rows["fold"] == fold.name, "swvl1 bias-corrected"]
        )
        assert shift.to_numpy() == pytest.approx((train["swvl1"] - train["sm"]).mean())
    assert evaluated().result("year", "swvl1").pooled.bias == pytest.approx(0.05, abs=0.01)
    assert evaluated().result("year", "swvl1 bias-corrected").pooled.bias == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_leak_held_out_targets_change_no_prediction(strategy):
    for fold in FOLDS[strategy]:
        spoiled = TABLE.copy()
        spoiled.loc[spoiled.index[fold.test], "sm"] = np.random.default_rng(1).uniform(0, 0.6, len(fold.test))
        found = evaluate(spoiled, {strategy: [fold]}, fitter, screener=screener(spoiled), baselines=["swvl1"])
        before = evaluated().predictions[evaluated().predictions["strategy"] == strategy]
        before = before[before["fold"] == fold.name].reset_index(drop=True)
        assert not np.array_equal(before["observed"], found.predictions["observed"])
        pd.testing.assert_frame_equal(
            before.drop(columns="observed"), found.predictions.drop(columns="observed"), check_exact=True
        )


def test_what_cannot_be_done_is_noted():
    table = TABLE[TABLE["date"] < "2019-01-01"]
    found = evaluate(table, hold_outs(table, STRATEGIES, folds=3), fitter)
    assert "found 1 year (2018)" in found.notes["year"]
    assert {one.strategy for one in found.results} == {"random", "site"}
    with pytest.raises(InputError, match="no result for year unscreened all: hold-out by year: found 1 year"):
        found.result("year", "unscreened")
    with pytest.raises(InputError, match="found: random unscreened all, site unscreened all"):
        found.result("site", "screened")


def test_refused_screening_leaves_unscreened_training_and_the_reason():
    found = evaluate(TABLE, FOLDS, fitter, screener=screener(TABLE, min_sites=9))
    assert {(one.method, one.scored_on) for one in found.results} == {("unscreened", "all")}
    assert found.notes["screening"].startswith("screened training refused: 8 sites of 12 kept, 9 required")
    assert found.kept is None


def test_screening_refused_in_a_fold_is_noted_for_its_strategy():
    found = evaluate(TABLE, FOLDS, fitter, screener=screener(TABLE, min_sites=6))
    assert found.kept is not None
    assert list(found.notes) == ["site screened"]
    assert found.notes["site screened"].startswith("fold site 2/3: screened training refused: 5 sites of 8")
    methods = {(one.strategy, one.method) for one in found.results}
    assert methods == {("random", "unscreened"), ("random", "screened"), ("site", "unscreened"),
                       ("year", "unscreened"), ("year", "screened")}  # fmt: skip


def test_rows_without_target_or_baseline_are_not_scored():
    table = TABLE.copy()
    table.loc[:9, "sm"] = np.nan
    table.loc[10:29, "swvl1"] = np.nan
    found = evaluate(table, {"site": FOLDS["site"]}, fitter, baselines=["swvl1"])
    assert {one.pooled.n for one in found.results} == {1170}
    assert found.predictions["row"].min() == 30


def test_stations_with_few_rows_have_no_scores_of_their_own():
    table = pd.concat([TABLE, TABLE[:9].assign(site="few")], ignore_index=True)
    found = evaluate(table, hold_outs(table, ["random"]), fitter)
    assert (found.results[0].stations, found.results[0].pooled.n) == (12, 1209)


def test_stations_have_scores_by_name_from_ten_rows_on():
    table = pd.concat([TABLE, TABLE[:9].assign(site="few"), TABLE[:10].assign(site="enough")], ignore_index=True)
    rows = evaluate(table, hold_outs(table, ["site"]), fitter).predictions
    found = station_scores(rows, "unscreened")
    assert list(found) == sorted({*TABLE["site"], "enough"})
    assert found["enough"].n == LEAST_ROWS == 10
    one = rows[rows["site"] == "s03"]
    assert found["s03"] == agreement_scores(one["unscreened"], one["observed"])


@pytest.mark.parametrize("strategy", ["network", "block"])
def test_networks_and_regions_are_scored_beside_the_others(strategy):
    number = TABLE["site"].str[1:].astype(int)
    table = TABLE.assign(network="N" + (number % 3).astype(str), lon=10.0 * number, lat=45.0)
    cut = hold_outs(table, [strategy], folds=3)
    found = evaluate(table, cut, fitter, screener=screener(table, min_sites=3), baselines=["swvl1"])
    assert {one.strategy for one in found.results} == {strategy}
    assert {one.pooled.n for one in found.results if one.scored_on == "all"} == {len(table)}
    for fold in cut[strategy]:
        assert set(table["site"].iloc[fold.train]).isdisjoint(table["site"].iloc[fold.test])


def test_nothing_to_do_is_an_empty_answer():
    found = evaluate(TABLE, {}, fitter)
    assert found.results == ()
    assert found.score_table.empty
    assert found.predictions.empty


def test_a_missing_baseline_is_named():
    with pytest.raises(InputError, match=r"no column 'swvl' \(nearest: swvl1\); required by evaluation"):
        evaluate(TABLE, FOLDS, fitter, baselines=["swvl"])


def test_it_goes_into_json_and_a_table():
    table = TABLE[TABLE["site"] < "s03"].groupby("site").head(9)
    found = evaluate(table, hold_outs(table, STRATEGIES), fitter)
    again = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert again["results"][0]["median"]["r"] is None
    assert again["results"][0]["pooled"]["n"] == 27
    assert list(found.score_table.columns[:5]) == ["strategy", "method", "scored_on", "n", "r"]
    assert len(evaluated().score_table) == len(evaluated().results) == 24


def test_a_screener_may_be_any_function():
    found = evaluate(TABLE, FOLDS, fitter, screener=lambda _: ["s00", "s01", "s02"])
    assert found.kept == ("s00", "s01", "s02")

    def refuse(rows):
        raise ScreeningError("no third series")

    notes = evaluate(TABLE, {"site": FOLDS["site"]}, fitter, screener=refuse).notes
    assert notes == {"screening": "no third series", "site screened": "fold site 1/3: no third series"}


@pytest.mark.skipif(not CONUS.is_file(), reason=f"no real data at {CONUS}")
def test_a_real_table_gives_the_known_scores():
    table = pd.read_csv(CONUS).dropna(subset=["sm_insitu"])
    table = table.rename(columns={"gauge_id": "site", "start": "date", "sm_insitu": "sm"})
    angle = pd.to_datetime(table["date"]).dt.dayofyear * 2 * np.pi / 365.25
    table = table.assign(doy_sin=np.sin(angle), doy_cos=np.cos(angle))
    table = table.assign(ndvi=(table.B8 - table.B4) / (table.B8 + table.B4))
    none = {"network", "station", "site", "lat", "lon", "date", "end", "sm", "n_days"}
    features = [name for name in table.columns if name not in none]
    settings = TrainSettings(tune=False, n_estimators=60, eta=0.2, max_depth=6)
    found = evaluate(table, hold_outs(table, ["random", "site"]), lambda rows: fit(rows, features, settings=settings))
    random, site = (found.result(strategy, "unscreened").pooled for strategy in ("random", "site"))
    assert random.n == site.n == 9019
    assert random.r > 0.9
    assert 0.5 <= site.r <= 0.65
    assert random.rmse < 0.045 < 0.075 < site.rmse
