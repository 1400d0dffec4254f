"""Pictures of cubes, legible on paper and to the colour-blind. Drawn without a screen and without global state."""

from __future__ import annotations

import math
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

SUFFIXES = (".png", ".pdf", ".svg")
_PANEL = 3.4  # inches
_PIXELS = 800  # along a side of a panel; more are thinned out
_COLOURS = {"m3 m-3": "cividis_r", "K": "magma", "m2 m-2": "viridis", "%": "cividis", "m": "cividis", "1": "viridis"}
_UNITS = {"m3 m-3": "m³ m⁻³", "m2 m-2": "m² m⁻²", "1": ""}
_NO_VALUE = "#d9d9d9"
_SPREAD = (2, 98)  # percentiles at the ends of the colours: outliers must not take them all


def plot_cube(cube: xr.Dataset, file: Path, *, title: str = "") -> None:
    """Draw the first day of a cube, one panel a variable, with units; grey is no value.

    Parameters
    ----------
    cube
        Dims (time, y, x), as `feature_cube` gives it, in memory.
    file
        A ``.png``, ``.pdf`` or ``.svg``, replaced if it exists.
    title
        Stands above the panels, before the day.

    Raises
    ------
    InputError
        If the file's name has another ending.
    """
    from matplotlib.figure import Figure

    if file.suffix not in SUFFIXES:
        raise InputError(f"{file}: a name that ends with {', '.join(SUFFIXES)} wanted")
    names = [str(name) for name in cube.data_vars]
    columns = min(4, math.ceil(math.sqrt(len(names))))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(_PANEL * columns, 0.9 * _PANEL * rows + 0.4), layout="constrained")
    figure.suptitle(f"{title} {np.datetime_as_string(cube.time.values[0], 'D')}".strip())
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, name in zip(grid.flat, names, strict=False):
        _panel(figure, axes, cube[name].isel(time=0), name)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    figure.savefig(file, dpi=110, metadata={"Creator": "stac_sm"} if file.suffix != ".png" else {"Software": "stac_sm"})


def _panel(figure: Any, axes: Any, field: xr.DataArray, name: str) -> None:
    """One variable with its unit, in the coordinates of the grid: km, or degrees."""
    step = max(1, -(-max(field.shape) // _PIXELS))
    field = field[::step, ::step]
    metres = abs(float(field.x[-1]) - float(field.x[0])) > 1000
    divisor, unit = (1000.0, "km") if metres else (1.0, "degrees")
    x, y = field.x.values / divisor, field.y.values / divisor
    values = field.values.astype(float)
    low, high = _limits(values, mask=field.dtype == bool)
    image = axes.imshow(
        values,
        extent=(*_ends(x), *_ends(y)[::-1]),  # rows run from north to south
        cmap=_colours(str(field.attrs.get("units", "1")), mask=field.dtype == bool),
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )
    axes.set_facecolor(_NO_VALUE)
    axes.set_title("\n".join([name, *wrap(str(field.attrs.get("long_name", "")), 44)]), fontsize=8)
    axes.tick_params(labelsize=6)
    axes.set_xlabel("black: yes, white: no" if field.dtype == bool else unit, fontsize=7)
    if field.dtype != bool:
        _scale(figure, axes, image, str(field.attrs.get("units", "1")))
    if np.isnan(values).all():
        axes.text(0.5, 0.5, "no value", transform=axes.transAxes, ha="center", va="center")


def _scale(figure: Any, axes: Any, image: Any, unit: str) -> None:
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, extend="both")
    bar.set_label(_UNITS.get(unit, unit), fontsize=7)
    bar.ax.tick_params(labelsize=6)


def _ends(centres: np.ndarray) -> tuple[float, float]:
    """Outer edges of pixels with these centres, first and last."""
    half = (centres[-1] - centres[0]) / max(len(centres) - 1, 1) / 2
    return float(centres[0] - half), float(centres[-1] + half)


def _limits(values: np.ndarray, *, mask: bool) -> tuple[float, float]:
    if mask or np.isnan(values).all():
        return 0.0, 1.0
    low, high = np.nanpercentile(values, _SPREAD)
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _colours(unit: str, *, mask: bool) -> Any:
    from matplotlib import colormaps

    return colormaps["Greys" if mask else _COLOURS.get(unit, "viridis")].with_extremes(bad=_NO_VALUE)
