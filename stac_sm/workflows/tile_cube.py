"""Build the feature cube of a tile, as the project's recipe defines it: what a model would see on some days.

``stac-sm features`` and Python callers look at inputs with it before they train or plan. It composes
`features.inputs` (which items make which day) and `features.cube` (their pixels on the grid of the tile).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from stac_sm.core.parallel import own_threads
from stac_sm.core.period import Period
from stac_sm.features.cube import build
from stac_sm.features.inputs import require_inputs, resolve_inputs
from stac_sm.raster.readers import DEFAULT_READER
from stac_sm.raster.resample import TargetPixels
from stac_sm.stac.simulated import SIMULATED_NOTE, is_simulated
from stac_sm.workflows.project import Project

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, eq=False)
class TileCube:
    """The feature cube of a tile, and the days on which a model could not predict."""

    cube: xr.Dataset
    """As `features.cube.feature_cube` returns it, with all values in memory."""

    blocked: Mapping[date, Sequence[str]]
    """Day -> features and masks that have no input and must have one; only days on which some lack it."""

    left_out: Mapping[str, str]
    """Items that would count, but for a value that cannot be right: id and asset key, as ``ID/KEY``, and why."""

    simulated: bool = False
    """Whether its inputs are those of a simulated Earth."""

    def save(self, file: Path) -> None:
        """Write the cube to a NetCDF file, without the lists of its items.

        A variable says in ``days_without_input`` and ``left_out`` what it lacks.

        Parameters
        ----------
        file
            Its name ends with ``.nc``; an older file of this name is replaced.
        """
        kept = self.cube.drop_attrs()
        for name, values in self.cube.data_vars.items():
            for key in ("days_without_input", "left_out"):
                if key in values.attrs:
                    kept[name].attrs[key] = "; ".join(values.attrs[key])
        if self.simulated:
            kept.attrs["comment"] = SIMULATED_NOTE
        kept.to_netcdf(file)


def build_tile_cube(project: Project, tile: str, period: Period, *, reader: str = DEFAULT_READER) -> TileCube:
    """Build the feature cube of a tile with the recipe of a project, and read its values.

    Parameters
    ----------
    project
        Its catalogue has the inputs; its recipe and its grid are used.
    tile
        Id of a tile of the grid, e.g. ``h18v04``.
    period
        Days of the cube.
    reader
        ``stackstac`` or ``odc``: both give the same values, bit for bit.

    Returns
    -------
    TileCube
        One variable a feature and mask, dims (time, y, x), in memory.

    Raises
    ------
    InputError
        If the grid has no such tile, or there is no such reader.
    CatalogError
        If no feature has an input on any of the days, or a collection is missing.
    ReadError
        If pixels cannot be read.
    """
    geobox = project.grid.geobox(tile)
    resolved = resolve_inputs(project.catalog, project.recipe, geobox, period)
    if not any(resolved.by_feature.values()):
        require_inputs(resolved, f"features of tile {project.grid.describe(tile)}")
    with own_threads() as here:
        cube = build(resolved, TargetPixels(geobox), reader=reader).compute(**here)
    blocked = {day: resolved.why_blocked(day) for day in resolved.days}
    known = {day: names for day, names in blocked.items() if names}
    return TileCube(cube, known, resolved.left_out_items, is_simulated(project.catalog))
