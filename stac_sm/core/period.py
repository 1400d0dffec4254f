"""Periods: half-open intervals of whole UTC days.

All stages count time in whole UTC days, and a period of a user (``--period 2018-07``), of a project file or of a STAC
item becomes a `Period` before anything is computed with it.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from stac_sm.core.errors import InputError

ONE_DAY = timedelta(days=1)

_LEAP_SECOND = re.compile(r"(:\d\d:)60(?:[.,]\d+)?(?=$|[Z+-])", re.IGNORECASE)
_RECENT = re.compile(r"last-(\d{1,4})-days?")
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True, order=True)
class Period:
    """Days from ``start`` (included) to ``end`` (excluded)."""

    start: date
    """First day."""

    end: date
    """The day after the last one."""

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise InputError(
                f"period {self.start}/{self.end - ONE_DAY} is empty: the last day lies before the first; "
                "write FIRST/LAST, e.g. 2018-07-01/2018-07-07"
            )

    @classmethod
    def parse(cls, text: str) -> Period:
        """Return the period that a text names.

        Parameters
        ----------
        text
            ``2018``, ``2018-07``, ``2018-07-01``, or ``FIRST/LAST`` of these, the last day included, as in STAC.

        Returns
        -------
        Period
            At least one day long.

        Raises
        ------
        InputError
            If the text is not such a period, or the period is empty.
        """
        first, slash, last = text.strip().partition("/")
        return cls(_span(first, text)[0], _span(last if slash else first, text)[1])

    @classmethod
    def parse_recent(cls, text: str, today: date) -> Period:
        """Return the period that a text names, which may end today.

        Parameters
        ----------
        text
            ``last-30-days``, which end with today, or as in `parse`.
        today
            Current day, UTC.

        Returns
        -------
        Period
            At least one day long.

        Raises
        ------
        InputError
            If the text is not such a period, or the period is empty.
        """
        recent = _RECENT.fullmatch(text.strip())
        if recent is None:
            return cls.parse(text)
        days = int(recent[1])
        if days < 1:
            raise InputError(f"period {text!r}: 0 days found, 1 or more are required, e.g. last-30-days")
        return cls(today - (days - 1) * ONE_DAY, today + ONE_DAY)

    @classmethod
    def of(cls, period: Period | str) -> Period:
        """Return a period as it is, or the one that a text names.

        Parameters
        ----------
        period
            A period, or a text as in `parse`.

        Returns
        -------
        Period
            At least one day long.

        Raises
        ------
        InputError
            If a text is not a period.
        """
        return cls.parse(period) if isinstance(period, str) else period

    @classmethod
    def of_day(cls, day: date) -> Period:
        """Return the period of one day.

        Parameters
        ----------
        day
            UTC day.

        Returns
        -------
        Period
            From the day to the next one.
        """
        return cls(day, day + ONE_DAY)

    def __str__(self) -> str:
        last = self.end - ONE_DAY
        return str(self.start) if last == self.start else f"{self.start}/{last}"

    def __contains__(self, day: date) -> bool:
        return self.start <= day < self.end

    def __len__(self) -> int:
        return (self.end - self.start).days

    @property
    def days(self) -> list[date]:
        """Every day of the period, in order."""
        return [self.start + i * ONE_DAY for i in range(len(self))]

    def overlaps(self, other: Period) -> bool:
        """Return whether two periods have a day in common.

        Parameters
        ----------
        other
            Another period; one that ends on the day on which this one starts has none in common.

        Returns
        -------
        bool
            True if at least one day is in both.
        """
        return self.start < other.end and other.start < self.end

    def widened(self, days: int) -> Period:
        """Return the period with more days at both ends.

        Parameters
        ----------
        days
            Number of days before the first and after the last one; a negative number makes it shorter.

        Returns
        -------
        Period
            Longer by twice as many days.

        Raises
        ------
        InputError
            If no day is left.
        """
        return Period(self.start - days * ONE_DAY, self.end + days * ONE_DAY)

    def months(self) -> Iterator[Period]:
        """Split the period at the first day of each month.

        Yields
        ------
        Period
            The parts, in order; the first and the last may be shorter than a month.
        """
        start = self.start
        while start < self.end:
            end = min(_month_end(start), self.end)
            yield Period(start, end)
            start = end


def day_ranges(days: Iterable[date]) -> list[Period]:
    """Join days that follow one another.

    Parameters
    ----------
    days
        UTC days, in any order; those given twice count once.

    Returns
    -------
    list of Period
        In order; none touches another.
    """
    found: list[Period] = []
    for day in sorted(set(days)):
        if found and found[-1].end == day:
            found[-1] = Period(found[-1].start, day + ONE_DAY)
        else:
            found.append(Period.of_day(day))
    return found


def days_in_words(days: Iterable[date], most: int = 6) -> str:
    """Return days as text, for messages.

    Parameters
    ----------
    days
        UTC days, in any order.
    most
        Number of ranges that are named at most.

    Returns
    -------
    str
        Such as ``2018-07-01/2018-07-07, 2018-08-02 and 3 more ranges``; ``none`` for no day.
    """
    found = day_ranges(days)
    words = ", ".join(str(one) for one in found[:most])
    more = len(found) - most
    return f"{words} and {more} more range{'s' if more > 1 else ''}" if more > 0 else words or "none"


def utc_instant(day: date, at: time = time(0)) -> datetime:
    """Return an instant of a UTC day.

    Parameters
    ----------
    day
        UTC day.
    at
        Time of the day, UTC; midnight by default.

    Returns
    -------
    datetime
        With the zone UTC.
    """
    return datetime.combine(day, at, tzinfo=UTC)


def parse_instant(text: object, *, end: bool = False) -> datetime:
    """Return the UTC instant that an item's time names.

    Besides RFC 3339, what others write is read: a time without a zone is UTC, a day alone begins at midnight, a leap
    second is the last microsecond before it ends, and of a fraction microseconds count.

    Parameters
    ----------
    text
        Value of ``datetime``, ``start_datetime``, ``end_datetime`` or another time of an item.
    end
        Whether it ends an interval: then a day alone is the whole day.

    Returns
    -------
    datetime
        With the zone UTC.

    Raises
    ------
    ValueError
        If it is no time.
    """
    if not isinstance(text, str):
        raise ValueError(f"{text!r:.40} is no time")
    try:
        found = datetime.fromisoformat(_LEAP_SECOND.sub(r"\g<1>59.999999", text.strip().upper()))
        if end and ":" not in text and "T" not in text.upper():
            found += ONE_DAY - timedelta(microseconds=1)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r:.40} is no time ({error})") from None


def readable_time(text: str, *, end: bool = False) -> str:
    """Return an item's time as every reader of RFC 3339 takes it.

    Parameters
    ----------
    text
        As in `parse_instant`.
    end
        Whether it ends an interval.

    Returns
    -------
    str
        The same text, unless it is a day alone, has no zone, or is a leap second: then in UTC.

    Raises
    ------
    ValueError
        If it is no time.
    """
    found = parse_instant(text, end=end)
    if _RFC_3339.fullmatch(text) and not _LEAP_SECOND.search(text):
        return text
    return found.isoformat().replace("+00:00", "Z")


def _month_end(day: date) -> date:
    return day.replace(day=calendar.monthrange(day.year, day.month)[1]) + ONE_DAY


def _span(text: str, whole: str) -> tuple[date, date]:
    """Return the first day of a year, month or day, and the day after its last."""
    match = re.fullmatch(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?", text.strip())
    try:
        if match is None:
            raise ValueError(text)
        year, month, day = match.groups()
        start = date(int(year), int(month or 1), int(day or 1))
        if day:
            return start, start + ONE_DAY
        return start, _month_end(start if month else start.replace(month=12))
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"period {whole!r}: {text!r} is no day, month or year; write the year first, with hyphens: "
            "2018-07-01/2018-07-07, 2018-07-01, 2018-07 or 2018"
        ) from error
