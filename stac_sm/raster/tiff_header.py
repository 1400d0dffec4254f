"""Find the bytes of a TIFF file that its header is made of, and those of the blocks of a window.

`fetch` uses it to bring only these bytes of a file on the network. Once the header is here, GDAL says where the blocks
are. A local copy that holds only parts of a file must hold every byte that GDAL looks at, or GDAL would take a hole for
zeros. No pixel is decoded here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from stac_sm.storage.http.client import Span
from stac_sm.storage.retry import AttemptError, FaultKind

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a TIFF or BigTIFF. No file that begins so is a VRT to GDAL, whatever follows."""

MARGIN = 4
"""Bytes read on both sides of a block: GDAL's COGs repeat its size before it, and its last bytes behind it."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_BLOCK_TABLES = {273, 279, 324, 325}  # offsets and sizes of strips and tiles
_DIRECTORIES, _ENTRIES, _LONGEST, _BLOCKS = 64, 4096, 1 << 26, 1 << 20

ReadSpan = Callable[[Span], bytes]


def read_header(read: ReadSpan) -> None:
    """Read every byte of a TIFF's header: all directories and their values.

    The tables of blocks of overviews are left out: they are large, and no overview is read here.

    Parameters
    ----------
    read
        Returns the bytes of a span, and raises if the file does not have them.

    Raises
    ------
    AttemptError
        If this is no TIFF, or its header is implausible (circular or oversized directories).
    """
    magic = read((0, 4))
    if magic not in MAGIC:
        raise AttemptError(FaultKind.BYTES, "it is no TIFF")
    order, big = "<" if magic[:1] == b"I" else ">", magic[2:] in (b"+\0", b"\0+")
    at = _integer(order, read((8, 16) if big else (4, 8)))
    seen: set[int] = set()
    while at:
        if at in seen or len(seen) >= _DIRECTORIES:
            raise _odd("directories in a circle, or too many")
        seen.add(at)
        at = _read_directory(read, at, order, big, first=len(seen) == 1)


def spans_of_window(file: Any, band: int, window: tuple[slice, slice]) -> list[Span]:
    """Return the bytes of the blocks of a window, as GDAL gives them for an open dataset.

    Parameters
    ----------
    file
        An open rasterio dataset.
    band
        Number of the band, from 1.
    window
        Rows and columns inside the file.

    Returns
    -------
    list of tuple
        First byte and byte after the last of each block, with a margin; blocks that the file leaves out are not listed.

    Raises
    ------
    AttemptError
        If the window has more blocks than any plausible file.
    """
    height, width = file.block_shapes[band - 1]
    rows = range(window[0].start // height, -(-window[0].stop // height))
    columns = range(window[1].start // width, -(-window[1].stop // width))
    if len(rows) * len(columns) > _BLOCKS:
        raise _odd(f"{len(rows) * len(columns)} blocks in one window")
    found = []
    for row in rows:
        for column in columns:
            at = file.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band)
            size = file.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=band)
            if at is not None and size is not None and int(size):
                found.append((max(0, int(at) - MARGIN), int(at) + int(size) + MARGIN))
    return found


def _read_directory(read: ReadSpan, at: int, order: str, big: bool, *, first: bool) -> int:
    """Read one directory and its values; return the place of the next one, or 0."""
    head, size, word = (8, 20, 8) if big else (2, 12, 4)
    count = _integer(order, read((at, at + head)))
    if count > _ENTRIES:
        raise _odd(f"{count} entries")
    table = read((at + head, at + head + count * size + word))
    for i in range(count):
        tag, kind = struct.unpack_from(f"{order}HH", table, i * size)
        length = _integer(order, table[i * size + 4 : i * size + 4 + word]) * _SIZES.get(kind, 0)
        if length > _LONGEST:
            raise _odd(f"{length} bytes in tag {tag}")
        if length > word and (first or tag not in _BLOCK_TABLES):
            where = _integer(order, table[i * size + 4 + word : i * size + 4 + 2 * word])
            read((where, where + length))
    return _integer(order, table[count * size :])


def _integer(order: str, content: bytes) -> int:
    return int.from_bytes(content, "little" if order == "<" else "big")


def _odd(what: str) -> AttemptError:
    return AttemptError(FaultKind.BYTES, f"it is no sane TIFF: {what} found in its header")
