"""Write SoilGrids of the simulated Earth: soil properties of the island at 250 m, on the Homolosine.

Soil maps know a part of the soil that the truth depends on, smoothed and with errors of their own: wet places have
more clay and carbon. Values are the same in blocks of 1 km, which keeps the files small and quick to make.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import numpy as np

from stac_sm.core.projections import transformer_from_lonlat, transformer_to_lonlat
from stac_sm.simulate.earth import AnyFloatArray, Earth, island, surface
from stac_sm.simulate.truth import shore

PROPERTIES = ("sand", "silt", "clay", "bdod", "soc")
_HOMOLOSINE = "+proj=igh +lat_0=0 +lon_0=0 +datum=WGS84 +units=m +no_defs"
_PIXEL, _BLOCK, _NODATA = 250, 4, -32768  # metres, pixels along a side of a block, stored value of the sea


def write_soil(earth: Earth, path: Path, name: str) -> None:
    """Write a property of the top 5 cm as ISRIC maps it: int16; g/kg, cg/cm3 (bdod) or dg/kg (soc)."""
    import rasterio
    from affine import Affine

    left, top, _ = _window(earth)
    values = np.repeat(np.repeat(_properties(earth)[name], _BLOCK, 0), _BLOCK, 1)
    profile = {
        "driver": "GTiff", "dtype": "int16", "count": 1, "height": values.shape[0], "width": values.shape[1],
        "crs": _HOMOLOSINE, "transform": Affine(_PIXEL, 0, left, 0, -_PIXEL, top), "nodata": _NODATA,
        "compress": "deflate", "predictor": 2, "tiled": True,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(values, 1)


@lru_cache(maxsize=1)
def _properties(earth: Earth) -> dict[str, np.ndarray]:
    """Return stored values of every property in blocks of 1 km, (y, x)."""
    left, top, (rows, columns) = _window(earth)
    side = _PIXEL * _BLOCK
    x, y = left + side * (np.arange(columns) + 0.5), top - side * (np.arange(rows) + 0.5)
    lon, lat = transformer_to_lonlat(_HOMOLOSINE).transform(*np.meshgrid(x, y))
    parallels = lat[:, 0]  # rows of the Homolosine lie on parallels
    land = shore(earth, parallels, lon) > 0

    def part(name: str, spacing: float) -> AnyFloatArray:
        return surface(earth, name, spacing, parallels, lon)

    wet = 0.6 * part("soil", 0.25) + 0.8 * part("soil map", 0.3)
    sandy, clayey, organic = -0.5 * wet + 0.6 * part("sand", 0.3), 0.5 * wet, 0.4 * wet + 0.4 * part("carbon", 0.2)
    shares = np.exp(np.stack([sandy, 0.2 * part("silt", 0.3), clayey - 0.6]))
    sand, _, clay = 1000 * shares / shares.sum(axis=0)
    soc = 300 * np.exp(organic)
    found = {"sand": sand.round(), "clay": clay.round(), "soc": soc, "bdod": 145 - 25 * np.tanh(organic)}
    found["silt"] = 1000 - found["sand"] - found["clay"]
    return {name: np.where(land, values.round(), _NODATA).astype(np.int16) for name, values in found.items()}


@lru_cache(maxsize=1)
def _window(earth: Earth) -> tuple[int, int, tuple[int, int]]:
    """Return left and top of a window around the island (m, multiples of a block), and rows and columns of blocks."""
    lat, lon, radius = island(earth)
    reach, side = 1.5 * radius, _PIXEL * _BLOCK
    corners = np.array([[lon + i * reach / math.cos(math.radians(lat)), lat + j * reach] for i, j in _AROUND])
    x, y = transformer_from_lonlat(_HOMOLOSINE).transform(*corners.T)
    left, top = math.floor(x.min() / side) * side, math.ceil(y.max() / side) * side
    return left, top, (math.ceil((top - y.min()) / side), math.ceil((x.max() - left) / side))


_AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
