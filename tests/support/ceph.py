"""Ceph's radosgw: an object store with an S3 API of another make, with one monitor and one OSD in memory.

The packages are Debian's (`tests/integration/install.sh`). It starts in 11 to 13 seconds on a busy machine:
``python -m tests.support.ceph`` says how long it takes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support.object_stores import ObjectStore, free_ports, keep_for_session, running_command, wait_for

_PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "monmaptool")
_CONFIG = """[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{monitor}
auth cluster required = none
auth service required = none
auth client required = none
ms bind msgr2 = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail warn = 1
mon data avail crit = 0
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 2147483648
osd class update on start = false
osd crush update on start = false
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
mon data = {folder}/mon
osd data = {folder}/osd
mon cluster log file = {folder}/cluster.log
rgw frontends = beast endpoint=127.0.0.1:{gateway}
rgw data = {folder}
rgw thread pool size = 32
rgw gc max objs = 1
rgw lc max objs = 1
rgw run sync thread = false
rgw enable quota threads = false
"""


def why_no_ceph() -> str | None:
    """What is missing for Ceph."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    return f"no {', '.join(missing)} here: tests/integration/install.sh installs Ceph" if missing else None


@cache
def ceph_server() -> ObjectStore:
    """Ceph for all tests of this process, started when it is first asked for; it ends with the process."""
    return keep_for_session(_ceph_server())


@contextlib.contextmanager
def _ceph_server() -> Iterator[ObjectStore]:
    with tempfile.TemporaryDirectory(prefix="stac-sm-ceph-") as folder, _ceph_in(Path(folder)) as server:
        yield server


@contextlib.contextmanager
def _ceph_in(folder: Path) -> Iterator[ObjectStore]:
    (monitor, gateway), fsid, disk = free_ports(2), str(uuid.uuid4()), str(uuid.uuid4())
    config, key, secret = folder / "ceph.conf", "AKIDTESTTESTTEST", "a-secret-for-tests"
    config.write_text(_CONFIG.format(fsid=fsid, folder=folder, monitor=monitor, gateway=gateway))
    for name in ("mon", "osd"):
        (folder / name).mkdir()
    at = ["-c", str(config)]

    def do(*command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
        assert done.returncode == 0, (command, done.stderr[-2000:])

    map_file = str(folder / "monmap")
    do("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v1:127.0.0.1:{monitor}]", map_file)
    do("ceph-mon", *at, "--mkfs", "-i", "a", "--monmap", map_file)
    with contextlib.ExitStack() as stack:
        stack.enter_context(running_command(["ceph-mon", *at, "-i", "a", "-f"], folder / "mon.out"))
        do("ceph", *at, "osd", "new", disk)
        do("ceph", *at, "osd", "crush", "add", "osd.0", "1.0", "host=here", "root=default")
        do("ceph-osd", *at, "-i", "0", "--mkfs", "--osd-uuid", disk)
        stack.enter_context(running_command(["ceph-osd", *at, "-i", "0", "-f"], folder / "osd.out"))
        user = [
            "user",
            "create",
            "--uid=tests",
            "--display-name=tests",
            f"--access-key={key}",
            f"--secret-key={secret}",
        ]
        do("radosgw-admin", *at, *user)
        stack.enter_context(running_command(["radosgw", *at, "-n", "client.rgw", "-f"], folder / "gateway.out"))
        wait_for(gateway, folder)
        yield ObjectStore(f"http://127.0.0.1:{gateway}", key, secret)


if __name__ == "__main__":
    began = time.monotonic()
    with _ceph_server() as started:
        print(f"{started.endpoint} after {time.monotonic() - began:.1f} s, process {os.getpid()}")
