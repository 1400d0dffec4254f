"""Tuning: a fixed budget, inside the rows given, on folds that never part a site; no luck but the seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stac_sm import tuning
from stac_sm.errors import InputError
from stac_sm.table import Columns
from stac_sm.train import TrainSettings, fit
from stac_sm.tuning import candidates, errors_of_sums, site_rmse, tune

SMALL = TrainSettings(n_estimators=30, eta=0.2)
DEEP = replace(SMALL, max_depth=8, min_child_weight=1.0)
SHALLOW = replace(SMALL, max_depth=1, min_child_weight=100.0, reg_lambda=20.0)


def table_of(seed=0):
    """A site's level is its own: `soil` tells the sites apart, and nothing of their level; days follow `wet`."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(20):
        wet = rng.random(20)
        sm = 0.2 + 0.08 * rng.standard_normal() + 0.1 * wet
        parts.append(pd.DataFrame({"sm": sm, "wet": wet, "soil": rng.random(), "site": f"s{i:02d}"}))
    return pd.concat(parts, ignore_index=True).assign(date=pd.Timestamp("2018-01-01"))


TABLE = table_of()


def test_what_only_memorises_sites_is_not_chosen():
    tuned = tune(TABLE, ["wet", "soil"], [DEEP, SHALLOW])
    assert tuned.settings == SHALLOW
    assert tuned.errors[1] < tuned.errors[0]


def test_random_folds_would_have_chosen_it():
    """The planted trap is one: where a site is on both sides, the deep trees win by far."""
    half = TABLE.index % 2 == 0
    errors = []
    for settings in (DEEP, SHALLOW):
        model = fit(TABLE[half], ["wet", "soil"], settings=settings)
        errors.append(np.sqrt(np.mean((model.predict(TABLE[~half]) - TABLE["sm"][~half]) ** 2)))
    assert errors[0] < 0.7 * errors[1]


def test_the_order_of_rows_does_not_matter_and_the_budget_is_fixed(monkeypatch):
    calls = []
    monkeypatch.setattr(tuning, "fit", lambda *rest, **more: calls.append(1) or fit(*rest, **more))
    one, other = (tune(table, ["wet", "soil"], [DEEP, SHALLOW]) for table in (TABLE, TABLE.sample(frac=1)))
    assert one == other
    assert len(calls) == 2 * 2 * 5


def test_only_the_rows_given_have_a_say(monkeypatch):
    sites = []

    def spy(table, *rest, **more):
        sites.append(set(table["site"]))
        return fit(table, *rest, **more)

    monkeypatch.setattr(tuning, "fit", spy)
    given = TABLE[TABLE["site"] < "s12"]
    tune(given, ["wet"], [SHALLOW])
    assert set.union(*sites) == set(given["site"])
    assert all(len(some) < given["site"].nunique() for some in sites)


def test_other_names_and_gaps():
    table = TABLE.rename(columns={"sm": "theta", "site": "station"})
    table.loc[3, "theta"] = np.nan
    found = tune(table, ["wet"], [SHALLOW], columns=Columns(target="theta", site="station"))
    assert np.isfinite(found.errors).all()


def test_candidates_begin_with_what_was_asked_for():
    settings = TrainSettings(max_depth=3, seed=7)
    tried = candidates(settings)
    assert tried[0] == settings
    assert all(one.max_depth <= 3 and one.seed == 7 for one in tried)


def test_what_cannot_be_tuned():
    with pytest.raises(InputError, match="no candidate"):
        tune(TABLE, ["wet"], [])
    with pytest.raises(InputError, match=r"found 1 site \(s00\)"):
        tune(TABLE[:20], ["wet"], [SHALLOW])


def test_each_site_has_one_vote():
    assert site_rmse(np.array([1.0, 1.0, 1.0, 3.0]), np.array(list("aaab"))) == pytest.approx(np.sqrt(5))


def test_sums_are_judged_by_name():
    observed, sites = np.array([1.0, 2.0]), np.array(["a", "b"])
    found = errors_of_sums([observed, observed + 2], observed, sites, {0.5: (0.5, 0.5), 1.0: (1.0, 0.0)})
    assert found == pytest.approx({0.5: 1.0, 1.0: 0.0})
