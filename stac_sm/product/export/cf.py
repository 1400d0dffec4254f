"""Describe the product by the CF conventions: coordinates, grid mapping, flags, bounds.

`export` makes the empty file from what this module returns, and then adds days to it. The attributes follow CF 1.11
(https://cfconventions.org) and, for global ones, ACDD 1.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj

from stac_sm.core.period import ONE_DAY
from stac_sm.core.projections import named_wkt, transform_points
from stac_sm.core.variables import PUBLISHED_FLAGS, VARIABLES

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

CONVENTIONS = "CF-1.11, ACDD-1.3"
"""Conventions that an export follows."""

EPOCH = date(1970, 1, 1)
"""Day 0 of the time coordinate."""

MAPPING = "crs"
"""Name of the variable that holds the grid mapping."""

COMMENT = "Frozen soil, snow and water have no value; qa says why one is missing, and which may be less sure."
"""What readers of an export must know."""

DEPTH = (0.0, 0.05)
"""Top and bottom of the soil layer of the product, m below the surface."""

_WGS84 = "EPSG:4326"
_STANDARD_NAME = "volume_fraction_of_condensed_water_in_soil"


def empty_map(geobox: GeoBox, names: Sequence[str], coverage: float | None) -> xr.Dataset:
    """Return the Dataset of a map series without any day.

    Parameters
    ----------
    geobox
        Pixels, in degrees (EPSG:4326) or in a projected CRS.
    names
        Data variables: ``sm``, ``qa`` and, if it was published, ``uncertainty``.
    coverage
        Share of the truth that the prediction intervals are to hold, 0 to 1; None where it is not known.

    Returns
    -------
    xarray.Dataset
        Dims (time, y, x), or (time, lat, lon) in degrees; time has length 0. Encoded values: times are whole numbers
        of days since 1970-01-01.
    """
    crs = pyproj.CRS(named_wkt(str(geobox.crs)))
    dims = ("lat", "lon") if crs.is_geographic else ("y", "x")
    rows, columns = geobox.shape
    transform = geobox.affine
    x = transform.c + transform.a * (np.arange(columns) + 0.5)
    y = transform.f + transform.e * (np.arange(rows) + 0.5)
    grid_mapping = crs.to_cf()
    # GDAL takes crs_wkt and GeoTransform; rioxarray takes the same from spatial_ref
    numbers = " ".join(repr(float(number)) for number in transform.to_gdal())
    grid_mapping |= {"spatial_ref": grid_mapping["crs_wkt"], "GeoTransform": numbers}
    more: dict[str, Any]
    if crs.is_geographic:
        coordinates = {
            "lat": ("lat", y, {**_degrees("north"), "axis": "Y", "bounds": "lat_bnds"}),
            "lon": ("lon", x, {**_degrees("east"), "axis": "X", "bounds": "lon_bnds"}),
        }
        more = {
            "lat_bnds": (("lat", "bnds"), _edges(y, transform.e)),
            "lon_bnds": (("lon", "bnds"), _edges(x, transform.a)),
        }
        located = ""
    else:
        lon, lat = transform_points(crs.to_wkt(), _WGS84, *np.meshgrid(x, y))
        coordinates = {
            "y": ("y", y, {**_metres("y"), "axis": "Y"}),
            "x": ("x", x, {**_metres("x"), "axis": "X"}),
        }
        more = {
            "lat": (dims, lat.astype(np.float64), _degrees("north")),
            "lon": (dims, lon.astype(np.float64), _degrees("east")),
        }
        located = "lat lon"
    return _empty(dims, (rows, columns), names, coverage, coordinates, more, grid_mapping, located)


def empty_series(lon: float, lat: float, names: Sequence[str], coverage: float | None) -> xr.Dataset:
    """Return the Dataset of the time series of a point without any day.

    Parameters
    ----------
    lon, lat
        Degrees east and north.
    names
        Data variables, as in `empty_map`.
    coverage
        As in `empty_map`.

    Returns
    -------
    xarray.Dataset
        Dim (time), of length 0; ``lat`` and ``lon`` are scalars; a CF discrete sampling geometry ``timeSeries``.
    """
    more: dict[str, Any] = {
        "lat": ((), np.float64(lat), _degrees("north")),
        "lon": ((), np.float64(lon), _degrees("east")),
        "point": (
            (),
            np.int32(1),
            {"cf_role": "timeseries_id", "long_name": "number of the point"},
        ),  # Zarr has no text
    }
    made = _empty((), (), names, coverage, {}, more, pyproj.CRS(_WGS84).to_cf(), "lat lon point")
    return made.assign_attrs(featureType="timeSeries")


def day_numbers(days: Sequence[date]) -> np.ndarray:
    """Return days as the time coordinate has them.

    Parameters
    ----------
    days
        UTC days.

    Returns
    -------
    numpy.ndarray
        int32, days since 1970-01-01.
    """
    return np.array([(day - EPOCH).days for day in days], dtype=np.int32)


def global_attributes(facts: Mapping[str, str], bbox: Sequence[float]) -> dict[str, Any]:
    """Return the global attributes of an export, but for those that each added day changes.

    Parameters
    ----------
    facts
        ``title``, ``source``, ``catalog``, ``product_version``, ``model``: text; they replace those of the same name.
    bbox
        West, south, east, north in degrees.

    Returns
    -------
    dict
        Attribute to value.
    """
    west, south, east, north = (float(end) for end in bbox)
    return {
        "Conventions": CONVENTIONS,
        "institution": "made with stac_sm",
        "references": "https://doi.org/10.5194/essd-15-2055-2023",
        "comment": COMMENT,
        "keywords": "soil moisture",
        "geospatial_lon_min": west,
        "geospatial_lat_min": south,
        "geospatial_lon_max": east,
        "geospatial_lat_max": north,
        "geospatial_lon_units": "degrees_east",
        "geospatial_lat_units": "degrees_north",
        **facts,
    }


def _empty(
    dims: tuple[str, ...],
    shape: tuple[int, ...],
    names: Sequence[str],
    coverage: float | None,
    coordinates: Mapping[str, Any],
    more: Mapping[str, Any],
    grid_mapping: Mapping[str, Any],
    located: str,
) -> xr.Dataset:
    import xarray as xr

    described = {"grid_mapping": MAPPING, "coordinates": " ".join(part for part in ("depth", located) if part)}
    data = {
        name: (
            ("time", *dims),
            np.empty((0, *shape), dtype=np.uint8 if name == "qa" else np.float32),
            {**_attributes(name, names, coverage), **described},
        )
        for name in names
    }
    time = {
        "standard_name": "time",
        "long_name": "UTC day",
        "units": f"days since {EPOCH}",
        "calendar": "standard",
        "units_metadata": "leap_seconds: none",
        "axis": "T",
        "bounds": "time_bnds",
    }
    layer = "middle of the soil layer, {:g} to {:g} m".format(*DEPTH)
    depth = {"standard_name": "depth", "long_name": layer, "units": "m", "positive": "down", "axis": "Z"}
    always = {
        "time": ("time", np.empty(0, np.int32), time),
        "time_bnds": (("time", "bnds"), np.empty((0, 2), np.int32)),
        "depth": ((), np.float64(sum(DEPTH) / 2), depth),
        MAPPING: ((), np.int32(0), dict(grid_mapping)),
    }
    return xr.Dataset({**data, **more, **always, **coordinates})


def _attributes(name: str, names: Sequence[str], coverage: float | None) -> dict[str, Any]:
    """Return the attributes of a data variable."""
    if name == "qa":
        flags = PUBLISHED_FLAGS
        return {
            "standard_name": "quality_flag",
            "long_name": "why a value is missing, and which may be less sure",
            "flag_masks": np.array([int(flag) for flag in flags], dtype=np.uint8),
            "flag_meanings": " ".join(str(flag.name).lower() for flag in flags),
        }
    known = VARIABLES["sm"]
    if name == "uncertainty":
        share = "" if coverage is None else f"{coverage:.0%} "
        return {
            "long_name": f"half width of the {share}prediction interval of soil moisture",
            "units": known.unit,
            "cell_methods": "time: mean depth: mean",
            "_FillValue": np.float32(np.nan),
        }
    return {
        "standard_name": _STANDARD_NAME,
        "long_name": known.description,
        "units": known.unit,
        "valid_range": np.array(known.valid, dtype=np.float32),
        "cell_methods": "time: mean depth: mean",
        "ancillary_variables": " ".join(other for other in names if other != "sm"),
        "_FillValue": np.float32(np.nan),
    }


def _degrees(toward: str) -> dict[str, str]:
    kind = "latitude" if toward == "north" else "longitude"
    return {"standard_name": kind, "long_name": kind, "units": f"degrees_{toward}"}


def _metres(axis: str) -> dict[str, str]:
    return {"standard_name": f"projection_{axis}_coordinate", "long_name": f"{axis} of the pixel centre", "units": "m"}


def _edges(centres: np.ndarray, step: float) -> np.ndarray:
    return np.stack([centres - step / 2, centres + step / 2], axis=1)


def day_bounds(days: Sequence[date]) -> np.ndarray:
    """Return the first and the last instant of days.

    Parameters
    ----------
    days
        UTC days.

    Returns
    -------
    numpy.ndarray
        int32, shape (day, 2), days since 1970-01-01.
    """
    return np.stack([day_numbers(days), day_numbers([day + ONE_DAY for day in days])], axis=1)
