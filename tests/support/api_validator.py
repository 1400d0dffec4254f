"""Runs stac-api-validator with no network: what it fetches but from the server comes from `stac_schemas` beside it.

Usage: api_validator.py ARGUMENTS… ; other addresses than 127.0.0.1 and those schemas are refused.
"""

from __future__ import annotations

import io
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[2]))

import pystac.validation
import requests
from requests.adapters import HTTPAdapter

from tests.support.schemas import SCHEMAS, OfflineValidator, local_schemas

_urlopen = urllib.request.urlopen


class Schemas(HTTPAdapter):
    """Gives schemas for all addresses but this machine's."""

    def __init__(self, known: dict[str, Any]) -> None:
        super().__init__()
        self.known = known

    def content(self, address: str) -> bytes:
        """JSON of a schema; an error if it is not here."""
        found = self.known.get(address.rstrip("#"))
        if found is None:
            raise requests.ConnectionError(f"{address} is not in {SCHEMAS}: nothing is validated by a guess")
        return json.dumps(found).encode()

    def send(self, request: Any, *arguments: Any, **options: Any) -> requests.Response:
        if urlsplit(request.url).hostname == "127.0.0.1":
            return super().send(request, *arguments, **options)
        response = requests.Response()
        response.status_code, response.url, response.request = 200, request.url, request
        response.raw = io.BytesIO(self.content(request.url))
        response.headers["Content-Type"] = "application/json"
        return response


def core_schemas() -> dict[str, Any]:
    """Schemas of STAC itself and of GeoJSON, which pystac brings with it."""
    folder = Path(pystac.validation.__file__).with_name("jsonschemas")
    known = {file: json.loads(file.read_text()) for file in folder.rglob("*.json")}
    beside = {f"https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/{file.name}": known[file] for file in known}
    return beside | {schema["$id"].rstrip("#"): schema for schema in known.values()}


def main() -> None:
    """Mount the schemas, then be stac-api-validator."""
    adapter = Schemas(core_schemas() | local_schemas(SCHEMAS))
    session, prepared = requests.Session.__init__, requests.Session.prepare_request

    def mounted(self: requests.Session) -> None:
        session(self)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def opened(wanted: Any, *arguments: Any, **options: Any) -> Any:
        address = wanted.full_url if isinstance(wanted, urllib.request.Request) else wanted
        here = urlsplit(address).hostname == "127.0.0.1"
        return _urlopen(wanted, *arguments, **options) if here else io.BytesIO(adapter.content(address))

    def as_a_list(self: requests.Session, request: requests.Request) -> requests.PreparedRequest:
        """Its bodies for the Query extension have a text for `collections`, which is a list in the STAC API."""
        if isinstance(request.json, dict) and isinstance(request.json.get("collections"), str):
            request.json = {**request.json, "collections": [request.json["collections"]]}
        return prepared(self, request)

    requests.Session.__init__ = mounted  # type: ignore[method-assign]
    requests.Session.prepare_request = as_a_list  # type: ignore[method-assign]
    urllib.request.urlopen = opened
    pystac.validation.set_validator(OfflineValidator())
    import stac_check.lint  # noqa: F401
    import stac_validator.utilities

    stac_validator.utilities.urlopen = opened
    from stac_api_validator.__main__ import main as validate

    validate()


main()
