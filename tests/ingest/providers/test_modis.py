"""MODIS: a real MOD11A1 arrives pixel by pixel where its StructMetadata.0 says; bad files of every kind are named.

Only MOD11A1 could be had as HDF. MOD15A2H, MCD43A3 and the bad files are made from it (see ``hdf_files``); the values
of MOD15A2H are real ones of 2004.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import netCDF4
import numpy as np
import pyproj
import pystac
import pytest
import rasterio
from hypothesis import example, given
from hypothesis import strategies as st

from stac_sm.core.errors import GranuleError
from stac_sm.ingest.formats import hdf4eos
from stac_sm.ingest.formats.hdf4eos import parse_grid_structure, read_attributes
from stac_sm.ingest.pipeline import ingest
from stac_sm.ingest.providers.modis import Modis
from tests.support.hdf_files import (
    TILE,
    lai_fields,
    lst_fields,
    mcd43_fields,
    real_structure,
    stored,
    structure_of,
    write_fields,
)
from tests.support.source_files import (
    DATA,
    MOD11A1,
    asset_href,
    content,
    ingested,
    new_catalog,
    placed,
    positions,
    real_data,
)

pytestmark = real_data
NAME = f"MOD11A1.A2019305.{TILE}.061.2021009040302.hdf"
LAI_NAME = f"MOD15A2H.A2004177.{TILE}.061.2020111222333.hdf"
ARCACHON = DATA / "modis_raster" / "MOD15A2H_Lai_500m_arcachon_cogs"


def only(path):
    (granule,) = Modis().scan(path).granules
    return granule


# --- a real file ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_item(tmp_path_factory):
    catalog = new_catalog(tmp_path_factory.mktemp("catalog"))
    (result,) = ingest(catalog, "modis", [MOD11A1])
    assert (result.status, result.collections) == ("new", ("modis-11A1-006",))
    (item,) = ingested(catalog, "modis-11A1-006")
    return item


@pytest.mark.parametrize(
    ("key", "nodata", "scale"),
    [("LST_Day_1km", 0, 0.02), ("LST_Night_1km", 0, 0.02), ("QC_Day", None, 1.0), ("QC_Night", None, 1.0)],
)
def test_real_pixels_are_those_of_pyhdf(real_item, key, nodata, scale):
    raw = stored(MOD11A1, key)
    rows, columns = positions(raw.shape)
    with rasterio.open(asset_href(real_item, key)) as cog:
        values = cog.read(1)
        assert np.array_equal(values[rows, columns], raw[rows, columns])
        assert np.array_equal(values, raw)
        assert (cog.nodata, cog.scales, cog.dtypes[0]) == (nodata, (scale,), str(raw.dtype))
    assert key != "LST_Day_1km" or (values != 0).sum() == 333829
    assert real_item.assets[key].roles == (["data"] if key.startswith("LST") else ["quality"])


def test_the_real_place_is_that_of_its_metadata(real_item):
    corners = re.findall(r"(?:UpperLeft|LowerRight)\w*=\((\S+),(\S+)\)", real_structure())
    (left, top), (right, bottom) = [(float(x), float(y)) for x, y in corners]
    with rasterio.open(asset_href(real_item, "LST_Day_1km")) as cog:
        assert tuple(cog.bounds) == pytest.approx((left, bottom, right, top), abs=1e-3)
        sphere = cog.crs.to_wkt()
    degrees = pyproj.Transformer.from_crs(sphere, pyproj.CRS(sphere).geodetic_crs, always_xy=True)
    assert degrees.transform(left, top) == pytest.approx((-40.0, 0.0), abs=1e-6)
    assert degrees.transform(left, bottom) == pytest.approx((-40.617, -10.0), abs=1e-3)
    assert real_item.bbox[1] == pytest.approx(-10, abs=1e-6)


def test_the_real_item_says_what_it_is(real_item, validate):
    validate(real_item)
    assert real_item.id == "MOD11A1.A2019305.h14v09.006"
    said = {key: real_item.properties[key] for key in ("platform", "instruments", "version", "grid:code")}
    assert said == {"platform": "terra", "instruments": ["modis"], "version": "006", "grid:code": "MSIN-1409"}
    assert real_item.properties["start_datetime"] == "2019-11-01T00:00:00Z"
    assert real_item.properties["end_datetime"] == "2019-11-01T23:59:59Z"


def test_real_flags_mean_what_the_classes_say(real_item):
    flags = {one["name"]: one for one in real_item.assets["QC_Day"].extra_fields["classification:bitfields"]}
    raw, lst = stored(MOD11A1, "QC_Day"), stored(MOD11A1, "LST_Day_1km")
    mandatory = raw >> flags["mandatory"]["offset"] & (2 ** flags["mandatory"]["length"] - 1)
    there = [one["value"] for one in flags["mandatory"]["classes"] if one["name"] in ("good", "other")]
    assert np.array_equal(np.isin(mandatory, there), lst != 0)


def test_texts_of_a_granule_are_read_once_for_all_its_fields(tmp_path, monkeypatch):
    """Letter by letter, pyhdf takes longer for them than for the pixels; a file that changes is read again."""
    file = tmp_path / MOD11A1.name
    shutil.copy(MOD11A1, file)
    opened, real = [], hdf4eos._opened
    monkeypatch.setattr(hdf4eos, "_opened", lambda file: opened.append(file) or real(file))
    first = [hdf4eos.describe_field(file, name) for name in ("LST_Day_1km", "LST_Night_1km")]
    assert len(opened) == 3
    names, texts = read_attributes(file)
    assert len(opened) == 3
    assert first[0].bounds == parse_grid_structure(file, texts["StructMetadata.0"], "LST_Day_1km")[1]
    assert "LST_Day_1km" in names
    assert "ArchiveMetadata.0" not in texts
    texts.clear()  # a copy
    assert read_attributes(file)[1]
    file.chmod(0o644)
    file.write_bytes(b"another")
    with pytest.raises(GranuleError, match="no readable HDF4"):
        read_attributes(file)


# --- products ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fields", "collection", "platform", "last"),
    [
        (NAME, lst_fields, "modis-11A1-061", "terra", "2019-11-01"),
        (f"MYD11A1.A2019305.{TILE}.006.2019306084028.hdf", lst_fields, "modis-11A1-006", "aqua", "2019-11-01"),
        (LAI_NAME, "lai", "modis-15A2H-061", "terra", "2004-07-02"),
        (f"MYD15A2H.A2004361.{TILE}.006.2015111222333.hdf", "lai", "modis-15A2H-006", "aqua", "2004-12-31"),
        (f"MCD15A2H.A2004177.{TILE}.061.2020111222333.hdf", "lai", "modis-15A2H-061", "terra,aqua", "2004-07-02"),
        (f"MCD15A3H.A2004177.{TILE}.061.2020111222333.hdf", "lai", "modis-15A3H-061", "terra,aqua", "2004-06-28"),
        (f"MCD15A3H.A2004365.{TILE}.061.2020111222333.hdf", "lai", "modis-15A3H-061", "terra,aqua", "2004-12-31"),
        (f"MCD43A3.A2018182.{TILE}.061.2021111222333.hdf", mcd43_fields, "mcd43a3-061", "terra,aqua", "2018-07-01"),
    ],
)
def test_every_product_has_its_collection_and_period(tmp_path, name, fields, collection, platform, last):
    made = lai_fields(np.full((2400, 2400), 7, np.uint8)) if fields == "lai" else fields()
    item = only(write_fields(tmp_path / name, made)).item
    assert (item["collection"], item["properties"]["platform"]) == (collection, platform)
    assert item["id"] == name.rsplit(".", 2)[0]
    assert item["properties"]["end_datetime"] == f"{last}T23:59:59Z"
    assert collection in Modis().collections


def test_collections_of_the_skeleton_describe_the_items(tmp_path, validate):
    """One ingest of files of three products makes and links items of three collections."""
    folder = tmp_path / "granules"
    folder.mkdir()
    write_fields(folder / NAME, lst_fields())
    write_fields(folder / LAI_NAME, lai_fields(np.full((2400, 2400), 7, np.uint8)))
    write_fields(folder / f"MCD43A3.A2018182.{TILE}.061.2021111222333.hdf", mcd43_fields())
    catalog = new_catalog(tmp_path / "catalog")
    results = ingest(catalog, "modis", [folder])
    assert [result.status for result in results] == ["new"] * 3
    outside = pystac.Catalog.from_file(str(tmp_path / "catalog" / "catalog.json"))
    items = {item.collection_id: item for item in outside.get_items(recursive=True)}
    assert set(items) == {"modis-11A1-061", "modis-15A2H-061", "mcd43a3-061"}
    for id, item in items.items():
        validate(item)
        validate(outside.get_child(id))
        described = outside.get_child(id).to_dict()["item_assets"]
        assert list(described) == list(item.assets)
        for key, asset in item.assets.items():
            said = asset.to_dict()
            assert {name: said[name] for name in described[key]} == described[key]
    before = content(tmp_path / "catalog")
    assert [result.status for result in ingest(catalog, "modis", [folder])] == ["done"] * 3
    assert content(tmp_path / "catalog") == before


def test_every_collection_is_in_the_skeleton_and_valid(tmp_path, validate):
    catalog = new_catalog(tmp_path)
    for id in Modis().collections:
        validate(catalog.collection(id))


def test_codes_of_leaf_area_index_are_no_values(tmp_path):
    """Real values and codes of MOD15A2H (Arcachon, 2004), set into a tile."""
    names = sorted(ARCACHON.glob("*.tif"))
    real = np.concatenate([rasterio.open(name).read(1).ravel() for name in names])
    assert {250, 253, 254, 255} <= set(np.unique(real[real > 100]))
    values = np.resize(real, (2400, 2400))
    values[0, :7] = np.arange(249, 256)
    values[1, :3] = [100, 101, 0]
    catalog = new_catalog(tmp_path / "catalog")
    flags = placed(values.shape, np.uint8)
    ingest(catalog, "modis", [write_fields(tmp_path / LAI_NAME, lai_fields(values, flags))])
    (item,) = ingested(catalog, "modis-15A2H-061")
    with rasterio.open(asset_href(item, "Lai_500m")) as cog:
        assert np.array_equal(cog.read(1), np.where(values > 100, 255, values))
        lai = cog.read(1, masked=True) * cog.scales[0]
        assert (cog.nodata, cog.read(1)[1, 1]) == (255, 255)
        for level in range(len(cog.overviews(1))):
            with rasterio.open(asset_href(item, "Lai_500m"), overview_level=level) as overview:
                assert overview.read(1, masked=True).max() <= 100
    assert (lai.min(), lai.max()) == (0, pytest.approx(10.0))
    assert lai.count() == (values <= 100).sum()
    with rasterio.open(asset_href(item, "FparLai_QC")) as cog:
        assert np.array_equal(cog.read(1), flags)


def test_albedo_of_mcd43a3_keeps_its_integers(tmp_path):
    path = write_fields(tmp_path / f"MCD43A3.A2018182.{TILE}.061.2021111222333.hdf", mcd43_fields())
    layers = only(path).layers
    assert len(layers) == 7
    for key, layer in layers.items():
        assert np.array_equal(layer.values(), stored(path, key))
        quality = "Quality" in key
        assert (layer.profile.nodata, layer.profile.scale) == ((255, 1.0) if quality else (32767, 0.001))


def test_a_newer_production_takes_the_place_of_the_older_one(tmp_path):
    old = write_fields(tmp_path / NAME, lst_fields())
    catalog = new_catalog(tmp_path / "catalog")
    assert ingest(catalog, "modis", [old])[0].status == "new"
    new = write_fields(
        tmp_path / NAME.replace("2021009040302", "2021300000000"), lst_fields(np.full((1200, 1200), 15000, np.uint16))
    )
    assert [result.status for result in ingest(catalog, "modis", [tmp_path])] == ["done", "replaced"]
    for paths in ([old], [new, old]):
        assert {result.status for result in ingest(catalog, "modis", paths)} == {"done"}
    (item,) = ingested(catalog, "modis-11A1-061")
    assert item.properties["stac_sm:source"] == new.name


def test_a_tile_under_clouds_is_an_item(tmp_path):
    nothing = np.zeros((1200, 1200), np.uint16)
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "modis", [write_fields(tmp_path / NAME, lst_fields(nothing))])
    assert result.status == "new"


# --- bad files -----------------------------------------------------------------------------------------------------


def truncated(share):
    def make(path):
        whole = MOD11A1.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])

    return make


def bytes_of(content):
    return lambda path: path.write_bytes(content)


def changed(name, values=None, **attributes):
    """A file in which one field has other values or attributes; an attribute of None is left out."""

    def make(path):
        fields = lst_fields()
        old, kept = fields[name]
        kept = {key: value for key, value in {**kept, **attributes}.items() if value is not None}
        write_fields(path, {**fields, name: (old if values is None else values, kept)}, structure_of(fields))

    return make


def without(name):
    return lambda path: write_fields(path, {key: one for key, one in lst_fields().items() if key != name})


def said(pattern, replacement):
    """A file whose StructMetadata.0 says something else."""

    def make(path):
        text = re.sub(pattern, replacement, structure_of(lst_fields()))
        assert text != structure_of(lst_fields())
        write_fields(path, lst_fields(), text)

    return make


def netcdf(format):
    def make(path):
        with netCDF4.Dataset(path, "w", format=format) as file:
            file.createDimension("x", 3)
            file.createVariable("LST", "f4", ("x",))[:] = 1

    return make


def tiff(path):
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 1, "height": 16, "width": 16, "crs": "EPSG:4326"}
    with rasterio.open(path, "w", transform=rasterio.Affine(1, 0, 5, 0, -1, 5), **profile) as file:
        file.write(np.ones((16, 16), np.uint16), 1)


def of_another_size(path):
    write_fields(path, {key: (values[:600, :600], kept) for key, (values, kept) in lst_fields().items()})


def swapped_corners(path):
    text = structure_of(lst_fields())
    first, second = re.findall(r"PointMtrs=(\S+)|LowerRightMtrs=(\S+)", text)
    left, right = first[0], second[1]
    write_fields(path, lst_fields(), text.replace(left, "?").replace(right, left).replace("?", right))


def scrambled(path):
    """The real file with a block of its pixels overwritten."""
    whole = bytearray(MOD11A1.read_bytes())
    whole[40000:140000] = b"\xa5" * 100000
    path.write_bytes(whole)


SMALL = np.ones((1200, 600), np.uint16)
BAD = {
    "no bytes": (NAME, bytes_of(b""), "0 bytes found that are no readable HDF4"),
    "zeros": (NAME, bytes_of(bytes(100000)), "no readable HDF4"),
    "a web page": (NAME, bytes_of(b"<html>login</html>"), "no readable HDF4"),
    "cut at 4 bytes": (NAME, truncated(2e-6), "4 bytes found|3 bytes found"),
    "cut at 1 %": (NAME, truncated(0.01), "fetch it again"),
    "cut at 20 %": (NAME, truncated(0.2), "fetch it again"),
    "cut at 50 %": (NAME, truncated(0.5), "fetch it again"),
    "cut at 99 %": (NAME, truncated(0.99), "fetch it again"),
    "pixels overwritten": (MOD11A1.name, scrambled, "fetch it again"),
    "NetCDF-4": (NAME, netcdf("NETCDF4"), "no readable HDF4"),
    "classic NetCDF": (NAME, netcdf("NETCDF3_CLASSIC"), "found the fields LST, expected LST_Day_1km|no readable HDF4"),
    "GeoTIFF": (NAME, tiff, "no readable HDF4"),
    "no such field": (NAME, without("LST_Night_1km"), "expected LST_Night_1km"),
    "another tile in the name": (NAME.replace(TILE, "h18v04"), truncated(1), r"tile h18v04 \(west 0.00, south 40.00"),
    "no such tile": (NAME.replace(TILE, "h36v04"), truncated(1), "no tile that exists"),
    "no such day": (NAME.replace("2019305", "2019366"), truncated(1), "day 2019366, which does not exist"),
    "day zero": (NAME.replace("2019305", "2019000"), truncated(1), "day 2019000, which does not exist"),
    "another version": (NAME.replace(".061.", ".005."), truncated(1), "version 005, expected"),
    "another product": (NAME.replace("MOD11A1", "MOD11A2"), truncated(1), "MOD11A2 of version 061, expected one of"),
    "fraction as type": (NAME, changed("LST_Day_1km", np.ones((1200, 1200), np.float32)), "is float32, expected uint"),
    "bytes as type": (NAME, changed("LST_Day_1km", np.ones((1200, 1200), np.uint8)), "is uint8, expected uint16"),
    "wide flags": (NAME, changed("QC_Day", np.ones((1200, 1200), np.uint16)), "QC_Day is uint16, expected uint8"),
    "half a field": (NAME, changed("LST_Night_1km", SMALL), r"LST_Night_1km has shape \[1200, 600\]"),
    "a vector": (NAME, changed("QC_Day", np.ones(1200, np.uint8)), "QC_Day has shape 1200,"),
    "a cube": (NAME, changed("QC_Day", np.ones((2, 1200, 600), np.uint8)), r"has shape \[2, 1200, 600\]"),
    "600 pixels": (NAME, of_another_size, r"found \(600, 600\) pixels, expected 1200"),
    "absurd width": (NAME, said(r"XDim=\d+", "XDim=99999999999999999999"), "XDim=99999999999999999999, expected"),
    "infinite width": (NAME, said(r"XDim=\d+", "XDim=1e999"), "XDim=1e999, expected a number of pixels"),
    "width below zero": (NAME, said(r"XDim=\d+", "XDim=-1200"), "XDim=-1200"),
    "no width": (NAME, said(r"XDim=\d+", ""), "has no XDim"),
    "infinite corner": (NAME, said(r"UpperLeftPointMtrs=\(\S+,", "UpperLeftPointMtrs=(1e999,"), "says left, .* inf,"),
    "corner in words": (NAME, said(r"UpperLeftPointMtrs=\S+", "UpperLeftPointMtrs=(nan,nan)"), "has no UpperLeftPoint"),
    "corners swapped": (NAME, swapped_corners, "one of the two is wrong"),
    "south up": (NAME, said("HDFE_GD_UL", "HDFE_GD_LL"), "first pixel is at HDFE_GD_LL"),
    "no metadata": (NAME, said("(?s).+", "END"), "found 0 grids with field LST_Day_1km"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named_with_its_reason_and_leaves_no_trace(tmp_path, empty, kind):
    name, make, reason = BAD[kind]
    path = tmp_path / name
    make(path)
    before = content(Path(empty.root))
    (result,) = ingest(empty, "modis", [path])
    assert result.status == "failed"
    assert str(path) in result.error
    assert re.search(reason, result.error), result.error
    assert result.items == {}
    assert content(Path(empty.root)) == before


ATTRIBUTES = {
    "no scale": ({"scale_factor": None}, "expected a number scale_factor"),
    "scale of zero": ({"scale_factor": 0.0}, "scale_factor 0.0, expected one above 0"),
    "scale NaN": ({"scale_factor": float("nan")}, "scale_factor nan"),
    "scale twice": ({"scale_factor": [1, 2]}, "expected a number scale_factor"),
    "offset": ({"add_offset": -65.0}, "add_offset -65.0, expected 0"),
    "no fill": ({"_FillValue": None}, "expected a number _FillValue"),
    "fill of another type": ({"_FillValue": -1.0}, "_FillValue -1.0, expected a value of u"),
}  # fmt: skip


@real_data
@pytest.mark.parametrize("kind", ATTRIBUTES)
@pytest.mark.parametrize("field", ["LST_Day_1km", "LST_Night_1km"])
def test_a_bad_attribute_costs_one_asset(tmp_path, validate, field, kind):
    attributes, reason = ATTRIBUTES[kind]
    changed(field, **attributes)(tmp_path / NAME)
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "modis", [tmp_path / NAME])
    (item,) = ingested(catalog, "modis-11A1-061")
    validate(item)
    assert set(item.assets) == {"LST_Day_1km", "QC_Day", "LST_Night_1km", "QC_Night"} - {field}
    assert list(item.properties["stac_sm:left_out"]) == [field]
    assert re.search(reason, item.properties["stac_sm:left_out"][field])
    assert f"{item.id} without its asset {field}: " in result.error
    write_fields(tmp_path / NAME, lst_fields())
    (result,) = ingest(catalog, "modis", [tmp_path / NAME])
    assert (result.error, result.items) == (None, {"replaced": 1})
    (item,) = ingested(catalog, "modis-11A1-061")
    assert (len(item.assets), "stac_sm:left_out" in item.properties) == (4, False)


@real_data
@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"scale_factor": -1.0}, "QC_Day has scale_factor -1.0, expected one above 0"),
        ({"add_offset": 3.0}, "QC_Day has add_offset 3.0, expected 0"),
        ({"_FillValue": 0.5}, "QC_Day has _FillValue 0.5, expected a value of uint8"),
    ],
)
def test_a_bad_attribute_of_flags_costs_the_attribute(tmp_path, attributes, reason):
    changed("QC_Day", **attributes)(tmp_path / NAME)
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "modis", [tmp_path / NAME])
    assert (result.error, result.items) == (None, {"new": 1})
    (item,) = ingested(catalog, "modis-11A1-061")
    assert reason in item.properties["stac_sm:left_out"]["QC_Day"]
    assert result.left_out == {item.id: item.properties["stac_sm:left_out"]}
    with rasterio.open(asset_href(item, "QC_Day")) as cog:
        assert np.array_equal(cog.read(1), lst_fields()["QC_Day"][0])


@real_data
def test_without_any_sound_field_of_values_the_file_is_refused(tmp_path):
    fields = {key: (values, {} if "LST" in key else kept) for key, (values, kept) in lst_fields().items()}
    write_fields(tmp_path / NAME, fields, structure_of(fields))
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "modis", [tmp_path / NAME])
    assert "expected a number scale_factor" in result.error
    assert (result.items, result.left_out) == ({}, {})


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    return new_catalog(tmp_path_factory.mktemp("empty"))


def test_bad_files_stop_no_good_one(tmp_path):
    write_fields(tmp_path / NAME, lst_fields())
    (tmp_path / NAME.replace("2019305", "2019306")).write_bytes(b"")
    catalog = new_catalog(tmp_path / "catalog")
    assert [result.status for result in ingest(catalog, "modis", [tmp_path])] == ["new", "failed"]
    assert len(ingested(catalog, "modis-11A1-061")) == 1


# --- structural metadata -------------------------------------------------------------------------------------------


def placed_or_refused(text):
    try:
        (rows, columns), bounds = parse_grid_structure(Path("x.hdf"), text, "LST_Day_1km")
    except GranuleError:
        return None
    assert all(isinstance(number, int) and 0 < number < 10**6 for number in (rows, columns))
    assert len(bounds) == 4
    return (rows, columns), bounds


def test_the_real_text_is_understood():
    bounds = (-4447802.079066, 0.0, -3335851.559300, -1111950.519767)
    assert placed_or_refused(real_structure()) == ((1200, 1200), bounds)


_WORDS = [
    "END_GROUP=GRID_1", 'DataFieldName="LST_Day_1km"', "XDim=", "YDim=", "UpperLeftPointMtrs=(", "LowerRightMtrs=(",
    "GridOrigin=HDFE_GD_", "UL", ",", ")", "\n\t", "1200", "1e999", "-", "0.5", "9" * 5000, "١٢٠٠", "nan", "\0",
]  # fmt: skip


@given(st.text() | st.lists(st.sampled_from(_WORDS) | st.text(max_size=3)).map("".join))
@example('DataFieldName="LST_Day_1km" XDim=1e999 YDim=1200 UpperLeftPointMtrs=(1,1) LowerRightMtrs=(1,1)')
@example(f'DataFieldName="LST_Day_1km" XDim={"9" * 5000} YDim=1 UpperLeftPointMtrs=(1,1) LowerRightMtrs=(1,1)')
@example('DataFieldName="LST_Day_1km" XDim=١٢ YDim=1 UpperLeftPointMtrs=(1,1) LowerRightMtrs=(1,1)')
def test_any_text_is_understood_or_refused(text):
    placed_or_refused(text)


@given(st.data())
def test_a_damaged_text_is_understood_or_refused(data):
    """The real text, cut at both ends, with something put in its middle."""
    text = real_structure()
    start, end = sorted(data.draw(st.integers(0, len(text))) for _ in range(2))
    first = data.draw(st.integers(0, len(text)))
    insert = data.draw(st.text(max_size=20) | st.sampled_from(_WORDS))
    placed_or_refused(text[start:end])
    placed_or_refused(text[:first] + insert + text[first + data.draw(st.integers(0, 50)) :])
