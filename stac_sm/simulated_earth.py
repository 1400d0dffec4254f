"""A small simulated Earth whose soil moisture is known everywhere.

Land is one island in a tile. Its soil moisture is

    sm(day, pixel) = base(pixel) + amplitude(pixel) * wetness(day, pixel) + local storms(day, pixel)

with ``base`` and ``amplitude`` from terrain, vegetation and *hidden* soil fields that no feature sees, and a
wetness that rain events fill and evaporation empties. The first two factors are fixed and the wetness is smooth
(about a degree), so two years of coarse daily values cost little.

What providers make of this Earth is in :mod:`stac_sm.simulated_granules`, what stations make of it in
:mod:`stac_sm.simulated_stations`. Nothing here reads or writes a file.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from stac_sm.grid import MODIS_SINUSOIDAL_1KM, to_lonlat
from stac_sm.period import DAY, Period

Floats = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.intp]

SM_MIN, SM_MAX = 0.02, 0.55  # residual and saturated water content that hardly any mineral soil leaves, m3 m-3
FREEZING = 273.15
COMPOSITE_DAYS = 8
COMPOSITE_CENTRE = timedelta(days=4)  # from the first day of an 8-day composite to its centre
_SPIN_UP = 365  # days of weather before the period: the first day has a history, and a short period a full season
_LATTICE = 0.75  # degrees between the knots of the weather
_STORMS = 3  # patterns of local storms


@dataclass(frozen=True)
class Earth:
    """A simulated Earth: every constant, and the real figure that it comes from.

    "Real SNR" is the ``frm_snr`` of 3043 ISMN sensors at 0-5 cm with at least 100 common days in the station
    screening of the QA4SM service (``frm_classification.csv``, TU Wien). "Hawaii" is triple collocation of SCAN
    and COSMOS stations with ERA5-Land and ESA CCI COMBINED v08.1, 2017-2018 (4 sound triplets).
    """

    seed: int = 1
    """Same seed and constants: same bytes in every file."""

    tile: str = "h18v04"
    """Tile of the MODIS sinusoidal 1 km grid that holds the island."""

    period: Period = Period(date(2018, 1, 1), date(2020, 1, 1))
    """Days with ERA5-Land, ESA CCI and station values; two years give triple collocation some 400 common days."""

    stations: int = 36
    """Stations; the first two stand in one pixel."""

    bad_share: float = 0.35
    """Share of stations that represent their pixel badly (0: the control Earth). Real: 0.33 of the 2672 sensors
    that QA4SM could class are "not representative"."""

    clusters: int = 10
    """Groups of days with 1 km granules; features are needed on few days, spread over the seasons."""

    cluster_days: int = 4
    """Days in a group, at most 4: a group then lies between two neighbouring composite centres."""

    good_snr_db: tuple[float, float] = (4.0, 2.5)
    """Mean and standard deviation of the signal-to-noise ratio of a good station against its own pixel, dB.
    Real SNR above -2.5 dB (the ratio of a TC correlation of 0.6): median 2.6, mean 3.0, against a coarse cell,
    which costs about a decibel more."""

    bad_snr_db: tuple[float, float] = (-7.0, 3.0)
    """The same of a bad station. Real SNR below -2.5 dB: median -6.9, quartiles -11.4 and -4.4."""

    good_offset_std: float = 0.03
    """Spread of the mean difference between a good station and its pixel, m3 m-3."""

    bad_offset_std: float = 0.09
    """The same of a bad station. The honest error at unseen stations implies 0.059 over all stations
    (sqrt(0.079**2 - 0.052**2), Han et al. 2023 and Zhang et al. 2023): 0.65 * 0.03**2 + 0.35 * 0.09**2 = 0.059**2."""

    sensor_noise: float = 0.01
    """White noise of one reading, m3 m-3 (probes are sold with 0.01-0.03 after calibration)."""

    sample_hours: int = 6
    """Hours between readings; real stations give hourly values, at six times the size."""

    era5_bias: float = 0.06
    """ERA5-Land minus truth, m3 m-3. Hawaii: 0.04-0.18, all wet; the lower end, since that is one wet island."""

    era5_scale: float = 0.75
    """Change of ERA5-Land for a unit change of truth. Hawaii: 1/beta = 0.58-0.95."""

    era5_noise: float = 0.025
    """Random error of ERA5-Land, smooth over a degree and days, m3 m-3. Hawaii, in its own units: 0.020-0.034."""

    era5_drift: float = 0.035
    """Error of ERA5-Land that stays, smooth over half a degree (wrong soil maps), m3 m-3. Hawaii: the biases of five
    stations spread by 0.055, their own offsets included."""

    cci_scale: float = 0.6
    """Change of ESA CCI for a unit change of truth. Hawaii: 0.33-0.43; higher here, for that is mountainous."""

    cci_noise: float = 0.025
    """Random error of ESA CCI, independent between cells and days, m3 m-3. Hawaii, own units: 0.015-0.031."""

    cci_gap: float = 0.12
    """Share of land between swaths on a day; frozen ground and dense vegetation come on top."""

    signal: float = 0.055
    """Typical standard deviation of daily truth at a pixel, m3 m-3. Hawaii: err_std * sqrt(SNR) = 0.046-0.070."""

    @property
    def product_days(self) -> list[date]:
        """Three consecutive days to predict, between two composite centres, 0.7 of the way through the period."""
        return self._group(0.7, 3)

    @property
    def granule_days(self) -> list[date]:
        """Days with 1 km granules to train on: groups spread over the period, without the product days."""
        n = self.clusters  # the second half is shifted by half a step: a second year meets other seasons
        fractions = ((i + 0.25 + 0.5 * (2 * i >= n)) / n for i in range(n))
        groups = (self._group(fraction, self.cluster_days) for fraction in fractions)
        return sorted({day for group in groups for day in group} - set(self.product_days))

    def _group(self, fraction: float, size: int) -> list[date]:
        """Consecutive days from two days after the centre of the composite at a fraction of the period."""
        target = self.period.start + int(fraction * len(self.period)) * DAY
        composite = max(start for start in composites(self.period.widened(16)) if start <= target)
        if (composite + COMPOSITE_DAYS * DAY).year > composite.year:
            composite -= COMPOSITE_DAYS * DAY  # the last composite of a year is short
        first = composite + COMPOSITE_CENTRE + 2 * DAY
        return [day for day in (first + i * DAY for i in range(min(size, 4))) if day in self.period]


def composites(period: Period) -> list[date]:
    """First days of the 8-day composites that begin in a period (day of year 1, 9, ..., 361)."""
    return [day for day in period.days if (day.timetuple().tm_yday - 1) % COMPOSITE_DAYS == 0]


def composites_around(days: Sequence[date]) -> list[date]:
    """First days of the composites whose centres bracket each of some days."""
    wanted: set[date] = set()
    for day in days:
        starts = composites(Period.of_day(day).widened(2 * COMPOSITE_DAYS))
        wanted.add(max(start for start in starts if start + COMPOSITE_CENTRE <= day))
        wanted.add(min(start for start in starts if start + COMPOSITE_CENTRE > day))
    return sorted(wanted)


@dataclass(frozen=True, eq=False)
class Fields:
    """What does not change with time, on a window of the tile around the island."""

    rows: slice
    """Rows of the window in the tile."""

    columns: slice
    """Columns of the window in the tile."""

    lat: Floats
    """Degrees north of pixel centres, (y,)."""

    lon: Floats
    """Degrees east of pixel centres, (y, x)."""

    land: npt.NDArray[np.bool_]
    """Whether a pixel is land, (y, x)."""

    elevation: Floats
    """Metres above the sea, (y, x)."""

    vegetation: Floats
    """0 (bare) to 1 (dense), (y, x)."""

    base: Floats
    """Soil moisture at mean wetness, m3 m-3, (y, x)."""

    amplitude: Floats
    """Soil moisture for one unit of wetness, m3 m-3, (y, x)."""

    storms: Floats
    """Patterns of local storms, m3 m-3, (storm, y, x)."""


@dataclass(frozen=True, eq=False)
class Weather:
    """What changes with time, on a lattice: one entry a day from the spin-up to the end of the period."""

    start: date
    """Day of the first entry."""

    wetness: Floats
    """Filled by rain and emptied by evaporation; mean 0 and standard deviation 1, (day, y, x)."""

    storms: Floats
    """Strength of the local storms, (day, storm)."""

    warmth: Floats
    """Departure of temperature from the season, K, (day, y, x)."""

    era5_error: Floats
    """Random error of ERA5-Land, standard deviation about 1, (day, y, x)."""

    def at(self, day: date) -> int:
        """Index of a day."""
        return (day - self.start).days


@lru_cache(maxsize=2)
def fields(earth: Earth) -> Fields:
    """Static fields of an Earth at 1 km."""
    lat, lon = pixel_centres(earth.tile)
    inside = np.argwhere(shore(earth, lat, lon) > 0)
    (top, left), (bottom, right) = inside.min(axis=0), inside.max(axis=0) + 1
    rows, columns = slice(int(top), int(bottom)), slice(int(left), int(right))
    lat, lon = lat[rows], lon[rows, columns]
    height = elevation(earth, lat, lon)
    climate = surface(earth, "climate", 1.5, lat, lon)
    hidden = 0.8 * surface(earth, "soil", 0.25, lat, lon) + 0.6 * surface(earth, "field", 0.06, lat, lon)
    slope = np.hypot(*np.gradient(height, MODIS_SINUSOIDAL_1KM.pixel[0]))
    base = 0.25 + 0.025 * climate + 0.045 * np.tanh((height - 300) / 300) - 0.025 * np.tanh(slope / 0.03) + 0.025 * hidden
    greenness = (base - 0.24) / 0.05 - (height - 500) / 800 + 0.6 * surface(earth, "plants", 0.15, lat, lon)
    vegetation = 1 / (1 + np.exp(-greenness))
    swing = 1 + 0.15 * np.tanh(surface(earth, "swing", 0.4, lat, lon)) - 0.2 * (vegetation - 0.5)
    storms = [0.02 / math.sqrt(_STORMS) * surface(earth, f"storm{k}", 0.15, lat, lon) for k in range(_STORMS)]
    return Fields(
        rows, columns, lat, lon, shore(earth, lat, lon) > 0, height, vegetation, base, earth.signal * swing,
        np.stack(storms),
    )  # fmt: skip


@lru_cache(maxsize=2)
def weather(earth: Earth) -> Weather:
    """Daily weather of an Earth."""
    days = earth.period.widened(_SPIN_UP).days[: -_SPIN_UP]
    shape = (len(days), *_lattice_shape(earth, _LATTICE))
    rng = generator(earth, "weather")
    season = np.array([summer(day) for day in days])
    front = _autoregressive(rng.standard_normal((len(days), 1, 1)), 0.5)
    cells = _autoregressive(rng.standard_normal(shape), 0.5)
    wetness = _bucket(0.6 * front + 0.8 * cells, season)
    warmth = 1.0 * _autoregressive(rng.standard_normal((len(days), 1, 1)), 0.7)
    warmth = warmth + 1.5 * _autoregressive(rng.standard_normal(shape), 0.7)
    storms = _autoregressive(rng.standard_normal((len(days), _STORMS)), 0.8)
    # 0.6: a spline through independent knots keeps about that much of their spread
    era5_error = _autoregressive(rng.standard_normal(shape), 0.6) / 0.6
    return Weather(days[0], wetness, storms, warmth, era5_error)


def true_soil_moisture(earth: Earth, day: date) -> npt.NDArray[np.float32]:
    """True soil moisture of a day on the tile.

    Returns
    -------
    ndarray
        float32, (1200, 1200), m3 m-3; NaN over the sea.
    """
    return on_tile(fields(earth), window_soil_moisture(earth, day))


def window_soil_moisture(earth: Earth, day: date) -> Floats:
    """True soil moisture of a day on the window of the island, m3 m-3, (y, x), sea included."""
    static, air = fields(earth), weather(earth)
    now = air.at(day)
    wetness = spline(earth, air.wetness[now], _LATTICE, static.lat, static.lon)
    value = static.base + static.amplitude * wetness + np.tensordot(air.storms[now], static.storms, 1)
    return np.clip(value, SM_MIN, SM_MAX)


def window_warmth(earth: Earth, day: date) -> Floats:
    """Departure of temperature from the season on the window of the island, K, (y, x)."""
    static, air = fields(earth), weather(earth)
    return spline(earth, air.warmth[air.at(day)], _LATTICE, static.lat, static.lon)


def on_tile(static: Fields, values: Floats) -> npt.NDArray[np.float32]:
    """Values of the window on the whole tile, NaN over the sea."""
    tile = np.full(MODIS_SINUSOIDAL_1KM.tile_shape, np.nan, np.float32)
    tile[static.rows, static.columns] = np.where(static.land, values, np.nan)
    return tile


def daily_at(earth: Earth, name: str, lat: Floats, lon: Floats) -> Floats:
    """A lattice quantity of the weather at points, each day of the period, (day, point)."""
    air = weather(earth)
    knots = getattr(air, name)[air.at(earth.period.start) :]
    return np.asarray(knots.reshape(len(knots), -1) @ _basis(earth, _LATTICE, lat, lon).T)


def daily_storms(earth: Earth) -> Floats:
    """Strength of the local storms each day of the period, (day, storm)."""
    air = weather(earth)
    return air.storms[air.at(earth.period.start) :]


def elevation(earth: Earth, lat: Floats, lon: Floats, *, fine: bool = False) -> Floats:
    """Metres above the sea, 0 over it; ``fine`` adds what a 1 km pixel does not resolve."""
    inland = shore(earth, lat, lon)
    relief = 550 + 420 * surface(earth, "range", 0.7, lat, lon) + 200 * surface(earth, "hill", 0.22, lat, lon)
    relief += 80 * surface(earth, "spur", 0.07, lat, lon)
    if fine:
        relief += 25 * surface(earth, "gully", 0.02, lat, lon) + 8 * surface(earth, "bank", 0.006, lat, lon)
    height = np.clip(inland, 0, 1) ** 0.7 * np.logaddexp(0, relief / 150) * 150  # a soft floor: no plains at 0 m
    return np.where(inland > 0, np.maximum(height, 1), 0)


def shore(earth: Earth, lat: Floats, lon: Floats) -> Floats:
    """Above 0 on the island, up to about 1 far from the sea; below 0 at sea."""
    lat0, lon0, radius = _island(earth)
    east = (lon - lon0) * math.cos(math.radians(lat0)) / radius
    north = ((lat - lat0) / radius)[:, np.newaxis]
    coast = 0.22 * surface(earth, "coast", 0.8, lat, lon) + 0.06 * surface(earth, "bay", 0.2, lat, lon)
    return np.asarray(1 - north**2 - east**2 + coast)


def summer(day: date) -> float:
    """Season: 1 in the middle of summer, -1 in the middle of winter (of the north)."""
    return math.cos(2 * math.pi * (day.timetuple().tm_yday - 200) / 365.25)


def generator(earth: Earth, *names: str | int) -> np.random.Generator:
    """Random numbers that depend on the seed and a name only."""
    return np.random.default_rng([earth.seed, zlib.crc32(repr(names).encode())])


@lru_cache(maxsize=4)
def pixel_centres(tile: str) -> tuple[Floats, Floats]:
    """Degrees north (y,) and east (y, x) of the pixel centres of a tile."""
    geobox = MODIS_SINUSOIDAL_1KM.geobox(tile)
    rows, columns = geobox.shape
    x = geobox.affine.c + geobox.affine.a * (np.arange(columns) + 0.5)
    y = geobox.affine.f + geobox.affine.e * (np.arange(rows) + 0.5)
    lon, lat = to_lonlat(MODIS_SINUSOIDAL_1KM.crs).transform(*np.meshgrid(x, y))
    return lat[:, 0], lon


def surface(earth: Earth, name: str, spacing: float, lat: Floats, lon: Floats) -> Floats:
    """Smooth random field of mean 0 and standard deviation about 1, the same wherever it is asked for.

    Parameters
    ----------
    spacing
        Degrees between its knots; features are about twice as wide.
    lat
        Degrees north, (y,).
    lon
        Degrees east, (y, x), or (x,) for a regular grid.
    """
    return spline(earth, _knots(earth, name, spacing), spacing, lat, lon)


def spline(earth: Earth, knots: Floats, spacing: float, lat: Floats, lon: Floats) -> Floats:
    """Cubic B-spline with given coefficients, (y, x); beyond the lattice its value at the edge."""
    row, row_weight, column, column_weight = _taps(earth, spacing, lat, lon)
    west, east = int(column.min()), int(column.max()) + 4
    knots, column = knots[:, west:east], column - west
    lines = np.zeros((len(lat), east - west))
    for k, w in enumerate(row_weight):
        lines += w[:, np.newaxis] * knots[row + k]
    values = np.zeros((len(lat), lon.shape[-1]))
    for k, w in enumerate(column_weight):
        values += w * (lines[:, column + k] if lon.ndim == 1 else np.take_along_axis(lines, column + k, 1))
    return values


def _taps(earth: Earth, spacing: float, lat: Floats, lon: Floats) -> tuple[Indices, list[Floats], Indices, list[Floats]]:
    """First of the four knots around each row and column, and the weights of the four."""
    (south, west), shape = _corner(earth), _lattice_shape(earth, spacing)
    taps: list[Any] = []
    for degrees, origin, size in ((lat, south, shape[0]), (lon, west, shape[1])):
        position = ((degrees - origin) / spacing).clip(0, size - 4)
        first = np.floor(position).astype(np.intp)
        t = position - first
        weights = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
        taps += [first, [w / 6 for w in weights]]
    return taps[0], taps[1], taps[2], taps[3]


def _basis(earth: Earth, spacing: float, lat: Floats, lon: Floats) -> Floats:
    """Weights of all knots at points, (point, knot)."""
    row, row_weight, column, column_weight = _taps(earth, spacing, lat, lon)
    basis = np.zeros((len(lat), *_lattice_shape(earth, spacing)))
    for i, v in enumerate(row_weight):
        for j, w in enumerate(column_weight):
            basis[np.arange(len(lat)), row + i, column + j] = v * w
    return basis.reshape(len(lat), -1)


@lru_cache(maxsize=32)
def _knots(earth: Earth, name: str, spacing: float) -> Floats:
    """Coefficients of a random field; divided by the spread that a bicubic B-spline leaves of them."""
    return generator(earth, "surface", name).standard_normal(_lattice_shape(earth, spacing)) / 0.479


def _lattice_shape(earth: Earth, spacing: float) -> tuple[int, int]:
    (south, west), (lat0, lon0, _) = _corner(earth), _island(earth)
    return math.ceil(2 * (lat0 - south) / spacing) + 4, math.ceil(2 * (lon0 - west) / spacing) + 4


@lru_cache(maxsize=4)
def _corner(earth: Earth) -> tuple[float, float]:
    """Degrees north and east of the first inner knot of every lattice; all land lies well inside."""
    lat0, lon0, radius = _island(earth)
    return lat0 - 1.5 * radius, lon0 - 1.5 * radius / math.cos(math.radians(lat0))


@lru_cache(maxsize=4)
def _island(earth: Earth) -> tuple[float, float, float]:
    """Degrees north and east of the centre of the island, and its mean radius in degrees of latitude."""
    lat, lon = pixel_centres(earth.tile)
    return float(lat.mean()), float(lon[len(lat) // 2].mean()), 2.2


def _autoregressive(noise: Floats, memory: float) -> Floats:
    """Series along the first axis with unit variance and a correlation of ``memory`` from day to day."""
    series = np.empty_like(noise)
    series[0] = noise[0]
    for i in range(1, len(noise)):
        series[i] = memory * series[i - 1] + math.sqrt(1 - memory**2) * noise[i]
    return series


def _bucket(storminess: Floats, season: Floats) -> Floats:
    """Wetness of a bucket: rain above a threshold (rarer in summer), exponential dry-down (faster in summer)."""
    season = season[:, np.newaxis, np.newaxis]
    rain = np.maximum(storminess - (0.6 + 0.4 * season), 0)
    keep = np.exp(-1 / (10 - 4 * season))
    level = np.zeros_like(storminess)
    for i in range(1, len(level)):
        level[i] = level[i - 1] * keep[i] + rain[i]
    wetness = 1 - np.exp(-level / 2)  # a wet soil takes up less
    return np.asarray((wetness - wetness.mean()) / wetness.std())
