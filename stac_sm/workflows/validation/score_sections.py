"""Build the sections of scores, triple collocation and protocol of a validation's page.

`page` puts them between its own sections. Every number comes from `stac_sm.core.scores`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from stac_sm.core.scores.groups import GroupScores, ScoreTable
from stac_sm.core.scores.pair import GCOS_UBRMSE
from stac_sm.core.scores.resampling import NO_INTERVAL, Interval
from stac_sm.core.scores.triplets import TripletSummary
from stac_sm.workflows.reporting.html import HtmlContent, html_element, html_table
from stac_sm.workflows.reporting.labels import UNIT
from stac_sm.workflows.validation.protocol import CONFIDENCE, ValidationProtocol
from stac_sm.workflows.validation.triplets import StationTriplets

_FIGURES = (  # name, heading, digits
    ("r", "R", 3), ("rho", "rho", 3), ("bias", "bias", 4), ("rmse", "RMSE", 4), ("ubrmse", "ubRMSE", 4),
    ("r_long", "R of long-term anomalies", 3), ("r_short", "R of short-term anomalies", 3),
)  # fmt: skip
_TARGET = f"GCOS target: ubRMSE {GCOS_UBRMSE:g}"
_MOST_STATIONS = 300


def score_content(scores: Mapping[str, ScoreTable]) -> Iterator[HtmlContent]:
    """Yield tables of the scores of networks, classes and stations, one of each a role.

    Parameters
    ----------
    scores
        Role of the stations to the models of the product -> their scores.

    Yields
    ------
    HtmlContent
        Tables with 95 % intervals, and medians with quartiles over sites; the GCOS target is the last line.
    """
    for role, table in scores.items():
        kinds = [("Network", [table.pooled, *table.networks])]
        kinds += [(kind.capitalize(), list(groups)) for kind, groups in table.classes.items()]
        for kind, groups in kinds:
            anchor = f"{'-'.join(kind.lower().split())}-{'-'.join(role.split())}"
            yield _pooled(kind, groups, role, f"scores-{anchor}")
            yield _medians(kind, groups, role, f"medians-{anchor}")
        yield _stations(table, role)


def triplet_content(found: StationTriplets) -> Iterator[HtmlContent]:
    """Yield tables of triple collocation: triplets with independent errors, and apart those with dependent ones.

    Parameters
    ----------
    found
        All triplets at all sites.

    Yields
    ------
    HtmlContent
        Nothing where there is no triplet.
    """
    summaries = found.summaries
    if not summaries:
        return
    yield html_element(
        "p",
        f"A triplet counts at a site that has {found.least_days} common days, where all covariances and error "
        "variances are positive, at most a fifth of the resamples are degenerate, and each correlation lies in its "
        "interval. Errors are in the units of the first data set of the triplet.",
    )
    independent = [one for one in summaries if not one.dependent]
    if independent:
        yield _triplets("Triplets with independent errors: median and quartiles over sites", independent, "triplets")
    dependent = [one for one in summaries if one.dependent]
    if dependent:
        yield html_element("h3", "Triplets with dependent errors")
        yield html_element(
            "p",
            "Triple collocation requires independent errors. These triplets do not have them: errors of the data sets "
            "that depend on each other are estimated too small. They are shown for comparison and enter no headline.",
        )
        yield _triplets("Dependent errors: median and quartiles over sites", dependent, "dependent-triplets")


def protocol_content(protocol: ValidationProtocol) -> Iterator[HtmlContent]:
    """Yield the table of the protocol.

    Parameters
    ----------
    protocol
        How the validation was made.

    Yields
    ------
    HtmlContent
        One table.
    """
    yield html_table(
        "How station and product are compared",
        ["what", "value"],
        [list(line) for line in protocol.lines],
        id="protocol",
    )


def _pooled(kind: str, groups: Sequence[GroupScores], role: str, anchor: str) -> HtmlContent:
    rows: list[list[HtmlContent]] = [
        [
            _name(one),
            str(one.sites),
            str(one.scores.n),
            *(_with_interval(one, name, digits) for name, _, digits in _FIGURES),
        ]
        for one in groups
    ]
    rows.append([_TARGET, "", "", "", "", "", "", f"{GCOS_UBRMSE:.4f}", "", ""])
    names = [kind.lower(), "sites", "days", *(heading for _, heading, _ in _FIGURES)]
    return html_table(
        f"{kind}, {role}: all sites and days at once, {UNIT} but for correlations, with {CONFIDENCE:.0%} intervals",
        names,
        rows,
        id=anchor,
    )


def _medians(kind: str, groups: Sequence[GroupScores], role: str, anchor: str) -> HtmlContent:
    rows: list[list[HtmlContent]] = [
        [
            _name(one),
            str(one.scored_sites),
            *(_quartiles(one, name, digits) for name, _, digits in _FIGURES),
            "-" if math.isnan(one.within_target) else f"{100 * one.within_target:.0f} %",
        ]
        for one in groups
    ]
    names = [kind.lower(), "sites", *(heading for _, heading, _ in _FIGURES), f"sites with ubRMSE < {GCOS_UBRMSE:g}"]
    return html_table(f"{kind}, {role}: median over sites with at least 10 days, and quartiles", names, rows, id=anchor)


def _stations(table: ScoreTable, role: str) -> HtmlContent:
    rows: list[list[HtmlContent]] = [
        [
            one.name,
            one.network,
            str(one.scores.n),
            *(_with_interval(one, name, digits) for name, _, digits in _FIGURES),
            _p_value(one.scores.p_r),
            _p_value(one.scores.p_rho),
            *(_number(1e4 * part, 2) for part in (one.scores.mse_corr, one.scores.mse_bias, one.scores.mse_var)),
        ]
        for one in table.stations[:_MOST_STATIONS]
    ]
    more = len(table.stations) - len(rows)
    names = ["site", "network", "days", *(heading for _, heading, _ in _FIGURES), "p of R", "p of rho"]
    names += ["MSE by correlation, 1e-4", "MSE by bias, 1e-4", "MSE by variance, 1e-4"]
    return html_table(
        f"Stations, {role}" + (f"; the first {len(rows)}, {more} more are in the files" if more else ""),
        names,
        rows,
        id=f"stations-{'-'.join(role.split())}",
    )


def _triplets(caption: str, found: Sequence[TripletSummary], anchor: str) -> HtmlContent:
    dependent = any(one.dependent for one in found)
    rows: list[list[HtmlContent]] = [
        [
            one.name,
            ", ".join(one.names),
            f"{one.determined} of {one.places}",
            *(_spread(one, name, digits) for name, digits in (("snr_db", 1), ("error_std", 4), ("correlation", 2))),
            *([one.dependent] if dependent else []),
        ]
        for one in found
    ]
    names = ["data set", "triplet", "sites", "SNR, dB", f"error, {UNIT}", "R with the truth"]
    return html_table(caption, [*names, *(["why dependent"] if dependent else [])], rows, id=anchor)


def _name(one: GroupScores) -> HtmlContent:
    return one.name or html_element("span", "all", class_="first")


def _with_interval(one: GroupScores, name: str, digits: int) -> str:
    value, interval = getattr(one.scores, name), one.intervals.get(name, NO_INTERVAL)
    return _number(value, digits) + _ends(interval, digits)


def _ends(interval: Interval, digits: int) -> str:
    return f" ({_number(interval.low, digits)} to {_number(interval.high, digits)})" if interval.known else ""


def _quartiles(one: GroupScores, name: str, digits: int) -> str:
    spread = one.spread[name]
    if math.isnan(spread.median):
        return "-"
    return f"{_number(spread.median, digits)} ({_number(spread.q1, digits)} to {_number(spread.q3, digits)})"


def _spread(one: TripletSummary, name: str, digits: int) -> str:
    spread = one.spread[name]
    if math.isnan(spread.median):
        return "-"
    return f"{_number(spread.median, digits)} ({_number(spread.q1, digits)} to {_number(spread.q3, digits)})"


def _p_value(value: float) -> str:
    return "-" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _number(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return "-"
    text = f"{value:.{digits}f}"
    return text if float(text) else f"{0:.{digits}f}"
