"""The constants of a small simulated Earth, and the smooth random fields that it is made of.

Its soil moisture is in :mod:`stac_sm.simulate.truth`; the products of providers are in :mod:`stac_sm.simulate.glass`
and :mod:`stac_sm.simulate.coarse_products`, those of stations in :mod:`stac_sm.simulate.ismn`.
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

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.core.projections import transformer_to_lonlat

AnyFloatArray = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.intp]

SPLINE_SPREAD = 0.479  # standard deviation of a bicubic B-spline through knots of standard deviation 1, 151 / 315
COMPOSITE_DAYS = 8
_ROWS = 64  # of a field that are worked out at once: they fit into a cache of the processor
HISTORY = 1 / 8
"""Share of the period before the first granules of 1 km: 91 days of two years, which is as far back as the exponential
means of the recipe that `init` writes look."""

COMPOSITE_CENTRE = timedelta(days=4)  # from the first day of an 8-day composite to its centre


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

    radius: float = 1.7
    """Mean radius of the island in degrees of latitude; at 1.7 it covers a twelfth of the tile."""

    period: Period = Period(date(2018, 1, 1), date(2020, 1, 1))  # noqa: RUF009 -- frozen
    """Days with ERA5-Land and station values; ESA CCI begins later, see `cci_days`."""

    stations: int = 80
    """Stations; the first two stand in one pixel. Real networks have hundreds (of CONUS alone the ISMN has more than a
    thousand); a series costs little beside the granules, and some 40 that screening keeps can be learned from."""

    bad_share: float = 0.35
    """Share of stations that represent their pixel badly (0: the control Earth). Real: 0.33 of the 2672 sensors
    that QA4SM could class are "not representative"."""

    clusters: int = 13
    """Groups of days with 1 km granules. One is that of the product days, so that 36 days and 24 LAI composites are
    left to train on."""

    cluster_days: int = 3
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
    """The same of a bad station. The error at unseen stations implies 0.059 over all stations
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

    era5_drift: float = 0.045
    """Error of ERA5-Land that stays, smooth over half a degree (wrong soil maps), m3 m-3. Hawaii: the biases at six
    sensors spread by 0.055, of which offsets of the stations are 0.03: sqrt(0.055**2 - 0.03**2)."""

    cci_scale: float = 0.6
    """Change of ESA CCI for a unit change of truth. Hawaii (CCI and SMAP): 0.33-0.43; higher here, for
    that is mountainous."""

    cci_noise: float = 0.025
    """Random error of ESA CCI, independent between cells and days, m3 m-3. Hawaii (CCI and SMAP), in their own
    units: 0.015-0.031."""

    cci_gap: float = 0.12
    """Share of land between swaths on a day; frozen ground and dense vegetation come on top."""

    signal: float = 0.06
    """Typical standard deviation of daily truth at a pixel, m3 m-3. Hawaii: err_std * sqrt(SNR) = 0.046-0.070."""

    @property
    def product_days(self) -> list[date]:
        """Three consecutive days to predict, between two composite centres, 0.71 of the way through the period.

        So they lie in one month of the default period: one task reads the static layers once.
        """
        return self._group(0.71, 3)

    @property
    def cci_days(self) -> list[date]:
        """Days with ESA CCI: the last three quarters of the period, some 500 common days for triple collocation."""
        days = self.period.days
        return list(days[len(days) // 4 :])

    @property
    def granule_days(self) -> list[date]:
        """Days with 1 km granules to train on: groups spread over the period, without the product days."""
        n = self.clusters  # the second half is shifted by half a step: a second year meets other seasons
        fractions = ((i + 0.25 + 0.5 * (2 * i >= n)) / n for i in range(n))
        groups = (self._group(HISTORY + (1 - HISTORY) * fraction, self.cluster_days) for fraction in fractions)
        return sorted({day for group in groups for day in group} - set(self.product_days))

    def _group(self, fraction: float, size: int) -> list[date]:
        """Return consecutive days from two days after the centre of the composite at a fraction of the period."""
        target = self.period.start + int(fraction * len(self.period)) * ONE_DAY
        composite = max(start for start in composites(self.period.widened(16)) if start <= target)
        if (composite + COMPOSITE_DAYS * ONE_DAY).year > composite.year:
            composite -= COMPOSITE_DAYS * ONE_DAY  # the last composite of a year is short
        first = composite + COMPOSITE_CENTRE + 2 * ONE_DAY
        return [day for day in (first + i * ONE_DAY for i in range(min(size, 4))) if day in self.period]


def composites(period: Period) -> list[date]:
    """Return the first days of the 8-day composites that begin in a period (day of year 1, 9, ..., 361)."""
    return [day for day in period.days if (day.timetuple().tm_yday - 1) % COMPOSITE_DAYS == 0]


def composites_around(days: Sequence[date]) -> list[date]:
    """Return the first days of the composites whose centres bracket each of some days."""
    found: set[date] = set()
    for day in days:
        starts = composites(Period.of_day(day).widened(2 * COMPOSITE_DAYS))
        found.add(max(start for start in starts if start + COMPOSITE_CENTRE <= day))
        found.add(min(start for start in starts if start + COMPOSITE_CENTRE > day))
    return sorted(found)


def summer(day: date) -> float:
    """Return the season: 1 in the middle of summer, -1 in the middle of winter (of the north)."""
    return math.cos(2 * math.pi * (day.timetuple().tm_yday - 200) / 365.25)


def named_rng(earth: Earth, *names: str | int) -> np.random.Generator:
    """Return a random generator that depends on the seed and a name only."""
    return np.random.default_rng([earth.seed, zlib.crc32(repr(names).encode())])


@lru_cache(maxsize=4)
def pixel_centres(tile: str) -> tuple[AnyFloatArray, AnyFloatArray]:
    """Return degrees north (y,) and east (y, x) of the pixel centres of a tile."""
    geobox = MODIS_SINUSOIDAL_1KM.geobox(tile)
    rows, columns = geobox.shape
    x = geobox.affine.c + geobox.affine.a * (np.arange(columns) + 0.5)
    y = geobox.affine.f + geobox.affine.e * (np.arange(rows) + 0.5)
    lon, lat = transformer_to_lonlat(MODIS_SINUSOIDAL_1KM.crs).transform(*np.meshgrid(x, y))
    return lat[:, 0], lon


def surface(earth: Earth, name: str, spacing: float, lat: AnyFloatArray, lon: AnyFloatArray) -> AnyFloatArray:
    """Return a smooth random field of mean 0 and standard deviation about 1, which depends on the place only.

    Parameters
    ----------
    earth
        The Earth, whose seed it depends on.
    name
        Name of the field; fields of different names are independent.
    spacing
        Degrees between its knots; features are about twice as wide.
    lat
        Degrees north, (y,).
    lon
        Degrees east, (y, x), or (x,) for a regular grid.

    Returns
    -------
    numpy.ndarray
        float64 (y, x).
    """
    return spline(earth, _knots(earth, name, spacing), spacing, lat, lon)


def spline(earth: Earth, knots: AnyFloatArray, spacing: float, lat: AnyFloatArray, lon: AnyFloatArray) -> AnyFloatArray:
    """Return a cubic B-spline with given coefficients, (y, x); beyond the lattice its value at the edge."""
    row, row_weight, column, column_weight = _taps(earth, spacing, lat, lon)
    west, east = int(column.min()), int(column.max()) + 4
    knots, column = knots[:, west:east], column - west
    lines = np.zeros((len(lat), east - west))
    for k, w in enumerate(row_weight):
        lines += w[:, np.newaxis] * knots[row + k]
    values = np.zeros((len(lat), lon.shape[-1]))
    for start in range(0, len(lat), _ROWS):
        block = slice(start, start + _ROWS)
        for k, w in enumerate(column_weight):
            if lon.ndim == 1:
                knot, weight = np.take(lines[block], column + k, axis=1), w
            else:
                knot, weight = np.take_along_axis(lines[block], column[block] + k, axis=1), w[block]
            knot *= weight
            values[block] += knot
    return values


def points_basis(earth: Earth, spacing: float, lat: AnyFloatArray, lon: AnyFloatArray) -> AnyFloatArray:
    """Return the weights of all knots at points, (point, knot)."""
    row, row_weight, column, column_weight = _taps(earth, spacing, lat, lon)
    basis = np.zeros((len(lat), *lattice_shape(earth, spacing)))
    for i, v in enumerate(row_weight):
        for j, w in enumerate(column_weight):
            basis[np.arange(len(lat)), row + i, column + j] = v * w
    return basis.reshape(len(lat), -1)


def _taps(
    earth: Earth, spacing: float, lat: AnyFloatArray, lon: AnyFloatArray
) -> tuple[Indices, list[AnyFloatArray], Indices, list[AnyFloatArray]]:
    """Return the first of the four knots around each row and column, and the weights of the four."""
    (south, west), shape = _corner(earth), lattice_shape(earth, spacing)
    taps: list[Any] = []
    for degrees, origin, size in ((lat, south, shape[0]), (lon, west, shape[1])):
        position = ((degrees - origin) / spacing).clip(0, size - 4)
        first = np.floor(position).astype(np.intp)
        t = position - first
        weights = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
        taps += [first, [w / 6 for w in weights]]
    return taps[0], taps[1], taps[2], taps[3]


@lru_cache(maxsize=32)
def _knots(earth: Earth, name: str, spacing: float) -> AnyFloatArray:
    """Return the coefficients of a random field whose standard deviation is about 1."""
    return named_rng(earth, "surface", name).standard_normal(lattice_shape(earth, spacing)) / SPLINE_SPREAD


def lattice_shape(earth: Earth, spacing: float) -> tuple[int, int]:
    """Return the rows and columns of the knots of a lattice."""
    (south, west), (lat0, lon0, _) = _corner(earth), island(earth)
    return math.ceil(2 * (lat0 - south) / spacing) + 4, math.ceil(2 * (lon0 - west) / spacing) + 4


@lru_cache(maxsize=4)
def _corner(earth: Earth) -> tuple[float, float]:
    """Return degrees north and east of the first inner knot of every lattice; all land lies well inside."""
    lat0, lon0, radius = island(earth)
    return lat0 - 1.5 * radius, lon0 - 1.5 * radius / math.cos(math.radians(lat0))


@lru_cache(maxsize=4)
def island(earth: Earth) -> tuple[float, float, float]:
    """Return degrees north and east of the centre of the island, and its radius in degrees of latitude."""
    lat, lon = pixel_centres(earth.tile)
    return float(lat.mean()), float(lon[len(lat) // 2].mean()), earth.radius
