"""Turn provider files into COGs and items of the catalogue, file by file, each with its own result.

Files that make the same item are found first and ingested together, in one process (`stac_sm.ingest.file_group`); all
others go through the same path alone. So the order of the files, their folders and the number of workers change
nothing.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from stac_sm.core.errors import GranuleError, InputError
from stac_sm.core.parallel import map_jobs
from stac_sm.ingest.file_group import FileGroup, IngestJob, claims_of, ingest_group
from stac_sm.ingest.formats.archive import begins_as_data, unpack_members
from stac_sm.ingest.provider_interface import OwnCollectionProvider, find_files
from stac_sm.ingest.registry import create_provider
from stac_sm.ingest.results import FileResult
from stac_sm.ingest.sorting import SortedFile, sort_files
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.links import add_own_collection, link_newer_items, refresh
from stac_sm.storage.http.documents import FileUrl
from stac_sm.storage.single_writer import require_one_process

_CHUNK = 100
"""Files that a worker looks through at a time for the items that they make, most of them by their names alone."""


def ingest(
    catalog: WritableCatalog,
    source_name: str,
    paths: Sequence[Path | str],
    *,
    settings: dict[str, Any] | None = None,
    workers: int = 1,
    replace: bool = False,
    progress: Callable[[FileResult, int], None] = lambda result, total: None,
) -> list[FileResult]:
    """Ingest files and folders of one source; files that are in the catalogue already are left alone.

    A bad file is named in its result, and the others go on. Some sources (SoilGrids) read addresses on the web, too.
    Where several files make one item, `stac_sm.ingest.rank` says which of them does; where it cannot, the item in the
    catalogue stays, and the files are refused.

    Parameters
    ----------
    catalog
        The catalogue of inputs.
    source_name
        Name of a provider, as users type it.
    paths
        Files, folders and addresses.
    settings
        Settings of the source, as in the project file.
    workers
        Number of processes.
    replace
        Whether a file takes the place of what the catalogue has from another file where nothing says which is newer.
    progress
        Called with each result and the number of files.

    Returns
    -------
    list of FileResult
        One a file, in the order of their names.

    Raises
    ------
    InputError
        If the source is unknown, a path does not exist or holds nothing that fits, only one process may write to
        the store and there are several workers, or a series of the user's own has the collection of another one.
    """
    require_one_process(catalog.store, workers)
    provider = create_provider(source_name, settings)
    files = list(dict.fromkeys(find_files(provider, paths)))
    if isinstance(provider, OwnCollectionProvider):
        files = [file for file in files if not _is_asset(file)]
        _add_collection(catalog, provider.collection_document())
    results: list[FileResult] = []
    try:
        for result in _results(IngestJob(catalog.root, source_name, settings or {}, replace), files, workers):
            results.append(result)
            progress(result, len(files))
    finally:  # what was published before something failed is found, too
        changed = {name for result in results if result.changed for name in result.collections}
        for collection in sorted(changed):
            refresh(catalog.store, collection)
    for collection in sorted({name for result in results for name in result.collections} - changed):
        link_newer_items(catalog.store, collection)  # an ingest that was ended may have left some
    return sorted(results, key=lambda result: result.file)


def ingest_sorted(
    catalog: WritableCatalog,
    paths: Sequence[Path | str],
    *,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    workers: int = 1,
    replace: bool = False,
    sorted_out: Callable[[Sequence[SortedFile]], None] = lambda rows: None,
    progress: Callable[[FileResult, int], None] = lambda result, total: None,
) -> list[FileResult]:
    """Find the source of each file by what the file holds, and ingest it; nothing is passed over.

    Parameters
    ----------
    catalog
        The catalogue of inputs.
    paths
        Files, folders and addresses of any sources, among others.
    settings
        Settings of each source, as in the project file.
    workers
        Number of processes.
    replace
        As in `ingest`.
    sorted_out
        Called with what each file was taken for, before anything is ingested.
    progress
        Called with each result of a file that a source takes, and the number of these files.

    Returns
    -------
    list of FileResult
        One a file, in the order of their names: also of those that are no input, or cannot be used.

    Raises
    ------
    InputError
        If a path does not exist, a source has no such setting, or only one process may write to the store and there
        are several workers.
    """
    require_one_process(catalog.store, workers)
    rows = sort_files(paths, settings=settings, workers=workers)
    with ExitStack() as stack:
        opened = [_unpacked(row, stack) for row in rows]
        shown = {file: name for _, files in opened for file, name in files.items()}
        rows = [row for row, _ in opened] + sort_files(
            [file for file in shown if isinstance(file, Path)], settings=settings, workers=workers
        )
        sorted_out([dataclasses.replace(row, file=shown.get(row.file, row.file)) for row in rows])
        results = _ingest_rows(catalog, rows, settings or {}, workers, replace, progress)
    return sorted((_with_members(result, shown) for result in results), key=lambda result: result.file)


def _unpacked(row: SortedFile, stack: ExitStack) -> tuple[SortedFile, dict[Path | FileUrl, Path]]:
    """Return an archive that no source reads as a whole with its files, unpacked until a stack is closed.

    Returns
    -------
    tuple
        What the archive was taken for, with the problem if not all of it could be unpacked; and the path that is shown
        for each of the unpacked files.
    """
    shown: dict[Path | FileUrl, Path] = {}
    if not row.unpacked or not isinstance(row.file, Path):
        return row, shown
    try:
        for member in unpack_members(row.file, begins_as_data):
            stack.callback(member.remove)
            shown[member.file] = row.file / member.name
    except GranuleError as error:
        why = str(error).removeprefix(f"{row.file}: ")
        return dataclasses.replace(row, problem=why, unpacked=False), shown
    return row, shown


def _with_members(result: FileResult, shown: Mapping[Path | FileUrl, Path]) -> FileResult:
    """Return a result with the names of members instead of those of temporary files."""

    def named(text: str) -> str:
        for file, name in shown.items() if "stac-sm-" in text else ():
            text = text.replace(str(file), str(name))
        return text

    return dataclasses.replace(
        result,
        file=named(result.file),
        notes=tuple(map(named, result.notes)),
        error=None if result.error is None else named(result.error),
        taken_for=named(result.taken_for),
    )


def _ingest_rows(
    catalog: WritableCatalog,
    rows: Sequence[SortedFile],
    settings: Mapping[str, Mapping[str, Any]],
    workers: int,
    replace: bool,
    progress: Callable[[FileResult, int], None],
) -> list[FileResult]:
    """Ingest what each source takes, and return a result for every file."""
    results = [
        FileResult(
            str(row.file),
            {},
            notes=() if row.problem and row.is_input else (row.words,),
            error=f"{row.file}: {row.words}" if row.problem and row.is_input else None,
            source=row.source,
            taken_for=row.words,
            unused=not row.is_input or row.first is not None or row.unpacked,
        )
        for row in rows
        if not row.usable
    ]
    by_source: dict[str, list[SortedFile]] = {}
    for row in rows:
        if row.usable:
            by_source.setdefault(row.source, []).append(row)
    total = sum(map(len, by_source.values()))
    for source, taken in by_source.items():
        words = {str(row.file): row.words for row in taken}
        made = ingest(
            catalog,
            source,
            [row.file if isinstance(row.file, Path) else str(row.file) for row in taken],
            settings=dict(settings.get(source, {})),
            workers=workers,
            replace=replace,
            progress=lambda result, _: progress(result, total),
        )
        results += [dataclasses.replace(one, source=source, taken_for=words.get(one.file, "")) for one in made]
    return results


def _is_asset(file: Path | FileUrl) -> bool:
    """Return whether a file lies in the folder of a collection: patterns as wide as ``*.tif`` fit our own assets."""
    return isinstance(file, Path) and any((folder / "collection.json").is_file() for folder in file.absolute().parents)


def _add_collection(catalog: WritableCatalog, document: Mapping[str, Any]) -> None:
    """Add a collection of the user's own; one that has items must have the same asset in the same unit."""
    held, id = add_own_collection(catalog.store, document), document["id"]
    for key, asset in document["item_assets"].items():
        found, unit = held.get("item_assets", {}).get(key), asset["bands"][0]["unit"]
        if found is None:
            known = ", ".join(held.get("item_assets", {})) or "none"
            raise InputError(
                f"collection {id} has items with other assets ({known}), {key} required: give the series an id of its "
                "own"
            )
        units = [band.get("unit") for band in found.get("bands", [])]
        if units != [unit] or held.get("stac_sm:layout") != document["stac_sm:layout"]:
            raise InputError(
                f"collection {id} has items: {key} in {', '.join(map(str, units))}, in folders by "
                f"{held.get('stac_sm:layout')}, found; {unit} by {document['stac_sm:layout']} required: give the "
                "series an id of its own"
            )


def _results(job: IngestJob, files: Sequence[Path | FileUrl], workers: int) -> Iterator[FileResult]:
    claims = [frozenset[str]()]
    if len(files) > 1:
        claims = list(map_jobs(partial(claims_of, job), files, workers, chunk=_CHUNK, least_jobs=2 * _CHUNK))
    for results in map_jobs(partial(ingest_group, job), _groups(files, claims), workers, as_ready=True):
        yield from results


def _groups(files: Sequence[Path | FileUrl], claims: Sequence[frozenset[str]]) -> list[FileGroup]:
    """Group files so that no two groups make one item.

    Parameters
    ----------
    files
        All files.
    claims
        Ids of the items that each of them makes.
    """
    claimants = defaultdict(list)
    for number, ids in enumerate(claims):
        for id in ids:
            claimants[id].append(number)
    members = {number: [number] for number in range(len(files))}
    for numbers in claimants.values():
        for number in numbers[1:]:
            one, two = members[numbers[0]], members[number]
            if one is not two:
                one.extend(two)
                members.update(dict.fromkeys(two, one))
    shared = {id for id, numbers in claimants.items() if len(numbers) > 1}
    groups = (sorted(group) for number, group in members.items() if number == min(group))
    return [
        FileGroup(tuple(files[one] for one in group), frozenset().union(*(claims[one] & shared for one in group)))
        for group in groups
    ]
