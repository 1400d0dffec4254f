"""Slices of a plan: which one a job of an array makes, and what is refused because it cannot be known."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import InputError
from stac_sm.workflows.plan.planned_days import Task
from stac_sm.workflows.run.run import PlanSlice


def slurm(id: int, numbers: list[int], step: int = 1) -> dict[str, str]:
    """What Slurm sets in a job of an array of these numbers."""
    facts: dict[str, Any] = {"ID": id, "MIN": min(numbers), "MAX": max(numbers), "COUNT": len(numbers), "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in facts.items()}


def test_slices_share_all_tasks_out():
    tasks = [
        Task(
            "m",
            f"h0{i // 5}v00",
            (),
        )
        for i in range(19)
    ]
    parts = [PlanSlice(i, 8).of(tasks) for i in range(8)]
    assert sorted(map(id, itertools.chain.from_iterable(parts))) == sorted(map(id, tasks))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.integers(0, 50), st.integers(1, 30), st.integers(1, 5), st.data())
def test_a_whole_array_and_any_part_of_it(first, count, step, data):
    """The oracle is the position in the list of the whole array, whatever part of it is sent."""
    whole = list(range(first, first + count * step, step))
    part = sorted(data.draw(st.sets(st.sampled_from(whole), min_size=1)))
    spelled = f"{whole[0]}-{whole[-1]}:{step}%4"
    for id in part:
        wanted = PlanSlice(whole.index(id), count)
        assert PlanSlice.parse(spelled, slurm(id, part)) == wanted
        assert PlanSlice.parse(str(count), slurm(id, whole, step)) == wanted
        if part != whole:
            with pytest.raises(InputError, match=f"no whole array of {count}; .* --slice 0-{count - 1} if"):
                PlanSlice.parse(str(count), slurm(id, part, step))


@pytest.mark.parametrize("variable", ["AWS_BATCH_JOB_ARRAY_INDEX", "JOB_COMPLETION_INDEX"])
def test_other_arrays_count_from_0(variable):
    for text in ("8", "0-7"):
        assert PlanSlice.parse(text, {variable: "3"}) == PlanSlice(3, 8)
        with pytest.raises(InputError, match=f"{variable} is 8"):
            PlanSlice.parse(text, {variable: "8"})


REFUSED = {
    "jobs 3 and 7 again": ("8", slurm(3, [3, 7])),
    "one job again": ("2", slurm(1, [1])),
    "a list with a gap": ("8", slurm(2, [0, 1, 2, 4, 5, 6, 7, 8])),
    "more jobs than slices": ("8", slurm(3, list(range(9)))),
    "no other fact": ("8", {"SLURM_ARRAY_TASK_ID": "3"}),
    "beside the range": ("0-7", slurm(8, [8])),
    "before the range": ("1-8", slurm(0, [0])),
    "between the steps": ("0-14:2", slurm(3, [3])),
    "a step of 0": ("0-7:0", slurm(3, [3])),
    "an empty range": ("7-0", slurm(3, [3])),
    "two systems": ("8", slurm(3, list(range(8))) | {"JOB_COMPLETION_INDEX": "0"}),
    "no number": ("8", {"JOB_COMPLETION_INDEX": ""}),
    "no array job": ("0-7", {}),
    "no slices": ("0", {"JOB_COMPLETION_INDEX": "0"}),
    "a negative slice": ("-1/8", {}),
    "an empty slice": ("", {}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_known_is_refused(case):
    text, environment = REFUSED[case]
    with pytest.raises(InputError, match="slice"):
        PlanSlice.parse(text, environment)
