"""Catalogues: what a name opens, ours in a store above all."""

from __future__ import annotations

import json
import os
import posixpath
from dataclasses import dataclass
from typing import Any

from stac_sm.core.errors import CatalogError
from stac_sm.stac.catalogs.api import ApiCatalog, is_api
from stac_sm.stac.catalogs.geoparquet import GeoParquetCatalog
from stac_sm.stac.catalogs.search import ItemSearch, parse_document
from stac_sm.stac.catalogs.static import StaticCatalog
from stac_sm.stac.items import item_json
from stac_sm.stac.links import skeleton_folder
from stac_sm.storage.http.documents import CONNECTIONS, MAX_DOCUMENT_BYTES, NotThereError, Web, WebDocuments
from stac_sm.storage.signing import without_secrets
from stac_sm.storage.store import Store, open_store


def open_items(href: str | os.PathLike[str]) -> ItemSearch:
    """Items of whatever kind of catalogue an href names: it is told by the document that is found there.

    Parameters
    ----------
    href
        A folder, ``s3://BUCKET/PREFIX``, or the ``catalog.json`` in it; a static catalogue or a STAC API by http or
        https; a stac-geoparquet file (``….parquet``) in a folder, on S3, or by http(s).

    Raises
    ------
    CatalogError
        If there is no STAC catalogue.
    """
    text = os.fspath(href)
    if text.partition("?")[0].endswith((".parquet", ".geoparquet")):
        return GeoParquetCatalog(text)
    return _on_the_web(text) if text.lower().startswith(("http://", "https://")) else _in_a_store(text)


def open_recipe_catalog(href: str, catalog: ItemSearch) -> ItemSearch:
    """Items of a catalogue that a recipe names: a relative folder lies beside the project's own catalogue, wherever a
    command is typed.

    Raises
    ------
    CatalogError
        If there is no STAC catalogue.
    """
    own: Store | None = getattr(catalog, "store", None)
    if own is None or "://" in href or href.startswith("/"):
        return open_items(href)
    return open_items(_joined(own.root, href))


def _joined(root: str, path: str) -> str:
    scheme, mark, place = root.rpartition("://")
    return scheme + mark + posixpath.normpath(posixpath.join(place, path))


def open_catalog(href: str | os.PathLike[str]) -> Catalog | Any:
    """Catalogue for reading, of any kind that `open_items` takes; a `Catalog`, which can be written to, in a folder
    and on S3.

    Parameters
    ----------
    href
        As `open_items` takes it.

    Returns
    -------
    Catalog
        Or what answers the same questions for an API, a file or a catalogue on the web. Nothing but its root is read.

    Raises
    ------
    CatalogError
        If there is no STAC catalogue.
    """
    return open_items(href)


def _in_a_store(text: str) -> Catalog:
    folder, _, name = text.rpartition("/") if text.endswith(".json") else (text, "", "catalog.json")
    catalog = Catalog(open_store(folder or "."), name)
    if catalog.document(name).get("type") not in {"Catalog", "Collection"}:
        raise CatalogError(f"{catalog.store.href(name)} is no STAC catalogue: `stac-sm init DIR` makes one")
    return catalog


def _on_the_web(href: str) -> ItemSearch:
    web = Web(href)
    start, document = _landing(web, href)
    if is_api(document):
        return ApiCatalog(href, web)
    if document.get("type") not in {"Catalog", "Collection"}:
        raise CatalogError(
            f"{web.root} is no STAC catalogue: type {document.get('type')!r} found, 'Catalog', 'Collection' or a STAC "
            "API with item search wanted: check the address"
        )
    return StaticCatalog(href, WebDocuments(web), start)


def _landing(web: Web, href: str) -> tuple[str, dict[str, Any]]:
    """The document at an address, or the ``catalog.json`` below it where a folder is named."""
    inside = href.rstrip("/") + "/catalog.json"
    if href.partition("?")[0].endswith(".json"):
        return href, parse_document(web.document(href), web.root)
    try:
        return href, parse_document(web.document(href), web.root)
    except NotThereError:
        return inside, parse_document(web.document(inside), without_secrets(inside))
    except CatalogError as error:
        try:
            return inside, parse_document(web.document(inside), without_secrets(inside))
        except CatalogError:
            raise error from None  # neither: what was named counts


@dataclass(frozen=True)
class StoreDocuments:
    """Documents in a store; keys are paths below its root."""

    store: Store
    """Where they lie."""

    omitted_link_relations: tuple[str, ...] = ("self",)
    """Relations of the links that items come without."""

    @property
    def workers(self) -> int:
        """How many may be read at once."""
        return CONNECTIONS if "://" in self.store.root else 1

    def read(self, key: str) -> bytes:
        """Content of a document."""
        content = self.store.read(key)
        if len(content) > MAX_DOCUMENT_BYTES:
            raise CatalogError(
                f"{self.store.href(key)}: {len(content) >> 20} MiB found, a STAC document of at most "
                f"{MAX_DOCUMENT_BYTES >> 20} MiB wanted: split it"
            )
        return content

    def key(self, base: str, href: str) -> str:
        """Path of a link."""
        below = href.removeprefix(f"{self.store.root}/")
        if below == href and "://" in href:
            raise CatalogError(
                f"{self.store.href(base)}: the link to {without_secrets(href)} leads out of the catalogue "
                f"{self.store.root}: open that one for itself"
            )
        return posixpath.normpath(below if below != href else posixpath.join(posixpath.dirname(base), href))

    def href(self, key: str) -> str:
        """Where others find a document."""
        return self.store.href(key)


class Catalog(StaticCatalog):
    """A static STAC catalogue in a store: the only kind that is written to.

    Items are read when they are first asked for, and some of them kept: open the catalogue again to see later changes.
    """

    def __init__(self, store: Store, start: str = "catalog.json") -> None:
        super().__init__(store.root, StoreDocuments(store), start)
        self.store = store

    def layout(self, id: str) -> str:
        """How the items of a collection are placed (see ``items.item_folder``)."""
        return str(self.collection(id).get("stac_sm:layout", "flat"))

    def document(self, path: str) -> dict[str, Any]:
        """A JSON file of the catalogue."""
        return self._document(path)


def create_skeleton(store: Store, *, title: str) -> None:
    """Write the catalogue's own JSON, from the skeleton that ships with the package; what exists is left alone."""
    skeleton = skeleton_folder()
    for file in sorted(skeleton.glob("*/collection.json")):
        store.create(file.relative_to(skeleton).as_posix(), file)
    document = json.loads((skeleton / "catalog.json").read_text())
    store.create("catalog.json", item_json(document | {"title": title}))
