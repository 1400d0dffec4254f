"""Rows that a model was trained on are counted and scored apart, for models of tables and of projects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pystac
import pytest

from stac_sm.core.columns import Columns
from stac_sm.core.metrics import agreement_scores
from stac_sm.stations.screening import KEPT
from stac_sm.workflows.training.training_rows import (
    OTHER_TIMES,
    TRAINED_ON,
    TRAINING_ROWS,
    UNSEEN,
    read_training_rows,
    rows_by_training,
    training_rows_asset,
)

DAYS = pd.date_range("2019-01-01", periods=6)
COLUMNS = Columns(target="theta", site="station", time="start")


def rows_of(*sites, days=DAYS, seed=0):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame([(site, day) for site in sites for day in days], columns=["site", "time"])
    return rows.assign(observed=rng.random(len(rows)), predicted=rng.random(len(rows)))


def item_of(**assets):
    item = pystac.Item("m", None, None, DAYS[0].to_pydatetime(), {})
    for key, href in assets.items():
        item.add_asset(key, pystac.Asset(str(href)))
    return item


def test_each_row_is_scored_in_its_group():
    rows, trained = rows_of("a", "b", "c"), rows_of("a", "b", days=DAYS[:4])[["site", "time"]]
    found = rows_by_training(rows, trained)
    assert (found.rows, found.stations, found.scored_rows) == (8, 2, 18)
    first = rows["time"].isin(DAYS[:4])
    known = rows["site"].isin(["a", "b"])
    for kind, (part, stations) in {
        UNSEEN: (rows[~known], 1), OTHER_TIMES: (rows[known & ~first], 2), TRAINED_ON: (rows[known & first], 2)
    }.items():  # fmt: skip
        assert found.parts[kind] == (stations, agreement_scores(part["predicted"], part["observed"]))
    assert "8 of 18 rows were trained on, 2 stations are known" in found.notes[0]
    assert found.to_dict()["by_training"][UNSEEN]["n"] == 6


def test_other_stations_need_no_note():
    found = rows_by_training(rows_of("c"), rows_of("a")[["site", "time"]])
    assert (found.rows, found.stations, list(found.parts), found.notes) == (0, 0, [UNSEEN], ())


def test_a_model_that_does_not_say_it():
    assert read_training_rows(item_of()) is None
    found = rows_by_training(rows_of("a"), None)
    assert found.to_dict() == {"rows_trained_on": None, "stations_trained_on": None, "by_training": {}}
    assert "does not say which rows it was trained on" in found.notes[0]


def test_rows_without_a_target_were_not_trained_on(tmp_path):
    table = rows_of("b", "a").rename(columns={"site": "station", "time": "start", "observed": "theta"})
    table = table.assign(theta=table["theta"].mask(table.index == 0))
    asset = training_rows_asset(table.sample(frac=1, random_state=1), COLUMNS, tmp_path)
    first = asset.file.read_bytes()
    assert training_rows_asset(table, COLUMNS, tmp_path).file.read_bytes() == first
    found = read_training_rows(item_of(**{TRAINING_ROWS: asset.file}))
    assert list(found["site"]) == ["a"] * 6 + ["b"] * 5
    assert list(found["time"][:6]) == list(DAYS)


@pytest.mark.parametrize(("status", "sites"), [("screened: 1 of 2 sites kept", {"a"}), ("unscreened: few", {"a", "b"})])
def test_a_model_of_a_project_has_them_in_its_matchups(status, sites, tmp_path):
    folder = tmp_path / "matchups" / "one"
    folder.mkdir(parents=True)
    rows_of("a", "b").rename(columns={"time": "date"}).to_parquet(folder / "table.parquet")
    matchups = item_of(table="table.parquet")
    matchups.save_object(dest_href=str(folder / "one.json"), include_self_link=False)
    item = item_of()
    item.set_self_href(str(tmp_path / "sm-models" / "m" / "m.json"))
    item.add_link(pystac.Link("derived_from", "../../ismn-stations/collection.json"))
    item.add_link(pystac.Link("derived_from", "../../matchups/one/one.json"))
    judged = [{"site": "a", "status": KEPT}, {"site": "b", "status": "rejected: few days"}]
    item.properties |= {"stac_sm:tc_status": status, "stac_sm:screening": judged}
    assert set(read_training_rows(item)["site"]) == sites
    (folder / "table.parquet").unlink()
    assert read_training_rows(item) is None
