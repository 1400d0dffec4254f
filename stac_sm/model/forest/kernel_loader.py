"""Load the kernel that evaluates forests on this machine: imported at its first use, compiled once for all workers."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from getpass import getuser
from pathlib import Path
from types import ModuleType
from typing import Any


class KernelError(Exception):
    """There is no kernel on this machine; the message is the reason."""


@cache
def load_kernel() -> ModuleType:
    """Return the module with ``rank`` and ``evaluate``.

    Raises
    ------
    KernelError
        If Numba cannot be imported here.
    """
    with _one_at_a_time():
        try:
            return _numba()
        except ImportError as error:
            raise KernelError(f"Numba cannot be imported ({error})") from error


def _numba() -> ModuleType:
    """Return the kernel that the first process on this machine compiles and all others read from Numba's cache."""
    import numba

    try:
        from stac_sm.model.forest import kernel as kernel_numba
    except RuntimeError:  # Numba finds no folder for its cache that it may write to
        settings: Any = numba.config
        settings.CACHE_DIR = str(_scratch("numba"))
        from stac_sm.model.forest import kernel as kernel_numba
    return kernel_numba


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Keep other processes of this user out; on Windows, workers that start at once may each compile."""
    if sys.platform == "win32":
        yield
    else:
        from stac_sm.storage.disk_lock import take_lock  # which Windows does not have

        with (_scratch("locks") / "forest").open("w") as file:
            take_lock(file.fileno(), wait=True)
            yield


def _scratch(name: str) -> Path:
    """Return the folder of this user for files that may be lost."""
    folder = Path(tempfile.gettempdir(), f"stac-sm-{_user()}", name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "nobody"
