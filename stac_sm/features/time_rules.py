"""Time rules: which fields make the value of a day, and with what weight.

`inputs` calls `choose_day_fields` for each feature and day, and the planner does for millions of days. It is
bookkeeping on periods; nothing is read.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import repeat

from stac_sm.core.period import ONE_DAY, Period
from stac_sm.features.recipe import OF_MANY_YEARS, Feature
from stac_sm.raster.precedence import in_precedence, precedence_levels
from stac_sm.raster.source import RasterSource

RasterSources = tuple[RasterSource, ...]


@dataclass(frozen=True)
class WeightedField:
    """Files that together make one field, and its weight in the value of a day."""

    weight: float
    """Share of this field in the day's value; the weights of a day sum to 1."""

    sources: RasterSources
    """Files, in the order in which they count (`raster.precedence`)."""

    levels: tuple[int, ...] = ()
    """Of each file 0 if it counts first, and more if it only fills the gaps of finer or newer ones; empty if all count
    first."""

    @classmethod
    def of(cls, weight: float, sources: RasterSources) -> WeightedField:
        """Return a field with the levels of its files.

        Parameters
        ----------
        weight
            Share of the field in the day's value.
        sources
            Files, in the order in which they count; at least one.

        Returns
        -------
        WeightedField
            The field.
        """
        levels = precedence_levels(sources) if len(sources) > 1 else [0]
        return cls(weight, sources, tuple(levels) if levels[-1] else ())

    @property
    def levelled(self) -> Iterator[tuple[RasterSource, int]]:
        """Each file with its level."""
        return zip(self.sources, self.levels or repeat(0), strict=False)


@dataclass(frozen=True)
class DayFields:
    """The files and weights of the value of a feature on a day."""

    fields_by_day: tuple[tuple[WeightedField, ...], ...] = ()
    """Fields of each day that is averaged, the newest first (without an average, of the day alone); empty for a day
    without input."""

    climatology: tuple[WeightedField, ...] = ()
    """Fields of the climatology, where the feature needs one."""

    days_found: int | None = None
    """Of an average with too little history: the days of it that have input. Else None."""

    by_age: bool = False
    """Whether the weight of a day follows from its age, as in an exponential mean. The days of windows share their
    fields, which are many: so a field does not know its age."""

    @property
    def layers(self) -> Iterator[tuple[WeightedField, RasterSource, int, int]]:
        """Each file with its field, its level, and the age in days that its weight follows from (else 0)."""
        days = [*enumerate(self.fields_by_day), (0, self.climatology)]
        for age, fields in days:
            for one in fields:
                for source, level in one.levelled:
                    yield one, source, level, age if self.by_age else 0

    @property
    def fields(self) -> tuple[WeightedField, ...]:
        """All fields."""
        return (*(layer for day in self.fields_by_day for layer in day), *self.climatology)


@dataclass(frozen=True)
class Timeline:
    """Fields in the order of the days that they cover."""

    fields: Sequence[tuple[Period, RasterSources]]
    """Period and files of each, sorted."""

    @classmethod
    def of(cls, files: Mapping[Period, Iterable[RasterSource]]) -> Timeline:
        """Return the timeline of files: those of the same days make one field.

        Parameters
        ----------
        files
            Files by the days that they cover.

        Returns
        -------
        Timeline
            Fields in order of time, files in the order in which they count.
        """
        return cls([(period, in_precedence(files[period])) for period in sorted(files)])

    def covering(self, day: date) -> RasterSources:
        """Return the files of the first field that covers a day.

        Parameters
        ----------
        day
            UTC day.

        Returns
        -------
        tuple of RasterSource
            Empty if no field covers the day.
        """
        if self._longest == 1:
            return self._by_day.get(day, ())
        end = bisect_right(self._starts, day)
        begin = bisect_left(self._starts, day - timedelta(days=self._longest))
        return next((sources for period, sources in self.fields[begin:end] if day in period), ())

    def latest(self, day: date, max_age: int) -> RasterSources:
        """Return the files of the last field that began on a day or before.

        Parameters
        ----------
        day
            UTC day.
        max_age
            Largest number of days since the field began.

        Returns
        -------
        tuple of RasterSource
            Empty if there is no such field, or it is older.
        """
        last = bisect_right(self._starts, day) - 1
        fresh = last >= 0 and (day - self._starts[last]).days <= max_age
        return self.fields[last][1] if fresh else ()

    def between(self, day: date, max_gap: int) -> tuple[WeightedField, ...]:
        """Return the two fields between whose middles a day lies, weighted linearly.

        Parameters
        ----------
        day
            UTC day.
        max_gap
            Largest number of days between the two middles.

        Returns
        -------
        tuple of WeightedField
            Two fields with weights that sum to 1; one field where the day is its middle, or where there is no second
            one within the gap and it covers the day; else empty.
        """
        after = bisect_left(self._middles, day)
        exact = after < len(self._middles) and self._middles[after] == day
        if not exact and not 0 < after < len(self._middles):
            return _whole(self.covering(day))
        before = after if exact else bisect_left(self._middles, self._middles[after - 1])
        gap = (self._middles[after] - self._middles[before]).days
        first, second = (self._by_middle[at][1] for at in (before, after))
        if exact or gap > max_gap:
            return _whole(first if exact else self.covering(day))
        late = (day - self._middles[before]).days / gap
        return WeightedField.of(1.0 - late, first), WeightedField.of(late, second)

    def chosen(self, feature: Feature, day: date) -> tuple[WeightedField, ...]:
        """Return what `choose_fields` gives, worked out once a day: averages of many days share them.

        Parameters
        ----------
        feature
            The feature of this timeline.
        day
            UTC day, after the lag.

        Returns
        -------
        tuple of WeightedField
            Weights sum to 1; empty if there is no field.
        """
        key = (feature.time, feature.max_gap, day)
        if key not in self._chosen:
            self._chosen[key] = choose_fields(feature, self, day)
        return self._chosen[key]

    @cached_property
    def _chosen(self) -> dict[tuple[str, int, date], tuple[WeightedField, ...]]:
        return {}

    @cached_property
    def _starts(self) -> list[date]:
        return [period.start for period, _ in self.fields]

    @cached_property
    def _longest(self) -> int:
        return max((len(period) for period, _ in self.fields), default=0)

    @cached_property
    def _by_day(self) -> dict[date, RasterSources]:
        """Return the files of the first field of each day, where no field is longer."""
        return {period.start: sources for period, sources in reversed(self.fields)}

    @cached_property
    def _by_middle(self) -> list[tuple[date, RasterSources]]:
        middles = ((period.start + timedelta(days=len(period) // 2), sources) for period, sources in self.fields)
        return sorted(middles, key=lambda field: field[0])

    @cached_property
    def _middles(self) -> list[date]:
        return [middle for middle, _ in self._by_middle]


def choose_day_fields(
    feature: Feature, timeline: Timeline, climatology_files: Mapping[int, RasterSources], day: date
) -> DayFields:
    """Return the fields that make a feature on a day.

    Parameters
    ----------
    feature
        The feature, with its time rule, lag, trailing mean and statistic.
    timeline
        Its fields.
    climatology_files
        Files of its climatology by month (1 to 12), or at 0 for the whole year; empty without one.
    day
        UTC day.

    Returns
    -------
    DayFields
        Fields and weights; without any if the day has no input.
    """
    if (
        not climatology_files and len(feature.ages) == 1 and feature.statistic == "value"
    ):  # most features: shorter, for millions
        layers = choose_fields(feature, timeline, day - feature.lag * ONE_DAY)
        return DayFields((layers,)) if layers else DayFields()
    climatology = climatology_fields(climatology_files, day - feature.lag * ONE_DAY)
    if feature.statistic in OF_MANY_YEARS:
        return DayFields(climatology=climatology)
    days = tuple(timeline.chosen(feature, day - (feature.lag + age) * ONE_DAY) for age in feature.ages)
    mean = feature.exponential_mean
    if mean is None:
        enough = 2 * sum(map(bool, days)) >= feature.trailing
    else:
        weight = math.fsum(weight for weight, layers in zip(mean.weights.tolist(), days, strict=True) if layers)
        enough = weight >= mean.least_weight()
    by_age = mean is not None
    if feature.missing == "climatology" and climatology:
        return DayFields(days if enough else (), climatology, by_age=by_age)
    if not enough:
        return DayFields(days_found=sum(map(bool, days)))
    if feature.statistic == "anomaly" and not climatology:
        return DayFields()
    return DayFields(days, climatology, by_age=by_age)


def choose_fields(feature: Feature, timeline: Timeline, day: date) -> tuple[WeightedField, ...]:
    """Return the fields and weights that make the value of a day by the feature's time rule.

    Parameters
    ----------
    feature
        The feature, of which only the time rule and ``max_gap`` count here.
    timeline
        Its fields.
    day
        UTC day, after the lag.

    Returns
    -------
    tuple of WeightedField
        Weights sum to 1; empty if there is no field.
    """
    if feature.time == "static":
        return _whole(in_precedence(source for _, sources in timeline.fields for source in sources))
    if feature.time == "daily":
        return _whole(timeline.covering(day))
    if feature.time == "previous":
        return _whole(timeline.latest(day, feature.max_gap))
    return timeline.between(day, feature.max_gap)


def climatology_fields(climatology_files: Mapping[int, RasterSources], day: date) -> tuple[WeightedField, ...]:
    """Return the climatology of a day: that of the year, or linear between the middles (day 15) of two months.

    Parameters
    ----------
    climatology_files
        Files by month (1 to 12), or at 0 for the whole year.
    day
        UTC day.

    Returns
    -------
    tuple of WeightedField
        Weights sum to 1; where one of the two months is missing, the day's own month alone; empty if there is none.
    """
    weights = climatology_weights(climatology_files, day)
    return tuple(WeightedField.of(weight, climatology_files[month]) for month, weight in weights)


def climatology_weights(months: Collection[int], day: date) -> tuple[tuple[int, float], ...]:
    """Return the months that make the climatology of a day, as `climatology_fields` describes.

    Parameters
    ----------
    months
        Months that there are (1 to 12), or 0 for the whole year.
    day
        UTC day.

    Returns
    -------
    tuple of tuple
        Month and weight; weights sum to 1; empty if there is none.
    """
    if 0 in months:
        return ((0, 1.0),)
    here, before = _middle(day), _middle(day.replace(day=1) - ONE_DAY)
    first, second = (here, _middle(day.replace(day=28) + 4 * ONE_DAY)) if day >= here else (before, here)
    if first.month not in months or second.month not in months:
        return ((day.month, 1.0),) if day.month in months else ()
    late = (day - first).days / (second - first).days
    return (first.month, 1.0 - late), (second.month, late)


def _middle(day: date) -> date:
    return day.replace(day=15)


def _whole(sources: RasterSources) -> tuple[WeightedField, ...]:
    return (WeightedField.of(1.0, sources),) if sources else ()
