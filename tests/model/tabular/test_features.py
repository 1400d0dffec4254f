"""Features of bare tables: from feature columns alone, site by site, whatever the order of rows and the other sites."""

from __future__ import annotations

from dataclasses import replace

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
BUILT = FEATURES.build(TABLE)


def same(one, other):
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_the_target_has_no_part_in_them():
    shuffled = TABLE.assign(theta=np.random.default_rng(1).permutation(TABLE["theta"]))
    same(FEATURES.build(shuffled), BUILT)
    same(FEATURES.build(TABLE.drop(columns="theta")), BUILT)
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
    same(FEATURES.build(alone), BUILT.loc[alone.index])


def test_what_a_site_is_like():
    by_site = TABLE.groupby("station")["smap"]
    quartiles = (by_site.transform("quantile", share) for share in (0.75, 0.25))
    np.testing.assert_allclose(BUILT["smap:iqr"], next(quartiles) - next(quartiles), rtol=1e-5)
    for kind in ("mean", "median", "std", "skew"):
        np.testing.assert_allclose(BUILT[f"smap:{kind}"], by_site.transform(kind), rtol=1e-6)
    np.testing.assert_allclose(BUILT["smap:anomaly"], TABLE["smap"] - by_site.transform("mean"), rtol=1e-4, atol=1e-3)
    assert BUILT["smap:mean"].nunique() == 4


def test_trailing_means_look_back_only():
    rows = TABLE[TABLE["station"] == "s1"]
    by_day = rows.assign(start=pd.to_datetime(rows["start"])).rolling("90D", on="start", min_periods=1)
    wanted = by_day["smap"].mean() - rows["smap"].mean()
    np.testing.assert_allclose(BUILT.loc[rows.index, "smap:trailing90_anomaly"], wanted, rtol=1e-4, atol=1e-2)


def test_waves_are_those_of_the_site():
    when = pd.date_range("2019-01-01", "2020-12-31", freq="7D")
    angle = when.dayofyear * (2 * np.pi / 365.25)
    for wave, times in {"yearly": 1, "half_yearly": 2}.items():
        values = 3 + 2 * np.sin(times * angle) - 0.5 * np.cos(times * angle)
        table = pd.DataFrame({"smap": values, "station": "s", "start": when})
        table.loc[::5, "smap"] = np.nan
        built = TableFeatures.of(table, COLUMNS, ["smap"]).build(table)
        np.testing.assert_allclose(built[[f"smap:{wave}_sin", f"smap:{wave}_cos"]].iloc[0], [2, -0.5], atol=1e-5)


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


def test_complete_columns_are_there_in_nearly_all_rows():
    table = table_of(sites=12, gaps=0.0)
    table["B8"] = table["B8"].mask(table.index % 10 == 0)
    features = TableFeatures.of(table, COLUMNS, GIVEN)
    assert features.complete == ("B4", "smap", "sand")
    assert {name.split(":")[0] for name in features.complete_site_features} == {"B4", "smap", "sand"}  # no ndvi
    assert {"smap:iqr", "smap:half_yearly_cos", "sand"} <= set(features.complete_site_features)
    none = TableFeatures.of(table_of(gaps=0.5), COLUMNS, GIVEN[:3])
    assert none.complete == ()
    assert set(none.robust_site_features) <= set(none.complete_site_features)


def test_few_rows_have_no_waves_and_no_skewness_and_no_warning():
    built = FEATURES.build(TABLE[:1])
    assert built[["smap:yearly_sin", "smap:skew", "smap:std"]].isna().all(axis=None)
    assert len(FEATURES.build(TABLE[:0])) == 0


def test_what_stands_still_has_no_climatology():
    assert FEATURES.still == ("sand",)
    assert "sand:mean" not in BUILT
    assert "sand" in FEATURES.site_features
    gaps_everywhere = TABLE.assign(smap=TABLE["smap"].mask(TABLE.index % 7 == 0))
    assert "smap" in TableFeatures.of(gaps_everywhere, COLUMNS, GIVEN).varying_columns


def test_indices_of_known_bands():
    np.testing.assert_allclose(BUILT["ndvi"], (TABLE["B8"] - TABLE["B4"]) / (TABLE["B8"] + TABLE["B4"]), rtol=1e-5)
    assert "ndvi:mean" in BUILT
    nothing = FEATURES.build(TABLE.assign(B4=0.0, B8=0.0))
    assert nothing["ndvi"].isna().all()


def test_every_name_that_a_part_may_ask_for_is_made():
    lists = (
        "varying_columns", "site_features", "robust_site_features", "complete_site_features",
        "seasonal_cycle_features", "anomaly_features", "trailing_anomaly_features",
    )  # fmt: skip
    assert {name for one in lists for name in getattr(FEATURES, one)} <= set(BUILT.columns)
    assert set(BUILT.dtypes) == {np.dtype("float32")}


def test_plain_features_are_the_columns_and_the_day_of_the_year():
    plain = TableFeatures.of(TABLE, COLUMNS, GIVEN, plain=True).build(TABLE)
    assert list(plain.columns) == [*GIVEN, "doy_sin", "doy_cos"]


def test_they_survive_json():
    assert TableFeatures.from_dict(FEATURES.to_dict()) == FEATURES
    assert FEATURES.restless
    first = {name: value for name, value in FEATURES.to_dict().items() if name not in ("restless", "complete")}
    assert TableFeatures.from_dict(first | {"format": 1}) == replace(FEATURES, restless=(), complete=())
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
    same(FEATURES.build(TABLE.assign(start=written)), BUILT)
    with pytest.raises(InputError, match="'start' holds no dates"):
        FEATURES.build(TABLE.assign(start=12))
