"""Fingerprint: what made an item, as one number.

A pure function of everything that changes the values of a product, and of nothing else: not of hosts, times, log
levels, folders or numbers of workers. Two items with the same fingerprint hold the same values; an item whose
fingerprint is not the wanted one is stale.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any

from stac_sm.errors import InputError

ALGORITHM_VERSION = "2"
"""Raised by hand whenever the same inputs give other values; a golden-values test fails when that is forgotten."""


def fingerprint(
    *,
    grid: str,
    tile: str,
    day: str,
    recipe: Mapping[str, Any],
    inputs: Sequence[tuple[str, str]],
    model: str,
    output: Mapping[str, Any],
    algorithm: str = ALGORITHM_VERSION,
) -> str:
    """SHA-256 in hex of everything that determines the values of one tile and day.

    Parameters
    ----------
    grid, tile, day
        Name of the tile grid, tile id, ISO date.
    recipe
        The features and masks, as JSON-able mapping.
    inputs
        Pairs of input id and checksum (else etag or time of update), in any order; repeats count once.
    model
        Checksum of the model.
    output
        The output profile: data type, rounding, nodata, compression.
    algorithm
        Version of the algorithm.
    """
    return digest(
        {
            "grid": grid,
            "tile": tile,
            "day": day,
            "recipe": recipe,
            "inputs": sorted({(str(name), str(checksum)) for name, checksum in inputs}),
            "model": model,
            "output": output,
            "algorithm": algorithm,
        }
    )


class Fingerprints:
    """Fingerprints of many days of one tile: what they share is written once. The values are those of `fingerprint`."""

    def __init__(
        self,
        *,
        grid: str,
        tile: str,
        recipe: Mapping[str, Any],
        model: str,
        output: Mapping[str, Any],
        algorithm: str = ALGORITHM_VERSION,
    ) -> None:
        shared = {"algorithm": algorithm, "grid": grid, "model": model, "output": output, "recipe": recipe}
        texts = {name: canonical_json(value).decode() for name, value in (shared | {"tile": tile}).items()}
        names = ("model", "output", "recipe", "tile")
        self._head = f'{{"algorithm":{texts["algorithm"]},"day":"'
        self._middle = f'","grid":{texts["grid"]},"inputs":['
        self._tail = "]," + ",".join(f'"{name}":{texts[name]}' for name in names) + "}"
        self._parts = {name: _short(texts[name]) for name in shared}

    def of(self, day: str, inputs: Sequence[str]) -> str:
        """Fingerprint of an ISO date and its inputs: each as `pair_json`, in the order of the pairs, none twice."""
        text = f"{self._head}{day}{self._middle}{','.join(inputs)}{self._tail}"
        return hashlib.sha256(text.encode()).hexdigest()

    def parts(self, inputs: Sequence[str]) -> dict[str, str]:
        """8 hex digits of each part, by which two fingerprints can be compared; inputs as for `of`."""
        return dict(sorted({**self._parts, "inputs": _short(f"[{','.join(inputs)}]")}.items()))


def fingerprint_parts(*, inputs: Sequence[tuple[str, str]], **shared: Any) -> dict[str, str]:
    """8 hex digits of each part of `fingerprint`, which takes the same: by them one can tell which part has changed."""
    pairs = sorted({(str(name), str(checksum)) for name, checksum in inputs})
    return Fingerprints(**shared).parts([pair_json(*pair) for pair in pairs])


def pair_json(id: str, checksum: str) -> str:
    """Canonical JSON of an input."""
    return f"[{encode_basestring_ascii(id)},{encode_basestring_ascii(checksum)}]"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def digest(content: Any) -> str:
    """SHA-256 in hex of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(content)).hexdigest()


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
