"""What a Slurm job of a run asks for."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SlurmSettings:
    """Table ``[slurm]`` of the project file; names as in ``sbatch`` and dask-jobqueue."""

    queue: str | None = None
    """Partition; None is the cluster's own default."""

    account: str | None = None
    """Who pays."""

    walltime: str = "04:00:00"
    """Longest time of a job."""

    cores: int = 2
    """Cores of a job."""

    memory: str = "8G"
    """Memory of a job."""

    directives: tuple[str, ...] = ()
    """Further lines after ``#SBATCH``, e.g. ``--constraint=rome``."""

    prologue: tuple[str, ...] = ()
    """Commands before the worker starts, e.g. ``module load python``."""

    interface: str | None = None
    """Network interface between the nodes, e.g. ``ib0``."""

    logs: str = "slurm-logs"
    """Folder for what jobs print, where the command is given."""

    def to_jobqueue(self) -> dict[str, Any]:
        """Arguments of ``dask_jobqueue.SLURMCluster``: a job is one worker of one thread: tasks have their own."""
        return {
            "queue": self.queue,
            "account": self.account,
            "walltime": self.walltime,
            "cores": 1,
            "job_cpu": self.cores,
            "processes": 1,
            "memory": self.memory,
            "job_extra_directives": list(self.directives),
            "job_script_prologue": list(self.prologue),
            "interface": self.interface,
            "log_directory": self.logs,
            "python": sys.executable,
            "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
        }
