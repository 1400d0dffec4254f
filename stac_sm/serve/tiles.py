"""Serve tiles and pictures of the rasters of items, by titiler, where it is installed (``pip install stac_sm[tiles]``).

An asset is named by collection, item and key, never by an address: nothing but GeoTIFFs of the store is opened, and
those with GDAL's GeoTIFF driver alone, for other formats may name further files.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from stac_sm.core.colours import SOIL_MOISTURE_COLOURS, SOIL_MOISTURE_RANGE
from stac_sm.serve.assets import presigned_asset_url, served_file
from stac_sm.serve.query import ItemQuery
from stac_sm.serve.service import CatalogService
from stac_sm.storage.address import is_absolute
from stac_sm.storage.local_store import LocalStore

MOUNTED = "/tiles"
"""Where it lies on the server."""

PREFIX = "/{collection}/{item}/{asset}"
LIMITS = ",".join(f"{end:g}" for end in SOIL_MOISTURE_RANGE)
"""m3 m-3 at the ends of the colours, unless the request says otherwise."""

_SOIL_MOISTURE = ("sm", "overview")
_MOST_SIDE = 2048  # pixels of a picture
_GDAL: dict[str, Any] = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_CACHEMAX": 128}


def tiles_app(service: CatalogService) -> FastAPI | None:
    """Create an application with the tiles of the rasters of a service, to be mounted.

    ``/{collection}/{item}/{asset}`` followed by ``/info``, ``/preview.png``, ``/point/{lon},{lat}``, ``/statistics``,
    ``/WebMercatorQuad/tilejson.json``, ``/tiles/WebMercatorQuad/{z}/{x}/{y}.png``.

    Parameters
    ----------
    service
        What is served.

    Returns
    -------
    fastapi.FastAPI or None
        None where titiler is not installed.
    """
    try:
        factory = import_module("titiler.core.factory")
    except ImportError:
        return None
    app = FastAPI(title="stac_sm tiles", openapi_url=None, docs_url=None, redoc_url=None)
    made = factory.TilerFactory(
        reader=_reader(),
        path_dependency=_path_of(service),
        render_dependency=_render(),
        colormap_dependency=_colours(),
        img_preview_dependency=_preview(),
        environment_dependency=lambda: dict(_GDAL),
        router_prefix=MOUNTED + PREFIX,  # titiler writes links from the root of the server
        add_part=False,
        add_viewer=False,
    )
    app.include_router(made.router, prefix=PREFIX)
    _add_errors(app)
    return app


def _add_errors(app: FastAPI) -> None:
    handlers = import_module("titiler.core.errors")
    rasterio = import_module("rasterio.errors")
    tiler = import_module("rio_tiler.errors")
    statuses = {tiler.RioTilerError: 400, tiler.PointOutsideBounds: 404, RequestValidationError: 400}
    statuses |= handlers.DEFAULT_STATUS_CODES | {rasterio.RasterioIOError: 503}
    for kind, status in statuses.items():
        app.add_exception_handler(kind, partial(_failed, status))

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"code": str(error.status_code), "description": str(error.detail)}, error.status_code)

    @app.middleware("http")
    async def unforeseen(request: Request, following: Any) -> Any:
        try:
            return await following(request)
        except Exception as error:  # as PROJ's, of a point that its CRS cannot show
            text = f"{type(error).__name__}: {error}"  # titiler leaves some parameters to numpy and GDAL
            return JSONResponse({"code": "400", "description": text}, 400)


def _failed(status: int, request: Request, error: Exception) -> JSONResponse:
    """Return an error in the shape that all routes of the server have."""
    text = str(error)
    if isinstance(error, RequestValidationError):
        text = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    return JSONResponse({"code": str(status), "description": text}, status)


def _path_of(service: CatalogService) -> Any:
    """Return a dependency that finds the file of an asset."""

    def path(collection: str, item: str, asset: str) -> str:
        return _path(service, collection, item, asset)

    return path


def _path(service: CatalogService, collection: str, item: str, asset: str) -> str:
    """Return the local file, or signed URL, of an asset that is a GeoTIFF of the store; raise a 404 otherwise."""
    from stac_sm.serve.responses import find_item_paths

    asked = ItemQuery(ids=(item,), collections=(collection,), limit=1)
    for path, document in find_item_paths(service, asked):
        href = str(document.get("assets", {}).get(asset, {}).get("href", ""))
        below = posixpath.normpath(posixpath.join(posixpath.dirname(path), href))
        inside = not is_absolute(href) and below.startswith(f"{collection}/")
        if inside and below.endswith((".tif", ".tiff")):
            place = served_file(service, below)
            if place is not None:
                return str(place)
            if not isinstance(service.store, LocalStore) and service.store.exists(below):
                return presigned_asset_url(service, below)
    raise HTTPException(404, f"item {item!r} of {collection!r} has no raster {asset!r} in this catalogue")


def _reader() -> Any:
    """Return rio-tiler's reader, of GeoTIFF alone."""
    import rasterio

    plain = import_module("rio_tiler.io").Reader

    class GeoTiff(plain):  # type: ignore[misc, valid-type]
        """Reader that opens GeoTIFF or nothing."""

        def __attrs_post_init__(self) -> None:
            if not getattr(self, "dataset", None):
                self.dataset: Any = self._ctx_stack.enter_context(rasterio.open(self.input, driver="GTiff"))
            super().__attrs_post_init__()

    return GeoTiff


def _render() -> Any:
    """Return titiler's rendering, by default between the limits of soil moisture."""
    known = import_module("titiler.core.dependencies").ImageRenderingParams

    @dataclass
    class Rendering(known):  # type: ignore[misc, valid-type]
        """Parameters of titiler, with other defaults."""

        asset: str = ""

        def __post_init__(self) -> None:
            if not getattr(self, "rescale", None) and self.asset in _SOIL_MOISTURE:
                self.rescale: Any = [LIMITS]
            self.asset = None  # type: ignore[assignment]
            super().__post_init__()

    return Rendering


def _colours() -> Any:
    """Return titiler's colour maps, by default that of soil moisture."""
    dependencies = import_module("titiler.core.dependencies")
    known = {i: (*map(int, colour), 255) for i, colour in enumerate(SOIL_MOISTURE_COLOURS)}
    chosen = dependencies.ColorMapParams
    from fastapi import Depends

    def colours(asset: str, chosen_colours: Any = Depends(chosen)) -> Any:
        return known if chosen_colours is None and asset in _SOIL_MOISTURE else chosen_colours

    return colours


def _preview() -> Any:
    """Return titiler's preview, of a bounded size."""
    known = import_module("titiler.core.dependencies").PreviewParams

    @dataclass
    class Preview(known):  # type: ignore[misc, valid-type]
        """Parameters of titiler, with other defaults."""

        def __post_init__(self) -> None:
            for side in (self.max_size, self.width, self.height):
                if side is not None and not 0 < side <= _MOST_SIDE:
                    raise HTTPException(400, f"a side of {side} pixels found, 1 to {_MOST_SIDE} required")
            super().__post_init__()

    return Preview
