"""Size of a classic NetCDF file (CDF-1, CDF-2, CDF-5), from its header."""

from __future__ import annotations

import math
import struct
from typing import BinaryIO

_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
"""Size of a value, by its external type."""


class ClassicHeader:
    """The header of a file, read from behind its first three bytes ``CDF``.

    Raises
    ------
    struct.error
        If the header itself is cut off.
    """

    def __init__(self, content: BinaryIO) -> None:
        self._content = content
        version = content.read(1)[:1]
        self._wide = ">q" if version == b"\x05" else ">i"  # of counts and lengths
        self._offset = ">i" if version == b"\x01" else ">q"
        self.records = self._number(self._wide)
        self._lengths = [self._dimension() for _ in range(self._list())]
        self._skip_attributes()
        self._ends: list[int] = []
        self._in_records: list[tuple[int, int]] = []
        for _ in range(self._list()):
            self._variable()
        self._header = content.tell()

    @property
    def size(self) -> int:
        """Number of bytes that the whole file must have."""
        return max([self._header, *self._ends, *self._last_records()])

    def _last_records(self) -> list[int]:
        """Where the last record of each variable ends; records are padded unless there is one variable only."""
        if self.records < 1:
            return []
        single = len(self._in_records) == 1
        stride = sum(size if single else _padded(size) for _, size in self._in_records)
        return [begin + (self.records - 1) * stride + size for begin, size in self._in_records]

    def _variable(self) -> None:
        self._skip(self._number(self._wide))
        shape = [self._lengths[self._number(self._wide)] for _ in range(self._number(self._wide))]
        self._skip_attributes()
        value = _BYTES.get(self._number(">i"), 1)
        self._number(self._wide)  # the size that is written here does not hold for large variables
        begin = self._number(self._offset)
        if shape[:1] == [0]:
            self._in_records.append((begin, math.prod(shape[1:]) * value))
        else:
            self._ends.append(begin + math.prod(shape) * value)

    def _dimension(self) -> int:
        self._skip(self._number(self._wide))
        return self._number(self._wide)

    def _skip_attributes(self) -> None:
        for _ in range(self._list()):
            self._skip(self._number(self._wide))
            value = _BYTES.get(self._number(">i"), 1)
            self._skip(self._number(self._wide) * value)

    def _list(self) -> int:
        self._number(">i")  # its tag
        return self._number(self._wide)

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._content.read(struct.calcsize(form)))[0])

    def _skip(self, count: int) -> None:
        self._content.seek(_padded(count), 1)


def _padded(count: int) -> int:
    return count + -count % 4
