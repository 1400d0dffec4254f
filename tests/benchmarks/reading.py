"""Providers' files read by ingest, beside plain scripts of xarray, ismn and pyhdf that read the same.

    python tests/benchmarks/reading.py --json
    python tests/benchmarks/reading.py --only ismn --rounds 5

A month of ERA5-Land, every hour, of the simulated Earth's area (daily means of three variables); an ISMN archive of
126 stations (all hourly readings of soil moisture) of the shared data, or the simulated one of 35 where these are
not; the MODIS granule of the shared data, five times (the layers of its item, with scale and place). Each reading is a
process of its own, ours and the plain one in turn, so that a busy machine slows both. What is written to the catalogue
afterwards (COG, Parquet, checksums) is not part of it. Time is that of the reading without imports; memory is the peak
of the whole process. Exit code 1 if ours takes more than twice the time, or values differ.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

SHARED = Path(__file__).parents[3] / "shared" / "data"
LAYERS = ("LST_Day_1km", "QC_Day", "LST_Night_1km", "QC_Night")
VARIABLES = ("swvl1", "stl1", "sd")
LIMIT = 2.0
GRANULES = 5
GAP = -1.0  # m3 m-3: archives fill gaps with -9999
Arrays = dict[str, list[np.ndarray]]
Digest = dict[str, list[float]]


def era5_file(folder: Path) -> Path:
    """A month of hourly ERA5-Land of the simulated Earth."""
    from stac_sm.core.period import Period
    from stac_sm.simulate.coarse_products import write_era5_land
    from stac_sm.simulate.earth import Earth

    file = folder / "era5_land_2019-06.nc"
    write_era5_land(Earth(seed=1), file, Period.parse("2019-06"), hours_apart=1)
    return file


def ismn_file(folder: Path) -> Path:
    """The archive of the shared data, else of the simulated Earth."""
    if found := sorted((SHARED / "ismn_conus").glob("*.zip")):
        return found[0]
    from stac_sm.simulate.earth import Earth
    from stac_sm.simulate.ismn import write_ismn

    file = folder / "Data_separate_files_header_20180101_20191231_sim.zip"
    write_ismn(Earth(seed=1), file)
    return file


def modis_file(folder: Path) -> Path:
    """The granule of the shared data, so many times, since what a process does once for all is no reading."""
    granule = next((SHARED / "modis_raster").glob("MOD11A1.*.hdf"))
    for number in range(GRANULES):
        (folder / f"{number}").mkdir()
        shutil.copy(granule, folder / f"{number}")
    return folder / "0" / granule.name


def copies(granule: Path) -> list[Path]:
    """The copies of a granule in the folders beside it."""
    return [granule.parents[1] / f"{number}" / granule.name for number in range(GRANULES)]


def numbers(values: list[np.ndarray]) -> list[float]:
    """Count, mean and spread of what was read: equal for two readings of the same."""
    whole = np.concatenate([np.asarray(one, dtype=np.float64).ravel() for one in values])
    finite = whole[np.isfinite(whole)]
    return [float(finite.size), float(finite.mean()), float(finite.std())]


def ours_era5(file: Path) -> Callable[[], Arrays]:
    from stac_sm.ingest.registry import create_provider

    provider = create_provider("era5-land")

    def read() -> Arrays:
        days = list(provider.scan(file).granules)
        return {name: [day.layers[name].values() for day in days] for name in VARIABLES}

    return read


def plain_era5(file: Path) -> Callable[[], Arrays]:
    import xarray as xr

    def read() -> Arrays:
        with xr.open_dataset(file) as data:
            daily = data[list(VARIABLES)].resample(valid_time="1D").mean()
            return {name: [daily[name].values] for name in VARIABLES}

    return read


def ours_ismn(file: Path) -> Callable[[], Arrays]:
    import pandas as pd  # noqa: F401

    from stac_sm.ingest.registry import create_provider

    provider = create_provider("ismn")

    def read() -> Arrays:
        stations = [granule.layers["series"].frame() for granule in provider.scan(file).granules]
        return {"stations": [np.ones(len(stations))], "sm": [one["sm"].to_numpy() for one in stations]}

    return read


def plain_ismn(file: Path) -> Callable[[], Arrays]:
    from ismn.interface import ISMN_Interface

    def read() -> Arrays:
        with tempfile.TemporaryDirectory() as folder:
            archive = ISMN_Interface(file, meta_path=folder)
            stations, series = set(), []
            for network, station, sensor in archive.collection.iter_sensors(variable="soil_moisture"):
                stations.add((network.name, station.name))
                series.append(sensor.read_data()["soil_moisture"].to_numpy())
                series[-1] = np.where(series[-1] > GAP, series[-1], np.nan)
        return {"stations": [np.ones(len(stations))], "sm": series}

    return read


def ours_modis(file: Path) -> Callable[[], Arrays]:
    import pyhdf.SD  # noqa: F401

    from stac_sm.ingest.registry import create_provider

    provider = create_provider("modis")

    def read() -> Arrays:
        found: Arrays = {name: [] for name in LAYERS}
        for one in copies(file):
            (granule,) = provider.scan(one).granules
            for name, layer in granule.layers.items():
                found[name].append(layer.values())
        return found

    return read


def plain_modis(file: Path) -> Callable[[], Arrays]:
    from pyhdf.SD import SD, SDC

    def read() -> Arrays:
        found: Arrays = {name: [] for name in LAYERS}
        for one in copies(file):
            opened = SD(str(one), SDC.READ)
            try:
                place = opened.attributes()["StructMetadata.0"]
                for name in LAYERS:
                    field = opened.select(name)
                    scale = field.attributes().get("scale_factor", 1.0)
                    found[name].append(field.get())
                    assert place
                    assert scale
            finally:
                opened.end()
        return found

    return read


FILES = {"era5-land": era5_file, "ismn": ismn_file, "modis": modis_file}
READINGS = {
    "era5-land": {"ours": ours_era5, "plain": plain_era5},
    "ismn": {"ours": ours_ismn, "plain": plain_ismn},
    "modis": {"ours": ours_modis, "plain": plain_modis},
}


def read_once(what: str, who: str, file: Path) -> None:
    """Read a file in this process, and print seconds, peak memory and what was read."""
    read = READINGS[what][who](file)
    started = time.perf_counter()
    found = read()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB
    print(
        json.dumps(
            {"seconds": seconds, "peak_mib": peak, "read": {name: numbers(some) for name, some in found.items()}}
        )
    )


def measured(what: str, file: Path, rounds: int) -> dict[str, object]:
    """Seconds, memory and values of both readings, in turn."""
    runs: dict[str, list[dict]] = {"ours": [], "plain": []}
    for number in range(rounds):
        for who in ("ours", "plain") if number % 2 == 0 else ("plain", "ours"):
            command = [sys.executable, __file__, "--reading", what, who, str(file)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            runs[who].append(json.loads(done.stdout.splitlines()[-1]))
    ratios = [ours["seconds"] / plain["seconds"] for ours, plain in zip(runs["ours"], runs["plain"], strict=True)]
    return {
        "reading": what,
        "file_mb": round(file.stat().st_size / 1e6, 1),
        **{f"{who}_seconds": round(min(run["seconds"] for run in some), 3) for who, some in runs.items()},
        "times_of_plain": round(statistics.median(ratios), 2),
        **{f"{who}_peak_mib": round(max(run["peak_mib"] for run in some)) for who, some in runs.items()},
        "same_values": same(runs["ours"][0]["read"], runs["plain"][0]["read"]),
    }


def same(ours: Digest, plain: Digest) -> bool:
    """Whether what ours read is what the plain script read of the same names."""
    return set(ours) == set(plain) and all(np.allclose(ours[key], plain[key], rtol=1e-5) for key in ours)


def main() -> None:
    given = arguments()
    if given.reading:
        what, who, file = given.reading
        return read_once(what, who, Path(file))
    with tempfile.TemporaryDirectory() as folder:
        rows = [measured(what, FILES[what](Path(folder)), given.rounds) for what in given.only]
    if given.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            print("  ".join(f"{key} {value}" for key, value in row.items()))
    slow = [row for row in rows if row["times_of_plain"] > LIMIT or not row["same_values"]]  # type: ignore[operator]
    sys.exit(1 if slow else 0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="+", choices=list(READINGS), default=list(READINGS))
    parser.add_argument("--rounds", type=int, default=3, help="readings of each, in turn")
    parser.add_argument("--reading", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
