"""Work on several processes of this machine, or in this one, or on threads that are waited for.

Stages that make many independent things call `map_jobs` and leave the choice to it. Workers start fast: the heavy
imports are made once, in a server that they fork from. Dask's graphs run on `own_threads`.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from typing import Any, TypeVar

_PRELOAD = (
    "dask.array",
    "netCDF4",
    "odc.geo.geobox",
    "pandas",
    "pyarrow.parquet",
    "pyhdf.SD",
    "pystac",
    "rasterio",
    "shapely",
    "xarray",
)
START_METHOD = "spawn" if sys.platform == "win32" else "forkserver"
"""Never ``fork``: the threads of GDAL, Dask and OpenMP do not survive it."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h

_CALLED_FIRST: dict[Callable[[], None], None] = {}

Job = TypeVar("Job")
Result = TypeVar("Result")


def map_jobs(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    workers: int,
    *,
    as_ready: bool = False,
    chunk: int = 1,
    least_jobs: int = 2,
) -> Iterator[Result]:
    """Yield the result of each job, made one after another in this process or by several worker processes.

    Nothing starts before the first result is asked for. An exception of a job is raised where its result would be
    yielded. Then, on Ctrl-C, and when the caller stops early, jobs that have not started are cancelled; the call
    returns when the running ones have ended.

    Parameters
    ----------
    function
        Makes one result. With several workers it must be importable (or a `functools.partial` of such a function), and
        jobs and results are pickled.
    jobs
        What ``function`` is called with. With one worker they are taken one at a time, as results are asked for.
    workers
        Number of processes; below 2, all is done in this one.
    as_ready
        Whether results come as soon as they are there, in any order; otherwise in the order of the jobs.
    chunk
        Jobs that are sent to a worker at a time, where each is short. Results come in the order of the jobs only.
    least_jobs
        With fewer jobs than this, all is done in this process, since workers take longer to start.

    Yields
    ------
    Result
        What ``function`` returns, once a job.
    """
    if workers >= 2:
        jobs = list(jobs)
        if len(jobs) >= least_jobs:
            with process_pool(workers) as pool:
                if as_ready:
                    tasks = [pool.submit(function, job) for job in jobs]
                    yield from (task.result() for task in as_completed(tasks))
                else:
                    yield from pool.map(function, jobs, chunksize=chunk)
            return
    yield from map(function, jobs)


def start_worker_server(*modules: str) -> None:
    """Start the server that worker processes fork from: it imports while this process does something else.

    A pool that is opened later uses it. Nothing happens where there is one, or where workers do not fork.

    Parameters
    ----------
    *modules
        Names of what the workers need beside the libraries of all stages: each is then imported once, not once a
        worker. They must start no thread when imported.
    """
    if START_METHOD == "forkserver":
        from multiprocessing.forkserver import ensure_running  # which Windows has not

        get_context(START_METHOD).set_forkserver_preload([*_PRELOAD, *modules])
        ensure_running()


def call_first_in_workers(function: Callable[[], None]) -> None:
    """Add a function that the workers of pools opened from now on call before their first job.

    Parameters
    ----------
    function
        At the top of a module, so that workers can import it. It is called once a worker, however often it is given.
    """
    _CALLED_FIRST[function] = None


def _call_all(*functions: Callable[[], None]) -> None:
    for function in functions:
        function()


@contextmanager
def process_pool(workers: int, *, short: bool = False) -> Iterator[Executor]:
    """Open a pool of worker processes; when it closes, jobs that have not started are cancelled.

    The workers may import this program's main module, so it must do nothing when imported.

    Parameters
    ----------
    workers
        Number of processes.
    short
        Whether they end soon: then the garbage collector is off in them, which saves a tenth of the time where millions
        of objects are made.

    Yields
    ------
    concurrent.futures.Executor
        The pool. Call `map_jobs` instead, unless several kinds of jobs overlap.
    """
    context = get_context(START_METHOD)
    if START_METHOD == "forkserver":
        context.set_forkserver_preload(list(_PRELOAD))
    first = (*_CALLED_FIRST, gc.disable) if short else tuple(_CALLED_FIRST)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_call_all, initargs=first)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@cache
def keep_freed_memory() -> None:
    """Keep the memory of arrays that this process has freed for the next ones, where its C library is glibc.

    Else most of it goes back to the system, which fills it with zeros before it is used again: where arrays of some
    megabytes come and go, that takes a tenth of all processor time. The process may hold a seventh more at its peak.
    """
    try:
        change = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library: macOS, Windows, musl
        return
    change(_MMAP_THRESHOLD, 1 << 25)  # beyond 32 MiB, each array is still given back at once
    change(_TRIM_THRESHOLD, 1 << 29)


@contextmanager
def own_threads(threads: int = 0) -> Iterator[dict[str, Any]]:
    """Run a graph of Dask on threads that have all ended when the context ends, also after an error.

    On its shared threads, Dask raises the first error while other parts of the graph are still running: they read files
    and write items behind the back of whoever handles the error.

    Parameters
    ----------
    threads
        Their number; 0: one for each processor.

    Yields
    ------
    dict
        Keyword arguments for ``compute``.
    """
    pool = ThreadPoolExecutor(threads or os.cpu_count() or 1)
    try:
        yield {"scheduler": "threads", "pool": pool}
    finally:
        pool.shutdown(cancel_futures=True)
