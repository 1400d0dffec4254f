"""Build the tables of scores of networks, classes and stations, which a report and a validation have alike.

Every number comes from `stac_sm.core.scores.groups`; the same rows give the same table in both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from stac_sm.core.scores.groups import LEAST_ROWS, GroupScores, ScoreTable, Spread
from stac_sm.core.scores.pair import GCOS_UBRMSE
from stac_sm.core.scores.resampling import NO_INTERVAL, Interval
from stac_sm.workflows.reporting.figures import score_boxes_figure
from stac_sm.workflows.reporting.html import HtmlContent, html_element, html_figure, html_panels, html_table
from stac_sm.workflows.reporting.labels import UNIT

_FIGURES = (  # name, heading, digits
    ("r", "R", 3), ("rho", "rho", 3), ("bias", "bias", 4), ("rmse", "RMSE", 4), ("ubrmse", "ubRMSE", 4),
    ("r_long", "R of long-term anomalies", 3), ("r_short", "R of short-term anomalies", 3),
)  # fmt: skip
_EXPLAINED = (
    f"Scores are in {UNIT}, but for correlations. Pooled scores are of all sites and days at once, with "
    f"{{confidence:g}} % intervals in brackets; medians are over sites with at least {LEAST_ROWS} rows, with quartiles "
    "in brackets. Boxes hold the middle half of these sites, the line is their median, a dot is a site."
)
_TARGET = f"GCOS target: ubRMSE {GCOS_UBRMSE:g}"
_MOST_STATIONS = 300
_MOST_OPEN = 25
"""Stations of a table that is shown at once; a longer one opens when it is asked for."""


def score_content(scores: Mapping[str, ScoreTable]) -> Iterator[HtmlContent]:
    """Yield box plots and tables of the scores of networks, classes and stations, one of each a role.

    Parameters
    ----------
    scores
        Role of the stations to the models of the product -> their scores.

    Yields
    ------
    HtmlContent
        Box plots; tables with intervals, and medians with quartiles over sites; the GCOS target is the last line.
    """
    if not scores:
        return
    yield html_element("p", _EXPLAINED.format(confidence=100 * next(iter(scores.values())).confidence))
    for role, table in scores.items():
        kinds = [("Network", [table.pooled, *table.networks])]
        kinds += [(kind.capitalize(), list(groups)) for kind, groups in table.classes.items()]
        boxes: list[HtmlContent] = []
        tables: list[HtmlContent] = []
        for kind, groups in kinds:
            anchor = f"{'-'.join(kind.lower().split())}-{'-'.join(role.split())}"
            if (image := score_boxes_figure(groups[1:] if kind == "Network" else groups)) is not None:
                alt = (
                    f"Boxes of R, ubRMSE and bias of sites by {kind.lower()}, {role}; the numbers stand in the tables."
                )
                boxes.append(html_figure(image, alt, f"{kind}, {role}"))
            tables.append(_pooled(kind, groups, role, f"scores-{anchor}"))
            if any(one.scored_sites for one in groups):
                tables.append(_medians(kind, groups, role, f"medians-{anchor}"))
        yield html_panels(*boxes)
        yield from tables
        yield _stations(table, role)


def _pooled(kind: str, groups: Sequence[GroupScores], role: str, anchor: str) -> HtmlContent:
    rows: list[list[HtmlContent]] = [
        [
            _name(one),
            str(one.sites),
            str(one.scores.n),
            *(_score_with_interval(one, name, digits) for name, _, digits in _FIGURES),
        ]
        for one in groups
    ]
    rows.append([_TARGET, "", "", "", "", "", "", f"{GCOS_UBRMSE:.4f}", "", ""])
    names = [kind.lower(), "sites", "site-days", *(heading for _, heading, _ in _FIGURES)]
    return html_table(
        f"{kind}, {role}, pooled",
        names,
        rows,
        id=anchor,
    )


def _medians(kind: str, groups: Sequence[GroupScores], role: str, anchor: str) -> HtmlContent:
    rows: list[list[HtmlContent]] = [
        [
            _name(one),
            str(one.scored_sites),
            *(spread_text(one.spread[name], digits) for name, _, digits in _FIGURES),
            "-" if math.isnan(one.within_target) else f"{100 * one.within_target:.0f} %",
        ]
        for one in groups
    ]
    names = [kind.lower(), "sites", *(heading for _, heading, _ in _FIGURES), f"sites with ubRMSE < {GCOS_UBRMSE:g}"]
    return html_table(f"{kind}, {role}, medians over sites", names, rows, id=anchor)


def _stations(table: ScoreTable, role: str) -> HtmlContent:
    rows: list[list[HtmlContent]] = [
        [
            one.name,
            one.network,
            str(one.scores.n),
            *(_score_with_interval(one, name, digits) for name, _, digits in _FIGURES),
            _p_value(one.scores.p_r),
            _p_value(one.scores.p_rho),
            *(number_text(1e4 * part, 2) for part in (one.scores.mse_corr, one.scores.mse_bias, one.scores.mse_var)),
        ]
        for one in table.stations[:_MOST_STATIONS]
    ]
    more = len(table.stations) - len(rows)
    names = ["site", "network", "days", *(heading for _, heading, _ in _FIGURES), "p of R", "p of rho"]
    names += ["MSE by correlation, 10⁻⁴", "MSE by bias, 10⁻⁴", "MSE by variance, 10⁻⁴"]
    caption = f"Stations, {role}" + (f"; the first {len(rows)}, {more} more are in the files" if more else "")
    made = html_table(caption, names, rows, id=f"stations-{'-'.join(role.split())}")
    if len(rows) <= _MOST_OPEN:
        return made
    return html_element("details", html_element("summary", f"Scores of {len(table.stations)} stations, {role}"), made)


def _name(one: GroupScores) -> HtmlContent:
    return one.name or html_element("span", "all", class_="first")


def _score_with_interval(one: GroupScores, name: str, digits: int) -> HtmlContent:
    return with_interval(getattr(one.scores, name), one.intervals.get(name, NO_INTERVAL), digits)


def with_interval(value: float, interval: Interval, digits: int) -> HtmlContent:
    """Return a number and its interval in brackets; without brackets where there is none."""
    text = number_text(value, digits)
    return _with_ends(text, interval.low, interval.high, digits) if interval.known else text


def _with_ends(text: str, low: float, high: float, digits: int) -> HtmlContent:
    """Return a number and, in brackets that stay on one line, the ends of its interval."""
    ends = f"({number_text(low, digits)} to {number_text(high, digits)})"
    return html_element("span", f"{text} ", html_element("span", ends, class_="ends"))


def _p_value(value: float) -> HtmlContent:
    small = html_element("span", "< 0.001", class_="unbroken")
    return "-" if math.isnan(value) else small if value < 0.001 else f"{value:.3f}"


def number_text(value: float, digits: int) -> str:
    """Return a number with some digits after the point; ``-`` for NaN, and no minus before a zero."""
    if not math.isfinite(value):
        return "-"
    text = f"{value:.{digits}f}"
    return text if float(text) else f"{0:.{digits}f}"


def spread_text(spread: Spread, digits: int) -> HtmlContent:
    """Return a median and in brackets the quartiles; ``-`` where there is none."""
    if math.isnan(spread.median):
        return "-"
    return _with_ends(number_text(spread.median, digits), spread.q1, spread.q3, digits)
