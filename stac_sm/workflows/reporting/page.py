"""Write the report of a model: a page that needs nothing else, its numbers as JSON, and a page of station time series.

The report and the numbers hold scores and positions of stations, and distributions over all of them, so they may be
given to anybody. What a station measured on a day is drawn in the page of time series alone, since the licence of the
station data may forbid to pass it on. The same input gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from stac_sm.core.metrics import Scores
from stac_sm.model.diagnostics.results import FLAGGED
from stac_sm.model.skill import CONFIDENCE, skill_sentences, unskilled
from stac_sm.model.skill_scores import random_rows_sentence
from stac_sm.stac.visibility import VISIBILITY_FIELD, Visibility
from stac_sm.workflows.reporting import figures, stations
from stac_sm.workflows.reporting.findings import SITE_STRATEGY, ReportFindings, ReportInputs
from stac_sm.workflows.reporting.html import (
    HtmlContent,
    HtmlNode,
    html_document,
    html_element,
    html_figure,
    html_panels,
)
from stac_sm.workflows.reporting.labels import STRATEGY_LABELS, UNIT, method_label, strategy_label
from stac_sm.workflows.reporting.score_tables import score_content
from stac_sm.workflows.reporting.tables import (
    coverage_table,
    fact_table,
    format_score,
    leak_table,
    published_scores_table,
    residual_table,
    score_table,
    screening_table,
    skill_table,
)

PageSection = tuple[str, str, str, list[HtmlContent]]  # anchor, class of its width, heading, content

FULL, PANEL, DOUBLE = "full", "panel", "double"
"""Width of a section on a wide screen: all of it, a column, or two."""

_SHOWN = (("r", "R"), ("rmse", f"RMSE, {UNIT}"), ("ubrmse", f"ubRMSE, {UNIT}"), ("bias", f"bias, {UNIT}"))

_LEAKS = (
    "A predictor that differs between sites and never changes at one identifies the site: the model learns the mean of "
    "each site from it, which helps on other days of that site, and nowhere else. Maps of soil or terrain can do this "
    "as station numbers do, as long as there are few sites. A predictor is flagged if it identifies the site, alone or "
    "with others that hardly change at a site, and if shuffling it raises the RMSE by at least a tenth in the random "
    "k-fold split, but by less than a third of that at unseen sites. A predictor that follows the target as only a "
    "measurement at the same station does is flagged, too: soil moisture at another depth, an earlier value, a copy "
    "with noise."
)


def report_page(findings: ReportFindings) -> str:
    """Return the report: scores and positions, no values of stations."""
    report = findings.report
    top: list[HtmlContent] = [html_element("h1", report.title), _headline(findings), *_warnings(findings)]
    return html_document(f"{report.title}: report", page_style(), page_body(top, list(_sections(findings))))


def page_body(top: Sequence[HtmlContent], sections: Sequence[PageSection]) -> HtmlNode:
    """Return the body of a page: what stands at its top, links to its sections, and the sections with content."""
    shown = [section for section in sections if section[-1]]
    links = [html_element("li", html_element("a", heading, href=f"#{anchor}")) for anchor, _, heading, _ in shown]
    return html_element(
        "main",
        *top,
        html_element("nav", html_element("ul", *links), aria_label="Sections"),
        *(
            html_element("section", html_element("h2", heading), *content, id=anchor, class_=width)
            for anchor, width, heading, content in shown
        ),
    )


def caveats_note(notes: Sequence[str]) -> HtmlNode:
    """Return the box of caveats: ``WHICH: WHY``; one that holds for several things is said once."""
    which: dict[str, list[str]] = {}
    for note in dict.fromkeys(notes):
        thing, colon, why = note.partition(": ")
        which.setdefault(why if colon else note, []).extend([thing] if colon else [])
    texts = [f"{', '.join(things)}: {why}" if things else why for why, things in which.items()]
    items = [html_element("li", text if text.endswith(".") else f"{text}.") for text in texts]
    return html_element(
        "div", html_element("strong", "Caveats"), html_element("ul", *items), class_="warning", role="note"
    )


def series_page(findings: ReportFindings) -> str | None:
    """Return the page of station time series, which shows what stations measured; None if there are none."""
    figures_of_stations = list(_series(findings))
    if not figures_of_stations:
        return None
    title = f"{findings.report.title}: station time series"
    return html_document(title, page_style(), series_body(title, figures_of_stations))


def series_body(title: str, content: Sequence[HtmlContent]) -> HtmlNode:
    """Return the body of a page of station time series, which says whom it is for."""
    return html_element(
        "main",
        html_element("h1", title),
        html_element("div", html_element("p", RESTRICTED_NOTE), class_="warning", role="note"),
        html_element("section", *content, id="series"),
    )


def page_style() -> str:
    """Return the style sheet of all pages."""
    return files("stac_sm.workflows.reporting").joinpath("page.css").read_text(encoding="utf-8")


LEAKS_HEADING = "Predictors that identify a station (leakage)"
RESTRICTED_NOTE = (
    "This page shows what stations measured, day by day. Keep it to those who may have the station data: the ISMN "
    "forbids redistribution."
)
SERIES_NOTE = (
    "Time series of stations are on a page of their own, which is not given out with this one: licences of station "
    "data forbid it."
)


def _sections(findings: ReportFindings) -> Iterator[PageSection]:
    yield "scores", FULL, "Scores by hold-out and method", list(_scores(findings))
    yield "unseen-scores", FULL, "Scores by network, class and station", list(_unseen_scores(findings))
    yield "scatter", PANEL, "Predicted against observed soil moisture", list(_scatter(findings))
    yield "curve", PANEL, "Learning curve", list(_curve(findings))
    yield "map", DOUBLE, "R and bias by station", list(_map(findings))
    yield "importance", PANEL, "Permutation importance", list(_importance(findings))
    yield "residuals", PANEL, "Residuals by class", list(_residuals(findings))
    yield "leaks", DOUBLE, LEAKS_HEADING, list(_leaks(findings))
    yield "screening", DOUBLE, "Screening by triple collocation", list(_screening(findings))
    yield "coverage", PANEL, "Prediction intervals", list(_coverage(findings))
    yield "how", PANEL, "Training and evaluation", list(_how(findings))


def _headline(findings: ReportFindings) -> HtmlNode:
    """Return the site-independent score, how sure it is, and what stands beside it."""
    result = findings.headline
    if result is None:
        why = findings.report.evaluation.notes.get(SITE_STRATEGY, "this strategy was not asked for")
        return html_element("div", html_element("p", f"No score at unseen sites: {why}."), class_="headline")
    sentences = skill_sentences(findings.report.skill)
    worse = sentences[:1] if unskilled(findings.report.skill) else []
    random = random_rows_sentence(findings.report.evaluation.predictions, findings.report.method(SITE_STRATEGY))
    return html_element(
        "div",
        *(html_element("p", html_element("strong", f"{one}.")) for one in worse),
        html_element(
            "p", html_element("strong", "At sites that the model has never seen"), f" ({_trained_on(findings)}):"
        ),
        *headline_scores(result.pooled, findings.intervals, CONFIDENCE),
        *([skill_table(findings.report.skill, findings.report.names)] if findings.report.skill else []),
        *([html_element("p", random)] if random else []),
        class_="headline",
    )


def headline_scores(
    scores: Scores, intervals: Mapping[str, tuple[float, float]], confidence: float
) -> Iterator[HtmlNode]:
    """Yield R, RMSE, ubRMSE and bias in large digits, each with its interval where there is one.

    Parameters
    ----------
    scores
        m3 m-3 but for R.
    intervals
        Name of a score to the ends of its interval, by resampling sites; NaN for none.
    confidence
        Share that the intervals cover.

    Yields
    ------
    HtmlNode
        The scores, and a line that says what stands below them.
    """
    shown, known = [], False
    for name, label in _SHOWN:
        low, high = intervals.get(name, (math.nan, math.nan))
        sure = math.isfinite(low) and math.isfinite(high)
        known |= sure
        ends = [html_element("small", f"{format_score(low, name)} to {format_score(high, name)}")] if sure else []
        value = html_element("dd", format_score(getattr(scores, name), name), *ends)
        shown.append(html_element("div", html_element("dt", label), value))
    yield html_element("dl", *shown)
    if known:
        about = f"Below each score: its {100 * confidence:g} % interval, by resampling sites."
        yield html_element("p", html_element("small", about))


def _trained_on(findings: ReportFindings) -> str:
    result = findings.headline
    if result is None:
        return ""
    method = method_label(result.method, findings.report.names).removeprefix("Model, ")
    sites = findings.unseen_site_rows["site"].nunique()
    return f"trained on {method}, scored on all {result.pooled.n:,} rows of {sites} sites"


def _warnings(findings: ReportFindings) -> Iterator[HtmlNode]:
    """Yield what a reader must know before any figure."""
    report, notes = findings.report, []
    leaks = report.diagnostics.leaks if report.diagnostics is not None else ()
    if near := ", ".join(leak.feature for leak in leaks if leak.near):
        notes.append(
            f"Leak check: {near}: follows the target as only a measurement at the same station does (another depth, an "
            "earlier value, a copy). No score below holds where there is no station: train without it. See "
            f"“{LEAKS_HEADING}”."
        )
    if flagged := ", ".join(leak.feature for leak in leaks if leak.status == FLAGGED and not leak.near):
        notes.append(
            f"Leak check: {flagged}: such predictors identify the site, so the score of random rows does not hold for "
            f"other places. See “{LEAKS_HEADING}”."
        )
    notes += [f"{_strategies_in(name)}: {why}" for name, why in report.evaluation.notes.items()]
    notes += report.notes
    if report.diagnostics is not None:
        notes += [note[:1].upper() + note[1:] for note in report.diagnostics.notes]
    if notes:
        yield caveats_note(notes)


def _strategies_in(name: str) -> str:
    strategy, _, rest = name.partition(" ")
    label = strategy_label(strategy)
    return f"{label[:1].upper()}{label[1:]}{f', {rest} training' if rest else ''}"


def _scores(findings: ReportFindings) -> Iterator[HtmlContent]:
    if not findings.report.evaluation.results:
        yield html_element("p", "Nothing could be scored; the reasons stand above.")
        return
    meanings = [STRATEGY_LABELS.get(strategy, (strategy, "")) for strategy in findings.report.strategies]
    yield html_panels(
        html_figure(
            figures.score_comparison_figure(findings),
            f"RMSE and R of every method under {len(findings.report.strategies)} ways of holding out rows; "
            "the numbers stand in the table below.",
            "All stations, all rows at once. A model is better than the baselines where its marks lie left of theirs "
            "in RMSE, and right of them in R.",
        ),
        html_element(
            "div",
            html_element(
                "ul", *(html_element("li", html_element("strong", name), f": {meaning}") for name, meaning in meanings)
            ),
            published_scores_table(),
        ),
    )
    yield score_table(findings)


def _unseen_scores(findings: ReportFindings) -> Iterator[HtmlContent]:
    if findings.unseen_site_scores is not None:
        yield from score_content({"at unseen sites": findings.unseen_site_scores})


def _scatter(findings: ReportFindings) -> Iterator[HtmlContent]:
    if findings.report.strategies:
        yield html_figure(
            figures.scatter_figure(findings),
            "Density of predicted against observed soil moisture, one panel per way of holding out rows.",
            "Every row was predicted by a model that had not seen it. The line is perfect agreement; the darker a "
            "cell, the more rows.",
        )


def _series(findings: ReportFindings) -> Iterator[HtmlContent]:
    if (image := stations.station_series_figure(findings)) is not None:
        shown = ", ".join(f"{site} ({why})" for site, why in stations.shown_stations(findings))
        yield html_figure(
            image,
            f"Observed and predicted soil moisture over time at {shown}.",
            "Stations are chosen by the rank of their RMSE, not by hand; each was unseen by the model that predicts "
            "it. Of a long record the three fullest years are shown. Intervals are those of sites that represent their "
            "pixel: where screening did not keep a site, none is drawn.",
        )


def _map(findings: ReportFindings) -> Iterator[HtmlContent]:
    lost = stations.stations_without_place(findings)
    if (image := stations.station_map(findings.stations)) is not None:
        yield html_figure(
            image,
            "Two maps of the stations, coloured by correlation and by bias; the numbers are in metrics.json.",
            "Scores of each station with at least 10 rows, unseen by the model. Discs: kept by screening, or not "
            "screened; squares: not kept." + (f" {len(lost)} stations have no place." if lost else ""),
        )
    elif findings.report.strategies:
        yield html_element("p", "No map: the table has no longitude and latitude of its sites.")


def _curve(findings: ReportFindings) -> Iterator[HtmlContent]:
    found = findings.report.diagnostics
    if found is not None and found.curve:
        yield html_figure(
            figures.learning_curve_figure(found),
            "RMSE and R at unseen sites for models trained on "
            + ", ".join(f"{point.sites} sites (mean RMSE {_mean_rmse(point.scores):.4f})" for point in found.curve)
            + ".",
            "Each dot is one draw of sites, scored on all sites that were held out. Where the line still falls (RMSE), "
            "more stations would help.",
        )


def _mean_rmse(drawn: tuple[Scores, ...]) -> float:
    return sum(one.rmse for one in drawn) / len(drawn)


def _importance(findings: ReportFindings) -> Iterator[HtmlContent]:
    found = findings.report.diagnostics
    if found is not None and found.importance:
        best = [one.feature for one in found.importance if one.strategy == SITE_STRATEGY][:3]
        yield html_figure(
            figures.importance_figure(found),
            f"RMSE increase when a feature is shuffled among rows held out; at unseen sites most: {', '.join(best)}.",
            "Marks: over all folds; lines: from the smallest to the largest of the folds. Correlated features share "
            "their importance, so a small increase does not mean that a feature is useless.",
        )


def _leaks(findings: ReportFindings) -> Iterator[HtmlContent]:
    found = findings.report.diagnostics
    if found is None or not found.leaks:
        return
    yield html_element("p", _LEAKS)
    yield leak_table(found)
    if found.gap is not None:
        side = "below" if found.gap.width < 0 else "above"
        above = f"{abs(found.gap.width):.4f} {UNIT} {side} that under random rows"
        gap = f"For the models of these checks the error at unseen sites is {above}"
        without = found.gap_without
        rest = f"; without the flagged features it is {without.width:+.4f}" if without is not None else ""
        yield html_element("p", f"{gap} (RMSE {found.gap.site:.4f} and {found.gap.random:.4f}){rest}.")
    if found.gap_without is not None:
        change = found.gap_without.site - (found.gap.site if found.gap else 0.0)
        yield html_element("p", f"Leaving them out changes the RMSE at unseen sites by {change:+.4f} {UNIT}.")


def _residuals(findings: ReportFindings) -> Iterator[HtmlContent]:
    ranges, climates = f"by observed soil moisture, {UNIT}", f"by {_class_name(findings)}"
    found = ((ranges, findings.by_range), (climates, findings.by_climate))
    groups = [(title, classes) for title, classes in found if classes]
    if groups:
        yield html_figure(
            figures.residuals_figure(groups),
            "Boxes of prediction minus observation at unseen sites, by range of soil moisture and by "
            f"{_class_name(findings)}; the numbers stand in the table.",
            "Box: the middle half; lines: 5 to 95 %; diamond: the mean. Any model that is not perfect is too wet where "
            "dry soil was observed and too dry where wet soil was.",
        )
        yield residual_table(groups)


def _class_name(findings: ReportFindings) -> str:
    return "climate (Köppen)" if findings.by_climate_is == "climate" else "latitude, either side of the equator"


def _coverage(findings: ReportFindings) -> Iterator[HtmlContent]:
    if (found := findings.coverage) is not None:
        nominal = f"{findings.report.coverage * 100:g} %"
        yield html_element(
            "p", f"Intervals that are meant to hold {nominal} of the observations, at sites that were unseen:"
        )
        yield coverage_table(found)


def _screening(findings: ReportFindings) -> Iterator[HtmlContent]:
    screening = findings.report.screening
    if screening is None:
        return
    rules = screening.thresholds
    wide = f"{rules.confidence:.0%} interval"
    bound = (
        (f" (lower bound of its {wide})", f" (upper bound of its {wide})") if rules.decide_by == "bounds" else ("", "")
    )
    unsure = sum(why.startswith("undetermined") for why in screening.reasons.values())
    undetermined = f"{unsure} site is" if unsure == 1 else f"{unsure} sites are"
    yield html_element(
        "p",
        f"By triple collocation with two other data sets, {len(screening.kept)} of {len(screening.sites)} sites are "
        f"kept: those with a correlation with the unknown truth{bound[0]} of at least {rules.min_correlation:g} and an "
        f"error{bound[1]} of at most {rules.max_error_std:g} {UNIT}, from at least {rules.min_days} days. "
        f"{undetermined} undetermined: the estimate lies outside its own interval, or triple collocation "
        f"fails in more than {rules.max_failed_resamples:.0%} of the resamples. Within hold-outs, sites are screened "
        "by training rows only.",
    )
    yield screening_table(screening)


def _how(findings: ReportFindings) -> Iterator[HtmlContent]:
    if findings.report.facts:
        yield fact_table(findings.report.facts)
    yield html_element("ul", *(html_element("li", sentence) for sentence in _HOW))


_HOW = (
    f"All figures are in {UNIT}, but for R. Bias is prediction minus observation; RMSE² = ubRMSE² + bias².",
    "No row was predicted by a model that had seen it. Held-out rows have no part in training, in screening or in the "
    "correction of a baseline.",
    "Climatologies of predictors at unseen sites are allowed: there is no soil moisture of a station in them.",
    "A station has scores of its own from 10 rows on. “Kept” stations are decided once, on all rows, so that all "
    "methods are scored on the same ones.",
    "All numbers of this page, and the scores of every station, are in metrics.json beside it.",
    SERIES_NOTE,
)


def write_model_report(folder: Path, report: ReportInputs) -> dict[str, Path]:
    """Write ``report.html``, ``metrics.json`` and, if there are station time series to show, ``series.html``.

    Parameters
    ----------
    folder
        An existing folder; files of these names are replaced.
    report
        The model, its scores and diagnostics.

    Returns
    -------
    dict
        ``report``, ``metrics`` and ``series``: where the files lie. The first two hold no values of stations; the
        third does, and an older one is removed where there is none.

    Raises
    ------
    InputError
        If intervals belong to no scored row.
    """
    from matplotlib.style import context

    from stac_sm.core.text import to_json
    from stac_sm.workflows.reporting.findings import ReportFindings

    findings = ReportFindings(report)
    written = {"metrics": folder / "metrics.json"}
    written["metrics"].write_text(to_json(findings.to_dict()) + "\n", encoding="utf-8", newline="\n")
    with context("default"):  # a matplotlibrc of the user must not change the pages
        pages = {"report": report_page(findings), "series": series_page(findings)}
    for name, text in pages.items():
        file = folder / f"{name}.html"
        if text is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(text, encoding="utf-8", newline="\n")
            written[name] = file
    return written


def report_asset_fields() -> dict[str, dict[str, Any]]:
    """Return the fields of the assets of the files of `write_model_report`, by their names."""
    return {
        "report": page_fields("Report", "text/html", Visibility.PUBLIC),
        "metrics": page_fields("Metrics", "application/json", Visibility.PUBLIC),
        "series": page_fields("Time series of stations", "text/html", Visibility.RESTRICTED),
    }


def page_fields(title: str, media_type: str, visibility: Visibility) -> dict[str, Any]:
    """Return the fields of an asset with results, and whether it may be given to anybody."""
    return {"title": title, "type": media_type, "roles": ["metadata"], VISIBILITY_FIELD: str(visibility)}
