"""What the area of applicability of a tile-day takes beside its prediction: `python tests/benchmarks/applicability.py`.

The tile is made of fields as a recipe has them: some as smooth as a reanalysis, some with noise from pixel to pixel,
all with structure at every scale. Match-ups come from places in another scene. `--scene mixture` asks for pixels that
have nothing to do with their neighbours, half-way between training rows: the worst that can be asked for.

The measures are XGBoost's own `inplace_predict` of the same pixels and our prediction (the forest), in turns with the
area, each on one thread and on two.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import pandas as pd
import xgboost as xgb

from stac_sm.model.applicability import Applicability, fit_applicability, mean_distance, nearest_points
from stac_sm.model.fit import fit
from stac_sm.model.train_settings import TrainSettings
from tests.benchmarks.guard import beside

FEATURES = tuple(f"x{i:02d}" for i in range(13))  # as many as GLASS SM's recipe, with the day of the year
TEXTURES = ((3.5, 0.0), (2.8, 0.05), (2.4, 0.15))  # slope of the power spectrum; noise of single pixels, in deviations
COMMON = 0.7  # share of a field that all have in common: climate and terrain
MIXING = np.random.default_rng(0).normal(size=(len(FEATURES), 3))
SCENES = ("tile", "mixture")
Columns = dict[str, np.ndarray]


def scene(side: int, seed: int) -> Columns:
    """Fields of a square scene, a column each, row after row; standard deviation about 1."""
    rng = np.random.default_rng(seed)
    shared = np.stack([texture(rng, side, 3.2) for _ in range(3)])
    found = {}
    for i, (name, mixing) in enumerate(zip(FEATURES, MIXING, strict=True)):
        slope, noise = TEXTURES[i % len(TEXTURES)]
        common = np.tensordot(mixing / np.linalg.norm(mixing), shared, axes=1)
        field = COMMON * (common + texture(rng, side, slope)) + noise * rng.standard_normal((side, side))
        found[name] = (field + 0.5 * rng.normal()).astype(np.float32).ravel()
    return found


def texture(rng: np.random.Generator, side: int, slope: float) -> np.ndarray:
    """Random field with a power spectrum of this slope; mean 0, standard deviation 1."""
    waves = np.fft.rfft2(rng.standard_normal((side, side)))
    length = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    length[0, 0] = np.inf
    field = np.fft.irfft2(waves * length ** (-slope / 2), (side, side))
    return field / field.std()


def training(rows: int, sites: int = 300, seed: int = 7) -> pd.DataFrame:
    """Match-ups at places of a scene, with some change from day to day, and a target that depends on all features."""
    rng, fields = np.random.default_rng(seed), scene(600, seed)
    place, site = rng.integers(600**2, size=sites), rng.integers(sites, size=rows)
    values = np.column_stack([fields[name][place][site] for name in FEATURES])
    values[:, 1::2] += 0.3 * rng.normal(size=values[:, 1::2].shape)
    table = pd.DataFrame(values.astype(np.float32), columns=list(FEATURES))
    table["sm"] = 0.25 + 0.02 * (values @ np.cos(np.arange(len(FEATURES)))) + 0.02 * rng.normal(size=rows)
    return table.assign(site=site)


def mixture(table: pd.DataFrame, pixels: int, seed: int = 1) -> Columns:
    """Pixels on the way from a training row to a mixture of many, and beyond."""
    rng = np.random.default_rng(seed)
    values = table[list(FEATURES)].to_numpy()
    near = values[rng.integers(len(values), size=pixels)]
    mixed = np.column_stack([column[rng.integers(len(values), size=pixels)] for column in values.T])
    asked = near + rng.uniform(0, 1.2, (pixels, 1)).astype(np.float32) * (mixed - near)
    return dict(zip(FEATURES, asked.T.copy(), strict=True))


def in_turns(works: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Seconds of each, the fastest of some tries in turns: the others were disturbed."""
    seconds = [[] for _ in works]
    for _ in range(repeats):
        for work, took in zip(works, seconds, strict=True):
            start = time.perf_counter()
            work()
            took.append(time.perf_counter() - start)
    return [min(took) for took in seconds]


def shared_out(work: Callable[[Columns], Any], asked: Columns, threads: int) -> None:
    """Work on the pixels on some threads, a stretch of rows each."""
    cuts = np.linspace(0, len(asked[FEATURES[0]]), threads + 1).astype(int)
    parts = [{name: column[a:b] for name, column in asked.items()} for a, b in pairwise(cuts)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, parts))


def agreement(area: Applicability, table: pd.DataFrame, asked: Columns, importance: dict[str, float]) -> float:
    """Share of some pixels that are on the side which the index against all training rows says."""
    rng = np.random.default_rng(5)
    some = rng.permutation(len(asked[FEATURES[0]]))[:4000]
    weight = np.array([importance[name] / max(importance.values()) for name in FEATURES])
    rows, wanted = table[list(FEATURES)].to_numpy(float), np.column_stack([asked[name][some] for name in FEATURES])
    scale = weight / rows.std(axis=0)
    rows, wanted = (((one - rows.mean(axis=0)) * scale).astype(np.float32) for one in (rows, wanted))
    limit = area.threshold * mean_distance(rows[rng.permutation(len(rows))[:2000]])
    outside = area.outside({name: asked[name][some] for name in FEATURES})
    return float(((nearest_points(wanted, rows)[0] > limit) == outside).mean())


def measure(
    *, side: int, trees: int, depth: int, rows: int, scene_of: str = "tile", threads: Sequence[int] = (1,)
) -> dict[str, Any]:
    """Seconds of both on the same pixels, and their ratio."""
    table = training(rows)
    settings = TrainSettings(tune=False, n_estimators=trees, max_depth=depth)
    model = fit(table, FEATURES, settings=settings)
    start = time.perf_counter()
    area = fit_applicability(table, FEATURES, model.importance(), table["site"])
    found = {"seconds_fit": time.perf_counter() - start, "points": len(area.points), "agreement": area.agreement}
    asked = scene(side, 11) if scene_of == "tile" else mixture(table, side**2)
    matrix = np.column_stack([asked[name] for name in FEATURES])
    found |= {"outside": float(area.outside(asked).mean())}
    found |= {"agreement_on_pixels": agreement(area, table, asked, model.importance())}
    booster = xgb.Booster(model_file=bytearray(model.members[0].content))
    model.predict(asked)  # builds the forest
    for count in threads:
        booster.set_param({"nthread": count})
        works = (
            lambda: booster.inplace_predict(matrix),
            lambda count=count: shared_out(model.predict, asked, count),
            lambda count=count: shared_out(area.outside, asked, count),
        )
        xgboost, ours, judged = in_turns(works, 3)
        found |= {f"predict_{count}": xgboost, f"forest_{count}": ours, f"applicability_{count}": judged}
        found |= {f"share_{count}": judged / xgboost, f"share_of_forest_{count}": judged / ours}
    asked_for = {"scene": scene_of, "pixels": side**2, "trees": trees, "depth": depth, "rows": rows}
    return asked_for | {name: round(value, 4) for name, value in found.items()}


def main() -> None:
    """Measure a tile-day and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=1200)
    parser.add_argument("--trees", type=int, default=500)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--scene", choices=SCENES, default="tile")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write the ratio to results.json")
    asked = parser.parse_args()
    found = measure(
        side=asked.side, trees=asked.trees, depth=asked.depth, rows=asked.rows, scene_of=asked.scene, threads=(1, 2)
    )
    ratios = {f"XGBoost's prediction, {n} threads": 1 / found[f"share_{n}"] for n in (1, 2)}
    ratios |= {f"our prediction, {n} threads": 1 / found[f"share_of_forest_{n}"] for n in (1, 2)}
    settings = {key: getattr(asked, key) for key in ("side", "trees", "depth", "rows", "scene")}
    lines = beside("applicability", ratios, settings, keep=asked.save)
    found |= {"machine": platform.machine(), "cores": os.cpu_count(), "beside_the_last": lines}
    print(json.dumps(found) if asked.json else "\n".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
