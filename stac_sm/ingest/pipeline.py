"""Ingest: provider files to COGs and items in the catalogue, file by file, each with its own result.

A file that has changed replaces its items. Where several files may hold the same item (stations in several downloads)
the source says which one stays (see `SharedItemProvider`).
"""

from __future__ import annotations

import json
import posixpath
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.errors import ConflictError, GranuleError, StacSmError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS, digest
from stac_sm.core.parallel import map_jobs
from stac_sm.ingest.provider_interface import Granule, Provider, content_hash, find_files, scan_file
from stac_sm.ingest.registry import create_provider
from stac_sm.stac.catalogs.catalog import Catalog, open_catalog
from stac_sm.stac.items import ItemDict, item_folder
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import (
    FINGERPRINT_PROPERTY,
    INGEST_FINGERPRINT_PROPERTY,
    PublishOutcome,
    publish,
    publish_if_unchanged,
    read_published_item,
)
from stac_sm.storage.http.documents import FileUrl


@dataclass(frozen=True)
class FileResult:
    """What came of one file."""

    file: str
    """Its path or address."""

    items: dict[str, int]
    """Number of items by outcome: new, replaced, done."""

    notes: tuple[str, ...] = ()
    """What was left out, and why."""

    error: str | None = None
    """Why it could not be ingested; None if it was."""

    collections: tuple[str, ...] = ()
    """Collections of its items."""

    @property
    def status(self) -> str:
        """``failed``, ``replaced``, ``new`` or ``done``."""
        if self.error is not None:
            return "failed"
        return next(
            (str(outcome) for outcome in (PublishOutcome.REPLACED, PublishOutcome.NEW) if self.items.get(outcome)),
            "done",
        )

    @property
    def changed(self) -> bool:
        """Whether any item was written, also by a file that failed later on."""
        return any(self.items.get(outcome) for outcome in (PublishOutcome.REPLACED, PublishOutcome.NEW))


@runtime_checkable
class SharedItemProvider(Provider, Protocol):
    """A source of which several files may hold one item."""

    def conflicting_files(self, files: Sequence[Path]) -> dict[Path, str]:
        """Files that cannot be ingested together, and why."""

    def choose_granule(self, granule: Granule, held: ItemDict, read: Callable[[str], bytes]) -> tuple[bool, str]:
        """Whether a granule takes the place of its item that another file has made, and a note on that.

        Raises
        ------
        GranuleError
            If neither can take the place of the other.
        """


@dataclass
class _Tally:
    """What comes of one file, as it goes."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """Items by outcome."""

    collections: dict[str, None] = field(default_factory=dict)
    """Collections of the items, in order."""

    settled: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Items that another file holds, too, by what came of that."""

    refused: list[str] = field(default_factory=list)
    """Items that could not take the place of those of another file, and why."""

    def result(self, file: Path | FileUrl, notes: Sequence[str] = (), error: str | None = None) -> FileResult:
        """All of it."""
        more = tuple(f"{len(ids)} item(s) {note}: {_some(ids, ', ')}" for note, ids in self.settled.items())
        errors = [f"{file}: {len(self.refused)} item(s) refused: {_some(self.refused, '; ')}"] if self.refused else []
        text = "; ".join([*errors, *([error] if error else [])]) or None
        return FileResult(str(file), dict(self.outcomes), (*notes, *more), text, tuple(self.collections))


def _some(texts: Sequence[str], between: str) -> str:
    more = [f"and {len(texts) - 5} more"] if len(texts) > 5 else []
    return between.join([*texts[:5], *more])


def ingest(
    catalog: Catalog,
    source_name: str,
    paths: Sequence[Path | str],
    *,
    settings: dict[str, Any] | None = None,
    workers: int = 1,
    progress: Callable[[FileResult, int], None] = lambda result, total: None,
) -> list[FileResult]:
    """Ingest files and folders of one source; files that are in the catalogue already are left alone.

    A bad file is named in its result, and the others go on. Some sources (SoilGrids) read addresses on the web, too.

    Raises
    ------
    InputError
        If the source is unknown, or a path does not exist or holds nothing that fits.
    """
    wanted = create_provider(source_name, settings)
    files = list(dict.fromkeys(find_files(wanted, paths)))
    twins = (
        wanted.conflicting_files([file for file in files if isinstance(file, Path)])
        if isinstance(wanted, SharedItemProvider)
        else {}
    )
    results = []
    for result in _results(catalog, source_name, files, twins, settings or {}, workers):
        results.append(result)
        progress(result, len(files))
    for collection in sorted({name for result in results if result.changed for name in result.collections}):
        refresh(catalog.store, collection)
    return sorted(results, key=lambda result: result.file)


def _results(
    catalog: Catalog,
    source_name: str,
    files: Sequence[Path | FileUrl],
    twins: dict[Path, str],
    settings: dict[str, Any],
    workers: int,
) -> Iterator[FileResult]:
    yield from (FileResult(str(file), {}, error=why) for file, why in twins.items())
    files = [file for file in files if file not in twins]
    yield from map_jobs(partial(_ingest_file, catalog.root, source_name, settings), files, workers, as_ready=True)


def _ingest_file(root: str, source_name: str, settings: dict[str, Any], file: Path | FileUrl) -> FileResult:
    """Ingest one file; runs in a worker process."""
    tally = _Tally()
    try:
        catalog, wanted = _catalog(root), create_provider(source_name, settings)
        made_from = {"name": file.name, "sha256": content_hash(wanted, file)}
        found = scan_file(wanted, file)
        selecting = getattr(wanted, "selecting", ())  # settings that say which items are made, and change none
        proven = {key: value for key, value in settings.items() if key not in selecting}
        for granule in found.granules:
            _add_fingerprint(granule, made_from, proven)
            _ingest_granule(catalog, wanted, granule, tally)
            tally.collections[granule.item["collection"]] = None
        return tally.result(file, found.notes)
    except (StacSmError, OSError) as error:
        return tally.result(file, error=str(error))


def _add_fingerprint(granule: Granule, made_from: dict[str, str], settings: dict[str, Any]) -> None:
    """Write into the item what it is made from."""
    proof = {"file": made_from, "item": granule.item["id"], "settings": settings}
    proof |= {"algorithm": ALGORITHM_VERSIONS["ingest"]}
    granule.item["properties"] |= {"stac_sm:source": made_from["name"], FINGERPRINT_PROPERTY: digest(proof)}


def _ingest_granule(catalog: Catalog, wanted: Provider, granule: Granule, tally: _Tally) -> None:
    if _is_ingested(catalog, granule.item):
        tally.outcomes[PublishOutcome.DONE] += 1
        return
    with tempfile.TemporaryDirectory(prefix="stac-sm-") as folder:
        assets = {key: layer.write(Path(folder, key)) for key, layer in granule.layers.items()}
        if not isinstance(wanted, SharedItemProvider):
            tally.outcomes[publish(catalog, granule.item, assets)] += 1
            return
        while not _publish_shared(catalog, wanted, granule, assets, tally):
            pass  # another writer was there in the meantime: settle with its item


def _is_ingested(catalog: Catalog, item: ItemDict) -> bool:
    """Whether the item is there as this file makes it, whatever was written into it since."""
    content = read_published_item(
        catalog.store, f"{item_folder(catalog.layout(item['collection']), item)}/{item['id']}.json"
    )
    known = {} if content is None else json.loads(content)["properties"]
    return item["properties"][FINGERPRINT_PROPERTY] in {
        known.get(FINGERPRINT_PROPERTY),
        known.get(INGEST_FINGERPRINT_PROPERTY),
    }


def _publish_shared(
    catalog: Catalog, wanted: SharedItemProvider, granule: Granule, assets: dict[str, AssetFile], tally: _Tally
) -> bool:
    """Publish an item that other files may hold, too; False if it has changed while this went on."""
    folder = item_folder(catalog.layout(granule.item["collection"]), granule.item)
    path = f"{folder}/{granule.item['id']}.json"
    content = read_published_item(catalog.store, path)
    replaces, note = True, ""
    held = None if content is None else json.loads(content)
    if held is not None and held["properties"].get("stac_sm:source") != granule.item["properties"]["stac_sm:source"]:
        try:
            replaces, note = wanted.choose_granule(
                granule, held, lambda href: catalog.store.read(posixpath.normpath(f"{folder}/{href}"))
            )
        except GranuleError as error:
            tally.refused.append(str(error))
            return True
    if replaces:
        try:
            tally.outcomes[publish_if_unchanged(catalog, granule.item, assets, content)] += 1
        except ConflictError:
            if read_published_item(catalog.store, path) == content:
                raise  # it is about something else: an asset's name
            return False
    else:
        tally.outcomes[PublishOutcome.DONE] += 1
    if note:
        tally.settled[note].append(granule.item["id"])
    return True


@lru_cache(maxsize=4)
def _catalog(root: str) -> Catalog:
    return open_catalog(root)
