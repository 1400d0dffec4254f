"""Match columns of a table to the features of a model by name: what learners train on and predict from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stac_sm.core.columns import suggest_names
from stac_sm.core.errors import ModelError

if TYPE_CHECKING:
    import pandas as pd


def feature_columns(
    columns: Mapping[str, NDArray[Any]] | pd.DataFrame, features: Sequence[str]
) -> list[NDArray[np.float32]]:
    """Return the columns of the features, float32, each of shape (row,); a column that is float32 already is not
    copied.

    Raises
    ------
    ModelError
        If a feature is missing, or columns differ in length.
    """
    missing = [name for name in features if name not in columns]
    if missing:
        there = [str(name) for name in columns]
        found = "; ".join(f"{name!r} ({suggest_names(name, there)})" for name in missing)
        raise ModelError(f"model: no feature {found}; required: {', '.join(features)}; add it under this name")
    parts = [np.asarray(columns[name], dtype=np.float32) for name in features]
    shapes = {part.shape for part in parts}
    if len(shapes) != 1 or parts[0].ndim != 1:
        found = ", ".join(f"{name} {part.shape}" for name, part in zip(features, parts, strict=True))
        raise ModelError(f"model: found columns of shapes {found}; 1-D columns of one length are required")
    return parts


def feature_matrix(columns: Mapping[str, NDArray[Any]] | pd.DataFrame, features: Sequence[str]) -> NDArray[np.float32]:
    """Return columns side by side, float32, dims (row, feature); errors are those of `feature_columns`."""
    return np.stack(feature_columns(columns, features), axis=1)
