"""Write soil moisture of the simulated Earth as SMAP (SPL3SMP) and SMAP/Sentinel-1 (SPL2SMAP_S).

Both are HDF5 on EASE-Grid 2.0. They average the truth over their cells, then change its scale and add errors of their
own, which are independent of those of ERA5-Land and ESA CCI. Cells that the island does not reach are left empty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.projections import transformer_from_lonlat, transformer_to_lonlat
from stac_sm.simulate.earth import AnyFloatArray, Earth, Indices, island, named_rng, summer
from stac_sm.simulate.truth import (
    FREEZING,
    LAPSE,
    season_temperature,
    static_fields,
    temperature_anomaly,
    window_soil_moisture,
)

# "Hawaii" is triple collocation of the SCAN and the COSMOS station at Silver Sword with ERA5-Land and SMAP L3,
# 2017-2018: the two sound triplets of six.
SMAP_SCALE = 0.6  # change for a unit change of truth. Hawaii: 1/beta = 0.36 and 0.43; higher here, as for ESA CCI
SMAP_BIAS = -0.05  # m3 m-3. Hawaii: SMAP minus station is -0.125 and 0.020, -0.05 in the mean
SMAP_NOISE = 0.02  # m3 m-3, independent between cells and overpasses. Hawaii, in its own units: 0.015 and 0.018
S1_NOISE = 0.045  # m3 m-3, of 3 km; with SMAP's 0.05, which is what its makers give (Das et al. 2019, RSE 233)
S1_NOISE_1KM = 0.03  # m3 m-3, of 1 km on top of its 3 km cell. A guess: the provider calls 1 km not validated

# Limits of SMAP's own algorithm, from ProcessStep of a real SPL2SMP file.
_WATER_RECOMMENDED, _WATER_RETRIEVED = 0.05, 0.5  # share of water in a cell
_VEGETATION_RECOMMENDED = 5.0  # kg m-2 of water in plants
_VEGETATION = 5 / 0.65  # kg m-2 of a full cover: ESA CCI's limit of dense vegetation is SMAP's

_ORBITS = 117 / 8  # of SMAP a day: it repeats its track after 8 days
_SWATH = 1000  # km
_S1_HALF_SWATH, _S1_SLANT = 41, -0.2  # cells of 3 km (a swath is 250 km wide); columns a row, flying south-west
_S1_SHAPE = (72, 102)  # cells of 3 km, as in a real file
_S1_SHIFT = 0.6  # radii of the island between the scenes of two days
_KM_PER_DEGREE = 111.2

_CRS = "EPSG:6933"
_LEFT, _TOP = -17367530.44516138, 7314540.83063855  # outer corner of the grids, m
_COLUMNS = {36: 964, 3: 11568, 1: 34704}  # by size of a cell in km
_ROWS = {36: 406, 3: 4872, 1: 14616}
_NODATA, _NO_FLAG = -9999.0, 65534
_UNIT = "cm**3/cm**3"
_MEANINGS = (
    "Soil_moisture_retrieval_recommended Soil_moisture_retrieval_attempted "
    "Soil_moisture_retrieval_success FT_retrieval_success"
)
_NOT_RECOMMENDED, _NOT_ATTEMPTED = 1, 7
_WATER, _FROZEN, _DENSE = 1, 1 << 8, 1 << 10  # bits of surface_flag


def smap_name(day: date) -> str:
    """Return the file name of a day of SPL3SMP, version 9."""
    return f"SMAP_L3_SM_P_{day:%Y%m%d}_R19240_001.h5"


def write_smap(earth: Earth, path: Path, day: date) -> None:
    """Write SPL3SMP: the morning and the evening overpasses of a day on the global grid of 36 km."""
    cells = _cells(earth)
    lon, lat = _centres(36, cells.row, cells.column)
    with _new_file(path, "L3_SM_P", "SPL3SMP", datetime(day.year, day.month, day.day), timedelta(days=1)) as file:
        for overpass, suffix in (("AM", ""), ("PM", "_pm")):
            seen = _in_swath(day, overpass, lat, lon)
            noise = named_rng(earth, "smap", overpass, day.toordinal()).normal(0, SMAP_NOISE, len(seen))
            value = _retrieved(earth, cells.mean(window_soil_moisture(earth, day))) + noise
            layers = {
                "EASE_row_index": cells.row, "EASE_column_index": cells.column, "longitude": lon, "latitude": lat,
                "static_water_body_fraction": cells.water, **_retrieval(earth, day, cells, value, SMAP_NOISE),
            }  # fmt: skip
            group = _new_group(file, f"Soil_Moisture_Retrieval_Data_{overpass}", (_ROWS[36], _COLUMNS[36]))
            for name, values in layers.items():
                whole = np.full((_ROWS[36], _COLUMNS[36]), _fill(name))
                whole[cells.row[seen], cells.column[seen]] = values[seen]
                _write(group, name, suffix, whole, "36 km")


def smap_s1_name(earth: Earth, day: date) -> str:
    """Return the name of a scene of SPL2SMAP_S, version 3: times of both satellites, and the middle of the scene."""
    lat, lon = _scene(earth, day)
    where = f"{abs(round(lon)):03d}{'E' if lon >= 0 else 'W'}{abs(round(lat)):02d}{'N' if lat >= 0 else 'S'}"
    radar, radiometer = _overpasses(day, lon)
    return f"SMAP_L2_SM_SP_1AIWDV_{radar:%Y%m%dT%H%M%S}_{radiometer:%Y%m%dT%H%M%S}_{where}_R19240_001.h5"


def write_smap_s1(earth: Earth, path: Path, day: date) -> None:
    """Write SPL2SMAP_S: a scene of Sentinel-1 on grids of 1 km and 3 km."""
    lat, lon = _scene(earth, day)
    radar, radiometer = _overpasses(day, lon)
    row, column = (int(index[0]) for index in _place(3, np.array([lat]), np.array([lon])))
    rng = named_rng(earth, "smap s1", day.toordinal())
    noise = {3: rng.normal(0, S1_NOISE, _S1_SHAPE) + rng.normal(0, SMAP_NOISE)}
    own = rng.normal(0, S1_NOISE_1KM, [3 * n for n in _S1_SHAPE])
    noise[1] = np.repeat(np.repeat(noise[3], 3, 0), 3, 1) + own
    rows, columns = np.indices(_S1_SHAPE)
    inside = np.abs(columns - _S1_SHAPE[1] / 2 - _S1_SLANT * (rows - _S1_SHAPE[0] / 2)) < _S1_HALF_SWATH
    with _new_file(path, "L2_SM_SP", "SPL2SMAP_S", radar, radiometer - radar) as file:
        for size in (1, 3):
            finer = 3 // size
            rows, columns = np.indices([finer * n for n in _S1_SHAPE])
            rows = rows + finer * (row - _S1_SHAPE[0] // 2)
            columns = columns + finer * (column - _S1_SHAPE[1] // 2)
            seen = np.repeat(np.repeat(inside, finer, 0), finer, 1)
            layers = _scene_layers(earth, day, size, rows, columns, noise[size])
            group = _new_group(file, f"Soil_Moisture_Retrieval_Data_{size}km", seen.shape)
            for name, values in layers.items():
                _write(group, name, f"_{size}km", np.where(seen, values, _fill(name)), f"{size} km")


def _scene_layers(
    earth: Earth, day: date, size: int, rows: Indices, columns: Indices, noise: AnyFloatArray
) -> dict[str, npt.NDArray[Any]]:
    """Return the fields of a scene by name, (y, x)."""
    lon, lat = _centres(size, rows, columns)
    cells = _sampled(earth, size, rows, columns)
    value = _retrieved(earth, cells.mean(window_soil_moisture(earth, day))) + noise.ravel()
    error = math.hypot(S1_NOISE, SMAP_NOISE, S1_NOISE_1KM if size == 1 else 0)
    found = _retrieval(earth, day, cells, value, error)
    return {
        "EASE_row_index": rows, "EASE_column_index": columns, "longitude": lon, "latitude": lat,
        **{name: values.reshape(rows.shape) for name, values in found.items()},
    }  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Cells:
    """Cells of a grid, and the pixels of the window of the island that each of them averages."""

    row: Indices
    """From north, (cell,)."""

    column: Indices
    """From west, (cell,)."""

    pixel: Indices
    """Land pixels of the flattened window, cell after cell, (pixel,)."""

    cell: Indices
    """Cell of each of these pixels, (pixel,)."""

    water: AnyFloatArray
    """Share of the cell that is no land, (cell,)."""

    def mean(self, values: AnyFloatArray) -> AnyFloatArray:
        """Return the mean of a field of the window over each cell, (cell,); NaN where there is no land."""
        n = len(self.row)
        count = np.bincount(self.cell, minlength=n)
        sums = np.bincount(self.cell, values.ravel()[self.pixel], minlength=n)
        return np.asarray(np.divide(sums, count, out=np.full(n, np.nan), where=count > 0))


@lru_cache(maxsize=1)
def _cells(earth: Earth) -> _Cells:
    """Return the cells of 36 km with land in them."""
    static = static_fields(earth)
    lat = np.broadcast_to(static.lat[:, np.newaxis], static.lon.shape)
    row, column = _place(36, lat[static.land], static.lon[static.land])
    found, cell = np.unique(row * _COLUMNS[36] + column, return_inverse=True)
    whole = (2 * -_LEFT / _COLUMNS[36] / MODIS_SINUSOIDAL_1KM.pixel[0]) ** 2  # both grids keep areas
    water = np.clip(1 - np.bincount(cell) / whole, 0, 1)
    return _Cells(found // _COLUMNS[36], found % _COLUMNS[36], np.flatnonzero(static.land), cell, water)


def _sampled(earth: Earth, size: int, rows: Indices, columns: Indices) -> _Cells:
    """Return cells of 1 km, each with its central pixel, or of 3 km, each with the nine of its 1 km cells."""
    inner = np.indices((size, size)).reshape(2, -1)  # rows and columns of 1 km cells in a cell
    lon, lat = _centres(1, size * rows.reshape(-1, 1) + inner[0], size * columns.reshape(-1, 1) + inner[1])
    x, y = transformer_from_lonlat(MODIS_SINUSOIDAL_1KM.crs).transform(lon, lat)
    column, row = (np.floor(axis).astype(np.intp) for axis in ~MODIS_SINUSOIDAL_1KM.geobox(earth.tile).affine @ (x, y))
    static = static_fields(earth)
    row, column = row - static.rows.start, column - static.columns.start
    height, width = static.land.shape
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    pixel = np.where(inside, row * width + column, 0)
    land = inside & static.land.ravel()[pixel]
    cell = np.broadcast_to(np.arange(rows.size)[:, np.newaxis], land.shape)
    return _Cells(rows.ravel(), columns.ravel(), pixel[land], cell[land], 1 - land.mean(axis=1))


def _retrieved(earth: Earth, truth: AnyFloatArray) -> AnyFloatArray:
    """Return the soil moisture that the radiometer retrieves, but for random errors, m3 m-3."""
    static = static_fields(earth)
    middle = static.base[static.land].mean()
    return np.asarray(middle + SMAP_BIAS + SMAP_SCALE * (truth - middle))


def _retrieval(
    earth: Earth, day: date, cells: _Cells, value: AnyFloatArray, error: float
) -> dict[str, npt.NDArray[np.floating[Any] | np.integer[Any]]]:
    """Return soil moisture with its error, quality, and the fields that the quality depends on, (cell,)."""
    static = static_fields(earth)
    kelvin = cells.mean(season_temperature(day) - LAPSE * static.elevation + 0.8 * temperature_anomaly(earth, day))
    plants = _VEGETATION * (0.6 + 0.4 * summer(day)) * cells.mean(static.vegetation)
    frozen, dense = kelvin < FREEZING, plants > _VEGETATION_RECOMMENDED
    attempted = (cells.water < _WATER_RETRIEVED) & ~frozen
    doubtful = (cells.water > _WATER_RECOMMENDED) | dense
    return {
        "soil_moisture": np.where(attempted, np.clip(value, 0.02, 0.5), _NODATA),
        "soil_moisture_error": np.where(attempted, error, _NODATA),
        "retrieval_qual_flag": np.where(attempted, np.where(doubtful, _NOT_RECOMMENDED, 0), _NOT_ATTEMPTED),
        "surface_flag": _WATER * (cells.water > _WATER_RECOMMENDED) + _FROZEN * frozen + _DENSE * dense,
        "surface_temperature": np.nan_to_num(kelvin, nan=_NODATA),
        "vegetation_water_content": np.nan_to_num(plants, nan=_NODATA),
    }


def _in_swath(day: date, overpass: str, lat: AnyFloatArray, lon: AnyFloatArray) -> npt.NDArray[np.bool_]:
    """Return whether SMAP sees points: its tracks lie an orbit apart, and move from day to day until they repeat."""
    spacing = 360 / _ORBITS
    slant = 0.2 if overpass == "AM" else -0.2  # degrees of longitude a degree of latitude: it flies west
    track = spacing * (_ORBITS * day.toordinal() + (0.5 if overpass == "PM" else 0))
    off = (lon - slant * lat - track + spacing / 2) % spacing - spacing / 2
    return np.asarray(np.abs(off) * np.cos(np.radians(lat)) * _KM_PER_DEGREE < _SWATH / 2)


def _scene(earth: Earth, day: date) -> tuple[float, float]:
    """Return degrees north and east of the middle of the scene of a day: west of the island's, at it, or east of it."""
    lat, lon, radius = island(earth)
    return lat, lon + (day.toordinal() % 3 - 1) * _S1_SHIFT * radius / math.cos(math.radians(lat))


def _overpasses(day: date, lon: float) -> tuple[datetime, datetime]:
    """Return when Sentinel-1 and SMAP see a scene: both at about six in the morning, local solar time."""
    six = datetime(day.year, day.month, day.day) + timedelta(hours=(6 - lon / 15) % 24)
    radar = six.replace(minute=10 + day.toordinal() % 7, second=day.toordinal() % 60, microsecond=0)
    return radar, radar + timedelta(minutes=30)


def _place(size: int, lat: AnyFloatArray, lon: AnyFloatArray) -> tuple[Indices, Indices]:
    """Return row and column of the cells of a size in km that hold points."""
    x, y = transformer_from_lonlat(_CRS).transform(lon, lat)
    cell = 2 * -_LEFT / _COLUMNS[size]
    return np.floor((_TOP - y) / cell).astype(np.intp), np.floor((x - _LEFT) / cell).astype(np.intp)


def _centres(size: int, row: Indices, column: Indices) -> tuple[AnyFloatArray, AnyFloatArray]:
    """Return degrees east and north of the centres of cells."""
    cell = 2 * -_LEFT / _COLUMNS[size]
    lon, lat = transformer_to_lonlat(_CRS).transform(_LEFT + cell * (column + 0.5), _TOP - cell * (row + 0.5))
    return lon, lat


def _fill(name: str) -> float:
    return _NO_FLAG if name.endswith(("_index", "_flag")) else _NODATA


_ATTRIBUTES: dict[str, Mapping[str, Any]] = {
    "EASE_row_index": {"long_name": "The row index of the {} EASE grid cell that contains the associated data."},
    "EASE_column_index": {"long_name": "The column index of the {} EASE grid cell that contains the associated data."},
    "longitude": {"long_name": "Longitude of the center of the Earth based grid cell.", "units": "degrees_east"},
    "latitude": {"long_name": "Latitude of the center of the Earth based grid cell.", "units": "degrees_north"},
    "static_water_body_fraction": {"long_name": "The fraction of the {} grid cell that is covered by static water."},
    "soil_moisture": {"long_name": "Representative soil moisture measurement for the Earth based grid cell.",
                      "units": _UNIT, "valid_min": np.float32(0.02), "valid_max": np.float32(0.5)},
    "soil_moisture_error": {"long_name": "Net uncertainty measure of soil moisture.", "units": _UNIT},
    "retrieval_qual_flag": {"long_name": "Bit flags that record the quality of the retrieval.",
                            "flag_masks": "1s, 2s, 4s, 8s", "flag_meanings": _MEANINGS},
    "surface_flag": {"long_name": "Bit flags that record ambient surface conditions within each grid cell"},
    "surface_temperature": {"long_name": "Temperature at land surface.", "units": "Kelvins"},
    "vegetation_water_content": {"long_name": "Representative measure of water in the vegetation within the {} grid "
                                 "cell.", "units": "kg/m**2"},
}  # fmt: skip


def _write(group: Any, name: str, suffix: str, values: npt.NDArray[Any], size: str) -> None:
    """Write a field into a group."""
    fill = _fill(name)
    kind = "u2" if fill == _NO_FLAG else "f4"
    variable = group.createVariable(f"{name}{suffix}", kind, ("y", "x"), fill_value=fill, zlib=True, complevel=1)
    for key, value in _ATTRIBUTES[name].items():
        variable.setncattr(key, value.format(size) if isinstance(value, str) else value)
    variable[:] = values.astype(kind)


def _new_group(file: Any, name: str, shape: tuple[int, ...]) -> Any:
    group = file.createGroup(name)
    for axis, length in zip("yx", shape, strict=True):
        group.createDimension(axis, length)
    return group


def _new_file(path: Path, short: str, product: str, begin: datetime, length: timedelta) -> Any:
    """Create an HDF5 file with the metadata of its product and time of measurement."""
    import netCDF4

    file = netCDF4.Dataset(path, "w", format="NETCDF4")
    file.createGroup("Metadata/DatasetIdentification").setncatts({
        "SMAPShortName": short, "shortName": product, "abstract": "Simulated by stac_sm",
    })  # fmt: skip
    ends = {"Beginning": begin, "Ending": begin + length - timedelta(milliseconds=1)}
    stamps = {f"range{end}DateTime": time.isoformat(timespec="milliseconds") + "Z" for end, time in ends.items()}
    file.createGroup("Metadata/Extent").setncatts(stamps)
    return file
