"""Add up what a user downloads for a box and a period: days of the product, of the match-ups, and averaged years.

`stac-sm fetch all --dry-run` prints it. Sizes are those that providers state for a tile and month in the tables of
inputs, before compression: no service is asked. `workflows.fetch` asks the services, one source at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stac_sm.core.period import Period
from stac_sm.core.places import BBox
from stac_sm.ingest.download_table import downloads
from stac_sm.stations.records import STATIONS_COLLECTION
from stac_sm.workflows.fetch import SCREENED_BY, averaged_years, needed_period, own_features, place_of
from stac_sm.workflows.project import Project

_OF_MATCHUPS = (STATIONS_COLLECTION, SCREENED_BY[0])

_MONTH = 30
"""Days of the month that providers state a size of."""


@dataclass(frozen=True)
class InputSize:
    """What one collection of the recipe takes, before compression, bytes."""

    source: str
    """Name of the source, as users type it; empty where none of the registry gives the collection."""

    collection: str
    """Id of the collection."""

    product: int | None
    """Days of the product with those that the recipe looks back on; all of what does not change. None: not known."""

    climatology: int | None
    """Years that the recipe averages, beyond those days."""

    matchups: int | None
    """Days of the match-ups, beyond both."""

    @property
    def total(self) -> int | None:
        """All of it; None where it is not known."""
        parts = (self.product, self.climatology, self.matchups)
        return None if None in parts else sum(one or 0 for one in parts)


def input_sizes(
    project: Project, period: Period, *, tiles: Sequence[str] = (), bbox: BBox | None = None
) -> list[InputSize]:
    """Add up the sizes of all inputs of a project for a place and a period.

    Parameters
    ----------
    project
        Its recipe says which collections and years, and its table ``[matchups]`` the days of training.
    period
        Days of the product.
    tiles
        Tile ids of the project's grid; none: ``bbox`` counts, or else those of the project file.
    bbox
        West, south, east, north in degrees.

    Returns
    -------
    list of InputSize
        One a collection that the recipe reads from the project's own catalogue, and those of stations and screening.
        Counted by whole tiles of 1,112 km; match-ups for stations of these tiles.

    Raises
    ------
    InputError
        If no place is given.
    """
    count = len(place_of(project, tiles, bbox).modis_tiles)
    known = {one.collection: (name, one) for name, one in downloads()}
    needed = dict.fromkeys(one.collection for one in own_features(project)) | dict.fromkeys(_OF_MATCHUPS)
    years, found = averaged_years(project, [*needed]), list[InputSize]()
    for id in [*needed, *([] if project.screening.third in needed else [project.screening.third])]:
        name, one = known.get(id, ("", None))
        if one is None or not one.megabytes:
            found.append(InputSize(name, id, None, None, None))
            continue
        places = 1 if one.whole_earth else count
        if one.times == 1:  # what does not change
            found.append(InputSize(name, id, round(one.megabytes * 1e6) * places, 0, 0))
            continue
        days = _days(project, id, period, years.get(id, ()))
        found.append(InputSize(name, id, *(round(some * one.megabytes * 1e6 / _MONTH) * places for some in days)))
    return found


def _days(project: Project, id: str, period: Period, years: Sequence[Period]) -> tuple[int, int, int]:
    """Return the number of days of the product, and of those that averaged years, then match-ups, take beyond."""
    read = [one for one in own_features(project) if one.collection == id]
    training = Period.parse(project.matchups.period)
    product = {day for one in read for day in (needed_period(one, period) or period).days}
    matchups = {day for one in read for day in (needed_period(one, training) or training).days} or {*training.days}
    averaged = {day for one in years for day in one.days}
    return len(product), len(averaged - product), len(matchups - averaged - product)
