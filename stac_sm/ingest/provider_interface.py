"""Interface of a provider: from a provider's file to STAC items and their layers.

A source is a frozen dataclass whose fields are its settings in the project file. It reads what it needs for
the items while it scans; pixels it reads when a layer is written, unless the item depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.errors import InputError, StacSmError
from stac_sm.core.variables import Variable
from stac_sm.ingest.file_content import FileContent, describe_file, files_below
from stac_sm.ingest.rank import NO_RANK, Decision, ItemVersion, Rank
from stac_sm.raster.cog import CogProfile, write_asset
from stac_sm.stac.items import PARQUET_MEDIA_TYPE, ItemDict, raster_asset, value_range
from stac_sm.storage.address import is_remote, local_path
from stac_sm.storage.http.documents import FileUrl
from stac_sm.storage.store import sha256

if TYPE_CHECKING:
    import pandas as pd
    from odc.geo.geobox import GeoBox


class AssetLayer(Protocol):
    """One asset in the making."""

    def write(self, stem: Path) -> AssetFile:
        """Write it beside ``stem`` (a path without suffix), check it, and describe it as STAC asset."""


@dataclass(frozen=True)
class RasterLayer:
    """One band on a GeoBox."""

    variable: Variable
    """The quantity; physical value = stored value x scale + offset."""

    values: Callable[[], np.ndarray]
    """Reads the stored values (y, x); called when the layer is written."""

    geobox: GeoBox
    """Where the pixels lie."""

    profile: CogProfile
    """Nodata, scale, offset, overviews."""

    roles: tuple[str, ...] = ("data",)
    """STAC roles."""

    asset: Mapping[str, Any] = field(default_factory=dict)
    """More STAC fields of the asset, or others in place of the variable's: title, classes of a quality layer."""

    def write(self, stem: Path) -> AssetFile:
        """Write a COG, decode it again, and describe it."""
        values = self.values()
        fields = raster_asset(
            self.variable,
            dtype=str(values.dtype) if values.dtype.kind != "f" else "float32",
            nodata=self.profile.nodata,
            scale=self.profile.scale,
            offset=self.profile.offset,
            roles=self.roles,
        )
        if "data" in self.roles and (self.profile.scale, self.profile.offset) == (1.0, 0.0):
            fields["bands"][0] |= value_range(values, self.profile.nodata)
        file = stem.with_name(stem.name + ".tif")
        return write_asset(values, file, geobox=self.geobox, profile=self.profile, fields=fields | dict(self.asset))


@dataclass(frozen=True)
class TableLayer:
    """One table, kept as Parquet."""

    frame: Callable[[], pd.DataFrame]
    """Makes the table; called when the layer is written."""

    title: str
    """What it is."""

    def write(self, stem: Path) -> AssetFile:
        """Write a Parquet file and describe it."""
        file = stem.with_name(stem.name + ".parquet")
        self.frame().to_parquet(file, index=False)
        return AssetFile(file, ".parquet", {"title": self.title, "type": PARQUET_MEDIA_TYPE, "roles": ["data"]})


@dataclass(frozen=True)
class SourceFile:
    """A file that an item is made from, and what it gives to it."""

    file: Path | FileUrl
    """The file."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    """What is kept with the item about it, besides name and checksum: its hours."""

    at_fault: bool = True
    """Whether it is named for what the item lost."""


@dataclass(frozen=True)
class Granule:
    """One item in the making."""

    item: ItemDict
    """The item without assets (``items.raster_item`` or ``items.build_item``)."""

    layers: Mapping[str, AssetLayer]
    """Assets by key."""

    rank: Rank = NO_RANK
    """What the provider states about the file, to choose between files that make the same item."""

    sources: tuple[SourceFile, ...] = ()
    """Files that it is made from; empty: the one that is scanned."""

    left_out: Mapping[str, str] = field(default_factory=dict)
    """What was left out because it cannot be right, and why, by name of the asset, property or attribute that it
    belongs to; the item is complete without it. No reason may name a folder: the item keeps them."""

    lost: Mapping[str, str] = field(default_factory=dict)
    """Assets that the item should have, but for a value that cannot be right and cannot be guessed, and why."""

    choices: Mapping[str, Any] = field(default_factory=dict)
    """What was decided about its values that neither files nor settings state; part of its fingerprint."""

    check: Callable[[], None] | None = None
    """Raises `UndecidedError` if files that hold the same part of it do not agree; None where there are none."""


@dataclass(frozen=True)
class ScannedFile:
    """What a file holds."""

    granules: Iterable[Granule]
    """One for each item; may be lazy, then errors come while it is walked through."""

    notes: Sequence[str] = ()
    """What was left out, and why; complete once the granules are walked through."""

    errors: tuple[str, ...] = ()
    """Items that could not be made, and why; the others are."""


class Provider(Protocol):
    """A provider's product, or several of one kind; each granule's item says which collection it belongs to."""

    @property
    def patterns(self) -> Sequence[str]:
        """Shell patterns of its file names; other files in a folder are passed over."""

    def scan(self, file: Path) -> ScannedFile:
        """Return the items and layers of one file; pixels are read later, unless an item depends on them.

        Raises
        ------
        GranuleError
            If the file is not what it should be: says what was found and what is expected.
        """


@dataclass(frozen=True)
class JointScan:
    """What several files hold together."""

    granules: Iterable[Granule]
    """One for each item, with its sources; may be lazy."""

    notes: Mapping[Path | FileUrl, tuple[str, ...]] = field(default_factory=dict)
    """What was left out of each file, and why."""

    errors: Mapping[Path | FileUrl, str] = field(default_factory=dict)
    """Files that give nothing, and why."""


@dataclass(frozen=True)
class Download:
    """What a user fetches of a provider's product, for the tables of inputs in the documentation.

    Licence and page stand in the collection and are read from there.
    """

    product: str
    """Name of the product at the provider."""

    collection: str
    """Id of the collection that its items go into."""

    request: tuple[str, ...]
    """Variables to request, or layers that are read, under the provider's names."""

    login: str
    """What the provider asks for before it gives files; ``none`` if nothing."""

    version: str = "any"
    """Versions that are read."""

    pixels: int = 0
    """Number of pixels of one layer on a tile of 1,112 km; 0: what there is differs from place to place."""

    bytes_a_pixel: int = 0
    """Of all layers together, uncompressed."""

    times: int = 30
    """Number of fields in a month of 30 days; 1 of what does not change with time."""

    whole_earth: bool = False
    """Whether files hold the whole Earth, so that ``pixels`` are those of the Earth."""

    @property
    def megabytes(self) -> float:
        """Size of a tile and month before compression, 10^6 bytes; 0 where it is not known."""
        return self.pixels * self.bytes_a_pixel * self.times / 1e6


@runtime_checkable
class DownloadedProvider(Provider, Protocol):
    """A source that says what to download for it; all of the registry do."""

    downloads: ClassVar[tuple[Download, ...]]
    """Products, each with variables, size and login."""


@dataclass(frozen=True)
class Recognition:
    """What a provider takes a file for."""

    product: str
    """The product, as a sentence names it: ``ERA5-Land (swvl1, stl1)``."""

    by_name: bool = False
    """Whether only the name of the file says so; what the content says counts more."""

    refusal: str = ""
    """Why the file cannot be used, though it is the provider's; empty where it can. It says what was found and what
    is required, without the name of the file."""

    left_out: bool = False
    """Whether it is refused since the source leaves such files out on purpose: another variable, depth or product of
    the same download. Then it is named, and no error."""


@runtime_checkable
class RecognisingProvider(Provider, Protocol):
    """A source that knows its files by what they hold, so that `stac-sm ingest PATHS` finds them under any name."""

    def recognises(self, content: FileContent) -> Recognition | None:
        """Return what the source takes a file for; None if it is no file of the source.

        The content decides: variables, attributes, grid, tags, members of an archive. The name counts where the
        content does not say enough, or cannot be read; then ``by_name`` is set.
        """


@runtime_checkable
class JoiningProvider(Provider, Protocol):
    """A source whose items may be computed from several files together: the hours of a day."""

    def scan_together(self, files: Sequence[Path | FileUrl]) -> JointScan:
        """Return the items of several files; each is computed from all of them that hold a part of it."""


HeldAsset = Callable[[str, str, str], "bytes | None"]
"""Return the bytes of an asset of the catalogue by collection, id of its item and key; None if it is not there."""


@runtime_checkable
class CompanionProvider(Provider, Protocol):
    """A source some of whose files can only be read with others beside them: sand with silt and clay.

    Its ``claims`` name something that the files have in common, so that they are ingested together.
    """

    def scan_beside(self, file: Path | FileUrl, others: Sequence[Path | FileUrl], held: HeldAsset) -> ScannedFile:
        """Return the items of one file as `Provider.scan`; other files of the call, and the catalogue, may be read."""


@runtime_checkable
class RankedNameProvider(Provider, Protocol):
    """A source whose file names state their rank."""

    def rank_of(self, name: str) -> Rank:
        """Return the rank by the name of a file; the empty one if it says nothing."""


@runtime_checkable
class ContentProvider(Provider, Protocol):
    """A source of which one file may hold all that another holds of an item, and more."""

    def compare_content(self, ours: ItemVersion, theirs: ItemVersion) -> Decision | None:
        """Return which of two versions of an item stays, by what they hold; None if that decides nothing."""


@runtime_checkable
class ClaimingProvider(Provider, Protocol):
    """A source that can tell the items of a file without a scan, which takes long."""

    def claims(self, file: Any) -> Iterable[str]:
        """Return the ids of all items that a file, or a file at an address, may make."""


@runtime_checkable
class MultiFileProvider(Provider, Protocol):
    """A source with items that take more than one file, or one of several."""

    def parts(self, file: Path) -> Sequence[Path]:
        """Return all files that are scanned when this one is, in order; the first stands for them all."""


@runtime_checkable
class OwnCollectionProvider(Provider, Protocol):
    """A source whose collection is not of the skeleton."""

    def collection_document(self) -> Mapping[str, Any]:
        """Return the JSON of the collection, as it is before it has an item."""


@runtime_checkable
class WebProvider(Provider, Protocol):
    """A source that reads files on the web, too."""

    def scan_url(self, url: FileUrl) -> ScannedFile:
        """Return what a file at an address holds, as `Provider.scan`."""

    def url_checksum(self, url: FileUrl) -> str:
        """Return a text that changes with everything that is scanned with an address."""


def find_files(provider: Provider, paths: Iterable[Path | str]) -> Iterator[Path | FileUrl]:
    """Find the files to ingest: those that are given, and in folders all that the source knows by name or by content.

    Of files that are scanned together the first is given, once (see ``MultiFileProvider``). A URL is an address on
    the web, for a source that reads there.

    Raises
    ------
    InputError
        If a path does not exist, or a folder holds nothing that fits; if an address is none that may be read.
    """
    for given in paths:
        if is_remote(given):
            yield _address(provider, str(given))
            continue
        path = local_path(given)
        if path.is_file() or any(
            path.is_dir() and path.match(pattern) for pattern in provider.patterns
        ):  # a Zarr store
            yield scanned_together(provider, path)[0]
            continue
        if not path.is_dir():
            raise InputError(f"{path} does not exist: name files or folders that hold {' or '.join(provider.patterns)}")
        named = {file for pattern in provider.patterns for file in path.rglob(pattern)}
        found = sorted(named | {file for file in files_below(path) if file not in named and takes(provider, file)})
        if not found:
            raise InputError(f"{path} holds no file like {' or '.join(provider.patterns)}: check the source's name")
        yield from dict.fromkeys(scanned_together(provider, file)[0] for file in found)


def has_name_of(provider: Provider, file: Path) -> bool:
    """Return whether the name of a file is one of a provider's."""
    return any(file.match(pattern) for pattern in provider.patterns)


def takes(provider: Provider, file: Path) -> bool:
    """Return whether a source takes a file for one of its own by what the file holds, and can use it."""
    answer = provider.recognises(describe_file(file)) if isinstance(provider, RecognisingProvider) else None
    return answer is not None and not answer.refusal and not answer.by_name


def claimed_items(provider: Provider, file: Path | FileUrl) -> frozenset[str]:
    """Return the ids of all items that a file may make; none of one that cannot be read, which its ingest reports."""
    try:
        if isinstance(provider, ClaimingProvider):
            return frozenset(provider.claims(file))
        return frozenset(granule.item["id"] for granule in scan_file(provider, file).granules)
    except (StacSmError, OSError):
        return frozenset()


def scan_file(provider: Provider, file: Path | FileUrl) -> ScannedFile:
    """Return what a file holds, on this machine or on the web."""
    return _remote(provider).scan_url(file) if isinstance(file, FileUrl) else provider.scan(file)


def _address(provider: Provider, text: str) -> FileUrl:
    _remote(provider, f"{text!r} is a web address")
    return FileUrl(text)


def _remote(provider: Provider, found: str = "a web address found") -> WebProvider:
    if not isinstance(provider, WebProvider):
        raise InputError(f"{found}: files like {' or '.join(provider.patterns)} are required, download them first")
    return provider


def scanned_together(provider: Provider, file: Path) -> Sequence[Path]:
    """Return the files that are scanned together with one; the first stands for them all."""
    return provider.parts(file) if isinstance(provider, MultiFileProvider) else [file]


def content_hash(provider: Provider, file: Path | FileUrl) -> str:
    """Return the SHA-256 in hex of all that is scanned with a file, or of what its server says about its state."""
    if isinstance(file, FileUrl):
        return _remote(provider).url_checksum(file)
    files = [part for part in scanned_together(provider, file) if part.is_file()]
    if len(files) == 1:
        return sha256(files[0])
    return sha256("".join(f"{sha256(part)}  {part.name}\n" for part in files).encode())
