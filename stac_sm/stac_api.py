"""STAC APIs as catalogues: the same question, items of a collection in a period and a box, asked by search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pystac

from stac_sm.errors import CatalogError
from stac_sm.period import DAY, Period

if TYPE_CHECKING:
    from pystac_client import Client

_RETRIES = 5
_TIMEOUT = 60.0  # seconds a request may take
_PAGE = 250  # items in an answer


class ApiCatalog:
    """A STAC API, searched through pystac-client; the answer to a question is kept."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self._client: Client | None = None
        self._answers: dict[Any, list[pystac.Item]] = {}

    def items(
        self, collection: str, *, period: Period | None = None, bbox: tuple[float, float, float, float] | None = None
    ) -> list[pystac.Item]:
        """Items of a collection that meet a period and a box in degrees, in the order of their ids.

        Raises
        ------
        CatalogError
            If the API does not answer, or has no such collection.
        """
        question = (collection, period, bbox)
        if question not in self._answers:
            self._answers[question] = self._search(collection, period, bbox)
        return self._answers[question]

    def item(self, collection: str, id: str) -> pystac.Item:
        """Item of an id.

        Raises
        ------
        CatalogError
            If there is none.
        """
        found: list[pystac.Item] = self._asked(
            lambda client: list(client.search(collections=[collection], ids=[id]).items())
        )
        if not found:
            raise CatalogError(f"item {id!r} is not in collection {collection!r} of {self.root}: check the id")
        return found[0]

    def _search(self, collection: str, period: Period | None, bbox: Any) -> list[pystac.Item]:
        when = None if period is None else f"{period.start}T00:00:00Z/{period.end - DAY}T23:59:59Z"
        found = self._asked(
            lambda client: list(
                client.search(collections=[collection], datetime=when, bbox=bbox, limit=_PAGE, max_items=None).items()
            )
        )
        if not found and self._asked(lambda client: client.get_collection(collection)) is None:
            raise CatalogError(f"collection {collection!r} is not in the STAC API {self.root}: check its name")
        return sorted(found, key=lambda item: item.id)

    def _asked(self, question: Any) -> Any:
        from pystac_client import Client
        from pystac_client.exceptions import APIError
        from pystac_client.stac_api_io import StacApiIO

        try:
            if self._client is None:
                self._client = Client.open(self.root, stac_io=StacApiIO(max_retries=_RETRIES, timeout=_TIMEOUT))
            return question(self._client)
        except (APIError, pystac.STACError, OSError, KeyError, ValueError) as error:
            raise CatalogError(f"STAC API {self.root} gave no answer: {error}; check the address, try again") from error
