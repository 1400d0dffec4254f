"""ERA5-Land in NetCDF, as the Climate Data Store has made it.

Old layout (until 2024): classic NetCDF, ``time``, packed integers, and where final and preliminary data meet a
dimension ``expver`` of 1 and 5. New layout: NetCDF-4, ``valid_time``, with ``number`` and ``expver`` beside it.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stac_sm.core.errors import GranuleError
from stac_sm.ingest.formats.hourly import HourlyFields, finality
from stac_sm.ingest.formats.latlon_grid import RegularGrid, coordinate
from stac_sm.ingest.formats.netcdf import decode_times, open_netcdf, packing_problem, unpack_values

_TIMES = ("valid_time", "time")


def open_era5_netcdf(file: Path, wanted: Sequence[str]) -> HourlyFields:
    """Fields of a file; reads coordinates only.

    Raises
    ------
    GranuleError
        If it is no NetCDF, or holds something else.
    """
    with open_netcdf(file) as data:
        found = [name for name in wanted if name in data.variables]
        time = next((name for name in _TIMES if name in data.variables and name in _around(data, found)), None)
        if wanted[0] not in found or time is None:
            raise GranuleError(
                f"{file}: found {sorted(data.variables)}, wanted the variable {wanted[0]} on a time axis "
                f"({' or '.join(_TIMES)}): is it ERA5-Land?"
            )
        first = data[wanted[0]]
        latitude, longitude = (coordinate(first.dimensions, start, file) for start in ("lat", "lon"))
        for name in found:
            _check_dimensions(file, data[name], time, latitude, longitude, first)
        return HourlyFields(
            file=file,
            grid=RegularGrid.of(unpack_values(data[latitude]), unpack_values(data[longitude]), file),
            times=decode_times(data[time], file),
            units={name: str(getattr(data[name], "units", "")) for name in found},
            read=partial(_read, file, time, latitude, longitude),
            chunk=_chunk(first, time),
            final=_final(data, first, time),
            left_out={name: problem for name in found if (problem := packing_problem(data[name]))},
        )


def _around(data: Any, found: Sequence[str]) -> set[str]:
    """Names of the dimensions of the variables, and of what stands beside them without one (a single hour)."""
    dimensions = {dimension for name in found for dimension in data[name].dimensions}
    return dimensions | {name for name in _TIMES if name in data.variables and not data[name].dimensions}


def _check_dimensions(file: Path, variable: Any, time: str, latitude: str, longitude: str, first: Any) -> None:
    sizes = dict(zip(variable.dimensions, variable.shape, strict=True))
    others = {name: size for name, size in sizes.items() if name not in (time, latitude, longitude, "expver")}
    if any(size != 1 for size in others.values()) or variable.dimensions != first.dimensions:
        raise GranuleError(
            f"{file}: {variable.name} has the dimensions {', '.join(f'{k} {n}' for k, n in sizes.items())}, "
            f"wanted {time}, {latitude} and {longitude}, for all variables alike: ask for one member and one stream"
        )


def _chunk(variable: Any, time: str) -> int:
    """Number of times in a chunk of the file."""
    chunks = variable.chunking()
    if time not in variable.dimensions or not isinstance(chunks, list):
        return 1
    return int(chunks[variable.dimensions.index(time)])


def _read(file: Path, time: str, latitude: str, longitude: str, name: str, start: int, end: int) -> np.ndarray:
    """Values (time, latitude, longitude) of a variable; where there are several versions, the final one first."""
    with open_netcdf(file) as data:
        names = data[name].dimensions
        values = unpack_values(data[name], tuple(slice(start, end) if axis == time else slice(None) for axis in names))
        versions = _final_first(data, data[name])
    axes = [names.index(axis) for axis in (time, latitude, longitude) if axis in names]
    others = [axis for axis in range(len(names)) if axis not in axes]  # expver, and what has length 1
    values = values.transpose(*others, *axes)
    values = values.reshape(-1, *values.shape[len(others) :])[versions]
    best: np.ndarray = values[0]
    for version in values[1:]:
        best = np.where(np.isnan(best), version, best)
    return best if time in names else best[np.newaxis]


def _final(data: Any, variable: Any, time: str) -> Sequence[bool | None]:
    """Whether each time is final; nothing where the file does not say so.

    Along a dimension ``expver`` preliminary data follow the final ones in time: where they meet is searched for.
    """
    versions = data.variables.get("expver")
    if versions is None:
        return []
    known = [finality(version) for version in np.ravel(versions[...])]
    times = np.atleast_1d(data[time][...]).size
    if versions.dimensions == (time,) or not versions.dimensions:
        return known if len(known) == times else known * times
    if versions.dimensions != ("expver",) or "expver" not in variable.dimensions or True not in known:
        return []
    axes = [variable.dimensions.index(name) for name in ("expver", time) if name in variable.dimensions]

    def is_final(position: int) -> bool:
        index: list[Any] = [slice(None)] * variable.ndim
        for axis, at in zip(axes, (known.index(True), position), strict=False):
            index[axis] = at
        return not bool(np.isnan(unpack_values(variable, tuple(index))).all())

    meet = bisect.bisect_left(range(times), True, key=lambda position: not is_final(position))
    return [True] * meet + [False] * (times - meet)


def _final_first(data: Any, variable: Any) -> list[int]:
    """Positions along ``expver``: final data (1) before preliminary ones (5)."""
    if "expver" not in variable.dimensions:
        return [0]
    size = variable.shape[variable.dimensions.index("expver")]
    if "expver" not in data.variables:
        return list(range(size))
    return sorted(range(size), key=lambda index: int(data["expver"][index]))
