"""Progress: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

LogFunction = Callable[[str], None]
"""Takes one message for the user."""

ProgressCallback = Callable[[int], None]
"""Takes the number of steps done since it was called last."""

_LINES_EVERY = 10.0  # seconds between two plain lines
_TELLING = 3  # steps; the first one waits for workers that start, and says nothing of the others


class ProgressBar:
    """Counts steps of one kind of work."""

    def __init__(self, title: str, say: LogFunction) -> None:
        self._title, self._say = title, say
        self._done, self._started, self._last = 0, time.monotonic(), time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> ProgressBar:
        if sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, total: int) -> None:
        """One more of ``total`` is done."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, total=total)
        elif time.monotonic() - self._last > _LINES_EVERY or self._done == total:
            self._last = time.monotonic()
            rate = self._done / max(self._last - self._started, 1e-9)
            told = f", {rate:.1f}/s, {(total - self._done) / rate:.0f} s left"
            self._say(f"{self._title}: {self._done} of {total}{told if self._done >= min(_TELLING, total) else ''}")


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
