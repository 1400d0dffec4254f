"""Ingest: provider files to COGs and items in the catalogue, file by file, each with its own result."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from stac_sm.catalog import Catalog, open_catalog, refresh
from stac_sm.errors import StacSmError
from stac_sm.fingerprint import ALGORITHM_VERSION, digest
from stac_sm.pool import process_pool
from stac_sm.publishing import FINGERPRINT, Outcome, is_published, publish
from stac_sm.sources import Granule, content_hash, find_files, scan, source
from stac_sm.sources.web import Url


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
        return next((str(outcome) for outcome in (Outcome.REPLACED, Outcome.NEW) if self.items.get(outcome)), "done")

    @property
    def changed(self) -> bool:
        """Whether any item was written, also by a file that failed later on."""
        return any(self.items.get(outcome) for outcome in (Outcome.REPLACED, Outcome.NEW))


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
    wanted = source(source_name, settings)
    files = list(dict.fromkeys(find_files(wanted, paths)))
    results = []
    for result in _results(catalog, source_name, files, settings or {}, workers):
        results.append(result)
        progress(result, len(files))
    for collection in sorted({name for result in results if result.changed for name in result.collections}):
        refresh(catalog.store, collection)
    return sorted(results, key=lambda result: result.file)


def _results(
    catalog: Catalog, source_name: str, files: Sequence[Path | Url], settings: dict[str, Any], workers: int
) -> Iterator[FileResult]:
    if workers < 2 or len(files) < 2:
        for file in files:
            yield _ingest_file(catalog.root, source_name, file, settings)
        return
    with process_pool(workers) as pool:
        tasks = [pool.submit(_ingest_file, catalog.root, source_name, file, settings) for file in files]
        for task in as_completed(tasks):
            yield task.result()


def _ingest_file(root: str, source_name: str, file: Path | Url, settings: dict[str, Any]) -> FileResult:
    """Ingest one file; runs in a worker process."""
    outcomes: Counter[str] = Counter()
    collections: dict[str, None] = {}
    try:
        catalog, wanted = _catalog(root), source(source_name, settings)
        made_from = {"name": file.name, "sha256": content_hash(wanted, file)}
        found = scan(wanted, file)
        selecting = getattr(wanted, "selecting", ())  # settings that say which items are made, and change none
        proven = {key: value for key, value in settings.items() if key not in selecting}
        for granule in found.granules:
            outcomes[_ingest_granule(catalog, granule, made_from, proven)] += 1
            collections[granule.item["collection"]] = None
        return FileResult(str(file), dict(outcomes), found.notes, collections=tuple(collections))
    except (StacSmError, OSError) as error:
        return FileResult(str(file), dict(outcomes), error=str(error), collections=tuple(collections))


def _ingest_granule(catalog: Catalog, granule: Granule, made_from: dict[str, str], settings: dict[str, Any]) -> Outcome:
    proof = {"file": made_from, "item": granule.item["id"], "settings": settings, "algorithm": ALGORITHM_VERSION}
    properties = granule.item["properties"]
    properties |= {"stac_sm:source": made_from["name"], FINGERPRINT: digest(proof)}
    if is_published(catalog, granule.item):
        return Outcome.DONE
    with tempfile.TemporaryDirectory(prefix="stac-sm-") as folder:
        assets = {key: layer.write(Path(folder, key)) for key, layer in granule.layers.items()}
        return publish(catalog, granule.item, assets)


@lru_cache(maxsize=4)
def _catalog(root: str) -> Catalog:
    return open_catalog(root)
