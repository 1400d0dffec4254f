"""Draw figures of stations: where they lie and how well they are predicted, and the time series of a few.

The map goes into the report of a model, the time series into a page of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd

from stac_sm.model.evaluate import CORRECTED
from stac_sm.raster.coast import draw_coast
from stac_sm.workflows.reporting.figures import (
    BLUE,
    GREY,
    ORANGE,
    WIDE_FIGURE_WIDTH,
    few_dates,
    few_ticks,
    figure_png,
    legend_above,
    new_figure,
    tidy,
)
from stac_sm.workflows.reporting.findings import ReportFindings
from stac_sm.workflows.reporting.labels import UNIT, method_label

_PLACES = (("best", 0.0), ("better than three in four", 0.25), ("middle", 0.5), ("worse than three in four", 0.75),
           ("worst", 1.0))  # fmt: skip
_LEAST_SPAN = 2.0
"""Degrees that a map shows at least, so that a single station has a place."""

_DAYS_SHOWN = 3 * 366
_KEYS = {"strategy", "fold", "row", "site", "date", "observed", "predicted", "unscreened", "screened"}


def station_map(found: pd.DataFrame) -> bytes | None:
    """Draw two maps: R and bias of every station; None without places.

    Parameters
    ----------
    found
        ``lon``, ``lat`` (degrees; NaN: not drawn), ``r``, ``bias`` (m3 m-3) and ``kept``: a disc, else a square.

    Returns
    -------
    bytes or None
        PNG.
    """
    stations = found.dropna(subset=["lon", "lat"])
    if stations.empty:
        return None
    figure = new_figure(_map_height(stations), WIDE_FIGURE_WIDTH)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    widest = max(0.02, float(stations["bias"].abs().quantile(0.95)))
    lowest = min(0.5, float(stations["r"].quantile(0.05)))
    _stations(figure, panels[0], stations, "r", "cividis", (lowest if math.isfinite(lowest) else 0.0, 1.0), "R", "")
    _stations(figure, panels[1], stations, "bias", "PuOr_r", (-widest, widest), "bias", UNIT)
    panels[0].set_ylabel("latitude, degrees north", fontsize=9)
    return figure_png(figure)


def _map_height(stations: pd.DataFrame) -> float:
    """Return the height in inches: as the stations lie, within reason."""
    tall = np.ptp(stations["lat"]) + 1
    wide = (np.ptp(stations["lon"]) + 1) * _narrowing(stations)
    return float(np.clip(4.0 * tall / wide + 1.0, 2.4, 5.5))


def _symbol_size(stations: pd.DataFrame) -> float:
    """Return the area of a symbol in square points: smaller where neighbours would melt into one another.

    A panel is some 280 points wide. Of the distances to the nearest station, a tenth may be less than the symbol.
    """
    from scipy.spatial import cKDTree

    places = stations[["lon", "lat"]].to_numpy(float) * [_narrowing(stations), 1.0]
    places = np.unique(places.round(4), axis=0)
    if len(places) < 3:
        return 34.0
    distance, _ = cKDTree(places).query(places, k=2)
    points = 280.0 / max(float(np.ptp(places[:, 0])), float(np.ptp(places[:, 1])), 1e-6)
    return float(np.clip((np.quantile(distance[:, 1], 0.3) * points) ** 2, 6.0, 34.0))


def _narrowing(stations: pd.DataFrame) -> float:
    return max(0.2, math.cos(math.radians(float(stations["lat"].mean()))))


def _stations(
    figure: Any,
    axes: Any,
    stations: pd.DataFrame,
    name: str,
    colours: str,
    ends: tuple[float, float],
    title: str,
    unit: str,
) -> None:
    """Draw stations coloured by one score: discs are those that screening kept, squares the others."""
    shapes, size = ((True, "o"), (False, "s")), _symbol_size(stations)
    for kept, marker in shapes:
        part = stations[stations["kept"] == kept]
        image = axes.scatter(
            part["lon"],
            part["lat"],
            c=part[name],
            cmap=colours,
            vmin=ends[0],
            vmax=ends[1],
            s=size,
            marker=marker,
            edgecolors="black",
            linewidths=0.4 if size > 12 else 0.2,
            zorder=2,
            plotnonfinite=False,
        )
    bar = figure.colorbar(image, ax=axes, orientation="horizontal", fraction=0.06, pad=0.03, extend="both")
    bar.set_label(", ".join(part for part in (title, unit) if part), fontsize=9)
    bar.ax.tick_params(labelsize=8)
    few_ticks(bar.ax.xaxis, 5)
    axes.set_title(f"{title} of each station", fontsize=9)
    axes.set_aspect(1 / _narrowing(stations), adjustable="box")
    for bounds, limit in ((stations["lon"], axes.set_xlim), (stations["lat"], axes.set_ylim)):
        low, high = float(bounds.min()), float(bounds.max())
        margin = max(0.08 * (high - low), _LEAST_SPAN / 2 - (high - low) / 2)
        limit(low - margin, high + margin)
    draw_coast(axes)
    tidy(axes, "longitude, degrees east")
    few_ticks(axes.xaxis)
    few_ticks(axes.yaxis, 6)


def shown_stations(findings: ReportFindings) -> list[tuple[str, str]]:
    """Return the stations whose time series are shown, and why: chosen by rank of RMSE, so not by hand."""
    ranked = findings.stations.sort_values(["rmse", "site"], ignore_index=True)
    chosen: dict[str, str] = {}
    for why, place in _PLACES:
        if len(ranked):
            one = ranked.iloc[round(place * (len(ranked) - 1))]
            chosen.setdefault(str(one["site"]), why if one["kept"] else f"{why}; not kept by screening")
    return list(chosen.items())


def station_series_figure(findings: ReportFindings) -> bytes | None:
    """Draw observed and predicted time series of a few stations, with baseline and interval; None without any."""
    shown = shown_stations(findings)
    if not shown:
        return None
    figure = new_figure(0.5 + 1.75 * len(shown), WIDE_FIGURE_WIDTH)
    panels = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    baseline = _baseline(findings.unseen_site_rows)
    for axes, (site, why) in zip(panels, shown, strict=True):
        rows = _window(findings.unseen_site_rows[findings.unseen_site_rows["site"] == site])
        _one_series(axes, _with_gaps(_with_interval(findings, rows)), baseline, findings)
        found = findings.stations.set_index("site").loc[site]
        title = f"{site} ({why}): R {found['r']:.2f}, RMSE {found['rmse']:.3f}"
        axes.set_title(fill(title, 96, max_lines=2), fontsize=9, loc="left")
    legend_above(figure, panels[0])
    return figure_png(figure)


def _baseline(rows: pd.DataFrame) -> str | None:
    """Return the baseline to draw: bias-corrected, since its shape is what the model must beat."""
    names = [str(name) for name in rows.columns if name not in _KEYS]
    return next((name for name in names if name.endswith(CORRECTED)), None)


def _window(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the three years with most rows; all, if there are no more."""
    rows = rows.sort_values("date")
    days = rows["date"].to_numpy().astype("datetime64[D]").astype(int)
    ends = np.searchsorted(days, days + _DAYS_SHOWN)
    start = int(np.argmax(ends - np.arange(len(days))))
    return rows.iloc[start : ends[start]]


def _with_interval(findings: ReportFindings, rows: pd.DataFrame) -> pd.DataFrame:
    intervals = findings.report.intervals
    return rows if intervals is None else rows.merge(intervals[["row", "low", "high"]], on="row", how="left")


def _with_gaps(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with an empty one in every gap, so that no line bridges it."""
    step = rows["date"].diff()
    wide = step > max(3 * step.median(), pd.Timedelta(days=7)) if len(rows) > 1 else step.notna()
    breaks = pd.DataFrame({"date": rows.loc[wide, "date"] - pd.Timedelta(hours=1)})
    return pd.concat([rows, breaks], ignore_index=True).sort_values("date") if wide.any() else rows


def _one_series(axes: Any, rows: pd.DataFrame, baseline: str | None, findings: ReportFindings) -> None:
    days = rows["date"].to_numpy()
    if "low" in rows:
        label = f"{findings.report.coverage * 100:g} % interval"
        axes.fill_between(days, rows["low"], rows["high"], color=BLUE, alpha=0.18, linewidth=0, label=label)
    if baseline is not None:
        label = method_label(baseline, findings.report.names)
        axes.plot(days, rows[baseline], color=ORANGE, linewidth=1, linestyle="--", label=label)
    axes.plot(days, rows["predicted"], ".-", color=BLUE, linewidth=1.4, markersize=2.5, label="predicted, site unseen")
    axes.plot(days, rows["observed"], ".", color="black", markersize=3, label="observed")
    tidy(axes, "", UNIT)
    axes.xaxis.label.set_color(GREY)
    few_ticks(axes.yaxis)
    few_dates(axes)


def stations_without_place(findings: ReportFindings) -> Sequence[str]:
    """Return the stations that are on no map."""
    lost = findings.stations[findings.stations[["lon", "lat"]].isna().any(axis=1)]
    return [str(site) for site in lost["site"]]
