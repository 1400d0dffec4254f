"""Describe what a file holds, whatever its name is: its format, variables, attributes, grid and members.

`stac_sm.ingest.sorting` describes each file once, and every provider says by the description whether the file is one of
its own (`provider_interface.RecognisingProvider`). Only headers and coordinates are read, no pixels.
"""

from __future__ import annotations

import os
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from affine import Affine

from stac_sm.core.errors import StacSmError
from stac_sm.ingest.formats.geotiff import open_geotiff
from stac_sm.ingest.formats.hdf4eos import read_attributes
from stac_sm.ingest.formats.netcdf import open_netcdf

NETCDF, HDF5, HDF4, GRIB, GEOTIFF, VRT = "NetCDF", "HDF5", "HDF4", "GRIB", "GeoTIFF", "VRT"
ZARR, ZIP, TAR, TEXT, WEB_PAGE, OTHER, EMPTY = "Zarr", "zip", "tar", "text", "web page", "other", "empty"

DATA_KINDS = (NETCDF, HDF5, HDF4, GRIB, GEOTIFF, VRT, ZARR)
"""Kinds that hold fields; archives may hold files of them."""

ZARR_MARKERS = (".zmetadata", ".zgroup", "zarr.json")
"""Files of which a folder that is a Zarr store has one."""

_DATA_SUFFIXES = (".nc", ".nc4", ".h5", ".hdf", ".grb", ".grib", ".grb2", ".grib2", ".tif", ".tiff", ".vrt", ".zip",
                  ".tar", ".stm")  # fmt: skip
_HEAD = 4096  # bytes of a text
_BANDS = 300  # messages of a GRIB file that are looked at: a month of hours repeats the same variables
_DEEPEST = 3  # levels of groups
_UNREADABLE = (zipfile.BadZipFile, tarfile.TarError, OSError, EOFError, RuntimeError, ValueError, struct.error)


@dataclass(frozen=True)
class RasterContent:
    """Head of a GeoTIFF."""

    crs: str
    """CRS as WKT; empty if it has none."""

    affine: Affine
    """Affine of the pixels."""

    shape: tuple[int, int]
    """Rows and columns."""

    dtypes: tuple[str, ...]
    """Data type of each band."""

    nodata: float | None
    """Stored value of pixels without data; None where none is stated."""

    epsg: int | None
    """EPSG code of the CRS; None where it has none."""

    descriptions: tuple[str, ...] = ()
    """Description of each band; empty where it has none."""


@dataclass(frozen=True)
class FileContent:
    """What a file holds, as its header says."""

    file: Path
    """The file, or the folder of a Zarr store."""

    kind: str
    """Its format: one of the constants of this module."""

    variables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Attributes of each variable, by its name; below groups by its path. In GRIB the names are those of GDAL."""

    dimensions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of the dimensions of each variable of a NetCDF or HDF5 file."""

    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the file, below groups by their path; the tags of a GeoTIFF."""

    step: float | None = None
    """Distance of the latitudes, degrees; None where there is no axis of latitudes."""

    raster: RasterContent | None = None
    """Head of a GeoTIFF; None of other formats."""

    members: tuple[str, ...] = ()
    """Names of the files in an archive."""

    head: str = ""
    """The first characters of a text."""

    problem: str = ""
    """Why it cannot be read; empty where it can."""

    def is_field(self, name: str) -> bool:
        """Return whether a variable of a NetCDF file lies along latitude and longitude, as images do."""
        dims = [dim.lower() for dim in self.dimensions.get(name, ())]
        return all(any(dim.startswith(start) for dim in dims) for start in ("lat", "lon"))

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.file.name

    @property
    def summary(self) -> str:
        """What it holds, in words, for a file that no source takes."""
        if self.kind in (EMPTY, WEB_PAGE, OTHER, TEXT):
            words = {EMPTY: "0 bytes", WEB_PAGE: "a web page", OTHER: "a file of another format", TEXT: "a text"}
            return words[self.kind]
        if self.kind in (ZIP, TAR):
            return f"a {self.kind} archive of {len(self.members)} file(s){_listed(self.members)}"
        if self.raster is not None:
            rows, columns = self.raster.shape
            types = ", ".join(sorted(set(self.raster.dtypes)))
            place = f"EPSG:{self.raster.epsg}" if self.raster.epsg else "another CRS" if self.raster.crs else "no CRS"
            return f"a GeoTIFF of {len(self.raster.dtypes)} band(s) of {types}, {rows} x {columns} pixels, {place}"
        return f"{self.kind} with {len(self.variables)} variable(s){_listed(list(self.variables))}"

    @property
    def pretends(self) -> bool:
        """Whether its name ends like that of a data file, whatever it holds."""
        return self.file.suffix.lower() in _DATA_SUFFIXES


def describe_file(file: Path) -> FileContent:
    """Describe what a file holds.

    Parameters
    ----------
    file
        A local file, or the folder of a Zarr store.

    Returns
    -------
    FileContent
        What it holds; its ``problem`` says why it cannot be read. No content raises an error.
    """
    kind = OTHER
    try:
        kind = _kind(file)
        return _READERS[kind](file) if kind in _READERS else FileContent(file, kind)
    except (StacSmError, *_UNREADABLE) as error:
        return FileContent(file, kind, problem=str(error).removeprefix(f"{file}: "))


def is_zarr_store(path: Path) -> bool:
    """Return whether a path is the folder of a Zarr store, by what lies in it or by its name."""
    if not path.is_dir():
        return False
    return path.suffix == ".zarr" or any((path / marker).is_file() for marker in ZARR_MARKERS)


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and those below it, in order; a Zarr store counts as one.

    Hidden folders are left alone, and so are STAC collections: what lies in them was ingested before.
    """
    for place, folders, names in os.walk(folder):
        here = Path(place)
        stores = [name for name in folders if is_zarr_store(here / name)]
        folders[:] = sorted(
            name
            for name in folders
            if name not in stores and not name.startswith(".") and not (here / name / "collection.json").is_file()
        )
        yield from (here / name for name in sorted([*names, *stores]))


def _kind(file: Path) -> str:
    """Return the format by the first bytes."""
    if file.is_dir():
        return ZARR
    with file.open("rb") as content:
        head = content.read(_HEAD)
    if not head:
        return EMPTY
    for start, kind in _MAGIC:
        if head.startswith(start):
            return kind
    if head[257:262] == b"ustar" or (head[:2] == b"\x1f\x8b" and tarfile.is_tarfile(file)):
        return TAR
    if b"\0" in head:
        return OTHER
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return WEB_PAGE
    return VRT if b"<vrtdataset" in start else TEXT


_MAGIC = (
    (b"CDF\x01", NETCDF), (b"CDF\x02", NETCDF), (b"CDF\x05", NETCDF), (b"\x89HDF\r\n\x1a\n", HDF5),
    (b"\x0e\x03\x13\x01", HDF4), (b"GRIB", GRIB), (b"PK\x03\x04", ZIP), (b"PK\x05\x06", ZIP),
    (b"II*\0", GEOTIFF), (b"MM\0*", GEOTIFF), (b"II+\0", GEOTIFF), (b"MM\0+", GEOTIFF),
)  # fmt: skip


def _netcdf(file: Path) -> FileContent:
    with open_netcdf(file) as data:
        variables: dict[str, Mapping[str, Any]] = {}
        dimensions: dict[str, tuple[str, ...]] = {}
        attributes: dict[str, Any] = {}
        _walk(data, "", variables, dimensions, attributes, _DEEPEST)
        axis = next((one for name, one in data.variables.items() if name.lower().startswith("lat")), None)
        step = None
        if axis is not None and axis.ndim == 1 and axis.size > 1:
            ends = np.ma.filled(np.ma.asarray(axis[[0, 1]]).astype(np.float64), np.nan)
            step = round(abs(float(ends[1] - ends[0])), 4)
        kind = NETCDF if data.variables else HDF5
    return FileContent(file, kind, variables, dimensions, attributes, step)


def _walk(
    group: Any,
    path: str,
    variables: dict[str, Mapping[str, Any]],
    dimensions: dict[str, tuple[str, ...]],
    attributes: dict[str, Any],
    levels: int,
) -> None:
    attributes.update({f"{path}{name}": group.getncattr(name) for name in group.ncattrs()})
    for name, one in group.variables.items():
        variables[f"{path}{name}"] = {} if path else {key: one.getncattr(key) for key in one.ncattrs()}
        dimensions[f"{path}{name}"] = tuple(one.dimensions)
    for name, inner in group.groups.items() if levels else ():
        _walk(inner, f"{path}{name}/", variables, dimensions, attributes, levels - 1)


def _hdf4(file: Path) -> FileContent:
    names, attributes = read_attributes(file)
    return FileContent(file, HDF4, {name: {} for name in names}, attributes=attributes)


def _grib(file: Path) -> FileContent:
    import rasterio

    try:
        with rasterio.Env(GRIB_NORMALIZE_UNITS="NO"), rasterio.open(file, driver="GRIB", USE_IDX="NO") as data:
            tags = [data.tags(band) for band in islice(data.indexes, _BANDS)]
            step = round(abs(data.transform.e), 4)
    except rasterio.errors.RasterioError as error:
        return FileContent(file, GRIB, problem=f"no readable GRIB ({error}): fetch it again")
    return FileContent(file, GRIB, {tag.get("GRIB_ELEMENT", "?"): tag for tag in tags}, step=step)


def _geotiff(file: Path) -> FileContent:
    with open_geotiff(str(file)) as data:
        crs = data.crs
        raster = RasterContent(
            crs.to_wkt() if crs else "",
            data.transform,
            data.shape,
            tuple(data.dtypes),
            data.nodata,
            crs.to_epsg() if crs else None,
            tuple(text or "" for text in data.descriptions),
        )
        return FileContent(file, GEOTIFF, attributes=data.tags(), raster=raster)


def _zip(file: Path) -> FileContent:
    with zipfile.ZipFile(file) as archive:
        members = [info.filename for info in archive.infolist() if not info.is_dir()]
    return FileContent(file, ZIP, members=tuple(sorted(_shown(members))))


def _tar(file: Path) -> FileContent:
    with tarfile.open(file) as archive:
        members = [member.name for member in archive if member.isreg()]
    return FileContent(file, TAR, members=tuple(sorted(_shown(members))))


def _shown(names: Sequence[str]) -> list[str]:
    """Return names of an archive without those that macOS adds."""
    return [name for name in names if not PurePosixPath(name).name.startswith(".") and "__MACOSX" not in name]


def _text(file: Path) -> FileContent:
    with file.open("rb") as content:
        head = content.read(_HEAD).decode("latin-1")
    return FileContent(file, TEXT, head=head)


def _vrt(file: Path) -> FileContent:
    with file.open("rb") as content:
        return FileContent(file, VRT, head=content.read(_HEAD).decode("latin-1"))


def _zarr(file: Path) -> FileContent:
    names = sorted(part.name for part in file.iterdir() if part.is_dir())
    return FileContent(file, ZARR, {name: {} for name in names})


def _listed(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f": {', '.join(names[:most])}{more}" if names else ""


def metadata_value(text: Any, name: str) -> str:
    """Return the value of an object in EOS core metadata, such as ``LOCALGRANULEID``.

    Parameters
    ----------
    text
        Attribute ``CoreMetadata.0`` of a file, in the Object Description Language; anything else has no value.
    name
        Name of the object.

    Returns
    -------
    str
        The value without quotes; empty where there is none.
    """
    found = re.search(
        rf"\bOBJECT\s*=\s*{name}\b(?:(?!\bEND_OBJECT\b).)*?\bVALUE\s*=\s*\"?([^\"\r\n]*)", str(text), re.S
    )
    return found[1].strip() if found else ""


_READERS: Mapping[str, Callable[[Path], FileContent]] = {
    NETCDF: _netcdf,
    HDF5: _netcdf,
    HDF4: _hdf4,
    GRIB: _grib,
    GEOTIFF: _geotiff,
    VRT: _vrt,
    ZIP: _zip,
    TAR: _tar,
    TEXT: _text,
    ZARR: _zarr,
}
