"""Assets: files of the store, by ranges; never one outside of its collections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stac_sm.core.errors import InputError
from stac_sm.serve.service import CatalogService
from stac_sm.storage.signing import sign_href
from stac_sm.storage.store import LocalStore

_TYPES = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".html": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}


def asset_response(service: CatalogService, path: str, known: str = "") -> Any:
    """A file of a collection: itself, with ranges and an ETag; on S3, a redirection to a URL that is signed for a time.

    ``known`` are ETags that the client has (If-None-Match): of these no content is sent again. None if there is no such
    file, or it is none of a collection's.
    """
    parts = path.split("/")
    hidden = any(not part or part.startswith(".") or "\\" in part or "\0" in part for part in parts)
    if hidden or len(parts) < 2 or parts[0] not in service.snapshot.collections:
        return None
    return _file(service.store, path, known) if isinstance(service.store, LocalStore) else _presigned(service, path)


def served_file(store: LocalStore, path: str) -> Path | None:
    """A file below the root of a store; None if there is none, or a link leads out."""
    try:
        file = Path(store.href(path)).resolve(strict=True)
        root = store.folder.resolve(strict=True)
    except (OSError, RuntimeError, ValueError, InputError):
        return None
    return file if file.is_file() and file.is_relative_to(root) else None


def presigned_asset_url(service: CatalogService, path: str) -> str:
    """URL of a file on S3, signed for a time."""
    return sign_href(service.store.href(path), "")


def _file(store: LocalStore, path: str, known: str) -> Any:
    from starlette.responses import FileResponse, Response

    file = served_file(store, path)
    if file is None:
        return None
    kind = _TYPES.get(file.suffix, "application/octet-stream")
    found = FileResponse(file, media_type=kind, stat_result=file.stat())
    tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
    if tags & {found.headers["etag"], "*"}:
        return Response(status_code=304, headers={name: found.headers[name] for name in ("etag", "last-modified")})
    return found


def _presigned(service: CatalogService, path: str) -> Any:
    from starlette.responses import RedirectResponse

    try:
        if not service.store.exists(path):
            return None
    except InputError:
        return None
    return RedirectResponse(presigned_asset_url(service, path), status_code=307, headers={"Cache-Control": "no-store"})
