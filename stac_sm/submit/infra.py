"""The files of ``infra/`` that are sent as they are, or filled in."""

from __future__ import annotations

from pathlib import Path


def infra_file(path: str) -> Path:
    """A file of ``infra/`` of the repository, or of its copy inside the installed package."""
    package = Path(__file__).parent.parent
    installed = package / "_infra"
    return (installed if installed.is_dir() else package.parent / "infra") / path
