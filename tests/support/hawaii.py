"""Hawaii 2017-2018 as the providers would hand it out: NetCDF files of ERA5-Land and ESA CCI from time series.

The folder ``hawaii_tc`` holds both products as time series of points. The points are cells of regular grids, so they
can be laid out as the Climate Data Store and the CCI do. Written to a folder outside the repository only: by tests, or

    python tests/support/hawaii.py ../shared/data/hawaii_tc FOLDER
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import netCDF4
import numpy as np

PROJECT_FILE = Path(__file__).with_suffix(".toml")
"""Grid, recipe and sources of the project."""

YEARS = (2017, 2018)
_ERA5_LAND = "products/ERA5_LAND/ERA5_LAND_V20190904"
_ESA_CCI = "products/ESA_CCI_SM_combined/ESA_CCI_SM_C_V08_1"
_CELLS = ("0165", "0166")
_EPOCH = np.datetime64("1858-11-17")  # of the days in the time series
_LONG_NAMES = {
    "swvl1": ("m**3 m**-3", "Volumetric soil water layer 1"),
    "stl1": ("K", "Soil temperature level 1"),
}


@dataclass(frozen=True)
class Points:
    """Daily series at points of a regular grid."""

    days: np.ndarray
    """datetime64[D]."""

    lon: np.ndarray
    """Degrees east of each point, decimal as in grid.nc."""

    lat: np.ndarray
    """Degrees north of each point."""

    values: dict[str, np.ndarray]
    """Variable -> (point, day)."""


@cache
def era5_land(data: Path) -> Points:
    """ERA5-Land at 06 UTC: ``swvl1`` in m3 m-3 and ``stl1`` in K, float32."""
    return _points(data / _ERA5_LAND, ("swvl1", "stl1"), decimals=1)


@cache
def esa_cci(data: Path) -> Points:
    """ESA CCI combined: ``sm`` in m3 m-3, float32, NaN where there is none, and ``flag``."""
    return _points(data / _ESA_CCI, ("sm", "flag"), decimals=3)


def write_era5_land(data: Path, folder: Path) -> list[Path]:
    """A file a month, as the Climate Data Store gives them since 2024: north first, sea without value."""
    folder.mkdir(parents=True, exist_ok=True)
    points = era5_land(data)
    lat, lon = _axis(points.lat, 0.1, 1)[::-1], _axis(points.lon, 0.1, 1)
    files = []
    for month in np.unique(points.days.astype("datetime64[M]")):
        chosen = points.days.astype("datetime64[M]") == month
        stamps = points.days[chosen].astype("datetime64[s]") + np.timedelta64(6, "h")
        files.append(folder / f"era5_land_hawaii_{month}.nc")
        with netCDF4.Dataset(files[-1], "w") as file:
            file.Conventions, file.institution = "CF-1.7", "European Centre for Medium-Range Weather Forecasts"
            file.createVariable("number", "i8", ())[:] = 0
            _coordinate(file, "valid_time", "i8", stamps.astype(np.int64), "seconds since 1970-01-01")
            _coordinate(file, "latitude", "f8", lat, "degrees_north").stored_direction = "decreasing"
            _coordinate(file, "longitude", "f8", lon, "degrees_east")
            file.createVariable("expver", str, ("valid_time",))[:] = np.full(len(stamps), "0001", dtype=object)
            for name, (units, long_name) in _LONG_NAMES.items():
                grid = _laid_out(points, points.values[name][:, chosen], lat, lon, np.float32(np.nan))
                dims = ("valid_time", "latitude", "longitude")
                variable = file.createVariable(name, "f4", dims, fill_value=np.nan, zlib=True)
                variable.units, variable.long_name = units, long_name
                variable.coordinates = "number valid_time latitude longitude expver"
                variable[:] = grid
    return files


def write_esa_cci(data: Path, folder: Path) -> list[Path]:
    """A file a day, as in the CCI's product guide but cut out: 0.25 degrees, north first, -9999 where not seen."""
    folder.mkdir(parents=True, exist_ok=True)
    points = esa_cci(data)
    lat, lon = _axis(points.lat, 0.25, 3)[::-1], _axis(points.lon, 0.25, 3)
    sm = _laid_out(points, np.nan_to_num(points.values["sm"], nan=-9999), lat, lon, np.float32(-9999))
    flag = np.where(points.values["flag"] < 0, 127, points.values["flag"]).astype(np.int8)
    flag = _laid_out(points, flag, lat, lon, np.int8(127))
    files = []
    for index, day in enumerate(points.days):
        stamp = str(day).replace("-", "")
        files.append(folder / str(day)[:4] / f"ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-{stamp}000000-fv08.1.nc")
        files[-1].parent.mkdir(exist_ok=True)
        with netCDF4.Dataset(files[-1], "w") as file:
            file.Conventions, file.product_version = "CF-1.8", "08.1"
            _coordinate(file, "time", "f8", [day.astype(int)], "days since 1970-01-01 00:00:00 UTC")
            _coordinate(file, "lat", "f8", lat, "degrees_north")
            _coordinate(file, "lon", "f8", lon, "degrees_east")
            variable = file.createVariable("sm", "f4", ("time", "lat", "lon"), fill_value=-9999.0)
            variable.units = "m3 m-3"
            variable[0] = sm[index]
            flags = file.createVariable("flag", "i1", ("time", "lat", "lon"), fill_value=127)
            flags.set_auto_mask(False)
            flags[0] = flag[index]
    return files


def _points(folder: Path, names: tuple[str, ...], decimals: int) -> Points:
    """Points of all cells of a product within the years."""
    with netCDF4.Dataset(folder / "grid.nc") as grid:
        places = {int(gpi): i for i, gpi in enumerate(grid["gpi"][:])}
        lons, lats = np.asarray(grid["lon"][:]), np.asarray(grid["lat"][:])
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    index: list[int] = []
    days = np.empty(0)
    for cell in _CELLS:
        with netCDF4.Dataset(folder / f"{cell}.nc") as file:
            file.set_auto_mask(False)
            days = _EPOCH + np.floor(file["time"][:]).astype("timedelta64[D]")
            within = np.isin(days.astype("datetime64[Y]").astype(int) + 1970, YEARS)
            days = days[within]
            index += [places[int(gpi)] for gpi in file["location_id"][:]]
            for name in names:
                parts[name].append(file[name][:][:, within])
    values = {name: np.concatenate(found) for name, found in parts.items()}
    return Points(days, np.round(lons[index], decimals), np.round(lats[index], decimals), values)


def _axis(at: np.ndarray, step: float, decimals: int) -> np.ndarray:
    """Ascending coordinates of a regular grid with two cells around all points."""
    steps = np.arange(round(float(np.ptp(at)) / step) + 5)
    return np.round(at.min() + (steps - 2) * step, decimals)


def _laid_out(points: Points, values: np.ndarray, lat: np.ndarray, lon: np.ndarray, empty: np.generic) -> np.ndarray:
    """Values (point, day) on the grid (day, lat, lon)."""
    grid = np.full((values.shape[1], lat.size, lon.size), empty)
    rows = np.abs(lat[:, np.newaxis] - points.lat).argmin(axis=0)
    columns = np.abs(lon[:, np.newaxis] - points.lon).argmin(axis=0)
    grid[:, rows, columns] = values.T
    return grid


def _coordinate(file: netCDF4.Dataset, name: str, kind: str, values: np.ndarray, units: str) -> netCDF4.Variable:
    file.createDimension(name, len(values))
    variable = file.createVariable(name, kind, (name,))
    variable.units = units
    variable[:] = values
    return variable


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: python {sys.argv[0]} HAWAII_TC FOLDER")
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    made = [*write_era5_land(source, target / "era5-land"), *write_esa_cci(source, target / "esa-cci-sm")]
    print(f"{len(made)} files in {target}")
