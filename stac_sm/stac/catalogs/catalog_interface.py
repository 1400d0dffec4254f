"""What every kind of catalogue can do, and what only a catalogue of one's own can: two types.

`ReadableCatalog` is what `open_catalog` returns, whatever lies behind the address: a folder, S3, a static catalogue on
the web, a STAC API or a stac-geoparquet file. Features, plans and reading need no more. `WritableCatalog` is what
`open_writable_catalog` returns, for a folder or S3: publishing, links, the index and everything that looks at the
files of a project take it. A kind of catalogue states which of the two it is by a line that mypy checks.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeGuard

import pystac

from stac_sm.stac.catalogs.search import ItemSearch
from stac_sm.storage.store import Store


class ReadableCatalog(ItemSearch, Protocol):
    """Catalogue of any kind, for reading. Open it again to see later changes."""

    @property
    def collections(self) -> list[str]:
        """Ids of the collections, in order."""

    def item(self, collection: str, id: str) -> pystac.Item:
        """Return the item of an id.

        Parameters
        ----------
        collection
            Id of the collection.
        id
            Of the item.

        Returns
        -------
        pystac.Item
            Its hrefs are relative to its self href.

        Raises
        ------
        CatalogError
            If there is none.
        """


class WritableCatalog(ReadableCatalog, Protocol):
    """Catalogue in a store, which can be written to."""

    @property
    def store(self) -> Store:
        """Where its documents and assets lie; paths are relative to the catalogue."""

    def collection(self, id: str) -> dict[str, Any]:
        """Return the JSON of a collection.

        Parameters
        ----------
        id
            Of the collection.

        Returns
        -------
        dict
            As it is stored.

        Raises
        ------
        CatalogError
            If it is not in the catalogue.
        """

    def layout(self, id: str) -> str:
        """Return how the items of a collection are placed in folders.

        Parameters
        ----------
        id
            Of the collection.

        Returns
        -------
        str
            As ``items.item_folder`` takes it.

        Raises
        ------
        CatalogError
            If it is not in the catalogue.
        """

    def document(self, path: str) -> dict[str, Any]:
        """Read a JSON file of the catalogue.

        Parameters
        ----------
        path
            Below the root.

        Returns
        -------
        dict
            The object in it.

        Raises
        ------
        CatalogError
            If there is no such file, or no object in it.
        """


def is_writable(catalog: ItemSearch) -> TypeGuard[WritableCatalog]:
    """Return whether a catalogue lies in a store, so that it can be written to and its files be looked at.

    Parameters
    ----------
    catalog
        As a caller has opened it.

    Returns
    -------
    bool
        True if it is a `WritableCatalog`.
    """
    return getattr(catalog, "store", None) is not None
