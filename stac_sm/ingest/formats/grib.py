"""Messages of a GRIB file, edition 1 and 2: walked through from end to end, before GDAL reads them.

GDAL passes over a last message that is cut off, and decodes second-order packing of edition 1 to wrong numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from stac_sm.core.errors import GranuleError

_LARGE, _UNIT = 0x800000, 120  # a length of edition 1 with this bit may count in units of 120 bytes
_SECOND_ORDER = 0x40  # of the flags of the data section


def check_messages(file: Path) -> None:
    """Walk through all messages.

    Raises
    ------
    GranuleError
        If one does not begin with ``GRIB`` or end with ``7777``, or is packed in a way that GDAL cannot decode.
    """
    size = file.stat().st_size
    with file.open("rb") as content:
        try:
            ends = list(_ends(file, content, size))
        except struct.error as error:
            raise _broken(file, size, f"{size} bytes found, cut off in a header") from error
    if not ends or ends[-1] > size:
        raise _broken(file, size, f"{size} bytes found, at least {max(ends, default=4)} wanted")


def _ends(file: Path, content: BinaryIO, size: int) -> Iterator[int]:
    """Where each message ends."""
    start = _next(content, 0)
    while start < size:
        content.seek(start)
        head = content.read(8)
        if head[:4] != b"GRIB" or head[7:] not in (b"\x01", b"\x02"):
            raise _broken(file, size, f"{head!r} found at byte {start} of {size}, GRIB of edition 1 or 2 wanted")
        end = start + (_length_2(content) if head[7] == 2 else _length_1(file, content, start, head))
        yield end
        content.seek(end - 4)
        if end <= size and content.read(4) != b"7777":
            raise _broken(file, size, f"the message at byte {start} does not end with 7777 at byte {end}")
        start = _next(content, end)


def _length_2(content: BinaryIO) -> int:
    return int(struct.unpack(">Q", content.read(8))[0])


def _length_1(file: Path, content: BinaryIO, start: int, head: bytes) -> int:
    """Length of a message of edition 1, whose sections are walked through up to the one with the data."""
    first = start + 8
    has = _byte(content, first + 7)
    data = first + _three(content, first)
    for present in (0x80, 0x40):  # grid, bitmap
        data += _three(content, data) if has & present else 0
    if _byte(content, data + 3) & _SECOND_ORDER:
        raise GranuleError(
            f"{file}: second-order packing found, which GDAL cannot decode: "
            "`grib_set -r -s packingType=grid_simple IN OUT` of ecCodes packs it anew"
        )
    length, rest = int.from_bytes(head[4:7], "big"), _three(content, data)
    if length & _LARGE and rest < _UNIT:
        return (length & ~_LARGE) * _UNIT - rest + 4
    return length


def _three(content: BinaryIO, at: int) -> int:
    content.seek(at)
    return int(struct.unpack(">I", b"\0" + content.read(3))[0])


def _byte(content: BinaryIO, at: int) -> int:
    content.seek(at)
    return int(struct.unpack("B", content.read(1))[0])


def _next(content: BinaryIO, at: int) -> int:
    """Position of the next byte that is not zero: some files are padded."""
    content.seek(at)
    while content.read(1) == b"\0":
        at += 1
    return at


def _broken(file: Path, size: int, found: str) -> GranuleError:
    return GranuleError(f"{file}: {size} bytes that are no whole GRIB file ({found}): fetch it again")
