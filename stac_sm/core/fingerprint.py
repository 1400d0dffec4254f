"""Compute provenance fingerprints: SHA-256 over everything that determines the values of a result.

A fingerprint covers what changes the values, and nothing else: no hosts, times, log levels, folders or numbers of
workers. Two items with the same fingerprint hold the same values; an item whose fingerprint is not the expected one is
stale. Every stage computes the expected fingerprint of what it is about to make, `plan` compares it with the one in the
catalogue, and `audit` recomputes it. Objects that are hashed spell out names and values in a method
``fingerprint_fields``, so that a class or a field can be renamed and no result becomes stale.
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
    "model": "5",  # screening, training and scoring: since 3, screening decides by the bounds of bootstrap intervals;
    # since 4, one learner for projects and tables; since 5, widths of intervals are constant unless others are better
    "product": "2",
    "aggregates": "1",
    "validation": "4",  # of the product: since 2, station series are a restricted asset; since 3, QA4SM's figures;
    # since 4, all data sets are scaled, readings are counted in the period, errors of a triplet have to be determined
}
"""Version of the algorithm of each stage.

Raise one by hand whenever the same inputs of its stage give other values: the results of this stage become stale, and
with them what is made from them, but no result of an earlier stage. A golden-values test fails when that is forgotten.
"""


VERSION_REASONS: dict[Stage, dict[str, str]] = {
    "model": {
        "3": "screening decides by the bounds of bootstrap intervals",
        "4": "one learner for projects and tables, of trees; linear boosters are trained no more",
        "5": "anomalies are learned from all features; widths of intervals are constant unless others are better",
    },
    "validation": {
        "2": "station series are a restricted asset",
        "3": "the figures of QA4SM, triple collocation at stations and a protocol",
        "4": "other data sets are scaled as the product is, and what is dropped is counted in the period alone",
    },
}
"""Why a version was raised, by stage and version: ``stac-sm doctor`` says it of results that other versions have made.
Versions that no release has had are left out."""


class DayInput(NamedTuple):
    """One file that contributes to a day."""

    id: str
    """Id of the item with the asset's key."""

    checksum: str
    """Checksum over the bytes of the file, what its item says about them, their weight in the day's value, and whether
    they only fill gaps of others."""

    text: str
    """Id and checksum as canonical JSON, as `Fingerprints` takes them."""


def day_input(item_id: str, asset: str, provenance: str, weight: float, level: int = 0, age: int = 0) -> DayInput:
    """Return a file that contributes to a day, with its digest and its canonical JSON.

    Parameters
    ----------
    item_id
        Id of the STAC item that holds the file.
    asset
        Key of the asset in that item.
    provenance
        Provenance digest of the file and of what its item says about it: `RasterSource.provenance_digest`, hex.
    weight
        Share of the file's field in the day's value, e.g. 1 for a daily file.
    level
        0 of a file that counts first; more of one that only fills the gaps of finer or newer ones.
    age
        Days from the file's day to the day, where an exponential mean weighs the file by it; else 0.

    Returns
    -------
    DayInput
        ``item_id/asset``, a SHA-256 in hex, and both as JSON.
    """
    id = f"{item_id}/{asset}"
    parts = [_quoted(provenance), _number_json(weight), *([str(level)] if level or age else [])]
    parts += [str(age)] if age else []
    checksum = sha256(f"[{','.join(parts)}]".encode()).hexdigest()
    return DayInput(id, checksum, _pair_json(id, checksum))


def input_texts(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return pairs of id and checksum as canonical JSON, as `Fingerprints` takes them.

    Parameters
    ----------
    pairs
        Id and checksum of each input, in any order; repeated pairs count once.

    Returns
    -------
    list of str
        One JSON array a pair, ascending, none twice.
    """
    return [_pair_json(*pair) for pair in sorted(set(pairs))]


class Fingerprints:
    """Fingerprints of the days of one tile; what all days share is serialised once.

    Parameters
    ----------
    algorithm
        Version of the algorithm of the stage, from `ALGORITHM_VERSIONS`.
    grid
        Digest of the tile grid.
    tile
        Tile id, e.g. ``"h10v05"``.
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
        """Return the fingerprint of a day.

        Parameters
        ----------
        day
            ISO date, e.g. ``"2018-07-01"``.
        inputs
            ``text`` of each `DayInput`, in the order of ids and checksums, none twice.

        Returns
        -------
        str
            SHA-256 in hex.
        """
        text = f'{self._head}"{day}"{self._middle}[{",".join(inputs)}]{self._tail}'
        return sha256(text.encode()).hexdigest()

    def parts(self, inputs: Sequence[str]) -> dict[str, str]:
        """Return a short digest of each part of a fingerprint, which shows what differs between two days.

        Parameters
        ----------
        inputs
            As in `of`.

        Returns
        -------
        dict
            Name of the part (``algorithm``, ``grid``, ``inputs``, ``model``, ``output``, ``recipe``) to 8 hex digits.
        """
        return dict(sorted({**self._parts, "inputs": _short(f"[{','.join(inputs)}]")}.items()))


def _around(known: Mapping[str, str], *slots: str) -> list[str]:
    """Return the canonical JSON of a mapping in pieces: before, between and after the values of the slots.

    ``known`` holds the canonical JSON of the other values by key; ``slots`` are the keys whose values are filled in
    later, ascending.
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
    """Return the SHA-256 of a JSON list whose tail is already serialised.

    ``digest_of_list("a", "1,2").hex()`` equals ``digest(["a", 1, 2])``. It saves time for many lists that share their
    tail.

    Parameters
    ----------
    first
        First element of the list.
    rest
        Canonical JSON of the other elements, joined by commas: `elements_json`.

    Returns
    -------
    bytes
        32 bytes.
    """
    return sha256(f"[{_quoted(first)},{rest}]".encode()).digest()


def elements_json(values: Sequence[Any]) -> str:
    """Return the canonical JSON of the elements of a list, for `digest_of_list`.

    Parameters
    ----------
    values
        The elements, each with a JSON form.

    Returns
    -------
    str
        The elements joined by commas, without the brackets.

    Raises
    ------
    InputError
        If an element has no JSON form, or is not finite.
    """
    return canonical_json(values).decode()[1:-1]


def _pair_json(id: str, checksum: str) -> str:
    return f"[{_quoted(id)},{_quoted(checksum)}]"


@lru_cache(maxsize=1000)
def _number_json(value: float) -> str:
    return canonical_json(value).decode()


def _short(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]


def digest(content: Any) -> str:
    """Return the SHA-256 of the canonical JSON of a value.

    Parameters
    ----------
    content
        Text, finite numbers, booleans, None, and lists and mappings of them.

    Returns
    -------
    str
        64 hex digits.

    Raises
    ------
    InputError
        If something in it has no JSON form, or is not finite.
    """
    return sha256(canonical_json(content)).hexdigest()


def canonical_json(content: Any) -> bytes:
    """Return the one JSON spelling of a value that is hashed.

    Keys are sorted, there is no white space, non-ASCII is escaped, and every number has one spelling (1 and 1.0 are the
    same).

    Parameters
    ----------
    content
        Text, finite numbers, booleans, None, and lists and mappings of them.

    Returns
    -------
    bytes
        ASCII.

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
