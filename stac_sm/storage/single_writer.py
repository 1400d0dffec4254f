"""Refuse several writers where a store has no conditional writes.

Commands ask before they start workers, and the store itself asks in each worker before it writes. Only processes of one
command can be seen here: a second command elsewhere cannot.
"""

from __future__ import annotations

from typing import Protocol

from stac_sm.core.errors import InputError


class ProbedStore(Protocol):
    """What is asked of a store."""

    @property
    def root(self) -> str:
        """Return the address of its root."""

    @property
    def lacks(self) -> str:
        """Return what it lacks, in words; empty if nothing."""


def require_one_process(store: ProbedStore, workers: int) -> None:
    """Refuse several worker processes where only one process may write, before anything is written.

    Parameters
    ----------
    store
        Where the workers would write.
    workers
        Number of processes.

    Raises
    ------
    InputError
        If there are more than one, and the store has no conditional writes.
    """
    if workers > 1 and store.lacks:
        raise InputError(one_process_message(store, f"{workers} workers found: give --workers 1"))


def one_process_message(store: ProbedStore, found: str) -> str:
    """Return the message that only one process may write to a store.

    Parameters
    ----------
    store
        One that lacks something.
    found
        What would write with several processes, and what to do, in words.

    Returns
    -------
    str
        In one line.
    """
    return (
        f"{store.root}: the store lacks {store.lacks} (found by probing), so only one process may write there; "
        f"{found}, or use a store with conditional writes; nothing was written"
    )
