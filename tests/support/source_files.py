"""Files of providers for tests: where the real ones lie, and small ones that are made in the providers' formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.stac.catalogs.catalog import Catalog, create_skeleton, open_catalog
from stac_sm.storage.local_store import LocalStore

DATA = Path(__file__).parents[2].parent / "shared" / "data"
MOD11A1 = DATA / "modis_raster" / "MOD11A1.A2019305.h14v09.006.2019306084028.hdf"
ERA5_LAND = DATA / "era5" / "ERA5Land_Western-Australia_20200601_20200607.nc"
HAWAII = DATA / "hawaii_tc"
FORMATS = DATA / "ismn_formats"
CONUS = DATA / "ismn_conus"
FLAT = DATA / "ismn_oznet_tahmo" / "oznet_tahmo_stm_flat.zip"

real_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the real granules beside the repository")


def new_catalog(folder):
    create_skeleton(LocalStore(folder), title="Inputs")
    return open_catalog(folder)


def ingested(catalog, collection):
    """Items of a collection, read afresh."""
    return Catalog(catalog.store).items(collection)


def content(folder):
    """Bytes of every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def asset_href(item, key):
    return item.assets[key].get_absolute_href()


def positions(shape, count=200, seed=1):
    """Corners and random pixels."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, shape[0], count), rng.integers(0, shape[1], count)
    rows[:4], columns[:4] = [0, 0, shape[0] - 1, shape[0] - 1], [0, shape[1] - 1, 0, shape[1] - 1]
    return rows, columns


def structure(tile, name, shape, shift=0.0):
    """StructMetadata.0 of a sinusoidal tile."""
    box = MODIS_SINUSOIDAL_1KM.geobox(tile).boundingbox
    return (
        'GROUP=GridStructure\n\tGROUP=GRID_1\n\t\tGridName="G"\n'
        f"\t\tXDim={shape[1]}\n\t\tYDim={shape[0]}\n"
        f"\t\tUpperLeftPointMtrs=({box.left + shift:.6f},{box.top:.6f})\n"
        f"\t\tLowerRightMtrs=({box.right + shift:.6f},{box.bottom:.6f})\n"
        f'\t\tOBJECT=DataField_1\n\t\t\tDataFieldName="{name}"\n\t\tEND_OBJECT=DataField_1\n'
        "\tEND_GROUP=GRID_1\nEND_GROUP=GridStructure\nEND\n"
    )


def write_hdf(path, name, values, text, *, scale=0.01, fill=0, scale_type="FLOAT64", **attributes):
    """One field of HDF4-EOS by pyhdf; attributes of None are left out."""
    from pyhdf.SD import SD, SDC

    kind = {"uint8": SDC.UINT8, "uint16": SDC.UINT16, "int16": SDC.INT16}[str(values.dtype)]
    file = SD(str(path), SDC.WRITE | SDC.CREATE | SDC.TRUNC)
    if text is not None:
        file.attr("StructMetadata.0").set(SDC.CHAR, text)
    field = file.create(name, kind, values.shape)
    field.setcompress(SDC.COMP_DEFLATE, 1)
    field[:] = values
    if fill is not None:
        field.attr("_FillValue").set(kind, fill)
    if scale is not None:
        field.attr("scale_factor").set(getattr(SDC, scale_type), scale)
    for key, value in attributes.items():
        field.attr(key).set(SDC.FLOAT64, value)
    field.endaccess()
    file.end()
    return path


def placed(shape, dtype, seed=3):
    """Values of which each knows where it is: a flip or a shift cannot hide."""
    rows, columns = np.indices(shape)
    return ((rows * 7 + columns * 3 + seed) % 251 + 1).astype(dtype)


def write_lst(folder, day="2018001", tile="h18v04", made="2022021", seed=3, **kw):
    shape = (1200, 1200)
    values = placed(shape, np.uint16, seed) + np.uint16(28000)
    values[100:200, 300:500] = 0
    path = Path(folder) / f"GLASS06A01.V01.A{day}.{tile}.{made}.hdf"
    return write_hdf(path, "LST", values, structure(tile, "LST", shape), **kw)


def write_lai(folder, day="2018009", tile="h18v04", side=2400, product="GLASS01E01", **kw):
    path = Path(folder) / f"{product}.V60.A{day}.{tile}.2022012.hdf"
    values = placed((side, side), np.uint8)
    return write_hdf(path, "LAI", values, structure(tile, "LAI", values.shape), **{"scale": 0.1, "fill": 255} | kw)


def write_cci(folder, day="20180601", lat=None, lon=None, name=None, time=None):
    """A day of ESA CCI, laid out as in its product guide (global, 0.25 degrees); returns path, sm and flag."""
    import netCDF4

    lat = np.arange(89.875, -90, -0.25) if lat is None else lat
    lon = np.arange(-179.875, 180, 0.25) if lon is None else lon
    path = Path(folder) / (name or f"ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-{day}000000-fv08.1.nc")
    rng = np.random.default_rng(5)
    sm = rng.uniform(0, 0.6, (lat.size, lon.size)).astype(np.float32)
    flag = rng.choice(np.array([0, 0, 0, 1, 2, 3, 127], np.int8), sm.shape)
    sm[flag == 127] = -9999
    stamp = f"{day[:4]}-{day[4:6]}-{day[6:]}" if time is None else time
    with netCDF4.Dataset(path, "w") as file:
        for key, values in (("lat", lat), ("lon", lon)):
            file.createDimension(key, values.size)
            file.createVariable(key, "f8", (key,))[:] = values
        file.createDimension("time", None)
        axis = file.createVariable("time", "f8", ("time",))
        axis.units = "days since 1970-01-01 00:00:00 UTC"
        axis[:] = [(np.datetime64(stamp) - np.datetime64("1970-01-01")).astype(int)]
        file.createVariable("sm", "f4", ("time", "lat", "lon"), fill_value=-9999.0, zlib=True)[0] = sm
        variable = file.createVariable("flag", "i1", ("time", "lat", "lon"), fill_value=127, zlib=True)
        variable.set_auto_mask(False)
        variable[0] = flag
    return path, sm, flag


def write_dem(folder, name="Copernicus_DSM_COG_30_N46_00_E011_00_DEM.tif", corner=(46, 11), shape=(120, 80), **kw):
    """A tile on Copernicus' grid (centres on whole degrees), thinned out; returns path and heights."""
    import rasterio
    from affine import Affine

    south, west = corner
    dy, dx = 1 / shape[0], 1 / shape[1]
    rows, columns = np.indices(shape)
    values = (1000 + 400 * np.sin(rows / 9) + 300 * np.cos(columns / 7) + rows).astype(np.float32)
    profile = {
        "driver": "GTiff", "dtype": "float32", "count": 1, "height": shape[0], "width": shape[1], "crs": "EPSG:4326",
        "transform": Affine(dx, 0, west - dx / 2, 0, -dy, south + 1 + dy / 2),
    } | kw  # fmt: skip
    if profile.get("nodata") is not None:
        values[5:8, 10:20] = profile["nodata"]
    path = Path(folder) / name
    with rasterio.open(path, "w", **profile) as file:
        file.write(values, 1)
    return path, values


def write_stm(
    folder, station="Hill-1", depth=0.05, *, days=2, values=None, flags=None, sensor="Probe-A", network="NET"
):
    """An ISMN file in the layout header_values; hourly from 2018-01-01."""
    times = np.datetime64("2018-01-01", "h") + np.arange(24 * days)
    values = np.full(times.size, 0.2) if values is None else values
    flags = ["G"] * times.size if flags is None else flags
    text = [str(time).replace("-", "/").replace("T", " ") + ":00" for time in times]
    lines = [f"{t} {v} {f} M" for t, v, f in zip(text, values, flags, strict=True)]
    head = f"{network} {network} {station.replace('-', '_')} 46.00000 11.00000 512.0 {depth:.4f} {depth:.4f} {sensor}"
    path = Path(folder) / f"{network}_{network}_{station}_sm_{depth:.6f}_{depth:.6f}_{sensor}_20180101_20190101.stm"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def write_cf(
    path, *, crs="EPSG:6933", times=("2018-07-01",), bounds=None, south_up=False, unit="m", mapped=True, west=5.0,
    from_zero=False, layers=0, stretched=False, turned=False, name="sm", values=None, scale=None, units="m3 m-3",
):  # fmt: skip
    """A CF NetCDF series of 20 x 30 pixels as xarray writes it: projected, or in degrees where there is no CRS.

    `values` are (time, y, x) from north to south; `scale` packs them into int16.
    """
    import pyproj
    import xarray as xr

    shape = (len(times), 20, 30)
    if values is None:
        values = np.random.default_rng(4).uniform(0.05, 0.45, shape).astype(np.float32)
    if crs:
        factor = {"m": 1.0, "km": 1e-3}[unit]
        left, top, step = (600_000.0, 5_200_000.0, 1000.0)
        x, y = (left + step * (np.arange(30) + 0.5)) * factor, (top - step * (np.arange(20) + 0.5)) * factor
        if stretched:
            y = y - np.arange(20) ** 2 * 10.0
        about = {"x": ("projection_x_coordinate", unit), "y": ("projection_y_coordinate", unit)}
    else:
        x, y = west + 0.25 * (np.arange(30) + 0.5), 50 - 0.25 * (np.arange(20) + 0.5)
        about = {"x": ("longitude", "degrees_east"), "y": ("latitude", "degrees_north")}
        x = x % 360 if from_zero else x
    stamps = np.array(times, dtype="datetime64[ns]")
    data = xr.Dataset(
        {name: (("time", "y", "x"), values)},
        {"time": ("time", stamps), "x": ("x", x), "y": ("y", y)},
    )
    for key, (standard, of) in about.items():
        data[key].attrs = {"standard_name": standard, "units": of}
    data["time"].attrs["standard_name"] = "time"
    data[name].attrs["units"] = units
    if bounds is not None:
        data["time"].attrs["bounds"] = "time_bnds"
        data["time_bnds"] = (("time", "nv"), np.array(bounds, dtype="datetime64[ns]"))
    if crs and mapped:
        data["crs"] = ((), 0, pyproj.CRS(crs).to_cf())
        del data["crs"].attrs["crs_wkt"]  # so that the parameters count
        data[name].attrs["grid_mapping"] = "crs"
    if layers:
        data[name] = data[name].expand_dims(layer=layers, axis=1)
    data = data.isel(y=slice(None, None, -1)) if south_up else data
    data = data.transpose(..., "x", "y") if turned else data
    packed = {} if scale is None else {"dtype": "int16", "scale_factor": scale, "_FillValue": -9999}
    units_of_time = {"units": "hours since 1970-01-01", "dtype": "f8"}
    data.to_netcdf(path, encoding={"time": units_of_time, name: packed})
    return path


def write_geotiff(path, values, geobox, *, nodata=-9999.0, crs=True, scale=1.0, bands=1):
    """A plain GeoTIFF of values (y, x) on a GeoBox; several bands hold the same."""
    import rasterio
    from rasterio.crs import CRS

    height, width = values.shape
    form = {"driver": "GTiff", "height": height, "width": width, "count": bands, "dtype": values.dtype}
    form |= {"transform": geobox.affine, "nodata": nodata, "crs": CRS.from_wkt(geobox.crs.to_wkt()) if crs else None}
    with rasterio.open(path, "w", **form) as file:
        for band in range(1, bands + 1):
            file.write(values, band)
        file.scales = (scale,) * bands
    return path
