"""Draw figures of scores: comparison, scatter, learning curve, importance, residuals.

`page` puts them into the report. They are legible in grey and to the colour-blind: what colours show, shapes show too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from textwrap import fill
from typing import Any

import numpy as np

from stac_sm.core.arrays import Float64Array
from stac_sm.core.scores.groups import GroupScores
from stac_sm.core.scores.pair import GCOS_UBRMSE
from stac_sm.model.diagnostics.results import Diagnostics, PermutationImportance
from stac_sm.model.evaluate import CORRECTED, SCREENED, UNSCREENED, StrategyResult
from stac_sm.workflows.reporting.findings import SITE_STRATEGY, ClassResiduals, ReportFindings
from stac_sm.workflows.reporting.labels import UNIT, method_label, strategy_label

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#666666"
"""Of the palette of Okabe and Ito."""

FIGURE_WIDTH = 6.4
"""Inches: a panel of the page, of which two stand side by side on a screen of 1300 pixels."""

WIDE_FIGURE_WIDTH = 8.6
"""Inches: for maps and time series, which take the room of two panels."""

_MOST_FEATURES = 25
_MOST_GROUPS = 30
_LABEL_WIDTH = 26
"""Characters of a line of a tick label: longer names of networks and classes are wrapped."""

_LONGEST_FEATURE = 36
"""Characters of the name of a feature: of longer ones the middle is left out."""

_STYLES: Mapping[str, tuple[str, str, bool]] = {  # colour, marker, whether it is filled
    UNSCREENED: (BLUE, "o", True),
    SCREENED: (GREEN, "D", True),
    "": (ORANGE, "s", False),
    CORRECTED: (PURPLE, "^", False),
}


def new_figure(height: float, width: float = FIGURE_WIDTH) -> Any:
    """Return an empty figure, without a screen."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="compressed")


def figure_png(figure: Any) -> bytes:
    """Return a figure as PNG: the same figure gives the same bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": "stac_sm"})
    return buffer.getvalue()


def wrapped(name: str) -> str:
    """Return a name in lines that fit beside a panel."""
    return fill(name, _LABEL_WIDTH, max_lines=3, placeholder=" …")


def few_ticks(axis: Any, most: int = 4) -> None:
    """Draw few ticks of an axis, at round numbers, so that their labels do not touch."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))


def few_dates(axes: Any) -> None:
    """Write few and short dates on an axis."""
    from matplotlib import dates

    module: Any = dates  # partly typed
    locator = module.AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(module.ConciseDateFormatter(locator))
    axes.xaxis.get_offset_text().set_fontsize(8)


def legend_above(figure: Any, axes: Any, columns: int = 4) -> None:
    """Write the legend of axes above all panels of a figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, fontsize=8, frameon=False)


def tidy(axes: Any, x: str = "", y: str = "") -> None:
    """Write labels of axes, and draw a faint grid and no box."""
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#e0e0e0", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def score_comparison_figure(findings: ReportFindings) -> bytes:
    """Draw RMSE and R of every method under every strategy, on all stations."""
    results = [one for one in findings.report.evaluation.results if one.scored_on == "all"]
    strategies = findings.report.strategies
    figure = new_figure(1.5 + 0.62 * len(strategies))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, name, title, unit in (
        (left, "rmse", "RMSE: less is better", UNIT),
        (right, "r", "R: more is better", ""),
    ):
        _dots(axes, results, strategies, name, findings.report.names)
        axes.set_title(title, fontsize=9)
        tidy(axes, unit)
        few_ticks(axes.xaxis, 5)
        axes.set_yticks(range(len(strategies)), [strategy_label(one) for one in strategies])
    left.set_ylim(len(strategies) - 0.45, -0.55)
    legend_above(figure, left, 2)
    return figure_png(figure)


def _dots(
    axes: Any, results: Sequence[StrategyResult], strategies: Sequence[str], name: str, names: Mapping[str, str]
) -> None:
    """Draw a mark per method and strategy; methods are a little apart, so that none hides another."""
    methods = list(dict.fromkeys(one.method for one in results))
    for i, method in enumerate(methods):
        colour, marker, filled = style_of(method)
        mine = [one for one in results if one.method == method]
        axes.plot(
            [getattr(one.pooled, name) for one in mine],
            [strategies.index(one.strategy) + 0.14 * (i - (len(methods) - 1) / 2) for one in mine],
            marker,
            color=colour,
            markerfacecolor=colour if filled else "white",
            label=fill(method_label(method, names), 44, max_lines=2),
        )


def style_of(method: str) -> tuple[str, str, bool]:
    """Return colour, marker, and whether it is filled, of a method or a baseline."""
    key = method if method in _STYLES else CORRECTED if method.endswith(CORRECTED) else ""
    return _STYLES[key]


def scatter_figure(findings: ReportFindings) -> bytes:
    """Draw the density of prediction against observation, a panel a strategy."""
    rows = {one: findings.report.rows(one) for one in findings.report.strategies}
    panels = {
        _with_scores(findings, strategy): (part["observed"].to_numpy(float), part["predicted"].to_numpy(float))
        for strategy, part in rows.items()
    }
    return density_figure(panels, f"predicted, {UNIT}")


def density_figure(panels: Mapping[str, tuple[Float64Array, Float64Array]], y_label: str) -> bytes:
    """Draw the density of pairs, a panel a title, on the same axes and colours.

    Parameters
    ----------
    panels
        Title -> observed values, and those that are compared with them, m3 m-3, without NaN.
    y_label
        What is compared with the observations, and its unit.

    Returns
    -------
    bytes
        PNG.
    """
    columns = min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    side = (FIGURE_WIDTH - 1.2) / columns if columns > 1 else 2.6
    figure = new_figure(0.4 + (side + 0.55) * lines, FIGURE_WIDTH if columns > 1 else 0.65 * FIGURE_WIDTH)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    every = np.concatenate([values for pair in panels.values() for values in pair])
    ends = (min(0.0, float(every.min())), max(float(np.quantile(every, 0.9995)) * 1.02, 0.05))
    edges = np.linspace(*ends, 61)
    counts = [np.histogram2d(ours, observed, bins=[edges, edges])[0] for observed, ours in panels.values()]
    most = max(2.0, *(float(one.max()) for one in counts))
    for axes, title, cells in zip(grid.flat, panels, counts, strict=False):
        image = _density(axes, cells, edges, most)
        axes.set_title(title, fontsize=8)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    _outer_labels(grid, len(panels), y_label)
    bar = figure.colorbar(image, ax=grid, fraction=0.03, pad=0.02)
    powers = [10**i for i in range(round(math.log10(most)) + 1) if 10**i <= most]
    bar.set_ticks(powers if len(powers) > 1 else [1, int(most)])
    bar.ax.minorticks_off()
    bar.ax.yaxis.set_major_formatter("{x:,.0f}")
    bar.ax.tick_params(labelsize=8)
    bar.set_label("rows in a cell", fontsize=8)
    return figure_png(figure)


def _density(axes: Any, cells: np.ndarray, edges: np.ndarray, most: float) -> Any:
    """Draw the number of rows in each cell, on a logarithmic scale, and the line of agreement."""
    from matplotlib.colors import LogNorm

    shown = np.ma.masked_equal(cells, 0)
    image = axes.pcolormesh(edges, edges, shown, cmap="viridis_r", norm=LogNorm(1, most))
    ends = (edges[0], edges[-1])
    axes.plot(ends, ends, color="black", linewidth=0.8)
    axes.set_aspect("equal")
    tidy(axes)
    few_ticks(axes.xaxis, 5)
    few_ticks(axes.yaxis, 5)
    return image


def _outer_labels(panels: np.ndarray, used: int, y_label: str) -> None:
    """Write labels at the left, and at the lowest panel of each column."""
    for line in panels:
        line[0].set_ylabel(y_label, fontsize=8)
    for i in range(min(used, panels.shape[1])):
        lowest = panels[(used - 1 - i) // panels.shape[1], i]
        lowest.set_xlabel(f"observed, {UNIT}", fontsize=8)
        lowest.tick_params(labelbottom=True)


def _with_scores(findings: ReportFindings, strategy: str) -> str:
    """Return the title of a panel."""
    found = findings.report.evaluation.result(strategy, findings.report.method(strategy)).pooled
    return f"{strategy_label(strategy)}\nR {found.r:.3f}, RMSE {found.rmse:.4f}"


def learning_curve_figure(diagnostics: Diagnostics) -> bytes:
    """Draw RMSE and R at unseen sites by the number of sites trained on."""
    figure = new_figure(2.9)
    panels = figure.subplots(1, 2)
    sizes = [point.sites for point in diagnostics.curve]
    for axes, name, title, label in zip(
        panels, ("rmse", "r"), ("RMSE at unseen sites", "R at unseen sites"), (UNIT, "R"), strict=True
    ):
        drawn = [[getattr(one, name) for one in point.scores] for point in diagnostics.curve]
        axes.plot(sizes, [np.mean(one) for one in drawn], color=BLUE, linewidth=1.6, label="mean of the draws")
        for size, values in zip(sizes, drawn, strict=True):
            axes.plot([size] * len(values), values, "o", color=BLUE, markersize=4, alpha=0.6)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes], minor=False)
        axes.set_title(title, fontsize=9)
        tidy(axes, "sites trained on", label)
        few_ticks(axes.yaxis, 5)
    return figure_png(figure)


def importance_figure(diagnostics: Diagnostics) -> bytes:
    """Draw the permutation importance of each feature at unseen sites, and under random folds; bars span the folds."""
    found = {(one.feature, one.strategy): one for one in diagnostics.importance}
    names = list(dict.fromkeys(one.feature for one in diagnostics.importance))[:_MOST_FEATURES]
    labels = [name if len(name) <= _LONGEST_FEATURE else f"{name[:18]}…{name[-17:]}" for name in names]
    figure = new_figure(1.2 + 0.27 * len(names))
    axes = figure.subplots()
    marks = ((SITE_STRATEGY, BLUE, "o", "unseen sites", -0.13), ("random", ORANGE, "s", "random rows", 0.13))
    for strategy, colour, marker, label, shift in marks:
        mine = [(i + shift, found[name, strategy]) for i, name in enumerate(names) if (name, strategy) in found]
        _spans(axes, mine, colour, marker, label)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), labels)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_title("RMSE increase when the feature is shuffled", fontsize=9)
    tidy(axes, UNIT)
    few_ticks(axes.xaxis, 6)
    legend_above(figure, axes, 2)
    return figure_png(figure)


def _spans(
    axes: Any, placed: Sequence[tuple[float, PermutationImportance]], colour: str, marker: str, label: str
) -> None:
    if not placed:
        return
    heights = [height for height, _ in placed]
    low, high = ([end(one.folds) for _, one in placed] for end in (min, max))
    axes.hlines(heights, low, high, color=colour, linewidth=1.2)
    axes.plot(
        [one.increase for _, one in placed],
        heights,
        marker,
        color=colour,
        label=label,
        markersize=5,
        markerfacecolor=colour if marker == "o" else "white",
    )


def residuals_figure(groups: Sequence[tuple[str, Sequence[ClassResiduals]]]) -> bytes:
    """Draw boxes of errors by class, a panel for each way to class them."""
    figure = new_figure(1.2 + 0.16 * max(sum(2 + len(one.name) // _LABEL_WIDTH for one in of) for _, of in groups))
    panels = figure.subplots(1, len(groups), squeeze=False, sharex=True)
    for axes, (title, classes) in zip(panels.flat, groups, strict=True):
        _boxes(axes, classes)
        axes.set_title(fill(title, 34), fontsize=8)
    figure.supxlabel(f"prediction minus observation, {UNIT}", fontsize=8)
    return figure_png(figure)


def score_boxes_figure(groups: Sequence[GroupScores]) -> bytes | None:
    """Draw R, ubRMSE and bias of the sites of each group: box, middle half and median; dots, the sites.

    Parameters
    ----------
    groups
        Networks, or classes of one kind.

    Returns
    -------
    bytes or None
        PNG, a panel a figure, with the GCOS target in that of ubRMSE; None where no group has a scored site.
    """
    shown = [one for one in groups if one.scored_sites][:_MOST_GROUPS]
    if not shown:
        return None
    labels = [f"{wrapped(one.name)}\n{_count(one.scored_sites)}" for one in shown]
    figure = new_figure(1.0 + 0.18 * sum(len(label.splitlines()) for label in labels))
    panels = figure.subplots(1, 3, sharey=True)
    names = (("r", "R", ""), ("ubrmse", "ubRMSE", UNIT), ("bias", "bias", UNIT))
    for axes, (name, title, unit) in zip(panels, names, strict=True):
        quartiles = [one.spread[name] for one in shown]
        boxes = [
            {"whislo": one.q1, "q1": one.q1, "med": one.median, "q3": one.q3, "whishi": one.q3, "fliers": []}
            for one in quartiles
        ]
        axes.bxp(
            boxes,
            orientation="horizontal",
            showcaps=False,
            showfliers=False,
            widths=0.6,
            patch_artist=True,
            boxprops={"facecolor": "#cfe3f1", "edgecolor": BLUE},
            medianprops={"color": "black", "linewidth": 1.6},
        )
        for place, group in enumerate(shown, 1):
            sites = group.site_values[name]
            axes.plot(sites, [place] * len(sites), "o", color=ORANGE, markersize=2.5, alpha=0.7)
        axes.set_title(title, fontsize=9)
        tidy(axes, unit)
        few_ticks(axes.xaxis, 3)
        axes.set_yticks(range(1, len(shown) + 1), labels)
        axes.tick_params(axis="y", labelsize=7)
    panels[0].set_ylim(len(shown) + 0.6, 0.4)
    panels[1].axvline(GCOS_UBRMSE, color=GREEN, linestyle="--", linewidth=1.2)
    panels[1].set_title(f"ubRMSE (dashed: GCOS {GCOS_UBRMSE:g})", fontsize=8)
    panels[2].axvline(0, color="black", linewidth=0.8)
    return figure_png(figure)


def _boxes(axes: Any, classes: Sequence[ClassResiduals]) -> None:
    """Draw boxes: the middle half; whiskers: 5 to 95 %; diamond: the mean."""
    boxes = []
    for one in classes:
        low, lower, middle, upper, high = one.quantiles
        ends = {"whislo": low, "q1": lower, "med": middle, "q3": upper, "whishi": high}
        boxes.append(ends | {"mean": one.scores.bias, "fliers": []})
    names = [f"{wrapped(one.name)}\n{one.scores.n:,} rows, {_count(one.sites)}" for one in classes]
    axes.bxp(
        boxes,
        orientation="horizontal",
        showmeans=True,
        showfliers=False,
        widths=0.55,
        patch_artist=True,
        boxprops={"facecolor": "#cfe3f1", "edgecolor": BLUE},
        medianprops={"color": "black"},
        meanprops={"marker": "D", "markerfacecolor": ORANGE, "markeredgecolor": "black", "markersize": 4},
    )
    axes.axvline(0, color="black", linewidth=0.8)
    axes.invert_yaxis()
    tidy(axes)
    few_ticks(axes.xaxis)
    axes.set_yticks(range(1, len(classes) + 1), names, fontsize=7)


def _count(sites: int) -> str:
    return f"{sites} site" if sites == 1 else f"{sites} sites"
