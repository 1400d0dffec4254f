"""Worker processes: they work, they start without importing everything again, and what has not started is cancelled."""

import ast
import os
import platform
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event

import dask
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stac_sm
from stac_sm.core.parallel import keep_freed_memory, map_jobs, own_threads, process_pool


def _who(number):
    return os.getpid(), number * number


def test_workers_are_other_processes():
    with process_pool(2) as pool:
        found = list(pool.map(_who, range(8)))
    assert [square for _, square in found] == [n * n for n in range(8)]
    assert os.getpid() not in {pid for pid, _ in found}


def test_workers_have_the_heavy_imports_made():
    # In a process of its own: here another test may have started the server that workers fork from, without imports.
    code = """
from stac_sm.core.parallel import process_pool

with process_pool(2) as pool:
    print(set(pool.map(eval, ["'xarray' in __import__('sys').modules"] * 4)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{True}\n"


def test_the_server_imports_what_is_named_before_a_worker_is_forked():
    code = """
from stac_sm.core.parallel import process_pool, start_worker_server

start_worker_server("stac_sm.features.recipe")
with process_pool(2) as pool:
    print(set(pool.map(eval, ["'stac_sm.features.recipe' in __import__('sys').modules"] * 4)))
    print(set(pool.map(eval, ["len(__import__('sys').modules) > 1000"] * 4)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{True}\n{True}\n"


def _slow_first(number):
    time.sleep(0.5 if number == 0 else 0)
    return number * number


@settings(max_examples=6, deadline=None)
@given(
    st.lists(st.integers(0, 50), max_size=12), st.integers(0, 3), st.booleans(), st.integers(1, 4), st.integers(0, 9)
)
def test_results_are_those_of_a_loop(numbers, workers, as_ready, chunk, least):
    found = list(map_jobs(_slow_first, iter(numbers), workers, as_ready=as_ready, chunk=chunk, least_jobs=least))
    wanted = [number * number for number in numbers]
    assert (sorted(found) if as_ready else found) == (sorted(wanted) if as_ready else wanted)


def test_a_slow_job_holds_up_the_others_only_where_order_counts():
    assert list(map_jobs(_slow_first, range(4), 2)) == [0, 1, 4, 9]
    assert list(map_jobs(_slow_first, range(4), 2, as_ready=True))[-1] == 0


@pytest.mark.parametrize(("workers", "jobs", "here"), [(1, 4, True), (0, 4, True), (2, 4, False), (2, 1, True)])
def test_one_worker_or_few_jobs_need_no_other_process(workers, jobs, here):
    pids = {pid for pid, _ in map_jobs(_who, range(jobs), workers)}
    assert (pids == {os.getpid()}) is here
    assert {pid for pid, _ in map_jobs(_who, range(4), 2, least_jobs=5)} == {os.getpid()}


def test_in_one_process_a_job_is_taken_when_its_result_is_asked_for():
    taken = []
    results = map_jobs(_slow_first, (taken.append(number) or number for number in range(1, 4)), 1)
    assert taken == []
    assert next(results) == 1
    assert taken == [1]


def _touch(folder, number):
    if number == 0:
        raise ValueError("job 0")
    time.sleep(0.1)
    Path(folder, str(number)).touch()


def test_a_graph_that_fails_is_over_when_its_other_parts_are(monkeypatch):
    """A part goes on until the threads are waited for: on those of Dask, it would still run afterwards."""
    begun, waited_for, ended, shutdown = Event(), Event(), [], ThreadPoolExecutor.shutdown

    def fails():
        assert begun.wait(60)
        raise ValueError("one part")

    def goes_on():
        begun.set()
        assert waited_for.wait(60)
        ended.append(True)

    def waiting(pool, *args, **options):
        waited_for.set()
        shutdown(pool, *args, **options)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", waiting)
    parts = [dask.delayed(one, pure=False)() for one in (goes_on, fails)]
    try:
        with pytest.raises(ValueError, match="one part"), own_threads(2) as here:
            dask.compute(*parts, **here)
        assert ended
    finally:
        waited_for.set()


def test_memory_that_is_freed_is_used_again():
    """Pages of 16 MB that the system gives for arrays one after another: all of each of them, or of one."""
    code = (
        "import sys, resource\n"
        "import numpy as np\n"
        "from stac_sm.core.parallel import keep_freed_memory\n"
        "if sys.argv[1] == 'kept': keep_freed_memory(), keep_freed_memory()\n"
        "def fill(): np.empty(1 << 22, np.int32)[:] = 1\n"
        "fill()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(20): fill()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    small = os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0", "MALLOC_TRIM_THRESHOLD_": "65536"}  # as Dask sets it
    faults = {
        how: int(subprocess.run([sys.executable, "-c", code, how], env=small, capture_output=True, check=True).stdout)
        for how in ("kept", "given back")
    }
    if platform.libc_ver()[0] == "glibc":
        assert faults["kept"] < 4096 < 10 * 4096 < faults["given back"]
    else:
        assert keep_freed_memory() is None


def test_every_graph_runs_on_threads_of_its_own():
    """Or in the thread that asks for it."""
    calls = [
        f"{file.name}: {call}"
        for file in Path(stac_sm.__file__).parent.rglob("*.py")
        for call in re.findall(r"\.compute\([^)]*\)", file.read_text())
    ]
    assert len(calls) > 5
    assert [call for call in calls if not re.search(r"\*\*here\)|scheduler=get_sync\)", call)] == []


@pytest.mark.parametrize("as_ready", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_is_raised_and_cancels_what_has_not_started(tmp_path, as_ready, workers):
    with pytest.raises(ValueError, match="job 0"):
        list(map_jobs(partial(_touch, tmp_path), range(600), workers, as_ready=as_ready))
    assert len(list(tmp_path.iterdir())) < 300


@pytest.mark.parametrize("as_ready", [False, True])
def test_a_caller_that_stops_early_cancels_the_rest(tmp_path, as_ready):
    results = map_jobs(partial(_touch, tmp_path), range(1, 601), 2, as_ready=as_ready)
    next(results)
    results.close()
    assert len(list(tmp_path.iterdir())) < 300


def test_an_interrupt_ends_the_running_jobs_only(tmp_path):
    folder, script = tmp_path / "made", tmp_path / "work.py"
    folder.mkdir()
    script.write_text(
        "from functools import partial\n"
        "from stac_sm.core.parallel import map_jobs\n"
        "from tests.core.test_parallel import _touch\n"
        'if __name__ == "__main__":\n'
        f"    list(map_jobs(partial(_touch, {str(folder)!r}), range(1, 601), 2, as_ready=True))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(stac_sm.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, script],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a run put aside is deaf to it
    ) as process:
        ends = time.monotonic() + 60
        while not any(folder.iterdir()) and time.monotonic() < ends:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert "KeyboardInterrupt" in said
    assert 0 < len(list(folder.iterdir())) < 300
    left = len(list(folder.iterdir()))
    time.sleep(0.3)
    assert len(list(folder.iterdir())) == left


def test_nobody_else_chooses_between_this_process_and_a_pool():
    package = Path(stac_sm.__file__).parent
    users = {
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"process_pool", "ProcessPoolExecutor"}
    }
    assert users == {"core/parallel.py", "demo/flow.py", "doctor/machine_checks.py", "workflows/plan/plan.py"}
