"""Work out every number of a report once, for the page, the figures and ``metrics.json``.

`ReportInputs` is what a report is made from, `ReportFindings` what follows from it: scores with intervals, coverage of
prediction intervals, errors by class. Scores and their intervals are those of `stac_sm.core.scores`, as `validate` has
them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.core.columns import Columns, label_column, require_columns
from stac_sm.core.errors import InputError
from stac_sm.core.metrics import Scores, agreement_scores
from stac_sm.core.scores.groups import CLIMATE, ScoreTable, climate_class, score_groups
from stac_sm.core.scores.resampling import NO_INTERVAL
from stac_sm.model.diagnostics.results import Diagnostics
from stac_sm.model.evaluate import SCREENED, UNSCREENED, Evaluation, StrategyResult, station_scores
from stac_sm.model.skill import CONFIDENCE, Skill
from stac_sm.stations.screening import ScreeningResult
from stac_sm.workflows.reporting.labels import PUBLISHED_SCORES, climate_label, latitude_band_label

NOMINAL_COVERAGE = 0.9
"""Share of observations that intervals are meant to hold, where nothing else is said."""


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """A trained model, its scores and diagnostics.

    What is left out is missing from the page, which says so. The same content gives the same bytes.
    """

    title: str
    """Heading of the page, e.g. ``Model xgb-0123``."""

    evaluation: Evaluation
    """Scores and out-of-fold predictions."""

    table: pd.DataFrame
    """The rows that were evaluated; gives the places of the sites, if it has longitude and latitude."""

    diagnostics: Diagnostics | None = None
    """Learning curve, importance and leak check."""

    screening: ScreeningResult | None = None
    """Triple collocation of the sites."""

    trained: str | None = None
    """``screened`` or ``unscreened``: how the model was trained. If left out, screened where that was scored."""

    climate: Mapping[str, str] = field(default_factory=dict)
    """Koeppen-Geiger class by site, e.g. ``Cfa``; the first letter counts. Without any, latitude takes its place."""

    site_classes: pd.DataFrame | None = None
    """Classes of sites that scores are given by, as `score_groups` takes them; None: those of ``climate``."""

    intervals: pd.DataFrame | None = None
    """Prediction intervals of held-out sites: ``row`` (position in the table), ``low``, ``high``, m3 m-3."""

    coverage: float = NOMINAL_COVERAGE
    """Share of the observations that the intervals are meant to hold."""

    facts: Mapping[str, object] = field(default_factory=dict)
    """What was trained: a name and a value each, shown as they are."""

    notes: tuple[str, ...] = ()
    """Sentences that a reader must know, e.g. that screening was refused."""

    skill: tuple[Skill, ...] = ()
    """Skill of the model at unseen sites and networks, beside what is known without it."""

    names: Mapping[str, str] = field(default_factory=lambda: {"swvl1": "ERA5-Land"})
    """Words for baseline columns."""

    columns: Columns = field(default_factory=Columns)
    """Names of the columns of the table that are no features."""

    def method(self, strategy: str) -> str:
        """Return the way of training that stands for the model under a strategy: its own, where that was scored."""
        scored = {one.method for one in self.evaluation.results if one.strategy == strategy}
        own = self.trained or SCREENED
        return own if own in scored else UNSCREENED

    @property
    def strategies(self) -> tuple[str, ...]:
        """Strategies that were scored, in the order of the evaluation."""
        return tuple(dict.fromkeys(one.strategy for one in self.evaluation.results))

    def rows(self, strategy: str) -> pd.DataFrame:
        """Return the out-of-fold predictions under one strategy; ``predicted`` is that of `method`."""
        predictions = self.evaluation.predictions
        chosen = predictions[predictions["strategy"] == strategy]
        return chosen.assign(predicted=chosen[self.method(strategy)])


ScoreInterval = tuple[float, float]

_RESAMPLES = 1000
_LEVELS = (0.05, 0.95)


def mean_interval(values: NDArray[Any], sites: NDArray[Any], *, seed: int = 0) -> ScoreInterval:
    """Return the 90 % bootstrap interval over sites of a mean over rows.

    Parameters
    ----------
    values
        One value a row.
    sites
        Site of each row.
    seed
        Of the resamples.

    Returns
    -------
    tuple of float
        Lower and upper end; NaN with fewer than two sites.
    """
    by_site = pd.DataFrame({"n": 1.0, "sum": values.astype(float)}).groupby(sites).sum().to_numpy()
    n, total = _resampled(by_site, seed).T
    return _ends(total / n)


def _resampled(by_site: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return sums over sites drawn with replacement; dims (resample, moment), none of a single site."""
    count = len(by_site)
    if count < 2:
        return np.empty((0, by_site.shape[1]))
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), _RESAMPLES)
    return np.asarray(draws @ by_site)


def _ends(drawn: NDArray[np.float64]) -> ScoreInterval:
    """Return 5 and 95 % of the resamples that have the score."""
    sound = drawn[np.isfinite(drawn)]
    low, high = np.quantile(sound, _LEVELS) if sound.size else (math.nan, math.nan)
    return float(low), float(high)


@dataclass(frozen=True)
class IntervalCoverage:
    """Share of the observations that lie inside their intervals, and what intervals of one width would do."""

    rows: int
    """Rows with an interval."""

    coverage: float
    """Share inside, a fraction."""

    thirds: tuple[float, float, float]
    """The same in the driest, middle and wettest third of the prediction."""

    sites: tuple[float, float, float]
    """5, 50 and 95 % of the coverage of single sites."""

    sure: ScoreInterval
    """90 % interval of the coverage, by resampling sites; NaN with a single site."""

    width: float
    """Mean width, m3 m-3."""

    score: float
    """Mean interval score, m3 m-3: width, and what an observation lies outside over half the share that may (20
    times that for 90 %). Less is better."""

    constant_width: float
    """Width of intervals of one width that cover as often, m3 m-3."""

    constant_score: float
    """Their interval score, m3 m-3."""


def interval_coverage(
    rows: pd.DataFrame, intervals: pd.DataFrame, nominal: float = NOMINAL_COVERAGE
) -> IntervalCoverage:
    """Compute the coverage of intervals.

    Parameters
    ----------
    rows
        ``row, site, observed, predicted``, m3 m-3.
    intervals
        ``row, low, high``, m3 m-3; rows without an interval, or with NaN in it, are left out.
    nominal
        Share of the observations that they are meant to hold.

    Returns
    -------
    IntervalCoverage
        Over all rows, by thirds of the prediction, and over sites.

    Raises
    ------
    InputError
        If a column is missing, or no row has an interval.
    """
    require_columns(intervals, ["row", "low", "high"], "coverage")
    joined = rows.merge(intervals[["row", "low", "high"]].dropna(), on="row", validate="one_to_one")
    if joined.empty:
        raise InputError(f"intervals: found none for the {len(rows)} scored rows; `row` is a position in the table")
    predicted, observed, low, high = (joined[name].to_numpy(float) for name in ("predicted", "observed", "low", "high"))
    inside = (observed >= low) & (observed <= high)
    rank = predicted.argsort(kind="stable").argsort(kind="stable") * 3 // len(predicted)
    half = float(np.quantile(np.abs(observed - predicted), inside.mean()))
    by_site = pd.Series(inside).groupby(joined["site"].to_numpy()).mean()
    return IntervalCoverage(
        rows=len(joined),
        coverage=float(inside.mean()),
        thirds=_triple([inside[rank == third].mean() if (rank == third).any() else np.nan for third in range(3)]),
        sites=_triple(by_site.quantile([0.05, 0.5, 0.95])),
        sure=mean_interval(inside, joined["site"].to_numpy()),
        width=float((high - low).mean()),
        score=_interval_score(observed, low, high, nominal),
        constant_width=2 * half,
        constant_score=_interval_score(observed, predicted - half, predicted + half, nominal),
    )


def _interval_score(
    observed: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], nominal: float
) -> float:
    """Compute the mean interval score of Gneiting and Raftery (2007), doi:10.1198/016214506000001437."""
    outside = np.maximum(low - observed, 0) + np.maximum(observed - high, 0)
    return float((high - low + 2 / (1 - nominal) * outside).mean())


def _triple(values: object) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in np.asarray(values))
    return first, second, third


METRICS_FORMAT = 1
"""Version of the layout of ``metrics.json``."""

SITE_STRATEGY = "site"
_HEADLINE = ("r", "rmse", "ubrmse", "bias")
_EDGES = (-math.inf, 0.1, 0.2, 0.3, 0.4, math.inf)


@dataclass(frozen=True)
class ClassResiduals:
    """Errors of one class of rows, prediction minus observation at unseen sites."""

    name: str
    """The class."""

    sites: int
    """Sites that have rows in it."""

    scores: Scores
    """Over its rows."""

    quantiles: tuple[float, float, float, float, float]
    """5, 25, 50, 75 and 95 % of the errors, m3 m-3."""


@dataclass(frozen=True, eq=False)
class ReportFindings:
    """All numbers of a report."""

    report: ReportInputs
    """What they are worked out from."""

    @cached_property
    def headline(self) -> StrategyResult | None:
        """Site-independent scores of the model on all stations; None where no site could be held out."""
        return self._result(SITE_STRATEGY)

    @cached_property
    def intervals(self) -> dict[str, ScoreInterval]:
        """90 % intervals of the headline, by resampling sites; empty without one, NaN with fewer than three sites."""
        if self.headline is None or self.unseen_site_scores is None:
            return {}
        found = self.unseen_site_scores.pooled.intervals
        ends = {name: found.get(name, NO_INTERVAL) for name in _HEADLINE}
        return {name: (one.low, one.high) for name, one in ends.items()}

    @cached_property
    def unseen_site_rows(self) -> pd.DataFrame:
        """Predictions at unseen sites; of the first strategy there is, where no site could be held out."""
        strategies = self.report.strategies
        chosen = SITE_STRATEGY if SITE_STRATEGY in strategies or not strategies else strategies[0]
        return self.report.rows(chosen) if strategies else self.report.evaluation.predictions

    @cached_property
    def stations(self) -> pd.DataFrame:
        """Scores at unseen sites of each station with at least 10 rows.

        Columns ``site, lon, lat, kept, n, r, rmse, ubrmse, bias``; NaN where there is no place.
        """
        found = station_scores(self.unseen_site_rows, "predicted") if self.report.strategies else {}
        names = ["site", "n", "r", "rmse", "ubrmse", "bias"]
        frame = pd.DataFrame([{"site": site, **asdict(one)} for site, one in found.items()], columns=names)
        kept = self.report.evaluation.kept
        frame.insert(1, "kept", frame["site"].isin(kept) if kept is not None else True)
        return frame.merge(self._places, on="site", how="left")

    @cached_property
    def unseen_site_scores(self) -> ScoreTable | None:
        """All scores at unseen sites as `validate` has them; None where nothing could be scored."""
        if not self.report.strategies:
            return None
        rows, table, columns = self.unseen_site_rows, self.report.table, self.report.columns
        named = label_column(table, columns.site)
        networks = dict(zip(named, table[columns.network].astype(str), strict=True)) if columns.network in table else {}
        climate = {site: climate_class(code) for site, code in self.report.climate.items()}
        classes = self.report.site_classes
        if classes is None and climate:
            classes = pd.DataFrame({CLIMATE: climate})
        return score_groups(
            rows[["site", "date", "observed", "predicted"]].assign(
                network=rows["site"].map(networks).fillna("unknown")
            ),
            classes,
            confidence=CONFIDENCE,
        )

    @cached_property
    def by_range(self) -> tuple[ClassResiduals, ...]:
        """Errors by range of the observed soil moisture."""
        rows = self.unseen_site_rows
        if not self.report.strategies:
            return ()
        names = [_range_name(low, high) for low, high in pairwise(_EDGES)]
        ranges = pd.cut(rows["observed"], list(_EDGES), right=False, labels=names)
        return tuple(_residuals(rows, ranges.astype(str), names))

    @cached_property
    def by_climate(self) -> tuple[ClassResiduals, ...]:
        """Errors by climate, or by band of latitude where no climate is known; empty where neither is."""
        rows, groups = self.unseen_site_rows, self._site_class
        if not self.report.strategies or not groups:
            return ()
        classes = rows["site"].map(groups).fillna("unknown")
        return tuple(_residuals(rows, classes, sorted(classes.unique())))

    @property
    def by_climate_is(self) -> str:
        """Name of what the classes of `by_climate` are."""
        return "climate" if self.report.climate else "latitude"

    @cached_property
    def coverage(self) -> IntervalCoverage | None:
        """Coverage of the prediction intervals; None without intervals."""
        if self.report.intervals is None or SITE_STRATEGY not in self.report.strategies:
            return None
        return interval_coverage(self.report.rows(SITE_STRATEGY), self.report.intervals, self.report.coverage)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``metrics.json``; it may hold NaN."""
        report, headline = self.report, self.headline
        return {
            "format": METRICS_FORMAT,
            "title": report.title,
            "unit": "m3 m-3",
            "headline": None if headline is None else asdict(headline) | {"intervals90": _dicts(self.intervals)},
            **report.evaluation.to_dict(),
            "seasonal_climatology": [asdict(one) for one in report.evaluation.climatology_results],
            "anchors_of_other_data": [asdict(anchor) for anchor in PUBLISHED_SCORES],
            "stations": self.stations.to_dict(orient="records"),
            "unseen_sites": None if self.unseen_site_scores is None else self.unseen_site_scores.to_dict(),
            "residuals": {
                "by_range": [asdict(one) for one in self.by_range],
                f"by_{self.by_climate_is}": [asdict(one) for one in self.by_climate],
            },
            "diagnostics": None if report.diagnostics is None else report.diagnostics.to_dict(),
            "coverage": None if self.coverage is None else asdict(self.coverage),
            "skill": [one.to_dict() for one in report.skill],
            "screening": None if report.screening is None else report.screening.sites.to_dict(orient="records"),
            "facts": {name: _plain(value) for name, value in report.facts.items()},
            "report_notes": list(report.notes),
        }

    def _result(self, strategy: str) -> StrategyResult | None:
        """Return the scores of the model under a strategy, on all stations."""
        key = (strategy, self.report.method(strategy), "all")
        results = self.report.evaluation.results
        return next((one for one in results if (one.strategy, one.method, one.scored_on) == key), None)

    @cached_property
    def _places(self) -> pd.DataFrame:
        """Longitude and latitude of every site; NaN where the table has none."""
        table, columns = self.report.table, self.report.columns
        place = {
            role: table[name].astype(float) if name in table else pd.Series(np.nan, table.index)
            for role, name in (("lon", columns.lon), ("lat", columns.lat))
        }
        return pd.DataFrame(place).groupby(label_column(table, columns.site).rename("site")).median().reset_index()

    @property
    def _site_class(self) -> dict[str, str]:
        if self.report.climate:
            return {site: climate_label(code) for site, code in self.report.climate.items()}
        known = self._places.dropna()
        return {site: latitude_band_label(lat) for site, lat in zip(known["site"], known["lat"], strict=True)}


def _range_name(low: float, high: float) -> str:
    if math.isinf(low):
        return f"below {high:.1f}"
    return f"{low:.1f} or more" if math.isinf(high) else f"{low:.1f} to {high:.1f}"


def _residuals(rows: pd.DataFrame, classes: pd.Series[str], names: list[str]) -> Iterator[ClassResiduals]:
    """Yield the errors of every class that has rows."""
    errors = rows["predicted"] - rows["observed"]
    for name in names:
        chosen = (classes == name).to_numpy()
        if chosen.any():
            part = rows[chosen]
            low, lower, middle, upper, high = np.quantile(errors[chosen], [0.05, 0.25, 0.5, 0.75, 0.95])
            quantiles = (float(low), float(lower), float(middle), float(upper), float(high))
            yield ClassResiduals(
                name, part["site"].nunique(), agreement_scores(part["predicted"], part["observed"]), quantiles
            )


def _dicts(intervals: dict[str, ScoreInterval]) -> dict[str, list[float]]:
    return {name: list(interval) for name, interval in intervals.items()}


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
