"""Series of points by http: requests and time of point_series, beside plain rasterio and odc.stac.load.

    python tests/benchmarks/points.py --points 100 --days 365

All files of the year are the same tile (links to one file); the server is on this machine, so that time is that of the
client and requests are what would cost on a network.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from faulty_server import FaultyServer
from fields import new_catalog
from mosaic import field

from stac_sm import open_catalog, point_series
from stac_sm.derived import refresh
from stac_sm.fingerprint import digest
from stac_sm.grid import MODIS_SINUSOIDAL_1KM, to_lonlat
from stac_sm.index import update_index
from stac_sm.items import item_folder, item_json, located, with_structural_links
from stac_sm.period import DAY, Period
from stac_sm.products import COLLECTION, ProductDay, product_item, write_assets
from stac_sm.store import sha256

TILE, FIRST, THREADS = "h18v04", date(2019, 1, 1), 16


def publish_days(folder: Path, days: int) -> None:
    """Tile-days whose assets are links to one file each."""
    catalog, grid, scratch = new_catalog(folder), MODIS_SINUSOIDAL_1KM, folder / ".scratch"
    scratch.mkdir()
    sm = field()
    assets = write_assets(sm, np.isnan(sm).astype(np.uint8) * 128, grid.geobox(TILE), scratch)
    sizes = {key: (one.file.stat().st_size, sha256(one.file)) for key, one in assets.items()}
    for number in range(days):
        made = ProductDay(TILE, FIRST + number * DAY, "001", digest([number]))
        item = product_item(made, grid, model_id="m", recipe_checksum="r", properties={})
        where = item_folder(catalog.layout(COLLECTION), item)
        Path(folder, where).mkdir(parents=True)
        for key, one in assets.items():
            name = f"{made.id}.{made.fingerprint[:12]}.{key}{one.suffix}"
            os.link(one.file, Path(folder, where, name))
            size, checksum = sizes[key]
            item["assets"][key] = located(one.fields, f"./{name}", size=size, sha256=checksum)
        Path(folder, where, f"{made.id}.json").write_bytes(item_json(with_structural_links(item, where)))
    refresh(catalog.store, COLLECTION)
    update_index(catalog.store, COLLECTION, layout=catalog.layout(COLLECTION))


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
    period = Period(FIRST, FIRST + days * DAY)
    return np.nan_to_num(point_series(open_catalog(catalog_href), lon, lat, period).sm.to_numpy(), nan=-9999.0)


def point_of(lon: float, lat: float) -> tuple[float, float]:
    from stac_sm.grid import from_lonlat

    x, y = from_lonlat(MODIS_SINUSOIDAL_1KM.crs).transform(lon, lat)
    return float(x), float(y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--days", type=int, default=365)
    told = parser.parse_args()
    os.environ["CPL_VSIL_CURL_NON_CACHED"] = "/vsicurl/http://127.0.0.1"  # else the second way reads what the first has
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory(prefix="stac-sm-") as folder:
        publish_days(Path(folder) / "p", told.days)
        with FaultyServer(Path(folder) / "p") as server:
            root = f"{server.address}/catalog.json"
            href = f"{server.address}/{COLLECTION}/index"
            months = Period(FIRST, FIRST + told.days * DAY).months()
            shards = [open_catalog(f"{href}/{month.start:%Y-%m}.parquet") for month in months]
            items = [item for shard in shards for item in shard.items(COLLECTION)]
            places = [MODIS_SINUSOIDAL_1KM.geobox(TILE).affine @ at for at in rng.uniform(850, 1190, (told.points, 2))]
            points = [to_lonlat(MODIS_SINUSOIDAL_1KM.crs).transform(*place) for place in places]
            ways = {
                "point_series": lambda at: by_us(root, *at, told.days),
                "rasterio": lambda at: by_rasterio(items, *at),
                "odc.stac.load": lambda at: by_odc(items, *at),
            }
            rows, values = [], {}
            for name, way in ways.items():
                server.asked.clear()
                sent, started = server.sent, time.monotonic()
                values[name] = np.array([way(point) for point in points])
                seconds, requests = time.monotonic() - started, sum(server.asked.values())
                rows.append(
                    {"way": name, "requests a point and day": round(requests / told.points / told.days, 2)}
                    | {"kB a point and day": round((server.sent - sent) / 1e3 / told.points / told.days, 1)}
                    | {"seconds a point": round(seconds / told.points, 2)}
                )
    same = [name for name, found in values.items() if np.array_equal(found, values["rasterio"])]
    print(json.dumps({"points": told.points, "days": told.days, "ways": rows, "equal to rasterio": same}, indent=1))


if __name__ == "__main__":
    main()
