"""What a worker keeps between tasks: values do not depend on it, nothing is made twice, and memory is bounded."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import ReadError
from stac_sm.core.period import Period
from stac_sm.features import daily_fields
from stac_sm.features.cube import build
from stac_sm.features.inputs import resolve_inputs
from stac_sm.features.kept_arrays import KeptArrays
from stac_sm.raster.resample import TargetPixels
from stac_sm.workflows.run.memory import largest_share
from tests.support.fields import DAYS, RECIPE, SMALL, TILE, copied_project, shared_project

SIZES = st.dictionaries(st.integers(0, 9), st.integers(0, 60), min_size=1)


@given(SIZES, st.lists(st.tuples(st.integers(0, 9), st.integers(-5, 200)), max_size=40))
def test_any_order_of_requests_and_any_budget_give_the_same_values(sizes, requests):
    """The oracle makes each array again; what is kept never exceeds the limit of the moment."""
    kept = KeptArrays(100)
    for key, limit in requests:
        kept.resize(limit)
        found = kept.get(key, np.full, sizes.get(key, 1), key, np.uint8)
        assert np.array_equal(found, np.full(sizes.get(key, 1), key))
        assert kept.size <= max(0, limit)


def test_what_was_used_least_recently_goes_first():
    kept = KeptArrays(30)
    for key in "abc":
        kept.get(key, np.zeros, 10, np.uint8)
    kept.get("a", pytest.fail)
    kept.get("d", np.zeros, 10, np.uint8)
    assert [key for key in "abcd" if kept.find(key) is not None] == ["a", "c", "d"]
    kept.resize(10)
    assert [key for key in "abcd" if kept.find(key) is not None] == ["d"]
    assert kept.find("d") is not None
    kept.get("large", np.zeros, 11, np.uint8)
    assert (kept.size, kept.find("large")) == (10, None)


@pytest.mark.parametrize("limit", [0, 100])
def test_nobody_changes_what_others_read(limit):
    """Whether it is kept or was too large: what changes one fails at once, not only with more memory."""
    kept = KeptArrays(limit)
    for found in (kept.get("a", np.zeros, 10, np.uint8), kept.get("a", np.zeros, 10, np.uint8)):
        with pytest.raises(ValueError, match="read-only"):
            found[0] = 1
        with pytest.raises(ValueError, match="read-only"):
            found += 1


@pytest.fixture
def calls(monkeypatch):
    """How often pixels were read and projected."""
    counts = Counter()
    for name in ("read_window", "pixel_lookup"):
        plain = getattr(daily_fields, name)

        def counted(first, *more, name=name, plain=plain):
            counts[name] += 1
            counts[getattr(first, "item_id", "")] += 1
            return plain(first, *more)

        monkeypatch.setattr(daily_fields, name, counted)
    return counts


def made(project, period: str, kept: KeptArrays | None):
    resolved = resolve_inputs(project.catalog, RECIPE, SMALL.geobox(TILE), Period.parse(period))
    return build(resolved, TargetPixels(SMALL.geobox(TILE)), kept=kept).compute(scheduler="sync")


def test_a_second_task_of_a_tile_projects_nothing_and_reads_no_static_layer_again(calls):
    project, kept = shared_project()[0], KeptArrays(1 << 30)
    first, second = "2018-06-28/2018-06-30", "2018-07-01/2018-07-03"
    apart = [made(project, period, None) for period in (first, second)]
    calls.clear()
    here = [made(project, first, kept)]
    assert calls["pixel_lookup"] > 0
    before = Counter(calls)
    here.append(made(project, second, kept))
    assert calls["pixel_lookup"] == before["pixel_lookup"]
    static = {
        source.item_id
        for name, days in resolve_inputs(project.catalog, RECIPE, SMALL.geobox(TILE), DAYS).by_feature.items()
        for one in days.values()
        for layer in one.fields
        for source in layer.sources
        if name in {feature.name for feature in RECIPE.sources if feature.time == "static"}
    }
    assert static
    assert {name: calls[name] for name in static} == {name: before[name] for name in static}
    assert all(one.identical(other) for one, other in zip(apart, here, strict=True))


@pytest.mark.parametrize("limit", [0, 3_000, 20_000])
def test_a_small_budget_makes_the_same_cubes(limit):
    project, kept = shared_project()[0], KeptArrays(limit)
    for period in ("2018-06-28/2018-06-30", "2018-07-01", "2018-06-28/2018-06-30"):
        assert made(project, period, kept).identical(made(project, period, None))
        assert kept.size <= limit


def test_a_static_file_that_was_changed_is_read_again(tmp_path):
    """So damage is found, though its values are kept."""
    project, kept = copied_project(tmp_path / "p")[0], KeptArrays(1 << 30)
    made(project, "2018-06-28", kept)
    static = next(feature for feature in RECIPE.sources if feature.time == "static")
    for file in Path(project.folder, static.collection).rglob("*.tif"):
        file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ReadError):
        made(project, "2018-06-29", kept)


def test_without_a_checksum_a_static_file_is_read_each_time(calls):
    project, kept = shared_project()[0], KeptArrays(1 << 30)
    resolved = resolve_inputs(project.catalog, RECIPE, SMALL.geobox(TILE), Period.parse("2018-06-28"))
    static = next(feature.name for feature in RECIPE.sources if feature.time == "static")
    ((day, one),) = resolved.by_feature[static].items()
    (layer,) = one.fields
    bare = replace(layer, sources=tuple(replace(source, checksum="") for source in layer.sources))
    changed = {static: {day: replace(one, fields_by_day=((bare,),))}}
    resolved = replace(resolved, by_feature={**resolved.by_feature, **changed})
    for times in (1, 2):
        build(resolved, TargetPixels(SMALL.geobox(TILE)), kept=kept).compute(scheduler="sync")
        assert calls[bare.sources[0].item_id] >= times


@given(budget=st.integers(1, 4 << 30))
def test_what_is_kept_and_a_task_fit_into_the_budget(budget):
    resolved = resolve_inputs(shared_project()[0].catalog, RECIPE, SMALL.geobox(TILE), DAYS)
    share = largest_share(resolved, TargetPixels(SMALL.geobox(TILE)), budget, threads=2)
    assert 0 < share.kept < share.peak
    assert share.peak - share.kept + share.keeps(budget) <= max(budget, share.peak)
    assert 0 <= share.keeps(budget) <= 2 * share.kept  # not all that a machine has
