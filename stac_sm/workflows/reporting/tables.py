"""Make the tables of a report's page; the numbers are those of the evaluation, written in one way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stac_sm.core.metrics import Scores
from stac_sm.model.diagnostics.results import CLEAR, FLAGGED, Diagnostics, LeakageCheck
from stac_sm.model.evaluate import StrategyResult
from stac_sm.model.skill import CONFIDENCE, Skill
from stac_sm.stations.screening import ScreeningResult
from stac_sm.workflows.reporting.findings import ClassResiduals, IntervalCoverage, ReportFindings
from stac_sm.workflows.reporting.html import HtmlContent, HtmlNode, html_element, html_table
from stac_sm.workflows.reporting.labels import PUBLISHED_SCORES, UNIT, method_label, strategy_label

_MOST_CLEAR = 5
_DIGITS = {"r": ".3f", "rmse": ".4f", "ubrmse": ".4f", "bias": "+.4f"}


def format_score(value: float, name: str) -> str:
    """Return a score as it is written everywhere: ``-`` where there is none."""
    if not math.isfinite(value):
        return "-"
    text = format(value, _DIGITS[name])
    return text if float(text) else format(0.0, _DIGITS[name])  # no -0.0000


def score_table(findings: ReportFindings) -> HtmlNode:
    """Return a table of all results: pooled scores, then medians over stations."""
    report = findings.report
    rows: list[list[HtmlContent]] = []
    before = ""
    results, others = report.evaluation.results, report.evaluation.climatology_results
    strategies = dict.fromkeys(one.strategy for one in results)
    for one in [one for strategy in strategies for one in (*results, *others) if one.strategy == strategy]:
        headline = one is findings.headline
        classes = " ".join(name for name, yes in (("first", one.strategy != before), ("honest", headline)) if yes)
        before = one.strategy
        name = (
            html_element("span", strategy_label(one.strategy), class_=classes)
            if classes
            else strategy_label(one.strategy)
        )
        rows.append([name, method_label(one.method, report.names), one.scored_on, *_scores(one)])
    return html_table(
        f"Scores in {UNIT}, but for R, on all stations or on those that screening kept. Marked: at unseen sites",
        ["held out", "method", "scored on", "rows", "R", "RMSE", "ubRMSE", "bias", "stations", "median R",
         "median RMSE", "median ubRMSE", "median bias"],
        rows,
        id="score-table",
    )  # fmt: skip


def skill_table(skills: Sequence[Skill], names: Mapping[str, str]) -> HtmlNode:
    """Return a table of the RMSE of a model beside that of what is known without it.

    Parameters
    ----------
    skills
        As `skill_scores.skill_of` returned them.
    names
        Words for the columns of inputs.

    Returns
    -------
    HtmlNode
        A line a hold-out and reference, unseen sites first.
    """
    rows: list[list[HtmlContent]] = [
        [
            strategy_label(one.strategy),
            _reference_name(one, names),
            f"{one.rows:,}",
            str(one.sites),
            f"{one.rmse:.4f}",
            f"{one.reference_rmse:.4f}",
            _percent(one.change),
            f"{_percent(one.low)} to {_percent(one.high)}" if math.isfinite(one.low) else "-",
        ]
        for one in skills
    ]
    return html_table(
        f"Skill: RMSE of the model and of what is known without it, on the same rows, {UNIT}",
        ["held out", "reference", "rows", "sites", "RMSE of the model", "RMSE of the reference", "change",
         f"{CONFIDENCE:.0%} interval".replace("%", " %")],
        rows,
        id="skill",
    )  # fmt: skip


def _reference_name(one: Skill, names: Mapping[str, str]) -> str:
    if not one.name:
        return f"{one.reference[:1].upper()}{one.reference[1:]} of the training sites"
    return names.get(one.name, one.name) + (", bias-corrected" if one.reference.startswith("bias") else "")


def _percent(value: float) -> str:
    return f"{value:+.0%}".replace("%", " %")


def _scores(one: StrategyResult) -> Iterator[str]:
    yield str(one.pooled.n)
    yield from _four(one.pooled)
    yield str(one.stations)
    yield from _four(one.median)


def _four(found: Scores) -> list[str]:
    return [format_score(getattr(found, name), name) for name in _DIGITS]


def published_scores_table() -> HtmlNode:
    """Return a table of published figures, set apart."""
    return html_table(
        f"Other data: published figures in {UNIT}, of other stations, years and features: not comparable "
        "digit by digit",
        ["published", "R", "RMSE", "ubRMSE"],
        [[one.source, one.r, one.rmse, one.ubrmse] for one in PUBLISHED_SCORES],
        class_="other",
        id="anchor-table",
    )


def leak_table(found: Diagnostics) -> HtmlNode:
    """Return a table of the features that are flagged or watched as leaks, and of a few others."""
    clear = [leak for leak in found.leaks if leak.status == CLEAR]
    shown = [leak for leak in found.leaks if leak.status != CLEAR] + clear[:_MOST_CLEAR]
    more = len(found.leaks) - len(shown)
    return html_table(
        f"RMSE increase when shuffled, {UNIT}" + (f"; {more} more features are clear" if more else ""),
        ["feature", "result", "identifies the site of later rows", "variance within sites", "increase, random rows",
         "increase, unseen sites", "why"],
        [_leak(leak) for leak in shown],
        id="leak-table",
    )  # fmt: skip


def _leak(leak: LeakageCheck) -> list[HtmlContent]:
    result: HtmlContent = html_element("strong", leak.status) if leak.status == FLAGGED else leak.status
    shares = (percent(leak.names_site), percent(leak.within))
    return [
        leak.feature,
        result,
        *shares,
        format_score(leak.random, "bias"),
        format_score(leak.site, "bias"),
        _why(leak),
    ]


def _why(leak: LeakageCheck) -> str:
    if leak.status == CLEAR:
        return ""
    if leak.near:
        return f"{leak.near}: the target once more, or measured at the same station"
    named = (
        f"as good as {leak.place}"
        if leak.place
        else "hardly changes at a site"
        if leak.within < 0.05
        else "identifies it"
    )
    what = "helps only where the site is known" if leak.status == FLAGGED else "RMSE increase within the limits"
    return f"{named}; {what}"


def residual_table(groups: Sequence[tuple[str, Sequence[ClassResiduals]]]) -> HtmlNode:
    """Return a table of the scores of every class."""
    return html_table(
        f"Errors at unseen sites, {UNIT}",
        ["class", "kind", "rows", "sites", "RMSE", "ubRMSE", "bias"],
        [
            [one.name, title, str(one.scores.n), str(one.sites), *_four(one.scores)[1:]]
            for title, classes in groups
            for one in classes
        ],
        id="residual-table",
    )


def coverage_table(found: IntervalCoverage) -> HtmlNode:
    """Return a table of coverage, width and score of intervals."""
    low, middle, high = (percent(share) for share in found.sites)
    rows = [
        ["all rows", percent(found.coverage)],
        *(
            [f"{name} third of the prediction", percent(share)]
            for name, share in zip(_THIRDS, found.thirds, strict=True)
        ),
        ["single sites: 5 % of them below, median, 5 % above", f"{low}, {middle}, {high}"],
        [
            "its 90 % interval, by resampling sites",
            f"{percent(found.sure[0])} to {percent(found.sure[1])}",
        ],
        [f"mean width, {UNIT}", f"{found.width:.4f}"],
        [f"interval score, {UNIT} (less is better)", f"{found.score:.4f}"],
        [f"intervals of one width that cover as often: width, {UNIT}", f"{found.constant_width:.4f}"],
        [f"their interval score, {UNIT}", f"{found.constant_score:.4f}"],
    ]
    return html_table(f"{found.rows} rows with an interval", ["what", "found"], rows, id="coverage-table")


_THIRDS = ("driest", "middle", "wettest")


def screening_table(screening: ScreeningResult) -> HtmlNode:
    """Return a table of the screening result of every site."""
    rows = [_screened(one) for one in screening.sites.to_dict(orient="records")]
    wide = f"{screening.thresholds.confidence:.0%}"
    names = ["site", "status", "days", "R with the truth", f"{wide} interval", f"error, {UNIT}", f"{wide} interval"]
    names += ["failed resamples", "why not"]
    return html_table(
        "Triple collocation at every site",
        names,
        rows,
        id="screening-table",
    )


def _screened(one: Mapping[Any, Any]) -> list[HtmlContent]:
    figures: list[HtmlContent] = [str(one["n"])]
    for name, score in (("correlation", "r"), ("error_std", "rmse")):
        low, high = (float(one[f"{name}_{end}"]) for end in ("low", "high"))
        bounds = f"{format_score(low, score)} to {format_score(high, score)}" if math.isfinite(low) else "-"
        figures += [format_score(one[name], score), bounds]
    failed, resamples = int(one["failed_resamples"]), int(one["resamples"]) + int(one["failed_resamples"])
    status, _, why = str(one["status"]).partition(": ")
    return [str(one["site"]), status, *figures, f"{failed} of {resamples}" if resamples else "-", why]


def fact_table(facts: Mapping[str, object]) -> HtmlNode:
    """Return a table of what was trained."""
    return html_table(
        "What was trained",
        ["what", "value"],
        [[str(name), str(value)] for name, value in facts.items()],
        class_="facts",
    )


def percent(share: float) -> str:
    """Return a share in per cent."""
    return "-" if not math.isfinite(share) else f"{100 * share:.1f} %"
