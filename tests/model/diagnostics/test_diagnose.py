"""Diagnostics: a planted leak is flagged, a sound feature is not; more sites help; the same seed, the same figures."""

from __future__ import annotations

import json
import zipfile
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.columns import Columns
from stac_sm.core.errors import InputError, ScreeningError
from stac_sm.core.text import to_json
from stac_sm.model.diagnostics.diagnose import diagnose
from stac_sm.model.diagnostics.leakage import near_predictor, site_identification_skill
from stac_sm.model.diagnostics.results import CLEAR, FLAGGED, WATCHED, DiagnosticsBudget
from stac_sm.model.fit import fit
from stac_sm.model.train_settings import TrainSettings

SETTINGS = TrainSettings(tune=False, n_estimators=40, max_depth=4, eta=0.2)
FEATURES = ["wet", "soil", "station_no", "noise"]


def table_of(sites=36, each=30, seed=0):
    """Soil moisture = what the weather says + what the soil says + the site's own secret, which no map knows."""
    rng = np.random.default_rng(seed)
    site, n = np.repeat(np.arange(sites), each), sites * each
    soil, secret = rng.choice([0.1, 0.2, 0.3, 0.4], sites), 0.05 * rng.standard_normal(sites)
    wet = rng.standard_normal(n)
    return pd.DataFrame(
        {
            "site": [f"s{i:02d}" for i in site],
            "date": np.tile(pd.date_range("2018-01-01", periods=each, freq="20D"), sites),
            "lon": -100.0 + rng.permutation(sites)[site],
            "lat": 40.0 + rng.permutation(sites)[site],
            "sm": 0.2 + 0.03 * wet + 0.5 * (soil[site] - 0.25) + secret[site] + 0.01 * rng.standard_normal(n),
            "wet": wet,
            "soil": soil[site] + 0.02 * rng.standard_normal(n),
            "station_no": rng.permutation(sites)[site].astype(float),
            "noise": rng.standard_normal(n),
        }
    )


def way(features=FEATURES):
    return lambda rows: fit(rows, features, settings=SETTINGS)


TABLE = table_of()


@cache
def diagnosed():
    """What is found in the table as it is."""
    return diagnose(TABLE, way(), budget=DiagnosticsBudget.small())


def test_a_planted_site_id_is_flagged_and_nothing_else():
    assert diagnosed().flagged == ("station_no",)
    leak = diagnosed().leaks[0]
    assert (leak.status, leak.names_site, leak.within, leak.place) == (FLAGGED, 1.0, 0.0, "")
    assert leak.random > 0.02 > 0.01 > leak.site
    others = {leak.feature: leak.status for leak in diagnosed().leaks[1:]}
    assert others == {"soil": WATCHED, "wet": CLEAR, "noise": CLEAR}  # a map of soil that says something true


def test_the_gap_is_put_down_to_the_leak():
    assert diagnosed().gap.width > 0.02
    assert diagnosed().gap_without.width < 0.5 * diagnosed().gap.width
    assert diagnosed().gap_without.random > diagnosed().gap.random
    without = diagnose(TABLE, way(["wet", "soil", "noise"]), budget=DiagnosticsBudget.small())
    assert without.flagged == ()
    assert without.gap_without is None
    assert without.gap.width == pytest.approx(diagnosed().gap_without.width, abs=0.01)


def test_a_noisy_site_id_is_flagged_too():
    rng = np.random.default_rng(3)
    noisy = TABLE.assign(station_no=TABLE["station_no"] + 0.1 * rng.uniform(-1, 1, len(TABLE)))
    assert diagnose(noisy, way(), budget=DiagnosticsBudget.small()).flagged == ("station_no",)


def test_a_hidden_coordinate_is_named():
    hidden = TABLE.assign(station_no=TABLE["lat"] ** 3)
    (leak,) = (
        one for one in diagnose(hidden, way(), budget=DiagnosticsBudget.small()).leaks if one.feature == "station_no"
    )
    assert (leak.place, leak.status) == ("lat", FLAGGED)


def test_a_site_name_that_tells_something_true_of_the_place_is_only_watched():
    truth = TABLE.groupby("site")["sm"].transform("mean")
    true = TABLE.assign(station_no=truth)
    (leak,) = (
        one for one in diagnose(true, way(), budget=DiagnosticsBudget.small()).leaks if one.feature == "station_no"
    )
    assert leak.names_site > 0.9
    assert leak.status == WATCHED
    assert leak.site > 0.02


def test_importance_ranks_what_matters_at_unseen_sites():
    at_site = {one.feature: one for one in diagnosed().importance if one.strategy == "site"}
    assert list(at_site)[:2] == ["soil", "wet"]
    assert at_site["wet"].increase > 0.005 > abs(at_site["noise"].increase)
    assert {len(one.folds) for one in diagnosed().importance} == {2}
    assert {(one.feature, one.strategy) for one in diagnosed().importance} == {
        (name, strategy) for name in FEATURES for strategy in ("site", "random")
    }


def test_a_feature_that_the_model_does_not_use_is_worth_nothing():
    found = diagnose(TABLE, way(["wet", "soil"]), features=["wet", "noise"], budget=DiagnosticsBudget.small())
    assert {one.increase for one in found.importance if one.feature == "noise"} == {0.0}
    assert [leak.feature for leak in found.leaks if leak.random > 0] == ["wet"]


def test_more_sites_help_and_the_last_point_is_the_site_independent_score():
    sizes = [point.sites for point in diagnosed().curve]
    assert sizes == [4, 9, 18]
    assert [len(point.scores) for point in diagnosed().curve] == [2, 2, 1]
    assert diagnosed().curve[-1].scores[0].rmse == pytest.approx(diagnosed().gap.site)
    assert {one.n for point in diagnosed().curve for one in point.scores} == {len(TABLE)}
    first, last = (np.mean([one.rmse for one in diagnosed().curve[i].scores]) for i in (0, -1))
    assert last < first


def test_no_test_site_trains_a_point_of_the_curve():
    seen = []

    def watched(rows):
        seen.append(set(rows["site"]))
        return way()(rows)

    diagnose(TABLE, watched, budget=DiagnosticsBudget(points=1, draws=2, folds=2, repeats=1, rows=10_000))
    sites, small = seen[:2], [one for one in seen if len(one) == 9]
    assert sites[0].isdisjoint(sites[1])
    assert len(small) == 4
    assert all(one < sites[0] or one < sites[1] for one in small)


def test_the_work_is_bounded():
    calls = []

    def counted(rows):
        calls.append(len(rows))
        return way()(rows)

    budget = DiagnosticsBudget(points=2, draws=2, folds=2, repeats=1, rows=500)
    found = diagnose(TABLE, counted, budget=budget)
    assert len(calls) <= 2 * budget.folds + budget.points * budget.draws * budget.folds + 2 * budget.folds
    assert max(calls) <= 500
    [note] = found.notes
    assert "on 360 of 1080 rows (one in 3 of each site), with fewer rounds" in note


def test_the_same_seed_gives_the_same_figures_whatever_the_order_of_rows():
    shuffled = TABLE.sample(frac=1, random_state=1)
    again = diagnose(shuffled, way(), budget=DiagnosticsBudget.small())
    assert to_json(again.to_dict()) == to_json(diagnosed().to_dict())
    other = diagnose(TABLE, way(), seed=1, budget=DiagnosticsBudget.small())
    assert other.importance != diagnosed().importance
    assert other.flagged == diagnosed().flagged


def test_small_tables_say_what_was_not_done():
    found = diagnose(TABLE[TABLE["site"] == "s00"], way(), budget=DiagnosticsBudget.small())
    assert (found.curve, found.importance, found.leaks, found.gap) == ((), (), (), None)
    assert "no diagnostics by site: hold-out by site: found 1 site (s00)" in found.notes[0]
    two = diagnose(TABLE[TABLE["site"] < "s02"], way(), budget=DiagnosticsBudget.small())
    assert [point.sites for point in two.curve] == [1]


def test_a_way_of_training_that_refuses_few_sites_leaves_a_note():
    def picky(rows):
        if rows["site"].nunique() < 8:
            raise ScreeningError("8 sites wanted")
        return way()(rows)

    found = diagnose(TABLE, picky, budget=DiagnosticsBudget.small())
    assert [point.sites for point in found.curve] == [9, 18]
    assert found.notes == ("no learning curve at 4 sites: 8 sites wanted",)


def test_rows_without_a_target_and_other_columns():
    table = TABLE.assign(sm=TABLE["sm"].mask(TABLE.index % 7 == 0)).rename(columns={"site": "gauge", "sm": "y"})
    columns = Columns(target="y", site="gauge")
    found = diagnose(
        table, lambda rows: fit(rows, FEATURES, settings=SETTINGS, columns=columns), columns=columns,
        budget=DiagnosticsBudget.small(),
    )  # fmt: skip
    assert found.flagged == ("station_no",)
    assert found.curve[-1].scores[0].n == table["y"].notna().sum()
    with pytest.raises(InputError, match="no column 'wett'"):
        diagnose(TABLE, way(), features=["wett"])


def test_it_goes_into_json():
    again = json.loads(to_json(diagnosed().to_dict()))
    assert again["flagged"] == ["station_no"]
    assert again["gap"]["site"] == diagnosed().gap.site
    assert again["curve"][0]["sites"] == 4


@given(st.integers(2, 30), st.integers(2, 20), st.integers(0, 99))
def test_law_an_id_names_every_site_and_a_constant_names_one(sites, each, seed):
    rng = np.random.default_rng(seed)
    ids = np.repeat(rng.permutation(sites), each)
    site, dates = ids.astype(str), np.tile(np.arange(each).astype("datetime64[D]").astype("datetime64[ns]"), sites)
    assert site_identification_skill(ids * 7.5 - 3, site, dates) == 1.0
    assert site_identification_skill(np.zeros(len(ids)), site, dates) == pytest.approx(1 / sites)
    assert np.isnan(site_identification_skill(np.full(len(ids), np.nan), site, dates))


def test_a_planted_near_predictor_is_flagged_with_the_reason_and_nothing_else_for_it():
    noise = np.random.default_rng(3).standard_normal(len(TABLE))
    planted = TABLE.assign(deeper=100 * (0.1 + 0.8 * TABLE["sm"] + 0.03 * noise)).drop(columns="station_no")
    found = diagnose(planted, way(["wet", "soil", "noise", "deeper"]), budget=DiagnosticsBudget.small())
    assert found.flagged == ("deeper",)
    assert "with the target between sites and" in found.leaks[0].near
    assert [leak.near for leak in found.leaks[1:]] == ["", "", ""]


def near(table, target, site, names):
    values, sites = table[target].to_numpy(dtype=float), table[site].to_numpy(dtype=str)
    return {name for name in names if near_predictor(table[name].to_numpy(dtype=float), values, sites)}


def test_copies_with_noise_are_near_predictors_and_no_column_of_the_real_table_is(shared):
    table = pd.read_csv(shared / "data/matchup_conus/matchup_conus_10day.csv")
    given = [name for name in table.select_dtypes("number") if name not in {"sm_insitu", "lat", "lon"}]
    assert "smap_ssm_mm" in given
    assert near(table, "sm_insitu", "station", given) == set()
    rng, spread = np.random.default_rng(0), table["sm_insitu"].std()
    noise = {f"noise {share:g}": share * spread * rng.standard_normal(len(table)) for share in (0, 0.25, 0.5, 1, 2, 3)}
    copies = {name: 100 * (table["sm_insitu"] + one) for name, one in noise.items()}
    earlier = table.groupby("station")["sm_insitu"].shift(1)
    planted = table.assign(**copies, earlier=earlier, shuffled=rng.permutation(table["sm_insitu"]))
    assert near(planted, "sm_insitu", "station", [*given, *copies, "earlier", "shuffled"]) == {*copies, "earlier"}


def test_soil_moisture_at_other_depths_of_the_station_is_near_and_its_weather_is_not(shared):
    depths = {f"sm{inch}": f"Soil Moisture Percent -{inch}in (pct) Mean of Hourly Values" for inch in (2, 4, 8, 20, 40)}
    rain = "Precipitation Increment (mm)"
    with zipfile.ZipFile(shared / "data/scan_daily/scan_daily.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".csv")]
        parts = [pd.read_csv(archive.open(one), usecols=["Date", rain, *depths.values()]) for one in names]
    table = pd.concat(parts, keys=names, names=["site"]).reset_index("site")
    table = table[table["Date"] >= "2010"]
    for name, column in depths.items():
        table[name] = table[column].where(table[column].between(0, 60, inclusive="neither"))
    fallen = table[rain].where(table[rain].between(0, 400)).groupby(table["site"])
    for days in (1, 10, 30, 90):
        table[f"rain{days}"] = fallen.transform(lambda one, days=days: one.rolling(days, min_periods=1).mean())
    weather = [name for name in table if name.startswith("rain")]
    assert near(table, "sm2", "site", [*list(depths)[1:], *weather]) == {"sm4", "sm8", "sm20", "sm40"}


def test_few_sites_show_no_near_predictor_but_a_copy():
    few = TABLE[TABLE["site"] < "s08"].assign(
        close=lambda t: t["sm"] + 0.03 * t["noise"], same=lambda t: 5 * t["sm"] - 1
    )
    assert near(few, "sm", "site", ["close", "same", "wet"]) == {"same"}
    assert near_predictor(np.full(9, np.nan), np.ones(9), np.array(["a"] * 9)) == ""
    assert near_predictor(np.ones(400), few["sm"].to_numpy()[:200].repeat(2), np.repeat("a", 400)) == ""
