"""Find the date in the name of a file: by a provider's rule, or by a pattern of the user such as ``A%Y%j``.

A provider finds the digits itself, and `named_day` parses them. A raster series of one's own has no naming rule that is
known here: its pattern is written as for ``strftime``; how fine it is says how long a file counts: a year, a month or a
day.
"""

from __future__ import annotations

import calendar
import contextlib
import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path

from stac_sm.core.errors import GranuleError, InputError
from stac_sm.core.period import Period

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_DIRECTIVES = {
    "Y": r"\d{4}", "y": r"\d\d", "m": r"\d\d", "b": "|".join(_MONTHS), "d": r"\d\d", "j": r"\d{3}", "H": r"\d\d",
    "M": r"\d\d", "S": r"\d\d",
}  # fmt: skip
_TIME_OF_DAY = "HMS"
_CENTURY = 69  # two digits from here on are of the 20th century, as POSIX has it


def named_day(file: Path | str, digits: str, form: str = "%Y%m%d") -> date:
    """Return the day that the digits in a file's name state.

    Parameters
    ----------
    file
        The file, for messages.
    digits
        The part of its name, such as 20180601.
    form
        How they state a day: ``%Y%m%d``, or ``%Y%j`` for the day of the year.

    Returns
    -------
    datetime.date
        The day.

    Raises
    ------
    GranuleError
        If there is no such day.
    """
    with contextlib.suppress(ValueError):
        found = datetime.strptime(digits, form).date()
        if f"{found:{form}}" == digits:  # strptime takes day 366 of any year
            return found
    raise GranuleError(
        f"{file}: its name has day {digits}, which does not exist, a day like {date(2018, 6, 1):{form}} expected: give "
        "it back its published name"
    )


@dataclass(frozen=True)
class NamePattern:
    """A pattern of dates in file names."""

    text: str
    """As for ``strftime``: %Y or %y, %m or %b, %d, %j; %H, %M and %S are passed over. With slashes it also covers the
    folders above the file."""

    def __post_init__(self) -> None:
        used = set(re.findall(r"%(.)", self.text.replace("%%", "")))
        unknown = sorted(used - set(_DIRECTIVES))
        if unknown:
            raise InputError(
                f"datetime {self.text!r}: %{unknown[0]} found, %Y, %y, %m, %b, %d, %j, %H, %M or %S required"
            )
        month, day, day_of_year = used & set("mb"), "d" in used, "j" in used
        if not used & set("Yy") or (day and not month) or (day_of_year and (day or month)):
            raise InputError(
                f"datetime {self.text!r}: a year alone, with a month, with month and day, or with the day of the year "
                "(%j) is required, e.g. '%Y%j'"
            )
        if used & set(_TIME_OF_DAY) and not (day or day_of_year):
            raise InputError(f"datetime {self.text!r}: a time of day found without a day: add it, or leave it out")

    def period_of(self, file: Path) -> Period:
        """Return the days that the name of a file states.

        Parameters
        ----------
        file
            Its path.

        Returns
        -------
        Period
            A year, a month or a day, as the pattern has it.

        Raises
        ------
        GranuleError
            If the name has no such date, or several ones.
        """
        name = "/".join(file.parts[-1 - self.text.count("/") :])
        found = [period for match in self._regex.finditer(name) if (period := _period(match)) is not None]
        different = sorted(set(found))
        if not different:
            raise GranuleError(
                f"{file}: no date like {self.text!r} found in {name}, one expected: give the pattern of these names by "
                "--datetime, e.g. '%Y%j' or '%Y-%m-%d'"
            )
        if len(different) > 1:
            raise GranuleError(
                f"{file}: several dates like {self.text!r} found in {name} ({', '.join(map(str, different))}), one "
                "expected: write the letters before or behind the right one into the pattern, e.g. 'A%Y%j'"
            )
        return different[0]

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        """Match the pattern anywhere, also where matches overlap; digits beside it belong to another number."""
        parts = re.split(r"(%.)", self.text)
        body, seen = "", dict[str, int]()
        for part in parts:
            if part == "%%":
                body += "%"
            elif part[:1] == "%" and len(part) == 2:
                seen[part[1]] = seen.get(part[1], 0) + 1
                body += f"(?P<{part[1]}{seen[part[1]]}>{_DIRECTIVES[part[1]]})"
            else:
                body += re.escape(part)
        before = r"(?<!\d)" if parts[0] == "" or parts[0][0].isdigit() else ""
        behind = r"(?!\d)" if parts[-1] == "" or parts[-1][-1].isdigit() else ""
        return re.compile(f"(?={before}{body}{behind})", re.IGNORECASE)


def _period(match: re.Match[str]) -> Period | None:
    """Return the days of a match; None if there is no such day, or its parts contradict each other."""
    stated: dict[str, str] = {}
    for group, text in match.groupdict().items():
        if stated.setdefault(group[0], text) != text:
            return None
    year = int(stated["Y"]) if "Y" in stated else int(stated["y"])
    if "Y" not in stated:
        year += 1900 if year >= _CENTURY else 2000
    if "Y" in stated and "y" in stated and int(stated["y"]) != year % 100:
        return None
    try:
        if "j" in stated:
            day = date(year, 1, 1) + timedelta(int(stated["j"]) - 1)
            return Period.of_day(day) if day.year == year else None
        month = int(stated["m"]) if "m" in stated else _MONTHS.get(stated.get("b", "").lower(), 0)
        if "d" in stated:
            return Period.of_day(date(year, month, int(stated["d"])))
        return Period.parse(f"{year:04d}-{month:02d}" if "m" in stated or "b" in stated else f"{year:04d}")
    except (ValueError, OverflowError, InputError):
        return None
