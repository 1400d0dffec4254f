"""Hourly (or daily) fields on one regular grid, from any file format, and their daily means.

The readers of ERA5-Land (GRIB, NetCDF, Zarr) return `HourlyFields`, `joined_hours` joins the hours of several files,
and the provider writes a COG for each daily mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np

from stac_sm.core.errors import GranuleError
from stac_sm.core.variables import VARIABLES
from stac_sm.ingest.formats.latlon_grid import RegularGrid

_MEMORY = 640 << 20  # bytes kept: a day of the global grid of 0.1 degrees, or a whole regional file
_PACKING = 0.02  # m3 m-3: packing leaves values such as -0.009 where there is no water
_UNITS = {
    "swvl1": ("m**3 m**-3", "m3 m-3", "m^3 m^-3", "m3/m3", "m^3/m^3", "m**3/m**3", "1"),
    "stl1": ("K", "kelvin", "Kelvin"),
    "sd": ("m", "m of water equivalent", "metre", "meters"),
}


@dataclass(frozen=True)
class HourlyFields:
    """Fields on one grid at several times."""

    file: Any
    """Path or address of the file, for messages."""

    grid: RegularGrid
    """Grid of the pixels."""

    times: np.ndarray
    """Instants, UTC, ``datetime64[s]``, in the order of the file."""

    units: Mapping[str, str]
    """Variables of the file, each with the unit that the file states; empty where it states none. The first one is the
    variable that the file is read for; of the others those of an unknown unit are left out."""

    read: Callable[[str, int, int], np.ndarray]
    """Values (time, latitude, longitude) of a variable from one position on the time axis up to, and without,
    another, in the order of the file; NaN where there is none."""

    chunk: int = 1
    """Number of times that are stored together."""

    final: Sequence[bool | None] = ()
    """Whether the values at each of the times are final, not preliminary; None, or nothing at all, where the file does
    not say so."""

    left_out: Mapping[str, str] = field(default_factory=dict)
    """Variables of the file that cannot be used, since their unit or scale cannot be right, and why."""

    _kept: dict[tuple[str, int], np.ndarray] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        wrong = {
            name: f"{name} in {unit!r} found, {VARIABLES[name].unit!r} expected: is it another product?"
            for name, unit in self.units.items()
            if unit and unit not in _UNITS[name]
        }
        wrong |= self.left_out
        first = next(iter(self.units))
        if first in wrong:
            raise GranuleError(f"{self.file}: {wrong[first]}")
        object.__setattr__(self, "left_out", wrong)
        object.__setattr__(self, "units", {name: unit for name, unit in self.units.items() if name not in wrong})

    def days(self) -> dict[date, np.ndarray]:
        """Return the positions on the time axis by UTC day; an instant that occurs twice counts once, the last one."""
        days = self.times.astype("datetime64[D]")
        order = np.argsort(days, kind="stable")
        found, first = np.unique(days[order], return_index=True)
        return dict(zip(found.tolist(), np.split(order, first[1:]), strict=True)) if len(found) else {}

    def is_final(self, position: int) -> bool | None:
        """Return whether the values at a position on the time axis are final; None where the file does not say so."""
        return self.final[position] if len(self.final) else None

    def at(self, name: str, position: int) -> np.ndarray:
        """Return the values (y, x) at one position on the time axis, north up; NaN where there is none."""
        block = position // self._step
        return self.grid.north_up(self._block(name, block)[position - block * self._step])

    def mean(self, name: str, positions: np.ndarray) -> np.ndarray:
        """Compute the mean over times.

        Parameters
        ----------
        name
            Name of the variable, one of ``units``.
        positions
            Positions on the time axis, ascending.

        Returns
        -------
        numpy.ndarray
            float32 (y, x), north up, in the variable's unit; NaN where any time is missing (sea, or a gap of the
            provider).

        Raises
        ------
        GranuleError
            If no pixel has a value, or a value is physically impossible.
        """
        total: np.ndarray | float = 0.0
        for block in np.unique(positions // self._step):
            inside = positions[positions // self._step == block] - block * self._step
            total = total + self._block(name, int(block))[inside].sum(axis=0, dtype=np.float64)
        stored = self.grid.north_up(np.asarray(total) / len(positions)).astype(np.float32)
        return checked_mean(name, stored, self.file)

    @property
    def _step(self) -> int:
        """Number of times that are read together: whole chunks, as many as fit."""
        fit = max(1, _MEMORY // (4 * self.grid.rows.size * self.grid.columns.size))
        return fit - fit % self.chunk if fit >= self.chunk else fit

    def _block(self, name: str, block: int) -> np.ndarray:
        """Return values (time, latitude, longitude) of a block, kept until the memory is needed."""
        if (name, block) not in self._kept:
            start = block * self._step
            values = self.read(name, start, min(start + self._step, len(self.times)))
            if values.nbytes + sum(kept.nbytes for kept in self._kept.values()) > _MEMORY:
                self._kept.clear()
            self._kept[name, block] = values
        return self._kept[name, block]


def finality(version: Any) -> bool | None:
    """Return whether ECMWF's experiment version is that of final data (1) or of preliminary ones (5); else None."""
    text = version.decode("ascii", "replace") if isinstance(version, bytes) else str(version)
    return {"1": True, "5": False}.get(text.strip().lstrip("0").removesuffix(".0"))


def checked_mean(name: str, mean: np.ndarray, file: Any) -> np.ndarray:
    """Return a daily mean after comparing it with the physically possible range.

    Parameters
    ----------
    name
        Name of the variable.
    mean
        float32 (y, x), NaN where there is no value.
    file
        Path or address of the file or files, for messages.

    Returns
    -------
    numpy.ndarray
        The mean; small negative values, which packing leaves, become 0 where 0 is the least possible value.

    Raises
    ------
    GranuleError
        If no pixel has a value, or a value is physically impossible.
    """
    if np.isnan(mean).all():
        raise GranuleError(f"{file}: {name} has no value on a day, at least one expected: is the area all sea?")
    (low, high), least, most = VARIABLES[name].valid, float(np.nanmin(mean)), float(np.nanmax(mean))
    if least < low - (_PACKING if low == 0 else 0) or most > high:
        raise GranuleError(
            f"{file}: {name} from {least:g} to {most:g} found, {low:g} to {high:g} {VARIABLES[name].unit} "
            "expected: it has another unit, or is damaged"
        )
    return np.maximum(mean, np.float32(0)) if low == 0 else mean
