"""Hand out the tasks of a run so that those of one tile follow one another on one worker.

A worker keeps lookups and static layers of the tiles that it has seen (`features.kept_arrays`), so its next task is of
the tile before as long as that has tasks left. No worker waits while any task is left: then it helps where most are.
`workers` gives tasks to a cluster by `TaskQueue`, `run.PlanSlice` cuts a plan for arrays of jobs by `in_slices`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from itertools import pairwise

from stac_sm.core.fingerprint import digest
from stac_sm.workflows.plan.planned_days import Task


class TaskQueue:
    """Tasks that are not begun, by tile.

    Parameters
    ----------
    tasks
        In the order in which they begin where nothing else decides.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._open: dict[str, deque[Task]] = {}
        for task in tasks:
            self._open.setdefault(task.tile, deque()).append(task)
        self._at = Counter[str]()

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def next(self, before: Task | None = None) -> Task | None:
        """Take the next task of a worker.

        Parameters
        ----------
        before
            The task that it has ended; None for the first one.

        Returns
        -------
        Task or None
            One of the same tile, else of the first tile at which nobody works, else of the one with most days left for
            each who works at it; None if no task is left.
        """
        tile = before.tile if before else ""
        if tile not in self._open:
            if before:
                self._at[tile] -= 1
            if not self._open:
                return None
            free = (one for one in self._open if not self._at[one])
            tile = next(free, "") or max(self._open, key=self._days_for_each)
            self._at[tile] += 1
        task = self._open[tile].popleft()
        if not self._open[tile]:
            del self._open[tile]
        return task

    def _days_for_each(self, tile: str) -> float:
        return sum(len(task.planned) for task in self._open[tile]) / (self._at[tile] + 1)


def in_slices(tasks: Sequence[Task], count: int) -> list[list[Task]]:
    """Cut tasks into slices of equal numbers of tasks, in which those of a tile lie together.

    Parameters
    ----------
    tasks
        All tasks of a plan.
    count
        Number of slices.

    Returns
    -------
    list of list of Task
        Each task is in one slice. Tiles are dealt by a digest of their ids, so that neighbours, which are alike, are in
        different slices; where there are fewer tiles than slices, several share a tile.
    """
    order = {tile: digest([tile]) for tile in {task.tile for task in tasks}}
    by_tile = sorted(tasks, key=lambda task: order[task.tile])  # stable: months stay in order
    ends = [len(by_tile) * i // count for i in range(count + 1)]
    return [by_tile[start:end] for start, end in pairwise(ends)]


def places_by_tile(tasks: Sequence[Task], places: Sequence[str]) -> list[str]:
    """Return where each task is best begun, if all are given away at once.

    Parameters
    ----------
    tasks
        In the order of tiles.
    places
        Address of a worker, once for each of its threads.

    Returns
    -------
    list of str
        Of each task an address, so that each worker gets tasks that follow one another; empty where none is known.
    """
    return [places[i * len(places) // len(tasks)] if places else "" for i in range(len(tasks))]
