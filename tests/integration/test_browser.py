"""STAC Browser as a person sees it: a headless Chromium opens pages of a small project through `stac-sm serve`.

Pictures of all pages are left in the folder that STAC_SM_SCREENSHOTS names, to be looked at.
"""

from __future__ import annotations

import os
import re
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from stac_sm.core.period import Period
from stac_sm.core.variables import VARIABLES
from stac_sm.ingest.provider_interface import RasterLayer
from stac_sm.product.aggregates.means import make_means
from stac_sm.product.aggregates.mosaic import make_mosaics
from stac_sm.raster.cog import CogProfile
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.index.update import update_index
from stac_sm.stac.items import raster_item
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, publish
from stac_sm.workflows.training.steps import match_up_step, train_step
from stac_sm.workflows.validation.validate import validate_product
from tests.support.chromium import chromium, page
from tests.support.fields import SMALL, TILE, around
from tests.support.missing import need
from tests.support.product_days import put_days
from tests.support.served import running
from tests.support.station_project import a_project

BUILT = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stac-sm" / "browser"
INPUT = "ERA5L.A2017001"
PLACES = {"tile.openstreetmap.org", "geojson.org"}
"""The background of maps, and the schema of a geometry: the only hosts beside ours that the Browser may ask."""


@pytest.fixture(scope="module")
def built() -> Path:
    need("Chromium", None if chromium() else "it is not installed")
    need("STAC Browser", None if (BUILT / "built").is_file() else "it is not built: bash infra/browser/build.sh")
    return BUILT


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Stations, a model, days, a global day, an annual mean and a validation."""
    made = a_project(tmp_path_factory.mktemp("browser") / "p")
    train_step(made, match_up_step(made))
    catalog = made.catalog
    put_days(catalog, days=range(2))
    make_mosaics(catalog, SMALL, Period.parse("2018-07"), "001")
    make_means(catalog, SMALL, [Period.parse("2018")], "001", as_one=True)
    validate_product(made, Period.parse("2018-07-01/2018-07-02"))
    put_an_input(catalog, Path(made.folder, ".scratch"))
    catalog = open_catalog(made.folder)
    for id in catalog.collections:
        update_index(catalog.store, id, layout=catalog.layout(id))
    return made


def put_an_input(catalog, folder):
    """An item whose asset is written as the ingest of rasters writes it."""
    geobox = around(SMALL.geobox(TILE), "EPSG:4326", 0.01)
    values = np.linspace(0.1, 0.4, geobox.shape[0] * geobox.shape[1], dtype=np.float32).reshape(geobox.shape)
    values[: len(values) // 3] = np.nan  # the sea: its stored number must not be an end of the colours
    start = datetime(2017, 1, 1, tzinfo=UTC)
    item = raster_item(id=INPUT, collection="era5-land", geobox=geobox, start=start, end=start + timedelta(days=1),
                       properties={FINGERPRINT_PROPERTY: "0" * 64}, extensions=[])  # fmt: skip
    layer = RasterLayer(VARIABLES["swvl1"], lambda: values, geobox, CogProfile())
    publish(catalog, item, {"swvl1": layer.write(folder / INPUT)})
    refresh(catalog.store, "era5-land")


@pytest.fixture(scope="module")
def address(built, project):
    opened = ("--collections", "ismn-stations")  # for the page of a station
    with running(project.folder, *opened, STAC_SM_BROWSER=str(built)) as found:
        yield found


@pytest.fixture(scope="module")
def tab(address):
    with page(address) as found:
        yield found


def item_of(project, collection, part=""):
    items = [one for one in open_catalog(project.folder).items(collection) if part in one.id]
    return f"collections/{collection}/items/{items[0].id}"


def opened(tab, address, path, name) -> str:
    """Open a page; what it says, once it was seen to have no fault."""
    tab.console.clear()
    tab.failed.clear()
    tab.open(f"{address}/browser/{path}")
    tab.value("new Promise(done => setTimeout(done, 500))")
    tab.settle()
    if folder := os.environ.get("STAC_SM_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        tab.picture(Path(folder, f"{name}.png"))
    assert tab.console == []
    assert tab.failed == []
    assert tab.outside <= PLACES
    text = tab.text()
    assert "not found" not in text.lower()
    assert broken_links(tab, address) == []
    return text


def broken_links(tab, address) -> list[str]:
    """Links of the page to this server that it does not answer, and pictures that are none."""
    script = """
        Promise.all([...new Set([...document.querySelectorAll('a[href]')].map(a => a.href))]
            .filter(href => href.startsWith(ADDRESS) && !href.includes('#'))
            .map(href => fetch(href, {method: 'GET', headers: {Range: 'bytes=0-99'}})
                .then(answer => answer.arrayBuffer().then(() => answer.ok ? '' : answer.status + ' ' + href))))
        .then(found => [...found, ...[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)])
        .then(found => found.filter(one => one))
    """
    return list(tab.value(script.replace("ADDRESS", f"'{address}'")))


def test_the_root_lists_the_collections(tab, address):
    text = opened(tab, address, "", "root")
    for title in ("Daily surface soil moisture at 1 km", "Soil moisture models", "Validation of the product"):
        assert title in text


def test_a_collection_lists_its_items(tab, address):
    text = opened(tab, address, "collections/sm-1km-daily", "collection")
    assert "Volumetric soil moisture" in text
    assert "Soil moisture, h" in text
    assert "2018-07-01" in text


def test_a_station_has_a_place_and_its_scores(tab, address, project):
    text = opened(tab, address, item_of(project, "ismn-stations"), "station")
    assert "kept" in text
    assert "correlation" in text.lower()
    assert tab.value("document.querySelectorAll('canvas').length") > 0  # the map


def test_the_browser_of_a_stranger_shows_nothing_hidden(built, project):
    """The root, a model and a validation: no page fails, none leads to stations, match-ups or series."""
    with running(project.folder, STAC_SM_BROWSER=str(built)) as address, page(address) as tab:
        for path in ("", item_of(project, "sm-models"), item_of(project, "validation")):
            text = opened(tab, address, path, f"stranger-{path.split('/')[0] or 'root'}")
            assert "Time series of stations" not in text
            links = tab.value("[...document.querySelectorAll('a[href]')].map(a => a.href).join(' ')")
            for hidden in ("ismn-stations", "matchups", ".series."):
                assert hidden not in links


def test_a_model_has_its_metrics(tab, address, project):
    text = opened(tab, address, item_of(project, "sm-models"), "model")
    assert "XGBoost" in text
    assert "ubrmse" in text.lower()


DRAWN = {"sm-1km-daily": "h", "sm-1km-daily-global": "global", "sm-1km-annual": ".h"}


@pytest.mark.parametrize("collection", DRAWN)
def test_the_colours_of_the_product_are_drawn_on_the_map(tab, address, project, tmp_path, collection):
    """Of a tile-day, a global day and a mean; nothing else is marked as shown, above all no sinusoidal file."""
    text = opened(tab, address, item_of(project, collection, DRAWN[collection]), f"drawn-{collection}")
    check_drawn(tab, tmp_path)
    before, *after = re.split("shown", text, flags=re.IGNORECASE)
    assert len(after) == 1
    assert "Soil moisture in colours" in before.strip().splitlines()[-1]


def test_the_values_of_an_input_are_drawn_on_the_map(tab, address, project, tmp_path):
    """By the range that its band states: without it, all of them are black."""
    opened(tab, address, item_of(project, "era5-land", INPUT), "input")
    check_drawn(tab, tmp_path, f"{INPUT}.")
    left, top, right, bottom = tab.value(
        "(r => [r.left, r.top, r.right, r.bottom])(document.querySelector('canvas').getBoundingClientRect())"
    )
    drawn = np.asarray(Image.open(tmp_path / "map.png").convert("RGB").crop((left, top, right, bottom)))
    assert (drawn.max(axis=2) < 20).mean() < 0.1  # without the range, a quarter of the map is a black field


def check_drawn(tab, folder, file="visual.tif"):
    """The map shows the colours of the product, not only its outline."""
    assert any(file in url and status in (200, 206) for url, status in tab.answers.items())
    colours = tab.value(
        """(() => {
            const seen = new Set();
            for (const canvas of document.querySelectorAll('canvas')) {
                const copy = document.createElement('canvas');
                copy.width = canvas.width; copy.height = canvas.height;
                const drawn = copy.getContext('2d');
                drawn.drawImage(canvas, 0, 0);
                const pixels = drawn.getImageData(0, 0, copy.width, copy.height).data;
                for (let i = 0; i < pixels.length; i += 4)
                    if (pixels[i + 3] > 200) seen.add(pixels[i] + ',' + pixels[i + 1] + ',' + pixels[i + 2]);
            }
            return seen.size;
        })()"""
    )
    file = folder / "map.png"
    tab.picture(file)
    shades = {tuple(pixel) for row in np.asarray(Image.open(file).convert("RGB")) for pixel in row}
    assert colours > 30 or len(shades) > 400  # a ramp, not only outlines


def test_an_annual_mean_has_its_pictures(tab, address, project):
    text = opened(tab, address, item_of(project, "sm-1km-annual", "global"), "annual")
    assert "Days with a value" in text


def test_a_validation_leads_to_its_page(tab, address, project):
    text = opened(tab, address, item_of(project, "validation"), "validation")
    assert "Report" in text


@contextmanager
def plain_files(built, root):
    """Address of a server that knows nothing of STAC: the files of the Browser, and those of the catalogue."""

    async def settings(_):
        text = f'window.STAC_BROWSER_CONFIG = {{"catalogUrl": "{address}/stac/catalog.json"}};'
        return Response(text, media_type="text/javascript")

    async def pages(request):
        file = built / request.path_params["path"]
        return FileResponse(file if file.is_file() else built / "index.html")

    async def icon(_):
        return Response(b"", media_type="image/x-icon")  # every browser asks a host for it

    routes = [Route("/favicon.ico", icon), Route("/browser/config.js", settings), Route("/browser/{path:path}", pages)]
    app = Starlette(routes=[*routes, Mount("/stac", StaticFiles(directory=root))])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield address
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def static(built, project):
    with plain_files(built, project.folder) as address, page(address) as tab:
        yield tab, address


STATIC = {
    "catalog.json": "Daily surface soil moisture at 1 km",
    "sm-1km-daily/collection.json": "Volumetric soil moisture",
    "sm-1km-daily/2018/07/01/catalog.json": "Soil moisture, h",
    "sm-models/collection.json": "XGBoost",
}


@pytest.mark.parametrize("path", STATIC)
def test_the_files_alone_open_in_the_browser(static, path):
    """A static catalogue needs no server of ours: its root, a collection, a day, the models."""
    tab, address = static
    text = opened(tab, address, "" if path == "catalog.json" else path, f"static-{path.replace('/', '-')}")
    assert STATIC[path] in text


@pytest.mark.parametrize("collection", ["sm-1km-daily-global", "ismn-stations", "sm-1km-annual"])
def test_items_of_the_files_alone_open_in_the_browser(static, project, collection, tmp_path):
    tab, address = static
    item = open_catalog(project.folder).items(collection)[0]
    path = Path(item.get_self_href()).relative_to(project.folder)
    text = opened(tab, address, path, f"static-{collection}")
    assert item.properties.get("title", item.id) in text
    if collection == "sm-1km-daily-global":
        check_drawn(tab, tmp_path)
