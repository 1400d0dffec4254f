"""Values of items that share a type: each example by hand, and the law by an oracle that reads every value back."""

from __future__ import annotations

import doctest
import json

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stac_sm.stac.index import shard
from stac_sm.stac.index.shard import share_type

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text("ab1", max_size=3),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def bare(value):
    """A value without what a shard does not tell apart: a field that is null, and an object without any field."""
    if isinstance(value, dict):
        return {name: one for name, inner in value.items() if (one := bare(inner)) is not None} or None
    return [bare(inner) for inner in value] if isinstance(value, list) else value


def said(found, value):
    """What a value in the table says, given what it was in the item: text in JSON is read, where it was no text."""
    if found is None or (isinstance(value, dict | list) and isinstance(found, str)):
        return None if found is None else bare(json.loads(found))
    if isinstance(value, dict):
        kept = {name: said(inner, value.get(name)) for name, inner in found.items() if inner is not None}
        return {name: inner for name, inner in kept.items() if inner is not None} or None
    if isinstance(value, list):
        return [said(inner, one) for inner, one in zip(found, value, strict=True)]
    return json.loads(found) if isinstance(found, str) and (not isinstance(value, str) or quoted(found)) else found


def quoted(text):
    return len(text) > 1 and text[0] == text[-1] == '"'  # no text of these tests holds a quote of its own


@given(values=st.lists(JSON, max_size=6))
@example(values=[2**60, 0.5])  # no double holds the first
@example(values=[{"a": {}}, {"a": {}}, None])
@example(values=[[], [[]], [{}]])
@example(values=[[1], {"a": 1}, "a"])
def test_shared_values_fit_one_type_and_say_what_they_said(values):
    found = share_type(values)
    column = pa.array(found)  # pyarrow is the judge: it refuses values of several types
    assert [said(one, value) for one, value in zip(column.to_pylist(), values, strict=True)] == [
        bare(value) for value in values
    ]
    assert share_type(found) == found


@given(values=st.lists(st.one_of(st.none(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False))))
def test_numbers_stay_numbers(values):
    assert share_type(values) == values


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([], []),
        ([None, None], [None, None]),
        ([True, False, None], [True, False, None]),
        ([True, 1], ["true", "1"]),
        ([2**63], ["9223372036854775808"]),
        ([-(2**63) + 1, 1], [-(2**63) + 1, 1]),
        ([2**60, 0.5], ["1152921504606846976", "0.5"]),
        ([{"b": 1, "a": 2}, [1]], ['{"a": 2, "b": 1}', "[1]"]),
        ([{"a": 1}, {"a": "x"}], [{"a": "1"}, {"a": '"x"'}]),
        ([{"a": {}}, {"a": {}}], [{"a": None}, {"a": None}]),
        ([[{"a": 1}], [{"b": 2}, None]], [[{"a": 1, "b": None}], [{"a": None, "b": 2}, None]]),
        ([[1], [0.5], []], [[1], [0.5], []]),
    ],
)
def test_examples(values, wanted):
    found = share_type(values)
    assert found == wanted
    assert [type(one) for one in found] == [type(one) for one in wanted]
    pa.array(found)


def test_the_examples_of_the_docstring_hold():
    assert doctest.testmod(shard).failed == 0
