"""Predict soil moisture and quality flags from a model and a cube of features.

A run calls it for each tile and day; the product writes what it returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from stac_sm.core.errors import ModelError
from stac_sm.core.variables import VARIABLES, QualityFlag
from stac_sm.model.model import Model

if TYPE_CHECKING:
    import xarray as xr

_BLOCKS = (128, 32)
"""Sides of square blocks, one in another, in which pixels are predicted: what is near is alike, and that is fast."""


def predict(model: Model, cube: xr.Dataset) -> xr.Dataset:
    """Compute the soil moisture of every pixel and day of a cube, lazily.

    Parameters
    ----------
    model
        Its features are matched by name. Its recipe says what a missing feature does (``nodata`` or ``nan``) and which
        masks there are; a model without one needs every feature and has no masks.
    cube
        Features and masks, as `feature_cube` gives them.

    Returns
    -------
    xarray.Dataset
        With the dims of the cube: ``sm`` float32, m3 m-3, NaN where there is no value; ``qa`` uint8, bits of
        `QualityFlag`; where the model has intervals, ``uncertainty``, float32, half width in m3 m-3, NaN where
        ``sm`` is.

    Raises
    ------
    ModelError
        If the cube lacks a feature of the model: names it.
    """
    import xarray as xr

    absent = [name for name in model.features if name not in cube]
    if absent:
        raise ModelError(f"the cube has no feature {', '.join(absent)}; it has {', '.join(map(str, cube.data_vars))}")
    recipe = model.recipe
    optional = {f.name for f in recipe.features} - set(recipe.required) if recipe else set()
    required = [name for name in model.features if name not in optional]  # a latitude off the Earth is NaN, too
    masks = [mask.name for mask in recipe.masks] if recipe else []
    names = [*model.features, *masks, *(["gap_filled"] if "gap_filled" in cube else [])]

    fields = _fields(model)
    found = xr.apply_ufunc(
        partial(predict_block, model, names, required, masks),
        *(cube[name] for name in names),
        output_core_dims=[[] for _ in fields],
        dask="parallelized",
        output_dtypes=[dtype for dtype, _ in fields.values()],
        keep_attrs=False,
    )
    for one, (_, attrs) in zip(found, fields.values(), strict=True):
        one.attrs = attrs | {"grid_mapping": "spatial_ref"}
    return xr.Dataset(dict(zip(fields, found, strict=True)))


def predict_block(
    model: Model, names: Sequence[str], required: Sequence[str], masks: Sequence[str], *arrays: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Compute soil moisture (float32, NaN where there is none), flags (uint8) and, where the model has intervals, half
    widths.

    All arrays are of one shape.
    """
    columns = dict(zip(names, arrays, strict=True))
    shape = arrays[0].shape
    qa = np.zeros(shape, dtype=np.uint8)
    for name in masks:
        qa[columns[name]] |= np.uint8(QualityFlag[name.upper()])
    for name in required:
        qa[np.isnan(columns[name])] |= np.uint8(QualityFlag.INPUT_MISSING)
    wanted = qa == 0
    if "gap_filled" in columns:
        qa[columns["gap_filled"]] |= np.uint8(QualityFlag.GAP_FILLED)
    pixels = pixels_by_block(wanted)
    rows = {name: columns[name].ravel().take(pixels) for name in model.features}
    raw, half_width = (model.predict(rows), None) if model.intervals is None else model.predict_with_half_width(rows)
    least, most = VARIABLES["sm"].valid
    sm = np.clip(raw, np.float32(least), np.float32(most))
    flags = qa.reshape(-1)
    flags[pixels] |= np.where(sm != raw, np.uint8(QualityFlag.CLIPPED), np.uint8(0))
    if model.applicability is not None:
        outside = model.applicability.outside(rows)
        flags[pixels] |= np.where(outside, np.uint8(QualityFlag.NOT_APPLICABLE), np.uint8(0))
    found = _spread_out(sm, pixels, shape), qa
    return found if half_width is None else (*found, _spread_out(half_width, pixels, shape))


def pixels_by_block(wanted: np.ndarray) -> np.ndarray:
    """Return flat positions of the required pixels of fields, dims (..., y, x): field by field, block by block.

    A pixel that is not required costs nothing, and a block takes its place from the next one.
    """
    if wanted.ndim < 2:
        return np.flatnonzero(wanted)
    walk = _walk(*wanted.shape[-2:])
    fields = wanted.reshape(-1, len(walk))
    return np.concatenate([walk[field[walk]] + np.intp(i * len(walk)) for i, field in enumerate(fields)])


@lru_cache(maxsize=4)
def _walk(height: int, width: int) -> np.ndarray:
    """Return flat positions of all pixels of a field, block by block."""
    keys: list[np.ndarray] = []
    for side in _BLOCKS[::-1]:  # np.lexsort sorts by the last key first
        keys += [np.tile(np.arange(width) // side, height), np.repeat(np.arange(height) // side, width)]
    return np.lexsort(keys)


def _fields(model: Model) -> dict[str, tuple[type[np.generic], dict[str, str]]]:
    """Return type and attributes of each variable of a prediction."""
    known = VARIABLES["sm"]
    fields: dict[str, tuple[type[np.generic], dict[str, str]]] = {
        "sm": (np.float32, {"units": known.unit, "long_name": known.description}),
        "qa": (np.uint8, {"long_name": "Quality flags"}),
    }
    if model.intervals is not None:
        fields["uncertainty"] = (np.float32, {"units": known.unit, "long_name": model.intervals.description})
    return fields


def _spread_out(values: np.ndarray, pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return values at their pixels, NaN elsewhere; float32."""
    field = np.full(shape, np.nan, dtype=np.float32)
    field.reshape(-1)[pixels] = values
    return field
