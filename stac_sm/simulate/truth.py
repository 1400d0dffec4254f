"""The truth of the simulated Earth: soil moisture, terrain and weather everywhere.

Land is one island in a tile. Its soil moisture is

    sm(day, pixel) = base(pixel) + amplitude(pixel) * wetness(day, pixel) + local storms(day, pixel)

with ``base`` and ``amplitude`` from terrain, vegetation and *hidden* soil fields that no feature sees, and a
wetness that rain events fill and evaporation empties. The first two factors are fixed and the wetness is smooth
(about a degree), so two years of coarse daily values cost little. Nothing here reads or writes a file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.simulate.earth import (
    SPLINE_SPREAD,
    AnyFloatArray,
    Earth,
    island,
    lattice_shape,
    named_rng,
    pixel_centres,
    points_basis,
    spline,
    summer,
    surface,
)

SM_MIN, SM_MAX = 0.02, 0.55  # residual and saturated water content that hardly any mineral soil leaves, m3 m-3
FREEZING = 273.15
LAPSE = 0.0065  # of temperature with height in the standard atmosphere, K m-1
_SPIN_UP = 365  # days of weather before the period: the first day has a history, and a short period a full season
_LATTICE = 0.75  # degrees between the knots of the weather
_STORMS = 3  # patterns of local storms


@dataclass(frozen=True, eq=False)
class StaticFields:
    """Fields that do not change with time, on a window of the tile around the island."""

    rows: slice
    """Rows of the window in the tile."""

    columns: slice
    """Columns of the window in the tile."""

    lat: AnyFloatArray
    """Degrees north of pixel centres, (y,)."""

    lon: AnyFloatArray
    """Degrees east of pixel centres, (y, x)."""

    land: npt.NDArray[np.bool_]
    """Whether a pixel is land, (y, x)."""

    elevation: AnyFloatArray
    """Metres above the sea, (y, x)."""

    vegetation: AnyFloatArray
    """0 (bare) to 1 (dense), (y, x)."""

    base: AnyFloatArray
    """Soil moisture at mean wetness, m3 m-3, (y, x)."""

    amplitude: AnyFloatArray
    """Soil moisture for one unit of wetness, m3 m-3, (y, x)."""

    storms: AnyFloatArray
    """Patterns of local storms, m3 m-3, (storm, y, x)."""


@dataclass(frozen=True, eq=False)
class Weather:
    """Fields that change with time, on a lattice: one element a day from the spin-up to the end of the period."""

    start: date
    """Day of the first element."""

    wetness: AnyFloatArray
    """Filled by rain and emptied by evaporation; mean 0 and standard deviation 1, (day, y, x)."""

    storms: AnyFloatArray
    """Strength of the local storms, (day, storm)."""

    warmth: AnyFloatArray
    """Anomaly of temperature from the season, K, (day, y, x)."""

    era5_error: AnyFloatArray
    """Random error of ERA5-Land, standard deviation about 1, (day, y, x)."""

    def at(self, day: date) -> int:
        """Return the index of a day."""
        return (day - self.start).days


@lru_cache(maxsize=2)
def static_fields(earth: Earth) -> StaticFields:
    """Compute the static fields of an Earth at 1 km."""
    lat, lon = pixel_centres(earth.tile)
    inside = np.argwhere(shore(earth, lat, lon) > 0)
    (top, left), (bottom, right) = inside.min(axis=0), inside.max(axis=0) + 1
    rows, columns = slice(int(top), int(bottom)), slice(int(left), int(right))
    lat, lon = lat[rows], lon[rows, columns]
    height = elevation(earth, lat, lon)
    climate = surface(earth, "climate", 1.5, lat, lon)
    hidden = 0.8 * surface(earth, "soil", 0.25, lat, lon) + 0.6 * surface(earth, "field", 0.06, lat, lon)
    slope = np.hypot(*np.gradient(height, MODIS_SINUSOIDAL_1KM.pixel[0]))
    base = 0.26 + 0.02 * climate + 0.06 * np.tanh((height - 300) / 300) - 0.03 * np.tanh(slope / 0.03) + 0.022 * hidden
    greenness = (base - 0.25) / 0.05 - (height - 500) / 800 + 0.6 * surface(earth, "plants", 0.15, lat, lon)
    vegetation = 1 / (1 + np.exp(-greenness))
    swing = 1 + 0.15 * np.tanh(surface(earth, "swing", 0.4, lat, lon)) - 0.2 * (vegetation - 0.5)
    storms = [0.02 / math.sqrt(_STORMS) * surface(earth, f"storm{k}", 0.15, lat, lon) for k in range(_STORMS)]
    return StaticFields(
        rows, columns, lat, lon, shore(earth, lat, lon) > 0, height, vegetation, base, earth.signal * swing,
        np.stack(storms),
    )  # fmt: skip


@lru_cache(maxsize=2)
def simulate_weather(earth: Earth) -> Weather:
    """Simulate the daily weather of an Earth."""
    days = earth.period.widened(_SPIN_UP).days[:-_SPIN_UP]
    shape = (len(days), *lattice_shape(earth, _LATTICE))
    rng = named_rng(earth, "weather")
    season = np.array([summer(day) for day in days])
    front = _autoregressive(rng.standard_normal((len(days), 1, 1)), 0.5)
    cells = _autoregressive(rng.standard_normal(shape), 0.5)
    wetness = _bucket(0.6 * front + 0.8 * cells, season)
    warmth = 1.0 * _autoregressive(rng.standard_normal((len(days), 1, 1)), 0.7)
    warmth = warmth + 1.5 * _autoregressive(rng.standard_normal(shape), 0.7)
    storms = _autoregressive(rng.standard_normal((len(days), _STORMS)), 0.8)
    era5_error = _autoregressive(rng.standard_normal(shape), 0.6) / SPLINE_SPREAD
    return Weather(days[0], wetness, storms, warmth, era5_error)


def true_soil_moisture(earth: Earth, day: date) -> npt.NDArray[np.float32]:
    """Return true soil moisture of a day on the tile.

    Parameters
    ----------
    earth
        The simulated Earth.
    day
        A day of its period.

    Returns
    -------
    numpy.ndarray
        float32, (1200, 1200), m3 m-3; NaN over the sea.
    """
    return place_on_tile(static_fields(earth), window_soil_moisture(earth, day))


def window_soil_moisture(earth: Earth, day: date) -> AnyFloatArray:
    """Return true soil moisture of a day on the window of the island, m3 m-3, (y, x), sea included."""
    static, air = static_fields(earth), simulate_weather(earth)
    now = air.at(day)
    wetness = spline(earth, air.wetness[now], _LATTICE, static.lat, static.lon)
    value = static.base + static.amplitude * wetness + np.tensordot(air.storms[now], static.storms, 1)
    return np.clip(value, SM_MIN, SM_MAX)


def temperature_anomaly(earth: Earth, day: date) -> AnyFloatArray:
    """Return the anomaly of temperature from the season on the window of the island, K, (y, x)."""
    static, air = static_fields(earth), simulate_weather(earth)
    return spline(earth, air.warmth[air.at(day)], _LATTICE, static.lat, static.lon)


def place_on_tile(static: StaticFields, values: AnyFloatArray) -> npt.NDArray[np.float32]:
    """Return values of the window on the whole tile, NaN over the sea."""
    tile = np.full(MODIS_SINUSOIDAL_1KM.tile_shape, np.nan, np.float32)
    tile[static.rows, static.columns] = np.where(static.land, values, np.nan)
    return tile


def daily_at(earth: Earth, name: str, lat: AnyFloatArray, lon: AnyFloatArray) -> AnyFloatArray:
    """Return a lattice quantity of the weather at points, each day of the period, (day, point)."""
    air = simulate_weather(earth)
    knots = getattr(air, name)[air.at(earth.period.start) :]
    return np.asarray(knots.reshape(len(knots), -1) @ points_basis(earth, _LATTICE, lat, lon).T)


def daily_storms(earth: Earth) -> AnyFloatArray:
    """Return the strength of the local storms each day of the period, (day, storm)."""
    air = simulate_weather(earth)
    return air.storms[air.at(earth.period.start) :]


def elevation(earth: Earth, lat: AnyFloatArray, lon: AnyFloatArray, *, fine: bool = False) -> AnyFloatArray:
    """Return metres above the sea, 0 over it; ``fine`` adds relief that a 1 km pixel does not resolve."""
    inland = shore(earth, lat, lon)
    relief = 550 + 420 * surface(earth, "range", 0.7, lat, lon) + 200 * surface(earth, "hill", 0.22, lat, lon)
    relief += 80 * surface(earth, "spur", 0.07, lat, lon)
    if fine:
        relief += 25 * surface(earth, "gully", 0.02, lat, lon) + 8 * surface(earth, "bank", 0.006, lat, lon)
    height = np.clip(inland, 0, 1) ** 0.7 * np.logaddexp(0, relief / 150) * 150  # a soft floor: no plains at 0 m
    return np.where(inland > 0, np.maximum(height, 1), 0)


def shore(earth: Earth, lat: AnyFloatArray, lon: AnyFloatArray) -> AnyFloatArray:
    """Return a field above 0 on the island, up to about 1 far from the sea, and below 0 at sea."""
    lat0, lon0, radius = island(earth)
    east = (lon - lon0) * math.cos(math.radians(lat0)) / radius
    north = ((lat - lat0) / radius)[:, np.newaxis]
    coast = 0.22 * surface(earth, "coast", 0.8, lat, lon) + 0.06 * surface(earth, "bay", 0.2, lat, lon)
    return np.asarray(1 - north**2 - east**2 + coast)


def _autoregressive(noise: AnyFloatArray, memory: float) -> AnyFloatArray:
    """Return series along the first axis with unit variance and a correlation of ``memory`` from day to day."""
    series = np.empty_like(noise)
    series[0] = noise[0]
    for i in range(1, len(noise)):
        series[i] = memory * series[i - 1] + math.sqrt(1 - memory**2) * noise[i]
    return series


def _bucket(storminess: AnyFloatArray, season: AnyFloatArray) -> AnyFloatArray:
    """Return the wetness of a bucket: rain above a threshold (rarer in summer), exponential dry-down (faster then)."""
    season = season[:, np.newaxis, np.newaxis]
    rain = np.maximum(storminess - (0.6 + 0.4 * season), 0)
    keep = np.exp(-1 / (10 - 4 * season))
    level = np.zeros_like(storminess)
    for i in range(1, len(level)):
        level[i] = level[i - 1] * keep[i] + rain[i]
    wetness = 1 - np.exp(-level / 2)  # a wet soil takes up less
    return np.asarray((wetness - wetness.mean()) / wetness.std())


def season_temperature(day: date) -> float:
    """Return the mean temperature at the sea, K."""
    return 289 + 11 * summer(day)
