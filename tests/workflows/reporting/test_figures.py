"""Figures of reports and validations can be read, whatever the data: no labels that overlap or leave the figure."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from stac_sm.core.metrics import Scores
from stac_sm.core.scores.groups import score_groups
from stac_sm.model.diagnostics.results import CurvePoint, Diagnostics, PermutationImportance
from stac_sm.model.evaluate import Evaluation, StrategyResult
from stac_sm.workflows.reporting import figures, stations
from stac_sm.workflows.reporting.findings import ClassResiduals, ReportFindings, ReportInputs
from stac_sm.workflows.reporting.labels import STRATEGY_LABELS, UNIT
from stac_sm.workflows.validation import figures as validation_figures
from stac_sm.workflows.validation.stations import TrainingStations, score_networks
from tests.support.figure_text import unreadable, untitled

LONG = "Cosmic-ray soil moisture observing system of the northern great plains and prairies"
STRATEGIES = tuple(STRATEGY_LABELS)
METHODS = ("unscreened", "screened", "swvl1", "swvl1 bias-corrected", "a_column_with_a_rather_long_name bias-corrected")


@pytest.fixture(autouse=True)
def figures_stay(monkeypatch):
    """Functions return the figure itself instead of its PNG."""
    for module in (figures, stations, validation_figures):
        monkeypatch.setattr(module, "figure_png", lambda figure: figure)


def check(figure: Any) -> None:
    FigureCanvasAgg(figure)
    assert unreadable(figure) == []
    assert untitled(figure) == 0


def table_of(sites: int, days: int, *, step: str = "1D", negative: bool = False, names: str = "S") -> pd.DataFrame:
    rng = np.random.default_rng(sites)
    truth = rng.uniform(0.02, 0.55, (sites, days))
    guess = (0.5 - truth if negative else truth) + 0.03 * rng.standard_normal((sites, days))
    site = np.repeat(np.arange(sites), days)
    return pd.DataFrame(
        {
            "site": [f"{names}.{i:03d}" for i in site],
            "network": [names if i % 7 else f"Net {i % 5}" for i in site],
            "lon": rng.uniform(-124, -70, sites)[site] if sites > 1 else 7.25,
            "lat": rng.uniform(26, 49, sites)[site] if sites > 1 else 46.5,
            "date": np.tile(pd.date_range("2001-01-01", periods=days, freq=step), sites),
            "observed": truth.ravel(),
            "predicted": guess.ravel(),
        }
    )


KINDS = {
    "twelve sites": table_of(12, 60),
    "one site": table_of(1, 30),
    "two days": table_of(3, 2),
    "twenty years": table_of(3, 75, step="100D"),
    "long names": table_of(4, 30, names=LONG),
    "200 sites": table_of(200, 12),
    "negative R": table_of(9, 40, negative=True),
}


def findings_of(table: pd.DataFrame) -> ReportFindings:
    rng = np.random.default_rng(1)
    score = [Scores(900, *rng.uniform(0.05, 0.9, 4)) for _ in STRATEGIES for _ in METHODS]
    results = [
        StrategyResult(strategy, method, "all", score[i * len(METHODS) + j], score[0], table["site"].nunique())
        for i, strategy in enumerate(STRATEGIES)
        for j, method in enumerate(METHODS)
    ]
    rows = table.assign(row=np.arange(len(table)), fold=0, unscreened=table["predicted"], screened=table["predicted"])
    rows["swvl1 bias-corrected"] = rows["predicted"] * 0.9
    rows = pd.concat([rows.assign(strategy=one) for one in STRATEGIES], ignore_index=True)
    columns = ["strategy", "fold", "row", "site", "date", "observed", "unscreened", "screened", "swvl1 bias-corrected"]
    evaluation = Evaluation(tuple(results), {}, None, rows[columns])
    half = pd.DataFrame({"row": np.arange(len(table))})
    half = half.assign(low=table["predicted"] - 0.05, high=table["predicted"] + 0.05)
    given = table.rename(columns={"observed": "sm"}).drop(columns="predicted")
    return ReportFindings(ReportInputs("Model", evaluation, given, intervals=half))


@pytest.mark.parametrize("kind", KINDS)
def test_figures_of_a_report_can_be_read(kind):
    findings = findings_of(KINDS[kind])
    check(figures.scatter_figure(findings))
    check(figures.score_comparison_figure(findings))
    if findings.stations.empty:  # too few days for a score
        return
    check(stations.station_map(findings.stations))
    check(stations.station_series_figure(findings))


@pytest.mark.parametrize("kind", KINDS)
def test_figures_of_a_validation_can_be_read(kind):
    table = KINDS[kind]
    rows = table.rename(columns={"predicted": "product"})
    networks = score_networks(rows, TrainingStations(frozenset(), frozenset({"Net 0"}), known=True))
    check(validation_figures.station_scatter(rows, networks))
    climate = pd.DataFrame({"climate": "hot semi-arid (steppe), summers dry"}, index=sorted(set(table["site"])))
    scores = score_groups(table, climate, resamples=5)
    for groups in (scores.networks, scores.classes.get("climate", ())):
        if (drawn := figures.score_boxes_figure(groups)) is not None:
            check(drawn)
    shown = {site: f"{site} (middle): R -0.123, RMSE 0.1234" for site in list(dict.fromkeys(rows["site"]))[:3]}
    intervals = rows[["site", "date"]].assign(half_width=0.06)
    for widths in (intervals, intervals[:0]):
        check(validation_figures.station_series_figures(rows, shown, widths))


def test_series_of_a_validation_have_the_intervals_of_the_product():
    rows = KINDS["two days"].rename(columns={"predicted": "product"})
    site = rows["site"][0]
    intervals = rows[["site", "date"]][:1].assign(half_width=0.06)
    drawn = validation_figures.station_series_figures(rows, {site: site}, intervals)
    (bars,) = drawn.axes[0].collections
    ((_, low), (_, high)), (_, missing), *_ = [path.vertices for path in bars.get_paths()] + [np.full((2, 2), np.nan)]
    assert (low, high) == pytest.approx((rows["product"][0] - 0.06, rows["product"][0] + 0.06))
    assert np.isnan(missing).all()
    assert "90 % prediction interval" in [one.get_text() for one in drawn.legends[0].get_texts()]


def test_many_networks_with_long_names_can_be_read():
    table = pd.concat(
        [table_of(3, 20).assign(network=f"{LONG[:i]} {i}", site=lambda t, i=i: t["site"] + str(i)) for i in range(30)],
        ignore_index=True,
    )
    scores = score_groups(table, resamples=5)
    check(figures.score_boxes_figure(scores.networks))


@pytest.mark.parametrize("classes", [1, 5])
def test_residuals_of_classes_can_be_read(classes):
    scores = Scores(123456, r=0.5, rmse=0.1, ubrmse=0.08, bias=-0.02)
    found = [ClassResiduals(f"class {i} of those with a long name", 321, scores, (-0.4, -0.1, 0, 0.1, 0.4))
             for i in range(classes)]  # fmt: skip
    check(figures.residuals_figure([(f"by observed soil moisture, {UNIT}", found), ("by climate (Köppen)", found[:1])]))
    check(figures.residuals_figure([("by latitude, either side of the equator", found)]))


def test_importance_and_learning_curve_can_be_read():
    names = ["x", LONG.replace(" ", "_"), *(f"feature_{i}_of_the_recipe" for i in range(23))]
    importance = [
        PermutationImportance(name, strategy, 0.001 * i, (0.0005 * i, 0.002 * i))
        for i, name in enumerate(names)
        for strategy in ("site", "random")
    ]
    sizes = (3, 4, 6, 10, 19, 40, 80, 161, 322, 1204)
    curve = [CurvePoint(size, (Scores(10, 0.2, 0.1 / size, 0.1, 0.0),) * 3) for size in sizes]
    found: Any = SimpleNamespace(importance=importance, curve=curve)
    assert {"importance", "curve"} <= set(Diagnostics.__dataclass_fields__)
    check(figures.importance_figure(found))
    check(figures.learning_curve_figure(found))
