"""Resamples of blocks of days and of sites, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.scores.resampling import (
    BLOCK_DAYS,
    NO_INTERVAL,
    block_weights,
    generator_of,
    interval_of,
    site_weights,
)


@given(st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_blocks_are_circular_runs_of_days(n, seed):
    """The slow way: draw the same starts, and count the days of each block."""
    length = max(1, min(BLOCK_DAYS, n // 4))
    starts = np.random.default_rng(seed).integers(n, size=(3, -(-n // length)))
    slow = np.zeros((3, n))
    for i, row in enumerate(starts):
        for start in row:
            for day in range(length):
                slow[i, (start + day) % n] += 1
    np.testing.assert_array_equal(block_weights(n, 3, np.random.default_rng(seed)), slow)


def test_sites_are_drawn_whole_and_as_many_as_there_are():
    weights = site_weights(7, 1000, np.random.default_rng(0))
    assert (weights.sum(axis=1) == 7).all()
    assert weights.mean() == pytest.approx(1.0)
    assert (weights == 0).mean() == pytest.approx((6 / 7) ** 7, abs=0.02)


@pytest.mark.parametrize(("degenerate", "known"), [(0, True), (20, True), (21, False), (100, False)])
def test_an_interval_needs_four_fifths_of_the_resamples(degenerate, known):
    draws = np.linspace(0, 1, 100)
    draws[:degenerate] = np.nan
    assert interval_of(draws, 0.9).known == known


def test_the_interval_holds_the_middle():
    found = interval_of(np.linspace(0, 1, 1001), 0.9)
    assert (found.low, found.high) == pytest.approx((0.05, 0.95))
    assert interval_of(np.empty(0), 0.9) == NO_INTERVAL


def test_blocks_are_wider_than_days_where_days_depend_on_each_other():
    """The mean of an AR(1) series: its standard error is sqrt((1 + a) / (1 - a)) times that of independent days."""
    rng, n, a = np.random.default_rng(1), 1500, 0.8
    noise, series = rng.standard_normal(n), np.zeros(n)
    for i in range(1, n):
        series[i] = a * series[i - 1] + noise[i]
    weights = block_weights(n, 500, generator_of(0, "x"))
    spread = (weights @ series / weights.sum(axis=1)).std()
    independent = series.std() / np.sqrt(n)
    assert spread / independent == pytest.approx(np.sqrt((1 + a) / (1 - a)), rel=0.25)


def test_resamples_depend_on_the_name_and_the_seed_only():
    first = generator_of(0, "a").integers(1000, size=5)
    np.testing.assert_array_equal(first, generator_of(0, "a").integers(1000, size=5))
    assert (first != generator_of(0, "b").integers(1000, size=5)).any()
    assert (first != generator_of(1, "a").integers(1000, size=5)).any()
