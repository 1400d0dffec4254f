"""Forests beside XGBoost's own prediction: `python tests/benchmarks/forest.py --json`.

Fields are power-law noise as in 1 km products (smooth: exponents of 2.2 to 3.2 and a little white noise; rough: half
of it of exponent 1.2, and a fifth white noise), rounded to steps, with gaps. Both read the same wanted pixels in
memory; ranking is included, and all values are compared bit by bit. XGBoost gets the better of C and F order.
`--machine avx2` or `any` compiles for a lesser machine than this one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import xgboost as xgb

from stac_sm.model.booster import WeightedBooster
from stac_sm.model.forest.forest import Forest
from stac_sm.model.predict import pixels_by_block
from tests.benchmarks.guard import beside

FEATURES = tuple(f"f{i}" for i in range(20))
MODELS = {"300 x 6": (300, 6), "500 x 8": (500, 8), "1000 x 10": (1000, 10)}
SIDE = 1200
HASWELL = "+avx,+avx2,+bmi,+bmi2,+fma,+popcnt,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+lzcnt,+movbe,+f16c,+cx16"
MACHINES = {
    "this": {},
    "avx2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": HASWELL},
    "any": {"NUMBA_CPU_NAME": "generic"},
}
CACHE = Path(tempfile.gettempdir(), "stac-sm-benchmark-forest")


def power_law(rng: np.random.Generator, side: int, exponent: float) -> np.ndarray:
    """Field whose power falls with the wave number; mean 0, standard deviation 1."""
    frequency = np.fft.fftfreq(side)
    number = np.hypot(frequency[:, None], frequency[None, :])
    number[0, 0] = 1
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) * number ** (-exponent / 2)).real
    return (field - field.mean()) / field.std()


def fields(seed: int, *, rough: bool = False, side: int = SIDE) -> np.ndarray:
    """Fields of all features, float32, dims (feature, y, x); the sixth has 10 km pixels, the fourth has gaps (NaN)."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(len(FEATURES)):
        field = power_law(rng, side, rng.uniform(2.2, 3.2))
        if i == 5:
            field = np.kron(power_law(rng, side // 10, 2.6), np.ones((10, 10)))
        field += 0.01 * rng.normal(size=field.shape)
        if rough:
            field = 0.5 * field + 0.5 * power_law(rng, side, 1.2) + 0.2 * rng.normal(size=field.shape)
        found.append(np.round(field / 0.003) * 0.003)
    found[3][power_law(rng, side, 2.5) > 1.5] = np.nan
    return np.stack(found).astype(np.float32)


def trained(trees: int, depth: int) -> WeightedBooster:
    """Booster trained on pixels of other fields; kept in a temporary folder."""
    file = CACHE / f"{trees}x{depth}.ubj"
    if not file.exists():
        rng = np.random.default_rng(9)
        parts = [fields(100 + i, side=600).reshape(len(FEATURES), -1) for i in range(6)]
        values = np.concatenate([part[:, rng.choice(part.shape[1], 50_000, replace=False)] for part in parts], axis=1).T
        values, x = values.copy(), np.nan_to_num(values)
        target = np.tanh(x[:, 0] + 0.5 * x[:, 1] * x[:, 2]) + np.sin(x[:, 3]) + 0.3 * x[:, 4] * x[:, 5]
        target += 0.2 * x[:, 6:] @ np.cos(np.arange(14)) + 0.3 * np.abs(x[:, 7]) + 0.2 * rng.normal(size=len(x))
        settings = {"max_depth": depth, "eta": 0.05, "nthread": 2, "subsample": 0.8, "colsample_bytree": 0.8}
        data = xgb.QuantileDMatrix(values, target, max_bin=256, feature_names=list(FEATURES))
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes(xgb.train(settings, data, trees).save_raw("ubj")))
    return WeightedBooster(1.0, FEATURES, file.read_bytes())


def rows_of(kind: str, count: int) -> dict[str, np.ndarray]:
    """Wanted pixels, as `predict_block` takes them: about three quarters of a field, block by block."""
    rng = np.random.default_rng(5)
    found = fields(1, rough=kind == "rough")
    pixels = pixels_by_block(power_law(rng, SIDE, 2.5) < 0.6)
    if kind == "shuffled":
        pixels = rng.permutation(pixels)
    first = (len(pixels) - count) // 2
    flat = found.reshape(len(FEATURES), -1)[:, pixels[first : first + count]]
    return dict(zip(FEATURES, np.ascontiguousarray(flat), strict=True))


def seconds(work: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def halves(predict: Callable[[dict[str, np.ndarray]], Any], rows: dict[str, np.ndarray]) -> None:
    """Predict two halves of the rows in two threads."""
    middle = len(rows[FEATURES[0]]) // 2
    parts = [{name: part[cut] for name, part in rows.items()} for cut in (slice(middle), slice(middle, None))]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(predict, parts))


def measure(name: str, kind: str, *, repeats: int, count: int) -> dict[str, Any]:
    """Medians of interleaved runs, us a row, and their ratios."""
    member = trained(*MODELS[name])
    trees = member.trained.flat_trees()
    one, pair = Forest.of([member], [trees]), Forest.of([member, member], [trees, trees])
    rows, booster = rows_of(kind, count), member.trained.booster
    few = count // 8  # XGBoost takes as long for each row, however many there are
    by_row = np.stack([rows[feature][:few] for feature in FEATURES], axis=1)
    by_column = np.asfortranarray(by_row)

    def xgboost(values: np.ndarray, threads: int) -> None:
        booster.set_param({"nthread": threads})
        booster.inplace_predict(values)

    works = {
        "xgboost_c": (lambda: xgboost(by_row, 1), few),
        "xgboost_f": (lambda: xgboost(by_column, 1), few),
        "xgboost_2_threads": (lambda: xgboost(by_row, 2), few),
        "forest": (lambda: one.predict(rows), count),
        "forest_2_threads": (lambda: halves(one.predict, rows), count),
        "pair": (lambda: pair.predict(rows), count),
    }
    runs: dict[str, list[float]] = {key: [] for key in works}
    one.predict({feature: part[:2000] for feature, part in rows.items()})  # compiles, or reads what was compiled
    for _ in range(repeats):
        for key, (work, size) in works.items():
            runs[key].append(seconds(work) / size * 1e6)
    took = {key: statistics.median(values) for key, values in runs.items()}
    best = min(took["xgboost_c"], took["xgboost_f"])
    return {
        "model": name,
        "fields": kind,
        "rows": count,
        "us_per_row": {key: round(value, 3) for key, value in took.items()},
        "times_xgboost": round(best / took["forest"], 1),
        "times_xgboost_2_threads": round(took["xgboost_2_threads"] / took["forest_2_threads"], 1),
        "2_threads_over_1": round(took["forest"] / took["forest_2_threads"], 2),
        "pair_over_one": round(took["pair"] / took["forest"], 2),
        "bit_equal": bool(np.array_equal(one.predict(rows)[0][:few], booster.inplace_predict(by_row))),
    }


def processor() -> str:
    """Name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=["500 x 8"])
    parser.add_argument(
        "--fields", nargs="+", choices=["smooth", "rough", "shuffled"], default=["smooth", "rough", "shuffled"]
    )
    parser.add_argument("--machine", choices=list(MACHINES), default="this")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=262_144)
    parser.add_argument("--save", action="store_true", help="write the ratios to results.json")
    given = parser.parse_args()
    if not MACHINES[given.machine].items() <= os.environ.items():  # Numba reads them when it is imported
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | MACHINES[given.machine])
    from stac_sm.model.forest import simd

    found = [
        measure(name, kind, repeats=given.repeats, count=given.rows) for name in given.models for kind in given.fields
    ]
    context = {
        "processor": processor(), "cores": os.cpu_count(), "machine": given.machine, "vector_bytes": simd.VECTOR_BYTES,
        "xgboost": xgb.__version__, "repeats": given.repeats,
    }  # fmt: skip
    name = "forest" if given.machine == "this" else f"forest {given.machine}"
    ratios = {f"{one['model']} {one['fields']}": one["times_xgboost"] for one in found}
    lines = beside(name, ratios, {"rows": given.rows, "repeats": given.repeats}, keep=given.save)
    if given.json:
        print(json.dumps({"context": context, "results": found, "beside_the_last": lines}, indent=1))
        return
    print(", ".join(f"{key} {value}" for key, value in context.items()))
    for one in found:
        two = f"2 threads {one['2_threads_over_1']:.2f}, pair {one['pair_over_one']:.2f}"
        print(f"{one['model']:>9} {one['fields']:9} {one['times_xgboost']:5.1f} x XGBoost; {two}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
