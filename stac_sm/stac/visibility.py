"""Visibility: which collections and assets may be given to anybody, and STAC documents without the rest.

Everything that gives a catalogue to others asks here: the server, the loader of pgstac and, through a test, the bucket
policy of ``infra/aws``. A collection is ``public`` or ``restricted``. Its document says so (``stac_sm:visibility``), in
the skeleton, too. Where it does not, as in projects from before this field, the table of this module decides by the id,
and for a collection that is not in the table its licence does. An asset of a public collection can be restricted too.

The catalogue itself stays complete: nothing is removed from the store. `PublicView` makes what is given out from what
is stored.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from stac_sm.stac.index.manifest import is_item
from stac_sm.stac.items import ItemDict
from stac_sm.stac.links import skeleton_folder
from stac_sm.storage.address import LOCAL, WEB, address_kind, file_url_parts, is_absolute, scheme_of

VISIBILITY_FIELD = "stac_sm:visibility"
"""Of a collection, of an asset, and of an entry of ``item_assets``."""


class Visibility(StrEnum):
    """Whom a collection or an asset may be given to."""

    PUBLIC = "public"
    """Anybody."""

    RESTRICTED = "restricted"
    """Nobody, unless an operator opens the collection by name."""


PUBLIC, RESTRICTED = Visibility.PUBLIC, Visibility.RESTRICTED

EVERY_ASSET = "*"
"""Key of `CollectionTerms.assets` that stands for all assets that are not named."""


@dataclass(frozen=True)
class CollectionTerms:
    """Licence and visibility of a collection of the skeleton."""

    license: str
    """SPDX identifier, or ``other``: the terms are behind a link of the collection."""

    visibility: Visibility
    """Of the collection: its document, its items, and what is not said otherwise of their assets."""

    reason: str
    """Why, for people who want to change it."""

    assets: Mapping[str, Visibility] = field(default_factory=dict)
    """By key, of assets that do not say it themselves; `EVERY_ASSET` stands for the others."""


_OWN = CollectionTerms("CC-BY-4.0", PUBLIC, "made by the project")
_NASA = CollectionTerms("other", PUBLIC, "NASA's data are open and may be passed on")
_DOCUMENTS_ONLY = {EVERY_ASSET: RESTRICTED}
_GLASS = CollectionTerms("other", PUBLIC, "no licence to pass files on is stated: documents only", _DOCUMENTS_ONLY)
_SCORES = CollectionTerms(
    "CC-BY-4.0",
    PUBLIC,
    "scores and positions; but a report that does not say that it is public may hold station series",
    {"report": RESTRICTED},
)

COLLECTION_TERMS: Mapping[str, CollectionTerms] = {
    "climatology": _OWN,
    "cop-dem": CollectionTerms("other", PUBLIC, "the Copernicus licence allows redistribution with its notice"),
    "era5-land": CollectionTerms("CC-BY-4.0", PUBLIC, "open licence"),
    "esa-cci-sm": CollectionTerms(
        "other", PUBLIC, "the project's terms forbid onward distribution: documents only", _DOCUMENTS_ONLY
    ),
    "glass-albedo": _GLASS,
    "glass-lai": _GLASS,
    "glass-lst": _GLASS,
    "ismn-stations": CollectionTerms("other", RESTRICTED, "the ISMN forbids redistribution"),
    "matchups": CollectionTerms("other", RESTRICTED, "daily means of ISMN stations, row by row"),
    "mcd43a3-006": _NASA,
    "mcd43a3-061": _NASA,
    "merit-dem": CollectionTerms("other", RESTRICTED, "the provider forbids to pass the tiles on"),
    "modis-11A1-006": _NASA,
    "modis-11A1-061": _NASA,
    "modis-15A2H-006": _NASA,
    "modis-15A2H-061": _NASA,
    "modis-15A3H-006": _NASA,
    "modis-15A3H-061": _NASA,
    "sm-1km-annual": _OWN,
    "sm-1km-daily": _OWN,
    "sm-1km-daily-global": _OWN,
    "sm-1km-monthly": _OWN,
    "sm-models": _SCORES,
    "smap": _NASA,
    "smap-s1": _NASA,
    "soilgrids": CollectionTerms("CC-BY-4.0", PUBLIC, "open licence"),
    "validation": _SCORES,
}
"""By id, of the collections that are older than the field `VISIBILITY_FIELD`: what counts in a project whose collection
lacks it. A new collection needs no line here, since its document in the skeleton has the field."""

OPEN_LICENSES = frozenset(
    {
        "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "ODbL-1.0", "ODC-By-1.0", "PDDL-1.0",
        "CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "OGL-UK-3.0", "etalab-2.0", "NLOD-2.0", "dl-de-by-2.0",
        "dl-de-zero-2.0", "MIT", "Apache-2.0", "BSD-3-Clause",
    }
)  # fmt: skip
"""SPDX identifiers of licences that allow anybody to pass data on. A collection with another licence is restricted."""


def collection_visibility(document: Mapping[str, Any]) -> Visibility:
    """Return whether a collection may be given to anybody.

    Parameters
    ----------
    document
        JSON of the collection. Its own ``stac_sm:visibility`` counts first; then the table, by its id; then whether
        its ``license`` is an open one.

    Returns
    -------
    Visibility
        Anything but ``public`` in the field is ``restricted``.
    """
    if VISIBILITY_FIELD in document:
        return _parsed(document[VISIBILITY_FIELD])
    known = COLLECTION_TERMS.get(str(document.get("id")))
    if known is not None:
        return known.visibility
    return PUBLIC if document.get("license") in OPEN_LICENSES else RESTRICTED


def asset_visibility(collection: Mapping[str, Any], key: str, asset: Mapping[str, Any]) -> Visibility:
    """Return whether an asset of a public collection may be given to anybody.

    Parameters
    ----------
    collection
        JSON of the collection: an entry of its ``item_assets`` can say it for all assets of that key.
    key
        Of the asset.
    asset
        JSON of the asset, whose own ``stac_sm:visibility`` counts first.

    Returns
    -------
    Visibility
        ``public`` where neither the asset, the collection nor the table says otherwise.
    """
    described = collection.get("item_assets")
    entry = described.get(key) if isinstance(described, Mapping) else None
    for said in (asset, entry):
        if isinstance(said, Mapping) and VISIBILITY_FIELD in said:
            return _parsed(said[VISIBILITY_FIELD])
    known = COLLECTION_TERMS.get(str(collection.get("id")))
    return PUBLIC if known is None else known.assets.get(key, known.assets.get(EVERY_ASSET, PUBLIC))


def wholly_public_collections() -> tuple[str, ...]:
    """Return ids of the skeleton's collections of which every file may be given out as it is stored, in order.

    A store that gives out files by their prefix cannot leave out single assets, nor the links to restricted
    collections that items of models and validations carry.
    """
    files = sorted(skeleton_folder().glob("*/collection.json"))
    return tuple(file.parent.name for file in files if _is_wholly_public(json.loads(file.read_text())))


def _is_wholly_public(document: Mapping[str, Any]) -> bool:
    assets = document.get("item_assets", {}).items()
    return collection_visibility(document) is PUBLIC and all(
        asset_visibility(document, key, asset) is PUBLIC for key, asset in assets
    )


def _parsed(value: object) -> Visibility:
    return PUBLIC if value == PUBLIC else RESTRICTED


@dataclass(frozen=True)
class PublicView:
    """What may be given out of one catalogue, and its documents without the rest."""

    root: str
    """Root of the store: links that are written in full are compared with it."""

    collections: Mapping[str, Mapping[str, Any]]
    """Stored JSON of all collections, by id."""

    opened: frozenset[str] = frozenset()
    """Ids that an operator has opened by name, with all their assets."""

    @cached_property
    def shown(self) -> frozenset[str]:
        """Ids of the collections that are given out."""
        return frozenset(
            id
            for id, document in self.collections.items()
            if id in self.opened or collection_visibility(document) is PUBLIC
        )

    @property
    def withheld(self) -> list[str]:
        """Ids of the collections that are not given out, in order."""
        return sorted(set(self.collections) - self.shown)

    def item(self, item: ItemDict, folder: str) -> ItemDict:
        """Return an item without restricted assets and without links to what is not given out.

        Parameters
        ----------
        item
            As it is stored, of a collection that is given out.
        folder
            Folder of its JSON below the root; it begins with the id of the collection.

        Returns
        -------
        dict
            A new item; hrefs are as they were.
        """
        found = item.get("assets", {}).items()
        collection = folder.partition("/")[0]
        assets = {key: asset for key, asset in found if self._gives_asset(collection, key, asset, folder)}
        return {**item, "assets": assets, "links": self._links(item, folder, assets)}

    def collection(self, id: str) -> dict[str, Any]:
        """Return the document of a collection that is given out, without what is restricted in it.

        Parameters
        ----------
        id
            Of a collection among `shown`.

        Returns
        -------
        dict
            A new document; hrefs are as they were.
        """
        document = dict(self.collections[id])
        for name in ("assets", "item_assets"):
            found = document.pop(name, None)
            if isinstance(found, Mapping):
                kept = {key: asset for key, asset in found.items() if self._gives_asset(id, key, asset, id)}
                document |= {name: kept} if kept else {}  # pgstac loses empty assets of items beside empty ones here
        return {**document, "links": self._links(document, id, document.get("assets", {}))}

    def catalog(self, document: Mapping[str, Any], folder: str) -> dict[str, Any]:
        """Return a catalogue of a collection that is given out, without links to what is not.

        Parameters
        ----------
        document
            JSON of the sub-catalogue.
        folder
            Its folder below the root.

        Returns
        -------
        dict
            A new document.
        """
        return {**document, "links": self._links(document, folder, {})}

    def asset_paths(self, document: Mapping[str, Any], folder: str) -> frozenset[str]:
        """Return the files of the store that the assets of a document of this view name.

        Parameters
        ----------
        document
            JSON of an item or a collection of this view.
        folder
            Its folder below the root.

        Returns
        -------
        frozenset of str
            Paths below the root; assets that lie elsewhere are left out.
        """
        places = (self._place(str(asset.get("href", "")), folder) for asset in document.get("assets", {}).values())
        return frozenset(place for place in places if place is not None)

    def _gives_asset(self, collection: str, key: str, asset: Any, folder: str) -> bool:
        if not isinstance(asset, Mapping):
            return False
        public = collection in self.opened or asset_visibility(self.collections[collection], key, asset) is PUBLIC
        return public and ("href" not in asset or self._may_be_followed(str(asset["href"]), folder))

    def _links(self, document: Mapping[str, Any], folder: str, assets: Mapping[str, Any]) -> list[dict[str, Any]]:
        files = self.asset_paths({"assets": assets}, folder)
        return [
            dict(link)
            for link in document.get("links", [])
            if isinstance(link, Mapping) and self._gives_link(str(link.get("href", "")), folder, files)
        ]

    def _gives_link(self, href: str, folder: str, files: frozenset[str]) -> bool:
        place = self._place(href, folder)
        if place is None or place == "catalog.json":
            return place is not None or self._may_be_followed(href, folder)
        is_document = is_item(place) or posixpath.basename(place) in {"collection.json", "catalog.json"}
        return (is_document or place in files) and self._may_be_followed(href, folder)

    def _may_be_followed(self, href: str, folder: str) -> bool:
        """Return whether an href leads into a collection that is given out, or to what others can open elsewhere."""
        place = self._place(href, folder)
        if place is not None:
            return place.partition("/")[0] in self.shown
        kind = address_kind(href)
        if kind is LOCAL:  # a path of this machine, or one that climbs out of the root
            return False
        return kind is WEB or not self._names_restricted(href)

    def _names_restricted(self, href: str) -> bool:
        """Return whether a path in another store leads through a folder that is named as a restricted collection."""
        hidden = {id for id, terms in COLLECTION_TERMS.items() if terms.visibility is RESTRICTED} | set(self.withheld)
        return not (hidden - self.opened).isdisjoint(href.split("/"))

    def _place(self, href: str, folder: str) -> str | None:
        """Return the path below the root that an href leads to; None of one that leads elsewhere."""
        root = self.root.rstrip("/") + "/"
        host, path = file_url_parts(href) if scheme_of(href) == "file" else ("", href)
        full = href if host else path
        if not full or (is_absolute(full) and not full.startswith(root)):
            return None
        below = full.removeprefix(root) if full.startswith(root) else posixpath.join(folder, full)
        path = posixpath.normpath(below)
        return None if path == ".." or path.startswith(("../", "/")) else path


def public_view(root: str, collections: Iterable[Mapping[str, Any]], opened: Sequence[str] = ()) -> PublicView:
    """Return the view of a catalogue.

    Parameters
    ----------
    root
        Of its store.
    collections
        JSON of its collections.
    opened
        Ids of restricted collections that an operator opens by name.

    Returns
    -------
    PublicView
        What may be given out of it.
    """
    return PublicView(root, {str(one["id"]): one for one in collections}, frozenset(opened))
