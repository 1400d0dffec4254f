"""Pairs of files that make one item, for every provider: an older and a newer one, and one that nothing ranks.

Each writer takes a folder and which file it writes: ``old`` and ``new`` are ranked by the provider's own facts,
``other`` has the rank of ``new`` and other values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import rasterio
from affine import Affine

from stac_sm.ingest.providers.soilgrids import HOMOLOSINE, NORTH, WEST
from tests.support.hdf_files import albedo_fields, lst_fields, write_fields
from tests.support.smap_files import L3, S1, write_day, write_scene
from tests.support.source_files import placed, structure, write_cci, write_dem, write_hdf, write_lst, write_stm

CUT = {"lat": np.arange(46.875, 42, -0.25), "lon": np.arange(3.125, 9, 0.25)}
MERIT_SIDE = 100
"""Pixels along a side of a thinned out tile; set it as ``merit_dem._SIDE``."""

SEEDS = {"old": 1, "new": 2, "other": 3}


@dataclass(frozen=True)
class Rivals:
    """A provider, and how its files are written."""

    source: str
    write: Callable[[Path, str], Path]
    collection: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Id of the items' collection."""
        return self.collection or self.source


def lst(folder: Path, which: str) -> Path:
    return write_lst(folder, made="2021001" if which == "old" else "2022021", seed=SEEDS[which])


def lai(folder: Path, which: str) -> Path:
    made = "2021001" if which == "old" else "2022012"
    path = folder / f"GLASS01E01.V60.A2018009.h18v04.{made}.hdf"
    values = placed((2400, 2400), np.uint8, SEEDS[which])
    return write_hdf(path, "LAI", values, structure("h18v04", "LAI", values.shape), scale=0.1, fill=255)


def albedo(folder: Path, which: str) -> Path:
    made = "2018021" if which == "old" else "2019021"
    fields = albedo_fields()
    for values, _ in fields.values():
        values[0, 0] = 1000 + SEEDS[which]
    return write_fields(folder / f"GLASS02A06.V40.A2018001.h14v09.{made}.hdf", fields)


def modis(folder: Path, which: str) -> Path:
    made = "2020001040302" if which == "old" else "2021009040302"
    values = np.full((1200, 1200), 14000 + SEEDS[which], np.uint16)
    return write_fields(folder / f"MOD11A1.A2018001.h14v09.061.{made}.hdf", lst_fields(values))


def cci(folder: Path, which: str) -> Path:
    return versioned_cci(folder, "07.1" if which == "old" else "08.1", seed=SEEDS[which])


def versioned_cci(folder: Path, version: str, *, seed: int, created: str = "") -> Path:
    """A day of ESA CCI of a version, whose values tell the seed."""
    name = f"ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-20180601000000-fv{version}.nc"
    path, *_ = write_cci(folder, name=name, **CUT)
    with netCDF4.Dataset(path, "a") as file:
        file["sm"][0, 0, 0] = seed / 100
        file["flag"][0, 0, 0] = 0
        if created:
            file.date_created = created
    return path


def smap(folder: Path, which: str) -> Path:
    path = folder / (L3 if which == "old" else L3.replace("R19240_001", "R19240_002"))
    write_day(path)
    _change(path, "Soil_Moisture_Retrieval_Data_AM", "", which)
    _change(path, "Soil_Moisture_Retrieval_Data_PM", "_pm", which)
    return path


def smap_s1(folder: Path, which: str) -> Path:
    path = folder / (S1 if which == "old" else S1.replace("R18290", "R19240"))
    write_scene(path, shape=(12, 12))
    _change(path, "Soil_Moisture_Retrieval_Data_1km", "_1km", which)
    return path


def _change(path: Path, group: str, suffix: str, which: str) -> None:
    with h5py.File(path, "a") as file:
        file[f"{group}/soil_moisture{suffix}"][5, 5] = SEEDS[which] / 100
        file[f"{group}/retrieval_qual_flag{suffix}"][5, 5] = 0


def cop_dem(folder: Path, which: str) -> Path:
    path, values = write_dem(folder)
    _stamp(path, values + np.float32(SEEDS[which]), which)
    return path


def merit_dem(folder: Path, which: str) -> Path:
    pixel = 5 / MERIT_SIDE
    path = folder / "n30w120_dem.tif"
    values = placed((MERIT_SIDE, MERIT_SIDE), np.float32, SEEDS[which])
    profile = {
        "driver": "GTiff", "dtype": "float32", "count": 1, "height": MERIT_SIDE, "width": MERIT_SIDE, "nodata": -9999.0,
        "crs": "EPSG:4326", "transform": Affine(pixel, 0, -120 - pixel / 2, 0, -pixel, 35 - pixel / 2),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(values, 1)
    _stamp(path, values, which)
    return path


def soilgrids(folder: Path, which: str) -> Path:
    path = folder / "sand_0-5cm_mean.tif"
    values = placed((90, 90), np.int16, SEEDS[which])
    profile = {
        "driver": "GTiff", "dtype": "int16", "count": 1, "height": 90, "width": 90, "crs": HOMOLOSINE,
        "transform": Affine(250, 0, WEST + 250 * 84000, 0, -250, NORTH - 250 * 12000), "nodata": -32768,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(values, 1)
    _stamp(path, values, which)
    return path


def _stamp(path: Path, values: np.ndarray, which: str) -> None:
    """The header's time of production."""
    with rasterio.open(path, "r+") as file:
        file.write(values, 1)
        file.update_tags(TIFFTAG_DATETIME="2019:06:01 10:00:00" if which == "old" else "2022:01:02 03:04:05")


def ismn(folder: Path, which: str) -> Path:
    """No rank: the newer one has all readings of the older one and more; the other one has other values."""
    days = 1 if which == "old" else 2
    return write_stm(folder, days=days, values=np.full(24 * days, 0.3 if which == "other" else 0.2))


def era5_land(folder: Path, which: str) -> Path:
    return write_hours(folder / "era5.nc", range(24), 0.1 * SEEDS[which], expver="0005" if which == "old" else "0001")


def write_hours(path: Path, hours: Sequence[int], values: Any, *, expver: str | Sequence[str] | None = None) -> Path:
    """Hours of 2018, numbered, of swvl1 on a few cells, as the Climate Data Store lays them out; values by hour."""
    with netCDF4.Dataset(path, "w") as file:
        axes = {"valid_time": np.array(hours), "latitude": [46.1, 46.0, 45.9], "longitude": [10.9, 11.0]}
        for name, axis in axes.items():
            file.createDimension(name, len(axis))
            file.createVariable(name, "f8", (name,))[:] = axis
        file["valid_time"].units = "hours since 2018-01-01"
        if expver is not None:
            texts = [expver] * len(hours) if isinstance(expver, str) else list(expver)
            file.createVariable("expver", str, ("valid_time",))[:] = np.array(texts, object)
        cells = np.arange(6).reshape(3, 2) / 1000
        fields = np.broadcast_to(values, len(hours))[:, None, None] + cells
        file.createVariable("swvl1", "f4", tuple(axes), fill_value=np.nan)[:] = fields
    return path


RIVALS = [
    Rivals("glass-lst", lst),
    Rivals("glass-lai", lai),
    Rivals("glass-albedo", albedo),
    Rivals("modis", modis, "modis-11A1-061"),
    Rivals("esa-cci-sm", cci),
    Rivals("smap", smap),
    Rivals("smap-s1", smap_s1),
    Rivals("cop-dem", cop_dem),
    Rivals("merit-dem", merit_dem),
    Rivals("soilgrids", soilgrids),
    Rivals("ismn", ismn, "ismn-stations"),
    Rivals("era5-land", era5_land),
]
