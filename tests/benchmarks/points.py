"""Series of points: requests and time of point_series, by http beside plain rasterio and odc.stac.load.

    python tests/benchmarks/points.py --points 100 --days 365 --json
    python tests/benchmarks/points.py --points 3 --days 60 --places disk api s3 --json

All files of the year are the same tile (links to one file); the server is on this machine, so that time is that of the
client and requests are what would cost on a network. From other places than a file server only point_series reads:
from the folder, through `stac-sm serve`, and from a bucket (moto's, behind a proxy that counts). Exit code 1 if the
values of two ways or places differ.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from stac_sm import open_catalog, point_series
from stac_sm.core.fingerprint import digest
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.core.projections import transformer_to_lonlat
from stac_sm.product.item import PRODUCT_COLLECTION, ProductDay, product_item, write_product_assets
from stac_sm.stac.index.update import update_index
from stac_sm.stac.items import item_folder, item_json, with_location, with_structural_links
from stac_sm.stac.links import refresh
from stac_sm.storage.retry import REQUEST_COUNTS
from stac_sm.storage.store import open_store, sha256
from tests.benchmarks.guard import beside
from tests.benchmarks.mosaic import field
from tests.support.faulty_server import FaultyServer
from tests.support.fields import new_catalog
from tests.support.object_stores import FaultyProxy, environment_of, moto_server, new_bucket
from tests.support.served import running

TILE, FIRST, THREADS = "h18v04", date(2019, 1, 1), 16


def publish_days(folder: Path, days: int) -> None:
    """Tile-days whose assets are links to one file each."""
    catalog, grid, scratch = new_catalog(folder), MODIS_SINUSOIDAL_1KM, folder / ".scratch"
    scratch.mkdir()
    sm = field()
    assets = write_product_assets(sm, np.isnan(sm).astype(np.uint8) * 128, grid.geobox(TILE), scratch)
    sizes = {key: (one.file.stat().st_size, sha256(one.file)) for key, one in assets.items()}
    for number in range(days):
        made = ProductDay(TILE, FIRST + number * ONE_DAY, "001", digest([number]))
        item = product_item(made, grid, model_id="m", recipe_checksum="r", properties={})
        where = item_folder(catalog.layout(PRODUCT_COLLECTION), item)
        Path(folder, where).mkdir(parents=True)
        for key, one in assets.items():
            name = f"{made.id}.{made.fingerprint[:12]}.{key}{one.suffix}"
            os.link(one.file, Path(folder, where, name))
            size, checksum = sizes[key]
            item["assets"][key] = with_location(one.fields, f"./{name}", size=size, sha256=checksum)
        Path(folder, where, f"{made.id}.json").write_bytes(item_json(with_structural_links(item, where)))
    shutil.rmtree(scratch)
    refresh(catalog.store, PRODUCT_COLLECTION)
    update_index(catalog.store, PRODUCT_COLLECTION, layout=catalog.layout(PRODUCT_COLLECTION))


def by_rasterio(items: list, lon: float, lat: float) -> np.ndarray:
    """Soil moisture and flags of a point, each file opened by GDAL, 16 at a time; the items are known already."""
    import rasterio

    x, y = point_of(lon, lat)

    def value(href: str) -> float:
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(href) as file:
            return float(next(file.sample([(x, y)]))[0])

    with ThreadPoolExecutor(THREADS) as pool:
        values = list(pool.map(value, [item.assets[key].get_absolute_href() for item in items for key in ("sm", "qa")]))
    return np.array(values[::2])


def by_odc(items: list, lon: float, lat: float) -> np.ndarray:
    """The same by odc.stac.load on the pixel's own GeoBox."""
    import odc.stac

    x, y = point_of(lon, lat)
    column, row = (int(at) for at in ~MODIS_SINUSOIDAL_1KM.geobox(TILE).affine @ (x, y))
    geobox = MODIS_SINUSOIDAL_1KM.geobox(TILE)[row : row + 1, column : column + 1]
    data = odc.stac.load(items, bands=["sm", "qa"], geobox=geobox, pool=THREADS)
    return data.sm.values[:, 0, 0]


def by_us(catalog_href: str, lon: float, lat: float, days: int) -> np.ndarray:
    """`point_series`, which searches, too."""
    period = Period(FIRST, FIRST + days * ONE_DAY)
    return np.nan_to_num(point_series(open_catalog(catalog_href), lon, lat, period).sm.to_numpy(), nan=-9999.0)


def point_of(lon: float, lat: float) -> tuple[float, float]:
    from stac_sm.core.projections import transformer_from_lonlat

    x, y = transformer_from_lonlat(MODIS_SINUSOIDAL_1KM.crs).transform(lon, lat)
    return float(x), float(y)


def by_http(folder: Path, points: list[tuple[float, float]], days: int) -> tuple[list[dict], dict[str, np.ndarray]]:
    """All three ways, over a plain file server that counts."""
    with FaultyServer(folder) as server:
        href = f"{server.address}/{PRODUCT_COLLECTION}/index"
        months = Period(FIRST, FIRST + days * ONE_DAY).months()
        shards = [open_catalog(f"{href}/{month.start:%Y-%m}.parquet") for month in months]
        items = [item for shard in shards for item in shard.items(PRODUCT_COLLECTION)]
        ways = {
            "point_series": lambda at: by_us(f"{server.address}/catalog.json", *at, days),
            "rasterio": lambda at: by_rasterio(items, *at),
            "odc.stac.load": lambda at: by_odc(items, *at),
        }
        rows, values = [], {}
        for name, way in ways.items():
            server.asked.clear()
            sent = server.sent
            row, values[f"{name}, http"] = timed(way, points, lambda: sum(server.asked.values()), days)
            kilobytes = round((server.sent - sent) / 1e3 / len(points) / days, 1)
            rows.append({"way": name, "from": "http", **row, "kB a point and day": kilobytes})
    return rows, values


def timed(way: Callable, points: list, asked: Callable[[], int], days: int) -> tuple[dict, np.ndarray]:
    """Requests a point and day and seconds a point, and the values."""
    before, started = asked(), time.monotonic()
    values = np.array([way(point) for point in points])
    seconds, requests = time.monotonic() - started, asked() - before
    print(f"{len(points)} points in {seconds:.0f} s", file=sys.stderr)
    each = {"requests a point and day": round(requests / len(points) / days, 2)}
    return each | {"seconds a point": round(seconds / len(points), 2)}, values


def by_disk(folder: Path, points: list, days: int) -> tuple[dict, np.ndarray]:
    return timed(lambda at: by_us(str(folder), *at, days), points, lambda: REQUEST_COUNTS.requests, days)


def by_api(folder: Path, points: list, days: int) -> tuple[dict, np.ndarray]:
    with running(folder) as address:
        return timed(lambda at: by_us(address, *at, days), points, lambda: REQUEST_COUNTS.requests, days)


def by_s3(folder: Path, points: list, days: int) -> tuple[dict, np.ndarray]:
    store = moto_server()
    root = f"s3://{new_bucket(store, 'points')}/p"
    with environment_of(store):
        bucket = open_store(root)
        for entry in open_store(folder).list_objects():
            bucket.create(entry.path, folder / entry.path)
    proxy = FaultyProxy(store)
    with proxy as counted, environment_of(counted):
        return timed(lambda at: by_us(root, *at, days), points, lambda: len(proxy.seen), days)


PLACES = {"disk": by_disk, "api": by_api, "s3": by_s3}


def main() -> None:
    """Publish, read, print; exit with 1 if values differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--places", nargs="+", choices=["http", *PLACES], default=["http"])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write the ratios to results.json")
    told = parser.parse_args()
    os.environ["CPL_VSIL_CURL_NON_CACHED"] = "/vsicurl/http://127.0.0.1"  # else the second way reads what the first has
    rng, geobox = np.random.default_rng(1), MODIS_SINUSOIDAL_1KM.geobox(TILE)
    places = [geobox.affine @ at for at in rng.uniform(850, 1190, (told.points, 2))]
    points = [transformer_to_lonlat(MODIS_SINUSOIDAL_1KM.crs).transform(*place) for place in places]
    with tempfile.TemporaryDirectory(prefix="stac-sm-") as scratch:
        folder = Path(scratch) / "p"
        publish_days(folder, told.days)
        rows, values = by_http(folder, points, told.days) if "http" in told.places else ([], {})
        for name in (one for one in told.places if one in PLACES):
            row, values[name] = PLACES[name](folder, points, told.days)
            rows.append({"way": "point_series", "from": name, **row})
    first = next(iter(values.values()))
    same = all(np.array_equal(found, first) for found in values.values())
    by_way = {one["way"]: one["requests a point and day"] for one in rows if one["from"] == "http"}
    ratios = {
        f"requests of {way}": asked / by_way["point_series"] for way, asked in by_way.items() if way != "point_series"
    }
    lines = beside("points", ratios, {"points": told.points, "days": told.days}, keep=told.save)
    found = {"points": told.points, "days": told.days, "ways": rows, "equal": same, "beside_the_last": lines}
    print(json.dumps(found, indent=1) if told.json else "\n".join([*map(str, rows), *lines]))
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
