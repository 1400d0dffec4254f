"""Copernicus DEM: heights unchanged, slope and aspect as geodesy has them, and tiles where their names say."""

from __future__ import annotations

import json

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from stac_sm.core.errors import GranuleError
from stac_sm.ingest.pipeline import ingest
from stac_sm.ingest.providers.cop_dem import CopDem
from stac_sm.ingest.terrain import aspect_cos, aspect_sin, heights_in_memory, terrain_layers
from stac_sm.ingest.terrain import slope as slope_of
from tests.support.source_files import DATA, asset_href, ingested, new_catalog, real_data, write_dem


def slope(elevation, geobox):
    return slope_of(heights_in_memory(elevation), geobox)


def tile(south=46, west=11, shape=(120, 80)):
    dy, dx = 1 / shape[0], 1 / shape[1]
    return GeoBox(shape, Affine(dx, 0, west - dx / 2, 0, -dy, south + 1 + dy / 2), "EPSG:4326")


def centre(geobox, row, column):
    return geobox.affine * (column + 0.5, row + 0.5)


def distance(geobox, one, other):
    """Metres between two pixel centres, by PROJ."""
    return pyproj.Geod(ellps="WGS84").inv(*centre(geobox, *one), *centre(geobox, *other))[2]


@pytest.mark.parametrize("south", [0, 46, 79, -34])
def test_slope_is_rise_over_geodesic_distance(south):
    geobox = tile(south)
    rows, columns = np.indices(geobox.shape)
    north = slope(rows * 20.0, geobox)
    east = slope(columns * 30.0, geobox)
    for row, column in [(0, 0), (60, 40), (119, 79)]:
        before, after = max(row - 1, 0), min(row + 1, 119)
        run = distance(geobox, (before, column), (after, column)) / (after - before)
        assert north[row, column] == pytest.approx(np.degrees(np.arctan(20 / run)), rel=1e-5)
        before, after = max(column - 1, 0), min(column + 1, 79)
        run = distance(geobox, (row, before), (row, after)) / (after - before)
        assert east[row, column] == pytest.approx(np.degrees(np.arctan(30 / run)), rel=1e-4)


def test_slope_follows_both_axes_and_does_not_depend_on_bands(monkeypatch):
    geobox = tile()
    rows, columns = np.indices(geobox.shape)
    hills = 100 * np.sin(rows / 5) * np.cos(columns / 7)
    whole = slope(hills, geobox)
    assert whole[60, 40] == pytest.approx(
        np.degrees(
            np.arctan(
                np.hypot(
                    (hills[61, 40] - hills[59, 40]) / distance(geobox, (61, 40), (59, 40)),
                    (hills[60, 41] - hills[60, 39]) / distance(geobox, (60, 41), (60, 39)),
                )
            )
        ),
        rel=1e-4,
    )
    for band, columns in ((1, 512), (7, 1), (119, 33), (120, 79)):
        monkeypatch.setattr("stac_sm.ingest.terrain._BAND_ROWS", band)
        monkeypatch.setattr("stac_sm.ingest.terrain._BLOCK_COLUMNS", columns)
        assert np.array_equal(slope(hills, geobox), whole)


def test_slope_beside_a_gap_is_one_sided():
    geobox = tile()
    ramp = np.indices(geobox.shape)[0] * 20.0
    holed = ramp.copy()
    holed[50:52, 30:33] = np.nan
    holed[:, 79] = np.nan
    found, whole = slope(holed, geobox), slope(ramp, geobox)
    assert np.array_equal(np.isnan(found), np.isnan(holed))
    kept = ~np.isnan(holed)
    np.testing.assert_allclose(found[kept], whole[kept], rtol=1e-5)
    assert np.isnan(slope(np.where(np.indices((3, 3)).sum(0) == 2, 1.0, np.nan), tile(shape=(3, 3)))).all()


@pytest.mark.parametrize("azimuth", [0, 30, 90, 135, 180, 225, 270, 315, 359])
def test_aspect_is_where_a_tilted_plane_faces(azimuth):
    geobox = tile(shape=(60, 60))
    lon, lat = centre(geobox, 30, 30)
    columns, rows = np.meshgrid(np.arange(60) - 30, 30 - np.arange(60))
    east, north = distance(geobox, (30, 29), (30, 31)) / 2, distance(geobox, (29, 30), (31, 30)) / 2
    toward = np.radians(azimuth)
    plane = 2000 - 0.2 * (columns * east * np.sin(toward) + rows * north * np.cos(toward))  # falls by 0.2 m per m
    sine, cosine = aspect_sin(heights_in_memory(plane), geobox), aspect_cos(heights_in_memory(plane), geobox)
    assert sine[30, 30] == pytest.approx(np.sin(toward), abs=1e-5)
    assert cosine[30, 30] == pytest.approx(np.cos(toward), abs=1e-5)
    assert slope(plane, geobox)[30, 30] == pytest.approx(np.degrees(np.arctan(0.2)), rel=1e-5)
    np.testing.assert_allclose(np.hypot(sine, cosine), 1, atol=1e-6)
    assert np.abs(sine - np.sin(toward)).max() < 0.01  # meridians converge over half a degree
    assert np.abs(cosine - np.cos(toward)).max() < 0.01


def test_a_cone_faces_away_from_its_top():
    geobox = tile(0, 10, (101, 101))  # at the equator a degree is nearly as long both ways
    geod = pyproj.Geod(ellps="WGS84")
    columns, rows = np.meshgrid(np.arange(101), np.arange(101))
    lon, lat = geobox.affine * (columns + 0.5, rows + 0.5)
    top = np.broadcast_to(lon[50, 50], lon.shape), np.broadcast_to(lat[50, 50], lat.shape)
    azimuth, _, away = geod.inv(*top, lon, lat)
    cone, far = 5000 - 0.1 * away, away > 20_000  # a cone is no plane: the more so near its top
    assert np.abs(slope(cone, geobox)[far] - np.degrees(np.arctan(0.1))).max() < 0.03
    assert np.abs(aspect_sin(heights_in_memory(cone), geobox)[far] - np.sin(np.radians(azimuth[far]))).max() < 0.03
    assert np.abs(aspect_cos(heights_in_memory(cone), geobox)[far] - np.cos(np.radians(azimuth[far]))).max() < 0.03


def test_flat_land_faces_nowhere_and_gaps_stay(monkeypatch):
    geobox = tile(shape=(20, 30))
    flat = np.full((20, 30), 7.0, np.float32)
    flat[3, 4] = np.nan
    for aspect in (aspect_sin, aspect_cos):
        found = aspect(heights_in_memory(flat), geobox)
        assert np.array_equal(np.isnan(found), np.isnan(flat))
        assert np.nanmax(np.abs(found)) == 0
    hills = np.random.default_rng(1).normal(500, 50, (20, 30))
    whole = aspect_sin(heights_in_memory(hills), geobox)
    monkeypatch.setattr("stac_sm.ingest.terrain._BAND_ROWS", 7)
    assert np.array_equal(aspect_sin(heights_in_memory(hills), geobox), whole)


def test_slope_and_aspect_are_made_in_one_reading_and_sea_is_left_out(monkeypatch):
    """An island in the sea, and one in no data: as computed of the whole tile at once."""
    geobox, read, hypot = tile(shape=(20, 30)), [], np.hypot
    hills = np.random.default_rng(2).normal(500, 50, (20, 30)).astype(np.float32)
    for sea in (0.0, np.nan):
        island = np.full_like(hills, sea)
        island[8:13, 11:17] = hills[8:13, 11:17]
        whole = [of(heights_in_memory(island), geobox) for of in (slope_of, aspect_sin, aspect_cos)]
        with monkeypatch.context() as patch:
            patch.setattr("stac_sm.ingest.terrain._BAND_ROWS", 5)
            patch.setattr("stac_sm.ingest.terrain._BLOCK_COLUMNS", 5)
            computed = []
            patch.setattr(np, "hypot", lambda east, north, computed=computed: computed.append(1) or hypot(east, north))
            layers = terrain_layers(lambda *rows, island=island: read.append(rows) or island[slice(*rows)], geobox)
            found = [layers[name].values() for name in ("slope", "aspect_sin", "aspect_cos")]
        assert all(np.array_equal(*pair, equal_nan=True) for pair in zip(found, whole, strict=True))
        assert len(computed) < 4 * 6  # blocks
    assert read == 2 * [(0, 6), (4, 11), (9, 16), (14, 20)]


def test_means_of_aspect_cross_north():
    """Two planes that face 350 and 10 degrees: their mean faces north, where the mean of degrees would face south."""
    geobox, mean = tile(shape=(30, 30)), {}
    columns, rows = np.meshgrid(np.arange(30), -np.arange(30))
    east, north = distance(geobox, (15, 14), (15, 16)) / 2, distance(geobox, (14, 15), (16, 15)) / 2
    for aspect in (aspect_sin, aspect_cos):
        faces = [np.radians(azimuth) for azimuth in (350, 10)]
        planes = [-(columns * east * np.sin(a) + rows * north * np.cos(a)) for a in faces]
        mean[aspect] = np.mean([aspect(heights_in_memory(plane), geobox)[15, 15] for plane in planes])
    assert np.degrees(np.arctan2(mean[aspect_sin], mean[aspect_cos])) == pytest.approx(0, abs=0.01)


def test_a_tile_has_its_heights_and_slope(tmp_path):
    path, values = write_dem(tmp_path, nodata=-32767.0)
    catalog = new_catalog(tmp_path / "catalog")
    assert [result.status for result in ingest(catalog, "cop-dem", [tmp_path])] == ["new"]
    (item,) = ingested(catalog, "cop-dem")
    assert item.id == "Copernicus_DSM_COG_30_N46_00_E011_00"
    with rasterio.open(path) as raw, rasterio.open(asset_href(item, "elevation")) as cog:
        assert np.array_equal(cog.read(1, masked=True).filled(0), raw.read(1, masked=True).filled(0))
        assert (cog.transform, cog.crs, cog.nodata) == (raw.transform, raw.crs, -9999)
        assert (cog.read(1) == -9999).sum() == (values == -32767).sum() == 30
    with rasterio.open(asset_href(item, "slope")) as cog:
        wanted = slope(np.where(values == -32767, np.nan, values), tile())
        assert np.array_equal(cog.read(1, masked=True).filled(np.nan), wanted, equal_nan=True)
    for key, of in (("aspect_sin", aspect_sin), ("aspect_cos", aspect_cos)):
        with rasterio.open(asset_href(item, key)) as cog:
            wanted = of(heights_in_memory(np.where(values == -32767, np.nan, values)), tile())
            np.testing.assert_allclose(cog.read(1, masked=True).filled(np.nan), wanted, atol=2**-11)
    assert item.properties["start_datetime"] == "2010-12-01T00:00:00Z"
    assert item.properties["end_datetime"] == "2015-12-31T23:59:59Z"


@real_data
def test_the_georeference_of_a_real_tile_fits_its_name(tmp_path):
    """The pixels of this tile are not here, its real shape and transform are, in a STAC item made from it."""
    (found,) = DATA.glob("stac/stactools_cop_dem/cop-dem-glo-30/*/*.json")
    item = json.loads(found.read_text())
    fields = item["properties"] | next(iter(item["assets"].values()))
    shape, transform = fields["proj:shape"], Affine(*fields["proj:transform"][:6])
    path, _ = write_dem(tmp_path, f"{found.stem}.tif", shape=shape, transform=transform, compress="deflate")
    (granule,) = CopDem().scan(path).granules
    assert granule.layers["elevation"].geobox.affine == transform


@pytest.mark.parametrize(
    ("name", "corner"), [("S34_00_E018_00", (-34, 18)), ("N00_00_W078_00", (0, -78)), ("S01_00_W001_00", (-1, -1))]
)
def test_all_quarters_of_the_earth(tmp_path, name, corner):
    path, _ = write_dem(tmp_path, f"Copernicus_DSM_COG_10_{name}_DEM.tif", corner)
    (granule,) = CopDem().scan(path).granules
    south, west = corner
    np.testing.assert_allclose(granule.item["bbox"], [west, south, west + 1, south + 1], atol=1 / 80)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corner": (47, 11)}, "one of the two is wrong"),
        ({"corner": (46, -11)}, "one of the two is wrong"),
        ({"corner": (46, 11.03)}, "one of the two is wrong"),
        ({"crs": "EPSG:3035"}, "expected one band in EPSG:4326"),
        ({"crs": None}, "expected one band in EPSG:4326"),
        ({"name": "Copernicus_DSM_COG_30_N46_00_E011_00_EDM.tif"}, "expected one like"),
        ({"transform": Affine(1 / 80, 0, 11, 0, 1 / 120, 46)}, "north up"),
    ],
)
def test_a_wrong_tile_is_named(tmp_path, change, message):
    with pytest.raises(GranuleError, match=message):
        CopDem().scan(write_dem(tmp_path, **change)[0])


def test_a_broken_tile_is_an_error_and_no_item(tmp_path):
    path, _ = write_dem(tmp_path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"<html>404</html>", b""):
        path.write_bytes(content)
        catalog = new_catalog(tmp_path / "catalog")
        (result,) = ingest(catalog, "cop-dem", [path])
        assert result.status == "failed"
        assert "no readable GeoTIFF" in result.error
        assert ingested(catalog, "cop-dem") == []
