"""Forests: the bits of XGBoost, for any model and any input."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.model.booster import WeightedBooster
from stac_sm.model.fit import Rounds, learn
from stac_sm.model.forest import ensemble, kernel_loader
from stac_sm.model.forest.ensemble import Ensemble
from stac_sm.model.forest.forest import Forest
from stac_sm.model.forest.ranks import RankTable
from stac_sm.model.forest.trees import UnsuitableError, parse_ubjson
from tests.support.checkout import ROOT
from tests.support.examples import examples
from tests.support.forests import EXTREMES, assert_bit_equal, bits, drawn, member_of, oracle, rows_for, trained


@given(
    seed=st.integers(0, 2**32 - 1),
    depth=st.integers(0, 9),
    bins=st.sampled_from([2, 16, 256, 1024]),
    base=st.sampled_from([None, 0.0, -0.0, 0.5, -3.7, 1e8]),
    missing=st.sampled_from([0, 0.1, 0.9]),
    parallel=st.integers(1, 2),
    policy=st.sampled_from(["depthwise", "lossguide"]),
    spread=st.sampled_from([0.0, 0.02, 1.0]),
    rows=st.integers(1, 3000),
)
@settings(max_examples=examples(40))
def test_a_trained_booster_gives_the_bits_of_xgboost(seed, depth, bins, base, missing, parallel, policy, spread, rows):
    extra = {} if base is None else {"base_score": base}
    member = trained(
        seed=seed, missing=missing, max_bin=bins, max_depth=depth, num_parallel_tree=parallel, grow_policy=policy,
        tree_method="hist", max_leaves=30 if depth == 0 else 0, **extra,
    )  # fmt: skip
    assert_bit_equal([member], rows_for(member, rows, np.random.default_rng(seed), spread))


@given(
    seed=st.integers(0, 2**32 - 1),
    trees=st.integers(1, 5),
    nodes=st.sampled_from([1, 2, 3, 40, 700]),
    pool=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=400),
    base=st.floats(-1e6, 1e6, width=32),
    spread=st.sampled_from([0.0, 0.05, 1.0]),
)
@settings(max_examples=examples(60))
def test_trees_of_any_shape_give_the_bits_of_xgboost(seed, trees, nodes, pool, base, spread):
    rng = np.random.default_rng(seed)
    member = drawn(rng, 3, trees, nodes, np.array(pool, np.float32), base)
    assert_bit_equal([member], rows_for(member, 2100, rng, spread))


def test_more_thresholds_than_a_byte_holds_and_more_leaves():
    rng = np.random.default_rng(1)
    member = drawn(rng, 2, 4, 3000, rng.normal(size=2500).astype(np.float32), 0.5)
    forest = Forest.of([member], [member.trained.flat_trees()])
    assert max(table.count for table in forest.tables) > 4 * 254
    for spread in (0.05, 0.3, 3.0):
        assert_bit_equal([member], rows_for(member, 5000, rng, spread))


def test_trees_at_the_ends_of_each_table_of_leaves():
    """Tables of leaves are of 8 or 16 values, times 1, 2, 4 or 8; of rows that differ, all leaves are left."""
    rng = np.random.default_rng(11)
    pool = rng.normal(size=200).astype(np.float32)
    for leaves in (8, 9, 16, 17, 32, 33, 64, 65, 127, 128, 129, 255, 256, 257):
        member = drawn(rng, 3, 1, leaves, pool, 0.5, least=leaves)
        assert_bit_equal([member], rows_for(member, 1040, rng, 3.0))


def test_a_forest_of_one_leaf_and_of_missing_values_only():
    stump = drawn(np.random.default_rng(2), 2, 3, 1, np.zeros(1, np.float32), 0.25)
    assert_bit_equal([stump], rows_for(stump, 1500, np.random.default_rng(3)))
    member = trained()
    assert_bit_equal([member], dict.fromkeys(member.features, np.full(1500, np.nan, np.float32)))


def test_slabs_meet():
    member = trained(rounds=2)
    assert_bit_equal([member], rows_for(member, 2 * 65_536 + 1025, np.random.default_rng(5)))


def test_boosters_share_ranks_but_not_sums():
    one, two = trained(seed=1, base_score=0.3), trained(seed=2, base_score=7.0, max_depth=2)
    other = WeightedBooster(1.0, ("f3", "x", "f0", "f1"), two.content)
    rows = rows_for(one, 3000, np.random.default_rng(6)) | {"x": np.linspace(-2, 2, 3000, dtype=np.float32)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensemble, "_WORTH_IT", 0)
        together = Ensemble([one, other])
        found = together.predict(rows, 2)
        alone = together.predict({name: rows[name] for name in one.features}, 1)
    inside = two.trained.booster.inplace_predict(np.stack([rows[name] for name in other.features], axis=1))
    assert bits(found[0]) == bits(alone[0]) == bits(oracle(one, rows))
    assert bits(found[1]) == bits(inside)
    assert together.reasons == {}


def test_the_sum_that_is_learned_has_the_bits_of_xgboost(monkeypatch):
    """Boosters of values, site means (a random forest among them) and anomalies: all go through the kernel."""
    monkeypatch.setattr("stac_sm.model.fit._SITE_ROUNDS", 10)
    monkeypatch.setattr(ensemble, "_WORTH_IT", 0)
    rng = np.random.default_rng(3)
    site = np.repeat(np.arange(12), 40)
    level = rng.random(12)[site]
    table = pd.DataFrame({"site": site.astype(str), "date": np.tile(pd.date_range("2018-01-01", periods=40), 12)})
    table = table.assign(wet=level + 0.2 * rng.standard_normal(480), level=level, season=np.tile(np.arange(40.0), 12))
    table["sm"] = 0.1 + 0.2 * table["wet"] + 0.01 * rng.standard_normal(480)
    table.loc[::7, "wet"] = np.nan
    features = ["wet", "level", "season"]
    members = learn(table, features, rounds=Rounds(20, 10)).model.members
    assert len(members) == 6
    columns = {name: table[name].to_numpy(np.float32) for name in features}
    together = Ensemble(members)
    for member, found in zip(members, together.predict(columns, 6), strict=True):
        assert bits(found) == bits(member.predict(columns))
    assert together.reasons == {}


def test_values_of_any_type_and_stride():
    member = trained()
    rows = rows_for(member, 2000, np.random.default_rng(7))
    wide = {name: np.repeat(value.astype(np.float64), 2)[::2] for name, value in rows.items()}
    assert_bit_equal([member], rows)
    found = Forest.of([member], [member.trained.flat_trees()]).predict(wide)[0]
    assert bits(found) == bits(oracle(member, rows))


@given(
    known=st.lists(st.floats(width=32, allow_nan=False), unique=True, max_size=300),
    asked=st.lists(st.floats(width=32), max_size=50),
)
def test_ranks_are_those_of_a_search(known, asked):
    thresholds = np.unique(np.array(known, np.float32))
    table = RankTable.of(thresholds)
    values = np.concatenate([np.array(asked, np.float32), thresholds, EXTREMES])
    codes = np.empty(len(values), np.uint16)
    kernel_loader.load_kernel().rank(values, table.thresholds, table.first, table.low, table.scale, table.steps, codes)
    wanted = np.searchsorted(thresholds, values, side="right") + 1
    np.testing.assert_array_equal(codes, np.where(np.isnan(values), 0, wanted))
    assert table.count == len(thresholds)


CATEGORIES = {"enable_categorical": True, "feature_types": ["c", "q"]}


def unsuitable(name: str) -> xgb.Booster:
    rng = np.random.default_rng(0)
    values, target = rng.integers(0, 5, (200, 2)).astype(np.float32), rng.random(200)
    plain = {"nthread": 1, "max_depth": 3, "verbosity": 0}
    cases = {
        "booster dart": (plain | {"booster": "dart", "rate_drop": 0.9}, target, {}),
        "booster gblinear": ({"nthread": 1, "booster": "gblinear"}, target, {}),
        "objective count:poisson": (plain | {"objective": "count:poisson"}, target, {}),
        "objective reg:logistic": (plain | {"objective": "reg:logistic"}, target, {}),
        "several targets": (plain, np.stack([target, -target], axis=1), {}),
        "categorical splits": (plain | {"max_cat_to_onehot": 1}, target + (values[:, 0] == 2), CATEGORIES),
        "vector leaves": (plain | {"multi_strategy": "multi_output_tree"}, np.stack([target, -target], axis=1), {}),
    }
    parameters, label, extra = cases[name]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*booster=dart. is deprecated")  # by 3.4, which says it of no other
        return xgb.train(parameters, xgb.DMatrix(values, label, **extra), 3)


NAMES = ["booster dart", "objective count:poisson", "objective reg:logistic", "categorical splits"]


@pytest.mark.parametrize("name", NAMES)
def test_what_only_xgboost_can_do_is_left_to_it_by_name(name, monkeypatch):
    monkeypatch.setattr(ensemble, "_WORTH_IT", 0)
    member, plain = member_of(unsuitable(name)), trained(features=2)
    rows = {f"f{i}": np.arange(1000, dtype=np.float32) % 5 for i in range(2)}
    together = Ensemble([member, plain])
    found = together.predict(rows, 2)
    assert together.reasons == {0: name}
    assert bits(found[0]) == bits(oracle(member, rows))
    assert bits(found[1]) == bits(oracle(plain, rows))


@pytest.mark.parametrize("name", ["booster gblinear", "several targets", "vector leaves"])
def test_what_no_member_can_be_is_no_forest(name):
    with pytest.raises(UnsuitableError, match="several targets" if name == "vector leaves" else name):
        member_of(unsuitable(name)).trained.flat_trees()


@pytest.mark.parametrize(("limit", "reason"), [("MOST_THRESHOLDS", "thresholds of one feature"), ("LEAF", "features")])
def test_what_does_not_fit_the_bits_of_a_node_is_left_to_xgboost(monkeypatch, limit, reason):
    monkeypatch.setattr(ensemble, "_WORTH_IT", 0)
    monkeypatch.setattr(f"stac_sm.model.forest.forest.{limit}", 6)
    member = trained()
    together, rows = Ensemble([member]), rows_for(member, 100, np.random.default_rng(8))
    assert bits(together.predict(rows, 1)[0]) == bits(oracle(member, rows))
    assert reason in together.reasons[0]


def test_a_forest_that_differs_is_found_at_once_and_not_used(monkeypatch):
    monkeypatch.setattr(ensemble, "_WORTH_IT", 0)
    member = trained()
    right = member.trained.flat_trees()
    wrong = np.where(right.feature >= 0, np.nextafter(right.threshold, np.float32(np.inf)), right.threshold)
    monkeypatch.setattr(ensemble, "_flat_trees", lambda _: type(right)(**vars(right) | {"threshold": wrong}))
    together, rows = Ensemble([member]), rows_for(member, 1000, np.random.default_rng(9))
    with pytest.warns(UserWarning, match="another prediction than that of XGBoost"):
        found = together.predict(rows, 1)
    assert bits(found[0]) == bits(oracle(member, rows))
    assert together.reasons == {0: "its forest differs from XGBoost"}


def test_without_numba_xgboost_predicts(monkeypatch):
    monkeypatch.setattr(ensemble, "_WORTH_IT", 0)
    kernel_loader.load_kernel.cache_clear()
    monkeypatch.setitem(sys.modules, "numba", None)
    member = trained()
    together, rows = Ensemble([member]), rows_for(member, 1000, np.random.default_rng(10))
    assert bits(together.predict(rows, 1)[0]) == bits(oracle(member, rows))
    assert "Numba cannot be imported" in together.reasons[0]


def test_few_rows_do_not_pay_for_a_forest():
    code = """if True:
        import sys, numpy as np
        from stac_sm.model.forest import ensemble
        from tests.support.forests import rows_for, trained
        together, rows = ensemble.Ensemble([trained()]), rows_for(trained(), 100, np.random.default_rng(0))
        together.predict(rows, 1); assert "numba" not in sys.modules
        ensemble._WORTH_IT = 0
        together.predict(rows, 1); assert "numba" in sys.modules"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_a_forest_is_built_while_its_rows_are_read(monkeypatch):
    """The caller goes on while kernels are compiled; the first prediction waits for them, and they are compiled once.
    For few rows nothing begins.
    """
    compiling, go_on, compiled = threading.Event(), threading.Event(), []

    def compile_slowly():
        compiling.set()
        assert go_on.wait(60)
        compiled.append(1)
        return kernel_loader.load_kernel()

    monkeypatch.setattr(ensemble, "load_kernel", compile_slowly)
    member = trained()
    together, rows = Ensemble([member]), rows_for(member, 1000, np.random.default_rng(12))
    assert together.build_meanwhile(10) is None
    thread = together.build_meanwhile(10**9)
    assert compiling.wait(60)
    assert (thread.is_alive(), compiled) == (True, [])  # rows can be read now
    go_on.set()
    monkeypatch.setattr(ensemble, "_WORTH_IT", 0)
    assert bits(together.predict(rows, 1)[0]) == bits(oracle(member, rows))
    thread.join(60)
    assert compiled == [1]
    assert together.build_meanwhile(10**9) is None


def test_an_ensemble_travels_with_its_forest(monkeypatch):
    monkeypatch.setattr(ensemble, "_WORTH_IT", 0)
    member = trained()
    together, rows = Ensemble([member]), rows_for(member, 1000, np.random.default_rng(11))
    wanted = together.predict(rows, 1)
    copy = pickle.loads(pickle.dumps(together))
    assert copy.build() is not None
    assert bits(copy.predict(rows, 1)[0]) == bits(wanted[0])


OTHER_MACHINE = """if True:
    import numpy as np
    from numba.core import event
    compiled = event.RecordingListener()
    event.register("numba:compile", compiled)
    from stac_sm.model.forest import simd
    from stac_sm.model.forest.kernel_loader import load_kernel
    from tests.support.forests import assert_bit_equal, drawn, rows_for
    made = [load_kernel().rank, load_kernel().evaluate]
    for seed, nodes, spread in ((1, 40, 0.05), (2, 700, 1), (3, 10, 1), (4, 20, 1), (5, 90, 0.3)):
        rng = np.random.default_rng(seed)
        member = drawn(rng, 3, 5, nodes, rng.normal(size=300).astype(np.float32), 0.5)
        assert_bit_equal([member], rows_for(member, 5000, rng, spread))
    misses = sum(sum(one.stats.cache_misses.values()) for one in made)
    print(simd.VECTOR_BYTES, misses, len(compiled.buffer) // 2)"""
MOST_COMPILED = 32  # functions, Numba's own among them: they were 71 where copied slices brought in text formatting
HASWELL = "+avx,+avx2,+bmi,+bmi2,+fma,+popcnt,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+lzcnt,+movbe,+f16c,+cx16"
MACHINES = {"any": {"NUMBA_CPU_NAME": "generic"}, "avx2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": HASWELL}}


@pytest.mark.parametrize(("name", "width"), [("any", "16"), ("avx2", "32")])
def test_other_machines_give_the_same_bits_and_compile_once_for_all_processes(name, width, tmp_path):
    """Two processes start at once: one compiles, and no more than it must; the other waits for what it has compiled."""
    if name == "avx2" and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("hardware: this processor has no AVX2")
    environment = os.environ | MACHINES[name] | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", OTHER_MACHINE]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True, cwd=ROOT) for _ in range(2)
    ]
    waited, compiled = sorted(one.communicate()[0].split() for one in running)
    assert waited == [width, "0", "0"]
    assert compiled[:2] == [width, "2"]
    assert 0 < int(compiled[2]) <= MOST_COMPILED


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 9000), alike=st.booleans())
@settings(max_examples=examples(30))
def test_rows_that_are_not_alike_are_taken_in_another_order(seed, rows, alike):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 100, (3, rows)).astype(np.uint16)
    asked = np.tile(np.arange(100, dtype=np.int32), (3, 1)) * np.array([[3], [2], [1]], np.int32)
    codes = np.sort(codes, axis=1) // 2 if alike else codes
    order = np.empty(rows, np.int32)
    other = kernel_loader.load_kernel().arrange(codes, asked, order)
    np.testing.assert_array_equal(np.sort(order), np.arange(rows))
    if rows > 3000:  # fewer make too few blocks to gain
        assert other == (not alike)
    if other:
        first = codes[0, order[:1024]]
        assert np.ptp(first) < np.ptp(codes[0])  # the feature that most splits ask for is cut first


def test_shuffled_rows_give_the_bits_of_xgboost():
    member = trained(rounds=20, rows=5000, features=6, missing=0.02)
    rng = np.random.default_rng(12)
    rows = {name: rng.normal(size=70_000).astype(np.float32) for name in member.features}
    forest = Forest.of([member], [member.trained.flat_trees()])
    taken = []
    with pytest.MonkeyPatch.context() as patch:
        kernel = kernel_loader.load_kernel()
        patch.setattr(kernel, "take", lambda *given, take=kernel.take: taken.append(len(given[1])) or take(*given))
        found = forest.predict(rows)[0]
    assert taken == [65_536, 70_000 - 65_536]
    assert bits(found) == bits(oracle(member, rows))


def test_a_document_that_is_cut_short_is_refused():
    content = bytes(trained().trained.booster.save_raw("ubj"))
    whole = parse_ubjson(content)
    assert whole["learner"]["gradient_booster"]["name"] == "gbtree"
    for end in (0, 1, len(content) // 2, len(content) - 1):
        with pytest.raises(ValueError, match="UBJSON"):
            parse_ubjson(content[:end])
