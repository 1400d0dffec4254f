"""ERA5-Land from the Climate Data Store: a request a month, only the variables and days that the project lacks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from stac_sm.core.errors import InputError
from stac_sm.core.grid import BBox
from stac_sm.core.period import ONE_DAY, Period
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
        asked = selection.periods[_COLLECTION]
        end = min(asked.end, selection.today - _LATENCY + ONE_DAY)
        notes = [_STORES]
        if end < asked.end:
            notes.append(f"days after {end - ONE_DAY} are not published yet: fetch them later")
        if end <= asked.start:
            return Listing((), notes=tuple(notes))
        requests, held = list[Request](), 0
        for box in areas(selection.boxes):
            days, there = lacking_days(selection, _COLLECTION, Period(asked.start, end), assets, box)
            held += there
            requests += [self._request(selection, month, assets, box) for month in by_month(days)]
        return Listing(requests, held, tuple(notes))

    def _request(self, selection: Selection, days: list[date], assets: list[str], box: BBox) -> Request:
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
            f"{', '.join(assets)} of {len(days)} days, {days_words(days)}",
            selection.folder / name,
            CdsRequest(DATASET, inputs, self.longest_queue_s).carry_out,
            estimate=cells * 24 * len(days) * len(assets) * 4,
            settled=days[-1] + _SETTLED,
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


def lacking_days(
    selection: Selection, collection: str, period: Period, assets: Iterable[str], box: BBox
) -> tuple[list[date], int]:
    """Return the days without an item that has all assets in a box, and the number of the others.

    Parameters
    ----------
    selection
        Its catalogue is asked.
    collection
        Id.
    period
        Days that are required.
    assets
        Keys.
    box
        West, south, east, north in degrees.

    Returns
    -------
    tuple
        Days in order, and how many of the period the catalogue has.
    """
    held = set[date]()
    for item in selection.catalog.items(collection, period=period, bbox=box):
        west, south, east, north = item.bbox or (0, 0, 0, 0)
        whole = west <= max(box[0], -179.9) and south <= box[1] and east >= min(box[2], 179.8) and north >= box[3]
        if whole and set(assets) <= set(item.assets):
            held |= {day for day in item_period(item).days if day in period}
    return [day for day in period.days if day not in held], len(held)


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
