"""Send a plan as an array job to Slurm, by the batch script of ``infra/slurm``.

`submit` calls it on a login node of the cluster.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence

from stac_sm.core.errors import InputError
from stac_sm.workflows.project import SlurmSettings
from stac_sm.workflows.submit.job import ArrayJob, SubmittedJob, infra_file

DEFAULT_LIMIT = 1001
"""Largest array of a cluster that says nothing of it."""

_SECONDS = 60


def array_limit() -> int:
    """Return the largest array that this cluster takes.

    Returns
    -------
    int
        ``MaxArraySize``.

    Raises
    ------
    InputError
        If there is no Slurm here, or it does not answer.
    """
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _asked(["scontrol", "show", "config"]), re.MULTILINE)
    return int(found[1]) if found else DEFAULT_LIMIT


def submit_to_slurm(
    job: ArrayJob,
    settings: SlurmSettings,
    *,
    parallel: int | None = None,
    options: Sequence[str] = (),
    dry_run: bool = False,
) -> SubmittedJob:
    """Send the job, unless one of this plan is waiting or at work.

    Parameters
    ----------
    job
        What to send; plan and project lie on a file system that all nodes share, or on S3.
    settings
        Partition, account, time and what comes first, from the project file; memory and CPUs are the job's.
    parallel
        Slices that may run at the same time; None: as many as the cluster has room for.
    options
        More of sbatch's options, such as ``--partition=short``.
    dry_run
        Whether only to return what would be sent.

    Returns
    -------
    SubmittedJob
        With Slurm's id of the job.

    Raises
    ------
    InputError
        If Slurm refuses it.
    """
    command = sbatch_command(job, settings, parallel, options)
    request = {"command": shlex.join(command)}
    if dry_run:
        return SubmittedJob(job, "", False, request=request)
    running = _asked(["squeue", "--me", "--noheader", f"--name={job.name}", "--format=%F"]).split()
    id = running[0] if running else _asked(command, settings.prologue).strip().partition(";")[0]
    watch = (
        job.status,
        f"squeue --job={id}",
        f"sacct --jobs={id} --format=JobID,State,Elapsed,MaxRSS  # where accounting is on",
    )
    return SubmittedJob(job, id, not running, watch, request)


def sbatch_command(
    job: ArrayJob, settings: SlurmSettings, parallel: int | None = None, options: Sequence[str] = ()
) -> list[str]:
    """Return the call of sbatch that sends a job.

    Parameters
    ----------
    job
        What to send.
    settings
        Partition, account and time, from the project file.
    parallel
        Slices that may run at the same time; None: as many as the cluster has room for.
    options
        More of sbatch's options, put after ours.

    Returns
    -------
    list of str
        Arguments, beginning with ``sbatch``.
    """
    array = f"0-{job.slices - 1}" + (f"%{parallel}" if parallel else "")
    ours = [f"--job-name={job.name}", f"--array={array}", f"--cpus-per-task={job.cpus}", f"--mem={job.mebibytes}M"]
    theirs = {"--time": settings.walltime, "--partition": settings.queue, "--account": settings.account}
    ours += [f"{name}={value}" for name, value in theirs.items() if value]
    program = [sys.executable, "-m", "stac_sm", *job.command[1:]]
    script = str(infra_file("slurm/stac-sm.sbatch"))
    return ["sbatch", "--parsable", *ours, *settings.directives, *options, script, *program]


def _asked(command: Sequence[str], prologue: Sequence[str] = ()) -> str:
    """Return what one of Slurm's programs prints; the prologue is passed in a variable that the batch script reads."""
    environment = os.environ | ({"STAC_SM_PROLOGUE": "\n".join(prologue)} if prologue else {})
    if shutil.which(command[0]) is None:
        raise InputError(f"{command[0]} is not here: submit from a login node of the Slurm cluster")
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{command[0]} does not answer within {_SECONDS} s: is slurmctld up? `sinfo` shows it"
        ) from error
    if done.returncode:
        raise InputError(f"{command[0]} refuses: {done.stderr.strip()}")
    return done.stdout
