"""Keep what tasks of one tile have in common between them: lookups, fields that do not change, pixels of coarse files.

A worker makes one task after another, most of them of the tile before. `daily_fields` asks for an array by what it is
made of, and makes it where it is not kept; `workflows.run.task` says how many bytes may be kept, by the worker's
budget. What was used least recently goes first. A key holds all that the values follow from, so a kept array is the
one that would be made again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np


class KeptArrays:
    """Arrays by key, as many bytes of them as are allowed; threads may share it.

    Parameters
    ----------
    limit
        Bytes; 0 keeps nothing.
    """

    def __init__(self, limit: int = 0) -> None:
        self._lock = threading.Lock()
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._limit, self._size = limit, 0

    @property
    def size(self) -> int:
        """Bytes of all arrays that are kept."""
        return self._size

    def resize(self, limit: int) -> None:
        """Take a new limit of bytes, and release what is beyond it.

        Parameters
        ----------
        limit
            Bytes; 0 or less keeps nothing.
        """
        with self._lock:
            self._limit = limit
            self._release()

    def find(self, key: Hashable) -> np.ndarray | None:
        """Return an array that is kept.

        Parameters
        ----------
        key
            What it was kept by.

        Returns
        -------
        numpy.ndarray or None
            The array itself, which is read-only; None if it is not kept.
        """
        with self._lock:
            found = self._arrays.get(key)
            if found is not None:
                self._arrays.move_to_end(key)
            return found

    def get(self, key: Hashable, make: Callable[..., np.ndarray], *arguments: Any) -> np.ndarray:
        """Return an array that is kept, or make and keep it.

        Two threads that ask for one at the same time may both make it: the values are the same.

        Parameters
        ----------
        key
            All that its values follow from.
        make
            Function that makes it.
        *arguments
            Arguments of the function.

        Returns
        -------
        numpy.ndarray
            Read-only, whether it is kept or not: other threads read the same array.
        """
        found = self.find(key)
        if found is not None:
            return found
        made = make(*arguments)
        made.flags.writeable = False
        with self._lock:
            if key not in self._arrays and made.nbytes <= self._limit:
                self._arrays[key] = made
                self._size += made.nbytes
                self._release()
        return made

    def _release(self) -> None:
        while self._arrays and self._size > self._limit:
            self._size -= self._arrays.popitem(last=False)[1].nbytes
