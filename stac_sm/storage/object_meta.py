"""What a listing says of the objects of a store, and which paths may name one.

Stores on disk and on S3 list `ObjectMeta` and pass every path through `checked_path`. The index and
`audit` compare such listings with what they know.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import NamedTuple

from stac_sm.core.errors import InputError

TEMPORARY = ".tmp-"
"""How the names of files begin that are no content: still being written, locks, probes. Nobody lists them."""


class ObjectMeta(NamedTuple):
    """One file of a store; a tuple, since millions are listed."""

    path: str
    """Path below the root."""

    size: int
    """Bytes."""

    version: str = ""
    """Changes whenever the content does: the ETag on S3, time and inode on disk."""

    modified: float = 0.0
    """When it was written, seconds since 1970 by the store's clock."""


def checked_path(path: str, root: str) -> PurePosixPath:
    """Return a path that names something below the root of a store.

    Parameters
    ----------
    path
        Relative, with forward slashes.
    root
        Of the store, for the message.

    Returns
    -------
    pathlib.PurePosixPath
        The same path.

    Raises
    ------
    InputError
        If it is absolute, empty, leads upwards or holds a NUL.
    """
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts or "\0" in path:
        raise InputError(f"path {path!r} names nothing below {root}: only paths below the root are allowed")
    return parts
