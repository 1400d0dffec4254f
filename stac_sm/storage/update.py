"""Changing a file that others change at the same time: the one loop of compare and swap.

A file is read, its new content is made from what was read, and it is written only if the file still holds what was
read. Where another process was faster, all of this is done again, `TRIES` times, with short random waits. So no process
undoes what another has written, and none holds a lock while it computes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

from stac_sm.core.errors import CatalogError, ConflictError
from stac_sm.storage.store import Store

TRIES = 50
"""How often a change is tried again; of many writers at once, one succeeds each time."""

_LONGEST_WAIT = 0.002  # seconds, times the number of the try


def update(
    store: Store, path: str, change: Callable[[bytes | None], bytes | None], *, must_exist: bool = False
) -> bool:
    """Change a file safely beside other writers.

    Parameters
    ----------
    store
        Where the file is.
    path
        Path below the root of the store.
    change
        Makes the new content from the content that is there, None if there is no file; returns None to leave it as it
        is. Called again, with the newer content, when another writer was faster: it must have no other effect.
    must_exist
        Whether a missing file is an error instead of None.

    Returns
    -------
    bool
        Whether the file was written: False if it was right already.

    Raises
    ------
    ConflictError
        If other writers change the file all the time.
    CatalogError
        If the file must exist and does not.
    """
    for _ in tries(store.href(path)):
        current = store.read(path) if must_exist else read_if_there(store, path)
        content = change(current)
        if content is None or content == current:
            return False
        if write_if_unchanged(store, path, content, current):
            return True
    raise AssertionError("tries() ends with a ConflictError")


def read_if_there(store: Store, path: str) -> bytes | None:
    """Read a file that others may remove at the same time, as `audit --repair` and `index` do.

    Parameters
    ----------
    store
        Where the file is.
    path
        Path below the root of the store.

    Returns
    -------
    bytes or None
        All of its content; None if there is no file, or none any more.
    """
    if not store.exists(path):  # asked first: what is not there costs one request, and most is not there
        return None
    try:
        return store.read(path)
    except CatalogError:
        if store.exists(path):
            raise
        return None


def write_if_unchanged(store: Store, path: str, content: bytes, current: bytes | None) -> bool:
    """Write a file in the place of what was read, once.

    Parameters
    ----------
    store, path
        Which file.
    content
        What it is to hold.
    current
        What was read; None if there was no file.

    Returns
    -------
    bool
        False if the file holds something else by now, so that nothing was written. Content that is right already is
        not written again.
    """
    if current is None:
        return store.create(path, content)
    return current == content or store.compare_and_swap(path, content, current)


def tries(what: str) -> Iterator[int]:
    """Yield the numbers of tries from 1, with a short random wait in between, until the caller leaves its loop.

    For changes of several files, which `update` cannot make.

    Parameters
    ----------
    what
        What is changed, for the message.

    Raises
    ------
    ConflictError
        After the last try.
    """
    for number in range(1, TRIES + 1):
        yield number
        time.sleep(random.uniform(0, _LONGEST_WAIT * number))
    raise ConflictError(
        f"{what} keeps changing: others wrote it during each of {TRIES} tries; run the command again when they "
        "have ended"
    )
