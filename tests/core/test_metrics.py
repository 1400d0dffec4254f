"""Scores, and triple collocation against pytesmo, real data and synthetic truth."""

from __future__ import annotations

import itertools
import math
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stac_sm.core.errors import InputError
from stac_sm.core.metrics import (
    agreement_scores,
    bias,
    covariance,
    pearson_r,
    rmse,
    triple_collocation,
    truth_correlation,
    ubrmse,
)
from tests.support.examples import examples

HAWAII = Path(__file__).parents[3] / "shared/data/hawaii_tc"
needs_hawaii = pytest.mark.skipif(not HAWAII.is_dir(), reason=f"no real data at {HAWAII}")
seeds = st.integers(0, 2**32 - 1)
series = arrays(float, 20, elements=st.floats(0, 0.6) | st.just(np.nan))


def triplet(seed, n=2000, errors=(0.03, 0.04, 0.05), scales=(1.0, 0.8, 1.3), offsets=(0.0, 0.1, -0.2)):
    """Three series of one truth with known errors, in the units of each series."""
    rng = np.random.default_rng(seed)
    truth = 0.25 + 0.06 * rng.standard_normal(n)
    cases = zip(errors, scales, offsets, strict=True)
    return [offset + scale * (truth + error * rng.standard_normal(n)) for error, scale, offset in cases]


def same(a, b, rel=1e-6):
    """Whether two results of triple collocation agree."""
    figures = ("snr_db", "error_std", "beta", "correlation")
    return (a.n, a.status) == (b.n, b.status) and all(
        getattr(a, name) == pytest.approx(getattr(b, name), rel=rel, nan_ok=True) for name in figures
    )


@given(series, series)
def test_ubrmse_is_rmse_without_bias(p, o):
    found = agreement_scores(p, o)
    assert found.n == int(np.isfinite(p + o).sum())
    if found.n > 1:
        assert found.ubrmse**2 == pytest.approx(found.rmse**2 - found.bias**2, abs=1e-12)
        assert found.rmse >= abs(found.bias) - 1e-12


@given(series)
def test_a_perfect_prediction(o):
    found = agreement_scores(o, o)
    if found.n > 1:
        assert (found.bias, found.rmse, found.ubrmse) == (0, 0, 0)
        assert math.isnan(found.r) or found.r == pytest.approx(1)


@given(seeds, st.floats(0.01, 100), st.floats(-10, 10))
def test_correlation_knows_no_scale(seed, scale, offset):
    x, y, _ = triplet(seed, n=50)
    assert pearson_r(offset + scale * x, y) == pytest.approx(pearson_r(x, y), abs=1e-9)
    assert pearson_r(-x, y) == pytest.approx(-pearson_r(x, y))


def test_scores_by_hand():
    p, o = [0.1, 0.2, np.nan, 0.4], [0.2, 0.2, 0.3, np.inf]
    assert bias(p, o) == pytest.approx(-0.05)
    assert rmse(p, o) == pytest.approx(math.sqrt(0.005))
    assert ubrmse(p, o) == pytest.approx(0.05)
    assert agreement_scores(p, o).n == 2


def test_scores_agree_with_numpy():
    x, y, _ = triplet(1, n=300)
    assert pearson_r(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_too_few_rows_are_nan():
    empty = agreement_scores([], [])
    assert empty.n == 0
    assert all(math.isnan(value) for value in (empty.r, empty.rmse, empty.ubrmse, empty.bias))
    one = agreement_scores([0.3], [0.1])
    assert (one.n, one.rmse, one.bias) == (1, pytest.approx(0.2), pytest.approx(0.2))
    assert math.isnan(one.r)
    assert math.isnan(one.ubrmse)


def test_a_constant_has_no_correlation():
    assert math.isnan(pearson_r([0.3] * 10, np.arange(10)))


def test_scores_of_unequal_shapes_are_refused():
    with pytest.raises(InputError, match=r"shape \(2,\) and an observation of shape \(3,\)"):
        agreement_scores([1, 2], [1, 2, 3])


SIGNAL = 0.06
"""Standard deviation of the truth of `triplet`."""


def sampling_errors(errors, n):
    """Standard errors of error variance, log of beta and log of squared correlation, of each of three normal series.

    To first order each estimate is the trace of a matrix A times the sample covariance, whose standard error for normal
    series of covariance C is the root of 2 tr(ACAC) / n. All in units of the truth.
    """
    covariance, signal = np.diag(np.square(errors)) + SIGNAL**2, SIGNAL**2
    found = []
    for i in range(3):
        j, k = (other for other in range(3) if other != i)
        variance, scale, correlation = np.zeros((3, 3, 3))
        variance[i, i], variance[i, j], variance[i, k], variance[j, k] = 1, -1, -1, 1  # of the error
        if i:  # the scale of i beside the first series is known by way of the third
            scale[0, 3 - i], scale[i, 3 - i] = 1 / signal, -1 / signal
        variance += 2 * errors[i] ** 2 * scale  # in units of the first series
        correlation[i, i] = -1 / covariance[i, i]
        correlation[i, j], correlation[i, k], correlation[j, k] = 1 / signal, 1 / signal, -1 / signal
        halves = [((matrix + matrix.T) / 2) @ covariance for matrix in (variance, scale, correlation)]
        found.append([math.sqrt(2 * np.trace(half @ half) / n) for half in halves])
    return np.transpose(found)


@settings(max_examples=examples(25), deadline=None)
@given(
    seeds,
    st.tuples(*[st.floats(0.015, 0.06)] * 3),
    st.tuples(st.just(1.0), st.floats(0.2, 5), st.floats(0.2, 5)),
)
def test_known_errors_come_back(seed, errors, scales):
    """Within six standard errors: exceeded by chance once in some millions of draws."""
    n = 100_000
    found = triple_collocation(*triplet(seed, n=n, errors=errors, scales=scales))
    assert found.status == "ok"
    of_variance, of_beta, of_correlation = 6 * sampling_errors(errors, n)
    true = 1 / (1 + np.square(errors) / SIGNAL**2)
    assert np.all(np.abs(np.square(found.error_std) - np.square(errors)) <= of_variance)
    assert np.all(np.abs(np.log(np.array(found.beta) * scales)) <= of_beta + 1e-12)
    assert np.all(np.abs(2 * np.log(found.correlation) - np.log(true)) <= of_correlation)
    assert np.all(
        np.abs(found.snr_db - 10 * np.log10(true / (1 - true))) <= of_correlation * 10 / np.log(10) / (1 - true)
    )


def test_the_sampling_errors_are_those_of_many_draws():
    errors, n = (0.03, 0.04, 0.05), 2000
    draws = [triple_collocation(*triplet(seed, n=n, errors=errors)) for seed in range(400)]
    spread = [
        np.std([np.square(one.error_std) for one in draws], axis=0),
        np.std([np.log(one.beta) for one in draws], axis=0),
        np.std([2 * np.log(one.correlation) for one in draws], axis=0),
    ]
    np.testing.assert_allclose(spread, sampling_errors(errors, n), rtol=0.15, atol=1e-12)  # 3.5 % by chance


@given(seeds, st.floats(0.05, 20), st.floats(-5, 5), st.floats(0.05, 20), st.floats(-5, 5))
def test_offset_and_scale_of_the_others_change_only_beta(seed, scale_y, offset_y, scale_z, offset_z):
    x, y, z = triplet(seed)
    plain, other = triple_collocation(x, y, z), triple_collocation(x, offset_y + scale_y * y, offset_z + scale_z * z)
    assert plain.ok
    for name in ("snr_db", "error_std", "correlation"):
        assert getattr(other, name) == pytest.approx(getattr(plain, name), rel=1e-6, abs=1e-9)
    assert other.beta == pytest.approx((1, plain.beta[1] / scale_y, plain.beta[2] / scale_z), rel=1e-6)


@given(seeds, st.permutations(range(3)))
def test_order_of_the_series_changes_only_the_order_and_the_units(seed, order):
    rows = triplet(seed)
    plain, other = triple_collocation(*rows), triple_collocation(*(rows[i] for i in order))
    assert other.correlation == pytest.approx([plain.correlation[i] for i in order], rel=1e-9)
    assert other.snr_db == pytest.approx([plain.snr_db[i] for i in order], rel=1e-9, abs=1e-9)
    assert other.error_std == pytest.approx([plain.error_std[i] / plain.beta[order[0]] for i in order], rel=1e-9)


@given(seeds)
def test_rows_with_gaps_are_left_out_in_any_order(seed):
    rng = np.random.default_rng(seed)
    rows = np.stack(triplet(seed, n=500))
    whole = triple_collocation(*rows)
    gappy = np.concatenate((rows, rows[:, :200]), axis=1)
    gappy[rng.integers(3, size=200), 500 + np.arange(200)] = rng.choice([np.nan, np.inf, -np.inf], 200)
    assert same(triple_collocation(*gappy[:, rng.permutation(700)]), whole, rel=1e-9)


def pytesmo_tcol(x, y, z):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pytesmo 0.18 warns at import about distutils and pkg_resources
        from pytesmo.metrics import tcol_metrics
    return tcol_metrics(x, y, z, ref_ind=0)


@pytest.mark.parametrize("seed", range(20))
def test_sound_triplets_agree_with_pytesmo(seed):
    rng = np.random.default_rng(seed)
    rows = triplet(
        seed, n=int(rng.integers(100, 900)), errors=rng.uniform(0.01, 0.08, 3), scales=rng.uniform(0.3, 3, 3)
    )
    found = triple_collocation(*rows)
    assert found.ok
    snr_db, error_std, beta = pytesmo_tcol(*rows)
    assert found.snr_db == pytest.approx(snr_db, rel=1e-6, abs=1e-9)
    assert found.error_std == pytest.approx(error_std, rel=1e-6)
    assert found.beta == pytest.approx(beta, rel=1e-6)


def hawaii_cases():
    if not HAWAII.is_dir():
        return []
    rows = pd.read_csv(HAWAII / "derived_pytesmo_tcol_reference.csv").to_dict("records")
    return [pytest.param(row, id=f"{row['sensor']}-{row['third']}") for row in rows]


@needs_hawaii
@pytest.mark.parametrize("row", hawaii_cases())
def test_real_triplets_agree_with_pytesmo_or_are_refused(row):
    table = pd.read_csv(HAWAII / f"derived_collocated_daily_2017_2018/{row['sensor']}.csv")
    rows = table[["insitu", "era5land", row["third"]]]
    found = triple_collocation(*(rows[name] for name in rows))
    assert found.n == row["n"]
    if row["degenerate"]:
        assert "positive required" in found.status
        assert all(math.isnan(value) for value in (*found.snr_db, *found.error_std, *found.beta, *found.correlation))
        return
    direct = pytesmo_tcol(*rows.dropna().to_numpy().T)
    for ours, theirs, column in zip((found.snr_db, found.error_std, found.beta), direct, ("snr_db", "err_std", "beta"),
                                    strict=True):  # fmt: skip
        assert ours == pytest.approx(theirs, rel=1e-6)
        assert ours == pytest.approx([row[f"{column}_{name}"] for name in ("insitu", "era5land", "third")], rel=1e-6)


@needs_hawaii
def test_there_are_real_triplets_of_both_kinds():
    kinds = [case.values[0]["degenerate"] for case in hawaii_cases()]
    assert (kinds.count(True), kinds.count(False)) == (8, 4)


@needs_hawaii
def test_a_real_refusal_names_the_series():
    table = pd.read_csv(HAWAII / "derived_collocated_daily_2017_2018/SCAN_ManaHouse_ns.csv")
    rows = (table["insitu"], table["era5land"], table["cci"])
    assert triple_collocation(*rows).status.startswith("error variance of y is -0.0")
    named = triple_collocation(*rows, names=("station", "ERA5-Land", "ESA CCI"))
    assert named.status.startswith("error variance of ERA5-Land is -0.0")


def test_too_few_rows_are_refused_with_the_count():
    rows = triplet(0, n=99)
    found = triple_collocation(*rows)
    assert found.n == 99
    assert found.status == "99 common rows of x, y and z, at least 100 required"
    assert triple_collocation(*rows, min_n=99).ok
    assert triple_collocation([], [], [], min_n=0).status.startswith("0 common rows")
    assert triple_collocation([1], [2], [3], min_n=0).status.startswith("1 common row of")


def test_opposite_series_are_refused():
    x, y, z = triplet(0)
    assert triple_collocation(x, y, -z).status.startswith("covariance x-z is -0.00")
    assert "y-z is -0.00" in triple_collocation(x, y, -z).status


@pytest.mark.parametrize("constant", [0.0, 0.1, 0.3, 1e6])
def test_a_constant_series_is_refused(constant):
    x, y, _ = triplet(0, n=777)
    for rows in itertools.permutations((x, y, np.full(777, constant))):
        assert "covariance" in triple_collocation(*rows).status


@given(seeds, st.floats(0.1, 3))
def test_series_without_error_of_their_own_are_refused(seed, scale):
    x, y, _ = triplet(seed, n=200)
    assert "error variance" in triple_collocation(x, x, x).status
    assert "error variance" in triple_collocation(x, scale * x + 0.1, y).status


@settings(max_examples=examples(200))
@given(arrays(float, (3, 8), elements=st.floats(-2, 2, width=16)))
def test_ok_if_and_only_if_covariances_and_error_variances_are_positive(rows):
    q = np.cov(rows)
    (a, b, c), (xx, yy, zz) = (q[0, 1], q[0, 2], q[1, 2]), np.diag(q)
    found = triple_collocation(*rows, min_n=8)
    sound = min(a, b, c) > 1e-9 and min(xx - a * b / c, yy - a * c / b, zz - b * c / a) > 1e-9
    unsound = min(a, b, c) < -1e-9 or (
        min(a, b, c) > 1e-9 and min(xx - a * b / c, yy - a * c / b, zz - b * c / a) < -1e-9
    )
    assert found.ok or not sound
    assert not (found.ok and unsound)
    assert np.isfinite([found.snr_db, found.error_std, found.beta, found.correlation]).all() == found.ok
    many = truth_correlation(covariance(rows)[None])
    assert many[0] == pytest.approx(found.correlation[0], nan_ok=True)


def test_bad_shapes_are_named():
    with pytest.raises(InputError, match=r"x \(3,\), y \(2,\), z \(3,\); required are three 1-D arrays of one length"):
        triple_collocation([1, 2, 3], [1, 2], [1, 2, 3])
    with pytest.raises(InputError, match="1-D"):
        triple_collocation(*np.zeros((3, 2, 2)))
    with pytest.raises(InputError, match="not numbers"):
        triple_collocation(["wet"], [1], [1])


def test_masked_values_are_gaps():
    x, y, z = triplet(0, n=150)
    masked = np.ma.masked_array(x, mask=np.arange(150) < 30)
    assert triple_collocation(masked, y, z).n == 120


@given(seeds, st.integers(2, 40))
def test_covariance_is_numpys_for_any_number_of_days(seed, n):
    rows = np.random.default_rng(seed).normal(size=(3, n))
    np.testing.assert_allclose(covariance(rows), np.cov(rows), rtol=1e-9, atol=1e-12)


def test_a_constant_has_no_covariance_though_its_mean_is_rounded():
    for n, value in itertools.product(range(2, 60), (0.1, 0.3, 0.7)):
        rows = np.vstack([np.full(n, value), np.arange(n), np.arange(n) ** 2]).astype(float)
        assert (covariance(rows)[0] == 0).all(), (n, value)


def test_no_correlation_is_beyond_one():
    """Rounding would make 1.0000000000000002 of some."""
    for seed in range(400):
        x = np.random.default_rng(seed).normal(size=7)
        assert pearson_r(x, 3 * x) <= 1.0
        assert pearson_r(x, -3 * x) >= -1.0
