"""What every kind of catalogue can do, and what only a catalogue of one's own can: the two types of the front door.

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
    """A catalogue of any kind, for reading. Open it again to see later changes."""

    @property
    def collections(self) -> list[str]:
        """Ids of the collections, in order."""

    def item(self, collection: str, id: str) -> pystac.Item:
        """Return the item of an id.

        Raises
        ------
        CatalogError
            If there is none.
        """


class WritableCatalog(ReadableCatalog, Protocol):
    """A catalogue in a store, which can be written to."""

    @property
    def store(self) -> Store:
        """Where its documents and assets lie; paths are relative to the catalogue."""

    def collection(self, id: str) -> dict[str, Any]:
        """Return the JSON of a collection.

        Raises
        ------
        CatalogError
            If it is not in the catalogue.
        """

    def layout(self, id: str) -> str:
        """Return how the items of a collection are placed in folders, as ``items.item_folder`` takes it."""

    def document(self, path: str) -> dict[str, Any]:
        """Return a JSON file of the catalogue by its path below the root."""


def is_writable(catalog: ItemSearch) -> TypeGuard[WritableCatalog]:
    """Return whether a catalogue lies in a store, so that it can be written to and its files be looked at."""
    return getattr(catalog, "store", None) is not None
