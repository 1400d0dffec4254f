"""Start commands of stac-sm in 0.1 s instead of 3 s of a processor: forked from a process that has imported everything.

`warm_python()` stands in a command for ``sys.executable``. The process that it starts has its own arguments, folder,
environment, files and exit code, as if Python had been started for it; only the imports are done already. The server
that its worker processes are forked from is started in the same way, unless STAC_SM_COLD_WORKERS is set: a worker that
has imported everything takes more memory. Tests that kill processes, or are about a first start, use
``sys.executable``.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import fcntl
import gc
import importlib
import json
import multiprocessing.util
import os
import pkgutil
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import types
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from tests.support.checkout import ROOT

_CLIENT = Path(__file__).with_name("warm_client.py")
RUN_FOLDER = "STAC_SM_TEST_RUN"
"""Variable that names the folder which all processes of a whole run share."""

_SOCKET = "warm"
_IMPORTED_LATE = ("boto3", "distributed", "matplotlib.backends.backend_agg", "stackstac.rio_reader", "xgboost", "zarr")
"""What commands import when they need it."""

_FREE_FILES = 256
"""No file that is handed over has this number or a higher one."""

_session = contextlib.ExitStack()
atexit.register(_session.close)


def warm_python() -> list[str]:
    """Return what stands in a command for ``sys.executable``: ``-m MODULE`` or ``-c CODE`` follow."""
    return _client(address(), (0, 1, 2))


def _client(address: str, files: tuple[int, ...]) -> list[str]:
    return [sys.executable, "-I", "-S", str(_CLIENT), address, ",".join(map(str, files))]


def warm_programs(folder: Path) -> Path:
    """Write ``stac-sm``, for a shell's PATH, into a folder; return the folder."""
    code = "import sys; sys.argv[0] = 'stac-sm'; from stac_sm.cli.main import main; main()"
    program = folder / "stac-sm"
    program.write_text(f'#!/bin/sh\nexec {" ".join(warm_python())} -c "{code}" "$@"\n')
    program.chmod(0o755)
    return folder


@cache
def address() -> str:
    """Socket of the process that forks: that of a whole run, or one that is started when it is first asked for."""
    if folder := os.environ.get(RUN_FOLDER):
        return f"{folder}/{_SOCKET}"
    folder = _session.enter_context(tempfile.TemporaryDirectory(prefix="stac-sm-warm-"))
    server = start_forking(Path(folder))
    _session.callback(end_forking, server)
    wait_for(server)
    return f"{folder}/{_SOCKET}"


def start_forking(folder: Path) -> subprocess.Popen[bytes]:
    """Start the process that forks; it compiles Numba's kernels into their cache, and ends with its standard input."""
    command = [sys.executable, "-m", "tests.support.warm_start", str(folder / _SOCKET)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def end_forking(server: subprocess.Popen[bytes]) -> None:
    """End the process that forks; what it has forked ends by itself, such as the workers of this process."""
    assert server.stdin is not None
    server.stdin.close()
    server.wait()


def wait_for(server: subprocess.Popen[bytes]) -> None:
    """Wait until it forks."""
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n", "the process that forks has not started"


def _import_everything() -> None:
    """Import all of the package and compile its kernels, but start no thread."""
    import stac_sm
    from stac_sm.model.forest.kernel_loader import load_kernel

    load_kernel()  # compiled, unless it is in the cache; that of the search in a radius is by its import
    for module in pkgutil.walk_packages(stac_sm.__path__, "stac_sm."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in _IMPORTED_LATE:
        importlib.import_module(name)


_Request = tuple[list[str], str, dict[str, str]]
"""Arguments, folder and environment of a process."""


def _serve(path: str) -> _Request:
    """Fork for each client until standard input ends; return what a client asks for in the new process."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        os.write(1, b"ready\n")
        while listener in select.select([listener, 0], [], [])[0]:
            client, _ = listener.accept()
            _reap()
            with client:
                if os.fork() == 0:
                    listener.close()
                    return _forked(client)
    sys.exit()


def _reap() -> None:
    """Let go of those that have ended; their processor seconds are counted as this process's children's."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _forked(client: socket.socket) -> _Request:
    """Wait for a process and tell the client how it ended; return in that process what it is to do."""
    head, files, _, _ = socket.recv_fds(client, 8, 16)
    (left,), content = struct.unpack("!Q", head), b""
    while len(content) < left:
        content += client.recv(left - len(content))
    pid = os.fork()
    if pid == 0:
        client.close()
        targets, *what = json.loads(content)
        aside = [fcntl.fcntl(file, fcntl.F_DUPFD, _FREE_FILES) for file in files]
        for file in files:
            os.close(file)
        for target, file in zip(targets, aside, strict=True):
            os.dup2(file, target)
            os.close(file)
        return tuple(what)
    for file in files:
        os.close(file)
    client.sendall(b"%d\n" % pid)
    ended = threading.Event()
    threading.Thread(target=_kill_with, args=(client, pid, ended), daemon=True).start()
    status = os.waitpid(pid, 0)[1]
    ended.set()
    with contextlib.suppress(OSError):  # whoever asked was killed
        client.sendall(b"%d\n" % status)
    os._exit(0)


def _kill_with(client: socket.socket, pid: int, ended: threading.Event) -> None:
    """Kill a process when the client that stands for it is killed."""
    client.recv(1)
    if not ended.is_set():
        os.kill(pid, signal.SIGKILL)


def start_workers_warm(address: Callable[[], str]) -> None:
    """Let multiprocessing fork its worker processes from one that has imported everything.

    Parameters
    ----------
    address
        Returns the socket of the process that forks; called when workers are first started.
    """
    cold = multiprocessing.util.spawnv_passfds

    def start(path: bytes, arguments: list[Any], files: list[int]) -> int:
        if "multiprocessing.forkserver" not in arguments[-1] or os.environ.get("STAC_SM_COLD_WORKERS"):
            return cold(path, arguments, files)
        command = [*_client(address(), (0, 1, 2, *files)), "-c", arguments[-1]]
        return cold(os.fsencode(sys.executable), command, files)

    multiprocessing.util.spawnv_passfds = start


def _run(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Do what Python does with these arguments."""
    kind, program, *words = arguments
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    start_workers_warm(partial(str, sys.argv[1]))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if environment.get("PYTHONFAULTHANDLER"):
        faulthandler.enable()
    sys.path[0] = folder
    sys.argv = [kind, *words]
    if kind == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(program, "<string>", "exec"), sys.modules["__main__"].__dict__)


def _end_with(what: _Request) -> None:
    """Run it and end as Python does, but for the destructors of native libraries.

    One of them aborts now and then where a thread of the process that was forked is not there in this one.
    """
    code = 0
    try:
        _run(*what)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        code = end.code or 0
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _import_everything()
    gc.freeze()
    warnings.filterwarnings("ignore", "This process .* is multi-threaded")  # by those of OpenBLAS, which knows forks
    _end_with(_serve(sys.argv[1]))
