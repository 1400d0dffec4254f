"""Spread a whole run over all processors, with one of each server and one demo project in a session.

``uv run pytest`` uses two processes more than there are processors, up to four, since tests wait for servers, too. A
run that names files or folders below ``tests`` uses one process, since starting more takes longer than most files.
``pytest -n 0`` uses one process for everything.

A file of tests stays together in one process, so that the fixtures of its module are made once. Files that share a
server or the demo project carry the same mark ``pytest.mark.xdist_group("demo")`` and stay together, too. Groups that
take longest begin first, by the seconds in ``durations.json``: so none is left over when the others have ended.
``STAC_SM_DURATIONS=1 uv run pytest`` writes that file anew.

All processes fork commands and workers of stac-sm from one that has imported everything: see warm_start.py.

Python may write its bytecode, even where PYTHONDONTWRITEBYTECODE is set: tests start it hundreds of times, and half of
the time of a command is compiling its libraries.

A test marked ``alone`` measures time or processors. It runs at the end, while no other test does.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.long_files import DURATIONS, is_whole_run
from tests.support.warm_start import RUN_FOLDER, address, end_forking, start_forking, start_workers_warm, wait_for

MORE_THAN_PROCESSORS = 2
"""Processes beside one a processor: Terraform, servers and clusters are waited for much of the time."""

MOST_PROCESSES = 4
"""Each takes up to 1.5 GB, and beyond there is little left to be gained."""

_UNKNOWN = 10.0
"""Seconds of a file that is not in DURATIONS."""

_ALONE = "alone"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the processes of this run: two more than processors for whole runs, none beside this one for others."""
    whole = is_whole_run(config) and not config.option.collectonly
    return min((os.cpu_count() or 1) + MORE_THAN_PROCESSORS, MOST_PROCESSES) if whole else 0


def pytest_configure(config: pytest.Config) -> None:
    """Start the process that forks commands, which compiles Numba's kernels, while the worker processes start."""
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    start_workers_warm(address)
    if not hasattr(config, "workerinput") and config.option.numprocesses:
        os.environ[RUN_FOLDER] = tempfile.mkdtemp(prefix="stac-sm-run-")
        config.stash[_forking] = start_forking(Path(os.environ[RUN_FOLDER]))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the processes of this run have shared."""
    if _forking in config.stash:
        end_forking(config.stash[_forking])
        shutil.rmtree(os.environ.pop(RUN_FOLDER), ignore_errors=True)


_forking = pytest.StashKey[subprocess.Popen[bytes]]()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return a scheduler that keeps the tests of a group together.

    Not xdist's own for groups: as of 3.8 it writes their names into node ids, which pytest 9.2 does not allow.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _groups()[nodeid]

    if _forking in config.stash:
        wait_for(config.stash[_forking])
    return ByGroup(config, log)


@cache
def _groups() -> dict[str, str]:
    """Group of each test, as the worker processes have told."""
    return dict(json.loads(Path(os.environ[RUN_FOLDER], "groups.json").read_text()))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put groups that take longest first, and tests that must run alone last."""
    if not hasattr(config, "workerinput"):
        return
    known, cost = json.loads(DURATIONS.read_text()), defaultdict(float)
    for group, file in sorted({(_group(item), _file(item)) for item in items}):
        cost[group] += known.get(file, _UNKNOWN)
    items.sort(key=lambda item: (_group(item) == _ALONE, -cost[_group(item)], _group(item)))
    told = Path(os.environ[RUN_FOLDER], f"{config.workerinput['workerid']}.json")
    told.write_text(json.dumps({item.nodeid: _group(item) for item in items}))
    told.replace(told.with_name("groups.json"))


def _group(item: pytest.Item) -> str:
    if item.get_closest_marker(_ALONE):
        return _ALONE
    mark = item.get_closest_marker("xdist_group")
    return str(mark.args[0]) if mark else _file(item)


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Let a test that must run alone wait for the others, and the others for it."""
    folder = os.environ.get(RUN_FOLDER)
    with _locked(folder, alone=_group(item) == _ALONE) if folder else contextlib.nullcontext():
        return (yield)


@contextlib.contextmanager
def _locked(folder: str, *, alone: bool) -> Iterator[None]:
    """Hold a lock that all tests of a run share, and one test that runs alone has for itself.

    Everybody passes the gate first: one who waits there for the others to end is not overtaken by their next test.
    """
    with Path(folder, "gate").open("w") as gate, Path(folder, "lock").open("w") as lock:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the seconds of each file where STAC_SM_DURATIONS asks for it."""
    if not os.environ.get("STAC_SM_DURATIONS") or terminalreporter.config.option.collectonly:
        return
    seconds: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for one in reports:
            if isinstance(one, pytest.TestReport):
                seconds[one.nodeid.partition("::")[0]] += one.duration
    told = {file: round(value, 1) for file, value in sorted(seconds.items())}
    DURATIONS.write_text(json.dumps(told, indent=1) + "\n")
