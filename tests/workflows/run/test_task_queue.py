"""Tasks of one tile follow one another on one worker, and no worker waits while any task is left."""

from __future__ import annotations

import heapq
from collections import Counter
from datetime import date
from itertools import groupby, pairwise

from hypothesis import given
from hypothesis import strategies as st

from stac_sm.product.item import ProductDay
from stac_sm.workflows.plan.planned_days import PlannedDay, Task
from stac_sm.workflows.run.task_queue import TaskQueue, in_slices, places_by_tile

MONTHS = st.lists(st.integers(0, 12), min_size=1, max_size=8)


def tasks_of(months: list[int]) -> list[Task]:
    """Tasks of tiles with so many months each."""
    return [
        Task(
            "m",
            f"h0{tile}v00",
            (PlannedDay(ProductDay(f"h0{tile}v00", date(2018 + month // 12, month % 12 + 1, 1), "001", ""), "new"),),
        )
        for tile, number in enumerate(months)
        for month in range(number)
    ]


@given(MONTHS, st.integers(1, 6), st.randoms())
def test_workers_keep_their_tile_and_never_wait(months, workers, random):
    tasks, took = tasks_of(months), list[tuple[int, Task]]()
    queue = TaskQueue(tasks)
    left, ends = Counter(task.tile for task in tasks), list[tuple[float, int, Task | None]]()
    for worker in range(workers):
        heapq.heappush(ends, (0.0, worker, None))
    while ends:
        now, worker, before = heapq.heappop(ends)
        task = queue.next(before)
        if task is None:
            assert not len(queue)
            continue
        assert before is None or before.tile == task.tile or not left[before.tile]
        left[task.tile] -= 1
        took.append((worker, task))
        heapq.heappush(ends, (now + random.uniform(1, 2), worker, task))
    assert sorted(task.name for _, task in took) == sorted(task.name for task in tasks)
    for tile in {task.tile for task in tasks}:
        of_tile = [task.name for _, task in took if task.tile == tile]
        assert of_tile == sorted(of_tile)


@given(MONTHS, st.integers(1, 12))
def test_slices_are_equal_and_hold_tiles_together(months, count):
    tasks = tasks_of(months)
    slices = in_slices(tasks, count)
    assert len(slices) == count
    assert sorted(task.name for one in slices for task in one) == sorted(task.name for task in tasks)
    assert max(map(len, slices)) - min(map(len, slices)) <= 1
    for one in slices:
        runs = [tile for tile, _ in groupby(task.tile for task in one)]
        assert len(runs) == len(set(runs))
    shared = sum(len({task.tile for task in one}) for one in slices) - len({task.tile for task in tasks})
    assert shared < count


@given(MONTHS, st.integers(0, 6))
def test_places_follow_the_order_of_tasks(months, number):
    tasks = tasks_of(months)
    found = places_by_tile(tasks, [f"w{i}" for i in range(number)])
    assert len(found) == len(tasks)
    if number:
        assert all(one <= other for one, other in pairwise(found))
        assert max(Counter(found).values(), default=0) <= -(-len(tasks) // number)
    else:
        assert set(found) <= {""}
