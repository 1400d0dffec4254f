"""Join the hours of a day from one file or several: each hour from the file that has it, final before preliminary.

The provider of ERA5-Land calls this between the readers, which return `HourlyFields`, and the COGs. A daily mean is
computed from all hours at once, never from means. Where two files hold an hour and nothing ranks the two, their values
must be equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from stac_sm.ingest.formats.hourly import HourlyFields, checked_mean
from stac_sm.ingest.rank import UndecidedError


@dataclass(frozen=True)
class FieldAt:
    """The fields of one instant in one file."""

    fields: HourlyFields
    """The file."""

    position: int
    """Position on its time axis."""

    @property
    def final(self) -> bool | None:
        """Whether they are final, not preliminary; None where the file does not say so."""
        return self.fields.is_final(self.position)

    def values(self, name: str) -> np.ndarray:
        """Return the values of a variable (y, x), north up."""
        return self.fields.at(name, self.position)


FieldsByTime = Mapping[np.datetime64, Sequence[FieldAt]]
"""Instant -> places of its fields, in order of time; the first place is used, the others must equal it."""


@dataclass(frozen=True)
class JoinedDay:
    """The hours of one UTC day on one grid."""

    day: date
    """The day."""

    main: str
    """Name of the variable whose hours are those of the day."""

    found: Mapping[str, FieldsByTime]
    """Variable -> places of its fields."""

    @property
    def hours(self) -> int:
        """Number of hours."""
        return len(self.found.get(self.main, {}))

    @property
    def complete(self) -> list[str]:
        """Variables that have all hours of the day."""
        needed = set(self.found.get(self.main, {}))
        return [name for name, by_time in self.found.items() if needed <= set(by_time)]

    def files(self) -> dict[Any, dict[str, Any]]:
        """Return the files that contribute to the day, with all hours, and the final and preliminary ones if known.

        Where a file gives only some of the variables at an hour, its facts say that of each variable, too.
        """
        by_file: dict[Any, dict[str, dict[float, bool | None]]] = {}
        for name in self.complete:
            for instant in self.found[self.main]:
                first = self.found[name][instant][0]
                by_file.setdefault(first.fields.file, {}).setdefault(name, {})[_hour_of_day(instant)] = first.final
        made: dict[Any, dict[str, Any]] = {}
        for file, by_name in by_file.items():
            hours = {hour: final for one in by_name.values() for hour, final in one.items()}
            made[file] = _facts(hours)
            if any(by_name.get(name) != hours for name in self.complete):
                made[file]["variables"] = {name: _facts(by_name[name]) for name in sorted(by_name)}
        return made

    def mean(self, name: str) -> np.ndarray:
        """Compute the mean over all hours.

        Parameters
        ----------
        name
            Name of a variable in ``complete``.

        Returns
        -------
        numpy.ndarray
            float32 (y, x), north up, in the variable's unit; NaN where any hour is missing (sea, or a gap of the
            provider).

        Raises
        ------
        GranuleError
            If no pixel has a value, or a value is physically impossible.
        """
        chosen = [self.found[name][instant][0] for instant in self.found[self.main]]
        fields = chosen[0].fields
        if all(place.fields is fields for place in chosen):
            return fields.mean(name, np.sort([place.position for place in chosen]))
        total = np.zeros(tuple(fields.grid.geobox.shape))
        for place in chosen:
            total += place.values(name)
        files = " and ".join(str(file) for file in dict.fromkeys(place.fields.file for place in chosen))
        return checked_mean(name, (total / len(chosen)).astype(np.float32), files)

    @property
    def twice(self) -> bool:
        """Whether an hour of it is found more than once."""
        return any(len(self.found[name][instant]) > 1 for name in self.complete for instant in self.found[self.main])

    def check(self) -> None:
        """Compare the values of hours that are found more than once.

        Raises
        ------
        UndecidedError
            If they differ, and nothing says which are right.
        """
        for name in self.complete:
            for instant in self.found[self.main]:
                _check_same(name, instant, self.found[name][instant])


def joined_days(files: Sequence[HourlyFields], main: str) -> Iterator[JoinedDay]:
    """Yield the days of fields on one grid, in order.

    Parameters
    ----------
    files
        The files; of two that have the same values at an hour, the first one gives them.
    main
        Name of the variable whose hours are those of a day.

    Yields
    ------
    JoinedDay
        One a UTC day with a field of any variable.
    """
    by_day = [fields.days() for fields in files]
    for day in sorted(set().union(*by_day)):
        found: dict[str, dict[np.datetime64, list[FieldAt]]] = {}
        for fields, days in zip(files, by_day, strict=True):
            for name in fields.units:
                for position in days.get(day, ()):
                    places = found.setdefault(name, {}).setdefault(fields.times[position], [])
                    places.append(FieldAt(fields, int(position)))
        yield JoinedDay(
            day,
            main,
            {name: {time: _not_beaten(found[name][time]) for time in sorted(found[name])} for name in found},
        )


def _not_beaten(places: Sequence[FieldAt]) -> Sequence[FieldAt]:
    """Return the places of an hour, without preliminary values where there are final ones."""
    if any(place.final for place in places):
        return [place for place in places if place.final is not False]
    return places


def _check_same(name: str, instant: np.datetime64, places: Sequence[FieldAt]) -> None:
    for place in places[1:]:
        if not np.array_equal(places[0].values(name), place.values(name), equal_nan=True):
            files = list(dict.fromkeys(one.fields.file for one in (places[0], place)))
            where = f"{' and '.join(map(str, files))} have" if len(files) > 1 else f"{files[0]} has"
            raise UndecidedError(
                f"{where} different values of {name} at {instant}, and nothing says which are final: leave the "
                "wrong ones out",
                files,
            )


def _facts(hours: Mapping[float, bool | None]) -> dict[str, Any]:
    chosen = {
        "hours": sorted(hours),
        "final": sorted(hour for hour, final in hours.items() if final),
        "preliminary": sorted(hour for hour, final in hours.items() if final is False),
    }
    return {key: value for key, value in chosen.items() if value}


def _hour_of_day(instant: np.datetime64) -> float:
    hour = float((instant - instant.astype("datetime64[D]")) / np.timedelta64(1, "h"))
    return int(hour) if hour.is_integer() else round(hour, 4)
