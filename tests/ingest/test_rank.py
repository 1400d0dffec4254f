"""Rank: which of two files stays, by version, finality and production; what is not stated decides nothing."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from stac_sm.ingest.rank import NO_RANK, ItemVersion, Preference, Rank, compare_ranks, decide, time_digits

NOT_FINAL = "only one of them states whether it is final or preliminary"
RANKS = st.builds(
    Rank,
    st.lists(st.integers(0, 3), max_size=2).map(tuple),
    st.sampled_from([True, False, None]),
    st.sampled_from(["", "2021", "2022021"]),
)
MIRRORED = {
    Preference.OURS: Preference.THEIRS,
    Preference.THEIRS: Preference.OURS,
    Preference.SAME: Preference.SAME,
    Preference.UNDECIDED: Preference.UNDECIDED,
}


@pytest.mark.parametrize(
    ("ours", "theirs", "preference", "reason"),
    [
        (Rank((8, 1)), Rank((7, 1)), Preference.OURS, "newer version (8.1, not 7.1)"),
        (Rank((8, 1), produced="2020"), Rank((9, 0), produced="2"), Preference.THEIRS, "newer version (9.0, not 8.1)"),
        (Rank(final=True), Rank(final=False, produced="2030"), Preference.OURS, "final, not preliminary data"),
        (Rank(produced="2021"), Rank(produced="2022"), Preference.THEIRS, "newer production (2022, not 2021)"),
        (Rank((1,), True, "x"), Rank((1,), True, "x"), Preference.SAME, ""),
        (NO_RANK, NO_RANK, Preference.SAME, ""),
        (Rank((8, 1)), NO_RANK, Preference.UNDECIDED, "only one of them states its version"),
        (Rank(final=False), NO_RANK, Preference.UNDECIDED, NOT_FINAL),
        (NO_RANK, Rank(produced="2021"), Preference.UNDECIDED, "only one of them states when it was produced"),
        (Rank(produced="2"), Rank(final=True, produced="1"), Preference.UNDECIDED, NOT_FINAL),
    ],
)  # fmt: skip
def test_facts_count_in_order_and_what_is_not_stated_decides_nothing(ours, theirs, preference, reason):
    decision = compare_ranks(ours, theirs)
    assert (decision.preference, decision.reason) == (preference, reason)


@given(RANKS, RANKS)
def test_swapping_two_ranks_swaps_the_answer(one, two):
    assert compare_ranks(two, one).preference is MIRRORED[compare_ranks(one, two).preference]
    assert (compare_ranks(one, two).preference is Preference.SAME) == (one == two)


@given(RANKS, RANKS, RANKS)
def test_newer_than_what_is_newer_is_newer_or_undecided(one, two, three):
    if {compare_ranks(one, two).preference, compare_ranks(two, three).preference} == {Preference.OURS}:
        assert compare_ranks(one, three).preference in (Preference.OURS, Preference.UNDECIDED)


@given(RANKS)
def test_an_item_keeps_its_rank(rank):
    assert Rank.of_item({"properties": rank.properties()}) == rank


@pytest.mark.parametrize(
    ("facts", "rank"),
    [
        ("8.1", NO_RANK), (None, NO_RANK), ({"version": "8.1", "produced": "2021"}, Rank(produced="2021")),
        ({"version": [8, "x"], "final": True}, Rank(final=True)), ({"version": [8, 1], "final": "yes"}, Rank((8, 1))),
    ],
)  # fmt: skip
def test_a_fact_of_an_item_that_cannot_be_right_counts_as_not_stated(facts, rank):
    assert Rank.of_item({"properties": {"stac_sm:rank": facts}}) == rank


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("20171221T170736Z", "20171221170736"),
        ("2023-06-01 00:28:22", "20230601002822"),
        ("2022:01:02 03:04:05", "20220102030405"),
        ("2017-12-21", "20171221"),
        ("", ""),
        ("unknown", ""),
        ("May 4 2023 10:11:12", ""),
        ("<Array 5>", ""),
    ],
)
def test_a_production_stamp_that_cannot_be_read_says_nothing(text, digits):
    assert time_digits(text) == digits


def version(rank=NO_RANK, *, sha="aa", name="a", content="x", title="t"):
    item = {
        "properties": {"title": title, "stac_sm:sources": [{"name": name, "sha256": sha}], **rank.properties()},
        "geometry": {"type": "Point", "coordinates": (1.0, 2.0)},
        "bbox": (1, 2, 1, 2),
    }
    return ItemVersion(item, rank, lambda: {"values": content}, lambda key: b"", lambda key: "", keys=["values"])


@pytest.mark.parametrize(
    ("ours", "theirs", "preference", "reason"),
    [
        (version(), version(name="b"), Preference.SAME, "the same file"),
        (version(), version(sha="bb"), Preference.SAME, "the same content"),
        (version(), version(sha="bb", content="y"), Preference.UNDECIDED, "they differ in values, and nothing states"),
        (version(), version(sha="bb", title="u"), Preference.UNDECIDED, "they differ in title, and nothing states"),
        (version(Rank((2,))), version(Rank((1,)), sha="bb", content="y"), Preference.OURS, "newer version (2, not 1)"),
        (
            version(Rank((2,))), version(sha="bb", content="y"), Preference.UNDECIDED,
            "they differ in values, and only one of them states its version",
        ),
        (version(Rank((2,))), version(sha="bb"), Preference.SAME, "the same content"),
    ],
)  # fmt: skip
def test_rank_decides_before_content(ours, theirs, preference, reason):
    decision = decide(ours, theirs, lambda one, two: None)
    assert decision.preference is preference
    assert decision.reason.startswith(reason)
    assert decide(theirs, ours, lambda one, two: None).preference is MIRRORED[preference]
