"""Read a variable of a CF NetCDF file on any regular grid: its CRS from the grid mapping, its days from the time axis.

`providers.raster` reads series of unknown makers with it. Grids in degrees go through `latlon_grid`; projected ones are
placed by the grid mapping, or by a CRS that the user names where the file has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import pyproj
from affine import Affine

from stac_sm.core.errors import GranuleError
from stac_sm.core.grid import make_geobox
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.core.projections import crs_wkt
from stac_sm.ingest.formats.field_arrays import Arrays, ArrayVariable
from stac_sm.ingest.formats.latlon_grid import RegularGrid
from stac_sm.ingest.formats.time_axis import TimeAxis, TimeCoordinate, find_time_axis

LONGEST = 31
"""Days: an item that lasts longer must lie within one calendar year, or searches by a day would not find it."""

_OFF = 0.01  # of a pixel: how far centres may lie from a regular grid
_METRES = {"m": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0, "meters": 1.0, "km": 1e3, "kilometre": 1e3}
_METRES |= {"kilometres": 1e3, "kilometer": 1e3, "kilometers": 1e3}
_X, _Y, _LON, _LAT = "x", "y", "lon", "lat"
_ROLES = {
    "projection_x_coordinate": _X, "projection_y_coordinate": _Y, "longitude": _LON, "latitude": _LAT,
    "degrees_east": _LON, "degree_east": _LON, "degrees_north": _LAT, "degree_north": _LAT,
}  # fmt: skip
_NAMES = {"x": _X, "xc": _X, "easting": _X, "y": _Y, "yc": _Y, "northing": _Y}
_WARP = "warp it to a regular grid, e.g. by gdalwarp, and ingest the GeoTIFF"


@dataclass(frozen=True)
class CfSeries:
    """One variable of a file: where its pixels lie, and which days its fields stand for."""

    grid: RegularGrid
    """The grid with north up, and the order in which to take rows and columns."""

    periods: tuple[Period, ...]
    """Days of each field, in the order of the file; none of a variable without a time."""

    dims: tuple[str, ...]
    """Dimensions of the variable."""

    time: str
    """Dimension along time; empty of a single field."""

    y: str
    """Dimension along y."""

    def index(self, step: int, rows: slice) -> tuple[Any, ...]:
        """Return the index of some rows of a field, all columns.

        Parameters
        ----------
        step
            Number of the field.
        rows
            Rows of the file, in its own order.
        """
        own = {self.time: step, self.y: rows}
        kept = {*own, self.dims[-1], self.dims[-2]}
        return tuple(own.get(dim, slice(None)) if dim in kept else 0 for dim in self.dims)


def cf_series(arrays: Arrays, name: str, file: Any, *, crs: str = "", days: int = 0) -> CfSeries:
    """Find grid and days of a variable, from coordinates alone.

    Parameters
    ----------
    arrays
        Variables of the file.
    name
        The variable.
    file
        The file, for messages.
    crs
        CRS that counts where the file states none; empty: such a projected file is refused.
    days
        Days that a field counts from its time on; 0: by the bounds of the times, else by their distance.

    Returns
    -------
    CfSeries
        The description; no field has been read.

    Raises
    ------
    GranuleError
        If there is no such variable, its grid is not regular, its CRS is unknown, or two fields are of the same day.
    """
    if name not in arrays:
        fields = [one.name for one in arrays.values() if len(one.dims) > 1]
        raise GranuleError(
            f"{file}: variables {', '.join(fields) or 'none'} found, {name} expected: name it by --variable"
        )
    variable = arrays[name]
    roles = {dim: _role(arrays[dim]) for dim in variable.dims if dim in arrays}
    across = [dim for dim in variable.dims if roles.get(dim) in (_X, _LON)]
    down = [dim for dim in variable.dims if roles.get(dim) in (_Y, _LAT)]
    if len(across) != 1 or len(down) != 1:
        raise GranuleError(
            f"{file}: {name} has the dimensions {', '.join(variable.dims) or 'none'}, one with coordinates along x or "
            f"longitude and one along y or latitude expected: {_WARP}"
        )
    if variable.dims[-2:] != (down[0], across[0]):
        raise GranuleError(
            f"{file}: {name} has the dimensions {', '.join(variable.dims)}, …, {down[0]}, {across[0]} expected: "
            "transpose it, e.g. by xarray"
        )
    axis, time = _time(arrays, variable, file)
    for dim, size in zip(variable.dims, variable.shape, strict=True):
        if dim not in (time, down[0], across[0]) and size != 1:
            raise GranuleError(
                f"{file}: {name} has {size} values along {dim}, one expected: select one, e.g. by xarray or ncks"
            )
    return CfSeries(
        grid=_grid(arrays, variable, roles[across[0]] == _LON, file, crs),
        periods=() if axis is None else _periods(arrays, axis, file, days),
        dims=variable.dims,
        time=time,
        y=down[0],
    )


def _role(coordinate: ArrayVariable) -> str:
    if len(coordinate.dims) != 1:
        return ""
    stated = coordinate.attributes
    found = _ROLES.get(str(stated.get("standard_name", ""))) or _ROLES.get(str(stated.get("units", "")))
    name = coordinate.name.lower()
    return found or _NAMES.get(name) or next((one for one in (_LON, _LAT) if name.startswith(one)), "")


def _time(arrays: Arrays, variable: ArrayVariable, file: Any) -> tuple[TimeAxis | None, str]:
    """Return the axis and the dimension along which fields follow one another in time; an empty one for one field."""
    dims = variable.dims[:-2]
    others = [one for one in arrays.values() if one.name != variable.name and set(one.dims) <= set(dims)]
    found = find_time_axis(
        [TimeCoordinate(one.name, one.dims, one.attributes, one.times) for one in others], dims, file
    )
    if found is None:
        return None, ""
    if len(found.dims) > 1:
        raise GranuleError(f"{file}: times along {' and '.join(found.dims)} found, one dimension expected: select one")
    return found, found.dims[0] if found.dims else ""


def _periods(arrays: Arrays, axis: TimeAxis, file: Any, days: int) -> tuple[Period, ...]:
    """Return the days of each field: by bounds, by a number of days, or by how far apart the fields are."""
    starts = [_day(one) for one in axis.times]
    bounds = arrays.get(str(axis.coordinate.attributes.get("bounds", "")))
    if days:
        found = [Period(day, day + days * ONE_DAY) for day in starts]
    elif bounds is not None and bounds.dims[:-1] == axis.coordinate.dims and bounds.shape[-1:] == (2,):
        ends = np.sort(bounds.times().reshape(-1, 2), axis=1)
        found = [Period(_day(a), max(_day(b - np.timedelta64(1, "s")), _day(a)) + ONE_DAY) for a, b in ends]
    else:
        found = _by_distance(starts)
    if len(set(found)) < len(found):
        twice = next(str(one) for one in found if found.count(one) > 1)
        raise GranuleError(
            f"{file}: several fields of {twice} found, one expected: make daily means first, e.g. by xarray's resample"
        )
    for one in found:
        if len(one) > LONGEST and one.start.year != (one.end - ONE_DAY).year:
            raise GranuleError(
                f"{file}: a field of {one} found, at most {LONGEST} days or days of one calendar year expected: name "
                "the days of a file with one field by --period"
            )
    return tuple(found)


def _by_distance(starts: Sequence[date]) -> list[Period]:
    """Return months of fields that lie a month apart, years of fields a year apart, and days of all others."""
    gaps = {(two - one).days for one, two in pairwise(starts)}
    if gaps and gaps <= {28, 29, 30, 31}:
        return [Period.parse(f"{day:%Y-%m}") for day in starts]
    if gaps and gaps <= {365, 366}:
        return [Period.parse(f"{day:%Y}") for day in starts]
    return [Period.of_day(day) for day in starts]


def _day(instant: np.datetime64) -> date:
    day: date = instant.astype("datetime64[D]").item()
    return day


def _grid(arrays: Arrays, variable: ArrayVariable, degrees: bool, file: Any, crs: str) -> RegularGrid:
    y, x = (arrays[dim] for dim in variable.dims[-2:])
    mapping = _mapping(arrays, variable)
    if degrees:
        if mapping is not None and mapping.attributes.get("grid_mapping_name") == "rotated_latitude_longitude":
            raise GranuleError(f"{file}: a grid with a rotated pole found, a regular one expected: {_WARP}")
        return RegularGrid.of(y.read(...), x.read(...), file)
    found = _crs(mapping, file, crs)
    if found.is_geographic:
        return RegularGrid.of(y.read(...), x.read(...), file)
    unit = found.axis_info[0].unit_conversion_factor or 1.0
    (rows, top, height), (columns, left, width) = (
        _axis(one, _metres(one, file) / unit, file, descending) for one, descending in ((y, True), (x, False))
    )
    affine = Affine(width, 0, left, 0, -height, top)
    return RegularGrid(make_geobox((rows.size, columns.size), affine, crs_wkt(found.to_wkt())), rows, columns)


def _mapping(arrays: Arrays, variable: ArrayVariable) -> ArrayVariable | None:
    """Return the grid mapping of a variable; where it names none, the only one of the file."""
    named = re.split(r"[:\s]+", str(variable.attributes.get("grid_mapping", "")).strip())[0]
    if named in arrays:
        return arrays[named]
    found = [one for one in arrays.values() if "grid_mapping_name" in one.attributes]
    return found[0] if len(found) == 1 else None


def _crs(mapping: ArrayVariable | None, file: Any, crs: str) -> pyproj.CRS:
    if mapping is None:
        if crs:
            return pyproj.CRS.from_user_input(crs)
        raise GranuleError(
            f"{file}: no grid mapping found, the CRS of its coordinates expected: name it by --crs, e.g. EPSG:6933"
        )
    stated: Mapping[str, Any] = mapping.attributes
    try:
        wkt = stated.get("crs_wkt") or stated.get("spatial_ref")
        return pyproj.CRS.from_wkt(str(wkt)) if wkt else pyproj.CRS.from_cf(dict(stated))
    except (pyproj.exceptions.CRSError, KeyError, TypeError, ValueError) as error:
        raise GranuleError(
            f"{file}: the grid mapping {mapping.name} is no CRS that PROJ knows ({error!s:.200}): {_WARP}"
        ) from error


def _metres(coordinate: ArrayVariable, file: Any) -> float:
    unit = str(coordinate.attributes.get("units", "m"))
    if unit.lower() not in _METRES:
        raise GranuleError(f"{file}: {coordinate.name} in {unit!r} found, m or km expected: {_WARP}")
    return _METRES[unit.lower()]


def _axis(coordinate: ArrayVariable, factor: float, file: Any, descending: bool) -> tuple[np.ndarray, float, float]:
    """Return the order of centres, the outer edge of the first one and the pixel size, in units of the CRS."""
    centres = np.asarray(coordinate.read(...), dtype=np.float64) * factor
    if centres.size < 2 or not np.isfinite(centres).all():
        raise GranuleError(f"{file}: {coordinate.name} has {centres.size} values, at least 2 numbers expected")
    order = np.argsort(-centres if descending else centres, kind="stable")
    sorted_ones = centres[order]
    first, last = float(sorted_ones[0]), float(sorted_ones[-1])
    step = (last - first) / (centres.size - 1)
    regular = first + step * np.arange(centres.size)
    if step == 0 or np.abs(sorted_ones - regular).max() > _OFF * abs(step):
        raise GranuleError(f"{file}: {coordinate.name} is not regular: {_WARP}")
    return order, first - step / 2, abs(step)
