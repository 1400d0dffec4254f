"""Write the GLASS products of the simulated Earth (temperature, leaf area index, albedo), and the truth itself.

Each writer takes an Earth, a path and the day or tile of the granule. Writers leave no time of creation behind: the
same Earth gives the same bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import ONE_DAY
from stac_sm.core.projections import SPHERE_RADIUS
from stac_sm.simulate.earth import COMPOSITE_CENTRE, AnyFloatArray, Earth, named_rng, summer, surface
from stac_sm.simulate.truth import (
    LAPSE,
    StaticFields,
    place_on_tile,
    season_temperature,
    static_fields,
    temperature_anomaly,
    true_soil_moisture,
    window_soil_moisture,
)

LST_FILL, LST_SCALE = 0, 0.01
LAI_FILL, LAI_SCALE = 255, 0.1
ALBEDO_FILL, ALBEDO_SCALE = -1, 0.0001
SKY = {"BSA": 1.0, "WSA": 1.06}  # diffuse light makes most surfaces a little brighter
SM_NODATA = -9999.0
_DEFLATE = 4
_ALBEDO_STEP = 100  # stored units: 0.01


def write_lst(earth: Earth, path: Path, day: date) -> None:
    """Write GLASS06A01, daily land surface temperature at 1 km: warmer when drier, colder with height, gap-free."""
    static = static_fields(earth)
    noise = named_rng(earth, "lst", day.toordinal()).normal(0, 0.7, static.land.shape)
    kelvin = skin_temperature(earth, day) + noise
    raw = np.nan_to_num(place_on_tile(static, kelvin / LST_SCALE), nan=LST_FILL).round().astype(np.uint16)
    attributes = {"long_name": "Land Surface Temperature", "units": "K", "valid_range": [20000, 35000]}
    write_hdf_eos(path, earth.tile, "GLASS_LST", [HdfField("LST", raw, LST_FILL, LST_SCALE, attributes)])


def skin_temperature(earth: Earth, day: date) -> AnyFloatArray:
    """Return the mean temperature of the surface of a day on the window of the island, K, (y, x)."""
    static = static_fields(earth)
    drying = 0.6 + 0.4 * summer(day)  # evaporation cools most when the sun is strong
    return (
        season_temperature(day) - LAPSE * static.elevation - 1.5 * static.vegetation + temperature_anomaly(earth, day)
        - 45 * drying * (window_soil_moisture(earth, day) - 0.25)
    )  # fmt: skip


def write_lai(earth: Earth, path: Path, start: date) -> None:
    """Write GLASS01E01, 8-day leaf area index at 500 m."""
    coarser = place_on_tile(static_fields(earth), leaf_area(earth, start))
    fine = np.repeat(np.repeat(coarser, 2, 0), 2, 1) * _lai_texture(earth)
    raw = np.nan_to_num(fine / LAI_SCALE, nan=LAI_FILL).round().astype(np.uint8)
    attributes = {"long_name": "Leaf Area Index", "units": "m^2/m^2", "valid_range": [0, 100]}
    write_hdf_eos(path, earth.tile, "GLASS_LAI", [HdfField("LAI", raw, LAI_FILL, LAI_SCALE, attributes)])


def leaf_area(earth: Earth, start: date) -> AnyFloatArray:
    """Return the leaf area index of an 8-day composite on the window of the island, (y, x)."""
    season = 0.6 + 0.4 * summer(start + COMPOSITE_CENTRE - 15 * ONE_DAY)
    return 0.3 + 4.5 * static_fields(earth).vegetation * season


@lru_cache(maxsize=1)
def _lai_texture(earth: Earth) -> AnyFloatArray:
    """Return a factor about 1 for each 500 m pixel."""
    shape = tuple(2 * n for n in MODIS_SINUSOIDAL_1KM.tile_shape)
    return 1 + 0.1 * named_rng(earth, "leaves").standard_normal(shape, np.float32).clip(-3, 3)


def write_albedo(earth: Earth, path: Path, start: date) -> None:
    """Write GLASS02A06, 8-day albedo at 1 km: soil is darker when wet, plants are dark in the visible alone."""
    static = static_fields(earth)
    noise = named_rng(earth, "albedo", start.toordinal()).normal(0, 0.01, (2, *static.land.shape))
    visible, infrared = reflected(earth, start + COMPOSITE_CENTRE)
    visible, infrared = visible + noise[0], infrared + noise[1]
    black = {"VIS": visible, "NIR": infrared, "shortwave": 0.5 * (visible + infrared)}
    bands = [_albedo(static, f"ABD_{s}_{b}", SKY[s] * black[b]) for b in black for s in SKY]
    write_hdf_eos(path, earth.tile, "GLASS_albedo", bands)


def reflected(earth: Earth, day: date) -> tuple[AnyFloatArray, AnyFloatArray]:
    """Return black-sky albedo of a day on the window of the island, visible and near infrared, (y, x)."""
    moisture = window_soil_moisture(earth, min(day, earth.period.end - ONE_DAY))
    soil = _soil_colour(earth) * (0.15 + 0.31 * np.exp(-12.7 * moisture))  # Gascoin et al. 2009, JGR 114, D20101
    cover = static_fields(earth).vegetation * (0.6 + 0.4 * summer(day - 15 * ONE_DAY))
    return (1 - cover) * 0.7 * soil + cover * 0.04, (1 - cover) * 1.3 * soil + cover * 0.32


@lru_cache(maxsize=1)
def _soil_colour(earth: Earth) -> AnyFloatArray:
    """Return a factor about 1 of the albedo of each pixel's soil: soils differ more in colour than water changes it."""
    static = static_fields(earth)
    return 1 + 0.3 * np.tanh(surface(earth, "colour", 0.2, static.lat, static.lon))


def _albedo(static: StaticFields, name: str, values: AnyFloatArray) -> HdfField:
    """Build the field of an albedo; a coarse step compresses well."""
    steps = np.clip(values / (_ALBEDO_STEP * ALBEDO_SCALE), 1, None).round() * _ALBEDO_STEP
    raw = np.nan_to_num(place_on_tile(static, steps), nan=ALBEDO_FILL).round().astype(np.int16)
    attributes = {"long_name": name, "units": "none", "valid_range": [0, 10000]}
    return HdfField(name, raw, ALBEDO_FILL, ALBEDO_SCALE, attributes)


@dataclass(frozen=True, eq=False)
class HdfField:
    """One field of an HDF4-EOS file."""

    name: str
    """Its name."""

    raw: npt.NDArray[Any]
    """Stored values, (y, x)."""

    fill: int | None
    """Stored value of pixels without data; None if the file names none."""

    scale: float | None
    """Physical value = stored value x scale + offset; None if the file names none."""

    attributes: dict[str, Any]
    """Its other attributes."""

    offset: float = 0.0
    """See ``scale``."""


def write_hdf_eos(path: Path, tile: str, grid: str, written: Sequence[HdfField]) -> None:
    """Write fields on a sinusoidal tile as HDF4-EOS; changes the working folder of the process meanwhile."""
    from pyhdf.SD import SD, SDC

    # HDF4 keeps the path that it is given inside the file: only a bare name is the same in every folder
    with TemporaryDirectory(prefix=".", dir=path.parent) as folder:
        with contextlib.chdir(folder):
            file = SD(grid, SDC.WRITE | SDC.CREATE | SDC.TRUNC)
        file.attr("HDFEOSVersion").set(SDC.CHAR, "HDFEOS_V2.17")
        file.attr("StructMetadata.0").set(SDC.CHAR, _struct_metadata(tile, grid, written))
        for field in written:
            _write_field(file, grid, field)
        file.end()
        Path(folder, grid).replace(path)


def _write_field(file: Any, grid: str, field: HdfField) -> None:
    """Write one field into an open file."""
    from pyhdf.SD import SDC

    kind = {"uint8": SDC.UINT8, "uint16": SDC.UINT16, "int16": SDC.INT16}[field.raw.dtype.name]
    data = file.create(field.name, kind, field.raw.shape)
    data.dim(0).setname(f"YDim:{grid}")
    data.dim(1).setname(f"XDim:{grid}")
    data.setcompress(SDC.COMP_DEFLATE, _DEFLATE)
    data[:] = field.raw
    for key, value in {"_FillValue": field.fill, **field.attributes}.items():
        if value is not None:
            data.attr(key).set(SDC.CHAR if isinstance(value, str) else kind, value)
    for key, number in {"scale_factor": field.scale, "add_offset": field.offset}.items():
        if field.scale is not None:
            data.attr(key).set(SDC.FLOAT64, number)
    data.endaccess()


def _struct_metadata(tile: str, grid: str, written: Sequence[HdfField]) -> str:
    """Return the geolocation in the structural metadata of HDF-EOS, laid out as in the MODIS land products."""
    bounds = MODIS_SINUSOIDAL_1KM.geobox(tile).boundingbox
    rows, columns = written[0].raw.shape
    objects = "".join(_struct_object(number, field) for number, field in enumerate(written, 1))
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
{objects}\t\tEND_GROUP=DataField
\t\tGROUP=MergedFields
\t\tEND_GROUP=MergedFields
\tEND_GROUP=GRID_1
END_GROUP=GridStructure
GROUP=PointStructure
END_GROUP=PointStructure
END
"""


def _struct_object(number: int, field: HdfField) -> str:
    """Return the part of the structural metadata that names a field."""
    return f"""\t\t\tOBJECT=DataField_{number}
\t\t\t\tDataFieldName="{field.name}"
\t\t\t\tDataType=DFNT_{field.raw.dtype.name.upper()}
\t\t\t\tDimList=("YDim","XDim")
\t\t\tEND_OBJECT=DataField_{number}
"""


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
