"""Make the fixture project in ``tests/support/project_4977fae``: a small project as commit 4977fae writes it.

This script records how the fixture was made. It imports the package as it was at commit 4977fae, and it refuses to run
with any other version of it. It is not run by the tests, and it is not kept up to date: later versions must open what
this version wrote. To repeat it::

    git worktree add /tmp/4977fae 4977fae
    cp -r tests/tools /tmp/4977fae/tests/
    cd /tmp/4977fae && uv run --locked python tests/tools/fixture_project.py /tmp/fixture

The folder holds:

``granules/``
    Simulated input files of seven sources in the formats of their providers. No measurement is in them.
``project/``
    The project: inputs, climatology, stations, match-ups, one model, three tiles of one day, a monthly and an annual
    mean, a mosaic, a validation, the index of the product, one plan and the log of its run.
``expected.json``
    What the project holds: fingerprints, checksum and predictions of the model, checksums of pixels, and what `plan`,
    `audit` and `ingest` of that commit say.

Three things differ from what a user gets, to keep the fixture small and free of traces of a machine: the report pages
of the model and of the validation are one line, the index of every other collection is left out, and the run log names
no host. Two runs of this script write the same files, except for the run log (``runs/``) and ``index/proof``, which
hold times and inode numbers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pyarrow.parquet as pq
import rasterio
from affine import Affine
from click.testing import CliRunner

from stac_sm.catalog import open_catalog
from stac_sm.cli import main as stac_sm
from stac_sm.config import create_project
from stac_sm.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.items import item_json
from stac_sm.model import Model
from stac_sm.period import DAY, Period
from stac_sm.products import png
from stac_sm.simulate import Earth
from stac_sm.simulate.coarse import write_cci, write_era5_land
from stac_sm.simulate.dem import cop_dem_name, cop_dem_tiles
from stac_sm.simulate.granules import write_lai, write_lst
from stac_sm.simulate.soil import write_soil
from stac_sm.simulate.stations import write_ismn
from stac_sm.simulate.truth import elevation
from stac_sm.training_run import TrainingRun
from stac_sm.validation import step

COMMIT = "4977fae"
ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "support" / "project_4977fae"

EARTH = Earth(
    seed=1,
    tile="h18v06",
    radius=0.3,  # degrees: the island fits into 2 x 2 tiles of 64 pixels
    period=Period.parse("2019-02-20/2019-03-09"),
    stations=13,
    bad_share=0.2,
    good_snr_db=(8.0, 1.0),  # less noise than in reality, so that triple collocation works on these few days
    era5_noise=0.008,
    cci_noise=0.008,
)
LST_DAYS = [date(2019, 2, 26), date(2019, 3, 3), date(2019, 3, 6)]  # the second is the day of the product
COMPOSITES = [date(2019, 2, 18), date(2019, 3, 6)]  # centres 16 days apart
CORNER = 536, 536  # row and column of the upper left pixel in the MODIS tile
BOX = 4.9, 24.4, 6.1, 25.6  # west, south, east, north: the coarse grids are cut to it, in degrees
DEM_SIDE = 60  # pixels of a tile of one degree; the real one has 1200
SOURCES = ("ismn", "cop-dem", "soilgrids", "era5-land", "esa-cci-sm", "glass-lai", "glass-lst")

MOST_BYTES, MOST_BYTES_A_FILE = 2_000_000, 200_000
ROWS = 64  # feature rows whose predictions are kept

PROJECT_FILE = """\
# A project of commit 4977fae, made by tests/tools/fixture_project.py. Simulated inputs; nothing here was measured.

[project]
title = "Fixture 4977fae"
version = "001"

[grid]
name = "fixture-sinusoidal-64"
crs = "{crs}"
origin = [{left!r}, {top!r}]
pixel = [{pixel!r}, {pixel!r}]
tile_shape = [64, 64]
tiles = [2, 2]
code = "FIXT"

[stations]
min_hours = 4

[matchups]
period = "2019-02-22/2019-03-09"

[screening]
min_correlation = 0.2
max_error_std = 0.1
min_days = 8
min_sites_for_intervals = 9

[training]
n_estimators = 30
max_depth = 3
eta = 0.2

[product]
tiles = ["h00v01", "h01v00", "h01v01"]
period = "2019-03-03"

[sources.era5-land]
min_hours = 4

[recipe]
derived = ["doy_sin", "latitude"]

[[recipe.features]]
name = "lst"
collection = "glass-lst"
asset = "lst"
resampling = "nearest"
time = "daily"
missing = "nan"

[[recipe.features]]
name = "lai"
collection = "glass-lai"
asset = "lai"
resampling = "average"
time = "composite"
max_gap = 16
valid = [0, 100]

[[recipe.features]]
name = "swvl1"
collection = "era5-land"
asset = "swvl1"
resampling = "bilinear"
time = "daily"

[[recipe.features]]
name = "swvl1_before"
collection = "era5-land"
asset = "swvl1"
resampling = "bilinear"
time = "daily"
lag = 1
trailing = 2

[[recipe.features]]
name = "swvl1_anomaly"
collection = "era5-land"
asset = "swvl1"
resampling = "bilinear"
time = "daily"
statistic = "anomaly"
climatology = {{ period = "2019-02-20/2019-03-09", season = "year", least_days = 5 }}

[[recipe.features]]
name = "cci"
collection = "esa-cci-sm"
asset = "cci_sm"
resampling = "nearest"
time = "previous"
max_gap = 3
missing = "climatology"
climatology = {{ period = "2019-02-20/2019-03-09", least_days = 2 }}

[[recipe.features]]
name = "elevation"
collection = "cop-dem"
asset = "elevation"
resampling = "bilinear"
time = "static"

[[recipe.features]]
name = "clay"
collection = "soilgrids"
asset = "clay"
resampling = "average"
time = "static"

[[recipe.masks]]
name = "water"
collection = "soilgrids"
asset = "clay"
resampling = "average"
time = "static"
unknown = true

[[recipe.masks]]
name = "frozen"
collection = "era5-land"
asset = "stl1"
resampling = "bilinear"
time = "daily"
below = 273.15

[[recipe.masks]]
name = "snow"
collection = "era5-land"
asset = "sd"
resampling = "bilinear"
time = "daily"
above = 0.01
"""


def main(folder: Path) -> None:
    """Make the fixture in a folder, replacing what is there, and check it."""
    check_code()
    shutil.rmtree(folder, ignore_errors=True)
    write_granules(folder / "granules")
    make_project(folder)
    write_expected(folder)
    check_sizes(folder)
    check_paths(folder)


def check_code() -> None:
    """Refuse to run with any other code than that of the commit."""
    here, there = (git("rev-parse", f"{commit}:stac_sm") for commit in ("HEAD", COMMIT))
    if here != there or git("status", "--porcelain", "--", "stac_sm", "catalog", "uv.lock"):
        sys.exit(f"the package differs from that of commit {COMMIT}: check out {COMMIT}, then run this script there")


def git(*arguments: str) -> str:
    """Return what a git command prints."""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def write_granules(folder: Path) -> None:
    """Write the input files of all sources, one folder a source."""
    for source in SOURCES:
        (folder / source).mkdir(parents=True)
    tile, first, last = EARTH.tile, EARTH.period.start, EARTH.period.end - DAY
    write_ismn(EARTH, folder / "ismn" / f"Data_separate_files_header_{first:%Y%m%d}_{last:%Y%m%d}_simulated.zip")
    for corner in cop_dem_tiles(EARTH):
        write_dem(folder / "cop-dem" / cop_dem_name(corner), corner)
    write_soil(EARTH, folder / "soilgrids" / "clay_0-5cm_mean.tif", "clay")
    for start in COMPOSITES:
        write_lai(EARTH, folder / "glass-lai" / f"GLASS01E01.V60.A{start:%Y%j}.{tile}.2022012.hdf", start)
    for day in LST_DAYS:
        write_lst(EARTH, folder / "glass-lst" / f"GLASS06A01.V01.A{day:%Y%j}.{tile}.2022021.hdf", day)
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch, "whole.nc")
        write_era5_land(EARTH, whole, EARTH.period)
        cut(whole, folder / "era5-land" / "era5_land_2019.nc", "NETCDF4_CLASSIC")
        for day in EARTH.period.days:
            write_cci(EARTH, whole, day)
            name = f"ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-{day:%Y%m%d}000000-fv08.1.nc"
            cut(whole, folder / "esa-cci-sm" / name, "NETCDF3_CLASSIC")


def write_dem(path: Path, corner: tuple[int, int]) -> None:
    """Write a tile of the Copernicus DEM with fewer pixels than the real one; their centres lie on its grid."""
    south, west = corner
    step = 1 / DEM_SIDE
    lat, lon = south + 1 - np.arange(DEM_SIDE) * step, west + np.arange(DEM_SIDE) * step
    height = elevation(EARTH, lat, lon).round().astype(np.float32)
    profile = {
        "driver": "GTiff", "dtype": "float32", "count": 1, "height": DEM_SIDE, "width": DEM_SIDE, "crs": "EPSG:4326",
        "transform": Affine(step, 0, west - step / 2, 0, -step, south + 1 + step / 2), "compress": "deflate",
        "predictor": 3,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.update_tags(AREA_OR_POINT="Point")
        file.write(height, 1)


def cut(source: Path, target: Path, kind: str) -> None:
    """Copy the cells of a NetCDF file that lie in BOX, in another format; texts and scalars are left out."""
    west, south, east, north = BOX
    with netCDF4.Dataset(source) as whole, netCDF4.Dataset(target, "w", format=kind) as part:
        windows = dict.fromkeys(whole.dimensions, np.s_[:])
        for name in whole.dimensions:
            if name[:3] in {"lat", "lon"}:
                low, high = (south, north) if name.startswith("lat") else (west, east)
                inside = np.flatnonzero((whole[name][:] > low) & (whole[name][:] < high))
                windows[name] = np.s_[int(inside[0]) : int(inside[-1]) + 1]
        part.setncatts({name: whole.getncattr(name) for name in whole.ncattrs() if name != "GRIB_subCentre"})
        for name, dimension in whole.dimensions.items():
            part.createDimension(name, len(range(len(dimension))[windows[name]]))
        for name, variable in whole.variables.items():
            if not variable.dimensions or variable.dtype is str or name in {"t0", "sensor", "mode", "dnflag"}:
                continue
            variable.set_auto_maskandscale(False)
            values = variable[tuple(windows[dimension] for dimension in variable.dimensions)]
            values = values.astype(np.int32) if values.dtype == np.int64 else values
            attributes = {key: variable.getncattr(key) for key in variable.ncattrs() if key != "coordinates"}
            fill = attributes.pop("_FillValue", None)
            packed = {"zlib": True, "complevel": 9} if kind.startswith("NETCDF4") and values.ndim == 3 else {}
            copy = part.createVariable(name, values.dtype, variable.dimensions, fill_value=fill, **packed)
            copy.set_auto_maskandscale(False)
            copy.setncatts(attributes)
            copy[:] = values


def make_project(folder: Path) -> None:
    """Run the commands of a project in their order, as a user types them."""
    project = folder / "project"
    create_project(project, project_file())
    shorten_reports()
    for source in SOURCES:
        command("ingest", source, folder / "granules" / source, project=project, workers=1)
    command("climatology", project=project, workers=1)
    command("train", project=project, workers=1)
    command("plan", project=project, workers=1)
    (plan,) = (project / "plans").glob("*.parquet")
    command("run", plan, project=project, workers=1)
    command("annual", "2019-03", "--tiles", "h01v01", "--monthly", project=project, workers=1)
    command("annual", "2019", "--tiles", "h01v01", project=project, workers=1)
    command("mosaic", project=project)
    command("validate", project=project)
    for index in project.glob("*/index"):
        if index.parent.name != "sm-1km-daily":
            shutil.rmtree(index)
    for file in (project / "runs").rglob("*.json"):
        content = json.loads(file.read_text())
        if "worker" in content:
            content["worker"] = "host:1"  # leaves out the name of the host and the process id
        file.write_bytes(item_json(content))


def shorten_reports() -> None:
    """Replace the writers of report pages by ones that write one line: no fingerprint depends on a page."""
    page, whole_report, whole_files = (
        b"<!doctype html><title>Report</title>\n",
        TrainingRun.write_report,
        step.write_files,
    )

    def short_report(run: TrainingRun, *arguments: Any) -> dict[str, Path]:
        files = whole_report(run, *arguments)
        files["report"].write_bytes(page)
        return files

    def short_files(*arguments: Any) -> dict[str, Any]:
        assets = whole_files(*arguments)
        assets["report"].file.write_bytes(page)
        assets["maps"].file.write_bytes(png(np.zeros((1, 1, 4), np.uint8)))
        return assets

    TrainingRun.write_report, step.write_files = short_report, short_files


def project_file() -> str:
    """Return the project file with the numbers of its grid."""
    geobox = MODIS_SINUSOIDAL_1KM.geobox(EARTH.tile)
    left, top = geobox.affine * CORNER[::-1]
    return PROJECT_FILE.format(crs=MODIS_SINUSOIDAL_1KM.crs, left=left, top=top, pixel=MODIS_SINUSOIDAL_1KM.pixel[0])


def command(*arguments: object, project: Path, workers: int | None = None) -> str:
    """Run a command of the command line on a project; return what it prints on stdout."""
    given = [*map(str, arguments), "--project", str(project)]
    given += ["--workers", str(workers)] if workers else []
    print("stac-sm", *given, file=sys.stderr)
    done = CliRunner().invoke(stac_sm, given)
    if done.exit_code:
        sys.exit(f"{done.output}\n{done.exception!r}")
    print(done.output, file=sys.stderr)
    return done.stdout


def write_expected(folder: Path) -> None:
    """Write what the project holds, and what this version says of it, to ``expected.json``."""
    with tempfile.TemporaryDirectory() as scratch:  # commands write plans and indexes
        copy = shutil.copytree(folder / "project", Path(scratch, "project"))
        plan = json.loads(command("plan", "--json", project=copy, workers=1))
        findings = json.loads(command("audit", "--json", project=copy, workers=1))
        ingested = {source: ingested_again(folder, copy, source) for source in SOURCES}
    catalog = open_catalog(folder / "project")
    items = {id: list(catalog.items(id)) for id in catalog.collections}
    (model_item,) = items["sm-models"]
    content = {
        "commit": git("rev-parse", COMMIT),
        "tree": tree_digest(folder),
        "algorithm": algorithm_versions(),
        "fingerprints": {
            id: {item.id: item.properties["stac_sm:fingerprint"] for item in found}
            for id, found in items.items()
            if found
        },
        "parts": {item.id: item.properties["stac_sm:parts"] for item in items["sm-1km-daily"]},
        "model": predictions(Model.from_item(model_item.self_href), folder / "project"),
        "pixels": {item.id: pixels(item) for item in items["sm-1km-daily"]},
        "plan": {name: plan[name] for name in ("tile-days", "new", "done", "stale", "blocked", "retracted")},
        "audit": findings,
        "ingest": ingested,
    }
    (folder / "expected.json").write_text(json.dumps(content, indent=1) + "\n")


def tree_digest(folder: Path) -> str:
    """Return the SHA-256 of the lines ``{SHA-256}  {path}`` of all granules and files of the project."""
    files = sorted(path for part in ("granules", "project") for path in (folder / part).rglob("*") if path.is_file())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}" for path in files
    ]
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()


def algorithm_versions() -> dict[str, str]:
    """Return the numbers that this version raises by hand when values change."""
    from stac_sm.aggregates.wanted import AGGREGATES_VERSION
    from stac_sm.fingerprint import ALGORITHM_VERSION
    from stac_sm.validation.step import VALIDATION_VERSION

    return {"items": ALGORITHM_VERSION, "aggregates": AGGREGATES_VERSION, "validation": VALIDATION_VERSION}


def ingested_again(folder: Path, project: Path, source: str) -> dict[str, int]:
    """Ingest the granules of a source again; return the number of items by outcome."""
    told = json.loads(command("ingest", source, folder / "granules" / source, "--json", project=project, workers=1))
    total: dict[str, int] = {}
    for result in told:
        for outcome, count in result["items"].items():
            total[outcome] = total.get(outcome, 0) + count
    return total


def predictions(model: Model, project: Path) -> dict[str, Any]:
    """Return the model's checksums, feature rows, and what it says of them; floats as hex of little-endian float32."""
    columns = feature_rows(model, project)
    predicted, half_width = model.predict_with_half_width(columns)
    if half_width is None or model.applicability is None or model.intervals is None or model.recipe is None:
        sys.exit("the model has no intervals, no area of applicability or no recipe: change the project file")
    outside = model.applicability.outside(columns)
    return {
        "id": model.id,
        "checksum": model.checksum,
        "recipe": model.recipe.checksum,
        "intervals": model.intervals.checksum,
        "applicability": model.applicability.checksum,
        "members": [[member.weight, list(member.features)] for member in model.members],
        "rows": {name: as_hex(values) for name, values in columns.items()},
        "predicted": as_hex(predicted),
        "half_width": as_hex(half_width),
        "outside": np.packbits(outside).tobytes().hex(),
    }


def feature_rows(model: Model, project: Path) -> dict[str, np.ndarray]:
    """Return rows from the match-ups as columns of float32; every fourth is moved away, and some have gaps."""
    (file,) = (project / "matchups").rglob("*.table.parquet")
    table = pq.read_table(file).to_pandas()
    step = np.arange(ROWS)
    some = table.iloc[(step * 37) % len(table)]
    columns = {}
    for i, name in enumerate(model.features):
        values = some[name].to_numpy(np.float32)
        span = np.float32(np.nanmax(values) - np.nanmin(values))
        away = np.where(step % 4 == 3, (step * (2 * i + 3)) % 17 - 8, 0).astype(np.float32)
        values = values + np.float32(0.125) * span * away
        columns[name] = np.where((step * (i + 5)) % 23 == 1, np.float32(np.nan), values)
    return columns


def as_hex(values: np.ndarray) -> str:
    """Return float32 values as hex, little-endian."""
    return values.astype("<f4").tobytes().hex()


def pixels(item: Any) -> dict[str, dict[str, Any]]:
    """Return shape, type and SHA-256 of the decoded pixels of every raster of an item, little-endian, row by row."""
    found = {}
    for key, asset in item.assets.items():
        if asset.href.endswith(".tif"):
            with rasterio.open(asset.get_absolute_href()) as file:
                values = file.read(1)
            digest = hashlib.sha256(values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest()
            found[key] = {"shape": list(values.shape), "dtype": values.dtype.name, "sha256": digest}
    return found


def check_sizes(folder: Path) -> None:
    """Refuse a fixture that is too large for the repository."""
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    large = [f"{path}: {size} bytes" for path, size in sizes.items() if size > MOST_BYTES_A_FILE]
    print(f"{len(sizes)} files, {sum(sizes.values())} bytes, the largest {max(sizes.values())}", file=sys.stderr)
    if large or sum(sizes.values()) > MOST_BYTES:
        sys.exit("\n".join(["the fixture is too large", *large]))


def check_paths(folder: Path) -> None:
    """Refuse a fixture with a path of this machine in it."""
    marks = [str(folder).encode(), tempfile.gettempdir().encode(), str(Path.home()).encode()]
    for path in sorted(folder.rglob("*")):
        if path.is_file() and any(mark in path.read_bytes() for mark in marks if len(mark) > 1):
            sys.exit(f"{path} holds a path of this machine")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
