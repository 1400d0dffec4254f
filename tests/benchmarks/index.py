"""How long the index of a product takes to build, to check and to bring up to date, and whether it grows in proportion.

Run: ``python tests/benchmarks/index.py [--items 10000 100000 1000000] [--workers 2] [--folder DIR] [--keep] [--json]``.

Items are those of tile-days, without their assets, in the folders that DESIGN wants. ``build`` is from nothing,
``check`` finds nothing to do, ``update`` finds one changed item in each of three months.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from pathlib import Path

from stac_sm.core.fingerprint import digest
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM as GRID
from stac_sm.product.item import PRODUCT_COLLECTION, ProductDay, product_item
from stac_sm.stac.catalogs.catalog import create_skeleton
from stac_sm.stac.index.update import update_index
from stac_sm.stac.items import COG_MEDIA_TYPE, item_json
from stac_sm.storage.store import open_store

LAYOUT = "year/month/day"
FIRST = date(2000, 1, 1)
TILES = [f"h{column:02d}v{row:02d}" for row in range(4, 14) for column in range(10, 28)]  # all of them on the Earth


def main() -> None:
    given = arguments()
    for items in given.items:
        folder = tempfile.mkdtemp(prefix="stac-sm-index-bench-", dir=given.folder)
        try:
            result = measured(Path(folder, "p"), items, given.workers)
        finally:
            if not given.keep:
                subprocess.run(["rm", "-rf", folder], check=True)
        print(json.dumps(result) if given.json else result, flush=True)


def measured(folder: Path, items: int, workers: int) -> dict:
    """Seconds, and microseconds an item, of each way."""
    store = open_store(folder)
    create_skeleton(store, title="Index")
    make_items(folder, items, workers)
    result: dict = {"items": items}
    for name in ("build", "check", "update"):
        if name == "update":
            touch(folder)
        began = time.monotonic()
        found = update_index(store, PRODUCT_COLLECTION, layout=LAYOUT, workers=workers)
        seconds = time.monotonic() - began
        outcomes = [one.outcome for one in found.months]
        assert sum(one.items for one in found.months) == items, found
        result[name] = {
            "seconds": round(seconds, 2),
            "us_an_item": round(1e6 * seconds / items, 1),
            "shards_written": len(outcomes) - outcomes.count("done"),
        }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return result | {"peak_mib": [one >> 10 for one in peak], "load": round(os.getloadavg()[0], 1)}


def make_items(folder: Path, items: int, workers: int) -> None:
    """Item JSON of so many tile-days, day by day."""
    days = [FIRST + timedelta(n) for n in range(-(-items // len(TILES)))]
    jobs = [(folder, day, TILES[: items - n * len(TILES)]) for n, day in enumerate(days)]
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(make_day, jobs, chunksize=30))


def make_day(job: tuple[Path, date, list[str]]) -> None:
    folder, day, tiles = job
    for tile in tiles:
        made = ProductDay(tile, day, "001", digest([tile, str(day)]))
        item = product_item(made, GRID, model_id="xgb-0", recipe_checksum="0", properties={})
        for key in ("sm", "uncertainty", "qa"):
            told = {"file:size": 1000, "file:checksum": f"1220{digest([made.id, key])}"}
            item["assets"][key] = {"href": f"./{made.id}.{key}.tif", "type": COG_MEDIA_TYPE, "roles": ["data"], **told}
        file = folder / made.path(LAYOUT)
        file.parent.mkdir(parents=True)
        file.write_bytes(item_json(item))


def touch(folder: Path) -> None:
    """Change one item in each of three months."""
    months = sorted((folder / PRODUCT_COLLECTION).glob("2*/*"))
    for month in months[:: max(1, len(months) // 3)][:3]:
        file = next(month.glob("*/*/*.json"))
        file.write_text(file.read_text().replace('"xgb-0"', '"xgb-1"') + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", help="where the temporary folders are made")
    parser.add_argument("--keep", action="store_true", help="leave them")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
