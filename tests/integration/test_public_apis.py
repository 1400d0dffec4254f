"""Public STAC APIs read in place: items that were really recorded, served by rustac over COGs made here.

The items are those of Planetary Computer and stactools (``../shared/data/stac``); only their hrefs are changed, to a
file server on this machine, since the pixels were never recorded. So metadata are real: null EPSG codes with wkt2,
scales in ``raster:bands``, no nodata, fill codes, no data type at all for the DEM.
"""

import functools
import http.server
import json
import threading
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio

from stac_sm.core.errors import CatalogError, ReadError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import Period
from stac_sm.features.cube import feature_cube
from stac_sm.features.recipe import Feature, Recipe
from stac_sm.stac.catalogs.catalog import Catalog, create_skeleton, open_catalog
from stac_sm.storage.store import open_store
from tests.support.served import rustac_serving

LST = "MOD11A1.A2022041.h19v02.061"
LAI = "MOD15A2H.A2022033.h13v10.061"
DEM = "Copernicus_DSM_COG_10_S90_00_W180_00_DEM"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Files with byte ranges, which GDAL needs."""

    def do_GET(self):
        wanted = self.headers.get("Range")
        file = Path(self.translate_path(self.path))
        if not wanted or not file.is_file():
            super().do_GET()
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        content = file.read_bytes()
        part = content[int(first) : int(last) + 1 if last else None]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Folder served over http, and its address."""
    folder = tmp_path_factory.mktemp("files")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def recorded(shared, files):
    """The recorded items by id, their data assets made here and served."""
    folder, address = files
    modis = shared / "data" / "stac" / "stactools_modis" / "modis-061"
    items = {LST: json.loads((modis / "modis-11A1-061" / LST / f"{LST}.json").read_text())}
    items[LAI] = json.loads((modis / "modis-15A2H-061" / LAI / f"{LAI}.json").read_text())
    dem = json.loads((shared / "data" / "stac" / "planetary_computer_items" / "cop-dem-glo-30-pc.json").read_text())
    features = dem["features"] if isinstance(dem, dict) else dem
    items[DEM] = next(item for item in features if item["id"] == DEM)
    _serve(items[LST], "LST_Day_1km", folder, address, lambda at: (14000 + at % 700).astype(np.uint16))
    _serve(items[LAI], "Lai_500m", folder, address, _lai)
    _serve(items[DEM], "data", folder, address, lambda at: (at % 977).astype(np.float32))
    return items


def _lai(at):
    values = (at % 70).astype(np.uint8)
    values[at % 11 == 0] = 253  # barren, by the product's own legend: a code, no value
    return values


def _serve(item, key, folder, address, make):
    """Write a COG on the item's own grid and point the item to it."""
    fields = {**item["properties"], **item["assets"][key]}
    shape, affine = fields["proj:shape"], rasterio.Affine(*fields["proj:transform"][:6])
    crs = fields.get("proj:wkt2") or f"EPSG:{fields['proj:epsg']}"
    values = make(np.arange(shape[0] * shape[1]).reshape(shape))
    name = f"{item['id']}.{key}.tif"
    with rasterio.open(
        folder / name, "w", driver="COG", width=shape[1], height=shape[0], count=1, dtype=values.dtype,
        crs=rasterio.crs.CRS.from_user_input(crs), transform=affine, compress="DEFLATE",
    ) as file:  # fmt: skip
        file.write(values, 1)
    item["assets"][key]["href"] = f"{address}/{name}"


@pytest.fixture(scope="module")
def api(recorded, shared, tmp_path_factory):
    """A STAC API by rustac, which nobody here wrote, with the recorded collections and items."""
    folder = tmp_path_factory.mktemp("api")
    known = json.loads((shared / "data" / "stac" / "planetary_computer_collections_recorded.json").read_text())
    known = {one["id"]: one for one in (known["collections"] if isinstance(known, dict) else known)}
    collections = {item["collection"]: known[item["collection"]] for item in recorded.values()}
    with rustac_serving(folder, collections.values(), recorded.values()) as address:
        yield address


@pytest.fixture
def own(tmp_path) -> Catalog:
    create_skeleton(open_store(tmp_path / "own"), title="own")
    return open_catalog(tmp_path / "own")


@pytest.mark.parametrize("reader", ["stackstac", "odc"])
def test_modis_lst_with_null_epsg_and_scale_is_read_in_place(api, own, reader):
    recipe = Recipe((Feature("lst", "modis-11A1-061", "LST_Day_1km", catalog=api),))
    cube = feature_cube(own, recipe, "h19v02", Period.parse("2022-02-10"), reader=reader).compute(scheduler="threads")
    at = np.arange(1200 * 1200).reshape(1200, 1200)
    wanted = ((14000 + at % 700) * 0.02).astype(np.float32)
    assert np.array_equal(cube.lst.values[0], wanted)
    assert cube.lst.attrs["items"] == [LST]


@pytest.mark.parametrize("reader", ["stackstac", "odc"])
def test_lai_codes_above_100_are_no_values(api, own, reader):
    feature = Feature("lai", "modis-15A2H-061", "Lai_500m", "average", "daily", valid=(0, 100), catalog=api)
    cube = feature_cube(own, Recipe((feature,)), "h13v10", Period.parse("2022-02-03"), reader=reader)
    values = cube.lai.compute(scheduler="threads").values[0]
    stored = _lai(np.arange(2400 * 2400).reshape(2400, 2400)).astype(float)
    stored[stored > 100] = np.nan
    quads = (stored * 0.1).reshape(1200, 2, 1200, 2)
    assert np.allclose(values, np.nanmean(quads, axis=(1, 3)), rtol=1e-6)
    assert values.max() <= 7


def test_without_the_valid_range_codes_would_pass_as_values(api, own):
    feature = Feature("lai", "modis-15A2H-061", "Lai_500m", "average", "daily", catalog=api)
    cube = feature_cube(own, Recipe((feature,)), "h13v10", Period.parse("2022-02-03"))
    assert cube.lai.compute(scheduler="threads").values.max() > 10  # so the test above can fail


@pytest.mark.parametrize("reader", ["stackstac", "odc"])
def test_an_item_that_says_nothing_of_its_type_is_completed_by_its_file(api, own, recorded, files, reader):
    feature = Feature("elevation", "cop-dem-glo-30", "data", time="static", catalog=api)
    west, south, _, _ = recorded[DEM]["bbox"]
    from affine import Affine
    from odc.geo.geobox import GeoBox

    box = GeoBox((40, 50), Affine(0.0021, 0, west + 0.30001, 0, -0.0021, south + 0.40003), "EPSG:4326")
    cube = feature_cube(own, Recipe((feature,)), box, Period.parse("2022-02-03"), reader=reader)
    values = cube.elevation.compute(scheduler="threads").values[0]
    with rasterio.open(files[0] / f"{DEM}.data.tif") as file:
        x, y = np.meshgrid(cube.x.values, cube.y.values)
        wanted = np.array([one[0] for one in file.sample(zip(x.ravel(), y.ravel(), strict=True))]).reshape(40, 50)
    assert np.array_equal(values, wanted)


def test_search_keeps_to_period_and_box(api):
    items = open_catalog(api)
    there = MODIS_SINUSOIDAL_1KM.footprint("h19v02").bounds
    assert [item.id for item in items.items("modis-11A1-061", period=Period.parse("2022-02-10"), bbox=there)] == [LST]
    assert items.items("modis-11A1-061", period=Period.parse("2022-02-11"), bbox=there) == []
    assert items.items("modis-11A1-061", period=Period.parse("2022-02-10"), bbox=(100, -10, 101, -9)) == []


def test_a_missing_collection_and_a_dead_api_are_named(api):
    with pytest.raises(CatalogError, match="'modis-99A9-061' is not in the STAC API"):
        open_catalog(api).items("modis-99A9-061")
    with pytest.raises(CatalogError, match="http://127.0.0.1:9 gave no answer"):
        open_catalog("http://127.0.0.1:9").items("modis-11A1-061")


def test_a_file_that_is_not_there_is_an_error_not_nodata(api, own):
    recipe = Recipe((Feature("night", "modis-11A1-061", "LST_Night_1km", catalog=api),))  # its file was never made
    cube = feature_cube(own, recipe, "h19v02", Period.parse("2022-02-10"))
    with pytest.raises(ReadError, match=f"item '{LST}', asset 'LST_Night_1km': .* cannot be read"):
        cube.compute(scheduler="synchronous")


def test_keys_that_are_time_stamps_are_found_by_role_and_ending():
    """CMR-STAC's asset keys are stamps of the processing; an s3 twin has the prefix s3_."""
    from stac_sm.raster.source import asset_key

    item = pystac.Item.from_dict(
        {
            "type": "Feature", "stac_version": "1.0.0", "id": "MOD11A1.A2020001.h18v04.061", "geometry": None,
            "properties": {"datetime": "2020-01-01T00:00:00Z"}, "links": [],
            "assets": {
                "2021003143512": {"href": "https://data/MOD11A1.A2020001.hdf?A=1", "roles": ["data"]},
                "s3_2021003143512": {"href": "s3://lp-prod/MOD11A1.A2020001.hdf", "roles": ["data"]},
                "browse": {"href": "https://data/BROWSE.jpg", "roles": ["browse"]},
                "metadata": {"href": "https://data/MOD11A1.A2020001.cmr.xml", "roles": ["metadata"]},
            },
        }
    )  # fmt: skip
    assert asset_key(item, "*.hdf") == "2021003143512"
    assert asset_key(item, "browse") == "browse"
    assert asset_key(item, "*.tif") is None
    item.assets["twin"] = pystac.Asset("https://data/other.hdf", roles=["data"])
    with pytest.raises(CatalogError, match="2021003143512, twin end with '.hdf'"):
        asset_key(item, "*.hdf")
