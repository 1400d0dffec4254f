"""How well models of real tables do at sites that they have not seen: `python tests/benchmarks/accuracy.py --json`.

Each fold is what a user does: `train TABLE` on the sites learned from, `evaluate` on the sites held out. All choices
are made inside the sites learned from. Beside the model stand plain XGBoost on the columns as they are and, where
`--old CHECKOUT --store FILE` has stored it once, the model of another commit on the same folds. The differences of
RMSE are paired: their 90 % intervals come from resampling sites. The seeds of the folds were used in choosing nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stac_sm.core.columns import Columns
from stac_sm.core.metrics import agreement_scores
from stac_sm.model.fit import Rounds, learn
from stac_sm.model.holdout import hold_out
from stac_sm.model.tabular.features import TableFeatures
from stac_sm.model.tabular.fit import table_settings, train_table, with_features
from stac_sm.model.user_table import choose_features, clean_table, read_table

DATA = Path(__file__).parents[3] / "shared" / "data"
STORED = Path(__file__).with_name("accuracy_4977fae.json")
DRAWS = 4_000


@dataclass(frozen=True)
class Table:
    """A table, and the numbers of folds of sites by which it is judged."""

    columns: Columns
    read: Callable[[], pd.DataFrame]
    folds: tuple[int, ...]


def scan_table() -> pd.DataFrame:
    """Soil moisture at 2 inches from weather alone, of 40 SCAN stations: one row a station and day."""
    folder, parts = DATA / "scan_daily", []
    names = {
        "precipitation": "Precipitation", "air_temperature": "Air Temperature Average",
        "air_temperature_max": "Air Temperature Maximum", "air_temperature_min": "Air Temperature Minimum",
        "relative_humidity": "Relative Humidity", "radiation": "Solar Radiation",
        "soil_moisture": "Soil Moisture Percent -2in",
    }  # fmt: skip
    valid = {"precipitation": (0, 500), "relative_humidity": (0, 100), "radiation": (0, 1000), "soil_moisture": (0, 60)}
    with zipfile.ZipFile(folder / "scan_daily.zip") as archive:
        for file in sorted(archive.namelist()):
            with archive.open(file) as content:
                raw = pd.read_csv(content)
            part = pd.DataFrame({"station": Path(file).stem, "date": raw["Date"]})
            for name, start in names.items():
                found = [column for column in raw if column.startswith(start)]
                part[name] = raw[found[0]] if found else np.nan
                low, high = valid.get(name, (-60, 60))
                part[name] = part[name].where(part[name].between(low, high))
            parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    places = pd.read_csv(folder / "stations.csv", dtype={"id": str}).set_index("id")
    table["lat"], table["lon"] = table["station"].map(places["lat"]), table["station"].map(places["lon"])
    return table.assign(soil_moisture=table["soil_moisture"] / 100)


SMAP = Columns(target="sm_smap", site="place", time="date")
CONUS = Columns(target="sm_insitu", site="station", time="start")
TABLES = {
    "conus_smap_daily": Table(
        SMAP, lambda: read_table(DATA / "conus_smap_daily/conus_smap_daily.parquet", SMAP.site), (5,)
    ),
    "matchup_conus": Table(
        CONUS, lambda: read_table(DATA / "matchup_conus/matchup_conus_10day.csv", CONUS.site), (5, 15, 8)
    ),
    "scan_daily": Table(Columns(target="soil_moisture", site="station", time="date"), scan_table, (5,)),
}


def best(train: pd.DataFrame, test: pd.DataFrame, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and half widths of `train TABLE` for other sites."""
    made = train_table(train, columns)
    predicted, half = made.model.predict_with_half_width(made.features.build(test))
    return predicted, np.full(len(test), np.nan) if half is None else half


def plain(train: pd.DataFrame, test: pd.DataFrame, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of plain XGBoost, as `train TABLE --plain` trains it on all rows."""
    made = TableFeatures.of(train, columns, choose_features(train, columns).taken, plain=True)
    finished = with_features(train, made.build(train), columns)
    model = learn(finished, made.names, settings=table_settings(plain=True), columns=columns, rounds=Rounds()).model
    return model.predict(made.build(test)), np.full(len(test), np.nan)


MODELS = {"plain": plain, "best": best}


def held_out(name: str, folds: int, seed: int, models: Sequence[str]) -> tuple[pd.DataFrame, dict[str, float]]:
    """Site, observation and what each model says that had not seen the site; seconds of each."""
    table, columns = TABLES[name], TABLES[name].columns
    rows, parts, seconds = clean_table(table.read(), columns).table, [], dict.fromkeys(models, 0.0)
    for fold in hold_out(rows, "site", folds=folds, seed=seed, columns=columns):
        train, test = (rows.iloc[part].reset_index(drop=True) for part in (fold.train, fold.test))
        part = pd.DataFrame({"site": test[columns.site], "observed": test[columns.target]})
        for model in models:
            start = time.perf_counter()
            part[model], half = MODELS[model](train, test, columns)
            seconds[model] += time.perf_counter() - start
            part[f"{model}_half"] = half
        parts.append(part.dropna(subset="observed"))
        print(f"{name}: {fold.name} of seed {seed}, {seconds}", file=sys.stderr, flush=True)
    return pd.concat(parts, ignore_index=True), seconds


def site_sums(rows: pd.DataFrame, model: str) -> dict[str, list[float]]:
    """Number of rows and sum of squared errors of each site: what paired differences are made of."""
    squares = np.square(rows[model] - rows["observed"]).groupby(rows["site"])
    return {str(site): [int(n), float(total)] for site, n, total in zip(squares.size().index, squares.size(),
                                                                       squares.sum(), strict=True)}  # fmt: skip


def paired(one: dict[str, list[float]], other: dict[str, list[float]], seed: int = 0) -> dict[str, Any]:
    """Relative difference of two RMSE and its 90 % interval over sites; below 0: the first is better."""
    sites = sorted(set(one) & set(other))
    n, first, second = (np.array([by[site][i] for site in sites]) for by, i in ((one, 0), (one, 1), (other, 1)))
    draws = np.random.default_rng(seed).multinomial(len(sites), np.full(len(sites), 1 / len(sites)), DRAWS)
    draws = np.concatenate([np.ones((1, len(sites))), draws])
    whole, low, high = (lambda found: (found[0], *np.quantile(found[1:], [0.05, 0.95])))(
        np.sqrt((draws @ first) / (draws @ n)) / np.sqrt((draws @ second) / (draws @ n)) - 1
    )
    return {"relative": round(float(whole), 4), "interval90": [round(float(low), 4), round(float(high), 4)]}


def coverage(rows: pd.DataFrame) -> dict[str, Any]:
    """Coverage of 90 % intervals over all rows and thirds of the prediction, width and interval score beside those of
    the constant width that has the same coverage on these very rows."""
    rows = rows.dropna(subset="best_half")
    error, half = (rows["best"] - rows["observed"]).abs().to_numpy(), rows["best_half"].to_numpy(float)
    inside, third = error <= half, pd.qcut(rows["best"], 3, labels=False, duplicates="drop")
    constant = float(np.quantile(error, inside.mean()))

    def score(width: Any) -> float:
        return round(float(np.mean(2 * width + 20 * np.maximum(error - width, 0))), 4)

    by_site = pd.DataFrame({"n": 1.0, "inside": inside}).groupby(rows["site"].to_numpy()).sum().to_numpy()
    draws = np.random.default_rng(0).multinomial(len(by_site), np.full(len(by_site), 1 / len(by_site)), DRAWS) @ by_site
    ends = np.quantile(draws[:, 1] / draws[:, 0], [0.05, 0.95])
    return {
        "coverage90": round(float(inside.mean()), 4), "interval90": [round(float(end), 4) for end in ends],
        "thirds": [round(float(part), 4) for part in pd.Series(inside).groupby(np.asarray(third)).mean()],
        "width": round(float(2 * half.mean()), 4), "interval_score": score(half),
        "constant_width": round(2 * constant, 4), "constant_interval_score": score(constant),
    }  # fmt: skip


def measure(name: str, folds: int, seeds: Sequence[int], stored: dict[str, Any]) -> dict[str, Any]:
    """Scores, coverage and paired differences of one table and number of folds, for each seed."""
    cuts = []
    for seed in seeds:
        rows, seconds = held_out(name, folds, seed, list(MODELS))
        sums = {model: site_sums(rows, model) for model in MODELS}
        cut: dict[str, Any] = {"seed": seed, "seconds": {model: round(value, 1) for model, value in seconds.items()}}
        for model in MODELS:
            scores = agreement_scores(rows[model], rows["observed"])
            cut[model] = {one: round(getattr(scores, one), 4) for one in ("rmse", "ubrmse", "r")}
        cut["to_plain"] = paired(sums["best"], sums["plain"])
        if old := stored.get(f"{name} {folds} {seed}"):
            n, total = np.sum(old, axis=0)
            cut["old"] = {"rmse": round(float(np.sqrt(total / n)), 4)}
            cut["to_old"] = paired(sums["best"], dict(zip(sorted(sums["best"]), old, strict=True)))
        cuts.append(cut | {"intervals": coverage(rows)})
    return {"table": name, "folds": folds, "cuts": cuts}


OLD_CODE = """
import json, sys, numpy as np, pandas as pd
from pathlib import Path
try:
    from stac_sm.core.columns import Columns
    from stac_sm.model.holdout import hold_out
    from stac_sm.model.tabular.fit import train_table
except ImportError:  # 4977fae
    import importlib
    old = [importlib.import_module("stac_sm." + name) for name in ("holdout", "table", "table_training")]
    hold_out, Columns, train_table = old[0].hold_out, old[1].Columns, old[2].train_table
target, site, time, folds, seed, file = sys.argv[1:]
columns, rows, sums = Columns(target=target, site=site, time=time), pd.read_parquet(file), {}
for fold in hold_out(rows, "site", folds=int(folds), seed=int(seed), columns=columns):
    made, test = train_table(rows.iloc[fold.train], columns), rows.iloc[fold.test]
    error = made.model.predict(made.features.build(test)).astype(float) - test[target]
    for name, one in error.dropna().groupby(test[site]):
        sums[str(name)] = [len(one), round(float(np.square(one).sum()), 6)]
print(json.dumps([sums[name] for name in sorted(sums)]))  # without the names of the sites
"""


def store_old(checkout: Path, file: Path, name: str, folds: int, seeds: Sequence[int]) -> None:
    """Add what the code of another checkout does on the same folds, run by this interpreter, to a file."""
    table, columns = TABLES[name], TABLES[name].columns
    clean = file.with_suffix(f".{os.getpid()}.parquet")
    clean_table(table.read(), columns).table.to_parquet(clean)
    try:
        for seed in seeds:
            given = [columns.target, columns.site, columns.time, str(folds), str(seed), str(clean.resolve())]
            done = subprocess.run(
                [sys.executable, "-c", OLD_CODE, *given], env={**os.environ, "PYTHONPATH": str(checkout.resolve())},
                capture_output=True, text=True, check=True, cwd=checkout,
            )  # fmt: skip
            found = json.loads(file.read_text()) if file.exists() else {}
            found[f"{name} {folds} {seed}"] = json.loads(done.stdout)
            file.write_text(json.dumps(found, sort_keys=True) + "\n")
    finally:
        clean.unlink()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", default=",".join(TABLES), help=f"among {', '.join(TABLES)}")
    parser.add_argument("--folds", type=int, help="of every table; by default 5, and 5, 15 and 8 of matchup_conus")
    parser.add_argument("--seeds", type=int, default=1, help="ways of cutting the folds")
    parser.add_argument("--first", type=int, default=50, help="the first seed")
    parser.add_argument("--old", type=Path, help="a checkout of another commit: store what its models do, and stop")
    parser.add_argument("--store", type=Path, default=STORED, help="sums of squared errors by site of other models")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    stored = json.loads(asked.store.read_text()) if asked.store.exists() else {}
    seeds = range(asked.first, asked.first + asked.seeds)
    for name in asked.tables.split(","):
        for folds in (asked.folds,) if asked.folds else TABLES[name].folds:
            if asked.old:
                store_old(asked.old, asked.store, name, folds, seeds)
                continue
            found = measure(name, folds, seeds, stored)
            print(json.dumps(found) if asked.json else json.dumps(found, indent=2), flush=True)


if __name__ == "__main__":
    main()
