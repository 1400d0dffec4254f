"""Processes that do a thing at once, and processes that are killed while they do it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

EVENTS = {"open", "os.link", "os.rename", "os.remove", "os.mkdir"}
"""Audit events of everything that changes a folder."""


def race(task: Callable[..., Any], arguments: list[tuple[Any, ...]]) -> list[Any]:
    """Results (as JSON) of one process for each tuple of arguments, all let go at the same moment."""
    gate, opener = os.pipe()
    children = []
    for one in arguments:
        result, answer = os.pipe()

        def run(one: tuple[Any, ...] = one, answer: int = answer) -> None:
            os.close(opener)
            os.read(gate, 1)  # until the parent closes the other end
            try:
                found = task(*one)
            except Exception as error:
                found = f"{type(error).__name__}: {error}"
            os.write(answer, json.dumps(found).encode())

        children.append((_fork(run), result))
        os.close(answer)
    os.close(gate)
    os.close(opener)
    found = []
    for child, result in children:
        with os.fdopen(result) as file:
            found.append(json.loads(file.read()))
        os.waitpid(child, 0)
    return found


def killed_at(count: int, folder: object, task: Callable[..., Any], *arguments: Any) -> bool:
    """Run a task that dies by SIGKILL just before its n-th step in a folder; whether it died."""
    steps = 0

    def step(event: str, what: tuple[Any, ...]) -> None:
        nonlocal steps
        reads = event == "open" and not what[2] & (os.O_WRONLY | os.O_RDWR)
        if event in EVENTS and not reads and str(what[0]).startswith(str(folder)):
            steps += 1
            if steps == count:
                os.kill(os.getpid(), signal.SIGKILL)

    def run() -> None:
        sys.addaudithook(step)
        task(*arguments)

    return _died(_fork(run))


def killed_after(seconds: float, task: Callable[..., Any], *arguments: Any) -> bool:
    """Run a task that is killed from outside some time after it began; whether it died."""
    child = _fork(lambda: task(*arguments))
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)  # a child that has ended is still there until it is waited for
    return _died(child)


def _fork(run: Callable[[], None]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the children use none of those
        child = os.fork()
    if child:
        return child
    status = 1
    try:
        run()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _died(child: int) -> bool:
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0
