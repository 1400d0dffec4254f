"""Proofs of sources: `RasterSource.meaning`, which many items have in common, worked out once."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from odc.geo.geobox import GeoBox

from stac_sm.errors import CatalogError
from stac_sm.readers.source import raster_source
from stac_sm.search import item_of


@lru_cache(maxsize=20_000)
def source_meaning(fields: str, key: str, band: str, valid: tuple[float, float] | None) -> tuple[GeoBox, str] | None:
    """Return the grid and the `RasterSource.meaning` of any file with these fields; None if they are wrong."""
    asset, told = json.loads(fields)
    document: dict[str, Any] = {"type": "Feature", "stac_version": "1.1.0", "id": "any", "geometry": None, "links": []}
    document |= {"properties": {"datetime": "2000-01-01T00:00:00Z", **told}}
    document |= {"assets": {key: {"href": "./any", "file:checksum": "any", **asset}}}
    try:
        source = raster_source(item_of(document, "/any.json"), key, band)
    except CatalogError:
        return None
    source = source.of(valid, "", "")
    return (source.geobox, source.meaning) if source.checksum == "any" else None


def without_nulls(value: Any) -> Any:
    """A value of an Arrow column as its JSON was: null stands for what is not there."""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value
