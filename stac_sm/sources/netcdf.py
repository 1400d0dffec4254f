"""NetCDF and HDF5 files: opened with an error that says what is wrong, times decoded, truncation seen.

The library pads a truncated classic NetCDF file (as the Climate Data Store made until 2024) with zeros, and zero is a
soil moisture: the size of such files is checked against their header.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stac_sm.errors import GranuleError
from stac_sm.sources.netcdf_classic import ClassicHeader


@contextlib.contextmanager
def opened(file: Path, kind: str = "NetCDF") -> Iterator[Any]:
    """The file as ``netCDF4.Dataset``; errors of the library, also while reading, become ours.

    Raises
    ------
    GranuleError
        If it cannot be read, or is shorter than its header says.
    """
    import netCDF4

    try:
        _check_whole(file)
        with netCDF4.Dataset(file) as data:
            yield data
    except (OSError, RuntimeError, struct.error) as error:
        size = file.stat().st_size if file.exists() else 0
        raise GranuleError(
            f"{file}: {size} bytes found that are no readable {kind} ({error}): fetch it again"
        ) from error


def times(variable: Any, file: Path) -> np.ndarray:
    """Instants (n,) of a CF time variable, UTC, ``datetime64[s]``; a scalar gives one.

    Raises
    ------
    GranuleError
        If it has no CF units, or gaps.
    """
    import netCDF4

    values, units = np.ma.atleast_1d(variable[...]), getattr(variable, "units", "")
    calendar = getattr(variable, "calendar", "standard")
    if not np.isfinite(np.ma.filled(values.astype(np.float64), np.nan)).all():
        raise GranuleError(f"{file}: {variable.name} has gaps, an instant at every position wanted: fetch it again")
    try:
        found = netCDF4.num2date(
            values, units, calendar, only_use_cftime_datetimes=False, only_use_python_datetimes=True
        )
    except (ValueError, OverflowError) as error:
        raise GranuleError(f"{file}: {variable.name} has the units {units!r}, CF time wanted ({error})") from error
    micros = np.array(found, dtype="datetime64[us]").astype(np.int64)
    return np.asarray(((micros + 500_000) // 1_000_000).astype("datetime64[s]"))


def numbers(variable: Any, index: Any = ...) -> np.ndarray:
    """Values of a variable, unpacked; NaN where there is no data. Float32 stays float32."""
    values = np.ma.asarray(variable[index])
    kind = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
    return np.ma.filled(values.astype(kind), np.nan)


def _check_whole(file: Path) -> None:
    """Compare the size of a classic NetCDF file with its header; other files are passed over."""
    with file.open("rb") as content:
        if content.read(3) != b"CDF":
            return
        wanted = ClassicHeader(content).size
    found = file.stat().st_size
    if found < wanted:
        raise GranuleError(f"{file}: {found} bytes of {wanted} found, it is cut off: fetch it again")
