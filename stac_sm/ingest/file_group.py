"""Ingest files that make the same items: find what each makes, choose the one that stays, and publish it.

A file that shares no item with others is a group of one. Items that no other file makes are published as they are
scanned. Of items that several make the candidates are kept until all are known; then the rule of `stac_sm.ingest.rank`
chooses. The same rule chooses between that one and the item that the catalogue has from an earlier run, in a loop of
compare and swap, since other processes may write meanwhile.
"""

from __future__ import annotations

import json
import posixpath
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.errors import CatalogError, ConflictError, StacSmError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS, digest
from stac_sm.core.preliminary import SOURCES_PROPERTY
from stac_sm.ingest.provider_interface import (
    CompanionProvider,
    ContentProvider,
    Granule,
    JoiningProvider,
    Provider,
    RankedNameProvider,
    ScannedFile,
    SourceFile,
    claimed_items,
    content_hash,
    scan_file,
)
from stac_sm.ingest.rank import (
    LEFT_OUT_PROPERTY,
    NO_RANK,
    SOURCE_PROPERTY,
    Decision,
    ItemVersion,
    Preference,
    Rank,
    UndecidedError,
    compare_ranks,
    decide,
)
from stac_sm.ingest.registry import create_provider
from stac_sm.ingest.results import FileResult, Tally
from stac_sm.stac.catalogs.catalog import open_writable_catalog
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.items import ItemDict, item_folder
from stac_sm.stac.links import add_collection, skeleton_folder
from stac_sm.stac.publish import (
    FINGERPRINT_PROPERTY,
    INGEST_FINGERPRINT_PROPERTY,
    PublishOutcome,
    publish_if_unchanged,
    retraction_reason,
    stated_algorithm,
)
from stac_sm.storage.http.documents import FileUrl
from stac_sm.storage.store import sha256
from stac_sm.storage.update import read_if_there, tries

Source = Path | FileUrl


@dataclass(frozen=True)
class IngestJob:
    """What every process of an ingest needs to know."""

    root: str
    """Address of the catalogue."""

    source_name: str
    """Name of the provider."""

    settings: Mapping[str, Any]
    """Settings of the source."""

    replace: bool = False
    """Whether a file takes the place of an item from another file where nothing says which is newer."""

    def provider(self) -> Provider:
        """Return the provider with these settings."""
        return create_provider(self.source_name, dict(self.settings))


@dataclass(frozen=True)
class FileGroup:
    """Files that are ingested together."""

    files: tuple[Source, ...]
    """The files."""

    shared: frozenset[str] = frozenset()
    """Ids of items that several of them make."""


def claims_of(job: IngestJob, file: Source) -> frozenset[str]:
    """Return ids of the items that a file makes; runs in a worker process."""
    return claimed_items(job.provider(), file)


def ingest_group(job: IngestJob, group: FileGroup) -> list[FileResult]:
    """Ingest files that share items, and return a result for each; runs in a worker process."""
    run = _GroupRun(job, _catalog(job.root), job.provider(), {file: Tally() for file in group.files})
    rivals: dict[str, list[_Candidate]] = {}
    with ExitStack() as folders:
        for candidate in run.candidates():
            if candidate.item["id"] not in group.shared or run.joined:
                run.attempt(candidate, run.publish)
                candidate.close()
                continue
            folders.callback(candidate.close)
            rivals.setdefault(candidate.item["id"], []).append(candidate)
            if candidate.version.rank == NO_RANK:  # content will decide; it does not wait in memory
                run.attempt(candidate, _Candidate.write)
        for candidates in rivals.values():
            run.settle(candidates)
    return [tally.result(file) for file, tally in run.tallies.items()]


def ingest_fingerprint(
    item_id: str, made_from: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], lost: Iterable[str] = ()
) -> str:
    """Return the fingerprint of an ingested item.

    Parameters
    ----------
    item_id
        Id of the item.
    made_from
        Name and SHA-256 of each of its files, and of several files also what each gives to it.
    settings
        Settings of the source that change its values.
    lost
        Assets that could not be made: a release that can make them replaces the item.
    """
    one = {key: made_from[0][key] for key in ("name", "sha256")} if len(made_from) == 1 else list(made_from)
    content = {"file": one, "item": item_id, "settings": settings}
    gaps = {"lost": sorted(lost)} if lost else {}
    return digest(content | gaps | {"algorithm": ALGORITHM_VERSIONS["ingest"]})


class _Candidate:
    """An item as some files make it; its assets are written to local files once they are needed."""

    def __init__(
        self,
        granule: Granule,
        files: Sequence[Source],
        made_from: Sequence[Mapping[str, Any]],
        settings: Mapping[str, Any],
    ) -> None:
        self.files = files
        self.settings = settings
        self.item = granule.item
        self.item["properties"] |= {
            SOURCE_PROPERTY: made_from[0]["name"],
            SOURCES_PROPERTY: list(made_from),
            **granule.rank.properties(),
            **({LEFT_OUT_PROPERTY: {**granule.left_out, **granule.lost}} if granule.left_out or granule.lost else {}),
            FINGERPRINT_PROPERTY: ingest_fingerprint(granule.item["id"], made_from, settings, granule.lost),
            **stated_algorithm("ingest"),
        }
        self.version = ItemVersion(
            granule.item,
            granule.rank,
            checksums=lambda: self.checksums,
            read=lambda key: self.assets[key].file.read_bytes(),
            href=lambda key: str(self.assets[key].file),
            same_values=self._same_values,
            keys=list(granule.layers),
        )
        self._layers: Mapping[str, Any] = granule.layers
        self.check = granule.check

    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="stac-sm-")

    @cached_property
    def assets(self) -> dict[str, AssetFile]:
        """Its assets in local files, by key."""
        written = {key: layer.write(Path(self._folder.name, key)) for key, layer in self._layers.items()}
        self._layers = {}  # they may hold much memory
        return written

    @cached_property
    def checksums(self) -> dict[str, str]:
        """SHA-256 in hex of its assets, by key."""
        return {key: sha256(asset.file) for key, asset in self.assets.items()}

    def write(self) -> None:
        """Write its assets."""
        _ = self.assets

    def close(self) -> None:
        """Remove its files and let go of what is in memory."""
        self._layers = {}
        if "_folder" in vars(self):
            self._folder.cleanup()

    def _same_values(self, key: str, href: str) -> bool:
        same = self.assets[key].same
        return same is not None and same(href)


@dataclass
class _GroupRun:
    """One group of files on its way into the catalogue."""

    job: IngestJob
    catalog: WritableCatalog
    provider: Provider
    tallies: dict[Source, Tally]
    _hashes: dict[Source, str] = field(default_factory=dict)
    _failed: list[frozenset[Source]] = field(default_factory=list)
    """Files of which something could not be read: what is made from all of one set is not tried again."""

    @property
    def joined(self) -> bool:
        """Whether items are computed from several files, so that each has one candidate."""
        return len(self.tallies) > 1 and isinstance(self.provider, JoiningProvider)

    def candidates(self) -> Iterator[_Candidate]:
        """Yield every item that the files make; an error of a file ends that file only, and goes into its tally."""
        if self.joined:
            assert isinstance(self.provider, JoiningProvider)
            together = self.provider.scan_together(sorted(self.tallies, key=lambda file: (file.name, self._hash(file))))
            for file, tally in self.tallies.items():
                tally.notes += together.notes.get(file, ())
                tally.errors += [together.errors[file]] if file in together.errors else []
            yield from (self._candidate(granule, ()) for granule in together.granules if self._readable(granule))
            return
        for file, tally in self.tallies.items():
            try:
                found = self._scan(file)
                tally.errors += found.errors
                try:
                    for granule in found.granules:
                        yield self._candidate(granule, (SourceFile(file),))
                        if self._failed and file in self._failed[-1]:
                            break
                finally:
                    tally.notes += found.notes
            except (StacSmError, OSError) as error:
                tally.errors.append(str(error))

    def attempt(self, candidate: _Candidate, action: Callable[[_Candidate], None]) -> bool:
        """Run an action on a candidate, and return whether it succeeded; errors go into the tallies of its files."""
        try:
            action(candidate)
        except UndecidedError as error:
            self._refuse([*candidate.files, *error.files], f"{candidate.item['id']}: {error}")
        except (StacSmError, OSError) as error:
            self._failed.append(frozenset(candidate.files))
            for file in candidate.files:
                self.tallies[file].errors.append(str(error))
        else:
            return True
        return False

    def settle(self, candidates: Sequence[_Candidate]) -> None:
        """Publish the one of several candidates for one item that stays; none where nothing decides.

        Where the one that stays cannot be made, its file is named, and the next one takes its place.
        """
        open_ones = sorted(candidates, key=lambda one: (one.version.order, str(one.files[0])))
        while open_ones:
            ranked = all(_ranked(one, two) for one, two in combinations(open_ones, 2))
            broken = [] if ranked else [one for one in open_ones if not self.attempt(one, _Candidate.write)]
            open_ones = [one for one in open_ones if one not in broken]
            best, losers = self._best(open_ones)
            if len(best) == 1 and not self.attempt(best[0], self.publish):
                open_ones.remove(best[0])
                continue
            if len(best) > 1:
                self._refuse_all(best)
            for loser, reason in losers:
                self._leave(loser, reason)
            return

    def publish(self, candidate: _Candidate) -> None:
        """Publish an item, unless the one of the catalogue stays.

        Raises
        ------
        UndecidedError
            If nothing says which of the two is right.
        ConflictError
            If the item was retracted, or an asset's name is taken by other content.
        """
        folder = item_folder(self._layout(candidate.item["collection"]), candidate.item)
        path = f"{folder}/{candidate.item['id']}.json"
        if candidate.check is not None:
            candidate.check()
        for _ in tries(self.catalog.store.href(path)):
            content, note = read_if_there(self.catalog.store, path), ""
            if content is not None:
                held = json.loads(content)
                if _is_made_as(candidate.item, held):
                    self._count(candidate, PublishOutcome.DONE)
                    return
                if (reason := retraction_reason(content)) is not None:
                    raise ConflictError(f"{path} was retracted ({reason}): it is not ingested again")
                decision, theirs = self._compare_with_catalogue(candidate, held, folder)
                if decision.preference is Preference.THEIRS:
                    self._leave(candidate, f"left as made from {theirs.names}: {decision.reason}")
                    return
                if decision.preference is Preference.UNDECIDED:
                    raise UndecidedError(_refusal(candidate.version, theirs, decision.reason))
                if decision.reason:
                    note = f"took the place of what was made from {theirs.names}: {decision.reason}"
            try:
                # Not `make_once`: several files may make this item, and a rule chooses while other writers change it.
                outcome = publish_if_unchanged(self.catalog, candidate.item, candidate.assets, content)
            except ConflictError:
                if read_if_there(self.catalog.store, path) == content:
                    raise  # it is about something else: an asset's name
                continue  # another writer was there in the meantime: compare with its item
            self._count(candidate, outcome, note)
            return

    def _scan(self, file: Source) -> ScannedFile:
        if not isinstance(self.provider, CompanionProvider):
            return scan_file(self.provider, file)
        others = sorted((one for one in self.tallies if one is not file), key=lambda one: (one.name, str(one)))
        return self.provider.scan_beside(file, others, self._held_asset)

    def _held_asset(self, collection: str, id: str, key: str) -> bytes | None:
        """Return the bytes of an asset of the catalogue, of a collection whose items lie in one folder."""
        content = read_if_there(self.catalog.store, f"{collection}/{id}/{id}.json")
        asset = None if content is None else json.loads(content).get("assets", {}).get(key)
        if asset is None:
            return None
        return self.catalog.store.read(posixpath.normpath(f"{collection}/{id}/{asset['href']}"))

    def _layout(self, collection: str) -> str:
        """Return how the items of a collection are placed; a catalogue older than the collection gets it first."""
        try:
            return self.catalog.layout(collection)
        except CatalogError:
            if not (skeleton_folder() / collection).is_dir():
                raise
            add_collection(self.catalog.store, collection)
            self.catalog = open_writable_catalog(self.job.root)
            return self.catalog.layout(collection)

    def _candidate(self, granule: Granule, scanned: tuple[SourceFile, ...]) -> _Candidate:
        sources = granule.sources or scanned
        made_from = [{"name": one.file.name, "sha256": self._hash(one.file), **one.facts} for one in sources]
        selecting = getattr(self.provider, "selecting", ())  # settings that say which items are made, and change none
        settings = {key: value for key, value in self.job.settings.items() if key not in selecting}
        settings |= granule.choices
        for one in sources:
            if one.at_fault:
                self.tallies[one.file].leave_out(granule.item["id"], granule.left_out, granule.lost)
        return _Candidate(granule, [one.file for one in sources], made_from, settings)

    def _hash(self, file: Source) -> str:
        if file not in self._hashes:
            self._hashes[file] = content_hash(self.provider, file)
        return self._hashes[file]

    def _readable(self, granule: Granule) -> bool:
        files = {source.file for source in granule.sources}
        return not any(failed <= files for failed in self._failed)

    def _best(self, candidates: Sequence[_Candidate]) -> tuple[list[_Candidate], list[tuple[_Candidate, str]]]:
        """Return candidates that no other one beats, of equal ones the first; and the others with the reason."""
        best, losers = [], []
        for number, one in enumerate(candidates):
            for other_number, other in enumerate(candidates):
                decision = decide(one.version, other.version, self._compare_content)
                same = decision.preference is Preference.SAME and other_number < number
                if other is not one and (same or decision.preference is Preference.THEIRS):
                    losers.append((one, f"left to {other.files[0]}: {decision.reason}"))
                    break
            else:
                best.append(one)
        return best, losers

    def _compare_with_catalogue(
        self, candidate: _Candidate, held: ItemDict, folder: str
    ) -> tuple[Decision, ItemVersion]:
        """Return whether a candidate (``OURS``) or the item of the catalogue (``THEIRS``) stays, and that item."""
        ours, theirs = candidate.version, self._held_version(held, folder)
        screened = INGEST_FINGERPRINT_PROPERTY in held["properties"]
        if not theirs.content and theirs.order[0] == ours.order[0]:
            return Decision(Preference.OURS), theirs  # an item of an earlier release, which did not keep checksums
        if theirs.content == ours.content:
            known = ingest_fingerprint(held["id"], theirs.sources, candidate.settings)
            if known not in _fingerprints(held):
                return Decision(Preference.OURS), theirs  # made with other settings, or by another release
        decision = decide(ours, theirs, self._compare_content)
        if decision.preference is Preference.SAME:
            first = ours.order < theirs.order and not screened  # so that the order of ingesting does not matter
            return Decision(Preference.OURS if first else Preference.THEIRS, decision.reason), theirs
        if decision.preference is Preference.UNDECIDED and self.job.replace:
            return Decision(Preference.OURS, f"{decision.reason}, and --replace was given"), theirs
        return decision, theirs

    def _held_version(self, held: ItemDict, folder: str) -> ItemVersion:
        rank = Rank.of_item(held)
        if rank == NO_RANK and isinstance(self.provider, RankedNameProvider):  # an item of an earlier release
            rank = self.provider.rank_of(str(held["properties"].get(SOURCE_PROPERTY, "")))
        assets: Mapping[str, Mapping[str, Any]] = held["assets"]
        paths = {key: posixpath.normpath(f"{folder}/{asset['href']}") for key, asset in assets.items()}
        return ItemVersion(
            held,
            rank,
            checksums=lambda: {key: str(asset.get("file:checksum", ""))[4:] for key, asset in assets.items()},
            read=lambda key: self.catalog.store.read(paths[key]),
            href=lambda key: self.catalog.store.href(paths[key]),
            keys=list(assets),
        )

    def _compare_content(self, ours: ItemVersion, theirs: ItemVersion) -> Decision | None:
        return self.provider.compare_content(ours, theirs) if isinstance(self.provider, ContentProvider) else None

    def _count(self, candidate: _Candidate, outcome: PublishOutcome, note: str = "") -> None:
        first, *others = candidate.files
        self.tallies[first].outcomes[outcome] += 1
        if note:
            self.tallies[first].settled[note].append(candidate.item["id"])
        self.tallies[first].collections[candidate.item["collection"]] = None
        for file in others:
            self.tallies[file].settled[f"made together with {first}"].append(candidate.item["id"])

    def _leave(self, candidate: _Candidate, note: str) -> None:
        self._count(candidate, PublishOutcome.DONE, note)

    def _refuse(self, files: Sequence[Source], why: str) -> None:
        for file in dict.fromkeys(files):
            self.tallies[file].refused.append(why)

    def _refuse_all(self, candidates: Sequence[_Candidate]) -> None:
        """Refuse candidates between which nothing decides; but an item of the catalogue stays."""
        for one in candidates:
            note = self._note_of_catalogue(one)
            if note is not None:
                self._leave(one, note)
                continue
            other = next(other for other in candidates if other is not one)
            reason = decide(one.version, other.version, self._compare_content).reason
            files = " and ".join(sorted({*map(str, one.files), *map(str, other.files)}))
            self._refuse(one.files, f"{one.item['id']}: {files}: {reason}; leave one of them out")

    def _note_of_catalogue(self, candidate: _Candidate) -> str | None:
        """Return why an item of the catalogue stays, whatever other files there are; None if none does."""
        folder = item_folder(self._layout(candidate.item["collection"]), candidate.item)
        content = read_if_there(self.catalog.store, f"{folder}/{candidate.item['id']}.json")
        if content is None:
            return None
        held = json.loads(content)
        if _is_made_as(candidate.item, held):
            return ""
        decision, theirs = self._compare_with_catalogue(candidate, held, folder)
        stays = decision.preference is Preference.THEIRS
        return f"left as made from {theirs.names}: {decision.reason}" if stays else None


def _ranked(one: _Candidate, two: _Candidate) -> bool:
    """Return whether it takes no content to choose between two candidates."""
    decided = compare_ranks(one.version.rank, two.version.rank).preference in (Preference.OURS, Preference.THEIRS)
    return decided or one.version.content == two.version.content


def _refusal(ours: ItemVersion, theirs: ItemVersion, reason: str) -> str:
    names = [ours.names, theirs.names]
    if names[0] == names[1]:
        names = [f"{version.names} (SHA-256 {(version.content or ['?'])[0][:8]}…)" for version in (ours, theirs)]
    return (
        f"in the catalogue it is from {names[1]}, here from {names[0]}: {reason}; leave the wrong one out, or let the "
        "new one take its place with --replace"
    )


def _fingerprints(held: ItemDict) -> set[Any]:
    """Return the fingerprints of an item: its own, and the one from before screening results were written into it."""
    return {held["properties"].get(key) for key in (FINGERPRINT_PROPERTY, INGEST_FINGERPRINT_PROPERTY)}


def _is_made_as(item: ItemDict, held: ItemDict) -> bool:
    """Return whether an item is there as this file makes it, whatever was written into it since."""
    return item["properties"][FINGERPRINT_PROPERTY] in _fingerprints(held)


@lru_cache(maxsize=4)
def _catalog(root: str) -> WritableCatalog:
    return open_writable_catalog(root)
