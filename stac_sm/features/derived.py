"""Compute derived features, trailing means and masks: pure functions of arrays and cubes.

`cube` and `daily_fields` call them last, when the features that are read from items are in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.core.projections import transform_points
from stac_sm.core.variables import VARIABLES
from stac_sm.features.recipe import Mask

if TYPE_CHECKING:
    import xarray as xr

_YEAR = 365.25  # days
_CACHED = 1 << 16  # pixels that are added up at a time: what is computed of them fits into the cache of a core


def add_derived(cube: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """Add derived features to a cube, after its own.

    Parameters
    ----------
    cube
        Cube with dims (time, y, x) or (time, pixel), at least one variable, coordinates ``x``, ``y`` and
        ``spatial_ref``.
    names
        Derived features: ``doy_sin``, ``doy_cos`` (the year as a circle of 365.25 days), ``latitude`` (degrees north).

    Returns
    -------
    xarray.Dataset
        The cube with one float32 variable more a name, lazy.
    """
    import dask.array as da

    like = next(iter(cube.data_vars.values()))
    for name in names:
        known = VARIABLES[name]
        attrs = {"units": known.unit, "long_name": known.description, "grid_mapping": "spatial_ref"}
        values = da.broadcast_to(_DERIVED[name](cube), like.shape, chunks=like.chunks)
        cube = cube.assign({name: (like.dims, values.astype(np.float32), attrs)})
    return cube


def apply_masks(cube: xr.Dataset, masks: Sequence[Mask]) -> xr.Dataset:
    """Turn the variable of each mask into True where it masks.

    Parameters
    ----------
    cube
        Cube that holds each mask's variable under the mask's name; NaN where it is unknown.
    masks
        The masks of a recipe; an unknown value masks only where ``unknown`` is set.

    Returns
    -------
    xarray.Dataset
        The cube with boolean variables in place of the masks' values; lazy where they are lazy.
    """
    for mask in masks:
        values = cube[mask.name]
        masked = values.isnull() if mask.unknown else values.isnull() & False
        if mask.below is not None:
            masked = masked | (values < np.float32(mask.below))
        if mask.above is not None:
            masked = masked | (values > np.float32(mask.above))
        cube = cube.assign({mask.name: masked.assign_attrs(values.attrs | {"units": "1", "long_name": mask.name})})
    return cube


def weighted_sum(*fields: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Return the weighted sum of fields.

    Parameters
    ----------
    *fields
        float32 arrays of one shape; NaN where there is no value.
    weights
        Weight of each field, taken as float32.

    Returns
    -------
    numpy.ndarray
        float32 of that shape, NaN where a field has no value; added up in order, from 0 on.
    """
    total = np.empty(fields[0].shape, np.float32)
    step = max(1, _CACHED // max(math.prod(total.shape[1:]), 1))
    for start in range(0, len(total), step):
        rows = slice(start, start + step)
        part = total[rows]
        part[:] = 0  # of -0.0 the sum is 0.0
        for weight, field in zip(weights, fields, strict=True):
            part += np.float32(weight) * field[rows]
    return total


def trailing_mean(*days: np.ndarray, total: int) -> np.ndarray:
    """Return the mean of the days with a value at each pixel.

    Parameters
    ----------
    *days
        float32 arrays of one shape, one a day with input; NaN where there is no value.
    total
        Number of days that the mean covers, with or without input.

    Returns
    -------
    numpy.ndarray
        float32 of that shape; NaN where fewer than half of ``total`` days have a value.
    """
    stack = np.stack(days)
    count = np.count_nonzero(~np.isnan(stack), axis=0)
    mean = np.nansum(stack, axis=0, dtype=np.float64) / np.maximum(count, 1)
    return np.where(2 * count >= total, mean, np.nan).astype(np.float32)


def _angle(cube: xr.Dataset) -> Any:
    """Return the day of the year as angle in radians, lazily, along the first dimension of the cube."""
    import dask.array as da

    like = next(iter(cube.data_vars.values()))
    ones = [1] * (like.ndim - 1)
    angle = 2 * np.pi * (cube.time.dt.dayofyear.values - 1) / _YEAR
    return da.from_array(angle.reshape(-1, *ones), chunks=((like.chunks or ((-1,),))[0], *ones))


def _latitude(cube: xr.Dataset) -> Any:
    """Return degrees north of the pixel centres, of the cube's spatial dims, lazily."""
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
