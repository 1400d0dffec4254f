"""HDF4-EOS grids: one field of a file, its scale and fill, and where the file says that it lies."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stac_sm.errors import GranuleError

_NUMBER = r"(-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)"


@dataclass(frozen=True)
class GridField:
    """What a file says of one of its fields."""

    shape: tuple[int, int]
    """Rows and columns."""

    scale: float
    """Physical value = stored value x scale."""

    fill: int
    """Stored value of pixels without data."""

    bounds: tuple[float, float, float, float]
    """Left, top, right and bottom outer edge in metres of the projection, from ``StructMetadata.0``."""


def describe(file: Path, name: str) -> GridField:
    """Shape, scale, fill and corners of a field; reads no pixels.

    Raises
    ------
    GranuleError
        If the file is no HDF4-EOS, has no such field, or leaves one of these open.
    """
    with _opened(file) as data:
        if name not in data.datasets():
            raise GranuleError(f"{file}: found the fields {', '.join(data.datasets()) or 'none'}, wanted {name}")
        field = data.select(name)
        _, rank, shape, _, _ = field.info()
        attributes = {key: _attribute(*value) for key, value in field.attributes(full=1).items()}
        structure = _grid_text(file, name, data.attributes().get("StructMetadata.0"))
    rows, columns = int(_number(file, structure, "YDim")), int(_number(file, structure, "XDim"))
    if rank != 2 or tuple(shape) != (rows, columns):
        raise GranuleError(f"{file}: field {name} has shape {shape}, its StructMetadata.0 says {[rows, columns]}")
    bounds = (*_corner(file, structure, "UpperLeftPointMtrs"), *_corner(file, structure, "LowerRightMtrs"))
    return GridField((rows, columns), _scale(file, name, attributes), _fill(file, name, attributes), bounds)


def read(file: Path, name: str) -> np.ndarray:
    """Stored values (y, x) of a field, as they are in the file.

    Raises
    ------
    GranuleError
        If they cannot be decoded.
    """
    with _opened(file) as data:
        return np.asarray(data.select(name).get())


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """An open file; whatever the library says inside becomes a GranuleError."""
    from pyhdf.error import HDF4Error
    from pyhdf.SD import SD

    data = None
    try:
        data = SD(str(file))
        yield data
    except (HDF4Error, ValueError) as error:
        size = file.stat().st_size if file.exists() else 0
        raise GranuleError(f"{file}: {size} bytes found that are no readable HDF4 ({error}): fetch it again") from error
    finally:
        if data is not None:
            with contextlib.suppress(HDF4Error):
                data.end()


def _attribute(value: Any, index: int, kind: int, length: int) -> Any:
    """Value of an attribute; a float32 as the decimal number that was meant (0.01, not 0.0099999998)."""
    from pyhdf.SD import SDC

    return float(str(np.float32(value))) if kind == SDC.FLOAT32 and length == 1 else value


def _scale(file: Path, name: str, attributes: dict[str, Any]) -> float:
    if attributes.get("add_offset", 0) != 0:
        raise GranuleError(
            f"{file}: field {name} has add_offset {attributes['add_offset']}, wanted 0: "
            "HDF4 files use two formulas for it"
        )
    return float(_required(file, name, attributes, "scale_factor"))


def _fill(file: Path, name: str, attributes: dict[str, Any]) -> int:
    return int(_required(file, name, attributes, "_FillValue"))


def _required(file: Path, name: str, attributes: dict[str, Any], key: str) -> Any:
    if not isinstance(attributes.get(key), int | float):
        found = ", ".join(sorted(attributes)) or "none"
        raise GranuleError(f"{file}: field {name} has the attributes {found}, wanted a number {key}: fetch it again")
    return attributes[key]


def _grid_text(file: Path, name: str, structure: Any) -> str:
    """Part of the structural metadata that describes the grid which holds a field."""
    grids = re.split(r"END_GROUP=GRID_\d+", structure) if isinstance(structure, str) else []
    found = [grid for grid in grids if f'DataFieldName="{name}"' in grid]
    if len(found) != 1:
        raise GranuleError(f"{file}: found {len(found)} grids with field {name} in StructMetadata.0, wanted one")
    return found[0]


def _number(file: Path, structure: str, key: str) -> float:
    match = re.search(rf"\b{key}={_NUMBER}", structure)
    if match is None:
        raise GranuleError(f"{file}: StructMetadata.0 has no {key}: it cannot be placed on the Earth; fetch it again")
    return float(match[1])


def _corner(file: Path, structure: str, key: str) -> tuple[float, float]:
    match = re.search(rf"\b{key}=\({_NUMBER},{_NUMBER}\)", structure)
    if match is None:
        raise GranuleError(f"{file}: StructMetadata.0 has no {key}: it cannot be placed on the Earth; fetch it again")
    return float(match[1]), float(match[2])
