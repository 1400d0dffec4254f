"""SMAP radiometer soil moisture: half-orbits (L2) and days (L3) on EASE-Grid 2.0 of 36 km and, enhanced, 9 km."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stac_sm.cog import CogProfile
from stac_sm.errors import GranuleError, InputError
from stac_sm.items import raster_item
from stac_sm.sources import Granule, RasterLayer, Scan
from stac_sm.sources.ease2 import EASE2_9KM, EASE2_36KM, Cells, EaseGrid
from stac_sm.sources.netcdf import opened
from stac_sm.sources.smap_file import field, latest, sensed, soil_moisture
from stac_sm.variables import VARIABLES

_L2 = "Soil_Moisture_Retrieval_Data"
_NAME = re.compile(r"(SMAP_L([23])_SM_P(_E)?_(?:\d{5}_[AD]_)?\d{8}(?:T\d{6})?)_R\d{5}_\d{3}\.h5")


@dataclass(frozen=True)
class Smap:
    """Files ``SMAP_L2_SM_P_…h5``, ``SMAP_L2_SM_P_E_…h5`` (half-orbits), ``SMAP_L3_SM_P_…h5`` and ``_E`` (days)."""

    recommended_only: bool = True
    """Whether only retrievals are kept that the provider recommends (bit 0 of ``retrieval_qual_flag`` is 0)."""

    passes: Sequence[str] = ("AM", "PM")
    """Overpasses that are taken of a day: 6 in the morning (descending), 6 in the evening (ascending)."""

    collection: str = "smap"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("SMAP_L2_SM_P_*.h5", "SMAP_L3_SM_P_*.h5")
    """Names of its files."""

    def __post_init__(self) -> None:
        if not set(self.passes) <= {"AM", "PM"} or not self.passes:
            raise InputError(f"[sources.smap] passes: {list(self.passes)} found, AM, PM or both wanted")

    def scan(self, file: Path) -> Scan:
        """One item a half-orbit, or one an overpass of a day; one without any value is left out and said."""
        match = _NAME.fullmatch(file.name)
        if match is None:
            wanted = "SMAP_L2_SM_P_02801_A_20150811T013002_R18290_001.h5"
            raise GranuleError(f"{file}: found the name {file.name}, wanted one like {wanted}: is it another product?")
        grid = EASE2_9KM if match[3] else EASE2_36KM
        with opened(file, "HDF5") as data:
            made = list(self._day(file, data, match[1], grid) if match[2] == "3" else self._orbit(file, data, grid))
        granules = [granule for granule in made if isinstance(granule, Granule)]
        return Scan(granules, tuple(note for note in made if isinstance(note, str)))

    def parts(self, file: Path) -> list[Path]:
        """The latest release of the same half-orbit or day in the folder."""
        return [latest(file)]

    def _orbit(self, file: Path, data: Any, grid: EaseGrid) -> Iterator[Granule | str]:
        """A half-orbit: cells in a list, cropped to those with a value."""
        indices = [field(file, data, f"{_L2}/EASE_{axis}_index") for axis in ("row", "column")]
        cells = Cells.of(grid, file, *indices)
        cells.check_place(file, *(field(file, data, f"{_L2}/{axis}") for axis in ("longitude", "latitude")))
        values = soil_moisture(file, data, _L2, "", self.recommended_only)
        if values.size != cells.rows.size:
            raise GranuleError(f"{file}: {values.size} values for {cells.rows.size} cells found: fetch it again")
        has = ~np.isnan(values) & (cells.rows >= 0)
        name = _NAME.fullmatch(file.name)
        assert name is not None
        if not has.any():
            yield self._empty(name[1])
            return
        window = cells.window(has)
        yield self._granule(name[1], sensed(file, data), grid, window, cells.image(values, window))

    def _day(self, file: Path, data: Any, stem: str, grid: EaseGrid) -> Iterator[Granule | str]:
        """The overpasses of a day, each on the whole grid."""
        window = (slice(0, grid.rows), slice(0, grid.columns))
        for overpass in self.passes:
            suffix = "_pm" if overpass == "PM" else ""
            values = soil_moisture(file, data, f"{_L2}_{overpass}", suffix, self.recommended_only)
            if values.shape != (grid.rows, grid.columns):
                raise GranuleError(f"{file}: {values.shape} cells found, {(grid.rows, grid.columns)} wanted")
            if np.isnan(values).all():
                yield self._empty(f"{stem}.{overpass}")
            else:
                yield self._granule(f"{stem}.{overpass}", sensed(file, data), grid, window, values)

    def _empty(self, id: str) -> str:
        which = "recommended retrieval" if self.recommended_only else "retrieval"
        return f"left out {id}: no {which} in it"

    def _granule(
        self, id: str, time: tuple[datetime, datetime], grid: EaseGrid, window: tuple[slice, slice], values: np.ndarray
    ) -> Granule:
        geobox = grid.geobox(window)
        item = raster_item(id=id, collection=self.collection, geobox=geobox, start=time[0], end=time[1])
        layer = RasterLayer(VARIABLES["smap_sm"], partial(np.asarray, values), geobox, CogProfile())
        return Granule(item, {"smap_sm": layer})
