"""Building the index: only months whose items are not as their manifest says are built again.

`refresh_and_index` also builds those whose ``self`` links lead elsewhere, as they do after a project was moved.

Commands and `stac_sm.stac.publish`'s callers bring links and index up to date here after publishing. Safe beside other
writers: shards are compared and swapped, and the items are listed again afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from stac_sm.core.errors import CatalogError
from stac_sm.core.parallel import map_jobs
from stac_sm.core.progress import ProgressCallback
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.index.manifest import (  # fmt: skip
    ListedVersion,
    index_months,
    is_item,
    manifest_bytes,
    manifest_path,
    read_shard,
    shard_path,
)
from stac_sm.stac.index.shard import (
    ALL,
    IndexedItem,
    indexed_collection,
    month_of,
    parse_indexed_item,
    shard_bytes,
    shard_is_here,
    sort_shard_items,
    without_bad_values,
)
from stac_sm.stac.links import link_items, refresh
from stac_sm.storage.address import is_remote
from stac_sm.storage.single_writer import require_one_process
from stac_sm.storage.store import Store, open_store
from stac_sm.storage.update import read_if_there, tries, write_if_unchanged

_CONNECTIONS = 16  # to a store that is not on this machine
_KEPT_BYTES = 256 << 20  # JSON that was read to learn its month, and need not be read again


@dataclass(frozen=True)
class MonthResult:
    """What came of one shard."""

    month: str
    """``2019-06``, or ``all``."""

    items: int
    """Rows in it."""

    outcome: str
    """``new``, ``replaced``, ``done`` (it was right already), or ``removed`` (no item is left)."""


@dataclass(frozen=True)
class IndexResult:
    """What came of the index of a collection."""

    collection: str
    """Id."""

    months: Sequence[MonthResult]
    """In their order."""

    failures: Mapping[str, str]
    """Path of each item JSON that is no item and was left out, and why."""

    left_out: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Path of each item that was indexed now without some properties: their names, and what is wrong with them."""


@dataclass(frozen=True)
class _Built:
    shard: bytes
    proof: bytes
    items: int
    failures: Mapping[str, str]
    left_out: Mapping[str, Mapping[str, str]]


def update_index(
    store: Store,
    collection: str,
    *,
    layout: str,
    months: Iterable[str] | None = None,
    workers: int = 1,
    prune: bool = False,
    moved: bool = False,
    progress: ProgressCallback = lambda total: None,
) -> IndexResult:
    """Bring the shards of a collection in line with its items.

    Parameters
    ----------
    store
        Where the collection is.
    collection
        Its id.
    layout
        How its items are placed, ``stac_sm:layout`` of its JSON: a shard a month if it begins with ``year``, else one.
    months
        Only these shards, from a listing of these months' folders; None: all. Where an item in such a folder
        belongs to another month, as composites at the end of a month do, all are looked at.
    workers
        Processes that build shards.
    prune
        Whether to remove the shard of a month without items, which takes the right to delete; else it is left empty.
    moved
        Whether to build shards again that were written in another place, or with another document of the collection;
        else their ``self`` links and metadata stay as they are until their items change. No reader of this package
        depends on them.
    progress
        Called with the number of months, whenever one is done.

    Returns
    -------
    IndexResult
        What came of each month that was looked at, and the files that are no items.

    Raises
    ------
    ConflictError
        If the collection keeps changing.
    """
    made: dict[str, MonthResult] = {}
    left_out: dict[str, Mapping[str, Mapping[str, str]]] = {}
    chosen = None if months is None or not layout.startswith("year/month") else sorted(set(months))
    for _ in tries(store.href(collection)):
        listed = _list_collection(store, collection, chosen)
        about = _collection_document(store, collection)
        plan = _compare(store, collection, listed, layout, chosen, (about,) if moved else ())
        if chosen is not None and not {*plan.months, *plan.jobs} <= {*chosen}:
            chosen = None
            continue
        parts = len(plan.months) + len(plan.jobs)
        written = True
        for month, built in _built(store.root, plan, listed, about, workers):
            plan.failures.update(built.failures)
            left_out[month] = built.left_out
            outcome, is_whole = _write(store, collection, month, built, prune=prune)
            written = written and is_whole
            if month in made and outcome != "removed" and made[month].outcome in {"new", "replaced"}:
                outcome = made[month].outcome  # by an earlier try of this call
            made[month] = MonthResult(month, built.items, outcome)
            progress(parts)
        if written and _list_collection(store, collection, chosen) == listed:
            all_made = {month: MonthResult(month, rows, "done") for month, rows in plan.months.items()} | made
            return IndexResult(
                collection, [all_made[name] for name in sorted(all_made)], plan.failures, _merged(left_out)
            )
    raise AssertionError("tries() ends with a ConflictError")


def _merged(by_month: Mapping[str, Mapping[str, Mapping[str, str]]]) -> dict[str, Mapping[str, str]]:
    return {path: reasons for paths in by_month.values() for path, reasons in paths.items()}


def link_and_index(
    catalog: WritableCatalog, collection: str, paths: Iterable[str], *, months: Iterable[str] | None = None
) -> None:
    """Bring links, extents and index in line after items were published: what a publisher of many does last.

    Parameters
    ----------
    catalog
        Where they were published.
    collection
        Its id.
    paths
        Of item JSON below the store's root; those that are not there are left out.
    months
        Shards of the index that they belong to, e.g. ``2019-06``; all if it is None.

    Raises
    ------
    ConflictError
        If the collection keeps changing.
    """
    link_items(catalog.store, collection, paths)
    update_index(catalog.store, collection, layout=catalog.layout(collection), months=months)


def refresh_and_index(
    catalog: WritableCatalog, collection: str, *, workers: int = 1, progress: ProgressCallback = lambda total: None
) -> IndexResult:
    """Rebuild links and extent of a collection from its items, and bring its index in line; what is right stays.

    Parameters
    ----------
    catalog
        In a folder or on S3.
    collection
        Its id.
    workers
        Processes that build shards.
    progress
        Called with the number of months, whenever one is done.

    Returns
    -------
    IndexResult
        What came of each month, and the files that are no items.

    Raises
    ------
    CatalogError
        If there is no such collection.
    ConflictError
        If the collection keeps changing.
    InputError
        If only one process may write to the store, and there are several workers.
    """
    require_one_process(catalog.store, workers)
    layout = catalog.layout(collection)  # says which collections there are
    refresh(catalog.store, collection)
    return update_index(
        catalog.store, collection, layout=layout, workers=workers, prune=True, moved=True, progress=progress
    )


@dataclass(frozen=True)
class _Plan:
    months: dict[str, int]  # right already: rows
    jobs: dict[str, list[str]]  # to be built: paths
    contents: dict[str, bytes]  # JSON that was read already
    failures: dict[str, str]


def _list_collection(store: Store, collection: str, months: Sequence[str] | None) -> dict[str, ListedVersion]:
    folders = [collection] if months is None else [f"{collection}/{month.replace('-', '/')}" for month in months]
    entries = (entry for folder in folders for entry in store.list_objects(folder) if is_item(entry.path))
    return {entry.path: (entry.version, entry.size) for entry in entries}


def _collection_document(store: Store, collection: str) -> dict[str, Any] | None:
    """Return the collection for the metadata of its shards; None where there is none that can be read."""
    try:
        return indexed_collection(store.root, json.loads(store.read(f"{collection}/collection.json")))
    except (CatalogError, ValueError, KeyError, TypeError):
        return None  # other commands name it


def _compare(
    store: Store,
    collection: str,
    listed: Mapping[str, ListedVersion],
    layout: str,
    months: Sequence[str] | None,
    about: Sequence[Mapping[str, Any] | None],
) -> _Plan:
    """Return which months are right, and which paths belong to the others; `about` is what their metadata must hold."""
    known: dict[str, list[str]] = {}
    changed, seen = set[str](), set[str]()
    for month in index_months(store, collection):
        if months is not None and month not in months:
            continue
        found = read_shard(store, collection, month)
        rows = [] if found is None else _rows(found[0])
        confirmed = [path for path, version in rows if listed.get(path) == version and path not in seen]
        known[month] = confirmed
        seen.update(confirmed)
        sound = found is not None and len(confirmed) == len(rows) > 0
        if not sound or not all(shard_is_here(found[1], store.root, one) for one in about if found):
            changed.add(month)
    new, contents, failures = _months_of(store, [path for path in listed if path not in seen], layout)
    for path, month in new.items():
        known.setdefault(month, []).append(path)
        changed.add(month)
    changed |= {month for month in known if (month == ALL) == layout.startswith("year")}  # the layout was another
    jobs = {month: known[month] for month in sorted(changed)}
    return _Plan({m: len(rows) for m, rows in known.items() if m not in changed}, jobs, contents, failures)


def _rows(table: Any) -> list[tuple[str, ListedVersion]]:
    paths, versions, sizes = (table.column(name).to_pylist() for name in ("path", "version", "size"))
    return [(path, (version, size)) for path, version, size in zip(paths, versions, sizes, strict=True)]


def _months_of(
    store: Store, paths: Sequence[str], layout: str
) -> tuple[dict[str, str], dict[str, bytes], dict[str, str]]:
    """Return the month of each path, as many of the JSON read as may be kept, and what is no item."""
    months: dict[str, str] = {}
    contents: dict[str, bytes] = {}
    failures: dict[str, str] = {}
    kept = 0
    for path, content in _read(store, paths):
        if content is None:
            continue  # gone meanwhile: the next listing tells
        try:
            months[path] = month_of(parse_indexed_item(path, content).item, layout)
        except CatalogError as error:
            failures[path] = str(error)
            continue
        if kept + len(content) <= _KEPT_BYTES:
            contents[path] = content
            kept += len(content)
    return months, contents, failures


def _read(store: Store, paths: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
    """Yield the content of each path, None where it is gone; some at once where the store is not on this machine."""

    def one(path: str) -> bytes | None:
        try:
            return store.read(path)
        except CatalogError:
            return None

    if not is_remote(store.root):
        yield from ((path, one(path)) for path in paths)
        return
    chunk = list(paths)
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        for start in range(0, len(chunk), 64 * _CONNECTIONS):  # few in memory at once
            part = chunk[start : start + 64 * _CONNECTIONS]
            yield from zip(part, pool.map(one, part), strict=True)


def _built(
    root: str, plan: _Plan, listed: Mapping[str, ListedVersion], about: Mapping[str, Any] | None, workers: int
) -> Iterator[tuple[str, _Built]]:
    jobs = [
        _Job(root, about, {one: listed[one] for one in paths}, {one: plan.contents.pop(one, b"") for one in paths})
        for paths in plan.jobs.values()
    ]
    yield from zip(plan.jobs, map_jobs(_build, jobs, workers), strict=True)


@dataclass(frozen=True)
class _Job:
    root: str
    about: Mapping[str, Any] | None  # the collection
    listed: Mapping[str, ListedVersion]  # by path
    contents: Mapping[str, bytes]  # JSON by path; empty where it was not read


def _build(job: _Job) -> _Built:
    """Build shard and manifest of some paths; runs in a worker process."""
    root, listed, contents = job.root, job.listed, job.contents
    failures: dict[str, str] = {}
    left_out: dict[str, Mapping[str, str]] = {}
    documents: list[IndexedItem] = []
    missing = [path for path in listed if not contents[path]]
    known = ((path, content) for path, content in contents.items() if content)
    for source in (known, _read(open_store(root), missing)):
        for path, content in source:
            if content is None:
                continue
            try:
                document, reasons = without_bad_values(parse_indexed_item(path, content))
            except CatalogError as error:
                failures[path] = str(error)
                continue
            documents.append(document)
            if reasons:
                left_out[path] = reasons
    documents = sort_shard_items(documents)
    try:
        shard = shard_bytes(documents, root=root, collection=job.about)
    except CatalogError:
        documents = [one for one in documents if _fits(one, failures)]
        shard = shard_bytes(documents, root=root, collection=job.about)
    return _Built(shard, manifest_bytes(documents, listed, shard), len(documents), failures, left_out)


def _fits(one: IndexedItem, failures: dict[str, str]) -> bool:
    try:
        shard_bytes([one])
    except CatalogError as error:
        failures[one.path] = str(error)
        return False
    return True


def _write(store: Store, collection: str, month: str, built: _Built, *, prune: bool) -> tuple[str, bool]:
    """Write shard and manifest; return what came of the shard, and whether no other writer was faster."""
    shard, proof = shard_path(collection, month), manifest_path(collection, month)
    if not built.items and prune:
        store.remove(proof)
        store.remove(shard)
        return "removed", True
    before = _put(store, shard, built.shard)
    return before or "done", before is not None and _put(store, proof, built.proof) is not None


def _put(store: Store, path: str, content: bytes) -> str | None:
    current = read_if_there(store, path)
    if not write_if_unchanged(store, path, content, current):
        return None
    return "new" if current is None else "done" if current == content else "replaced"
