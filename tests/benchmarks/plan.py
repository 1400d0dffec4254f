"""How long it takes to plan a product, how much memory, and how many LIST requests; and whether it grows in proportion.

Run: ``python tests/benchmarks/plan.py [--json] [--tiles 300] [--years 21] [--share 0.5] [--linearity] [--keep]
[--on KEPT/p]``.

A catalogue without pixels is made in a temporary folder (``--folder``), and removed again (not by ``--keep``): a daily
and an 8-day layer
with an item a tile, a global daily layer with two assets, a static one; their links and index; and products for a share
of the tile-days, of which a hundredth is stale. The JSON of the items of one tile is one file under many names (hard
links), which only an item that the index does not prove would show. ``first plan`` is that without any product, which
gives the fingerprints that the products bear; ``plan`` is what counts.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date, datetime
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stac_sm.core.fingerprint import digest
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM as GRID
from stac_sm.core.period import ONE_DAY, Period, utc_instant
from stac_sm.features.recipe import Feature, Mask, Recipe
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.index.manifest import empty_manifest
from stac_sm.stac.index.shard import parse_indexed_item, shard_table
from stac_sm.stac.items import COG_MEDIA_TYPE, item_json, raster_item
from stac_sm.stac.publish import FINGERPRINT_PROPERTY
from stac_sm.storage.local_store import LocalStore
from stac_sm.storage.store import sha256
from stac_sm.workflows.plan.input_table import scan_jobs
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.plan.plan_file import PlanWriter, read_plan
from stac_sm.workflows.project import create_project, read_project
from tests.support.fields import box, project_text, put_model, read_model

RECIPE = Recipe(
    (
        Feature("lst", "glass-lst", "lst", "nearest"),
        Feature("lai", "glass-lai", "lai", "average", "composite", 16),
        Feature("swvl1", "era5-land", "swvl1", "bilinear"),
        Feature("elevation", "cop-dem", "elevation", "average", "static", missing="nan"),
    ),
    derived=("doy_sin", "latitude"),
    masks=(Mask("frozen", Feature("frozen", "era5-land", "stl1", "bilinear"), below=273.15),),
)
FIRST = date(2000, 1, 1)
STALE = "0" * 64
_EPOCH = date(1970, 1, 1)
_US = 86_400_000_000


def main() -> None:
    given = arguments()
    if given.on:
        print(json.dumps(planned_again(Path(given.on), given)))
        return
    sizes = [(10, 1000), (37, 2703), (131, 7634)] if given.linearity else [(given.tiles, round(given.years * 365.2857))]
    results = [measured(given, tiles, days) for tiles, days in sizes]
    for result in results:
        print(json.dumps(result)) if given.json else tell(result)


def measured(given: argparse.Namespace, tiles: int, days: int) -> dict:
    folder = tempfile.mkdtemp(prefix="stac-sm-plan-bench-", dir=given.folder)
    try:
        return plan_of_size(Path(folder, "p"), tiles, days, given.share, given.workers)
    finally:
        if not given.keep:
            subprocess.run(["rm", "-rf", folder], check=True)


def planned_again(folder: Path, given: argparse.Namespace) -> dict:
    """The last plan once more, for a quieter machine or other code."""
    tiles = sorted(land_like(given.tiles))
    period = Period(FIRST, FIRST + round(given.years * 365.2857) * ONE_DAY)
    catalog = read_project(folder).catalog
    model = read_model(catalog, catalog.items("sm-models")[0].id)
    plan, told = planned(folder, catalog, model, tiles, period, given.workers)
    return {"tile-days": len(tiles) * len(period), "plan": told, "counts": plan.counts}


def planned(folder: Path, catalog, model, tiles: list[str], period: Period, workers: int):
    """A plan with its file, and what it took."""
    with Peak() as peak, PlanWriter(model.id, GRID) as file:
        began = time.monotonic()
        plan = make_plan(catalog, model, tiles, period, grid=GRID, version="001", workers=workers, each=file.add)
        made = took(began)
        href = file.place(folder / "plans" / "plan.parquet")
        told = {"seconds": took(began), "of that after planning": round(took(began) - made, 1)}
    told |= {"CPU s": round(peak.cpu, 1), "load": round(os.getloadavg()[0], 1)}
    return plan, told | {"peak MiB": peak.mib, "plan file MiB": Path(href).stat().st_size >> 20}


def plan_of_size(folder: Path, number: int, days: int, share: float, workers: int) -> dict:
    tiles = sorted(land_like(number))
    period = Period(FIRST, FIRST + days * ONE_DAY)
    started = time.monotonic()
    project = create_project(folder, project_text(GRID, RECIPE))
    put_model(project.catalog, folder / ".scratch" / "model", RECIPE)
    inputs = make_inputs(folder, tiles, period, workers)
    model = read_model(project.catalog, project.catalog.items("sm-models")[0].id)
    result = {"tile-days": number * days, "input items": inputs, "build inputs s": took(started)}

    given = folder, project.catalog, model, tiles, period, workers
    plan, result["first plan"] = planned(*given)
    tell(result)
    started = time.monotonic()
    products = make_products(folder, plan.columns.table, share, workers)
    result |= {"product items": products, "build products s": took(started)}
    del plan
    gc.collect()
    plan, result["plan"] = planned(*given)
    result["counts"] = plan.counts
    began = time.monotonic()
    back = read_plan(folder / "plans" / "plan.parquet")
    result |= {
        "read back s": took(began),
        "same id": back.id == plan.id,
        "LIST calls": list_calls(project.catalog, period),
    }
    if number * days <= 50_000:  # proves the number of LIST calls
        store = CountingStore(folder)
        make_plan(type(project.catalog)(store), model, tiles, period, grid=GRID, version="001")
        result["LIST calls counted"] = store.pages[0]
    return result


class CountingStore(LocalStore):
    """Counts the LIST requests that a bucket would be asked: one for each thousand names."""

    pages: ClassVar[list[int]] = [0]

    def list_objects(self, prefix: str = ""):
        found = list(super().list_objects(prefix))
        self.pages[0] += max(1, -(-len(found) // 1000))
        return iter(found)

    def list_objects_at(self, folder: str, paths):
        wanted = set(paths)
        return (entry for entry in self.list_objects(folder) if entry.path in wanted)


def list_calls(catalog, period: Period) -> int:
    """The same from the folders that are listed: a month of each dated collection, and each other collection."""
    own: dict[str, list[Feature]] = {}
    for feature in RECIPE.sources:
        own.setdefault(feature.collection, []).append(feature)
    jobs = [job for name, features in own.items() for job in scan_jobs(catalog, name, features, period)]
    folders = [folder for job in jobs for folder in job.folders]
    folders += [f"{PRODUCT_COLLECTION}/{month.start:%Y/%m}" for month in period.months()]
    numbers = [sum(len(files) for _, _, files in os.walk(Path(catalog.root, folder))) for folder in folders]
    return sum(max(1, -(-number // 1000)) for number in numbers)


def land_like(number: int) -> list[str]:
    """Tiles on the Earth, from the equator outwards."""
    rows = sorted(range(18), key=lambda row: abs(row - 8.5))
    names = (GRID.tile_id(column, row) for row in rows for column in range(36))
    on = (tile for tile in names if GRID.footprint(tile) is not None)
    return [tile for tile, _ in zip(on, range(number), strict=False)]


def make_inputs(folder: Path, tiles: list[str], period: Period, workers: int) -> int:
    """Items, links and index of the input collections; their number."""
    span = Period(period.start - 40 * ONE_DAY, period.end + 40 * ONE_DAY)
    coarse = box("EPSG:4326", -180.05, 90.05, 0.1, (1801, 3601))
    layers = {
        "glass-lst": (tiles, ["lst"], "uint16", 1, span),
        "glass-lai": (tiles, ["lai"], "uint8", 8, span),
        "era5-land": ([""], ["swvl1", "stl1"], "float32", 1, span),
    }
    jobs = []
    for name, (places, assets, kind, step, days) in layers.items():
        boxes = [GRID.geobox(tile) if tile else coarse for tile in places]
        starts = days.days[::step]
        months = sorted({(day.year, day.month) for day in starts})
        for month in months:
            chosen = [day for day in starts if (day.year, day.month) == month]
            jobs.append((folder, name, places, boxes, assets, kind, step, chosen))
    with ProcessPoolExecutor(workers) as pool:
        number = sum(pool.map(make_month, jobs))
    link_months(folder, list(layers))
    return number + make_static(folder, tiles)


def item_of(name: str, id: str, geobox, assets: list[str], kind: str, start, days: int, tile: str = "") -> dict:
    own = {"grid:code": GRID.grid_code(tile)} if tile else {}
    item = raster_item(
        id=id, collection=name, geobox=geobox, start=utc_instant(start), end=utc_instant(start) + days * ONE_DAY,
        properties={FINGERPRINT_PROPERTY: digest(id), **own}, extensions=["grid"],
    )  # fmt: skip
    for asset in assets:
        band = {
            "name": asset,
            "data_type": kind,
            "nodata": 0 if kind.startswith("u") else -9999.0,
            "raster:scale": 0.01,
        }
        file = {"file:checksum": "1220" + digest([id, asset]), "file:size": 1_500_000}
        item["assets"][asset] = {
            "href": f"./{id}.{asset}.tif",
            "type": COG_MEDIA_TYPE,
            "roles": ["data"],
            "bands": [band],
            **file,
        }
    return item


_written: dict[tuple, tuple[Path, os.stat_result]] = {}


def json_file(folder: Path, name: str, tile: str, item: dict) -> tuple[Path, os.stat_result]:
    """The one file that has the names of all items of a tile."""
    key = (name, tile, os.getpid(), item["properties"]["start_datetime"][:4])
    if key not in _written:
        file = folder / ".scratch" / f"{name}-{tile}-{os.getpid()}-{key[3]}.json"
        file.write_bytes(item_json(item))
        _written[key] = file, file.stat()
    return _written[key]


_tables: dict[tuple, tuple[pa.Table, list[dict]]] = {}


def make_month(job: tuple) -> int:
    """Items, sub-catalogues and shards of the items that start in a month; runs in a process."""
    folder, name, places, boxes, assets, kind, step, starts = job
    key = (name, len(starts) and 0)
    if key not in _tables:
        first = [
            item_of(name, f"{name}.A0000000.{tile or 'global'}", geobox, assets, kind, starts[0], step, tile)
            for tile, geobox in zip(places, boxes, strict=True)
        ]
        paths = [f"{name}/x/{item['id']}/{item['id']}.json" for item in first]
        documents = [parse_indexed_item(path, item_json(item)) for path, item in zip(paths, first, strict=True)]
        _tables[key] = shard_table(documents), first
    base, items = _tables[key]
    by_shard: dict[str, list[tuple]] = {}
    for start in starts:
        where = f"{start:%Y/%m}" if name == "era5-land" else f"{start:%Y/%m/%d}"
        rows = []
        for tile, item in zip(places, items, strict=True):
            id = f"{name}.A{start:%Y%j}.{tile or 'global'}"
            file, status = json_file(folder, name, tile, item)
            rows.append(linked(folder, f"{name}/{where}", id, file, status))
        middle = datetime.combine(start, datetime.min.time()) + step * ONE_DAY / 2
        by_shard.setdefault(f"{middle:%Y-%m}", []).append((start, rows))
        if name != "era5-land":
            write_links(folder / name / where, "item", [row[0] for row in rows])
    if name == "era5-land":
        ids = [row[0] for days in by_shard.values() for _, rows in days for row in rows]
        write_links(folder / name / f"{starts[0]:%Y/%m}", "item", ids)
    for month, days in by_shard.items():
        write_shard(folder, name, month, base, days, assets, step, part=f"{starts[0]:%Y-%m}")
    return len(starts) * len(places)


def linked(folder: Path, where: str, id: str, file: Path, status: os.stat_result) -> tuple:
    place = f"{folder}/{where}/{id}"
    try:
        os.mkdir(place)
    except FileNotFoundError:
        os.makedirs(place)
    os.link(file, f"{place}/{id}.json")
    return id, f"{where}/{id}/{id}.json", f"{status.st_mtime_ns}-{status.st_ino}", status.st_size


def write_links(folder: Path, rel: str, names: list[str]) -> None:
    end = "{0}/{0}.json" if rel == "item" else "{0}/catalog.json"
    links = [{"rel": rel, "href": f"./{end.format(name)}", "title": name} for name in names]
    file = folder / ("catalog.json" if (folder / "collection.json").exists() is False else "collection.json")
    document = json.loads(file.read_text()) if file.exists() else {"type": "Catalog", "id": folder.name}
    document["links"] = [link for link in document.get("links", []) if link["rel"] not in {"item", "child"}] + links
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))


def link_months(folder: Path, names: list[str]) -> None:
    for name in names:
        levels = list((folder / name).glob("[0-9]*"))
        if name != "era5-land":
            levels += list((folder / name).glob("[0-9]*/*"))
        for level in [folder / name, *levels]:
            deeper = sorted(path.name for path in level.iterdir() if path.is_dir() and path.name.isdigit())
            write_links(level, "child", deeper)
        join_shards(folder / name / "index")


def write_shard(
    folder: Path, name: str, month: str, base: pa.Table, days: list, assets: list[str], step: int, part: str
) -> None:
    """Shard and proof of some days, as `shard_bytes` and `proof_bytes` would write them; without hrefs of their own."""
    rows = [row for _, of_day in days for row in of_day]
    each = len(days[0][1])
    table = base.take(np.tile(np.arange(each), len(days)))
    starts = np.repeat([(start - _EPOCH).days * _US for start, _ in days], each)
    times = {
        "start_datetime": starts,
        "datetime": starts + step * _US // 2,
        "end_datetime": starts + step * _US - 1_000_000,
    }
    kind = pa.timestamp("us", "UTC")
    ids = [row[0] for row in rows]
    columns = {"id": pa.array(ids), **{key: pa.array(value, pa.int64()).cast(kind) for key, value in times.items()}}
    columns["assets"] = own_assets(table["assets"].combine_chunks(), rows, assets)
    for key, column in columns.items():
        table = table.set_column(table.column_names.index(key), key, column)
    texts = [pa.array([row[at] for row in rows]) for at in (1, 2)]
    known = {"path": texts[0], "version": texts[1], "size": pa.array([row[3] for row in rows]), **columns}
    known[FINGERPRINT_PROPERTY] = table[FINGERPRINT_PROPERTY]
    known["grid:code"] = table["grid:code"] if "grid:code" in table.column_names else pa.nulls(len(rows), pa.string())
    proof = pa.table({key: known[key] for key in empty_manifest().column_names}).cast(empty_manifest().schema)
    target = folder / name / "index"
    (target / "parts").mkdir(parents=True, exist_ok=True)
    for what, content in (("shard", table), ("proof", proof)):
        pq.write_table(content, target / "parts" / f"{month}.{what}.{part}.parquet")


def own_assets(column: pa.StructArray, rows: list, names: list[str]) -> pa.StructArray:
    fields = []
    for asset in names:
        known = column.field(asset)
        values = {field.name: known.field(i) for i, field in enumerate(known.type)}
        values["href"] = pa.array([f"./{row[0]}.{asset}.tif" for row in rows])
        values["file:checksum"] = pa.array([f"1220{hash((row[0], asset)) & (2**63 - 1):064x}" for row in rows])
        fields.append(pa.StructArray.from_arrays(list(values.values()), names=list(values)))
    return pa.StructArray.from_arrays(fields, names=names)


def join_shards(index: Path) -> None:
    """One shard a month of what items that start in two months have given."""
    (index / "proof").mkdir(exist_ok=True)
    for month in sorted({file.name.split(".")[0] for file in (index / "parts").iterdir()}):
        files = {what: sorted((index / "parts").glob(f"{month}.{what}.*")) for what in ("shard", "proof")}
        both = {what: pa.concat_tables(map(pq.read_table, of)) for what, of in files.items()}
        finish(index, month, both["shard"], both["proof"])
    subprocess.run(["rm", "-rf", index / "parts"], check=True)


def finish(index: Path, month: str, shard: pa.Table, proof: pa.Table) -> None:
    pq.write_table(shard, index / f"{month}.parquet", compression="zstd")
    mark = {b"stac_sm:shard": sha256((index / f"{month}.parquet").read_bytes())}
    pq.write_table(proof.replace_schema_metadata(mark), index / "proof" / f"{month}.parquet", compression="zstd")


def make_static(folder: Path, tiles: list[str]) -> int:
    """Items of the elevation; without an index, so that they are read."""
    name = "cop-dem"
    for tile in tiles:
        item = item_of(name, f"DEM.{tile}", GRID.geobox(tile), ["elevation"], "float32", date(2010, 1, 1), 365, tile)
        place = folder / name / item["id"]
        place.mkdir(parents=True)
        (place / f"{item['id']}.json").write_bytes(item_json(item))
    write_links(folder / name, "item", [f"DEM.{tile}" for tile in tiles])
    return len(tiles)


def make_products(folder: Path, table: pa.Table, share: float, workers: int) -> int:
    """Product items of a share of the tile-days, with the fingerprints that are wanted; a hundredth is stale."""
    days = table["day"].cast(pa.int32()).to_numpy()
    chosen = np.random.default_rng(1).random(len(table)) < share
    month = pc.strftime(table["day"], "%Y-%m").to_numpy(zero_copy_only=False)
    template = folder / ".scratch" / "product"
    jobs = []
    for one in np.unique(month):
        at = np.flatnonzero(chosen & (month == one))
        at = at[np.argsort(days[at], kind="stable")]
        rows = table.select(["tile", "day", "fingerprint"]).take(at)
        jobs.append((folder, str(one), {name: rows[name].to_pylist() for name in rows.column_names}, template))
    with ProcessPoolExecutor(workers) as pool:
        return sum(pool.map(make_product_month, jobs))


def make_product_month(job: tuple) -> int:
    folder, month, rows, template = job
    item = {"type": "Feature", "properties": {FINGERPRINT_PROPERTY: STALE}, "links": []}
    file = template.with_name(f"product-{month}.json")
    file.write_text(json.dumps(item))
    status = file.stat()
    made = [
        linked(folder, f"{PRODUCT_COLLECTION}/{day:%Y/%m/%d}", f"SM1KM.A{day:%Y%j}.{tile}.v001", file, status)
        for tile, day in zip(rows["tile"], rows["day"], strict=True)
    ]
    prints = [STALE if i % 100 == 0 else one for i, one in enumerate(rows["fingerprint"])]
    times = pa.array([(day - _EPOCH).days * _US for day in rows["day"]], pa.int64()).cast(pa.timestamp("us", "UTC"))
    known = {"path": [row[1] for row in made], "version": [row[2] for row in made], "size": [row[3] for row in made]}
    known |= {"id": [row[0] for row in made], FINGERPRINT_PROPERTY: prints, "grid:code": rows["tile"]}
    known |= dict.fromkeys(("datetime", "start_datetime", "end_datetime"), times)
    index = folder / PRODUCT_COLLECTION / "index"
    (index / "proof").mkdir(parents=True, exist_ok=True)
    finish(index, month, pa.table({"id": known["id"]}), pa.table(known).cast(empty_manifest().schema))
    return len(made)


class Peak:
    """Largest memory of this process and of those that it started, each at its own worst moment, added up."""

    def __enter__(self) -> Peak:
        Path("/proc/self/clear_refs").write_text("5")
        self._worst: dict[int, int] = {}
        self._cpu: dict[int, float] = {}
        self._before = sum(map(cpu_seconds, descendants()))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def mib(self) -> int:
        return sum(self._worst.values()) >> 10

    @property
    def cpu(self) -> float:
        """Seconds of all these processes, but for the last moments of those that have ended."""
        return sum(self._cpu.values()) - self._before

    def _watch(self) -> None:
        while not self._stop.wait(0.3):
            for pid in descendants():
                self._cpu[pid] = max(self._cpu.get(pid, 0.0), cpu_seconds(pid))
                for line in read(f"/proc/{pid}/status").splitlines():
                    if line.startswith("VmHWM"):
                        self._worst[pid] = max(self._worst.get(pid, 0), int(line.split()[1]))


def descendants() -> list[int]:
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = read(f"/proc/{name}/stat").rpartition(")")[2].split()
            parents[int(name)] = int(fields[1]) if fields else 0
    found = [os.getpid()]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu_seconds(pid: int) -> float:
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def read(file: str) -> str:
    try:
        return Path(file).read_text()
    except OSError:
        return ""


def took(started: float) -> float:
    return round(time.monotonic() - started, 1)


def tell(result: dict) -> None:
    print("\n".join(f"{name:20} {value}" for name, value in result.items()), file=sys.stderr)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=300)
    parser.add_argument("--years", type=float, default=21)
    parser.add_argument("--share", type=float, default=0.5, help="of the tile-days that are there")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", help="where the temporary folder is made")
    parser.add_argument("--keep", action="store_true", help="leave it: to remove some million files takes an hour")
    parser.add_argument("--on", help="plan a catalogue that an earlier call kept, and nothing else")
    parser.add_argument("--linearity", action="store_true", help="10^4, 10^5 and 10^6 tile-days instead")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
