"""Read fields of HDF4-EOS grids: type, scale and fill, their place by the structural metadata, and stored values.

`sinusoidal_tile` reads the granules of GLASS and MODIS through here. The module is the only reader of pyhdf in ingest;
pyhdf is not thread-safe.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from stac_sm.core.errors import GranuleError, raised_by

_NUMBER = r"(-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)"
_TYPES = {5: "float32", 6: "float64", 20: "int8", 21: "uint8", 22: "int16", 23: "uint16", 24: "int32", 25: "uint32"}
"""Names of HDF4's number types; 3 and 4 are characters."""

_UNUSED = "ArchiveMetadata."  # attributes of a granule that nothing here reads
Bounds = tuple[float, float, float, float]


class AttributeValueError(GranuleError):
    """An attribute of a field is missing or cannot be right; the other fields of the file may be sound."""


@dataclass(frozen=True)
class GridField:
    """Metadata of one field of a file."""

    shape: tuple[int, int]
    """Rows and columns."""

    dtype: str
    """Type of the stored values."""

    scale: float
    """Physical value = stored value x scale; 1 where the file has none."""

    fill: int | None
    """Stored value of pixels without data; None where the file has none."""

    bounds: Bounds
    """Left, top, right and bottom outer edge in metres of the projection, from ``StructMetadata.0``."""

    left_out: str = ""
    """Attributes of a field of flags that cannot be right, and what is required; empty where there are none."""


def describe_field(
    file: Path, name: str, required: Sequence[str] = ("scale_factor", "_FillValue"), *, flags: bool = False
) -> GridField:
    """Read shape, type, scale, fill and corners of a field, but no pixels.

    Parameters
    ----------
    file
        An HDF4-EOS file.
    name
        Name of the field.
    required
        Attributes that it must have, among ``scale_factor`` and ``_FillValue``.
    flags
        Whether the values are flags, which mean the same whatever scale and fill are stated: an attribute that cannot
        be right is left out then.

    Returns
    -------
    GridField
        The metadata.

    Raises
    ------
    GranuleError
        If the file is no HDF4-EOS, has no such field, or the place of the grid is missing.
    AttributeValueError
        If a required attribute is missing, or scale, offset or fill cannot be right.
    """
    with _opened(file) as data:
        if name not in data.datasets():
            raise GranuleError(f"{file}: found the fields {', '.join(data.datasets()) or 'none'}, expected {name}")
        field = data.select(name)
        _, _, shape, kind, _ = field.info()
        attributes = {key: _attribute(*value) for key, value in field.attributes(full=1).items()}
    text = _structure(read_attributes(file)[1])
    rows_columns, bounds = parse_grid_structure(file, text, name)
    if shape != list(rows_columns):
        raise GranuleError(f"{file}: field {name} has shape {shape}, its StructMetadata.0 says {list(rows_columns)}")
    for key in required:
        _required(file, name, attributes, key)
    dtype = _TYPES.get(kind, "text")
    scale, fill, left_out = 1.0, None, []
    try:
        scale = _scale(file, name, attributes)
    except AttributeValueError as error:
        left_out.append(error)
    try:
        fill = _fill(file, name, attributes, dtype)
    except AttributeValueError as error:
        left_out.append(error)
    if left_out and not flags:
        raise left_out[0]
    reasons = "; ".join(str(error).removeprefix(f"{file}: ") for error in left_out)
    return GridField(rows_columns, dtype, scale, fill, bounds, reasons)


def parse_grid_structure(file: Path, text: str, name: str) -> tuple[tuple[int, int], Bounds]:
    """Find the grid that holds a field in the text of ``StructMetadata.0``.

    Parameters
    ----------
    file
        The file, for messages.
    text
        Structural metadata in the Object Description Language of HDF-EOS.
    name
        Name of the field.

    Returns
    -------
    tuple
        Rows and columns; and left, top, right and bottom outer edge in metres.

    Raises
    ------
    GranuleError
        If a part is missing or impossible.
    """
    grid = _grid_text(file, name, text)
    origin = re.search(r"\bGridOrigin=(\w+)", grid)
    if origin is not None and origin[1] != "HDFE_GD_UL":
        raise GranuleError(f"{file}: its first pixel is at {origin[1]}, expected HDFE_GD_UL, the upper left corner")
    bounds = (*_corner(file, grid, "UpperLeftPointMtrs"), *_corner(file, grid, "LowerRightMtrs"))
    return (_count(file, grid, "YDim"), _count(file, grid, "XDim")), bounds


def read_field(file: Path, name: str) -> np.ndarray:
    """Read the stored values (y, x) of a field, in the file's data type; GranuleError if they cannot be decoded."""
    with _opened(file) as data:
        return np.asarray(data.select(name).get())


def read_attributes(file: Path) -> tuple[list[str], dict[str, str]]:
    """Return the names of the fields of a file, and its attributes that are texts; GranuleError if it is no HDF4."""
    try:
        state = file.stat()
    except OSError:
        return _read_attributes(file, (0, 0))
    names, texts = _read_attributes(file, (state.st_size, state.st_mtime_ns))
    return list(names), dict(texts)


@lru_cache(maxsize=4)
def _read_attributes(file: Path, state: tuple[int, int]) -> tuple[list[str], dict[str, str]]:
    """Return names and texts of a file in one state: pyhdf takes them letter by letter, and each field needs them."""
    with _opened(file) as data:
        _, number, *_ = data.info()
        found = [data.attr(index) for index in range(number)]
        needed = {name: one for one in found if not (name := one.info()[0]).startswith(_UNUSED)}
        texts = {name: value.rstrip("\0 ") for name, one in needed.items() if isinstance(value := one.get(), str)}
        return sorted(data.datasets()), texts


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open a file; any error that the library raises inside the context becomes a GranuleError."""
    from pyhdf.error import HDF4Error
    from pyhdf.SD import SD

    data = None
    try:
        data = SD(str(file))
        yield data
    except Exception as error:  # on damaged files pyhdf also stumbles over its own types
        if not raised_by(error, "pyhdf"):
            raise
        size = file.stat().st_size if file.exists() else 0
        raise GranuleError(f"{file}: {size} bytes found that are no readable HDF4 ({error}): fetch it again") from error
    finally:
        if data is not None:
            with contextlib.suppress(HDF4Error):
                data.end()


def _attribute(value: Any, index: int, kind: int, length: int) -> Any:
    """Return the value of an attribute; a float32 as the shortest decimal number (0.01, not 0.0099999998)."""
    return float(str(np.float32(value))) if _TYPES.get(kind) == "float32" and length == 1 else value


def _structure(attributes: Mapping[str, Any]) -> str:
    """Return the structural metadata; HDF-EOS cuts long ones into ``StructMetadata.0``, ``.1`` and so on."""
    parts = (attributes.get(f"StructMetadata.{index}") for index in range(len(attributes)))
    return "".join(part for part in parts if isinstance(part, str))


def _scale(file: Path, name: str, attributes: Mapping[str, Any]) -> float:
    if attributes.get("add_offset", 0) != 0:
        raise AttributeValueError(
            f"{file}: field {name} has add_offset {attributes['add_offset']!s:.40}, expected 0: "
            "HDF4 files use two formulas for it"
        )
    scale = attributes.get("scale_factor", 1.0)
    if not isinstance(scale, int | float) or not isfinite(scale) or scale <= 0:
        raise AttributeValueError(
            f"{file}: field {name} has scale_factor {scale!s:.40}, expected one above 0: fetch it again"
        )
    return float(scale)


def _fill(file: Path, name: str, attributes: Mapping[str, Any], dtype: str) -> int | None:
    fill = attributes.get("_FillValue")
    if fill is None or np.dtype("U" if dtype == "text" else dtype).kind not in "iu":
        return None
    limits = np.iinfo(dtype)
    if not (isinstance(fill, int | float) and limits.min <= fill <= limits.max and float(fill).is_integer()):
        raise AttributeValueError(
            f"{file}: field {name} has _FillValue {fill!r:.40}, expected a value of {dtype}: fetch it again"
        )
    return int(fill)


def _required(file: Path, name: str, attributes: Mapping[str, Any], key: str) -> None:
    if not isinstance(attributes.get(key), int | float):
        found = ", ".join(sorted(attributes)) or "none"
        raise AttributeValueError(
            f"{file}: field {name} has the attributes {found}, expected a number {key}: fetch it again"
        )


def _grid_text(file: Path, name: str, text: str) -> str:
    """Return the part of the structural metadata that describes the grid which holds a field."""
    found = [grid for grid in re.split(r"END_GROUP=GRID_\d+", text) if f'DataFieldName="{name}"' in grid]
    if len(found) != 1:
        raise GranuleError(f"{file}: found {len(found)} grids with field {name} in StructMetadata.0, expected one")
    return found[0]


def _count(file: Path, grid: str, key: str) -> int:
    match = re.search(rf"\b{key}=(\S*)", grid)
    if match is None:
        raise _no_place(file, key)
    if not re.fullmatch(r"[1-9][0-9]{0,5}", match[1]):
        raise GranuleError(f"{file}: StructMetadata.0 says {key}={match[1][:40]}, expected a number of pixels")
    return int(match[1])


def _corner(file: Path, grid: str, key: str) -> tuple[float, float]:
    match = re.search(rf"\b{key}=\({_NUMBER},{_NUMBER}\)", grid)
    if match is None:
        raise _no_place(file, key)
    return float(match[1]), float(match[2])


def _no_place(file: Path, key: str) -> GranuleError:
    return GranuleError(f"{file}: StructMetadata.0 has no {key}: it cannot be placed on the Earth; fetch it again")
