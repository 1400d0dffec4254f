"""An asset that a stage has made in a local file and hands over for publishing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class AssetFile:
    """One asset, made and checked in a local file."""

    file: Path
    """Where it lies now."""

    suffix: str
    """End of its name in the store, e.g. ``".tif"``."""

    fields: Mapping[str, Any]
    """The asset's STAC fields without href, size and checksum."""

    same: Callable[[str], bool] | None = None
    """Whether a file that already has the asset's name holds the same values; None compares bytes."""
