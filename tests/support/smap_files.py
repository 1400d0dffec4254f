"""Files of SMAP for tests, laid out as NSIDC publishes them: few or no real ones may be had here."""

from __future__ import annotations

import h5py
import numpy as np
import pyproj

from stac_sm.ingest.formats.ease_grid import EASE2_1KM, EASE2_3KM, EASE2_36KM

L3 = "SMAP_L3_SM_P_20150410_R19240_001.h5"
S1 = "SMAP_L2_SM_SP_1AIWDV_20150331T170640_20150401T054620_003E34N_R18290_001.h5"
TO_GRID = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:6933", always_xy=True)


def degrees(grid, rows, columns):
    """Centres of cells, as float32 like in the files."""
    x = -17367530.44516138 + (columns + 0.5) * grid.cell
    y = 7314540.83063855 - (rows + 0.5) * grid.cell
    lon, lat = TO_GRID.transform(x, y, direction="INVERSE")
    return lon.astype(np.float32), lat.astype(np.float32)


def write_group(file, path, suffix, sm, flag, grid=None, rows=None, columns=None, unit="cm**3/cm**3"):
    group = file.create_group(path)
    data = group.create_dataset(f"soil_moisture{suffix}", data=sm.astype(np.float32), compression="gzip")
    data.attrs.update({"_FillValue": np.float32(-9999), "units": unit, "valid_min": np.float32(0.02)})
    group.create_dataset(f"retrieval_qual_flag{suffix}", data=flag.astype(np.uint16))
    if rows is not None:
        lon, lat = degrees(grid, rows, columns)
        fields = {"EASE_row_index": rows, "EASE_column_index": columns}
        for name, values in fields.items():
            group.create_dataset(f"{name}{suffix}", data=values.astype(np.uint16))
        for name, values in (("longitude", lon), ("latitude", lat)):
            group.create_dataset(f"{name}{suffix}", data=values)
    return group


def retrievals(shape, seed=1):
    rng = np.random.default_rng(seed)
    sm = rng.uniform(0.02, 0.5, shape).astype(np.float32)
    flag = rng.choice(np.array([0, 8, 1, 5, 9, 7, 65534]), shape)
    sm[flag == 7] = -9999  # with a flag of 65534 there is no word on the quality, and bit 0 of it is unset
    return sm, flag


def times(file, begin="2015-04-10T00:00:00.000Z", end="2015-04-10T23:59:59.999Z"):
    file.create_group("Metadata/Extent").attrs.update({"rangeBeginningDateTime": begin, "rangeEndingDateTime": end})


def write_day(path, grid=EASE2_36KM, **kw):
    """SPL3SMP as in its published layout: two groups on the whole grid, names of the second end with _pm."""
    made = {}
    with h5py.File(path, "w") as file:
        times(file)
        for seed, (overpass, suffix) in enumerate((("AM", ""), ("PM", "_pm"))):
            made[overpass] = retrievals((grid.rows, grid.columns), seed)
            write_group(file, f"Soil_Moisture_Retrieval_Data_{overpass}", suffix, *made[overpass], **kw)
    return made


def write_scene(path, north=3000, west=17600, shape=(72, 102), **kw):
    """SPL2SMAP_S as in its published layout (no real file at hand): two groups, names end with their resolution."""
    made = {}
    with h5py.File(path, "w") as file:
        group = file.create_group("a")  # times are texts here, not attributes
        for name, text in (("Beginning", "2015-03-31T17:06:40.000Z"), ("Ending", "2015-04-01T05:46:50.000Z")):
            group.create_dataset(f"range{name}DateTime", data=text, dtype=h5py.string_dtype())
        for seed, (suffix, grid, factor) in enumerate((("1km", EASE2_1KM, 3), ("3km", EASE2_3KM, 1))):
            rows, columns = np.indices([n * factor for n in shape])
            rows, columns = rows + north // 3 * factor, columns + west // 3 * factor
            made[suffix] = retrievals(rows.shape, seed)
            path_in = f"Soil_Moisture_Retrieval_Data_{suffix}"
            group = write_group(file, path_in, f"_{suffix}", *made[suffix], grid, rows, columns, **kw)
            edge = np.s_[:, :2]  # outside the overlap of the two: no cell
            for name, fill in (("EASE_row_index", 65534), ("EASE_column_index", 65534), ("longitude", -9999)):
                group[f"{name}_{suffix}"][edge] = fill
            made[suffix] = [values[:, 2:] for values in made[suffix]]
    return made
