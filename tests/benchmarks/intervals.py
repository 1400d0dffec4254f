"""How well 90 % intervals hold at stations that nobody has seen: `python tests/benchmarks/intervals.py --splits 10`.

Every split deals the stations into folds; the model and its intervals come from the others alone, as `train TABLE`
makes them, and are judged on the fold. Beside them stands one constant half width a split, with the very same coverage
on the judged rows: it is told the answer, so it is the best that a constant can be. `--plain`: the paper's XGBoost.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stac_sm.core.columns import Columns
from stac_sm.model.holdout import hold_out
from stac_sm.model.tabular.fit import train_table
from stac_sm.model.user_table import read_table

DEFAULT = Path(__file__).parents[3] / "shared" / "data" / "matchup_conus" / "matchup_conus_10day.csv"
COLUMNS = Columns(target="sm_insitu", site="station", time="start")
COVERAGE = 0.9


def judged(table: pd.DataFrame, seed: int, *, plain: bool, columns: Columns = COLUMNS) -> Iterator[pd.DataFrame]:
    """Site, prediction, absolute error and half width of the rows of each fold."""
    for fold in hold_out(table, "site", folds=5, seed=seed, columns=columns):
        made, test = train_table(table.iloc[fold.train], columns, plain=plain, seed=seed), table.iloc[fold.test]
        values = made.features.build(test)
        predicted = made.model.predict(values)
        half = made.model.intervals.half_width(values, predicted)
        found = {"site": test[columns.site], "predicted": predicted, "half": half.astype(float)}
        error = np.abs(test[columns.target] - predicted.astype(float))
        yield pd.DataFrame(found | {"error": error}).dropna(subset="error")


def interval_score(error: np.ndarray, half: np.ndarray | float) -> float:
    """Mean interval score of Gneiting and Raftery (2007)."""
    return float(np.mean(2 * half + 2 / (1 - COVERAGE) * np.maximum(error - half, 0)))


def measure(
    table: pd.DataFrame, *, splits: int, first: int = 0, plain: bool = False, columns: Columns = COLUMNS
) -> dict[str, Any]:
    """Mean coverage, width and interval score over the splits, and those of the constant; how far sites spread."""
    lines, sites = [], []
    for seed in range(first, first + splits):
        rows = pd.concat(judged(table, seed, plain=plain, columns=columns), ignore_index=True)
        held = rows.error <= rows.half
        third = np.digitize(rows.predicted, np.quantile(rows.predicted, [1 / 3, 2 / 3]))
        constant = float(np.quantile(rows.error, held.mean()))
        line = {"coverage": held.mean()} | {f"third_{i + 1}": held[third == i].mean() for i in range(3)}
        line |= {"width": 2 * rows.half.mean(), "score": interval_score(rows.error, rows.half)}
        lines.append(line | {"constant_width": 2 * constant, "constant_score": interval_score(rows.error, constant)})
        sites.append(held.groupby(rows.site).mean())
    found, each = pd.DataFrame(lines), pd.concat(sites)
    spread = {"coverage_of_splits": found.coverage.round(4).tolist(), "coverage_sd": float(found.coverage.std(ddof=0))}
    quantiles = {f"site_coverage_p{q}": float(each.quantile(q / 100)) for q in (5, 10, 25, 50)}
    asked = {"splits": splits, "model": "plain" if plain else "best", "sites": int(each.index.nunique())}
    return asked | found.mean().to_dict() | spread | quantiles


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="seed of the first split")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    table = read_table(DEFAULT, COLUMNS.site)
    found = measure(table, splits=asked.splits, first=asked.first, plain=asked.plain)
    print(json.dumps(found) if asked.json else "\n".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
