"""Scores of two series, beside pytesmo's on real data and slow oracles."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.core.metrics import agreement_scores
from stac_sm.core.scores.pair import (
    FIGURES,
    PairScores,
    correlation_p_value,
    pair_scores,
    prepare_pair,
    resampled_figures,
    spearman_rho,
)
from tests.support.examples import examples
from tests.support.real_series import HAWAIIAN_STATIONS, hawaiian_series, point_series, quietly
from tests.support.source_files import HAWAII, real_data

seeds = st.integers(0, 2**32 - 1)


def real_pairs():
    for other in ("MERRA-2", "GLDAS", "ERA5"):
        yield pytest.param("point", "ESA CCI", other, id=f"point-{other}")
    for station in HAWAIIAN_STATIONS:
        for other in ("era5land", "cci", "smap"):
            yield pytest.param(station, other, "insitu", id=f"{station}-{other}")


@real_data
@pytest.mark.parametrize(("place", "first", "second"), list(real_pairs()))
def test_every_figure_is_that_of_pytesmo(place, first, second):
    table = (point_series() if place == "point" else hawaiian_series(place))[[first, second]].dropna()
    found = pair_scores(table[first], table[second], table.index.to_numpy())
    x, y = (table[name].to_numpy() for name in (first, second))

    def pytesmo(name):
        return quietly("pytesmo.metrics", name)

    assert found.n == len(table)
    assert found.r == pytest.approx(pytesmo("pearson_r")(x, y), abs=1e-9)
    assert found.rho == pytest.approx(pytesmo("spearman_r")(x, y), abs=1e-9)
    assert found.bias == pytest.approx(pytesmo("bias")(x, y), abs=1e-9)
    assert found.rmse == pytest.approx(pytesmo("rmsd")(x, y), abs=1e-9)
    assert found.ubrmse == pytest.approx(pytesmo("ubrmsd")(x, y), abs=1e-9)
    parts = (found.mse, found.mse_corr, found.mse_bias, found.mse_var)
    assert parts == pytest.approx(pytesmo("mse_decomposition")(x, y), abs=1e-9)
    assert found.p_r == pytest.approx(scipy.stats.pearsonr(x, y).pvalue, rel=1e-6, abs=1e-300)
    assert found.p_rho == pytest.approx(scipy.stats.spearmanr(x, y).pvalue, rel=1e-6, abs=1e-300)
    calc_anomaly = quietly("pytesmo.time_series.anomaly", "calc_anomaly")
    short = [calc_anomaly(table[name]) for name in (first, second)]
    assert found.r_short == pytest.approx(pytesmo("pearson_r")(*short), abs=1e-6)
    assert found.ubrmse_short == pytest.approx(pytesmo("ubrmsd")(*(one.to_numpy() for one in short)), abs=1e-6)
    if found.n_long:
        climatology = quietly("pytesmo.time_series.anomaly", "calc_climatology")
        long = [
            calc_anomaly(table[name], climatology=climatology(table[name]), respect_leap_years=False)
            for name in (first, second)
        ]
        assert found.r_long == pytest.approx(pytesmo("pearson_r")(*long), abs=1e-6)
        assert found.ubrmse_long == pytest.approx(pytesmo("ubrmsd")(*(one.to_numpy() for one in long)), abs=1e-6)


@real_data
def test_the_figures_of_qa4sm_decompose_as_ours():
    """Its file for Silver Sword: MSE is the sum of its parts, p-values are those of its R and n."""
    import netCDF4

    pair = "_between_00-ISMN_and_02-ESA_CCI_SM_passive"
    with netCDF4.Dataset(HAWAII / "qa4sm_tcol_SilverSword_2007_2020.nc") as file:
        of = {name: float(file[name + pair][0]) for name in ("R", "p_R", "rho", "p_rho", "mse", "urmsd", "BIAS")}
        n = int(file["n_obs"][0])
    assert correlation_p_value(of["R"], n) == pytest.approx(of["p_R"], rel=1e-3)
    assert correlation_p_value(of["rho"], n) == pytest.approx(of["p_rho"], rel=1e-3)
    assert of["mse"] == pytest.approx(of["urmsd"] ** 2 + of["BIAS"] ** 2, rel=1e-5)


def some_pair(seed, n=300, years=3.0, gaps=0.0):
    rng = np.random.default_rng(seed)
    days = np.sort(rng.choice(int(years * 365.25) + 1, n, replace=False))
    days[0], days[-1] = 0, int(years * 365.25)
    truth = 0.25 + 0.05 * rng.standard_normal(n)
    p, o = (truth + 0.03 * rng.standard_normal(n) + offset for offset in (0.02, 0.0))
    p[rng.random(n) < gaps] = np.nan
    return p, o, np.datetime64("2015-01-01") + days


@settings(max_examples=examples(25), deadline=None)
@given(seeds)
def test_rows_with_gaps_and_their_order_do_not_matter(seed):
    p, o, dates = some_pair(seed, gaps=0.2)
    known, order = np.isfinite(p), np.random.default_rng(seed).permutation(p.size)
    found = pair_scores(p[known], o[known], dates[known])
    assert pair_scores(p[order], o[order], dates[order]) == found
    assert found.n == known.sum()
    for name, value in vars(agreement_scores(p, o)).items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(("years", "there"), [(1.9, False), (2.0, True), (4.0, True)])
def test_long_term_anomalies_need_two_years(years, there):
    found = pair_scores(*some_pair(1, years=years))
    assert np.isfinite([found.r_long, found.ubrmse_long]).all() == there
    assert (found.n_long == found.n) == there
    assert np.isfinite([found.r_short, found.ubrmse_short]).all()


def test_a_common_seasonal_cycle_gives_correlation_that_anomalies_do_not_have():
    dates = pd.date_range("2015-01-01", "2019-12-31").to_numpy()
    rng = np.random.default_rng(0)
    cycle = 0.25 + 0.08 * np.sin(2 * np.pi * np.arange(dates.size) / 365.25)
    p, o = (cycle + 0.02 * rng.standard_normal(dates.size) for _ in range(2))
    found = pair_scores(p, o, dates)
    assert found.r > 0.85
    assert abs(found.r_long) < 0.1
    assert abs(found.r_short) < 0.1


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_rows_have_no_correlation_of_worth(rows):
    p, o, dates = (part[:rows] for part in some_pair(0))
    found = pair_scores(p, o, dates)
    assert found.n == rows
    assert np.isnan(found.r) == (rows < 2)
    assert rows < 2 or found.p_r == 1.0
    assert np.isnan(found.mse) == (rows == 0)


def test_a_constant_has_no_correlation_and_no_p_value():
    found = pair_scores([0.2] * 30, np.linspace(0.1, 0.3, 30), np.arange("2020-01-01", "2020-01-31", dtype="M8[D]"))
    assert np.isnan([found.r, found.rho, found.p_r, found.p_rho]).all()
    assert found.mse == pytest.approx(found.mse_corr + found.mse_bias + found.mse_var)


@given(seeds, st.integers(2, 40), st.integers(1, 10))
def test_ranks_with_ties_are_scipys(seed, n, values):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(values, size=n).astype(float), rng.integers(values, size=n).astype(float)
    if np.ptp(a) and np.ptp(b):
        assert spearman_rho(a, b) == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-12)
    else:
        assert np.isnan(spearman_rho(a, b))


@settings(max_examples=examples(15), deadline=None)
@given(seeds, st.sampled_from([0.0, 0.01]))
def test_resamples_by_weights_are_those_of_repeated_rows(seed, step):
    """The slow way: repeat each row as often as it is drawn, and score the longer series."""
    p, o, dates = some_pair(seed, n=40)
    if step:
        p, o = np.round(p / step) * step, np.round(o / step) * step
    pair = prepare_pair(p, o, dates)
    weights = np.random.default_rng(seed).integers(0, 4, size=(5, 40)).astype(float)
    found = resampled_figures(pair, weights)
    assert set(found) == set(FIGURES)
    for i, times in enumerate(weights.astype(int)):
        slow = vars(pair.rows(np.repeat(np.arange(40), times)).scores)
        for name in FIGURES:
            assert found[name][i] == pytest.approx(slow[name], rel=1e-7, abs=1e-9, nan_ok=True), name


def test_every_figure_is_a_field_and_scores_stay_scores():
    names = {field.name for field in dataclasses.fields(PairScores)}
    assert set(FIGURES) <= names
    assert {"n", "r", "rmse", "ubrmse", "bias", "rho", "p_r", "p_rho"} <= names
