"""Check the messages of a GRIB file, edition 1 and 2, from end to end, before GDAL reads them.

GDAL ignores a last message that is cut off, and decodes second-order packing of edition 1 to wrong numbers. The
provider of ERA5-Land calls `check_messages` first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from stac_sm.core.errors import GranuleError

_LARGE, _UNIT = 0x800000, 120  # a length of edition 1 with this bit may count in units of 120 bytes
_ECMWF = 98  # number of the centre
_SECOND_ORDER = 0x40  # of the flags of the data section


class MessageFacts(NamedTuple):
    """What the head of a message states."""

    version: str
    """ECMWF's experiment version; empty where it states none."""

    stream: int
    """ECMWF's stream, e.g. 1071 of monthly means; 0 where it states none."""

    time_range: int | None
    """Time range indicator of edition 1; None in edition 2."""


def check_messages(file: Path) -> list[MessageFacts]:
    """Check that all messages of a file are complete and can be decoded by GDAL.

    Parameters
    ----------
    file
        A local GRIB file.

    Returns
    -------
    list of MessageFacts
        What the head of each message states.

    Raises
    ------
    GranuleError
        If one does not begin with ``GRIB`` or end with ``7777``, or is packed in a way that GDAL cannot decode.
    """
    size = file.stat().st_size
    with file.open("rb") as content:
        try:
            messages = list(_messages(file, content, size))
        except struct.error as error:
            raise _broken(file, size, f"{size} bytes found, cut off in a header") from error
    if not messages or messages[-1][0] > size:
        raise _broken(
            file, size, f"{size} bytes found, at least {max((end for end, _ in messages), default=4)} expected"
        )
    return [facts for _, facts in messages]


def _messages(file: Path, content: BinaryIO, size: int) -> Iterator[tuple[int, MessageFacts]]:
    """Yield the position after the last byte of each message, and what its head states."""
    start = _next(content, 0)
    while start < size:
        content.seek(start)
        head = content.read(8)
        if head[:4] != b"GRIB" or head[7:] not in (b"\x01", b"\x02"):
            raise _broken(file, size, f"{head!r} found at byte {start} of {size}, GRIB of edition 1 or 2 expected")
        end = start + (_length_2(content) if head[7] == 2 else _length_1(file, content, start, head))
        yield end, _facts(content, start, head[7])
        content.seek(end - 4)
        if end <= size and content.read(4) != b"7777":
            raise _broken(file, size, f"the message at byte {start} does not end with 7777 at byte {end}")
        start = _next(content, end)


def _length_2(content: BinaryIO) -> int:
    return int(struct.unpack(">Q", content.read(8))[0])


def _length_1(file: Path, content: BinaryIO, start: int, head: bytes) -> int:
    """Return the length of a message of edition 1, walking through its sections up to the one with the data."""
    first = start + 8
    has = _byte(content, first + 7)
    data = first + _three(content, first)
    for present in (0x80, 0x40):  # grid, bitmap
        data += _three(content, data) if has & present else 0
    if _byte(content, data + 3) & _SECOND_ORDER:
        raise GranuleError(
            f"{file}: second-order packing found, which GDAL cannot decode: "
            "`grib_set -r -s packingType=grid_simple IN OUT` of ecCodes repacks it"
        )
    length, rest = int.from_bytes(head[4:7], "big"), _three(content, data)
    if length & _LARGE and rest < _UNIT:
        return (length & ~_LARGE) * _UNIT - rest + 4
    return length


def _facts(content: BinaryIO, start: int, edition: int) -> MessageFacts:
    """Return what the head of a message states; version and stream from the local part of messages of ECMWF."""
    first = start + (8 if edition == 1 else 16)
    content.seek(first)
    head = content.read(7)
    time_range = _byte(content, first + 20) if edition == 1 else None
    if edition == 1:
        version, length, by_ecmwf = first + 45, int.from_bytes(head[:3], "big"), head[4] == _ECMWF
        present = length >= 49
    else:
        local = first + int.from_bytes(head[:4], "big")
        content.seek(local)
        section, by_ecmwf = content.read(5), int.from_bytes(head[5:7], "big") == _ECMWF
        present = section[4:] == b"\x02" and int.from_bytes(section[:4], "big") >= 17
        version = local + 13
    if not (by_ecmwf and present):
        return MessageFacts("", 0, time_range)
    content.seek(version - 2)
    stream, text = int.from_bytes(content.read(2), "big"), content.read(4)
    return MessageFacts(text.decode() if text.isascii() and text.isalnum() else "", stream, time_range)


def _three(content: BinaryIO, at: int) -> int:
    content.seek(at)
    return int(struct.unpack(">I", b"\0" + content.read(3))[0])


def _byte(content: BinaryIO, at: int) -> int:
    content.seek(at)
    return int(struct.unpack("B", content.read(1))[0])


def _next(content: BinaryIO, at: int) -> int:
    """Return the position of the next byte that is not zero: some files are padded."""
    content.seek(at)
    while content.read(1) == b"\0":
        at += 1
    return at


def _broken(file: Path, size: int, found: str) -> GranuleError:
    return GranuleError(f"{file}: {size} bytes that are not a complete GRIB file ({found}): fetch it again")
