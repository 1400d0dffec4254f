"""Sort files by the source that reads them: by what they hold first, and by their names second.

`stac-sm ingest PATHS` without a source calls `sort_files`, and ingests what each source takes. A file that no source
takes, or that its source cannot use, is named with the reason; none is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from stac_sm.core.errors import GranuleError, InputError
from stac_sm.core.parallel import map_jobs
from stac_sm.ingest.file_content import (
    EMPTY,
    GEOTIFF,
    NETCDF,
    TAR,
    WEB_PAGE,
    ZIP,
    FileContent,
    describe_file,
    files_below,
    is_zarr_store,
)
from stac_sm.ingest.formats.archive import begins_as_data, unpack_members
from stac_sm.ingest.provider_interface import (
    Provider,
    RecognisingProvider,
    Recognition,
    WebProvider,
    has_name_of,
    scanned_together,
)
from stac_sm.ingest.registry import create_provider, provider_classes
from stac_sm.ingest.results import UNPACKED
from stac_sm.storage.address import is_remote, local_path
from stac_sm.storage.http.documents import FileUrl

_PEEK = 12
"""Data files of an archive that are looked into to know whether it is to be unpacked."""

_CHUNK = 50
"""Files that a worker looks into at a time."""


@dataclass(frozen=True)
class SortedFile:
    """A file, and the source that reads it."""

    file: Path | FileUrl
    """The file, or the folder of a Zarr store."""

    source: str = ""
    """Name of the source; empty where none takes the file."""

    product: str = ""
    """What the source takes it for; empty where none does."""

    by_name: bool = False
    """Whether only its name says so."""

    problem: str = ""
    """Why it cannot be used; empty where it can. Without the name of the file."""

    is_input: bool = True
    """Whether something is missing if it cannot be used: it is a file of a source, or its name says that it holds data.
    Other texts and data, and what a source leaves out on purpose, are no inputs."""

    unpacked: bool = False
    """Whether it is an archive whose files are sorted one by one: no source reads it as a whole."""

    first: Path | FileUrl | None = None
    """The file that it is read together with; None where it is read by itself."""

    @property
    def usable(self) -> bool:
        """Whether its source is to ingest it, by itself or with others that it stands for."""
        return not self.problem and self.first is None and not self.unpacked

    @property
    def words(self) -> str:
        """What it was taken for, or why it is not used, in words."""
        if self.unpacked:
            return f"{self.product}, {UNPACKED}"
        if not self.source:
            return f"not used: {self.problem}"
        known = f"{self.source}: {self.product}, {'by its name only' if self.by_name else 'by its content'}"
        if self.problem:
            return f"{known}; cannot be used: {self.problem}"
        return f"{known}, read together with {self.first}" if self.first is not None else known


@dataclass(frozen=True)
class _Sources:
    """Sources with their settings; what a worker process needs to know."""

    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def providers(self) -> dict[str, Provider]:
        """Return every source by its name."""
        return {name: create_provider(name, dict(self.settings.get(name, {}))) for name in sorted(provider_classes())}


def sort_files(
    paths: Sequence[Path | str], *, settings: Mapping[str, Mapping[str, Any]] | None = None, workers: int = 1
) -> list[SortedFile]:
    """Return of each file which source reads it, or why none does.

    Parameters
    ----------
    paths
        Files, folders and addresses. Folders are searched, but for hidden ones and STAC collections.
    settings
        Settings of each source, as in the project file.
    workers
        Number of processes.

    Returns
    -------
    list of SortedFile
        One a file, in the order of the paths, in folders in the order of their names.

    Raises
    ------
    InputError
        If a path does not exist, or a source has no such setting.
    """
    sources = _Sources(settings or {})
    providers = sources.providers()
    files = list(dict.fromkeys(_files(paths)))
    local = [file for file in files if isinstance(file, Path)]
    jobs = map_jobs(partial(_sort_file, sources), local, workers, chunk=_CHUNK, least_jobs=2 * _CHUNK)
    found = dict(zip(local, jobs, strict=True))
    rows = [found[file] if isinstance(file, Path) else _sort_address(providers, file) for file in files]
    return _with_parts(providers, rows)


def sort_content(content: FileContent, providers: Mapping[str, Provider]) -> SortedFile:
    """Return which source reads a file.

    Parameters
    ----------
    content
        What the file holds.
    providers
        The sources, by name.

    Returns
    -------
    SortedFile
        What the content says counts more than what the name says. Where several sources take it, none does.
    """
    answers: dict[str, Recognition] = {}
    for name, provider in providers.items():
        answer = provider.recognises(content) if isinstance(provider, RecognisingProvider) else None
        if answer is not None:
            answers[name] = answer
    for rank in (False, True):
        same = {name: answer for name, answer in answers.items() if answer.by_name is rank}
        usable = {name: answer for name, answer in same.items() if not answer.refusal}
        chosen = usable if len(usable) == 1 else same
        if len(chosen) == 1:
            (name, answer), *_ = chosen.items()
            return SortedFile(
                content.file, name, answer.product, answer.by_name, answer.refusal, is_input=not answer.left_out
            )
        if chosen:
            either = " or ".join(f"{answer.product} ({name})" for name, answer in chosen.items())
            return SortedFile(
                content.file, problem=f"it may be {either}: name its source, `stac-sm ingest SOURCE {content.file}`"
            )
    if content.kind in (ZIP, TAR) and not content.problem:
        return _sort_archive(content, providers)
    return _unknown(content)


def _sort_archive(content: FileContent, providers: Mapping[str, Provider]) -> SortedFile:
    """Return whether the first data files in an archive are of a source: then it is to be unpacked."""
    try:
        for member in islice(unpack_members(content.file, begins_as_data), _PEEK):
            row = sort_content(describe_file(member.file), providers)
            member.remove()
            if row.source:
                return SortedFile(content.file, product=content.summary, unpacked=True)
    except GranuleError as error:
        return SortedFile(content.file, problem=str(error).removeprefix(f"{content.file}: "))
    return _unknown(content)


def _unknown(content: FileContent) -> SortedFile:
    """Describe a file that no source takes."""
    if content.kind in (WEB_PAGE, EMPTY) and content.pretends:
        why = f"{content.summary} found in place of data: log in where it is offered, and fetch it again"
        return SortedFile(content.file, problem=why)
    if content.problem:
        return SortedFile(content.file, problem=f"{content.kind}: {content.problem}")
    why = f"{content.summary}: no source takes it"
    if content.kind in (GEOTIFF, NETCDF):
        why += "; a series of your own is read by `stac-sm ingest raster`"
    return SortedFile(content.file, problem=why, is_input=False)


def _sort_file(sources: _Sources, file: Path) -> SortedFile:
    """Sort one file; runs in a worker process."""
    return sort_content(describe_file(file), sources.providers())


def _sort_address(providers: Mapping[str, Provider], url: FileUrl) -> SortedFile:
    """Sort an address by its name: nothing is fetched for that."""
    fitting = {
        name: one
        for name, one in providers.items()
        if isinstance(one, WebProvider) and has_name_of(one, Path(url.text.rstrip("/")))
    }
    if len(fitting) == 1:
        return SortedFile(url, next(iter(fitting)), "file on the web", by_name=True)
    return SortedFile(url, problem="an address: name its source, `stac-sm ingest SOURCE ADDRESS`, or download it first")


def _with_parts(providers: Mapping[str, Provider], rows: Sequence[SortedFile]) -> list[SortedFile]:
    """Name the file that stands for others that are read together with it; they may be known by nothing else."""
    first: dict[Path, SortedFile] = {}
    for row in rows:
        if not row.usable or not isinstance(row.file, Path) or row.file in first:
            continue
        head, *others = scanned_together(providers[row.source], row.file)
        if head == row.file:
            first |= {part: row for part in others if part not in first}
        else:
            first[row.file] = replace(row, file=head)
    known = {row.file for row in rows}
    made = []
    for row in rows:
        whole = first.get(row.file) if isinstance(row.file, Path) else None
        if whole is None:
            made.append(row)
            continue
        by_name = row.by_name if row.source else True
        joined = SortedFile(row.file, whole.source, row.product or "part of an item", by_name, first=whole.file)
        # the file that stands for them was not named itself: it is ingested for the first of its parts
        made.append(joined if whole.file in known else replace(joined, file=whole.file, first=None))
        known.add(whole.file)
    return made


def _files(paths: Sequence[Path | str]) -> Iterator[Path | FileUrl]:
    """Yield all files that are named, and all in folders; a Zarr store is one."""
    for given in paths:
        if is_remote(given):
            yield FileUrl(str(given))
            continue
        path = local_path(given)
        if path.is_file() or is_zarr_store(path):
            yield path
        elif path.is_dir():
            yield from files_below(path)
        else:
            raise InputError(f"{path} does not exist: name files or folders")
