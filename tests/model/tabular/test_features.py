"""Features of bare tables: from feature columns alone, site by site, whatever the order of rows and the other sites."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.core.columns import Columns
from stac_sm.core.errors import InputError, ModelError
from stac_sm.model.tabular.features import TableFeatures
from tests.support.examples import examples

COLUMNS = Columns(target="theta", site="station", time="start")
GIVEN = ("B4", "B8", "smap", "sand")


def table_of(sites=4, rows=40, seed=0, gaps=0.2):
    rng = np.random.default_rng(seed)
    when = pd.date_range("2019-01-01", periods=rows, freq="10D").strftime("%Y-%m-%d")
    parts = []
    for i in range(sites):
        values = rng.gamma(2.0, 500.0, (rows, 3)) * (1 + 0.3 * i)
        part = pd.DataFrame(values, columns=list(GIVEN[:3])).mask(rng.random((rows, 3)) < gaps)
        parts.append(part.assign(sand=10.0 * i, station=f"s{i}", start=when, theta=rng.random(rows), lat=40.0 + i))
    return pd.concat(parts, ignore_index=True)


TABLE = table_of()
FEATURES = TableFeatures.of(TABLE, COLUMNS, GIVEN)


@cache
def all_built():
    """Features of the whole table."""
    return FEATURES.build(TABLE)


def same(one, other):
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_the_target_has_no_part_in_them():
    shuffled = TABLE.assign(theta=np.random.default_rng(1).permutation(TABLE["theta"]))
    same(FEATURES.build(shuffled), all_built())
    same(FEATURES.build(TABLE.drop(columns="theta")), all_built())
    assert TableFeatures.of(shuffled, COLUMNS, GIVEN) == FEATURES


@settings(max_examples=examples(10), deadline=None)
@given(st.integers(0, 1000))
def test_neither_has_the_order_of_rows(seed):
    other = TABLE.assign(B4=-TABLE["B4"] * (1 + 1e-12), B8=TABLE["B8"] * 1e9)  # sums that show in which order they were
    twice = pd.concat([TABLE, other], ignore_index=True)  # each day twice
    shuffled = twice.sample(frac=1, random_state=seed)
    same(FEATURES.build(shuffled).loc[twice.index], FEATURES.build(twice))


@pytest.mark.parametrize("site", ["s0", "s3"])
def test_neither_have_the_other_sites(site):
    alone = TABLE[TABLE["station"] == site]
    same(FEATURES.build(alone), all_built().loc[alone.index])


def test_what_a_site_is_like():
    by_site = TABLE.groupby("station")["smap"]
    np.testing.assert_allclose(all_built()["smap:mean"], by_site.transform("mean"), rtol=1e-6)
    np.testing.assert_allclose(all_built()["smap:spread"], by_site.transform("std", ddof=0), rtol=1e-5)
    np.testing.assert_allclose(
        all_built()["smap:anomaly"], TABLE["smap"] - by_site.transform("mean"), rtol=1e-4, atol=1e-3
    )
    assert all_built()["smap:mean"].nunique() == 4


def test_exponential_means_look_back_only_and_none_is_shorter_than_the_sampling():
    assert (FEATURES.sampling, FEATURES.scales) == (10, (10, 30, 120))
    rows = TABLE[TABLE["station"] == "s1"]
    weights = np.exp(-np.arange(0, 90, 10) / 30)
    for last in (0, 5, 39):
        back = rows["smap"].to_numpy()[last::-1][:9]
        known = ~np.isnan(back)
        expected = (weights[: len(back)] * np.nan_to_num(back)).sum() / weights[: len(back)][known].sum()
        np.testing.assert_allclose(all_built().loc[rows.index[last], "smap:exponential30"], expected, rtol=1e-4)


def test_site_means_are_over_a_period_that_is_fixed():
    """A site with rows in the period of the training table has the mean of those, whatever comes later."""
    later = TABLE.assign(start=(pd.to_datetime(TABLE["start"]) + pd.Timedelta("3650D")).dt.strftime("%Y-%m-%d"))
    both = FEATURES.build(pd.concat([TABLE, later.assign(smap=later["smap"] * 9)], ignore_index=True))
    np.testing.assert_array_equal(both["smap:mean"], np.tile(all_built()["smap:mean"], 2))
    alone = FEATURES.build(later)  # without a row in the period
    np.testing.assert_allclose(alone["smap:mean"], all_built()["smap:mean"], rtol=1e-6)


def test_rows_that_are_no_part_of_the_normal_change_no_mean():
    normal = (TABLE["start"] < "2019-08-01").to_numpy()
    changed = TABLE.assign(smap=TABLE["smap"].where(normal, 1e6))
    built, other = (FEATURES.build(table, normal_rows=normal) for table in (TABLE, changed))
    same(built[["smap:mean", "smap:spread"]], other[["smap:mean", "smap:spread"]])
    same(built[normal], other[normal])


def test_unlabelled_rows_tell_what_a_site_is_like():
    """Every second target is missing: the features of the others are those of the whole table."""
    half = TABLE.assign(theta=TABLE["theta"].mask(TABLE.index % 2 == 0))
    same(TableFeatures.of(half, COLUMNS, GIVEN).build(half), all_built())


def test_a_value_that_never_changes_where_all_others_do_is_missing():
    """A satellite that sees the sea at a coastal site says "full" each day: that is no measurement."""
    table = table_of(sites=12)
    coast = table["station"] == "s3"
    table.loc[coast, "smap"] = 25.4
    features = TableFeatures.of(table, COLUMNS, GIVEN)
    assert features.restless == ("B4", "B8", "smap")
    built = features.build(table)
    ours = [name for name in built if name.startswith("smap")]
    assert built.loc[coast, ours].isna().all(axis=None)
    assert built.loc[~coast, "smap"].notna().sum() == table.loc[~coast, "smap"].notna().sum()
    same(built.loc[~coast], features.build(table[~coast]))
    few = features.build(table[coast][:5])  # of few rows it may be chance
    assert (few["smap"] == np.float32(25.4)).all()
    plain = TableFeatures.of(table, COLUMNS, GIVEN, plain=True)
    assert (plain.build(table)["smap"][coast] == np.float32(25.4)).all()


def test_what_stands_still_at_many_sites_may_stand_still():
    table = table_of(sites=12)
    table.loc[table["station"].isin(["s3", "s4"]), "smap"] = 25.4
    features = TableFeatures.of(table, COLUMNS, GIVEN)
    assert features.restless == ("B4", "B8")
    assert features.build(table).loc[table["station"] == "s3", "smap:mean"].notna().all()


def test_few_rows_give_no_warning():
    built = FEATURES.build(TABLE[:1])
    assert built["smap:spread"].iloc[0] == 0
    assert len(FEATURES.build(TABLE[:0])) == 0


def test_what_stands_still_has_no_climatology():
    assert FEATURES.still == ("sand",)
    assert "sand:mean" not in all_built()
    gaps_everywhere = TABLE.assign(smap=TABLE["smap"].mask(TABLE.index % 7 == 0))
    assert "smap" in TableFeatures.of(gaps_everywhere, COLUMNS, GIVEN).varying_columns


def test_indices_of_known_bands():
    np.testing.assert_allclose(
        all_built()["ndvi"], (TABLE["B8"] - TABLE["B4"]) / (TABLE["B8"] + TABLE["B4"]), rtol=1e-5
    )
    assert "ndvi:mean" in all_built()
    nothing = FEATURES.build(TABLE.assign(B4=0.0, B8=0.0))
    assert nothing["ndvi"].isna().all()


def test_all_names_are_made_in_their_order():
    assert list(all_built().columns) == list(FEATURES.names)
    assert set(all_built().dtypes) == {np.dtype("float32")}


def test_plain_features_are_the_columns_and_the_day_of_the_year():
    plain = TableFeatures.of(TABLE, COLUMNS, GIVEN, plain=True).build(TABLE)
    assert list(plain.columns) == [*GIVEN, "doy_sin", "doy_cos"]


def test_they_survive_json():
    assert TableFeatures.from_dict(FEATURES.to_dict()) == FEATURES
    assert FEATURES.restless
    with pytest.raises(ModelError, match="found format 2; format 4 is required: train the model again"):
        TableFeatures.from_dict(FEATURES.to_dict() | {"format": 2})
    with pytest.raises(ModelError, match=r"exponential means of \[5\] days, .* required: train the model again"):
        TableFeatures.from_dict(FEATURES.to_dict() | {"scales": [5]})
    with pytest.raises(ModelError, match="format 9"):
        TableFeatures.from_dict(FEATURES.to_dict() | {"format": 9})
    with pytest.raises(ModelError, match="not complete"):
        TableFeatures.from_dict({name: value for name, value in FEATURES.to_dict().items() if name != "given"})


def test_bad_tables_are_named():
    with pytest.raises(InputError, match="'station' is empty in 160"):
        FEATURES.build(TABLE.assign(station=None))
    with pytest.raises(InputError, match="no column 'smap'"):
        FEATURES.build(TABLE.drop(columns="smap"))


def test_dates_may_be_numbers():
    written = TABLE["start"].str.replace("-", "").astype(int)
    same(FEATURES.build(TABLE.assign(start=written)), all_built())
    with pytest.raises(InputError, match="'start' holds no dates"):
        FEATURES.build(TABLE.assign(start=12))
