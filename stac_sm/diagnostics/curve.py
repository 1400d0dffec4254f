"""Learning curve: what more stations would bring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from stac_sm.diagnostics.heldout import HeldOut, Values, generator
from stac_sm.diagnostics.records import Budget, CurvePoint
from stac_sm.errors import StacSmError
from stac_sm.evaluate import Fitter
from stac_sm.metrics import scores
from stac_sm.table import Columns, labels

_FEWEST_SITES = 3


def learning_curve(
    cut: HeldOut, fitter: Fitter, seed: int, columns: Columns, budget: Budget, notes: list[str]
) -> Iterator[CurvePoint]:
    """Site-independent scores of ever more sites."""
    observed = np.concatenate(cut.observed())
    sites = [sorted(labels(train, columns.site).unique()) for train in cut.trains]
    largest = min(map(len, sites))
    sizes = sorted({largest >> k for k in range(1, budget.points + 1) if largest >> k >= _FEWEST_SITES})
    for size in sizes:
        try:
            drawn = [_drawn(cut, fitter, sites, size, draw, seed, columns) for draw in range(budget.draws)]
        except StacSmError as error:
            notes.append(f"no learning curve at {size} sites: {error}")
            continue
        yield CurvePoint(size, tuple(scores(one, observed) for one in drawn))
    yield CurvePoint(largest, (scores(np.concatenate(cut.predicted()), observed),))


def _drawn(
    cut: HeldOut,
    fitter: Fitter,
    sites: Sequence[Sequence[str]],
    size: int,
    draw: int,
    seed: int,
    columns: Columns,
) -> Values:
    """Predictions of all folds by models of so many sites; a larger draw holds the smaller one."""
    parts = []
    for i, (train, test) in enumerate(zip(cut.trains, cut.tests, strict=True)):
        chosen = generator(seed, "sites", draw, i).permutation(np.array(sites[i]))[:size]
        parts.append(fitter(train[labels(train, columns.site).isin(chosen)]).predict(test).astype(float))
    return np.concatenate(parts)
