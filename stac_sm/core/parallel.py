"""Worker processes on this machine, which start fast: the heavy imports are made once, in a server they fork from."""

from __future__ import annotations

import gc
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

_PRELOAD = (
    "dask.array",
    "netCDF4",
    "odc.geo.geobox",
    "pandas",
    "pyarrow.parquet",
    "pyhdf.SD",
    "pystac",
    "rasterio",
    "shapely",
    "xarray",
)
START_METHOD = "spawn" if sys.platform == "win32" else "forkserver"
"""Never ``fork``: the threads of GDAL, Dask and OpenMP do not survive it."""


def process_pool(workers: int, *, short: bool = False) -> ProcessPoolExecutor:
    """Pool of processes; they may import this program's main module, so it must do nothing when imported.

    Parameters
    ----------
    short
        Whether they end soon: then nobody looks for cycles of objects in them, which takes a tenth of the time where
        millions of objects are made.
    """
    context = get_context(START_METHOD)
    if START_METHOD == "forkserver":
        context.set_forkserver_preload(list(_PRELOAD))
    return ProcessPoolExecutor(workers, mp_context=context, initializer=gc.disable if short else None)
