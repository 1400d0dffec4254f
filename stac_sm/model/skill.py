"""Skill of a model: its error at unseen sites and networks beside that of what is known without it.

The references are the input as it is, the input less its bias, and the seasonal climatology of the training sites. All
are scored on the rows that the model is scored on, by `stac_sm.model.evaluate`. Training writes `skill_of` into the
model's item, and the command line, `plan`, the report and the items of products state these same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stac_sm.core.columns import numeric_column, require_columns
from stac_sm.core.scores.resampling import generator_of, interval_of, site_weights
from stac_sm.model.evaluate import CLIMATOLOGY, CORRECTED, SCREENED, UNSCREENED

SKILL_PROPERTY = "stac_sm:skill"
"""Property of model and product items: what `Skill.to_dict` returns, a list."""

STRATEGIES = ("site", "network")
"""Hold-outs that show the skill of a model at other places."""

_PLACES = {"site": "at unseen sites", "network": "at unseen networks"}
_CONFIDENCE = 0.9
_RESAMPLES = 1000
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


def skill_of(predictions: pd.DataFrame, trained: str = SCREENED) -> tuple[Skill, ...]:
    """Compute the skill of a model at unseen sites and networks against every reference that was scored.

    Parameters
    ----------
    predictions
        Out-of-fold predictions, as `Evaluation.predictions` has them.
    trained
        ``screened`` or ``unscreened``: how the model was trained. Where that was not scored under a strategy, the
        unscreened training stands for it.

    Returns
    -------
    tuple of Skill
        By strategy, then by reference: inputs first. Empty where neither strategy was scored.
    """
    found = []
    for strategy in STRATEGIES:
        rows = predictions[predictions["strategy"] == strategy]
        if rows.empty:
            continue
        method = trained if trained in rows and rows[trained].notna().any() else UNSCREENED
        for reference in _references(rows):
            found.append(_against(rows, strategy, method, reference))
    return tuple(found)


def random_rows_sentence(predictions: pd.DataFrame, trained: str = SCREENED) -> str:
    """Compare the error under random rows with that at unseen sites, on the very rows that both predict.

    Parameters
    ----------
    predictions, trained
        As of `skill_of`.

    Returns
    -------
    str
        What the difference and its 90 % interval over sites say; empty where either strategy was not scored.
    """
    parts = {name: predictions[predictions["strategy"] == name] for name in ("random", "site")}
    if any(rows.empty for rows in parts.values()):
        return ""
    method = trained if all(trained in one and one[trained].notna().any() for one in parts.values()) else UNSCREENED
    random = parts["random"][["row", method]].rename(columns={method: "random"})
    rows = parts["site"].merge(random, on="row")
    found = _against(rows.assign(model=rows["random"]), "random", "model", ("unseen sites", "", method))
    numbers = (
        f"RMSE {found.rmse:.4f} beside {found.reference_rmse:.4f} on the same {found.rows} rows, {found.change:+.0%}"
    )
    interval = f" ({found.low:+.0%} to {found.high:+.0%})" if math.isfinite(found.low) else ""
    if not math.isfinite(found.low) or found.low <= 0 <= found.high:
        meaning = (
            "the two do not differ beyond what resampled sites do, so other days of a site teach no more than others"
        )
    elif found.change < 0:
        meaning = "that is the gain from knowing the site, and no measure of other places"
    else:
        worst = (rows["random"] - rows["observed"]).pow(2).groupby(rows["site"]).sum()
        share = float(worst.max() / worst.sum())
        meaning = (
            "worse than at unseen sites, which more training rows of the same sites do not explain: "
            f"{share:.0%} of the squared error is that of {worst.idxmax()}; look at its rows and at the rounds"
        )
    return f"With random rows held out: {numbers}{interval}: {meaning}.".replace("%", " %")


def with_baselines(predictions: pd.DataFrame, table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return out-of-fold predictions with columns of the table beside them, as they are and less their bias.

    Parameters
    ----------
    predictions
        As of `skill_of`; the folds of a strategy are each other's training rows.
    table
        The table that was scored, whose rows are counted by ``row``.
    names
        Columns in the unit of the target, NaN = missing.

    Returns
    -------
    pandas.DataFrame
        With two more columns a name. The bias is that of the other folds, so held-out rows have no part in it.

    Raises
    ------
    InputError
        If a column is missing or holds no numbers.
    """
    require_columns(table, names, "the comparison with a baseline")
    found = predictions.copy()
    for name in names:
        values = numeric_column(table, name)[found["row"].to_numpy(dtype=int)]
        error = pd.Series(values - found["observed"].to_numpy(dtype=float), index=found.index)
        by_fold = error.groupby([found["strategy"], found["fold"]])
        by_strategy = error.groupby(found["strategy"])
        others = by_strategy.transform("sum") - by_fold.transform("sum")
        count = by_strategy.transform("count") - by_fold.transform("count")
        found[name] = values
        found[name + CORRECTED] = values - (others / count.where(count > 0)).to_numpy()
    return found


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
        As `skill_of` returned them.

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
        As `skill_of` returned them.
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
            rows = f"{some[0].rows} rows of {some[0].sites} sites"
            sentences.append(f"{_PLACES[strategy]} ({rows}): RMSE {f'in {unit}, ' if unit else ''}{told}")
    return sentences


def _beside(one: Skill) -> str:
    """Return the comparison with one reference."""
    interval = f" ({one.low:+.0%} to {one.high:+.0%})" if math.isfinite(one.low) else ""
    change = f"{one.rmse:.4f}, {one.change:+.0%}{interval} beside {one.reference_rmse:.4f} of {one.label}"
    return change.replace("%", " %")


def _references(rows: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return kind, input and column of the references in a table of predictions."""
    keys = {"strategy", "fold", "row", "site", "date", "observed", UNSCREENED, SCREENED, CLIMATOLOGY}
    names = [str(name) for name in rows.columns if name not in keys]
    inputs = [(name.removesuffix(CORRECTED), name) for name in names if rows[name].notna().any()]
    kinds = [("bias-corrected input" if name.endswith(CORRECTED) else "input", of, name) for of, name in inputs]
    return kinds + ([("seasonal climatology", "", CLIMATOLOGY)] if CLIMATOLOGY in rows else [])


def _against(rows: pd.DataFrame, strategy: str, method: str, reference: tuple[str, str, str]) -> Skill:
    kind, name, column = reference
    observed = rows["observed"].to_numpy(dtype=float)
    squares = pd.DataFrame(
        {"n": 1.0, **{by: (rows[by].to_numpy(dtype=float) - observed) ** 2 for by in (method, column)}}
    )
    known = np.isfinite(squares.to_numpy()).all(axis=1)
    by_site = squares[known].groupby(rows["site"].to_numpy()[known]).sum().to_numpy()
    n, ours, theirs = by_site.sum(axis=0)
    drawn = site_weights(len(by_site), _RESAMPLES, generator_of(0, strategy)) @ by_site
    with np.errstate(invalid="ignore", divide="ignore"):
        interval = interval_of(np.sqrt(drawn[:, 1] / drawn[:, 2]) - 1, _CONFIDENCE)
    several = len(by_site) > 1
    return Skill(
        strategy=strategy,
        reference=kind,
        name=name,
        rows=int(n),
        sites=len(by_site),
        rmse=math.sqrt(ours / n),
        reference_rmse=math.sqrt(theirs / n),
        change=math.sqrt(ours / theirs) - 1 if theirs > 0 else math.nan,
        low=interval.low if several else math.nan,
        high=interval.high if several else math.nan,
    )
