"""Results of ingest: one for each file, and the tally from which it is made.

`file_group` fills the tallies while it publishes; `pipeline` returns the results to the command and to Python callers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stac_sm.stac.publish import PublishOutcome
from stac_sm.storage.http.documents import FileUrl

_NAMED = 5
"""Items that a note or an error names; of more it gives the number."""


UNPACKED = "unpacked: its files are sorted one by one"
"""What is said of an archive that no source reads as a whole."""


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

    left_out: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Id of each item of which something was left out: what, and why. The item has it as ``stac_sm:left_out``."""

    source: str = ""
    """Name of the source that took it; empty where none did, and where the source was given."""

    taken_for: str = ""
    """What it was taken for, or why it is not used, where its source was found; empty where the source was given."""

    unused: bool = False
    """Whether it is no input, or is read together with another file."""

    @property
    def is_unpacked(self) -> bool:
        """Whether it is an archive whose files have results of their own."""
        return UNPACKED in self.taken_for

    @property
    def status(self) -> str:
        """``failed``, ``replaced``, ``new``, ``done`` or ``unused``."""
        if self.unused:
            return "unused"
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


@dataclass
class Tally:
    """What comes of one file, as it goes."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """Items by outcome."""

    collections: dict[str, None] = field(default_factory=dict)
    """Collections of the items, in order."""

    notes: list[str] = field(default_factory=list)
    """What was left out, and why."""

    settled: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Items that another file makes, too, by what came of that."""

    refused: list[str] = field(default_factory=list)
    """Items that the file did not make, since nothing says whether it or another file is right."""

    errors: list[str] = field(default_factory=list)
    """Why the file could not be ingested."""

    left_out: dict[str, dict[str, str]] = field(default_factory=dict)
    """Id of an item: what was left out of it, and why."""

    _lost: dict[str, str] = field(default_factory=dict)

    def leave_out(self, item: str, values: Mapping[str, str], assets: Mapping[str, str]) -> None:
        """Add what was left out of an item because it cannot be right.

        Parameters
        ----------
        item
            Id of the item.
        values
            Values that the item is complete without, and why; they become notes.
        assets
            Assets that the item should have, and why; they become errors.
        """
        if values or assets:
            self.left_out[item] = {**values, **assets}
        self._lost |= {f"{item} without its asset {key}": why for key, why in assets.items()}

    def result(self, file: Path | FileUrl) -> FileResult:
        """Return the result of the file."""
        settled = [f"{len(ids)} item(s) {note}: {_some(ids, ', ')}" for note, ids in self.settled.items()]
        errors = [f"{file}: {len(self.refused)} item(s) refused: {_some(self.refused, '; ')}"] if self.refused else []
        lost = [f"{item}: {why}" for item, why in self._lost.items()]
        errors += (
            [f"{file}: {len(lost)} asset(s) left out, all others were ingested: {_some(lost, '; ')}"] if lost else []
        )
        text = "; ".join([*errors, *dict.fromkeys(self.errors)]) or None
        values = [
            f"{item}: {name}: {why}: left out"
            for item, reasons in self.left_out.items()
            for name, why in reasons.items()
            if f"{item} without its asset {name}" not in self._lost
        ]
        notes = (*self.notes, *_first_of(values), *settled)
        return FileResult(str(file), dict(self.outcomes), notes, text, tuple(self.collections), self.left_out)


def _some(texts: Sequence[str], between: str) -> str:
    return between.join(_first_of(texts))


def _first_of(texts: Sequence[str]) -> list[str]:
    more = [f"and {len(texts) - _NAMED} more"] if len(texts) > _NAMED else []
    return [*texts[:_NAMED], *more]
