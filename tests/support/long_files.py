"""Leave the files of tests that take longest out of a whole run at home, so that it ends within ten minutes.

``uv run pytest --all`` runs them too, and so does CI. Naming a file or folder below ``tests`` runs all that is in it.
Seconds of each file stand in ``durations.json``. Files are left out from the longest down, until the rest fits.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import pytest

from tests.support.missing import IN_CI

DURATIONS = Path(__file__).with_name("durations.json")
"""Seconds of each file of tests in a whole run."""

SECONDS_A_PROCESS = 320.0
"""Of ten minutes, what the tests of one process may take: the rest is for starting, and for slower machines. With 450,
twelve minutes were needed on 2 cores."""

_LEFT_OUT = "STAC_SM_TESTS_LEFT_OUT"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--all``."""
    parser.addoption("--all", action="store_true", help="a whole run at home: also the files that take longest")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Decide once, in the first process of a whole run, what is left out; the other processes are told."""
    if hasattr(config, "workerinput"):
        return
    os.environ.pop(_LEFT_OUT, None)
    picked = config.option.markexpr or config.option.keyword
    if is_whole_run(config) and not (IN_CI or config.option.all or picked):
        there = {file: time for file, time in seconds().items() if (config.rootpath / file).is_file()}
        files = longest_files(there, max(1, len(config.option.tx or [])))
        os.environ[_LEFT_OUT] = json.dumps(files)


def seconds() -> dict[str, float]:
    """Return the seconds that each file of tests has taken in a whole run."""
    return dict(json.loads(DURATIONS.read_text()))


def is_whole_run(config: pytest.Config) -> bool:
    """Return whether a run names no file or folder below ``tests``."""
    root = config.rootpath
    named = {Path(config.invocation_params.dir, argument).resolve() for argument in config.args}
    return bool(named & {root, root / "tests"})


def longest_files(seconds: dict[str, float], processes: int) -> list[str]:
    """Return the files to leave out: the longest, until the others take SECONDS_A_PROCESS for each process."""
    longest = sorted(seconds, key=lambda file: (-seconds[file], file))
    rest, room = sum(seconds.values()), SECONDS_A_PROCESS * processes
    for number, file in enumerate(longest):
        if rest <= room:
            return longest[:number]
        rest -= seconds[file]
    return longest


@cache
def left_out() -> tuple[str, ...]:
    """Files of tests that this run leaves out."""
    return tuple(json.loads(os.environ.get(_LEFT_OUT, "[]")))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave a file out without importing it."""
    below = config.rootpath in collection_path.parents
    return True if below and str(collection_path.relative_to(config.rootpath)) in left_out() else None
