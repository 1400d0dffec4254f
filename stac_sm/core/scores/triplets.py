"""Triple collocation of every triplet of some data sets, with intervals, and dependent errors marked.

Triple collocation asks for three data sets whose errors are independent. A product and one of its inputs, or the
stations that it was trained on, are not; nor are two data sets of which one is made from the other. Such a triplet is
computed and shown apart, and never enters a headline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stac_sm.core.arrays import Float64Array
from stac_sm.core.metrics import Triple, collocation_figures, common_rows, pearson_r, triple_collocation
from stac_sm.core.scores.groups import Spread, spread_of
from stac_sm.core.scores.resampling import (
    CONFIDENCE,
    MOST_DEGENERATE,
    NO_INTERVAL,
    RESAMPLES,
    Interval,
    block_weights,
    generator_of,
    interval_of,
)

LEAST_DAYS = 100
"""Fewest common days of a triplet."""

TRIPLET_FIGURES = ("snr_db", "error_std", "correlation", "beta")
"""Figures of a data set in a triplet that have intervals."""

Dependence = Mapping[frozenset[str], str]
"""Two data sets whose errors are dependent to the reason; a triplet that holds both is dependent."""


@dataclass(frozen=True)
class DataSetErrors:
    """What a triplet says of one of its data sets; NaN where it is refused."""

    name: str
    """The data set."""

    snr_db: float
    """Signal-to-noise ratio, dB."""

    error_std: float
    """Standard deviation of the random error, in the units of the first data set of the triplet."""

    beta: float
    """Factor that scales the data set to the first one."""

    correlation: float
    """Correlation with the unknown truth."""

    intervals: Mapping[str, Interval]
    """Each of `TRIPLET_FIGURES` to its interval, by blocks of days; empty without resamples."""


@dataclass(frozen=True)
class TripletResult:
    """Triple collocation of three data sets at one place."""

    names: tuple[str, str, str]
    """The data sets; errors are in the units of the first."""

    n: int
    """Days on which all three have a value."""

    status: str
    """``"ok"``, or why the triplet was refused."""

    dependent: str
    """Why the errors of the three are not independent; empty if they are."""

    data_sets: tuple[DataSetErrors, DataSetErrors, DataSetErrors]
    """What is found of each."""

    pairwise_r: Triple
    """Pearson correlations of the first and second, first and third, second and third."""

    resamples: int
    """Resamples that intervals are made from; 0 where the triplet was refused."""

    degenerate: int
    """Resamples that allow no triple collocation."""

    @property
    def determined(self) -> bool:
        """Whether the triplet says something.

        It is not refused, at most a fifth of its resamples are degenerate, and each correlation and error lies in its
        interval: the rule that stations are screened by. Without resamples that it is not refused is all that is known.
        """
        if self.status != "ok" or self.degenerate > MOST_DEGENERATE * self.resamples:
            return False
        known = [
            (getattr(one, name), one.intervals[name])
            for one in self.data_sets
            for name in ("correlation", "error_std")
            if one.intervals
        ]
        return all(interval.low <= value <= interval.high for value, interval in known if interval.known)

    @property
    def row(self) -> dict[str, Any]:
        """All numbers in one record, for JSON; NaN where there is none."""
        return {
            "data_sets": list(self.names),
            "n": self.n,
            "status": self.status,
            "dependent": self.dependent,
            "determined": self.determined,
            "resamples": self.resamples,
            "degenerate": self.degenerate,
            "pairwise_r": list(self.pairwise_r),
            "errors": [_record(one) for one in self.data_sets],
        }


@dataclass(frozen=True)
class TripletSummary:
    """One data set in one triplet, over many places."""

    names: tuple[str, str, str]
    """Data sets of the triplet."""

    name: str
    """The data set."""

    dependent: str
    """Why the errors of the three are not independent; empty if they are."""

    places: int
    """Places with the triplet."""

    determined: int
    """Places where it says something: the rest is over these."""

    spread: Mapping[str, Spread]
    """Each of `TRIPLET_FIGURES` to median and quartiles."""

    @property
    def row(self) -> dict[str, Any]:
        """All numbers in one record, for JSON; NaN where there is none."""
        flat: dict[str, Any] = {
            "data_set": self.name,
            "data_sets": list(self.names),
            "dependent": self.dependent,
            "places": self.places,
            "determined": self.determined,
        }
        for figure, one in self.spread.items():
            flat |= {f"median_{figure}": one.median, f"q1_{figure}": one.q1, f"q3_{figure}": one.q3}
        return flat


def collocate_triplets(
    series: Mapping[str, ArrayLike],
    dependence: Dependence | None = None,
    *,
    place: str = "",
    least_days: int = LEAST_DAYS,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> list[TripletResult]:
    """Compute triple collocation for every triplet of some data sets at one place.

    Parameters
    ----------
    series
        Name of each data set to its values, m3 m-3, dims (day) in the order of time; NaN where there is no value. All
        are of the same days. Errors are in the units of the first of a triplet, in the order given.
    dependence
        Which errors are dependent, and why; None: none.
    place
        Name of the place, which the resamples depend on.
    least_days
        A triplet with fewer common days is refused.
    resamples
        Resamples of the intervals, in blocks of days; 0 for no intervals.
    confidence
        Share that the intervals cover.
    seed
        Seed of the resamples.

    Returns
    -------
    list of TripletResult
        In the order of the data sets: none with fewer than three.

    Raises
    ------
    InputError
        If the series are not 1-D or not of one length.

    References
    ----------
    As `stac_sm.core.metrics.triple_collocation`; ``pytesmo.metrics.tcol_metrics(x, y, z, ref_ind=0)``.
    """
    found = []
    for names in combinations(series, 3):
        rows = common_rows(*(series[name] for name in names))
        figures = triple_collocation(*rows, min_n=least_days, names=names)
        draws: dict[str, Float64Array] = {}
        if figures.ok and resamples:
            draws = _resampled(rows, resamples, generator_of(seed, place, *names))
        degenerate = int(np.isnan(draws["correlation"][:, 0]).sum()) if draws else 0
        found.append(
            TripletResult(
                names,
                figures.n,
                figures.status,
                dependence_reasons(names, dependence or {}),
                _three(
                    DataSetErrors(
                        name,
                        figures.snr_db[i],
                        figures.error_std[i],
                        figures.beta[i],
                        figures.correlation[i],
                        {one: interval_of(draws[one][:, i], confidence) for one in TRIPLET_FIGURES} if draws else {},
                    )
                    for i, name in enumerate(names)
                ),
                _three(pearson_r(rows[i], rows[j]) for i, j in ((0, 1), (0, 2), (1, 2))),
                resamples if draws else 0,
                degenerate,
            )
        )
    return found


def summarize_triplets(places: Iterable[Sequence[TripletResult]]) -> list[TripletSummary]:
    """Compute medians and quartiles of each data set in each triplet over places.

    Parameters
    ----------
    places
        The triplets of each place, as `collocate_triplets` gives them.

    Returns
    -------
    list of TripletSummary
        Triplets with independent errors first. One triplet that is dependent at some places only is two.
    """
    by_triplet: dict[tuple[bool, tuple[str, str, str], str], list[TripletResult]] = {}
    for triplets in places:
        for one in triplets:
            by_triplet.setdefault((bool(one.dependent), one.names, one.dependent), []).append(one)
    found = []
    for (_, names, dependent), results in sorted(by_triplet.items(), key=lambda pair: pair[0]):
        sound = [one for one in results if one.determined]
        for i, name in enumerate(names):
            spread = {
                figure: spread_of(np.array([getattr(one.data_sets[i], figure) for one in sound], float))
                for figure in TRIPLET_FIGURES
            }
            found.append(TripletSummary(names, name, dependent, len(results), len(sound), spread))
    return found


def _resampled(rows: Float64Array, resamples: int, generator: np.random.Generator) -> dict[str, Float64Array]:
    """Return the figures of resamples of blocks of days, each with dims (resample, series)."""
    weights = block_weights(rows.shape[1], resamples, generator)
    centred = rows - rows.mean(axis=1, keepdims=True)
    products = (centred[:, None] * centred[None]).reshape(9, -1)
    count = weights.sum(axis=1)[:, None, None]
    means = (weights @ centred.T)[:, :, None] / count
    q = ((weights @ products.T).reshape(-1, 3, 3) - count * means * means.swapaxes(1, 2)) / (count - 1)
    return collocation_figures(q)


def dependence_reasons(names: Sequence[str], dependence: Dependence) -> str:
    """Return why the errors of three data sets are dependent.

    Parameters
    ----------
    names
        The data sets.
    dependence
        Which errors are dependent, and why.

    Returns
    -------
    str
        The reasons; empty if the errors are independent.
    """
    return "; ".join(reason for pair, reason in dependence.items() if pair <= set(names))


def _three(values: Iterable[Any]) -> Any:
    """Return three values as a tuple."""
    x, y, z = values
    return x, y, z


def _record(one: DataSetErrors) -> dict[str, Any]:
    flat: dict[str, Any] = {"data_set": one.name}
    for figure in TRIPLET_FIGURES:
        interval = one.intervals.get(figure, NO_INTERVAL)
        flat |= {figure: getattr(one, figure), f"{figure}_low": interval.low, f"{figure}_high": interval.high}
    return flat
