"""Create the application: the routes of a read-only STAC API over a catalogue.

`server` runs it. Each route reads the request with `query`, and answers with `responses`, `documents` or `assets`. A
request that makes no sense is answered with 400 or 404. The landing page is JSON for programs and a small HTML page
for people.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import orjson
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse

from stac_sm.core.errors import StacSmError
from stac_sm.serve import documents
from stac_sm.serve import responses as answers
from stac_sm.serve.assets import asset_response
from stac_sm.serve.errors import BadRequestError
from stac_sm.serve.openapi import (
    GET_AGGREGATE,
    GET_COLLECTION_AGGREGATE,
    GET_COLLECTIONS,
    GET_ITEMS,
    GET_SEARCH,
    POST_SEARCH,
    openapi_document,
)
from stac_sm.serve.operations import ServerWatch
from stac_sm.serve.proxy import ProxyHeaders, PublicAddress
from stac_sm.serve.query import ItemQuery, check_known, parse_json, query_from_body, query_from_parameters
from stac_sm.serve.service import CatalogService
from stac_sm.serve.tiles import MOUNTED, tiles_app
from stac_sm.serve.validation import ValidatedResponses
from stac_sm.storage.log_lines import LOGGER

_STYLE = "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}li{margin:.2rem 0}"


def landing_html(page: Mapping[str, Any]) -> str:
    """Return a small page with the links of the landing page.

    Parameters
    ----------
    page
        JSON of the landing page.

    Returns
    -------
    str
        HTML.
    """
    title = escape(str(page.get("title") or page.get("id")))
    lines = [f"<p>{escape(str(page.get('description', '')))}</p>"]
    for rel, heading in (("child", "Collections"), (None, "API")):
        chosen = [one for one in page["links"] if (one["rel"] == "child") == (rel is not None)]
        items = (f'<li><a href="{escape(one["href"])}">{escape(_name(one))}</a></li>' for one in chosen)
        lines.append(f"<h2>{heading}</h2><ul>{''.join(items)}</ul>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return f"<!doctype html><html lang=en>{head}<style>{_STYLE}</style><h1>{title}</h1>{''.join(lines)}</html>"


def _name(link: Mapping[str, Any]) -> str:
    method = f" ({link['method']})" if "method" in link else ""
    return f"{link.get('title') or link['rel'].rpartition('/')[2]}{method}"


MAX_BODY_BYTES = 1 << 20
"""Of a POST."""

_JSON, _GEOJSON, _SCHEMA = documents.JSON_MEDIA_TYPE, documents.GEOJSON_MEDIA_TYPE, documents.SCHEMA_MEDIA_TYPE
_BUILT_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#fde737"/>'
    '<path d="M8 2c3 4 4 5.5 4 8a4 4 0 0 1-8 0c0-2.500 1-4 4-8z" fill="#00306f"/></svg>'
)


def create_app(
    service: CatalogService,
    *,
    browser: Path | None = None,
    address: PublicAddress | None = None,
    log: Callable[[str], None] | None = None,
) -> FastAPI:
    """Create the API of a service.

    Parameters
    ----------
    service
        What is served.
    browser
        Folder of a built STAC Browser, to be served at ``/browser``; None: without it.
    address
        How clients reach the API; None for as it listens.
    log
        Called with a line of text for the operator, where headers of a proxy are ignored.

    Returns
    -------
    fastapi.FastAPI
        ASGI application.
    """
    app = FastAPI(
        title="stac_sm",
        description="Read-only STAC API of a catalogue",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(ValidatedResponses)
    app.add_middleware(_Gzip, minimum_size=2000)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "HEAD", "POST", "OPTIONS"],
        allow_headers=["*"],
        expose_headers=[
            "Accept-Ranges",
            "Cache-Control",
            "Content-Length",
            "Content-Range",
            "ETag",
            "Last-Modified",
            "Link",
        ],
    )
    _add_errors(app)
    stac = APIRouter(dependencies=[Depends(_check_parameters)])
    _add_core(stac, app, service, browser)
    _add_collections(stac, service)
    _add_search(stac, service)
    app.include_router(stac)
    _add_files(app, service, browser)
    own = [*app.openapi()["paths"], MOUNTED, "/browser", "/favicon.ico"]
    routes = frozenset(path.split("/")[1] for path in own)
    app.add_middleware(ProxyHeaders, address=address or PublicAddress(), routes=routes, log=log)
    app.add_middleware(ServerWatch, service=service, root_path=address.root_path if address else "")  # the outermost
    return app


class _Gzip(GZipMiddleware):
    """Compression of JSON and pages, but not of files: ranges are of the bytes that lie in the store."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", "")) if scope["type"] == "http" else ""
        compresses = scope["type"] == "http" and not path.startswith(("/assets/", "/browser/"))
        await (super().__call__ if compresses else self.app)(scope, receive, send)


def base_of(request: Request) -> str:
    """Return the address of the API as the client sees it, without a slash at its end.

    Parameters
    ----------
    request
        Request with the address that the client used.

    Returns
    -------
    str
        Such as ``https://example.org/stac``.
    """
    return str(request.base_url).rstrip("/")


def _json(content: Any, media_type: str = _JSON, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status_code=status, media_type=media_type)


def _error(status: int, text: str) -> Response:
    return _json({"code": str(status), "description": text}, status=status)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(BadRequestError)
    def bad(request: Request, error: BadRequestError) -> Response:
        return _error(400, str(error))

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        response = _error(error.status_code, str(error.detail))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(StacSmError)
    def store(request: Request, error: StacSmError) -> Response:
        LOGGER.error("the store gave no answer: %s", error)
        return _error(503, f"the store gave no answer: {error}")


def _add_core(stac: APIRouter, app: FastAPI, service: CatalogService, browser: Path | None) -> None:
    @stac.get("/", summary="Landing page")
    def landing(request: Request) -> Response:
        found, base = service.snapshot, base_of(request)
        page = documents.landing_page(found.root, list(found.collections.values()), base, browser is not None)
        accepted = request.headers.get("accept", "")
        if "text/html" in accepted and "json" not in accepted.partition("text/html")[0]:
            return HTMLResponse(landing_html(page))
        return _json(page)

    @stac.get("/conformance", summary="What the API promises")
    def conformance() -> Response:
        return _json({"conformsTo": list(documents.CONFORMANCE)})

    @stac.get("/api", summary="OpenAPI description")
    def api(request: Request) -> Response:
        described = openapi_document(app) | {"servers": [{"url": base_of(request)}]}
        return _json(described, documents.OPENAPI_MEDIA_TYPE)

    @stac.get("/api.html", summary="The same as a page")
    def api_page() -> Response:
        lines = (
            f"{', '.join(operations).upper()} {path}" for path, operations in openapi_document(app)["paths"].items()
        )
        return HTMLResponse("<!doctype html><title>stac_sm API</title><pre>" + "\n".join(lines) + "</pre>")

    @stac.get("/queryables", summary="Properties that a filter can ask for")
    def queryables(request: Request) -> Response:
        return _json(answers.queryables(service.snapshot.rows, None, f"{base_of(request)}/queryables"), _SCHEMA)


def _add_collections(stac: APIRouter, service: CatalogService) -> None:
    @stac.get("/collections", openapi_extra=GET_COLLECTIONS, summary="Collections, all or those that are asked for")
    def collections(request: Request) -> Response:
        found = list(service.snapshot.collections.values())
        return _json(answers.collections_page(found, dict(request.query_params), base_of(request)))

    @stac.get("/collections/{collection}", summary="One collection", responses={404: {}})
    def one_collection(request: Request, collection: str) -> Response:
        return _json(documents.collection_document(_collection(service, collection), base_of(request)))

    @stac.get("/collections/{collection}/queryables", summary="Queryables of a collection", responses={404: {}})
    def queryables(request: Request, collection: str) -> Response:
        _collection(service, collection)
        place = f"{base_of(request)}/collections/{collection}/queryables"
        return _json(answers.queryables(service.snapshot.rows, collection, place), _SCHEMA)

    @stac.get("/collections/{collection}/items", openapi_extra=GET_ITEMS, summary="Items of a collection")
    def items(request: Request, collection: str) -> Response:
        _collection(service, collection)
        query, base = dict(request.query_params), base_of(request)
        asked = replace(query_from_parameters(query), collections=(collection,))
        place = f"{base}/collections/{collection}/items"
        return _json(answers.items_page(service, asked, base, place, query, None, collection), _GEOJSON)

    @stac.get("/collections/{collection}/items/{item}", summary="One item", responses={404: {}})
    def one_item(request: Request, collection: str, item: str) -> Response:
        _collection(service, collection)
        asked = ItemQuery(ids=(item,), collections=(collection,), limit=1)
        found = answers.find_item_documents(service, asked, base_of(request))
        if not found:
            raise HTTPException(404, f"item {item!r} is not in collection {collection!r}")
        return Response(found[0], media_type=_GEOJSON)


def _add_search(stac: APIRouter, service: CatalogService) -> None:
    @stac.get("/search", openapi_extra=GET_SEARCH, summary="Item search")
    def search(request: Request) -> Response:
        query, base = dict(request.query_params), base_of(request)
        return _json(
            answers.items_page(service, query_from_parameters(query), base, f"{base}/search", query, None), _GEOJSON
        )

    @stac.post("/search", openapi_extra=POST_SEARCH, summary="Item search")
    async def search_by_body(request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool

        body, base = parse_json(await _body(request), "the body"), base_of(request)
        asked = await run_in_threadpool(query_from_body, body)
        page = await run_in_threadpool(answers.items_page, service, asked, base, f"{base}/search", {}, body)
        return _json(page, _GEOJSON)

    @stac.get("/aggregations", summary="What can be counted")
    def aggregations(request: Request) -> Response:
        return _json(answers.aggregations(base_of(request), ""))

    @stac.get("/aggregate", openapi_extra=GET_AGGREGATE, summary="Counts of what a search would find")
    def aggregate(request: Request) -> Response:
        return _json(
            answers.count_aggregations(service.snapshot.rows, dict(request.query_params), None, base_of(request))
        )

    @stac.get("/collections/{collection}/aggregations", summary="What can be counted", responses={404: {}})
    def collection_aggregations(request: Request, collection: str) -> Response:
        _collection(service, collection)
        return _json(answers.aggregations(base_of(request), f"/collections/{collection}"))

    @stac.get(
        "/collections/{collection}/aggregate", openapi_extra=GET_COLLECTION_AGGREGATE, summary="Counts in a collection"
    )
    def collection_aggregate(request: Request, collection: str) -> Response:
        _collection(service, collection)
        query = dict(request.query_params)
        return _json(answers.count_aggregations(service.snapshot.rows, query, collection, base_of(request)))


def _add_files(app: FastAPI, service: CatalogService, browser: Path | None) -> None:
    @app.get("/favicon.ico", include_in_schema=False)
    def icon() -> Response:
        return Response(_ICON, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})

    @app.head("/assets/{path:path}", include_in_schema=False)
    @app.get("/assets/{path:path}", summary="A file of an item", responses={404: {}})
    def asset(request: Request, path: str) -> Any:
        found = asset_response(service, path, request.headers.get("if-none-match", ""))
        if found is not None:
            return found
        document = answers.stored_document(service, path, base_of(request))
        if document is None:
            raise HTTPException(404, "there is no such file in a collection")
        return _json(document, _GEOJSON if document.get("type") == "Feature" else _JSON)

    if (tiles := tiles_app(service)) is not None:
        app.mount(MOUNTED, tiles)

    if browser is None:
        return

    @app.get("/browser/config.js", include_in_schema=False)
    def settings(request: Request) -> Response:
        text = f'window.STAC_BROWSER_CONFIG = {{"catalogUrl": "{base_of(request)}/", "catalogTitle": "stac_sm"}};'
        return Response(text, media_type="text/javascript")

    @app.get("/browser", include_in_schema=False)
    @app.get("/browser/{path:path}", include_in_schema=False)
    def pages(request: Request, path: str = "") -> Any:
        file = (browser / path).resolve() if "\0" not in path else browser
        inside = file.is_file() and file.is_relative_to(browser.resolve())
        shown = file if inside else browser / "index.html"  # what is no file is a page of the Browser
        prefix = request.scope.get("root_path", "")
        if not prefix or shown.suffix not in _BUILT_TYPES:
            return FileResponse(shown)
        moved = re.sub(
            r"""(["'(])/browser/""", rf"\1{prefix}/browser/", shown.read_text("utf-8")
        )  # its path when built
        return Response(moved, media_type=_BUILT_TYPES[shown.suffix])


def _collection(service: CatalogService, id: str) -> Mapping[str, Any]:
    found = service.snapshot.collections.get(id)
    if found is None:
        raise HTTPException(404, f"collection {id!r} is not in this catalogue")
    return found


async def _check_parameters(request: Request) -> None:
    """Refuse a parameter that the description of the route does not have, or that is given twice."""
    route = request.scope["route"]
    known = [one["name"] for one in (route.openapi_extra or {}).get("parameters", ())]
    names = [name for name, _ in request.query_params.multi_items()]
    check_known(f"parameter of {request.method} {route.path}", names, known)
    for name in names:
        if names.count(name) > 1:
            raise BadRequestError(f"parameter {name!r} is given twice: give it once, with commas between its values")


async def _body(request: Request) -> bytes:
    """Return the body of a POST, up to a bound."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise HTTPException(413, f"a body of at most {MAX_BODY_BYTES} bytes is taken")
        parts.append(part)
    return b"".join(parts)


def browser_folder() -> Path | None:
    """Return the folder of the built STAC Browser; None if there is none.

    It is ``STAC_SM_BROWSER``, or the folder into which infra/browser/build.sh builds it.

    Returns
    -------
    pathlib.Path or None
        Holds ``index.html``.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    named = os.environ.get("STAC_SM_BROWSER")
    folder = Path(named) if named else cache / "stac-sm" / "browser"
    return folder if (folder / "index.html").is_file() else None
