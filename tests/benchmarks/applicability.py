"""What the area of applicability of a tile-day takes beside its prediction: `python tests/benchmarks/applicability.py`.

Pixels are mixtures of training rows at all distances, so that all points are asked for many of them: on a real tile,
most pixels are near one of the first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from stac_sm.applicability import fit_applicability
from stac_sm.train import TrainSettings, fit

FEATURES = tuple(f"x{i:02d}" for i in range(13))  # as many as GLASS SM's recipe, with the day of the year
REPEATS = 3


def training(rows: int, sites: int = 300, seed: int = 0) -> pd.DataFrame:
    """Match-ups of sites with a climate of their own, and a target that depends on all features."""
    rng = np.random.default_rng(seed)
    site = rng.integers(sites, size=rows)
    values = rng.normal(size=(sites, len(FEATURES)))[site] + 0.5 * rng.normal(size=(rows, len(FEATURES)))
    table = pd.DataFrame(values.astype(np.float32), columns=list(FEATURES))
    table["sm"] = 0.25 + 0.02 * (values @ np.cos(np.arange(len(FEATURES)))) + 0.02 * rng.normal(size=rows)
    table["site"] = site
    return table


def pixels_of(table: pd.DataFrame, pixels: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Pixels on the way from a training row to a mixture of many, and beyond."""
    rng = np.random.default_rng(seed)
    values = table[list(FEATURES)].to_numpy()
    near = values[rng.integers(len(values), size=pixels)]
    mixture = np.column_stack([column[rng.integers(len(values), size=pixels)] for column in values.T])
    asked = near + rng.uniform(0, 1.2, (pixels, 1)).astype(np.float32) * (mixture - near)
    return dict(zip(FEATURES, asked.T.copy(), strict=True))


def best(work: Callable[[], Any]) -> float:
    """Seconds of the fastest of some tries: the others were disturbed."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def measure(*, pixels: int, trees: int, depth: int, rows: int) -> dict[str, Any]:
    """Seconds of both on the same pixels, and their ratio; both on one thread."""
    table = training(rows)
    settings = TrainSettings(n_estimators=trees, max_depth=depth)
    model = fit(table, FEATURES, settings=settings)
    start = time.perf_counter()
    area = fit_applicability(table, FEATURES, model.importance(), table["site"])
    fitted = time.perf_counter() - start
    asked = pixels_of(table, pixels)
    predicted, judged = best(lambda: model.predict(asked)), best(lambda: area.outside(asked))
    return {
        "pixels": pixels,
        "trees": trees,
        "depth": depth,
        "rows": rows,
        "points": len(area.points),
        "agreement": area.agreement,
        "outside": float(area.outside(asked).mean()),
        "seconds_fit": round(fitted, 2),
        "seconds_predict": round(predicted, 3),
        "seconds_applicability": round(judged, 3),
        "share": round(judged / predicted, 4),
    }


def main() -> None:
    """Measure a tile-day and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pixels", type=int, default=1200 * 1200)
    parser.add_argument("--trees", type=int, default=500)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    asked = vars(parser.parse_args())
    as_json = asked.pop("json")
    found = measure(**asked) | {"machine": platform.machine(), "cores": os.cpu_count()}
    print(json.dumps(found) if as_json else "\n".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
