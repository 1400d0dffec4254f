"""Laws of the hold-outs, and what is said of tables that allow none."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.columns import Columns, day_column, label_column
from stac_sm.core.errors import InputError
from stac_sm.model.holdout import hold_out, hold_outs
from stac_sm.workflows.project import ValidationSettings

STRATEGIES = ["random", "site", "year", "network", "block"]
seeds = st.integers(0, 2**31)


@st.composite
def tables(draw):
    """Small tables with at least two groups of each kind."""
    n = draw(st.integers(2, 40))
    site = [0, 1, *draw(st.lists(st.integers(0, 7), min_size=n - 2, max_size=n - 2))]
    day = [0, 366, *draw(st.lists(st.integers(0, 1500), min_size=n - 2, max_size=n - 2))]
    site = np.array(site)
    return pd.DataFrame(
        {
            "site": [f"s{i}" for i in site],
            "network": [f"n{i % 3}" for i in site],
            "lon": -100.0 + 6 * site,
            "lat": 30.0 + site,
            "date": pd.Timestamp("2017-01-01") + pd.to_timedelta(day, unit="D"),
            "sm": 0.2,
        }
    )


def groups_of(table, strategy):
    return {
        "random": table["site"] + table["date"].astype(str),
        "site": table["site"],
        "year": table["date"].dt.year,
        "network": table["network"],
        "block": table["site"],
    }[strategy]


@given(tables(), st.sampled_from(STRATEGIES), st.integers(2, 6), seeds)
def test_groups_are_disjoint_and_rows_are_held_out_once(table, strategy, folds, seed):
    cut = hold_out(table, strategy, folds=folds, seed=seed)
    group = groups_of(table, strategy).to_numpy()
    for fold in cut:
        assert not set(group[fold.train]) & set(group[fold.test])
        assert sorted([*fold.train, *fold.test]) == list(range(len(table)))
        assert len(fold.train)
        assert len(fold.test)
    assert sorted(np.concatenate([fold.test for fold in cut])) == list(range(len(table)))
    assert len({fold.name for fold in cut}) == len(cut) >= 2
    if strategy != "network":
        assert len(cut) <= folds


@given(tables(), st.sampled_from(STRATEGIES), seeds, st.randoms())
def test_order_of_rows_and_index_do_not_matter(table, strategy, seed, random):
    table = table.drop_duplicates(["site", "date"], ignore_index=True)
    order = list(range(len(table)))
    random.shuffle(order)
    shuffled = table.iloc[order]
    for one, other in zip(hold_out(table, strategy, seed=seed), hold_out(shuffled, strategy, seed=seed), strict=True):
        assert one.name == other.name
        assert sorted(np.array(order)[other.test]) == list(one.test)


@given(tables(), st.sampled_from(["random", "site", "year"]), st.integers(2, 6), seeds)
def test_folds_differ_by_one_group_at_most(table, strategy, folds, seed):
    group = groups_of(table, strategy).to_numpy()
    sizes = [len(set(group[fold.test])) for fold in hold_out(table, strategy, folds=folds, seed=seed)]
    assert max(sizes) - min(sizes) <= 1


def table_of(sites=10, days_each=60, start="2018-01-01", freq="20D"):
    dates = pd.date_range(start, periods=days_each, freq=freq)
    index = pd.MultiIndex.from_product([[f"s{i:02d}" for i in range(sites)], dates], names=["site", "date"])
    return pd.DataFrame(index=index).reset_index().assign(network="N", lon=10.0, lat=45.0, sm=0.2)


def test_the_split_is_the_same_on_any_machine():
    cut = hold_out(table_of(), "site", folds=3, seed=7)
    assert [sorted({f"s{i // 60:02d}" for i in fold.test}) for fold in cut] == [
        ["s00", "s02", "s07", "s09"],
        ["s01", "s03", "s06"],
        ["s04", "s05", "s08"],
    ]


def test_another_seed_is_another_split():
    one, other = (hold_out(table_of(), "random", seed=seed)[0].test for seed in (0, 1))
    assert list(one) != list(other)


def test_few_groups_are_held_out_one_at_a_time():
    assert {fold.name for fold in hold_out(table_of(), "year")} == {"year 2018", "year 2019", "year 2020", "year 2021"}
    assert [fold.name for fold in hold_out(table_of(), "random", folds=2)] == ["random 1/2", "random 2/2"]


def test_each_network_is_a_fold():
    table = table_of().assign(network=lambda t: "N" + t["site"].str[-1])
    assert {fold.name for fold in hold_out(table, "network", folds=3)} == {f"network N{i}" for i in range(10)}


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), min_size=2, max_size=20), seeds)
def test_law_no_site_is_on_both_sides_of_a_network(pairs, seed):
    """A site may change hands, or two networks may stand in one pixel."""
    table = pd.DataFrame({"site": [f"s{s}" for s, _ in pairs], "network": [f"n{n}" for _, n in pairs]})
    try:
        cut = hold_out(table, "network", seed=seed)
    except InputError:
        return
    for fold in cut:
        for column in ("site", "network"):
            assert set(table[column].iloc[fold.train]).isdisjoint(table[column].iloc[fold.test])
    assert sorted(np.concatenate([fold.test for fold in cut])) == list(range(len(table)))


def test_by_default_networks_are_left_out_where_there_is_one_only():
    assert "network" in ValidationSettings().strategies
    table = table_of().assign(network=lambda t: "N" + t["site"].str[-1])
    several, lone = (hold_outs(one, ValidationSettings().strategies) for one in (table, table.assign(network="N")))
    assert len(several["network"]) == table["network"].nunique()
    assert isinstance(lone["network"], InputError)
    assert "found 1 network (N)" in str(lone["network"])
    assert all(not isinstance(lone[name], InputError) for name in ("random", "site", "year"))


def test_many_networks_share_folds_and_none_is_parted():
    table = pd.DataFrame({"site": [f"s{i}" for i in range(80)], "network": [f"n{i // 2}" for i in range(80)]})
    cut = hold_out(table, "network")
    assert len(cut) == 12
    assert cut[0].name == "network 1/12"
    assert sorted(np.concatenate([fold.test for fold in cut])) == list(range(80))
    assert all(not set(table["network"].iloc[fold.train]) & set(table["network"].iloc[fold.test]) for fold in cut)
    assert len(hold_out(table, "network", folds=20)) == 20


def test_networks_that_share_a_site_are_one_group():
    table = pd.DataFrame({"site": ["a", "a", "b", "c", "d"], "network": ["N1", "N2", "N2", "N3", "N4"]})
    cut = hold_out(table, "network")
    assert {fold.name: list(fold.test) for fold in cut} == {
        "network N1+N2": [0, 1, 2], "network N3": [3], "network N4": [4],
    }  # fmt: skip
    with pytest.raises(InputError, match=r"found 1 network \(N1\+N2\)"):
        hold_out(table[:3], "network")


@given(tables(), st.sampled_from(STRATEGIES), seeds)
def test_law_the_kind_of_the_columns_does_not_matter(table, strategy, seed):
    """Text or dates, text or categories, an index or none: one split."""
    other = table.assign(date=table["date"].dt.strftime("%Y-%m-%dT00:00:00Z"), site=table["site"].astype("category"))
    other.index = pd.Index(range(7, 7 + len(other)))
    for one, same in zip(hold_out(table, strategy, seed=seed), hold_out(other, strategy, seed=seed), strict=True):
        assert (one.name, list(one.test)) == (same.name, list(same.test))


@pytest.mark.parametrize(
    ("strategy", "wanted"),
    [
        ("random", "bf492fa47e05"),
        ("site", "b72866e188bd"),
        ("year", "e6adf51a3823"),
        ("network", "d1a8ac869d5b"),
        ("block", "6bd4032a56e4"),
    ],
)
def test_golden_splits(strategy, wanted):
    """These change for no machine and no version: whoever cuts the same table gets the same folds."""
    number = table_of()["site"].str[1:].astype(int)
    table = table_of().assign(network="N" + (number % 4).astype(str), lon=7.0 * number, lat=45.0)
    cut = [[fold.name, fold.test.tolist()] for fold in hold_out(table, strategy, folds=3, seed=5)]
    assert hashlib.sha256(json.dumps(cut).encode()).hexdigest()[:12] == wanted


def test_blocks_hold_neighbours_together():
    table = table_of(4).assign(lon=lambda t: t["site"].map({"s00": 179.9, "s01": -179.9, "s02": 180.0, "s03": -178.0}))
    cut = hold_out(table, "block", block_degrees=5)
    assert sorted(sorted(set(table["site"].iloc[fold.test])) for fold in cut) == [["s00"], ["s01", "s02", "s03"]]


def test_a_site_with_two_places_is_not_parted():
    table = table_of(3).assign(lon=lambda t: np.where(t.index % 3 == 0, 4.99, 5.01) + 20 * (t["site"] == "s02"))
    assert len(hold_out(table, "block")) == 2


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (
            "year",
            r"hold-out by year: found 1 year \(2018\) in the table, at least 2 required; match up a longer period",
        ),
        ("site", r"found 1 site \(s00\) in the table, at least 2 required; match up more stations"),
        ("network", r"found 1 network \(N\)"),
        ("block", r"found 1 block \(2,9\)"),
    ],
)
def test_one_group_is_refused(strategy, message):
    with pytest.raises(InputError, match=message):
        hold_out(table_of(1, 10), strategy)


def test_tables_without_rows_or_days_are_refused():
    with pytest.raises(InputError, match="no row"):
        hold_out(table_of().iloc[:0], "random")
    with pytest.raises(InputError, match=r"'date' is empty in 1 of 600 rows"):
        hold_out(table_of().assign(date=lambda t: t["date"].mask(t.index == 3)), "year")
    with pytest.raises(InputError, match="'date' holds no dates"):
        hold_out(table_of().assign(date="someday"), "year")
    with pytest.raises(InputError, match=r"no place for 1 sites \(s03\)"):
        hold_out(table_of().assign(lat=lambda t: t["lat"].mask(t["site"] == "s03")), "block")
    with pytest.raises(InputError, match="no column 'network'"):
        hold_out(table_of().drop(columns="network"), "network")


def test_bad_arguments_are_named():
    with pytest.raises(InputError, match=r"no strategy 'years' \(nearest: year\)"):
        hold_out(table_of(), "years")
    with pytest.raises(InputError, match="folds=1; at least 2"):
        hold_out(table_of(), "site", folds=1)


def test_what_cannot_be_done_is_kept_with_its_reason():
    cuts = hold_outs(table_of(days_each=10), ("random", "site", "year"), folds=3)
    assert [len(cuts["random"]), len(cuts["site"])] == [3, 3]
    assert "1 year (2018)" in str(cuts["year"])
    with pytest.raises(InputError, match="no strategy"):
        hold_outs(table_of(), ("sites",))


def test_other_columns_and_written_dates():
    table = table_of().rename(columns={"site": "gauge", "date": "start"})
    table["start"] = table["start"].dt.strftime("%Y-%m-%d")
    columns = Columns(site="gauge", time="start")
    assert len(hold_out(table, "year", columns=columns)) == 4
    assert len(hold_out(table, "site", columns=columns)) == 5
    assert label_column(table.assign(gauge=1), "gauge").unique() == ["1"]


def test_days_are_utc():
    table = pd.DataFrame({"date": pd.to_datetime(["2018-12-31T23:30-02:00"])})
    assert day_column(table, "date")[0] == pd.Timestamp("2019-01-01")
