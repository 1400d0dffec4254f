"""ERA5-Land: hourly NetCDF of the Climate Data Store, in its old and new layout, to daily UTC means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.cog import CogProfile
from stac_sm.errors import GranuleError
from stac_sm.items import raster_item
from stac_sm.period import Period, utc
from stac_sm.sources import Granule, RasterLayer, Scan
from stac_sm.sources.regular import RegularGrid, open_netcdf
from stac_sm.variables import VARIABLES

if TYPE_CHECKING:
    import xarray as xr

WANTED = ("swvl1", "stl1")
_TIMES = ("valid_time", "time")
_NON_NEGATIVE = ("swvl1",)  # packing leaves values such as -1e-6, also outside packed files


@dataclass(frozen=True)
class Era5Land:
    """Files of ERA5-Land with one or more hours of each day."""

    min_hours: int = 24
    """Least number of hours in a daily mean; days with fewer are left out and counted."""

    collection: str = "era5-land"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("*.nc",)
    """Names of its files."""

    def scan(self, file: Path) -> Scan:
        """One item a day that has enough hours."""
        data = open_netcdf(file)
        time = next((name for name in _TIMES if name in data.coords), None)
        if time is not None and time not in data.dims:  # a file of a single hour
            data = data.expand_dims(time)
        found = [name for name in WANTED if name in data]
        if time is None or "swvl1" not in found:
            wanted = "the variable swvl1 on a time axis (valid_time or time)"
            raise GranuleError(f"{file}: found {sorted(map(str, data.variables))}, wanted {wanted}: is it ERA5-Land?")
        days = _hours_by_day(data[time].values)
        enough = {day: hours for day, hours in days.items() if len(hours) >= self.min_hours}
        if not enough:
            most = max((len(hours) for hours in days.values()), default=0)
            raise GranuleError(
                f"{file}: at most {most} hours a day found, {self.min_hours} wanted: "
                f"if that is all there is, set min_hours = {most} under [sources.era5-land]"
            )
        left = len(days) - len(enough)
        notes = (f"{left} days left out: fewer than {self.min_hours} hours",) if left else ()
        return Scan(self._granules(file, data, time, found, enough), notes)

    def _granules(
        self, file: Path, data: xr.Dataset, time: str, found: list[str], days: dict[date, np.ndarray]
    ) -> Iterator[Granule]:
        grid = RegularGrid.of(data, file)
        for day, hours in days.items():
            start, end = utc(day), utc(Period.of_day(day).end)
            item = raster_item(
                id=f"ERA5L.A{day:%Y%j}.{grid.name}",
                collection=self.collection,
                geobox=grid.geobox,
                start=start,
                end=end,
                properties={"stac_sm:hours": len(hours)},
            )
            layers: dict[str, Any] = {
                name: RasterLayer(
                    VARIABLES[name], partial(_daily_mean, data[name], time, hours, grid), grid.geobox, CogProfile()
                )
                for name in found
            }
            yield Granule(item, layers)


def _hours_by_day(times: np.ndarray) -> dict[date, np.ndarray]:
    """Positions on the time axis by UTC day; an hour that occurs twice counts once, the last one."""
    _, last = np.unique(times[::-1], return_index=True)
    positions = len(times) - 1 - last
    days = times[positions].astype("datetime64[D]")
    return {day.item(): np.sort(positions[days == day]) for day in np.unique(days)}


def _daily_mean(values: xr.DataArray, time: str, hours: np.ndarray, grid: RegularGrid) -> np.ndarray:
    """Mean over hours (y, x), float32, NaN where an hour is missing (sea, or a gap of the provider)."""
    hourly = values.isel({time: hours})
    if "expver" in hourly.dims:  # the old layout keeps final (1) and preliminary (5) data side by side
        final, *preliminary = (hourly.isel(expver=i, drop=True) for i in range(hourly.sizes["expver"]))
        for other in preliminary:
            final = final.fillna(other)
        hourly = final
    mean = hourly.mean(time, skipna=False, dtype=np.float64).squeeze(drop=True)
    stored = grid.north_up(mean).astype(np.float32)
    return np.maximum(stored, np.float32(0)) if values.name in _NON_NEGATIVE else stored
