"""The folders of the repository that the wheel carries: the STAC skeleton (`catalog/`) and files of `infra/`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def packaged_folder(name: str) -> Path:
    """Return the folder ``catalog`` or ``infra``: inside the installed package, else of the checkout beside it.

    Parameters
    ----------
    name
        Name of the folder at the top of the repository. The wheel holds it as ``stac_sm/_NAME``.
    """
    package = Path(str(files("stac_sm")))
    installed = package / f"_{name}"
    return installed if installed.is_dir() else package.parent / name
