"""Serve assets: files of the store, by ranges.

Only a file that a document names is served, and only if that document is given out: a list of what is forbidden would
miss the next kind of file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stac_sm.core.errors import InputError
from stac_sm.serve.service import CatalogService
from stac_sm.storage.local_store import LocalStore
from stac_sm.storage.object_meta import media_type
from stac_sm.storage.signing import sign_href

_LONGEST_PATH, _LONGEST_NAME = 1024, 255  # characters: of S3, and of a file system; longer ones name nothing


def asset_response(service: CatalogService, path: str, known: str = "") -> Any:
    """Return an asset: the file itself, with ranges and an ETag; on S3, a redirection to a URL signed for a time.

    Parameters
    ----------
    path
        Below the root of the store, as an item or a collection names it.
    known
        ETags that the client has (If-None-Match): of these no content is sent again.

    Returns
    -------
    starlette.responses.Response
        None if there is no such file, or no document that is given out names it.
    """
    if not is_plain_path(path) or not service.gives_file(path):
        return None
    return _file(service, path, known) if isinstance(service.store, LocalStore) else _presigned(service, path)


def is_plain_path(path: str) -> bool:
    """Return whether a path goes straight to a file in a collection: no hidden, empty, upward or endless part."""
    parts = path.split("/")
    hidden = any(not part or part.startswith(".") or "\\" in part or "\0" in part for part in parts)
    return not hidden and len(parts) > 1 and len(path) <= _LONGEST_PATH and max(map(len, parts)) <= _LONGEST_NAME


def served_file(service: CatalogService, path: str) -> Path | None:
    """Return a file below the root of a local store; None if there is none, or a link leads to what is hidden."""
    if not isinstance(service.store, LocalStore):
        return None
    try:
        file = Path(service.store.href(path)).resolve(strict=True)
        root = service.store.folder.resolve(strict=True)
    except (OSError, RuntimeError, ValueError, InputError):
        return None
    if not file.is_file() or not file.is_relative_to(root):
        return None
    return file if file.relative_to(root).parts[0] in service.snapshot.view.shown else None


def presigned_asset_url(service: CatalogService, path: str) -> str:
    """Return the URL of a file on S3, signed for a time.

    Parameters
    ----------
    service
        Service whose catalogue lies on S3.
    path
        Path of the file below the root of the store.

    Returns
    -------
    str
        Whoever has it can read the file until it expires.
    """
    return sign_href(service.store.href(path), "")


def _file(service: CatalogService, path: str, known: str) -> Any:
    from starlette.responses import FileResponse, Response

    file = served_file(service, path)
    if file is None:
        return None
    found = FileResponse(file, media_type=media_type(file.name), stat_result=file.stat())
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
