"""How long an audit of many small items takes, beside hashing and decoding the same files alone.

Run: ``python tests/benchmarks/audit.py [--items 2000] [--rounds 3] [--rival CHECKOUT] [--json] [--save]``.

A catalogue of tile-days of 64 x 64 pixels (soil moisture, uncertainty, flags, picture) is made in a temporary folder:
some are published as a run does, the others are copies under other days. ``audit`` verifies all of it; ``floor`` reads
each asset, computes its checksum and decodes each block, and does nothing else. Both run in turns in processes of their
own on one processor. ``--rival``: the audit of another checkout of this repository takes turns with them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

sys.path.insert(0, os.environ.get("STAC_SM_CHECKOUT", str(Path(__file__).parents[2])))

from tests.benchmarks.guard import beside

ROOT = Path(__file__).parents[2]
TILES = ("h00v00", "h01v01", "h02v01")
FIRST = date(2018, 7, 1)
MADE = 8  # days that are published; pixels repeat after them


def main() -> None:
    given = arguments()
    if given.part:
        print(json.dumps({"audit": audited, "floor": floor}[given.part](Path(given.on))))
        return
    with tempfile.TemporaryDirectory(prefix="stac-sm-audit-bench-") as scratch:
        folder = Path(scratch, "p")
        count = make(folder, given.items)
        ways = {"audit": ("audit", ROOT), "floor": ("floor", ROOT)}
        if given.rival:
            ways["rival"] = ("audit", Path(given.rival))
        rounds = [{name: run(*way, folder) for name, way in ways.items()} for _ in range(given.rounds)]
    result: dict[str, object] = {"items": count, "rounds": given.rounds}
    for name in ways:
        found = {key: statistics.median(one[name][key] for one in rounds) for key in ("seconds", "cpu_s")}
        result[name] = {key: round(value, 2) for key, value in found.items()} | {"found": rounds[0][name]["found"]}
    others = [name for name in ways if name != "floor"]
    shares = {name: statistics.median(one[name]["cpu_s"] / one["floor"]["cpu_s"] for one in rounds) for name in others}
    result["times the floor, CPU"] = {name: round(value, 2) for name, value in shares.items()}
    ratios = {"floor over audit, CPU": round(1 / shares["audit"], 3)}
    lines = beside("audit", ratios, {"items": count}, keep=given.save)
    print(json.dumps(result)) if given.json else print(json.dumps(result, indent=1), *lines, sep="\n")


def make(folder: Path, items: int) -> int:
    """Make the catalogue; returns how many items it has."""
    from stac_sm.product.item import PRODUCT_COLLECTION
    from stac_sm.stac.links import refresh
    from tests.support.product_days import new_project, put_day

    catalog = new_project(folder).catalog
    paths = {(tile, day): put_day(catalog, tile, day, uncertainty=True) for tile in TILES for day in range(MADE)}
    count = len(paths)
    for day in range(MADE, -(-items // len(TILES))):
        for tile in TILES:
            copy(folder / paths[tile, day % MADE], FIRST + timedelta(day % MADE), FIRST + timedelta(day))
            count += 1
    refresh(catalog.store, PRODUCT_COLLECTION)
    return count


def copy(item: Path, old: date, new: date) -> None:
    """Copy an item and its assets to another day."""

    def moved(text: str) -> str:
        days = {f"{old:%Y-%m-%d}": f"{new:%Y-%m-%d}", f"A{old:%Y%j}": f"A{new:%Y%j}"}
        for before, after in days.items():
            text = text.replace(before, after)
        return text

    place = Path(moved(str(item)).replace(f"{old:/%Y/%m/%d/}", f"{new:/%Y/%m/%d/}"))
    place.parent.mkdir(parents=True, exist_ok=True)
    for file in item.parent.iterdir():
        if file != item:
            shutil.copyfile(file, place.with_name(moved(file.name)))
    place.write_text(moved(item.read_text()))


def run(part: str, checkout: Path, folder: Path) -> dict:
    """Run one part in a process of its own, with the package of a checkout."""
    command = [sys.executable, __file__, "--part", part, "--on", str(folder)]
    environment = os.environ | {"STAC_SM_CHECKOUT": str(checkout)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def audited(folder: Path) -> dict:
    import rasterio  # imports are no part of either

    from stac_sm.stac.catalogs.catalog import open_writable_catalog
    from stac_sm.workflows.audit import audit

    assert rasterio.__version__
    catalog = open_writable_catalog(folder)
    return timed(lambda: len(audit(catalog)))


def floor(folder: Path) -> dict:
    import rasterio

    def read() -> int:
        count = 0
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
            for file in sorted(folder.glob("sm-1km-daily/**/*.*")):
                if file.suffix == ".json" or file.is_dir():
                    continue
                with file.open("rb") as content:
                    hashlib.file_digest(content, "sha256").hexdigest()
                count += 1
                if file.suffix == ".tif":
                    with rasterio.open(file, driver="GTiff") as data:
                        for _, window in data.block_windows(1):
                            data.read(1, window=window)
        return count

    return timed(read)


def timed(work) -> dict:
    began, cpu = time.perf_counter(), time.process_time()
    found = work()
    return {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu, "found": found}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rival", help="another checkout, whose audit takes turns")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="keep the ratio as the last committed run")
    parser.add_argument("--part", choices=["audit", "floor"], help=argparse.SUPPRESS)
    parser.add_argument("--on", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
