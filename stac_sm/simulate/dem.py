"""Write the terrain of the simulated Earth as Copernicus GLO-90 and MERIT DEM.

Both are at 3 arc seconds, from the same heights; Copernicus has 0 m over the sea, MERIT no data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stac_sm.simulate.earth import AnyFloatArray, Earth, island
from stac_sm.simulate.truth import elevation, static_fields

_COP_SIZE = 1200  # rows of a tile of Copernicus, a degree
_STEP = 8  # parts of a metre: a coarse step compresses well
_MERIT_DEGREES, _MERIT_SIZE, _MERIT_NODATA = 5, 6000, -9999.0
_ROWS = 500  # of MERIT that are made at a time, to bound memory
_MARGIN = 0.02  # degrees: land of less than a pixel of 1 km


def cop_dem_tiles(earth: Earth) -> list[tuple[int, int]]:
    """Return south-west corners, degrees north and east, of the 1-degree tiles with land in them."""
    return _corners(earth, 1)


def cop_dem_name(corner: tuple[int, int]) -> str:
    """Return the file name of a Copernicus GLO-90 tile."""
    south, west = corner
    north_south = f"{'N' if south >= 0 else 'S'}{abs(south):02d}_00"
    return f"Copernicus_DSM_COG_30_{north_south}_{'E' if west >= 0 else 'W'}{abs(west):03d}_00_DEM.tif"


def write_cop_dem(earth: Earth, path: Path, corner: tuple[int, int]) -> None:
    """Write a tile of Copernicus GLO-90: 3 arc seconds, wider pixels towards the poles, centres on whole degrees."""
    import rasterio
    from affine import Affine

    south, west = corner
    columns = int(_COP_SIZE / _widening(south))
    dx, dy = 1 / columns, 1 / _COP_SIZE
    lat, lon = south + 1 - np.arange(_COP_SIZE) * dy, west + np.arange(columns) * dx
    height = (elevation(earth, lat, lon, fine=True) * _STEP).round() / _STEP
    profile = _profile(_COP_SIZE, columns, Affine(dx, 0, west - dx / 2, 0, -dy, south + 1 + dy / 2))
    with rasterio.open(path, "w", **profile) as file:
        file.update_tags(AREA_OR_POINT="Point")
        file.write(height.astype(np.float32), 1)


def _widening(south: int) -> float:
    """Return how many times wider than high the pixels of a tile are, in degrees."""
    distance = max(south, -south - 1)
    limits = [(50, 1.0), (60, 1.5), (70, 2.0), (80, 3.0), (85, 5.0), (90, 10.0)]
    return next(factor for limit, factor in limits if distance < limit)


def merit_tiles(earth: Earth, full: bool) -> list[tuple[int, int]]:
    """Return south-west corners, degrees north and east, of the 5-degree tiles with land in them.

    One tile has 36 million pixels: unless ``full``, only the one that holds the middle of the island is returned.
    """
    lat, lon, _ = island(earth)
    middle = (int(lat // _MERIT_DEGREES) * _MERIT_DEGREES, int(lon // _MERIT_DEGREES) * _MERIT_DEGREES)
    return _corners(earth, _MERIT_DEGREES) if full else [middle]


def merit_name(corner: tuple[int, int]) -> str:
    """Return the file name of a MERIT tile, which names the centre of its lower left pixel."""
    south, west = corner
    return f"{'n' if south >= 0 else 's'}{abs(south):02d}{'e' if west >= 0 else 'w'}{abs(west):03d}_dem.tif"


def write_merit(earth: Earth, path: Path, corner: tuple[int, int]) -> None:
    """Write a tile of MERIT DEM: 3 arc seconds, centre of the lower left pixel on whole degrees, no data at sea."""
    import rasterio
    from affine import Affine

    south, west = corner
    step = _MERIT_DEGREES / _MERIT_SIZE
    lat, lon = south + _MERIT_DEGREES - step * (1 + np.arange(_MERIT_SIZE)), west + step * np.arange(_MERIT_SIZE)
    top = south + _MERIT_DEGREES - step / 2
    profile = _profile(_MERIT_SIZE, _MERIT_SIZE, Affine(step, 0, west - step / 2, 0, -step, top))
    columns, parallels = _near_land(earth, lat, lon)
    with rasterio.open(path, "w", nodata=_MERIT_NODATA, **profile) as file:
        for first in range(0, _MERIT_SIZE, _ROWS):
            stored = np.full((_ROWS, _MERIT_SIZE), _MERIT_NODATA, np.float32)
            rows = parallels[first : first + _ROWS]
            if rows.any() and columns.any():
                height = elevation(earth, lat[first : first + _ROWS][rows], lon[columns], fine=True)
                heights = np.where(height > 0, (height * _STEP).round() / _STEP, _MERIT_NODATA)
                stored[np.ix_(rows, columns)] = heights
            file.write(stored, 1, window=((first, first + _ROWS), (0, _MERIT_SIZE)))


def _near_land(
    earth: Earth, lat: AnyFloatArray, lon: AnyFloatArray
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which meridians and parallels may meet the island: elsewhere there is no need to compute the sea."""
    static = static_fields(earth)
    shores = (static.lon[static.land], static.lat[static.land.any(axis=1)])
    east, north = (
        (axis > shore.min() - _MARGIN) & (axis < shore.max() + _MARGIN)
        for axis, shore in zip((lon, lat), shores, strict=True)
    )
    return east, north


def _corners(earth: Earth, degrees: int) -> list[tuple[int, int]]:
    """Return south-west corners of the tiles of a size with land in them."""
    static = static_fields(earth)
    lat = np.broadcast_to(static.lat[:, np.newaxis], static.lon.shape)[static.land]
    corners = np.unique(np.floor(np.stack([lat, static.lon[static.land]]) / degrees).astype(int) * degrees, axis=1)
    return [(int(south), int(west)) for south, west in corners.T]


def _profile(rows: int, columns: int, affine: Any) -> dict[str, Any]:
    return {
        "driver": "GTiff", "dtype": "float32", "count": 1, "height": rows, "width": columns, "crs": "EPSG:4326",
        "transform": affine, "compress": "deflate", "zlevel": 1, "predictor": 3, "tiled": True,
        "blockxsize": 512, "blockysize": 512,
    }  # fmt: skip
