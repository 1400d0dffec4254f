"""A folder of this user for files that may be lost."""

from __future__ import annotations

import os
import tempfile
from getpass import getuser
from pathlib import Path


def scratch_folder(name: str) -> Path:
    """Make this user's folder for files that may be lost, in that of the machine for temporary files.

    Parameters
    ----------
    name
        Of a folder in it.

    Returns
    -------
    pathlib.Path
        The same in each process of this user, unless somebody else has made a folder of its name: what they wrote, and
        machine code above all, is not to be read.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    top = Path(tempfile.gettempdir(), f"stac-sm-{_user()}")
    top.mkdir(parents=True, exist_ok=True)
    if hasattr(os, "getuid"):  # Windows has a folder for each user
        if top.is_symlink() or top.stat().st_uid != os.getuid():
            top = Path(tempfile.mkdtemp(prefix="stac-sm-"))
        top.chmod(0o700)
    folder = top / name
    folder.mkdir(exist_ok=True)
    return folder


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "nobody"
