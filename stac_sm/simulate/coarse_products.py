"""Write the coarse products of the simulated Earth: ERA5-Land and ESA CCI soil moisture.

Both average the truth over their cells, then change its scale and add errors of their own, which are independent
of one another, as triple collocation requires. Writers leave no time of creation behind: the same Earth gives the same
bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.projections import SPHERE_RADIUS
from stac_sm.simulate.earth import AnyFloatArray, Earth, named_rng, pixel_centres, summer, surface
from stac_sm.simulate.truth import (
    FREEZING,
    LAPSE,
    SM_MAX,
    SM_MIN,
    daily_at,
    daily_storms,
    season_temperature,
    static_fields,
)

SM_NODATA = -9999.0
_SNOWFALL = 0.002  # m of water a frozen day
_MELT = 0.003  # m of water a day and kelvin, a usual degree-day factor (Hock 2003, J. Hydrol. 282, 104-115)
_SM_STEP, _K_STEP, _SNOW_STEP = (
    2.0**-13,
    2.0**-5,
    2.0**-13,
)  # values on a power-of-two step compress well and stay exact in float32


@dataclass(frozen=True, eq=False)
class CoarseCells:
    """Land cells of a regular grid in degrees around the tile, and the truth that they average."""

    lat: AnyFloatArray
    """Centres, descending, (y,)."""

    lon: AnyFloatArray
    """Centres, ascending, (x,)."""

    land: npt.NDArray[np.bool_]
    """Cells of which land makes up half, (y, x)."""

    elevation: AnyFloatArray
    """Mean elevation, m, (cell,)."""

    vegetation: AnyFloatArray
    """Mean vegetation, 0 to 1, (cell,)."""

    truth: AnyFloatArray
    """Mean true soil moisture of each day of the period, m3 m-3, (day, cell)."""

    @property
    def points(self) -> tuple[AnyFloatArray, AnyFloatArray]:
        """Degrees north and east of the land cells, (cell,) each."""
        y, x = np.nonzero(self.land)
        return self.lat[y], self.lon[x]

    def grid(self, values: npt.NDArray[Any], fill: float) -> npt.NDArray[Any]:
        """Return values of the land cells (..., cell) on the whole grid (..., y, x), ``fill`` elsewhere."""
        full = np.full((*values.shape[:-1], *self.land.shape), fill, values.dtype)
        full[..., self.land] = values
        return full


@lru_cache(maxsize=4)
def coarse_cells(earth: Earth, spacing: float, shift: float) -> CoarseCells:
    """Return means over cells of a size in degrees, whose centres lie on multiples of it plus a shift."""
    lat, lon = _axes(earth, spacing, shift)
    static = static_fields(earth)
    y = np.rint((lat[0] - static.lat) / spacing).astype(np.intp)[:, np.newaxis]
    x = np.rint((static.lon - lon[0]) / spacing).astype(np.intp)
    cell, cells = (y * len(lon) + x)[static.land], len(lat) * len(lon)
    count = np.bincount(cell, minlength=cells)
    whole = (spacing * math.pi / 180 * SPHERE_RADIUS / MODIS_SINUSOIDAL_1KM.pixel[0]) ** 2 * np.cos(np.radians(lat))
    land = count.reshape(len(lat), len(lon)) >= whole[:, np.newaxis] / 2

    def mean(values: AnyFloatArray) -> AnyFloatArray:
        sums = np.bincount(cell, values[static.land], minlength=cells)
        return np.asarray(sums[land.ravel()] / count[land.ravel()])

    rows, columns = np.nonzero(land)
    wetness = daily_at(earth, "wetness", lat[rows], lon[columns])
    storms = daily_storms(earth) @ np.stack([mean(storm) for storm in static.storms])
    truth = np.clip(mean(static.base) + mean(static.amplitude) * wetness + storms, SM_MIN, SM_MAX)
    return CoarseCells(lat, lon, land, mean(static.elevation), mean(static.vegetation), truth)


def _axes(earth: Earth, spacing: float, shift: float) -> tuple[AnyFloatArray, AnyFloatArray]:
    """Return cell centres that cover the tile with a margin of 0.3 degrees or more, from north and from west."""
    lat, lon = pixel_centres(earth.tile)
    steps = [
        np.arange(math.floor((low - 0.3 - shift) / spacing), math.ceil((high + 0.3 - shift) / spacing) + 1)
        for low, high in ((lat.min(), lat.max()), (lon.min(), lon.max()))
    ]
    return (steps[0][::-1] * spacing + shift).round(6), (steps[1] * spacing + shift).round(6)


def write_era5_land(earth: Earth, path: Path, month: Period, *, hours_apart: int = 6) -> None:
    """Write a month of ERA5-Land (0.1 degrees, every so many hours) as the CDS delivers NetCDF since 2024."""
    cells = coarse_cells(earth, 0.1, 0.0)
    first, hours = (month.start - earth.period.start).days, np.arange(0, 24 * len(month), hours_apart)
    values = {
        "swvl1": (swvl1_daily(earth, cells), _SM_STEP, "Volumetric soil water layer 1", "m**3 m**-3"),
        "stl1": (_stl1(earth, cells), _K_STEP, "Soil temperature level 1", "K"),
        "sd": (_snow(earth, cells), _SNOW_STEP, "Snow depth water equivalent", "m"),
    }
    with _new_netcdf(path) as file:
        _era5_axes(file, cells, [int(utc_instant(month.start).timestamp()) + 3600 * int(h) for h in hours])
        for name, (daily, step, long_name, units) in values.items():
            at = (first + hours / 24 - 0.5).clip(0, len(daily) - 1)  # a daily value belongs to noon
            series = _between_days(daily, at)
            if name == "stl1":
                series = series + 2 * np.sin((hours % 24 - 9) * math.pi / 12)[:, np.newaxis]
            variable = file.createVariable(
                name, "f4", ("valid_time", "latitude", "longitude"), fill_value=np.nan, zlib=True, complevel=1,
                chunksizes=(min(124, len(hours)), len(cells.lat), len(cells.lon)),
            )  # fmt: skip
            variable.setncatts({"long_name": long_name, "units": units, "standard_name": "unknown"})
            variable.setncatts({"GRIB_shortName": name, "GRIB_gridType": "regular_ll", "GRIB_stepType": "instant"})
            variable.setncattr("coordinates", "number valid_time latitude longitude expver")
            variable[:] = cells.grid(((series / step).round() * step).astype(np.float32), np.nan)


def _between_days(daily: AnyFloatArray, at: AnyFloatArray) -> AnyFloatArray:
    """Interpolate linearly along the first axis."""
    low = np.floor(at).astype(np.intp)
    high = np.minimum(low + 1, len(daily) - 1)
    weight = (at - low)[:, np.newaxis]
    return (1 - weight) * daily[low] + weight * daily[high]


@lru_cache(maxsize=1)
def swvl1_daily(earth: Earth, cells: CoarseCells) -> AnyFloatArray:
    """Return daily swvl1 of ERA5-Land, m3 m-3 (day, cell): wet, damped, with a lasting and a permanent error."""
    lat, lon = cells.points
    drift = surface(earth, "era5", 0.4, cells.lat, cells.lon)[cells.land] * earth.era5_drift
    error = earth.era5_noise * daily_at(earth, "era5_error", lat, lon) + drift
    mean = cells.truth.mean()
    value = mean + earth.era5_bias + earth.era5_scale * (cells.truth - mean) + error
    return np.asarray(np.clip(value, 0.01, 0.7))


@lru_cache(maxsize=1)
def _stl1(earth: Earth, cells: CoarseCells) -> AnyFloatArray:
    """Return daily stl1 of ERA5-Land, K (day, cell)."""
    season = np.array([season_temperature(day) for day in earth.period.days])[:, np.newaxis]
    return np.asarray(season - LAPSE * cells.elevation + 0.8 * daily_at(earth, "warmth", *cells.points))


@lru_cache(maxsize=1)
def _snow(earth: Earth, cells: CoarseCells) -> AnyFloatArray:
    """Return daily snow depth of ERA5-Land, m of water: it falls while the soil is frozen, and melts by degree days."""
    warmth = _stl1(earth, cells) - FREEZING
    change = np.where(warmth < 0, _SNOWFALL, -_MELT * warmth)
    snow = np.zeros_like(warmth)
    for day in range(1, len(snow)):
        snow[day] = np.maximum(snow[day - 1] + change[day], 0)
    return snow


def _era5_axes(file: Any, cells: CoarseCells, seconds: list[int]) -> None:
    """Write coordinates and global attributes of a CDS file."""
    file.setncatts({
        "GRIB_centre": "ecmf", "GRIB_subCentre": 0, "Conventions": "CF-1.7",
        "institution": "European Centre for Medium-Range Weather Forecasts", "history": "simulated by stac_sm",
    })  # fmt: skip
    axes = {
        "valid_time": (np.array(seconds), "seconds since 1970-01-01", "time"),
        "latitude": (cells.lat, "degrees_north", "latitude"),
        "longitude": (cells.lon, "degrees_east", "longitude"),
    }
    number = file.createVariable("number", "i8", ())
    number.setncatts({"long_name": "ensemble member numerical id", "units": "1", "standard_name": "realization"})
    number[...] = 0
    for name, (values, units, long_name) in axes.items():
        file.createDimension(name, len(values))
        variable = file.createVariable(name, values.dtype, (name,))
        variable.setncatts({"units": units, "long_name": long_name, "standard_name": long_name})
        variable[:] = values
    file["valid_time"].calendar = "proleptic_gregorian"
    file["latitude"].stored_direction = "decreasing"
    file.createVariable("expver", str, ("valid_time",))[:] = np.array(["0001"] * len(seconds), object)


def write_cci(earth: Earth, path: Path, day: date) -> None:
    """Write a day of ESA CCI soil moisture COMBINED v08.1 (0.25 degrees).

    The real product is global, 720 x 1440 cells; here it is cut to the surroundings of the tile, for 730 global
    files would take an hour.
    """
    cells = coarse_cells(earth, 0.25, 0.125)
    value, flag = cci_day(earth, cells, day)
    seen = np.isfinite(value)
    noon = (day - date(1970, 1, 1)).days + 0.5
    layers: dict[str, tuple[str, float, npt.NDArray[Any], dict[str, Any]]] = {
        "sm": ("f4", SM_NODATA, value, {"units": "m3 m-3", "long_name": "Volumetric Soil Moisture"}),
        "sm_uncertainty": (
            "f4", SM_NODATA, np.where(seen, earth.cci_noise, np.nan),
            {"units": "m3 m-3", "long_name": "Volumetric Soil Moisture Uncertainty"},
        ),
        "flag": ("i1", 127, flag, {"long_name": "Flag", **_FLAGS}),
        "freqbandID": ("i2", 0, np.where(seen, 2, 0), {"long_name": "Frequency Band Identification"}),
        "dnflag": ("i1", 0, np.where(seen, 1, 0), {"long_name": "Day / Night Flag"}),
        "mode": ("i1", 0, np.where(seen, 2, 0), {"long_name": "Satellite Mode"}),
        "sensor": ("i4", 0, np.where(seen, 64, 0), {"long_name": "Sensor"}),
        "t0": (
            "f8", SM_NODATA, np.where(seen, noon - 0.25, np.nan),
            {"units": "days since 1970-01-01 00:00:00 UTC", "long_name": "Observation Timestamp"},
        ),
    }  # fmt: skip
    with _new_netcdf(path) as file:
        _cci_axes(file, cells, noon - 0.5)
        for name, (kind, fill, values, attributes) in layers.items():
            variable = file.createVariable(name, kind, ("time", "lat", "lon"), fill_value=fill, zlib=True, complevel=1)
            variable.setncatts(attributes)
            variable[0] = cells.grid(np.nan_to_num(values, nan=fill).astype(kind), fill)


_FLAGS = {
    "flag_values": np.array([0, 1, 2, 127], np.int8),
    "flag_meanings": "no_data_inconsistency_detected snow_coverage_or_temperature_below_zero dense_vegetation nan",
}


def cci_day(earth: Earth, cells: CoarseCells, day: date) -> tuple[AnyFloatArray, npt.NDArray[np.int8]]:
    """Return soil moisture (m3 m-3, NaN where flagged or not seen) and flag of the land cells of a day, (cell,)."""
    rng = named_rng(earth, "cci", day.toordinal())
    lat, lon = cells.points
    now = (day - earth.period.start).days
    mean = cells.truth.mean()
    value = mean + earth.cci_scale * (cells.truth[now] - mean) + rng.normal(0, earth.cci_noise, len(lat))
    value = (value.clip(0, 1) / _SM_STEP).round() * _SM_STEP
    frozen = _stl1(earth, coarse_cells(earth, 0.25, 0.125))[now] < FREEZING
    dense = cells.vegetation * (0.6 + 0.4 * summer(day)) > 0.65
    flag = np.where(frozen, 1, np.where(dense, 2, 0)).astype(np.int8)
    swath = (lon + 0.35 * lat + rng.uniform(0, 10)) % 10 < 10 * earth.cci_gap  # stripes between orbits
    flag[swath] = 127
    return np.where(flag == 0, value, np.nan), flag


def _cci_axes(file: Any, cells: CoarseCells, days: float) -> None:
    """Write coordinates and global attributes of a CCI file."""
    file.setncatts({
        "title": "ESA CCI Surface Soil Moisture COMBINED active+passive Product (simulated by stac_sm)",
        "Conventions": "CF-1.9", "product_version": "08.1", "spatial_resolution": "0.25 degree",
    })  # fmt: skip
    axes = {
        "time": (np.array([days]), "days since 1970-01-01 00:00:00 UTC", "time"),
        "lat": (cells.lat, "degrees_north", "latitude"),
        "lon": (cells.lon, "degrees_east", "longitude"),
    }
    for name, (values, units, long_name) in axes.items():
        file.createDimension(name, len(values))
        variable = file.createVariable(name, "f8", (name,))
        variable.setncatts({"units": units, "standard_name": long_name})
        variable[:] = values


def _new_netcdf(path: Path) -> Any:
    import netCDF4

    return netCDF4.Dataset(path, "w", format="NETCDF4")
