"""Write the MODIS products of the simulated Earth: MOD11A1, MCD15A2H and MCD43A3 of version 061, in HDF4-EOS.

They show the same surface as GLASS, with what GLASS does not have: clouds, layers of quality, codes in place of values.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.simulate.earth import SPLINE_SPREAD, AnyFloatArray, Earth, lattice_shape, named_rng, spline
from stac_sm.simulate.glass import SKY, HdfField, leaf_area, reflected, skin_temperature, write_hdf_eos
from stac_sm.simulate.truth import StaticFields, static_fields, window_soil_moisture

# "Real": MOD11A1.A2019305.h14v09.006, north-east Brazil on a day with broken clouds.
_CLEAR = {"Day": 0.79, "Night": 0.53}  # share of land with a value. Real: 0.79 by day, 0.53 by night
_SURE = {"Day": 0.75, "Night": 0.63}  # share of the values with an error of 1 K at most. Real: 0.75 and 0.63
_HALF_RANGE = 10.0  # K from the mean of a day to its day and night values. Real: medians of 313 K and 293 K
_HALF_RANGE_WET = 20.0  # K that it shrinks for 1 m3 m-3 of water, for wet soil heats and cools slowly
_LST_ERROR = 1.0  # K. Errors of the product are within 1 K at most sites (Wan 2014, Remote Sens. Environ. 140, 36-45)
_OVERPASS = {"Day": 10.4, "Night": 21.9}  # local solar time of Terra, hours. Real
_EMISSIVITY = {"Emis_31": 0.97, "Emis_32": 0.974}  # Real
_LAI_ERROR = 0.66  # of collection 6 against field measurements (Yan et al. 2016, Remote Sens. 8, 460)
_LAI_CLEAR = 0.95  # share of land with a clear day among eight. A guess, above that of one day
_LAI_SATURATED = 6.0  # leaf area above which red light is all used up
_ALBEDO_ERROR = 0.01  # as that of GLASS', which begins with the same reflectances
_ALBEDO_FULL, _ALBEDO_ANY = 0.8, 0.97  # share of land with a full inversion of 16 days, and with any. A guess
_CLOUDS = 0.5  # degrees between the knots of cloud fields

_NO_LST, _NO_LAI, _NO_ALBEDO, _NO_FLAG = 0, 255, 32767, 255
_WATER = 254  # code of leaf area index and of its companions
_NOT_SEEN, _NOT_MADE = 2, 3  # flags of temperature: cloud; another reason, which the sea is
_LAI_FLAGS = {"main": 0, "saturated": 32, "back-up": 73, "none": 157}
_LAI_EXTRA = {"land": 0, "cloud": 32, "sea": 3}


def write_lst_daily(earth: Earth, path: Path, day: date) -> None:
    """Write MOD11A1: temperature of the surface at 1 km at Terra's two overpasses, where no cloud is."""
    static, mean = static_fields(earth), skin_temperature(earth, day)
    swing = _HALF_RANGE - _HALF_RANGE_WET * (window_soil_moisture(earth, day) - 0.25)
    layers = {}
    for time, sign in (("Day", 1), ("Night", -1)):
        noise = named_rng(earth, "modis lst", time, day.toordinal()).normal(0, _LST_ERROR, static.land.shape)
        layers[time] = _lst_fields(static, time, mean + sign * swing + noise, _cloudiness(earth, time, day))
    seen = np.any([layers[time][0].raw != _NO_LST for time in layers], axis=0)[static.rows, static.columns]
    emissivity = [
        _field(static, name, np.where(seen, (value - 0.49) / 0.002, 0), "uint8", 0, 0.002, None, (1, 255), offset=0.49)
        for name, value in _EMISSIVITY.items()
    ]
    written = [*layers["Day"][:4], *layers["Night"][:4], *emissivity, layers["Day"][4], layers["Night"][4]]
    write_hdf_eos(path, earth.tile, "MODIS_Grid_Daily_1km_LST", written)


def _lst_fields(static: StaticFields, time: str, kelvin: AnyFloatArray, cloudiness: AnyFloatArray) -> list[HdfField]:
    """Return temperature, its quality, time and angle of the view, and cover of clear sky, of one overpass."""
    seen = cloudiness < _CLEAR[time]
    sure = cloudiness < _CLEAR[time] * _SURE[time]  # worse near clouds
    flags = np.where(seen, np.where(sure, 0, 65), _NOT_SEEN)
    words = f"{time.lower()}time"

    def where_seen(values: AnyFloatArray | float, fill: int) -> AnyFloatArray:
        return np.where(seen, values, fill)

    return [
        _field(static, f"LST_{time}_1km", where_seen(kelvin / 0.02, _NO_LST), "uint16", _NO_LST, 0.02, "K",
               (7500, 65535), long_name=f"Daily {words} 1km grid Land-surface Temperature"),
        _field(static, f"QC_{time}", flags, "uint8", None, None, None, (0, 255), sea=_NOT_MADE,
               long_name=f"Quality control for {words} LST and emissivity"),
        _field(static, f"{time}_view_time", where_seen(10 * _OVERPASS[time], 255), "uint8", 255, 0.1, "hrs", (0, 240)),
        _field(static, f"{time}_view_angl", where_seen(65.0, 255), "uint8", 255, 1.0, "deg", (0, 130), offset=-65.0),
        _field(static, f"Clear_{time.lower()}_cov", where_seen(2000.0, 0), "uint16", 0, 0.0005, None, (1, 65535)),
    ]  # fmt: skip


def write_lai_composite(earth: Earth, path: Path, start: date) -> None:
    """Write MCD15A2H: 8-day leaf area index at 500 m; codes over the sea, flags that say how a value was found."""
    static = static_fields(earth)
    noise = named_rng(earth, "modis lai", start.toordinal()).normal(0, _LAI_ERROR, [2 * n for n in static.land.shape])
    lai = np.clip(_halved(leaf_area(earth, start)) + noise, 0.1, 10).round(1)
    clear = _halved(_cloudiness(earth, "composite", start)) < _LAI_CLEAR
    found = np.where(lai > _LAI_SATURATED, _LAI_FLAGS["saturated"], _LAI_FLAGS["main"])
    flags = np.where(clear, found, _LAI_FLAGS["back-up"])
    extra = np.where(clear, _LAI_EXTRA["land"], _LAI_EXTRA["cloud"])
    light = 100 * (1 - np.exp(-0.5 * lai))  # share that is absorbed: Beer's law, leaves of all directions
    error, units = np.full(lai.shape, 10 * _LAI_ERROR), "m^2/m^2"
    write_hdf_eos(path, earth.tile, "MOD_Grid_MCD15A2H", [
        _field(static, "Fpar_500m", light, "uint8", _NO_LAI, 0.01, "Percent", (0, 100), sea=_WATER),
        _field(static, "Lai_500m", 10 * lai, "uint8", _NO_LAI, 0.1, units, (0, 100), sea=_WATER),
        _field(static, "FparLai_QC", flags, "uint8", _NO_FLAG, None, "class-flag", (0, 254), sea=_LAI_FLAGS["none"]),
        _field(static, "FparExtra_QC", extra, "uint8", _NO_FLAG, None, "class-flag", (0, 254), sea=_LAI_EXTRA["sea"]),
        _field(static, "FparStdDev_500m", error, "uint8", _NO_LAI, 0.01, "Percent", (0, 100), sea=_WATER),
        _field(static, "LaiStdDev_500m", error, "uint8", _NO_LAI, 0.1, units, (0, 100), sea=_WATER),
    ])  # fmt: skip


def write_albedo_daily(earth: Earth, path: Path, day: date) -> None:
    """Write MCD43A3: albedo at 500 m; of the 30 fields of the real one the nine of the broad bands."""
    static = static_fields(earth)
    shape = (2, *(2 * n for n in static.land.shape))
    noise = named_rng(earth, "modis albedo", day.toordinal()).normal(0, _ALBEDO_ERROR, shape)
    visible, infrared = (_halved(values) + error for values, error in zip(reflected(earth, day), noise, strict=True))
    black = {"vis": visible, "nir": infrared, "shortwave": 0.5 * (visible + infrared)}
    cloudiness = _halved(_cloudiness(earth, "albedo", day))
    flags = np.where(cloudiness < _ALBEDO_FULL, 0, np.where(cloudiness < _ALBEDO_ANY, 1, _NO_FLAG))
    write_hdf_eos(path, earth.tile, "MOD_Grid_BRDF", [
        *(
            _field(static, f"Albedo_{sky}_{band}",
                   np.where(flags == _NO_FLAG, _NO_ALBEDO, np.clip(1000 * factor * values, 1, 1000)), "int16",
                   _NO_ALBEDO, 0.001, "albedo, no units", (0, 32766))
            for sky, factor in SKY.items() for band, values in black.items()
        ),
        *(
            _field(static, f"BRDF_Albedo_Band_Mandatory_Quality_{band}", flags, "uint8", _NO_FLAG, None,
                   "concatenated flags", (0, 254))
            for band in black
        ),
    ])  # fmt: skip


@lru_cache(maxsize=2)
def _cloudiness(earth: Earth, name: str, day: date) -> AnyFloatArray:
    """Return a smooth field on the window, spread evenly from 0 to 1: half of it is below 0.5, (y, x)."""
    static, shape = static_fields(earth), lattice_shape(earth, _CLOUDS)
    knots = named_rng(earth, "modis clouds", name, day.toordinal()).standard_normal(shape) / SPLINE_SPREAD
    normal = spline(earth, knots, _CLOUDS, static.lat, static.lon)
    steps = np.linspace(-4, 4, 801)
    return np.interp(normal, steps, [NormalDist().cdf(step) for step in steps])


def _halved(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values of pixels of 1 km in pixels of 500 m."""
    return np.repeat(np.repeat(values, 2, 0), 2, 1)


def _field(
    static: StaticFields, name: str, values: npt.NDArray[Any] | float, dtype: str, fill: int | None,
    scale: float | None,
    units: str | None, valid: tuple[int, int], *, sea: int | None = None, long_name: str | None = None,
    offset: float = 0.0,
) -> HdfField:  # fmt: skip
    """Build a field of the tile from stored values of the window at 1 km or 500 m; ``sea``, or the fill, at sea."""
    finer = 1 if np.ndim(values) == 0 else np.shape(values)[0] // static.land.shape[0]
    absent = sea if sea is not None else fill or 0
    raw = np.full([finer * n for n in MODIS_SINUSOIDAL_1KM.tile_shape], absent, dtype)
    land = _halved(static.land) if finer == 2 else static.land
    rows, columns = (slice(finer * part.start, finer * part.stop) for part in (static.rows, static.columns))
    raw[rows, columns] = np.where(land, np.round(values), absent).astype(dtype)
    attributes = {"long_name": long_name or name, "units": units, "valid_range": list(valid)}
    return HdfField(name, raw, fill, scale, attributes, offset)
