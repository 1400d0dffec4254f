"""Derived features, trailing means and masks: pure functions of arrays and cubes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stac_sm.grid import transform_points
from stac_sm.recipe import Mask
from stac_sm.variables import VARIABLES

if TYPE_CHECKING:
    import xarray as xr

_YEAR = 365.25  # days


def add_derived(cube: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """Cube with derived features after its own, float32 with the dims of the cube; lazy where the cube is."""
    like = next(iter(cube.data_vars.values()))
    for name in names:
        values = _DERIVED[name](cube).astype(np.float32)
        full = values.broadcast_like(like).transpose(*like.dims)
        known = VARIABLES[name]
        full.attrs = {"units": known.unit, "long_name": known.description, "grid_mapping": "spatial_ref"}
        cube = cube.assign({name: full.chunk(dict(zip(like.dims, like.data.chunksize, strict=True)))})
    return cube


def apply_masks(cube: xr.Dataset, masks: Sequence[Mask]) -> xr.Dataset:
    """Cube with each mask's variable turned into True where it masks; an unknown value masks only where told."""
    for mask in masks:
        values = cube[mask.name]
        masked = values.isnull() if mask.unknown else values.isnull() & False
        if mask.below is not None:
            masked = masked | (values < np.float32(mask.below))
        if mask.above is not None:
            masked = masked | (values > np.float32(mask.above))
        cube = cube.assign({mask.name: masked.assign_attrs(values.attrs | {"units": "1", "long_name": mask.name})})
    return cube


def trailing_mean(*days: np.ndarray, total: int) -> np.ndarray:
    """Mean of the days with a value at each pixel, float32; NaN where fewer than half of ``total`` have one."""
    stack = np.stack(days)
    count = np.count_nonzero(~np.isnan(stack), axis=0)
    mean = np.nansum(stack, axis=0, dtype=np.float64) / np.maximum(count, 1)
    return np.where(2 * count >= total, mean, np.nan).astype(np.float32)


def _angle(cube: xr.Dataset) -> xr.DataArray:
    """Day of the year as angle in radians (time)."""
    angle: xr.DataArray = 2 * np.pi * (cube.time.dt.dayofyear - 1) / _YEAR
    return angle


def _doy_sin(cube: xr.Dataset) -> xr.DataArray:
    return _angle(cube).copy(data=np.sin(_angle(cube).values))


def _doy_cos(cube: xr.Dataset) -> xr.DataArray:
    return _angle(cube).copy(data=np.cos(_angle(cube).values))


def _latitude(cube: xr.Dataset) -> xr.DataArray:
    """Degrees north of the pixel centres, of the cube's spatial dims."""
    import xarray as xr

    x, y = xr.broadcast(cube.x, cube.y)
    y = y.transpose(*x.dims)
    _, latitude = transform_points(cube.spatial_ref.attrs["crs_wkt"], "OGC:CRS84", x.values, y.values)
    return xr.DataArray(latitude, dims=x.dims, coords={dim: cube[dim] for dim in x.dims if dim in cube.coords})


_DERIVED: dict[str, Callable[[xr.Dataset], xr.DataArray]] = {
    "doy_sin": _doy_sin,
    "doy_cos": _doy_cos,
    "latitude": _latitude,
}
