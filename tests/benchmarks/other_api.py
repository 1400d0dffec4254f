"""Compare the routes of stac_sm with those of stac-fastapi over the same index: speed, errors and lines, in one run.

Run: ``uv run --with stac-fastapi.extensions --with stac-fastapi.api --with httpx python tests/benchmarks/other_api.py``
(``--json`` for JSON). The client below is all that stac-fastapi needs to answer from our index; what it does not check
itself, our parser checks. Both applications run in this process, without a network.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import orjson

from stac_sm.serve import documents, responses
from stac_sm.serve.app import create_app
from stac_sm.serve.errors import BadRequestError
from stac_sm.serve.query import ItemQuery, query_from_body
from stac_sm.serve.service import CatalogService
from stac_sm.stac.index.update import update_index
from stac_sm.storage.store import open_store
from tests.support.served import COLLECTIONS, LAYOUTS, made_catalog, made_items

SEARCHES = {
    "100 items of a collection": "/search?collections=daily&limit=100",
    "10 items in a box and a year": "/search?bbox=0,40,20,60&datetime=2019-01-01T00:00:00Z/2020-01-01T00:00:00Z",
    "one item": "/collections/daily/items/daily.0000005",
    "collections": "/collections",
}
WRONG = (
    "/search?limits=1", "/search?limit=0", "/search?limit=x", "/search?limit=1&limit=2", "/search?bbox=1,2",
    "/search?bbox=0,50,10,40", "/search?datetime=2020-01-01T00:00:00Z/2019-01-01T00:00:00Z", "/search?datetime=x",
    "/search?sortby=platforms", "/search?intersects=%7B", "/search?filter=platforms%3D1",
    "/collections/daily/items?ids=a", "/collections?unknown=1", "/search?ids=",
)  # fmt: skip
"""Requests that make no sense: a server that answers 200 has ignored something."""


def _body(given: dict[str, Any]) -> dict[str, Any]:
    names = {"datetime", "collections", "ids", "bbox", "intersects", "limit", "token"}
    found = {name: value for name, value in given.items() if name in names and value is not None}
    if "bbox" in found:
        found["bbox"] = list(found["bbox"])
    if not isinstance(found.get("datetime", ""), str):
        first, last = (one.isoformat().replace("+00:00", "Z") if one else ".." for one in found["datetime"])
        found["datetime"] = f"{first}/{last}"
    if isinstance(found.get("intersects"), str):
        found["intersects"] = json.loads(found["intersects"])
    if given.get("sortby"):
        found["sortby"] = [
            {"field": one.lstrip("+-"), "direction": "desc" if one[0] == "-" else "asc"} for one in given["sortby"]
        ]
    if given.get("filter_expr"):
        found |= {"filter": given["filter_expr"], "filter-lang": "cql2-text"}
    return found


def theirs(service: CatalogService) -> Any:
    """Return the application of stac-fastapi over our index: its packages are no dependency."""
    import attr
    from stac_fastapi.api.app import StacApi
    from stac_fastapi.api.errors import DEFAULT_STATUS_CODES
    from stac_fastapi.api.models import create_get_request_model, create_post_request_model
    from stac_fastapi.extensions import FieldsExtension, FilterExtension, SortExtension, TokenPaginationExtension
    from stac_fastapi.types.config import ApiSettings
    from stac_fastapi.types.core import BaseCoreClient

    @attr.s
    class IndexClient(BaseCoreClient):
        """Client of stac-fastapi that searches our index."""

        service: CatalogService = attr.ib(default=None)

        def _page(self, body: dict[str, Any], request: Any, collection: str | None = None) -> dict[str, Any]:
            asked, base = query_from_body(body), str(request.base_url).rstrip("/")
            found = responses.items_page(self.service, asked, base, f"{base}/search", {}, body, collection)
            return orjson.loads(orjson.dumps(found))

        def post_search(self, search_request: Any, **kwargs: Any) -> Any:
            """Search by a body."""
            return self._page(
                search_request.model_dump(mode="json", exclude_none=True, by_alias=True), kwargs["request"]
            )

        def get_search(self, **kwargs: Any) -> Any:
            """Search by a query string."""
            return self._page(_body(kwargs), kwargs["request"])

        def item_collection(self, collection_id: str, **kwargs: Any) -> Any:
            """Return items of a collection."""
            return self._page(_body(kwargs) | {"collections": [collection_id]}, kwargs["request"], collection_id)

        def get_item(self, item_id: str, collection_id: str, **kwargs: Any) -> Any:
            """Return one item."""
            asked = ItemQuery(ids=(item_id,), collections=(collection_id,), limit=1)
            base = str(kwargs["request"].base_url).rstrip("/")
            return json.loads(responses.find_item_documents(self.service, asked, base)[0])

        def all_collections(self, **kwargs: Any) -> Any:
            """Return all collections."""
            base = str(kwargs["request"].base_url).rstrip("/")
            found = [documents.collection_document(one, base) for one in self.service.snapshot.collections.values()]
            return {"collections": found, "links": []}

        def get_collection(self, collection_id: str, **kwargs: Any) -> Any:
            """Return one collection."""
            found = self.service.snapshot.collections[collection_id]
            return documents.collection_document(found, str(kwargs["request"].base_url).rstrip("/"))

    extensions = [FieldsExtension(), FilterExtension(), SortExtension(), TokenPaginationExtension()]
    return StacApi(
        settings=ApiSettings(enable_response_models=False),
        client=IndexClient(service=service),
        exceptions=DEFAULT_STATUS_CODES | {BadRequestError: 400},
        extensions=extensions,
        search_get_request_model=create_get_request_model(extensions),
        search_post_request_model=create_post_request_model(extensions),
    ).app


def median_ms(client: Any, path: str, times: int = 30) -> float:
    """Return the median of the times of a request, ms."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        assert client.get(path).status_code == 200, client.get(path).text[:300]
        found.append(1000 * (time.perf_counter() - began))
    return round(sorted(found)[times // 2], 1)


def lines_of(folder: Path) -> int:
    """Return the lines of the Python files of a folder."""
    return sum(len(file.read_text().splitlines()) for file in folder.rglob("*.py"))


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="Print JSON instead of text.")
    as_json = parser.parse_args().json
    import stac_fastapi.api
    import stac_fastapi.extensions
    import stac_fastapi.types
    from fastapi.testclient import TestClient

    with tempfile.TemporaryDirectory() as folder:
        made_catalog(Path(folder, "c"), made_items(2000))
        for id in COLLECTIONS:
            update_index(open_store(Path(folder, "c")), id, layout=LAYOUTS[id])
        service = CatalogService(str(Path(folder, "c")))
        apps = {
            "stac_sm": TestClient(create_app(service), raise_server_exceptions=False),
            "stac-fastapi": TestClient(theirs(service), raise_server_exceptions=False),
        }
        result: dict[str, Any] = {
            name: {
                "median_ms": {what: median_ms(client, path) for what, path in SEARCHES.items()},
                "wrong_requests_answered_by": {path: client.get(path).status_code for path in WRONG},
            }
            for name, client in apps.items()
        }
    packages = (stac_fastapi.api, stac_fastapi.extensions, stac_fastapi.types)
    result["stac_sm"]["lines"] = lines_of(Path(documents.__file__).parent)
    library = sum(lines_of(Path(one.__file__).parent) for one in packages)
    client = Path(__file__).read_text().partition("def _body(")[2].partition("def median_ms")[0].count("\n")
    result["stac-fastapi"]["lines"] = {"client": client, "library": library}
    for name in apps:
        statuses = list(result[name]["wrong_requests_answered_by"].values())
        result[name]["wrong_requests"] = {kind: statuses.count(kind) for kind in sorted(set(statuses))}
    if as_json:
        print(json.dumps(result, indent=2))
        return
    for name, found in result.items():
        print(f"{name}: {found['median_ms']} ms; {found['lines']} lines")
        print(f"  requests that make no sense, by status: {found['wrong_requests']}")


if __name__ == "__main__":
    main()
