"""Findings: every number of a report, worked out once, for the page, the figures and `metrics.json`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from stac_sm.evaluate import Result, station_scores
from stac_sm.metrics import Scores, scores
from stac_sm.report.coverage import Coverage, coverage
from stac_sm.report.given import Report
from stac_sm.report.spread import Interval, site_intervals
from stac_sm.report.words import ANCHORS, climate_name, latitude_name
from stac_sm.table import labels

FORMAT = 1
"""Version of the layout of ``metrics.json``."""

HONEST = "site"
_EDGES = (-math.inf, 0.1, 0.2, 0.3, 0.4, math.inf)


@dataclass(frozen=True)
class Residuals:
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
class Findings:
    """All numbers of a report."""

    report: Report
    """What they are worked out from."""

    @cached_property
    def headline(self) -> Result | None:
        """The site-independent scores of the model on all stations; None where no site could be held out."""
        return self._result(HONEST)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """90 % intervals of the headline, by resampling sites; empty without one, NaN with a single site."""
        return site_intervals(self.honest_rows) if self.headline else {}

    @cached_property
    def honest_rows(self) -> pd.DataFrame:
        """Predictions at unseen sites; of the first strategy there is, where no site could be held out."""
        strategies = self.report.strategies
        chosen = HONEST if HONEST in strategies or not strategies else strategies[0]
        return self.report.rows(chosen) if strategies else self.report.evaluation.predictions

    @cached_property
    def stations(self) -> pd.DataFrame:
        """A row a station with at least 10 rows: ``site, lon, lat, kept, n, r, rmse, ubrmse, bias`` at unseen sites;
        NaN where there is no place."""
        found = station_scores(self.honest_rows, "predicted") if self.report.strategies else {}
        names = ["site", "n", "r", "rmse", "ubrmse", "bias"]
        frame = pd.DataFrame([{"site": site, **asdict(one)} for site, one in found.items()], columns=names)
        kept = self.report.evaluation.kept
        frame.insert(1, "kept", frame["site"].isin(kept) if kept is not None else True)
        return frame.merge(self._places, on="site", how="left")

    @cached_property
    def by_range(self) -> tuple[Residuals, ...]:
        """Errors by range of the observed soil moisture."""
        rows = self.honest_rows
        if not self.report.strategies:
            return ()
        names = [_range_name(low, high) for low, high in pairwise(_EDGES)]
        ranges = pd.cut(rows["observed"], list(_EDGES), right=False, labels=names)
        return tuple(_residuals(rows, ranges.astype(str), names))

    @cached_property
    def by_climate(self) -> tuple[Residuals, ...]:
        """Errors by climate, or by band of latitude where no climate is known; empty where neither is."""
        rows, groups = self.honest_rows, self._site_class
        if not self.report.strategies or not groups:
            return ()
        classes = rows["site"].map(groups).fillna("unknown")
        return tuple(_residuals(rows, classes, sorted(classes.unique())))

    @property
    def by_climate_is(self) -> str:
        """What the classes of `by_climate` are."""
        return "climate" if self.report.climate else "latitude"

    @cached_property
    def coverage(self) -> Coverage | None:
        """How often observations lie inside their intervals; None without intervals."""
        if self.report.intervals is None or HONEST not in self.report.strategies:
            return None
        return coverage(self.report.rows(HONEST), self.report.intervals, self.report.coverage)

    def to_dict(self) -> dict[str, Any]:
        """Content of ``metrics.json``; may hold NaN."""
        report, headline = self.report, self.headline
        return {
            "format": FORMAT,
            "title": report.title,
            "unit": "m3 m-3",
            "headline": None if headline is None else asdict(headline) | {"intervals90": _dicts(self.intervals)},
            **report.evaluation.to_dict(),
            "anchors_of_other_data": [asdict(anchor) for anchor in ANCHORS],
            "stations": self.stations.to_dict(orient="records"),
            "residuals": {
                "by_range": [asdict(one) for one in self.by_range],
                f"by_{self.by_climate_is}": [asdict(one) for one in self.by_climate],
            },
            "diagnostics": None if report.diagnostics is None else report.diagnostics.to_dict(),
            "coverage": None if self.coverage is None else asdict(self.coverage),
            "screening": None if report.screening is None else report.screening.sites.to_dict(orient="records"),
            "facts": {name: _plain(value) for name, value in report.facts.items()},
            "report_notes": list(report.notes),
        }

    def _result(self, strategy: str) -> Result | None:
        """Scores of the model under a strategy, on all stations."""
        wanted = (strategy, self.report.method(strategy), "all")
        results = self.report.evaluation.results
        return next((one for one in results if (one.strategy, one.method, one.scored_on) == wanted), None)

    @cached_property
    def _places(self) -> pd.DataFrame:
        """Longitude and latitude of every site; NaN where the table has none."""
        table, columns = self.report.table, self.report.columns
        place = {
            role: table[name].astype(float) if name in table else pd.Series(np.nan, table.index)
            for role, name in (("lon", columns.lon), ("lat", columns.lat))
        }
        return pd.DataFrame(place).groupby(labels(table, columns.site).rename("site")).median().reset_index()

    @property
    def _site_class(self) -> dict[str, str]:
        if self.report.climate:
            return {site: climate_name(code) for site, code in self.report.climate.items()}
        known = self._places.dropna()
        return {site: latitude_name(lat) for site, lat in zip(known["site"], known["lat"], strict=True)}


def _range_name(low: float, high: float) -> str:
    if math.isinf(low):
        return f"below {high:.1f}"
    return f"{low:.1f} or more" if math.isinf(high) else f"{low:.1f} to {high:.1f}"


def _residuals(rows: pd.DataFrame, classes: pd.Series[str], names: list[str]) -> Iterator[Residuals]:
    """Errors of every class that has rows."""
    errors = rows["predicted"] - rows["observed"]
    for name in names:
        chosen = (classes == name).to_numpy()
        if chosen.any():
            part = rows[chosen]
            low, lower, middle, upper, high = np.quantile(errors[chosen], [0.05, 0.25, 0.5, 0.75, 0.95])
            quantiles = (float(low), float(lower), float(middle), float(upper), float(high))
            yield Residuals(name, part["site"].nunique(), scores(part["predicted"], part["observed"]), quantiles)


def _dicts(intervals: dict[str, Interval]) -> dict[str, list[float]]:
    return {name: list(interval) for name, interval in intervals.items()}


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
