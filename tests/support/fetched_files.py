"""What the services give for a request: real files in their formats, small, with values that are known."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.services import zipped

_SHORT = {
    "volumetric_soil_water_layer_1": ("swvl1", "m3 m-3", 0.3),
    "soil_temperature_level_1": ("stl1", "K", 290.0),
    "snow_depth_water_equivalent": ("sd", "m of water equivalent", 0.0),
}


def era5_land_result(
    dataset: str, inputs: dict[str, Any], hours: int = 24, final: bool = True, shift: float = 0.0
) -> bytes:
    """The zip of a request for ERA5-Land: hourly fields of its area and days in one NetCDF, final or preliminary."""
    import netCDF4

    assert dataset == "reanalysis-era5-land"
    assert inputs["download_format"] == "zip"
    north, west, south, east = inputs["area"]
    lat = np.round(np.arange(round(north * 10), round(south * 10) - 1, -1) / 10, 1)
    lon = np.round(np.arange(round(west * 10), round(east * 10) + 1) / 10, 1)
    days = [np.datetime64(f"{inputs['year']}-{inputs['month']}-{day}") for day in inputs["day"]]
    stamps = [int((day - np.datetime64("1970-01-01")).astype(int)) * 24 + hour for day in days for hour in range(hours)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data_0.nc"
        with netCDF4.Dataset(path, "w") as file:
            file.Conventions = "CF-1.7"
            file.institution = "European Centre for Medium-Range Weather Forecasts"
            axes = (("valid_time", stamps, "hours since 1970-01-01"), ("latitude", lat, "degrees_north"))
            for name, values, units in (*axes, ("longitude", lon, "degrees_east")):
                file.createDimension(name, len(values))
                axis = file.createVariable(name, "f8", (name,))
                axis.units, axis.standard_name = units, "time" if name == "valid_time" else name
                axis[:] = values
            file.createVariable("expver", str, ("valid_time",))[:] = np.array(
                ["0001" if final else "0005"] * len(stamps), object
            )
            for long in inputs["variable"]:
                name, units, level = _SHORT[long]
                field = file.createVariable(name, "f4", ("valid_time", "latitude", "longitude"), zlib=True)
                field.units = units
                wave = 0.1 * np.sin(np.array(stamps) / 24)[:, None, None] * (0 if name == "sd" else 1)
                field[:] = level + shift + wave + np.zeros((len(stamps), len(lat), len(lon)))
        return zipped(path.read_bytes(), names=("data_stream-oper_stepType-instant.nc",))


def c3s_result(dataset: str, inputs: dict[str, Any]) -> bytes:
    """The zip of a request for soil moisture of C3S: a NetCDF a day, of a quarter degree, thinned to 40 cells."""
    from tests.support.source_files import write_cci

    assert dataset == "satellite-soil-moisture"
    kind = {"combined_passive_and_active": "COMBINED", "passive": "PASSIVE"}[inputs["type_of_sensor"][0]]
    record = inputs["type_of_record"][0].upper()
    names, contents = [], []
    with tempfile.TemporaryDirectory() as folder:
        for day in inputs["day"]:
            stamp = f"{inputs['year'][0]}{inputs['month'][0]}{day}"
            name = f"C3S-SOILMOISTURE-L3S-SSMV-{kind}-DAILY-{stamp}000000-{record}-{inputs['version'][0]}.0.0.nc"
            lat, lon = np.arange(47.875, 45, -0.25), np.arange(10.125, 13, 0.25)
            path, _, _ = write_cci(folder, stamp, lat=lat, lon=lon, name=name)
            names.append(name)
            contents.append(path.read_bytes())
    return zipped(*contents, names=tuple(names))


def soil_window(coverage: str, box: tuple[float, float, float, float]) -> bytes:
    """A GeoTIFF of a window of the Homolosine: sand 400, silt 350, clay 250 g/kg."""
    import rasterio
    from rasterio.transform import from_bounds

    from stac_sm.core.homolosine import HOMOLOSINE

    west, south, east, north = box
    shape = round((north - south) / 250), round((east - west) / 250)
    values = np.full(shape, {"sand": 400, "silt": 350, "clay": 250}[coverage.partition("_")[0]], np.int16)
    form = {"driver": "GTiff", "height": shape[0], "width": shape[1], "count": 1, "dtype": "int16", "crs": HOMOLOSINE}
    form |= {"transform": from_bounds(west, south, east, north, shape[1], shape[0]), "compress": "deflate"}
    with rasterio.MemoryFile() as memory:
        with memory.open(**form, nodata=-32768) as file:
            file.write(values, 1)
        return bytes(memory.read())
