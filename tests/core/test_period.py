"""Laws of periods."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import InputError
from stac_sm.core.period import ONE_DAY, Period, utc_instant

days = st.dates(date(1900, 1, 1), date(2100, 1, 1))
periods = st.builds(lambda start, n: Period(start, start + n * ONE_DAY), days, st.integers(1, 1500))


@given(periods)
def test_text_and_back(period):
    assert Period.parse(str(period)) == period


@given(periods)
def test_months_partition(period):
    months = list(period.months())
    assert months[0].start == period.start
    assert months[-1].end == period.end
    assert all(before.end == after.start for before, after in pairwise(months))
    assert sum(len(month) for month in months) == len(period)
    for month in months:
        assert {(day.year, day.month) for day in month.days} == {(month.start.year, month.start.month)}


@given(periods)
def test_days_are_inside_and_the_end_is_not(period):
    assert len(period) == len(period.days) == (period.end - period.start).days
    assert all(day in period for day in period.days)
    assert period.start - ONE_DAY not in period
    assert period.end not in period


@given(periods, periods)
def test_overlap_is_a_day_in_common(one, other):
    assert one.overlaps(other) == other.overlaps(one) == bool(set(one.days) & set(other.days))


@given(periods, st.integers(1, 60))
def test_periods_that_touch_do_not_overlap(period, n):
    after = Period(period.end, period.end + n * ONE_DAY)
    assert not period.overlaps(after)
    assert not after.overlaps(period)
    assert period.widened(1).overlaps(after)


@given(periods, st.integers(0, 60))
def test_widened(period, n):
    assert len(period.widened(n)) == len(period) + 2 * n
    assert period.widened(n).start == period.start - n * ONE_DAY


@given(days)
def test_a_day_a_month_a_year(day):
    assert Period.parse(str(day)) == Period.of_day(day)
    month, year = Period.parse(f"{day:%Y-%m}"), Period.parse(f"{day:%Y}")
    assert (month.start, month.end - ONE_DAY) == (day.replace(day=1), _last_of_month(day))
    assert (year.start, year.end) == (date(day.year, 1, 1), date(day.year + 1, 1, 1))
    assert list(year.months())[day.month - 1] == month


def test_last_day_is_included_in_text():
    assert Period.parse("2018-07-01/2018-07-07") == Period(date(2018, 7, 1), date(2018, 7, 8))
    assert Period.parse("2019-12/2020-02").end == date(2020, 3, 1)
    assert Period.parse(" 2018 / 2019 ") == Period(date(2018, 1, 1), date(2020, 1, 1))


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "2018/", "/2018", "2018/2019/2020", "2019/2018", "2018-07-02/2018-07-01"),
        *("2018-00", "2018-07-00", "2018-13", "2018-02-29", "0000", "18", "2018-7", "9999-12-31"),
        *("\u0662\u0660\u0661\u0668", "2018-07-01T00:00:00Z", "yesterday"),
    ],
)
def test_no_period(text):
    with pytest.raises(InputError, match=r"period .*2018-07-01/2018-07-07"):
        Period.parse(text)


def test_empty_period_is_refused():
    with pytest.raises(InputError, match="empty"):
        Period(date(2018, 7, 1), date(2018, 7, 1))


@given(days)
def test_utc(day):
    assert utc_instant(day) == datetime(day.year, day.month, day.day, tzinfo=UTC)
    assert utc_instant(day + ONE_DAY) - utc_instant(day) == timedelta(hours=24)


def _last_of_month(day):
    after = day.replace(day=28) + 4 * ONE_DAY
    return after - after.day * ONE_DAY
