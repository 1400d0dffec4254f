"""UBJSON, as XGBoost writes its models: only what it uses of it, with typed arrays read at once."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

_NUMBERS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
_FORMATS = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q", b"d": ">f", b"D": ">d"}
_CONSTANTS = {b"Z": None, b"T": True, b"F": False}


def parse_ubjson(content: bytes) -> Any:
    """Value of a UBJSON document: dicts, lists, strings and numbers; arrays of one type are NumPy arrays.

    Raises
    ------
    ValueError
        If it is cut short, or has a type that XGBoost never writes.
    """
    try:
        return _Reader(content).value()
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"UBJSON of {len(content)} bytes: cut short or changed ({error})") from error


class _Reader:
    """A place in a document."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def value(self) -> Any:
        return self._of_type(self._take(1))

    def _take(self, size: int) -> bytes:
        if not 0 <= size <= len(self._content) - self._at:
            raise IndexError(f"{size} bytes wanted at {self._at}")
        self._at += size
        return self._content[self._at - size : self._at]

    def _of_type(self, kind: bytes) -> Any:
        if kind in _FORMATS:
            form = _FORMATS[kind]
            return struct.unpack(form, self._take(struct.calcsize(form)))[0]
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind == b"S":
            return self._text()
        if kind == b"{":
            return self._object()
        if kind == b"[":
            return self._array()
        raise ValueError(f"UBJSON: type {kind!r} at byte {self._at - 1}; XGBoost writes no such thing")

    def _text(self) -> str:
        return self._take(int(self.value())).decode()

    def _object(self) -> dict[str, Any]:
        found = {}
        while not self._ends(b"}"):
            name = self._text()
            found[name] = self.value()
        return found

    def _array(self) -> Any:
        if self._ends(b"$"):
            kind = self._take(1)
            if not self._ends(b"#"):
                raise ValueError(f"UBJSON: typed array without a count at byte {self._at}")
            form = np.dtype(_NUMBERS[kind]) if kind in _NUMBERS else None
            if form is None:
                raise ValueError(f"UBJSON: array of type {kind!r} at byte {self._at}")
            return np.frombuffer(self._take(int(self.value()) * form.itemsize), form)
        if self._ends(b"#"):
            return [self.value() for _ in range(int(self.value()))]
        found = []
        while not self._ends(b"]"):
            found.append(self.value())
        return found

    def _ends(self, mark: bytes) -> bool:
        """Whether a mark is next; if so it is passed."""
        here = self._content[self._at : self._at + 1]
        if not here:
            raise IndexError(f"nothing at {self._at}")
        self._at += here == mark
        return here == mark
