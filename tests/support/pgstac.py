"""pgstac with its STAC API on a real PostgreSQL with PostGIS: a database and a server of one test run.

tests/integration/install_debian.sh installs what it needs.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
VENV = CACHE / "stac-sm" / "pgstac-venv"
"""pgstac and its API, apart from the project's own dependencies."""

POSTGRES = Path("/usr/lib/postgresql/15/bin")
_POSTGIS = Path("/usr/share/postgresql/15/extension/postgis.control")
_USER = "postgres"  # initdb refuses root
_TEMPLATE = "migrated"
_numbers = itertools.count()
_session = contextlib.ExitStack()
atexit.register(_session.close)


def why_no_pgstac() -> str | None:
    """What is missing for pgstac."""
    needed = (POSTGRES / "initdb", _POSTGIS, VENV / "installed")
    absent = [str(path) for path in needed if not path.exists()]
    if absent:
        return f"no pgstac here ({absent[0]} is missing): tests/integration/install_debian.sh installs it"
    return None


@dataclass(frozen=True)
class Pgstac:
    """A database, and the STAC API over it."""

    address: str
    """Landing page of the API."""

    environment: Mapping[str, str]
    """How libpq finds the database."""

    folder: Path
    """Scratch folder."""

    def load(self, collections: Iterable[Mapping[str, Any]], items: Iterable[Mapping[str, Any]]) -> None:
        """Load collections and items by pypgstac."""
        for kind, documents in (("collections", collections), ("items", items)):
            file = self.folder / f"{kind}.ndjson"
            file.write_text("".join(json.dumps(document) + "\n" for document in documents))
            _pypgstac(self.environment, "load", kind, str(file), "--method", "insert_ignore")


@contextlib.contextmanager
def pgstac_server() -> Iterator[Pgstac]:
    """An empty database of the PostgreSQL of this process, and its API on a free port, which ends with the block."""
    cluster, name = _cluster(), f"pgstac_{next(_numbers)}"
    _query(cluster, f"create database {name} template {_TEMPLATE}")
    environment = cluster | {"PGDATABASE": name}
    with tempfile.TemporaryDirectory(prefix="stac-sm-pgstac-") as folder, _api(environment, Path(folder)) as address:
        yield Pgstac(address, environment, Path(folder))


@cache
def _cluster() -> dict[str, str]:
    """How libpq finds the PostgreSQL of this process, started when it is first asked for; it ends with the process."""
    environment = _session.enter_context(_postgres())
    _query(environment, f"create database {_TEMPLATE}")
    _pypgstac(environment | {"PGDATABASE": _TEMPLATE}, "migrate")
    return environment


@contextlib.contextmanager
def _postgres() -> Iterator[dict[str, str]]:
    scratch = tempfile.TemporaryDirectory(prefix="stac-sm-postgres-", ignore_cleanup_errors=True)
    with scratch as folder, _postgres_in(Path(folder)) as environment:
        yield environment


@contextlib.contextmanager
def _postgres_in(folder: Path) -> Iterator[dict[str, str]]:
    data, port = folder / "data", _free_port()
    data.mkdir(mode=0o700)
    other: dict[str, Any] = {}
    if os.getuid() == 0:
        folder.chmod(0o755)
        shutil.chown(data, _USER, _USER)
        other = {"user": _USER, "group": _USER, "extra_groups": [], "cwd": "/"}
    made = [POSTGRES / "initdb", "-D", data, "-A", "trust", "-U", "stac", "-E", "UTF8", "--locale=C", "--no-sync"]
    subprocess.run(made, check=True, capture_output=True, **other)
    options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "shared_buffers": "64MB"}
    command = [POSTGRES / "postgres", "-D", data, "-p", str(port)]
    command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    known = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(port),
        "PGUSER": "stac",
        "PGPASSWORD": "none",
        "PGDATABASE": "postgres",
    }
    with _running(command, folder / "postgres.log", stop=signal.SIGINT, **other) as process:
        _wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1).close(), process, folder)
        _wait_for(lambda: _query(known), process, folder)
        yield os.environ | known


def _query(known: Mapping[str, str], text: str = "select 1") -> None:
    done = subprocess.run(
        [POSTGRES / "psql", "-qc", text], env=os.environ | dict(known), capture_output=True, check=False
    )
    if done.returncode:
        raise OSError(done.stderr.decode())


@contextlib.contextmanager
def _api(environment: Mapping[str, str], folder: Path) -> Iterator[str]:
    port = _free_port()
    command = [VENV / "bin/python", "-m", "uvicorn", "stac_fastapi.pgstac.app:create_app", "--factory"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    address = f"http://127.0.0.1:{port}"
    with _running(command, folder / "api.log", env=dict(environment)) as process:
        _wait_for(lambda: urllib.request.urlopen(address, timeout=2).close(), process, folder)
        yield address


def _pypgstac(environment: Mapping[str, str], *arguments: str) -> None:
    command = [VENV / "bin/python", VENV / "bin/pypgstac", *arguments]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def _running(command: list[Any], log: Path, *, stop: int = signal.SIGTERM, **options: Any) -> Iterator[Any]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, **options) as process:
        try:
            yield process
        finally:
            process.send_signal(stop)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(ready: Any, process: Any, folder: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            ready()
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError("\n".join(log.read_text()[-2000:] for log in folder.glob("*.log")))
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
