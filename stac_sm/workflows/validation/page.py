"""Write the page of a validation, its numbers as JSON, and a page of station time series.

As in the report of a model, what stations measured is drawn in the page of time series alone. The same input gives
the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from stac_sm.core.metrics import Scores
from stac_sm.core.scores.groups import ScoreTable
from stac_sm.core.scores.resampling import CONFIDENCE
from stac_sm.stations.records import SitesOfStations
from stac_sm.workflows.reporting.html import HtmlContent, HtmlNode, html_document, html_element, html_figure, html_table
from stac_sm.workflows.reporting.labels import UNIT
from stac_sm.workflows.reporting.page import (
    DOUBLE,
    FULL,
    PANEL,
    SERIES_NOTE,
    PageSection,
    caveats_note,
    headline_scores,
    page_body,
    page_style,
    series_body,
)
from stac_sm.workflows.reporting.score_tables import score_content
from stac_sm.workflows.reporting.stations import station_map
from stac_sm.workflows.reporting.tables import format_score
from stac_sm.workflows.validation import figures
from stac_sm.workflows.validation.products import ProductComparison
from stac_sm.workflows.validation.protocol import ValidationProtocol
from stac_sm.workflows.validation.qa4sm_file import ComparedDataSet
from stac_sm.workflows.validation.score_sections import protocol_content, triplet_content
from stac_sm.workflows.validation.stations import (
    HELD_OUT,
    SEEN,
    UNKNOWN,
    NetworkScores,
    score_sites,
    sites_to_show,
)
from stac_sm.workflows.validation.triplets import StationTriplets, dependent_products

_SCORES = ("r", "rmse", "ubrmse", "bias")
_ABOUT_OTHERS = (
    "The product is averaged over each cell of the other. Both have errors: what stands here says how well they agree, "
    "not which is right. Scores in tables are of all cells and days at once, maps show each cell, and grey where there "
    "is no value. A cell counts for the tile that holds its centre."
)
_ABOUT_ERRORS = "Random error of each of three products by triple collocation, in the scale of this product."


def _no_intervals() -> pd.DataFrame:
    return pd.DataFrame({"site": pd.Series(dtype=object), "date": pd.Series(dtype="datetime64[ns]"), "half_width": []})


@dataclass(frozen=True, eq=False)
class ValidationFindings:
    """All numbers of a validation."""

    title: str
    """Of the page."""

    facts: dict[str, str]
    """What was validated."""

    rows: pd.DataFrame
    """``site, network, date, observed, product``."""

    networks: tuple[NetworkScores, ...]
    """Scores at stations."""

    others: tuple[ProductComparison, ...]
    """Scores against other products."""

    notes: tuple[str, ...]
    """What could not be compared, and why."""

    inputs: tuple[str, ...]
    """Collections that the product is made with."""

    least_days: int
    """Fewest common days of a triple collocation."""

    scores: Mapping[str, ScoreTable] = field(default_factory=dict)
    """Role of stations to the models -> all scores of the product at them."""

    reference_scores: Mapping[str, ScoreTable] = field(default_factory=dict)
    """Other data set -> its scores at the stations, on the days of the product."""

    triplets: StationTriplets | None = None
    """Triple collocation at stations; None without stations."""

    intervals: pd.DataFrame = field(default_factory=_no_intervals)
    """Half widths of the prediction intervals at the sites whose time series are drawn: ``site, date, half_width``."""

    protocol: ValidationProtocol | None = None
    """How product and stations are compared."""

    stations: SitesOfStations = field(default_factory=dict)
    """Sites in the tiles."""

    data_sets: tuple[ComparedDataSet, ...] = ()
    """Data sets of the NetCDF file, the stations first."""

    qa4sm: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the NetCDF file."""

    @property
    def headline(self) -> NetworkScores | None:
        """Scores over all networks that were held out; None without such."""
        return next((one for one in self.networks if one.role == HELD_OUT and not one.network), None)

    def summary(self) -> dict[str, Any]:
        """Return the scores, for the properties of the item."""
        return {
            "stations": [one.row for one in self.networks],
            "others": [_other(one, self) for one in self.others],
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``metrics.json``: the summary, and the scores of every site."""
        networks = dict(zip(self.rows["site"], self.rows["network"], strict=True))
        sites = [
            {"site": site, "network": networks[site], **vars(found)} for site, found in score_sites(self.rows).items()
        ]
        found: dict[str, Any] = {
            "layout": 1, "facts": self.facts, "notes": list(self.notes), **self.summary(), "sites": sites
        }  # fmt: skip
        if self.protocol is not None:
            found["protocol"] = self.protocol.to_dict()
        if self.scores:
            found["scores"] = [{"role": role, **table.to_dict()} for role, table in self.scores.items()]
            found["reference_scores"] = [
                {"data_set": name, **table.to_dict()} for name, table in self.reference_scores.items()
            ]
        if self.triplets is not None:
            found["triplets"] = self.triplets.to_dict()
        return found


def validation_page(findings: ValidationFindings) -> str:
    """Return the page: scores and positions, no values of stations."""
    against = [
        (f"other-{i}", PANEL, f"Against {one.other.title}", list(_against(findings, one)))
        for i, one in enumerate(findings.others)
    ]
    first: list[PageSection] = [
        ("stations", DOUBLE, "Against stations", list(_stations(findings))),
        ("scatter", PANEL, "Product against stations", list(_scatter(findings))),
        ("how", PANEL, "Product and stations", [_facts(findings), html_element("p", SERIES_NOTE)]),
        ("map", DOUBLE, "R and bias by station", list(_map(findings))),
        ("scores", FULL, "Scores by network, class and station", list(score_content(findings.scores))),
    ]
    if findings.triplets is not None:
        content = list(triplet_content(findings.triplets))
        first.append(("triplets-at-stations", DOUBLE, "Triple collocation at stations", content))
    if findings.protocol is not None and findings.scores:
        first.append(("protocol-section", DOUBLE, "Protocol", list(protocol_content(findings.protocol))))
    if against:
        against.insert(0, ("others", FULL, "Against other products", [html_element("p", _ABOUT_OTHERS)]))
    top: list[HtmlContent] = [html_element("h1", findings.title), _headline(findings), *_notes(findings)]
    return html_document(findings.title, page_style(), page_body(top, [*first, *against]))


def validation_series_page(findings: ValidationFindings) -> str | None:
    """Return the page of station time series, which shows what stations measured; None if there are none."""
    content = list(_series(findings))
    if not content:
        return None
    title = f"{findings.title}: station time series"
    return html_document(title, page_style(), series_body(title, content))


def _other(found: ProductComparison, findings: ValidationFindings) -> dict[str, Any]:
    pair, triple, least_days = found.pair, found.triple, findings.least_days
    cells = pair.scores
    seen = pair.n > 0
    told: dict[str, Any] = {
        "collection": found.other.collection,
        "asset": found.other.asset,
        "grid": found.other.cells,
        "cells": int(seen.sum()),
        "days": int(pair.n.max(initial=0)),
        **vars(pair.pooled),
        **{f"median_{name}": _median(cells[name][pair.n >= least_days]) for name in _SCORES},
        "cells_with_scores": int((pair.n >= least_days).sum()),
    }
    if triple is not None and found.third is not None:
        errors = triple.errors(least_days)
        told["triple_collocation"] = {
            "third": found.third.name,
            "dependent": dependent_products(findings.inputs, (found.other, found.third)),
            "cells": int(np.isfinite(errors[0]).sum()),
            "median_error": [_median(one) for one in errors],
        }
    return told


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


def _headline(findings: ValidationFindings) -> HtmlNode:
    one = findings.headline
    if one is None:
        return html_element("div", html_element("p", _no_headline(findings)), class_="headline")
    table = findings.scores.get(HELD_OUT)
    intervals = {name: (each.low, each.high) for name, each in table.pooled.intervals.items()} if table else {}
    sites = "1 site" if one.sites == 1 else f"{one.sites} sites"
    told = f" ({sites}, {one.pooled.n:,} days with both):"
    lead = html_element("strong", "At networks that no model of the product was trained on")
    scores = headline_scores(one.pooled, intervals, table.confidence if table else CONFIDENCE)
    return html_element("div", html_element("p", lead, told), *scores, class_="headline")


def _no_headline(findings: ValidationFindings) -> str:
    roles = {one.role for one in findings.networks}
    if UNKNOWN in roles:
        return (
            "Whether the models have seen these stations is not known: their match-ups are not in this catalogue. The "
            "scores below may be better than those of other places."
        )
    if SEEN in roles:
        return (
            "No network was held out: the models were trained on all of them, so the scores below are better than "
            "those of other places. For scores at unseen sites see the model's own report, or ingest a network "
            "that no model was trained on, and validate again."
        )
    return "No station has a day in common with the product."


def _notes(findings: ValidationFindings) -> Iterator[HtmlNode]:
    if findings.notes:
        yield caveats_note(findings.notes)


def _stations(findings: ValidationFindings) -> Iterator[HtmlContent]:
    if findings.networks:
        names = ["network", "to the models", "sites", "site-days", "R", "RMSE", "ubRMSE", "bias"]
        names += ["median R", "median RMSE", "median ubRMSE", "median bias"]
        rows = [_network(one) for one in findings.networks]
        told = f"Scores in {UNIT}, but for R; medians are over sites with at least 10 days"
        yield html_table(told, names, rows, id="network-table")


def _network(one: NetworkScores) -> list[HtmlContent]:
    first: HtmlContent = one.network or html_element("span", "all", class_="first")
    return [first, one.role, str(one.sites), str(one.pooled.n), *_four(one.pooled), *_four(one.median)]


def _four(found: Scores) -> list[str]:
    return [format_score(getattr(found, name), name) for name in _SCORES]


def _scatter(findings: ValidationFindings) -> Iterator[HtmlContent]:
    if findings.scores:
        yield html_figure(
            figures.station_scatter(findings.rows, findings.networks),
            "Density of the soil moisture of the product against that of the stations, one panel per role of the "
            "stations to the models.",
            "Every site and day with both. The line is perfect agreement; the darker a cell, the more site-days.",
        )


def _map(findings: ValidationFindings) -> Iterator[HtmlContent]:
    found = [
        {"lon": station.lon, "lat": station.lat, "r": one.r, "bias": one.bias, "kept": role == HELD_OUT}
        for role, table in findings.scores.items()
        for site, one in ((each.name, each.scores) for each in table.stations if each.scored_sites)
        for station, _ in [findings.stations[site]]
    ]
    if found and (image := station_map(pd.DataFrame(found))) is not None:
        yield html_figure(
            image,
            "Two maps of the stations, coloured by correlation and by bias; the numbers are in metrics.json.",
            "Scores of each station with at least 10 days. Discs: networks that no model of the product was trained "
            "on; squares: others.",
        )


def _series(findings: ValidationFindings) -> Iterator[HtmlContent]:
    shown = _shown(findings)
    if shown:
        yield html_figure(
            figures.station_series_figures(findings.rows, shown, findings.intervals),
            f"Soil moisture of the product and of the stations over time at {', '.join(shown)}.",
            "Sites are chosen by the rank of their RMSE, not by hand; of held-out networks, if there are any. "
            "Intervals are those of the product; a product that is scaled to the stations is drawn without.",
        )


def _shown(findings: ValidationFindings) -> dict[str, str]:
    """Return the sites whose time series are drawn, and what stands above them."""
    found = score_sites(findings.rows)
    return {
        site: f"{site} ({why}): R {format_score(found[site].r, 'r')}, RMSE {format_score(found[site].rmse, 'rmse')}"
        for site, why in sites_to_show(findings.rows, findings.networks).items()
    }


def _against(findings: ValidationFindings, found: ProductComparison) -> Iterator[HtmlContent]:
    told = _other(found, findings)
    names = ["cells", "days", "cells and days", "R", "RMSE", "ubRMSE", "bias"]
    values = [
        str(told["cells"]),
        str(told["days"]),
        str(told["n"]),
        *(format_score(told[name], name) for name in _SCORES),
    ]
    yield html_table(
        f"Product and {found.other.title}, {UNIT} but for R", names, [values], id=f"table-{found.other.key}"
    )
    if found.parts:
        yield html_figure(
            figures.score_maps(found),
            f"Maps of correlation, ubRMSE, bias and coverage against {found.other.title}.",
            f"Product and {found.other.title}, cells with at least {figures.least_shown(found)} days in common.",
        )
    if found.triple is not None and found.third is not None:
        yield from _errors(findings, found, told["triple_collocation"])


def _errors(findings: ValidationFindings, found: ProductComparison, told: dict[str, Any]) -> Iterator[HtmlContent]:
    why, third = told["dependent"], found.third.title if found.third is not None else ""
    yield html_element("h3", f"Triple collocation with {third}{', dependent errors' if why else ''}")
    image = figures.error_maps(found, findings.least_days)
    if image is None:
        most = int(found.triple.n.max(initial=0)) if found.triple is not None else 0
        yield html_element(
            "p",
            f"No map of random errors: in no cell does triple collocation hold (at least {findings.least_days} common "
            f"days are required, the most is {most}; and the three must vary together).",
        )
        return
    about = (
        f" Their errors are dependent: {why}. Those that depend on each other are estimated too small." if why else ""
    )
    yield html_figure(
        image, f"Maps of the random error of three products in {told['cells']} cells.", f"{_ABOUT_ERRORS}{about}"
    )


def _facts(findings: ValidationFindings) -> HtmlNode:
    return html_table(
        "What was compared", ["what", "value"], [[name, text] for name, text in findings.facts.items()], class_="facts"
    )
