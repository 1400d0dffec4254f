"""Locks on this disk: who holds one, and that nobody waits for a process that has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from stac_sm.storage import disk_lock
from stac_sm.storage.disk_lock import lock_file, take_lock

HOLDER = """
import sys
from pathlib import Path
from stac_sm.storage.disk_lock import lock_file
with lock_file(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("ended_by", ["itself", "SIGKILL"])
def test_the_second_sees_the_process_that_holds_it_until_that_ends(tmp_path, ended_by):
    file = tmp_path / "new" / ".lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with lock_file(file) as other:
        assert other == holder.pid
    if ended_by == "SIGKILL":
        holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with lock_file(file) as other:
        assert other is None
        assert int(file.read_text()) == os.getpid()


def test_a_file_system_without_locks_is_none_that_is_held(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(disk_lock.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(disk_lock.fcntl, "flock", none)
    with (tmp_path / "x").open("w") as file:
        assert take_lock(file.fileno(), wait=True)


@pytest.mark.parametrize("remove", [False, True])
def test_a_lock_that_is_removed_still_keeps_all_others_out(tmp_path, remove):
    """Many take turns as fast as they can: never two at once, though the file goes and comes back."""
    counter, lock = tmp_path / "counter", tmp_path / ".lock"
    counter.write_text("0")
    script = f"""
import time
from pathlib import Path
from stac_sm.storage.disk_lock import lock_file
done = 0
while done < 60:
    with lock_file(Path({str(lock)!r}), remove={remove}) as other:
        if other is None:
            count = int(Path({str(counter)!r}).read_text())
            time.sleep(0.0005)
            Path({str(counter)!r}).write_text(str(count + 1))
            done += 1
"""
    workers = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(3)]
    assert [one.wait(60) for one in workers] == [0, 0, 0]
    assert counter.read_text() == "180"
    assert lock.exists() is not remove


def test_nobody_else_locks():
    """One mechanism: every lock of a file is taken here."""
    package = disk_lock.Path(disk_lock.__file__).parents[1]
    found = {file.name for file in package.rglob("*.py") if "fcntl.flock(" in file.read_text()}
    assert found == {"disk_lock.py"}
