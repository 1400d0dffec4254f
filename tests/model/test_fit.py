"""Training is a pure function of rows, settings and seed; a model matches its columns by name."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.core.columns import Columns
from stac_sm.core.errors import InputError, ModelError
from stac_sm.model.base_learners import site_sample_weights
from stac_sm.model.booster import WeightedBooster
from stac_sm.model.fit import Rounds, fit, learn, training_rows
from stac_sm.model.model import Model
from stac_sm.model.train_settings import TrainSettings
from tests.support.examples import examples

FEATURES = ["lst", "lai", "swvl1"]
SMALL = TrainSettings(tune=False, n_estimators=20, max_depth=4, eta=0.2)


def table_of(n=400, seed=0):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.random((n, 3)), columns=FEATURES)
    table["sm"] = 0.1 + 0.3 * table["swvl1"] - 0.05 * table["lst"] + 0.02 * rng.standard_normal(n)
    table["lai"] = table["lai"].mask(rng.random(n) < 0.1)
    return table.assign(site=[f"s{i % 7}" for i in range(n)], date=pd.Timestamp("2018-01-01"))


TABLE = table_of()
MODEL = fit(TABLE, FEATURES, settings=SMALL)


def test_it_learns():
    assert np.corrcoef(MODEL.predict(TABLE), TABLE["sm"])[0, 1] > 0.95
    assert MODEL.predict(TABLE).dtype == np.float32
    assert MODEL.features == tuple(FEATURES)


@settings(max_examples=examples(5), deadline=None)
@given(st.integers(0, 1000))
def test_order_of_rows_and_other_columns_do_not_change_a_byte(shuffle):
    shuffled = TABLE.sample(frac=1, random_state=shuffle).assign(note="wet")[TABLE.columns[::-1]]
    again = fit(shuffled, FEATURES, settings=SMALL)
    assert again.members[0].content == MODEL.members[0].content
    assert again.checksum == MODEL.checksum


def test_rows_twice_and_signed_zeros_do_not_depend_on_order_either():
    table = pd.concat([TABLE.assign(lst=0.0), TABLE.assign(lst=-0.0)])
    assert fit(table, FEATURES, settings=SMALL) == fit(table[::-1], FEATURES, settings=SMALL)


def test_threads_do_not_change_a_byte():
    table = table_of(30_000)
    few = replace(SMALL, n_estimators=5)  # threads spin when the machine is busy
    one, two = (fit(table, FEATURES, settings=replace(few, nthread=n)).checksum for n in (1, 2))
    assert one == two


def test_another_process_writes_the_same_bytes(tmp_path):
    TABLE.to_parquet(tmp_path / "table.parquet")
    code = (
        "import pandas as pd, sys; from stac_sm.model.fit import TrainSettings, fit;"
        f"print(fit(pd.read_parquet(sys.argv[1]), {FEATURES}, settings={SMALL}).checksum)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "table.parquet"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == MODEL.checksum


def test_the_seed_and_a_row_matter():
    assert fit(TABLE, FEATURES, settings=replace(SMALL, seed=1)).checksum != MODEL.checksum
    assert fit(TABLE[1:], FEATURES, settings=SMALL).checksum != MODEL.checksum


def test_rows_without_a_target_teach_nothing():
    more = pd.concat([TABLE, TABLE.assign(sm=np.nan, lst=5.0)])
    assert fit(more, FEATURES, settings=SMALL) == MODEL


def test_other_names_for_the_target():
    table = TABLE.rename(columns={"sm": "theta"})
    assert fit(table, FEATURES, settings=SMALL, columns=Columns(target="theta")) == MODEL


@pytest.mark.parametrize(
    ("table", "features", "message"),
    [
        (TABLE, ["lst", "swvl"], r"no column 'swvl' \(nearest: swvl1\); required by training"),
        (TABLE, [], "no feature; at least one"),
        (TABLE, ["lst", "lst"], "found lst among the features"),
        (TABLE, ["lst", "sm"], "found sm among the features; each one once, none of them the target 'sm'"),
        (TABLE.rename(columns={"lst": "lst[K]"}), ["lst[K]"], r"found lst\[K\] among the features"),
        (TABLE, ["lst", "site"], "column 'site' holds no numbers"),
        (TABLE.assign(lst=np.inf), FEATURES, "column 'lst' is infinite in 400 rows"),
        (TABLE.assign(sm=np.nan), FEATURES, "no row with a target 'sm' among 400"),
        (TABLE.drop(columns="sm"), FEATURES, "no column 'sm'"),
    ],
)
def test_bad_tables_and_features_are_named(table, features, message):
    with pytest.raises(InputError, match=message):
        fit(table, features, settings=SMALL)


def test_columns_are_matched_by_name():
    found = MODEL.predict({name: TABLE[name].to_numpy() for name in [*FEATURES[::-1], "sm"]})
    assert np.array_equal(found, MODEL.predict(TABLE))


def test_prediction_has_the_bits_of_xgboost():
    import xgboost as xgb

    data = xgb.DMatrix(TABLE[FEATURES].to_numpy(np.float32), feature_names=FEATURES)
    assert np.array_equal(MODEL.members[0].trained.booster.predict(data), MODEL.predict(TABLE))


def test_missing_values_get_a_prediction_and_no_rows_none():
    assert np.isfinite(MODEL.predict(dict.fromkeys(FEATURES, np.full(3, np.nan)))).all()
    assert MODEL.predict(TABLE[:0]).shape == (0,)


def test_bad_columns_are_named():
    with pytest.raises(ModelError, match=r"no feature 'swvl1' \(nearest: swvl2\); required: lst, lai, swvl1"):
        MODEL.predict(TABLE.rename(columns={"swvl1": "swvl2"}))
    with pytest.raises(ModelError, match=r"lst \(2,\), lai \(3,\), swvl1 \(2,\); 1-D columns of one length"):
        MODEL.predict({"lst": np.zeros(2), "lai": np.zeros(3), "swvl1": np.zeros(2)})


def test_a_sum_of_boosters_adds_up_in_order():
    other = fit(TABLE, ["swvl1", "lst"], settings=SMALL)
    (one,), (two,) = MODEL.members, other.members
    both = Model((replace(one, weight=0.25), replace(two, weight=0.75)))
    wanted = np.float32(0.25) * MODEL.predict(TABLE) + np.float32(0.75) * other.predict(TABLE)
    assert np.array_equal(both.predict(TABLE), wanted)
    assert both.features == ("lst", "lai", "swvl1")
    assert len({both.checksum, Model(both.members[::-1]).checksum, MODEL.checksum, other.checksum}) == 4


def test_boosters_become_members():
    booster = MODEL.members[0].trained.booster
    assert Model.plain(booster, FEATURES) == MODEL
    assert Model.of_boosters([(0.5, FEATURES, booster)]).members[0].weight == 0.5


@pytest.mark.parametrize("fill", [-9999.0, 9.97e36])
def test_a_fill_value_is_no_target(fill):
    table = TABLE.assign(sm=TABLE["sm"].mask(TABLE.index % 9 == 0, fill))
    with pytest.raises(InputError, match=r"target 'sm' has .* rows, far outside the rest; NaN is required"):
        fit(table, ["lst", "lai"])


def test_bytes_that_do_not_fit_are_refused():
    with pytest.raises(ModelError, match="4 bytes that XGBoost .* does not read"):
        _ = WeightedBooster(1.0, ("lst",), b"junk").trained
    with pytest.raises(ModelError, match="found lst, lai, swvl1 inside; lst required"):
        _ = replace(MODEL.members[0], features=("lst",)).trained
    with pytest.raises(ModelError, match="found lst, lai, swvl1 inside"):
        _ = replace(MODEL.members[0], features=("lai", "lst", "swvl1")).trained


def test_importing_is_light():
    modules = ", ".join(f"stac_sm.model.{name}" for name in ("model", "fit", "evaluate", "holdout"))
    code = f"import sys, {modules}; print('xgboost' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


# --- the sum of boosters for unseen sites ----------------------------------------------------------------------------

NAMES = ["wet", "green", "soil", "normal"]


def sites_table(sites=12, rows=30, seed=0):
    """Sites whose mean follows two features that are constant there, and days that follow the day's."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(sites):
        normal, soil = rng.random(2)
        wet = normal + 0.2 * rng.standard_normal(rows)
        sm = 0.1 + 0.2 * normal + 0.1 * (wet - normal) + 0.02 * soil + 0.01 * rng.standard_normal(rows)
        days = pd.date_range("2018-01-01", periods=rows)
        part = pd.DataFrame({"sm": sm, "wet": wet, "green": rng.random(rows), "soil": soil, "normal": normal})
        parts.append(part.assign(site=f"s{i:02d}", date=days, lat=40.0 + i, lon=9.0))
    return pd.concat(parts, ignore_index=True)


SITES = sites_table()


@pytest.fixture
def few_rounds(monkeypatch):
    monkeypatch.setattr("stac_sm.model.fit.ROUNDS", (5, 10))
    monkeypatch.setattr("stac_sm.model.fit._SITE_ROUNDS", 10)


@pytest.mark.usefixtures("few_rounds")
def test_order_of_rows_and_threads_do_not_change_a_byte_of_the_sum():
    one = learn(SITES, NAMES, settings=TrainSettings(nthread=1))
    shuffled = SITES.sample(frac=1, random_state=1)
    other = learn(shuffled[SITES.columns[::-1]], NAMES, settings=TrainSettings(nthread=3))
    assert one.model.checksum == other.model.checksum
    assert (one.rounds, one.errors, one.scores) == (other.rounds, other.errors, other.scores)
    np.testing.assert_array_equal(pd.Series(other.out_of_fold, shuffled.index).sort_index(), one.out_of_fold)


@pytest.mark.usefixtures("few_rounds")
def test_a_site_is_predicted_by_models_that_have_not_seen_it(monkeypatch):
    """Whatever its targets are, its out-of-fold predictions are the same; without a choice, other folds' too."""
    monkeypatch.setattr("stac_sm.model.fit.ROUNDS", (10,))
    changed = SITES.assign(sm=SITES["sm"].where(SITES["site"] != "s03", 0.5))
    one, other = learn(SITES, NAMES), learn(changed, NAMES)
    here = (SITES["site"] == "s03").to_numpy()
    np.testing.assert_array_equal(one.out_of_fold[here], other.out_of_fold[here])
    assert (one.out_of_fold != other.out_of_fold)[~here].any()
    assert one.model.checksum != other.model.checksum
    assert np.isfinite(one.out_of_fold).all()


@pytest.mark.usefixtures("few_rounds")
def test_the_sum_is_the_mean_of_two_ways_and_site_features_are_found():
    learned = learn(SITES, NAMES)
    by_name = {part.name: part for part in learned.parts}
    assert [member.weight for member in learned.model.members] == [0.25] * 6
    assert by_name["site means, forest"].features == ("soil", "normal")
    assert by_name["anomalies, deep"].features == tuple(NAMES)
    values = [member.predict(SITES) for member in learned.model.members]
    ways = [(values[0] + values[1]) / 2, (values[2] + values[3] + values[4] + values[5]) / 2]
    np.testing.assert_allclose(learned.model.predict(SITES), np.mean(ways, axis=0), atol=1e-6)
    moving = learn(SITES, NAMES[:2])
    assert [member.weight for member in moving.model.members] == [0.5, 0.5]
    chosen = learn(SITES, NAMES, rounds=Rounds(5, 10))
    assert [part.rounds for part in chosen.parts] == [5, 5, 1, 10, 10, 10]
    assert np.isnan(chosen.out_of_fold).all()
    assert chosen.model.intervals is None


@pytest.mark.usefixtures("few_rounds")
def test_of_very_many_rows_some_of_each_site_are_used_and_it_says_so(monkeypatch):
    monkeypatch.setattr("stac_sm.model.fit.SELECTION_ROWS", 60)
    monkeypatch.setattr("stac_sm.model.fit.FIT_ROWS", 120)
    learned = learn(SITES, NAMES)
    assert (learned.rows, learned.selection_rows, learned.fitted_rows, learned.sites) == (360, 60, 120, 12)
    assert "trained on 120 of 360 rows (33%)" in learned.notes[0]
    assert "60 of 360 rows (17%)" in learned.notes[1]
    used = SITES[np.isfinite(learned.out_of_fold)]
    assert (used.groupby("site").size() == 5).all()
    assert (used.groupby("site")["date"].diff().dropna() == pd.Timedelta("6D")).all()


def test_sites_in_one_place_share_a_vote_and_rows_of_a_site_weigh_the_same():
    places = np.array([[40, 9], [40, 9], [40.001, 9], [60, 9]], dtype=float)
    np.testing.assert_allclose(site_sample_weights(places), [1 / 3, 1 / 3, 1 / 3, 1], rtol=1e-3)
    rows = training_rows(SITES.assign(lat=np.nan), NAMES, Columns())
    assert rows.weight.tolist() == [1] * 12
    near = training_rows(SITES.assign(lat=np.where(SITES["site"] < "s02", 40.0, SITES["lat"])), NAMES, Columns())
    np.testing.assert_allclose(near.weight[:3], [0.5, 0.5, 1], rtol=0.01)


@pytest.mark.usefixtures("few_rounds")
def test_errors_at_unseen_sites_have_an_interval():
    learned = learn(SITES, NAMES)
    low, high = learned.rmse_interval
    error = learned.out_of_fold - SITES["sm"]
    assert learned.scores.rmse == pytest.approx(np.sqrt(np.mean(error**2)))
    assert low < learned.scores.rmse < high
    assert list(learned.errors) == ["5", "10"]
    assert learn(SITES[SITES["site"] < "s01"], NAMES).scores is None


def test_a_site_mean_model_finds_what_sites_are_like():
    """Trees that hold no site in their training rows: better than the mean of the others by far."""
    table, others = sites_table(sites=40), sites_table(sites=20, seed=9)
    model = learn(table, NAMES, rounds=Rounds(60, 60)).model
    error = np.sqrt(np.mean((model.predict(others) - others["sm"]) ** 2))
    assert error < 0.5 * others["sm"].std()
