"""Tables for people line up; JSON for programs is JSON, whatever is not a number."""

import json
import math

import numpy as np
import xarray as xr

from stac_sm.core.text import cube_rows, format_facts, format_table, score_rows, to_json


def test_a_table_lines_up_and_shows_gaps():
    rows = [{"site": "a", "R": 0.123456, "n": 7}, {"site": "long-name", "R": math.nan, "n": None}]
    assert format_table(rows).splitlines() == ["site       R       n", "a          0.1235  7", "long-name  -       -"]
    assert format_table([]) == ""


def test_facts_are_a_line_each():
    assert format_facts({"model": "x", "counts": {"new": 1, "r": math.nan}}) == "model: x\ncounts: new 1, r -"
    assert format_facts({"flagged": [], "names": ["a", "b"], "n": 3}) == "flagged: none\nnames: a, b\nn: 3"


def test_what_lies_deeper_is_indented_and_no_brace_is_printed():
    deep = {
        "dropped": {"readings": {"depth": 2, "flag": 0}, "site-days": {}},
        "skill": [{"against": "input", "rmse": 0.0512345}, {"against": "climatology", "rmse": 0.06}],
        "mixed": [{"a": 1}, {"b": [1, 2]}, "c"],
    }
    text = format_facts(deep)
    assert text.splitlines()[:5] == [
        "dropped:", "  readings: depth 2, flag 0", "  site-days: none", "skill:", "  against      rmse",
    ]  # fmt: skip
    assert "  -: a 1\n" in text
    assert not set("{}[]'\"") & set(text)


def test_json_has_no_nan_at_any_depth():
    assert json.loads(to_json({"a": [1.5, (math.inf, {"b": -math.inf})], "c": math.nan, "d": True})) == {
        "a": [1.5, [None, {"b": None}]],
        "c": None,
        "d": True,
    }


def test_a_cube_tells_range_gaps_and_sources():
    values = xr.DataArray(np.array([[1.0, 3.0], [np.nan, 2.0]]), dims=("y", "x"), attrs={"units": "K", "items": ["i"]})
    row, empty = cube_rows(xr.Dataset({"lst": values, "none": values * np.nan}))
    assert (row["min"], row["mean"], row["max"], row["missing"], row["items"]) == (1.0, 2.0, 3.0, "25.0%", 1)
    assert json.loads(to_json(empty))["mean"] is None


def test_a_variable_without_an_item_says_no_input_and_counts_no_pixels():
    days = np.array(["2019-06-01", "2019-06-02"], "datetime64[ns]")
    mask = xr.DataArray(np.array([[[True]], [[False]]]), dims=("time", "y", "x"), coords={"time": days})
    none = mask.assign_attrs({"days_without_input": ["2019-06-01", "2019-06-02"], "items": []})
    some = mask.assign_attrs({"days_without_input": ["2019-06-02"], "items": ["i"], "left_out": ["item 'j' is bad"]})
    empty, part = cube_rows(xr.Dataset({"snow": none, "frozen": some}))
    assert (empty["min"], empty["mean"], empty["max"], empty["missing"]) == (None, None, None, "no input")
    assert (part["min"], part["mean"], part["missing"]) == (1.0, 1.0, "0.0% (no input on 1 of 2 days)")
    assert (empty["left out"], part["left out"]) == (0, 1)
    assert "no input" in format_table([empty, part])


def test_scores_keep_their_figures():
    one = {"r": 0.5, "rmse": 0.1, "ubrmse": 0.09, "bias": -0.01, "n": 3}
    (row,) = score_rows([{"strategy": "site", "method": "screened", "scored_on": "all", "pooled": one, "median": one}])
    assert (row["R"], row["median ubRMSE"], row["n"]) == (0.5, 0.09, 3)
