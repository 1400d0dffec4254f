"""Derived features: rows of a site and daily fields of a pixel give the very same values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import InputError
from stac_sm.features.temporal import (
    ExponentialMean,
    Moments,
    anomaly,
    exponential_mean_of_fields,
    exponential_mean_of_rows,
)

DAYS = st.dictionaries(st.integers(0, 40), st.none() | st.floats(-1e3, 1e3, width=32), min_size=1)
MEANS = st.builds(ExponentialMean, st.floats(0.5, 20), st.integers(0, 30), st.sampled_from([0, 0.25, 0.6]))


def rows_of(days: dict[int, float | None]) -> tuple[np.ndarray, np.ndarray]:
    """Days and values, NaN where one is missing."""
    return np.array(list(days)), np.array([math.nan if value is None else value for value in days.values()], np.float32)


@given(DAYS, MEANS)
def test_rows_and_fields_give_the_same_exponential_means(days, mean):
    day, values = rows_of(days)
    both = np.stack([values, values[::-1]], axis=1)
    found = exponential_mean_of_rows(both, np.zeros(len(day), int), day, mean)
    for row, today in enumerate(day):
        fields = [both[day == today - age][0] if today - age in days else None for age in range(mean.window)]
        np.testing.assert_array_equal(found[row], exponential_mean_of_fields(fields, mean))


@given(DAYS, MEANS, st.randoms(use_true_random=False))
def test_an_exponential_mean_is_its_definition_in_any_order_of_rows(days, mean, random):
    day, values = rows_of(days)
    order = random.sample(range(len(day)), len(day))
    found = exponential_mean_of_rows(values[order, None], np.zeros(len(day), int), day[order], mean)[:, 0]
    for row, today in zip(found, day[order], strict=True):
        known = {today - at: float(value) for at, value in days.items() if value is not None and at <= today}
        weights = {age: math.exp(-age / mean.scale) for age in known if age < mean.window}
        share = sum(weights.values()) / sum(math.exp(-age / mean.scale) for age in range(mean.window))
        if abs(share - mean.least_share) > 1e-9:
            expected = math.nan
            if weights and share > mean.least_share:
                expected = sum(weight * known[age] for age, weight in weights.items()) / sum(weights.values())
            np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-3)


@given(DAYS)
def test_rows_and_fields_give_the_same_mean_spread_and_anomaly(days):
    day, values = rows_of(days)
    rows = Moments.of_rows(values, np.zeros(len(day), int), day, 1)
    fields = Moments.of_fields((1, values[day == one]) for one in sorted(days))
    np.testing.assert_array_equal(rows.mean(), fields.mean())
    np.testing.assert_array_equal(rows.spread(), fields.spread())
    known = values[~np.isnan(values)]
    np.testing.assert_allclose(rows.mean()[0], known.mean() if len(known) else math.nan, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(rows.spread()[0], known.std() if len(known) else math.nan, rtol=1e-4, atol=1e-2)
    np.testing.assert_array_equal(anomaly(values, rows.mean()), values - rows.mean())


def test_sites_are_apart_and_rows_of_one_day_count_as_their_mean():
    mean = ExponentialMean(3)
    day, site = np.array([0, 1, 1, 0, 1]), np.array([0, 0, 0, 1, 1])
    values = np.array([1, 2, 4, 100, np.nan], np.float32)[:, None]
    found = exponential_mean_of_rows(values, site, day, mean)[:, 0]
    older = math.exp(-1 / 3)
    np.testing.assert_allclose(found[:3], [1, *2 * [(3 + older) / (1 + older)]], rtol=1e-6)
    assert found[3] == 100
    assert np.isnan(found[4])  # yesterday alone has too little of the weight


def test_a_mean_of_rows_ten_days_apart_knows_their_sampling():
    mean, day = ExponentialMean(30, least_share=0.5), np.arange(0, 120, 10)
    found = exponential_mean_of_rows(np.ones((12, 1)), np.zeros(12, int), day, mean, sampling=10)[:, 0]
    assert np.isnan(found).tolist() == [True, *11 * [False]]
    assert np.isnan(exponential_mean_of_rows(np.ones((12, 1)), np.zeros(12, int), day, mean)).all()


def test_many_rows_are_shared_among_threads():
    day, site = np.tile(np.arange(60_000), 2), np.repeat([0, 1], 60_000)
    values = np.random.default_rng(0).random((120_000, 2), dtype=np.float32)
    found = exponential_mean_of_rows(values, site, day, ExponentialMean(2))
    alone = exponential_mean_of_rows(values[60_000:], site[60_000:], day[60_000:], ExponentialMean(2))
    np.testing.assert_array_equal(found[60_000:], alone)


@pytest.mark.parametrize("made", [(0,), (math.nan,), (3, -1), (3, 2, 1.5)])
def test_an_impossible_mean_is_refused(made):
    with pytest.raises(InputError, match="exponential mean: found"):
        ExponentialMean(*made)


def test_no_field_at_all_is_refused():
    with pytest.raises(InputError, match="no field"):
        exponential_mean_of_fields([None], ExponentialMean(3))
    with pytest.raises(InputError, match="no field"):
        Moments.of_fields([])
