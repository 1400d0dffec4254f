"""The report: one page that stands alone, the same bytes each time, and no number that is not the evaluation's."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stac_sm.core.errors import InputError
from stac_sm.core.metrics import agreement_scores
from stac_sm.core.period import Period
from stac_sm.core.scores.groups import LEAST_ROWS
from stac_sm.core.scores.pair import GCOS_UBRMSE, pair_scores
from stac_sm.model.diagnostics.diagnose import diagnose
from stac_sm.model.diagnostics.results import DiagnosticsBudget
from stac_sm.model.evaluate import CLIMATOLOGY, evaluate
from stac_sm.model.fit import fit
from stac_sm.model.holdout import hold_outs
from stac_sm.model.skill import Skill
from stac_sm.model.skill_scores import skill_of
from stac_sm.model.train_settings import TrainSettings
from stac_sm.stations.records import Station
from stac_sm.stations.screening import screen_sites, training_screener
from stac_sm.stations.screening_thresholds import ScreeningThresholds
from stac_sm.stations.site_classes import site_classes
from stac_sm.workflows.reporting import figures, score_tables, stations
from stac_sm.workflows.reporting.findings import ReportFindings, ReportInputs, interval_coverage
from stac_sm.workflows.reporting.html import html_document, html_element, html_table
from stac_sm.workflows.reporting.labels import latitude_band_label, method_label, strategy_label
from stac_sm.workflows.reporting.page import page_style, report_asset_fields, write_model_report
from tests.support.chromium import chromium, page
from tests.support.missing import need
from tests.support.page_layout import layout_faults, said_twice

SETTINGS = TrainSettings(tune=False, n_estimators=15, max_depth=3, eta=0.3)
FEATURES = ["lst", "swvl1", "station_no"]
STRATEGIES = ("random", "site", "year", "network", "block")
VOID = {"meta", "link", "img", "br", "hr", "input"}


def table_of(sites=12, each=100, bad=4):
    """Match-ups over three years; the last ``bad`` sites measure something else; a column names the site."""
    rng = np.random.default_rng(0)
    site, n = np.repeat(np.arange(sites), each), sites * each
    truth = 0.25 + 0.06 * rng.standard_normal(n)
    secret = 0.06 * rng.standard_normal(sites)[site]
    noise = np.where(site >= sites - bad, 0.2, 0.02) * rng.standard_normal(n)
    return pd.DataFrame(
        {
            "site": [f"N{i % 3}.s{i:02d}" for i in site],
            "network": [f"N{i % 3}" for i in site],
            "lon": -100.0 + 4 * site,
            "lat": 20.0 + 3 * site,
            "date": np.tile(pd.date_range("2018-01-01", periods=each, freq="10D"), sites),
            "sm": truth + secret + noise,
            "lst": 300 - 50 * truth + rng.standard_normal(n),
            "swvl1": 0.05 + truth + 0.03 * rng.standard_normal(n),
            "third": truth + 0.04 * rng.standard_normal(n),
            "station_no": rng.permutation(sites)[site].astype(float),
        }
    )


def fitter(rows):
    return fit(rows, FEATURES, settings=SETTINGS)


TABLE = table_of()
TRIPLETS = TABLE.rename(columns={"sm": "insitu", "swvl1": "era5land"})
RULES = ScreeningThresholds(min_days=40, min_sites=3)


@pytest.fixture(scope="module")
def given_report() -> ReportInputs:
    evaluation = evaluate(
        TABLE,
        hold_outs(TABLE, STRATEGIES, folds=3),
        fitter,
        screener=training_screener(TRIPLETS, RULES, TABLE),
        baselines=["swvl1"],
    )
    rows = evaluation.predictions.query("strategy == 'site'")
    return ReportInputs(
        title="Model xgb-0123",
        evaluation=evaluation,
        table=TABLE,
        diagnostics=diagnose(TABLE, fitter, budget=DiagnosticsBudget.small()),
        screening=screen_sites(TRIPLETS, RULES),
        climate={site: "BSk" if i % 2 else "Cfa" for i, site in enumerate(sorted(TABLE["site"].unique()))},
        intervals=pd.DataFrame({"row": rows["row"], "low": rows["screened"] - 0.1, "high": rows["screened"] + 0.1}),
        facts={"trees": 15, "features": ", ".join(FEATURES)},
        notes=("Four sites were made to be bad",),
    )


@pytest.fixture(scope="module")
def written(given_report, tmp_path_factory):
    return write_model_report(tmp_path_factory.mktemp("report"), given_report)


class Page(HTMLParser):
    """Reads a page, and holds it to the rules: what is opened is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self._rows: list[list[str]] | None = None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows = self.tables.setdefault(dict(attrs).get("id") or "", [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in {"td", "th"}:
            self._rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if {"td", "th"} & set(self.open):
            self._rows[-1][-1] += data


def read(written, name="report") -> Page:
    return Page(written[name].read_text(encoding="utf-8"))


def test_three_files_of_modest_size(written):
    assert {key: file.name for key, file in written.items()} == {
        "report": "report.html",
        "metrics": "metrics.json",
        "series": "series.html",
    }
    assert max(file.stat().st_size for file in written.values()) < 3e6


@pytest.mark.parametrize("name", ["report", "series"])
def test_the_page_stands_alone(written, name):
    text, page = written[name].read_text(encoding="utf-8"), read(written, name)
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert "url(" not in text
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "embed", "form", "base"}
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            if name in attributes:
                assert attributes[name].startswith("#" if tag == "a" else "data:")


def test_every_picture_is_a_png_with_words_for_who_does_not_see_it(written):
    from PIL import Image

    pages = [read(written, name) for name in ("report", "series")]
    pictures = [attributes for page in pages for tag, attributes in page.elements if tag == "img"]
    boxes = [one for one in pictures if one["alt"].startswith("Boxes of R, ubRMSE and bias of sites by ")]
    assert [one["alt"].split(" by ")[1].split(",")[0] for one in boxes] == ["network", "season", "climate"]
    assert len(pictures) == 7 + len(boxes)
    for attributes in pictures:
        kind, _, content = attributes["src"].partition(",")
        assert kind == "data:image/png;base64"
        image = Image.open(io.BytesIO(base64.b64decode(content, validate=True)))
        assert image.size == (int(attributes["width"]), int(attributes["height"]))
        assert len(attributes["alt"]) > 40
    assert len({attributes["alt"] for attributes in pictures}) == len(pictures)


PICTURES = ("scores", "scatter", "series", "map", "curve", "importance", "residuals")


@pytest.mark.parametrize("part", PICTURES)
def test_each_part_that_was_promised_has_its_picture(written, part):
    page = written["series" if part == "series" else "report"].read_text("utf-8")
    sections = re.findall(r'<section id="(\w+)"[^>]*>(.*?)</section>', page, re.DOTALL)
    pictures = {name: content.count("<img") for name, content in sections}
    assert pictures[part] == 1


def test_what_stations_measured_is_drawn_on_the_page_of_series_alone(written, given_report, monkeypatch, tmp_path):
    """The report may be given to anybody: scores and positions. It neither draws a series nor links to the page."""
    report, series = read(written), read(written, "series")
    assert "over time at" not in written["report"].read_text("utf-8")
    assert not any("series" in (attributes.get("href") or "") for _, attributes in report.elements)
    assert "forbids redistribution" in series.text
    assert any("over time at" in (attributes.get("alt") or "") for tag, attributes in series.elements if tag == "img")
    monkeypatch.setattr(stations, "station_series_figure", lambda findings: None)
    without = write_model_report(tmp_path, given_report)
    assert set(without) == {"report", "metrics"}
    assert {key: file.read_bytes() for key, file in without.items()} == {
        key: written[key].read_bytes() for key in without
    }


def test_an_older_page_of_series_does_not_stay(given_report, monkeypatch, tmp_path):
    (tmp_path / "series.html").write_text("of another model")
    monkeypatch.setattr(stations, "station_series_figure", lambda findings: None)
    assert "series" not in write_model_report(tmp_path, given_report)
    assert not (tmp_path / "series.html").exists()


def test_assets_say_what_may_be_given_out(written):
    fields = report_asset_fields()
    assert set(fields) == set(written)
    assert {name: one["stac_sm:visibility"] for name, one in fields.items()} == {
        "report": "public",
        "metrics": "public",
        "series": "restricted",
    }


def test_links_lead_to_sections_and_ids_are_unique(written):
    page = read(written)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    links = [attributes["href"][1:] for tag, attributes in page.elements if tag == "a"]
    assert len(set(ids)) == len(ids)
    assert links
    assert set(links) <= set(ids)


def test_every_number_of_the_table_is_the_evaluations(written, given_report):
    head, *rows = read(written).tables["score-table"]
    assert head[:5] == ["held out", "method", "scored on", "rows", "R"]
    known, climatology = given_report.evaluation.results, given_report.evaluation.climatology_results
    results = [one for name in STRATEGIES for one in (*known, *climatology) if one.strategy == name]
    assert len(rows) == len(results) == 5 * (4 * 2 + 1)
    assert [one.strategy for one in climatology] == [*STRATEGIES]
    stated = json.loads(written["metrics"].read_text())["seasonal_climatology"]
    assert [(one["method"], one["pooled"]["rmse"]) for one in stated] == [
        (CLIMATOLOGY, one.pooled.rmse) for one in climatology
    ]
    for cells, one in zip(rows, results, strict=True):
        assert cells[:3] == [strategy_label(one.strategy), method_label(one.method, given_report.names), one.scored_on]
        figures = [one.pooled.n, *of(one.pooled), one.stations, *of(one.median)]
        digits = [0, 3, 4, 4, 4, 0, 3, 4, 4, 4]
        for cell, figure, places in zip(cells[3:], figures, digits, strict=True):
            assert float(cell) == pytest.approx(figure, abs=0.5 * 10**-places + 1e-12)


def of(one):
    return one.r, one.rmse, one.ubrmse, one.bias


def test_the_headline_is_the_site_independent_score(written, given_report):
    result = given_report.evaluation.result("site", "screened", "all")
    assert ReportFindings(given_report).headline == result
    top = read(written).text.partition("Scores by hold-out and method")[0]
    assert f"{result.pooled.r:.3f}" in top
    assert f"{result.pooled.rmse:.4f}" in top
    assert "At sites that the model has never seen (trained on screened sites" in top
    marked = [a for tag, a in read(written).elements if tag == "span" and "honest" in (a.get("class") or "")]
    assert len(marked) == 1
    plain = replace(given_report, trained="unscreened")
    assert ReportFindings(plain).headline == given_report.evaluation.result("site", "unscreened", "all")


def test_the_leak_is_told_before_any_figure(written):
    text = read(written).text
    assert text.index("Leak check: station_no:") < text.index("Scores by hold-out and method")
    rows = {row[0]: row for row in read(written).tables["leak-table"][1:]}
    assert rows["station_no"][1] == "flagged"
    assert {row[1] for name, row in rows.items() if name != "station_no"} == {"clear"}


def test_published_figures_stand_apart(written):
    page = read(written)
    (anchors,) = (a for tag, a in page.elements if a.get("id") == "anchor-table")
    assert anchors["class"] == "other"
    assert "Other data: published figures" in page.text
    cells = {cell for row in page.tables["anchor-table"] for cell in row}
    assert {"0.941", "0.038", "about 0.715", "about 0.079", "0.64", "0.74", "0.055", "0.052"} <= cells
    assert not any("GLASS" in cell for row in page.tables["score-table"] for cell in row)


def test_every_site_of_the_screening_is_told(written, given_report):
    rows = read(written).tables["screening-table"][1:]
    judged = given_report.screening.sites
    assert [row[0] for row in rows] == list(judged["site"])
    told = {row[0]: row[8] if row[1] == "rejected" else f"{row[1]}: {row[8]}" for row in rows if row[1] != "kept"}
    assert {site: why.replace("\xa0%", "%") for site, why in told.items()} == given_report.screening.reasons
    assert {row[1] for row in rows} == {"kept", "rejected", "undetermined"}
    counts = zip(judged["resamples"], judged["failed_resamples"], strict=True)
    assert [row[7] for row in rows] == [f"{failed} of {ok + failed}" if ok + failed else "-" for ok, failed in counts]


def test_residuals_are_those_of_unseen_sites(given_report):
    findings = ReportFindings(given_report)
    rows = given_report.evaluation.predictions.query("strategy == 'site'")
    assert sum(one.scores.n for one in findings.by_range) == len(rows)
    assert [one.name for one in findings.by_climate] == ["B arid", "C temperate"]
    arid = rows[rows["site"].map(given_report.climate) == "BSk"]
    assert findings.by_climate[0].scores == agreement_scores(arid["screened"], arid["observed"])
    assert findings.by_climate[0].quantiles[2] == pytest.approx((arid["screened"] - arid["observed"]).median())
    by_latitude = ReportFindings(replace(given_report, climate={})).by_climate
    assert [one.name for one in by_latitude] == [latitude_band_label(lat) for lat in (20, 30, 40, 50)]
    assert ReportFindings(replace(given_report, climate={}, table=TABLE[["site", "date"]])).by_climate == ()


def test_coverage_is_counted():
    rows = pd.DataFrame({"row": range(300), "site": np.arange(300) % 5, "predicted": np.arange(300) / 600})
    rows["observed"] = rows["predicted"] + np.where(np.arange(300) % 10 == 0, 0.3, 0.05)
    intervals = pd.DataFrame({"row": range(300), "low": rows["predicted"] - 0.1, "high": rows["predicted"] + 0.1})
    found = interval_coverage(rows, intervals)
    assert (found.rows, found.coverage, found.thirds) == (300, 0.9, (0.9, 0.9, 0.9))
    assert found.width == pytest.approx(0.2)
    assert found.score == pytest.approx(0.2 + 20 * 0.1 * 0.2)
    assert found.sites == pytest.approx((0.5 + 0.5 * 0.2, 1.0, 1.0), abs=0.02)
    assert found.sure[0] < 0.9 < found.sure[1]
    with pytest.raises(InputError, match="intervals: found none for the 300 scored rows"):
        interval_coverage(rows, intervals.assign(row=intervals["row"] + 1000))


def test_the_headline_has_the_interval_of_the_table_below_it(written, given_report):
    """One quantity, one number: of the scores of all rows there is one interval on the page and in the files."""
    pooled = ReportFindings(given_report).unseen_site_scores.pooled
    found = json.loads(written["metrics"].read_text(encoding="utf-8"))
    assert found["unseen_sites"]["confidence"] == 0.9
    page = Page(written["report"].read_text(encoding="utf-8"))
    (all_rows,) = (row for row in page.tables["scores-network-at-unseen-sites"] if row[0] == "all")
    for name, digits in (("r", 3), ("rmse", 4), ("ubrmse", 4)):
        low, high = pooled.intervals[name].low, pooled.intervals[name].high
        assert found["headline"]["intervals90"][name] == [low, high]
        assert any(f"({low:.{digits}f} to {high:.{digits}f})" in cell for cell in all_rows)
        assert f"{low:.{digits}f} to {high:.{digits}f}" in page.text
    text = page.text.replace("\u00a0", " ")
    assert "with 90 % intervals in brackets" in text
    assert "95 % interval" not in text


def test_scores_are_given_by_every_class_that_stations_have(given_report, tmp_path):
    """As a validation has them: climate, land cover, elevation and sensing depth."""
    ids = sorted(TABLE["site"].unique())
    station = Station("A", "NET", "A", 0.0, 0.0, ((0.0, 0.05),), Period.parse("2018"), "", "", "")
    sites = {
        id: (replace(station, id=id, climate="Cfa", elevation=100.0 + 500 * (i % 2), land_cover=130), station.depths)
        for i, id in enumerate(ids)
    }
    files = write_model_report(tmp_path, replace(given_report, site_classes=site_classes(sites)))
    found = json.loads(files["metrics"].read_text(encoding="utf-8"))["unseen_sites"]["classes"]
    named = {(one["kind"], one["name"]) for one in found if one["kind"] != "season"}
    assert named == {
        ("climate", "C temperate"), ("land cover", "grassland"), ("elevation", "below 500 m"),
        ("elevation", "500 to 1000 m"), ("sensing depth", "0 to 5 cm"),
    }  # fmt: skip
    page = Page(files["report"].read_text(encoding="utf-8"))
    for kind in ("climate", "land-cover", "elevation", "sensing-depth"):
        assert f"scores-{kind}-at-unseen-sites" in page.tables


def test_skill_stands_in_the_headline_and_what_is_worse_than_its_input_first(given_report, tmp_path):
    skills = skill_of(given_report.evaluation.predictions)
    files = write_model_report(tmp_path, replace(given_report, skill=skills))
    page = Page(files["report"].read_text(encoding="utf-8"))
    first, *lines = page.tables["skill"]
    assert first[:2] == ["held out", "reference"]
    assert len(lines) == len(skills)
    for line, one in zip(lines, skills, strict=True):
        assert line[4:6] == [f"{one.rmse:.4f}", f"{one.reference_rmse:.4f}"]
    assert [line[1] for line in lines if line[0] == "Unseen sites"] == [
        "ERA5-Land", "ERA5-Land, bias-corrected", "Seasonal climatology of the training sites"
    ]  # fmt: skip
    assert {line[0] for line in lines} == {"Unseen sites", "Unseen networks"} & {line[0] for line in lines}
    worse = Skill("site", "input", "swvl1", 100, 9, 0.06, 0.05, 0.2, -0.1, 0.4)
    files = write_model_report(tmp_path, replace(given_report, skill=(worse,)))
    text = Page(files["report"].read_text(encoding="utf-8")).text
    assert text.index("WORSE THAN ITS OWN INPUT") < text.index("At sites that the model has never seen")


def test_metrics_hold_what_the_page_tells(written, given_report):
    found = json.loads(written["metrics"].read_text(encoding="utf-8"))
    assert found["results"] == json.loads(json.dumps(given_report.evaluation.to_dict()))["results"]
    assert found["headline"]["pooled"]["r"] == given_report.evaluation.result("site", "screened").pooled.r
    low, high = found["headline"]["intervals90"]["rmse"]
    assert low < found["headline"]["pooled"]["rmse"] < high
    assert found["diagnostics"]["flagged"] == ["station_no"]
    assert len(found["stations"]) == len(found["screening"]) == 12
    assert found["stations"][3]["lon"] == TABLE.groupby("site")["lon"].first()[found["stations"][3]["site"]]
    assert set(found["residuals"]) == {"by_range", "by_climate"}
    assert found["unit"] == "m3 m-3"


def test_scores_at_unseen_sites_are_those_of_a_validation_of_the_same_rows(written, given_report):
    """One module of figures: the report has what `validate` has, and its pooled scores are the headline."""
    findings = ReportFindings(given_report)
    found = json.loads(written["metrics"].read_text(encoding="utf-8"))["unseen_sites"]
    headline = findings.headline
    for name in ("n", "r", "rmse", "ubrmse", "bias"):
        assert found["all"][name] == pytest.approx(getattr(headline.pooled, name), abs=1e-12)
    assert found["all"]["scored_sites"] == headline.stations
    assert found["all"]["median_rmse"] == pytest.approx(headline.median.rmse, abs=1e-12)
    rows = findings.unseen_site_rows
    for one in found["stations"]:
        part = rows[rows["site"] == one["name"]]
        scores = pair_scores(part["predicted"], part["observed"], part["date"].to_numpy())
        assert (one["rho"], one["mse_corr"]) == pytest.approx((scores.rho, scores.mse_corr))
    assert "GCOS target" in written["report"].read_text(encoding="utf-8")


def test_the_same_report_is_the_same_bytes_here_and_in_another_process(written, given_report, tmp_path):
    again = write_model_report(tmp_path, given_report)
    for key, file in written.items():
        assert file.read_bytes() == again[key].read_bytes()
    code = (
        "import matplotlib, pickle, sys; from pathlib import Path;"
        "from stac_sm.workflows.reporting.page import write_model_report as write;"
        "matplotlib.rcParams['axes.facecolor'] = 'red';"
        "write(Path(sys.argv[2]), pickle.loads(Path(sys.argv[1]).read_bytes()))"
    )
    import pickle

    saved, other = tmp_path / "report.pickle", tmp_path / "other"
    saved.write_bytes(pickle.dumps(given_report))
    other.mkdir()
    subprocess.run([sys.executable, "-c", code, str(saved), str(other)], check=True, cwd=tmp_path)
    for file in written.values():
        assert file.read_bytes() == (other / file.name).read_bytes()
    for text in (file.read_text(encoding="utf-8") for file in written.values()):
        assert str(tmp_path) not in text


def test_names_from_strangers_do_no_harm(given_report, tmp_path):
    evil = '"><script>alert(1)</script>\x00\x1b'
    swap = dict.fromkeys([TABLE["site"][0]], evil)
    evaluation = replace(
        given_report.evaluation,
        predictions=given_report.evaluation.predictions.assign(
            site=given_report.evaluation.predictions["site"].replace(swap)
        ),
        notes={"network": evil},
    )
    table = TABLE.assign(site=TABLE["site"].replace(swap))
    report = replace(given_report, title=evil, evaluation=evaluation, table=table, facts={evil: evil}, notes=(evil,))
    page = read(write_model_report(tmp_path, report))
    assert "script" not in {tag for tag, _ in page.elements}
    assert "alert(1)" in page.text
    assert "\x00" not in page.text


def test_what_is_missing_is_said(tmp_path):
    table = TABLE[(TABLE["date"] < "2019-01-01") & (TABLE["site"] == "N0.s00")][["site", "date", "sm", *FEATURES]]
    evaluation = evaluate(table, hold_outs(table, ("random", "site", "year"), folds=2), fitter)
    files = write_model_report(
        tmp_path, ReportInputs("Small", evaluation, table, diagnose(table, fitter, budget=DiagnosticsBudget.small()))
    )
    page = read(files)
    assert "No score at unseen sites: hold-out by site: found 1 site (N0.s00)" in page.text
    assert "Unseen years: hold-out by year: found 1 year (2018)" in page.text
    assert "No map: the table has no longitude and latitude" in page.text
    assert "coverage-table" not in page.tables
    assert json.loads(files["metrics"].read_text())["headline"] is None


def test_nothing_scored_is_a_page_too(tmp_path):
    table = TABLE.iloc[:1]
    evaluation = evaluate(table, hold_outs(table), fitter)
    page = read(write_model_report(tmp_path, ReportInputs("Nothing", evaluation, table)))
    assert "Nothing could be scored" in page.text
    assert "score-table" not in page.tables


def test_scores_that_are_none_are_dashes(tmp_path):
    table = TABLE[TABLE["site"] < "N0.s10"].groupby("site").head(8).assign(sm=0.2)
    evaluation = evaluate(table, hold_outs(table, ("site",), folds=2), fitter)
    files = write_model_report(tmp_path, ReportInputs("Constant", evaluation, table))
    row, season = read(files).tables["score-table"][1:]
    assert row[4] == row[9] == season[9] == "-"
    assert "nan" not in read(files).text.lower().replace("nano", "")
    assert "NaN" not in files["metrics"].read_text()


def test_strategies_without_stations_of_their_own(given_report):
    assert given_report.strategies == STRATEGIES
    assert given_report.method("site") == "screened"
    assert replace(given_report, trained="unscreened").method("site") == "unscreened"
    assert method_label("swvl1 bias-corrected", given_report.names) == "ERA5-Land, bias-corrected"
    assert method_label(CLIMATOLOGY, given_report.names) == "Seasonal climatology of the training sites"
    assert [strategy_label(one) for one in ("network", "other")] == ["Unseen networks", "other"]


@given(st.text(), st.text())
@example("0%", "")
def test_law_any_text_comes_back_from_the_markup(text, attribute):
    parsed: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            parsed.extend(value or "" for name, value in attrs if name == "data-x")

        def handle_data(self, data):
            parsed.append(data)

    reader = Reader()
    page = html_document("", "", html_element("p", text, data_x=attribute))
    reader.feed(page[page.index("<body>") :])
    reader.close()
    clean = [re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", "\ufffd", one) for one in (attribute, text)]
    assert parsed[0] == clean[0]
    shown, given = (re.sub(r"(?<=\d)[ \u00a0]?%", "%", one) for one in ("".join(parsed[1:]), clean[1]))
    assert shown.strip() == given.strip()  # but for the space before a per cent sign, which is one that does not break


def test_no_sentence_is_said_twice(written):
    """A caveat stands once on a page, and so does any other sentence."""
    for name in ("report", "series"):
        assert said_twice(written[name].read_text(encoding="utf-8")) == []


def test_headings_are_terms_of_the_field(written):
    page = written["report"].read_text("utf-8")
    assert re.findall(r"<h2>(.*?)</h2>", page) == [
        "Scores by hold-out and method",
        "Scores by network, class and station",
        "Predicted against observed soil moisture",
        "Learning curve",
        "R and bias by station",
        "Permutation importance",
        "Residuals by class",
        "Predictors that identify a station (leakage)",
        "Screening by triple collocation",
        "Prediction intervals",
        "Training and evaluation",
    ]
    assert "<strong>Caveats</strong>" in page


def test_columns_of_numbers_stand_right_and_others_left():
    table = html_table("t", ["a", "b", "c"], [["x", "1.5 (0.2 to 3)", "text"], ["y", "-", "2"], ["z", "", ""]])
    classes = [one.get("class") for one in table.iter("td")]
    assert classes == ["number", None] * 3
    assert [one.get("class") for one in table.find(".//thead").iter("th")] == [None, "number", None]


def test_units_have_exponents_and_stay_beside_their_numbers():
    node = html_element("p", "RMSE in m3 m-3: -7 % (-14 % to 20%)", title="m3 m-3", style="width: 9%")
    assert node.text == "RMSE in m³\xa0m⁻³: -7\xa0% (-14\xa0% to 20\xa0%)"
    assert (node.get("title"), node.get("style")) == ("m3 m-3", "width: 9%")
    assert "td { width: 90%; }" in html_document("t", "td { width: 90%; }", node)


def test_ids_and_intervals_of_a_table_are_not_broken_over_lines(tmp_path):
    """On a narrow screen and on paper, beside a long reason."""
    need("Chromium", None if chromium() else "it is not installed")
    rows = [["SIM-COAST.Site-01", "rejected", "0.631 to 0.806", "a long reason " * 20]]
    table = html_table("Triple collocation", ["site", "status", "90 % interval", "why"], rows, id="screening-table")
    file = tmp_path / "page.html"
    file.write_text(html_document("t", page_style(), html_element("main", table)), encoding="utf-8")
    with page("http://127.0.0.1") as tab:
        for width, media in ((800, "screen"), (688, "print")):
            tab.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
            tab.send("Emulation.setEmulatedMedia", media=media)
            tab.open(file.as_uri())
            script = """[...document.querySelectorAll("tbody th, td.number")].map(one => {
                const range = document.createRange();
                range.selectNodeContents(one);
                return range.getClientRects().length;
            })"""
            assert tab.value(script) == [1, 1], media


def test_medians_over_no_site_are_no_table(given_report):
    table = ReportFindings(given_report).unseen_site_scores
    assert [
        one
        for one in score_tables.score_content({"here": table})
        if one.findall(".//table[@id='medians-network-here']")
    ]
    few = replace(table, pooled=replace(table.pooled, scored_sites=0), networks=(), classes={})
    found = list(score_tables.score_content({"here": few}))
    assert [one for one in found if one.findall(".//table[@id='scores-network-here']")]
    assert not [one for one in found if one.findall(".//table[@id='medians-network-here']")]


def test_a_long_table_of_stations_opens_when_it_is_asked_for(given_report, monkeypatch):
    scores = {"at unseen sites": ReportFindings(given_report).unseen_site_scores}
    assert not [one for one in score_tables.score_content(scores) if one.tag == "details"]
    monkeypatch.setattr(score_tables, "_MOST_OPEN", 11)
    (folded,) = (one for one in score_tables.score_content(scores) if one.tag == "details")
    assert folded.find("summary").text == "Scores of 12 stations, at unseen sites"
    assert len(folded.find(".//tbody")) == 12


def test_pages_fit_screens_and_paper(written):
    need("Chromium", None if chromium() else "it is not installed")
    assert layout_faults([written["report"], written["series"]]) == []


def test_a_browser_shows_it_without_a_complaint(written, tmp_path):
    browser = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
    need("Chromium", None if browser else "it is not installed")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--disable-quic", "--enable-logging=stderr",
             f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1060,3000"]  # fmt: skip
    shot = tmp_path / "page.png"
    done = subprocess.run(
        [browser, *flags, f"--screenshot={shot}", written["report"].as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    from PIL import Image

    image = np.asarray(Image.open(shot).convert("L"))
    assert image.shape == (3000, 1060)
    dark = (image < 200).mean(axis=1)
    assert (dark > 0).mean() > 0.4
    assert not math.isnan(dark.mean())


def test_the_coverage_of_the_intervals_is_said():
    from stac_sm.workflows.reporting.findings import interval_coverage

    rows = pd.DataFrame({"row": [0, 1], "site": ["a", "b"], "observed": [0.2, 0.4], "predicted": [0.2, 0.2]})
    ends = pd.DataFrame({"row": [0, 1], "low": [0.1, 0.1], "high": [0.3, 0.3]})
    assert interval_coverage(rows, ends, 0.8).score == pytest.approx(0.2 + 2 / 0.2 * 0.1 / 2)
    assert interval_coverage(rows, ends).score == pytest.approx(0.2 + 2 / 0.1 * 0.1 / 2)


def test_boxes_hold_the_quartiles_of_sites_and_dots_their_figures(given_report, monkeypatch):
    table = ReportFindings(given_report).unseen_site_scores
    monkeypatch.setattr(figures, "figure_png", lambda figure: figure)
    drawn = figures.score_boxes_figure(table.networks)
    left = drawn.axes[0]
    boxes = [patch.get_path().get_extents() for patch in left.patches]
    known = [one.spread["r"] for one in table.networks if one.scored_sites]
    assert [(box.x0, box.x1) for box in boxes] == [pytest.approx((one.q1, one.q3)) for one in known]
    dots = np.concatenate([line.get_xdata() for line in left.lines if line.get_marker() == "o"])
    assert sorted(dots) == pytest.approx(sorted(one.scores.r for one in table.stations if one.scores.n >= LEAST_ROWS))
    assert any(set(line.get_xdata()) == {GCOS_UBRMSE} for line in drawn.axes[1].lines)
    assert figures.score_boxes_figure([]) is None
    climates = table.classes["climate"]
    drawn = figures.score_boxes_figure(climates).axes[2]
    for place, one in enumerate(climates, 1):  # classes have dots, too
        (line,) = (line for line in drawn.lines if line.get_marker() == "o" and set(line.get_ydata()) == {place})
        sites = [each.scores.bias for each in table.stations if given_report.climate[each.name][0] == one.name[0]]
        assert sorted(line.get_xdata()) == pytest.approx(sorted(sites))
