"""What stac-check finds in a STAC document, without the heuristics that do not hold here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ACCEPTED = {
    "A link to 'self' in links": "a catalogue that can be moved has relative links and none to itself",
    "links. Please consider": "an item links each of its sources, a root each collection",
    "properties. Please consider": "a product states its projection, its versions and its provenance",
    "should only contain Searchable identifiers": "an id is the provider's name of the granule",
    "Identifiers should consist of only": "the same",
    "Item file names should match their ids": "they do: stac-check cuts the name of the file at its first dot",
}
"""Beginning or part of a message, and why it stays: stac_sm/DECISIONS.md."""

GLOBAL = {
    "Geometry coordinates may be in the wrong order",
    "BBox crossing the antimeridian should have west",
    "Current bbox format appears to be belting the globe",
}
"""Of items that do lie around the whole globe, west -180 and east 180."""


def stac_check_findings(file: Path) -> list[str]:
    """Return what stac-check finds in a file, best practices and geometry; schemas are left to `validate`.

    Parameters
    ----------
    file
        JSON of a catalogue, a collection or an item.

    Returns
    -------
    list of str
        Messages that no entry of `ACCEPTED` explains.
    """
    from stac_check import lint

    def valid(self: object, file: object) -> dict[str, Any]:
        return {"valid_stac": True}

    with pytest.MonkeyPatch.context() as offline:
        offline.setattr(lint.Linter, "validate_file", valid)
        found = lint.Linter(str(file))
    west, _, east, _ = json.loads(file.read_text()).get("bbox") or (0, 0, 0, 0)
    explained = {*ACCEPTED, *(GLOBAL if (west, east) == (-180, 180) else ())}
    told = [*found.best_practices_msg[1:], *(found.geometry_errors_msg or [])[1:]]
    return [line for line in map(str.strip, told) if line and not any(part in line for part in explained)]
