"""Fingerprint: SHA-256 over everything that determines the values of a result.

It covers what changes the values of a result, and nothing else: no hosts, times, log levels, folders or numbers of
workers. Two items with the same fingerprint hold the same values; an item whose fingerprint is not the expected one is
stale. Everything that is hashed states itself under explicit names, in a method ``fingerprint_fields``: a class or a
field can be renamed, and no result becomes stale.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, Literal, NamedTuple

from stac_sm.core.errors import InputError

Stage = Literal["ingest", "climatology", "matchups", "model", "product", "aggregates", "validation"]

ALGORITHM_VERSIONS: dict[Stage, str] = {
    "ingest": "2",
    "climatology": "2",
    "matchups": "2",  # the resolved inputs and the daily means of stations
    "model": "2",  # screening, training and scoring: the thresholds of screening are hashed with the model
    "product": "2",
    "aggregates": "1",
    "validation": "1",  # of the product, against stations and other data sets
}
"""Version of the algorithm of each stage.

Raise one by hand whenever the same inputs of its stage give other values: the results of this stage become stale, and
with them what is made from them, but no result of an earlier stage. A golden-values test fails when that is forgotten.
"""


class DayInput(NamedTuple):
    """What a day takes from one file."""

    id: str
    """Id of the item with the asset's key."""

    checksum: str
    """Checksum over the bytes of the file, what its item says about them, and their weight in the day's value."""

    text: str
    """Id and checksum as canonical JSON, as `Fingerprints` takes them."""


def day_input(item_id: str, asset: str, provenance: str, weight: float) -> DayInput:
    """Return what a day takes from one file.

    Parameters
    ----------
    item_id, asset
        Where the file is found.
    provenance
        Digest of the file and of what its item says about it: `RasterSource.proof`.
    weight
        Share of the file's field in the day's value.
    """
    id = f"{item_id}/{asset}"
    checksum = sha256(f"[{_quoted(provenance)},{_number_json(weight)}]".encode()).hexdigest()
    return DayInput(id, checksum, _pair_json(id, checksum))


def input_texts(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return pairs of id and checksum as `Fingerprints` takes them: each once, in order, as canonical JSON."""
    return [_pair_json(*pair) for pair in sorted(set(pairs))]


class Fingerprints:
    """Fingerprints of the days of one tile; what the days share is written once.

    Parameters
    ----------
    algorithm
        Version of the algorithm of the stage.
    grid, tile
        Digest of the tile grid, tile id.
    recipe
        The features and masks, as JSON-able mapping.
    model
        Checksum of the model.
    output
        The output profile: data type, rounding, nodata, compression.
    """

    def __init__(
        self, *, algorithm: str, grid: str, tile: str, recipe: Mapping[str, Any], model: str, output: Mapping[str, Any]
    ) -> None:
        shared = {"algorithm": algorithm, "grid": grid, "model": model, "output": output, "recipe": recipe}
        texts = {name: canonical_json(value).decode() for name, value in shared.items()}
        known = texts | {"tile": canonical_json(tile).decode()}
        self._head, self._middle, self._tail = _around(known, "day", "inputs")
        self._parts = {name: _short(text) for name, text in texts.items()}

    def of(self, day: str, inputs: Sequence[str]) -> str:
        """Return the fingerprint of a day: SHA-256, in hex.

        Parameters
        ----------
        day
            ISO date.
        inputs
            Texts of `DayInput`, in the order of ids and checksums, none twice.
        """
        text = f'{self._head}"{day}"{self._middle}[{",".join(inputs)}]{self._tail}'
        return sha256(text.encode()).hexdigest()

    def parts(self, inputs: Sequence[str]) -> dict[str, str]:
        """Return 8 hex digits of each part, which show what differs between two days; inputs as for `of`."""
        return dict(sorted({**self._parts, "inputs": _short(f"[{','.join(inputs)}]")}.items()))


def _around(known: Mapping[str, str], *slots: str) -> list[str]:
    """Return the canonical JSON of a mapping in pieces: before, between and after the values of the slots.

    Parameters
    ----------
    known
        Canonical JSON of the other values, by key.
    slots
        Keys whose values are filled in, ascending.
    """
    pieces = [""]
    for number, name in enumerate(sorted([*known, *slots])):
        pieces[-1] += ("," if number else "{") + f"{_quoted(name)}:"
        if name in slots:
            pieces.append("")
        else:
            pieces[-1] += known[name]
    pieces[-1] += "}"
    return pieces


def digest_of_list(first: str, rest: str) -> bytes:
    """Return the SHA-256 of a list whose first element is a text, the others being canonical JSON joined by commas.

    ``digest_of_list("a", "1,2").hex()`` is ``digest(["a", 1, 2])``, for many lists that have the rest in common.
    """
    return sha256(f"[{_quoted(first)},{rest}]".encode()).digest()


def elements_json(values: Sequence[Any]) -> str:
    """Return the canonical JSON of the elements of a list, joined by commas, for `digest_of_list`."""
    return canonical_json(values).decode()[1:-1]


def _pair_json(id: str, checksum: str) -> str:
    return f"[{_quoted(id)},{_quoted(checksum)}]"


@lru_cache(maxsize=1000)
def _number_json(value: float) -> str:
    return canonical_json(value).decode()


def _short(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]


def digest(content: Any) -> str:
    """SHA-256 in hex of the canonical JSON of a value."""
    return sha256(canonical_json(content)).hexdigest()


def canonical_json(content: Any) -> bytes:
    """JSON with sorted keys, no white space, and one spelling of every number (1 and 1.0 are the same).

    Raises
    ------
    InputError
        If something in it has no JSON form, or is not finite.
    """
    return json.dumps(_canonical(content), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_key(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float):
        return _number(value)
    if value is None or isinstance(value, str | bool | int):
        return value
    kind = type(value).__name__
    raise InputError(f"{value!r} of type {kind} has no canonical JSON: use text, numbers, lists, mappings")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise InputError(f"key {key!r} of type {type(key).__name__} has no canonical JSON: use text for keys")
    return key


def _number(value: float) -> float | int:
    if not math.isfinite(value):
        raise InputError(f"{value!r} has no canonical JSON: only finite numbers can be part of a fingerprint")
    return int(value) if value.is_integer() else value
