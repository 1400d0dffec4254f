"""Laws of periods."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pystac.utils
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import InputError
from stac_sm.core.period import ONE_DAY, Period, day_ranges, days_in_words, parse_instant, readable_time, utc_instant

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


READ = {
    "2019-06-08T12:00:00Z": "2019-06-08T12:00:00+00:00",
    "2019-06-08T12:00:00.1234567Z": "2019-06-08T12:00:00.123456+00:00",
    "2019-06-08T12:00:00.999999999+02:00": "2019-06-08T10:00:00.999999+00:00",
    "2019-06-08T12:00:00": "2019-06-08T12:00:00+00:00",
    "2019-06-08 12:00:00z": "2019-06-08T12:00:00+00:00",
    "2019-06-08": "2019-06-08T00:00:00+00:00",
    "2016-12-31T23:59:60Z": "2016-12-31T23:59:59.999999+00:00",
    "2016-12-31T23:59:60.5Z": "2016-12-31T23:59:59.999999+00:00",
    "2017-01-01T00:59:60+01:00": "2016-12-31T23:59:59.999999+00:00",
    "20161231T235959Z": "2016-12-31T23:59:59+00:00",
}


@pytest.mark.parametrize("text", READ)
def test_times_of_others_are_read(text):
    found = parse_instant(text)
    assert found.isoformat() == READ[text]
    whole_day = "T" not in text and ":" not in text
    assert parse_instant(text, end=True) - found == (ONE_DAY - timedelta(microseconds=1) if whole_day else timedelta())
    for end in (False, True):
        plain = readable_time(text, end=end)
        assert pystac.utils.str_to_datetime(plain) == parse_instant(text, end=end)  # as pystac reads it
        rfc = text in {"2019-06-08T12:00:00Z", "2019-06-08T12:00:00.1234567Z", "2019-06-08T12:00:00.999999999+02:00"}
        assert (plain == text) == rfc


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2019-13-01T00:00:00Z", "2019-06-08T12:00:61Z", "2019-06-08T12:60:00Z",
     "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:60-14:00", "2019", 5, None, ["2019-06-08"], "\0"],
)  # fmt: skip
def test_what_is_no_time_is_a_value_error_that_shows_it(text):
    with pytest.raises(ValueError, match="is no time"):
        parse_instant(text)


@given(st.text(max_size=30) | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?"))
def test_any_text_is_a_time_or_a_value_error(text):
    try:
        found = parse_instant(text)
    except ValueError:
        return
    assert found.utcoffset() == timedelta()
    assert parse_instant(readable_time(text)) == found


def test_recent_days_end_today():
    today = date(2026, 3, 1)
    assert str(Period.parse_recent("last-2-days", today)) == "2026-02-28/2026-03-01"
    assert str(Period.parse_recent("last-1-day", today)) == "2026-03-01"
    assert Period.parse_recent("2018-06", today) == Period.parse("2018-06")
    for text in ("last-0-days", "last-days", "last-x-days"):
        with pytest.raises(InputError):
            Period.parse_recent(text, today)


@given(st.lists(st.integers(0, 60)))
def test_law_ranges_hold_the_days_and_no_others(numbers):
    days = [date(2018, 7, 1) + timedelta(days=number) for number in numbers]
    found = day_ranges(days)
    assert [day for one in found for day in one.days] == sorted(set(days))
    assert all(one.end < other.start for one, other in pairwise(found))


def test_days_in_words():
    days = [date(2018, 7, day) for day in (3, 1, 2, 9)]
    assert days_in_words(days) == "2018-07-01/2018-07-03, 2018-07-09"
    assert days_in_words(days, most=1) == "2018-07-01/2018-07-03 and 1 more range"
    assert days_in_words([]) == "none"
