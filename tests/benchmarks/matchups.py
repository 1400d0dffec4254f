"""How long the match-ups of many stations and years take, by stage; how often each file is read; and the memory.

Run: ``python tests/benchmarks/matchups.py [--json] [--stations 1000] [--years 10] [--tiles 4] [--workers 2]``.

What is measured is `steps.match_up_step`, from station items to the published item, on a synthetic catalogue: stations
with hourly series scattered over tiles of the default grid, and a file a day of ERA5-Land (0.1 degrees, two variables)
and of ESA CCI (0.25 degrees) around those tiles. So the daily files are small: the time is that of bookkeeping and of
many small reads, not of unpacking 1 km granules (for these see ``cube.py``). The catalogue is made once and kept.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.fingerprint import digest
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM as GRID
from stac_sm.core.parallel import process_pool
from stac_sm.core.period import ONE_DAY, Period, utc_instant
from stac_sm.core.projections import transformer_to_lonlat
from stac_sm.features import daily_fields
from stac_sm.features.recipe import Feature, Mask, Recipe
from stac_sm.stac import publish as publishing
from stac_sm.stac.items import PARQUET_MEDIA_TYPE, build_item
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, publish
from stac_sm.workflows.project import Project, create_project, read_project
from stac_sm.workflows.training import steps
from tests.support.fields import around, image, project_text, put

TILES = ("h18v04", "h19v04", "h18v05", "h19v05")
RECIPE = Recipe(
    (Feature("swvl1", "era5-land", "swvl1", "bilinear"),),
    derived=("doy_sin", "doy_cos"),
    masks=(Mask("frozen", Feature("frozen", "era5-land", "stl1", "bilinear"), below=273.15),),
)
STAGES = {
    "find stations": (steps, "_stations_and_sites"),
    "resolve": (steps, "resolve_sites"),
    "read series": (steps, "site_daily_means"),
    "match up": (steps, "match_up_recipes"),
    "publish": (publishing, "publish"),
}


def main() -> None:
    given = arguments()
    tiles, period = TILES[: given.tiles], Period.parse(f"2001/{2000 + given.years}")
    name = f"stac-sm-matchups-{given.stations}-{given.years}-{given.tiles}-{given.hours}"
    folder = Path(given.inputs or Path(tempfile.gettempdir()) / name)
    project = make_inputs(folder, tiles, period, given.stations, given.hours)
    found = {
        "stations": given.stations,
        "days": len(period),
        "tiles": len(tiles),
        **measure(project, given.again, given.workers),
    }
    print(json.dumps(found, indent=2) if given.json else "\n".join(f"{name}: {value}" for name, value in found.items()))


def measure(project: Project, again: bool, workers: int) -> dict[str, object]:
    """Seconds of every stage, rows and peak memory of one run of the step; in one process also reads of files."""
    if not again:
        discard(project)
    seconds: Counter[str] = Counter()
    for stage, (module, name) in STAGES.items():
        setattr(module, name, timed(getattr(module, name), stage, seconds))
    reads: Counter[tuple[str, str, str]] = Counter()
    plain = daily_fields.read_window

    def counted(source, window, reader):
        reads[source.href, source.asset, str(window)] += 1
        return plain(source, window, reader)

    daily_fields.read_window = counted
    start = time.perf_counter()
    made = steps.match_up_step(project, workers=workers)
    whole = time.perf_counter() - start
    status = Path("/proc/self/status").read_text()
    return {
        "rows": len(made.table),
        "triplets": len(made.triplets),
        "seconds": {name: round(value, 1) for name, value in {**seconds, "whole": whole}.items()},
        "rows_per_s": round(len(made.table) / whole),
        **(
            {"reads": sum(reads.values()), "most_reads_of_a_window": max(reads.values(), default=0)}
            if workers == 1
            else {}
        ),
        "peak_mb": int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024,
        "new": made.new,
    }


def discard(project: Project) -> None:
    """Take out what an earlier run has made."""
    import shutil

    for item in (project.folder / steps.MATCHUPS).glob("matchups-*"):
        shutil.rmtree(item)
    refresh(project.catalog.store, steps.MATCHUPS)


def timed(function: Callable, stage: str, seconds: Counter[str]) -> Callable:
    @wraps(function)
    def measured(*arguments, **options):
        start = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            seconds[stage] += time.perf_counter() - start

    return measured


def make_inputs(folder: Path, tiles: tuple[str, ...], period: Period, stations: int, hours: int) -> Project:
    """A project with stations and two daily collections around some tiles; kept if it is there."""
    if (folder / "done").exists():
        return read_project(folder)
    text = project_text(GRID, RECIPE, extra=f'[matchups]\nperiod = "{period}"')
    project = create_project(folder, text)
    with process_pool(2) as pool:
        jobs = [pool.submit(put_days, folder, tiles, year) for year in period_years(period)]
        jobs += [pool.submit(put_stations, folder, tiles, period, part, stations, hours) for part in range(2)]
        for job in jobs:
            job.result()
    for collection in ("era5-land", "esa-cci-sm", "ismn-stations"):
        refresh(project.catalog.store, collection)
    (folder / "done").touch()
    return read_project(folder)


def period_years(period: Period) -> list[Period]:
    return [Period.parse(str(year)) for year in range(period.start.year, (period.end - ONE_DAY).year + 1)]


def put_days(folder: Path, tiles: tuple[str, ...], year: Period) -> None:
    catalog = read_project(folder).catalog
    columns, rows = zip(*((int(tile[1:3]), int(tile[4:])) for tile in tiles), strict=True)
    corners = GRID.geobox(f"h{min(columns):02d}v{min(rows):02d}"), GRID.geobox(f"h{max(columns):02d}v{max(rows):02d}")
    whole = corners[0] | corners[1]
    fine, coarse = around(whole, "EPSG:4326", 0.1), around(whole, "EPSG:4326", 0.25)
    for day in year.days:
        angle = 0.001 * (day.toordinal() % 1000)
        era5 = {"swvl1": image(fine, 0.1, 0.4, angle), "stl1": image(fine, 271, 300, 1.1 * angle)}
        put(catalog, "era5-land", f"ERA5L.A{day:%Y%j}", fine, era5, day, linked=False)
        put(catalog, "esa-cci-sm", f"CCI.A{day:%Y%j}", coarse, {"cci_sm": image(coarse, 0, 0.5)}, day, linked=False)


def put_stations(folder: Path, tiles: tuple[str, ...], period: Period, part: int, stations: int, hours: int) -> None:
    """Every other station: a pixel of its own, a reading every ``24 / hours`` hours."""
    import pandas as pd

    catalog, rng = read_project(folder).catalog, np.random.default_rng(part)
    times = pd.date_range(str(period.start), periods=hours * len(period), freq=pd.Timedelta(24 / hours, "h"))
    flags = rng.choice(["G", "D01"], len(times), p=[0.9, 0.1])
    for number in range(part, stations, 2):
        place = np.random.default_rng(number).integers(1200, size=2)
        geobox = GRID.geobox(tiles[number % len(tiles)])
        lon, lat = transformer_to_lonlat(GRID.crs).transform(*(geobox.affine * tuple(int(n) + 0.5 for n in place)))
        sm = (0.25 + 0.1 * np.sin(np.arange(len(times)) / 500) + rng.normal(0, 0.02, len(times))).round(3)
        series = pd.DataFrame(
            {"time": times, "sensor": "Probe", "depth_from": 0.05, "depth_to": 0.05, "sm": sm, "flag": flags}
        )
        sensors = [{"sensor": "Probe", "depth_from": 0.05, "depth_to": 0.05, "n": len(series)}]
        item = build_item(
            id=f"NET.S{number:05d}", collection="ismn-stations", geometry={"type": "Point", "coordinates": [lon, lat]},
            bbox=[lon, lat, lon, lat], start=utc_instant(period.start), end=utc_instant(period.end), extensions=[],
            properties={
                "stac_sm:network": "NET", "stac_sm:station": f"S{number:05d}", "stac_sm:sensors": sensors,
                FINGERPRINT_PROPERTY: digest([number, part, hours]),
            },
        )  # fmt: skip
        file = folder / ".scratch" / f"{number}.parquet"
        file.parent.mkdir(exist_ok=True)
        series.to_parquet(file, index=False)
        publish(catalog, item, {"series": AssetFile(file, ".parquet", {"type": PARQUET_MEDIA_TYPE, "roles": ["data"]})})
        file.unlink()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--stations", type=int, default=1000)
    parser.add_argument("--years", type=int, default=10)
    parser.add_argument("--tiles", type=int, default=4, choices=range(1, 5))
    parser.add_argument("--hours", type=int, default=24, help="readings a day")
    parser.add_argument("--inputs", help="folder of the inputs, made if it is not there")
    parser.add_argument("--workers", type=int, default=2, help="processes; with 1, reads are counted")
    parser.add_argument("--again", action="store_true", help="the second call, which only reads what is there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
