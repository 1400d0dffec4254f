"""Opening a catalogue of any kind by its address, and catalogues in a store for writing.

`open_catalog` and `open_writable_catalog` are where every command and every Python caller begins. A further kind of
readable catalogue is one more module here and a line in `open_catalog`; a further kind of store needs no change.
"""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from typing import Any

from stac_sm.core.errors import CatalogError
from stac_sm.stac.catalogs.api import ApiCatalog, is_api
from stac_sm.stac.catalogs.catalog_interface import ReadableCatalog, WritableCatalog, is_writable
from stac_sm.stac.catalogs.geoparquet import GeoParquetCatalog
from stac_sm.stac.catalogs.search import ItemSearch, parse_document
from stac_sm.stac.catalogs.static import StaticCatalog
from stac_sm.stac.items import item_json
from stac_sm.stac.links import skeleton_folder, skeleton_root
from stac_sm.storage.address import (
    LOCAL,
    WEB,
    address_kind,
    address_path,
    is_absolute,
    is_remote,
    join_address,
    local_path,
    scheme_of,
    split_address,
    web_uri,
)
from stac_sm.storage.http.documents import CONNECTIONS, MAX_DOCUMENT_BYTES, NotThereError, Web, WebDocuments
from stac_sm.storage.signing import public_address, without_secrets
from stac_sm.storage.store import Store, open_store

_TABLES = (".parquet", ".geoparquet")  # how the names of stac-geoparquet files end


def open_catalog(href: str | os.PathLike[str]) -> ReadableCatalog:
    """Open a catalogue of any kind for reading. Which kind it is follows from the address and from what is found there.

    Nothing but the root document is read.

    Parameters
    ----------
    href
        A folder, ``s3://BUCKET/PREFIX``, or the ``catalog.json`` in it; a static catalogue or a STAC API by http or
        https; a stac-geoparquet file (``….parquet``) in a folder, on S3, or by http(s).

    Returns
    -------
    ReadableCatalog
        Answers the same questions for every kind. To write to a catalogue, open it by `open_writable_catalog`.

    Raises
    ------
    CatalogError
        If there is no STAC catalogue.
    InputError
        If nothing opens addresses of this kind.
    """
    text = web_uri(os.fspath(href)) if address_kind(href) is WEB else os.fspath(href)
    if address_path(text).suffix in _TABLES:
        return GeoParquetCatalog(text)
    return _on_the_web(text) if address_kind(text) is WEB else open_writable_catalog(text)


def open_writable_catalog(href: str | os.PathLike[str]) -> WritableCatalog:
    """Open a catalogue in a store, for reading and writing. Nothing but the root document is read.

    Parameters
    ----------
    href
        A folder, ``s3://BUCKET/PREFIX``, or the ``catalog.json`` in it.

    Returns
    -------
    WritableCatalog
        Takes what `publish` and the commands write.

    Raises
    ------
    CatalogError
        If there is no STAC catalogue, or the address is one that is only read.
    InputError
        If nothing opens addresses of this kind.
    """
    text = os.fspath(href)
    if address_kind(text) is WEB or address_path(text).suffix in _TABLES:
        raise CatalogError(
            f"{public_address(text)} is no catalogue that can be written to: give a folder, or s3://BUCKET/PREFIX, "
            "with a catalog.json"
        )
    folder, name = split_address(text) if address_path(text).suffix == ".json" else (text, "catalog.json")
    catalog = Catalog(open_store(folder), name)
    if catalog.document(name).get("type") not in {"Catalog", "Collection"}:
        raise CatalogError(f"{catalog.store.href(name)} is no STAC catalogue: `stac-sm init DIR` makes one")
    return catalog


def open_recipe_catalog(href: str, catalog: ItemSearch) -> ReadableCatalog:
    """Open the catalogue that a feature recipe names.

    Parameters
    ----------
    href
        A relative folder is taken from the project's own catalogue, whatever the working folder is.
    catalog
        The project's own.

    Returns
    -------
    ReadableCatalog
        As `open_catalog`.

    Raises
    ------
    CatalogError
        If there is no STAC catalogue.
    """
    beside = is_writable(catalog) and not is_absolute(href)
    return open_catalog(join_address(catalog.root, href) if beside else href)


def _on_the_web(href: str) -> ReadableCatalog:
    web = Web(href)
    start, document = _landing(web, href)
    if is_api(document):
        return ApiCatalog(href, web)
    if document.get("type") not in {"Catalog", "Collection"}:
        raise CatalogError(
            f"{web.root} is no STAC catalogue: type {document.get('type')!r} found, 'Catalog', 'Collection' or a STAC "
            "API with item search required: check the address"
        )
    return StaticCatalog(href, WebDocuments(web), start)


def _landing(web: Web, href: str) -> tuple[str, dict[str, Any]]:
    """Return the document at an address, or the ``catalog.json`` below it where a folder is named."""
    inside = href.rstrip("/") + "/catalog.json"
    if address_path(href).suffix == ".json":
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
        return CONNECTIONS if is_remote(self.store.root) else 1

    def read(self, key: str) -> bytes:
        """Read a document.

        Parameters
        ----------
        key
            Its path below the root.

        Returns
        -------
        bytes
            Its content.

        Raises
        ------
        CatalogError
            If there is none, or it is larger than any STAC document.
        """
        content = self.store.read(key)
        if len(content) > MAX_DOCUMENT_BYTES:
            raise CatalogError(
                f"{self.store.href(key)}: {len(content) >> 20} MiB found, a STAC document of at most "
                f"{MAX_DOCUMENT_BYTES >> 20} MiB required: split it"
            )
        return content

    def key(self, base: str, href: str) -> str:
        """Return the path below the root that a link leads to.

        Parameters
        ----------
        base
            Path of the document that holds the link.
        href
            Of the link: relative, or the full address of a file in this store.

        Returns
        -------
        str
            Path below the root.

        Raises
        ------
        CatalogError
            If it leads to another store.
        """
        href = str(local_path(href)) if scheme_of(href) and address_kind(href) is LOCAL else href
        below = href.removeprefix(f"{self.store.root}/")
        if below == href and scheme_of(href):
            raise CatalogError(
                f"{self.store.href(base)}: the link to {without_secrets(href)} leads out of the catalogue "
                f"{self.store.root}: open that one for itself"
            )
        return posixpath.normpath(below if below != href else posixpath.join(posixpath.dirname(base), href))

    def href(self, key: str) -> str:
        """Return where others find a document.

        Parameters
        ----------
        key
            Its path below the root.

        Returns
        -------
        str
            A file name or a URL.
        """
        return self.store.href(key)


class Catalog(StaticCatalog):
    """Static STAC catalogue in a store: the only kind that is written to.

    Items are read when they are first asked for, and some of them kept: open the catalogue again to see later changes.
    """

    def __init__(self, store: Store, start: str = "catalog.json") -> None:
        super().__init__(store.root, StoreDocuments(store), start)
        self.store = store
        self._layouts: dict[str, str] = {}

    def layout(self, id: str) -> str:
        """Return how the items of a collection are placed (see ``items.item_folder``); it is read once."""
        if id not in self._layouts:
            self._layouts[id] = str(self.collection(id).get("stac_sm:layout", "flat"))
        return self._layouts[id]

    def document(self, path: str) -> dict[str, Any]:
        """Read a JSON file of the catalogue by its path below the root."""
        return self._document(path)


_WRITABLE: type[WritableCatalog] = Catalog


def create_skeleton(store: Store, *, title: str) -> None:
    """Write the catalogue's own JSON, from the skeleton that ships with the package; what exists is left alone.

    Parameters
    ----------
    store
        Of the new catalogue.
    title
        Of its root, for people.
    """
    skeleton = skeleton_folder()
    for file in sorted(skeleton.glob("*/collection.json")):
        store.create(file.relative_to(skeleton).as_posix(), file)
    store.create("catalog.json", item_json(skeleton_root() | {"title": title}))
