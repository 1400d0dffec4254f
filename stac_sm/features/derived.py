"""Derived features, trailing means and masks: pure functions of arrays and cubes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.core.grid import transform_points
from stac_sm.core.variables import VARIABLES
from stac_sm.features.recipe import Mask

if TYPE_CHECKING:
    import xarray as xr

_YEAR = 365.25  # days


def add_derived(cube: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """Cube with derived features after its own, float32 with the dims of the cube; lazy where the cube is."""
    import dask.array as da

    like = next(iter(cube.data_vars.values()))
    for name in names:
        known = VARIABLES[name]
        attrs = {"units": known.unit, "long_name": known.description, "grid_mapping": "spatial_ref"}
        values = da.broadcast_to(_DERIVED[name](cube), like.shape, chunks=like.chunks)
        cube = cube.assign({name: (like.dims, values.astype(np.float32), attrs)})
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


def _angle(cube: xr.Dataset) -> Any:
    """Day of the year as angle in radians, lazily, along the first dimension of the cube."""
    import dask.array as da

    like = next(iter(cube.data_vars.values()))
    ones = [1] * (like.ndim - 1)
    angle = 2 * np.pi * (cube.time.dt.dayofyear.values - 1) / _YEAR
    return da.from_array(angle.reshape(-1, *ones), chunks=((like.chunks or ((-1,),))[0], *ones))


def _latitude(cube: xr.Dataset) -> Any:
    """Degrees north of the pixel centres, of the cube's spatial dims, lazily."""
    import dask.array as da

    like, crs = next(iter(cube.data_vars.values())), cube.spatial_ref.attrs["crs_wkt"]
    sizes = dict(zip(like.dims, like.chunks or (), strict=True))
    x, y = (da.from_array(cube[name].values, chunks=(sizes[cube[name].dims[0]],)) for name in ("x", "y"))
    if "pixel" not in like.dims:
        x, y = x[None, :], y[:, None]
    return da.map_blocks(_north, x, y, crs=crs, dtype=np.float64)


def _north(x: np.ndarray, y: np.ndarray, crs: str) -> np.ndarray:
    x, y = np.broadcast_arrays(x, y)
    return transform_points(crs, "OGC:CRS84", x, y)[1]


_DERIVED: dict[str, Callable[[xr.Dataset], Any]] = {
    "doy_sin": lambda cube: np.sin(_angle(cube)),
    "doy_cos": lambda cube: np.cos(_angle(cube)),
    "latitude": _latitude,
}
