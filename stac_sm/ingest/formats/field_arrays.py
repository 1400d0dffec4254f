"""Read hourly fields of NetCDF files and Zarr stores, once each format has described its variables as `ArrayVariable`.

The providers of ERA5-Land open a file or a store; everything else is the same for both: which coordinate says when a
field is valid, which dimensions there may be, and how final and preliminary data lie beside each other.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from stac_sm.core.errors import GranuleError
from stac_sm.ingest.formats.hourly import HourlyFields, finality
from stac_sm.ingest.formats.latlon_grid import RegularGrid, coordinate
from stac_sm.ingest.formats.time_axis import (
    TimeAxis,
    TimeCoordinate,
    check_time_steps,
    find_time_axis,
    spread,
    start_of_intervals,
)

_VERSIONS = "expver"


@dataclass(frozen=True)
class ArrayVariable:
    """A variable of an open file or store."""

    name: str
    """Its name."""

    dims: tuple[str, ...]
    """Its dimensions."""

    shape: tuple[int, ...]
    """Their lengths."""

    attributes: Mapping[str, Any]
    """Its attributes, as the file states them."""

    read: Callable[[Any], np.ndarray]
    """Return the physical values of an index, NaN where there is none."""

    raw: Callable[[], np.ndarray]
    """Return all values as they are stored, e.g. text."""

    times: Callable[[], np.ndarray]
    """Return all values as instants (``datetime64[s]``) or durations (``timedelta64[s]``)."""

    chunks: tuple[int, ...] = ()
    """Lengths of its chunks; none where it is not stored in chunks."""

    problem: str = ""
    """What is wrong with its scale or offset; empty where nothing is."""


Arrays = Mapping[str, ArrayVariable]
OpenArrays = Callable[[], AbstractContextManager[Arrays]]


@dataclass(frozen=True)
class FieldAxes:
    """Axes of the fields of a file."""

    time: TimeAxis
    """When they are valid."""

    latitude: str
    """Dimension along latitude."""

    longitude: str
    """Dimension along longitude."""


def find_axes(file: Any, arrays: Arrays, required: Sequence[str]) -> FieldAxes:
    """Find the axes of the fields that are asked for, and check that all fields have the same.

    Parameters
    ----------
    file
        The file, for messages.
    arrays
        Its variables.
    required
        Names of the fields, at least one of which is required; the first one that is there stands for the others.

    Returns
    -------
    FieldAxes
        Axes of the first one that is there.

    Raises
    ------
    GranuleError
        If none is there, or it has no time, or lies along other dimensions; if the fields are means over a month, or
        another statistic.
    """
    held = [name for name in required if name in arrays]
    time = field_time_axis(file, arrays, held[0]) if held else None
    if time is None:
        raise GranuleError(
            f"{file}: found {sorted(arrays)}, expected the variable {required[0]} on a time axis (valid_time, or CF's "
            f"standard name `time`), or {' or '.join(required[1:])} beside a file of it: is it ERA5-Land?"
        )
    first = arrays[held[0]]
    latitude, longitude = (coordinate(first.dims, start, file) for start in ("lat", "lon"))
    for variable in [arrays[name] for name in required if name in arrays]:
        _check_dimensions(file, variable, (*time.dims, latitude, longitude), first)
    check_time_steps(first.name, first.attributes, time.times, file)
    return FieldAxes(time, latitude, longitude)


def field_time_axis(file: Any, arrays: Arrays, name: str) -> TimeAxis | None:
    """Return when the fields of a variable are valid.

    Parameters
    ----------
    file
        The file, for messages.
    arrays
        Its variables.
    name
        Name of the variable.

    Returns
    -------
    TimeAxis or None
        None if it is not there, or has no time. Where the file states intervals, their beginnings.

    Raises
    ------
    GranuleError
        If nothing but the beginning of a forecast is known, or the intervals are longer than a day.
    """
    if name not in arrays:
        return None
    dims = [dim for dim in arrays[name].dims if not dim.lower().startswith(("lat", "lon")) and dim != _VERSIONS]
    others = [one for one in arrays.values() if one.name not in (name, _VERSIONS)]
    time = find_time_axis([TimeCoordinate(one.name, one.dims, one.attributes, one.times) for one in others], dims, file)
    return None if time is None else _by_bounds(file, arrays, time)


def hourly_fields(file: Any, open_arrays: OpenArrays, required: Sequence[str]) -> HourlyFields:
    """Return the fields of a file; reads coordinates only.

    Parameters
    ----------
    file
        Path or address, for messages.
    open_arrays
        Opens its variables.
    required
        Names of the fields, at least one of which is required.

    Returns
    -------
    HourlyFields
        The fields that are there.

    Raises
    ------
    GranuleError
        If it holds something else.
    """
    with open_arrays() as arrays:
        axes = find_axes(file, arrays, required)
        first = next(arrays[name] for name in required if name in arrays)
        return HourlyFields(
            file=file,
            grid=RegularGrid.of(arrays[axes.latitude].read(...), arrays[axes.longitude].read(...), file),
            times=axes.time.times,
            units={name: str(arrays[name].attributes.get("units", "")) for name in required if name in arrays},
            read=partial(_read, open_arrays, axes),
            chunk=_chunk(first, axes.time.dims),
            final=_final(arrays, first, axes.time),
            left_out=_left_out(file, arrays, axes, required),
        )


def _left_out(file: Any, arrays: Arrays, axes: FieldAxes, required: Sequence[str]) -> dict[str, str]:
    """Return fields that cannot be used, and why; the first one there has been checked for statistics already."""
    found = {name: arrays[name].problem for name in required if name in arrays and arrays[name].problem}
    for variable in [arrays[name] for name in required if name in arrays][1:]:
        try:
            check_time_steps(variable.name, variable.attributes, axes.time.times, file)
        except GranuleError as error:
            found.setdefault(variable.name, str(error).removeprefix(f"{file}: "))
    return found


def _check_dimensions(file: Any, variable: ArrayVariable, known: Sequence[str], first: ArrayVariable) -> None:
    sizes = dict(zip(variable.dims, variable.shape, strict=True))
    others = {name: size for name, size in sizes.items() if name not in (*known, _VERSIONS)}
    if any(size != 1 for size in others.values()) or variable.dims != first.dims:
        raise GranuleError(
            f"{file}: {variable.name} has the dimensions {', '.join(f'{k} {n}' for k, n in sizes.items())}, "
            f"expected {', '.join(known[:-1])} and {known[-1]}, for all variables alike: ask for one member and one "
            "stream"
        )


def _by_bounds(file: Any, arrays: Arrays, time: TimeAxis) -> TimeAxis:
    """Return the axis with the instants at which its intervals begin, where the file states intervals."""
    bounds = arrays.get(str(time.coordinate.attributes.get("bounds", "")))
    if bounds is None or bounds.dims[:-1] != time.dims or bounds.shape[-1] != 2:
        return time
    return TimeAxis(time.coordinate, time.dims, start_of_intervals(bounds.times(), file, time.coordinate.name))


def _chunk(variable: ArrayVariable, time: Sequence[str]) -> int:
    """Return the number of times that are stored together."""
    if not variable.chunks or not time:
        return 1
    inner = math.prod(size for name, size in zip(variable.dims, variable.shape, strict=True) if name in time[1:])
    return variable.chunks[variable.dims.index(time[0])] * inner


def _read(open_arrays: OpenArrays, axes: FieldAxes, name: str, start: int, end: int) -> np.ndarray:
    """Return values (time, latitude, longitude) of a variable; of several versions the final one counts first."""
    time = axes.time.dims
    with open_arrays() as arrays:
        variable = arrays[name]
        sizes = dict(zip(variable.dims, variable.shape, strict=True))
        inner = math.prod(sizes[dim] for dim in time[1:])
        rows = slice(start // inner, -(-end // inner))
        values = variable.read(tuple(rows if dim in time[:1] else slice(None) for dim in variable.dims))
        order = _final_first(arrays, variable)
    kept = [variable.dims.index(dim) for dim in (*time, axes.latitude, axes.longitude)]
    others = [axis for axis in range(len(variable.dims)) if axis not in kept]  # expver, and what has length 1
    values = values.transpose(*others, *kept)
    values = values.reshape(-1, math.prod(values.shape[len(others) : -2]), *values.shape[-2:])[order]
    best: np.ndarray = values[0]
    for version in values[1:]:
        best = np.where(np.isnan(best), version, best)
    return best[start - rows.start * inner : end - rows.start * inner]


def _final(arrays: Arrays, variable: ArrayVariable, time: TimeAxis) -> Sequence[bool | None]:
    """Return whether each time is final; nothing where the file does not say so.

    Along a dimension ``expver`` preliminary data follow the final ones in time: where they meet is searched for.
    """
    versions = arrays.get(_VERSIONS)
    if versions is None:
        return []
    if set(versions.dims) <= set(time.dims):
        sizes = dict(zip(variable.dims, variable.shape, strict=True))
        stated = spread(versions.raw(), versions.dims, time.dims)
        every = np.broadcast_to(stated, [sizes[dim] for dim in time.dims])
        return [finality(version) for version in every.ravel().tolist()]
    known = [finality(version) for version in versions.raw().ravel().tolist()]
    if versions.dims != (_VERSIONS,) or _VERSIONS not in variable.dims or True not in known:
        return []
    shape = [variable.shape[variable.dims.index(dim)] for dim in time.dims]

    def is_final(position: int) -> bool:
        at = dict(zip(time.dims, np.unravel_index(position, shape) if shape else (), strict=True))
        at[_VERSIONS] = np.intp(known.index(True))
        index = tuple(int(at[dim]) if dim in at else slice(None) for dim in variable.dims)
        return not bool(np.isnan(variable.read(index)).all())

    meet = bisect.bisect_left(range(len(time.times)), True, key=lambda position: not is_final(position))
    return [True] * meet + [False] * (len(time.times) - meet)


def _final_first(arrays: Arrays, variable: ArrayVariable) -> list[int]:
    """Return the positions along ``expver``: final data (1) before preliminary ones (5)."""
    if _VERSIONS not in variable.dims:
        return [0]
    size = variable.shape[variable.dims.index(_VERSIONS)]
    if _VERSIONS not in arrays:
        return list(range(size))
    known = [finality(version) for version in arrays[_VERSIONS].raw().ravel().tolist()]
    return sorted(range(size), key=lambda index: (True, None, False).index(known[index]))
