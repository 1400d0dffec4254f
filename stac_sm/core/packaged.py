"""Find the folders of the repository that the wheel carries: the STAC skeleton (`catalog/`) and files of `infra/`.

`stac_sm.stac.links` copies the skeleton into a new project, and `stac_sm.workflows.submit` reads the job templates.
Both ask here, since an installed package and a checkout keep these folders in different places.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def packaged_folder(name: str) -> Path:
    """Return the path of the folder ``catalog`` or ``infra``.

    Parameters
    ----------
    name
        Name of the folder at the top of the repository.

    Returns
    -------
    Path
        ``stac_sm/_NAME`` inside an installed package, else the folder beside the package in a checkout.
    """
    package = Path(str(files("stac_sm")))
    installed = package / f"_{name}"
    return installed if installed.is_dir() else package.parent / name
