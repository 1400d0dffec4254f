"""Open NetCDF and HDF5 files with clear errors, decode times, and detect truncated files.

Providers of ERA5-Land, ESA CCI and SMAP read through here. The library pads a truncated classic NetCDF file (as the
Climate Data Store made until 2024) with zeros, and zero is a possible soil moisture. So `open_netcdf` compares the size
of such files (CDF-1, CDF-2, CDF-5) with the one that `ClassicHeader` computes from their header.
"""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from stac_sm.core.errors import GranuleError, raised_by
from stac_sm.ingest.formats.field_arrays import ArrayVariable
from stac_sm.ingest.formats.time_axis import durations

_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
"""Size of a value, by its external type."""


class ClassicHeader:
    """Header of a classic NetCDF file, which implies the size of the file.

    Parameters
    ----------
    content
        The open file, positioned behind its first three bytes ``CDF``.

    Raises
    ------
    struct.error
        If the header itself is cut off.
    """

    def __init__(self, content: BinaryIO) -> None:
        self._content = content
        version = content.read(1)[:1]
        self._wide = ">q" if version == b"\x05" else ">i"  # of counts and lengths
        self._offset = ">i" if version == b"\x01" else ">q"
        self.records = self._number(self._wide)
        self._lengths = [self._dimension() for _ in range(self._list())]
        self._skip_attributes()
        self._ends: list[int] = []
        self._in_records: list[tuple[int, int]] = []
        for _ in range(self._list()):
            self._variable()
        self._header = content.tell()

    @property
    def size(self) -> int:
        """Number of bytes that the whole file must have."""
        return max([self._header, *self._ends, *self._last_records()])

    def _last_records(self) -> list[int]:
        """Return the end of each variable's last record; records are padded unless there is one variable only."""
        if self.records < 1:
            return []
        single = len(self._in_records) == 1
        stride = sum(size if single else _padded(size) for _, size in self._in_records)
        return [begin + (self.records - 1) * stride + size for begin, size in self._in_records]

    def _variable(self) -> None:
        self._skip(self._number(self._wide))
        shape = [self._lengths[self._number(self._wide)] for _ in range(self._number(self._wide))]
        self._skip_attributes()
        value = _BYTES.get(self._number(">i"), 1)
        self._number(self._wide)  # the size that is written here does not hold for large variables
        begin = self._number(self._offset)
        if shape[:1] == [0]:
            self._in_records.append((begin, math.prod(shape[1:]) * value))
        else:
            self._ends.append(begin + math.prod(shape) * value)

    def _dimension(self) -> int:
        self._skip(self._number(self._wide))
        return self._number(self._wide)

    def _skip_attributes(self) -> None:
        for _ in range(self._list()):
            self._skip(self._number(self._wide))
            value = _BYTES.get(self._number(">i"), 1)
            self._skip(self._number(self._wide) * value)

    def _list(self) -> int:
        self._number(">i")  # its tag
        return self._number(self._wide)

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._content.read(struct.calcsize(form)))[0])

    def _skip(self, count: int) -> None:
        self._content.seek(_padded(count), 1)


def _padded(count: int) -> int:
    return count + -count % 4


@contextlib.contextmanager
def open_netcdf(file: Path, kind: str = "NetCDF") -> Iterator[Any]:
    """Open a file as ``netCDF4.Dataset``; errors of the library, also while reading, become `GranuleError`.

    Other errors of the code inside pass: they say nothing about the file.

    Parameters
    ----------
    file
        A local file.
    kind
        Name of the format, for messages.

    Yields
    ------
    netCDF4.Dataset
        The open dataset.

    Raises
    ------
    GranuleError
        If it cannot be read, or is shorter than its header says.
    """
    import netCDF4

    try:
        _check_whole(file)
        opened = netCDF4.Dataset(file)
    except (OSError, RuntimeError, TypeError, ValueError, IndexError, struct.error) as error:
        raise _unreadable(file, kind, error) from error
    with opened as data:
        try:
            yield data
        except (OSError, RuntimeError, TypeError, ValueError) as error:  # the last two: of attributes that it trusts
            if raised_by(error, "netCDF4"):
                raise _unreadable(file, kind, error) from error
            raise


def _unreadable(file: Path, kind: str, error: Exception) -> GranuleError:
    size = file.stat().st_size if file.exists() else 0
    return GranuleError(f"{file}: {size} bytes found that are no readable {kind} ({error}): fetch it again")


def decode_times(variable: Any, file: Path, timed_as: Any = None) -> np.ndarray:
    """Return the instants of a CF time variable.

    Parameters
    ----------
    variable
        A ``netCDF4.Variable`` with CF units; a scalar gives one instant.
    file
        The file, for messages.
    timed_as
        The variable whose units and calendar count; None for its own.

    Returns
    -------
    numpy.ndarray
        ``datetime64[s]`` (n,), UTC.

    Raises
    ------
    GranuleError
        If it has no CF units, or gaps.
    """
    import netCDF4

    timed_as = variable if timed_as is None else timed_as
    values, units = np.ma.atleast_1d(variable[...]).ravel(), getattr(timed_as, "units", "")
    calendar = getattr(timed_as, "calendar", "standard")
    if not np.isfinite(np.ma.filled(values.astype(np.float64), np.nan)).all():
        raise GranuleError(f"{file}: {variable.name} has gaps, an instant at every position expected: fetch it again")
    try:
        found = netCDF4.num2date(
            values, units, calendar, only_use_cftime_datetimes=False, only_use_python_datetimes=True
        )
    except (ValueError, OverflowError) as error:
        raise GranuleError(f"{file}: {variable.name} has the units {units!r}, CF time expected ({error})") from error
    micros = np.array(found, dtype="datetime64[us]").astype(np.int64)
    return np.asarray(((micros + 500_000) // 1_000_000).astype("datetime64[s]"))


@contextlib.contextmanager
def open_arrays(file: Path) -> Iterator[Mapping[str, ArrayVariable]]:
    """Open a file, and describe its variables as `field_arrays` and `time_axis` take them.

    Parameters
    ----------
    file
        A local NetCDF file.

    Yields
    ------
    mapping of ArrayVariable
        Variables by their names.

    Raises
    ------
    GranuleError
        If it cannot be read, or is shorter than its header says.
    """
    with open_netcdf(file) as data:
        yield describe_variables(data, file)


def describe_variables(data: Any, file: Path) -> dict[str, ArrayVariable]:
    """Return the variables of an open ``netCDF4.Dataset`` by their names; the file is for messages."""
    ends = {str(getattr(one, "bounds", "")): one for one in data.variables.values()}
    return {name: _array(one, ends.get(name, one), file) for name, one in data.variables.items()}


def _array(variable: Any, timed_as: Any, file: Path) -> ArrayVariable:
    """Describe a variable; the ends of intervals have the units of the coordinate that names them."""
    chunks = variable.chunking()
    return ArrayVariable(
        name=variable.name,
        dims=tuple(variable.dimensions),
        shape=tuple(variable.shape),
        attributes={name: variable.getncattr(name) for name in variable.ncattrs()},
        read=partial(unpack_values, variable),
        raw=lambda: np.asarray(variable[...]),
        times=partial(_times, variable, timed_as, file),
        chunks=tuple(chunks) if isinstance(chunks, list) else (),
        problem=packing_problem(variable),
    )


def _times(variable: Any, timed_as: Any, file: Path) -> np.ndarray:
    """Return instants of a CF time variable, or durations of a forecast period, in its shape."""
    unit = str(getattr(timed_as, "units", ""))
    found = durations(np.ma.filled(np.ma.asarray(variable[...]).astype(np.float64), np.nan), unit)
    if found is not None:
        return found
    return decode_times(variable, file, timed_as).reshape(variable.shape)


def unpack_values(variable: Any, index: Any = ...) -> np.ndarray:
    """Return the physical values of a variable.

    Parameters
    ----------
    variable
        A ``netCDF4.Variable``, which applies scale, offset and fill.
    index
        Part to read; all of it by default.

    Returns
    -------
    numpy.ndarray
        float64, or float32 where the variable is unpacked to it; NaN where there is no data.

    Raises
    ------
    GranuleError
        If scale or offset is no number: the library would ignore it with a warning, and return stored integers.
    """
    problem = packing_problem(variable)
    if problem:
        raise GranuleError(f"{variable.group().filepath()}: {problem}")
    values = np.ma.asarray(variable[index])
    kind = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
    return np.ma.filled(values.astype(kind), np.nan)


def packing_problem(variable: Any) -> str:
    """Return what is wrong with scale, offset or fill of a ``netCDF4.Variable``; empty where nothing is.

    A scale of 0 is wrong, too: all values would be the same. A fill may be NaN.
    """
    for name in ("scale_factor", "add_offset", "_FillValue"):
        if name not in variable.ncattrs() or getattr(variable.dtype, "kind", "") not in "fiu":
            continue
        number = np.asarray(variable.getncattr(name))
        sound = number.size == 1 and number.dtype.kind in "fiu"
        finite = sound and bool(np.isfinite(number).all())
        if not (sound if name == "_FillValue" else finite) or (name == "scale_factor" and not number.any()):
            return f"{variable.name} has {name} {number.tolist()!s:.40}, a number expected: fetch it again"
    return ""


def _check_whole(file: Path) -> None:
    """Compare the size of a classic NetCDF file with its header; other files are not checked."""
    with file.open("rb") as content:
        if content.read(3) != b"CDF":
            return
        expected = ClassicHeader(content).size
    found = file.stat().st_size
    if found < expected:
        raise GranuleError(f"{file}: {found} bytes of {expected} found, it is cut off: fetch it again")
