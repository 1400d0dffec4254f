"""Tables of users: read as they are, and what is no value in them is found, counted and made missing."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.core.columns import Columns, numeric_column
from stac_sm.core.errors import InputError
from stac_sm.model.user_table import (
    OTHER,
    PERCENT,
    choose_features,
    clean_table,
    find_fill_values,
    place_columns,
    read_table,
)
from tests.support.examples import examples

COLUMNS = Columns(target="theta", site="station", time="start")
SENTINELS = [-9999.0, -999.0, 9999.0, -32768.0, 1e20, 9.97e36, -99.9, 65535.0]


def table_of(sites=6, rows=40, seed=0):
    rng = np.random.default_rng(seed)
    when = pd.date_range("2019-01-01", periods=rows, freq="10D").strftime("%Y-%m-%d")
    parts = []
    for i in range(sites):
        part = pd.DataFrame({"theta": rng.uniform(0.02, 0.5, rows), "smap": rng.gamma(2.0, 5.0, rows)})
        place = {"sand": 10.0 * i, "station": f"00{i}", "start": when, "lat": 40.0 + i, "lon": 9.0 - i}
        parts.append(part.assign(temp=rng.normal(5, 12, rows), **place))
    return pd.concat(parts, ignore_index=True)


TABLE = table_of()
NAMES = ("smap", "temp", "sand")


def cleaned(table, columns=COLUMNS, **more):
    return clean_table(table, columns, **more)


def same(one, other):
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_a_table_in_which_nothing_is_found_keeps_its_bytes():
    clean = cleaned(TABLE)
    same(clean.table, TABLE)
    assert (clean.found.to_dict(), clean.found.notes, bool(clean.found)) == ({}, (), False)


@pytest.mark.parametrize("name", ["conus_smap_daily", "matchup_conus"])
def test_of_real_tables_only_their_fill_value_is_taken(name, shared):
    if name == "matchup_conus":
        table = read_table(shared / "data/matchup_conus/matchup_conus_10day.csv", "station")
        clean = cleaned(table, Columns("sm_insitu", "station", "start"))
        same(clean.table, table)
        return
    table = read_table(shared / "data/conus_smap_daily/conus_smap_daily.parquet", "place")
    clean = cleaned(table, Columns("sm_smap", "place", "date"))
    filled = [name for name in table if (table[name] == -9999).any()]
    assert clean.found.to_dict() == {"fill_values": {name: {"-9999": 221} for name in filled}}
    for name in filled:
        same(clean.table[[name]], table[[name]].where(table[[name]] != -9999).astype(float))
    assert set(filled) == {"bulk", "clay", "silt", "capa", "sand"}


@pytest.mark.parametrize("value", SENTINELS)
@pytest.mark.parametrize("name", ["theta", *NAMES])
def test_a_fill_value_is_missing_and_counted(name, value):
    gone = TABLE["station"] == "003" if name == "sand" else pd.Series(TABLE.index % 30 == 0)
    clean = cleaned(TABLE.assign(**{name: TABLE[name].mask(gone, value)}))
    same(clean.table, TABLE.assign(**{name: TABLE[name].mask(gone)}))
    assert clean.found.fill_values == {name: {value: int(gone.sum())}}
    assert [f"{gone.sum()} of 240 rows have the value {value:.7g}" in note for note in clean.found.notes] == [True]


def test_several_fill_values_and_spikes_in_one_column():
    filled = TABLE["temp"].copy()
    filled[::9], filled[1::9], filled[4] = -9999, -999, -50_000
    found = cleaned(TABLE.assign(temp=filled)).found.fill_values
    assert found == {"temp": {-9999.0: len(filled[::9]), -999.0: len(filled[1::9])}}


def test_float32_columns_are_compared_as_they_are():
    stored = TABLE["temp"].mask(TABLE.index % 5 == 0, -9999.9).astype(np.float32)
    assert list(cleaned(TABLE.assign(temp=stored)).found.fill_values["temp"].values()) == [48]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("rain", lambda rng: np.where(rng.random(240) < 0.95, 0, rng.pareto(1.0, 240).round(1) * 25.4)),
        ("flag", lambda rng: rng.choice([0, 0, 0, 6], 240)),
        ("elevation", lambda rng: np.repeat([12.0, 250, 31, 999, 77, 4100], 40)),
        ("area", lambda rng: np.repeat([*range(1, 12), 5000.0], 40)),
        ("reflectance", lambda rng: np.minimum(rng.gamma(2.0, 2500, 240).round(), 9999)),
        ("landcover", lambda rng: rng.choice([10, 20, 95, 99], 240)),
        ("anomaly", lambda rng: np.append(rng.normal(0, 40, 238), [-99, -99])),
        ("height", lambda rng: np.repeat([-99.0, -3, 12, 40, 55, 7], 40)),
        ("constant", lambda rng: np.full(240, 9999.0)),
        ("spike", lambda rng: np.append(rng.random(239), 1e6)),
    ],
)
def test_values_that_are_measured_stay(name, values):
    column = values(np.random.default_rng(2))
    assert find_fill_values(column.astype(float), np.arange(len(column)) // 40) == {}, name


def test_fill_values_of_the_training_table_are_known_where_nothing_tells_them_from_the_rest():
    one = TABLE[TABLE["station"] == "003"].assign(sand=9999.0)
    assert cleaned(one).found.fill_values == {}
    clean = cleaned(one, known_fill_values={"sand": [9999.0]})
    assert clean.found.fill_values == {"sand": {9999.0: 40}}
    assert clean.table["sand"].isna().all()
    assert cleaned(one.assign(sand=-9999.0)).found.fill_values == {"sand": {-9999.0: 40}}


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(st.floats(-50, 150, width=32), min_size=30, max_size=60, unique=True),
    st.sampled_from(SENTINELS[:6]),
    st.integers(2, 30),
    st.randoms(use_true_random=False),
)
def test_law_a_fill_value_is_found_wherever_it_stands_and_nothing_else(values, fill, count, random):
    mixed = [*values, *[fill] * count]
    random.shuffle(mixed)
    column = np.array(mixed)
    assert find_fill_values(column, np.arange(len(column)) % 5) == {fill: count}
    assert find_fill_values(np.array(values), np.arange(len(values)) % 5) == {}


def test_a_few_targets_outside_the_range_are_left_out_and_counted():
    table = TABLE.assign(theta=TABLE["theta"].mask(TABLE.index == 7, 1.2).mask(TABLE.index == 9, -0.01))
    clean = cleaned(table)
    same(clean.table, TABLE.assign(theta=TABLE["theta"].mask(TABLE.index.isin([7, 9]))))
    assert clean.found.to_dict() == {"targets_outside_0_to_1": 2}
    assert "2 of 240 rows have a target 'theta' outside 0 to 1 m3 m-3" in clean.found.notes[0]


@pytest.mark.parametrize(
    ("change", "unit", "message"),
    [
        (
            lambda x: x * 100,
            None,
            r"lies outside 0 to 1 m3 m-3 in 240 of 240 .*looks like percent: give `--target-unit p",
        ),
        (lambda x: x.mask(x.index % 50 == 0, 5), None, r"in 5 of 240 rows \(2.1%\), up to 1% .* 5 in 5 rows"),
        (lambda x: x - 0.2, None, "outside 0 to 1 m3 m-3"),
        (lambda x: x * 300, PERCENT, "outside 0 to 100 percent"),
        (lambda x: x, PERCENT, "looks like m3 m-3, not percent: leave out `--target-unit percent`"),
        (lambda x: x, "pct", "target unit 'pct' is unknown: known are m3 m-3, percent, other"),
    ],
)
def test_targets_in_another_unit_are_refused(change, unit, message):
    more = {} if unit is None else {"target_unit": unit}
    with pytest.raises(InputError, match=message):
        cleaned(TABLE.assign(theta=change(TABLE["theta"])), **more)


def test_percent_is_stored_in_m3_m3():
    percent = TABLE["theta"].mul(100).mask(TABLE.index % 8 == 0, -99.9)
    clean = cleaned(TABLE.assign(theta=percent), target_unit=PERCENT)
    same(clean.table, TABLE.assign(theta=percent.mask(TABLE.index % 8 == 0) / 100))
    assert clean.found.to_dict() == {"target_unit": "percent", "fill_values": {"theta": {"-99.9": 30}}}
    assert "in percent in the table, and is stored in m3 m-3" in clean.found.notes[0]


def test_a_quantity_that_is_no_soil_moisture_has_no_range():
    table = TABLE.assign(theta=TABLE["theta"] * 900 - 30)
    same(cleaned(table, target_unit=OTHER).table, table)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("name", ["smap", "theta"])
def test_a_few_cells_that_are_no_numbers_cost_those_cells(suffix, name, tmp_path):
    text = (
        TABLE[name]
        .map(repr)
        .mask(TABLE.index % 40 == 3, "-")
        .mask(TABLE.index % 120 == 4, "n. d.")
        .replace("nan", None)
    )
    file = tmp_path / f"t.{suffix}"
    table = TABLE.assign(**{name: text})
    table.to_csv(file, index=False) if suffix == "csv" else table.to_parquet(file)
    clean = cleaned(read_table(file, "station"))
    expected = TABLE[name].mask(TABLE.index.isin([*range(3, 240, 40), 4, 124]))
    assert np.array_equal(clean.table[name], expected, equal_nan=True)
    assert clean.found.to_dict() == {"not_numbers": {name: {"-": 6, "n. d.": 2}}}
    assert f"8 of 240 cells of column '{name}' are no numbers ('-' in 6, 'n. d.' in 2)" in clean.found.notes[0]


def test_one_marker_may_be_frequent_but_a_column_of_text_stays_one():
    half = TABLE["smap"].map(repr).mask(TABLE.index % 3 == 0, "./.")
    clean = cleaned(TABLE.assign(smap=half, gauge=[f"g{i}" if i % 3 else str(i) for i in range(240)]))
    assert clean.found.not_numbers == {"smap": {"./.": 80}}
    assert clean.table["gauge"].tolist()[:2] == ["0", "g1"]
    assert choose_features(clean.table, COLUMNS).left["gauge"] == "no numbers"


@pytest.mark.parametrize(("name", "more"), [("theta", {}), ("smap", {"features": ["smap"]})])
def test_a_column_that_is_required_must_hold_numbers(name, more):
    comma = TABLE[name].map(lambda x: f"{x:.4f}".replace(".", ","))
    with pytest.raises(InputError, match=rf"'{name}' holds no numbers in 240 of 240 cells .* with a point"):
        cleaned(TABLE.assign(**{name: comma}), **more)


def test_infinities_are_missing_and_counted():
    clean = cleaned(TABLE.assign(smap=TABLE["smap"].mask(TABLE.index == 3, np.inf)))
    same(clean.table, TABLE.assign(smap=TABLE["smap"].mask(TABLE.index == 3)))
    assert clean.found.not_numbers == {"smap": {"inf": 1}}


def test_coordinates_outside_the_globe_are_missing():
    clean = cleaned(TABLE.assign(lat=TABLE["lat"].mask(TABLE["station"] == "002", -9999)))
    assert clean.found.to_dict() == {"impossible_coordinates": {"lat": 40}}
    assert clean.table["lat"].isna().sum() == 40


def test_columns_that_are_not_used_are_not_touched():
    table = TABLE.assign(n_days=np.where(TABLE.index % 9, 9, -9999), note="-")
    clean = cleaned(table)
    same(clean.table, table)
    assert not clean.found


@pytest.mark.parametrize("order", [1, -1])
def test_two_rows_of_one_site_and_time(order):
    table = pd.concat([TABLE, TABLE.iloc[[5]].assign(theta=0.3)], ignore_index=True)[::order]
    with pytest.raises(InputError, match=r"are both of 'station' '000' at 'start' 2019-02-20; 1 rows repeat"):
        cleaned(table)


def test_several_times_a_day_may_be_but_not_dozens():
    twice = TABLE.assign(start=pd.date_range("2019-01-01", periods=40, freq="12h").tolist() * 6)
    same(cleaned(twice).table, twice)
    hourly = TABLE.assign(start=pd.date_range("2019-01-01", periods=40, freq="h").tolist() * 6)
    with pytest.raises(InputError, match=r"has 20 rows a day of 'start'.*daily means of an hourly table"):
        cleaned(hourly)
    with pytest.raises(InputError, match=r"'network' 'A' has 20 rows a day.*tells stations apart by --site"):
        cleaned(table_of(sites=20, rows=5).assign(network="A"), replace(COLUMNS, site="network"))


def test_missing_columns_are_named_with_what_needs_them():
    with pytest.raises(InputError, match="no column 'start' .* required by the evaluation"):
        cleaned(TABLE.drop(columns="start"), required_by="the evaluation")


@settings(max_examples=examples(30), deadline=None)
@given(st.integers(0, 10_000))
def test_law_the_order_of_rows_does_not_matter_to_what_is_found(seed):
    table = TABLE.assign(
        theta=TABLE["theta"].mask(TABLE.index % 30 == 0, -9999).mask(TABLE.index == 7, 1.3),
        smap=TABLE["smap"].map(repr).mask(TABLE.index % 50 == 1, "-"),
    )
    order = np.random.default_rng(seed).permutation(len(table))
    one, other = cleaned(table), cleaned(table.iloc[order])
    assert one.found.to_dict() == other.found.to_dict()
    same(other.table, one.table.iloc[order])
    slow = Counter(repr(cell) for cell in table["smap"] if not _is_number(cell))
    assert sum(one.found.not_numbers["smap"].values()) == sum(slow.values())


def _is_number(cell):
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def test_columns_by_default():
    table = TABLE.assign(
        end="2019-01-11", network="A", n_days=9, empty=np.nan, doy_sin=0.5, whole=3, flag=True, **{"a<b": 1.0}
    )
    table.insert(0, "Unnamed: 0", range(len(table)))
    choice = choose_features(table, COLUMNS)
    assert choice.taken == ("smap", "temp", "sand", "whole", "flag")
    assert choice.left == {
        "Unnamed: 0": "row numbers without a name", "station": "the site", "start": "the time", "theta": "the target",
        "lat": "a coordinate", "lon": "a coordinate", "end": "the end of the time", "network": "no numbers",
        "n_days": "a count", "empty": "no value", "doy_sin": "computed from the time",
        "a<b": "any of [ ] < : in its name",
    }  # fmt: skip


def test_columns_that_are_asked_for():
    choice = choose_features(TABLE, COLUMNS, ["smap", "lat"])
    assert choice.taken == ("smap", "lat")
    assert choice.left["sand"] == "not asked for"


@pytest.mark.parametrize(
    ("required", "message"),
    [
        (["smp"], r"no column 'smp' \(nearest: smap"),
        (["smap", "smap"], "found smap"),
        (["theta"], "found theta"),
        (["station"], "found station"),
        ([], "found nothing"),
        (["start"], "column 'start' holds no numbers"),
    ],
)
def test_columns_that_cannot_be_features(required, message):
    with pytest.raises(InputError, match=message):
        choose_features(TABLE, COLUMNS, required)


def test_bad_tables_are_named():
    with pytest.raises(InputError, match=r"no column 'thta' \(nearest: theta"):
        choose_features(TABLE, replace(COLUMNS, target="thta"))
    with pytest.raises(InputError, match="no column that can be a feature"):
        choose_features(TABLE[["theta", "station", "start"]], COLUMNS)
    with pytest.raises(InputError, match="'smap' is infinite in 240 rows"):
        numeric_column(TABLE.assign(smap=np.inf), "smap")


def test_places_are_found_by_name():
    there = TABLE.drop(columns="lon")
    assert place_columns(there, COLUMNS) == {}
    assert place_columns(there.assign(Longitude=9.0), COLUMNS) == {"lat": "lat", "lon": "Longitude"}


def test_tables_that_cannot_be_read(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n")
    (tmp_path / "t.parquet").write_bytes(b"junk")
    (tmp_path / "t.xlsx").write_bytes(b"junk")
    for name, message in {
        "none.csv": "no such file", "t.csv": "no rows", "t.parquet": "cannot be read", "t.xlsx": ".csv or .parquet"
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=message):
            read_table(tmp_path / name, "station")


def test_sites_are_read_as_they_are_written(tmp_path):
    TABLE.to_csv(tmp_path / "t.csv", index=False)
    assert set(read_table(tmp_path / "t.csv", "station")["station"]) == set(TABLE["station"])
