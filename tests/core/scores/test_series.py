"""Anomalies and scaling, beside pytesmo's on real series."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.core.errors import InputError
from stac_sm.core.scores.series import (
    long_term_anomalies,
    moving_average,
    scale_series,
    seasonal_cycle,
    short_term_anomalies,
)
from tests.support.examples import examples
from tests.support.real_series import HAWAIIAN_STATIONS, hawaiian_series, point_series, quietly
from tests.support.source_files import real_data

REAL = [("point", name) for name in ("ESA CCI", "ERA5")] + [("COSMOS_SilverSword_CosmicrayProbe", "insitu")]


def real_series(place, name):
    return (point_series() if place == "point" else hawaiian_series(place))[name].dropna()


@real_data
@pytest.mark.parametrize(("place", "name"), REAL)
def test_anomalies_are_those_of_pytesmo(place, name):
    series = real_series(place, name)
    calc_anomaly = quietly("pytesmo.time_series.anomaly", "calc_anomaly")
    climatology = quietly("pytesmo.time_series.anomaly", "calc_climatology")(series)
    dates = series.index.to_numpy()
    np.testing.assert_allclose(seasonal_cycle(series, dates), climatology, atol=1e-12)
    theirs = calc_anomaly(series, climatology=climatology, respect_leap_years=False)
    np.testing.assert_allclose(long_term_anomalies(series, dates), theirs, atol=1e-12)
    np.testing.assert_allclose(short_term_anomalies(series, dates), calc_anomaly(series), atol=1e-12)


@real_data
def test_the_gaps_of_a_series_are_pytesmos_too():
    series = point_series()["ESA CCI"].iloc[3000:6000]
    assert series.isna().sum() > 300
    calc_climatology = quietly("pytesmo.time_series.anomaly", "calc_climatology")
    np.testing.assert_allclose(seasonal_cycle(series, series.index.to_numpy()), calc_climatology(series), atol=1e-12)


@real_data
@pytest.mark.parametrize("rows", [30, 60, 500, 5000])
def test_scaling_is_that_of_pytesmo(rows):
    table = point_series()[["ESA CCI", "ERA5"]].dropna().iloc[:rows]
    series, reference = table.to_numpy().T
    for scaling, name in (("mean-std", "mean_std"), ("cdf", "cdf_match")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that bins have been resized
            theirs = quietly("pytesmo.scaling", name)(series, reference)
        np.testing.assert_allclose(scale_series(series, reference, scaling), theirs, atol=1e-9)
    np.testing.assert_array_equal(scale_series(series, reference, "none"), series)


@real_data
@pytest.mark.parametrize("station", HAWAIIAN_STATIONS)
def test_scaling_of_series_with_ties_is_that_of_pytesmo(station):
    table = hawaiian_series(station)[["cci", "insitu"]].dropna().round(2)
    series, reference = table.to_numpy().T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = quietly("pytesmo.scaling", "cdf_match")(series, reference)
    np.testing.assert_allclose(scale_series(series, reference, "cdf"), theirs, atol=1e-9)


@settings(max_examples=examples(25), deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.sampled_from([1, 2.0, 5, 35]), st.booleans())
def test_a_moving_average_is_that_of_the_rows_in_its_window(seed, n, window, fill):
    rng = np.random.default_rng(seed)
    days = np.cumsum(rng.integers(1, 6, n)).astype(float)
    values = np.where(rng.random(n) < 0.3, np.nan, rng.random(n))
    slow = []
    for i, day in enumerate(days):
        near = values[np.abs(days - day) <= window / 2]
        near = near[np.isfinite(near)]
        slow.append(near.mean() if near.size and (fill or np.isfinite(values[i])) else np.nan)
    np.testing.assert_allclose(moving_average(values, days, window, fill=fill), slow, atol=1e-12)


def test_a_seasonal_cycle_alone_has_no_long_term_anomaly():
    dates = pd.date_range("2015-01-01", "2021-12-31", freq="D").to_numpy()
    cycle = 0.25 + 0.1 * np.sin(2 * np.pi * pd.DatetimeIndex(dates).dayofyear.to_numpy() / 365.25)
    assert np.abs(long_term_anomalies(cycle, dates)).max() < 0.006  # what smoothing takes off its tops
    assert np.std(long_term_anomalies(cycle, dates)) < 0.05 * np.std(cycle)


def test_scaled_series_have_the_moments_of_the_reference():
    rng = np.random.default_rng(3)
    series, reference = rng.random(3000), 0.2 + 0.05 * rng.standard_normal(3000)
    for scaling in ("mean-std", "cdf"):
        scaled = scale_series(series, reference, scaling)
        assert scaled.mean() == pytest.approx(reference.mean(), abs=1e-3)
        assert scaled.std() == pytest.approx(reference.std(), rel=0.02)
    assert (np.diff(scale_series(np.sort(series), reference, "cdf")) >= 0).all()


def test_a_constant_cannot_be_scaled_and_gaps_stay():
    assert np.isnan(scale_series([0.2, 0.2, 0.2], [0.1, 0.2, 0.3], "mean-std")).all()
    assert np.isnan(scale_series([0.2] * 50, np.linspace(0, 1, 50), "cdf")).all()
    assert np.isnan(scale_series([0.1, np.nan, 0.3], [0.1, 0.2, 0.3], "mean-std")).tolist() == [False, True, False]


def test_an_unknown_scaling_is_refused():
    with pytest.raises(InputError, match="'linear'; one of none, mean-std, cdf is required"):
        scale_series([1, 2], [1, 2], "linear")
