"""Files that an export is written to: NetCDF, Zarr, and Zarr in an Icechunk repository.

Each kind makes an empty file from a Dataset without days, and adds days to it. What is there stays whole: a NetCDF file
is replaced at once when it is complete, Icechunk commits, and a Zarr store gets its new times last.
"""

from __future__ import annotations

import os
import shutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.core.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

DAYS_A_CHUNK = 16
"""Days in a chunk of a file: few reads for a time series, and days can still be added cheaply."""

PIXELS_A_CHUNK = 256
"""Rows and columns in a chunk of a file."""

Days = Mapping[str, np.ndarray]
"""Values of some days by variable, time first, as they are stored."""


@dataclass(frozen=True)
class DayBlock:
    """Some days that follow one another: their times, and their values part by part."""

    times: Days
    """``time`` and ``time_bnds``."""

    parts: Iterable[tuple[slice, Days]]
    """Rows of a map, and values of the days in these rows; computed as they are asked for."""


@dataclass(frozen=True)
class ExportFile(ABC):
    """A file that days are added to."""

    path: Path
    """Where it is, or will be."""

    media_type = ""
    """Media type of the asset."""

    def exists(self) -> bool:
        """Return whether it is there."""
        return self.path.exists()

    @abstractmethod
    def attributes(self) -> Mapping[str, Any]:
        """Return the global attributes of what is there; reads only."""

    @abstractmethod
    def drop_unfinished(self) -> None:
        """Take away what an export that was cut short has left in it."""

    @abstractmethod
    def open(self) -> xr.Dataset:
        """Open what is there, as stored: times are numbers of days. The caller closes it."""

    @abstractmethod
    def write(self, empty: xr.Dataset | None, blocks: Iterable[DayBlock], attributes: Mapping[str, str]) -> None:
        """Add days, in order.

        Parameters
        ----------
        empty
            Dataset without days from which a new file is made; None adds to the one that is there.
        blocks
            The days.
        attributes
            Global attributes that change with each added day.
        """


class NetCDFFile(ExportFile):
    """One NetCDF-4 file, deflated, with unlimited time."""

    media_type = "application/x-netcdf"

    def attributes(self) -> Mapping[str, Any]:
        """Return the global attributes."""
        with self.open() as there:
            return dict(there.attrs)

    def drop_unfinished(self) -> None:
        """Leave it: the file is replaced when it is complete."""

    def open(self) -> xr.Dataset:
        """Open the file."""
        import xarray as xr

        return xr.open_dataset(self.path, engine="netcdf4", decode_times=False, mask_and_scale=False)

    def write(self, empty: xr.Dataset | None, blocks: Iterable[DayBlock], attributes: Mapping[str, str]) -> None:
        """Add days to a copy, and put it in the place of the file when it is complete; see `ExportFile.write`."""
        import netCDF4

        part = self.path.with_name(f".{self.path.name}.part")
        try:
            if empty is None:
                shutil.copyfile(self.path, part)
            else:
                empty.to_netcdf(part, engine="netcdf4", unlimited_dims=["time"], encoding=_netcdf_encoding(empty))
            with netCDF4.Dataset(part, "a") as file:
                file.set_auto_mask(False)
                for block in blocks:
                    start = len(file.dimensions["time"])
                    for rows, name, values in _in_order(block):
                        there = file.variables[name]
                        there[(slice(start, start + len(values)), rows)[: there.ndim]] = values
                file.setncatts(dict(attributes))
            part.replace(self.path)
        finally:
            part.unlink(missing_ok=True)


class ZarrFile(ExportFile):
    """A folder with a Zarr store of format 3."""

    media_type = "application/vnd.zarr; version=3"

    def open(self) -> xr.Dataset:
        """Open the store."""
        import xarray as xr

        with self._reading() as store:
            there: xr.Dataset = xr.open_zarr(
                store, decode_times=False, mask_and_scale=False, consolidated=False, chunks=None
            )
            return there

    def write(self, empty: xr.Dataset | None, blocks: Iterable[DayBlock], attributes: Mapping[str, str]) -> None:
        """Add days; those that are not complete have no time, and are cut off next time; see `ExportFile.write`."""
        import zarr

        with self._writing(new=empty is not None) as store:
            if empty is not None:
                empty.to_zarr(store, mode="w", zarr_format=3, consolidated=False, encoding=_zarr_encoding(empty))
            group: Any = zarr.open_group(store, mode="r+", zarr_format=3, use_consolidated=False)
            count = group["time"].shape[0]
            for block in blocks:
                for rows, name, values in _in_order(block):
                    array = group[name]
                    if array.shape[0] != count + len(values):
                        array.resize((count + len(values), *array.shape[1:]))
                    array[(slice(count, None), rows)[: array.ndim]] = values
                count = group["time"].shape[0]
            group.attrs.update(dict(attributes))
            self._consolidate(store)

    def _consolidate(self, store: Any) -> None:
        """Keep the metadata of all arrays in one file: readers look there first, and warn where they find none.

        Until then they see the days of before, none that is half written.
        """
        import zarr

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Consolidated metadata is currently not part", UserWarning)
            zarr.consolidate_metadata(store, zarr_format=3)

    def attributes(self) -> Mapping[str, Any]:
        """Return the attributes of the group."""
        import zarr

        with self._reading() as store:
            return dict(zarr.open_group(store, mode="r", use_consolidated=False).attrs)

    def drop_unfinished(self) -> None:
        """Cut off days that have values but no time."""
        import zarr

        group: Any = zarr.open_group(self.path, mode="r+", use_consolidated=False)
        count = group["time"].shape[0]
        for _, array in group.arrays():
            if "time" in (array.metadata.dimension_names or ()) and array.shape[0] != count:
                array.resize((count, *array.shape[1:]))

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        yield str(self.path)

    @contextmanager
    def _writing(self, *, new: bool) -> Iterator[Any]:
        """Yield where to write: a new store lies beside its place until it is complete."""
        if not new:
            yield str(self.path)
            return
        part = self.path.with_name(f".{self.path.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        try:
            yield str(part)
            part.replace(self.path)
        finally:
            shutil.rmtree(part, ignore_errors=True)


class IcechunkFile(ZarrFile):
    """A Zarr store in an Icechunk repository: readers see all new days at once, and earlier states stay."""

    media_type = "application/vnd.zarr+icechunk"

    def drop_unfinished(self) -> None:
        """Leave it: what is not committed is not there."""

    def _consolidate(self, store: Any) -> None:
        """Leave it: a repository has one list of all arrays, and is opened with ``consolidated=False``."""

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        yield self._repository(str(self.path)).readonly_session("main").store

    @contextmanager
    def _writing(self, *, new: bool) -> Iterator[Any]:
        with super()._writing(new=new) as place:
            session = self._repository(place, new=new).writable_session("main")
            yield session.store
            session.commit("days added by stac-sm export")

    def _repository(self, place: str, *, new: bool = False) -> Any:
        try:
            import icechunk
        except ImportError as error:
            raise InputError("--format icechunk needs icechunk: pip install 'stac_sm[icechunk]'") from error
        if "ICECHUNK_LOG" not in os.environ:  # it warns of two that write at once, which the lock of an export prevents
            icechunk.set_logs_filter("error")
        storage = icechunk.local_filesystem_storage(place)
        return icechunk.Repository.create(storage) if new else icechunk.Repository.open(storage)


FORMATS: Mapping[str, type[ExportFile]] = {"netcdf": NetCDFFile, "zarr": ZarrFile, "icechunk": IcechunkFile}
"""Kinds of file by the name that users give."""


def export_file(path: Path, format: str = "") -> ExportFile:
    """Return the file of a path.

    Parameters
    ----------
    path
        Ends in ``.nc`` or ``.zarr``, unless a format is given.
    format
        A key of `FORMATS`; empty: by the suffix.

    Returns
    -------
    ExportFile
        It may not be there yet.

    Raises
    ------
    InputError
        If there is no such format, the suffix says none, or the format needs a package that is not installed.
    """
    kind = format or {".nc": "netcdf", ".zarr": "zarr"}.get(path.suffix, "")
    if kind not in FORMATS:
        raise InputError(
            f"export to {path}: found suffix {path.suffix!r}; .nc or .zarr is required, or --format with one of "
            f"{', '.join(FORMATS)}"
        )
    if kind != "netcdf" and find_spec("zarr") is None:
        raise InputError(f"export to {path}: it needs zarr: pip install 'stac_sm[zarr]'")
    return FORMATS[kind](path)


def _in_order(block: DayBlock) -> Iterator[tuple[slice, str, np.ndarray]]:
    """Yield the rows, name and values of what is written, times last: days without a time are not there."""
    for rows, part in block.parts:
        for name, values in part.items():
            yield rows, name, values
    for name in sorted(block.times, reverse=True):
        yield slice(None), name, block.times[name]


def _netcdf_encoding(empty: xr.Dataset) -> dict[str, dict[str, Any]]:
    return {
        str(name): {"zlib": True, "complevel": 4, "shuffle": True, "chunksizes": _chunks(variable)}
        if variable.dims[:1] == ("time",)
        else {"_FillValue": None}
        for name, variable in empty.variables.items()
        if variable.dtype.kind in "fiu"
    }


def _zarr_encoding(empty: xr.Dataset) -> dict[str, dict[str, Any]]:
    timed = {str(name): variable for name, variable in empty.variables.items() if variable.dims[:1] == ("time",)}
    return {name: {"chunks": _chunks(variable)} for name, variable in timed.items()}


def _chunks(variable: xr.Variable) -> tuple[int, ...]:
    """Return chunks of a variable with time: as many days, and squares of pixels."""
    if variable.ndim < 3:
        return (1024, *variable.shape[1:])
    return (DAYS_A_CHUNK, *(min(size, PIXELS_A_CHUNK) for size in variable.shape[1:]))
