"""Draw the figures of a validation: maps on the cells of another product, time series of sites.

`page` puts the maps into the report of the validation, and the time series into a page of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.model.evaluate import LEAST_ROWS
from stac_sm.raster.coast import draw_coast
from stac_sm.workflows.reporting.figures import (
    BLUE,
    FIGURE_WIDTH,
    WIDE_FIGURE_WIDTH,
    density_figure,
    few_dates,
    few_ticks,
    figure_png,
    legend_above,
    new_figure,
    tidy,
)
from stac_sm.workflows.reporting.labels import UNIT
from stac_sm.workflows.reporting.tables import format_score
from stac_sm.workflows.validation.products import ProductComparison, TileMoments, cell_centres
from stac_sm.workflows.validation.stations import NetworkScores

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

_MOST_CELLS = 1200
"""Along a side of the cells of one tile in a map: of more, every second or third is drawn."""

_NO_VALUE = "#d9d9d9"


def score_maps(found: ProductComparison) -> bytes:
    """Draw maps of R, ubRMSE, bias and coverage."""
    least = least_shown(found)
    pairs = [
        {name: np.where(one.pair.n >= least, values, np.nan) for name, values in one.pair.scores.items()}
        for one in found.parts
    ]
    coverage = [np.where(one.pair.n > 0, 100.0 * one.pair.n / max(found.days, 1), np.nan) for one in found.parts]
    r = [np.where(one.pair.n >= LEAST_ROWS, one.pair.scores["r"], np.nan) for one in found.parts]
    panels = (
        (f"R, from {LEAST_ROWS} days on", "", "viridis", r, (0.0, 1.0)),  # of two days it is 1 or -1
        ("ubRMSE", UNIT, "cividis_r", [one["ubrmse"] for one in pairs], None),
        ("bias", UNIT, "PuOr_r", [one["bias"] for one in pairs], "even"),
        ("days with both", "%", "Blues", coverage, (0.0, 100.0)),
    )
    return _maps(found.parts, panels)


def least_shown(found: ProductComparison) -> int:
    """Return the fewest days of a cell whose scores are drawn: 10, or fewer where no cell has as many."""
    return max(1, min(LEAST_ROWS, int(found.pair.n.max(initial=0))))


def error_maps(found: ProductComparison, least_days: int) -> bytes | None:
    """Draw maps of the random error of three products; None if triple collocation is refused in every cell."""
    parts = [one for one in found.parts if one.triple is not None]
    errors = [one.triple.errors(least_days) for one in parts if one.triple is not None]
    if found.third is None or not any(np.isfinite(one).any() for one in errors):
        return None
    names = ("this product", found.other.title, found.third.title)
    most = float(np.nanquantile(np.concatenate([one.ravel() for one in errors]), 0.98))
    panels = [
        (f"random error of {name}", UNIT, "cividis_r", [one[i] for one in errors], (0.0, most))
        for i, name in enumerate(names)
    ]
    return _maps(parts, panels)


def _maps(
    parts: Sequence[TileMoments], panels: Sequence[tuple[str, str, str, list[NDArray[np.float64]], Any]]
) -> bytes:
    """Draw panels of (title, unit, colours, values of each part, ends)."""
    columns = 2
    lines = -(-len(panels) // columns)
    figure = new_figure(0.3 + _height(parts) * lines)
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for one, (title, unit, colours, values, ends) in zip(axes.flat, panels, strict=False):
        _map(figure, one, parts, values, unit, colours, _ends(values, ends))
        one.set_title(fill(title, 40), fontsize=8)
    for one in axes.flat[len(panels) :]:
        one.set_visible(False)
    (west, east), (south, north) = _seen(parts)
    axes.flat[0].set(xlim=(west, east), ylim=(south, north))
    for i, one in enumerate(axes.flat[: len(panels)]):
        one.set_aspect(1 / _narrowing(south, north), adjustable="box")
        draw_coast(one)
        few_ticks(one.xaxis)
        few_ticks(one.yaxis)
        if i + columns >= len(panels):  # the lowest of its column
            one.set_xlabel("degrees east", fontsize=9)
            one.tick_params(labelbottom=True)
    for one in axes[:, 0]:
        one.set_ylabel("degrees north", fontsize=9)
    return figure_png(figure)


def _height(parts: Sequence[TileMoments]) -> float:
    """Return the height of a panel in inches: as the tiles lie, within reason."""
    (west, east), (south, north) = _seen(parts)
    shape = (north - south) / ((east - west) * _narrowing(south, north))
    return float(np.clip(FIGURE_WIDTH / 2.9 * shape, 1.2, 3.6)) + 0.5


def _narrowing(south: float, north: float) -> float:
    """Return the length of a degree of longitude in degrees of latitude."""
    return max(0.2, float(np.cos(np.radians((south + north) / 2))))


def _seen(parts: Sequence[TileMoments]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the ends in degrees, west to east and south to north, of the cells with a day, and a little more."""
    found = [[of[one.block.inside][one.pair.n > 0] for of in one.block.centres] for one in parts]
    widest = max((_cell_size(one) for one in parts), default=0.3)
    ends = []
    for axis in (0, 1):
        values = np.concatenate([one[axis] for one in found])
        low, high = (float(values.min()), float(values.max())) if values.size else (-180.0, 180.0)
        margin = 0.05 * (high - low) + widest
        ends.append((low - margin, high + margin))
    return ends[0], ends[1]


def _cell_size(part: TileMoments) -> float:
    """Return the longer side of a cell, degrees."""
    return max(float(np.abs(np.diff(edges)).max()) for edges in _edges(part))


def _ends(values: Sequence[NDArray[np.float64]], ends: Any) -> tuple[float, float]:
    known = np.concatenate([one[np.isfinite(one)] for one in values] or [np.zeros(0)])
    if isinstance(ends, tuple):
        return float(ends[0]), float(ends[1])
    if not known.size:
        return 0.0, 0.1
    if ends == "even":
        most = max(float(np.quantile(np.abs(known), 0.98)), 0.005)
        return -most, most
    low, high = (float(end) for end in np.quantile(known, (0.02, 0.98)))
    return low, max(high, low + 0.001)


def _map(
    figure: Any,
    axes: Any,
    parts: Sequence[TileMoments],
    values: Sequence[NDArray[np.float64]],
    unit: str,
    colours: str,
    ends: tuple[float, float],
) -> None:
    image = None
    for part, of in zip(parts, values, strict=True):
        field = np.full(part.block.inside.shape, np.nan)
        field[part.block.inside] = of
        step = -(-max(field.shape) // _MOST_CELLS)
        x, y = _edges(part)
        image = axes.pcolormesh(
            x[::step] if step == 1 else np.append(x[:-1:step], x[-1]),
            y[::step] if step == 1 else np.append(y[:-1:step], y[-1]),
            np.ma.masked_invalid(field[::step, ::step]),
            cmap=colours,
            vmin=ends[0],
            vmax=ends[1],
            rasterized=True,
        )
    tidy(axes)
    axes.set_facecolor(_NO_VALUE)
    axes.grid(visible=False)
    if image is not None:
        bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02, extend="both")
        bar.set_label(unit, fontsize=8)
        bar.ax.tick_params(labelsize=7)
        few_ticks(bar.ax.yaxis, 5)


def _edges(part: TileMoments) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the edges of columns and rows in degrees; the grids of other products are cylindrical."""
    lon, lat = cell_centres(part.block.cells)
    return _between(lon[lon.shape[0] // 2]), _between(lat[:, lat.shape[1] // 2])


def _between(middles: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(middles) == 1:
        return np.array([middles[0] - 0.1, middles[0] + 0.1])
    inner = (middles[1:] + middles[:-1]) / 2
    return np.concatenate([[2 * middles[0] - inner[0]], inner, [2 * middles[-1] - inner[-1]]])


def station_scatter(rows: pd.DataFrame, networks: Sequence[NetworkScores]) -> bytes:
    """Draw the density of product against station, a panel for each role of the stations to the models."""
    panels = {}
    for role in dict.fromkeys(one.role for one in networks):
        part = rows[rows["network"].isin([one.network for one in networks if one.role == role])]
        (all_of_role,) = (one for one in networks if one.role == role and not one.network)
        found = all_of_role.pooled
        title = f"{role}\nR {format_score(found.r, 'r')}, RMSE {format_score(found.rmse, 'rmse')}"
        panels[title] = (part["observed"].to_numpy(float), part["product"].to_numpy(float))
    return density_figure(panels, f"product, {UNIT}")


def station_series_figures(rows: pd.DataFrame, shown: Mapping[str, str], intervals: pd.DataFrame) -> bytes:
    """Draw observed and published soil moisture at some sites, with prediction intervals where the product has them.

    Parameters
    ----------
    rows
        ``site, date, observed, product``, m3 m-3.
    shown
        Site -> title of its panel.
    intervals
        ``site, date, half_width``, m3 m-3; it may be empty.

    Returns
    -------
    bytes
        PNG.
    """
    rows = rows.merge(intervals, on=["site", "date"], how="left")
    figure = new_figure(0.5 + 1.75 * len(shown), WIDE_FIGURE_WIDTH)
    panels = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axes, (site, title) in zip(panels, shown.items(), strict=True):
        part = rows[rows["site"] == site]
        days = part["date"].to_numpy()
        if part["half_width"].notna().any():
            low, high = part["product"] - part["half_width"], part["product"] + part["half_width"]
            axes.vlines(days, low, high, color=BLUE, alpha=0.25, linewidth=2.5, label="90 % prediction interval")
        line = "-" if len(part) > 1 and (np.diff(days).max() <= np.timedelta64(7, "D")) else "none"
        axes.plot(days, part["product"], marker=".", linestyle=line, color=BLUE, linewidth=1.2, label="product")
        axes.plot(days, part["observed"], "x", color="black", markersize=4, label="station")
        axes.set_title(fill(title, 96, max_lines=2), fontsize=9, loc="left")
        tidy(axes, "", UNIT)
        few_ticks(axes.yaxis)
        few_dates(axes)
    legend_above(figure, panels[0])
    return figure_png(figure)
