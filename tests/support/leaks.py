"""What a stranger gets of a STAC API: a walk over all that it links to, and a search of bytes for station values."""

from __future__ import annotations

import http.client
import io
import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import numpy as np
import pyarrow.parquet as pq

_NUMBER = re.compile(rb"\d\.\d{6,}")
_LINK = re.compile(r"""(?:href|src)=["']([^"'#]+)["']""")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    """HTTP status."""

    kind: str
    """Media type."""

    body: bytes
    """Content."""

    @property
    def links(self) -> list[str]:
        """All hrefs in a JSON document, at whatever depth, or in a page."""
        if "json" in self.kind:
            return list(_hrefs(json.loads(self.body)))
        return _LINK.findall(self.body.decode()) if "html" in self.kind else []


def _hrefs(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("href"), str) and value.get("method", "GET") == "GET":
            yield value["href"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _hrefs(inner)


def ask(address: str, path: str, body: Any = None, **headers: str) -> Answer:
    """Ask a server for a path as it is written, which other clients would tidy up; POST where there is a body."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    try:
        content = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, content, headers)
        found = connection.getresponse()
        return Answer(found.status, found.headers.get("content-type", ""), found.read())
    finally:
        connection.close()


def walk(address: str, *first: str) -> dict[str, Answer]:
    """Answers of all that the landing page of a server leads to on it, by path; and of these paths."""
    found: dict[str, Answer] = {}
    waiting = ["/", *first]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path] = ask(address, path)
            waiting += paths_of(address, path, found[path])
    found["/ as a page"] = ask(address, "/", Accept="text/html")
    return found


def paths_of(address: str, path: str, answer: Answer) -> list[str]:
    """Paths on this server that an answer links to."""
    links = (urlsplit(urljoin(address + path, link)) for link in answer.links)
    return [
        one.path + (f"?{one.query}" if one.query else "") for one in links if one.netloc == urlsplit(address).netloc
    ]


@dataclass(frozen=True)
class StationValues:
    """Values that stations measured, to be looked for."""

    values: np.ndarray
    """Sorted, m3 m-3, with more digits than any score is rounded to."""

    @staticmethod
    def of(values: Iterable[float]) -> StationValues:
        """Of readings or daily means."""
        return StationValues(np.unique(np.array(list(values), dtype=float)))

    def found_in(self, content: bytes) -> list[float]:
        """Those that are in a file or a document: as text, as numbers of Parquet, or as bytes of a float."""
        numbers = [float(text) for text in _NUMBER.findall(content)]
        if content[:4] == b"PAR1":
            table = pq.read_table(io.BytesIO(content)).flatten()
            for column in table.columns:
                kind = str(column.type)
                if kind in {"double", "float"}:
                    numbers += column.drop_null().to_pylist()
                elif kind in {"string", "binary", "large_string"} or kind.startswith("list"):
                    text = " ".join(map(str, column.to_pylist())).encode()
                    numbers += [float(one) for one in _NUMBER.findall(text)]
        found = [value for value in self.values if self._raw(value, content)]
        return sorted({*found, *self._near(np.array(numbers, dtype=float))})

    def _near(self, numbers: np.ndarray) -> list[float]:
        at = np.clip(np.searchsorted(self.values, numbers), 1, len(self.values) - 1)
        gap = np.minimum(abs(self.values[at] - numbers), abs(self.values[at - 1] - numbers))
        return list(numbers[gap < 1e-7])

    @staticmethod
    def _raw(value: float, content: bytes) -> bool:
        return any(struct.pack(form, value) in content for form in ("<d", ">d", "<f", ">f"))
