"""Draw cubes, maps and series, legible on paper and to the colour-blind.

``stac-sm plot`` and ``stac-sm features --plot`` draw figures here, and the product its thumbnails. Nothing needs a
screen, and nothing changes matplotlib's global state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.core.colours import SOIL_MOISTURE_COLOURS, SOIL_MOISTURE_RANGE
from stac_sm.core.errors import InputError
from stac_sm.core.variables import PUBLISHED_FLAGS, VOLUMETRIC
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
    """Draw the first day of a cube, one panel a variable, with units, cut to the part with values; grey is no value.

    Soil moisture has the colours and the range of every other picture; its anomaly diverges from white at 0. Variables
    without a value on that day, masks that hold nowhere, and variables that are the same in every pixel are named in a
    line below the panels.

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
    day_of = {str(name): cube[name].isel(time=0) for name in cube.data_vars}
    empty = [name for name, field in day_of.items() if not field.notnull().any()]
    nowhere = [name for name, field in day_of.items() if field.dtype == bool and not field.any()]
    same = {name: _only_value(field) for name, field in day_of.items() if name not in (*empty, *nowhere)}
    names = [name for name, value in same.items() if not value]
    part = _part_with_values([day_of[name] for name in names])
    day_of = {name: day_of[name].isel(part) for name in names}
    columns = min(4, math.ceil(math.sqrt(max(len(names), 1))))
    rows = math.ceil(len(names) / columns)
    shape = day_of[names[0]].sizes if names else cube.sizes
    tall = min(max(shape["y"] / shape["x"], 0.3), 1.5)
    day = fill(f"{title}, {np.datetime_as_string(cube.time.values[0], 'D')}".strip(", "), 38 * columns)
    most_lines = max((_panel_title(cube[name], name).count("\n") for name in names), default=0)
    height = (0.72 * _PANEL * tall + 0.75 + 0.13 * most_lines) * rows + 0.7 + 0.2 * day.count("\n")
    figure = Figure(figsize=(_PANEL * columns, height), layout="compressed")
    figure.suptitle(day, fontsize=10)
    for place, name in enumerate(names, 1):
        _panel(figure, figure.add_subplot(rows, columns, place), day_of[name], name)
    everywhere = [f"{name} {value}" for name, value in same.items() if value]
    left_out = {"no value on this day": empty, "nowhere on this day": nowhere, "the same in every pixel": everywhere}
    if lines := "; ".join(f"{why}: {', '.join(which)}" for why, which in left_out.items() if which):
        below = figure.supxlabel(fill(lines, 48 * columns), fontsize=7)
        if names:
            _move_up(figure, below)
    _save(figure, file)


def plot_map(field: xr.DataArray, file: Path, *, title: str, difference: bool = False, note: str = "") -> None:
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
    note
        A line below the map.

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
    axes.set_title(fill(title, 80), fontsize=10)
    lines = ["grey: no value"] if np.isnan(field.values.astype(float)).any() else []
    if lines := [*lines, *([note] if note else [])]:
        figure.supxlabel(fill("; ".join(lines), 110), fontsize=7)
    _save(figure, file)


def plot_series(series: pd.DataFrame, file: Path, *, title: str, stations: pd.DataFrame | None = None) -> None:
    """Draw soil moisture day by day, with its prediction interval as a band, its flags, and what stations measured.

    Gaps stay gaps. A strip below the axes has a row for each flag that occurs, with a mark on its days.

    Parameters
    ----------
    series
        As `point_series` gives it: index of days; ``sm`` and perhaps ``uncertainty`` in m3 m-3, and ``qa``, bits of
        `QualityFlag`; ``attrs["coverage"]`` of the intervals, 0 to 1, where it is known.
    file
        A ``.png``, ``.pdf`` or ``.svg``, replaced if it exists.
    title
        Text above the axes.
    stations
        Daily means at the pixel: ``site``, ``date``, ``sm`` (m3 m-3). The picture says that they are not to be passed
        on: the ISMN forbids redistribution. None or empty: none are drawn.

    Raises
    ------
    InputError
        If the file's name has another ending.
    """
    from matplotlib import dates
    from matplotlib.figure import Figure

    check_suffix(file)
    flags = _flags_of(series)
    figure = Figure(figsize=(9, 3.6 + 0.16 * len(flags)), layout="constrained")
    axes, strip = figure.subplots(2, 1, sharex=True, height_ratios=[18, max(len(flags), 1)])
    days, sm = series.index.to_numpy(), series["sm"].to_numpy(float)
    if "uncertainty" in series and series["uncertainty"].notna().any():
        half = series["uncertainty"].to_numpy(float)
        axes.fill_between(days, sm - half, sm + half, color="#9ecae1", linewidth=0, label=_interval_label(series))
        axes.vlines(days, sm - half, sm + half, color="#9ecae1", linewidth=2)  # of a day alone, too
    axes.plot(days, sm, color="#08519c", linewidth=1, marker=".", markersize=3, label="soil moisture")
    if stations is not None and len(stations):
        for site, part in stations.groupby("site", sort=True):
            axes.plot(part["date"].to_numpy(), part["sm"], "x", color="black", markersize=4, label=f"station {site}")
        figure.supxlabel("Station data: not to be passed on (the ISMN forbids redistribution).", fontsize=7)
    ticks: Any = dates  # untyped
    locator = ticks.AutoDateLocator(minticks=3, maxticks=9)
    _draw_flags(strip, days, flags)
    lowest = strip if flags else axes
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ticks.ConciseDateFormatter(locator))
    axes.tick_params(labelbottom=not flags)
    lowest.xaxis.get_offset_text().set_fontsize(8)
    axes.set_xlim(days[0] - np.timedelta64(12, "h"), days[-1] + np.timedelta64(12, "h"))
    axes.set_ylabel(f"soil moisture, {_UNITS['m3 m-3']}")
    axes.set_title(title, fontsize=10)
    axes.grid(linewidth=0.3)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    if np.isnan(sm).all():
        axes.text(0.5, 0.5, "no value", transform=axes.transAxes, ha="center", va="center")
    _save(figure, file)


def _interval_label(series: pd.DataFrame) -> str:
    coverage = series.attrs.get("coverage")
    return "prediction interval" if coverage is None else f"{100 * coverage:g} % prediction interval"


def _flags_of(series: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return whether each day has a flag, by the name of each flag that occurs."""
    if "qa" not in series:
        return {}
    bits = series["qa"].to_numpy(np.uint8)
    found = {str(flag.name).lower().replace("_", " "): (bits & np.uint8(flag)) != 0 for flag in PUBLISHED_FLAGS}
    return {name: days for name, days in found.items() if days.any()}


def _draw_flags(axes: Any, days: np.ndarray, flags: dict[str, np.ndarray]) -> None:
    """Draw a row of marks for each flag; without flags, no axes are left."""
    if not flags:
        axes.remove()
        return
    for row, flagged in enumerate(flags.values()):
        axes.plot(days[flagged], np.full(int(flagged.sum()), row), "|", color="#d55e00", markersize=6)
    axes.set_yticks(range(len(flags)), list(flags), fontsize=7)
    axes.set_ylim(len(flags) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def legend_thumbnail(values: np.ndarray, bounds: tuple[float, float, float, float], file: Path, *, title: str) -> None:
    """Draw a small map with coast lines and a legend, m3 m-3; the same colours on every day, clear without a value.

    Parameters
    ----------
    values
        (y, x), m3 m-3, NaN where there is no value.
    bounds
        West, south, east, north, degrees.
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
    draw_coast(axes)
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
    divisor, axis = (1.0, "degrees east") if _in_degrees(field) else (1000.0, "km")
    x, y = field.x.values / divisor, field.y.values / divisor
    values = field.values.astype(float)
    low, high = _limits(values, mask=field.dtype == bool)
    unit, statistic = _unit_of(field), field.attrs.get("statistic")
    difference = difference or (unit == VOLUMETRIC and statistic == "anomaly")
    if unit == VOLUMETRIC and not difference:
        low, high = SOIL_MOISTURE_RANGE
    if difference:
        low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
    image = axes.imshow(
        values,
        extent=(*_ends(x), *_ends(y)[::-1]),  # rows run from north to south
        cmap=_colours(unit, mask=field.dtype == bool, difference=difference),
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )
    axes.set_facecolor(_NO_VALUE)
    axes.set_title(_panel_title(field, name), fontsize=8)
    axes.tick_params(labelsize=6)
    axes.set_xlabel("black: yes, white: no" if field.dtype == bool else axis, fontsize=7)
    if _in_degrees(field):
        axes.set_ylabel("degrees north", fontsize=7)
        axes.set_aspect(1 / max(0.2, math.cos(math.radians(float(field.y.mean())))))
        draw_coast(axes)
    if field.dtype != bool:
        label = "red: drier, blue: wetter" if difference else "soil moisture" if field.name == "sm" else ""
        _scale(figure, axes, image, str(field.attrs.get("units", "1")), label)
    if np.isnan(values).all():
        axes.text(0.5, 0.5, "no value", transform=axes.transAxes, ha="center", va="center")


def _unit_of(field: xr.DataArray) -> str:
    """Return the unit by which a variable gets its colours: volumes of water that are no soil moisture get others."""
    unit = str(field.attrs.get("units", "1"))
    error = field.attrs.get("statistic") == "spread" or "uncertainty" in str(field.name)
    return "an error, m3 m-3" if unit == VOLUMETRIC and error else unit


def _only_value(field: xr.DataArray) -> str:
    """Return the value that every pixel of a variable has, with its unit; empty where they differ, or one has none."""
    values = field.values
    if field.dtype == bool or values.size == 1 or not (values == values.flat[0]).all():
        return ""
    unit = str(field.attrs.get("units", "1"))
    return f"{float(values.flat[0]):.4g} {_UNITS.get(unit, unit)}".strip()


def _part_with_values(fields: Sequence[xr.DataArray]) -> dict[str, slice]:
    """Return the rows and columns in which a variable has a value, with a margin; masks have one everywhere."""
    known = [field.notnull().values for field in fields if field.dtype != bool]
    if not known:
        return {}
    anywhere = np.logical_or.reduce(known)
    part = {}
    for dim, axis in (("y", 1), ("x", 0)):
        places = np.flatnonzero(anywhere.any(axis=axis))
        margin = 2 + int(np.ptp(places)) // 30
        part[dim] = slice(max(0, int(places[0]) - margin), int(places[-1]) + margin + 1)
    return part


def _move_up(figure: Any, text: Any) -> None:
    """Put a line of text close below the panels, which the layout may have moved up from the lower edge."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the panels stay where they are
    lowest = min(axes.get_tightbbox().y0 for axes in figure.axes)
    text.set(va="top", y=float(figure.transFigure.inverted().transform((0, lowest))[1]) - 0.15 / figure.get_figheight())


def _panel_title(field: xr.DataArray, name: str) -> str:
    """Return what a variable is, and its name in brackets."""
    described = str(field.attrs.get("long_name", ""))
    if field.dtype == bool and described in ("", name):
        described = "mask"
    return fill(f"{described[:1].upper()}{described[1:]} ({name})" if described not in ("", name) else name, 46)


def _in_degrees(field: xr.DataArray) -> bool:
    """Return whether a map is in degrees: the whole Earth has 360 of them, and a pixel has hundreds of metres."""
    return max(float(np.abs(field.x).max()), float(np.abs(field.y).max())) <= 361


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

    if unit == VOLUMETRIC and not (mask or difference):
        return ListedColormap(SOIL_MOISTURE_COLOURS / 255, "soil_moisture").with_extremes(bad=_NO_VALUE)
    name = "RdBu" if difference else "Greys" if mask else _COLOURS.get(unit, "viridis")
    return colormaps[name].with_extremes(bad=_NO_VALUE)
