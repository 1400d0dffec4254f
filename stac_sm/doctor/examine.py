"""Whether a machine and a project are ready for work; nothing is changed, and each finding says what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

from stac_sm.core.errors import ProjectError, StacSmError
from stac_sm.doctor.check import FAILED, NOTE, Check
from stac_sm.doctor.machine_checks import check_machine
from stac_sm.doctor.project_checks import check_project
from stac_sm.workflows.project import find_project


def examine(folder: str | None = None) -> Iterator[Check]:
    """Look at this machine, then at a project; each finding as soon as it is there.

    Parameters
    ----------
    folder
        Folder of the project, or ``s3://BUCKET/PREFIX``: it must be there. None: the nearest one here or above, if
        there is any.
    """
    yield from check_machine()
    try:
        opened = find_project(folder or ".")
    except StacSmError as error:
        yield _unopened(error, folder)
        return
    yield from check_project(opened)


def _unopened(error: StacSmError, folder: str | None) -> Check:
    if folder is None and isinstance(error, ProjectError) and "or above" in str(error):
        advice = "stac-sm init DIR makes one, --project DIR names one"
        return Check("project", "file", NOTE, "none here or above", advice)
    return Check("project", "file", FAILED, str(error), "correct that, then try again")
