"""Draw cubes, maps and series, legible on paper and to the colour-blind.

``stac-sm plot`` and ``stac-sm features --plot`` draw figures here, and the product its thumbnails. Nothing needs a
screen, and nothing changes matplotlib's global state.
"""

from __future__ import annotations

import math
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.core.colours import SOIL_MOISTURE_COLOURS, SOIL_MOISTURE_RANGE
from stac_sm.core.errors import InputError
from stac_sm.raster.coast import draw_coast

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

SUFFIXES = (".png", ".pdf", ".svg")
_PANEL = 3.4  # inches
_PIXELS = 800  # along a side of a panel; more are thinned out
_COLOURS = {"K": "magma", "m2 m-2": "viridis", "%": "cividis", "m": "cividis", "1": "viridis"}
_UNITS = {"m3 m-3": "m³ m⁻³", "m2 m-2": "m² m⁻²", "1": ""}
_NO_VALUE = "#d9d9d9"
_SPREAD = (2, 98)  # percentiles at the ends of the colours, so that outliers do not flatten the rest


def plot_cube(cube: xr.Dataset, file: Path, *, title: str = "") -> None:
    """Draw the first day of a cube, one panel a variable, with units; grey is no value.

    Parameters
    ----------
    cube
        Dims (time, y, x), as `feature_cube` gives it, in memory.
    file
        A ``.png``, ``.pdf`` or ``.svg``, replaced if it exists.
    title
        Text above the panels, before the day.

    Raises
    ------
    InputError
        If the file's name has another ending.
    """
    from matplotlib.figure import Figure

    check_suffix(file)
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
    _save(figure, file)


def plot_map(field: xr.DataArray, file: Path, *, title: str, difference: bool = False) -> None:
    """Draw one map with its unit; grey is no value. Soil moisture has the same colours on every map.

    Parameters
    ----------
    field
        Dims (y, x), in memory, with the attribute ``units``; coordinates in metres of its projection, or degrees:
        then coast lines are drawn.
    file
        A ``.png``, ``.pdf`` or ``.svg``, replaced if it exists.
    title
        Text above the map.
    difference
        Whether the colours diverge from white at 0: red is drier, blue is wetter.

    Raises
    ------
    InputError
        If the file's name has another ending.
    """
    from matplotlib.figure import Figure

    check_suffix(file)
    height, width = map(float, field.shape)
    if _in_degrees(field):  # a degree of longitude is shorter than one of latitude
        width *= max(0.2, math.cos(math.radians(float(field.y.mean()))))
    figure = Figure(figsize=(7.5, min(max(6.3 * height / width, 2.5), 9.0) + 0.6), layout="constrained")
    axes = figure.subplots()
    _panel(figure, axes, field, "", difference=difference)
    axes.set_title(title, fontsize=10)
    if _in_degrees(field):
        axes.set_ylabel("degrees north", fontsize=7)
        axes.set_xlabel("degrees east", fontsize=7)
        axes.set_aspect(1 / max(0.2, math.cos(math.radians(float(field.y.mean())))))
        draw_coast(axes)
    _save(figure, file)


def plot_series(series: pd.DataFrame, file: Path, *, title: str) -> None:
    """Draw soil moisture day by day, with its prediction interval as a band where it has one; gaps stay gaps.

    Parameters
    ----------
    series
        As `point_series` gives it: index of days; ``sm`` and perhaps ``uncertainty`` in m3 m-3.
    file
        A ``.png``, ``.pdf`` or ``.svg``, replaced if it exists.
    title
        Text above the axes.

    Raises
    ------
    InputError
        If the file's name has another ending.
    """
    from matplotlib import dates
    from matplotlib.figure import Figure

    check_suffix(file)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    days, sm = series.index.to_numpy(), series["sm"].to_numpy(float)
    if "uncertainty" in series and series["uncertainty"].notna().any():
        half = series["uncertainty"].to_numpy(float)
        axes.fill_between(days, sm - half, sm + half, color="#9ecae1", linewidth=0, label="90 % prediction interval")
        axes.vlines(days, sm - half, sm + half, color="#9ecae1", linewidth=2)  # of a day alone, too
    axes.plot(days, sm, color="#08519c", linewidth=1, marker=".", markersize=3, label="soil moisture")
    ticks: Any = dates  # untyped
    locator = ticks.AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ticks.ConciseDateFormatter(locator))
    axes.set_xlim(days[0] - np.timedelta64(12, "h"), days[-1] + np.timedelta64(12, "h"))
    axes.set_ylabel(f"soil moisture, {_UNITS['m3 m-3']}")
    axes.set_title(title, fontsize=10)
    axes.grid(linewidth=0.3)
    axes.legend(frameon=False, fontsize=8)
    if np.isnan(sm).all():
        axes.text(0.5, 0.5, "no value", transform=axes.transAxes, ha="center", va="center")
    _save(figure, file)


def legend_thumbnail(values: np.ndarray, bounds: tuple[float, float, float, float], file: Path, *, title: str) -> None:
    """Draw a small map with a legend, m3 m-3; the same colours on every day, clear where there is no value.

    Parameters
    ----------
    values
        (y, x), m3 m-3, NaN where there is no value.
    bounds
        Left, bottom, right, top, in units of the CRS.
    file
        A ``.png``, replaced if it exists.
    title
        Text above the map.
    """
    from matplotlib.figure import Figure

    left, bottom, right, top = bounds
    figure = Figure(
        figsize=(5.12, min(max(4.2 * (top - bottom) / (right - left), 1.6), 5.0) + 0.5), layout="constrained"
    )
    axes = figure.subplots()
    low, high = SOIL_MOISTURE_RANGE
    colours = _colours("m3 m-3", mask=False).with_extremes(bad="#00000000")
    step = max(1, max(values.shape) // _PIXELS)
    shown = values[::step, ::step]
    extent = (left, right, bottom, top)
    image = axes.imshow(shown, cmap=colours, vmin=low, vmax=high, extent=extent, aspect="auto", interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=8)
    _scale(figure, axes, image, "m3 m-3")
    figure.savefig(file, dpi=100, metadata={"Software": "stac_sm"})


def check_suffix(file: Path) -> None:
    """Refuse a file name that is not one of a picture.

    Parameters
    ----------
    file
        Path that the picture would be written to.

    Raises
    ------
    InputError
        If its ending is none of `SUFFIXES`.
    """
    if file.suffix not in SUFFIXES:
        raise InputError(f"{file}: a name that ends with {', '.join(SUFFIXES)} is required")


def _save(figure: Any, file: Path) -> None:
    metadata = {"Creator": "stac_sm"} if file.suffix != ".png" else {"Software": "stac_sm"}
    figure.savefig(file, dpi=110, metadata=metadata, bbox_inches="tight")  # the layout alone cuts labels of maps


def _panel(figure: Any, axes: Any, field: xr.DataArray, name: str, *, difference: bool = False) -> None:
    """Draw one variable with its unit, in the coordinates of the grid: km, or degrees."""
    step = max(1, -(-max(field.shape) // _PIXELS))
    field = field[::step, ::step]
    divisor, unit = (1.0, "degrees") if _in_degrees(field) else (1000.0, "km")
    x, y = field.x.values / divisor, field.y.values / divisor
    values = field.values.astype(float)
    low, high = _limits(values, mask=field.dtype == bool)
    if field.name == "sm" and not difference:
        low, high = SOIL_MOISTURE_RANGE
    if difference:
        low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
    image = axes.imshow(
        values,
        extent=(*_ends(x), *_ends(y)[::-1]),  # rows run from north to south
        cmap=_colours(str(field.attrs.get("units", "1")), mask=field.dtype == bool, difference=difference),
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )
    axes.set_facecolor(_NO_VALUE)
    described = str(field.attrs.get("long_name", ""))
    axes.set_title("\n".join([name, *(wrap(described, 44) if described != name else [])]), fontsize=8)
    axes.tick_params(labelsize=6)
    axes.set_xlabel(_mask_labels(values) if field.dtype == bool else unit, fontsize=7)
    if field.dtype != bool:
        label = "soil moisture" if field.name == "sm" else ""
        _scale(figure, axes, image, str(field.attrs.get("units", "1")), label)
    if np.isnan(values).all():
        axes.text(0.5, 0.5, "no value", transform=axes.transAxes, ha="center", va="center")


def _in_degrees(field: xr.DataArray) -> bool:
    """Return whether a map is in degrees: the whole Earth has 360 of them, and a pixel has hundreds of metres."""
    return max(float(np.abs(field.x).max()), float(np.abs(field.y).max())) <= 361


def _mask_labels(values: np.ndarray) -> str:
    return "black: yes, white: no" if values.any() else "nowhere"


def _scale(figure: Any, axes: Any, image: Any, unit: str, label: str = "") -> None:
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, extend="both")
    bar.set_label(", ".join(part for part in (label, _UNITS.get(unit, unit)) if part), fontsize=7)
    bar.ax.tick_params(labelsize=6)


def _ends(centres: np.ndarray) -> tuple[float, float]:
    """Return the outer edges of pixels with these centres, first and last."""
    half = (centres[-1] - centres[0]) / max(len(centres) - 1, 1) / 2
    return float(centres[0] - half), float(centres[-1] + half)


def _limits(values: np.ndarray, *, mask: bool) -> tuple[float, float]:
    if mask or np.isnan(values).all():
        return 0.0, 1.0
    low, high = np.nanpercentile(values, _SPREAD)
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _colours(unit: str, *, mask: bool, difference: bool = False) -> Any:
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    if unit == "m3 m-3" and not (mask or difference):
        return ListedColormap(SOIL_MOISTURE_COLOURS / 255, "soil_moisture").with_extremes(bad=_NO_VALUE)
    name = "RdBu" if difference else "Greys" if mask else _COLOURS.get(unit, "viridis")
    return colormaps[name].with_extremes(bad=_NO_VALUE)
