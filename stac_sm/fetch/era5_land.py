"""ERA5-Land from the Climate Data Store: a request a month, only the variables and days that the project lacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import pystac

from stac_sm.core.errors import InputError
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.core.places import BBox
from stac_sm.core.preliminary import is_preliminary
from stac_sm.fetch.cds import LONGEST_QUEUE_S, CdsRequest
from stac_sm.fetch.request import Listing, Request, Selection
from stac_sm.stac.catalogs.search import item_period

DATASET = "reanalysis-era5-land"
VARIABLES = {
    "swvl1": "volumetric_soil_water_layer_1",
    "stl1": "soil_temperature_level_1",
    "sd": "snow_depth_water_equivalent",
}
"""Name at the Climate Data Store, by asset."""

_COLLECTION = "era5-land"
_LATENCY = timedelta(days=6)
"""After which the service has a day; preliminary at first."""

_SETTLED = timedelta(days=8)  # after which all hours of a day are there
_FINAL_MONTHS = 2  # after the end of a month its final data begin to take the place of preliminary ones (ERA5-Land-T)
_AGAIN = timedelta(days=14)  # between two requests for final data of a day: they may come a month later
_LOOKED_BACK = 366  # days before the current one in which preliminary items are looked for
_MARGIN = 0.2  # degrees around a box: bilinear interpolation looks at the next cell
_STEP = 10  # cells a degree
_STORES = (
    "without a queue, read in place by `stac-sm ingest era5-land URL` with period and bbox under [sources.era5-land] "
    "(stac_sm[zarr]): Zarr stores such as https://data.earthdatahub.destine.eu/era5/era5-land-v0.zarr, which needs a "
    "free account of the Earth Data Hub (its token as password of data.earthdatahub.destine.eu in ~/.netrc)"
)


@dataclass(frozen=True)
class Era5LandSource:
    """Hourly data of the days that the catalogue lacks, as zips of NetCDF."""

    longest_queue_s: float = LONGEST_QUEUE_S
    """Seconds that one request may take."""

    collections: tuple[str, ...] = (_COLLECTION,)
    """Where its files go."""

    def listing(self, selection: Selection) -> Listing:
        """Return one request for each month and part of the area in which the catalogue lacks days."""
        assets = [name for name in VARIABLES if name in selection.assets.get(_COLLECTION, ())]
        if not assets:
            raise InputError("era5-land: the recipe takes nothing of the collection era5-land: nothing to fetch")
        end = selection.today - _LATENCY + ONE_DAY
        parts = [(selection.periods[_COLLECTION], assets)]
        parts += [(one, list(selection.year_assets[_COLLECTION])) for one in selection.years.get(_COLLECTION, ())]
        notes, why_again = [_STORES], list[str]()
        if end < selection.periods[_COLLECTION].end:
            notes.append(f"days after {end - ONE_DAY} are not published yet: fetch them later")
        requests, held, again, asked = list[Request](), 0, set[date](), set[date]()
        for period, keys in parts:
            new = {day for day in period.days if day < end} - asked
            for box in areas(selection.boxes):
                found = lacking_days(selection, _COLLECTION, sorted(new), keys, box, _outdated(selection.today))
                held += found.held
                again |= found.outdated
                why_again += _why_again(found, box)
                requests += [
                    self._request(selection, days, keys, box, {*days} & found.outdated)
                    for days in by_month(found.lacking)
                ]
            asked |= new
        if again:
            notes.append(
                f"{len(again)} days of the catalogue are preliminary (ERA5-Land-T), and may be final by now: they are "
                "asked for again"
            )
        return Listing(requests, held, tuple(notes), self._elsewhere(selection, asked), tuple(why_again))

    def _elsewhere(self, selection: Selection, asked: set[date]) -> Period | None:
        """Return the days in the catalogue that were not asked for, are preliminary, and may be final by now."""
        recent = Period(selection.today - _LOOKED_BACK * ONE_DAY, selection.today)
        is_outdated, days = _outdated(selection.today), set[date]()
        for box in areas(selection.boxes):
            for item in selection.catalog.items(_COLLECTION, period=recent, bbox=box):
                days |= {day for day in item_period(item).days if day in recent} if is_outdated(item) else set()
        days -= asked
        return Period(min(days), max(days) + ONE_DAY) if days else None

    def _request(
        self, selection: Selection, days: list[date], assets: list[str], box: BBox, again: set[date]
    ) -> Request:
        west, south, east, north = _outward(box)
        inputs = {
            "variable": [VARIABLES[name] for name in assets],
            "year": f"{days[0]:%Y}",
            "month": f"{days[0]:%m}",
            "day": [f"{day:%d}" for day in days],
            "time": [f"{hour:02d}:00" for hour in range(24)],
            "area": [north, west, south, east],
            "data_format": "netcdf",
            "download_format": "zip",
        }
        place = "_".join(f"{side:g}" for side in (west, south, east, north))
        name = f"era5-land_{'-'.join(assets)}_{days_name(days)}_{place}.zip"
        cells = round((east - west) * _STEP + 1) * round((north - south) * _STEP + 1)
        return Request(
            "era5-land",
            f"{', '.join(assets)} of {len(days)} days, {days_words(days)}" + (", final" if again else ""),
            selection.folder / name,
            CdsRequest(DATASET, inputs, self.longest_queue_s).carry_out,
            estimate=cells * 24 * len(days) * len(assets) * 4,
            settled=selection.today - _AGAIN if again else days[-1] + _SETTLED,
        )


def areas(boxes: Iterable[BBox]) -> list[BBox]:
    """Return one box around others, or two where they lie on both sides of the antimeridian.

    Parameters
    ----------
    boxes
        West, south, east, north in degrees; west is greater than east across the antimeridian.

    Returns
    -------
    list of tuple
        Boxes with west below east.
    """
    parts = list[BBox]()
    for west, south, east, north in boxes:
        parts += [(west, south, east, north)] if west <= east else [
            (west, south, 180.0, north), (-180.0, south, east, north),
        ]  # fmt: skip
    crossing = any(west > east for west, _, east, _ in boxes)
    groups = [[one for one in parts if one[0] < 0], [one for one in parts if one[0] >= 0]] if crossing else [parts]
    return [
        (min(b[0] for b in group), min(b[1] for b in group), max(b[2] for b in group), max(b[3] for b in group))
        for group in groups
        if group
    ]


@dataclass(frozen=True)
class LackingDays:
    """Which days of a selection the catalogue lacks."""

    lacking: list[date]
    """In order; those of ``outdated`` among them."""

    held: int
    """Number of the others."""

    outdated: set[date] = field(default_factory=set)
    """Days that it has, but of which the service has better values."""

    in_part: Mapping[date, BBox] = field(default_factory=dict)
    """Of these, days of which it has a part of the box only, and that part: west, south, east, north in degrees."""

    without: Mapping[date, frozenset[str]] = field(default_factory=dict)
    """Of these, days of which it has the box without some of the assets, and which these are."""


def lacking_days(
    selection: Selection,
    collection: str,
    days: Sequence[date],
    assets: Iterable[str],
    box: BBox,
    is_outdated: Callable[[pystac.Item], bool] = lambda item: False,
) -> LackingDays:
    """Return the days without an item that has all assets in a box, and the number of the others.

    Parameters
    ----------
    selection
        Its catalogue is asked.
    collection
        Id.
    days
        Days that are required, in order.
    assets
        Keys.
    box
        West, south, east, north in degrees.
    is_outdated
        Whether the service has better values than an item.

    Returns
    -------
    LackingDays
        Days to ask for.
    """
    if not days:
        return LackingDays([], 0)
    held, outdated, required = set[date](), set[date](), {*days}
    in_part, without = dict[date, BBox](), dict[date, frozenset[str]]()
    for item in selection.catalog.items(collection, period=Period(days[0], days[-1] + ONE_DAY), bbox=box):
        west, south, east, north = item.bbox or (0, 0, 0, 0)
        whole = west <= max(box[0], -179.9) and south <= box[1] and east >= min(box[2], 179.8) and north >= box[3]
        its_days, absent = required.intersection(item_period(item).days), frozenset({*assets} - {*item.assets})
        if not whole:
            in_part.update(dict.fromkeys(its_days, (west, south, east, north)))
        elif absent:
            without.update(dict.fromkeys(its_days, absent))
        else:
            (outdated if is_outdated(item) else held).update(its_days)
    there = held | outdated
    return LackingDays(
        [day for day in days if day not in held],
        len(held),
        outdated - held,
        {day: part for day, part in in_part.items() if day not in there | {*without}},
        {day: absent for day, absent in without.items() if day not in there},
    )


def _why_again(found: LackingDays, box: BBox) -> list[str]:
    """Return why days are asked for although the catalogue has something of them."""
    notes = list[str]()
    if found.in_part:
        part = found.in_part[min(found.in_part)]
        notes.append(
            f"the catalogue has a part of the area only on {len(found.in_part)} of the days ({_sides(part)} on "
            f"{min(found.in_part)}, {_sides(box)} is required): the whole area is asked for"
        )
    if found.without:
        names = ", ".join(sorted(frozenset().union(*found.without.values())))
        days = f"{len(found.without)} of the days"
        notes.append(f"the catalogue lacks {names} on {days}: all variables are asked for")
    return notes


def _sides(box: BBox) -> str:
    return ",".join(f"{side:g}" for side in box)


def _outdated(today: date) -> Callable[[pystac.Item], bool]:
    """Return a function that says whether an item has preliminary hours of a month that is final by now.

    The Climate Data Store replaces ERA5-Land-T by final data two to three months after the month.
    """

    def is_outdated(item: pystac.Item) -> bool:
        day = item_period(item).start
        if (today.year - day.year) * 12 + today.month - day.month <= _FINAL_MONTHS:
            return False
        return is_preliminary(item.properties)

    return is_outdated


def by_month(days: Iterable[date]) -> list[list[date]]:
    """Return days in groups of one month each, in order."""
    months: dict[tuple[int, int], list[date]] = {}
    for day in days:
        months.setdefault((day.year, day.month), []).append(day)
    return list(months.values())


def days_name(days: list[date]) -> str:
    """Return days of one month for the name of a file: first and last, and each where some between are left out."""
    if len(days) == (days[-1] - days[0]).days + 1:
        return f"{days[0]:%Y%m%d}-{days[-1]:%Y%m%d}"
    return f"{days[0]:%Y%m}" + "".join(f"-{day:%d}" for day in days)


def days_words(days: list[date]) -> str:
    """Return days of one month for people."""
    return str(Period(days[0], days[-1] + ONE_DAY))


def _outward(box: BBox) -> BBox:
    """Return a box on whole tenths of a degree, with a margin, on the globe."""
    west, south, east, north = box
    return (
        max(-180.0, math.floor(round((west - _MARGIN) * _STEP, 6)) / _STEP),
        max(-90.0, math.floor(round((south - _MARGIN) * _STEP, 6)) / _STEP),
        min(180.0, math.ceil(round((east + _MARGIN) * _STEP, 6)) / _STEP),
        min(90.0, math.ceil(round((north + _MARGIN) * _STEP, 6)) / _STEP),
    )
