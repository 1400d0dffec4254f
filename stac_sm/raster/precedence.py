"""Decide which of several items counts where they cover one pixel: the finer one, then the one of the newer version.

Items of different ids are meant: two versions of GLASS, ERA5 beside ERA5-Land, areas that overlap. Of files that make
one and the same item `stac_sm.ingest.rank` chooses, by the version first as here. What is equal by both rules counts in
the order of the ids, and ``average`` takes the pixels of all of it. The cube, the plan, match-ups and climatologies
take the order from here, so that finer or newer data never lose to others by how items are called.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import pyproj

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

_METRES_A_DEGREE = 111_195.0
_FINER = 1.5  # ratio of pixel sizes that is a difference: of one product, the sizes of tiles differ by less
_NUMBERS = 4  # of a version that are compared


class Precedence(NamedTuple):
    """Place of an item among others that cover the same pixels; the least one counts first."""

    coarseness: int
    """Logarithm of the height of a pixel; the width depends on the latitude in some products, and does not count."""

    age: tuple[int, ...]
    """Version of the item, so that the newest one sorts first and one without a version last."""


class _Ordered(Protocol):
    @property
    def item_id(self) -> str:
        """Id of the item."""

    @property
    def precedence(self) -> Precedence:
        """Its place among others."""


Source = TypeVar("Source", bound=_Ordered)


@lru_cache(maxsize=100_000)
def precedence_of(geobox: GeoBox, version: str) -> Precedence:
    """Return the place of a file among others that cover the same pixels.

    Parameters
    ----------
    geobox
        Its pixels.
    version
        Property ``version`` of its item, e.g. ``60`` or ``08.1``; empty if it has none.

    Returns
    -------
    Precedence
        The least one counts first.
    """
    height = abs(geobox.affine.e) * _metres_a_unit(str(geobox.crs))
    numbers = [-int(number) for number in re.findall(r"\d+", version)[:_NUMBERS]]
    age = (0, *numbers, *[0] * (_NUMBERS - len(numbers))) if numbers else (1,)
    return Precedence(round(math.log(height, _FINER)), age)


def stated_version(properties: Mapping[str, Any]) -> str:
    """Return the version that an item states.

    Parameters
    ----------
    properties
        Properties of the item.

    Returns
    -------
    str
        Its ``version``; empty if it states none, or something that is neither text nor a number.
    """
    version = properties.get("version")
    return str(version) if isinstance(version, str | int) else ""


def in_precedence(sources: Iterable[Source]) -> tuple[Source, ...]:
    """Return files in the order in which they count.

    Parameters
    ----------
    sources
        The files.

    Returns
    -------
    tuple
        The files by precedence, then by the ids of their items.
    """
    return tuple(sorted(sources, key=lambda source: (source.precedence, source.item_id)))


def precedence_levels(sources: Sequence[_Ordered]) -> list[int]:
    """Return which files count before which.

    Parameters
    ----------
    sources
        Files in the order in which they count.

    Returns
    -------
    list of int
        Of each file 0 if it counts first, 1 if it fills the gaps of those, and so on; the same for equal precedence.
    """
    levels = [0] * len(sources)
    for at, (one, following) in enumerate(pairwise(sources), start=1):
        levels[at] = levels[at - 1] + (one.precedence != following.precedence)
    return levels


@lru_cache(maxsize=1000)
def _metres_a_unit(crs: str) -> float:
    known = pyproj.CRS.from_user_input(crs)
    return _METRES_A_DEGREE if known.is_geographic else float(known.axis_info[0].unit_conversion_factor)
