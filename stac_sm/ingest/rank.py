"""Which file stays where two make one item: one rule for every provider.

A provider states what it knows of a file as a `Rank`: version, final or preliminary, production stamp. The rank is kept
with the item, so that a later run compares with it, too. A provider whose files may hold more or less of one item
(readings of a station, hours of a day) also says which of two holds all of the other. Whatever the order, the number of
runs and workers and the folders, the same file stays. Where nothing decides, the pipeline refuses; it never guesses.
Of items of different ids that cover one pixel `stac_sm.raster.precedence` chooses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from stac_sm.core.errors import GranuleError
from stac_sm.core.fingerprint import canonical_json
from stac_sm.core.footprints import item_geometry
from stac_sm.core.preliminary import RANK_PROPERTY, SOURCES_PROPERTY
from stac_sm.stac.items import ItemDict
from stac_sm.stac.publish import ALGORITHM_PROPERTY, FINGERPRINT_PROPERTY, INGEST_FINGERPRINT_PROPERTY

SOURCE_PROPERTY = "stac_sm:source"
LEFT_OUT_PROPERTY = "stac_sm:left_out"
"""Item property: what was left out of the item because it cannot be right, by name, and why."""

_OF_THE_FILE = {
    ALGORITHM_PROPERTY, FINGERPRINT_PROPERTY, INGEST_FINGERPRINT_PROPERTY, LEFT_OUT_PROPERTY, RANK_PROPERTY,
    SOURCE_PROPERTY, SOURCES_PROPERTY, "processing:software", "gsd",
}  # fmt: skip
"""Properties that say which file, run or release made an item, and nothing about its content.

``gsd`` follows from the grid; items of before do not state it.
"""


class UndecidedError(GranuleError):
    """Files make one item with other values, and nothing says which of them is right.

    Attributes
    ----------
    files
        The files; empty if the one that is ingested and the one in the catalogue are meant.
    """

    def __init__(self, message: str, files: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.files = tuple(files)


@dataclass(frozen=True)
class Rank:
    """What a provider states about one production of a file; the facts count in this order."""

    version: tuple[int, ...] = ()
    """Version of the product, e.g. (8, 1); empty where it is not stated."""

    final: bool | None = None
    """Whether it is final, not preliminary; None where it is not stated."""

    produced: str = ""
    """Production stamp: text that sorts by time within one provider; empty where it is not stated."""

    def properties(self) -> dict[str, Any]:
        """Return the item property that keeps the facts; nothing where there are none."""
        facts: dict[str, Any] = {}
        if self.version:
            facts["version"] = list(self.version)
        if self.final is not None:
            facts["final"] = self.final
        if self.produced:
            facts["produced"] = self.produced
        return {RANK_PROPERTY: facts} if facts else {}

    @classmethod
    def of_item(cls, item: Mapping[str, Any]) -> Rank:
        """Return the facts that an item keeps; none of an item from before facts were kept, or that cannot be right."""
        facts = item["properties"].get(RANK_PROPERTY)
        if not isinstance(facts, Mapping):
            return cls()
        version, final, produced = (facts.get(name) for name in ("version", "final", "produced"))
        numbers = isinstance(version, list | tuple) and all(isinstance(number, int) for number in version)
        return cls(
            tuple(version) if numbers and version else (),
            final if isinstance(final, bool) else None,
            produced if isinstance(produced, str) else "",
        )


NO_RANK = Rank()
"""What a provider states that states nothing."""

_TIME = re.compile(r"(\d{4})[-:]?(\d\d)[-:]?(\d\d)(?:[T ]?(\d\d):?(\d\d):?(\d\d)?)?")


def time_digits(text: str) -> str:
    """Return the digits of a time, as a production stamp: ``20171221170736`` of ``2017-12-21T17:07:36Z``.

    Empty where the text begins with no date, since a stamp that cannot be read says nothing.
    """
    match = _TIME.match(text.strip())
    return "".join(part or "" for part in match.groups()) if match else ""


class Preference(Enum):
    """Which of two versions of one item stays."""

    OURS = "ours"
    """The first of the two."""

    THEIRS = "theirs"
    """The second."""

    SAME = "same"
    """They hold the same: it makes no difference to anybody who reads the item."""

    UNDECIDED = "undecided"
    """They differ, and nothing says which is the right one."""


@dataclass(frozen=True)
class Decision:
    """Which of two versions stays, and why."""

    preference: Preference
    """Which one."""

    reason: str = ""
    """Why, as a message ends with it: ``newer version (8.1, not 7.1)``, or what differs where nothing decides."""


@dataclass(frozen=True)
class ItemVersion:
    """One item as one file makes it, or several files do together."""

    item: ItemDict
    """The item, with its properties on sources and rank."""

    rank: Rank
    """What the provider states about it."""

    checksums: Callable[[], Mapping[str, str]]
    """Return the SHA-256 in hex of its assets, by key."""

    read: Callable[[str], bytes]
    """Return the bytes of an asset, by its key."""

    href: Callable[[str], str]
    """Return where an asset is read, by its key."""

    same_values: Callable[[str, str], bool] = lambda key, href: False
    """Return whether the asset of a key holds the values of the file at an href, in whatever bytes; False if it cannot
    tell."""

    keys: Sequence[str] = ()
    """Keys of its assets."""

    @property
    def sources(self) -> Sequence[Mapping[str, Any]]:
        """Name and checksum of each file that it is made from; checksums are missing in older items."""
        properties = self.item["properties"]
        found: Sequence[Mapping[str, Any]] = properties.get(SOURCES_PROPERTY) or [
            {"name": properties.get(SOURCE_PROPERTY, "?")}
        ]
        return found

    @property
    def names(self) -> str:
        """Names of its files, for messages."""
        return " and ".join(str(source["name"]) for source in self.sources)

    @property
    def content(self) -> list[str]:
        """Checksums of its files; empty where one is not known."""
        found = [str(source.get("sha256", "")) for source in self.sources]
        return found if all(found) else []

    @property
    def left_out(self) -> set[str]:
        """Names of what was left out of it because it cannot be right."""
        found = self.item["properties"].get(LEFT_OUT_PROPERTY)
        return set(found) if isinstance(found, Mapping) else set()

    @property
    def order(self) -> tuple[list[str], list[str]]:
        """What decides between two versions that hold the same, so that the order of ingesting does not."""
        return [str(source["name"]) for source in self.sources], self.content


CompareContent = Callable[[ItemVersion, ItemVersion], Decision | None]
"""Decide by what two versions hold; None leaves the decision to whether their properties and assets are the same."""


def compare_ranks(ours: Rank, theirs: Rank) -> Decision:
    """Return which rank is the newer one; ``SAME`` where all facts are equal or missing.

    A fact that one of the two does not state decides nothing, and neither do the facts after it.
    """
    if ours.version != theirs.version:
        if not (ours.version and theirs.version):
            return Decision(Preference.UNDECIDED, "only one of them states its version")
        return _newer(ours.version > theirs.version, "newer version", *map(_dotted, (ours.version, theirs.version)))
    if ours.final != theirs.final:
        if ours.final is None or theirs.final is None:
            return Decision(Preference.UNDECIDED, "only one of them states whether it is final or preliminary")
        return Decision(Preference.OURS if ours.final else Preference.THEIRS, "final, not preliminary data")
    if ours.produced != theirs.produced:
        if not (ours.produced and theirs.produced):
            return Decision(Preference.UNDECIDED, "only one of them states when it was produced")
        return _newer(ours.produced > theirs.produced, "newer production", ours.produced, theirs.produced)
    return Decision(Preference.SAME)


def decide(ours: ItemVersion, theirs: ItemVersion, compare_content: CompareContent) -> Decision:
    """Return which of two versions of one item stays.

    Rank decides first, then what the provider says about their content, then whether the content is the same.

    Parameters
    ----------
    ours, theirs
        The versions; swapping them swaps the answer.
    compare_content
        The provider's comparison, for versions between which rank does not decide.
    """
    ranked = compare_ranks(ours.rank, theirs.rank)
    if ranked.preference in (Preference.OURS, Preference.THEIRS):
        return ranked
    if ours.content and ours.content == theirs.content:
        return Decision(Preference.SAME, "the same file")
    compared = compare_content(ours, theirs)
    if compared is not None:
        return compared
    names = differing_names(ours, theirs)
    if not names:
        return Decision(Preference.SAME, "the same content")
    for preference, one, two in ((Preference.OURS, ours, theirs), (Preference.THEIRS, theirs, ours)):
        if set(names) <= two.left_out - one.left_out:  # the same file, fetched again without the damage
            return Decision(preference, f"the other one left out {', '.join(names)}")
    facts = f", and {ranked.reason}" if ranked.reason else ", and nothing states which is newer"
    return Decision(Preference.UNDECIDED, f"they differ in {', '.join(names)}" + facts)


def differing_names(ours: ItemVersion, theirs: ItemVersion) -> list[str]:
    """Return names of properties, or else of assets, that differ to somebody who reads the two versions."""
    one, two = (version.item["properties"] for version in (ours, theirs))
    compared = {*one, *two} - _OF_THE_FILE
    for item, other in ((one, two), (two, one)):
        if INGEST_FINGERPRINT_PROPERTY in item:  # something else has written into it: screening results of a station
            compared &= set(other)
    names = sorted(key for key in compared if canonical_json(one.get(key)) != canonical_json(two.get(key)))
    outlines = (item_geometry(version.item["geometry"]) for version in (ours, theirs))  # of before, or of today
    names += ["geometry"] if len({canonical_json(outline) for outline in outlines}) > 1 else []
    names += ["bbox"] if canonical_json(ours.item["bbox"]) != canonical_json(theirs.item["bbox"]) else []
    if not names:  # checksums may have to be computed
        sums = (ours.checksums(), theirs.checksums())
        changed = sorted(key for key in {*sums[0], *sums[1]} if sums[0].get(key) != sums[1].get(key))
        names = [key for key in changed if not _same_values(key, ours, theirs)]
    return names


def _same_values(key: str, ours: ItemVersion, theirs: ItemVersion) -> bool:
    """Return whether an asset holds the same values in both: versions of a library may compress them differently."""
    if key not in ours.keys or key not in theirs.keys:
        return False
    return ours.same_values(key, theirs.href(key)) or theirs.same_values(key, ours.href(key))


def _newer(ours: bool, kind: str, *values: str) -> Decision:
    new, old = values if ours else values[::-1]
    return Decision(Preference.OURS if ours else Preference.THEIRS, f"{kind} ({new}, not {old})")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
