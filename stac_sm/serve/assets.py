"""Assets: files of the store, by ranges; never one outside of its collections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stac_sm.errors import InputError
from stac_sm.serve.service import Service
from stac_sm.signing import signed
from stac_sm.store import LocalStore

_TYPES = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".html": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}


def asset_response(service: Service, path: str) -> Any:
    """A file of a collection: itself, with ranges and an ETag; on S3, a redirection to a URL that is signed for a time.

    None if there is no such file, or it is none of a collection's.
    """
    parts = path.split("/")
    hidden = any(not part or part.startswith(".") or "\\" in part or "\0" in part for part in parts)
    if hidden or len(parts) < 2 or parts[0] not in service.snapshot.collections:
        return None
    return _file(service.store, path) if isinstance(service.store, LocalStore) else _presigned(service, path)


def local_file(store: LocalStore, path: str) -> Path | None:
    """A file below the root of a store; None if there is none, or a link leads out."""
    try:
        file = Path(store.href(path)).resolve(strict=True)
        root = store.folder.resolve(strict=True)
    except (OSError, RuntimeError, ValueError, InputError):
        return None
    return file if file.is_file() and file.is_relative_to(root) else None


def presigned(service: Service, path: str) -> str:
    """URL of a file on S3, signed for a time."""
    return signed(service.store.href(path), "")


def _file(store: LocalStore, path: str) -> Any:
    from starlette.responses import FileResponse

    file = local_file(store, path)
    return None if file is None else FileResponse(file, media_type=_TYPES.get(file.suffix, "application/octet-stream"))


def _presigned(service: Service, path: str) -> Any:
    from starlette.responses import RedirectResponse

    try:
        if not service.store.exists(path):
            return None
    except InputError:
        return None
    return RedirectResponse(presigned(service, path), status_code=307, headers={"Cache-Control": "no-store"})
