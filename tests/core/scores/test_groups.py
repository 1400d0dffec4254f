"""Scores per station, network and class, with medians, quartiles and intervals."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from stac_sm.core.errors import InputError
from stac_sm.core.scores import groups
from stac_sm.core.scores.groups import (
    CLIMATE,
    DEPTH,
    LEAST_ROWS,
    SEASON,
    SEASONS,
    climate_class,
    depth_class,
    elevation_class,
    land_cover_class,
    score_groups,
)
from stac_sm.core.scores.pair import FIGURES, GCOS_UBRMSE, pair_scores
from stac_sm.core.scores.series import scale_series


def table(sites=8, days=800, seed=0, bias=0.02, noise=0.03):
    """Rows of sites of two networks, with a bias of each site."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(sites):
        observed = 0.25 + 0.05 * rng.standard_normal(days)
        predicted = observed + noise * rng.standard_normal(days) + bias * rng.standard_normal()
        dates = pd.date_range("2019-01-01", periods=days)
        parts.append(
            pd.DataFrame(
                {"site": f"s{i}", "network": "AB"[i % 2], "date": dates, "observed": observed, "predicted": predicted}
            )
        )
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def rows():
    return table()


@pytest.fixture(scope="module")
def found(rows):
    classes = pd.DataFrame(
        {CLIMATE: ["A tropical", "B arid"] * 4, DEPTH: ["0 to 5 cm", None] * 4}, index=[f"s{i}" for i in range(8)]
    )
    return score_groups(rows, classes)


def test_a_station_has_the_scores_of_its_rows(rows, found):
    assert [one.name for one in found.stations] == [f"s{i}" for i in range(8)]
    for one in found.stations:
        part = rows[rows["site"] == one.name]
        assert one.scores == pair_scores(part["predicted"], part["observed"], part["date"].to_numpy())
        assert (one.kind, one.network, one.sites) == ("station", "AB"[int(one.name[1]) % 2], 1)


def test_networks_and_all_have_medians_and_quartiles_over_sites(found):
    assert [(one.name, one.sites) for one in found.networks] == [("A", 4), ("B", 4)]
    for figure in FIGURES:
        values = [getattr(one.scores, figure) for one in found.stations]
        spread = found.pooled.spread[figure]
        assert (spread.q1, spread.median, spread.q3) == pytest.approx(np.quantile(values, [0.25, 0.5, 0.75]))
        assert spread.median == pytest.approx(np.median(values))


def test_pooled_scores_are_of_all_rows_at_once(rows, found):
    assert found.pooled.scores.n == len(rows)
    assert found.pooled.scores.bias == pytest.approx((rows["predicted"] - rows["observed"]).mean())
    assert sum(one.scores.n for one in found.networks) == len(rows)
    assert sum(one.scores.n for one in found.classes[SEASON]) == len(rows)


def test_seasons_have_the_rows_of_their_months(rows, found):
    months = rows["date"].dt.month
    for number, one in enumerate(found.classes[SEASON]):
        assert one.name == SEASONS[number]
        part = rows[months.isin([[12, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]][number])]
        assert one.scores.n == len(part)
        assert one.scores.rmse == pytest.approx(np.sqrt(((part["predicted"] - part["observed"]) ** 2).mean()))


def test_classes_have_their_sites_and_sites_without_one_are_in_none(found):
    assert [(one.name, one.sites) for one in found.classes[CLIMATE]] == [("A tropical", 4), ("B arid", 4)]
    assert [(one.name, one.sites) for one in found.classes[DEPTH]] == [("0 to 5 cm", 4)]


def test_intervals_hold_the_scores(found):
    for one in (found.pooled, *found.networks, *found.stations):
        for figure in FIGURES:
            interval = one.intervals[figure]
            assert interval.low < interval.high
        for figure in ("bias", "r", "rho", "ubrmse"):
            assert one.intervals[figure].low <= getattr(one.scores, figure) <= one.intervals[figure].high


def test_the_interval_of_a_network_is_by_sites_not_by_days():
    """All days of a site share its bias: days resampled alone would give an interval ten times too narrow."""
    found = score_groups(table(sites=12, days=100, bias=0.05, noise=0.01))
    interval = found.pooled.intervals["bias"]
    expected = 2 * 1.96 * 0.05 / math.sqrt(12)
    assert interval.high - interval.low == pytest.approx(expected, rel=0.5)


def test_site_intervals_are_those_of_repeated_sites():
    """The slow way: join the rows of the drawn sites, and score them."""
    rows = table(days=60)
    found = score_groups(rows, resamples=30)
    generator = groups.generator_of(0, *(f"s{i}" for i in range(8)))
    weights = groups.site_weights(8, 30, generator).astype(int)
    slow = []
    for times in weights:
        parts = [rows[rows["site"] == f"s{i}"] for i, n in enumerate(times) for _ in range(n)]
        whole = pd.concat(parts)
        slow.append(vars(groups.score_groups(whole.assign(site="x", network="x"), resamples=0).pooled.scores))
    for figure in ("r", "rho", "bias", "rmse", "ubrmse", "mse_corr", "mse_var"):
        expected = np.quantile([one[figure] for one in slow], [0.025, 0.975])
        interval = found.pooled.intervals[figure]
        assert (interval.low, interval.high) == pytest.approx(expected, rel=1e-6)


def test_groups_of_the_same_rows_have_the_same_scores_and_intervals(rows):
    """One quantity, one number: a climate that all sites are of has the scores of all."""
    names = pd.DataFrame({CLIMATE: "C temperate", DEPTH: "5 cm"}, index=[f"s{i}" for i in range(8)])
    found = score_groups(rows.assign(network="one"), names, confidence=0.9, resamples=50)
    for one in (*found.networks, *found.classes[CLIMATE], *found.classes[DEPTH]):
        assert (one.scores, one.intervals) == (found.pooled.scores, found.pooled.intervals)
        assert one.median_intervals == found.pooled.median_intervals
    assert found.to_dict()["confidence"] == 0.9


def test_few_sites_and_few_rows_have_no_interval():
    two = score_groups(table(sites=2))
    assert two.pooled.intervals == {}
    assert two.pooled.median_intervals == {}
    few = score_groups(table(sites=3, days=LEAST_ROWS - 1))
    assert [one.intervals for one in few.stations] == [{}] * 3
    assert (few.pooled.sites, few.pooled.scored_sites) == (3, 0)
    assert math.isnan(few.pooled.within_target)


def test_the_share_of_sites_within_the_target_counts_scored_sites():
    quiet, loud = table(sites=3, noise=0.5 * GCOS_UBRMSE), table(sites=1, noise=2 * GCOS_UBRMSE).assign(site="z")
    found = score_groups(pd.concat([quiet, loud]), resamples=0)
    assert found.pooled.within_target == 0.75
    assert [one.within_target for one in found.stations] == [1, 1, 1, 0]


def test_each_site_is_scaled_to_its_own_observations(rows):
    found = score_groups(rows, scaling="mean-std", resamples=0)
    assert abs(found.pooled.scores.bias) < 1e-12
    for one in found.stations:
        part = rows[rows["site"] == one.name]
        scaled = scale_series(part["predicted"], part["observed"], "mean-std")
        assert one.scores == pair_scores(scaled, part["observed"], part["date"].to_numpy())


def test_a_site_that_cannot_be_scaled_is_left_out(rows):
    flat = rows[rows["site"] == "s0"].assign(site="flat", predicted=0.2)
    found = score_groups(pd.concat([rows, flat]), scaling="cdf", resamples=0)
    assert [one.name for one in found.stations] == [f"s{i}" for i in range(8)]


def test_rows_without_a_value_and_their_order_do_not_matter(rows):
    gaps = rows[rows["site"].isin(["s0", "s1", "s2"])].copy()
    gaps.loc[::7, "predicted"] = np.nan
    plain = score_groups(gaps.dropna(), resamples=20).to_dict()
    mixed = gaps.sample(frac=1, random_state=1)
    assert str(score_groups(mixed, resamples=20).to_dict()) == str(plain)


def test_no_rows_have_no_scores():
    found = score_groups(table(sites=1, days=5).iloc[:0])
    assert found.pooled.scores.n == 0
    assert found.stations == ()
    assert math.isnan(found.pooled.scores.r)


def test_a_missing_column_is_named(rows):
    with pytest.raises(InputError, match="network"):
        score_groups(rows.drop(columns="network"))


def test_records_are_flat_and_have_every_figure(found):
    record = found.to_dict()["all"]
    for figure in FIGURES:
        assert {figure, f"{figure}_low", f"{figure}_high", f"median_{figure}", f"q1_{figure}"} <= set(record)
    assert found.to_dict()["gcos_ubrmse"] == 0.04
    assert all(not isinstance(value, dict | list) for value in record.values())


def test_classes_of_stations():
    assert [climate_class(code) for code in ("Cfa", "BWk", "Dfb", "E", "", "xx")] == [
        "C temperate", "B arid", "D cold", "E polar", "", ""
    ]  # fmt: skip
    assert [land_cover_class(code) for code in (10, 11, 122, 130, 220, 0, math.nan)] == [
        "cropland", "cropland", "shrubland", "grassland", "snow and ice", "", ""
    ]  # fmt: skip
    assert [elevation_class(metres) for metres in (-3, 499, 500, 2868, math.nan)] == [
        "below 500 m", "below 500 m", "500 to 1000 m", "above 2000 m", ""
    ]  # fmt: skip
    assert depth_class([(0.0, 0.05)]) == "0 to 5 cm"
    assert depth_class([(0.05, 0.05)]) == "5 cm"
    assert depth_class([(0.0, 0.05), (0.05, 0.05)]) == "0 to 5 cm"
    assert depth_class([]) == ""


def test_elevations_and_depths_stand_in_their_order():
    rows = table(sites=4)
    names = ["above 2000 m", "500 to 1000 m", "below 500 m", "1000 to 2000 m"]
    found = score_groups(rows, pd.DataFrame({"elevation": names}, index=[f"s{i}" for i in range(4)]), resamples=0)
    assert [one.name for one in found.classes["elevation"]] == [
        "below 500 m", "500 to 1000 m", "1000 to 2000 m", "above 2000 m"
    ]  # fmt: skip
