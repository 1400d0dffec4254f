"""Triple collocation of all triplets, beside pytesmo's on real series."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from stac_sm.core.metrics import collocation_figures, covariance, triple_collocation
from stac_sm.core.scores.triplets import collocate_triplets, summarize_triplets
from tests.support.real_series import HAWAIIAN_STATIONS, POINT_NAMES, hawaiian_series, point_series, quietly
from tests.support.source_files import real_data


@pytest.fixture(scope="module")
def point():
    return point_series()


def columns(table):
    return {name: table[name].to_numpy() for name in table}


def made(seed=0, n=600, errors=(0.02, 0.03, 0.04, 0.05), own=(1.0, 0.8, 1.3, 0.6)):
    """Four series of one truth with known errors, each in its own units."""
    rng = np.random.default_rng(seed)
    truth = 0.06 * rng.standard_normal(n)
    names = ("station", "ERA5-Land", "ESA CCI", "SMAP")
    return {
        name: scale * truth + scale * error * rng.standard_normal(n)
        for name, error, scale in zip(names, errors, own, strict=True)
    }


@real_data
def test_every_triplet_of_the_point_is_that_of_pytesmo(point):
    common = point.dropna()
    assert len(common) == 4521
    found = collocate_triplets(columns(common), resamples=0)
    assert [one.names for one in found] == list(combinations(POINT_NAMES.values(), 3))
    tcol_metrics = quietly("pytesmo.metrics", "tcol_metrics")
    for one in found:
        assert (one.n, one.status, one.determined) == (4521, "ok", True)
        snr, err_std, beta = tcol_metrics(*common[list(one.names)].to_numpy().T, ref_ind=0)
        assert [each.snr_db for each in one.data_sets] == pytest.approx(snr, abs=1e-6)
        assert [each.error_std for each in one.data_sets] == pytest.approx(err_std, abs=1e-6)
        assert [each.beta for each in one.data_sets] == pytest.approx(beta, abs=1e-6)
        linear = 10 ** (np.asarray(snr) / 10)
        assert [each.correlation for each in one.data_sets] == pytest.approx(np.sqrt(linear / (1 + linear)), abs=1e-6)


@real_data
def test_each_triplet_of_the_point_takes_its_own_common_days(point):
    found = collocate_triplets(columns(point), resamples=0)
    assert [one.n for one in found] == [len(point[list(one.names)].dropna()) for one in found]
    assert len({one.n for one in found}) > 1


@real_data
def test_intervals_of_the_point_hold_the_estimates_and_are_wider_than_of_single_days(point):
    common = point.dropna()
    found = collocate_triplets(columns(common), resamples=100)
    tcol_ci = quietly("pytesmo.metrics.confidence_intervals", "tcol_metrics_with_bootstrapped_ci")
    np.random.seed(0)
    (_, low, high), *_ = tcol_ci(*common[list(found[1].names)].to_numpy().T, nsamples=60)
    certain = [one for one in found if one.determined]
    assert [one.degenerate for one in certain] == [0, 0]
    for one in certain:
        for each in one.data_sets:
            for figure in ("snr_db", "error_std", "correlation"):
                interval = each.intervals[figure]
                assert interval.low < getattr(each, figure) < interval.high
    ours = [each.intervals["snr_db"] for each in found[1].data_sets]
    assert all(one.high - one.low > wide for one, wide in zip(ours, np.subtract(high, low), strict=True))


@real_data
@pytest.mark.parametrize("station", HAWAIIAN_STATIONS)
def test_hawaiian_triplets_are_pytesmos_or_refused(station):
    table = hawaiian_series(station)
    tcol_metrics = quietly("pytesmo.metrics", "tcol_metrics")
    for one in collocate_triplets(columns(table), resamples=50, place=station):
        if one.status == "ok":
            snr, err_std, _ = tcol_metrics(*table[list(one.names)].dropna().to_numpy().T, ref_ind=0)
            assert [each.snr_db for each in one.data_sets] == pytest.approx(snr, abs=1e-6)
            assert [each.error_std for each in one.data_sets] == pytest.approx(err_std, abs=1e-6)
        else:
            assert not one.determined
            assert all(np.isnan(each.snr_db) for each in one.data_sets)
            assert "x" not in one.status.split()


def test_four_data_sets_make_four_triplets_and_known_errors_come_back():
    found = collocate_triplets(made(n=100_000), resamples=0)
    assert len(found) == 4
    for one, errors in zip(found, combinations((0.02, 0.03, 0.04, 0.05), 3), strict=True):
        reference = {"station": 1.0, "ERA5-Land": 0.8}[one.names[0]]
        assert [each.error_std for each in one.data_sets] == pytest.approx([reference * e for e in errors], rel=0.05)


def test_fewer_than_three_data_sets_make_none():
    series = made()
    assert collocate_triplets({name: series[name] for name in list(series)[:2]}) == []


def test_a_triplet_with_dependent_errors_is_marked_with_the_reason():
    series = made() | {"product": made(seed=3)["station"]}
    dependence = {
        frozenset({"product", "ERA5-Land"}): "the product is made with ERA5-Land",
        frozenset({"product", "station"}): "the product was trained on this station",
    }
    found = {one.names: one.dependent for one in collocate_triplets(series, dependence, resamples=0)}
    assert len(found) == 10
    assert found["station", "ERA5-Land", "ESA CCI"] == ""
    assert found["ESA CCI", "SMAP", "product"] == ""
    assert found["ERA5-Land", "SMAP", "product"] == "the product is made with ERA5-Land"
    assert found["station", "ERA5-Land", "product"].count("the product") == 2


def test_summaries_have_independent_triplets_first_and_apart():
    dependence = {frozenset({"ESA CCI", "SMAP"}): "ESA CCI is made with SMAP"}
    places = [collocate_triplets(made(seed=i), dependence, resamples=0, place=str(i)) for i in range(9)]
    found = summarize_triplets(places)
    assert [bool(one.dependent) for one in found] == [False] * 6 + [True] * 6
    first = found[0]
    values = [next(one for one in place if one.names == first.names).data_sets[0].snr_db for place in places]
    assert first.spread["snr_db"].median == pytest.approx(np.median(values))
    assert (first.places, first.determined) == (9, 9)


def test_a_triplet_that_is_dependent_at_some_places_only_is_two():
    trained = {frozenset({"station", "SMAP"}): "trained on"}
    places = [collocate_triplets(made(seed=i), trained if i else None, resamples=0) for i in range(3)]
    found = [one for one in summarize_triplets(places) if one.names == ("station", "ERA5-Land", "SMAP")]
    assert [(one.dependent, one.places) for one in found] == [("", 1)] * 3 + [("trained on", 2)] * 3


def test_short_series_are_refused_by_the_rule_with_the_names():
    found = collocate_triplets(made(n=53))
    assert {one.status for one in found} >= {"53 common rows of station, ERA5-Land and ESA CCI, at least 100 required"}
    assert not any(one.determined for one in found)
    assert all(one.status == "ok" for one in collocate_triplets(made(n=53), least_days=50))


@real_data
def test_a_triplet_whose_resamples_often_fail_is_not_determined(point):
    """MERRA-2 seems to be nearly without error beside ESA CCI and GLDAS: in a quarter of the resamples it has none."""
    found = {one.names: one for one in collocate_triplets(columns(point.dropna()))}
    one = found["ESA CCI", "MERRA-2", "GLDAS"]
    assert one.status == "ok"
    assert one.data_sets[1].correlation > 0.98
    assert 0.2 * one.resamples < one.degenerate < one.resamples
    assert not one.determined
    assert not any(each.intervals["snr_db"].known for each in one.data_sets)


def test_an_error_outside_its_own_interval_is_not_determined():
    """As screening has it: the correlation may lie in its interval while the error does not."""
    (found,) = collocate_triplets(dict(list(made().items())[:3]), resamples=40)
    assert found.determined
    first, *others = found.data_sets
    for name in ("error_std", "correlation"):
        far = replace(first, **{name: first.intervals[name].high + 0.001})
        assert not replace(found, data_sets=(far, *others)).determined


def test_records_hold_all_and_name_each_data_set():
    record = collocate_triplets(made(), resamples=20)[0].row
    assert record["data_sets"] == ["station", "ERA5-Land", "ESA CCI"]
    assert [one["data_set"] for one in record["errors"]] == record["data_sets"]
    assert {"snr_db", "snr_db_low", "snr_db_high", "error_std", "correlation_low"} <= set(record["errors"][0])


def test_figures_of_many_covariances_are_those_of_each():
    rows = [np.stack(list(made(seed=i).values())[:3]) for i in range(5)]
    rows.append(np.stack([rows[0][0], -rows[0][1], rows[0][2]]))
    found = collocation_figures(np.stack([covariance(one) for one in rows]))
    for i, one in enumerate(rows):
        single = triple_collocation(*one)
        for name in ("snr_db", "error_std", "beta", "correlation"):
            assert found[name][i] == pytest.approx(getattr(single, name), rel=1e-9, nan_ok=True)
    assert np.isnan(found["correlation"][5]).all()


def test_the_series_of_a_refused_triplet_are_named():
    series = made()
    series["SMAP"] = -series["SMAP"]
    statuses = [one.status for one in collocate_triplets(series, resamples=0) if "SMAP" in one.names]
    assert all("with SMAP is -" in status for status in statuses)
    with pytest.raises(Exception, match="1-D"):
        collocate_triplets({name: np.zeros((2, 2)) for name in "abc"})
