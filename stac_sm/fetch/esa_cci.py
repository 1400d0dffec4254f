"""Soil moisture of C3S from the Climate Data Store: the series that ESA CCI continues as, a request a month."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from stac_sm.core.period import ONE_DAY
from stac_sm.fetch.cds import LONGEST_QUEUE_S, CdsRequest
from stac_sm.fetch.era5_land import by_month, days_name, days_words, lacking_days
from stac_sm.fetch.request import Listing, Request, Selection

DATASET = "satellite-soil-moisture"
_SENSORS = {"c3s-sm": "combined_passive_and_active", "c3s-sm-passive": "passive"}
"""Sensors at the Climate Data Store, by collection."""

_GLOBE = (-180.0, -90.0, 180.0, 90.0)
_BYTES_A_DAY = 1_500_000  # of a global file as it is delivered, about
_LATENCY = timedelta(days=12)  # of the intermediate record
_ESA = (
    'this is the series of C3S, which goes into collections of its own: set third = "c3s-sm" under [screening], or '
    "take ESA CCI itself from https://climate.esa.int/en/projects/soil-moisture/ and `stac-sm ingest esa-cci-sm FILES`"
)


@dataclass(frozen=True)
class C3sSoilMoistureSource:
    """Daily images of C3S, COMBINED or PASSIVE, whole Earth, as zips of NetCDF."""

    version: str = "v202312"
    """Version of the record."""

    last_year: int = 2023
    """Last year of the climate data record of this version; later days are of the intermediate one."""

    longest_queue_s: float = LONGEST_QUEUE_S
    """Seconds that one request may take."""

    collections: tuple[str, ...] = tuple(_SENSORS)
    """Where its files go."""

    def listing(self, selection: Selection) -> Listing:
        """Return one request for each month in which the catalogue lacks days; PASSIVE only where it is required."""
        sources = [id for id in _SENSORS if id in selection.assets] or ["c3s-sm"]
        requests, held, notes = list[Request](), 0, [_ESA] if "c3s-sm" not in selection.assets else []
        for id in sources:
            end = selection.today - _LATENCY + ONE_DAY
            if end < selection.periods.get(id, selection.period).end:
                notes.append(f"days after {end - ONE_DAY} are not published yet: fetch them later")
            asked = [day for one in selection.spans(id) for day in one.days if day < end]
            found = lacking_days(selection, id, asked, (), _GLOBE)
            held += found.held
            requests += [self._request(selection, id, month) for month in by_month(found.lacking)]
        return Listing(requests, held, tuple(dict.fromkeys(notes)))

    def _request(self, selection: Selection, id: str, days: list[date]) -> Request:
        sensor = _SENSORS[id]
        record = "cdr" if days[0].year <= self.last_year else "icdr"
        inputs = {
            "variable": ["volumetric_surface_soil_moisture"],
            "type_of_sensor": [sensor],
            "time_aggregation": ["day_average"],
            "year": [f"{days[0]:%Y}"],
            "month": [f"{days[0]:%m}"],
            "day": [f"{day:%d}" for day in days],
            "type_of_record": [record],
            "version": [self.version],
        }
        return Request(
            "esa-cci-sm",
            f"{id} {self.version} ({record}) of {len(days)} days, {days_words(days)}",
            selection.folder / f"{id}_{self.version}_{days_name(days)}.zip",
            CdsRequest(DATASET, inputs, self.longest_queue_s).carry_out,
            estimate=_BYTES_A_DAY * len(days),
            settled=days[-1] + _LATENCY + ONE_DAY,
        )
