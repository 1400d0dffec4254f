"""Examine whether a machine and a project are ready for work.

``stac-sm doctor`` calls `examine` and prints each check. Nothing is changed, and each check that is not ok says what to
do.
"""

from __future__ import annotations

from collections.abc import Iterator

from stac_sm.core.errors import ProjectError, StacSmError
from stac_sm.doctor.check import FAILED, NOTE, Check
from stac_sm.doctor.machine_checks import check_machine
from stac_sm.doctor.project_checks import check_project
from stac_sm.doctor.upgrade_checks import check_upgrade
from stac_sm.workflows.project import Project, find_project


def examine(folder: str | None = None) -> Iterator[Check]:
    """Check this machine, a project, and what this version would make again of it; yield each result once it is known.

    Parameters
    ----------
    folder
        Folder of the project, or ``s3://BUCKET/PREFIX``, which must exist. None: the nearest one here or above, if
        there is any.

    Yields
    ------
    Check
        Also for a project that cannot be opened; nothing is raised for it.
    """
    yield from check_machine()
    try:
        opened = find_project(folder or ".")
    except StacSmError as error:
        yield _unopened(error, folder)
        return
    yield from check_project(opened)
    yield from _upgrade(opened)


def _upgrade(opened: Project) -> Iterator[Check]:
    try:
        yield from check_upgrade(opened)
    except StacSmError as error:  # what is wrong with the catalogue was said before
        yield Check("upgrade", "catalogue", NOTE, f"cannot be looked at: {error}", "correct the catalogue first")


def _unopened(error: StacSmError, folder: str | None) -> Check:
    if folder is None and isinstance(error, ProjectError) and "or above" in str(error):
        advice = "stac-sm init DIR makes one, --project DIR names one"
        return Check("project", "file", NOTE, "none here or above", advice)
    return Check("project", "file", FAILED, str(error), "correct that, then try again")
