"""Proofs of sources: what of `RasterSource.proof` many items have in common, worked out once."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any

from odc.geo.geobox import GeoBox

from stac_sm.errors import CatalogError
from stac_sm.fingerprint import canonical_json
from stac_sm.readers.source import RasterSource, raster_source
from stac_sm.search import item_of


@lru_cache(maxsize=20_000)
def source_tail(fields: str, key: str, band: str, valid: tuple[float, float] | None) -> tuple[GeoBox, str] | None:
    """Grid and end of the proof's text of whatever file these fields are said of."""
    asset, told = json.loads(fields)
    document: dict[str, Any] = {"type": "Feature", "stac_version": "1.1.0", "id": "any", "geometry": None, "links": []}
    document |= {"properties": {"datetime": "2000-01-01T00:00:00Z", **told}}
    document |= {"assets": {key: {"href": "./any", "file:checksum": "any", **asset}}}
    try:
        source = raster_source(item_of(document, "/any.json"), key, band)
    except CatalogError:
        return None
    source = source.of(valid, "", "")
    tail = proof_tail(source)
    return (source.geobox, tail) if source.proof == proof_bytes("any", tail).hex() else None


def proof_tail(source: RasterSource) -> str:
    """Canonical JSON of what a proof is made of, from behind the checksum."""
    grid = [str(source.geobox.crs), list(source.geobox.shape), list(source.geobox.affine)[:6]]
    meaning = (source.nodata, source.scale, source.offset, source.valid)
    where = [grid] if source.bands == 1 else [grid, source.band]
    return canonical_json([0, source.dtype, *map(str, meaning), *where]).decode()[2:]


def proof_bytes(checksum: str, tail: str) -> bytes:
    """SHA-256 of a checksum and what `source_tail` says."""
    return hashlib.sha256(f"[{encode_basestring_ascii(checksum)}{tail}".encode()).digest()


def without_nulls(value: Any) -> Any:
    """A value of an Arrow column as its JSON was: null stands for what is not there."""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value
