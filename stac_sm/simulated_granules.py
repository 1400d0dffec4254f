"""What data providers would make of the simulated Earth, in their own formats.

One writer a provider; each takes an Earth, a path and what tells one granule of the provider from the next (a day, a
month, a tile). Writers leave no time of creation behind: the same Earth gives the same bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stac_sm.grid import MODIS_SINUSOIDAL_1KM, SPHERE_RADIUS
from stac_sm.period import DAY, Period, utc
from stac_sm.simulated_earth import (
    COMPOSITE_CENTRE,
    FREEZING,
    SM_MAX,
    SM_MIN,
    Earth,
    Floats,
    daily_at,
    daily_storms,
    elevation,
    fields,
    generator,
    on_tile,
    pixel_centres,
    summer,
    surface,
    true_soil_moisture,
    window_soil_moisture,
    window_warmth,
)

LST_FILL, LST_SCALE = 0, 0.01
LAI_FILL, LAI_SCALE = 255, 0.1
SM_NODATA = -9999.0
_DEFLATE = 4
_SM_STEP, _K_STEP = 2.0**-13, 2.0**-5  # values on a power-of-two step compress well and stay exact in float32
_DEM_SIZE = 1200  # rows of a tile of 3 arc seconds


def write_lst(earth: Earth, path: Path, day: date) -> None:
    """Write GLASS06A01, daily land surface temperature at 1 km: warmer when drier, colder with height, gap-free."""
    static = fields(earth)
    noise = generator(earth, "lst", day.toordinal()).normal(0, 0.7, static.land.shape)
    drying = 0.6 + 0.4 * summer(day)  # evaporation cools most when the sun is strong
    kelvin = (
        _season_temperature(day) - 0.0065 * static.elevation - 1.5 * static.vegetation + window_warmth(earth, day)
        - 45 * drying * (window_soil_moisture(earth, day) - 0.25) + noise
    )  # fmt: skip
    raw = np.nan_to_num(on_tile(static, kelvin / LST_SCALE), nan=LST_FILL).round().astype(np.uint16)
    attributes = {"long_name": "Land Surface Temperature", "units": "K", "valid_range": [20000, 35000]}
    _write_hdf_eos(path, earth.tile, "LST", raw, LST_FILL, LST_SCALE, attributes)


def write_lai(earth: Earth, path: Path, start: date) -> None:
    """Write GLASS01E01, 8-day leaf area index at 500 m."""
    static = fields(earth)
    season = 0.6 + 0.4 * summer(start + COMPOSITE_CENTRE - 15 * DAY)
    fine = np.repeat(np.repeat(on_tile(static, 0.3 + 4.5 * static.vegetation * season), 2, 0), 2, 1)
    fine = fine * _lai_texture(earth)
    raw = np.nan_to_num(fine / LAI_SCALE, nan=LAI_FILL).round().astype(np.uint8)
    attributes = {"long_name": "Leaf Area Index", "units": "m^2/m^2", "valid_range": [0, 100]}
    _write_hdf_eos(path, earth.tile, "LAI", raw, LAI_FILL, LAI_SCALE, attributes)


@lru_cache(maxsize=1)
def _lai_texture(earth: Earth) -> Floats:
    """Factor about 1 of each 500 m pixel."""
    shape = tuple(2 * n for n in MODIS_SINUSOIDAL_1KM.tile_shape)
    return 1 + 0.1 * generator(earth, "leaves").standard_normal(shape, np.float32).clip(-3, 3)


def _season_temperature(day: date) -> float:
    """Mean temperature at the sea, K."""
    return 289 + 11 * summer(day)


def _write_hdf_eos(
    path: Path, tile: str, name: str, raw: npt.NDArray[Any], fill: int, scale: float, attributes: dict[str, Any]
) -> None:
    """Write one field on a sinusoidal tile as HDF4-EOS."""
    from pyhdf.SD import SD, SDC

    types = {np.dtype(np.uint8): SDC.UINT8, np.dtype(np.uint16): SDC.UINT16}
    grid = f"GLASS_{name}"
    file = SD(str(path), SDC.WRITE | SDC.CREATE | SDC.TRUNC)
    file.attr("HDFEOSVersion").set(SDC.CHAR, "HDFEOS_V2.17")
    file.attr("StructMetadata.0").set(SDC.CHAR, _struct_metadata(tile, grid, name, raw))
    field = file.create(name, types[raw.dtype], raw.shape)
    field.dim(0).setname(f"YDim:{grid}")
    field.dim(1).setname(f"XDim:{grid}")
    field.setcompress(SDC.COMP_DEFLATE, _DEFLATE)
    field[:] = raw
    field.attr("_FillValue").set(types[raw.dtype], fill)
    field.attr("scale_factor").set(SDC.FLOAT64, scale)
    field.attr("add_offset").set(SDC.FLOAT64, 0.0)
    for key, value in attributes.items():
        field.attr(key).set(SDC.CHAR if isinstance(value, str) else types[raw.dtype], value)
    field.endaccess()
    file.end()


def _struct_metadata(tile: str, grid: str, name: str, raw: npt.NDArray[Any]) -> str:
    """Geolocation in the words of HDF-EOS, laid out as in the MODIS land products."""
    bounds = MODIS_SINUSOIDAL_1KM.geobox(tile).boundingbox
    rows, columns = raw.shape
    return f"""GROUP=SwathStructure
END_GROUP=SwathStructure
GROUP=GridStructure
\tGROUP=GRID_1
\t\tGridName="{grid}"
\t\tXDim={columns}
\t\tYDim={rows}
\t\tUpperLeftPointMtrs=({bounds.left:.6f},{bounds.top:.6f})
\t\tLowerRightMtrs=({bounds.right:.6f},{bounds.bottom:.6f})
\t\tProjection=GCTP_SNSOID
\t\tProjParams=({SPHERE_RADIUS:.6f},0,0,0,0,0,0,0,86400,0,0,0,0)
\t\tSphereCode=-1
\t\tGridOrigin=HDFE_GD_UL
\t\tGROUP=Dimension
\t\tEND_GROUP=Dimension
\t\tGROUP=DataField
\t\t\tOBJECT=DataField_1
\t\t\t\tDataFieldName="{name}"
\t\t\t\tDataType=DFNT_{raw.dtype.name.upper()}
\t\t\t\tDimList=("YDim","XDim")
\t\t\tEND_OBJECT=DataField_1
\t\tEND_GROUP=DataField
\t\tGROUP=MergedFields
\t\tEND_GROUP=MergedFields
\tEND_GROUP=GRID_1
END_GROUP=GridStructure
GROUP=PointStructure
END_GROUP=PointStructure
END
"""


@dataclass(frozen=True, eq=False)
class Coarse:
    """Land cells of a regular grid in degrees around the tile, and the truth that they average."""

    lat: Floats
    """Centres, descending, (y,)."""

    lon: Floats
    """Centres, ascending, (x,)."""

    land: npt.NDArray[np.bool_]
    """Cells of which land makes up half, (y, x)."""

    elevation: Floats
    """Mean elevation, m, (cell,)."""

    vegetation: Floats
    """Mean vegetation, 0 to 1, (cell,)."""

    truth: Floats
    """Mean true soil moisture of each day of the period, m3 m-3, (day, cell)."""

    @property
    def points(self) -> tuple[Floats, Floats]:
        """Degrees north and east of the land cells, (cell,) each."""
        y, x = np.nonzero(self.land)
        return self.lat[y], self.lon[x]

    def grid(self, values: npt.NDArray[Any], fill: float) -> npt.NDArray[Any]:
        """Values of the land cells (..., cell) on the whole grid (..., y, x)."""
        full = np.full((*values.shape[:-1], *self.land.shape), fill, values.dtype)
        full[..., self.land] = values
        return full


@lru_cache(maxsize=4)
def coarse(earth: Earth, spacing: float, shift: float) -> Coarse:
    """Means over cells of a size in degrees, whose centres lie on multiples of it plus a shift."""
    lat, lon = _axes(earth, spacing, shift)
    static = fields(earth)
    y = np.rint((lat[0] - static.lat) / spacing).astype(np.intp)[:, np.newaxis]
    x = np.rint((static.lon - lon[0]) / spacing).astype(np.intp)
    cell, cells = (y * len(lon) + x)[static.land], len(lat) * len(lon)
    count = np.bincount(cell, minlength=cells)
    whole = (spacing * math.pi / 180 * SPHERE_RADIUS / MODIS_SINUSOIDAL_1KM.pixel[0]) ** 2 * np.cos(np.radians(lat))
    land = count.reshape(len(lat), len(lon)) >= whole[:, np.newaxis] / 2

    def mean(values: Floats) -> Floats:
        sums = np.bincount(cell, values[static.land], minlength=cells)
        return np.asarray(sums[land.ravel()] / count[land.ravel()])

    rows, columns = np.nonzero(land)
    wetness = daily_at(earth, "wetness", lat[rows], lon[columns])
    storms = daily_storms(earth) @ np.stack([mean(storm) for storm in static.storms])
    truth = np.clip(mean(static.base) + mean(static.amplitude) * wetness + storms, SM_MIN, SM_MAX)
    return Coarse(lat, lon, land, mean(static.elevation), mean(static.vegetation), truth)


def _axes(earth: Earth, spacing: float, shift: float) -> tuple[Floats, Floats]:
    """Cell centres that cover the tile with a margin of at least 0.3 degrees, north to south and west to east."""
    lat, lon = pixel_centres(earth.tile)
    steps = [
        np.arange(math.floor((low - 0.3 - shift) / spacing), math.ceil((high + 0.3 - shift) / spacing) + 1)
        for low, high in ((lat.min(), lat.max()), (lon.min(), lon.max()))
    ]
    return (steps[0][::-1] * spacing + shift).round(6), (steps[1] * spacing + shift).round(6)


def write_era5_land(earth: Earth, path: Path, month: Period) -> None:
    """Write a month of ERA5-Land (0.1 degrees, 6-hourly) as the CDS delivers NetCDF since 2024."""
    cells = coarse(earth, 0.1, 0.0)
    first, hours = (month.start - earth.period.start).days, np.arange(0, 24 * len(month), 6)
    values = {
        "swvl1": (_swvl1(earth, cells), _SM_STEP, "Volumetric soil water layer 1", "m**3 m**-3"),
        "stl1": (_stl1(earth, cells), _K_STEP, "Soil temperature level 1", "K"),
    }
    with _new_netcdf(path) as file:
        _era5_axes(file, cells, [int(utc(month.start).timestamp()) + 3600 * int(h) for h in hours])
        for name, (daily, step, long_name, units) in values.items():
            at = (first + hours / 24 - 0.5).clip(0, len(daily) - 1)  # a daily value belongs to noon
            series = _between_days(daily, at)
            if name == "stl1":
                series = series + 2 * np.sin((hours % 24 - 9) * math.pi / 12)[:, np.newaxis]
            variable = file.createVariable(
                name, "f4", ("valid_time", "latitude", "longitude"), fill_value=np.nan, zlib=True, complevel=1,
                chunksizes=(min(124, len(hours)), len(cells.lat), len(cells.lon)),
            )  # fmt: skip
            variable.setncatts({"long_name": long_name, "units": units, "standard_name": "unknown"})
            variable.setncatts({"GRIB_shortName": name, "GRIB_gridType": "regular_ll", "GRIB_stepType": "instant"})
            variable.setncattr("coordinates", "number valid_time latitude longitude expver")
            variable[:] = cells.grid(((series / step).round() * step).astype(np.float32), np.nan)


def _between_days(daily: Floats, at: Floats) -> Floats:
    """Linear interpolation along the first axis."""
    low = np.floor(at).astype(np.intp)
    high = np.minimum(low + 1, len(daily) - 1)
    weight = (at - low)[:, np.newaxis]
    return (1 - weight) * daily[low] + weight * daily[high]


@lru_cache(maxsize=1)
def _swvl1(earth: Earth, cells: Coarse) -> Floats:
    """Daily swvl1 of ERA5-Land: wet, damped, with an error that lasts days and one that stays, m3 m-3."""
    lat, lon = cells.points
    drift = surface(earth, "era5", 0.4, cells.lat, cells.lon)[cells.land] * earth.era5_drift
    error = earth.era5_noise * daily_at(earth, "era5_error", lat, lon) + drift
    mean = cells.truth.mean()
    return np.clip(mean + earth.era5_bias + earth.era5_scale * (cells.truth - mean) + error, 0.01, 0.7)


@lru_cache(maxsize=1)
def _stl1(earth: Earth, cells: Coarse) -> Floats:
    """Daily stl1 of ERA5-Land, K."""
    season = np.array([_season_temperature(day) for day in earth.period.days])[:, np.newaxis]
    return season - 0.0065 * cells.elevation + 0.8 * daily_at(earth, "warmth", *cells.points)


def _era5_axes(file: Any, cells: Coarse, seconds: list[int]) -> None:
    """Coordinates and global attributes of a CDS file."""
    file.setncatts({
        "GRIB_centre": "ecmf", "GRIB_subCentre": 0, "Conventions": "CF-1.7",
        "institution": "European Centre for Medium-Range Weather Forecasts", "history": "simulated by stac_sm",
    })  # fmt: skip
    axes = {
        "valid_time": (np.array(seconds), "seconds since 1970-01-01", "time"),
        "latitude": (cells.lat, "degrees_north", "latitude"),
        "longitude": (cells.lon, "degrees_east", "longitude"),
    }
    number = file.createVariable("number", "i8", ())
    number.setncatts({"long_name": "ensemble member numerical id", "units": "1", "standard_name": "realization"})
    number[...] = 0
    for name, (values, units, long_name) in axes.items():
        file.createDimension(name, len(values))
        variable = file.createVariable(name, values.dtype, (name,))
        variable.setncatts({"units": units, "long_name": long_name, "standard_name": long_name})
        variable[:] = values
    file["valid_time"].calendar = "proleptic_gregorian"
    file["latitude"].stored_direction = "decreasing"
    file.createVariable("expver", str, ("valid_time",))[:] = np.array(["0001"] * len(seconds), object)


def write_cci(earth: Earth, path: Path, day: date) -> None:
    """Write a day of ESA CCI soil moisture COMBINED v08.1 (0.25 degrees).

    The real product is global, 720 x 1440 cells; here it is cut to the surroundings of the tile, for 730 global
    files would take an hour.
    """
    cells = coarse(earth, 0.25, 0.125)
    value, flag = _cci(earth, cells, day)
    seen = np.isfinite(value)
    noon = (day - date(1970, 1, 1)).days + 0.5
    layers: dict[str, tuple[str, float, Floats, dict[str, Any]]] = {
        "sm": ("f4", SM_NODATA, value, {"units": "m3 m-3", "long_name": "Volumetric Soil Moisture"}),
        "sm_uncertainty": (
            "f4", SM_NODATA, np.where(seen, earth.cci_noise, np.nan),
            {"units": "m3 m-3", "long_name": "Volumetric Soil Moisture Uncertainty"},
        ),
        "flag": ("i1", 127, flag, {"long_name": "Flag", **_FLAGS}),
        "freqbandID": ("i2", 0, np.where(seen, 2, 0), {"long_name": "Frequency Band Identification"}),
        "dnflag": ("i1", 0, np.where(seen, 1, 0), {"long_name": "Day / Night Flag"}),
        "mode": ("i1", 0, np.where(seen, 2, 0), {"long_name": "Satellite Mode"}),
        "sensor": ("i4", 0, np.where(seen, 64, 0), {"long_name": "Sensor"}),
        "t0": (
            "f8", SM_NODATA, np.where(seen, noon - 0.25, np.nan),
            {"units": "days since 1970-01-01 00:00:00 UTC", "long_name": "Observation Timestamp"},
        ),
    }  # fmt: skip
    with _new_netcdf(path) as file:
        _cci_axes(file, cells, noon - 0.5)
        for name, (kind, fill, values, attributes) in layers.items():
            variable = file.createVariable(name, kind, ("time", "lat", "lon"), fill_value=fill, zlib=True, complevel=1)
            variable.setncatts(attributes)
            variable[0] = cells.grid(np.nan_to_num(values, nan=fill).astype(kind), fill)


_FLAGS = {
    "flag_values": np.array([0, 1, 2, 127], np.int8),
    "flag_meanings": "no_data_inconsistency_detected snow_coverage_or_temperature_below_zero dense_vegetation nan",
}


def _cci(earth: Earth, cells: Coarse, day: date) -> tuple[Floats, npt.NDArray[np.int8]]:
    """Soil moisture (m3 m-3, NaN where flagged or not seen) and flag of the land cells of a day, (cell,)."""
    rng = generator(earth, "cci", day.toordinal())
    lat, lon = cells.points
    now = (day - earth.period.start).days
    mean = cells.truth.mean()
    value = mean + earth.cci_scale * (cells.truth[now] - mean) + rng.normal(0, earth.cci_noise, len(lat))
    value = (value.clip(0, 1) / _SM_STEP).round() * _SM_STEP
    frozen = _stl1(earth, coarse(earth, 0.25, 0.125))[now] < FREEZING
    dense = cells.vegetation * (0.6 + 0.4 * summer(day)) > 0.65
    flag = np.where(frozen, 1, np.where(dense, 2, 0)).astype(np.int8)
    swath = (lon + 0.35 * lat + rng.uniform(0, 10)) % 10 < 10 * earth.cci_gap  # stripes between orbits
    flag[swath] = 127
    return np.where(flag == 0, value, np.nan), flag


def _cci_axes(file: Any, cells: Coarse, days: float) -> None:
    """Coordinates and global attributes of a CCI file."""
    file.setncatts({
        "title": "ESA CCI Surface Soil Moisture COMBINED active+passive Product (simulated by stac_sm)",
        "Conventions": "CF-1.9", "product_version": "08.1", "spatial_resolution": "0.25 degree",
    })  # fmt: skip
    axes = {
        "time": (np.array([days]), "days since 1970-01-01 00:00:00 UTC", "time"),
        "lat": (cells.lat, "degrees_north", "latitude"),
        "lon": (cells.lon, "degrees_east", "longitude"),
    }
    for name, (values, units, long_name) in axes.items():
        file.createDimension(name, None if name == "time" else len(values))
        variable = file.createVariable(name, "f8", (name,))
        variable.setncatts({"units": units, "standard_name": long_name})
        variable[:] = values


def _new_netcdf(path: Path) -> Any:
    import netCDF4

    return netCDF4.Dataset(path, "w", format="NETCDF4")


def dem_tiles(earth: Earth) -> list[tuple[int, int]]:
    """South-west corners, degrees north and east, of the 1-degree tiles with land in them."""
    static = fields(earth)
    lat = np.broadcast_to(static.lat[:, np.newaxis], static.lon.shape)[static.land]
    corners = np.unique(np.floor(np.stack([lat, static.lon[static.land]])).astype(int), axis=1)
    return [(int(south), int(west)) for south, west in corners.T]


def dem_name(corner: tuple[int, int]) -> str:
    """File name of a Copernicus GLO-90 tile."""
    south, west = corner
    north_south = f"{'N' if south >= 0 else 'S'}{abs(south):02d}_00"
    return f"Copernicus_DSM_COG_30_{north_south}_{'E' if west >= 0 else 'W'}{abs(west):03d}_00_DEM.tif"


def write_dem(earth: Earth, path: Path, corner: tuple[int, int]) -> None:
    """Write a tile of Copernicus GLO-90: 3 arc seconds, wider pixels towards the poles, centres on whole degrees."""
    import rasterio
    from affine import Affine

    south, west = corner
    columns = int(_DEM_SIZE / _widening(south))
    dx, dy = 1 / columns, 1 / _DEM_SIZE
    lat, lon = south + 1 - np.arange(_DEM_SIZE) * dy, west + np.arange(columns) * dx
    height = (elevation(earth, lat, lon, fine=True) * 8).round() / 8  # real heights do not compress; these need not cost
    profile = {
        "driver": "GTiff", "dtype": "float32", "count": 1, "height": _DEM_SIZE, "width": columns, "crs": "EPSG:4326",
        "transform": Affine(dx, 0, west - dx / 2, 0, -dy, south + 1 + dy / 2), "compress": "deflate", "zlevel": 1,
        "predictor": 3, "tiled": True, "blockxsize": 512, "blockysize": 512,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.update_tags(AREA_OR_POINT="Point")
        file.write(height.astype(np.float32), 1)


def _widening(south: int) -> float:
    """How many times wider than high the pixels of a tile are, in degrees."""
    distance = max(south, -south - 1)
    limits = [(50, 1.0), (60, 1.5), (70, 2.0), (80, 3.0), (85, 5.0), (90, 10.0)]
    return next(factor for limit, factor in limits if distance < limit)


def write_truth(earth: Earth, path: Path, day: date) -> None:
    """Write true soil moisture of a day on the tile as GeoTIFF, nodata -9999."""
    import rasterio

    geobox = MODIS_SINUSOIDAL_1KM.geobox(earth.tile)
    rows, columns = geobox.shape
    profile = {
        "driver": "GTiff", "dtype": "float32", "count": 1, "height": rows, "width": columns, "nodata": SM_NODATA,
        "crs": str(geobox.crs), "transform": geobox.affine, "compress": "deflate", "predictor": 3,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.nan_to_num(true_soil_moisture(earth, day), nan=SM_NODATA), 1)


