"""Tiles: what titiler draws and tells of the rasters of a store, and of nothing else."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import requests
from PIL import Image

from stac_sm.core.colours import soil_moisture_picture
from stac_sm.core.projections import transformer_to_lonlat
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.index.update import update_index
from tests.support.fields import SMALL
from tests.support.product_days import known, new_project, put_day
from tests.support.served import running

pytest.importorskip("titiler.core", reason="no titiler: uv sync --extra tiles")

TILE = "h01v01"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    made = new_project(tmp_path_factory.mktemp("tiles") / "p")
    put_day(made.catalog, TILE, 0, linked=True)
    for collection in made.catalog.collections:
        update_index(made.catalog.store, collection, layout=made.catalog.layout(collection))
    return made


@pytest.fixture(scope="module")
def address(project):
    with running(project.folder) as found:
        yield f"{found}/tiles"


@pytest.fixture(scope="module")
def item(project):
    return open_catalog(project.folder).items(PRODUCT_COLLECTION)[0]


@pytest.fixture(scope="module")
def sm(address, item):
    return f"{address}/{PRODUCT_COLLECTION}/{item.id}/sm"


def place(row, column):
    return transformer_to_lonlat(SMALL.crs).transform(*(SMALL.geobox(TILE).affine @ (column + 0.5, row + 0.5)))


def get(url, status=200):
    answer = requests.get(url, timeout=60)
    assert answer.status_code == status, (url, answer.text[:500])
    return answer


@pytest.mark.parametrize(("row", "column"), [(20, 30), (35, 7)])
def test_a_point_has_the_value_of_its_pixel(sm, row, column):
    lon, lat = place(row, column)
    assert get(f"{sm}/point/{lon},{lat}").json()["values"] == [float(known(SMALL, TILE, 0)[0][row, column])]


def test_a_point_in_a_gap_has_none(sm):
    lon, lat = place(5, 6)
    assert get(f"{sm}/point/{lon},{lat}").json()["values"] == [None]


def test_statistics_are_those_of_the_values(sm):
    values = known(SMALL, TILE, 0)[0]
    found = get(f"{sm}/statistics").json()["b1"]
    assert found["valid_pixels"] == np.isfinite(values).sum()
    for name, wanted in (("min", np.nanmin(values)), ("max", np.nanmax(values)), ("mean", np.nanmean(values))):
        assert found[name] == pytest.approx(float(wanted), abs=1e-6)


def test_a_preview_has_the_colours_of_all_our_pictures(sm):
    picture = np.asarray(Image.open(io.BytesIO(get(f"{sm}/preview.png").content)).convert("RGBA")).astype(int)
    values = known(SMALL, TILE, 0)[0]
    assert picture.shape[:2] == values.shape
    expected = soil_moisture_picture(values).astype(int)
    inside = np.isfinite(values)
    assert np.abs(picture[inside] - expected[inside]).max() <= 4
    assert (picture[~inside][:, 3] == 0).all()
    assert (picture[inside][:, 3] == 255).all()


def test_tilejson_leads_to_tiles(sm):
    told = get(f"{sm}/WebMercatorQuad/tilejson.json?tile_format=png").json()
    west, south, east, north = told["bounds"]
    lon, lat = place(20, 25)
    assert west < lon < east
    assert south < lat < north
    zoom = told["minzoom"] + 1
    x = int((lon + 180) / 360 * 2**zoom)
    y = int((1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * 2**zoom)
    tile = get(told["tiles"][0].format(z=zoom, x=x, y=y))
    picture = np.asarray(Image.open(io.BytesIO(tile.content)).convert("RGBA"))
    assert (picture[..., 3] == 255).any()


@pytest.mark.parametrize(
    "path", ["/point/500,99", "/point/nan,0", "/preview.png?max_size=1000000", "/statistics?p=999",
             "/preview?rescale=x",
             "/WebMercatorQuad/tilejson.json?minzoom=-5", "/tiles/WebMercatorQuad/3/99/99.png",
             "/info?url=/etc/passwd&x", "/preview.png?colormap=nothing"],
)  # fmt: skip
def test_what_makes_no_sense_is_the_askers_fault(sm, path):
    assert requests.get(sm + path, timeout=60).status_code < 500


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/point/-100,10", 404), ("/WebMercatorQuad/0/9/9.png", 404), ("/preview.png?colormap_name=none", 400),
        ("/preview.png?max_size=big", 400), ("/nothing/none/sm/info", 404),
    ],
)  # fmt: skip
def test_errors_have_the_shape_of_those_of_all_routes(address, sm, path, status):
    base = f"{address}/" if path.startswith("/nothing") else sm
    answer = get(base.rstrip("/") + path.replace("/nothing", ""), status).json()
    assert set(answer) == {"code", "description"}
    assert answer["code"] == str(status)
    assert answer["description"]


VRT = """<VRTDataset rasterXSize="50" rasterYSize="40"><VRTRasterBand dataType="Float32" band="1"><SimpleSource>
<SourceFilename relativeToVRT="0">{file}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>
</VRTDataset>"""


def test_nothing_outside_of_the_store_is_read(project, tmp_path):
    """Not by an absolute href, one that climbs, a link, a file that names others, a URL, or a key that is a path."""
    outside = tmp_path / "outside.tif"
    form = {"driver": "GTiff", "width": 50, "height": 40, "count": 1, "dtype": "float32"}
    form |= {"crs": SMALL.crs, "transform": SMALL.geobox(TILE).affine}
    with rasterio.open(outside, "w", **form) as file:
        file.write(np.full((1, 40, 50), 0.777, np.float32))
    catalog = project.catalog
    path = put_day(catalog, "h00v00", 1, linked=True)
    document, folder = json.loads(Path(project.folder, path).read_text()), Path(project.folder, path).parent
    (folder / "link.tif").symlink_to(outside)
    (folder / "vrt.tif").write_text(VRT.format(file=outside))
    climbing = os.path.relpath(outside, folder)
    hrefs = {"absolute": str(outside), "climbing": climbing, "link": "./link.tif", "vrt": "./vrt.tif"}
    hrefs |= {"url": f"file://{outside}", "vsi": f"/vsicurl/{outside}.tif", "http": "http://127.0.0.1:9/x.tif"}
    document["assets"] |= {key: {"href": href, "type": "image/tiff"} for key, href in hrefs.items()}
    Path(project.folder, path).write_text(json.dumps(document))
    with running(project.folder) as found:
        base = f"{found}/tiles/{PRODUCT_COLLECTION}/{document['id']}"
        assert get(f"{base}/sm/info").json()["width"] == 50
        for key in hrefs:
            for view in ("info", "preview.png", "statistics"):
                answer = requests.get(f"{base}/{key}/{view}", timeout=60)
                assert answer.status_code in (400, 404, 503), (key, answer.text)
                assert "0.77" not in answer.text
        for path in (
            f"{base}/..%2f..%2fsm/info",
            f"{found}/tiles/x/{document['id']}/sm/info",
            f"{base}/qa/info?url={outside}",
        ):
            answer = requests.get(path, timeout=60)
            assert "0.77" not in answer.text
