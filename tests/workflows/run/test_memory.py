"""Memory: a budget is parsed, divided and kept."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import InputError
from stac_sm.core.period import Period
from stac_sm.features.inputs import ResolvedInputs, resolve_inputs
from stac_sm.features.recipe import Feature, Recipe
from stac_sm.features.time_rules import DayFields, WeightedField
from stac_sm.raster.resample import TargetPixels, source_window
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.run import memory, run, task
from stac_sm.workflows.run.memory import estimate_peak_memory, largest_share, machine_memory, parse_bytes
from stac_sm.workflows.run.task import run_task
from tests.support.checkout import ROOT
from tests.support.fields import DAYS, RECIPE, SMALL, TILE, copied_project, read_model, shared_project

BENCHMARK = ROOT / "tests/benchmarks/cube.py"


@pytest.mark.parametrize(
    ("text", "wanted"), [("4G", 4 << 30), ("4GiB", 4 << 30), ("500 M", 500 << 20), ("1.5g", 3 << 29), ("4096", 4096)]
)
def test_bytes_as_people_write_them(text, wanted):
    assert parse_bytes(text) == wanted


@pytest.mark.parametrize("text", ["", "G", "-4G", "4 gigs", "0", "4P"])
def test_what_is_no_memory(text):
    with pytest.raises(InputError, match="write e.g. 4G"):
        parse_bytes(text)


def test_a_container_grants_less_than_its_machine(tmp_path, monkeypatch):
    whole = machine_memory()
    assert 1 << 28 < whole < 1 << 50
    for version, text in [("v2", "1073741824\n"), ("v1", "536870912\n"), ("none", "max\n")]:
        (tmp_path / version).write_text(text)
    monkeypatch.setattr(memory, "_CGROUPS", [str(tmp_path / "v2"), str(tmp_path / "absent")])
    assert machine_memory() == min(1 << 30, whole)
    monkeypatch.setattr(memory, "_CGROUPS", [str(tmp_path / "v2"), str(tmp_path / "v1")])
    assert machine_memory() == min(1 << 29, whole)
    monkeypatch.setattr(memory, "_CGROUPS", [str(tmp_path / "none")])
    assert machine_memory() == int(Path("/proc/meminfo").read_text().split()[1]) << 10


@pytest.fixture(scope="module")
def resolution():
    return resolve_inputs(shared_project()[0].catalog, RECIPE, SMALL.geobox(TILE), DAYS)


@given(budget=st.integers(1, 10 << 30), threads=st.integers(1, 4))
def test_a_share_is_the_largest_that_fits(resolution, budget, threads):
    target = TargetPixels(SMALL.geobox(TILE))
    share = largest_share(resolution, target, budget, threads=threads)
    assert share.peak == estimate_peak_memory(resolution, target, threads=share.threads, days=share.days)
    if share.peak > budget:
        assert (share.threads, share.days) == (1, 1)
    more = estimate_peak_memory(resolution, target, threads=threads, days=len(resolution.days))
    assert ((share.threads, share.days) == (threads, len(resolution.days))) or more > budget


def test_more_pixels_days_and_threads_take_more(resolution):
    small, large = (TargetPixels(SMALL.geobox(TILE).zoom_out(1 / zoom)) for zoom in (1, 8))
    least = estimate_peak_memory(resolution, small, threads=1, days=1)
    assert least < estimate_peak_memory(resolution, small, threads=2, days=1)
    assert least < estimate_peak_memory(resolution, small, threads=1, days=6)
    assert least < estimate_peak_memory(resolution, large, threads=1, days=1)


def test_the_days_of_a_window_take_the_pixels_of_their_own_grid(resolution):
    """A month with a window of 90 days of a coarse input keeps 120 small arrays, not 120 fields of a tile."""
    source = next(iter(resolution.by_feature["swvl1"].values())).fields[0].sources[0]
    files = [replace(source, item_id=f"{at}", href=f"/{at}.tif") for at in range(120)]
    days = Period.parse("2019-01").days

    def estimate(feature, ages):
        made_of = {
            day: DayFields(tuple((WeightedField(1.0, (files[at + 89 - age],)),) for age in ages), by_age=len(ages) > 1)
            for at, day in enumerate(days)
        }
        resolved = ResolvedInputs(Recipe((feature,)), tuple(days), {"f": made_of})
        return estimate_peak_memory(resolved, TargetPixels(SMALL.geobox(TILE)), threads=1, days=31)

    plain = Feature("f", "era5-land", "swvl1", "bilinear")
    least = estimate(plain, range(1))
    more = estimate(replace(plain, exponential=30), range(90)) - least
    rows, columns = source_window(source.geobox, TargetPixels(SMALL.geobox(TILE)))
    assert more == 120 * 4 * (rows.stop - rows.start) * (columns.stop - columns.start)
    assert more < estimate(replace(plain, trailing=90), range(90)) - least


def test_a_run_with_little_memory_makes_the_same_day_by_day(tmp_path, monkeypatch):
    """And says before it starts that it may not be enough."""
    products, told, graphs = [], [], []
    compute = task._compute
    for name, budget in [("rich", 8 << 30), ("poor", 1 << 20)]:
        project, model_id, _ = copied_project(tmp_path / name)
        catalog = open_catalog(project.folder)
        plan = make_plan(catalog, read_model(catalog, model_id), [TILE], DAYS, grid=project.grid, version="001")
        monkeypatch.setattr(
            run, "task_records", lambda _, work, has=budget: (run_task(work.folder, one, has) for one in work.tasks)
        )
        monkeypatch.setattr(task, "_compute", lambda *a: graphs.append((len(a[1]), a[2])) or compute(*a))
        assert not run.run_plan(project, plan, workers=run.LocalWorkers(1, budget), warn=told.append).failures
        items = open_catalog(project.folder).items("sm-1km-daily")
        products.append([(item.id, item.assets["sm"].extra_fields["file:checksum"]) for item in items])
    assert products[0] == products[1]
    assert len(products[0]) == 6
    assert sorted(graphs[:2], reverse=True) == [(3, 2), (3, 2)]
    assert graphs[2:] == [(1, 1)] * 6
    assert len(told) == 1
    assert "one day at a time may take" in told[0]
    assert "--memory" in told[0]


def test_the_peak_of_a_tile_stays_under_the_estimate():
    """Measured in a process of its own, on a tile of a quarter of the pixels along each side."""
    done = subprocess.run(
        [sys.executable, BENCHMARK, "--json", "--zoom", "4", "--days", "8", "--only", "memory"],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    measured = json.loads(done.stdout)["memory"]
    for one in measured:
        assert one["peak_mb"] < one["estimate_mb"], one
        assert one["estimate_mb"] < 4 * one["peak_mb"], one
