"""Show progress: a bar with the time left on a terminal, plain lines with rate and time left elsewhere.

Workflows take a `ProgressCallback` or a `LogFunction` and know nothing of a terminal; the command line and the demo
make a `ProgressBar` and pass its method `step`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

LogFunction = Callable[[str], None]
"""Takes one message for the user."""

ProgressCallback = Callable[[int], None]
"""Takes the number of steps done since it was called last."""

_LINES_EVERY = 10.0  # seconds between two plain lines
_SURE = 0.05  # share of a computation after which its own pace says what is left
_STEPS_FOR_RATE = 3  # the first step waits for workers that start, so its rate predicts nothing


LOG_FORMAT_VARIABLE = "STAC_SM_LOG_FORMAT"
"""Environment variable that says ``json`` where programs read what goes to stderr: then there are lines, and no bar."""


class ProgressBar:
    """Context manager that counts the steps of one kind of work and shows them on stderr.

    Parameters
    ----------
    title
        What is done, e.g. ``"ingest glass-lst"``; it begins each line.
    unit
        What is counted, in the plural, e.g. ``"files"``.
    log
        Takes a line where stderr is not a terminal.
    """

    def __init__(self, title: str, unit: str, log: LogFunction) -> None:
        self._title, self._unit, self._log = title, unit, log
        self._done, self._started, self._last = 0, time.monotonic(), time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> ProgressBar:
        if sys.stderr.isatty() and os.environ.get(LOG_FORMAT_VARIABLE) != "json":
            self._bar = _bar()
            self._bar.start()
            self._task = self._bar.add_task(f"{self._title}, {self._unit}", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, total: int) -> None:
        """Count one more step as done.

        Parameters
        ----------
        total
            Number of steps of the whole work, which may grow from call to call; steps beyond it make it grow.
        """
        self._done += 1
        total = max(total, self._done)
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, total=total)
        elif time.monotonic() - self._last > _LINES_EVERY or self._done == total:
            self._last = time.monotonic()
            rate = self._done / max(self._last - self._started, 1e-9)
            pace = f"{rate:.1f} a second" if rate >= 1 else f"{1 / rate:.1f} s each"
            rate_text = f", {pace}, {(total - self._done) / rate:.0f} s left"
            known = self._done >= min(_STEPS_FOR_RATE, total)
            self._log(f"{self._title}: {self._done} of {total} {self._unit}{rate_text if known else ''}")


@contextmanager
def steps_of_part(progress: ProgressCallback, total: int, size: int) -> Iterator[ProgressCallback]:
    """Count the steps of one part of a work, so that its counts add up to those of the whole.

    Parameters
    ----------
    progress
        Called with ``total``, whenever a step is done.
    total
        Steps of the whole work.
    size
        Steps of the part: those that it does not report are counted at its end.

    Yields
    ------
    ProgressCallback
        For the part: what it is called with is the number of steps of the part, and not used.
    """
    done = 0

    def step(of_part: int) -> None:
        nonlocal done
        if done < size:
            done += 1
            progress(total)

    yield step
    for _ in range(size - done):
        progress(total)


class StageProgress:
    """Say which stage a long computation is in, what share of it is done, and the time left.

    Parameters
    ----------
    title
        What is done, e.g. ``"train"``; it begins each line.
    seconds
        Stage to the seconds that it is expected to take, in the order of the stages: only their ratios matter once the
        first of them is done.
    log
        Takes a line: at the start of each stage, and every few seconds.
    """

    def __init__(self, title: str, seconds: Mapping[str, float], log: LogFunction) -> None:
        self._title, self._log = title, log
        self._seconds = dict(seconds)
        self._stage, self._share = "", 0.0
        self._started, self._last = time.monotonic(), -_LINES_EVERY

    def stage(self, name: str) -> None:
        """Start a stage.

        Parameters
        ----------
        name
            One of those that were announced.
        """
        self._stage, self._share = name, 0.0
        self._say()

    def step(self, done: int, total: int) -> None:
        """Report how much of the stage is done.

        Parameters
        ----------
        done, total
            Steps that are done, and all of them.
        """
        self._share = max(self._share, done / max(total, 1))  # there may be more to do than was thought
        if time.monotonic() - self._last > _LINES_EVERY:
            self._say()

    def _say(self) -> None:
        self._last = time.monotonic()
        names = list(self._seconds)
        whole, at = sum(self._seconds.values()), names.index(self._stage)
        done = sum(self._seconds[name] for name in names[:at]) + self._share * self._seconds[self._stage]
        pace = (self._last - self._started) / done if done > _SURE * whole else 1.0
        self._log(f"{self._title}: {self._stage}, {done / whole:.0%} done, about {(whole - done) * pace:.0f} s left")


def _bar() -> Any:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
    )
