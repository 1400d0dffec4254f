"""The fingerprint changes with everything that changes a product, and with nothing else."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import InputError
from stac_sm.core.fingerprint import (
    Fingerprints,
    canonical_json,
    day_input,
    digest,
    digest_of_list,
    elements_json,
    input_texts,
)

WHAT = {
    "grid": "modis-sinusoidal-1km",
    "tile": "h18v04",
    "day": "2018-07-01",
    "recipe": {"features": [{"name": "lst", "scale": 1.0}], "masks": []},
    "inputs": [("a", "1220aa"), ("b", "1220bb")],
    "model": "1220cc",
    "output": {"step": 2**-13, "nodata": -9999.0},
    "algorithm": "1",
}
GOLDEN = "f25aece84b823fd0f230b881ec4a884844632375793e8f6e2357daaa9e7388d1"

text = st.text(max_size=8)
finite = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


def fingerprint(*, day, inputs, **shared):
    return Fingerprints(**shared).of(day, input_texts(inputs))


def fingerprint_parts(*, inputs, **shared):
    return Fingerprints(**shared).parts(input_texts(inputs))


def test_golden_value():
    """If this fails, every product in every catalogue is stale: change it only on purpose."""
    assert fingerprint(**WHAT) == GOLDEN


@pytest.mark.parametrize("field", WHAT)
def test_every_field_matters(field):
    other = {"recipe": {**WHAT["recipe"], "masks": ["frozen"]}, "inputs": WHAT["inputs"][:1], "output": {"step": None}}
    assert fingerprint(**(WHAT | {field: other.get(field, "other")})) != GOLDEN


@pytest.mark.parametrize("inputs", [[("a", "1220aa"), ("b", "1220bc")], [("a", "1220aa"), ("c", "1220bb")]])
def test_every_part_of_an_input_matters(inputs):
    assert fingerprint(**(WHAT | {"inputs": inputs})) != GOLDEN


@given(st.lists(st.tuples(text, text), max_size=6), st.randoms())
def test_order_and_repeats_of_inputs_do_not_matter(inputs, random):
    shuffled = [*inputs, *inputs[:2]]
    random.shuffle(shuffled)
    assert fingerprint(**(WHAT | {"inputs": shuffled})) == fingerprint(**(WHAT | {"inputs": inputs}))


@given(values)
def test_pure(value):
    assert digest(value) == digest(json.loads(json.dumps(value)))
    assert json.loads(canonical_json(value)) == value


@given(values, values)
def test_equal_values_have_equal_digests_and_others_not(one, other):
    assert (digest(one) == digest(other)) == (_tagged(one) == _tagged(other))


@given(st.dictionaries(text, values, min_size=2, max_size=5))
def test_order_of_keys_does_not_matter(mapping):
    assert digest(dict(reversed(mapping.items()))) == digest(mapping)


@given(st.integers(-(2**53), 2**53))
def test_a_whole_number_has_one_spelling(number):
    assert digest(number) == digest(float(number))
    assert digest([1, -0.0]) == digest((1.0, 0))


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, {1}, b"a", object(), np.int64(1), {1: "a"}, {None: "a"}, [{"a": {2}}]]
)
def test_what_is_no_json_is_refused(value):
    with pytest.raises(InputError, match="has no canonical JSON"):
        digest({"deep": [value]})


def _tagged(value):
    """Equal for two values exactly if JSON cannot tell them apart: True is not 1, and 1 is 1.0."""
    if isinstance(value, dict):
        return {key: _tagged(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_tagged(item) for item in value]
    return (isinstance(value, bool), value)


@given(inputs=st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), max_size=5), shared=values, tile=text)
def test_a_fingerprint_is_the_digest_of_what_determines_the_values(inputs, shared, tile):
    what = {**WHAT, "recipe": {"any": shared}, "tile": tile, "inputs": inputs}
    assert fingerprint(**what) == digest({**what, "inputs": sorted(set(inputs))})


@given(first=text, rest=st.lists(values, min_size=1, max_size=4))
def test_a_list_in_parts_has_the_digest_of_the_list(first, rest):
    assert digest_of_list(first, elements_json(rest)).hex() == digest([first, *rest])


@given(item=text, asset=text, provenance=text, weight=finite)
def test_an_input_is_spelled_as_its_digest_says(item, asset, provenance, weight):
    found = day_input(item, asset, provenance, weight)
    assert (found.id, found.checksum) == (f"{item}/{asset}", digest([provenance, weight]))
    assert [found.text] == input_texts([(found.id, found.checksum)]) == [canonical_json(found[:2]).decode()]


@pytest.mark.parametrize("part", ["algorithm", "grid", "inputs", "model", "output", "recipe"])
def test_parts_tell_which_part_has_changed(part):
    what = {name: value for name, value in WHAT.items() if name != "day"}
    other = {"inputs": [("a", "1220aa")], "recipe": {}, "output": {}}.get(part, "other")
    one, two = fingerprint_parts(**what), fingerprint_parts(**{**what, part: other})
    assert [name for name in one if one[name] != two[name]] == [part]
    assert all(len(value) == 8 for value in one.values())
