"""Blocks of code of every README of the repository, in the order in which they are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "catalog/README.md",
    "stac_sm/README.md",
    "tests/README.md",
    "tests/benchmarks/README.md",
    "infra/README.md",  # it withdraws a day of the product, so it comes behind those that read it
    "infra/aws/README.md",
    "infra/container/README.md",
    "infra/kubernetes/README.md",
    "infra/slurm/README.md",
)


@dataclass(frozen=True)
class Block:
    """A block of a README."""

    page: str
    """Path of the README."""

    heading: str
    """Of the section that it stands in."""

    language: str
    """What stands behind its fence: ``text`` is not run, ``output`` is what the block before it prints."""

    text: str
    """What stands in it."""


def page_text(page: str) -> str:
    """Return the text of a README."""
    return (ROOT / page).read_text()


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a README in its order."""
    found, heading = [], ""
    for match in re.finditer(r"^#+ ([^\n]+)$|^```(\w*)\n(.*?)^```$", page_text(page), re.MULTILINE | re.DOTALL):
        heading = match[1] or heading
        if match[3] is not None:
            found.append(Block(page, heading, match[2], match[3]))
    return found


def all_blocks() -> list[Block]:
    """Return the blocks of all pages."""
    return [block for page in PAGES for block in blocks_of(page)]
