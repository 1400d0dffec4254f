"""Load the kernel that evaluates forests on this machine: imported at its first use, compiled once for all workers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

from stac_sm.core.scratch import scratch_folder


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
            import numba  # noqa: F401, which a kernel that was imported before needs, too

            from stac_sm.model.forest import kernel  # the first process compiles it, all others read it from disk

            return kernel
        except ImportError as error:
            raise KernelError(f"Numba cannot be imported ({error})") from error


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Keep other processes of this user out; on Windows, workers that start at once may each compile."""
    if sys.platform == "win32":
        yield
    else:
        from stac_sm.storage.disk_lock import take_lock  # which Windows does not have

        with (scratch_folder("locks") / "forest").open("w") as file:
            take_lock(file.fileno(), wait=True)
            yield
