"""Screening of stations: who is kept, why not, and that neighbours do not matter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.core.errors import InputError, ScreeningError
from stac_sm.core.metrics import triple_collocation
from stac_sm.stations import screening as screening_module
from stac_sm.stations.screening import require_sites, screen_sites, training_screener
from stac_sm.stations.screening_thresholds import ScreeningThresholds
from tests.support.examples import examples
from tests.support.hawaii import era5_land
from tests.support.source_files import HAWAII, real_data

DAYS = pd.date_range("2018-01-01", periods=400)


def site(name, error=0.02, n=400, seed=0, scale=1.0):
    """Triplets of one site whose in-situ error is known."""
    rng = np.random.default_rng([seed, *name.encode()])
    truth = 0.25 + 0.05 * np.sin(np.arange(n) / 20) + 0.03 * rng.standard_normal(n)
    noise = rng.standard_normal((3, n)) * np.array([[error], [0.03], [0.04]])
    insitu, era5land, third = truth * np.array([[scale], [0.8], [1.2]]) + noise
    return pd.DataFrame({"site": name, "date": DAYS[:n], "insitu": insitu, "era5land": era5land, "third": third})


def sites(**errors):
    return pd.concat([site(name, error) for name, error in errors.items()], ignore_index=True)


def test_good_stations_are_kept_and_bad_ones_have_a_reason():
    table = pd.concat([sites(good=0.02, noisy=0.08, loud=0.065), site("wild", 0.07, scale=3), site("short", n=60)])
    screening = screen_sites(table, ScreeningThresholds())
    status = screening.sites.set_index("site")["status"]
    assert screening.kept == ["good"]
    assert status["good"] == "kept"
    assert status["short"] == "rejected: 60 common rows of station, ERA5-Land and ESA CCI, at least 100 required"
    assert status["noisy"].startswith("rejected: lower bound of TC R 0.")
    assert "< 0.60 and upper bound of error 0.0" in status["noisy"]
    assert status["wild"].startswith("rejected: upper bound of error 0.0")
    assert "TC R" not in status["wild"]
    assert set(screening.reasons) == {"noisy", "loud", "wild", "short"}
    by_estimate = screen_sites(table, ScreeningThresholds(decide_by="estimate")).sites.set_index("site")["status"]
    assert by_estimate["noisy"] == "rejected: TC R 0.57 < 0.60 and error 0.072 > 0.060"


def test_the_bounds_decide_and_not_the_estimate():
    """A station whose estimates pass, but the bounds of their intervals do not."""
    table = sites(a=0.02)
    found = screen_sites(table, ScreeningThresholds()).sites.iloc[0]
    assert found["correlation_low"] < found["correlation"]
    assert found["error_std"] < found["error_std_high"]
    for thresholds in (
        {"min_correlation": (found["correlation_low"] + found["correlation"]) / 2},
        {"max_error_std": (found["error_std_high"] + found["error_std"]) / 2},
    ):
        assert screen_sites(table, ScreeningThresholds(**thresholds)).kept == []
        assert screen_sites(table, ScreeningThresholds(decide_by="estimate", **thresholds)).kept == ["a"]
    exact = {"min_correlation": found["correlation_low"], "max_error_std": found["error_std_high"]}
    assert screen_sites(table, ScreeningThresholds(**exact)).kept == ["a"]


def weakly_related(n=300):
    """Triplets whose pairwise R is 0.33, 0.26 and 0.09, as at a Hawaiian station: the estimate of TC R is 0.98."""
    wanted = np.array([[1, 0.33, 0.26], [0.33, 1, 0.09], [0.26, 0.09, 1]])
    white = np.random.default_rng(0).standard_normal((3, n))
    white -= white.mean(axis=1, keepdims=True)
    white = np.linalg.solve(np.linalg.cholesky(np.cov(white)), white)
    series = 0.25 + 0.05 * np.linalg.cholesky(wanted) @ white
    return pd.DataFrame(
        {"site": "weak", "date": DAYS[:n], "insitu": series[0], "era5land": series[1], "third": series[2]}
    )


def test_an_estimate_that_resamples_cannot_repeat_is_undetermined_and_not_kept():
    screening = screen_sites(weakly_related(), ScreeningThresholds())
    found = screening.sites.iloc[0]
    assert found["correlation"] == pytest.approx(np.sqrt(0.33 * 0.26 / 0.09))
    assert found["failed_resamples"] > 40
    assert found["resamples"] + found["failed_resamples"] == 200
    assert found["status"].startswith(f"undetermined: triple collocation fails in {found['failed_resamples']} of 200")
    assert screening.kept == []
    assert screening.reasons["weak"].startswith("undetermined: ")
    for other in ({"decide_by": "estimate"}, {"min_correlation": 0.0}):
        assert screen_sites(weakly_related(), ScreeningThresholds(**other)).kept == []
    allowed = ScreeningThresholds(max_failed_resamples=0.9, decide_by="estimate", confidence=0.99)
    assert "resamples" not in screen_sites(weakly_related(), allowed).sites.iloc[0]["status"]


def test_an_estimate_outside_its_own_interval_is_undetermined():
    row = screen_sites(sites(a=0.02), ScreeningThresholds(confidence=0.0)).sites.iloc[0]  # an interval without width
    assert row["status"].startswith("undetermined: TC R 0.")
    assert "lies outside its own interval" in row["status"]


def test_resamples_of_correlation_and_error_are_those_of_whole_triple_collocations():
    """Each resample beside `triple_collocation` of the days that its blocks name."""
    rows = sites(a=0.05)[["insitu", "era5land", "third"]].to_numpy().T[:, :200]
    found = screening_module._resampled(rows, "a", 0, 20)
    starts = screening_module._generator("a", 0).integers(200, size=(20, 7))
    for start, (correlation, error) in zip(starts, found.T, strict=True):
        days = (start[:, None] + np.arange(30)).ravel() % 200
        slow = triple_collocation(*rows[:, days])
        np.testing.assert_allclose((correlation, error), (slow.correlation[0], slow.error_std[0]), rtol=1e-9)


@real_data
def test_a_hawaiian_station_on_few_degrees_of_freedom_is_undetermined():
    """Its collocation rests on a few days: a third of the resamples allow none."""
    points = era5_land(HAWAII)
    (cell,) = np.flatnonzero((points.lon == -155.5) & (points.lat == 19.9))
    swvl1 = pd.Series(points.values["swvl1"][cell], index=points.days.astype("datetime64[ns]"))
    table = pd.read_csv(HAWAII / "derived_collocated_daily_2017_2018/SCAN_ManaHouse_ns.csv", parse_dates=["date"])
    table = table.assign(site="SCAN.ManaHouse", era5land=table["date"].map(swvl1))
    for third in ("cci", "smap"):
        screening = screen_sites(table.rename(columns={third: "third"}), ScreeningThresholds())
        row = screening.sites.iloc[0]
        assert row["correlation"] > 0.6
        assert row["error_std_high"] < 0.06
        assert row["failed_resamples"] > 60
        assert screening.kept == []
        assert row["status"].startswith("undetermined: triple collocation fails in ")


def test_every_site_has_a_row():
    table = pd.concat([sites(a=0.02, b=0.5), site("c").assign(third=np.nan), site("d").assign(third=0.3)])
    screening = screen_sites(table, ScreeningThresholds())
    assert list(screening.sites["site"]) == ["a", "b", "c", "d"]
    assert screening.sites.set_index("site").loc["c", "n"] == 0
    assert "covariance" in screening.reasons["d"]
    assert set(screening.kept) | set(screening.reasons) == {"a", "b", "c", "d"}


def test_thresholds_decide():
    table = sites(a=0.02)
    found = screen_sites(table, ScreeningThresholds()).sites.iloc[0]
    assert screen_sites(table, ScreeningThresholds(min_correlation=found["correlation"] + 0.01)).kept == []
    assert screen_sites(table, ScreeningThresholds(max_error_std=found["error_std"] - 0.001)).kept == []
    assert screen_sites(table, ScreeningThresholds(min_days=401)).kept == []


@settings(max_examples=examples(15), deadline=None)
@given(st.integers(0, 1000), st.integers(0, 10))
def test_a_site_is_judged_alone_and_in_any_order(shuffle, seed):
    both = sites(a=0.02, b=0.03).sample(frac=1, random_state=shuffle)
    alone = screen_sites(sites(b=0.03), ScreeningThresholds(), seed=seed).sites.iloc[0]
    beside = screen_sites(both, ScreeningThresholds(), seed=seed).sites.set_index("site", drop=False).loc["b"]
    pd.testing.assert_series_equal(alone, beside, check_names=False, check_exact=True)


def test_the_interval_holds_the_figure_and_follows_the_seed():
    table = sites(a=0.03)
    one, again, other = (screen_sites(table, ScreeningThresholds(), seed=seed).sites.iloc[0] for seed in (1, 1, 2))
    assert one["correlation_low"] < one["correlation"] < one["correlation_high"]
    assert one["resamples"] == 200
    assert one.equals(again)
    assert one["correlation_low"] != other["correlation_low"]
    wide = screen_sites(table, ScreeningThresholds(confidence=0.99), seed=1).sites.iloc[0]
    assert wide["correlation_low"] < one["correlation_low"]


def test_the_interval_has_the_width_of_the_scatter():
    found = [
        screen_sites(site("a", 0.04, seed=seed), ScreeningThresholds(), seed=seed).sites.iloc[0] for seed in range(60)
    ]
    scatter = np.std([row["correlation"] for row in found])
    width = np.mean([row["correlation_high"] - row["correlation_low"] for row in found])
    assert 0.6 < width / (2 * 1.645 * scatter) < 1.5


def test_without_resamples_there_is_no_interval():
    found = screen_sites(sites(a=0.02), ScreeningThresholds(decide_by="estimate"), bootstrap=0).sites.iloc[0]
    assert np.isnan(found["correlation_low"])
    assert (found["resamples"], found["failed_resamples"]) == (0, 0)
    assert found["status"] == "kept"
    with pytest.raises(InputError, match="found 0 resamples, at least 1 is required"):
        screen_sites(sites(a=0.02), ScreeningThresholds(), bootstrap=0)


@pytest.mark.parametrize("name", ["confidence", "max_failed_resamples"])
def test_a_share_of_one_or_more_is_refused(name):
    with pytest.raises(InputError, match=rf"\[screening\] {name}: found 20, a share from 0 to below 1 is required"):
        ScreeningThresholds(**{name: 20.0})


def test_too_few_sites_are_refused_with_counts_and_reasons():
    screening = screen_sites(sites(a=0.02, b=0.12, c=0.12, d=0.12), ScreeningThresholds())
    with pytest.raises(ScreeningError) as error:
        require_sites(screening, ScreeningThresholds())
    message = str(error.value)
    assert message.startswith(
        "screened training refused: 1 site of 4 kept, 5 required (reasons: b: lower bound of TC R 0."
    )
    assert message.endswith("; train unscreened or lower [screening] min_sites")
    require_sites(screening, ScreeningThresholds(min_sites=1))


def test_no_site_at_all_is_refused():
    empty = screen_sites(sites(a=0.02).iloc[:0], ScreeningThresholds())
    with pytest.raises(ScreeningError, match="0 sites of 0 kept"):
        require_sites(empty, ScreeningThresholds())


def test_a_day_twice_is_refused():
    table = sites(a=0.02)
    with pytest.raises(InputError, match="site 'a' has day 2018-01-01 more than once"):
        screen_sites(pd.concat([table, table.iloc[:1]]), ScreeningThresholds())


def test_a_missing_column_is_named_with_its_neighbours():
    with pytest.raises(InputError, match=r"no column 'insitu' \(nearest: in_situ"):
        screen_sites(sites(a=0.02).rename(columns={"insitu": "in_situ"}), ScreeningThresholds())


def spoilt(triplets, rows):
    """The same triplets, with nonsense in situ at the given rows."""
    found = triplets.copy()
    found.loc[rows, "insitu"] = np.random.default_rng(0).uniform(0, 1, int(rows.sum()))
    return found


def test_a_training_screener_does_not_see_what_is_held_out():
    triplets, thresholds = sites(a=0.02, b=0.02, c=0.02), ScreeningThresholds(min_sites=2)
    table = triplets[["site", "date"]].assign(sm=triplets["insitu"])
    seen = (table["date"].dt.dayofyear > 150) & (table["site"] != "c")
    assert training_screener(triplets, thresholds, table)(table[seen]) == ["a", "b"]
    spoiled = spoilt(triplets, ~seen)
    assert screen_sites(spoiled, thresholds).kept == []
    assert training_screener(spoiled, thresholds, table)(table[seen]) == ["a", "b"]
    with pytest.raises(ScreeningError, match="1 site of 1 kept, 2 required"):
        training_screener(triplets, thresholds, table)(table[table["site"] == "a"])


def test_a_training_screener_sees_days_that_are_in_no_row_but_no_other_year():
    triplets = sites(a=0.02)
    table = triplets[["site", "date"]][triplets["date"].dt.day == 1]
    train = table[table["date"].dt.year == 2018]
    found = training_screener(triplets, ScreeningThresholds(min_sites=1, min_days=365), table)
    assert found(train) == ["a"]
    with pytest.raises(
        ScreeningError, match="364 common rows of station, ERA5-Land and ESA CCI, at least 365 required"
    ):
        found(train[1:])
    spoiled = spoilt(triplets, triplets["date"].dt.year == 2019)
    assert training_screener(spoiled, ScreeningThresholds(min_sites=1), table)(train) == ["a"]


def test_a_block_is_summed_from_its_day_on_round_the_end():
    rows, length = np.random.default_rng(1).normal(size=(3, 9)), 4
    found = screening_module._block_sums(rows, length)
    for start in range(9):
        days = rows[:, [(start + i) % 9 for i in range(length)]]
        np.testing.assert_allclose(found[start], [*days.sum(axis=1), *(days @ days.T).ravel()])


def test_no_more_reasons_are_told_of_than_there_are():
    errors = dict.fromkeys("cdef", 0.12)
    with pytest.raises(ScreeningError) as error:
        require_sites(screen_sites(sites(a=0.02, b=0.02, **errors), ScreeningThresholds()), ScreeningThresholds())
    assert " more)" not in str(error.value)
    with pytest.raises(ScreeningError, match="; and 1 more\\)"):
        require_sites(
            screen_sites(sites(a=0.02, **errors, g=0.12, h=0.12), ScreeningThresholds()), ScreeningThresholds()
        )
