"""SoilGrids: integers as they are, windows of the Homolosine where they are, mosaics here and on the web, and trust."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from datetime import date
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.vrt import WarpedVRT
from rasterio.warp import Resampling, reproject

from stac_sm.core.errors import CatalogError, GranuleError, InputError
from stac_sm.core.footprints import footprint
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import Period
from stac_sm.core.projections import crs_wkt
from stac_sm.features.cube import build, feature_cube
from stac_sm.features.inputs import require_inputs, resolve_inputs
from stac_sm.features.recipe import Feature, Recipe
from stac_sm.ingest.file_content import describe_file
from stac_sm.ingest.formats.vrt import vrt_mosaic
from stac_sm.ingest.pipeline import ingest
from stac_sm.ingest.providers.soilgrids import HOMOLOSINE, NORTH, SHAPE, WEST, SoilGrids
from stac_sm.raster.readers import get_reader
from stac_sm.raster.resample import TargetPixels
from stac_sm.raster.source import complete_from_header, raster_source
from stac_sm.simulate.earth import Earth
from stac_sm.simulate.soilgrids import PROPERTIES, write_soil
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.storage.http.documents import FileUrl
from tests.support.source_files import asset_href, content, ingested, new_catalog

NODATA = -32768
SIDE = 90  # of tiles; the provider's have 450
ROW, COLUMN = 12000, 84000  # of the mosaic: near 47 N, 7 E
DAYS = Period.of_day(date(2019, 6, 1))


def grid(row, column, shape):
    return GeoBox(shape, Affine(250, 0, WEST + 250 * column, 0, -250, NORTH - 250 * row), crs_wkt(HOMOLOSINE))


def field(row, column, shape, low=100, high=800):
    """Smooth stored values that depend on the place in the global mosaic alone; a lake in every 60 x 60 pixels."""
    rows, columns = row + np.arange(shape[0])[:, np.newaxis], column + np.arange(shape[1])[np.newaxis]
    wave = np.sin(rows / 23) + np.cos(columns / 31) + 0.3 * np.sin((rows + 2 * columns) / 11)
    values = low + (high - low) * (wave + 2.3) / 4.6
    return np.where((rows % 60 < 4) & (columns % 60 < 7), NODATA, values.round()).astype(np.int16)


def write_tif(path, row=ROW, column=COLUMN, shape=(SIDE, SIDE), values=None, **kw):
    values = field(row, column, shape) if values is None else values
    profile = {
        "driver": "GTiff", "dtype": str(values.dtype), "count": 1, "height": values.shape[0], "width": values.shape[1],
        "crs": HOMOLOSINE, "transform": grid(row, column, shape).affine, "nodata": NODATA, "compress": "deflate",
    } | kw  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **profile) as file:
        file.write(values, 1)
    return path


def source_xml(name, target, shape=(SIDE, SIDE), size=None, relative=1, inner="", tag="ComplexSource"):
    top, left = target
    rows, columns = size or shape
    return (
        f'<{tag}><SourceFilename relativeToVRT="{relative}">{name}</SourceFilename><SourceBand>1</SourceBand>'
        f'<SrcRect xOff="0" yOff="0" xSize="{shape[1]}" ySize="{shape[0]}" />'
        f'<DstRect xOff="{left}" yOff="{top}" xSize="{columns}" ySize="{rows}" />'
        f"<NODATA>{NODATA}</NODATA>{inner}</{tag}>"
    )


def vrt_xml(sources, row=ROW, column=COLUMN, shape=(2 * SIDE, 3 * SIDE), band='dataType="Int16" band="1"', head=""):
    geobox = grid(row, column, shape)
    return (
        f'{head}<VRTDataset rasterXSize="{shape[1]}" rasterYSize="{shape[0]}">'
        f"<SRS>{pyproj.CRS(HOMOLOSINE).to_wkt('WKT1_GDAL')}</SRS>"
        f"<GeoTransform>{', '.join(map(repr, geobox.affine.to_gdal()))}</GeoTransform>"
        f"<VRTRasterBand {band}><NoDataValue>{NODATA}</NoDataValue>{''.join(sources)}</VRTRasterBand></VRTDataset>"
    )


def write_mosaic(folder, name="sand_0-5cm_mean"):
    """2 x 3 tiles as the provider lays them out, one of them missing (sea), one ragged, and their VRT."""
    sources = []
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1), (1, 2)):
        size = (SIDE, SIDE) if (i, j) != (1, 2) else (SIDE - 13, SIDE - 20)
        path = f"{name}/tileSG-{i:03d}-{j:03d}/tileSG-{i:03d}-{j:03d}_1-1.tif"
        write_tif(folder / path, ROW + i * SIDE, COLUMN + j * SIDE, size)
        sources.append(source_xml(f"./{path}", (i * SIDE, j * SIDE), size))
    vrt = folder / f"{name}.vrt"
    vrt.write_text(vrt_xml(sources))
    return vrt


def degrees(row, column, shape):
    """A bbox in degrees well inside a window."""
    polygon = footprint(grid(row, column, shape))
    west, south, east, north = polygon.bounds
    dx, dy = (east - west) / 4, (north - south) / 4
    return [west + dx, south + dy, east - dx, north - dy]


class RangeHandler(SimpleHTTPRequestHandler):
    """Files with byte ranges, as GDAL asks for them; keeps the paths that were asked for."""

    asked: list[str]

    def do_GET(self):
        self.server.asked.append(self.path)
        ranged = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if ranged is None:
            return super().do_GET()
        try:
            with open(self.translate_path(self.path), "rb") as file:
                whole = file.read()
        except OSError:
            return self.send_error(404)
        first, last = int(ranged[1]), min(int(ranged[2] or len(whole)), len(whole) - 1)
        if first > last:
            return self.send_error(416)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(whole)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        return self.wfile.write(whole[first : last + 1])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    """A folder, its address, and what was asked for."""
    folder = tmp_path / "web"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(RangeHandler, directory=str(folder))) as running:
        running.asked = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}", running.asked
        running.shutdown()
        thread.join()


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "scale"), [("sand", 0.1), ("silt", 0.1), ("clay", 0.1), ("soc", 0.1), ("bdod", 0.01)])
def test_stored_integers_are_kept_and_scaled(tmp_path, validate, name, scale):
    values = field(ROW, COLUMN, (SIDE, SIDE), 80, 160)
    path = write_tif(tmp_path / f"{name}_0-5cm_mean.tif", values=values)
    catalog = new_catalog(tmp_path / "catalog")
    assert [result.status for result in ingest(catalog, "soilgrids", [path])] == ["new"]
    (item,) = ingested(catalog, "soilgrids")
    assert (item.id, list(item.assets)) == (f"soilgrids-{name}-r{ROW}c{COLUMN}-{SIDE}x{SIDE}", [name])
    validate(item)
    validate(catalog.document("soilgrids/collection.json"))
    band = item.assets[name].extra_fields["bands"][0]
    assert (band["raster:scale"], band["nodata"], band["data_type"]) == (scale, NODATA, "int16")
    with rasterio.open(path) as raw, rasterio.open(asset_href(item, name)) as cog:
        assert np.array_equal(cog.read(1), raw.read(1))
        assert (cog.scales, cog.nodata, cog.transform) == ((scale,), NODATA, raw.transform)
        assert cog.crs.to_dict()["proj"] == "igh"
    physical = complete_from_header(raster_source(item, name)).physical(values)
    np.testing.assert_allclose(physical[~np.isnan(physical)], values[values != NODATA] * scale, rtol=1e-6)
    assert np.array_equal(np.isnan(physical), values == NODATA)


def test_crs_under_other_names_is_the_same(tmp_path):
    """GDAL calls it unnamed, ISRIC Homolosine, Esri World_Goode_Homolosine_Land: what counts is where places go."""
    named = pyproj.CRS(HOMOLOSINE).to_wkt().replace('PROJCRS["unknown"', 'PROJCRS["Homolosine"')
    esri = pyproj.CRS("ESRI:54052").to_wkt()
    for crs in (named, esri):
        (granule,) = SoilGrids().scan(write_tif(tmp_path / "clay_0-5cm_mean.tif", crs=crs)).granules
        assert granule.item["properties"]["proj:code"] is None
        assert granule.item["id"] == f"soilgrids-clay-r{ROW}c{COLUMN}-{SIDE}x{SIDE}"
        assert "Goode" in granule.item["properties"]["proj:wkt2"]
    ocean = write_tif(tmp_path / "clay_0-5cm_mean.tif", crs="+proj=igh_o +datum=WGS84 +units=m +no_defs")
    with pytest.raises(GranuleError, match="found the CRS"):
        SoilGrids().scan(ocean)


def test_a_vrt_gives_what_gdal_reads_from_it(tmp_path):
    vrt = write_mosaic(tmp_path / "granules")
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "soilgrids", [tmp_path / "granules"])  # the tiles stand under their VRT
    assert (result.status, result.file) == ("new", str(vrt))
    (item,) = ingested(catalog, "soilgrids")
    with rasterio.open(vrt) as raw, rasterio.open(asset_href(item, "sand")) as cog:
        assert np.array_equal(cog.read(1), raw.read(1))
        assert cog.transform == raw.transform
        assert (cog.read(1) == NODATA).mean() > 1 / 6
    vrt.unlink()
    results = ingest(new_catalog(tmp_path / "tiles"), "soilgrids", [tmp_path / "granules"])
    assert [result.items for result in results] == [{"new": 1}] * 5


def test_a_changed_tile_replaces_the_item_of_its_vrt(tmp_path):
    vrt, catalog = write_mosaic(tmp_path / "granules"), new_catalog(tmp_path / "catalog")
    assert ingest(catalog, "soilgrids", [vrt])[0].status == "new"
    assert ingest(catalog, "soilgrids", [vrt])[0].status == "done"
    tile = next(tmp_path.rglob("tileSG-001-001_1-1.tif"))
    write_tif(tile, ROW + SIDE, COLUMN + SIDE, values=np.full((SIDE, SIDE), 555, np.int16))
    (result,) = ingest(catalog, "soilgrids", [vrt])
    assert "(SHA-256 " in result.error
    assert "they differ in sand, and nothing states which is newer" in result.error
    assert ingest(catalog, "soilgrids", [vrt], replace=True)[0].status == "replaced"
    with rasterio.open(asset_href(ingested(catalog, "soilgrids")[0], "sand")) as cog:
        assert (cog.read(1)[SIDE:, SIDE : 2 * SIDE] == 555).all()


def test_a_bbox_cuts_a_window_that_holds_it(tmp_path):
    path = write_tif(tmp_path / "sand_0-5cm_mean.tif", shape=(400, 500))
    bbox = degrees(ROW, COLUMN, (400, 500))
    catalog = new_catalog(tmp_path / "catalog")
    ingest(catalog, "soilgrids", [path], settings={"bbox": bbox})
    (item,) = ingested(catalog, "soilgrids")
    west, south, east, north = item.bbox
    assert shapely.box(west, south, east, north).contains(shapely.box(*bbox))
    with rasterio.open(path) as raw, rasterio.open(asset_href(item, "sand")) as cog:
        assert cog.width * cog.height < 0.5 * raw.width * raw.height
        window = raw.window(*cog.bounds).round_offsets().round_lengths()
        assert np.array_equal(cog.read(1), raw.read(1, window=window))
    inside = shapely.box(*bbox).segmentize(0.02)
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", HOMOLOSINE, always_xy=True).transform(
        *shapely.get_coordinates(inside).T
    )
    assert shapely.box(*cog.bounds).contains(shapely.box(x.min(), y.min(), x.max(), y.max()))
    elsewhere = ingest(catalog, "soilgrids", [path], settings={"bbox": [100, 0, 101, 1]})
    assert (elsewhere[0].status, elsewhere[0].items) == ("done", {})
    assert "lies outside bbox = [100, 0, 101, 1]" in elsewhere[0].notes[0]


@pytest.mark.parametrize("bbox", [[8, 46, 7, 47], [7, 47, 8, 46], [170, 0, 190, 1], [7, 46, 8]])
def test_a_bbox_that_is_none_is_refused(bbox):
    with pytest.raises(InputError, match=r"\[sources.soilgrids\] bbox"):
        SoilGrids(bbox=bbox)


def test_the_whole_earth_at_once_is_refused_before_anything_is_read(tmp_path):
    vrt = tmp_path / "sand_0-5cm_mean.vrt"
    vrt.write_text(vrt_xml([], 0, 0, SHAPE))
    with pytest.raises(GranuleError, match=r"58034 x 159246 pixels found, at most .* set a smaller bbox"):
        SoilGrids().scan(vrt)
    (granule,) = SoilGrids(bbox=(5, 44, 10, 48)).scan(vrt).granules
    assert granule.item["bbox"][0] < 5


def test_coarse_tiles_fill_only_what_no_other_tile_covers(tmp_path):
    """ISRIC publishes three tiles at 500 to 15,500 m: GDAL paints them over 250 m pixels, or not, by their order."""
    holed = np.full((40, 40), 300, np.int16)
    holed[:10] = NODATA
    write_tif(tmp_path / "a" / "fine.tif", ROW, COLUMN + 20, values=holed)
    coarse = np.arange(100, 400, dtype=np.int16).reshape(15, 20)
    transform = grid(ROW, COLUMN, (1, 1)).affine * Affine.scale(4)
    write_tif(tmp_path / "a" / "coarse.tif", values=coarse, transform=transform)
    fine_xml = source_xml("a/fine.tif", (0, 20), (40, 40))
    coarse_xml = source_xml("a/coarse.tif", (0, 0), (15, 20), (60, 80))
    for order in ([fine_xml, coarse_xml], [coarse_xml, fine_xml]):
        mosaic = vrt_mosaic("m", vrt_xml(order, shape=(60, 80)).encode(), str(tmp_path))
        wanted = np.repeat(np.repeat(coarse, 4, 0), 4, 1)
        wanted[:40, 20:60] = holed
        assert np.array_equal(mosaic.read((0, 0, 60, 80), NODATA), wanted)
        assert np.array_equal(mosaic.read((7, 3, 33, 71), NODATA), wanted[7:33, 3:71])


# --- bad files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crs": "EPSG:4326"}, "in degrees, which lies off the Earth: is its CRS right"),
        ({"crs": "EPSG:3857"}, "found the CRS"),
        ({"crs": None}, "found the CRS None"),
        ({"crs": "+proj=igh +lon_0=0 +x_0=500 +datum=WGS84"}, "found the CRS"),
        ({"transform": Affine(250, 0, WEST + 125, 0, -250, NORTH)}, "lies off the Earth"),
        ({"transform": Affine(250, 0, WEST, 0, 250, NORTH)}, "north up"),
        ({"row": -10}, "lie off the 58034 x 159246 of the mosaic"),
        ({"column": SHAPE[1] - 10}, "lie off the 58034 x 159246 of the mosaic"),
        ({"row": 3000, "column": 60000}, "lies off the Earth"),  # between the lobes of the north
        ({"values": np.ones((SIDE, SIDE), np.uint8), "nodata": 255}, "found uint8 with nodata 255"),
        ({"count": 2}, "found 2 bands"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, change, message):
    path = write_tif(tmp_path / "sand_0-5cm_mean.tif", **change)
    with pytest.raises(GranuleError, match=re.escape(str(path)) + f".*{message}"):
        SoilGrids().scan(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cec_0-5cm_mean.tif", "found the property 'cec', expected one of sand, silt, clay, bdod, soc, phh2o"),
        ("sand_0-30cm_mean.tif", "found the depth 0-30cm, expected one of 0-5cm, 5-15cm"),
        ("clay_silt_0-5cm.tif", "found the name clay_silt_0-5cm.tif, expected a property and a depth"),
        ("sand_0-5cm_Q0.95.tif", "found Q0.95 of 0-5cm, expected the mean"),
        ("sand.tif", "found the name sand.tif, expected a property and a depth as in sand_0-5cm_mean.tif"),
        ("tileSG-007-039_4-1.tif", "found the name tileSG-007-039_4-1.tif"),
        ("clay_0-5cm_Q0.5/tileSG-007-039_4-1.tif", "found Q0.5 of 0-5cm"),
        ("clay_0-5cm_mean/other.tif", "found the name other.tif"),
    ],
)
def test_a_wrong_name_is_named(tmp_path, name, message):
    with pytest.raises(GranuleError, match=message):
        SoilGrids().scan(write_tif(tmp_path / name))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((SIDE, SIDE), NODATA, np.int16), "not one pixel with a value"),
        (np.full((SIDE, SIDE), 1001, np.int16), "sand from 1001 to 1001 found, 0 to 1000 expected"),
        (np.full((SIDE, SIDE), -1, np.int16), "sand from -1 to -1 found"),
    ],
)
def test_impossible_values_are_an_error_and_no_item(tmp_path, values, message):
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "soilgrids", [write_tif(tmp_path / "sand_0-5cm_mean.tif", values=values)])
    assert message in result.error
    assert ingested(catalog, "soilgrids") == []


@pytest.mark.parametrize("kind", ["tif", "vrt"])
def test_broken_files_are_an_error_and_no_item(tmp_path, kind):
    whole = write_tif(tmp_path / "whole.tif", compress=None).read_bytes()
    path = tmp_path / f"sand_0-5cm_mean.{kind}"
    for bad in (whole[: len(whole) // 2], b"", b"\x0e\x03\x13\x01" + bytes(500), b"<html>404</html>"):
        path.write_bytes(bad)
        catalog = new_catalog(tmp_path / "catalog")
        (result,) = ingest(catalog, "soilgrids", [path])
        assert result.status == "failed"
        assert str(path) in result.error
        assert ingested(catalog, "soilgrids") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tile: tile.unlink(), "no readable GeoTIFF"),
        (lambda tile: tile.write_bytes(tile.read_bytes()[:600]), "no readable GeoTIFF"),
        (lambda tile: write_tif(tile, ROW, COLUMN), "another place and size in"),
        (lambda tile: write_tif(tile, ROW + SIDE, COLUMN + SIDE, (SIDE - 1, SIDE)), "another place and size in"),
        (lambda tile: write_tif(tile, ROW + SIDE, COLUMN + SIDE, nodata=0), "nodata 0"),
        (lambda tile: tile.write_text(vrt_xml([source_xml("/etc/passwd", (0, 0), relative=0)])), "no readable GeoTIFF"),
    ],
)
def test_a_bad_tile_of_a_mosaic_is_named_and_never_nodata(tmp_path, change, message):
    vrt, catalog = write_mosaic(tmp_path / "granules"), new_catalog(tmp_path / "catalog")
    tile = next(tmp_path.rglob("tileSG-001-001_1-1.tif"))
    change(tile)
    (result,) = ingest(catalog, "soilgrids", [vrt])
    assert str(tile) in result.error
    assert message in result.error
    assert ingested(catalog, "soilgrids") == []


OUTSIDE = [
    ("/etc/passwd.tif", 0),
    ("/etc/passwd.tif", 1),
    ("../other.tif", 1),
    ("a/../../other.tif", 1),
    ("/vsicurl/http://host/x.tif", 0),
    ("vsicurl/http://host/x.tif", 1),
    ("http://host/x.tif", 1),
    ("file:///etc/x.tif", 1),
    ("a/b.vrt", 1),
    ("<VRTDataset/>", 1),
    ("a/b.tif", 0),
    ("NETCDF:a.tif", 1),
]


@pytest.mark.parametrize(("name", "relative"), OUTSIDE)
def test_a_vrt_reaches_nothing_but_tiles_beside_it(name, relative):
    escaped = name.replace("<", "&lt;")
    text = vrt_xml([source_xml(escaped, (0, 0), relative=relative)])
    with pytest.raises(GranuleError, match="a GeoTIFF at a path relative to the VRT expected"):
        vrt_mosaic("m.vrt", text.encode(), "/vsicurl/https://host/folder")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (vrt_xml([], head='<!DOCTYPE x [<!ENTITY y "z">]>'), "an XML document type"),
        (vrt_xml([], band='dataType="Int16" subClass="VRTDerivedRasterBand"'), "a VRT mosaic of one band expected"),
        (vrt_xml([source_xml("a.tif", (0, 0), inner="<LUT>0:1</LUT>")]), "<ComplexSource> LUT, plain tiles"),
        (vrt_xml([source_xml("a.tif", (0, 0), tag="KernelFilteredSource")]), "plain tiles"),
        (vrt_xml([source_xml("a.tif", (0, 0), (0, 5))]), "pixels inside expected"),
        ("<VRTDataset rasterXSize='1'><VRTRasterBand/></VRTDataset>", "not numbers"),
        ("<VRTDataset>", "no readable VRT"),
    ],
)
def test_a_vrt_that_does_more_than_a_mosaic_is_refused(text, message):
    with pytest.raises(GranuleError, match=re.escape(message)):
        vrt_mosaic("m.vrt", text.encode(), "folder")


# --- as services and clients deliver them -------------------------------------------------------------------------

REAL = Path(__file__).parents[4] / "shared" / "data" / "soilgrids_wcs"
TEXTURE = ("sand", "silt", "clay")
GAPS = (slice(10, 30), slice(40, 70))
"""Where the textures of `as_by_wcs` have no value."""


def warped(path, source, **kw):
    """A file in degrees, as the provider's web service cuts it: no nodata tag, gaps as 0."""
    with rasterio.open(source) as raw, WarpedVRT(raw, crs="EPSG:4326", resampling=Resampling.nearest) as view:
        values = view.read(1)
        values[values == NODATA] = 0
        profile = {
            "driver": "GTiff", "dtype": "int16", "count": 1, "height": view.height, "width": view.width,
            "crs": "EPSG:4326", "transform": view.transform, "compress": "deflate",
        } | kw  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(values, 1)
    return path, values


def textures(zero=()):
    """Stored values of sand, silt and clay that sum to 1000 g/kg, but for rounding; 0 in the gaps.

    ``zero`` names what is truly 0 in the first five rows.
    """
    sand, clay = field(ROW, COLUMN, (SIDE, SIDE), 300, 600), field(ROW + 7, COLUMN, (SIDE, SIDE), 100, 300)
    sand, clay = (np.where(values == NODATA, 200, values) for values in (sand, clay))
    found = {"sand": sand, "silt": 1001 - sand - clay, "clay": clay}
    for name in zero:
        other = next(one for one in TEXTURE if one not in zero)
        found[other][:5] += found[name][:5]
        found[name][:5] = 0
    for values in found.values():
        values[GAPS] = 0
    return {name: values.astype(np.int16) for name, values in found.items()}


def as_by_wcs(folder, values, name="{}_0-5cm_mean.tif", **kw):
    tag = {"nodata": None} | kw
    return {key: write_tif(folder / name.format(key), values=found, **tag) for key, found in values.items()}


def stored_values(catalog, key):
    (item,) = (item for item in ingested(catalog, "soilgrids") if key in item.assets)
    with rasterio.open(asset_href(item, key)) as cog:
        return cog.read(1)


@pytest.mark.skipif(not REAL.is_dir(), reason="real files are not there")
@pytest.mark.parametrize("depth", ["5-15cm", "0-5cm"])
def test_real_downloads_of_the_web_service(tmp_path, validate, depth):
    names = {name: f"{name.title()}_{depth.removesuffix('cm').replace('-', '_')}.tif" for name in TEXTURE}
    folder = tmp_path / "in"
    folder.mkdir()
    for name, file in names.items():
        shutil.copy(REAL / f"{name.title()}_5_15.tif", folder / file)
    catalog = new_catalog(tmp_path / "catalog")
    results = ingest(catalog, "soilgrids", [folder])
    assert [(result.status, result.error) for result in results] == [("new", None)] * 3
    assert "37673 of 740745 pixels of 0 are gaps, since the three do not sum to 1000 g/kg" in results[0].notes[0]
    raw = {name: rasterio.open(folder / file).read(1) for name, file in names.items()}
    for item in ingested(catalog, "soilgrids"):
        validate(item)
        (key,) = item.assets
        name = key.split("_")[0]
        assert key == (name if depth == "0-5cm" else f"{name}_5-15cm")
        assert item.id.startswith(f"soilgrids-{key}-w48.8386s21.7648-837x885-")
        np.testing.assert_allclose(item.bbox, [-48.8386, -23.7648, -46.8386, -21.7648], atol=1e-6)
        with rasterio.open(asset_href(item, key)) as cog:
            assert (cog.nodata, cog.scales, cog.crs.to_epsg()) == (NODATA, (0.1,), 4326)
            assert np.array_equal(cog.read(1), np.where(raw[name] == 0, NODATA, raw[name]))
    validate(catalog.document("soilgrids/collection.json"))
    assert [result.status for result in ingest(catalog, "soilgrids", [folder])] == ["done"] * 3


@pytest.mark.parametrize("tag", [None, 0, NODATA])
def test_a_zero_of_texture_is_a_gap_unless_the_three_sum_to_a_kilogram(tmp_path, tag):
    values = textures(zero=("clay",))
    as_by_wcs(tmp_path / "in", values, nodata=tag)
    catalog = new_catalog(tmp_path / "catalog")
    assert [result.error for result in ingest(catalog, "soilgrids", [tmp_path / "in"], workers=1)] == [None] * 3
    for name, stored in values.items():
        expected = stored.copy()
        expected[GAPS] = NODATA
        assert np.array_equal(stored_values(catalog, name), expected)
    assert (stored_values(catalog, "clay")[:5] == 0).all()


def test_the_others_are_found_in_the_catalogue_or_named(tmp_path):
    files = as_by_wcs(tmp_path, textures())
    catalog = new_catalog(tmp_path / "catalog")
    (refused,) = ingest(catalog, "soilgrids", [files["sand"]])
    assert "600 of 8100 pixels of sand are 0 found" in refused.error
    assert "silt and clay of 0-5cm on the same window are required to tell" in refused.error
    assert ingested(catalog, "soilgrids") == []
    (_, refused) = ingest(catalog, "soilgrids", [files["silt"], write_tif(tmp_path / "sand_5-15cm_mean.tif")])
    assert "sand and clay of 0-5cm" in refused.error  # those of another depth do not count
    ingest(catalog, "soilgrids", list(files.values()))
    before = {item.id: item.to_dict() for item in ingested(catalog, "soilgrids")}
    for path in tmp_path.glob("catalog/soilgrids/soilgrids-sand-r*"):
        shutil.rmtree(path)
    (result,) = ingest(catalog, "soilgrids", [files["sand"]])
    assert (result.status, result.error) == ("new", None)
    after = {item.id: item.to_dict() for item in ingested(open_catalog(catalog.root), "soilgrids")}
    assert {id: one["properties"] for id, one in after.items()} == {id: one["properties"] for id, one in before.items()}
    assert (stored_values(catalog, "sand")[GAPS] == NODATA).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_other_integers_are_taken(tmp_path, dtype):
    values = field(ROW, COLUMN, (SIDE, SIDE), 50, 90)
    values[values == NODATA] = 0
    path = write_tif(tmp_path / "soc_0-5cm.tif", values=values.astype(dtype), nodata=None)
    (granule,) = SoilGrids().scan(path).granules
    assert np.array_equal(granule.layers["soc"].values(), np.where(values == 0, NODATA, values))


@pytest.mark.parametrize("name", ["bdod", "soc", "phh2o"])
def test_a_zero_of_other_properties_is_a_gap(tmp_path, name):
    values = field(ROW, COLUMN, (SIDE, SIDE), 50, 90)
    values[GAPS] = 0
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "soilgrids", [write_tif(tmp_path / f"{name}_30-60cm.tif", values=values, nodata=None)])
    assert result.error is None
    assert "pixels of 0 are gaps, since it is never 0" in result.notes[0]
    assert np.array_equal(stored_values(catalog, f"{name}_30-60cm"), np.where(values == 0, NODATA, values))


def test_what_is_taken_for_a_gap_is_part_of_the_identity_and_nothing_else(tmp_path):
    """Files without zeros keep the fingerprint of before."""
    found = {}
    for gap in (0, 333):
        values = np.where(textures()["sand"] == 0, gap, textures()["sand"])
        path = write_tif(tmp_path / f"{gap}" / "bdod_0-5cm_mean.tif", values=(values / 8).astype(np.int16), nodata=None)
        (granule,) = SoilGrids().scan(path).granules
        found[gap] = granule.choices
    assert found[333] == {}
    assert list(found[0]) == ["gaps"]


NAMES = {
    "sand_0-5cm_mean.tif": "sand",
    "Sand_0_5.tif": "sand",
    "sand_15-30cm_mean_clip.tif": "sand_15-30cm",
    "CLAY_30_60.tif": "clay_30-60cm",
    "silt.60.100cm.tif": "silt_60-100cm",
    "phh2o_100-200cm_mean.tif": "phh2o_100-200cm",
    "pH_5_15.tif": "phh2o_5-15cm",
    "bulk_density_0-5cm.tif": "bdod",
    "BD_5_15.tif": "bdod_5-15cm",
    "soil_organic_carbon_0to5cm.tif": "soc",
    "2020-10-21_soc_5-15cm_mean_epsg4326_250m.tif": "soc_5-15cm",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_services_and_clients(tmp_path, name):
    path = write_tif(tmp_path / name, values=field(ROW, COLUMN, (SIDE, SIDE), 50, 90))
    (granule,) = SoilGrids().scan(path).granules
    assert list(granule.layers) == [NAMES[name]]
    assert granule.item["id"] == f"soilgrids-{NAMES[name]}-r{ROW}c{COLUMN}-{SIDE}x{SIDE}"


def recognised(path):
    answer = SoilGrids().recognises(describe_file(path))
    return answer and (answer.product, answer.by_name, answer.left_out, answer.refusal.partition(",")[0])


def test_files_are_recognised_by_grid_and_name(tmp_path):
    raw = write_tif(tmp_path / "raw.tif")
    assert recognised(raw) == ("SoilGrids", False, False, "found the name raw.tif")
    other = write_tif(tmp_path / "sand_0-5cm_Q0.5.tif")
    assert recognised(other) == ("SoilGrids", False, True, "found Q0.5 of 0-5cm")
    path, _ = warped(tmp_path / "Clay_5_15_clip.tif", raw)
    assert recognised(path) == ("SoilGrids (clay_5-15cm)", False, False, "")
    assert recognised(path.rename(tmp_path / "elevation.tif")) is None
    with rasterio.open(tmp_path / "elevation.tif", "r+") as file:
        file.set_band_description(1, "silt_0-5cm_mean")
    assert recognised(tmp_path / "elevation.tif") == ("SoilGrids (silt)", False, False, "")
    utm = write_tif(tmp_path / "sand_0-5cm.tif", crs="EPSG:32632")
    assert recognised(utm) == ("SoilGrids (sand)", True, False, "")


def test_a_file_in_degrees_gives_the_values_of_the_original(tmp_path):
    source = write_tif(tmp_path / "raw.tif", values=field(ROW, COLUMN, (SIDE, SIDE), 80, 160))
    path, values = warped(tmp_path / "soc_0-5cm_mean.tif", source)
    catalog = new_catalog(tmp_path / "catalog")
    assert ingest(catalog, "soilgrids", [path])[0].error is None
    assert np.array_equal(stored_values(catalog, "soc"), np.where(values == 0, NODATA, values))
    (item,) = ingested(catalog, "soilgrids")
    target = MODIS_SINUSOIDAL_1KM.geobox("h18v04")
    inside = footprint(grid(ROW, COLUMN, (SIDE, SIDE))).centroid
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", str(target.crs), always_xy=True).transform(inside.x, inside.y)
    column, row = map(int, ~target.affine * (x, y))
    target = target[row - 5 : row + 5, column - 5 : column + 5]
    recipe = Recipe((Feature("soc", "soilgrids", "soc", "nearest", "static"),))
    ours = feature_cube(open_catalog(catalog.root), recipe, target, DAYS).soc.values[0]
    assert np.nanmin(ours) >= 8
    assert np.nanmax(ours) <= 16
    assert item.id.startswith("soilgrids-soc-e")


@pytest.mark.parametrize(
    ("transform", "id"),
    [
        (grid(ROW, COLUMN, (1, 1)).affine * Affine.translation(0.5, 0), "x1050375y5361000"),  # bbox of a client
        (grid(ROW, COLUMN, (1, 1)).affine * Affine.scale(4), "x1050250y5361000"),  # 1 km
    ],
)
def test_a_window_off_the_grid_of_the_mosaic_keeps_its_own(tmp_path, transform, id):
    path = write_tif(tmp_path / "sand_0-5cm_mean.tif", transform=transform)
    (granule,) = SoilGrids().scan(path).granules
    assert granule.item["id"].startswith(f"soilgrids-sand-{id}-90x90-")
    assert granule.layers["sand"].geobox.affine == transform
    other = write_tif(tmp_path / "b" / path.name, transform=transform * Affine.scale(1.1))
    assert SoilGrids().scan(other).granules[0].item["id"] != granule.item["id"]


@pytest.mark.parametrize("nodata", [-9999.0, np.nan, 255.0])
def test_numbers_with_decimals_are_in_the_units_that_people_use(tmp_path, nodata):
    """A stack as R writes it: bands with names, float32, scaled; of other nodata values, too."""
    values = textures()
    path = tmp_path / "fetch.tif"
    profile = {
        "driver": "GTiff", "dtype": "float32", "count": 4, "height": SIDE, "width": SIDE, "nodata": nodata,
        "crs": HOMOLOSINE, "transform": grid(ROW, COLUMN, (SIDE, SIDE)).affine,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        for band, name in enumerate((*TEXTURE, "cec"), 1):
            stored = values.get(name, values["sand"])
            file.write(np.where(stored == 0, nodata, stored * 0.1).astype(np.float32), band)
            file.set_band_description(band, f"{name}_5-15cm_mean")
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "soilgrids", [path])
    assert (result.error, result.items) == (None, {"new": 3})
    assert "band 4 'cec_5-15cm_mean': found the property 'cec'" in result.notes[0]
    for name, stored in values.items():
        assert np.array_equal(stored_values(catalog, f"{name}_5-15cm"), np.where(stored == 0, NODATA, stored))


def test_numbers_whose_unit_nothing_tells_are_refused(tmp_path):
    values = np.full((SIDE, SIDE), 35, np.float32)
    with pytest.raises(GranuleError, match="found numbers up to 35 as float32, which may be % or integers"):
        SoilGrids().scan(write_tif(tmp_path / "sand_0-5cm_mean.tif", values=values, nodata=None))
    (granule,) = SoilGrids().scan(write_tif(tmp_path / "sand_0-5cm_mean.tif", values=10 * values, nodata=None)).granules
    assert (granule.layers["sand"].values() == 350).all()


@pytest.mark.skipif(shutil.which("gdal_translate") is None, reason="GDAL's commands are not there")
def test_clips_by_gdal_translate(tmp_path):
    whole = write_tif(tmp_path / "sand_5-15cm_mean.tif", shape=(400, 500))
    for suffix in ("vrt", "tif"):
        clip = tmp_path / f"sand_5-15cm_mean_clip.{suffix}"
        kind = {"vrt": "VRT", "tif": "GTiff"}[suffix]
        command = ["gdal_translate", "-q", "-of", kind, "-srcwin", "50", "60", "200", "150", str(whole), str(clip)]
        subprocess.run(command, check=True)
        (granule,) = SoilGrids().scan(clip).granules
        assert granule.item["id"] == f"soilgrids-sand_5-15cm-r{ROW + 60}c{COLUMN + 50}-150x200"
        with rasterio.open(clip) as raw:
            assert np.array_equal(granule.layers["sand_5-15cm"].values(), raw.read(1))


# --- the web ------------------------------------------------------------------------------------------------------


def test_a_remote_vrt_gives_what_the_local_one_gives(tmp_path, server):
    folder, address, asked = server
    vrt = write_mosaic(folder)
    catalogs = [new_catalog(tmp_path / name) for name in ("local", "remote")]
    bbox = degrees(ROW, COLUMN, (SIDE, SIDE))
    ingest(catalogs[0], "soilgrids", [vrt], settings={"bbox": bbox})
    (result,) = ingest(catalogs[1], "soilgrids", [f"{address}/sand_0-5cm_mean.vrt"], settings={"bbox": bbox})
    assert (result.status, result.error, result.file) == ("new", None, f"{address}/sand_0-5cm_mean.vrt")
    local, remote = (ingested(catalog, "soilgrids")[0] for catalog in catalogs)
    assert local.id == remote.id
    assert remote.properties["stac_sm:source"] == "sand_0-5cm_mean.vrt"
    with rasterio.open(asset_href(local, "sand")) as one, rasterio.open(asset_href(remote, "sand")) as other:
        assert np.array_equal(one.read(1), other.read(1))
        assert one.transform == other.transform
    assert {path for path in asked if path.endswith(".tif")} == {  # and no tile outside the bbox
        "/sand_0-5cm_mean/tileSG-000-000/tileSG-000-000_1-1.tif"
    }


def test_a_remote_file_is_read_once_and_again_when_it_changes(tmp_path, server):
    folder, address, asked = server
    write_mosaic(folder)
    write_tif(folder / "clay_0-5cm_mean.tif", shape=(50, 50))
    catalog, urls = new_catalog(tmp_path / "catalog"), [f"{address}/{name}" for name in FILES]
    assert [result.status for result in ingest(catalog, "soilgrids", urls)] == ["new", "new"]
    before = content(tmp_path / "catalog")
    asked.clear()
    assert [result.status for result in ingest(catalog, "soilgrids", urls)] == ["done", "done"]
    assert not [path for path in asked if "tileSG" in path]
    assert content(tmp_path / "catalog") == before
    changed = np.full((SIDE, SIDE), 555, np.int16)
    write_tif(next(folder.rglob("tileSG-001-001_1-1.tif")), ROW + SIDE, COLUMN + SIDE, values=changed)
    assert [result.status for result in ingest(catalog, "soilgrids", urls)] == ["done", "failed"]
    assert [result.status for result in ingest(catalog, "soilgrids", urls, replace=True)] == ["done", "replaced"]
    with rasterio.open(asset_href(ingested(catalog, "soilgrids")[1], "sand")) as cog:
        assert (cog.read(1)[SIDE:, SIDE : 2 * SIDE] == 555).all()  # not what GDAL remembers of the file before


FILES = ("clay_0-5cm_mean.tif", "sand_0-5cm_mean.vrt")


def test_a_remote_file_that_is_not_there_is_named(tmp_path, server):
    folder, address, _ = server
    write_mosaic(folder)
    next(folder.rglob("tileSG-001-001_1-1.tif")).unlink()
    (folder / "clay_0-5cm_mean.tif").write_text("<html>")
    catalog = new_catalog(tmp_path / "catalog")
    results = ingest(catalog, "soilgrids", [f"{address}/{name}" for name in (*FILES, "soc_0-5cm_mean.vrt")])
    assert [result.status for result in results] == ["failed"] * 3
    for result, named in zip(results, (FILES[0], "tileSG-001-001_1-1.tif", "soc_0-5cm_mean.vrt"), strict=True):
        assert re.search(rf"{address}/\S*{re.escape(named)}: ", result.error)
    assert ingested(catalog, "soilgrids") == []


def test_a_remote_vrt_reaches_no_local_file(tmp_path, server):
    folder, address, _ = server
    secret = write_tif(tmp_path / "secret.tif")
    for name, relative in ((str(secret), 0), (str(secret), 1), ("../secret.tif", 1), (f"file://{secret}", 1)):
        (folder / "sand_0-5cm_mean.vrt").write_text(vrt_xml([source_xml(name, (0, 0), relative=relative)]))
        catalog = new_catalog(tmp_path / "catalog")
        (result,) = ingest(catalog, "soilgrids", [f"{address}/sand_0-5cm_mean.vrt"])
        assert "relative to the VRT expected" in result.error
        assert ingested(catalog, "soilgrids") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ftp://host/x.vrt", "address of scheme 'ftp'"),
        ("https://user:hunter2@host/x.vrt", "a user, query or fragment found"),
        ("https://host/x.vrt?token=hunter2", "a user, query or fragment found"),
        ("https://host/a/../x.vrt", "path '/a/../x.vrt' found"),
        ("https://host/x,y.vrt", "letters, digits"),
        ("https:///x.vrt", "one like https://host/folder/file"),
    ],
)
def test_addresses_that_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        ingest(new_catalog(tmp_path), "soilgrids", [text])
    assert "hunter2" not in str(error.value)
    assert str(FileUrl("https://files.isric.org/soilgrids/latest/data/sand/sand_0-5cm_mean.vrt")).endswith("mean.vrt")


def test_a_file_url_is_the_path_that_a_user_names(tmp_path):
    (result,) = ingest(new_catalog(tmp_path), "soilgrids", ["file:///etc/passwd"])
    assert result.status == "failed"
    assert "passwd" in (result.error or "")


def test_other_sources_take_no_address(tmp_path):
    with pytest.raises(InputError, match="is a web address: files like Copernicus_DSM_.* are required"):
        ingest(new_catalog(tmp_path), "cop-dem", ["https://host/x.tif"])


# --- the Homolosine -----------------------------------------------------------------------------------------------

WINDOWS = {
    "inside a lobe": (ROW, COLUMN, (300, 400)),
    "across the gap at 40 W": (9000, 51000, (8000, 22000)),
    "across the gap at 100 W, south": (42000, 31800, (8000, 20000)),
    "across the equator and a gap": (30000, 30000, (9000, 22000)),
    "across the antimeridian's edge": (25000, 150000, (8000, 9246)),
    "the whole mosaic": (0, 0, SHAPE),
}


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_footprints_hold_the_places_of_a_window_and_no_other(window):
    geobox = grid(*window)
    polygon = footprint(geobox)
    assert polygon.is_valid
    forth = pyproj.Transformer.from_crs("OGC:CRS84", HOMOLOSINE, always_xy=True)
    rng = np.random.default_rng(1)
    lon, lat = rng.uniform(-180, 180, 200_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 200_000)))
    west, south, east, north = polygon.bounds
    near = rng.uniform(west - 1, east + 1, 50_000).clip(-180, 180), rng.uniform(south - 1, north + 1, 50_000)
    lon, lat = np.append(lon, near[0]), np.append(lat, near[1]).clip(-90, 90)
    x, y = forth.transform(lon, lat)
    box = geobox.boundingbox
    inside = (x > box.left) & (x < box.right) & (y > box.bottom) & (y < box.top)
    assert inside.sum() > 500
    slack = 0.002 * (east - west)  # chords between 60 points a side
    assert shapely.contains_xy(polygon.buffer(slack), lon[inside], lat[inside]).all()
    assert not shapely.contains_xy(polygon.buffer(-slack), lon[~inside], lat[~inside]).any()
    edge_lon, edge_lat = on_earth(*shapely.get_coordinates(shapely.box(*box).segmentize(1000)).T)
    lon, lat = np.append(lon[inside], edge_lon), np.append(lat[inside], edge_lat)
    np.testing.assert_allclose([west, south, east, north], [lon.min(), lat.min(), lon.max(), lat.max()], atol=slack)


def on_earth(x, y):
    """Degrees of those places on the Homolosine that are somewhere."""
    forth = pyproj.Transformer.from_crs("OGC:CRS84", HOMOLOSINE, always_xy=True)
    lon, lat = forth.transform(x, y, direction="INVERSE")
    back = np.hypot(*np.subtract(forth.transform(lon, lat), (x, y)))
    return lon[back < 1], lat[back < 1]


@pytest.mark.parametrize(
    ("bbox", "count"),
    [
        ((-48, 40, -30, 50), 2),  # the seam of the north
        ((-40, 40, -30, 50), 1),  # beside it
        ((-48, 40, -40, 50), 1),
        ((-48, -50, -30, -40), 1),  # which is none in the south
        ((-23, -30, -17, -20), 2),
        ((-104, -3, -96, 3), 3),
        ((-41, -3, -39, 3), 3),
    ],
)
def test_a_bbox_across_a_gap_makes_one_item_a_lobe(tmp_path, bbox, count):
    """Together they hold every place of the bbox, and hardly more."""
    vrt = tmp_path / "sand_0-5cm_mean.vrt"
    vrt.write_text(vrt_xml([], 0, 0, SHAPE))
    boxes = [granule.layers["sand"].geobox.boundingbox for granule in SoilGrids(bbox=bbox).scan(vrt).granules]
    assert len(boxes) == count
    lon, lat = np.meshgrid(np.linspace(bbox[0] + 1e-5, bbox[2], 300), np.linspace(bbox[1], bbox[3], 300))
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", HOMOLOSINE, always_xy=True).transform(lon, lat)
    held = [(box.left <= x) & (x <= box.right) & (box.bottom <= y) & (y <= box.top) for box in boxes]
    assert np.any(held, axis=0).all()
    area = 111_000**2 * (bbox[2] - bbox[0]) * (bbox[3] - bbox[1])
    assert sum((box.right - box.left) * (box.top - box.bottom) for box in boxes) < 2 * area


RECIPES = {
    resampling: Recipe((Feature("sand", "soilgrids", "sand", resampling, "static"),))
    for resampling in ("nearest", "bilinear", "average")
}
WARPED = {"nearest": {}, "bilinear": {"XSCALE": 1, "YSCALE": 1}, "average": {}}  # else GDAL widens bilinear's kernel
WARPS = {"nearest": Resampling.nearest, "bilinear": Resampling.bilinear, "average": Resampling.average}


@pytest.fixture(scope="module")
def soil(tmp_path_factory):
    """Sand around a part of tile h18v04, and clay elsewhere; and the part."""
    folder = tmp_path_factory.mktemp("soil")
    target = MODIS_SINUSOIDAL_1KM.geobox("h18v04")[400:520, 300:440]
    (west, south, east, north) = footprint(target).bounds
    mosaic = folder / "sand_0-5cm_mean.vrt"
    mosaic.write_text(vrt_xml([], 0, 0, SHAPE))
    (granule,) = SoilGrids(bbox=(west, south, east, north)).scan(mosaic).granules
    row, column, rows, columns = map(int, re.findall(r"\d+", granule.item["id"]))
    write_tif(folder / "sand_0-5cm_mean.tif", row, column, (rows, columns))
    write_tif(folder / "clay_0-5cm_mean.tif", row + rows + 4000, column, (60, 60))
    catalog = new_catalog(folder / "catalog")
    results = ingest(catalog, "soilgrids", [folder / "sand_0-5cm_mean.tif", folder / "clay_0-5cm_mean.tif"])
    assert [result.status for result in results] == ["new", "new"]
    return open_catalog(folder / "catalog"), target, folder / "sand_0-5cm_mean.tif"


@pytest.mark.parametrize(("resampling", "tolerance"), [("nearest", 0.0), ("bilinear", 0.01), ("average", 0.05)])
def test_a_sinusoidal_tile_agrees_with_gdal(soil, resampling, tolerance):
    """Tolerance as a fraction of the field's standard deviation, at 99 of 100 pixels."""
    catalog, target, raw = soil
    ours = feature_cube(catalog, RECIPES[resampling], target, DAYS).sand.values[0]
    warped = np.full(target.shape, np.nan, np.float32)
    with rasterio.open(raw) as file:
        reproject(
            file.read(1), warped, src_transform=file.transform, src_crs=file.crs, src_nodata=NODATA,
            dst_transform=target.affine, dst_crs=crs_wkt(str(target.crs)), dst_nodata=np.nan,
            resampling=WARPS[resampling], tolerance=0, **WARPED[resampling],
        )  # fmt: skip
    warped *= 0.1
    both = np.isfinite(ours) & np.isfinite(warped)
    assert both.mean() > 0.95
    assert (np.isfinite(ours) != np.isfinite(warped)).mean() < 0.02
    off = np.abs(ours - warped)[both] / warped[both].std()
    assert np.quantile(off, 0.99) <= tolerance + 1e-5
    assert 5 < np.nanmin(ours) < np.nanmax(ours) < 85  # percent


def test_an_item_without_the_asset_is_passed_over(soil):
    catalog, target, _ = soil
    found = resolve_inputs(catalog, RECIPES["average"], target, DAYS)
    assert [item for item, _ in found.items(DAYS.start)] == [ingested(catalog, "soilgrids")[1].id]
    clay = resolve_inputs(catalog, Recipe((Feature("clay", "soilgrids", "clay", "average", "static"),)), target, DAYS)
    assert clay.missing(DAYS.start) == clay.blocked_by(DAYS.start) == ["clay"]
    assert np.isnan(build(clay, TargetPixels(target)).clay.values).all()
    with pytest.raises(CatalogError, match=r"no item found for clay \(collection soilgrids"):
        require_inputs(clay, "here")


def test_both_readers_give_the_same_windows_of_a_crs_without_code(soil):
    catalog, target, raw = soil
    item = ingested(catalog, "soilgrids")[1]
    source = complete_from_header(raster_source(item, "sand"))
    with rasterio.open(raw) as file:
        stored = file.read(1)
    for window in ((slice(0, 30), slice(0, 40)), (slice(101, 233), slice(57, 190)), (slice(0, stored.shape[0]),) * 2):
        window = (window[0], slice(window[1].start, min(window[1].stop, stored.shape[1])))
        found = [get_reader(name)(source, window) for name in ("stackstac", "odc")]
        assert np.array_equal(found[0], found[1])
        assert np.array_equal(found[0], stored[window])
    cubes = [feature_cube(catalog, RECIPES["bilinear"], target, DAYS, reader=name) for name in ("stackstac", "odc")]
    assert np.array_equal(*(cube.sand.values for cube in cubes), equal_nan=True)


# --- the simulated Earth ------------------------------------------------------------------------------------------


def test_the_simulated_soil_is_soil_and_covers_the_island(tmp_path):
    earth = Earth(radius=0.4)
    for name in PROPERTIES:
        write_soil(earth, tmp_path / f"{name}_0-5cm_mean.tif", name)
    catalog = new_catalog(tmp_path / "catalog")
    assert {result.status for result in ingest(catalog, "soilgrids", [tmp_path])} == {"new"}
    features = tuple(Feature(name, "soilgrids", name, "average", "static") for name in PROPERTIES)
    cube = feature_cube(catalog, Recipe(features), earth.tile, DAYS).isel(time=0).compute()
    from stac_sm.simulate.truth import true_soil_moisture

    land = np.isfinite(true_soil_moisture(earth, earth.product_days[0]))
    assert land.sum() > 300
    assert (np.isfinite(cube.sand.values) == land).mean() > 0.999
    total = (cube.sand + cube.silt + cube.clay).values[land]
    np.testing.assert_allclose(total[np.isfinite(total)], 100, atol=1e-3)
    assert 0.8 < np.nanmin(cube.bdod) < np.nanmax(cube.bdod) < 1.8
    assert 3 < np.nanmin(cube.soc) < np.nanmax(cube.soc) < 400
