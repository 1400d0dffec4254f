"""Settings of a raster series of the user's own: from the options of ``stac-sm ingest raster``, or the project file.

The command asks here which source it ingests. After the first files were ingested it keeps the settings in the project
file, so that the next call needs none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stac_sm.core.errors import InputError
from stac_sm.ingest.registry import RASTER, create_provider
from stac_sm.ingest.results import FileResult
from stac_sm.workflows.project import FILE_NAME, Project, check_kept, check_series, keep_source


@dataclass(frozen=True)
class IngestSource:
    """What an ingest reads, and how."""

    name: str | None
    """Name of the source: a provider's, or the id of a series; None where each file's is found by what it holds."""

    settings: Mapping[str, Any]
    """Its settings."""

    new: bool = False
    """Whether the settings are not in the project file yet."""

    def keep(self, project: Project, results: Sequence[FileResult]) -> bool:
        """Keep new settings in the project file once a file was ingested with them: wrong ones are not kept.

        Parameters
        ----------
        project
            Its file is changed.
        results
            Of the ingest.

        Returns
        -------
        bool
            Whether they were written.
        """
        good = any(result.error is None for result in results)
        if not (self.new and good and self.name is not None):
            return False
        return keep_source(project.folder, self.name, self.settings)


def ingest_source(project: Project, source: str | None, options: Mapping[str, Any]) -> IngestSource:
    """Return what an ingest reads, by the name that was typed and the options of a series.

    Parameters
    ----------
    project
        Its file may hold the settings.
    source
        A provider's name, ``raster``, the id of a series of the project file, or None for files of any source.
    options
        Settings of `stac_sm.ingest.providers.raster.Raster` and ``collection``; those that were not given are missing.

    Returns
    -------
    IngestSource
        Name and settings.

    Raises
    ------
    InputError
        If options contradict the project file, do not belong to the source, or are missing.
    """
    given: dict[str, Any] = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    if source != RASTER:
        if given:
            raise InputError(
                f"{', '.join(f'--{name}' for name in given)} found, options of `ingest {RASTER}`: settings of other "
                f"sources stand in [sources.{source or 'ID'}] of {FILE_NAME}; edit them there"
            )
        return IngestSource(source, {} if source is None else project.sources.get(source, {}))
    id = given.pop("collection", None)
    if id is None:
        raise InputError(f"--collection is missing: `ingest {RASTER}` needs the id of the new collection, e.g. my-sm")
    held = project.sources.get(id)
    if held is not None and not given:
        return IngestSource(id, held)
    missing = [name for name in ("variable", "unit") if name not in given]
    if missing:
        raise InputError(
            f"--{' and --'.join(missing)} missing: `ingest {RASTER}` needs the name of the variable, and its unit"
        )
    settings = {"source": RASTER, **given}
    check_series(id, settings)
    create_provider(id, settings)
    if held is not None:
        check_kept(id, held, settings)
    return IngestSource(id, settings, new=held is None)
