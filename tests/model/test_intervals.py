"""Intervals: they hold at sites that nobody has seen, are narrow where they may be, and are refused without sites."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.core.columns import Columns
from stac_sm.core.errors import InputError, ModelError, ScreeningError
from stac_sm.model.conformal import site_weighted_quantile
from stac_sm.model.fit import fit
from stac_sm.model.holdout import hold_out
from stac_sm.model.interval_calibration import fit_intervals
from stac_sm.model.intervals import CONSTANT, ErrorLevel, Intervals, SpreadSettings
from stac_sm.model.train_settings import TrainSettings
from tests.support.examples import examples

FEATURES = ["rough", "other", "place"]


def known(sites=40, rows=60, seed=0):
    """Predictions at sites. Errors grow with the prediction, and are five times as large where `rough` is 1 as at 0."""
    rng = np.random.default_rng(seed)
    site = np.repeat(np.arange(sites), rows)
    rough = rng.uniform(size=len(site)).astype(np.float32)
    predicted = rng.uniform(0.1, 0.4, len(site))
    size = (0.02 + 0.08 * rough) * (0.4 + 2.4 * predicted)
    noise = size * (0.5 * rng.normal(size=sites)[site] + rng.normal(size=len(site)))
    table = pd.DataFrame({"rough": rough, "other": rng.normal(size=len(site)).astype(np.float32)})
    table.loc[rng.random(len(site)) < 0.1, "other"] = np.nan
    table["place"] = rng.normal(size=sites).astype(np.float32)[site]
    columns = {"site": [f"s{i}" for i in site], "observed": predicted + noise, "predicted": predicted}
    return table, pd.DataFrame(columns | {"row": np.arange(len(site))})


@pytest.fixture(scope="module")
def fitted():
    table, out = known()
    return fit_intervals(table, FEATURES, out, settings=SpreadSettings(n_estimators=80))


def test_they_hold_at_new_sites_and_are_wide_where_errors_are_large(fitted):
    table, out = known(sites=300, seed=7)
    half = fitted.half_width(table, out.predicted)
    assert half.dtype == np.float32
    held = np.abs(out.observed - out.predicted) <= half
    assert 0.88 < held.mean() < 0.92
    for large in (table.rough > 0.5, out.predicted > 0.25):
        assert 0.85 < held[large].mean() < 0.95
        assert 0.85 < held[~large].mean() < 0.96
        assert half[large].mean() > 1.3 * half[~large].mean()
    constant = fit_intervals(*known()[:1], FEATURES, known()[1], settings=CONSTANT).half_width(table, out.predicted)
    assert np.ptp(constant) < 1e-6
    assert half.mean() < 0.95 * constant.mean()


def test_the_width_is_constant_unless_another_is_certainly_better(fitted):
    table, out = known()
    assert np.ptp(fit_intervals(table, FEATURES, out).half_width(table, out.predicted)) > 0.05
    noise = np.random.default_rng(1).normal(0, 0.04, len(out))
    alike = out.assign(observed=out.predicted + noise)  # errors that nothing foretells
    found, constant = (fit_intervals(table, FEATURES, alike, settings=one) for one in (None, CONSTANT))
    assert found == constant


def test_without_the_prediction_each_is_average(fitted):
    table, out = known(seed=3)
    plain, average = fitted.half_width(table), np.full(len(table), fitted.level.centre)
    assert plain == pytest.approx(fitted.half_width(table, average) / fitted.level.at(average[:1])[0], rel=1e-5)
    assert np.abs(fitted.half_width(table, out.predicted) / plain - 1).max() > 0.2


@pytest.mark.parametrize("sites", [10, 25, 70])
@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_a_new_site_is_covered_however_few_there_are_and_however_alike_their_rows(sites, alike):
    """Hierarchical conformal prediction covers 0.98 with 10 sites of unlike rows, the plain quantile 0.88 of alike."""
    rng = np.random.default_rng(sites)
    names, found = np.repeat(np.arange(sites), 30), []
    for _ in range(200):
        scores = np.sqrt(alike) * rng.normal(size=(sites, 1)) + np.sqrt(1 - alike) * rng.normal(size=(sites, 30))
        limit = site_weighted_quantile(np.abs(scores).ravel(), names, 0.9)
        found.append((np.abs(rng.normal(size=2000)) <= limit).mean())
    assert np.mean(found) == pytest.approx(0.9, abs=0.02)


def slow_quantile(scores, sites, coverage):
    """The definition: each site beside the quantile of the others, level after level."""
    names = np.unique(sites)

    def quantile(left_out, votes):
        reached = 0.0
        for score, site in sorted(zip(scores, sites, strict=True), key=lambda one: one[0]):
            if site != left_out:
                reached += 1 / np.sum(sites == site)
                if reached >= votes - 1e-9:
                    return score
        return np.inf

    steps = {0.0}
    for left_out in names:
        reached = 0.0
        for _, site in sorted(zip(scores, sites, strict=True), key=lambda one: one[0]):
            if site != left_out:
                reached += 1 / np.sum(sites == site)
                steps.add(reached)
    for votes in sorted(steps)[1:]:
        limits = [quantile(name, votes) for name in names]
        held = [np.mean(scores[sites == name] < limit) for name, limit in zip(names, limits, strict=True)]
        if np.mean(held) >= coverage - 1e-9:
            return np.mean(limits)
    return np.inf


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=40), st.sampled_from([0.5, 0.8, 0.9]), st.integers(0, 99))
def test_the_quantile_is_that_of_the_definition(sites, coverage, seed):
    sites = np.array([*sites, 0, 1])
    scores = np.random.default_rng(seed).permutation(len(sites)).astype(float)
    found, slow = site_weighted_quantile(scores, sites, coverage), slow_quantile(scores, sites, coverage)
    assert found == pytest.approx(slow)


def test_each_site_has_one_vote():
    """A site with a hundred times as many rows, all of them easy, does not make the intervals narrow."""
    scores = np.concatenate([np.linspace(1, 2, 200), np.full(20_000, 0.01)])
    sites = np.concatenate([np.tile(np.arange(20), 10), np.full(20_000, 99)])
    assert site_weighted_quantile(scores, sites, 0.8) > 1.7
    assert (
        site_weighted_quantile(np.arange(5.0), np.arange(5), 0.9) == np.inf
    )  # each is alone, and 5 sites are not 90 %


def test_stations_of_conus(shared):
    """Real stations, few splits and a small model: tests/benchmarks/accuracy.py has the figures of the best one."""

    file = shared / "data" / "matchup_conus" / "matchup_conus_10day.csv"
    table = pd.read_csv(file).rename(columns={"sm_insitu": "sm"}).dropna(subset="sm", ignore_index=True)
    table["site"] = table["network"] + " " + table["station"]
    features = [f"B{i}" for i in (2, 3, 4, 8, 11, 12)] + ["s1_vv_db", "s1_vh_db", "smap_ssm_mm", "field_capacity_pct"]
    found = pd.concat([judged(table, features, seed) for seed in range(2)], ignore_index=True)
    held = found.error <= found.half
    assert 0.87 <= held.mean() <= 0.93
    third = np.digitize(found.predicted, np.quantile(found.predicted, [1 / 3, 2 / 3]))
    assert all(0.80 <= held[third == i].mean() <= 0.97 for i in range(3))
    constant = np.quantile(found.error, held.mean())
    assert found.half.mean() < constant
    assert interval_score(found.error, found.half) < interval_score(found.error, np.full(len(found), constant))


def interval_score(error, half):
    """Mean interval score of Gneiting and Raftery (2007)."""
    return float(np.mean(2 * half + 20 * np.maximum(error - half, 0)))


def judged(table, features, seed):
    """Error, half width and prediction at stations that neither model nor intervals have seen."""
    model = TrainSettings(
        tune=False, n_estimators=25, max_depth=3, eta=0.1, subsample=0.5, colsample=0.5, min_child_weight=50
    )
    parts = []
    for fold in hold_out(table, "site", folds=5, seed=seed):
        train, test = table.iloc[fold.train].reset_index(drop=True), table.iloc[fold.test]
        out = train.assign(row=np.arange(len(train)), observed=train.sm, predicted=np.nan)
        for inner in hold_out(train, "site", folds=5, seed=seed + 100):
            part = fit(train.iloc[inner.train], features, settings=model, columns=Columns()).predict(
                train.iloc[inner.test]
            )
            out.loc[inner.test, "predicted"] = part
        intervals = fit_intervals(train, features, out[["site", "observed", "predicted", "row"]])
        predicted = fit(train, features, settings=model).predict(test)
        half = intervals.half_width(test, predicted).astype(float)
        parts.append(pd.DataFrame({"error": np.abs(test.sm - predicted), "half": half, "predicted": predicted}))
    return pd.concat(parts)


@pytest.mark.parametrize("sites", [1, 2, 9])
def test_too_few_sites_give_a_reason_and_no_intervals(sites):
    table, out = known(sites=sites)
    with pytest.raises(ScreeningError, match=f"intervals not issued: {sites} sites? found, 10 required .*up more"):
        fit_intervals(table, FEATURES, out)
    assert fit_intervals(*known(sites=10)[:1], FEATURES, known(sites=10)[1]).sites == 10


def test_coverage_asks_for_sites_too():
    table, out = known(sites=12)
    with pytest.raises(ScreeningError, match="12 sites found, 19 required for intervals of 95%"):
        fit_intervals(table, FEATURES, out, coverage=0.95)
    with pytest.raises(InputError, match="coverage 90 found"):
        fit_intervals(table, FEATURES, out, coverage=90)


def test_never_nan_and_never_zero(fitted):
    rng = np.random.default_rng(2)
    rows = pd.DataFrame(rng.normal(0, 1e6, (500, 3)).astype(np.float32), columns=FEATURES)
    rows[rng.random(rows.shape) < 0.5] = np.nan
    half = fitted.half_width(rows, rng.normal(0, 1e6, 500))
    assert np.isfinite(half).all()
    assert half.min() >= 0.999 * fitted.factor * fitted.floor * fitted.level.floor > 0
    assert fitted.half_width(rows[:0], np.zeros(0)).shape == (0,)


def test_features_that_name_the_site_are_left_out_and_the_others_are_few(fitted):
    assert fitted.features == ("rough", "other")
    table, out = known()
    follows = {f"f{i}": out.predicted + 0.05 * (i + 1) * table.rough for i in range(12)}
    found = fit_intervals(table.assign(**follows), [*FEATURES, *follows], out)
    assert found.features == tuple(f"f{i}" for i in range(8))


def test_the_level_is_the_parabola_of_numpy():
    rng = np.random.default_rng(1)
    predicted, weight = rng.uniform(0.1, 0.4, 500), rng.uniform(0.5, 2, 500).astype(np.float32)
    error = (0.02 + 0.3 * predicted**2).astype(np.float32)
    level = ErrorLevel.of(predicted, error, weight, SpreadSettings(ridge=0.0))
    wanted = np.polyval(np.polyfit(predicted, error, 2, w=np.sqrt(weight)), predicted)
    np.testing.assert_allclose(level.at(predicted), wanted / np.average(error, weights=weight), rtol=1e-4)


def test_same_rows_same_bytes_in_any_order(fitted):
    table, out = known()
    learned = SpreadSettings(n_estimators=80)
    mixed = out.sample(frac=1, random_state=5).reset_index(drop=True)
    again = fit_intervals(table, FEATURES, mixed, settings=learned)
    assert again == fitted
    assert again.checksum == fitted.checksum
    turned = table.iloc[::-1].reset_index(drop=True)
    assert fit_intervals(turned, FEATURES, out.assign(row=len(out) - 1 - out.row), settings=learned) == fitted
    assert fit_intervals(table, FEATURES, out, seed=1, settings=learned) != fitted
    more = pd.concat([out, out[:50].assign(observed=np.nan), out[:50].assign(predicted=np.nan)])
    assert fit_intervals(table, FEATURES, more, settings=learned) == fitted


def test_there_and_back(fitted):
    again = Intervals.from_dict(fitted.to_dict(), fitted.spread.content)
    assert again == fitted
    assert pickle.loads(pickle.dumps(fitted)) == fitted
    changed = replace(fitted.level, centre=fitted.level.centre + 0.01)
    for other in (replace(fitted, factor=fitted.factor * 1.01), replace(fitted, level=changed)):
        assert other.checksum != fitted.checksum
    old = {name: value for name, value in fitted.to_dict().items() if name != "level"}
    table, out = known()
    before = Intervals.from_dict(old, fitted.spread.content)  # from before there was a level
    np.testing.assert_array_equal(before.half_width(table, out.predicted), fitted.half_width(table))


@pytest.mark.parametrize(
    "change",
    [{"factor": None}, {"factor": -1.0}, {"factor": float("inf")}, {"spread": {}}, {"floor": 0}, {"coverage": 1},
     {"level": {}}, {"level": {"centre": 0, "scale": 0, "terms": [1, 0, 0], "floor": 1}}],
)  # fmt: skip
def test_changed_figures(fitted, change):
    with pytest.raises(ModelError, match="publish the model again"):
        Intervals.from_dict(fitted.to_dict() | change, fitted.spread.content)


def test_what_cannot_be_calibrated():
    table, out = known()
    with pytest.raises(InputError, match="no column 'row'"):
        fit_intervals(table, FEATURES, out.drop(columns="row"))
    with pytest.raises(InputError, match="rows 0 to 2399 found; a table of 100 rows has no such"):
        fit_intervals(table[:100], FEATURES, out)
    with pytest.raises(InputError, match="the model has seen these rows"):
        fit_intervals(table, FEATURES, out.assign(predicted=out.observed))
    with pytest.raises(ModelError, match="no feature 'rough'"):
        fit_intervals(table, FEATURES, out).half_width(table.drop(columns="rough"))
