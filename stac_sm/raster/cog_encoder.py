"""Encode arrays in memory as Cloud-Optimized GeoTIFF: the layout and the values of GDAL's COG driver, in half its time.

`raster.cog` writes an array by `encode_cog` where `can_encode` says so, and by GDAL's driver otherwise. Blocks and
overviews are made here, in one pass from level to level, and compressed by libdeflate (package ``deflate``);
``tests/benchmarks/encoder.py`` compares the time. All other fields of the file (CRS, place, nodata, scale, names) are
taken over from a small TIFF that GDAL writes, so their encoding stays GDAL's own.

The layout is that of GDAL: header with ``LAYOUT=IFDS_BEFORE_DATA``, the directories, then the blocks of the coarsest
overview first, each with its size before it and its last four bytes behind it. See
https://gdal.org/drivers/raster/cog.html and TIFF 6.0; the predictor of floats is Adobe's Technical Note 3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

import deflate
import numpy as np

Fields = Mapping[int, tuple[int, int, bytes]]
"""TIFF tag -> type, number of values, and the values, little-endian."""

_GHOST = (
    b"LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
)
_BYTES, _SHORT, _LONG = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 12: 8, 16: 8}, 3, 4
_FIRST_OWN = 270  # tags from here on, without those below, are not about the layout of pixels
_OF_LAYOUT = {273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339}
_NODATA = 42113
_MOST_BYTES = 1 << 30  # offsets have 32 bits
_CACHED = 1 << 17  # pixels that are halved at a time: what is computed of them fits into the cache of a core


def can_encode(values: np.ndarray, *, nodata: float | int | None, overviews: str, block: int) -> bool:
    """Return whether `encode_cog` writes what GDAL's COG driver would write.

    Parameters
    ----------
    values
        (y, x) or (y, x, band): the stored values.
    nodata
        Stored value of pixels without data; None if there is none.
    overviews
        Resampling of the overviews: ``average``, ``mode`` or ``nearest``.
    block
        Side of a block in pixels.

    Returns
    -------
    bool
        False for types other than float32 and integers of 1 to 4 bytes, for floats without nodata, for sides that an
        overview does not halve exactly, and for arrays of more than 1 GiB.
    """
    kind, size = values.dtype.kind, values.dtype.itemsize
    known = (kind == "f" and size == 4 and nodata is not None and np.isfinite(nodata)) or (kind in "iu" and size <= 4)
    if not known or values.nbytes > _MOST_BYTES or overviews not in ("average", "mode", "nearest"):
        return False
    height, width = values.shape[:2]
    if max(height, width) <= block:
        return True
    while max(height, width) > block:
        if height % 2 or width % 2 or values.ndim > 2:
            return False
        height, width = height // 2, width // 2
    return True


def encode_cog(
    values: np.ndarray, fields: Fields, *, nodata: float | int | None, overviews: str, block: int, level: int
) -> bytes:
    """Encode an array as COG.

    Parameters
    ----------
    values
        (y, x), or (y, x, band) for red, green, blue, alpha: the stored values, as `can_encode` takes them.
    fields
        What is not about the layout of pixels, as `own_fields` reads it.
    nodata
        Stored value of pixels without data; None if there is none.
    overviews
        Resampling of the overviews: ``average``, ``mode`` or ``nearest``.
    block
        Side of a block in pixels, a multiple of 16.
    level
        Compression of libdeflate, 1 to 12.

    Returns
    -------
    bytes
        Content of the file. The same arguments give the same bytes with the same version of libdeflate, and the same
        decoded values with any.
    """
    levels = [values]
    while max(levels[-1].shape[:2]) > block:
        levels.append(halved(levels[-1], nodata, overviews))
    blocks = [_compressed_blocks(array, block, level) for array in levels]
    tables = [_tags(array, fields, block, first=array is values) for array in levels]
    head = b"GDAL_STRUCTURAL_METADATA_SIZE=%06d bytes\n" % len(_GHOST) + _GHOST
    at = 8 + len(head) + len(head) % 2
    sizes = [_directory_size(tags, len(content)) for tags, content in zip(tables, blocks, strict=True)]
    data = at + sum(sizes)
    offsets: list[list[int]] = []
    for content in reversed(blocks):
        ends = np.cumsum([len(one) + 8 for one in content])
        offsets.append([data + 4, *(data + 4 + int(end) for end in ends[:-1])])
        data += int(ends[-1])
    parts: list[bytes | bytearray] = [struct.pack("<2sHI", b"II", 42, at), head, b"\0" * (len(head) % 2)]
    for i, (tags, content, places) in enumerate(zip(tables, blocks, reversed(offsets), strict=True)):
        tags[324] = (_LONG, len(places), struct.pack(f"<{len(places)}I", *places))
        tags[325] = (_LONG, len(content), struct.pack(f"<{len(content)}I", *map(len, content)))
        parts.append(_directory(tags, at, last=i == len(tables) - 1))
        at += sizes[i]
    for content in reversed(blocks):
        for one in content:
            parts += [struct.pack("<I", len(one)), one, one[-4:]]
    return b"".join(parts)


def own_fields(tiff: bytes) -> dict[int, tuple[int, int, bytes]]:
    """Read the fields of a small TIFF that are not about the layout of its pixels.

    Parameters
    ----------
    tiff
        A classic TIFF, little-endian.

    Returns
    -------
    dict
        Tag -> type, number of values and values of its first directory.
    """
    (at,) = struct.unpack_from("<I", tiff, 4)
    (count,) = struct.unpack_from("<H", tiff, at)
    found = {}
    for i in range(count):
        tag, kind, number = struct.unpack_from("<HHI", tiff, at + 2 + 12 * i)
        place, size = at + 10 + 12 * i, number * _BYTES[kind]
        if size > 4:
            (place,) = struct.unpack_from("<I", tiff, place)
        if tag >= _FIRST_OWN and tag not in _OF_LAYOUT:
            found[tag] = (kind, number, tiff[place : place + size])
    return found


def halved(values: np.ndarray, nodata: float | int | None, overviews: str) -> np.ndarray:
    """Return the next overview, with the values of GDAL.

    Parameters
    ----------
    values
        (y, x), both even.
    nodata
        Stored value of pixels without data; None if there is none.
    overviews
        ``average``: mean of the pixels with data, in float64, rounded half away from 0 for integers; ``mode``: the
        value that first is the most frequent one, row by row; ``nearest``: the upper left pixel.

    Returns
    -------
    numpy.ndarray
        (y / 2, x / 2), the same type.
    """
    if overviews == "nearest":
        return np.ascontiguousarray(values[::2, ::2])
    found = np.empty((values.shape[0] // 2, values.shape[1] // 2), values.dtype)
    step = max(2, _CACHED // max(values.shape[1], 1) // 2 * 2)
    for top in range(0, len(values), step):
        found[top // 2 : (top + step) // 2] = _halved_rows(values[top : top + step], nodata, overviews)
    return found


def _halved_rows(values: np.ndarray, nodata: float | int | None, overviews: str) -> np.ndarray:
    """Return the next overview of some rows: few, so that what is computed between stays in the cache."""
    if overviews == "average" and _same_bits(values) and values[0, 0] == values[0, 0]:
        return values[::2, ::2] + 0  # sea, above all; of -0.0 the mean is 0.0
    four = [values[row::2, column::2] for row in (0, 1) for column in (0, 1)]
    known = [np.True_ if nodata is None else one != nodata for one in four]
    if overviews == "mode":
        found = four[0]
        for one, valid in reversed(list(zip(four, known, strict=True))):
            found = np.where(valid, one, found)
        for i in (3, 2, 1):  # the first pair counts: it is looked at last
            equal = np.logical_or.reduce([four[i] == before for before in four[:i]])
            found = np.where(equal & known[i], four[i], found)
        return found
    total, count = np.zeros(four[0].shape), np.zeros(four[0].shape)
    for one, valid in zip(four, known, strict=True):
        total += np.where(valid, one, 0)
        count += valid
    mean = total / np.maximum(count, 1)
    if values.dtype.kind != "f":
        mean = np.trunc(mean + np.copysign(0.5, mean))
    return np.where(count > 0, mean, 0 if nodata is None else nodata).astype(values.dtype)


def _compressed_blocks(values: np.ndarray, side: int, level: int) -> list[bytes]:
    """Return the blocks of an array, row by row, compressed; blocks of one value, such as sea, are compressed once."""
    found, uniform = [], dict[bytes, bytes]()
    for block in _blocks(values, side):
        key = block[0, 0].tobytes() if _same_bits(block) else b""
        if key in uniform:
            found.append(uniform[key])
            continue
        differences = _float_differences(block) if values.dtype.kind == "f" else _differences(block)
        found.append(bytes(deflate.zlib_compress(differences, level)))
        if key:
            uniform[key] = found[-1]
    return found


def _same_bits(values: np.ndarray) -> bool:
    """Return whether all pixels of an array (y, x) or (y, x, band) hold the same bits: 0.0 is not -0.0 here."""
    bits = values.view(f"u{values.dtype.itemsize}")
    return bool((bits[0] == bits[0, 0]).all()) and bool((bits == bits[0, 0]).all())


def _blocks(values: np.ndarray, side: int) -> Iterator[np.ndarray]:
    """Yield the blocks of an array, row by row; beyond the edge, pixels are repeated."""
    height, width = values.shape[:2]
    for row in range(0, height, side):
        for column in range(0, width, side):
            block = values[row : row + side, column : column + side]
            rest = [(0, side - block.shape[0]), (0, side - block.shape[1]), *[(0, 0)] * (values.ndim - 2)]
            yield np.pad(block, rest, mode="edge") if block.shape[:2] != (side, side) else block


def _differences(block: np.ndarray) -> np.ndarray:
    """Return the differences of neighbours in a row, modulo the size of the type (predictor 2)."""
    out = np.ascontiguousarray(block, block.dtype.newbyteorder("<"))
    result = out.copy()
    result[:, 1:] -= out[:, :-1]
    return result


def _float_differences(block: np.ndarray) -> np.ndarray:
    """Return the differences of bytes in a row, after bytes of equal weight are put together (predictor 3)."""
    rows, columns = block.shape
    stored = np.ascontiguousarray(block, "<f4").view(np.uint8).reshape(rows, columns, 4)
    planes = np.empty((rows, 4, columns), np.uint8)
    for i in range(4):
        planes[:, i] = stored[:, :, 3 - i]
    flat = planes.reshape(rows, 4 * columns)
    result = flat.copy()
    result[:, 1:] -= flat[:, :-1]
    return result


def _tags(values: np.ndarray, fields: Fields, block: int, *, first: bool) -> dict[int, tuple[int, int, bytes]]:
    """Return the fields of a directory, without the places of its blocks."""
    (height, width), bands = values.shape[:2], values.shape[2] if values.ndim > 2 else 1
    kind, bits = {"u": 1, "i": 2, "f": 3}[values.dtype.kind], 8 * values.dtype.itemsize
    numbers: list[tuple[int, int, Sequence[int]]] = [
        (256, _LONG, [width]),
        (257, _LONG, [height]),
        (258, _SHORT, [bits] * bands),
        (259, _SHORT, [8]),  # deflate
        (262, _SHORT, [2 if bands > 1 else 1]),  # red, green, blue; or 0 is black
        (277, _SHORT, [bands]),
        (284, _SHORT, [1]),
        (317, _SHORT, [3 if kind == 3 else 2]),
        (322, _LONG, [block]),
        (323, _LONG, [block]),
        (339, _SHORT, [kind] * bands),
    ]
    if not first:
        numbers.append((254, _LONG, [1]))  # a reduced image
    if bands == 4:
        numbers.append((338, _SHORT, [2]))  # the last is alpha
    found = {
        tag: (form, len(content), struct.pack(f"<{len(content)}{'H' if form == _SHORT else 'I'}", *content))
        for tag, form, content in numbers
    }
    return found | {tag: field for tag, field in fields.items() if first or tag == _NODATA}


def _directory_size(tags: Fields, blocks: int) -> int:
    """Return the bytes of a directory with its values and the two tables of places and sizes of blocks."""
    lengths = [len(content) for _, _, content in tags.values()] + [4 * blocks] * 2
    return 2 + 12 * len(lengths) + 4 + sum(length + length % 2 for length in lengths if length > 4)


def _directory(tags: Fields, at: int, *, last: bool) -> bytes:
    """Return a directory that lies at an offset, its values behind it; the next one follows them."""
    entries, values = b"", b""
    end = at + 2 + 12 * len(tags) + 4
    for tag, (kind, count, content) in sorted(tags.items()):
        padded = content + b"\0" * (len(content) % 2)
        if len(content) > 4:
            entries += struct.pack("<HHII", tag, kind, count, end + len(values))
            values += padded
        else:
            entries += struct.pack("<HHI", tag, kind, count) + content.ljust(4, b"\0")
    following = 0 if last else end + len(values)
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", following) + values
