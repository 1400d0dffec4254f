"""What a listing says of the objects of a store, which paths may name one, and what readers are sent with it.

Stores on disk and on S3 list `ObjectMeta` and pass every path through `checked_path`. The index and
`audit` compare such listings with what they know. `media_type` and `cache_control` are the headers of an object.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import NamedTuple

from stac_sm.core.errors import InputError

TEMPORARY = ".tmp-"
"""How the names of files begin that are no content: still being written, locks, probes. Nobody lists them."""


MEDIA_TYPES = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".html": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".toml": "application/toml",
}
"""Media types of the files of a store, by the suffix of their names."""

IMMUTABLE = "max-age=31536000, immutable"
"""``Cache-Control`` of what is never replaced: a year, the longest that caches keep anything."""

SHORT = "max-age=60"
"""``Cache-Control`` of what may be replaced at any time, in seconds."""


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


def media_type(path: str) -> str:
    """Return the media type of a file of a store.

    Parameters
    ----------
    path
        Path or name of the file.

    Returns
    -------
    str
        By its suffix; ``application/octet-stream`` where the suffix has none. JSON in a folder of its own name is an
        item, whose links and readers expect GeoJSON.
    """
    if PurePosixPath(path).suffix == ".json" and PurePosixPath(path).stem == PurePosixPath(path).parent.name:
        return "application/geo+json"
    return MEDIA_TYPES.get(PurePosixPath(path).suffix, "application/octet-stream")


def cache_control(path: str, *, asset: bool) -> str:
    """Return how long caches may keep a file of a store without asking for it again.

    Parameters
    ----------
    path
        Path or name of the file.
    asset
        Whether it was created from a file, as assets are: their names hold what they were made from, and nothing
        replaces them.

    Returns
    -------
    str
        `IMMUTABLE` for an asset that is no JSON, else `SHORT`. Never ``public``: a shared cache must not keep what
        was asked for with an account.
    """
    return IMMUTABLE if asset and not path.endswith(".json") else SHORT
