"""Score a product or a model per station, per network, over all, and by class of stations and season.

`score_groups` is what `validate` and the report of a model call: the same rows give the same numbers in both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.core.arrays import Float64Array
from stac_sm.core.columns import require_columns
from stac_sm.core.scores.pair import (
    FIGURES,
    GCOS_UBRMSE,
    PairScores,
    PreparedPair,
    figures_of_sums,
    moment_sums,
    prepare_pair,
    resampled_figures,
    weighted_rho,
)
from stac_sm.core.scores.resampling import (
    CONFIDENCE,
    LEAST_SITES,
    NO_INTERVAL,
    RESAMPLES,
    Interval,
    block_weights,
    generator_of,
    interval_of,
    site_weights,
)
from stac_sm.core.scores.series import Scaling, scale_series

LEAST_ROWS = 10
"""Of a station, for scores of its own that enter medians."""

STATION, NETWORK, ALL = "station", "network", "all"
"""Kinds of groups that are always there."""

SEASON, CLIMATE, LAND_COVER, ELEVATION, DEPTH = "season", "climate", "land cover", "elevation", "sensing depth"
"""Kinds of classes."""

SEASONS = ("December to February", "March to May", "June to August", "September to November")
"""Names of the seasons, in the order of the year."""

CLIMATES = {"A": "tropical", "B": "arid", "C": "temperate", "D": "cold", "E": "polar"}
"""First letter of a Koeppen-Geiger code to the name of the main climate."""

_ENTRIES = 1 << 20  # of rows times resamples that are ranked at once, so that memory is bounded
_ELEVATIONS = (500.0, 1000.0, 2000.0)  # m
_LAND_COVERS = (  # codes of the ESA CCI land cover maps up to each, and what they stand for
    (9, ""), (49, "cropland"), (109, "tree cover"), (110, "mosaic of herbs"), (129, "shrubland"), (139, "grassland"),
    (149, "lichens and mosses"), (159, "sparse vegetation"), (189, "flooded vegetation"), (199, "urban"),
    (209, "bare areas"), (219, "water"), (229, "snow and ice"),
)  # fmt: skip


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of a figure over sites; NaN without sites."""

    q1: float
    """A quarter of the sites lies below."""

    median: float
    """Half of the sites lies below."""

    q3: float
    """Three quarters of the sites lie below."""


@dataclass(frozen=True)
class GroupScores:
    """Scores of a group of rows: a station, a network, a class, or all."""

    kind: str
    """What the group is one of: ``station``, ``network``, ``all``, or a kind of class such as ``climate``."""

    name: str
    """Name of the group; empty for all."""

    network: str
    """Network of a station; empty for others."""

    sites: int
    """Sites with a row."""

    scored_sites: int
    """Sites with at least 10 rows: medians and quartiles are over these."""

    scores: PairScores
    """Of all rows at once."""

    intervals: Mapping[str, Interval] = field(default_factory=dict)
    """Figure to the interval of ``scores``: by blocks of days of a station, by sites of other groups."""

    spread: Mapping[str, Spread] = field(default_factory=dict)
    """Figure to its median and quartiles over sites; empty for a station."""

    median_intervals: Mapping[str, Interval] = field(default_factory=dict)
    """Figure to the interval of the median over sites, by resampling sites; empty for a station."""

    within_target: float = math.nan
    """Share of the scored sites whose ubRMSE is below the GCOS target, 0.04 m3 m-3; NaN without sites."""

    site_values: Mapping[str, tuple[float, ...]] = field(default_factory=dict, repr=False)
    """Figure to its values at the scored sites, which ``spread`` is of; empty for a station."""

    @property
    def row(self) -> dict[str, Any]:
        """All numbers in one flat record, for tables and JSON; NaN where there is none."""
        flat: dict[str, Any] = {"kind": self.kind, "name": self.name, "network": self.network, "sites": self.sites}
        flat |= {"scored_sites": self.scored_sites, **vars(self.scores)}
        for name in FIGURES:
            interval = self.intervals.get(name, NO_INTERVAL)
            flat |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
        for name, one in self.spread.items():
            of_median = self.median_intervals.get(name, NO_INTERVAL)
            flat |= {f"median_{name}": one.median, f"q1_{name}": one.q1, f"q3_{name}": one.q3}
            flat |= {f"median_{name}_low": of_median.low, f"median_{name}_high": of_median.high}
        return flat | {"within_target": self.within_target}


@dataclass(frozen=True)
class ScoreTable:
    """Scores of all groups of a table of rows."""

    pooled: GroupScores
    """Of all rows."""

    networks: tuple[GroupScores, ...]
    """Of each network, in the order of their names."""

    stations: tuple[GroupScores, ...]
    """Of each site, in the order of their ids."""

    classes: Mapping[str, tuple[GroupScores, ...]]
    """Kind of class (``season``, ``climate``, ...) to its classes that have rows, in their order."""

    confidence: float = CONFIDENCE
    """Share that the intervals cover."""

    @property
    def groups(self) -> Iterator[GroupScores]:
        """All groups: the whole, networks, classes, stations."""
        yield self.pooled
        yield from self.networks
        for classes in self.classes.values():
            yield from classes
        yield from self.stations

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers.

        Returns
        -------
        dict
            ``all`` (a record), ``networks``, ``classes``, ``stations`` (lists of records as `GroupScores.row` has
            them), ``gcos_ubrmse``, m3 m-3, and ``confidence``, the share that intervals cover.
        """
        return {
            "gcos_ubrmse": GCOS_UBRMSE,
            "confidence": self.confidence,
            "all": self.pooled.row,
            "networks": [one.row for one in self.networks],
            "classes": [one.row for classes in self.classes.values() for one in classes],
            "stations": [one.row for one in self.stations],
        }


def score_groups(
    rows: pd.DataFrame,
    site_classes: pd.DataFrame | None = None,
    *,
    scaling: Scaling = "none",
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> ScoreTable:
    """Score a prediction against observations per station, per network, over all, and by class.

    Parameters
    ----------
    rows
        ``site``, ``network``, ``date`` (datetime64), ``observed`` and ``predicted`` (m3 m-3): a row a site and day.
        Rows in which one of the two is not finite are left out. The order does not matter.
    site_classes
        Classes of sites: the index is the id of a site, each column a kind of class (e.g. `CLIMATE`) with names of
        classes; empty or NaN where it is not known. None: seasons only.
    scaling
        How the prediction of each site is scaled to what was observed there.
    resamples
        Resamples of each interval; 0 for no intervals.
    confidence
        Share that the intervals cover.
    seed
        Seed of the resamples. They depend on it and the ids of the sites only.

    Returns
    -------
    ScoreTable
        The scores.

    Raises
    ------
    InputError
        If a column is missing, or there is no such scaling.
    """
    require_columns(rows, ["site", "network", "date", "observed", "predicted"], "scores")
    sites = [_Site.of(str(site), part, scaling) for site, part in rows.groupby("site", sort=True)]
    sites = [one for one in sites if one.pair.prediction.size]
    draw = _Draws(resamples, confidence, seed)
    networks = sorted({one.network for one in sites})
    classes = {SEASON: tuple(_season_groups(sites, draw))}
    for kind, of_sites in () if site_classes is None else site_classes.items():
        classes[str(kind)] = tuple(_class_groups(sites, str(kind), of_sites, draw))
    return ScoreTable(
        _group(ALL, "", sites, draw),
        tuple(_group(NETWORK, name, [one for one in sites if one.network == name], draw) for name in networks),
        tuple(_station(one, draw) for one in sites),
        {kind: groups for kind, groups in classes.items() if groups},
        confidence,
    )


def spread_of(values: Float64Array) -> Spread:
    """Return median and quartiles of values.

    Parameters
    ----------
    values
        Dims (site); NaN is left out.

    Returns
    -------
    Spread
        NaN without values.
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return Spread(math.nan, math.nan, math.nan)
    q1, median, q3 = np.quantile(known, [0.25, 0.5, 0.75])
    return Spread(float(q1), float(median), float(q3))


def climate_class(code: str) -> str:
    """Return the main climate of a Koeppen-Geiger code.

    Parameters
    ----------
    code
        E.g. ``"Cfa"``.

    Returns
    -------
    str
        E.g. ``"C temperate"``; empty for what is no code.
    """
    first = code[:1]
    return f"{first} {CLIMATES[first]}" if first in CLIMATES else ""


def land_cover_class(code: float) -> str:
    """Return the class of a code of the ESA CCI land cover maps.

    Parameters
    ----------
    code
        From 10 (cropland) to 220 (snow and ice); sub-classes (e.g. 11, 122) belong to their class.

    Returns
    -------
    str
        E.g. ``"grassland"``; empty for what is no code.
    """
    return next((name for most, name in _LAND_COVERS if code <= most), "") if math.isfinite(code) else ""


def elevation_class(metres: float) -> str:
    """Return the class of an elevation.

    Parameters
    ----------
    metres
        Above sea level.

    Returns
    -------
    str
        ``below 500 m``, ``500 to 1000 m``, ``1000 to 2000 m`` or ``above 2000 m``; empty for NaN.
    """
    if not math.isfinite(metres):
        return ""
    low, middle, high = (f"{edge:g}" for edge in _ELEVATIONS)
    names = (f"below {low} m", f"{low} to {middle} m", f"{middle} to {high} m", f"above {high} m")
    return names[int(np.searchsorted(_ELEVATIONS, metres, side="right"))]


def depth_class(depths: Sequence[tuple[float, float]]) -> str:
    """Return the layer that the sensors of a site measure.

    Parameters
    ----------
    depths
        Upper and lower end of each sensor, m.

    Returns
    -------
    str
        E.g. ``"0 to 5 cm"``: from the upper end of the highest to the lower end of the deepest; empty without sensors.
    """
    if not depths:
        return ""
    top, end = min(top for top, _ in depths), max(end for _, end in depths)
    return f"{100 * top:.0f} to {100 * end:.0f} cm" if end > top else f"{100 * end:.0f} cm"


@dataclass(frozen=True)
class _Draws:
    """How intervals are made."""

    resamples: int
    confidence: float
    seed: int


@dataclass(frozen=True, eq=False)
class _Site:
    """Rows of one site."""

    id: str
    network: str
    pair: PreparedPair
    season: NDArray[np.int64]

    @classmethod
    def of(cls, id: str, rows: pd.DataFrame, scaling: Scaling) -> _Site:
        observed = rows["observed"].to_numpy(float)
        predicted = rows["predicted"].to_numpy(float)
        known = np.isfinite(observed) & np.isfinite(predicted)
        rows = rows[known].sort_values("date", kind="stable")
        observed, dates = rows["observed"].to_numpy(float), rows["date"].to_numpy()
        pair = prepare_pair(scale_series(rows["predicted"].to_numpy(float), observed, scaling), observed, dates)
        month = pd.DatetimeIndex(dates).month.to_numpy()
        season = (month % 12 // 3)[: pair.prediction.size]  # a series that cannot be scaled has no row left
        return cls(id, str(rows["network"].iloc[0]) if len(rows) else "", pair, season)

    def part(self, mask: NDArray[np.bool_]) -> _Site:
        return _Site(self.id, self.network, self.pair.rows(mask), self.season[mask])


def _station(site: _Site, draw: _Draws) -> GroupScores:
    n = site.pair.prediction.size
    intervals: dict[str, Interval] = {}
    if draw.resamples and n >= LEAST_ROWS:
        weights = block_weights(n, draw.resamples, generator_of(draw.seed, STATION, site.id))
        found = resampled_figures(site.pair, weights)
        intervals = {name: interval_of(found[name], draw.confidence) for name in FIGURES}
    scores = site.pair.scores
    within = float(scores.ubrmse < GCOS_UBRMSE) if n >= LEAST_ROWS else math.nan
    return GroupScores(STATION, site.id, site.network, 1, int(n >= LEAST_ROWS), scores, intervals, within_target=within)


def _season_groups(sites: Sequence[_Site], draw: _Draws) -> Iterator[GroupScores]:
    for number, name in enumerate(SEASONS):
        parts = [one.part(one.season == number) for one in sites if (one.season == number).any()]
        if parts:
            yield _group(SEASON, name, parts, draw)


def _class_groups(sites: Sequence[_Site], kind: str, classes: pd.Series[Any], draw: _Draws) -> Iterator[GroupScores]:
    known = {str(site): str(name) for site, name in classes.items() if isinstance(name, str) and name}
    for name in dict.fromkeys(sorted(known.values(), key=_in_order)):
        members = [one for one in sites if known.get(one.id) == name]
        if members:
            yield _group(kind, name, members, draw)


def _in_order(name: str) -> tuple[bool, float, str]:
    """Return a key that sorts classes by their first number, where they have one, ``below`` before it."""
    numbers = [float(word) for word in name.split() if word.replace(".", "", 1).isdigit()]
    if not numbers:
        return False, 0.0, name
    return True, numbers[0] + {"below": -0.5, "above": 0.5}.get(name.split()[0], 0.0), name


def _group(kind: str, name: str, sites: Sequence[_Site], draw: _Draws) -> GroupScores:
    """Return the scores of several sites together."""
    whole = _joined(sites)
    each = [one.pair.scores for one in sites if one.pair.prediction.size >= LEAST_ROWS]
    values = {figure: np.array([getattr(one, figure) for one in each], float) for figure in FIGURES}
    intervals, of_medians = _site_intervals(sites, whole, values, draw)
    ubrmse = values["ubrmse"][np.isfinite(values["ubrmse"])]
    return GroupScores(
        kind,
        name,
        "",
        len(sites),
        len(each),
        whole.scores,
        intervals,
        {figure: spread_of(of) for figure, of in values.items()},
        of_medians,
        float((ubrmse < GCOS_UBRMSE).mean()) if ubrmse.size else math.nan,
        {figure: tuple(of.tolist()) for figure, of in values.items()},
    )


def _joined(sites: Sequence[_Site]) -> PreparedPair:
    def join(arrays: Sequence[Float64Array]) -> Float64Array:
        return np.concatenate([np.zeros(0), *arrays])

    pairs = [one.pair for one in sites]
    return PreparedPair(
        join([one.prediction for one in pairs]),
        join([one.observation for one in pairs]),
        (join([one.long_term[0] for one in pairs]), join([one.long_term[1] for one in pairs])),
        (join([one.short_term[0] for one in pairs]), join([one.short_term[1] for one in pairs])),
    )


def _site_intervals(
    sites: Sequence[_Site],
    whole: PreparedPair,
    values: Mapping[str, Float64Array],
    draw: _Draws,
) -> tuple[dict[str, Interval], dict[str, Interval]]:
    """Return intervals of the scores of all rows and of the medians over sites, by resampling sites.

    Resamples depend on the sites alone, so that two groups of the same rows have the same intervals.
    """
    if not draw.resamples or len(sites) < LEAST_SITES:
        return {}, {}
    generator = generator_of(draw.seed, *(one.id for one in sites))
    weights = site_weights(len(sites), draw.resamples, generator)
    found = figures_of_sums(weights @ _sums(sites, lambda pair: (pair.prediction, pair.observation)))
    for key, (r, u) in {"long_term": ("r_long", "ubrmse_long"), "short_term": ("r_short", "ubrmse_short")}.items():
        of_anomalies = figures_of_sums(weights @ _sums(sites, lambda pair, key=key: getattr(pair, key)))
        found |= {r: of_anomalies["r"], u: of_anomalies["ubrmse"]}
    rows = [one.pair.prediction.size for one in sites]
    step = max(1, _ENTRIES // max(1, sum(rows)))
    parts = [weights[start : start + step] for start in range(0, len(weights), step)]
    found["rho"] = np.concatenate(
        [weighted_rho(whole.prediction, whole.observation, np.repeat(one, rows, axis=1)) for one in parts]
    )
    intervals = {figure: interval_of(found[figure], draw.confidence) for figure in FIGURES}
    return intervals, _median_intervals(values, generator, draw)


def _sums(sites: Sequence[_Site], of: Any) -> Float64Array:
    """Return the sums of each site, dims (site, 6)."""
    return np.stack([moment_sums(*of(one.pair)).sum(axis=0) for one in sites])


def _median_intervals(
    values: Mapping[str, Float64Array], generator: np.random.Generator, draw: _Draws
) -> dict[str, Interval]:
    sites = len(next(iter(values.values())))
    if sites < LEAST_SITES:
        return {}
    drawn = generator.integers(sites, size=(draw.resamples, sites))
    found = {}
    for figure, of in values.items():
        some = of[drawn]
        known = np.isfinite(some).any(axis=1)
        medians = np.full(draw.resamples, np.nan)
        medians[known] = np.nanmedian(some[known], axis=1)
        found[figure] = interval_of(medians, draw.confidence)
    return found
