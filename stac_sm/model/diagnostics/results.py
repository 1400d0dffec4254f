"""What the diagnostics find, and the budget that bounds their work."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from stac_sm.core.metrics import Scores

FLAGGED, WATCHED, CLEAR = "flagged", "watched", "clear"


@dataclass(frozen=True)
class DiagnosticsBudget:
    """How much work diagnostics may be: ``2 * folds + points * draws * folds`` trainings, most of them on few sites,
    and ``2 * folds`` more where a feature is flagged."""

    points: int = 4
    """Points of the learning curve below the largest, each with half the sites of the next."""

    draws: int = 3
    """Draws of sites at each of them."""

    folds: int = 3
    """Folds, of sites and of rows."""

    repeats: int = 3
    """Permutations of each feature in each fold."""

    rows: int = 20_000
    """Most rows; of a longer table every k-th row of a site is taken."""

    @classmethod
    def small(cls) -> DiagnosticsBudget:
        """Return a budget for demonstrations and tests."""
        return cls(points=3, draws=2, folds=2, repeats=2, rows=4_000)


@dataclass(frozen=True)
class CurvePoint:
    """Site-independent scores of training on so many sites."""

    sites: int
    """Sites trained on."""

    scores: tuple[Scores, ...]
    """One per draw of sites, pooled over the sites held out."""


@dataclass(frozen=True)
class PermutationImportance:
    """Permutation importance: RMSE increase where a feature's values are shuffled among the rows held out."""

    feature: str
    """Column of the table."""

    strategy: str
    """``site`` or ``random``: what was held out."""

    increase: float
    """Of the RMSE over all folds, mean of the repeats, m3 m-3. Near 0, or below it, for a feature of no use."""

    folds: tuple[float, ...]
    """The same in each fold alone: its spread."""


@dataclass(frozen=True)
class LeakageCheck:
    """Whether a feature is a name of the site and lets the random score shine, or is the target measured once more."""

    feature: str
    """Column of the table."""

    names_site: float
    """Share of the rows in the later half of each site's record whose site is that of the nearest value in the
    earlier halves; 1 / number of sites for a feature that says nothing of the site."""

    within: float
    """Share of its variance that lies within sites: 0 where it never changes at a site, NaN for a constant."""

    place: str
    """``lon`` or ``lat`` if the feature orders the sites as that does, else empty."""

    random: float
    """Importance under random folds, m3 m-3."""

    site: float
    """Importance at unseen sites, m3 m-3."""

    status: str
    """``flagged``: names the site, alone or with others that hardly change at a site, and helps only where the site is
    known, or follows the target as only a measurement at the same station does; ``watched``: names the site, without
    that harm; ``clear``."""

    near: str = ""
    """How closely the feature follows the target, where it does so as only a copy of it, an earlier value of it or a
    sensor at another depth of the station does; else empty."""


@dataclass(frozen=True)
class StrategyGap:
    """RMSE under random folds and at unseen sites, m3 m-3."""

    random: float
    """Under random folds."""

    site: float
    """At unseen sites."""

    @property
    def width(self) -> float:
        """What knowing the site takes off the error, m3 m-3."""
        return self.site - self.random


@dataclass(frozen=True)
class Diagnostics:
    """What can be said of a way of training beyond its scores. Empty tuples where the notes say why."""

    curve: tuple[CurvePoint, ...]
    """Learning curve, fewest sites first."""

    importance: tuple[PermutationImportance, ...]
    """By feature, for both strategies; the most important at unseen sites first."""

    leaks: tuple[LeakageCheck, ...]
    """By feature; the flagged ones first."""

    gap: StrategyGap | None
    """With all features; None where a strategy was not possible."""

    gap_without: StrategyGap | None
    """With every flagged feature held constant; None where none is flagged."""

    notes: tuple[str, ...]
    """What was not done, or done on part of the rows."""

    @property
    def flagged(self) -> tuple[str, ...]:
        """Features that leak."""
        return tuple(leak.feature for leak in self.leaks if leak.status == FLAGGED)

    def to_dict(self) -> dict[str, Any]:
        """Return all that was found.

        Returns
        -------
        dict
            Ready for JSON but for NaN, which stands where there is no value.
        """
        return asdict(self) | {"flagged": list(self.flagged)}
