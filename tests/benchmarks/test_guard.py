"""The guard of the benchmarks: what fell by more than a fifth is said, and nothing else is."""

from __future__ import annotations

import functools
import importlib
import json
import re
from pathlib import Path

import pytest

from tests.benchmarks import guard, matchups, tile_month


@pytest.fixture
def file(tmp_path):
    """Results of one run."""
    file = tmp_path / "results.json"
    guard.save("forest", {"smooth": 10.0, "rough": 5.0}, {"trees": 500}, file)
    return file


def test_a_run_is_kept_with_its_machine(file):
    run = json.loads(file.read_text())["forest"]
    assert run["ratios"] == {"smooth": 10.0, "rough": 5.0}
    assert run["settings"] == {"trees": 500}
    assert run["context"]["processor"]
    assert run["context"]["cores"] >= 1
    assert run["context"]["versions"]["xgboost-cpu"].count(".") == 2
    assert len(run["context"]["date"]) == 10
    assert run["context"]["commit"]


@pytest.mark.parametrize(("now", "fell"), [(12.0, False), (10.0, False), (8.01, False), (7.99, True), (0.0, True)])
def test_only_a_fall_by_more_than_a_fifth_is_told(file, now, fell):
    ratios = {"smooth": now, "rough": 5.0}
    assert guard.fallen("forest", ratios, file) == ["smooth"] * fell
    first, second = guard.compared("forest", ratios, file)
    assert ("FELL" in first) == fell
    assert "FELL" not in second


def test_each_ratio_stands_beside_the_last_one(file):
    (first, second, third) = guard.compared("forest", {"smooth": 9.5, "new": 2.0}, file)
    assert first.split() == ["smooth", "9.50", "last", "10.00"]
    assert second.split() == ["new", "2.00", "no", "run", "before"]
    assert third.split() == ["rough", "not", "run", "last", "5.00"]


def test_runs_of_other_names_stay(file):
    guard.save("tile_month", {"times plain": 9.0}, {}, file)
    guard.save("forest", {"smooth": 11.0}, {}, file)
    assert {name: run["ratios"] for name, run in guard.known(file).items()} == {
        "forest": {"smooth": 11.0}, "tile_month": {"times plain": 9.0}
    }  # fmt: skip


def test_a_run_is_compared_with_the_last_one_before_it_takes_its_place(file):
    (line,) = guard.beside("forest", {"smooth": 7.0}, {}, keep=True, file=file)[:1]
    assert "FELL by 30%" in line
    assert guard.known(file)["forest"]["ratios"] == {"smooth": 7.0}
    guard.beside("forest", {"smooth": 9.0}, {}, keep=False, file=file)
    assert guard.known(file)["forest"]["ratios"] == {"smooth": 7.0}


@pytest.mark.parametrize("name", ["forest", "tile_month", "applicability", "batch", "cube", "points", "search"])
def test_what_has_a_rival_is_guarded(name):
    """By the same few lines; the committed file has a run of each."""
    text = (Path(guard.__file__).parent / f"{name}.py").read_text()
    assert re.search(r"\bbeside\(", text)
    assert guard.known()[name]["ratios"]


def test_without_a_file_nothing_falls(tmp_path):
    assert guard.fallen("forest", {"smooth": 1.0}, tmp_path / "none.json") == []
    assert guard.compared("forest", {"smooth": 1.0}, tmp_path / "none.json")[0].endswith("no run before")


def test_what_is_committed_can_be_read():
    for run in guard.known().values():
        assert set(run) == {"ratios", "settings", "context"}
        assert all(value > 0 for value in run["ratios"].values())


def test_the_functions_that_are_timed_are_there():
    """A benchmark replaces them by name while it runs."""
    for module, name in [place for places in tile_month.STAGES.values() for place in places]:
        assert callable(functools.reduce(getattr, name.split("."), importlib.import_module(module)))
    for module, name in matchups.STAGES.values():
        assert callable(getattr(module, name))
