"""What comes of files that are ingested: a result for each of them, and the tally from which it is made."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stac_sm.stac.publish import PublishOutcome
from stac_sm.storage.http.documents import FileUrl

_NAMED = 5
"""Items that a note or an error names; of more it gives the number."""


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

    def result(self, file: Path | FileUrl) -> FileResult:
        """Return the result of the file."""
        settled = [f"{len(ids)} item(s) {note}: {_some(ids, ', ')}" for note, ids in self.settled.items()]
        errors = [f"{file}: {len(self.refused)} item(s) refused: {_some(self.refused, '; ')}"] if self.refused else []
        text = "; ".join([*errors, *dict.fromkeys(self.errors)]) or None
        return FileResult(str(file), dict(self.outcomes), (*self.notes, *settled), text, tuple(self.collections))


def _some(texts: Sequence[str], between: str) -> str:
    more = [f"and {len(texts) - _NAMED} more"] if len(texts) > _NAMED else []
    return between.join([*texts[:_NAMED], *more])
