"""How long `train TABLE` takes: `python tests/benchmarks/training_time.py --rows 300000 --columns 12 --json`.

The table is made: sites with a constant soil and climate, days of weather, and a target that both decide. Beside the
whole command stands one plain fit of the same columns in the same run, and what training on a share of the days costs:
RMSE at other sites of the same kind by the share, and by `--whole` on all rows.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stac_sm.core.columns import Columns
from stac_sm.model.fit import Rounds, fit, learn
from stac_sm.model.tabular.features import TableFeatures
from stac_sm.model.tabular.fit import table_settings, with_features
from stac_sm.workflows.training.table_scores import evaluate_model
from stac_sm.workflows.training.table_training import train_table_folder

COLUMNS = Columns(target="sm", site="site", time="date")
STILL = 4  # of the columns


def synthetic_table(rows: int, sites: int, columns: int, seed: int) -> pd.DataFrame:
    """Daily weather of sites, and the soil moisture that a leaky bucket makes of it."""
    rng, days = np.random.default_rng(seed), -(-rows // sites)
    dates, parts = pd.date_range("2010-01-01", periods=days), []
    for number in range(sites):
        soil, wet = rng.random(STILL), rng.random()
        weather = rng.standard_normal((days, columns - STILL)).astype(np.float32)
        rain = rng.gamma(0.2, 10 * (0.3 + wet), days)
        weather[:, 0] = rain
        bucket = pd.Series(rain).ewm(halflife=3 + 20 * soil[0]).mean().to_numpy()
        sm = 0.05 + 0.25 * wet * soil[1] + 0.1 * np.tanh(bucket / 5) + 0.02 * rng.standard_normal(days)
        part = pd.DataFrame(weather, columns=[f"weather{i}" for i in range(columns - STILL)])
        still = {f"soil{i}": np.float32(value) for i, value in enumerate(soil)}
        parts.append(part.assign(**still, sm=sm.astype(np.float32), site=f"s{number:05d}", date=dates))
    return pd.concat(parts, ignore_index=True).iloc[:rows]


def measure(rows: int, sites: int, columns: int, *, whole: bool) -> dict[str, Any]:
    """Seconds of the whole command and of one plain fit, peak memory, and errors at other sites."""
    table, others = (synthetic_table(n, s, columns, seed) for seed, n, s in ((0, rows, sites), (1, 40_000, 40)))
    found: dict[str, Any] = {"rows": rows, "columns": columns, "sites": sites}
    with tempfile.TemporaryDirectory() as scratch:
        file, other = Path(scratch, "table.parquet"), Path(scratch, "others.parquet")
        table.to_parquet(file)
        others.to_parquet(other)
        start = time.perf_counter()
        trained = train_table_folder(file, COLUMNS, Path(scratch, "model"), plain=False, log=print)
        found["seconds"] = round(time.perf_counter() - start, 1)
        found["share"] = round(trained.made.learned.fitted_rows / trained.made.learned.rows, 4)
        found["rmse_at_other_sites"] = round(evaluate_model(str(trained.item), other).pooled.rmse, 5)
        found["notes"] = list(trained.made.learned.notes)
    given = [name for name in table if name not in ("sm", "site", "date")]
    start = time.perf_counter()
    fit(table, given, settings=table_settings(plain=True), columns=COLUMNS)
    found["seconds_of_a_plain_fit"] = round(time.perf_counter() - start, 1)
    if whole:
        found["rmse_trained_on_all_rows"] = trained_on_all(table, others, trained.made.learned.rounds)
    found["peak_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    return found


def trained_on_all(table: pd.DataFrame, others: pd.DataFrame, rounds: Rounds) -> float:
    """RMSE at other sites of the same sum, trained on every row."""
    from stac_sm.model import fit as fitting

    made = TableFeatures.of(table, COLUMNS, [name for name in table if name not in ("sm", "site", "date")])
    fitting.FIT_ROWS = len(table)
    finished = with_features(table, made.build(table), COLUMNS)
    model = learn(finished, made.names, columns=COLUMNS, rounds=rounds).model
    error = model.predict(made.build(others)).astype(float) - others["sm"]
    return round(float(np.sqrt(np.mean(error**2))), 5)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=91_000)
    parser.add_argument("--columns", type=int, default=19)
    parser.add_argument("--sites", type=int, default=300)
    parser.add_argument("--whole", action="store_true", help="train on all rows, too, for the effect of the share")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = measure(asked.rows, asked.sites, asked.columns, whole=asked.whole)
    print(json.dumps(found) if asked.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
