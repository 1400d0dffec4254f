"""Area of applicability: beside a slow index written down from the paper, and the same in any blocks."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import InputError, ModelError
from stac_sm.model.applicability import Applicability, fit_applicability
from stac_sm.model.holdout import hold_out
from tests.benchmarks import compiling

FEATURES = ("lst", "lai", "swvl1", "elevation", "flat", "unused")
IMPORTANCE = {"lst": 4.0, "lai": 1.0, "swvl1": 6.0, "elevation": 2.0, "flat": 5.0, "unused": 0.0}
USED = FEATURES[:4]


def training(rows=1500, sites=30, seed=0):
    """Rows of sites that have a climate of their own; one feature in ten is missing in `elevation`."""
    rng = np.random.default_rng(seed)
    site = rng.integers(sites, size=rows)
    mean = rng.normal(size=(sites, 4))
    values = (mean[site] + 0.4 * rng.normal(size=(rows, 4))) * [5, 1.5, 0.08, 600] + [285, 2, 0.25, 900]
    table = pd.DataFrame(values.astype(np.float32), columns=list(USED))
    table["flat"], table["unused"] = np.float32(7), rng.normal(size=rows).astype(np.float32)
    table.loc[rng.random(rows) < 0.1, "elevation"] = np.nan
    table["site"] = [f"s{i:02d}" for i in site]
    return table


def slow_index(train, rows, importance=IMPORTANCE, used=USED, same_fold=None):
    """Dissimilarity index as Meyer and Pebesma write it, one pair of rows at a time in float64.

    A missing value is a value of its own, at the mean and one weighted standard deviation aside.
    """

    def place(row):
        out = []
        for name in used:
            x, weight = float(row[name]), importance[name] / max(importance[n] for n in used)
            gone = np.isnan(x)
            out += [0.0 if gone else weight * (x - means[name]) / deviations[name], weight if gone else 0.0]
        return np.array(out)

    means = {name: float(train[name].astype(float).mean()) for name in used}
    deviations = {name: float(train[name].astype(float).std(ddof=0)) for name in used}
    points = [place(row) for _, row in train.iterrows()]
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(points) for b in points[:i]]
    found = []
    for i, (_, row) in enumerate(rows.iterrows()):
        others = (
            points
            if same_fold is None
            else [p for p, fold in zip(points, same_fold, strict=True) if fold != same_fold[i]]
        )
        found.append(min(np.linalg.norm(place(row) - point) for point in others))
    return np.array(found) / np.mean(pairs)


@pytest.fixture(scope="module")
def small():
    """Few rows, so that the slow index ends; importance where a constant feature is the largest of all is another."""
    table = training(rows=250, sites=12)
    importance = IMPORTANCE | {"flat": 0.0}
    return table, importance, fit_applicability(table, FEATURES, importance, table["site"])


def queries(table, rows=300, seed=5):
    """Rows near and far, each a mixture of training rows; some with gaps."""
    rng = np.random.default_rng(seed)
    columns = {name: table[name].to_numpy()[rng.integers(len(table), size=rows)] for name in FEATURES}
    near = table[list(FEATURES)].to_numpy()[rng.integers(len(table), size=rows)]
    share = rng.uniform(0, 2, (rows, 1))
    return pd.DataFrame(near + share * (np.column_stack(list(columns.values())) - near), columns=list(FEATURES))


def test_the_index_is_that_of_the_paper(small):
    table, importance, area = small
    asked = queries(table)
    slow = slow_index(table, asked, importance)
    found = area.dissimilarity(asked)
    assert found.dtype == np.float32
    assert len(area.points) == len(table)  # few enough to keep them all
    np.testing.assert_allclose(found, slow, atol=0.004)
    assert 0.1 < (slow > area.threshold).mean() < 0.9


def test_the_threshold_is_the_whisker_of_rows_of_other_folds_of_sites(small):
    table, importance, area = small
    folds = np.empty(len(table), int)
    for i, fold in enumerate(hold_out(table[["site"]], "site", folds=5, seed=0)):
        folds[fold.test] = i
    index = slow_index(table, table, importance, same_fold=folds)
    import matplotlib.cbook

    whisker = matplotlib.cbook.boxplot_stats(index)[0]["whishi"]
    assert area.threshold == pytest.approx(whisker, rel=1e-3)
    without_folds = matplotlib.cbook.boxplot_stats(slow_index(table, table, importance, same_fold=range(len(table))))
    assert without_folds[0]["whishi"] < 0.9 * whisker  # else this test would not see the grouping


def test_inside_and_outside_agree_with_the_slow_index(small):
    table, importance, area = small
    asked = queries(table, 400, seed=8)
    outside = area.outside(asked)
    assert outside.dtype == bool
    assert (outside == (slow_index(table, asked, importance) > area.threshold)).mean() >= 0.98
    assert (outside == (area.dissimilarity(asked) > np.sqrt(area.radius) / area.mean_distance)).all()


def test_few_points_stand_for_many_rows():
    table = training(rows=20_000, sites=150)
    area = fit_applicability(table, FEATURES, IMPORTANCE, table["site"])
    assert len(area.points) <= 4000
    assert area.rows == 20_000
    assert area.agreement >= 0.98
    assert area.features == USED  # one is the same everywhere, one does not count
    asked = queries(table, 2000)
    exact = exact_index(table, asked)
    inside = exact <= area.threshold
    assert 0.1 < inside.mean() < 0.9
    assert (area.outside(asked) == ~inside).mean() >= 0.98
    assert np.corrcoef(area.dissimilarity(asked), exact)[0, 1] > 0.98


def exact_index(table, asked):
    """The index against all rows, whole columns at a time, float64."""
    used, top = list(USED), max(IMPORTANCE.values())
    weight = np.array([IMPORTANCE[name] / top for name in used])
    values = [frame[used].to_numpy(float) for frame in (table, asked)]
    mean, deviation = np.nanmean(values[0], axis=0), np.nanstd(values[0], axis=0)
    train, wanted = (np.hstack([np.nan_to_num((v - mean) / deviation) * weight, np.isnan(v) * weight]) for v in values)
    nearest = [np.sqrt(((train - row) ** 2).sum(axis=1).min()) for row in wanted]
    some = train[np.random.default_rng(3).permutation(len(train))[:1500]]
    distances = np.sqrt(((some[:, None] - some[None]) ** 2).sum(axis=2))
    return np.array(nearest) / (distances.sum() / (len(some) * (len(some) - 1)))


def test_training_rows_are_inside_and_other_worlds_outside(small):
    table, _, area = small
    assert not area.outside(table).any()
    for name in USED:
        far = table[list(FEATURES)].assign(**{name: table[name].max() + 20 * table[name].std()})
        assert area.outside(far).all()
    for value in (np.inf, -np.inf, 3e38):
        far = table[list(FEATURES)].assign(lst=np.float32(value))
        assert area.outside(far).all()
        assert not np.isnan(area.dissimilarity(far)).any()
    assert not area.outside(table.assign(unused=1e9, flat=-5.0)).any()


def test_a_gap_is_near_to_gaps_only():
    """One where training has some is inside; one where training never had any is away from all."""
    table = training(rows=250, sites=12)
    importance = IMPORTANCE | {"flat": 0.0, "elevation": 6.0}
    area = fit_applicability(table, FEATURES, importance, table["site"])
    with_gap = table[table.elevation.isna()]
    assert not area.outside(with_gap).any()
    never = table[table.elevation.notna()].assign(lst=np.nan, swvl1=np.nan)
    assert (area.dissimilarity(never) > 2 * area.dissimilarity(table.dropna())).all()
    assert area.outside(never).all()


@given(st.integers(1, 400), st.integers(0, 2**31))
def test_blocks_do_not_matter(size, seed):
    """Bit for bit: whole numbers add up the same in any order."""
    table, area = SHARED
    asked = queries(table, 400, seed=seed % 5)
    cuts = range(0, 400, size)
    for name in ("outside", "dissimilarity"):
        whole = getattr(area, name)(asked)
        parts = [getattr(area, name)(asked.iloc[start : start + size]) for start in cuts]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def slow_outside(area, asked):
    """By the distance to every point, in float64, of rows in whole steps."""
    values = asked[list(area.features)].to_numpy(np.float32)
    gone = np.isnan(values)
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.rint((values - np.float32(area.centre)) * np.float32(area.steps))
    rows = np.where(gone, 0, np.clip(steps, -4000, 4000)).astype(float)
    marks = np.where(gone, area.missing, 0).astype(float)
    far = (rows**2).sum(axis=1) + (marks**2).sum(axis=1) > 2000**2
    points, known = np.array(area.points, float), len(area.features)
    without = np.delete(marks, area.gaps, axis=1)
    places = np.hstack([rows, marks[:, list(area.gaps)]])
    least = np.array([((points - place) ** 2).sum(axis=1).min() for place in places])
    assert points.shape[1] == known + len(area.gaps)
    return far | (least + (without**2).sum(axis=1) > area.radius)


@pytest.mark.parametrize("smooth", [0.0, 0.02, 0.3, 5.0])
def test_runs_of_neighbours_change_nothing(smooth):
    """Rows that walk through the features in small and large steps, with gaps, infinities and far places."""
    table, area = SHARED
    rng = np.random.default_rng(9)
    start = table[list(USED)].to_numpy()[rng.integers(len(table), size=40)]
    scale = np.nanstd(table[list(USED)].to_numpy(), axis=0)
    walk = start[:, None] + np.cumsum(rng.normal(size=(40, 50, 4)), axis=1) * smooth * scale
    asked = pd.DataFrame(walk.reshape(-1, 4).astype(np.float32), columns=list(USED))
    asked = asked.mask(rng.random(asked.shape) < 0.03)
    asked.iloc[::97, 0], asked.iloc[5::101, 2] = np.inf, -3e38
    outside = slow_outside(area, asked)
    np.testing.assert_array_equal(area.outside(asked), outside)
    assert outside.any()
    assert not outside.all()


def _shared():
    table = training(rows=3000, sites=40, seed=4)
    return table, fit_applicability(table, FEATURES, IMPORTANCE, table["site"])


SHARED = _shared()


def test_no_rows_and_columns_by_name():
    table, area = SHARED
    assert area.outside(table[:0]).shape == (0,)
    asked = queries(table)
    np.testing.assert_array_equal(area.outside(asked[list(FEATURES)[::-1]]), area.outside(asked))
    with pytest.raises(ModelError, match="no feature 'lai'"):
        area.outside(asked.drop(columns="lai"))


def test_the_order_of_rows_does_not_matter():
    table, area = SHARED
    mixed = table.sample(frac=1, random_state=7)
    assert fit_applicability(mixed, FEATURES, IMPORTANCE, mixed["site"]).to_json() == area.to_json()
    assert fit_applicability(table, FEATURES, IMPORTANCE, table["site"], seed=1).to_json() != area.to_json()


def test_json_there_and_back():
    table, area = SHARED
    again = Applicability.from_json(area.to_json())
    assert again == area
    assert again.checksum == area.checksum
    assert replace(area, radius=area.radius + 1).checksum != area.checksum


@pytest.mark.parametrize(
    "change", [lambda d: d.pop("radius"), lambda d: d["points"][3].pop(), lambda d: d["steps"].pop(),
               lambda d: d.update(points=[]), lambda d: d.update(points="many"), lambda d: d.update(more=1)]
)  # fmt: skip
def test_a_changed_file(change):
    content = json.loads(SHARED[1].to_json())
    change(content)
    with pytest.raises(ModelError, match="publish the model again"):
        Applicability.from_json(json.dumps(content).encode())


def test_without_importance_all_features_count_the_same():
    table, _ = SHARED
    area = fit_applicability(table, FEATURES, {}, table["site"])
    assert area.features == (*USED, "unused")


def test_what_cannot_be_judged():
    table = training(rows=50)
    with pytest.raises(InputError, match="no feature varies \\(flat\\)"):
        fit_applicability(table, ["flat"], {}, table["site"])
    with pytest.raises(InputError, match="found 1 site"):
        fit_applicability(table, USED, {}, ["one"] * 50)
    with pytest.raises(InputError, match="no column 'ndvi'"):
        fit_applicability(table, ["ndvi"], {}, table["site"])


def test_it_costs_little_beside_prediction():
    """A small version of tests/benchmarks/applicability.py."""
    from tests.benchmarks.applicability import measure

    found = measure(side=200, trees=500, depth=8, rows=4000)
    assert found["share_1"] < 0.25
    assert found["agreement"] >= 0.98
    assert found["agreement_on_pixels"] >= 0.97


def test_no_more_is_compiled_than_the_search_needs():
    """Functions, Numba's own among them: they were 57 where copied slices brought in text formatting."""
    assert 0 < compiling.measure("applicability")["functions"] <= 20
