"""SMAP/Sentinel-1 soil moisture (SPL2SMAP_S): scenes on EASE-Grid 2.0 of 1 km and 3 km."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from stac_sm.cog import CogProfile
from stac_sm.errors import GranuleError
from stac_sm.grid import projection_properties
from stac_sm.items import raster_item
from stac_sm.sources import Granule, RasterLayer, Scan
from stac_sm.sources.ease2 import EASE2_1KM, EASE2_3KM, Cells, EaseGrid
from stac_sm.sources.netcdf import opened
from stac_sm.sources.smap_file import field, latest, sensed, soil_moisture
from stac_sm.variables import VARIABLES

_NAME = re.compile(r"(SMAP_L2_SM_SP_\w{6}_\d{8}T\d{6}_\d{8}T\d{6}_\d{3}[EW]\d{2}[NS])_R\d{5}_\d{3}\.h5")
_GRIDS = {"smap_s1_sm": ("1km", EASE2_1KM), "smap_s1_sm_3km": ("3km", EASE2_3KM)}
"""Suffix of group and fields, and grid, by asset."""
_PLACE = ("proj:shape", "proj:transform")


@dataclass(frozen=True)
class SmapS1:
    """Files ``SMAP_L2_SM_SP_1AIWDV_20150331T170640_20150401T054620_003E34N_R18290_001.h5``."""

    recommended_only: bool = True
    """Whether only retrievals are kept that the provider recommends (bit 0 of ``retrieval_qual_flag`` is 0)."""

    collection: str = "smap-s1"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("SMAP_L2_SM_SP_*.h5",)
    """Names of its files."""

    def scan(self, file: Path) -> Scan:
        """One item: a scene with 1 km and 3 km; one without any value is left out and said."""
        match = _NAME.fullmatch(file.name)
        if match is None:
            wanted = "SMAP_L2_SM_SP_1AIWDV_20150331T170640_20150401T054620_003E34N_R18290_001.h5"
            raise GranuleError(f"{file}: found the name {file.name}, wanted one like {wanted}: is it another product?")
        with opened(file, "HDF5") as data:
            images = {key: self._image(file, data, *grid) for key, grid in _GRIDS.items()}
            start, end = sensed(file, data)
        if all(np.isnan(values).all() for _, values in images.values()):
            which = "recommended retrieval" if self.recommended_only else "retrieval"
            return Scan([], (f"left out {match[1]}: no {which} in it",))
        finest = images["smap_s1_sm"][0]
        item = raster_item(id=match[1], collection=self.collection, geobox=finest, start=start, end=end)
        return Scan([Granule(item, {key: _layer(key, *image) for key, image in images.items()})])

    def parts(self, file: Path) -> list[Path]:
        """The latest release of the same scene in the folder."""
        return [latest(file)]

    def _image(self, file: Path, data: Any, suffix: str, grid: EaseGrid) -> tuple[GeoBox, np.ndarray]:
        """Soil moisture of a scene (y, x) on the part of a grid that its cells cover."""
        group = f"Soil_Moisture_Retrieval_Data_{suffix}"
        indices = [field(file, data, f"{group}/EASE_{axis}_index_{suffix}") for axis in ("row", "column")]
        cells = Cells.of(grid, file, *indices)
        values = soil_moisture(file, data, group, f"_{suffix}", self.recommended_only)
        if values.size != cells.rows.size or not (cells.rows >= 0).any():
            raise GranuleError(f"{file}: {values.size} values for {(cells.rows >= 0).sum()} cells of {group} found")
        degrees = (field(file, data, f"{group}/{axis}_{suffix}") for axis in ("longitude", "latitude"))
        cells.check_place(file, *degrees)
        window = cells.window(np.ones(cells.rows.size, bool))
        return grid.geobox(window), cells.image(values, window)


def _layer(key: str, geobox: GeoBox, values: np.ndarray) -> RasterLayer:
    place = {name: value for name, value in projection_properties(geobox).items() if name in _PLACE}
    return RasterLayer(VARIABLES[key], partial(np.asarray, values), geobox, CogProfile(), asset=place)
