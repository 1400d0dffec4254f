"""Ids of the product: what is written is read again, and what is no id is refused."""

from __future__ import annotations

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import InputError
from stac_sm.core.period import Period
from stac_sm.product.product_id import ProductId, format_id, is_product_id, product_ids, split_version, tile_of
from tests.support.checkout import ROOT

DATES = st.dates(date(1000, 1, 1), date(9998, 12, 31))
NAMES = st.text("abcXYZ0189_-", min_size=1, max_size=8)
SPANS = DATES.flatmap(
    lambda day: st.sampled_from([Period.of_day(day), Period.parse(f"{day:%Y-%m}"), Period.parse(f"{day:%Y}")])
)


def test_an_id_of_a_day_a_month_a_year_and_the_globe():
    for text, span, tile in (
        ("SM1KM.A2018182.h03v06.v001", "2018-07-01", "h03v06"),
        ("SM1KM.M201802.h03v06.v001", "2018-02", "h03v06"),
        ("SM1KM.Y2020.global.v001", "2020", "global"),
        ("SM1KM.A2020366.global.v001", "2020-12-31", "global"),
    ):
        assert ProductId.parse(text) == ProductId(Period.parse(span), tile, "001")
        assert str(ProductId.parse(text)) == text


@given(span=SPANS, tile=NAMES, version=NAMES)
def test_what_is_written_is_read_again(span, tile, version):
    made = ProductId(span, tile, version)
    text = str(made)
    assert ProductId.parse(text) == made
    assert is_product_id(text)
    assert tile_of(text) == tile
    assert split_version(text) == (text.removesuffix(f".v{version}"), version)


@given(days=st.lists(DATES, max_size=5), tile=NAMES, version=NAMES)
def test_many_ids_are_those_of_each_day(days, tile, version):
    assert product_ids(tile, days, version) == [str(ProductId.of_day(tile, day, version)) for day in days]


LIKE_IDS = st.from_regex(r"SM1KM\.[AMY][0-9]{4,7}\.[a-z.]{1,3}\.v1", fullmatch=True)


@given(text=st.one_of(st.text(), LIKE_IDS))
def test_what_is_read_is_written_again(text):
    try:
        found = ProductId.parse(text)
    except InputError:
        return
    assert str(found) == text


NO_IDS = [
    *("", "SM1KM", "SM1KM.A2018182", "SM1KM.A2018182.h03v06", "SM1KM.A2018366.h03v06.v001"),
    *("SM1KM.M201813.h03v06.v001", "SM1KM.B2018182.h03v06.v001", "SM1KM.A182.h03v06.v001", "SM1KM.A0000182.h.v001"),
    *("SM1KM.20190303-20190303.validation.v001", "sm1km.A2018182.h03v06.v001", "SM1KM.A2018182.h03v06.v001\n"),
    "SM1KM.A\u0662\u0660\u0661\u0668182.h03v06.v001",  # digits of another script
]


@pytest.mark.parametrize("text", NO_IDS)
def test_what_is_no_id_is_refused(text):
    with pytest.raises(InputError, match=r"an id such as SM1KM\.A2018182\.h03v06\.v001"):
        ProductId.parse(text)


def test_what_is_no_id_has_no_tile():
    assert [tile_of(text) for text in ("", "catalog", "a.b.c", "SM1KM.A2018182.h03v06")] == ["", "", "", ""]
    assert format_id("20190303-20190303", "validation", "001") == "SM1KM.20190303-20190303.validation.v001"


@pytest.mark.parametrize(
    ("text", "home"),
    [("SM1KM", "product/product_id.py"), ("sm-models", "model/item.py"), ("sm-1km-daily", "product/item.py")],
)
def test_ids_and_collections_are_spelt_in_one_module(text, home):
    """In code: docstrings, comments and the help of commands may name them for readers; the terms of all collections
    are one table by id, in a layer that knows no stage.
    """
    found = {
        file.relative_to(ROOT / "stac_sm").as_posix()
        for file in (ROOT / "stac_sm").rglob("*.py")
        for line in file.read_text().splitlines()
        if re.search(rf"""["'(]{text}["'.]""", line) and '"""' not in line and not line.lstrip().startswith("#")
    }
    assert found - {"stac/visibility.py"} == {home}
