"""Loading pgstac: what is public of a catalogue into PostgreSQL, in bulk, each item read back.

What is there already as it should be is left alone, so the same command again only does what is missing. A collection
that is not public (any more) is removed from the database; restricted assets, and links to what is restricted, are in
no document that is loaded (see `stac_sm.stac.visibility`).
"""

from __future__ import annotations

import itertools
import json
import os
import posixpath
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from stac_sm.core.errors import CatalogError, InputError
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.index.manifest import is_item
from stac_sm.stac.items import ItemDict
from stac_sm.stac.visibility import PublicView, public_view
from stac_sm.storage.address import is_absolute, is_remote
from stac_sm.storage.signing import without_secrets
from stac_sm.storage.store import Store

_BATCH = 1000  # items that are compared, loaded and read back at once
_CONNECTIONS = 8  # to a store that is not on this machine
_STRUCTURAL = {"self", "root", "parent", "collection", "child", "item", "items"}


@dataclass(frozen=True)
class LoadResult:
    """What came of one collection."""

    collection: str
    """Id."""

    counts: Mapping[str, int]
    """Items that are ``new``, ``replaced``, ``done`` (as they should be already) and ``failed``; and ``removed``, of a
    restricted collection."""

    only_in_database: int
    """Items of the database that the store has not (any more): they are left."""

    failures: Mapping[str, str] = field(default_factory=dict)
    """Path of each item that did not get there, and why."""

    restricted: bool = False
    """Whether the collection is not public: it is not in the database."""


def load_pgstac(
    catalog: WritableCatalog,
    address: str,
    *,
    collections: Sequence[str] = (),
    progress: Callable[[int], None] = lambda total: None,
) -> list[LoadResult]:
    """Bring a pgstac database in line with what is public of a catalogue.

    All restricted collections of the catalogue, whether named or not, are removed before anything is loaded.

    Parameters
    ----------
    catalog
        In a folder or on S3; hrefs of assets become absolute.
    address
        ``postgresql://USER:PASSWORD@HOST/DATABASE`` (or ``pgstac://…``) of a database that `pypgstac migrate` has
        prepared; what is left out comes from ``PGHOST``, ``PGUSER`` and the like.
    collections
        Ids; all of the catalogue if there are none.
    progress
        Called with the number of parts, whenever one is done.

    Returns
    -------
    list of LoadResult
        First the restricted collections that were named or removed, then the loaded ones.

    Raises
    ------
    InputError
        If the database cannot be reached, or is no pgstac.
    CatalogError
        If the catalogue has no such collection.
    """
    psycopg = _psycopg()
    scheme, mark, rest = address.partition("://")
    if scheme not in {"pgstac", "postgresql", "postgres"} or not mark:
        raise InputError(f"{without_secrets(address)}: postgresql://USER@HOST/DATABASE required")
    try:
        with psycopg.connect(f"postgresql://{rest}", autocommit=True) as connection:
            connection.execute("SET search_path TO pgstac, public")
            connection.execute("SELECT get_version()")
            view = public_view(catalog.store.root, [catalog.collection(id) for id in catalog.collections])
            chosen = list(collections or catalog.collections)
            for id in chosen:
                catalog.collection(id)  # says which there are
            removed = [_remove(connection, id) for id in view.withheld]
            hidden = [one for one in removed if one.collection in chosen or one.counts["removed"]]
            return hidden + [_load(catalog, view, connection, id, progress) for id in chosen if id in view.shown]
    except psycopg.Error as error:
        raise InputError(
            f"{without_secrets(address)}: {type(error).__name__}: {_first_line(error)}; check address and rights; "
            "`pypgstac migrate` prepares a database"
        ) from None


def _psycopg() -> Any:
    """Return the driver, bound to the libraries that it brings.

    ECMWF's eccodes makes another libldap visible to all that is loaded later; psycopg's would take that one's data for
    its own, and the process would die at its end.
    """
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | getattr(os, "RTLD_DEEPBIND", 0))
    try:
        import psycopg
    except ImportError as error:
        raise InputError("loading pgstac needs pip install 'stac_sm[pgstac]'") from error
    finally:
        sys.setdlopenflags(flags)
    return psycopg


def _remove(connection: Any, collection: str) -> LoadResult:
    """Remove a restricted collection and its items from the database."""
    (there,) = connection.execute("SELECT count(*) FROM items WHERE collection = %s", [collection]).fetchone()
    if connection.execute("SELECT 1 FROM collections WHERE id = %s", [collection]).fetchone() is not None:
        connection.execute("SELECT delete_collection(%s)", [collection])
    return LoadResult(collection, {"removed": there}, 0, restricted=True)


def _load(
    catalog: WritableCatalog, view: PublicView, connection: Any, collection: str, progress: Callable[[int], None]
) -> LoadResult:
    document = view.collection(collection)
    links = [one for one in document.get("links", []) if one.get("rel") not in _STRUCTURAL]
    placed = {"assets": _absolute_assets(catalog.store, document, collection)} if "assets" in document else {}
    links = _absolute_links(catalog.store, links, collection)
    _upsert_collection(connection, {**document, **placed, "links": links})
    paths = [entry.path for entry in catalog.store.list_objects(collection) if is_item(entry.path)]
    counts, failures = Counter[str](), dict[str, str]()
    parts = range(0, len(paths), _BATCH)
    for at in parts:
        expected = _expected_items(catalog.store, view, paths[at : at + _BATCH], failures)
        for outcome in _batch(connection, collection, expected, failures):
            counts[outcome] += 1
        progress(len(parts))
    (there,) = connection.execute("SELECT count(*) FROM items WHERE collection = %s", [collection]).fetchone()
    arrived = counts["new"] + counts["replaced"] + counts["done"]
    counts["failed"] = len(failures)
    return LoadResult(collection, counts, max(0, there - arrived), failures)


def _upsert_collection(connection: Any, document: Mapping[str, Any]) -> None:
    found = connection.execute("SELECT content FROM collections WHERE id = %s", [document["id"]]).fetchone()
    if found is None or _plain(found[0]) != _plain(document):
        connection.execute("SELECT upsert_collection(%s::jsonb)", [json.dumps(document)])


def _expected_items(
    store: Store, view: PublicView, paths: Sequence[str], failures: dict[str, str]
) -> dict[str, ItemDict]:
    """Return items by path as the database should hold them; what is none is added to ``failures``."""
    made = {}
    for path, content in _read(store, paths):
        try:
            item = json.loads(content)
            folder = posixpath.dirname(path)
            if (item["id"], item["collection"]) != (folder.rpartition("/")[2], path.partition("/")[0]):
                raise ValueError("its id or its collection is another than its path says")
            item = view.item(item, folder)
            assets = _absolute_assets(store, item, folder)
            links = [one for one in item["links"] if one["rel"] not in _STRUCTURAL]
            made[path] = {**item, "assets": assets, "links": _absolute_links(store, links, folder)}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            failures[path] = f"{path} is no item ({error!r}): remove it, and make or ingest it again"
    return made


def _read(store: Store, paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    with ThreadPoolExecutor(_CONNECTIONS if is_remote(store.root) else 1) as pool:
        for path, content in zip(paths, pool.map(lambda path: _content(store, path), paths), strict=True):
            if content is not None:  # else it was taken out meanwhile
                yield path, content


def _content(store: Store, path: str) -> bytes | None:
    try:
        return store.read(path)
    except CatalogError:
        return None


def _batch(
    connection: Any, collection: str, expected: Mapping[str, ItemDict], failures: dict[str, str]
) -> Iterator[str]:
    """Load what is not there as it should be, and read it back; yield an outcome for each item that is there then."""
    before = _items_in_database(connection, collection, expected.values())
    outcomes = {
        path: "new" if item["id"] not in before else "done" if before[item["id"]] == _plain(item) else "replaced"
        for path, item in expected.items()
    }
    changed = {path: item for path, item in expected.items() if outcomes[path] != "done"}
    refused = _copied(connection, changed)
    after = _items_in_database(connection, collection, changed.values())
    for path, outcome in outcomes.items():
        if outcome == "done" or after.get(expected[path]["id"]) == _plain(expected[path]):
            yield outcome
        else:
            failures[path] = f"{path}: {refused.get(path, 'it reads back differently than it was loaded')}"


def _copied(connection: Any, items: Mapping[str, ItemDict]) -> dict[str, str]:
    """Put items into the database together; if that fails, one by one, so that a bad one does not hold up others."""
    import psycopg

    try:
        _copy(connection, items.values())
    except psycopg.Error as error:
        if len(items) == 1:
            return dict.fromkeys(items, _first_line(error))
        refused: dict[str, str] = {}
        for path, item in items.items():
            refused |= _copied(connection, {path: item})
        return refused
    return {}


def _copy(connection: Any, items: Iterable[ItemDict]) -> None:
    command = "COPY items_staging_upsert (content) FROM STDIN"
    with connection.transaction(), connection.cursor() as cursor, cursor.copy(command) as copy:
        for item in items:
            copy.write_row([json.dumps(item)])


def _items_in_database(connection: Any, collection: str, items: Iterable[ItemDict]) -> dict[str, Any]:
    """Return items of the database by id."""
    ids = [item["id"] for item in items]
    query = "SELECT id, content_hydrate(items) FROM items WHERE collection = %s AND id = ANY(%s)"
    return {id: _plain(content) for id, content in connection.execute(query, [collection, ids])} if ids else {}


def _plain(value: Any) -> Any:
    """Return a value as the database keeps it: what is null is not there."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _absolute(store: Store, href: str, folder: str) -> str:
    if is_absolute(href):
        return href
    return store.href(posixpath.normpath(posixpath.join(folder, href)))


def _absolute_assets(store: Store, document: Mapping[str, Any], folder: str) -> dict[str, Any]:
    assets = document["assets"].items()
    return {key: {**asset, "href": _absolute(store, asset["href"], folder)} for key, asset in assets}


def _absolute_links(store: Store, links: Iterable[Mapping[str, Any]], folder: str) -> list[dict[str, Any]]:
    return [{**one, "href": _absolute(store, str(one["href"]), folder)} for one in links]


def _first_line(error: Exception) -> str:
    return without_secrets(next(itertools.chain(str(error).splitlines(), [""])))[:200]
