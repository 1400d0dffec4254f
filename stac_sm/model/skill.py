"""Skill of a model: its error at unseen sites and networks beside that of what is known without it.

The references are the input as it is, the input less its bias, and the seasonal climatology of the training sites. All
are scored on the rows that the model is scored on: `skill_scores` computes it. Training writes it into the model's
item, and the command line, `plan`, the report and the items of products state these same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SKILL_PROPERTY = "stac_sm:skill"
"""Property of model and product items: what `Skill.to_dict` returns, a list."""

STRATEGIES = ("site", "network")
"""Hold-outs that show the skill of a model at other places."""

CONFIDENCE = 0.9
"""Share that the intervals of changes cover."""

_PLACES = {"site": "at unseen sites", "network": "at unseen networks"}
_DECIMALS = 6


@dataclass(frozen=True)
class Skill:
    """Error of a model beside that of one reference, on the same rows."""

    strategy: str
    """``site`` or ``network``: what the model had not seen."""

    reference: str
    """``input``, ``bias-corrected input`` or ``seasonal climatology``."""

    name: str
    """Column of the input, empty for the climatology."""

    rows: int
    """Rows that both are scored on."""

    sites: int
    """Sites of these rows."""

    rmse: float
    """RMSE of the model, m3 m-3."""

    reference_rmse: float
    """RMSE of the reference, m3 m-3."""

    change: float
    """RMSE of the model less that of the reference, as a share of the latter: negative where the model is better."""

    low: float
    """Lower end of the 90 % interval of ``change``, by resampling sites; NaN where there are too few."""

    high: float
    """Upper end of it."""

    @property
    def worse(self) -> bool:
        """Whether the model is worse than the reference."""
        return self.change > 0

    @property
    def label(self) -> str:
        """Name of the reference for a reader."""
        if not self.name:
            return f"the {self.reference} of the training sites"
        return f"its own input {self.name}" + (", bias-corrected" if self.reference.startswith("bias") else "")

    def to_dict(self) -> dict[str, Any]:
        """Return the figures.

        Returns
        -------
        dict
            JSON-able; without the ends of an interval that there is none of.
        """
        numbers = {"rmse": self.rmse, "reference_rmse": self.reference_rmse, "change": self.change}
        ends = {"change_low": self.low, "change_high": self.high}
        return {
            "strategy": self.strategy, "reference": self.reference, **({"name": self.name} if self.name else {}),
            "rows": self.rows, "sites": self.sites, **{name: round(one, _DECIMALS) for name, one in numbers.items()},
            **{name: round(one, _DECIMALS) for name, one in ends.items() if math.isfinite(one)},
        }  # fmt: skip

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Skill:
        """Read what `to_dict` has written.

        Parameters
        ----------
        content
            JSON of one skill.

        Returns
        -------
        Skill
            The same figures; NaN for an interval that there is none of.
        """
        return cls(
            strategy=str(content["strategy"]),
            reference=str(content["reference"]),
            name=str(content.get("name", "")),
            rows=int(content["rows"]),
            sites=int(content["sites"]),
            rmse=float(content["rmse"]),
            reference_rmse=float(content["reference_rmse"]),
            change=float(content["change"]),
            low=float(content.get("change_low", math.nan)),
            high=float(content.get("change_high", math.nan)),
        )


def read_skill(properties: Mapping[str, Any]) -> tuple[Skill, ...] | None:
    """Read the skill that an item states.

    Parameters
    ----------
    properties
        Properties of the item of a model or product.

    Returns
    -------
    tuple of Skill or None
        None for an item from before skill was stated.
    """
    stated = properties.get(SKILL_PROPERTY)
    return None if stated is None else tuple(Skill.from_dict(one) for one in stated)


def unskilled(skills: Sequence[Skill]) -> tuple[Skill, ...]:
    """Find the inputs, as they are or bias-corrected, that a model is worse than at unseen sites.

    Parameters
    ----------
    skills
        As `skill_scores.skill_of` returned them.

    Returns
    -------
    tuple of Skill
        Those of the strategy ``site`` with an input, the best input first; empty for a model that beats them all.
    """
    inputs = [one for one in skills if one.strategy == "site" and one.name and one.worse]
    return tuple(sorted(inputs, key=lambda one: one.reference_rmse))


def skill_sentences(skills: Sequence[Skill], unit: str = "m3 m-3") -> list[str]:
    """Return what a reader must know of the skill of a model; the first sentence says it if it is worse than an input.

    Parameters
    ----------
    skills
        As `skill_scores.skill_of` returned them.
    unit
        Of the target; empty where it is not known.

    Returns
    -------
    list of str
        A sentence if an input is better, then one for each strategy; empty without skill.
    """
    sentences = []
    if worse := unskilled(skills):
        sentences.append(
            f"WORSE THAN ITS OWN INPUT: at unseen sites RMSE {_beside(worse[0])}; the model adds nothing there"
        )
    for strategy in STRATEGIES:
        some = [one for one in skills if one.strategy == strategy]
        if some:
            told = "; ".join(_beside(one) for one in some)
            rows = f"{some[0].rows:,} rows of {some[0].sites} sites"
            sentences.append(f"{_PLACES[strategy]} ({rows}): RMSE {f'in {unit}, ' if unit else ''}{told}")
    return sentences


def _beside(one: Skill) -> str:
    """Return the comparison with one reference."""
    interval = f" ({CONFIDENCE:.0%} interval {one.low:+.0%} to {one.high:+.0%})" if math.isfinite(one.low) else ""
    change = f"{one.rmse:.4f}, {one.change:+.0%}{interval} beside {one.reference_rmse:.4f} of {one.label}"
    return change.replace("%", " %")
