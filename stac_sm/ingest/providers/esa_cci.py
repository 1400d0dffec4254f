"""ESA CCI soil moisture: the daily combined product on its 0.25 degree grid, global or cut out.

The pipeline of ingest scans each NetCDF file here. Triple collocation and the validation read its items.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stac_sm.core.errors import GranuleError
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.variables import VARIABLES
from stac_sm.ingest.formats.field_arrays import field_time_axis
from stac_sm.ingest.formats.latlon_grid import RegularGrid, coordinate
from stac_sm.ingest.formats.netcdf import describe_variables, open_netcdf, packing_problem, unpack_values
from stac_sm.ingest.provider_interface import Granule, RasterLayer, ScannedFile
from stac_sm.ingest.rank import Rank, time_digits
from stac_sm.raster.cog import CogProfile
from stac_sm.stac.items import raster_item

_UNCERTAINTY = "cci_sm_uncertainty"
_NAMES = {"cci_sm": "sm", _UNCERTAINTY: "sm_uncertainty"}
_UNITS = ("m3 m-3", "m3/m3", "m3.m-3", "m^3 m^-3", "m**3 m**-3", "1")


@dataclass(frozen=True)
class EsaCci:
    """Images ``ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-YYYYMMDD000000-fvVV.V.nc``.

    Of several versions of a day the newest stays: one item a day, or match-ups would count it twice.
    """

    collection: str = "esa-cci-sm"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-*.nc",)
    """Names of its files."""

    def scan(self, file: Path) -> ScannedFile:
        """Return one item a day; a file of the provider has one. A day without any value is left out and named."""
        with open_netcdf(file) as data:
            _check_names(file, data)
            grid, days, order = _axes(file, data)
            _check_day(file, days)
            rank = Rank(version=_version(file.name), produced=_created(data))
            values = {"cci_sm": _unflagged(data, "sm", order, grid)}
            _check_values(file, values["cci_sm"], "cci_sm")
            lost = {}
            if _NAMES[_UNCERTAINTY] in data.variables:
                try:
                    _check_like_sm(file, data, _NAMES[_UNCERTAINTY])
                    values[_UNCERTAINTY] = _unflagged(data, _NAMES[_UNCERTAINTY], order, grid)
                    _check_values(file, values[_UNCERTAINTY], _UNCERTAINTY)
                except GranuleError as error:  # of the error, not of the soil moisture
                    values.pop(_UNCERTAINTY, None)
                    lost[_UNCERTAINTY] = str(error).removeprefix(f"{file}: ")
        seen = [index for index in range(len(days)) if not np.isnan(values["cci_sm"][index]).all()]
        empty = [str(day) for index, day in enumerate(days) if index not in seen]
        notes = (f"left out {', '.join(empty)}: no pixel has a value without a flag",) if empty else ()
        images = [(days[index], {key: found[index] for key, found in values.items()}) for index in seen]
        granules = [replace(self._granule(rank, day, grid, image), lost=lost) for day, image in images]
        return ScannedFile(granules, notes)

    def claims(self, file: Path) -> list[str]:
        """Return the ids of the items of a file: its days on its grid."""
        with open_netcdf(file) as data:
            _check_names(file, data)
            grid, days, _ = _axes(file, data)
        return [_item_id(day, grid) for day in days]

    def rank_of(self, name: str) -> Rank:
        """Return the rank by the version in the name of a file."""
        return Rank(version=_version(name))

    def _granule(self, rank: Rank, day: date, grid: RegularGrid, values: dict[str, np.ndarray]) -> Granule:
        version = ".".join(str(number) for number in rank.version)
        item = raster_item(
            id=_item_id(day, grid),
            collection=self.collection,
            geobox=grid.geobox,
            start=utc_instant(day),
            end=utc_instant(Period.of_day(day).end),
            properties={"version": version} if version else {},
            extensions=["version"] if version else [],
        )
        layers = {
            key: RasterLayer(VARIABLES[key], partial(np.copy, image), grid.geobox, CogProfile())
            for key, image in values.items()
        }
        return Granule(item, dict(layers), rank)


def _item_id(day: date, grid: RegularGrid) -> str:
    return f"CCISM.A{day:%Y%j}.{grid.name}"


def _axes(file: Path, data: Any) -> tuple[RegularGrid, list[date], Sequence[str]]:
    """Return grid and days of a file, and the names of its dimensions in the order time, latitude, longitude."""
    latitude, longitude = (coordinate(data["sm"].dimensions, start, file) for start in ("lat", "lon"))
    grid = RegularGrid.of(unpack_values(data[latitude]), unpack_values(data[longitude]), file)
    time = field_time_axis(file, describe_variables(data, file), "sm")
    if time is None or time.dims != ("time",):
        raise GranuleError(
            f"{file}: found no instants along time, expected one a day (standard name `time`): is it CCI?"
        )
    days = [date.fromisoformat(str(day)) for day in time.times.astype("datetime64[D]")]
    return grid, days, ("time", latitude, longitude)


def _version(name: str) -> tuple[int, ...]:
    """Return the version in the name of a file, e.g. (8, 1) of ``-fv08.1.nc``."""
    match = re.search(r"-fv(\d+)\.(\d+)\.nc$", name)
    return (int(match[1]), int(match[2])) if match else ()


def _created(data: Any) -> str:
    """Return the digits of the time of production that a file states; empty where it states none, or something else."""
    return time_digits(str(getattr(data, "date_created", "")))


def _unflagged(data: Any, name: str, order: Sequence[str], grid: RegularGrid) -> np.ndarray:
    """Read values (time, y, x), m3 m-3, float32; NaN where not seen or where any flag is raised."""
    if problem := packing_problem(data["flag"]):
        raise GranuleError(f"{data.filepath()}: {problem}")
    flag = np.ma.filled(np.ma.asarray(data["flag"][...]).astype(np.int64), -1)
    clear = np.where(flag == 0, unpack_values(data[name]), np.nan)
    images = clear.transpose([data[name].dimensions.index(dimension) for dimension in order])
    return np.stack([grid.north_up(image) for image in images]).astype(np.float32)


def _check_names(file: Path, data: Any) -> None:
    required = ("sm", "flag", "time")
    if any(name not in data.variables for name in required) or "time" not in data["sm"].dimensions:
        found = ", ".join(sorted(data.variables))
        raise GranuleError(f"{file}: found the variables {found}, expected sm and flag on time, lat, lon: is it CCI?")
    alike = {data[name].dimensions for name in ("sm", "flag")}
    if len(alike) != 1 or data["sm"].ndim != 3:
        raise GranuleError(f"{file}: found the dimensions {alike}, expected time, lat, lon for sm and flag: is it CCI?")
    _check_like_sm(file, data, "sm")


def _check_like_sm(file: Path, data: Any, name: str) -> None:
    """Check that a variable is on the axes of soil moisture, in its unit."""
    if data[name].dimensions != data["sm"].dimensions:
        raise GranuleError(f"{file}: {name} has the dimensions {data[name].dimensions}, expected those of sm")
    unit = str(getattr(data[name], "units", ""))
    if unit and unit not in _UNITS:
        raise GranuleError(f"{file}: {name} in {unit!r} found, 'm3 m-3' expected: ACTIVE is in percent, take COMBINED")


def _check_values(file: Path, values: np.ndarray, key: str) -> None:
    low, high = VARIABLES[key].valid
    if not np.isnan(values).all() and not (np.nanmin(values) >= low and np.nanmax(values) <= high):
        found = f"{np.nanmin(values):g} to {np.nanmax(values):g}"
        raise GranuleError(
            f"{file}: {_NAMES[key]} from {found} found, {low:g} to {high:g} m3 m-3 expected: fetch it again"
        )


def _check_day(file: Path, days: list[date]) -> None:
    """Compare the days of a file with the one in its name."""
    match = re.search(r"-(\d{8})\d{6}-", file.name)
    named = datetime.strptime(match[1], "%Y%m%d").date() if match else None
    if not days or len(set(days)) < len(days) or (named is not None and days != [named]):
        found = ", ".join(map(str, days)) or "none"
        raise GranuleError(f"{file}: found the days {found} inside, expected {named or 'at least one'}: fetch it again")
