"""Provide the workers that make the tasks of a run; only this module and `workflows.submit` know dask.distributed.

Dask is given plain tasks, by name: a folder and a few texts go to a worker, and a record comes back. No graph is as
long as the run, and no object as large as a model travels.
"""

from __future__ import annotations

import contextlib
import logging
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol

from stac_sm.core.errors import InputError, RunError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS
from stac_sm.core.parallel import START_METHOD
from stac_sm.stac.items import software_version
from stac_sm.storage.single_writer import one_process_message, require_one_process
from stac_sm.storage.store import Store
from stac_sm.workflows.plan.planned_days import Task
from stac_sm.workflows.project import SlurmSettings
from stac_sm.workflows.run.memory import machine_memory, parse_bytes
from stac_sm.workflows.run.run_log import TaskRecord
from stac_sm.workflows.run.task import failed_task_record, run_task
from stac_sm.workflows.run.task_queue import TaskQueue, places_by_tile

_ANY_PORT = "127.0.0.1:0"  # with None, distributed asks for port 8787, which a second run on a machine does not get
_DEATHS = 2  # workers that a task may lose before it is given up: two may be bad luck, three are the task
_SECONDS_TO_FIRST_WORKER = 30
_PUBLISHED = "stac-sm published"  # topic of the events of a cluster: the id of an item
_ADDRESS = re.compile(r"(\w+://)?(\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):[0-9]{1,5}/?")
_ENDING = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Assignment:
    """Tasks, and what each worker needs beside them."""

    folder: str
    """Project: a folder that all workers see, or an ``s3://…``."""

    tasks: Sequence[Task]
    """In the order in which they begin."""

    plan: str = ""
    """Id of the plan."""

    run: str = ""
    """Id of the run."""

    log: Callable[[str], None] = lambda message: None
    """Called with a line of text about where the dashboard of the cluster is, if it has one."""

    day_done: Callable[[str], None] = lambda id: None
    """Called with the id of each item as soon as it is published, on a thread of the cluster."""


class Workers(Protocol):
    """Place where tasks are made."""

    def share(self, tasks: int) -> int | None:
        """Return the memory of each worker.

        Parameters
        ----------
        tasks
            Number of tasks.

        Returns
        -------
        int or None
            Bytes; None if only the worker knows.
        """

    @property
    def number(self) -> int | None:
        """Workers that there are at once, each of which gets a task at a time; None where they may come and go."""

    def client(self, tasks: int) -> contextlib.AbstractContextManager[Any]:
        """Open a connection to a Dask scheduler that has, or gets, workers; it is closed at the end.

        Parameters
        ----------
        tasks
            Number of tasks: no more workers are needed.

        Returns
        -------
        context manager
            Yields a `distributed.Client`.
        """


@dataclass(frozen=True)
class LocalWorkers:
    """Processes on this machine, each with one thread of BLAS and OpenMP."""

    workers: int = 2
    """Number of processes."""

    memory: int = field(default_factory=machine_memory)
    """Bytes for all of them together."""

    def share(self, tasks: int) -> int:
        """Return an equal part for each.

        Parameters
        ----------
        tasks
            Number of tasks.

        Returns
        -------
        int
            Bytes.
        """
        return self.memory // max(1, min(self.workers, tasks))

    @property
    def number(self) -> int:
        """Number of processes."""
        return self.workers

    @contextmanager
    def client(self, tasks: int) -> Iterator[Any]:
        """Open a cluster of spawned processes; one that takes more than its part is ended by its nanny.

        Parameters
        ----------
        tasks
            Number of tasks: no more processes are started.

        Yields
        ------
        distributed.Client
            Closed at the end, and the cluster with it.
        """
        import dask
        from distributed import Client

        options = {
            "distributed.worker.multiprocessing-method": START_METHOD,
            "distributed.worker.memory.target": False,  # results are a few lines: nothing to spill, nothing to wait for
            "distributed.worker.memory.spill": False,
            "distributed.worker.memory.pause": False,
        }
        with (
            dask.config.set(options),
            _local_cluster(
                n_workers=min(self.workers, tasks),
                threads_per_worker=1,
                memory_limit=self.share(tasks),
                dashboard_address=_ANY_PORT,
                silence_logs=50,
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client


def _local_cluster(**options: Any) -> Any:
    from distributed import LocalCluster

    try:
        with _signals_afterwards():
            return LocalCluster(**options)
    except (RuntimeError, OSError, EOFError) as error:  # a process was killed, or not granted, while they start
        raise RunError(
            f"the worker processes could not be started ({error}): nothing was changed; look for what ends "
            "processes here (memory, limits on processes), and run the same command again"
        ) from error


@contextmanager
def _signals_afterwards() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM until a block has ended: a cluster that is half-way started cannot be closed."""
    waiting: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    before = {one: signal.signal(one, lambda number, _: waiting.append(number)) for one in _ENDING}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        for number in waiting[:1]:
            signal.raise_signal(number)


@dataclass(frozen=True)
class SingleProcessWorkers:
    """One task after another in this process: for stores to which only one process may write."""

    memory: int = field(default_factory=machine_memory)
    """Bytes."""

    def share(self, tasks: int) -> int:
        """Return all of it.

        Parameters
        ----------
        tasks
            Number of tasks.

        Returns
        -------
        int
            Bytes.
        """
        return self.memory


@dataclass(frozen=True)
class SchedulerWorkers:
    """Workers of a Dask scheduler that runs already."""

    address: str
    """Such as ``tcp://10.0.0.1:8786``."""

    def share(self, tasks: int) -> None:
        """Return None: what the machine of each worker grants.

        Parameters
        ----------
        tasks
            Number of tasks.
        """

    @property
    def number(self) -> None:
        """None: who else may come is not known."""

    @contextmanager
    def client(self, tasks: int) -> Iterator[Any]:
        """Open a connection; refuse workers that would make other values than this version of stac_sm.

        Parameters
        ----------
        tasks
            Number of tasks.

        Yields
        ------
        distributed.Client
            Closed at the end; the scheduler stays.
        """
        from distributed import Client

        if not _ADDRESS.fullmatch(self.address):  # distributed would never end its process
            raise InputError(f"scheduler {self.address!r}: write its address as it prints it, e.g. tcp://HOST:8786")
        try:
            client = Client(self.address, set_as_default=False)  # waits for distributed.comm.timeouts.connect, 30 s
        except (OSError, ValueError, MemoryError) as error:  # the last: what answers is taken for an endless message
            raise InputError(
                f"no Dask scheduler answers at {self.address!r} ({error}): start one by `dask scheduler`, workers by "
                "`dask worker ADDRESS`, and give the address that it prints, e.g. tcp://HOST:8786"
            ) from error
        with client:
            _check_workers(client)
            yield client


@dataclass(frozen=True)
class SlurmWorkers:
    """Workers that Slurm starts as jobs, by dask-jobqueue; they end with the run."""

    jobs: int
    """Number of jobs, of one worker each."""

    settings: SlurmSettings
    """What each job asks for."""

    def share(self, tasks: int) -> int:
        """Return what each job asks for.

        Parameters
        ----------
        tasks
            Number of tasks.

        Returns
        -------
        int
            Bytes.
        """
        return parse_bytes(self.settings.memory)

    @property
    def number(self) -> int:
        """Number of jobs."""
        return self.jobs

    @contextmanager
    def client(self, tasks: int) -> Iterator[Any]:
        """Start a scheduler here, and jobs in the queue.

        Parameters
        ----------
        tasks
            Number of tasks: no more jobs are sent.

        Yields
        ------
        distributed.Client
            Closed at the end, and the jobs with it.
        """
        try:
            from dask_jobqueue.slurm import SLURMCluster
        except ImportError as error:
            raise InputError("--scheduler slurm needs dask-jobqueue: pip install 'stac_sm[slurm]'") from error
        from distributed import Client

        with SLURMCluster(**self.settings.to_jobqueue()) as cluster, Client(cluster, set_as_default=False) as client:
            cluster.scale(jobs=min(self.jobs, tasks))
            yield client


def single_writer_workers(workers: Workers, store: Store, part: object | None) -> SingleProcessWorkers:
    """Return what takes the place of workers where only one process may write to a store.

    Parameters
    ----------
    workers
        The workers that were asked for.
    store
        The store, which lacks something.
    part
        The slice that is to be made; None: all.

    Returns
    -------
    SingleProcessWorkers
        With the memory of the workers.

    Raises
    ------
    InputError
        If they are several, or not of this machine, or a slice is to be made, beside which others are.
    """
    if part is not None:
        raise InputError(one_process_message(store, "a slice is made beside others: leave out --slice"))
    if not isinstance(workers, LocalWorkers):
        raise InputError(one_process_message(store, "workers elsewhere found: leave out --scheduler"))
    require_one_process(store, workers.workers)
    return SingleProcessWorkers(workers.memory)


def task_records(workers: Workers | SingleProcessWorkers, work: Assignment) -> Iterator[TaskRecord]:
    """Yield what came of each task, as soon as it is there.

    Parameters
    ----------
    workers
        Where the tasks are made.
    work
        The tasks.

    Yields
    ------
    TaskRecord
        In the order in which they end.

    Raises
    ------
    RunError
        If the scheduler is lost: the tasks that have come back by then are done.
    """
    if isinstance(workers, SingleProcessWorkers):
        for task in work.tasks:
            yield run_task(work.folder, task, workers.memory, work.plan, work.run, work.day_done)
    elif work.tasks:
        yield from _of_cluster(workers, work)


def _of_cluster(workers: Workers, work: Assignment) -> Iterator[TaskRecord]:
    import dask
    from distributed.comm import CommClosedError  # the import puts settings in place that `set` would take away, else

    settings = {"distributed.scheduler.allowed-failures": _DEATHS}
    try:
        with _quiet("distributed"), dask.config.set(settings), workers.client(len(work.tasks)) as dasks:
            if page := dashboard_address(dasks):
                work.log(f"Dask dashboard: {page}")
            dasks.subscribe_topic(_PUBLISHED, lambda event: work.day_done(event[1]))
            yield from _gathered(dasks, work, workers.share(len(work.tasks)), workers.number)
    except (CommClosedError, TimeoutError) as error:
        raise RunError(
            f"the Dask scheduler, or all its workers, were lost ({error}): what was published is done; start them "
            "again and run the same command again"
        ) from error


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Hold back tracebacks of a library that we put into words."""
    names = [one for one in logging.root.manager.loggerDict if one == name or one.startswith(f"{name}.")]
    levels = {log: log.level for log in map(logging.getLogger, names)}  # each has a handler of its own
    for log in levels:
        log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for log, level in levels.items():
            log.setLevel(level)


def dashboard_address(client: Any) -> str:
    """Return the address of a cluster's dashboard; empty where Bokeh is not installed, which draws it.

    Parameters
    ----------
    client
        A `distributed.Client`.

    Returns
    -------
    str
        ``http://`` address, or empty.
    """
    return str(client.dashboard_link) if find_spec("bokeh") else ""


def _gathered(client: Any, work: Assignment, memory: int | None, workers: int | None) -> Iterator[TaskRecord]:
    """Send tasks, one for each worker, and yield their records; each worker gets the tiles that it has begun."""
    from distributed import as_completed

    named = {f"{task.name} {work.run}": task for task in work.tasks}
    keys = {task.name: key for key, task in named.items()}
    queue, at = TaskQueue(work.tasks), dict[str, str]()

    def submitted(task: Task, address: str) -> Any:
        key = keys[task.name]
        at[key] = address
        given = (work.folder, task, memory, work.plan, work.run)
        return client.submit(_run_at, *given, key=key, pure=False, **preferred(address))

    if workers is None:  # who else may come is not known: the scheduler moves tasks to those that are idle
        known = [address for address, threads in client.nthreads().items() for _ in range(threads)]
        first = [submitted(*one) for one in zip(work.tasks, places_by_tile(work.tasks, known), strict=True)]
        queue = TaskQueue(())
    else:
        first = [submitted(task, "") for _ in range(workers) if (task := queue.next())]
    waiting = as_completed(first, loop=client.loop)
    left = len(named)
    for future in waiting:
        if future.status in {"lost", "cancelled"}:
            raise RunError(
                f"the Dask scheduler at {client.scheduler.address} was lost with {left} of {len(named)} tasks open: "
                "what they have published is done; start it again and run the same command again"
            )
        record, address = _result(future, named[future.key])
        del at[future.key]
        if following := queue.next(named[future.key]):
            waiting.add(submitted(following, "" if address in at.values() else address))
        yield record
        left -= 1


def preferred(address: str) -> dict[str, Any]:
    """Return the arguments of ``Client.submit`` for a task that is best made by one worker, and may be by others.

    Parameters
    ----------
    address
        Of the worker; empty: any.

    Returns
    -------
    dict
        Arguments by name.
    """
    return {"workers": [address], "allow_other_workers": True} if address else {}


def _run_at(folder: str, task: Task, memory: int | None, plan: str, run: str) -> tuple[TaskRecord, str]:
    """Make a task, and return its record with the address of the worker; report each day as it is published."""
    from distributed import get_worker

    worker = get_worker()  # here: other threads of a task do not know it
    record = run_task(folder, task, memory, plan, run, lambda id: worker.log_event(_PUBLISHED, id))
    return record, str(worker.address)


def _result(future: Any, task: Task) -> tuple[TaskRecord, str]:
    """Return the record of a task and the worker that made it; empty if all were lost."""
    lost = future.exception()
    if lost is None:
        made: tuple[TaskRecord, str] = future.result()
        return made
    if type(lost).__name__ == "KilledWorker":  # run_task raises nothing: its worker was killed, several times
        lost = MemoryError(
            f"{_DEATHS + 1} workers died over this task, which is what the system or Dask does to those that take more "
            "than they were given"
        )
    return TaskRecord(task.name, failures=failed_task_record(task, lost)), ""


def _check_workers(client: Any) -> None:
    """Refuse workers that would make other values."""
    client.wait_for_workers(1, timeout=_SECONDS_TO_FIRST_WORKER)
    for address, found in client.run(software_versions).items():
        if found != software_versions():
            raise InputError(
                f"worker {address} has stac_sm {found}, here it is {software_versions()}: "
                "install the same version on both"
            )


def software_versions() -> str:
    """Return what decides the values that are made: the same here and on workers.

    Returns
    -------
    str
        Versions of stac_sm and of the stage ``product``.
    """
    return f"{software_version()}, algorithm {ALGORITHM_VERSIONS['product']}"
