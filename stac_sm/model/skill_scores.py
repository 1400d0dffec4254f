"""Compute the skill of a model from its out-of-fold predictions, beside what is known without it.

All are scored on the same rows, by `stac_sm.model.evaluate`; training writes the `Skill` of `model.skill` into the
model's item.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from stac_sm.core.columns import numeric_column, require_columns
from stac_sm.core.scores.resampling import generator_of, interval_of, site_weights
from stac_sm.model.evaluate import CLIMATOLOGY, CORRECTED, SCREENED, UNSCREENED
from stac_sm.model.skill import CONFIDENCE, STRATEGIES, Skill

_RESAMPLES = 1000


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
        f"RMSE {found.rmse:.4f} beside {found.reference_rmse:.4f} on the same {found.rows:,} rows, {found.change:+.0%}"
    )
    interval = f" ({CONFIDENCE:.0%} interval {found.low:+.0%} to {found.high:+.0%})" if math.isfinite(found.low) else ""
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
        interval = interval_of(np.sqrt(drawn[:, 1] / drawn[:, 2]) - 1, CONFIDENCE)
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
