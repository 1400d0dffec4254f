"""Slurm on this machine: a controller and one node in a temporary folder, on free ports, gone with the test."""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from tests.support.object_stores import free_ports, running_command

_NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
_SECONDS = 60
_session = contextlib.ExitStack()
atexit.register(_session.close)


def why_no_slurm() -> str | None:
    """What is missing for Slurm."""
    if any(shutil.which(name, path=_path()) is None for name in _NEEDED):
        return "no Slurm here: tests/integration/install_slurm.sh installs it"
    return None if os.getuid() == 0 else "slurmd wants root: run the tests as root"


@cache
def slurm_cluster() -> dict[str, str]:
    """The environment in which commands find the cluster of this process: one node, started when first asked for."""
    return _session.enter_context(_cluster())


@contextlib.contextmanager
def _cluster() -> Iterator[dict[str, str]]:
    scratch = tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True)
    with scratch as folder, _cluster_in(Path(folder)) as environment:
        yield environment


@contextlib.contextmanager
def _cluster_in(folder: Path) -> Iterator[dict[str, str]]:
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool", "log"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    folder.chmod(0o755)
    (folder / "slurm.conf").write_text(_configuration(folder, host))
    environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
    munge = ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}"]
    munge += [f"--pid-file={folder}/munge.pid", f"--log-file={folder}/log/munged", f"--seed-file={folder}/munge.seed"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(running_command([*munge, "--num-threads=2"], folder / "munged.log", environment))
        _wait(lambda: (folder / "munge.socket").exists(), folder)
        stack.enter_context(running_command(["slurmctld", "-D", "-i"], folder / "slurmctld.log", environment))
        stack.enter_context(running_command(["slurmd", "-D", "-N", host], folder / "slurmd.log", environment))
        _wait(lambda: "idle" in _said(["sinfo", "--noheader", "--format=%T"], environment), folder)
        yield environment


def wait_for_end(id: str, seconds: float = 240) -> None:
    """Until no slice of a job is left in the queue."""
    deadline = time.monotonic() + seconds
    while _said(["squeue", "--noheader", f"--job={id}"], slurm_cluster()).strip():
        assert time.monotonic() < deadline, _said(["scontrol", "show", "job", id], slurm_cluster())
        time.sleep(0.5)


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin"


def _said(command: list[str], environment: dict[str, str]) -> str:
    known = os.environ | environment
    return subprocess.run(command, env=known, capture_output=True, text=True, timeout=30, check=False).stdout


def _wait(there: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while not there():
        if time.monotonic() > deadline:
            logs = "\n".join(
                f"{log}: {log.read_text()[-2000:]}" for log in [*folder.glob("*.log"), *folder.glob("log/*")]
            )
            raise AssertionError(f"Slurm does not come up:\n{logs}")
        time.sleep(0.2)


def _configuration(folder: Path, host: str) -> str:
    control, node = free_ports(2)
    user = pwd.getpwuid(os.getuid()).pw_name
    return f"""
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,batch_sched_delay=0
MinJobAge=300
MaxArraySize=101
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
SlurmdParameters=config_overrides
"""
