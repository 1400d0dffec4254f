"""Check the machine: versions, memory, disk, and whether the parts of the program work together.

`examine` calls `check_machine` first, since a project cannot be worked on without them.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata, util

import numpy as np

from stac_sm.core.errors import StacSmError
from stac_sm.core.parallel import process_pool
from stac_sm.doctor.check import NOTE, OK, Check, run_check
from stac_sm.model.booster import WeightedBooster
from stac_sm.model.forest.ensemble import Ensemble
from stac_sm.model.learner import FitSettings
from stac_sm.model.learner_registry import DEFAULT_LEARNER, find_learner
from stac_sm.workflows.run.memory import machine_memory

_WORKER_BYTES = 2 << 30  # a worker of two threads on a tile-month: `tests/benchmarks/cube.py --only memory`
_SCRATCH_BYTES = 2 << 30  # copies of remote files and finished COGs of a tile-month, of a few workers
_OPTIONAL = {
    "zarr": ("zarr", "ERA5-Land as a Zarr store"),
    "planetary-computer": ("planetary_computer", "files of the Planetary Computer"),
    "pgstac": ("psycopg", "index --to postgresql://…"),
    "tiles": ("titiler.core", "map tiles of serve"),
    "slurm": ("dask_jobqueue", "run --scheduler slurm"),
}


def check_machine() -> Iterator[Check]:
    """Run every check of the machine; those that take long are last, and run beside the others from the start.

    Yields
    ------
    Check
        One result a check.
    """
    with ThreadPoolExecutor(2) as threads:  # one compiles where nothing is compiled yet, the other waits for a process
        forest = threads.submit(run_check, "machine", "forest", _forest)
        processes = threads.submit(run_check, "machine", "processes", _processes)
        yield _versions()
        yield _cores_and_memory()
        yield _scratch()
        yield _one_xgboost()
        yield run_check("machine", "projections", _projections)
        yield _optional()
        yield processes.result()
        yield forest.result()


def _versions() -> Check:
    names = ("stac_sm", "xgboost-cpu", "rasterio", "stackstac", "odc-stac", "dask")
    found = {name: _version(name) for name in names}
    return Check("machine", "versions", OK, f"Python {platform.python_version()}, {_listed(found)}")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _listed(named: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in named.items())


def _cores_and_memory() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = machine_memory()
    found = f"{cores} cores, {_gib(memory)} of memory"
    if memory >= _WORKER_BYTES * 2:
        workers = min(cores, memory // _WORKER_BYTES)
        return Check("machine", "cores, memory", OK, f"{found}: room for --workers {workers}")
    advice = "stac-sm run --workers 1 --memory 1G: fewer days at a time, more reads"
    return Check("machine", "cores, memory", NOTE, f"{found}, 2 GiB a worker required", advice)


def _scratch() -> Check:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free >= _SCRATCH_BYTES:
        return Check("machine", "scratch", OK, f"{_gib(free)} free in {folder}")
    advice = "make room there, or name another folder in TMPDIR"
    return Check("machine", "scratch", NOTE, f"{_gib(free)} free in {folder}, {_gib(_SCRATCH_BYTES)} required", advice)


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"


def _one_xgboost() -> Check:
    both = _version("xgboost") != "none" and _version("xgboost-cpu") != "none"
    if not both:
        return Check("machine", "xgboost", OK, "one package")
    advice = "pip uninstall xgboost xgboost-cpu, then pip install xgboost-cpu"
    return Check("machine", "xgboost", NOTE, "xgboost and xgboost-cpu, whose files overwrite each other", advice)


def _projections() -> Check:
    """Check that GDAL and PROJ find the data of their wheels; variables of another installation may point elsewhere."""
    import pyproj
    import rasterio.crs
    from rasterio.errors import CRSError

    foreign = [f"{name}={os.environ[name]}" for name in ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA") if name in os.environ]
    hint = f"; {', '.join(foreign)}" if foreign else ""
    try:
        pyproj.CRS.from_epsg(6933)
        rasterio.crs.CRS.from_epsg(6933)
    except (pyproj.exceptions.CRSError, CRSError) as error:
        raise StacSmError(
            f"PROJ does not know EPSG:6933{hint}: unset PROJ_LIB, PROJ_DATA and GDAL_DATA: they name the data of "
            "another installation"
        ) from error
    found = f"GDAL {rasterio.__gdal_version__}, PROJ {pyproj.proj_version_str}{hint}"
    return Check("machine", "projections", OK, found)


def _optional() -> Check:
    """List optional packages; a missing one is no fault, since the command that needs it reports it."""
    installed = [name for name, (module, _) in _OPTIONAL.items() if _is_installed(module)]
    rest = [f"{name} ({use})" for name, (_, use) in _OPTIONAL.items() if name not in installed]
    found = f"with {', '.join(installed) or 'none'}"
    if not rest:
        return Check("machine", "extras", OK, found)
    return Check("machine", "extras", OK, f"{found}; without {', '.join(rest)}")


def _is_installed(module: str) -> bool:
    try:
        return util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is not installed
        return False


def _processes() -> Check:
    with process_pool(1) as pool:
        pool.submit(os.getpid).result(timeout=120)
    return Check("machine", "processes", OK, "workers start")


def _forest() -> Check:
    """Check fast inference: the kernel is compiled, and agrees with XGBoost on a small model."""
    ensemble = Ensemble([_small_booster()])
    if ensemble.build() is None:
        reason = "; ".join(dict.fromkeys(ensemble.reasons.values()))
        advice = f"XGBoost predicts instead, right but slower; try pip install --force-reinstall numba ({sys.platform})"
        return Check("machine", "forest", NOTE, reason, advice)
    from stac_sm.model.forest.simd import VECTOR_BYTES

    return Check(
        "machine", "forest", OK, f"vectors of {VECTOR_BYTES * 8} bits, the same bits as XGBoost's own prediction"
    )


def _small_booster() -> WeightedBooster:
    rows = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)
    target = rows.sum(axis=1, dtype=np.float32)
    settings = FitSettings({"max_depth": 5}, rounds=20)
    trained = find_learner(DEFAULT_LEARNER).fit(dict(zip("abcd", rows.T, strict=True)), target, None, settings)
    return WeightedBooster.of(trained)
