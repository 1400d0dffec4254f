"""Find words that the project does not use, in all text that people read: WORDS below says what to say in their place.

    python tests/tools/words.py [--json]

Looked at are strings, docstrings and comments of the package, READMEs and other pages, the collections of the
catalogue, and infra. Names of code are not: a field may be called what its file calls it. Exit code 1 if something is
found.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Word:
    """A phrase that is not used."""

    pattern: str
    """Regular expression of whole words, without regard to case."""

    instead: str
    """What to say."""

    allowed: tuple[str, ...] = ()
    """Texts that hold it rightly: regular expressions of the phrase with the words around it."""


WORDS = (
    Word("wanted", "required, expected"),
    Word("lacking", "missing; has no"),
    Word("goes? without", "has no"),
    Word(
        "proven?|proves?|proving|proofs?",
        "verified, verification; provenance",
        (r"/index/proof/", r"``proof``", r"^\"proof\"$"),  # a folder of the catalogue
    ),
    Word("mends?|mended|mending", "fix, repair"),
    Word("anew", "again; regenerated"),
    Word("orphans?|orphaned", "unreferenced file", (r"^\"orphan\"$", r"``orphan``")),  # a kind in the JSON of audit
    Word("tombstones?", "withdrawal notice"),
    Word("taken back", "withdrawn"),
    Word("honest(ly)?", "site-independent; at unseen stations", (r"^\"honest\"$",)),  # a class of CSS
    Word("departures?", "anomaly", ("departure from the mean of the site",)),  # stored in models
    Word("swings|waves of the year", "seasonal cycle, climatology"),
    Word("votes?|voting", "sample weight", ("each row with one vote",)),  # stored in models
    Word("verdicts?", "screening result"),
    Word("journal", "run log, run report", (r"journal\.pone", "Zone Journal", "Journal of")),
    Word("known holes", "known vulnerabilities"),
    Word("told", "stated, named, given"),
    Word("of late", "recently"),
    Word("(it|model|feature|site) is worth", "skill; permutation importance, RMSE increase"),
    Word("dealt (out )?at random", "random k-fold split"),
    Word("to know first", "caveats"),
    Word("too deep", "sensing depth exceeds 5 cm", ("nested too deep",)),
    Word("says full", "saturated"),
    Word("half width that holds", "prediction interval, coverage"),
    Word("unlike (all|any|what)", "outside the area of applicability"),
    Word("name is taken (once|exactly)|is swapped", "object store with conditional writes"),
    Word("what more stations would bring", "learning curve"),
    Word("name the site", "predictors that identify a station"),
    Word("takes? for granted", "assumes"),
    Word("leaves over", "residual"),
    Word("slopes of nil", "ridge penalty, regularisation"),
    Word("counted by what is asked", "aggregation"),
    Word("proves itself|never believed", "verified"),
)


def texts_of_code(file: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of each string and comment of a Python file."""
    for token in tokenize.generate_tokens(io.StringIO(file.read_text()).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT) or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            text = token.string
            if re.match(r"[rb]*f", text, re.IGNORECASE):
                text = re.sub(r"\{[^{}]*\}", "{}", text)  # its names are code
            for number, line in enumerate(text.splitlines()):
                yield token.start[0] + number, line


def texts() -> Iterator[tuple[str, int, str]]:
    """Yield file, line and text of all that people read."""
    for file in sorted((ROOT / "stac_sm").rglob("*.py")):
        yield from ((str(file.relative_to(ROOT)), *one) for one in texts_of_code(file))
    pages = [
        *ROOT.glob("*.md"),
        *ROOT.glob("*/README.md"),
        *ROOT.glob("infra/[!_]*/*.*"),
        *ROOT.glob("tests/*/README.md"),
    ]
    pages += [ROOT / ".github" / "CONTRIBUTING.md", ROOT / ".github" / "SECURITY.md"]
    pages += [*ROOT.glob("catalog/*.json"), *ROOT.glob("catalog/*/collection.json")]
    for page in sorted(page for page in pages if page.is_file() and page.suffix != ".sh"):
        for number, line in enumerate(page.read_text(errors="replace").splitlines(), 1):
            yield str(page.relative_to(ROOT)), number, line


_ANY = re.compile("|".join(rf"\b(?:{word.pattern})\b" for word in WORDS), re.IGNORECASE)


def found_in(text: str) -> Iterator[Word]:
    """Yield the words that a text should not use."""
    if not _ANY.search(text):
        return
    for word in WORDS:
        rest = text
        for allowed in word.allowed:
            rest = re.sub(allowed, "", rest, flags=re.IGNORECASE)
        if re.search(rf"\b(?:{word.pattern})\b", rest, re.IGNORECASE):
            yield word


def main(arguments: list[str]) -> int:
    """Print what is found; 1 if there is something."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    rows = [
        {"place": f"{file}:{number}", "say": word.instead, "text": text.strip()}
        for file, number, text in texts()
        for word in found_in(text)
    ]
    print(
        json.dumps(rows, indent=1)
        if asked.json
        else "\n".join("{place}: {text} -> {say}".format(**row) for row in rows)
    )
    return bool(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
