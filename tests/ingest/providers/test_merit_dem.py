"""MERIT DEM: tiles where their names say (the centre of the lower left pixel), alone or in packages."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine

from stac_sm.core.errors import GranuleError
from stac_sm.ingest.pipeline import ingest
from stac_sm.ingest.providers.merit_dem import MeritDem
from stac_sm.ingest.registry import create_provider
from tests.support.source_files import DATA, asset_href, ingested, new_catalog, real_data

SIDE = 100  # of thinned out tiles
NODATA = -9999.0


def placed(west, south, side):
    """Georeference of a tile: the centre of its lower left pixel is on whole degrees."""
    pixel = 5 / side
    return Affine(pixel, 0, west - pixel / 2, 0, -pixel, south + 5 - pixel / 2)


def write_merit(folder, name="n30w120_dem.tif", corner=(30, -120), side=SIDE, values=None, **kw):
    south, west = corner
    if values is None:
        rows, columns = np.indices((side, side))
        values = (800 + 300 * np.sin(rows / 9) + 200 * np.cos(columns / 7) + rows).astype(np.float32)
        values[5:8, 10:20] = NODATA
    profile = {
        "driver": "GTiff", "dtype": str(values.dtype), "count": 1, "height": values.shape[0], "width": values.shape[1],
        "crs": "EPSG:4326", "transform": placed(west, south, side), "nodata": NODATA,
    } | kw  # fmt: skip
    path = folder / name
    with rasterio.open(path, "w", **profile) as file:
        file.write(values, 1)
    return path, values


@pytest.fixture
def _thin(monkeypatch):
    monkeypatch.setattr("stac_sm.ingest.providers.merit_dem._SIDE", SIDE)


@pytest.mark.usefixtures("_thin")
def test_a_tile_has_its_heights_slope_and_aspect(tmp_path, validate):
    path, values = write_merit(tmp_path)
    catalog = new_catalog(tmp_path / "catalog")
    assert [result.status for result in ingest(catalog, "merit-dem", [tmp_path])] == ["new"]
    (item,) = ingested(catalog, "merit-dem")
    assert (item.id, set(item.assets)) == ("merit-dem-n30w120", {"elevation", "slope", "aspect_sin", "aspect_cos"})
    validate(item)
    validate(catalog.document("merit-dem/collection.json"))
    with rasterio.open(path) as raw, rasterio.open(asset_href(item, "elevation")) as cog:
        assert np.array_equal(cog.read(1), raw.read(1))
        assert (cog.transform, cog.crs, cog.nodata, cog.read_masks(1).min()) == (raw.transform, raw.crs, NODATA, 0)
    with rasterio.open(asset_href(item, "slope")) as cog:
        slope, affine = cog.read(1, masked=True), cog.transform
    assert np.array_equal(np.ma.getmaskarray(slope), values == NODATA)
    geod = pyproj.Geod(ellps="WGS84")

    def run(one, other):
        places = [affine * (column + 0.5, row + 0.5) for row, column in (one, other)]
        return geod.inv(*places[0], *places[1])[2]

    south = (values[51, 40] - values[49, 40]) / run((49, 40), (51, 40))
    east = (values[50, 41] - values[50, 39]) / run((50, 39), (50, 41))
    assert slope[50, 40] == pytest.approx(np.degrees(np.arctan(np.hypot(south, east))), rel=1e-4)
    for key, downhill in (("aspect_sin", -east), ("aspect_cos", south)):
        with rasterio.open(asset_href(item, key)) as cog:
            assert cog.read(1)[50, 40] == pytest.approx(downhill / np.hypot(south, east), abs=2**-10)


def test_the_real_layout_is_where_the_provider_says(tmp_path):
    """6000 pixels of 3 arc seconds; the provider gives the edges of n30w120 to seven digits."""
    profile = {
        "driver": "GTiff", "dtype": "float32", "count": 1, "height": 6000, "width": 6000, "crs": "EPSG:4326",
        "transform": placed(-120, 30, 6000), "nodata": NODATA, "sparse_ok": True,
    }  # fmt: skip
    with rasterio.open(tmp_path / "n30w120_dem.tif", "w", **profile):
        pass
    (granule,) = MeritDem().scan(tmp_path / "n30w120_dem.tif").granules
    np.testing.assert_allclose(granule.item["bbox"], [-120.0004167, 29.99958333, -115.0004167, 34.99958333], atol=5e-8)
    assert granule.item["properties"]["proj:shape"] == [6000, 6000]


@pytest.mark.usefixtures("_thin")
@pytest.mark.parametrize(
    ("name", "corner"), [("s35e015", (-35, 15)), ("n85w180", (85, -180)), ("s60e175", (-60, 175)), ("n00e000", (0, 0))]
)
def test_all_quarters_of_the_earth(tmp_path, name, corner):
    (granule,) = MeritDem().scan(write_merit(tmp_path, f"{name}_dem.tif", corner)[0]).granules
    south, west = corner
    np.testing.assert_allclose(granule.item["bbox"], [west, south, west + 5, south + 5], atol=5 / SIDE)


def package(path, tiles, others=()):
    """A tar archive of files, and of members that are not to be trusted."""
    with tarfile.open(path, "w") as archive:
        for name, file in tiles.items():
            archive.add(file, name)
        for name, content in others:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("n30w110_dem.tif")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


@pytest.mark.usefixtures("_thin")
def test_a_package_gives_what_its_tiles_give(tmp_path):
    (tmp_path / "tiles").mkdir()
    one, _ = write_merit(tmp_path / "tiles")
    two, _ = write_merit(tmp_path / "tiles", "n30w115_dem.tif", (30, -115))
    inside = {f"dem_tif_n30w120/{path.name}": path for path in (one, two)}
    others = [("../n35w120_dem.tif", b"x"), ("/tmp/n35w115_dem.tif", b"x"), ("dem_tif_n30w120/readme.txt", b"x")]
    packed = package(tmp_path / "dem_tif_n30w120.tar", inside, others)
    catalogs = {path: new_catalog(tmp_path / path.name / "catalog") for path in (tmp_path / "tiles",)}
    catalogs[packed] = new_catalog(tmp_path / "from-package")
    results = {path: ingest(catalog, "merit-dem", [path]) for path, catalog in catalogs.items()}
    (result,) = results[packed]
    assert result.items == {"new": 2}
    assert sorted(result.notes) == sorted(f"member {name!r} is no tile: left out" for name, _ in others)
    found = [ingested(catalog, "merit-dem") for catalog in catalogs.values()]
    assert (
        [item.id for item in found[0]] == [item.id for item in found[1]] == ["merit-dem-n30w115", "merit-dem-n30w120"]
    )
    for alone, unpacked in zip(*found, strict=True):
        for key in alone.assets:
            checksums = [item.assets[key].extra_fields["file:checksum"] for item in (alone, unpacked)]
            assert checksums[0] == checksums[1]
    assert not (tmp_path.parent / "n35w120_dem.tif").exists()


@pytest.mark.usefixtures("_thin")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corner": (30, -115)}, "one of the two is wrong"),
        ({"corner": (25, -120)}, "one of the two is wrong"),
        ({"transform": Affine(0.05, 0, -120, 0, -0.05, 35)}, "one of the two is wrong"),  # edges on whole degrees
        ({"transform": Affine(0.0501, 0, -120.025, 0, -0.05, 34.975)}, "one of the two is wrong"),
        ({"transform": Affine(0.05, 0, -120.025, 0, 0.05, 29.975)}, "one of the two is wrong"),
        ({"crs": "EPSG:3857"}, "found the CRS EPSG:3857, expected EPSG:4326"),
        ({"crs": None}, "found the CRS None, expected EPSG:4326"),
        ({"values": np.ones((SIDE, SIDE), np.int16)}, "100 x 100 pixels of int16, expected 100 x 100 of float32"),
        ({"values": np.ones((SIDE, SIDE - 1), np.float32)}, "100 x 99 pixels of float32"),
        ({"name": "n30w120_elv.tif"}, "found the name n30w120_elv.tif, expected one like n30w120_dem.tif"),
        ({"name": "n31w120_dem.tif"}, "found the name n31w120_dem.tif, expected"),
        ({"name": "n90w120_dem.tif"}, "lies off the tiles from s60w180 to n85e175"),
        ({"name": "n30e180_dem.tif"}, "lies off the tiles from s60w180 to n85e175"),
    ],
)
def test_a_wrong_tile_is_named(tmp_path, change, message):
    path, _ = write_merit(tmp_path, **change)
    with pytest.raises(GranuleError, match=message) as error:
        MeritDem().scan(path)
    assert str(path) in str(error.value)


@pytest.mark.usefixtures("_thin")
def test_a_broken_tile_is_an_error_and_no_item(tmp_path):
    path, values = write_merit(tmp_path)
    whole = path.read_bytes()
    write_merit(tmp_path, values=np.full_like(values, NODATA))
    empty = path.read_bytes()
    hdf = b"\x0e\x03\x13\x01" + bytes(2000)  # how HDF4 begins
    bad = [(whole[: len(whole) // 2], "no readable GeoTIFF"), (b"", "0 bytes found"), (hdf, "no readable GeoTIFF")]
    for content, message in [*bad, (b"<html>404</html>", "16 bytes found"), (empty, "not one height found")]:
        path.write_bytes(content)
        catalog = new_catalog(tmp_path / "catalog")
        (result,) = ingest(catalog, "merit-dem", [path])
        assert result.status == "failed"
        assert str(path) in result.error
        assert message in result.error
        assert ingested(catalog, "merit-dem") == []


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "no whole tar"), (b"x" * 600, "no whole tar"), (None, "no tile")]
)
def test_a_broken_package_is_named(tmp_path, content, message):
    path = package(tmp_path / "dem_tif_n30w120.tar", {})
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GranuleError, match=rf"dem_tif_n30w120\.tar: .*{message}"):
        MeritDem().scan(path)


@pytest.mark.usefixtures("_thin")
def test_a_truncated_package_leaves_no_half_item(tmp_path):
    path, _ = write_merit(tmp_path)
    packed = package(tmp_path / "dem_tif_n30w120.tar", {path.name: path})
    packed.write_bytes(packed.read_bytes()[:20_000])
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "merit-dem", [packed])
    assert (result.status, ingested(catalog, "merit-dem")) == ("failed", [])


@real_data
def test_real_merit_hydro_is_another_product(tmp_path):
    """Real MERIT heights, but of MERIT Hydro on another grid: under a tile's name they are refused."""
    path = tmp_path / "n45e005_dem.tif"
    path.write_bytes((DATA / "static_grids" / "merit_rhine" / "elevtn.tif").read_bytes())
    with pytest.raises(GranuleError, match="found the CRS EPSG:3857"):
        MeritDem().scan(path)


def test_the_licence_stands_in_the_collection(tmp_path):
    document = new_catalog(tmp_path).collection("merit-dem")
    assert document["license"] == "other"  # STAC's schema takes no SPDX expression: the two stand in the links
    terms = {link["title"][:12]: link["href"] for link in document["links"] if link["rel"] == "license"}
    assert terms == {
        "CC BY-NC 4.0": "https://creativecommons.org/licenses/by-nc/4.0/",
        "ODbL 1.0 (on": "https://opendatacommons.org/licenses/odbl/1-0/",
    }
    assert create_provider("merit-dem").collection == document["id"]
