"""The production path: products in pgstac and titiler-pgstac over it, real servers; values are those of the product.

tests/integration/install_debian.sh installs what it needs.
"""

from __future__ import annotations

import contextlib
import io
import socket
import subprocess
import time

import numpy as np
import pyproj
import pytest
import rasterio
import requests
from click.testing import CliRunner
from matplotlib.image import imread

from stac_sm.cli.main import main
from stac_sm.core.period import ONE_DAY
from stac_sm.core.projections import transformer_to_lonlat
from stac_sm.product.item import PRODUCT_COLLECTION
from tests.support.fields import SMALL
from tests.support.missing import need
from tests.support.pgstac import CACHE, pgstac_server, why_no_pgstac
from tests.support.product_days import FIRST, known, new_project, put_days

pytestmark = pytest.mark.xdist_group("pgstac")

VENV = CACHE / "stac-sm" / "titiler-venv"
TILES, DAYS = ("h01v01", "h02v01"), (0, 2)
FIELDS = {(tile, day): known(SMALL, tile, day)[0] for tile in TILES for day in DAYS}


@contextlib.contextmanager
def titiler(environment, log):
    """Address of titiler-pgstac over a database, on a free port; it ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [VENV / "bin/python", "-m", "uvicorn", "titiler.pgstac.main:app", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--log-level", "warning"]
    address, until = f"http://127.0.0.1:{port}", time.monotonic() + 60
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process:
        try:
            while not _healthy(address):
                assert process.poll() is None and time.monotonic() < until, log.read_text()[-2000:]  # noqa: PT018
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()
            process.wait(20)


def _healthy(address):
    try:
        return requests.get(f"{address}/healthz", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """titiler-pgstac, and the STAC API, over the tile-days of a project, loaded by `stac-sm index --to`."""
    need("PostgreSQL with pgstac", why_no_pgstac())
    need("titiler-pgstac", None if (VENV / "installed").exists() else f"{VENV} is missing")
    folder = tmp_path_factory.mktemp("titiler")
    project = new_project(folder / "p")
    put_days(project.catalog, TILES, DAYS)
    with pgstac_server() as database:
        told = database.environment
        to = f"postgresql://{told['PGUSER']}@{told['PGHOST']}:{told['PGPORT']}/{told['PGDATABASE']}"
        loaded = CliRunner().invoke(main, ["index", PRODUCT_COLLECTION, "--to", to, "--project", str(project.folder)])
        assert loaded.exit_code == 0, loaded.output
        with titiler(dict(told), folder / "titiler.log") as address:
            yield address, database.address


def registered(server, day):
    """Address of the mosaic of all tile-days of one day."""
    date = FIRST + day * ONE_DAY
    body = {
        "collections": [PRODUCT_COLLECTION],
        "datetime": f"{date}T00:00:00Z/{date}T23:59:59Z",
        "filter-lang": "cql2-json",
    }
    answer = requests.post(f"{server}/searches/register", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return f"{server}/searches/{answer.json()['id']}"


@pytest.mark.parametrize("day", DAYS)
def test_points_of_a_registered_search_are_those_of_the_product(server, day):
    mosaic, rng = registered(server[0], day), np.random.default_rng(1)
    for tile in TILES:
        sm, box = FIELDS[tile, day], SMALL.geobox(tile)
        for row, column in [(5, 6), *rng.integers(0, sm.shape, (4, 2))]:  # the first lies in the gap
            lon, lat = transformer_to_lonlat(SMALL.crs).transform(*(box.affine @ (column + 0.5, row + 0.5)))
            answer = requests.get(f"{mosaic}/point/{lon},{lat}", params={"assets": "sm"}, timeout=60)
            assert answer.status_code == 200, answer.text
            values = [one["values"] for one in answer.json()["assets"]]
            wanted = sm[row, column]
            assert values in (([[None]], []) if np.isnan(wanted) else ([[pytest.approx(wanted, abs=1e-6)]],))


def test_a_tile_of_a_registered_search_is_drawn_from_both_tile_days(server):
    west, south, east, north = (SMALL.geobox(TILES[0]) | SMALL.geobox(TILES[1])).geographic_extent.boundingbox.bbox
    zoom = 8
    n = 2**zoom
    x = int(((west + east) / 2 + 180) / 360 * n)
    y = int((1 - np.arcsinh(np.tan(np.radians((south + north) / 2))) / np.pi) / 2 * n)
    mosaic = registered(server[0], 2)
    address = f"{mosaic}/tiles/WebMercatorQuad/{zoom}/{x}/{y}.tif"
    answer = requests.get(address, params={"assets": "sm"}, timeout=60)
    assert answer.status_code == 200, answer.text
    with rasterio.MemoryFile(answer.content) as file, file.open() as image:
        drawn = np.where(image.dataset_mask() > 0, image.read(1), np.nan)
        rows, columns = np.indices(image.shape) + 0.5
        lon_lat = image.transform @ (columns, rows)
        crs = image.crs.to_wkt()
    x, y = pyproj.Transformer.from_crs(crs, SMALL.crs, always_xy=True).transform(*lon_lat)
    seen = {}
    for tile in TILES:
        box, sm = SMALL.geobox(tile), FIELDS[tile, 2]
        column, row = (np.floor(at).astype(int) for at in ~box.affine * (x, y))
        inside = (row >= 0) & (row < sm.shape[0]) & (column >= 0) & (column < sm.shape[1])
        wanted = sm[row[inside], column[inside]]
        same = np.isclose(drawn[inside], wanted, atol=1e-6, equal_nan=True)
        seen[tile] = inside.sum()
        assert same.mean() > 0.95  # GDAL warps by the pixel: at the edges of pixels, some are their neighbours
    assert min(seen.values()) > 500


def test_the_addresses_of_the_how_to_answer(server):
    titiler, api = server
    day = {"datetime": f"{FIRST}T00:00:00Z/{FIRST}T23:59:59Z"}
    found = requests.get(f"{api}/collections/{PRODUCT_COLLECTION}/items", params=day, timeout=60).json()["features"]
    assert {one["properties"]["grid:code"] for one in found} == {SMALL.grid_code(tile) for tile in TILES}
    mosaic = registered(titiler, 0)
    drawn = {"assets": "sm", "rescale": "0,0.5", "colormap_name": "viridis_r"}
    told = requests.get(f"{mosaic}/WebMercatorQuad/tilejson.json", params=drawn, timeout=60)
    assert told.status_code == 200, told.text
    assert told.json()["tiles"][0].startswith(f"{mosaic}/tiles/WebMercatorQuad/")
    page = requests.get(f"{mosaic}/WebMercatorQuad/map.html", params=drawn, timeout=60)
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")
    lon, lat = transformer_to_lonlat(SMALL.crs).transform(*(SMALL.geobox(TILES[0]).affine @ (25, 30)))
    x, y = int((lon + 180) / 360 * 256), int((1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * 256)
    address = told.json()["tiles"][0].format(z=8, x=x, y=y)
    picture = requests.get(address, timeout=60)
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
    image = imread(io.BytesIO(picture.content))
    assert image.shape[2] == 4
    assert image[:, :, 3].any()  # there is something to see
