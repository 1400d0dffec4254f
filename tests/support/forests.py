"""Boosters small and odd, rows beside their thresholds, and XGBoost's own bits for them."""

from __future__ import annotations

import json

import numpy as np
import xgboost as xgb

from stac_sm.model.booster import WeightedBooster
from stac_sm.model.forest.forest import Forest

EXTREMES = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3.4e38, -3.4e38, 1, 2], np.float32)


def member_of(booster: xgb.Booster, weight: float = 1.0) -> WeightedBooster:
    return WeightedBooster(
        weight, tuple(f"f{i}" for i in range(booster.num_features())), bytes(booster.save_raw("ubj"))
    )


def trained(features: int = 4, rounds: int = 5, rows: int = 600, seed: int = 0, missing: float = 0.1, **parameters):
    rng = np.random.default_rng(seed)
    values = np.round(rng.normal(size=(rows, features)), 2).astype(np.float32)
    target = values.sum(axis=1) + np.sin(3 * values[:, 0]) + 5
    values[rng.random(values.shape) < missing] = np.nan
    settings = {"nthread": 1, "max_depth": 5, "eta": 0.3, "verbosity": 0} | parameters
    return member_of(xgb.train(settings, xgb.DMatrix(values, target), rounds))


def drawn(
    rng: np.random.Generator, features: int, trees: int, nodes: int, pool: np.ndarray, base: float, least: int = 1
) -> WeightedBooster:
    """A booster whose trees nobody would train: any shape, thresholds from a pool, any default direction; each has
    ``least`` to ``nodes`` leaves."""
    content = json.loads(
        bytes(trained(features, rounds=1, max_depth=1, base_score=base).trained.booster.save_raw("json"))
    )
    model = content["learner"]["gradient_booster"]["model"]
    model["trees"] = [any_tree(rng, i, features, int(rng.integers(least, nodes + 1)), pool) for i in range(trees)]
    model["tree_info"], model["iteration_indptr"] = [0] * trees, list(range(trees + 1))
    model["gbtree_model_param"]["num_trees"] = str(trees)
    booster = xgb.Booster()
    booster.load_model(bytearray(json.dumps(content).encode()))
    return member_of(booster)


def any_tree(rng: np.random.Generator, number: int, features: int, splits: int, pool: np.ndarray) -> dict:
    """A tree whose leaves are split at random; the first or the last leaf most often, so that it grows deep."""
    left, right, parent, leaves = [-1], [-1], [2147483647], [0]
    for _ in range(splits - 1):
        node = leaves.pop(int(rng.choice([0, len(leaves) - 1, rng.integers(len(leaves))])))
        left[node], right[node] = len(left), len(left) + 1
        leaves += [left[node], right[node]]
        left, right, parent = [*left, -1, -1], [*right, -1, -1], [*parent, node, node]
    size = len(left)
    values = np.where(np.array(left) >= 0, rng.choice(pool, size), rng.normal(size=size).astype(np.float32))
    return {
        "id": number, "left_children": left, "right_children": right, "parents": parent,
        "split_indices": rng.integers(features, size=size).tolist(), "split_conditions": values.tolist(),
        "default_left": rng.integers(2, size=size).tolist(), "split_type": [0] * size,
        "base_weights": [0.0] * size, "loss_changes": [0.0] * size, "sum_hessian": [1.0] * size,
        "categories": [], "categories_nodes": [], "categories_segments": [], "categories_sizes": [],
        "tree_param": {
            "num_deleted": "0", "num_feature": str(features), "num_nodes": str(size), "size_leaf_vector": "1",
        },
    }  # fmt: skip


def rows_for(
    member: WeightedBooster, rows: int, rng: np.random.Generator, spread: float = 1.0
) -> dict[str, np.ndarray]:
    """Values at, beside and far from the thresholds of a booster; neighbours are alike if the spread is small."""
    trees = member.trained.flat_trees()
    found = {}
    for i, name in enumerate(member.features):
        known = np.unique(np.append(trees.threshold[trees.feature == i], np.float32(0)))
        middle = rng.integers(len(known))
        place = np.clip(middle + rng.normal(0, spread * len(known), rows), 0, len(known) - 1).astype(int)
        with np.errstate(over="ignore"):
            beside = np.nextafter(known[place], rng.choice(np.array([-np.inf, np.inf], np.float32), rows))
        value = np.where(rng.random(rows) < 0.5, known[place], beside)
        odd = rng.random(rows) < rng.choice([0, 0.05, 0.5, 1], p=[0.4, 0.4, 0.1, 0.1])
        found[name] = np.where(odd, rng.choice(EXTREMES, rows), value)
    return found


def bits(values: np.ndarray) -> list[int]:
    return values.view(np.uint32).tolist()


def oracle(member: WeightedBooster, rows: dict[str, np.ndarray]) -> np.ndarray:
    return member.trained.booster.inplace_predict(np.stack([rows[name] for name in member.features], axis=1))


def assert_bit_equal(members: list[WeightedBooster], rows: dict[str, np.ndarray]) -> None:
    found = Forest.of(members, [member.trained.flat_trees() for member in members]).predict(rows)
    for one, member in zip(found, members, strict=True):
        assert bits(one) == bits(oracle(member, rows))
