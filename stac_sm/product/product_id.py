"""Write and read the ids of the product's items; nothing else knows their form.

An id such as ``SM1KM.A2018182.h03v06.v001`` names what an item covers (a day ``A2018182``, a month ``M201807`` or a
year ``Y2018``), its tile (or ``global`` for the whole grid) and the product version. Planning, reports and aggregates
take ids apart here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache

from stac_sm.core.errors import InputError
from stac_sm.core.period import Period

PREFIX = "SM1KM"
"""Begins each id of the product."""

GLOBAL = "global"
"""Stands for the tile in the id of what covers a whole grid."""

_EXAMPLE = f"{PREFIX}.A2018182.h03v06.v001"
_FORM = re.compile(rf"{PREFIX}\.([A-Z])(\d+)\.([A-Za-z0-9_-]+)\.v([A-Za-z0-9_-]+)", re.ASCII)


@dataclass(frozen=True)
class ProductId:
    """Parts of the id of an item of the product."""

    span: Period
    """A UTC day, a whole month, or a whole year."""

    tile: str
    """Tile id, or ``global``."""

    version: str
    """Product version, e.g. ``001``."""

    @classmethod
    def parse(cls, text: str) -> ProductId:
        """Read an id.

        Parameters
        ----------
        text
            Such as ``SM1KM.A2018182.h03v06.v001``.

        Returns
        -------
        ProductId
            Its parts; ``str`` of it is the text again.

        Raises
        ------
        InputError
            If it is no id of a day, month or year of the product.
        """
        match = _FORM.fullmatch(text)
        try:
            if match is None:
                raise ValueError(text)
            found = cls(_span(match[1], match[2]), match[3], match[4])
            if str(found) != text:  # strptime takes day 366 of every year
                raise ValueError(text)
        except (InputError, ValueError) as error:
            raise InputError(f"item {text!r}: an id such as {_EXAMPLE} is required") from error
        return found

    @classmethod
    def of_day(cls, tile: str, day: date, version: str) -> ProductId:
        """Return the id of a tile-day.

        Parameters
        ----------
        tile
            Tile id.
        day
            UTC day.
        version
            Product version.

        Returns
        -------
        ProductId
            Of this day.
        """
        return cls(Period.of_day(day), tile, version)

    def __str__(self) -> str:
        days, start = len(self.span), self.span.start
        when = f"A{_year_and_day(start)}" if days == 1 else f"M{start:%Y%m}" if days < 32 else f"Y{start:%Y}"
        return format_id(when, self.tile, self.version)


def format_id(when: str, what: str, version: str) -> str:
    """Write an id from its parts.

    Parameters
    ----------
    when
        Days that the item covers, e.g. ``A2018182``.
    what
        Tile id, ``global``, or what else the item is of.
    version
        Product version.

    Returns
    -------
    str
        Such as ``SM1KM.A2018182.h03v06.v001``.
    """
    return f"{PREFIX}.{when}.{what}.v{version}"


def product_ids(tile: str, days: Iterable[date], version: str) -> list[str]:
    """Write the ids of days of a tile; fast, for there are millions.

    Parameters
    ----------
    tile
        Tile id.
    days
        UTC days.
    version
        Product version.

    Returns
    -------
    list of str
        One a day, in their order.
    """
    return [format_id(f"A{_year_and_day(day)}", tile, version) for day in days]


def is_product_id(text: str) -> bool:
    """Return whether a text is meant as an id of the product: it may be a wrong one.

    Parameters
    ----------
    text
        An id, or the name of something else, such as a plan.

    Returns
    -------
    bool
        True if it begins as ids do.
    """
    return text.startswith(f"{PREFIX}.")


def tile_of(id: str) -> str:
    """Return the tile in an id, without a look at its other parts; fast, for there are millions.

    Parameters
    ----------
    id
        Id of an item in a collection of the product.

    Returns
    -------
    str
        Tile id; empty if the id is not of the product.
    """
    parts = id.split(".")
    return parts[2] if len(parts) > 3 else ""


def split_version(id: str) -> tuple[str, str]:
    """Split an id into what all versions of an item share, and the version; fast, for there are millions.

    Parameters
    ----------
    id
        Id of an item of the product.

    Returns
    -------
    tuple of str
        ``SM1KM.A2018182.h03v06`` and ``001``.
    """
    series, _, version = id.rpartition(".v")
    return series, version


def _span(kind: str, digits: str) -> Period:
    """Return the days that ``A2018182``, ``M201807`` or ``Y2018`` stand for."""
    if kind == "A" and len(digits) == 7:
        return Period.of_day(datetime.strptime(digits, "%Y%j").date())
    if kind == "M" and len(digits) == 6:
        return Period.parse(f"{digits[:4]}-{digits[4:]}")
    if kind == "Y" and len(digits) == 4:
        return Period.parse(digits)
    raise ValueError(kind + digits)


@lru_cache(maxsize=50_000)
def _year_and_day(day: date) -> str:
    return f"{day:%Y%j}"
