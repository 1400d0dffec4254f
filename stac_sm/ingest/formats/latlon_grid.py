"""Regular latitude-longitude grids, as several providers write them.

ERA5-Land and ESA CCI store latitudes in either order and longitudes from 0 to 360 or from -180 to 180. `RegularGrid`
checks the coordinates and turns the values so that north is up and west is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine

from stac_sm.core.errors import GranuleError
from stac_sm.core.grid import make_geobox

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

_TOLERANCE = 1e-3  # pixels: coordinates are often stored as float32
_MOST_CELLS = 1 << 28  # 16 times the global grid of 0.1 degrees


@dataclass(frozen=True)
class RegularGrid:
    """Pixel centres on regular latitudes and longitudes, in whatever order a file holds them."""

    geobox: GeoBox
    """The grid with north up and longitudes from -180, EPSG:4326."""

    rows: np.ndarray
    """Positions along latitude, from north to south."""

    columns: np.ndarray
    """Positions along longitude, from west to east.

    Where a whole circle has centres on the antimeridian, that one comes first and last: half of it lies in the west
    and half in the east, and a reader must find it at both ends.
    """

    @classmethod
    def of(cls, latitudes: np.ndarray, longitudes: np.ndarray, file: Any) -> RegularGrid:
        """Build the grid of pixel centres.

        Parameters
        ----------
        latitudes, longitudes
            Centres in degrees, 1-D, in any order; longitudes from 0 to 360 or -180 to 180.
        file
            The file, for messages.

        Returns
        -------
        RegularGrid
            The grid, and the order in which to take rows and columns.

        Raises
        ------
        GranuleError
            If they are not regular, or not on the Earth.
        """
        lat, lon = (np.asarray(axis, dtype=np.float64) for axis in (latitudes, longitudes))
        _check_axes(lat, lon, file)
        lon = _from_west(lon)
        rows, columns = np.argsort(-lat, kind="stable"), np.argsort(lon, kind="stable")
        dy, dx = -_spacing(lat[rows], file, "latitude"), _spacing(lon[columns], file, "longitude")
        west, north = lon[columns[0]] - dx / 2, lat[rows[0]] + dy / 2
        if abs(lon.size * dx - 360) < _TOLERANCE * dx and west < -180 - _TOLERANCE * dx:
            columns = np.append(columns, columns[0])
        affine = Affine(dx, 0, round(west, 9), 0, -dy, round(north, 9))
        return cls(make_geobox((rows.size, columns.size), affine, "EPSG:4326"), rows, columns)

    @property
    def name(self) -> str:
        """Short name of the area, to tell items of several areas apart."""
        (height, width), box = self.geobox.shape, self.geobox.boundingbox
        if box.right - box.left >= 359.5 and box.top - box.bottom >= 179.5:
            return "global"
        ew, ns = ("w" if box.left < 0 else "e"), ("n" if box.top >= 0 else "s")
        return f"{ew}{abs(box.left):.2f}{ns}{abs(box.top):.2f}-{width}x{height}"

    def north_up(self, values: np.ndarray) -> np.ndarray:
        """Return values (latitude, longitude) of a file as (y, x) of the grid."""
        return np.ascontiguousarray(values[np.ix_(self.rows, self.columns)])


def coordinate(names: Sequence[str], start: str, file: Any) -> str:
    """Return the one dimension whose name begins with a text.

    Parameters
    ----------
    names
        Names of the dimensions of a variable.
    start
        ``lat`` or ``lon``; case does not matter.
    file
        The file, for messages.

    Returns
    -------
    str
        The name.

    Raises
    ------
    GranuleError
        If there is none, or more than one.
    """
    found = [name for name in names if name.lower().startswith(start)]
    if len(found) != 1:
        raise GranuleError(f"{file}: found the dimensions {', '.join(names) or 'none'}, expected one like {start!r}")
    return found[0]


def _from_west(lon: np.ndarray) -> np.ndarray:
    """Return longitudes from -180 to 180; 180 itself stays where it ends an area, and is -180 where it begins one."""
    if lon.max() <= 180 + 1e-3:
        return lon
    if lon.min() >= 180 - 1e-3:
        return lon - 360
    return (np.round(lon, 6) + 180) % 360 - 180


def _check_axes(lat: np.ndarray, lon: np.ndarray, file: Any) -> None:
    if lat.ndim != 1 or lon.ndim != 1:
        raise GranuleError(
            f"{file}: {lat.ndim}-dimensional coordinates found, a regular grid of one dimension each expected"
        )
    if not lat.size or not lon.size or lat.size * lon.size > _MOST_CELLS:
        raise GranuleError(f"{file}: {lat.size} x {lon.size} cells found, 1 to {_MOST_CELLS} expected: is it damaged?")
    for name, axis, low, high in (("latitude", lat, -90, 90), ("longitude", lon, -180, 360)):
        if not (axis.min() >= low - 1e-3 and axis.max() <= high + 1e-3):  # false for NaN as well
            raise GranuleError(
                f"{file}: {name} from {axis.min():g} to {axis.max():g} found, {low} to {high} degrees expected: "
                "is it projected, or damaged?"
            )


def _spacing(centres: np.ndarray, file: Any, name: str) -> float:
    """Return the mean distance of regular coordinates, rounded to six decimals, which undoes float32."""
    if centres.size < 2:
        raise GranuleError(
            f"{file}: {centres.size} value along {name} found, at least 2 expected to know the pixel size"
        )
    steps = np.diff(centres)
    mean = round(float(steps.mean()), 6)
    if mean == 0 or np.abs(steps - mean).max() > 10 * _TOLERANCE * abs(mean):
        raise GranuleError(
            f"{file}: {name} is not regular (steps from {steps.min():.6f} to {steps.max():.6f}): "
            "areas across the antimeridian must be requested in two parts"
        )
    return mean
