"""ESA CCI soil moisture: the daily combined product on its 0.25 degree grid, global or cut out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

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

WANTED = ("sm", "flag", "time")


@dataclass(frozen=True)
class EsaCci:
    """Images ``ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-YYYYMMDD000000-fvVV.V.nc``."""

    collection: str = "esa-cci-sm"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-*.nc",)
    """Names of its files."""

    def scan(self, file: Path) -> Scan:
        """One item a day; a file of the provider has one."""
        data = open_netcdf(file)
        if any(name not in data.variables for name in WANTED) or "time" not in data["sm"].dims:
            found = ", ".join(sorted(map(str, data.variables)))
            raise GranuleError(f"{file}: found the variables {found}, wanted sm and flag on time, lat, lon: is it CCI?")
        days = [date.fromisoformat(str(day)) for day in data["time"].values.astype("datetime64[D]")]
        _check_day(file, days)
        return Scan(self._granules(file, data, days))

    def _granules(self, file: Path, data: xr.Dataset, days: list[date]) -> Iterator[Granule]:
        grid = RegularGrid.of(data, file)
        for index, day in enumerate(days):
            item = raster_item(
                id=f"CCISM.A{day:%Y%j}.{grid.name}",
                collection=self.collection,
                geobox=grid.geobox,
                start=utc(day),
                end=utc(Period.of_day(day).end),
            )
            values = partial(_unflagged, data, index, grid)
            yield Granule(item, {"cci_sm": RasterLayer(VARIABLES["cci_sm"], values, grid.geobox, CogProfile())})


def _unflagged(data: xr.Dataset, index: int, grid: RegularGrid) -> np.ndarray:
    """Soil moisture of a day (y, x), m3 m-3, float32; NaN where not seen or where any flag is raised."""
    day = data[["sm", "flag"]].isel(time=index)
    return grid.north_up(day["sm"].where(day["flag"] == 0)).astype(np.float32)


def _check_day(file: Path, days: list[date]) -> None:
    """Compare the days of a file with the one in its name."""
    match = re.search(r"-(\d{8})\d{6}-", file.name)
    named = datetime.strptime(match[1], "%Y%m%d").date() if match else None
    if not days or (named is not None and days != [named]):
        found = ", ".join(map(str, days)) or "none"
        raise GranuleError(f"{file}: found the days {found} inside, wanted {named or 'at least one'}: fetch it again")
