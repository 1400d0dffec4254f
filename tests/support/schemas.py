"""JSON schemas of STAC extensions without a network, and the validator of pystac that reads them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyproj
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from tests.support.checkout import ROOT

SCHEMAS = ROOT / "tests" / "support" / "stac_schemas"
"""Schemas of the extensions that items and collections name: in every clone. ORIGIN.md there says where from."""


class OfflineValidator(JsonSchemaSTACValidator):
    """Validates against the schemas in `tests/support/stac_schemas`; one that is not there fails the test."""

    def __init__(self) -> None:
        super().__init__()
        self._filled = False

    def _get_schema(self, schema_uri: str) -> dict[str, Any]:
        if not self._filled:
            self.schema_cache |= local_schemas(SCHEMAS)
            self._filled = True
        if schema_uri not in self.schema_cache:
            raise AssertionError(f"schema {schema_uri} is not in {SCHEMAS}: nothing is validated by a guess")
        return self.schema_cache[schema_uri]


def local_schemas(folder: Path) -> dict[str, dict[str, Any]]:
    """Schemas of STAC extensions and PROJJSON by their URI."""
    files = {f"https://{file.relative_to(folder).as_posix()}": file for file in folder.rglob("*.json")}
    texts = {uri: file.read_text() for uri, file in files.items()}
    # classification 2.0.0 could not be had: 1.1.0 stands in for it, which asks for more (every class has a name)
    old, new = (f"https://stac-extensions.github.io/classification/v{n}/schema.json" for n in ("1.1.0", "2.0.0"))
    texts.setdefault(new, texts[old].replace(old, new))
    projjson = Path(pyproj.datadir.get_data_dir(), "projjson.schema.json").read_text()
    for uri in re.findall(r"https://proj\.org/schemas/v[0-9.]+/projjson\.schema\.json", "".join(texts.values())):
        texts[uri] = re.sub(r"https://proj\.org/schemas/v[0-9.]+/projjson\.schema\.json", uri, projjson)
    return {uri: json.loads(text) for uri, text in texts.items()}
