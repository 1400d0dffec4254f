"""Reading: the physical values of a window, or an error; a failed read is never nodata."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from stac_sm.errors import ReadError, StacSmError
from stac_sm.readers import reader
from stac_sm.readers.header import with_header
from stac_sm.readers.source import RasterSource, Window
from stac_sm.signing import signed, without_secrets
from stac_sm.store import multihash, sha256


def read_window(source: RasterSource, window: Window, reader_name: str) -> np.ndarray:
    """Physical values (y, x) of a window, float32, NaN where there is no data."""
    try:
        source = with_header(replace(source, href=signed(source.href, source.sign)))
        check_bytes(source)
        stored = reader(reader_name)(source, window).compute(scheduler="synchronous")
    except StacSmError as error:
        raise type(error)(without_secrets(str(error))) from None
    except Exception as error:  # whatever a reader raises, the user must see which file it was
        raise ReadError(
            f"item {source.item_id!r}, asset {source.asset!r}: {without_secrets(source.href)} cannot be read "
            f"({without_secrets(str(error))}): check that the file is there and whole, then run again"
        ) from None  # the cause may hold a token
    return source.physical(np.asarray(stored))


def check_bytes(source: RasterSource) -> None:
    """Compare a local file with the checksum in its item, once a process for each state of the file.

    Damage inside a block is not always an error to GDAL: it may decode to other values.

    Raises
    ------
    ReadError
        If the file is not the one that was published.
    """
    file = Path(source.href)
    if not source.checksum.startswith(multihash("")) or not file.is_file():
        return
    state = file.stat()
    if _multihash_of(str(file), state.st_size, state.st_mtime_ns) != source.checksum:
        raise ReadError(
            f"item {source.item_id!r}, asset {source.asset!r}: {source.href} cannot be read: its checksum is not that "
            "of the item, so it was damaged or changed: ingest it again"
        )


@lru_cache(maxsize=65536)
def _multihash_of(file: str, size: int, changed: int) -> str:
    return multihash(sha256(Path(file)))
