"""Hand a finished local file to the code that publishes it.

Stages that write pixels, tables or models (`ingest`, `product`, `model`, `stations`) write each asset to a local file,
check it and describe it as an `AssetFile`. `stac_sm.stac.publish` then copies the file into the store, adds href, size
and checksum, and writes the STAC item.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class AssetFile:
    """One asset that has been written to a local file and checked, but not published yet."""

    file: Path
    """Path of the local file."""

    suffix: str
    """Suffix of its name in the store, e.g. ``".tif"``."""

    fields: Mapping[str, Any]
    """The asset's STAC fields without href, size and checksum."""

    same: Callable[[str], bool] | None = None
    """Whether another file, given by its path or address, holds the same values; None compares bytes."""
