"""What is asked of a service: the selection of a user, the requests that it takes, and what came of each.

`workflows.fetch` makes the selection from the project and hands it to a source of `fetch.registry`, which returns a
`Listing`. Each request is then carried out by itself, so that one that fails stops no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Protocol

from stac_sm.core.errors import InputError, StacSmError
from stac_sm.core.period import Period
from stac_sm.core.places import BBox
from stac_sm.stac.catalogs.search import ItemSearch

Say = Callable[[str], None]
"""Takes one line about a request that goes on: the state of a queue."""


class AccountError(InputError):
    """A service has no account to ask with, or refuses it: every other request to it would end in the same way."""


class EmptyAnswerError(StacSmError):
    """The service has nothing for a request: sea, or days that are not published yet. No file is made, no harm done."""


class StillQueuedError(StacSmError):
    """The service has not finished a request within the time that was allowed; the next fetch goes on with it."""


@dataclass(frozen=True)
class Selection:
    """What a user asks of a source."""

    boxes: tuple[BBox, ...]
    """West, south, east, north in degrees; west is greater than east across the antimeridian."""

    modis_tiles: tuple[str, ...]
    """Tiles of the MODIS sinusoidal grid."""

    period: Period
    """Days of the product or of the match-ups."""

    periods: Mapping[str, Period]
    """Days by collection, with those before and after that the recipe looks at. Collections without are static."""

    assets: Mapping[str, tuple[str, ...]]
    """Assets that the project needs, by collection: of its own catalogue only."""

    station_depth_m: float
    """Deepest end of a sensor that counts, m."""

    catalog: ItemSearch
    """What is there already."""

    folder: Path
    """Where the files of the source go."""

    today: date
    """Current day, UTC."""

    years: Mapping[str, tuple[Period, ...]] = field(default_factory=dict)
    """Years that climatologies of the recipe average, by collection; none where they are left out."""

    year_assets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Assets of which they are averages, by collection."""

    def spans(self, collection: str) -> tuple[Period, ...]:
        """Return the days that a collection is asked for, in disjoint periods.

        Parameters
        ----------
        collection
            Id.

        Returns
        -------
        tuple of Period
            In order; those of climatologies among them.
        """
        joined = list[Period]()
        for one in sorted((self.periods.get(collection, self.period), *self.years.get(collection, ())), key=_start):
            if joined and one.start <= joined[-1].end:
                joined[-1] = Period(joined[-1].start, max(joined[-1].end, one.end))
            else:
                joined.append(one)
        return tuple(joined)


def _start(period: Period) -> date:
    return period.start


@dataclass(frozen=True)
class Request:
    """One file that a service gives."""

    source: str
    """Name of the source, as users type it."""

    what: str
    """What it holds, in a few words."""

    file: Path
    """Where it goes."""

    carry_out: Callable[[Path, Say], None] = field(repr=False, compare=False)
    """Writes the file, whole or not at all."""

    size: int | None = None
    """Bytes, as the service states them; None if it does not."""

    estimate: int | None = None
    """Bytes before compression, where the service states none."""

    settled: date | None = None
    """Day from which on the service has all of it: a file of an earlier day is fetched again. None: always."""

    def is_there(self, today: date) -> bool:
        """Return whether the file is there as a whole.

        Parameters
        ----------
        today
            Current day, UTC: what was fetched today is not fetched again.

        Returns
        -------
        bool
            False also if its size is not the one that the service states, or it was fetched before it was settled.
        """
        if not self.file.is_file():
            return False
        state = self.file.stat()
        fetched = datetime.fromtimestamp(state.st_mtime, UTC).date()
        late = self.settled is None or fetched >= min(self.settled, today)
        return late and self.size in (None, state.st_size)


@dataclass(frozen=True)
class Listing:
    """What a selection takes."""

    requests: Sequence[Request]
    """In the order in which they are carried out."""

    held: int = 0
    """Parts (tiles, days) that are left out since the catalogue has them."""

    notes: tuple[str, ...] = ()
    """What a user should know before: what is missing at the service, what else gives the same."""

    outdated: Period | None = None
    """Other days of which the catalogue has preliminary values although the service has final ones by now."""

    why_again: tuple[str, ...] = ()
    """Why parts are asked for of which the catalogue has something: another area, or without some of the assets."""


class Source(Protocol):
    """A service that gives the files of one or several collections."""

    @property
    def collections(self) -> tuple[str, ...]:
        """Ids of the collections that its files go into."""

    def listing(self, selection: Selection) -> Listing:
        """Return the requests that a selection takes; may ask the service which files there are, and their sizes.

        Parameters
        ----------
        selection
            What is asked for.

        Returns
        -------
        Listing
            One request a file, and what is left out.

        Raises
        ------
        InputError
            If the project needs nothing of the source, or the service refuses the account.
        """


@dataclass(frozen=True)
class ByHand:
    """A source that no program can fetch from: no interface, or a form that a person fills in."""

    name: str
    """As users type it."""

    collections: tuple[str, ...]
    """Ids of the collections that its files go into."""

    page: str
    """The page to open."""

    steps: Callable[[Selection], Sequence[str]] = field(repr=False)
    """What to select there for a selection."""

    why: str
    """Why it cannot be fetched."""
