"""Regular latitude-longitude grids in NetCDF, as several providers write them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from stac_sm.errors import GranuleError

if TYPE_CHECKING:
    import xarray as xr

_TOLERANCE = 1e-3  # of a pixel: coordinates are often stored as float32
_WHOLE_IN_MEMORY = 1 << 29  # bytes: smaller files are read once, larger ones day by day


@dataclass(frozen=True)
class RegularGrid:
    """Pixel centres on regular latitudes and longitudes, in whatever order a file holds them."""

    geobox: GeoBox
    """The grid with north up and longitudes from -180, EPSG:4326."""

    latitude: str
    """Name of the latitude dimension."""

    longitude: str
    """Name of the longitude dimension."""

    rows: np.ndarray
    """Positions along latitude, from north to south."""

    columns: np.ndarray
    """Positions along longitude, from west to east."""

    @classmethod
    def of(cls, data: xr.Dataset, file: Path) -> RegularGrid:
        """Grid of a file.

        Raises
        ------
        GranuleError
            If coordinates are missing or not regular.
        """
        latitude, longitude = _dimension(data, file, "lat"), _dimension(data, file, "lon")
        lat = data[latitude].values.astype(np.float64)
        lon = (data[longitude].values.astype(np.float64) + 180) % 360 - 180
        rows, columns = np.argsort(-lat), np.argsort(lon)
        dy, dx = -_spacing(lat[rows], file, latitude), _spacing(lon[columns], file, longitude)
        west, north = lon[columns[0]] - dx / 2, lat[rows[0]] + dy / 2
        affine = Affine(dx, 0, round(west, 9), 0, -dy, round(north, 9))
        return cls(GeoBox((lat.size, lon.size), affine, "EPSG:4326"), latitude, longitude, rows, columns)

    @property
    def name(self) -> str:
        """Short name of the area, to tell items of several areas apart."""
        (height, width), box = self.geobox.shape, self.geobox.boundingbox
        if box.right - box.left >= 359.5 and box.top - box.bottom >= 179.5:
            return "global"
        ew, ns = ("w" if box.left < 0 else "e"), ("n" if box.top >= 0 else "s")
        return f"{ew}{abs(box.left):.2f}{ns}{abs(box.top):.2f}-{width}x{height}"

    def north_up(self, values: xr.DataArray) -> np.ndarray:
        """Values of a file as (y, x) of the grid."""
        ordered = values.transpose(self.latitude, self.longitude).values
        return np.ascontiguousarray(ordered[np.ix_(self.rows, self.columns)])


def open_netcdf(file: Path) -> xr.Dataset:
    """Dataset of a NetCDF file; small ones are in memory afterwards.

    Raises
    ------
    GranuleError
        If it cannot be read as NetCDF.
    """
    import xarray as xr

    try:
        data = xr.open_dataset(file, engine="netcdf4", decode_timedelta=False)
        return data.load() if data.nbytes < _WHOLE_IN_MEMORY else data
    except (OSError, ValueError, RuntimeError) as error:
        size = file.stat().st_size if file.exists() else 0
        raise GranuleError(f"{file}: {size} bytes found, no readable NetCDF ({error}): fetch it again") from error


def _dimension(data: xr.Dataset, file: Path, start: str) -> str:
    names = [str(name) for name in data.dims if str(name).lower().startswith(start)]
    if len(names) != 1 or names[0] not in data.coords:
        found = ", ".join(sorted(map(str, data.dims)))
        raise GranuleError(f"{file}: found dimensions {found}, wanted one that begins with {start!r}")
    return names[0]


def _spacing(centres: np.ndarray, file: Path, name: str) -> float:
    """Mean distance of regular coordinates, rounded to what the provider meant."""
    if centres.size < 2:
        raise GranuleError(f"{file}: {centres.size} value along {name} found, at least 2 wanted to know the pixel size")
    steps = np.diff(centres)
    mean = round(float(steps.mean()), 6)
    if mean == 0 or np.abs(steps - mean).max() > 10 * _TOLERANCE * abs(mean):
        raise GranuleError(
            f"{file}: {name} is not regular (steps from {steps.min():.6f} to {steps.max():.6f}): "
            "areas across the antimeridian must be requested in two parts"
        )
    return mean
