"""How well models of the real match-up table do where they have not been: `python tests/benchmarks/accuracy.py --json`.

Each fold is what a user does: `train` on the rows learned from, `evaluate` on the rows held out, whose climatology
comes from their own features. All tuning happens inside the rows learned from. 90 stations, so one cut says little: the
mean over several is what counts, and how far they spread is printed beside it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stac_sm.core.columns import Columns
from stac_sm.core.metrics import pearson_r, rmse
from stac_sm.model.holdout import hold_out
from stac_sm.model.tabular.fit import train_table
from stac_sm.model.user_table import read_table

TABLE = Path(__file__).parents[3] / "shared/data/matchup_conus/matchup_conus_10day.csv"
COLUMNS = Columns(target="sm_insitu", site="station", time="start")
STRATEGIES = {"site": 5, "block": 5, "network": 3, "random": 5}
MODELS = {"plain": True, "best": False}
ELSEWHERE = {"USCRN": 28, "TxSON": 5, "ARM": 3}
"""Stations of `shared/data/ismn_conus` that the table does not have: who asks how a model does there wants the networks
in these shares, where the table has 45, 35 and 10."""


def held_out(table: pd.DataFrame, strategy: str, seed: int, folds: int, *, plain: bool) -> pd.DataFrame:
    """What models say that had not seen a row, for rows with a target: ``site, network, observed, predicted, half``."""
    parts = []
    for fold in hold_out(table, strategy, folds=folds, seed=seed, columns=COLUMNS):
        made = train_table(table.iloc[fold.train], COLUMNS, plain=plain, seed=seed)
        test = table.iloc[fold.test]
        values = made.features.build(test)
        predicted, intervals = made.model.predict(values).astype(float), made.model.intervals
        half = intervals.half_width(values, predicted) if intervals else np.full(len(test), np.nan)
        found = {"predicted": predicted, "half": half.astype(float)}
        parts.append(test[["station", "network", "sm_insitu"]].assign(**found))
    rows = pd.concat(parts).rename(columns={"station": "site", "sm_insitu": "observed"})
    return rows[rows["observed"].notna()]


def figures(rows: pd.DataFrame) -> dict[str, float]:
    """Scores of all rows; the errors of the means of sites, and of the departures from them."""
    error = rows["predicted"] - rows["observed"]
    of_site = error.groupby(rows["site"]).transform("mean")
    means = rows.groupby("site")[["predicted", "observed"]].mean()
    uscrn = rows[rows["network"] == "USCRN"]
    votes = rows["network"].map(ELSEWHERE) / rows["network"].map(rows.groupby("network")["site"].nunique())
    return {
        "r": pearson_r(rows["predicted"], rows["observed"]),
        "rmse": rmse(rows["predicted"], rows["observed"]),
        "site_mean_rmse": rmse(means["predicted"], means["observed"]),
        "within_site_rmse": float(np.sqrt(np.mean((error - of_site) ** 2))),
        "coverage90": float((error.abs() <= rows["half"]).mean()),
        "mean_width": float(2 * rows["half"].mean()),
        "r_uscrn": pearson_r(uscrn["predicted"], uscrn["observed"]),
        "rmse_uscrn": rmse(uscrn["predicted"], uscrn["observed"]),
        "r_elsewhere": weighted_r(rows["predicted"], rows["observed"], votes),
        "rmse_elsewhere": float(np.sqrt(np.average(error**2, weights=votes))),
    }


def weighted_r(one: pd.Series, other: pd.Series, votes: pd.Series) -> float:
    """Pearson's correlation, where rows have more or less of a vote."""
    covariance = np.cov(one, other, aweights=votes)
    return float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))


def measure(strategies: Mapping[str, int], models: Sequence[str], seeds: range) -> list[dict[str, Any]]:
    """Mean and spread over seeds of each strategy, by its folds, and model; leaving a network out knows no seed."""
    table, lines = read_table(TABLE, COLUMNS.site), []
    for strategy, folds in strategies.items():
        used = seeds[:1] if strategy == "network" else seeds
        for model in models:
            start = time.perf_counter()
            rows = (held_out(table, strategy, seed, folds, plain=MODELS[model]) for seed in used)
            found = pd.DataFrame(map(figures, rows))
            spread = {f"{name}_spread": float(found[name].std()) if len(used) > 1 else None for name in ("r", "rmse")}
            took = {"seconds": round(time.perf_counter() - start, 1)}
            asked = {"strategy": strategy, "folds": folds, "model": model, "seeds": list(used)}
            lines.append({**asked, **found.mean(), **spread, **took})
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strategies", default=",".join(STRATEGIES), help=f"among {', '.join(STRATEGIES)}")
    parser.add_argument("--models", default=",".join(MODELS), help="plain, best")
    parser.add_argument("--folds", type=int, help="of every strategy: with more, each learns from more stations")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    strategies = {name: asked.folds or STRATEGIES[name] for name in asked.strategies.split(",")}
    lines = measure(strategies, asked.models.split(","), range(asked.first, asked.first + asked.seeds))
    print(json.dumps(lines, indent=2) if asked.json else pd.DataFrame(lines).round(4).to_string(index=False))


if __name__ == "__main__":
    main()
