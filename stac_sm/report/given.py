"""What a report is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from stac_sm.diagnostics import Diagnostics
from stac_sm.evaluate import SCREENED, UNSCREENED, Evaluation
from stac_sm.screening import Screening
from stac_sm.table import Columns

NOMINAL = 0.9
"""Share of observations that intervals are meant to hold, where nothing else is said."""


@dataclass(frozen=True, eq=False)
class Report:
    """A trained model, and all that is known of how good it is. What is left out is missing from the page, which says
    so. The same content gives the same bytes."""

    title: str
    """Heading of the page, e.g. ``Model xgb-0123``."""

    evaluation: Evaluation
    """Scores and out-of-fold predictions."""

    table: pd.DataFrame
    """The rows that were evaluated; gives the places of the sites, if it has longitude and latitude."""

    diagnostics: Diagnostics | None = None
    """Learning curve, importance and leak check."""

    screening: Screening | None = None
    """Triple collocation of the sites."""

    trained: str | None = None
    """``screened`` or ``unscreened``: how the model was trained. If left out, screened where that was scored."""

    climate: Mapping[str, str] = field(default_factory=dict)
    """Koeppen-Geiger class by site, e.g. ``Cfa``; the first letter counts. Without any, latitude takes its place."""

    intervals: pd.DataFrame | None = None
    """Prediction intervals of held-out sites: ``row`` (position in the table), ``low``, ``high``, m3 m-3."""

    coverage: float = NOMINAL
    """Share of the observations that the intervals are meant to hold."""

    facts: Mapping[str, object] = field(default_factory=dict)
    """What was trained: a name and a value each, shown as they are."""

    notes: tuple[str, ...] = ()
    """Sentences that a reader must know, e.g. that screening was refused."""

    names: Mapping[str, str] = field(default_factory=lambda: {"swvl1": "ERA5-Land"})
    """Words for baseline columns."""

    columns: Columns = field(default_factory=Columns)
    """Names of the columns of the table that are no features."""

    def method(self, strategy: str) -> str:
        """The way of training that stands for the model under a strategy: the model's own, where that was scored."""
        scored = {one.method for one in self.evaluation.results if one.strategy == strategy}
        wanted = self.trained or SCREENED
        return wanted if wanted in scored else UNSCREENED

    @property
    def strategies(self) -> tuple[str, ...]:
        """Strategies that were scored, in the order of the evaluation."""
        return tuple(dict.fromkeys(one.strategy for one in self.evaluation.results))

    def rows(self, strategy: str) -> pd.DataFrame:
        """Out-of-fold predictions under one strategy; ``predicted`` is that of `method`."""
        predictions = self.evaluation.predictions
        chosen = predictions[predictions["strategy"] == strategy]
        return chosen.assign(predicted=chosen[self.method(strategy)])
