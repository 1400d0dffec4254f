"""How many requests a tile and a month need: each static and each 8-day file is got once, and so is all the rest."""

from __future__ import annotations

import itertools
import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from stac_sm.core.period import ONE_DAY, Period
from stac_sm.features.cube import feature_cube
from stac_sm.features.recipe import Feature, Recipe
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.links import refresh
from tests.support.faulty_server import FaultyServer
from tests.support.fields import SMALL, TILE, around, image, new_catalog, put

JUNE = Period.parse("2018-06")
FEATURES = (
    Feature("lst", "glass-lst", "lst", "nearest"),
    Feature("lai", "glass-lai", "lai", "average", "composite", 16),
    Feature("swvl1", "era5-land", "swvl1", "bilinear"),
    Feature("elevation", "cop-dem", "elevation", "average", "static", missing="nan"),
    Feature("sand", "soilgrids", "sand", "average", "static", missing="nan"),
)
RECIPE = Recipe(FEATURES)


def _published(folder: Path) -> None:
    catalog, geobox = new_catalog(folder), SMALL.geobox(TILE)
    coarse, fine = around(geobox, "EPSG:4326", 0.1), around(geobox, "EPSG:4326", 0.004)
    for day in JUNE.days:
        put(catalog, "glass-lst", f"LST.{day:%Y%j}", geobox, {"lst": image(geobox, 270, 300)}, day, linked=False)
        put(catalog, "era5-land", f"ERA5.{day:%Y%j}", coarse, {"swvl1": image(coarse)}, day, linked=False)
    first = date(2018, 5, 25)  # an 8-day period of MODIS
    for i in range(5):
        start = first + i * 8 * ONE_DAY
        put(catalog, "glass-lai", f"LAI.{start:%Y%j}", geobox, {"lai": image(geobox)}, start, 8, linked=False)
    put(catalog, "cop-dem", "DEM", fine, {"elevation": image(fine)}, date(2010, 1, 1), 365, linked=False)
    put(catalog, "soilgrids", "SAND", fine, {"sand": image(fine)}, date(2010, 1, 1), 365, linked=False)
    for collection in ("glass-lst", "era5-land", "glass-lai", "cop-dem", "soilgrids"):
        refresh(catalog.store, collection)


def _served(folder: Path, address: str) -> None:
    for file in folder.rglob("*.json"):
        document = json.loads(file.read_text())
        for asset in document.get("assets", {}).values():
            asset["href"] = f"{address}/{(file.parent / asset['href']).resolve().relative_to(folder.resolve())}"
        file.write_text(json.dumps(document))


def _day_by_day(folder: Path, server: FaultyServer, **options) -> int:
    """Requests of a script that loads each day by odc-stac."""
    import rasterio
    from odc.stac import load

    server.asked.clear()
    catalog = open_catalog(folder)
    for day, feature in itertools.product(JUNE.days, FEATURES):
        reach = 8 if feature.time == "composite" else 0
        when = None if feature.time == "static" else Period.of_day(day).widened(reach)
        items = catalog.items(feature.collection, period=when)
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", **options):
            load(items, bands=[feature.asset], geobox=SMALL.geobox(TILE), resampling="bilinear")
    return server.asked.total()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of a month's files."""
    folder = tmp_path_factory.mktemp("published")
    _published(folder)
    with FaultyServer(folder) as server:
        _served(folder, server.address)
        yield folder, server


FILES = {"glass-lst": 30, "era5-land": 30, "glass-lai": 5, "cop-dem": 1, "soilgrids": 1}


@pytest.mark.parametrize("reader", ["stackstac", "odc"])
def test_each_file_is_got_once(server, reader):
    folder, server = server
    server.asked.clear()
    cube = feature_cube(open_catalog(folder), RECIPE, TILE, JUNE, grid=SMALL, reader=reader)
    assert not server.asked
    cube = cube.compute(scheduler="synchronous")
    ours = dict(server.gets())
    assert {method for method, _ in server.asked} == {"GET"}
    assert np.isfinite(cube.to_dataarray().values).mean() > 0.99
    counts = {f.collection: [n for path, n in ours.items() if path.startswith(f"/{f.collection}/")] for f in FEATURES}
    assert {name: len(found) for name, found in counts.items()} == FILES
    assert set(ours.values()) == {1}


def test_a_script_that_loads_day_by_day_gets_many_times_as_much(server):
    folder, server = server
    warm = _day_by_day(folder, server)  # one process, which keeps what it has read
    cold = _day_by_day(folder, server, CPL_VSIL_CURL_NON_CACHED="/vsicurl/http")  # a process for each day
    print(f"\n{sum(FILES.values())} requests; odc.stac.load by day: {warm}, cold {cold}")
    assert warm >= 2 * sum(FILES.values())
    assert cold > 4 * sum(FILES.values())
