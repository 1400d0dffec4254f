"""Locks of this machine's disk: one process at a time works in a folder, or on a file.

They tell a second command at once that a first one is at work; that nothing is lost where two write is the commit
rule's part, since a network file system may know no locks, and another machine sees none. A lock ends with the process
that holds it and with those that it forked, whichever way they end. Unix only, as `flock` is.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS}


def take_lock(descriptor: int, *, wait: bool) -> bool:
    """Take the lock of an open file, until it is closed.

    Parameters
    ----------
    descriptor
        Of a file that is open for writing.
    wait
        Whether to wait for another process that holds it.

    Returns
    -------
    bool
        False if another process holds it; True also on a file system without locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


@contextlib.contextmanager
def lock_file(file: Path, *, remove: bool = False) -> Iterator[int | None]:
    """Hold the lock of a file that is there for nothing else; it stays, empty of meaning, when the lock is given back.

    Parameters
    ----------
    file
        Made with its folder if it is not there; holds the id of the process that took it last.
    remove
        Whether the process that held the lock removes the file, as in a folder that is the user's own.

    Yields
    ------
    int or None
        None while this process holds the lock; else the id of the process that does, 0 where that is not known.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        while (taken := take_lock(lock, wait=False)) and not _is_there(lock, file):
            os.close(lock)  # the process that held it has removed it since it was opened
            lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        if not taken:
            holder = os.pread(lock, 20, 0).strip()
            yield int(holder) if holder.isdigit() else 0
            return
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        try:
            yield None
        finally:
            if remove:
                file.unlink(missing_ok=True)
    finally:
        os.close(lock)


def _is_there(descriptor: int, file: Path) -> bool:
    """Return whether an open file is the one that its path leads to now."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
