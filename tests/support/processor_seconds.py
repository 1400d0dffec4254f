"""Processor seconds of each test, with those of all processes that it started: what a saturated machine waits for.

``STAC_SM_PROCESSOR_SECONDS=FILE uv run pytest ...`` appends a line a test to FILE, from all processes of the run.
``python tests/support/processor_seconds.py FILE [OLDER FILE]`` prints the sum of each file of tests, then the longest
tests; with an older file beside it, what both have.

A fixture counts for the first test that asks for it. Processes that lose their parent become children of the test's
process, and what they took counts, too.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_FILE = os.environ.get("STAC_SM_PROCESSOR_SECONDS", "")
_TICK = os.sysconf("SC_CLK_TCK")
_COLLECTION = "(start and collection)"
_LONGEST = 40
_PR_SET_CHILD_SUBREAPER = 36


def processor_seconds() -> float:
    """Return the processor seconds of this process, of its ended children, and of all that live below it."""
    times, children = {}, defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, values = int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        times[pid] = sum(map(int, values[11:15]))  # own, and of ended children that were waited for
        children[int(values[1])].append(pid)
    todo, total = [os.getpid()], 0
    while todo:
        pid = todo.pop()
        total += times.get(pid, 0)
        todo += children[pid]
    return total / _TICK


def _write(name: str, seconds: float) -> None:
    line = json.dumps({"test": name, "seconds": round(seconds, 2)}) + "\n"
    with Path(_FILE).open("a") as lines:
        lines.write(line)


def pytest_configure() -> None:
    """Keep the processes that lose their parents."""
    if _FILE:
        keep_orphans()


def keep_orphans() -> None:
    """Let processes below this one that lose their parent become children of this one."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Write what this process took until now."""
    if _FILE and session.items:
        _write(_COLLECTION, processor_seconds())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Write what a test takes, its fixtures included."""
    before = processor_seconds() if _FILE else 0.0
    result = yield
    if _FILE:
        _write(item.nodeid, processor_seconds() - before)
    return result


def _by_test(path: str) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for line in Path(path).read_text().splitlines():
        told = json.loads(line)
        seconds[told["test"]] += told["seconds"]
    return seconds


def _table(now: dict[str, float], before: dict[str, float] | None, most: int | None) -> None:
    both = sorted(set(now) & set(before) if before else now, key=lambda name: -now[name])
    for name in [*both[:most], ""]:
        for told in [before, now] if before else [now]:
            print(f"{told[name] if name else sum(told[one] for one in both):8.1f}", end=" ")
        print(name or "in all")


def main() -> None:
    """Print the tables of one file, or of two."""
    sums = []
    for path in sys.argv[1:3]:
        by_file: dict[str, float] = defaultdict(float)
        for name, seconds in _by_test(path).items():
            by_file[name.partition("::")[0]] += seconds
        sums.append(by_file)
    _table(sums[0], sums[1] if len(sums) > 1 else None, None)
    print()
    _table(_by_test(sys.argv[1]), _by_test(sys.argv[2]) if len(sums) > 1 else None, _LONGEST)


if __name__ == "__main__":
    main()
